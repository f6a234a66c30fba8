//! `POST /v1/duplicates/{id}/dismiss`

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Path},
};
use people_domain::id::RecordId;
use people_store::{Dismissed, Idempotency, RenderSuggestion, StoredAnswer, Suggestion};

use super::view::SuggestionView;
use crate::{
    app::App,
    auth::{Caller, ProfilesMerge},
    extract::{NoQuery, Query, id, idempotency_key},
    problem::{ApiResult, Kind, Problem},
    writes::again,
};

fn body(suggestion: &Suggestion) -> String {
    serde_json::to_string(&SuggestionView::from(suggestion.clone())).unwrap_or_default()
}

/// Dismiss a possible duplicate
///
/// The two are two people. The pair is not suggested again, whatever is written or scanned later, and the decision goes
/// over to whoever one of them is merged into. Dismissing again changes nothing. Shows people, so the scope `profiles:read`
/// is needed too.
#[utoipa::path(
    tag = "duplicates",
    params(("id" = String, Path, description = "Id of the pair", example = "0192f0c1-7d7e-7aaa-8000-000000000011")),
    responses((status = 200, description = "The pair, dismissed", body = SuggestionView)),
    security(("api_key" = ["profiles:merge", "profiles:read"]))
)]
#[post("/v1/duplicates/{id}/dismiss")]
pub async fn dismiss_duplicate(
    app: Data<App>,
    caller: Caller<ProfilesMerge>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    if !caller.holds("profiles:read") {
        return Err(Problem::new(Kind::MissingScope, "This needs a key with the scope `profiles:read`."));
    }
    let id = RecordId(id(&path)?);
    // There is no body: the path is the request.
    let answer = idempotency_key(&request)?.map(|key| {
        let render: RenderSuggestion =
            Arc::new(|suggestion| StoredAnswer { status: 200, headers: Vec::new(), body: Some(body(suggestion)) });
        (Idempotency { key, fingerprint: format!("dismiss {id}") }, render)
    });
    let actor = caller.cause(app.store.now()).actor.clone();
    match app.store.dismiss_duplicate(caller.workspace(), id, actor, answer).await? {
        Dismissed::Now(suggestion) => {
            Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type("application/json").body(body(&suggestion)))
        }
        Dismissed::Before(stored) => Ok(again(stored)),
        Dismissed::Refused(refusal) => Err(refusal.into()),
        Dismissed::NotFound => Err(Problem::not_found()),
    }
}
