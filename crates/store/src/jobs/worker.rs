//! Claiming jobs and working on them: a few at a time in each process, every process on the same queue.
//!
//! Candidates are listed and claimed by compare-and-set, one spelling for every engine. A worker that has had its time
//! gives the lease back and the job goes to the end of the queue, so that a long one does not keep a short one waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use people_domain::{
    Timestamp,
    clock::Span,
    id::{RecordId, WorkspaceId},
};
use sqlx::FromRow;
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use super::{End, Job, JobKind, KEPT_DAYS, Lease, Progress, Stored, Turn};
use crate::{
    Store, StoreError,
    engine::unbroken,
    rows::{Kind, Rows},
    statement::sql,
    time::At,
};

/// How long a worker stays with a job while others may wait.
const SLICE: Duration = Duration::from_secs(2);
/// Between looks at the queue, for jobs that other processes put there.
const POLL: Duration = Duration::from_secs(1);
/// Times a step is tried again when what is in its way passes by itself.
const TRIES: u32 = 5;
/// Between sweeps of what is old.
const SWEEP: Duration = Duration::from_secs(120);
/// Inputs of which none has come for this long, and no job, are of requests that broke off with their process: the slowest file there
/// may be brings the next in half that time (`imports/create.rs` of the API). Erasures wait for them.
const ORPHANED: i64 = 600;

#[derive(FromRow)]
struct Candidate {
    workspace_id: Uuid,
    id: Uuid,
    kind: String,
}

#[derive(FromRow)]
struct Standing {
    parameters: String,
    checkpoint: String,
    request_id: String,
    reason: Option<String>,
    #[sqlx(flatten)]
    job: Stored,
}

type Kinds = Arc<Vec<Arc<dyn JobKind>>>;

impl Store {
    /// Works on jobs of these kinds, so many at once, until the store is closed. What was running when a process died is
    /// taken over when its lease has run out.
    pub async fn start_jobs(&self, kinds: Vec<Arc<dyn JobKind>>, at_once: usize) {
        let kinds: Kinds = Arc::new(kinds);
        let owner = Uuid::new_v4();
        let mut workers = self.jobs.workers.lock().await;
        for _ in 0..at_once {
            let worker = Worker { store: self.clone(), kinds: Arc::clone(&kinds), owner, closing: self.jobs.closing.subscribe() };
            workers.push(tokio::spawn(unbroken("a worker of jobs", move || worker.clone().run())));
        }
        let (sweeping, closing) = (self.clone(), self.jobs.closing.subscribe());
        workers.push(tokio::spawn(unbroken("the sweep of what is old", move || sweep(sweeping.clone(), closing.clone()))));
    }
}

#[derive(Clone)]
struct Worker {
    store: Store,
    kinds: Kinds,
    owner: Uuid,
    closing: watch::Receiver<bool>,
}

/// Where work on a job stopped.
enum Left {
    /// It ended, or is somebody else's.
    Over,
    /// It goes on, here or elsewhere.
    Unfinished,
}

impl Worker {
    async fn run(mut self) {
        loop {
            if *self.closing.borrow() {
                return;
            }
            let wait = match self.claim().await {
                Ok(Some((kind, lease))) => {
                    match self.work(kind, lease).await {
                        Ok(Left::Over) => {}
                        Ok(Left::Unfinished) => {
                            // When this fails the lease runs out by itself.
                            let _ = self.give_back(lease).await;
                        }
                        Err(error) => {
                            tracing::warn!(%error, code = error.code(), "a job has to wait");
                            let _ = self.give_back(lease).await;
                            self.rest(POLL).await;
                        }
                    }
                    continue;
                }
                Ok(None) => POLL,
                Err(error) => {
                    tracing::debug!(%error, "the queue of jobs cannot be read");
                    POLL
                }
            };
            self.rest(wait).await;
        }
    }

    /// Until there is something to do, or the time is over.
    async fn rest(&mut self, wait: Duration) {
        let wake = Arc::clone(&self.store.jobs.wake);
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
    }

    async fn claim(&self) -> Result<Option<(Arc<dyn JobKind>, Lease)>, StoreError> {
        let now = self.store.now();
        // Kinds of a newer program are left to it.
        let mut kinds = Rows::new(&[("kind", Kind::Text)]);
        self.kinds.iter().for_each(|kind| kinds.push([kind.name().into()]));
        let candidates: Vec<Candidate> = self
            .store
            .pools
            .all(
                sql("SELECT workspace_id, id, kind FROM jobs
                     WHERE status IN ('queued', 'running') AND (status = 'queued' OR lease_until < $1) AND kind {among}
                     ORDER BY updated_at, id LIMIT 16")
                .bind(now)
                .rows(kinds),
            )
            .await?;
        for candidate in candidates {
            let Some(kind) = self.kinds.iter().find(|kind| kind.name() == candidate.kind) else { continue };
            if let Some(lease) = self.take(WorkspaceId(candidate.workspace_id), RecordId(candidate.id), now).await? {
                return Ok(Some((Arc::clone(kind), lease)));
            }
        }
        Ok(None)
    }

    /// Compare and set: of several who try, one gets it.
    async fn take(&self, workspace: WorkspaceId, job: RecordId, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let seconds = self.store.lease_seconds;
        let (owner, until) = (self.owner, now.plus(Span::from_seconds(seconds)));
        let taken: Option<(i64,)> = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    tx.optional(
                        sql("UPDATE jobs
                             SET status = 'running', lease_owner = $3, lease_until = $4, attempt = attempt + 1,
                                 started_at = coalesce(started_at, $5), updated_at = $5
                             WHERE workspace_id = $1 AND id = $2 AND (status = 'queued' OR (status = 'running' AND lease_until < $5))
                             RETURNING attempt")
                        .bind(workspace)
                        .bind(job)
                        .bind(owner)
                        .bind(until)
                        .bind(now),
                    )
                    .await
                })
            })
            .await?;
        if taken.is_some() {
            self.store.jobs.tell_readers();
        }
        Ok(taken.map(|(attempt,)| Lease { workspace, job, attempt, seconds }))
    }

    /// Steps, until the job is over, the time is, or the process goes.
    async fn work(&self, kind: Arc<dyn JobKind>, lease: Lease) -> Result<Left, StoreError> {
        // It stops with the work, however that ends: else nobody would ever take the job over.
        let mut heart = JoinSet::new();
        heart.spawn(beat(self.store.clone(), lease));
        self.steps(kind, lease).await
    }

    async fn steps(&self, kind: Arc<dyn JobKind>, lease: Lease) -> Result<Left, StoreError> {
        let since = Instant::now();
        let mut tries = 0;
        loop {
            let Some(turn) = self.store.turn(lease).await? else { return Ok(Left::Over) };
            let (store, stepping) = (self.store.clone(), Arc::clone(&kind));
            // A task of its own: a step that panics ends its job, not the worker.
            let stepped = tokio::spawn(async move { stepping.step(&store, turn).await }).await;
            self.store.jobs.tell_readers();
            match stepped {
                Ok(Ok(())) => tries = 0,
                Ok(Err(StoreError::Stale)) => return Ok(Left::Over),
                Ok(Err(error @ (StoreError::Raced | StoreError::Unavailable | StoreError::Full))) => {
                    tries += 1;
                    if tries > TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, code = error.code(), kind = kind.name(), job = %lease.job, "a job failed");
                    return self.fail(lease).await;
                }
                Err(_) => {
                    tracing::error!(kind = kind.name(), job = %lease.job, "a step of a job stopped");
                    return self.fail(lease).await;
                }
            }
            if *self.closing.borrow() || since.elapsed() > SLICE {
                return Ok(Left::Unfinished);
            }
        }
    }

    async fn fail(&self, lease: Lease) -> Result<Left, StoreError> {
        let detail = "Something went wrong on our side; what was done before stays done. Quote the job's id when reporting it.";
        let end = End::Failed { code: "internal_error".to_owned(), detail: detail.to_owned() };
        match self.store.advance_job(lease, Progress { end: Some(end), ..Progress::default() }).await {
            Ok(()) | Err(StoreError::Stale) => {
                self.store.jobs.tell_readers();
                Ok(Left::Over)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets go of a job that goes on: it is anybody's, after those that have waited longer.
    async fn give_back(&self, lease: Lease) -> Result<(), StoreError> {
        let now = self.store.now();
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.run(
                        sql("UPDATE jobs SET lease_owner = NULL, lease_until = $4, updated_at = $5
                             WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'")
                        .bind(lease.workspace)
                        .bind(lease.job)
                        .bind(lease.attempt)
                        .bind(now.minus(Span::from_seconds(1)))
                        .bind(now),
                    )
                    .await
                    .map(|_| ())
                })
            })
            .await
    }
}

impl super::Hub {
    /// Tells those who watch a job; nothing new is to be worked on.
    fn tell_readers(&self) {
        self.moved.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Store {
    /// The job as the last step left it; `None` when the lease is not ours any more.
    async fn turn(&self, lease: Lease) -> Result<Option<Turn>, StoreError> {
        let row: Option<Standing> = self
            .pools
            .one(
                sql("SELECT workspace_id, id, kind, status, details, total, processed, succeeded, failed, error_code, error_detail, actor,
                            created_at, started_at, finished_at, parameters, checkpoint, request_id, reason
                     FROM jobs WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'")
                .bind(lease.workspace)
                .bind(lease.job)
                .bind(lease.attempt),
            )
            .await?;
        row.map(|row| {
            let json = |text: &str| serde_json::from_str(text).map_err(|_| StoreError::Unreadable("a job"));
            Ok(Turn {
                lease,
                parameters: json(&row.parameters)?,
                checkpoint: json(&row.checkpoint)?,
                job: Job::try_from(row.job)?,
                request_id: row.request_id,
                reason: row.reason,
            })
        })
        .transpose()
    }
}

/// Prolongs a lease while a step takes long.
async fn beat(store: Store, lease: Lease) {
    let every = Duration::from_millis(u64::try_from(lease.seconds).unwrap_or(30) * 1_000 / 3);
    loop {
        tokio::time::sleep(every).await;
        let until = store.now().plus(Span::from_seconds(lease.seconds));
        let beaten = store
            .write(move |tx| {
                Box::pin(async move {
                    tx.run(
                        sql("UPDATE jobs SET lease_until = $4
                             WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND status = 'running' AND lease_until < $4")
                        .bind(lease.workspace)
                        .bind(lease.job)
                        .bind(lease.attempt)
                        .bind(until),
                    )
                    .await
                    .map(|_| ())
                })
            })
            .await;
        if let Err(error) = beaten {
            tracing::debug!(%error, "a lease could not be prolonged");
        }
    }
}

#[derive(FromRow)]
struct Old {
    workspace_id: Uuid,
    id: Uuid,
    #[expect(dead_code, reason = "the order of the list needs it")]
    at: At,
}

/// Forgets what is older than it may be: ended jobs, inputs whose job never came, stored answers, rejected messages, deliveries of webhooks.
async fn sweep(store: Store, mut closing: watch::Receiver<bool>) {
    loop {
        let swept = [
            store.forget_old_jobs().await,
            store.forget_old_answers().await,
            store.forget_old_rejections().await,
            store.forget_old_deliveries().await,
        ];
        for swept in swept {
            if let Err(error) = swept {
                tracing::debug!(%error, "what is old could not be forgotten yet");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

impl Store {
    /// One sweep over jobs that are older than they may be.
    async fn forget_old_jobs(&self) -> Result<(), StoreError> {
        let now = self.now();
        let before = now.minus(Span::from_seconds(KEPT_DAYS * 24 * 3_600));
        loop {
            let old: Vec<Old> = self
                .pools
                .all(
                    sql("SELECT workspace_id, id, finished_at AS at FROM jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT 100")
                        .bind(before),
                )
                .await?;
            for job in &old {
                let (workspace, id) = (WorkspaceId(job.workspace_id), job.id);
                self.write(move |tx| {
                    Box::pin(async move {
                        for statement in [
                            "DELETE FROM job_errors WHERE workspace_id = $1 AND job_id = $2",
                            "DELETE FROM job_inputs WHERE workspace_id = $1 AND job_id = $2",
                            "DELETE FROM jobs WHERE workspace_id = $1 AND id = $2",
                        ] {
                            tx.run(sql(statement).bind(workspace).bind(id)).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
            }
            if old.len() < 100 {
                break;
            }
        }
        let orphaned = now.minus(Span::from_seconds(ORPHANED));
        let orphans: Vec<(Uuid, Uuid)> = self
            .pools
            .all(
                sql("SELECT i.workspace_id, i.job_id FROM job_inputs AS i
                     WHERE NOT EXISTS (SELECT 1 FROM jobs AS j WHERE j.workspace_id = i.workspace_id AND j.id = i.job_id)
                     GROUP BY i.workspace_id, i.job_id HAVING max(i.created_at) < $1")
                .bind(orphaned),
            )
            .await?;
        for (workspace, job) in orphans {
            self.drop_inputs(WorkspaceId(workspace), RecordId(job)).await?;
        }
        Ok(())
    }
}
