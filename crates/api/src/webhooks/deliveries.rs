//! `GET /v1/webhooks/{id}/deliveries`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_store::{Attempt, Delivery, DeliveryStatus, Listed};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Caller, Config},
    cursor,
    extract::{Query, id},
    paging::totalled,
    problem::{ApiResult, Problem},
    profiles::list::limit,
};

/// One request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
pub struct AttemptView {
    pub at: String,
    /// Of the answer; `null` where there was none.
    pub status_code: Option<u16>,
    pub duration_ms: u64,
    /// `null` when it was taken; else `status`, `redirect`, `timeout`, `dns`, `connect`, `tls`, `broken` (the connection
    /// ended without an answer), `address_not_public`, `invalid_url` or `secret_unreadable`.
    pub error: Option<String>,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            at: attempt.at.to_string(),
            status_code: attempt.status_code,
            duration_ms: attempt.duration_ms,
            error: attempt.error.clone(),
        }
    }
}

/// What became of an event, or of a ping. What was sent and what was answered is not kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000042", "event_type": "profile.updated", "sequence": 1042,
    "message_id": "msg_0192f0c17d7e7aaa8000000000000041_1042", "status": "delivered", "attempt_count": 2,
    "attempts": [
        {"at": "2026-01-31T08:00:00.000000Z", "status_code": 503, "duration_ms": 12, "error": "status"},
        {"at": "2026-01-31T08:00:05.100000Z", "status_code": 204, "duration_ms": 9, "error": null}
    ],
    "next_attempt_at": null, "created_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct DeliveryView {
    pub id: String,
    pub event_type: String,
    /// The number of the change; `null` for a ping.
    pub sequence: Option<i64>,
    /// `webhook-id` of its requests.
    pub message_id: String,
    /// `pending` (failed so far), `delivered`, `failed` (given up), `skipped` (the webhook went past it).
    pub status: String,
    /// Requests that were sent, repetitions by hand included.
    pub attempt_count: i64,
    /// Oldest first; of more than 30 the newest.
    pub attempts: Vec<AttemptView>,
    pub next_attempt_at: Option<String>,
    pub created_at: String,
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            event_type: delivery.event_type.clone(),
            sequence: delivery.seq,
            message_id: delivery.message_id.clone(),
            status: delivery.status.as_str().to_owned(),
            attempt_count: delivery.attempt_count,
            attempts: delivery.attempts.iter().map(Into::into).collect(),
            next_attempt_at: delivery.next_attempt_at.map(|at| at.to_string()),
            created_at: delivery.created_at.to_string(),
        }
    }
}

#[derive(Clone, Debug, Deserialize, IntoParams, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesParams {
    /// `pending`, `delivered`, `failed` or `skipped`.
    pub status: Option<String>,
    /// Rows of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryList {
    pub data: Vec<DeliveryView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List the deliveries of a webhook
///
/// Newest first. They are kept for seven days, and for the last 100,000 changes of the feed.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook"), DeliveriesParams),
    responses((status = 200, description = "A page of deliveries", body = DeliveryList)),
    security(("api_key" = ["config"]))
)]
#[get("/v1/webhooks/{id}/deliveries")]
pub async fn list_deliveries(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    Query(params): Query<DeliveriesParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, webhook) = (caller.workspace(), id(&path)?);
    let limit = limit(params.limit)?;
    let status = params
        .status
        .as_deref()
        .map(|text| {
            let known = DeliveryStatus::ALL.map(DeliveryStatus::as_str).join(", ");
            DeliveryStatus::parse(text).ok_or_else(|| Problem::query("status", &format!("Expected one of: {known}.")))
        })
        .transpose()?;
    let question = cursor::fingerprint(&("deliveries", webhook, DeliveriesParams { limit: None, cursor: None, ..params.clone() }));
    let before = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    app.store.webhook(workspace, webhook).await?.ok_or_else(Problem::not_found)?;
    let mut rows = app.store.webhook_deliveries(workspace, webhook, status, before, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.id);
    let total = totalled(&app.store, workspace, params.count, Listed::Deliveries { webhook, status }).await?;
    let list = DeliveryList { data: rows.iter().map(Into::into).collect(), next_cursor, total };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}
