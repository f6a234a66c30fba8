//! Webhooks: endpoints that are told of the changes of a workspace. Here they are made, changed and removed; `seal` keeps
//! their secrets, `queue` hands out those that are due and notes how it went, `deliveries` is what can be read of it.

mod deliveries;
mod queue;
mod seal;

use std::sync::Arc;

use people_domain::{
    Code, Refusal, Timestamp,
    clock::Span,
    directory::Cause,
    id::WorkspaceId,
    webhook::{Disabled, Events, Payload},
};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

pub use deliveries::{Attempt, Delivery, DeliveryStatus, KeepAnswer, Repeat};
pub use queue::{Endpoint, Outcome, Outcomes, WebhookLease};
pub use seal::{SecretKey, WebhookSecret};

use crate::{Act, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, changes, door, ids::new_id, statement::sql, time::At};

/// Most endpoints of a workspace.
pub const MAX_WEBHOOKS: i64 = 50;

/// An endpoint as it stands, without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    pub id: Uuid,
    pub url: String,
    pub description: Option<String>,
    pub events: Events,
    pub payload: Payload,
    /// `None` while it is enabled.
    pub disabled: Option<(Disabled, Timestamp)>,
    /// Changes of the feed that it has not come to yet.
    pub pending: i64,
    pub consecutive_failures: i64,
    pub next_attempt_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub last_failure_at: Option<Timestamp>,
    /// Until when the secret before a rotation signs as well.
    pub former_secret_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    url: String,
    description: Option<String>,
    events: String,
    payload: String,
    disabled_reason: Option<String>,
    disabled_at: Option<At>,
    pending: i64,
    failures: i64,
    next_attempt_at: Option<At>,
    last_success_at: Option<At>,
    last_failure_at: Option<At>,
    former_secret_until: Option<At>,
    created_at: At,
    updated_at: At,
}

/// `$1` is the workspace.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT w.id, w.url, w.description, w.events, w.payload, w.disabled_reason, w.disabled_at,
                    coalesce(h.seq, w.seq) - w.seq AS pending, w.failures, w.next_attempt_at, w.last_success_at, w.last_failure_at,
                    w.former_secret_until, w.created_at, w.updated_at
             FROM webhooks AS w LEFT JOIN change_heads AS h ON h.workspace_id = w.workspace_id
             WHERE w.workspace_id = $1 ",
            $which
        )
    };
}

impl Stored {
    fn read(self, now: Timestamp) -> Result<Webhook, StoreError> {
        let reason = self.disabled_reason.map(|text| Disabled::parse(&text).ok_or(StoreError::Unreadable("a webhook"))).transpose()?;
        Ok(Webhook {
            id: self.id,
            url: self.url,
            description: self.description,
            events: Events::split(&self.events),
            payload: Payload::parse(&self.payload).ok_or(StoreError::Unreadable("a webhook"))?,
            disabled: reason.zip(self.disabled_at.map(|at| at.0)),
            pending: self.pending,
            consecutive_failures: self.failures,
            next_attempt_at: self.next_attempt_at.map(|at| at.0).filter(|_| reason.is_none()),
            last_success_at: self.last_success_at.map(|at| at.0),
            last_failure_at: self.last_failure_at.map(|at| at.0),
            former_secret_until: self.former_secret_until.map(|at| at.0).filter(|until| *until > now),
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

#[derive(Clone, Debug)]
pub struct NewWebhook {
    pub url: String,
    pub description: Option<String>,
    pub events: Events,
    pub payload: Payload,
    pub enabled: bool,
    pub secret: WebhookSecret,
}

/// What is to be another; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct WebhookPatch {
    pub url: Option<String>,
    pub description: Option<Option<String>>,
    pub events: Option<Events>,
    pub payload: Option<Payload>,
    pub enabled: Option<bool>,
    /// Passes over everything that has happened so far.
    pub from_latest: bool,
}

impl WebhookPatch {
    /// For the audit log. A URL may hold what is nobody else's to know, so only that it changed is told.
    fn told(&self) -> Value {
        let changed = [
            ("url", self.url.is_some()),
            ("description", self.description.is_some()),
            ("events", self.events.is_some()),
            ("payload", self.payload.is_some()),
            ("enabled", self.enabled.is_some()),
        ];
        let fields: Vec<&str> = changed.into_iter().filter(|(_, changed)| *changed).map(|(field, _)| field).collect();
        let mut told = json!({"fields": fields});
        if let Some(enabled) = self.enabled {
            told["enabled"] = enabled.into();
        }
        if self.from_latest {
            told["resume_from"] = "latest".into();
        }
        told
    }
}

/// What became of a request for an endpoint, or for a new secret.
#[derive(Clone, Debug, PartialEq)]
pub enum WebhookMade {
    Now(Webhook),
    /// By the same request, sent before.
    Before(Webhook),
    /// The idempotency key was used for another request.
    Mismatch(Box<Refusal>),
    /// The workspace has as many as it may have.
    TooMany,
}

async fn find(tx: &mut Tx, workspace: WorkspaceId, id: Uuid, now: Timestamp) -> Result<Option<Webhook>, StoreError> {
    let row: Option<Stored> = tx.optional(sql(select!("AND w.id = $2")).bind(workspace).bind(id)).await?;
    row.map(|row| row.read(now)).transpose()
}

/// Number of the newest change.
async fn head(tx: &mut Tx, workspace: WorkspaceId) -> Result<i64, StoreError> {
    let row: Option<(i64,)> = tx.optional(sql("SELECT seq FROM change_heads WHERE workspace_id = $1").bind(workspace)).await?;
    Ok(row.map_or(0, |(seq,)| seq))
}

/// The secret is never kept with an answer: what stands under an idempotency key is the id of the endpoint.
async fn made_before(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: Option<&Idempotency>,
    now: Timestamp,
) -> Result<Option<WebhookMade>, StoreError> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    let answer = match door::replayed(tx, workspace, idempotency, now).await? {
        None => return Ok(None),
        Some(Err(refusal)) => return Ok(Some(WebhookMade::Mismatch(Box::new(refusal)))),
        Some(Ok(answer)) => answer,
    };
    let id = answer.body.and_then(|id| id.parse::<Uuid>().ok()).ok_or(StoreError::Unreadable("a stored answer"))?;
    Ok(find(tx, workspace, id, now).await?.map(WebhookMade::Before))
}

async fn remember(tx: &mut Tx, workspace: WorkspaceId, key: Option<Idempotency>, id: Uuid, now: Timestamp) -> Result<(), StoreError> {
    let Some(key) = key else { return Ok(()) };
    let answer = StoredAnswer { status: 200, headers: Vec::new(), body: Some(id.to_string()) };
    door::keep(tx, workspace, key, answer, now).await
}

impl Store {
    /// Whether there can be webhooks: secrets need a key to be sealed under.
    pub fn can_seal(&self) -> bool {
        self.secret_key.is_there()
    }

    /// E: there are secrets that this installation's key does not open.
    pub async fn settle_secret_key(&self) -> Result<(), StoreError> {
        let sealed: Vec<(Uuid, Uuid, String)> = self.pools.all(sql("SELECT workspace_id, id, secret FROM webhooks LIMIT 1")).await?;
        for (workspace, id, secret) in sealed {
            seal::open(&self.secret_key, WorkspaceId(workspace), id, &secret)?;
        }
        Ok(())
    }

    /// Adds an endpoint, which is told of everything that is committed from now on.
    pub async fn create_webhook(
        &self,
        workspace: WorkspaceId,
        new: NewWebhook,
        cause: Arc<Cause>,
        idempotency: Option<Idempotency>,
    ) -> Result<WebhookMade, StoreError> {
        let now = self.now();
        let id = new_id(now);
        let sealed = seal::seal(&self.secret_key, workspace, id, &new.secret)?;
        self.write(move |tx| {
            let (new, sealed, cause, idempotency) = (new.clone(), sealed.clone(), Arc::clone(&cause), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, workspace, idempotency.as_ref(), now).await? {
                    return Ok(made);
                }
                // Of two who add the last one, the second waits and finds it there.
                tx.all::<(Uuid,)>(sql("SELECT id FROM workspaces WHERE id = $1 {for_update}").bind(workspace)).await?;
                let there: Option<(i64,)> =
                    tx.optional(sql("SELECT count(*){as_bigint} AS n FROM webhooks WHERE workspace_id = $1").bind(workspace)).await?;
                if there.is_some_and(|(n,)| n >= MAX_WEBHOOKS) {
                    return Ok(WebhookMade::TooMany);
                }
                let seq = head(tx, workspace).await?;
                let disabled = (!new.enabled).then_some(Disabled::Paused);
                tx.run(
                    sql("INSERT INTO webhooks (workspace_id, id, url, description, events, payload, secret, seq, disabled_reason, disabled_at,
                                               created_at, updated_at)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)")
                    .bind(workspace)
                    .bind(id)
                    .bind(new.url)
                    .bind(new.description)
                    .bind(new.events.joined())
                    .bind(new.payload.as_str())
                    .bind(sealed)
                    .bind(seq)
                    .bind(disabled.map(Disabled::as_str))
                    .bind(disabled.map(|_| now))
                    .bind(now),
                )
                .await?;
                let told = json!({"events": new.events.patterns(), "payload": new.payload.as_str(), "enabled": new.enabled});
                audit::note(tx, workspace, vec![(&cause, Act::of("webhook.created", "webhook", id).with(told))]).await?;
                remember(tx, workspace, idempotency, id, now).await?;
                find(tx, workspace, id, now).await?.map(WebhookMade::Now).ok_or(StoreError::Unreadable("a webhook"))
            })
        })
        .await
    }

    /// Endpoints of a workspace, oldest first; `after` continues a page.
    pub async fn webhooks(&self, workspace: WorkspaceId, after: Option<Uuid>, limit: i64) -> Result<Vec<Webhook>, StoreError> {
        let now = self.now();
        let rows: Vec<Stored> = self
            .pools
            .all(sql(select!("AND w.id > $2 ORDER BY w.id LIMIT $3")).bind(workspace).bind(after.unwrap_or(Uuid::nil())).bind(limit))
            .await?;
        rows.into_iter().map(|row| row.read(now)).collect()
    }

    pub async fn webhook(&self, workspace: WorkspaceId, id: Uuid) -> Result<Option<Webhook>, StoreError> {
        let row: Option<Stored> = self.pools.one(sql(select!("AND w.id = $2")).bind(workspace).bind(id)).await?;
        row.map(|row| row.read(self.now())).transpose()
    }

    /// Changes an endpoint; `None` when there is none. One that is enabled again is tried at once.
    pub async fn patch_webhook(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        patch: WebhookPatch,
        cause: Arc<Cause>,
    ) -> Result<Option<Webhook>, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (patch, cause) = (patch.clone(), Arc::clone(&cause));
            Box::pin(async move {
                let told = patch.told();
                let changed = tx
                    .run(
                        sql("UPDATE webhooks
                             SET url = coalesce($3, url), description = CASE WHEN $4 = 1 THEN $5 ELSE description END,
                                 events = coalesce($6, events), payload = coalesce($7, payload), updated_at = $8
                             WHERE workspace_id = $1 AND id = $2")
                        .bind(workspace)
                        .bind(id)
                        .bind(patch.url)
                        .bind(i64::from(patch.description.is_some()))
                        .bind(patch.description.flatten())
                        .bind(patch.events.map(|events| events.joined()))
                        .bind(patch.payload.map(Payload::as_str))
                        .bind(now),
                    )
                    .await?;
                if changed == 0 {
                    return Ok(None);
                }
                match patch.enabled {
                    Some(false) => pause(tx, workspace, id, now).await?,
                    Some(true) => resume(tx, workspace, id).await?,
                    None => {}
                }
                // What came while it was disabled may be out of the feed by now; whoever is not told of it has to know.
                if patch.enabled == Some(true) && !patch.from_latest && is_behind(tx, workspace, id).await? {
                    return Err(Refusal::new(
                        Code::CursorExpired,
                        "Changes that this webhook has not come to are not kept any more. Enable it with `resume_from` set to \
                         `latest`, and export what it missed.",
                    )
                    .into());
                }
                if patch.from_latest {
                    skip(tx, workspace, id).await?;
                }
                audit::note(tx, workspace, vec![(&cause, Act::of("webhook.changed", "webhook", id).with(told))]).await?;
                find(tx, workspace, id, now).await
            })
        })
        .await
    }

    /// Gives an endpoint a new secret. The one before it signs as well for `grace`; the one before that no longer.
    pub async fn rotate_webhook_secret(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        (secret, grace): (WebhookSecret, Span),
        cause: Arc<Cause>,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<WebhookMade>, StoreError> {
        let now = self.now();
        let sealed = seal::seal(&self.secret_key, workspace, id, &secret)?;
        self.write(move |tx| {
            let (sealed, cause, idempotency) = (sealed.clone(), Arc::clone(&cause), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, workspace, idempotency.as_ref(), now).await? {
                    return Ok(Some(made));
                }
                let rotated = tx
                    .run(
                        sql("UPDATE webhooks SET former_secret = secret, former_secret_until = $4, secret = $3, updated_at = $5
                             WHERE workspace_id = $1 AND id = $2")
                        .bind(workspace)
                        .bind(id)
                        .bind(sealed)
                        .bind(now.plus(grace))
                        .bind(now),
                    )
                    .await?;
                if rotated == 0 {
                    return Ok(None);
                }
                audit::note(tx, workspace, vec![(&cause, Act::of("webhook.secret_rotated", "webhook", id))]).await?;
                remember(tx, workspace, idempotency, id, now).await?;
                Ok(find(tx, workspace, id, now).await?.map(WebhookMade::Now))
            })
        })
        .await
    }

    /// Removes an endpoint, and what was noted of its deliveries.
    pub async fn delete_webhook(&self, workspace: WorkspaceId, id: Uuid, cause: Arc<Cause>) -> Result<bool, StoreError> {
        // Few are left for the transaction that removes the endpoint.
        self.forget_deliveries(workspace, id, Uuid::max(), 0).await?;
        self.write(move |tx| {
            let cause = Arc::clone(&cause);
            Box::pin(async move {
                tx.run(sql("DELETE FROM webhook_deliveries WHERE workspace_id = $1 AND webhook_id = $2").bind(workspace).bind(id)).await?;
                let gone = tx.run(sql("DELETE FROM webhooks WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(id)).await?;
                if gone > 0 {
                    audit::note(tx, workspace, vec![(&cause, Act::of("webhook.removed", "webhook", id))]).await?;
                }
                Ok(gone > 0)
            })
        })
        .await
    }
}

async fn pause(tx: &mut Tx, workspace: WorkspaceId, id: Uuid, now: Timestamp) -> Result<(), StoreError> {
    tx.run(
        sql("UPDATE webhooks SET disabled_reason = 'paused', disabled_at = $3
             WHERE workspace_id = $1 AND id = $2 AND disabled_reason IS NULL")
        .bind(workspace)
        .bind(id)
        .bind(now),
    )
    .await
    .map(|_| ())
}

/// From where it stood, as if nothing had failed.
async fn resume(tx: &mut Tx, workspace: WorkspaceId, id: Uuid) -> Result<(), StoreError> {
    tx.run(
        sql("UPDATE webhooks
             SET disabled_reason = NULL, disabled_at = NULL, failures = 0, failing_since = NULL, next_attempt_at = NULL
             WHERE workspace_id = $1 AND id = $2 AND disabled_reason IS NOT NULL")
        .bind(workspace)
        .bind(id),
    )
    .await
    .map(|_| ())
}

/// Whether changes that an endpoint has not come to are gone. None goes until this transaction ends.
async fn is_behind(tx: &mut Tx, workspace: WorkspaceId, id: Uuid) -> Result<bool, StoreError> {
    changes::hold(tx, workspace).await?;
    let found: Option<(i64,)> = tx
        .optional(
            sql("SELECT w.seq FROM webhooks AS w JOIN change_heads AS h ON h.workspace_id = w.workspace_id
                 WHERE w.workspace_id = $1 AND w.id = $2 AND w.seq < h.kept_from")
            .bind(workspace)
            .bind(id),
        )
        .await?;
    Ok(found.is_some())
}

/// To the end of the feed. Whoever holds the endpoint's lease has lost it.
async fn skip(tx: &mut Tx, workspace: WorkspaceId, id: Uuid) -> Result<(), StoreError> {
    let seq = head(tx, workspace).await?;
    tx.run(
        sql("UPDATE webhooks
             SET seq = $3, failures = 0, failing_since = NULL, next_attempt_at = NULL, attempt = attempt + 1, lease_until = NULL
             WHERE workspace_id = $1 AND id = $2")
        .bind(workspace)
        .bind(id)
        .bind(seq),
    )
    .await?;
    deliveries::pass_over(tx, workspace, id, seq).await
}
