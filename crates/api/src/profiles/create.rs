//! `POST /v1/profiles`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::directory::{Command, Outcome};

use super::{body::CreateProfile, view::ProfileView};
use crate::{
    app::App,
    auth::{Caller, ProfilesWrite},
    extract::{Body, NoQuery, Query},
    problem::{ApiResult, Problem},
    writes::{Answer, carry_out, only},
};

/// Create a person
///
/// At least one identity is needed. An identity that belongs to somebody else is answered with 409 and whose it is;
/// `POST /v1/profiles/upsert` updates them instead. Attributes without a definition are given one by their first value,
/// unless the workspace is strict.
#[utoipa::path(
    tag = "profiles",
    request_body(content = CreateProfile, example = json!({
        "email": "ada@example.com", "phone": "+44 20 7946 0000", "first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines",
        "country": "GB", "attributes": {"plan": "pro", "seats": 12}, "labels": ["vip"],
        "consents": [{"channel": "email", "status": "opted_in", "source": "signup form"}]
    })),
    responses(
        (status = 201, description = "The person", body = ProfileView, headers(("Location" = String, description = "Where the person is read"), ("ETag" = String, description = "The version"))),
        (status = 409, description = "An identity belongs to another profile (`identity_taken`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[post("/v1/profiles")]
pub async fn create_profile(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateProfile>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let now = app.store.now();
    let country = super::country(&app.store, caller.workspace()).await?;
    let draft = body.value.parse(country.as_deref(), now)?;
    carry_out(&app, &caller, now, vec![Command::Create(draft)], idempotency, |group| match only(group)? {
        Outcome::Created(profile) => Ok(Answer::profile(201, profile).located(format!("/v1/profiles/{}", profile.id))),
        _ => Err(Problem::not_found()),
    })
    .await
}
