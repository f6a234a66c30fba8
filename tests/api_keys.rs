//! `/v1/api-keys`: who may do what. A key is shown once and works until it is deleted or rotated.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list};

stories![
    a_key_is_shown_once,
    a_key_can_do_what_its_scopes_say,
    a_deleted_key_stops_working,
    rotating_makes_a_new_secret_and_ends_the_old_one,
    narrowing_a_key_takes_effect,
    no_key_and_no_real_key_are_the_same,
    bad_keys_are_refused,
    the_use_of_a_key_is_seen,
    a_key_belongs_to_its_workspace,
];

const ALL: [&str; 8] = ["profiles:read", "profiles:write", "profiles:delete", "profiles:merge", "events:write", "bulk", "config", "admin"];

async fn a_key_is_shown_once(app: &App) {
    let answer =
        app.post("/v1/api-keys").json(json!({"name": "sync", "scopes": ["profiles:read", "profiles:write"], "trust": "server"})).await;
    let made = answer.created();
    let secret = made["key"].as_str().unwrap_or_default().to_owned();
    assert!(secret.starts_with("ppl_") && secret.len() >= 40, "{secret}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut shown = made.clone();
    shown.as_object_mut().map(|o| o.shift_remove("key"));
    same(
        &redact(&shown),
        &json!({"id": "<id>", "name": "sync", "scopes": ["profiles:read", "profiles:write"], "trust": "server", "rate_limit": null, "created_at": "<time>", "last_used_at": null}),
    );
    same(&app.get(&format!("/v1/api-keys/{}", id(&made))).await.ok(), &shown);
    let all = app.get("/v1/api-keys").await.ok();
    assert!(list(&all, "data").iter().any(|k| k["id"] == made["id"]));
    assert!(!all.to_string().contains(&secret) && !all.to_string().contains("\"key\""), "a key is shown again");
}

async fn a_key_can_do_what_its_scopes_say(app: &App) {
    let reader = app.with_scopes(&["profiles:read"]).await;
    let ada = app.person(ada()).await;
    same(&reader.read(id(&ada)).await, &ada);
    let problem = reader.post("/v1/profiles").json(ada_again()).await.refused(403, "missing_scope");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("profiles:write")), "the scope that is missing is not named: {problem}");
    let writer = app.with_scopes(&["profiles:write"]).await;
    writer.person(ada_again()).await;
    writer.get("/v1/profiles").await.refused(403, "missing_scope");
    app.with_scopes(&ALL).await.get("/v1/profiles").await.ok();
}

fn ada_again() -> Value {
    json!({"external_id": "crm-99"})
}

async fn a_deleted_key_stops_working(app: &App) {
    let made = app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["profiles:read"]})).await.created();
    let other = app.with_key(made["key"].as_str().unwrap_or_default());
    other.get("/v1/profiles").await.ok();
    app.delete(&format!("/v1/api-keys/{}", id(&made))).await.no_content();
    other.get("/v1/profiles").await.refused(401, "unauthorized");
    app.get(&format!("/v1/api-keys/{}", id(&made))).await.refused(404, "not_found");
    app.delete(&format!("/v1/api-keys/{}", id(&made))).await.refused(404, "not_found");
}

async fn rotating_makes_a_new_secret_and_ends_the_old_one(app: &App) {
    let made = app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["profiles:read"]})).await.created();
    let rotated = app.post(&format!("/v1/api-keys/{}/rotate", id(&made))).await.ok();
    assert_eq!((&rotated["id"], &rotated["scopes"], &rotated["name"]), (&made["id"], &made["scopes"], &made["name"]));
    assert_ne!(rotated["key"], made["key"]);
    app.with_key(made["key"].as_str().unwrap_or_default()).get("/v1/profiles").await.refused(401, "unauthorized");
    app.with_key(rotated["key"].as_str().unwrap_or_default()).get("/v1/profiles").await.ok();
    // A new secret is as good as the key: nobody gets one for more than they hold.
    let clerk = app.with_scopes(&["admin", "profiles:read"]).await;
    clerk.post(&format!("/v1/api-keys/{}/rotate", id(&made))).await.ok();
    let strong = app.post("/v1/api-keys").json(json!({"name": "y", "scopes": ["profiles:read", "profiles:delete"]})).await.created();
    let refused = clerk.post(&format!("/v1/api-keys/{}/rotate", id(&strong))).await.refused(403, "missing_scope");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("profiles:delete")), "{refused}");
    app.with_key(strong["key"].as_str().unwrap_or_default()).get("/v1/profiles").await.ok();
    let widened = json!({"scopes": ["profiles:read", "profiles:delete"]});
    clerk.patch(&format!("/v1/api-keys/{}", id(&made))).json(widened).await.refused_at("/scopes/1", "not_an_option");
}

async fn narrowing_a_key_takes_effect(app: &App) {
    let made = app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["profiles:read", "profiles:write"]})).await.created();
    let other = app.with_key(made["key"].as_str().unwrap_or_default());
    other.person(ada()).await;
    let after = app.patch(&format!("/v1/api-keys/{}", id(&made))).json(json!({"name": "reader", "scopes": ["profiles:read"]})).await.ok();
    assert_eq!((&after["name"], &after["scopes"], after.get("key")), (&json!("reader"), &json!(["profiles:read"]), None));
    other.post("/v1/profiles").json(ada_again()).await.refused(403, "missing_scope");
    other.get("/v1/profiles").await.ok();
}

async fn no_key_and_no_real_key_are_the_same(app: &App) {
    let missing = app.get("/v1/profiles").no_key().header("x-request-id", "r").await;
    let problem = missing.refused(401, "unauthorized");
    assert!(missing.header("www-authenticate").is_some_and(|h| h.starts_with("Bearer")), "RFC 9110 asks for a challenge");
    let mut forged = app.key.clone();
    let last = forged.pop();
    forged.push(if last == Some('a') { 'b' } else { 'a' });
    for key in ["ppl_", "x", &forged, &app.key.to_uppercase(), &format!("{}x", app.key), &app.key[..app.key.len() - 1]] {
        let answer = app.with_key(key).get("/v1/profiles").header("x-request-id", "r").await;
        same(&answer.refused(401, "unauthorized"), &problem);
    }
    for header in ["", "Bearer", "Basic dTpw", "Bearer  ", &app.key, &format!("Token {}", app.key)] {
        app.get("/v1/profiles").no_key().header("authorization", header).await.refused(401, "unauthorized");
    }
    // The scheme's case does not matter (RFC 9110 section 11.1).
    app.get("/v1/profiles").no_key().header("authorization", &format!("bearer {}", app.key)).await.ok();
    // A key in the query string is no key: it would stand in every log.
    app.get(&format!("/v1/profiles?api_key={}", app.key)).no_key().await.refused(401, "unauthorized");
}

async fn bad_keys_are_refused(app: &App) {
    for (body, pointer) in [
        (json!({"name": "x", "scopes": ["everything"]}), "/scopes/0"),
        (json!({"name": "x", "scopes": []}), "/scopes"),
        (json!({"name": "x", "scopes": "admin"}), "/scopes"),
        (json!({"name": "", "scopes": ["admin"]}), "/name"),
        (json!({"name": 7, "scopes": ["admin"]}), "/name"),
        (json!({"name": "x", "scopes": ["admin"], "trust": "nobody"}), "/trust"),
        (json!({"name": "x", "scopes": ["admin"], "key": "ppl_mine"}), "/key"),
    ] {
        let problem = app.post("/v1/api-keys").json(body.clone()).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    app.post("/v1/api-keys").json(json!({"scopes": ["admin"]})).await.refused(422, "validation_failed");
}

async fn the_use_of_a_key_is_seen(app: &App) {
    let made = app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["profiles:read"]})).await.created();
    app.with_key(made["key"].as_str().unwrap_or_default()).get("/v1/profiles").await.ok();
    people_tests::eventually("the key shows that it was used", async || {
        app.get(&format!("/v1/api-keys/{}", id(&made))).await.ok()["last_used_at"].as_str().map(str::to_owned)
    })
    .await;
}

async fn a_key_belongs_to_its_workspace(app: &App) {
    let neighbour = app.neighbour();
    let ada = app.person(ada()).await;
    neighbour.get(&format!("/v1/profiles/{}", id(&ada))).await.refused(404, "not_found");
    let keys = neighbour.get("/v1/api-keys").await.ok();
    assert_eq!(list(&keys, "data").len(), 1);
    let mine = app.get("/v1/api-keys").await.ok();
    let mine = id(&list(&mine, "data")[0]).to_owned();
    for answer in [
        neighbour.get(&format!("/v1/api-keys/{mine}")).await,
        neighbour.patch(&format!("/v1/api-keys/{mine}")).json(json!({"name": "stolen"})).await,
        neighbour.post(&format!("/v1/api-keys/{mine}/rotate")).await,
        neighbour.delete(&format!("/v1/api-keys/{mine}")).await,
    ] {
        answer.refused(404, "not_found");
    }
    app.get("/v1/profiles").await.ok();
}
