//! Commands: what a request asks of the directory, and what must be known to decide it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Expected;
use crate::{
    Timestamp,
    consent::Decision,
    event::{Claim, Incoming, MessageKey, Unreadable, Whose},
    id::{ProfileId, RecordId},
    identity::{IdentityKey, IdentityKind, NewIdentity},
    merge::Keep,
    property::Standard,
};
/// The source of what a key with the trust `browser` says.
pub const BROWSER: &str = "browser";

/// Who asked, when, and through what: stands beside every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub at: Timestamp,
    /// `key:<id>` of the API key, or `system:<part>`.
    pub actor: String,
    /// `api`, `tracking`, `browser`, `import`, `rule`, …; becomes the source of identities learnt.
    pub source: &'static str,
    pub request_id: String,
    /// Why, in the caller's words.
    pub reason: Option<String>,
}

/// What a request says about a person, checked in shape and normalised, not yet held against anyone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Top-level `email`, `phone`, `external_id`.
    pub primaries: Vec<NewIdentity>,
    /// Further keys, with their place in the request.
    pub identities: Vec<NewIdentity>,
    /// `None` clears.
    pub standard: Vec<(Standard, Option<String>)>,
    /// `null` clears a key.
    pub attributes: Map<String, Value>,
    pub labels: Vec<String>,
    pub decisions: Vec<Decision>,
    /// What a file tells of somebody's consents without saying since when: it gives way to an opt-out, which may well be newer.
    pub undated: Vec<Decision>,
}

impl Draft {
    /// Every decision that is told, with or without its time.
    pub fn told(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().chain(&self.undated)
    }
}

/// A correction of one person.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// `Some` replaces the primary of the kind, `None` removes it.
    pub primaries: Vec<(IdentityKind, Option<NewIdentity>)>,
    pub standard: Vec<(Standard, Option<String>)>,
    /// Clears every attribute before `attributes` are laid over.
    pub clear_attributes: bool,
    pub attributes: Map<String, Value>,
}

/// What to do when the keys of an upsert belong to different people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    #[default]
    Reject,
    /// external_id > email > phone > other takes it; the rest is reported.
    Strongest,
}

/// `if_match` names the versions a change is meant for; `None` means whatever there is.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Create(Draft),
    Upsert(Draft, OnConflict),
    /// As an upsert, of somebody who is there: the one with the id, or else whoever the keys find. Creates nobody.
    Amend {
        id: Option<ProfileId>,
        draft: Draft,
        on_conflict: OnConflict,
    },
    Update {
        id: ProfileId,
        patch: Patch,
        if_match: Option<Vec<u64>>,
    },
    AddIdentity {
        id: ProfileId,
        identity: NewIdentity,
        if_match: Option<Vec<u64>>,
    },
    RemoveIdentity {
        id: ProfileId,
        key: IdentityKey,
        if_match: Option<Vec<u64>>,
    },
    /// With `suppress`, their identities are not taken in again.
    Erase {
        id: ProfileId,
        if_match: Option<Vec<u64>>,
        suppress: bool,
    },
    /// Everything held on a person was handed out: for the history, nothing of the profile changes.
    NoteExport {
        id: ProfileId,
    },
    AddLabel {
        id: ProfileId,
        label: String,
        if_match: Option<Vec<u64>>,
    },
    RemoveLabel {
        id: ProfileId,
        label: String,
        if_match: Option<Vec<u64>>,
    },
    /// Several labels put on and taken off in one change; what is so already stays so.
    Relabel {
        id: ProfileId,
        add: Vec<String>,
        remove: Vec<String>,
    },
    /// One label becomes another on whoever carries it, put there by whom and when it was before.
    RenameLabel {
        id: ProfileId,
        from: String,
        to: String,
    },
    RecordConsent {
        id: ProfileId,
        decision: Decision,
        if_match: Option<Vec<u64>>,
    },
    Track(Box<Incoming>),
    /// A command about exactly this person: whoever they were merged into since is not meant. With `version`, and as they were
    /// then.
    AsSelected {
        id: ProfileId,
        version: Option<u64>,
        command: Box<Self>,
    },
    /// Judge somebody again by the definition with this id, or by every one: it is new, or time has passed.
    Reconsider {
        id: ProfileId,
        only: Option<uuid::Uuid>,
    },
    /// A message that is not taken, to be listed.
    Reject(Box<Unreadable>),
    /// On the two as they were previewed.
    Merge {
        primary: ProfileId,
        secondary: ProfileId,
        keep: Keep,
        expected: Expected,
    },
    /// Two people again.
    Revert {
        merge: RecordId,
    },
}

/// What must be loaded before commands can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every spelling of every key mentioned, for their owners.
    pub keys: BTreeSet<IdentityKey>,
    pub profiles: BTreeSet<ProfileId>,
    /// Messages that may have arrived before.
    pub messages: BTreeSet<MessageKey>,
    /// Merges to be taken back.
    pub merges: BTreeSet<RecordId>,
}

impl Command {
    /// What it says about a person, where it says it all at once.
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Create(draft) | Self::Upsert(draft, _) | Self::Amend { draft, .. } => Some(draft),
            _ => None,
        }
    }

    /// Merges and their reversals are decided by themselves: what they do to rows is not mixed with what others do.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Merge { .. } | Self::Revert { .. })
    }

    /// Adds what this command needs.
    pub fn needs(&self, needs: &mut Needs) {
        let mut keys = |new: &NewIdentity| needs.keys.extend(new.key.variants());
        match self {
            Self::Create(draft) | Self::Upsert(draft, _) | Self::Amend { draft, .. } => {
                draft.primaries.iter().chain(&draft.identities).for_each(keys)
            }
            Self::Update { patch, .. } => patch.primaries.iter().filter_map(|(_, new)| new.as_ref()).for_each(keys),
            Self::AddIdentity { identity, .. } => keys(identity),
            Self::Track(incoming) => match &incoming.whose {
                Whose::Keys(new) => {
                    if let Claim::Formerly { user, visitor } = &incoming.claim {
                        keys(user);
                        keys(visitor);
                    }
                    new.iter().for_each(keys);
                }
                Whose::Profile(id) => {
                    needs.profiles.insert(*id);
                }
            },
            Self::RemoveIdentity { .. }
            | Self::Erase { .. }
            | Self::NoteExport { .. }
            | Self::AddLabel { .. }
            | Self::RemoveLabel { .. }
            | Self::Relabel { .. }
            | Self::RenameLabel { .. }
            | Self::RecordConsent { .. }
            | Self::Reconsider { .. }
            | Self::Reject(_) => {}
            Self::AsSelected { id, command, .. } => {
                needs.profiles.insert(*id);
                command.needs(needs);
                return;
            }
            Self::Merge { primary, secondary, .. } => needs.profiles.extend([*primary, *secondary]),
            Self::Revert { merge } => {
                needs.merges.insert(*merge);
            }
        }
        if let Self::Update { id, .. }
        | Self::AddIdentity { id, .. }
        | Self::RemoveIdentity { id, .. }
        | Self::Erase { id, .. }
        | Self::NoteExport { id }
        | Self::AddLabel { id, .. }
        | Self::RemoveLabel { id, .. }
        | Self::Relabel { id, .. }
        | Self::RenameLabel { id, .. }
        | Self::RecordConsent { id, .. }
        | Self::Reconsider { id, .. } = self
        {
            needs.profiles.insert(*id);
        }
        if let Self::Amend { id: Some(id), .. } = self {
            needs.profiles.insert(*id);
        }
        if let Self::Track(incoming) = self {
            needs.messages.extend(incoming.message.clone());
        }
    }
}
