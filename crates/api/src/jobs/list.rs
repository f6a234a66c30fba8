//! `GET /v1/jobs`

use actix_web::{HttpResponse, get, web::Data};
use people_domain::id::RecordId;
use people_store::{Listed, jobs::JobStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::JobView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::Query,
    paging::totalled,
    problem::{ApiResult, Problem},
    profiles::list::limit,
};

/// What to list.
#[derive(Clone, Debug, Deserialize, IntoParams, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsParams {
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub status: Option<String>,
    /// `bulk`, `import`, `label_rename`, `label_removal`, …
    pub kind: Option<String>,
    /// Jobs of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    pub data: Vec<JobView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List jobs
///
/// Newest first. Jobs are kept for 30 days after they ended.
#[utoipa::path(
    tag = "jobs",
    params(JobsParams),
    responses((status = 200, description = "A page of jobs", body = JobList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/jobs")]
pub async fn list_jobs(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<JobsParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = limit(params.limit)?;
    let status = params
        .status
        .as_deref()
        .map(|text| {
            let known: Vec<&str> = JobStatus::ALL.iter().map(|status| status.as_str()).collect();
            JobStatus::parse(text).ok_or_else(|| Problem::query("status", &format!("Expected one of: {}.", known.join(", "))))
        })
        .transpose()?;
    let question = cursor::fingerprint(&("jobs", JobsParams { limit: None, cursor: None, count: None, ..params.clone() }));
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut jobs = app.store.jobs(workspace, params.kind.clone(), status, before, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut jobs, limit, |last| last.id);
    let total = totalled(&app.store, workspace, params.count, Listed::Jobs { kind: params.kind, status }).await?;
    let list = JobList { data: jobs.iter().map(Into::into).collect(), next_cursor, total };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}
