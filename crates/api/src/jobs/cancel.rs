//! `POST /v1/jobs/{id}/cancel`

use actix_web::{
    HttpResponse, post,
    web::{Data, Path},
};
use people_domain::id::RecordId;

use super::JobView;
use crate::{
    app::App,
    auth::{Bulk, Caller},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Cancel a job
///
/// At once: once this is answered, nothing more of the job takes effect. What was done before stays done. A job that had
/// ended stays as it is; cancelling again changes nothing.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "Id of the job", example = "0192f0c1-7d7e-7aaa-8000-000000000007")),
    responses((status = 200, description = "The job as it is now", body = JobView)),
    security(("api_key" = ["bulk"]))
)]
#[post("/v1/jobs/{id:[0-9a-fA-F-]+}/cancel")]
pub async fn cancel_job(app: Data<App>, caller: Caller<Bulk>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    let cause = caller.cause(app.store.now());
    let job = app.store.cancel_job(caller.workspace(), RecordId(id(&path)?), cause).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(JobView::from(&job)))
}
