//! A watch that is kept in debug builds, and so by every story: on SQLite, a statement about a list of rows looks each up.
//!
//! SQLite takes a workspace for ten rows. It then prefers to read all of them to looking a list up in an index that is not
//! the table's own, which nobody notices until a workspace is large: once, each event that went on with a session read all
//! sessions there were. `rows.rs` and `dialect.rs` have the words that make it look up.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

/// Tables that hold one row of a workspace, or as many as somebody makes by hand.
const SMALL: &[&str] = &[
    "api_keys",
    "change_heads",
    "duplicate_censuses",
    "duplicate_cursors",
    "label_rules",
    "labels",
    "properties",
    "segments",
    "webhooks",
    "workspaces",
];

/// Read as a whole because all of it is meant: every suppression when the key changes, and the few rows of an index that
/// holds nothing but refused identities.
const WHOLE: &[&str] = &["suppressions", "events_with_refused", "profile_history_of_refusals"];

/// Texts whose plans are right; one that is not fails each time, so that no caller who tries again hides it.
static RIGHT: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Fails where a step of the plan knows nothing but the workspace.
pub(crate) async fn watch(connection: &mut SqliteConnection, text: &str) -> Result<(), sqlx::Error> {
    let has_rows = text.contains("jsonb_each(") || text.contains("FROM (VALUES (");
    if !has_rows || RIGHT.lock().unwrap_or_else(PoisonError::into_inner).contains(text) {
        return Ok(());
    }
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"))).persistent(false).fetch_all(connection).await?;
    for step in plan {
        let step: String = step.try_get("detail")?;
        let table = step.strip_prefix("SEARCH ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let is_meant = step.split(' ').any(|word| WHOLE.contains(&word));
        let is_small = SMALL.iter().any(|small| *small == table || text.contains(&format!("{small} AS {table} ")));
        if !is_small && !is_meant && step.ends_with("(workspace_id=?)") {
            return Err(sqlx::Error::Protocol(format!("this reads a workspace ({step}): {text}")));
        }
    }
    RIGHT.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    use super::watch;

    #[tokio::test]
    async fn who_reads_a_workspace_is_found_out_each_time() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
        db.execute(
            "CREATE TABLE visits (
                 workspace_id BLOB NOT NULL, person BLOB NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, channel TEXT,
                 PRIMARY KEY (workspace_id, person, at, id)
             ) WITHOUT ROWID;
             CREATE UNIQUE INDEX visits_by_id ON visits (workspace_id, id);
             CREATE INDEX visits_by_channel ON visits (workspace_id, channel)",
        )
        .await
        .expect("tables");
        let by_key = "DELETE FROM visits WHERE workspace_id = $1 AND (person, at, id) IN (
                          SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($2))";
        let by_id = "DELETE FROM visits WHERE workspace_id = $1 AND id IN (SELECT value ->> 0 FROM jsonb_each($2))";
        assert!(watch(&mut db, by_key).await.is_ok(), "each is looked up by its key");
        for _ in 0..2 {
            assert!(watch(&mut db, by_id).await.is_err(), "all of the workspace is read for its ids");
        }
    }
}
