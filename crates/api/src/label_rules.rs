//! `/v1/label-rules`: labels put on and taken off by a filter, in the transaction of the change that caused it.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, delete, get, patch, post,
    web::{Data, Path},
};
use people_domain::{label, refusal::Issues};
use people_store::{Breed, Definition, Redefined, RenderDefinition, StoredAnswer, Wording};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config, ProfilesRead},
    extract::{Body, NoQuery, Query, Shape, id, not_null},
    jobs::JobView,
    paging::{Page, PageParams},
    problem::{ApiResult, Problem},
    profiles::search::filter_of,
    segments::{follow, refused},
    writes::again,
};

/// A rule to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLabelRule {
    /// Whom it concerns, as in `POST /v1/profiles/search`.
    #[schema(value_type = Object)]
    pub filter: Value,
    /// What it puts on them; made when it is not in the catalogue.
    pub label: String,
    /// `keep` (default): the label stays when the filter does not match any more; `remove`: it goes, unless it was put on by
    /// hand or another rule holds it.
    pub on_exit: Option<String>,
    /// `true` by default.
    pub enabled: Option<bool>,
}

impl Shape for CreateLabelRule {}

/// What is to be another; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchLabelRule {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Object)]
    pub filter: Option<Value>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub on_exit: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool)]
    pub enabled: Option<bool>,
}

impl Shape for PatchLabelRule {
    fn notice(body: &Value) -> Vec<people_domain::Issue> {
        let told = "the label of a rule never changes; make another rule";
        body.get("label").map(|_| people_domain::Issue::new("/label", "read_only", told)).into_iter().collect()
    }
}

/// A label rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LabelRule, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000031", "label": "vip",
    "filter": {"event": "order_completed", "count": {"gte": 2}, "within": "P90D"}, "on_exit": "remove", "enabled": true,
    "status": "live", "job_id": "0192f0c1-7d7e-7aaa-8000-000000000007",
    "created_at": "2026-01-31T08:00:00.000000Z", "updated_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct LabelRuleView {
    pub id: String,
    pub label: String,
    #[schema(value_type = Object)]
    pub filter: Value,
    /// `keep` or `remove`.
    pub on_exit: String,
    pub enabled: bool,
    /// `live`; or `computing`, while a job brings everyone in line with a new definition.
    pub status: String,
    /// The job of its newest definition.
    pub job_id: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// Every rule, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LabelRuleList {
    pub data: Vec<LabelRuleView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl From<Definition> for LabelRuleView {
    fn from(row: Definition) -> Self {
        Self {
            id: row.id.to_string(),
            label: row.name,
            filter: row.filter,
            on_exit: if row.removes { "remove" } else { "keep" }.to_owned(),
            enabled: row.enabled,
            status: row.status,
            job_id: row.job.map(|id| id.to_string()),
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

fn on_exit(sent: Option<&str>, issues: &mut Issues) -> Option<bool> {
    match sent {
        None => None,
        Some("keep") => Some(false),
        Some("remove") => Some(true),
        Some(_) => {
            issues.push("/on_exit", "not_an_option", "expected keep or remove");
            None
        }
    }
}

/// List the label rules
#[utoipa::path(
    tag = "labels",
    description = "Oldest first.",
    params(PageParams),
    responses((status = 200, description = "The rules", body = LabelRuleList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/label-rules")]
pub async fn list_label_rules(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let rows = app.store.definitions(caller.workspace(), Breed::Rule).await?;
    let Page { data, next_cursor, total } = params.of(caller.workspace(), "label-rules", rows, |row| row.id.to_string())?;
    let data = data.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(LabelRuleList { data, next_cursor, total }))
}

/// Make a label rule
///
/// Whoever changes from now on is judged by it in the same transaction; a job visits everyone else. A rule whose filter
/// depends on what rules and segments make of it, in a ring, is refused.
#[utoipa::path(
    tag = "labels",
    request_body(content = CreateLabelRule, example = json!({
        "label": "vip", "filter": {"event": "order_completed", "count": {"gte": 2}, "within": "P90D"}, "on_exit": "remove"
    })),
    responses((status = 201, description = "The rule", body = LabelRuleView, headers(("Location" = String, description = "Where it is")))),
    security(("api_key" = ["config"]))
)]
#[post("/v1/label-rules")]
pub async fn create_label_rule(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateLabelRule>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let body = body.value;
    let mut issues = Issues::default();
    let name = issues.take(label::parse(&body.label).map_err(|issue| issue.under("/label"))).unwrap_or_default();
    let removes = on_exit(body.on_exit.as_deref(), &mut issues).unwrap_or(false);
    issues.into_result()?;
    filter_of(&app.store, caller.workspace(), Some(&body.filter)).await?;
    let wording = Wording { name, description: None, filter: body.filter, removes, enabled: body.enabled.unwrap_or(true) };
    let place = |row: &Definition| format!("/v1/label-rules/{}", row.id);
    let render = move |row: &Definition| StoredAnswer {
        status: 201,
        headers: vec![("Location".to_owned(), place(row))],
        body: serde_json::to_string(&LabelRuleView::from(row.clone())).ok(),
    };
    let answer = idempotency.map(|key| (key, Arc::new(render) as RenderDefinition));
    let cause = caller.cause(app.store.now());
    match app.store.define(caller.workspace(), Breed::Rule, wording, cause, answer).await?.map_err(refused)? {
        Redefined::Now(row) => Ok(HttpResponse::Created().insert_header(("Location", place(&row))).json(LabelRuleView::from(*row))),
        Redefined::Before(stored) => Ok(again(stored)),
    }
}

/// Read a label rule
#[utoipa::path(
    tag = "labels",
    description = "Its definition.",
    params(("id" = String, Path, description = "Id of the rule", example = "0192f0c1-7d7e-7aaa-8000-000000000031")),
    responses((status = 200, description = "The rule", body = LabelRuleView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/label-rules/{id:[0-9a-fA-F-]+}")]
pub async fn read_label_rule(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let row = app.store.definition(caller.workspace(), Breed::Rule, id(&path)?).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(LabelRuleView::from(row)))
}

/// Change a label rule
///
/// The new definition is applied to everyone by a job. A rule that is switched off matches no one: with `on_exit` `remove`
/// its labels go.
#[utoipa::path(
    tag = "labels",
    params(("id" = String, Path, description = "Id of the rule", example = "0192f0c1-7d7e-7aaa-8000-000000000031")),
    request_body(content = PatchLabelRule, example = json!({"enabled": false})),
    responses((status = 200, description = "The rule as it is now", body = LabelRuleView)),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/label-rules/{id:[0-9a-fA-F-]+}")]
pub async fn patch_label_rule(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchLabelRule>,
) -> ApiResult<HttpResponse> {
    let body = body.value;
    let mut issues = Issues::default();
    let removes = on_exit(body.on_exit.as_deref(), &mut issues);
    issues.into_result()?;
    let change = move |old: &Definition| Wording {
        name: old.name.clone(),
        description: None,
        filter: body.filter.clone().unwrap_or_else(|| old.filter.clone()),
        removes: removes.unwrap_or(old.removes),
        enabled: body.enabled.unwrap_or(old.enabled),
    };
    let cause = caller.cause(app.store.now());
    let row = app.store.redefine(caller.workspace(), Breed::Rule, id(&path)?, Arc::new(change), cause).await?.map_err(refused)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(LabelRuleView::from(row)))
}

/// Remove a label rule
///
/// It is gone at once, and matches no one from now on. With `on_exit` `remove`, a job takes its labels off; with `keep` they
/// stay where they are.
#[utoipa::path(
    tag = "labels",
    params(("id" = String, Path, description = "Id of the rule", example = "0192f0c1-7d7e-7aaa-8000-000000000031")),
    responses((status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Where the job is followed")))),
    security(("api_key" = ["config"]))
)]
#[delete("/v1/label-rules/{id:[0-9a-fA-F-]+}")]
pub async fn delete_label_rule(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (workspace, cause) = (caller.workspace(), caller.cause(app.store.now()));
    let job = app.store.undefine(workspace, Breed::Rule, id(&path)?, cause).await?.map_err(refused)?;
    follow(&app, workspace, job).await
}
