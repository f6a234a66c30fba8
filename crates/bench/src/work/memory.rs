//! Memory of the server once all other works are done.

use super::Stage;
use crate::report::{Row, Target, Unit};

const WORK: &str = "memory of the server after the run";

pub fn measure(stage: &Stage) -> Vec<Row> {
    let Some(memory) = stage.server.memory() else {
        crate::progress("memory is read from /proc, which this system has not: skipped");
        return Vec::new();
    };
    vec![
        Row::new(stage.site, WORK, "resident", Unit::Megabytes, memory.resident as f64 / 1e6)
            .target(Target::AtMost(300.0))
            .note(format!("{:.0} MB of it allocated by the server itself, the rest pages of mapped files", memory.own as f64 / 1e6)),
    ]
}
