//! Reading one profile whole by its id, over 32 connections; held against a handler that returns the same bytes, and one
//! that reads the one row.

use std::{ffi::OsString, sync::Arc};

use uuid::Uuid;

use super::{Stage, scatter};
use crate::{
    Result,
    client::{Call, Load, Outcome, Target as Address, any_success, drive},
    report::{Row, Target, Unit},
    server::Server,
};

const WORK: &str = "read one profile, 32 connections";

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let load = Load { connections: 32, warm_up: 5_000, count: 500_000, time: stage.time };
    let ids = Arc::new(stage.ids.clone());
    let body = stage.scratch.join("profile.json");
    std::fs::write(&body, typical_document(stage).await?)?;

    let own = read(&stage.server.target, load, &ids).await?;
    let row = {
        let mut args: Vec<OsString> = vec!["--mode".into(), "row".into(), "--database".into(), stage.database.url.clone().into()];
        args.extend(["--workspace".into(), stage.workspace.to_string().into()]);
        let server = Server::limit(args).await?;
        let outcome = read(&server.target, load, &ids).await?;
        server.kill().await?;
        outcome
    };
    let bare = {
        let args: [OsString; 4] = ["--mode".into(), "bare".into(), "--body".into(), body.into()];
        let server = Server::limit(args).await?;
        let outcome = read(&server.target, load, &ids).await?;
        server.kill().await?;
        outcome
    };

    let trouble = own.complaint().or(row.complaint()).or(bare.complaint());
    let rate = |measure: &str| Row::new(stage.site, WORK, measure, Unit::PerSecond, own.per_second());
    let time = |measure: &str, quantile: f64| {
        Row::new(stage.site, WORK, measure, Unit::Milliseconds, own.milliseconds(quantile))
            .limit("one row by sqlx", row.milliseconds(quantile))
    };
    Ok(vec![
        rate("requests")
            .target(Target::ShareOfLimit(0.8))
            .limit("one row by sqlx", row.per_second())
            .may_grow(2.0)
            .trouble(trouble.clone()),
        rate("requests, beside the bare handler")
            .aim(Target::ShareOfLimit(0.5))
            .limit("bare handler", bare.per_second())
            .note("half of the bare handler is where this goes, not yet a target"),
        time("p50", 0.5),
        time("p99", 0.99).target(Target::AtMost(10.0)).trouble(trouble),
    ])
}

async fn read(target: &Address, load: Load, ids: &Arc<Vec<Uuid>>) -> Result<Outcome> {
    let ids = Arc::clone(ids);
    let make = move |at| Call::get(format!("/v1/profiles/{}", ids[scatter(at, ids.len() as u64) as usize]));
    drive(target, load, make, any_success).await
}

/// The answer of middling length among a hundred.
async fn typical_document(stage: &Stage) -> Result<Vec<u8>> {
    let mut connection = crate::client::Connection::open(&stage.server.target).await?;
    let mut documents = Vec::new();
    for at in 0..100 {
        let id = stage.ids[scatter(at, stage.ids.len() as u64) as usize];
        documents.push(connection.send(Call::get(format!("/v1/profiles/{id}"))).await?.body);
    }
    documents.sort_by_key(|document| document.len());
    Ok(documents[documents.len() / 2].to_vec())
}
