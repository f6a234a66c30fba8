//! `GET /v1/jobs/{id}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::RecordId;

use super::JobView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Read a job
///
/// How far it is. Jobs can be read for 30 days after they ended.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "Id of the job", example = "0192f0c1-7d7e-7aaa-8000-000000000007")),
    responses((status = 200, description = "The job", body = JobView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/jobs/{id:[0-9a-fA-F-]+}")]
pub async fn read_job(app: Data<App>, caller: Caller<ProfilesRead>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    let job = app.store.job(caller.workspace(), RecordId(id(&path)?)).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(JobView::from(&job)))
}
