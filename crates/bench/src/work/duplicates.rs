//! A scan for duplicates over everyone: the work must grow with the people, not with their pairs.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, finished, post};
use crate::{
    Result,
    report::{Row, Target, Unit},
};

const WORK: &str = "a scan for duplicates over everyone";
/// A hundred thousand people within a minute.
const RATE: f64 = 100_000.0 / 60.0;
const LONGEST: Duration = Duration::from_secs(3_600);

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let target = &stage.server.target;
    let begun = Instant::now();
    let job = target.json(post("/v1/duplicates/scan", &json!({}))).await?;
    let done = finished(target, &job, LONGEST).await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(vec![
        Row::new(stage.site, WORK, "people", Unit::PerSecond, stage.site.profiles as f64 / seconds)
            .target(Target::AtLeast(RATE))
            .may_grow(2.0)
            .note(format!("{seconds:.1} s; the target is 100,000 people a minute; the job tells {}", done["details"])),
    ])
}
