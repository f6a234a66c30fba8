//! Tracking SDKs: the routes, formats and answers the public Segment and RudderStack SDKs expect, unmodified.
//!
//! Their habits decide: success is 200 and nothing else (some send a batch forever on 201 or 204), a fault of the
//! message is 400 (others retry whatever else fails), an error's body has `code`, `message` and `error` at its top. A
//! bad message in a batch is reported and spoils no other.

pub mod message;

use std::io::Read as _;

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Payload},
};
use flate2::read::GzDecoder;
use people_domain::{
    Code,
    directory::{Cause, Command},
    event::MAX_EVENTS,
};
use people_store::{Job, Reply};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use self::message::{Rejected, Setting, message_id, read, time};
use crate::{
    app::App,
    auth::{Caller, EventsWrite, by_key, caller},
    events::create::trust,
    extract::read_all,
    problem::{ApiResult, Kind, Problem},
    profiles::{body::MANY, country},
};

const PATHS: &[&str] = &["identify", "track", "page", "screen", "group", "alias", "batch", "import", "i", "t", "p", "s", "g", "a", "b"];

/// Whether a path is one of these routes, whose answers any web page may read.
pub fn is_route(path: &str) -> bool {
    path.strip_prefix("/v1/").is_some_and(|rest| PATHS.contains(&rest))
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
    /// Of `alias`.
    pub previous_id: Option<String>,
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
    /// Messages that name an identity on the suppression list: dropped, and counted there.
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
    pub code: String,
    pub message: String,
}

fn invalid(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::at(Kind::InvalidMessage, "", code, detail)
}

/// The body, unpacked; E: 400, since SDKs would send a 413 again.
async fn body(request: &HttpRequest, payload: Payload) -> ApiResult<Value> {
    let too_large = || invalid("too_large", format!("A request has at most {MANY} bytes, unpacked."));
    let bytes = read_all(request.headers(), payload.into_inner(), MANY).await.map_err(|problem| match problem.kind {
        Kind::BodyTooLarge => too_large(),
        _ => problem,
    })?;
    let coding = request.headers().get("Content-Encoding").map(|v| v.to_str().unwrap_or_default().trim().to_ascii_lowercase());
    let bytes = match coding.as_deref() {
        None | Some("" | "identity") => bytes,
        Some("gzip") => {
            let mut out = Vec::new();
            let limit = u64::try_from(MANY).unwrap_or(u64::MAX).saturating_add(1);
            let unpacked = GzDecoder::new(bytes.as_slice()).take(limit).read_to_end(&mut out);
            unpacked.map_err(|_| invalid("invalid_gzip", "The body is not gzip, as its Content-Encoding says."))?;
            if out.len() > MANY {
                return Err(too_large());
            }
            out
        }
        Some(_) => return Err(invalid("unsupported_encoding", "The body is sent as it is, or as gzip.")),
    };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("malformed_json", "The body is not JSON."))?;
    strip(&mut value);
    Ok(value)
}

/// Takes out U+0000, which no database keeps: SDKs pass on whatever a page had.
fn strip(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Object(members) => {
            if members.keys().any(|key| key.contains('\0')) {
                let old = std::mem::take(members);
                members.extend(old.into_iter().map(|(key, value)| (key.replace('\0', ""), value)));
            }
            members.values_mut().for_each(strip);
        }
        _ => {}
    }
}

/// The write key a body carries: its own, or that of its first message.
fn write_key(body: &Value) -> Option<&str> {
    let own = body.get("writeKey").and_then(Value::as_str);
    own.or_else(|| body.get("batch")?.get(0)?.get("writeKey")?.as_str())
}

async fn take(app: &App, request: &HttpRequest, payload: Payload, kind: Option<&'static str>) -> ApiResult<HttpResponse> {
    let by_header = caller::<EventsWrite>(request);
    if let Err(problem) = &by_header
        && (problem.kind != Kind::Unauthorized || request.headers().contains_key("Authorization"))
    {
        return Err(problem.clone());
    }
    let body = body(request, payload).await;
    let caller: Caller<EventsWrite> = match by_header {
        Ok(caller) => caller,
        // Nobody is told what is wrong with a body before saying who they are.
        Err(unauthorized) => match body.as_ref().ok().and_then(write_key) {
            Some(key) => by_key(app, request, key).await?,
            None => return Err(unauthorized),
        },
    };
    let Value::Object(mut body) = body? else { return Err(invalid("malformed_json", "Expected a JSON object.")) };
    let messages = match kind {
        Some(kind) => vec![(Some(kind), body)],
        None => batch(&mut body)?,
    };
    respond(app, &caller, messages, kind.is_some()).await
}

/// A message, with its kind where the path says it.
type Message = (Option<&'static str>, Map<String, Value>);

/// The messages of a batch, each with the defaults of the batch under its own.
fn batch(body: &mut Map<String, Value>) -> ApiResult<Vec<Message>> {
    let Some(Value::Array(items)) = body.remove("batch") else {
        return Err(invalid("invalid_batch", "Expected a `batch` of messages."));
    };
    if !(1..=MAX_EVENTS).contains(&items.len()) {
        return Err(invalid("invalid_batch", format!("A batch has 1 to {MAX_EVENTS} messages.")));
    }
    let defaults = body.get("context").and_then(Value::as_object);
    let sent_at = body.get("sentAt");
    Ok(items
        .into_iter()
        .map(|item| {
            let Value::Object(mut item) = item else { return (None, Map::new()) };
            if let Some(defaults) = defaults {
                let mut context = defaults.clone();
                if let Some(Value::Object(own)) = item.remove("context") {
                    context.extend(own);
                }
                item.insert("context".to_owned(), Value::Object(context));
            }
            if let (Some(sent_at), false) = (sent_at, item.contains_key("sentAt")) {
                item.insert("sentAt".to_owned(), sent_at.clone());
            }
            (None, item)
        })
        .collect())
}

async fn respond(app: &App, caller: &Caller<EventsWrite>, messages: Vec<Message>, alone: bool) -> ApiResult<HttpResponse> {
    let (now, source) = (app.store.now(), caller.key.id.to_string());
    let country = country(&app.store, caller.workspace()).await?;
    let setting = Setting { source: &source, trust: trust(&caller.key), country: country.as_deref(), received_at: now, sent_at: None };
    let mut commands = Vec::with_capacity(messages.len());
    let mut taken: Vec<(usize, Option<String>)> = Vec::with_capacity(messages.len());
    let mut rejected: Vec<RejectedMessage> = Vec::new();
    let reject = |index, message_id, why: Rejected| RejectedMessage { index, message_id, code: why.code.to_owned(), message: why.message };
    for (index, (kind, message)) in messages.into_iter().enumerate() {
        let id = message_id(&message);
        let said = message.get("type").and_then(Value::as_str).map(str::to_owned);
        let sent_at = time(message.get("sentAt"));
        match read(kind.or(said.as_deref()).unwrap_or_default(), message, &Setting { sent_at, ..setting }) {
            Ok(incoming) => {
                commands.push(Command::Track(Box::new(incoming)));
                taken.push((index, id));
            }
            Err(why) => rejected.push(reject(index, id, why)),
        }
    }
    let (mut accepted, mut suppressed) = (0, 0);
    if !commands.is_empty() {
        let cause = std::sync::Arc::new(Cause { source: "tracking", ..(*caller.cause(now)).clone() });
        let job = Job { workspace: caller.workspace(), cause, commands, idempotency: None, step: None };
        let Reply::Done(group) = app.store.carry_out(job).await? else {
            return Err(Problem::new(Kind::Internal, "The messages were not carried out."));
        };
        for ((index, id), outcome) in taken.iter().zip(&group.outcomes) {
            match outcome {
                Ok(_) => accepted += 1,
                // Its sender can do nothing about it, and would send it again on any other answer.
                Err(refusal) if refusal.code == Code::IdentitySuppressed => suppressed += 1,
                Err(refusal) => {
                    let code = refusal.issues.first().map_or("refused", |issue| issue.code);
                    rejected.push(reject(*index, id.clone(), Rejected::new(code, refusal.detail.clone())));
                }
            }
        }
        rejected.sort_by_key(|message| message.index);
    }
    match rejected.as_slice() {
        [only] if alone => {
            let code = rejected_code(&only.code);
            Err(invalid(code, only.message.clone()))
        }
        _ => Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(Tracked {
            success: true,
            accepted,
            suppressed,
            rejected,
        })),
    }
}

/// The codes of messages sent alone are those of `message.rs`; what the rules refuse is one.
fn rejected_code(code: &str) -> &'static str {
    ["no_user_anon_id", "invalid_event", "no_group_id", "no_previous_id", "invalid_type", "junk_identity", "too_large", "in_the_future"]
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or("refused")
}

macro_rules! tracking {
    ($($name:ident $path:literal $kind:expr, $summary:literal, $example:tt;)+) => {
        $(
            #[utoipa::path(
                tag = "tracking",
                summary = $summary,
                description = "For the SDKs of Segment and RudderStack, which send it as they always do: the write key as the user name of \
                    Basic authentication or as `writeKey` in the body, JSON as `application/json` or `text/plain`, gzip if they like. \
                    A `messageId` counts once for each key. A key of the trust `browser` attaches identities nobody has and merges \
                    anonymous people into identified ones, nothing else.",
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
            config$(.service($name))+;
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
}
