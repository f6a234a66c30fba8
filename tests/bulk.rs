//! `POST /v1/bulk/preview` and `POST /v1/bulk`: one change of many people, previewed, confirmed, made exactly of those who
//! were confirmed.

use people_tests::{Answer, App, Engine, Server, engine_stories, eventually, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, list, nobody};

stories![
    a_preview_counts_exactly_and_shows_before_and_after,
    a_change_is_made_of_those_who_were_confirmed,
    a_changed_selection_is_refused_with_both_numbers,
    everyone_has_to_be_named,
    a_token_is_for_one_selection_and_action,
    a_retry_is_answered_with_the_same_job,
    people_are_updated_in_one_change,
    labels_are_taken_off_many_people,
    consent_is_recorded_for_many_people,
    many_people_are_erased_with_a_scope_of_its_own,
    who_cannot_be_changed_is_told_and_holds_up_nobody,
    an_action_that_is_none_is_refused_at_its_place,
    a_selection_that_is_none_is_refused_at_its_place,
];

engine_stories![who_was_merged_or_changed_before_their_turn_is_told_and_left_alone];

/// Previews and carries out.
pub(crate) async fn confirmed(app: &App, selection: Value, action: Value) -> Answer {
    let preview = app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok();
    let token = preview["confirmation_token"].clone();
    app.post("/v1/bulk").json(json!({"selection": selection, "action": action, "confirmation_token": token})).await
}

/// The job once it has ended.
pub(crate) async fn finished(app: &App, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}", id(job));
    eventually("the job has ended", async || {
        let now = app.get(&path).await.ok();
        (!["queued", "running"].contains(&now["status"].as_str().unwrap_or_default())).then_some(now)
    })
    .await
}

async fn a_preview_counts_exactly_and_shows_before_and_after(app: &App) {
    let (ada, _) = (app.person(ada()).await, app.person(grace()).await);
    let selection = json!({"filter": {"field": "country", "op": "eq", "value": "GB"}});
    let action = json!({"type": "add_labels", "labels": ["uk", "vip"]});
    let preview = app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok();
    assert_eq!(preview["matched"], 1);
    let sample = &list(&preview, "sample")[0];
    assert_eq!((&sample["before"], &sample["error"]), (&ada, &Value::Null));
    assert_eq!((&sample["after"]["labels"], &sample["after"]["version"]), (&json!(["uk", "vip"]), &2.into()));
    assert_eq!(app.read(id(&ada)).await, ada, "a preview changes nothing");
}

async fn a_change_is_made_of_those_who_were_confirmed(app: &App) {
    app.people(&[ada(), grace(), nobody("n")]).await;
    let selection = json!({"q": "a", "filter": {"field": "name", "op": "exists"}});
    let job = confirmed(app, selection, json!({"type": "add_labels", "labels": ["named"]})).await.is(202);
    // Somebody who comes later would match, and was not confirmed.
    app.person(json!({"external_id": "late", "name": "Alan"})).await;
    let done = finished(app, &job).await;
    assert_eq!((&done["status"], &done["total"], &done["succeeded"]), (&"succeeded".into(), &2.into(), &2.into()));
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "named"})).await, ["crm-17", "crm-18"]);
    let person = app.get("/v1/profiles/lookup?external_id=crm-18").await.ok();
    let entry = &app.history(id(&person)).await[0];
    assert_eq!((&entry["action"], &entry["actor"]), (&"label_added".into(), &done["created_by"]));
}

async fn a_changed_selection_is_refused_with_both_numbers(app: &App) {
    let ada = app.person(ada()).await;
    let selection = json!({"all": true});
    let action = json!({"type": "add_labels", "labels": ["x"]});
    let preview = async || {
        let preview = app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok();
        preview["confirmation_token"].clone()
    };
    let execute = async |token: &Value| {
        app.post("/v1/bulk").json(json!({"selection": selection, "action": action, "confirmation_token": token})).await
    };
    let token = preview().await;
    app.person(grace()).await;
    let refused = execute(&token).await.refused(409, "selection_changed");
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("matched 1 people") && detail.contains("now 2 match"), "{detail}");
    // As many as before, but one of them has changed.
    let token = preview().await;
    app.patch(&format!("/v1/profiles/{}", id(&ada))).json(json!({"city": "Paris"})).await.ok();
    execute(&token).await.refused(409, "selection_changed");
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 0);
    execute(&preview().await).await.is(202);
}

async fn everyone_has_to_be_named(app: &App) {
    let action = json!({"type": "add_labels", "labels": ["x"]});
    // What builders of filters send while they are empty is everyone too.
    let nothing = json!({"not": {"any": []}});
    for selection in [
        json!({}),
        json!({"all": false}),
        json!({"q": ""}),
        json!({"q": "  "}),
        json!({"filter": {"all": []}}),
        json!({"filter": nothing}),
        json!({"filter": {"any": [nothing, {"field": "country", "op": "eq", "value": "GB"}]}}),
    ] {
        let sent = json!({"selection": selection, "action": action});
        app.post("/v1/bulk/preview").json(sent).await.refused_at("/selection", "empty_selection");
    }
    let both = json!({"selection": {"all": true, "q": "ada"}, "action": action});
    app.post("/v1/bulk/preview").json(both).await.refused_at("/selection", "invalid_selection");
}

async fn a_token_is_for_one_selection_and_action(app: &App) {
    let ada = app.person(ada()).await;
    let (selection, action) = (json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]}));
    let token =
        app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok()["confirmation_token"].clone();
    for sent in [
        json!({"selection": {"ids": [ada["id"]]}, "action": action, "confirmation_token": token}),
        json!({"selection": selection, "action": {"type": "add_labels", "labels": ["y"]}, "confirmation_token": token}),
        json!({"selection": selection, "action": action, "confirmation_token": "made up"}),
    ] {
        app.post("/v1/bulk").json(sent).await.refused_at("/confirmation_token", "invalid_token");
    }
}

async fn a_retry_is_answered_with_the_same_job(app: &App) {
    app.person(ada()).await;
    let (selection, action) = (json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]}));
    let token =
        app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok()["confirmation_token"].clone();
    let sent = json!({"selection": selection, "action": action, "confirmation_token": token});
    let send = || app.post("/v1/bulk").idempotency_key("once").json(sent.clone());
    let first = send().await;
    finished(app, &first.is(202)).await;
    // Everybody has changed since, by this very job.
    let again = send().await;
    assert_eq!((again.status, &again.bytes), (202, &first.bytes));
    assert_eq!((again.header("idempotency-replayed"), again.header("location")), (Some("true"), first.header("location")));
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 1);
}

async fn people_are_updated_in_one_change(app: &App) {
    app.people(&[ada(), grace(), nobody("n")]).await;
    let patch = json!({"city": "Berlin", "job_title": null, "attributes": {"plan": "free", "seats": null}});
    let job = confirmed(app, json!({"q": "ada"}), json!({"type": "update", "patch": patch})).await.is(202);
    let done = finished(app, &job).await;
    assert_eq!((&done["details"], &done["succeeded"]), (&json!({"action": "update"}), &1.into()));
    let ada = app.get("/v1/profiles/lookup?external_id=crm-17").await.ok();
    assert_eq!((&ada["city"], &ada["version"]), (&"Berlin".into(), &2.into()));
    assert_eq!(ada["attributes"], json!({"plan": "free", "trial_ends": "2026-12-01T00:00:00Z"}));
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], &entry["source"]), (&"updated".into(), &"bulk".into()));
}

async fn labels_are_taken_off_many_people(app: &App) {
    let people: Vec<Value> = (0..30).map(|n| json!({"external_id": format!("p{n}"), "labels": ["a", "b", "c"]})).collect();
    app.people(&people).await;
    app.person(json!({"external_id": "without", "labels": ["c"]})).await;
    let job = confirmed(app, json!({"all": true}), json!({"type": "remove_labels", "labels": ["a", "b"]})).await.is(202);
    let done = finished(app, &job).await;
    // Whoever carries none of them is as they should be.
    assert_eq!((&done["succeeded"], &done["failed"]), (&31.into(), &0.into()));
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has_any", "value": ["a", "b"]})).await, [""; 0]);
    let person = app.get("/v1/profiles/lookup?external_id=p3").await.ok();
    assert_eq!((&person["labels"], &person["version"]), (&json!(["c"]), &2.into()));
    assert_eq!(app.get("/v1/profiles/lookup?external_id=without").await.ok()["version"], 1);
}

async fn consent_is_recorded_for_many_people(app: &App) {
    app.people(&[ada(), grace()]).await;
    let action = json!({"type": "set_consent", "channel": "email", "status": "opted_out", "source": "letter", "evidence": "scan 17"});
    let job = confirmed(app, json!({"all": true}), action).await.is(202);
    assert_eq!(finished(app, &job).await["succeeded"], 2);
    let ada = app.get("/v1/profiles/lookup?external_id=crm-17").await.ok();
    let consent = &ada["consents"][0];
    // It counts from when it was asked for.
    assert_eq!((&consent["status"], &consent["occurred_at"]), (&"opted_out".into(), &job["created_at"]));
    let ledger = app.get(&format!("/v1/profiles/{}/consents/email/history", id(&ada))).await.ok();
    let told: Vec<&Value> = list(&ledger, "data").iter().map(|entry| &entry["evidence"]).collect();
    assert_eq!(told, [&Value::from("scan 17"), &Value::Null]);
}

async fn many_people_are_erased_with_a_scope_of_its_own(app: &App) {
    let people: Vec<Value> =
        (0..700).map(|n| json!({"external_id": format!("p{n}"), "country": if n < 600 { "GB" } else { "IE" }})).collect();
    app.people(&people).await;
    let (selection, action) = (json!({"filter": {"field": "country", "op": "eq", "value": "GB"}}), json!({"type": "delete"}));
    let careful = app.with_scopes(&["bulk", "profiles:read"]).await;
    let sent = json!({"selection": selection, "action": action});
    careful.post("/v1/bulk/preview").json(sent.clone()).await.refused(403, "missing_scope");
    let preview = app.post("/v1/bulk/preview").json(sent).await.ok();
    assert_eq!((&preview["matched"], &preview["sample"][0]["after"]), (&600.into(), &Value::Null));
    let sent = json!({"selection": selection, "action": action, "confirmation_token": preview["confirmation_token"]});
    careful.post("/v1/bulk").json(sent.clone()).await.refused(403, "missing_scope");
    let job = app.post("/v1/bulk").json(sent).await.is(202);
    assert_eq!(finished(app, &job).await["succeeded"], 600);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 100}));
    app.get(&format!("/v1/profiles/{}", id(&preview["sample"][0]["before"]))).await.refused(410, "profile_erased");
}

async fn who_cannot_be_changed_is_told_and_holds_up_nobody(app: &App) {
    let ids = app
        .people(&[
            json!({"email": "a@example.com"}),
            json!({"email": "b@example.com", "external_id": "b"}),
            json!({"email": "c@example.com"}),
        ])
        .await;
    // Without an e-mail, two of them would have no identity left.
    let action = json!({"type": "update", "patch": {"email": null}});
    let preview = app.post("/v1/bulk/preview").json(json!({"selection": {"all": true}, "action": action})).await.ok();
    let told: Vec<(&Value, bool)> =
        list(&preview, "sample").iter().map(|sample| (&sample["error"]["code"], sample["after"].is_object())).collect();
    assert_eq!(told, [(&"identity_required".into(), false), (&Value::Null, true), (&"identity_required".into(), false)]);
    let job = confirmed(app, json!({"all": true}), action).await.is(202);
    let done = finished(app, &job).await;
    assert_eq!(
        (&done["status"], &done["processed"], &done["succeeded"], &done["failed"]),
        (&"succeeded".into(), &3.into(), &1.into(), &2.into())
    );
    let path = format!("/v1/jobs/{}/errors", id(&job));
    let errors = app.get(&path).await.ok();
    let told: Vec<Value> = list(&errors, "data").iter().map(|e| json!([e["line"], e["code"], e["profile_id"]])).collect();
    assert_eq!(told, [json!([1, "identity_required", ids[0]]), json!([3, "identity_required", ids[2]])]);
    // What is told of somebody goes with them.
    app.delete(&format!("/v1/profiles/{}", ids[0])).await.ok();
    assert_eq!(list(&app.get(&path).await.ok(), "data").len(), 1);
}

async fn an_action_that_is_none_is_refused_at_its_place(app: &App) {
    for (action, pointer, code) in [
        (json!("delete"), "/action", "wrong_type"),
        (json!({}), "/action/type", "missing_field"),
        (json!({"type": "erase"}), "/action/type", "not_an_option"),
        (json!({"type": "delete", "really": true}), "/action/really", "unknown_field"),
        (json!({"type": "add_labels"}), "/action", "missing_field"),
        (json!({"type": "add_labels", "labels": []}), "/action/labels", "limit_exceeded"),
        (json!({"type": "add_labels", "labels": ["ok", " "]}), "/action/labels/1", "invalid_label"),
        (json!({"type": "update", "patch": []}), "/action/patch", "wrong_type"),
        (json!({"type": "update", "patch": {"country": "Narnia"}}), "/action/patch/country", "invalid_country"),
        (json!({"type": "update", "patch": {"labels": ["x"]}}), "/action/patch/labels", "unknown_field"),
        (json!({"type": "set_consent", "channel": "email", "status": "maybe"}), "/action/status", "not_an_option"),
    ] {
        let answer = app.post("/v1/bulk/preview").json(json!({"selection": {"all": true}, "action": action})).await;
        answer.refused_at(pointer, code);
    }
}

async fn a_selection_that_is_none_is_refused_at_its_place(app: &App) {
    let action = json!({"type": "add_labels", "labels": ["x"]});
    for (selection, pointer, code) in [
        (json!({"filter": {"field": "nonsense", "op": "exists"}}), "/selection/filter/field", "unknown_field"),
        (json!({"ids": []}), "/selection/ids", "limit_exceeded"),
        (json!({"ids": ["17"]}), "/selection/ids/0", "invalid_value"),
        (json!({"q": "x".repeat(300)}), "/selection/q", "too_long"),
        (json!({"everyone": true}), "/selection/everyone", "unknown_field"),
    ] {
        app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.refused_at(pointer, code);
    }
    // Ids of nobody match nobody, and a change of nobody is one.
    let job = confirmed(app, json!({"ids": [uuid::Uuid::now_v7()]}), action).await.is(202);
    let done = finished(app, &job).await;
    assert_eq!((&done["status"], &done["total"]), (&"succeeded".into(), &0.into()));
    // An id that was merged away means the survivor, once.
    let (first, second) = (app.person(json!({"external_id": "first"})).await, app.person(json!({"external_id": "second"})).await);
    crate::merges::merge(app, &first, &second).await;
    for ids in [json!([second["id"]]), json!([second["id"], first["id"]])] {
        let label = format!("l{}", ids.as_array().map_or(0, Vec::len));
        let job = confirmed(app, json!({"ids": ids}), json!({"type": "add_labels", "labels": [label]})).await.is(202);
        assert_eq!(finished(app, &job).await["succeeded"], 1);
        assert!(list(&app.read(id(&first)).await, "labels").contains(&label.into()));
    }
}

/// A job waits for its turn. Whoever became part of somebody else meanwhile is not what was confirmed, and neither is the
/// other; nobody is deleted who has changed.
async fn who_was_merged_or_changed_before_their_turn_is_told_and_left_alone(engine: Engine) {
    let server = Server::on(Server::new(engine).await.kill(), &[("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    let person = async |name: &str| app.person(json!({"external_id": name, "labels": ["chosen"]})).await;
    let (merged, changed, left) = (person("a").await, person("b").await, person("c").await);
    let survivor = app.person(json!({"external_id": "never chosen"})).await;
    let ids = json!({"ids": [merged["id"], changed["id"], left["id"]]});
    let mut jobs = Vec::new();
    for action in [
        json!({"type": "update", "patch": {"city": "Rome"}}),
        json!({"type": "add_labels", "labels": ["bulk"]}),
        json!({"type": "set_consent", "channel": "email", "status": "opted_out"}),
        json!({"type": "delete"}),
    ] {
        jobs.push(confirmed(&app, ids.clone(), action).await.is(202));
    }
    crate::merges::merge(&app, &survivor, &merged).await;
    app.patch(&format!("/v1/profiles/{}", id(&changed))).json(json!({"company": "New"})).await.ok();
    let server = Server::on(server.kill(), &[]);
    let app = App::default_of(&server);
    let mut told = Vec::new();
    for job in &jobs {
        let done = finished(&app, job).await;
        let errors = app.get(&format!("/v1/jobs/{}/errors", id(job))).await.ok();
        let errors: Vec<Value> = list(&errors, "data").iter().map(|e| json!([e["code"], e["profile_id"]])).collect();
        told.push(json!([done["status"], done["succeeded"], errors]));
    }
    // The job before changed the others, in versions of its own: only what was asked first can still be as confirmed.
    let away = json!(["profile_merged", survivor["id"]]);
    for told in &told[..3] {
        assert_eq!(told[0], "succeeded", "{told}");
        assert_eq!((&told[1], &told[2][0][0]), (&json!(2), &away[0]), "{told}");
    }
    assert_eq!(told[3][1], 0, "{told:?}");
    let codes: Vec<&str> = told[3][2].as_array().into_iter().flatten().filter_map(|e| e[0].as_str()).collect();
    assert_eq!(codes, ["profile_merged", "version_mismatch", "version_mismatch"]);
    let now = app.read(id(&survivor)).await;
    assert_eq!((&now["city"], &now["consents"], &now["labels"]), (&Value::Null, &json!([]), &json!(["chosen"])));
    for person in [&changed, &left] {
        let now = app.read(id(person)).await;
        assert_eq!((&now["city"], &now["labels"]), (&json!("Rome"), &json!(["bulk", "chosen"])));
    }
    // As they were confirmed, they go.
    let job = confirmed(&app, json!({"ids": [left["id"]]}), json!({"type": "delete"})).await.is(202);
    assert_eq!(finished(&app, &job).await["succeeded"], 1);
    app.get(&format!("/v1/profiles/{}", id(&left))).await.refused(410, "profile_erased");
}
