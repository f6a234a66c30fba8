//! Databases of a run: made, filled through the server, copied when they are kept, and removed in the end.
//!
//! A kept database stays as it was loaded; each run works on a copy of it, so runs are alike. SQLite's are files
//! `people-<profiles>-<seed>.db` in the folder of `--keep`, PostgreSQL's are named `people_bench_<profiles>_<seed>`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::ValueEnum;
use serde::Serialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, SqliteConnection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};
use uuid::Uuid;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// Where databases are made.
#[derive(Debug)]
pub struct Yard {
    /// Scratch folder of this run, on the disk that is measured.
    pub scratch: PathBuf,
    pub keep: Option<PathBuf>,
    /// Any database of a PostgreSQL server whose user may create databases.
    pub postgres_url: Option<String>,
}

/// One database.
#[derive(Clone, Debug)]
pub struct Database {
    pub engine: Engine,
    /// As the server takes it in `DATABASE_URL`.
    pub url: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Named { admin_url: String, name: String },
}

impl Yard {
    /// The database that people are loaded into: the kept one's place, or a scratch one.
    pub fn loaded(&self, engine: Engine, profiles: u64, seed: u64) -> Result<Database> {
        let folder = self.keep.as_deref().unwrap_or(&self.scratch);
        let name = if self.keep.is_some() {
            format!("people_bench_{profiles}_{seed}")
        } else {
            format!("people_bench_{profiles}_{seed}_{}", std::process::id())
        };
        self.at(engine, &folder.join(format!("people-{profiles}-{seed}.db")), name)
    }

    /// Where the copy of a kept database goes.
    pub fn working_copy(&self, engine: Engine) -> Result<Database> {
        self.at(engine, &self.scratch.join("people.db"), format!("people_bench_run_{}", std::process::id()))
    }

    /// An empty place for a work that needs a directory of its own.
    pub fn spare(&self, engine: Engine) -> Result<Database> {
        self.at(engine, &self.scratch.join("spare.db"), format!("people_bench_spare_{}", std::process::id()))
    }

    fn at(&self, engine: Engine, file: &Path, name: String) -> Result<Database> {
        Ok(match engine {
            Engine::Sqlite => Database::file(file)?,
            Engine::Postgres => {
                let admin_url = self.postgres_url.clone().ok_or("--postgres-url is needed for PostgreSQL")?;
                Database { engine, url: with_database(&admin_url, &name)?, place: Place::Named { admin_url, name } }
            }
        })
    }
}

impl Database {
    fn file(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)?;
        Ok(Self { engine: Engine::Sqlite, url: format!("sqlite://{}", path.display()), place: Place::File(path) })
    }

    /// Removes what is there and, where the server does not do it itself, makes an empty database.
    pub async fn create(&self) -> Result<()> {
        self.remove().await?;
        if let Place::Named { admin_url, name } = &self.place {
            administer(admin_url, format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await?;
        }
        Ok(())
    }

    /// Makes this database the copy of another that nobody has open.
    pub async fn copy_from(&self, source: &Self) -> Result<()> {
        self.remove().await?;
        match (&source.place, &self.place) {
            (Place::File(from), Place::File(to)) => {
                for suffix in ["", "-wal"] {
                    let from = with_suffix(from, suffix);
                    if from.exists() {
                        tokio::fs::copy(&from, with_suffix(to, suffix)).await?;
                    }
                }
                Ok(())
            }
            (Place::Named { name: from, .. }, Place::Named { admin_url, name: to }) => {
                // PostgreSQL notices a moment late that a killed server's connections are gone.
                let mut last = Ok(());
                for _ in 0..50 {
                    last = administer(admin_url, format!("CREATE DATABASE {to} TEMPLATE {from} STRATEGY file_copy")).await;
                    if last.is_ok() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                last
            }
            _ => Err("a database can only be copied within its engine".into()),
        }
    }

    pub async fn remove(&self) -> Result<()> {
        match &self.place {
            Place::File(path) => {
                for suffix in ["", "-wal", "-shm"] {
                    match std::fs::remove_file(with_suffix(path, suffix)) {
                        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                        _ => {}
                    }
                }
                Ok(())
            }
            Place::Named { admin_url, name } => administer(admin_url, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await,
        }
    }

    /// How many people an earlier run left here; `None` when there is no such database.
    pub async fn profiles(&self) -> Option<u64> {
        self.count().await.ok().and_then(|n| u64::try_from(n).ok())
    }

    async fn count(&self) -> Result<i64> {
        const COUNT: &str = "SELECT count(*) FROM profiles";
        Ok(match self.engine {
            Engine::Sqlite => sqlx::query_scalar(COUNT).fetch_one(&mut self.sqlite().await?).await?,
            Engine::Postgres => sqlx::query_scalar(COUNT).fetch_one(&mut self.postgres().await?).await?,
        })
    }

    /// The workspace, and the ids of everyone.
    pub async fn everyone(&self) -> Result<(Uuid, Vec<Uuid>)> {
        const WORKSPACE: &str = "SELECT id FROM workspaces LIMIT 1";
        const IDS: &str = "SELECT id FROM profiles";
        Ok(match self.engine {
            Engine::Sqlite => {
                let mut connection = self.sqlite().await?;
                (sqlx::query_scalar(WORKSPACE).fetch_one(&mut connection).await?, sqlx::query_scalar(IDS).fetch_all(&mut connection).await?)
            }
            Engine::Postgres => {
                let mut connection = self.postgres().await?;
                (sqlx::query_scalar(WORKSPACE).fetch_one(&mut connection).await?, sqlx::query_scalar(IDS).fetch_all(&mut connection).await?)
            }
        })
    }

    /// Puts PostgreSQL into the state its own autovacuum reaches minutes after a load. SQLite: the server looks after it.
    pub async fn tidy(&self) -> Result<()> {
        if self.engine == Engine::Postgres {
            self.postgres().await?.execute("VACUUM (ANALYZE)").await?;
        }
        Ok(())
    }

    /// How far the look-out for duplicates is behind the writes.
    pub async fn unlooked(&self) -> Result<i64> {
        const BEHIND: &str = "SELECT h.seq - c.seq FROM change_heads AS h JOIN duplicate_cursors AS c ON c.workspace_id = h.workspace_id";
        let behind: Option<i64> = match self.engine {
            Engine::Sqlite => sqlx::query_scalar(BEHIND).fetch_optional(&mut self.sqlite().await?).await?,
            Engine::Postgres => sqlx::query_scalar(BEHIND).fetch_optional(&mut self.postgres().await?).await?,
        };
        Ok(behind.unwrap_or(0))
    }

    /// Engine and version in words, and what matters to text search.
    pub async fn facts(&self) -> Result<String> {
        Ok(match self.engine {
            Engine::Sqlite => {
                let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut self.sqlite().await?).await?;
                format!("SQLite {version}, durable commits (WAL)")
            }
            Engine::Postgres => {
                let (version, ctype, buffers, commit): (String, String, String, String) = sqlx::query_as(
                    "SELECT current_setting('server_version'),
                            (SELECT datctype FROM pg_database WHERE datname = current_database()),
                            current_setting('shared_buffers'),
                            current_setting('synchronous_commit')",
                )
                .fetch_one(&mut self.postgres().await?)
                .await?;
                format!("PostgreSQL {version}, lc_ctype {ctype}, shared_buffers {buffers}, synchronous_commit {commit}")
            }
        })
    }

    /// A connection that only reads, beside the server.
    pub async fn sqlite(&self) -> Result<SqliteConnection> {
        Ok(sqlite_options(&self.url)?.connect().await?)
    }

    pub async fn postgres(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}

/// As the server's reading connections are opened.
pub fn sqlite_options(url: &str) -> Result<SqliteConnectOptions> {
    Ok(SqliteConnectOptions::from_str(url)?.read_only(true).busy_timeout(Duration::from_secs(5)).pragma("cache_size", "-16384"))
}

async fn administer(url: &str, statement: String) -> Result<()> {
    let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
    // The names in these statements are made above, of letters, digits and underscores.
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The same server, another database: `postgres://user@host/postgres?x=y` → `postgres://user@host/name?x=y`.
fn with_database(url: &str, name: &str) -> Result<String> {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").ok_or("--postgres-url: expected postgres://…")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{query}"))
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_name_of_the_database_changes() {
        for (url, other) in [
            ("postgres://u:p@h:5432/postgres", "postgres://u:p@h:5432/x"),
            ("postgres://h", "postgres://h/x"),
            ("postgresql:///postgres?host=/run/pg&user=a", "postgresql:///x?host=/run/pg&user=a"),
        ] {
            assert_eq!(with_database(url, "x").expect("a URL"), other);
        }
    }
}
