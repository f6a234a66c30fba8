//! Segments: everyone a filter matches, kept true on its own. Here are the definitions and what all of it shares; who is
//! in them stands in `members.rs`, looking before saving in `preview.rs`, why somebody is in or out in `explanation.rs`.

pub mod explanation;
pub mod members;
pub mod preview;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, delete, get, patch, post,
    web::{Data, Path},
};
use people_domain::{
    Timestamp,
    filter::{Field, Filter, Test},
    id::{RecordId, WorkspaceId},
    refusal::Issues,
    text::clean,
};
use people_store::{Breed, Definition, DefinitionRefusal, Question, Redefined, RenderDefinition, Store, StoredAnswer, Wording};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config, ProfilesRead},
    extract::{Body, NoQuery, Query, Sent, Shape, id, not_null},
    jobs::{self, JobView},
    paging::{Page, PageParams},
    problem::{ApiResult, Kind, Problem},
    profiles::search::{filter_of, kept_filter},
    writes::again,
};

/// A segment to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSegment {
    /// At most 200 bytes; no two segments have the same.
    pub name: String,
    pub description: Option<String>,
    /// Who belongs to it, as in `POST /v1/profiles/search`. It may name other segments.
    #[schema(value_type = Object)]
    pub filter: Value,
}

impl Shape for CreateSegment {}

/// What is to be another; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchSegment {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub description: Sent<String>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Object)]
    pub filter: Option<Value>,
}

impl Shape for PatchSegment {}

/// A segment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Segment, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000030", "name": "Active in the UK", "description": null,
    "filter": {"all": [{"field": "country", "op": "eq", "value": "GB"}, {"field": "last_seen_at", "op": "within_last", "value": "P30D"}]},
    "status": "live", "member_count": 1042, "as_of": "2026-01-31T08:00:00.000000Z", "job_id": "0192f0c1-7d7e-7aaa-8000-000000000007",
    "created_at": "2026-01-31T07:59:00.000000Z", "updated_at": "2026-01-31T07:59:00.000000Z"
}))]
pub struct SegmentView {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    #[schema(value_type = Object)]
    pub filter: Value,
    /// `live`; or `computing`, while a job brings everyone in line with a new definition. Who changes meanwhile is in line at
    /// once.
    pub status: String,
    /// Exactly how many people its filter matches.
    pub member_count: i64,
    /// When that was true: now.
    pub as_of: String,
    /// The job of its newest definition.
    pub job_id: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// Every segment, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentList {
    pub data: Vec<SegmentView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl SegmentView {
    fn of(row: Definition, member_count: i64, as_of: Timestamp) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            description: row.description,
            filter: row.filter,
            status: row.status,
            member_count,
            as_of: as_of.to_string(),
            job_id: row.job.map(|id| id.to_string()),
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

/// A name of a definition, or what is wrong with it.
pub(crate) fn name(sent: &str, issues: &mut Issues) -> String {
    match clean(sent, 200) {
        Ok(Some(name)) if !name.chars().any(char::is_control) => return name,
        Ok(None) => issues.push("/name", "blank", "expected at least one visible character"),
        _ => issues.push("/name", "too_long", "expected at most 200 bytes, without control characters"),
    }
    String::new()
}

pub(crate) fn description(sent: Option<String>, issues: &mut Issues) -> Option<String> {
    sent.and_then(|text| match clean(&text, 1_000) {
        Ok(text) => text,
        Err(_) => {
            issues.push("/description", "too_long", "expected at most 1000 bytes of text");
            None
        }
    })
}

pub(crate) fn refused(refusal: DefinitionRefusal) -> Problem {
    match refusal {
        DefinitionRefusal::NotFound => Problem::not_found(),
        DefinitionRefusal::Exists => Problem::at(
            Kind::SegmentExists,
            "/name",
            "segment_exists",
            "Another segment has this name; choose another one, or change that one.",
        ),
        DefinitionRefusal::TooMany => Problem::at(
            Kind::LimitExceeded,
            "",
            "limit_exceeded",
            format!("A workspace has at most {} segments, and as many rules.", people_domain::living::MAX_DEFINITIONS),
        ),
        DefinitionRefusal::InUse(users) => {
            Problem::new(Kind::SegmentInUse, format!("It is read by {}; change those first.", users.join(", ")))
        }
        DefinitionRefusal::Invalid(refusal) => (*refusal).into(),
    }
}

/// People a segment's filter matches: its members, or, while it is computed, whoever is about to be one.
pub(crate) async fn who(store: &Store, workspace: WorkspaceId, row: &Definition) -> ApiResult<Filter> {
    if row.status == "live" {
        Ok(Filter::Is(Field::Segments, Test::HasAny(vec![row.id.to_string()])))
    } else {
        kept_filter(store, workspace, &row.filter).await
    }
}

pub(crate) fn everyone_of(workspace: WorkspaceId, filter: Filter, limit: i64, now: Timestamp) -> Question {
    Question {
        workspace,
        query: Default::default(),
        filter,
        sort: Default::default(),
        after: None,
        pinned: Vec::new(),
        country: None,
        limit,
        count: true,
        now,
    }
}

async fn view(store: &Store, workspace: WorkspaceId, row: Definition) -> ApiResult<SegmentView> {
    let now = store.now();
    let filter = who(store, workspace, &row).await?;
    let count = store.count(everyone_of(workspace, filter, 1, now)).await?;
    Ok(SegmentView::of(row, count, now))
}

/// List the segments
///
/// Oldest first, each with the exact number of its members.
#[utoipa::path(
    tag = "segments",
    params(PageParams),
    responses((status = 200, description = "The segments", body = SegmentList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/segments")]
pub async fn list_segments(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let rows = app.store.definitions(workspace, Breed::Segment).await?;
    let Page { data: rows, next_cursor, total } = params.of(workspace, "segments", rows, |row| row.id.to_string())?;
    let sizes = app.store.set_sizes(workspace, Field::Segments).await?;
    let now = app.store.now();
    let mut data = Vec::with_capacity(rows.len());
    for row in rows {
        if row.status == "live" {
            let count = sizes.get(&row.id.to_string()).copied().unwrap_or(0);
            data.push(SegmentView::of(row, count, now));
        } else {
            data.push(view(&app.store, workspace, row).await?);
        }
    }
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(SegmentList { data, next_cursor, total }))
}

/// Make a segment
///
/// Whoever changes from now on is judged by it in the same transaction; a job visits everyone else, and `status` is
/// `computing` until it has. Entries and exits show on the timeline of each person and in the change feed.
#[utoipa::path(
    tag = "segments",
    request_body(content = CreateSegment, example = json!({
        "name": "Active in the UK",
        "filter": {"all": [{"field": "country", "op": "eq", "value": "GB"}, {"field": "last_seen_at", "op": "within_last", "value": "P30D"}]}
    })),
    responses(
        (status = 201, description = "The segment", body = SegmentView, headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "Another segment has this name (`segment_exists`)")
    ),
    security(("api_key" = ["config"]))
)]
#[post("/v1/segments")]
pub async fn create_segment(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateSegment>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let workspace = caller.workspace();
    let mut issues = Issues::default();
    let wording = Wording {
        name: name(&body.value.name, &mut issues),
        description: description(body.value.description, &mut issues),
        filter: body.value.filter,
        removes: true,
        enabled: true,
    };
    issues.into_result()?;
    // What the filter matches now is what the segment will hold.
    let filter = filter_of(&app.store, workspace, Some(&wording.filter)).await?;
    let now = app.store.now();
    let count = app.store.count(everyone_of(workspace, filter, 1, now)).await?;
    let render = move |row: &Definition| StoredAnswer {
        status: 201,
        headers: vec![("Location".to_owned(), format!("/v1/segments/{}", row.id))],
        body: serde_json::to_string(&SegmentView::of(row.clone(), count, now)).ok(),
    };
    let answer = idempotency.map(|key| (key, Arc::new(render) as RenderDefinition));
    match app.store.define(workspace, Breed::Segment, wording, caller.cause(now), answer).await?.map_err(refused)? {
        Redefined::Now(row) => Ok(HttpResponse::Created()
            .insert_header(("Location", format!("/v1/segments/{}", row.id)))
            .json(SegmentView::of(*row, count, now))),
        Redefined::Before(stored) => Ok(again(stored)),
    }
}

/// Read a segment
#[utoipa::path(
    tag = "segments",
    description = "Its definition, and exactly how many people it holds.",
    params(("id" = String, Path, description = "Id of the segment", example = "0192f0c1-7d7e-7aaa-8000-000000000030")),
    responses((status = 200, description = "The segment", body = SegmentView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/segments/{id:[0-9a-fA-F-]+}")]
pub async fn read_segment(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let row = app.store.definition(caller.workspace(), Breed::Segment, id(&path)?).await?.ok_or_else(Problem::not_found)?;
    let view = view(&app.store, caller.workspace(), row).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Change a segment
///
/// A new filter is computed as for a new segment; one that was still being computed is given up. A new name reaches the
/// badges of all members.
#[utoipa::path(
    tag = "segments",
    params(("id" = String, Path, description = "Id of the segment", example = "0192f0c1-7d7e-7aaa-8000-000000000030")),
    request_body(content = PatchSegment, example = json!({"name": "Active in Britain"})),
    responses(
        (status = 200, description = "The segment as it is now", body = SegmentView),
        (status = 409, description = "Another segment has this name (`segment_exists`)")
    ),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/segments/{id:[0-9a-fA-F-]+}")]
pub async fn patch_segment(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchSegment>,
) -> ApiResult<HttpResponse> {
    let (workspace, segment) = (caller.workspace(), id(&path)?);
    let mut issues = Issues::default();
    let body = body.value;
    let new_name = body.name.map(|sent| name(&sent, &mut issues));
    let new_description = body.description.into_option().map(|sent| description(sent, &mut issues));
    issues.into_result()?;
    let change = move |old: &Definition| Wording {
        name: new_name.clone().unwrap_or_else(|| old.name.clone()),
        description: new_description.clone().unwrap_or_else(|| old.description.clone()),
        filter: body.filter.clone().unwrap_or_else(|| old.filter.clone()),
        removes: true,
        enabled: true,
    };
    let cause = caller.cause(app.store.now());
    let row = app.store.redefine(workspace, Breed::Segment, segment, Arc::new(change), cause).await?.map_err(refused)?;
    let view = view(&app.store, workspace, row).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Remove a segment
///
/// It is gone at once, and matches no one from now on; a job takes its badge off its members. Refused while another segment
/// or a rule reads it.
#[utoipa::path(
    tag = "segments",
    params(("id" = String, Path, description = "Id of the segment", example = "0192f0c1-7d7e-7aaa-8000-000000000030")),
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Where the job is followed"))),
        (status = 409, description = "Others read it (`segment_in_use`)")
    ),
    security(("api_key" = ["config"]))
)]
#[delete("/v1/segments/{id:[0-9a-fA-F-]+}")]
pub async fn delete_segment(app: Data<App>, caller: Caller<Config>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    let (workspace, cause) = (caller.workspace(), caller.cause(app.store.now()));
    let job = app.store.undefine(workspace, Breed::Segment, id(&path)?, cause).await?.map_err(refused)?;
    follow(&app, workspace, job).await
}

/// 202 with the job that does the rest.
pub(crate) async fn follow(app: &App, workspace: WorkspaceId, job: RecordId) -> ApiResult<HttpResponse> {
    let job = app.store.job(workspace, job).await?.ok_or_else(Problem::not_found)?;
    Ok(jobs::accepted(&job))
}
