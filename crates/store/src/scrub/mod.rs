//! Scrubbing: taking the bytes of the erased out of the database's files, and stamping their receipts.
//!
//! An erasure removes rows, and no answer tells of the person from then on; their bytes may still lie in places the
//! database is not using. What is needed to clear those differs: `sqlite.rs` runs beside the writes, a moment after an
//! erasure; `postgres.rs` rewrites tables and turns the log over, when its operator says so. A receipt is stamped only when
//! everything was done that its engine needs, for the erasures that were committed before it began.

mod postgres;
mod slack;
mod sqlite;

use std::{collections::BTreeMap, time::Duration};

use people_domain::{Timestamp, clock::Span, id::WorkspaceId};
use sqlx::FromRow;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    engine::{Pools, spawn},
    rows::ids,
    statement::sql,
    time::At,
};

/// Why the bytes may still be there.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In words for the operator; without personal data.
    #[error("{0}")]
    NotYet(String),
}

impl From<sqlx::Error> for ScrubError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Receipts stamped.
    pub receipts: usize,
    /// Receipts that wait for a job, or for a file that was coming in, to end.
    pub held: i64,
}

/// When the next attempt may be made.
#[derive(Debug, Default)]
pub(crate) struct Scrubbing {
    not_before: Option<Instant>,
    failed: u32,
}

#[derive(FromRow)]
struct Pending {
    workspace_id: Uuid,
    id: Uuid,
}

impl Store {
    /// SQLite: scrubs when the oldest erasure has waited long enough. What stands in the way (a reader that will not end)
    /// is met with patience, longer each time.
    pub(crate) async fn scrub_when_due(&self, state: &mut Scrubbing) {
        if state.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let oldest: Result<Option<(At,)>, StoreError> = self
            .pools
            .one(sql("SELECT e.erased_at FROM erasures AS e
                          WHERE e.scrubbed_at IS NULL AND NOT EXISTS (
                              SELECT 1 FROM jobs AS j
                              WHERE j.workspace_id = e.workspace_id AND j.status IN ('queued', 'running') AND j.created_at <= e.erased_at
                          ) AND NOT EXISTS (
                              SELECT 1 FROM job_inputs AS i
                              WHERE i.workspace_id = e.workspace_id AND i.created_at <= e.erased_at
                          )
                          ORDER BY e.erased_at LIMIT 1"))
            .await;
        let due = |at: Timestamp| at.plus(Span::from_seconds(i64::try_from(self.scrub_after.as_secs()).unwrap_or(i64::MAX))) <= self.now();
        match oldest {
            Ok(Some((at,))) if due(at.0) => {}
            _ => return,
        }
        match self.scrub(true).await {
            Ok(Scrubbed { receipts, held }) => {
                tracing::info!(receipts, held, "erased bytes are out of the database's files");
                *state = Scrubbing::default();
            }
            Err(error) => {
                state.failed += 1;
                let wait = Duration::from_secs(1 << state.failed.min(5));
                state.not_before = Some(Instant::now() + wait);
                let code = if let ScrubError::Store(error) = &error { error.code() } else { None };
                tracing::warn!(%error, code, attempts = state.failed, "erased bytes are still in the database's files; another attempt in {wait:?}");
            }
        }
    }

    /// Takes the bytes of everyone erased so far out of the files, and stamps their receipts. With `log`, PostgreSQL's
    /// write-ahead log is turned over as well; without it, the caller answers for what the log keeps.
    pub async fn scrub(&self, log: bool) -> Result<Scrubbed, ScrubError> {
        let store = self.clone();
        spawn(async move { Ok(store.scrub_now(log).await) }).await?
    }

    async fn scrub_now(&self, log: bool) -> Result<Scrubbed, ScrubError> {
        let begun = self.now();
        // Committed before anything is cleaned: whoever is erased meanwhile is stamped the next time.
        // A job that was there before may name the erased in what it was given, until it ends; and so may a file that is still
        // coming in.
        let pending: Vec<Pending> = self
            .pools
            .all(sql("SELECT e.workspace_id, e.id FROM erasures AS e
                      WHERE e.scrubbed_at IS NULL AND NOT EXISTS (
                          SELECT 1 FROM jobs AS j
                          WHERE j.workspace_id = e.workspace_id AND j.status IN ('queued', 'running') AND j.created_at <= e.erased_at
                      ) AND NOT EXISTS (
                          SELECT 1 FROM job_inputs AS i
                          WHERE i.workspace_id = e.workspace_id AND i.created_at <= e.erased_at
                      )"))
            .await?;
        match &self.pools {
            Pools::Sqlite { writer, readers, kept, .. } => {
                let _wanted = kept.wanted(readers);
                sqlite::scrub(writer, readers).await?;
            }
            Pools::Postgres { pool, kept, .. } => {
                let _wanted = kept.wanted(pool);
                postgres::scrub(pool, log).await?;
            }
        }
        let receipts = pending.len();
        let mut by_workspace: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for row in pending {
            by_workspace.entry(row.workspace_id).or_default().push(row.id);
        }
        let now = self.now();
        for (workspace, receipts) in by_workspace {
            self.write(move |tx| {
                let receipts = receipts.clone();
                Box::pin(async move {
                    tx.run(
                        sql("UPDATE erasures SET scrubbed_at = $2
                             WHERE workspace_id = $1 AND scrubbed_at IS NULL AND id IN (SELECT id FROM {rows} AS r)")
                        .bind(WorkspaceId(workspace))
                        .bind(now)
                        .rows(ids(receipts)),
                    )
                    .await
                })
            })
            .await?;
        }
        let held: Option<(i64,)> =
            self.pools.one(sql("SELECT count(*) FROM erasures WHERE scrubbed_at IS NULL AND erased_at < $1").bind(begun)).await?;
        Ok(Scrubbed { receipts, held: held.map_or(0, |(held,)| held) })
    }
}
