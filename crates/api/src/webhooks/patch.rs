//! `PATCH /v1/webhooks/{id}`

use actix_web::{
    HttpResponse, patch,
    web::{Data, Path},
};
use people_domain::{
    refusal::Issues,
    webhook::{Payload, address},
};
use people_store::WebhookPatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{WebhookView, answer, description_of, events_of, may_send, payload_of};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{Body, NoQuery, Query, Sent, Shape, id, not_null},
    problem::{ApiResult, Problem},
};

/// What is to be another; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchWebhook {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub url: Option<String>,
    /// `null` removes it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub description: Sent<String>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<String>)]
    pub events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub payload: Option<String>,
    /// `false` pauses it; `true` also brings one back that was disabled, and tries at once.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool)]
    pub enabled: Option<bool>,
    /// `cursor` (default): goes on where it stood; `latest`: passes over everything that has happened so far.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub resume_from: Option<String>,
}

impl Shape for PatchWebhook {}

/// Change a webhook
///
/// Takes effect within a second on every instance. What happens while a webhook is disabled is kept for it: once enabled
/// it goes on where it stood, unless `resume_from` is `latest`.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook")),
    request_body(content = PatchWebhook, example = json!({"events": ["profile.merged", "profile.erased"]})),
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookView),
        (status = 410, description = "It was disabled for so long that changes it has not come to are not kept any more (`cursor_expired`): enable it from `latest`")
    ),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/webhooks/{id}")]
pub async fn patch_webhook(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchWebhook>,
) -> ApiResult<HttpResponse> {
    let webhook = id(&path)?;
    let body = body.value;
    let mut issues = Issues::default();
    let patch = WebhookPatch {
        url: body.url.and_then(|text| issues.take(address::target(&text, app.webhook_reach))).map(String::from),
        description: body.description.into_option().map(|sent| sent.and_then(|text| description_of(&text, &mut issues))),
        events: body.events.map(|patterns| events_of(&patterns, &mut issues)),
        payload: body.payload.map(|text| payload_of(&text, &mut issues)),
        enabled: body.enabled,
        from_latest: match body.resume_from.as_deref() {
            None | Some("cursor") => false,
            Some("latest") => true,
            Some(_) => {
                issues.push("/resume_from", "not_an_option", "expected cursor or latest");
                false
            }
        },
    };
    issues.into_result()?;
    // Also where whole profiles go is decided by somebody who may read them.
    let full = match patch.payload {
        Some(payload) => payload == Payload::Full,
        None if patch.url.is_some() => {
            let current = app.store.webhook(caller.workspace(), webhook).await?.ok_or_else(Problem::not_found)?;
            current.payload == Payload::Full
        }
        None => false,
    };
    may_send(&caller, full)?;
    let cause = caller.cause(app.store.now());
    app.store.patch_webhook(caller.workspace(), webhook, patch, cause).await?.map(answer).ok_or_else(Problem::not_found)
}
