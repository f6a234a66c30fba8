//! `POST /v1/merges/preview`

use std::collections::BTreeMap;

use actix_web::{HttpResponse, post, web::Data};
use people_domain::{directory::Expected, id::ProfileId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{self, MergePreview, Previewed, SideBody};
use crate::{
    app::App,
    auth::{Caller, ProfilesMerge},
    cursor,
    extract::{Body, NoQuery, Query, Shape},
    problem::ApiResult,
};

/// Which two, and whose values to keep.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewMerge {
    /// Who stays.
    pub primary_id: Uuid,
    /// Who becomes part of the primary.
    pub secondary_id: Uuid,
    /// By field (`email`, `phone`, `external_id`, the standard properties, `attributes.…`), `primary` or `secondary`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub keep: BTreeMap<String, SideBody>,
}

impl Shape for PreviewMerge {}

/// Preview a merge
///
/// What the survivor would look like, field by field, and what would move; nothing changes. For each field the caller's
/// choice holds, else what the primary has, else what the secondary has. Identities, labels, segments, channels and lists
/// of texts are united; of the consents on a channel the latest decision holds, at the same instant the opt-out. Segments and
/// rules then judge the survivor, as they would after any change: some of what was united may go, and more may come; a label
/// that either of the two carries by hand stays. The result is computed by the same rules that carry the merge out.
#[utoipa::path(
    tag = "merges",
    request_body(content = PreviewMerge, example = json!({
        "primary_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "secondary_id": "0192f0c1-7d7e-7aaa-8000-000000000002",
        "keep": {"company": "secondary"}
    })),
    responses(
        (status = 200, description = "What it would do", body = MergePreview),
        (status = 404, description = "One of the two is nobody (`not_found`)"),
        (status = 410, description = "One of the two was erased (`profile_erased`)"),
        (status = 422, description = "The two are one person, one of the ids was merged away (`merged_away`), a choice is none, or they exceed a limit together (`validation_failed`)")
    ),
    security(("api_key" = ["profiles:merge"]))
)]
#[post("/v1/merges/preview")]
pub async fn preview_merge(
    app: Data<App>,
    caller: Caller<ProfilesMerge>,
    _query: Query<NoQuery>,
    body: Body<PreviewMerge>,
) -> ApiResult<HttpResponse> {
    let PreviewMerge { primary_id, secondary_id, keep } = body.value;
    let keep = view::keep(keep);
    let told = app.store.preview_merge(caller.workspace(), ProfileId(primary_id), ProfileId(secondary_id), keep.clone()).await?;
    let Expected { primary, secondary } = Expected::of(&told.primary, &told.secondary);
    let previewed = Previewed { primary, secondary, keep };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(MergePreview {
        preview_token: cursor::sealed(caller.workspace(), &previewed),
        primary: told.primary,
        secondary: told.secondary,
        fields: told.plan.fields.into_iter().map(Into::into).collect(),
        moves: told.moves.into(),
    }))
}
