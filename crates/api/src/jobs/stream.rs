//! `GET /v1/jobs/{id}/stream`

use std::time::Duration;

use actix_web::{
    HttpResponse, get,
    web::{Bytes, Data, Path},
};
use futures_util::Stream;
use people_domain::id::RecordId;
use people_store::jobs::Job;

use super::body;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Between two events, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// Between looks at the row, for jobs that another process works on.
const LOOK: Duration = Duration::from_secs(1);
/// Silence after which a comment keeps the connection alive.
const SILENCE: Duration = Duration::from_secs(15);

/// Follow a job
///
/// Server-sent events: an event `job` with the whole job as `data` at once and whenever it has moved, a few a second at
/// most. The stream ends after the event of a job that has ended, and when the server is stopped: ask again then.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "Id of the job", example = "0192f0c1-7d7e-7aaa-8000-000000000007")),
    responses((status = 200, description = "The events", content((String = "text/event-stream")))),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/jobs/{id:[0-9a-fA-F-]+}/stream")]
pub async fn stream_job(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let job = app.store.job(caller.workspace(), RecordId(id(&path)?)).await?.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        // Proxies that gather an answer before they hand it on are asked not to.
        .insert_header(("X-Accel-Buffering", "no"))
        .content_type("text/event-stream")
        .streaming(events(app, caller, job)))
}

fn events(app: Data<App>, caller: Caller<ProfilesRead>, first: Job) -> impl Stream<Item = Result<Bytes, Problem>> {
    async_stream::try_stream! {
        let store = &app.store;
        let (mut moved, mut stopping) = (store.jobs_moved(), store.jobs_stopping());
        let mut job = first;
        yield event(&job);
        let mut silent_since = tokio::time::Instant::now();
        while !job.status.is_final() {
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                // An error means that the store is being closed: the row tells.
                _ = moved.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                // An open stream would keep a server from going.
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
            caller.still(&app).await?;
            // Forgotten meanwhile: there is nothing more to tell.
            let Some(now) = store.job(job.workspace, job.id).await.map_err(Problem::from)? else { break };
            if now != job {
                job = now;
                yield event(&job);
                silent_since = tokio::time::Instant::now();
            } else if silent_since.elapsed() > SILENCE {
                yield Bytes::from_static(b":\n\n");
                silent_since = tokio::time::Instant::now();
            }
        }
    }
}

fn event(job: &Job) -> Bytes {
    format!("event: job\ndata: {}\n\n", body(job)).into()
}
