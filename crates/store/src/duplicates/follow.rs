//! Looking for duplicates of the people a group has written, in the transaction that wrote them.
//!
//! Only changes of what is compared matter, so a group of mere events costs nothing here. A newcomer costs a few rows and
//! one look into the index; people whose blocks hold others are compared with them, a bounded number.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    Timestamp,
    directory::{Action, Directory, Merge},
    duplicate::{Frequencies, Judgement, Portrait, TENTHS, compare, is_relevant, is_telling},
    event::Occurrence,
    id::{ProfileId, WorkspaceId},
    profile::Profile,
    property::Definitions,
};
use sqlx::FromRow;
use uuid::Uuid;

use super::people;
use crate::{
    StoreError, Tx,
    ids::new_id,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// People of a block up to which it singles anybody out. Larger blocks (everyone born on the first of January) are left
/// to the scan, and to the smaller blocks their people also stand in.
const BLOCK: i64 = 24;
/// Who has but a name or a place in common is compared on write when hardly anybody else has it.
const ALONE: usize = 3;
/// Most people one is compared with on write: those who share the most, and the smallest, blocks.
const COMPARED: usize = 12;

/// A pair, the lower id first.
pub(super) type Pair = (Uuid, Uuid);

pub(super) fn pair(a: Uuid, b: Uuid) -> Pair {
    if a < b { (a, b) } else { (b, a) }
}

/// Somebody who has changed in what is compared.
#[derive(Debug)]
struct Person {
    id: Uuid,
    is_new: bool,
    portrait: Portrait,
    keys: BTreeSet<i64>,
    /// They stand in other blocks than before.
    has_moved: bool,
}

impl Person {
    fn of(before: Option<&Profile>, after: &Profile, definitions: &Definitions) -> Option<Self> {
        if before.is_some_and(|before| !is_relevant(before, after)) {
            return None;
        }
        let portrait = Portrait::of(after, definitions);
        let was = before.map(|before| Portrait::of(before, definitions));
        if was.as_ref() == Some(&portrait) {
            return None;
        }
        let keys = portrait.keys();
        let has_moved = was.is_none_or(|was| was.keys() != keys);
        Some(Self { id: after.id.0, is_new: before.is_none(), portrait, keys, has_moved })
    }
}

/// Who has changed in what is compared, and who was named together.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    people: Vec<Person>,
    /// With the kinds of the keys.
    named: BTreeMap<Pair, BTreeSet<String>>,
    threshold: i64,
    definitions: Definitions,
    at: Option<Timestamp>,
    /// Something was written, and the change feed with it.
    holds_head: bool,
}

/// A person before or after a group; `None`: not there.
type State<'d> = Option<&'d Arc<Profile>>;

impl Touched {
    /// What a group leaves to look at; asked before it is saved.
    pub(crate) fn of(directory: &Directory, occurrences: &[Occurrence], merges: &[Merge]) -> Self {
        let mut spans: BTreeMap<ProfileId, (State<'_>, State<'_>)> = BTreeMap::new();
        for effect in directory.effects().iter().filter(|effect| effect.action != Action::Seen) {
            let after = effect.after.as_ref();
            spans.entry(effect.profile_id).and_modify(|span| span.1 = after).or_insert((effect.before.as_ref(), after));
        }
        let people: Vec<Person> = spans
            .values()
            .filter_map(|(before, after)| Person::of(before.map(|before| &**before), (*after)?, &directory.definitions))
            .collect();
        let survivor = |id: ProfileId| {
            let mut at = id;
            while let Some(merge) = merges.iter().find(|merge| merge.secondary.id == at) {
                at = merge.primary.id;
            }
            at.0
        };
        let mut named: BTreeMap<Pair, BTreeSet<String>> = BTreeMap::new();
        let refused = occurrences.iter().flat_map(|occurrence| {
            occurrence
                .refused
                .iter()
                .filter(|key| key.code == "identity_conflict")
                .filter_map(|key| Some((occurrence.profile_id, key.profile_id?, key.kind.as_str())))
        });
        let upserted = directory.conflicts().iter().map(|named| (named.chosen, named.other, named.kind.as_str()));
        for (one, other, kind) in refused.chain(upserted) {
            let (one, other) = (survivor(one), survivor(other));
            if one != other {
                named.entry(pair(one, other)).or_default().insert(kind.to_owned());
            }
        }
        if people.is_empty() && named.is_empty() {
            return Self::default();
        }
        Self {
            people,
            named,
            threshold: directory.workspace.duplicate_threshold * TENTHS,
            definitions: directory.definitions.clone(),
            at: directory
                .effects()
                .iter()
                .map(|effect| effect.at)
                .chain(occurrences.iter().map(|o| o.received_at))
                .chain(directory.conflicts().iter().map(|named| named.at))
                .max(),
            holds_head: !directory.effects().is_empty(),
        }
    }

    /// Brings the blocks of the people in line, and the suggestions they are part of. After the group is saved.
    pub(crate) async fn follow(self, tx: &mut Tx, workspace: WorkspaceId, censuses: &mut Censuses) -> Result<(), StoreError> {
        let Some(now) = self.at else { return Ok(()) };
        if !self.holds_head {
            hold_head(tx, workspace).await?;
        }
        let moved: Vec<Uuid> = self.people.iter().filter(|person| !person.is_new && person.has_moved).map(|person| person.id).collect();
        if !moved.is_empty() {
            tx.run(
                sql("DELETE FROM duplicate_keys WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r)")
                    .bind(workspace)
                    .rows(ids(moved)),
            )
            .await?;
        }
        let new = self.people.iter().filter(|person| person.has_moved).flat_map(|person| person.keys.iter().map(|key| (person.id, *key)));
        insert_keys(tx, workspace, new.collect()).await?;
        let known: Vec<Uuid> = self.people.iter().filter(|person| !person.is_new).map(|person| person.id).collect();
        let mut portraits: HashMap<Uuid, Portrait> = HashMap::new();
        let mut keys: HashMap<Uuid, BTreeSet<i64>> = HashMap::new();
        for person in self.people {
            portraits.insert(person.id, person.portrait);
            keys.insert(person.id, person.keys);
        }
        let mut pairs = candidates(tx, workspace, &keys).await?;
        pairs.extend(self.named.keys().copied());
        // What was suggested before may hold no longer. A newcomer has no past.
        let asked: BTreeSet<Uuid> = known.into_iter().chain(self.named.keys().flat_map(|(one, other)| [*one, *other])).collect();
        let standing = standing(tx, workspace, asked).await?;
        pairs.extend(standing.iter().filter(|(_, row)| row.status == "open").map(|(pair, _)| *pair));
        pairs.retain(|pair| standing.get(pair).is_none_or(|row| row.status == "open"));
        if pairs.is_empty() {
            return Ok(());
        }
        let absent = pairs.iter().flat_map(|(one, other)| [*one, *other]).filter(|id| !portraits.contains_key(id)).collect();
        for (id, profile) in people(tx, workspace, absent).await? {
            portraits.insert(id, Portrait::of(&profile, &self.definitions));
        }
        let frequencies = censuses.of(tx, workspace).await?;
        let mut found = Vec::new();
        let mut fallen = Vec::new();
        for pair in pairs {
            let (Some(one), Some(other)) = (portraits.get(&pair.0), portraits.get(&pair.1)) else { continue };
            let row = standing.get(&pair);
            let mut kinds: BTreeSet<String> = row.map(Standing::kinds).unwrap_or_default();
            kinds.extend(self.named.get(&pair).into_iter().flatten().cloned());
            let kinds: Vec<String> = kinds.into_iter().collect();
            let judgement = compare(one, other, &frequencies).with_named_together(&kinds);
            if judgement.score >= self.threshold || !kinds.is_empty() {
                found.push(Found { pair, judgement, named_by: kinds.join(" ") });
            } else if let Some(row) = row {
                fallen.push(row.id);
            }
        }
        upsert(tx, workspace, found, now).await?;
        remove(tx, workspace, fallen).await
    }
}

/// Frequencies as of a census, so that a group reads them only when there was a new one.
pub(crate) type CensusCache = HashMap<WorkspaceId, (i64, Arc<Frequencies>)>;

#[derive(Debug, Default)]
pub(crate) struct Censuses(CensusCache);

impl Censuses {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) async fn of(&mut self, tx: &mut Tx, workspace: WorkspaceId) -> Result<Arc<Frequencies>, StoreError> {
        let version: Option<(i64,)> = tx.optional(sql("SELECT census_version FROM workspaces WHERE id = $1").bind(workspace)).await?;
        let version = version.map_or(0, |(version,)| version);
        if let Some((known, frequencies)) = self.0.get(&workspace)
            && *known == version
        {
            return Ok(Arc::clone(frequencies));
        }
        let frequencies = Arc::new(frequencies(tx, workspace).await?);
        self.0.insert(workspace, (version, Arc::clone(&frequencies)));
        Ok(frequencies)
    }
}

/// What the last census counted.
pub(super) async fn frequencies(tx: &mut Tx, workspace: WorkspaceId) -> Result<Frequencies, StoreError> {
    let row: Option<(String,)> = tx
        .optional(sql("SELECT frequencies{as_text} AS frequencies FROM duplicate_censuses WHERE workspace_id = $1").bind(workspace))
        .await?;
    match row {
        Some((text,)) => serde_json::from_str(&text).map_err(|_| StoreError::Unreadable("a census")),
        None => Ok(Frequencies::default()),
    }
}

/// Whoever writes people commits before this, or after.
pub(super) async fn hold_head(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.optional::<(i64,)>(sql("SELECT seq FROM change_heads WHERE workspace_id = $1 {for_update}").bind(workspace)).await.map(|_| ())
}

pub(super) async fn insert_keys(tx: &mut Tx, workspace: WorkspaceId, mut keys: Vec<(Uuid, i64)>) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    keys.sort_unstable();
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("key", Kind::Int)]);
    for (profile, key) in keys {
        rows.push([profile.into(), key.into()]);
    }
    tx.run(
        sql("INSERT INTO duplicate_keys (workspace_id, profile_id, key)
             SELECT $1, r.profile_id, r.key FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

#[derive(FromRow)]
struct Member {
    key: i64,
    profile_id: Uuid,
}

/// With whom each is to be compared: one statement.
async fn candidates(tx: &mut Tx, workspace: WorkspaceId, keys: &HashMap<Uuid, BTreeSet<i64>>) -> Result<BTreeSet<Pair>, StoreError> {
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
            .bind(BLOCK)
            .rows(rows),
        )
        .await?;
    let mut blocks: HashMap<i64, Vec<Uuid>> = HashMap::new();
    for member in members {
        blocks.entry(member.key).or_default().push(member.profile_id);
    }
    let mut pairs = BTreeSet::new();
    for (id, keys) in keys {
        // By candidate: how many blocks are shared, and how large the smallest is. A telling one counts twice.
        let mut shared: HashMap<Uuid, (usize, usize)> = HashMap::new();
        for (key, block) in keys.iter().filter_map(|key| Some((key, blocks.get(key)?))) {
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

/// A suggestion as it stands.
#[derive(FromRow)]
struct Standing {
    id: Uuid,
    profile_id: Uuid,
    other_profile_id: Uuid,
    status: String,
    named_by: String,
}

impl Standing {
    fn kinds(&self) -> BTreeSet<String> {
        self.named_by.split_whitespace().map(str::to_owned).collect()
    }
}

/// The suggestions that people are part of, dismissed ones too.
async fn standing(tx: &mut Tx, workspace: WorkspaceId, people: BTreeSet<Uuid>) -> Result<HashMap<Pair, Standing>, StoreError> {
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Standing> = tx
        .all(
            sql("SELECT s.id, s.profile_id, s.other_profile_id, s.status, s.named_by
                 FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.profile_id = r.id
                 UNION
                 SELECT s.id, s.profile_id, s.other_profile_id, s.status, s.named_by
                 FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.other_profile_id = r.id")
            .bind(workspace)
            .rows(ids(people)),
        )
        .await?;
    Ok(rows.into_iter().map(|row| ((row.profile_id, row.other_profile_id), row)).collect())
}

/// A pair worth suggesting.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) pair: Pair,
    pub(super) judgement: Judgement,
    pub(super) named_by: String,
}

/// Suggests pairs, or renews what is said of them. A dismissed pair stays dismissed.
pub(super) async fn upsert(tx: &mut Tx, workspace: WorkspaceId, found: Vec<Found>, now: Timestamp) -> Result<(), StoreError> {
    if found.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("profile_id", Kind::Uuid),
        ("other_profile_id", Kind::Uuid),
        ("score", Kind::Int),
        ("reasons", Kind::Json),
        ("named_by", Kind::Text),
    ]);
    for Found { pair, judgement, named_by } in found {
        let reasons = serde_json::to_string(&judgement.reasons).map_err(|_| StoreError::Unreadable("the reasons of a suggestion"))?;
        rows.push([new_id(now).into(), pair.0.into(), pair.1.into(), judgement.score.into(), reasons.into(), named_by.into()]);
    }
    tx.run(
        sql("INSERT INTO duplicate_suggestions (
                 workspace_id, id, profile_id, other_profile_id, score, reasons, named_by, status, found_at, dismissed_at, dismissed_by
             )
             SELECT $1, r.id, r.profile_id, r.other_profile_id, r.score, r.reasons, r.named_by, 'open', $2, NULL, NULL FROM {rows} AS r WHERE true
             ON CONFLICT (workspace_id, profile_id, other_profile_id) DO UPDATE
             SET score = EXCLUDED.score, reasons = EXCLUDED.reasons, named_by = EXCLUDED.named_by
             WHERE duplicate_suggestions.status = 'open'")
        .bind(workspace)
        .bind(now)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

pub(super) async fn remove(tx: &mut Tx, workspace: WorkspaceId, fallen: Vec<Uuid>) -> Result<(), StoreError> {
    if fallen.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("DELETE FROM duplicate_suggestions WHERE workspace_id = $1 AND status = 'open' AND id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .rows(ids(fallen)),
    )
    .await
    .map(|_| ())
}

#[derive(FromRow)]
struct Carried {
    id: Uuid,
    profile_id: Uuid,
    other_profile_id: Uuid,
    score: i64,
    reasons: String,
    named_by: String,
    status: String,
    found_at: At,
    dismissed_at: Option<At>,
    dismissed_by: Option<String>,
}

/// Of people who are merged: a decision that two are not one binds whoever they have become, and so does a message that
/// named both. Everything else is judged anew.
pub(crate) async fn carry(tx: &mut Tx, workspace: WorkspaceId, survivors: &BTreeMap<ProfileId, ProfileId>) -> Result<(), StoreError> {
    if survivors.is_empty() {
        return Ok(());
    }
    let moved = || ids(survivors.keys().map(|id| id.0));
    let rows: Vec<Carried> = tx
        .all(
            sql("SELECT id, profile_id, other_profile_id, score, reasons{as_text} AS reasons, named_by, status, found_at, dismissed_at, dismissed_by
                 FROM duplicate_suggestions
                 WHERE workspace_id = $1 AND (status = 'dismissed' OR named_by <> '')
                   AND id IN (
                       SELECT s.id FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.profile_id = r.id
                       UNION ALL
                       SELECT s.id FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.other_profile_id = r.id
                   )")
            .bind(workspace)
            .rows(moved()),
        )
        .await?;
    tx.run(
        sql("DELETE FROM duplicate_suggestions
             WHERE workspace_id = $1 AND id IN (
                 SELECT s.id FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.profile_id = r.id
                 UNION ALL
                 SELECT s.id FROM {rows} AS r CROSS JOIN duplicate_suggestions AS s WHERE s.workspace_id = $1 AND s.other_profile_id = r.id
             )")
        .bind(workspace)
        .rows(moved()),
    )
    .await?;
    let survivor = |id: Uuid| survivors.get(&ProfileId(id)).map_or(id, |survivor| survivor.0);
    let mut kept: BTreeMap<Pair, Carried> = BTreeMap::new();
    for row in rows {
        let (one, other) = (survivor(row.profile_id), survivor(row.other_profile_id));
        // Of two that came to be the same pair, the decision stands.
        if one != other && (row.status == "dismissed" || !kept.contains_key(&pair(one, other))) {
            kept.insert(pair(one, other), row);
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("profile_id", Kind::Uuid),
        ("other_profile_id", Kind::Uuid),
        ("score", Kind::Int),
        ("reasons", Kind::Json),
        ("named_by", Kind::Text),
        ("status", Kind::Text),
        ("found_at", Kind::Time),
        ("dismissed_at", Kind::Time),
        ("dismissed_by", Kind::Text),
    ]);
    for (pair, row) in kept {
        rows.push([
            row.id.into(),
            pair.0.into(),
            pair.1.into(),
            row.score.into(),
            row.reasons.into(),
            row.named_by.into(),
            row.status.into(),
            row.found_at.0.into(),
            row.dismissed_at.map(|at| at.0).into(),
            row.dismissed_by.into(),
        ]);
    }
    tx.run(
        sql("INSERT INTO duplicate_suggestions (
                 workspace_id, id, profile_id, other_profile_id, score, reasons, named_by, status, found_at, dismissed_at, dismissed_by
             )
             SELECT $1, r.id, r.profile_id, r.other_profile_id, r.score, r.reasons, r.named_by, r.status, r.found_at, r.dismissed_at, r.dismissed_by
             FROM {rows} AS r WHERE true
             ON CONFLICT (workspace_id, profile_id, other_profile_id) DO UPDATE
             SET status = EXCLUDED.status, dismissed_at = EXCLUDED.dismissed_at, dismissed_by = EXCLUDED.dismissed_by,
                 named_by = EXCLUDED.named_by
             WHERE duplicate_suggestions.status = 'open'")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}
