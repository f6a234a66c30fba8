//! `GET /v1/audit-log`: who did what and when, over administration and data.

use people_tests::{App, Database, Engine, Server, engine_stories, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, list};

stories![
    every_act_of_administration_is_noted,
    every_act_on_data_is_noted,
    that_data_was_handed_out_is_noted,
    what_was_refused_or_repeated_is_not_an_act,
    the_log_is_walked_and_filtered,
    the_log_names_nobody_and_stays_when_they_go,
];
engine_stories![what_is_done_on_the_command_line_is_noted, what_cannot_be_noted_does_not_happen, the_log_only_grows];

/// The whole log, oldest first.
async fn log(app: &App) -> Vec<Value> {
    let page = app.get("/v1/audit-log?limit=200").await.ok();
    assert_eq!(page["next_cursor"], Value::Null, "more than a page");
    list(&page, "data").iter().rev().cloned().collect()
}

/// Actions since a number of entries, oldest first.
async fn since(app: &App, known: usize) -> Vec<Value> {
    log(app).await.split_off(known)
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap_or_default()).collect()
}

async fn me(app: &App) -> String {
    // The key that came first is the story's own.
    let keys = app.get("/v1/api-keys").await.ok();
    format!("key:{}", id(&list(&keys, "data")[0]))
}

async fn every_act_of_administration_is_noted(app: &App) {
    let known = log(app).await.len();
    let key = app
        .post("/v1/api-keys")
        .header("x-request-id", "the-request")
        .json(json!({"name": "Ada's laptop", "scopes": ["profiles:read"]}))
        .await
        .created();
    let path = format!("/v1/api-keys/{}", id(&key));
    app.patch(&path).json(json!({"scopes": ["profiles:read", "bulk"], "rate_limit": 10})).await.ok();
    app.post(&format!("{path}/rotate")).await.ok();
    app.delete(&path).await.no_content();
    app.patch("/v1/workspace").json(json!({"default_country": "GB", "time_zone": "Europe/London"})).await.ok();
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text"})).await.created();
    app.patch("/v1/properties/plan").json(json!({"label": "Plan"})).await.ok();
    app.delete("/v1/properties/plan").await.no_content();
    app.post("/v1/labels").json(json!({"name": "vip"})).await.created();
    app.patch("/v1/labels/vip").json(json!({"color": "#1f6feb"})).await.ok();
    app.delete("/v1/labels/vip").await.no_content();
    let everyone = json!({"all": []});
    let segment = app.post("/v1/segments").json(json!({"name": "Everyone", "filter": everyone})).await.created();
    app.patch(&format!("/v1/segments/{}", id(&segment))).json(json!({"description": "all of them"})).await.ok();
    assert!(app.delete(&format!("/v1/segments/{}", id(&segment))).await.status < 300);
    let rule = app.post("/v1/label-rules").json(json!({"label": "all", "filter": everyone})).await.created();
    app.patch(&format!("/v1/label-rules/{}", id(&rule))).json(json!({"enabled": false})).await.ok();
    assert!(app.delete(&format!("/v1/label-rules/{}", id(&rule))).await.status < 300);
    let entries = since(app, known).await;
    assert_eq!(
        actions(&entries),
        [
            "api_key.created",
            "api_key.changed",
            "api_key.rotated",
            "api_key.revoked",
            "workspace.changed",
            "property.created",
            "property.changed",
            "property.removed",
            "label.created",
            "label.changed",
            "label.removed",
            "segment.created",
            "segment.changed",
            "segment.removed",
            "label_rule.created",
            "label_rule.changed",
            "label_rule.removed",
        ]
    );
    let me = me(app).await;
    assert!(entries.iter().all(|entry| entry["actor"] == me.as_str()), "{entries:#?}");
    assert_eq!(entries[0]["request_id"], "the-request");
    assert_eq!(entries[0]["target"], json!({"type": "api_key", "id": key["id"]}));
    assert_eq!(entries[0]["details"], json!({"scopes": ["profiles:read"], "trust": "server", "rate_limit": null}));
    assert_eq!(entries[1]["details"], json!({"scopes": ["profiles:read", "bulk"], "rate_limit": 10, "fields": ["scopes", "rate_limit"]}));
    assert_eq!(entries[4]["details"], json!({"fields": ["default_country", "time_zone"]}));
    assert_eq!(entries[6]["target"], json!({"type": "property", "id": "plan"}));
    assert_eq!(entries[12]["details"], json!({"fields": ["description"]}));
    assert_eq!(entries[15]["details"], json!({"fields": ["enabled"]}));
    // A key's secret and its name are nobody's business here.
    let text = Value::from(entries).to_string();
    assert!(!text.contains("ppl_") && !text.contains("Ada"), "{text}");
}

async fn every_act_on_data_is_noted(app: &App) {
    let (one, other) = (app.person(ada()).await, app.person(grace()).await);
    let known = log(app).await.len();
    let mut pair = json!({"primary_id": one["id"], "secondary_id": other["id"]});
    pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
    let merge = app.post("/v1/merges").json(pair).await.created();
    app.post(&format!("/v1/merges/{}/revert", id(&merge))).await.ok();
    let (selection, action) = (json!({"ids": [one["id"], other["id"]]}), json!({"type": "add_labels", "labels": ["vip"]}));
    let job = crate::bulk::confirmed(app, selection, action).await.is(202);
    crate::bulk::finished(app, &job).await;
    app.post(&format!("/v1/jobs/{}/cancel", id(&job))).await.ok();
    let import = app.post("/v1/imports").bytes("text/csv", "Email\nnew@example.com\n").await.is(202);
    crate::bulk::finished(app, &import).await;
    let scan = app.post("/v1/duplicates/scan").await.is(202);
    crate::bulk::finished(app, &scan).await;
    let receipt = app.delete(&format!("/v1/profiles/{}?suppress=true", id(&one))).await.ok();
    let batch = json!({"items": [{"op": "delete", "id": other["id"]}, {"op": "create", "external_id": "x"}]});
    app.post("/v1/profiles/batch").json(batch).await.ok();
    let suppressed = app.get("/v1/suppressions").await.ok();
    let suppressed = id(&list(&suppressed, "data")[0]).to_owned();
    app.delete(&format!("/v1/suppressions/{suppressed}")).await.no_content();
    let entries = since(app, known).await;
    assert_eq!(
        actions(&entries),
        [
            "merge.created",
            "merge.reverted",
            "bulk.started",
            "import.started",
            "duplicate_scan.started",
            "profile.erased",
            "profile.erased",
            "suppression.lifted",
        ]
    );
    assert_eq!(entries[0]["target"], json!({"type": "merge", "id": merge["id"]}));
    assert_eq!(entries[1]["target"], json!({"type": "merge", "id": merge["id"]}));
    assert_eq!(entries[2]["target"], json!({"type": "job", "id": job["id"]}));
    assert_eq!(entries[2]["details"], json!({"count": 2, "action": "add_labels"}));
    assert_eq!(entries[5]["target"], json!({"type": "erasure", "id": receipt["id"]}));
    assert_eq!(entries[7]["target"], json!({"type": "suppression", "id": suppressed}));
    let me = me(app).await;
    assert!(entries.iter().all(|entry| entry["actor"] == me.as_str()), "{entries:#?}");
}

async fn that_data_was_handed_out_is_noted(app: &App) {
    let ids = app.people(&[ada(), grace(), json!({"external_id": "third"})]).await;
    let known = log(app).await.len();
    let answer = app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({})).await;
    assert_eq!(answer.text().lines().count(), 4);
    app.get(&format!("/v1/profiles/{}/export", ids[0])).await.ok();
    let entries = since(app, known).await;
    assert_eq!(actions(&entries), ["profiles.exported", "profiles.export_ended", "profile.exported"]);
    assert_eq!((&entries[0]["target"]["type"], &entries[0]["details"]), (&json!("export"), &json!({"format": "csv"})));
    assert_eq!((&entries[1]["target"], &entries[1]["details"]), (&entries[0]["target"], &json!({"count": 3, "complete": true})));
    assert_eq!((&entries[2]["target"], &entries[2]["details"]), (&json!({"type": "profile", "id": ids[0]}), &json!({"count": 1})));
    // To whom somebody's data was given, all at once.
    let given = app.get(&format!("/v1/audit-log?target_type=profile&target_id={}", ids[0])).await.ok();
    assert_eq!(list(&given, "data"), [entries[2].clone()]);
    let given = app.get("/v1/audit-log?target_type=profile").await.ok();
    assert_eq!(list(&given, "data").len(), 1);
}

async fn what_was_refused_or_repeated_is_not_an_act(app: &App) {
    let known = log(app).await.len();
    let body = json!({"name": "x", "scopes": ["profiles:read"]});
    let first = app.post("/v1/api-keys").idempotency_key("once").json(body.clone()).await.created();
    app.post("/v1/api-keys").idempotency_key("once").json(body).await.created();
    app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["nonsense"]})).await.refused(422, "validation_failed");
    app.delete(&format!("/v1/api-keys/{}", uuid::Uuid::now_v7())).await.refused(404, "not_found");
    app.post("/v1/labels").json(json!({"name": "vip"})).await.created();
    app.post("/v1/labels").json(json!({"name": "vip"})).await.refused(409, "label_exists");
    let narrow = app.with_key(first["key"].as_str().unwrap_or_default());
    narrow.post("/v1/labels").json(json!({"name": "other"})).await.refused(403, "missing_scope");
    let person = app.person(ada()).await;
    app.delete(&format!("/v1/profiles/{}", id(&person))).idempotency_key("gone").await.ok();
    app.delete(&format!("/v1/profiles/{}", id(&person))).await.refused(410, "profile_erased");
    app.get(&format!("/v1/profiles/{}/export", id(&person))).await.refused(410, "profile_erased");
    assert_eq!(actions(&since(app, known).await), ["api_key.created", "label.created", "profile.erased"]);
}

async fn the_log_is_walked_and_filtered(app: &App) {
    for n in 0..7 {
        app.post("/v1/labels").json(json!({"name": format!("label {n}")})).await.created();
    }
    let other = app.with_scopes(&["config", "admin"]).await;
    other.delete("/v1/labels/label%203").await.no_content();
    let whole: Vec<Value> = log(app).await.into_iter().rev().collect();
    let mut walked = Vec::new();
    let mut path = "/v1/audit-log?limit=3".to_owned();
    loop {
        let page = app.get(&path).await.ok();
        walked.extend(list(&page, "data").to_vec());
        // Written meanwhile, it does not push the pages.
        app.post("/v1/labels").json(json!({"name": format!("later {}", walked.len())})).await.created();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/audit-log?limit=3&cursor={cursor}");
    }
    assert_eq!(walked, whole);
    let filtered = async |query: &str| list(&app.get(&format!("/v1/audit-log?{query}")).await.ok(), "data").to_vec();
    let removed = filtered("action=label.removed").await;
    assert_eq!(removed.len(), 1);
    assert_ne!(removed[0]["actor"], walked[1]["actor"]);
    let actor = removed[0]["actor"].as_str().unwrap_or_default();
    assert_eq!(filtered(&format!("actor={actor}")).await, removed);
    let target = filtered("target_type=label&target_id=label+3").await;
    assert_eq!(actions(&target), ["label.removed", "label.created"]);
    let at = removed[0]["at"].as_str().unwrap_or_default();
    assert_eq!(filtered(&format!("from={at}&action=label.removed")).await, removed);
    assert_eq!(filtered(&format!("to={at}&action=label.removed")).await, [Value::Null; 0]);
    assert_eq!(filtered(&format!("to={at}&target_type=label&target_id=label+3")).await.len(), 1);
    let page = app.get("/v1/audit-log?limit=1&action=label.created").await.ok();
    let cursor = page["next_cursor"].as_str().expect("there is more");
    app.get(&format!("/v1/audit-log?limit=1&cursor={cursor}")).await.refused(400, "cursor_mismatch");
    for query in ["from=yesterday", "target_id=x", "limit=0", "nonsense=1", "cursor=x"] {
        assert_eq!(app.get(&format!("/v1/audit-log?{query}")).await.status, 400, "{query}");
    }
    app.with_scopes(&["config"]).await.get("/v1/audit-log").await.refused(403, "missing_scope");
    assert!(list(&app.neighbour().get("/v1/audit-log").await.ok(), "data").iter().all(|entry| entry["action"] == "api_key.created"));
}

async fn the_log_names_nobody_and_stays_when_they_go(app: &App) {
    let mark = "canary5c2e";
    let person = app.person(json!({"email": format!("{mark}@example.com"), "name": mark, "external_id": mark})).await;
    let reason = format!("{mark} asked for it");
    app.get(&format!("/v1/profiles/{}/export", id(&person))).header("x-reason", &reason).await.ok();
    assert_eq!(app.post("/v1/profiles/export").json(json!({"q": mark})).await.status, 200);
    let selection = json!({"filter": {"field": "external_id", "op": "eq", "value": mark}});
    let job = crate::bulk::confirmed(app, selection, json!({"type": "update", "patch": {"city": mark}})).await.is(202);
    crate::bulk::finished(app, &job).await;
    app.post("/v1/segments").json(json!({"name": "theirs", "filter": {"field": "name", "op": "eq", "value": mark}})).await.created();
    // A file without a header: its first line is somebody.
    let import = app.post("/v1/imports").bytes("text/csv", format!("{mark}3@example.com,{mark}\n{mark}4@example.com,{mark}\n")).await;
    assert!(import.status == 202 || import.status == 422, "{import}");
    let before = log(app).await;
    app.delete(&format!("/v1/profiles/{}", id(&person))).header("x-reason", &reason).await.ok();
    let after = log(app).await;
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(actions(&after[before.len()..]), ["profile.erased"]);
    let text = Value::from(after).to_string();
    assert!(!text.contains(mark), "{text}");
}

async fn what_is_done_on_the_command_line_is_noted(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    server.cli(&["keys", "create", "--workspace", "default", "--scopes", "profiles:read"]).json();
    let entries = log(&app).await;
    assert_eq!(actions(&entries), ["api_key.created", "api_key.created"]);
    assert!(entries.iter().all(|entry| entry["actor"] == "cli"), "{entries:#?}");
}

/// The log cannot be written: nothing that would have to stand in it takes effect.
async fn what_cannot_be_noted_does_not_happen(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let person = app.person(ada()).await;
    server.database.rows("ALTER TABLE audit_log RENAME TO audit_log_away").await;
    let failed = [
        app.post("/v1/api-keys").json(json!({"name": "x", "scopes": ["profiles:read"]})).await,
        app.patch("/v1/workspace").json(json!({"default_country": "GB"})).await,
        app.post("/v1/labels").json(json!({"name": "other"})).await,
        app.post("/v1/segments").json(json!({"name": "x", "filter": {"all": []}})).await,
        app.post("/v1/profiles/export").json(json!({})).await,
        app.get(&format!("/v1/profiles/{}/export", id(&person))).await,
        app.delete(&format!("/v1/profiles/{}", id(&person))).await,
    ];
    for answer in failed {
        answer.refused(500, "internal_error");
    }
    server.database.rows("ALTER TABLE audit_log_away RENAME TO audit_log").await;
    assert_eq!(actions(&log(&app).await), ["api_key.created"]);
    people_tests::same(&app.read(id(&person)).await, &person);
    assert_eq!(list(&app.get("/v1/api-keys").await.ok(), "data").len(), 1);
    assert_eq!(app.get("/v1/workspace").await.ok()["default_country"], Value::Null);
    assert_eq!(list(&app.get("/v1/labels").await.ok(), "data").len(), 1);
    assert_eq!(list(&app.get("/v1/segments").await.ok(), "data").len(), 0);
}

/// On SQLite the database refuses to change or to shorten it; distributed tables of PostgreSQL take no triggers.
async fn the_log_only_grows(engine: Engine) {
    if engine != Engine::Sqlite {
        return;
    }
    let database = Database::create(engine).await;
    let server = Server::on(database.clone(), &[]);
    let app = App::default_of(&server);
    let before = log(&app).await;
    let mut connection = database.sqlite().await;
    for statement in ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log"] {
        let refused = sqlx::query(statement).execute(&mut connection).await.expect_err("the log only grows").to_string();
        assert!(refused.contains("only grows"), "{refused}");
    }
    assert_eq!(log(&app).await, before);
}
