//! A message of a tracking SDK, read into what the door understands. What is not understood is left alone, never
//! refused: SDKs send more than anybody asked for, and would send a refused message again and again.

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

/// Text as a client may have sent it: numbers count, blanks do not, and neither do characters nobody sees.
fn text(value: Option<&Value>) -> Option<String> {
    let mut text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.retain(|c| !(c.is_control() || matches!(c, '\u{200B}' | '\u{2060}' | '\u{FEFF}' | '\u{FFFD}'..='\u{FFFF}')));
    clean(&text, 8 * 1024).ok().flatten()
}

pub fn time(value: Option<&Value>) -> Option<Timestamp> {
    Timestamp::parse(value?.as_str()?.trim())
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// The id a message is known by. One that is too long to be kept is known by its digest, so that it counts once too.
pub fn message_id(message: &Map<String, Value>) -> Option<String> {
    let id = text(message.get("messageId"))?;
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
pub fn read(kind: &str, mut message: Map<String, Value>, setting: &Setting<'_>, place: Place) -> Result<Incoming, Rejected> {
    // The ids of a merge are those it names.
    let merged = if kind == "merge" { Some(pair(message.remove("mergeProperties"))?) } else { None };
    let user = text(message.get("userId")).filter(|_| merged.is_none());
    let anonymous = text(message.get("anonymousId")).filter(|_| merged.is_none());
    if user.is_none() && anonymous.is_none() && merged.is_none() {
        return Err(Rejected::new("no_user_anon_id", "A message needs a userId or an anonymousId."));
    }
    let mut context = object(message.remove("context"));
    let mut keys: Vec<NewIdentity> = Vec::new();
    let mut refused: Vec<RefusedKey> = Vec::new();
    let mut learn = |kind: &str, value: &str| match identity(kind, value, setting.country, "") {
        Ok(new) if keys.iter().any(|known| known.key == new.key) => {}
        Ok(new) => keys.push(new),
        Err(issue) => {
            let value = value.chars().take(100).collect();
            refused.push(RefusedKey { kind: kind.to_owned(), value, code: issue.code.to_owned(), profile_id: None });
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
            let mut all = object(context.remove("traits"));
            all.extend(object(message.remove("traits")));
            for key in ["email", "phone"] {
                if let Some(value) = text(all.remove(key).as_ref()) {
                    learn(key, &value);
                }
            }
            traits = Some(all);
            properties = Map::new();
            takes_part = false;
            "identify".to_owned()
        }
        "track" => text(message.get("event"))
            .filter(|name| name.len() <= MAX_TYPE_BYTES && name != "system" && !name.starts_with("system."))
            .ok_or_else(|| Rejected::new("invalid_event", "A track message needs the name of its event."))?,
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
            let previous =
                text(message.get("previousId")).ok_or_else(|| Rejected::new("no_previous_id", "An alias message needs a previousId."))?;
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
        return Err(Rejected::new("junk_identity", "None of the message's ids names anybody; a merge needs two that do."));
    }
    let received_at = time(message.get("receivedAt")).filter(|at| setting.trust == Trust::Server && *at <= setting.received_at);
    let received_at = received_at.unwrap_or(setting.received_at);
    let said = time(message.get("originalTimestamp")).or_else(|| time(message.get("timestamp")));
    let sent_at = time(message.get("sentAt")).or(setting.sent_at);
    let occurred_at = event::occurred_at(said, sent_at, received_at)
        .ok_or_else(|| Rejected::new("in_the_future", "The message lies in the future, also by its sentAt."))?;
    let session_id = text(context.get("sessionId")).filter(|id| id.len() <= MAX_ID_BYTES);
    let channel = channel(kind, &message, setting.trust);
    let traits = traits.map(|traits| draft(traits, &mut refused));
    Ok(Incoming {
        whose: Whose::Keys(keys),
        claim,
        trust: setting.trust,
        message: message_id(&message).map(|id| MessageKey { source: setting.source.to_owned(), id }),
        event: Event { kind: name, channel, occurred_at, properties },
        times: SenderTimes { original_timestamp: said, sent_at },
        received_at,
        session: takes_part.then(|| SessionRef { id: session_id, properties: Map::new() }),
        traits,
        refused,
        place: Some(place),
    })
}

/// Where the person was: a page is the web, a screen an app. A server's own call says nothing of it.
fn channel(kind: &str, message: &Map<String, Value>, trust: Trust) -> Option<String> {
    match (kind, message.get("channel").and_then(Value::as_str)) {
        ("screen", _) | (_, Some("mobile")) => Some("app".to_owned()),
        ("page", _) | (_, Some("web" | "browser")) => Some("web".to_owned()),
        (_, Some("server")) => None,
        (_, Some(other)) => parse_channel(other).ok(),
        (_, None) => (trust == Trust::Browser).then(|| "web".to_owned()),
    }
}

/// The reserved traits become the profile's own fields, the others attributes. One that cannot be kept is told of.
fn draft(mut traits: Map<String, Value>, refused: &mut Vec<RefusedKey>) -> Draft {
    let mut draft = Draft::default();
    let address = object(traits.remove("address"));
    let company = match traits.remove("company") {
        Some(Value::Object(company)) => company.get("name").cloned(),
        company => company,
    };
    let mut take = |names: &[&str]| names.iter().filter_map(|name| traits.remove(*name)).next_back();
    let found = [
        (Standard::Name, take(&["name"])),
        (Standard::FirstName, take(&["first_name", "firstName"])),
        (Standard::LastName, take(&["last_name", "lastName"])),
        (Standard::Company, company),
        (Standard::JobTitle, take(&["job_title", "title"])),
        (Standard::AvatarUrl, take(&["avatar_url", "avatar"])),
        (Standard::Country, take(&["country"]).or_else(|| address.get("country").cloned())),
        (Standard::City, take(&["city"]).or_else(|| address.get("city").cloned())),
        (Standard::Language, take(&["language"])),
        (Standard::Timezone, take(&["timezone"])),
    ];
    let mut refuse = |value: &str, code: &str| {
        let value = value.chars().take(100).collect();
        refused.push(RefusedKey { kind: "trait".to_owned(), value, code: code.to_owned(), profile_id: None });
    };
    for (field, value) in found {
        let Some(value) = text(value.as_ref()) else { continue };
        match field.parse(&value) {
            Ok(value) => draft.standard.push((field, value)),
            Err(issue) => refuse(field.as_str(), issue.code),
        }
    }
    for (key, value) in traits {
        if value.is_null() || key == "id" {
            continue;
        }
        if property::is_key(&key) {
            draft.attributes.insert(key, value);
        } else {
            refuse(&key, "invalid_attribute_name");
        }
    }
    draft
}
