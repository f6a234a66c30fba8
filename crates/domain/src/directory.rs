//! The decisions of the one door for writes.
//!
//! The store gathers what a batch of commands [`needs`](Command::needs), loads it, and hands it over as a
//! [`Directory`]. Each command is decided in turn against the state the ones before it left, so a batch means what its
//! items mean one after the other. What comes out is a list of [`Effect`]s: (before, after, cause), which the store saves
//! set-based. A refused command leaves no trace, so one bad item spoils none.

mod living;
mod merging;
mod sayings;
mod suppression;
mod track;
mod trust;

pub use living::{Lived, Touched};
pub use suppression::Listing;

pub use merging::{Expected, MergeStanding, Reverted};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

pub use sayings::{Labelling, Renamed};
use serde_json::{Map, Value};

use crate::{
    Code, Refusal, Timestamp,
    consent::{self, Decision},
    event::{Claim, Incoming, Known, MessageKey, Occurrence, RefusedKey, Rejection, Unreadable, Whose},
    history::{self, Change},
    id::{IdSource, ProfileId, RecordId},
    identity::{self, IdentityKey, IdentityKind, NewIdentity},
    label,
    merge::Keep,
    profile::Profile,
    property::{self, Definition, Definitions, Match, Standard},
    refusal::{Conflict, Issues},
    workspace::Workspace,
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

/// Where an id stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Live(Arc<Profile>),
    /// Merged into another, who answers from then on.
    Merged(ProfileId),
    Erased,
}

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

/// The part of a workspace's directory that a batch of commands is decided on.
#[derive(Debug)]
pub struct Directory {
    pub workspace: Workspace,
    pub definitions: Definitions,
    people: HashMap<ProfileId, Standing>,
    owners: HashMap<IdentityKey, ProfileId>,
    effects: Arc<Vec<Effect>>,
    inferred: Vec<Definition>,
    conflicts: Vec<NamedTogether>,
    going: label::Going,
    labelling: Labelling,
    track: track::Track,
    /// Who is to be judged, by which definitions (`None`: all), and why.
    reconsidered: BTreeMap<ProfileId, (BTreeSet<Option<uuid::Uuid>>, Arc<Cause>)>,
    vouched: trust::Vouched,
    suppression: suppression::Suppression,
    merges: HashMap<RecordId, MergeStanding>,
    reverted: Vec<Reverted>,
}

/// What happened beside changes of profiles.
#[derive(Debug, Default)]
pub struct Happened {
    pub occurrences: Vec<Occurrence>,
    pub merges: Vec<Merge>,
    pub reverted: Vec<Reverted>,
}

impl Directory {
    pub fn new(
        workspace: Workspace,
        definitions: Definitions,
        people: HashMap<ProfileId, Standing>,
        owners: HashMap<IdentityKey, ProfileId>,
    ) -> Self {
        Self {
            workspace,
            definitions,
            people,
            owners,
            effects: Arc::default(),
            inferred: Vec::new(),
            conflicts: Vec::new(),
            going: label::Going::new(),
            labelling: Labelling::default(),
            track: track::Track::default(),
            reconsidered: BTreeMap::new(),
            vouched: trust::Vouched::default(),
            suppression: suppression::Suppression::default(),
            merges: HashMap::new(),
            reverted: Vec::new(),
        }
    }

    /// What was decided so far: the changes in order, and the definitions first values gave rise to.
    pub fn into_parts(self) -> (Arc<Vec<Effect>>, Vec<Definition>, Definitions) {
        (self.effects, self.inferred, self.definitions)
    }

    /// The changes decided so far, in order. Whoever keeps them has those; what is decided later is added to a copy.
    pub fn effects(&self) -> &Arc<Vec<Effect>> {
        &self.effects
    }

    /// Whether first values gave rise to definitions.
    pub fn has_defined(&self) -> bool {
        !self.inferred.is_empty()
    }

    /// Whether all that was decided is about people who are there afterwards: no attribute is defined, no message rejected, no
    /// key suppressed, no label taken over.
    pub fn changes_people_only(&self) -> bool {
        self.inferred.is_empty()
            && self.track.rejections.is_empty()
            && self.suppression.is_quiet()
            && self.labelling.claims.is_empty()
            && self.labelling.renamed.is_empty()
            && self.effects.iter().all(|effect| effect.after.is_some())
    }

    /// Pairs of people that one upsert named and did not join.
    pub fn conflicts(&self) -> &[NamedTogether] {
        &self.conflicts
    }

    /// Tells which messages had arrived before.
    pub fn know(&mut self, messages: HashMap<MessageKey, Known>) {
        self.track.known = messages;
    }

    /// The messages that were not taken, in order.
    pub fn rejections(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.track.rejections)
    }

    /// Tells which labels are being renamed or removed.
    pub fn know_going(&mut self, going: label::Going) {
        self.going = going;
    }

    /// What was decided about labels that no profile shows.
    pub fn take_labelling(&mut self) -> Labelling {
        std::mem::take(&mut self.labelling)
    }

    /// The events, the merges and their reversals decided so far. Notes down when people were last seen, so it comes
    /// after the last command.
    pub fn finish(&mut self, ids: &mut dyn IdSource) -> Happened {
        self.note_sightings(ids);
        Happened {
            occurrences: std::mem::take(&mut self.track.occurrences),
            merges: std::mem::take(&mut self.track.merges),
            reverted: std::mem::take(&mut self.reverted),
        }
    }

    /// Decides one command and remembers its effect.
    pub fn decide(&mut self, command: &Command, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Outcome, Refusal> {
        match command {
            Command::Create(draft) => self.create(draft, cause, ids).map(Outcome::Created),
            Command::Upsert(draft, on_conflict) => match self.strongest(draft) {
                Some(chosen) => self.lay_over(chosen, draft, *on_conflict, cause, ids),
                None => {
                    let profile = self.create(draft, cause, ids)?;
                    Ok(Outcome::Upserted { profile, created: true, duplicates: Vec::new() })
                }
            },
            Command::Amend { id, draft, on_conflict } => match id.or_else(|| self.strongest(draft)) {
                Some(chosen) => self.lay_over(chosen, draft, *on_conflict, cause, ids),
                None => Err(Refusal::new(Code::NotFound, "Nobody has any of these identities.")),
            },
            Command::Update { id, patch, if_match } => self.update(*id, patch, if_match.as_deref(), cause, ids).map(Outcome::Updated),
            Command::AddIdentity { id, identity, if_match } => self.add_identity(*id, identity, if_match.as_deref(), cause, ids),
            Command::RemoveIdentity { id, key, if_match } => {
                self.remove_identity(*id, key, if_match.as_deref(), cause, ids).map(Outcome::Updated)
            }
            Command::AsSelected { id, version, command } => {
                if let Some(Standing::Merged(_)) = self.people.get(id) {
                    let detail =
                        format!("This profile was merged into {} since it was selected; nothing was done to them.", self.survivor(*id));
                    return Err(Refusal::new(Code::ProfileMerged, detail));
                }
                self.live(*id, version.as_ref().map(std::slice::from_ref))?;
                self.decide(command, cause, ids)
            }
            Command::Erase { id, if_match, suppress } => self.erase(*id, if_match.as_deref(), *suppress, cause, ids),
            Command::NoteExport { id } => self.note_export(*id, cause, ids),
            Command::AddLabel { id, label, if_match } => self.add_label(*id, label, if_match.as_deref(), cause, ids),
            Command::RemoveLabel { id, label, if_match } => self.remove_label(*id, label, if_match.as_deref(), cause, ids),
            Command::Relabel { id, add, remove } => self.relabel(*id, add, remove, cause, ids),
            Command::RenameLabel { id, from, to } => self.rename_label(*id, from, to, cause, ids),
            Command::RecordConsent { id, decision, if_match } => self.record_consent(*id, decision, if_match.as_deref(), cause, ids),
            Command::Track(incoming) => self.track(incoming, cause, ids),
            Command::Reconsider { id, only } => self.reconsider(*id, *only, cause),
            Command::Reject(unreadable) => Err(self.reject(unreadable, cause, ids)),
            Command::Merge { primary, secondary, keep, expected } => self.merge_by_hand(*primary, *secondary, keep, expected, cause, ids),
            Command::Revert { merge } => self.revert(*merge, cause, ids),
        }
    }

    fn live(&self, id: ProfileId, if_match: Option<&[u64]>) -> Result<Arc<Profile>, Refusal> {
        let profile = match self.people.get(&self.survivor(id)) {
            Some(Standing::Live(profile)) => Arc::clone(profile),
            Some(Standing::Erased) => return Err(Refusal::new(Code::ProfileErased, "This person was erased; nothing of them is kept.")),
            Some(Standing::Merged(_)) | None => return Err(Refusal::new(Code::NotFound, "There is no profile with this id.")),
        };
        match if_match {
            Some(versions) if !versions.contains(&profile.version) => Err(Refusal::new(
                Code::VersionMismatch,
                format!("The profile is at version {} now; read it again and repeat the change on what it says.", profile.version),
            )),
            _ => Ok(profile),
        }
    }

    /// Who answers for an id: itself, or who it was merged into, through chains.
    fn survivor(&self, id: ProfileId) -> ProfileId {
        let mut at = id;
        while let Some(Standing::Merged(into)) = self.people.get(&at) {
            at = *into;
        }
        at
    }

    /// Who holds a key, under any of its spellings.
    fn owner(&self, key: &IdentityKey) -> Option<ProfileId> {
        key.variants().iter().find_map(|variant| self.owners.get(variant).copied())
    }

    fn taken<'a>(&self, keys: impl Iterator<Item = &'a NewIdentity>, by_others_than: Option<ProfileId>) -> Vec<Conflict> {
        let mut out: Vec<Conflict> = keys
            .filter_map(|new| {
                let profile_id = self.owner(&new.key).filter(|owner| Some(*owner) != by_others_than)?;
                Some(Conflict { key: new.key.clone(), profile_id })
            })
            .collect();
        out.dedup();
        out
    }

    fn create(&mut self, draft: &Draft, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Arc<Profile>, Refusal> {
        self.admit(draft.places())?;
        let conflicts = self.taken(draft.primaries.iter().chain(&draft.identities), None);
        if !conflicts.is_empty() {
            return Err(Refusal::conflicts(
                Code::IdentityTaken,
                "Another profile already has this identity; update it, or use POST /v1/profiles/upsert.",
                conflicts,
            ));
        }
        label::check_stays(&draft.labels, &self.going)?;
        let mut profile = Profile::empty(ProfileId(ids.next(cause.at)), cause.at);
        let inferred = self.fill(&mut profile, draft, cause)?;
        self.save(None, profile, Action::Created, inferred, draft.decisions.clone(), cause, ids)
    }

    /// Whose keys a draft names: the strongest key decides; among equals the older person, so that the order of keys does
    /// not matter.
    fn strongest(&self, draft: &Draft) -> Option<ProfileId> {
        let owners = draft
            .primaries
            .iter()
            .chain(&draft.identities)
            .filter_map(|new| self.owner(&new.key).map(|owner| (new.key.kind.rank(), owner)));
        owners.min().map(|(_, chosen)| chosen)
    }

    /// Lays a draft over somebody who is there.
    fn lay_over(
        &mut self,
        chosen: ProfileId,
        draft: &Draft,
        on_conflict: OnConflict,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        self.admit(draft.places())?;
        let before = self.live(chosen, None)?;
        let chosen = before.id;
        let duplicates = self.taken(draft.primaries.iter().chain(&draft.identities), Some(chosen));
        if !duplicates.is_empty() && on_conflict == OnConflict::Reject {
            let conflicts = self.taken(draft.primaries.iter().chain(&draft.identities), None);
            return Err(Refusal::conflicts(
                Code::IdentityConflict,
                "These identities belong to different profiles; merge them, or repeat with \"on_conflict\": \"strongest\".",
                conflicts,
            ));
        }
        let refused: Vec<&IdentityKey> = duplicates.iter().map(|c| &c.key).collect();
        let mut own = draft.clone();
        own.primaries.retain(|new| !refused.contains(&&new.key));
        own.identities.retain(|new| !refused.contains(&&new.key));
        label::check_stays(&own.labels, &self.going)?;
        let mut profile = (*before).clone();
        let inferred = self.fill(&mut profile, &own, cause)?;
        // What is known already, to the instant and the source, is not told to the ledger again.
        own.decisions.retain(|decision| !before.consents.iter().any(|consent| consent::is_known(consent, decision)));
        let profile = self.save(Some(Arc::clone(&before)), profile, Action::Upserted, inferred, own.decisions, cause, ids)?;
        self.conflicts.extend(duplicates.iter().map(|conflict| NamedTogether {
            chosen: profile.id,
            other: conflict.profile_id,
            kind: conflict.key.kind.clone(),
            at: cause.at,
        }));
        self.claim(&before, &own.labels, cause);
        Ok(Outcome::Upserted { profile, created: false, duplicates })
    }

    fn update(
        &mut self,
        id: ProfileId,
        patch: &Patch,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Arc<Profile>, Refusal> {
        let before = self.live(id, if_match)?;
        let id = before.id;
        self.admit(patch.primaries.iter().filter_map(|(kind, new)| Some((format!("/{kind}"), new.as_ref()?))))?;
        let conflicts = self.taken(patch.primaries.iter().filter_map(|(_, new)| new.as_ref()), Some(id));
        if !conflicts.is_empty() {
            return Err(Refusal::conflicts(
                Code::IdentityTaken,
                "Another profile already has this identity; merge the two, or correct the other one first.",
                conflicts,
            ));
        }
        let mut profile = (*before).clone();
        for (kind, new) in &patch.primaries {
            let primary = profile.primary(kind).map(identity::Identity::key);
            match (new, primary) {
                (Some(new), Some(primary)) if new.key == primary => {}
                (Some(new), primary) => {
                    // A correction: what was wrong is not collected.
                    if let Some(primary) = primary {
                        profile.forget(&primary);
                    }
                    profile.learn(new, cause.source, cause.at);
                    profile.promote(&new.key);
                }
                (None, Some(primary)) => profile.forget(&primary),
                (None, None) => {}
            }
        }
        for (property, value) in &patch.standard {
            profile.set_standard(*property, value.clone());
        }
        if patch.clear_attributes {
            profile.attributes.clear();
        }
        let inferred = self.set_attributes(&mut profile, &patch.attributes, cause)?;
        self.save(Some(before), profile, Action::Updated, inferred, Vec::new(), cause, ids)
    }

    fn add_identity(
        &mut self,
        id: ProfileId,
        new: &NewIdentity,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, if_match)?;
        self.admit(std::iter::once(("/value".to_owned(), new)))?;
        let conflicts = self.taken(std::iter::once(new), Some(before.id));
        if !conflicts.is_empty() {
            return Err(Refusal::conflicts(
                Code::IdentityTaken,
                "Another profile already has this identity; merge the two instead.",
                conflicts,
            ));
        }
        if before.answers_to(&new.key) {
            return Ok(Outcome::Held(before));
        }
        let mut profile = (*before).clone();
        profile.learn(new, cause.source, cause.at);
        self.save(Some(before), profile, Action::IdentityAdded, Vec::new(), Vec::new(), cause, ids).map(Outcome::Updated)
    }

    fn remove_identity(
        &mut self,
        id: ProfileId,
        key: &IdentityKey,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Arc<Profile>, Refusal> {
        let before = self.live(id, if_match)?;
        if !before.holds(key) {
            return Err(Refusal::new(Code::NotFound, "The profile has no such identity."));
        }
        let mut profile = (*before).clone();
        profile.forget(key);
        self.save(Some(before), profile, Action::IdentityRemoved, Vec::new(), Vec::new(), cause, ids)
    }

    fn erase(
        &mut self,
        id: ProfileId,
        if_match: Option<&[u64]>,
        suppress: bool,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, if_match)?;
        let id = before.id;
        for identity in &before.identities {
            self.owners.remove(&identity.key());
        }
        let erasure_id = RecordId(ids.next(cause.at));
        if suppress {
            self.suppress(&before, erasure_id, cause);
        }
        self.people.insert(id, Standing::Erased);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: id,
            before: Some(before),
            after: None,
            action: Action::Erased,
            changes: Vec::new(),
            decisions: Vec::new(),
            cause: Arc::clone(cause),
            at: cause.at,
            record_id: erasure_id,
        });
        Ok(Outcome::Erased { profile_id: id, erasure_id, at: cause.at })
    }

    /// Lays a draft over a profile. Top-level keys become primary; the former ones stay.
    fn fill(&self, profile: &mut Profile, draft: &Draft, cause: &Cause) -> Result<Vec<Definition>, Refusal> {
        for new in &draft.primaries {
            // Another spelling of a line the person already has is that line.
            let held = new.key.variants().into_iter().find(|variant| profile.holds(variant));
            if held.is_none() {
                profile.learn(new, cause.source, cause.at);
            }
            profile.promote(&held.unwrap_or_else(|| new.key.clone()));
        }
        for new in &draft.identities {
            if !profile.answers_to(&new.key) {
                profile.learn(new, cause.source, cause.at);
                if profile.primary(&new.key.kind).is_none() {
                    profile.promote(&new.key);
                }
            }
        }
        for (property, value) in &draft.standard {
            profile.set_standard(*property, value.clone());
        }
        profile.labels.extend(draft.labels.iter().cloned());
        for decision in &draft.decisions {
            consent::record(&mut profile.consents, decision);
        }
        self.set_attributes(profile, &draft.attributes, cause)
    }

    /// Types and lays attributes over a profile; returns the definitions that first values give rise to.
    fn set_attributes(&self, profile: &mut Profile, attributes: &Map<String, Value>, cause: &Cause) -> Result<Vec<Definition>, Refusal> {
        let mut issues = Issues::default();
        let mut inferred: BTreeMap<&str, Definition> = BTreeMap::new();
        for (key, value) in attributes {
            let definition = match self.definitions.get(key) {
                Some(definition) => definition,
                None if value.is_null() => {
                    profile.attributes.remove(key);
                    continue;
                }
                None => match self.infer(key, value, cause) {
                    Ok(definition) => inferred.entry(key).or_insert(definition),
                    Err(issue) => {
                        issues.add(issue.under(&property::pointer(key)));
                        continue;
                    }
                },
            };
            match property::check(definition, value) {
                Ok(Some(value)) => {
                    profile.attributes.insert(key.clone(), value);
                }
                Ok(None) => {
                    profile.attributes.remove(key);
                }
                Err(issue) => issues.add(issue.under(&property::pointer(key))),
            }
        }
        if self.definitions.len() + inferred.len() > property::MAX_DEFINITIONS {
            issues.push("/attributes", "limit_exceeded", format!("a workspace defines at most {} attributes", property::MAX_DEFINITIONS));
        }
        issues.into_result()?;
        Ok(inferred.into_values().collect())
    }

    fn infer(&self, key: &str, value: &Value, cause: &Cause) -> Result<Definition, crate::Issue> {
        if !property::is_key(key) {
            return Err(crate::Issue::new("", "invalid_attribute_name", property::KEY_RULE));
        }
        if self.workspace.strict_attributes {
            return Err(crate::Issue::new(
                "",
                "unknown_attribute",
                "this workspace accepts defined attributes only; define it with POST /v1/properties",
            ));
        }
        let kind = property::infer(value).ok_or_else(|| {
            crate::Issue::new(
                "",
                "wrong_type",
                format!("expected text, a number, a boolean or a list of texts, got {}", property::kind_of(value)),
            )
        })?;
        Ok(Definition {
            key: key.to_owned(),
            kind,
            label: None,
            description: None,
            options: Vec::new(),
            searchable: false,
            pii: false,
            matching: Match::None,
            created_at: cause.at,
            updated_at: cause.at,
        })
    }

    /// Settles and checks the new state, and takes it over. Nothing is remembered of a state that is refused.
    #[expect(clippy::too_many_arguments, reason = "one place where a decision becomes an effect")]
    fn save(
        &mut self,
        before: Option<Arc<Profile>>,
        mut profile: Profile,
        action: Action,
        inferred: Vec<Definition>,
        decisions: Vec<Decision>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Arc<Profile>, Refusal> {
        profile.settle(before.as_deref());
        self.put(before, profile, action, inferred, decisions, cause, ids)
    }

    /// Checks a settled state and takes it over.
    #[expect(clippy::too_many_arguments, reason = "one place where a decision becomes an effect")]
    fn put(
        &mut self,
        before: Option<Arc<Profile>>,
        mut profile: Profile,
        action: Action,
        inferred: Vec<Definition>,
        decisions: Vec<Decision>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Arc<Profile>, Refusal> {
        check_limits(&profile)?;
        let changes = history::diff(before.as_deref(), &profile);
        if let Some(before) = &before
            && changes.is_empty()
            && decisions.is_empty()
            && before.identities == profile.identities
            && before.consents == profile.consents
        {
            return Ok(Arc::clone(before));
        }
        self.vouched.note(profile.id, &changes, action, cause);
        profile.version += 1;
        profile.updated_at = cause.at.max(profile.updated_at);
        let profile = Arc::new(profile);
        if let Some(before) = &before {
            for identity in &before.identities {
                self.owners.remove(&identity.key());
            }
        }
        for identity in &profile.identities {
            self.owners.insert(identity.key(), profile.id);
        }
        self.people.insert(profile.id, Standing::Live(Arc::clone(&profile)));
        for definition in inferred {
            self.definitions.insert(definition.key.clone(), definition.clone());
            self.inferred.push(definition);
        }
        let at = profile.updated_at;
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: profile.id,
            before,
            after: Some(Arc::clone(&profile)),
            action,
            changes,
            decisions,
            cause: Arc::clone(cause),
            at,
            record_id: RecordId(ids.next(at)),
        });
        Ok(profile)
    }
}

pub(crate) fn check_limits(profile: &Profile) -> Result<(), Refusal> {
    if profile.identities.is_empty() {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "A profile keeps at least one identity: an email, a phone, an external_id or a channel handle.",
        ));
    }
    let mut issues = Issues::default();
    if profile.identities.len() > identity::MAX_PER_PROFILE {
        issues.push("/identities", "limit_exceeded", format!("a profile holds at most {} identities", identity::MAX_PER_PROFILE));
    }
    if profile.labels.len() > label::MAX_PER_PROFILE {
        issues.push("/labels", "limit_exceeded", format!("a profile carries at most {} labels", label::MAX_PER_PROFILE));
    }
    if profile.consents.len() > 50 {
        issues.push("/consents", "limit_exceeded", "a profile has consents on at most 50 channels");
    }
    if profile.attributes.len() > property::MAX_ATTRIBUTES {
        issues.push("/attributes", "limit_exceeded", format!("a profile has at most {} custom attributes", property::MAX_ATTRIBUTES));
    }
    let bytes: usize = profile.attributes.iter().map(|(key, value)| key.len() + value.to_string().len() + 4).sum();
    if bytes > property::MAX_ATTRIBUTE_BYTES {
        issues.push(
            "/attributes",
            "limit_exceeded",
            format!("custom attributes take at most {} bytes of JSON, these take {bytes}", property::MAX_ATTRIBUTE_BYTES),
        );
    }
    issues.into_result()
}

#[cfg(test)]
mod tests;
