//! The suppression list: identities of erased people that are not to be taken in again, as keyed hashes.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Path},
};
use people_domain::{Issue, id::RecordId, refusal::Issues};
use people_store::{Listed, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, ProfilesDelete, ProfilesRead},
    cursor,
    extract::{Body, NoQuery, Query, Shape, id},
    paging::{PageParams, totalled},
    problem::{ApiResult, Problem},
    profiles::{
        body::{IdentityBody, identity},
        country,
        list::limit,
    },
};

/// An entry of the list: that an identity of a kind is suppressed, never which.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppression, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000030", "kind": "email", "erasure_id": "0192f0c1-7d7e-7aaa-8000-000000000031",
    "suppressed_at": "2026-01-31T08:00:00.000000Z", "actor": "key:0192f0c1-7d7e-7aaa-8000-000000000003", "dropped": 2,
    "last_dropped_at": "2026-02-01T08:00:00.000000Z"
}))]
pub struct SuppressionView {
    pub id: String,
    pub kind: String,
    /// The receipt of the erasure it came with: entries of one person have the same.
    pub erasure_id: String,
    pub suppressed_at: String,
    /// `key:<id>` of the API key.
    pub actor: String,
    /// Messages that named it and were dropped.
    pub dropped: i64,
    pub last_dropped_at: Option<String>,
}

impl From<&Suppression> for SuppressionView {
    fn from(entry: &Suppression) -> Self {
        Self {
            id: entry.id.to_string(),
            kind: entry.kind.clone(),
            erasure_id: entry.erasure_id.to_string(),
            suppressed_at: entry.suppressed_at.to_string(),
            actor: entry.actor.clone(),
            dropped: entry.dropped,
            last_dropped_at: entry.last_dropped_at.map(|at| at.to_string()),
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuppressionList {
    pub data: Vec<SuppressionView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Entries of the whole list, by kind.
    pub counts: BTreeMap<String, i64>,
}

/// List the suppressions
///
/// Newest first, with how many messages each one stopped. Of an identity there is its kind and nothing else: which one
/// an entry means, `POST /v1/suppressions/lookup` tells whoever knows the identity.
#[utoipa::path(
    tag = "erasures",
    params(PageParams),
    responses((status = 200, description = "A page of the list", body = SuppressionList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/suppressions")]
pub async fn list_suppressions(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let rows = limit(params.limit)?;
    let question = cursor::fingerprint(&"suppressions");
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut entries = app.store.suppressions(workspace, before, rows + 1).await?;
    let counts = app.store.suppressions_by_kind(workspace).await?;
    let rows = usize::try_from(rows).unwrap_or(1);
    let more = entries.len() > rows;
    entries.truncate(rows);
    let next_cursor = entries.last().filter(|_| more).map(|last| cursor::write(workspace, &question, &last.id));
    let data = entries.iter().map(Into::into).collect();
    let total = totalled(&app.store, workspace, params.count, Listed::Suppressions).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(SuppressionList { data, next_cursor, total, counts }))
}

/// Identities to look up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupSuppressions {
    /// 1 to 1,000.
    pub identities: Vec<IdentityBody>,
}

impl Shape for LookupSuppressions {}

/// The entries found, in the order asked, and the identities that are not suppressed.
#[derive(Debug, Serialize, ToSchema)]
pub struct LookedUpSuppressions {
    pub found: Vec<FoundSuppression>,
    pub missing: Vec<UnsuppressedIdentity>,
}

/// An identity, as it was asked for, and its entry.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundSuppression {
    pub kind: String,
    pub value: String,
    pub suppression: SuppressionView,
}

/// An identity that is not suppressed.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnsuppressedIdentity {
    pub kind: String,
    pub value: String,
}

/// Find out whether identities are suppressed
///
/// For whoever knows an identity and wants its entry, to lift it. Spellings do not matter, as everywhere.
#[utoipa::path(
    tag = "erasures",
    request_body(content = LookupSuppressions, example = json!({"identities": [{"kind": "email", "value": "ada@example.com"}]})),
    responses((status = 200, description = "Found and missing", body = LookedUpSuppressions)),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/suppressions/lookup")]
pub async fn lookup_suppressions(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    _query: Query<NoQuery>,
    body: Body<LookupSuppressions>,
) -> ApiResult<HttpResponse> {
    let asked = body.value.identities;
    if !(1..=1_000).contains(&asked.len()) {
        return Err(Problem::invalid(vec![Issue::new("/identities", "limit_exceeded", "send 1 to 1000 identities")]));
    }
    let country = country(&app.store, caller.workspace()).await?;
    let mut issues = Issues::default();
    let keys: Vec<_> = asked
        .iter()
        .enumerate()
        .filter_map(|(i, body)| issues.take(identity(&body.kind, &body.value, country.as_deref(), &format!("/identities/{i}"))))
        .map(|new| new.key)
        .collect();
    issues.into_result()?;
    let entries = app.store.suppressed(caller.workspace(), &keys).await?;
    let mut answer = LookedUpSuppressions { found: Vec::new(), missing: Vec::new() };
    for (body, key) in asked.into_iter().zip(keys) {
        match entries.get(&key.canonical()) {
            Some(entry) => answer.found.push(FoundSuppression { kind: body.kind, value: body.value, suppression: entry.into() }),
            None => answer.missing.push(UnsuppressedIdentity { kind: body.kind, value: body.value }),
        }
    }
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(answer))
}

/// Lift a suppression
///
/// The identity can be taken in again from now on. An erased person with several identities has an entry for each;
/// `erasure_id` tells which belong together.
#[utoipa::path(
    tag = "erasures",
    params(("id" = String, Path, description = "Id of the entry", example = "0192f0c1-7d7e-7aaa-8000-000000000030")),
    responses((status = 204, description = "Lifted")),
    security(("api_key" = ["profiles:delete"]))
)]
#[delete("/v1/suppressions/{id}")]
pub async fn lift_suppression(
    app: Data<App>,
    caller: Caller<ProfilesDelete>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    if app.store.lift_suppression(caller.workspace(), RecordId(id(&path)?), caller.cause(app.store.now())).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}
