//! `GET /v1/profiles/{id}/history`

use actix_web::{
    HttpResponse, get,
    web::{Data, Path},
};
use people_domain::id::{ProfileId, RecordId};
use people_store::{Entry, Listed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::{Query, id},
    paging::totalled,
    problem::ApiResult,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryParams {
    /// Only changes of this field: `company`, `email`, `attributes.plan`, `labels`, `consents.email`, `identities.device`, …
    field: Option<String>,
    /// Rows of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// One change of a person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEntry, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000009", "at": "2026-01-31T08:00:00.000000Z", "actor": "key:0192f0c1-7d7e-7aaa-8000-000000000003",
    "action": "updated", "source": "api", "version": 2, "changes": [{"field": "company", "old": "Analytical", "new": "Analytical Engines"}],
    "request_id": "0192f0c1-7d7e-7aaa-8000-000000000010", "reason": null
}))]
pub struct EntryView {
    pub id: String,
    pub at: String,
    /// `key:<id>` of the API key.
    pub actor: String,
    /// `created`, `updated`, `upserted`, `identity_added`, `identity_removed`, `identity_refused`,
    /// `label_added`, `label_removed`, `consent_recorded`, `exported`, `merged` or `merge_reverted`.
    pub action: String,
    pub source: String,
    /// The version it made, or was at.
    pub version: i64,
    pub changes: Vec<ChangeView>,
    pub request_id: String,
    /// `X-Reason` of the request.
    pub reason: Option<String>,
}

/// A field's old and new value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FieldChange)]
pub struct ChangeView {
    pub field: String,
    #[schema(value_type = Value)]
    pub old: Value,
    #[schema(value_type = Value)]
    pub new: Value,
}

/// A page of changes.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryList {
    pub data: Vec<EntryView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            at: entry.at.to_string(),
            actor: entry.actor,
            action: entry.action,
            source: entry.source,
            version: entry.version,
            changes: entry.changes.into_iter().map(|c| ChangeView { field: c.field, old: c.old, new: c.new }).collect(),
            request_id: entry.request_id,
            reason: entry.reason,
        }
    }
}

/// Read the history of a person
///
/// Who changed which field from what to what, when and through which request, newest first. Written in the same
/// transaction as the change itself, so nothing is missing from it.
#[utoipa::path(
    tag = "profiles",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"), HistoryParams),
    responses((status = 200, description = "A page of changes", body = HistoryList), (status = 410, description = "The person was erased (`profile_erased`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/history")]
pub async fn profile_history(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<HistoryParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, id) = (caller.workspace(), ProfileId(id(&path)?));
    let limit = super::list::limit(params.limit)?;
    let question = cursor::fingerprint(&(id, &params.field));
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut entries = app.store.history(workspace, id, params.field.clone(), before, limit + 1).await?;
    // Everybody has a first entry: no entries at all means nobody, somebody merged into another, or no change of that field.
    let mut who = id;
    if entries.is_empty() {
        who = super::timeline::who_answers(&app.store, workspace, id).await?;
        if who != id {
            entries = app.store.history(workspace, who, params.field.clone(), before, limit + 1).await?;
        }
    }
    let next_cursor = cursor::cut(workspace, &question, &mut entries, limit, |last| last.id);
    let total = totalled(&app.store, workspace, params.count, Listed::History { profile: who, field: params.field }).await?;
    let list = HistoryList { data: entries.into_iter().map(Into::into).collect(), next_cursor, total };
    Ok(super::found_at(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list), id, who, "/history"))
}
