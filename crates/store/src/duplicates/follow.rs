//! Looking for duplicates of the people that are written: beside the writes, along the change feed.
//!
//! A write costs nothing for it. The look-out reads the feed from where it stood, thinks on a snapshot while others write,
//! and takes a short transaction to note what it found; whoever changes meanwhile stands further down the feed and is looked
//! at again. Whoever asks for suggestions first lets it come up to date, so a pair is there the moment its second is written.
//! Several instances may follow one feed: who comes second finds the cursor moved, and what it thought is dropped.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use people_domain::{
    duplicate::{Frequencies, Portrait, TENTHS, compare, is_telling, score},
    id::WorkspaceId,
};
use sqlx::FromRow;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    frequencies, people,
    suggestions::{Found, Pair, Word, pair, remove, standing, upsert},
};
use crate::{
    Store, StoreError, Tx, properties,
    rows::{Kind, Rows, ids},
    statement::sql,
    workspaces,
};

/// People of a block up to which it singles anybody out. Larger blocks (everyone born on the first of January) are left
/// to the scan, and to the smaller blocks their people also stand in.
const BLOCK: usize = 24;
/// Who has but a name or a place in common is compared when hardly anybody else has it.
const ALONE: usize = 3;
/// Most people one is compared with: those who share the most, and the smallest, blocks.
const COMPARED: usize = 12;
/// Changes that matter looked at in one step.
const STEP: usize = 500;
/// Changes read in one step: most only tell that somebody was seen.
const READ: i64 = 5_000;
/// So many changes behind, who asks for suggestions waits for the look-out; further behind, they get what is known.
const NEAR: i64 = 2_000;
/// Between looks for writes of other instances.
const POLL: Duration = Duration::from_secs(1);
/// While others write, the look-out leaves the machine to them so many times as long as it took.
const LEFT: u32 = 9;
/// But no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// What a change tells of that no portrait shows.
const IRRELEVANT: [&str; 7] = ["labels", "segments", "channels", "last_channel", "last_seen_at", "consents", "primary"];

/// How frequent what people have is, at which version of the workspace's census.
type Censuses = HashMap<WorkspaceId, (i64, Arc<Frequencies>)>;

/// What the look-out need not read again.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookOut {
    censuses: Arc<Mutex<Censuses>>,
}

impl LookOut {
    async fn frequencies(&self, tx: &mut Tx, workspace: WorkspaceId) -> Result<Arc<Frequencies>, StoreError> {
        let version: Option<(i64,)> = tx.optional(sql("SELECT census_version FROM workspaces WHERE id = $1").bind(workspace)).await?;
        let version = version.map_or(0, |(version,)| version);
        if let Some((known, frequencies)) = self.censuses.lock().await.get(&workspace)
            && *known == version
        {
            return Ok(Arc::clone(frequencies));
        }
        let frequencies = Arc::new(frequencies(tx, workspace).await?);
        self.censuses.lock().await.insert(workspace, (version, Arc::clone(&frequencies)));
        Ok(frequencies)
    }
}

/// Where a look-out stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub(super) struct Cursor {
    pub(super) seq: i64,
    pub(super) revision: i64,
}

/// Holds the cursor: nobody else writes about blocks and suggestions until this transaction is over.
pub(super) async fn hold(tx: &mut Tx, workspace: WorkspaceId) -> Result<Cursor, StoreError> {
    tx.optional(sql("SELECT seq, revision FROM duplicate_cursors WHERE workspace_id = $1 {for_update}").bind(workspace))
        .await?
        .ok_or(StoreError::Unreadable("the cursor of a look-out"))
}

/// Tells whoever looked before that their view is old.
pub(super) async fn move_on(tx: &mut Tx, workspace: WorkspaceId, seq: i64) -> Result<(), StoreError> {
    tx.run(sql("UPDATE duplicate_cursors SET seq = $2, revision = revision + 1 WHERE workspace_id = $1").bind(workspace).bind(seq))
        .await
        .map(|_| ())
}

/// What a look at some changes came to.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The last change looked at.
    to: i64,
    /// Blocks that people left, and those they came to.
    left: Vec<(Uuid, i64)>,
    entered: Vec<(Uuid, i64)>,
    found: Vec<Found>,
    fallen: Vec<Uuid>,
}

#[derive(FromRow)]
struct Change {
    seq: i64,
    profile_id: Uuid,
    kind: String,
    fields: String,
}

impl Change {
    fn is_relevant(&self) -> bool {
        if self.kind != "profile.updated" {
            return true;
        }
        let fields: Vec<&str> = serde_json::from_str(&self.fields).unwrap_or_default();
        !fields.iter().all(|field| IRRELEVANT.contains(&field.split('.').next().unwrap_or_default()))
    }
}

#[derive(FromRow)]
struct Behind {
    workspace_id: Uuid,
    head: i64,
}

#[derive(FromRow)]
struct Distance {
    behind: i64,
}

impl Store {
    /// Looks for duplicates along the feeds until the store is closed.
    pub(crate) async fn look_out(self) {
        let mut closing = self.jobs.closing.subscribe();
        let mut heads = Vec::new();
        loop {
            let since = Instant::now();
            let rest = match self.look_out_once().await {
                Ok(now) if now.is_empty() => POLL,
                // Nobody has written since: after a large load there is much to come to, and nobody to be in the way of.
                Ok(now) if now == heads => since.elapsed() / 4,
                Ok(now) => {
                    heads = now;
                    (since.elapsed() * LEFT).min(LONGEST_REST)
                }
                Err(error) => {
                    tracing::debug!(%error, "duplicates could not be looked for yet");
                    POLL
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }

    /// One step in each workspace that has moved on: which they were, and where their feeds ended before.
    async fn look_out_once(&self) -> Result<Vec<(Uuid, i64)>, StoreError> {
        let behind: Vec<Behind> = self
            .pools
            .all(sql("SELECT h.workspace_id, h.seq AS head FROM change_heads AS h
                      JOIN duplicate_cursors AS c ON c.workspace_id = h.workspace_id WHERE h.seq > c.seq LIMIT 16"))
            .await?;
        for Behind { workspace_id, .. } in &behind {
            self.follow_changes(WorkspaceId(*workspace_id)).await?;
        }
        Ok(behind.into_iter().map(|behind| (behind.workspace_id, behind.head)).collect())
    }

    /// Brings suggestions in line with everything committed before this call, unless that would take long.
    pub(super) async fn come_up_to_date(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        // Each step takes hundreds of changes, and several may look at once.
        for _ in 0..16 {
            let distance: Option<Distance> = self
                .pools
                .one(
                    sql("SELECT h.seq - c.seq AS behind FROM change_heads AS h
                         JOIN duplicate_cursors AS c ON c.workspace_id = h.workspace_id WHERE h.workspace_id = $1")
                    .bind(workspace),
                )
                .await?;
            match distance {
                Some(Distance { behind }) if (1..=NEAR).contains(&behind) => self.follow_changes(workspace).await?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// One step along the feed.
    async fn follow_changes(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        let look_out = self.look_out.clone();
        let looked = self.read(move |tx| Box::pin(async move { look(tx, workspace, &look_out).await })).await?;
        let Some((cursor, seen)) = looked else { return Ok(()) };
        let now = self.now();
        let seen = Arc::new(seen);
        self.write(move |tx| {
            let seen = Arc::clone(&seen);
            Box::pin(async move {
                if hold(tx, workspace).await? != cursor {
                    return Ok(());
                }
                delete_keys(tx, workspace, &seen.left).await?;
                insert_keys(tx, workspace, &seen.entered).await?;
                upsert(tx, workspace, &seen.found, Word::Unless, now).await?;
                remove(tx, workspace, &seen.fallen).await?;
                move_on(tx, workspace, seen.to).await
            })
        })
        .await
    }
}

/// Looks at the next changes. Only reads; `None`: there are none.
async fn look(tx: &mut Tx, workspace: WorkspaceId, look_out: &LookOut) -> Result<Option<(Cursor, Seen)>, StoreError> {
    let cursor: Option<Cursor> =
        tx.optional(sql("SELECT seq, revision FROM duplicate_cursors WHERE workspace_id = $1").bind(workspace)).await?;
    let Some(cursor) = cursor else { return Ok(None) };
    let changes: Vec<Change> = tx
        .all(
            sql("SELECT seq, profile_id, kind, fields{as_text} AS fields FROM changes
                 WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
            .bind(workspace)
            .bind(cursor.seq)
            .bind(READ),
        )
        .await?;
    let Some(last) = changes.last().map(|change| change.seq) else { return Ok(None) };
    let matter: Vec<&Change> = changes.iter().filter(|change| change.is_relevant()).take(STEP).collect();
    // Up to the last one that is looked at; what does not matter behind it costs no step of its own.
    let to = if matter.len() < STEP { last } else { matter.last().map_or(last, |change| change.seq) };
    let mut seen = Seen { to, ..Seen::default() };
    let touched: BTreeSet<Uuid> = matter.into_iter().map(|change| change.profile_id).collect();
    if touched.is_empty() {
        return Ok(Some((cursor, seen)));
    }
    let settings = workspaces::read(tx, workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
    let threshold = settings.workspace.duplicate_threshold * TENTHS;
    let definitions = properties::load(tx, workspace).await?;
    let mut portraits: HashMap<Uuid, Portrait> = people(tx, workspace, touched.iter().copied().collect())
        .await?
        .iter()
        .map(|(id, profile)| (*id, Portrait::of(profile, &definitions)))
        .collect();
    let keys: HashMap<Uuid, BTreeSet<i64>> = portraits.iter().map(|(id, portrait)| (*id, portrait.keys())).collect();
    let right: BTreeSet<(Uuid, i64)> = keys.iter().flat_map(|(id, keys)| keys.iter().map(|key| (*id, *key))).collect();
    let there = stood(tx, workspace, &touched).await?;
    seen.left = there.difference(&right).copied().collect();
    seen.entered = right.difference(&there).copied().collect();
    let mut pairs = candidates(tx, workspace, &keys, &seen).await?;
    // What was suggested before may hold no longer.
    let standing = standing(tx, workspace, portraits.keys().copied().collect()).await?;
    pairs.extend(standing.iter().filter(|(_, row)| row.is_open()).map(|(pair, _)| *pair));
    pairs.retain(|pair| standing.get(pair).is_none_or(super::suggestions::Standing::is_open));
    if pairs.is_empty() {
        return Ok(Some((cursor, seen)));
    }
    let absent = pairs.iter().flat_map(|(one, other)| [*one, *other]).filter(|id| !portraits.contains_key(id)).collect();
    for (id, profile) in people(tx, workspace, absent).await? {
        portraits.insert(id, Portrait::of(&profile, &definitions));
    }
    let frequencies = look_out.frequencies(tx, workspace).await?;
    for pair in pairs {
        let (Some(one), Some(other)) = (portraits.get(&pair.0), portraits.get(&pair.1)) else { continue };
        let row = standing.get(&pair);
        let kinds: Vec<String> = row.into_iter().flat_map(super::suggestions::Standing::kinds).collect();
        if !kinds.is_empty() || score(one, other, &frequencies) >= threshold {
            let judgement = compare(one, other, &frequencies).with_named_together(&kinds);
            seen.found.push(Found { pair, judgement, named_by: kinds.join(" ") });
        } else if let Some(row) = row {
            seen.fallen.push(row.id);
        }
    }
    Ok(Some((cursor, seen)))
}

#[derive(FromRow)]
struct Member {
    key: i64,
    profile_id: Uuid,
}

/// The blocks people stand in as the rows say.
async fn stood(tx: &mut Tx, workspace: WorkspaceId, people: &BTreeSet<Uuid>) -> Result<BTreeSet<(Uuid, i64)>, StoreError> {
    let rows: Vec<Member> = tx
        .all(
            sql("SELECT k.key, k.profile_id FROM {rows} AS r CROSS JOIN duplicate_keys AS k
                 WHERE k.workspace_id = $1 AND k.profile_id = r.id")
            .bind(workspace)
            .rows(ids(people.iter().copied())),
        )
        .await?;
    Ok(rows.into_iter().map(|row| (row.profile_id, row.key)).collect())
}

fn key_rows(keys: &[(Uuid, i64)]) -> Rows {
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("key", Kind::Int)]);
    for (profile, key) in keys {
        rows.push([(*profile).into(), (*key).into()]);
    }
    rows
}

pub(super) async fn delete_keys(tx: &mut Tx, workspace: WorkspaceId, keys: &[(Uuid, i64)]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("DELETE FROM duplicate_keys WHERE workspace_id = $1 AND (profile_id, key) IN (SELECT profile_id, key FROM {rows} AS r)")
            .bind(workspace)
            .rows(key_rows(keys)),
    )
    .await
    .map(|_| ())
}

/// Of people who are gone meanwhile nothing is kept. Keys come sorted.
pub(super) async fn insert_keys(tx: &mut Tx, workspace: WorkspaceId, keys: &[(Uuid, i64)]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("INSERT INTO duplicate_keys (workspace_id, profile_id, key)
             SELECT $1, r.profile_id, r.key FROM {rows} AS r CROSS JOIN profiles AS p
             WHERE p.workspace_id = $1 AND p.id = r.profile_id ON CONFLICT DO NOTHING")
        .bind(workspace)
        .rows(key_rows(keys)),
    )
    .await
    .map(|_| ())
}

/// Which blocks hold more people than can be told apart by them.
async fn crowds(tx: &mut Tx, workspace: WorkspaceId, mut keys: Vec<i64>) -> Result<Vec<i64>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    keys.sort_unstable();
    let mut rows = Rows::new(&[("key", Kind::Int)]);
    for key in keys {
        rows.push([key.into()]);
    }
    let crowded: Vec<(i64,)> = tx
        .all(
            sql("SELECT r.key FROM {rows} AS r
                 WHERE EXISTS (SELECT 1 FROM duplicate_keys AS b WHERE b.workspace_id = $1 AND b.key = r.key LIMIT 1 OFFSET $2)")
            .bind(workspace)
            .bind(i64::try_from(BLOCK).unwrap_or(i64::MAX))
            .rows(rows),
        )
        .await?;
    Ok(crowded.into_iter().map(|(key,)| key).collect())
}

/// With whom each is to be compared: one statement, for the rows as they will be.
async fn candidates(
    tx: &mut Tx,
    workspace: WorkspaceId,
    keys: &HashMap<Uuid, BTreeSet<i64>>,
    seen: &Seen,
) -> Result<BTreeSet<Pair>, StoreError> {
    let distinct: BTreeSet<i64> = keys.values().flatten().copied().collect();
    if distinct.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut rows = Rows::new(&[("key", Kind::Int)]);
    for key in distinct {
        rows.push([key.into()]);
    }
    let members: Vec<Member> = tx
        .all(
            sql("SELECT k.key, k.profile_id
                 FROM {rows} AS r CROSS JOIN {members}
                   NOT EXISTS (SELECT 1 FROM duplicate_keys AS b WHERE b.workspace_id = $1 AND b.key = r.key LIMIT 1 OFFSET $2)")
            .bind(workspace)
            .bind(i64::try_from(BLOCK).unwrap_or(i64::MAX))
            .rows(rows),
        )
        .await?;
    let mut blocks: HashMap<i64, BTreeSet<Uuid>> = HashMap::new();
    for member in members {
        blocks.entry(member.key).or_default().insert(member.profile_id);
    }
    for (profile, key) in &seen.left {
        if let Some(block) = blocks.get_mut(key) {
            block.remove(profile);
        }
    }
    for (profile, key) in &seen.entered {
        blocks.entry(*key).or_default().insert(*profile);
    }
    let mut newcomers: HashMap<i64, usize> = HashMap::new();
    seen.entered.iter().for_each(|(_, key)| *newcomers.entry(*key).or_default() += 1);
    // Several came to a block of which nobody else was read: it may be that it is too large.
    let open: Vec<i64> =
        newcomers.into_iter().filter(|(key, n)| *n > 1 && blocks.get(key).is_some_and(|b| b.len() == *n)).map(|(key, _)| key).collect();
    for crowded in crowds(tx, workspace, open).await? {
        blocks.remove(&crowded);
    }
    let mut pairs = BTreeSet::new();
    for (id, keys) in keys {
        // By candidate: how many blocks are shared, and how large the smallest is. A telling one counts twice.
        let mut shared: HashMap<Uuid, (usize, usize)> = HashMap::new();
        for (key, block) in keys.iter().filter_map(|key| Some((key, blocks.get(key)?))).filter(|(_, block)| block.len() <= BLOCK) {
            for other in block.iter().filter(|other| *other != id) {
                let (times, smallest) = shared.entry(*other).or_insert((0, usize::MAX));
                *times += if is_telling(*key) { 2 } else { 1 };
                *smallest = (*smallest).min(block.len());
            }
        }
        let mut ranked: Vec<(Reverse<usize>, usize, Uuid)> = shared
            .into_iter()
            .filter(|(_, (times, smallest))| *times > 1 || *smallest <= ALONE)
            .map(|(other, (times, smallest))| (Reverse(times), smallest, other))
            .collect();
        ranked.sort_unstable();
        pairs.extend(ranked.into_iter().take(COMPARED).map(|(.., other)| pair(*id, other)));
    }
    Ok(pairs)
}
