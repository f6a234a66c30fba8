//! `GET /v1/profiles/{id}/consents`, `PUT …/consents/{channel}` and `GET …/consents/{channel}/history`

use actix_web::{
    HttpRequest, HttpResponse, get, put,
    web::{Data, Path},
};
use people_domain::{
    consent::{self, Consent},
    directory::Command,
    id::{ProfileId, RecordId},
};
use people_store::{Listed, Recorded, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    body::{ConsentBody, decision},
    timeline::who_answers,
    view::{ConsentView, ProfileView},
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead, ProfilesWrite},
    cursor,
    extract::{Body, NoQuery, Query, Shape, id, if_match},
    paging::{Page, PageParams, totalled},
    problem::{ApiResult, Kind, Problem},
    writes::{carry_out, only_profile},
};

/// A decision on the channel of the path.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConsent {
    /// `opted_in`, `opted_out`, `pending` or `unknown`.
    pub status: String,
    /// When the person decided; now by default.
    pub occurred_at: Option<String>,
    /// Where: the name of a form, a call, an import.
    pub source: Option<String>,
    /// What proves it, at most 8 KiB.
    pub evidence: Option<String>,
}

impl Shape for PutConsent {}

/// Where a person stands, channel by channel.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsentList {
    pub data: Vec<ConsentView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl From<Consent> for ConsentView {
    fn from(consent: Consent) -> Self {
        Self {
            channel: consent.channel,
            status: consent.status.as_str().to_owned(),
            opted_in_at: consent.opted_in_at.map(|at| at.to_string()),
            opted_out_at: consent.opted_out_at.map(|at| at.to_string()),
            occurred_at: consent.occurred_at.to_string(),
            source: consent.source,
        }
    }
}

/// The part of a person's document that is read here.
#[derive(Deserialize)]
struct Consents {
    consents: Vec<Consent>,
}

/// Read the consents of a person
///
/// Where they stand now on each channel, in the order of the channels. A channel nobody ever spoke of is not listed: it
/// counts as `unknown`. The `ETag` is the version of the profile.
#[utoipa::path(
    tag = "consents",
    params(("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001")),
    responses(
        (status = 200, description = "Where they stand", body = ConsentList, headers(("ETag" = String, description = "The version of the profile"))),
        (status = 410, description = "The person was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/consents")]
pub async fn profile_consents(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    Query(params): Query<PageParams>,
) -> ApiResult<HttpResponse> {
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&path)?));
    let mut who = profile;
    let document = match app.store.document(workspace, profile).await? {
        Some(document) => document,
        None => {
            who = who_answers(&app.store, workspace, profile).await?;
            app.store.document(workspace, who).await?.ok_or_else(Problem::not_found)?
        }
    };
    let read: Consents =
        serde_json::from_str(&document.document).map_err(|_| StoreError::Unreadable("the consents in a profile's document"))?;
    let question = cursor::fingerprint(&("consents of", profile));
    let Page { data, next_cursor, total } = params.of(workspace, &question, read.consents, |consent| consent.channel.to_string())?;
    let answer = HttpResponse::Ok()
        .insert_header(("ETag", format!("\"{}\"", document.version)))
        .insert_header(("Cache-Control", "no-store"))
        .json(ConsentList { data: data.into_iter().map(Into::into).collect(), next_cursor, total });
    Ok(super::found_at(answer, profile, who, "/consents"))
}

/// Record a consent
///
/// A decision counts by when it was made, not by when it arrives: an older one that comes late goes into the ledger and
/// leaves the profile as it is. At the same instant, opting out wins. What holds already, to the instant and the source and
/// without new evidence, is not recorded twice.
#[utoipa::path(
    tag = "consents",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("channel" = String, Path, description = "A lower-case word such as `email`, `sms` or `whatsapp`", example = "email"),
        ("If-Match" = Option<String>, Header, description = "ETag of the version the change is meant for")
    ),
    request_body(content = PutConsent, example = json!({
        "status": "opted_out", "occurred_at": "2026-01-31T08:00:00Z", "source": "footer link", "evidence": "campaign 7, link 3"
    })),
    responses(
        (status = 200, description = "The person, with where they stand now", body = ProfileView, headers(("ETag" = String, description = "The version"))),
        (status = 410, description = "The person was erased (`profile_erased`)"),
        (status = 412, description = "The person has changed since (`version_mismatch`)")
    ),
    security(("api_key" = ["profiles:write"]))
)]
#[put("/v1/profiles/{id:[0-9a-fA-F-]+}/consents/{channel}")]
pub async fn record_consent(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    path: Path<(String, String)>,
    _query: Query<NoQuery>,
    body: Body<PutConsent>,
) -> ApiResult<HttpResponse> {
    let (profile, channel) = path.into_inner();
    let (id, if_match) = (ProfileId(id(&profile)?), if_match(&request)?);
    let channel =
        consent::parse_channel(&channel).map_err(|issue| Problem::at(Kind::ValidationFailed, "channel", issue.code, issue.detail))?;
    let PutConsent { status, occurred_at, source, evidence } = body.value;
    let now = app.store.now();
    let decision = decision(&ConsentBody { channel, status, occurred_at, source, evidence }, now, "").map_err(Problem::invalid)?;
    carry_out(&app, &caller, now, vec![Command::RecordConsent { id, decision, if_match }], None, |group| only_profile(group, 200)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerParams {
    /// Rows of a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Tell the exact `total`.
    count: Option<bool>,
}

/// A decision as it was recorded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordedConsent)]
pub struct RecordedView {
    pub id: String,
    pub channel: String,
    /// `opted_in`, `opted_out`, `pending` or `unknown`.
    pub status: String,
    /// When the person decided.
    pub occurred_at: String,
    /// When it was told here.
    pub recorded_at: String,
    pub source: Option<String>,
    pub evidence: Option<String>,
    /// `key:<id>` of the API key.
    pub actor: String,
    pub request_id: String,
}

/// A page of decisions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordedConsentList)]
pub struct RecordedList {
    pub data: Vec<RecordedView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

impl From<Recorded> for RecordedView {
    fn from(recorded: Recorded) -> Self {
        Self {
            id: recorded.id.to_string(),
            channel: recorded.channel,
            status: recorded.status,
            occurred_at: recorded.occurred_at.to_string(),
            recorded_at: recorded.recorded_at.to_string(),
            source: recorded.source,
            evidence: recorded.evidence,
            actor: recorded.actor,
            request_id: recorded.request_id,
        }
    }
}

/// Read the consent ledger of a channel
///
/// Every decision ever recorded on the channel, the last recorded first, those of people who were merged into this one
/// included. Nothing is ever taken out of it but by erasing the person.
#[utoipa::path(
    tag = "consents",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("channel" = String, Path, description = "The channel", example = "email"),
        LedgerParams
    ),
    responses(
        (status = 200, description = "A page of decisions", body = RecordedList),
        (status = 410, description = "The person was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/consents/{channel}/history")]
pub async fn consent_history(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<(String, String)>,
    Query(params): Query<LedgerParams>,
) -> ApiResult<HttpResponse> {
    let (profile, channel) = path.into_inner();
    let (workspace, profile) = (caller.workspace(), ProfileId(id(&profile)?));
    let channel = consent::parse_channel(&channel).map_err(|_| Problem::not_found())?;
    let limit = super::list::limit(params.limit)?;
    let question = cursor::fingerprint(&("consents", profile, &channel));
    let before: Option<RecordId> = params.cursor.as_deref().map(|cursor| cursor::read(workspace, &question, cursor)).transpose()?;
    let mut rows = app.store.consent_ledger(workspace, profile, channel.clone(), before, limit + 1).await?;
    let mut who = profile;
    if rows.is_empty() {
        who = who_answers(&app.store, workspace, profile).await?;
        if who != profile {
            rows = app.store.consent_ledger(workspace, who, channel.clone(), before, limit + 1).await?;
        }
    }
    let next_cursor = cursor::cut(workspace, &question, &mut rows, limit, |last| last.id);
    let total = totalled(&app.store, workspace, params.count, Listed::ConsentLedger { profile: who, channel: channel.clone() }).await?;
    let list = RecordedList { data: rows.into_iter().map(Into::into).collect(), next_cursor, total };
    let answer = HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(list);
    Ok(super::found_at(answer, profile, who, &format!("/consents/{channel}/history")))
}
