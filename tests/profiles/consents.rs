//! `/v1/profiles/{id}/consents`: where a person stands on each channel, and the ledger of how it came to be.

use people_tests::{Answer, App, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, changes, id, list, nobody, path, version};

stories![
    a_recorded_decision_is_where_the_person_stands,
    a_late_decision_is_recorded_and_changes_nothing,
    at_the_same_instant_opting_out_wins,
    what_is_known_is_not_recorded_twice,
    the_ledger_is_read_page_by_page,
    a_stale_tag_is_refused,
    a_merged_id_answers_for_the_survivor,
    filters_and_the_timeline_know_it,
    bad_decisions_are_refused,
    nobody_and_the_erased_have_none,
];

async fn put(app: &App, profile: &Value, channel: &str, body: Value) -> Answer {
    app.put(&path(profile, &format!("/consents/{channel}"))).json(body).await
}

async fn ledger(app: &App, profile: &Value, channel: &str) -> Vec<Value> {
    let answer = app.get(&path(profile, &format!("/consents/{channel}/history?limit=200"))).await.ok();
    list(&answer, "data").to_vec()
}

fn on<'a>(answer: &'a Value, field: &str, channel: &str) -> &'a Value {
    list(answer, field).iter().find(|c| c["channel"] == channel).unwrap_or_else(|| panic!("nothing on {channel} in {answer}"))
}

async fn a_recorded_decision_is_where_the_person_stands(app: &App) {
    let ada = app.person(ada()).await;
    let body = json!({"status": "opted_out", "occurred_at": "2026-01-31T08:00:00Z", "source": "footer link", "evidence": "campaign 7"});
    let answer = app.put(&path(&ada, "/consents/sms")).header("x-request-id", "req-7").json(body).await;
    let after = answer.ok();
    assert_eq!((version(&after), answer.header("etag")), (2, Some("\"2\"")));
    same(
        on(&after, "consents", "sms"),
        &json!({
            "channel": "sms", "status": "opted_out", "opted_in_at": null, "opted_out_at": "2026-01-31T08:00:00.000000Z",
            "occurred_at": "2026-01-31T08:00:00.000000Z", "source": "footer link"
        }),
    );
    let answer = app.get(&path(&ada, "/consents")).await;
    assert_eq!(answer.header("etag"), Some("\"2\""));
    same(&answer.ok(), &json!({"data": after["consents"], "next_cursor": null}));
    same(&app.read(id(&ada)).await, &after);
    let entries = ledger(app, &ada, "sms").await;
    let history = app.history(id(&ada)).await;
    assert_eq!(entries.len(), 1);
    same(
        &entries[0],
        &json!({
            "id": entries[0]["id"], "channel": "sms", "status": "opted_out", "occurred_at": "2026-01-31T08:00:00.000000Z",
            "recorded_at": history[0]["at"], "source": "footer link", "evidence": "campaign 7", "actor": history[0]["actor"],
            "request_id": "req-7"
        }),
    );
    assert_eq!((&history[0]["action"], changes(&history[0])), (&json!("consent_recorded"), json!({"consents.sms": [null, "opted_out"]})));
    // What was said when the person was created is in the same ledger.
    assert_eq!(ledger(app, &ada, "email").await[0]["source"], "signup form");
    assert_eq!(ledger(app, &ada, "whatsapp").await, [Value::Null; 0]);
}

async fn a_late_decision_is_recorded_and_changes_nothing(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    let after = put(app, &person, "sms", json!({"status": "opted_out", "occurred_at": "2026-03-01T00:00:00Z"})).await.ok();
    let late = put(app, &person, "sms", json!({"status": "pending", "occurred_at": "2026-02-01T00:00:00Z", "source": "paper"})).await;
    same(&late.ok(), &after);
    assert_eq!(late.header("etag"), Some("\"2\""));
    same(&app.read(id(&person)).await, &after);
    let told: Vec<Value> = ledger(app, &person, "sms").await.iter().map(|e| e["status"].clone()).collect();
    assert_eq!(told, ["pending", "opted_out"], "the last recorded first");
    let entry = &app.history(id(&person)).await[0];
    assert_eq!((&entry["action"], &entry["version"], &entry["changes"]), (&json!("consent_recorded"), &json!(2), &json!([])));
    // An opt-in that was older still is told in its own time, and does not hold.
    let earlier = put(app, &person, "sms", json!({"status": "opted_in", "occurred_at": "2026-01-01T00:00:00Z"})).await.ok();
    let stands = on(&earlier, "consents", "sms");
    assert_eq!((&stands["status"], &stands["opted_in_at"]), (&json!("opted_out"), &json!("2026-01-01T00:00:00.000000Z")));
    assert_eq!(app.filtered(json!({"field": "consents.sms", "op": "eq", "value": "opted_out"})).await, ["crm-1"]);
}

async fn at_the_same_instant_opting_out_wins(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    let at = "2026-03-01T00:00:00Z";
    for (channel, first, second) in [("sms", "opted_in", "opted_out"), ("email", "opted_out", "opted_in")] {
        put(app, &person, channel, json!({"status": first, "occurred_at": at})).await.ok();
        let after = put(app, &person, channel, json!({"status": second, "occurred_at": at})).await.ok();
        assert_eq!(on(&after, "consents", channel)["status"], "opted_out");
    }
}

async fn what_is_known_is_not_recorded_twice(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    let body = json!({"status": "opted_in", "occurred_at": "2026-03-01T00:00:00Z", "source": "form"});
    let first = put(app, &person, "sms", body.clone()).await.ok();
    same(&put(app, &person, "sms", body.clone()).await.ok(), &first);
    assert_eq!((ledger(app, &person, "sms").await.len(), app.history(id(&person)).await.len()), (1, 2));
    // Evidence that comes afterwards is worth keeping, and changes nothing of the profile.
    let mut proved = body;
    proved["evidence"] = json!("scan 12");
    same(&put(app, &person, "sms", proved).await.ok(), &first);
    assert_eq!(ledger(app, &person, "sms").await[0]["evidence"], "scan 12");
}

async fn the_ledger_is_read_page_by_page(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for day in 1..=7 {
        let body =
            json!({"status": if day % 2 == 0 { "opted_in" } else { "opted_out" }, "occurred_at": format!("2026-03-0{day}T00:00:00Z")});
        put(app, &person, "sms", body).await.ok();
        put(app, &person, "email", json!({"status": "pending"})).await.ok();
    }
    let whole = ledger(app, &person, "sms").await;
    let days: Vec<&str> = whole.iter().filter_map(|e| e["occurred_at"].as_str()).map(|at| &at[8..10]).collect();
    assert_eq!(days, ["07", "06", "05", "04", "03", "02", "01"]);
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&path(&person, &format!("/consents/sms/history?limit=3{cursor}"))).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, whole);
    let page = app.get(&path(&person, "/consents/sms/history?limit=3")).await.ok();
    let cursor = page["next_cursor"].as_str().expect("a next page");
    app.get(&path(&person, &format!("/consents/email/history?limit=3&cursor={cursor}"))).await.refused(400, "cursor_mismatch");
    for (query, code) in [("limit=0", "invalid_query"), ("colour=red", "invalid_query"), ("cursor=nonsense", "invalid_cursor")] {
        app.get(&path(&person, &format!("/consents/sms/history?{query}"))).await.refused(400, code);
    }
    app.get(&path(&person, "/consents?colour=red")).await.refused(400, "invalid_query");
}

async fn a_stale_tag_is_refused(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    app.put(&path(&person, "/consents/sms")).if_match(&person).json(json!({"status": "opted_in"})).await.ok();
    app.put(&path(&person, "/consents/sms")).if_match(&person).json(json!({"status": "opted_out"})).await.refused(412, "version_mismatch");
    assert_eq!(ledger(app, &person, "sms").await.len(), 1);
}

async fn a_merged_id_answers_for_the_survivor(app: &App) {
    let anonymous = json!({"events": [{"identities": [{"kind": "anonymous_id", "value": "a1"}], "type": "page"}]});
    let old = json!({"id": app.post("/v1/events").json(anonymous).await.ok()["results"][0]["profile_id"]});
    put(app, &old, "sms", json!({"status": "opted_in", "occurred_at": "2026-03-01T00:00:00Z"})).await.ok();
    let survivor = app.person(nobody("crm-1")).await;
    put(app, &survivor, "sms", json!({"status": "opted_out", "occurred_at": "2026-02-01T00:00:00Z"})).await.ok();
    let login = json!({"events": [{
        "identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": "crm-1"}], "type": "login"
    }]});
    app.post("/v1/events").json(login).await.ok();
    assert_eq!(app.read(id(&old)).await["id"], survivor["id"], "the two were merged");
    let stands = app.get(&path(&survivor, "/consents")).await.ok();
    same(&app.get(&path(&old, "/consents")).await.ok(), &stands);
    assert_eq!(stands["data"][0]["status"], "opted_in");
    assert_eq!(ledger(app, &survivor, "sms").await.len(), 2, "both ledgers");
    same(&json!(ledger(app, &old, "sms").await), &json!(ledger(app, &survivor, "sms").await));
    let after = put(app, &old, "sms", json!({"status": "opted_out"})).await.ok();
    assert_eq!((&after["id"], &after["consents"][0]["status"]), (&survivor["id"], &json!("opted_out")));
}

async fn filters_and_the_timeline_know_it(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    app.person(nobody("crm-2")).await;
    put(app, &person, "sms", json!({"status": "opted_in"})).await.ok();
    assert_eq!(app.filtered(json!({"field": "consents.sms", "op": "eq", "value": "opted_in"})).await, ["crm-1"]);
    put(app, &person, "sms", json!({"status": "opted_out"})).await.ok();
    assert_eq!(app.filtered(json!({"field": "consents.sms", "op": "eq", "value": "opted_in"})).await, [""; 0]);
    let line = app.get(&path(&person, "/timeline?type=system.consent_recorded")).await.ok();
    assert_eq!(list(&line, "data").len(), 2);
}

async fn bad_decisions_are_refused(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for (body, pointer, code) in [
        (json!({"status": "maybe"}), "/status", "not_an_option"),
        (json!({"status": 1}), "/status", "wrong_type"),
        (json!({"status": "opted_in", "occurred_at": "yesterday"}), "/occurred_at", "invalid_datetime"),
        (json!({"status": "opted_in", "occurred_at": "2999-01-01T00:00:00Z"}), "/occurred_at", "invalid_datetime"),
        (json!({"status": "opted_in", "source": "x".repeat(501)}), "/source", "too_long"),
        (json!({"status": "opted_in", "evidence": "x".repeat(8193)}), "/evidence", "too_long"),
        (json!({"status": "opted_in", "evidence": "a\u{0}"}), "/evidence", "nul_character"),
        (json!({"status": "opted_in", "channel": "sms"}), "/channel", "unknown_field"),
    ] {
        put(app, &person, "sms", body).await.refused_at(pointer, code);
    }
    put(app, &person, "sms", json!({})).await.refused(422, "validation_failed");
    for channel in ["SMS", "1a", "a-b", "%00", "x23456789012345678901234567890123"] {
        put(app, &person, channel, json!({"status": "opted_in"})).await.refused_at("channel", "invalid_channel");
        app.get(&path(&person, &format!("/consents/{channel}/history"))).await.refused(404, "not_found");
    }
    same(&app.read(id(&person)).await, &person);
}

async fn nobody_and_the_erased_have_none(app: &App) {
    let gone = app.person(nobody("crm-1")).await;
    put(app, &gone, "sms", json!({"status": "opted_in", "evidence": "a secret word"})).await.ok();
    app.delete(&path(&gone, "")).await.ok();
    let nobody = json!({"id": "0192f0c1-2d3e-7000-8000-000000000000"});
    for (person, status, code) in [(gone, 410, "profile_erased"), (nobody, 404, "not_found")] {
        app.get(&path(&person, "/consents")).await.refused(status, code);
        app.get(&path(&person, "/consents/sms/history")).await.refused(status, code);
        put(app, &person, "sms", json!({"status": "opted_in"})).await.refused(status, code);
    }
}
