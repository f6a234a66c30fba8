//! What the business says about a person: labels put by hand, and where they stand on a channel.

use std::{collections::BTreeMap, sync::Arc};

use super::{Action, Cause, Directory, Outcome};
use crate::{
    Code, Refusal,
    consent::{self, Decision},
    id::{IdSource, ProfileId},
    label,
    profile::Profile,
};

/// A label that became another.
#[derive(Clone, Debug)]
pub struct Renamed {
    pub profile_id: ProfileId,
    pub from: String,
    pub to: String,
}

/// What was decided about who put labels on: it stands beside the profile, which shows their names alone.
#[derive(Clone, Debug, Default)]
pub struct Labelling {
    /// Labels somebody carried already, named by hand: from now on they are theirs who named them last, and no rule takes
    /// them off.
    pub claims: BTreeMap<(ProfileId, String), Arc<Cause>>,
    pub renamed: Vec<Renamed>,
}

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
        let named = [label.to_owned()];
        label::check_stays(&named, &self.going)?;
        if before.labels.contains(&named[0]) {
            self.claim(&before, &named, cause);
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
        label::check_stays(add, &self.going)?;
        let mut profile = (*before).clone();
        profile.labels.retain(|held| !remove.contains(held));
        let fewer = profile.labels.len() < before.labels.len();
        let new: Vec<String> = add.iter().filter(|label| !profile.labels.contains(label)).cloned().collect();
        if new.is_empty() && !fewer {
            self.claim(&before, add, cause);
            return Ok(Outcome::Held(before));
        }
        let action = if new.is_empty() { Action::LabelRemoved } else { Action::LabelAdded };
        profile.labels.extend(new);
        let profile = self.save(Some(Arc::clone(&before)), profile, action, Vec::new(), Vec::new(), cause, ids)?;
        self.claim(&before, add, cause);
        Ok(Outcome::Updated(profile))
    }

    /// Whoever has lost the label meanwhile stays as they are.
    pub(super) fn rename_label(
        &mut self,
        id: ProfileId,
        from: &str,
        to: &str,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<Outcome, Refusal> {
        let before = self.live(id, None)?;
        if !before.labels.iter().any(|held| held == from) {
            return Ok(Outcome::Held(before));
        }
        let mut profile = (*before).clone();
        profile.labels.retain(|held| held != from);
        let action = if profile.labels.iter().any(|held| held == to) { Action::LabelRemoved } else { Action::LabelAdded };
        // Settling takes out what is there twice.
        profile.labels.push(to.to_owned());
        let profile = self.save(Some(before), profile, action, Vec::new(), Vec::new(), cause, ids)?;
        self.labelling.renamed.push(Renamed { profile_id: profile.id, from: from.to_owned(), to: to.to_owned() });
        Ok(Outcome::Updated(profile))
    }

    /// Labels named by hand that the person carried before, whoever put them there. A rule claims nothing.
    pub(super) fn claim(&mut self, before: &Profile, labels: &[String], cause: &Arc<Cause>) {
        if cause.source != "rule" {
            let held = labels.iter().filter(|label| before.labels.contains(label));
            self.labelling.claims.extend(held.map(|label| ((before.id, label.clone()), Arc::clone(cause))));
        }
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
        let after =
            self.save(Some(Arc::clone(&before)), profile, Action::ConsentRecorded, Vec::new(), vec![decision.clone()], cause, ids)?;
        Ok(if Arc::ptr_eq(&before, &after) { Outcome::Held(before) } else { Outcome::Updated(after) })
    }
}
