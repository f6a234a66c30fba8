//! From commands to an answer, once: idempotency, carrying out, rendering.
//!
//! The function that renders an answer is the same whether it is given now or stored to be given again.

use std::sync::Arc;

use actix_web::{HttpResponse, http::StatusCode};
use people_domain::{
    Timestamp,
    directory::{Command, Outcome},
    profile::Profile,
};
use people_store::{Group, Idempotency, Job, Reply, StoredAnswer};

use crate::{
    app::App,
    auth::{Caller, Scope},
    problem::{ApiResult, Problem},
};

/// An answer that can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// A whole profile, with its version as `ETag`.
    pub fn profile(status: u16, profile: &Profile) -> Self {
        let body = serde_json::to_string(profile).unwrap_or_default();
        // An id that was merged answers with somebody else: the answer says whose it is.
        let headers = vec![("ETag", format!("\"{}\"", profile.version)), ("Content-Location", format!("/v1/profiles/{}", profile.id))];
        Self { status, headers, body }
    }

    pub fn located(mut self, at: String) -> Self {
        self.headers.push(("Location", at));
        self
    }
}

/// Sends one request's commands through the door and answers with `render`.
pub async fn carry_out<S: Scope>(
    app: &App,
    caller: &Caller<S>,
    now: Timestamp,
    commands: Vec<Command>,
    idempotency: Option<Idempotency>,
    render: impl Fn(&Group) -> ApiResult<Answer> + Send + Sync + 'static,
) -> ApiResult<HttpResponse> {
    let render = Arc::new(render);
    let idempotency = idempotency.map(|key| {
        let render = Arc::clone(&render);
        // What was refused changed nothing: repeating it is harmless, and may succeed.
        let stored = move |group: &Group| {
            render(group).ok().map(|answer| StoredAnswer {
                status: answer.status,
                headers: answer.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                body: Some(answer.body),
            })
        };
        (key, Arc::new(stored) as Arc<dyn Fn(&Group) -> Option<StoredAnswer> + Send + Sync>)
    });
    let job = Job { workspace: caller.workspace(), cause: caller.cause(now), commands, idempotency, step: None };
    match app.store.carry_out(job).await? {
        Reply::Done(group) => {
            let answer = render(&group)?;
            Ok(respond(answer.status, answer.headers.iter().map(|(name, value)| (*name, value.as_str())), answer.body, false))
        }
        Reply::Replayed(stored) => Ok(again(stored)),
        Reply::Refused(refusal) => Err(refusal.into()),
    }
}

/// An answer given before, given again.
pub fn again(stored: StoredAnswer) -> HttpResponse {
    let body = stored.body.unwrap_or_else(|| "{\"erased\":true}".to_owned());
    respond(stored.status, stored.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), body, true)
}

fn respond<'h>(status: u16, headers: impl Iterator<Item = (&'h str, &'h str)>, body: String, replayed: bool) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    response.insert_header(("Cache-Control", "no-store")).content_type("application/json");
    for (name, value) in headers {
        response.insert_header((name, value));
    }
    if replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    response.body(body)
}

/// The outcome of the only command.
pub fn only(group: &Group) -> ApiResult<&Outcome> {
    match group.outcomes.first() {
        Some(Ok(outcome)) => Ok(outcome),
        Some(Err(refusal)) => Err(refusal.clone().into()),
        None => Err(Problem::new(crate::problem::Kind::Internal, "Nothing was carried out.")),
    }
}

/// The outcome of the only command, as a whole profile.
pub fn only_profile(group: &Group, status: u16) -> ApiResult<Answer> {
    let outcome = only(group)?;
    outcome.profile().map(|profile| Answer::profile(status, profile)).ok_or_else(Problem::not_found)
}
