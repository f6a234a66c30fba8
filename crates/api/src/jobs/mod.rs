//! Jobs: work that goes on after its request was answered. One operation a file; here is the view they share, the answer
//! 202 that every request for a job gets, and the list of kinds.
//!
//! To add a kind: a type with [`JobKind`] in a file of its resource (`bulk/work.rs` shows how), and a line in [`kinds`].

pub mod cancel;
pub mod errors;
pub mod list;
pub mod read;
pub mod stream;

use std::sync::Arc;

use actix_web::HttpResponse;
use people_domain::id::{RecordId, WorkspaceId};
use people_store::{
    Breed, DuplicateScan, Settle, Store, StoredAnswer,
    jobs::{Enqueued, Job, JobKind},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    bulk, imports, labels,
    problem::{ApiResult, Problem},
    writes::again,
};

/// What is being kept for a job that is not there yet. Unless it comes to that, nothing of it stays: also when the caller
/// goes away and the handler with them.
#[derive(Debug)]
pub struct Inputs {
    of: Option<(Store, WorkspaceId, RecordId)>,
}

impl Inputs {
    pub fn of(store: &Store, workspace: WorkspaceId, job: RecordId) -> Self {
        Self { of: Some((store.clone(), workspace, job)) }
    }

    /// All of it has come: from here on it is the job's. Should no job be made, it is swept up later.
    pub fn keep(mut self) {
        self.of = None;
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        if let Some((store, workspace, job)) = self.of.take() {
            tokio::spawn(async move {
                if let Err(error) = store.drop_inputs(workspace, job).await {
                    tracing::warn!(%error, code = error.code(), %job, "what was kept for a job that never came is left to the sweep");
                }
            });
        }
    }
}

/// Every kind of job this program can work on.
pub fn kinds() -> Vec<Arc<dyn JobKind>> {
    vec![
        Arc::new(bulk::work::Bulk),
        Arc::new(imports::work::Import::default()),
        Arc::new(Settle(Breed::Segment)),
        Arc::new(Settle(Breed::Rule)),
        Arc::new(DuplicateScan),
        Arc::new(labels::work::Rename),
        Arc::new(labels::work::Removal),
    ]
}

/// Why a job failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobFailure {
    pub code: String,
    pub detail: String,
}

/// A job: how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Job, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000007", "kind": "bulk", "status": "running", "total": 12000, "processed": 4500,
    "succeeded": 4498, "failed": 2, "details": {"action": "add_labels"}, "error": null,
    "created_by": "key:0192f0c1-7d7e-7aaa-8000-000000000003", "created_at": "2026-01-31T08:00:00.000000Z",
    "started_at": "2026-01-31T08:00:00.050000Z", "finished_at": null
}))]
pub struct JobView {
    pub id: String,
    /// What it does: `bulk`, `import`, `segment`, `label_rule`, `label_rename`, `label_removal`, `duplicate_scan`, …
    pub kind: String,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`. A job can succeed although some of its rows failed.
    pub status: String,
    /// Rows to work on; `null` until it is known.
    pub total: Option<i64>,
    /// Rows worked on: `succeeded` and `failed` together.
    pub processed: i64,
    pub succeeded: i64,
    /// Rows that could not be done; `/errors` says why.
    pub failed: i64,
    /// What the kind tells of itself.
    #[schema(value_type = Object)]
    pub details: Value,
    /// Why the job failed as a whole.
    pub error: Option<JobFailure>,
    /// `key:<id>` of the API key that asked for it.
    pub created_by: String,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind.clone(),
            status: job.status.as_str().to_owned(),
            total: job.total,
            processed: job.processed,
            succeeded: job.succeeded,
            failed: job.failed,
            details: job.details.clone(),
            error: job.error.clone().map(|(code, detail)| JobFailure { code, detail }),
            created_by: job.actor.clone(),
            created_at: job.created_at.to_string(),
            started_at: job.started_at.map(|at| at.to_string()),
            finished_at: job.finished_at.map(|at| at.to_string()),
        }
    }
}

fn body(job: &Job) -> String {
    serde_json::to_string(&JobView::from(job)).unwrap_or_default()
}

fn location(job: &Job) -> String {
    format!("/v1/jobs/{}", job.id)
}

/// 202: the job, and where to follow it.
pub fn accepted(job: &Job) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Location", location(job)))
        .content_type("application/json")
        .body(body(job))
}

/// The same, to be given again to a retry.
pub fn stored(job: &Job) -> StoredAnswer {
    StoredAnswer { status: 202, headers: vec![("Location".to_owned(), location(job))], body: Some(body(job)) }
}

/// The answer to a request for a job.
pub fn answer(enqueued: Enqueued) -> ApiResult<HttpResponse> {
    match enqueued {
        Enqueued::Now(job) => Ok(accepted(&job)),
        Enqueued::Replayed(answer) => Ok(again(answer)),
        Enqueued::Refused(refusal) => Err(Problem::from(refusal)),
    }
}
