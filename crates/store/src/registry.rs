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

/// The column that names the person.
macro_rules! column {
    () => {
        "profile_id"
    };
    ($column:literal) => {
        $column
    };
}

macro_rules! tables {
    ($($name:literal $(=> $column:literal)? $counted:expr),+ $(,)?) => {
        /// In the order rows can be removed: what refers before what is referred to.
        pub const TABLES: &[Table] = &[$(Table {
            name: $name,
            erase: concat!(
                "DELETE FROM ", $name, " WHERE workspace_id = $1 AND ", column!($($column)?), " IN (SELECT id FROM {rows} AS r) RETURNING ", column!($($column)?)
            ),
            counted_as: $counted,
        }),+];
    };
}

tables! {
    "events" Some("events"),
    "sessions" Some("sessions"),
    "merges" Some("merges"),
    "profile_history" Some("history"),
    "consent_ledger" Some("consents"),
    "duplicate_keys" None,
    "duplicate_suggestions" None,
    "duplicate_suggestions" => "other_profile_id" None,
    "profile_consents" None,
    "profile_labels" Some("labels"),
    "profile_segments" Some("segments"),
    "profile_due" None,
    "profile_channels" None,
    "profile_identities" Some("identities"),
    "profile_documents" None,
    "idempotency_profiles" None,
    "job_errors" None,
}

/// Tables that keep a profile's id after it is gone, and nothing else of the person: receipts, the
/// change feed, and whom a merged id led to.
pub const KEPT: &[&str] = &["erasures", "changes", "profile_redirects"];

/// What a merge does with a table's rows. The people merged are given as `{rows}` of `from_id` and `to_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub name: &'static str,
    /// In this order.
    pub statements: &'static [&'static str],
}

/// Rows go over to the survivor; `origin_profile_id` tells where they came from.
macro_rules! repoint {
    ($name:literal) => {
        concat!(
            "UPDATE ",
            $name,
            " SET profile_id = (SELECT r.to_id FROM {rows} AS r WHERE r.from_id = ",
            $name,
            ".profile_id)
             WHERE workspace_id = $1 AND profile_id IN (SELECT from_id FROM {rows} AS r)"
        )
    };
}

/// Rows that follow from a state the survivor has its own of, or were copied before.
macro_rules! leave {
    ($name:literal) => {
        concat!("DELETE FROM ", $name, " WHERE workspace_id = $1 AND profile_id IN (SELECT from_id FROM {rows} AS r)")
    };
}

/// Members of a set: what both have, they have once.
macro_rules! unite {
    ($name:literal, $columns:literal, $copied:literal) => {
        concat!(
            "INSERT INTO ",
            $name,
            " (workspace_id, profile_id, ",
            $columns,
            ")
             SELECT m.workspace_id, r.to_id, ",
            $copied,
            " FROM {rows} AS r CROSS JOIN ",
            $name,
            " AS m
             WHERE m.workspace_id = $1 AND m.profile_id = r.from_id ON CONFLICT DO NOTHING"
        )
    };
}

/// Every table of [`TABLES`], in the order a merge goes through them; a test holds the two lists together.
pub const MOVES: &[Move] = &[
    Move {
        name: "profile_history",
        statements: &[
            "UPDATE profile_history SET origin_profile_id = profile_id
             WHERE workspace_id = $1 AND profile_id IN (SELECT from_id FROM {rows} AS r) AND origin_profile_id IS NULL",
            repoint!("profile_history"),
        ],
    },
    Move { name: "events", statements: &[repoint!("events")] },
    Move { name: "sessions", statements: &[repoint!("sessions")] },
    Move { name: "merges", statements: &[repoint!("merges")] },
    Move { name: "consent_ledger", statements: &[repoint!("consent_ledger")] },
    // What was decided of a pair has been carried over; who is like the survivor is looked for anew.
    Move { name: "duplicate_keys", statements: &[leave!("duplicate_keys")] },
    Move { name: "duplicate_suggestions", statements: &[leave!("duplicate_suggestions")] },
    Move { name: "profile_consents", statements: &[leave!("profile_consents")] },
    Move {
        name: "profile_labels",
        statements: &[
            unite!("profile_labels", "label, source, rule_id, actor, created_at", "m.label, m.source, m.rule_id, m.actor, m.created_at"),
            leave!("profile_labels"),
        ],
    },
    Move {
        name: "profile_segments",
        statements: &[unite!("profile_segments", "segment_id, entered_at", "m.segment_id, m.entered_at"), leave!("profile_segments")],
    },
    // The survivor is judged anew.
    Move { name: "profile_due", statements: &[leave!("profile_due")] },
    Move { name: "profile_channels", statements: &[unite!("profile_channels", "channel", "m.channel"), leave!("profile_channels")] },
    Move { name: "profile_identities", statements: &[repoint!("profile_identities")] },
    Move { name: "profile_documents", statements: &[leave!("profile_documents")] },
    Move { name: "idempotency_profiles", statements: &[unite!("idempotency_profiles", "key", "m.key"), leave!("idempotency_profiles")] },
    Move { name: "job_errors", statements: &[repoint!("job_errors")] },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MOVES, TABLES};

    #[test]
    fn a_merge_goes_through_every_table_that_erasure_does() {
        let moved: BTreeSet<&str> = MOVES.iter().map(|m| m.name).collect();
        let erased: BTreeSet<&str> = TABLES.iter().map(|t| t.name).collect();
        assert_eq!(moved, erased, "a table of people's rows needs a line in both");
    }
}
