//! `Idempotency-Key`: a retried request acts once and is answered the same.

use futures_util::future::join_all;
use people_tests::{App, Engine, Server, engine_stories, eventually, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list, path};

stories![
    a_retry_is_answered_again_and_acts_once,
    another_body_under_the_same_key_is_refused,
    another_route_under_the_same_key_is_refused,
    refusals_are_not_remembered,
    many_at_once_act_once,
    a_key_belongs_to_one_workspace,
    every_write_by_post_can_be_retried,
    bad_keys_are_refused,
    an_erased_person_does_not_come_back_as_a_stored_answer,
    the_order_of_fields_is_the_same_request_sent_twice_or_refused,
];

engine_stories![what_is_past_its_time_is_swept_though_nobody_asks];

async fn a_retry_is_answered_again_and_acts_once(app: &App) {
    let send = || app.post("/v1/profiles").idempotency_key("create-1").json(ada());
    let first = send().await;
    assert_eq!(first.header("idempotency-replayed"), None);
    first.created();
    let created = first.json();
    app.patch(&path(&created, "")).json(json!({"city": "Paris"})).await.ok();
    for _ in 0..3 {
        let again = send().await;
        assert_eq!((again.status, &again.bytes), (201, &first.bytes), "the stored answer, byte for byte");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        for header in ["location", "etag", "content-type"] {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
    }
    assert_eq!(app.find(json!({})).await, ["crm-17"]);
    assert_eq!(app.history(id(&created)).await.len(), 2);
}

async fn another_body_under_the_same_key_is_refused(app: &App) {
    app.post("/v1/profiles").idempotency_key("k").json(ada()).await.created();
    app.post("/v1/profiles").idempotency_key("k").json(json!({"external_id": "other"})).await.refused(422, "idempotency_mismatch");
    assert_eq!(app.find(json!({})).await, ["crm-17"]);
}

async fn another_route_under_the_same_key_is_refused(app: &App) {
    app.post("/v1/profiles").idempotency_key("k").json(ada()).await.created();
    app.post("/v1/profiles/upsert").idempotency_key("k").json(ada()).await.refused(422, "idempotency_mismatch");
}

async fn refusals_are_not_remembered(app: &App) {
    let taken = app.person(json!({"external_id": "crm-17"})).await;
    let send = || app.post("/v1/profiles").idempotency_key("k").json(ada());
    send().await.refused(409, "identity_taken");
    app.delete(&path(&taken, "")).await.ok();
    let answer = send().await;
    answer.created();
    assert_eq!(answer.header("idempotency-replayed"), None, "what was refused took no effect, so it is tried anew");
}

async fn many_at_once_act_once(app: &App) {
    for round in 0..3 {
        let send = || {
            app.post("/v1/profiles/batch")
                .idempotency_key(&format!("round-{round}"))
                .json(json!({"items": [{"op": "create", "external_id": format!("p{round}")}]}))
        };
        let answers = join_all((0..64).map(|_| send().into_future())).await;
        let done: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
        assert!(!done.is_empty(), "nobody was served: {}", answers[0]);
        for answer in &answers {
            if answer.status != 200 {
                assert_eq!(answer.status, 409, "still running is 409\n{answer}");
                answer.problem();
            } else {
                same(&answer.json(), &done[0].json());
                assert_eq!(answer.json()["results"][0]["status"], 201, "each hears of the one execution\n{answer}");
            }
        }
        assert_eq!(done.iter().filter(|a| a.header("idempotency-replayed").is_none()).count(), 1, "exactly one executed");
        // Later everybody hears it.
        same(&send().await.ok(), &done[0].json());
    }
    assert_eq!(app.find_sorted(json!({})).await, ["p0", "p1", "p2"]);
}

async fn a_key_belongs_to_one_workspace(app: &App) {
    let neighbour = app.neighbour();
    let mine = app.post("/v1/profiles").idempotency_key("k").json(ada()).await.created();
    let theirs = neighbour.post("/v1/profiles").idempotency_key("k").json(ada()).await;
    assert_eq!(theirs.header("idempotency-replayed"), None);
    assert_ne!(theirs.created()["id"], mine["id"]);
}

async fn every_write_by_post_can_be_retried(app: &App) {
    let person = app.person(ada()).await;
    let requests: [(String, Value, u16); 5] = [
        ("/v1/profiles/upsert".to_owned(), json!({"external_id": "crm-17", "attributes": {"n": 1}}), 200),
        ("/v1/profiles/batch".to_owned(), json!({"items": [{"op": "create", "external_id": "b1"}]}), 200),
        (path(&person, "/identities"), json!({"kind": "device", "value": "d-1"}), 201),
        ("/v1/properties".to_owned(), json!({"key": "colour", "type": "text"}), 201),
        ("/v1/api-keys".to_owned(), json!({"name": "x", "scopes": ["profiles:read"]}), 201),
    ];
    for (n, (path, body, status)) in requests.iter().enumerate() {
        let send = || app.post(path).idempotency_key(&format!("k{n}")).json(body.clone());
        let (first, again) = (send().await, send().await);
        assert_eq!((first.status, again.status), (*status, *status), "{path}\n{first}\n{again}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
    }
    let keys = app.get("/v1/api-keys").await.ok();
    assert_eq!(list(&keys, "data").len(), 2);
}

async fn bad_keys_are_refused(app: &App) {
    for key in ["", "a\tb", "é", &"x".repeat(256)] {
        app.post("/v1/profiles").idempotency_key(key).json(ada()).await.refused(400, "invalid_header");
    }
    app.post("/v1/profiles").idempotency_key(&"x".repeat(255)).json(ada()).await.created();
}

async fn an_erased_person_does_not_come_back_as_a_stored_answer(app: &App) {
    let send = || app.post("/v1/profiles").idempotency_key("k").json(ada());
    let person = send().await.created();
    app.delete(&path(&person, "")).await.ok();
    let again = send().await;
    assert!(
        !again.text().contains("Lovelace") || again.header("idempotency-replayed").is_none(),
        "the stored answer outlived the person\n{again}"
    );
}

async fn the_order_of_fields_is_the_same_request_sent_twice_or_refused(app: &App) {
    let first = app.post("/v1/profiles").idempotency_key("k").bytes("application/json", "{\"external_id\":\"a\",\"name\":\"A\"}").await;
    let again =
        app.post("/v1/profiles").idempotency_key("k").bytes("application/json", "{ \"name\": \"A\", \"external_id\": \"a\" }").await;
    first.created();
    // Bytes or meaning may be compared: in no case is a second person made, or the conflict with oneself told as 409.
    assert!(again.status == 201 || again.json()["code"] == "idempotency_mismatch", "{again}");
    assert_eq!(app.find(json!({})).await, ["a"]);
}

/// Stored answers after a day, rejected messages after a week: gone from the tables, not only from what is answered.
async fn what_is_past_its_time_is_swept_though_nobody_asks(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    for key in ["old", "new"] {
        app.post("/v1/profiles").idempotency_key(key).json(json!({"external_id": key})).await.created();
    }
    let mistake = || app.post("/v1/track").json(json!({"event": "x", "messageId": "m"}));
    mistake().await;
    mistake().await;
    let column = async |sql: &str| app.database().rows(sql).await.into_iter().map(|mut row| row.remove(0)).collect::<Vec<_>>();
    let rejected = "SELECT count(*) || '' FROM rejected_messages";
    let keys = "SELECT key FROM idempotency_answers ORDER BY key";
    let spoken_of = "SELECT key FROM idempotency_profiles ORDER BY key";
    assert_eq!(column(rejected).await, ["2"]);
    assert_eq!((column(keys).await, column(spoken_of).await), (vec!["new".into(), "old".into()], vec!["new".into(), "old".into()]));
    let day_and_an_hour = if engine.is_postgres() { "interval '25 hours'" } else { "90000000000" };
    app.database().rows(&format!("UPDATE idempotency_answers SET created_at = created_at - {day_and_an_hour} WHERE key = 'old'")).await;
    // The time is in the id.
    let (first, long_ago) = if engine.is_postgres() {
        ("(SELECT min(id::text)::uuid FROM rejected_messages)", "'01900000-0000-7000-8000-000000000001'")
    } else {
        ("(SELECT min(id) FROM rejected_messages)", "x'01900000000070008000000000000001'")
    };
    app.database().rows(&format!("UPDATE rejected_messages SET id = {long_ago} WHERE id = {first}")).await;
    let server = Server::on(server.kill(), &[]);
    let app = App::default_of(&server);
    let column = async |sql: &str| app.database().rows(sql).await.into_iter().map(|mut row| row.remove(0)).collect::<Vec<_>>();
    eventually("the old answer is gone", async || (column(keys).await == ["new"]).then_some(())).await;
    eventually("the old rejection is gone", async || (column(rejected).await == ["1"]).then_some(())).await;
    assert_eq!(column(spoken_of).await, ["new"]);
    app.post("/v1/profiles").idempotency_key("new").json(json!({"external_id": "new"})).await.created();
}
