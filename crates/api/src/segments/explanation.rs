//! `GET /v1/segments/{id}/explanation`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::ProfileId;
use people_store::Breed;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{Query, id},
    problem::{ApiResult, Problem},
    profiles::{search::kept_filter, timeline::who_answers},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplanationParams {
    /// Id of the person.
    #[param(required)]
    profile_id: Option<String>,
}

/// Why somebody is in a segment or not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation, example = json!({
    "segment_id": "0192f0c1-7d7e-7aaa-8000-000000000030", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "holds": false,
    "as_of": "2026-01-31T08:00:00.000000Z",
    "explanation": {"holds": false, "all": [
        {"condition": {"field": "country", "op": "eq", "value": "GB"}, "holds": true, "actual": "GB"},
        {"condition": {"event": "order_completed", "count": {"gte": 2}}, "holds": false, "actual": 1}
    ]}
}))]
pub struct ExplanationView {
    pub segment_id: String,
    pub profile_id: String,
    /// Whether the filter matches the person.
    pub holds: bool,
    /// When it was asked.
    pub as_of: String,
    /// The filter once more. Each part says whether it `holds`; each `condition` what it met: the value of the field, or the
    /// number of events that count.
    #[schema(value_type = Object)]
    pub explanation: Value,
}

/// Explain why somebody is in a segment or not
///
/// Condition by condition, with what is true of the person now.
#[utoipa::path(
    tag = "segments",
    params(("id" = String, Path, description = "Id of the segment", example = "0192f0c1-7d7e-7aaa-8000-000000000030"), ExplanationParams),
    responses((status = 200, description = "The explanation", body = ExplanationView), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/segments/{id:[0-9a-fA-F-]+}/explanation")]
pub async fn segment_explanation(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<ExplanationParams>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let row = app.store.definition(workspace, Breed::Segment, id(&path)?).await?.ok_or_else(Problem::not_found)?;
    let Some(asked) = params.profile_id else { return Err(Problem::query("profile_id", "Say whom it is about.")) };
    let person = who_answers(&app.store, workspace, ProfileId(id(&asked)?)).await?;
    let filter = kept_filter(&app.store, workspace, &row.filter).await?;
    let told = app.store.explain(workspace, filter, row.filter.clone(), person).await?.ok_or_else(Problem::not_found)?;
    let view = ExplanationView {
        segment_id: row.id.to_string(),
        profile_id: person.to_string(),
        holds: told["holds"] == true,
        as_of: app.store.now().to_string(),
        explanation: told,
    };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}
