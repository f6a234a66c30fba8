//! `GET /v1/segments/{id}/profiles` and `GET /v1/profiles/{id}/segments`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::{id::ProfileId, profile::Profile, search::Query as Words};
use people_store::Breed;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::who;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::{Query, id},
    paging::{Page, PageParams},
    problem::{ApiResult, Kind, Problem},
    profiles::{
        list::{Ask, answer, limit, sort},
        timeline::who_answers,
        view::ProfileList,
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemberParams {
    /// `-last_seen_at` (default), `last_seen_at`, `-created_at`, `created_at`, `-updated_at`, `updated_at`, `name` or `-name`.
    sort: Option<String>,
    /// People of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// List the people of a segment
///
/// While a segment is being computed, whoever its filter matches now.
#[utoipa::path(
    tag = "segments",
    params(("id" = String, Path, description = "Id of the segment", example = "0192f0c1-7d7e-7aaa-8000-000000000030"), MemberParams),
    responses((status = 200, description = "A page of people", body = ProfileList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/segments/{id:[0-9a-fA-F-]+}/profiles")]
pub async fn segment_profiles(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<MemberParams>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let row = app.store.definition(workspace, Breed::Segment, id(&path)?).await?.ok_or_else(Problem::not_found)?;
    let asked = Ask {
        workspace,
        country: None,
        query: Words::default(),
        filter: who(&app.store, workspace, &row).await?,
        sort: sort(params.sort.as_deref(), Kind::InvalidQuery, "sort")?,
        limit: limit(params.limit)?,
        cursor: params.cursor.as_deref(),
        count: params.count.unwrap_or(false),
        now: app.store.now(),
        fingerprint: cursor::fingerprint(&("segment", row.id, &params.sort)),
    }
    .ready()?;
    answer(&app, asked).await
}

/// A segment somebody belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Membership, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000030", "name": "Active in the UK", "entered_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct MembershipView {
    pub id: String,
    pub name: String,
    /// Since when, this time.
    pub entered_at: String,
}

/// The segments of a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct MembershipList {
    pub data: Vec<MembershipView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List the segments of a person
///
/// By name, each with when the person entered it.
#[utoipa::path(
    tag = "segments",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), PageParams),
    responses((status = 200, description = "The segments", body = MembershipList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/segments")]
pub async fn profile_segments(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<PageParams>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let asked = ProfileId(id(&path)?);
    let person = who_answers(&app.store, workspace, asked).await?;
    let document = app.store.document(workspace, person).await?.ok_or_else(Problem::not_found)?;
    let profile: Profile =
        serde_json::from_str(&document.document).map_err(|_| Problem::new(Kind::Internal, "The profile could not be read."))?;
    let entered = app.store.entered(workspace, person).await?;
    let data = profile
        .segments
        .into_iter()
        .filter_map(|badge| {
            let at = entered.get(&badge.id.0)?;
            Some(MembershipView { id: badge.id.to_string(), name: badge.name, entered_at: at.to_string() })
        })
        .collect();
    let question = cursor::fingerprint(&("segments of", asked));
    let Page { data, next_cursor, total } = params.of(workspace, &question, data, |membership: &MembershipView| membership.id.clone())?;
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(MembershipList { data, next_cursor, total });
    Ok(crate::profiles::found_at(answer, asked, person, "/segments"))
}
