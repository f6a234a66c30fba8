//! The routes of tracking SDKs: what the public clients send, and the answers they are known to need.

mod context;
mod traits;
mod trust;

use std::io::Write as _;

use base64::Engine as _;
use people_tests::{Answer, App, Database, Engine, Server, engine_stories, eventually, same, stories};
use reqwest::Method;
use serde_json::{Value, json};

use self::trust::browser;
use crate::cast::{id, identities, list};

stories![
    a_visitor_is_followed_from_the_first_page_to_the_purchase,
    the_write_key_is_found_wherever_sdks_put_it,
    bodies_come_packed_and_as_text,
    a_message_sent_again_changes_nothing,
    a_bad_message_spoils_no_other_and_alone_it_is_a_400,
    errors_have_what_each_client_reads,
    a_browser_reads_the_answers,
    a_former_id_is_a_users_or_a_visitors,
    a_merge_says_outright_that_two_ids_are_one_person,
    a_beacon_and_a_pixel_carry_their_key_in_the_query,
    every_limit_is_answered_so_that_clients_stop_or_go_on,
    ids_are_taken_as_they_come,
    the_four_times_of_a_message_are_kept,
    a_time_is_read_however_it_is_written,
    a_text_cut_in_the_middle_of_a_character_costs_no_batch,
    a_message_that_cannot_be_read_costs_no_batch,
    a_request_sent_again_under_its_key_is_answered_as_before,
];

engine_stories![a_key_in_a_query_reaches_no_log];

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
    let from = |channel: &str| json!({"type": "track", "userId": "43", "event": "e", "channel": channel});
    page(app, "/v1/batch", json!({"batch": [from("SMS"), from("sources"), from("server"), from("no channel")]})).await;
    assert_eq!(person(app, "external_id", "43").await["channels"], json!(["sms"]), "letters of either case; a server is no channel");
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
    // One that cannot be read says nothing of its key.
    let unreadable = format!(r#"{{"batch": [{{"type": "page", "n": 1e999}}, {keyed}]}}"#);
    let taken = app.post("/v1/b").no_key().bytes("application/json", unreadable).await.ok();
    assert_eq!((&taken["accepted"], taken["rejected"].as_array().map(Vec::len)), (&json!(1), Some(1)), "{taken}");
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
    assert_eq!(list(&line, "data").iter().filter(|e| e["type"].as_str().is_some_and(|t| t.starts_with('e'))).count(), 7);
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
        (json!({"type": "page", "userId": "x".repeat(600)}), "too_long"),
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
    wanted.extend(["invalid_type", "wrong_type"]);
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

async fn timeline(app: &App, profile: &Value, kind: &str) -> Vec<Value> {
    list(&app.get(&format!("/v1/profiles/{}/timeline?type={kind}", id(profile))).await.ok(), "data").to_vec()
}

async fn person_of(app: &App, external: &str) -> Value {
    person(app, "external_id", external).await
}

async fn a_former_id_is_a_users_or_a_visitors(app: &App) {
    let count = async || app.post("/v1/profiles/count").json(json!({})).await.ok()["total"].clone();
    page(app, "/v1/page", json!({"anonymousId": "visitor"})).await;
    page(app, "/v1/track", json!({"userId": "old", "event": "bought"})).await;
    let old = person_of(app, "old").await;
    // A visitor becomes the user.
    page(app, "/v1/alias", json!({"userId": "old", "previousId": "visitor"})).await;
    assert_eq!(count().await, 1);
    assert_eq!(identities(&app.read(id(&old)).await, "anonymous_id"), ["visitor"]);
    // A user gets another id: what came under the old one is theirs.
    page(app, "/v1/alias", json!({"userId": "new", "previousId": "old", "anonymousId": "visitor"})).await;
    let renamed = app.read(id(&old)).await;
    assert_eq!((&renamed["external_id"], identities(&renamed, "external_id")), (&json!("new"), vec!["new", "old"]));
    assert_eq!(timeline(app, &old, "bought").await.len(), 1);
    page(app, "/v1/track", json!({"userId": "new", "event": "bought"})).await;
    assert_eq!((count().await, timeline(app, &old, "bought").await.len()), (json!(1), 2));
    // Two users are never fused; the refusal shows, and the message is taken.
    page(app, "/v1/identify", json!({"userId": "other", "traits": {"plan": "pro"}})).await;
    let other = person_of(app, "other").await;
    page(app, "/v1/alias", json!({"userId": "other", "previousId": "new", "messageId": "m"})).await;
    assert_eq!(count().await, 2);
    same(&app.read(id(&old)).await["identities"], &person_of(app, "new").await["identities"]);
    let warnings = timeline(app, &other, "system.identity_refused").await;
    assert_eq!((warnings.len(), &warnings[0]["properties"]["fields"]), (1, &json!(["identities.external_id"])));
    let refused = json!([{"kind": "external_id", "value": "new", "code": "identity_conflict", "profile_id": old["id"]}]);
    assert_eq!(timeline(app, &other, "alias").await[0]["refused"], refused);
    // Nobody known by either: a visitor's, as SDKs send it before a sign-up.
    page(app, "/v1/alias", json!({"userId": "fresh", "previousId": "unseen"})).await;
    assert_eq!(identities(&person_of(app, "fresh").await, "anonymous_id"), ["unseen"]);
    // To itself: nothing.
    let before = person_of(app, "fresh").await;
    page(app, "/v1/alias", json!({"userId": "fresh", "previousId": "fresh"})).await;
    same(&person_of(app, "fresh").await["identities"], &before["identities"]);
}

async fn a_merge_says_outright_that_two_ids_are_one_person(app: &App) {
    let pair = |a: (&str, &str), b: (&str, &str)| json!({"mergeProperties": [{"type": a.0, "value": a.1}, {"type": b.0, "value": b.1}]});
    page(app, "/v1/page", json!({"anonymousId": "a1"})).await;
    page(app, "/v1/identify", json!({"userId": "u1", "traits": {"email": "ada@example.com"}})).await;
    page(app, "/v1/identify", json!({"userId": "u2", "traits": {"email": "grace@navy.example"}})).await;
    let (ada, grace) = (person_of(app, "u1").await, person_of(app, "u2").await);
    page(app, "/v1/merge", pair(("anonymousId", "a1"), ("email", "Ada@Example.com"))).await;
    assert_eq!(person(app, "anonymous_id", "a1").await["id"], ada["id"]);
    assert_eq!(timeline(app, &ada, "page").await.len(), 1, "with what they did");
    // The other way round, in a batch, and as another kind of id.
    let mut message = pair(("userId", "u1"), ("anonymous_id", "a2"));
    message["type"] = json!("merge");
    page(app, "/v1/batch", json!({"batch": [message]})).await;
    page(app, "/v1/merge", pair(("whatsapp", "442079460000"), ("user_id", "u1"))).await;
    let merged = app.read(id(&ada)).await;
    assert_eq!((identities(&merged, "anonymous_id"), identities(&merged, "whatsapp")), (vec!["a1", "a2"], vec!["442079460000"]));
    // Two identified people: a warning, no error, no merge.
    page(app, "/v1/merge", pair(("email", "grace@navy.example"), ("userId", "u1"))).await;
    let warnings = timeline(app, &ada, "system.identity_refused").await;
    assert_eq!((warnings.len(), &warnings[0]["properties"]["fields"]), (1, &json!(["identities.email"])));
    assert_eq!(app.read(id(&grace)).await["identities"], grace["identities"]);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 2}));
    for (wrong, code) in [
        (json!({}), "invalid_merge"),
        (json!({"mergeProperties": [{"type": "userId", "value": "u1"}]}), "invalid_merge"),
        (
            json!({"mergeProperties": [{"type": "userId", "value": "a"}, {"type": "userId", "value": "b"}, {"type": "userId", "value": "c"}]}),
            "invalid_merge",
        ),
        (json!({"mergeProperties": [{"type": "userId"}, {"type": "userId", "value": "u1"}]}), "invalid_merge"),
        (json!({"mergeProperties": "u1"}), "invalid_merge"),
        (pair(("userId", "u1"), ("userId", "u1")), "junk_identity"),
        (pair(("userId", "null"), ("userId", "u1")), "junk_identity"),
        (pair(("Not A Kind", "x"), ("userId", "u1")), "invalid_kind"),
    ] {
        failed(&app.post("/v1/merge").json(wrong).await, 400, code);
    }
}

async fn a_beacon_and_a_pixel_carry_their_key_in_the_query(app: &App) {
    let batch = json!({"batch": [{"type": "track", "anonymousId": "a1", "event": "left", "messageId": "m1"}]}).to_string();
    for _ in 0..2 {
        // A beacon has no headers of its own.
        let sent =
            app.post(&format!("/beacon/v1/batch?writeKey={}", app.key)).no_key().bytes("text/plain;charset=UTF-8", batch.clone()).await;
        assert_eq!((sent.ok()["accepted"].clone(), sent.header("access-control-allow-origin")), (json!(1), Some("*")));
    }
    let visitor = person(app, "anonymous_id", "a1").await;
    assert_eq!(timeline(app, &visitor, "left").await.len(), 1);
    failed(&app.post("/beacon/v1/batch?writeKey=nonsense").no_key().bytes("text/plain", batch.clone()).await, 401, "unauthorized");
    failed(&app.post("/beacon/v1/batch").no_key().bytes("text/plain", batch.clone()).await, 401, "unauthorized");
    // Elsewhere a query opens nothing.
    failed(&app.post(&format!("/v1/batch?writeKey={}", app.key)).no_key().bytes("text/plain", batch).await, 401, "unauthorized");
    app.get(&format!("/v1/profiles?writeKey={}", app.key)).no_key().await.refused(401, "unauthorized");

    let pixel = async |path: &str| app.get(&format!("/pixel/v1/{path}")).no_key().await;
    let query =
        format!("writeKey={}&anonymousId=%22a1%22&event=mail_opened&properties.campaign.name=spring&messageId=m2&channel=email", app.key);
    for _ in 0..2 {
        let shown = pixel(&format!("track?{query}")).await;
        let headers =
            ["content-type", "cache-control", "cross-origin-resource-policy", "access-control-allow-origin"].map(|name| shown.header(name));
        assert_eq!((shown.status, headers), (200, [Some("image/gif"), Some("no-store"), Some("cross-origin"), Some("*")]));
        assert!(shown.bytes.starts_with(b"GIF89a\x01\0\x01\0") && shown.bytes.ends_with(b";"), "one pixel by one");
    }
    let opened = timeline(app, &visitor, "mail_opened").await;
    assert_eq!(
        (opened.len(), &opened[0]["properties"], &opened[0]["channel"]),
        (1, &json!({"campaign": {"name": "spring"}}), &json!("email"))
    );
    pixel(&format!("page?writeKey={}&userId=u1&name=Terms", app.key)).await;
    assert_eq!(timeline(app, &person_of(app, "u1").await, "page").await[0]["properties"], json!({"name": "Terms"}));
    // Whoever reads the mail sees no broken image; whoever looks after it sees what is wrong.
    let shown = pixel(&format!("track?writeKey={}&anonymousId=a1&messageId=m3", app.key)).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("image/gif")));
    let rejected = app.get("/v1/rejected-events").await.ok();
    assert_eq!((&rejected["data"][0]["message_id"], &rejected["data"][0]["code"]), (&json!("m3"), &json!("invalid_event")));
    failed(&pixel("track?writeKey=nonsense&anonymousId=a1&event=e").await, 401, "unauthorized");
    failed(&pixel("track?anonymousId=a1&event=e").await, 401, "unauthorized");
    failed(&app.post(&format!("/pixel/v1/track?{query}")).await, 405, "method_not_allowed");
    let asked = app.call(Method::OPTIONS, "/beacon/v1/batch?writeKey=x").no_key().header("origin", "https://shop.example").await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, Some("*")));
}

async fn a_key_in_a_query_reaches_no_log(engine: Engine) {
    for level in ["info", "trace"] {
        let server = Server::on(Database::create(engine).await, &[("PEOPLE_LOG", level)]);
        let app = App::default_of(&server);
        let query = format!("writeKey={}&anonymousId=secret-visitor&event=e", app.key);
        for answer in [
            app.get(&format!("/pixel/v1/track?{query}")).no_key().await,
            app.post(&format!("/beacon/v1/batch?{query}")).no_key().json(json!({"batch": [{"type": "page", "anonymousId": "a"}]})).await,
            app.post(&format!("/beacon/v1/batch?{query}")).no_key().bytes("text/plain", "nonsense").await,
            app.get(&format!("/pixel/v1/nonsense?{query}")).no_key().await,
            app.get(&format!("/pixel/v1/track?writeKey=nonsense&{query}")).no_key().await,
            app.get(&format!("/pixel/v1/track?{query}&long={}", "x".repeat(9_000))).no_key().await,
        ] {
            assert!(!answer.text().contains(&app.key), "{answer}");
        }
        let heard = "the six requests are in the log";
        let log = eventually(heard, async || Some(server.log()).filter(|log| log.matches("answered").count() >= 6)).await;
        for secret in [app.key.as_str(), "secret-visitor"] {
            assert!(!log.contains(secret), "at {level}: {:?}", log.lines().find(|line| line.contains(secret)));
        }
    }
}

async fn every_limit_is_answered_so_that_clients_stop_or_go_on(app: &App) {
    let event = |properties: Value| json!({"type": "track", "userId": "u1", "event": "e", "properties": properties});
    // 32 KiB a message, whatever fills it; what is just below is taken.
    let filler = |bytes: usize| json!({"x": "x".repeat(bytes)});
    let envelope = event(filler(0)).to_string().len();
    page(app, "/v1/track", event(filler(32 * 1024 - envelope))).await;
    failed(&app.post("/v1/track").json(event(filler(32 * 1024 - envelope + 1))).await, 400, "too_large");
    failed(&app.post("/v1/identify").json(json!({"userId": "u1", "traits": filler(33_000)})).await, 400, "too_large");
    failed(&app.post("/v1/page").json(json!({"userId": "u1", "context": filler(33_000)})).await, 400, "too_large");
    // What the batch says for all of them counts for none.
    page(app, "/v1/batch", json!({"context": filler(20_000), "batch": [event(filler(20_000))]})).await;
    // 4 MiB a request, 2,500 messages.
    let many = |n: usize| json!({"batch": vec![json!({"type": "page", "userId": "u1"}); n]});
    assert_eq!(page(app, "/v1/batch", many(2_500)).await["accepted"], 2_500);
    failed(&app.post("/v1/batch").json(many(2_501)).await, 400, "invalid_batch");
    let large = json!({"batch": vec![event(filler(30_000)); 150]});
    failed(&app.post("/v1/batch").json(large).await, 400, "too_large");
    failed(&app.post("/v1/import").json(json!({"batch": []})).await, 400, "invalid_batch");
    failed(&app.post("/v1/batch").json(json!({"batch": {"type": "page"}})).await, 400, "invalid_batch");
    failed(&app.post("/v1/track").header("content-encoding", "br").bytes("application/json", "{}").await, 400, "unsupported_encoding");
    failed(&app.post("/v1/track").bytes("application/json", "[".repeat(1_000)).await, 400, "too_deep");
    failed(&app.post("/v1/track").bytes("application/json", "").await, 400, "malformed_json");
    // What a message cannot keep is left out of it, as long as it names somebody.
    page(
        app,
        "/v1/track",
        json!({"userId": "u1", "event": "odd", "properties": "none", "context": [], "timestamp": 17, "integrations": 1, "nonsense": {}}),
    )
    .await;
    assert_eq!(timeline(app, &person_of(app, "u1").await, "odd").await[0]["properties"], json!({}));
}

async fn ids_are_taken_as_they_come(app: &App) {
    page(app, "/v1/track", json!({"userId": 42, "anonymousId": 7.5, "event": "e", "messageId": 1})).await;
    page(app, "/v1/track", json!({"userId": "  42 ", "event": "e", "messageId": " 1 "})).await;
    page(app, "/v1/track", json!({"userId": "4\u{0}2\u{200B}\u{7}", "event": "e", "messageId": "\u{FEFF}1"})).await;
    let person = person_of(app, "42").await;
    assert_eq!(identities(&person, "anonymous_id"), ["7.5"]);
    assert_eq!(timeline(app, &person, "e").await.len(), 1, "one message, under its id however it was written");
    // Blank: each is a message of its own.
    for blank in [json!(""), json!("  "), json!(null), json!({})] {
        page(app, "/v1/track", json!({"userId": "42", "event": "blank", "messageId": blank})).await;
    }
    assert_eq!(timeline(app, &person, "blank").await.len(), 4);
    // Too long to be kept: it counts once all the same.
    for _ in 0..2 {
        page(app, "/v1/track", json!({"userId": "42", "event": "long", "messageId": "x".repeat(300)})).await;
    }
    page(app, "/v1/track", json!({"userId": "42", "event": "long", "messageId": "x".repeat(301)})).await;
    assert_eq!(timeline(app, &person, "long").await.len(), 2);
    // The same id under another key is another message.
    let other = app.with_scopes(&["events:write"]).await;
    page(&other, "/v1/track", json!({"userId": "42", "event": "e", "messageId": "1"})).await;
    assert_eq!(timeline(app, &person, "e").await.len(), 2);
    // One number is one id, however it is written; of one with too many digits others would be read as the same.
    for (n, number) in ["17", "17.0", "1.7e1"].into_iter().enumerate() {
        let body = format!(r#"{{"userId": {number}, "event": "numbered", "messageId": "n{n}"}}"#);
        app.post("/v1/track").bytes("application/json", body).await.ok();
    }
    assert_eq!(timeline(app, &person_of(app, "17").await, "numbered").await.len(), 3);
    for zero in ["0.0", "-0", "0e9"] {
        failed(
            &app.post("/v1/track").bytes("application/json", format!(r#"{{"userId": {zero}, "event": "e"}}"#)).await,
            400,
            "junk_identity",
        );
    }
    for field in ["userId", "anonymousId", "messageId"] {
        let body = format!(r#"{{"userId": "42", "event": "e", "{field}": 123456789012345678901}}"#);
        failed(&app.post("/v1/track").bytes("application/json", body).await, 400, "inexact_id");
    }
    for junk in ["null", "undefined", "NaN", "[object Object]", "guest", "0", "00000000-0000-0000-0000-000000000000"] {
        failed(&app.post("/v1/track").json(json!({"userId": junk, "event": "e"})).await, 400, "junk_identity");
        // Beside an id that is somebody's, it is left out and told of.
        page(app, "/v1/track", json!({"userId": junk, "anonymousId": "a1", "event": "beside"})).await;
    }
    let visitor = self::person(app, "anonymous_id", "a1").await;
    assert_eq!(list(&visitor, "identities").len(), 1);
    assert!(timeline(app, &visitor, "beside").await.iter().all(|e| e["refused"][0]["code"] == "junk_identity"));
}

async fn the_four_times_of_a_message_are_kept(app: &App) {
    let sent = async |message: Value, key: &App| {
        page(key, "/v1/track", message).await;
        let person = person_of(app, "u1").await;
        timeline(app, &person, "e").await[0].clone()
    };
    // A clock that is ten minutes slow, relayed by a server of the sender's own that had it an hour before.
    let relayed = json!({"userId": "u1", "event": "e", "originalTimestamp": "2026-01-01T09:50:00Z", "sentAt": "2026-01-01T09:50:20.000Z",
        "receivedAt": "2026-01-01T10:00:25Z", "timestamp": "2026-01-01T10:00:05Z"});
    let event = sent(relayed.clone(), app).await;
    assert_eq!(event["original_timestamp"], "2026-01-01T09:50:00.000000Z");
    assert_eq!(event["sent_at"], "2026-01-01T09:50:20.000000Z");
    assert_eq!(event["received_at"], "2026-01-01T10:00:25.000000Z");
    assert_eq!(event["occurred_at"], "2026-01-01T10:00:05.000000Z");
    same(&app.get(&format!("/v1/events/{}", id(&event))).await.ok(), &event);
    // A browser has nobody in front of us: when its messages are received, we know.
    let event = sent(relayed, &browser(app).await).await;
    assert_ne!(event["received_at"], "2026-01-01T10:00:25.000000Z");
    let micros =
        |event: &Value, field: &str| people_domain::Timestamp::parse(event[field].as_str().expect("a time")).expect("a time").micros();
    assert_eq!(micros(&event, "received_at") - micros(&event, "occurred_at"), 20_000_000);
    // Without any, it happened when it was received; a time to come is none.
    page(app, "/v1/track", json!({"userId": "u2", "event": "e", "receivedAt": "2999-01-01T00:00:00Z", "sentAt": "nonsense"})).await;
    let event = timeline(app, &person_of(app, "u2").await, "e").await[0].clone();
    assert_eq!(
        (&event["original_timestamp"], &event["sent_at"], &event["occurred_at"]),
        (&Value::Null, &Value::Null, &event["received_at"])
    );
}

async fn a_text_cut_in_the_middle_of_a_character_costs_no_batch(app: &App) {
    // As JavaScript writes half an emoji, and as a careless client writes bytes.
    let body = r#"{"batch": [{"type": "track", "userId": "u1\ud83d", "event": "cut\ude00", "properties": {"text": "\ud83d\ude00 \ud83d"}},
        {"type": "track", "userId": "u1", "event": "whole"}]}"#;
    let answer = app.post("/v1/batch").bytes("application/json", body).await.ok();
    assert_eq!(answer["accepted"], 2, "{answer}");
    let mut bytes = br#"{"userId": "u1", "event": "bytes", "properties": {"text": ""#.to_vec();
    bytes.extend(b"\xff\xf0\x9f\x98\"}}");
    app.post("/v1/track").bytes("application/json", bytes).await.ok();
    let person = person_of(app, "u1").await;
    assert_eq!(timeline(app, &person, "cut").await[0]["properties"]["text"], "😀 \u{FFFD}");
    assert_eq!((timeline(app, &person, "whole").await.len(), timeline(app, &person, "bytes").await.len()), (1, 1));
}

async fn a_time_is_read_however_it_is_written(app: &App) {
    let written = async |n: usize, message: Value| {
        let (user, mut message) = (format!("w{n}"), message);
        (message["userId"], message["event"]) = (json!(user), json!("e"));
        page(app, "/v1/track", message).await;
        timeline(app, &person_of(app, &user).await, "e").await[0].clone()
    };
    for (n, text) in ["2026-01-05", "2026-01-05T00:00", "2026-01-05 00:00:00", "2026-01-05T02:00:00+0200", "2026-01-04T19:00:00.000-05"]
        .into_iter()
        .map(|text| json!(text))
        .chain([json!(1_767_571_200), json!(1_767_571_200_000_u64), json!("1767571200000")])
        .enumerate()
    {
        let event = written(n, json!({"timestamp": text})).await;
        assert_eq!((&event["occurred_at"], &event["refused"]), (&json!("2026-01-05T00:00:00.000000Z"), &Value::Null), "{text}");
    }
    // With its zone, as programs print it, as mails have it.
    for (n, text) in [
        "2026-01-05T01:00:00[Europe/Paris]",
        "2026-01-04T19:00[-05:00]",
        "2026-01-05T01:00:00+01:00[Europe/Paris]",
        "2026-01-05 02:00:00 +0200",
        "2026-01-05 00:00:00.000 UTC",
        "Mon, 05 Jan 2026 01:00:00 +0100",
    ]
    .into_iter()
    .enumerate()
    {
        let event = written(40 + n, json!({"timestamp": text})).await;
        assert_eq!((&event["occurred_at"], &event["refused"]), (&json!("2026-01-05T00:00:00.000000Z"), &Value::Null), "{text}");
    }
    // One that cannot be read is told of.
    let event = written(9, json!({"timestamp": "0001-01-01T00:00:00Z"})).await;
    assert_eq!(event["occurred_at"], event["received_at"], "as programs write who know no time");
    let event = written(10, json!({"timestamp": "yesterday", "originalTimestamp": 17})).await;
    assert_eq!(event["occurred_at"], event["received_at"]);
    let told = |kind: &str, value: &str| json!({"kind": kind, "value": value, "code": "invalid_timestamp"});
    assert_eq!(event["refused"], json!([told("timestamp", "yesterday"), told("originalTimestamp", "17")]));
    // Where nothing says when it was sent, `timestamp` is the time; where something does, the original one is corrected by it.
    let event = written(11, json!({"timestamp": "2026-01-05T10:00:00Z", "originalTimestamp": "2026-01-05T09:00:00Z"})).await;
    assert_eq!(
        (&event["occurred_at"], &event["original_timestamp"]),
        (&json!("2026-01-05T10:00:00.000000Z"), &json!("2026-01-05T09:00:00.000000Z"))
    );
    // Sent before it happened, as a client says that knows no time: when it happened counts.
    for (n, sent) in ["1970-01-01T00:00:00Z", "2026-01-05T09:00:00Z"].into_iter().enumerate() {
        let event = written(20 + n, json!({"timestamp": "2026-01-05T10:00:00Z", "sentAt": sent})).await;
        assert_eq!(event["occurred_at"], "2026-01-05T10:00:00.000000Z");
    }
    // An item without a time of sending has that of its batch.
    let item = json!({"type": "track", "userId": "w30", "event": "e", "timestamp": "2026-01-05T10:00:00Z", "sentAt": null});
    page(app, "/v1/batch", json!({"sentAt": "2026-01-05T10:00:30Z", "batch": [item]})).await;
    assert_eq!(timeline(app, &person_of(app, "w30").await, "e").await[0]["sent_at"], "2026-01-05T10:00:30.000000Z");
}

async fn a_message_that_cannot_be_read_costs_no_batch(app: &App) {
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let item = |event: &str, a: &str| format!(r#"{{"type": "track", "userId": "u1", "event": "{event}", "properties": {{"a": {a}}}}}"#);
    let body = format!(
        r#"{{"sentAt": "2026-01-05T10:00:00Z", "batch": [{}, {}, {}, {}]}}"#,
        item("good", "1"),
        item("deep", &nested(300)),
        item("large", "1e400"),
        item("good", "2")
    );
    let answer = app.post("/v1/batch").bytes("application/json", body).await.ok();
    assert_eq!(answer["accepted"], 2, "{answer}");
    let told: Vec<(&Value, &Value)> = list(&answer, "rejected").iter().map(|r| (&r["index"], &r["code"])).collect();
    assert_eq!(told, [(&json!(1), &json!("too_deep")), (&json!(2), &json!("number_out_of_range"))]);
    assert_eq!(timeline(app, &person_of(app, "u1").await, "good").await.len(), 2);
    assert_eq!(list(&app.get("/v1/rejected-events").await.ok(), "data").len(), 2);
    failed(&app.post("/v1/track").bytes("application/json", item("alone", &nested(300))).await, 400, "too_deep");
    failed(&app.post("/v1/track").bytes("application/json", item("alone", "1e400")).await, 400, "number_out_of_range");
    // Up to 200 deep it is taken, told as it came, and read by whatever asks for it.
    app.post("/v1/track").bytes("application/json", item("nested", &nested(198))).await.ok();
    let ada = person_of(app, "u1").await;
    let shown = app.get(&format!("/v1/profiles/{}/timeline?type=nested", id(&ada))).await;
    assert_eq!(shown.status, 200);
    assert!(shown.text().replace(' ', "").contains(&nested(198)));
    let found = json!({"event": "nested", "where": [{"field": "properties.b", "op": "missing"}]});
    assert_eq!(app.find(json!({"filter": found})).await, ["u1"]);
    app.post("/v1/segments").json(json!({"name": "deep", "filter": found})).await.created();
    app.post("/v1/track").bytes("application/json", item("nested", &nested(198))).await.ok();
}

async fn a_request_sent_again_under_its_key_is_answered_as_before(app: &App) {
    let send = async |path: &str, body: &Value| app.post(path).idempotency_key(path).json(body.clone()).await;
    let message = json!({"userId": "u1", "event": "e"});
    let batch = json!({"batch": [{"type": "track", "userId": "u1", "event": "e"}, {"type": "track", "userId": "u1"}]});
    for (path, body) in [("/v1/track", &message), ("/v1/batch", &batch)] {
        let first = send(path, body).await;
        let again = send(path, body).await;
        assert_eq!((first.ok(), first.header("idempotency-replayed")), (again.ok(), None));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        failed(&send(path, &json!({"userId": "u1", "event": "other", "batch": [message]})).await, 422, "idempotency_mismatch");
    }
    assert_eq!(timeline(app, &person_of(app, "u1").await, "e").await.len(), 2);
    // What was not taken changed nothing: sent again, it may be.
    let wrong = json!({"userId": "u1"});
    for _ in 0..2 {
        failed(&app.post("/v1/track").idempotency_key("wrong").json(wrong.clone()).await, 400, "invalid_event");
    }
    failed(&app.post("/v1/track").header("idempotency-key", "").json(message).await, 400, "invalid_header");
}
