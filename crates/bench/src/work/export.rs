//! Export of everyone as NDJSON, while the server's memory is watched: it must not grow with the number of people.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use super::Stage;
use crate::{
    Result,
    client::{Call, Connection},
    report::{Row, Target, Unit},
};

const WORK: &str = "export of everyone, NDJSON";
/// Buffers and caches of a stream; more would be growth with its length.
const FLAT: f64 = 64.0;
/// An export that is not done by then is stopped.
const LONGEST: Duration = Duration::from_secs(600);

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let mut connection = Connection::open(&stage.server.target).await?;
    let mut call = Call::post("/v1/profiles/export", "{}");
    call.accept = Some("application/x-ndjson");

    let before = stage.server.memory();
    let begun = Instant::now();
    let (status, mut body) = connection.stream(call).await?;
    let (mut lines, mut bytes, mut most) = (0_u64, 0_u64, 0_u64);
    let mut looked = begun;
    while let Some(frame) = tokio::time::timeout(LONGEST.saturating_sub(begun.elapsed()), body.frame()).await? {
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            bytes += data.len() as u64;
            lines += data.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        if looked.elapsed() > Duration::from_millis(50) {
            most = most.max(stage.server.memory().map_or(0, |memory| memory.own));
            looked = Instant::now();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();

    let trouble = if !status.is_success() {
        Some(format!("the export answered {status}"))
    } else if lines != stage.site.profiles {
        Some(format!("{lines} lines for {} people", stage.site.profiles))
    } else {
        None
    };
    let mut rows = vec![
        Row::new(stage.site, WORK, "people", Unit::PerSecond, lines as f64 / seconds)
            .target(Target::AtLeast(50_000.0))
            .note(format!("{:.0} MB in {seconds:.1} s", bytes as f64 / 1e6))
            .trouble(trouble),
    ];
    match before {
        Some(before) => rows.push(
            Row::new(stage.site, WORK, "growth of memory", Unit::Megabytes, (most as f64 - before.own as f64).max(0.0) / 1e6)
                .target(Target::AtMost(FLAT))
                .note("flat is taken as 64 MB at most, of memory the server allocated itself"),
        ),
        None => crate::progress("memory is read from /proc, which this system has not: skipped"),
    }
    Ok(rows)
}
