//! Merges somebody asks for, and taking them back.

use std::{collections::HashMap, sync::Arc};

use super::{Action, Cause, Directory, Effect, Merge, Outcome, Standing};
use crate::{
    Code, Refusal, Timestamp, history,
    id::{IdSource, ProfileId, RecordId},
    merge::{
        self, Keep, Side,
        revert::{self, Left, Parted, Reversal, Why},
    },
    profile::Profile,
    property::{self, Definition},
};

/// Who somebody was when they were looked at: in which version, and with how many events, since a late one is counted and leaves the
/// version.
pub type Seen = (ProfileId, u64, i64);

/// The two people as they were previewed: a merge is carried out on these, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub primary: Seen,
    pub secondary: Seen,
}

impl Expected {
    pub fn of(primary: &Profile, secondary: &Profile) -> Self {
        let seen = |profile: &Profile| (profile.id, profile.version, profile.activity.count());
        Self { primary: seen(primary), secondary: seen(secondary) }
    }
}

/// What an id of a merge stands for.
#[derive(Clone, Debug)]
pub enum MergeStanding {
    Recorded(Box<Reversal>),
    /// One of the two was erased, and the record with them.
    Erased,
}

/// A merge taken back, to be saved.
#[derive(Clone, Debug)]
pub struct Reverted {
    pub merge_id: RecordId,
    /// The survivor's entry of history.
    pub record_id: RecordId,
    pub survivor: Arc<Profile>,
    pub secondary: Arc<Profile>,
    /// The secondary, and who had been merged into them.
    pub members: Vec<ProfileId>,
    pub left: Vec<Left>,
    /// What later merges remember of the survivor from now on.
    pub later: Vec<(RecordId, Profile)>,
    pub cause: Arc<Cause>,
    pub at: Timestamp,
}

impl Directory {
    /// Tells what there is to know of the merges that commands name.
    pub fn remember(&mut self, merges: HashMap<RecordId, MergeStanding>) {
        self.merges = merges;
    }

    /// Who the two ids are today. E: the same person.
    pub fn two(&self, primary: ProfileId, secondary: ProfileId) -> Result<(Arc<Profile>, Arc<Profile>), Refusal> {
        let (first, second) = (self.live(primary, None)?, self.live(secondary, None)?);
        if first.id == second.id {
            return Err(merge::one_person(primary == secondary));
        }
        Ok((first, second))
    }

    pub(super) fn merge_by_hand(
        &mut self,
        primary: ProfileId,
        secondary: ProfileId,
        keep: &Keep,
        expected: &Expected,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let (first, second) = self.two(primary, secondary)?;
        if Expected::of(&first, &second) != *expected {
            return Err(Refusal::new(Code::PreviewStale, "One of the two has changed since the preview; look at a new one."));
        }
        for (asked, found, side) in [(primary, first.id, Side::Primary), (secondary, second.id, Side::Secondary)] {
            if asked != found {
                return Err(merge::merged_away(side, found));
            }
        }
        let (survivor, id) = self.merge(first.id, second.id, keep, false, cause, ids)?;
        Ok(Outcome::Merged { id, survivor, other: second.id })
    }

    /// Two people become one. E: a limit of the profile is exceeded; nothing has changed then.
    pub(super) fn merge(
        &mut self,
        primary: ProfileId,
        secondary: ProfileId,
        keep: &Keep,
        automatic: bool,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<(Arc<Profile>, RecordId), Refusal> {
        let (first, second) = self.two(primary, secondary)?;
        let mut joined = merge::outcome(&first, &second, keep)?;
        // Both ids answer with this version from now on: it must be new under each of them.
        joined.version = first.version.max(second.version);
        let survivor = self.save(Some(Arc::clone(&first)), joined, Action::Merged, Vec::new(), Vec::new(), cause, ids)?;
        self.people.insert(second.id, Standing::Merged(survivor.id));
        self.vouched.inherit(survivor.id, second.id);
        let at = survivor.updated_at;
        // The merge goes by the name of the entry it makes, in history, timeline and feed.
        let id = self.effects.last().map_or_else(|| RecordId(ids.next(at)), |effect| effect.record_id);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: second.id,
            before: Some(Arc::clone(&second)),
            after: None,
            action: Action::MergedInto,
            changes: Vec::new(),
            decisions: Vec::new(),
            cause: Arc::clone(cause),
            at,
            record_id: id,
        });
        self.track.merges.push(Merge {
            id,
            primary: first,
            secondary: second,
            keep: keep.clone(),
            cause: Arc::clone(cause),
            at,
            automatic,
        });
        Ok((survivor, id))
    }

    pub(super) fn revert(&mut self, id: RecordId, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Outcome, Refusal> {
        let reversal = match self.merges.remove(&id) {
            Some(MergeStanding::Recorded(reversal)) => reversal,
            Some(MergeStanding::Erased) => {
                return Err(Refusal::new(Code::ProfileErased, "One of the two was erased; nothing of the merge is kept."));
            }
            None => return Err(Refusal::new(Code::NotFound, "There is no merge with this id.")),
        };
        let record = &reversal.record;
        if record.reverted {
            return Err(Refusal::new(Code::MergeReverted, "This merge was reverted already."));
        }
        if record.holder != record.primary_id {
            return Err(Refusal::new(
                Code::MergedFurther,
                format!("The survivor was merged in their turn, into {}; revert that merge first.", record.holder),
            ));
        }
        let now = self.live(record.primary_id, None)?;
        let Parted { mut survivor, mut secondary, mut left, later, decisions } = revert::part(&now, &reversal);
        if secondary.identities.is_empty() || survivor.identities.is_empty() {
            return Err(Refusal::new(
                Code::MergeNotRevertible,
                "One of the two would be left without an identity, since keys were removed after the merge. Give the survivor \
                 one of the keys it had, or of the secondary's, and revert again.",
            ));
        }
        let mut inferred = Vec::new();
        self.hold_attributes(&mut survivor, |key, value| now.attributes.get(key) != Some(value), cause, &mut inferred, &mut left);
        self.hold_attributes(&mut secondary, |_, _| true, cause, &mut inferred, &mut left);
        let survivor = self.put(Some(Arc::clone(&now)), survivor, Action::MergeReverted, Vec::new(), Vec::new(), cause, ids)?;
        let record_id = self.effects.last().map_or(id, |effect| effect.record_id);
        // The id answered for the survivor until now, with the survivor's versions.
        secondary.version = record.secondary.version.max(survivor.version);
        let secondary = self.put(None, secondary, Action::MergeReverted, inferred, decisions, cause, ids)?;
        if let Some(effect) = Arc::make_mut(&mut self.effects).last_mut() {
            effect.changes = history::diff(Some(&record.secondary), &secondary);
        }
        let at = survivor.updated_at;
        let members = record.members().into_iter().collect();
        self.reverted.push(Reverted {
            merge_id: id,
            record_id,
            survivor: Arc::clone(&survivor),
            secondary: Arc::clone(&secondary),
            members,
            left,
            later,
            cause: Arc::clone(cause),
            at,
        });
        Ok(Outcome::Merged { id, other: secondary.id, survivor })
    }

    /// Attributes that come back are held against what is defined today; an unknown one is defined again.
    fn hold_attributes(
        &self,
        profile: &mut Profile,
        comes_back: impl Fn(&String, &serde_json::Value) -> bool,
        cause: &Cause,
        inferred: &mut Vec<Definition>,
        left: &mut Vec<Left>,
    ) {
        let back: Vec<(String, serde_json::Value)> =
            profile.attributes.iter().filter(|(key, value)| comes_back(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, value) in back {
            let known = inferred.iter().find(|definition| definition.key == key).or_else(|| self.definitions.get(&key));
            let allowed = match known {
                Some(definition) => property::check(definition, &value).is_ok(),
                None => match self.infer(&key, &value, cause) {
                    Ok(definition) => {
                        inferred.push(definition);
                        true
                    }
                    Err(_) => false,
                },
            };
            if !allowed {
                profile.attributes.remove(&key);
                left.push(Left {
                    field: format!("attributes.{key}"),
                    reason: Why::NotAllowed,
                    merged: serde_json::Value::Null,
                    current: serde_json::Value::Null,
                    before: value,
                });
            }
        }
    }
}
