//! `PATCH /v1/profiles/{id}`

use actix_web::{
    HttpRequest, HttpResponse, patch,
    web::{Data, Path},
};
use people_domain::{directory::Command, id::ProfileId};

use super::{body::PatchProfile, view::ProfileView};
use crate::{
    app::App,
    auth::{Caller, ProfilesWrite},
    extract::{Body, NoQuery, Query, id, if_match},
    problem::ApiResult,
    writes::{carry_out, only_profile},
};

/// Correct a person
///
/// JSON Merge Patch (RFC 7396): absent keeps, `null` clears, attributes merge key by key. `email`, `phone` and
/// `external_id` replace the primary identity of their kind: a typo is corrected, not collected. Labels, consents and
/// further identities have routes of their own. A patch that changes nothing leaves version and history as they are.
#[utoipa::path(
    tag = "profiles",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for"),
        ("X-Reason" = Option<String>, Header, description = "Why, for the history")
    ),
    request_body(content = PatchProfile, example = json!({"company": "Analytical Engines Ltd", "job_title": null, "attributes": {"seats": 20}})),
    responses(
        (status = 200, description = "The person as they are now", body = ProfileView, headers(("ETag" = String, description = "The version"))),
        (status = 409, description = "The identity belongs to another profile (`identity_taken`)"),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[patch("/v1/profiles/{id:[0-9a-fA-F-]+}")]
pub async fn patch_profile(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchProfile>,
) -> ApiResult<HttpResponse> {
    let (id, if_match) = (ProfileId(id(&path)?), if_match(&request)?);
    let country = super::country(&app.store, caller.workspace()).await?;
    let patch = body.value.parse(country.as_deref())?;
    carry_out(&app, &caller, app.store.now(), vec![Command::Update { id, patch, if_match }], None, |group| only_profile(group, 200)).await
}
