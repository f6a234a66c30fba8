//! Saving events and the sessions they belong to.
//!
//! Sessions are arranged by `domain::session` on those that stand near the arriving events; a constant number of
//! statements, whatever the number of events. People are locked since the group was loaded, so nobody else arranges
//! theirs meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp, clock,
    event::{Known, MessageKey, Occurrence},
    id::{ProfileId, RecordId, WorkspaceId},
    session::{self, Session, Visit},
};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::later::Later;
use crate::{
    StoreError, Tx, by_type,
    ids::new_id,
    rows::{Kind, Rows, ids},
    statement::{Spelt, Sql, sql},
    time::At,
};

#[derive(FromRow)]
struct Arrived {
    source: String,
    message_id: String,
    id: Uuid,
    profile_id: Uuid,
    refused: Option<String>,
}

/// Which of these messages had arrived before, and what became of them.
pub(super) async fn known(
    tx: &mut Tx,
    workspace: WorkspaceId,
    messages: &BTreeSet<MessageKey>,
) -> Result<HashMap<MessageKey, Known>, StoreError> {
    if messages.is_empty() {
        return Ok(HashMap::new());
    }
    // A group speaks for one source, seldom for a few.
    let mut by_source: BTreeMap<&str, Rows> = BTreeMap::new();
    for message in messages {
        let rows = by_source.entry(&message.source).or_insert_with(|| Rows::new(&[("message_id", Kind::Text)]));
        rows.push([message.id.as_str().into()]);
    }
    let mut found: Vec<Arrived> = Vec::new();
    for (source, rows) in by_source {
        let more: Vec<Arrived> = tx
            .all(
                sql("SELECT e.source, e.message_id, e.id, e.profile_id, e.refused{as_text} AS refused
                     FROM {walk} events AS e
                     WHERE e.workspace_id = $1 AND e.source = $2 AND e.message_id IS NOT NULL AND e.message_id {among}")
                .bind(workspace)
                .bind(source)
                .rows(rows),
            )
            .await?;
        found.extend(more);
    }
    found
        .into_iter()
        .map(|row| {
            let refused = row.refused.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text));
            let known = Known {
                id: RecordId(row.id),
                profile_id: ProfileId(row.profile_id),
                refused: refused.map_err(|_| StoreError::Unreadable("the refused identities of an event"))?,
            };
            Ok((MessageKey { source: row.source, id: row.message_id }, known))
        })
        .collect()
}

#[derive(FromRow)]
pub(crate) struct StoredSession {
    pub(crate) id: Uuid,
    pub(crate) profile_id: Uuid,
    pub(crate) origin_profile_id: Uuid,
    pub(crate) channel: String,
    pub(crate) sender_id: Option<String>,
    pub(crate) started_at: At,
    pub(crate) ended_at: At,
    pub(crate) event_count: i64,
    pub(crate) properties: String,
    /// Microseconds by name.
    pub(crate) told_at: Option<String>,
}

impl StoredSession {
    pub(crate) fn read(self) -> Result<Session, StoreError> {
        let told_at: BTreeMap<String, i64> = self
            .told_at
            .map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text))
            .map_err(|_| StoreError::Unreadable("when a session's properties were told"))?;
        Ok(Session {
            id: RecordId(self.id),
            profile_id: ProfileId(self.profile_id),
            origin_profile_id: ProfileId(self.origin_profile_id),
            channel: (!self.channel.is_empty()).then_some(self.channel),
            sender_id: self.sender_id,
            started_at: self.started_at.0,
            ended_at: self.ended_at.0,
            event_count: self.event_count,
            properties: serde_json::from_str(&self.properties).map_err(|_| StoreError::Unreadable("a session's properties"))?,
            told_at: told_at.into_iter().filter_map(|(name, at)| Some((name, Timestamp::from_micros(at)?))).collect(),
        })
    }
}

/// The sessions of people who are about to be merged away, as those of the survivors they will be.
pub(super) async fn sessions_that_move(
    tx: &mut Tx,
    workspace: WorkspaceId,
    survivors: &BTreeMap<ProfileId, ProfileId>,
) -> Result<Vec<Session>, StoreError> {
    if survivors.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<StoredSession> = tx
        .all(
            sql("SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                        s.properties{as_text} AS properties, s.told_at{as_text} AS told_at
                 FROM {rows} AS r CROSS JOIN sessions AS s WHERE s.workspace_id = $1 AND s.profile_id = r.id")
            .bind(workspace)
            .rows(ids(survivors.keys().map(|id| id.0))),
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            let mut session = row.read()?;
            session.profile_id = survivors.get(&session.profile_id).copied().unwrap_or(session.profile_id);
            Ok(session)
        })
        .collect()
}

/// Where events stand among the sessions, before they are written.
pub(super) struct Arranged(Later<Written>);

/// The statements of it, in their order: sessions, then their events.
struct Written {
    statements: Vec<Spelt>,
    /// Sessions that are brought together with what came from somebody else, as they were.
    mixed: Vec<Mixture>,
}

/// A session with what came from somebody else, as `session::mixed` tells it.
pub(super) struct Mixture {
    pub(super) session: Session,
    pub(super) into: RecordId,
    pub(super) with: ProfileId,
}

/// When people were last seen before the group, `None` being never. No session of theirs ended later.
pub(super) type Seen = HashMap<ProfileId, Option<Timestamp>>;

/// What is known of the people that events are of.
pub(super) struct People<'p> {
    /// Of those whose rows are what they were before the group.
    pub(super) seen: &'p Seen,
    /// Whose timelines are long, at the end of it.
    pub(super) long: &'p BTreeSet<ProfileId>,
}

/// Arranges the events that people who are still there took part in. `moved` are sessions that came with a merge.
pub(super) async fn arrange(
    tx: &mut Tx,
    workspace: WorkspaceId,
    occurrences: Vec<Occurrence>,
    moved: Vec<Session>,
    People { seen, long }: People<'_>,
    gap_seconds: i64,
    now: Timestamp,
) -> Result<Arranged, StoreError> {
    let gap = clock::Span::from_seconds(gap_seconds);
    let mut visits: Vec<Visit> = Vec::new();
    let mut places: Vec<Option<usize>> = Vec::with_capacity(occurrences.len());
    for occurrence in &occurrences {
        places.push(occurrence.session.as_ref().map(|session| {
            visits.push(Visit {
                profile_id: occurrence.profile_id,
                origin_profile_id: occurrence.origin_profile_id,
                channel: occurrence.event.channel.clone(),
                sender_id: session.id.clone(),
                at: occurrence.event.occurred_at,
                properties: session.properties.clone(),
            });
            visits.len() - 1
        }));
    }
    let standing = near(tx, workspace, &visits, moved, seen, gap).await?;
    let (many, long, engine) = (occurrences.len(), long.clone(), tx.engine());
    Ok(Arranged(Later::begin(many, move || {
        let stood = stretches(&standing);
        // Where everybody's sessions are their own, there is nothing to remember.
        let is_own = |session: &Session| session.origin_profile_id == session.profile_id;
        let all_own = standing.iter().all(is_own) && visits.iter().all(|visit| visit.origin_profile_id == visit.profile_id);
        let before: Vec<Session> = if all_own { Vec::new() } else { standing.clone() };
        // Named when they are made, also those of long ago: new ids then stand side by side in their index.
        let plan = session::arrange(standing, &visits, gap, |_| RecordId(new_id(now)));
        let mixed = session::mixed(&before, &visits, &plan);
        let mixed = mixed.into_iter().map(|mixed| Mixture { session: mixed.session.clone(), into: mixed.into, with: mixed.with });
        let mixed = mixed.collect();
        let sessions = places.into_iter().map(|place| place.map(|place| plan.placed[place])).collect();
        let mut statements = take_over(workspace, &stood, &plan);
        statements.extend(events(workspace, occurrences, sessions, &long));
        let statements = statements.into_iter().map(|sql| sql.spell(engine)).collect::<Result<_, _>>()?;
        Ok(Written { statements, mixed })
    })))
}

impl Arranged {
    /// Writes the events and their sessions. Answers what merges are to remember.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<Vec<Mixture>, StoreError> {
        let Written { statements, mixed } = self.0.made().await?;
        for statement in statements {
            tx.run_spelt(statement).await?;
        }
        Ok(mixed)
    }
}

fn events(
    workspace: WorkspaceId,
    occurrences: Vec<Occurrence>,
    sessions: Vec<Option<RecordId>>,
    long: &BTreeSet<ProfileId>,
) -> Option<Sql> {
    const COLUMNS: [(&str, Kind); 17] = [
        ("profile_id", Kind::Uuid),
        ("occurred_at", Kind::Time),
        ("id", Kind::Uuid),
        ("type", Kind::Text),
        ("channel", Kind::Text),
        ("properties", Kind::Json),
        ("session_id", Kind::Uuid),
        ("source", Kind::Text),
        ("message_id", Kind::Text),
        ("received_at", Kind::Time),
        ("refused", Kind::Json),
        ("origin_profile_id", Kind::Uuid),
        ("original_timestamp", Kind::Time),
        ("sent_at", Kind::Time),
        ("in_long_timeline", Kind::Bool),
        ("context", Kind::Json),
        ("session_properties", Kind::Json),
    ];
    // Most tell nothing of their sessions.
    let tell = occurrences.iter().any(|o| o.session.as_ref().is_some_and(|session| !session.properties.is_empty()));
    let mut rows = Rows::new(if tell { &COLUMNS } else { &COLUMNS[..16] });
    // In the order of the table: neighbours then come to the same pages, one after the other.
    let mut arrived: Vec<Option<(Occurrence, Option<RecordId>)>> = occurrences.into_iter().zip(sessions).map(Some).collect();
    let mut order: Vec<usize> = (0..arrived.len()).collect();
    order.sort_by_key(|at| arrived[*at].as_ref().map(|(o, _)| (o.profile_id, o.event.occurred_at, o.id)));
    for (occurrence, session) in order.into_iter().filter_map(|at| arrived[at].take()) {
        let refused = if occurrence.refused.is_empty() { None } else { serde_json::to_string(&occurrence.refused).ok() };
        let (source, message_id) = occurrence.message.map_or((String::new(), None), |message| (message.source, Some(message.id)));
        let told = occurrence.session.filter(|session| !session.properties.is_empty());
        let told = tell.then(|| told.map(|session| Value::Object(session.properties).to_string()).into());
        let row = [
            occurrence.profile_id.into(),
            occurrence.event.occurred_at.into(),
            occurrence.id.into(),
            occurrence.event.kind.into(),
            occurrence.event.channel.into(),
            Value::Object(occurrence.event.properties).to_string().into(),
            session.map(|session| session.0).into(),
            source.into(),
            message_id.into(),
            occurrence.received_at.into(),
            refused.into(),
            occurrence.origin_profile_id.into(),
            occurrence.times.original_timestamp.into(),
            occurrence.times.sent_at.into(),
            long.contains(&occurrence.profile_id).into(),
            occurrence.context.as_deref().into(),
        ];
        rows.push_with(row, told);
    }
    if rows.is_empty() {
        return None;
    }
    // Refused where a message came in through another instance at the same time; then it is decided again, knowing it.
    let (more, its) = if tell { (", session_properties", ", r.session_properties") } else { ("", "") };
    let text = format!(
        "INSERT {{or_fail}} INTO events (
             workspace_id, profile_id, occurred_at, id, type, channel, properties, session_id, source, message_id, received_at,
             refused, origin_profile_id, original_timestamp, sent_at, in_long_timeline, context{more}
         )
         SELECT $1, r.profile_id, r.occurred_at, r.id, r.type, r.channel, r.properties, r.session_id, r.source, r.message_id,
                r.received_at, r.refused, r.origin_profile_id, r.original_timestamp, r.sent_at, r.in_long_timeline, r.context{its}
         FROM {{rows}} AS r"
    );
    Some(Sql::composed(text, vec![workspace.into()]).each(rows))
}

/// Has every event of these people, whose timelines are or become long, found by its type (`crate::by_type`). Of those whose
/// timelines were long, as their documents still say, every one is.
pub(super) async fn lengthen(tx: &mut Tx, workspace: WorkspaceId, people: &BTreeSet<ProfileId>) -> Result<(), StoreError> {
    if people.is_empty() {
        return Ok(());
    }
    let text = format!(
        "UPDATE events SET in_long_timeline = true
         WHERE workspace_id = $1 AND NOT in_long_timeline AND profile_id IN (
             SELECT d.profile_id FROM profile_documents AS d WHERE d.workspace_id = $1 AND d.profile_id {{among}} AND NOT {}
         )",
        by_type::is_long()
    );
    tx.run(Sql::composed(text, vec![workspace.into()]).rows(ids(people.iter().map(|id| id.0)))).await.map(|_| ())
}

/// Whose a session is, and when its events happened.
pub(super) type Stretch = (ProfileId, Timestamp, Timestamp);

pub(super) fn stretches(sessions: &[Session]) -> HashMap<RecordId, Stretch> {
    sessions.iter().map(|session| (session.id, (session.profile_id, session.started_at, session.ended_at))).collect()
}

/// What writes the sessions of a plan, made of those that stood: events of a joined one go over to the other.
pub(super) fn take_over(workspace: WorkspaceId, stood: &HashMap<RecordId, Stretch>, plan: &session::Plan) -> Vec<Sql> {
    let mut joined =
        Rows::new(&[("from_id", Kind::Uuid), ("to_id", Kind::Uuid), ("profile_id", Kind::Uuid), ("low", Kind::Time), ("high", Kind::Time)]);
    for (gone, into) in &plan.joined {
        if let Some((profile, low, high)) = stood.get(gone) {
            joined.push([(*gone).into(), (*into).into(), (*profile).into(), (*low).into(), (*high).into()]);
        }
    }
    let mut statements = Vec::new();
    if !joined.is_empty() {
        // The events of a session are a stretch of their person's timeline.
        statements.push(
            sql("UPDATE events SET session_id = r.to_id FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
                 WHERE {aside}events.workspace_id = $1 AND events.workspace_id = r.workspace_id AND events.profile_id = r.profile_id
                   AND events.occurred_at >= r.low AND events.occurred_at <= r.high AND events.session_id = r.from_id")
            .bind(workspace)
            .rows(joined),
        );
    }
    let left: BTreeSet<RecordId> = plan.joined.iter().map(|(gone, _)| *gone).chain(plan.written.iter().map(|session| session.id)).collect();
    let left = left.into_iter().filter_map(|id| stood.get(&id).map(|(profile, _, ended)| (*profile, *ended, id)));
    statements.extend(rewrite_sessions(workspace, left.collect(), &plan.written));
    statements
}

/// Where a session stands in its table.
pub(super) type Place = (ProfileId, Timestamp, RecordId);

pub(super) fn place(session: &Session) -> Place {
    (session.profile_id, session.ended_at, session.id)
}

/// What writes sessions whole, in place of those that leave. A session stands on the day it ended: what goes on within it stays
/// where it is. Named by their whole key: by their ids alone, SQLite looks for them among all sessions of the workspace.
pub(super) fn rewrite_sessions(workspace: WorkspaceId, left: Vec<Place>, written: &[Session]) -> Vec<Sql> {
    let mut left: HashMap<(ProfileId, i64, RecordId), Timestamp> =
        left.into_iter().map(|(profile, ended, id)| ((profile, ended.day(), id), ended)).collect();
    let (staying, moving): (Vec<&Session>, Vec<&Session>) =
        written.iter().partition(|session| left.remove(&(session.profile_id, session.ended_at.day(), session.id)).is_some());
    let mut statements = Vec::new();
    if !left.is_empty() {
        let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("ended_at", Kind::Time), ("id", Kind::Uuid)]);
        for ((profile, _, id), ended) in left {
            rows.push([profile.into(), ended.into(), id.into()]);
        }
        statements.push(
            sql("DELETE FROM sessions WHERE workspace_id = $1 AND (profile_id, ended_day, id) IN (
                     SELECT profile_id, {day(}ended_at{)day}, id FROM {rows} AS r
                 )")
            .bind(workspace)
            .rows(rows),
        );
    }
    const INSERT: &str = "INSERT {or_fail} INTO sessions (
             workspace_id, id, profile_id, origin_profile_id, channel, sender_id, started_at, ended_at, event_count, properties, told_at{with_day}
         )
         SELECT $1, r.id, r.profile_id, r.origin_profile_id, r.channel, r.sender_id, r.started_at, r.ended_at, r.event_count,
                r.properties, r.told_at{its_day}
         FROM {rows} AS r WHERE true";
    // They are there: this is how rows are found by their whole key, and changed, in one text for both engines.
    const CHANGE: &str = " ON CONFLICT (workspace_id, profile_id, ended_day, id) DO UPDATE SET
             origin_profile_id = EXCLUDED.origin_profile_id, channel = EXCLUDED.channel, sender_id = EXCLUDED.sender_id,
             started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at, event_count = EXCLUDED.event_count,
             properties = EXCLUDED.properties, told_at = EXCLUDED.told_at";
    if !moving.is_empty() {
        statements.push(sql(INSERT).bind(workspace).each(session_rows(moving)));
    }
    if !staying.is_empty() {
        statements.push(Sql::composed(format!("{INSERT}{CHANGE}"), Vec::new()).bind(workspace).each(session_rows(staying)));
    }
    statements
}

/// Windows that touch become one.
fn united(windows: &mut Vec<(Timestamp, Timestamp)>) {
    windows.sort_unstable();
    windows.dedup_by(|later, earlier| {
        let touches = later.0 <= earlier.1;
        if touches {
            earlier.1 = earlier.1.max(later.1);
        }
        touches
    });
}

/// Every session that one of the visits, or one of the sessions that moved, could touch; the latter included. Who comes back
/// after longer than the gap is not asked about, since nothing of theirs is near, nor who is new.
pub(super) async fn near(
    tx: &mut Tx,
    workspace: WorkspaceId,
    visits: &[Visit],
    moved: Vec<Session>,
    seen: &Seen,
    gap: clock::Span,
) -> Result<Vec<Session>, StoreError> {
    type Window = (Timestamp, Timestamp);
    let mut windows: BTreeMap<(ProfileId, &str), Vec<Window>> = BTreeMap::new();
    let mut named: BTreeSet<(ProfileId, &str)> = BTreeSet::new();
    let stretches = visits
        .iter()
        .map(|v| (v.profile_id, &v.channel, &v.sender_id, v.at, v.at))
        .chain(moved.iter().map(|s| (s.profile_id, &s.channel, &s.sender_id, s.started_at, s.ended_at)));
    for (profile, channel, sender_id, from, to) in stretches {
        match sender_id {
            Some(sender) => {
                if seen.get(&profile) != Some(&None) {
                    named.insert((profile, sender));
                }
            }
            None => {
                let (low, high) = (from.minus(gap), to.plus(gap));
                if seen.get(&profile).is_none_or(|seen| seen.is_some_and(|seen| low <= seen)) {
                    windows.entry((profile, channel.as_deref().unwrap_or_default())).or_default().push((low, high));
                }
            }
        }
    }
    let mut found: BTreeMap<RecordId, Session> = moved.iter().map(|session| (session.id, session.clone())).collect();
    if !windows.is_empty() {
        let mut rows = Rows::new(&[
            ("profile_id", Kind::Uuid),
            ("channel", Kind::Text),
            ("low", Kind::Time),
            ("high", Kind::Time),
            ("is_late", Kind::Bool),
        ]);
        for ((profile, channel), windows) in &mut windows {
            united(windows);
            for (low, high) in windows {
                // Nobody's session goes on past the time they were last seen.
                let is_late = seen.get(profile).is_none_or(|seen| seen.is_some_and(|seen| seen > *high));
                rows.push([(*profile).into(), (*channel).into(), (*low).into(), (*high).into(), is_late.into()]);
            }
        }
        // Those that ended in a window, and the one that goes on past its end: a late event reads no more of a long life.
        let stored: Vec<StoredSession> = tx
            .all(
                sql("SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                            s.properties{as_text} AS properties, s.told_at{as_text} AS told_at
                     FROM {rows} AS r CROSS JOIN sessions AS s
                     WHERE s.workspace_id = $1 AND s.profile_id = r.profile_id
                       AND s.ended_day >= {day(}r.low{)day} AND s.ended_day <= {day(}r.high{)day}
                       AND s.ended_at >= r.low AND s.ended_at <= r.high AND s.channel = r.channel AND s.sender_id IS NULL
                     UNION ALL
                     SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                            s.properties{as_text} AS properties, s.told_at{as_text} AS told_at
                     FROM {rows} AS r CROSS JOIN {next_session} r.is_late AND s.started_at <= r.high")
                .bind(workspace)
                .rows(rows),
            )
            .await?;
        for row in stored {
            let (from, to) = (row.started_at.0, row.ended_at.0);
            let touched = windows.get(&(ProfileId(row.profile_id), row.channel.as_str()));
            if touched.is_some_and(|windows| windows.iter().any(|(low, high)| to >= *low && from <= *high)) {
                let session = row.read()?;
                found.entry(session.id).or_insert(session);
            }
        }
    }
    let senders: BTreeSet<&str> = named.iter().map(|(_, sender)| *sender).collect();
    if !senders.is_empty() {
        let mut rows = Rows::new(&[("sender_id", Kind::Text)]);
        senders.into_iter().for_each(|sender| rows.push([sender.into()]));
        let stored: Vec<StoredSession> = tx
            .all(
                sql("SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                            s.properties{as_text} AS properties, s.told_at{as_text} AS told_at
                     FROM {walk} sessions AS s {by_sender}
                     WHERE s.workspace_id = $1 AND s.sender_id IS NOT NULL AND s.sender_id {among}")
                .bind(workspace)
                .rows(rows),
            )
            .await?;
        for row in stored {
            if row.sender_id.as_deref().is_some_and(|sender| named.contains(&(ProfileId(row.profile_id), sender))) {
                let session = row.read()?;
                found.entry(session.id).or_insert(session);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn session_rows(sessions: Vec<&Session>) -> Rows {
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("profile_id", Kind::Uuid),
        ("origin_profile_id", Kind::Uuid),
        ("channel", Kind::Text),
        ("sender_id", Kind::Text),
        ("started_at", Kind::Time),
        ("ended_at", Kind::Time),
        ("event_count", Kind::Int),
        ("properties", Kind::Json),
        ("told_at", Kind::Json),
    ]);
    for session in sessions {
        let told_at: BTreeMap<&str, i64> = session.told_at.iter().map(|(name, at)| (name.as_str(), at.micros())).collect();
        let told_at = if told_at.is_empty() { None } else { serde_json::to_string(&told_at).ok() };
        rows.push([
            session.id.into(),
            session.profile_id.into(),
            session.origin_profile_id.into(),
            session.channel.as_deref().unwrap_or_default().into(),
            session.sender_id.clone().into(),
            session.started_at.into(),
            session.ended_at.into(),
            session.event_count.into(),
            Value::Object(session.properties.clone()).to_string().into(),
            told_at.into(),
        ]);
    }
    rows
}
