//! What one server takes on: rates of keys, and lanes that shed. Health and metrics are always answered.

use std::time::{Duration, Instant};

use people_tests::{App, Database, Engine, Server, engine_stories, eventually};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::cast::{ada, id};

engine_stories![
    a_key_that_asks_too_often_waits,
    a_key_may_have_a_rate_of_its_own,
    a_full_lane_sheds_and_the_others_go_on,
    a_stream_keeps_its_place_until_it_ends,
];

/// A counter of the server, 0 where there is none.
async fn rejected(app: &App, reason: &str) -> u64 {
    let text = app.get("/metrics").no_key().await.text();
    let series = format!("people_http_rejected_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).and_then(|n| n.parse().ok()).unwrap_or_default()
}

async fn a_key_that_asks_too_often_waits(engine: Engine) {
    let limits = [("PEOPLE_RATE_LIMIT", "1"), ("PEOPLE_RATE_BURST", "5")];
    let server = Server::on(Database::create(engine).await, &limits);
    let app = App::default_of(&server);
    let person = app.person(ada()).await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(app.get(&format!("/v1/profiles/{}", id(&person))).await);
    }
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(served.len() >= 4 && refused.len() >= 5, "{} served, {} refused", served.len(), refused.len());
    for answer in &served {
        assert_eq!(answer.header("ratelimit-policy"), Some("\"key\";q=5;w=5"), "{answer}");
        assert!(answer.header("ratelimit").is_some_and(|left| left.starts_with("\"key\";r=")), "{answer}");
    }
    for answer in &refused {
        answer.refused(429, "rate_limited");
        assert_eq!((answer.header("retry-after"), answer.header("x-ratelimit-reset")), (Some("1"), Some("1")), "{answer}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"key\";q=5;w=5"), "{answer}");
        assert_eq!(answer.header("ratelimit"), Some("\"key\";r=0;t=5"), "{answer}");
    }
    assert_eq!(rejected(&app, "rate_limited").await, refused.len() as u64);
    // Another key has a bucket of its own; what needs no key has none.
    let other = App::on(&server);
    other.get("/v1/workspace").await.ok();
    for _ in 0..20 {
        app.get("/healthz").no_key().await.ok();
    }
    // A tracking SDK is told the same.
    let event = json!({"userId": "x", "event": "e", "type": "track", "writeKey": app.key});
    app.post("/v1/track").json(event).await.refused(429, "rate_limited");
    // Whoever waits is served again.
    eventually("the bucket fills", async || (app.get("/v1/workspace").await.status == 200).then_some(())).await;
}

async fn a_key_may_have_a_rate_of_its_own(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_RATE_LIMIT", "0")]);
    let app = App::default_of(&server);
    let answer = app.get("/v1/workspace").await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, None), "nobody is limited");
    let made = app.post("/v1/api-keys").json(json!({"name": "slow", "scopes": ["profiles:read"], "rate_limit": 1})).await.created();
    assert_eq!(made["rate_limit"], 1);
    let slow = app.with_key(made["key"].as_str().unwrap_or_default());
    let statuses = async |times: usize| {
        let mut out = Vec::new();
        for _ in 0..times {
            out.push(slow.get("/v1/workspace").await.status);
        }
        out
    };
    assert!(statuses(10).await.contains(&429));
    let path = format!("/v1/api-keys/{}", id(&made));
    assert_eq!(app.patch(&path).json(json!({"name": "still slow"})).await.ok()["rate_limit"], 1, "what is absent stays");
    assert_eq!(app.patch(&path).json(json!({"rate_limit": null})).await.ok()["rate_limit"], Value::Null);
    assert!(!statuses(10).await.contains(&429));
    for wrong in [json!(0), json!(-1), json!(1_000_001)] {
        app.patch(&path).json(json!({"rate_limit": wrong})).await.refused_at("/rate_limit", "invalid_value");
    }
}

/// Waits until so many requests are under way in a lane.
async fn under_way(app: &App, lane: &str, many: usize) {
    let sample = format!("people_http_requests_in_flight{{lane=\"{lane}\"}} {many}\n");
    eventually(&sample, async || app.get("/metrics").no_key().await.text().contains(&sample).then_some(())).await;
}

/// A request whose body does not come: it is under way for as long as the server has patience.
async fn half_sent(app: &App, path: &str) -> TcpStream {
    let address = app.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        app.key
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    stream
}

async fn a_full_lane_sheds_and_the_others_go_on(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_MAX_REQUESTS", "2")]);
    let app = App::default_of(&server);
    let person = app.person(ada()).await;
    let held = [half_sent(&app, "/v1/profiles").await, half_sent(&app, "/v1/profiles").await];
    under_way(&app, "requests", 2).await;
    let begun = Instant::now();
    let answer = app.get(&format!("/v1/profiles/{}", id(&person))).await;
    let took = begun.elapsed();
    answer.refused(503, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer}");
    // Within 50 ms where nothing else runs; here other stories do.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(rejected(&app, "overloaded").await, 1);
    // A short body is read all the same, so that the connection stays: the next request comes on it. One that does not come on,
    // or is long, costs its sender the connection.
    for (length, sent, stays) in [(300, 300, true), (300, 10, false), (200_000, 1_000, false)] {
        let address = app.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("the server accepts");
        let mut answers = 0;
        for _ in 0..2 {
            let head = format!(
                "POST /v1/profiles HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            let request = [head.into_bytes(), vec![b' '; sent]].concat();
            if stream.write_all(&request).await.is_err() {
                break;
            }
            let mut answer = vec![0; 4096];
            let Ok(read @ 1..) = stream.read(&mut answer).await else { break };
            assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 503"), "{length}");
            answers += 1;
        }
        assert_eq!(answers, if stays { 2 } else { 1 }, "of {length} bytes, {sent} sent");
    }
    // Searches have a lane of their own, health has none.
    assert_eq!(app.find(json!({"q": "lovelace"})).await, ["crm-17"]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(app.get(path).no_key().await.status, 200, "{path}");
    }
    drop(held);
    under_way(&app, "requests", 0).await;
    app.read(id(&person)).await;
    // Without a key nobody holds a place, however slowly they send.
    let nobody = app.with_key("ppl_none");
    let begun = Instant::now();
    let _turned_away = [half_sent(&nobody, "/v1/profiles/upsert").await, half_sent(&nobody, "/v1/profiles/upsert").await];
    eventually("they are turned away", async || {
        let text = app.get("/metrics").no_key().await.text();
        text.contains("route=\"/v1/profiles/upsert\",status=\"4xx\"} 2").then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(8), "they held their places until their bodies were given up");
    app.read(id(&person)).await;
}

async fn a_stream_keeps_its_place_until_it_ends(engine: Engine) {
    let settings = [("PEOPLE_MAX_STREAMS", "1"), ("PEOPLE_JOBS", "0")];
    let server = Server::on(Database::create(engine).await, &settings);
    let app = App::default_of(&server);
    // Nobody works on it: its stream has no end.
    let job = app.post("/v1/duplicates/scan").await.is(202);
    let path = format!("/v1/jobs/{}/stream", id(&job));
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("the server accepts");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\r\n", app.key);
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut begun = [0; 256];
    let read = stream.read(&mut begun).await.expect("the stream begins");
    assert!(String::from_utf8_lossy(&begun[..read]).starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(&begun[..read]));
    app.get(&path).await.refused(503, "overloaded");
    app.person(ada()).await;
    drop(stream);
    // Another takes the place once the server has noticed.
    under_way(&app, "streams", 0).await;
}
