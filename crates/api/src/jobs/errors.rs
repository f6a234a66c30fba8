//! `GET /v1/jobs/{id}/errors`

use actix_web::{
    HttpRequest, HttpResponse, get,
    web::{Bytes, Data, Path},
};
use futures_util::Stream;
use people_domain::id::{RecordId, WorkspaceId};
use people_store::{Listed, Store, jobs::JobError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::{Query, id},
    paging::totalled,
    problem::{ApiResult, Problem},
    profiles::{export::line, list::limit},
};

/// Errors read at a time for a file of them.
const CHUNK: i64 = 2_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobErrorsParams {
    /// Errors of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// A row that a job could not do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "line": 17, "code": "invalid_email", "detail": "email: expected an e-mail address such as ada@example.com", "profile_id": null
}))]
pub struct JobErrorView {
    /// Line of the file, or place in the selection, from 1.
    pub line: i64,
    /// What a program may branch on.
    pub code: String,
    /// What is wrong and what to do. No value of the row is repeated.
    pub detail: String,
    /// Whom it was about, when that is known.
    pub profile_id: Option<String>,
}

impl From<JobError> for JobErrorView {
    fn from(error: JobError) -> Self {
        Self { line: error.position, code: error.code, detail: error.detail, profile_id: error.profile_id.map(|id| id.to_string()) }
    }
}

/// A page of errors.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobErrorList {
    pub data: Vec<JobErrorView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// Read what a job could not do
///
/// By line, also while the job runs; as a page of JSON, or all of them as a file with `Accept: text/csv`. Nothing of the
/// rows is repeated: a line number says where to look in the file. What concerns somebody who was erased since is gone.
#[utoipa::path(
    tag = "jobs",
    params(
        ("id" = String, Path, description = "Id of the job", example = "0192f0c1-7d7e-7aaa-8000-000000000007"),
        ("Accept" = Option<String>, Header, description = "`application/json` (default) or `text/csv`"),
        JobErrorsParams
    ),
    responses((status = 200, description = "A page of errors", content((JobErrorList = "application/json"), (String = "text/csv")))),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/jobs/{id:[0-9a-fA-F-]+}/errors")]
pub async fn job_errors(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    request: HttpRequest,
    path: Path<String>,
    Query(params): Query<JobErrorsParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, job) = (caller.workspace(), RecordId(id(&path)?));
    if request.headers().get("Accept").is_some_and(|accept| accept.as_bytes().starts_with(b"text/csv")) {
        app.store.job(workspace, job).await?.ok_or_else(Problem::not_found)?;
        return Ok(HttpResponse::Ok()
            .insert_header(("Cache-Control", "no-store"))
            .insert_header(("Content-Disposition", "attachment; filename=\"errors.csv\""))
            .content_type("text/csv; charset=utf-8")
            .streaming(file(app.store.clone(), workspace, job)));
    }
    let limit = limit(params.limit)?;
    let question = cursor::fingerprint(&("job errors", job));
    let after: Option<i64> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    app.store.job(workspace, job).await?.ok_or_else(Problem::not_found)?;
    let mut errors = app.store.job_errors(workspace, job, after.unwrap_or(0), limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut errors, limit, |last| last.position);
    let total = totalled(&app.store, workspace, params.count, Listed::JobErrors(job)).await?;
    let list = JobErrorList { data: errors.into_iter().map(Into::into).collect(), next_cursor, total };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}

/// Every error, as a table.
fn file(store: Store, workspace: WorkspaceId, job: RecordId) -> impl Stream<Item = Result<Bytes, Problem>> {
    async_stream::try_stream! {
        yield line(vec![["line", "code", "detail", "profile_id"].map(str::to_owned).into()])?;
        let mut after = 0;
        loop {
            let errors = store.job_errors(workspace, job, after, CHUNK).await.map_err(Problem::from)?;
            let Some(last) = errors.last().map(|error| error.position) else { break };
            after = last;
            let row = |error: JobError| {
                let profile = error.profile_id.map(|id| id.to_string()).unwrap_or_default();
                vec![error.position.to_string(), error.code, error.detail, profile]
            };
            yield line(errors.into_iter().map(row).collect())?;
        }
    }
}
