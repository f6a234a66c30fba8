//! Filling an empty server: every generated person created through `POST /v1/profiles/batch`, 1,000 a request.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Result,
    client::{Answer, Call, Load, Target, drive},
    people::{ATTRIBUTES, Person, person},
    progress,
    report::{Row, Site, Unit},
    server::Server,
};

const ITEMS: u64 = 1_000;
const CONNECTIONS: usize = 4;
/// Requests between two lines of progress.
const STRETCH: u64 = 100;

#[derive(Serialize)]
pub(super) struct Item {
    pub(super) op: &'static str,
    #[serde(flatten)]
    pub(super) person: Person,
}

#[derive(Serialize)]
pub(super) struct Items {
    pub(super) items: Vec<Item>,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<ItemResult>,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    error: Option<Value>,
}

/// Every item of a batch must have gone well.
pub(super) fn all_accepted(expected: usize, answer: &Answer) -> std::result::Result<(), String> {
    let results: Results = serde_json::from_slice(&answer.body).map_err(|e| format!("unexpected answer ({e}): {}", answer.excerpt()))?;
    if results.results.len() != expected {
        return Err(format!("{} results for {expected} items", results.results.len()));
    }
    match results.results.iter().find(|result| !(200..300).contains(&result.status)) {
        Some(bad) => Err(format!("an item answered {}: {}", bad.status, bad.error.as_ref().unwrap_or(&Value::Null))),
        None => Ok(()),
    }
}

/// Defines the attributes, creates everyone, and waits until the last one can be searched. E: any item refused.
pub async fn load(server: &Server, site: Site, seed: u64) -> Result<Row> {
    define_attributes(&server.target).await?;
    let requests = site.profiles.div_ceil(ITEMS);
    let (mut done, mut seconds) = (0, 0.0);
    while done < requests {
        let stretch = STRETCH.min(requests - done);
        let first = done;
        let last_of = move |at: u64| ((first + at + 1) * ITEMS).min(site.profiles);
        let make = move |at: u64| {
            let items = ((first + at) * ITEMS..last_of(at)).map(|index| Item { op: "create", person: person(seed, index) }).collect();
            Call::post("/v1/profiles/batch", serde_json::to_vec(&Items { items }).unwrap_or_default())
        };
        let verify = move |at: u64, answer: &Answer| all_accepted((last_of(at) - (first + at) * ITEMS) as usize, answer);
        // Bounded, yet a slow disk may take its time.
        let load = Load { connections: CONNECTIONS, warm_up: 0, count: stretch, time: Duration::from_secs(1_800) };
        let outcome = drive(&server.target, load, make, verify).await?;
        if let Some(complaint) = outcome.complaint() {
            return Err(format!("loading failed: {complaint}\nthe server said: {}", server.last_words()).into());
        }
        if outcome.latency.len() < stretch {
            return Err("loading took more than half an hour for 100,000 people".into());
        }
        done += stretch;
        seconds += outcome.elapsed.as_secs_f64();
        let rows = (done * ITEMS).min(site.profiles);
        progress(format_args!("{}: {rows} people loaded, {:.0}/s", site.engine, rows as f64 / seconds));
    }
    wait_until_found(server, seed, site.profiles - 1).await?;
    let rate = site.profiles as f64 / seconds;
    Ok(Row::new(site, "load through the API, 1,000 creates a request", "people", Unit::PerSecond, rate)
        .note("not one of the targets: an import has its own path"))
}

async fn define_attributes(target: &Target) -> Result<()> {
    for (key, kind) in ATTRIBUTES {
        let body = json!({ "key": key, "type": kind }).to_string();
        target.json(Call::post("/v1/properties", body)).await?;
    }
    Ok(())
}

/// A load is over when what was loaded is found.
async fn wait_until_found(server: &Server, seed: u64, index: u64) -> Result<()> {
    let last = person(seed, index);
    let Some(key) = last.email.or(last.phone).or(last.external_id) else { return Ok(()) };
    for _ in 0..600 {
        let body = json!({ "q": key }).to_string();
        let answer = server.target.json(Call::post("/v1/profiles/count", body)).await?;
        if answer["total"].as_u64().unwrap_or_default() > 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the last person loaded was not found within a minute".into())
}
