//! `/v1/webhooks`: endpoints that are told of every change, signed, in order and at least once. One operation a file;
//! here is the view they share. `worker` delivers, `sender` is the client that goes nowhere it must not, `message` is
//! what is sent.

pub mod create;
pub mod delete;
pub mod deliveries;
pub mod list;
mod message;
pub mod patch;
pub mod read;
pub mod redeliver;
pub mod rotate_secret;
mod sender;
pub mod settings;
pub mod test;
pub mod worker;

use actix_web::{HttpResponse, HttpResponseBuilder};
use hmac::{Hmac, KeyInit, Mac};
use people_domain::{
    refusal::Issues,
    text::clean,
    webhook::{Events, Payload},
};
use people_store::{Idempotency, MAX_WEBHOOKS, Webhook, WebhookMade, WebhookSecret};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use sha2::Sha256;
use utoipa::ToSchema;

pub use sender::Sender;

use crate::{
    app::App,
    auth::{Caller, Config},
    problem::{ApiResult, Kind, Problem},
};

/// Whole profiles are sent on behalf of somebody who may read them. E: 403.
fn may_send(caller: &Caller<Config>, full: bool) -> ApiResult<()> {
    if !full || caller.holds("profiles:read") {
        return Ok(());
    }
    Err(Problem::new(Kind::MissingScope, "The payload `full` holds profiles: this needs a key with the scope `profiles:read` as well."))
}

/// An endpoint, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000041", "url": "https://hooks.example.com/people", "description": "CRM",
    "events": ["profile.*"], "payload": "thin", "enabled": true, "disabled_reason": null, "disabled_at": null, "pending": 0,
    "consecutive_failures": 0, "next_attempt_at": null, "last_success_at": "2026-01-31T08:00:00.000000Z", "last_failure_at": null,
    "previous_secret_expires_at": null, "created_at": "2026-01-31T08:00:00.000000Z", "updated_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct WebhookView {
    pub id: String,
    pub url: String,
    pub description: Option<String>,
    /// Types of events it is told of, or patterns of them.
    pub events: Vec<String>,
    /// `thin`: ids and names of fields; `full`: the profile besides.
    pub payload: String,
    pub enabled: bool,
    /// `paused`: by request; `gone`: it answered 410; `failing`: it failed for three days.
    pub disabled_reason: Option<String>,
    pub disabled_at: Option<String>,
    /// Changes it has not come to yet, those included that it is not told of.
    pub pending: i64,
    /// Attempts at the next event that failed.
    pub consecutive_failures: i64,
    /// When the next event is tried again, where it failed.
    pub next_attempt_at: Option<String>,
    pub last_success_at: Option<String>,
    pub last_failure_at: Option<String>,
    /// Until when the secret before a rotation signs as well.
    pub previous_secret_expires_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    /// What requests are signed with: in the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqr…")]
    pub secret: Option<String>,
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        let text = |at: Option<people_domain::Timestamp>| at.map(|at| at.to_string());
        let (reason, disabled_at) = webhook.disabled.unzip();
        Self {
            id: webhook.id.to_string(),
            url: webhook.url,
            description: webhook.description,
            events: webhook.events.patterns().to_vec(),
            payload: webhook.payload.as_str().to_owned(),
            enabled: reason.is_none(),
            disabled_reason: reason.map(|reason| reason.as_str().to_owned()),
            disabled_at: text(disabled_at),
            pending: webhook.pending,
            consecutive_failures: webhook.consecutive_failures,
            next_attempt_at: text(webhook.next_attempt_at),
            last_success_at: text(webhook.last_success_at),
            last_failure_at: text(webhook.last_failure_at),
            previous_secret_expires_at: text(webhook.former_secret_until),
            created_at: webhook.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
            secret: None,
        }
    }
}

fn description_of(text: &str, issues: &mut Issues) -> Option<String> {
    clean(text, 1_000).unwrap_or_else(|_| {
        issues.push("/description", "invalid_value", "expected at most 1000 bytes of text");
        None
    })
}

fn events_of(patterns: &[String], issues: &mut Issues) -> Events {
    Events::parse(patterns).unwrap_or_else(|found| {
        found.into_iter().for_each(|issue| issues.add(issue));
        Events::all()
    })
}

fn payload_of(text: &str, issues: &mut Issues) -> Payload {
    Payload::parse(text).unwrap_or_else(|| {
        issues.push("/payload", "not_an_option", "expected thin or full");
        Payload::Thin
    })
}

/// A new secret. Of a request that may be sent again it is derived from the caller's own key and the request
/// (HMAC-SHA256), so that a retry is answered with the same secret and nobody has to store it in the open.
fn new_secret(caller: &Caller<Config>, idempotency: Option<&Idempotency>) -> ApiResult<WebhookSecret> {
    let mut secret = [0_u8; 32];
    match idempotency {
        None => {
            getrandom::fill(&mut secret).map_err(|_| Problem::new(Kind::Unavailable, "No randomness for a secret; try again shortly."))?;
        }
        Some(idempotency) => {
            if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(caller.presented.expose_secret().as_bytes()) {
                for part in ["webhook", &idempotency.key, &idempotency.fingerprint] {
                    mac.update(part.as_bytes());
                    mac.update(&[0]);
                }
                secret.copy_from_slice(&mac.finalize().into_bytes());
            }
        }
    }
    Ok(WebhookSecret(secret))
}

/// E: this installation has no key to keep secrets under.
fn sealing(app: &App) -> ApiResult<()> {
    if app.store.can_seal() {
        return Ok(());
    }
    let detail = "This server keeps no secrets: whoever runs it sets PEOPLE_SECRET_KEY, the same on every instance.";
    Err(Problem::new(Kind::WebhooksNotConfigured, detail))
}

/// Answers with the endpoint and its secret.
fn show(response: &mut HttpResponseBuilder, made: WebhookMade, secret: &WebhookSecret) -> ApiResult<HttpResponse> {
    let webhook = match made {
        WebhookMade::Now(webhook) => webhook,
        WebhookMade::Before(webhook) => {
            response.insert_header(("Idempotency-Replayed", "true"));
            webhook
        }
        WebhookMade::Mismatch(refusal) => return Err((*refusal).into()),
        WebhookMade::TooMany => {
            return Err(Problem::new(Kind::LimitExceeded, format!("A workspace has at most {MAX_WEBHOOKS} webhooks; remove one first.")));
        }
    };
    response.insert_header(("Location", format!("/v1/webhooks/{}", webhook.id))).insert_header(("Cache-Control", "no-store"));
    Ok(response.json(WebhookView { secret: Some(message::shown(secret)), ..webhook.into() }))
}

fn answer(webhook: Webhook) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(WebhookView::from(webhook))
}
