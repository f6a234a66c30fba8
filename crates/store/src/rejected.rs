//! Messages that were not taken: written in the transaction of the batch they came with, read newest first.

use people_domain::{
    Timestamp,
    clock::Span,
    event::{Place, Rejection},
    id::{RecordId, WorkspaceId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Tx,
    rows::{Kind, Rows},
    statement::{Sql, sql},
    time::At,
};

/// How long they are listed, in seconds.
const KEPT: i64 = 7 * 24 * 3_600;
/// How many of a workspace are kept, the newest.
const MOST: i64 = 10_000;

/// The lowest id anything of this time or later has.
fn first_id(at: Timestamp) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(at.unix_millis(), &[0; 10]).into_uuid()
}

/// Writes them down and lets go of the old ones: three statements, however many there are.
pub(crate) async fn write(tx: &mut Tx, workspace: WorkspaceId, rejections: Vec<Rejection>) -> Result<(), StoreError> {
    let Some(newest) = rejections.iter().map(|rejection| rejection.received_at).max() else { return Ok(()) };
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("api_key_id", Kind::Uuid),
        ("place", Kind::Int),
        ("message_id", Kind::Text),
        ("code", Kind::Text),
        ("detail", Kind::Text),
        ("received_at", Kind::Time),
    ]);
    for Rejection { id, place, code, detail, received_at } in rejections {
        rows.push([
            id.into(),
            place.source.parse::<Uuid>().unwrap_or_default().into(),
            i64::try_from(place.index).unwrap_or(i64::MAX).into(),
            place.message_id.into(),
            code.into(),
            detail.into(),
            received_at.into(),
        ]);
    }
    tx.run(
        sql("INSERT INTO rejected_messages (workspace_id, id, api_key_id, place, message_id, code, detail, received_at)
             SELECT $1, r.id, r.api_key_id, r.place, r.message_id, r.code, r.detail, r.received_at FROM {rows} AS r")
        .bind(workspace)
        .rows(rows),
    )
    .await?;
    expire(tx, workspace, newest).await?;
    tx.run(
        sql("DELETE FROM rejected_messages
             WHERE workspace_id = $1 AND id <= (
                 SELECT m.id FROM rejected_messages AS m WHERE m.workspace_id = $1 ORDER BY m.id DESC LIMIT 1 OFFSET $2
             )")
        .bind(workspace)
        .bind(MOST),
    )
    .await
    .map(|_| ())
}

/// Removes what is no longer listed at this time.
async fn expire(tx: &mut Tx, workspace: WorkspaceId, now: Timestamp) -> Result<(), StoreError> {
    tx.run(
        sql("DELETE FROM rejected_messages WHERE workspace_id = $1 AND id < $2")
            .bind(workspace)
            .bind(first_id(now.minus(Span::from_seconds(KEPT)))),
    )
    .await
    .map(|_| ())
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    api_key_id: Uuid,
    place: i64,
    message_id: Option<String>,
    code: String,
    detail: String,
    received_at: At,
}

/// How many are listed.
pub(crate) fn counting(workspace: WorkspaceId, now: Timestamp) -> Sql {
    sql("SELECT count(*) FROM rejected_messages WHERE workspace_id = $1 AND id >= $2")
        .bind(workspace)
        .bind(first_id(now.minus(Span::from_seconds(KEPT))))
}

impl Store {
    /// Removes every message that is no longer listed.
    pub(crate) async fn forget_old_rejections(&self) -> Result<(), StoreError> {
        let now = self.now();
        let workspaces: Vec<(Uuid,)> = self
            .pools
            .all(
                sql("SELECT w.id FROM workspaces AS w
                     WHERE EXISTS (SELECT 1 FROM rejected_messages AS m WHERE m.workspace_id = w.id AND m.id < $1)")
                .bind(first_id(now.minus(Span::from_seconds(KEPT)))),
            )
            .await?;
        for (id,) in workspaces {
            self.write(move |tx| Box::pin(async move { expire(tx, WorkspaceId(id), now).await })).await?;
        }
        Ok(())
    }

    /// A page of them, newest first, after the one given.
    pub async fn rejected(&self, workspace: WorkspaceId, after: Option<RecordId>, limit: i64) -> Result<Vec<Rejection>, StoreError> {
        let rows: Vec<Stored> = self
            .pools
            .all(
                sql("SELECT id, api_key_id, place, message_id, code, detail, received_at FROM rejected_messages
                     WHERE workspace_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4")
                .bind(workspace)
                .bind(first_id(self.now().minus(Span::from_seconds(KEPT))))
                .bind(after.map_or(Uuid::max(), |id| id.0))
                .bind(limit),
            )
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| Rejection {
                id: RecordId(row.id),
                place: Place {
                    index: usize::try_from(row.place).unwrap_or_default(),
                    source: row.api_key_id.to_string(),
                    message_id: row.message_id,
                },
                code: row.code,
                detail: row.detail,
                received_at: row.received_at.0,
            })
            .collect())
    }
}
