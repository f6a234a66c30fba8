//! A profile as the document describes it. The store keeps exactly these bytes, so nothing here is ever filled in:
//! `domain::profile::Profile` serialises to this shape: change both together.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::ConflictView;

/// One person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "version": 7,
    "email": "ada@example.com", "phone": "+442079460000", "external_id": "crm-17",
    "identities": [{"kind": "email", "value": "ada@example.com", "raw": "Ada@Example.com", "primary": true, "source": "api", "created_at": "2026-01-31T08:00:00.000000Z"}],
    "name": "Ada Lovelace", "first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines", "job_title": null,
    "country": "GB", "city": "London", "language": "en", "timezone": "Europe/London", "avatar_url": null,
    "attributes": {"plan": "pro", "seats": 12}, "channels": [], "last_channel": null, "labels": ["vip"], "segments": [],
    "consents": [{"channel": "email", "status": "opted_in", "opted_in_at": "2026-01-31T08:00:00.000000Z", "opted_out_at": null, "occurred_at": "2026-01-31T08:00:00.000000Z", "source": "signup form"}],
    "last_seen_at": null, "created_at": "2026-01-31T08:00:00.000000Z", "updated_at": "2026-01-31T08:00:00.000000Z", "merged_from": []
}))]
pub struct ProfileView {
    pub id: String,
    /// Rises with every visible change; the `ETag`.
    pub version: i64,
    /// Primary e-mail address.
    pub email: Option<String>,
    /// Primary phone, E.164.
    pub phone: Option<String>,
    /// Primary id in your own system.
    pub external_id: Option<String>,
    /// By kind, the primary of each kind first.
    pub identities: Vec<IdentityView>,
    /// Composed of first and last name where none was given.
    pub name: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company: Option<String>,
    pub job_title: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    pub city: Option<String>,
    /// BCP 47.
    pub language: Option<String>,
    /// IANA.
    pub timezone: Option<String>,
    pub avatar_url: Option<String>,
    /// Custom attributes; see the properties routes.
    #[schema(value_type = Object)]
    pub attributes: BTreeMap<String, Value>,
    /// Channels the person has been seen on.
    pub channels: Vec<String>,
    pub last_channel: Option<String>,
    pub labels: Vec<String>,
    pub segments: Vec<SegmentBadgeView>,
    pub consents: Vec<ConsentView>,
    /// Time of the newest event.
    pub last_seen_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    /// Ids of profiles merged into this one.
    pub merged_from: Vec<String>,
}

/// A key on a profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub struct IdentityView {
    pub kind: String,
    /// Normalised.
    pub value: String,
    /// As it was typed.
    pub raw: String,
    pub primary: bool,
    pub source: String,
    pub created_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SegmentBadge)]
pub struct SegmentBadgeView {
    pub id: String,
    pub name: String,
}

/// Where a person stands on one channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
pub struct ConsentView {
    pub channel: String,
    /// `opted_in`, `opted_out`, `pending` or `unknown`.
    pub status: String,
    pub opted_in_at: Option<String>,
    pub opted_out_at: Option<String>,
    /// When the decision that holds was made.
    pub occurred_at: String,
    pub source: Option<String>,
}

/// A page of people.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileList {
    pub data: Vec<ProfileView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// The exact number of matches; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// An upserted person.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpsertedProfile {
    #[serde(flatten)]
    pub profile: ProfileView,
    /// With `"on_conflict": "strongest"`: the identities that belong to others, and were left with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Vec<ConflictView>>,
}
