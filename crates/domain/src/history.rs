//! What changed between two states of a person, field by field.
//!
//! The same list feeds the history route, the change feed (names only) and the decision whether anything changed at
//! all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{profile::Profile, property::Standard};

/// One field's old and new value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `company`, `email`, `attributes.plan`, `consents.sms`, `labels`, `identities.device`, …
    pub field: String,
    pub old: Value,
    pub new: Value,
}

/// The field-level difference, in the order of the field names. Times and the version are consequences, not changes.
pub fn diff(before: Option<&Profile>, after: &Profile) -> Vec<Change> {
    let old = before.map(fields).unwrap_or_default();
    let new = fields(after);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|field| {
            let (old, new) = (old.get(field).cloned().unwrap_or(Value::Null), new.get(field).cloned().unwrap_or(Value::Null));
            (old != new).then(|| Change { field: field.clone(), old, new })
        })
        .collect()
}

/// The same of two states that differ in labels and segments at most.
pub fn diff_of_sets(before: &Profile, after: &Profile) -> Vec<Change> {
    let sets = [("labels", labels(before), labels(after)), ("segments", segments(before), segments(after))];
    sets.into_iter().filter(|(_, old, new)| old != new).map(|(field, old, new)| Change { field: field.to_owned(), old, new }).collect()
}

fn labels(profile: &Profile) -> Value {
    if profile.labels.is_empty() { Value::Null } else { json!(profile.labels) }
}

fn segments(profile: &Profile) -> Value {
    if profile.segments.is_empty() { Value::Null } else { json!(profile.segments.iter().map(|s| s.id).collect::<Vec<_>>()) }
}

fn fields(profile: &Profile) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let mut put = |field: String, value: Value| {
        out.insert(field, value);
    };
    for property in Standard::ALL {
        if let Some(text) = profile.standard(*property) {
            put(property.as_str().to_owned(), json!(text));
        }
    }
    for (key, value) in &profile.attributes {
        put(format!("attributes.{key}"), value.clone());
    }
    let mut by_kind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for identity in &profile.identities {
        by_kind.entry(identity.kind.as_str()).or_default().push(&identity.value);
    }
    for (kind, values) in by_kind {
        // The first of a kind is its primary; for the three top-level kinds that is a field of its own.
        if matches!(kind, "email" | "phone" | "external_id") {
            put(kind.to_owned(), json!(values[0]));
            if values.len() == 1 {
                continue;
            }
        }
        put(format!("identities.{kind}"), json!(values));
    }
    for (field, value) in [("labels", labels(profile)), ("segments", segments(profile))] {
        if !value.is_null() {
            put(field.to_owned(), value);
        }
    }
    for consent in &profile.consents {
        put(format!("consents.{}", consent.channel), json!(consent.status.as_str()));
    }
    out
}
