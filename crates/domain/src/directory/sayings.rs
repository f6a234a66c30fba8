//! What the business says about a person: labels put by hand, and where they stand on a channel.

use std::sync::Arc;

use super::{Action, Cause, Directory, Effect, Outcome};
use crate::{
    Code, Refusal,
    consent::{self, Decision},
    id::{IdSource, ProfileId, RecordId},
};

impl Directory {
    pub(super) fn add_label(
        &mut self,
        id: ProfileId,
        label: &str,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, if_match)?;
        if before.labels.iter().any(|held| held == label) {
            return Ok(Outcome::Held(before));
        }
        let mut profile = (*before).clone();
        profile.labels.push(label.to_owned());
        self.save(Some(before), profile, Action::LabelAdded, Vec::new(), Vec::new(), cause, ids).map(Outcome::Updated)
    }

    pub(super) fn remove_label(
        &mut self,
        id: ProfileId,
        label: &str,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, if_match)?;
        if !before.labels.iter().any(|held| held == label) {
            return Err(Refusal::new(Code::NotFound, "The profile does not carry this label."));
        }
        let mut profile = (*before).clone();
        profile.labels.retain(|held| held != label);
        self.save(Some(before), profile, Action::LabelRemoved, Vec::new(), Vec::new(), cause, ids).map(Outcome::Updated)
    }

    pub(super) fn relabel(
        &mut self,
        id: ProfileId,
        add: &[String],
        remove: &[String],
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, None)?;
        let mut profile = (*before).clone();
        profile.labels.retain(|held| !remove.contains(held));
        let fewer = profile.labels.len() < before.labels.len();
        let new: Vec<String> = add.iter().filter(|label| !profile.labels.contains(label)).cloned().collect();
        if new.is_empty() && !fewer {
            return Ok(Outcome::Held(before));
        }
        let action = if new.is_empty() { Action::LabelRemoved } else { Action::LabelAdded };
        profile.labels.extend(new);
        self.save(Some(before), profile, action, Vec::new(), Vec::new(), cause, ids).map(Outcome::Updated)
    }

    pub(super) fn record_consent(
        &mut self,
        id: ProfileId,
        decision: &Decision,
        if_match: Option<&[u64]>,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, if_match)?;
        // Sent again by a sync, it is not told to the ledger twice.
        if before.consents.iter().any(|known| consent::is_known(known, decision)) {
            return Ok(Outcome::Held(before));
        }
        let mut profile = (*before).clone();
        consent::record(&mut profile.consents, decision);
        if profile.consents == before.consents {
            // An older decision that came late: the ledger and the history have it, the profile stays at its version.
            let at = cause.at.max(before.updated_at);
            self.effects.push(Effect {
                profile_id: before.id,
                before: Some(Arc::clone(&before)),
                after: Some(Arc::clone(&before)),
                action: Action::ConsentRecorded,
                changes: Vec::new(),
                decisions: vec![decision.clone()],
                cause: Arc::clone(cause),
                at,
                record_id: RecordId(ids.next(at)),
            });
            return Ok(Outcome::Held(before));
        }
        self.save(Some(before), profile, Action::ConsentRecorded, Vec::new(), vec![decision.clone()], cause, ids).map(Outcome::Updated)
    }
}
