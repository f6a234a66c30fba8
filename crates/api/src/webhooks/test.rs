//! `POST /v1/webhooks/{id}/test`

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_domain::webhook::TEST;

use super::{
    deliveries::DeliveryView,
    message::{Message, ping},
    redeliver::{before, keep, key_of, told},
    worker::unsent,
};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Send a ping to a webhook
///
/// One signed request of the type `webhook.test`, at once, whether or not the webhook is enabled; the answer tells how it
/// went. What the endpoint answers beyond its status is not shown.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook")),
    responses((status = 200, description = "How it went; also when it failed", body = DeliveryView)),
    security(("api_key" = ["config"]))
)]
#[post("/v1/webhooks/{id}/test")]
pub async fn test_webhook(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (workspace, webhook) = (caller.workspace(), id(&path)?);
    let key = key_of(&request, "test", webhook)?;
    let target = app.store.webhook_target(workspace, webhook).await?.ok_or_else(Problem::not_found)?;
    if let Some(answer) = before(&app, &caller, key.as_ref()).await? {
        return Ok(answer);
    }
    let now = app.store.now();
    let mut delivery = app.store.new_delivery(None, TEST, String::new());
    delivery.message_id = format!("msg_{}", delivery.id.simple());
    let sent = match &target.secrets {
        Ok(secrets) => {
            let message = Message::new(delivery.message_id.clone(), ping(webhook, now), secrets);
            app.sender.send(&target.url, &message, now).await
        }
        Err(class) => unsent(now, class),
    };
    let delivery = app.store.note_delivery(workspace, webhook, (delivery, sent.attempt), keep(key)).await?;
    Ok(told(&delivery.ok_or_else(Problem::not_found)?))
}
