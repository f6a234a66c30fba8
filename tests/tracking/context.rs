//! Where and with what something happened, as an SDK tells it with every message.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use super::{failed, page, person_of, timeline};
use crate::{
    cast::{id, list},
    erasures::mentions,
    merges::{merge, revert},
};

stories![
    the_context_of_a_message_stays_with_its_event,
    what_a_batch_says_once_holds_for_all_its_messages,
    who_is_erased_leaves_no_context,
    who_is_erased_goes_from_what_was_said_of_others,
    a_context_said_once_makes_no_large_request_of_a_small_one,
    numbers_count_with_all_their_digits,
];

async fn the_context_of_a_message_stays_with_its_event(app: &App) {
    let told = json!({
        "page": {"url": "https://shop.example/spring?x=1", "referrer": null}, "campaign": {"name": "spring", "source": "mail"},
        "screen": {"density": 1.5}, "library": {"name": "analytics.js", "version": "2.1"}, "sessionId": "s1"
    });
    let mut context = told.clone();
    context["traits"] = json!({"email": "other@example.com", "plan": "pro"});
    let message = |event: &str| json!({"userId": "u1", "event": event, "context": context});
    page(app, "/v1/track", message("bought")).await;
    page(app, "/v1/identify", message("")).await;
    for nothing in [json!(null), json!({}), json!([1]), json!("text"), json!({"traits": {"a": 1}})] {
        page(app, "/v1/track", json!({"userId": "u1", "event": "plain", "context": nothing})).await;
    }
    let ada = person_of(app, "u1").await;
    let bought = timeline(app, &ada, "bought").await[0].clone();
    assert_eq!(bought["context"], told);
    assert_eq!(timeline(app, &ada, "identify").await[0]["context"], told);
    let plain = timeline(app, &ada, "plain").await;
    assert_eq!((plain.len(), plain.iter().filter(|event| event.get("context").is_some()).count()), (5, 0));
    assert!(timeline(app, &ada, "system").await.iter().all(|event| event.get("context").is_none()));
    // Wherever the event is read.
    same(&app.get(&format!("/v1/events/{}", id(&bought))).await.ok(), &bought);
    let inside = app.get(&format!("/v1/sessions/{}/events", bought["session_id"].as_str().expect("it has a session"))).await.ok();
    same(&inside["data"][0], &bought);
    let everything = app.get(&format!("/v1/profiles/{}/export", id(&ada))).await.ok();
    let exported = list(&everything, "events").iter().find(|event| event["type"] == "bought").expect("it is exported");
    assert_eq!(exported["context"], told);
    // It comes along when people turn out to be one, and goes back with its event.
    let grace = app.post("/v1/profiles").json(json!({"external_id": "u2"})).await.created();
    let merged = merge(app, &grace, &ada).await;
    assert_eq!(app.get(&format!("/v1/events/{}", id(&bought))).await.ok()["context"], told);
    revert(app, &merged).await;
    assert_eq!(timeline(app, &person_of(app, "u1").await, "bought").await[0]["context"], told);
}

async fn what_a_batch_says_once_holds_for_all_its_messages(app: &App) {
    let track = |event: &str, context: Value| json!({"type": "track", "userId": "u1", "event": event, "context": context});
    let batch = [track("own", json!({"locale": "de-DE", "ip": "192.0.2.7"})), track("shared", Value::Null)];
    page(app, "/v1/batch", json!({"context": {"locale": "en-GB", "library": {"name": "go"}}, "batch": batch})).await;
    let ada = person_of(app, "u1").await;
    assert_eq!(timeline(app, &ada, "own").await[0]["context"], json!({"locale": "de-DE", "library": {"name": "go"}, "ip": "192.0.2.7"}));
    assert_eq!(timeline(app, &ada, "shared").await[0]["context"], json!({"locale": "en-GB", "library": {"name": "go"}}));
    // Traits of whoever is described, a session for all, and a quotation mark in a name.
    let identify = |user: &str, context: Value| json!({"type": "identify", "userId": user, "context": context});
    let batch = [identify("u2", Value::Null), identify("u3", json!({"traits": {"plan": "pro"}})), track("visit", json!({"traits": null}))];
    let common = json!({"traits": {"city": "Lyon"}, "sessionId": "s9", "a \"b\"": [1, 2.5, null]});
    page(app, "/v1/batch", json!({"context": common, "batch": batch})).await;
    let (second, third) = (person_of(app, "u2").await, person_of(app, "u3").await);
    assert_eq!((&second["city"], &third["city"], &third["attributes"]["plan"]), (&json!("Lyon"), &Value::Null, &json!("pro")));
    for (person, kind) in [(&second, "identify"), (&third, "identify"), (&ada, "visit")] {
        assert_eq!(timeline(app, person, kind).await[0]["context"], json!({"sessionId": "s9", "a \"b\"": [1, 2.5, null]}));
    }
    let session =
        app.get(&format!("/v1/sessions/{}", timeline(app, &ada, "visit").await[0]["session_id"].as_str().expect("a session"))).await;
    assert_eq!(session.ok()["sender_id"], "s9");
}

async fn who_is_erased_leaves_no_context(app: &App) {
    let mark = format!("zebra{}", uuid::Uuid::now_v7().simple());
    let context = json!({"device": {"id": mark}, "traits": {"nickname": format!("nick-{mark}")}});
    page(app, "/v1/track", json!({"userId": "u1", "event": "e", "context": context})).await;
    let ada = person_of(app, "u1").await;
    assert_eq!(mentions(&app.database(), &mark).await, ["events.context"]);
    // What is said of somebody where nobody is described, is kept nowhere.
    assert_eq!(mentions(&app.database(), &format!("nick-{mark}")).await, [""; 0]);
    app.delete(&format!("/v1/profiles/{}", id(&ada))).await.ok();
    assert_eq!(mentions(&app.database(), &mark).await, [""; 0]);
}

/// A message of theirs may have named somebody else in vain; where it did, the name goes with its bearer.
async fn who_is_erased_goes_from_what_was_said_of_others(app: &App) {
    let mark = format!("yak{}", uuid::Uuid::now_v7().simple());
    let (user, mail) = (format!("user-{mark}"), format!("{mark}@example.com"));
    app.person(json!({"external_id": user, "email": mail, "phone": "+4930123456"})).await;
    let other = app.person(json!({"external_id": "other", "email": "other@example.com"})).await;
    page(
        app,
        "/v1/merge",
        json!({"mergeProperties": [{"type": "userId", "value": "other"}, {"type": "email", "value": mail.to_uppercase()}]}),
    )
    .await;
    page(app, "/v1/alias", json!({"userId": "other", "previousId": user})).await;
    let context = json!({"externalId": [{"type": "email", "id": mail}, {"type": "phone", "id": "030 123456"}], "locale": "de"});
    let traits = json!({"email": mail, "phone": "+49 30 123456"});
    page(app, "/v1/identify", json!({"userId": "other", "traits": traits, "context": context})).await;
    let erased = person_of(app, &user).await;
    app.delete(&format!("/v1/profiles/{}", id(&erased))).await.ok();
    assert_eq!(mentions(&app.database(), &mark).await, [""; 0]);
    assert_eq!(mentions(&app.database(), &mark.to_uppercase()).await, [""; 0]);
    let [merge, alias, identify] =
        [timeline(app, &other, "merge").await, timeline(app, &other, "alias").await, timeline(app, &other, "identify").await];
    assert_eq!(
        merge[0]["properties"],
        json!({"identities": [{"kind": "external_id", "value": "other"}, {"kind": "email", "value": null}]})
    );
    assert_eq!(alias[0]["properties"], json!({"previous_id": null}));
    let gone = json!({"externalId": [{"type": "email", "id": null}, {"type": "phone", "id": null}], "locale": "de"});
    assert_eq!(identify[0]["context"], gone, "{identify:?}");
}

async fn numbers_count_with_all_their_digits(app: &App) {
    let many = |n: usize| json!(vec![1e308; n]);
    let message = json!({"userId": "u1", "event": "e", "properties": {"n": many(4_000)}});
    failed(&app.post("/v1/track").json(message).await, 400, "too_large");
    let batch = json!([{"type": "track", "userId": "u1", "event": "e"}]);
    failed(&app.post("/v1/batch").json(json!({"context": {"n": many(4_000)}, "batch": batch})).await, 400, "too_large");
    let event = json!({"identities": [{"kind": "external_id", "value": "u1"}], "type": "e", "properties": {"n": many(4_000)}});
    let told = app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    assert_eq!(told["results"][0]["error"]["errors"][0]["code"], "limit_exceeded", "{told}");
    page(app, "/v1/track", json!({"userId": "u1", "event": "few", "properties": {"n": many(50)}})).await;
    assert_eq!(timeline(app, &person_of(app, "u1").await, "few").await[0]["properties"]["n"], many(50));
}

async fn a_context_said_once_makes_no_large_request_of_a_small_one(app: &App) {
    let batch = |bytes: usize, messages: usize| {
        let message = json!({"type": "track", "userId": "u1", "event": "e"});
        json!({"context": {"x": "x".repeat(bytes)}, "batch": vec![message; messages]})
    };
    failed(&app.post("/v1/batch").json(batch(33_000, 1)).await, 400, "too_large");
    failed(&app.post("/v1/batch").json(batch(4_000_000, 100)).await, 400, "too_large");
    failed(&app.post("/v1/batch").json(batch(8_000, 2_500)).await, 400, "too_large");
    let described = json!({"context": {"traits": {"x": "x".repeat(2_000)}}, "batch": batch(0, 1_000)["batch"]});
    failed(&app.post("/v1/batch").json(described).await, 400, "too_large");
    app.get("/v1/profiles/lookup?kind=external_id&value=u1").await.refused(404, "not_found");
    assert_eq!(page(app, "/v1/batch", batch(6_000, 2_500)).await["accepted"], 2_500);
}
