//! The change feed: what can become of a person, in the words in which readers of the feed and webhooks are told.

use crate::directory::Action;

const CREATED: &str = "profile.created";
const UPDATED: &str = "profile.updated";
/// Nothing of the person is kept.
pub const ERASED: &str = "profile.erased";
/// A merge, under the survivor's id.
pub const MERGED: &str = "profile.merged";
/// The second row of a merge, under the id that is nobody's any more. It wakes what the product itself keeps of that id; to
/// everybody else a merge is told once, with both ids, as [`MERGED`].
pub const MERGED_INTO: &str = "profile.merged_into";
const MERGE_REVERTED: &str = "profile.merge_reverted";

/// Everything that is told outside.
pub const TYPES: &[&str] = &[CREATED, UPDATED, ERASED, MERGED, MERGE_REVERTED];

/// As what an entry of the history stands in the feed; `None`: it is no change.
pub const fn kind_of(action: Action) -> Option<&'static str> {
    Some(match action {
        // That somebody read.
        Action::Exported => return None,
        Action::Created => CREATED,
        Action::Erased => ERASED,
        Action::Merged => MERGED,
        Action::MergedInto => MERGED_INTO,
        // Of both: the one who is there again, and the one who was both.
        Action::MergeReverted => MERGE_REVERTED,
        Action::Updated
        | Action::Upserted
        | Action::IdentityAdded
        | Action::IdentityRemoved
        | Action::IdentityRefused
        | Action::LabelAdded
        | Action::LabelRemoved
        | Action::ConsentRecorded
        | Action::SegmentsChanged
        | Action::Seen => UPDATED,
    })
}
