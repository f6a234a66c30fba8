//! `POST /v1/profiles/count`

use actix_web::{
    post,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    list::Ask,
    search::{filter_of, words},
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    extract::{Body, NoQuery, Query, Shape},
    problem::ApiResult,
};

/// What to count.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CountProfiles {
    pub q: Option<String>,
    /// As in the search.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
}

impl Shape for CountProfiles {}

/// How many.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"total": 1042}))]
pub struct Counted {
    /// Exact.
    pub total: i64,
}

/// Count people
#[utoipa::path(
    tag = "profiles",
    description = "The exact number of people a search would list.",
    request_body(content = CountProfiles, example = json!({"filter": {"field": "labels", "op": "has", "value": "vip"}})),
    responses((status = 200, description = "How many", body = Counted)),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/profiles/count")]
pub async fn count_profiles(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    _query: Query<NoQuery>,
    body: Body<CountProfiles>,
) -> ApiResult<Json<Counted>> {
    let asked = Ask {
        workspace: caller.workspace(),
        country: None,
        query: words(body.value.q.as_deref())?,
        filter: filter_of(&app.store, caller.workspace(), body.value.filter.as_ref()).await?,
        sort: Default::default(),
        limit: 1,
        cursor: None,
        count: true,
        now: app.store.now(),
        fingerprint: String::new(),
    }
    .ready()?;
    Ok(Json(Counted { total: app.store.count(asked.question).await? }))
}
