//! Whether the service is alive, and whether it is ready for requests.

use actix_web::web::Json;
use actix_web::{get, web::Data};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    problem::{ApiResult, Problem},
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "ok"}))]
pub struct Health {
    pub status: &'static str,
}

/// Tell that the process runs
///
/// For a supervisor that restarts what hangs. Touches nothing else.
#[utoipa::path(tag = "operations", responses((status = 200, description = "The process runs", body = Health)))]
#[get("/healthz")]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Tell whether requests can be served
///
/// For a load balancer: 503 while the database does not answer.
#[utoipa::path(tag = "operations", responses((status = 200, description = "Requests can be served", body = Health)))]
#[get("/readyz")]
pub async fn readyz(app: Data<App>) -> ApiResult<Json<Health>> {
    app.store.ping().await.map_err(Problem::from)?;
    Ok(Json(Health { status: "ready" }))
}
