//! How far the key of a browser is believed, which anybody can read who opens the page.

use people_tests::{App, stories};
use serde_json::{Value, json};

use super::{page, person, person_of, timeline};
use crate::cast::{id, identities, list};

stories![
    a_browsers_key_takes_nobody_over,
    a_browsers_key_is_told_of_nobody,
    what_a_browser_fills_leaves_room_for_servers,
    a_browser_reaches_nobody_by_their_address,
    a_browser_fills_what_is_empty_and_changes_only_browsers_words,
    what_one_message_attaches_vouches_for_nothing_in_the_next,
    a_browser_leaves_room_for_what_servers_define,
    a_browsers_request_keys_are_its_own,
    a_batch_in_which_many_may_be_one_is_answered,
    a_browsers_key_sends_events_and_does_nothing_else,
];

/// A key that stands in a page, in the same workspace.
pub(super) async fn browser(app: &App) -> App {
    let key = app.post("/v1/api-keys").json(json!({"name": "shop", "scopes": ["events:write"], "trust": "browser"})).await.created();
    app.with_key(key["key"].as_str().expect("a key"))
}

async fn a_browsers_key_sends_events_and_does_nothing_else(app: &App) {
    for (scopes, at) in [(json!(["profiles:read"]), "/scopes/0"), (json!(["events:write", "admin"]), "/scopes/1")] {
        let key = json!({"name": "shop", "scopes": scopes, "trust": "browser"});
        app.post("/v1/api-keys").json(key).await.refused_at(at, "not_an_option");
    }
    let key = app.post("/v1/api-keys").json(json!({"name": "shop", "scopes": ["events:write"], "trust": "browser"})).await.created();
    let path = format!("/v1/api-keys/{}", id(&key));
    app.patch(&path).json(json!({"scopes": ["events:write", "profiles:read"]})).await.refused_at("/scopes/1", "not_an_option");
    assert_eq!(app.patch(&path).json(json!({"scopes": ["events:write"], "name": "till"})).await.ok()["name"], "till");
}

async fn a_browsers_key_takes_nobody_over(app: &App) {
    let browser = browser(app).await;
    let ada = app.person(json!({"external_id": "u1", "email": "ada@example.com"})).await;
    let grace = app.person(json!({"external_id": "u2"})).await;
    page(&browser, "/v1/i", json!({"userId": "u2", "traits": {"email": "ada@example.com"}})).await;
    page(&browser, "/v1/a", json!({"userId": "u2", "previousId": "u1"})).await;
    assert_eq!(app.read(id(&ada)).await["identities"], ada["identities"], "nobody is fused with her, and no key is taken");
    let grace = app.read(id(&grace)).await;
    assert_eq!((&grace["email"], &grace["external_id"]), (&Value::Null, &json!("u2")));
    for merge in [("userId", "u1"), ("email", "ada@example.com")] {
        let pair = json!([{"type": merge.0, "value": merge.1}, {"type": "userId", "value": "u2"}]);
        page(&browser, "/v1/merge", json!({"mergeProperties": pair})).await;
    }
    assert_eq!(app.read(id(&ada)).await["identities"], ada["identities"]);
    // What nobody has may be attached, and does not become the primary.
    page(&browser, "/v1/i", json!({"userId": "u1", "traits": {"email": "other@example.com"}})).await;
    let ada = app.read(id(&ada)).await;
    assert_eq!(identities(&ada, "email"), ["ada@example.com", "other@example.com"]);
    // Nobody is given a further id of their own, which a later sign-up might get.
    page(&browser, "/v1/a", json!({"userId": "u3", "previousId": "u1"})).await;
    assert_eq!(identities(&app.read(id(&ada)).await, "external_id"), ["u1"]);
}

/// Whoever reads the key in a page cannot ask with it who is a customer, whose an address is, or who had themselves erased.
async fn a_browsers_key_is_told_of_nobody(app: &App) {
    let browser = browser(app).await;
    app.person(json!({"external_id": "u1", "email": "ada@example.com"})).await;
    app.person(json!({"external_id": "u2"})).await;
    let gone = app.person(json!({"email": "gone@example.com"})).await;
    app.delete(&format!("/v1/profiles/{}?suppress=true", id(&gone))).await.ok();
    let mail = |address: &str| json!([{"kind": "email", "value": address}]);
    let both = json!([{"kind": "external_id", "value": "u2"}, {"kind": "email", "value": "ada@example.com"}]);
    let probes = json!({"events": [
        {"identities": both, "type": "probe", "message_id": "1"},
        {"identities": mail("ada@example.com"), "type": "probe", "message_id": "2"},
        {"identities": mail("nobody@example.com"), "type": "probe", "message_id": "3"},
        {"identities": mail("gone@example.com"), "type": "probe", "message_id": "4"}
    ]});
    for _ in 0..2 {
        let told = browser.post("/v1/events").json(probes.clone()).await.ok();
        assert_eq!(told["results"], json!([{"status": 201}, {"status": 201}, {"status": 201}, {"status": 201}]));
    }
    for address in ["ada@example.com", "nobody@example.com", "gone@example.com"] {
        let told = page(&browser, "/v1/i", json!({"anonymousId": "probe", "traits": {"email": address}})).await;
        assert_eq!(told, json!({"success": true, "accepted": 1, "suppressed": 0, "rejected": []}), "{address}");
    }
    assert_eq!(timeline(app, &person_of(app, "u1").await, "probe").await.len(), 1);
    app.get("/v1/profiles/lookup?email=gone@example.com").await.refused(404, "not_found");
    // A server's key is told.
    let told = app.post("/v1/events").json(probes).await.ok();
    assert_eq!(told["results"][0]["refused"][0]["code"], "identity_conflict");
    assert_eq!(told["results"][3], json!({"status": 200, "suppressed": true}));
}

async fn what_a_browser_fills_leaves_room_for_servers(app: &App) {
    let browser = browser(app).await;
    for n in 0..12 {
        page(&browser, "/v1/i", json!({"userId": "u1", "traits": {"email": format!("junk{n}@evil.example")}})).await;
    }
    assert_eq!(identities(&person_of(app, "u1").await, "email").len(), 5);
    page(app, "/v1/identify", json!({"userId": "u1", "traits": {"email": "ada@example.com"}})).await;
    let ada = person_of(app, "u1").await;
    assert_eq!((&ada["email"], identities(&ada, "email").len()), (&json!("ada@example.com"), 6));
    // Nor by kinds of its own.
    for n in 0..40 {
        let keys = (0..5).map(|i| json!({"kind": format!("kind{n}"), "value": i.to_string()}));
        let keys: Vec<Value> = std::iter::once(json!({"kind": "external_id", "value": "u1"})).chain(keys).collect();
        browser.post("/v1/events").json(json!({"events": [{"identities": keys, "type": "page"}]})).await.ok();
    }
    let full = person_of(app, "u1").await;
    assert_eq!(list(&full, "identities").len(), 80);
    page(app, "/v1/identify", json!({"userId": "u1", "traits": {"phone": "+442079460000"}})).await;
    assert_eq!(person_of(app, "u1").await["phone"], "+442079460000");
}

async fn a_browser_reaches_nobody_by_their_address(app: &App) {
    let browser = browser(app).await;
    // Known by an address only, as from a newsletter.
    let subscriber = app.person(json!({"email": "ada@example.com", "name": "Ada"})).await;
    let whose = async |kind: &str, value: &str| person(app, kind, value).await["id"].clone();
    let unchanged = async || assert_eq!(app.read(id(&subscriber)).await["identities"], subscriber["identities"]);
    page(&browser, "/v1/i", json!({"anonymousId": "a1", "traits": {"email": "ada@example.com"}})).await;
    page(&browser, "/v1/i", json!({"userId": "evil", "anonymousId": "a1", "traits": {"email": "ada@example.com", "company": "Evil"}}))
        .await;
    unchanged().await;
    let other = person_of(app, "evil").await;
    assert_eq!((whose("anonymous_id", "a1").await, &other["email"]), (other["id"].clone(), &Value::Null));
    // A server's word for that id lands on whom it belongs to.
    page(app, "/v1/identify", json!({"userId": "evil", "traits": {"firstName": "Eve", "email": "eve@example.com"}})).await;
    unchanged().await;
    assert_eq!(app.read(id(&subscriber)).await["name"], "Ada");
    let refused = timeline(app, &other, "identify").await;
    assert!(refused.iter().any(|e| e["refused"][0]["code"] == "identity_conflict"), "{refused:?}");
    let pairs = app.get("/v1/duplicates").await.ok();
    assert!(list(&pairs, "data").iter().any(|pair| pair.to_string().contains(id(&subscriber))), "somebody may look into it: {pairs}");
    // Nor does an address bring another along.
    let keys = json!([{"kind": "email", "value": "ada@example.com"}, {"kind": "phone", "value": "+442079460000"}]);
    browser.post("/v1/events").json(json!({"events": [{"identities": keys, "type": "page"}]})).await.ok();
    assert_ne!(whose("phone", "%2B442079460000").await, subscriber["id"]);
    unchanged().await;
    // What names nobody else is theirs.
    let keys = json!([{"kind": "email", "value": "ada@example.com"}]);
    browser.post("/v1/events").json(json!({"events": [{"identities": keys, "type": "mail_opened"}]})).await.ok();
    assert_eq!(timeline(app, &subscriber, "mail_opened").await.len(), 1);
    // Nor is what is said of them, not even where the device is somebody else's and nobody could be made of the message.
    for user in [json!("null"), json!(null)] {
        let mut message = json!({"anonymousId": "a1", "traits": {"email": "ada@example.com", "company": "Filled", "plan": "x"}});
        message["userId"] = user;
        page(&browser, "/v1/i", json!({"userId": "evil", "anonymousId": "a1", "traits": {"email": "eve@example.com"}})).await;
        page(&browser, "/v1/i", message).await;
        let now = app.read(id(&subscriber)).await;
        assert_eq!((&now["company"], &now["attributes"]), (&Value::Null, &json!({})));
    }
    let untrusted = json!({"kind": "trait", "value": "company", "code": "untrusted", "said": "Filled"});
    let told = timeline(app, &subscriber, "identify").await;
    assert!(told.iter().all(|e| list(e, "refused").contains(&untrusted)), "{told:?}");
    unchanged().await;
    // Two visitors stay two; with who they are, they are one.
    page(&browser, "/v1/p", json!({"anonymousId": "v1"})).await;
    page(&browser, "/v1/p", json!({"anonymousId": "v2"})).await;
    let pair = json!([{"type": "anonymousId", "value": "v1"}, {"type": "anonymousId", "value": "v2"}]);
    page(&browser, "/v1/merge", json!({"mergeProperties": pair})).await;
    assert_ne!(whose("anonymous_id", "v1").await, whose("anonymous_id", "v2").await);
    for visitor in ["v1", "v2"] {
        page(&browser, "/v1/i", json!({"userId": "grace", "anonymousId": visitor})).await;
    }
    assert_eq!(whose("anonymous_id", "v1").await, whose("anonymous_id", "v2").await);
}

async fn a_browser_fills_what_is_empty_and_changes_only_browsers_words(app: &App) {
    let browser = browser(app).await;
    let ada = app
        .person(json!({"external_id": "u1", "company": "Engines", "attributes": {"plan": "pro", "since": "2026-01-01T00:00:00Z"}}))
        .await;
    let says = async |traits: Value| {
        page(&browser, "/v1/i", json!({"userId": "u1", "traits": traits})).await;
        app.read(id(&ada)).await
    };
    let person =
        says(json!({"company": "Evil", "plan": "free", "city": "London", "theme": "dark", "since": "2026-01-01T00:00:00.000Z"})).await;
    assert_eq!((&person["company"], &person["city"]), (&json!("Engines"), &json!("London")));
    assert_eq!((&person["attributes"]["plan"], &person["attributes"]["theme"]), (&json!("pro"), &json!("dark")));
    let told = |name: &str, said: &str| json!({"kind": "trait", "value": name, "code": "untrusted", "said": said});
    let refused = json!([told("company", "Evil"), told("plan", "free")]);
    assert_eq!(timeline(app, &ada, "identify").await[0]["refused"], refused, "shown, and no change is none");
    // The page says the same things every day, and other things of its own.
    let person = says(json!({"city": "Paris", "theme": "light"})).await;
    assert_eq!((&person["city"], &person["attributes"]["theme"]), (&json!("Paris"), &json!("light")));
    // A server's word, and the API's, hold from then on.
    page(app, "/v1/identify", json!({"userId": "u1", "traits": {"theme": "blue", "company": "Analytical Engines"}})).await;
    app.patch(&format!("/v1/profiles/{}", id(&ada))).json(json!({"city": "Rome"})).await.ok();
    let person = says(json!({"city": "Oslo", "theme": "dark", "company": "Evil"})).await;
    assert_eq!((&person["city"], &person["company"]), (&json!("Rome"), &json!("Analytical Engines")));
    assert_eq!(person["attributes"]["theme"], "blue");
    // A visitor of whom only browsers spoke is changed freely, also once they are known; a merge brings nobody's word up.
    page(&browser, "/v1/i", json!({"anonymousId": "a1", "traits": {"plan": "trial", "referrer": "ads"}})).await;
    page(&browser, "/v1/i", json!({"anonymousId": "a1", "userId": "u1", "traits": {"plan": "free", "referrer": "mail"}})).await;
    let person = app.read(id(&ada)).await;
    assert_eq!((&person["attributes"]["plan"], &person["attributes"]["referrer"]), (&json!("pro"), &json!("mail")));
    let kept = app.history(id(&ada)).await;
    assert!(kept.iter().any(|entry| entry["source"] == "browser") && kept.iter().any(|entry| entry["source"] == "tracking"), "{kept:?}");
    // All in one request, after each other.
    let batch = json!({"batch": [
        {"type": "identify", "userId": "new", "traits": {"plan": "trial"}},
        {"type": "identify", "userId": "new", "traits": {"plan": "free"}}
    ]});
    page(&browser, "/v1/b", batch).await;
    assert_eq!(person_of(app, "new").await["attributes"]["plan"], "free");
}

async fn what_one_message_attaches_vouches_for_nothing_in_the_next(app: &App) {
    let browser = browser(app).await;
    let known = json!({"firstName": "Real", "company": "RealCo", "tier": "gold"});
    let forged = json!({"firstName": "Hax", "company": "HaxCo", "tier": "none"});
    let first = [
        json!({"type": "track", "userId": "u", "anonymousId": "z", "event": "x"}),
        json!({"type": "alias", "userId": "u", "previousId": "z"}),
        json!({"type": "identify", "userId": "u", "anonymousId": "z"}),
    ];
    // Whether the visitor was there before, or comes with the batch.
    for (n, (was_there, first)) in [false, true].into_iter().flat_map(|was| first.iter().map(move |first| (was, first))).enumerate() {
        let named = |message: &Value| {
            let text = message.to_string().replace("\"u\"", &format!("\"u{n}\"")).replace("\"z\"", &format!("\"z{n}\""));
            serde_json::from_str::<Value>(&text).expect("a message")
        };
        page(app, "/v1/identify", json!({"userId": format!("u{n}"), "traits": known})).await;
        if was_there {
            page(&browser, "/v1/p", json!({"anonymousId": format!("z{n}")})).await;
        }
        let second = named(&json!({"type": "identify", "anonymousId": "z", "traits": forged}));
        assert_eq!(page(&browser, "/v1/b", json!({"batch": [named(first), second]})).await["accepted"], 2);
        let person = person_of(app, &format!("u{n}")).await;
        assert_eq!((&person["first_name"], &person["company"]), (&json!("Real"), &json!("RealCo")), "{n}: {first}");
        assert_eq!(person["attributes"]["tier"], "gold", "{n}: {first}");
    }
}

async fn a_browser_leaves_room_for_what_servers_define(app: &App) {
    let browser = browser(app).await;
    let traits = |from: usize| Value::Object((from..from + 200).map(|n| (format!("t{n}"), json!(n))).collect());
    for n in 0..4 {
        page(&browser, "/v1/identify", json!({"userId": format!("b{n}"), "traits": traits(n * 200)})).await;
    }
    assert_eq!(app.get("/v1/properties?count=true").await.ok()["total"], 500);
    let last = person_of(app, "b3").await;
    assert_eq!(last["attributes"], json!({}));
    let refused = timeline(app, &last, "identify").await[0]["refused"].clone();
    assert!(refused.as_array().is_some_and(|all| all.len() == 200 && all.iter().all(|key| key["code"] == "limit_exceeded")), "{refused}");
    // What is defined already, it may say of anybody; and a server goes on.
    page(&browser, "/v1/identify", json!({"userId": "b4", "traits": traits(0)})).await;
    assert_eq!(person_of(app, "b4").await["attributes"].as_object().map(serde_json::Map::len), Some(200));
    page(app, "/v1/identify", json!({"userId": "b3", "traits": {"tier": "gold"}})).await;
    assert_eq!(person_of(app, "b3").await["attributes"], json!({"tier": "gold"}));
}

async fn a_browsers_request_keys_are_its_own(app: &App) {
    let (one, other) = (browser(app).await, browser(app).await);
    let event = |user: &str| json!({"events": [{"identities": [{"kind": "external_id", "value": user}], "type": "e"}]});
    for (key, user) in [(&one, "u1"), (&other, "u2"), (app, "u3")] {
        key.post("/v1/events").idempotency_key("order-17").json(event(user)).await.ok();
        let again = key.post("/v1/events").idempotency_key("order-17").json(event(user)).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        page(key, "/v1/track", json!({"userId": user, "event": "t"})).await;
        let answer = key.post("/v1/track").idempotency_key("order-18").json(json!({"userId": user, "event": "k"})).await;
        answer.ok();
        assert_eq!(timeline(app, &person_of(app, user).await, "e").await.len(), 1);
    }
    one.post("/v1/events").idempotency_key("order-17").json(event("u9")).await.refused(422, "idempotency_mismatch");
}

/// Whom a browser's messages could bring together is asked about once, not with every message, and so are many merges.
async fn a_batch_in_which_many_may_be_one_is_answered(app: &App) {
    const MANY: usize = 1_000;
    let browser = browser(app).await;
    let traits = |from: usize| Value::Object((0..60).map(|n| (format!("t{n}"), json!(from + n))).collect());
    let identify = |device: &dyn Fn(usize) -> String, from: usize| -> Value {
        let message =
            |n: usize| json!({"type": "identify", "userId": format!("u{n}"), "anonymousId": device(n), "traits": traits(from + n)});
        json!({"batch": (0..MANY).map(message).collect::<Vec<_>>()})
    };
    for part in [identify(&|n| format!("d{n}"), 0), identify(&|_| "shared".to_owned(), 1_000)] {
        assert_eq!(page(&browser, "/v1/batch", part).await["accepted"], MANY);
    }
    assert_eq!(person_of(app, "u999").await["attributes"]["t59"], 2_058, "only browsers had said otherwise");
    page(app, "/v1/identify", json!({"userId": "u7", "traits": {"t0": -1}})).await;
    page(&browser, "/v1/batch", identify(&|_| "shared".to_owned(), 2_000)).await;
    let seventh = person_of(app, "u7").await;
    assert_eq!((&seventh["attributes"]["t0"], &seventh["attributes"]["t1"]), (&json!(-1), &json!(2_008)));
    // As many visitors turn out to be as many users.
    let visits: Vec<Value> = (0..2 * MANY).map(|n| json!({"type": "page", "anonymousId": format!("v{n}")})).collect();
    page(app, "/v1/import", json!({"batch": visits})).await;
    let known: Vec<Value> = (0..2 * MANY).map(|n| json!({"type": "track", "event": "e", "userId": format!("w{n}")})).collect();
    page(app, "/v1/import", json!({"batch": known})).await;
    let pairs: Vec<Value> =
        (0..2 * MANY).map(|n| json!({"type": "identify", "userId": format!("w{n}"), "anonymousId": format!("v{n}")})).collect();
    page(app, "/v1/import", json!({"batch": pairs})).await;
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 3 * MANY);
    let both = person_of(app, "w1999").await;
    assert_eq!((timeline(app, &both, "page").await.len(), timeline(app, &both, "e").await.len()), (1, 1));
}
