//! `GET /v1/profiles/{id}/history`: who changed what, when, through which request, and why.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, changes, id, list, nobody, path};

stories![
    an_entry_tells_who_what_when_and_why,
    creating_is_the_first_entry,
    one_field_can_be_followed,
    pages_follow_each_other_newest_first,
    history_is_of_one_person,
    refused_writes_are_no_history,
    bad_questions_are_refused,
    reasons_in_any_language_are_kept,
];

async fn an_entry_tells_who_what_when_and_why(app: &App) {
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, ""))
        .header("x-reason", "moved to France")
        .header("x-request-id", "req-7")
        .json(json!({"city": "Paris", "attributes": {"seats": 13, "plan": null}, "email": "ada@new.example"}))
        .await
        .ok();
    let answer = app.get(&path(&ada, "/history")).await.ok();
    let entry = &answer["data"][0];
    same(
        &redact(entry),
        &json!({
            "id": "<id>",
            "at": "<time>",
            "actor": entry["actor"],
            "action": "updated",
            "source": "api",
            "version": 2,
            "changes": [
                {"field": "attributes.plan", "old": "pro", "new": null},
                {"field": "attributes.seats", "old": 12, "new": 13},
                {"field": "city", "old": "London", "new": "Paris"},
                {"field": "email", "old": "ada@example.com", "new": "ada@new.example"}
            ],
            "request_id": "req-7",
            "reason": "moved to France"
        }),
    );
    assert_eq!(entry["at"], app.read(id(&ada)).await["updated_at"]);
    let keys = app.get("/v1/api-keys").await.ok();
    let key_id = list(&keys, "data")[0]["id"].as_str().unwrap_or_default();
    assert!(entry["actor"].to_string().contains(key_id), "the actor does not name the key {key_id}: {}", entry["actor"]);
    assert!(!entry.to_string().contains(&app.key), "the key itself is in the history");
    assert_eq!(answer["next_cursor"], Value::Null);
}

async fn creating_is_the_first_entry(app: &App) {
    let ada = app.person(ada()).await;
    let upserted = app.post("/v1/profiles/upsert").json(nobody("crm-99")).await.created();
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], &entry["version"], &entry["reason"]), (&json!("created"), &json!(1), &Value::Null));
    let told = changes(entry);
    assert_eq!(told["email"], json!([null, "ada@example.com"]));
    assert_eq!(told["name"], json!([null, "Ada Lovelace"]));
    assert_eq!(told["attributes.seats"], json!([null, 12]));
    assert_eq!(told["labels"], json!([null, ["vip"]]));
    assert_eq!(told["consents.email"], json!([null, "opted_in"]));
    assert_eq!(app.history(id(&upserted)).await.len(), 1);
    app.post("/v1/profiles/upsert").json(json!({"external_id": "crm-99", "city": "Rome"})).await.ok();
    assert_eq!(app.history(id(&upserted)).await[0]["action"], "upserted");
}

async fn one_field_can_be_followed(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for body in
        [json!({"company": "A"}), json!({"city": "Rome"}), json!({"company": "B", "city": "Paris"}), json!({"attributes": {"plan": "pro"}})]
    {
        app.patch(&path(&person, "")).json(body).await.ok();
    }
    let follow = async |field: &str| -> Vec<u64> {
        let answer = app.get(&path(&person, &format!("/history?field={field}"))).await.ok();
        list(&answer, "data").iter().filter_map(|e| e["version"].as_u64()).collect()
    };
    assert_eq!(follow("company").await, [4, 2]);
    assert_eq!(follow("city").await, [4, 3]);
    assert_eq!(follow("attributes.plan").await, [5]);
    assert_eq!(follow("external_id").await, [1]);
    assert_eq!(follow("job_title").await, [0; 0]);
    // A name that is a part of another one is not that other one.
    assert_eq!(follow("attributes.pla").await, [0; 0]);
}

async fn pages_follow_each_other_newest_first(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for n in 0..25 {
        app.patch(&path(&person, "")).json(json!({"attributes": {"n": n}})).await.ok();
    }
    let whole = app.history(id(&person)).await;
    assert_eq!(whole.iter().filter_map(|e| e["version"].as_u64()).collect::<Vec<_>>(), (1..=26).rev().collect::<Vec<_>>());
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&path(&person, &format!("/history?limit=7{cursor}"))).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        // What is written while somebody reads does not shift the pages.
        app.patch(&path(&person, "")).json(json!({"attributes": {"late": walked.len()}})).await.ok();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, whole);
}

async fn history_is_of_one_person(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(crate::cast::grace()).await;
    app.patch(&path(&grace, "")).json(json!({"city": "Arlington"})).await.ok();
    assert_eq!(app.history(id(&ada)).await.len(), 1);
    assert_eq!(app.history(id(&grace)).await.len(), 2);
    app.get("/v1/profiles/0192f0c1-2d3e-7000-8000-000000000000/history").await.refused(404, "not_found");
}

async fn refused_writes_are_no_history(app: &App) {
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).json(json!({"country": "UK"})).await.refused(422, "validation_failed");
    app.patch(&path(&ada, "")).header("if-match", "\"9\"").json(json!({"city": "Rome"})).await.refused(412, "version_mismatch");
    app.patch(&path(&ada, "")).json(json!({"city": "London"})).await.ok();
    assert_eq!(app.history(id(&ada)).await.len(), 1);
}

async fn bad_questions_are_refused(app: &App) {
    let ada = app.person(ada()).await;
    for (query, code) in [
        ("limit=0", "invalid_query"),
        ("limit=201", "invalid_query"),
        ("limit=x", "invalid_query"),
        ("colour=red", "invalid_query"),
        ("field=a&field=b", "invalid_query"),
        ("cursor=nonsense", "invalid_cursor"),
    ] {
        app.get(&path(&ada, &format!("/history?{query}"))).await.refused(400, code);
    }
    // A cursor belongs to the question it was answered to.
    app.patch(&path(&ada, "")).json(json!({"city": "Rome"})).await.ok();
    let page = app.get(&path(&ada, "/history?limit=1")).await.ok();
    let cursor = page["next_cursor"].as_str().unwrap_or_default();
    app.get(&path(&ada, &format!("/history?limit=1&field=city&cursor={cursor}"))).await.refused(400, "cursor_mismatch");
    let grace = app.person(crate::cast::grace()).await;
    app.get(&path(&grace, &format!("/history?cursor={cursor}"))).await.refused(400, "cursor_mismatch");
}

async fn reasons_in_any_language_are_kept(app: &App) {
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).header("x-reason", "déménagement 引っ越し").json(json!({"city": "Paris"})).await.ok();
    assert_eq!(app.history(id(&ada)).await[0]["reason"], "déménagement 引っ越し");
}
