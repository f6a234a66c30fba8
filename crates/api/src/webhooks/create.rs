//! `POST /v1/webhooks`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::{
    refusal::Issues,
    webhook::{Events, Payload, address},
};
use people_store::NewWebhook;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{WebhookView, description_of, events_of, may_send, new_secret, payload_of, sealing, show};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{Body, NoQuery, Query, Shape},
    problem::ApiResult,
};

/// An endpoint to be told of changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// `https`, a public host, no user name; at most 2048 bytes.
    pub url: String,
    /// What it is for, at most 1000 bytes.
    pub description: Option<String>,
    /// Types of events, or patterns: `profile.created`, `profile.*`, `*`. All by default.
    pub events: Option<Vec<String>>,
    /// `thin` (default): ids and names of fields, no personal data; `full`: the profile besides, as it is when it is sent, which
    /// needs the scope `profiles:read` too.
    pub payload: Option<String>,
    /// `true` by default.
    pub enabled: Option<bool>,
}

impl Shape for CreateWebhook {}

/// Create a webhook
///
/// Every change that is committed from now on is sent to it as a POST, signed as Standard Webhooks
/// (`webhook-id`, `webhook-timestamp`, `webhook-signature`), in order and at least once: `webhook-id` tells a repetition.
/// The body is `{type, timestamp, data}`; `data` holds `sequence`, `profile_id`, `version`, `fields`, `record_id`, of a
/// merge also `merge` (`id`, `primary_id`, `secondary_id`), and where the payload is `full` `profile` (`null` once the
/// person is gone).
///
/// An answer of 2xx within 15 seconds is success. Anything else, redirects included, is tried again for three days, ever
/// more rarely, and the events behind it wait; then the endpoint is disabled, and goes on where it stood once it is
/// enabled again. 410 disables it at once. Addresses that are not public are refused, here or when the name is resolved.
///
/// The secret is shown in this answer only. With an `Idempotency-Key` it is derived from your own key and the request, so
/// that the same request sent again by the same key is answered with the same secret.
#[utoipa::path(
    tag = "webhooks",
    request_body(content = CreateWebhook, example = json!({
        "url": "https://hooks.example.com/people", "description": "CRM", "events": ["profile.*"], "payload": "thin"
    })),
    responses(
        (status = 201, description = "The webhook, with its secret", body = WebhookView, headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "The server has no key to keep secrets under (`webhooks_not_configured`)")
    ),
    security(("api_key" = ["config"]))
)]
#[post("/v1/webhooks")]
pub async fn create_webhook(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateWebhook>,
) -> ApiResult<HttpResponse> {
    let mut idempotency = body.idempotency(&request)?;
    if let Some(idempotency) = &mut idempotency {
        // The secret depends on who asks: the same request by another key is another request.
        idempotency.fingerprint.push_str(&format!(" by {}", caller.key.id));
    }
    let body = body.value;
    let mut issues = Issues::default();
    let url = issues.take(address::target(&body.url, app.webhook_reach));
    let description = body.description.as_deref().and_then(|text| description_of(text, &mut issues));
    let events = body.events.map_or_else(Events::all, |patterns| events_of(&patterns, &mut issues));
    let payload = body.payload.map_or(Payload::Thin, |text| payload_of(&text, &mut issues));
    issues.into_result()?;
    may_send(&caller, payload == Payload::Full)?;
    sealing(&app)?;
    let secret = new_secret(&caller, idempotency.as_ref())?;
    let new = NewWebhook {
        url: url.map(String::from).unwrap_or_default(),
        description,
        events,
        payload,
        enabled: body.enabled.unwrap_or(true),
        secret: secret.clone(),
    };
    let made = app.store.create_webhook(caller.workspace(), new, caller.cause(app.store.now()), idempotency).await?;
    show(&mut HttpResponse::Created(), made, &secret)
}
