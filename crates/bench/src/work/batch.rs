//! Upserts in batches of 100, over 4 connections: what a sync of another system sends. Half known, half new.

use super::{
    Stage, known_or_new,
    load::{Item, Items, all_accepted},
    upsert::document_bytes,
};
use crate::{
    Result,
    client::{Answer, Call, Load, drive},
    limits::insert,
    report::{Row, Site, Unit},
};

const WORK: &str = "batch of 100 upserts, 4 connections";
pub(super) const ITEMS: u64 = 100;
/// New people are counted from here, far from those of other works.
const FIRST_NEW: u64 = 2_000_000;

/// Requests of such batches; new people are counted from `first_new` behind everyone.
pub(super) fn upserts(site: Site, seed: u64, first_new: u64) -> impl Fn(u64) -> Call {
    move |at: u64| {
        let upsert = |n| Item { op: "upsert", person: known_or_new(site, seed, site.profiles + first_new, n) };
        let items = (at * ITEMS..(at + 1) * ITEMS).map(upsert).collect();
        Call::post("/v1/profiles/batch", serde_json::to_vec(&Items { items }).unwrap_or_default())
    }
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, seed) = (stage.site, stage.seed);
    let load = Load { connections: 4, warm_up: 20, count: 4_000, time: stage.time };
    let own = drive(&stage.server.target, load, upserts(site, seed, FIRST_NEW), |_, answer: &Answer| all_accepted(ITEMS as usize, answer))
        .await?;
    let bytes = document_bytes(stage).await?;
    let raw = insert::rows_per_second(&stage.database, &stage.scratch, ITEMS as usize, bytes, stage.time / 2).await?;

    let time = |measure: &str, quantile: f64| Row::new(site, WORK, measure, Unit::Milliseconds, own.milliseconds(quantile));
    Ok(vec![
        Row::new(site, WORK, "people", Unit::PerSecond, own.per_second() * ITEMS as f64)
            .limit("raw insert, 100 rows a commit", raw)
            .may_grow(2.0)
            .note("the target of 10,000/s is for events and imports; a batch of people has none of its own")
            .trouble(own.complaint()),
        time("request p50", 0.5),
        time("request p99", 0.99),
    ])
}
