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
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    Store, StoreError, Tx, by_type,
    door::StoredSession,
    statement::{Arg, Sql},
    time::At,
};

/// What a page of a timeline is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Which events.
    pub events: Among,
    /// Which of what became of the profile, by the action. Nothing of it is on a channel or in a session.
    pub entries: Among,
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

/// All of a sort, or only those of these types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Among {
    #[default]
    All,
    Types(Vec<String>),
}

impl Among {
    pub const NONE: Self = Self::Types(Vec::new());

    fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl Span {
    fn has_entries(&self) -> bool {
        self.channel.is_none() && self.session.is_none() && !self.entries.is_none()
    }

    fn is_empty(&self) -> bool {
        self.events.is_none() && !self.has_entries()
    }
}

/// One row of a timeline.
#[derive(Clone, Debug)]
pub struct Moment {
    pub id: RecordId,
    pub profile_id: ProfileId,
    pub at: Timestamp,
    pub happened: Happened,
}

#[derive(Clone, Debug)]
pub enum Happened {
    Event {
        kind: String,
        channel: Option<String>,
        /// A JSON object as it is stored: a page hands on what it does not look at.
        properties: Box<RawValue>,
        session: Option<RecordId>,
        message_id: Option<String>,
        received_at: Timestamp,
        times: SenderTimes,
        refused: Vec<RefusedKey>,
        /// As `properties`; `None`: nothing was told.
        context: Option<Box<RawValue>>,
    },
    /// Something became of the profile: the action and names of history.
    System { action: String, fields: Vec<String>, actor: String, source: String, reason: Option<String>, version: i64 },
}

/// A row of a page: an event; or, with a version, an entry of history in the columns of one, since every column of every
/// row costs time. So does every name a column is looked up by, hence their places.
type Columns = (
    Uuid,
    Uuid,
    At,
    // The action of an entry.
    String,
    // The channel, or the actor.
    Option<String>,
    // The properties, or the names of the fields.
    String,
    // The session.
    Option<Uuid>,
    // The id of the message, or the source.
    Option<String>,
    // When it was received, or happened.
    At,
    // The sender's times.
    Option<At>,
    Option<At>,
    // The refused identities, or the reason.
    Option<String>,
    // The version.
    Option<i64>,
    // The context.
    Option<String>,
);

fn moment(columns: Columns) -> Result<Moment, StoreError> {
    let (
        id,
        profile_id,
        at,
        kind,
        channel,
        properties,
        session,
        message_id,
        received_at,
        original_timestamp,
        sent_at,
        refused,
        version,
        context,
    ) = columns;
    let happened = match version {
        Some(version) => Happened::System {
            action: kind,
            fields: properties.split('\n').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
            actor: channel.unwrap_or_default(),
            source: message_id.unwrap_or_default(),
            reason: refused,
            version,
        },
        None => Happened::Event {
            kind,
            channel,
            properties: RawValue::from_string(properties).map_err(|_| StoreError::Unreadable("an event's properties"))?,
            session: session.map(RecordId),
            message_id,
            received_at: received_at.0,
            times: SenderTimes { original_timestamp: original_timestamp.map(|at| at.0), sent_at: sent_at.map(|at| at.0) },
            refused: refused
                .map_or(Ok(Vec::new()), |text| serde_json::from_str(&text))
                .map_err(|_| StoreError::Unreadable("the refused identities of an event"))?,
            context: context.map(RawValue::from_string).transpose().map_err(|_| StoreError::Unreadable("the context of an event"))?,
        },
    };
    Ok(Moment { id: RecordId(id), profile_id: ProfileId(profile_id), at: at.0, happened })
}

const EVENT: &str =
    "SELECT e.id, e.profile_id, e.occurred_at AS at, e.type AS kind, e.channel, e.properties{as_text} AS properties, e.session_id,
    e.message_id, e.received_at, e.original_timestamp, e.sent_at, e.refused{as_text} AS refused, CAST(NULL AS BIGINT) AS version,
    e.context{as_text} AS context FROM events AS e";

const ENTRY: &str =
    "SELECT h.id, h.profile_id, h.at, h.action AS kind, h.actor AS channel, h.fields AS properties, CAST(NULL AS UUID) AS session_id,
    h.source AS message_id, h.at AS received_at, CAST(NULL AS TIMESTAMPTZ) AS original_timestamp, CAST(NULL AS TIMESTAMPTZ) AS sent_at,
    h.reason AS refused, h.version, CAST(NULL AS TEXT) AS context FROM profile_history AS h";

/// Puts a condition and its value to a statement.
struct Builder {
    text: String,
    args: Vec<Arg>,
}

impl Builder {
    fn new(text: &str, workspace: WorkspaceId) -> Self {
        Self { text: text.to_owned(), args: vec![workspace.into()] }
    }

    fn bind(&mut self, value: impl Into<Arg>) -> usize {
        self.args.push(value.into());
        self.args.len()
    }

    /// Begins a walk beside those before it. One that ends at a limit is a table of its own to the others.
    fn walk(&mut self, select: &str) {
        let joined = if self.text.is_empty() { "" } else { " UNION ALL " };
        self.text.push_str(&format!("{joined}SELECT * FROM ({select}"));
    }

    /// `condition` is static text with `?` for the value.
    fn and(&mut self, condition: &'static str, value: impl Into<Arg>) {
        let n = self.bind(value);
        self.text.push_str(" AND ");
        self.text.push_str(&condition.replace('?', &format!("${n}")));
    }

    /// `column` has one of these values.
    fn among(&mut self, column: &'static str, values: &[String]) {
        let list: Vec<String> = values.iter().map(|value| format!("${}", self.bind(value.as_str()))).collect();
        self.text.push_str(&format!(" AND {column} IN ({})", list.join(", ")));
    }

    /// The newest rows of what was put together; a piece of a larger statement.
    fn newest(&mut self, order: &'static str, limit: i64) {
        let n = self.bind(limit);
        self.text.push_str(order);
        self.text.push_str(&format!(" LIMIT ${n}"));
    }

    fn finish(mut self, order: &'static str, limit: i64) -> Sql {
        self.newest(order, limit);
        Sql::composed(self.text, self.args)
    }
}

/// What a page is made of, and the stretch of a session where it is asked for one.
struct Asked<'s> {
    profile: ProfileId,
    span: &'s Span,
    session: Option<&'s StoredSession>,
    /// Whether its rows are only to be counted.
    counted: bool,
}

impl Asked<'_> {
    /// One statement, whatever is asked for: the newest of each walk.
    fn statement(&self, workspace: WorkspaceId) -> Sql {
        let mut walks = Builder::new("", workspace);
        if !self.span.events.is_none() {
            let whose = walks.bind(self.profile);
            let everything = format!("WHERE e.profile_id = ${whose}");
            match &self.span.events {
                Among::Types(types) if self.session.is_none() => {
                    // In one of two ways the person is nobody, which ends its walks at once. A short timeline is read through;
                    // in a long one each type is a stretch of its own.
                    let [short, long] = by_type::either(|way| {
                        format!(
                            "{} e.profile_id = (SELECT d.profile_id FROM profile_documents AS d
                                 WHERE d.workspace_id = $1 AND d.profile_id = ${whose} AND {})",
                            way.found, way.people
                        )
                    });
                    self.events(&mut walks, &short, types);
                    types.chunks(1).for_each(|one| self.events(&mut walks, &long, one));
                }
                // Of a session its stretch is read.
                Among::Types(types) => self.events(&mut walks, &everything, types),
                Among::All => self.events(&mut walks, &everything, &[]),
            }
        }
        if self.span.has_entries() {
            self.entries(&mut walks);
        }
        let text = if self.counted { format!("SELECT count(*) FROM ({}) AS c", walks.text) } else { walks.text };
        Sql::composed(text, walks.args)
    }

    /// The newest of what the walks found.
    fn page(&self, rows: Vec<Columns>) -> Result<Vec<Moment>, StoreError> {
        let mut moments = rows.into_iter().map(moment).collect::<Result<Vec<_>, _>>()?;
        moments.sort_by_key(|moment| std::cmp::Reverse((moment.at, moment.id)));
        moments.truncate(usize::try_from(self.span.limit).unwrap_or(0));
        Ok(moments)
    }

    /// `types`: none of them for all.
    fn events(&self, statement: &mut Builder, found: &str, types: &[String]) {
        let span = self.span;
        statement.walk(if self.counted { "SELECT 1 FROM events AS e" } else { EVENT });
        statement.text.push_str(&format!(" {found} AND e.workspace_id = $1"));
        if let Some(session) = self.session {
            // Its events are a stretch of its person's timeline.
            statement.and("e.occurred_at >= ?", session.started_at.0);
            statement.and("e.occurred_at <= ?", session.ended_at.0);
            statement.and("e.session_id = ?", RecordId(session.id));
        }
        match types {
            [] => {}
            [one] => statement.and("e.type = ?", one.as_str()),
            many => statement.among("e.type", many),
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
        if !self.counted {
            statement.newest(" ORDER BY e.occurred_at DESC, e.id DESC", span.limit);
        }
        statement.text.push_str(") AS w");
    }

    fn entries(&self, statement: &mut Builder) {
        let span = self.span;
        statement.walk(if self.counted { "SELECT 1 FROM profile_history AS h" } else { ENTRY });
        statement.text.push_str(" WHERE h.workspace_id = $1");
        statement.and("h.profile_id = ?", self.profile);
        if let Among::Types(actions) = &span.entries {
            statement.among("h.action", actions);
        }
        if let Some(from) = span.from {
            statement.and("h.at >= ?", from);
        }
        if let Some(to) = span.to {
            statement.and("h.at < ?", to);
        }
        if let Some((at, id)) = span.after {
            let (after, id) = (statement.bind(at), statement.bind(id));
            statement.text.push_str(&format!(" AND (h.at, h.id) < (${after}, ${id})"));
        }
        // Ids sort by the time of the entry: the end of the range is found in the key.
        if let Some(end) = span.after.map(|(at, _)| at).into_iter().chain(span.to).min() {
            let next = uuid::Builder::from_unix_timestamp_millis(end.unix_millis().saturating_add(1), &[0; 10]).into_uuid();
            statement.and("h.id < ?", next);
        }
        if !self.counted {
            statement.newest(" ORDER BY h.id DESC", span.limit);
        }
        statement.text.push_str(") AS w");
    }
}

/// A page of the events of a session, if there is one, and it is `profile`'s.
async fn session_page(tx: &mut Tx, workspace: WorkspaceId, profile: Option<ProfileId>, span: &Span) -> Result<Vec<Moment>, StoreError> {
    let Some(id) = span.session else { return Ok(Vec::new()) };
    let Some(session) = session_row(tx, workspace, id).await? else { return Ok(Vec::new()) };
    let owner = ProfileId(session.profile_id);
    if profile.is_some_and(|profile| profile != owner) {
        return Ok(Vec::new());
    }
    let asked = Asked { profile: owner, span, session: Some(&session), counted: false };
    asked.page(tx.all(asked.statement(workspace)).await?)
}

/// The pieces of a session's row.
const SESSION: &str = "SELECT s.id, s.profile_id, s.origin_profile_id, s.channel, s.sender_id, s.started_at, s.ended_at, s.event_count,
    s.properties{as_text} AS properties, s.told_at{as_text} AS told_at FROM sessions AS s WHERE s.workspace_id = $1";

async fn session_row(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<Option<StoredSession>, StoreError> {
    let mut statement = Builder::new(SESSION, workspace);
    statement.and("s.id = ?", id);
    tx.optional(statement.finish("", 1)).await
}

impl Store {
    /// A page of a person's timeline, newest first.
    pub async fn timeline(&self, workspace: WorkspaceId, profile: ProfileId, span: Span) -> Result<Vec<Moment>, StoreError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        if span.session.is_some() {
            return self.read(move |tx| Box::pin(async move { session_page(tx, workspace, Some(profile), &span).await })).await;
        }
        let asked = Asked { profile, span: &span, session: None, counted: false };
        asked.page(self.pools.all(asked.statement(workspace)).await?)
    }

    /// How many rows its pages have, `span.after` and `span.limit` aside; of a session, `profile` may be left open.
    pub(crate) async fn timeline_total(&self, workspace: WorkspaceId, profile: Option<ProfileId>, span: Span) -> Result<i64, StoreError> {
        if span.is_empty() {
            return Ok(0);
        }
        let span = Span { after: None, ..span };
        self.read(move |tx| {
            let span = span.clone();
            Box::pin(async move {
                let session = match span.session {
                    Some(id) => session_row(tx, workspace, id).await?,
                    None => None,
                };
                let owner = session.as_ref().map(|session| ProfileId(session.profile_id));
                let whose = match (span.session.is_some(), profile, owner) {
                    (true, None, Some(owner)) => owner,
                    (true, Some(profile), Some(owner)) if profile == owner => owner,
                    (false, Some(profile), _) => profile,
                    _ => return Ok(0),
                };
                let asked = Asked { profile: whose, span: &span, session: session.as_ref(), counted: true };
                let counted: Option<(i64,)> = tx.optional(asked.statement(workspace)).await?;
                Ok(counted.map_or(0, |(total,)| total))
            })
        })
        .await
    }

    /// One event.
    pub async fn event(&self, workspace: WorkspaceId, id: RecordId) -> Result<Option<Moment>, StoreError> {
        for (what, whose, its) in [(EVENT, " WHERE e.workspace_id = $1", "e.id = ?"), (ENTRY, " WHERE h.workspace_id = $1", "h.id = ?")] {
            let mut statement = Builder::new(what, workspace);
            statement.text.push_str(whose);
            statement.and(its, id);
            let row: Option<Columns> = self.pools.one(statement.finish("", 1)).await?;
            if let Some(row) = row {
                return moment(row).map(Some);
            }
        }
        Ok(None)
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
                statement.and("s.profile_id = ?", profile);
                if let Some(channel) = channel {
                    statement.and("s.channel = ?", channel);
                }
                if let Some((at, id)) = after {
                    let (at, id) = (statement.bind(at), statement.bind(id));
                    let day = format!(" AND s.ended_day <= {{day(}}${at}{{)day}} AND (s.ended_at, s.id) < (${at}, ${id})");
                    statement.text.push_str(&day);
                }
                let rows: Vec<StoredSession> =
                    tx.all(statement.finish(" ORDER BY s.ended_day DESC, s.ended_at DESC, s.id DESC", limit)).await?;
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
        self.read(move |tx| Box::pin(async move { session_page(tx, workspace, None, &span).await })).await
    }
}
