//! `POST /v1/profiles/batch`: up to a thousand writes in one request, each with its own result, in order.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, list, nobody, path};

stories![
    each_item_has_its_result_in_order,
    one_bad_item_spoils_none,
    a_batch_answers_what_the_single_requests_would,
    later_items_see_earlier_ones,
    several_updates_of_one_person_follow_each_other,
    deleting_needs_its_own_scope,
    a_batch_has_between_one_and_a_thousand_items,
    a_thousand_items_are_a_thousand_people,
    each_item_writes_its_own_history,
    the_body_may_be_four_mebibytes,
];

async fn each_item_has_its_result_in_order(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let answer = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [
            {"op": "create", "external_id": "new-1", "name": "New One"},
            {"op": "upsert", "external_id": "crm-17", "city": "Paris"},
            {"op": "upsert", "external_id": "new-2", "attributes": {"seats": 3}},
            {"op": "update", "id": id(&ada), "job_title": "Countess"},
            {"op": "delete", "id": id(&grace)}
        ]}))
        .await
        .ok();
    let results = list(&answer, "results");
    let statuses: Vec<&Value> = results.iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [201, 200, 201, 200, 200]);
    assert_eq!((&results[1]["id"], &results[3]["id"]), (&ada["id"], &ada["id"]));
    let now = app.read(id(&ada)).await;
    assert_eq!((&now["city"], &now["job_title"]), (&json!("Paris"), &json!("Countess")));
    assert_eq!(app.read(id(&results[0])).await["name"], "New One");
    assert_eq!(app.read(id(&results[2])).await["attributes"], json!({"seats": 3}));
    app.get(&path(&grace, "")).await.refused(410, "profile_erased");
}

async fn one_bad_item_spoils_none(app: &App) {
    let ada = app.person(ada()).await;
    let answer = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [
            {"op": "create", "external_id": "good-1"},
            {"op": "create", "email": "ADA@example.com"},
            {"op": "create", "external_id": "x", "country": "UK"},
            {"op": "create", "name": "Nobody"},
            {"op": "update", "id": "0192f0c1-2d3e-7000-8000-000000000000", "city": "Rome"},
            {"op": "dance", "id": id(&ada)},
            {"op": "update", "city": "Rome"},
            {"op": "create", "external_id": "y", "unknown": 1},
            7,
            {"op": "create", "external_id": "good-2"}
        ]}))
        .await
        .ok();
    let results = list(&answer, "results");
    let told: Vec<(u64, &str)> =
        results.iter().map(|r| (r["status"].as_u64().unwrap_or(0), r["error"]["code"].as_str().unwrap_or("-"))).collect();
    assert_eq!(
        told,
        [
            (201, "-"),
            (409, "identity_taken"),
            (422, "validation_failed"),
            (422, "identity_required"),
            (404, "not_found"),
            (422, "validation_failed"),
            (422, "validation_failed"),
            (422, "validation_failed"),
            (422, "validation_failed"),
            (201, "-")
        ]
    );
    assert_eq!(results[1]["error"]["conflicts"], json!([{"kind": "email", "value": "ada@example.com", "profile_id": ada["id"]}]));
    assert_eq!(results[2]["error"]["errors"][0]["pointer"], "/items/2/country");
    assert_eq!(results[7]["error"]["errors"][0]["pointer"], "/items/7/unknown");
    assert_eq!(app.find_sorted(json!({})).await, ["crm-17", "good-1", "good-2"]);
    same(&app.read(id(&ada)).await, &ada);
}

async fn a_batch_answers_what_the_single_requests_would(app: &App) {
    let other = app.neighbour();
    for workspace in [app, &other] {
        workspace.person(ada()).await;
    }
    let bodies = [
        json!({"external_id": "a", "name": "A", "labels": ["x"], "attributes": {"n": 1}}),
        json!({"external_id": "a"}),
        json!({"email": "not an address"}),
        json!({"external_id": "b", "attributes": {"n": "text"}}),
        json!({"email": "ada@example.com", "external_id": "c"}),
    ];
    let items: Vec<Value> = bodies
        .iter()
        .map(|b| {
            let mut item = b.clone();
            item["op"] = "create".into();
            item
        })
        .collect();
    let answer = app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
    for (body, result) in bodies.iter().zip(list(&answer, "results")) {
        let single = other.post("/v1/profiles").json(body.clone()).await;
        assert_eq!(result["status"], single.status, "{body}");
        if single.status != 201 {
            assert_eq!(result["error"]["code"], single.problem()["code"], "{body}");
        }
    }
    assert_eq!(app.find_sorted(json!({})).await, other.find_sorted(json!({})).await);
}

async fn later_items_see_earlier_ones(app: &App) {
    let answer = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [
            {"op": "upsert", "external_id": "a", "city": "Rome"},
            {"op": "upsert", "external_id": "a", "email": "a@example.com"},
            {"op": "upsert", "email": "A@example.com", "city": "Paris"},
            {"op": "create", "email": "a@EXAMPLE.com"}
        ]}))
        .await
        .ok();
    let results = list(&answer, "results");
    let statuses: Vec<&Value> = results.iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [201, 200, 200, 409]);
    assert!(results[..3].iter().all(|r| r["id"] == results[0]["id"]), "{answer}");
    let a = app.read(id(&results[0])).await;
    assert_eq!((&a["city"], &a["email"], &a["version"]), (&json!("Paris"), &json!("a@example.com"), &json!(3)));
    assert_eq!(app.history(id(&a)).await.len(), 3);
}

async fn several_updates_of_one_person_follow_each_other(app: &App) {
    let ada = app.person(ada()).await;
    let answer = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [
            {"op": "update", "id": id(&ada), "city": "Paris"},
            {"op": "update", "id": id(&ada), "city": null}
        ]}))
        .await
        .ok();
    assert_eq!(list(&answer, "results").iter().map(|r| &r["status"]).collect::<Vec<_>>(), [200, 200]);
    let now = app.read(id(&ada)).await;
    assert_eq!((&now["city"], &now["version"]), (&Value::Null, &json!(3)));
}

async fn deleting_needs_its_own_scope(app: &App) {
    let ada = app.person(ada()).await;
    let writer = app.with_scopes(&["profiles:write"]).await;
    let answer = writer
        .post("/v1/profiles/batch")
        .json(json!({"items": [{"op": "create", "external_id": "new"}, {"op": "delete", "id": id(&ada)}]}))
        .await
        .ok();
    let results = list(&answer, "results");
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!(201), &json!(403)));
    assert_eq!(results[1]["error"]["code"], "missing_scope");
    same(&app.read(id(&ada)).await, &ada);
}

async fn a_batch_has_between_one_and_a_thousand_items(app: &App) {
    let items = |n: usize| -> Vec<Value> { (0..n).map(|i| json!({"op": "create", "external_id": format!("p{i}")})).collect() };
    for n in [0, 1_001] {
        app.post("/v1/profiles/batch").json(json!({"items": items(n)})).await.refused_at("/items", "limit_exceeded");
    }
    for body in [json!({}), json!([]), json!({"items": {}}), json!({"items": [], "more": 1})] {
        let answer = app.post("/v1/profiles/batch").json(body).await;
        assert_eq!(answer.status, 422, "{answer}");
        answer.problem();
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 0);
}

async fn a_thousand_items_are_a_thousand_people(app: &App) {
    let bodies: Vec<Value> =
        (0..1_000).map(|i| json!({"external_id": format!("p{i:04}"), "email": format!("p{i}@example.com"), "labels": ["batch"]})).collect();
    let ids = app.people(&bodies).await;
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), 1_000);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "batch"})).await.len(), 1_000);
    assert_eq!(app.read(&ids[617]).await["external_id"], "p0617");
}

async fn each_item_writes_its_own_history(app: &App) {
    let answer = app
        .post("/v1/profiles/batch")
        .header("x-reason", "spring clean")
        .header("x-request-id", "batch-1")
        .json(json!({"items": [{"op": "create", "external_id": "a"}, {"op": "create", "external_id": "b"}]}))
        .await
        .ok();
    for result in list(&answer, "results") {
        let entries = app.history(id(result)).await;
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (&entries[0]["reason"], &entries[0]["request_id"], &entries[0]["version"]),
            (&json!("spring clean"), &json!("batch-1"), &json!(1))
        );
    }
}

async fn the_body_may_be_four_mebibytes(app: &App) {
    let text = "x".repeat(8_000);
    let items: Vec<Value> =
        (0..400).map(|i| json!({"op": "create", "external_id": format!("p{i}"), "attributes": {"note": text}})).collect();
    let answer = app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
    assert!(list(&answer, "results").iter().all(|r| r["status"] == 201));
    let items: Vec<Value> =
        (0..600).map(|i| json!({"op": "create", "external_id": format!("q{i}"), "attributes": {"note": text}})).collect();
    app.post("/v1/profiles/batch").json(json!({"items": items})).await.refused(413, "body_too_large");
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 400);
    assert_eq!(app.person(nobody("still-here")).await["version"], 1);
}
