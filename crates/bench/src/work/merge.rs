//! A merge of somebody with two hundred thousand events: how long it takes, how long others wait meanwhile, while messages of
//! that very person come in too, and how their timeline reads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stage, known_or_new, post};
use crate::{
    Result,
    client::{Answer, Call, Load, any_success, drive},
    report::{Row, Target, Unit},
};

const WORK: &str = "merge of somebody with 200,000 events";
const TIMELINE: &str = "newest 50 of a timeline of 200,000 events, 8 connections";
const REQUESTS: u64 = 80;
const EVENTS: u64 = 2_500;
/// From one event to the next of this person, in seconds.
const APART: u64 = 60;
/// No longer than any statement of a request may take, in milliseconds.
const LONGEST_WAIT: f64 = 5_000.0;
/// New people are counted from here, far from those of other works.
const FIRST_NEW: u64 = 50_000_000;

fn batch(at: u64) -> Call {
    let event = |n: u64| {
        // From the first of January 2025 on.
        let at = 20_089 * 86_400 + n * APART;
        json!({
            "identities": [{"kind": "external_id", "value": "bench-much-to-tell"}], "type": "page_viewed", "channel": "web",
            "occurred_at": instant(at), "message_id": format!("bench-much-{n}"), "properties": {"path": format!("/page/{}", n % 500)},
        })
    };
    let events: Vec<Value> = (at * EVENTS..(at + 1) * EVENTS).map(event).collect();
    post("/v1/events", &json!({ "events": events }))
}

/// RFC 3339 of a second since 1970 (the civil calendar by days, after Howard Hinnant's `civil_from_days`).
fn instant(second: u64) -> String {
    let (days, rest) = (second / 86_400 + 719_468, second % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (date, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, seed, target) = (stage.site, stage.seed, &stage.server.target);
    let load = Load { connections: 2, warm_up: 0, count: REQUESTS, time: stage.time * 20 };
    let verify = |_: u64, answer: &Answer| super::load::all_accepted(EVENTS as usize, answer);
    let told = drive(target, load, batch, verify).await?;
    if let Some(complaint) = told.complaint() {
        return Err(complaint.into());
    }
    let busy = target.json(post("/v1/profiles/upsert", &json!({"external_id": "bench-much-to-tell"}))).await?;
    let other = target.json(post("/v1/profiles/upsert", &json!({"external_id": "bench-little-to-tell"}))).await?;
    let id = |person: &Value| person["profile"]["id"].as_str().or_else(|| person["id"].as_str()).unwrap_or_default().to_owned();
    let pair = json!({"primary_id": id(&other), "secondary_id": id(&busy)});
    let upserts = move |at: u64| {
        let person = known_or_new(site, seed, site.profiles + FIRST_NEW, at);
        Call::post("/v1/profiles/upsert", serde_json::to_vec(&person).unwrap_or_default())
    };
    let others = Load { connections: 4, warm_up: 0, count: 200_000, time: stage.time };
    // Messages of the one who is being merged go on: those wait for the merge, and nobody else for them.
    let own = Load { connections: 1, warm_up: 0, count: 200_000, time: stage.time };
    let message = |at: u64| {
        let event = json!({
            "identities": [{"kind": "external_id", "value": "bench-much-to-tell"}], "type": "page_viewed", "channel": "web",
            "message_id": format!("bench-meanwhile-{at}"),
        });
        post("/v1/events", &json!({ "events": [event] }))
    };
    let carried_out = async {
        // Others are under way by then.
        tokio::time::sleep(stage.time / 5).await;
        let preview = target.json(post("/v1/merges/preview", &pair)).await?;
        let mut merge = pair.clone();
        merge["preview_token"] = preview["preview_token"].clone();
        let begun = Instant::now();
        // From the moment in which the merge is under way.
        let own = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drive(target, own, message, any_success).await
        };
        let merged = async { target.json(post("/v1/merges", &merge)).await.map(|_| begun.elapsed()) };
        let (told, took) = tokio::join!(own, merged);
        Ok::<_, crate::Failure>((told?, took?))
    };
    let (meanwhile, carried_out) = tokio::join!(drive(target, others, upserts, any_success), carried_out);
    let (meanwhile, (told, took)) = (meanwhile?, carried_out?);

    if let Some(complaint) = told.complaint() {
        return Err(complaint.into());
    }
    let read = Load { connections: 8, warm_up: 200, count: 20_000, time: stage.time };
    let path = format!("/v1/profiles/{}/timeline?limit=50", id(&other));
    let timeline = drive(target, read, move |_| Call::get(path.as_str()), any_success).await?;
    Ok(vec![
        Row::new(site, WORK, "merged after", Unit::Milliseconds, took.as_secs_f64() * 1_000.0),
        Row::new(site, WORK, "longest wait of an upsert meanwhile, 4 connections", Unit::Milliseconds, meanwhile.milliseconds(1.0))
            .target(Target::AtMost(LONGEST_WAIT))
            .note(format!(
                "p50 {:.1} ms, p99 {:.1} ms of {}",
                meanwhile.milliseconds(0.5),
                meanwhile.milliseconds(0.99),
                meanwhile.latency.len()
            ))
            .trouble(meanwhile.complaint()),
        Row::new(site, TIMELINE, "p99", Unit::Milliseconds, timeline.milliseconds(0.99))
            .target(Target::AtMost(10.0))
            .trouble(timeline.complaint()),
    ])
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn seconds_are_told_in_the_calendar() {
        for (second, told) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (20_089 * 86_400, "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(instant(second), told);
        }
    }
}
