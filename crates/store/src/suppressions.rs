//! Identities that are not to come back, kept as keyed hashes.
//!
//! A hash is HMAC-SHA-256 of the identity under the workspace's salt (which is in the database), and of that again under
//! the installation's own key ([`SuppressionKey`], which is not). Whoever has only the database cannot try out addresses
//! and telephone numbers; two workspaces' hashes of one address differ. The salt comes with the first suppression, so a
//! workspace that suppresses nobody pays nothing. The key may come later: what was hashed without one is hashed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use hmac::{Hmac, KeyInit, Mac};
use people_domain::{
    Timestamp,
    directory::{Cause, Listing},
    id::{RecordId, WorkspaceId},
    identity::IdentityKey,
};
use sha2::Sha256;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Act, Store, StoreError, Tx, audit,
    ids::new_id,
    rows::{Kind, Rows},
    statement::sql,
    time::At,
    workspaces,
};

/// The installation's own key, if it has one. Without it, hashes are safe only as long as the database is.
#[derive(Clone)]
pub struct SuppressionKey(Option<Arc<[u8]>>);

impl SuppressionKey {
    pub fn new(secret: Option<&str>) -> Self {
        Self(secret.map(|secret| secret.as_bytes().into()))
    }
}

impl fmt::Debug for SuppressionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuppressionKey")
    }
}

/// What a workspace's hashes are made with, beside the installation's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) salt: String,
    /// What the right key makes of the salt.
    pub(crate) check: String,
}

/// Makes the hashes of one workspace.
pub(crate) struct Hasher {
    key: SuppressionKey,
    salt: String,
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    // HMAC takes keys of any length (RFC 2104).
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        for part in parts {
            mac.update(part);
            mac.update(&[0]);
        }
        out.copy_from_slice(&mac.finalize().into_bytes());
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hasher {
    fn new(key: &SuppressionKey, salt: &str) -> Self {
        Self { key: key.clone(), salt: salt.to_owned() }
    }

    /// E: the list was made under another key, and would let everybody on it back in.
    pub(crate) fn open(key: &SuppressionKey, seal: &Seal) -> Result<Self, StoreError> {
        let hasher = Self::new(key, &seal.salt);
        if hasher.check() == seal.check { Ok(hasher) } else { Err(OTHER_KEY) }
    }

    fn check(&self) -> String {
        self.seal("check".to_owned())
    }

    fn hash(&self, canonical: &IdentityKey) -> String {
        self.seal(hex(&mac(self.salt.as_bytes(), &[canonical.kind.as_str().as_bytes(), canonical.value.as_bytes()])))
    }

    /// What becomes of a hash that was made without the installation's key.
    fn seal(&self, unkeyed: String) -> String {
        match &self.key.0 {
            Some(key) => hex(&mac(key, &[self.salt.as_bytes(), unkeyed.as_bytes()])),
            None => unkeyed,
        }
    }
}

const OTHER_KEY: StoreError = StoreError::Unreadable(
    "the suppression list was made with another PEOPLE_SUPPRESSION_KEY; start with that one, or nobody on the list would be recognised",
);

fn rows_of(hasher: &Hasher, keys: impl IntoIterator<Item = IdentityKey>) -> (Rows, BTreeMap<String, IdentityKey>) {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("hash", Kind::Text)]);
    let mut by_hash = BTreeMap::new();
    for key in keys {
        let hash = hasher.hash(&key);
        rows.push([key.kind.as_str().into(), hash.as_str().into()]);
        by_hash.insert(hash, key);
    }
    (rows, by_hash)
}

/// Which of these keys are on the list, each in its canonical spelling. Read after the owners of the keys: whoever was
/// erased in between is then either still locked or already listed.
pub(crate) async fn barred(
    tx: &mut Tx,
    workspace: WorkspaceId,
    hasher: &Hasher,
    keys: &BTreeSet<IdentityKey>,
) -> Result<Vec<IdentityKey>, StoreError> {
    let canonical: BTreeSet<IdentityKey> = keys.iter().map(IdentityKey::canonical).collect();
    if canonical.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, by_hash) = rows_of(hasher, canonical);
    let found: Vec<(String,)> = tx
        .all(
            sql("SELECT s.hash FROM {rows} AS r CROSS JOIN suppressions AS s
                 WHERE s.workspace_id = $1 AND s.kind = r.kind AND s.hash = r.hash")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    Ok(found.into_iter().filter_map(|(hash,)| by_hash.get(&hash).cloned()).collect())
}

/// Puts keys on the list and counts what was dropped.
pub(crate) async fn save(
    tx: &mut Tx,
    workspace: WorkspaceId,
    key: &SuppressionKey,
    hasher: Option<&Hasher>,
    (listed, dropped): (Vec<Listing>, BTreeMap<IdentityKey, i64>),
    now: Timestamp,
) -> Result<(), StoreError> {
    if listed.is_empty() && dropped.is_empty() {
        return Ok(());
    }
    let made;
    let hasher = match hasher {
        Some(hasher) => hasher,
        None => {
            made = first(tx, workspace, key).await?;
            &made
        }
    };
    if !listed.is_empty() {
        list(tx, workspace, hasher, &listed).await?;
    }
    if dropped.is_empty() { Ok(()) } else { count(tx, workspace, hasher, dropped, now).await }
}

/// Gives the workspace its salt. Everybody who began without knowing of one is waited for, and whoever comes after sees it.
async fn first(tx: &mut Tx, workspace: WorkspaceId, key: &SuppressionKey) -> Result<Hasher, StoreError> {
    tx.all::<(Uuid,)>(sql("SELECT id FROM workspaces WHERE id = $1 {for_update}").bind(workspace)).await?;
    let row = workspaces::load(tx, workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
    if let Some(seal) = row.seal {
        return Hasher::open(key, &seal);
    }
    let salt = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let hasher = Hasher::new(key, &salt);
    tx.run(
        sql("UPDATE workspaces SET suppression_salt = $2, suppression_check = $3 WHERE id = $1")
            .bind(workspace)
            .bind(salt)
            .bind(hasher.check()),
    )
    .await?;
    Ok(hasher)
}

async fn list(tx: &mut Tx, workspace: WorkspaceId, hasher: &Hasher, listed: &[Listing]) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[
        ("kind", Kind::Text),
        ("hash", Kind::Text),
        ("id", Kind::Uuid),
        ("erasure_id", Kind::Uuid),
        ("suppressed_at", Kind::Time),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
    ]);
    for listing in listed {
        for key in &listing.keys {
            rows.push([
                key.kind.as_str().into(),
                hasher.hash(key).into(),
                new_id(listing.cause.at).into(),
                listing.erasure_id.into(),
                listing.cause.at.into(),
                listing.cause.actor.as_str().into(),
                listing.cause.request_id.as_str().into(),
            ]);
        }
    }
    tx.run(
        sql("INSERT INTO suppressions (workspace_id, kind, hash, id, erasure_id, suppressed_at, actor, request_id)
             SELECT $1, r.kind, r.hash, r.id, r.erasure_id, r.suppressed_at, r.actor, r.request_id FROM {rows} AS r WHERE true
             ON CONFLICT DO NOTHING")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

async fn count(
    tx: &mut Tx,
    workspace: WorkspaceId,
    hasher: &Hasher,
    dropped: BTreeMap<IdentityKey, i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("hash", Kind::Text), ("messages", Kind::Int)]);
    for (key, messages) in &dropped {
        rows.push([key.kind.as_str().into(), hasher.hash(key).into(), (*messages).into()]);
    }
    tx.run(
        sql("UPDATE suppressions SET dropped = suppressions.dropped + r.messages, last_dropped_at = $2
             FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}suppressions.workspace_id = $1 AND suppressions.workspace_id = r.workspace_id
               AND suppressions.kind = r.kind AND suppressions.hash = r.hash")
        .bind(workspace)
        .bind(now)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// An entry of the list: that an identity of a kind is suppressed, never which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    pub id: RecordId,
    pub kind: String,
    /// The receipt it came with.
    pub erasure_id: RecordId,
    pub suppressed_at: Timestamp,
    pub actor: String,
    /// Messages that named it and were dropped.
    pub dropped: i64,
    pub last_dropped_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct Stored {
    hash: String,
    id: Uuid,
    kind: String,
    erasure_id: Uuid,
    suppressed_at: At,
    actor: String,
    dropped: i64,
    last_dropped_at: Option<At>,
}

impl From<Stored> for Suppression {
    fn from(row: Stored) -> Self {
        Self {
            id: RecordId(row.id),
            kind: row.kind,
            erasure_id: RecordId(row.erasure_id),
            suppressed_at: row.suppressed_at.0,
            actor: row.actor,
            dropped: row.dropped,
            last_dropped_at: row.last_dropped_at.map(|at| at.0),
        }
    }
}

impl Store {
    /// Sees to it that every list in the database is under this installation's key: what was hashed before there was one
    /// is hashed again. E: a list was made with another key.
    pub async fn settle_suppression_key(&self) -> Result<(), StoreError> {
        let sealed: Vec<(Uuid, String, String)> = self
            .pools
            .all(sql("SELECT id, suppression_salt, suppression_check FROM workspaces
                      WHERE suppression_salt IS NOT NULL AND suppression_check IS NOT NULL"))
            .await?;
        for (id, salt, check) in sealed {
            let seal = Seal { salt, check };
            if Hasher::open(&self.suppression_key, &seal).is_err() {
                Hasher::open(&SuppressionKey::new(None), &seal).map_err(|_| OTHER_KEY)?;
                self.hash_again(WorkspaceId(id), seal).await?;
            }
        }
        Ok(())
    }

    async fn hash_again(&self, workspace: WorkspaceId, seal: Seal) -> Result<(), StoreError> {
        let hasher = Arc::new(Hasher::new(&self.suppression_key, &seal.salt));
        self.write(move |tx| {
            let (hasher, seal) = (Arc::clone(&hasher), seal.clone());
            Box::pin(async move {
                tx.all::<(Uuid,)>(sql("SELECT id FROM workspaces WHERE id = $1 {for_update}").bind(workspace)).await?;
                let changed = tx
                    .run(
                        sql("UPDATE workspaces SET suppression_check = $2 WHERE id = $1 AND suppression_check = $3")
                            .bind(workspace)
                            .bind(hasher.check())
                            .bind(seal.check.as_str()),
                    )
                    .await?;
                // Another instance was first.
                if changed == 0 {
                    return Ok(());
                }
                let old: Vec<(Uuid, String)> =
                    tx.all(sql("SELECT id, hash FROM suppressions WHERE workspace_id = $1").bind(workspace)).await?;
                let mut rows = Rows::new(&[("id", Kind::Uuid), ("hash", Kind::Text)]);
                for (id, hash) in old {
                    rows.push([id.into(), hasher.seal(hash).into()]);
                }
                if !rows.is_empty() {
                    tx.run(
                        sql("UPDATE suppressions SET hash = r.hash FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
                             WHERE {aside}suppressions.workspace_id = $1 AND suppressions.workspace_id = r.workspace_id
                               AND suppressions.id = r.id")
                        .bind(workspace)
                        .rows(rows),
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Entries older than `before`, newest first, at most `limit`.
    pub async fn suppressions(&self, workspace: WorkspaceId, before: Option<RecordId>, limit: i64) -> Result<Vec<Suppression>, StoreError> {
        let rows: Vec<Stored> = self
            .pools
            .all(
                sql("SELECT hash, id, kind, erasure_id, suppressed_at, actor, dropped, last_dropped_at
                     FROM suppressions WHERE workspace_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
                .bind(workspace)
                .bind(before.map_or(Uuid::max(), |id| id.0))
                .bind(limit),
            )
            .await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// How many there are, by kind.
    pub async fn suppressions_by_kind(&self, workspace: WorkspaceId) -> Result<BTreeMap<String, i64>, StoreError> {
        let rows: Vec<(String, i64)> = self
            .pools
            .all(sql("SELECT kind, count(*){as_bigint} AS entries FROM suppressions WHERE workspace_id = $1 GROUP BY kind").bind(workspace))
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// The entries of keys; keys that are not suppressed are left out.
    pub async fn suppressed(&self, workspace: WorkspaceId, keys: &[IdentityKey]) -> Result<BTreeMap<IdentityKey, Suppression>, StoreError> {
        let row = self.workspace(workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
        let Some(seal) = row.seal else { return Ok(BTreeMap::new()) };
        let hasher = Hasher::open(&self.suppression_key, &seal)?;
        let (rows, by_hash) = rows_of(&hasher, keys.iter().map(IdentityKey::canonical).collect::<BTreeSet<_>>());
        if rows.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found: Vec<Stored> = self
            .pools
            .all(
                sql("SELECT s.hash, s.id, s.kind, s.erasure_id, s.suppressed_at, s.actor, s.dropped, s.last_dropped_at
                     FROM {rows} AS r CROSS JOIN suppressions AS s
                     WHERE s.workspace_id = $1 AND s.kind = r.kind AND s.hash = r.hash")
                .bind(workspace)
                .rows(rows),
            )
            .await?;
        Ok(found.into_iter().filter_map(|row| Some((by_hash.get(&row.hash)?.clone(), row.into()))).collect())
    }

    /// Takes an entry off the list; `false` when there is none.
    pub async fn lift_suppression(&self, workspace: WorkspaceId, id: RecordId, cause: Arc<Cause>) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let cause = Arc::clone(&cause);
            Box::pin(async move {
                let gone = tx.run(sql("DELETE FROM suppressions WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(id)).await?;
                if gone > 0 {
                    audit::note(tx, workspace, vec![(&cause, Act::of("suppression.lifted", "suppression", id))]).await?;
                }
                Ok(gone > 0)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use people_domain::identity::{IdentityKey, IdentityKind};

    use super::{Hasher, Seal, SuppressionKey};

    #[test]
    fn a_hash_depends_on_the_key_the_salt_the_kind_and_the_value() {
        let key = |kind: IdentityKind, value: &str| IdentityKey { kind, value: value.to_owned() };
        let hash = |secret, salt, key: &IdentityKey| Hasher::new(&SuppressionKey::new(secret), salt).hash(key);
        let ada = key(IdentityKind::email(), "ada@example.com");
        let one = hash(Some("a"), "s", &ada);
        assert_eq!((one.len(), &one), (64, &hash(Some("a"), "s", &ada)));
        let others = [
            hash(Some("b"), "s", &ada),
            hash(None, "s", &ada),
            hash(Some("a"), "t", &ada),
            hash(Some("a"), "s", &key(IdentityKind::external_id(), "ada@example.com")),
            hash(Some("a"), "s", &key(IdentityKind::email(), "grace@example.com")),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    #[test]
    fn another_key_is_noticed() {
        let check = Hasher::new(&SuppressionKey::new(Some("a")), "s").check();
        let seal = Seal { salt: "s".to_owned(), check };
        assert!(Hasher::open(&SuppressionKey::new(Some("a")), &seal).is_ok());
        assert!(Hasher::open(&SuppressionKey::new(Some("b")), &seal).is_err());
        assert!(Hasher::open(&SuppressionKey::new(None), &seal).is_err());
    }

    #[test]
    fn a_key_that_comes_later_takes_over_what_was_hashed_without_one() {
        let ada = IdentityKey { kind: IdentityKind::email(), value: "ada@example.com".to_owned() };
        let (without, with) = (Hasher::new(&SuppressionKey::new(None), "s"), Hasher::new(&SuppressionKey::new(Some("a")), "s"));
        assert_eq!(with.seal(without.hash(&ada)), with.hash(&ada));
        assert_eq!(with.seal(without.check()), with.check());
    }
}
