//! A bulk change that erases a tenth of everyone: previewed, confirmed, carried out, while people are read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Stage, digest::digest, finished, post, scatter};
use crate::{
    Result,
    client::{Call, Connection, Outcome},
    report::{Row, Target, Unit},
};

const WORK: &str = "bulk delete of a tenth of everyone";
const READS: &str = "500 reads of one profile a second while a tenth is deleted";
const ATTRIBUTE: &str = "bench_leaving";
const LONGEST: Duration = Duration::from_secs(600);
const READERS: u64 = 4;
/// Between the reads of one reader.
const PACE: Duration = Duration::from_millis(8);
const MARKED: usize = 1_000;

async fn total(stage: &Stage, body: serde_json::Value) -> Result<u64> {
    Ok(stage.server.target.json(post("/v1/profiles/count", &body)).await?["total"].as_u64().unwrap_or(0))
}

/// Reads at an even pace until something is done, and for a time at least: a directory in daily use.
async fn reads<T>(stage: &Stage, ids: &[uuid::Uuid], from: u64, least: Duration, done: impl Future<Output = T>) -> Result<(Outcome, T)> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..READERS {
        let chosen: Vec<uuid::Uuid> = (0..20_000).map(|n| ids[scatter(from + n * READERS + reader, ids.len() as u64) as usize]).collect();
        let (target, stop) = (stage.server.target.clone(), Arc::clone(&stop));
        readers.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let mut outcome = Outcome::new();
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for id in chosen.iter().cycle() {
                pace.tick().await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let begun = Instant::now();
                let answer = connection.send(Call::get(format!("/v1/profiles/{id}"))).await?;
                outcome.record(begun.elapsed());
                if !answer.status.is_success() {
                    return Err(format!("a read answered {}: {}", answer.status, answer.excerpt()).into());
                }
            }
            Ok::<_, crate::Failure>(outcome)
        });
    }
    let (done, ()) = tokio::join!(done, tokio::time::sleep(least));
    stop.store(true, Ordering::Relaxed);
    let mut all = Outcome::new();
    while let Some(outcome) = readers.join_next().await {
        all.latency.add(&outcome??.latency)?;
    }
    Ok((all, done))
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, target) = (stage.site, &stage.server.target);
    let (leaving, staying): (Vec<_>, Vec<_>) = stage.ids.iter().enumerate().partition(|(at, _)| at % 10 == 3);
    let staying: Vec<uuid::Uuid> = staying.into_iter().map(|(_, id)| *id).collect();
    let chosen = json!({"filter": {"field": format!("attributes.{ATTRIBUTE}"), "op": "eq", "value": true}});
    for some in leaving.chunks(MARKED) {
        let items: Vec<_> = some.iter().map(|(_, id)| json!({"op": "update", "id": id, "attributes": {ATTRIBUTE: true}})).collect();
        let marked = target.json(post("/v1/profiles/batch", &json!({ "items": items }))).await?;
        if let Some(bad) = marked["results"].as_array().into_iter().flatten().find(|result| result["status"] != 200) {
            return Err(format!("somebody could not be marked: {bad}").into());
        }
    }
    let everybody = total(stage, json!({})).await?;
    let is_staying = |person: Value| person["attributes"].get(ATTRIBUTE).is_none().then_some(person);
    let untouched = digest(target, is_staying).await?;
    let action = json!({"type": "delete"});
    let begun = Instant::now();
    let preview = target.json(post("/v1/bulk/preview", &json!({"selection": chosen, "action": action}))).await?;
    let previewed = begun.elapsed();
    let execute = json!({"selection": chosen, "action": action, "confirmation_token": preview["confirmation_token"]});

    let before = reads(stage, &staying, 0, stage.time / 2, async {}).await?.0;
    let carried_out = async {
        let begun = Instant::now();
        let job = target.json(post("/v1/bulk", &execute)).await?;
        let done = finished(target, &job, LONGEST).await?;
        Ok::<_, crate::Failure>((begun.elapsed(), done))
    };
    let (during, done) = reads(stage, &staying, 100_000, Duration::ZERO, carried_out).await?;
    let (took, done) = done?;
    let (left, remaining) = (total(stage, chosen).await?, total(stage, json!({})).await?);
    let wrong = (done["succeeded"].as_u64() != Some(leaving.len() as u64) || left != 0 || everybody - remaining != leaving.len() as u64)
        .then(|| format!("{} were to go: {everybody} before, {remaining} after, {left} of them still there; {done}", leaving.len()));
    let changed = (digest(target, is_staying).await? != untouched).then(|| "somebody who was to stay is another than before".to_owned());
    let seconds = took.as_secs_f64();
    Ok(vec![
        Row::new(site, WORK, "carried out after", Unit::Milliseconds, seconds * 1_000.0)
            // A hundred thousand within a minute.
            .target(Target::AtMost(leaving.len() as f64 * 0.6))
            .note(format!(
                "{} people, {:.0}/s; the other {} are as they were, byte for byte; the preview took {:.0} ms",
                leaving.len(),
                leaving.len() as f64 / seconds,
                untouched.1,
                previewed.as_secs_f64() * 1_000.0
            ))
            .trouble(wrong.or(changed)),
        Row::new(site, READS, "p99", Unit::Milliseconds, during.milliseconds(0.99))
            .target(Target::AtMost(before.milliseconds(0.99) * 2.0))
            .limit("the same before", before.milliseconds(0.99))
            .note(format!(
                "p50 {:.2} ms, before {:.2} ms, of {} reads",
                during.milliseconds(0.5),
                before.milliseconds(0.5),
                during.latency.len()
            ))
            .trouble(during.complaint()),
    ])
}
