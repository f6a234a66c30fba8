//! Receipts of erasure: that it happened, when, and how much went.

use std::collections::BTreeMap;

use people_domain::{
    Timestamp,
    id::{ProfileId, RecordId, WorkspaceId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, statement::sql, time::At};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub id: RecordId,
    pub profile_id: ProfileId,
    pub erased_at: Timestamp,
    /// Rows removed by kind.
    pub counts: BTreeMap<String, i64>,
    /// When the bytes left the database files.
    pub scrubbed_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    profile_id: Uuid,
    erased_at: At,
    counts: String,
    scrubbed_at: Option<At>,
}

impl Store {
    pub async fn erasure(&self, workspace: WorkspaceId, id: RecordId) -> Result<Option<Receipt>, StoreError> {
        let row: Option<Stored> = self
            .pools
            .one(
                sql("SELECT id, profile_id, erased_at, counts{as_text} AS counts, scrubbed_at FROM erasures WHERE workspace_id = $1 AND id = $2")
                    .bind(workspace)
                    .bind(id),
            )
            .await?;
        row.map(|row| {
            Ok(Receipt {
                id: RecordId(row.id),
                profile_id: ProfileId(row.profile_id),
                erased_at: row.erased_at.0,
                counts: serde_json::from_str(&row.counts).map_err(|_| StoreError::Unreadable("an erasure's counts"))?,
                scrubbed_at: row.scrubbed_at.map(|at| at.0),
            })
        })
        .transpose()
    }

    /// Whether this id was a person who has been erased.
    pub async fn is_erased(&self, workspace: WorkspaceId, profile: ProfileId) -> Result<bool, StoreError> {
        let row: Option<(Uuid,)> = self
            .pools
            .one(sql("SELECT id FROM erasures WHERE workspace_id = $1 AND profile_id = $2").bind(workspace).bind(profile))
            .await?;
        Ok(row.is_some())
    }
}
