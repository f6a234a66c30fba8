//! `POST /v1/bulk/preview`

use std::sync::Arc;

use actix_web::{HttpResponse, post, web::Data};
use people_domain::{Refusal, Timestamp, directory::Outcome, id::WorkspaceId, profile::Profile};
use people_store::{Question, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    action::Action,
    selection::{Matched, Selection, walk},
};
use crate::{
    app::App,
    auth::{Bulk, Caller},
    cursor,
    extract::{Body, NoQuery, Query, Shape},
    problem::{ApiResult, Kind, Problem, ProblemView},
    profiles::{country, view::ProfileView},
};

/// People of a sample.
const SAMPLE: i64 = 5;

/// What would be done, and to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBulk {
    pub selection: Selection,
    /// `{"type": "update", "patch": {…}}`, `{"type": "add_labels", "labels": […]}`, `{"type": "remove_labels", "labels": […]}`,
    /// `{"type": "set_consent", "channel": …, "status": …, …}` or `{"type": "delete"}`.
    #[schema(value_type = Object)]
    pub action: Value,
}

impl Shape for PreviewBulk {}

/// What a confirmation is bound to.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Confirmed {
    pub matched: Matched,
    pub now: Timestamp,
}

/// One person of the selection, as they are and as they would be.
#[derive(Debug, Serialize)]
struct Sampled {
    before: Arc<Profile>,
    /// `null`: they would be erased, or it is refused.
    after: Option<Arc<Profile>>,
    error: Option<ProblemView>,
}

/// One person of the selection, as they are and as they would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkSample {
    pub before: ProfileView,
    /// `null`: they would be erased, or the change would be refused.
    pub after: Option<ProfileView>,
    /// Why the change would be refused.
    pub error: Option<ProblemView>,
}

/// What the change would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkPreview {
    /// The exact number of people.
    pub matched: i64,
    /// A few of them.
    pub sample: Vec<BulkSample>,
    /// Sent back with the same selection and action, carries the change out; of no use once the people have changed.
    pub confirmation_token: String,
}

#[derive(Serialize)]
struct Preview {
    matched: i64,
    sample: Vec<Sampled>,
    confirmation_token: String,
}

/// Names what a confirmation is for.
pub(super) fn fingerprint(selection: &Selection, action: &Value) -> String {
    cursor::fingerprint(&("bulk", selection, action))
}

/// Preview a change of many people
///
/// Counts exactly, shows a few people before and after, and answers the token that carries the change out
/// (`POST /v1/bulk`). Changes nothing. A selection names a `filter`, a `q` or `ids`, and everyone only by `{"all": true}`.
/// Shows people, so the scope `profiles:read` is needed too.
#[utoipa::path(
    tag = "bulk",
    request_body(content = PreviewBulk, example = json!({
        "selection": {"filter": {"field": "country", "op": "eq", "value": "GB"}}, "action": {"type": "add_labels", "labels": ["uk"]}
    })),
    responses((status = 200, description = "What it would do", body = BulkPreview)),
    security(("api_key" = ["bulk", "profiles:read"]))
)]
#[post("/v1/bulk/preview")]
pub async fn preview_bulk(
    app: Data<App>,
    caller: Caller<Bulk>,
    _query: Query<NoQuery>,
    body: Body<PreviewBulk>,
) -> ApiResult<HttpResponse> {
    if !caller.holds("profiles:read") {
        return Err(Problem::new(Kind::MissingScope, "This needs a key with the scope `profiles:read`."));
    }
    let PreviewBulk { selection, action } = body.value;
    let (workspace, now) = (caller.workspace(), app.store.now());
    let (parsed, _) = Action::parse(&action, country(&app.store, workspace).await?.as_deref(), now)?;
    parsed.allow(&caller)?;
    let question = selection.question(&app.store, workspace, now).await?;
    let matched = walk(&app.store, question.clone(), None).await?;
    let sample = sample(&app, workspace, question, &parsed, caller.cause(now)).await?;
    let confirmation_token = cursor::write(workspace, &fingerprint(&selection, &action), &Confirmed { matched: matched.clone(), now });
    let preview = Preview { matched: matched.count, sample, confirmation_token };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(preview))
}

async fn sample(
    app: &App,
    workspace: WorkspaceId,
    question: Question,
    action: &Action,
    cause: Arc<people_domain::directory::Cause>,
) -> ApiResult<Vec<Sampled>> {
    let documents = app.store.walk(Question { limit: SAMPLE, ..question }).next().await?.unwrap_or_default();
    let people = documents
        .iter()
        .map(|document| serde_json::from_str::<Profile>(&document.document).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| StoreError::Unreadable("a profile's document"))?;
    let commands = people.iter().map(|profile| action.command(profile.id, profile.version)).collect();
    let outcomes = app.store.rehearse(workspace, cause, commands).await?;
    let sampled = |before: Arc<Profile>, outcome: Result<Outcome, Refusal>| match outcome {
        Ok(outcome) => Sampled { before, after: outcome.profile().cloned(), error: None },
        Err(refusal) => Sampled { before, after: None, error: Some(Problem::from(refusal).view(None, None)) },
    };
    Ok(people.into_iter().zip(outcomes).map(|(before, outcome)| sampled(before, outcome)).collect())
}
