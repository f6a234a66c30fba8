//! `POST /v1/merges/{id}/revert`

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_domain::{directory::Command, id::RecordId};
use people_store::Idempotency;
use sha2::{Digest, Sha256};

use super::{create::record, view::MergeView};
use crate::{
    app::App,
    auth::{Caller, ProfilesMerge},
    extract::{NoQuery, Query, id, idempotency_key},
    problem::ApiResult,
    writes::{Answer, carry_out},
};

/// Revert a merge
///
/// Two people again. The secondary is there under their own id, as they were: identities, events, sessions, labels,
/// consents and history go back to whom they came from. On the survivor, each field that still is what the merge made of
/// it becomes what it was; what was edited since stays and is listed under `conflicts`. Events that arrived after the
/// merge stay with the survivor, whoever's key they named, since nobody can tell whose they were; an opt-out recorded
/// after the merge holds for both. Later merges into the same survivor stand. Where the survivor was merged in their turn,
/// that merge is reverted first (409 `merged_further`).
#[utoipa::path(
    tag = "merges",
    params(
        ("id" = String, Path, description = "Id of the merge", example = "0192f0c1-7d7e-7aaa-8000-000000000021"),
        ("X-Reason" = Option<String>, Header, description = "Why, for the history")
    ),
    responses(
        (status = 200, description = "The merge, taken back", body = MergeView),
        (status = 409, description = "It was reverted already (`merge_reverted`), the survivor was merged in their turn (`merged_further`), or one of the two would have no identity left (`merge_not_revertible`)"),
        (status = 410, description = "One of the two was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:merge"]))
)]
#[post("/v1/merges/{id:[0-9a-fA-F-]+}/revert")]
pub async fn revert_merge(
    app: Data<App>,
    caller: Caller<ProfilesMerge>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let merge = RecordId(id(&path)?);
    let idempotency = idempotency_key(&request)?.map(|key| {
        let digest = Sha256::digest(format!("POST\0{}\0", request.path()));
        Idempotency { key, fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect() }
    });
    carry_out(&app, &caller, app.store.now(), vec![Command::Revert { merge }], idempotency, |group| {
        Ok(Answer::json(200, serde_json::to_string(&record(group)?).unwrap_or_default()))
    })
    .await
}
