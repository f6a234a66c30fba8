//! `GET /v1/labels`

use actix_web::{HttpResponse, get, web::Data};
use people_domain::filter::Field;
use people_store::{Label, Listed};
use serde::Serialize;
use utoipa::ToSchema;

use super::LabelView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::Query,
    paging::{PageParams, totalled},
    problem::ApiResult,
    profiles,
};

/// A page of labels.
#[derive(Debug, Serialize, ToSchema)]
pub struct LabelList {
    pub data: Vec<LabelView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List the labels
///
/// Every label that was made or ever put on somebody, in the order of the names, and how many carry each.
#[utoipa::path(
    tag = "labels",
    params(PageParams),
    responses((status = 200, description = "A page of labels", body = LabelList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/labels")]
pub async fn list_labels(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = profiles::list::limit(params.limit)?;
    let question = cursor::fingerprint(&"labels");
    let after: Option<String> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut rows = app.store.labels(workspace, after, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.name.clone());
    let sizes = app.store.set_sizes(workspace, Field::Labels).await?;
    let counted = |label: Label| {
        let member_count = Some(sizes.get(&label.name).copied().unwrap_or(0));
        LabelView { member_count, ..label.into() }
    };
    let data = rows.into_iter().map(counted).collect();
    let total = totalled(&app.store, workspace, params.count, Listed::Labels).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(LabelList { data, next_cursor, total }))
}
