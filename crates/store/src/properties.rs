//! Property definitions, and the refresh of search text when one becomes searchable.

use std::{collections::BTreeMap, sync::Arc};

use people_domain::{
    directory::Cause,
    id::WorkspaceId,
    property::{Definition, Definitions, MAX_DEFINITIONS, Match, PropertyType},
};
use serde_json::json;
use sqlx::FromRow;

use crate::{
    Act, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, door,
    rows::{Kind, Rows},
    statement::sql,
    time::At,
};

#[derive(FromRow)]
struct Stored {
    key: String,
    r#type: String,
    label: Option<String>,
    description: Option<String>,
    options: String,
    searchable: bool,
    pii: bool,
    matching: String,
    created_at: At,
    updated_at: At,
}

impl TryFrom<Stored> for Definition {
    type Error = StoreError;

    fn try_from(row: Stored) -> Result<Self, StoreError> {
        Ok(Self {
            kind: PropertyType::parse(&row.r#type).ok_or(StoreError::Unreadable("a property's type"))?,
            key: row.key,
            label: row.label,
            description: row.description,
            options: serde_json::from_str(&row.options).map_err(|_| StoreError::Unreadable("a property's options"))?,
            searchable: row.searchable,
            pii: row.pii,
            matching: Match::parse(&row.matching).unwrap_or_default(),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

/// Changes of a definition; `None` keeps. The type never changes.
#[derive(Clone, Debug, Default)]
pub struct PropertyChange {
    pub label: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub options: Option<Vec<String>>,
    pub searchable: Option<bool>,
    pub pii: Option<bool>,
    pub matching: Option<Match>,
}

impl PropertyChange {
    /// What is given a value.
    fn fields(&self) -> Vec<&'static str> {
        let given = [
            ("label", self.label.is_some()),
            ("description", self.description.is_some()),
            ("options", self.options.is_some()),
            ("searchable", self.searchable.is_some()),
            ("pii", self.pii.is_some()),
            ("match", self.matching.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// When a definition came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defined {
    Now,
    /// The same request had been carried out: its answer.
    Before(StoredAnswer),
}

/// Why a definition stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyRefusal {
    NotFound,
    Exists,
    TooMany,
    InUse,
}

pub(crate) async fn load(tx: &mut Tx, workspace: WorkspaceId) -> Result<Definitions, StoreError> {
    let rows: Vec<Stored> = tx
        .all(
            sql("SELECT key, type, label, description, options{as_text} AS options, searchable, pii, matching, created_at, updated_at
                 FROM properties WHERE workspace_id = $1 ORDER BY key")
            .bind(workspace),
        )
        .await?;
    rows.into_iter().map(|row| Definition::try_from(row).map(|d| (d.key.clone(), d))).collect::<Result<BTreeMap<_, _>, _>>()
}

/// Adds definitions and raises the version that cached copies are checked by. E: `Raced` when one is already there.
pub(crate) async fn insert(tx: &mut Tx, workspace: WorkspaceId, definitions: &[Definition]) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[
        ("key", Kind::Text),
        ("type", Kind::Text),
        ("label", Kind::Text),
        ("description", Kind::Text),
        ("options", Kind::Json),
        ("searchable", Kind::Bool),
        ("pii", Kind::Bool),
        ("matching", Kind::Text),
        ("created_at", Kind::Time),
        ("updated_at", Kind::Time),
    ]);
    for d in definitions {
        rows.push([
            d.key.as_str().into(),
            d.kind.as_str().into(),
            d.label.clone().into(),
            d.description.clone().into(),
            serde_json::Value::from(d.options.clone()).to_string().into(),
            d.searchable.into(),
            d.pii.into(),
            d.matching.as_str().into(),
            d.created_at.into(),
            d.updated_at.into(),
        ]);
    }
    let wanted = rows.len();
    let added = tx
        .run(
            sql("INSERT INTO properties (workspace_id, key, type, label, description, options, searchable, pii, matching, created_at, updated_at)
                 SELECT $1, r.key, r.type, r.label, r.description, r.options, r.searchable, r.pii, r.matching, r.created_at, r.updated_at
                 FROM {rows} AS r WHERE true
                 ON CONFLICT DO NOTHING")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    if usize::try_from(added) != Ok(wanted) {
        return Err(StoreError::Raced);
    }
    raise_version(tx, workspace).await
}

pub(crate) async fn raise_version(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.run(sql("UPDATE workspaces SET definitions_version = definitions_version + 1 WHERE id = $1").bind(workspace)).await.map(|_| ())
}

/// Keeps every batch of writes out until this transaction ends: each takes a share of the workspace's row.
pub(crate) async fn hold_workspace(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.optional::<(i64,)>(sql("SELECT definitions_version FROM workspaces WHERE id = $1 {for_update}").bind(workspace)).await.map(|_| ())
}

impl Store {
    pub async fn properties(&self, workspace: WorkspaceId) -> Result<Definitions, StoreError> {
        self.read(move |tx| Box::pin(async move { load(tx, workspace).await })).await
    }

    /// Adds a definition. `answer` is kept under the request's key, to be given again.
    pub async fn define_property(
        &self,
        workspace: WorkspaceId,
        definition: Definition,
        cause: Arc<Cause>,
        answer: Option<(Idempotency, StoredAnswer)>,
    ) -> Result<Result<Defined, PropertyRefusal>, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (definition, cause, answer) = (definition.clone(), Arc::clone(&cause), answer.clone());
            Box::pin(async move {
                hold_workspace(tx, workspace).await?;
                if let Some((idempotency, _)) = &answer
                    && let Some(before) = door::replayed(tx, workspace, idempotency, now).await?
                {
                    return Ok(Ok(Defined::Before(before?)));
                }
                let known = load(tx, workspace).await?;
                if known.contains_key(&definition.key) {
                    return Ok(Err(PropertyRefusal::Exists));
                }
                if known.len() >= MAX_DEFINITIONS {
                    return Ok(Err(PropertyRefusal::TooMany));
                }
                insert(tx, workspace, std::slice::from_ref(&definition)).await?;
                let act = Act::of("property.created", "property", &definition.key).with(json!({"type": definition.kind.as_str()}));
                audit::note(tx, workspace, vec![(&cause, act)]).await?;
                if let Some((idempotency, answer)) = answer {
                    door::keep(tx, workspace, idempotency, answer, now).await?;
                }
                Ok(Ok(Defined::Now))
            })
        })
        .await
    }

    pub async fn change_property(
        &self,
        workspace: WorkspaceId,
        key: String,
        change: PropertyChange,
        cause: Arc<Cause>,
    ) -> Result<Result<Definition, PropertyRefusal>, StoreError> {
        let changed = self
            .write(move |tx| {
                let (key, change, cause) = (key.clone(), change.clone(), Arc::clone(&cause));
                Box::pin(async move {
                    let now = cause.at;
                    let act = Act::of("property.changed", "property", &key).with(json!({"fields": change.fields()}));
                    hold_workspace(tx, workspace).await?;
                    let Some(old) = load(tx, workspace).await?.remove(&key) else {
                        return Ok((Err(PropertyRefusal::NotFound), false));
                    };
                    let new = Definition {
                        label: change.label.unwrap_or(old.label),
                        description: change.description.unwrap_or(old.description),
                        options: change.options.unwrap_or(old.options),
                        searchable: change.searchable.unwrap_or(old.searchable),
                        pii: change.pii.unwrap_or(old.pii),
                        matching: change.matching.unwrap_or(old.matching),
                        updated_at: now,
                        ..old
                    };
                    tx.run(
                        sql("DELETE FROM properties WHERE workspace_id = $1 AND key = $2").bind(workspace).bind(key.as_str()),
                    )
                    .await?;
                    insert(tx, workspace, std::slice::from_ref(&new)).await?;
                    audit::note(tx, workspace, vec![(&cause, act)]).await?;
                    let refresh = new.searchable != old.searchable;
                    if refresh {
                        tx.run(
                            sql("INSERT INTO search_refreshes (workspace_id, key, requested_at) VALUES ($1, $2, $3)
                                 ON CONFLICT (workspace_id, key) DO UPDATE SET after_profile_id = NULL, requested_at = EXCLUDED.requested_at")
                            .bind(workspace)
                            .bind(key.as_str())
                            .bind(now),
                        )
                        .await?;
                    }
                    Ok((Ok(new), refresh))
                })
            })
            .await?;
        Ok(changed.0)
    }

    /// Removes a definition that no profile holds a value of.
    pub async fn remove_property(
        &self,
        workspace: WorkspaceId,
        key: String,
        cause: Arc<Cause>,
    ) -> Result<Result<(), PropertyRefusal>, StoreError> {
        self.write(move |tx| {
            let (key, cause) = (key.clone(), Arc::clone(&cause));
            Box::pin(async move {
                hold_workspace(tx, workspace).await?;
                let used: Option<(i64,)> = tx
                    .optional(
                        sql("SELECT 1{as_bigint} FROM profiles WHERE workspace_id = $1 AND comparables -> $2 IS NOT NULL LIMIT 1")
                            .bind(workspace)
                            .bind(key.as_str()),
                    )
                    .await?;
                let read = crate::living::readers(tx, workspace, &format!("attributes.{key}"), None).await?;
                if used.is_some() || !read.is_empty() {
                    return Ok(Err(PropertyRefusal::InUse));
                }
                let gone =
                    tx.run(sql("DELETE FROM properties WHERE workspace_id = $1 AND key = $2").bind(workspace).bind(key.as_str())).await?;
                if gone == 0 {
                    return Ok(Err(PropertyRefusal::NotFound));
                }
                tx.run(sql("DELETE FROM search_refreshes WHERE workspace_id = $1 AND key = $2").bind(workspace).bind(key.as_str())).await?;
                raise_version(tx, workspace).await?;
                audit::note(tx, workspace, vec![(&cause, Act::of("property.removed", "property", &key))]).await?;
                Ok(Ok(()))
            })
        })
        .await
    }
}
