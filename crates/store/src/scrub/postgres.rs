//! PostgreSQL: a deleted row stays in its table, its indexes, the planner's statistics and the write-ahead log.
//!
//! `VACUUM FULL` writes every table that holds personal data anew, `ANALYZE` the statistics, whose table is then written
//! anew too (a table that has become empty is helped to forget its own); the log is turned over until every segment of it has been replaced. None of this waits inside a transaction, and
//! every lock is held for one table only. What was archived or backed up before is the operator's own.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, postgres::PgArguments, query::Query};

use super::ScrubError;
use crate::{engine::pause, registry};

/// How long transactions that began before the last erasure are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to get a table to oneself.
const ATTEMPTS: u32 = 10;

pub(super) async fn scrub(pool: &PgPool, log: bool) -> Result<(), ScrubError> {
    let mut connection = pool.acquire().await?;
    sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await?;
    let done = everything(&mut connection, log).await;
    sqlx::query("SET statement_timeout = 30000").execute(&mut *connection).await?;
    done
}

async fn everything(connection: &mut PgConnection, log: bool) -> Result<(), ScrubError> {
    wait_for_old_snapshots(connection).await?;
    let citus: Option<(i32,)> =
        sqlx::query_as("SELECT 1 FROM pg_extension WHERE extname = 'citus'").fetch_optional(&mut *connection).await?;
    let tables = registry::TABLES.iter().map(|table| (table.name, table.rewrite)).chain(registry::BESIDE.iter().copied());
    for (table, rewrite) in tables {
        rewrite_table(connection, table, rewrite, citus.is_none()).await?;
        // Citus does not change the type of a column that rows are distributed by, not even to its own.
        if citus.is_none() {
            forget_statistics(connection, table).await?;
        }
    }
    // What was sampled of people's values before is a dead row of this table, and dead only since a moment: whoever began meanwhile may
    // still see it.
    wait_for_old_snapshots(connection).await?;
    rewrite_table(connection, "pg_catalog.pg_statistic", "VACUUM (FULL) pg_catalog.pg_statistic", true).await?;
    if log { turn_the_log_over(connection).await } else { Ok(()) }
}

/// Rows that a running transaction may still see are kept by every rewrite: those that began before now must end first. Writers of
/// other databases too: a snapshot that is taken here meanwhile goes back to the oldest of all of them.
async fn wait_for_old_snapshots(connection: &mut PgConnection) -> Result<(), ScrubError> {
    let (now,): (String,) = sqlx::query_as("SELECT pg_current_xact_id()::xid::text").fetch_one(&mut *connection).await?;
    let began = Instant::now();
    loop {
        let (open,): (i64,) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM pg_stat_activity
                     WHERE pid <> pg_backend_pid()
                       AND (age(backend_xid) >= age($1::text::xid)
                            OR (datname = current_database() OR datname IS NULL) AND age(backend_xmin) >= age($1::text::xid)))
                  + (SELECT count(*) FROM pg_replication_slots WHERE age(xmin) >= age($1::text::xid))
                  + (SELECT count(*) FROM pg_prepared_xacts
                     WHERE age(transaction) >= age($1::text::xid))",
        )
        .bind(&now)
        .fetch_one(&mut *connection)
        .await?;
        if open == 0 {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(ScrubError::NotYet(format!(
                "{open} transactions or replication slots from before the last erasure are still open, and keep what they may read; \
                 see pg_stat_activity, pg_prepared_xacts and pg_replication_slots, and try again when they have ended"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn rewrite_table(connection: &mut PgConnection, table: &str, rewrite: &'static str, check: bool) -> Result<(), ScrubError> {
    let before = file_of(connection, table).await?;
    with_the_table(connection, || sqlx::query(rewrite)).await?;
    // What a role may not rewrite is left out with no more than a warning.
    if check && file_of(connection, table).await? == before {
        return Err(ScrubError::NotYet(format!(
            "{table} was not written anew: this role may not do so; run `people scrub` as the owner of the database"
        )));
    }
    Ok(())
}

/// Carries out what needs a table to itself.
async fn with_the_table<'q>(
    connection: &mut PgConnection,
    statement: impl Fn() -> Query<'q, Postgres, PgArguments>,
) -> Result<(), ScrubError> {
    for attempt in 0.. {
        match statement().execute(&mut *connection).await {
            Ok(_) => break,
            // The table is in use, and writers would have queued up behind the wait: let them go first.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") && attempt + 1 < ATTEMPTS => {
                pause(attempt * 10).await
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A table without rows keeps the statistics of those it had: `ANALYZE` finds nothing to put in their place. They go when a
/// column is given its own type again.
async fn forget_statistics(connection: &mut PgConnection, table: &str) -> Result<(), ScrubError> {
    let (filled,): (bool,) =
        sqlx::query_as(AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM {table})"))).fetch_one(&mut *connection).await?;
    if filled {
        return Ok(());
    }
    let columns: Vec<(String,)> = sqlx::query_as(
        "SELECT format(
                    'ALTER COLUMN %I TYPE %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %I', c.collname) ELSE '' END
                )
         FROM pg_stats AS s
         JOIN pg_attribute AS a ON a.attrelid = $1::text::regclass AND a.attname = s.attname
         JOIN pg_type AS t ON t.oid = a.atttypid
         LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
         WHERE s.schemaname = current_schema() AND s.tablename = $1",
    )
    .bind(table)
    .fetch_all(&mut *connection)
    .await?;
    if columns.is_empty() {
        return Ok(());
    }
    let columns: Vec<String> = columns.into_iter().map(|(column,)| column).collect();
    let text = format!("ALTER TABLE {table} {}", columns.join(", "));
    with_the_table(connection, || sqlx::query(AssertSqlSafe(text.clone()))).await
}

async fn file_of(connection: &mut PgConnection, table: &str) -> Result<Option<String>, ScrubError> {
    let (file,): (Option<String>,) =
        sqlx::query_as("SELECT pg_relation_filenode($1::text::regclass)::text").bind(table).fetch_one(&mut *connection).await?;
    Ok(file)
}

/// Replaces every segment of the write-ahead log that could hold what was erased. A segment that is no longer needed is
/// removed, or kept under a later name with its old bytes; switching fills a segment to its end, so going through all names
/// there are leaves none of them.
async fn turn_the_log_over(connection: &mut PgConnection) -> Result<(), ScrubError> {
    let (may,): (bool,) = sqlx::query_as(
        "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE') AND has_function_privilege('pg_ls_waldir()', 'EXECUTE')
                AND (pg_has_role('pg_checkpoint', 'USAGE') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !may {
        return Err(ScrubError::NotYet(
            "the tables are clean, the write-ahead log is not: this role needs EXECUTE on pg_switch_wal() and the roles pg_monitor and \
             pg_checkpoint; or run `people scrub --leave-log` where the log is cleared by other means"
                .to_owned(),
        ));
    }
    checkpoint(connection).await?;
    let first_clean = switch(connection).await?;
    checkpoint(connection).await?;
    let last = segment(connection, "SELECT max(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'").await?;
    // As many as there are names, and some for writers who take their share meanwhile.
    for _ in 0..100_000 {
        if switch(connection).await? > last {
            break;
        }
    }
    checkpoint(connection).await?;
    let oldest = segment(connection, "SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'").await?;
    if oldest < first_clean {
        return Err(ScrubError::NotYet(
            "the tables are clean, the write-ahead log is not: the server keeps old segments for a replication slot, for the archive, or by \
             wal_keep_size; clear these and try again, or run `people scrub --leave-log`"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn checkpoint(connection: &mut PgConnection) -> Result<(), ScrubError> {
    sqlx::query("CHECKPOINT").execute(&mut *connection).await?;
    Ok(())
}

/// Ends the segment in use; answers the name of the next.
async fn switch(connection: &mut PgConnection) -> Result<String, ScrubError> {
    // A segment in which nothing was written is not ended.
    sqlx::query("SELECT pg_logical_emit_message(false, 'people', 'scrub')").execute(&mut *connection).await?;
    sqlx::query("SELECT pg_switch_wal()").execute(&mut *connection).await?;
    sqlx::query("SELECT pg_logical_emit_message(false, 'people', 'scrub')").execute(&mut *connection).await?;
    segment(connection, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())").await
}

async fn segment(connection: &mut PgConnection, question: &'static str) -> Result<String, ScrubError> {
    let (name,): (Option<String>,) = sqlx::query_as(question).fetch_one(&mut *connection).await?;
    Ok(name.unwrap_or_default())
}
