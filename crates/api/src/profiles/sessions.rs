//! `GET /v1/profiles/{id}/sessions`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::ProfileId;
use people_store::Listed;
use serde::Deserialize;
use utoipa::IntoParams;

use super::timeline::{position, who_answers};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    events::view::{SessionList, SessionView},
    extract::{Query, id},
    paging::totalled,
    problem::ApiResult,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionParams {
    /// Sessions that began on one channel.
    channel: Option<String>,
    /// Rows of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// List the sessions of a person
///
/// Those that ended last come first. A session is what the sender named so; otherwise events of one channel without a longer pause than the
/// workspace's `session_gap_seconds`. Start, end and count are those of its events, also when some came late.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), SessionParams),
    responses((status = 200, description = "A page of sessions", body = SessionList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/sessions")]
pub async fn profile_sessions(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<SessionParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let limit = super::list::limit(params.limit)?;
    let question = cursor::fingerprint(&("sessions", profile, &params.channel));
    let after = position(params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?);
    let mut rows = app.store.sessions(workspace, profile, params.channel.clone(), after, limit + 1).await?;
    let mut who = profile;
    if rows.is_empty() {
        who = who_answers(&app.store, workspace, profile).await?;
        if who != profile {
            rows = app.store.sessions(workspace, who, params.channel.clone(), after, limit + 1).await?;
        }
    }
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| (last.ended_at.micros(), last.id));
    let data = rows.into_iter().map(SessionView::from).collect();
    let total = totalled(&app.store, workspace, params.count, Listed::Sessions { profile: who, channel: params.channel }).await?;
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(SessionList { data, next_cursor, total });
    Ok(super::found_at(answer, profile, who, "/sessions"))
}
