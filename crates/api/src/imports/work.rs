//! The job of an import: a thousand rows a step, through the one door. While the door writes, the next rows are read.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use people_domain::{
    Refusal, Timestamp,
    consent::Status,
    directory::{Command, Draft, Outcome},
    id::RecordId,
    property::{Definition, Match, PropertyType},
};
use people_store::{
    Group, Pending, Store, StoreError,
    jobs::{End, JobError, JobKind, Lease, Progress, Step, Stepping, Turn, read},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::{
    rows::{Fault, Format, Letters, Mode, Place, Reading, RecordEnd, records, told},
    spool::PIECE,
};
use crate::problem::Problem;

/// Rows taken in one transaction.
const STEP: usize = 1_000;
/// Transactions handed in at once: one is saved, or two beside each other, while the next is decided.
const AT_ONCE: usize = 3;
/// How long a step goes on handing in.
const STRETCH: Duration = Duration::from_secs(1);
/// A record longer than this is passed over: nobody's row is.
const LONGEST: usize = 4 * PIECE;
/// Jobs whose next rows, or whose keys seen, are remembered.
const REMEMBERED: usize = 8;

/// What the job is asked to do; the file stands in its inputs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Parameters {
    pub format: Format,
    #[serde(default)]
    pub letters: Letters,
    pub mode: Mode,
    pub dry_run: bool,
    /// Of the attributes that are mapped.
    pub types: BTreeMap<String, PropertyType>,
    /// Bytes of the file as it is kept.
    pub length: usize,
    /// Where the rows begin.
    pub begin: Place,
}

/// Where the next step begins, and what became of the rows before it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Checkpoint {
    place: Place,
    steps: i64,
    created: i64,
    updated: i64,
    /// Statuses of consent that did not come to be the person's.
    #[serde(default)]
    without_effect: i64,
}

/// Rows ready to be carried out.
struct Chunk {
    from: Place,
    to: Place,
    rows: Vec<(i64, Result<Command, Fault>)>,
    /// What each of the commands tells of consents.
    told: Vec<Vec<(String, Status)>>,
}

impl Chunk {
    fn new(from: Place, to: Place, rows: Vec<(i64, Result<Command, Fault>)>) -> Self {
        let of = |command: &Command| {
            let decisions = command.draft().into_iter().flat_map(Draft::told);
            decisions.map(|decision| (decision.channel.clone(), decision.status)).collect()
        };
        let told = rows.iter().filter_map(|(_, row)| row.as_ref().ok().map(of)).collect();
        Self { from, to, rows, told }
    }
}

/// Rows being read for the next step.
struct Ahead {
    job: RecordId,
    chunk: JoinHandle<Result<Chunk, StoreError>>,
}

/// Keys of people that a dry run would have created.
struct Seen {
    job: RecordId,
    keys: HashSet<u64>,
}

/// Imports, and what is remembered of those under way to be faster; the database knows everything that matters.
#[derive(Default)]
pub struct Import {
    ahead: Mutex<Vec<Ahead>>,
    seen: Mutex<Vec<Seen>>,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Import")
    }
}

impl JobKind for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(self.next(store, turn))
    }
}

impl Import {
    async fn next(&self, store: &Store, turn: Turn) -> Result<(), StoreError> {
        let parameters: Arc<Parameters> = Arc::new(read(&turn.parameters)?);
        let checkpoint = if turn.checkpoint.is_null() {
            if !parameters.dry_run {
                define(store, &turn, &parameters.types).await?;
            }
            Checkpoint { place: parameters.begin, steps: 0, created: 0, updated: 0, without_effect: 0 }
        } else {
            read(&turn.checkpoint)?
        };
        let mut from = checkpoint.place;
        if parameters.dry_run {
            let Some((chunk, done)) = self.take(store, &turn, &parameters, from).await? else {
                return store.advance_job(turn.lease, unending(from)).await;
            };
            let rehearsed = self.rehearse(store, &turn, &parameters, checkpoint, chunk, done).await;
            if done {
                self.forget(turn.lease.job);
            }
            return rehearsed;
        }
        let since = Instant::now();
        let tally = Arc::new(Tally::begin(Counted { processed: turn.job.processed, checkpoint, details: turn.job.details.clone() }));
        let mut under_way: VecDeque<Pending> = VecDeque::new();
        let mut handed = turn.job.processed;
        loop {
            let taken = self.take(store, &turn, &parameters, from).await;
            let Ok(Some((chunk, done))) = taken else {
                // What was handed in counts, whatever is in the way of the rest.
                settle(under_way, 0).await?;
                return match taken {
                    Err(error) => Err(error),
                    Ok(_) => store.advance_job(turn.lease, unending(from)).await,
                };
            };
            under_way = settle(under_way, AT_ONCE - 1).await?;
            from = chunk.to;
            let rows = i64::try_from(chunk.rows.len()).unwrap_or(i64::MAX);
            under_way.push_back(hand_in(store, &turn, &tally, handed, chunk, done).await?);
            handed += rows;
            if done || since.elapsed() > STRETCH {
                settle(under_way, 0).await?;
                if done {
                    self.forget(turn.lease.job);
                }
                return Ok(());
            }
        }
    }

    /// The rows from here on, and whether they are the last; those behind them are read meanwhile. `None`: there is no end to
    /// the first of them.
    async fn take(
        &self,
        store: &Store,
        turn: &Turn,
        parameters: &Arc<Parameters>,
        from: Place,
    ) -> Result<Option<(Chunk, bool)>, StoreError> {
        let (lease, now) = (turn.lease, turn.job.created_at);
        let chunk = match self.taken_ahead(lease.job, from).await {
            Some(chunk) => chunk,
            None => chunk(store.clone(), lease, Arc::clone(parameters), from, now).await?,
        };
        let done = chunk.to.offset >= parameters.length;
        if chunk.rows.is_empty() && !done {
            return Ok(None);
        }
        if !done {
            let reading = tokio::spawn(self::chunk(store.clone(), lease, Arc::clone(parameters), chunk.to, now));
            self.read_ahead(Ahead { job: lease.job, chunk: reading });
        }
        Ok(Some((chunk, done)))
    }

    /// The rows from here on, when they were read ahead.
    async fn taken_ahead(&self, job: RecordId, from: Place) -> Option<Chunk> {
        let ahead = {
            let mut all = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().position(|ahead| ahead.job == job).map(|at| all.swap_remove(at))
        }?;
        // Of another place, after another process worked on the job: read anew.
        ahead.chunk.await.ok()?.ok().filter(|chunk| chunk.from == from)
    }

    fn read_ahead(&self, next: Ahead) {
        let mut all = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|ahead| ahead.job != next.job);
        if all.len() >= REMEMBERED {
            all.remove(0);
        }
        all.push(next);
    }

    fn forget(&self, job: RecordId) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).retain(|ahead| ahead.job != job);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|seen| seen.job != job);
    }

    /// Decides the rows and keeps nothing but the counts. Who would have been created by an earlier step is known by the
    /// keys, which are kept as inputs of the job, so that another process can go on.
    async fn rehearse(
        &self,
        store: &Store,
        turn: &Turn,
        parameters: &Parameters,
        checkpoint: Checkpoint,
        chunk: Chunk,
        done: bool,
    ) -> Result<(), StoreError> {
        let lease = turn.lease;
        let mut seen = self.seen_before(store, lease, checkpoint.steps).await?;
        let commands: Vec<Command> = chunk.rows.iter().filter_map(|(_, row)| row.as_ref().ok().cloned()).collect();
        let keys: Vec<Vec<u64>> = commands.iter().map(hashes).collect();
        let mut outcomes = store.rehearse(lease.workspace, turn.cause(store.now(), "import"), commands).await?;
        let mut new: Vec<u64> = Vec::new();
        for (outcome, keys) in outcomes.iter_mut().zip(keys) {
            let creates = matches!(outcome, Ok(Outcome::Created(_) | Outcome::Upserted { created: true, .. }));
            if creates && keys.iter().any(|key| seen.contains(key)) {
                *outcome = match (parameters.mode, outcome.clone()) {
                    (Mode::Create, _) => {
                        Err(Refusal::new(people_domain::Code::IdentityTaken, "An earlier row has one of these identities."))
                    }
                    (_, Ok(Outcome::Upserted { profile, duplicates, .. })) => Ok(Outcome::Upserted { profile, created: false, duplicates }),
                    (_, other) => other,
                };
            }
            if creates {
                new.extend(keys);
            }
        }
        seen.extend(new.iter().copied());
        if !done {
            let packed = new.iter().flat_map(|hash| hash.to_be_bytes()).collect();
            store.keep_input_again(lease.workspace, lease.job, notes(checkpoint.steps), packed).await?;
        }
        let group = Group { outcomes, ..Group::default() };
        let before = Counted { processed: turn.job.processed, checkpoint, details: turn.job.details.clone() };
        let (progress, _) = progress(before, &chunk, done, &group);
        store.advance_job(lease, progress).await?;
        if !done {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= REMEMBERED {
                all.remove(0);
            }
            all.push(Seen { job: lease.job, keys: seen });
        }
        Ok(())
    }

    async fn seen_before(&self, store: &Store, lease: Lease, steps: i64) -> Result<HashSet<u64>, StoreError> {
        let remembered = {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().position(|seen| seen.job == lease.job).map(|at| all.swap_remove(at).keys)
        };
        if let Some(keys) = remembered {
            return Ok(keys);
        }
        let mut keys = HashSet::new();
        for step in 0..steps {
            let packed = store.input(lease.workspace, lease.job, notes(step)).await?.unwrap_or_default();
            keys.extend(packed.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes));
        }
        Ok(keys)
    }
}

/// The input that holds the notes of a step; those of the file count from 0 up.
fn notes(step: i64) -> i64 {
    -1 - step
}

/// The keys a command names, short.
fn hashes(command: &Command) -> Vec<u64> {
    let mut needs = people_domain::directory::Needs::default();
    command.needs(&mut needs);
    let hash = |kind: &str, value: &str| {
        let digest = Sha256::digest(format!("{kind}\0{value}"));
        digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
    };
    needs.keys.iter().map(|key| hash(key.kind.as_str(), &key.value)).collect()
}

/// A row that does not end.
fn unending(from: Place) -> Progress {
    let detail = format!("the row that begins in line {} does not end; a quote may be missing", from.line);
    Progress { end: Some(End::Failed { code: "malformed_csv".to_owned(), detail }), ..Progress::default() }
}

/// Defines the attributes that the file brings along, each by what its column has in common; a first value alone could
/// mislead.
async fn define(store: &Store, turn: &Turn, types: &BTreeMap<String, PropertyType>) -> Result<(), StoreError> {
    let known = store.properties(turn.lease.workspace).await?;
    for (key, kind) in types.iter().filter(|(key, _)| !known.contains_key(*key)) {
        let definition = Definition {
            key: key.clone(),
            kind: *kind,
            label: None,
            description: None,
            options: Vec::new(),
            searchable: false,
            pii: false,
            matching: Match::None,
            created_at: turn.job.created_at,
            updated_at: turn.job.created_at,
        };
        // Somebody else was first, or there are too many: the rows will tell.
        let _ = store.define_property(turn.lease.workspace, definition, turn.cause(store.now(), "import"), None).await?;
    }
    Ok(())
}

/// Reads the rows from a place on, and makes commands of them beside the runtime.
async fn chunk(store: Store, lease: Lease, parameters: Arc<Parameters>, from: Place, now: Timestamp) -> Result<Chunk, StoreError> {
    let row = store.workspace(lease.workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
    let definitions = store.properties(lease.workspace).await?;
    let mut types = parameters.types.clone();
    for (key, kind) in &mut types {
        if let Some(definition) = definitions.get(key) {
            *kind = definition.kind;
        }
    }
    let reading = Arc::new(Reading {
        format: parameters.format.clone(),
        letters: parameters.letters,
        mode: parameters.mode,
        country: row.workspace.default_country,
        types,
        now,
    });
    let mut bytes: Vec<u8> = Vec::new();
    // Where the first row is looked for.
    let mut at = from;
    let mut begins = at.offset / PIECE * PIECE;
    // A step may begin near the end of a piece; how far it goes is known once some rows were read.
    let mut wanted = at.offset - begins + PIECE / 2;
    loop {
        while bytes.len() < wanted && begins + bytes.len() < parameters.length {
            let piece = (begins + bytes.len()) / PIECE;
            let more = store.input(lease.workspace, lease.job, i64::try_from(piece).unwrap_or(i64::MAX)).await?;
            // Gone: the job has ended, and its next progress is refused.
            let Some(more) = more else { return Err(StoreError::Stale) };
            bytes.extend_from_slice(&more);
        }
        let whole = begins + bytes.len() >= parameters.length;
        let (reading, taken) = (Arc::clone(&reading), std::mem::take(&mut bytes));
        let parsed = tokio::task::spawn_blocking(move || {
            let (rows, to) = records(&reading.format, reading.letters, &taken[(at.offset - begins).min(taken.len())..], whole, at, STEP);
            let rows: Vec<_> = rows.into_iter().map(|(line, row)| (line, reading.command(row))).collect();
            (Chunk::new(from, to, rows), taken)
        })
        .await
        .map_err(|_| StoreError::Unreadable("a file"))?;
        let (chunk, taken) = parsed;
        let rows = chunk.rows.len();
        if rows == 0 && !whole && taken.len() > LONGEST {
            drop(taken);
            if chunk.to.offset == at.offset {
                return passed_over(&store, lease, &parameters, at).await.map(|chunk| Chunk { from, ..chunk });
            }
            // Nothing but blank rows so far: on from their end.
            at = chunk.to;
            begins = at.offset / PIECE * PIECE;
            wanted = at.offset - begins + PIECE / 2;
            continue;
        }
        if rows >= STEP || whole || taken.len() > LONGEST || (rows > 0 && taken.len() == LONGEST) {
            return Ok(chunk);
        }
        let needed = ((chunk.to.offset - at.offset) * (STEP + 1)).checked_div(rows);
        wanted = needed.map_or(taken.len() + PIECE, |needed| (at.offset - begins + needed).min(LONGEST).max(taken.len() + 1));
        bytes = taken;
    }
}

/// A row that is longer than any may be, read to its end and not kept. No row in it: it has no end.
async fn passed_over(store: &Store, lease: Lease, parameters: &Parameters, from: Place) -> Result<Chunk, StoreError> {
    let mut end = RecordEnd::of(&parameters.format, from);
    let mut at = from.offset;
    while at < parameters.length {
        let piece = store.input(lease.workspace, lease.job, i64::try_from(at / PIECE).unwrap_or(i64::MAX)).await?;
        let Some(piece) = piece else { return Err(StoreError::Stale) };
        let rest = piece.get(at % PIECE..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        if let Some((line, to)) = end.look(rest) {
            let fault = ("row_too_long".to_owned(), format!("a row has at most {LONGEST} bytes; this one is passed over"));
            return Ok(Chunk::new(from, to, vec![(line, Err(fault))]));
        }
        at += rest.len();
    }
    Ok(Chunk::new(from, from, Vec::new()))
}

/// What an import has come to.
#[derive(Clone, Debug)]
struct Counted {
    processed: i64,
    checkpoint: Checkpoint,
    details: Value,
}

/// What an import will have come to at each of the places where rows begin that were handed in: the transaction of those
/// before them has ended when a transaction asks.
struct Tally(Mutex<BTreeMap<i64, Counted>>);

impl Tally {
    fn begin(counted: Counted) -> Self {
        Self(Mutex::new(BTreeMap::from([(counted.processed, counted)])))
    }

    /// What the rows after the first `processed` came to. It may be asked again, when a transaction is.
    fn progress(&self, processed: i64, chunk: &Chunk, done: bool, group: &Group) -> Progress {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = all.get(&processed).cloned() else {
            // Those before were not carried out, and so these are not.
            return Progress { after: Some(-1), ..Progress::default() };
        };
        let (progress, after) = self::progress(before, chunk, done, group);
        all.retain(|place, _| *place >= processed);
        all.insert(after.processed, after);
        Progress { after: Some(processed), ..progress }
    }
}

/// Hands rows in, which the job has come to once it has processed so many.
async fn hand_in(
    store: &Store,
    turn: &Turn,
    tally: &Arc<Tally>,
    processed: i64,
    mut chunk: Chunk,
    done: bool,
) -> Result<Pending, StoreError> {
    let mut commands = Vec::with_capacity(chunk.rows.len());
    for (_, row) in &mut chunk.rows {
        // The place of a command stays, so that outcomes find their lines.
        if let Ok(command) = row {
            commands.push(std::mem::replace(command, Command::Create(Default::default())));
        }
    }
    let tally = Arc::clone(tally);
    let progress = move |group: &Group| tally.progress(processed, &chunk, done, group);
    let job = people_store::Job {
        workspace: turn.lease.workspace,
        cause: turn.cause(store.now(), "import"),
        commands,
        idempotency: None,
        step: Some(Step::new(turn.lease, Arc::new(progress))),
    };
    store.hand_in(job).await
}

/// Waits until no more than so many are under way. When one came to nothing, so do those behind it: they are waited for, so
/// that none of them is left when the rows are handed in again.
async fn settle(mut under_way: VecDeque<Pending>, at_most: usize) -> Result<VecDeque<Pending>, StoreError> {
    while under_way.len() > at_most
        && let Some(first) = under_way.pop_front()
    {
        if let Err(error) = first.reply().await {
            for behind in under_way {
                // Refused, for the same reason or for want of the first.
                let _ = behind.reply().await;
            }
            return Err(error);
        }
    }
    Ok(under_way)
}

/// What became of the rows of a transaction, and what the import has come to with it.
fn progress(before: Counted, chunk: &Chunk, done: bool, group: &Group) -> (Progress, Counted) {
    let Counted { processed, mut checkpoint, mut details } = before;
    let mut progress = Progress::default();
    let mut outcomes = group.outcomes.iter();
    for (outcome, told) in group.outcomes.iter().zip(&chunk.told) {
        let (Ok(Outcome::Created(profile)) | Ok(Outcome::Upserted { profile, .. })) = outcome else { continue };
        let holds = |(channel, status): &&(String, Status)| profile.consents.iter().any(|c| c.channel == *channel && c.status == *status);
        checkpoint.without_effect += i64::try_from(told.iter().filter(|told| !holds(told)).count()).unwrap_or(0);
    }
    for (line, row) in &chunk.rows {
        progress.processed += 1;
        let fault = match row {
            Err(fault) => Some(fault.clone()),
            Ok(_) => match outcomes.next() {
                Some(Ok(Outcome::Created(_) | Outcome::Upserted { created: true, .. })) => {
                    checkpoint.created += 1;
                    None
                }
                Some(Ok(_)) => {
                    checkpoint.updated += 1;
                    None
                }
                Some(Err(refusal)) => Some(told(Problem::from(refusal.clone()))),
                None => Some(("internal_error".to_owned(), "the row was not carried out".to_owned())),
            },
        };
        match fault {
            None => progress.succeeded += 1,
            Some((code, detail)) => {
                progress.failed += 1;
                progress.errors.push(JobError { position: *line, code, detail, profile_id: None });
            }
        }
    }
    checkpoint.place = chunk.to;
    checkpoint.steps += 1;
    if let Some(members) = details.as_object_mut() {
        members.insert("created".to_owned(), checkpoint.created.into());
        members.insert("updated".to_owned(), checkpoint.updated.into());
        members.insert("consents_without_effect".to_owned(), checkpoint.without_effect.into());
    }
    let processed = processed + progress.processed;
    progress.details = Some(details.clone());
    progress.end = done.then_some(End::Succeeded);
    // Counted while it came in, a total may be off where quotes stand inside of cells.
    progress.total = done.then_some(processed);
    progress.checkpoint = serde_json::to_value(checkpoint).unwrap_or_default();
    (progress, Counted { processed, checkpoint, details })
}
