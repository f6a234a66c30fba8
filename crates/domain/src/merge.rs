//! Two people who are one: what the survivor looks like.
//!
//! For each field the caller's choice holds, else what the primary has, else what the secondary has. Sets are united,
//! keys are united and the secondary's primary key becomes a further one. Of consents the latest explicit decision
//! holds, and at the same instant the more cautious one. Nothing is counted twice: counters follow from rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    consent::{self, Decision},
    profile::Profile,
    property::Standard,
};

/// Which side a field is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Primary,
    Secondary,
}

/// Choices by field: `company`, `attributes.plan`, …
pub type Keep = BTreeMap<String, Side>;

/// The survivor, before it is settled and given its version.
pub fn merged(primary: &Profile, secondary: &Profile, keep: &Keep) -> Profile {
    let mut out = primary.clone();
    let takes_secondary = |field: &str, primary_has: bool, secondary_has: bool| match keep.get(field) {
        Some(Side::Secondary) => secondary_has || primary_has,
        Some(Side::Primary) => false,
        None => !primary_has && secondary_has,
    };
    for property in Standard::ALL {
        let (first, second) = (primary.standard(*property), secondary.standard(*property));
        if takes_secondary(property.as_str(), first.is_some(), second.is_some()) {
            out.set_standard(*property, second.map(str::to_owned));
        }
    }
    for key in secondary.attributes.keys().chain(primary.attributes.keys()) {
        let (first, second) = (primary.attributes.get(key), secondary.attributes.get(key));
        if takes_secondary(&format!("attributes.{key}"), first.is_some(), second.is_some()) {
            match second {
                Some(value) => out.attributes.insert(key.clone(), value.clone()),
                None => out.attributes.remove(key),
            };
        }
    }
    for identity in &secondary.identities {
        let mut identity = identity.clone();
        identity.primary = identity.primary && primary.primary(&identity.kind).is_none();
        if !out.holds(&identity.key()) {
            out.identities.push(identity);
        }
    }
    out.labels.extend(secondary.labels.iter().cloned());
    out.channels.extend(secondary.channels.iter().cloned());
    for segment in &secondary.segments {
        if !out.segments.contains(segment) {
            out.segments.push(segment.clone());
        }
    }
    for theirs in &secondary.consents {
        match out.consents.iter_mut().find(|ours| ours.channel == theirs.channel) {
            None => out.consents.push(theirs.clone()),
            Some(ours) => {
                let decision = Decision {
                    channel: theirs.channel.clone(),
                    status: theirs.status,
                    occurred_at: theirs.occurred_at,
                    source: theirs.source.clone(),
                    evidence: None,
                };
                let mut joined = consent::apply(Some(ours), &decision);
                joined.opted_in_at = joined.opted_in_at.max(theirs.opted_in_at);
                joined.opted_out_at = joined.opted_out_at.max(theirs.opted_out_at);
                *ours = joined;
            }
        }
    }
    let newest = |profile: &Profile| (profile.last_seen_at, profile.last_channel.clone());
    if secondary.last_channel.is_some() && (primary.last_channel.is_none() || newest(secondary) > newest(primary)) {
        out.last_channel.clone_from(&secondary.last_channel);
    }
    out.last_seen_at = primary.last_seen_at.max(secondary.last_seen_at);
    out.created_at = primary.created_at.min(secondary.created_at);
    out.activity.join(&secondary.activity);
    out.merged_from.push(secondary.id);
    out.merged_from.extend(secondary.merged_from.iter().copied());
    out.merged_from.sort();
    out.merged_from.dedup();
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop, prop_oneof, proptest};

    use super::{Keep, Side, merged};
    use crate::{
        Timestamp,
        consent::{Consent, Status},
        id::ProfileId,
        identity::{IdentityKey, IdentityKind, NewIdentity},
        profile::Profile,
        property::Standard,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap_or(Timestamp::MIN)
    }

    fn person(n: u128, email: &str) -> Profile {
        let mut profile = Profile::empty(ProfileId(uuid::Uuid::from_u128(n)), at(i64::try_from(n).unwrap_or(0)));
        let key = IdentityKey { kind: IdentityKind::email(), value: email.to_owned() };
        profile.learn(&NewIdentity { key, raw: email.to_owned() }, "test", profile.created_at);
        profile.settle(None);
        profile
    }

    #[test]
    fn what_is_empty_is_filled_and_the_callers_choice_holds() {
        let (mut a, mut b) = (person(2, "a@example.com"), person(1, "b@example.com"));
        a.company = Some("Analytical Engines".to_owned());
        b.company = Some("Navy".to_owned());
        b.city = Some("London".to_owned());
        (a.last_seen_at, b.last_seen_at) = (Some(at(5)), Some(at(9)));
        (a.labels, b.labels) = (vec!["vip".to_owned()], vec!["vip".to_owned(), "trial".to_owned()]);
        let mut one = merged(&a, &b, &Keep::new());
        one.settle(Some(&a));
        assert_eq!((one.company.as_deref(), one.city.as_deref()), (Some("Analytical Engines"), Some("London")));
        assert_eq!((one.created_at, one.last_seen_at), (at(1), Some(at(9))));
        assert_eq!(one.email.as_deref(), Some("a@example.com"), "the primary's key stays primary");
        assert_eq!(one.identities.len(), 2, "and no key is lost");
        assert_eq!(
            (one.labels.as_slice(), one.merged_from.as_slice()),
            (["trial".to_owned(), "vip".to_owned()].as_slice(), [b.id].as_slice())
        );
        let keep = Keep::from([(Standard::Company.as_str().to_owned(), Side::Secondary)]);
        assert_eq!(merged(&a, &b, &keep).company.as_deref(), Some("Navy"));
    }

    proptest! {
        #[test]
        fn consent_is_the_same_whichever_side_is_primary(
            first in (prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending)], 0_i64..3),
            second in (prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending)], 0_i64..3),
            source in prop::option::of("[ab]"),
        ) {
            let consent = |(status, when): (Status, i64)| Consent {
                channel: "email".to_owned(),
                status,
                opted_in_at: (status == Status::OptedIn).then(|| at(when)),
                opted_out_at: (status == Status::OptedOut).then(|| at(when)),
                occurred_at: at(when),
                source: source.clone(),
            };
            let (mut a, mut b) = (person(1, "a@example.com"), person(2, "b@example.com"));
            (a.consents, b.consents) = (vec![consent(first)], vec![consent(second)]);
            assert_eq!(merged(&a, &b, &Keep::new()).consents, merged(&b, &a, &Keep::new()).consents);
            if first.1 == second.1 && (first.0 == Status::OptedOut || second.0 == Status::OptedOut) {
                assert_eq!(merged(&a, &b, &Keep::new()).consents[0].status, Status::OptedOut);
            }
        }
    }
}
