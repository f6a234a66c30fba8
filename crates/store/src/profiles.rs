//! Reading people: the document by id, by key, and many at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use people_domain::{
    Timestamp,
    id::{ProfileId, WorkspaceId},
    identity::IdentityKey,
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Tx,
    rows::{Kind, Rows},
    statement::{Sql, sql},
};

/// A person's document, byte for byte as the API answers it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Document {
    pub profile_id: Uuid,
    pub version: i64,
    pub document: String,
}

/// Keys asked for, with who has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub owners: Vec<(IdentityKey, ProfileId)>,
    pub documents: Vec<Document>,
}

#[derive(FromRow)]
struct Owner {
    kind: String,
    value: String,
    profile_id: Uuid,
}

/// Who holds each key; keys nobody holds are left out.
pub(crate) async fn owners(
    tx: &mut Tx,
    workspace: WorkspaceId,
    keys: impl IntoIterator<Item = &IdentityKey>,
) -> Result<Vec<(IdentityKey, ProfileId)>, StoreError> {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("value", Kind::Text)]);
    for key in keys {
        rows.push([key.kind.as_str().into(), key.value.as_str().into()]);
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Owner> = tx
        .all(
            sql("SELECT i.kind, i.value, i.profile_id
                 FROM {rows} AS r CROSS JOIN profile_identities AS i
                 WHERE i.workspace_id = $1 AND i.kind = r.kind AND i.value = r.value")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    found
        .into_iter()
        .map(|row| {
            let kind = people_domain::identity::IdentityKind::parse(&row.kind).ok_or(StoreError::Unreadable("an identity's kind"))?;
            Ok((IdentityKey { kind, value: row.value }, ProfileId(row.profile_id)))
        })
        .collect()
}

/// A person's row as the rules need it.
#[derive(FromRow)]
pub(crate) struct Whole {
    pub(crate) document: String,
    pub(crate) activity: String,
}

impl Whole {
    pub(crate) fn read(&self) -> Result<Profile, StoreError> {
        let mut profile: Profile = serde_json::from_str(&self.document).map_err(|_| StoreError::Unreadable("a profile's document"))?;
        profile.activity = serde_json::from_str(&self.activity).map_err(|_| StoreError::Unreadable("a profile's activity"))?;
        Ok(profile)
    }
}

/// People as they were read some time before they are needed. Who has changed since is read again, so that nothing depends
/// on when that was; only time is saved, for those who wait at the door.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead(Arc<HashMap<Uuid, Early>>);

#[derive(Debug)]
struct Early {
    profile: Arc<Profile>,
    /// As it was read: it may change without the version.
    stamp: String,
}

#[derive(FromRow)]
struct Stamped {
    #[sqlx(flatten)]
    whole: Whole,
    stamp: String,
}

/// What tells whether a row is the one that was read.
#[derive(FromRow)]
pub(crate) struct Beside {
    pub(crate) profile_id: Uuid,
    pub(crate) version: i64,
    pub(crate) stamp: String,
}

/// Locks the rows of these people, in id order.
pub(crate) async fn stamps(tx: &mut Tx, workspace: WorkspaceId, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<Beside>, StoreError> {
    tx.all(
        sql("SELECT profile_id, version, {stamp} AS stamp FROM profile_documents
             WHERE workspace_id = $1 AND profile_id {among}
             ORDER BY profile_id {for_update}")
        .bind(workspace)
        .rows(crate::rows::ids(ids)),
    )
    .await
}

/// Locks the rows of these people, in id order, and asks whether each has the version and the stamp it had. Put together by the
/// database: hundreds of rows of a few bytes take longer to hand over than to lock.
pub(crate) async fn are_still(tx: &mut Tx, workspace: WorkspaceId, rows: &BTreeMap<Uuid, (u64, String)>) -> Result<bool, StoreError> {
    let then = rows.values().map(|(version, stamp)| format!("{version} {stamp}")).collect::<Vec<_>>().join(",");
    let now: Option<(Option<String>,)> = tx
        .optional(
            sql("SELECT string_agg(d.version || ' ' || d.stamp, ',' ORDER BY d.profile_id) AS found FROM (
                     SELECT profile_id, version, {stamp} AS stamp FROM profile_documents
                     WHERE workspace_id = $1 AND profile_id {among}
                     ORDER BY profile_id {for_update}
                 ) AS d")
            .bind(workspace)
            .rows(crate::rows::ids(rows.keys().copied())),
        )
        .await?;
    Ok(now.and_then(|(now,)| now).unwrap_or_default() == then)
}

/// People with the stamps of their rows, not locked.
pub(crate) async fn stamped(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<(Profile, String)>, StoreError> {
    let rows: Vec<Stamped> = tx.all(stamped_sql(workspace, ids)).await?;
    rows.into_iter().map(|row| Ok((row.whole.read()?, row.stamp))).collect()
}

fn stamped_sql(workspace: WorkspaceId, ids: impl IntoIterator<Item = Uuid>) -> Sql {
    sql("SELECT document, activity{as_text} AS activity, {stamp} AS stamp FROM profile_documents
         WHERE workspace_id = $1 AND profile_id {among}")
    .bind(workspace)
    .rows(crate::rows::ids(ids))
}

impl Ahead {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When somebody was created; `None`: they were not there.
    pub(crate) fn created_at(&self, id: ProfileId) -> Option<Timestamp> {
        self.0.get(&id.0).map(|early| early.profile.created_at)
    }

    /// Reads people before their turn.
    pub(crate) async fn read(store: &Store, workspace: WorkspaceId, ids: Vec<Uuid>) -> Result<Self, StoreError> {
        let found: Vec<Stamped> = store.pools.all(stamped_sql(workspace, ids)).await?;
        let parsed = tokio::task::spawn_blocking(move || {
            let parse = |row: Stamped| {
                let profile = Arc::new(row.whole.read()?);
                Ok((profile.id.0, Early { profile, stamp: row.stamp }))
            };
            found.into_iter().map(parse).collect::<Result<HashMap<_, _>, StoreError>>()
        });
        Ok(Self(Arc::new(parsed.await.map_err(|_| StoreError::Unreadable("a profile's document"))??)))
    }

    /// Locks the rows of all of these people, in id order, and answers those who still are as they were read.
    pub(crate) async fn unchanged(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<Vec<Arc<Profile>>, StoreError> {
        let rows = stamps(tx, workspace, ids).await?;
        let same = |row: &Beside| {
            let early = self.0.get(&row.profile_id)?;
            let unchanged = i64::try_from(early.profile.version) == Ok(row.version) && early.stamp == row.stamp;
            unchanged.then(|| Arc::clone(&early.profile))
        };
        Ok(rows.iter().filter_map(same).collect())
    }
}

/// Documents by id.
pub(crate) async fn documents(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<Document>, StoreError> {
    tx.all(documents_sql(workspace, ids)).await
}

/// People by id. With `lock`, their rows stay as they are until this transaction ends (locked in id order).
pub(crate) async fn whole(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: impl IntoIterator<Item = Uuid>,
    lock: bool,
) -> Result<Vec<Profile>, StoreError> {
    let rows = crate::rows::ids(ids);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let text = if lock {
        "SELECT document, activity{as_text} AS activity FROM profile_documents
         WHERE workspace_id = $1 AND profile_id {among}
         ORDER BY profile_id {for_update}"
    } else {
        "SELECT document, activity{as_text} AS activity FROM profile_documents
         WHERE workspace_id = $1 AND profile_id {among}"
    };
    let found: Vec<Whole> = tx.all(sql(text).bind(workspace).rows(rows)).await?;
    found.iter().map(Whole::read).collect()
}

pub(crate) fn documents_sql(workspace: WorkspaceId, ids: impl IntoIterator<Item = Uuid>) -> Sql {
    sql("SELECT profile_id, version, document FROM profile_documents
         WHERE workspace_id = $1 AND profile_id {among}")
    .bind(workspace)
    .rows(crate::rows::ids(ids))
}

/// Whom merged ids lead to, as (id, survivor); ids nobody was merged away from are left out.
pub(crate) async fn redirects(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
    tx.all(
        sql("SELECT profile_id, survivor_profile_id FROM profile_redirects
             WHERE workspace_id = $1 AND profile_id {among}")
        .bind(workspace)
        .rows(crate::rows::ids(ids)),
    )
    .await
}

impl Store {
    /// Who answers for an id that was merged away; `None` when it was not.
    pub async fn survivor(&self, workspace: WorkspaceId, id: ProfileId) -> Result<Option<ProfileId>, StoreError> {
        let found: Option<(Uuid,)> = self
            .pools
            .one(
                sql("SELECT survivor_profile_id FROM profile_redirects WHERE workspace_id = $1 AND profile_id = $2")
                    .bind(workspace)
                    .bind(id),
            )
            .await?;
        Ok(found.map(|(id,)| ProfileId(id)))
    }

    /// Who answers for those of these ids that were merged away.
    pub async fn survivors(&self, workspace: WorkspaceId, ids: Vec<ProfileId>) -> Result<HashMap<ProfileId, ProfileId>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let found = redirects(tx, workspace, ids.iter().map(|id| id.0)).await?;
                Ok(found.into_iter().map(|(from, to)| (ProfileId(from), ProfileId(to))).collect())
            })
        })
        .await
    }

    /// One person by one statement.
    pub async fn document(&self, workspace: WorkspaceId, id: ProfileId) -> Result<Option<Document>, StoreError> {
        self.pools
            .one(
                sql("SELECT profile_id, version, document FROM profile_documents WHERE workspace_id = $1 AND profile_id = $2")
                    .bind(workspace)
                    .bind(id),
            )
            .await
    }

    /// The people behind keys, in two statements whatever the number of keys.
    pub async fn lookup(&self, workspace: WorkspaceId, keys: Vec<IdentityKey>) -> Result<Lookup, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let owners = owners(tx, workspace, &keys).await?;
                let mut ids: Vec<Uuid> = owners.iter().map(|(_, id)| id.0).collect();
                ids.sort_unstable();
                ids.dedup();
                let documents = documents(tx, workspace, ids).await?;
                Ok(Lookup { owners, documents })
            })
        })
        .await
    }
}
