//! What comes of commands: changes of profiles to be saved, and what is answered.

use std::sync::Arc;

use super::Cause;
use crate::{
    Timestamp,
    consent::Decision,
    event::RefusedKey,
    history::Change,
    id::{ProfileId, RecordId},
    identity::IdentityKind,
    merge::Keep,
    profile::Profile,
    refusal::Conflict,
};

/// What happened to a profile, as history and the change feed name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    Updated,
    Upserted,
    IdentityAdded,
    IdentityRemoved,
    /// A message named a key of another identified person; nothing of the profile changed.
    IdentityRefused,
    LabelAdded,
    LabelRemoved,
    /// A decision went into the ledger; an older one that came late changed nothing of the profile.
    ConsentRecorded,
    /// Joined or left segments.
    SegmentsChanged,
    /// An event arrived: only when and where the person was last seen.
    Seen,
    /// Everything held on the person was handed out; nothing of the profile changed.
    Exported,
    /// Another was merged into this one.
    Merged,
    /// Was merged into another, and is no more.
    MergedInto,
    /// A merge was taken back: the survivor without the other, or the other, who is there again.
    MergeReverted,
    Erased,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Upserted => "upserted",
            Self::IdentityAdded => "identity_added",
            Self::IdentityRemoved => "identity_removed",
            Self::IdentityRefused => "identity_refused",
            Self::LabelAdded => "label_added",
            Self::LabelRemoved => "label_removed",
            Self::ConsentRecorded => "consent_recorded",
            Self::SegmentsChanged => "segments_changed",
            Self::Seen => "seen",
            Self::Exported => "exported",
            Self::Merged => "merged",
            Self::MergedInto => "merged_into",
            Self::MergeReverted => "merge_reverted",
            Self::Erased => "erased",
        }
    }
}

/// One change of one profile, to be saved.
#[derive(Clone, Debug)]
pub struct Effect {
    pub profile_id: ProfileId,
    pub before: Option<Arc<Profile>>,
    /// `None`: erased.
    pub after: Option<Arc<Profile>>,
    pub action: Action,
    pub changes: Vec<Change>,
    /// Consent decisions for the ledger, also those that changed nothing.
    pub decisions: Vec<Decision>,
    pub cause: Arc<Cause>,
    /// When it counts as done: never before the profile's last change, whatever the order requests came in.
    pub at: Timestamp,
    /// Id of the history entry, or of the erasure; sorts by `at`.
    pub record_id: RecordId,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Created(Arc<Profile>),
    /// Also when nothing changed.
    Updated(Arc<Profile>),
    Upserted {
        profile: Arc<Profile>,
        created: bool,
        duplicates: Vec<Conflict>,
    },
    /// It was known already: the profile as it is.
    Held(Arc<Profile>),
    Erased {
        profile_id: ProfileId,
        erasure_id: RecordId,
        at: Timestamp,
    },
    /// The same for a message that had arrived before.
    Tracked {
        event_id: RecordId,
        profile_id: ProfileId,
        refused: Vec<RefusedKey>,
    },
    /// Two became one, or one became two again.
    Merged {
        id: RecordId,
        survivor: Arc<Profile>,
        other: ProfileId,
    },
}

/// Two people whom one request named, who stayed two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTogether {
    pub chosen: ProfileId,
    pub other: ProfileId,
    /// Of the key that belongs to the other.
    pub kind: IdentityKind,
    pub at: Timestamp,
}

/// Two people who became one, as it is recorded.
#[derive(Clone, Debug)]
pub struct Merge {
    pub id: RecordId,
    /// As they were before.
    pub primary: Arc<Profile>,
    pub secondary: Arc<Profile>,
    /// What the caller chose.
    pub keep: Keep,
    pub cause: Arc<Cause>,
    pub at: Timestamp,
    /// By the rules of resolution, or because somebody asked.
    pub automatic: bool,
}

impl Outcome {
    pub fn profile(&self) -> Option<&Arc<Profile>> {
        match self {
            Self::Created(profile) | Self::Updated(profile) | Self::Held(profile) | Self::Upserted { profile, .. } => Some(profile),
            Self::Erased { .. } | Self::Tracked { .. } | Self::Merged { .. } => None,
        }
    }

    /// Everyone an answer may speak of.
    pub fn people(&self) -> Vec<ProfileId> {
        let others: Vec<ProfileId> = match self {
            Self::Upserted { duplicates, .. } => duplicates.iter().map(|conflict| conflict.profile_id).collect(),
            Self::Tracked { refused, .. } => refused.iter().filter_map(|key| key.profile_id).collect(),
            Self::Merged { other, .. } => vec![*other],
            _ => Vec::new(),
        };
        std::iter::once(self.profile_id()).chain(others).collect()
    }

    pub fn profile_id(&self) -> ProfileId {
        match self {
            Self::Merged { survivor, .. } => survivor.id,
            Self::Erased { profile_id, .. } | Self::Tracked { profile_id, .. } => *profile_id,
            Self::Created(profile) | Self::Updated(profile) | Self::Held(profile) | Self::Upserted { profile, .. } => profile.id,
        }
    }
}
