//! `POST /v1/merges`

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::{
    directory::{Command, Expected, Outcome},
    id::{ProfileId, WorkspaceId},
};
use people_store::Group;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{self, MergeView, Previewed, SideBody};
use crate::{
    app::App,
    auth::{Caller, ProfilesMerge},
    cursor,
    extract::{Body, NoQuery, Query, Shape},
    problem::{ApiResult, Kind, Problem},
    writes::{Answer, carry_out, only},
};

/// A merge as it was previewed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMerge {
    /// Who stays.
    pub primary_id: Uuid,
    /// Who becomes part of the primary.
    pub secondary_id: Uuid,
    /// As in the preview.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub keep: BTreeMap<String, SideBody>,
    /// Of the preview.
    pub preview_token: String,
}

impl Shape for CreateMerge {}

impl CreateMerge {
    fn command(self, workspace: WorkspaceId) -> ApiResult<Command> {
        let wrong = |detail: &str| Problem::at(Kind::ValidationFailed, "/preview_token", "invalid_preview_token", detail);
        let (primary, secondary, keep) = (ProfileId(self.primary_id), ProfileId(self.secondary_id), view::keep(self.keep));
        let previewed: Previewed = cursor::opened(workspace, &self.preview_token)
            .ok_or_else(|| wrong("expected the preview_token of POST /v1/merges/preview, exactly as it was given"))?;
        if previewed.keep != keep {
            return Err(wrong("the token belongs to a preview with other choices; preview these"));
        }
        let expected = Expected { primary: previewed.primary, secondary: previewed.secondary };
        Ok(Command::Merge { primary, secondary, keep, expected })
    }
}

/// The record of the only merge.
pub(super) fn record(group: &Group) -> ApiResult<MergeView> {
    match only(group)? {
        Outcome::Merged { id, .. } => group.merges.get(id).cloned().map(Into::into).ok_or_else(Problem::not_found),
        _ => Err(Problem::not_found()),
    }
}

/// Merge two people
///
/// Everything of the secondary goes over to the primary in one transaction: identities, events, sessions, labels,
/// segments, consents with their ledger, and the history. Nothing is lost and nothing counted twice. The secondary's id
/// answers for the primary from then on, through chains. It is carried out exactly as previewed: when either of the two
/// has changed since, the answer is 409 `preview_stale`, and a new preview is due. A merge is final unless somebody
/// reverts it knowingly. Very many events (hundreds of thousands) take some seconds to move.
#[utoipa::path(
    tag = "merges",
    params(("X-Reason" = Option<String>, Header, description = "Why, for the record and the history")),
    request_body(content = CreateMerge, example = json!({
        "primary_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "secondary_id": "0192f0c1-7d7e-7aaa-8000-000000000002",
        "keep": {"company": "secondary"}, "preview_token": "kq3J…"
    })),
    responses(
        (status = 201, description = "The merge as it was carried out", body = MergeView, headers(("Location" = String, description = "Where the record is read"))),
        (status = 404, description = "One of the two is nobody (`not_found`)"),
        (status = 409, description = "One of the two has changed since the preview (`preview_stale`)"),
        (status = 410, description = "One of the two was erased (`profile_erased`)"),
        (status = 422, description = "The two are one person, one of the ids was merged away (`merged_away`), or the token is none of this preview (`validation_failed`)")
    ),
    security(("api_key" = ["profiles:merge"]))
)]
#[post("/v1/merges")]
pub async fn create_merge(
    app: Data<App>,
    caller: Caller<ProfilesMerge>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateMerge>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let command = body.value.command(caller.workspace())?;
    carry_out(&app, &caller, app.store.now(), vec![command], idempotency, |group| {
        let view = record(group)?;
        let at = format!("/v1/merges/{}", view.id);
        Ok(Answer::json(201, serde_json::to_string(&view).unwrap_or_default()).located(at))
    })
    .await
}
