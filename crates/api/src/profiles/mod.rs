//! Profiles: one person each. One operation a file; here is what they share, bodies and views.

pub mod access;
pub mod batch;
pub mod body;
pub mod consents;
pub mod count;
pub mod create;
pub mod delete;
pub mod duplicates;
pub mod export;
pub mod history;
pub mod identities;
pub mod labels;
pub mod list;
pub mod lookup;
pub mod merges;
pub mod noted;
pub mod patch;
pub mod read;
pub mod search;
pub mod sessions;
pub mod timeline;
pub mod upsert;
pub mod view;

use actix_web::{HttpResponse, http::header::CONTENT_LOCATION};
use people_domain::id::{ProfileId, WorkspaceId};
use people_store::{Document, Store};

use crate::problem::{ApiResult, Kind, Problem};

/// A person's document as an answer.
pub(crate) fn respond(document: Document) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("ETag", format!("\"{}\"", document.version)))
        .insert_header(("Cache-Control", "no-store"))
        .content_type("application/json")
        .body(document.document)
}

/// Tells where an answer is found when somebody else answers for the id that was asked: the one it was merged into.
pub(crate) fn found_at(mut response: HttpResponse, asked: ProfileId, who: ProfileId, rest: &str) -> HttpResponse {
    if asked != who
        && let Ok(value) = format!("/v1/profiles/{who}{rest}").parse()
    {
        response.headers_mut().insert(CONTENT_LOCATION, value);
    }
    response
}

/// Why there is no person under an id: erased (410) or never there (404).
pub(crate) async fn absent(store: &Store, workspace: WorkspaceId, id: ProfileId) -> Problem {
    match store.is_erased(workspace, id).await {
        Ok(true) => Problem::new(Kind::ProfileErased, "This person was erased; nothing of them is kept."),
        Ok(false) => Problem::not_found(),
        Err(error) => error.into(),
    }
}

/// The country that numbers written nationally belong to.
pub(crate) async fn country(store: &Store, workspace: WorkspaceId) -> ApiResult<Option<String>> {
    Ok(store.workspace(workspace).await?.ok_or_else(Problem::not_found)?.workspace.default_country)
}
