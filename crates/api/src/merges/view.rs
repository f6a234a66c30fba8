//! Merges and previews as they are answered.

use std::collections::BTreeMap;

use people_domain::{
    directory::Seen,
    merge::{
        Keep, Side,
        plan::FieldOutcome,
        revert::{Left, Why},
    },
    profile::Profile,
};
use people_store::{Merged, Moves};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::profiles::view::ProfileView;

/// One field of the survivor.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MergedField)]
pub struct FieldView {
    /// `company`, `email`, `identities`, `attributes.plan`, `consents.sms`, `labels`, `last_seen_at`, …
    pub field: String,
    #[schema(value_type = Value)]
    pub primary: Value,
    #[schema(value_type = Value)]
    pub secondary: Value,
    /// What the survivor gets.
    #[schema(value_type = Value)]
    pub result: Value,
    /// `primary`, `secondary` or `both`: they say the same, or what they say is united.
    pub kept: &'static str,
    /// Both have a value, they differ, and only one of them becomes the survivor's.
    pub conflict: bool,
}

impl From<FieldOutcome> for FieldView {
    fn from(outcome: FieldOutcome) -> Self {
        let FieldOutcome { field, primary, secondary, result, kept, conflict } = outcome;
        Self { field, primary, secondary, result, kept: kept.as_str(), conflict }
    }
}

/// What goes over with the secondary.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MergeMoves)]
pub struct MovesView {
    pub events: i64,
    pub sessions: i64,
    pub segments: i64,
    pub labels: i64,
    pub identities: i64,
    /// Decisions in the ledger of consent.
    pub consents: i64,
}

impl From<Moves> for MovesView {
    fn from(moves: Moves) -> Self {
        let Moves { events, sessions, segments, labels, identities, consents } = moves;
        Self { events, sessions, segments, labels, identities, consents }
    }
}

/// What a merge would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct MergePreview {
    #[schema(value_type = ProfileView)]
    pub primary: Profile,
    #[schema(value_type = ProfileView)]
    pub secondary: Profile,
    /// Field by field, in the order of the profile; fields that neither has are left out.
    pub fields: Vec<FieldView>,
    pub moves: MovesView,
    /// Carries out exactly this: `POST /v1/merges` takes it as long as neither of the two has changed.
    pub preview_token: String,
}

/// Why something is not as it was before the merge.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevertConflict)]
pub struct ConflictView {
    pub field: String,
    /// `edited_since`: the value is not the merge's any more and stays with the survivor. `identity_gone`: the survivor has
    /// lost this key since. `not_allowed`: the attribute's definition does not allow the former value any more.
    /// `opted_out_since`: an opt-out recorded since the merge holds for both.
    pub reason: &'static str,
    /// What the merge made of it.
    #[schema(value_type = Value)]
    pub merged: Value,
    /// What the survivor has and keeps.
    #[schema(value_type = Value)]
    pub current: Value,
    /// What it was before the merge, and is not again.
    #[schema(value_type = Value)]
    pub before: Value,
}

impl From<Left> for ConflictView {
    fn from(left: Left) -> Self {
        let reason = match left.reason {
            Why::EditedSince => "edited_since",
            Why::IdentityGone => "identity_gone",
            Why::NotAllowed => "not_allowed",
            Why::OptedOutSince => "opted_out_since",
        };
        Self { field: left.field, reason, merged: left.merged, current: left.current, before: left.before }
    }
}

/// A merge as it was carried out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Merge, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000021", "primary_id": "0192f0c1-7d7e-7aaa-8000-000000000001",
    "secondary_id": "0192f0c1-7d7e-7aaa-8000-000000000002", "survivor_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "automatic": false,
    "keep": {"company": "secondary"},
    "fields": [{"field": "company", "primary": "Analytical", "secondary": "Analytical Engines", "result": "Analytical Engines", "kept": "secondary", "conflict": true}],
    "moves": {"events": 12, "sessions": 3, "segments": 0, "labels": 1, "identities": 2, "consents": 1},
    "merged_at": "2026-01-31T08:00:00.000000Z", "actor": "key:0192f0c1-7d7e-7aaa-8000-000000000003",
    "request_id": "0192f0c1-7d7e-7aaa-8000-000000000010", "reason": "one person, two forms", "reverted_at": null, "reverted_by": null, "conflicts": []
}))]
pub struct MergeView {
    pub id: String,
    /// Who stayed.
    pub primary_id: String,
    /// Whose id answered for the primary from then on.
    pub secondary_id: String,
    /// Who answers for the primary's id today.
    pub survivor_id: String,
    /// By the rules of identity resolution, when an event brought an anonymous and an identified person together.
    pub automatic: bool,
    /// What the caller chose.
    #[schema(value_type = Object)]
    pub keep: Keep,
    /// What became of every field.
    pub fields: Vec<FieldView>,
    pub moves: MovesView,
    pub merged_at: String,
    /// `key:<id>` of the API key.
    pub actor: String,
    pub request_id: String,
    /// `X-Reason` of the request.
    pub reason: Option<String>,
    /// When it was taken back.
    pub reverted_at: Option<String>,
    pub reverted_by: Option<String>,
    /// What is not as it was before; empty while the merge stands.
    pub conflicts: Vec<ConflictView>,
}

impl From<Merged> for MergeView {
    fn from(merge: Merged) -> Self {
        let (reverted_at, reverted_by, left) =
            merge.reverted.map_or((None, None, Vec::new()), |back| (Some(back.at.to_string()), Some(back.actor), back.left));
        Self {
            id: merge.id.to_string(),
            primary_id: merge.primary_id.to_string(),
            secondary_id: merge.secondary_id.to_string(),
            survivor_id: merge.survivor_id.to_string(),
            automatic: merge.automatic,
            keep: merge.keep,
            fields: merge.fields.into_iter().map(Into::into).collect(),
            moves: merge.moved.into(),
            merged_at: merge.merged_at.to_string(),
            actor: merge.actor,
            request_id: merge.request_id,
            reason: merge.reason,
            reverted_at,
            reverted_by,
            conflicts: left.into_iter().map(Into::into).collect(),
        }
    }
}

/// A page of merges.
#[derive(Debug, Serialize, ToSchema)]
pub struct MergeList {
    pub data: Vec<MergeView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// A side of a merge, in a request.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SideBody {
    Primary,
    Secondary,
}

/// Choices as they are sent.
pub fn keep(sent: BTreeMap<String, SideBody>) -> Keep {
    sent.into_iter()
        .map(|(field, side)| {
            let side = match side {
                SideBody::Primary => Side::Primary,
                SideBody::Secondary => Side::Secondary,
            };
            (field, side)
        })
        .collect()
}

/// What a preview token says: these two, as they were, with these choices.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previewed {
    pub primary: Seen,
    pub secondary: Seen,
    pub keep: Keep,
}
