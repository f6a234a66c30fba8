//! Cursors: opaque, bound to the question they continue, and sealed so that a changed one is noticed.
//!
//! The seal (HMAC-SHA256, keyed by the workspace) guards against mistakes, not against people: a cursor only ever
//! positions a reader within their own workspace.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use people_domain::id::WorkspaceId;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::problem::{ApiResult, Kind, Problem};

const SEAL: usize = 12;

fn seal(workspace: WorkspaceId, payload: &[u8]) -> [u8; SEAL] {
    let mut out = [0; SEAL];
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(workspace.0.as_bytes()) {
        mac.update(payload);
        out.copy_from_slice(&mac.finalize().into_bytes()[..SEAL]);
    }
    out
}

/// Short name of a question: two with the same name ask the same. The members of an object have no order (RFC 8259 section 4), and
/// many clients write them in another one each time.
pub fn fingerprint(question: &impl Serialize) -> String {
    let mut question = serde_json::to_value(question).unwrap_or_default();
    question.sort_all_objects();
    let text = serde_json::to_vec(&question).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(&Sha256::digest(&text)[..9])
}

/// Anything, opaque and sealed.
pub fn sealed(workspace: WorkspaceId, content: &impl Serialize) -> String {
    let payload = serde_json::to_vec(content).unwrap_or_default();
    let mut bytes = seal(workspace, &payload).to_vec();
    bytes.extend(payload);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What was sealed; `None` when it was not sealed here.
pub fn opened<T: DeserializeOwned>(workspace: WorkspaceId, text: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (found, payload) = bytes.split_at_checked(SEAL)?;
    if found != seal(workspace, payload) {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

/// Writes a position of the question with this fingerprint.
pub fn write(workspace: WorkspaceId, question: &str, position: &impl Serialize) -> String {
    sealed(workspace, &(question, position))
}

/// Cuts rows to a page of `limit`, of which one more was asked for; answers the cursor of the next page where there is
/// one.
pub fn cut<R, P: Serialize>(
    workspace: WorkspaceId,
    question: &str,
    rows: &mut Vec<R>,
    limit: i64,
    position: impl FnOnce(&R) -> P,
) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(1);
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map(|last| write(workspace, question, &position(last)))
}

/// E: `invalid_cursor` when it is not one of ours, `cursor_mismatch` when the question has changed.
pub fn read<T: DeserializeOwned>(workspace: WorkspaceId, question: &str, cursor: &str) -> ApiResult<T> {
    let invalid = || {
        Problem::at(
            Kind::InvalidCursor,
            "cursor",
            "invalid_cursor",
            "Send `next_cursor` exactly as it was given, or begin without a cursor.",
        )
    };
    let (bound, position): (String, T) = opened(workspace, cursor).ok_or_else(invalid)?;
    if bound != question {
        return Err(Problem::at(
            Kind::CursorMismatch,
            "cursor",
            "cursor_mismatch",
            "The cursor continues another query: repeat that one with all it asked for, or begin without a cursor.",
        ));
    }
    Ok(position)
}
