//! The audit trail of a person, newest first.

use people_domain::{
    Timestamp,
    history::Change,
    id::{ProfileId, RecordId, WorkspaceId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, statement::sql, time::At};

/// One change as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: RecordId,
    pub at: Timestamp,
    pub action: String,
    pub source: String,
    pub actor: String,
    pub request_id: String,
    pub reason: Option<String>,
    pub version: i64,
    pub changes: Vec<Change>,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    at: At,
    action: String,
    source: String,
    actor: String,
    request_id: String,
    reason: Option<String>,
    version: i64,
    changes: String,
}

impl Store {
    /// Entries older than `before`, at most `limit`; `field` keeps those that changed it.
    pub async fn history(
        &self,
        workspace: WorkspaceId,
        profile: ProfileId,
        field: Option<String>,
        before: Option<RecordId>,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                // Names of fields stand between line breaks, so one name is never part of another.
                let needle = field.map_or_else(String::new, |field| format!("\n{field}\n"));
                let rows: Vec<Stored> = tx
                    .all(
                        sql("SELECT id, at, action, source, actor, request_id, reason, version, changes{as_text} AS changes
                             FROM profile_history
                             WHERE workspace_id = $1 AND profile_id = $2 AND id < $3 AND ($4 = '' OR {position}(fields, $4) > 0)
                             ORDER BY id DESC LIMIT $5")
                        .bind(workspace)
                        .bind(profile)
                        .bind(before.map_or(Uuid::max(), |id| id.0))
                        .bind(needle)
                        .bind(limit),
                    )
                    .await?;
                rows.into_iter()
                    .map(|row| {
                        Ok(Entry {
                            id: RecordId(row.id),
                            at: row.at.0,
                            action: row.action,
                            source: row.source,
                            actor: row.actor,
                            request_id: row.request_id,
                            reason: row.reason,
                            version: row.version,
                            changes: serde_json::from_str(&row.changes).map_err(|_| StoreError::Unreadable("a history entry"))?,
                        })
                    })
                    .collect()
            })
        })
        .await
    }
}
