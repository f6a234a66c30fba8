//! The one door for writes.
//!
//! Handlers put [`Job`]s in a queue; a worker takes what is waiting for one workspace and carries it out as one group:
//! load what all commands need, decide each in turn in `domain`, save set-based, commit once, answer all. On SQLite that
//! is group commit; on PostgreSQL two workers run side by side and row locks keep them apart. A large group is decided while
//! the one before it is saved (`line.rs`). The number of statements does not depend on how many commands a group holds; SQLite
//! carries those that write many rows out once for each piece of 128 (`rows.rs`).

mod answers;
mod drafts;
mod engaged;
mod erasing;
mod expired;
mod intake;
mod later;
mod line;
mod living;
mod load;
mod merging;
mod reverting;
mod save;
#[cfg(test)]
mod tests;
mod timeline;
mod trust;

pub use answers::{Idempotency, StoredAnswer};
pub(crate) use answers::{keep, keep_about, replayed};
pub(crate) use drafts::micros;
pub(crate) use living::foresee;
pub(crate) use timeline::StoredSession;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use people_domain::{
    Refusal, Timestamp,
    directory::{Cause, Command, Directory, Happened, Lived, Needs, Outcome},
    id::{ProfileId, RecordId, WorkspaceId},
    living::Living,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::{
    answers::{replay, store_answers, stored_answers},
    drafts::Drafts,
    engaged::Engaged,
    intake::Intake,
    line::{Before, Decided, LARGE, Leaving, Place},
    load::{Known, Reading, load},
    save::ToSave,
};
use crate::{
    Act, Store, StoreError, Tx, audit,
    dialect::Engine,
    duplicates::Named,
    engine::{Pools, attended, pause},
    erasures::Receipt,
    ids::SystemIds,
    jobs,
    merges::{self, Merged},
    meters::{Counted, Meters},
    read_model::{Keeper, Written},
    rejected,
    suppressions::{self, Hasher, SuppressionKey},
};

/// Commands that share a commit, at most. A single larger job still goes through whole.
const GROUP: usize = 512;
/// The same of steps of a background job on SQLite, where the writer has nothing else to do while one is committed: two of an
/// import's share it.
const STEPS: usize = 1_024;
const QUEUE: usize = 4_096;
const ATTEMPTS: u32 = 8;

/// What the answer of a job is made from.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// One for each command, in order.
    pub outcomes: Vec<Result<Outcome, Refusal>>,
    /// Of the people erased.
    pub receipts: HashMap<RecordId, Receipt>,
    /// Of merges, and of those taken back.
    pub merges: HashMap<RecordId, Merged>,
}

type Render = Arc<dyn Fn(&Group) -> Option<StoredAnswer> + Send + Sync>;

/// Commands of one request.
#[derive(Clone)]
pub struct Job {
    pub workspace: WorkspaceId,
    pub cause: Arc<Cause>,
    pub commands: Vec<Command>,
    /// With the key, the function that writes the answer to be stored; it returns `None` for answers not worth
    /// replaying (nothing took effect).
    pub idempotency: Option<(Idempotency, Render)>,
    /// For a step of a background job: its progress, written in the same transaction. When its lease is lost, nothing of
    /// this takes effect ([`StoreError::Stale`]).
    pub step: Option<jobs::Step>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} commands)", self.commands.len())
    }
}

#[derive(Clone, Debug)]
pub enum Reply {
    Done(Group),
    /// The request had been carried out before.
    Replayed(StoredAnswer),
    /// The idempotency key had been used for another request.
    Refused(Refusal),
}

struct Waiting {
    job: Job,
    reply: oneshot::Sender<Result<Reply, StoreError>>,
    /// In the depth of the queue, until a worker takes it.
    _counted: Counted,
}

/// A job that was handed in.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Reply, StoreError>>);

impl Pending {
    pub async fn reply(self) -> Result<Reply, StoreError> {
        self.0.await.map_err(|_| StoreError::Unavailable)?
    }
}

#[derive(Clone)]
pub(crate) struct Door {
    queue: mpsc::Sender<Waiting>,
    closing: watch::Sender<bool>,
    meters: Meters,
    /// Jobs that came in so far, without the steps of background jobs.
    requests: Arc<AtomicU64>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Door {
    pub(crate) fn open(pools: Pools, keeper: Keeper, suppression_key: SuppressionKey) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (closing, closed) = watch::channel(false);
        let engaged = Arc::new(Engaged::default());
        let intake = Intake::new(waiting, closed, Arc::clone(&engaged), pools.engine());
        let intake = Arc::new(Mutex::new(intake));
        let several = pools.engine() == Engine::Postgres;
        // One saves while the other decides. More would share the same cores, and smaller groups.
        let workers = (0..2)
            .map(|_| {
                let suppression_key = suppression_key.clone();
                let worker = Worker {
                    pools: pools.clone(),
                    keeper: keeper.clone(),
                    intake: Arc::clone(&intake),
                    engaged: several.then(|| Arc::clone(&engaged)),
                    known: Known::default(),
                    suppression_key,
                };
                tokio::spawn(worker.attended())
            })
            .collect();
        Self { queue, closing, meters: pools.meters().clone(), requests: Arc::default(), workers: Arc::new(Mutex::new(workers)) }
    }

    /// How many requests came in so far: whether anybody writes beside a background job.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    async fn send(&self, job: Job) -> Result<Pending, StoreError> {
        if job.step.is_none() {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        let (reply, answer) = oneshot::channel();
        // A full queue pushes back: the caller is told to come again rather than kept waiting without end.
        let waiting = Waiting { job, reply, _counted: Counted::by(&self.meters.queue) };
        self.queue.send_timeout(waiting, Duration::from_secs(5)).await.map_err(|_| StoreError::Unavailable)?;
        Ok(Pending(answer))
    }

    /// Lets the workers carry out what is queued, and waits for them.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        for worker in self.workers.lock().await.drain(..) {
            // A worker that stopped by itself has nothing left to wait for.
            let _ = worker.await;
        }
    }
}

impl Store {
    /// Carries out the commands of one request. It happens even when the caller goes away meanwhile.
    pub async fn carry_out(&self, job: Job) -> Result<Reply, StoreError> {
        self.hand_in(job).await?.reply().await
    }

    /// Hands the commands of one request in; they are carried out whether or not anybody waits for the reply. Steps of one
    /// background job take effect in the order they were handed in, or not at all ([`jobs::Progress::after`]).
    pub async fn hand_in(&self, job: Job) -> Result<Pending, StoreError> {
        self.door.send(job).await
    }
}

impl Store {
    /// What the commands would do, one after the other: decided and forgotten.
    pub async fn rehearse(
        &self,
        workspace: WorkspaceId,
        cause: Arc<Cause>,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Outcome, Refusal>>, StoreError> {
        let (commands, key) = (Arc::new(commands), self.suppression_key.clone());
        self.write(move |tx| {
            let (cause, commands, key) = (Arc::clone(&cause), Arc::clone(&commands), key.clone());
            Box::pin(async move {
                let mut needs = Needs::default();
                commands.iter().for_each(|command| command.needs(&mut needs));
                let (mut directory, _, _) = load(tx, workspace, &needs, &mut Known::default(), &key, &mut Reading::Rehearsed).await?;
                let mut ids = SystemIds;
                Ok(commands.iter().map(|command| directory.decide(command, &cause, &mut ids)).collect())
            })
        })
        .await
    }
}

fn is_alone(job: &Job) -> bool {
    job.commands.iter().any(Command::is_alone)
}

struct Worker {
    pools: Pools,
    keeper: Keeper,
    intake: Arc<Mutex<Intake>>,
    /// Where there are several workers.
    engaged: Option<Arc<Engaged>>,
    known: Known,
    suppression_key: SuppressionKey,
}

impl Worker {
    /// Works until the door is closed, whatever happens: without a worker nothing could be written until the next start.
    async fn attended(mut self) {
        while attended("a worker of the door", self.run()).await.is_err() {
            self.known.clear();
        }
    }

    async fn run(&mut self) {
        loop {
            let next = self.intake.lock().await.next().await;
            let Some((group, place)) = next else { return };
            let engagement = match (&self.engaged, &group[..]) {
                (Some(engaged), [only]) if is_alone(&only.job) => {
                    // When they cannot be read, the locks alone see to it.
                    engaged.engage(&self.pools, &only.job).await.ok()
                }
                _ => None,
            };
            self.answer(group, place).await;
            drop(engagement);
        }
    }

    async fn answer(&mut self, group: Vec<Waiting>, mut place: Option<Place>) {
        let (jobs, replies): (Vec<Job>, Vec<_>) = group.into_iter().map(|w| (w.job, w.reply)).unzip();
        let ready = match place.as_mut().and_then(|place| place.before.take()) {
            Some(before) => self.decide_ahead(&jobs, before).await,
            None => Ready::default(),
        };
        let begun = Instant::now();
        let done = self.carry_out(&jobs, ready, place.as_mut()).await;
        let commands = u32::try_from(jobs.iter().map(|job| job.commands.len()).sum::<usize>()).unwrap_or(u32::MAX);
        self.pools.meters().group_size.observe(commands.into());
        self.pools.meters().group_seconds.observe(begun.elapsed().as_secs_f64());
        match done {
            Ok(answers) => {
                let pools = self.pools.clone();
                // The next group need not wait until the disk has taken this one.
                tokio::spawn(async move {
                    let settled = pools.settle().await.is_ok();
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // A caller who has gone away does not want the answer; the effect stays.
                        let _ = reply.send(if settled { Ok(answer) } else { Err(StoreError::Unavailable) });
                    }
                });
            }
            // One job may be what the database refuses: the others must not suffer for it.
            Err(_) if jobs.len() > 1 => {
                for (reply, job) in replies.into_iter().zip(jobs) {
                    let answer = self
                        .carry_out(std::slice::from_ref(&job), Ready::default(), None)
                        .await
                        .and_then(|mut a| a.pop().ok_or(StoreError::Raced));
                    let settled = self.pools.settle().await;
                    let _ = reply.send(answer.and_then(|answer| settled.map(|()| answer)));
                }
            }
            Err(error) => {
                if let Some(reply) = replies.into_iter().next() {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    /// Decides a large group on what the one before it will leave, and waits until that is done, unless both can be saved at
    /// once.
    async fn decide_ahead(&mut self, jobs: &[Job], mut before: Before) -> Ready {
        let size = jobs.iter().map(|job| job.commands.len()).sum::<usize>();
        // Merges are decided alone, and people whom a job has read ahead are held against their rows already.
        let is_apart = jobs.iter().any(|job| is_alone(job) || job.step.as_ref().is_some_and(|step| !step.ahead.is_empty()));
        let mut decided = None;
        if size >= LARGE
            && !is_apart
            && jobs.first().is_some_and(|job| job.workspace == before.workspace)
            && let Some(leaving) = before.leaving().await
        {
            // Whatever is in its way, the group has its turn; what stopped at a fault stops there again, alone.
            decided = attended("a decision", self.decided_on(jobs, leaving)).await.and_then(|decided| decided).ok();
        }
        if decided.as_ref().is_some_and(|decided| decided.may_be_saved_beside(self.pools.engine())) {
            return Ready { decided, beside: Some(before) };
        }
        let as_told = before.done().await;
        Ready { decided: decided.filter(|_| as_told), beside: None }
    }

    async fn decided_on(&mut self, jobs: &[Job], leaving: Leaving) -> Result<Decided, StoreError> {
        let workspace = jobs.first().ok_or(StoreError::Raced)?.workspace;
        let mut tx = self.pools.begin_read().await?;
        let open: Vec<&Job> = jobs.iter().collect();
        let mut basis = None;
        let mut reading = Reading::Early { leaving: &leaving, basis: &mut basis };
        let decision = decide(&mut tx, workspace, &open, &mut self.known, &self.suppression_key, &mut reading).await;
        let decided = match (decision, basis) {
            (Ok(decision), Some(basis)) => prepare(&mut tx, jobs, Decided { decision, basis }).await,
            (decision, _) => Err(decision.err().unwrap_or(StoreError::Raced)),
        };
        tx.roll_back().await;
        decided
    }

    async fn carry_out(&mut self, jobs: &[Job], mut ready: Ready, mut place: Option<&mut Place>) -> Result<Vec<Reply>, StoreError> {
        for attempt in 0..ATTEMPTS {
            let mut tx = self.pools.begin_write().await?;
            if jobs.iter().all(|job| job.step.is_some()) {
                self.pools.in_the_background();
            }
            let telling = place.as_deref_mut().filter(|place| place.can_tell());
            let tells = telling.is_some();
            let (known, key, meters) = (&mut self.known, &self.suppression_key, self.pools.meters());
            let done = attended("a group of writes", in_transaction(&mut tx, jobs, known, key, meters, &mut ready, telling)).await;
            let done = match done.and_then(|done| done) {
                Ok(done) => self.pools.commit(tx).await.map(|()| done),
                Err(error) => {
                    tx.roll_back().await;
                    Err(error)
                }
            };
            if let Some(before) = ready.beside.take() {
                // It did not come to that: from now on, each in their turn.
                before.done().await;
            }
            match done {
                Err(StoreError::Raced) => {
                    self.known.clear();
                    if let Some(place) = &mut place {
                        place.begin_anew();
                    }
                    pause(attempt).await;
                }
                Ok((replies, written)) => {
                    // Told in the order of commits: whoever was saved beside this group commits once it has ended.
                    if let Some(job) = jobs.first() {
                        self.keeper.written(job.workspace, written);
                    }
                    if let Some(place) = &mut place {
                        place.end(tells);
                        // Whoever waited for that goes on before this group is taken apart.
                        tokio::task::yield_now().await;
                    }
                    return Ok(replies);
                }
                Err(error) => {
                    self.known.clear();
                    // It may have been committed all the same.
                    if let Some(job) = jobs.first() {
                        self.keeper.written(job.workspace, None);
                    }
                    if let Some(place) = &mut place {
                        place.begin_anew();
                    }
                    return Err(error);
                }
            }
        }
        Err(StoreError::Raced)
    }
}

/// What a group brings along when its turn has come.
#[derive(Default)]
struct Ready {
    /// `None`: it is to be decided.
    decided: Option<Decided>,
    /// The group before, where it is still being saved and this one may be saved beside it.
    beside: Option<Before>,
}

/// What was decided about a group, before anything is written.
struct Decision {
    directory: Directory,
    living: Arc<Living>,
    hasher: Option<Hasher>,
    /// One for each job that is open.
    groups: Vec<Group>,
    happened: Happened,
    /// What segments and rules make of it, where that is known already.
    lived: Option<Lived>,
    /// The larger statements, where they are being written down already.
    drafts: Option<Drafts>,
    /// What it leaves to the group after it, where that has been made out already.
    leaving: Option<Leaving>,
}

/// Loads what the jobs need and decides them in turn.
async fn decide(
    tx: &mut Tx,
    workspace: WorkspaceId,
    open: &[&Job],
    known: &mut Known,
    key: &SuppressionKey,
    reading: &mut Reading<'_>,
) -> Result<Decision, StoreError> {
    let mut needs = Needs::default();
    for command in open.iter().flat_map(|job| &job.commands) {
        command.needs(&mut needs);
    }
    let (mut directory, living, hasher) = load(tx, workspace, &needs, known, key, reading).await?;
    let doubts = directory.doubts(open.iter().flat_map(|job| &job.commands));
    if !doubts.is_empty() && matches!(reading, Reading::Early { .. }) {
        // The history that the group before writes is not there yet.
        return Err(StoreError::Raced);
    }
    directory.vouch(trust::vouched(tx, workspace, doubts).await?);
    let mut ids = SystemIds;
    let mut decide = |job: &&Job| {
        let outcomes = job.commands.iter().map(|command| directory.decide(command, &job.cause, &mut ids)).collect();
        Group { outcomes, ..Group::default() }
    };
    let groups = open.iter().map(&mut decide).collect();
    let happened = directory.finish(&mut ids);
    Ok(Decision { directory, living, hasher, groups, happened, lived: None, drafts: None, leaving: None })
}

/// Whether a group is about nobody who was there before.
fn are_all_new(directory: &Directory, happened: &Happened) -> bool {
    let spans = save::spans(directory.effects());
    let is_new = |id: &ProfileId| spans.get(id).is_some_and(|span| span.before.is_none());
    spans.keys().all(is_new) && happened.occurrences.iter().all(|occurrence| is_new(&occurrence.profile_id))
}

/// Does what else can be done before the turn of a group that was decided ahead: it is judged by segments and rules where
/// nobody of it was there before, and its larger statements are begun.
async fn prepare(tx: &mut Tx, jobs: &[Job], mut decided: Decided) -> Result<Decided, StoreError> {
    let Decided { decision: Decision { directory, living, happened, lived, drafts, leaving, .. }, basis } = &mut decided;
    if !happened.merges.is_empty() || !happened.reverted.is_empty() || directory.effects().iter().any(|effect| effect.after.is_none()) {
        return Ok(decided);
    }
    let workspace = basis.workspace.workspace.id;
    if !living.is_empty() {
        // Of others the group before, or a small one, may be writing events or whose a label is, and their documents need not tell.
        if !are_all_new(directory, happened) {
            return Ok(decided);
        }
        *lived = Some(living::settle(tx, workspace, directory, living, happened, latest(jobs), &mut SystemIds).await?);
    }
    *drafts = Some(Drafts::of(tx.engine(), workspace, directory.effects(), directory.definitions.clone(), &basis.rows));
    *leaving = Leaving::of(directory, happened);
    Ok(decided)
}

/// When the last of them was asked for.
fn latest<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> Timestamp {
    jobs.into_iter().map(|job| job.cause.at).max().unwrap_or(Timestamp::MIN)
}

async fn in_transaction(
    tx: &mut Tx,
    jobs: &[Job],
    known: &mut Known,
    key: &SuppressionKey,
    meters: &Meters,
    ready: &mut Ready,
    place: Option<&mut Place>,
) -> Result<(Vec<Reply>, Option<Written>), StoreError> {
    let Some(first) = jobs.first() else { return Ok((Vec::new(), None)) };
    let mut written = None;
    let workspace_id = first.workspace;
    let keyed = jobs.iter().filter_map(|job| job.idempotency.as_ref().map(|(i, _)| (i.key.as_str(), job.cause.at)));
    let stored = stored_answers(tx, workspace_id, keyed).await?;
    let mut replies: Vec<Option<Reply>> = jobs.iter().map(|job| replay(job, &stored)).collect();
    let open: Vec<usize> = (0..jobs.len()).filter(|i| replies[*i].is_none()).collect();
    if !open.is_empty() {
        let Ready { decided, beside } = ready;
        let standing = match decided.take() {
            Some(mut decided) => {
                let stands = if open.len() == jobs.len() { decided.stands(tx, workspace_id).await } else { Ok(false) };
                meters.decided_ahead(matches!(stands, Ok(true)));
                let stands = stands?;
                if !stands && beside.is_some() {
                    return Err(StoreError::Raced);
                }
                stands.then_some(decided.decision)
            }
            None => None,
        };
        let decision = match standing {
            Some(decision) => decision,
            None => {
                let mut steps = open.iter().filter_map(|i| jobs[*i].step.as_ref());
                let ahead = steps.find(|step| !step.ahead.is_empty()).map(|step| step.ahead.clone()).unwrap_or_default();
                let open: Vec<&Job> = open.iter().map(|i| &jobs[*i]).collect();
                decide(tx, workspace_id, &open, known, key, &mut Reading::Locked(&ahead)).await?
            }
        };
        let Decision { mut directory, living: definitions, hasher, mut groups, happened, lived, drafts, leaving } = decision;
        let advance = open.iter().map(|i| &jobs[*i]).enumerate().filter_map(|(i, job)| Some((i, job.step.as_ref()?, job.cause.at)));
        if beside.is_none() {
            // Before anything is written, so that a lost lease costs little.
            for (i, step, at) in advance.clone() {
                jobs::advance(tx, step.lease, &(step.progress)(&groups[i]), at).await?;
            }
        }
        let now = latest(open.iter().map(|i| &jobs[*i]));
        let lived = match lived {
            Some(lived) => lived,
            None if definitions.is_empty() => Lived::default(),
            None => living::settle(tx, workspace_id, &mut directory, &definitions, &happened, now, &mut SystemIds).await?,
        };
        if let Some(place) = place {
            let leaving = leaving.filter(|leaving| leaving.is_of(&directory)).or_else(|| Leaving::of(&directory, &happened));
            place.tell(match leaving {
                Some(leaving) => Some(leaving.stamped(tx).await?),
                None => None,
            });
        }
        let acts = groups.iter().zip(open.iter().map(|i| &jobs[*i])).flat_map(|(group, job)| {
            let done = job.commands.iter().zip(&group.outcomes).filter_map(|(command, outcome)| Act::done(command, outcome.as_ref().ok()?));
            done.map(|act| (&*job.cause, act))
        });
        audit::note(tx, workspace_id, acts.collect()).await?;
        // What is answered is what is true once the answer is there.
        groups.iter_mut().flat_map(|group| &mut group.outcomes).flatten().for_each(|outcome| outcome.refresh(&lived));
        rejected::write(tx, workspace_id, directory.rejections()).await?;
        suppressions::save(tx, workspace_id, key, hasher.as_ref(), directory.suppressions(), now).await?;
        let named = Named::of(&directory, &happened.occurrences, &happened.merges);
        let mut saved = save::save(tx, workspace_id, ToSave { directory, happened, lived, drafts, now }, beside.is_some()).await?;
        if let Some(named) = named {
            named.suggest(tx, workspace_id).await?;
        }
        if let Some(before) = beside {
            // From here on, in the order of the line.
            let stood = before.stood().await;
            meters.saved_beside(stood);
            if !stood {
                return Err(StoreError::Raced);
            }
            *beside = None;
            for (i, step, at) in advance {
                jobs::advance(tx, step.lease, &(step.progress)(&groups[i]), at).await?;
            }
        }
        let mut answers = Vec::new();
        let mut unanswered = Vec::new();
        for (group, job) in groups.iter_mut().zip(open.iter().map(|i| &jobs[*i])) {
            group.receipts = group
                .outcomes
                .iter()
                .filter_map(|outcome| match outcome {
                    Ok(Outcome::Erased { erasure_id, .. }) => saved.receipts.get(erasure_id).map(|r| (*erasure_id, r.clone())),
                    _ => None,
                })
                .collect();
            for outcome in group.outcomes.iter().flatten() {
                if let Outcome::Merged { id, .. } = outcome
                    && let Some(merged) = merges::merged(tx, workspace_id, *id).await?
                {
                    group.merges.insert(*id, merged);
                }
            }
            if let Some((idempotency, render)) = &job.idempotency
                && let Some(answer) = render(group)
            {
                let people: BTreeSet<ProfileId> = group.outcomes.iter().filter_map(|o| o.as_ref().ok()).flat_map(Outcome::people).collect();
                answers.push((idempotency.clone(), answer, people, job.cause.at));
            } else if let Some((idempotency, _)) = &job.idempotency {
                unanswered.push((idempotency.key.as_str(), job.cause.at));
            }
        }
        // What was refused may have been refused because the same request was just carried out through another worker, whose
        // locks were waited for: then that answer is the one to give.
        if !unanswered.is_empty() && !stored_answers(tx, workspace_id, unanswered.into_iter()).await?.is_empty() {
            return Err(StoreError::Raced);
        }
        store_answers(tx, workspace_id, &answers).await?;
        written = saved.tell(tx, workspace_id).await?;
        for (group, i) in groups.into_iter().zip(open) {
            replies[i] = Some(Reply::Done(group));
        }
    }
    let replies = replies.into_iter().map(|reply| reply.ok_or(StoreError::Raced)).collect::<Result<_, _>>()?;
    Ok((replies, written))
}
