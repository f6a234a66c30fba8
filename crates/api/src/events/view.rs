//! Events and sessions as they are answered.

use people_domain::{
    Timestamp,
    event::RefusedKey,
    id::{ProfileId, RecordId},
    session::Session,
};
use people_store::{Happened, Moment};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

/// What of a message was not taken over: an identity, a trait, a time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RefusedIdentity)]
pub struct RefusedView {
    /// Of the identity; `trait`, of an attribute or a field; `timestamp` or `originalTimestamp`.
    pub kind: String,
    /// Of a trait its name.
    pub value: String,
    /// `identity_conflict`: it belongs to another identified person. `shared_device`: the device is somebody else's.
    /// `identity_cap`: the person has enough of this kind. `untrusted`, of a `trait`: others than browsers wrote what
    /// the person has. `limit_exceeded`, of a trait: the person has room for no more. Otherwise what is wrong with it:
    /// `junk_identity`, `invalid_email`, `wrong_type`, `invalid_timestamp`, ….
    pub code: String,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
    /// Of a trait what the message said, which is kept here alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub said: Option<Value>,
}

impl From<&RefusedKey> for RefusedView {
    fn from(key: &RefusedKey) -> Self {
        Self {
            kind: key.kind.clone(),
            value: key.value.clone(),
            code: key.code.clone(),
            profile_id: key.profile_id.map(|id| id.to_string()),
            said: key.said.clone(),
        }
    }
}

/// Something on a timeline: an event, or, with the type `system.…`, something that became of the profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000020", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "type": "order_completed",
    "channel": "web", "occurred_at": "2026-01-31T08:00:00.000000Z", "received_at": "2026-01-31T08:00:01.000000Z",
    "properties": {"total": 120.5}, "session_id": "0192f0c1-7d7e-7aaa-8000-000000000021", "message_id": "order-17"
}))]
pub struct EventView {
    #[schema(value_type = String)]
    pub id: RecordId,
    #[schema(value_type = String)]
    pub profile_id: ProfileId,
    /// The sender's word; or `system.` and the action: `system.created`, `system.updated`, `system.merged`, ….
    #[serde(rename = "type")]
    pub kind: String,
    pub channel: Option<String>,
    #[schema(value_type = String)]
    pub occurred_at: Timestamp,
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// What the sender's clock said; `occurred_at` is corrected by how far it was off when the event was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub original_timestamp: Option<Timestamp>,
    /// When it was sent, by the same clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sent_at: Option<Timestamp>,
    /// Of a system event: `fields` that changed, `actor`, `source`, `reason`, `version`.
    #[schema(value_type = Object)]
    pub properties: Properties,
    #[schema(value_type = Option<String>)]
    pub session_id: Option<RecordId>,
    /// Where and with what it happened (`page`, `campaign`, `device`, `os`, `library`, …), as a tracking SDK told it, without its `traits`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Box<RawValue>>,
    pub message_id: Option<String>,
    /// Identities of the message that were not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<RefusedView>>,
}

/// What is told of an event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Properties {
    /// By its sender; handed on as it is stored.
    Sent(Box<RawValue>),
    Told {
        fields: Vec<String>,
        actor: String,
        source: String,
        reason: Option<String>,
        version: i64,
    },
}

impl From<Moment> for EventView {
    fn from(Moment { id, profile_id, at, happened }: Moment) -> Self {
        match happened {
            Happened::Event { kind, channel, properties, session, message_id, received_at, times, refused, context } => Self {
                id,
                profile_id,
                kind,
                channel,
                occurred_at: at,
                received_at,
                original_timestamp: times.original_timestamp,
                sent_at: times.sent_at,
                properties: Properties::Sent(properties),
                session_id: session,
                context,
                message_id,
                refused: (!refused.is_empty()).then(|| refused.iter().map(Into::into).collect()),
            },
            Happened::System { action, fields, actor, source, reason, version } => Self {
                id,
                profile_id,
                kind: format!("system.{action}"),
                channel: None,
                occurred_at: at,
                received_at: at,
                original_timestamp: None,
                sent_at: None,
                properties: Properties::Told { fields, actor, source, reason, version },
                session_id: None,
                context: None,
                message_id: None,
                refused: None,
            },
        }
    }
}

/// A page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    pub data: Vec<EventView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// A stretch of a person's events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000021", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "channel": "web",
    "sender_id": null, "started_at": "2026-01-31T08:00:00.000000Z", "ended_at": "2026-01-31T08:12:30.000000Z",
    "duration_seconds": 750, "event_count": 9, "properties": {"landing_page": "/spring"}
}))]
pub struct SessionView {
    pub id: String,
    pub profile_id: String,
    /// Of its first event.
    pub channel: Option<String>,
    /// The sender's own id, when it named the session.
    pub sender_id: Option<String>,
    /// Time of the first event.
    pub started_at: String,
    /// Time of the last event.
    pub ended_at: String,
    pub duration_seconds: i64,
    pub event_count: i64,
    /// What was said of the session; never part of the profile.
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            id: session.id.to_string(),
            profile_id: session.profile_id.to_string(),
            channel: session.channel,
            sender_id: session.sender_id,
            started_at: session.started_at.to_string(),
            ended_at: session.ended_at.to_string(),
            duration_seconds: (session.ended_at.micros() - session.started_at.micros()) / 1_000_000,
            event_count: session.event_count,
            properties: session.properties,
        }
    }
}

/// A page of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    pub data: Vec<SessionView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}
