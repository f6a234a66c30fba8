//! `POST /v1/labels`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::refusal::Issues;
use people_store::{Label, LabelMade, StoredAnswer};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{LabelView, color, description, name, refused};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{Body, NoQuery, Query, Shape},
    problem::ApiResult,
    writes::again,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLabel {
    /// At most 128 bytes. Case counts; white space around it does not.
    pub name: String,
    /// `#rrggbb`.
    pub color: Option<String>,
    /// At most 1,000 bytes.
    pub description: Option<String>,
}

impl Shape for CreateLabel {}

/// Make a label
///
/// A label needs no making: the first time it is put on somebody, it becomes part of the catalogue. Made beforehand, it has
/// a colour and a description from the start.
#[utoipa::path(
    tag = "labels",
    request_body(content = CreateLabel, example = json!({"name": "vip", "color": "#1f6feb", "description": "Answered within the hour"})),
    responses(
        (status = 201, description = "The label", body = LabelView, headers(("Location" = String, description = "Where it is read"))),
        (status = 409, description = "There is a label of this name (`label_exists`)")
    ),
    security(("api_key" = ["config"]))
)]
#[post("/v1/labels")]
pub async fn create_label(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateLabel>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let CreateLabel { name: sent, color: shade, description: words } = body.value;
    let mut issues = Issues::default();
    let name = name(&sent, &mut issues);
    let color = shade.and_then(|text| color(&text, &mut issues));
    let description = words.and_then(|text| description(&text, &mut issues));
    issues.into_result()?;
    let name = name.unwrap_or_default();
    let label = Label { name, color, description, created_at: app.store.now(), job: None, becomes: None };
    let location = format!("/v1/labels/{}", percent_encoding::utf8_percent_encode(&label.name, percent_encoding::NON_ALPHANUMERIC));
    // Whoever carries it, the catalogue would know it.
    let view = LabelView { member_count: Some(0), ..label.clone().into() };
    let body = serde_json::to_string(&view).unwrap_or_default();
    let answer = StoredAnswer { status: 201, headers: vec![("Location".to_owned(), location.clone())], body: Some(body.clone()) };
    let cause = caller.cause(label.created_at);
    match app.store.make_label(caller.workspace(), label, cause, idempotency.map(|key| (key, answer))).await?.map_err(refused)? {
        LabelMade::Now => Ok(HttpResponse::Created().insert_header(("Location", location)).content_type("application/json").body(body)),
        LabelMade::Before(stored) => Ok(again(stored)),
    }
}
