//! `POST /v1/events`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::{
    Code, Issue, Timestamp,
    consent::parse_channel,
    directory::{Command, Outcome},
    event::{
        self, Claim, Event, Incoming, MAX_EVENTS, MAX_ID_BYTES, MAX_PROPERTIES_BYTES, MAX_TYPE_BYTES, MessageKey, RefusedKey, SenderTimes,
        SessionRef, Trust, Whose,
    },
    id::ProfileId,
    identity::NewIdentity,
    refusal::Issues,
    text::clean,
};
use people_store::{Group, Idempotency, Trust as KeyTrust};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::view::RefusedView;
use crate::{
    app::App,
    auth::{Caller, EventsWrite},
    extract::{Body, NoQuery, Query, Shape, typed},
    json,
    problem::{ApiResult, Kind, Problem, ProblemView},
    profiles::{
        body::{IdentityBody, MANY, identity},
        country,
    },
    writes::{Answer, carry_out},
};

/// Events to be taken in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEvents {
    /// 1 to 2,500 events.
    #[schema(value_type = Vec<CreateEvent>)]
    pub events: Vec<Value>,
    /// As they could be read.
    #[serde(skip)]
    #[schema(ignore)]
    read: Vec<ApiResult<Value>>,
    /// When the request was sent, by the clock that also gave `occurred_at`: the events are then placed by ours.
    pub sent_at: Option<String>,
}

impl Shape for CreateEvents {
    const LIMIT: usize = MANY;
    const LIST: Option<&'static str> = Some("events");

    fn hold(&mut self, items: Vec<ApiResult<Value>>) {
        self.read = items;
    }
}

/// One event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEvent {
    /// Whose event it is; or `identities`.
    profile_id: Option<String>,
    /// At most 20 keys by which the person is found, or made; keys they lack are learnt.
    #[serde(default)]
    identities: Vec<IdentityBody>,
    /// What happened: `order_completed`. `system` is kept for what becomes of profiles.
    #[serde(rename = "type")]
    kind: String,
    /// Where: `web`, `email`, `whatsapp`, ….
    channel: Option<String>,
    /// When it happened; now by default. Up to five minutes ahead it is placed at its receipt, beyond that refused.
    occurred_at: Option<String>,
    /// At most 32 KiB.
    #[schema(value_type = Option<Object>)]
    properties: Option<Map<String, Value>>,
    session: Option<CreateSession>,
    /// Makes the event count once, however often it is sent.
    message_id: Option<String>,
}

/// The session an event belongs to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// Your own id; without one, inactivity divides sessions.
    id: Option<String>,
    /// What is known of the session; never part of the profile. Of what several events say, the one that happened last counts.
    /// A session keeps 100 of them, 32 KiB in all: of more those whose names sort first.
    #[schema(value_type = Option<Object>)]
    properties: Option<Map<String, Value>>,
}

/// A result for each event, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"results": [
    {"status": 201, "id": "0192f0c1-7d7e-7aaa-8000-000000000020", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001"},
    {"status": 201, "id": "0192f0c1-7d7e-7aaa-8000-000000000022", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001",
        "refused": [{"kind": "email", "value": "grace@navy.example", "code": "identity_conflict", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000002"}]}
]}))]
pub struct EventResults {
    pub results: Vec<EventResult>,
}

/// What became of one event; the same when it is sent again under its `message_id`. Of an event that was taken or dropped, a key of
/// the trust `browser` is told `status` 201 and nothing else.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventResult {
    /// 201; 200 when it was dropped because of a suppressed identity; or what was wrong: 400, 404, 410, 422.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
    /// Identities that were not taken over; the event was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<RefusedView>>,
    /// `true`: the event names an identity on the suppression list. It was dropped, and counted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ProblemView>,
}

fn parse(mut item: Value, sent_at: Option<Timestamp>, country: Option<&str>, trust: Trust, now: Timestamp) -> ApiResult<Command> {
    if !item.is_object() {
        let detail = format!("expected a JSON object, got {}", people_domain::property::kind_of(&item));
        return Err(Problem::invalid(vec![Issue::new("", "wrong_type", detail)]));
    }
    // They are kept as they came: most of an event, and none of it need be read again.
    let properties = item.get_mut("properties").and_then(Value::as_object_mut).map(std::mem::take);
    let mut body: CreateEvent = typed(item)?;
    body.properties = properties.or(body.properties);
    let mut issues = Issues::default();
    let kind = text(&body.kind, "/type", MAX_TYPE_BYTES, &mut issues);
    if kind.as_deref().is_none_or(|kind| kind == "system" || kind.starts_with("system.")) {
        issues.push("/type", "invalid_type", "a type is a word such as order_completed; system is kept for what becomes of profiles");
    }
    let channel = body.channel.as_deref().and_then(|text| issues.take(parse_channel(text).map_err(|issue| issue.under("/channel"))));
    let message = body.message_id.as_deref().and_then(|id| text(id, "/message_id", MAX_ID_BYTES, &mut issues));
    // The first instant of all is what programs write that know no time; here it stands for never.
    let read = |text: &str| Timestamp::parse(text).filter(|at| *at > Timestamp::MIN);
    let said = match body.occurred_at.as_deref().map(read) {
        Some(None) => {
            issues.push("/occurred_at", "invalid_datetime", "expected an RFC 3339 time such as 2026-01-31T08:00:00Z");
            None
        }
        said => said.flatten(),
    };
    let occurred_at = event::occurred_at(said, sent_at, now);
    if occurred_at.is_none() {
        issues.push("/occurred_at", "in_the_future", "an event cannot lie in the future; send `sent_at` when your clock may be wrong");
    }
    let properties = body.properties.unwrap_or_default();
    bounded(&properties, "/properties", &mut issues);
    let session = body.session.map_or_else(SessionRef::default, |session| {
        let id = session.id.as_deref().and_then(|id| text(id, "/session/id", MAX_ID_BYTES, &mut issues));
        let properties = session.properties.unwrap_or_default();
        bounded(&properties, "/session/properties", &mut issues);
        SessionRef { id, properties }
    });
    let mut refused = Vec::new();
    let whose = match (body.profile_id, body.identities.as_slice()) {
        (Some(id), []) => Whose::Profile(crate::extract::id(&id).map(ProfileId)?),
        (None, [_, ..]) => Whose::Keys(keys(&body.identities, country, &mut refused, &mut issues)),
        _ => {
            issues.push("", "identity_required", "name the person by `profile_id`, or by at least one of `identities`, not by both");
            Whose::Keys(Vec::new())
        }
    };
    issues.into_result()?;
    let (Some(kind), Some(occurred_at)) = (kind, occurred_at) else {
        return Err(Problem::new(Kind::ValidationFailed, "The event cannot be read."));
    };
    Ok(Command::Track(Box::new(Incoming {
        whose,
        claim: Claim::Together,
        trust,
        message: message.map(|id| MessageKey { source: String::new(), id }),
        event: Event { kind, channel, occurred_at, properties },
        context: None,
        times: SenderTimes { original_timestamp: said.filter(|said| sent_at.is_some() || *said != occurred_at), sent_at },
        received_at: now,
        session: Some(session),
        traits: None,
        refused,
        place: None,
    })))
}

/// Keys that can be used. One that cannot is reported, as long as there is another; none at all refuses the event.
fn keys(bodies: &[IdentityBody], country: Option<&str>, refused: &mut Vec<RefusedKey>, issues: &mut Issues) -> Vec<NewIdentity> {
    let mut keys: Vec<NewIdentity> = Vec::new();
    let mut wrong: Vec<Issue> = Vec::new();
    if bodies.len() > 20 {
        issues.push("/identities", "limit_exceeded", "an event names its person by at most 20 identities");
        return keys;
    }
    for (i, body) in bodies.iter().enumerate() {
        match identity(&body.kind, &body.value, country, &format!("/identities/{i}")) {
            Ok(new) if keys.iter().any(|known| known.key == new.key) => {}
            Ok(new) => keys.push(new),
            Err(issue) => {
                let value = body.value.chars().take(100).collect();
                refused.push(RefusedKey {
                    kind: body.kind.chars().take(32).collect(),
                    value,
                    code: issue.code.to_owned(),
                    profile_id: None,
                    said: None,
                });
                wrong.push(issue);
            }
        }
    }
    if keys.is_empty() {
        wrong.into_iter().for_each(|issue| issues.add(issue));
    }
    keys
}

fn text(text: &str, at: &str, max: usize, issues: &mut Issues) -> Option<String> {
    match clean(text, max) {
        Ok(Some(text)) if !text.chars().any(char::is_control) => Some(text),
        Ok(None) => {
            issues.push(at, "blank", "expected at least one visible character");
            None
        }
        _ => {
            issues.push(at, "too_long", format!("expected at most {max} bytes, without control characters"));
            None
        }
    }
}

fn bounded(properties: &Map<String, Value>, at: &str, issues: &mut Issues) {
    // Most are far below the limit: the exact size is asked for only when there are many.
    if properties.len() > 16 || properties.values().any(|v| !matches!(v, Value::Number(_) | Value::Bool(_) | Value::Null)) {
        let bytes = json::size(properties);
        if bytes > MAX_PROPERTIES_BYTES {
            issues.push(at, "limit_exceeded", format!("at most {MAX_PROPERTIES_BYTES} bytes of JSON, these take {bytes}"));
        }
    }
}

/// Under which key an answer is kept. Those that browsers send are their own, key by key: whoever reads a browser's key in a page
/// must not be able to take one that a server is about to use.
pub fn idempotency(sent: Option<Idempotency>, key: &people_store::ApiKey) -> Option<Idempotency> {
    sent.map(|sent| match trust(key) {
        Trust::Browser => Idempotency { key: format!("{}:{}", key.id, sent.key), ..sent },
        Trust::Server => sent,
    })
}

/// How far the key's sender is believed.
pub fn trust(key: &people_store::ApiKey) -> Trust {
    if key.trust == KeyTrust::Browser { Trust::Browser } else { Trust::Server }
}

/// Take in events
///
/// Each event goes to the person its identities name: nobody has them, and a person is made; one does, and learns the
/// others; several do, and people known only by a device are merged into the identified one, while identified people are
/// never merged: the strongest identity decides, and the rest is told under `refused`. A key of the trust `browser` is told
/// neither of whom the event is nor what was refused; the event shows it. From events a person gathers one `external_id`, 50
/// `anonymous_id`, ten `device` and ten identities of any other kind; a browser adds no more than five of such a kind, and none to a person
/// who has 80 in all. More are refused (`identity_cap`). Events are placed by `occurred_at`, however late they come. An event with a `message_id` counts once: sent again, it changes nothing and is
/// answered the same. One that is refused spoils no other. One that names an identity on the suppression list is dropped.
#[utoipa::path(
    tag = "events",
    request_body(content = CreateEvents, example = json!({"events": [
        {"identities": [{"kind": "external_id", "value": "crm-17"}, {"kind": "anonymous_id", "value": "b1946ac9"}], "type": "order_completed",
            "channel": "web", "occurred_at": "2026-01-31T08:00:00Z", "properties": {"total": 120.5}, "message_id": "order-17",
            "session": {"properties": {"landing_page": "/spring"}}},
        {"identities": [{"kind": "email", "value": "grace@navy.example"}], "type": "ticket_opened", "channel": "email"}
    ]})),
    responses((status = 200, description = "A result for each event, in order", body = EventResults)),
    security(("api_key" = ["events:write"]))
)]
#[post("/v1/events")]
pub async fn create_events(
    app: Data<App>,
    caller: Caller<EventsWrite>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateEvents>,
) -> ApiResult<HttpResponse> {
    let idempotency = idempotency(body.idempotency(&request)?, &caller.key);
    let items = body.value.read;
    if !(1..=MAX_EVENTS).contains(&items.len()) {
        return Err(Problem::invalid(vec![Issue::new("/events", "limit_exceeded", format!("a request has 1 to {MAX_EVENTS} events"))]));
    }
    let sent_at = match body.value.sent_at.as_deref().map(Timestamp::parse) {
        Some(None) => {
            let issue = Issue::new("/sent_at", "invalid_datetime", "expected an RFC 3339 time such as 2026-01-31T08:00:00Z");
            return Err(Problem::invalid(vec![issue]));
        }
        sent_at => sent_at.flatten(),
    };
    let country = country(&app.store, caller.workspace()).await?;
    let (now, trust) = (app.store.now(), trust(&caller.key));
    let read: Vec<ApiResult<Command>> =
        items.into_iter().map(|item| item.and_then(|item| parse(item, sent_at, country.as_deref(), trust, now))).collect();
    let mut commands = Vec::with_capacity(read.len());
    let places: Vec<Result<usize, Problem>> = read
        .into_iter()
        .map(|item| {
            item.map(|command| {
                commands.push(command);
                commands.len() - 1
            })
        })
        .collect();
    carry_out(&app, &caller, now, commands, idempotency, move |group| results(group, &places, trust)).await
}

fn arrived() -> EventResult {
    EventResult { status: 201, id: None, profile_id: None, refused: None, suppressed: None, error: None }
}

fn refused(mut problem: Problem, item: usize) -> EventResult {
    for issue in &mut problem.errors {
        issue.pointer.insert_str(0, &format!("/events/{item}"));
    }
    EventResult {
        status: problem.kind.status(),
        id: None,
        profile_id: None,
        refused: None,
        suppressed: None,
        error: Some(problem.view(None, None)),
    }
}

/// Whoever reads a browser's key may not ask with it whose an address is, nor whether it is on the suppression list.
fn results(group: &Group, places: &[Result<usize, Problem>], trust: Trust) -> ApiResult<Answer> {
    let results: Vec<EventResult> = places
        .iter()
        .enumerate()
        .map(|(i, place)| match place {
            Err(problem) => refused(problem.clone(), i),
            Ok(index) => match group.outcomes.get(*index) {
                Some(Ok(Outcome::Tracked { .. })) if trust == Trust::Browser => arrived(),
                Some(Err(refusal)) if trust == Trust::Browser && refusal.code == Code::IdentitySuppressed => arrived(),
                Some(Ok(Outcome::Tracked { event_id, profile_id, refused })) => EventResult {
                    status: 201,
                    id: Some(event_id.to_string()),
                    profile_id: Some(profile_id.to_string()),
                    refused: (!refused.is_empty()).then(|| refused.iter().map(Into::into).collect()),
                    suppressed: None,
                    error: None,
                },
                Some(Err(refusal)) if refusal.code == Code::IdentitySuppressed => {
                    EventResult { status: 200, id: None, profile_id: None, refused: None, suppressed: Some(true), error: None }
                }
                Some(Err(refusal)) => refused(refusal.clone().into(), i),
                _ => refused(Problem::new(Kind::Internal, "The event was not carried out."), i),
            },
        })
        .collect();
    Ok(Answer::json(200, serde_json::to_string(&EventResults { results }).unwrap_or_default()))
}
