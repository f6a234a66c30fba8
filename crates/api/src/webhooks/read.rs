//! `GET /v1/webhooks/{id}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};

use super::{WebhookView, answer};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Read a webhook
#[utoipa::path(
    tag = "webhooks",
    description = "How it is set, and how it does; never the secret.",
    params(("id" = String, Path, description = "Id of the webhook")),
    responses((status = 200, description = "The webhook", body = WebhookView)),
    security(("api_key" = ["config"]))
)]
#[get("/v1/webhooks/{id}")]
pub async fn read_webhook(app: Data<App>, caller: Caller<Config>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    app.store.webhook(caller.workspace(), id(&path)?).await?.map(answer).ok_or_else(Problem::not_found)
}
