//! A bulk change that erases a tenth of everyone: previewed, confirmed, carried out, while people are read.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, finished, post, scatter};
use crate::{
    Result,
    client::{Call, Load, any_success, drive},
    report::{Row, Target, Unit},
};

const WORK: &str = "bulk delete of a tenth of everyone";
const READS: &str = "reads of one profile while a tenth is deleted, 8 connections";
const ATTRIBUTE: &str = "bench_leaving";
const LONGEST: Duration = Duration::from_secs(600);
const MARKED: usize = 1_000;

async fn total(stage: &Stage, body: serde_json::Value) -> Result<u64> {
    Ok(stage.server.target.json(post("/v1/profiles/count", &body)).await?["total"].as_u64().unwrap_or(0))
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
    let action = json!({"type": "delete"});
    let begun = Instant::now();
    let preview = target.json(post("/v1/bulk/preview", &json!({"selection": chosen, "action": action}))).await?;
    let previewed = begun.elapsed();
    let execute = json!({"selection": chosen, "action": action, "confirmation_token": preview["confirmation_token"]});

    let reads = |from: u64| {
        let ids: Vec<uuid::Uuid> = (0..50_000).map(|n| staying[scatter(from + n, staying.len() as u64) as usize]).collect();
        move |at: u64| Call::get(format!("/v1/profiles/{}", ids[at as usize % ids.len()]))
    };
    let load = |time| Load { connections: 8, warm_up: 200, count: u64::MAX / 2, time };
    let before = drive(target, load(stage.time / 2), reads(0), any_success).await?;
    let carried_out = async {
        let begun = Instant::now();
        let job = target.json(post("/v1/bulk", &execute)).await?;
        let done = finished(target, &job, LONGEST).await?;
        Ok::<_, crate::Failure>((begun.elapsed(), done))
    };
    // Long enough to see a good part of it.
    let (during, done) = tokio::join!(drive(target, load(stage.time), reads(100_000), any_success), carried_out);
    let (during, (took, done)) = (during?, done?);
    let (left, remaining) = (total(stage, chosen).await?, total(stage, json!({})).await?);
    let wrong = (done["succeeded"].as_u64() != Some(leaving.len() as u64) || left != 0 || everybody - remaining != leaving.len() as u64)
        .then(|| format!("{} were to go: {everybody} before, {remaining} after, {left} of them still there; {done}", leaving.len()));
    let seconds = took.as_secs_f64();
    Ok(vec![
        Row::new(site, WORK, "carried out after", Unit::Milliseconds, seconds * 1_000.0)
            // A hundred thousand within a minute.
            .target(Target::AtMost(leaving.len() as f64 * 0.6))
            .note(format!("{} people, {:.0}/s; the preview took {:.0} ms", leaving.len(), leaving.len() as f64 / seconds, previewed.as_secs_f64() * 1_000.0))
            .trouble(wrong),
        Row::new(site, READS, "p99", Unit::Milliseconds, during.milliseconds(0.99))
            .target(Target::AtMost(before.milliseconds(0.99) * 2.0))
            .limit("the same before", before.milliseconds(0.99))
            .note(format!("p50 {:.2} ms, before {:.2} ms; {:.0}/s, before {:.0}/s", during.milliseconds(0.5), before.milliseconds(0.5), during.per_second(), before.per_second()))
            .trouble(during.complaint()),
    ])
}
