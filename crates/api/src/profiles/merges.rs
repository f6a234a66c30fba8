//! `GET /v1/profiles/{id}/merges`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::{ProfileId, RecordId};
use people_store::Listed;

use super::timeline::who_answers;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::{Query, id},
    merges::view::{MergeList, MergeView},
    paging::{PageParams, totalled},
    problem::ApiResult,
};

/// List the merges of a person
///
/// Those they survived, those of the people who became part of them, and those they came back from; newest first.
#[utoipa::path(
    tag = "merges",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), PageParams),
    responses((status = 200, description = "A page of merges", body = MergeList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/merges")]
pub async fn profile_merges(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<PageParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let limit = super::list::limit(params.limit)?;
    let question = cursor::fingerprint(&("merges", profile));
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let who = who_answers(&app.store, workspace, profile).await?;
    let mut rows = app.store.merges_of(workspace, who, before, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.id);
    let data = rows.into_iter().map(MergeView::from).collect();
    let total = totalled(&app.store, workspace, params.count, Listed::Merges(who)).await?;
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(MergeList { data, next_cursor, total });
    Ok(super::found_at(answer, profile, who, "/merges"))
}
