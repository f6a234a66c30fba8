//! Saving what was decided: rows, search text, labels, consents, history and change feed, in one transaction.
//!
//! Each table gets one statement for the whole group. Rows that follow from a profile's state are compared before and
//! after the group, so only what differs is written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    Timestamp,
    directory::{Action, Directory, Effect, Happened, Labelling, Lived, Reverted},
    event::Occurrence,
    id::{ProfileId, RecordId, WorkspaceId},
    profile::Profile,
    property::Definition,
};
use uuid::Uuid;

use super::{
    drafts::{Drafts, newcomers, told},
    erasing,
    later::Later,
    living, merging, reverting, timeline,
};
use crate::{
    StoreError, Tx,
    erasures::Receipt,
    properties,
    read_model::{Turned, Written},
    registry,
    rows::{Kind, Rows, ids},
    statement::{Sql, sql},
};

/// The first state before the group and the last one after it.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) before: Option<&'a Arc<Profile>>,
    pub(super) after: Option<&'a Arc<Profile>>,
}

/// Of everybody a group is about.
pub(super) fn spans(effects: &[Effect]) -> BTreeMap<ProfileId, Span<'_>> {
    let mut spans: BTreeMap<ProfileId, Span<'_>> = BTreeMap::new();
    for effect in effects {
        let after = effect.after.as_ref();
        spans.entry(effect.profile_id).and_modify(|span| span.after = after).or_insert(Span { before: effect.before.as_ref(), after });
    }
    spans
}

/// What is left to say when the rows are written.
#[derive(Default)]
pub(super) struct Saved {
    /// Of the erased.
    pub(super) receipts: HashMap<RecordId, Receipt>,
    feed: Option<Feed>,
}

/// What the feed is told, and the read model.
struct Feed {
    count: i64,
    changes: Later,
    /// `None`: the read model cannot be told of people one by one.
    people: Option<Vec<Turned>>,
}

impl Saved {
    /// Tells the feed, last of all: its head is locked from here to the commit, so numbers follow the order of commits.
    /// Answers what the read model is told once that is done.
    pub(super) async fn tell(&mut self, tx: &mut Tx, workspace: WorkspaceId) -> Result<Option<Written>, StoreError> {
        let Some(Feed { count, changes, people }) = self.feed.take() else { return Ok(None) };
        let numbers = move_head(tx, workspace, count).await?;
        changes.run(tx).await?;
        Ok(numbers.zip(people).map(|((after, to), people)| Written { after, to, people }))
    }
}

/// What was decided about a group, with what may have been begun before its turn.
pub(super) struct ToSave {
    pub(super) directory: Directory,
    pub(super) happened: Happened,
    pub(super) lived: Lived,
    pub(super) drafts: Option<Drafts>,
    pub(super) now: Timestamp,
}

/// Writes every row but those of the feed. `beside`: while another group is being saved, which must never have to wait for this
/// one.
pub(super) async fn save(
    tx: &mut Tx,
    workspace: WorkspaceId,
    ToSave { mut directory, happened: Happened { occurrences, merges, reverted }, lived, drafts, now }: ToSave,
    beside: bool,
) -> Result<Saved, StoreError> {
    let gap = directory.workspace.session_gap_seconds;
    let labelling = directory.take_labelling();
    let (effects, inferred, definitions) = directory.into_parts();
    if effects.is_empty() {
        // An event changes whoever it is of, be it only their number of them.
        debug_assert!(occurrences.is_empty(), "events of nobody");
        claimed(tx, workspace, &labelling).await?;
        living::write_due(tx, workspace, &lived).await?;
        return Ok(Saved::default());
    }
    if !inferred.is_empty() {
        properties::insert(tx, workspace, &sorted(inferred)).await?;
    }
    let spans = spans(&effects);
    let survivors = merging::survivors(&merges);
    let staged = merging::Staged::of(&merges, &survivors, &spans);
    let long: BTreeSet<ProfileId> = alive(&spans).filter(|(_, after)| after.activity.is_long()).map(|(_, after)| after.id).collect();
    let mut spans = spans.clone();
    staged.lay_over(&mut spans);
    let returning = reverting::Staged::of(&reverted, &spans);
    returning.lay_over(&mut spans);
    // While people are merged or parted, what stood before is not what the rows say.
    let settled = merges.is_empty() && reverted.is_empty();
    let newcomers = newcomers(&spans, settled);
    let drafts = drafts.filter(|drafts| settled && drafts.are_about(&effects));
    let drafts = drafts.unwrap_or_else(|| Drafts::about(tx.engine(), workspace, &effects, definitions, &spans, settled, None));
    let primary_rows = if merges.is_empty() {
        HashMap::new()
    } else {
        merging::rows_of(tx, workspace, merges.iter().map(|merge| merge.primary.id)).await?
    };
    // Keys are given back before they are taken, within the group too.
    identities_removed(tx, workspace, &spans).await?;
    for profiles in drafts.profiles {
        profiles.run(tx).await?;
    }
    drafts.identities.run(tx).await?;
    labels(tx, workspace, &spans, &effects, &labelling, &newcomers, beside).await?;
    for consents in drafts.consents {
        consents.run(tx).await?;
    }
    drafts.ledger.run(tx).await?;
    // After a merge has moved its rows, or else while the larger statements are still being written.
    if settled {
        living::write_segments(tx, workspace, alive(&spans), settled, now).await?;
    }
    // Of somebody erased at the end of the group nothing is kept.
    let kept = |occurrence: &Occurrence| spans.get(&occurrence.profile_id).is_none_or(|span| span.after.is_some());
    let mut occurrences = occurrences;
    let mut arranged = None;
    if settled {
        occurrences.retain(kept);
        // Some who came back from a merge of an earlier version were seen later than they know.
        let last_seen = |span: &Span<'_>| span.before.and_then(|before| before.last_seen_at.max(before.activity.last()));
        let seen = spans.iter().map(|(id, span)| (*id, last_seen(span))).collect();
        let taken = std::mem::take(&mut occurrences);
        let people = timeline::People { seen: &seen, long: &long };
        arranged = Some(timeline::arrange(tx, workspace, taken, Vec::new(), people, gap, now).await?);
    }
    // While documents say how many events there were.
    timeline::lengthen(tx, workspace, &lengthened(&long, &survivors, &reverted)).await?;
    for documents in drafts.documents {
        documents.run(tx).await?;
    }
    channels(tx, workspace, &spans).await?;
    drafts.history.run(tx).await?;
    let moved = timeline::sessions_that_move(tx, workspace, &survivors).await?;
    merging::move_rows(tx, workspace, &merges, &survivors, &primary_rows, &spans).await?;
    // Only now do the survivors have what came with the merged and was taken off them within the group, as a rule does.
    let grown: BTreeSet<ProfileId> = survivors.values().copied().collect();
    labels_gone(tx, workspace, alive(&spans).filter(|(_, after)| grown.contains(&after.id))).await?;
    reverting::move_rows(tx, workspace, &reverted, &spans, gap).await?;
    if !settled {
        living::write_segments(tx, workspace, alive(&spans), settled, now).await?;
    }
    reverting::as_they_were(tx, workspace, &reverted, &spans, now).await?;
    living::write_due(tx, workspace, &lived).await?;
    let arranged = match arranged {
        Some(arranged) => arranged,
        None => {
            for occurrence in &mut occurrences {
                occurrence.profile_id = survivors.get(&occurrence.profile_id).copied().unwrap_or(occurrence.profile_id);
            }
            occurrences.retain(kept);
            let people = timeline::People { seen: &timeline::Seen::new(), long: &long };
            timeline::arrange(tx, workspace, occurrences, moved, people, gap, now).await?
        }
    };
    let mixed = arranged.write(tx).await?;
    merging::remember_sessions(tx, workspace, &mixed).await?;
    let receipts = erase(tx, workspace, &spans, &effects).await?;
    let all_live = spans.values().all(|span| span.after.is_some());
    let turned = || spans.values().filter_map(|span| Some((span.before.cloned(), span.after.cloned()?))).collect();
    let people = (settled && all_live).then(turned);
    let count = i64::try_from(told(&effects).count()).unwrap_or(i64::MAX);
    Ok(Saved { receipts, feed: Some(Feed { count, changes: drafts.changes, people }) })
}

/// Whose rows have to be rows of a long timeline: people who have so many events, those who are merged into one of them, and
/// those whom one of them is parted from.
fn lengthened(long: &BTreeSet<ProfileId>, survivors: &BTreeMap<ProfileId, ProfileId>, reverted: &[Reverted]) -> BTreeSet<ProfileId> {
    let moving = survivors.iter().filter(|(_, to)| long.contains(to)).map(|(from, _)| *from);
    let returning = reverted.iter().filter(|back| long.contains(&back.secondary.id)).map(|back| back.survivor.id);
    long.iter().copied().chain(moving).chain(returning).collect()
}

fn sorted(mut definitions: Vec<Definition>) -> Vec<Definition> {
    // Two groups that infer the same attributes lock them in the same order.
    definitions.sort_by(|a, b| a.key.cmp(&b.key));
    definitions
}

/// People who are there after the group.
fn alive<'s>(spans: &'s BTreeMap<ProfileId, Span<'s>>) -> impl Iterator<Item = (Option<&'s Profile>, &'s Profile)> {
    spans.values().filter_map(|span| span.after.map(|after| (span.before.map(|before| &**before), &**after)))
}

async fn identities_removed(tx: &mut Tx, workspace: WorkspaceId, spans: &BTreeMap<ProfileId, Span<'_>>) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("value", Kind::Text)]);
    for (before, after) in alive(spans) {
        for identity in before.iter().flat_map(|b| &b.identities).filter(|i| !after.holds(&i.key())) {
            rows.push([identity.kind.as_str().into(), identity.value.as_str().into()]);
        }
    }
    // An erased person's keys may be taken by another within the same group.
    for span in spans.values().filter(|span| span.after.is_none()) {
        for identity in span.before.iter().flat_map(|b| &b.identities) {
            rows.push([identity.kind.as_str().into(), identity.value.as_str().into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("DELETE FROM profile_identities WHERE workspace_id = $1 AND (kind, value) IN (SELECT kind, value FROM {rows} AS r)")
            .bind(workspace)
            .rows(rows),
    )
    .await
    .map(|_| ())
}

async fn channels(tx: &mut Tx, workspace: WorkspaceId, spans: &BTreeMap<ProfileId, Span<'_>>) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("channel", Kind::Text)]);
    for (before, after) in alive(spans) {
        for channel in after.channels.iter().filter(|channel| before.is_none_or(|b| !b.channels.contains(channel))) {
            rows.push([after.id.into(), channel.as_str().into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("INSERT {or_fail} INTO profile_channels (workspace_id, profile_id, channel)
             SELECT $1, r.profile_id, r.channel FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
        .bind(workspace)
        .each(rows),
    )
    .await
    .map(|_| ())
}

async fn labels(
    tx: &mut Tx,
    workspace: WorkspaceId,
    spans: &BTreeMap<ProfileId, Span<'_>>,
    effects: &[Effect],
    labelling: &Labelling,
    newcomers: &BTreeSet<ProfileId>,
    beside: bool,
) -> Result<(), StoreError> {
    renamed(tx, workspace, spans, labelling).await?;
    let mut put_by: BTreeMap<(ProfileId, &str), &Effect> = BTreeMap::new();
    for effect in effects {
        let before: &[String] = effect.before.as_ref().map_or(&[], |p| &p.labels);
        for label in effect.after.iter().flat_map(|p| &p.labels).filter(|label| !before.contains(label)) {
            put_by.insert((effect.profile_id, label), effect);
        }
    }
    const COLUMNS: &[(&str, Kind)] =
        &[("profile_id", Kind::Uuid), ("label", Kind::Text), ("rule_id", Kind::Uuid), ("actor", Kind::Text), ("created_at", Kind::Time)];
    let (mut new, mut added) = (Rows::new(COLUMNS), Rows::new(COLUMNS));
    let mut names: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (before, after) in alive(spans) {
        let old: &[String] = before.map_or(&[], |b| &b.labels);
        for label in after.labels.iter().filter(|label| !old.contains(label)) {
            if let Some(effect) = put_by.get(&(after.id, label.as_str())) {
                let rule = effect.cause.actor.strip_prefix("rule:").and_then(|id| Uuid::try_parse(id).ok());
                let rows = if newcomers.contains(&after.id) { &mut new } else { &mut added };
                rows.push([
                    after.id.into(),
                    label.as_str().into(),
                    rule.into(),
                    effect.cause.actor.as_str().into(),
                    effect.cause.at.into(),
                ]);
                names.entry(label).or_insert(effect.cause.at);
            }
        }
    }
    labels_gone(tx, workspace, alive(spans)).await?;
    if !names.is_empty() {
        catalogue(tx, workspace, names, beside).await?;
    }
    const INSERT: &str = "INSERT {or_fail} INTO profile_labels (workspace_id, profile_id, label, source, rule_id, actor, created_at)
             SELECT $1, r.profile_id, r.label, CASE WHEN r.rule_id IS NULL THEN 'manual' ELSE 'rule' END, r.rule_id, r.actor, r.created_at
             FROM {rows} AS r WHERE true";
    if !new.is_empty() {
        tx.run(sql(INSERT).bind(workspace).each(new)).await?;
    }
    if !added.is_empty() {
        tx.run(Sql::composed(format!("{INSERT} ON CONFLICT DO NOTHING"), Vec::new()).bind(workspace).each(added)).await?;
    }
    claimed(tx, workspace, labelling).await
}

/// Sees to it that the labels are in the catalogue.
async fn catalogue(tx: &mut Tx, workspace: WorkspaceId, mut names: BTreeMap<&str, Timestamp>, beside: bool) -> Result<(), StoreError> {
    let mut asked = Rows::new(&[("name", Kind::Text)]);
    names.keys().for_each(|name| asked.push([(*name).into()]));
    let known: Vec<(String,)> =
        tx.all(sql("SELECT name FROM labels WHERE workspace_id = $1 AND name {among}").bind(workspace).rows(asked)).await?;
    names.retain(|name, _| !known.iter().any(|(known,)| known == name));
    if names.is_empty() {
        return Ok(());
    }
    if beside {
        // The other group may come to the same label, and would wait for this one.
        return Err(StoreError::Raced);
    }
    let mut rows = Rows::new(&[("name", Kind::Text), ("created_at", Kind::Time)]);
    for (name, at) in names {
        rows.push([name.into(), at.into()]);
    }
    tx.run(
        sql("INSERT INTO labels (workspace_id, name, created_at) SELECT $1, r.name, r.created_at FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
            .bind(workspace)
            .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Takes off what somebody no longer carries.
async fn labels_gone<'p>(
    tx: &mut Tx,
    workspace: WorkspaceId,
    people: impl Iterator<Item = (Option<&'p Profile>, &'p Profile)>,
) -> Result<(), StoreError> {
    let mut gone = Rows::new(&[("profile_id", Kind::Uuid), ("label", Kind::Text)]);
    for (before, after) in people {
        for label in before.iter().flat_map(|before| &before.labels).filter(|label| !after.labels.contains(label)) {
            gone.push([after.id.into(), label.as_str().into()]);
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("DELETE FROM profile_labels WHERE workspace_id = $1 AND (profile_id, label) IN (SELECT profile_id, label FROM {rows} AS r)")
            .bind(workspace)
            .rows(gone),
    )
    .await
    .map(|_| ())
}

/// A label that became another keeps who put it there and when. Where both were carried the one by hand is kept, which
/// no rule takes off. The rows under the former names go with all that are gone.
async fn renamed(
    tx: &mut Tx,
    workspace: WorkspaceId,
    spans: &BTreeMap<ProfileId, Span<'_>>,
    labelling: &Labelling,
) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("old_name", Kind::Text), ("new_name", Kind::Text)]);
    for renamed in &labelling.renamed {
        // It may have been taken off again within the group.
        if spans.get(&renamed.profile_id).and_then(|span| span.after).is_some_and(|after| after.labels.contains(&renamed.to)) {
            rows.push([renamed.profile_id.into(), renamed.from.as_str().into(), renamed.to.as_str().into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("INSERT INTO profile_labels (workspace_id, profile_id, label, source, rule_id, actor, created_at)
             SELECT o.workspace_id, o.profile_id, r.new_name, o.source, o.rule_id, o.actor, o.created_at
             FROM {rows} AS r CROSS JOIN profile_labels AS o
             WHERE o.workspace_id = $1 AND o.profile_id = r.profile_id AND o.label = r.old_name
             ON CONFLICT (workspace_id, profile_id, label) DO UPDATE SET
                 source = EXCLUDED.source, rule_id = EXCLUDED.rule_id, actor = EXCLUDED.actor, created_at = EXCLUDED.created_at
             WHERE profile_labels.source = 'rule' AND EXCLUDED.source = 'manual'")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Labels that a rule put on and somebody has named by hand since: they are theirs now.
async fn claimed(tx: &mut Tx, workspace: WorkspaceId, labelling: &Labelling) -> Result<(), StoreError> {
    if labelling.claims.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("label", Kind::Text), ("actor", Kind::Text), ("created_at", Kind::Time)]);
    for ((profile_id, label), cause) in &labelling.claims {
        rows.push([(*profile_id).into(), label.as_str().into(), cause.actor.as_str().into(), cause.at.into()]);
    }
    tx.run(
        sql("INSERT INTO profile_labels (workspace_id, profile_id, label, source, actor, created_at)
             SELECT $1, r.profile_id, r.label, 'manual', r.actor, r.created_at
             FROM {rows} AS r CROSS JOIN profile_labels AS l
             WHERE l.workspace_id = $1 AND l.profile_id = r.profile_id AND l.label = r.label AND l.source = 'rule'
             ON CONFLICT (workspace_id, profile_id, label) DO UPDATE SET
                 source = EXCLUDED.source, rule_id = NULL, actor = EXCLUDED.actor, created_at = EXCLUDED.created_at")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Removes the erased from every table of the registry and writes their receipts.
async fn erase(
    tx: &mut Tx,
    workspace: WorkspaceId,
    spans: &BTreeMap<ProfileId, Span<'_>>,
    effects: &[Effect],
) -> Result<HashMap<RecordId, Receipt>, StoreError> {
    let gone: BTreeSet<Uuid> = spans.iter().filter(|(_, s)| s.after.is_none()).map(|(id, _)| id.0).collect();
    if gone.is_empty() {
        return Ok(HashMap::new());
    }
    let mut counts: HashMap<Uuid, BTreeMap<String, i64>> = HashMap::new();
    // Keys went first (identities_removed), so they are counted from the last state.
    for effect in effects.iter().filter(|e| e.action == Action::Erased) {
        let keys = effect.before.as_ref().map_or(0, |b| b.identities.len());
        counts.entry(effect.profile_id.0).or_default().insert("identities".to_owned(), i64::try_from(keys).unwrap_or(i64::MAX));
    }
    for redaction in registry::REDACTIONS {
        tx.run(sql(redaction).bind(workspace).rows(ids(gone.iter().copied()))).await?;
    }
    erasing::traces(tx, workspace, effects).await?;
    for table in registry::TABLES {
        let whose = ids(gone.iter().copied());
        let Some(kind) = table.counted_as.filter(|kind| *kind != "identities") else {
            tx.run(sql(table.erase).bind(workspace).rows(whose)).await?;
            continue;
        };
        let removed: Vec<(Uuid,)> = tx.all(sql(table.erase_counting).bind(workspace).rows(whose)).await?;
        for id in &gone {
            counts.entry(*id).or_default().entry(kind.to_owned()).or_insert(0);
        }
        for (id,) in removed {
            *counts.entry(id).or_default().entry(kind.to_owned()).or_insert(0) += 1;
        }
    }
    tx.run(sql("DELETE FROM profiles WHERE workspace_id = $1 AND id IN (SELECT id FROM {rows} AS r)").bind(workspace).rows(ids(gone)))
        .await?;
    receipts(tx, workspace, effects, counts).await
}

async fn receipts(
    tx: &mut Tx,
    workspace: WorkspaceId,
    effects: &[Effect],
    mut counts: HashMap<Uuid, BTreeMap<String, i64>>,
) -> Result<HashMap<RecordId, Receipt>, StoreError> {
    let mut out = HashMap::new();
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("profile_id", Kind::Uuid),
        ("erased_at", Kind::Time),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
        ("reason", Kind::Text),
        ("counts", Kind::Json),
    ]);
    for effect in effects.iter().filter(|e| e.action == Action::Erased) {
        let counts = counts.remove(&effect.profile_id.0).unwrap_or_default();
        rows.push([
            effect.record_id.into(),
            effect.profile_id.into(),
            effect.cause.at.into(),
            effect.cause.actor.as_str().into(),
            effect.cause.request_id.as_str().into(),
            effect.cause.reason.clone().into(),
            serde_json::to_string(&counts).unwrap_or_else(|_| "{}".to_owned()).into(),
        ]);
        out.insert(
            effect.record_id,
            Receipt { id: effect.record_id, profile_id: effect.profile_id, erased_at: effect.cause.at, counts, scrubbed_at: None },
        );
    }
    tx.run(
        sql("INSERT INTO erasures (workspace_id, id, profile_id, erased_at, actor, request_id, reason, counts)
             SELECT $1, r.id, r.profile_id, r.erased_at, r.actor, r.request_id, r.reason, r.counts FROM {rows} AS r")
        .bind(workspace)
        .rows(rows),
    )
    .await?;
    Ok(out)
}

/// Moves the head of the feed by what the group tells. Answers where it stood and where it stands.
async fn move_head(tx: &mut Tx, workspace: WorkspaceId, count: i64) -> Result<Option<(i64, i64)>, StoreError> {
    if count == 0 {
        return Ok(None);
    }
    let moved: Option<(i64,)> = tx
        .optional(sql("UPDATE change_heads SET seq = seq + $2 WHERE workspace_id = $1 RETURNING seq").bind(workspace).bind(count))
        .await?;
    let (to,) = moved.ok_or(StoreError::Unreadable("the head of a change feed"))?;
    Ok(Some((to - count, to)))
}
