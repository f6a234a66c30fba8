//! `POST /v1/bulk/preview` and `POST /v1/bulk`: one change of many people, previewed, confirmed, made exactly of those who
//! were confirmed.

use people_tests::{Answer, App, eventually, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, list, nobody};

stories![
    a_preview_counts_exactly_and_shows_before_and_after,
    a_change_is_made_of_those_who_were_confirmed,
    a_changed_selection_is_refused_with_both_numbers,
    everyone_has_to_be_named,
    a_token_is_for_one_selection_and_action,
    a_retry_is_answered_with_the_same_job,
];

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
    for selection in [json!({}), json!({"all": false}), json!({"q": ""}), json!({"q": "  "})] {
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
