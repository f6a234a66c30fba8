//! Jobs: work that goes on after its request was answered, in small steps that survive everything.
//!
//! A job is a row. Whoever works on it holds a *lease*: the row names the owner, until when, and the attempt, which is
//! the fencing token. A step commits its work and its [`Progress`] in one transaction, by `advance`, which refuses a
//! lease that somebody else has taken over or that was cancelled: each step takes effect once or not at all, whatever is
//! killed when. What a kind of job does stands in its own [`JobKind`]; `worker` claims and runs them.
//!
//! A job may name people while it runs (a filter, a file). When it ends, its parameters, its checkpoint and its inputs
//! are emptied in the same transaction; what stays is how it went.

mod worker;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use people_domain::{
    Refusal, Timestamp,
    clock::Span,
    directory::Cause,
    id::{ProfileId, RecordId, WorkspaceId},
};
use serde_json::Value;
use sqlx::FromRow;
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{
    Act, Group, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, door, ids, labels,
    profiles::Ahead,
    rows::{Kind, Rows},
    statement::{Sql, sql},
    time::At,
};

/// Days for which a finished job, and what it could not do, can be read.
pub const KEPT_DAYS: i64 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub const ALL: &'static [Self] = &[Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == text)
    }

    /// Nothing of it changes any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub workspace: WorkspaceId,
    pub id: RecordId,
    pub kind: String,
    pub status: JobStatus,
    /// What the API shows of what it does: nothing of anybody's.
    pub details: Value,
    /// `None` until it is known.
    pub total: Option<i64>,
    pub processed: i64,
    pub succeeded: i64,
    pub failed: i64,
    /// Why it failed as a whole: a code and what to do.
    pub error: Option<(String, String)>,
    pub actor: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// A job to be put in the queue.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub workspace: WorkspaceId,
    /// Made beforehand ([`Store::new_record_id`]) where inputs come in under it.
    pub id: RecordId,
    /// The name of a [`JobKind`].
    pub kind: &'static str,
    /// For the kind alone: emptied when the job ends.
    pub parameters: Value,
    /// An object that the API shows: nothing of anybody's.
    pub details: Value,
    pub total: Option<i64>,
    /// Who asked, when and why: stands beside every change the job makes.
    pub cause: Arc<Cause>,
}

/// What became of a request for a job.
#[derive(Clone, Debug)]
pub enum Enqueued {
    Now(Box<Job>),
    /// The request had been carried out before.
    Replayed(StoredAnswer),
    /// The idempotency key had been used for another request.
    Refused(Refusal),
}

/// The right to work on a job, until somebody with a higher attempt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub workspace: WorkspaceId,
    pub job: RecordId,
    /// The fencing token.
    pub attempt: i64,
    /// How long each step prolongs it.
    pub seconds: i64,
}

/// Something of a job that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// Line of the file, or place in the selection, from 1.
    pub position: i64,
    pub code: String,
    /// Never a value of anybody's.
    pub detail: String,
    pub profile_id: Option<ProfileId>,
}

/// What a step did, and where the next one begins.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What the job must have processed before. Steps of one job can be handed in one behind the other: one whose forerunner
    /// came to nothing is refused then.
    pub after: Option<i64>,
    pub checkpoint: Value,
    /// Added to what was counted before.
    pub processed: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub errors: Vec<JobError>,
    /// Once it is known.
    pub total: Option<i64>,
    /// The job's details from now on.
    pub details: Option<Value>,
    pub end: Option<End>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// As a whole, with a code and what to do; what was done stays done.
    Failed {
        code: String,
        detail: String,
    },
}

/// The progress of a step whose work goes through the door: written in the transaction of the work.
#[derive(Clone)]
pub struct Step {
    pub lease: Lease,
    /// From what became of the commands.
    pub progress: Arc<dyn Fn(&Group) -> Progress + Send + Sync>,
    /// People it is about, read while others were at the door.
    pub(crate) ahead: Ahead,
}

impl Step {
    pub fn new(lease: Lease, progress: Arc<dyn Fn(&Group) -> Progress + Send + Sync>) -> Self {
        Self { lease, progress, ahead: Ahead::default() }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({:?})", self.lease)
    }
}

/// A job in the hands of a worker, as the last step left it.
#[derive(Clone, Debug)]
pub struct Turn {
    pub lease: Lease,
    pub parameters: Value,
    /// `null` before the first step.
    pub checkpoint: Value,
    pub job: Job,
    pub request_id: String,
    pub reason: Option<String>,
}

impl Turn {
    /// The cause of what the job changes now.
    pub fn cause(&self, at: Timestamp, source: &'static str) -> Arc<Cause> {
        Arc::new(Cause { at, actor: self.job.actor.clone(), source, request_id: self.request_id.clone(), reason: self.reason.clone() })
    }
}

/// A boxed future of a step.
pub type Stepping<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// A kind of job. To add one: a type in a file of its own with this, and a line in the list given to
/// [`Store::start_jobs`].
pub trait JobKind: Send + Sync + 'static {
    /// As it stands in the row and in the API.
    fn name(&self) -> &'static str;

    /// Does the next step from `turn.checkpoint`: some hundred rows, a second at most. It commits exactly one
    /// [`Progress`] together with its work: in a [`crate::Job`] for the door, or by `jobs::advance` in a transaction of the
    /// store. One of several transactions (`living::Settle`) commits a [`Progress`] with each, and looks whether the process is going
    /// between them. E: [`StoreError::Stale`] when the lease is lost; whatever passes by itself is tried again; a fault ends the
    /// job.
    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a>;
}

/// The store's part of jobs that is not in the database: who works here, and who is told.
#[derive(Clone)]
pub(crate) struct Hub {
    /// There is something to do.
    wake: Arc<Notify>,
    /// A job of this process has moved.
    moved: watch::Sender<u64>,
    pub(crate) closing: watch::Sender<bool>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { wake: Arc::new(Notify::new()), moved: watch::channel(0).0, closing: watch::channel(false).0, workers: Arc::default() }
    }

    /// Tells that a job was put in the queue, moved or ended. After the commit.
    pub(crate) fn tell(&self) {
        self.wake.notify_one();
        self.moved.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Lets the workers finish their steps and give their leases back, and waits for them.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        for worker in self.workers.lock().await.drain(..) {
            // A worker that stopped by itself has nothing left to wait for.
            let _ = worker.await;
        }
    }
}

#[derive(FromRow)]
struct Stored {
    workspace_id: Uuid,
    id: Uuid,
    kind: String,
    status: String,
    details: String,
    total: Option<i64>,
    processed: i64,
    succeeded: i64,
    failed: i64,
    error_code: Option<String>,
    error_detail: Option<String>,
    actor: String,
    created_at: At,
    started_at: Option<At>,
    finished_at: Option<At>,
}

const COLUMNS: &str = "workspace_id, id, kind, status, details, total, processed, succeeded, failed, error_code, error_detail, actor, \
     created_at, started_at, finished_at";

impl TryFrom<Stored> for Job {
    type Error = StoreError;

    fn try_from(row: Stored) -> Result<Self, StoreError> {
        Ok(Self {
            workspace: WorkspaceId(row.workspace_id),
            id: RecordId(row.id),
            kind: row.kind,
            status: JobStatus::parse(&row.status).ok_or(StoreError::Unreadable("a job's status"))?,
            details: serde_json::from_str(&row.details).map_err(|_| StoreError::Unreadable("a job's details"))?,
            total: row.total,
            processed: row.processed,
            succeeded: row.succeeded,
            failed: row.failed,
            error: row.error_code.zip(row.error_detail),
            actor: row.actor,
            created_at: row.created_at.0,
            started_at: row.started_at.map(|at| at.0),
            finished_at: row.finished_at.map(|at| at.0),
        })
    }
}

#[derive(FromRow)]
struct StoredError {
    position: i64,
    code: String,
    detail: String,
    profile_id: Option<Uuid>,
}

/// Puts a job in the queue, inside a transaction that does something else too. After its commit, [`Hub::tell`].
pub(crate) async fn enqueue(tx: &mut Tx, new: &NewJob) -> Result<Job, StoreError> {
    tx.run(
        sql("INSERT INTO jobs (workspace_id, id, kind, status, parameters, checkpoint, details, total, processed, succeeded, failed,
                               attempt, actor, request_id, reason, created_at, updated_at)
             VALUES ($1, $2, $3, 'queued', $4, 'null', $5, $6, 0, 0, 0, 0, $7, $8, $9, $10, $10)")
        .bind(new.workspace)
        .bind(new.id)
        .bind(new.kind)
        .bind(new.parameters.to_string())
        .bind(new.details.to_string())
        .bind(new.total)
        .bind(new.cause.actor.as_str())
        .bind(new.cause.request_id.as_str())
        .bind(new.cause.reason.as_deref())
        .bind(new.cause.at),
    )
    .await?;
    Ok(Job {
        workspace: new.workspace,
        id: new.id,
        kind: new.kind.to_owned(),
        status: JobStatus::Queued,
        details: new.details.clone(),
        total: new.total,
        processed: 0,
        succeeded: 0,
        failed: 0,
        error: None,
        actor: new.cause.actor.clone(),
        created_at: new.cause.at,
        started_at: None,
        finished_at: None,
    })
}

/// Writes down what a step did, in the transaction that does it, and prolongs the lease.
///
/// E: [`StoreError::Stale`]: the lease is somebody else's by now, or the job was cancelled; [`StoreError::Raced`]: it has not
/// come to where this begins ([`Progress::after`]). The work must not be committed.
pub(crate) async fn advance(tx: &mut Tx, lease: Lease, progress: &Progress, now: Timestamp) -> Result<(), StoreError> {
    let (status, error) = match &progress.end {
        None => (JobStatus::Running, None),
        Some(End::Succeeded) => (JobStatus::Succeeded, None),
        Some(End::Failed { code, detail }) => (JobStatus::Failed, Some((code.as_str(), detail.as_str()))),
    };
    let ended = status.is_final();
    let held = tx
        .run(
            sql("UPDATE jobs
                 SET status = $4, checkpoint = $5, parameters = CASE WHEN $6 THEN '{}' ELSE parameters END,
                     processed = processed + $7, succeeded = succeeded + $8, failed = failed + $9,
                     total = coalesce($10, total), details = coalesce($11, details), error_code = $12, error_detail = $13,
                     lease_until = $14, updated_at = $15, finished_at = $16
                 WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND status = 'running' AND processed = coalesce($17, processed)")
            .bind(lease.workspace)
            .bind(lease.job)
            .bind(lease.attempt)
            .bind(status.as_str())
            .bind(if ended { "null".to_owned() } else { progress.checkpoint.to_string() })
            .bind(ended)
            .bind(progress.processed)
            .bind(progress.succeeded)
            .bind(progress.failed)
            .bind(progress.total)
            .bind(progress.details.as_ref().map(Value::to_string))
            .bind(error.map(|(code, _)| code))
            .bind(error.map(|(_, detail)| detail))
            .bind((!ended).then(|| now.plus(Span::from_seconds(lease.seconds))))
            .bind(now)
            .bind(ended.then_some(now))
            .bind(progress.after),
        )
        .await?;
    if held != 1 {
        return Err(if progress.after.is_some() && is_ours(tx, lease).await? { StoreError::Raced } else { StoreError::Stale });
    }
    if !progress.errors.is_empty() {
        let mut rows = Rows::new(&[("position", Kind::Int), ("code", Kind::Text), ("detail", Kind::Text), ("profile_id", Kind::Uuid)]);
        for error in &progress.errors {
            rows.push([
                error.position.into(),
                error.code.as_str().into(),
                error.detail.as_str().into(),
                error.profile_id.map(|id| id.0).into(),
            ]);
        }
        tx.run(
            sql("INSERT INTO job_errors (workspace_id, job_id, position, code, detail, profile_id)
                 SELECT $1, $2, r.position, r.code, r.detail, r.profile_id FROM {rows} AS r WHERE true
                 ON CONFLICT DO NOTHING")
            .bind(lease.workspace)
            .bind(lease.job)
            .rows(rows),
        )
        .await?;
    }
    if ended { close(tx, lease.workspace, lease.job).await } else { Ok(()) }
}

async fn is_ours(tx: &mut Tx, lease: Lease) -> Result<bool, StoreError> {
    let found: Option<(i64,)> = tx
        .optional(
            sql("SELECT attempt FROM jobs WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND status = 'running'")
                .bind(lease.workspace)
                .bind(lease.job)
                .bind(lease.attempt),
        )
        .await?;
    Ok(found.is_some())
}

/// Ends a job that has not ended, inside a transaction that does something else too. A step that is under way when this is
/// committed is refused. After the commit, [`Hub::tell`].
pub(crate) async fn cancel(tx: &mut Tx, workspace: WorkspaceId, id: RecordId, now: Timestamp) -> Result<bool, StoreError> {
    let cancelled = tx
        .run(
            sql("UPDATE jobs
                 SET status = 'cancelled', attempt = attempt + 1, parameters = '{}', checkpoint = 'null',
                     lease_owner = NULL, lease_until = NULL, updated_at = $3, finished_at = $3
                 WHERE workspace_id = $1 AND id = $2 AND status IN ('queued', 'running')")
            .bind(workspace)
            .bind(id)
            .bind(now),
        )
        .await?;
    if cancelled == 1 {
        close(tx, workspace, id).await?;
    }
    Ok(cancelled == 1)
}

/// What goes with a job that ended, however it did.
async fn close(tx: &mut Tx, workspace: WorkspaceId, job: RecordId) -> Result<(), StoreError> {
    labels::let_go(tx, workspace, job).await?;
    forget_inputs(tx, workspace, job).await
}

async fn forget_inputs(tx: &mut Tx, workspace: WorkspaceId, job: RecordId) -> Result<(), StoreError> {
    tx.run(sql("DELETE FROM job_inputs WHERE workspace_id = $1 AND job_id = $2").bind(workspace).bind(job)).await.map(|_| ())
}

/// What the audit log tells of a job: how many, and the choices that are one of a few words. A column of a file may be named
/// like a person where the file has no header.
fn told(new: &NewJob) -> Value {
    let mut told = serde_json::Map::new();
    told.insert("count".to_owned(), new.total.into());
    for choice in ["action", "mode", "format", "dry_run"] {
        if let Some(chosen) = new.details.get(choice).filter(|chosen| chosen.is_string() || chosen.is_boolean()) {
            told.insert(choice.to_owned(), chosen.clone());
        }
    }
    told.into()
}

fn selected(text: &str) -> Sql {
    Sql::composed(format!("SELECT {COLUMNS} FROM jobs {text}"), Vec::new())
}

impl Store {
    /// An id for something that is made outside of a batch of commands.
    pub fn new_record_id(&self) -> RecordId {
        RecordId(ids::new_id(self.now()))
    }

    /// Puts a job in the queue. `render` writes the answer that a retry under the same key gets.
    pub async fn enqueue(
        &self,
        new: NewJob,
        idempotency: Option<Idempotency>,
        render: impl Fn(&Job) -> StoredAnswer + Send + Sync + 'static,
    ) -> Result<Enqueued, StoreError> {
        let (new, render) = (Arc::new(new), Arc::new(render));
        let enqueued = self
            .write(move |tx| {
                let (new, render, idempotency) = (Arc::clone(&new), Arc::clone(&render), idempotency.clone());
                Box::pin(async move {
                    if let Some(key) = &idempotency
                        && let Some(before) = door::replayed(tx, new.workspace, key, new.cause.at).await?
                    {
                        // What came in for a job that is not made.
                        forget_inputs(tx, new.workspace, new.id).await?;
                        return Ok(match before {
                            Ok(answer) => Enqueued::Replayed(answer),
                            Err(refusal) => Enqueued::Refused(refusal),
                        });
                    }
                    let job = enqueue(tx, &new).await?;
                    let act = Act::of(format!("{}.started", new.kind), "job", new.id).with(told(&new));
                    audit::note(tx, new.workspace, vec![(&new.cause, act)]).await?;
                    if let Some(key) = idempotency {
                        door::keep(tx, new.workspace, key, render(&job), new.cause.at).await?;
                    }
                    Ok(Enqueued::Now(Box::new(job)))
                })
            })
            .await?;
        if matches!(enqueued, Enqueued::Now(_)) {
            self.jobs.tell();
        }
        Ok(enqueued)
    }

    /// What was answered under this key before, for requests that look at much before they act.
    pub async fn answered(&self, workspace: WorkspaceId, idempotency: Idempotency) -> Result<Option<Enqueued>, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let idempotency = idempotency.clone();
            Box::pin(async move {
                Ok(door::replayed(tx, workspace, &idempotency, now).await?.map(|before| match before {
                    Ok(answer) => Enqueued::Replayed(answer),
                    Err(refusal) => Enqueued::Refused(refusal),
                }))
            })
        })
        .await
    }

    pub async fn job(&self, workspace: WorkspaceId, id: RecordId) -> Result<Option<Job>, StoreError> {
        let row: Option<Stored> = self.pools.one(selected("WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(id)).await?;
        row.map(Job::try_from).transpose()
    }

    /// Jobs, newest first, older than `before`.
    pub async fn jobs(
        &self,
        workspace: WorkspaceId,
        kind: Option<String>,
        status: Option<JobStatus>,
        before: Option<RecordId>,
        limit: i64,
    ) -> Result<Vec<Job>, StoreError> {
        let mut text = String::from("WHERE workspace_id = $1 AND id < $2");
        let mut n = 3;
        for (column, sent) in [("kind", kind.is_some()), ("status", status.is_some())] {
            if sent {
                text.push_str(&format!(" AND {column} = ${n}"));
                n += 1;
            }
        }
        text.push_str(&format!(" ORDER BY id DESC LIMIT ${n}"));
        let mut statement = selected(&text).bind(workspace).bind(before.map_or(Uuid::max(), |id| id.0));
        if let Some(kind) = kind {
            statement = statement.bind(kind);
        }
        if let Some(status) = status {
            statement = statement.bind(status.as_str());
        }
        let rows: Vec<Stored> = self.pools.all(statement.bind(limit)).await?;
        rows.into_iter().map(Job::try_from).collect()
    }

    /// What a job could not do, by position, after a position.
    pub async fn job_errors(&self, workspace: WorkspaceId, id: RecordId, after: i64, limit: i64) -> Result<Vec<JobError>, StoreError> {
        let rows: Vec<StoredError> = self
            .pools
            .all(
                sql("SELECT position, code, detail, profile_id FROM job_errors
                     WHERE workspace_id = $1 AND job_id = $2 AND position > $3 ORDER BY position LIMIT $4")
                .bind(workspace)
                .bind(id)
                .bind(after)
                .bind(limit),
            )
            .await?;
        let error = |row: StoredError| JobError {
            position: row.position,
            code: row.code,
            detail: row.detail,
            profile_id: row.profile_id.map(ProfileId),
        };
        Ok(rows.into_iter().map(error).collect())
    }

    /// Ends a job that has not ended. At once: a step that is under way when this is committed is refused. `None`: there is
    /// no such job; a job that had ended stays as it is. `render` writes the answer that a retry under the same key gets.
    pub async fn cancel_job(
        &self,
        workspace: WorkspaceId,
        id: RecordId,
        cause: Arc<Cause>,
        idempotency: Option<Idempotency>,
        render: impl Fn(&Job) -> StoredAnswer + Send + Sync + 'static,
    ) -> Result<Option<Enqueued>, StoreError> {
        let render = Arc::new(render);
        let cancelled = self
            .write(move |tx| {
                let (cause, render, idempotency) = (Arc::clone(&cause), Arc::clone(&render), idempotency.clone());
                Box::pin(async move {
                    if let Some(key) = &idempotency
                        && let Some(before) = door::replayed(tx, workspace, key, cause.at).await?
                    {
                        return Ok(Some(before.map_or_else(Enqueued::Refused, Enqueued::Replayed)));
                    }
                    if cancel(tx, workspace, id, cause.at).await? {
                        audit::note(tx, workspace, vec![(&cause, Act::of("job.cancelled", "job", id))]).await?;
                    }
                    let row: Option<Stored> = tx.optional(selected("WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(id)).await?;
                    let Some(job) = row.map(Job::try_from).transpose()? else { return Ok(None) };
                    if let Some(key) = idempotency {
                        door::keep(tx, workspace, key, render(&job), cause.at).await?;
                    }
                    Ok(Some(Enqueued::Now(Box::new(job))))
                })
            })
            .await?;
        self.jobs.tell();
        Ok(cancelled)
    }

    /// Keeps a piece of what a job will work through, before or after the job is there. Pieces count from 0.
    pub async fn keep_input(&self, workspace: WorkspaceId, job: RecordId, piece: i64, content: Vec<u8>) -> Result<(), StoreError> {
        let now = self.now();
        let content = Arc::new(content);
        self.write(move |tx| {
            let content = Arc::clone(&content);
            Box::pin(async move {
                tx.run(
                    sql("INSERT INTO job_inputs (workspace_id, job_id, piece, content, created_at) VALUES ($1, $2, $3, $4, $5)")
                        .bind(workspace)
                        .bind(job)
                        .bind(piece)
                        .bind(content.to_vec())
                        .bind(now),
                )
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// The same for a piece that a step makes: made again after a crash, it is the same.
    pub async fn keep_input_again(&self, workspace: WorkspaceId, job: RecordId, piece: i64, content: Vec<u8>) -> Result<(), StoreError> {
        match self.keep_input(workspace, job, piece, content).await {
            // It is there.
            Err(StoreError::Raced) => Ok(()),
            kept => kept,
        }
    }

    pub async fn input(&self, workspace: WorkspaceId, job: RecordId, piece: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = self
            .pools
            .one(
                sql("SELECT content FROM job_inputs WHERE workspace_id = $1 AND job_id = $2 AND piece = $3")
                    .bind(workspace)
                    .bind(job)
                    .bind(piece),
            )
            .await?;
        Ok(row.map(|(content,)| content))
    }

    /// Takes away what came in for a job that is not made after all.
    pub async fn drop_inputs(&self, workspace: WorkspaceId, job: RecordId) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { forget_inputs(tx, workspace, job).await })).await
    }

    /// Writes down what a step did that changed nothing else.
    pub async fn advance_job(&self, lease: Lease, progress: Progress) -> Result<(), StoreError> {
        let now = self.now();
        let progress = Arc::new(progress);
        self.write(move |tx| {
            let progress = Arc::clone(&progress);
            Box::pin(async move { advance(tx, lease, &progress, now).await })
        })
        .await
    }

    /// Lets the workers of this process finish their steps and give their jobs back; nothing new is begun. Also ends what
    /// follows jobs ([`Store::jobs_stopping`]).
    pub async fn stop_jobs(&self) {
        self.jobs.close().await;
    }

    /// Adds a task that ends by itself once [`Store::jobs_stopping`] turns true: who stops the jobs waits for it too.
    pub async fn keep_until_stopped(&self, task: JoinHandle<()>) {
        self.jobs.workers.lock().await.push(task);
    }

    /// Turns true when this process is about to go.
    pub fn jobs_stopping(&self) -> watch::Receiver<bool> {
        self.jobs.closing.subscribe()
    }

    /// Waits until some job of this process has moved; the truth is in the database, where others move too.
    pub fn jobs_moved(&self) -> watch::Receiver<u64> {
        self.jobs.moved.subscribe()
    }
}

/// The parameters of a kind, read from what it wrote itself.
pub fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, StoreError> {
    serde_json::from_value(value.clone()).map_err(|_| StoreError::Unreadable("a job's parameters or its checkpoint"))
}
