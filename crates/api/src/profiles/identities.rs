//! `POST /v1/profiles/{id}/identities` and `DELETE /v1/profiles/{id}/identities/{kind}/{value}`

use actix_web::{
    HttpRequest, HttpResponse, delete, post,
    web::{Data, Path},
};
use people_domain::{
    directory::{Command, Outcome},
    id::ProfileId,
    identity::{IdentityKey, IdentityKind},
};

use super::{
    body::{IdentityBody, identity},
    view::ProfileView,
};
use crate::{
    app::App,
    auth::{Caller, ProfilesWrite},
    extract::{Body, NoQuery, Query, Shape, id, if_match},
    problem::{ApiResult, Problem},
    writes::{Answer, carry_out, only, only_profile},
};

impl Shape for IdentityBody {}

/// Add an identity to a person
///
/// The first of its kind becomes primary. Another spelling of a phone number the person already has is that number.
#[utoipa::path(
    tag = "identities",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for")
    ),
    request_body(content = IdentityBody, example = json!({"kind": "whatsapp", "value": "442079460000"})),
    responses(
        (status = 201, description = "The person, with the identity", body = ProfileView),
        (status = 200, description = "The person had it already", body = ProfileView),
        (status = 409, description = "It belongs to another profile (`identity_taken`)"),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[post("/v1/profiles/{id:[0-9a-fA-F-]+}/identities")]
pub async fn add_identity(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<IdentityBody>,
) -> ApiResult<HttpResponse> {
    let (id, if_match, idempotency) = (ProfileId(id(&path)?), if_match(&request)?, body.idempotency(&request)?);
    let country = super::country(&app.store, caller.workspace()).await?;
    let new = identity(&body.value.kind, &body.value.value, country.as_deref(), "").map_err(|issue| Problem::invalid(vec![issue]))?;
    carry_out(&app, &caller, app.store.now(), vec![Command::AddIdentity { id, identity: new, if_match }], idempotency, |group| match only(
        group,
    )? {
        Outcome::Held(profile) => Ok(Answer::profile(200, profile)),
        outcome => outcome.profile().map(|profile| Answer::profile(201, profile)).ok_or_else(Problem::not_found),
    })
    .await
}

/// Remove an identity from a person
///
/// The next of its kind becomes primary. The last identity stays (422 `identity_required`). The value is percent-encoded
/// in the path, in any spelling.
#[utoipa::path(
    tag = "identities",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("kind" = String, Path, description = "Kind of the identity", example = "email"),
        ("value" = String, Path, description = "Its value", example = "ada@example.com"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for")
    ),
    responses(
        (status = 200, description = "The person, without the identity", body = ProfileView),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)"),
        (status = 422, description = "It is the last one (`identity_required`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[delete("/v1/profiles/{id:[0-9a-fA-F-]+}/identities/{kind}/{value}")]
pub async fn remove_identity(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<(String, String, String)>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (profile, kind, value) = path.into_inner();
    let (id, if_match) = (ProfileId(id(&profile)?), if_match(&request)?);
    let kind = IdentityKind::parse(&kind).ok_or_else(Problem::not_found)?;
    let country = super::country(&app.store, caller.workspace()).await?;
    // A value that cannot be an identity is not one of this person's.
    let key = IdentityKey::parse(&kind, &value, country.as_deref()).map_err(|_| Problem::not_found())?;
    carry_out(&app, &caller, app.store.now(), vec![Command::RemoveIdentity { id, key, if_match }], None, |group| only_profile(group, 200))
        .await
}
