//! Events and sessions as they are answered.

use people_domain::{event::RefusedKey, session::Session};
use people_store::{Happened, Moment};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// An identity of a message that was not taken over.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RefusedIdentity)]
pub struct RefusedView {
    pub kind: String,
    pub value: String,
    /// `identity_conflict`: it belongs to another identified person. `shared_device`: the device is somebody else's.
    /// `identity_cap`: the person has enough of this kind. `untrusted`, of a `trait`: others than browsers wrote what
    /// the person has. Otherwise what is wrong with it: `junk_identity`,
    /// `invalid_email`, ….
    pub code: String,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
}

impl From<&RefusedKey> for RefusedView {
    fn from(key: &RefusedKey) -> Self {
        Self {
            kind: key.kind.clone(),
            value: key.value.clone(),
            code: key.code.clone(),
            profile_id: key.profile_id.map(|id| id.to_string()),
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
    pub id: String,
    pub profile_id: String,
    /// The sender's word; or `system.` and the action: `system.created`, `system.updated`, `system.merged`, ….
    #[serde(rename = "type")]
    pub kind: String,
    pub channel: Option<String>,
    pub occurred_at: String,
    pub received_at: String,
    /// What the sender's clock said; `occurred_at` is corrected by how far it was off when the event was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_timestamp: Option<String>,
    /// When it was sent, by the same clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// Of a system event: `fields` that changed, `actor`, `source`, `reason`, `version`.
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
    pub session_id: Option<String>,
    pub message_id: Option<String>,
    /// Identities of the message that were not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<RefusedView>>,
}

impl From<Moment> for EventView {
    fn from(moment: Moment) -> Self {
        let (id, profile_id, at) = (moment.id.to_string(), moment.profile_id.to_string(), moment.at.to_string());
        match moment.happened {
            Happened::Event { kind, channel, properties, session, message_id, received_at, times, refused } => Self {
                id,
                profile_id,
                kind,
                channel,
                occurred_at: at,
                received_at: received_at.to_string(),
                original_timestamp: times.original_timestamp.map(|at| at.to_string()),
                sent_at: times.sent_at.map(|at| at.to_string()),
                properties,
                session_id: session.map(|id| id.to_string()),
                message_id,
                refused: (!refused.is_empty()).then(|| refused.iter().map(Into::into).collect()),
            },
            Happened::System { action, fields, actor, source, reason, version } => Self {
                id,
                profile_id,
                kind: format!("system.{action}"),
                channel: None,
                received_at: at.clone(),
                original_timestamp: None,
                sent_at: None,
                occurred_at: at,
                properties: Map::from_iter([
                    ("fields".to_owned(), json!(fields)),
                    ("actor".to_owned(), json!(actor)),
                    ("source".to_owned(), json!(source)),
                    ("reason".to_owned(), json!(reason)),
                    ("version".to_owned(), json!(version)),
                ]),
                session_id: None,
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
}
