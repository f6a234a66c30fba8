//! Search as you type: pieces of names, e-mails, phones and companies, 1 to 20 characters, one query at a time, the first
//! 25 people; held against a scan of the bare texts in memory.

use std::{sync::Arc, time::Instant};

use super::{Stage, scatter};
use crate::{
    Result,
    client::{Call, Load, Outcome, any_success, drive, encode},
    limits::search::RawSearch,
    people::person,
    report::{Row, Target, Unit},
};

const WORK: &str = "search as you type, first 25";
const QUERIES: u64 = 2_000;
const WARM_UP: u64 = 100;

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let queries: Arc<Vec<String>> = Arc::new((0..WARM_UP + QUERIES).map(|at| typed(stage.seed, stage.site.profiles, at)).collect());
    let load = Load { connections: 1, warm_up: WARM_UP, count: QUERIES, time: stage.time * 4 };
    let asked = Arc::clone(&queries);
    let make = move |at: u64| Call::get(format!("/v1/profiles?q={}&limit=25", encode(&asked[at as usize])));
    let own = drive(&stage.server.target, load, make, any_success).await?;

    // The same queries, so that the two can be held together.
    let asked = &queries[..(WARM_UP + own.latency.len()) as usize];
    let raw = bare_scans(stage, asked).await?;
    let note = format!(
        "{} queries through HTTP; the limit scans the bare texts in memory, newest first, without HTTP and without documents; {} of them",
        own.latency.len(),
        raw.latency.len()
    );
    let row = |measure: &str, quantile: f64| {
        Row::new(stage.site, WORK, measure, Unit::Milliseconds, own.milliseconds(quantile))
            .limit("scan of bare texts", raw.milliseconds(quantile))
            .note(note.clone())
    };
    Ok(vec![
        row("p50", 0.5).target(Target::AtMost(5.0)).may_grow(3.0).trouble(own.complaint()),
        row("p99", 0.99).target(Target::AtMost(25.0)).may_grow(3.0).trouble(own.complaint()),
        row("slowest", 1.0),
    ])
}

async fn bare_scans(stage: &Stage, queries: &[String]) -> Result<Outcome> {
    let raw = RawSearch::read(&stage.database, stage.workspace).await?;
    let (warm_up, measured) = queries.split_at(WARM_UP as usize);
    for query in warm_up {
        raw.search(query);
    }
    let mut outcome = Outcome::new();
    let begun = Instant::now();
    for query in measured {
        outcome.record(raw.search(query));
    }
    outcome.elapsed = begun.elapsed();
    Ok(outcome)
}

/// What somebody has typed so far who looks for one of the people: the beginning or any part of one of their fields.
fn typed(seed: u64, profiles: u64, at: u64) -> String {
    let person = person(seed, scatter(at, profiles));
    // Numbers of the query's own, so that length, field and place are not tied to each other.
    let dice = |n: u64, salt: u64| scatter(at.wrapping_mul(8) + salt, n);
    let field = match dice(10, 1) {
        0..5 => Some(person.name.clone()),
        5..8 => person.email,
        8 => person.phone,
        _ => person.company,
    }
    .unwrap_or(person.name);
    let letters: Vec<char> = field.chars().collect();
    let length = (1 + dice(20, 2) as usize).min(letters.len());
    let start = if dice(2, 3) == 0 { 0 } else { dice((letters.len() - length + 1) as u64, 4) as usize };
    let text: String = letters[start..start + length].iter().collect();
    let text = text.trim();
    if text.is_empty() { field } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::typed;

    #[test]
    fn queries_are_of_every_length_and_start_anywhere() {
        let queries: Vec<String> = (0..2_000).map(|at| typed(1, 10_000, at)).collect();
        let lengths: BTreeSet<usize> = queries.iter().map(|query| query.chars().count()).collect();
        assert!((1..=20).all(|length| lengths.contains(&length)), "{lengths:?}");
        assert!(queries.iter().any(|query| query.contains('@')));
        assert!(queries.iter().any(|query| query.starts_with('+')));
        assert!(queries.iter().collect::<BTreeSet<_>>().len() > 1_000);
    }
}
