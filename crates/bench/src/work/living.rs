//! Living profiles: what two hundred segments and fifty rules cost a write, and how soon a new segment is live over everyone
//! while writes go on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stage, known_or_new, post};
use crate::{
    Result,
    client::{Call, Load, any_success, drive, drive_until},
    report::{Row, Target, Unit},
};

const COST: &str = "one upsert among 200 segments and 50 rules, 1 connection";
const FRESH: &str = "a new segment over everyone, writes going on";
/// New people are counted from here, far from those of other works.
const FIRST_NEW: u64 = 30_000_000;

/// Definitions as a business has them: most read a field of their own, some what people did, some windows of time.
fn filter(n: usize) -> Value {
    match n % 5 {
        0 => {
            json!({"all": [{"field": "country", "op": "eq", "value": "GB"}, {"field": "job_title", "op": "contains", "value": format!("chief {n}")}]})
        }
        1 => json!({"field": "city", "op": "eq", "value": format!("City {n}")}),
        2 => json!({"event": "order_completed", "count": {"gte": 100 + n}}),
        3 => {
            json!({"all": [{"event": "order_completed", "where": [{"field": "properties.total", "op": "gt", "value": 100 + n}], "within": "P90D"}]})
        }
        _ => {
            json!({"all": [{"field": "email", "op": "ends_with", "value": format!("@company{n}.example")}, {"field": "labels", "op": "has", "value": "vip"}]})
        }
    }
}

async fn settled(stage: &Stage, path: &str, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let now = stage.server.target.json(Call::get(path)).await?;
        if now["status"] == "live" {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(format!("{path} is still {}", now["status"]).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, seed, target) = (stage.site, stage.seed, &stage.server.target);
    let upserts = |from: u64| {
        move |at: u64| {
            let person = known_or_new(site, seed, site.profiles + FIRST_NEW, from + at);
            Call::post("/v1/profiles/upsert", serde_json::to_vec(&person).unwrap_or_default())
        }
    };
    let single = || Load { connections: 1, warm_up: 100, count: 20_000, time: stage.time };
    let without = drive(target, single(), upserts(0), any_success).await?;
    let mut last = String::new();
    for n in 0..250 {
        let (path, body) = if n < 200 {
            ("/v1/segments", json!({"name": format!("bench {n}"), "filter": filter(n)}))
        } else {
            ("/v1/label-rules", json!({"label": format!("bench {n}"), "filter": filter(n), "on_exit": "remove"}))
        };
        let made = target.json(post(path, &body)).await?;
        last = format!("{path}/{}", made["id"].as_str().unwrap_or_default());
    }
    // Jobs go in the order they came, so the last one ends last.
    settled(stage, &last, Duration::from_secs(600)).await?;
    let with = drive(target, single(), upserts(10_000_000), any_success).await?;

    let busy = || Load { connections: 32, warm_up: 200, count: 200_000, time: stage.time / 2 };
    let before = drive(target, busy(), upserts(20_000_000), any_success).await?;
    let body = json!({"name": "bench fresh", "filter": {"field": "country", "op": "in", "value": ["GB", "IE", "FR"]}});
    const PATIENCE: Duration = Duration::from_secs(300);
    let live = async {
        let begun = Instant::now();
        let made = target.json(post("/v1/segments", &body)).await?;
        settled(stage, &format!("/v1/segments/{}", made["id"].as_str().unwrap_or_default()), PATIENCE).await?;
        Ok::<_, crate::Failure>((begun.elapsed(), made["member_count"].as_i64().unwrap_or(0)))
    };
    let writing = Load { count: 5_000_000, time: PATIENCE, ..busy() };
    let (during, live) = drive_until(target, writing, upserts(30_000_000), any_success, live).await?;
    let (took, members) = live?;
    let milliseconds = |value: f64| Row::new(site, COST, "p50", Unit::Milliseconds, value);
    Ok(vec![
        milliseconds(without.milliseconds(0.5)).note("before any is defined").trouble(without.complaint()),
        milliseconds(with.milliseconds(0.5)).note("with all of them").trouble(with.complaint()),
        Row::new(site, COST, "cost", Unit::Times, with.milliseconds(0.5) / without.milliseconds(0.5)).target(Target::AtMost(2.0)),
        Row::new(site, FRESH, "live after", Unit::Milliseconds, took.as_secs_f64() * 1_000.0)
            .target(Target::AtMost(30_000.0))
            .note(format!("{members} members")),
        Row::new(site, FRESH, "writes while it is computed", Unit::PerSecond, during.per_second())
            .target(Target::AtLeast(before.per_second() / 2.0))
            .limit("the same writes before", before.per_second())
            .trouble(during.complaint()),
    ])
}
