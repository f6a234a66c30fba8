//! Merges asked for by hand: previewed, carried out, taken back. Nothing is lost on the way there, nor on the way back.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use people_tests::{App, Engine, Server, engine_stories, eventually, percent, project, same, stories};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::cast::{ada, changes, grace, id, identities, list, path, version};

stories![
    a_preview_tells_every_field_and_changes_nothing,
    a_merge_does_what_its_preview_said,
    a_choice_holds_and_what_cannot_be_chosen_is_refused,
    a_preview_is_good_for_these_two_as_they_were,
    nobody_is_merged_with_themselves_nor_with_a_stranger,
    a_merge_sent_twice_happens_once,
    two_who_exceed_a_limit_together_stay_two,
    a_version_is_new_under_both_ids,
    the_old_id_answers_on_every_route_through_chains,
    a_merge_taken_back_leaves_two_as_they_were,
    visits_that_a_merge_bridged_come_apart_again,
    what_was_edited_since_stays_and_is_told,
    an_opt_out_after_the_merge_holds_for_both,
    events_after_the_merge_stay_with_the_survivor,
    a_reversal_that_cannot_be_says_what_to_do,
    an_earlier_merge_is_taken_back_and_later_ones_stand,
    a_chain_is_taken_back_link_by_link,
    an_automatic_merge_can_be_taken_back_too,
    merges_of_a_person_are_listed_newest_first,
    erasing_one_after_a_reversal_leaves_nothing_with_the_other,
    erasing_the_survivor_takes_the_merge_along,
    random_pairs_lose_nothing_and_come_back_whole,
    a_label_the_survivor_may_not_keep_leaves_no_trace,
    any_order_of_merges_keeps_the_same,
    crossed_merges_end_in_one_person,
    merges_among_writers_lose_nothing,
    reversals_among_writers_lose_nothing,
    a_life_of_merges_and_reversals_keeps_everything,
];

engine_stories![kill_nine_leaves_one_or_two_never_a_half];

/// `2026-01-01T00:00:00Z` and so many seconds.
pub(crate) fn at(seconds: i64) -> String {
    people_domain::Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).expect("a time").short()
}

fn pair(primary: &Value, secondary: &Value, keep: Value) -> Value {
    json!({"primary_id": primary["id"], "secondary_id": secondary["id"], "keep": keep})
}

pub(crate) async fn preview(app: &App, primary: &Value, secondary: &Value, keep: Value) -> Value {
    app.post("/v1/merges/preview").json(pair(primary, secondary, keep)).await.ok()
}

/// The request that carries a preview out.
pub(crate) fn agreed(primary: &Value, secondary: &Value, keep: Value, preview: &Value) -> Value {
    let mut body = pair(primary, secondary, keep);
    body["preview_token"] = preview["preview_token"].clone();
    body
}

pub(crate) async fn merge_with(app: &App, primary: &Value, secondary: &Value, keep: Value) -> Value {
    let seen = preview(app, primary, secondary, keep.clone()).await;
    app.post("/v1/merges").json(agreed(primary, secondary, keep, &seen)).await.created()
}

pub async fn merge(app: &App, primary: &Value, secondary: &Value) -> Value {
    merge_with(app, primary, secondary, json!({})).await
}

pub async fn revert(app: &App, merge: &Value) -> Value {
    app.post(&format!("/v1/merges/{}/revert", id(merge))).await.ok()
}

pub(crate) fn field<'a>(told: &'a Value, name: &str) -> &'a Value {
    list(told, "fields").iter().find(|f| f["field"] == name).unwrap_or_else(|| panic!("no {name} in {told}"))
}

pub(crate) async fn send(app: &App, events: Value) {
    for result in list(&app.post("/v1/events").json(json!({"events": events})).await.ok(), "results") {
        assert_eq!(result["status"], 201, "{result}");
    }
}

/// All pages of a list under a person.
pub(crate) async fn all(app: &App, profile: &str, what: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/profiles/{profile}/{what}?limit=200{cursor}")).await.ok();
        out.extend(list(&page, "data").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return out };
        cursor = format!("&cursor={next}");
    }
}

fn is_system(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|kind| kind.starts_with("system."))
}

/// Everything there is of a person, but for what a merge and its reversal add by themselves.
pub(crate) async fn whole(app: &App, profile: &str) -> Value {
    let mut document = app.read(profile).await;
    assert_eq!(id(&document), profile, "the person answers under their own id");
    for member in ["version", "updated_at"] {
        document.as_object_mut().expect("an object").shift_remove(member);
    }
    let events: Vec<Value> = all(app, profile, "timeline").await.into_iter().filter(|e| !is_system(e)).collect();
    let history: Vec<Value> = all(app, profile, "history")
        .await
        .into_iter()
        .filter(|e| !matches!(e["action"].as_str(), Some("merged" | "merge_reverted")))
        .collect();
    let mut ledger = Vec::new();
    for consent in list(&document, "consents") {
        let channel = consent["channel"].as_str().expect("a channel");
        ledger.extend(all(app, profile, &format!("consents/{channel}/history")).await);
    }
    let mut lookups = Vec::new();
    for identity in list(&document, "identities") {
        let (kind, value) = (identity["kind"].as_str().expect("a kind"), identity["value"].as_str().expect("a value"));
        let found = app.get(&format!("/v1/profiles/lookup?kind={kind}&value={}", percent(value))).await.ok();
        let page = app.search(json!({"q": value, "limit": 200})).await;
        let by_search = list(&page, "data").iter().any(|p| p["id"] == profile);
        lookups.push(json!([kind, value, found["id"], by_search]));
    }
    let mut sessions = all(app, profile, "sessions").await;
    for session in &sessions {
        let inside = app.get(&format!("/v1/sessions/{}/events?limit=200", id(session))).await.ok();
        let number = list(&inside, "data").len() as u64;
        assert_eq!(session["event_count"], number, "a session counts its events: {session}");
    }
    sessions.sort_by_key(|s| id(s).to_owned());
    json!({"document": document, "events": events, "history": history, "ledger": ledger, "lookups": lookups, "sessions": sessions,
        "labels": app.get(&format!("/v1/profiles/{profile}/labels")).await.ok(),
        "consents": app.get(&format!("/v1/profiles/{profile}/consents")).await.ok()})
}

/// Ada with much to lose, and somebody who is Ada too.
async fn two_adas(app: &App) -> (Value, Value) {
    let first = app.person(ada()).await;
    let second = app
        .person(json!({"email": "lovelace@work.example", "identities": [{"kind": "device", "value": "tablet"}], "company": "Navy",
            "job_title": "Analyst", "attributes": {"plan": "free", "tags": ["a", "b"], "since": "2020-01-01"}, "labels": ["vip", "trial"],
            "consents": [{"channel": "email", "status": "opted_out", "occurred_at": at(5), "source": "footer"},
                         {"channel": "sms", "status": "opted_in", "occurred_at": at(6)}]}))
        .await;
    send(
        app,
        json!([
            {"profile_id": id(&first), "type": "page", "channel": "web", "occurred_at": at(100)},
            {"profile_id": id(&second), "type": "page", "channel": "web", "occurred_at": at(400)},
            {"profile_id": id(&first), "type": "page", "channel": "web", "occurred_at": at(700), "session": {"properties": {"landing": "/"}}},
            {"profile_id": id(&second), "type": "order", "channel": "app", "occurred_at": at(90_000), "message_id": "m1"},
            {"profile_id": id(&second), "type": "call", "occurred_at": at(50)}
        ]),
    )
    .await;
    (app.read(id(&first)).await, app.read(id(&second)).await)
}

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

/// An id as the engine writes it in a statement.
fn literal(app: &App, id: &str) -> String {
    if app.engine == Engine::Sqlite { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") }
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
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 3}), "nothing happened so far");
    merge(app, &first, &second).await;
}

async fn nobody_is_merged_with_themselves_nor_with_a_stranger(app: &App) {
    let (first, second) = two_adas(app).await;
    let neighbour = app.neighbour();
    let theirs = neighbour.person(ada()).await;
    let gone = app.person(grace()).await;
    app.delete(&path(&gone, "")).await.ok();
    let nobody = json!({"id": "0192f0c1-7d7e-7aaa-8000-000000000001"});
    let token = preview(app, &first, &second, json!({})).await;
    for route in ["/v1/merges/preview", "/v1/merges"] {
        let body = |primary: &Value, secondary: &Value| {
            if route == "/v1/merges" { agreed(primary, secondary, json!({}), &token) } else { pair(primary, secondary, json!({})) }
        };
        app.post(route).json(body(&first, &first)).await.refused_at("/secondary_id", "self_merge");
        for stranger in [&theirs, &nobody] {
            app.post(route).json(body(&first, stranger)).await.refused(404, "not_found");
            app.post(route).json(body(stranger, &first)).await.refused(404, "not_found");
        }
        app.post(route).json(body(&first, &gone)).await.refused(410, "profile_erased");
        app.post(route).json(body(&gone, &first)).await.refused(410, "profile_erased");
    }
    merge(app, &first, &second).await;
    for (one, other) in [(&first, &second), (&second, &first)] {
        let told = app.post("/v1/merges/preview").json(pair(one, other, json!({}))).await.refused_at("/secondary_id", "self_merge");
        assert!(told["detail"].as_str().is_some_and(|detail| detail.contains("one person already")), "{told}");
        app.post("/v1/merges").json(agreed(one, other, json!({}), &token)).await.refused_at("/secondary_id", "self_merge");
    }
    // An id that was merged away is not merged again; the survivor is, by their own.
    let third = app.person(json!({"external_id": "third"})).await;
    let told = preview(app, &third, &first, json!({})).await;
    for (pointer, primary, secondary) in [("/secondary_id", &third, &second), ("/primary_id", &second, &third)] {
        let refused = app.post("/v1/merges/preview").json(pair(primary, secondary, json!({}))).await.refused_at(pointer, "merged_away");
        assert!(refused["errors"][0]["detail"].as_str().is_some_and(|detail| detail.contains(id(&first))), "{refused}");
    }
    app.post("/v1/merges").json(agreed(&third, &second, json!({}), &told)).await.refused_at("/secondary_id", "merged_away");
    let record = app.post("/v1/merges").json(agreed(&third, &first, json!({}), &told)).await.created();
    assert_eq!((&record["primary_id"], &record["secondary_id"]), (&third["id"], &first["id"]));
    same(&neighbour.read(id(&theirs)).await, &theirs);
    app.get(&format!("/v1/merges/{}", id(&nobody))).await.refused(404, "not_found");
    neighbour.get(&format!("/v1/merges/{}", id(&record))).await.refused(404, "not_found");
    neighbour.post(&format!("/v1/merges/{}/revert", id(&record))).await.refused(404, "not_found");
}

async fn a_merge_sent_twice_happens_once(app: &App) {
    let (first, second) = two_adas(app).await;
    let told = preview(app, &first, &second, json!({})).await;
    let body = agreed(&first, &second, json!({}), &told);
    let answers = join_all((0..8).map(|_| app.post("/v1/merges").idempotency_key("merge-1").json(body.clone()).into_future())).await;
    let record = answers[0].created();
    for answer in &answers {
        same(&answer.created(), &record);
    }
    assert_eq!(answers.iter().filter(|a| a.header("idempotency-replayed").is_none()).count(), 1, "one carried it out");
    let other = agreed(&second, &first, json!({}), &told);
    app.post("/v1/merges").idempotency_key("merge-1").json(other).await.refused(422, "idempotency_mismatch");
    let revert = format!("/v1/merges/{}/revert", id(&record));
    let back = app.post(&revert).idempotency_key("back-1").await.ok();
    same(&app.post(&revert).idempotency_key("back-1").await.ok(), &back);
    app.post(&revert).await.refused(409, "merge_reverted");
    // The answer speaks of both: with either of them it is gone.
    app.delete(&path(&second, "")).await.ok();
    let replayed = app.post(&revert).idempotency_key("back-1").await.ok();
    assert_eq!(replayed, json!({"erased": true}));
}

async fn two_who_exceed_a_limit_together_stay_two(app: &App) {
    let many = |from: usize| -> Vec<Value> { (from..from + 60).map(|n| json!({"kind": "device", "value": format!("d{n}")})).collect() };
    let first = app.person(json!({"identities": many(0)})).await;
    let second = app.person(json!({"identities": many(100)})).await;
    app.post("/v1/merges/preview").json(pair(&first, &second, json!({}))).await.refused_at("/identities", "limit_exceeded");
    same(&app.read(id(&second)).await, &second);
}

async fn a_version_is_new_under_both_ids(app: &App) {
    let first = app.person(json!({"external_id": "a"})).await;
    let second = app.person(json!({"external_id": "b"})).await;
    for n in 0..5 {
        app.patch(&path(&second, "")).json(json!({"city": format!("City {n}")})).await.ok();
    }
    let old = app.read(id(&second)).await;
    let record = merge(app, &first, &second).await;
    let now = app.read(id(&first)).await;
    assert!(version(&now) > version(&old) && version(&now) > version(&first), "{now}");
    // What was read of the other under the same id is not mistaken for the survivor.
    app.patch(&path(&second, "")).if_match(&old).json(json!({"city": "Lost"})).await.refused(412, "version_mismatch");
    let tag = format!("\"{}\"", version(&old));
    assert_eq!(app.get(&path(&second, "")).header("if-none-match", &tag).await.status, 200);
    revert(app, &record).await;
    let back = app.read(id(&second)).await;
    assert!(version(&back) > version(&now), "{back}");
    assert_eq!(back["city"], "City 4");
    app.patch(&path(&second, "")).if_match(&now).json(json!({"city": "Lost"})).await.refused(412, "version_mismatch");
}

async fn the_old_id_answers_on_every_route_through_chains(app: &App) {
    let oldest = app.person(ada()).await;
    send(app, json!([{"profile_id": id(&oldest), "type": "page", "channel": "web"}])).await;
    let middle = app.person(grace()).await;
    let last = app.person(json!({"external_id": "last"})).await;
    merge(app, &middle, &oldest).await;
    merge(app, &last, &middle).await;
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(project().join("openapi/openapi.json")).expect("the document")).expect("JSON");
    let mut walked = 0;
    for (route, item) in document["paths"].as_object().expect("paths") {
        if !route.starts_with("/v1/profiles/{id}") || item["get"].is_null() {
            continue;
        }
        // Each export notes itself in the history, so that no two are alike.
        if route.ends_with("/export") {
            let answer = app.get(&route.replace("{id}", id(&oldest))).await;
            assert_eq!(answer.header("content-location"), Some(route.replace("{id}", id(&last)).as_str()));
            assert_eq!(answer.ok()["profile_id"], last["id"]);
            continue;
        }
        let of = |person: &Value| route.replace("{id}", id(person)).replace("{channel}", "email");
        let expected = app.get(&of(&last)).await;
        for old in [&oldest, &middle] {
            let answer = app.get(&of(old)).await;
            assert_eq!((answer.status, &answer.bytes), (200, &expected.bytes), "{route}\n{answer}");
            assert_eq!(answer.header("content-location"), Some(of(&last).as_str()), "{route}");
        }
        assert_eq!((expected.status, expected.header("content-location")), (200, None), "{route}");
        walked += 1;
    }
    assert!(walked >= 7, "only {walked} routes are read under a profile");
    for answer in [
        app.patch(&path(&oldest, "")).json(json!({"city": "Paris"})).await,
        app.put(&path(&oldest, "/labels/met")).await,
        app.delete(&path(&oldest, "/labels/met")).await,
        app.put(&path(&oldest, "/consents/sms")).json(json!({"status": "opted_in"})).await,
        app.delete(&path(&oldest, "/identities/phone/%2B442079460000")).await,
    ] {
        let person = answer.ok();
        assert_eq!(person["id"], last["id"]);
        assert_eq!(answer.header("content-location"), Some(path(&last, "").as_str()));
    }
    let answer = app.post(&path(&middle, "/identities")).json(json!({"kind": "device", "value": "new"})).await;
    assert_eq!(answer.created()["id"], last["id"]);
    assert_eq!(app.read(id(&last)).await["merged_from"].as_array().map(Vec::len), Some(2));
}

async fn a_merge_taken_back_leaves_two_as_they_were(app: &App) {
    let (first, second) = two_adas(app).await;
    let before = [whole(app, id(&first)).await, whole(app, id(&second)).await];
    let keep = json!({"company": "secondary", "email": "secondary", "attributes.plan": "secondary", "city": "secondary"});
    let record = merge_with(app, &first, &second, keep).await;
    assert_eq!(all(app, id(&first), "sessions").await.len(), 3, "what is one visit became one session");
    let back = revert(app, &record).await;
    assert_eq!(back["conflicts"], json!([]), "{back}");
    assert!(back["reverted_at"].is_string() && back["reverted_by"].is_string(), "{back}");
    same(&back["fields"], &record["fields"]);
    same(&whole(app, id(&first)).await, &before[0]);
    same(&whole(app, id(&second)).await, &before[1]);
    same(&app.get(&format!("/v1/merges/{}", id(&record))).await.ok(), &back);
    let answer = app.get(&path(&second, "")).await;
    assert_eq!(answer.header("content-location"), None, "the redirect is gone");
    for person in [&first, &second] {
        let entries = app.history(id(person)).await;
        assert_eq!(entries[0]["action"], "merge_reverted");
        let line = all(app, id(person), "timeline").await;
        assert!(line.iter().any(|e| e["type"] == "system.merge_reverted"), "{line:?}");
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 2}));
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "trial"})).await, [""]);
    assert_eq!(app.filtered(json!({"field": "channels", "op": "has", "value": "app"})).await, [""]);
    assert_eq!(app.filtered(json!({"field": "consents.sms", "op": "exists"})).await, [""]);
    assert_eq!(app.filtered(json!({"event": "order"})).await, [""], "what each did is counted for each");
    assert_eq!(app.filtered(json!({"event": "page", "count": {"gte": 2}})).await, ["crm-17"]);
    assert_eq!(app.filtered(json!({"event": "page", "count": {"eq": 1}})).await, [""]);
    // And once more: nothing of the first time is in the way.
    let again = merge(app, &first, &second).await;
    revert(app, &again).await;
    same(&whole(app, id(&first)).await, &before[0]);
    same(&whole(app, id(&second)).await, &before[1]);
    let other_way = merge(app, &second, &first).await;
    revert(app, &other_way).await;
    same(&whole(app, id(&first)).await, &before[0]);
    same(&whole(app, id(&second)).await, &before[1]);
}

/// Found by kill -9: the survivor's own sessions, joined by one that came over, were not remembered.
async fn visits_that_a_merge_bridged_come_apart_again(app: &App) {
    app.patch("/v1/workspace").json(json!({"session_gap_seconds": 600})).await.ok();
    let first = app.person(json!({"external_id": "a"})).await;
    let second = app.person(json!({"external_id": "b"})).await;
    let event =
        |person: &Value, seconds: i64| json!({"profile_id": person["id"], "type": "page", "channel": "web", "occurred_at": at(seconds)});
    send(app, json!([event(&first, 0), event(&first, 1_000), event(&second, 500), event(&first, 1_400)])).await;
    let before = [whole(app, id(&first)).await, whole(app, id(&second)).await];
    let record = merge(app, &first, &second).await;
    let joined = all(app, id(&first), "sessions").await;
    assert_eq!((joined.len(), &joined[0]["event_count"]), (1, &json!(4)));
    revert(app, &record).await;
    same(&whole(app, id(&first)).await, &before[0]);
    same(&whole(app, id(&second)).await, &before[1]);
    assert_eq!(before[0]["sessions"].as_array().map(Vec::len), Some(2));
    // But for an event of their own that came in between.
    let record = merge(app, &first, &second).await;
    send(app, json!([event(&first, 520)])).await;
    revert(app, &record).await;
    let now = whole(app, id(&first)).await;
    assert_eq!((now["sessions"].as_array().map(Vec::len), &now["sessions"][0]["event_count"]), (Some(1), &json!(4)), "{}", now["sessions"]);
    same(&whole(app, id(&second)).await, &before[1]);
}

async fn what_was_edited_since_stays_and_is_told(app: &App) {
    let (first, second) = two_adas(app).await;
    let record = merge_with(app, &first, &second, json!({"company": "secondary"})).await;
    let patch = json!({"company": "Edited", "country": "FR", "attributes": {"since": "2021-05-05", "later": 1}});
    app.patch(&path(&first, "")).json(patch).await.ok();
    app.delete(&path(&first, "/labels/trial")).await.ok();
    app.put(&path(&first, "/labels/after")).await.ok();
    app.delete(&path(&first, "/identities/device/tablet")).await.ok();
    for channel in ["sms", "push"] {
        app.put(&path(&first, &format!("/consents/{channel}"))).json(json!({"status": "pending", "occurred_at": at(1_000)})).await.ok();
    }
    let back = revert(app, &record).await;
    let short = |value: &Value| if value["status"].is_string() { value["status"].clone() } else { value.clone() };
    let told: Vec<Value> = list(&back, "conflicts")
        .iter()
        .map(|c| json!([c["field"], c["reason"], short(&c["merged"]), short(&c["current"]), short(&c["before"])]))
        .collect();
    same(
        &json!(told),
        &json!([
            ["company", "edited_since", "Navy", "Edited", "Analytical Engines"],
            ["attributes.since", "edited_since", "2020-01-01", "2021-05-05", null],
            ["labels", "edited_since", ["trial", "vip"], ["after", "vip"], ["vip"]],
            ["consents.sms", "edited_since", "opted_in", "pending", null],
            ["identities.device", "identity_gone", "tablet", null, "tablet"]
        ]),
    );
    let survivor = app.read(id(&first)).await;
    assert_eq!((&survivor["company"], &survivor["country"]), (&json!("Edited"), &json!("FR")));
    assert_eq!(survivor["attributes"]["since"], "2021-05-05");
    assert_eq!((&survivor["attributes"]["later"], &survivor["attributes"]["plan"]), (&json!(1), &json!("pro")));
    assert_eq!((&survivor["labels"], &survivor["job_title"]), (&json!(["after", "vip"]), &json!(null)));
    let returned = app.read(id(&second)).await;
    assert_eq!((&returned["company"], &returned["attributes"]), (&second["company"], &second["attributes"]));
    assert_eq!((&returned["labels"], list(&returned, "identities").len()), (&second["labels"], 1));
}

async fn an_opt_out_after_the_merge_holds_for_both(app: &App) {
    let first =
        app.person(json!({"email": "a@example.com", "consents": [{"channel": "email", "status": "opted_in", "occurred_at": at(1)}]})).await;
    let second = app.person(json!({"email": "b@example.com", "consents": [
        {"channel": "email", "status": "opted_in", "occurred_at": at(2)}, {"channel": "sms", "status": "opted_out", "occurred_at": at(2)}]})).await;
    let record = merge(app, &first, &second).await;
    app.put(&path(&second, "/consents/email")).json(json!({"status": "opted_out", "occurred_at": at(50), "source": "footer"})).await.ok();
    app.put(&path(&first, "/consents/push")).json(json!({"status": "opted_in", "occurred_at": at(60)})).await.ok();
    let back = revert(app, &record).await;
    assert_eq!((list(&back, "conflicts").len(), &back["conflicts"][0]["reason"]), (1, &json!("opted_out_since")), "{back}");
    for person in [&first, &second] {
        let now = app.read(id(person)).await;
        let email = list(&now, "consents").iter().find(|c| c["channel"] == "email").expect("a consent");
        assert_eq!((&email["status"], &email["source"]), (&json!("opted_out"), &json!("footer")), "{now}");
    }
    let channels = |person: &Value| -> Vec<Value> { list(person, "consents").iter().map(|c| c["channel"].clone()).collect() };
    assert_eq!(channels(&app.read(id(&first)).await), ["email", "push"], "the other's are theirs again");
    assert_eq!(channels(&app.read(id(&second)).await), ["email", "sms"]);
    assert_eq!(all(app, id(&first), "consents/email/history").await.len(), 2);
    assert_eq!(all(app, id(&second), "consents/email/history").await.len(), 2);
}

async fn events_after_the_merge_stay_with_the_survivor(app: &App) {
    let (first, second) = two_adas(app).await;
    let record = merge(app, &first, &second).await;
    send(
        app,
        json!([
            // In the session both had part in, in one that was the other's alone, and in none.
            {"identities": [{"kind": "device", "value": "tablet"}], "type": "late", "channel": "web", "occurred_at": at(710)},
            {"profile_id": id(&second), "type": "late", "channel": "app", "occurred_at": at(90_100)},
            {"profile_id": id(&first), "type": "late", "channel": "chat", "occurred_at": at(200_000)}
        ]),
    )
    .await;
    let back = revert(app, &record).await;
    assert_eq!(back["conflicts"], json!([]));
    let kinds = |events: &Value| -> Vec<Value> { events.as_array().expect("a list").iter().map(|e| e["type"].clone()).collect() };
    let (now_first, now_second) = (whole(app, id(&first)).await, whole(app, id(&second)).await);
    assert_eq!(kinds(&now_first["events"]), ["late", "late", "late", "page", "page"]);
    assert_eq!(kinds(&now_second["events"]), ["order", "page", "call"]);
    assert_eq!(now_first["document"]["last_seen_at"], "2026-01-03T07:33:20.000000Z");
    assert_eq!(now_first["document"]["channels"], json!(["app", "chat", "web"]));
    assert_eq!(now_first["document"]["last_channel"], "chat");
    assert_eq!(now_second["document"]["last_seen_at"], second["last_seen_at"]);
    let stretches = |person: &Value| -> BTreeSet<String> {
        person["sessions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| format!("{} {} {}", s["channel"], s["started_at"], s["event_count"]))
            .collect()
    };
    let expected = |rows: &[(&str, i64, u64)]| -> BTreeSet<String> {
        rows.iter()
            .map(|(channel, seconds, count)| {
                let time = people_domain::Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).expect("a time");
                format!("{} \"{time}\" {count}", if channel.is_empty() { "null".to_owned() } else { format!("\"{channel}\"") })
            })
            .collect()
    };
    assert_eq!(stretches(&now_first), expected(&[("web", 100, 3), ("app", 90_100, 1), ("chat", 200_000, 1)]));
    assert_eq!(stretches(&now_second), expected(&[("web", 400, 1), ("app", 90_000, 1), ("", 50, 1)]));
    // From now on each has their own.
    send(
        app,
        json!([{"identities": [{"kind": "device", "value": "tablet"}], "type": "own", "channel": "web", "occurred_at": at(300_000)}]),
    )
    .await;
    assert_eq!(app.read(id(&second)).await["last_seen_at"], "2026-01-04T11:20:00.000000Z");
}

async fn a_reversal_that_cannot_be_says_what_to_do(app: &App) {
    let (first, second) = two_adas(app).await;
    let third = app.person(json!({"external_id": "third"})).await;
    let before = [whole(app, id(&first)).await, whole(app, id(&second)).await, whole(app, id(&third)).await];
    app.post("/v1/merges/0192f0c1-7d7e-7aaa-8000-000000000001/revert").await.refused(404, "not_found");
    let earlier = merge(app, &first, &second).await;
    let later = merge(app, &third, &first).await;
    let refused = app.post(&format!("/v1/merges/{}/revert", id(&earlier))).await.refused(409, "merged_further");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains(id(&third))), "{refused}");
    revert(app, &later).await;
    app.post(&format!("/v1/merges/{}/revert", id(&later))).await.refused(409, "merge_reverted");
    revert(app, &earlier).await;
    for (person, before) in [&first, &second, &third].into_iter().zip(&before) {
        same(&whole(app, id(person)).await, before);
    }
    // Keys that went since leave one of them without any.
    let only = app.person(json!({"external_id": "only"})).await;
    let record = merge(app, &first, &only).await;
    app.delete(&path(&first, "/identities/external_id/only")).await.ok();
    app.post(&format!("/v1/merges/{}/revert", id(&record))).await.refused(409, "merge_not_revertible");
    app.post(&path(&first, "/identities")).json(json!({"kind": "external_id", "value": "only"})).await.created();
    revert(app, &record).await;
    assert_eq!(app.read(id(&only)).await["external_id"], "only");
    assert_eq!(app.read(id(&first)).await["external_id"], "crm-17");
}

async fn an_earlier_merge_is_taken_back_and_later_ones_stand(app: &App) {
    let person = |name: &str, city: Value, labels: Value| json!({"external_id": name, "city": city, "labels": labels});
    let first = app.person(person("a", json!(null), json!(["a"]))).await;
    let second = app.person(person("b", json!("Berlin"), json!(["shared", "b"]))).await;
    let third = app.person(person("c", json!("Cairo"), json!(["shared", "c"]))).await;
    let before = [whole(app, id(&first)).await, whole(app, id(&second)).await, whole(app, id(&third)).await];
    let earlier = merge(app, &first, &second).await;
    let later = merge(app, &first, &third).await;
    assert_eq!(app.read(id(&first)).await["city"], "Berlin");
    assert_eq!(revert(app, &earlier).await["conflicts"], json!([]));
    let now = app.read(id(&first)).await;
    assert_eq!((&now["city"], &now["labels"]), (&json!("Cairo"), &json!(["a", "c", "shared"])), "as if only the later one had been");
    assert_eq!(now["merged_from"], json!([third["id"]]));
    same(&whole(app, id(&second)).await, &before[1]);
    assert!(!app.get(&format!("/v1/merges/{}", id(&later))).await.text().contains("Berlin"), "nobody remembers the other's values");
    assert_eq!(revert(app, &later).await["conflicts"], json!([]));
    for (person, before) in [&first, &second, &third].into_iter().zip(&before) {
        same(&whole(app, id(person)).await, before);
    }
}

async fn a_chain_is_taken_back_link_by_link(app: &App) {
    let (first, second) = two_adas(app).await;
    let third = app.person(grace()).await;
    send(app, json!([{"profile_id": id(&third), "type": "page", "channel": "web", "occurred_at": at(900)}])).await;
    let before = [whole(app, id(&first)).await, whole(app, id(&second)).await, whole(app, id(&third)).await];
    let one = merge(app, &second, &first).await;
    let joined = whole(app, id(&second)).await;
    let two = merge(app, &third, &second).await;
    assert_eq!(app.get(&path(&first, "")).await.header("content-location"), Some(path(&third, "").as_str()));
    revert(app, &two).await;
    same(&whole(app, id(&second)).await, &joined);
    same(&whole(app, id(&third)).await, &before[2]);
    assert_eq!(app.get(&path(&first, "")).await.header("content-location"), Some(path(&second, "").as_str()), "the older id follows");
    assert_eq!(
        all(app, id(&second), "merges").await.iter().map(|m| m["id"].clone()).collect::<Vec<_>>(),
        [two["id"].clone(), one["id"].clone()]
    );
    revert(app, &one).await;
    for (person, before) in [&first, &second, &third].into_iter().zip(&before) {
        same(&whole(app, id(person)).await, before);
    }
}

async fn an_automatic_merge_can_be_taken_back_too(app: &App) {
    send(app, json!([{"identities": [{"kind": "anonymous_id", "value": "a1"}], "type": "page", "channel": "web", "occurred_at": at(0)}]))
        .await;
    let anonymous = app.get("/v1/profiles/lookup?kind=anonymous_id&value=a1").await.ok();
    let ada = app.person(ada()).await;
    send(app, json!([{"profile_id": id(&ada), "type": "page", "channel": "web", "occurred_at": at(10)}])).await;
    let before = whole(app, id(&anonymous)).await;
    let keys = json!([{"kind": "external_id", "value": "crm-17"}, {"kind": "anonymous_id", "value": "a1"}]);
    send(app, json!([{"identities": keys, "type": "login", "channel": "web", "occurred_at": at(20)}])).await;
    let merges = all(app, id(&ada), "merges").await;
    assert_eq!((merges.len(), &merges[0]["automatic"]), (1, &json!(true)));
    assert_eq!(merges[0]["moves"], json!({"events": 1, "sessions": 1, "segments": 0, "labels": 0, "identities": 1, "consents": 0}));
    assert_eq!(revert(app, &merges[0]).await["conflicts"], json!([]));
    same(&whole(app, id(&anonymous)).await, &before);
    let ada = whole(app, id(&ada)).await;
    assert_eq!(ada["sessions"][0]["event_count"], 2, "the login that brought them together stays");
    assert_eq!(identities(&ada["document"], "anonymous_id"), [""; 0]);
}

async fn merges_of_a_person_are_listed_newest_first(app: &App) {
    let survivor = app.person(ada()).await;
    let mut made = Vec::new();
    for n in 0..5 {
        let other = app.person(json!({"external_id": format!("o{n}")})).await;
        made.push(merge(app, &survivor, &other).await);
    }
    made.reverse();
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&path(&survivor, &format!("/merges?limit=2{cursor}"))).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    same(&json!(walked), &json!(made));
    app.get(&path(&survivor, "/merges?limit=0")).await.refused(400, "invalid_query");
    app.get(&path(&survivor, "/merges?cursor=x")).await.refused(400, "invalid_cursor");
    app.get("/v1/profiles/0192f0c1-7d7e-7aaa-8000-000000000001/merges").await.refused(404, "not_found");
    let nobody = app.person(json!({"external_id": "nobody"})).await;
    assert_eq!(all(app, id(&nobody), "merges").await, Vec::<Value>::new());
}

/// Every table, as text, in which a word stands.
pub(crate) async fn tables_with(app: &App, word: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (table, column) in [
        ("profile_documents", "document"),
        ("profiles", "search_text"),
        ("profile_identities", "value"),
        ("profile_history", "changes"),
        ("merges", "primary_before"),
        ("merges", "secondary_before"),
        ("merges", "conflicts"),
        ("merges", "secondary_rows"),
        ("events", "properties"),
        ("sessions", "properties"),
        ("merge_sessions", "properties"),
        ("consent_ledger", "source"),
        ("idempotency_answers", "body"),
    ] {
        let text = if app.engine.is_postgres() { "::text" } else { "" };
        let count = app.database().one(&format!("SELECT count(*) FROM {table} WHERE {column}{text} LIKE '%{word}%'")).await;
        if count != "0" {
            out.push(format!("{table}.{column}"));
        }
    }
    out
}

async fn erasing_one_after_a_reversal_leaves_nothing_with_the_other(app: &App) {
    let word = format!("zebra{}", uuid::Uuid::now_v7().simple());
    let first = app.person(json!({"external_id": "stays"})).await;
    let second = app
        .person(json!({"email": format!("{word}@example.com"), "company": word, "labels": [word], "attributes": {"note": word},
        "consents": [{"channel": "email", "status": "opted_in", "source": word}]}))
        .await;
    let event = |seconds: i64| json!({"profile_id": id(&second), "type": "page", "channel": "web", "occurred_at": at(seconds), "properties": {"w": word}, "session": {"properties": {"w": word}}});
    send(app, json!([event(0), {"profile_id": id(&first), "type": "page", "channel": "web", "occurred_at": at(60)}])).await;
    let third = app.person(json!({"external_id": "third", "labels": ["x"]})).await;
    let told = preview(app, &first, &second, json!({})).await;
    let record = app.post("/v1/merges").idempotency_key("k").json(agreed(&first, &second, json!({}), &told)).await.created();
    app.post(&path(&first, "/identities")).json(json!({"kind": "email", "value": "other@example.com"})).await.created();
    app.patch(&path(&first, "")).json(json!({"city": "Paris"})).await.ok();
    let later = merge(app, &first, &third).await;
    app.post(&format!("/v1/merges/{}/revert", id(&record))).idempotency_key("b").await.ok();
    assert!(!tables_with(app, &word).await.is_empty());
    // They are erased as somebody they were merged into meanwhile.
    let fourth = app.person(json!({"external_id": "fourth"})).await;
    merge(app, &fourth, &second).await;
    app.delete(&path(&fourth, "")).await.ok();
    assert_eq!(tables_with(app, &word).await, [""; 0]);
    app.get(&path(&second, "")).await.refused(410, "profile_erased");
    app.get(&format!("/v1/merges/{}", id(&record))).await.refused(410, "profile_erased");
    app.post(&format!("/v1/merges/{}/revert", id(&record))).await.refused(410, "profile_erased");
    let survivor = app.read(id(&first)).await;
    assert_eq!((&survivor["city"], &survivor["company"]), (&json!("Paris"), &json!(null)));
    assert!(app.history(id(&first)).await.iter().any(|e| e["action"] == "merged"), "that it happened is still told");
    revert(app, &later).await;
}

async fn erasing_the_survivor_takes_the_merge_along(app: &App) {
    let (first, second) = two_adas(app).await;
    let record = merge(app, &first, &second).await;
    let receipt = app.delete(&path(&second, "")).await.ok();
    assert_eq!((&receipt["counts"]["events"], &receipt["counts"]["merges"]), (&json!(5), &json!(1)), "{receipt}");
    app.get(&format!("/v1/merges/{}", id(&record))).await.refused(410, "profile_erased");
    app.post(&format!("/v1/merges/{}/revert", id(&record))).await.refused(410, "profile_erased");
    app.get(&path(&first, "/merges")).await.refused(410, "profile_erased");
    for table in ["merges", "merge_sessions", "events", "sessions", "profile_identities", "consent_ledger"] {
        let count = app.database().one(&format!("SELECT count(*) FROM {table} WHERE profile_id = {}", literal(app, id(&first)))).await;
        assert_eq!(count, "0", "{table}");
    }
}

/// Somebody of whom much or little is known, with a life in `events` (at seconds that nobody else has).
pub(crate) async fn somebody(app: &App, rng: &mut ChaCha8Rng, name: &str, moments: &mut Vec<i64>) -> Value {
    let mut body = json!({"external_id": name});
    let words = ["Ada", "Grace", "Edsger", "Barbara"];
    for key in ["name", "first_name", "last_name", "company", "job_title", "city"] {
        if rng.random_bool(0.5) {
            body[key] = json!(words.choose(rng));
        }
    }
    if rng.random_bool(0.7) {
        body["email"] = json!(format!("{name}@example.com"));
    }
    let devices: Vec<Value> =
        (0..rng.random_range(0..3)).map(|n| json!({"kind": "device", "value": format!("device {n} of {name}")})).collect();
    body["identities"] = json!(devices);
    body["attributes"] = json!({});
    for (key, values) in [
        ("plan", [json!("free"), json!("pro"), json!("team")]),
        ("seats", [json!(1), json!(2.5), json!(-3)]),
        ("tags", [json!(["a"]), json!(["a", "b"]), json!(["c"])]),
        ("active", [json!(true), json!(false), json!(true)]),
    ] {
        if rng.random_bool(0.5) {
            body["attributes"][key] = values.choose(rng).cloned().unwrap_or_default();
        }
    }
    body["labels"] = ["vip", "trial", "beta", "old"].iter().filter(|_| rng.random_bool(0.4)).copied().collect();
    let mut consents = Vec::new();
    for channel in ["email", "sms", "push"] {
        for _ in 0..rng.random_range(0..3) {
            let status = *["opted_in", "opted_out", "pending"].choose(rng).expect("one of three");
            consents.push(json!({"channel": channel, "status": status, "occurred_at": at(rng.random_range(0..4)), "source": name}));
        }
    }
    body["consents"] = json!(consents);
    let person = app.person(body).await;
    let mut events = Vec::new();
    for n in 0..rng.random_range(0..12) {
        let place = rng.random_range(0..moments.len());
        let mut event = json!({"profile_id": id(&person), "type": words.choose(rng), "occurred_at": at(moments.swap_remove(place)),
            "message_id": format!("{name}-{n}"), "properties": {"n": n}});
        if rng.random_bool(0.8) {
            event["channel"] = json!(["web", "app", "whatsapp"].choose(rng));
        }
        if rng.random_bool(0.2) {
            event["session"] = json!({"id": format!("visit {}", rng.random_range(0..2)), "properties": {"of": name, "n": n}});
        }
        events.push(event);
    }
    for part in events.chunks(3) {
        send(app, json!(part)).await;
    }
    if rng.random_bool(0.5) {
        app.put(&path(&person, "/labels/late")).await.ok();
    }
    app.read(id(&person)).await
}

/// What a merge must keep, of one person: events, sessions' events, keys, decisions, labels, each once.
fn holdings(person: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut events: Vec<Value> =
        list(&person["events"]).iter().map(|e| json!([e["id"], e["type"], e["occurred_at"], e["properties"]])).collect();
    let mut keys: Vec<Value> =
        list(&person["document"]["identities"]).iter().map(|i| json!([i["kind"], i["value"], i["raw"], i["created_at"]])).collect();
    let mut ledger = list(&person["ledger"]);
    let mut history: Vec<Value> = list(&person["history"]).iter().map(|e| json!([e["id"], e["changes"]])).collect();
    for rows in [&mut events, &mut keys, &mut ledger, &mut history] {
        rows.sort_by_key(Value::to_string);
    }
    json!({"events": events, "keys": keys, "ledger": ledger, "history": history})
}

fn both(first: &Value, second: &Value) -> Value {
    let mut out = json!({});
    for (name, rows) in first.as_object().expect("an object") {
        let mut rows: Vec<Value> = rows.as_array().into_iter().chain(second[name].as_array()).flatten().cloned().collect();
        rows.sort_by_key(Value::to_string);
        out[name] = json!(rows);
    }
    out
}

fn set(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(Value::to_string).collect()
}

/// A field of a document by the name a merge calls it; `null` when it is empty.
pub(crate) fn value(document: &Value, name: &str) -> Value {
    match name.split_once('.') {
        Some(("attributes", key)) => document["attributes"][key].clone(),
        Some(("consents", channel)) => list(document, "consents").iter().find(|c| c["channel"] == channel).cloned().unwrap_or_default(),
        _ if document[name] == json!([]) => Value::Null,
        _ => document[name].clone(),
    }
}

async fn random_pairs_lose_nothing_and_come_back_whole(app: &App) {
    for seed in 0..16_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Every other pair is busy enough for visits of one to bridge those of the other.
        let mut moments: Vec<i64> = (0..if seed % 2 == 0 { 40 } else { 26 }).map(|n| n * 1_031).collect();
        let first = somebody(app, &mut rng, &format!("a{seed}"), &mut moments).await;
        let second = somebody(app, &mut rng, &format!("b{seed}"), &mut moments).await;
        let before = [whole(app, id(&first)).await, whole(app, id(&second)).await];
        let mut keep = json!({});
        let both_have = |key: &str| [&first, &second].iter().all(|person| !person["attributes"][key].is_null());
        for field in ["company", "name", "city", "external_id", "attributes.plan", "attributes.seats"] {
            if field.strip_prefix("attributes.").is_some_and(|key| !both_have(key)) {
                continue;
            }
            if rng.random_bool(0.4) {
                keep[field] = json!(["primary", "secondary"].choose(&mut rng));
            }
        }
        let told = preview(app, &first, &second, keep.clone()).await;
        let record = app.post("/v1/merges").json(agreed(&first, &second, keep, &told)).await.created();
        same(&record["fields"], &told["fields"]);
        same(&record["moves"], &told["moves"]);
        let joined = whole(app, id(&first)).await;
        same(&holdings(&joined), &both(&holdings(&before[0]), &holdings(&before[1])));
        for sets in ["labels", "channels"] {
            let united: BTreeSet<String> = set(&before[0]["document"][sets]).union(&set(&before[1]["document"][sets])).cloned().collect();
            assert_eq!(set(&joined["document"][sets]), united, "seed {seed}: {sets}");
        }
        let counted: i64 = joined["sessions"].as_array().into_iter().flatten().filter_map(|s| s["event_count"].as_i64()).sum();
        let events = joined["events"].as_array().map_or(0, Vec::len);
        assert_eq!(usize::try_from(counted), Ok(events), "seed {seed}: every event in one session");
        for told in list(&told, "fields") {
            let name = told["field"].as_str().expect("a name");
            assert_eq!(&value(&joined["document"], name), &told["result"], "seed {seed}: {name} as previewed");
        }
        let back = revert(app, &record).await;
        assert_eq!(back["conflicts"], json!([]), "seed {seed}");
        same(&whole(app, id(&first)).await, &before[0]);
        same(&whole(app, id(&second)).await, &before[1]);
    }
}

/// What does not depend on the order in which the same people were merged.
async fn lasting(app: &App, external_id: &str) -> Value {
    let person = app.get(&format!("/v1/profiles/lookup?external_id={external_id}")).await.ok();
    let whole = whole(app, id(&person)).await;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut keys: Vec<Value> = list(&whole["document"]["identities"]).iter().map(|i| json!([i["kind"], i["value"], i["raw"]])).collect();
    let mut events: Vec<Value> =
        list(&whole["events"]).iter().map(|e| json!([e["message_id"], e["type"], e["occurred_at"], e["properties"]])).collect();
    let mut sessions: Vec<Value> = list(&whole["sessions"])
        .iter()
        .map(|s| json!([s["channel"], s["sender_id"], s["started_at"], s["ended_at"], s["event_count"]]))
        .collect();
    let mut ledger: Vec<Value> =
        list(&whole["ledger"]).iter().map(|e| json!([e["channel"], e["status"], e["occurred_at"], e["source"]])).collect();
    for rows in [&mut keys, &mut events, &mut sessions, &mut ledger] {
        rows.sort_by_key(Value::to_string);
    }
    let document = &whole["document"];
    json!({"keys": keys, "events": events, "sessions": sessions, "ledger": ledger, "labels": document["labels"], "consents": document["consents"],
        "channels": document["channels"], "last_seen_at": document["last_seen_at"], "external_id": document["external_id"]})
}

/// A rule's label comes with the merged and is taken off the survivor in the same transaction.
async fn a_label_the_survivor_may_not_keep_leaves_no_trace(app: &App) {
    let french = json!({"label": "french", "filter": {"field": "country", "op": "eq", "value": "FR"}, "on_exit": "remove"});
    let rule = app.post("/v1/label-rules").json(french).await.created();
    eventually("the rule is live", async || {
        (app.get(&format!("/v1/label-rules/{}", id(&rule))).await.ok()["status"] == "live").then_some(())
    })
    .await;
    let carried = async |person: &Value| app.get(&path(person, "/labels")).await.ok()["data"].clone();
    let carry_it = async || app.get("/v1/labels/french").await.ok()["member_count"].clone();
    let briton = app.person(json!({"external_id": "a", "country": "GB"})).await;
    let french = app.person(json!({"external_id": "b", "country": "FR"})).await;
    let before = carried(&french).await;
    assert_eq!((&before[0]["name"], &before[0]["rule_id"], carry_it().await), (&json!("french"), &rule["id"], json!(1)));
    let merged = merge(app, &briton, &french).await;
    assert_eq!(app.read(id(&briton)).await["labels"], json!([]));
    assert_eq!((carried(&briton).await, carry_it().await), (json!([]), json!(0)));
    revert(app, &merged).await;
    assert_eq!((carried(&briton).await, carried(&french).await, carry_it().await), (json!([]), before, json!(1)));
}

async fn any_order_of_merges_keeps_the_same(app: &App) {
    for seed in 0..3_u64 {
        let mut ends = Vec::new();
        // (primary, secondary), in three orders that end with `a`.
        for order in [[("a", "b"), ("a", "c"), ("a", "d")], [("b", "c"), ("b", "d"), ("a", "b")], [("d", "c"), ("a", "d"), ("a", "b")]] {
            let desk = app.neighbour();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut moments: Vec<i64> = (0..80).map(|n| n * 457).collect();
            let mut people = Vec::new();
            for name in ["a", "b", "c", "d"] {
                people.push(somebody(&desk, &mut rng, name, &mut moments).await);
            }
            let of = |name: &str| people.iter().find(|p| p["external_id"] == name).expect("one of the four");
            for (primary, secondary) in order {
                merge(&desk, of(primary), of(secondary)).await;
            }
            let person = desk.read(id(of("a"))).await;
            let first = people.iter().map(|p| p["created_at"].as_str().expect("a time")).min();
            assert_eq!(person["created_at"].as_str(), first, "the oldest of all");
            assert_eq!(list(&person, "merged_from").len(), 3);
            ends.push(lasting(&desk, "a").await);
        }
        same(&ends[1], &ends[0]);
        same(&ends[2], &ends[0]);
    }
}

async fn crossed_merges_end_in_one_person(app: &App) {
    for round in 0..12 {
        let mut people = Vec::new();
        for n in 0..3 {
            let person = app.person(json!({"external_id": format!("r{round}p{n}"), "labels": [format!("l{n}")]})).await;
            send(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(n * 600)}])).await;
            people.push(app.read(id(&person)).await);
        }
        let [a, b, c] = [&people[0], &people[1], &people[2]];
        let wanted = if round % 2 == 0 { vec![(a, b), (b, a), (a, b), (b, a)] } else { vec![(b, a), (c, b), (a, c), (b, a)] };
        let mut bodies = Vec::new();
        for (primary, secondary) in &wanted {
            bodies.push(agreed(primary, secondary, json!({}), &preview(app, primary, secondary, json!({})).await));
        }
        let answers = join_all(bodies.into_iter().map(|body| app.post("/v1/merges").json(body).into_future())).await;
        let done = answers.iter().filter(|a| a.status == 201).count();
        assert!(done >= 1, "round {round}: somebody is first");
        for answer in answers.iter().filter(|a| a.status != 201) {
            assert!(matches!(answer.status, 409 | 422), "round {round}: {answer}");
        }
        if round % 2 == 0 {
            assert_eq!(done, 1, "round {round}: opposite merges do not both happen");
        }
        // Whoever is one with whom: every id answers, every key leads there, every event is in one place.
        let mut survivors = BTreeSet::new();
        let mut events = 0;
        for person in &people {
            let now = app.read(id(person)).await;
            let by_key = app.get(&format!("/v1/profiles/lookup?external_id={}", person["external_id"].as_str().expect("an id"))).await.ok();
            same(&by_key, &now);
            if survivors.insert(id(&now).to_owned()) {
                let person = whole(app, id(&now)).await;
                events += person["events"].as_array().map_or(0, Vec::len);
            }
        }
        assert_eq!((survivors.len(), events), (3 - done, 3), "round {round}");
    }
}

async fn merges_among_writers_lose_nothing(app: &App) {
    for round in 0..4 {
        let name = |n: usize| format!("r{round}p{n}");
        let mut people = Vec::new();
        for n in 0..4 {
            people.push(app.person(json!({"external_id": name(n)})).await);
        }
        let writers = join_all((0..12_usize).map(async |writer| {
            let mut answers = Vec::new();
            for step in 0..6_usize {
                let person = &people[(writer + step) % 4];
                let message = format!("r{round}w{writer}s{step}");
                let event = json!({"identities": [{"kind": "external_id", "value": person["external_id"]}], "type": "page", "channel": "web",
                    "occurred_at": at(i64::try_from(writer * 100 + step).unwrap_or(0)), "message_id": message});
                answers.push(app.post("/v1/events").json(json!({"events": [event]})).await);
                if writer % 3 == 0 {
                    answers.push(app.patch(&path(person, "")).json(json!({"attributes": {message.clone(): step}})).await);
                }
                if writer % 3 == 1 {
                    answers.push(app.put(&path(person, &format!("/labels/{message}"))).await);
                }
            }
            answers
        }));
        let merger = async {
            let mut made = 0;
            let mut answers = Vec::new();
            for (primary, secondary) in [(0, 1), (2, 3), (0, 2)] {
                for attempt in 0.. {
                    assert!(attempt < 500, "a merge never gets its turn");
                    let told = app.post("/v1/merges/preview").json(pair(&people[primary], &people[secondary], json!({}))).await.ok();
                    let body = agreed(&people[primary], &people[secondary], json!({}), &told);
                    let answer = app.post("/v1/merges").json(body).await;
                    let status = answer.status;
                    answers.push(answer);
                    if status == 201 {
                        made += 1;
                        break;
                    }
                    assert_eq!(status, 409, "only a stale preview is in the way");
                }
            }
            (made, answers)
        };
        let (written, (made, _)) = tokio::join!(writers, merger);
        assert_eq!(made, 3);
        for answer in written.iter().flatten() {
            assert!(matches!(answer.status, 200 | 201), "{answer}");
            if let Some(results) = answer.json()["results"].as_array() {
                assert_eq!(results[0]["status"], 201, "{answer}");
            }
        }
        let person = whole(app, id(&people[0])).await;
        assert_eq!(person["events"].as_array().map(Vec::len), Some(72), "every event, once");
        assert_eq!(
            person["document"]["attributes"].as_object().map(|a| a.keys().filter(|k| k.starts_with(&format!("r{round}w"))).count()),
            Some(24)
        );
        assert_eq!(list(&person["document"], "labels").len(), 24);
        assert_eq!(list(&person["document"], "identities").len(), 4);
        for other in &people[1..] {
            assert_eq!(app.read(id(other)).await["id"], people[0]["id"]);
        }
    }
}

async fn reversals_among_writers_lose_nothing(app: &App) {
    for round in 0..4 {
        let first = app.person(json!({"external_id": format!("r{round}a")})).await;
        let second = app.person(json!({"external_id": format!("r{round}b")})).await;
        let writers = join_all((0..8_usize).map(async |writer| {
            let mut sent = 0;
            for step in 0..10_usize {
                let person = if (writer + step) % 2 == 0 { &first } else { &second };
                let message = format!("r{round}w{writer}s{step}");
                let event = json!({"identities": [{"kind": "external_id", "value": person["external_id"]}], "type": "page", "channel": "web",
                    "occurred_at": at(i64::try_from(writer * 700 + step * 11).unwrap_or(0)), "message_id": message});
                send(app, json!([event])).await;
                sent += 1;
                if writer % 4 == 1 {
                    app.patch(&path(person, "")).json(json!({"city": message})).await.ok();
                }
            }
            sent
        }));
        let coupler = async {
            let mut made = 0;
            for _ in 0..6 {
                let told = preview(app, &first, &second, json!({})).await;
                let answer = app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told)).await;
                if answer.status != 201 {
                    answer.refused(409, "preview_stale");
                    continue;
                }
                made += 1;
                let record = answer.json();
                let call = || app.post(&format!("/v1/merges/{}/revert", id(&record))).into_future();
                let answers = join_all((0..3).map(|_| call())).await;
                assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1, "one of them takes it back");
                for answer in answers.iter().filter(|a| a.status != 200) {
                    answer.refused(409, "merge_reverted");
                }
            }
            made
        };
        let (sent, _) = tokio::join!(writers, coupler);
        // However often that came off among the writers, it comes off now.
        let record = merge(app, &first, &second).await;
        revert(app, &record).await;
        let people = [whole(app, id(&first)).await, whole(app, id(&second)).await];
        let events: Vec<&Value> = people.iter().flat_map(|p| p["events"].as_array().into_iter().flatten()).collect();
        let messages: BTreeSet<&str> = events.iter().filter_map(|e| e["message_id"].as_str()).collect();
        assert_eq!((events.len(), messages.len()), (sent.iter().sum::<usize>(), sent.iter().sum::<usize>()), "every event, once");
        for (person, key) in people.iter().zip(["a", "b"]) {
            assert_eq!(identities(&person["document"], "external_id"), [format!("r{round}{key}")]);
        }
    }
}

/// Everybody of the directory, each once, by the ids and keys they are known by.
pub(crate) async fn everybody(app: &App, people: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for person in people {
        let now = app.read(id(person)).await;
        if out.iter().all(|known| known["document"]["id"] != now["id"]) {
            out.push(whole(app, id(&now)).await);
        }
    }
    out
}

async fn a_life_of_merges_and_reversals_keeps_everything(app: &App) {
    for seed in 0..8_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000 + seed);
        let mut moments: Vec<i64> = (0..300).map(|n| n * 457).collect();
        let mut people = Vec::new();
        for n in 0..5 {
            people.push(somebody(app, &mut rng, &format!("s{seed}p{n}"), &mut moments).await);
        }
        let before = everybody(app, &people).await;
        assert_eq!(before.len(), 5);
        let total = |of: &str, people: &[Value]| -> usize { people.iter().map(|p| p[of].as_array().map_or(0, Vec::len)).sum() };
        let (mut events, ledger) = (total("events", &before), total("ledger", &before));
        let keys = |people: &[Value]| -> usize { people.iter().map(|p| list(&p["document"], "identities").len()).sum() };
        let mut standing: Vec<Value> = Vec::new();
        for step in 0..14 {
            let (one, other) = (rng.random_range(0..5), rng.random_range(0..5));
            match rng.random_range(0..4) {
                0 => {
                    let key = json!([{"kind": "external_id", "value": people[one]["external_id"]}]);
                    let event = json!({"identities": key, "type": "more", "channel": "web", "occurred_at": at(moments.remove(0)), "message_id": format!("s{seed}m{step}")});
                    send(app, json!([event])).await;
                    events += 1;
                }
                1 if !standing.is_empty() => {
                    let place = rng.random_range(0..standing.len());
                    let answer = app.post(&format!("/v1/merges/{}/revert", id(&standing[place]))).await;
                    if answer.status == 200 {
                        standing.remove(place);
                    } else {
                        answer.refused(409, "merged_further");
                    }
                }
                _ => {
                    // By the ids they answer with today.
                    let (one, other) = (app.read(id(&people[one])).await, app.read(id(&people[other])).await);
                    let answer = app.post("/v1/merges/preview").json(pair(&one, &other, json!({}))).await;
                    if answer.status == 200 {
                        let body = agreed(&one, &other, json!({}), &answer.json());
                        standing.push(app.post("/v1/merges").json(body).await.created());
                    } else {
                        answer.refused_at("/secondary_id", "self_merge");
                    }
                }
            }
            let now = everybody(app, &people).await;
            assert_eq!(now.len(), 5 - standing.len(), "seed {seed}, step {step}");
            assert_eq!(
                (total("events", &now), total("ledger", &now), keys(&now)),
                (events, ledger, keys(&before)),
                "seed {seed}, step {step}"
            );
            let ids: BTreeSet<String> =
                now.iter().flat_map(|p| p["events"].as_array().into_iter().flatten()).map(|e| id(e).to_owned()).collect();
            assert_eq!(ids.len(), events, "seed {seed}, step {step}: no event twice");
        }
        // And everything is taken back, the last first.
        standing.sort_by_key(|merge| std::cmp::Reverse(id(merge).to_owned()));
        for merge in &standing {
            revert(app, merge).await;
        }
        for (person, before) in people.iter().zip(&before) {
            let now = whole(app, id(person)).await;
            let own = |person: &Value| -> Vec<Value> {
                person["events"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|e| e["type"] != "more")
                    .cloned()
                    .map(|mut event| {
                        // Which session an event is in may have changed with those that came since.
                        event.as_object_mut().map(|e| e.shift_remove("session_id"));
                        event
                    })
                    .collect()
            };
            same(&json!(own(&now)), &json!(own(before)));
            for member in ["identities", "labels", "consents", "company", "name", "attributes", "created_at", "merged_from"] {
                assert_eq!(now["document"][member], before["document"][member], "seed {seed}: {member}");
            }
            same(&now["labels"], &before["labels"]);
            same(&now["ledger"], &before["ledger"]);
            same(&now["history"], &before["history"]);
        }
    }
}

async fn kill_nine_leaves_one_or_two_never_a_half(engine: Engine) {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut server = Server::new(engine).await;
    let (mut merged, mut apart) = (0, 0);
    for round in 0..20 {
        let mut app = App::default_of(&server);
        let mut moments: Vec<i64> = (0..40).map(|n| n * 457).collect();
        let first = somebody(&app, &mut rng, &format!("a{round}"), &mut moments).await;
        let second = somebody(&app, &mut rng, &format!("b{round}"), &mut moments).await;
        let many: Vec<Value> = (0..2_000)
            .map(|n| json!({"profile_id": id(&second), "type": "page", "channel": "bulk", "occurred_at": at(100_000 + n * 2_000), "message_id": format!("{round}-{n}")}))
            .collect();
        send(&app, json!(many)).await;
        let counted = async |app: &App, person: &Value| {
            let profile = whole_but_long(app, person).await;
            (profile["events"].as_u64().unwrap_or(0), profile["keys"].as_u64().unwrap_or(0), profile["sessions"].as_u64().unwrap_or(0))
        };
        let (of_first, of_second) = (counted(&app, &first).await, counted(&app, &second).await);
        let told = preview(&app, &first, &second, json!({})).await;
        let call = app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told));
        let delay = std::time::Duration::from_micros(rng.random_range(0..400_000));
        let (answer, database) = tokio::join!(call.attempt(), async {
            tokio::time::sleep(delay).await;
            server.kill()
        });
        server = Server::on(database, &[]);
        app = App::default_of(&server);
        let now = app.read(id(&second)).await;
        let is_one = now["id"] == first["id"];
        if answer.is_ok_and(|answer| answer.status == 201) {
            assert!(is_one, "round {round}: an acknowledged merge is there");
        }
        let found = counted(&app, &first).await;
        if is_one {
            merged += 1;
            assert_eq!((found.0, found.1), (of_first.0 + of_second.0, of_first.1 + of_second.1), "round {round}");
            let records = all(&app, id(&first), "merges").await;
            assert_eq!(records.len(), 1);
            assert_eq!(records[0]["moves"]["events"], of_second.0);
            // And the way back is whole too, or not begun.
            let call = app.post(&format!("/v1/merges/{}/revert", id(&records[0])));
            let delay = std::time::Duration::from_micros(rng.random_range(0..200_000));
            let (answer, database) = tokio::join!(call.attempt(), async {
                tokio::time::sleep(delay).await;
                server.kill()
            });
            server = Server::on(database, &[]);
            app = App::default_of(&server);
            let back = app.read(id(&second)).await["id"] == second["id"];
            assert!(back || !answer.is_ok_and(|answer| answer.status == 200), "round {round}: an acknowledged reversal is there");
            if !back {
                assert_eq!(counted(&app, &first).await, found, "round {round}");
                revert(&app, &records[0]).await;
            }
        } else {
            apart += 1;
            assert_eq!(all(&app, id(&first), "merges").await, Vec::<Value>::new());
        }
        assert_eq!(counted(&app, &first).await, of_first, "round {round}");
        assert_eq!(counted(&app, &second).await, of_second, "round {round}");
        if engine == Engine::Sqlite {
            assert_eq!(server.database.rows("PRAGMA foreign_key_check").await, [[""; 0]; 0]);
        }
    }
    assert!(merged > 0 && apart > 0, "{merged} rounds ended merged and {apart} apart: this shows nothing of the middle");
}

/// Numbers of a person with very many events.
async fn whole_but_long(app: &App, person: &Value) -> Value {
    let document = app.read(id(person)).await;
    let events = all(app, id(person), "timeline").await.iter().filter(|e| !is_system(e)).count();
    let sessions: i64 = all(app, id(person), "sessions").await.iter().filter_map(|s| s["event_count"].as_i64()).sum();
    json!({"events": events, "keys": list(&document, "identities").len(), "sessions": sessions})
}
