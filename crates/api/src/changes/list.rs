//! `GET /v1/changes`

use std::time::Duration;

use actix_web::{HttpResponse, get, web::Data};
use people_domain::id::WorkspaceId;
use people_store::{FeedPage, Store};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::{FeedItem, read, written};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::Query,
    problem::{ApiResult, Kind, Problem},
};

/// Longest time for which a page is waited for, in seconds.
const MAX_WAIT: u64 = 60;
/// Most changes of a page.
const MAX_LIMIT: i64 = 1_000;
/// Between looks at the feed, for what other processes write.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Between two looks after what this process writes, at least: a waiting reader costs no more under a heavy load.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangesParams {
    /// `next_cursor` of the page before, `cursor` of a change, or `latest` for what comes from now on. Without one: from
    /// the first change on that is kept.
    cursor: Option<String>,
    /// Changes of a page, 1 to 1,000 at most; 100 by default.
    limit: Option<i64>,
    /// Seconds to wait for a change when there is none, 0 to 60; 0 by default.
    wait: Option<u64>,
    /// `profile`: with each change the person as they are when it is read.
    #[param(inline)]
    include: Option<Include>,
}

/// What is told beside a change.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Include {
    Profile,
}

/// Part of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeList<'a> {
    /// In the order they were made.
    pub data: Vec<FeedItem<'a>>,
    /// Where to read on: also at the end, for what comes next.
    pub next_cursor: String,
    /// There is more already.
    pub has_more: bool,
}

/// What came after the cursor is gone.
pub(super) fn expired() -> Problem {
    Problem::at(
        Kind::CursorExpired,
        "cursor",
        "cursor_expired",
        "What comes after this cursor is not here any more. Take `next_cursor` of `?cursor=latest`, export everybody, and read on from it.",
    )
}

/// Where a reader begins; `None`: at the first change that is kept. E: `invalid_cursor`.
pub(super) async fn begin(store: &Store, workspace: WorkspaceId, cursor: Option<&str>) -> ApiResult<Option<i64>> {
    match cursor {
        None => Ok(None),
        Some("latest") => Ok(Some(store.last_change(workspace).await?)),
        Some(cursor) => read(workspace, cursor).map(Some),
    }
}

/// Read the change feed
///
/// Every change of every person in the order of commits: none is passed over and none comes twice, however many write at
/// once. Keep `next_cursor` and read on from it for as long as you like; `wait` holds the answer back until there is
/// something to tell.
///
/// To keep a copy of the directory: read with `include=profile` from the start and hold, for each change, `profile` under
/// `profile_id`, or nobody where it is `null`; of a `profile.merged`, nobody under `merge.secondary_id`. A merge is told
/// once; after somebody was erased, those merged into them are told as `profile.erased` in the place of the merge, too. A profile is told as it stands when it is read, which may be ahead of its change; what brought it there follows.
#[utoipa::path(
    tag = "changes",
    params(ChangesParams),
    responses(
        (status = 200, description = "Part of the feed", body = ChangeList),
        (status = 410, description = "Changes after the cursor are not kept any more (`cursor_expired`): take `next_cursor` of `?cursor=latest`, export everybody, and read on from it")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/changes")]
pub async fn list_changes(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<ChangesParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = match params.limit {
        None => 100,
        Some(limit @ 1..=MAX_LIMIT) => limit,
        Some(_) => return Err(Problem::query("limit", "A page has 1 to 1000 changes.")),
    };
    let wait = match params.wait {
        None => Duration::ZERO,
        Some(wait @ 0..=MAX_WAIT) => Duration::from_secs(wait),
        Some(_) => return Err(Problem::query("wait", "A page is waited for 0 to 60 seconds.")),
    };
    let with_profile = params.include == Some(Include::Profile);
    let place = begin(&app.store, workspace, params.cursor.as_deref()).await?;
    let page = waited(&app.store, workspace, place, limit, with_profile, wait).await?;
    if !wait.is_zero() {
        caller.still(&app).await?;
    }
    let list = ChangeList {
        data: page.changes.iter().map(|due| FeedItem::of(workspace, due, with_profile)).collect(),
        next_cursor: written(workspace, page.seen),
        has_more: page.has_more,
    };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}

/// The next page, as soon as there is one; an empty one once the time is over or the server is stopped. No connection to
/// the database is held while it waits.
async fn waited(
    store: &Store,
    workspace: WorkspaceId,
    mut place: Option<i64>,
    limit: i64,
    with_profile: bool,
    wait: Duration,
) -> ApiResult<FeedPage> {
    // Before the first look, so that nothing is written unseen between it and the wait.
    let (mut moved, mut stopping) = (store.feed_moved(), store.jobs_stopping());
    let until = Instant::now() + wait;
    loop {
        let page = store.changes(workspace, place, limit, with_profile).await?.ok_or_else(expired)?;
        if !page.changes.is_empty() || page.has_more || Instant::now() >= until || *stopping.borrow() {
            return Ok(page);
        }
        place = Some(page.seen);
        tokio::select! {
            _ = moved.changed() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep_until(until.min(Instant::now() + LOOK)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        moved.mark_unchanged();
    }
}
