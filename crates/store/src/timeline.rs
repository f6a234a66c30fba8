//! Reading the timeline: events and what happened to the profile itself, in one order; and sessions.
//!
//! What happened to the profile is its history, told again: nothing is stored twice. A page is the newest of two walks
//! along an index each.

use people_domain::{
    Timestamp,
    event::{RefusedKey, SenderTimes},
    id::{ProfileId, RecordId, WorkspaceId},
    session::Session,
};
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Tx,
    door::StoredSession,
    statement::{Arg, Sql},
    time::At,
};

/// What a page of a timeline is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// A type of event; `system`, or one kind of system event (`system.updated`).
    pub kind: Option<String>,
    pub channel: Option<String>,
    pub session: Option<RecordId>,
    /// From here on, included.
    pub from: Option<Timestamp>,
    /// Up to here, excluded.
    pub to: Option<Timestamp>,
    /// Just after this row, newest first.
    pub after: Option<(Timestamp, RecordId)>,
    pub limit: i64,
}

/// One row of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    pub id: RecordId,
    pub profile_id: ProfileId,
    pub at: Timestamp,
    pub happened: Happened,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    Event {
        kind: String,
        channel: Option<String>,
        properties: Map<String, Value>,
        session: Option<RecordId>,
        message_id: Option<String>,
        received_at: Timestamp,
        times: SenderTimes,
        refused: Vec<RefusedKey>,
    },
    /// Something became of the profile: the action and names of history.
    System { action: String, fields: Vec<String>, actor: String, source: String, reason: Option<String>, version: i64 },
}

#[derive(FromRow)]
struct StoredEvent {
    id: Uuid,
    profile_id: Uuid,
    occurred_at: At,
    kind: String,
    channel: Option<String>,
    properties: String,
    session_id: Option<Uuid>,
    message_id: Option<String>,
    received_at: At,
    original_timestamp: Option<At>,
    sent_at: Option<At>,
    refused: Option<String>,
}

impl StoredEvent {
    fn read(self) -> Result<Moment, StoreError> {
        let refused = self.refused.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text));
        Ok(Moment {
            id: RecordId(self.id),
            profile_id: ProfileId(self.profile_id),
            at: self.occurred_at.0,
            happened: Happened::Event {
                kind: self.kind,
                channel: self.channel,
                properties: serde_json::from_str(&self.properties).map_err(|_| StoreError::Unreadable("an event's properties"))?,
                session: self.session_id.map(RecordId),
                message_id: self.message_id,
                received_at: self.received_at.0,
                times: SenderTimes { original_timestamp: self.original_timestamp.map(|at| at.0), sent_at: self.sent_at.map(|at| at.0) },
                refused: refused.map_err(|_| StoreError::Unreadable("the refused identities of an event"))?,
            },
        })
    }
}

#[derive(FromRow)]
struct StoredEntry {
    id: Uuid,
    at: At,
    action: String,
    fields: String,
    actor: String,
    source: String,
    reason: Option<String>,
    version: i64,
}

const EVENT: &str =
    "SELECT e.id, e.profile_id, e.occurred_at, e.type AS kind, e.channel, e.properties{as_text} AS properties, e.session_id,
    e.message_id, e.received_at, e.original_timestamp, e.sent_at, e.refused{as_text} AS refused FROM events AS e";

/// Puts a condition and its value to a statement.
struct Builder {
    text: String,
    args: Vec<Arg>,
}

impl Builder {
    fn new(text: &str, workspace: WorkspaceId) -> Self {
        Self { text: format!("{text} WHERE "), args: vec![workspace.into()] }
    }

    fn bind(&mut self, value: impl Into<Arg>) -> usize {
        self.args.push(value.into());
        self.args.len()
    }

    /// `condition` is static text with `?` for the value.
    fn and(&mut self, condition: &'static str, value: impl Into<Arg>) {
        let n = self.bind(value);
        self.text.push_str(" AND ");
        self.text.push_str(&condition.replace('?', &format!("${n}")));
    }

    fn finish(mut self, order: &'static str, limit: i64) -> Sql {
        let n = self.bind(limit);
        self.text.push_str(order);
        self.text.push_str(&format!(" LIMIT ${n}"));
        Sql::composed(self.text, self.args)
    }
}

async fn events(tx: &mut Tx, workspace: WorkspaceId, profile: Option<ProfileId>, span: &Span) -> Result<Vec<Moment>, StoreError> {
    let mut statement = Builder::new(EVENT, workspace);
    statement.text.push_str("e.workspace_id = $1");
    if let Some(profile) = profile {
        statement.and("e.profile_id = ?", profile);
    }
    if let Some(session) = span.session {
        // Its events are a stretch of its person's timeline.
        let Some(row) = session_row(tx, workspace, session).await? else { return Ok(Vec::new()) };
        statement.and("e.profile_id = ?", row.profile_id);
        statement.and("e.occurred_at >= ?", row.started_at.0);
        statement.and("e.occurred_at <= ?", row.ended_at.0);
        statement.and("e.session_id = ?", session);
    }
    if let Some(kind) = &span.kind {
        statement.and("e.type = ?", kind.as_str());
    }
    if let Some(channel) = &span.channel {
        statement.and("e.channel = ?", channel.as_str());
    }
    if let Some(from) = span.from {
        statement.and("e.occurred_at >= ?", from);
    }
    if let Some(to) = span.to {
        statement.and("e.occurred_at < ?", to);
    }
    if let Some((at, id)) = span.after {
        let (at, id) = (statement.bind(at), statement.bind(id));
        statement.text.push_str(&format!(" AND (e.occurred_at, e.id) < (${at}, ${id})"));
    }
    let rows: Vec<StoredEvent> = tx.all(statement.finish(" ORDER BY e.occurred_at DESC, e.id DESC", span.limit)).await?;
    rows.into_iter().map(StoredEvent::read).collect()
}

async fn entries(tx: &mut Tx, workspace: WorkspaceId, profile: ProfileId, span: &Span) -> Result<Vec<Moment>, StoreError> {
    let mut statement = Builder::new("SELECT id, at, action, fields, actor, source, reason, version FROM profile_history", workspace);
    statement.text.push_str("workspace_id = $1");
    statement.and("profile_id = ?", profile);
    if let Some(action) = span.kind.as_deref().and_then(|kind| kind.strip_prefix("system.")) {
        statement.and("action = ?", action);
    }
    if let Some(from) = span.from {
        statement.and("at >= ?", from);
    }
    if let Some(to) = span.to {
        statement.and("at < ?", to);
    }
    if let Some((at, id)) = span.after {
        let (after, id) = (statement.bind(at), statement.bind(id));
        statement.text.push_str(&format!(" AND (at, id) < (${after}, ${id})"));
    }
    // Ids sort by the time of the entry: the end of the range is found in the key.
    if let Some(end) = span.after.map(|(at, _)| at).into_iter().chain(span.to).min() {
        let next = uuid::Builder::from_unix_timestamp_millis(end.unix_millis().saturating_add(1), &[0; 10]).into_uuid();
        statement.and("id < ?", next);
    }
    let rows: Vec<StoredEntry> = tx.all(statement.finish(" ORDER BY id DESC", span.limit)).await?;
    Ok(rows
        .into_iter()
        .map(|row| Moment {
            id: RecordId(row.id),
            profile_id: profile,
            at: row.at.0,
            happened: Happened::System {
                action: row.action,
                fields: row.fields.split('\n').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
                actor: row.actor,
                source: row.source,
                reason: row.reason,
                version: row.version,
            },
        })
        .collect())
}

/// The pieces of a session's row.
const SESSION: &str = "SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
    s.properties{as_text} AS properties FROM sessions AS s";

async fn session_row(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<Option<StoredSession>, StoreError> {
    let mut statement = Builder::new(SESSION, workspace);
    statement.text.push_str("s.workspace_id = $1");
    statement.and("s.id = ?", id);
    tx.optional(statement.finish("", 1)).await
}

impl Store {
    /// A page of a person's timeline, newest first.
    pub async fn timeline(&self, workspace: WorkspaceId, profile: ProfileId, span: Span) -> Result<Vec<Moment>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let of_the_system = span.kind.as_deref().is_some_and(|kind| kind == "system" || kind.starts_with("system."));
                let mut moments = if of_the_system { Vec::new() } else { events(tx, workspace, Some(profile), &span).await? };
                if (of_the_system || span.kind.is_none()) && span.channel.is_none() && span.session.is_none() {
                    moments.extend(entries(tx, workspace, profile, &span).await?);
                    moments.sort_by_key(|moment| std::cmp::Reverse((moment.at, moment.id)));
                    moments.truncate(usize::try_from(span.limit).unwrap_or(0));
                }
                Ok(moments)
            })
        })
        .await
    }

    /// One event.
    pub async fn event(&self, workspace: WorkspaceId, id: RecordId) -> Result<Option<Moment>, StoreError> {
        let mut statement = Builder::new(EVENT, workspace);
        statement.text.push_str("e.workspace_id = $1");
        statement.and("e.id = ?", id);
        let row: Option<StoredEvent> = self.pools.one(statement.finish("", 1)).await?;
        row.map(StoredEvent::read).transpose()
    }

    /// A page of a person's sessions; those that ended last come first.
    pub async fn sessions(
        &self,
        workspace: WorkspaceId,
        profile: ProfileId,
        channel: Option<String>,
        after: Option<(Timestamp, RecordId)>,
        limit: i64,
    ) -> Result<Vec<Session>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let mut statement = Builder::new(SESSION, workspace);
                statement.text.push_str("s.workspace_id = $1");
                statement.and("s.profile_id = ?", profile);
                if let Some(channel) = channel {
                    statement.and("s.channel = ?", channel);
                }
                if let Some((at, id)) = after {
                    let (at, id) = (statement.bind(at), statement.bind(id));
                    statement.text.push_str(&format!(" AND (s.ended_at, s.id) < (${at}, ${id})"));
                }
                let rows: Vec<StoredSession> = tx.all(statement.finish(" ORDER BY s.ended_at DESC, s.id DESC", limit)).await?;
                rows.into_iter().map(StoredSession::read).collect()
            })
        })
        .await
    }

    /// One session.
    pub async fn session(&self, workspace: WorkspaceId, id: RecordId) -> Result<Option<Session>, StoreError> {
        self.read(move |tx| Box::pin(async move { session_row(tx, workspace, id).await?.map(StoredSession::read).transpose() })).await
    }

    /// A page of a session's events, newest first; `span.session` names it.
    pub async fn session_events(&self, workspace: WorkspaceId, span: Span) -> Result<Vec<Moment>, StoreError> {
        self.read(move |tx| Box::pin(async move { events(tx, workspace, None, &span).await })).await
    }
}
