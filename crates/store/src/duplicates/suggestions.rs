//! The rows of suggestions: how they stand, what is said of them, and what becomes of them when people are merged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp,
    duplicate::{Judgement, Portrait, compare},
    id::{ProfileId, WorkspaceId},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{SuggestionStatus, frequencies, people};
use crate::{
    StoreError, Tx,
    ids::new_id,
    profiles, properties,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// A pair, the lower id first.
pub(super) type Pair = (Uuid, Uuid);

pub(super) fn pair(a: Uuid, b: Uuid) -> Pair {
    if a < b { (a, b) } else { (b, a) }
}

/// A suggestion as it stands.
#[derive(FromRow)]
pub(super) struct Standing {
    pub(super) id: Uuid,
    profile_id: Uuid,
    other_profile_id: Uuid,
    status: String,
    pub(super) named_by: String,
}

impl Standing {
    pub(super) fn is_open(&self) -> bool {
        self.status == "open"
    }

    pub(super) fn kinds(&self) -> BTreeSet<String> {
        self.named_by.split_whitespace().map(str::to_owned).collect()
    }
}

/// The suggestions that people are part of, dismissed ones too.
pub(super) async fn standing(tx: &mut Tx, workspace: WorkspaceId, people: BTreeSet<Uuid>) -> Result<HashMap<Pair, Standing>, StoreError> {
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
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) pair: Pair,
    pub(super) judgement: Judgement,
    pub(super) named_by: String,
}

/// What a judgement is worth when a message has named the two together since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It stands: the judge held both people while judging.
    Last,
    /// It is dropped: whoever wrote the message has judged anew.
    Unless,
}

/// Suggests pairs, or renews what is said of them. A dismissed pair stays dismissed; who is gone meanwhile is left out.
pub(super) async fn upsert(tx: &mut Tx, workspace: WorkspaceId, found: &[Found], word: Word, now: Timestamp) -> Result<(), StoreError> {
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
        rows.push([new_id(now).into(), pair.0.into(), pair.1.into(), judgement.score.into(), reasons.into(), named_by.as_str().into()]);
    }
    let is_last = i64::from(word == Word::Last);
    tx.run(
        sql("INSERT INTO duplicate_suggestions (
                 workspace_id, id, profile_id, other_profile_id, score, reasons, named_by, status, found_at, dismissed_at, dismissed_by
             )
             SELECT $1, r.id, r.profile_id, r.other_profile_id, r.score, r.reasons, r.named_by, 'open', $2, NULL, NULL
             FROM {rows} AS r
             CROSS JOIN profiles AS p CROSS JOIN profiles AS o
             WHERE p.workspace_id = $1 AND p.id = r.profile_id AND o.workspace_id = $1 AND o.id = r.other_profile_id
             ON CONFLICT (workspace_id, profile_id, other_profile_id) DO UPDATE
             SET score = EXCLUDED.score, reasons = EXCLUDED.reasons, named_by = EXCLUDED.named_by
             WHERE duplicate_suggestions.status = 'open' AND (duplicate_suggestions.named_by = EXCLUDED.named_by OR $3 = 1)")
        .bind(workspace)
        .bind(now)
        .bind(is_last)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Takes back what nothing speaks for any more.
pub(super) async fn remove(tx: &mut Tx, workspace: WorkspaceId, fallen: &[Uuid]) -> Result<(), StoreError> {
    if fallen.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("DELETE FROM duplicate_suggestions
             WHERE workspace_id = $1 AND status = 'open' AND named_by = '' AND id IN (SELECT id FROM {rows} AS r)")
        .bind(workspace)
        .rows(ids(fallen.iter().copied())),
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

/// With whom somebody had been decided not to be one, when they were merged. Names and reasons are not kept: they are the
/// other's too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dismissal {
    other: Uuid,
    found_at: Timestamp,
    dismissed_at: Timestamp,
    dismissed_by: Option<String>,
    /// The survivor has it from them: it was not decided of the survivor before.
    inherited: bool,
}

/// By who was merged.
pub(crate) type Dismissals = HashMap<ProfileId, Vec<Dismissal>>;

/// Of people who are merged: a decision that two are not one binds whoever they have become, and so does a message that
/// named both. Everything else is judged anew. Answers the decisions that went over.
pub(crate) async fn carry(
    tx: &mut Tx,
    workspace: WorkspaceId,
    survivors: &BTreeMap<ProfileId, ProfileId>,
) -> Result<Dismissals, StoreError> {
    if survivors.is_empty() {
        return Ok(HashMap::new());
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
    let decided: BTreeSet<Pair> = standing(tx, workspace, survivors.values().map(|id| id.0).collect())
        .await?
        .into_iter()
        .filter(|(_, row)| !row.is_open())
        .map(|(pair, _)| pair)
        .collect();
    let mut dismissals: Dismissals = HashMap::new();
    for row in rows.iter().filter(|row| row.status == "dismissed") {
        for (one, other) in [(row.profile_id, row.other_profile_id), (row.other_profile_id, row.profile_id)] {
            if let Some(to) = survivors.get(&ProfileId(one)) {
                let dismissal = Dismissal {
                    other,
                    found_at: row.found_at.0,
                    dismissed_at: row.dismissed_at.as_ref().map_or(row.found_at.0, |at| at.0),
                    dismissed_by: row.dismissed_by.clone(),
                    inherited: to.0 != survivor(other) && !decided.contains(&pair(to.0, survivor(other))),
                };
                dismissals.entry(ProfileId(one)).or_default().push(dismissal);
            }
        }
    }
    let mut kept: BTreeMap<Pair, Carried> = BTreeMap::new();
    for row in rows {
        let (one, other) = (survivor(row.profile_id), survivor(row.other_profile_id));
        // Of two that came to be the same pair, the decision stands.
        if one != other && (row.status == "dismissed" || !kept.contains_key(&pair(one, other))) {
            kept.insert(pair(one, other), row);
        }
    }
    let mut rows = whole_rows();
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
    put(tx, workspace, rows).await?;
    Ok(dismissals)
}

/// Of two who were merged and are parted: what had been decided of the secondary is theirs again, and not the survivor's.
pub(crate) async fn part(
    tx: &mut Tx,
    workspace: WorkspaceId,
    survivor: ProfileId,
    secondary: ProfileId,
    dismissals: &[Dismissal],
    now: Timestamp,
) -> Result<(), StoreError> {
    if dismissals.is_empty() {
        return Ok(());
    }
    // Who the others have become since; who is gone is nobody's duplicate.
    let led: HashMap<Uuid, Uuid> = profiles::redirects(tx, workspace, dismissals.iter().map(|d| d.other)).await?.into_iter().collect();
    let other = |dismissal: &Dismissal| led.get(&dismissal.other).copied().unwrap_or(dismissal.other);
    let mut inherited = Rows::new(&[("profile_id", Kind::Uuid), ("other_profile_id", Kind::Uuid), ("dismissed_at", Kind::Time)]);
    for dismissal in dismissals.iter().filter(|d| d.inherited && other(d) != survivor.0) {
        let (one, two) = pair(survivor.0, other(dismissal));
        inherited.push([one.into(), two.into(), dismissal.dismissed_at.into()]);
    }
    if !inherited.is_empty() {
        tx.run(
            sql("DELETE FROM duplicate_suggestions
                 WHERE workspace_id = $1 AND status = 'dismissed'
                   AND (profile_id, other_profile_id, dismissed_at) IN (SELECT profile_id, other_profile_id, dismissed_at FROM {rows} AS r)")
            .bind(workspace)
            .rows(inherited),
        )
        .await?;
    }
    let concerned = dismissals.iter().map(other).chain([secondary.0]).collect();
    let definitions = properties::load(tx, workspace).await?;
    let portraits: HashMap<Uuid, Portrait> =
        people(tx, workspace, concerned).await?.iter().map(|(id, profile)| (*id, Portrait::of(profile, &definitions))).collect();
    let frequencies = frequencies(tx, workspace).await?;
    let mut rows = whole_rows();
    let mut told = BTreeSet::new();
    for dismissal in dismissals {
        let other = other(dismissal);
        let (Some(one), Some(two)) = (portraits.get(&secondary.0), portraits.get(&other)) else { continue };
        if other == secondary.0 || !told.insert(other) {
            continue;
        }
        let judgement = compare(one, two, &frequencies);
        let reasons = serde_json::to_string(&judgement.reasons).map_err(|_| StoreError::Unreadable("the reasons of a suggestion"))?;
        let (one, two) = pair(secondary.0, other);
        rows.push([
            new_id(now).into(),
            one.into(),
            two.into(),
            judgement.score.into(),
            reasons.into(),
            "".into(),
            SuggestionStatus::Dismissed.as_str().into(),
            dismissal.found_at.into(),
            dismissal.dismissed_at.into(),
            dismissal.dismissed_by.clone().into(),
        ]);
    }
    put(tx, workspace, rows).await
}

/// Suggestions with all that is known of them.
fn whole_rows() -> Rows {
    Rows::new(&[
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
    ])
}

/// Writes down what is known of pairs. A decision that stands already is not taken back.
async fn put(tx: &mut Tx, workspace: WorkspaceId, rows: Rows) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
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
