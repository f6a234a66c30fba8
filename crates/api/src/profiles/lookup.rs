//! `GET /v1/profiles/lookup` and `POST /v1/profiles/lookup`

use std::collections::HashMap;

use actix_web::{HttpResponse, get, post, web::Data};
use people_domain::{
    Issue,
    identity::{IdentityKey, IdentityKind},
};
use people_store::Document;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    body::{IdentityBody, identity},
    view::ProfileView,
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{Body, NoQuery, Query, Shape},
    problem::{ApiResult, Problem},
};

/// One identity.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LookupParams {
    /// An e-mail address, in any case.
    email: Option<String>,
    /// A phone number, in any spelling.
    phone: Option<String>,
    /// The id in your own system.
    external_id: Option<String>,
    /// Any other kind, with `value`.
    kind: Option<String>,
    /// The identity's value, with `kind`.
    value: Option<String>,
}

impl LookupParams {
    fn key(self) -> ApiResult<(String, String)> {
        let refused = || Problem::query("", "Send exactly one of email, phone, external_id, or kind together with value.");
        let mut keys: Vec<(String, String)> = [("email", self.email), ("phone", self.phone), ("external_id", self.external_id)]
            .into_iter()
            .filter_map(|(kind, value)| value.map(|value| (kind.to_owned(), value)))
            .collect();
        match (self.kind, self.value) {
            (Some(kind), Some(value)) => keys.push((kind, value)),
            (None, None) => {}
            _ => return Err(refused()),
        }
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            _ => Err(refused()),
        }
    }
}

/// Find the person who has an identity
///
/// The spelling does not matter: case of e-mails, punctuation and variants of phones. `POST /v1/profiles/lookup` does the
/// same without personal data in the address.
#[utoipa::path(
    tag = "profiles",
    params(LookupParams),
    responses((status = 200, description = "The person", body = ProfileView), (status = 404, description = "Nobody has it (`not_found`)")),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/lookup")]
pub async fn lookup_profile(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<LookupParams>) -> ApiResult<HttpResponse> {
    let (kind, value) = params.key()?;
    let country = super::country(&app.store, caller.workspace()).await?;
    let kind = IdentityKind::parse(&kind).ok_or_else(|| Problem::query("kind", "A kind is a lower-case word such as whatsapp."))?;
    let key = IdentityKey::parse(&kind, &value, country.as_deref()).map_err(|issue| Problem::query(kind.as_str(), &issue.detail))?;
    let mut found = app.store.lookup(caller.workspace(), key.variants()).await?;
    found.documents.pop().map(super::respond).ok_or_else(Problem::not_found)
}

/// Identities to look up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupProfiles {
    /// At most 1,000.
    pub identities: Vec<IdentityBody>,
}

impl Shape for LookupProfiles {}

/// Who was found, in the order asked, and which identities nobody has.
#[derive(Debug, Serialize, ToSchema)]
pub struct LookedUp {
    #[schema(value_type = Vec<FoundIdentity>)]
    found: Vec<FoundRaw>,
    missing: Vec<MissingIdentity>,
}

#[derive(Debug, Serialize)]
struct FoundRaw {
    kind: String,
    value: String,
    profile: Box<RawValue>,
}

/// An identity, as it was asked for, and the person who has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundIdentity {
    pub kind: String,
    pub value: String,
    pub profile: ProfileView,
}

/// An identity nobody has.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingIdentity {
    pub kind: String,
    pub value: String,
}

/// Find the people who have these identities
#[utoipa::path(
    tag = "profiles",
    description = "Up to 1,000 identities in two statements; keeps personal data out of addresses.",
    request_body(content = LookupProfiles, example = json!({"identities": [{"kind": "email", "value": "ada@example.com"}, {"kind": "external_id", "value": "crm-17"}]})),
    responses((status = 200, description = "Found and missing", body = LookedUp)),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/profiles/lookup")]
pub async fn lookup_profiles(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    _query: Query<NoQuery>,
    body: Body<LookupProfiles>,
) -> ApiResult<HttpResponse> {
    let asked = body.value.identities;
    if asked.len() > 1_000 {
        return Err(Problem::invalid(vec![Issue::new("/identities", "limit_exceeded", "send at most 1000 identities")]));
    }
    let country = super::country(&app.store, caller.workspace()).await?;
    let mut keys: Vec<IdentityKey> = Vec::with_capacity(asked.len());
    let mut issues = Vec::new();
    for (i, body) in asked.iter().enumerate() {
        match identity(&body.kind, &body.value, country.as_deref(), &format!("/identities/{i}")) {
            Ok(new) => keys.push(new.key),
            Err(issue) => issues.push(issue),
        }
    }
    if !issues.is_empty() {
        return Err(Problem::invalid(issues));
    }
    let mut variants: Vec<IdentityKey> = keys.iter().flat_map(IdentityKey::variants).collect();
    variants.sort();
    variants.dedup();
    let looked_up = app.store.lookup(caller.workspace(), variants).await?;
    let owners: HashMap<IdentityKey, Uuid> = looked_up.owners.into_iter().map(|(key, id)| (key, id.0)).collect();
    let documents: HashMap<Uuid, Document> = looked_up.documents.into_iter().map(|d| (d.profile_id, d)).collect();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (body, key) in asked.into_iter().zip(keys) {
        let owner = key.variants().iter().find_map(|variant| owners.get(variant)).and_then(|id| documents.get(id));
        match owner.map(|document| RawValue::from_string(document.document.clone())) {
            Some(Ok(profile)) => found.push(FoundRaw { kind: body.kind, value: body.value, profile }),
            _ => missing.push(MissingIdentity { kind: body.kind, value: body.value }),
        }
    }
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(LookedUp { found, missing }))
}
