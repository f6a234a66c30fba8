//! What the rules refuse, and what to do about it.
//!
//! A [`Refusal`] is an answer to the caller, not a fault: it names a stable code, the place, and the remedy. It never
//! carries a value the caller did not send.

use crate::id::ProfileId;
use crate::identity::IdentityKey;

/// The codes a client may branch on. The API maps each to one status and title (`problem.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    ValidationFailed,
    IdentityRequired,
    IdentityTaken,
    IdentityConflict,
    /// It was of somebody who was erased and is not to come back.
    IdentitySuppressed,
    NotFound,
    ProfileErased,
    ProfileMerged,
    CursorExpired,
    VersionMismatch,
    PropertyExists,
    PropertyInUse,
    LabelGoing,
    LimitExceeded,
    IdempotencyMismatch,
    PreviewStale,
    MergeReverted,
    MergedFurther,
    MergeNotRevertible,
}

/// One thing wrong at one place. `pointer` is a JSON Pointer (RFC 6901) into the request body, or empty for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub pointer: String,
    pub code: &'static str,
    pub detail: String,
}

impl Issue {
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }

    /// The same issue seen from one level up.
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// An identity that belongs to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: IdentityKey,
    pub profile_id: ProfileId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub detail: String,
    pub issues: Vec<Issue>,
    pub conflicts: Vec<Conflict>,
}

impl Refusal {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), issues: Vec::new(), conflicts: Vec::new() }
    }

    /// 422 with the places; the first one is the headline.
    pub fn invalid(issues: Vec<Issue>) -> Self {
        let detail = match issues.as_slice() {
            [] => "The request was refused.".to_owned(),
            [only] => only.detail.clone(),
            [first, rest @ ..] => format!("{} ({} more in `errors`)", first.detail, rest.len()),
        };
        Self { code: Code::ValidationFailed, detail, issues, conflicts: Vec::new() }
    }

    pub fn at(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![Issue::new(pointer, code, detail)])
    }

    pub fn conflicts(code: Code, detail: impl Into<String>, conflicts: Vec<Conflict>) -> Self {
        Self { code, detail: detail.into(), issues: Vec::new(), conflicts }
    }
}

/// Gathers issues so that a caller hears of all of them at once.
#[derive(Debug, Default)]
pub struct Issues(Vec<Issue>);

impl Issues {
    pub fn push(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.0.push(Issue::new(pointer, code, detail));
    }

    pub fn add(&mut self, issue: Issue) {
        self.0.push(issue);
    }

    /// Keeps the value, or the issue.
    pub fn take<T>(&mut self, result: Result<T, Issue>) -> Option<T> {
        result.map_err(|issue| self.0.push(issue)).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_result(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.0)) }
    }
}

/// One token of a JSON Pointer, escaped (RFC 6901 section 3).
pub fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
