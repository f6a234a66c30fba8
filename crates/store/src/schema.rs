//! Bringing a database to the schema this program was built with.

use crate::{
    Store, StoreError,
    engine::{Pools, pause},
};

static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/sqlite");
static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/postgres");

/// Distributed by workspace, in the order their foreign keys need.
const DISTRIBUTED: &[&str] = &[
    "change_heads",
    "changes",
    "properties",
    "search_refreshes",
    "labels",
    "segments",
    "idempotency_answers",
    "idempotency_profiles",
    "erasures",
    "suppressions",
    "profiles",
    "profile_documents",
    "profile_identities",
    "profile_labels",
    "profile_segments",
    "profile_channels",
    "profile_consents",
    "consent_ledger",
    "events",
    "sessions",
    "duplicate_keys",
    "duplicate_suggestions",
    "duplicate_censuses",
    "duplicate_cursors",
    "profile_redirects",
    "merges",
    "label_rules",
    "profile_due",
    "merge_sessions",
    "merges_erased",
    "profile_history",
    "jobs",
    "job_errors",
    "job_inputs",
    "rejected_messages",
    "audit_log",
    "webhooks",
    "webhook_deliveries",
];

impl Store {
    /// Applies what is missing; several instances may do so at once. A newer database than this program is accepted, so
    /// that instances can be replaced one by one.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |e: sqlx::migrate::MigrateError| match e {
            sqlx::migrate::MigrateError::Execute(e) | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => StoreError::from(e),
            _ => StoreError::Unreadable("the schema of the database is not one of this program's"),
        };
        for attempt in 0..20 {
            let done = match &self.pools {
                Pools::Sqlite { writer, .. } => tolerant(&SQLITE).run(writer).await.map_err(failed),
                Pools::Postgres { pool, .. } => tolerant(&POSTGRES).run(pool).await.map_err(failed),
            };
            match done {
                // Somebody else is writing, or migrating too.
                Err(StoreError::Raced) => pause(attempt).await,
                Err(error) => return Err(error),
                Ok(()) => {
                    return match &self.pools {
                        Pools::Postgres { pool, .. } => distribute(pool).await,
                        Pools::Sqlite { .. } => Ok(()),
                    };
                }
            }
        }
        Err(StoreError::Raced)
    }
}

/// Accepts migrations of a newer program that this one does not know.
fn tolerant(migrator: &'static sqlx::migrate::Migrator) -> sqlx::migrate::Migrator {
    sqlx::migrate::Migrator { migrations: migrator.migrations.clone(), ignore_missing: true, ..sqlx::migrate::Migrator::DEFAULT }
}

/// On Citus, spreads the tables by workspace. Does nothing where the extension is not installed or the work is done.
async fn distribute(pool: &sqlx::PgPool) -> Result<(), StoreError> {
    let citus: Option<(String,)> =
        sqlx::query_as("SELECT extname::text FROM pg_extension WHERE extname = 'citus'").fetch_optional(pool).await?;
    if citus.is_none() {
        return Ok(());
    }
    let known = "SELECT logicalrelid::text FROM pg_dist_partition";
    let done: Vec<(String,)> = sqlx::query_as(known).fetch_all(pool).await?;
    let is_done = |table: &str| done.iter().any(|(name,)| name == table);
    if !is_done("workspaces") {
        sqlx::query("SELECT create_distributed_table('workspaces', 'id')").execute(pool).await?;
    }
    if !is_done("api_keys") {
        sqlx::query("SELECT create_reference_table('api_keys')").execute(pool).await?;
    }
    for table in DISTRIBUTED.iter().filter(|table| !is_done(table)) {
        sqlx::query("SELECT create_distributed_table($1::regclass, 'workspace_id', colocate_with => 'workspaces')")
            .bind(*table)
            .execute(pool)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _, SqliteConnection, migrate::Migrator};

    use super::SQLITE;

    fn up_to(version: i64) -> Migrator {
        let migrations = SQLITE.migrations.iter().filter(|migration| migration.version <= version).cloned().collect::<Vec<_>>();
        Migrator { migrations: migrations.into(), ..Migrator::DEFAULT }
    }

    /// Migration 0023 changes the schema's own text: rows of before are as they were, and no row is left that refers to nothing.
    #[tokio::test]
    async fn a_reference_to_nobody_is_refused_at_the_end_of_a_transaction() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
        up_to(22).run_direct(None, &mut db, false).await.expect("the schema of before");
        db.execute(
            "INSERT INTO workspaces (id, name, created_at) VALUES (x'01', 'w', 0);
             INSERT INTO profiles (workspace_id, id, created_at, updated_at, name_key, search_text, folded, comparables)
             VALUES (x'01', x'02', 0, 0, '', '', '{}', '{}');
             INSERT INTO profile_identities (workspace_id, kind, value, profile_id, origin_profile_id, created_at)
             VALUES (x'01', 'email', 'ada@example.com', x'02', x'02', 0);
             INSERT INTO profiles (workspace_id, id, created_at, updated_at, name_key, search_text, folded, comparables)
             VALUES (x'01', x'05', 0, 0, '', '', '{}', '{}');
             INSERT INTO profile_documents (workspace_id, profile_id, version, last_seen_at, seen_day, activity, document)
             VALUES (x'01', x'05', 1, 0, 0, '{}', '{}');
             INSERT INTO sessions (
                 workspace_id, profile_id, ended_at, id, origin_profile_id, channel, sender_id, started_at, event_count, properties
             )
             VALUES (x'01', x'05', -1, x'03', x'05', 'web', NULL, -5, 2, '{}'),
                    (x'01', x'05', 86400000000, x'04', x'05', 'web', 'visit', 86399999999, 3, '{}');
             INSERT INTO profiles (workspace_id, id, created_at, updated_at, name_key, search_text, folded, comparables)
             VALUES (x'01', x'08', 0, 0, '', '', '{}', '{}');
             INSERT INTO profile_documents (workspace_id, profile_id, version, last_seen_at, seen_day, activity, document)
             VALUES (x'01', x'08', 1, 0, 0, '{}', '{}');
             INSERT INTO events (workspace_id, profile_id, occurred_at, id, type, properties, source, received_at, origin_profile_id)
             VALUES (x'01', x'05', 1, x'06', 'order', '{}', '', 1, x'05'), (x'01', x'05', 2, x'07', 'page', '{}', '', 2, x'05')",
        )
        .await
        .expect("somebody");
        up_to(i64::MAX).run_direct(None, &mut db, false).await.expect("the schema of now");
        let whole: (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut db).await.expect("a check");
        assert_eq!(whole.0, "ok");
        let (there,): (i64,) = sqlx::query_as("SELECT count(*) FROM profile_identities").fetch_one(&mut db).await.expect("a count");
        assert_eq!(there, 1);
        let sessions: Vec<(i64, i64, i64, Option<String>)> =
            sqlx::query_as("SELECT ended_day, started_at, event_count, sender_id FROM sessions ORDER BY ended_day")
                .fetch_all(&mut db)
                .await
                .expect("sessions");
        let days = [(-1, -5, 2, None), (1, 86_399_999_999, 3, Some("visit".to_owned()))];
        assert_eq!(sessions, days, "each on the day it ended, by migration 0024");
        let counts: Vec<(i64,)> =
            sqlx::query_as("SELECT event_count FROM profile_documents ORDER BY profile_id").fetch_all(&mut db).await.expect("documents");
        assert_eq!(counts, [(2,), (0,)], "how many events each has, by migration 0025");
        let (by_type,): (i64,) = sqlx::query_as("SELECT count(*) FROM events INDEXED BY events_by_type WHERE in_long_timeline")
            .fetch_one(&mut db)
            .await
            .expect("a count");
        assert_eq!(by_type, 2, "what was found by its type still is");
        let (at_once,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM sqlite_schema
             WHERE name IN ('consent_ledger', 'duplicate_keys', 'events', 'profile_channels', 'profile_consents', 'profile_documents',
                            'profile_history', 'profile_identities', 'profile_labels', 'sessions')
               AND sql NOT LIKE '%DEFERRABLE INITIALLY DEFERRED%'",
        )
        .fetch_one(&mut db)
        .await
        .expect("a count");
        assert_eq!(at_once, 0, "a table still has its references checked at the end of each statement");
        let identity = |person: &str| {
            format!(
                "INSERT OR FAIL INTO profile_identities (workspace_id, kind, value, profile_id, origin_profile_id, created_at)
                 VALUES (x'01', 'email', 'of {person}', x'{person}', x'{person}', 0)"
            )
        };
        for (table, referring) in [
            ("profile_identities", identity("09")),
            (
                "profile_channels",
                "INSERT INTO profile_channels (workspace_id, profile_id, channel) VALUES (x'01', x'02', 'web')".to_owned(),
            ),
        ] {
            let mut tx = db.begin().await.expect("a transaction");
            tx.execute(sqlx::AssertSqlSafe(referring)).await.unwrap_or_else(|e| panic!("{table} refused it at once: {e}"));
            let refused = tx.commit().await.expect_err(table);
            assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("787"), "{table}");
        }
        db.execute(sqlx::AssertSqlSafe(identity("02"))).await.expect("an identity of somebody who is there");
    }
}
