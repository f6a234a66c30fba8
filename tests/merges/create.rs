//! Merges carried out: whom they are of, how often they happen, and who answers for whom from then on.

use futures_util::future::join_all;
use people_tests::{App, project, same, stories};
use serde_json::{Value, json};

use super::{agreed, all, merge, pair, preview, revert, send, two_adas};
use crate::cast::{ada, grace, id, list, path, version};

stories![
    nobody_is_merged_with_themselves_nor_with_a_stranger,
    a_merge_sent_twice_happens_once,
    two_who_exceed_a_limit_together_stay_two,
    a_version_is_new_under_both_ids,
    the_old_id_answers_on_every_route_through_chains,
    merges_of_a_person_are_listed_newest_first,
];

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
