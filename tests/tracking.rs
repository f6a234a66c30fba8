//! The routes of tracking SDKs: what the public clients send, and the answers they are known to need.

use std::io::Write as _;

use base64::Engine as _;
use people_tests::{Answer, App, stories};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{id, identities, list};

stories![
    a_visitor_is_followed_from_the_first_page_to_the_purchase,
    the_write_key_is_found_wherever_sdks_put_it,
    bodies_come_packed_and_as_text,
    a_message_sent_again_changes_nothing,
    a_bad_message_spoils_no_other_and_alone_it_is_a_400,
    errors_have_what_each_client_reads,
    a_browser_reads_the_answers,
    a_browsers_key_takes_nobody_over,
];

async fn page(app: &App, path: &str, body: Value) -> Value {
    let answer = app.post(path).json(body).await;
    let body = answer.ok();
    assert_eq!(body["success"], true, "{answer}");
    body
}

async fn person(app: &App, kind: &str, value: &str) -> Value {
    app.get(&format!("/v1/profiles/lookup?kind={kind}&value={value}")).await.ok()
}

fn failed(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    assert_eq!((answer.status, &body["code"], &body["success"]), (status, &json!(code), &json!(false)), "{answer}");
    assert!(body["message"].is_string() && body["error"].is_string(), "{answer}");
}

async fn a_visitor_is_followed_from_the_first_page_to_the_purchase(app: &App) {
    page(
        app,
        "/v1/page",
        json!({"anonymousId": "a1", "name": "Pricing", "properties": {"path": "/pricing"}, "context": {"sessionId": 17}}),
    )
    .await;
    page(app, "/v1/track", json!({"anonymousId": "a1", "event": "clicked", "context": {"sessionId": 17}})).await;
    page(
        app,
        "/v1/identify",
        json!({"anonymousId": "a1", "userId": 42, "traits": {"email": "Ada@Example.com", "firstName": "Ada", "lastName": "Lovelace",
            "company": {"name": "Engines"}, "plan": "pro", "seats": 3, "nested": {"a": 1}, "address": {"city": "London", "country": "GB"}}}),
    )
    .await;
    page(app, "/v1/group", json!({"userId": "42", "groupId": "engines", "traits": {"size": 12}})).await;
    page(app, "/v1/screen", json!({"userId": "42", "name": "Cart"})).await;
    page(app, "/v1/page", json!({"anonymousId": "a2"})).await;
    page(app, "/v1/alias", json!({"previousId": "a2", "userId": "42"})).await;
    let ada = person(app, "external_id", "42").await;
    assert_eq!((&ada["email"], &ada["name"], &ada["company"]), (&json!("ada@example.com"), &json!("Ada Lovelace"), &json!("Engines")));
    assert_eq!((&ada["city"], &ada["country"]), (&json!("London"), &json!("GB")));
    assert_eq!(ada["attributes"], json!({"plan": "pro", "seats": 3}), "an object is no attribute, and the rest is kept");
    assert_eq!(identities(&ada, "anonymous_id").len(), 2);
    assert_eq!(ada["channels"], json!(["app", "web"]));
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 1}));
    let line = app.get(&format!("/v1/profiles/{}/timeline", id(&ada))).await.ok();
    let mut kinds: Vec<&str> =
        list(&line, "data").iter().filter_map(|e| e["type"].as_str()).filter(|t| !t.starts_with("system.")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["alias", "clicked", "group", "identify", "page", "page", "screen"]);
    let sessions = app.get(&format!("/v1/profiles/{}/sessions", id(&ada))).await.ok();
    assert!(list(&sessions, "data").iter().any(|s| s["sender_id"] == "17" && s["event_count"] == 2), "{sessions}");
}

async fn the_write_key_is_found_wherever_sdks_put_it(app: &App) {
    let message = |n: u32| json!({"type": "track", "userId": "u1", "event": format!("e{n}")});
    let basic = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
    for (n, text) in [(1, format!("{}:", app.key)), (2, app.key.clone()), (3, format!("{}:ignored", app.key))] {
        app.post("/v1/track").no_key().header("authorization", &basic(&text)).json(message(n)).await.ok();
    }
    let mut keyed = message(4);
    keyed["writeKey"] = json!(app.key);
    app.post("/v1/track").no_key().json(keyed.clone()).await.ok();
    app.post("/v1/batch").no_key().json(json!({"batch": [message(5)], "writeKey": app.key})).await.ok();
    app.post("/v1/b").no_key().json(json!({"batch": [keyed]})).await.ok();
    for answer in [
        app.post("/v1/track").no_key().json(message(9)).await,
        app.post("/v1/track").no_key().header("authorization", &basic("nonsense:")).json(message(9)).await,
        app.post("/v1/track").no_key().json(json!({"writeKey": "nonsense", "userId": "u1", "event": "e"})).await,
        app.post("/v1/track").no_key().bytes("text/plain", "nonsense").await,
    ] {
        failed(&answer, 401, "unauthorized");
    }
    failed(&app.with_scopes(&["profiles:read"]).await.post("/v1/track").json(message(9)).await, 403, "missing_scope");
    let ada = person(app, "external_id", "u1").await;
    let line = app.get(&format!("/v1/profiles/{}/timeline", id(&ada))).await.ok();
    assert_eq!(list(&line, "data").iter().filter(|e| e["type"].as_str().is_some_and(|t| t.starts_with('e'))).count(), 6);
    // A password of Basic authentication opens nothing else.
    app.get("/v1/profiles").no_key().header("authorization", &basic(&format!("{}:", app.key))).await.refused(401, "unauthorized");
}

async fn bodies_come_packed_and_as_text(app: &App) {
    let pack = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(bytes).expect("memory takes it");
        out.finish().expect("memory takes it")
    };
    let body = json!({"batch": [{"type": "track", "userId": "u1", "event": "packed"}]}).to_string();
    app.post("/v1/batch").header("content-encoding", "gzip").bytes("application/json", pack(body.as_bytes())).await.ok();
    app.post("/v1/t").bytes("text/plain", json!({"userId": "u1", "event": "text"}).to_string()).await.ok();
    failed(&app.post("/v1/batch").header("content-encoding", "gzip").bytes("application/json", body).await, 400, "invalid_gzip");
    // A small body that unpacks to a large one.
    let bomb = pack(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 1_000_000);
    failed(&app.post("/v1/batch").header("content-encoding", "gzip").bytes("application/json", bomb).await, 400, "too_large");
    failed(&app.post("/v1/batch").bytes("application/json", vec![b' '; 4_300_000]).await, 400, "too_large");
    let odd = json!({"userId": "u1", "event": "nul\u{0}s", "properties": {"a\u{0}": "b\u{0}"}}).to_string();
    app.post("/v1/track").bytes("application/json", odd).await.ok();
}

async fn a_message_sent_again_changes_nothing(app: &App) {
    let batch = json!({"sentAt": "2026-01-01T00:00:10Z", "batch": [
        {"type": "identify", "userId": "u1", "traits": {"plan": "pro"}, "messageId": "m1"},
        {"type": "track", "userId": "u1", "event": "order", "messageId": "m2", "timestamp": "2026-01-01T00:00:00Z"},
        {"type": "track", "userId": "u1", "event": "order", "messageId": "m2", "timestamp": "2026-01-01T00:00:00Z"}
    ]});
    let first = page(app, "/v1/batch", batch.clone()).await;
    let before = person(app, "external_id", "u1").await;
    assert_eq!(page(app, "/v1/batch", batch).await, first);
    assert_eq!(person(app, "external_id", "u1").await, before);
    let line = app.get(&format!("/v1/profiles/{}/timeline?type=order", id(&before))).await.ok();
    assert_eq!(list(&line, "data").len(), 1);
    let time = |field: &str| people_domain::Timestamp::parse(line["data"][0][field].as_str().expect("a time")).expect("a time").micros();
    assert_eq!(time("received_at") - time("occurred_at"), 10_000_000, "the client's clock is corrected by its sentAt");
}

async fn a_bad_message_spoils_no_other_and_alone_it_is_a_400(app: &App) {
    let bad = [
        (json!({"type": "track", "event": "e"}), "no_user_anon_id"),
        (json!({"type": "track", "userId": "u1"}), "invalid_event"),
        (json!({"type": "group", "userId": "u1"}), "no_group_id"),
        (json!({"type": "alias", "userId": "u1"}), "no_previous_id"),
        (json!({"type": "page", "userId": "null"}), "junk_identity"),
        (json!({"type": "track", "userId": "u1", "event": "e", "timestamp": "2999-01-01T00:00:00Z"}), "in_the_future"),
        (json!({"type": "track", "userId": "u1", "event": "e", "properties": {"long": "x".repeat(40_000)}}), "too_large"),
    ];
    for (message, code) in &bad {
        let path = format!("/v1/{}", message["type"].as_str().expect("a type"));
        failed(&app.post(&path).json(message.clone()).await, 400, code);
    }
    let mut batch: Vec<Value> = bad.iter().map(|(message, _)| message.clone()).collect();
    batch.push(json!({"type": "nonsense", "userId": "u1"}));
    batch.push(json!("nonsense"));
    batch.push(json!({"type": "track", "userId": "u1", "event": "fine", "messageId": "m"}));
    let answer = page(app, "/v1/batch", json!({"batch": batch})).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    let codes: Vec<&str> = list(&answer, "rejected").iter().filter_map(|r| r["code"].as_str()).collect();
    let mut wanted: Vec<&str> = bad.iter().map(|(_, code)| *code).collect();
    wanted.extend(["invalid_type", "no_user_anon_id"]);
    // The two last ones have no ids or no type: what is missed first is told.
    assert_eq!(codes, wanted);
}

async fn errors_have_what_each_client_reads(app: &App) {
    failed(&app.post("/v1/track").bytes("application/json", "{").await, 400, "malformed_json");
    failed(&app.post("/v1/batch").json(json!({"batch": []})).await, 400, "invalid_batch");
    failed(&app.post("/v1/batch").json(json!({})).await, 400, "invalid_batch");
    let message = json!({"type": "track", "userId": "u1", "event": "e"});
    failed(&app.post("/v1/batch").json(json!({"batch": vec![message; 2_501]})).await, 400, "invalid_batch");
    failed(&app.post("/v1/track").json(json!([])).await, 400, "malformed_json");
    failed(&app.get("/v1/track").await, 405, "method_not_allowed");
}

async fn a_browser_reads_the_answers(app: &App) {
    let asked = app
        .call(Method::OPTIONS, "/v1/t")
        .no_key()
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, Some("*")), "{asked}");
    assert!(asked.header("access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
    for answer in [
        app.post("/v1/t").json(json!({"userId": "u1", "event": "e"})).await,
        app.post("/v1/t").json(json!({"userId": "u1"})).await,
        app.post("/v1/t").no_key().json(json!({})).await,
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    }
    assert_eq!(app.get("/v1/profiles").await.header("access-control-allow-origin"), None);
}

async fn a_browsers_key_takes_nobody_over(app: &App) {
    let key = app.post("/v1/api-keys").json(json!({"name": "shop", "scopes": ["events:write"], "trust": "browser"})).await.created();
    let browser = app.with_key(key["key"].as_str().expect("a key"));
    let ada = app.person(json!({"external_id": "u1", "email": "ada@example.com"})).await;
    let grace = app.person(json!({"external_id": "u2"})).await;
    page(&browser, "/v1/i", json!({"userId": "u2", "traits": {"email": "ada@example.com"}})).await;
    page(&browser, "/v1/a", json!({"userId": "u2", "previousId": "u1"})).await;
    assert_eq!(app.read(id(&ada)).await["identities"], ada["identities"], "nobody is fused with her, and no key is taken");
    let grace = app.read(id(&grace)).await;
    assert_eq!((&grace["email"], &grace["external_id"]), (&Value::Null, &json!("u2")));
    // What nobody has may be attached, and does not become the primary.
    page(&browser, "/v1/i", json!({"userId": "u1", "traits": {"email": "other@example.com"}})).await;
    let ada = app.read(id(&ada)).await;
    assert_eq!(identities(&ada, "email"), ["ada@example.com", "other@example.com"]);
}
