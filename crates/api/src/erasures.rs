//! Receipts of erasure.

use actix_web::{
    get,
    web::{Data, Json, Path},
};
use people_domain::id::RecordId;
use people_store::Receipt;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Problem},
};

/// The receipt of an erasure: that it happened, when, and how much went. It holds nothing of the person.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Erasure, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000002",
    "erased_at": "2026-01-31T08:00:00.000000Z", "counts": {"identities": 2, "history": 5, "events": 0, "labels": 1, "consents": 1, "segments": 0},
    "scrubbed_at": null
}))]
pub struct ErasureView {
    pub id: String,
    pub profile_id: String,
    pub erased_at: String,
    /// Rows removed, by kind.
    pub counts: BTreeMap<String, i64>,
    /// When the bytes left the database files: on SQLite a moment after the erasure, on PostgreSQL when its operator runs
    /// `people scrub`. `null` until then.
    pub scrubbed_at: Option<String>,
}

impl From<&Receipt> for ErasureView {
    fn from(receipt: &Receipt) -> Self {
        Self {
            id: receipt.id.to_string(),
            profile_id: receipt.profile_id.to_string(),
            erased_at: receipt.erased_at.to_string(),
            counts: receipt.counts.clone(),
            scrubbed_at: receipt.scrubbed_at.map(|at| at.to_string()),
        }
    }
}

/// Read the receipt of an erasure
#[utoipa::path(
    tag = "erasures",
    description = "The receipt that `DELETE /v1/profiles/{id}` answered. `scrubbed_at` is set once the bytes have left the database files as well.",
    params(("id" = String, Path, description = "Id of the receipt", example = "0192f0c1-7d7e-7aaa-8000-000000000001")),
    responses((status = 200, description = "The receipt", body = ErasureView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/erasures/{id}")]
pub async fn read_erasure(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<Json<ErasureView>> {
    let receipt = app.store.erasure(caller.workspace(), RecordId(id(&path)?)).await?.ok_or_else(Problem::not_found)?;
    Ok(Json((&receipt).into()))
}
