//! Two people who are one: what the survivor looks like.
//!
//! For each field the caller's choice holds, else what the primary has, else what the secondary has. Sets are united,
//! keys are united and the secondary's primary key becomes a further one. Of consents the latest explicit decision
//! holds, and at the same instant the more cautious one. Nothing is counted twice: counters follow from rows.
//!
//! [`outcome`] is the state itself, [`plan`](plan::plan) tells it field by field, [`revert`] takes it back.

pub mod plan;
pub mod revert;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use serde_json::Value;

use crate::{
    Refusal,
    consent::{self, Decision},
    directory::check_limits,
    id::{ProfileId, SegmentId},
    identity::IdentityKind,
    profile::{Profile, SegmentBadge},
    property::Standard,
    refusal::{Issues, token},
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

/// What rules and segments make of a survivor, beyond uniting what both had: some of it may go, and more may come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub labels_gone: BTreeSet<String>,
    pub labels_new: BTreeSet<String>,
    pub segments_gone: BTreeSet<SegmentId>,
    pub segments_new: Vec<SegmentBadge>,
}

impl Judged {
    /// What is between everything that was `united` and what the survivor carries then.
    pub fn of<'p>(united: impl Iterator<Item = &'p Profile> + Clone, survivor: &Profile) -> Self {
        let labels: BTreeSet<&String> = united.clone().flat_map(|profile| &profile.labels).collect();
        let segments: BTreeSet<SegmentId> = united.flat_map(|profile| &profile.segments).map(|badge| badge.id).collect();
        let held: BTreeSet<SegmentId> = survivor.segments.iter().map(|badge| badge.id).collect();
        Self {
            labels_gone: labels.iter().filter(|label| !survivor.labels.contains(label)).map(|label| (*label).clone()).collect(),
            labels_new: survivor.labels.iter().filter(|label| !labels.contains(label)).cloned().collect(),
            segments_gone: segments.difference(&held).copied().collect(),
            segments_new: survivor.segments.iter().filter(|badge| !segments.contains(&badge.id)).cloned().collect(),
        }
    }

    fn lay_over(&self, profile: &mut Profile) {
        profile.labels.retain(|label| !self.labels_gone.contains(label));
        profile.labels.extend(self.labels_new.iter().cloned());
        profile.labels.sort();
        profile.labels.dedup();
        profile.segments.retain(|badge| !self.segments_gone.contains(&badge.id));
        let new = self.segments_new.iter().filter(|badge| profile.segments.iter().all(|held| held.id != badge.id)).cloned();
        let new: Vec<SegmentBadge> = new.collect();
        profile.segments.extend(new);
        profile.segments.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    }
}

/// Kinds whose primary key a caller may choose; every other key stays, whichever is first.
const TOP_KEYS: [&str; 3] = ["email", "phone", "external_id"];
/// Texts of a list attribute, at most; a union that would hold more is not made.
const MAX_LIST: usize = 200;

/// The survivor, settled, but for version and time. E: a choice that cannot be made, or a limit that the two together
/// exceed.
pub fn outcome(primary: &Profile, secondary: &Profile, keep: &Keep) -> Result<Profile, Refusal> {
    check_keep(primary, secondary, keep)?;
    let mut out = merged(primary, secondary, keep);
    out.settle(Some(primary));
    check_limits(&out)?;
    Ok(out)
}

/// Why nobody is merged with themselves.
pub fn one_person(same_id: bool) -> Refusal {
    let detail = if same_id {
        "a profile cannot be merged with itself"
    } else {
        "the two are one person already: an id that was merged answers for the survivor"
    };
    Refusal::at("/secondary_id", "self_merge", detail)
}

/// Why an id that was merged away is not merged again: what happens to the survivor is asked for by their own id.
pub fn merged_away(side: Side, survivor: ProfileId) -> Refusal {
    let pointer = match side {
        Side::Primary => "/primary_id",
        Side::Secondary => "/secondary_id",
    };
    Refusal::at(pointer, "merged_away", format!("this profile was merged into {survivor}; ask for a merge with {survivor} instead"))
}

/// E: 422, each choice that is none at its place.
fn check_keep(primary: &Profile, secondary: &Profile, keep: &Keep) -> Result<(), Refusal> {
    let mut issues = Issues::default();
    for (field, side) in keep {
        let at = format!("/keep/{}", token(field));
        if let Some(key) = field.strip_prefix("attributes.") {
            if !primary.attributes.contains_key(key) && !secondary.attributes.contains_key(key) {
                issues.push(at, "unknown_field", "neither profile has this attribute, so there is nothing to choose");
            }
        } else if TOP_KEYS.contains(&field.as_str()) {
            let kind = IdentityKind::parse(field);
            let chosen = if *side == Side::Secondary { secondary } else { primary };
            if kind.is_none_or(|kind| chosen.primary(&kind).is_none()) {
                issues.push(at, "nothing_to_keep", "the chosen profile has no identity of this kind; keys are never lost by a merge");
            }
        } else if Standard::parse_name(field).is_none() {
            issues.push(
                at,
                "unknown_field",
                "only email, phone, external_id, the standard properties and attributes.* can be chosen; \
                 identities, labels, segments, channels and consents are united, times follow from both",
            );
        }
    }
    issues.into_result()
}

/// Both lists, each text once. `None`: these are not two lists, or they are too long together.
fn united(first: &Value, second: &Value) -> Option<Value> {
    let (first, second) = (first.as_array()?, second.as_array()?);
    let mut out = first.clone();
    out.extend(second.iter().filter(|item| !first.contains(item)).cloned());
    (out.len() <= MAX_LIST).then_some(Value::Array(out))
}

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
        } else if let (None, Some(list)) =
            (keep.get(&format!("attributes.{key}")), first.zip(second).and_then(|(first, second)| united(first, second)))
        {
            out.attributes.insert(key.clone(), list);
        }
    }
    for identity in &secondary.identities {
        let mut identity = identity.clone();
        identity.primary = identity.primary && primary.primary(&identity.kind).is_none();
        if !out.holds(&identity.key()) {
            out.identities.push(identity);
        }
    }
    for kind in TOP_KEYS.iter().filter(|kind| keep.get(**kind) == Some(&Side::Secondary)).filter_map(|kind| IdentityKind::parse(kind)) {
        if let Some(first) = secondary.primary(&kind) {
            out.promote(&first.key());
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
    out.hear(secondary.heard());
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
mod tests;
