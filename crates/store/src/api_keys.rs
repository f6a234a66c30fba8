//! API keys: found by the hash of the whole key, before their workspace is known.

use people_domain::{Timestamp, id::WorkspaceId};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, ids::new_id, statement::sql, time::At};

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
    pub secret_hash: Option<String>,
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

    pub async fn create_api_key(&self, new: NewApiKey) -> Result<ApiKey, StoreError> {
        let now = self.now();
        let id = new_id(now);
        self.write(move |tx| {
            let new = new.clone();
            Box::pin(async move {
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
                Ok(ApiKey {
                    id,
                    workspace_id: new.workspace_id,
                    name: new.name,
                    scopes: joined(&new.scopes).split(' ').map(str::to_owned).collect(),
                    trust: new.trust,
                    created_at: now,
                    last_used_at: None,
                })
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
                             SET name = coalesce($3, name), scopes = coalesce($4, scopes), secret_hash = coalesce($5, secret_hash)
                             WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
                             RETURNING id, workspace_id, name, scopes, trust, created_at, last_used_at")
                        .bind(workspace)
                        .bind(id)
                        .bind(patch.name)
                        .bind(patch.scopes.map(|s| joined(&s)))
                        .bind(patch.secret_hash),
                    )
                    .await?;
                Ok(row.map(Into::into))
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
