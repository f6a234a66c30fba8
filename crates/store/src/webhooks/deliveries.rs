//! What became of deliveries: a row for each event and endpoint, with its attempts. No row holds what was sent or what
//! was answered.

use std::{fmt, sync::Arc};

use people_domain::{Refusal, Timestamp, clock::Span, id::WorkspaceId};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Idempotency, Store, StoreError, StoredAnswer, Tx,
    changes::{self, Due},
    door,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// Days for which deliveries can be read.
pub const KEPT_DAYS: i64 = 7;
/// Changes behind an endpoint's place in the feed for which they can be read, however many there are in a week.
const KEPT_CHANGES: i64 = 100_000;
/// Attempts that are told of one delivery; of more, the newest.
const KEPT_ATTEMPTS: usize = 30;
/// Rows removed in one transaction.
const CHUNK: i64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Failed so far, and tried again.
    Pending,
    Delivered,
    /// Given up.
    Failed,
    /// The endpoint went past it.
    Skipped,
}

impl DeliveryStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Failed, Self::Skipped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// One request that was sent, or could not be.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub at: Timestamp,
    /// Of the answer, where there was one.
    pub status_code: Option<u16>,
    pub duration_ms: u64,
    /// A class such as `timeout`; `None`: it was taken.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub id: Uuid,
    /// Number of the change; `None` for a ping.
    pub seq: Option<i64>,
    pub event_type: String,
    pub message_id: String,
    pub status: DeliveryStatus,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    pub attempt_count: i64,
    pub next_attempt_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Delivery {
    pub fn tried(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        self.attempt_count += 1;
        if self.attempts.len() > KEPT_ATTEMPTS {
            self.attempts.remove(0);
        }
    }
}

#[derive(FromRow)]
pub(super) struct Stored {
    id: Uuid,
    seq: Option<i64>,
    event_type: String,
    message_id: String,
    status: String,
    attempts: String,
    attempt_count: i64,
    next_attempt_at: Option<At>,
    created_at: At,
}

macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT id, seq, event_type, message_id, status, attempts, attempt_count, next_attempt_at, created_at
             FROM webhook_deliveries WHERE workspace_id = $1 AND webhook_id = $2 ",
            $which
        )
    };
}

impl TryFrom<Stored> for Delivery {
    type Error = StoreError;

    fn try_from(row: Stored) -> Result<Self, StoreError> {
        const UNREADABLE: StoreError = StoreError::Unreadable("a delivery");
        Ok(Self {
            id: row.id,
            seq: row.seq,
            event_type: row.event_type,
            message_id: row.message_id,
            status: DeliveryStatus::parse(&row.status).ok_or(UNREADABLE)?,
            attempts: serde_json::from_str(&row.attempts).map_err(|_| UNREADABLE)?,
            attempt_count: row.attempt_count,
            next_attempt_at: row.next_attempt_at.map(|at| at.0),
            created_at: row.created_at.0,
        })
    }
}

/// The delivery the endpoint has not got past: it failed before.
pub(super) async fn open(tx: &mut Tx, workspace: WorkspaceId, webhook: Uuid, after: i64) -> Result<Option<Delivery>, StoreError> {
    let row: Option<Stored> =
        tx.optional(sql(select!("AND seq > $3 ORDER BY seq LIMIT 1")).bind(workspace).bind(webhook).bind(after)).await?;
    row.map(Delivery::try_from).transpose()
}

/// Notes deliveries as they are now.
pub(super) async fn save(tx: &mut Tx, workspace: WorkspaceId, webhook: Uuid, deliveries: &[Delivery]) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("seq", Kind::Int),
        ("event_type", Kind::Text),
        ("message_id", Kind::Text),
        ("status", Kind::Text),
        ("attempts", Kind::Text),
        ("attempt_count", Kind::Int),
        ("next_attempt_at", Kind::Time),
        ("created_at", Kind::Time),
    ]);
    for delivery in deliveries {
        rows.push([
            delivery.id.into(),
            delivery.seq.into(),
            delivery.event_type.as_str().into(),
            delivery.message_id.as_str().into(),
            delivery.status.as_str().into(),
            serde_json::to_string(&delivery.attempts).unwrap_or_default().into(),
            delivery.attempt_count.into(),
            delivery.next_attempt_at.into(),
            delivery.created_at.into(),
        ]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("INSERT INTO webhook_deliveries
                 (workspace_id, webhook_id, id, seq, event_type, message_id, status, attempts, attempt_count, next_attempt_at, created_at)
             SELECT $1, $2, r.id, r.seq, r.event_type, r.message_id, r.status, r.attempts, r.attempt_count, r.next_attempt_at, r.created_at
             FROM {rows} AS r WHERE true
             ON CONFLICT (workspace_id, webhook_id, id) DO UPDATE
             SET status = EXCLUDED.status, attempts = EXCLUDED.attempts, attempt_count = EXCLUDED.attempt_count,
                 next_attempt_at = EXCLUDED.next_attempt_at")
        .bind(workspace)
        .bind(webhook)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// What the endpoint went past without delivering it.
pub(super) async fn pass_over(tx: &mut Tx, workspace: WorkspaceId, webhook: Uuid, seq: i64) -> Result<(), StoreError> {
    tx.run(
        // `+`: found among the few that are open, not among all that came before.
        sql("UPDATE webhook_deliveries SET status = 'skipped', next_attempt_at = NULL
             WHERE workspace_id = $1 AND webhook_id = $2 AND status <> 'delivered' AND status = 'pending' AND +seq <= $3")
        .bind(workspace)
        .bind(webhook)
        .bind(seq),
    )
    .await
    .map(|_| ())
}

/// The key of a request that sends something by hand, and how its answer is kept.
#[derive(Clone)]
pub struct KeepAnswer(pub Idempotency, pub Arc<dyn Fn(&Delivery) -> StoredAnswer + Send + Sync>);

impl fmt::Debug for KeepAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepAnswer")
    }
}

/// A delivery to be sent again by hand.
#[derive(Clone, Debug)]
pub enum Repeat {
    /// What to send.
    Now(Box<(Delivery, Due)>),
    /// It is the next one anyway, and is tried at once.
    Next(Box<Delivery>),
    /// A ping, or a change that is not kept any more.
    Never,
}

impl Store {
    /// Deliveries of an endpoint, newest first; `before` continues a page.
    pub async fn webhook_deliveries(
        &self,
        workspace: WorkspaceId,
        webhook: Uuid,
        status: Option<DeliveryStatus>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let before = before.unwrap_or(Uuid::max());
        let sql = match status {
            None => sql(select!("AND id < $3 ORDER BY id DESC LIMIT $4")).bind(workspace).bind(webhook).bind(before).bind(limit),
            // Most were delivered, and are met on the way.
            Some(DeliveryStatus::Delivered) => sql(select!("AND status = 'delivered' AND id < $3 ORDER BY id DESC LIMIT $4"))
                .bind(workspace)
                .bind(webhook)
                .bind(before)
                .bind(limit),
            Some(status) => sql(select!("AND status <> 'delivered' AND status = $5 AND id < $3 ORDER BY id DESC LIMIT $4"))
                .bind(workspace)
                .bind(webhook)
                .bind(before)
                .bind(limit)
                .bind(status.as_str()),
        };
        let rows: Vec<Stored> = self.pools.all(sql).await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    pub async fn webhook_delivery(&self, workspace: WorkspaceId, webhook: Uuid, id: Uuid) -> Result<Option<Delivery>, StoreError> {
        let row: Option<Stored> = self.pools.one(sql(select!("AND id = $3")).bind(workspace).bind(webhook).bind(id)).await?;
        row.map(Delivery::try_from).transpose()
    }

    /// Finds what a delivery was about; `None` when there is no such delivery. One that waits for its next attempt is due
    /// from now on.
    pub async fn repeat_delivery(&self, workspace: WorkspaceId, webhook: Uuid, id: Uuid) -> Result<Option<Repeat>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let row: Option<Stored> = tx.optional(sql(select!("AND id = $3")).bind(workspace).bind(webhook).bind(id)).await?;
                let Some(delivery) = row.map(Delivery::try_from).transpose()? else { return Ok(None) };
                let Some(seq) = delivery.seq else { return Ok(Some(Repeat::Never)) };
                if delivery.status == DeliveryStatus::Pending {
                    tx.run(
                        sql("UPDATE webhooks SET next_attempt_at = NULL WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(webhook),
                    )
                    .await?;
                    return Ok(Some(Repeat::Next(Box::new(delivery))));
                }
                let due = changes::one(tx, workspace, seq).await?;
                Ok(Some(due.map_or(Repeat::Never, |due| Repeat::Now(Box::new((delivery, due))))))
            })
        })
        .await
    }

    /// Notes a ping, or adds an attempt to a delivery that was sent again. Answers the delivery as it is then; `None`
    /// when the endpoint is gone.
    pub async fn note_delivery(
        &self,
        workspace: WorkspaceId,
        webhook: Uuid,
        (delivery, attempt): (Delivery, Attempt),
        keep: Option<KeepAnswer>,
    ) -> Result<Option<Delivery>, StoreError> {
        self.pools.meters().delivered(attempt.error.is_none());
        let now = self.now();
        self.write(move |tx| {
            let (delivery, attempt, keep) = (delivery.clone(), attempt.clone(), keep.clone());
            Box::pin(async move {
                let there: Option<(Uuid,)> = tx
                    .optional(sql("SELECT id FROM webhooks WHERE workspace_id = $1 AND id = $2 {for_update}").bind(workspace).bind(webhook))
                    .await?;
                if there.is_none() {
                    return Ok(None);
                }
                let row: Option<Stored> = tx.optional(sql(select!("AND id = $3")).bind(workspace).bind(webhook).bind(delivery.id)).await?;
                // It may have moved while the request was under way.
                let mut delivery = row.map(Delivery::try_from).transpose()?.unwrap_or(delivery);
                match (&attempt.error, delivery.seq) {
                    // The endpoint's own worker says when a pending one is over.
                    (_, Some(_)) if delivery.status == DeliveryStatus::Pending => {}
                    (None, _) => delivery.status = DeliveryStatus::Delivered,
                    (Some(_), None) => delivery.status = DeliveryStatus::Failed,
                    // What was delivered once stays so.
                    (Some(_), Some(_)) => {}
                }
                delivery.tried(attempt);
                save(tx, workspace, webhook, std::slice::from_ref(&delivery)).await?;
                if let Some(KeepAnswer(key, render)) = keep {
                    door::keep(tx, workspace, key, render(&delivery), now).await?;
                }
                Ok(Some(delivery))
            })
        })
        .await
    }

    /// The answer that was kept under an idempotency key. E within: the key was used for another request.
    pub async fn kept_answer(&self, workspace: WorkspaceId, key: Idempotency) -> Result<Option<Result<StoredAnswer, Refusal>>, StoreError> {
        let now = self.now();
        // Whether it is past its day is decided by removing it.
        self.write(move |tx| {
            let key = key.clone();
            Box::pin(async move { door::replayed(tx, workspace, &key, now).await })
        })
        .await
    }

    /// One sweep over deliveries that are older than they may be.
    pub(crate) async fn forget_old_deliveries(&self) -> Result<(), StoreError> {
        let before = crate::audit::first_id(self.now().minus(Span::from_seconds(KEPT_DAYS * 24 * 3_600)));
        let webhooks: Vec<(Uuid, Uuid, i64)> = self.pools.all(sql("SELECT workspace_id, id, seq FROM webhooks")).await?;
        for (workspace, webhook, seq) in webhooks {
            self.forget_deliveries(WorkspaceId(workspace), webhook, before, seq - KEPT_CHANGES).await?;
        }
        Ok(())
    }

    /// Removes deliveries with smaller ids, and of changes up to `seq`, a few at a time.
    pub(super) async fn forget_deliveries(&self, workspace: WorkspaceId, webhook: Uuid, before: Uuid, seq: i64) -> Result<(), StoreError> {
        loop {
            let gone = self
                .write(move |tx| {
                    Box::pin(async move {
                        let by_age = sql("SELECT id FROM webhook_deliveries
                                          WHERE workspace_id = $1 AND webhook_id = $2 AND id < $3 ORDER BY id LIMIT $4")
                        .bind(workspace)
                        .bind(webhook)
                        .bind(before)
                        .bind(CHUNK);
                        let by_number = sql("SELECT id FROM webhook_deliveries
                                             WHERE workspace_id = $1 AND webhook_id = $2 AND seq <= $3 ORDER BY seq LIMIT $4")
                        .bind(workspace)
                        .bind(webhook)
                        .bind(seq)
                        .bind(CHUNK);
                        let mut most = 0;
                        for old in [by_age, by_number] {
                            let old: Vec<(Uuid,)> = tx.all(old).await?;
                            if old.is_empty() {
                                continue;
                            }
                            let rows = ids(old.into_iter().map(|(id,)| id));
                            let gone = sql("DELETE FROM webhook_deliveries WHERE workspace_id = $1 AND webhook_id = $2 AND id {among}");
                            most = most.max(tx.run(gone.bind(workspace).bind(webhook).rows(rows)).await?);
                        }
                        Ok(most)
                    })
                })
                .await?;
            if gone < u64::try_from(CHUNK).unwrap_or(u64::MAX) {
                return Ok(());
            }
        }
    }
}
