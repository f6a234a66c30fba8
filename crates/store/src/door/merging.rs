//! Saving merges: every row of the ones who are no more goes over to the survivor, set-based, whatever their number.
//!
//! Who is merged is written first as the person they last were, so that the database holds every key under one rule;
//! then the registry is walked. The documents of both are locked since the group was loaded, and whoever reads a key
//! meanwhile finds it moved and decides again: no event slips between.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use people_domain::{
    directory::Merge,
    id::{ProfileId, WorkspaceId},
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use super::save::Span;
use crate::{
    StoreError, Tx, duplicates, registry,
    rows::{Kind, Rows, ids},
    statement::sql,
};

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
            states.push((merge.secondary.id, before.map(Arc::new), Some(Arc::new(last))));
        }
        // A person who was merged does not write again what others brought.
        for i in 0..states.len() {
            let brought: Vec<Arc<Profile>> = merges
                .iter()
                .zip(&states)
                .filter(|(merge, _)| survivors_chain(merges, merge.secondary.id).contains(&states[i].0))
                .filter_map(|(_, (_, _, last))| last.clone())
                .collect();
            if !brought.is_empty() {
                let mut before = states[i].1.as_deref().cloned();
                let base = before.take().or_else(|| states[i].2.as_deref().map(blank));
                if let Some(mut base) = base {
                    brought.iter().for_each(|other| gain(&mut base, other));
                    states[i].1 = Some(Arc::new(base));
                }
            }
        }
        for (id, brought) in gained {
            if let Some(span) = spans.get(&id).filter(|span| span.after.is_some()) {
                let mut before = span.before.cloned().unwrap_or_else(|| blank(&brought));
                gain(&mut before, &brought);
                states.push((id, Some(Arc::new(before)), span.after.cloned().map(Arc::new)));
            }
        }
        Self { states }
    }

    pub(super) fn lay_over<'s>(&'s self, spans: &mut BTreeMap<ProfileId, Span<'s>>) {
        for (id, before, after) in &self.states {
            spans.insert(*id, Span { before: before.as_deref(), after: after.as_deref() });
        }
    }
}

/// Everyone this person was merged into, one after the other.
fn survivors_chain(merges: &[Merge], from: ProfileId) -> Vec<ProfileId> {
    let mut chain = Vec::new();
    let mut at = from;
    while let Some(merge) = merges.iter().find(|m| m.secondary.id == at) {
        at = merge.primary.id;
        chain.push(at);
    }
    chain
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

/// Moves every row, removes who is no more, and writes down what happened.
pub(super) async fn move_rows(
    tx: &mut Tx,
    workspace: WorkspaceId,
    merges: &[Merge],
    survivors: &BTreeMap<ProfileId, ProfileId>,
) -> Result<(), StoreError> {
    if merges.is_empty() {
        return Ok(());
    }
    let mut moves = Rows::new(&[("from_id", Kind::Uuid), ("to_id", Kind::Uuid)]);
    for (from, to) in survivors {
        moves.push([(*from).into(), (*to).into()]);
    }
    let gone = || ids(survivors.keys().map(|id| id.0));
    let counted = |rows: Vec<Counted>| rows.into_iter().map(|row| (row.profile_id, row.rows)).collect::<HashMap<Uuid, i64>>();
    let events: Vec<Counted> = tx
        .all(
            sql("SELECT e.profile_id, count(*) AS rows FROM {rows} AS r CROSS JOIN events AS e
                 WHERE e.workspace_id = $1 AND e.profile_id = r.id GROUP BY e.profile_id")
            .bind(workspace)
            .rows(gone()),
        )
        .await?;
    let sessions: Vec<Counted> = tx
        .all(
            sql("SELECT s.profile_id, count(*) AS rows FROM {rows} AS r CROSS JOIN sessions AS s
                 WHERE s.workspace_id = $1 AND s.profile_id = r.id GROUP BY s.profile_id")
            .bind(workspace)
            .rows(gone()),
        )
        .await?;
    let (events, sessions) = (counted(events), counted(sessions));
    duplicates::carry(tx, workspace, survivors).await?;
    for table in registry::MOVES {
        for statement in table.statements {
            tx.run(sql(statement).bind(workspace).rows(moves.clone())).await?;
        }
    }
    tx.run(sql("DELETE FROM profiles WHERE workspace_id = $1 AND id IN (SELECT id FROM {rows} AS r)").bind(workspace).rows(gone())).await?;
    tx.run(
        sql("UPDATE profile_redirects
             SET survivor_profile_id = (SELECT r.to_id FROM {rows} AS r WHERE r.from_id = profile_redirects.survivor_profile_id)
             WHERE workspace_id = $1 AND survivor_profile_id IN (SELECT from_id FROM {rows} AS r)")
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
        ("primary_before", Kind::Json),
        ("secondary_before", Kind::Json),
        ("moved", Kind::Json),
        ("merged_at", Kind::Time),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
        ("reason", Kind::Text),
    ]);
    for merge in merges {
        let secondary = &merge.secondary;
        let document =
            |profile: &Profile| serde_json::to_string(profile).map_err(|_| StoreError::Unreadable("a profile that cannot be written"));
        let of = |counts: &HashMap<Uuid, i64>| counts.get(&secondary.id.0).copied().unwrap_or(0);
        let moved = serde_json::json!({
            "events": of(&events),
            "sessions": of(&sessions),
            "segments": secondary.segments.len(),
            "labels": secondary.labels.len(),
            "identities": secondary.identities.len(),
            "consents": secondary.consents.len(),
        });
        rows.push([
            merge.id.into(),
            survivors.get(&secondary.id).copied().unwrap_or(merge.primary.id).into(),
            merge.primary.id.into(),
            secondary.id.into(),
            merge.automatic.into(),
            document(&merge.primary)?.into(),
            document(secondary)?.into(),
            moved.to_string().into(),
            merge.at.into(),
            merge.cause.actor.as_str().into(),
            merge.cause.request_id.as_str().into(),
            merge.cause.reason.clone().into(),
        ]);
    }
    tx.run(
        sql("INSERT INTO merges (
                 workspace_id, id, profile_id, primary_id, secondary_id, automatic, primary_before, secondary_before, moved,
                 merged_at, actor, request_id, reason
             )
             SELECT $1, r.id, r.profile_id, r.primary_id, r.secondary_id, r.automatic, r.primary_before, r.secondary_before, r.moved,
                    r.merged_at, r.actor, r.request_id, r.reason
             FROM {rows} AS r")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}
