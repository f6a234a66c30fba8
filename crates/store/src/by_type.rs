//! Finding somebody's events by their type.
//!
//! A timeline is one stretch of the table, or of its index. A short one is read through; the rows of a long one ([`LONG`]) stand in
//! an index by type as well: most people never come into it, and an event of theirs has one place less to be written to.
//! `events.in_long_timeline` says of a row that it is there. Of everybody whose `profile_documents.event_count` has reached [`LONG`]
//! all rows say so (`door::save`). So may rows of others: of somebody who has fewer again since a merge was taken back, and of
//! before migration 0025. Nobody looks for those there.

use people_domain::activity::LONG;

/// Of `d`, the row of somebody's document: whether their timeline is long.
pub(crate) fn is_long() -> String {
    format!("d.event_count >= {LONG}")
}

/// One of the two ways.
pub(crate) struct Way {
    /// What holds of `d` whose timeline is of the length for it.
    pub(crate) people: String,
    /// Stands after `FROM events AS e`, up to the other conditions.
    pub(crate) found: &'static str,
}

/// The same question put both ways, of people with short timelines and of those with long ones.
pub(crate) fn either(ask: impl FnMut(Way) -> String) -> [String; 2] {
    let short = Way { people: format!("NOT {}", is_long()), found: "WHERE" };
    // SQLite would rather walk all of a timeline than look at its partial index.
    let long = Way { people: is_long(), found: "{by_type} WHERE e.in_long_timeline AND" };
    [short, long].map(ask)
}

/// Events of people: `select` of `e`, those that `events` tells, and what follows. The statement says `{among}` for the people.
pub(crate) fn of_people(select: &str, events: &str, then: &str) -> String {
    either(|Way { people, found }| {
        format!(
            "SELECT {select} FROM profile_documents AS d CROSS JOIN events AS e {found} {events}
               AND e.profile_id = d.profile_id AND d.workspace_id = $1 AND d.profile_id {{among}} AND {people}{then}"
        )
    })
    .join(" UNION ALL ")
}
