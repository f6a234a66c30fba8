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
