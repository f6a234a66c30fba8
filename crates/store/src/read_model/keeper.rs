//! Keeps read models: loads one when a workspace is first asked about, brings it in step with the change feed before
//! each answer, gives memory back.
//!
//! The feed is numbered in commit order, so a model that has taken in everything up to the head it read knows every
//! write that was answered before the question came, whichever instance carried it out. Loading happens beside the
//! answers: until it is done they come from SQL.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use people_domain::{
    id::{ProfileId, WorkspaceId},
    profile::Profile,
    property::Definitions,
};
use sqlx::FromRow;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    Model,
    handed::{Handed, Next, Written},
};
use crate::{Store, StoreError, engine::Pools, profiles::Whole, properties, statement::sql};

/// Documents read at once while loading.
const CHUNK: i64 = 2_000;
/// Changes taken in at once.
const STEP: i64 = 500;
/// A workspace with so few changes is loaded while the question waits.
const SMALL: i64 = 2_000;
/// A model nobody asks is given up after this time.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Models asked this lately are kept in step with writes of other instances beside the questions.
const WARM: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    /// Bytes all models together may take; 0: none are kept.
    budget: usize,
    kept: Mutex<HashMap<WorkspaceId, Arc<Kept>>>,
    /// Workspaces written to since the last round.
    written: Mutex<BTreeSet<WorkspaceId>>,
    wake: Notify,
    /// Any workspace was written to.
    moved: watch::Sender<()>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({} bytes at most)", self.inner.budget)
    }
}

/// A workspace's model and where it stands.
pub(crate) struct Kept {
    pub(crate) model: RwLock<Model>,
    state: AtomicU8,
    /// The change up to which everything is in the model.
    seq: AtomicI64,
    definitions_version: AtomicI64,
    /// What the model was made with; held while it is brought in step.
    definitions: tokio::sync::Mutex<Arc<Definitions>>,
    loaded: watch::Sender<bool>,
    /// What this process wrote and the model has not taken in.
    handed: Mutex<Handed>,
    asked: Mutex<Instant>,
}

const LOADING: u8 = 0;
const READY: u8 = 1;
const TOO_LARGE: u8 = 2;

#[derive(Clone, Copy, FromRow)]
struct Head {
    seq: i64,
    definitions_version: i64,
}

#[derive(FromRow)]
struct Changed {
    profile_id: Uuid,
    document: Option<String>,
    activity: Option<String>,
    kept_from: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn head(pools: &Pools, workspace: WorkspaceId) -> Result<Head, StoreError> {
    pools
        .one(
            sql("SELECT h.seq, w.definitions_version FROM workspaces AS w
                 JOIN change_heads AS h ON h.workspace_id = w.id WHERE w.id = $1")
            .bind(workspace),
        )
        .await?
        .ok_or(StoreError::Unreadable("the head of a change feed"))
}

async fn definitions(store: &Store, workspace: WorkspaceId) -> Result<Arc<Definitions>, StoreError> {
    store.read(move |tx| Box::pin(async move { properties::load(tx, workspace).await.map(Arc::new) })).await
}

/// Work that takes the processor for milliseconds, off the threads that answer.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Unreadable("a task of the store stopped"))
}

impl Keeper {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                budget,
                kept: Mutex::new(HashMap::new()),
                written: Mutex::new(BTreeSet::new()),
                wake: Notify::new(),
                moved: watch::channel(()).0,
            }),
        }
    }

    /// Tells that a workspace was written to, so that its model follows before anybody asks; and what was written, where that
    /// is all that the numbers tell of.
    pub(crate) fn written(&self, workspace: WorkspaceId, written: Option<Written>) {
        self.inner.moved.send_replace(());
        if self.inner.budget == 0 {
            return;
        }
        let Some(kept) = lock(&self.inner.kept).get(&workspace).cloned() else { return };
        if let Some(written) = written
            && kept.state.load(Ordering::Acquire) == READY
        {
            lock(&kept.handed).put(written);
        }
        lock(&self.inner.written).insert(workspace);
        self.inner.wake.notify_one();
    }

    /// Turns whenever [`Self::written`] is told.
    pub(crate) fn moved(&self) -> watch::Receiver<()> {
        self.inner.moved.subscribe()
    }

    /// The workspace's model, in step with everything committed before this call; `None` while SQL has to answer.
    pub(crate) async fn ready(&self, store: &Store, workspace: WorkspaceId) -> Result<Option<Arc<Kept>>, StoreError> {
        if self.inner.budget == 0 {
            return Ok(None);
        }
        let known = lock(&self.inner.kept).get(&workspace).cloned();
        let head = head(&store.pools, workspace).await?;
        let kept = match known {
            Some(kept) => kept,
            None => self.start(store, workspace),
        };
        *lock(&kept.asked) = Instant::now();
        if kept.state.load(Ordering::Acquire) == LOADING {
            if head.seq > SMALL {
                return Ok(None);
            }
            // Closed without a word when loading failed: the next question tries again.
            if kept.loaded.subscribe().wait_for(|loaded| *loaded).await.is_err() {
                return Ok(None);
            }
        }
        if !self.catch_up(store, workspace, &kept, head).await? {
            return Ok(None);
        }
        Ok((kept.state.load(Ordering::Acquire) == READY).then_some(kept))
    }

    fn start(&self, store: &Store, workspace: WorkspaceId) -> Arc<Kept> {
        let mut all = lock(&self.inner.kept);
        if let Some(kept) = all.get(&workspace) {
            return Arc::clone(kept);
        }
        let kept = Arc::new(Kept {
            model: RwLock::new(Model::default()),
            state: AtomicU8::new(LOADING),
            seq: AtomicI64::new(0),
            definitions_version: AtomicI64::new(0),
            definitions: tokio::sync::Mutex::default(),
            loaded: watch::channel(false).0,
            handed: Mutex::default(),
            asked: Mutex::new(Instant::now()),
        });
        all.insert(workspace, Arc::clone(&kept));
        drop(all);
        let (keeper, store, loading) = (self.clone(), store.clone(), Arc::clone(&kept));
        tokio::spawn(async move {
            if let Err(error) = keeper.load(&store, workspace, &loading).await {
                tracing::warn!(%error, code = error.code(), "a read model could not be loaded; SQL answers");
                keeper.forget(workspace, &loading);
            }
            loading.loaded.send_replace(true);
        });
        kept
    }

    fn forget(&self, workspace: WorkspaceId, kept: &Arc<Kept>) {
        let mut all = lock(&self.inner.kept);
        if all.get(&workspace).is_some_and(|current| Arc::ptr_eq(current, kept)) {
            all.remove(&workspace);
        }
    }

    async fn load(&self, store: &Store, workspace: WorkspaceId, kept: &Arc<Kept>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let head = head(&store.pools, workspace).await?;
        let definitions = definitions(store, workspace).await?;
        let mut model = Model { loading: true, ..Model::default() };
        let mut chunk = documents(&store.pools, workspace, Uuid::nil()).await?;
        while let Some(last) = chunk.last().map(|row| row.profile_id) {
            let definitions = Arc::clone(&definitions);
            // One chunk is taken in while the next is read.
            let taken = compute(move || {
                for row in &chunk {
                    model.put(&row.whole.read()?, &definitions);
                }
                Ok::<_, StoreError>(model)
            });
            let (taken, next) = tokio::join!(taken, documents(&store.pools, workspace, last));
            model = taken??;
            chunk = next?;
            if model.bytes() > self.inner.budget {
                tracing::warn!(people = model.people(), "a workspace is larger than the memory given to read models; SQL answers");
                kept.state.store(TOO_LARGE, Ordering::Release);
                return Ok(());
            }
        }
        let model = compute(move || {
            model.sort();
            model
        })
        .await?;
        let (people, bytes) = (model.people(), model.bytes());
        *kept.model.write().unwrap_or_else(PoisonError::into_inner) = model;
        *kept.definitions.lock().await = definitions;
        kept.seq.store(head.seq, Ordering::Release);
        kept.definitions_version.store(head.definitions_version, Ordering::Release);
        kept.state.store(READY, Ordering::Release);
        tracing::debug!(people, bytes, ms = begun.elapsed().as_millis(), "read model loaded");
        self.make_room(workspace);
        Ok(())
    }

    /// Takes in what was committed up to `head`. `false`: the model has to be made anew.
    async fn catch_up(&self, store: &Store, workspace: WorkspaceId, kept: &Arc<Kept>, head: Head) -> Result<bool, StoreError> {
        let in_step =
            || kept.seq.load(Ordering::Acquire) >= head.seq && kept.definitions_version.load(Ordering::Acquire) >= head.definitions_version;
        if kept.state.load(Ordering::Acquire) != READY || in_step() {
            return Ok(true);
        }
        let mut known = kept.definitions.lock().await;
        if kept.definitions_version.load(Ordering::Acquire) < head.definitions_version {
            let now = definitions(store, workspace).await?;
            let changed = |key: &String| match (known.get(key), now.get(key)) {
                (Some(old), Some(new)) => old.searchable != new.searchable,
                _ => false,
            };
            if now.keys().any(changed) {
                drop(known);
                self.forget(workspace, kept);
                return Ok(false);
            }
            *known = now;
            kept.definitions_version.store(head.definitions_version, Ordering::Release);
        }
        while kept.seq.load(Ordering::Acquire) < head.seq {
            let from = kept.seq.load(Ordering::Acquire);
            let next = lock(&kept.handed).next(from);
            let to = match next {
                Next::Take(written) => {
                    let (kept_too, definitions, to) = (Arc::clone(kept), Arc::clone(&known), written.to);
                    compute(move || {
                        let mut model = kept_too.model.write().unwrap_or_else(PoisonError::into_inner);
                        for (before, after) in &written.people {
                            model.turn(before.as_deref(), after, &definitions);
                        }
                    })
                    .await?;
                    kept.seq.store(to, Ordering::Release);
                    continue;
                }
                Next::Read { to } => head.seq.min(from + STEP).min(to.unwrap_or(i64::MAX)),
            };
            let changed: Vec<Changed> = store
                .pools
                .all(
                    sql("SELECT c.profile_id, d.document, d.activity{as_text} AS activity,
                                (SELECT kept_from FROM change_heads WHERE workspace_id = $1) AS kept_from
                         FROM (SELECT DISTINCT profile_id FROM changes WHERE workspace_id = $1 AND seq > $2 AND seq <= $3) AS c
                         LEFT JOIN profile_documents AS d ON d.workspace_id = $1 AND d.profile_id = c.profile_id")
                    .bind(workspace)
                    .bind(from)
                    .bind(to),
                )
                .await?;
            // Some of what it has not taken in is out of the feed, as when it lay idle for as long as that is kept: numbers
            // have no gaps, so of those that are there some are always found.
            if changed.first().is_none_or(|row| row.kept_from > from) {
                drop(known);
                self.forget(workspace, kept);
                return Ok(false);
            }
            let (kept_too, definitions) = (Arc::clone(kept), Arc::clone(&known));
            compute(move || {
                let people: Vec<(ProfileId, Option<Profile>)> = changed
                    .into_iter()
                    .map(|row| {
                        let whole = row.document.zip(row.activity).map(|(document, activity)| Whole { document, activity });
                        Ok((ProfileId(row.profile_id), whole.map(|whole| whole.read()).transpose()?))
                    })
                    .collect::<Result<_, StoreError>>()?;
                let mut model = kept_too.model.write().unwrap_or_else(PoisonError::into_inner);
                for (id, person) in people {
                    match person {
                        Some(profile) => model.put(&profile, &definitions),
                        None => model.remove(id),
                    }
                }
                Ok::<(), StoreError>(())
            })
            .await??;
            kept.seq.store(to, Ordering::Release);
        }
        Ok(true)
    }

    /// How many models there are, and the bytes they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        let all = lock(&self.inner.kept);
        (all.len(), all.values().map(|kept| kept.bytes()).sum())
    }

    /// Gives up the models asked longest ago until the others fit.
    fn make_room(&self, newest: WorkspaceId) {
        let mut all = lock(&self.inner.kept);
        let mut sizes: Vec<(Instant, WorkspaceId, usize)> =
            all.iter().map(|(id, kept)| (*lock(&kept.asked), *id, kept.bytes())).filter(|(_, id, _)| *id != newest).collect();
        let mut sum: usize = sizes.iter().map(|(.., bytes)| bytes).sum::<usize>() + all.get(&newest).map_or(0, |kept| kept.bytes());
        sizes.sort_unstable_by_key(|(asked, ..)| std::cmp::Reverse(*asked));
        while sum > self.inner.budget
            && let Some((_, id, bytes)) = sizes.pop()
        {
            all.remove(&id);
            sum -= bytes;
        }
    }

    /// Loads the models of the workspaces where most has happened, before anybody asks.
    async fn warm(&self, store: &Store) -> Result<(), StoreError> {
        if self.inner.budget == 0 {
            return Ok(());
        }
        let busiest: Vec<(Uuid,)> =
            store.pools.all(sql("SELECT workspace_id FROM change_heads WHERE seq > $1 ORDER BY seq DESC LIMIT 4").bind(SMALL)).await?;
        for (workspace,) in busiest {
            let mut loaded = self.start(store, WorkspaceId(workspace)).loaded.subscribe();
            // One after the other: each takes a core.
            let _ = loaded.wait_for(|loaded| *loaded).await;
        }
        Ok(())
    }

    /// Follows writes beside the questions, so that a question never has much to take in; runs until the store closes.
    pub(crate) async fn follow(&self, store: &Store, closed: impl Fn() -> bool) {
        let (keeper, starting) = (self.clone(), store.clone());
        tokio::spawn(async move {
            if let Err(error) = keeper.warm(&starting).await {
                tracing::debug!(%error, "read models wait for the first question");
            }
        });
        let mut round = Instant::now();
        loop {
            // Other instances write as well; nobody tells of those.
            let told = tokio::time::timeout(Duration::from_secs(1), self.inner.wake.notified()).await.is_ok();
            if closed() {
                return;
            }
            let mut due = std::mem::take(&mut *lock(&self.inner.written));
            if !told || round.elapsed() > Duration::from_secs(1) {
                round = Instant::now();
                let mut all = lock(&self.inner.kept);
                all.retain(|_, kept| lock(&kept.asked).elapsed() < IDLE);
                due.extend(all.iter().filter(|(_, kept)| lock(&kept.asked).elapsed() < WARM).map(|(id, _)| *id));
            }
            for workspace in due {
                let Some(kept) = lock(&self.inner.kept).get(&workspace).cloned() else { continue };
                let done = async {
                    let head = head(&store.pools, workspace).await?;
                    self.catch_up(store, workspace, &kept, head).await
                };
                if let Err(error) = done.await {
                    tracing::debug!(%error, "a read model could not follow yet");
                }
            }
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.model.read().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Runs a question on the model, off the threads that answer.
    pub(crate) async fn ask<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Model) -> T + Send + 'static) -> Result<T, StoreError> {
        let kept = Arc::clone(self);
        compute(move || work(&kept.model.read().unwrap_or_else(PoisonError::into_inner))).await
    }
}

#[derive(FromRow)]
struct Loaded {
    profile_id: Uuid,
    #[sqlx(flatten)]
    whole: Whole,
}

async fn documents(pools: &Pools, workspace: WorkspaceId, after: Uuid) -> Result<Vec<Loaded>, StoreError> {
    pools
        .all(
            sql("SELECT profile_id, document, activity{as_text} AS activity FROM profile_documents
                 WHERE workspace_id = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3")
            .bind(workspace)
            .bind(after)
            .bind(CHUNK),
        )
        .await
}
