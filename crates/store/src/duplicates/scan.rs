//! The scan: everyone is looked at anew, in steps that each take a moment and that can stop after any.
//!
//! First everybody's blocks are brought in line with the definitions of the properties; then a census says which values
//! are common; then the blocks are walked in the order of their keys, and the people of each compared with each other; at
//! last every open suggestion is judged again, so that what holds no longer goes. Each step reads one chunk, whatever the
//! size of the workspace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    Timestamp,
    duplicate::{Census, Frequencies, Portrait, TENTHS, compare, score},
    id::WorkspaceId,
    profile::Profile,
    property::Definitions,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    follow::{delete_keys, hold, insert_keys, move_on},
    frequencies, people,
    suggestions::{Found, Pair, Word, pair, remove, upsert},
};
use crate::{
    Store, StoreError, Tx,
    jobs::{self, End, JobKind, Progress, Stepping, Turn, read},
    profiles, properties,
    rows::{Kind, Rows, ids},
    statement::sql,
    workspaces,
};

/// People whose blocks are renewed in one step, and suggestions judged anew.
const PEOPLE: i64 = 500;
/// Rows of the walk over the blocks in one step.
const ROWS: i64 = 2_000;
/// People of a block up to which all its pairs are compared. What more than so many share, nobody is known by.
const BLOCK: usize = 100;
/// People counted in a census: enough to tell a value that one in a thousand has.
const COUNTED: usize = 10_000;
/// Ids read at a time to choose them.
const IDS: i64 = 10_000;

/// The name of the job.
pub const DUPLICATE_SCAN: &str = "duplicate_scan";

/// The job that looks at everyone.
#[derive(Clone, Copy, Debug)]
pub struct DuplicateScan;

impl JobKind for DuplicateScan {
    fn name(&self) -> &'static str {
        DUPLICATE_SCAN
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(one_step(store, turn))
    }
}

/// Where a scan stands, and how many pairs it has held against each other.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Checkpoint {
    phase: Phase,
    compared: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Everybody's blocks, after this person.
    Blocks {
        after: Option<Uuid>,
    },
    Census,
    /// The people of each block, from this key on.
    Pairs {
        from: i64,
    },
    /// The open suggestions, after this one.
    Review {
        after: Option<Uuid>,
    },
    Done,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Blocks { after: None }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scanned {
    /// People looked at.
    people: i64,
    /// Pairs held against each other.
    compared: i64,
}

async fn one_step(store: &Store, turn: Turn) -> Result<(), StoreError> {
    let (workspace, lease) = (turn.lease.workspace, turn.lease);
    let at: Checkpoint = if turn.checkpoint.is_null() { Checkpoint::default() } else { read(&turn.checkpoint)? };
    // Counting only reads: nobody has to wait for it.
    let census = match at.phase {
        Phase::Census => Some(Arc::new(store.read(move |tx| Box::pin(async move { take_census(tx, workspace).await })).await?)),
        _ => None,
    };
    let is_first = turn.job.total.is_none();
    let now = store.now();
    store
        .write(move |tx| {
            let census = census.clone();
            let at = at.clone();
            Box::pin(async move {
                let (phase, scanned) = step(tx, workspace, at.phase, census.as_deref(), now).await?;
                let compared = at.compared + scanned.compared;
                let total = if is_first { Some(everyone(tx, workspace).await?) } else { None };
                let progress = Progress {
                    processed: scanned.people,
                    succeeded: scanned.people,
                    total,
                    details: Some(json!({"compared": compared})),
                    end: (phase == Phase::Done).then_some(End::Succeeded),
                    checkpoint: serde_json::to_value(Checkpoint { phase, compared })
                        .map_err(|_| StoreError::Unreadable("the checkpoint of a scan"))?,
                    ..Progress::default()
                };
                jobs::advance(tx, lease, &progress, now).await
            })
        })
        .await
}

async fn everyone(tx: &mut Tx, workspace: WorkspaceId) -> Result<i64, StoreError> {
    let count: Option<(i64,)> =
        tx.optional(sql("SELECT count(*) AS people FROM profile_documents WHERE workspace_id = $1").bind(workspace)).await?;
    Ok(count.map_or(0, |(people,)| people))
}

async fn step(
    tx: &mut Tx,
    workspace: WorkspaceId,
    phase: Phase,
    census: Option<&Frequencies>,
    now: Timestamp,
) -> Result<(Phase, Scanned), StoreError> {
    let cursor = hold(tx, workspace).await?;
    move_on(tx, workspace, cursor.seq).await?;
    match phase {
        Phase::Blocks { after } => renew_blocks(tx, workspace, after).await,
        Phase::Census => {
            if let Some(census) = census {
                keep_census(tx, workspace, census, now).await?;
            }
            Ok((Phase::Pairs { from: i64::MIN }, Scanned::default()))
        }
        Phase::Pairs { from } => compare_blocks(tx, workspace, from, now).await,
        Phase::Review { after } => review(tx, workspace, after, now).await,
        Phase::Done => Ok((Phase::Done, Scanned::default())),
    }
}

#[derive(FromRow)]
struct Member {
    key: i64,
    profile_id: Uuid,
}

/// Writes the difference between the blocks people stand in and those they should.
async fn renew_blocks(tx: &mut Tx, workspace: WorkspaceId, after: Option<Uuid>) -> Result<(Phase, Scanned), StoreError> {
    let chunk: Vec<(Uuid,)> = tx
        .all(
            sql("SELECT profile_id FROM profile_documents WHERE workspace_id = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3")
                .bind(workspace)
                .bind(after.unwrap_or(Uuid::nil()))
                .bind(PEOPLE),
        )
        .await?;
    let Some((last,)) = chunk.last().copied() else { return Ok((Phase::Census, Scanned::default())) };
    let definitions = properties::load(tx, workspace).await?;
    let profiles = people(tx, workspace, chunk.iter().map(|(id,)| *id).collect()).await?;
    let rows: Vec<Member> = tx
        .all(
            sql("SELECT key, profile_id FROM duplicate_keys WHERE workspace_id = $1 AND profile_id > $2 AND profile_id <= $3")
                .bind(workspace)
                .bind(after.unwrap_or(Uuid::nil()))
                .bind(last),
        )
        .await?;
    let there: BTreeSet<(Uuid, i64)> = rows.into_iter().map(|row| (row.profile_id, row.key)).collect();
    let right: BTreeSet<(Uuid, i64)> =
        profiles.iter().flat_map(|(id, profile)| Portrait::of(profile, &definitions).keys().into_iter().map(|key| (*id, key))).collect();
    delete_keys(tx, workspace, &there.difference(&right).copied().collect::<Vec<_>>()).await?;
    insert_keys(tx, workspace, &right.difference(&there).copied().collect::<Vec<_>>()).await?;
    let people = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
    Ok((Phase::Blocks { after: Some(last) }, Scanned { people, compared: 0 }))
}

/// Counts everyone, or so many as stand for all: the choice goes by the random part of the ids.
async fn take_census(tx: &mut Tx, workspace: WorkspaceId) -> Result<Frequencies, StoreError> {
    let lot = |id: &Uuid| {
        let bytes = id.as_bytes();
        u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
    };
    let mut drawn: Vec<Uuid> = Vec::new();
    let mut below = u32::MAX;
    let mut after = Uuid::nil();
    loop {
        let chunk: Vec<(Uuid,)> = tx
            .all(
                sql("SELECT profile_id FROM profile_documents WHERE workspace_id = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3")
                    .bind(workspace)
                    .bind(after)
                    .bind(IDS),
            )
            .await?;
        let Some((last,)) = chunk.last().copied() else { break };
        drawn.extend(chunk.into_iter().map(|(id,)| id).filter(|id| lot(id) <= below));
        while drawn.len() > COUNTED {
            below /= 2;
            drawn.retain(|id| lot(id) <= below);
        }
        after = last;
    }
    let definitions = properties::load(tx, workspace).await?;
    let mut census = Census::default();
    for part in drawn.chunks(500) {
        for profile in people(tx, workspace, part.to_vec()).await?.values() {
            census.add(&Portrait::of(profile, &definitions));
        }
    }
    Ok(census.frequencies())
}

async fn keep_census(tx: &mut Tx, workspace: WorkspaceId, census: &Frequencies, now: Timestamp) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("frequencies", Kind::Json)]);
    rows.push([serde_json::to_string(census).map_err(|_| StoreError::Unreadable("a census"))?.into()]);
    tx.run(
        sql("INSERT INTO duplicate_censuses (workspace_id, frequencies, taken_at)
             SELECT $1, r.frequencies, $2 FROM {rows} AS r WHERE true
             ON CONFLICT (workspace_id) DO UPDATE SET frequencies = EXCLUDED.frequencies, taken_at = EXCLUDED.taken_at")
        .bind(workspace)
        .bind(now)
        .rows(rows),
    )
    .await?;
    tx.run(sql("UPDATE workspaces SET census_version = census_version + 1 WHERE id = $1").bind(workspace)).await.map(|_| ())
}

/// What pairs are judged by.
struct Rules {
    definitions: Arc<Definitions>,
    frequencies: Frequencies,
    threshold: i64,
}

async fn rules(tx: &mut Tx, workspace: WorkspaceId) -> Result<Rules, StoreError> {
    let settings = workspaces::read(tx, workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
    Ok(Rules {
        definitions: Arc::new(properties::load(tx, workspace).await?),
        frequencies: frequencies(tx, workspace).await?,
        threshold: settings.workspace.duplicate_threshold * TENTHS,
    })
}

/// Compares the people of the next blocks.
async fn compare_blocks(tx: &mut Tx, workspace: WorkspaceId, from: i64, now: Timestamp) -> Result<(Phase, Scanned), StoreError> {
    let rows: Vec<Member> = tx
        .all(
            sql("SELECT key, profile_id FROM duplicate_keys WHERE workspace_id = $1 AND key >= $2 ORDER BY key, profile_id LIMIT $3")
                .bind(workspace)
                .bind(from)
                .bind(ROWS),
        )
        .await?;
    let is_cut = i64::try_from(rows.len()) == Ok(ROWS);
    let Some(last) = rows.last().map(|row| row.key) else { return Ok((Phase::Review { after: None }, Scanned::default())) };
    let mut blocks: BTreeMap<i64, Vec<Uuid>> = BTreeMap::new();
    for row in rows {
        blocks.entry(row.key).or_default().push(row.profile_id);
    }
    // The last block may go on in the next chunk: it is taken then, unless it is all there is, and then it is too large.
    let mut next = last.checked_add(1);
    if is_cut && blocks.len() > 1 {
        blocks.remove(&last);
        next = Some(last);
    }
    let pairs: BTreeSet<Pair> = blocks
        .values()
        .filter(|block| (2..=BLOCK).contains(&block.len()))
        .flat_map(|block| block.iter().enumerate().flat_map(|(i, one)| block.iter().skip(i + 1).map(|other| pair(*one, *other))))
        .collect();
    let compared = i64::try_from(pairs.len()).unwrap_or(i64::MAX);
    if !pairs.is_empty() {
        let rules = rules(tx, workspace).await?;
        let portraits = portraits(tx, workspace, &pairs, &rules.definitions).await?;
        let named = named(tx, workspace, &pairs).await?;
        // Who was named together is suggested already, and reviewed.
        let pairs = pairs.into_iter().filter(|pair| !named.contains(pair)).collect();
        let found = judge(pairs, portraits, rules).await?;
        upsert(tx, workspace, &found, Word::Unless, now).await?;
    }
    let next = match next {
        Some(from) if is_cut => Phase::Pairs { from },
        _ => Phase::Review { after: None },
    };
    Ok((next, Scanned { people: 0, compared }))
}

/// The pairs worth suggesting. There are thousands in a step, and each processor judges some.
async fn judge(pairs: Vec<Pair>, portraits: HashMap<Uuid, Portrait>, rules: Rules) -> Result<Vec<Found>, StoreError> {
    let known = Arc::new((portraits, rules));
    let found = apart(pairs, move |pair| {
        let (portraits, rules) = &*known;
        let (one, other) = (portraits.get(&pair.0)?, portraits.get(&pair.1)?);
        (score(one, other, &rules.frequencies) >= rules.threshold).then(|| Found {
            pair,
            judgement: compare(one, other, &rules.frequencies),
            named_by: String::new(),
        })
    });
    Ok(found.await?.into_iter().flatten().collect())
}

/// Does something with each, on as many threads as there are processors.
async fn apart<T, R>(mut items: Vec<T>, each: impl Fn(T) -> R + Clone + Send + 'static) -> Result<Vec<R>, StoreError>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = items.len().div_ceil(threads).max(1);
    let mut parts = Vec::with_capacity(threads);
    while !items.is_empty() {
        let part = items.split_off(items.len().saturating_sub(share));
        let each = each.clone();
        parts.push(tokio::task::spawn_blocking(move || part.into_iter().map(each).collect::<Vec<R>>()));
    }
    let mut out = Vec::new();
    for part in parts {
        out.extend(part.await.map_err(|_| StoreError::Unreadable("a comparison"))?);
    }
    Ok(out)
}

async fn portraits(
    tx: &mut Tx,
    workspace: WorkspaceId,
    pairs: &BTreeSet<Pair>,
    definitions: &Arc<Definitions>,
) -> Result<HashMap<Uuid, Portrait>, StoreError> {
    let ids: BTreeSet<Uuid> = pairs.iter().flat_map(|(one, other)| [*one, *other]).collect();
    let documents = profiles::documents(tx, workspace, ids).await?;
    let definitions = Arc::clone(definitions);
    let drawn = apart(documents, move |row| {
        let profile: Profile = serde_json::from_str(&row.document).map_err(|_| StoreError::Unreadable("a profile's document"))?;
        Ok((row.profile_id, Portrait::of(&profile, &definitions)))
    });
    drawn.await?.into_iter().collect()
}

/// Which of the pairs were named together by a message.
async fn named(tx: &mut Tx, workspace: WorkspaceId, pairs: &BTreeSet<Pair>) -> Result<BTreeSet<Pair>, StoreError> {
    let firsts: BTreeSet<Uuid> = pairs.iter().map(|(one, _)| *one).collect();
    let rows: Vec<Pair> = tx
        .all(
            sql("SELECT s.profile_id, s.other_profile_id FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s
                 WHERE s.workspace_id = $1 AND s.profile_id = r.id AND s.named_by <> ''")
            .bind(workspace)
            .rows(ids(firsts)),
        )
        .await?;
    Ok(rows.into_iter().collect())
}

#[derive(FromRow)]
struct Open {
    id: Uuid,
    profile_id: Uuid,
    other_profile_id: Uuid,
    named_by: String,
}

/// Judges the next open suggestions again.
async fn review(tx: &mut Tx, workspace: WorkspaceId, after: Option<Uuid>, now: Timestamp) -> Result<(Phase, Scanned), StoreError> {
    let rows: Vec<Open> = tx
        .all(
            sql("SELECT id, profile_id, other_profile_id, named_by FROM duplicate_suggestions
                 WHERE workspace_id = $1 AND id > $2 AND status = 'open' ORDER BY id LIMIT $3")
            .bind(workspace)
            .bind(after.unwrap_or(Uuid::nil()))
            .bind(PEOPLE),
        )
        .await?;
    let Some(last) = rows.last().map(|row| row.id) else { return Ok((Phase::Done, Scanned::default())) };
    let rules = rules(tx, workspace).await?;
    let pairs: BTreeSet<Pair> = rows.iter().map(|row| (row.profile_id, row.other_profile_id)).collect();
    let portraits = portraits(tx, workspace, &pairs, &rules.definitions).await?;
    let mut found = Vec::new();
    let mut fallen = Vec::new();
    for row in rows {
        let (Some(one), Some(other)) = (portraits.get(&row.profile_id), portraits.get(&row.other_profile_id)) else { continue };
        let kinds: Vec<String> = row.named_by.split_whitespace().map(str::to_owned).collect();
        let judgement = compare(one, other, &rules.frequencies).with_named_together(&kinds);
        if judgement.score >= rules.threshold || !kinds.is_empty() {
            found.push(Found { pair: (row.profile_id, row.other_profile_id), judgement, named_by: row.named_by });
        } else {
            fallen.push(row.id);
        }
    }
    upsert(tx, workspace, &found, Word::Unless, now).await?;
    remove(tx, workspace, &fallen).await?;
    Ok((Phase::Review { after: Some(last) }, Scanned::default()))
}
