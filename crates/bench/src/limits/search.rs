//! The limit of a search: the two raw plans for the first 25 by recency, and for each query the better of both.
//!
//! Neither plan is fit for every text: a walk of the recency index ends at once for common texts and reads everyone for
//! rare ones; the trigram index finds rare texts at once and drags in everyone for common ones. Each plan is stopped
//! when it has lost to the other.

use std::time::{Duration, Instant};

use deunicode::deunicode_char;
use sqlx::{AssertSqlSafe, Executor, PgConnection, SqliteConnection};
use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};
use uuid::Uuid;

use crate::{
    Result,
    database::{Database, Engine},
};

/// Rows of a page.
const PAGE: u32 = 25;
/// Nobody waits longer for a search; a plan that has not ended by then is stopped.
const LONGEST: Duration = Duration::from_secs(5);

/// Runs raw searches beside the server, over connections of its own.
pub struct RawSearch {
    workspace: Uuid,
    connection: Raw,
}

enum Raw {
    Sqlite(SqliteConnection),
    /// Each plan has a connection whose planner is held to it.
    Postgres {
        walk: PgConnection,
        trigram: PgConnection,
    },
}

impl std::fmt::Debug for RawSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawSearch").finish_non_exhaustive()
    }
}

impl RawSearch {
    pub async fn open(database: &Database, workspace: Uuid) -> Result<Self> {
        let connection = match database.engine {
            Engine::Sqlite => Raw::Sqlite(database.sqlite().await?),
            Engine::Postgres => {
                let (mut walk, mut trigram) = (database.postgres().await?, database.postgres().await?);
                walk.execute("SET jit = off; SET enable_bitmapscan = off; SET enable_seqscan = off; SET enable_sort = off").await?;
                trigram.execute("SET jit = off").await?;
                Raw::Postgres { walk, trigram }
            }
        };
        Ok(Self { workspace, connection })
    }
}

/// How long the better raw plan takes for a text as a person types it.
pub async fn search(raw: &mut RawSearch, typed: &str) -> Result<Duration> {
    let words: Vec<String> = fold(typed).split_whitespace().map(str::to_owned).collect();
    let mut best = LONGEST;
    // The trigram index knows no shorter word.
    if words.iter().any(|word| word.chars().count() >= 3) {
        best = raw.trigram(&words, best).await?.unwrap_or(best);
    }
    Ok(raw.walk(&words, best).await?.unwrap_or(best))
}

impl RawSearch {
    /// `None` when stopped.
    async fn walk(&mut self, words: &[String], within: Duration) -> Result<Option<Duration>> {
        match &mut self.connection {
            Raw::Sqlite(connection) => {
                let tests: String = (0..words.len()).map(|n| format!(" AND instr(p.search_text, ${}) > 0", n + 2)).collect();
                let sql = format!(
                    "SELECT d.document
                     FROM (SELECT id, last_seen_at FROM profiles p INDEXED BY profiles_by_last_seen
                           WHERE p.workspace_id = $1{tests}
                           ORDER BY p.last_seen_at DESC, p.id DESC LIMIT {PAGE}) AS page
                     JOIN profile_documents AS d ON d.workspace_id = $1 AND d.profile_id = page.id"
                );
                run_sqlite(connection, sql, self.workspace, words.to_vec(), within).await
            }
            Raw::Postgres { walk, .. } => run_postgres(walk, like_page(false, words.len()), self.workspace, words, within).await,
        }
    }

    async fn trigram(&mut self, words: &[String], within: Duration) -> Result<Option<Duration>> {
        match &mut self.connection {
            Raw::Sqlite(connection) => {
                let tests: String = (0..words.len()).map(|n| format!(" AND instr(p.search_text, ${}) > 0", n + 3)).collect();
                let sql = format!(
                    "SELECT d.document
                     FROM (SELECT p.id, p.last_seen_at FROM profile_search AS s CROSS JOIN profiles AS p ON p.rank = s.rowid
                           WHERE s.profile_search MATCH $2 AND p.workspace_id = $1{tests}
                           ORDER BY p.last_seen_at DESC, p.id DESC LIMIT {PAGE}) AS page
                     JOIN profile_documents AS d ON d.workspace_id = $1 AND d.profile_id = page.id"
                );
                let mut values = vec![trigrams(words)];
                values.extend_from_slice(words);
                run_sqlite(connection, sql, self.workspace, values, within).await
            }
            Raw::Postgres { trigram, .. } => run_postgres(trigram, like_page(true, words.len()), self.workspace, words, within).await,
        }
    }
}

/// Walks in order until the page is full, or finds all matches before it sorts them.
fn like_page(all_first: bool, words: usize) -> String {
    let tests: String = (0..words).map(|n| format!(" AND search_text LIKE ${}", n + 2)).collect();
    let matches = format!("SELECT id, last_seen_at FROM profiles WHERE workspace_id = $1{tests}");
    let order = format!("ORDER BY last_seen_at DESC, id DESC LIMIT {PAGE}");
    let documents = "JOIN profile_documents AS d ON d.workspace_id = $1 AND d.profile_id = page.id";
    if all_first {
        format!("WITH matches AS MATERIALIZED ({matches}) SELECT d.document FROM (SELECT id FROM matches {order}) AS page {documents}")
    } else {
        format!("SELECT d.document FROM ({matches} {order}) AS page {documents}")
    }
}

async fn run_sqlite(
    connection: &mut SqliteConnection,
    sql: String,
    workspace: Uuid,
    values: Vec<String>,
    within: Duration,
) -> Result<Option<Duration>> {
    let deadline = Instant::now() + within;
    connection.lock_handle().await?.set_progress_handler(2_000, move || Instant::now() < deadline);
    let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).bind(workspace);
    for value in values {
        query = query.bind(value);
    }
    let begun = Instant::now();
    let done = query.fetch_all(&mut *connection).await;
    let took = begun.elapsed();
    connection.lock_handle().await?.remove_progress_handler();
    ended(done, took)
}

async fn run_postgres(
    connection: &mut PgConnection,
    sql: String,
    workspace: Uuid,
    words: &[String],
    within: Duration,
) -> Result<Option<Duration>> {
    connection.execute(AssertSqlSafe(format!("SET statement_timeout = {}", within.as_millis() + 1))).await?;
    let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).bind(workspace);
    for word in words {
        query = query.bind(like(word));
    }
    let begun = Instant::now();
    let done = query.fetch_all(&mut *connection).await;
    let took = begun.elapsed();
    ended(done, took)
}

/// `None` when the plan was stopped: SQLITE_INTERRUPT, or query_canceled of PostgreSQL.
fn ended(done: sqlx::Result<Vec<String>>, took: Duration) -> Result<Option<Duration>> {
    match done {
        Ok(_) => Ok(Some(took)),
        Err(e) if e.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "9" || code == "57014") => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// `%`, `_` and `\` are letters.
fn like(word: &str) -> String {
    let mut pattern = String::from("%");
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Every trigram of every word, for an index that knows only which rows hold which trigram.
fn trigrams(words: &[String]) -> String {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        let letters: Vec<char> = word.chars().collect();
        for three in letters.windows(3) {
            let quoted = format!("\"{}\"", three.iter().collect::<String>().replace('"', "\"\""));
            if !all.contains(&quoted) {
                all.push(quoted);
            }
        }
    }
    all.join(" AND ")
}

/// Folds as the server does: NFKD, marks dropped, lower case, Latin letters spelled in ASCII.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let lower = text.nfkd().filter(|c| canonical_combining_class(*c) == 0).flat_map(char::to_lowercase);
    for c in lower.nfkd().filter(|c| canonical_combining_class(*c) == 0) {
        match deunicode_char(c).filter(|_| matches!(c, '\u{C0}'..='\u{24F}') && c.is_alphabetic()) {
            Some(ascii) => out.push_str(&ascii.to_lowercase()),
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{fold, like, trigrams};

    #[test]
    fn needles_are_folded_quoted_and_escaped() {
        assert_eq!(fold("Łukasz Ærø ÉLODIE"), "lukasz aero elodie");
        assert_eq!(like("100%_\\"), "%100\\%\\_\\\\%");
        assert_eq!(trigrams(&["mari".into(), "o\"ba".into(), "ab".into()]), r#""mar" AND "ari" AND "o""b" AND """ba""#);
    }
}
