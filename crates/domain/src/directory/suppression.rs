//! Who is not to come back: identities of people who were erased on condition that nobody takes them in again.
//!
//! The store keeps a keyed hash of each and tells which of a group's keys are among them. What a caller says explicitly
//! is refused with the remedy; a message of a stream is dropped and counted, since its sender can do nothing about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Action, Cause, Directory, Draft, Effect, Outcome};
use crate::{
    Code, Refusal,
    id::{IdSource, ProfileId, RecordId},
    identity::{IdentityKey, NewIdentity},
    profile::Profile,
    refusal::Issue,
};

/// What a group of commands must know and adds up to.
#[derive(Debug, Default)]
pub(super) struct Suppression {
    /// In the one spelling that stands for all.
    barred: BTreeSet<IdentityKey>,
    listed: Vec<Listing>,
    dropped: BTreeMap<IdentityKey, i64>,
}

/// The keys of one erased person, to be put on the list; each in the one spelling that stands for all.
#[derive(Clone, Debug)]
pub struct Listing {
    pub erasure_id: RecordId,
    pub keys: BTreeSet<IdentityKey>,
    pub cause: Arc<Cause>,
}

impl Suppression {
    /// Whether nothing is to be put on the list, and nothing was dropped for what is on it.
    pub(super) fn is_quiet(&self) -> bool {
        self.listed.is_empty() && self.dropped.is_empty()
    }
}

impl Draft {
    /// Every key with its place in the request.
    pub(super) fn places(&self) -> impl Iterator<Item = (String, &NewIdentity)> {
        let primaries = self.primaries.iter().map(|new| (format!("/{}", new.key.kind), new));
        primaries.chain(self.identities.iter().enumerate().map(|(i, new)| (format!("/identities/{i}"), new)))
    }
}

impl Directory {
    /// Tells which keys are suppressed, each in its canonical spelling.
    pub fn bar(&mut self, keys: impl IntoIterator<Item = IdentityKey>) {
        self.suppression.barred.extend(keys);
    }

    /// What is to be put on the list, and how many messages were dropped for each key on it.
    pub fn suppressions(&mut self) -> (Vec<Listing>, BTreeMap<IdentityKey, i64>) {
        (std::mem::take(&mut self.suppression.listed), std::mem::take(&mut self.suppression.dropped))
    }

    /// E: `IdentitySuppressed`, with each place.
    pub(super) fn admit<'a>(&self, keys: impl Iterator<Item = (String, &'a NewIdentity)>) -> Result<(), Refusal> {
        if self.suppression.barred.is_empty() {
            return Ok(());
        }
        let issues: Vec<Issue> = keys
            .filter(|(_, new)| self.suppression.barred.contains(&new.key.canonical()))
            .map(|(pointer, _)| Issue::new(pointer, "identity_suppressed", "this identity is on the suppression list"))
            .collect();
        if issues.is_empty() { Ok(()) } else { Err(Refusal { issues, ..suppressed() }) }
    }

    /// A message that names a suppressed key is dropped whole, and counted. E: `IdentitySuppressed`.
    pub(super) fn admit_message<'a>(&mut self, keys: impl Iterator<Item = &'a NewIdentity>) -> Result<(), Refusal> {
        if self.suppression.barred.is_empty() {
            return Ok(());
        }
        let named: BTreeSet<IdentityKey> =
            keys.map(|new| new.key.canonical()).filter(|key| self.suppression.barred.contains(key)).collect();
        if named.is_empty() {
            return Ok(());
        }
        for key in named {
            *self.suppression.dropped.entry(key).or_insert(0) += 1;
        }
        Err(suppressed())
    }

    /// Puts the keys of somebody who is being erased on the list; it holds for the rest of the group already.
    pub(super) fn suppress(&mut self, profile: &Profile, erasure_id: RecordId, cause: &Arc<Cause>) {
        let keys: BTreeSet<IdentityKey> = profile.identities.iter().map(|identity| identity.key().canonical()).collect();
        self.suppression.barred.extend(keys.iter().cloned());
        self.suppression.listed.push(Listing { erasure_id, keys, cause: Arc::clone(cause) });
    }

    /// That everything held on a person was handed out is told by the history.
    pub(super) fn note_export(&mut self, id: ProfileId, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Outcome, Refusal> {
        let profile = self.live(id, None)?;
        let at = cause.at.max(profile.updated_at);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: profile.id,
            before: Some(Arc::clone(&profile)),
            after: Some(Arc::clone(&profile)),
            action: Action::Exported,
            changes: Vec::new(),
            decisions: Vec::new(),
            cause: Arc::clone(cause),
            at,
            record_id: RecordId(ids.next(at)),
        });
        Ok(Outcome::Held(profile))
    }
}

fn suppressed() -> Refusal {
    Refusal::new(
        Code::IdentitySuppressed,
        "The identity is of a person who was erased and is not to be taken in again. If they come back by their own wish, \
         find its entry with POST /v1/suppressions/lookup and lift it with DELETE /v1/suppressions/{id}.",
    )
}
