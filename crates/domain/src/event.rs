//! Events: what a person did, as filters see them.

use serde_json::Value;

use crate::Timestamp;

/// One event of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened, in the sender's words (`order_completed`).
    pub kind: String,
    pub channel: Option<String>,
    pub occurred_at: Timestamp,
    pub properties: serde_json::Map<String, Value>,
}
