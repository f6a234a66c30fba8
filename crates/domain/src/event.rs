//! Events: what a person did. What a sender says, the rules it is held to, and what is kept of it.
//!
//! An event is placed by when it happened, whenever it arrives. Who did it is decided in `resolve`, which session it
//! belongs to in `session`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Timestamp,
    clock::Span,
    directory::Draft,
    id::{ProfileId, RecordId},
    identity::NewIdentity,
};

/// Longest type of an event, in bytes.
pub const MAX_TYPE_BYTES: usize = 200;
/// Longest message id and longest session id of a sender, in bytes.
pub const MAX_ID_BYTES: usize = 200;
/// Most bytes of properties of one event, as JSON.
pub const MAX_PROPERTIES_BYTES: usize = 32 * 1024;
/// Most events of one request.
pub const MAX_EVENTS: usize = 2_500;
/// How far ahead of ours a sender's clock may be, in seconds.
const AHEAD: i64 = 300;

/// One event of a timeline, as filters see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened, in the sender's words (`order_completed`).
    pub kind: String,
    pub channel: Option<String>,
    pub occurred_at: Timestamp,
    pub properties: Map<String, Value>,
}

/// Where and with what an event happened (page, campaign, device, …), as its sender told it: a JSON object that no rule looks into.
pub type Context = Arc<str>;

/// Whose event it is, as the sender says.
#[derive(Clone, Debug, PartialEq)]
pub enum Whose {
    Profile(ProfileId),
    Keys(Vec<NewIdentity>),
}

/// How far a sender is believed. A browser's key is public: anybody can send with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Server,
    Browser,
}

/// What makes a message the same message when it comes again: its id, within its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Empty for `POST /v1/events`; the id of the write key for tracking SDKs.
    pub source: String,
    pub id: String,
}

/// A session as the sender names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionRef {
    /// The sender's own id; without one, inactivity divides sessions.
    pub id: Option<String>,
    pub properties: Map<String, Value>,
}

/// What a message says of its keys beside that they came together.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Claim {
    #[default]
    Together,
    /// `alias`: the author was known by this id before, which may be a user's or a visitor's.
    Formerly { user: NewIdentity, visitor: NewIdentity },
    /// `merge`: they are one person, outright.
    OnePerson,
}

/// What the sender's clock said, as it was told: the placing of an event can be checked by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderTimes {
    pub original_timestamp: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
}

/// A message as it arrives, checked in shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    pub whose: Whose,
    pub claim: Claim,
    pub trust: Trust,
    pub message: Option<MessageKey>,
    pub event: Event,
    pub context: Option<Context>,
    pub times: SenderTimes,
    /// Ours; or that of a server of the sender's own that had it first.
    pub received_at: Timestamp,
    /// `None`: it belongs to no session (`identify`, `alias`, `group`).
    pub session: Option<SessionRef>,
    /// What the message says about the person (`identify`); `None` for mere events.
    pub traits: Option<Draft>,
    /// Keys that could not be read, to be reported.
    pub refused: Vec<RefusedKey>,
    /// Where it stood, when those that are not taken are listed.
    pub place: Option<Place>,
}

/// Where a message stood in what a tracking SDK sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub index: usize,
    /// The id of the write key.
    pub source: String,
    pub message_id: Option<String>,
}

/// A message that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub place: Place,
    pub code: &'static str,
    /// What was wrong, in words of ours: nothing of what the message said.
    pub detail: String,
}

/// A message that was not taken, as it is listed. Of what it said nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Later ones have higher ids.
    pub id: RecordId,
    pub place: Place,
    pub code: String,
    pub detail: String,
    pub received_at: Timestamp,
}

/// A key or a trait of a message that was not taken over, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedKey {
    pub kind: String,
    pub value: String,
    /// `junk_identity`, `invalid_email`, …; `identity_conflict`: it belongs to another identified person;
    /// `shared_device`: it is the device of somebody else; `identity_cap`: the person has enough of this kind;
    /// `untrusted`: a browser may not change what others wrote (of a trait); `invalid_timestamp`: the time cannot be read.
    pub code: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// Of a trait what was said: it stands nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Value>,
}

impl RefusedKey {
    pub fn of_trait(name: &str, code: &str, said: Option<Value>) -> Self {
        Self { kind: "trait".to_owned(), value: name.to_owned(), code: code.to_owned(), profile_id: None, said }
    }
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    pub id: RecordId,
    pub profile_id: ProfileId,
    /// Who it was before any merge.
    pub origin_profile_id: ProfileId,
    pub event: Event,
    pub context: Option<Context>,
    pub message: Option<MessageKey>,
    pub session: Option<SessionRef>,
    pub times: SenderTimes,
    pub received_at: Timestamp,
    pub refused: Vec<RefusedKey>,
}

/// A message that had arrived before.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub id: RecordId,
    pub profile_id: ProfileId,
    pub refused: Vec<RefusedKey>,
}

/// Properties as they are kept: as deep as they came in, which is more than the reader of JSON goes by itself.
pub fn read_properties(json: &str) -> serde_json::Result<Map<String, Value>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.disable_recursion_limit();
    Map::deserialize(&mut reader)
}

/// When an event happened, by our clock: the sender's clock is off by what it says it sent at and when it arrived
/// (Segment's specification, *common fields*). Sent before it happened, by more than clocks are rounded: then nothing can be told
/// from when it was sent. E: more than five minutes in the future.
pub fn occurred_at(said: Option<Timestamp>, sent_at: Option<Timestamp>, received_at: Timestamp) -> Option<Timestamp> {
    let at = match (said, sent_at) {
        (Some(said), Some(sent)) if said <= sent.plus(Span::from_seconds(AHEAD)) => {
            let before_sending = sent.micros().checked_sub(said.micros())?;
            Timestamp::from_micros(received_at.micros().checked_sub(before_sending)?)?
        }
        (Some(said), _) => said,
        (None, _) => received_at,
    };
    // A clock a little ahead of ours is forgiven; nothing has happened that is yet to come.
    (at <= received_at.plus(Span::from_seconds(AHEAD))).then(|| at.min(received_at))
}

#[cfg(test)]
mod tests {
    use super::occurred_at;
    use crate::Timestamp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000).unwrap_or(Timestamp::MIN)
    }

    #[test]
    fn a_senders_clock_is_corrected_by_when_it_says_it_sent() {
        // A clock an hour fast: the event happened ten seconds before it was sent.
        assert_eq!(occurred_at(Some(at(3_590)), Some(at(3_600)), at(5)), Some(at(-5)));
        assert_eq!(occurred_at(Some(at(-90)), None, at(0)), Some(at(-90)));
        assert_eq!(occurred_at(None, Some(at(3_600)), at(0)), Some(at(0)));
        // Sent in the very second in which it happened, by a clock that knows no smaller ones.
        assert_eq!(occurred_at(Some(at(3_601)), Some(at(3_600)), at(0)), Some(at(0)));
        // Sent long before it happened: the one or the other is wrong.
        assert_eq!(occurred_at(Some(at(-60)), Some(at(-660)), at(0)), Some(at(-60)));
    }

    #[test]
    fn the_far_future_is_refused_and_the_near_one_is_now() {
        assert_eq!(occurred_at(Some(at(200)), None, at(0)), Some(at(0)));
        assert_eq!(occurred_at(Some(at(301)), None, at(0)), None);
        assert_eq!(occurred_at(Some(Timestamp::MAX), Some(Timestamp::MIN), at(0)), None);
    }
}
