//! `POST /v1/profiles/{id}/identities` and `DELETE …/{kind}/{value}`: how a person is recognised.

use people_tests::{App, percent, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, changes, grace, id, identities, nobody, path, version};

stories![
    an_added_identity_finds_its_person,
    one_held_already_changes_nothing,
    one_of_somebody_else_is_refused,
    the_first_of_its_kind_is_the_primary,
    a_removed_identity_is_free_again,
    removing_is_by_any_spelling,
    awkward_values_can_be_removed,
    the_next_one_becomes_primary,
    the_last_one_stays,
    removing_what_is_not_held_is_not_found,
    bad_identities_are_refused,
    a_stale_tag_is_refused,
    each_change_is_in_the_history,
    a_profile_holds_at_most_a_hundred,
];

async fn add(app: &App, profile: &Value, kind: &str, value: &str) -> Value {
    app.post(&path(profile, "/identities")).json(json!({"kind": kind, "value": value})).await.created()
}

async fn an_added_identity_finds_its_person(app: &App) {
    let ada = app.person(ada()).await;
    let answer = app.post(&path(&ada, "/identities")).json(json!({"kind": "email", "value": " Ada@Work.Example "})).await;
    let after = answer.created();
    assert_eq!(answer.header("etag"), Some("\"2\""));
    assert_eq!(identities(&after, "email"), ["ada@example.com", "ada@work.example"]);
    assert_eq!((&after["email"], version(&after)), (&json!("ada@example.com"), 2));
    same(&app.get("/v1/profiles/lookup?email=ada@work.example").await.ok(), &after);
    assert_eq!(app.find(json!({"q": "work.exam"})).await, ["crm-17"]);
}

async fn one_held_already_changes_nothing(app: &App) {
    let ada = app.person(ada()).await;
    for (kind, value) in [("email", "ADA@example.com"), ("phone", "+44 (20) 7946 0000"), ("external_id", "crm-17")] {
        let answer = app.post(&path(&ada, "/identities")).json(json!({"kind": kind, "value": value})).await;
        same(&answer.ok(), &ada);
    }
    assert_eq!(app.history(id(&ada)).await.len(), 1);
}

async fn one_of_somebody_else_is_refused(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let problem = app
        .post(&path(&ada, "/identities"))
        .json(json!({"kind": "email", "value": "Grace@navy.example"}))
        .await
        .refused(409, "identity_taken");
    assert_eq!(problem["conflicts"], json!([{"kind": "email", "value": "grace@navy.example", "profile_id": grace["id"]}]));
    same(&app.read(id(&ada)).await, &ada);
}

async fn the_first_of_its_kind_is_the_primary(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    let after = add(app, &person, "phone", "+44 20 7946 0000").await;
    assert_eq!(after["phone"], "+442079460000");
    let after = add(app, &person, "device", "d-1").await;
    assert_eq!(after["identities"].as_array().map(|all| all.iter().filter(|i| i["primary"] == true).count()), Some(3));
}

async fn a_removed_identity_is_free_again(app: &App) {
    let ada = app.person(ada()).await;
    let after = app.delete(&path(&ada, "/identities/email/ada%40example.com")).await.ok();
    assert_eq!((&after["email"], version(&after)), (&Value::Null, 2));
    app.get("/v1/profiles/lookup?email=ada@example.com").await.refused(404, "not_found");
    assert_eq!(app.find(json!({"q": "ada@example.com"})).await, [""; 0]);
    app.person(json!({"email": "ada@example.com"})).await;
}

async fn removing_is_by_any_spelling(app: &App) {
    let ada = app.person(ada()).await;
    app.delete(&path(&ada, &format!("/identities/email/{}", percent("ADA@Example.com")))).await.ok();
    let after = app.delete(&path(&ada, &format!("/identities/phone/{}", percent("+44 (20) 7946-0000")))).await.ok();
    assert_eq!(identities(&after, "phone"), [""; 0]);
}

async fn awkward_values_can_be_removed(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for value in ["a/b", "a%2Fb", "?x=1&y#z", "..", "王 😀", "a+b", "\"quoted\" O'Brien", "a\\b", "%"] {
        add(app, &person, "device", &format!("x{value}")).await;
        let after = app.delete(&path(&person, &format!("/identities/device/{}", percent(&format!("x{value}"))))).await.ok();
        assert_eq!(identities(&after, "device"), [""; 0], "{value}");
    }
}

async fn the_next_one_becomes_primary(app: &App) {
    let person = app.person(json!({"email": "one@example.com"})).await;
    add(app, &person, "email", "two@example.com").await;
    add(app, &person, "email", "three@example.com").await;
    let after = app.delete(&path(&person, "/identities/email/one%40example.com")).await.ok();
    assert_eq!(after["email"], "two@example.com", "the oldest of the rest moves up");
    assert_eq!(identities(&after, "email"), ["two@example.com", "three@example.com"]);
}

async fn the_last_one_stays(app: &App) {
    let person = app.person(json!({"email": "one@example.com"})).await;
    app.delete(&path(&person, "/identities/email/one%40example.com")).await.refused(422, "identity_required");
    same(&app.read(id(&person)).await, &person);
}

async fn removing_what_is_not_held_is_not_found(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    for rest in [
        "/identities/email/nobody%40example.com",
        "/identities/email/grace%40navy.example",
        "/identities/device/crm-17",
        "/identities/Bad-Kind/x",
    ] {
        app.delete(&path(&ada, rest)).await.refused(404, "not_found");
    }
    same(&app.read(id(&grace)).await, &grace);
}

async fn bad_identities_are_refused(app: &App) {
    let ada = app.person(ada()).await;
    for (body, pointer, code) in [
        (json!({"kind": "email", "value": "ada"}), "/value", "invalid_email"),
        (json!({"kind": "phone", "value": "12"}), "/value", "invalid_phone"),
        (json!({"kind": "device", "value": "undefined"}), "/value", "junk_identity"),
        (json!({"kind": "device", "value": "a\u{0}"}), "/value", "nul_character"),
        (json!({"kind": "device", "value": "x".repeat(513)}), "/value", "too_long"),
        (json!({"kind": "device", "value": "a\nb"}), "/value", "invalid_identity"),
        (json!({"kind": "device", "value": 7}), "/value", "wrong_type"),
        (json!({"kind": "device", "value": "d", "primary": true}), "/primary", "unknown_field"),
    ] {
        app.post(&path(&ada, "/identities")).json(body).await.refused_at(pointer, code);
    }
    for kind in ["Email", "1a", "a-b", "", "x23456789012345678901234567890123"] {
        let problem =
            app.post(&path(&ada, "/identities")).json(json!({"kind": kind, "value": "d"})).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], "/kind", "{kind}");
    }
    app.post(&path(&ada, "/identities")).json(json!({"kind": "device"})).await.refused(422, "validation_failed");
    same(&app.read(id(&ada)).await, &ada);
}

async fn a_stale_tag_is_refused(app: &App) {
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).json(json!({"city": "Paris"})).await.ok();
    app.post(&path(&ada, "/identities"))
        .if_match(&ada)
        .json(json!({"kind": "device", "value": "d"}))
        .await
        .refused(412, "version_mismatch");
    app.delete(&path(&ada, "/identities/external_id/crm-17")).if_match(&ada).await.refused(412, "version_mismatch");
}

async fn each_change_is_in_the_history(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    add(app, &person, "device", "d-1").await;
    app.delete(&path(&person, "/identities/device/d-1")).await.ok();
    let entries = app.history(id(&person)).await;
    let told: Vec<(&str, Value)> = entries.iter().map(|e| (e["action"].as_str().unwrap_or_default(), changes(e))).collect();
    assert_eq!(
        told,
        [
            ("identity_removed", json!({"identities.device": [["d-1"], null]})),
            ("identity_added", json!({"identities.device": [null, ["d-1"]]})),
            ("created", json!({"external_id": [null, "crm-1"]}))
        ]
    );
}

async fn a_profile_holds_at_most_a_hundred(app: &App) {
    let devices: Vec<Value> = (0..99).map(|i| json!({"kind": "device", "value": format!("d{i}")})).collect();
    let person = app.person(json!({"external_id": "crm-1", "identities": devices})).await;
    let answer = app.post(&path(&person, "/identities")).json(json!({"kind": "device", "value": "one too many"})).await;
    let problem = answer.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["code"], "limit_exceeded");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("100")), "{problem}");
}
