//! A message of a tracking SDK, read into what the door understands. What is not understood is left alone, never
//! refused: SDKs send more than anybody asked for, and would send a refused message again and again.

use std::sync::Arc;

use people_domain::{
    Timestamp,
    consent::parse_channel,
    directory::Draft,
    event::{
        self, Claim, Event, Incoming, MAX_ID_BYTES, MAX_TYPE_BYTES, MessageKey, Place, RefusedKey, SenderTimes, SessionRef, Trust, Whose,
    },
    identity::NewIdentity,
    property::{self, Standard},
    text::clean,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::profiles::body::identity;

/// Why one message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub code: &'static str,
    pub message: String,
}

impl Rejected {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The context a batch gives for all its messages. Each has it, so it is written as text once: a small request must not become
/// a large one.
#[derive(Debug, Default)]
pub struct Common {
    members: Map<String, Value>,
    /// Name and value as JSON, of each member that events keep.
    texts: Vec<(String, String)>,
    /// That of a message that says nothing of its own.
    whole: Option<Arc<str>>,
}

impl Common {
    pub fn of(members: Map<String, Value>) -> Self {
        let texts: Vec<(String, String)> =
            members.iter().filter(|(name, _)| *name != TRAITS).map(|(name, value)| (name.clone(), value.to_string())).collect();
        let whole = object_of(texts.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Self { members, texts, whole }
    }
}

/// Who somebody is, is not where they were: a person's traits are learnt from `identify` alone, and no event keeps them.
const TRAITS: &str = "traits";

/// A JSON object of members whose values are JSON already; `None`: there is none.
fn object_of<'t>(members: impl Iterator<Item = (&'t str, &'t str)>) -> Option<Arc<str>> {
    let mut text = String::new();
    for (name, value) in members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(name).to_string());
        text.push(':');
        text.push_str(value);
    }
    (!text.is_empty()).then(|| {
        text.push('}');
        text.into()
    })
}

/// The context of a message: its own over that of its batch.
struct Context<'c> {
    own: Map<String, Value>,
    common: &'c Common,
}

impl Context<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.own.get(name).or_else(|| self.common.members.get(name))
    }

    /// What the event keeps of it.
    fn kept(&self) -> Option<Arc<str>> {
        let own: Vec<(&str, String)> =
            self.own.iter().filter(|(name, _)| *name != TRAITS).map(|(name, value)| (name.as_str(), value.to_string())).collect();
        if own.is_empty() {
            return self.common.whole.clone();
        }
        let said = |name: &str| self.own.contains_key(name);
        let common = self.common.texts.iter().filter(|(name, _)| !said(name)).map(|(name, value)| (name.as_str(), value.as_str()));
        object_of(common.chain(own.iter().map(|(name, value)| (*name, value.as_str()))))
    }
}

/// What all messages of a request share.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The id of the write key: message ids are unique within it.
    pub source: &'a str,
    pub trust: Trust,
    pub country: Option<&'a str>,
    pub received_at: Timestamp,
    pub sent_at: Option<Timestamp>,
}

/// Integers from here on are not told apart where JSON is read into floating point (2^53, RFC 8259 section 6).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An id that is a number of which other numbers are read as the same: two people would become one.
fn is_inexact(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Number(number)) if number.is_f64() && number.as_f64().is_none_or(|n| n.abs() >= EXACT))
}

/// Text as a client may have sent it: numbers count, blanks do not, and neither do characters nobody sees.
fn text(value: Option<&Value>) -> Option<String> {
    let mut text = match value? {
        Value::String(text) => text.clone(),
        // One number has one text, however it was written: `1.0` and `1e0` are 1.
        Value::Number(number) => match number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < EXACT) {
            Some(whole) => format!("{:.0}", whole + 0.0),
            None => number.to_string(),
        },
        _ => return None,
    };
    text.retain(|c| !(c.is_control() || matches!(c, '\u{200B}' | '\u{2060}' | '\u{FEFF}' | '\u{FFFD}'..='\u{FFFF}')));
    clean(&text, 8 * 1024).ok().flatten()
}

/// A time as a client may have sent it: ISO 8601 of any kind, or seconds or milliseconds since 1970.
pub fn time(value: Option<&Value>) -> Option<Timestamp> {
    let read = match value? {
        // An image can send texts only.
        Value::String(text) => Timestamp::parse_loosely(text).or_else(|| Timestamp::from_unix(text.trim().parse().ok()?)),
        Value::Number(number) => number.as_f64().and_then(Timestamp::from_unix),
        _ => None,
    };
    // The first instant of all is what programs write that know no time.
    read.filter(|at| *at > Timestamp::MIN)
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// The id a message is known by. One that is too long to be kept is known by its digest, so that it counts once too.
pub fn message_id(message: &Map<String, Value>) -> Option<String> {
    let id = text(message.get("messageId").filter(|id| !is_inexact(Some(*id))))?;
    if id.len() <= MAX_ID_BYTES {
        return Some(id);
    }
    let digest: String = Sha256::digest(id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{digest}"))
}

/// The two ids of a `merge`, by kind and value.
fn pair(value: Option<Value>) -> Result<[(String, String); 2], Rejected> {
    let wrong = || Rejected::new("invalid_merge", "A merge message needs mergeProperties: two ids, each with its type and value.");
    let Some(Value::Array(items)) = value else { return Err(wrong()) };
    let read: Vec<(String, String)> = items
        .iter()
        .filter(|item| !is_inexact(item.get("value")))
        .filter_map(|item| Some((text(item.get("type"))?, text(item.get("value"))?)))
        .map(|(kind, value)| (kind_of(kind), value))
        .collect();
    if read.len() != items.len() {
        return Err(wrong());
    }
    read.try_into().map_err(|_| wrong())
}

/// What SDKs call the kinds of ids.
fn kind_of(name: String) -> String {
    match name.as_str() {
        "userId" | "user_id" | "externalId" => "external_id".to_owned(),
        "anonymousId" => "anonymous_id".to_owned(),
        _ => name,
    }
}

/// Reads one message of a kind (`identify`, `track`, …).
pub fn read(
    kind: &str,
    mut message: Map<String, Value>,
    common: &Common,
    setting: &Setting<'_>,
    place: Place,
) -> Result<Incoming, Rejected> {
    if ["userId", "anonymousId", "previousId", "groupId", "messageId"].into_iter().any(|field| is_inexact(message.get(field))) {
        return Err(Rejected::new(
            "inexact_id",
            "An id is a number of so many digits that it cannot be told from others; send it as text.",
        ));
    }
    // The ids of a merge are those it names.
    let merged = if kind == "merge" { Some(pair(message.remove("mergeProperties"))?) } else { None };
    let user = text(message.get("userId")).filter(|_| merged.is_none());
    let anonymous = text(message.get("anonymousId")).filter(|_| merged.is_none());
    if user.is_none() && anonymous.is_none() && merged.is_none() {
        return Err(Rejected::new("no_user_anon_id", "A message needs a userId or an anonymousId."));
    }
    let context = Context { own: object(message.remove("context")), common };
    let mut keys: Vec<NewIdentity> = Vec::new();
    let mut refused: Vec<RefusedKey> = Vec::new();
    let mut unusable = None;
    let mut learn = |kind: &str, value: &str| match identity(kind, value, setting.country, "") {
        Ok(new) if keys.iter().any(|known| known.key == new.key) => {}
        Ok(new) => keys.push(new),
        Err(issue) => {
            unusable = unusable.or(Some(issue.code));
            let value = value.chars().take(100).collect();
            refused.push(RefusedKey { kind: kind.to_owned(), value, code: issue.code.to_owned(), profile_id: None, said: None });
        }
    };
    if let Some(user) = &user {
        learn("external_id", user);
    }
    if let Some(anonymous) = &anonymous {
        learn("anonymous_id", anonymous);
    }
    for (kind, value) in merged.iter().flatten() {
        learn(kind, value);
    }
    let mut claim = Claim::Together;
    let mut traits: Option<Map<String, Value>> = None;
    let mut properties = object(message.remove("properties"));
    let mut takes_part = true;
    let name = match kind {
        "identify" => {
            // Mobile and RudderStack SDKs put traits into the context; those at the top are nearer.
            let mut all = spelt(object(context.get(TRAITS).cloned()));
            all.extend(spelt(object(message.remove("traits"))));
            for key in ["email", "phone"] {
                if let Some(value) = text(all.get(key)) {
                    all.shift_remove(key);
                    learn(key, &value);
                }
            }
            traits = Some(all);
            properties = Map::new();
            takes_part = false;
            "identify".to_owned()
        }
        "track" => match text(message.get("event")) {
            None => return Err(Rejected::new("invalid_event", "A track message needs the name of its event.")),
            Some(name) if name.len() > MAX_TYPE_BYTES => {
                return Err(Rejected::new("invalid_event", format!("The name of an event is at most {MAX_TYPE_BYTES} bytes.")));
            }
            Some(name) if name == "system" || name.starts_with("system.") => {
                return Err(Rejected::new("invalid_event", "Names that begin with `system.` are of events that People itself tells of."));
            }
            Some(name) => name,
        },
        "page" | "screen" => {
            for field in ["name", "category"] {
                if let Some(value) = text(message.get(field)) {
                    properties.entry(field).or_insert_with(|| value.into());
                }
            }
            kind.to_owned()
        }
        "group" => {
            let group = text(message.get("groupId")).ok_or_else(|| Rejected::new("no_group_id", "A group message needs a groupId."))?;
            properties = Map::from_iter([("group_id".to_owned(), json!(group))]);
            properties.insert("traits".to_owned(), Value::Object(object(message.remove("traits"))));
            takes_part = false;
            "group".to_owned()
        }
        "alias" => {
            // As SDKs do where the page says nothing: who they were is who they are on this device.
            let previous = text(message.get("previousId")).or_else(|| anonymous.clone().filter(|_| user.is_some()));
            let previous = previous.ok_or_else(|| Rejected::new("no_previous_id", "An alias message needs a previousId."))?;
            // An id nobody could have is reported like any other.
            let former = |kind| identity(kind, &previous, setting.country, "");
            match (former("external_id"), former("anonymous_id")) {
                (Ok(user), Ok(visitor)) => claim = Claim::Formerly { user, visitor },
                _ => learn("anonymous_id", &previous),
            }
            properties = Map::from_iter([("previous_id".to_owned(), json!(previous))]);
            takes_part = false;
            "alias".to_owned()
        }
        "merge" => {
            claim = Claim::OnePerson;
            let ids: Vec<Value> = merged.iter().flatten().map(|(kind, value)| json!({"kind": kind, "value": value})).collect();
            properties = Map::from_iter([("identities".to_owned(), Value::Array(ids))]);
            takes_part = false;
            "merge".to_owned()
        }
        _ => return Err(Rejected::new("invalid_type", "A type is identify, track, page, screen, group, alias or merge.")),
    };
    if keys.is_empty() || (kind == "merge" && keys.len() < 2) {
        let code = unusable.unwrap_or("junk_identity");
        return Err(Rejected::new(code, "None of the message's ids names anybody; a merge needs two that do."));
    }
    let received_at = time(message.get("receivedAt")).filter(|at| setting.trust == Trust::Server && *at <= setting.received_at);
    let received_at = received_at.unwrap_or(setting.received_at);
    for field in ["timestamp", "originalTimestamp"] {
        if let Some(value) = message.get(field).filter(|value| !value.is_null() && time(Some(*value)).is_none()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().take(100).collect();
            refused.push(RefusedKey { kind: field.to_owned(), value, code: "invalid_timestamp".to_owned(), profile_id: None, said: None });
        }
    }
    let (original, timestamp) = (time(message.get("originalTimestamp")), time(message.get("timestamp")));
    let sent_at = time(message.get("sentAt")).or(setting.sent_at);
    let said = if sent_at.is_some() { original.or(timestamp) } else { timestamp.or(original) };
    let occurred_at = event::occurred_at(said, sent_at, received_at)
        .ok_or_else(|| Rejected::new("in_the_future", "The message lies in the future, also by its sentAt."))?;
    let session_id = text(context.get("sessionId")).filter(|id| id.len() <= MAX_ID_BYTES);
    let channel = channel(kind, &message, setting.trust);
    let traits = traits.map(|traits| draft(traits, user.as_deref(), &mut refused));
    Ok(Incoming {
        whose: Whose::Keys(keys),
        claim,
        trust: setting.trust,
        message: message_id(&message).map(|id| MessageKey { source: setting.source.to_owned(), id }),
        event: Event { kind: name, channel, occurred_at, properties },
        context: context.kept(),
        times: SenderTimes { original_timestamp: original.or(timestamp), sent_at },
        received_at,
        session: takes_part.then(|| SessionRef { id: session_id, properties: Map::new() }),
        traits,
        refused,
        place: Some(place),
    })
}

/// Where the person was: a page is the web, a screen an app. A server's own call says nothing of it.
fn channel(kind: &str, message: &Map<String, Value>, trust: Trust) -> Option<String> {
    let said = message.get("channel").and_then(Value::as_str).map(|said| said.trim().to_ascii_lowercase());
    match (kind, said.as_deref()) {
        ("screen", _) | (_, Some("mobile")) => Some("app".to_owned()),
        ("page", _) | (_, Some("web" | "browser")) => Some("web".to_owned()),
        // RudderStack's word for calls of servers, and for what its warehouses and clouds send.
        (_, Some("server" | "sources")) => None,
        (_, Some(other)) => parse_channel(other).ok(),
        (_, None) => (trust == Trust::Browser).then(|| "web".to_owned()),
    }
}

/// What SDKs call fields of ours, beside our own names.
const SPELLINGS: [(&str, &str); 5] =
    [("firstName", "first_name"), ("lastName", "last_name"), ("title", "job_title"), ("avatar", "avatar_url"), ("createdAt", "created_at")];

/// Traits under our names. Where one is there under both, ours is taken, unless it says nothing.
fn spelt(mut traits: Map<String, Value>) -> Map<String, Value> {
    for (theirs, ours) in SPELLINGS {
        if let Some(value) = traits.shift_remove(theirs)
            && traits.get(ours).is_none_or(Value::is_null)
        {
            traits.insert(ours.to_owned(), value);
        }
    }
    traits
}

/// Takes out a reserved trait that is an object; its members go by names such as `address.street`.
fn members(traits: &mut Map<String, Value>, name: &str) -> Vec<(String, Value)> {
    match traits.get(name) {
        Some(Value::Object(_)) => {
            let members = object(traits.shift_remove(name)).into_iter().filter(|(_, value)| !value.is_null());
            members.map(|(key, value)| (format!("{name}.{}", if key == "postalCode" { "postal_code" } else { &key }), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// The reserved traits become the profile's own fields, the others attributes. One that cannot be kept is told of.
fn draft(mut traits: Map<String, Value>, user: Option<&str>, refused: &mut Vec<RefusedKey>) -> Draft {
    let mut draft = Draft::default();
    let mut inner = members(&mut traits, "address");
    inner.extend(members(&mut traits, "company"));
    for (key, value) in inner {
        let own = match key.as_str() {
            "address.city" => "city",
            "address.country" => "country",
            "company.name" => "company",
            _ => &key,
        };
        // What stands at the top is nearer.
        let own = if traits.get(own).is_some_and(|known| !known.is_null()) { &key } else { own };
        traits.insert(own.to_owned(), value);
    }
    // The id of the user, once more.
    if traits.get("id").is_some_and(|id| text(Some(id)).as_deref() == user) {
        traits.shift_remove("id");
    }
    let mut refuse = |name: &str, code: &str, said: Value| {
        let name: String = name.chars().take(100).collect();
        refused.push(RefusedKey::of_trait(&name, code, Some(said)));
    };
    for field in Standard::ALL {
        let Some(said) = traits.shift_remove(field.as_str()).filter(|said| !said.is_null()) else { continue };
        match text(Some(&said)).map(|value| field.parse(&value)) {
            Some(Ok(value)) => draft.standard.push((*field, value)),
            Some(Err(issue)) => refuse(field.as_str(), issue.code, said),
            None if said.as_str().is_some_and(|text| text.trim().is_empty()) => {}
            None => refuse(field.as_str(), if said.is_string() { "too_long" } else { "wrong_type" }, said),
        }
    }
    for (key, value) in traits {
        let is_address = matches!(key.as_str(), "email" | "phone");
        if value.is_null() || (is_address && value.as_str().is_some_and(|text| text.trim().is_empty())) {
            continue;
        }
        if is_address {
            refuse(&key, "wrong_type", value);
        } else if property::is_key(&key) {
            draft.attributes.insert(key, value);
        } else {
            refuse(&key, "invalid_attribute_name", value);
        }
    }
    draft
}
