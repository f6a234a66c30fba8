//! The ledger of consent: every decision as it was recorded.

use people_domain::{
    Timestamp,
    id::{ProfileId, RecordId, WorkspaceId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, statement::sql, time::At};

/// One decision of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub id: RecordId,
    pub channel: String,
    pub status: String,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    pub source: Option<String>,
    pub evidence: Option<String>,
    pub actor: String,
    pub request_id: String,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    channel: String,
    status: String,
    occurred_at: At,
    recorded_at: At,
    source: Option<String>,
    evidence: Option<String>,
    actor: String,
    request_id: String,
}

impl Store {
    /// Decisions on one channel recorded before `before`, the last recorded first.
    pub async fn consent_ledger(
        &self,
        workspace: WorkspaceId,
        profile: ProfileId,
        channel: String,
        before: Option<RecordId>,
        limit: i64,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<Stored> = tx
                    .all(
                        sql("SELECT id, channel, status, occurred_at, recorded_at, source, evidence, actor, request_id
                             FROM consent_ledger
                             WHERE workspace_id = $1 AND profile_id = $2 AND id < $3 AND channel = $4
                             ORDER BY id DESC LIMIT $5")
                        .bind(workspace)
                        .bind(profile)
                        .bind(before.map_or(Uuid::max(), |id| id.0))
                        .bind(channel)
                        .bind(limit),
                    )
                    .await?;
                Ok(rows
                    .into_iter()
                    .map(|row| Recorded {
                        id: RecordId(row.id),
                        channel: row.channel,
                        status: row.status,
                        occurred_at: row.occurred_at.0,
                        recorded_at: row.recorded_at.0,
                        source: row.source,
                        evidence: row.evidence,
                        actor: row.actor,
                        request_id: row.request_id,
                    })
                    .collect())
            })
        })
        .await
    }
}
