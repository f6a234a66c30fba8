//! Whether the service is alive, whether it is ready for requests, and how it does.

use actix_web::{
    HttpRequest, HttpResponse, get,
    web::{Data, Json},
};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth,
    problem::{ApiResult, Kind, Problem},
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
/// For a load balancer: 503 while the database does not answer, and from the moment this instance was told to go.
#[utoipa::path(tag = "operations", responses((status = 200, description = "Requests can be served", body = Health)))]
#[get("/readyz")]
pub async fn readyz(app: Data<App>) -> ApiResult<Json<Health>> {
    if app.connections.is_leaving() {
        return Err(Problem { retry_after: Some(5), ..Problem::new(Kind::Unavailable, "This instance is on its way out.") });
    }
    app.store.ping().await.map_err(Problem::from)?;
    Ok(Json(Health { status: "ready" }))
}

/// Tell how the service does
///
/// For Prometheus, in the text format of OpenMetrics: requests by route and class of status, what is under way and what was
/// turned away, database connections, the writer, jobs, segments and memory. Nothing of anybody: no id, no key. Anybody who
/// reaches the port may read it, unless the server is set to ask for a secret (`PEOPLE_METRICS_TOKEN`).
#[utoipa::path(
    tag = "operations",
    responses(
        (status = 200, description = "The metrics", content((String = "application/openmetrics-text; version=1.0.0; charset=utf-8"))),
        (status = 401, description = "The server asks for its secret (`unauthorized`)")
    )
)]
#[get("/metrics")]
pub async fn metrics(app: Data<App>, request: HttpRequest) -> ApiResult<HttpResponse> {
    if let Some(secret) = &app.metrics_token {
        let sent = request.headers().get("Authorization").and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Hashes, so that the time it takes tells nothing of the secret.
        if auth::hash(sent) != auth::hash(secret.expose_secret()) {
            return Err(Problem::new(Kind::Unauthorized, "Send the server's own secret: `Authorization: Bearer …`."));
        }
    }
    let text = app.metrics.text(&app.store, &app.lanes, app.connections.len()).await;
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}
