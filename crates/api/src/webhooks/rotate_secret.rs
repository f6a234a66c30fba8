//! `POST /v1/webhooks/{id}/rotate-secret`

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_domain::clock::Span;
use people_store::Idempotency;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{WebhookView, new_secret, sealing, show};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{Query, id, idempotency_key},
    problem::{ApiResult, Problem},
};

/// Longest time two secrets sign side by side: a week.
const LONGEST: i64 = 7 * 24 * 3_600;
const USUAL: i64 = 24 * 3_600;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RotateParams {
    /// Seconds for which the present secret signs as well, 0 to 604800; a day by default.
    grace_seconds: Option<i64>,
}

/// Rotate the secret of a webhook
///
/// The answer shows the new secret, this once. For a time both secrets sign: `webhook-signature` then holds two
/// signatures, separated by a space, and the libraries of Standard Webhooks take either. Rotating again ends the secret
/// before the last one at once.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook"), RotateParams),
    responses((status = 200, description = "The webhook, with its new secret", body = WebhookView)),
    security(("api_key" = ["config"]))
)]
#[post("/v1/webhooks/{id}/rotate-secret")]
pub async fn rotate_webhook_secret(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    path: Path<String>,
    Query(params): Query<RotateParams>,
) -> ApiResult<HttpResponse> {
    let webhook = id(&path)?;
    let grace = params.grace_seconds.unwrap_or(USUAL);
    if !(0..=LONGEST).contains(&grace) {
        return Err(Problem::query("grace_seconds", "Expected 0 to 604800 seconds."));
    }
    if app.store.webhook(caller.workspace(), webhook).await?.is_none() {
        return Err(Problem::not_found());
    }
    sealing(&app)?;
    // There is no body: the path and the query are the request.
    let idempotency = idempotency_key(&request)?
        .map(|key| Idempotency { key, fingerprint: format!("rotate webhook {webhook} {grace} by {}", caller.key.id) });
    let secret = new_secret(&caller, idempotency.as_ref())?;
    let cause = caller.cause(app.store.now());
    let rotation = (secret.clone(), Span::from_seconds(grace));
    let made = app.store.rotate_webhook_secret(caller.workspace(), webhook, rotation, cause, idempotency).await?;
    show(&mut HttpResponse::Ok(), made.ok_or_else(Problem::not_found)?, &secret)
}
