//! The databases the stories run on. Each server gets a fresh one: a file in a directory of its own, or a database of
//! its own on the server named by `TEST_POSTGRES_URL` or `TEST_CITUS_URL`.

use std::{
    env,
    io::Write as _,
    path::PathBuf,
    process::id,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
    /// PostgreSQL with the Citus extension: a coordinator, with or without workers.
    Citus,
}

impl Engine {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Citus];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Citus => "Citus",
        }
    }

    pub fn is_postgres(self) -> bool {
        self != Self::Sqlite
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "TEST_POSTGRES_URL",
            Self::Citus => "TEST_CITUS_URL",
        }
    }

    /// Whether stories can run on it here. PostgreSQL belongs to every full run: its absence is said, and fails in CI.
    pub fn is_here(self) -> bool {
        static SAID: Once = Once::new();
        if self == Self::Sqlite || env::var(self.variable()).is_ok_and(|url| !url.is_empty()) {
            return true;
        }
        if self == Self::Postgres {
            SAID.call_once(|| {
                // Written past the test harness, which keeps the output of tests that pass to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: TEST_POSTGRES_URL is not set, so nothing is shown on PostgreSQL. Run the tests through tests/with-postgres."
                );
            });
            assert!(
                env::var("CI").as_deref() != Ok("true"),
                "TEST_POSTGRES_URL is not set, and with CI=true a skipped engine is a failure"
            );
        }
        false
    }
}

/// A fresh database, and where its files are when it has any of its own.
#[derive(Clone, Debug)]
pub struct Database {
    pub engine: Engine,
    pub url: String,
    /// The directory to remove afterwards; for SQLite it holds `people.db`.
    pub directory: PathBuf,
}

const PREFIX: &str = "people_test_";

impl Database {
    pub async fn create(engine: Engine) -> Self {
        let directory = tempfile::Builder::new().prefix("people-test-").tempdir().expect("a temporary directory").keep();
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", directory.join("people.db").display()),
            Engine::Postgres | Engine::Citus => create_database(engine).await,
        };
        Self { engine, url, directory }
    }

    pub async fn sqlite(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.url).await.expect("the SQLite file opens")
    }

    pub async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the PostgreSQL database answers")
    }

    /// Rows of a statement without arguments, each column as text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let sql = sql.to_owned();
        match self.engine {
            Engine::Sqlite => {
                let mut connection = self.sqlite().await;
                let rows =
                    sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&mut connection).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
                let rows = rows.iter().map(|row| {
                    (0..row.len()).map(|i| row.try_get_unchecked::<Option<String>, _>(i).ok().flatten().unwrap_or_default()).collect()
                });
                rows.collect()
            }
            Engine::Postgres | Engine::Citus => {
                let mut connection = self.postgres().await;
                // The simple protocol answers every type as text.
                let rows =
                    sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&mut connection).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
                let rows = rows.iter().map(|row| {
                    (0..row.len()).map(|i| row.try_get_unchecked::<Option<String>, _>(i).ok().flatten().unwrap_or_default()).collect()
                });
                rows.collect()
            }
        }
    }

    /// The single text a statement answers.
    pub async fn one(&self, sql: &str) -> String {
        self.rows(sql).await.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or_default()
    }

    pub async fn remove(&self) {
        if self.engine.is_postgres() {
            let mut connection = server(self.engine).await;
            let name = self.url.rsplit('/').next().and_then(|rest| rest.split('?').next()).unwrap_or_default();
            // Gone already, or in use by a server that is being stopped: the next run tidies up.
            let _ = sqlx::query(AssertSqlSafe(format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))).execute(&mut connection).await;
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn server(engine: Engine) -> PgConnection {
    let url = env::var(engine.variable()).expect("checked by is_here");
    PgConnection::connect(&url).await.unwrap_or_else(|e| panic!("{} does not answer: {e}", engine.variable()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

async fn create_database(engine: Engine) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{PREFIX}{}_{}_{}", now(), id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = server(engine).await;
    tidy_up(&mut connection).await;
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\" TEMPLATE template0")))
        .execute(&mut connection)
        .await
        .expect("a test database can be created");
    let mut url = url::Url::parse(&env::var(engine.variable()).expect("checked by is_here")).expect("the server's URL is a URL");
    url.set_path(&name);
    if engine == Engine::Citus {
        make_citus(&mut connection, &url, &name).await;
    }
    url.into()
}

/// Databases of runs that were stopped before they could clean up.
async fn tidy_up(connection: &mut PgConnection) {
    static ONCE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    ONCE.get_or_init(async || {
        let rows = sqlx::query("SELECT datname FROM pg_database d WHERE datname LIKE 'people\\_test\\_%' AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = d.datname)")
            .fetch_all(&mut *connection)
            .await
            .unwrap_or_default();
        for row in rows {
            let name: String = row.get(0);
            let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()).and_then(|at| at.parse::<u64>().ok());
            if made.is_some_and(|at| at + 3_600 < now()) {
                let _ = sqlx::query(AssertSqlSafe(format!("DROP DATABASE IF EXISTS \"{name}\""))).execute(&mut *connection).await;
            }
        }
    })
    .await;
}

/// The extension in the new database, and the same workers as the database the URL names.
async fn make_citus(base: &mut PgConnection, url: &url::Url, name: &str) {
    let workers =
        sqlx::query("SELECT nodename::text, nodeport FROM pg_dist_node WHERE groupid <> 0").fetch_all(&mut *base).await.unwrap_or_default();
    let mut coordinator = PgConnection::connect(url.as_str()).await.expect("the new database answers");
    sqlx::query("CREATE EXTENSION IF NOT EXISTS citus").execute(&mut coordinator).await.expect("TEST_CITUS_URL names a server with Citus");
    for worker in workers {
        let (host, port): (String, i32) = (worker.get(0), worker.get(1));
        let mut at = url.clone();
        at.set_host(Some(&host)).expect("a worker's name is a host");
        at.set_port(u16::try_from(port).ok()).expect("a worker's port is a port");
        at.set_path("postgres");
        let mut maintenance = PgConnection::connect(at.as_str()).await.expect("the worker answers");
        // Newer versions carry CREATE DATABASE to the workers by themselves.
        let _ = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))).execute(&mut maintenance).await;
        at.set_path(name);
        let mut there = PgConnection::connect(at.as_str()).await.expect("the worker's database answers");
        sqlx::query("CREATE EXTENSION IF NOT EXISTS citus").execute(&mut there).await.expect("the worker has Citus");
        sqlx::query("SELECT citus_add_node($1, $2)").bind(&host).bind(port).execute(&mut coordinator).await.expect("the worker joins");
    }
}
