//! The limit of writing: rows of the same size inserted by one statement a transaction, each commit on disk before the
//! next begins, into a table with nothing but its primary key.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgConnection, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use crate::{
    Result,
    database::{Database, Engine},
};

const TABLE: &str = "people_bench_raw";

enum Scratch {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Rows a second of `bytes` each, `rows_per_commit` in a durable transaction. SQLite writes to a file of its own in
/// `folder`, PostgreSQL to a table of its own in the same database; both are removed.
pub async fn rows_per_second(database: &Database, folder: &Path, rows_per_commit: usize, bytes: usize, time: Duration) -> Result<f64> {
    let file = folder.join("raw.db");
    let mut scratch = match database.engine {
        Engine::Sqlite => {
            let options = SqliteConnectOptions::new()
                .filename(&file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let mut connection = options.connect().await?;
            connection.execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS {TABLE}"))).await?;
            let create = format!(
                "CREATE TABLE {TABLE} (workspace_id BLOB NOT NULL, id BLOB NOT NULL, document TEXT NOT NULL, PRIMARY KEY (workspace_id, id)) STRICT"
            );
            connection.execute(AssertSqlSafe(create)).await?;
            Scratch::Sqlite(connection)
        }
        Engine::Postgres => {
            let mut connection = database.postgres().await?;
            connection.execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS {TABLE}"))).await?;
            let create = format!(
                "CREATE TABLE {TABLE} (workspace_id UUID NOT NULL, id UUID NOT NULL, document TEXT NOT NULL, PRIMARY KEY (workspace_id, id))"
            );
            connection.execute(AssertSqlSafe(create)).await?;
            Scratch::Postgres(connection)
        }
    };

    let workspace = Uuid::now_v7();
    let document = "x".repeat(bytes);
    let (begun, mut rows) = (Instant::now(), 0_usize);
    while begun.elapsed() < time {
        let ids: Vec<Uuid> = (0..rows_per_commit).map(|_| Uuid::now_v7()).collect();
        match &mut scratch {
            Scratch::Sqlite(connection) => insert_sqlite(connection, workspace, &ids, &document).await?,
            Scratch::Postgres(connection) => insert_postgres(connection, workspace, &ids, &document).await?,
        }
        rows += rows_per_commit;
    }
    let rate = rows as f64 / begun.elapsed().as_secs_f64();

    match scratch {
        Scratch::Sqlite(connection) => {
            sqlx::Connection::close(connection).await?;
            std::fs::remove_file(&file)?;
        }
        Scratch::Postgres(mut connection) => {
            connection.execute(AssertSqlSafe(format!("DROP TABLE {TABLE}"))).await?;
        }
    }
    Ok(rate)
}

async fn insert_sqlite(connection: &mut SqliteConnection, workspace: Uuid, ids: &[Uuid], document: &str) -> Result<()> {
    let mut insert = QueryBuilder::<Sqlite>::new(format!("INSERT INTO {TABLE} (workspace_id, id, document) "));
    insert.push_values(ids, |mut row, id| {
        row.push_bind(workspace).push_bind(*id).push_bind(document);
    });
    insert.build().execute(connection).await?;
    Ok(())
}

async fn insert_postgres(connection: &mut PgConnection, workspace: Uuid, ids: &[Uuid], document: &str) -> Result<()> {
    let insert = format!(
        "INSERT INTO {TABLE} (workspace_id, id, document) SELECT $1, t.id, t.document FROM UNNEST($2::uuid[], $3::text[]) AS t (id, document)"
    );
    // Every document crosses the wire, as it does for the server.
    sqlx::query(AssertSqlSafe(insert)).bind(workspace).bind(ids).bind(vec![document; ids.len()]).execute(connection).await?;
    Ok(())
}
