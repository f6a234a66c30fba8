//! What a preview of a merge tells, and that the merge does just that.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use super::{agreed, all, field, literal, merge, merge_with, pair, preview, send, two_adas, whole};
use crate::cast::{changes, grace, id, identities, list, path, version};

stories![
    a_preview_tells_every_field_and_changes_nothing,
    a_merge_does_what_its_preview_said,
    a_choice_holds_and_what_cannot_be_chosen_is_refused,
    a_preview_is_good_for_these_two_as_they_were,
];

async fn a_preview_tells_every_field_and_changes_nothing(app: &App) {
    let (first, second) = two_adas(app).await;
    let (before_first, before_second) = (whole(app, id(&first)).await, whole(app, id(&second)).await);
    let told = preview(app, &first, &second, json!({"company": "secondary"})).await;
    same(&told["primary"], &first);
    same(&told["secondary"], &second);
    assert_eq!(told["moves"], json!({"events": 3, "sessions": 3, "segments": 0, "labels": 2, "identities": 2, "consents": 2}));
    let row = |name: &str| {
        let f = field(&told, name);
        json!([f["primary"], f["secondary"], f["result"], f["kept"], f["conflict"]])
    };
    assert_eq!(row("company"), json!(["Analytical Engines", "Navy", "Navy", "secondary", true]));
    assert_eq!(row("job_title"), json!([null, "Analyst", "Analyst", "secondary", false]));
    assert_eq!(row("city"), json!(["London", null, "London", "primary", false]));
    assert_eq!(row("email"), json!(["ada@example.com", "lovelace@work.example", "ada@example.com", "primary", true]));
    assert_eq!(row("attributes.plan"), json!(["pro", "free", "pro", "primary", true]));
    assert_eq!(row("attributes.since"), json!([null, "2020-01-01", "2020-01-01", "secondary", false]));
    assert_eq!(row("labels"), json!([["vip"], ["trial", "vip"], ["trial", "vip"], "both", false]));
    assert_eq!(row("last_seen_at"), json!([first["last_seen_at"], second["last_seen_at"], second["last_seen_at"], "secondary", false]));
    assert_eq!(row("created_at"), json!([first["created_at"], second["created_at"], first["created_at"], "primary", false]));
    assert_eq!(row("merged_from")[2], json!([second["id"]]));
    let consent = field(&told, "consents.email");
    assert_eq!((&consent["result"]["status"], &consent["conflict"]), (&json!("opted_in"), &json!(true)), "the latest decision: {consent}");
    assert!(list(&told, "fields").iter().all(|f| f["field"] != "avatar_url"), "what neither has is left out");
    assert_eq!(field(&told, "identities")["result"].as_array().map(Vec::len), Some(5));
    same(&app.read(id(&first)).await, &first);
    same(&app.read(id(&second)).await, &second);
    same(&whole(app, id(&first)).await, &before_first);
    same(&whole(app, id(&second)).await, &before_second);
}

async fn a_merge_does_what_its_preview_said(app: &App) {
    let (first, second) = two_adas(app).await;
    let keep = json!({"company": "secondary", "email": "secondary"});
    let told = preview(app, &first, &second, keep.clone()).await;
    let answer =
        app.post("/v1/merges").header("x-reason", "one person, two forms").json(agreed(&first, &second, keep.clone(), &told)).await;
    let record = answer.created();
    assert_eq!(answer.header("location"), Some(format!("/v1/merges/{}", id(&record)).as_str()));
    assert_eq!((&record["primary_id"], &record["secondary_id"], &record["survivor_id"]), (&first["id"], &second["id"], &first["id"]));
    assert_eq!((&record["reason"], &record["automatic"], &record["keep"]), (&json!("one person, two forms"), &json!(false), &keep));
    same(&record["fields"], &told["fields"]);
    same(&record["moves"], &told["moves"]);
    assert_eq!((&record["reverted_at"], &record["conflicts"]), (&json!(null), &json!([])));
    same(&app.get(&format!("/v1/merges/{}", id(&record))).await.ok(), &record);
    let person = app.read(id(&first)).await;
    for told in list(&told, "fields") {
        let name = told["field"].as_str().expect("a name");
        let value = match name.split_once('.') {
            Some(("attributes", key)) => person["attributes"][key].clone(),
            Some(("consents", channel)) => list(&person, "consents").iter().find(|c| c["channel"] == channel).cloned().unwrap_or_default(),
            _ => person[name].clone(),
        };
        assert_eq!(value, told["result"], "{name} as previewed");
    }
    assert_eq!((&person["email"], &person["company"]), (&json!("lovelace@work.example"), &json!("Navy")));
    assert_eq!(identities(&person, "email"), ["lovelace@work.example", "ada@example.com"]);
    // One name everywhere: timeline, history and feed speak of the merge by its id.
    let line = all(app, id(&first), "timeline").await;
    let merged: Vec<&Value> = line.iter().filter(|e| e["type"] == "system.merged").collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0]["id"], record["id"]);
    let entry = app.history(id(&first)).await[0].clone();
    assert_eq!((&entry["id"], &entry["action"], &entry["reason"]), (&record["id"], &json!("merged"), &record["reason"]));
    assert_eq!(changes(&entry)["company"], json!(["Analytical Engines", "Navy"]));
    let literal = literal(app, id(&record));
    let feed = app.database().rows(&format!("SELECT kind FROM changes WHERE record_id = {literal} ORDER BY seq")).await;
    assert_eq!(feed, [["profile.merged"], ["profile.merged_into"]]);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 1}));
    assert_eq!(app.find(json!({"q": "tablet"})).await, ["crm-17"]);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "trial"})).await, ["crm-17"]);
    assert_eq!(app.filtered(json!({"field": "consents.email", "op": "eq", "value": "opted_in"})).await, ["crm-17"]);
}

async fn a_choice_holds_and_what_cannot_be_chosen_is_refused(app: &App) {
    let (first, second) = two_adas(app).await;
    for (choice, pointer, code) in [
        (json!({"labels": "primary"}), "/keep/labels", "unknown_field"),
        (json!({"identities": "primary"}), "/keep/identities", "unknown_field"),
        (json!({"created_at": "secondary"}), "/keep/created_at", "unknown_field"),
        (json!({"surname": "secondary"}), "/keep/surname", "unknown_field"),
        (json!({"attributes.nonsense": "primary"}), "/keep/attributes.nonsense", "unknown_field"),
        (json!({"phone": "secondary"}), "/keep/phone", "nothing_to_keep"),
        (json!({"company": "both"}), "/keep/company", "not_an_option"),
        (json!({"company": null}), "/keep/company", "wrong_type"),
    ] {
        let answer = app.post("/v1/merges/preview").json(pair(&first, &second, choice.clone())).await;
        assert_eq!(answer.status, 422, "{choice}\n{answer}");
        answer.refused_at(pointer, code);
    }
    app.post("/v1/merges/preview").json(json!({"primary_id": "ada", "secondary_id": second["id"]})).await.refused(422, "validation_failed");
    app.post("/v1/merges/preview").json(json!({"primary_id": first["id"]})).await.refused(422, "validation_failed");
    let keep = json!({"attributes.plan": "secondary", "job_title": "primary", "attributes.tags": "secondary", "city": "secondary"});
    merge_with(app, &first, &second, keep).await;
    let person = app.read(id(&first)).await;
    assert_eq!(
        (&person["attributes"]["plan"], &person["job_title"], &person["attributes"]["tags"], &person["city"]),
        (&json!("free"), &json!(null), &json!(["a", "b"]), &json!(null)),
        "also where the chosen side has nothing"
    );
    let third = app.person(json!({"external_id": "t", "attributes": {"tags": ["b", "c"]}})).await;
    merge(app, &first, &third).await;
    assert_eq!(app.read(id(&first)).await["attributes"]["tags"], json!(["a", "b", "c"]), "lists are united where nobody chose");
}

async fn a_preview_is_good_for_these_two_as_they_were(app: &App) {
    let (first, second) = two_adas(app).await;
    let third = app.person(grace()).await;
    let told = preview(app, &first, &second, json!({})).await;
    let body = agreed(&first, &second, json!({}), &told);
    for (wrong, token) in [("none of ours", json!("kq3J")), ("empty", json!("")), ("a cursor", json!("e30"))] {
        let mut body = body.clone();
        body["preview_token"] = token;
        let answer = app.post("/v1/merges").json(body).await;
        assert_eq!(answer.status, 422, "{wrong}");
        answer.refused_at("/preview_token", "invalid_preview_token");
    }
    app.post("/v1/merges").json(pair(&first, &second, json!({}))).await.refused_at("", "missing_field");
    let other = agreed(&first, &second, json!({"company": "secondary"}), &told);
    app.post("/v1/merges").json(other).await.refused_at("/preview_token", "invalid_preview_token");
    app.post("/v1/merges").json(agreed(&first, &third, json!({}), &told)).await.refused(409, "preview_stale");
    app.post("/v1/merges").json(agreed(&second, &first, json!({}), &told)).await.refused(409, "preview_stale");
    let neighbour = app.neighbour();
    neighbour.post("/v1/merges").json(body.clone()).await.refused_at("/preview_token", "invalid_preview_token");
    for person in [&first, &second] {
        let told = preview(app, &first, &second, json!({})).await;
        app.patch(&path(person, "")).json(json!({"city": format!("After {}", told["moves"]["events"])})).await.ok();
        let now = app.read(id(person)).await;
        let label = format!("/labels/l{}", version(&now));
        app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told)).await.refused(409, "preview_stale");
        let told = preview(app, &first, &second, json!({})).await;
        app.put(&path(person, &label)).await.ok();
        app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told)).await.refused(409, "preview_stale");
    }
    // A late event leaves the version, and would go along.
    let told = preview(app, &first, &second, json!({})).await;
    let was = version(&app.read(id(&second)).await);
    send(app, json!([{"profile_id": id(&second), "type": "seen_long_ago", "occurred_at": "2001-01-01T00:00:00Z"}])).await;
    assert_eq!(version(&app.read(id(&second)).await), was);
    app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told)).await.refused(409, "preview_stale");
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 3}), "nothing happened so far");
    merge(app, &first, &second).await;
}
