//! `GET /v1/changes/stream`

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, get,
    web::{Bytes, Data},
};
use futures_util::Stream;
use people_store::FeedPage;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::{
    FeedItem,
    list::{Include, LOOK, PAUSE, begin, expired},
    written,
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::Query,
    problem::{ApiResult, Problem},
};

/// Changes read at once: what a slow reader makes the server hold.
const PAGE: i64 = 100;
/// Silence after which a comment keeps the connection alive.
const SILENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// As in `GET /v1/changes`; `Last-Event-ID` goes before it.
    cursor: Option<String>,
    /// `profile`: with each change the person as they are when it is read.
    #[param(inline)]
    include: Option<Include>,
}

/// Follow the change feed
///
/// Server-sent events: one for each change, its type as `event`, its cursor as `id` and the change as it is in
/// `GET /v1/changes` as `data`. A client that comes back with `Last-Event-ID`, as browsers do by themselves, misses
/// nothing. A comment every 15 seconds of silence keeps the connection. The stream ends when the server is stopped, and when its
/// key is revoked or loses the scope.
#[utoipa::path(
    tag = "changes",
    params(
        StreamParams,
        ("Last-Event-ID" = Option<String>, Header, description = "`id` of the last event that was taken: the stream goes on after it")
    ),
    responses(
        (status = 200, description = "The events", content((String = "text/event-stream"))),
        (status = 410, description = "Changes after the cursor are not kept any more (`cursor_expired`), as in `GET /v1/changes`")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/changes/stream")]
pub async fn stream_changes(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    request: HttpRequest,
    Query(params): Query<StreamParams>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let place = begin(&app.store, workspace, last.or(params.cursor.as_deref())).await?;
    let with_profile = params.include == Some(Include::Profile);
    let first = app.store.changes(workspace, place, PAGE, with_profile).await?.ok_or_else(expired)?;
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        // Proxies that gather an answer before they hand it on are asked not to.
        .insert_header(("X-Accel-Buffering", "no"))
        .content_type("text/event-stream")
        .streaming(events(app, caller, first, with_profile)))
}

fn events(app: Data<App>, caller: Caller<ProfilesRead>, first: FeedPage, with_profile: bool) -> impl Stream<Item = Result<Bytes, Problem>> {
    async_stream::try_stream! {
        let (store, workspace) = (&app.store, caller.workspace());
        let (mut moved, mut stopping) = (store.feed_moved(), store.jobs_stopping());
        // A client knows at once that it is connected, and where it stands: it may be cut off before the first change.
        yield if first.changes.is_empty() { format!("id: {}\n:\n\n", written(workspace, first.seen)).into() } else { Bytes::from_static(b":\n\n") };
        let mut silent_since = Instant::now();
        let mut page = first;
        loop {
            if !page.changes.is_empty() {
                let mut text = String::new();
                for due in &page.changes {
                    let item = FeedItem::of(workspace, due, with_profile);
                    let data = serde_json::to_string(&item).unwrap_or_default();
                    text.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", item.cursor, item.r#type));
                }
                yield text.into();
                silent_since = Instant::now();
            } else if silent_since.elapsed() > SILENCE {
                yield Bytes::from_static(b":\n\n");
                silent_since = Instant::now();
            }
            if *stopping.borrow() {
                break;
            }
            if !page.has_more {
                tokio::select! {
                _ = moved.changed() => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep(LOOK) => {}
                // An open stream would keep a server from going.
                _ = stopping.wait_for(|stopping| *stopping) => break,
                }
                moved.mark_unchanged();
            }
            // A reader so slow that the feed was forgotten meanwhile comes back, and is told.
            caller.still(&app).await?;
            let Some(next) = store.changes(workspace, Some(page.seen), PAGE, with_profile).await.map_err(Problem::from)? else { break };
            page = next;
        }
    }
}
