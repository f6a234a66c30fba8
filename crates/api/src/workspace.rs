//! The workspace's own settings.

use actix_web::{
    get, patch,
    web::{Data, Json},
};
use people_domain::{country, duplicate::THRESHOLDS, refusal::Issues, text::clean};
use people_store::{WorkspacePatch, WorkspaceRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config, ProfilesRead},
    extract::{Body, NoQuery, Query, Sent, Shape, not_null},
    problem::{ApiResult, Problem},
};

/// A workspace and the settings its rules depend on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workspace, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "name": "default", "default_country": "GB", "strict_attributes": false,
    "session_gap_seconds": 1800, "time_zone": "Europe/London", "duplicate_threshold": 20,
    "created_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct WorkspaceView {
    pub id: String,
    pub name: String,
    /// Country of phone numbers written nationally (ISO 3166-1 alpha-2); `null` accepts international numbers only.
    pub default_country: Option<String>,
    /// Refuse attributes that are not defined, instead of inferring their type from the first value.
    pub strict_attributes: bool,
    /// Inactivity that ends a session, in seconds.
    pub session_gap_seconds: i64,
    /// IANA time zone.
    pub time_zone: String,
    /// Points from which two people are suggested as duplicates; 20 unless it was set: a million to one.
    pub duplicate_threshold: i64,
    pub created_at: String,
}

impl From<WorkspaceRow> for WorkspaceView {
    fn from(row: WorkspaceRow) -> Self {
        let w = row.workspace;
        Self {
            id: w.id.to_string(),
            name: w.name,
            default_country: w.default_country,
            strict_attributes: w.strict_attributes,
            session_gap_seconds: w.session_gap_seconds,
            time_zone: w.time_zone,
            duplicate_threshold: w.duplicate_threshold,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Settings to change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"default_country": "GB", "strict_attributes": true}))]
pub struct PatchWorkspace {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub default_country: Sent<String>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool)]
    pub strict_attributes: Option<bool>,
    /// 60 to 86400.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = i64)]
    pub session_gap_seconds: Option<i64>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub time_zone: Option<String>,
    /// 10 to 40. A higher one hides pairs at once; pairs for a lower one are found as people are written, and by the next
    /// `POST /v1/duplicates/scan`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = i64)]
    pub duplicate_threshold: Option<i64>,
}

impl Shape for PatchWorkspace {}

impl PatchWorkspace {
    fn parse(self) -> ApiResult<WorkspacePatch> {
        let mut issues = Issues::default();
        let name = self.name.and_then(|name| {
            let cleaned = clean(&name, 200).ok().flatten();
            if cleaned.is_none() {
                issues.push("/name", "invalid_value", "expected 1 to 200 bytes of text");
            }
            cleaned
        });
        let default_country = self.default_country.into_option().map(|country| {
            country.and_then(|text| {
                let code = country::parse_country(&text);
                if code.is_none() {
                    issues.push("/default_country", "invalid_country", "expected an ISO 3166-1 alpha-2 code such as GB, or null");
                }
                code
            })
        });
        if self.session_gap_seconds.is_some_and(|gap| !(60..=86_400).contains(&gap)) {
            issues.push("/session_gap_seconds", "invalid_value", "expected 60 to 86400 seconds");
        }
        if self.duplicate_threshold.is_some_and(|points| !THRESHOLDS.contains(&points)) {
            issues.push("/duplicate_threshold", "invalid_value", "expected 10 to 40 points");
        }
        let time_zone = self.time_zone.and_then(|text| {
            let zone = country::parse_timezone(&text);
            if zone.is_none() {
                issues.push("/time_zone", "invalid_timezone", "expected an IANA time zone such as Europe/London");
            }
            zone
        });
        issues.into_result()?;
        Ok(WorkspacePatch {
            name,
            default_country,
            strict_attributes: self.strict_attributes,
            session_gap_seconds: self.session_gap_seconds,
            time_zone,
            duplicate_threshold: self.duplicate_threshold,
        })
    }
}

/// Read the workspace
#[utoipa::path(
    tag = "workspace",
    description = "The workspace of the API key, with its settings.",
    responses((status = 200, description = "The workspace", body = WorkspaceView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/workspace")]
pub async fn read_workspace(app: Data<App>, caller: Caller<ProfilesRead>, _query: Query<NoQuery>) -> ApiResult<Json<WorkspaceView>> {
    let row = app.store.workspace(caller.workspace()).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(row.into()))
}

/// Change settings of the workspace
#[utoipa::path(
    tag = "workspace",
    description = "JSON Merge Patch: what is absent stays, `default_country: null` clears. Takes effect with the next write; numbers already stored stay as they are.",
    request_body(content = PatchWorkspace, example = json!({"default_country": "GB", "strict_attributes": true})),
    responses((status = 200, description = "The workspace as it is now", body = WorkspaceView)),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/workspace")]
pub async fn patch_workspace(
    app: Data<App>,
    caller: Caller<Config>,
    _query: Query<NoQuery>,
    body: Body<PatchWorkspace>,
) -> ApiResult<Json<WorkspaceView>> {
    let patch = body.value.parse()?;
    let row = app.store.patch_workspace(caller.workspace(), patch, caller.cause(app.store.now())).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(row.into()))
}
