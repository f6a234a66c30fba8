//! `/v1/workspace`: the settings a tenant's rules are decided under.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

stories![
    a_workspace_tells_its_settings,
    settings_change_one_by_one,
    the_default_country_reads_national_numbers,
    bad_settings_are_refused_and_change_nothing,
    one_workspace_is_not_the_other,
];

async fn a_workspace_tells_its_settings(app: &App) {
    let workspace = app.get("/v1/workspace").await.ok();
    same(
        &redact(&workspace),
        &json!({
            "id": "<id>", "name": app.workspace, "default_country": null, "strict_attributes": false,
            "session_gap_seconds": workspace["session_gap_seconds"], "time_zone": workspace["time_zone"], "duplicate_threshold": 20, "created_at": "<time>"
        }),
    );
    assert_eq!(workspace["id"], app.workspace_id);
    assert!(workspace["session_gap_seconds"].as_i64().is_some_and(|s| s > 0));
    app.with_scopes(&["profiles:read"]).await.get("/v1/workspace").await.ok();
}

async fn settings_change_one_by_one(app: &App) {
    let before = app.get("/v1/workspace").await.ok();
    let mut expected = before.clone();
    for (field, value) in [
        ("default_country", json!("GB")),
        ("strict_attributes", json!(true)),
        ("session_gap_seconds", json!(600)),
        ("time_zone", json!("Europe/London")),
        ("name", json!("Renamed by hand")),
        ("default_country", Value::Null),
    ] {
        expected[field] = value.clone();
        let after = app.patch("/v1/workspace").json(json!({field: value})).await.ok();
        same(&after, &expected);
        same(&app.get("/v1/workspace").await.ok(), &expected);
    }
}

async fn the_default_country_reads_national_numbers(app: &App) {
    app.post("/v1/profiles").json(json!({"phone": "020 7946 0000"})).await.refused_at("/phone", "invalid_phone");
    app.patch("/v1/workspace").json(json!({"default_country": "gb"})).await.ok();
    assert_eq!(app.person(json!({"phone": "020 7946 0000"})).await["phone"], "+442079460000");
    app.patch("/v1/workspace").json(json!({"default_country": "US"})).await.ok();
    assert_eq!(app.person(json!({"phone": "(212) 555-0100"})).await["phone"], "+12125550100");
}

async fn bad_settings_are_refused_and_change_nothing(app: &App) {
    let before = app.get("/v1/workspace").await.ok();
    for (body, pointer) in [
        (json!({"default_country": "UK"}), "/default_country"),
        (json!({"default_country": 44}), "/default_country"),
        (json!({"strict_attributes": "yes"}), "/strict_attributes"),
        (json!({"strict_attributes": null}), "/strict_attributes"),
        (json!({"session_gap_seconds": 0}), "/session_gap_seconds"),
        (json!({"session_gap_seconds": -5}), "/session_gap_seconds"),
        (json!({"session_gap_seconds": 1.5}), "/session_gap_seconds"),
        (json!({"time_zone": "Mars/Olympus"}), "/time_zone"),
        (json!({"time_zone": null}), "/time_zone"),
        (json!({"name": ""}), "/name"),
        (json!({"id": app.workspace_id}), "/id"),
        (json!({"unknown": 1}), "/unknown"),
    ] {
        let problem = app.patch("/v1/workspace").json(body.clone()).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    same(&app.get("/v1/workspace").await.ok(), &before);
}

async fn one_workspace_is_not_the_other(app: &App) {
    let neighbour = app.neighbour();
    app.patch("/v1/workspace").json(json!({"default_country": "GB", "strict_attributes": true})).await.ok();
    assert_eq!(neighbour.get("/v1/workspace").await.ok()["default_country"], Value::Null);
    app.post("/v1/properties").json(json!({"key": "plan", "type": "number"})).await.created();
    // The same key, another type; the same identity, another person.
    neighbour.person(json!({"external_id": "crm-1", "attributes": {"plan": "pro"}})).await;
    app.person(json!({"external_id": "crm-1", "attributes": {"plan": 7}})).await;
    assert_eq!(app.find(json!({"q": "crm-1"})).await.len(), 1);
}
