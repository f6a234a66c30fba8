//! A merge told field by field, before it happens and afterwards: what each side has, what the survivor gets, and where
//! the two disagree. It is computed from the very state that [`outcome`] decides, so a preview cannot
//! differ from its result.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Judged, Keep, merged, outcome};
use crate::{Refusal, profile::Profile, property::Standard};

/// Whose value the survivor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    Primary,
    Secondary,
    /// Both say the same, or what they say is united.
    Both,
}

impl Kept {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Both => "both",
        }
    }
}

/// One field of the survivor.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldOutcome {
    /// `company`, `email`, `identities`, `attributes.plan`, `consents.sms`, `labels`, `last_seen_at`, …
    pub field: String,
    pub primary: Value,
    pub secondary: Value,
    pub result: Value,
    pub kept: Kept,
    /// Both have a value, they differ, and one of them does not become the survivor's.
    pub conflict: bool,
}

/// What a merge makes of two people.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub result: Profile,
    /// In the order of the document; fields that neither has are left out.
    pub fields: Vec<FieldOutcome>,
}

/// E: as [`outcome`].
pub fn plan(primary: &Profile, secondary: &Profile, keep: &Keep) -> Result<Plan, Refusal> {
    let result = outcome(primary, secondary, keep)?;
    let fields = fields(primary, secondary, &result);
    Ok(Plan { result, fields })
}

impl Plan {
    /// With the labels and segments that rules and segments leave the survivor.
    pub fn judged(self, primary: &Profile, secondary: &Profile, judged: &Judged) -> Self {
        let mut result = self.result;
        judged.lay_over(&mut result);
        let fields = fields(primary, secondary, &result);
        Self { result, fields }
    }
}

/// A merge that happened, told again.
pub fn told(primary: &Profile, secondary: &Profile, keep: &Keep, judged: Option<&Judged>) -> Vec<FieldOutcome> {
    let mut result = merged(primary, secondary, keep);
    result.settle(Some(primary));
    if let Some(judged) = judged {
        judged.lay_over(&mut result);
    }
    fields(primary, secondary, &result)
}

/// How a field of the survivor comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// One of the two values.
    Chosen,
    /// Members of both.
    United,
    /// Follows from both by a rule of its own; nobody chooses.
    Follows,
}

fn fields(primary: &Profile, secondary: &Profile, result: &Profile) -> Vec<FieldOutcome> {
    let (first, second, joined) = (values(primary), values(secondary), values(result));
    let mut names: Vec<(String, Rule)> = ["email", "phone", "external_id"].map(|name| (name.to_owned(), Rule::Chosen)).into();
    names.push(("identities".to_owned(), Rule::United));
    names.extend(Standard::ALL.iter().map(|property| (property.as_str().to_owned(), Rule::Chosen)));
    let under = |prefix: &str| -> BTreeSet<String> {
        first.keys().chain(second.keys()).chain(joined.keys()).filter(|name| name.starts_with(prefix)).cloned().collect()
    };
    names.extend(under("attributes.").into_iter().map(|name| (name, Rule::Chosen)));
    names.push(("channels".to_owned(), Rule::United));
    names.push(("last_channel".to_owned(), Rule::Follows));
    names.extend(["labels", "segments"].map(|name| (name.to_owned(), Rule::United)));
    names.extend(under("consents.").into_iter().map(|name| (name, Rule::Chosen)));
    names.extend(["last_seen_at", "created_at"].map(|name| (name.to_owned(), Rule::Follows)));
    names.push(("merged_from".to_owned(), Rule::United));
    names
        .into_iter()
        .filter_map(|(field, rule)| {
            let of = |values: &BTreeMap<String, Value>| values.get(&field).cloned().unwrap_or(Value::Null);
            let (primary, secondary, result) = (of(&first), of(&second), of(&joined));
            if primary.is_null() && secondary.is_null() && result.is_null() {
                return None;
            }
            let both = !primary.is_null() && !secondary.is_null();
            let kept = match rule {
                Rule::United if both => Kept::Both,
                _ if primary == secondary => Kept::Both,
                _ if result == primary => Kept::Primary,
                _ if result == secondary => Kept::Secondary,
                Rule::United if primary.is_null() => Kept::Secondary,
                Rule::United => Kept::Primary,
                _ => Kept::Both,
            };
            let disagree = match field.strip_prefix("consents.") {
                Some(_) => primary["status"] != secondary["status"],
                None => primary != secondary,
            };
            let conflict = rule == Rule::Chosen && both && disagree && !(primary.is_array() && kept == Kept::Both);
            Some(FieldOutcome { field, primary, secondary, result, kept, conflict })
        })
        .collect()
}

/// Every visible value of a profile by field; what is empty is left out.
pub fn values(profile: &Profile) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let mut put = |field: &str, value: Value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            out.insert(field.to_owned(), value);
        }
    };
    put("email", json!(profile.email));
    put("phone", json!(profile.phone));
    put("external_id", json!(profile.external_id));
    put("identities", json!(profile.identities));
    for property in Standard::ALL {
        put(property.as_str(), json!(profile.standard(*property)));
    }
    for (key, value) in &profile.attributes {
        put(&format!("attributes.{key}"), value.clone());
    }
    put("channels", json!(profile.channels));
    put("last_channel", json!(profile.last_channel));
    put("labels", json!(profile.labels));
    put("segments", json!(profile.segments));
    for consent in &profile.consents {
        put(&format!("consents.{}", consent.channel), json!(consent));
    }
    put("last_seen_at", json!(profile.last_seen_at));
    put("created_at", json!(profile.created_at));
    put("merged_from", json!(profile.merged_from));
    out
}
