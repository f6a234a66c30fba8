//! `POST /v1/segments/preview`

use actix_web::{HttpResponse, post, web::Data};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::everyone_of;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{Body, NoQuery, Query, Shape},
    problem::{ApiResult, Kind, Problem},
    profiles::{search::filter_of, view::ProfileView},
};

/// People of a sample.
const SAMPLE: i64 = 10;

/// A filter to look at before it is saved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSegment {
    #[schema(value_type = Object)]
    pub filter: Value,
}

impl Shape for PreviewSegment {}

/// Whom a segment would hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentPreview {
    /// Exact.
    pub total: i64,
    /// Up to ten of them, most recently seen first.
    #[schema(value_type = Vec<ProfileView>)]
    pub sample: Vec<Box<RawValue>>,
}

/// See whom a segment would hold
///
/// The exact number, and some of them. Nothing is saved.
#[utoipa::path(
    tag = "segments",
    request_body(content = PreviewSegment, example = json!({"filter": {"field": "country", "op": "eq", "value": "GB"}})),
    responses((status = 200, description = "How many, and some of them", body = SegmentPreview)),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/segments/preview")]
pub async fn preview_segment(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    _query: Query<NoQuery>,
    body: Body<PreviewSegment>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let filter = filter_of(&app.store, workspace, Some(&body.value.filter)).await?;
    let found = app.store.find(everyone_of(workspace, filter, SAMPLE, app.store.now())).await?;
    let sample = found.documents.into_iter().map(|document| RawValue::from_string(document.document)).collect::<Result<_, _>>();
    let sample = sample.map_err(|_| Problem::new(Kind::Internal, "A profile could not be read."))?;
    let preview = SegmentPreview { total: found.total.unwrap_or(0), sample };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(preview))
}
