//! API keys: found by the hash of the whole key, before their workspace is known.

use people_domain::{Refusal, Timestamp, id::WorkspaceId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Idempotency, Store, StoreError, StoredAnswer, Tx, door, ids::new_id, statement::sql, time::At};

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
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct NewApiKey {
    pub workspace_id: WorkspaceId,
    pub name: String,
    pub scopes: Vec<String>,
    pub trust: Trust,
    /// SHA-256 of the key, hex.
    pub secret_hash: String,
}

#[derive(Clone, Debug, Default)]
pub struct ApiKeyPatch {
    pub name: Option<String>,
    pub scopes: Option<Vec<String>>,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
    scopes: String,
    trust: String,
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
            sql("SELECT id, workspace_id, name, scopes, trust, created_at, last_used_at FROM api_keys WHERE workspace_id = $1 AND id = $2")
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
                sql("SELECT id, workspace_id, name, scopes, trust, created_at, last_used_at
                     FROM api_keys WHERE secret_hash = $1 AND revoked_at IS NULL")
                .bind(secret_hash),
            )
            .await?;
        Ok(row.map(Into::into))
    }

    /// Adds a key. With an idempotency key, the id of the key that the same request made before is found again.
    pub async fn create_api_key(&self, new: NewApiKey, idempotency: Option<Idempotency>) -> Result<Made, StoreError> {
        let now = self.now();
        let id = new_id(now);
        self.write(move |tx| {
            let (new, idempotency) = (new.clone(), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, new.workspace_id, idempotency.as_ref(), now).await? {
                    return Ok(made);
                }
                tx.run(
                    sql("INSERT INTO api_keys (id, workspace_id, name, scopes, trust, secret_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                        .bind(id)
                        .bind(new.workspace_id)
                        .bind(new.name.clone())
                        .bind(joined(&new.scopes))
                        .bind(new.trust.as_str())
                        .bind(new.secret_hash)
                        .bind(now),
                )
                .await?;
                remember(tx, new.workspace_id, idempotency, id, now).await?;
                Ok(Made::Now(ApiKey {
                    id,
                    workspace_id: new.workspace_id,
                    name: new.name,
                    scopes: joined(&new.scopes).split(' ').map(str::to_owned).collect(),
                    trust: new.trust,
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
                        sql("SELECT id, workspace_id, name, scopes, trust, created_at, last_used_at
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
                sql("SELECT id, workspace_id, name, scopes, trust, created_at, last_used_at
                     FROM api_keys WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL")
                .bind(workspace)
                .bind(id),
            )
            .await?;
        Ok(row.map(Into::into))
    }

    /// Changes a living key; `None` when there is none.
    pub async fn patch_api_key(&self, workspace: WorkspaceId, id: Uuid, patch: ApiKeyPatch) -> Result<Option<ApiKey>, StoreError> {
        self.write(move |tx| {
            let patch = patch.clone();
            Box::pin(async move {
                let row: Option<Stored> = tx
                    .optional(
                        sql("UPDATE api_keys
                             SET name = coalesce($3, name), scopes = coalesce($4, scopes)
                             WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
                             RETURNING id, workspace_id, name, scopes, trust, created_at, last_used_at")
                        .bind(workspace)
                        .bind(id)
                        .bind(patch.name)
                        .bind(patch.scopes.map(|s| joined(&s))),
                    )
                    .await?;
                Ok(row.map(Into::into))
            })
        })
        .await
    }

    /// Gives a living key a new secret; `None` when there is no such key.
    pub async fn rotate_api_key(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        secret_hash: String,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Made>, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (secret_hash, idempotency) = (secret_hash.clone(), idempotency.clone());
            Box::pin(async move {
                if let Some(made) = made_before(tx, workspace, idempotency.as_ref(), now).await? {
                    return Ok(Some(made));
                }
                let row: Option<Stored> = tx
                    .optional(
                        sql("UPDATE api_keys SET secret_hash = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
                             RETURNING id, workspace_id, name, scopes, trust, created_at, last_used_at")
                        .bind(workspace)
                        .bind(id)
                        .bind(secret_hash),
                    )
                    .await?;
                let Some(row) = row else { return Ok(None) };
                remember(tx, workspace, idempotency, id, now).await?;
                Ok(Some(Made::Now(row.into())))
            })
        })
        .await
    }

    pub async fn revoke_api_key(&self, workspace: WorkspaceId, id: Uuid) -> Result<bool, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            Box::pin(async move {
                let done = tx
                    .run(
                        sql("UPDATE api_keys SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL")
                            .bind(workspace)
                            .bind(id)
                            .bind(now),
                    )
                    .await?;
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
                    tx.run(sql("UPDATE api_keys SET last_used_at = $2 WHERE id = $1").bind(id).bind(at)).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
