//! `GET /v1/profiles/{id}/duplicates`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::ProfileId;

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    duplicates::{list::DuplicateParams, view::SuggestionList},
    extract::{Query, id},
    problem::ApiResult,
};

/// List the possible duplicates of a person
///
/// The pairs this person is part of, best first, as `GET /v1/duplicates` lists those of everybody.
#[utoipa::path(
    tag = "duplicates",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), DuplicateParams),
    responses((status = 200, description = "A page of pairs", body = SuggestionList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/duplicates")]
pub async fn profile_duplicates(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<DuplicateParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let asked = params.ask(workspace, Some(profile))?;
    let who = super::timeline::who_answers(&app.store, workspace, profile).await?;
    let list = asked.about(who).page(&app.store, workspace).await?;
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list);
    Ok(super::found_at(answer, profile, who, "/duplicates"))
}
