//! Events and sessions of two people who are parted again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use people_domain::{
    Timestamp, clock,
    directory::Reverted,
    id::{ProfileId, RecordId, WorkspaceId},
    session::{self, Session, Visit},
};
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

/// An event that is not in a session of its own person's, or was not before the merge.
#[derive(FromRow)]
struct Stray {
    id: Uuid,
    profile_id: Uuid,
    origin_profile_id: Uuid,
    occurred_at: At,
    channel: Option<String>,
    session_id: Uuid,
    sender_id: Option<String>,
}

/// Events and sessions. Sessions that the merge joined are there again as they were; events that came since stay with
/// the survivor, and those among them that stand in a session of the other are arranged anew.
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
    let before = Before::of(&restored, &into);
    let strays = strays(tx, workspace, back, &before).await?;
    forget_theirs(tx, workspace, back, &restored, &into).await?;
    keep_since(tx, workspace, survivor, &mut restored, &into).await?;
    if restored.is_empty() && strays.is_empty() {
        return Ok(());
    }
    let left = stored(tx, workspace, restored.iter().map(|session| session.id.0).collect()).await?;
    timeline::rewrite_sessions(tx, workspace, left.iter().map(timeline::place).collect(), &restored).await?;
    // Each to the session it was in, if it was in one.
    let mut touched: BTreeSet<Uuid> = restored.iter().map(|session| session.id.0).collect();
    let mut placed: Vec<(&Stray, Uuid)> = Vec::new();
    let mut visitors: Vec<&Stray> = Vec::new();
    for stray in strays.values() {
        touched.insert(stray.session_id);
        match before.find(stray) {
            Some(session) => placed.push((stray, session)),
            None => visitors.push(stray),
        }
    }
    let visits: Vec<Visit> = visitors
        .iter()
        .map(|stray| Visit {
            profile_id: ProfileId(stray.profile_id),
            origin_profile_id: ProfileId(stray.origin_profile_id),
            channel: stray.channel.clone(),
            sender_id: stray.sender_id.clone(),
            at: stray.occurred_at.0,
            properties: serde_json::Map::new(),
        })
        .collect();
    let gap = clock::Span::from_seconds(gap_seconds);
    if !visits.is_empty() {
        let standing = timeline::near(tx, workspace, &visits, Vec::new(), &timeline::Seen::new(), gap).await?;
        let stood = timeline::stretches(&standing);
        let plan = session::arrange(standing, &visits, gap, |at| RecordId(new_id(at)));
        timeline::take_over(tx, workspace, &stood, &plan).await?;
        touched.extend(plan.written.iter().map(|session| session.id.0));
        // One that was joined is gone; who was placed in it went along.
        let joined: HashMap<RecordId, RecordId> = plan.joined.iter().copied().collect();
        for (_, session) in &mut placed {
            while let Some(next) = joined.get(&RecordId(*session)) {
                *session = next.0;
            }
        }
        placed.extend(visitors.iter().copied().zip(plan.placed.iter().map(|id| id.0)));
    }
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("occurred_at", Kind::Time), ("id", Kind::Uuid), ("session_id", Kind::Uuid)]);
    for (stray, session) in placed {
        rows.push([stray.profile_id.into(), stray.occurred_at.0.into(), stray.id.into(), session.into()]);
    }
    tx.run(
        sql("UPDATE events SET session_id = (SELECT r.session_id FROM {rows} AS r WHERE r.id = events.id)
             WHERE workspace_id = $1 AND (profile_id, occurred_at, id) IN (SELECT profile_id, occurred_at, id FROM {rows} AS r)")
        .bind(workspace)
        .rows(rows),
    )
    .await?;
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

/// A session that others had been joined to may have gone on since: what the survivor's gained then is theirs. The other
/// events in it are counted out afterwards.
async fn keep_since(
    tx: &mut Tx,
    workspace: WorkspaceId,
    survivor: ProfileId,
    restored: &mut [Session],
    into: &HashMap<RecordId, RecordId>,
) -> Result<(), StoreError> {
    for now in stored(tx, workspace, into.values().map(|id| id.0).collect()).await? {
        let joined: Vec<Session> = restored.iter().filter(|session| into.get(&session.id) == Some(&now.id)).cloned().collect();
        let Some(session) = restored.iter_mut().find(|session| session.id == now.id && session.profile_id == survivor) else { continue };
        session.started_at = session.started_at.min(now.started_at);
        session.ended_at = session.ended_at.max(now.ended_at);
        for (key, value) in now.properties {
            if !joined.iter().any(|before| before.properties.get(&key) == Some(&value)) {
                session.properties.insert(key, value);
            }
        }
    }
    Ok(())
}

#[derive(FromRow)]
struct Later {
    merge_id: Uuid,
    id: Uuid,
    properties: String,
}

/// Later merges remember sessions as they were then: those that are the secondary's again are none of their business, and
/// those that stay lose what the secondary had brought.
async fn forget_theirs(
    tx: &mut Tx,
    workspace: WorkspaceId,
    back: &Reverted,
    restored: &[Session],
    into: &HashMap<RecordId, RecordId>,
) -> Result<(), StoreError> {
    tx.run(
        sql("DELETE FROM merge_sessions
             WHERE workspace_id = $1 AND profile_id = $2 AND merge_id > $3 AND origin_profile_id IN (SELECT id FROM {rows} AS r)")
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
        let mut properties: serde_json::Map<String, serde_json::Value> =
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
        rows.push([row.merge_id.into(), row.id.into(), serde_json::Value::Object(properties).to_string().into()]);
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

/// Sessions that became part of another: by whose they were, which other, and when they began. Those of one person in one
/// strand do not overlap.
struct Before(BTreeMap<(Uuid, Uuid, Timestamp), (Timestamp, Uuid)>);

impl Before {
    fn of(restored: &[Session], into: &HashMap<RecordId, RecordId>) -> Self {
        let gone = restored.iter().filter_map(|session| into.get(&session.id).filter(|into| **into != session.id).zip(Some(session)));
        Self(gone.map(|(into, session)| ((session.profile_id.0, into.0, session.started_at), (session.ended_at, session.id.0))).collect())
    }

    /// The one an event was in before.
    fn find(&self, stray: &Stray) -> Option<Uuid> {
        let at = stray.occurred_at.0;
        let ((whose, into, _), (end, id)) = self.0.range(..=(stray.profile_id, stray.session_id, at)).next_back()?;
        (*whose == stray.profile_id && *into == stray.session_id && at <= *end).then_some(*id)
    }
}

/// Events that stand, after the move, in a session of the other of the two; and those that stood in one that is
/// restored.
async fn strays(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted, before: &Before) -> Result<BTreeMap<Uuid, Stray>, StoreError> {
    let mut out = BTreeMap::new();
    for (of, in_session_of) in [(back.secondary.id, back.survivor.id), (back.survivor.id, back.secondary.id)] {
        let found: Vec<Stray> = tx
            .all(
                // A session is looked up for each event: rows that have just moved are not in PostgreSQL's statistics, and as a
                // join it would walk all sessions for each.
                sql("SELECT e.id, e.profile_id, e.origin_profile_id, e.occurred_at, e.channel, e.session_id,
                            (SELECT s.sender_id FROM sessions AS s WHERE s.workspace_id = $1 AND s.id = e.session_id) AS sender_id
                     FROM events AS e
                     WHERE e.workspace_id = $1 AND e.profile_id = $2 AND e.session_id IS NOT NULL
                       AND (SELECT s.profile_id FROM sessions AS s WHERE s.workspace_id = $1 AND s.id = e.session_id) = $3")
                .bind(workspace)
                .bind(of)
                .bind(in_session_of),
            )
            .await?;
        out.extend(found.into_iter().map(|stray| (stray.id, stray)));
    }
    let joined: BTreeSet<Uuid> = before.0.keys().map(|(_, into, _)| *into).collect();
    if !joined.is_empty() {
        let found: Vec<Stray> = tx
            .all(
                sql("SELECT id, profile_id, origin_profile_id, occurred_at, channel, session_id, CAST(NULL AS TEXT) AS sender_id
                     FROM events
                     WHERE workspace_id = $1 AND profile_id IN ($2, $3) AND session_id IN (SELECT id FROM {rows} AS r)")
                .bind(workspace)
                .bind(back.survivor.id)
                .bind(back.secondary.id)
                .rows(ids(joined)),
            )
            .await?;
        for stray in found.into_iter().filter(|stray| before.find(stray).is_some()) {
            out.entry(stray.id).or_insert(stray);
        }
    }
    Ok(out)
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
