//! `/v1/properties`: what the custom attributes of a workspace are called, and what they may hold.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{id, list, path};

stories![
    a_property_is_defined_once,
    the_list_is_in_the_order_of_the_keys,
    the_first_value_defines_what_nobody_defined,
    a_strict_workspace_infers_nothing,
    the_type_stays,
    options_only_grow,
    labels_and_descriptions_can_be_cleared,
    a_property_in_use_stays,
    bad_definitions_are_refused,
    two_first_values_at_once_agree_on_one_type,
    a_number_comes_back_as_it_was_sent,
];

/// Decimals whose shortest writing a hasty reader takes for the neighbour.
async fn a_number_comes_back_as_it_was_sent(app: &App) {
    for (n, number) in [19.537_368_544_182_982, 6.781_369_791_310_883e-10, -122.419_416_123_456_78, 0.1 + 0.2, 1_234_567.891_011_12]
        .into_iter()
        .enumerate()
    {
        let person = app.person(json!({"external_id": format!("n{n}"), "attributes": {"num": number}})).await;
        for city in ["a", "b", "c"] {
            app.patch(&path(&person, "")).json(json!({"city": city})).await.ok();
        }
        assert_eq!(app.read(id(&person)).await["attributes"]["num"].as_f64(), Some(number));
        let asked = |op: &str| {
            json!({"filter": {"all": [
                {"field": "attributes.num", "op": op, "value": number}, {"field": "external_id", "op": "eq", "value": format!("n{n}")}
            ]}})
        };
        for op in ["eq", "gte", "lte"] {
            assert_eq!(app.post("/v1/profiles/count").json(asked(op)).await.ok()["total"], 1, "{op} {number}");
        }
        let event = json!({"profile_id": person["id"], "type": "measured", "properties": {"num": number}});
        app.post("/v1/events").json(json!({"events": [event]})).await.ok();
        let timeline = app.get(&path(&person, "/timeline?type=measured")).await.ok();
        assert_eq!(timeline["data"][0]["properties"]["num"].as_f64(), Some(number));
    }
}

async fn a_property_is_defined_once(app: &App) {
    let body = json!({"key": "plan", "type": "enum", "label": "Plan", "description": "What they pay for", "options": ["free", "pro"], "searchable": true, "pii": false, "match": "exact"});
    let answer = app.post("/v1/properties").json(body.clone()).await;
    let property = answer.created();
    same(
        &redact(&property),
        &json!({
            "key": "plan", "type": "enum", "label": "Plan", "description": "What they pay for", "options": ["free", "pro"], "searchable": true, "pii": false,
            "match": "exact", "created_at": "<time>", "updated_at": "<time>"
        }),
    );
    assert_eq!(answer.header("location"), Some("/v1/properties/plan"));
    same(&app.get("/v1/properties/plan").await.ok(), &property);
    app.post("/v1/properties").json(body).await.refused(409, "property_exists");
    app.get("/v1/properties/nothing").await.refused(404, "not_found");
}

async fn the_list_is_in_the_order_of_the_keys(app: &App) {
    for key in ["seats", "Alpha", "beta two"] {
        app.post("/v1/properties").json(json!({"key": key, "type": "text"})).await.created();
    }
    let answer = app.get("/v1/properties").await.ok();
    let keys: Vec<&str> = list(&answer, "data").iter().filter_map(|p| p["key"].as_str()).collect();
    assert_eq!((keys, &answer["next_cursor"]), (vec!["Alpha", "beta two", "seats"], &Value::Null));
    assert_eq!(app.get("/v1/properties/beta%20two").await.ok()["key"], "beta two");
}

async fn the_first_value_defines_what_nobody_defined(app: &App) {
    app.person(json!({"external_id": "a", "attributes": {"plan": "pro", "seats": 3}})).await;
    let property = app.get("/v1/properties/plan").await.ok();
    assert_eq!((&property["type"], &property["searchable"], &property["match"]), (&json!("text"), &json!(false), &json!("none")));
    app.post("/v1/profiles")
        .json(json!({"external_id": "b", "attributes": {"seats": "three"}}))
        .await
        .refused_at("/attributes/seats", "wrong_type");
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text"})).await.refused(409, "property_exists");
    // From nothing nothing can be told.
    for value in [json!({"a": 1}), json!([1, 2])] {
        app.post("/v1/profiles").json(json!({"external_id": "c", "attributes": {"odd": value}})).await.refused(422, "validation_failed");
    }
    app.person(json!({"external_id": "d", "attributes": {"nothing": null}})).await;
    app.get("/v1/properties/nothing").await.refused(404, "not_found");
}

async fn a_strict_workspace_infers_nothing(app: &App) {
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text"})).await.created();
    app.patch("/v1/workspace").json(json!({"strict_attributes": true})).await.ok();
    app.post("/v1/profiles")
        .json(json!({"external_id": "a", "attributes": {"plan": "pro", "seats": 1}}))
        .await
        .refused_at("/attributes/seats", "unknown_attribute");
    let person = app.person(json!({"external_id": "a", "attributes": {"plan": "pro"}})).await;
    app.patch(&path(&person, ""))
        .json(json!({"attributes": {"colour": "red"}}))
        .await
        .refused_at("/attributes/colour", "unknown_attribute");
    app.patch("/v1/workspace").json(json!({"strict_attributes": false})).await.ok();
    app.patch(&path(&person, "")).json(json!({"attributes": {"colour": "red"}})).await.ok();
}

async fn the_type_stays(app: &App) {
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text"})).await.created();
    for body in [json!({"type": "number"}), json!({"type": "text"}), json!({"key": "other"})] {
        app.patch("/v1/properties/plan").json(body).await.refused(422, "validation_failed");
    }
    let after = app.patch("/v1/properties/plan").json(json!({"label": "Plan", "pii": true, "match": "text"})).await.ok();
    assert_eq!(
        (&after["type"], &after["label"], &after["pii"], &after["match"]),
        (&json!("text"), &json!("Plan"), &json!(true), &json!("text"))
    );
    app.patch("/v1/properties/nothing").json(json!({"label": "x"})).await.refused(404, "not_found");
}

async fn options_only_grow(app: &App) {
    app.post("/v1/properties").json(json!({"key": "plan", "type": "enum", "options": ["free", "pro"]})).await.created();
    app.patch("/v1/properties/plan").json(json!({"options": ["free"]})).await.refused(422, "validation_failed");
    app.post("/v1/profiles")
        .json(json!({"external_id": "a", "attributes": {"plan": "team"}}))
        .await
        .refused_at("/attributes/plan", "not_an_option");
    let after = app.patch("/v1/properties/plan").json(json!({"options": ["free", "pro", "team"]})).await.ok();
    assert_eq!(after["options"], json!(["free", "pro", "team"]));
    app.person(json!({"external_id": "a", "attributes": {"plan": "team"}})).await;
}

async fn labels_and_descriptions_can_be_cleared(app: &App) {
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text", "label": "Plan", "description": "x"})).await.created();
    let after = app.patch("/v1/properties/plan").json(json!({"label": null})).await.ok();
    assert_eq!((&after["label"], &after["description"]), (&Value::Null, &json!("x")));
}

async fn a_property_in_use_stays(app: &App) {
    let person = app.person(json!({"external_id": "a", "attributes": {"plan": "pro"}})).await;
    app.delete("/v1/properties/plan").await.refused(409, "property_in_use");
    app.patch(&path(&person, "")).json(json!({"attributes": {"plan": null}})).await.ok();
    app.delete("/v1/properties/plan").await.no_content();
    app.get("/v1/properties/plan").await.refused(404, "not_found");
    app.delete("/v1/properties/plan").await.refused(404, "not_found");
    // The name is free for another type.
    app.patch(&path(&person, "")).json(json!({"attributes": {"plan": 3}})).await.ok();
    assert_eq!(app.get("/v1/properties/plan").await.ok()["type"], "number");
}

async fn bad_definitions_are_refused(app: &App) {
    for (body, pointer) in [
        (json!({"key": "1a", "type": "text"}), "/key"),
        (json!({"key": "", "type": "text"}), "/key"),
        (json!({"key": "a'b", "type": "text"}), "/key"),
        (json!({"key": "a\"; DROP TABLE profiles; --", "type": "text"}), "/key"),
        (json!({"key": "x".repeat(65), "type": "text"}), "/key"),
        (json!({"key": "é", "type": "text"}), "/key"),
        (json!({"key": 7, "type": "text"}), "/key"),
        (json!({"key": "a", "type": "varchar"}), "/type"),
        (json!({"key": "a", "type": "text", "options": ["x"]}), "/options"),
        (json!({"key": "a", "type": "enum", "options": []}), "/options"),
        (json!({"key": "a", "type": "enum"}), "/options"),
        (json!({"key": "a", "type": "text", "match": "fuzzy"}), "/match"),
        (json!({"key": "a", "type": "text", "searchable": "yes"}), "/searchable"),
        (json!({"key": "a", "type": "text", "created_at": "2026-01-01T00:00:00Z"}), "/created_at"),
    ] {
        let problem = app.post("/v1/properties").json(body.clone()).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    for body in [json!({"key": "a"}), json!({"type": "text"})] {
        app.post("/v1/properties").json(body).await.refused(422, "validation_failed");
    }
    assert_eq!(app.get("/v1/properties").await.ok()["data"], json!([]));
}

async fn two_first_values_at_once_agree_on_one_type(app: &App) {
    let answers = futures_util::future::join_all((0..16).map(|n| {
        let value = if n % 2 == 0 { json!(n) } else { json!(format!("text {n}")) };
        app.post("/v1/profiles").json(json!({"external_id": format!("p{n}"), "attributes": {"fresh": value}})).into_future()
    }))
    .await;
    let kind = app.get("/v1/properties/fresh").await.ok()["type"].clone();
    for (n, answer) in answers.iter().enumerate() {
        if (n % 2 == 0) == (kind == "number") {
            answer.created();
        } else {
            answer.refused_at("/attributes/fresh", "wrong_type");
        }
    }
    assert_eq!(app.find(json!({})).await.len(), 8);
}
