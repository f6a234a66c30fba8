//! Every spelling that differs between the engines, both side by side.
//!
//! A template says `{for_update}`; [`spell`] writes what the engine understands. Nothing else in the store asks which
//! engine it talks to, but for `engine.rs` and the bulk source in `rows.rs`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// `(token, SQLite, PostgreSQL)`.
const SPELLINGS: &[(&str, &str, &str)] = &[
    // SQLite has one writer; PostgreSQL locks the rows a decision is made on.
    ("{for_update}", "", "FOR UPDATE"),
    ("{for_key_share}", "", "FOR KEY SHARE"),
    // Position of a text in another, 0 when it is not there: any character is a letter.
    ("{position}", "instr", "strpos"),
    // jsonb comes back as text.
    ("{as_text}", "", "::text"),
    // A statement that fails is undone with its transaction: SQLite need not be able to undo it alone, for which it copies every
    // page before it is changed. Also see migration 0023.
    ("{or_fail}", "OR FAIL", ""),
    // An aggregated count is bigint in both; SQLite needs no cast.
    ("{as_bigint}", "", "::bigint"),
    // The workspace of the rows leads the index: held beside it alone, SQLite would read the whole workspace and look through the rows
    // for each (see rows.rs).
    ("{aside}", "+", ""),
    // A subquery is carried out as it stands, not woven into the outer one.
    ("{fence}", "LIMIT -1 OFFSET 0", "OFFSET 0"),
    // The people of a block, looked up block by block. SQLite keeps to the order it is told; PostgreSQL, of a table it has not
    // analysed yet, would rather read all of it and look through the rows for each.
    (
        "{members}",
        "duplicate_keys AS k WHERE k.workspace_id = $1 AND k.key = r.key AND",
        "LATERAL (SELECT b.key, b.profile_id FROM duplicate_keys AS b WHERE b.workspace_id = $1 AND b.key = r.key OFFSET 0) AS k WHERE",
    ),
    // SQLite would rather read all sessions, or all events, of a workspace.
    ("{by_sender}", "INDEXED BY sessions_by_sender", ""),
    ("{by_type}", "INDEXED BY events_by_type", ""),
    ("{with_refused}", "INDEXED BY events_with_refused", ""),
    // The session of a channel that ended next after a window: sessions of a channel stand one after the other.
    (
        "{next_session}",
        "sessions AS s WHERE s.workspace_id = $1 AND s.id = (SELECT n.id FROM sessions AS n WHERE n.workspace_id = $1
             AND n.profile_id = r.profile_id AND n.ended_day >= {day(}r.high{)day} AND n.ended_at > r.high
             AND n.channel = r.channel AND n.sender_id IS NULL ORDER BY n.ended_day, n.ended_at, n.id LIMIT 1) AND",
        "LATERAL (SELECT n.* FROM sessions AS n WHERE n.workspace_id = $1
             AND n.profile_id = r.profile_id AND n.ended_day >= {day(}r.high{)day} AND n.ended_at > r.high
             AND n.channel = r.channel AND n.sender_id IS NULL ORDER BY n.ended_day, n.ended_at, n.id LIMIT 1) AS s WHERE",
    ),
    // The day of a time between the two, as `sessions.ended_day` has it (migration 0024). After those above, which use it.
    ("{day(}", "((", "date_bin(INTERVAL '1 day', "),
    ("{)day}", " + 69120000000000000) / 86400000000 - 800000)", ", TIMESTAMPTZ '0001-01-01 00:00:00+00 BC')"),
    // PostgreSQL makes the column out by itself.
    ("{with_day}", ", ended_day", ""),
    ("{its_day}", ", (r.ended_at + 69120000000000000) / 86400000000 - 800000", ""),
    // What is another once the row of a document was written, whatever of it: its activity may change without the version.
    // PostgreSQL keeps the transaction that wrote a row.
    ("{stamp}", "activity", "xmin::text"),
    // Of a transaction: what the rows it writes are stamped with, or, on SQLite, the file as other processes left it.
    ("{own_stamp}", "CAST(data_version AS TEXT) AS stamp FROM pragma_data_version", "pg_current_xact_id()::xid::text AS stamp"),
    ("{empty_list}", "'[]'", "'[]'::jsonb"),
    ("{empty_object}", "'{}'", "'{}'::jsonb"),
];

/// Replaces every token of a template. A token nobody knows is a fault that the first test meets.
pub(crate) fn spell(template: &str, engine: Engine) -> String {
    let mut text = template.to_owned();
    for (token, sqlite, postgres) in SPELLINGS {
        if text.contains(token) {
            text = text.replace(
                token,
                match engine {
                    Engine::Sqlite => sqlite,
                    Engine::Postgres => postgres,
                },
            );
        }
    }
    text
}
