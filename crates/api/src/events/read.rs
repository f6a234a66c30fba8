//! `GET /v1/events/{id}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::RecordId;

use super::view::EventView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Read an event
///
/// Whole, with the session it belongs to and what of its message was not taken over; or, of the types `system.…`, what became of
/// a profile, as its timeline has it.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "Id of the event", example = "0192f0c1-7d7e-7aaa-8000-000000000020")),
    responses((status = 200, description = "The event", body = EventView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/events/{id}")]
pub async fn read_event(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let event = app.store.event(caller.workspace(), RecordId(id(&path)?)).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(EventView::from(event)))
}
