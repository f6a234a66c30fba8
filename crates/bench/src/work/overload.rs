//! Five times as much as the server can do: what it turns away must not cost what it takes.
//!
//! Batches of upserts arrive at a fixed pace, whatever becomes of those before (an open loop), over more connections than
//! the server lets in at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Stage,
    batch::{ITEMS, upserts},
    load::all_accepted,
};
use crate::{
    Result,
    client::{Answer, Call, Connection, Load, drive},
    report::{Row, Target, Unit},
};

const WORK: &str = "batches of 100 upserts at five times the capacity";
/// Of these, as many as the server lets in at once wait for their answers; the others keep the pace up.
const CONNECTIONS: u64 = 3_000;
/// `PEOPLE_MAX_REQUESTS`, unless it is set.
const LET_IN: u64 = 1_024;
const TIMES: f64 = 5.0;
/// New people are counted from here, far from those of other works.
const FIRST_NEW: u64 = 60_000_000;

/// What became of the requests of one connection: taken, turned away, anything else.
#[derive(Default)]
struct Counts {
    taken: u64,
    shed: u64,
    other: u64,
    odd: Option<String>,
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let (site, seed) = (stage.site, stage.seed);
    // A hundred bodies, made beforehand and sent again and again: the client takes as little of the cores as it can.
    let bodies: Arc<Vec<Call>> = Arc::new((0..100).map(upserts(site, seed, FIRST_NEW)).collect());
    let ready = Arc::clone(&bodies);
    let load = Load { connections: 8, warm_up: 20, count: 100_000, time: stage.time };
    let again = move |at: u64| ready[at as usize % ready.len()].clone();
    let peak = drive(&stage.server.target, load, again, |_, answer: &Answer| all_accepted(ITEMS as usize, answer)).await?;
    if let Some(complaint) = peak.complaint() {
        return Err(complaint.into());
    }
    let pace = Duration::from_secs_f64((CONNECTIONS - LET_IN) as f64 / (peak.per_second() * TIMES));
    let mut tasks = tokio::task::JoinSet::new();
    let begun = Instant::now() + Duration::from_millis(500);
    for n in 0..CONNECTIONS {
        let (target, bodies, time) = (stage.server.target.clone(), Arc::clone(&bodies), stage.time);
        tasks.spawn(async move {
            let mut counts = Counts::default();
            let mut open: Option<Connection> = None;
            let mut next = begun + pace.mul_f64(n as f64 / CONNECTIONS as f64);
            let mut at = n;
            while next < begun + time {
                tokio::time::sleep_until(next.into()).await;
                // One who had to wait for an answer does not make up for it: a connection carries one request at a time.
                next = (next + pace).max(Instant::now());
                at += 7;
                // Opened when it is needed: one that says nothing is closed by the server.
                let mut connection = match open.take().filter(Connection::is_open) {
                    Some(connection) => connection,
                    None => Connection::open(&target).await?,
                };
                match connection.send(bodies[at as usize % bodies.len()].clone()).await {
                    // What is answered later would not have counted at a stop watch either.
                    Ok(answer) if answer.status.is_success() => {
                        counts.taken += u64::from(Instant::now() < begun + time);
                        open = (next < Instant::now() + Duration::from_secs(2)).then_some(connection);
                    }
                    Ok(answer) if matches!(answer.status.as_u16(), 503 | 429) => {
                        counts.shed += 1;
                        open = (next < Instant::now() + Duration::from_secs(2)).then_some(connection);
                    }
                    Ok(answer) => {
                        counts.other += 1;
                        counts.odd.get_or_insert_with(|| format!("{}: {}", answer.status, answer.excerpt()));
                    }
                    Err(error) => {
                        counts.other += 1;
                        counts.odd.get_or_insert_with(|| error.to_string());
                    }
                }
            }
            Ok::<_, crate::Failure>(counts)
        });
    }
    let mut all = Counts::default();
    while let Some(done) = tasks.join_next().await {
        let counts = done??;
        all.taken += counts.taken;
        all.shed += counts.shed;
        all.other += counts.other;
        all.odd = all.odd.or(counts.odd);
    }
    let goodput = all.taken as f64 / stage.time.as_secs_f64();
    let offered = (all.taken + all.shed + all.other) as f64 / stage.time.as_secs_f64();
    let trouble = match (&all.odd, all.shed) {
        (Some(odd), _) => Some(format!("{} requests ended in another way; the first: {odd}", all.other)),
        (None, 0) => Some("nothing was turned away: this was no overload".to_owned()),
        _ => None,
    };
    Ok(vec![
        Row::new(site, WORK, "goodput, people", Unit::PerSecond, goodput * ITEMS as f64)
            .limit("the peak before, 8 connections", peak.per_second() * ITEMS as f64)
            .target(Target::ShareOfLimit(0.9))
            .note(format!(
                "{offered:.0} requests/s offered, {:.1} times the peak, {} turned away with 503",
                offered / peak.per_second(),
                all.shed
            ))
            .trouble(trouble),
    ])
}
