//! `DELETE /v1/profiles/{id}`: a person is erased, with a receipt that holds nothing of them.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, path};

stories![
    erasing_answers_a_receipt,
    an_erased_person_is_gone_from_every_route,
    an_erased_person_is_found_by_nothing,
    the_identities_are_free_at_once,
    a_stale_tag_is_refused,
    nobody_else_is_touched,
    erasing_twice_is_erasing_once,
    unknown_parameters_are_refused,
];

async fn erasing_answers_a_receipt(app: &App) {
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).json(json!({"city": "Paris"})).await.ok();
    let answer = app.delete(&path(&ada, "")).await;
    let receipt = answer.ok();
    same(
        &redact(&receipt),
        &json!({"id": "<id>", "profile_id": "<id>", "erased_at": "<time>", "counts": receipt["counts"], "scrubbed_at": null}),
    );
    assert_eq!(receipt["profile_id"], ada["id"]);
    let counts = receipt["counts"].as_object().expect("counts by kind");
    assert!(!counts.is_empty() && counts.values().all(Value::is_u64), "{receipt}");
    assert_eq!((&counts["identities"], &counts["history"]), (&json!(3), &json!(2)));
    let text = receipt.to_string();
    for secret in ["ada@example.com", "Lovelace", "7946", "crm-17", "Analytical"] {
        assert!(!text.contains(secret), "the receipt still holds {secret}: {text}");
    }
}

async fn an_erased_person_is_gone_from_every_route(app: &App) {
    let ada = app.person(ada()).await;
    app.delete(&path(&ada, "")).await.ok();
    for rest in ["", "/history"] {
        app.get(&path(&ada, rest)).await.refused(410, "profile_erased");
    }
    app.patch(&path(&ada, "")).json(json!({"city": "Rome"})).await.refused(410, "profile_erased");
    app.post(&path(&ada, "/identities")).json(json!({"kind": "device", "value": "d-1"})).await.refused(410, "profile_erased");
    app.delete(&path(&ada, "/identities/email/ada%40example.com")).await.refused(410, "profile_erased");
    app.delete(&path(&ada, "")).await.refused(410, "profile_erased");
    let batch = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [{"op": "update", "id": id(&ada), "city": "Rome"}, {"op": "delete", "id": id(&ada)}]}))
        .await
        .ok();
    assert_eq!((&batch["results"][0]["status"], &batch["results"][1]["status"]), (&json!(410), &json!(410)));
    // To anybody else it never was.
    app.neighbour().get(&path(&ada, "")).await.refused(404, "not_found");
}

async fn an_erased_person_is_found_by_nothing(app: &App) {
    let ada = app.person(ada()).await;
    app.person(grace()).await;
    app.delete(&path(&ada, "")).await.ok();
    for q in ["ada", "lovelace", "7946", "crm-17", "analytical", "example.com"] {
        assert_eq!(app.find(json!({"q": q})).await, [""; 0], "{q}");
    }
    assert_eq!(app.find(json!({})).await, ["crm-18"]);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "vip"})).await, [""; 0]);
    app.get("/v1/profiles/lookup?email=ada@example.com").await.refused(404, "not_found");
    let export = app.post("/v1/profiles/export").json(json!({})).await;
    assert!(!export.text().contains("lovelace") && !export.text().contains("Lovelace"));
}

async fn the_identities_are_free_at_once(app: &App) {
    let first = app.person(ada()).await;
    app.delete(&path(&first, "")).await.ok();
    let second = app.person(ada()).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(app.history(id(&second)).await.len(), 1, "the new person has no past");
    let third = app.post("/v1/profiles/upsert").json(json!({"email": "ada@example.com"})).await.ok();
    assert_eq!(third["id"], second["id"]);
}

async fn a_stale_tag_is_refused(app: &App) {
    let before = app.person(ada()).await;
    let after = app.patch(&path(&before, "")).json(json!({"city": "Paris"})).await.ok();
    app.delete(&path(&before, "")).if_match(&before).await.refused(412, "version_mismatch");
    same(&app.read(id(&before)).await, &after);
    app.delete(&path(&before, "")).if_match(&after).await.ok();
}

async fn nobody_else_is_touched(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let neighbour = app.neighbour();
    let twin = neighbour.person(crate::cast::ada()).await;
    app.delete(&path(&ada, "")).await.ok();
    same(&app.read(id(&grace)).await, &grace);
    same(&neighbour.read(id(&twin)).await, &twin);
    assert_eq!(neighbour.find(json!({"q": "lovelace"})).await, ["crm-17"]);
}

async fn erasing_twice_is_erasing_once(app: &App) {
    let ada = app.person(ada()).await;
    let (one, other) = tokio::join!(async { app.delete(&path(&ada, "")).await }, async { app.delete(&path(&ada, "")).await });
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410], "{one}\n{other}");
}

async fn unknown_parameters_are_refused(app: &App) {
    let ada = app.person(ada()).await;
    for query in ["suppress=yes", "force=1"] {
        app.delete(&path(&ada, &format!("?{query}"))).await.refused(400, "invalid_query");
    }
    same(&app.read(id(&ada)).await, &ada);
}
