//! The people the stories are about, and small helpers to read answers with.

use serde_json::{Value, json};

pub(crate) fn ada() -> Value {
    json!({
        "email": "Ada@Example.com",
        "phone": "+44 20 7946 0000",
        "external_id": "crm-17",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "company": "Analytical Engines",
        "country": "gb",
        "city": "London",
        "language": "en",
        "timezone": "Europe/London",
        "attributes": {"plan": "pro", "seats": 12, "trial_ends": "2026-12-01T00:00:00Z"},
        "labels": ["vip"],
        "consents": [{"channel": "email", "status": "opted_in", "source": "signup form"}]
    })
}

pub(crate) fn grace() -> Value {
    json!({"email": "grace@navy.example", "external_id": "crm-18", "name": "Grace Hopper", "company": "US Navy", "country": "US"})
}

/// A person with nothing but an external id.
pub(crate) fn nobody(external_id: &str) -> Value {
    json!({"external_id": external_id})
}

#[track_caller]
pub(crate) fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

#[track_caller]
pub(crate) fn version(profile: &Value) -> u64 {
    profile["version"].as_u64().unwrap_or_else(|| panic!("no version in {profile}"))
}

#[track_caller]
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("`{field}` is not a list in {value}"))
}

/// The path of a profile, and of what is under it.
pub(crate) fn path(profile: &Value, rest: &str) -> String {
    format!("/v1/profiles/{}{rest}", id(profile))
}

/// The values of the identities of one kind, the primary first.
pub(crate) fn identities<'a>(profile: &'a Value, kind: &str) -> Vec<&'a str> {
    list(profile, "identities").iter().filter(|i| i["kind"] == kind).filter_map(|i| i["value"].as_str()).collect()
}

/// A history entry's changes as `field → [old, new]`.
pub(crate) fn changes(entry: &Value) -> Value {
    list(entry, "changes").iter().map(|c| (c["field"].as_str().unwrap_or_default().to_owned(), json!([c["old"], c["new"]]))).collect()
}
