//! `GET /v1/erasures/{id}`: the receipt of an erasure, which holds nothing of the person.

use people_tests::{App, same, stories};
use serde_json::json;

use crate::cast::{ada, id, path};

stories![
    a_receipt_can_be_read_again,
    a_receipt_is_nobody_elses,
    an_unknown_receipt_is_not_found,
    nothing_of_the_person_is_in_any_table,
    what_others_messages_said_of_somebody_goes_too
];

async fn a_receipt_can_be_read_again(app: &App) {
    let person = app.person(ada()).await;
    let receipt = app.delete(&path(&person, "")).await.ok();
    let mut again = app.get(&format!("/v1/erasures/{}", id(&receipt))).await.ok();
    // The bytes may have been scrubbed from the files meanwhile; nothing else of a receipt ever changes.
    again["scrubbed_at"] = receipt["scrubbed_at"].clone();
    same(&again, &receipt);
    app.with_scopes(&["profiles:read"]).await.get(&format!("/v1/erasures/{}", id(&receipt))).await.ok();
}

async fn a_receipt_is_nobody_elses(app: &App) {
    let person = app.person(ada()).await;
    let receipt = app.delete(&path(&person, "")).await.ok();
    app.neighbour().get(&format!("/v1/erasures/{}", id(&receipt))).await.refused(404, "not_found");
}

async fn an_unknown_receipt_is_not_found(app: &App) {
    app.get("/v1/erasures/0192f0c1-2d3e-7000-8000-000000000000").await.refused(404, "not_found");
    app.get("/v1/erasures/17").await.refused(404, "not_found");
}

/// Every column of every table is read for what was written about her, the stored answers of retried requests included.
async fn nothing_of_the_person_is_in_any_table(app: &App) {
    let mark = format!("canary{}", uuid::Uuid::now_v7().simple());
    let person = app
        .post("/v1/profiles")
        .idempotency_key("create-and-erase")
        .json(json!({
            "external_id": format!("ext-{mark}"), "email": format!("{mark}@example.com"), "name": format!("Name {mark}"), "company": format!("Company {mark}"),
            "identities": [{"kind": "device", "value": format!("device-{mark}")}], "labels": ["vip"],
            "consents": [{"channel": "email", "status": "opted_in", "source": format!("form {mark}")}], "attributes": {"note": format!("note {mark}")}
        }))
        .await
        .created();
    app.patch(&path(&person, ""))
        .header("x-reason", &format!("reason {mark}"))
        .json(json!({"email": format!("new-{mark}@example.com")}))
        .await
        .ok();
    app.post("/v1/profiles/upsert")
        .idempotency_key("upsert-and-erase")
        .json(json!({"external_id": format!("ext-{mark}"), "city": format!("City {mark}")}))
        .await
        .ok();
    let database = app.database();
    assert!(!mentions(&database, &mark).await.is_empty(), "the search for traces finds nothing even before the erasure");
    app.delete(&path(&person, "")).await.ok();
    let left = mentions(&database, &mark).await;
    assert_eq!(left, [""; 0], "traces of an erased person");
}

/// Two keys of hers in one message of somebody else: the one that was refused, and another that only the properties name; and what a
/// session was told.
async fn what_others_messages_said_of_somebody_goes_too(app: &App) {
    let mark = format!("canary{}", uuid::Uuid::now_v7().simple());
    let (email, number) = (format!("{mark}@example.com"), "+4930123456");
    let ada = app.person(json!({"external_id": format!("ext-{mark}"), "email": email, "phone": number})).await;
    let grace = app.person(json!({"external_id": "u2", "email": "grace@navy.example"})).await;
    let said = json!({
        "email": email, "ref": format!("ext-{mark}"), "of": {"phone": number}, "total": 17, "by": "grace@navy.example"
    });
    let event = json!({
        "identities": [{"kind": "external_id", "value": "u2"}, {"kind": "email", "value": email}], "type": "shared", "channel": "web",
        "properties": said, "session": {"properties": said}
    });
    let told = app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    assert_eq!((&told["results"][0]["profile_id"], &told["results"][0]["refused"][0]["kind"]), (&grace["id"], &json!("email")), "{told}");
    // A merge that was taken back: its reasons speak of both.
    let other = app.person(json!({"external_id": "u3"})).await;
    let preview = app.post("/v1/merges/preview").json(json!({"primary_id": other["id"], "secondary_id": ada["id"]})).await.ok();
    let agreed = json!({"primary_id": other["id"], "secondary_id": ada["id"], "preview_token": preview["preview_token"]});
    let merge = app.post("/v1/merges").header("x-reason", &format!("the same as {mark}")).json(agreed).await.created();
    app.post(&format!("/v1/merges/{}/revert", id(&merge))).header("x-reason", &format!("not {mark}")).json(json!({})).await.ok();
    app.delete(&path(&ada, "")).await.ok();
    assert_eq!(mentions(&app.database(), &mark).await, [""; 0], "traces of an erased person");
    let kept = json!({"email": null, "ref": null, "of": {"phone": null}, "total": 17, "by": "grace@navy.example"});
    let timeline = app.get(&path(&grace, "/timeline?type=shared")).await.ok();
    assert_eq!(timeline["data"][0]["properties"], kept);
    assert_eq!(app.get(&path(&grace, "/sessions")).await.ok()["data"][0]["properties"], kept);
}

/// The columns of all tables whose text holds the mark.
pub(crate) async fn mentions(database: &people_tests::Database, mark: &str) -> Vec<String> {
    let columns = if database.engine.is_postgres() {
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    } else {
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY 1, 2"
    };
    let mut found = Vec::new();
    for column in database.rows(columns).await {
        let (table, name) = (&column[0], &column[1]);
        let contains = if database.engine.is_postgres() {
            format!("position('{mark}' in \"{name}\"::text) > 0")
        } else {
            // Also what is stored as bytes.
            format!("instr(CAST(\"{name}\" AS TEXT), '{mark}') > 0")
        };
        if !database.rows(&format!("SELECT 1 FROM \"{table}\" WHERE {contains} LIMIT 1")).await.is_empty() {
            found.push(format!("{table}.{name}"));
        }
    }
    found
}
