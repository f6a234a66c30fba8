//! `GET /v1/profiles/{id}`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::ProfileId;

use super::view::ProfileView;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// Read a person
///
/// The whole profile, from one row. The id of somebody who was merged into another is answered with that other, whose
/// path is the `Content-Location`. With `If-None-Match`, a version you already have is answered with 304 and no body.
#[utoipa::path(
    tag = "profiles",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("If-None-Match" = Option<String>, Header, description = "ETag of the version you have")
    ),
    responses(
        (status = 200, description = "The person", body = ProfileView, headers(("ETag" = String, description = "The version"))),
        (status = 304, description = "You have the newest version"),
        (status = 410, description = "The person was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}")]
pub async fn read_profile(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let id = ProfileId(id(&path)?);
    match app.store.document(caller.workspace(), id).await? {
        Some(document) => Ok(super::respond(document)),
        None => {
            let survivor = super::timeline::who_answers(&app.store, caller.workspace(), id).await?;
            let document = app.store.document(caller.workspace(), survivor).await?.ok_or_else(Problem::not_found)?;
            Ok(super::found_at(super::respond(document), id, survivor, ""))
        }
    }
}
