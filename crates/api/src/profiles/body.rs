//! What a request may say about a person, and its translation into a domain draft or patch.

use people_domain::{
    Issue, Timestamp,
    clock::Span,
    consent::{self, Decision, Status},
    directory::{Draft, Patch},
    identity::{IdentityKey, IdentityKind, MAX_VALUE_BYTES, NewIdentity},
    label,
    property::{self, Standard},
    refusal::Issues,
    text::clean,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    extract::{MIB, Sent, Shape},
    problem::{ApiResult, Problem},
};

/// A key to put on a profile.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "whatsapp", "value": "442079460000"}))]
pub struct IdentityBody {
    /// `email`, `phone`, `external_id`, `anonymous_id`, or any channel handle: `[a-z][a-z0-9_]{0,31}`.
    pub kind: String,
    pub value: String,
}

/// A consent decision.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentBody {
    pub channel: String,
    /// `opted_in`, `opted_out`, `pending` or `unknown`.
    pub status: String,
    /// When the person decided; now by default.
    pub occurred_at: Option<String>,
    /// Where: the name of a form, a call, an import.
    pub source: Option<String>,
    /// What proves it, at most 8 KiB.
    pub evidence: Option<String>,
}

macro_rules! profile_body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub email: Sent<String>,
            /// Any spelling; nationally only when the workspace has a default country.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub phone: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub external_id: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub name: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub first_name: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub last_name: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub company: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub job_title: Sent<String>,
            /// ISO 3166-1 alpha-2.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub country: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub city: Sent<String>,
            /// BCP 47.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub language: Sent<String>,
            /// IANA.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub timezone: Sent<String>,
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            pub avatar_url: Sent<String>,
            /// Merged key by key; `null` clears a key.
            #[serde(default)]
            #[schema(value_type = Option<Object>)]
            pub attributes: Sent<Map<String, Value>>,
            $($(#[$field_meta])* #[serde(default)] pub $field: $type,)*
        }

        impl $name {
            fn common(&mut self) -> Common {
                Common {
                    primaries: [
                        ("email", std::mem::take(&mut self.email)),
                        ("phone", std::mem::take(&mut self.phone)),
                        ("external_id", std::mem::take(&mut self.external_id)),
                    ],
                    standard: [
                        (Standard::Name, std::mem::take(&mut self.name)),
                        (Standard::FirstName, std::mem::take(&mut self.first_name)),
                        (Standard::LastName, std::mem::take(&mut self.last_name)),
                        (Standard::Company, std::mem::take(&mut self.company)),
                        (Standard::JobTitle, std::mem::take(&mut self.job_title)),
                        (Standard::Country, std::mem::take(&mut self.country)),
                        (Standard::City, std::mem::take(&mut self.city)),
                        (Standard::Language, std::mem::take(&mut self.language)),
                        (Standard::Timezone, std::mem::take(&mut self.timezone)),
                        (Standard::AvatarUrl, std::mem::take(&mut self.avatar_url)),
                    ],
                    attributes: std::mem::take(&mut self.attributes),
                }
            }
        }
    };
}

profile_body! {
    /// A new person. At least one identity is needed.
    CreateProfile {
        /// Further keys.
        identities: Vec<IdentityBody>,
        labels: Vec<String>,
        consents: Vec<ConsentBody>,
    }
}

profile_body! {
    /// A person to be found by any identity and updated, or created.
    UpsertProfile {
        /// Further keys.
        identities: Vec<IdentityBody>,
        /// Added.
        labels: Vec<String>,
        /// Recorded.
        consents: Vec<ConsentBody>,
        /// When the identities belong to different people: `reject` (default), or `strongest` to take
        /// external_id > email > phone > other and report the rest.
        on_conflict: Option<String>,
    }
}

profile_body! {
    /// A correction: absent keeps, `null` clears.
    PatchProfile {}
}

impl Shape for CreateProfile {
    fn notice(body: &Value) -> Vec<Issue> {
        objects_only(body)
    }
}

impl Shape for UpsertProfile {
    fn notice(body: &Value) -> Vec<Issue> {
        objects_only(body)
    }
}

/// serde would also take the members of a struct as a list, in order: nobody means that.
fn objects_only(body: &Value) -> Vec<Issue> {
    ["identities", "consents"]
        .into_iter()
        .flat_map(|key| body.get(key).and_then(Value::as_array).into_iter().flatten().enumerate().map(move |(i, item)| (key, i, item)))
        .filter(|(_, _, item)| item.is_array())
        .map(|(key, i, _)| Issue::new(format!("/{key}/{i}"), "wrong_type", "expected an object, got a list"))
        .collect()
}

impl Shape for PatchProfile {
    const MEDIA: &'static [&'static str] = &["application/json", "application/merge-patch+json"];

    fn notice(body: &Value) -> Vec<Issue> {
        let elsewhere = [
            ("labels", "labels are added with PUT and removed with DELETE on /v1/profiles/{id}/labels/{name}"),
            ("consents", "consent is recorded with PUT /v1/profiles/{id}/consents/{channel}"),
            (
                "identities",
                "identities are added with POST /v1/profiles/{id}/identities and removed with DELETE /v1/profiles/{id}/identities/{kind}/{value}",
            ),
        ];
        elsewhere
            .into_iter()
            .filter(|(key, _)| body.get(key).is_some())
            .map(|(key, detail)| Issue::new(format!("/{key}"), "unknown_field", detail))
            .collect()
    }
}

/// Bodies of many people.
pub const MANY: usize = 4 * MIB;

/// What all three bodies say.
struct Common {
    primaries: [(&'static str, Sent<String>); 3],
    standard: [(Standard, Sent<String>); 10],
    attributes: Sent<Map<String, Value>>,
}

/// A key from its kind and spelling.
pub fn identity(kind: &str, value: &str, country: Option<&str>, at: &str) -> Result<NewIdentity, Issue> {
    let kind = IdentityKind::parse(kind).ok_or_else(|| {
        Issue::new(format!("{at}/kind"), "invalid_kind", "a kind is a lower-case word such as email, phone, external_id or whatsapp")
    })?;
    if value.len() > 2 * MAX_VALUE_BYTES {
        return Err(Issue::new(format!("{at}/value"), "too_long", format!("an identity is at most {MAX_VALUE_BYTES} bytes")));
    }
    let key = IdentityKey::parse(&kind, value, country).map_err(|issue| issue.under(&format!("{at}/value")))?;
    Ok(NewIdentity { key, raw: value.to_owned() })
}

fn primary(kind: &'static str, value: &str, country: Option<&str>) -> Result<NewIdentity, Issue> {
    identity(kind, value, country, "").map_err(|issue| Issue { pointer: format!("/{kind}"), ..issue })
}

fn standard(sent: [(Standard, Sent<String>); 10], issues: &mut Issues) -> Vec<(Standard, Option<String>)> {
    sent.into_iter()
        .filter_map(|(property, sent)| {
            let value = sent.into_option()?;
            match value {
                None => Some((property, None)),
                Some(text) => issues
                    .take(property.parse(&text).map_err(|issue| issue.under(&format!("/{}", property.as_str()))))
                    .map(|value| (property, value)),
            }
        })
        .collect()
}

fn attribute_names(attributes: &Map<String, Value>, issues: &mut Issues) {
    for key in attributes.keys().filter(|key| !property::is_key(key)) {
        issues.push(property::pointer(key), "invalid_attribute_name", property::KEY_RULE);
    }
}

pub(crate) fn decision(body: &ConsentBody, now: Timestamp, at: &str) -> Result<Decision, Vec<Issue>> {
    let mut issues = Issues::default();
    let channel = issues.take(consent::parse_channel(&body.channel).map_err(|issue| issue.under(&format!("{at}/channel"))));
    let status = Status::parse(&body.status);
    if status.is_none() {
        issues.push(format!("{at}/status"), "not_an_option", "expected opted_in, opted_out, pending or unknown");
    }
    let occurred_at = match body.occurred_at.as_deref().map(Timestamp::parse) {
        None => Some(now),
        // A clock may be a little ahead of ours; a decision is never made tomorrow.
        Some(Some(at)) if at <= now.plus(Span::from_seconds(300)) => Some(at.min(now)),
        Some(Some(_)) => {
            issues.push(format!("{at}/occurred_at"), "invalid_datetime", "a decision cannot lie in the future");
            None
        }
        Some(None) => {
            issues.push(format!("{at}/occurred_at"), "invalid_datetime", "expected an RFC 3339 time such as 2026-01-31T08:00:00Z");
            None
        }
    };
    let mut text = |value: &Option<String>, name: &str, max: usize| {
        value.as_deref().and_then(|text| match clean(text, max) {
            Ok(text) => text,
            Err(_) => {
                issues.push(format!("{at}/{name}"), "too_long", format!("at most {max} bytes"));
                None
            }
        })
    };
    let (source, evidence) = (text(&body.source, "source", 500), text(&body.evidence, "evidence", 8 * 1024));
    match (channel, status, occurred_at, issues.into_result()) {
        (Some(channel), Some(status), Some(occurred_at), Ok(())) => Ok(Decision { channel, status, occurred_at, source, evidence }),
        (.., Err(refusal)) => Err(refusal.issues),
        _ => Err(vec![Issue::new(at, "invalid_value", "expected a consent decision")]),
    }
}

fn draft(
    common: Common,
    identities: &[IdentityBody],
    labels: &[String],
    consents: &[ConsentBody],
    country: Option<&str>,
    now: Timestamp,
) -> ApiResult<Draft> {
    let mut issues = Issues::default();
    let primaries = common
        .primaries
        .into_iter()
        .filter_map(|(kind, sent)| sent.value().and_then(|value| issues.take(primary(kind, &value, country))))
        .collect();
    let identities = identities
        .iter()
        .enumerate()
        .filter_map(|(i, body)| issues.take(identity(&body.kind, &body.value, country, &format!("/identities/{i}"))))
        .collect();
    let standard = standard(common.standard, &mut issues);
    let labels = labels
        .iter()
        .enumerate()
        .filter_map(|(i, text)| issues.take(label::parse(text).map_err(|issue| issue.under(&format!("/labels/{i}")))))
        .collect();
    let mut decisions = Vec::new();
    for (i, body) in consents.iter().enumerate() {
        match decision(body, now, &format!("/consents/{i}")) {
            Ok(decision) => decisions.push(decision),
            Err(found) => found.into_iter().for_each(|issue| issues.add(issue)),
        }
    }
    let attributes = common.attributes.value().unwrap_or_default();
    attribute_names(&attributes, &mut issues);
    issues.into_result()?;
    Ok(Draft { primaries, identities, standard, attributes, labels, decisions, undated: Vec::new() })
}

impl CreateProfile {
    pub fn parse(mut self, country: Option<&str>, now: Timestamp) -> ApiResult<Draft> {
        let common = self.common();
        draft(common, &self.identities, &self.labels, &self.consents, country, now)
    }
}

impl UpsertProfile {
    pub fn parse(mut self, country: Option<&str>, now: Timestamp) -> ApiResult<(Draft, people_domain::directory::OnConflict)> {
        let on_conflict = match self.on_conflict.as_deref() {
            None | Some("reject") => people_domain::directory::OnConflict::Reject,
            Some("strongest") => people_domain::directory::OnConflict::Strongest,
            Some(_) => return Err(Problem::invalid(vec![Issue::new("/on_conflict", "not_an_option", "expected reject or strongest")])),
        };
        let common = self.common();
        Ok((draft(common, &self.identities, &self.labels, &self.consents, country, now)?, on_conflict))
    }
}

impl PatchProfile {
    pub fn parse(mut self, country: Option<&str>) -> ApiResult<Patch> {
        let common = self.common();
        let mut issues = Issues::default();
        let mut primaries = Vec::new();
        for (kind, sent) in common.primaries {
            let parsed_kind = IdentityKind::parse(kind);
            match (sent, parsed_kind) {
                (Sent::Null, Some(kind)) => primaries.push((kind, None)),
                (Sent::Value(value), Some(parsed)) => {
                    if let Some(new) = issues.take(primary(kind, &value, country)) {
                        primaries.push((parsed, Some(new)));
                    }
                }
                _ => {}
            }
        }
        let standard = standard(common.standard, &mut issues);
        // RFC 7396: null removes the member, and a profile's attributes are then empty.
        let clear_attributes = matches!(common.attributes, Sent::Null);
        let attributes = match common.attributes {
            Sent::Absent => Map::new(),
            Sent::Null => Map::new(),
            Sent::Value(attributes) => attributes,
        };
        attribute_names(&attributes, &mut issues);
        issues.into_result()?;
        Ok(Patch { primaries, standard, clear_attributes, attributes })
    }
}
