//! Timelines of a directory that has been in use for years: millions of events, a fiftieth of them of one person. Whether
//! the server's memory stays as it is while they come in, and how fast the newest page of anybody's timeline is.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Stage,
    events::{Active, TYPES, properties},
    load::all_accepted,
    post, scatter,
};
use crate::{
    Result,
    client::{Answer, Call, Load, any_success, drive},
    progress,
    report::{Row, Target, Unit},
};

const TAKING_IN: &str = "events of years, 1,000 a request, 4 connections";
const PAGES: &str = "newest 50 of a timeline, years of events, 8 connections";
/// On PostgreSQL the events of a person stand all over the table, and what nobody has read for minutes may have left memory.
const AT_FIRST: &str = "the same, nobody's having been read since they came in";
const BUSIEST: &str = "newest 50 of the timeline of the busiest person";
const OF_A_TYPE: &str = "newest 50 of one type of the busiest person";
/// Somebody looks at a few pages, and comes back another day.
const VISIT: u64 = 5;
const VISITS: u64 = 200;
/// One visit in so many is of the busiest person.
const BUSY: u64 = 50;
const REQUESTS: u64 = 50;
const DAYS: u64 = 700;
/// Buffers and caches; more would be growth with what comes in.
const FLAT: f64 = 50.0;
/// 2024-01-01T00:00:00Z, in seconds.
const BEGIN: u64 = 1_704_067_200;

/// An instant as RFC 3339 writes it.
fn instant(seconds: u64) -> Result<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds)?)?;
    Ok(at.format(&time::format_description::well_known::Rfc3339)?)
}

fn visit(active: &Active, at: u64) -> Vec<Value> {
    let busy = at.is_multiple_of(BUSY);
    let (kind, value) = active.who(if busy { 0 } else { at });
    let begin = BEGIN + scatter(at, DAYS * 86_400);
    let event = |n: u64| {
        let number = at * VISIT + n;
        json!({
            "identities": [{"kind": kind, "value": value}],
            "type": TYPES[scatter(number, TYPES.len() as u64) as usize],
            "channel": "web",
            "occurred_at": instant(begin + n * 40).unwrap_or_default(),
            "properties": properties(number),
            "message_id": format!("years-{number}"),
        })
    };
    (0..VISIT).map(event).collect()
}

pub async fn measure(stage: &Stage, events: u64) -> Result<Vec<Row>> {
    let (site, target) = (stage.site, &stage.server.target);
    let active = Active::of(stage.seed, site.profiles);
    let requests = events.div_ceil(VISIT * VISITS);
    let (mut done, mut seconds) = (0, 0.0);
    let (mut first, mut most) = (None, 0);
    while done < requests {
        let (from, stretch) = (done, REQUESTS.min(requests - done));
        let active = active.clone();
        let make = move |at: u64| {
            let visits = (from + at) * VISITS..(from + at + 1) * VISITS;
            let events: Vec<Value> = visits.flat_map(|at| visit(&active, at)).collect();
            Call::post("/v1/events", serde_json::to_vec(&json!({ "events": events })).unwrap_or_default())
        };
        let verify = |_: u64, answer: &Answer| all_accepted((VISIT * VISITS) as usize, answer);
        let load = Load { connections: 4, warm_up: 0, count: stretch, time: Duration::from_secs(1_800) };
        let outcome = drive(target, load, make, verify).await?;
        if let Some(complaint) = outcome.complaint() {
            return Err(format!("events were not taken: {complaint}\nthe server said: {}", stage.server.last_words()).into());
        }
        done += stretch;
        seconds += outcome.elapsed.as_secs_f64();
        if let Some(memory) = stage.server.memory().filter(|_| done * 10 >= requests) {
            let _ = first.get_or_insert(memory.own);
            most = most.max(memory.own);
        }
        if done % (REQUESTS * 10) == 0 {
            progress(format_args!("{}: {} events, {:.0}/s", site.engine, done * VISIT * VISITS, (done * VISIT * VISITS) as f64 / seconds));
        }
    }
    stage.server.settle().await;
    // They came in within minutes; what their database does about that belongs to those minutes.
    stage.database.tidy().await?;

    let (kind, value) = active.who(0);
    let last = json!({"events": [{"identities": [{"kind": kind, "value": value}], "type": TYPES[0], "message_id": "years-last"}]});
    let told = target.json(post("/v1/events", &last)).await?;
    let busiest: Uuid = serde_json::from_value(told["results"][0]["profile_id"].clone())
        .map_err(|_| format!("the busiest person was not found: {told}"))?;
    let ids: Vec<Uuid> = (0..20_000).map(|n| stage.ids[scatter(n, site.profiles) as usize]).collect();
    let read = || Load { connections: 8, warm_up: 200, count: 20_000, time: stage.time };
    let page = move |at: u64| Call::get(format!("/v1/profiles/{}/timeline?limit=50", ids[at as usize % ids.len()]));
    let at_first = drive(target, read(), page.clone(), any_success).await?;
    let anybody = drive(target, read(), page, any_success).await?;
    let own = move |_: u64| Call::get(format!("/v1/profiles/{busiest}/timeline?limit=50"));
    let busy = drive(target, read(), own, any_success).await?;
    let typed = move |at: u64| {
        let kind = TYPES[at as usize % TYPES.len()];
        Call::get(format!("/v1/profiles/{busiest}/timeline?limit=50&type={kind}"))
    };
    let of_a_type = drive(target, read(), typed, any_success).await?;

    let p99 = |work, outcome: &crate::client::Outcome| {
        Row::new(site, work, "p99", Unit::Milliseconds, outcome.milliseconds(0.99))
            .target(Target::AtMost(10.0))
            .note(format!("p50 {:.2} ms, {:.0} requests/s", outcome.milliseconds(0.5), outcome.per_second()))
            .trouble(outcome.complaint())
    };
    let taken = requests * VISIT * VISITS;
    let mut rows = vec![
        Row::new(site, TAKING_IN, "events", Unit::PerSecond, taken as f64 / seconds)
            .note(format!("{taken} events in visits of {VISIT}, {} of one person; not one of the targets", taken / BUSY)),
        p99(PAGES, &anybody),
        p99(AT_FIRST, &at_first),
        p99(BUSIEST, &busy),
        p99(OF_A_TYPE, &of_a_type),
    ];
    if let Some(first) = first {
        rows.insert(
            1,
            Row::new(site, TAKING_IN, "growth of the server's memory", Unit::Megabytes, (most as f64 - first as f64).max(0.0) / 1e6)
                .target(Target::AtMost(FLAT))
                .note(format!("from {:.0} MB after the first tenth", first as f64 / 1e6)),
        );
    }
    Ok(rows)
}
