//! The two engines: pools, pragmas, transactions. The only place that chooses between them.
//!
//! SQLite has one writing connection (a pool of one, whose queue is the order of writes) and several reading ones;
//! PostgreSQL has one pool. Every transaction runs in a task of its own: a handler that is dropped when its client goes
//! away never leaves a connection with an open transaction behind (sqlx 0.9.0 would hand it to the next borrower).

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use people_domain::Timestamp;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor, Postgres, Sqlite, Transaction,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    SecretKey, StoreError, SuppressionKey,
    background::{Background, Undisturbed},
    dialect::Engine,
    disk::Disk,
    door::Door,
    duplicates::LookOut,
    jobs::Hub,
    kept::Kept,
    meters::{Counted, Meters},
    read_model::Keeper,
};

/// Where time comes from; tests bring their own.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_offset(time::OffsetDateTime::now_utc()).unwrap_or(Timestamp::MAX)
    }
}

/// A transaction on either engine.
pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Tx::Sqlite",
            Self::Postgres(_) => "Tx::Postgres",
        })
    }
}

impl Tx {
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Lets the statements of this transaction take longer than others may: for those that move very many rows of one
    /// person, whom nobody else waits for.
    pub(crate) async fn take_time(&mut self) -> Result<(), StoreError> {
        if let Self::Postgres(tx) = self {
            tx.execute("SET LOCAL statement_timeout = '600s'").await?;
        }
        Ok(())
    }

    pub(crate) async fn roll_back(self) {
        // A transaction the database has already ended cannot be rolled back again; either way it is over.
        let _ = match self {
            Self::Sqlite(tx) => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        };
    }
}

#[derive(Clone)]
pub(crate) enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool, kept: Kept<Sqlite>, disk: Disk, background: Background, meters: Meters },
    Postgres { writers: PgPool, pool: PgPool, kept: Kept<Postgres>, meters: Meters },
}

impl Pools {
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres { .. } => Engine::Postgres,
        }
    }

    pub(crate) fn meters(&self) -> &Meters {
        match self {
            Self::Sqlite { meters, .. } | Self::Postgres { meters, .. } => meters,
        }
    }

    /// Counts who waits for a connection, until it is there.
    pub(crate) fn waiting(&self) -> Counted {
        Counted::by(&self.meters().waiting)
    }

    /// Opens a transaction that may write. Only inside a spawned task.
    pub(crate) async fn begin_write(&self) -> Result<Tx, StoreError> {
        let _waiting = self.waiting();
        Ok(match self {
            // A plain BEGIN that reads and then writes fails at once when another process wrote in between.
            Self::Sqlite { writer, background, .. } => {
                let tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                background.writes(false);
                Tx::Sqlite(tx)
            }
            Self::Postgres { writers, .. } => Tx::Postgres(writers.begin().await?),
        })
    }

    /// Says that the transaction which has just been begun is background work: it need not be done as soon as can be.
    pub(crate) fn in_the_background(&self) {
        if let Self::Sqlite { background, .. } = self {
            background.writes(true);
        }
    }

    /// Commits. It can be read then; before it is answered, [`Pools::settle`] waits until it is on disk too.
    pub(crate) async fn commit(&self, tx: Tx) -> Result<(), StoreError> {
        match tx {
            Tx::Sqlite(tx) => tx.commit().await?,
            Tx::Postgres(tx) => tx.commit().await?,
        }
        if let Self::Sqlite { disk, .. } = self {
            disk.committed();
        }
        Ok(())
    }

    /// Waits until everything committed so far is on disk. On PostgreSQL it is when it is committed.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { disk, .. } => disk.settle().await,
            Self::Postgres { .. } => Ok(()),
        }
    }

    /// Opens a snapshot: everything read in it was true at one instant. Only inside a spawned task.
    pub(crate) async fn begin_read(&self) -> Result<Tx, StoreError> {
        let _waiting = self.waiting();
        Ok(match self {
            Self::Sqlite { readers, kept, .. } => {
                let _wanted = kept.wanted(readers);
                Tx::Sqlite(readers.begin().await?)
            }
            Self::Postgres { pool, kept, .. } => {
                let _wanted = kept.wanted(pool);
                Tx::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        })
    }
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// Connections of the pool (PostgreSQL), or reading connections (SQLite).
    pub connections: u32,
    /// Longest wait for a connection before the answer is 503.
    pub acquire_timeout: Duration,
    pub clock: Arc<dyn Clock>,
    /// Bytes that read models may take in memory; 0: every question is answered by SQL.
    pub read_model_bytes: usize,
    /// Seconds until a job whose worker is gone is taken over.
    pub lease_seconds: i64,
    /// How long the bytes of an erased person may stay in SQLite's files.
    pub scrub_after: Duration,
    /// How long changes can be read.
    pub changes_kept: Duration,
    pub suppression_key: SuppressionKey,
    pub secret_key: SecretKey,
}

impl Options {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 10,
            acquire_timeout: Duration::from_secs(2),
            clock: Arc::new(SystemClock),
            read_model_bytes: 2 << 30,
            lease_seconds: 30,
            scrub_after: Duration::from_secs(30),
            changes_kept: Duration::from_secs(30 * 86_400),
            suppression_key: SuppressionKey::new(None),
            secret_key: SecretKey::new(None),
        }
    }
}

/// The directory's memory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) pools: Pools,
    pub(crate) door: Door,
    pub(crate) keeper: Keeper,
    pub(crate) look_out: LookOut,
    pub(crate) jobs: Hub,
    pub(crate) lease_seconds: i64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) scrub_after: Duration,
    pub(crate) changes_kept: people_domain::clock::Span,
    pub(crate) suppression_key: SuppressionKey,
    pub(crate) secret_key: SecretKey,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?})", self.pools.engine())
    }
}

pub(crate) type Job<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

const ATTEMPTS: u32 = 8;

impl Store {
    /// Opens the database, creating an SQLite file that is not there. Does not migrate.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        let mut attempt = 0;
        let pools = loop {
            let opened = if options.url.starts_with("sqlite:") { open_sqlite(&options).await } else { open_postgres(&options).await };
            match opened {
                // SQLite does not wait for its turn when it looks at the journal's mode.
                Err(StoreError::Raced) if attempt < 20 => {
                    pause(attempt).await;
                    attempt += 1;
                }
                opened => break opened?,
            }
        };
        let keeper = Keeper::new(options.read_model_bytes);
        let door = Door::open(pools.clone(), keeper.clone(), options.suppression_key.clone());
        let Options { clock, lease_seconds, scrub_after, changes_kept, suppression_key, secret_key, .. } = options;
        Ok(Self {
            pools,
            door,
            keeper,
            look_out: LookOut::default(),
            jobs: Hub::new(),
            lease_seconds,
            clock,
            scrub_after,
            changes_kept: people_domain::clock::Span::from_seconds(i64::try_from(changes_kept.as_secs()).unwrap_or(i64::MAX)),
            suppression_key,
            secret_key,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn is_sqlite(&self) -> bool {
        self.pools.engine() == Engine::Sqlite
    }

    /// Answers whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.pools.one::<(i64,)>(crate::statement::sql("SELECT 1{as_bigint} AS one")).await?;
        // Where nothing reaches the disk any more, no write is answered either.
        self.pools.settle().await
    }

    /// Runs a write, whole, until it is not raced. The closure may run several times.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> Job<'t, T> + Send + Sync + 'static,
    {
        let pools = self.pools.clone();
        spawn(async move {
            for attempt in 0..ATTEMPTS {
                // Another process may have had the file for so long that this one gave up: that is no end either.
                let done = match pools.begin_write().await {
                    Ok(mut tx) => match work(&mut tx).await {
                        Ok(value) => pools.commit(tx).await.map(|()| value),
                        Err(error) => {
                            tx.roll_back().await;
                            Err(error)
                        }
                    },
                    Err(error) => Err(error),
                };
                match done {
                    Err(StoreError::Raced) => pause(attempt).await,
                    Ok(value) => return pools.settle().await.map(|()| value),
                    Err(error) => return Err(error),
                }
            }
            Err(StoreError::Raced)
        })
        .await
    }

    /// Reads in one snapshot.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Job<'t, T> + Send + 'static,
    {
        let pools = self.pools.clone();
        spawn(async move {
            let mut tx = pools.begin_read().await?;
            let done = work(&mut tx).await;
            tx.roll_back().await;
            done
        })
        .await
    }

    /// Reads in one snapshot what is on disk by the time it is answered: for what is handed on for good.
    pub(crate) async fn read_settled<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Job<'t, T> + Send + 'static,
    {
        let read = self.read(work).await?;
        self.pools.settle().await?;
        Ok(read)
    }

    /// For a step of a job that nobody waits for: begins when SQLite's log is not being moved, which then waits for the step.
    pub async fn undisturbed(&self) -> Undisturbed {
        match &self.pools {
            Pools::Sqlite { background, .. } => background.step().await,
            Pools::Postgres { .. } => Undisturbed::anyway(),
        }
    }

    /// Lets what is queued finish, then closes every connection.
    pub async fn close(&self) {
        // Their steps go through the door.
        self.jobs.close().await;
        self.door.close().await;
        match &self.pools {
            Pools::Sqlite { writer, readers, kept, .. } => {
                kept.close();
                readers.close().await;
                // Leaves one file behind instead of three.
                let _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
                writer.close().await;
            }
            Pools::Postgres { writers, pool, kept, .. } => {
                kept.close();
                writers.close().await;
                pool.close().await;
            }
        }
    }
}

/// Runs database work to its end even when nobody waits for it any more.
pub(crate) async fn spawn<T: Send + 'static>(work: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Result<T, StoreError> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Stopped),
    }
}

/// What the work comes to, where a fault of ours must not stop whoever does it.
pub(crate) async fn attended<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T, StoreError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        // Where it happened was said as it happened.
        tracing::error!(what, "stopped at a fault");
        StoreError::Stopped
    })
}

/// Begins work again that is to go on until the store is closed, a little after it stopped at a fault of ours.
pub async fn unbroken<F: Future<Output = ()>>(what: &'static str, work: impl Fn() -> F) {
    while attended(what, work()).await.is_err() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits a little longer after each attempt, never in step with others.
pub(crate) async fn pause(attempt: u32) {
    let jitter = u64::from(uuid::Uuid::new_v4().as_bytes()[0] % 16);
    tokio::time::sleep(Duration::from_millis(jitter + u64::from(1 + attempt * attempt))).await;
}

async fn open_sqlite(options: &Options) -> Result<Pools, StoreError> {
    let base = SqliteConnectOptions::from_str(&options.url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged write survives power loss all the same: disk.rs.
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // Erased bytes are overwritten; a setting of each connection.
        .pragma("secure_delete", "ON")
        .pragma("cache_size", "-24576")
        .pragma("temp_store", "MEMORY")
        // A checkpoint inside a commit stalls every writer behind it; maintenance.rs does them beside the writes.
        .pragma("wal_autocheckpoint", "0")
        // A page is handed over as a whole, and not when half of it has been taken.
        .row_buffer_size(256)
        .statement_cache_capacity(256);
    let meters = Meters::new();
    let disk = Disk::below(base.get_filename(), meters.flush_seconds.clone());
    let background = Background::default();
    let watched = background.clone();
    let writer = SqlitePoolOptions::new()
        .after_connect(move |connection, _| {
            let background = watched.clone();
            Box::pin(background.watch(connection))
        })
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(base.clone())
        .await?;
    check_sqlite(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(base.pragma("query_only", "ON").pragma("cache_size", "-2048"))
        .await?;
    let kept = Kept::of(&readers);
    Ok(Pools::Sqlite { writer, readers, kept, disk, background, meters })
}

/// SQLite before 3.51.3 can corrupt a WAL database that two connections write and checkpoint.
async fn check_sqlite(writer: &SqlitePool) -> Result<(), StoreError> {
    let (version,): (String,) = sqlx::query_as("SELECT sqlite_version()").fetch_one(writer).await?;
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() < [3, 51, 3].as_slice() {
        return Err(StoreError::Unreadable("SQLite 3.51.3 or newer is needed"));
    }
    Ok(())
}

async fn open_postgres(options: &Options) -> Result<Pools, StoreError> {
    let base = PgConnectOptions::from_str(&options.url)?.application_name("people").statement_cache_capacity(256).options([
        ("statement_timeout", "30000"),
        ("lock_timeout", "5000"),
        ("idle_in_transaction_session_timeout", "10000"),
        // Compiling a statement costs more than running any of ours.
        ("jit", "off"),
        // Every statement of ours looks few rows up by an index. The planner cannot know that while a table is young, or
        // has grown since it was last analysed, and once chose to read all sessions of a workspace for each event.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ]);
    let pool = |connections: u32| {
        PgPoolOptions::new().max_connections(connections).acquire_timeout(options.acquire_timeout).test_before_acquire(false)
    };
    // On Citus a plan for any values reaches every shard. Elsewhere it is kept: a foreign key is checked by a statement of the
    // server's own, which would be planned anew for each row; a deletion took longer over that than over its rows. Plans for tables
    // that were empty do not outlive it, since tables are analysed as they grow (maintenance.rs).
    let writing = if is_citus(&base).await? { base.clone().options([("plan_cache_mode", "force_custom_plan")]) } else { base.clone() };
    let writers = pool(options.connections.div_ceil(3).max(4)).connect_with(writing).await?;
    check_postgres(&writers).await?;
    let pool = pool(options.connections).connect_with(base).await?;
    let kept = Kept::of(&pool);
    Ok(Pools::Postgres { writers, pool, kept, meters: Meters::new() })
}

async fn is_citus(options: &PgConnectOptions) -> Result<bool, StoreError> {
    let mut connection = options.connect().await?;
    let (there,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(there)
}

/// Refuses a server whose settings would let an acknowledged write be lost.
async fn check_postgres(pool: &PgPool) -> Result<(), StoreError> {
    let (version, commit): (String, String) =
        sqlx::query_as("SELECT current_setting('server_version_num'), current_setting('synchronous_commit')").fetch_one(pool).await?;
    if version.parse::<u32>().unwrap_or(0) < 150_000 {
        return Err(StoreError::Unreadable("PostgreSQL 15 or newer is needed"));
    }
    if commit == "off" {
        return Err(StoreError::Unreadable("PostgreSQL has synchronous_commit off: an acknowledged write could be lost"));
    }
    Ok(())
}
