//! Upsert by identity, one person a request, over 32 connections: half of them known with one changed field, half new.
//! Each answer means that the person, their history and the change feed are on disk.

use super::{Stage, known_or_new};
use crate::{
    Result,
    client::{Call, Load, any_success, drive},
    limits::insert,
    report::{Row, Target, Unit},
};

const WORK: &str = "durable upsert by identity, 32 connections";
/// New people are counted from here, far from those of other works.
const FIRST_NEW: u64 = 1_000_000;
/// Rows of a durable transaction of the limit: one from each connection.
const ROWS_PER_COMMIT: usize = 32;

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, seed) = (stage.site, stage.seed);
    let make = move |at: u64| {
        let person = known_or_new(site, seed, site.profiles + FIRST_NEW, at);
        Call::post("/v1/profiles/upsert", serde_json::to_vec(&person).unwrap_or_default())
    };
    let load = Load { connections: 32, warm_up: 2_000, count: 200_000, time: stage.time };
    let own = drive(&stage.server.target, load, make, any_success).await?;
    let bytes = document_bytes(stage).await?;
    let raw = insert::rows_per_second(&stage.database, &stage.scratch, ROWS_PER_COMMIT, bytes, stage.time / 2).await?;

    let time = |measure: &str, quantile: f64| Row::new(site, WORK, measure, Unit::Milliseconds, own.milliseconds(quantile));
    Ok(vec![
        Row::new(site, WORK, "people", Unit::PerSecond, own.per_second())
            .target(Target::AtLeast(3_000.0))
            .limit("raw insert, 32 rows a commit", raw)
            .may_grow(2.0)
            .note(format!("half known, half new; the raw rows are {bytes} bytes with a primary key and nothing else"))
            .trouble(own.complaint()),
        time("p50", 0.5),
        time("p99", 0.99),
    ])
}

/// Middling length of what is stored of a person.
pub(super) async fn document_bytes(stage: &Stage) -> Result<usize> {
    let mut connection = crate::client::Connection::open(&stage.server.target).await?;
    let mut lengths = Vec::new();
    for at in 0..50 {
        let id = stage.ids[super::scatter(at, stage.ids.len() as u64) as usize];
        lengths.push(connection.send(Call::get(format!("/v1/profiles/{id}"))).await?.body.len());
    }
    lengths.sort_unstable();
    Ok(lengths[lengths.len() / 2])
}
