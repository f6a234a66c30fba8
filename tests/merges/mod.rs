//! Merges asked for by hand: previewed, carried out, taken back. Nothing is lost on the way there, nor on the way back. Here is what
//! all of their stories use.

mod among_others;
mod create;
mod nothing_lost;
mod preview;
mod revert;

use people_tests::{App, Engine, percent};
use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::cast::{ada, id, list, path};

/// `2026-01-01T00:00:00Z` and so many seconds.
pub(crate) fn at(seconds: i64) -> String {
    people_domain::Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).expect("a time").short()
}

fn pair(primary: &Value, secondary: &Value, keep: Value) -> Value {
    json!({"primary_id": primary["id"], "secondary_id": secondary["id"], "keep": keep})
}

pub(crate) async fn preview(app: &App, primary: &Value, secondary: &Value, keep: Value) -> Value {
    app.post("/v1/merges/preview").json(pair(primary, secondary, keep)).await.ok()
}

/// The request that carries a preview out.
pub(crate) fn agreed(primary: &Value, secondary: &Value, keep: Value, preview: &Value) -> Value {
    let mut body = pair(primary, secondary, keep);
    body["preview_token"] = preview["preview_token"].clone();
    body
}

pub(crate) async fn merge_with(app: &App, primary: &Value, secondary: &Value, keep: Value) -> Value {
    let seen = preview(app, primary, secondary, keep.clone()).await;
    app.post("/v1/merges").json(agreed(primary, secondary, keep, &seen)).await.created()
}

pub async fn merge(app: &App, primary: &Value, secondary: &Value) -> Value {
    merge_with(app, primary, secondary, json!({})).await
}

pub async fn revert(app: &App, merge: &Value) -> Value {
    app.post(&format!("/v1/merges/{}/revert", id(merge))).await.ok()
}

pub(crate) fn field<'a>(told: &'a Value, name: &str) -> &'a Value {
    list(told, "fields").iter().find(|f| f["field"] == name).unwrap_or_else(|| panic!("no {name} in {told}"))
}

pub(crate) async fn send(app: &App, events: Value) {
    for result in list(&app.post("/v1/events").json(json!({"events": events})).await.ok(), "results") {
        assert_eq!(result["status"], 201, "{result}");
    }
}

/// All pages of a list under a person.
pub(crate) async fn all(app: &App, profile: &str, what: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/profiles/{profile}/{what}?limit=200{cursor}")).await.ok();
        out.extend(list(&page, "data").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return out };
        cursor = format!("&cursor={next}");
    }
}

fn is_system(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|kind| kind.starts_with("system."))
}

/// Everything there is of a person, but for what a merge and its reversal add by themselves.
pub(crate) async fn whole(app: &App, profile: &str) -> Value {
    let mut document = app.read(profile).await;
    assert_eq!(id(&document), profile, "the person answers under their own id");
    for member in ["version", "updated_at"] {
        document.as_object_mut().expect("an object").shift_remove(member);
    }
    let events: Vec<Value> = all(app, profile, "timeline").await.into_iter().filter(|e| !is_system(e)).collect();
    let history: Vec<Value> = all(app, profile, "history")
        .await
        .into_iter()
        .filter(|e| !matches!(e["action"].as_str(), Some("merged" | "merge_reverted")))
        .collect();
    let mut ledger = Vec::new();
    for consent in list(&document, "consents") {
        let channel = consent["channel"].as_str().expect("a channel");
        ledger.extend(all(app, profile, &format!("consents/{channel}/history")).await);
    }
    let mut lookups = Vec::new();
    for identity in list(&document, "identities") {
        let (kind, value) = (identity["kind"].as_str().expect("a kind"), identity["value"].as_str().expect("a value"));
        let found = app.get(&format!("/v1/profiles/lookup?kind={kind}&value={}", percent(value))).await.ok();
        let page = app.search(json!({"q": value, "limit": 200})).await;
        let by_search = list(&page, "data").iter().any(|p| p["id"] == profile);
        lookups.push(json!([kind, value, found["id"], by_search]));
    }
    let mut sessions = all(app, profile, "sessions").await;
    for session in &sessions {
        let inside = app.get(&format!("/v1/sessions/{}/events?limit=200", id(session))).await.ok();
        let number = list(&inside, "data").len() as u64;
        assert_eq!(session["event_count"], number, "a session counts its events: {session}");
    }
    sessions.sort_by_key(|s| id(s).to_owned());
    json!({"document": document, "events": events, "history": history, "ledger": ledger, "lookups": lookups, "sessions": sessions,
        "labels": app.get(&format!("/v1/profiles/{profile}/labels")).await.ok(),
        "consents": app.get(&format!("/v1/profiles/{profile}/consents")).await.ok()})
}

/// Ada with much to lose, and somebody who is Ada too.
async fn two_adas(app: &App) -> (Value, Value) {
    let first = app.person(ada()).await;
    let second = app
        .person(json!({"email": "lovelace@work.example", "identities": [{"kind": "device", "value": "tablet"}], "company": "Navy",
            "job_title": "Analyst", "attributes": {"plan": "free", "tags": ["a", "b"], "since": "2020-01-01"}, "labels": ["vip", "trial"],
            "consents": [{"channel": "email", "status": "opted_out", "occurred_at": at(5), "source": "footer"},
                         {"channel": "sms", "status": "opted_in", "occurred_at": at(6)}]}))
        .await;
    send(
        app,
        json!([
            {"profile_id": id(&first), "type": "page", "channel": "web", "occurred_at": at(100)},
            {"profile_id": id(&second), "type": "page", "channel": "web", "occurred_at": at(400)},
            {"profile_id": id(&first), "type": "page", "channel": "web", "occurred_at": at(700), "session": {"properties": {"landing": "/"}}},
            {"profile_id": id(&second), "type": "order", "channel": "app", "occurred_at": at(90_000), "message_id": "m1"},
            {"profile_id": id(&second), "type": "call", "occurred_at": at(50)}
        ]),
    )
    .await;
    (app.read(id(&first)).await, app.read(id(&second)).await)
}

/// Every table, as text, in which a word stands.
pub(crate) async fn tables_with(app: &App, word: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (table, column) in [
        ("profile_documents", "document"),
        ("profiles", "search_text"),
        ("profile_identities", "value"),
        ("profile_history", "changes"),
        ("merges", "primary_before"),
        ("merges", "secondary_before"),
        ("merges", "conflicts"),
        ("merges", "secondary_rows"),
        ("events", "properties"),
        ("events", "session_properties"),
        ("events", "context"),
        ("sessions", "properties"),
        ("merge_sessions", "properties"),
        ("consent_ledger", "source"),
        ("idempotency_answers", "body"),
    ] {
        let text = if app.engine.is_postgres() { "::text" } else { "" };
        let count = app.database().one(&format!("SELECT count(*) FROM {table} WHERE {column}{text} LIKE '%{word}%'")).await;
        if count != "0" {
            out.push(format!("{table}.{column}"));
        }
    }
    out
}

/// Somebody of whom much or little is known, with a life in `events` (at seconds that nobody else has).
pub(crate) async fn somebody(app: &App, rng: &mut ChaCha8Rng, name: &str, moments: &mut Vec<i64>) -> Value {
    let mut body = json!({"external_id": name});
    let words = ["Ada", "Grace", "Edsger", "Barbara"];
    for key in ["name", "first_name", "last_name", "company", "job_title", "city"] {
        if rng.random_bool(0.5) {
            body[key] = json!(words.choose(rng));
        }
    }
    if rng.random_bool(0.7) {
        body["email"] = json!(format!("{name}@example.com"));
    }
    let devices: Vec<Value> =
        (0..rng.random_range(0..3)).map(|n| json!({"kind": "device", "value": format!("device {n} of {name}")})).collect();
    body["identities"] = json!(devices);
    body["attributes"] = json!({});
    for (key, values) in [
        ("plan", [json!("free"), json!("pro"), json!("team")]),
        ("seats", [json!(1), json!(2.5), json!(-3)]),
        ("tags", [json!(["a"]), json!(["a", "b"]), json!(["c"])]),
        ("active", [json!(true), json!(false), json!(true)]),
    ] {
        if rng.random_bool(0.5) {
            body["attributes"][key] = values.choose(rng).cloned().unwrap_or_default();
        }
    }
    body["labels"] = ["vip", "trial", "beta", "old"].iter().filter(|_| rng.random_bool(0.4)).copied().collect();
    let mut consents = Vec::new();
    for channel in ["email", "sms", "push"] {
        for _ in 0..rng.random_range(0..3) {
            let status = *["opted_in", "opted_out", "pending"].choose(rng).expect("one of three");
            consents.push(json!({"channel": channel, "status": status, "occurred_at": at(rng.random_range(0..4)), "source": name}));
        }
    }
    body["consents"] = json!(consents);
    let person = app.person(body).await;
    let mut events = Vec::new();
    for n in 0..rng.random_range(0..12) {
        let place = rng.random_range(0..moments.len());
        let mut event = json!({"profile_id": id(&person), "type": words.choose(rng), "occurred_at": at(moments.swap_remove(place)),
            "message_id": format!("{name}-{n}"), "properties": {"n": n}});
        if rng.random_bool(0.8) {
            event["channel"] = json!(["web", "app", "whatsapp"].choose(rng));
        }
        if rng.random_bool(0.2) {
            event["session"] = json!({"id": format!("visit {}", rng.random_range(0..2)), "properties": {"of": name, "n": n}});
        }
        events.push(event);
    }
    for part in events.chunks(3) {
        send(app, json!(part)).await;
    }
    if rng.random_bool(0.5) {
        app.put(&path(&person, "/labels/late")).await.ok();
    }
    app.read(id(&person)).await
}

/// A field of a document by the name a merge calls it; `null` when it is empty.
pub(crate) fn value(document: &Value, name: &str) -> Value {
    match name.split_once('.') {
        Some(("attributes", key)) => document["attributes"][key].clone(),
        Some(("consents", channel)) => list(document, "consents").iter().find(|c| c["channel"] == channel).cloned().unwrap_or_default(),
        _ if document[name] == json!([]) => Value::Null,
        _ => document[name].clone(),
    }
}

/// Everybody of the directory, each once, by the ids and keys they are known by.
pub(crate) async fn everybody(app: &App, people: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for person in people {
        let now = app.read(id(person)).await;
        if out.iter().all(|known| known["document"]["id"] != now["id"]) {
            out.push(whole(app, id(&now)).await);
        }
    }
    out
}

/// An id as the engine writes it in a statement.
fn literal(app: &App, id: &str) -> String {
    if app.engine == Engine::Sqlite { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") }
}
