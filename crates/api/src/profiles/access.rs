//! `GET /v1/profiles/{id}/export`

use actix_web::{
    HttpResponse, get,
    http::header::CONTENT_LOCATION,
    web::{Bytes, Data, Path},
};
use futures_util::Stream;
use people_domain::{
    Timestamp,
    directory::Command,
    id::{ProfileId, WorkspaceId},
};
use people_store::{Document, Job, Piece, Reply, Store};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{history::ChangeView, view::ProfileView};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    events::view::RefusedView,
    extract::{NoQuery, Query, id},
    problem::{ApiResult, Kind, Problem},
    writes::only,
};

/// Everything held on one person. Rows of every section are in the order they arose.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessExport {
    pub profile_id: String,
    pub exported_at: String,
    /// The person as they are.
    pub profile: ProfileView,
    pub identities: Vec<ExportedIdentity>,
    pub labels: Vec<ExportedLabel>,
    pub segments: Vec<ExportedSegment>,
    /// Where the person may be one with somebody else, and why; not with whom.
    pub duplicates: Vec<ExportedDuplicate>,
    /// Every consent decision ever recorded.
    pub consents: Vec<ExportedConsent>,
    pub events: Vec<ExportedEvent>,
    pub sessions: Vec<ExportedSession>,
    /// Every change, with who made it; also every export, this one included.
    pub history: Vec<ExportedEntry>,
    /// Profiles that were merged into this one, as both were before.
    pub merges: Vec<ExportedMerge>,
    /// Sessions as they were before a merge made one of two.
    pub sessions_before_merges: Vec<ExportedFormerSession>,
    /// Ids this person was known by before a merge.
    pub former_ids: Vec<FormerId>,
    /// Requests whose answers are kept for a day, to be given again.
    pub stored_answers: Vec<ExportedAnswer>,
    /// What jobs could not do with this person.
    pub job_errors: Vec<ExportedJobError>,
}

/// A key the person is recognised by; how it was typed, the profile tells.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedIdentity {
    pub kind: String,
    pub value: String,
    /// Whose it was before any merge.
    pub origin_profile_id: String,
    pub created_at: String,
}

/// A label, and who put it on.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedLabel {
    pub label: String,
    /// `manual` or `rule`.
    pub source: String,
    pub rule_id: Option<String>,
    pub actor: String,
    pub created_at: String,
}

/// A segment the person is in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedSegment {
    pub segment_id: String,
    pub entered_at: String,
}

/// What speaks for the person being one with somebody else.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedDuplicate {
    pub id: String,
    /// Tenths of a point.
    pub score: i64,
    #[schema(value_type = Vec<Object>)]
    pub reasons: Value,
    /// `open` or `dismissed`.
    pub status: String,
    pub found_at: String,
}

/// A session as it was before a merge.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedFormerSession {
    pub merge_id: String,
    pub id: String,
    /// The session it became part of.
    pub into_id: String,
    pub channel: String,
    pub sender_id: Option<String>,
    pub started_at: String,
    pub ended_at: String,
    pub event_count: i64,
    #[schema(value_type = Object)]
    pub properties: Value,
}

/// A consent decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedConsent {
    pub id: String,
    pub channel: String,
    /// `opted_in`, `opted_out`, `pending` or `unknown`.
    pub status: String,
    pub occurred_at: String,
    pub recorded_at: String,
    pub source: Option<String>,
    pub evidence: Option<String>,
    pub actor: String,
    pub request_id: String,
    pub origin_profile_id: String,
}

/// Something the person did.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedEvent {
    pub id: String,
    pub occurred_at: String,
    pub received_at: String,
    /// When it happened and was sent, by the sender's own clock.
    pub original_timestamp: Option<String>,
    pub sent_at: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub channel: Option<String>,
    #[schema(value_type = Object)]
    pub properties: Value,
    pub session_id: Option<String>,
    /// Empty, or the id of the write key it came with.
    pub source: String,
    pub message_id: Option<String>,
    /// Identities it named that were not taken over.
    pub refused: Option<Vec<RefusedView>>,
    /// Where and with what it happened, as a tracking SDK told it.
    #[schema(value_type = Option<Object>)]
    pub context: Option<Value>,
    /// What it told of its session.
    #[schema(value_type = Option<Object>)]
    pub session_properties: Option<Value>,
    pub origin_profile_id: String,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedSession {
    pub id: String,
    pub channel: String,
    /// The id its sender gave it.
    pub sender_id: Option<String>,
    pub ended_at: String,
    pub started_at: String,
    pub event_count: i64,
    #[schema(value_type = Object)]
    pub properties: Value,
    pub origin_profile_id: String,
}

/// An entry of the history.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedEntry {
    pub id: String,
    pub at: String,
    pub action: String,
    pub source: String,
    pub actor: String,
    pub request_id: String,
    pub reason: Option<String>,
    pub version: i64,
    pub changes: Vec<ChangeView>,
    /// Whose entry it was before a merge.
    pub origin_profile_id: Option<String>,
}

/// A merge.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedMerge {
    pub id: String,
    pub merged_at: String,
    pub primary_id: String,
    pub secondary_id: String,
    pub automatic: bool,
    /// The survivor as they were. Once the merge was taken back each of the two finds what it remembers of them here, and
    /// `null` for the other.
    pub primary_before: Option<ProfileView>,
    /// The one who became part of them, likewise.
    pub secondary_before: Option<ProfileView>,
    /// Whose value was chosen, by field; `{}` where nobody chose.
    #[schema(value_type = Object)]
    pub keep: Value,
    /// The survivor's labels and segments as they were, with who put them on and when. `null` for merges older than their
    /// keeping, and for the other once the merge was taken back.
    #[schema(value_type = Option<Object>)]
    pub primary_rows: Option<Value>,
    /// The same of the one who became part of them.
    #[schema(value_type = Option<Object>)]
    pub secondary_rows: Option<Value>,
    /// Rows that moved, by kind.
    #[schema(value_type = Object)]
    pub moved: Value,
    pub actor: String,
    pub request_id: String,
    pub reason: Option<String>,
    /// When it was taken back, RFC 3339; `null` while it stands.
    pub reverted_at: Option<String>,
    pub reverted_by: Option<String>,
    /// What was not as before once it was taken back; `null` while it stands.
    #[schema(value_type = Option<Vec<Object>>)]
    pub conflicts: Option<Value>,
}

/// An id that leads here.
#[derive(Debug, Serialize, ToSchema)]
pub struct FormerId {
    pub profile_id: String,
}

/// A stored answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedAnswer {
    pub idempotency_key: String,
}

/// Something a job could not do.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedJobError {
    pub job_id: String,
    pub position: i64,
    pub code: String,
    pub detail: String,
}

/// Export everything held on a person
///
/// For access requests: one JSON document with every row of every table that refers to the person, those of people who were
/// merged into this one included. It is streamed, and memory does not grow with its size; one that breaks off before its
/// closing brace is not whole. That it was asked for is written to the person's history as `exported`, with who asked and
/// when. Nothing is left out for its kind, so give the scope with care.
#[utoipa::path(
    tag = "profiles",
    params(
        ("id" = String, Path, description = "Id of the profile", example = "0192f0c1-7d7e-7aaa-8000-000000000001"),
        ("X-Reason" = Option<String>, Header, description = "Why, for the history")
    ),
    responses(
        (status = 200, description = "Everything", body = AccessExport),
        (status = 410, description = "The person was erased (`profile_erased`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles/{id:[0-9a-fA-F-]+}/export")]
pub async fn export_profile(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    let (workspace, asked, now) = (caller.workspace(), ProfileId(id(&path)?), app.store.now());
    // Written down before anything is handed out: an export nobody knows of does not happen.
    let job = Job { workspace, cause: caller.cause(now), commands: vec![Command::NoteExport { id: asked }], idempotency: None, step: None };
    let Reply::Done(group) = app.store.carry_out(job).await? else {
        return Err(Problem::new(Kind::Internal, "The export was not noted."));
    };
    let profile = only(&group)?.profile_id();
    let document = match app.store.document(workspace, profile).await? {
        Some(document) => document,
        None => return Err(super::absent(&app.store, workspace, profile).await),
    };
    let mut response = HttpResponse::Ok();
    response.insert_header(("Cache-Control", "no-store")).content_type("application/json");
    if profile != asked {
        response.insert_header((CONTENT_LOCATION, format!("/v1/profiles/{profile}/export")));
    }
    Ok(response.streaming(stream(app.store.clone(), workspace, profile, document, now)))
}

fn stream(
    store: Store,
    workspace: WorkspaceId,
    profile: ProfileId,
    document: Document,
    now: Timestamp,
) -> impl Stream<Item = Result<Bytes, Problem>> {
    async_stream::try_stream! {
        yield format!("{{\"profile_id\":\"{profile}\",\"exported_at\":\"{now}\",\"profile\":{}", document.document).into();
        let mut dossier = store.dossier(workspace, profile);
        let (mut opened, mut first) = (false, true);
        while let Some(piece) = dossier.next().await.map_err(Problem::from)? {
            let mut out = String::new();
            match piece {
                Piece::Section(name) => {
                    out.push_str(if opened { "],\"" } else { ",\"" });
                    out.push_str(name);
                    out.push_str("\":[");
                    (opened, first) = (true, true);
                }
                Piece::Rows(rows) => {
                    for row in rows {
                        if !first {
                            out.push(',');
                        }
                        out.push_str(&row);
                        first = false;
                    }
                }
            }
            if !out.is_empty() {
                yield out.into();
            }
        }
        // Erased or merged meanwhile: what was read is not whole, and breaks off.
        if store.document(workspace, profile).await.map_err(Problem::from)?.is_none() {
            Err(Problem::new(Kind::ProfileErased, "The person went while the export ran."))?;
        }
        yield Bytes::from_static(if opened { b"]}" } else { b"}" });
    }
}
