//! `DELETE /v1/webhooks/{id}`

use actix_web::{
    HttpResponse, delete,
    web::{Data, Path},
};

use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Remove a webhook
///
/// Nothing more is sent to it, but for a request that is under way. What was noted of its deliveries goes with it.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of the webhook")),
    responses((status = 204, description = "The webhook is removed")),
    security(("api_key" = ["config"]))
)]
#[delete("/v1/webhooks/{id}")]
pub async fn delete_webhook(app: Data<App>, caller: Caller<Config>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    if !app.store.delete_webhook(caller.workspace(), id(&path)?, caller.cause(app.store.now())).await? {
        return Err(Problem::not_found());
    }
    Ok(HttpResponse::NoContent().finish())
}
