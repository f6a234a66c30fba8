//! A suggestion as it is answered.

use people_domain::{
    duplicate::{Reason, TENTHS},
    profile::Profile,
};
use people_store::Suggestion;
use serde::Serialize;
use utoipa::ToSchema;

/// What a person is told by in a list of pairs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileSummary)]
pub struct ProfileSummary {
    pub id: String,
    pub version: u64,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub external_id: Option<String>,
    pub company: Option<String>,
    pub city: Option<String>,
    pub country: Option<String>,
    pub avatar_url: Option<String>,
    pub last_seen_at: Option<String>,
    pub created_at: String,
}

impl From<Profile> for ProfileSummary {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id.to_string(),
            version: profile.version,
            name: profile.name,
            email: profile.email,
            phone: profile.phone,
            external_id: profile.external_id,
            company: profile.company,
            city: profile.city,
            country: profile.country,
            avatar_url: profile.avatar_url,
            last_seen_at: profile.last_seen_at.map(|at| at.to_string()),
            created_at: profile.created_at.to_string(),
        }
    }
}

/// One piece of evidence.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DuplicateReason, example = json!({"field": "last_name", "level": "same", "points": 8.9, "detail": "Same last name"}))]
pub struct ReasonView {
    /// As filters call it: `first_name`, `email`, `attributes.date_of_birth`, …; `name` for both names together,
    /// `identities` for keys, `shared` for what a household or an office has in common.
    pub field: String,
    /// How far the two agree: `same`, `close` (a slip of the hand), `initial`, `swapped`, `different`; for e-mail
    /// addresses also `same_mailbox`, `same_local_part`, `same_name`; `identity_conflict` when one message named both;
    /// `capped` for what is taken off again.
    pub level: String,
    /// What it adds to the score; below zero it speaks against.
    pub points: f64,
    /// In a sentence.
    pub detail: String,
}

impl From<Reason> for ReasonView {
    fn from(reason: Reason) -> Self {
        Self { field: reason.field, level: reason.level, points: points(reason.tenths), detail: reason.detail }
    }
}

/// Tenths as the points they are.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn points(tenths: i64) -> f64 {
    tenths as f64 / TENTHS as f64
}

/// Two people who may be one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Duplicate, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000011",
    "profiles": [
        {"id": "0192f0c1-7d7e-7aaa-8000-000000000001", "version": 3, "name": "Ada Lovelace", "email": "ada@example.com", "phone": null, "external_id": "crm-17",
         "company": null, "city": "London", "country": "GB", "avatar_url": null, "last_seen_at": null, "created_at": "2026-01-31T08:00:00.000000Z"},
        {"id": "0192f0c1-7d7e-7aaa-8000-000000000002", "version": 1, "name": "Ada Lovelase", "email": "ada@work.example", "phone": null, "external_id": null,
         "company": null, "city": "London", "country": "GB", "avatar_url": null, "last_seen_at": null, "created_at": "2026-02-01T08:00:00.000000Z"}
    ],
    "score": 25.6,
    "reasons": [
        {"field": "first_name", "level": "same", "points": 6.9, "detail": "Same first name"},
        {"field": "last_name", "level": "close", "points": 4.2, "detail": "Nearly the same last name"},
        {"field": "email", "level": "same_local_part", "points": 9.2, "detail": "E-mail addresses share the part before the @"},
        {"field": "city", "level": "same", "points": 5.1, "detail": "Same city"},
        {"field": "country", "level": "same", "points": 0.2, "detail": "Same country, a common one"}
    ],
    "status": "open", "found_at": "2026-02-01T08:00:00.000000Z", "dismissed_at": null, "dismissed_by": null
}))]
pub struct SuggestionView {
    pub id: String,
    /// The two, the older profile first.
    pub profiles: Vec<ProfileSummary>,
    /// The sum of the reasons' points. Each point doubles the odds that the two are one person.
    pub score: f64,
    pub reasons: Vec<ReasonView>,
    /// `open` or `dismissed`.
    pub status: String,
    pub found_at: String,
    pub dismissed_at: Option<String>,
    /// `key:<id>` of the API key.
    pub dismissed_by: Option<String>,
}

impl From<Suggestion> for SuggestionView {
    fn from(suggestion: Suggestion) -> Self {
        Self {
            id: suggestion.id.to_string(),
            profiles: suggestion.profiles.into_iter().map(Into::into).collect(),
            score: points(suggestion.score),
            reasons: suggestion.reasons.into_iter().map(Into::into).collect(),
            status: suggestion.status.as_str().to_owned(),
            found_at: suggestion.found_at.to_string(),
            dismissed_at: suggestion.dismissed_at.map(|at| at.to_string()),
            dismissed_by: suggestion.dismissed_by,
        }
    }
}

/// A page of pairs, best first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DuplicateList)]
pub struct SuggestionList {
    pub data: Vec<SuggestionView>,
    pub next_cursor: Option<String>,
    /// Only with `count=true`: exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}
