//! The queue of people in whom time alone may change something.

use std::sync::Arc;

use people_domain::{
    Timestamp,
    directory::{Cause, Command},
    id::{ProfileId, WorkspaceId},
};
use uuid::Uuid;

use crate::{Job as DoorJob, Store, StoreError, rows::ids, statement::sql, time::At};

/// People judged in one transaction.
const CHUNK: i64 = 1_000;

impl Store {
    /// The workspaces of those whose time has come: as a rule none.
    async fn due_workspaces(&self, now: Timestamp) -> Result<Vec<(Uuid,)>, StoreError> {
        self.pools
            .all(
                sql("SELECT w.id FROM workspaces AS w
                     WHERE EXISTS (SELECT 1 FROM profile_due AS d WHERE d.workspace_id = w.id AND d.due_at <= $1)")
                .bind(now),
            )
            .await
    }

    /// The time that came first of those who have not been judged since.
    pub(crate) async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let workspaces = self.due_workspaces(now).await?;
        if workspaces.is_empty() {
            return Ok(None);
        }
        let oldest: Option<(Option<At>,)> = self
            .pools
            .one(
                sql("SELECT min(d.due_at) AS at FROM profile_due AS d WHERE d.due_at <= $1 AND d.workspace_id {among}")
                    .bind(now)
                    .rows(ids(workspaces.into_iter().map(|(id,)| id))),
            )
            .await?;
        Ok(oldest.and_then(|(at,)| at).map(|at| at.0))
    }

    /// Judges everybody whose time has come. Answers how many there were.
    pub async fn judge_due(&self) -> Result<usize, StoreError> {
        let now = self.now();
        let mut judged = 0;
        for (id,) in self.due_workspaces(now).await? {
            let workspace = WorkspaceId(id);
            loop {
                let due: Vec<(Uuid,)> = self
                    .pools
                    .all(
                        sql("SELECT profile_id FROM profile_due WHERE workspace_id = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3")
                            .bind(workspace)
                            .bind(now)
                            .bind(CHUNK),
                    )
                    .await?;
                let more = i64::try_from(due.len()).unwrap_or(0) == CHUNK;
                if due.is_empty() {
                    break;
                }
                judged += due.len();
                let cause =
                    Cause { at: self.now(), actor: "system:time".to_owned(), source: "time", request_id: String::new(), reason: None };
                let commands = due.into_iter().map(|(id,)| Command::Reconsider { id: ProfileId(id), only: None }).collect();
                self.carry_out(DoorJob { workspace, cause: Arc::new(cause), commands, idempotency: None, step: None }).await?;
                if !more {
                    break;
                }
            }
        }
        Ok(judged)
    }
}
