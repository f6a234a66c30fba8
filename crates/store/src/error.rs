//! What can go wrong between a decision and its being kept.

use people_domain::Refusal;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules said no: an answer for the caller.
    #[error("refused: {}", .0.detail)]
    Refused(Box<Refusal>),
    /// Another transaction changed what this one was decided on; repeated inside the store, so a caller sees it only
    /// after many attempts.
    #[error("another change got in between")]
    Raced,
    /// The lease on a job is somebody else's by now, or the job was cancelled: nothing of this step may take effect.
    #[error("the lease on a job was lost")]
    Stale,
    /// The database cannot be reached or has no connection to spare.
    #[error("the database is not available")]
    Unavailable,
    /// The disk is full.
    #[error("the storage is full")]
    Full,
    /// A fault of ours. The cause is for the log, and may quote values: it is never shown or logged whole.
    #[error("the database refused a statement")]
    Fault(#[source] sqlx::Error),
    #[error("stored data cannot be read: {0}")]
    Unreadable(&'static str),
    /// A fault of ours that stopped the work half-way; what was being written is undone.
    #[error("the work stopped at a fault")]
    Stopped,
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Self::Unavailable,
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // Serialisation failure, deadlock, lock not available; SQLITE_BUSY and its extended codes.
                Some("40001" | "40P01" | "55P03" | "5" | "261" | "517") => Self::Raced,
                // Unique violation: decided on a state that another transaction changed.
                Some("23505" | "1555" | "2067") => Self::Raced,
                // Foreign key: what was referred to has just been erased.
                Some("23503" | "787") => Self::Raced,
                Some("13" | "53100") => Self::Full,
                // It took longer than any statement may.
                Some("57014") => Self::Unavailable,
                Some(code) if code.starts_with("08") || code.starts_with("57P") || code == "53300" => Self::Unavailable,
                _ => Self::Fault(error),
            },
            _ => Self::Fault(error),
        }
    }
}

impl StoreError {
    /// SQLSTATE or SQLite code, for the log: never the message, which may quote personal data.
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Fault(sqlx::Error::Database(error)) => error.code().map(Into::into),
            Self::Fault(error) => Some(match error {
                sqlx::Error::ColumnDecode { index, .. } => format!("decode {index}"),
                sqlx::Error::ColumnNotFound(name) => format!("no column {name}"),
                sqlx::Error::RowNotFound => "no row".to_owned(),
                _ => "driver".to_owned(),
            }),
            _ => None,
        }
    }
}
