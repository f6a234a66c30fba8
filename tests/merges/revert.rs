//! Merges taken back: two people as they were, with what came since where it belongs.

use std::collections::BTreeSet;

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use super::{agreed, all, at, literal, merge, merge_with, preview, revert, send, tables_with, two_adas, whole};
use crate::cast::{ada, grace, id, identities, list, path};

stories![
    a_merge_taken_back_leaves_two_as_they_were,
    visits_that_a_merge_bridged_come_apart_again,
    a_session_that_went_on_with_both_is_each_ones_own_again,
    a_pause_that_the_other_filled_is_a_pause_again,
    nothing_that_another_told_is_remembered_by_other_merges,
    what_was_edited_since_stays_and_is_told,
    an_opt_out_after_the_merge_holds_for_both,
    what_was_done_before_a_later_merge_is_told_and_an_opt_out_holds_for_both,
    events_after_the_merge_stay_with_the_survivor,
    a_reversal_that_cannot_be_says_what_to_do,
    an_earlier_merge_is_taken_back_and_later_ones_stand,
    a_chain_is_taken_back_link_by_link,
    an_automatic_merge_can_be_taken_back_too,
    erasing_one_after_a_reversal_leaves_nothing_with_the_other,
    erasing_the_survivor_takes_the_merge_along,
];

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

async fn a_session_that_went_on_with_both_is_each_ones_own_again(app: &App) {
    let event = |person: &Value, seconds: i64, channel: &str, session: Value| json!({"profile_id": person["id"], "type": "page", "channel": channel, "occurred_at": at(seconds), "session": session});
    for (round, named) in [false, true].into_iter().enumerate() {
        let (first, second) =
            (app.person(json!({"external_id": format!("a{round}")})).await, app.person(json!({"external_id": format!("b{round}")})).await);
        let told = |key: &str| {
            let mut session = json!({"properties": {key: format!("secret of {key}{round}")}});
            if named {
                session["id"] = json!("S");
            }
            session
        };
        // Nothing of the two touches, when they are merged.
        let apart = if named { "email" } else { "web" };
        send(app, json!([event(&first, 0, "web", told("own")), event(&second, 3_000, apart, told("theirs"))])).await;
        let before = whole(app, id(&second)).await;
        let record = merge(app, &first, &second).await;
        // What comes now bridges them; and it begins before the other's.
        send(app, json!([event(&first, 1_500, "web", told("since")), event(&first, 4_500, "web", told("late"))])).await;
        assert_eq!(all(app, id(&first), "sessions").await.len(), 1);
        assert_eq!(list(&revert(app, &record).await, "conflicts").len(), 0);
        same(&whole(app, id(&second)).await, &before);
        let sessions = whole(app, id(&first)).await["sessions"].clone();
        let told: Vec<String> = sessions.as_array().expect("a list").iter().map(|s| s["properties"].to_string()).collect();
        for key in ["own", "since", "late"] {
            assert!(told.iter().any(|told| told.contains(&format!("secret of {key}{round}"))), "{key}: {sessions}");
        }
        let found = app.get(&path(&second, &format!("/sessions?channel={apart}"))).await.ok();
        assert_eq!(list(&found, "data").len(), 1, "found by the channel of its first event");
        // And nothing of one who is erased stays with the other.
        app.delete(&format!("/v1/profiles/{}", id(&second))).await.ok();
        assert_eq!(tables_with(app, &format!("secret of theirs{round}")).await, [""; 0]);
    }
}

async fn a_pause_that_the_other_filled_is_a_pause_again(app: &App) {
    let event =
        |person: &Value, seconds: i64| json!({"profile_id": person["id"], "type": "page", "channel": "web", "occurred_at": at(seconds)});
    // Of whom the events are, which ones come after the merge, and the sessions each has once it is taken back.
    for (round, (of_first, of_second, since, firsts, seconds)) in [
        (vec![], vec![0, 3_000], vec![1_500], vec![1], vec![1, 1]),
        (vec![0], vec![1_500], vec![3_000], vec![1, 1], vec![1]),
        (vec![0, 3_600], vec![1_800], vec![900, 5_400, 7_200], vec![2, 3], vec![1]),
        (vec![0], vec![1_800, 5_400], vec![3_600, 9_000], vec![1, 1, 1], vec![1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let (first, second) =
            (app.person(json!({"external_id": format!("a{round}")})).await, app.person(json!({"external_id": format!("b{round}")})).await);
        let one_by_one = async |person: &Value, times: &[i64]| {
            for seconds in times {
                send(app, json!([event(person, *seconds)])).await;
            }
        };
        one_by_one(&first, &of_first).await;
        one_by_one(&second, &of_second).await;
        let before = whole(app, id(&second)).await;
        let record = merge(app, &first, &second).await;
        one_by_one(&first, &since).await;
        revert(app, &record).await;
        same(&whole(app, id(&second)).await, &before);
        for (person, wanted) in [(&first, &firsts), (&second, &seconds)] {
            let now = whole(app, id(person)).await["sessions"].clone();
            let mut counts: Vec<(String, i64)> = now
                .as_array()
                .expect("a list")
                .iter()
                .map(|s| (s["started_at"].to_string(), s["event_count"].as_i64().unwrap_or(0)))
                .collect();
            counts.sort();
            assert_eq!(counts.into_iter().map(|(_, count)| count).collect::<Vec<_>>(), *wanted, "round {round}: {now}");
        }
    }
}

async fn nothing_that_another_told_is_remembered_by_other_merges(app: &App) {
    let word = format!("zebra{}", uuid::Uuid::now_v7().simple());
    let [first, second, third] = ["p", "x", "y"].map(|name| json!({"external_id": name}));
    let (first, second, third) = (app.person(first).await, app.person(second).await, app.person(third).await);
    let event = |person: &Value, minutes: i64, told: Value| json!([{"profile_id": person["id"], "type": "page", "channel": "web", "occurred_at": at(minutes * 60), "session": {"properties": told}}]);
    send(app, event(&first, 150, json!({}))).await;
    send(app, event(&first, 100, json!({}))).await;
    send(app, event(&second, 90, json!({"secret": word}))).await;
    let one = merge(app, &first, &second).await;
    // One that nothing of the other came into before is joined by the survivor's own; and then a third person comes into it.
    send(app, event(&first, 130, json!({}))).await;
    send(app, event(&third, 170, json!({}))).await;
    merge(app, &app.read(id(&first)).await, &third).await;
    revert(app, &one).await;
    assert_eq!(whole(app, id(&second)).await["sessions"][0]["properties"], json!({"secret": word}));
    assert!(all(app, id(&first), "sessions").await.iter().all(|session| session["properties"] == json!({})));
    app.delete(&path(&second, "")).await.ok();
    assert_eq!(tables_with(app, &word).await, [""; 0]);
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

/// What was done between two merges is in the later one's memory of the survivor, as if it had always been theirs.
async fn what_was_done_before_a_later_merge_is_told_and_an_opt_out_holds_for_both(app: &App) {
    let consent = |n: i64| json!([{"channel": "sms", "status": "opted_in", "occurred_at": at(n)}]);
    let first = app.person(json!({"external_id": "p", "consents": consent(1)})).await;
    let second = app.person(json!({"external_id": "s", "company": "Acme", "city": "Lyon", "labels": ["l1"], "consents": consent(2)})).await;
    let third =
        app.person(json!({"external_id": "t", "consents": [{"channel": "push", "status": "opted_out", "occurred_at": at(3)}]})).await;
    let record = merge(app, &first, &second).await;
    app.patch(&path(&first, "")).json(json!({"company": "Beta", "city": "Paris"})).await.ok();
    app.delete(&path(&first, "/labels/l1")).await.ok();
    app.put(&path(&first, "/consents/sms")).json(json!({"status": "opted_out", "occurred_at": at(50), "source": "footer"})).await.ok();
    // A visitor who turns out to be them is merged by itself.
    send(app, json!([{"identities": [{"kind": "anonymous_id", "value": "d1"}], "type": "page"}])).await;
    send(app, json!([{"identities": [{"kind": "anonymous_id", "value": "d1"}, {"kind": "external_id", "value": "p"}], "type": "page"}]))
        .await;
    // Edited once more, one as it was before the first merge.
    app.patch(&path(&first, "")).json(json!({"company": "Gamma", "city": null})).await.ok();
    merge(app, &first, &third).await;
    let back = revert(app, &record).await;
    let told: Vec<Value> = list(&back, "conflicts").iter().map(|c| json!([c["field"], c["reason"]])).collect();
    same(&json!(told), &json!([["company", "edited_since"], ["labels", "edited_since"], ["consents.sms", "opted_out_since"]]));
    let company = &back["conflicts"][0];
    assert_eq!((&company["merged"], &company["current"], &company["before"]), (&json!("Acme"), &json!("Gamma"), &Value::Null), "{back}");
    for person in [&first, &second] {
        let now = app.read(id(person)).await;
        let sms = list(&now, "consents").iter().find(|c| c["channel"] == "sms").expect("a consent");
        assert_eq!((&sms["status"], &sms["source"]), (&json!("opted_out"), &json!("footer")), "{now}");
        let ledger = all(app, id(person), "consents/sms/history").await;
        assert_eq!(ledger.iter().filter(|entry| entry["status"] == "opted_out").count(), 1, "{ledger:?}");
    }
    assert_eq!(app.filtered(json!({"field": "consents.sms", "op": "eq", "value": "opted_in"})).await, [""; 0]);
    // What somebody had decided before they joined the survivor was theirs alone.
    assert_eq!(app.filtered(json!({"field": "consents.push", "op": "exists"})).await, ["p"]);
    assert_eq!(app.read(id(&second)).await["company"], "Acme");
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
