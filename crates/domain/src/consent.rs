//! Consent per channel: a current state derived from an append-only ledger.
//!
//! A decision counts by when it was made, not by when it arrived: an older one that comes late is recorded and changes
//! nothing. At the same instant, opting out wins.

use serde::{Deserialize, Serialize};

use crate::{Issue, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    OptedIn,
    OptedOut,
    /// Asked, not yet confirmed (double opt-in).
    Pending,
    Unknown,
}

impl Status {
    pub const ALL: &'static [Self] = &[Self::OptedIn, Self::OptedOut, Self::Pending, Self::Unknown];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OptedIn => "opted_in",
            Self::OptedOut => "opted_out",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }

    /// Which of two decisions made at the same instant holds: the more cautious one.
    const fn caution(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::OptedIn => 1,
            Self::Pending => 2,
            Self::OptedOut => 3,
        }
    }
}

/// Where a person stands on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub channel: String,
    pub status: Status,
    /// Newest time of an opt-in, kept after a later opt-out.
    pub opted_in_at: Option<Timestamp>,
    pub opted_out_at: Option<Timestamp>,
    /// When the decision that holds now was made.
    pub occurred_at: Timestamp,
    pub source: Option<String>,
}

/// A decision as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub channel: String,
    pub status: Status,
    pub occurred_at: Timestamp,
    pub source: Option<String>,
    /// What proves it: the wording shown, a form's id, a recording's reference.
    pub evidence: Option<String>,
}

/// A channel's name: the form of an identity kind.
pub fn parse_channel(text: &str) -> Result<String, Issue> {
    crate::identity::IdentityKind::parse(text)
        .map(|kind| kind.as_str().to_owned())
        .ok_or_else(|| Issue::new("", "invalid_channel", "a channel is a lower-case word such as email, sms or whatsapp"))
}

/// Whether a decision says nothing that the state does not: sent again by a sync, it need not be recorded twice.
pub fn is_known(current: &Consent, decision: &Decision) -> bool {
    decision.evidence.is_none()
        && (&current.channel, current.status, current.occurred_at, &current.source)
            == (&decision.channel, decision.status, decision.occurred_at, &decision.source)
}

/// Whether what is told without a time says anything: an opt-out stands until somebody says when it ended, and what is so
/// already has been so since its own time.
pub fn counts_undated(current: Option<&Consent>, told: &Decision) -> bool {
    match current.map(|current| current.status) {
        Some(status) if status == told.status => false,
        Some(Status::OptedOut) => false,
        _ => true,
    }
}

/// The state after a decision. Order-independent: any arrival order of the same decisions ends in the same state.
pub fn apply(current: Option<&Consent>, decision: &Decision) -> Consent {
    let newest = |old: Option<Timestamp>, of: Status| {
        if decision.status == of { old.max(Some(decision.occurred_at)) } else { old }
    };
    let (opted_in_at, opted_out_at) = current.map_or((None, None), |c| (c.opted_in_at, c.opted_out_at));
    let decides = current.is_none_or(|c| {
        (decision.occurred_at, decision.status.caution(), &decision.source) > (c.occurred_at, c.status.caution(), &c.source)
    });
    let (status, occurred_at, source) = match current {
        Some(c) if !decides => (c.status, c.occurred_at, c.source.clone()),
        _ => (decision.status, decision.occurred_at, decision.source.clone()),
    };
    Consent {
        channel: decision.channel.clone(),
        status,
        opted_in_at: newest(opted_in_at, Status::OptedIn),
        opted_out_at: newest(opted_out_at, Status::OptedOut),
        occurred_at,
        source,
    }
}

/// Takes a decision into the states of all channels.
pub fn record(consents: &mut Vec<Consent>, decision: &Decision) {
    let current = consents.iter().position(|c| c.channel == decision.channel);
    let next = apply(current.map(|i| &consents[i]), decision);
    match current {
        Some(i) => consents[i] = next,
        None => consents.push(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

    use super::{Consent, Decision, Status, apply, counts_undated};
    use crate::Timestamp;

    fn decisions() -> impl Strategy<Value = Vec<Decision>> {
        let status = prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending), Just(Status::Unknown)];
        prop::collection::vec(
            (status, 0_i64..4, prop::option::of("[ab]")).prop_map(|(status, at, source)| Decision {
                channel: "email".into(),
                status,
                occurred_at: Timestamp::from_micros(at).unwrap_or(Timestamp::MIN),
                source,
                evidence: None,
            }),
            1..8,
        )
    }

    fn end(decisions: &[Decision]) -> Option<Consent> {
        decisions.iter().fold(None, |state, d| Some(apply(state.as_ref(), d)))
    }

    #[test]
    fn what_is_told_without_a_time_undoes_no_opt_out() {
        let told = |status| Decision { channel: "sms".to_owned(), status, occurred_at: Timestamp::MIN, source: None, evidence: None };
        for status in Status::ALL.iter().copied() {
            assert!(counts_undated(None, &told(status)));
            let current = apply(None, &told(status));
            for new in Status::ALL.iter().copied() {
                assert_eq!(counts_undated(Some(&current), &told(new)), status != Status::OptedOut && new != status, "{status:?} {new:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_arrival_order_ends_in_the_same_state(decisions in decisions(), seed in 0_usize..1000) {
            let mut shuffled = decisions.clone();
            let len = shuffled.len();
            for i in 0..len {
                shuffled.swap(i, (i * 7 + seed) % len);
            }
            assert_eq!(end(&decisions), end(&shuffled));
        }
    }
}
