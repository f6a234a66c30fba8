//! The seam to the driver: a text with `$1, $2, …` and the values bound to it.
//!
//! Texts are `&'static str`, or templates put together from static pieces by [`crate::dialect`] and
//! [`crate::filter_sql`]; values are bound and never become text. This file holds the only `AssertSqlSafe` but for
//! `plans.rs`, which asks for the plan of a text that was made here.

use std::{borrow::Cow, sync::Arc};

use people_domain::Timestamp;
use sqlx::{
    Arguments, AssertSqlSafe, FromRow, SqlSafeStr, SqlStr,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use crate::{
    StoreError,
    dialect::{self, Engine},
    engine::Tx,
    rows::Rows,
};

/// One value, or a column of them.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Bool(bool),
    Int(Option<i64>),
    Float(f64),
    Text(Option<String>),
    Uuid(Option<Uuid>),
    Time(Option<Timestamp>),
    /// JSON text, `jsonb` in PostgreSQL.
    Json(String),
    Bytes(Vec<u8>),
    BoolList(Vec<Option<bool>>),
    IntList(Vec<Option<i64>>),
    FloatList(Vec<Option<f64>>),
    TextList(Vec<Option<String>>),
    UuidList(Vec<Option<Uuid>>),
    TimeList(Vec<Option<Timestamp>>),
}

macro_rules! into_arg {
    ($($from:ty => |$value:ident| $into:expr),+ $(,)?) => {$(
        impl From<$from> for Arg {
            fn from($value: $from) -> Self { $into }
        }
    )+};
}

into_arg! {
    bool => |v| Self::Bool(v),
    i64 => |v| Self::Int(Some(v)),
    Option<i64> => |v| Self::Int(v),
    f64 => |v| Self::Float(v),
    &str => |v| Self::Text(Some(v.to_owned())),
    String => |v| Self::Text(Some(v)),
    Option<String> => |v| Self::Text(v),
    Option<&str> => |v| Self::Text(v.map(str::to_owned)),
    Vec<u8> => |v| Self::Bytes(v),
    Uuid => |v| Self::Uuid(Some(v)),
    Option<Uuid> => |v| Self::Uuid(v),
    Timestamp => |v| Self::Time(Some(v)),
    Option<Timestamp> => |v| Self::Time(v),
    people_domain::id::ProfileId => |v| Self::Uuid(Some(v.0)),
    people_domain::id::WorkspaceId => |v| Self::Uuid(Some(v.0)),
    people_domain::id::RecordId => |v| Self::Uuid(Some(v.0)),
}

/// A statement: text, values, and at most one source of rows spelled `{rows}` in the text; or, where the rows are one
/// list of values that a column is looked up by, `column {among}`, with `FROM {walk} table` before it where the column
/// leads a second index.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    text: Cow<'static, str>,
    args: Vec<Arg>,
    rows: Option<Rows>,
    /// Whether each of the rows is written by itself, whatever others there are.
    each: bool,
    /// Whether it is to touch every one of the rows.
    whole: bool,
}

/// `SELECT …` with values to follow.
pub(crate) fn sql(text: &'static str) -> Sql {
    Sql { text: Cow::Borrowed(text), args: Vec::new(), rows: None, each: false, whole: false }
}

impl Sql {
    /// A text put together from static pieces, with the values its placeholders count.
    pub(crate) fn composed(text: String, args: Vec<Arg>) -> Self {
        Self { text: Cow::Owned(text), args, rows: None, each: false, whole: false }
    }

    pub(crate) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Values a set-based statement works on; their columns follow the other placeholders.
    pub(crate) fn rows(mut self, rows: Rows) -> Self {
        self.rows = Some(rows);
        self
    }

    /// The same, of a statement that writes each row by itself: many may then be written in several goes.
    pub(crate) fn each(self, rows: Rows) -> Self {
        Self { each: true, ..self.rows(rows) }
    }

    /// Raced where it leaves out one of the rows: somebody else was first.
    pub(crate) fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    fn render(self, engine: Engine) -> (SqlStr, Vec<Arg>) {
        let mut args = self.args;
        let mut text = self.text;
        if let Some(rows) = self.rows {
            let first = args.len() + 1;
            let (spelled, columns) = if text.contains("{walk}") {
                let (before, among, list) = rows.render_walk(engine, first);
                (text.replace("{walk}", &before).replace("{among}", &among), list)
            } else if text.contains("{among}") {
                let (among, list) = rows.render_list(engine, first);
                (text.replace("{among}", &among), list)
            } else {
                let (source, columns) = rows.render(engine, first);
                (text.replace("{rows}", &source), columns)
            };
            text = Cow::Owned(spelled);
            args.extend(columns);
        }
        if text.contains('{') {
            text = Cow::Owned(dialect::spell(&text, engine));
        }
        // SQLite binds a missing value as NULL without a word.
        debug_assert!(
            (1..=args.len()).all(|n| text.contains(&format!("${n}"))) && !text.contains(&format!("${}", args.len() + 1)),
            "{} values for: {text}",
            args.len()
        );
        let text = match text {
            Cow::Borrowed(text) => text.into_sql_str(),
            // Only static pieces reach this text: see the module's documentation.
            Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
        };
        (text, args)
    }
}

/// A statement as an engine is given it, with the values in the engine's own form.
#[derive(Debug)]
pub(crate) struct Spelt {
    /// Mostly one; of many rows that are written each by itself, one for every piece.
    goes: Vec<(SqlStr, Bound)>,
    /// Rows it has to touch.
    least: u64,
}

#[derive(Debug)]
enum Bound {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

impl Sql {
    /// Writes it down. For many rows that takes nearly as long as carrying it out, and needs no connection.
    pub(crate) fn spell(mut self, engine: Engine) -> Result<Spelt, StoreError> {
        let rows = self.rows.as_ref().filter(|_| self.whole).map_or(0, Rows::len);
        let least = u64::try_from(rows).unwrap_or(u64::MAX);
        let mut goes = if engine == Engine::Sqlite { self.take_pieces()? } else { Vec::new() };
        if goes.is_empty() || self.rows.as_ref().is_some_and(|rows| !rows.is_empty()) {
            let (text, args) = self.render(engine);
            let bound = match engine {
                Engine::Sqlite => Bound::Sqlite(sqlite_args(args)?),
                Engine::Postgres => Bound::Postgres(postgres_args(args)?),
            };
            goes.push((text, bound));
        }
        Ok(Spelt { goes, least })
    }

    /// The first rows, where many are written each by itself.
    fn take_pieces(&mut self) -> Result<Vec<(SqlStr, Bound)>, StoreError> {
        let Some(rows) = self.rows.as_mut().filter(|_| self.each) else { return Ok(Vec::new()) };
        let pieces = rows.take_pieces();
        if pieces.is_empty() {
            return Ok(Vec::new());
        }
        let (source, many) = rows.render_piece();
        // The driver counts values without a number from the first one on, so those that have one follow them.
        let text = moved(&self.text, many).replace("{rows}", &source);
        let text: Arc<str> = dialect::spell(&text, Engine::Sqlite).into();
        let piece = |mut values: Vec<Arg>| {
            values.extend(self.args.iter().cloned());
            Ok((AssertSqlSafe(Arc::clone(&text)).into_sql_str(), Bound::Sqlite(sqlite_args(values)?)))
        };
        pieces.into_iter().map(piece).collect()
    }
}

/// The text with every `$n` as `$(n + by)`.
fn moved(text: &str, by: usize) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = part[..digits].parse().map_or_else(|_| part[..digits].to_owned(), |n: usize| (n + by).to_string());
        out.extend(["$", &number, &part[digits..]]);
    }
    out
}

/// A row both engines can give.
pub(crate) trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

fn sqlite_args(args: Vec<Arg>) -> Result<SqliteArguments, StoreError> {
    let mut out = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Bool(v) => Arguments::add(&mut out, i64::from(v)),
            Arg::Int(v) => Arguments::add(&mut out, v),
            Arg::Float(v) => Arguments::add(&mut out, v),
            Arg::Text(v) => Arguments::add(&mut out, v),
            Arg::Uuid(v) => Arguments::add(&mut out, v),
            Arg::Time(v) => Arguments::add(&mut out, v.map(Timestamp::micros)),
            Arg::Json(v) => Arguments::add(&mut out, v),
            Arg::Bytes(v) => Arguments::add(&mut out, v),
            Arg::BoolList(_) | Arg::IntList(_) | Arg::FloatList(_) | Arg::TextList(_) | Arg::UuidList(_) | Arg::TimeList(_) => {
                return Err(StoreError::Unreadable("a list reached SQLite unrendered"));
            }
        }
        .map_err(|e| StoreError::Fault(sqlx::Error::Encode(e)))?;
    }
    Ok(out)
}

fn postgres_args(args: Vec<Arg>) -> Result<PgArguments, StoreError> {
    let mut out = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Bool(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::Float(v) => out.add(v),
            Arg::Text(v) => out.add(v),
            Arg::Uuid(v) => out.add(v),
            Arg::Time(v) => out.add(v.map(Timestamp::to_offset)),
            Arg::Json(v) => out.add(v),
            Arg::Bytes(v) => out.add(v),
            Arg::BoolList(v) => out.add(v),
            Arg::IntList(v) => out.add(v),
            Arg::FloatList(v) => out.add(v),
            Arg::TextList(v) => out.add(v),
            Arg::UuidList(v) => out.add(v),
            Arg::TimeList(v) => out.add(v.into_iter().map(|t| t.map(Timestamp::to_offset)).collect::<Vec<_>>()),
        }
        .map_err(|e| StoreError::Fault(sqlx::Error::Encode(e)))?;
    }
    Ok(out)
}

/// See `plans.rs`.
macro_rules! watched {
    ($connection:ident, $text:ident) => {
        #[cfg(debug_assertions)]
        crate::plans::watch(&mut *$connection, $text.as_str()).await?;
    };
}

impl Tx {
    pub(crate) async fn all<T: Row>(&mut self, sql: Sql) -> Result<Vec<T>, StoreError> {
        let (text, args) = sql.render(self.engine());
        Ok(match self {
            Self::Sqlite(tx) => {
                watched!(tx, text);
                sqlx::query_as_with(text, sqlite_args(args)?).fetch_all(&mut **tx).await?
            }
            Self::Postgres(tx) => sqlx::query_as_with(text, postgres_args(args)?).fetch_all(&mut **tx).await?,
        })
    }

    pub(crate) async fn optional<T: Row>(&mut self, sql: Sql) -> Result<Option<T>, StoreError> {
        let (text, args) = sql.render(self.engine());
        Ok(match self {
            Self::Sqlite(tx) => {
                watched!(tx, text);
                sqlx::query_as_with(text, sqlite_args(args)?).fetch_optional(&mut **tx).await?
            }
            Self::Postgres(tx) => sqlx::query_as_with(text, postgres_args(args)?).fetch_optional(&mut **tx).await?,
        })
    }

    /// Rows changed.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64, StoreError> {
        let spelt = sql.spell(self.engine())?;
        self.run_spelt(spelt).await
    }

    pub(crate) async fn run_spelt(&mut self, Spelt { goes, least }: Spelt) -> Result<u64, StoreError> {
        let mut touched = 0;
        for (text, bound) in goes {
            touched += match (&mut *self, bound) {
                (Self::Sqlite(tx), Bound::Sqlite(args)) => {
                    watched!(tx, text);
                    sqlx::query_with(text, args).execute(&mut **tx).await?.rows_affected()
                }
                (Self::Postgres(tx), Bound::Postgres(args)) => sqlx::query_with(text, args).execute(&mut **tx).await?.rows_affected(),
                _ => return Err(StoreError::Unreadable("a statement of the other engine")),
            };
        }
        if touched < least { Err(StoreError::Raced) } else { Ok(touched) }
    }
}

impl crate::engine::Pools {
    /// One row by one statement, outside a transaction: the fastest read there is.
    pub(crate) async fn one<T: Row>(&self, sql: Sql) -> Result<Option<T>, StoreError> {
        let (text, args) = sql.render(self.engine());
        let waiting = self.waiting();
        Ok(match self {
            Self::Sqlite { readers, kept, .. } => {
                let mut lent = kept.lend(readers).await?;
                drop(waiting);
                let connection = lent.connection();
                watched!(connection, text);
                let found = sqlx::query_as_with(text, sqlite_args(args)?).fetch_optional(connection).await?;
                kept.keep(lent);
                found
            }
            Self::Postgres { pool, kept, .. } => {
                let mut lent = kept.lend(pool).await?;
                drop(waiting);
                let found = sqlx::query_as_with(text, postgres_args(args)?).fetch_optional(lent.connection()).await?;
                kept.keep(lent);
                found
            }
        })
    }

    /// Every row of one statement, outside a transaction.
    pub(crate) async fn all<T: Row>(&self, sql: Sql) -> Result<Vec<T>, StoreError> {
        let (text, args) = sql.render(self.engine());
        let waiting = self.waiting();
        Ok(match self {
            Self::Sqlite { readers, kept, .. } => {
                let mut lent = kept.lend(readers).await?;
                drop(waiting);
                let connection = lent.connection();
                watched!(connection, text);
                let found = sqlx::query_as_with(text, sqlite_args(args)?).fetch_all(connection).await?;
                kept.keep(lent);
                found
            }
            Self::Postgres { pool, kept, .. } => {
                let mut lent = kept.lend(pool).await?;
                drop(waiting);
                let found = sqlx::query_as_with(text, postgres_args(args)?).fetch_all(lent.connection()).await?;
                kept.keep(lent);
                found
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::moved;

    #[test]
    fn numbers_of_values_are_moved_whole() {
        assert_eq!(moved("a = $1 AND b = $12, {rows}$2", 256), "a = $257 AND b = $268, {rows}$258");
        assert_eq!(moved("no value", 256), "no value");
    }
}
