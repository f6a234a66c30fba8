//! Every table that refers to a profile: what erasure walks, and whatever else must forget none of them.
//!
//! A schema test compares this list with both databases, so that a new table cannot be forgotten.

/// A table holding rows of a profile, and what a receipt calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Removes the rows of the erased people given as `{rows}` of one column `id`; answers whose they were.
    pub erase: &'static str,
    /// The kind in an erasure's counts; `None`: not worth counting.
    pub counted_as: Option<&'static str>,
}

macro_rules! tables {
    ($($name:literal $counted:expr),+ $(,)?) => {
        /// In the order rows can be removed: what refers before what is referred to.
        pub const TABLES: &[Table] = &[$(Table {
            name: $name,
            erase: concat!("DELETE FROM ", $name, " WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r) RETURNING profile_id"),
            counted_as: $counted,
        }),+];
    };
}

tables! {
    "events" Some("events"),
    "profile_history" Some("history"),
    "consent_ledger" Some("consents"),
    "profile_consents" None,
    "profile_labels" Some("labels"),
    "profile_segments" Some("segments"),
    "profile_channels" None,
    "profile_identities" Some("identities"),
    "profile_documents" None,
    "idempotency_profiles" None,
}

/// Tables that keep a profile's id after it is gone, and nothing else of the person: receipts and the change feed.
pub const KEPT: &[&str] = &["erasures", "changes"];

/// Only in SQLite, where PostgreSQL has `profiles.comparables`.
pub const SQLITE_ONLY: &[Table] = &[Table {
    name: "profile_attributes",
    erase: "DELETE FROM profile_attributes WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r) RETURNING profile_id",
    counted_as: None,
}];
