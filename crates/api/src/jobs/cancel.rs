//! `POST /v1/jobs/{id}/cancel`

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_domain::id::RecordId;
use people_store::{
    Idempotency, StoredAnswer,
    jobs::{Enqueued, Job},
};

use super::{JobView, body};
use crate::{
    app::App,
    auth::{Bulk, Caller},
    extract::{NoQuery, Query, id, idempotency_key},
    problem::{ApiResult, Problem},
    writes::again,
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
pub async fn cancel_job(
    app: Data<App>,
    caller: Caller<Bulk>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let id = RecordId(id(&path)?);
    // There is no body: the path is the request.
    let idempotency = idempotency_key(&request)?.map(|key| Idempotency { key, fingerprint: format!("cancel {id}") });
    let render = |job: &Job| StoredAnswer { status: 200, headers: Vec::new(), body: Some(body(job)) };
    let cancelled = app.store.cancel_job(caller.workspace(), id, caller.cause(app.store.now()), idempotency, render).await?;
    match cancelled.ok_or_else(Problem::not_found)? {
        Enqueued::Now(job) => Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(JobView::from(&*job))),
        Enqueued::Replayed(answer) => Ok(again(answer)),
        Enqueued::Refused(refusal) => Err(refusal.into()),
    }
}
