//! `GET /v1/audit-log`

use actix_web::{HttpResponse, get, web::Data};
use people_domain::{Timestamp, id::RecordId};
use people_store::{AuditQuestion, Audited, Listed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Admin, Caller},
    cursor,
    extract::Query,
    paging::totalled,
    problem::{ApiResult, Problem},
    profiles::list::limit,
};

/// What to list; several conditions must all hold.
#[derive(Clone, Debug, Deserialize, IntoParams, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// `key:<id>` of an API key, or `cli` for the command line.
    pub actor: Option<String>,
    /// Such as `api_key.created`.
    pub action: Option<String>,
    /// `api_key`, `workspace`, `property`, `label`, `label_rule`, `segment`, `merge`, `erasure`, `suppression`, `job`, `export`
    /// or `profile`.
    pub target_type: Option<String>,
    /// Id, key or name of what it was done to; with `target_type`.
    pub target_id: Option<String>,
    /// Not before, RFC 3339.
    pub from: Option<String>,
    /// Before, RFC 3339.
    pub to: Option<String>,
    /// Entries of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// What something was done to.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditTarget {
    #[serde(rename = "type")]
    pub kind: String,
    /// Id, key or name.
    pub id: String,
}

/// An act.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000040", "at": "2026-01-31T08:00:00.000000Z",
    "actor": "key:0192f0c1-7d7e-7aaa-8000-000000000001", "action": "api_key.created",
    "target": {"type": "api_key", "id": "0192f0c1-7d7e-7aaa-8000-000000000002"},
    "details": {"scopes": ["profiles:read"], "trust": "server", "rate_limit": null}, "request_id": "0192f0c1-7d7e-7aaa-8000-000000000041"
}))]
pub struct AuditView {
    pub id: String,
    pub at: String,
    pub actor: String,
    pub action: String,
    pub target: Option<AuditTarget>,
    /// Names of fields, counts, scopes; never a value of anybody's.
    #[schema(value_type = Object)]
    pub details: Value,
    /// Of the request, as its answer told it.
    pub request_id: String,
}

impl From<Audited> for AuditView {
    fn from(row: Audited) -> Self {
        Self {
            id: row.id.to_string(),
            at: row.at.to_string(),
            actor: row.actor,
            action: row.action,
            target: row.target.map(|(kind, id)| AuditTarget { kind, id }),
            details: row.details,
            request_id: row.request_id,
        }
    }
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLog {
    pub data: Vec<AuditView>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

fn time(name: &str, text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    let read = |text: &str| Timestamp::parse(text).or_else(|| Timestamp::parse_date(text));
    text.map(|text| read(text).ok_or_else(|| Problem::query(name, "expected a time such as 2026-01-31T08:00:00Z, or a date"))).transpose()
}

/// List the audit log
///
/// Who did what and when, newest first: API keys made, changed, rotated and revoked; settings, properties, labels, label
/// rules and segments; merges made by hand and taken back; erasures and suppressions lifted; bulk changes, imports and scans
/// for duplicates begun and jobs cancelled; and that data was handed out: `profiles.exported` before the first byte,
/// `profiles.export_ended` with the number of people, `profile.exported` for one person. An entry is written together with
/// the act, or the act does not happen. It holds ids, names of fields and counts, and stays when people are erased. What changed
/// of one person stands in their history, `GET /v1/profiles/{id}/history`.
#[utoipa::path(
    tag = "audit-log",
    params(AuditParams),
    responses((status = 200, description = "A page of the log", body = AuditLog)),
    security(("api_key" = ["admin"]))
)]
#[get("/v1/audit-log")]
pub async fn list_audit_log(app: Data<App>, caller: Caller<Admin>, Query(params): Query<AuditParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = limit(params.limit)?;
    if params.target_id.is_some() && params.target_type.is_none() {
        return Err(Problem::query("target_id", "name the `target_type` too"));
    }
    let question = cursor::fingerprint(&("audit-log", AuditParams { limit: None, cursor: None, count: None, ..params.clone() }));
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let asked = AuditQuestion {
        from: time("from", params.from.as_deref())?,
        to: time("to", params.to.as_deref())?,
        actor: params.actor,
        action: params.action,
        target_type: params.target_type,
        target_id: params.target_id,
        before,
        limit: limit + 1,
    };
    let total = totalled(&app.store, workspace, params.count, Listed::AuditLog(asked.clone())).await?;
    let mut rows = app.store.audited(workspace, asked).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.id);
    let list = AuditLog { data: rows.into_iter().map(Into::into).collect(), next_cursor, total };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}
