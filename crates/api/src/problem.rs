//! Problems: every failing route answers `application/problem+json` (RFC 9457) with a stable code.
//!
//! One table gives each code its status and title. Handlers name a code and say what to do next; the request id and
//! the instance are added at the edge. Nothing internal is ever told.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use people_domain::{Code, Issue, Refusal, refusal::Conflict};
use people_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! kinds {
    ($($variant:ident $code:literal $status:literal $title:literal),+ $(,)?) => {
        /// Every code a client may meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($variant),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

kinds! {
    MalformedJson "malformed_json" 400 "The body is not valid JSON",
    DuplicateKey "duplicate_key" 400 "A JSON object names a member twice",
    TooDeep "too_deep" 422 "The JSON is nested too deep",
    InvalidQuery "invalid_query" 400 "The query string cannot be used",
    InvalidHeader "invalid_header" 400 "A header cannot be used",
    InvalidCursor "invalid_cursor" 400 "The cursor is not one of ours",
    CursorMismatch "cursor_mismatch" 400 "The cursor belongs to another query",
    InvalidMessage "invalid_message" 400 "The message cannot be used",
    BadRequest "bad_request" 400 "The request cannot be understood",
    Unauthorized "unauthorized" 401 "A valid API key is needed",
    MissingScope "missing_scope" 403 "The API key lacks a scope",
    NotFound "not_found" 404 "Not found",
    MethodNotAllowed "method_not_allowed" 405 "The method is not allowed here",
    NotAcceptable "not_acceptable" 406 "No such representation",
    RequestTimeout "request_timeout" 408 "The request came too slowly",
    IdentityTaken "identity_taken" 409 "The identity belongs to another profile",
    IdentityConflict "identity_conflict" 409 "The identities belong to different profiles",
    SegmentExists "segment_exists" 409 "The segment exists already",
    SegmentInUse "segment_in_use" 409 "Other definitions read this segment",
    IdentitySuppressed "identity_suppressed" 409 "The identity is suppressed",
    PropertyExists "property_exists" 409 "The property is defined already",
    PropertyInUse "property_in_use" 409 "Profiles hold values of this property",
    LabelExists "label_exists" 409 "There is a label of this name",
    LabelGoing "label_going" 409 "The label is being renamed or removed",
    LabelInUse "label_in_use" 409 "Rules or segments use the label",
    SelectionChanged "selection_changed" 409 "The selection is no longer the one previewed",
    PreviewStale "preview_stale" 409 "One of the profiles has changed since the preview",
    MergeReverted "merge_reverted" 409 "The merge was reverted already",
    ProfileMerged "profile_merged" 409 "The profile was merged into another",
    MergedFurther "merged_further" 409 "The survivor was merged in their turn",
    WebhooksNotConfigured "webhooks_not_configured" 409 "This server has no key for webhooks",
    DeliveryNotRepeatable "delivery_not_repeatable" 409 "The delivery cannot be sent again",
    MergeNotRevertible "merge_not_revertible" 409 "The merge cannot be reverted as things are",
    ConcurrentUpdate "concurrent_update" 409 "Too many changes at once",
    ProfileErased "profile_erased" 410 "The profile was erased",
    CursorExpired "cursor_expired" 410 "What comes after the cursor is not kept any more",
    VersionMismatch "version_mismatch" 412 "The profile has changed since",
    BodyTooLarge "body_too_large" 413 "The body is too large",
    UriTooLong "uri_too_long" 414 "The address is too long",
    UnsupportedMediaType "unsupported_media_type" 415 "The body is of a type not read here",
    ValidationFailed "validation_failed" 422 "The request is well-formed but refused",
    IdentityRequired "identity_required" 422 "A profile needs an identity",
    LimitExceeded "limit_exceeded" 422 "A limit is exceeded",
    IdempotencyMismatch "idempotency_mismatch" 422 "The idempotency key was used for another request",
    RateLimited "rate_limited" 429 "Too many requests",
    RequestHeaderFieldsTooLarge "headers_too_large" 431 "The headers are too large",
    Internal "internal_error" 500 "Something went wrong on our side",
    Unavailable "unavailable" 503 "The service cannot answer right now",
    Overloaded "overloaded" 503 "The service has too much to do",
    StorageFull "storage_full" 503 "The storage is full",
}

/// What went wrong, and what to do next.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    pub errors: Vec<Issue>,
    pub conflicts: Vec<Conflict>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<u32>,
    /// For 405: what is allowed.
    pub allow: Option<String>,
}

pub type ApiResult<T> = Result<T, Problem>;

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), conflicts: Vec::new(), retry_after: None, allow: None }
    }

    /// A fault at one place, with the code of the place too.
    pub fn at(kind: Kind, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { errors: vec![Issue::new(pointer, code, detail.clone())], ..Self::new(kind, detail) }
    }

    /// A query parameter that cannot be used, by name.
    pub fn query(name: &str, detail: &str) -> Self {
        let told = if name.is_empty() { detail.to_owned() } else { format!("`{name}`: {detail}") };
        Self { detail: told, ..Self::at(Kind::InvalidQuery, name, "invalid_query", detail) }
    }

    pub fn invalid(issues: Vec<Issue>) -> Self {
        Refusal::invalid(issues).into()
    }

    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "There is nothing here under this id or name.")
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem as it is answered; `instance` and `request_id` are those of the request.
    pub fn view(&self, instance: Option<&str>, request_id: Option<&str>) -> ProblemView {
        ProblemView {
            kind: format!("urn:people:problem:{}", self.kind.code()),
            title: self.kind.title().to_owned(),
            status: self.kind.status(),
            detail: self.detail.clone(),
            instance: instance.map(str::to_owned),
            code: self.kind.code().to_owned(),
            request_id: request_id.map(str::to_owned),
            errors: self
                .errors
                .iter()
                .map(|issue| ErrorView { pointer: issue.pointer.clone(), code: issue.code.to_owned(), detail: issue.detail.clone() })
                .collect(),
            conflicts: if self.conflicts.is_empty() { None } else { Some(conflicts(&self.conflicts)) },
        }
    }
}

pub fn conflicts(conflicts: &[Conflict]) -> Vec<ConflictView> {
    conflicts
        .iter()
        .map(|c| ConflictView { kind: c.key.kind.to_string(), value: c.key.value.clone(), profile_id: c.profile_id.to_string() })
        .collect()
}

/// A problem (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:people:problem:validation_failed", "title": "The request is well-formed but refused", "status": 422,
    "detail": "expected an e-mail address such as ada@example.com", "instance": "/v1/profiles", "code": "validation_failed",
    "request_id": "0192f0c1-7d7e-7aaa-8000-000000000001",
    "errors": [{"pointer": "/email", "code": "invalid_email", "detail": "expected an e-mail address such as ada@example.com"}]
}))]
pub struct ProblemView {
    /// Names the kind of problem; the same for every problem of one code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do next, for a person.
    pub detail: String,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What a program may branch on.
    pub code: String,
    /// Quote it when asking for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Each thing wrong, at its place.
    pub errors: Vec<ErrorView>,
    /// Identities held by others, for `identity_taken` and `identity_conflict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Vec<ConflictView>>,
}

/// One thing wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ProblemError)]
pub struct ErrorView {
    /// JSON Pointer (RFC 6901) into the body, or the name of a parameter or header.
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

/// An identity that belongs to another profile.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IdentityConflict)]
pub struct ConflictView {
    pub kind: String,
    pub value: String,
    pub profile_id: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.code())
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.respond(None, None)
    }
}

impl Problem {
    pub fn respond(&self, instance: Option<&str>, request_id: Option<&str>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        if let Some(seconds) = self.retry_after {
            response.insert_header(("Retry-After", seconds.to_string()));
            if self.kind == Kind::RateLimited {
                // The browser SDK of Segment reads this one.
                response.insert_header(("X-RateLimit-Reset", seconds.to_string()));
            }
        }
        if let Some(allow) = &self.allow {
            response.insert_header(("Allow", allow.as_str()));
        }
        if self.kind == Kind::Unauthorized {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        let mut body = serde_json::to_value(self.view(instance, request_id)).unwrap_or_default();
        // Tracking SDKs read these three, each another one; some fail when one is missing.
        if let Some(members) = body.as_object_mut().filter(|_| instance.is_some_and(crate::tracking::is_route)) {
            let code = self.errors.first().map_or(self.kind.code(), |issue| issue.code);
            members.insert("success".to_owned(), false.into());
            members.insert("message".to_owned(), self.detail.as_str().into());
            members.insert("error".to_owned(), self.detail.as_str().into());
            if self.kind == Kind::InvalidMessage {
                members.insert("code".to_owned(), code.into());
            }
        }
        let body = body.to_string();
        response.insert_header(("Cache-Control", "no-store")).content_type("application/problem+json").body(body)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.code {
            Code::ValidationFailed => Kind::ValidationFailed,
            Code::IdentityRequired => Kind::IdentityRequired,
            Code::IdentityTaken => Kind::IdentityTaken,
            Code::IdentityConflict => Kind::IdentityConflict,
            Code::IdentitySuppressed => Kind::IdentitySuppressed,
            Code::NotFound => Kind::NotFound,
            Code::ProfileErased => Kind::ProfileErased,
            Code::CursorExpired => Kind::CursorExpired,
            Code::VersionMismatch => Kind::VersionMismatch,
            Code::PropertyExists => Kind::PropertyExists,
            Code::PropertyInUse => Kind::PropertyInUse,
            Code::LabelGoing => Kind::LabelGoing,
            Code::LimitExceeded => Kind::LimitExceeded,
            Code::IdempotencyMismatch => Kind::IdempotencyMismatch,
            Code::PreviewStale => Kind::PreviewStale,
            Code::MergeReverted => Kind::MergeReverted,
            Code::ProfileMerged => Kind::ProfileMerged,
            Code::MergedFurther => Kind::MergedFurther,
            Code::MergeNotRevertible => Kind::MergeNotRevertible,
        };
        Self { kind, detail: refusal.detail, errors: refusal.issues, conflicts: refusal.conflicts, retry_after: None, allow: None }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => (*refusal).into(),
            StoreError::Raced | StoreError::Stale => Self {
                retry_after: Some(1),
                ..Self::new(Kind::ConcurrentUpdate, "Other changes kept getting in between; send the request again.")
            },
            StoreError::Unavailable => {
                Self { retry_after: Some(2), ..Self::new(Kind::Unavailable, "The database does not answer; try again shortly.") }
            }
            StoreError::Full => {
                Self { retry_after: Some(30), ..Self::new(Kind::StorageFull, "There is no room to store anything; reads go on.") }
            }
            StoreError::Fault(_) | StoreError::Unreadable(_) | StoreError::Stopped => {
                // Said once, here, without the message: it may quote personal data.
                tracing::error!(code = error.code(), error = %error, "the store failed");
                Self::new(Kind::Internal, "The request was not carried out. Quote the request id when reporting it.")
            }
        }
    }
}
