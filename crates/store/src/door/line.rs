//! Groups in line: while one is being saved, the next is decided.
//!
//! Saving keeps the database busy and the other core idle, so a large group does not wait for the one before it to be
//! committed. It reads what it needs beside the writer, lays over it what the group before it is about to leave
//! ([`Leaving`]), and decides. When its turn has come and the other has been committed, it only asks whether what it was
//! decided on still stands ([`Decided::stands`]); where it does not, or where anything about the group is out of the
//! ordinary, it is decided again in its transaction, as every other group is. So the line saves time and decides nothing.
//!
//! On SQLite every group stands in it, since there is one writer. On PostgreSQL the large groups of a workspace do: two of
//! them often have people in common, and the second would wait for the first one's locks. Where they have nobody, no key and
//! no message in common ([`Basis::is_apart`]), and nothing but people changes, the second saves beside the first, up to what
//! tells of an order: it waits for the first to be committed before it advances its job, moves the head of the feed and
//! stores its answers ([`Before::stood`]). Should the first have to begin anew, the second takes back what it has written and
//! has its turn afterwards.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use people_domain::{
    directory::{Directory, Effect, Happened, Needs},
    event::{Known, MessageKey},
    id::{ProfileId, WorkspaceId},
    identity::IdentityKey,
    profile::Profile,
};
use sqlx::FromRow;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use super::Decision;
use crate::{
    StoreError, Tx,
    dialect::Engine,
    duplicates::Named,
    profiles,
    statement::sql,
    suppressions,
    workspaces::{self, WorkspaceRow},
};

/// How long a group that has saved beside another waits for its commit, holding what it has locked.
const PATIENCE: Duration = Duration::from_secs(4);
/// Commands from which a group is decided ahead: below it there is little to save, and waiting makes groups larger.
pub(super) const LARGE: usize = 64;

/// What a group leaves to the next one: the people it changes as they will be, and what follows from that. Everything
/// else is as the database says.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) people: HashMap<ProfileId, Arc<Profile>>,
    /// Keys of theirs, those given up too.
    pub(super) keys: HashMap<IdentityKey, Option<ProfileId>>,
    pub(super) messages: HashMap<MessageKey, Known>,
    /// Of its transaction: on PostgreSQL what the rows it writes carry, on SQLite the state of the file it began on.
    pub(super) stamp: String,
    /// What it follows from.
    effects: Arc<Vec<Effect>>,
}

#[derive(FromRow)]
struct Stamped {
    stamp: String,
}

/// Of this transaction, as in [`Leaving`].
async fn own_stamp(tx: &mut Tx) -> Result<String, StoreError> {
    let found: Option<Stamped> = tx.optional(sql("SELECT {own_stamp}")).await?;
    Ok(found.ok_or(StoreError::Unreadable("the stamp of a transaction"))?.stamp)
}

impl Leaving {
    /// What a group leaves that has been decided whole, but for the stamp; `None` where people were merged, parted or erased,
    /// or attributes defined: then the next group waits.
    pub(super) fn of(directory: &Directory, happened: &Happened) -> Option<Self> {
        if !happened.merges.is_empty() || !happened.reverted.is_empty() || directory.has_defined() {
            return None;
        }
        let mut people: HashMap<ProfileId, Arc<Profile>> = HashMap::new();
        let mut keys: HashMap<IdentityKey, Option<ProfileId>> = HashMap::new();
        for effect in &**directory.effects() {
            let after = effect.after.as_ref()?;
            for identity in effect.before.iter().flat_map(|before| &before.identities) {
                keys.entry(identity.key()).or_default();
            }
            people.insert(after.id, Arc::clone(after));
        }
        for (id, profile) in &people {
            keys.extend(profile.identities.iter().map(|identity| (identity.key(), Some(*id))));
        }
        let messages = happened.occurrences.iter().filter_map(|occurrence| {
            let known = Known { id: occurrence.id, profile_id: occurrence.profile_id, refused: occurrence.refused.clone() };
            Some((occurrence.message.clone()?, known))
        });
        let effects = Arc::clone(directory.effects());
        Some(Self { people, keys, messages: messages.collect(), stamp: String::new(), effects })
    }

    /// Whether nothing was decided since.
    pub(super) fn is_of(&self, directory: &Directory) -> bool {
        Arc::ptr_eq(&self.effects, directory.effects())
    }

    /// As the group's own transaction leaves it.
    pub(super) async fn stamped(mut self, tx: &mut Tx) -> Result<Self, StoreError> {
        self.stamp = own_stamp(tx).await?;
        // Nobody asks any more, and they are many.
        self.effects = Arc::default();
        Ok(self)
    }
}

/// A group decided before its turn, and what it was decided on.
pub(super) struct Decided {
    pub(super) decision: Decision,
    pub(super) basis: Basis,
}

/// What a decision rests on.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) workspace: WorkspaceRow,
    /// Keys that may not come back, of those it asked for.
    pub(super) barred: Vec<IdentityKey>,
    pub(super) asked: BTreeSet<IdentityKey>,
    /// The version and the stamp of everybody's row.
    pub(super) rows: BTreeMap<Uuid, (u64, String)>,
    /// Of the group before.
    pub(super) stamp: String,
    /// Whether it has nobody, no key and no message in common with the group before.
    pub(super) is_apart: bool,
}

impl Leaving {
    /// Whether these needs, with the people they led to, are about others altogether.
    pub(super) fn is_apart(&self, needs: &Needs, people: &BTreeSet<Uuid>) -> bool {
        !people.iter().any(|id| self.people.contains_key(&ProfileId(*id)))
            && !needs.keys.iter().any(|key| self.keys.contains_key(key))
            && !needs.messages.iter().any(|message| self.messages.contains_key(message))
    }
}

impl Decided {
    /// Whether it may be saved while the group before it is being saved: nothing it writes can be in the way of the other,
    /// which would then wait for it as it waits for the other.
    pub(super) fn may_be_saved_beside(&self, engine: Engine) -> bool {
        let Decision { directory, happened, .. } = &self.decision;
        engine == Engine::Postgres
            && self.basis.is_apart
            && happened.merges.is_empty()
            && happened.reverted.is_empty()
            && directory.changes_people_only()
            && Named::of(directory, &happened.occurrences, &happened.merges).is_none()
    }

    /// Whether what the group was decided on is still so, now that the group before it is committed or has nothing in common
    /// with it. What was asked of is locked. Keys and messages that were free have rows of their own, which cannot be there
    /// twice. Raced: it does not stand, and something of it has been written.
    pub(super) async fn stands(&mut self, tx: &mut Tx, workspace: WorkspaceId) -> Result<bool, StoreError> {
        let Basis { workspace: then, barred, asked, rows, stamp, .. } = &self.basis;
        let Some(now) = workspaces::load(tx, workspace).await? else { return Ok(false) };
        if now != *then {
            return Ok(false);
        }
        if let Some(hasher) = &self.decision.hasher
            && suppressions::barred(tx, workspace, hasher, asked).await? != *barred
        {
            return Ok(false);
        }
        match tx.engine() {
            // Nobody else of this process writes people, and another process would have changed the file.
            Engine::Sqlite => Ok(own_stamp(tx).await? == *stamp),
            Engine::Postgres => match self.decision.drafts.as_mut().and_then(|drafts| drafts.guarded.take()) {
                Some(documents) => documents.run(tx).await.map(|()| true),
                None => profiles::are_still(tx, workspace, rows).await,
            },
        }
    }
}

/// Who stands behind whom.
#[derive(Default)]
pub(super) struct Line {
    last: std::sync::Mutex<Vec<Last>>,
    places: AtomicU64,
    /// Told when a place is free again.
    pub(super) freed: Notify,
}

/// The last in line, as the next one sees them.
struct Last {
    whose: Option<WorkspaceId>,
    number: u64,
    as_before: Before,
}

/// Who stands before a group.
pub(super) struct Before {
    pub(super) workspace: WorkspaceId,
    leaving: oneshot::Receiver<Leaving>,
    standing: watch::Receiver<Standing>,
}

/// How a group fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Saving,
    /// Raced, it begins anew.
    Anew,
    /// Whether what it left is what it said it would leave.
    Done(bool),
}

impl Before {
    /// What they are about to leave; `None`: it is not known before they are done.
    pub(super) async fn leaving(&mut self) -> Option<Leaving> {
        (&mut self.leaving).await.ok()
    }

    /// Waits for their end. Whether what they said they would leave is what they left.
    pub(super) async fn done(mut self) -> bool {
        let done = self.standing.wait_for(|standing| matches!(standing, Standing::Done(_))).await;
        done.is_ok_and(|standing| *standing == Standing::Done(true))
    }

    /// For a group that has saved beside them: waits until they are committed, as they said. Otherwise whoever waits must get out
    /// of their way.
    pub(super) async fn stood(&mut self) -> bool {
        let waiting = self.standing.wait_for(|standing| *standing != Standing::Saving);
        let stood = tokio::time::timeout(PATIENCE, waiting).await;
        stood.is_ok_and(|standing| standing.is_ok_and(|standing| *standing == Standing::Done(true)))
    }
}

/// The place of one group, until it is dropped.
pub(super) struct Place {
    line: Arc<Line>,
    number: u64,
    pub(super) before: Option<Before>,
    leaving: Option<oneshot::Sender<Leaving>>,
    standing: watch::Sender<Standing>,
}

impl Line {
    /// Whether somebody stands in the line that everybody stands in.
    pub(super) fn is_busy(&self) -> bool {
        !self.last.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes the last place. `whose`: the workspace's own line, or everybody's.
    pub(super) fn enter(self: &Arc<Self>, whose: Option<WorkspaceId>, workspace: WorkspaceId) -> Place {
        let (leaving, will_leave) = oneshot::channel();
        let (standing, seen) = watch::channel(Standing::Saving);
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let former = all.iter().position(|last| last.whose == whose).map(|at| all.swap_remove(at));
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        all.push(Last { whose, number, as_before: Before { workspace, leaving: will_leave, standing: seen } });
        drop(all);
        let before = former.map(|last| last.as_before);
        Place { line: Arc::clone(self), number, before, leaving: Some(leaving), standing }
    }
}

impl Place {
    /// Whether what this group leaves can still be told.
    pub(super) fn can_tell(&self) -> bool {
        self.leaving.is_some()
    }

    /// Tells whoever comes next what this group is about to leave; `None`: nothing that can be told.
    pub(super) fn tell(&mut self, leaving: Option<Leaving>) {
        if let (Some(teller), Some(leaving)) = (self.leaving.take(), leaving) {
            // Nobody may have come.
            let _ = teller.send(leaving);
        }
    }

    /// This group begins anew: what it may have told is not so.
    pub(super) fn begin_anew(&mut self) {
        self.leaving = None;
        self.standing.send_replace(Standing::Anew);
    }

    /// This group has ended; whether what it told is what is there now.
    pub(super) fn end(&mut self, as_told: bool) {
        self.leaving = None;
        self.standing.send_if_modified(|standing| {
            let goes_on = !matches!(standing, Standing::Done(_));
            if goes_on {
                *standing = Standing::Done(as_told);
            }
            goes_on
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end(false);
        let mut all = self.line.last.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|last| last.number != self.number);
        drop(all);
        self.line.freed.notify_one();
    }
}
