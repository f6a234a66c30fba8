//! Labels as they are read: the catalogue, and what one person carries. They are written through the door.

use people_domain::{
    Timestamp,
    id::{ProfileId, WorkspaceId},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, Tx, statement::sql, time::At};

/// A label of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub created_at: Timestamp,
}

/// A label on a person, and who put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub name: String,
    /// `manual` or `rule`.
    pub source: String,
    pub rule_id: Option<Uuid>,
    pub actor: String,
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Stored {
    name: String,
    created_at: At,
}

#[derive(FromRow)]
struct StoredCarried {
    label: String,
    source: String,
    rule_id: Option<Uuid>,
    actor: String,
    created_at: At,
}

/// Sees to it that a label is in the catalogue.
pub(crate) async fn keep(tx: &mut Tx, workspace: WorkspaceId, name: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.run(
        sql("INSERT INTO labels (workspace_id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(workspace)
            .bind(name)
            .bind(at),
    )
    .await
    .map(|_| ())
}

impl Store {
    /// Labels after a name, in the order of their names.
    pub async fn labels(&self, workspace: WorkspaceId, after: Option<String>, limit: i64) -> Result<Vec<Label>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                // No name is empty, so everything comes after the empty one.
                let rows: Vec<Stored> = tx
                    .all(
                        sql("SELECT name, created_at FROM labels WHERE workspace_id = $1 AND name > $2 ORDER BY name LIMIT $3")
                            .bind(workspace)
                            .bind(after.unwrap_or_default())
                            .bind(limit),
                    )
                    .await?;
                Ok(rows.into_iter().map(|row| Label { name: row.name, created_at: row.created_at.0 }).collect())
            })
        })
        .await
    }

    /// What a person carries, by name.
    pub async fn labels_of(&self, workspace: WorkspaceId, profile: ProfileId) -> Result<Vec<Carried>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<StoredCarried> = tx
                    .all(
                        sql("SELECT label, source, rule_id, actor, created_at FROM profile_labels
                             WHERE workspace_id = $1 AND profile_id = $2 ORDER BY label")
                        .bind(workspace)
                        .bind(profile),
                    )
                    .await?;
                Ok(rows
                    .into_iter()
                    .map(|row| Carried {
                        name: row.label,
                        source: row.source,
                        rule_id: row.rule_id,
                        actor: row.actor,
                        created_at: row.created_at.0,
                    })
                    .collect())
            })
        })
        .await
    }
}
