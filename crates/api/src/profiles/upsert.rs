//! `POST /v1/profiles/upsert`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::directory::{Command, Outcome};

use super::{
    body::UpsertProfile,
    view::{ProfileView, UpsertedProfile},
};
use crate::{
    app::App,
    auth::{Caller, ProfilesWrite},
    extract::{Body, NoQuery, Query},
    problem::{ApiResult, Problem, conflicts},
    writes::{Answer, carry_out, only},
};

/// Create a person or update the one who has these identities
///
/// Any identity given finds the person; identities they did not have are learnt. `email`, `phone` and `external_id`
/// become the primary of their kind, and the former one stays beside it. What is absent stays, `null` clears; an
/// identity that is `null` is as absent, since only `PATCH` and the identities routes take one away. Labels are added, consents recorded. When the identities belong to different people the answer is 409 `identity_conflict`, or,
/// with `"on_conflict": "strongest"`, external_id > email > phone > other decides and `duplicates` tells the rest.
#[utoipa::path(
    tag = "profiles",
    request_body(content = UpsertProfile, example = json!({"external_id": "crm-17", "email": "ada@example.com", "company": "Analytical Engines"})),
    responses(
        (status = 200, description = "The person, updated", body = UpsertedProfile, headers(("ETag" = String, description = "The version"))),
        (status = 201, description = "The person, created", body = ProfileView, headers(("Location" = String, description = "Where the person is read"))),
        (status = 409, description = "The identities belong to different profiles (`identity_conflict`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[post("/v1/profiles/upsert")]
pub async fn upsert_profile(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<UpsertProfile>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let now = app.store.now();
    let country = super::country(&app.store, caller.workspace()).await?;
    let (draft, on_conflict) = body.value.parse(country.as_deref(), now)?;
    carry_out(&app, &caller, now, vec![Command::Upsert(draft, on_conflict)], idempotency, |group| match only(group)? {
        Outcome::Upserted { profile, created: true, .. } => {
            Ok(Answer::profile(201, profile).located(format!("/v1/profiles/{}", profile.id)))
        }
        Outcome::Upserted { profile, duplicates, .. } => {
            let mut answer = Answer::profile(200, profile);
            if !duplicates.is_empty() {
                // The document ends with a brace: one more member before it.
                answer.body.pop();
                let duplicates = serde_json::to_string(&conflicts(duplicates)).unwrap_or_default();
                answer.body.push_str(&format!(",\"duplicates\":{duplicates}}}"));
            }
            Ok(answer)
        }
        _ => Err(Problem::not_found()),
    })
    .await
}
