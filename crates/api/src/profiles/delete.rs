//! `DELETE /v1/profiles/{id}`

use actix_web::{
    HttpRequest, HttpResponse, delete,
    web::{Data, Path},
};
use people_domain::{
    directory::{Command, Outcome},
    id::ProfileId,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    auth::{Caller, ProfilesDelete},
    erasures::ErasureView,
    extract::{Query, id, if_match},
    problem::{ApiResult, Problem},
    writes::{Answer, carry_out, only},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// `true`: the person's identities go on the suppression list, and are not taken in again.
    suppress: Option<bool>,
}

/// Erase a person
///
/// Permanent. The profile, its identities, events, history, consents, labels, search text and stored answers go in one
/// transaction, those of everyone who was merged into it included; the receipt tells how much went. The id answers 410
/// from now on. The identities are free at once, unless `suppress` puts them on the suppression list: who names one
/// explicitly is then refused with `identity_suppressed`, and messages that name one are dropped. The list holds keyed
/// hashes, never values.
#[utoipa::path(
    tag = "profiles",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        DeleteParams,
        ("If-Match" = Option<String>, Header, description = "ETag of the version that is meant"),
        ("X-Reason" = Option<String>, Header, description = "Why, for the receipt")
    ),
    responses(
        (status = 200, description = "The receipt", body = ErasureView),
        (status = 410, description = "Erased already (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)")
    ),
    security(("api_key" = ["profiles:delete"]))
)]
#[delete("/v1/profiles/{id:[0-9a-fA-F-]+}")]
pub async fn delete_profile(
    app: Data<App>,
    caller: Caller<ProfilesDelete>,
    request: HttpRequest,
    path: Path<String>,
    Query(params): Query<DeleteParams>,
) -> ApiResult<HttpResponse> {
    let (id, if_match) = (ProfileId(id(&path)?), if_match(&request)?);
    carry_out(
        &app,
        &caller,
        app.store.now(),
        vec![Command::Erase { id, if_match, suppress: params.suppress.unwrap_or(false) }],
        None,
        |group| match only(group)? {
            Outcome::Erased { erasure_id, .. } => {
                let receipt = group.receipts.get(erasure_id).ok_or_else(Problem::not_found)?;
                Ok(Answer::json(200, serde_json::to_string(&ErasureView::from(receipt)).unwrap_or_default()))
            }
            _ => Err(Problem::not_found()),
        },
    )
    .await
}
