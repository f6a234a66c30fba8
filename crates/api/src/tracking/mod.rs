//! Tracking SDKs: the routes, formats and answers the public Segment and RudderStack SDKs expect, unmodified.
//!
//! Their habits decide: success is 200 and nothing else (some send a batch forever on 201 or 204), a fault of the
//! message is 400 (others retry whatever else fails), an error's body has `code`, `message` and `error` at its top. A
//! bad message in a batch is reported, listed under `rejected-events`, and spoils no other.

mod body;
pub mod message;
pub mod pixel;

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Payload},
};
use people_domain::{
    Code, Refusal,
    directory::{BROWSER, Cause, Command},
    event::{MAX_EVENTS, MAX_PROPERTIES_BYTES, Place, Trust, Unreadable},
};
use people_store::{Group, Idempotency, Job, Reply, StoreError, StoredAnswer};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::{
    body::Read,
    message::{Common, Rejected, Setting, message_id, read, time},
};
use crate::{
    app::App,
    auth::{Caller, EventsWrite, by_key, caller},
    events::create::{self, trust},
    json,
    problem::{ApiResult, Kind, Problem},
    profiles::country,
    writes::again,
};

const PATHS: &[&str] =
    &["identify", "track", "page", "screen", "group", "alias", "merge", "batch", "import", "i", "t", "p", "s", "g", "a", "b"];
/// Most bytes that the context of a batch may take in all its messages together.
const MAX_CONTEXTS_BYTES: usize = 16 * 1024 * 1024;
/// The same of the traits in it, which are looked at one by one in each message.
const MAX_TRAITS_BYTES: usize = 1024 * 1024;
/// Those that carry their key in the query: a page that is being closed, and an image, can set no header.
const KEYED_BY_QUERY: &[&str] = &["/beacon/v1/batch", "/pixel/v1/track", "/pixel/v1/page"];

/// Whether a path is one of these routes, whose answers any web page may read.
pub fn is_route(path: &str) -> bool {
    path.strip_prefix("/v1/").is_some_and(|rest| PATHS.contains(&rest)) || KEYED_BY_QUERY.contains(&path)
}

/// A message, or a batch of them, as the SDK writes it. Members not listed are left alone.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct TrackingMessage {
    /// Makes the message count once for its key.
    pub message_id: Option<String>,
    /// The `external_id`.
    pub user_id: Option<String>,
    /// The `anonymous_id`; this or `userId` is needed.
    pub anonymous_id: Option<String>,
    /// Of `track`: what happened.
    pub event: Option<String>,
    /// Of `page` and `screen`.
    pub name: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Value>,
    /// Of `identify` and `group`.
    #[schema(value_type = Option<Object>)]
    pub traits: Option<Value>,
    pub group_id: Option<String>,
    /// Of `alias`: what the user was known by, as a user or as a visitor.
    pub previous_id: Option<String>,
    /// Of `merge`: two ids, each `{type, value}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub merge_properties: Option<Vec<Value>>,
    /// Where and with what it happened: kept with the event, but for its `traits`. `sessionId` names the session. Of a batch: what
    /// all its messages have, under their own: at most 32 KiB, 16 MiB with all of them, and 1 MiB of `traits`.
    #[schema(value_type = Option<Object>)]
    pub context: Option<Value>,
    pub timestamp: Option<String>,
    /// When it was sent, by the clock of `timestamp`.
    pub sent_at: Option<String>,
    /// Of `batch` and `import`: 1 to 2,500 messages, each with its `type`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub batch: Option<Vec<Value>>,
}

/// What the SDKs read of an answer, and what they leave alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"success": true, "accepted": 1, "suppressed": 0, "rejected": []}))]
pub struct Tracked {
    pub success: bool,
    pub accepted: usize,
    /// Messages that name an identity on the suppression list: dropped, and counted there. A key of the trust `browser` is told of them
    /// as accepted.
    pub suppressed: usize,
    /// Messages of a batch that were not taken.
    pub rejected: Vec<RejectedMessage>,
}

/// A message that was not taken.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RejectedMessage {
    /// Its place in the batch.
    pub index: usize,
    #[serde(rename = "messageId")]
    pub message_id: Option<String>,
    pub code: &'static str,
    pub message: String,
}

fn invalid(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::at(Kind::InvalidMessage, "", code, detail)
}

/// The write key a body carries: its own, or that of the first message that has one.
fn write_key(body: &Value) -> Option<&str> {
    let own = body.get("writeKey").and_then(Value::as_str);
    own.or_else(|| body.get("batch")?.as_array()?.iter().find_map(|message| message.get("writeKey")?.as_str()))
}

/// The write key of a query, where the path takes one.
fn query_key(request: &HttpRequest) -> Option<String> {
    let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
    let mut keys = pairs.filter(|(name, _)| name == "writeKey").map(|(_, key)| key.into_owned());
    if KEYED_BY_QUERY.contains(&request.path()) { keys.next() } else { None }
}

/// Who the head of the request says it is; `None`: it says nothing, and the key may stand elsewhere.
fn by_header(request: &HttpRequest) -> ApiResult<Option<Caller<EventsWrite>>> {
    match caller(request) {
        Ok(caller) => Ok(Some(caller)),
        Err(problem) if problem.kind == Kind::Unauthorized && !request.headers().contains_key("Authorization") => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn take(app: &App, request: &HttpRequest, payload: Payload, kind: Option<&'static str>) -> ApiResult<HttpResponse> {
    let known = by_header(request)?;
    let body = body::read(request, payload).await;
    let caller = match known {
        Some(caller) => caller,
        // Nobody is told what is wrong with a body before saying who they are.
        None => {
            let key = body.as_ref().ok().and_then(|body| write_key(&body.value)).map(str::to_owned).or_else(|| query_key(request));
            by_key(app, request, key.as_deref().unwrap_or_default()).await?
        }
    };
    let Read { value, unreadable, idempotency } = body?;
    let Value::Object(mut body) = value else { return Err(invalid("malformed_json", "Expected a JSON object.")) };
    let messages = match kind {
        Some(_) => Messages::alone(kind, body),
        None => batch(&mut body, unreadable)?,
    };
    match carry_out(app, &caller, messages, idempotency).await? {
        Carried::Before(answer) => Ok(again(answer)),
        Carried::Now(tracked) => match tracked.rejected.as_slice() {
            [only] if kind.is_some() => Err(invalid(only.code, only.message.clone())),
            _ => Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(tracked)),
        },
    }
}

/// A message as it was sent.
struct Message {
    /// As the path says; else its `type` does.
    kind: Option<&'static str>,
    body: Map<String, Value>,
    /// Why it cannot be taken, where that is known.
    wrong: Option<Rejected>,
}

/// The messages of a request.
struct Messages {
    messages: Vec<Message>,
    /// The context of them all.
    common: Common,
    /// Whether it is a single one, for which what is not taken is an error.
    alone: bool,
}

impl Messages {
    fn alone(kind: Option<&'static str>, body: Map<String, Value>) -> Self {
        Self { messages: vec![Message::new(kind, body)], common: Common::default(), alone: true }
    }
}

impl Message {
    fn new(kind: Option<&'static str>, body: Map<String, Value>) -> Self {
        let too_large = || Rejected::new("too_large", format!("A message takes at most {MAX_PROPERTIES_BYTES} bytes."));
        Self { kind, wrong: (json::size(&body) > MAX_PROPERTIES_BYTES).then(too_large), body }
    }
}

/// The messages of a batch, each with the defaults of the batch under its own.
fn batch(body: &mut Map<String, Value>, mut unreadable: BTreeMap<usize, Rejected>) -> ApiResult<Messages> {
    let Some(Value::Array(items)) = body.remove("batch") else {
        return Err(invalid("invalid_batch", "Expected a `batch` of messages."));
    };
    if !(1..=MAX_EVENTS).contains(&items.len()) {
        return Err(invalid("invalid_batch", format!("A batch has 1 to {MAX_EVENTS} messages.")));
    }
    let defaults = match body.remove("context") {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    // A small request must not become a large one by what it says once for all its messages.
    let spoken = if defaults.is_empty() { 0 } else { json::size(&defaults) };
    let traits = defaults.get("traits").map_or(0, json::size);
    let many = |bytes: usize, most: usize| bytes.saturating_mul(items.len()) > most;
    if spoken > MAX_PROPERTIES_BYTES || many(spoken, MAX_CONTEXTS_BYTES) || many(traits, MAX_TRAITS_BYTES) {
        let limits =
            format!("{MAX_PROPERTIES_BYTES} bytes, and {MAX_CONTEXTS_BYTES} once every message has it ({MAX_TRAITS_BYTES} of traits)");
        return Err(invalid("too_large", format!("The context of a batch takes at most {limits}.")));
    }
    let sent_at = body.get("sentAt");
    let messages = items.into_iter().enumerate().map(|(at, item)| {
        let (item, none) = match item {
            Value::Object(item) => (item, None),
            _ => (Map::new(), Some(Rejected::new("wrong_type", "A message is a JSON object."))),
        };
        let mut message = Message::new(None, item);
        if let Some(why) = unreadable.remove(&at).or(none) {
            message.wrong = Some(why);
        }
        let item = &mut message.body;
        if let (Some(sent_at), None | Some(Value::Null)) = (sent_at, item.get("sentAt")) {
            item.insert("sentAt".to_owned(), sent_at.clone());
        }
        message
    });
    Ok(Messages { messages: messages.collect(), common: Common::of(defaults), alone: false })
}

/// What became of the messages.
enum Carried {
    Now(Tracked),
    /// The same request had been carried out before.
    Before(StoredAnswer),
}

/// Takes the messages in; those that cannot be are listed, in the same transaction.
async fn carry_out(
    app: &App,
    caller: &Caller<EventsWrite>,
    Messages { messages, common, alone }: Messages,
    idempotency: Option<Idempotency>,
) -> ApiResult<Carried> {
    let (now, source) = (app.store.now(), caller.key.id.to_string());
    let country = country(&app.store, caller.workspace()).await?;
    let setting = Setting { source: &source, trust: trust(&caller.key), country: country.as_deref(), received_at: now, sent_at: None };
    let mut commands = Vec::with_capacity(messages.len());
    let mut ids = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let id = message_id(&message.body);
        let place = Place { index, source: source.clone(), message_id: id.clone() };
        ids.push(id);
        let said = message.body.get("type").and_then(Value::as_str).map(str::to_owned);
        let kind = message.kind.or(said.as_deref()).unwrap_or_default();
        let setting = Setting { sent_at: time(message.body.get("sentAt")), ..setting };
        let incoming = match message.wrong {
            Some(why) => Err(why),
            None => read(kind, message.body, &common, &setting, place.clone()),
        };
        commands.push(match incoming {
            Ok(incoming) => Command::Track(Box::new(incoming)),
            Err(why) => Command::Reject(Box::new(Unreadable { place, code: why.code, detail: why.message })),
        });
    }
    let source = if setting.trust == Trust::Browser { BROWSER } else { "tracking" };
    let cause = Arc::new(Cause { source, ..(*caller.cause(now)).clone() });
    let ids = Arc::new(ids);
    let trust = setting.trust;
    let idempotency = create::idempotency(idempotency, &caller.key).map(|key| {
        let ids = Arc::clone(&ids);
        let stored = move |group: &Group| {
            let tracked = told(group, &ids, trust);
            // What was not taken changed nothing: sent again, it may be.
            let taken = tracked.accepted > 0 && (!alone || tracked.rejected.is_empty());
            let body = taken.then(|| serde_json::to_string(&tracked).ok());
            body.flatten().map(|body| StoredAnswer { status: 200, headers: Vec::new(), body: Some(body) })
        };
        (key, Arc::new(stored) as Arc<dyn Fn(&Group) -> Option<StoredAnswer> + Send + Sync>)
    });
    let job = Job { workspace: caller.workspace(), cause, commands, idempotency, step: None };
    match app.store.carry_out(job).await {
        Ok(Reply::Done(group)) => Ok(Carried::Now(told(&group, &ids, trust))),
        Ok(Reply::Replayed(answer)) => Ok(Carried::Before(answer)),
        Ok(Reply::Refused(refusal)) => Err(refusal.into()),
        // A 409 would be dropped by most SDKs; after a 503 they send the messages again.
        Err(StoreError::Raced) => {
            Err(Problem { retry_after: Some(1), ..Problem::new(Kind::Unavailable, "Too much came at once; send it again.") })
        }
        Err(error) => Err(error.into()),
    }
}

/// What is answered. `ids`: of the messages, in order. Whoever reads a browser's key may not ask with it who is on the suppression list.
fn told(group: &Group, ids: &[Option<String>], trust: Trust) -> Tracked {
    let sent = group.outcomes.len();
    // Its sender can do nothing about it, and would send it again on any other answer.
    let dropped = |outcome: &Result<_, Refusal>| outcome.as_ref().is_err_and(|refusal| refusal.code == Code::IdentitySuppressed);
    let suppressed = group.outcomes.iter().filter(|outcome| trust == Trust::Server && dropped(outcome)).count();
    let outcomes = group.outcomes.iter().zip(ids).enumerate();
    let rejected: Vec<RejectedMessage> = outcomes
        .filter(|(_, (outcome, _))| !dropped(outcome))
        .filter_map(|(index, (outcome, message_id))| {
            let refusal = outcome.as_ref().err()?;
            let code = refusal.issues.first().map_or("refused", |issue| issue.code);
            Some(RejectedMessage { index, message_id: message_id.clone(), code, message: refusal.detail.clone() })
        })
        .collect();
    Tracked { success: true, accepted: sent - suppressed - rejected.len(), suppressed, rejected }
}

macro_rules! tracking {
    ($($name:ident $path:literal $kind:expr, $summary:literal, $example:tt $(, $key:literal)?;)+) => {
        $(
            #[utoipa::path(
                tag = "tracking",
                summary = $summary,
                description = "For the SDKs of Segment and RudderStack, which send it as they always do: the write key as the user name of \
                    Basic authentication or as `writeKey` in the body, JSON as `application/json` or `text/plain`, gzip if they like. \
                    A `messageId` counts once for each key. A message that is not taken is listed under `GET /v1/rejected-events`. Of a \
                    message that is taken, what could not be is told under `refused` of its event. Traits: the reserved ones are fields \
                    of the profile, in either spelling (`firstName`, `first_name`); what else `address` and `company` hold becomes \
                    attributes such as `address.street`.\n\n\
                    A key of the trust `browser` can be read by anybody who opens the page, so it is believed only so far: it attaches \
                    identities nobody has, merges anonymous people into identified ones, fills traits that are empty and changes those \
                    that only browsers have written; new attributes it brings while the workspace has fewer than 500. Nobody identified is reached by an address alone where the message names somebody \
                    else as well: the address is refused, and the two may be looked at under `GET /v1/duplicates`. What a server's key or the API wrote stays, and the event tells of it under \
                    `refused`, as `untrusted`. Identified people are never merged by a message; what is refused shows on the timeline.",
                $(params(("writeKey" = Option<String>, Query, description = $key)),)?
                request_body(content = TrackingMessage, example = json!($example)),
                responses(
                    (status = 200, description = "Taken; messages of a batch that were not are listed", body = Tracked),
                    (status = 400, description = "The message cannot be used: `code`, `message` and `error` at the top of the problem tell why")
                ),
                security(("api_key" = ["events:write"]))
            )]
            #[post($path)]
            async fn $name(app: Data<App>, request: HttpRequest, payload: Payload) -> ApiResult<HttpResponse> {
                take(&app, &request, payload, $kind).await
            }
        )+

        /// Registers every route.
        pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
            config$(.service($name))+.service(pixel::pixel_track).service(pixel::pixel_page);
        }
    };
}

tracking! {
    track_identify "/v1/identify" Some("identify"), "Say who somebody is",
        {"userId": "crm-17", "anonymousId": "b1946ac9", "traits": {"email": "ada@example.com", "plan": "pro"}, "messageId": "m-1"};
    track_track "/v1/track" Some("track"), "Say what somebody did",
        {"userId": "crm-17", "event": "order_completed", "properties": {"total": 120.5}, "messageId": "m-2"};
    track_page "/v1/page" Some("page"), "Say which page somebody saw",
        {"anonymousId": "b1946ac9", "name": "Pricing", "properties": {"path": "/pricing"}, "messageId": "m-3"};
    track_screen "/v1/screen" Some("screen"), "Say which screen somebody saw",
        {"anonymousId": "b1946ac9", "name": "Cart", "messageId": "m-4"};
    track_group "/v1/group" Some("group"), "Say which group somebody belongs to",
        {"userId": "crm-17", "groupId": "analytical-engines", "traits": {"employees": 12}, "messageId": "m-5"};
    track_alias "/v1/alias" Some("alias"), "Say that two ids are one person",
        {"previousId": "b1946ac9", "userId": "crm-17", "messageId": "m-6"};
    track_merge "/v1/merge" Some("merge"), "Say that two ids are one person, outright",
        {"mergeProperties": [{"type": "anonymousId", "value": "b1946ac9"}, {"type": "userId", "value": "crm-17"}], "messageId": "m-16"};
    track_batch "/v1/batch" None, "Send many messages",
        {"batch": [{"type": "track", "userId": "crm-17", "event": "order_completed", "messageId": "m-7"}], "sentAt": "2026-01-31T08:00:00Z"};
    track_import "/v1/import" None, "Send many messages of the past",
        {"batch": [{"type": "track", "userId": "crm-17", "event": "order_completed", "timestamp": "2026-01-01T08:00:00Z", "messageId": "m-8"}]};
    track_i "/v1/i" Some("identify"), "Say who somebody is, from a browser", {"userId": "crm-17", "messageId": "m-9"};
    track_t "/v1/t" Some("track"), "Say what somebody did, from a browser", {"userId": "crm-17", "event": "clicked", "messageId": "m-10"};
    track_p "/v1/p" Some("page"), "Say which page somebody saw, from a browser", {"anonymousId": "b1946ac9", "messageId": "m-11"};
    track_s "/v1/s" Some("screen"), "Say which screen somebody saw, from a browser", {"anonymousId": "b1946ac9", "messageId": "m-12"};
    track_g "/v1/g" Some("group"), "Say which group somebody belongs to, from a browser", {"userId": "crm-17", "groupId": "g", "messageId": "m-13"};
    track_a "/v1/a" Some("alias"), "Say that two ids are one person, from a browser", {"previousId": "b1946ac9", "userId": "crm-17", "messageId": "m-14"};
    track_b "/v1/b" None, "Send many messages, from a browser", {"batch": [{"type": "page", "anonymousId": "b1946ac9", "messageId": "m-15"}]};
    track_beacon "/beacon/v1/batch" None, "Send what is left when a page is closed",
        {"batch": [{"type": "page", "anonymousId": "b1946ac9", "messageId": "m-17"}]}, "The write key, when neither a header nor the body has it";
}
