//! Workspaces and their settings.

use std::sync::Arc;

use people_domain::{Timestamp, directory::Cause, id::WorkspaceId, workspace::Workspace};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Act, Store, StoreError, Tx, audit, ids::new_id, statement::sql, suppressions::Seal, time::At};

/// A workspace with what only the API shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    pub workspace: Workspace,
    pub created_at: Timestamp,
    pub definitions_version: i64,
    pub living_version: i64,
    /// What keyed hashes are made with; `None` while nobody is suppressed.
    pub(crate) seal: Option<Seal>,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    name: String,
    default_country: Option<String>,
    strict_attributes: bool,
    session_gap_seconds: i64,
    time_zone: String,
    duplicate_threshold: i64,
    definitions_version: i64,
    living_version: i64,
    created_at: At,
    suppression_salt: Option<String>,
    suppression_check: Option<String>,
}

impl From<Stored> for WorkspaceRow {
    fn from(row: Stored) -> Self {
        Self {
            workspace: Workspace {
                id: WorkspaceId(row.id),
                name: row.name,
                default_country: row.default_country,
                strict_attributes: row.strict_attributes,
                session_gap_seconds: row.session_gap_seconds,
                time_zone: row.time_zone,
                duplicate_threshold: row.duplicate_threshold,
            },
            created_at: row.created_at.0,
            definitions_version: row.definitions_version,
            living_version: row.living_version,
            seal: row.suppression_salt.zip(row.suppression_check).map(|(salt, check)| Seal { salt, check }),
        }
    }
}

/// New values of settings; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct WorkspacePatch {
    pub name: Option<String>,
    pub default_country: Option<Option<String>>,
    pub strict_attributes: Option<bool>,
    pub session_gap_seconds: Option<i64>,
    pub time_zone: Option<String>,
    pub duplicate_threshold: Option<i64>,
}

impl WorkspacePatch {
    /// Settings that are given a value.
    fn fields(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("default_country", self.default_country.is_some()),
            ("strict_attributes", self.strict_attributes.is_some()),
            ("session_gap_seconds", self.session_gap_seconds.is_some()),
            ("time_zone", self.time_zone.is_some()),
            ("duplicate_threshold", self.duplicate_threshold.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// The settings a batch is decided under. Holds off whoever would change the definitions meanwhile.
pub(crate) async fn load(tx: &mut Tx, id: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
    let row: Option<Stored> = tx
        .optional(
            sql("SELECT id, name, default_country, strict_attributes, session_gap_seconds, time_zone, duplicate_threshold, definitions_version, living_version, created_at,
                         suppression_salt, suppression_check
                 FROM workspaces WHERE id = $1 {for_key_share}")
            .bind(id),
        )
        .await?;
    Ok(row.map(Into::into))
}

/// The settings as they are, holding nobody off.
pub(crate) async fn read(tx: &mut Tx, id: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
    let row: Option<Stored> = tx
        .optional(
            sql("SELECT id, name, default_country, strict_attributes, session_gap_seconds, time_zone, duplicate_threshold, definitions_version, living_version, created_at,
                         suppression_salt, suppression_check
                 FROM workspaces WHERE id = $1")
            .bind(id),
        )
        .await?;
    Ok(row.map(Into::into))
}

impl Store {
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
        let row: Option<Stored> = self
            .pools
            .one(
                sql("SELECT id, name, default_country, strict_attributes, session_gap_seconds, time_zone, duplicate_threshold, definitions_version, living_version, created_at,
                         suppression_salt, suppression_check
                     FROM workspaces WHERE id = $1")
                .bind(id),
            )
            .await?;
        Ok(row.map(Into::into))
    }

    /// Workspaces of a name; names are for people and need not be unique.
    pub async fn workspaces_named(&self, name: &str) -> Result<Vec<WorkspaceRow>, StoreError> {
        let name = name.to_owned();
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<Stored> = tx
                    .all(
                        sql("SELECT id, name, default_country, strict_attributes, session_gap_seconds, time_zone, duplicate_threshold, definitions_version, living_version, created_at,
                         suppression_salt, suppression_check
                             FROM workspaces WHERE name = $1 ORDER BY id LIMIT 10")
                        .bind(name),
                    )
                    .await?;
                Ok(rows.into_iter().map(Into::into).collect())
            })
        })
        .await
    }

    /// Whether there is any workspace yet.
    pub async fn has_workspaces(&self) -> Result<bool, StoreError> {
        Ok(self.pools.one::<(Uuid,)>(sql("SELECT id FROM workspaces LIMIT 1")).await?.is_some())
    }

    pub async fn create_workspace(&self, name: &str) -> Result<WorkspaceRow, StoreError> {
        let (name, now) = (name.to_owned(), self.now());
        let id = WorkspaceId(new_id(now));
        self.write(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                tx.run(sql("INSERT INTO workspaces (id, name, created_at) VALUES ($1, $2, $3)").bind(id).bind(name).bind(now)).await?;
                tx.run(sql("INSERT INTO change_heads (workspace_id, seq) VALUES ($1, 0)").bind(id)).await?;
                tx.run(sql("INSERT INTO duplicate_cursors (workspace_id, seq, revision) VALUES ($1, 0, 0)").bind(id)).await?;
                load(tx, id).await?.ok_or(StoreError::Raced)
            })
        })
        .await
    }

    pub async fn patch_workspace(
        &self,
        id: WorkspaceId,
        patch: WorkspacePatch,
        cause: Arc<Cause>,
    ) -> Result<Option<WorkspaceRow>, StoreError> {
        self.write(move |tx| {
            let (patch, cause) = (patch.clone(), Arc::clone(&cause));
            Box::pin(async move {
                let act = Act::of("workspace.changed", "workspace", id).with(json!({"fields": patch.fields()}));
                let Some(old) = load(tx, id).await? else { return Ok(None) };
                let w = old.workspace;
                tx.run(
                    sql("UPDATE workspaces
                         SET name = $2, default_country = $3, strict_attributes = ($4 = 1), session_gap_seconds = $5, time_zone = $6,
                             duplicate_threshold = $7
                         WHERE id = $1")
                    .bind(id)
                    .bind(patch.name.unwrap_or(w.name))
                    .bind(patch.default_country.unwrap_or(w.default_country))
                    .bind(i64::from(patch.strict_attributes.unwrap_or(w.strict_attributes)))
                    .bind(patch.session_gap_seconds.unwrap_or(w.session_gap_seconds))
                    .bind(patch.time_zone.unwrap_or(w.time_zone))
                    .bind(patch.duplicate_threshold.unwrap_or(w.duplicate_threshold)),
                )
                .await?;
                audit::note(tx, id, vec![(&cause, act)]).await?;
                load(tx, id).await
            })
        })
        .await
    }
}
