//! People whom one worker is merging, or parting, for as long as that takes.
//!
//! Who has a long life behind them is locked for seconds, and a worker that waited for them would keep everybody waiting.
//! Jobs about them are held back instead. It helps those who wait, and decides nothing: what is right is seen to by the locks.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use people_domain::{
    directory::Needs,
    id::{ProfileId, WorkspaceId},
    identity::IdentityKey,
};
use tokio::sync::Notify;

use super::{Job, reverting};
use crate::{StoreError, engine::Pools, profiles};

/// Who is engaged, and in whose place nobody waits.
#[derive(Default)]
pub(super) struct Engaged {
    all: std::sync::Mutex<Vec<Arc<Concerned>>>,
    /// Told when somebody is free again.
    pub(super) freed: Notify,
}

/// Under which ids and keys people are known.
#[derive(Debug, PartialEq, Eq)]
struct Concerned {
    workspace: WorkspaceId,
    people: HashSet<ProfileId>,
    keys: HashSet<IdentityKey>,
}

impl Engaged {
    /// Whether a job is about somebody who is engaged.
    pub(super) fn concerns(&self, job: &Job) -> bool {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return false;
        }
        let mut needs = Needs::default();
        job.commands.iter().for_each(|command| command.needs(&mut needs));
        all.iter().filter(|engaged| engaged.workspace == job.workspace).any(|engaged| {
            needs.profiles.iter().any(|id| engaged.people.contains(id)) || needs.keys.iter().any(|key| engaged.keys.contains(key))
        })
    }

    /// Whom a merge, or a reversal, is about is engaged until the answer is dropped.
    pub(super) async fn engage(self: &Arc<Self>, pools: &Pools, job: &Job) -> Result<Engagement, StoreError> {
        let concerned = Arc::new(concerned(pools, job).await?);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&concerned));
        Ok(Engagement { engaged: Arc::clone(self), concerned })
    }
}

/// Until it is dropped.
pub(super) struct Engagement {
    engaged: Arc<Engaged>,
    concerned: Arc<Concerned>,
}

impl Drop for Engagement {
    fn drop(&mut self) {
        self.engaged.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &self.concerned));
        self.engaged.freed.notify_one();
    }
}

/// Whom a merge, or a reversal, is about.
async fn concerned(pools: &Pools, job: &Job) -> Result<Concerned, StoreError> {
    let mut needs = Needs::default();
    job.commands.iter().for_each(|command| command.needs(&mut needs));
    let workspace = job.workspace;
    let mut tx = pools.begin_read().await?;
    let holders = reverting::holders(&mut tx, workspace, &needs.merges).await?;
    let mut people: HashSet<ProfileId> = needs.profiles.into_iter().chain(holders.into_iter().map(ProfileId)).collect();
    let mut keys = HashSet::new();
    for profile in profiles::whole(&mut tx, workspace, people.iter().map(|id| id.0).collect::<Vec<_>>(), false).await? {
        people.extend(profile.merged_from.iter().copied());
        keys.extend(profile.identities.iter().map(|identity| identity.key()));
    }
    tx.roll_back().await;
    Ok(Concerned { workspace, people, keys })
}
