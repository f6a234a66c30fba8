//! `GET /v1/profiles/{id}/timeline`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::{
    Timestamp,
    id::{ProfileId, RecordId, WorkspaceId},
    text::clean,
};
use people_store::{Among, Listed, Moment, Span, Store};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    events::view::{EventList, EventView},
    extract::{Query, id},
    paging::totalled,
    problem::{ApiResult, Kind, Problem},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineParams {
    /// A type of event; `system` for everything that became of the profile, `system.updated` for one kind of it. Repeated, up to
    /// 20 times, any of them.
    #[serde(default, rename = "type")]
    #[param(rename = "type")]
    kinds: Vec<String>,
    /// `false`: only what they did; `true`: only what became of the profile.
    system: Option<bool>,
    /// Events of one channel.
    channel: Option<String>,
    /// Events of one session.
    session_id: Option<String>,
    /// From this time on, included.
    from: Option<String>,
    /// Up to this time, excluded.
    to: Option<String>,
    /// Rows of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// Where the next page begins.
pub(crate) type Position = (i64, RecordId);

pub(crate) fn position(read: Option<Position>) -> Option<(Timestamp, RecordId)> {
    read.and_then(|(micros, id)| Timestamp::from_micros(micros).map(|at| (at, id)))
}

fn time(name: &str, text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    let read = |text: &str| Timestamp::parse(text).or_else(|| Timestamp::parse_date(text));
    text.map(|text| read(text).ok_or_else(|| Problem::query(name, "expected a time such as 2026-01-31T08:00:00Z, or a date"))).transpose()
}

/// Most types that one reading asks for: each may be a walk of its own.
const MAX_TYPES: usize = 20;

/// The types that are asked for, as they are kept.
fn types(asked: Vec<String>) -> ApiResult<Vec<String>> {
    if asked.len() > MAX_TYPES {
        return Err(Problem::query("type", &format!("at most {MAX_TYPES} types")));
    }
    let mut types: Vec<String> = asked.into_iter().map(|kind| clean(&kind, 256).ok().flatten().unwrap_or(kind)).collect();
    types.sort();
    types.dedup();
    Ok(types)
}

/// Which events, and which entries of the history.
fn among(types: &[String], system: Option<bool>) -> (Among, Among) {
    let (mut events, mut entries) = (Among::All, Among::All);
    if !types.is_empty() {
        let (of_system, of_events): (Vec<&String>, Vec<&String>) =
            types.iter().partition(|kind| *kind == "system" || kind.starts_with("system."));
        events = Among::Types(of_events.into_iter().cloned().collect());
        let actions: Option<Vec<String>> = of_system.into_iter().map(|kind| kind.strip_prefix("system.").map(str::to_owned)).collect();
        entries = actions.map_or(Among::All, Among::Types);
    }
    match system {
        Some(true) => events = Among::NONE,
        Some(false) => entries = Among::NONE,
        None => {}
    }
    (events, entries)
}

/// A page as it is answered; `rows` holds one more than `limit` when there is a next one.
pub(crate) fn page(workspace: WorkspaceId, question: &str, mut rows: Vec<Moment>, limit: i64, total: Option<i64>) -> HttpResponse {
    let next = cursor::cut(workspace, question, &mut rows, limit, |last| (last.at.micros(), last.id));
    let data = rows.into_iter().map(EventView::from).collect();
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(EventList { data, next_cursor: next, total })
}

/// Who answers for an id nothing was found under: the person, in which case there is nothing to find; or the one they
/// were merged into. E: nobody.
pub(crate) async fn who_answers(store: &Store, workspace: WorkspaceId, id: ProfileId) -> ApiResult<ProfileId> {
    let mut absent = Problem::not_found();
    // Between two questions they may be merged further, or come back from a merge; not again and again.
    for _ in 0..4 {
        if store.document(workspace, id).await?.is_some() {
            return Ok(id);
        }
        absent = match store.survivor(workspace, id).await? {
            Some(survivor) if store.document(workspace, survivor).await?.is_some() => return Ok(survivor),
            Some(survivor) => super::absent(store, workspace, survivor).await,
            None => super::absent(store, workspace, id).await,
        };
        if absent.kind != Kind::NotFound {
            break;
        }
    }
    Err(absent)
}

/// Read the timeline of a person
///
/// What they did, newest first, and between it what became of the profile, as events of the types `system.created`,
/// `system.updated`, `system.merged` and so on, with the names of the changed fields. Events that came late stand where
/// they happened. A filter on channel or session leaves the system's events out, as `system=false` does.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), TimelineParams),
    responses((status = 200, description = "A page of events", body = EventList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/timeline")]
pub async fn profile_timeline(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<TimelineParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let limit = super::list::limit(params.limit)?;
    let session = params
        .session_id
        .as_deref()
        .map(|text| uuid::Uuid::try_parse(text).map(RecordId).map_err(|_| Problem::query("session_id", "expected the id of a session")));
    let types = types(params.kinds)?;
    let (events, entries) = among(&types, params.system);
    let mut span = Span {
        events,
        entries,
        channel: params.channel,
        session: session.transpose()?,
        from: time("from", params.from.as_deref())?,
        to: time("to", params.to.as_deref())?,
        after: None,
        limit: limit + 1,
    };
    let bounds = (span.from.map(Timestamp::micros), span.to.map(Timestamp::micros));
    let question = cursor::fingerprint(&("timeline", profile, types, params.system, &span.channel, span.session, bounds));
    let read = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    span.after = position(read);
    let mut rows = app.store.timeline(workspace, profile, span.clone()).await?;
    let mut who = profile;
    if rows.is_empty() {
        who = who_answers(&app.store, workspace, profile).await?;
        if who != profile {
            rows = app.store.timeline(workspace, who, span.clone()).await?;
        }
    }
    let total = totalled(&app.store, workspace, params.count, Listed::Timeline { profile: who, span }).await?;
    Ok(super::found_at(page(workspace, &question, rows, limit, total), profile, who, "/timeline"))
}
