//! Endpoints that are due: handed out by lease, one worker at a time, and moved along the feed.
//!
//! An endpoint is a cursor into the change feed. Whoever holds its lease reads what comes after, sends it in order, and
//! notes how it went in the transaction that moves the cursor: of what was committed nothing is lost, and what was sent
//! but not noted is sent again. `attempt` is the fencing token, as with jobs.

use people_domain::{
    Timestamp,
    clock::Span,
    directory::Cause,
    id::WorkspaceId,
    webhook::{Disabled, Events, Payload},
};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    deliveries::{self, Delivery},
    seal::{self, WebhookSecret},
};
use crate::{
    Act, Store, StoreError, Tx, audit,
    changes::{self, Change, Due},
    ids::new_id,
    statement::sql,
    time::At,
};

/// The right to send to an endpoint, until somebody with a higher attempt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookLease {
    pub workspace: WorkspaceId,
    pub webhook: Uuid,
    attempt: i64,
    seconds: i64,
}

/// An endpoint as its worker needs it, and what comes next.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: String,
    pub payload: Payload,
    /// The present one first. E: they cannot be opened.
    pub secrets: Result<Vec<WebhookSecret>, &'static str>,
    pub failures: i64,
    pub failing_since: Option<Timestamp>,
    /// The delivery that failed before, when it is not over.
    pub open: Option<Delivery>,
    /// Matching changes, in order.
    pub due: Vec<Due>,
    /// Number of the last change looked at.
    pub seen: i64,
    /// There is nothing behind `seen`.
    pub is_last: bool,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// Number of the last change that needs nothing more.
    pub seq: i64,
    pub deliveries: Vec<Delivery>,
    pub outcome: Outcome,
    /// An earlier delivery was open.
    pub had_open: bool,
    /// Lets go of the endpoint.
    pub release: bool,
}

/// Of the last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to send.
    Idle,
    Delivered,
    Failed {
        failures: i64,
        since: Timestamp,
        next: Option<Timestamp>,
        disabled: Option<Disabled>,
    },
}

#[derive(FromRow)]
struct StoredEndpoint {
    url: String,
    events: String,
    payload: String,
    secret: String,
    former_secret: Option<String>,
    former_secret_until: Option<At>,
    seq: i64,
    failures: i64,
    failing_since: Option<At>,
}

impl Store {
    /// Endpoints that changes wait for and that nobody works on, the longest untouched first.
    pub async fn due_webhooks(&self, limit: i64) -> Result<Vec<(WorkspaceId, Uuid)>, StoreError> {
        let rows: Vec<(Uuid, Uuid)> = self
            .pools
            .all(
                sql("SELECT w.workspace_id, w.id FROM webhooks AS w JOIN change_heads AS h ON h.workspace_id = w.workspace_id
                     WHERE w.disabled_reason IS NULL AND h.seq > w.seq
                       AND (w.lease_until IS NULL OR w.lease_until < $1) AND (w.next_attempt_at IS NULL OR w.next_attempt_at <= $1)
                     ORDER BY coalesce(w.lease_until, w.created_at) LIMIT $2")
                .bind(self.now())
                .bind(limit),
            )
            .await?;
        Ok(rows.into_iter().map(|(workspace, id)| (WorkspaceId(workspace), id)).collect())
    }

    /// Compare and set: of several who try, one gets it.
    pub async fn take_webhook(&self, workspace: WorkspaceId, webhook: Uuid, owner: Uuid) -> Result<Option<WebhookLease>, StoreError> {
        let (now, seconds) = (self.now(), self.lease_seconds);
        let until = now.plus(Span::from_seconds(seconds));
        let taken: Option<(i64,)> = self
            .write(move |tx| {
                Box::pin(async move {
                    tx.optional(
                        sql("UPDATE webhooks SET attempt = attempt + 1, lease_owner = $3, lease_until = $4
                             WHERE workspace_id = $1 AND id = $2 AND disabled_reason IS NULL AND (lease_until IS NULL OR lease_until < $5)
                               AND (next_attempt_at IS NULL OR next_attempt_at <= $5)
                             RETURNING attempt")
                        .bind(workspace)
                        .bind(webhook)
                        .bind(owner)
                        .bind(until)
                        .bind(now),
                    )
                    .await
                })
            })
            .await?;
        Ok(taken.map(|(attempt,)| WebhookLease { workspace, webhook, attempt, seconds }))
    }

    /// Prolongs a lease. `false`: it is somebody else's.
    pub async fn prolong_webhook(&self, lease: WebhookLease) -> Result<bool, StoreError> {
        let until = self.now().plus(Span::from_seconds(lease.seconds));
        let prolonged = self
            .write(move |tx| {
                Box::pin(async move {
                    tx.run(
                        sql("UPDATE webhooks SET lease_until = $4 WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND lease_until < $4")
                            .bind(lease.workspace)
                            .bind(lease.webhook)
                            .bind(lease.attempt)
                            .bind(until),
                    )
                    .await
                })
            })
            .await?;
        Ok(prolonged > 0)
    }

    /// Lets go of an endpoint without a word about how it went.
    pub async fn release_webhook(&self, lease: WebhookLease) -> Result<(), StoreError> {
        let now = self.now();
        self.write(move |tx| {
            Box::pin(async move {
                tx.run(
                    sql("UPDATE webhooks SET lease_owner = NULL, lease_until = $4 WHERE workspace_id = $1 AND id = $2 AND attempt = $3")
                        .bind(lease.workspace)
                        .bind(lease.webhook)
                        .bind(lease.attempt)
                        .bind(now.minus(Span::MICROSECOND)),
                )
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// How often a lease is to be prolonged.
    pub fn webhook_heartbeat(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.lease_seconds).unwrap_or(30) * 1_000 / 3)
    }

    /// The endpoint as it is now, with the next changes it is told of; `None` when the lease is lost or it was disabled.
    pub async fn webhook_turn(&self, lease: WebhookLease, limit: i64) -> Result<Option<Endpoint>, StoreError> {
        let (now, key) = (self.now(), self.secret_key.clone());
        let WebhookLease { workspace, webhook, attempt, .. } = lease;
        self.read_settled(move |tx| {
            Box::pin(async move {
                let row: Option<StoredEndpoint> = tx
                    .optional(
                        sql("SELECT url, events, payload, secret, former_secret, former_secret_until, seq, failures, failing_since
                             FROM webhooks WHERE workspace_id = $1 AND id = $2 AND attempt = $3 AND disabled_reason IS NULL")
                        .bind(workspace)
                        .bind(webhook)
                        .bind(attempt),
                    )
                    .await?;
                let Some(row) = row else { return Ok(None) };
                let payload = Payload::parse(&row.payload).ok_or(StoreError::Unreadable("a webhook"))?;
                // Whole profiles take memory.
                let limit = if payload == Payload::Full { limit.div_euclid(4).max(1) } else { limit };
                let former = row.former_secret.filter(|_| row.former_secret_until.is_some_and(|until| until.0 > now));
                let secrets: Result<Vec<WebhookSecret>, StoreError> =
                    [Some(row.secret), former].into_iter().flatten().map(|sealed| seal::open(&key, workspace, webhook, &sealed)).collect();
                let open = deliveries::open(tx, workspace, webhook, row.seq).await?;
                let changes = changes::after(tx, workspace, row.seq, limit).await?;
                let is_last = i64::try_from(changes.len()).unwrap_or(0) < limit;
                let seen = changes.last().map_or(row.seq, |last| last.seq);
                let events = Events::split(&row.events);
                let told = changes::told(tx, workspace, changes).await?;
                let matching: Vec<Change> = told.into_iter().filter(|row| events.contains(&row.kind)).collect();
                let due = changes::whole(tx, workspace, payload == Payload::Full, matching).await?;
                Ok(Some(Endpoint {
                    url: row.url,
                    payload,
                    secrets: secrets.map_err(|_| "secret_unreadable"),
                    failures: row.failures,
                    failing_since: row.failing_since.map(|at| at.0),
                    open,
                    due,
                    seen,
                    is_last,
                }))
            })
        })
        .await
    }

    /// An endpoint's URL, payload and secrets, to send something by hand.
    pub async fn webhook_target(&self, workspace: WorkspaceId, webhook: Uuid) -> Result<Option<Endpoint>, StoreError> {
        let now = self.now();
        let row: Option<StoredEndpoint> = self
            .pools
            .one(
                sql("SELECT url, events, payload, secret, former_secret, former_secret_until, seq, failures, failing_since
                     FROM webhooks WHERE workspace_id = $1 AND id = $2")
                .bind(workspace)
                .bind(webhook),
            )
            .await?;
        row.map(|row| {
            let former = row.former_secret.filter(|_| row.former_secret_until.is_some_and(|until| until.0 > now));
            let secrets: Result<Vec<WebhookSecret>, StoreError> = [Some(row.secret), former]
                .into_iter()
                .flatten()
                .map(|sealed| seal::open(&self.secret_key, workspace, webhook, &sealed))
                .collect();
            Ok(Endpoint {
                url: row.url,
                payload: Payload::parse(&row.payload).ok_or(StoreError::Unreadable("a webhook"))?,
                secrets: secrets.map_err(|_| "secret_unreadable"),
                failures: row.failures,
                failing_since: row.failing_since.map(|at| at.0),
                open: None,
                due: Vec::new(),
                seen: row.seq,
                is_last: true,
            })
        })
        .transpose()
    }

    /// A new row for a delivery.
    pub fn new_delivery(&self, seq: Option<i64>, event_type: &str, message_id: String) -> Delivery {
        let now = self.now();
        Delivery {
            id: new_id(now),
            seq,
            event_type: event_type.to_owned(),
            message_id,
            status: deliveries::DeliveryStatus::Pending,
            attempts: Vec::new(),
            attempt_count: 0,
            next_attempt_at: None,
            created_at: now,
        }
    }

    /// Moves an endpoint along, with what was delivered or failed on the way. E: `Stale` when the lease is lost; nothing
    /// is noted then.
    pub async fn webhook_done(&self, lease: WebhookLease, done: Outcomes) -> Result<(), StoreError> {
        let now = self.now();
        let until = if done.release { now.minus(Span::MICROSECOND) } else { now.plus(Span::from_seconds(lease.seconds)) };
        let counted: Vec<bool> = done.deliveries.iter().filter_map(|d| d.attempts.last()).map(|a| a.error.is_none()).collect();
        self.write(move |tx| {
            let done = done.clone();
            Box::pin(async move { note(tx, lease, &done, until, now).await })
        })
        .await?;
        for taken in counted {
            self.pools.meters().delivered(taken);
        }
        Ok(())
    }
}

async fn note(tx: &mut Tx, lease: WebhookLease, done: &Outcomes, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let WebhookLease { workspace, webhook, attempt, .. } = lease;
    let delivered = done.deliveries.iter().flat_map(|d| &d.attempts).filter(|a| a.error.is_none()).map(|a| a.at).max();
    let (failures, since, next, disabled) = match done.outcome {
        Outcome::Failed { failures, since, next, disabled } => (failures, Some(since), next, disabled),
        Outcome::Idle | Outcome::Delivered => (0, None, None, None),
    };
    let failed = matches!(done.outcome, Outcome::Failed { .. }).then_some(now);
    let moved = tx
        .run(
            sql("UPDATE webhooks
                 SET seq = $4, failures = $5, failing_since = $6, next_attempt_at = $7,
                     last_success_at = coalesce($8, last_success_at), last_failure_at = coalesce($9, last_failure_at),
                     disabled_reason = coalesce($10, disabled_reason), disabled_at = coalesce($11, disabled_at), lease_until = $12
                 WHERE workspace_id = $1 AND id = $2 AND attempt = $3")
            .bind(workspace)
            .bind(webhook)
            .bind(attempt)
            .bind(done.seq)
            .bind(failures)
            .bind(since)
            .bind(next)
            .bind(delivered)
            .bind(failed)
            .bind(disabled.map(Disabled::as_str))
            .bind(disabled.map(|_| now))
            .bind(until),
        )
        .await?;
    if moved == 0 {
        return Err(StoreError::Stale);
    }
    deliveries::save(tx, workspace, webhook, &done.deliveries).await?;
    if done.had_open {
        deliveries::pass_over(tx, workspace, webhook, done.seq).await?;
    }
    if let Some(reason) = disabled {
        let cause = Cause { at: now, actor: "system:webhooks".to_owned(), source: "webhooks", request_id: String::new(), reason: None };
        let act = Act::of("webhook.disabled", "webhook", webhook).with(json!({"reason": reason.as_str()}));
        audit::note(tx, workspace, vec![(&cause, act)]).await?;
    }
    Ok(())
}
