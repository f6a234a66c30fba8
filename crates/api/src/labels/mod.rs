//! `/v1/labels`: the catalogue of labels. One operation a file; here is the view they share, what is read from a request,
//! and why the catalogue may stay as it is.

pub mod create;
pub mod delete;
pub mod list;
pub mod patch;
pub mod read;
pub mod work;

use actix_web::HttpResponse;
use people_domain::{
    Issue, Timestamp,
    filter::{Field, Filter, Test},
    id::WorkspaceId,
    label,
    refusal::Issues,
    text::clean,
};
use people_store::{Label, LabelDone, LabelRefusal, Question, Store, jobs::NewJob};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config},
    jobs::accepted,
    problem::{ApiResult, Kind, Problem},
};

/// A label of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Label, example = json!({
    "name": "vip", "color": "#1f6feb", "description": "Answered within the hour", "state": "live", "becomes": null, "job_id": null,
    "created_at": "2026-01-31T08:00:00.000000Z", "member_count": 1042
}))]
pub struct LabelView {
    pub name: String,
    /// `#rrggbb`, or `null`.
    pub color: Option<String>,
    pub description: Option<String>,
    /// `live`; or `renaming` or `removing` while a job changes those who carry it. Until then it cannot be put on anybody.
    pub state: String,
    /// The name it is being renamed to.
    pub becomes: Option<String>,
    /// The job that renames or removes it.
    pub job_id: Option<String>,
    /// When it was made, or first put on somebody.
    pub created_at: String,
    /// The exact number of people who carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_count: Option<i64>,
}

impl From<Label> for LabelView {
    fn from(label: Label) -> Self {
        let state = match (label.job, &label.becomes) {
            (None, _) => "live",
            (Some(_), Some(_)) => "renaming",
            (Some(_), None) => "removing",
        };
        Self {
            name: label.name,
            color: label.color,
            description: label.description,
            state: state.to_owned(),
            becomes: label.becomes,
            job_id: label.job.map(|id| id.to_string()),
            created_at: label.created_at.to_string(),
            member_count: None,
        }
    }
}

impl LabelView {
    /// With the number of people who carry it.
    async fn counted(store: &Store, workspace: WorkspaceId, label: Label) -> ApiResult<Self> {
        let question = Question {
            workspace,
            query: Default::default(),
            filter: Filter::Is(Field::Labels, Test::HasAny(vec![label.name.clone()])),
            sort: Default::default(),
            after: None,
            pinned: Vec::new(),
            country: None,
            limit: 1,
            count: true,
            now: store.now(),
        };
        Ok(Self { member_count: Some(store.count(question).await?), ..label.into() })
    }
}

/// The label a path names; what cannot be a label is not there.
fn named(path: &str) -> ApiResult<String> {
    label::parse(path).map_err(|_| Problem::not_found())
}

fn name(text: &str, issues: &mut Issues) -> Option<String> {
    issues.take(label::parse(text).map_err(|issue| issue.under("/name")))
}

fn color(text: &str, issues: &mut Issues) -> Option<String> {
    issues.take(label::color(text).map_err(|issue| issue.under("/color")))
}

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 1_000;

fn description(text: &str, issues: &mut Issues) -> Option<String> {
    let too_long = |_| Issue::new("/description", "too_long", format!("expected at most {MAX_DESCRIPTION} bytes of text"));
    issues.take(clean(text, MAX_DESCRIPTION).map_err(too_long)).flatten()
}

fn refused(refusal: LabelRefusal) -> Problem {
    match refusal {
        LabelRefusal::NotFound => Problem::not_found(),
        LabelRefusal::Exists => Problem::at(
            Kind::LabelExists,
            "/name",
            "label_exists",
            "There is a label of this name. Change it with PATCH; to make two labels one, put this one on everybody who carries the \
             other with POST /v1/bulk, then remove the other.",
        ),
        LabelRefusal::Going => Problem::new(
            Kind::LabelGoing,
            "A job is renaming or removing this label, or renaming another to it. Repeat the request once the job has ended, or cancel it.",
        ),
        LabelRefusal::InUse(uses) => {
            Problem::new(Kind::LabelInUse, format!("This label is used by: {}. Change or remove these first.", uses.join(", ")))
        }
    }
}

/// The job that changes those who carry a label; what it does is written by the store.
fn job(app: &App, caller: &Caller<Config>, now: Timestamp) -> NewJob {
    NewJob {
        workspace: caller.workspace(),
        id: app.store.new_record_id(),
        kind: "",
        parameters: Value::Null,
        details: Value::Null,
        total: None,
        cause: caller.cause(now),
    }
}

async fn done(app: &App, workspace: WorkspaceId, done: LabelDone) -> ApiResult<HttpResponse> {
    Ok(match done {
        LabelDone::Now(Some(label)) => {
            let view = LabelView::counted(&app.store, workspace, label).await?;
            HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view)
        }
        LabelDone::Now(None) => HttpResponse::NoContent().finish(),
        LabelDone::Later(job) => accepted(&job),
    })
}
