//! Segments and label rules of the people a group has changed: what judging them needs to be told of their events.
//!
//! Most of it stands beside the document already. A test that looks into events (a window of time, their properties) gets
//! one statement for everyone of the group, and only for those whom the tallies leave open; what the group itself brings
//! is added here, since it is not in the table yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp,
    activity::Told,
    directory::{Directory, Happened, Lived, Reverted, Touched},
    event::{self, Event},
    filter::{EventTally, EventTest, Events},
    id::{ProfileId, RecordId, WorkspaceId},
    living::Living,
    merge::Judged,
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    StoreError, Tx, by_type,
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

/// Somebody to be judged.
#[derive(Clone, Copy, Debug)]
struct Subject<'a> {
    profile: &'a Profile,
    which: &'a BTreeSet<usize>,
    /// Whose rows are theirs too: people merged into them, whose rows have not moved yet.
    absorbed: &'a [ProfileId],
}

impl<'a> Subject<'a> {
    fn of(touched: &'a Touched) -> Self {
        Self { profile: &touched.profile, which: &touched.which, absorbed: &touched.absorbed }
    }

    fn held(&self) -> impl Iterator<Item = ProfileId> {
        self.absorbed.iter().copied().chain([self.profile.id])
    }
}

/// Loads what judging needs, judges everyone touched, and notes what follows.
pub(super) async fn settle(
    tx: &mut Tx,
    workspace: WorkspaceId,
    directory: &mut Directory,
    living: &Living,
    happened: &Happened,
    now: Timestamp,
    ids: &mut SystemIds,
) -> Result<Lived, StoreError> {
    let Happened { occurrences, merges, reverted } = happened;
    let mut lived = Lived::default();
    let touched = directory.touched(living, occurrences, merges);
    if touched.is_empty() {
        return Ok(lived);
    }
    let which: BTreeSet<usize> = touched.iter().flat_map(|t| t.which.iter().copied()).collect();
    let tests = living.tests(&which);
    let subjects: Vec<Subject> = touched.iter().map(Subject::of).collect();
    let mut bases = bases(tx, workspace, &subjects, reverted, &tests, now).await?;
    let mut carried = carried(tx, workspace, living, &subjects).await?;
    let owner: HashMap<ProfileId, ProfileId> =
        subjects.iter().flat_map(|subject| subject.held().map(|id| (id, subject.profile.id))).collect();
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
        let by_hand = directory.named_by_hand(&person.absorbed, id);
        let labels = by_rule(&mut carried, Subject::of(person), by_hand);
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

/// What a merge that has not happened leaves the survivor, as `planned`: judged as it would be.
pub(crate) async fn foresee(
    tx: &mut Tx,
    workspace: WorkspaceId,
    living: &Living,
    planned: &Profile,
    absorbed: ProfileId,
    now: Timestamp,
) -> Result<Judged, StoreError> {
    // A merge changes the survivor, and that is when.
    let mut judged = Profile { updated_at: now.max(planned.updated_at), ..planned.clone() };
    let (which, absorbed) = (living.all(), [absorbed]);
    let subject = Subject { profile: planned, which: &which, absorbed: &absorbed };
    let tests = living.tests(&which);
    let mut bases = bases(tx, workspace, &[subject], &[], &tests, now).await?;
    let mut carried = carried(tx, workspace, living, &[subject]).await?;
    let mut labels = by_rule(&mut carried, subject, BTreeSet::new());
    let told = Asked { profile: planned, bases: bases.remove(&planned.id).unwrap_or_default(), tests: &tests, coming: Vec::new() };
    living.settle(&mut judged, &mut labels, &which, &told, now);
    Ok(Judged::of(std::iter::once(planned), &judged))
}

#[derive(FromRow)]
struct Counted {
    profile_id: Uuid,
    origin_profile_id: Uuid,
    n: i64,
    first: At,
    last: At,
}

#[derive(FromRow)]
struct Happening {
    profile_id: Uuid,
    origin_profile_id: Uuid,
    occurred_at: At,
    channel: Option<String>,
    properties: String,
}

/// One statement for each test that the tallies do not answer. Of people who are parted the events still stand with the
/// survivor: they go by where they came from.
async fn bases(
    tx: &mut Tx,
    workspace: WorkspaceId,
    subjects: &[Subject<'_>],
    parted: &[Reverted],
    tests: &[&EventTest],
    now: Timestamp,
) -> Result<HashMap<ProfileId, HashMap<usize, Base>>, StoreError> {
    let returning: HashMap<(Uuid, Uuid), ProfileId> =
        parted.iter().flat_map(|back| back.members.iter().map(|member| ((back.survivor.id.0, member.0), back.secondary.id))).collect();
    let origin = if parted.is_empty() { "e.profile_id" } else { "e.origin_profile_id" };
    let mut out: HashMap<ProfileId, HashMap<usize, Base>> = HashMap::new();
    for (place, test) in tests.iter().enumerate() {
        let open = subjects.iter().filter(|subject| match subject.profile.activity.of(&test.kind) {
            Told::Never => false,
            Told::Counted(tally) => !test.counts_all() && test.within.is_none_or(|span| tally.last >= now.minus(span)),
            Told::Unknown => true,
        });
        let owner: HashMap<Uuid, ProfileId> = open.flat_map(|subject| subject.held().map(|id| (id.0, subject.profile.id))).collect();
        if owner.is_empty() {
            continue;
        }
        let with_survivors = parted.iter().filter(|back| owner.contains_key(&back.secondary.id.0)).map(|back| back.survivor.id.0);
        let holders: BTreeSet<Uuid> = owner.keys().copied().chain(with_survivors).collect();
        let whose = |holder: Uuid, origin: Uuid| returning.get(&(holder, origin)).or_else(|| owner.get(&holder)).copied();
        if test.is_relative() {
            let columns =
                format!("e.profile_id, {origin} AS origin_profile_id, e.occurred_at, e.channel, e.properties{{as_text}} AS properties");
            let text = by_type::of_people(&columns, "e.workspace_id = $1 AND e.type = $2", "");
            let args = vec![workspace.into(), test.kind.as_str().into()];
            let rows: Vec<Happening> = tx.all(Sql::composed(text, args).rows(ids(holders))).await?;
            for row in rows {
                let Some(id) = whose(row.profile_id, row.origin_profile_id) else { continue };
                let event = Event {
                    kind: test.kind.clone(),
                    channel: row.channel,
                    occurred_at: row.occurred_at.0,
                    properties: event::read_properties(&row.properties).map_err(|_| StoreError::Unreadable("an event's properties"))?,
                };
                match out.entry(id).or_default().entry(place).or_insert_with(|| Base::Whole(Vec::new())) {
                    Base::Whole(events) => events.push(event),
                    Base::Counted { .. } => {}
                }
            }
            continue;
        }
        let mut composer = Composer::new(tx.engine(), now, workspace);
        let events = composer.events(test);
        let group = if parted.is_empty() { "" } else { ", e.origin_profile_id" };
        let text = by_type::of_people(
            &format!("e.profile_id, {origin} AS origin_profile_id, count(*) AS n, min(e.occurred_at) AS first, max(e.occurred_at) AS last"),
            &events,
            &format!(" GROUP BY e.profile_id{group}"),
        );
        let rows: Vec<Counted> = tx.all(Sql::composed(text, composer.args).rows(ids(holders))).await?;
        for row in rows {
            let Some(id) = whose(row.profile_id, row.origin_profile_id) else { continue };
            let (n, from, to) = (row.n, row.first.0, row.last.0);
            out.entry(id)
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
struct LabelRow {
    profile_id: Uuid,
    label: String,
    source: String,
    rule_id: Option<Uuid>,
}

/// Who put on the labels of one person.
#[derive(Debug, Default)]
struct Carried {
    by_rule: BTreeMap<String, RecordId>,
    by_hand: BTreeSet<String>,
}

/// Who put on their labels: of those who carry some, and are judged by a rule that may take one off. Those by hand are
/// read where two came to be one.
async fn carried(
    tx: &mut Tx,
    workspace: WorkspaceId,
    living: &Living,
    subjects: &[Subject<'_>],
) -> Result<HashMap<ProfileId, Carried>, StoreError> {
    let concerned = subjects.iter().filter(|subject| !subject.profile.labels.is_empty() && living.may_unlabel(subject.which));
    let people: Vec<Uuid> = concerned.flat_map(|subject| subject.held().map(|id| id.0).collect::<Vec<_>>()).collect();
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let text = if subjects.iter().all(|subject| subject.absorbed.is_empty()) {
        "SELECT profile_id, label, source, rule_id FROM profile_labels WHERE workspace_id = $1 AND source = 'rule' AND profile_id {among}"
    } else {
        "SELECT profile_id, label, source, rule_id FROM profile_labels WHERE workspace_id = $1 AND profile_id {among}"
    };
    let rows: Vec<LabelRow> = tx.all(sql(text).bind(workspace).rows(ids(people))).await?;
    let mut out: HashMap<ProfileId, Carried> = HashMap::new();
    for row in rows {
        let carried = out.entry(ProfileId(row.profile_id)).or_default();
        match row.rule_id {
            Some(rule) if row.source == "rule" => {
                carried.by_rule.insert(row.label, RecordId(rule));
            }
            _ => {
                carried.by_hand.insert(row.label);
            }
        }
    }
    Ok(out)
}

/// Labels that are a rule's to take off: not those that either of two who were merged carries by hand.
fn by_rule(carried: &mut HashMap<ProfileId, Carried>, subject: Subject<'_>, mut by_hand: BTreeSet<String>) -> BTreeMap<String, RecordId> {
    let mut out = BTreeMap::new();
    for id in subject.held() {
        let own = carried.remove(&id).unwrap_or_default();
        out.extend(own.by_rule);
        by_hand.extend(own.by_hand);
    }
    out.retain(|label, _| !by_hand.contains(label));
    out
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
            sql("UPDATE profile_labels SET rule_id = r.rule_id FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
                 WHERE {aside}profile_labels.workspace_id = $1 AND profile_labels.workspace_id = r.workspace_id
                   AND profile_labels.profile_id = r.profile_id AND profile_labels.label = r.label AND profile_labels.source = 'rule'")
            .bind(workspace)
            .rows(over),
        )
        .await?;
    }
    Ok(())
}

/// The memberships that changed. After a merge moved its rows, some of those that came with the merged may be there already;
/// where the states before are `settled`, none can be, and none is looked for.
pub(super) async fn write_segments(
    tx: &mut Tx,
    workspace: WorkspaceId,
    people: impl Iterator<Item = (Option<&Profile>, &Profile)>,
    settled: bool,
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
        let text = if settled {
            "INSERT INTO profile_segments (workspace_id, profile_id, segment_id, entered_at)
             SELECT $1, r.profile_id, r.segment_id, r.entered_at FROM {rows} AS r"
        } else {
            "INSERT INTO profile_segments (workspace_id, profile_id, segment_id, entered_at)
             SELECT $1, r.profile_id, r.segment_id, r.entered_at FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING"
        };
        tx.run(sql(text).bind(workspace).rows(added)).await?;
    }
    Ok(())
}
