//! `GET /v1/profiles/{id}`: one person, as they are now.

use people_tests::{App, redact, same, stories};
use reqwest::Method;
use serde_json::json;

use crate::{
    cast::{ada, id, path},
    merges::merge,
};

stories![
    reading_answers_what_was_written,
    an_unchanged_profile_is_not_sent_again,
    what_can_be_read_can_be_asked_for_its_head,
    an_unknown_id_is_not_found,
    what_is_no_id_is_not_found_either,
    every_answer_names_its_request,
    answers_about_people_are_not_cached,
];

async fn reading_answers_what_was_written(app: &App) {
    let created = app.person(ada()).await;
    let answer = app.get(&path(&created, "")).await;
    same(&answer.ok(), &created);
    assert_eq!(answer.header("etag"), Some("\"1\""));
    // An id is the same id in capitals.
    same(&app.read(&id(&created).to_uppercase()).await, &created);
}

async fn an_unchanged_profile_is_not_sent_again(app: &App) {
    let ada = app.person(ada()).await;
    for tag in ["\"1\"", "W/\"1\"", "\"7\", \"1\"", "*"] {
        let answer = app.get(&path(&ada, "")).header("if-none-match", tag).await;
        assert_eq!((answer.status, answer.bytes.len(), answer.header("etag")), (304, 0, Some("\"1\"")), "{tag}");
    }
    app.patch(&path(&ada, "")).json(json!({"city": "Paris"})).await.ok();
    app.get(&path(&ada, "")).header("if-none-match", "\"1\"").await.ok();
    // Wherever a tag is given: found by a key, where somebody stands on their channels, and under the id of who was merged.
    let grace = app.person(json!({"external_id": "u2"})).await;
    merge(app, &app.read(id(&ada)).await, &grace).await;
    for line in ["/v1/profiles/lookup?external_id=crm-17".to_owned(), path(&ada, "/consents"), path(&grace, "")] {
        let whole = app.get(&line).await;
        whole.ok();
        let tag = whole.header("etag").expect("a tag").to_owned();
        let again = app.get(&line).header("if-none-match", &tag).await;
        assert_eq!((again.status, again.bytes.len(), again.header("etag")), (304, 0, Some(tag.as_str())), "{line}");
        assert_eq!(again.header("content-location"), whole.header("content-location"), "{line}");
    }
}

async fn what_can_be_read_can_be_asked_for_its_head(app: &App) {
    let ada = app.person(ada()).await;
    for line in
        [&path(&ada, ""), "/v1/profiles", "/v1/changes/stream", "/healthz", "/readyz", "/openapi.json", "/docs/", "/v1/profiles?limit=0"]
    {
        let read = if line.ends_with("stream") { None } else { Some(app.get(line).await) };
        let head = app.call(Method::HEAD, line).await;
        assert!(head.bytes.is_empty(), "{line}");
        for name in ["content-type", "etag", "cache-control", "content-length"] {
            assert!(read.as_ref().is_none_or(|read| head.header(name) == read.header(name)), "{line}: {name} is {:?}", head.header(name));
        }
        assert_eq!(head.status, read.map_or(200, |read| read.status), "{line}");
    }
    assert_eq!(app.call(Method::HEAD, "/v1/profiles").no_key().await.status, 401);
    // A GET of these does something.
    assert_eq!(app.call(Method::HEAD, "/pixel/v1/track").await.status, 405);
    for line in ["/openapi.json", "/docs", "/docs/"] {
        let told = app.post(line).json(json!({})).await;
        told.refused(405, "method_not_allowed");
        assert_eq!(told.header("allow"), Some("GET, HEAD"), "{line}");
    }
    let told = app.get("/v1/profiles/").await.refused(404, "not_found");
    assert!(told["detail"].as_str().is_some_and(|detail| detail.contains("without the slash")), "{told}");
}

async fn an_unknown_id_is_not_found(app: &App) {
    let problem =
        app.get("/v1/profiles/0192f0c1-2d3e-7000-8000-000000000000").header("x-request-id", "req-1").await.refused(404, "not_found");
    same(
        &redact(&problem),
        &json!({
            "type": problem["type"], "title": problem["title"], "status": 404, "detail": problem["detail"],
            "instance": problem["instance"], "code": "not_found", "request_id": "req-1", "errors": []
        }),
    );
}

async fn what_is_no_id_is_not_found_either(app: &App) {
    for id in ["17", "ada", "0192f0c1-2d3e-7000-8000-00000000000g", "%27%20OR%201=1", "null"] {
        app.get(&format!("/v1/profiles/{id}")).await.refused(404, "not_found");
    }
}

async fn every_answer_names_its_request(app: &App) {
    let ada = app.person(ada()).await;
    for (line, status) in [(path(&ada, ""), 200), ("/v1/profiles?limit=0".to_owned(), 400), ("/nowhere".to_owned(), 404)] {
        let answer = app.get(&line).header("x-request-id", "a.B-9_z").await;
        assert_eq!((answer.status, answer.header("x-request-id")), (status, Some("a.B-9_z")), "{line}");
        let first = app.get(&line).await;
        let second = app.get(&line).await;
        let made = first.header("x-request-id").unwrap_or_default();
        assert!(!made.is_empty() && Some(made) != second.header("x-request-id"), "{line}: {made:?}");
        // What would break a log line is not echoed.
        for bad in ["a b", "a\"b", "é", &"x".repeat(129)] {
            let answer = app.get(&line).header("x-request-id", bad).await;
            assert_ne!(answer.header("x-request-id"), Some(bad), "{line}");
        }
    }
}

async fn answers_about_people_are_not_cached(app: &App) {
    let ada = app.person(ada()).await;
    for line in [path(&ada, ""), path(&ada, "/history"), "/v1/profiles".to_owned(), "/v1/profiles/lookup?external_id=crm-17".to_owned()] {
        let answer = app.get(&line).await;
        answer.ok();
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{line}");
    }
}
