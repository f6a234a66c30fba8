//! `GET /v1/merges/{id}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::RecordId;

use super::view::MergeView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::ApiResult,
};

/// Read a merge
///
/// Who became one with whom, when and by whom, what became of every field, and whether it was taken back.
#[utoipa::path(
    tag = "merges",
    params(("id" = String, Path, description = "Id of the merge", example = "0192f0c1-7d7e-7aaa-8000-000000000021")),
    responses(
        (status = 200, description = "The merge", body = MergeView),
        (status = 410, description = "One of the two was erased, and the record with them (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/merges/{id:[0-9a-fA-F-]+}")]
pub async fn read_merge(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let merge = app.store.merged(caller.workspace(), RecordId(id(&path)?)).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(MergeView::from(merge)))
}
