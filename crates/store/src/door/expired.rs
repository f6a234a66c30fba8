//! Stored answers past the time of replays go, whether or not their key is ever used again.

use people_domain::{Timestamp, clock::Span, id::WorkspaceId};
use uuid::Uuid;

use super::answers::REPLAY;
use crate::{
    Store, StoreError,
    rows::{Kind, Rows},
    statement::sql,
};

/// Answers removed by one transaction, at most: nobody waits for it longer than for a large write.
const STEP: usize = 500;

impl Store {
    /// Removes every answer that can no longer be replayed.
    pub(crate) async fn forget_old_answers(&self) -> Result<(), StoreError> {
        let expired = self.now().minus(Span::from_seconds(REPLAY));
        let workspaces: Vec<(Uuid,)> = self
            .pools
            .all(
                sql("SELECT w.id FROM workspaces AS w
                     WHERE EXISTS (SELECT 1 FROM idempotency_answers AS a WHERE a.workspace_id = w.id AND a.created_at < $1)")
                .bind(expired),
            )
            .await?;
        for (id,) in workspaces {
            self.forget_answers_before(WorkspaceId(id), expired).await?;
        }
        Ok(())
    }

    async fn forget_answers_before(&self, workspace: WorkspaceId, expired: Timestamp) -> Result<(), StoreError> {
        loop {
            let keys: Vec<(String,)> = self
                .pools
                .all(
                    sql("SELECT key FROM idempotency_answers WHERE workspace_id = $1 AND created_at < $2 ORDER BY created_at LIMIT $3")
                        .bind(workspace)
                        .bind(expired)
                        .bind(i64::try_from(STEP).unwrap_or(i64::MAX)),
                )
                .await?;
            if keys.is_empty() {
                return Ok(());
            }
            let is_last = keys.len() < STEP;
            let mut rows = Rows::new(&[("key", Kind::Text)]);
            for (key,) in keys {
                rows.push([key.into()]);
            }
            self.write(move |tx| {
                let rows = rows.clone();
                Box::pin(async move { super::answers::expire(tx, workspace, expired, rows).await })
            })
            .await?;
            if is_last {
                return Ok(());
            }
        }
    }
}
