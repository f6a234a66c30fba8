//! `GET /v1/profiles/{id}/labels` and `PUT|DELETE /v1/profiles/{id}/labels/{name}`

use actix_web::{
    HttpRequest, HttpResponse, delete, get, put,
    web::{Data, Path},
};
use people_domain::{directory::Command, id::ProfileId, label};
use people_store::Carried;
use serde::Serialize;
use utoipa::ToSchema;

use super::{timeline::who_answers, view::ProfileView};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead, ProfilesWrite},
    cursor,
    extract::{NoQuery, Query, id, if_match},
    paging::{Page, PageParams},
    problem::{ApiResult, Kind, Problem},
    writes::{carry_out, only_profile},
};

/// A label on a person, and who put it there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CarriedLabel, example = json!({
    "name": "vip", "source": "manual", "rule_id": null, "actor": "key:0192f0c1-7d7e-7aaa-8000-000000000003",
    "created_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct CarriedView {
    pub name: String,
    /// `manual`: put on through the API.
    pub source: String,
    /// The rule that put it on; `null` for `manual`.
    pub rule_id: Option<String>,
    /// `key:<id>` of the API key.
    pub actor: String,
    pub created_at: String,
}

impl From<Carried> for CarriedView {
    fn from(carried: Carried) -> Self {
        Self {
            name: carried.name,
            source: carried.source,
            rule_id: carried.rule_id.map(|id| id.to_string()),
            actor: carried.actor,
            created_at: carried.created_at.to_string(),
        }
    }
}

/// The labels of a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct CarriedLabelList {
    pub data: Vec<CarriedView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// Read the labels of a person
///
/// Each with who put it there and when, in the order of their names.
#[utoipa::path(
    tag = "labels",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), PageParams),
    responses(
        (status = 200, description = "The labels", body = CarriedLabelList),
        (status = 410, description = "The person was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/labels")]
pub async fn profile_labels(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<PageParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let mut rows = app.store.labels_of(workspace, profile).await?;
    let mut who = profile;
    if rows.is_empty() {
        who = who_answers(&app.store, workspace, profile).await?;
        if who != profile {
            rows = app.store.labels_of(workspace, who).await?;
        }
    }
    let question = cursor::fingerprint(&("labels of", profile));
    let Page { data, next_cursor, total } = params.of(workspace, &question, rows, |row| row.name.clone())?;
    let list = CarriedLabelList { data: data.into_iter().map(Into::into).collect(), next_cursor, total };
    Ok(super::found_at(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list), profile, who, "/labels"))
}

/// Put a label on a person
///
/// A name nobody used yet becomes part of the catalogue. Case counts; white space around it does not. Somebody who carries
/// the label already stays as they are, at their version; but a label that a rule put on is from then on `manual`, by whom
/// and when it was named here, and no rule takes it off. The same holds wherever labels are named: creating, upserts,
/// batches and bulk changes.
#[utoipa::path(
    tag = "labels",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("name" = String, Path, description = "The label, percent-encoded, at most 128 bytes", example = "vip"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for")
    ),
    responses(
        (status = 200, description = "The person, with the label", body = ProfileView, headers(("ETag" = String, description = "The version"))),
        (status = 409, description = "The label is being renamed or removed (`label_going`)"),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)"),
        (status = 422, description = "It is no label, or one more than 200 (`validation_failed`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[put("/v1/profiles/{id:[0-9a-fA-F-]+}/labels/{name}")]
pub async fn add_label(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<(String, String)>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (profile, name) = path.into_inner();
    let (id, if_match) = (ProfileId(id(&profile)?), if_match(&request)?);
    let label = label::parse(&name).map_err(|issue| Problem::at(Kind::ValidationFailed, "name", issue.code, issue.detail))?;
    carry_out(&app, &caller, app.store.now(), vec![Command::AddLabel { id, label, if_match }], None, |group| only_profile(group, 200)).await
}

/// Take a label off a person
///
/// The label stays in the catalogue.
#[utoipa::path(
    tag = "labels",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("name" = String, Path, description = "The label, percent-encoded", example = "vip"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for")
    ),
    responses(
        (status = 200, description = "The person, without the label", body = ProfileView, headers(("ETag" = String, description = "The version"))),
        (status = 404, description = "There is no such person, or they do not carry the label (`not_found`)"),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[delete("/v1/profiles/{id:[0-9a-fA-F-]+}/labels/{name}")]
pub async fn remove_label(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<(String, String)>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (profile, name) = path.into_inner();
    let (id, if_match) = (ProfileId(id(&profile)?), if_match(&request)?);
    // What cannot be a label is not one of this person's.
    let label = label::parse(&name).map_err(|_| Problem::not_found())?;
    carry_out(&app, &caller, app.store.now(), vec![Command::RemoveLabel { id, label, if_match }], None, |group| only_profile(group, 200))
        .await
}
