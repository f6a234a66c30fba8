//! `POST /v1/duplicates/scan`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_store::{DUPLICATE_SCAN, Idempotency, jobs::NewJob};
use serde_json::{Value, json};

use crate::{
    app::App,
    auth::{Caller, ProfilesMerge},
    extract::{NoQuery, Query, idempotency_key},
    jobs::{JobView, answer, stored},
    problem::ApiResult,
};

/// Look for duplicates among everyone
///
/// A job goes over everyone anew: it counts which values are common, compares whoever has something telling in common, and
/// takes back what holds no longer. Pairs found before keep their id, dismissed ones stay dismissed. Worth it after a first
/// load, and after the `match` of a property or the `duplicate_threshold` changed; people written from then on are compared
/// as they are written.
#[utoipa::path(
    tag = "duplicates",
    responses((status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Where the job is followed")))),
    security(("api_key" = ["profiles:merge"]))
)]
#[post("/v1/duplicates/scan")]
pub async fn scan_duplicates(
    app: Data<App>,
    caller: Caller<ProfilesMerge>,
    request: HttpRequest,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    // There is no body: the path is the request.
    let idempotency = idempotency_key(&request)?.map(|key| Idempotency { key, fingerprint: "scan duplicates".to_owned() });
    let new = NewJob {
        workspace: caller.workspace(),
        id: app.store.new_record_id(),
        kind: DUPLICATE_SCAN,
        parameters: Value::Null,
        details: json!({"compared": 0}),
        total: None,
        cause: caller.cause(app.store.now()),
    };
    answer(app.store.enqueue(new, idempotency, stored).await?)
}
