//! `GET /v1/rejected-events`: messages of tracking SDKs that were not taken.

use actix_web::{HttpResponse, get, web::Data};
use people_domain::{event::Rejection, id::RecordId};
use people_store::Listed;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config},
    cursor,
    extract::Query,
    paging::{PageParams, totalled},
    problem::ApiResult,
    profiles,
};

/// A message that was not taken. Nothing of what it said is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RejectedEvent, example = json!({
    "id": "0192f0c1-7d7e-7aaa-8000-000000000031", "index": 4, "message_id": "m-7", "code": "no_user_anon_id",
    "message": "A message needs a userId or an anonymousId.", "api_key_id": "0192f0c1-7d7e-7aaa-8000-000000000003",
    "received_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct RejectedEventView {
    pub id: String,
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The sender's own id of it.
    pub message_id: Option<String>,
    /// `no_user_anon_id`, `invalid_event`, `too_large`, ….
    pub code: String,
    pub message: String,
    /// The write key it came with.
    pub api_key_id: String,
    pub received_at: String,
}

impl From<Rejection> for RejectedEventView {
    fn from(rejection: Rejection) -> Self {
        Self {
            id: rejection.id.to_string(),
            index: rejection.place.index,
            message_id: rejection.place.message_id,
            code: rejection.code,
            message: rejection.detail,
            api_key_id: rejection.place.source,
            received_at: rejection.received_at.to_string(),
        }
    }
}

/// A page of rejected messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RejectedEventList {
    pub data: Vec<RejectedEventView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// List rejected events
///
/// Messages that tracking SDKs sent and that were not taken, newest first: which one, and what was wrong. SDKs do not
/// send them again, so this is where a mistake in a sender is found. Written together with the batch they came in; listed
/// for seven days, the newest 10,000 at most. Nothing of what they said is kept but the sender's own `messageId`.
#[utoipa::path(
    tag = "tracking",
    params(PageParams),
    responses((status = 200, description = "A page of rejected messages", body = RejectedEventList)),
    security(("api_key" = ["config"]))
)]
#[get("/v1/rejected-events")]
pub async fn list_rejected_events(app: Data<App>, caller: Caller<Config>, Query(params): Query<PageParams>) -> ApiResult<HttpResponse> {
    let workspace = caller.workspace();
    let limit = profiles::list::limit(params.limit)?;
    let question = cursor::fingerprint(&"rejected-events");
    let after: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut rows = app.store.rejected(workspace, after, limit + 1).await?;
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.id);
    let total = totalled(&app.store, workspace, params.count, Listed::Rejected).await?;
    let list = RejectedEventList { data: rows.into_iter().map(Into::into).collect(), next_cursor, total };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list))
}
