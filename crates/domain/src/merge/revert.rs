//! Taking a merge back: two people again, each with what was theirs.
//!
//! What the survivor would be without the secondary is computed beside what they are with them, through every merge
//! that came later. Where the two differ and nobody has touched the field since, the survivor gets the former; what was
//! edited since stays with the survivor and is told. The secondary is who they were.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Judged, Keep, merged,
    plan::{self, values},
};
use crate::{
    Timestamp,
    activity::{Activity, Tally},
    consent::{self, Consent, Decision, Status},
    id::{ProfileId, RecordId},
    identity::IdentityKind,
    profile::Profile,
    property::Standard,
};

/// A merge as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: RecordId,
    pub primary_id: ProfileId,
    pub secondary_id: ProfileId,
    /// Who holds the record: the survivor, also of later merges.
    pub holder: ProfileId,
    /// Both as they were.
    pub primary: Profile,
    pub secondary: Profile,
    pub keep: Keep,
    /// What rules and segments made of the two; `None`: nothing.
    pub judged: Option<Judged>,
    pub reverted: bool,
}

impl Record {
    /// The secondary, and everybody who had been merged into them: what came from any of these is theirs.
    pub fn members(&self) -> BTreeSet<ProfileId> {
        std::iter::once(self.secondary_id).chain(self.secondary.merged_from.iter().copied()).collect()
    }

    /// The survivor right after, had the primary been `primary`.
    fn joined(&self, primary: &Profile) -> Profile {
        let mut out = merged(primary, &self.secondary, &self.keep);
        out.settle(Some(primary));
        if let Some(judged) = &self.judged {
            judged.lay_over(&mut out);
        }
        out
    }
}

/// A decision of the survivor's ledger, and from whom it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub origin: ProfileId,
    pub decision: Decision,
}

/// What the events of one person add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub last: Option<Timestamp>,
    pub channels: BTreeSet<String>,
    /// The channel of the newest event that named one.
    pub last_channel: Option<(Timestamp, String)>,
    pub did: Activity,
}

impl Seen {
    /// Takes events of one type and channel in.
    pub fn add(&mut self, kind: &str, channel: Option<&str>, tally: Tally) {
        self.did.add(kind, tally);
        self.last = self.last.max(Some(tally.last));
        if let Some(channel) = channel {
            self.channels.insert(channel.to_owned());
            if self.last_channel.as_ref().is_none_or(|(at, name)| (*at, name.as_str()) < (tally.last, channel)) {
                self.last_channel = Some((tally.last, channel.to_owned()));
            }
        }
    }
}

/// All that has to be known to take a merge back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reversal {
    pub record: Record,
    /// Merges into the same primary since, the oldest first, without those taken back.
    pub later: Vec<Record>,
    pub ledger: Vec<Entry>,
    /// Of the events that stay with the survivor.
    pub seen: Seen,
    /// Of those that go back.
    pub returned: Seen,
}

/// Why something was not put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The survivor's value is not the merge's any more: it stays with the survivor.
    EditedSince,
    /// The survivor has lost this key since, so the secondary cannot have it back.
    IdentityGone,
    /// What the attribute's definition does not allow any more.
    NotAllowed,
    /// The survivor opted out since: both count as opted out.
    OptedOutSince,
}

/// One thing that is not as it was before the merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    pub field: String,
    pub reason: Why,
    /// What the merge made of it.
    pub merged: Value,
    /// What the survivor has now, and keeps.
    pub current: Value,
    /// What it was before the merge: the survivor's, or the secondary's for an identity or an attribute they do not get.
    pub before: Value,
}

/// The two people, settled, without their new versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Parted {
    pub survivor: Profile,
    pub secondary: Profile,
    pub left: Vec<Left>,
    /// What later merges remember of the survivor, without the secondary.
    pub later: Vec<(RecordId, Profile)>,
    /// Opt-outs that go into the secondary's ledger too.
    pub decisions: Vec<Decision>,
}

/// Takes a merge back, for the survivor as they are `now`.
pub fn part(now: &Profile, reversal: &Reversal) -> Parted {
    let Reversal { record, later, ledger, seen, returned } = reversal;
    let members = record.members();
    let mut with = record.joined(&record.primary);
    let mut without = record.primary.clone();
    let mut remembered = Vec::with_capacity(later.len());
    // What was done between two merges is seen by the later one's memory of the survivor, and by nothing after it.
    let mut since = Since::default();
    for merge in later {
        since.compare(&merge.primary, &with, &without);
        let mut without_then = taken_out(&merge.primary, &with, &without, record, &members, &mut since.left);
        without_then.settle(None);
        with = merge.joined(&merge.primary);
        without = merge.joined(&without_then);
        remembered.push((merge.id, without_then));
    }
    since.compare(now, &with, &without);
    let mut survivor = taken_out(now, &with, &without, record, &members, &mut since.left);
    see(&mut survivor, &without, seen);
    survivor.consents = fold(ledger.iter().filter(|entry| !members.contains(&entry.origin)));
    let mut secondary = record.secondary.clone();
    see(&mut secondary, &record.secondary, returned);
    secondary.consents = fold(ledger.iter().filter(|entry| members.contains(&entry.origin)));
    let (mut left, decisions) = since.told(now, &mut secondary);
    for identity in std::mem::take(&mut secondary.identities) {
        if now.holds(&identity.key()) {
            secondary.identities.push(identity);
        } else {
            left.push(Left {
                field: format!("identities.{}", identity.kind),
                reason: Why::IdentityGone,
                merged: identity.value.as_str().into(),
                current: Value::Null,
                before: identity.value.into(),
            });
        }
    }
    // A name that only looks as if it were composed of the other's parts was given, and stays.
    survivor.settle(None);
    secondary.settle(None);
    Parted { survivor, secondary, left, later: remembered, decisions }
}

fn labels(profile: &Profile) -> Value {
    serde_json::json!(profile.labels)
}

/// `now` without what came of the secondary: `with` and `without` are the same person with and without them.
fn taken_out(
    now: &Profile,
    with: &Profile,
    without: &Profile,
    record: &Record,
    members: &BTreeSet<ProfileId>,
    left: &mut Vec<Left>,
) -> Profile {
    let mut out = now.clone();
    let (is, was, would) = (values(now), values(with), values(without));
    // Whether the field goes back; what was edited since is told instead.
    let mut goes_back = |field: &str| {
        let of = |values: &BTreeMap<String, Value>| values.get(field).cloned().unwrap_or(Value::Null);
        let (is, was, would) = (of(&is), of(&was), of(&would));
        if was == would || is == would {
            return false;
        }
        if is != was {
            left.push(Left { field: field.to_owned(), reason: Why::EditedSince, merged: was, current: is, before: would });
            return false;
        }
        true
    };
    for property in Standard::ALL {
        if goes_back(property.as_str()) {
            out.set_standard(*property, without.standard(*property).map(str::to_owned));
        }
    }
    let keys: BTreeSet<&String> = with.attributes.keys().chain(without.attributes.keys()).collect();
    for key in keys {
        if goes_back(&format!("attributes.{key}")) {
            match without.attributes.get(key) {
                Some(value) => out.attributes.insert(key.clone(), value.clone()),
                None => out.attributes.remove(key),
            };
        }
    }
    let theirs = |identity: &crate::identity::Identity| record.secondary.holds(&identity.key());
    out.identities.retain(|identity| !theirs(identity));
    let kinds: BTreeSet<IdentityKind> = out.identities.iter().map(|identity| identity.kind.clone()).collect();
    for kind in kinds.iter().filter(|kind| out.primary(kind).is_none()).cloned().collect::<Vec<_>>() {
        if let Some(first) = without.primary(&kind).filter(|first| out.holds(&first.key())) {
            out.promote(&first.key());
        }
    }
    let brought: Vec<&String> = with.labels.iter().filter(|label| !without.labels.contains(label)).collect();
    if brought.iter().any(|label| !now.labels.contains(label)) {
        left.push(Left {
            field: "labels".to_owned(),
            reason: Why::EditedSince,
            merged: labels(with),
            current: labels(now),
            before: labels(without),
        });
    }
    out.labels.retain(|label| !brought.contains(&label));
    out.segments.retain(|badge| without.segments.contains(badge) || !with.segments.contains(badge));
    out.channels.retain(|channel| without.channels.contains(channel) || !with.channels.contains(channel));
    out.consents
        .retain(|consent| without.consents.iter().any(|known| known.channel == consent.channel) || !with.consents.contains(consent));
    for consent in &mut out.consents {
        if with.consents.contains(consent)
            && let Some(known) = without.consents.iter().find(|known| known.channel == consent.channel)
        {
            consent.clone_from(known);
        }
    }
    if now.last_seen_at == with.last_seen_at {
        out.last_seen_at = without.last_seen_at;
    }
    if now.heard() == with.heard() {
        out.last_channel.clone_from(&without.last_channel);
        out.activity.heard = without.activity.heard;
    }
    out.created_at = without.created_at;
    out.merged_from.retain(|id| !members.contains(id));
    out
}

/// When and where one of the two was seen, without the other: as the merge remembers it, and by the events that are theirs. The
/// merge remembers how they were before its transaction, which may have held some of those.
fn see(person: &mut Profile, remembered: &Profile, seen: &Seen) {
    person.activity = seen.did.clone();
    person.last_seen_at = remembered.last_seen_at.max(seen.last);
    person.channels = remembered.channels.iter().chain(&seen.channels).cloned().collect();
    // All their events are known here; of people who have none, what the merge remembers is.
    person.last_channel.clone_from(&remembered.last_channel);
    person.activity.heard = remembered.activity.heard;
    if let Some((at, channel)) = &seen.last_channel {
        person.last_channel = Some(channel.clone());
        person.activity.heard = Some(*at);
    }
}

/// Where decisions leave a person, whatever their order.
fn fold<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<Consent> {
    let mut out = Vec::new();
    for entry in entries {
        consent::record(&mut out, &entry.decision);
    }
    out.sort_by(|a, b| a.channel.cmp(&b.channel));
    out
}

/// What was done with the survivor since the merge.
#[derive(Default)]
struct Since {
    /// Fields edited, in the order it is found out.
    left: Vec<Left>,
    /// The last decision on each channel that no merge brought.
    decided: BTreeMap<String, Decided>,
}

/// A decision about the merged person, with what stood before it: with the secondary, and without.
struct Decided {
    consent: Consent,
    with: Option<Consent>,
    without: Option<Consent>,
}

impl Since {
    /// The survivor at a time, as they would be had nobody decided anything since the merge before it, with the secondary and without.
    fn compare(&mut self, now: &Profile, with: &Profile, without: &Profile) {
        let of = |profile: &Profile, channel: &str| profile.consents.iter().find(|known| known.channel == channel).cloned();
        for consent in &now.consents {
            let with = of(with, &consent.channel);
            if with.as_ref() != Some(consent) {
                let decided = Decided { consent: consent.clone(), with, without: of(without, &consent.channel) };
                self.decided.insert(consent.channel.clone(), decided);
            }
        }
    }

    /// What is told of it all, and the decisions that hold for the secondary too. Somebody opted out of the merged person, through
    /// whichever address: nobody can tell whose wish it was, so it holds for both. Another decision, on a channel that the merge had
    /// decided, was the survivor's and stays theirs.
    fn told(self, now: &Profile, secondary: &mut Profile) -> (Vec<Left>, Vec<Decision>) {
        let is = values(now);
        let mut left: Vec<Left> = Vec::new();
        for mut found in self.left {
            // What was edited more than once is told once: what the merge made of it, and what it is now.
            let is_label = found.field == "labels";
            found.current = if is_label { labels(now) } else { is.get(&found.field).cloned().unwrap_or(Value::Null) };
            // Labels that were taken off are none that the survivor would have.
            if (is_label || found.current != found.before) && !left.iter().any(|known| known.field == found.field) {
                left.push(found);
            }
        }
        let mut decisions = Vec::new();
        for Decided { consent, with, without } in self.decided.into_values() {
            let current = now.consents.iter().find(|known| known.channel == consent.channel);
            let field = format!("consents.{}", consent.channel);
            if consent.status == Status::OptedOut {
                let decision = Decision {
                    channel: consent.channel.clone(),
                    status: consent.status,
                    occurred_at: consent.occurred_at,
                    source: consent.source.clone(),
                    evidence: None,
                };
                let before = plan::values(secondary).remove(&field).unwrap_or_default();
                consent::record(&mut secondary.consents, &decision);
                let (merged, current) = (serde_json::json!(with), serde_json::json!(current));
                left.push(Left { field, reason: Why::OptedOutSince, merged, current, before });
                decisions.push(decision);
                continue;
            }
            let decision = |known: &Consent| (known.status, known.occurred_at, known.source.clone());
            let [was, would] = [&with, &without].map(|known| known.as_ref().map(decision));
            if was != would && was != Some(decision(&consent)) {
                let [merged, before] = [with, without].map(|known| serde_json::json!(known));
                left.push(Left { field, reason: Why::EditedSince, merged, current: serde_json::json!(current), before });
            }
        }
        (left, decisions)
    }
}
