//! `POST /v1/bulk`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::Issue;
use people_store::jobs::NewJob;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    action::Action,
    preview::{Confirmed, fingerprint},
    selection::{Selection, walk},
    work::Parameters,
};
use crate::{
    app::App,
    auth::{Bulk, Caller},
    cursor,
    extract::{Body, NoQuery, Query, Shape},
    jobs::{Inputs, JobView, answer, stored},
    problem::{ApiResult, Kind, Problem},
    profiles::country,
};

/// A change of many people, as it was previewed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteBulk {
    pub selection: Selection,
    /// As in the preview.
    #[schema(value_type = Object)]
    pub action: Value,
    /// From the preview.
    pub confirmation_token: String,
}

impl Shape for ExecuteBulk {}

/// Change many people
///
/// Takes the selection and the action of a preview, and its `confirmation_token`. When the people are no longer the ones
/// previewed (somebody joined, left or changed), nothing happens and the answer is 409 `selection_changed`: preview again.
/// Otherwise a job changes exactly the people that were confirmed, some hundred at a time, each once, whatever happens to
/// the server meanwhile. Somebody for whom the change is refused is counted and told by the job's errors, and holds up
/// nobody else: so is somebody who was merged away before their turn came (`profile_merged`), since the survivor was not
/// confirmed, and, when people are deleted, somebody who has changed (`version_mismatch`). `delete` needs the scope `profiles:delete` as well.
#[utoipa::path(
    tag = "bulk",
    request_body(content = ExecuteBulk, example = json!({
        "selection": {"filter": {"field": "country", "op": "eq", "value": "GB"}}, "action": {"type": "add_labels", "labels": ["uk"]},
        "confirmation_token": "…"
    })),
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Where the job is followed"))),
        (status = 409, description = "The people are no longer the ones previewed (`selection_changed`)")
    ),
    security(("api_key" = ["bulk"]))
)]
#[post("/v1/bulk")]
pub async fn execute_bulk(
    app: Data<App>,
    caller: Caller<Bulk>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<ExecuteBulk>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let (workspace, now) = (caller.workspace(), app.store.now());
    // The first request may have changed the very people it was about.
    if let Some(key) = &idempotency
        && let Some(before) = app.store.answered(workspace, key.clone()).await?
    {
        return answer(before);
    }
    let ExecuteBulk { selection, action, confirmation_token } = body.value;
    let (parsed, kind) = Action::parse(&action, country(&app.store, workspace).await?.as_deref(), now)?;
    parsed.allow(&caller)?;
    let confirmed: Confirmed = cursor::read(workspace, &fingerprint(&selection, &action), &confirmation_token).map_err(|_| {
        let detail = "expected the token of a preview of this very selection and action; preview again";
        Problem::invalid(vec![Issue::new("/confirmation_token", "invalid_token", detail)])
    })?;
    let question = selection.question(&app.store, workspace, confirmed.now).await?;
    let job = app.store.new_record_id();
    let inputs = Inputs::of(&app.store, workspace, job);
    let matched = walk(&app.store, question, Some(job)).await?;
    if matched != confirmed.matched {
        let detail = format!(
            "The preview matched {} people; now {} match, or some of them have changed. Preview again.",
            confirmed.matched.count, matched.count
        );
        return Err(Problem::at(Kind::SelectionChanged, "/confirmation_token", "selection_changed", detail));
    }
    inputs.keep();
    let new = NewJob {
        workspace,
        id: job,
        kind: "bulk",
        parameters: serde_json::to_value(Parameters { action }).unwrap_or_default(),
        details: json!({"action": kind}),
        total: Some(matched.count),
        cause: caller.cause(now),
    };
    answer(app.store.enqueue(new, idempotency, stored).await?)
}
