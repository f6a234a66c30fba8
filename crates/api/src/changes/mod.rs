//! `/v1/changes`: every change of the workspace, in the order of commits. A page of it (`list`), or as it goes (`stream`);
//! here are the change as it is told, which webhooks send too, and where a reader stands.

pub mod list;
pub mod stream;

use people_domain::{Timestamp, id::WorkspaceId};
use people_store::{Due, MergeOf};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{cursor, problem::ApiResult, profiles::view::ProfileView};

/// Cursors of the feed continue no query: page and stream take each other's.
const FEED: &str = "changes";

fn written(workspace: WorkspaceId, seq: i64) -> String {
    cursor::write(workspace, FEED, &seq)
}

/// E: `invalid_cursor`.
fn read(workspace: WorkspaceId, cursor: &str) -> ApiResult<i64> {
    cursor::read(workspace, FEED, cursor)
}

/// What became of whom. Names of fields, never their values.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangeData)]
pub struct ChangeView<'a> {
    /// Number of the change: rises along the feed.
    pub sequence: i64,
    pub profile_id: Uuid,
    /// Of the profile, after it.
    pub version: i64,
    /// Names of the fields that changed.
    pub fields: &'a [String],
    /// The entry of the history, the merge or the receipt it belongs to.
    pub record_id: Uuid,
    /// Of a `profile.merged`: who was merged into whom. `null` once the record went with somebody who was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MergeTold>)]
    pub merge: Option<Option<MergeTold>>,
    /// Where it was asked for: the person as they are at the time of reading; `null` when there is nobody under this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProfileView>)]
    pub profile: Option<Option<&'a RawValue>>,
}

/// A merge in one change: the secondary's id is nobody's from here on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangeMerge)]
pub struct MergeTold {
    pub id: Uuid,
    pub primary_id: Uuid,
    pub secondary_id: Uuid,
    /// What became of each field either of them had.
    pub fields: Vec<MergeFieldTold>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangeMergeField)]
pub struct MergeFieldTold {
    pub field: String,
    /// `primary`, `secondary` or `both`.
    pub kept: &'static str,
    /// Both had a value, they differed, and only one of them is the survivor's.
    pub conflict: bool,
}

impl From<&MergeOf> for MergeTold {
    fn from(merge: &MergeOf) -> Self {
        let told = |outcome: &people_domain::merge::plan::FieldOutcome| MergeFieldTold {
            field: outcome.field.clone(),
            kept: outcome.kept.as_str(),
            conflict: outcome.conflict,
        };
        Self {
            id: merge.id,
            primary_id: merge.primary_id,
            secondary_id: merge.secondary_id,
            fields: merge.fields.iter().map(told).collect(),
        }
    }
}

impl<'a> ChangeView<'a> {
    pub fn of(due: &'a Due, with_profile: bool) -> Self {
        let change = &due.change;
        let profile: Option<&RawValue> = due.document.as_deref().and_then(|document| serde_json::from_str(document).ok());
        Self {
            sequence: change.seq,
            profile_id: change.profile_id,
            version: change.version,
            fields: &change.fields,
            record_id: change.record_id,
            merge: change.is_merge().then(|| due.merge.as_ref().map(Into::into)),
            profile: with_profile.then_some(profile),
        }
    }
}

/// A change of the feed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
pub struct FeedItem<'a> {
    /// Continues after this change.
    pub cursor: String,
    /// `profile.created`, `profile.updated`, `profile.erased`, `profile.merged` or `profile.merge_reverted`.
    pub r#type: &'a str,
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// The API key, rule or job that made it.
    pub actor: &'a str,
    pub request_id: &'a str,
    #[schema(inline)]
    pub data: ChangeView<'a>,
}

impl<'a> FeedItem<'a> {
    fn of(workspace: WorkspaceId, due: &'a Due, with_profile: bool) -> Self {
        let change = &due.change;
        Self {
            cursor: written(workspace, change.seq),
            r#type: &change.kind,
            timestamp: change.at,
            actor: &change.actor,
            request_id: &change.request_id,
            data: ChangeView::of(due, with_profile),
        }
    }
}
