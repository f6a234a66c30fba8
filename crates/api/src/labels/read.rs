//! `GET /v1/labels/{name}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};

use super::{LabelView, named};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query},
    problem::{ApiResult, Problem},
};

/// Read a label
///
/// With the exact number of people who carry it.
#[utoipa::path(
    tag = "labels",
    params(("name" = String, Path, description = "The label, percent-encoded", example = "vip")),
    responses((status = 200, description = "The label", body = LabelView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/labels/{name}")]
pub async fn read_label(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let label = app.store.label(workspace, &named(&path)?).await?.ok_or_else(Problem::not_found)?;
    let view = LabelView::counted(&app.store, workspace, label).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}
