//! The decisions of the one door for writes.
//!
//! The store gathers what a batch of commands [`needs`](Command::needs), loads it, and hands it over as a
//! [`Directory`]. Each command is decided in turn against the state the ones before it left, so a batch means what its
//! items mean one after the other. What comes out is a list of [`Effect`]s: (before, after, cause), which the store saves
//! set-based. A refused command leaves no trace, so one bad item spoils none.

mod command;
mod effect;
mod living;
mod merging;
mod sayings;
mod suppression;
mod track;
mod trust;

pub use command::{BROWSER, Cause, Command, Draft, Needs, OnConflict, Patch};
pub use effect::{Action, Effect, Merge, NamedTogether, Outcome};
pub use living::{Lived, Touched};
pub use suppression::Listing;
pub use trust::Fields;

pub use merging::{Expected, MergeStanding, Reverted, Seen};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

pub use sayings::{Labelling, Renamed};
use serde_json::{Map, Value};

use crate::{
    Code, Refusal,
    consent::{self, Decision},
    event::{Known, MessageKey, Occurrence, Rejection},
    history,
    id::{IdSource, ProfileId, RecordId},
    identity::{self, IdentityKey, NewIdentity},
    label,
    profile::Profile,
    property::{self, Definition, Definitions, Match},
    refusal::{Conflict, Issues},
    workspace::Workspace,
};

/// Where an id stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Live(Arc<Profile>),
    /// Merged into another, who answers from then on.
    Merged(ProfileId),
    Erased,
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
        draft.undated.iter().for_each(|decision| consent::record(&mut profile.consents, decision));
        self.save(None, profile, Action::Created, inferred, draft.told().cloned().collect(), cause, ids)
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
        let current = |decision: &Decision| before.consents.iter().find(|consent| consent.channel == decision.channel);
        let counting = std::mem::take(&mut own.undated).into_iter().filter(|told| consent::counts_undated(current(told), told));
        own.decisions.extend(counting);
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
            && before.identities == profile.identities
            && before.consents == profile.consents
        {
            self.note_late(before, decisions, cause, ids);
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

    /// Decisions older than those that stand: the ledger and the history have them, the profile stays at its version.
    fn note_late(&mut self, before: &Arc<Profile>, decisions: Vec<Decision>, cause: &Arc<Cause>, ids: &mut dyn IdSource) {
        if decisions.is_empty() {
            return;
        }
        let at = cause.at.max(before.updated_at);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: before.id,
            before: Some(Arc::clone(before)),
            after: Some(Arc::clone(before)),
            action: Action::ConsentRecorded,
            changes: Vec::new(),
            decisions,
            cause: Arc::clone(cause),
            at,
            record_id: RecordId(ids.next(at)),
        });
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
    let property::Room { number, bytes } = property::Room::of(&profile.attributes);
    if number > property::MAX_ATTRIBUTES {
        issues.push("/attributes", "limit_exceeded", format!("a profile has at most {} custom attributes", property::MAX_ATTRIBUTES));
    }
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
