//! `GET /v1/webhooks`

use actix_web::{HttpResponse, get, web::Data};
use people_store::Listed;
use serde::Serialize;
use utoipa::ToSchema;

use super::WebhookView;
use crate::{
    app::App,
    auth::{Caller, Config},
    cursor,
    extract::Query,
    paging::{PageParams, totalled},
    problem::ApiResult,
    profiles::list::limit,
};

/// A page of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    pub data: Vec<WebhookView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List webhooks
#[utoipa::path(
    tag = "webhooks",
    description = "The webhooks of the workspace, oldest first, without their secrets. There are at most 50.",
    params(PageParams),
    responses((status = 200, description = "A page of webhooks", body = WebhookList)),
    security(("api_key" = ["config"]))
)]
#[get("/v1/webhooks")]
pub async fn list_webhooks(app: Data<App>, caller: Caller<Config>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = limit(params.limit)?;
    let after = params.cursor.as_deref().map(|cursor| cursor::read(workspace, "webhooks", cursor)).transpose()?;
    let mut rows = app.store.webhooks(workspace, after, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, "webhooks", &mut rows, limit, |last| last.id);
    let data = rows.into_iter().map(Into::into).collect();
    let total = totalled(&app.store, workspace, params.count, Listed::Webhooks).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(WebhookList { data, next_cursor, total }))
}
