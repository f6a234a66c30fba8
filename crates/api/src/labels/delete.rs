//! `DELETE /v1/labels/{name}`

use actix_web::{
    HttpResponse, delete,
    web::{Data, Path},
};

use super::{done, job, named, refused};
use crate::{
    app::App,
    auth::{Caller, Config},
    extract::{NoQuery, Query},
    jobs::JobView,
    problem::ApiResult,
};

/// Remove a label
///
/// From the catalogue, and from everybody: when people carry it the answer is 202 and a job of the kind `label_removal`
/// takes it off them, each once, whatever happens to the server meanwhile. Until then it stays in the catalogue and cannot
/// be put on anybody (409 `label_going`). When the job is cancelled, the label stays, on those who still carry it.
#[utoipa::path(
    tag = "labels",
    params(("name" = String, Path, description = "The label, percent-encoded", example = "vip")),
    responses(
        (status = 202, description = "The job that removes it", body = JobView, headers(("Location" = String, description = "Where the job is followed"))),
        (status = 204, description = "It is gone; nobody carried it"),
        (status = 409, description = "It is being renamed or removed (`label_going`), or a rule or segment uses it (`label_in_use`)")
    ),
    security(("api_key" = ["config"]))
)]
#[delete("/v1/labels/{name}")]
pub async fn delete_label(app: Data<App>, caller: Caller<Config>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    let removed = app.store.remove_label(named(&path)?, job(&app, &caller, app.store.now())).await?.map_err(refused)?;
    done(&app, caller.workspace(), removed).await
}
