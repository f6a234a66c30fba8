//! Every table that refers to a profile: what erasure, merges, scrubbing and the access export walk.
//!
//! A schema test compares this list with both databases, so that a new table cannot be forgotten.

/// A table holding rows of a profile, and what a receipt calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Removes the rows of the erased people given as `{rows}` of one column `id`.
    pub erase: &'static str,
    /// The same, and answers whose they were: for rows that are counted.
    pub erase_counting: &'static str,
    /// PostgreSQL: writes the table and its indexes anew, without what was deleted.
    pub rewrite: &'static str,
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
            erase: concat!("DELETE FROM ", $name, " WHERE workspace_id = $1 AND ", column!($($column)?), " IN (SELECT id FROM {rows} AS r)"),
            erase_counting: concat!(
                "DELETE FROM ", $name, " WHERE workspace_id = $1 AND ", column!($($column)?), " IN (SELECT id FROM {rows} AS r) RETURNING ", column!($($column)?)
            ),
            rewrite: concat!("VACUUM (FULL, ANALYZE) ", $name),
            counted_as: $counted,
        }),+];
    };
}

tables! {
    "events" Some("events"),
    "sessions" Some("sessions"),
    "merge_sessions" None,
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

/// Tables that hold personal data without referring to a profile by a `profile_id` of their own, and how PostgreSQL
/// writes them anew. Whoever adds one also says in [`REDACTIONS`] what an erasure takes out of it.
pub const BESIDE: &[(&str, &str)] = &[
    ("profiles", "VACUUM (FULL, ANALYZE) profiles"),
    ("idempotency_answers", "VACUUM (FULL, ANALYZE) idempotency_answers"),
    // While a job runs, it may name people in what it was given: a receipt is not stamped before those have ended.
    ("jobs", "VACUUM (FULL, ANALYZE) jobs"),
    ("job_inputs", "VACUUM (FULL, ANALYZE) job_inputs"),
];

/// What an erasure takes out of tables whose rows stay, before the rows of [`TABLES`] go. The erased people are given as
/// `{rows}` of one column `id`. What they left in rows of other people is the door's to find (`door/erasing.rs`).
pub const REDACTIONS: &[&str] = &[
    // Stored answers that speak of them keep their key, so that a retry does not bring the person back, and lose the rest.
    "UPDATE idempotency_answers SET body = NULL, headers = {empty_list}
     WHERE workspace_id = $1 AND key IN (
         SELECT key FROM idempotency_profiles WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r)
     )",
    // A merge that went with somebody is still known to have been.
    "INSERT INTO merges_erased (workspace_id, id)
     SELECT m.workspace_id, m.id FROM merges AS m
     WHERE m.workspace_id = $1 AND m.profile_id IN (SELECT id FROM {rows} AS r)
     ON CONFLICT DO NOTHING",
];

/// Tables that keep a profile's id after it is gone, and nothing else of the person: receipts, the
/// change feed, whom a merged id led to, and to whom a person's data was handed out.
pub const KEPT: &[&str] = &["erasures", "changes", "profile_redirects", "audit_log"];

/// Tables in which nothing is anybody's, and why. Every table stands in one of these lists; a new one that stands in none fails
/// a test.
pub const NOBODYS: &[(&str, &str)] = &[
    ("workspaces", "settings"),
    ("api_keys", "who may call, hashed"),
    ("properties", "names and types of attributes"),
    ("labels", "words of the workspace"),
    ("label_rules", "definitions"),
    ("segments", "definitions"),
    ("change_heads", "where a feed ends"),
    ("duplicate_cursors", "where a look-out stands"),
    ("duplicate_censuses", "how often values occur, by their hashes"),
    ("merges_erased", "that there was a merge"),
    ("search_refreshes", "a place in a walk over everyone, not a row of anybody"),
    ("rejected_messages", "why a message was not taken, in our words; nothing of what it said"),
    ("suppressions", "keyed hashes of identities that are not to come back"),
    ("webhooks", "endpoints"),
    ("webhook_deliveries", "numbers of changes and how their delivery went"),
];

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
            " SET profile_id = r.to_id FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}",
            $name,
            ".workspace_id = $1 AND ",
            $name,
            ".workspace_id = r.workspace_id AND ",
            $name,
            ".profile_id = r.from_id"
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
    Move { name: "merge_sessions", statements: &[repoint!("merge_sessions")] },
    Move {
        name: "merges",
        statements: &[
            repoint!("merges"),
            "UPDATE merges SET returned_profile_id = r.to_id FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}merges.workspace_id = $1 AND merges.workspace_id = r.workspace_id AND merges.returned_profile_id = r.from_id
               AND merges.returned_profile_id IS NOT NULL",
        ],
    },
    Move { name: "consent_ledger", statements: &[repoint!("consent_ledger")] },
    // What was decided of a pair has been carried over; who is like the survivor is looked for anew.
    Move { name: "duplicate_keys", statements: &[leave!("duplicate_keys")] },
    Move { name: "duplicate_suggestions", statements: &[leave!("duplicate_suggestions")] },
    Move { name: "profile_consents", statements: &[leave!("profile_consents")] },
    Move {
        name: "profile_labels",
        statements: &[
            // Of a label that both carry the one by hand is kept, which no rule takes off.
            "DELETE FROM profile_labels
             WHERE workspace_id = $1 AND source = 'rule' AND (profile_id, label) IN (
                 SELECT r.to_id, m.label FROM {rows} AS r CROSS JOIN profile_labels AS m
                 WHERE m.workspace_id = $1 AND m.profile_id = r.from_id AND m.source = 'manual'
             )",
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

/// How an access export reads a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// A section of the document.
    Section(Section),
    /// No section of its own, and why.
    Elsewhere(&'static str),
}

/// A section: the rows of one person, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the document calls it.
    pub name: &'static str,
    /// Columns and source up to `WHERE`, the table being `t`. The alias of a column says what it is called and what it
    /// holds: `"at:time"`.
    pub select: &'static str,
    /// The column that says whose a row is.
    pub whose: &'static str,
    pub order: Order,
}

/// How the rows of a section are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By one column of ids.
    Id(&'static str),
    /// By a time and the row's `id`.
    Time(&'static str),
    /// By the day of a time, which the key holds, then by the time and the row's `id`.
    Day(&'static str, &'static str),
    /// So few that they are read at once, by this order.
    Whole(&'static str),
}

/// Every table that refers to a profile, and how an access export shows it; a test holds it against the lists above.
pub const EXPORTS: &[(&str, Export)] = &[
    ("profiles", Export::Elsewhere("columns of the profile, for filters")),
    ("profile_documents", Export::Elsewhere("the profile itself, the document's first section")),
    (
        "profile_identities",
        Export::Section(Section {
            name: "identities",
            select: r#"SELECT t.kind AS "kind:text", t.value AS "value:text", t.origin_profile_id AS "origin_profile_id:uuid",
                t.created_at AS "created_at:time" FROM profile_identities AS t"#,
            whose: "profile_id",
            order: Order::Whole("t.kind, t.value"),
        }),
    ),
    ("duplicate_keys", Export::Elsewhere("hashes of the person's own values, by which those who may be the same are found")),
    (
        "duplicate_suggestions",
        Export::Section(Section {
            name: "duplicates",
            // Who the other may be is the other's own.
            select: r#"SELECT t.id AS "id:uuid", t.score AS "score:int", t.reasons{as_text} AS "reasons:json", t.status AS "status:text",
                t.found_at AS "found_at:time"
                FROM (
                    SELECT workspace_id, id, profile_id AS person_id, score, reasons, status, found_at FROM duplicate_suggestions
                    UNION ALL
                    SELECT workspace_id, id, other_profile_id AS person_id, score, reasons, status, found_at FROM duplicate_suggestions
                ) AS t"#,
            whose: "person_id",
            order: Order::Id("id"),
        }),
    ),
    ("profile_due", Export::Elsewhere("when definitions look at the person again, which follows from them")),
    ("profile_channels", Export::Elsewhere("`channels` of the profile")),
    (
        "profile_labels",
        Export::Section(Section {
            name: "labels",
            select: r#"SELECT t.label AS "label:text", t.source AS "source:text", t.rule_id AS "rule_id:uuid", t.actor AS "actor:text",
                t.created_at AS "created_at:time" FROM profile_labels AS t"#,
            whose: "profile_id",
            order: Order::Whole("t.label"),
        }),
    ),
    (
        "profile_segments",
        Export::Section(Section {
            name: "segments",
            select: r#"SELECT t.segment_id AS "segment_id:uuid", t.entered_at AS "entered_at:time" FROM profile_segments AS t"#,
            whose: "profile_id",
            order: Order::Id("segment_id"),
        }),
    ),
    ("profile_consents", Export::Elsewhere("`consents` of the profile, derived from the ledger")),
    (
        "consent_ledger",
        Export::Section(Section {
            name: "consents",
            select: r#"SELECT t.id AS "id:uuid", t.channel AS "channel:text", t.status AS "status:text", t.occurred_at AS "occurred_at:time",
                t.recorded_at AS "recorded_at:time", t.source AS "source:text", t.evidence AS "evidence:text", t.actor AS "actor:text",
                t.request_id AS "request_id:text", t.origin_profile_id AS "origin_profile_id:uuid" FROM consent_ledger AS t"#,
            whose: "profile_id",
            order: Order::Id("id"),
        }),
    ),
    (
        "events",
        Export::Section(Section {
            name: "events",
            select: r#"SELECT t.id AS "id:uuid", t.occurred_at AS "occurred_at:time", t.received_at AS "received_at:time", t.original_timestamp AS "original_timestamp:time",
                t.sent_at AS "sent_at:time", t.type AS "type:text",
                t.channel AS "channel:text", t.properties{as_text} AS "properties:json", t.session_id AS "session_id:uuid",
                t.source AS "source:text", t.message_id AS "message_id:text", t.refused{as_text} AS "refused:json",
                t.context{as_text} AS "context:json", t.session_properties{as_text} AS "session_properties:json",
                t.origin_profile_id AS "origin_profile_id:uuid" FROM events AS t"#,
            whose: "profile_id",
            order: Order::Time("occurred_at"),
        }),
    ),
    (
        "sessions",
        Export::Section(Section {
            name: "sessions",
            select: r#"SELECT t.id AS "id:uuid", t.channel AS "channel:text", t.sender_id AS "sender_id:text", t.ended_at AS "ended_at:time",
                t.started_at AS "started_at:time", t.event_count AS "event_count:int", t.properties{as_text} AS "properties:json",
                t.origin_profile_id AS "origin_profile_id:uuid" FROM sessions AS t"#,
            whose: "profile_id",
            order: Order::Day("ended_day", "ended_at"),
        }),
    ),
    (
        "profile_history",
        Export::Section(Section {
            name: "history",
            select: r#"SELECT t.id AS "id:uuid", t.at AS "at:time", t.action AS "action:text", t.source AS "source:text", t.actor AS "actor:text",
                t.request_id AS "request_id:text", t.reason AS "reason:text", t.version AS "version:int", t.changes{as_text} AS "changes:json",
                t.origin_profile_id AS "origin_profile_id:uuid" FROM profile_history AS t"#,
            whose: "profile_id",
            order: Order::Id("id"),
        }),
    ),
    (
        "merges",
        Export::Section(Section {
            name: "merges",
            // Once a merge was taken back, each of the two has what it remembers of them, and not of the other.
            select: r#"SELECT t.id AS "id:uuid", t.merged_at AS "merged_at:time", t.primary_id AS "primary_id:uuid", t.secondary_id AS "secondary_id:uuid",
                t.automatic AS "automatic:bool", t.primary_before{as_text} AS "primary_before:json",
                t.secondary_before{as_text} AS "secondary_before:json", t.keep{as_text} AS "keep:json",
                t.primary_rows{as_text} AS "primary_rows:json", t.secondary_rows{as_text} AS "secondary_rows:json",
                t.moved{as_text} AS "moved:json", t.actor AS "actor:text",
                t.request_id AS "request_id:text", t.reason AS "reason:text", t.reverted_at AS "reverted_at:time",
                t.reverted_by AS "reverted_by:text", t.conflicts{as_text} AS "conflicts:json"
                FROM (
                    SELECT workspace_id, id, profile_id AS person_id, merged_at, primary_id, secondary_id, automatic, primary_before,
                        CASE WHEN reverted_at IS NULL THEN secondary_before END AS secondary_before, keep, primary_rows,
                        CASE WHEN reverted_at IS NULL THEN secondary_rows END AS secondary_rows, moved, actor, request_id, reason,
                        reverted_at, reverted_by, conflicts
                    FROM merges
                    UNION ALL
                    SELECT workspace_id, id, returned_profile_id AS person_id, merged_at, primary_id, secondary_id, automatic,
                        CASE WHEN reverted_at IS NULL THEN primary_before END AS primary_before, secondary_before, keep,
                        CASE WHEN reverted_at IS NULL THEN primary_rows END AS primary_rows, secondary_rows, moved, actor,
                        request_id, reason, reverted_at, reverted_by,
                        CASE WHEN reverted_at IS NULL THEN conflicts END AS conflicts
                    FROM merges WHERE returned_profile_id IS NOT NULL
                ) AS t"#,
            whose: "person_id",
            order: Order::Id("id"),
        }),
    ),
    (
        "merge_sessions",
        Export::Section(Section {
            name: "sessions_before_merges",
            select: r#"SELECT t.merge_id AS "merge_id:uuid", t.id AS "id:uuid", t.into_id AS "into_id:uuid", t.channel AS "channel:text",
                t.sender_id AS "sender_id:text", t.started_at AS "started_at:time", t.ended_at AS "ended_at:time",
                t.event_count AS "event_count:int", t.properties{as_text} AS "properties:json" FROM merge_sessions AS t"#,
            whose: "profile_id",
            order: Order::Whole("t.merge_id, t.id"),
        }),
    ),
    (
        "profile_redirects",
        Export::Section(Section {
            name: "former_ids",
            select: r#"SELECT t.profile_id AS "profile_id:uuid" FROM profile_redirects AS t"#,
            whose: "survivor_profile_id",
            order: Order::Id("profile_id"),
        }),
    ),
    (
        "idempotency_profiles",
        Export::Section(Section {
            name: "stored_answers",
            select: r#"SELECT t.key AS "idempotency_key:text" FROM idempotency_profiles AS t"#,
            whose: "profile_id",
            order: Order::Whole("t.key"),
        }),
    ),
    (
        "job_errors",
        Export::Section(Section {
            name: "job_errors",
            select: r#"SELECT t.job_id AS "job_id:uuid", t.position AS "position:int", t.code AS "code:text", t.detail AS "detail:text"
                FROM job_errors AS t"#,
            whose: "profile_id",
            order: Order::Whole("t.job_id, t.position"),
        }),
    ),
    ("changes", Export::Elsewhere("numbers and names of fields for whoever keeps a copy; `history` says the same and more")),
    ("erasures", Export::Elsewhere("nobody who is there has one")),
    ("audit_log", Export::Elsewhere("that the person was exported, by whom and when; `history` says the same")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{EXPORTS, KEPT, MOVES, TABLES};

    #[test]
    fn a_merge_goes_through_every_table_that_erasure_does() {
        let moved: BTreeSet<&str> = MOVES.iter().map(|m| m.name).collect();
        let erased: BTreeSet<&str> = TABLES.iter().map(|t| t.name).collect();
        assert_eq!(moved, erased, "a table of people's rows needs a line in both");
    }

    #[test]
    fn an_export_says_of_every_table_how_it_shows_it() {
        let shown: BTreeSet<&str> = EXPORTS.iter().map(|(name, _)| *name).collect();
        let there: BTreeSet<&str> = TABLES.iter().map(|t| t.name).chain(KEPT.iter().copied()).chain(["profiles"]).collect();
        assert_eq!(shown, there, "a table of people's rows needs a line in EXPORTS");
    }
}
