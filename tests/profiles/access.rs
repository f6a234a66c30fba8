//! `GET /v1/profiles/{id}/export`: everything held on one person, for access requests.

use std::collections::BTreeSet;

use people_store::registry::{EXPORTS, Export};
use people_tests::{App, Server, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list, nobody, path};

stories![
    everything_held_on_a_person_is_in_the_export,
    the_document_describes_what_is_exported,
    an_export_is_told_by_the_history_and_changes_nothing,
    a_merged_id_is_exported_as_who_answers_for_it,
    whoever_is_not_there_has_no_export,
    many_events_are_streamed_each_once,
    erasing_one_of_two_alike_leaves_the_other_whole,
];

/// A person with rows in every section.
async fn full(app: &App, name: &str) -> Value {
    let mut body = ada();
    body["external_id"] = json!(name);
    body["email"] = json!(format!("{name}@example.com"));
    body["phone"] = Value::Null;
    let person = app.post("/v1/profiles").idempotency_key(name).json(body).await.created();
    app.patch(&path(&person, "")).header("x-reason", "moved").json(json!({"city": "Paris"})).await.ok();
    let visitor = json!({"kind": "anonymous_id", "value": format!("visitor of {name}")});
    let known = json!({"kind": "external_id", "value": name});
    let event = |identities: Value| json!({"identities": identities, "type": "page", "channel": "web", "properties": {"path": "/"}, "session": {"properties": {"from": "ad"}}});
    let taken = app.post("/v1/events").json(json!({"events": [event(json!([visitor])), event(json!([known, visitor]))]})).await.ok();
    assert!(list(&taken, "results").iter().all(|r| r["status"] == 201), "{taken}");
    app.read(id(&person)).await
}

async fn export(app: &App, person: &Value) -> Value {
    app.get(&path(person, "/export")).await.ok()
}

fn sections() -> BTreeSet<&'static str> {
    EXPORTS
        .iter()
        .filter_map(|(_, export)| match export {
            Export::Section(section) => Some(section.name),
            Export::Elsewhere(_) => None,
        })
        .collect()
}

async fn everything_held_on_a_person_is_in_the_export(app: &App) {
    let person = full(app, "crm-17").await;
    let answer = app.get(&path(&person, "/export")).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let export = answer.ok();
    let names: BTreeSet<&str> = export.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut promised = sections();
    promised.extend(["profile_id", "exported_at", "profile"]);
    assert_eq!(names, promised, "the sections, and the registry in crates/store/src/registry.rs");
    same(&export["profile"], &person);
    let count = |section: &str| list(&export, section).len();
    assert_eq!((count("identities"), count("labels"), count("consents"), count("events")), (3, 1, 1, 2), "{export}");
    assert_eq!((count("sessions"), count("merges"), count("former_ids"), count("stored_answers")), (1, 1, 1, 1), "{export}");
    let actions: Vec<&Value> = list(&export, "history").iter().map(|entry| &entry["action"]).collect();
    assert!(actions.contains(&&json!("created")) && actions.contains(&&json!("merged")), "{actions:?}");
    assert_eq!(actions.last(), Some(&&json!("exported")), "the oldest first, and this one last");
    let change = list(&export, "history").iter().find(|entry| entry["reason"] == "moved").expect("the change is there");
    assert_eq!(change["changes"], json!([{"field": "city", "old": "London", "new": "Paris"}]));
    let label = &export["labels"][0];
    same(&redact(label), &json!({"label": "vip", "source": "manual", "rule_id": null, "actor": label["actor"], "created_at": "<time>"}));
    let event = &export["events"][0];
    assert_eq!((&event["type"], &event["properties"]), (&json!("page"), &json!({"path": "/"})));
    assert_eq!(event["origin_profile_id"], export["former_ids"][0]["profile_id"], "whose it was before the merge");
    let merge = &export["merges"][0];
    assert_eq!((&merge["automatic"], &merge["primary_before"]["city"]), (&json!(true), &json!("Paris")));
    assert_eq!((&merge["keep"], &merge["secondary_rows"]), (&json!({}), &json!({"labels": [], "segments": []})));
    assert_eq!((&merge["reverted_at"], &merge["reverted_by"], &merge["conflicts"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(export["consents"][0]["source"], "signup form");
    assert_eq!(export["sessions"][0]["properties"], json!({"from": "ad"}));
    let reverted = app.post(&format!("/v1/merges/{}/revert", id(merge))).await.ok();
    let merge = &self::export(app, &person).await["merges"][0];
    assert_eq!((&merge["reverted_at"], &merge["reverted_by"]), (&reverted["reverted_at"], &reverted["reverted_by"]));
    assert!(merge["reverted_at"].is_string() && merge["conflicts"].is_array(), "{merge}");
}

/// Every member of every row is in the schema and the other way round, so the two cannot drift apart.
async fn the_document_describes_what_is_exported(app: &App) {
    let person = full(app, "crm-17").await;
    let export = export(app, &person).await;
    let document = app.get("/openapi.json").no_key().await.ok();
    let schema = |name: &str| document.pointer(&format!("/components/schemas/{name}/properties")).cloned().unwrap_or_default();
    let names = |value: &Value| value.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect::<BTreeSet<String>>();
    let whole = schema("AccessExport");
    assert_eq!(names(&whole), names(&export));
    let mut compared = 0;
    for section in sections() {
        let row = whole[section]["items"]["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default();
        for item in list(&export, section) {
            assert_eq!(names(item), names(&schema(row)), "{section}: {item}");
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} rows were compared");
}

async fn an_export_is_told_by_the_history_and_changes_nothing(app: &App) {
    let person = app.person(ada()).await;
    let reader = app.with_scopes(&["profiles:read"]).await;
    reader.get(&path(&person, "/export")).header("x-reason", "access request 17").await.ok();
    same(&app.read(id(&person)).await, &person);
    let entries = app.history(id(&person)).await;
    same(
        &redact(&entries[0]),
        &json!({"id": "<id>", "at": "<time>", "actor": entries[0]["actor"], "action": "exported", "source": "api", "version": 1, "changes": [],
            "request_id": "<id>", "reason": "access request 17"}),
    );
    assert_ne!(entries[0]["actor"], entries[1]["actor"], "it tells who read");
    let line = app.get(&path(&person, "/timeline?type=system.exported")).await.ok();
    assert_eq!(list(&line, "data").len(), 1);
    let who = if app.engine.is_postgres() { format!("'{}'", id(&person)) } else { format!("x'{}'", id(&person).replace('-', "")) };
    let changes = app.database().one(&format!("SELECT count(*) FROM changes WHERE profile_id = {who}")).await;
    assert_eq!(changes, "1", "that somebody read is no change");
}

async fn a_merged_id_is_exported_as_who_answers_for_it(app: &App) {
    let person = full(app, "crm-17").await;
    let former = export(app, &person).await["former_ids"][0]["profile_id"].clone();
    let former = former.as_str().expect("an id").to_owned();
    let answer = app.get(&format!("/v1/profiles/{former}/export")).await;
    assert_eq!(answer.header("content-location"), Some(path(&person, "/export").as_str()));
    assert_eq!(answer.ok()["profile_id"], person["id"]);
    app.delete(&path(&person, "")).await.ok();
    for rest in ["", "/export", "/history", "/timeline"] {
        app.get(&format!("/v1/profiles/{former}{rest}")).await.refused(410, "profile_erased");
    }
}

async fn whoever_is_not_there_has_no_export(app: &App) {
    app.get("/v1/profiles/0192f0c1-7d7e-7aaa-8000-000000000001/export").await.refused(404, "not_found");
    let person = app.person(nobody("gone")).await;
    app.neighbour().get(&path(&person, "/export")).await.refused(404, "not_found");
    app.delete(&path(&person, "")).await.ok();
    app.get(&path(&person, "/export")).await.refused(410, "profile_erased");
}

async fn many_events_are_streamed_each_once(app: &App) {
    const EVENTS: usize = 5_000;
    let person = app.person(nobody("busy")).await;
    for part in 0..EVENTS / 2_500 {
        let events: Vec<Value> = (0..2_500)
            .map(|n| {
                let n = part * 2_500 + n;
                // Many at the same instant: pages must neither skip nor repeat one.
                json!({"profile_id": person["id"], "type": "page", "channel": "web", "occurred_at": format!("2026-01-01T00:00:{:02}Z", n / 1_000),
                    "properties": {"n": n, "text": "x".repeat(300)}})
            })
            .collect();
        app.post("/v1/events").json(json!({"events": events})).await.ok();
    }
    let process = Server::shared(app.engine).await.process();
    let before = resident(process);
    let export = export(app, &person).await;
    let grown = resident(process).saturating_sub(before);
    let seen: BTreeSet<u64> = list(&export, "events").iter().filter_map(|event| event["properties"]["n"].as_u64()).collect();
    assert_eq!((seen.len(), list(&export, "events").len()), (EVENTS, EVENTS));
    assert!(grown < 64 << 20, "the server grew by {} MiB", grown >> 20);
}

/// Bytes of memory that a process holds.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

async fn erasing_one_of_two_alike_leaves_the_other_whole(app: &App) {
    let (one, other) = (full(app, "twin-one").await, full(app, "twin-two").await);
    let all = async |person: &Value| {
        let mut export = export(app, person).await;
        export["exported_at"] = Value::Null;
        // That the two may be one goes with either of them.
        export["duplicates"] = Value::Null;
        let entries: Vec<Value> = list(&export, "history").iter().filter(|entry| entry["action"] != "exported").cloned().collect();
        export["history"] = json!(entries);
        export
    };
    let before = all(&other).await;
    app.delete(&path(&one, "?suppress=true")).await.ok();
    same(&all(&other).await, &before);
    assert_eq!(app.find(json!({"q": "lovelace"})).await, ["twin-two"]);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "vip"})).await, ["twin-two"]);
}
