//! API keys: found by the hash of the whole key, before their workspace is known.

use std::sync::Arc;

use people_domain::{Refusal, Timestamp, directory::Cause, id::WorkspaceId};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Act, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, door, ids::new_id, statement::sql, time::At};

/// How far a key is trusted: a browser key is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Server,
    Browser,
}

impl Trust {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Browser => "browser",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Server, Self::Browser].into_iter().find(|t| t.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: Uuid,
    pub workspace_id: WorkspaceId,
    pub name: String,
    pub scopes: Vec<String>,
    pub trust: Trust,
    /// Requests a second, where the key has a rate of its own.
    pub rate_limit: Option<i64>,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct NewApiKey {
    pub workspace_id: WorkspaceId,
    pub name: String,
    pub scopes: Vec<String>,
    pub trust: Trust,
    pub rate_limit: Option<i64>,
    /// SHA-256 of the key, hex.
    pub secret_hash: String,
}

#[derive(Clone, Debug, Default)]
pub struct ApiKeyPatch {
    pub name: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub rate_limit: Option<Option<i64>>,
}

impl ApiKeyPatch {
    /// For the audit log: what is changed, and to what where that is nobody's.
    fn told(&self) -> Value {
        let mut fields = Vec::new();
        let mut told = serde_json::Map::new();
        if self.name.is_some() {
            fields.push("name");
        }
        if let Some(scopes) = &self.scopes {
            fields.push("scopes");
            told.insert("scopes".to_owned(), json!(scopes));
        }
        if let Some(rate_limit) = self.rate_limit {
            fields.push("rate_limit");
            told.insert("rate_limit".to_owned(), json!(rate_limit));
        }
        told.insert("fields".to_owned(), json!(fields));
        told.into()
    }
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
    scopes: String,
    trust: String,
    rate_limit: Option<i64>,
    created_at: At,
    last_used_at: Option<At>,
}

impl From<Stored> for ApiKey {
    fn from(row: Stored) -> Self {
        Self {
            id: row.id,
            workspace_id: WorkspaceId(row.workspace_id),
            name: row.name,
            scopes: row.scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            // A word the database's own check would have refused.
            trust: Trust::parse(&row.trust).unwrap_or(Trust::Browser),
            rate_limit: row.rate_limit,
            created_at: row.created_at.0,
            last_used_at: row.last_used_at.map(|at| at.0),
        }
    }
}

fn joined(scopes: &[String]) -> String {
    let mut scopes = scopes.to_vec();
    scopes.sort();
    scopes.dedup();
    scopes.join(" ")
}

/// When a key, or its secret, came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    Now(ApiKey),
    /// By the same request, sent before.
    Before(ApiKey),
    /// The idempotency key was used for another request.
    Mismatch(Box<Refusal>),
}

/// The secret is never stored: what is kept under an idempotency key is the id of the API key.
async fn made_before(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: Option<&Idempotency>,
    now: Timestamp,
) -> Result<Option<Made>, StoreError> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    let answer = match door::replayed(tx, workspace, idempotency, now).await? {
        None => return Ok(None),
        Some(Err(refusal)) => return Ok(Some(Made::Mismatch(Box::new(refusal)))),
        Some(Ok(answer)) => answer,
    };
    let id = answer.body.and_then(|id| id.parse::<Uuid>().ok()).ok_or(StoreError::Unreadable("a stored answer"))?;
    let row: Option<Stored> = tx
        .optional(
            sql("SELECT id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at FROM api_keys WHERE workspace_id = $1 AND id = $2")
                .bind(workspace)
                .bind(id),
        )
        .await?;
    Ok(row.map(|row| Made::Before(row.into())))
}

async fn remember(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: Option<Idempotency>,
    id: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(idempotency) = idempotency else { return Ok(()) };
    let answer = StoredAnswer { status: 200, headers: Vec::new(), body: Some(id.to_string()) };
    door::keep(tx, workspace, idempotency, answer, now).await
}

impl Store {
    /// The living key with this hash.
    pub async fn authenticate(&self, secret_hash: &str) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Stored> = self
            .pools
            .one(
                sql("SELECT id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at
                     FROM api_keys WHERE secret_hash = $1 AND revoked_at IS NULL")
                .bind(secret_hash),
            )
            .await?;
        Ok(row.map(Into::into))
    }

    /// Adds a key. With an idempotency key, the id of the key that the same request made before is found again.
    pub async fn create_api_key(&self, new: NewApiKey, cause: Arc<Cause>, idempotency: Option<Idempotency>) -> Result<Made, StoreError> {
        let now = self.now();
        let id = new_id(now);
        self.write(move |tx| {
            let (new, cause, idempotency) = (new.clone(), Arc::clone(&cause), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, new.workspace_id, idempotency.as_ref(), now).await? {
                    return Ok(made);
                }
                tx.run(
                    sql("INSERT INTO api_keys (id, workspace_id, name, scopes, trust, rate_limit, secret_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
                        .bind(id)
                        .bind(new.workspace_id)
                        .bind(new.name.clone())
                        .bind(joined(&new.scopes))
                        .bind(new.trust.as_str())
                        .bind(new.rate_limit)
                        .bind(new.secret_hash)
                        .bind(now),
                )
                .await?;
                let told = json!({"scopes": new.scopes, "trust": new.trust.as_str(), "rate_limit": new.rate_limit});
                let act = Act::of("api_key.created", "api_key", id).with(told);
                audit::note(tx, new.workspace_id, vec![(&cause, act)]).await?;
                remember(tx, new.workspace_id, idempotency, id, now).await?;
                Ok(Made::Now(ApiKey {
                    id,
                    workspace_id: new.workspace_id,
                    name: new.name,
                    scopes: joined(&new.scopes).split(' ').map(str::to_owned).collect(),
                    trust: new.trust,
                    rate_limit: new.rate_limit,
                    created_at: now,
                    last_used_at: None,
                }))
            })
        })
        .await
    }

    /// Living keys of a workspace, oldest first; `after` continues a page.
    pub async fn api_keys(&self, workspace: WorkspaceId, after: Option<Uuid>, limit: i64) -> Result<Vec<ApiKey>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<Stored> = tx
                    .all(
                        sql("SELECT id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at
                             FROM api_keys
                             WHERE workspace_id = $1 AND revoked_at IS NULL AND id > $2
                             ORDER BY id LIMIT $3")
                        .bind(workspace)
                        .bind(after.unwrap_or(Uuid::nil()))
                        .bind(limit),
                    )
                    .await?;
                Ok(rows.into_iter().map(Into::into).collect())
            })
        })
        .await
    }

    pub async fn api_key(&self, workspace: WorkspaceId, id: Uuid) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Stored> = self
            .pools
            .one(
                sql("SELECT id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at
                     FROM api_keys WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL")
                .bind(workspace)
                .bind(id),
            )
            .await?;
        Ok(row.map(Into::into))
    }

    /// Changes a living key; `None` when there is none.
    pub async fn patch_api_key(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        patch: ApiKeyPatch,
        cause: Arc<Cause>,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.write(move |tx| {
            let (patch, cause) = (patch.clone(), Arc::clone(&cause));
            Box::pin(async move {
                let act = Act::of("api_key.changed", "api_key", id).with(patch.told());
                let row: Option<Stored> = tx
                    .optional(
                        sql("UPDATE api_keys
                             SET name = coalesce($3, name), scopes = coalesce($4, scopes),
                                 rate_limit = CASE WHEN $5 THEN $6 ELSE rate_limit END
                             WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
                             RETURNING id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at")
                        .bind(workspace)
                        .bind(id)
                        .bind(patch.name)
                        .bind(patch.scopes.map(|s| joined(&s)))
                        .bind(patch.rate_limit.is_some())
                        .bind(patch.rate_limit.flatten()),
                    )
                    .await?;
                if row.is_some() {
                    audit::note(tx, workspace, vec![(&cause, act)]).await?;
                }
                Ok(row.map(Into::into))
            })
        })
        .await
    }

    /// Gives a living key a new secret; `None` when there is no such key. E: a scope of it that is not among `held`.
    pub async fn rotate_api_key(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        secret_hash: String,
        cause: Arc<Cause>,
        held: &[String],
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Result<Made, String>>, StoreError> {
        let (now, held) = (self.now(), Arc::new(held.to_vec()));
        self.write(move |tx| {
            let (secret_hash, cause, held, idempotency) = (secret_hash.clone(), Arc::clone(&cause), Arc::clone(&held), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, workspace, idempotency.as_ref(), now).await? {
                    return Ok(Some(Ok(made)));
                }
                let current: Option<Stored> = tx
                    .optional(
                        sql("SELECT id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at
                             FROM api_keys WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL {for_update}")
                        .bind(workspace)
                        .bind(id),
                    )
                    .await?;
                let Some(current) = current.map(ApiKey::from) else { return Ok(None) };
                if let Some(lacking) = current.scopes.into_iter().find(|scope| !held.contains(scope)) {
                    return Ok(Some(Err(lacking)));
                }
                let row: Option<Stored> = tx
                    .optional(
                        sql("UPDATE api_keys SET secret_hash = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
                             RETURNING id, workspace_id, name, scopes, trust, rate_limit, created_at, last_used_at")
                        .bind(workspace)
                        .bind(id)
                        .bind(secret_hash),
                    )
                    .await?;
                let Some(row) = row else { return Ok(None) };
                audit::note(tx, workspace, vec![(&cause, Act::of("api_key.rotated", "api_key", id))]).await?;
                remember(tx, workspace, idempotency, id, now).await?;
                Ok(Some(Ok(Made::Now(row.into()))))
            })
        })
        .await
    }

    pub async fn revoke_api_key(&self, workspace: WorkspaceId, id: Uuid, cause: Arc<Cause>) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let cause = Arc::clone(&cause);
            Box::pin(async move {
                let done = tx
                    .run(
                        sql("UPDATE api_keys SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL")
                            .bind(workspace)
                            .bind(id)
                            .bind(cause.at),
                    )
                    .await?;
                if done > 0 {
                    audit::note(tx, workspace, vec![(&cause, Act::of("api_key.revoked", "api_key", id))]).await?;
                }
                Ok(done > 0)
            })
        })
        .await
    }

    /// Notes when keys were last used; gathered by the caller so that a request costs no write.
    pub async fn touch_api_keys(&self, used: Vec<(Uuid, Timestamp)>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let used = used.clone();
            Box::pin(async move {
                for (id, at) in used {
                    tx.run(
                        sql("UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)")
                            .bind(id)
                            .bind(at),
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }
}
