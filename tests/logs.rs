//! What the server writes to its log: structure for machines, the id of each request, and nothing anybody sent.

use people_tests::{App, BOOTSTRAP_KEY, Database, Engine, Server, engine_stories, eventually, raw_request};
use serde_json::{Value, json};

use crate::cast::id;

engine_stories![lines_are_json_with_the_id_of_their_request, nothing_that_was_sent_is_in_the_log];

const MARK: &str = "canary4d8a";

/// The lines of the log that are not the greeting on standard output.
fn lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    // The keeper of the process tells its id there as well.
    let greetings = ["process ", "People is listening", "Read and try the API"];
    let greeting = |line: &&str| !greetings.iter().any(|greeting| line.starts_with(greeting));
    let lines = log.lines().filter(|line| !line.trim().is_empty()).filter(greeting);
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

async fn lines_are_json_with_the_id_of_their_request(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_LOG", "info"), ("PEOPLE_LOG_FORMAT", "json")]);
    let app = App::default_of(&server);
    let answers = [
        (app.get("/v1/workspace").header("x-request-id", "mine-1").await, "/v1/workspace"),
        (app.get(&format!("/v1/profiles/{}", uuid::Uuid::now_v7())).await, "/v1/profiles/{id}"),
        (app.get("/nowhere").await, "unmatched"),
        (app.post("/v1/profiles").json(json!({"external_id": "x"})).await, "/v1/profiles"),
    ];
    for (answer, route) in answers {
        let request = answer.header("x-request-id").expect("every answer has an id").to_owned();
        let line = eventually("the request is in the log", async || {
            lines(&server).into_iter().find(|l| l["span"]["request_id"] == request.as_str())
        })
        .await;
        assert_eq!((&line["span"]["status"], &line["fields"]["message"]), (&json!(answer.status), &json!("answered")), "{line}");
        let told = line["span"]["route"].as_str().unwrap_or_default().replace(":[0-9a-fA-F-]+", "");
        assert_eq!(told, route, "{line}");
        assert!(line["timestamp"].is_string() && line["level"] == "INFO" && line["fields"]["ms"].is_u64(), "{line}");
    }
}

/// In every place a caller can put something, at the most talkative level there is.
async fn nothing_that_was_sent_is_in_the_log(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_LOG", "debug"), ("PEOPLE_LOG_FORMAT", "json")]);
    let app = App::default_of(&server);
    let email = format!("{MARK}@example.com");
    let person = app
        .post("/v1/profiles")
        .header("x-reason", MARK)
        .header("idempotency-key", MARK)
        .header("user-agent", MARK)
        .header("cookie", MARK)
        .header("referer", &format!("https://{MARK}.example/"))
        .header(&format!("x-{MARK}"), MARK)
        .header("x-request-id", &format!("{MARK}@example.com"))
        .json(json!({"email": email, "external_id": MARK, "name": MARK, "attributes": {"note": MARK}, "labels": [MARK]}))
        .await
        .created();
    app.post("/v1/profiles").json(json!({"email": email})).await.refused(409, "identity_taken");
    app.post("/v1/profiles").bytes("application/json", format!("{{\"{MARK}\": ")).await.refused(400, "malformed_json");
    app.post("/v1/profiles").bytes(&format!("text/{MARK}"), MARK).await.refused(415, "unsupported_media_type");
    app.post("/v1/profiles").json(json!({MARK: MARK})).await.refused(422, "validation_failed");
    app.get(&format!("/v1/profiles?q={MARK}&label={MARK}")).await.ok();
    app.get(&format!("/v1/profiles?{MARK}={MARK}")).await.problem();
    app.get(&format!("/v1/profiles?cursor={MARK}")).await.problem();
    app.get(&format!("/v1/profiles/{MARK}")).await.refused(404, "not_found");
    app.get(&format!("/{MARK}/{MARK}")).await.refused(404, "not_found");
    app.get(&format!("/v1/profiles/lookup?email={email}")).await.ok();
    app.call(MARK.to_uppercase().parse().expect("a method"), "/v1/profiles").await.problem();
    app.search(json!({"q": MARK, "filter": {"field": "name", "op": "eq", "value": MARK}})).await;
    app.post("/v1/segments").json(json!({"name": MARK, "filter": {"field": "name", "op": "eq", "value": MARK}})).await.created();
    app.post("/v1/track").json(json!({"userId": MARK, "event": MARK, "properties": {MARK: MARK}})).await;
    app.post("/v1/track").json(json!({"userId": MARK, "event": MARK, "writeKey": MARK})).await;
    app.get(&format!("/pixel/v1/track?data={MARK}&writeKey={MARK}")).no_key().await;
    let basic = [("authorization".to_owned(), format!("Basic {MARK}")), ("content-type".to_owned(), "application/json".to_owned())];
    raw_request(&app.url, "POST", "/v1/identify", &basic, b"{}").await.expect("an answer");
    app.with_key(&format!("ppl_{MARK}")).get("/v1/profiles").await.refused(401, "unauthorized");
    let import =
        app.post("/v1/imports").bytes("text/csv", format!("Email,Name\n{MARK}2@example.com,{MARK}\n{MARK},{MARK}\n")).await.is(202);
    crate::bulk::finished(&app, &import).await;
    app.get(&format!("/v1/profiles/{}/export", id(&person))).header("x-reason", MARK).await.ok();
    assert_eq!(app.post("/v1/profiles/export").json(json!({"q": MARK})).await.status, 200);
    let made = app.post("/v1/api-keys").json(json!({"name": MARK, "scopes": ["profiles:read"]})).await.created();
    let secret = made["key"].as_str().unwrap_or_default().to_owned();
    app.with_key(&secret).get("/v1/profiles").await.ok();
    app.delete(&format!("/v1/profiles/{}?suppress=true", id(&person))).header("x-reason", MARK).await.ok();
    let last = app.get("/healthz").no_key().await;
    let last = last.header("x-request-id").unwrap_or_default().to_owned();
    eventually("the log is written", async || server.log().contains(&last).then_some(())).await;
    let log = server.log();
    assert!(lines(&server).len() > 30, "the log says too little to show anything");
    let telling: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains(MARK)).collect();
    assert!(telling.is_empty(), "the log tells what was sent:\n{}", telling.join("\n"));
    assert!(!log.contains(&secret) && !log.contains(BOOTSTRAP_KEY), "a key is in the log");
}
