//! `/v1/webhooks`: every change reaches the endpoint, signed, in order and at least once, whatever is down or killed; and
//! requests go to no place they must not go.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use people_tests::{App, Engine, Received, Receiver, Reply, Server, engine_stories, eventually, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list, nobody, path};

stories![
    a_change_is_delivered_signed_and_says_nothing_of_anybody,
    a_secret_is_shown_once,
    a_full_payload_holds_the_profile_as_it_is_when_it_is_sent,
    an_endpoint_is_told_of_what_it_asked_for,
    what_cannot_be_an_endpoint_is_refused,
    a_workspace_has_so_many_endpoints_and_no_more,
    two_secrets_sign_while_they_are_exchanged,
    a_failed_delivery_is_tried_again_and_the_rest_waits_behind_it,
    a_redirect_is_a_failure_and_is_not_followed,
    a_receiver_that_asks_for_time_is_given_time,
    an_endpoint_that_is_gone_is_disabled_at_once,
    a_paused_endpoint_goes_on_where_it_stood_or_from_the_latest,
    an_endpoint_that_fails_keeps_no_other_waiting,
    a_delivery_can_be_sent_again,
    a_ping_tells_how_it_went,
    deliveries_are_listed_newest_first,
    a_neighbour_hears_nothing,
    changes_of_endpoints_are_in_the_audit_log,
    what_is_sent_is_counted,
];
engine_stories![
    private_addresses_are_refused,
    an_endpoint_that_fails_for_too_long_is_disabled_and_loses_nothing,
    an_answer_that_does_not_come_is_a_failure,
    nothing_is_lost_when_the_server_is_killed,
    two_servers_share_the_endpoints_and_send_each_event_once,
    a_server_that_is_told_to_go_gives_its_endpoints_back,
    secrets_need_the_installations_key,
    an_erased_person_is_in_no_delivery,
    deliveries_are_forgotten_after_a_week,
];

/// A lease of a second, so that nobody waits half a minute for one who is dead.
const QUICK: (&str, &str) = ("PEOPLE_JOB_LEASE", "1");

async fn hook(app: &App, receiver: &Receiver, mut settings: Value) -> Value {
    settings["url"] = receiver.url().into();
    app.post("/v1/webhooks").json(settings).await.created()
}

async fn read(app: &App, hook: &Value) -> Value {
    app.get(&at(hook, "")).await.ok()
}

fn at(hook: &Value, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", id(hook))
}

async fn deliveries(app: &App, hook: &Value) -> Vec<Value> {
    list(&app.get(&at(hook, "/deliveries?limit=200")).await.ok(), "data").to_vec()
}

async fn came(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually(&format!("{count} requests came, of which so far {}", receiver.count()), async || {
        Some(receiver.received()).filter(|received| received.len() >= count)
    })
    .await
}

/// The endpoint has come to the end of the feed.
async fn caught_up(app: &App, hook: &Value) -> Value {
    eventually("the endpoint is up to date", async || Some(read(app, hook).await).filter(|hook| hook["pending"] == 0)).await
}

/// The public library of the specification takes it.
#[track_caller]
fn verified(received: &Received, secret: &Value) {
    let secret = secret.as_str().expect("a secret is text");
    let verifier = standardwebhooks::Webhook::new(secret).expect("the library takes the secret");
    if let Err(error) = verifier.verify(received.body.as_bytes(), &received.headers) {
        panic!("{error}: {received:?}");
    }
}

fn is_verified(received: &Received, secret: &Value) -> bool {
    let verifier = standardwebhooks::Webhook::new(secret.as_str().expect("a secret is text")).expect("the library takes the secret");
    verifier.verify(received.body.as_bytes(), &received.headers).is_ok()
}

async fn a_change_is_delivered_signed_and_says_nothing_of_anybody(app: &App) {
    let receiver = Receiver::new();
    let before = app.person(nobody("before")).await;
    let hook = hook(app, &receiver, json!({})).await;
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).json(json!({"company": "Babbage & Co", "city": "Turin"})).await.ok();
    let received = came(&receiver, 2).await;
    for request in &received {
        verified(request, &hook["secret"]);
        assert_eq!((request.line.as_str(), request.header("content-type")), ("POST /hooks HTTP/1.1", "application/json"));
        for told in ["Ada", "ada@", "Lovelace", "Babbage", "Turin", "London", "crm-17"] {
            assert!(!request.body.contains(told), "{told} is told: {}", request.body);
        }
    }
    let [created, updated] = &received[..] else { panic!("{received:?}") };
    same(
        &redact(&updated.json()),
        &json!({"type": "profile.updated", "timestamp": "<time>", "data": {
            "sequence": updated.sequence(), "profile_id": "<id>", "version": 2, "fields": ["city", "company"], "record_id": "<id>"
        }}),
    );
    assert_eq!((&created.json()["type"], &created.json()["data"]["profile_id"]), (&json!("profile.created"), &ada["id"]));
    assert_eq!(updated.sequence(), created.sequence() + 1);
    assert_ne!(created.header("webhook-id"), updated.header("webhook-id"));
    // Nothing from before it was there.
    assert!(received.iter().all(|request| !request.body.contains(id(&before))));
    let shown = caught_up(app, &hook).await;
    assert!(shown["last_success_at"].is_string() && shown["last_failure_at"].is_null() && shown["consecutive_failures"] == 0, "{shown}");
    let deliveries = deliveries(app, &hook).await;
    assert_eq!(deliveries.len(), 2);
    assert_eq!(deliveries[0]["message_id"], updated.header("webhook-id"));
    assert_eq!((&deliveries[0]["status"], &deliveries[0]["attempts"][0]["status_code"]), (&json!("delivered"), &json!(204)));
}

async fn a_secret_is_shown_once(app: &App) {
    let body = json!({"url": "https://hooks.example.com/people", "description": "CRM", "events": ["profile.*"], "enabled": false});
    let answer = app.post("/v1/webhooks").json(body.clone()).await;
    let made = answer.created();
    assert_eq!(answer.header("location"), Some(at(&made, "").as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let secret = made["secret"].as_str().unwrap_or_default().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() >= 40, "{secret}");
    let mut shown = made.clone();
    shown.as_object_mut().map(|o| o.shift_remove("secret"));
    same(
        &redact(&shown),
        &json!({
            "id": "<id>", "url": "https://hooks.example.com/people", "description": "CRM", "events": ["profile.*"], "payload": "thin",
            "enabled": false, "disabled_reason": "paused", "disabled_at": "<time>", "pending": 0, "consecutive_failures": 0,
            "next_attempt_at": null, "last_success_at": null, "last_failure_at": null, "previous_secret_expires_at": null,
            "created_at": "<time>", "updated_at": "<time>"
        }),
    );
    same(&read(app, &made).await, &shown);
    for told in [app.get("/v1/webhooks").await.text(), app.patch(&at(&made, "")).json(json!({"description": null})).await.text()] {
        assert!(!told.contains("whsec_") && !told.contains("\"secret\""), "a secret is shown again: {told}");
    }
    let stored = app.database().rows("SELECT secret, url FROM webhooks").await;
    let bare = secret.trim_start_matches("whsec_");
    assert!(stored.iter().flatten().all(|cell| !cell.contains(bare)), "a secret stands in the database");
    // The same request by the same key is answered with the same secret; by another key it is another request.
    let again = async || app.post("/v1/webhooks").idempotency_key("hook").json(body.clone()).await;
    let (first, second) = (again().await, again().await);
    assert_eq!((second.header("idempotency-replayed"), second.is(201)), (Some("true"), first.created()));
    let other = app.with_scopes(&["config"]).await;
    other.post("/v1/webhooks").idempotency_key("hook").json(body).await.refused(422, "idempotency_mismatch");
    assert_eq!(list(&app.get("/v1/webhooks").await.ok(), "data").len(), 2);
}

async fn a_full_payload_holds_the_profile_as_it_is_when_it_is_sent(app: &App) {
    let receiver = Receiver::new();
    let hook = hook(app, &receiver, json!({"payload": "full", "enabled": false})).await;
    let ada = app.person(ada()).await;
    let gone = app.person(json!({"email": "gone@example.com", "name": "Gone Away"})).await;
    let now = app.patch(&path(&ada, "")).json(json!({"company": "Babbage & Co"})).await.ok();
    app.delete(&path(&gone, "")).await.ok();
    app.patch(&at(&hook, "")).json(json!({"enabled": true})).await.ok();
    let received = came(&receiver, 4).await;
    let events: Vec<Value> = received.iter().map(Received::json).collect();
    for event in &events {
        match event["data"]["profile_id"] == ada["id"] {
            true => same(&event["data"]["profile"], &now),
            false => assert_eq!(event["data"].get("profile"), Some(&Value::Null), "{event}"),
        }
    }
    assert!(received.iter().all(|request| !request.body.contains("gone@example.com")), "somebody who is erased is told of");
    received.iter().for_each(|request| verified(request, &hook["secret"]));
    // Profiles go out on behalf of somebody who may read them, and to where they say.
    let clerk = app.with_scopes(&["config"]).await;
    clerk.post("/v1/webhooks").json(json!({"url": receiver.url(), "payload": "full"})).await.refused(403, "missing_scope");
    clerk.patch(&at(&hook, "")).json(json!({"url": receiver.url()})).await.refused(403, "missing_scope");
    clerk.patch(&at(&hook, "")).json(json!({"payload": "full"})).await.refused(403, "missing_scope");
    clerk.patch(&at(&hook, "")).json(json!({"description": "still theirs to change"})).await.ok();
    let thin = clerk.post("/v1/webhooks").json(json!({"url": receiver.url()})).await.created();
    clerk.patch(&at(&thin, "")).json(json!({"payload": "full"})).await.refused(403, "missing_scope");
}

async fn an_endpoint_is_told_of_what_it_asked_for(app: &App) {
    let (some, family, all) = (Receiver::new(), Receiver::new(), Receiver::new());
    hook(app, &some, json!({"events": ["profile.erased", "profile.merged"]})).await;
    hook(app, &family, json!({"events": ["profile.*"]})).await;
    hook(app, &all, json!({})).await;
    let (one, two) = (app.person(nobody("one")).await, app.person(nobody("two")).await);
    let mut merge = json!({"primary_id": one["id"], "secondary_id": two["id"]});
    merge["preview_token"] = app.post("/v1/merges/preview").json(merge.clone()).await.ok()["preview_token"].clone();
    app.post("/v1/merges").json(merge).await.created();
    let merged = eventually("the merge came", async || some.received().first().map(Received::json)).await;
    let told = &merged["data"]["merge"];
    assert_eq!((&told["primary_id"], &told["secondary_id"], &told["id"]), (&one["id"], &two["id"], &merged["data"]["record_id"]));
    app.delete(&path(&one, "")).await.ok();
    let kinds = async |receiver: &Receiver, last: &str| {
        eventually("the last change came", async || {
            let kinds: Vec<String> = receiver.received().iter().map(|r| r.json()["type"].as_str().unwrap_or_default().to_owned()).collect();
            Some(kinds).filter(|kinds| kinds.last().is_some_and(|kind| kind == last))
        })
        .await
    };
    let told = kinds(&all, "profile.erased").await;
    assert!(told.len() >= 4 && told.starts_with(&["profile.created".to_owned(), "profile.created".to_owned()]), "{told:?}");
    assert_eq!(kinds(&family, "profile.erased").await, told);
    let wanted: Vec<&String> = told.iter().filter(|kind| ["profile.erased", "profile.merged"].contains(&kind.as_str())).collect();
    assert_eq!(kinds(&some, "profile.erased").await.iter().collect::<Vec<_>>(), wanted);
}

async fn what_cannot_be_an_endpoint_is_refused(app: &App) {
    let url = "https://hooks.example.com/";
    for (body, pointer) in [
        (json!({"url": url, "events": ["profile.created", "profile.exploded"]}), "/events/1"),
        (json!({"url": url, "events": []}), "/events"),
        (json!({"url": url, "events": "*"}), "/events"),
        (json!({"url": url, "payload": "fat"}), "/payload"),
        (json!({"url": url, "enabled": null, "description": "x".repeat(1_001)}), "/description"),
        (json!({"url": url, "secret": "whsec_mine"}), "/secret"),
        (json!({"url": "ftp://hooks.example.com/"}), "/url"),
        (json!({"url": "https://user:pass@hooks.example.com/"}), "/url"),
        (json!({"url": "https://hooks.example.com./"}), "/url"),
        (json!({"url": "http://2130706433/"}), "/url"),
        (json!({"url": "hooks.example.com"}), "/url"),
        (json!({"url": 7}), "/url"),
    ] {
        let problem = app.post("/v1/webhooks").json(body.clone()).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let unknown =
        app.post("/v1/webhooks").json(json!({"url": url, "events": ["profile.exploded"]})).await.refused_at("/events/0", "not_an_option");
    assert!(unknown["detail"].as_str().is_some_and(|detail| detail.contains("profile.exploded")), "{unknown}");
    app.post("/v1/webhooks").json(json!({"events": ["*"]})).await.refused(422, "validation_failed");
    let made = app.post("/v1/webhooks").json(json!({"url": url, "enabled": false})).await.created();
    for (body, pointer) in [
        (json!({"url": "nonsense"}), "/url"),
        (json!({"url": null}), "/url"),
        (json!({"events": ["x"]}), "/events/0"),
        (json!({"payload": "fat"}), "/payload"),
        (json!({"resume_from": "yesterday"}), "/resume_from"),
        (json!({"id": "x"}), "/id"),
    ] {
        let problem = app.patch(&at(&made, "")).json(body.clone()).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    app.post(&at(&made, "/rotate-secret?grace_seconds=-1")).await.refused(400, "invalid_query");
    app.get(&at(&made, "/deliveries?status=lost")).await.refused(400, "invalid_query");
    // What is patched alone changes.
    let after = app.patch(&at(&made, "")).json(json!({"events": ["profile.erased"]})).await.ok();
    assert_eq!((&after["url"], &after["payload"], &after["enabled"]), (&json!(url), &json!("thin"), &json!(false)));
    app.delete(&at(&made, "")).await.no_content();
    app.get(&at(&made, "")).await.refused(404, "not_found");
    app.delete(&at(&made, "")).await.refused(404, "not_found");
}

async fn a_workspace_has_so_many_endpoints_and_no_more(app: &App) {
    let body = json!({"url": "https://hooks.example.com/", "enabled": false});
    for _ in 0..45 {
        app.post("/v1/webhooks").json(body.clone()).await.created();
    }
    let racing = (0..10).map(|_| async { app.post("/v1/webhooks").json(body.clone()).await.status });
    let mut statuses = futures_util::future::join_all(racing).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 201, 201, 422, 422, 422, 422, 422]);
    app.post("/v1/webhooks").json(body).await.refused(422, "limit_exceeded");
    let page = app.get("/v1/webhooks?limit=30").await.ok();
    let rest = app.get(&format!("/v1/webhooks?limit=30&cursor={}", page["next_cursor"].as_str().unwrap_or_default())).await.ok();
    assert_eq!((list(&page, "data").len(), list(&rest, "data").len(), &rest["next_cursor"]), (30, 20, &Value::Null));
}

async fn two_secrets_sign_while_they_are_exchanged(app: &App) {
    let receiver = Receiver::new();
    let made = hook(app, &receiver, json!({})).await;
    let rotated = app.post(&at(&made, "/rotate-secret")).idempotency_key("r").await.ok();
    assert!(rotated["secret"] != made["secret"] && rotated["previous_secret_expires_at"].is_string(), "{rotated}");
    let again = app.post(&at(&made, "/rotate-secret")).idempotency_key("r").await;
    assert_eq!((again.header("idempotency-replayed"), &again.ok()["secret"]), (Some("true"), &rotated["secret"]));
    app.person(nobody("one")).await;
    let first = came(&receiver, 1).await.remove(0);
    assert_eq!(first.header("webhook-signature").split(' ').count(), 2);
    assert!(is_verified(&first, &made["secret"]) && is_verified(&first, &rotated["secret"]));
    // Rotated again, the oldest ends; without grace, the one before as well.
    let third = app.post(&at(&made, "/rotate-secret?grace_seconds=0")).await.ok();
    assert_eq!(third["previous_secret_expires_at"], Value::Null);
    app.person(nobody("two")).await;
    let second = came(&receiver, 2).await.remove(1);
    assert_eq!(second.header("webhook-signature").split(' ').count(), 1);
    let takes = [&made, &rotated, &third].map(|hook| is_verified(&second, &hook["secret"]));
    assert_eq!(takes, [false, false, true]);
}

/// Makes the next attempt due, where otherwise somebody would wait for it.
async fn hurry(app: &App, hook: &Value) {
    let of = if app.engine.is_postgres() { format!("'{}'", id(hook)) } else { format!("x'{}'", id(hook).replace('-', "")) };
    app.database().rows(&format!("UPDATE webhooks SET next_attempt_at = NULL WHERE id = {of}")).await;
}

async fn failed(app: &App, hook: &Value, times: i64) -> Value {
    eventually(&format!("it failed {times} times"), async || {
        Some(read(app, hook).await).filter(|hook| hook["consecutive_failures"].as_i64() >= Some(times))
    })
    .await
}

async fn a_failed_delivery_is_tried_again_and_the_rest_waits_behind_it(app: &App) {
    let receiver = Receiver::answering(|n, _| match n {
        2 => Reply::Status(500),
        3 => Reply::Status(404),
        4 => Reply::Close,
        _ => Reply::Status(200),
    });
    let hook = hook(app, &receiver, json!({})).await;
    app.people(&(0..6).map(|n| nobody(&format!("p{n}"))).collect::<Vec<_>>()).await;
    for (times, error) in [(1, "status"), (2, "status"), (3, "broken")] {
        let now = failed(app, &hook, times).await;
        let next = now["next_attempt_at"].as_str().unwrap_or_default().to_owned();
        assert!(next.as_str() > now["last_failure_at"].as_str().unwrap_or_default(), "{now}");
        let open = deliveries(app, &hook).await.into_iter().find(|d| d["status"] == "pending").expect("the head is pending");
        assert_eq!((&open["attempt_count"], &open["next_attempt_at"]), (&json!(times), &json!(next)));
        assert_eq!(list(&open, "attempts").last().map(|a| &a["error"]), Some(&json!(error)), "{open}");
        hurry(app, &hook).await;
    }
    let done = caught_up(app, &hook).await;
    assert_eq!((&done["consecutive_failures"], &done["next_attempt_at"]), (&json!(0), &Value::Null));
    let received = receiver.received();
    let first = received[0].sequence();
    let order: Vec<i64> = receiver.sequences().iter().map(|n| n - first).collect();
    assert_eq!(order, [0, 1, 2, 2, 2, 2, 3, 4, 5]);
    let ids: BTreeSet<&str> = received[2..6].iter().map(|r| r.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "each attempt has the same id");
    received.iter().for_each(|request| verified(request, &hook["secret"]));
    let all = deliveries(app, &hook).await;
    let counts: Vec<&Value> = all.iter().rev().map(|d| &d["attempt_count"]).collect();
    assert_eq!(counts, [1, 1, 4, 1, 1, 1]);
    assert!(all.iter().all(|d| d["status"] == "delivered" && d["next_attempt_at"].is_null()));
}

async fn a_redirect_is_a_failure_and_is_not_followed(app: &App) {
    let elsewhere = Receiver::new();
    let target = elsewhere.url();
    let receiver = Receiver::answering(move |n, _| match n {
        0 => Reply::With(302, vec![("location", target.clone())]),
        1 => Reply::With(307, vec![("location", target.clone())]),
        _ => Reply::Status(202),
    });
    let hook = hook(app, &receiver, json!({})).await;
    app.person(nobody("one")).await;
    for times in 1..=2 {
        failed(app, &hook, times).await;
        hurry(app, &hook).await;
    }
    caught_up(app, &hook).await;
    let delivery = deliveries(app, &hook).await.remove(0);
    let told: Vec<Value> = list(&delivery, "attempts").iter().map(|a| json!([a["status_code"], a["error"]])).collect();
    assert_eq!(told, [json!([302, "redirect"]), json!([307, "redirect"]), json!([202, null])]);
    assert_eq!(elsewhere.count(), 0, "a redirect was followed");
}

async fn a_receiver_that_asks_for_time_is_given_time(app: &App) {
    let receiver = Receiver::answering(|n, _| match n {
        0 => Reply::With(503, vec![("retry-after", "600".to_owned())]),
        _ => Reply::With(429, vec![("retry-after", "999999999".to_owned())]),
    });
    let hook = hook(app, &receiver, json!({})).await;
    app.person(nobody("one")).await;
    let wait = |hook: &Value| {
        let time = |field: &str| people_domain::Timestamp::parse(hook[field].as_str().unwrap_or_default()).expect("a time").micros();
        (time("next_attempt_at") - time("last_failure_at")) / 1_000_000
    };
    let asked = wait(&failed(app, &hook, 1).await);
    assert!((595..=600).contains(&asked), "{asked} s");
    hurry(app, &hook).await;
    let bounded = wait(&failed(app, &hook, 2).await);
    assert!((21_590..=21_600).contains(&bounded), "{bounded} s is not six hours");
}

async fn an_endpoint_that_is_gone_is_disabled_at_once(app: &App) {
    let receiver = Receiver::answering(|n, _| if n == 1 { Reply::Status(410) } else { Reply::Status(200) });
    let hook = hook(app, &receiver, json!({})).await;
    app.people(&[nobody("a"), nobody("b"), nobody("c")]).await;
    let gone = eventually("it is disabled", async || Some(read(app, &hook).await).filter(|hook| hook["enabled"] == false)).await;
    assert_eq!((&gone["disabled_reason"], &gone["pending"], &gone["next_attempt_at"]), (&json!("gone"), &json!(2), &Value::Null));
    assert!(gone["disabled_at"].is_string());
    let statuses: Vec<Value> = deliveries(app, &hook).await.iter().map(|d| d["status"].clone()).collect();
    assert_eq!(statuses, ["failed", "delivered"]);
    app.person(nobody("d")).await;
    // It is brought back, and nothing was dropped.
    let back = app.patch(&at(&hook, "")).json(json!({"enabled": true})).await.ok();
    assert_eq!((&back["enabled"], &back["disabled_reason"], &back["disabled_at"]), (&json!(true), &Value::Null, &Value::Null));
    caught_up(app, &hook).await;
    let first = receiver.sequences()[0];
    assert_eq!(receiver.sequences().iter().map(|n| n - first).collect::<Vec<_>>(), [0, 1, 1, 2, 3]);
    assert!(deliveries(app, &hook).await.iter().all(|d| d["status"] == "delivered"));
}

async fn a_paused_endpoint_goes_on_where_it_stood_or_from_the_latest(app: &App) {
    let receiver = Receiver::new();
    let hook = hook(app, &receiver, json!({})).await;
    app.person(nobody("a")).await;
    caught_up(app, &hook).await;
    let paused = app.patch(&at(&hook, "")).json(json!({"enabled": false})).await.ok();
    assert_eq!((&paused["enabled"], &paused["disabled_reason"]), (&json!(false), &json!("paused")));
    app.people(&[nobody("b"), nobody("c")]).await;
    assert_eq!(read(app, &hook).await["pending"], 2);
    app.patch(&at(&hook, "")).json(json!({"enabled": true, "resume_from": "cursor"})).await.ok();
    caught_up(app, &hook).await;
    assert_eq!(receiver.count(), 3);
    app.patch(&at(&hook, "")).json(json!({"enabled": false})).await.ok();
    app.people(&[nobody("d"), nobody("e")]).await;
    let latest = app.patch(&at(&hook, "")).json(json!({"enabled": true, "resume_from": "latest"})).await.ok();
    assert_eq!(latest["pending"], 0);
    app.person(nobody("f")).await;
    caught_up(app, &hook).await;
    let first = receiver.sequences()[0];
    assert_eq!(receiver.sequences().iter().map(|n| n - first).collect::<Vec<_>>(), [0, 1, 2, 5]);
}

async fn an_endpoint_that_fails_keeps_no_other_waiting(app: &App) {
    let (bad, silent, good) = (Receiver::answering(|_, _| Reply::Status(500)), Receiver::answering(|_, _| Reply::Silence), Receiver::new());
    for receiver in [&bad, &silent] {
        hook(app, receiver, json!({})).await;
    }
    let hook = hook(app, &good, json!({})).await;
    let began = Instant::now();
    app.people(&(0..100).map(|n| nobody(&format!("p{n}"))).collect::<Vec<_>>()).await;
    caught_up(app, &hook).await;
    assert_eq!(good.count(), 100);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(good.received().iter().map(|r| r.connection).max() <= Some(2), "connections are kept");
}

async fn a_delivery_can_be_sent_again(app: &App) {
    let receiver = Receiver::new();
    let hook = hook(app, &receiver, json!({"payload": "full"})).await;
    let person = app.person(nobody("one")).await;
    caught_up(app, &hook).await;
    let delivery = deliveries(app, &hook).await.remove(0);
    let now = app.patch(&path(&person, "")).json(json!({"company": "New Ltd"})).await.ok();
    caught_up(app, &hook).await;
    let again = at(&hook, &format!("/deliveries/{}/redeliver", id(&delivery)));
    let sent = app.post(&again).idempotency_key("again").await.ok();
    assert_eq!((&sent["id"], &sent["status"], &sent["attempt_count"]), (&delivery["id"], &json!("delivered"), &json!(2)));
    let received = came(&receiver, 3).await;
    assert_eq!(received[2].header("webhook-id"), received[0].header("webhook-id"));
    verified(&received[2], &hook["secret"]);
    same(&received[2].json()["data"]["profile"], &now);
    // Once for one key.
    let replayed = app.post(&again).idempotency_key("again").await;
    assert_eq!((replayed.header("idempotency-replayed"), replayed.ok()), (Some("true"), sent));
    assert_eq!(receiver.count(), 3);
    // It failed by hand: what was delivered stays so. The endpoint's own way is not touched.
    receiver.answer(|_, _| Reply::Status(500));
    let failed = app.post(&again).await.ok();
    assert_eq!(
        (&failed["status"], &failed["attempt_count"], &failed["attempts"][2]["error"]),
        (&json!("delivered"), &json!(3), &json!("status"))
    );
    assert_eq!(read(app, &hook).await["consecutive_failures"], 0);
    // One that is pending is tried at once.
    app.person(nobody("two")).await;
    self::failed(app, &hook, 1).await;
    let pending = deliveries(app, &hook).await.remove(0);
    receiver.answer(|_, _| Reply::Status(200));
    let next = app.post(&at(&hook, &format!("/deliveries/{}/redeliver", id(&pending)))).await.ok();
    assert_eq!((&next["id"], &next["status"]), (&pending["id"], &json!("pending")));
    caught_up(app, &hook).await;
    assert_eq!(deliveries(app, &hook).await[0]["status"], "delivered");
    let other = self::hook(app, &receiver, json!({})).await;
    app.post(&at(&other, &format!("/deliveries/{}/redeliver", id(&pending)))).await.refused(404, "not_found");
}

async fn a_ping_tells_how_it_went(app: &App) {
    // The second answer is the last on its connection: what follows has to connect.
    let last = || Reply::With(418, vec![("connection", "close".to_owned())]);
    let receiver = Receiver::answering(move |n, _| if n == 0 { Reply::Status(200) } else { last() });
    let hook = hook(app, &receiver, json!({"enabled": false, "events": ["profile.erased"]})).await;
    let ping = app.post(&at(&hook, "/test")).await.ok();
    assert_eq!((&ping["event_type"], &ping["status"], &ping["sequence"]), (&json!("webhook.test"), &json!("delivered"), &Value::Null));
    assert_eq!((&ping["attempts"][0]["status_code"], &ping["attempts"][0]["error"]), (&json!(200), &Value::Null));
    let received = came(&receiver, 1).await;
    verified(&received[0], &hook["secret"]);
    assert_eq!(received[0].header("webhook-id"), ping["message_id"].as_str().unwrap_or_default());
    same(&redact(&received[0].json()), &json!({"type": "webhook.test", "timestamp": "<time>", "data": {"webhook_id": "<id>"}}));
    let failed = app.post(&at(&hook, "/test")).await.ok();
    assert_eq!((&failed["status"], &failed["attempts"][0]["status_code"]), (&json!("failed"), &json!(418)));
    let port = receiver.port();
    drop(receiver);
    let dead = app.post(&at(&hook, "/test")).await.ok();
    assert_eq!((&dead["attempts"][0]["status_code"], &dead["attempts"][0]["error"]), (&Value::Null, &json!("connect")), "port {port}");
    app.patch(&at(&hook, "")).json(json!({"url": "http://nowhere.invalid/"})).await.ok();
    assert_eq!(app.post(&at(&hook, "/test")).await.ok()["attempts"][0]["error"], "dns");
    assert_eq!(deliveries(app, &hook).await.len(), 4);
    assert_eq!(read(app, &hook).await["enabled"], false);
    app.post(&at(&hook, &format!("/deliveries/{}/redeliver", id(&ping)))).await.refused(409, "delivery_not_repeatable");
    app.with_scopes(&["profiles:read"]).await.post(&at(&hook, "/test")).await.refused(403, "missing_scope");
}

async fn deliveries_are_listed_newest_first(app: &App) {
    let receiver = Receiver::answering(|n, _| if n < 5 { Reply::Status(200) } else { Reply::Status(500) });
    let hook = hook(app, &receiver, json!({})).await;
    app.people(&(0..6).map(|n| nobody(&format!("p{n}"))).collect::<Vec<_>>()).await;
    failed(app, &hook, 1).await;
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&at(&hook, &format!("/deliveries?limit=4{cursor}"))).await.ok();
        pages.extend(list(&page, "data").to_vec());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let order: Vec<i64> = pages.iter().filter_map(|d| d["sequence"].as_i64()).collect();
    assert!(order.len() == 6 && order.is_sorted_by(|a, b| a > b), "{order:?}");
    let pending = app.get(&at(&hook, "/deliveries?status=pending")).await.ok();
    assert_eq!(list(&pending, "data").len(), 1);
    assert_eq!(list(&app.get(&at(&hook, "/deliveries?status=delivered")).await.ok(), "data").len(), 5);
    // What it answers beyond a status is nobody's: neither bodies nor headers are kept.
    assert!(!pages.iter().any(|d| d.to_string().contains("content-length") || d.to_string().contains("\"ok\"")));
    let first = app.get(&at(&hook, "/deliveries?limit=1")).await.ok();
    let cursor = first["next_cursor"].as_str().expect("there is more");
    app.get(&at(&hook, &format!("/deliveries?status=pending&cursor={cursor}"))).await.refused(400, "cursor_mismatch");
    // Passed over, it is not tried any more.
    app.patch(&at(&hook, "")).json(json!({"resume_from": "latest"})).await.ok();
    let skipped = app.get(&at(&hook, "/deliveries?status=skipped")).await.ok();
    assert_eq!((list(&skipped, "data").len(), &skipped["data"][0]["next_attempt_at"]), (1, &Value::Null));
    app.delete(&at(&hook, "")).await.no_content();
    let of = if app.engine.is_postgres() { format!("'{}'", id(&hook)) } else { format!("x'{}'", id(&hook).replace('-', "")) };
    assert_eq!(app.database().one(&format!("SELECT count(*) FROM webhook_deliveries WHERE webhook_id = {of}")).await, "0");
}

async fn a_neighbour_hears_nothing(app: &App) {
    let (mine, theirs) = (Receiver::new(), Receiver::new());
    let neighbour = app.neighbour();
    let hook_of_mine = hook(app, &mine, json!({})).await;
    let hook_of_theirs = hook(&neighbour, &theirs, json!({})).await;
    app.people(&[nobody("a"), nobody("b"), nobody("c")]).await;
    neighbour.person(nobody("d")).await;
    caught_up(app, &hook_of_mine).await;
    caught_up(&neighbour, &hook_of_theirs).await;
    assert_eq!((mine.count(), theirs.count()), (3, 1));
    assert_eq!(list(&neighbour.get("/v1/webhooks").await.ok(), "data").len(), 1);
    assert!(!is_verified(&theirs.received()[0], &hook_of_mine["secret"]));
}

async fn changes_of_endpoints_are_in_the_audit_log(app: &App) {
    let receiver = Receiver::answering(|_, _| Reply::Status(410));
    let hook = hook(app, &receiver, json!({"events": ["profile.*"]})).await;
    app.patch(&at(&hook, "")).json(json!({"url": format!("{}?token=canary", receiver.url())})).await.ok();
    app.post(&at(&hook, "/rotate-secret")).await.ok();
    app.person(nobody("a")).await;
    eventually("it is disabled", async || (read(app, &hook).await["enabled"] == false).then_some(())).await;
    app.delete(&at(&hook, "")).await.no_content();
    let log = app.get(&format!("/v1/audit-log?target_type=webhook&target_id={}", id(&hook))).await.ok();
    let told: Vec<Value> = list(&log, "data").iter().rev().map(|row| json!([row["action"], row["details"]])).collect();
    assert_eq!(
        told,
        [
            json!(["webhook.created", {"events": ["profile.*"], "payload": "thin", "enabled": true}]),
            json!(["webhook.changed", {"fields": ["url"]}]),
            json!(["webhook.secret_rotated", {}]),
            json!(["webhook.disabled", {"reason": "gone"}]),
            json!(["webhook.removed", {}]),
        ]
    );
    assert_eq!(list(&log, "data")[1]["actor"], "system:webhooks");
    assert!(!log.to_string().contains("canary") && !log.to_string().contains("whsec_"));
}

async fn what_is_sent_is_counted(app: &App) {
    let receiver = Receiver::answering(|n, _| if n == 0 { Reply::Status(200) } else { Reply::Status(500) });
    let counted = async |outcome: &str| -> u64 {
        let text = app.get("/metrics").no_key().await.text();
        let name = format!("people_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    let before = (counted("delivered").await, counted("failed").await);
    let hook = hook(app, &receiver, json!({})).await;
    app.people(&[nobody("a"), nobody("b")]).await;
    failed(app, &hook, 1).await;
    // Counters follow the commit that shows the failure; they are not part of it.
    eventually("both outcomes are counted", async || {
        let after = (counted("delivered").await, counted("failed").await);
        (after.0 > before.0 && after.1 > before.1).then_some(())
    })
    .await;
    eventually("the changes that wait are told", async || {
        let text = app.get("/metrics").no_key().await.text();
        let pending =
            text.lines().find_map(|line| line.strip_prefix("people_webhook_pending_changes{status=\"enabled\"} ").map(str::to_owned));
        pending.and_then(|n| n.parse::<u64>().ok()).filter(|n| *n >= 1)
    })
    .await;
    assert!(app.get("/metrics").no_key().await.text().contains("people_webhooks{status=\"enabled\"} "));
}

/// A server as it is set when nobody sets anything: only public addresses.
async fn private_addresses_are_refused(engine: Engine) {
    let trap = Receiver::new();
    let port = trap.port();
    let server = Server::new(engine).await;
    let development = App::default_of(&server);
    // Made while it was allowed, it is not sent to any more.
    let old = hook(&development, &trap, json!({})).await;
    let secure = development.post("/v1/webhooks").json(json!({"url": format!("https://localhost:{port}/")})).await.created();
    let server = Server::on(server.kill(), &[QUICK, ("PEOPLE_WEBHOOKS_ALLOW_PRIVATE", "")]);
    let app = App::default_of(&server);
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://[64:ff9b::7f00:1]:{port}/"),
        format!("https://[2002:7f00:1::]:{port}/"),
        "https://10.0.0.1/".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://192.168.1.1/".to_owned(),
        "https://100.64.0.1/".to_owned(),
        "https://[fd00::1]/".to_owned(),
        "https://[fe80::1]/".to_owned(),
    ] {
        app.post("/v1/webhooks").json(json!({"url": url})).await.refused_at("/url", "address_not_public");
        app.patch(&at(&secure, "")).json(json!({"url": url})).await.refused_at("/url", "address_not_public");
    }
    for url in [
        format!("http://127.0.0.1:{port}/"),
        "http://hooks.example.com/".to_owned(),
        format!("https://2130706433:{port}/"),
        format!("https://0x7f.1:{port}/"),
        format!("https://0177.0.0.1:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://hooks.example.com@127.0.0.1:{port}/"),
        "https://hooks.example.com./".to_owned(),
    ] {
        app.post("/v1/webhooks").json(json!({"url": url})).await.refused_at("/url", "invalid_value");
    }
    app.person(nobody("one")).await;
    failed(&app, &old, 1).await;
    let refused = failed(&app, &secure, 1).await;
    assert!(refused["next_attempt_at"].is_string());
    let error = async |hook: &Value| deliveries(&app, hook).await[0]["attempts"][0]["error"].clone();
    assert_eq!((error(&old).await, error(&secure).await), (json!("invalid_url"), json!("address_not_public")));
    assert_eq!(app.post(&at(&secure, "/test")).await.ok()["attempts"][0]["error"], "address_not_public");
    assert_eq!(trap.count(), 0, "somebody came by");
}

async fn an_endpoint_that_fails_for_too_long_is_disabled_and_loses_nothing(engine: Engine) {
    let server = Server::new(engine).await;
    // Three days in three seconds: the pauses shrink with them.
    let server = Server::on(server.kill(), &[QUICK, ("PEOPLE_WEBHOOK_GIVE_UP_AFTER", "3")]);
    let app = App::default_of(&server);
    let receiver = Receiver::answering(|_, _| Reply::Status(503));
    let hook = hook(&app, &receiver, json!({})).await;
    let began = Instant::now();
    app.people(&[nobody("a"), nobody("b")]).await;
    let given_up = eventually("it is given up", async || Some(read(&app, &hook).await).filter(|hook| hook["enabled"] == false)).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "given up after {:?}", began.elapsed());
    assert_eq!(
        (&given_up["disabled_reason"], &given_up["pending"], &given_up["next_attempt_at"]),
        (&json!("failing"), &json!(2), &Value::Null)
    );
    let attempts = receiver.count();
    assert!((8..40).contains(&attempts), "{attempts} attempts");
    let failed = deliveries(&app, &hook).await;
    assert_eq!((failed.len(), &failed[0]["status"], &failed[0]["attempt_count"]), (1, &json!("failed"), &json!(attempts)));
    let log = app.get("/v1/audit-log?action=webhook.disabled").await.ok();
    assert_eq!(log["data"][0]["details"], json!({"reason": "failing"}));
    receiver.answer(|_, _| Reply::Status(200));
    app.patch(&at(&hook, "")).json(json!({"enabled": true})).await.ok();
    caught_up(&app, &hook).await;
    let first = receiver.sequences()[0];
    assert_eq!(receiver.sequences()[attempts..].iter().map(|n| n - first).collect::<Vec<_>>(), [0, 1]);
    assert!(deliveries(&app, &hook).await.iter().all(|d| d["status"] == "delivered"));
}

async fn an_answer_that_does_not_come_is_a_failure(engine: Engine) {
    let server = Server::new(engine).await;
    let server = Server::on(server.kill(), &[QUICK, ("PEOPLE_WEBHOOK_TIMEOUT", "1")]);
    let app = App::default_of(&server);
    let receiver = Receiver::answering(|n, _| if n == 0 { Reply::Silence } else { Reply::Status(200) });
    let hook = hook(&app, &receiver, json!({})).await;
    app.person(nobody("a")).await;
    failed(&app, &hook, 1).await;
    let attempt = deliveries(&app, &hook).await[0]["attempts"][0].clone();
    assert_eq!((&attempt["status_code"], &attempt["error"]), (&Value::Null, &json!("timeout")));
    assert!((900..5_000).contains(&attempt["duration_ms"].as_i64().unwrap_or(0)), "{attempt}");
    hurry(&app, &hook).await;
    caught_up(&app, &hook).await;
    assert_eq!(receiver.count(), 2);
}

/// Every change once or more, and each for the first time in order. Answers how many came more than once.
#[track_caller]
fn each_in_order(sequences: &[i64], count: usize) -> usize {
    let mut seen = BTreeSet::new();
    let firsts: Vec<i64> = sequences.iter().copied().filter(|n| seen.insert(*n)).collect();
    assert!(firsts.is_sorted(), "out of order: {firsts:?}");
    assert_eq!(firsts.len(), count, "{firsts:?}");
    assert_eq!(firsts.last().map(|last| last - firsts[0] + 1), i64::try_from(count).ok(), "there are gaps: {firsts:?}");
    sequences.len() - count
}

async fn nothing_is_lost_when_the_server_is_killed(engine: Engine) {
    const CHANGES: usize = 1_200;
    let server = Server::new(engine).await;
    let mut server = Server::on(server.kill(), &[QUICK]);
    // Slow enough that it is killed in the middle; now and then it fails or hangs up.
    let mut receiver = Receiver::on(0, |n, _| {
        std::thread::sleep(Duration::from_millis(1));
        if n % 211 == 210 { Reply::Close } else { Reply::Status(200) }
    });
    let app = App::default_of(&server);
    let hook = hook(&app, &receiver, json!({})).await;
    app.people(&(0..CHANGES).map(|n| nobody(&format!("p{n}"))).collect::<Vec<_>>()).await;
    let mut sequences = Vec::new();
    for kill in 1..=3_usize {
        let enough = kill * CHANGES / 5;
        eventually("some came", async || {
            hurry(&App::default_of(&server), &hook).await;
            (sequences.len() + receiver.count() > enough).then_some(())
        })
        .await;
        server = Server::on(server.kill(), &[QUICK]);
        if kill == 2 {
            // The receiver dies as well, and returns on its port.
            let port = receiver.port();
            sequences.extend(receiver.sequences());
            drop(receiver);
            let app = App::default_of(&server);
            failed(&app, &hook, 1).await;
            receiver = Receiver::on(port, |_, _| Reply::Status(200));
        }
    }
    let app = App::default_of(&server);
    eventually("the endpoint is up to date", async || {
        hurry(&app, &hook).await;
        (read(&app, &hook).await["pending"] == 0).then_some(())
    })
    .await;
    receiver.received().iter().for_each(|request| verified(request, &hook["secret"]));
    sequences.extend(receiver.sequences());
    let twice = each_in_order(&sequences, CHANGES);
    assert!(twice > 0, "nothing was under way when it was killed: this shows nothing");
    assert!(twice < CHANGES, "{twice} of {CHANGES} came more than once");
}

async fn two_servers_share_the_endpoints_and_send_each_event_once(engine: Engine) {
    if engine == Engine::Sqlite {
        // One process has the file.
        return;
    }
    let server = Server::new(engine).await;
    let first = Server::on(server.kill(), &[QUICK]);
    let second = Server::on(first.database.clone(), &[QUICK]);
    let (app, other) = (App::default_of(&first), App::default_of(&second));
    let receivers: Vec<Receiver> = (0..6).map(|_| Receiver::new()).collect();
    let mut hooks = Vec::new();
    for receiver in &receivers {
        hooks.push(hook(&app, receiver, json!({})).await);
    }
    let sent = async |server: &App| -> usize {
        let text = server.get("/metrics").no_key().await.text();
        let counted =
            text.lines().find_map(|line| line.strip_prefix("people_webhook_deliveries_total{outcome=\"delivered\"} ").map(str::to_owned));
        counted.and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    // Written through both, a few at a time, until both have found something that was due.
    let mut changes = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while changes < 300 || sent(&app).await == 0 || sent(&other).await == 0 {
        assert!(Instant::now() < deadline, "only one of them sends: {}, {}", sent(&app).await, sent(&other).await);
        let through = if changes % 60 == 0 { &app } else { &other };
        through.people(&(0..30).map(|i| nobody(&format!("p{}", changes + i))).collect::<Vec<_>>()).await;
        changes += 30;
        for hook in &hooks {
            caught_up(&app, hook).await;
        }
    }
    for receiver in &receivers {
        assert_eq!(each_in_order(&receiver.sequences(), changes), 0, "each event once");
    }
    eventually("both have counted what they sent", async || {
        (sent(&app).await + sent(&other).await == changes * receivers.len()).then_some(())
    })
    .await;
    // One dies: the other goes on alone.
    first.kill();
    other.person(nobody("after")).await;
    for (receiver, hook) in receivers.iter().zip(&hooks) {
        caught_up(&other, hook).await;
        each_in_order(&receiver.sequences(), changes + 1);
    }
}

async fn a_server_that_is_told_to_go_gives_its_endpoints_back(engine: Engine) {
    let server = Server::new(engine).await;
    // A lease of half a minute, as it is set: who comes after does not wait for it.
    let server = Server::on(server.kill(), &[("PEOPLE_DRAIN", "0")]);
    let receiver = Receiver::answering(|_, _| {
        std::thread::sleep(Duration::from_millis(5));
        Reply::Status(200)
    });
    let app = App::default_of(&server);
    let hook = hook(&app, &receiver, json!({})).await;
    app.people(&(0..400).map(|n| nobody(&format!("p{n}"))).collect::<Vec<_>>()).await;
    came(&receiver, 20).await;
    let process = server.process().to_string();
    std::process::Command::new("kill").args(["-TERM", &process]).status().expect("kill runs");
    eventually("the process is gone", async || {
        let gone = std::process::Command::new("kill").args(["-0", &process]).stderr(std::process::Stdio::null()).status();
        gone.is_ok_and(|status| !status.success()).then_some(())
    })
    .await;
    let at_its_end = receiver.count();
    assert!(at_its_end < 400, "it went after everything was sent: this shows nothing");
    let server = Server::on(server.kill(), &[]);
    let began = Instant::now();
    caught_up(&App::default_of(&server), &hook).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(each_in_order(&receiver.sequences(), 400), 0, "each event once");
}

async fn secrets_need_the_installations_key(engine: Engine) {
    const NONE: (&str, &str) = ("PEOPLE_SECRET_KEY", "");
    let server = Server::new(engine).await;
    let mut server = Server::on(server.kill(), &[NONE, QUICK]);
    let app = App::default_of(&server);
    let receiver = Receiver::new();
    let body = json!({"url": receiver.url()});
    if engine.is_postgres() {
        app.post("/v1/webhooks").json(body.clone()).await.refused(409, "webhooks_not_configured");
        assert_eq!(app.get("/v1/webhooks").await.ok()["data"], json!([]));
    } else {
        // It is made up, and kept beside the file, for nobody else to read.
        use std::os::unix::fs::PermissionsExt as _;
        let key = server.database.directory.join("people.db.key");
        let mode = std::fs::metadata(&key).expect("the key is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        let made = app.post("/v1/webhooks").json(body.clone()).await.created();
        server = Server::on(server.kill(), &[NONE, QUICK]);
        let app = App::default_of(&server);
        app.person(nobody("a")).await;
        caught_up(&app, &made).await;
        verified(&receiver.received()[0], &made["secret"]);
        app.delete(&at(&made, "")).await.no_content();
    }
    let server = Server::on(server.kill(), &[QUICK]);
    let app = App::default_of(&server);
    app.post("/v1/webhooks").json(body).await.created();
    let database = server.kill();
    // Under another key nothing could be signed: it says so instead of starting.
    let environment = [
        ("DATABASE_URL", database.url.as_str()),
        ("PEOPLE_LISTEN", "127.0.0.1:0"),
        ("PEOPLE_SECRET_KEY", "another_key_0123456789abcdef0123456789"),
    ];
    let refused = people_tests::cli(&["serve"], &environment);
    assert!(refused.code != Some(0) && refused.stderr.contains("PEOPLE_SECRET_KEY"), "{refused:?}");
    database.remove().await;
}

async fn an_erased_person_is_in_no_delivery(engine: Engine) {
    let server = Server::new(engine).await;
    let server = Server::on(server.kill(), &[QUICK]);
    let app = App::default_of(&server);
    let receiver = Receiver::answering(|_, _| Reply::Status(500));
    let hook = hook(&app, &receiver, json!({"payload": "full"})).await;
    let mark = format!("canary{}", uuid::Uuid::now_v7().simple());
    let person = app.person(json!({"email": format!("{mark}@example.com"), "name": mark})).await;
    failed(&app, &hook, 1).await;
    assert!(receiver.received()[0].body.contains(&mark), "the payload is full");
    let cells = app.database().rows("SELECT * FROM webhook_deliveries").await;
    assert!(!cells.is_empty() && cells.iter().flatten().all(|cell| !cell.contains(&mark)), "a delivery holds what was sent");
    app.delete(&path(&person, "")).await.ok();
    receiver.answer(|_, _| Reply::Status(200));
    let before = receiver.count();
    hurry(&app, &hook).await;
    caught_up(&app, &hook).await;
    let after = &receiver.received()[before..];
    assert!(after.len() == 2 && after.iter().all(|request| !request.body.contains(&mark)), "{after:?}");
    assert!(!server.log().contains(&mark) && !server.log().contains("whsec_"), "{}", server.log());
}

async fn deliveries_are_forgotten_after_a_week(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let receiver = Receiver::new();
    let hook = hook(&app, &receiver, json!({})).await;
    app.people(&[nobody("a"), nobody("b"), nobody("c")]).await;
    caught_up(&app, &hook).await;
    let [third, second, first] = <[Value; 3]>::try_from(deliveries(&app, &hook).await).expect("three deliveries");
    let database = server.kill();
    // The first becomes eight days old (its id says when), the second six; the third stays.
    let aged = |delivery: &Value, days: i64| {
        let created = people_domain::Timestamp::parse(delivery["created_at"].as_str().unwrap_or_default()).expect("a time");
        let old = created.minus(people_domain::clock::Span::from_seconds(days * 24 * 3_600));
        uuid::Builder::from_unix_timestamp_millis(old.unix_millis(), &[7; 10]).into_uuid().to_string()
    };
    let literal = |id: &str| if engine.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) };
    for (delivery, days) in [(&first, 8), (&second, 6)] {
        let (old, new) = (literal(id(delivery)), literal(&aged(delivery, days)));
        database.rows(&format!("UPDATE webhook_deliveries SET id = {new} WHERE id = {old}")).await;
    }
    let server = Server::on(database, &[]);
    let app = App::default_of(&server);
    let left = async |count: usize| {
        eventually("what is old is forgotten", async || Some(deliveries(&app, &hook).await).filter(|left| left.len() == count)).await
    };
    let kept = left(2).await;
    assert_eq!((&kept[0]["id"], &kept[1]["sequence"]), (&third["id"], &second["sequence"]));
    // So are those that lie far behind in the feed.
    let database = server.kill();
    database.rows("UPDATE webhooks SET seq = seq + 99999").await;
    let server = Server::on(database, &[]);
    let app = App::default_of(&server);
    let kept =
        eventually("those far behind are forgotten", async || Some(deliveries(&app, &hook).await).filter(|left| left.len() == 1)).await;
    assert_eq!(kept[0]["id"], third["id"]);
}
