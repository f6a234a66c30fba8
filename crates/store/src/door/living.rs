//! Segments and label rules of the people a group has changed: what judging them needs to be told of their events.
//!
//! Most of it stands beside the document already. A test that looks into events (a window of time, their properties) gets
//! one statement for everyone of the group, and only for those whom the tallies leave open; what the group itself brings
//! is added here, since it is not in the table yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp,
    activity::Told,
    directory::{Directory, Lived, Merge, Touched},
    event::{Event, Occurrence},
    filter::{EventTally, EventTest, Events},
    id::{ProfileId, RecordId, WorkspaceId},
    living::Living,
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    StoreError, Tx,
    filter_sql::Composer,
    ids::SystemIds,
    rows::{Kind, Rows, ids},
    statement::{Sql, sql},
    time::At,
};

/// What the table tells of one test and one person.
#[derive(Clone, Debug)]
enum Base {
    Counted { count: i64, first: Timestamp, last: Timestamp },
    Whole(Vec<Event>),
}

/// Events of one person, as a definition asks of them.
#[derive(Debug)]
struct Asked<'a> {
    profile: &'a Profile,
    /// By the place of a test in the list of those asked.
    bases: HashMap<usize, Base>,
    tests: &'a [&'a EventTest],
    /// What the group brings.
    coming: Vec<Event>,
}

/// Loads what judging needs, judges everyone touched, and notes what follows.
pub(super) async fn settle(
    tx: &mut Tx,
    workspace: WorkspaceId,
    directory: &mut Directory,
    living: &Living,
    (occurrences, merges): (&[Occurrence], &[Merge]),
    now: Timestamp,
    ids: &mut SystemIds,
) -> Result<Lived, StoreError> {
    let mut lived = Lived::default();
    let touched = directory.touched(living, occurrences, merges);
    if touched.is_empty() {
        return Ok(lived);
    }
    let which: BTreeSet<usize> = touched.iter().flat_map(|t| t.which.iter().copied()).collect();
    let tests = living.tests(&which);
    let mut bases = bases(tx, workspace, &touched, &tests, now).await?;
    let mut ruled = ruled(tx, workspace, living, &touched).await?;
    let owner: HashMap<ProfileId, ProfileId> =
        touched.iter().flat_map(|t| t.absorbed.iter().map(|id| (*id, t.profile.id)).chain([(t.profile.id, t.profile.id)])).collect();
    let mut coming: HashMap<ProfileId, Vec<Event>> = HashMap::new();
    if !tests.is_empty() {
        for occurrence in occurrences {
            if let Some(id) = owner.get(&occurrence.profile_id)
                && tests.iter().any(|test| test.kind == occurrence.event.kind)
            {
                coming.entry(*id).or_default().push(occurrence.event.clone());
            }
        }
    }
    for person in &touched {
        let id = person.profile.id;
        let mut labels = BTreeMap::new();
        for held in person.absorbed.iter().chain([&id]) {
            labels.extend(ruled.remove(held).unwrap_or_default());
        }
        // What was named by hand in this very group is no rule's any more.
        labels.retain(|label, _| !directory.is_claimed(id, label));
        let told = Asked {
            profile: &person.profile,
            bases: bases.remove(&id).unwrap_or_default(),
            tests: &tests,
            coming: coming.remove(&id).unwrap_or_default(),
        };
        directory.settle(living, person, labels, &told, now, ids, &mut lived);
    }
    Ok(lived)
}

#[derive(FromRow)]
struct Counted {
    profile_id: Uuid,
    n: i64,
    first: At,
    last: At,
}

#[derive(FromRow)]
struct Happened {
    profile_id: Uuid,
    occurred_at: At,
    channel: Option<String>,
    properties: String,
}

/// One statement for each test that the tallies do not answer.
async fn bases(
    tx: &mut Tx,
    workspace: WorkspaceId,
    touched: &[Touched],
    tests: &[&EventTest],
    now: Timestamp,
) -> Result<HashMap<ProfileId, HashMap<usize, Base>>, StoreError> {
    let mut out: HashMap<ProfileId, HashMap<usize, Base>> = HashMap::new();
    for (place, test) in tests.iter().enumerate() {
        let open = touched.iter().filter(|person| match person.profile.activity.of(&test.kind) {
            Told::Never => false,
            Told::Counted(tally) => !test.counts_all() && test.within.is_none_or(|span| tally.last >= now.minus(span)),
            Told::Unknown => true,
        });
        let owner: HashMap<Uuid, ProfileId> =
            open.flat_map(|t| t.absorbed.iter().map(|id| (id.0, t.profile.id)).chain([(t.profile.id.0, t.profile.id)])).collect();
        if owner.is_empty() {
            continue;
        }
        if test.is_relative() {
            let rows: Vec<Happened> = tx
                .all(
                    sql("SELECT e.profile_id, e.occurred_at, e.channel, e.properties{as_text} AS properties FROM events AS e
                         WHERE e.workspace_id = $1 AND e.type = $2 AND e.profile_id {among}")
                    .bind(workspace)
                    .bind(test.kind.as_str())
                    .rows(ids(owner.keys().copied())),
                )
                .await?;
            for row in rows {
                let Some(id) = owner.get(&row.profile_id) else { continue };
                let event = Event {
                    kind: test.kind.clone(),
                    channel: row.channel,
                    occurred_at: row.occurred_at.0,
                    properties: serde_json::from_str(&row.properties).map_err(|_| StoreError::Unreadable("an event's properties"))?,
                };
                match out.entry(*id).or_default().entry(place).or_insert_with(|| Base::Whole(Vec::new())) {
                    Base::Whole(events) => events.push(event),
                    Base::Counted { .. } => {}
                }
            }
            continue;
        }
        let mut composer = Composer::new(tx.engine(), now, workspace);
        let events = composer.events(test);
        let text = format!(
            "SELECT e.profile_id, count(*) AS n, min(e.occurred_at) AS first, max(e.occurred_at) AS last FROM events AS e
             WHERE {events} AND e.profile_id {{among}} GROUP BY e.profile_id"
        );
        let rows: Vec<Counted> = tx.all(Sql::composed(text, composer.args).rows(ids(owner.keys().copied()))).await?;
        for row in rows {
            let Some(id) = owner.get(&row.profile_id) else { continue };
            let (n, from, to) = (row.n, row.first.0, row.last.0);
            out.entry(*id)
                .or_default()
                .entry(place)
                .and_modify(|base| {
                    if let Base::Counted { count, first, last } = base {
                        (*count, *first, *last) = (*count + n, (*first).min(from), (*last).max(to));
                    }
                })
                .or_insert(Base::Counted { count: n, first: from, last: to });
        }
    }
    Ok(out)
}

#[derive(FromRow)]
struct Ruled {
    profile_id: Uuid,
    label: String,
    rule_id: Option<Uuid>,
}

/// Which labels a rule put on: of those who carry some, and are judged by a rule that may take one off.
async fn ruled(
    tx: &mut Tx,
    workspace: WorkspaceId,
    living: &Living,
    touched: &[Touched],
) -> Result<HashMap<ProfileId, BTreeMap<String, RecordId>>, StoreError> {
    let concerned = touched.iter().filter(|t| !t.profile.labels.is_empty() && living.may_unlabel(&t.which));
    let people: Vec<Uuid> = concerned.flat_map(|t| t.absorbed.iter().chain([&t.profile.id]).map(|id| id.0)).collect();
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Ruled> = tx
        .all(
            sql("SELECT profile_id, label, rule_id FROM profile_labels WHERE workspace_id = $1 AND source = 'rule' AND profile_id {among}")
                .bind(workspace)
                .rows(ids(people)),
        )
        .await?;
    let mut out: HashMap<ProfileId, BTreeMap<String, RecordId>> = HashMap::new();
    for row in rows {
        if let Some(rule) = row.rule_id {
            out.entry(ProfileId(row.profile_id)).or_default().insert(row.label, RecordId(rule));
        }
    }
    Ok(out)
}

impl Events for Asked<'_> {
    fn tally(&self, test: &EventTest, now: Timestamp) -> EventTally {
        let place = self.tests.iter().position(|known| std::ptr::eq(*known, test) || *known == test);
        let base = place.and_then(|place| self.bases.get(&place));
        if test.counts_all()
            && let Told::Counted(tally) = self.profile.activity.of(&test.kind)
        {
            return EventTally { count: tally.count, flips_at: None };
        }
        if let Some(Base::Whole(events)) = base {
            let all: Vec<Event> = events.iter().chain(&self.coming).cloned().collect();
            return all.as_slice().tally(test, now);
        }
        let coming = self.coming.as_slice().tally(test, now);
        if test.is_relative() {
            return coming;
        }
        let times = self.coming.iter().filter(|event| test.counts(event, now)).map(|event| event.occurred_at);
        let (mut count, mut first, mut last) = match base {
            Some(Base::Counted { count, first, last }) => (*count, Some(*first), Some(*last)),
            _ => (0, None, None),
        };
        count += coming.count;
        for at in times {
            first = Some(first.map_or(at, |first| first.min(at)));
            last = last.max(Some(at));
        }
        let flips_at = test.within.and_then(|span| {
            let leaves = |at: Timestamp| at.plus(span).plus(people_domain::clock::Span::MICROSECOND);
            match gone_until_it_matters(test, count) {
                // The newest is the last to go; otherwise whoever goes first is a good time to look again.
                Some(gone) if gone == count => last.map(leaves),
                Some(_) => first.map(leaves),
                None => None,
            }
        });
        EventTally { count, flips_at }
    }
}

/// How many events have to leave a window before the answer is another.
fn gone_until_it_matters(test: &EventTest, count: i64) -> Option<i64> {
    let enough = test.allows(count);
    let near = test.count.iter().flat_map(|(_, bound)| [bound - 1, *bound, bound + 1]);
    near.chain([0]).filter(|left| (0..count).contains(left) && test.allows(*left) != enough).max().map(|left| count - left)
}

/// Writes when time alone may change something. What is exact stands alone; otherwise the earlier instant holds.
pub(super) async fn write_due(tx: &mut Tx, workspace: WorkspaceId, lived: &Lived) -> Result<(), StoreError> {
    let mut gone = Vec::new();
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("due_at", Kind::Time)]);
    for (id, due, exact) in &lived.due {
        if *exact {
            gone.push(id.0);
        }
        if let Some(due) = due {
            rows.push([(*id).into(), (*due).into()]);
        }
    }
    if !gone.is_empty() {
        tx.run(sql("DELETE FROM profile_due WHERE workspace_id = $1 AND profile_id {among}").bind(workspace).rows(ids(gone))).await?;
    }
    if !rows.is_empty() {
        tx.run(
            sql("INSERT INTO profile_due (workspace_id, profile_id, due_at)
                 SELECT $1, r.profile_id, r.due_at FROM {rows} AS r WHERE true
                 ON CONFLICT (workspace_id, profile_id) DO UPDATE SET due_at = EXCLUDED.due_at WHERE EXCLUDED.due_at < profile_due.due_at")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    }
    if !lived.over.is_empty() {
        let mut over = Rows::new(&[("profile_id", Kind::Uuid), ("label", Kind::Text), ("rule_id", Kind::Uuid)]);
        for (profile, label, rule) in &lived.over {
            over.push([(*profile).into(), label.as_str().into(), (*rule).into()]);
        }
        tx.run(
            sql("UPDATE profile_labels
                 SET rule_id = (SELECT r.rule_id FROM {rows} AS r WHERE r.profile_id = profile_labels.profile_id AND r.label = profile_labels.label)
                 WHERE workspace_id = $1 AND source = 'rule' AND (profile_id, label) IN (SELECT profile_id, label FROM {rows} AS r)")
            .bind(workspace)
            .rows(over),
        )
        .await?;
    }
    Ok(())
}

/// The memberships that changed. After a merge moved its rows.
pub(super) async fn write_segments(
    tx: &mut Tx,
    workspace: WorkspaceId,
    people: impl Iterator<Item = (Option<&Profile>, &Profile)>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut gone = Rows::new(&[("profile_id", Kind::Uuid), ("segment_id", Kind::Uuid)]);
    let mut added = Rows::new(&[("profile_id", Kind::Uuid), ("segment_id", Kind::Uuid), ("entered_at", Kind::Time)]);
    for (before, after) in people {
        let old = before.map_or(&[][..], |before| &before.segments);
        for badge in old.iter().filter(|badge| after.segments.iter().all(|kept| kept.id != badge.id)) {
            gone.push([after.id.into(), badge.id.0.into()]);
        }
        for badge in after.segments.iter().filter(|badge| old.iter().all(|held| held.id != badge.id)) {
            added.push([after.id.into(), badge.id.0.into(), at.into()]);
        }
    }
    if !gone.is_empty() {
        tx.run(
            sql("DELETE FROM profile_segments
                 WHERE workspace_id = $1 AND (profile_id, segment_id) IN (SELECT profile_id, segment_id FROM {rows} AS r)")
            .bind(workspace)
            .rows(gone),
        )
        .await?;
    }
    if !added.is_empty() {
        tx.run(
            sql("INSERT INTO profile_segments (workspace_id, profile_id, segment_id, entered_at)
                 SELECT $1, r.profile_id, r.segment_id, r.entered_at FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
            .bind(workspace)
            .rows(added),
        )
        .await?;
    }
    Ok(())
}
