//! Saving merges: every row of the ones who are no more goes over to the survivor, set-based, whatever their number.
//!
//! Who is merged is written first as the person they last were, so that the database holds every key under one rule;
//! then the registry is walked. The documents of both are locked since the group was loaded, and whoever reads a key
//! meanwhile finds it moved and decides again: no event slips between.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    directory::Merge,
    id::{ProfileId, RecordId, WorkspaceId},
    merge::Judged,
    profile::Profile,
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{save::Span, timeline::Mixture};
use crate::{
    StoreError, Tx, duplicates, registry,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// From so many events on, moving them may take longer than a statement usually may.
const MANY: i64 = 100_000;

/// Who answers at the end of the group for everyone merged in it.
pub(super) fn survivors(merges: &[Merge]) -> BTreeMap<ProfileId, ProfileId> {
    let into: HashMap<ProfileId, ProfileId> = merges.iter().map(|m| (m.secondary.id, m.primary.id)).collect();
    into.keys()
        .map(|from| {
            let mut at = *from;
            while let Some(next) = into.get(&at) {
                at = *next;
            }
            (*from, at)
        })
        .collect()
}

/// A person before and after.
type State = (ProfileId, Option<Arc<Profile>>, Option<Arc<Profile>>);

/// States that make the ordinary saving write each row once: the merged as they last were, but for keys the survivor
/// has given up since; and the survivors as if they had had everything that moves to them.
#[derive(Debug, Default)]
pub(super) struct Staged {
    states: Vec<State>,
}

impl Staged {
    pub(super) fn of(merges: &[Merge], survivors: &BTreeMap<ProfileId, ProfileId>, spans: &BTreeMap<ProfileId, Span<'_>>) -> Self {
        let mut states = Vec::new();
        let mut gained: BTreeMap<ProfileId, Profile> = BTreeMap::new();
        for merge in merges {
            let survivor = survivors.get(&merge.secondary.id).copied().unwrap_or(merge.primary.id);
            let kept = spans.get(&survivor).and_then(|span| span.after);
            let mut last = (*merge.secondary).clone();
            last.identities.retain(|identity| kept.is_some_and(|kept| kept.holds(&identity.key())));
            let before = spans.get(&merge.secondary.id).and_then(|span| span.before.cloned());
            // Whoever was merged before the survivor was: their rows are theirs until they move.
            if let Some(earlier) = gained.remove(&merge.secondary.id) {
                gain(gained.entry(merge.primary.id).or_insert_with(|| blank(&merge.primary)), &earlier);
            }
            gain(gained.entry(merge.primary.id).or_insert_with(|| blank(&merge.primary)), &last);
            states.push((merge.secondary.id, before, Some(Arc::new(last))));
        }
        // A person who was merged does not write again what others brought: everybody who came to them, directly or by others.
        let into: HashMap<ProfileId, ProfileId> = merges.iter().map(|merge| (merge.secondary.id, merge.primary.id)).collect();
        let places: HashMap<ProfileId, usize> = states.iter().enumerate().map(|(at, (id, _, _))| (*id, at)).collect();
        let mut brought: Vec<Vec<Arc<Profile>>> = vec![Vec::new(); states.len()];
        for (from, _, last) in &states {
            let mut to = into.get(from);
            while let Some(id) = to {
                if let Some(place) = places.get(id) {
                    brought[*place].extend(last.clone());
                }
                to = into.get(id);
            }
        }
        for ((_, before, last), brought) in states.iter_mut().zip(brought) {
            if let (false, Some(last)) = (brought.is_empty(), last.as_deref()) {
                let mut base = before.as_deref().cloned().unwrap_or_else(|| blank(last));
                brought.iter().for_each(|other| gain(&mut base, other));
                *before = Some(Arc::new(base));
            }
        }
        for (id, brought) in gained {
            if let Some(span) = spans.get(&id).filter(|span| span.after.is_some()) {
                let mut before = span.before.map_or_else(|| blank(&brought), |before| (**before).clone());
                gain(&mut before, &brought);
                states.push((id, Some(Arc::new(before)), span.after.cloned()));
            }
        }
        Self { states }
    }

    pub(super) fn lay_over<'s>(&'s self, spans: &mut BTreeMap<ProfileId, Span<'s>>) {
        for (id, before, after) in &self.states {
            spans.insert(*id, Span { before: before.as_ref(), after: after.as_ref() });
        }
    }
}

/// Nobody's rows yet.
fn blank(profile: &Profile) -> Profile {
    Profile::empty(profile.id, profile.created_at)
}

/// Takes over the rows that a merge moves; what is rewritten from the survivor's state is not among them.
fn gain(profile: &mut Profile, from: &Profile) {
    profile.identities.extend(from.identities.iter().cloned());
    profile.labels.extend(from.labels.iter().cloned());
    profile.channels.extend(from.channels.iter().cloned());
    profile.segments.extend(from.segments.iter().cloned());
}

#[derive(FromRow)]
struct Counted {
    profile_id: Uuid,
    rows: i64,
}

/// Events, sessions and consent decisions of those who are no more.
async fn counts(
    tx: &mut Tx,
    workspace: WorkspaceId,
    survivors: &BTreeMap<ProfileId, ProfileId>,
) -> Result<[HashMap<Uuid, i64>; 3], StoreError> {
    const TABLES: [&str; 3] = [
        "SELECT t.profile_id, count(*) AS rows FROM {rows} AS r CROSS JOIN events AS t
         WHERE t.workspace_id = $1 AND t.profile_id = r.id GROUP BY t.profile_id",
        "SELECT t.profile_id, count(*) AS rows FROM {rows} AS r CROSS JOIN sessions AS t
         WHERE t.workspace_id = $1 AND t.profile_id = r.id GROUP BY t.profile_id",
        "SELECT t.profile_id, count(*) AS rows FROM {rows} AS r CROSS JOIN consent_ledger AS t
         WHERE t.workspace_id = $1 AND t.profile_id = r.id GROUP BY t.profile_id",
    ];
    let mut out = [HashMap::new(), HashMap::new(), HashMap::new()];
    for (counts, text) in out.iter_mut().zip(TABLES) {
        let found: Vec<Counted> = tx.all(sql(text).bind(workspace).rows(ids(survivors.keys().map(|id| id.0)))).await?;
        counts.extend(found.into_iter().map(|row| (row.profile_id, row.rows)));
    }
    Ok(out)
}

/// Rows of a person that a union cannot give back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RowsOf {
    pub(super) labels: Vec<LabelRow>,
    pub(super) segments: Vec<SegmentRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LabelRow {
    pub(super) label: String,
    pub(super) source: String,
    pub(super) rule_id: Option<Uuid>,
    pub(super) actor: String,
    pub(super) created_at: people_domain::Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SegmentRow {
    pub(super) segment_id: Uuid,
    pub(super) entered_at: people_domain::Timestamp,
}

#[derive(FromRow)]
struct StoredLabel {
    profile_id: Uuid,
    label: String,
    source: String,
    rule_id: Option<Uuid>,
    actor: String,
    created_at: At,
}

#[derive(FromRow)]
struct StoredSegment {
    profile_id: Uuid,
    segment_id: Uuid,
    entered_at: At,
}

/// Labels and segments of people, with who put them on and when.
pub(super) async fn rows_of(
    tx: &mut Tx,
    workspace: WorkspaceId,
    people: impl Iterator<Item = ProfileId> + Clone,
) -> Result<HashMap<Uuid, RowsOf>, StoreError> {
    let whose = || ids(people.clone().map(|id| id.0));
    let labels: Vec<StoredLabel> = tx
        .all(
            sql("SELECT profile_id, label, source, rule_id, actor, created_at FROM profile_labels
                 WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .rows(whose()),
        )
        .await?;
    let segments: Vec<StoredSegment> = tx
        .all(
            sql("SELECT profile_id, segment_id, entered_at FROM profile_segments
                 WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .rows(whose()),
        )
        .await?;
    let mut out: HashMap<Uuid, RowsOf> = HashMap::new();
    for row in labels {
        out.entry(row.profile_id).or_default().labels.push(LabelRow {
            label: row.label,
            source: row.source,
            rule_id: row.rule_id,
            actor: row.actor,
            created_at: row.created_at.0,
        });
    }
    for row in segments {
        out.entry(row.profile_id).or_default().segments.push(SegmentRow { segment_id: row.segment_id, entered_at: row.entered_at.0 });
    }
    Ok(out)
}

#[derive(FromRow)]
struct Together {
    id: Uuid,
    profile_id: Uuid,
    primary_id: Uuid,
    secondary_id: Uuid,
}

/// Writes down sessions that go on with what came from somebody else, or are joined with theirs, as they were, for every merge
/// that brought the two together: taken back, it gives each what was theirs. Of a session that a merge remembers already, how it
/// was then counts. What they were told is not written down: events know it.
pub(super) async fn remember_sessions(tx: &mut Tx, workspace: WorkspaceId, mixed: &[Mixture]) -> Result<(), StoreError> {
    if mixed.is_empty() {
        return Ok(());
    }
    let holders: BTreeSet<Uuid> = mixed.iter().map(|mixture| mixture.session.profile_id.0).collect();
    let merges: Vec<Together> = tx
        .all(
            sql("SELECT m.id, m.profile_id, m.primary_id, m.secondary_id
                 FROM {rows} AS r CROSS JOIN merges AS m WHERE m.workspace_id = $1 AND m.profile_id = r.id AND m.reverted_at IS NULL")
            .bind(workspace)
            .rows(ids(holders)),
        )
        .await?;
    let next: HashMap<(Uuid, Uuid), &Together> = merges.iter().map(|merge| ((merge.profile_id, merge.secondary_id), merge)).collect();
    // Everybody whose it has been, from the one it came from to the one who has it, each with the merge that brought it on.
    let way = |holder: Uuid, origin: Uuid| {
        let mut way = vec![(origin, None)];
        while let Some((at, _)) = way.last()
            && let Some(merge) = next.get(&(holder, *at))
            && way.iter().all(|(id, _)| *id != merge.primary_id)
        {
            way.push((merge.primary_id, Some(merge.id)));
        }
        way
    };
    let mut kept = BTreeMap::new();
    for Mixture { session, into, with } in mixed {
        let holder = session.profile_id.0;
        let (one, other) = (way(holder, session.origin_profile_id.0), way(holder, with.0));
        // They came together with the first who has had both. Merges of before are taken back after the one that this was by.
        let met = one.iter().find_map(|(id, by)| Some((by, &other.iter().find(|(theirs, _)| theirs == id)?.1)));
        for merge in met.into_iter().flat_map(|(by, with)| [*by, *with]).flatten() {
            kept.entry((merge, session.id)).or_insert((RecordId(merge), session, *into));
        }
    }
    let mut rows = Rows::new(&[
        ("profile_id", Kind::Uuid),
        ("merge_id", Kind::Uuid),
        ("id", Kind::Uuid),
        ("into_id", Kind::Uuid),
        ("owner_profile_id", Kind::Uuid),
        ("origin_profile_id", Kind::Uuid),
        ("channel", Kind::Text),
        ("sender_id", Kind::Text),
        ("started_at", Kind::Time),
        ("ended_at", Kind::Time),
        ("event_count", Kind::Int),
    ]);
    for (merge, session, into) in kept.into_values() {
        rows.push([
            // Who has them all, at the end of the group.
            session.profile_id.into(),
            merge.into(),
            session.id.into(),
            into.into(),
            session.origin_profile_id.into(),
            session.origin_profile_id.into(),
            session.channel.as_deref().unwrap_or_default().into(),
            session.sender_id.clone().into(),
            session.started_at.into(),
            session.ended_at.into(),
            session.event_count.into(),
        ]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("INSERT INTO merge_sessions (
                 workspace_id, profile_id, merge_id, id, into_id, owner_profile_id, origin_profile_id, channel, sender_id, started_at,
                 ended_at, event_count, properties
             )
             SELECT $1, r.profile_id, r.merge_id, r.id, r.into_id, r.owner_profile_id, r.origin_profile_id, r.channel, r.sender_id,
                    r.started_at, r.ended_at, r.event_count, {empty_object}
             FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Moves every row, removes who is no more, and writes down what happened. `primary_rows`: of those who stay, as they stood
/// before the group; `spans`: what it made of them.
pub(super) async fn move_rows(
    tx: &mut Tx,
    workspace: WorkspaceId,
    merges: &[Merge],
    survivors: &BTreeMap<ProfileId, ProfileId>,
    primary_rows: &HashMap<Uuid, RowsOf>,
    spans: &BTreeMap<ProfileId, Span<'_>>,
) -> Result<(), StoreError> {
    if merges.is_empty() {
        return Ok(());
    }
    let mut moves = Rows::new(&[("from_id", Kind::Uuid), ("to_id", Kind::Uuid)]);
    for (from, to) in survivors {
        moves.push([(*from).into(), (*to).into()]);
    }
    let gone = || ids(survivors.keys().map(|id| id.0));
    let mut dismissals = duplicates::carry(tx, workspace, survivors).await?;
    let [mut events, mut sessions, mut consents] = counts(tx, workspace, survivors).await?;
    let mut secondary_rows = rows_of(tx, workspace, survivors.keys().copied()).await?;
    if events.values().sum::<i64>() > MANY {
        tx.take_time().await?;
    }
    for table in registry::MOVES {
        for statement in table.statements {
            tx.run(sql(statement).bind(workspace).rows(moves.clone())).await?;
        }
    }
    tx.run(sql("DELETE FROM profiles WHERE workspace_id = $1 AND id IN (SELECT id FROM {rows} AS r)").bind(workspace).rows(gone())).await?;
    tx.run(
        sql("UPDATE profile_redirects SET survivor_profile_id = r.to_id
             FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}profile_redirects.workspace_id = $1 AND profile_redirects.workspace_id = r.workspace_id
               AND profile_redirects.survivor_profile_id = r.from_id")
        .bind(workspace)
        .rows(moves.clone()),
    )
    .await?;
    tx.run(
        sql("INSERT INTO profile_redirects (workspace_id, profile_id, survivor_profile_id)
             SELECT $1, r.from_id, r.to_id FROM {rows} AS r")
        .bind(workspace)
        .rows(moves),
    )
    .await?;
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("profile_id", Kind::Uuid),
        ("primary_id", Kind::Uuid),
        ("secondary_id", Kind::Uuid),
        ("automatic", Kind::Bool),
        ("keep", Kind::Json),
        ("primary_rows", Kind::Json),
        ("secondary_rows", Kind::Json),
        ("judged", Kind::Json),
        ("dismissals", Kind::Json),
        ("primary_before", Kind::Json),
        ("secondary_before", Kind::Json),
        ("primary_heard_at", Kind::Time),
        ("secondary_heard_at", Kind::Time),
        ("moved", Kind::Json),
        ("merged_at", Kind::Time),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
        ("reason", Kind::Text),
    ]);
    // What others brought in the same group is none of this merge's.
    let mut united: BTreeMap<ProfileId, Vec<&Profile>> = BTreeMap::new();
    for merge in merges {
        let survivor = survivors.get(&merge.secondary.id).copied().unwrap_or(merge.primary.id);
        united.entry(survivor).or_default().extend([&*merge.primary, &*merge.secondary]);
    }
    let judged_of = |(survivor, united): (ProfileId, Vec<&Profile>)| {
        let after = spans.get(&survivor).and_then(|span| span.after)?;
        let unwritable = |_| StoreError::Unreadable("a merge that cannot be written");
        Some(serde_json::to_string(&Judged::of(united.into_iter(), after)).map(|judged| (survivor, judged)).map_err(unwritable))
    };
    let judged: BTreeMap<ProfileId, String> = united.into_iter().filter_map(judged_of).collect::<Result<_, _>>()?;
    for merge in merges {
        let secondary = &merge.secondary;
        let document =
            |profile: &Profile| serde_json::to_string(profile).map_err(|_| StoreError::Unreadable("a profile that cannot be written"));
        let unwritable = |_| StoreError::Unreadable("a merge that cannot be written");
        // What an earlier merge of the group brought moves on with them.
        let of = |counts: &mut HashMap<Uuid, i64>| {
            let count = counts.remove(&secondary.id.0).unwrap_or(0);
            *counts.entry(merge.primary.id.0).or_default() += count;
            count
        };
        let moved = serde_json::json!({
            "events": of(&mut events),
            "sessions": of(&mut sessions),
            "segments": secondary.segments.len(),
            "labels": secondary.labels.len(),
            "identities": secondary.identities.len(),
            "consents": of(&mut consents),
        });
        let survivor = survivors.get(&secondary.id).copied().unwrap_or(merge.primary.id);
        let primary_rows = primary_rows.get(&merge.primary.id.0).cloned().unwrap_or_default();
        let secondary_rows = secondary_rows.remove(&secondary.id.0).unwrap_or_default();
        let dismissals = dismissals.remove(&secondary.id).unwrap_or_default();
        rows.push([
            merge.id.into(),
            survivor.into(),
            merge.primary.id.into(),
            secondary.id.into(),
            merge.automatic.into(),
            serde_json::to_string(&merge.keep).map_err(unwritable)?.into(),
            serde_json::to_string(&primary_rows).map_err(unwritable)?.into(),
            serde_json::to_string(&secondary_rows).map_err(unwritable)?.into(),
            judged.get(&survivor).cloned().into(),
            serde_json::to_string(&dismissals).map_err(unwritable)?.into(),
            document(&merge.primary)?.into(),
            document(secondary)?.into(),
            merge.primary.heard().map(|(at, _)| at).into(),
            secondary.heard().map(|(at, _)| at).into(),
            moved.to_string().into(),
            merge.at.into(),
            merge.cause.actor.as_str().into(),
            merge.cause.request_id.as_str().into(),
            merge.cause.reason.clone().into(),
        ]);
    }
    tx.run(
        sql("INSERT INTO merges (
                 workspace_id, id, profile_id, primary_id, secondary_id, automatic, keep, primary_rows, secondary_rows, judged, dismissals,
                 primary_before, secondary_before, primary_heard_at, secondary_heard_at, moved, merged_at, actor, request_id, reason
             )
             SELECT $1, r.id, r.profile_id, r.primary_id, r.secondary_id, r.automatic, r.keep, r.primary_rows, r.secondary_rows, r.judged,
                    r.dismissals, r.primary_before, r.secondary_before, r.primary_heard_at, r.secondary_heard_at, r.moved, r.merged_at, r.actor, r.request_id, r.reason
             FROM {rows} AS r")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}
