//! The works that are measured, one file each: what is asked of the server, how much of it, and which limit it is held
//! against. Each returns rows of the report; targets are those of the design.

pub mod batch;
pub mod bulk;
mod digest;
pub mod duplicates;
pub mod events;
pub mod export;
pub mod filter;
pub mod import;
pub mod living;
pub mod load;
pub mod memory;
pub mod merge;
pub mod overload;
pub mod read;
pub mod search;
pub mod start;
pub mod timeline;
pub mod upsert;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Result,
    client::{Call, Target},
    database::Database,
    people::{Person, person},
    report::Site,
    server::Server,
};

/// Names for `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    Read,
    Search,
    Filter,
    Count,
    Export,
    Upsert,
    Batch,
    Events,
    Timeline,
    Living,
    Overload,
    Bulk,
    Merge,
    Duplicates,
    Memory,
    Import,
    Start,
}

impl Work {
    /// Reading comes before writing: what is counted is then exactly what was generated.
    pub const ALL: [Self; 17] = [
        Self::Read,
        Self::Search,
        Self::Filter,
        Self::Count,
        Self::Export,
        Self::Upsert,
        Self::Batch,
        Self::Events,
        Self::Timeline,
        Self::Living,
        Self::Overload,
        Self::Bulk,
        Self::Merge,
        Self::Duplicates,
        Self::Memory,
        Self::Import,
        Self::Start,
    ];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// A loaded, running server and what is known about it.
#[derive(Debug)]
pub struct Stage {
    pub server: Server,
    pub database: Database,
    pub site: Site,
    pub seed: u64,
    pub workspace: Uuid,
    /// Everyone.
    pub ids: Vec<Uuid>,
    /// Longest time for each load and each limit.
    pub time: Duration,
    pub scratch: PathBuf,
    /// Where a work may make a directory of its own.
    pub spare: Database,
}

/// A job, once it has ended. E: it did not succeed, or not in time.
pub(crate) async fn finished(target: &Target, job: &Value, patience: Duration) -> Result<Value> {
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default());
    let begun = Instant::now();
    loop {
        let now = target.json(Call::get(path.as_str())).await?;
        match now["status"].as_str() {
            Some("succeeded") => return Ok(now),
            Some("queued" | "running") if begun.elapsed() < patience => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => return Err(format!("the job came to this: {now}").into()),
        }
    }
}

pub(crate) fn post(path: &str, body: &Value) -> Call {
    Call::post(path, serde_json::to_vec(body).unwrap_or_default())
}

/// Half of the written people are known, half are new. New ones are counted from `first_new`, which two works choose far
/// apart.
pub(crate) fn known_or_new(site: Site, seed: u64, first_new: u64, at: u64) -> Person {
    if at.is_multiple_of(2) {
        let mut known = person(seed, scatter(at, site.profiles));
        // One changed field: what a nightly sync brings.
        known.company = Some(format!("Renamed {at}"));
        known
    } else {
        person(seed, first_new + at / 2)
    }
}

/// Spreads 0, 1, 2, … over `0..all` as a die would, so that neighbours in time are not neighbours on disk (the finaliser
/// of SplitMix64).
pub(crate) fn scatter(at: u64, all: u64) -> u64 {
    let mut z = at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % all.max(1)
}
