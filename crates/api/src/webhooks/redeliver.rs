//! `POST /v1/webhooks/{id}/deliveries/{delivery_id}/redeliver`

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_store::{Delivery, Idempotency, KeepAnswer, Repeat, StoredAnswer};
use uuid::Uuid;

use super::{
    deliveries::DeliveryView,
    message::{Message, body},
    worker::unsent,
};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{NoQuery, Query, id, idempotency_key},
    problem::{ApiResult, Kind, Problem},
    writes::again,
};

/// The answer to a request that sent something, kept for a retry.
pub(super) fn keep(key: Option<Idempotency>) -> Option<KeepAnswer> {
    key.map(|key| KeepAnswer(key, Arc::new(stored)))
}

fn stored(delivery: &Delivery) -> StoredAnswer {
    StoredAnswer { status: 200, headers: Vec::new(), body: serde_json::to_string(&DeliveryView::from(delivery)).ok() }
}

pub(super) fn told(delivery: &Delivery) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(DeliveryView::from(delivery))
}

/// What the same request was answered with before.
pub(super) async fn before(app: &App, caller: &Caller<Config>, key: Option<&Idempotency>) -> ApiResult<Option<HttpResponse>> {
    let Some(key) = key else { return Ok(None) };
    match app.store.kept_answer(caller.workspace(), key.clone()).await? {
        None => Ok(None),
        Some(Ok(answer)) => Ok(Some(again(answer))),
        Some(Err(refusal)) => Err(refusal.into()),
    }
}

pub(super) fn key_of(request: &HttpRequest, what: &str, webhook: Uuid) -> ApiResult<Option<Idempotency>> {
    // There is no body: the path is the request.
    Ok(idempotency_key(request)?.map(|key| Idempotency { key, fingerprint: format!("{what} {webhook}") }))
}

/// Send a delivery again
///
/// One request at once, with the same `webhook-id`, whatever became of it before and whether or not the webhook is
/// enabled; the answer tells how it went. The body says what the change was, and with the payload `full` how the person
/// is now. A delivery that is still pending is not overtaken: its next attempt is made at once.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook"), ("delivery_id" = String, Path, description = "Id of the delivery")),
    responses(
        (status = 200, description = "The delivery, with the new attempt", body = DeliveryView),
        (status = 409, description = "A ping, or a change that is not kept any more (`delivery_not_repeatable`)")
    ),
    security(("api_key" = ["config"]))
)]
#[post("/v1/webhooks/{id}/deliveries/{delivery_id}/redeliver")]
pub async fn redeliver(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    path: Path<(String, String)>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (workspace, webhook, delivery_id) = (caller.workspace(), id(&path.0)?, id(&path.1)?);
    let key = key_of(&request, &format!("redeliver {delivery_id}"), webhook)?;
    let target = app.store.webhook_target(workspace, webhook).await?.ok_or_else(Problem::not_found)?;
    if let Some(answer) = before(&app, &caller, key.as_ref()).await? {
        return Ok(answer);
    }
    let (delivery, due) = match app.store.repeat_delivery(workspace, webhook, delivery_id).await?.ok_or_else(Problem::not_found)? {
        Repeat::Now(found) => *found,
        Repeat::Next(delivery) => return Ok(told(&delivery)),
        Repeat::Never => {
            let detail = "A ping, or a change that is not kept any more; send a new ping, or read the profile.";
            return Err(Problem::new(Kind::DeliveryNotRepeatable, detail));
        }
    };
    let now = app.store.now();
    let sent = match &target.secrets {
        Ok(secrets) => {
            let message = Message::new(delivery.message_id.clone(), body(&due, target.payload), secrets);
            app.sender.send(&target.url, &message, now).await
        }
        Err(class) => unsent(now, class),
    };
    let delivery = app.store.note_delivery(workspace, webhook, (delivery, sent.attempt), keep(key)).await?;
    Ok(told(&delivery.ok_or_else(Problem::not_found)?))
}
