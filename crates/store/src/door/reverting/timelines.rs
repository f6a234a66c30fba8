//! Events and sessions of two people who are parted again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp, clock,
    directory::Reverted,
    id::{ProfileId, RecordId, WorkspaceId},
    session::{self, Session, Strand, Visit},
};
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use super::members;
use crate::{
    StoreError, Tx,
    door::{StoredSession, timeline},
    ids::new_id,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

#[derive(FromRow)]
struct Remembered {
    id: Uuid,
    into_id: Uuid,
    owner_profile_id: Uuid,
    origin_profile_id: Uuid,
    channel: String,
    sender_id: Option<String>,
    started_at: At,
    ended_at: At,
    event_count: i64,
    properties: String,
}

/// An event of a session that held something of both.
#[derive(FromRow)]
struct Inside {
    id: Uuid,
    profile_id: Uuid,
    origin_profile_id: Uuid,
    occurred_at: At,
    channel: Option<String>,
    session_id: Uuid,
    sender_id: Option<String>,
}

/// Events and sessions. Sessions that held something of both are there again as the merge remembers them, each for whose it was;
/// events that came since stay with the survivor, and are arranged anew.
pub(super) async fn part(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted, gap_seconds: i64) -> Result<(), StoreError> {
    let (survivor, secondary) = (back.survivor.id, back.secondary.id);
    for statement in [
        "UPDATE events SET profile_id = $3
         WHERE workspace_id = $1 AND profile_id = $2 AND origin_profile_id IN (SELECT id FROM {rows} AS r)",
        "UPDATE sessions SET profile_id = $3
         WHERE workspace_id = $1 AND profile_id = $2 AND origin_profile_id IN (SELECT id FROM {rows} AS r)",
    ] {
        tx.run(sql(statement).bind(workspace).bind(survivor).bind(secondary).rows(members(back))).await?;
    }
    let remembered: Vec<Remembered> = tx
        .all(
            sql("SELECT id, into_id, owner_profile_id, origin_profile_id, channel, sender_id, started_at, ended_at, event_count,
                        properties{as_text} AS properties
                 FROM merge_sessions WHERE workspace_id = $1 AND profile_id = $2 AND merge_id = $3")
            .bind(workspace)
            .bind(survivor)
            .bind(back.merge_id),
        )
        .await?;
    let members: BTreeSet<ProfileId> = back.members.iter().copied().collect();
    let mut into: HashMap<RecordId, RecordId> = HashMap::new();
    let mut restored: Vec<Session> = Vec::with_capacity(remembered.len());
    for row in remembered {
        into.insert(RecordId(row.id), RecordId(row.into_id));
        let owner = if members.contains(&ProfileId(row.owner_profile_id)) { secondary } else { survivor };
        restored.push(
            StoredSession {
                id: row.id,
                profile_id: owner.0,
                origin_profile_id: row.origin_profile_id,
                channel: row.channel,
                sender_id: row.sender_id,
                started_at: row.started_at,
                ended_at: row.ended_at,
                event_count: row.event_count,
                properties: row.properties,
            }
            .read()?,
        );
    }
    forget_theirs(tx, workspace, back, &restored, &into).await?;
    // Every session that holds something of both, or did.
    let mut touched: BTreeSet<Uuid> = into.iter().flat_map(|(id, into)| [id.0, into.0]).collect();
    touched.extend(mixed(tx, workspace, back).await?);
    if touched.is_empty() {
        return Ok(());
    }
    // One that was joined with others' since may have gone on with them, to somebody who is neither of the two.
    let (now, others): (Vec<Session>, Vec<Session>) =
        stored(tx, workspace, touched).await?.into_iter().partition(|session| [survivor, secondary].contains(&session.profile_id));
    restored.retain(|session| !others.iter().any(|other| other.id == session.id));
    let mut touched: BTreeSet<Uuid> = now.iter().map(|session| session.id.0).collect();
    // One that no merge remembers (programs of before did not write it down) is as it is, for whose it is.
    let is_remembered = |session: &&Session| into.iter().any(|(id, into)| *id == session.id || *into == session.id);
    let unknown: Vec<Session> = now.iter().filter(|session| !is_remembered(session)).cloned().collect();
    let gained = gained(&now, &restored, &into, survivor);
    restored.extend(unknown);
    let before = Before::of(&restored);
    let events = inside(tx, workspace, back, &now).await?;
    // Each to the session it was in, if it was in one; the others came since.
    let (mut placed, mut visitors): (Vec<(&Inside, Uuid)>, Vec<&Inside>) = (Vec::new(), Vec::new());
    for event in &events {
        match before.find(event) {
            Some(session) => placed.push((event, session)),
            None => visitors.push(event),
        }
    }
    let visits: Vec<Visit> = visitors.iter().map(|event| event.visit(&gained)).collect();
    for (id, (_, properties)) in &gained {
        // What the survivor's session was told meanwhile by events within it.
        let has_visits = visitors.iter().any(|event| event.session_id == *id && event.profile_id == survivor.0);
        let kept =
            restored.iter_mut().find(|session| session.profile_id == survivor && into.get(&session.id).is_some_and(|into| into.0 == *id));
        if let (false, Some(session)) = (has_visits, kept) {
            session.properties.extend(properties.clone());
        }
    }
    let gap = clock::Span::from_seconds(gap_seconds);
    let mut standing = timeline::near(tx, workspace, &visits, Vec::new(), &timeline::Seen::new(), gap).await?;
    standing.retain(|session| !touched.contains(&session.id.0));
    let mut stood = timeline::stretches(&standing);
    stood.extend(timeline::stretches(&restored));
    let mut left: Vec<timeline::Place> = now.iter().chain(&standing).map(timeline::place).collect();
    standing.extend(restored.iter().cloned());
    let plan =
        if visits.is_empty() { session::Plan::default() } else { session::arrange(standing, &visits, gap, |at| RecordId(new_id(at))) };
    let joined: HashMap<RecordId, RecordId> = plan.joined.iter().copied().collect();
    placed.iter_mut().for_each(|(_, session)| *session = joined.get(&RecordId(*session)).map_or(*session, |into| into.0));
    placed.extend(visitors.iter().copied().zip(plan.placed.iter().map(|id| id.0)));
    // As they were, but for those that the plan wrote or joined with another.
    let is_written = |id: &RecordId| plan.written.iter().any(|session| session.id == *id);
    restored.retain(|session| !is_written(&session.id) && !joined.contains_key(&session.id));
    left.retain(|(_, _, id)| touched.contains(&id.0) || is_written(id) || joined.contains_key(id));
    restored.extend(plan.written.iter().cloned());
    touched.extend(restored.iter().map(|session| session.id.0));
    timeline::take_over(tx, workspace, &stood, &session::Plan { joined: plan.joined, ..session::Plan::default() }).await?;
    timeline::rewrite_sessions(tx, workspace, left, &restored).await?;
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("occurred_at", Kind::Time), ("id", Kind::Uuid), ("session_id", Kind::Uuid)]);
    for (event, session) in placed.into_iter().filter(|(event, session)| event.session_id != *session) {
        rows.push([event.profile_id.into(), event.occurred_at.0.into(), event.id.into(), session.into()]);
    }
    if !rows.is_empty() {
        tx.run(
            sql("UPDATE events SET session_id = (SELECT r.session_id FROM {rows} AS r WHERE r.id = events.id)
                 WHERE workspace_id = $1 AND (profile_id, occurred_at, id) IN (SELECT profile_id, occurred_at, id FROM {rows} AS r)")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    }
    // What the survivor gained in between may stand between two of their own that belong together by it.
    let mut grown = recount(tx, workspace, back, touched).await?;
    grown.retain(|session| session.profile_id == survivor);
    if grown.is_empty() {
        return Ok(());
    }
    let standing = timeline::near(tx, workspace, &[], grown, &timeline::Seen::new(), gap).await?;
    let stood = timeline::stretches(&standing);
    let plan = session::arrange(standing, &[], gap, |at| RecordId(new_id(at)));
    timeline::take_over(tx, workspace, &stood, &plan).await
}

/// Of each session what is known of it beside what is remembered, and whose that is: what a session was told since is the
/// survivor's; of one that nobody remembers all is its owner's.
fn gained(
    now: &[Session],
    restored: &[Session],
    into: &HashMap<RecordId, RecordId>,
    survivor: ProfileId,
) -> HashMap<Uuid, (ProfileId, Map<String, Value>)> {
    let of = |session: &Session| {
        let is_part = |part: &&Session| part.id == session.id || into.get(&part.id) == Some(&session.id);
        // It may have become part of one that became part of this.
        let is_inside = |part: &&Session| part.started_at <= session.ended_at && session.started_at <= part.ended_at;
        let is_known = |key: &str, value: &Value| {
            let mut parts = restored.iter().filter(|part| is_part(part) || is_inside(part));
            parts.any(|part| part.properties.get(key) == Some(value))
        };
        let whose = if restored.iter().any(|part| is_part(&part)) { survivor } else { session.profile_id };
        let properties = session.properties.iter().filter(|(key, value)| !is_known(key, value));
        (session.id.0, (whose, properties.map(|(key, value)| (key.clone(), value.clone())).collect()))
    };
    now.iter().map(of).collect()
}

#[derive(FromRow)]
struct Later {
    merge_id: Uuid,
    id: Uuid,
    properties: String,
}

/// Other merges of the survivor remember sessions too: those that are the secondary's again are none of their business, but for
/// merges that go back with the secondary; and those that stay lose what the secondary had brought.
async fn forget_theirs(
    tx: &mut Tx,
    workspace: WorkspaceId,
    back: &Reverted,
    restored: &[Session],
    into: &HashMap<RecordId, RecordId>,
) -> Result<(), StoreError> {
    tx.run(
        sql("DELETE FROM merge_sessions
             WHERE workspace_id = $1 AND profile_id = $2 AND merge_id <> $3 AND origin_profile_id IN (SELECT id FROM {rows} AS r)
               AND merge_id NOT IN (
                   SELECT m.id FROM merges AS m
                   WHERE m.workspace_id = $1 AND m.profile_id = $2 AND m.primary_id IN (SELECT id FROM {rows} AS r)
               )")
        .bind(workspace)
        .bind(back.survivor.id)
        .bind(back.merge_id)
        .rows(members(back)),
    )
    .await?;
    let kept: HashMap<Uuid, &Session> =
        restored.iter().filter(|session| session.profile_id == back.survivor.id).map(|session| (session.id.0, session)).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let later: Vec<Later> = tx
        .all(
            sql("SELECT merge_id, id, properties{as_text} AS properties FROM merge_sessions
                 WHERE workspace_id = $1 AND profile_id = $2 AND merge_id > $3 AND id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .bind(back.survivor.id)
            .bind(back.merge_id)
            .rows(ids(kept.keys().copied())),
        )
        .await?;
    let mut rows = Rows::new(&[("merge_id", Kind::Uuid), ("id", Kind::Uuid), ("properties", Kind::Json)]);
    for row in later {
        let Some(before) = kept.get(&row.id) else { continue };
        let mut properties: Map<String, Value> =
            serde_json::from_str(&row.properties).map_err(|_| StoreError::Unreadable("a session's properties"))?;
        let brought: Vec<&Session> = restored
            .iter()
            .filter(|session| session.profile_id == back.secondary.id && into.get(&session.id) == Some(&before.id))
            .collect();
        properties.retain(|key, value| {
            before.properties.get(key) == Some(value) || !brought.iter().any(|session| session.properties.get(key) == Some(value))
        });
        for (key, value) in &before.properties {
            properties.entry(key.clone()).or_insert_with(|| value.clone());
        }
        rows.push([row.merge_id.into(), row.id.into(), Value::Object(properties).to_string().into()]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("UPDATE merge_sessions
             SET properties = (SELECT r.properties FROM {rows} AS r WHERE r.merge_id = merge_sessions.merge_id AND r.id = merge_sessions.id)
             WHERE workspace_id = $1 AND profile_id = $2 AND (merge_id, id) IN (SELECT merge_id, id FROM {rows} AS r)")
        .bind(workspace)
        .bind(back.survivor.id)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

async fn stored(tx: &mut Tx, workspace: WorkspaceId, wanted: BTreeSet<Uuid>) -> Result<Vec<Session>, StoreError> {
    let rows: Vec<StoredSession> = tx
        .all(
            sql("SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                        s.properties{as_text} AS properties
                 FROM {rows} AS r CROSS JOIN sessions AS s WHERE s.workspace_id = $1 AND s.id = r.id")
            .bind(workspace)
            .rows(ids(wanted)),
        )
        .await?;
    rows.into_iter().map(StoredSession::read).collect()
}

/// Sessions as they are to be again: by strand, and when they began. Those of one strand do not overlap.
struct Before(BTreeMap<(Strand, Timestamp), (Timestamp, Uuid)>);

impl Before {
    fn of(restored: &[Session]) -> Self {
        let strand = |session: &Session| session::strand(session.profile_id, session.channel.as_ref(), session.sender_id.as_ref());
        Self(restored.iter().map(|session| ((strand(session), session.started_at), (session.ended_at, session.id.0))).collect())
    }

    /// The one an event was in.
    fn find(&self, event: &Inside) -> Option<Uuid> {
        let at = event.occurred_at.0;
        let strand = session::strand(ProfileId(event.profile_id), event.channel.as_ref(), event.sender_id.as_ref());
        let ((found, _), (end, id)) = self.0.range(..=(strand.clone(), at)).next_back()?;
        (*found == strand && at <= *end).then_some(*id)
    }
}

impl Inside {
    /// As it arrives again, with what its session was told since where that is its person's.
    fn visit(&self, gained: &HashMap<Uuid, (ProfileId, Map<String, Value>)>) -> Visit {
        let told = gained.get(&self.session_id).filter(|(whose, _)| whose.0 == self.profile_id);
        Visit {
            profile_id: ProfileId(self.profile_id),
            origin_profile_id: ProfileId(self.origin_profile_id),
            channel: self.channel.clone(),
            sender_id: self.sender_id.clone(),
            at: self.occurred_at.0,
            properties: told.map(|(_, properties)| properties.clone()).unwrap_or_default(),
        }
    }
}

/// The sessions in which, after the move, something of the other of the two stands.
async fn mixed(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut out = BTreeSet::new();
    for (of, in_session_of) in [(back.secondary.id, back.survivor.id), (back.survivor.id, back.secondary.id)] {
        let found: Vec<(Uuid,)> = tx
            .all(
                // A session is looked up for each event: rows that have just moved are not in PostgreSQL's statistics, and as a
                // join it would walk all sessions for each.
                sql("SELECT DISTINCT e.session_id
                     FROM events AS e
                     WHERE e.workspace_id = $1 AND e.profile_id = $2 AND e.session_id IS NOT NULL
                       AND (SELECT s.profile_id FROM sessions AS s WHERE s.workspace_id = $1 AND s.id = e.session_id) = $3")
                .bind(workspace)
                .bind(of)
                .bind(in_session_of),
            )
            .await?;
        out.extend(found.into_iter().map(|(id,)| id));
    }
    Ok(out)
}

/// The events of both in these sessions.
async fn inside(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted, sessions: &[Session]) -> Result<Vec<Inside>, StoreError> {
    let mut events: Vec<Inside> = tx
        .all(
            sql("SELECT id, profile_id, origin_profile_id, occurred_at, channel, session_id, CAST(NULL AS TEXT) AS sender_id
                 FROM events
                 WHERE workspace_id = $1 AND profile_id IN ($2, $3) AND session_id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .bind(back.survivor.id)
            .bind(back.secondary.id)
            .rows(ids(sessions.iter().map(|session| session.id.0))),
        )
        .await?;
    let senders: HashMap<Uuid, &Option<String>> = sessions.iter().map(|session| (session.id.0, &session.sender_id)).collect();
    for event in &mut events {
        event.sender_id = senders.get(&event.session_id).and_then(|sender| (*sender).clone());
    }
    Ok(events)
}

#[derive(FromRow)]
struct Bounds {
    id: Uuid,
    count: i64,
    first: Option<At>,
    last: Option<At>,
}

/// Start, end and number of events follow from the events; a session without any is none. Answers the ones that were
/// written anew.
async fn recount(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted, touched: BTreeSet<Uuid>) -> Result<Vec<Session>, StoreError> {
    let stored = stored(tx, workspace, touched.clone()).await?;
    let bounds: Vec<Bounds> = tx
        .all(
            sql("SELECT session_id AS id, count(*) AS count, min(occurred_at) AS first, max(occurred_at) AS last
                 FROM events
                 WHERE workspace_id = $1 AND profile_id IN ($2, $3) AND session_id IN (SELECT id FROM {rows} AS r)
                 GROUP BY session_id")
            .bind(workspace)
            .bind(back.survivor.id)
            .bind(back.secondary.id)
            .rows(ids(touched)),
        )
        .await?;
    let bounds: HashMap<Uuid, Bounds> = bounds.into_iter().map(|row| (row.id, row)).collect();
    let mut left = Vec::new();
    let mut written = Vec::new();
    for mut session in stored {
        let place = timeline::place(&session);
        match bounds.get(&session.id.0) {
            Some(Bounds { count, first: Some(first), last: Some(last), .. }) => {
                if (session.event_count, session.started_at, session.ended_at) != (*count, first.0, last.0) {
                    (session.event_count, session.started_at, session.ended_at) = (*count, first.0, last.0);
                    left.push(place);
                    written.push(session);
                }
            }
            _ => left.push(place),
        }
    }
    timeline::rewrite_sessions(tx, workspace, left, &written).await?;
    Ok(written)
}
