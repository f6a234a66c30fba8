//! Start to ready: the server is ended as by a crash after all that writing, and started again on the same database.

use std::path::Path;

use super::Stage;
use crate::{
    Result,
    report::{Row, Target, Unit},
    server::Server,
};

const WORK: &str = "start to ready, existing database";

/// Ends the stage's server; the new one runs only for this measure.
pub async fn measure(stage: Stage, binary: &Path) -> Result<Vec<Row>> {
    stage.server.kill().await?;
    let after_crash = Server::people(binary, &stage.database.url).await?;
    let crashed = after_crash.ready_after;
    after_crash.kill().await?;
    let again = Server::people(binary, &stage.database.url).await?;
    let second = again.ready_after;
    again.kill().await?;
    Ok(vec![
        Row::new(stage.site, WORK, "after kill -9", Unit::Milliseconds, crashed.as_secs_f64() * 1e3).target(Target::AtMost(1_000.0)),
        Row::new(stage.site, WORK, "once more", Unit::Milliseconds, second.as_secs_f64() * 1e3).target(Target::AtMost(1_000.0)),
    ])
}
