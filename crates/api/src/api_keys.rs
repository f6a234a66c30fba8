//! API keys: made, listed, renamed, rotated, revoked. A key is shown once; only its hash is kept.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, delete, get, patch, post,
    web::{Data, Json, Path},
};
use people_domain::{refusal::Issues, text::clean};
use people_store::{ApiKey, ApiKeyPatch, Idempotency, Listed, Made, NewApiKey, Trust};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{self, Admin, Caller, SCOPES},
    cursor,
    extract::{Body, NoQuery, Query, Sent, Shape, id, idempotency_key, not_null},
    paging::{PageParams, totalled},
    problem::{ApiResult, Kind, Problem},
};

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "name": "CRM sync", "scopes": ["profiles:read", "profiles:write"], "trust": "server",
    "rate_limit": null, "created_at": "2026-01-31T08:00:00.000000Z", "last_used_at": null
}))]
pub struct ApiKeyView {
    pub id: String,
    pub name: String,
    pub scopes: Vec<String>,
    /// `server`, or `browser` for a key that anybody can read in a page's source.
    pub trust: String,
    /// Requests a second of this key on one instance, where it has a rate of its own; `null`: as the server is set.
    pub rate_limit: Option<i64>,
    pub created_at: String,
    /// Within half a minute.
    pub last_used_at: Option<String>,
    /// The key itself: in the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ppl_8sJ0…")]
    pub key: Option<String>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            scopes: key.scopes,
            trust: key.trust.as_str().to_owned(),
            rate_limit: key.rate_limit,
            created_at: key.created_at.to_string(),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
            key: None,
        }
    }
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyList {
    pub data: Vec<ApiKeyView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What it is for, 1 to 200 bytes.
    pub name: String,
    pub scopes: Vec<String>,
    /// `server` (default) or `browser`: a key that stands in a page, where anybody can read it, is believed only so far
    /// (see the tracking routes), and has the scope `events:write` and no other.
    pub trust: Option<String>,
    /// Requests a second of this key on one instance, 1 to 1,000,000; without it, as the server is set.
    pub rate_limit: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchApiKey {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Option<Vec<String>>,
    /// 1 to 1,000,000 requests a second; `null`: as the server is set.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub rate_limit: Sent<i64>,
}

impl Shape for CreateApiKey {}
impl Shape for PatchApiKey {}

/// Most requests a second a key can be given.
const MAX_RATE: i64 = 1_000_000;

fn rate_of(rate: Option<i64>, issues: &mut Issues) -> Option<i64> {
    if rate.is_some_and(|n| !(1..=MAX_RATE).contains(&n)) {
        issues.push("/rate_limit", "invalid_value", "expected 1 to 1000000 requests a second, or null");
    }
    rate
}

fn name_of(text: &str, issues: &mut Issues) -> String {
    match clean(text, 200) {
        Ok(Some(name)) => name,
        _ => {
            issues.push("/name", "invalid_value", "expected 1 to 200 bytes of text");
            String::new()
        }
    }
}

/// Checks scopes. A key gives away only what it holds itself, and to one that anybody can read nothing but to send events.
pub fn scopes_of(scopes: &[String], trust: Trust, may: impl Fn(&str) -> bool, issues: &mut Issues) {
    if scopes.is_empty() {
        issues.push("/scopes", "invalid_value", format!("name at least one of: {}", SCOPES.join(", ")));
    }
    for (i, scope) in scopes.iter().enumerate() {
        if !SCOPES.contains(&scope.as_str()) {
            issues.push(format!("/scopes/{i}"), "not_an_option", format!("{scope:?} is no scope; expected one of: {}", SCOPES.join(", ")));
        } else if trust == Trust::Browser && scope != "events:write" {
            let detail = "a key of the trust browser can be read by anybody: its scope is events:write, and no other";
            issues.push(format!("/scopes/{i}"), "not_an_option", detail);
        } else if !may(scope) {
            issues.push(format!("/scopes/{i}"), "not_an_option", "a key can only give scopes that it holds itself");
        }
    }
}

/// List API keys
#[utoipa::path(
    tag = "api-keys",
    description = "The living keys of the workspace, oldest first, without their secrets.",
    params(PageParams),
    responses((status = 200, description = "A page of keys", body = ApiKeyList)),
    security(("api_key" = ["admin"]))
)]
#[get("/v1/api-keys")]
pub async fn list_api_keys(app: Data<App>, caller: Caller<Admin>, Query(params): Query<PageParams>) -> ApiResult<Json<ApiKeyList>> {
    let limit = crate::profiles::list::limit(params.limit)?;
    let after = params.cursor.as_deref().map(|cursor| cursor::read(caller.workspace(), "api-keys", cursor)).transpose()?;
    let mut keys = app.store.api_keys(caller.workspace(), after, limit + 1).await?;
    let total = totalled(&app.store, caller.workspace(), params.count, Listed::ApiKeys).await?;
    let next_cursor = cursor::cut(caller.workspace(), "api-keys", &mut keys, limit, |last| last.id);
    Ok(Json(ApiKeyList { data: keys.into_iter().map(Into::into).collect(), next_cursor, total }))
}

/// Create an API key
///
/// The answer shows the key, this once; only its hash is stored. A key can only give scopes that it holds itself. With an
/// `Idempotency-Key` the secret is derived from your own key and the request, so that the same request sent again by the
/// same key is answered with the same secret.
#[utoipa::path(
    tag = "api-keys",
    request_body(content = CreateApiKey, example = json!({"name": "CRM sync", "scopes": ["profiles:read", "profiles:write"]})),
    responses((status = 201, description = "The key, with its secret", body = ApiKeyView)),
    security(("api_key" = ["admin"]))
)]
#[post("/v1/api-keys")]
pub async fn create_api_key(
    app: Data<App>,
    caller: Caller<Admin>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateApiKey>,
) -> ApiResult<HttpResponse> {
    let mut idempotency = body.idempotency(&request)?;
    if let Some(idempotency) = &mut idempotency {
        // The secret depends on who asks: the same request by another key is another request.
        idempotency.fingerprint.push_str(&format!(" by {}", caller.key.id));
    }
    let mut issues = Issues::default();
    let name = name_of(&body.value.name, &mut issues);
    let trust = match body.value.trust.as_deref() {
        None => Trust::Server,
        Some(text) => Trust::parse(text).unwrap_or_else(|| {
            issues.push("/trust", "not_an_option", "expected server or browser");
            Trust::Server
        }),
    };
    scopes_of(&body.value.scopes, trust, |scope| caller.holds(scope), &mut issues);
    let rate_limit = rate_of(body.value.rate_limit, &mut issues);
    issues.into_result()?;
    let secret = secret(&caller, idempotency.as_ref())?;
    let new = NewApiKey {
        workspace_id: caller.workspace(),
        name,
        scopes: body.value.scopes,
        trust,
        rate_limit,
        secret_hash: auth::hash(&secret),
    };
    let made = app.store.create_api_key(new, caller.cause(app.store.now()), idempotency).await?;
    let mut response = HttpResponse::Created();
    show(&mut response, made, secret)
}

/// Answers with the key and its secret.
fn show(response: &mut HttpResponseBuilder, made: Made, secret: String) -> ApiResult<HttpResponse> {
    let key = match made {
        Made::Now(key) => key,
        Made::Before(key) => {
            response.insert_header(("Idempotency-Replayed", "true"));
            key
        }
        Made::Mismatch(refusal) => return Err((*refusal).into()),
    };
    response.insert_header(("Location", format!("/v1/api-keys/{}", key.id))).insert_header(("Cache-Control", "no-store"));
    Ok(response.json(ApiKeyView { key: Some(secret), ..key.into() }))
}

fn secret(caller: &Caller<Admin>, idempotency: Option<&Idempotency>) -> ApiResult<String> {
    match idempotency {
        Some(idempotency) => Ok(auth::derived_key(&caller.presented, idempotency)),
        None => auth::new_key().map_err(|_| Problem::new(Kind::Unavailable, "No randomness for a key; try again shortly.")),
    }
}

/// Read an API key
#[utoipa::path(
    tag = "api-keys",
    description = "Name, scopes and last use; never the secret.",
    params(("id" = String, Path, description = "Id of the key")),
    responses((status = 200, description = "The key", body = ApiKeyView)),
    security(("api_key" = ["admin"]))
)]
#[get("/v1/api-keys/{id}")]
pub async fn read_api_key(
    app: Data<App>,
    caller: Caller<Admin>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<Json<ApiKeyView>> {
    let key = app.store.api_key(caller.workspace(), id(&path)?).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(key.into()))
}

/// Rename an API key, change its scopes or its rate
#[utoipa::path(
    tag = "api-keys",
    description = "What is absent stays. Takes effect within two seconds on every instance.",
    params(("id" = String, Path, description = "Id of the key")),
    request_body(content = PatchApiKey, example = json!({"scopes": ["profiles:read"]})),
    responses((status = 200, description = "The key as it is now", body = ApiKeyView)),
    security(("api_key" = ["admin"]))
)]
#[patch("/v1/api-keys/{id}")]
pub async fn patch_api_key(
    app: Data<App>,
    caller: Caller<Admin>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchApiKey>,
) -> ApiResult<Json<ApiKeyView>> {
    let key_id = id(&path)?;
    let mut issues = Issues::default();
    let name = body.value.name.as_deref().map(|name| name_of(name, &mut issues));
    if let Some(scopes) = &body.value.scopes {
        // A key keeps the trust it was made with.
        let key = app.store.api_key(caller.workspace(), key_id).await?.ok_or_else(Problem::not_found)?;
        scopes_of(scopes, key.trust, |scope| caller.holds(scope), &mut issues);
    }
    let rate_limit = body.value.rate_limit.into_option().map(|rate| rate_of(rate, &mut issues));
    issues.into_result()?;
    let patch = ApiKeyPatch { name, scopes: body.value.scopes, rate_limit };
    let key =
        app.store.patch_api_key(caller.workspace(), key_id, patch, caller.cause(app.store.now())).await?.ok_or_else(Problem::not_found)?;
    app.doorkeeper.forget();
    Ok(Json(key.into()))
}

/// Rotate an API key
#[utoipa::path(
    tag = "api-keys",
    description = "Gives the key a new secret, shown this once. The old one stops working within two seconds. The caller's key must hold every scope of the key that is rotated.",
    params(("id" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "The key, with its new secret", body = ApiKeyView),
        (status = 403, description = "The key holds a scope that the caller's does not (`missing_scope`)")
    ),
    security(("api_key" = ["admin"]))
)]
#[post("/v1/api-keys/{id}/rotate")]
pub async fn rotate_api_key(
    app: Data<App>,
    caller: Caller<Admin>,
    request: HttpRequest,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let key_id = id(&path)?;
    // There is no body: the path is the request.
    let idempotency =
        idempotency_key(&request)?.map(|key| Idempotency { key, fingerprint: format!("rotate {key_id} by {}", caller.key.id) });
    let secret = secret(&caller, idempotency.as_ref())?;
    let cause = caller.cause(app.store.now());
    let made = app.store.rotate_api_key(caller.workspace(), key_id, auth::hash(&secret), cause, &caller.key.scopes, idempotency).await?;
    let made = made.ok_or_else(Problem::not_found)?.map_err(|scope| {
        // Whoever gets the secret may do what the key may.
        Problem::new(Kind::MissingScope, format!("A key can only be rotated with one that holds its scopes; this one lacks `{scope}`."))
    })?;
    app.doorkeeper.forget();
    show(&mut HttpResponse::Ok(), made, secret)
}

/// Revoke an API key
#[utoipa::path(
    tag = "api-keys",
    description = "The key stops working within two seconds on every instance, and is not listed any more. A key can revoke itself.",
    params(("id" = String, Path, description = "Id of the key")),
    responses((status = 204, description = "The key is revoked")),
    security(("api_key" = ["admin"]))
)]
#[delete("/v1/api-keys/{id}")]
pub async fn delete_api_key(app: Data<App>, caller: Caller<Admin>, path: Path<String>, _query: Query<NoQuery>) -> ApiResult<HttpResponse> {
    if !app.store.revoke_api_key(caller.workspace(), id(&path)?, caller.cause(app.store.now())).await? {
        return Err(Problem::not_found());
    }
    app.doorkeeper.forget();
    Ok(HttpResponse::NoContent().finish())
}
