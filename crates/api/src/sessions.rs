//! `GET /v1/sessions/{id}` and `GET /v1/sessions/{id}/events`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::RecordId;
use people_store::{Listed, Span};

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    events::view::{EventList, SessionView},
    extract::{NoQuery, Query, id},
    paging::{PageParams, totalled},
    problem::{ApiResult, Problem},
    profiles::{list::limit, timeline},
};

/// Read a session
///
/// With the time of its first and last event, how many there are, and what was said of the session itself.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "Id of the session", example = "0192f0c1-7d7e-7aaa-8000-000000000021")),
    responses((status = 200, description = "The session", body = SessionView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/sessions/{id}")]
pub async fn read_session(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let session = app.store.session(caller.workspace(), RecordId(id(&path)?)).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(SessionView::from(session)))
}

/// List the events of a session
///
/// Newest first, as on the timeline.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "Id of the session", example = "0192f0c1-7d7e-7aaa-8000-000000000021"), PageParams),
    responses((status = 200, description = "A page of events", body = EventList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/sessions/{id}/events")]
pub async fn session_events(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<PageParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, session) = (caller.workspace(), RecordId(id(&path)?));
    let limit = limit(params.limit)?;
    let question = cursor::fingerprint(&("session", session));
    let after = timeline::position(params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?);
    let span = Span { session: Some(session), after, limit: limit + 1, ..Span::default() };
    let rows = app.store.session_events(workspace, span).await?;
    // Every session has an event: none on the first page means there is no session.
    if rows.is_empty() && after.is_none() {
        return Err(Problem::not_found());
    }
    let total = totalled(&app.store, workspace, params.count, Listed::SessionEvents(session)).await?;
    Ok(timeline::page(workspace, &question, rows, limit, total))
}
