//! Segments and label rules of the people a group has changed: who is judged by what, and what follows.
//!
//! It comes after every command of the group, on the states they ended in, so that a person is judged once. What follows
//! is changes like any other, each with its version, its history and its place in the change feed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Action, Cause, Directory, Effect, Merge, Outcome, Standing};
use crate::{
    Refusal, Timestamp,
    event::Occurrence,
    filter::Events,
    history,
    id::{IdSource, ProfileId, RecordId},
    living::{Living, Put, event_name},
    profile::Profile,
};

/// Somebody to be judged.
#[derive(Clone, Debug)]
pub struct Touched {
    pub profile: Arc<Profile>,
    pub which: BTreeSet<usize>,
    /// Everything that time can change is judged: what is told of the next flip holds alone.
    pub exact: bool,
    /// Who became this person in the group; their events are still told of under these ids.
    pub absorbed: Vec<ProfileId>,
    cause: Arc<Cause>,
}

/// What was judged of everyone in a group.
#[derive(Debug, Default)]
pub struct Lived {
    /// When time alone may change something; `true`: nothing known before holds any more.
    pub due: Vec<(ProfileId, Option<Timestamp>, bool)>,
    /// Labels that stay by another rule.
    pub over: Vec<(ProfileId, String, RecordId)>,
    /// People as they are now, by the version they had before.
    pub latest: HashMap<(ProfileId, u64), Arc<Profile>>,
}

impl Directory {
    /// Has somebody judged by one definition, or by all.
    pub(super) fn reconsider(&mut self, id: ProfileId, only: Option<uuid::Uuid>, cause: &Arc<Cause>) -> Result<Outcome, Refusal> {
        let profile = self.live(id, None)?;
        let asked = self.reconsidered.entry(profile.id).or_insert_with(|| (BTreeSet::new(), Arc::clone(cause)));
        asked.0.insert(only);
        Ok(Outcome::Held(profile))
    }

    /// Everyone the group has changed, with the definitions that read something that changed.
    pub fn touched(&self, living: &Living, occurrences: &[Occurrence], merges: &[Merge]) -> Vec<Touched> {
        let mut names: BTreeMap<ProfileId, BTreeSet<String>> = BTreeMap::new();
        let mut all: BTreeSet<ProfileId> = BTreeSet::new();
        let mut causes: BTreeMap<ProfileId, Arc<Cause>> = BTreeMap::new();
        for effect in &*self.effects {
            let id = self.survivor(effect.profile_id);
            causes.insert(id, Arc::clone(&effect.cause));
            if matches!(effect.action, Action::Created | Action::Merged | Action::MergedInto | Action::MergeReverted) {
                all.insert(id);
                continue;
            }
            let (Some(before), Some(after)) = (&effect.before, &effect.after) else { continue };
            let changed = names.entry(id).or_default();
            changed.extend(effect.changes.iter().map(|change| change.field.clone()));
            let seen = [
                ("last_seen_at", before.last_seen_at != after.last_seen_at),
                ("last_channel", before.last_channel != after.last_channel),
                ("channels", before.channels != after.channels),
                ("updated_at", before.updated_at != after.updated_at),
                ("created_at", before.created_at != after.created_at),
            ];
            changed.extend(seen.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
        }
        for occurrence in occurrences {
            names.entry(self.survivor(occurrence.profile_id)).or_default().insert(event_name(&occurrence.event.kind));
        }
        let mut absorbed: BTreeMap<ProfileId, Vec<ProfileId>> = BTreeMap::new();
        for merge in merges {
            absorbed.entry(self.survivor(merge.secondary.id)).or_default().push(merge.secondary.id);
        }
        for (id, (_, cause)) in &self.reconsidered {
            causes.entry(*id).or_insert_with(|| Arc::clone(cause));
        }
        causes
            .into_iter()
            .filter_map(|(id, cause)| {
                let Some(Standing::Live(profile)) = self.people.get(&id) else { return None };
                let asked = self.reconsidered.get(&id).map(|(asked, _)| asked);
                let whole = all.contains(&id) || asked.is_some_and(|asked| asked.contains(&None));
                let mut which =
                    if whole { living.all() } else { living.affected(names.get(&id).into_iter().flatten().map(String::as_str)) };
                which.extend(asked.into_iter().flatten().flatten().filter_map(|one| living.place(*one)));
                let exact = living.by_time().is_subset(&which);
                let absorbed = absorbed.remove(&id).unwrap_or_default();
                (!which.is_empty()).then(|| Touched { profile: Arc::clone(profile), which, exact, absorbed, cause })
            })
            .collect()
    }

    /// Labels that were put on by hand in this group: of this person, those they carried before by a rule; of people merged in
    /// the group (`absorbed`, and their survivor), any.
    pub fn named_by_hand(&self, absorbed: &[ProfileId], id: ProfileId) -> BTreeSet<String> {
        let whose = |other: ProfileId| other == id || absorbed.contains(&other);
        let mut out: BTreeSet<String> =
            self.labelling.claims.keys().filter(|(person, _)| whose(*person)).map(|(_, label)| label.clone()).collect();
        if !absorbed.is_empty() {
            let by_hand = self.effects.iter().filter(|effect| {
                whose(effect.profile_id) && effect.cause.source != "rule" && !matches!(effect.action, Action::Merged | Action::MergedInto)
            });
            for effect in by_hand {
                let before: &[String] = effect.before.as_ref().map_or(&[], |before| &before.labels);
                out.extend(effect.after.iter().flat_map(|after| &after.labels).filter(|label| !before.contains(label)).cloned());
            }
        }
        out
    }

    /// Judges one person and notes what follows. `ruled`: which labels a rule put on them.
    #[expect(clippy::too_many_arguments, reason = "what is judged, by what, when, and where it is noted")]
    pub fn settle(
        &mut self,
        living: &Living,
        touched: &Touched,
        mut ruled: BTreeMap<String, RecordId>,
        events: &dyn Events,
        now: Timestamp,
        ids: &mut dyn IdSource,
        lived: &mut Lived,
    ) {
        let before = Arc::clone(&touched.profile);
        let mut judged = (*before).clone();
        let settled = living.settle(&mut judged, &mut ruled, &touched.which, events, now);
        if !living.by_time().is_empty() && (touched.exact || settled.flips_at.is_some()) {
            lived.due.push((before.id, settled.flips_at, touched.exact));
        }
        let mut last = Arc::clone(&before);
        if last.segments != judged.segments {
            let next = if settled.labels.is_empty() { judged } else { Profile { segments: judged.segments, ..(*last).clone() } };
            last = self.follow(&last, next, Action::SegmentsChanged, "system:segments".to_owned(), "segment", &touched.cause, ids);
        }
        for (rule, label, put) in settled.labels {
            let mut next = (*last).clone();
            let action = match put {
                Put::On => {
                    next.labels.push(label);
                    next.labels.sort();
                    Action::LabelAdded
                }
                Put::Off => {
                    next.labels.retain(|held| *held != label);
                    Action::LabelRemoved
                }
                Put::Over => {
                    lived.over.push((before.id, label, rule));
                    continue;
                }
            };
            last = self.follow(&last, next, action, format!("rule:{rule}"), "rule", &touched.cause, ids);
        }
        if last.version != before.version {
            lived.latest.insert((before.id, before.version), last);
        }
    }

    /// One change that follows from what happened before it.
    #[expect(clippy::too_many_arguments, reason = "who, what and why of one change")]
    fn follow(
        &mut self,
        before: &Arc<Profile>,
        mut next: Profile,
        action: Action,
        actor: String,
        source: &'static str,
        of: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Arc<Profile> {
        next.version += 1;
        let changes = history::diff_of_sets(before, &next);
        let at = of.at.max(next.updated_at);
        let cause = Arc::new(Cause { at: of.at, actor, source, request_id: of.request_id.clone(), reason: None });
        let next = Arc::new(next);
        self.people.insert(next.id, Standing::Live(Arc::clone(&next)));
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: next.id,
            before: Some(Arc::clone(before)),
            after: Some(Arc::clone(&next)),
            action,
            changes,
            decisions: Vec::new(),
            cause,
            at,
            record_id: RecordId(ids.next(at)),
        });
        next
    }
}

impl Outcome {
    /// Puts the person as they are now in the place of how they were when the command was decided.
    pub fn refresh(&mut self, lived: &Lived) {
        let (Self::Created(profile) | Self::Updated(profile) | Self::Held(profile) | Self::Upserted { profile, .. }) = self else { return };
        if let Some(latest) = lived.latest.get(&(profile.id, profile.version)) {
            *profile = Arc::clone(latest);
        }
    }
}
