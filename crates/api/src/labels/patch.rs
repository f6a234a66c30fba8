//! `PATCH /v1/labels/{name}`

use actix_web::{
    HttpResponse, patch,
    web::{Data, Path},
};
use people_domain::refusal::Issues;
use people_store::LabelChange;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{LabelView, color, description, done, job, name, named, refused};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{Body, NoQuery, Query, Sent, Shape, not_null},
    jobs::JobView,
    problem::ApiResult,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchLabel {
    /// Another name: the label is renamed.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    /// `#rrggbb`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub color: Sent<String>,
    /// At most 1,000 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub description: Sent<String>,
}

impl Shape for PatchLabel {}

/// Change or rename a label
///
/// What is absent stays, `null` clears. A new name reaches everybody: when people carry the label the answer is 202 and a
/// job of the kind `label_rename` changes them, each once, whatever happens to the server meanwhile; who put the label on
/// and when stays as it was. The new name is in the catalogue at once. The old one stays there until nobody carries it,
/// can be taken off, and cannot be put on anybody (409 `label_going`); then it answers 404. When the job is cancelled, both
/// stay, each on those who carry it. Two labels are not made one by renaming: a name that is there is refused.
#[utoipa::path(
    tag = "labels",
    params(("name" = String, Path, description = "The label, percent-encoded", example = "vip")),
    request_body(content = PatchLabel, example = json!({"name": "gold", "color": "#d4a72c"})),
    responses(
        (status = 200, description = "The label as it is now", body = LabelView),
        (status = 202, description = "The job that renames it", body = JobView, headers(("Location" = String, description = "Where the job is followed"))),
        (status = 409, description = "There is a label of this name (`label_exists`), the label is being renamed or removed (`label_going`), or a rule or segment uses it (`label_in_use`)")
    ),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/labels/{name}")]
pub async fn patch_label(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchLabel>,
) -> ApiResult<HttpResponse> {
    let label = named(&path)?;
    let PatchLabel { name: new, color: shade, description: words } = body.value;
    let mut issues = Issues::default();
    let change = LabelChange {
        name: new.and_then(|text| name(&text, &mut issues)),
        color: shade.into_option().map(|shade| shade.and_then(|text| color(&text, &mut issues))),
        description: words.into_option().map(|words| words.and_then(|text| description(&text, &mut issues))),
    };
    issues.into_result()?;
    let changed = app.store.change_label(label, change, job(&app, &caller, app.store.now())).await?.map_err(refused)?;
    done(&app, caller.workspace(), changed).await
}
