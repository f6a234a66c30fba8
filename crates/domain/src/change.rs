//! The change feed: what can become of a person, in the words in which readers of the feed and webhooks are told.

/// Everything a change can be.
pub const TYPES: &[&str] = &["profile.created", "profile.updated", "profile.erased", "profile.merged", "profile.merge_reverted"];

/// The second row of a merge, under the id that is nobody's any more. It wakes what the product itself keeps of that id; to
/// everybody else a merge is told once, with both ids, as [`MERGED`].
pub const MERGED_INTO: &str = "profile.merged_into";

/// A merge, under the survivor's id.
pub const MERGED: &str = "profile.merged";

/// Whether a row of this kind is told outside.
pub fn is_told(kind: &str) -> bool {
    kind != MERGED_INTO
}
