//! `GET /v1/duplicates`

use actix_web::{HttpResponse, get, web::Data};
use people_domain::id::{ProfileId, RecordId, WorkspaceId};
use people_store::{Store, SuggestionPage, SuggestionStatus};
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::SuggestionList;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::Query,
    problem::{ApiResult, Problem},
    profiles,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DuplicateParams {
    /// `open` (the default) or `dismissed`.
    status: Option<String>,
    /// Rows of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// A question about suggestions, read.
#[derive(Debug)]
pub(crate) struct Asked {
    page: SuggestionPage,
    /// Binds a cursor to what it continues: the person as they were asked for, who may answer under another id.
    question: String,
}

impl DuplicateParams {
    pub(crate) fn ask(&self, workspace: WorkspaceId, profile: Option<ProfileId>) -> ApiResult<Asked> {
        let status = match self.status.as_deref() {
            None => SuggestionStatus::Open,
            Some(text) => SuggestionStatus::parse(text).ok_or_else(|| Problem::query("status", "Expected open or dismissed."))?,
        };
        let question = cursor::fingerprint(&("duplicates", profile, status.as_str()));
        let after: Option<(i64, RecordId)> = self.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
        let limit = profiles::list::limit(self.limit)?;
        Ok(Asked { page: SuggestionPage { status, profile, after, limit, count: self.count.unwrap_or(false) }, question })
    }
}

impl Asked {
    /// The same about another person.
    pub(crate) fn about(mut self, profile: ProfileId) -> Self {
        self.page.profile = Some(profile);
        self
    }

    pub(crate) async fn page(&self, store: &Store, workspace: WorkspaceId) -> ApiResult<SuggestionList> {
        let asked = SuggestionPage { limit: self.page.limit + 1, ..self.page.clone() };
        let (mut found, total) = store.duplicates(workspace, asked).await?;
        let next_cursor = cursor::cut(workspace, &self.question, &mut found, self.page.limit, |last| (last.score, last.id));
        Ok(SuggestionList { data: found.into_iter().map(Into::into).collect(), next_cursor, total })
    }
}

/// List possible duplicates
///
/// Pairs of people who may be one, best first. They are found when people are written, and anew by
/// `POST /v1/duplicates/scan`. A pair is listed from `duplicate_threshold` points on (`PATCH /v1/workspace`); the points
/// are the base-2 logarithms of how much likelier each agreement is between two profiles of one person than between
/// strangers, so common values count less than rare ones. Names, e-mail addresses, phone numbers, company, city and country
/// are compared, and the attributes whose definition has a `match`. Whom somebody dismissed never comes back.
#[utoipa::path(
    tag = "duplicates",
    params(DuplicateParams),
    responses((status = 200, description = "A page of pairs", body = SuggestionList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/duplicates")]
pub async fn list_duplicates(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    Query(params): Query<DuplicateParams>,
) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let list = params.ask(workspace, None)?.page(&app.store, workspace).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}
