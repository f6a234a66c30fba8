//! `POST /v1/profiles/search`

use actix_web::{HttpResponse, post, web::Data};
use people_domain::{
    Issue,
    filter::{self, Filter},
    id::WorkspaceId,
    search::Query as Words,
};
use people_store::Store;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    list::{Ask, answer, sort},
    view::ProfileList,
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::{Body, NoQuery, Query, Shape},
    problem::{ApiResult, Kind, Problem},
};

/// What to search for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchProfiles {
    /// Any part of what a person can be known by; several words must all match.
    pub q: Option<String>,
    /// A filter: `{"all": […]}`, `{"any": […]}`, `{"not": {…}}`, `{"field": …, "op": …, "value": …}` or `{"event": …}`.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    /// `-last_seen_at` (default), `last_seen_at`, `-created_at`, `created_at`, `-updated_at`, `updated_at`, `name` or `-name`.
    pub sort: Option<String>,
    /// People of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

impl Shape for SearchProfiles {}

/// Words from a body.
pub(crate) fn words(sent: Option<&str>) -> ApiResult<Words> {
    Words::parse(sent.unwrap_or_default()).map_err(|issue| Problem::invalid(vec![issue.under("/q")]))
}

/// A filter from a body, read with the workspace's definitions.
pub(crate) async fn filter_of(store: &Store, workspace: WorkspaceId, sent: Option<&Value>) -> ApiResult<Filter> {
    let Some(value) = sent else { return Ok(Filter::EVERYONE) };
    let definitions = store.properties(workspace).await?;
    filter::parse(value, &definitions).map_err(refused)
}

/// The filter of a definition that was taken before.
pub(crate) async fn kept_filter(store: &Store, workspace: WorkspaceId, kept: &Value) -> ApiResult<Filter> {
    let definitions = store.properties(workspace).await?;
    filter::parse_kept(kept, &definitions).map_err(refused)
}

/// Here a cursor is a member, not a parameter.
fn in_body(mut problem: Problem) -> Problem {
    for issue in problem.errors.iter_mut().filter(|issue| issue.pointer == "cursor") {
        "/cursor".clone_into(&mut issue.pointer);
    }
    problem
}

fn refused(issues: Vec<Issue>) -> Problem {
    Problem::invalid(issues.into_iter().map(|issue| issue.under("/filter")).collect())
}

/// Search people with a filter
///
/// `q` and `filter` hold at once. Fields: `id`, `email`, `phone`, `external_id`, the standard properties, `last_channel`,
/// `created_at`, `updated_at`, `last_seen_at`, `labels`, `segments`, `channels`, `consents.<channel>` and
/// `attributes.<key>`. Operators: `eq ne in not_in exists missing` for all, `contains starts_with ends_with` for text
/// (case and accents do not matter), `gt gte lt lte between` for numbers and times, `within_last not_within_last` for
/// times (ISO 8601 durations of weeks, days or hours), `has has_any has_all has_none` for sets. A missing value matches
/// `ne`, `not_in` and `has_none` and nothing else. `{"event": …, "where": […], "count": {"gte": 2}, "within": "P90D"}`
/// asks how often something happened. There `where` asks for `channel`, `occurred_at` and `properties.<name>`: the texts of an event are compared whole
/// (`eq ne in not_in exists missing`), its numbers in order too.
#[utoipa::path(
    tag = "profiles",
    request_body(content = SearchProfiles, example = json!({
        "q": "love", "filter": {"all": [
            {"field": "labels", "op": "has", "value": "vip"},
            {"field": "attributes.seats", "op": "between", "value": [5, 50]},
            {"any": [{"field": "country", "op": "in", "value": ["GB", "IE"]}, {"field": "email", "op": "exists"}]}
        ]}, "sort": "name", "limit": 25, "count": true
    })),
    responses((status = 200, description = "A page of people", body = ProfileList)),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/profiles/search")]
pub async fn search_profiles(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    _query: Query<NoQuery>,
    body: Body<SearchProfiles>,
) -> ApiResult<HttpResponse> {
    let body = body.value;
    let query = words(body.q.as_deref())?;
    let limit = match body.limit {
        None => 50,
        Some(limit @ 1..=200) => limit,
        Some(_) => return Err(Problem::invalid(vec![Issue::new("/limit", "invalid_value", "a page has 1 to 200 rows")])),
    };
    let asked = Ask {
        workspace: caller.workspace(),
        country: if query.words.is_empty() { None } else { super::country(&app.store, caller.workspace()).await? },
        query,
        filter: filter_of(&app.store, caller.workspace(), body.filter.as_ref()).await?,
        sort: sort(body.sort.as_deref(), Kind::ValidationFailed, "/sort")?,
        limit,
        cursor: body.cursor.as_deref(),
        count: body.count.unwrap_or(false),
        now: app.store.now(),
        fingerprint: cursor::fingerprint(&(&body.q, &body.filter, &body.sort)),
    }
    .ready()
    .map_err(in_body)?;
    answer(&app, asked).await
}
