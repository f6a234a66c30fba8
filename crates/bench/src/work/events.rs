//! Ingestion: events of people who are known, 100 a request over 16 connections, each with a message id of its own: of
//! somebody else with every event, and in visits of five; both through the route of the tracking SDKs too; and the newest page of
//! a timeline.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Stage, load::all_accepted, scatter};
use crate::{
    Result,
    client::{Answer, Call, Load, any_success, drive},
    limits::insert,
    people::person,
    report::{Row, Target, Unit},
};

const VISITS: &str = "POST /v1/events, the same in visits of five events";
const VISIT: u64 = 5;
const NATIVE: &str = "POST /v1/events, 100 a request, 16 connections";
const TRACKED: &str = "POST /v1/batch (SDKs), 100 a request, 16 connections";
const TRACKED_VISITS: &str = "POST /v1/batch (SDKs), the same in visits of five events";
const TIMELINE: &str = "newest 50 of a timeline, 8 connections";
const EVENTS: u64 = 100;
/// Somebody who came back today, not the whole directory at once.
pub(super) const ACTIVE: u64 = 100_000;

pub(super) const TYPES: &[&str] = &["page_viewed", "product_viewed", "cart_updated", "order_completed", "email_opened"];

/// What people who are active are known by, made up once: the client shares its cores with the server.
#[derive(Clone)]
pub(super) struct Active(Arc<[(&'static str, String)]>);

impl Active {
    pub(super) fn of(stage_seed: u64, profiles: u64) -> Self {
        let many = ACTIVE.min(profiles);
        let known = |at: u64| {
            let known = |at: u64| {
                let person = person(stage_seed, at % many);
                person.external_id.map(|id| ("external_id", id)).or_else(|| person.email.map(|email| ("email", email)))
            };
            // Who has neither gives way to the next.
            (at..at + many).find_map(known).unwrap_or_default()
        };
        Self((0..many).map(known).collect())
    }

    /// One of them, at random as it were.
    pub(super) fn who(&self, at: u64) -> &(&'static str, String) {
        &self.0[scatter(at, self.0.len() as u64) as usize]
    }
}

pub(super) fn properties(at: u64) -> Value {
    json!({"total": scatter(at, 20_000) as f64 / 100.0, "currency": "EUR", "items": scatter(at, 9), "sku": format!("SKU-{}", scatter(at, 5_000))})
}

pub async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let site = stage.site;
    let active = Active::of(stage.seed, site.profiles);
    let load = || Load { connections: 16, warm_up: 40, count: 40_000, time: stage.time };
    // Everybody comes back for so many events at a time.
    let people = active.clone();
    let native = move |at: u64, visit: u64, name: &str| {
        let event = |n: u64| {
            let (kind, value) = people.who(n / visit);
            json!({
                "identities": [{"kind": kind, "value": value}],
                "type": TYPES[scatter(n, TYPES.len() as u64) as usize],
                "channel": "web",
                "properties": properties(n),
                "message_id": format!("{name}-{n}"),
            })
        };
        let events: Vec<Value> = (at * EVENTS..(at + 1) * EVENTS).map(event).collect();
        Call::post("/v1/events", serde_json::to_vec(&json!({ "events": events })).unwrap_or_default())
    };
    let accepted = |_: u64, answer: &Answer| all_accepted(EVENTS as usize, answer);
    let strangers = native.clone();
    let own = drive(&stage.server.target, load(), move |at| strangers(at, 1, "bench"), accepted).await?;
    let visits = drive(&stage.server.target, load(), move |at| native(at, VISIT, "bench-visit"), accepted).await?;
    let raw = insert::rows_per_second(&stage.database, &stage.scratch, EVENTS as usize, 250, stage.time / 2).await?;

    let people = active;
    let tracked = move |at: u64, visit: u64, name: &str| {
        let message = |n: u64| {
            let (kind, value) = people.who(n / visit);
            let mut message = json!({
                "type": "track",
                "event": TYPES[scatter(n, TYPES.len() as u64) as usize],
                "properties": properties(n),
                "messageId": format!("{name}-{n}"),
            });
            if *kind == "external_id" {
                message["userId"] = json!(value);
            } else {
                message["anonymousId"] = json!(format!("device of {}", n / visit));
                message["context"] = json!({"traits": {"email": value}});
            }
            message
        };
        let batch: Vec<Value> = (at * EVENTS..(at + 1) * EVENTS).map(message).collect();
        Call::post("/v1/batch", serde_json::to_vec(&json!({ "batch": batch })).unwrap_or_default())
    };
    let taken = |_: u64, answer: &Answer| {
        let told: Value = serde_json::from_slice(&answer.body).map_err(|e| format!("unexpected answer ({e}): {}", answer.excerpt()))?;
        if told["accepted"] == json!(EVENTS) { Ok(()) } else { Err(format!("not all were taken: {told}")) }
    };
    let strangers = tracked.clone();
    let sdk = drive(&stage.server.target, load(), move |at| strangers(at, 1, "bench-sdk"), taken).await?;
    let sdk_visits = drive(&stage.server.target, load(), move |at| tracked(at, VISIT, "bench-sdk-visit"), taken).await?;

    let ids: Vec<uuid::Uuid> = (0..2_000).map(|n| stage.ids[scatter(n, ACTIVE.min(site.profiles)) as usize]).collect();
    let read = Load { connections: 8, warm_up: 200, count: 20_000, time: stage.time };
    let page = move |at: u64| Call::get(format!("/v1/profiles/{}/timeline?limit=50", ids[at as usize % ids.len()]));
    let timeline = drive(&stage.server.target, read, page, any_success).await?;

    let rate = |work, outcome: &crate::client::Outcome| {
        Row::new(site, work, "events", Unit::PerSecond, outcome.per_second() * EVENTS as f64)
            .target(Target::AtLeast(10_000.0))
            .limit("raw insert, 100 rows a commit", raw)
            .may_grow(2.0)
            .trouble(outcome.complaint())
    };
    let time = |work, outcome: &crate::client::Outcome, measure: &str, quantile: f64| {
        Row::new(site, work, measure, Unit::Milliseconds, outcome.milliseconds(quantile))
    };
    Ok(vec![
        rate(NATIVE, &own),
        time(NATIVE, &own, "request p99", 0.99),
        rate(VISITS, &visits),
        time(VISITS, &visits, "request p99", 0.99),
        rate(TRACKED, &sdk),
        time(TRACKED, &sdk, "request p99", 0.99),
        rate(TRACKED_VISITS, &sdk_visits),
        time(TRACKED_VISITS, &sdk_visits, "request p99", 0.99),
        Row::new(site, TIMELINE, "requests", Unit::PerSecond, timeline.per_second()).trouble(timeline.complaint()),
        time(TIMELINE, &timeline, "p50", 0.5),
        time(TIMELINE, &timeline, "p99", 0.99),
    ])
}
