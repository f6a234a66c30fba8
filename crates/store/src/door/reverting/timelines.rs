//! Events and sessions of two people who are parted again.

use std::collections::{BTreeSet, HashMap};

use people_domain::{
    clock,
    directory::Reverted,
    id::{ProfileId, RecordId, WorkspaceId},
    session::{self, Session, Visit},
};
use serde_json::Map;
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
    session_properties: Option<String>,
}

/// Events and sessions. Events that came since stay with the survivor. Sessions that held something of both are arranged anew, each
/// person's from their own events, and go by the ids that the merge remembers.
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
                told_at: None,
            }
            .read()?,
        );
    }
    forget_theirs(tx, workspace, back).await?;
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
    let touched: BTreeSet<Uuid> = now.iter().map(|session| session.id.0).collect();
    let events = inside(tx, workspace, back, &now).await?;
    let visits: Vec<Visit> = events.iter().map(Inside::visit).collect::<Result<_, _>>()?;
    let gap = clock::Span::from_seconds(gap_seconds);
    // All of them are arranged anew, each person's by themselves, among those that nothing came into.
    let mut standing = timeline::near(tx, workspace, &visits, Vec::new(), &timeline::Seen::new(), gap).await?;
    standing.retain(|session| !touched.contains(&session.id.0));
    let stood = timeline::stretches(&standing);
    let mut left: Vec<timeline::Place> = now.iter().chain(&standing).map(timeline::place).collect();
    let session::Plan { mut written, joined, placed } = session::arrange(standing, &visits, gap, |at| RecordId(new_id(at)));
    let gone: BTreeSet<RecordId> = joined.iter().map(|(gone, _)| *gone).collect();
    let kept: BTreeSet<RecordId> = written.iter().map(|session| session.id).collect();
    left.retain(|(_, _, id)| touched.contains(&id.0) || (kept.contains(id) && !gone.contains(id)));
    let mut members: HashMap<RecordId, Vec<&Inside>> = HashMap::new();
    for (event, session) in events.iter().zip(&placed) {
        members.entry(*session).or_default().push(event);
    }
    let names = name(&mut written, &members, &stood, &now, &restored);
    let joined = timeline::take_over(workspace, &stood, &session::Plan { joined, ..session::Plan::default() });
    for statement in joined.into_iter().chain(timeline::rewrite_sessions(workspace, left, &written)) {
        tx.run(statement).await?;
    }
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("occurred_at", Kind::Time), ("id", Kind::Uuid), ("session_id", Kind::Uuid)]);
    for (event, session) in events.iter().zip(&placed) {
        let session = names.get(session).unwrap_or(session);
        if event.session_id != session.0 {
            rows.push([event.profile_id.into(), event.occurred_at.0.into(), event.id.into(), (*session).into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("UPDATE events SET session_id = r.session_id FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}events.workspace_id = $1 AND events.workspace_id = r.workspace_id AND events.profile_id = r.profile_id
               AND events.occurred_at = r.occurred_at AND events.id = r.id")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Gives sessions that were arranged anew the ids they had: those they were remembered under (`restored`), else the one they had
/// `now` for whose it is. Answers the ids instead of those they were arranged under.
fn name(
    written: &mut [Session],
    members: &HashMap<RecordId, Vec<&Inside>>,
    stood: &HashMap<RecordId, timeline::Stretch>,
    now: &[Session],
    restored: &[Session],
) -> HashMap<RecordId, RecordId> {
    let mut names: HashMap<RecordId, RecordId> = HashMap::new();
    let mut used: BTreeSet<RecordId> = BTreeSet::new();
    for session in written.iter_mut().filter(|session| !stood.contains_key(&session.id)) {
        let oldest = restored.iter().filter(|part| is_part(part, session)).min_by_key(|part| part.id);
        if let Some(oldest) = oldest.filter(|oldest| used.insert(oldest.id)) {
            names.insert(session.id, oldest.id);
            session.origin_profile_id = oldest.origin_profile_id;
            session.id = oldest.id;
        }
    }
    for session in written.iter_mut() {
        // Named already, or one that nothing came into.
        let Some(events) = members.get(&session.id).filter(|_| !stood.contains_key(&session.id)) else { continue };
        let own = |id: &RecordId| now.iter().any(|now| now.id == *id && now.profile_id == session.profile_id);
        let ids = events.iter().map(|event| RecordId(event.session_id));
        if let Some(id) = ids.filter(|id| own(id) && !restored.iter().any(|part| part.id == *id)).find(|id| used.insert(*id)) {
            names.insert(session.id, id);
            session.id = id;
        }
    }
    names
}

/// Whether a session as it was is part of one as it is arranged now.
fn is_part(part: &Session, session: &Session) -> bool {
    let strand = |of: &Session| session::strand(of.profile_id, of.channel.as_ref(), of.sender_id.as_ref());
    part.started_at <= session.ended_at && session.started_at <= part.ended_at && strand(part) == strand(session)
}

/// Other merges of the survivor remember sessions too: those that are the secondary's again are none of their business, but for
/// merges that go back with the secondary.
async fn forget_theirs(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted) -> Result<(), StoreError> {
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
    .await
    .map(|_| ())
}

async fn stored(tx: &mut Tx, workspace: WorkspaceId, wanted: BTreeSet<Uuid>) -> Result<Vec<Session>, StoreError> {
    let rows: Vec<StoredSession> = tx
        .all(
            sql("SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
                        s.properties{as_text} AS properties, s.told_at{as_text} AS told_at
                 FROM {rows} AS r CROSS JOIN sessions AS s WHERE s.workspace_id = $1 AND s.id = r.id")
            .bind(workspace)
            .rows(ids(wanted)),
        )
        .await?;
    rows.into_iter().map(StoredSession::read).collect()
}

impl Inside {
    /// As it arrives again, with what it told of its session.
    fn visit(&self) -> Result<Visit, StoreError> {
        let told = self.session_properties.as_deref().map_or(Ok(Map::new()), serde_json::from_str);
        Ok(Visit {
            profile_id: ProfileId(self.profile_id),
            origin_profile_id: ProfileId(self.origin_profile_id),
            channel: self.channel.clone(),
            sender_id: self.sender_id.clone(),
            at: self.occurred_at.0,
            properties: told.map_err(|_| StoreError::Unreadable("what an event told of its session"))?,
        })
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
            sql("SELECT id, profile_id, origin_profile_id, occurred_at, channel, session_id, CAST(NULL AS TEXT) AS sender_id,
                        session_properties{as_text} AS session_properties
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
