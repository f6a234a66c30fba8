//! `GET /metrics`: what was asked is counted, nothing of anybody is told.

use std::collections::BTreeMap;

use people_tests::{App, Database, Engine, Server, engine_stories};
use serde_json::json;

use crate::cast::{ada, id};

engine_stories![
    requests_are_counted_by_route_and_nobody_is_named,
    each_write_has_the_log_flushed,
    a_job_that_nobody_begins_is_told,
    a_server_may_ask_for_its_secret,
];

type Samples = BTreeMap<String, f64>;

/// Reads the text format strictly: every sample belongs to a family that was announced, no series twice, an end.
fn samples(text: &str) -> Samples {
    let mut families = Vec::new();
    let mut samples = Samples::new();
    let mut ended = false;
    for line in text.lines() {
        assert!(!ended, "something follows the end: {line}");
        if line == "# EOF" {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            families.push(name.to_owned());
        } else if !line.starts_with("# HELP ") {
            assert!(!line.starts_with('#'), "{line}");
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let name = series.split('{').next().unwrap_or_default();
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
            let family = families.last().map(String::as_str).unwrap_or_default();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} is not of {family}"));
            assert!(["", "_total", "_bucket", "_sum", "_count", "_info"].contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    assert!(ended, "no end:\n{text}");
    samples
}

async fn scrape(app: &App) -> (String, Samples) {
    let answer = app.get("/metrics").no_key().await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    let samples = samples(&text);
    (text, samples)
}

fn counted(samples: &Samples, method: &str, route: &str, status: &str) -> f64 {
    let series = format!("people_http_request_duration_seconds_count{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}");
    samples.get(&series).copied().unwrap_or(0.0)
}

async fn requests_are_counted_by_route_and_nobody_is_named(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let (_, before) = scrape(&app).await;
    let mark = "canary9b1d";
    let person = app.person(json!({"email": format!("{mark}@example.com"), "external_id": mark})).await;
    for _ in 0..3 {
        app.read(id(&person)).await;
    }
    app.get(&format!("/v1/profiles/{}", uuid::Uuid::now_v7())).await.refused(404, "not_found");
    app.get(&format!("/{mark}")).await.refused(404, "not_found");
    app.call(mark.to_uppercase().parse().expect("a method"), "/v1/profiles").await.problem();
    app.get(&format!("/v1/profiles?q={mark}")).await.ok();
    app.with_key(&format!("ppl_{mark}")).get("/v1/profiles").await.refused(401, "unauthorized");
    let segment = app.post("/v1/segments").json(json!({"name": mark, "filter": {"all": []}})).await.created();
    crate::bulk::finished(&app, &json!({"id": segment["job_id"]})).await;
    // What the database counts is told anew after five seconds at most.
    let (text, samples) = people_tests::eventually("the segment is counted", async || {
        let (text, samples) = scrape(&app).await;
        (samples.get("people_segments{status=\"live\"}") == Some(&1.0)).then_some((text, samples))
    })
    .await;
    assert_eq!(counted(&samples, "POST", "/v1/profiles", "2xx"), 1.0, "{text}");
    assert_eq!(counted(&samples, "GET", "/v1/profiles/{id}", "2xx"), 3.0, "{text}");
    assert_eq!(counted(&samples, "GET", "/v1/profiles/{id}", "4xx"), 1.0, "{text}");
    assert_eq!(counted(&samples, "GET", "/v1/profiles", "2xx"), 1.0, "{text}");
    assert_eq!(counted(&samples, "GET", "/v1/profiles", "4xx"), 1.0, "{text}");
    assert!(counted(&samples, "GET", "unmatched", "4xx") >= 1.0, "{text}");
    assert_eq!(samples.get("people_jobs{kind=\"segment\",status=\"succeeded\"}"), Some(&1.0), "{text}");
    assert_eq!(samples.get("people_database_up"), Some(&1.0), "{text}");
    for reason in ["overloaded", "rate_limited", "slow"] {
        assert_eq!(samples.get(&format!("people_http_rejected_total{{reason=\"{reason}\"}}")), Some(&0.0), "{text}");
    }
    for series in [
        "people_database_connections{pool=\"readers\",state=\"open\"}",
        "people_writer_group_commands_count",
        "people_writer_group_seconds_count",
        "people_http_connections",
        "people_read_model_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(samples.get(series).is_some_and(|value| *value > 0.0), "{series} is missing or 0\n{text}");
    }
    for series in [
        "people_writer_queue_depth",
        "people_database_waiting",
        "people_http_requests_in_flight{lane=\"searches\"}",
        "people_jobs_oldest_queued_seconds",
        "people_due_oldest_seconds",
    ] {
        assert_eq!(samples.get(series), Some(&0.0), "{series}\n{text}");
    }
    assert!(text.contains("people_build_info{version="), "{text}");
    // Nothing a caller sent becomes a label.
    let lower = text.to_lowercase();
    assert!(!lower.contains(mark) && !text.contains(id(&person)) && !text.contains("ppl_"), "{text}");
    assert!(text.contains("method=\"other\""), "{text}");
    assert!(before.len() > 20 && samples.len() < 2_000, "{} series", samples.len());
}

/// Each write waits for a flush of its own when none is under way: so many writes one after the other, at least as many flushes.
async fn each_write_has_the_log_flushed(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let flushes = async || scrape(&app).await.1.get("people_log_flush_seconds_count").copied().expect("the series is there");
    let before = flushes().await;
    for n in 0..20 {
        app.person(json!({"email": format!("{n}@example.com")})).await;
        let identities = json!([{"kind": "email", "value": format!("{n}@example.com")}]);
        app.post("/v1/events").json(json!({"events": [{"type": "seen", "identities": identities}]})).await.ok();
    }
    let flushed = flushes().await - before;
    if engine.is_postgres() {
        assert_eq!(flushed, 0.0, "PostgreSQL flushes its own log, in the commit");
    } else {
        assert!(flushed >= 40.0, "{flushed} flushes for 40 writes");
    }
}

async fn a_job_that_nobody_begins_is_told(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    app.post("/v1/segments").json(json!({"name": "Everybody", "filter": {"all": []}})).await.created();
    let waited = people_tests::eventually("the job is seen to wait", async || {
        let (_, samples) = scrape(&app).await;
        samples.get("people_jobs_oldest_queued_seconds").copied().filter(|waited| *waited > 0.0)
    })
    .await;
    // It goes on waiting, until what was counted is counted anew.
    people_tests::eventually("it waits longer", async || {
        let (_, samples) = scrape(&app).await;
        samples.get("people_jobs_oldest_queued_seconds").copied().filter(|later| *later > waited + 1.0)
    })
    .await;
}

async fn a_server_may_ask_for_its_secret(engine: Engine) {
    let secret = "scrape_secret_of_the_test_suite_0123456789";
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_METRICS_TOKEN", secret)]);
    let app = App::default_of(&server);
    app.person(ada()).await;
    app.get("/metrics").no_key().await.refused(401, "unauthorized");
    // A key of a workspace is none of the server's.
    app.get("/metrics").await.refused(401, "unauthorized");
    let answer = app.with_key(secret).get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer}");
    samples(&answer.text());
}
