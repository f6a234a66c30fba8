//! Merges and their reversals where more than the two take part: rules and segments, decisions about duplicates, further
//! merges in between, erasure, and access exports.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use people_tests::{App, Engine, Server, engine_stories, eventually, same, stories};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{agreed, all, at, everybody, field, merge, merge_with, preview, revert, send, somebody, value, whole};
use crate::{
    cast::{id, list, path},
    erasures::mentions,
};

stories![
    no_rule_takes_off_what_either_of_two_carries_by_hand,
    a_preview_says_what_rules_and_segments_leave,
    pairs_under_rules_and_segments_come_back_as_they_were,
    people_parted_are_judged_by_their_own_events_at_once,
    a_decision_about_duplicates_goes_over_and_comes_back,
    an_earlier_merge_taken_back_takes_its_sessions_along,
    who_was_seen_as_they_were_merged_comes_back_as_seen_then,
    who_came_back_is_erased_from_every_merge_meanwhile,
    what_others_named_is_erased_under_every_id_and_former_key,
    each_of_two_parted_has_their_own_in_the_export,
];

engine_stories![merges_and_erasures_that_cross_lose_nothing];

fn country(code: &str) -> Value {
    json!({"field": "country", "op": "eq", "value": code})
}

async fn live(app: &App, route: &str, body: Value) -> Value {
    let made = app.post(route).json(body).await.created();
    eventually("the definition is live", async || {
        let now = app.get(&format!("{route}/{}", id(&made))).await.ok();
        (now["status"] == "live").then_some(now)
    })
    .await
}

async fn rule(app: &App, label: &str, filter: Value) -> Value {
    live(app, "/v1/label-rules", json!({"label": label, "filter": filter, "on_exit": "remove"})).await
}

async fn segment(app: &App, name: &str, filter: Value) -> Value {
    live(app, "/v1/segments", json!({"name": name, "filter": filter})).await
}

/// Labels and segments with who put them on and when.
async fn badges(app: &App, person: &Value) -> Value {
    json!([app.get(&path(person, "/labels")).await.ok()["data"], app.get(&path(person, "/segments")).await.ok()["data"]])
}

fn segments(person: &Value) -> Vec<&str> {
    list(person, "segments").iter().filter_map(|s| s["name"].as_str()).collect()
}

async fn no_rule_takes_off_what_either_of_two_carries_by_hand(app: &App) {
    let french = rule(app, "french", country("FR")).await;
    let person =
        async |name: &str, code: &str, labels: Value| app.person(json!({"external_id": name, "country": code, "labels": labels})).await;
    let source = async |who: &Value| {
        let labels = app.get(&path(who, "/labels")).await.ok();
        json!([labels["data"][0]["name"], labels["data"][0]["source"], list(&labels, "data").len()])
    };
    // The survivor's by hand, the other's by the rule; and the other way round.
    let (first, second) = (person("a", "GB", json!(["french"])).await, person("b", "FR", json!([])).await);
    let (third, fourth) = (person("c", "FR", json!([])).await, person("d", "GB", json!(["french"])).await);
    assert_eq!(source(&second).await, json!(["french", "rule", 1]));
    let before = [badges(app, &first).await, badges(app, &second).await, badges(app, &third).await, badges(app, &fourth).await];
    let one = merge(app, &first, &second).await;
    let two = merge_with(app, &third, &fourth, json!({"country": "secondary"})).await;
    for survivor in [&first, &third] {
        assert_eq!(source(survivor).await, json!(["french", "manual", 1]));
        assert_eq!(app.read(id(survivor)).await["labels"], json!(["french"]));
    }
    for merge in [&one, &two] {
        assert_eq!(revert(app, merge).await["conflicts"], json!([]));
    }
    for (who, before) in [&first, &second, &third, &fourth].into_iter().zip(&before) {
        same(&badges(app, who).await, before);
    }
    // The rule's own is the rule's again.
    app.patch(&path(&third, "")).json(json!({"country": "US"})).await.ok();
    assert_eq!(app.read(id(&third)).await["labels"], json!([]));
    // A merge nobody asked for is no different.
    let visit = |keys: Value| json!([{"identities": keys, "type": "page", "occurred_at": at(0)}]);
    let device = json!({"kind": "anonymous_id", "value": "v1"});
    send(app, visit(json!([device]))).await;
    let visitor = app.get("/v1/profiles/lookup?kind=anonymous_id&value=v1").await.ok();
    app.patch(&path(&visitor, "")).json(json!({"country": "FR"})).await.ok();
    assert_eq!(source(&visitor).await, json!(["french", "rule", 1]));
    send(app, visit(json!([device, {"kind": "external_id", "value": "a"}]))).await;
    assert_eq!(app.read(id(&visitor)).await["id"], first["id"]);
    assert_eq!(source(&first).await, json!(["french", "manual", 1]));
    assert_eq!(app.get(&format!("/v1/label-rules/{}", id(&french))).await.ok()["status"], "live");
}

async fn a_preview_says_what_rules_and_segments_leave(app: &App) {
    rule(app, "french", country("FR")).await;
    rule(app, "busy", json!({"event": "order", "count": {"gte": 2}})).await;
    segment(app, "Abroad", json!({"not": country("GB")})).await;
    segment(app, "Twice", json!({"event": "order", "count": {"eq": 2}})).await;
    segment(app, "Once", json!({"event": "order", "count": {"eq": 1}, "within": "P90D"})).await;
    let first = app.person(json!({"external_id": "a", "country": "GB"})).await;
    let second = app.person(json!({"external_id": "b", "country": "FR", "labels": ["vip"]})).await;
    for person in [&first, &second] {
        send(app, json!([{"profile_id": id(person), "type": "order"}])).await;
    }
    let (first, second) = (app.read(id(&first)).await, app.read(id(&second)).await);
    assert_eq!((segments(&first), segments(&second)), (vec!["Once"], vec!["Abroad", "Once"]));
    let before = [badges(app, &first).await, badges(app, &second).await];
    for (keep, labels, names) in [
        (json!({}), json!(["busy", "vip"]), vec!["Twice"]),
        (json!({"country": "secondary"}), json!(["busy", "french", "vip"]), vec!["Abroad", "Twice"]),
    ] {
        let told = preview(app, &first, &second, keep.clone()).await;
        assert_eq!(field(&told, "labels")["result"], labels);
        let shown: Vec<&str> = list(field(&told, "segments"), "result").iter().filter_map(|s| s["name"].as_str()).collect();
        assert_eq!(shown, names);
        let (one, other) = (app.read(id(&first)).await, app.read(id(&second)).await);
        let record = app.post("/v1/merges").json(agreed(&one, &other, keep, &told)).await.created();
        same(&record["fields"], &told["fields"]);
        let survivor = app.read(id(&first)).await;
        for told in list(&told, "fields") {
            let name = told["field"].as_str().expect("a name");
            assert_eq!(value(&survivor, name), told["result"], "{name}");
        }
        assert_eq!(revert(app, &record).await["conflicts"], json!([]));
        same(&json!([badges(app, &first).await, badges(app, &second).await]), &json!(before));
        // The two have new versions now.
        assert_eq!(segments(&app.read(id(&first)).await), ["Once"]);
    }
}

async fn pairs_under_rules_and_segments_come_back_as_they_were(app: &App) {
    rule(app, "trial", json!({"field": "company", "op": "exists"})).await;
    rule(app, "old", json!({"event": "Ada", "count": {"gte": 2}})).await;
    rule(app, "beta", json!({"field": "labels", "op": "has", "value": "vip"})).await;
    segment(app, "Graces", json!({"event": "Grace", "count": {"eq": 1}})).await;
    segment(app, "On the web", json!({"event": "Edsger", "where": [{"field": "channel", "op": "eq", "value": "web"}]})).await;
    segment(app, "Beta", json!({"field": "labels", "op": "has", "value": "beta"})).await;
    segment(app, "Without", json!({"not": {"field": "job_title", "op": "exists"}})).await;
    for seed in 0..14_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(500 + seed);
        let mut moments: Vec<i64> = (0..40).map(|n| n * 1_031).collect();
        let first = somebody(app, &mut rng, &format!("a{seed}"), &mut moments).await;
        let second = somebody(app, &mut rng, &format!("b{seed}"), &mut moments).await;
        let before = [whole_but_judgements(app, &first).await, whole_but_judgements(app, &second).await];
        let keep = if rng.random_bool(0.5) { json!({"company": "secondary", "job_title": "secondary"}) } else { json!({}) };
        let told = preview(app, &first, &second, keep.clone()).await;
        let record = app.post("/v1/merges").json(agreed(&first, &second, keep, &told)).await.created();
        same(&record["fields"], &told["fields"]);
        let joined = app.read(id(&first)).await;
        for told in list(&told, "fields") {
            let name = told["field"].as_str().expect("a name");
            assert_eq!(value(&joined, name), told["result"], "seed {seed}: {name} as previewed");
        }
        // What somebody put on by hand stays, whoever it was.
        let by_hand = |person: &Value| -> BTreeSet<String> {
            let rows = person["badges"][0].as_array().into_iter().flatten();
            rows.filter(|l| l["source"] == "manual").filter_map(|l| l["name"].as_str().map(str::to_owned)).collect()
        };
        let carried: BTreeSet<String> = list(&joined, "labels").iter().filter_map(|l| l.as_str().map(str::to_owned)).collect();
        for person in &before {
            assert!(by_hand(person).is_subset(&carried), "seed {seed}: {carried:?}");
        }
        assert_eq!(revert(app, &record).await["conflicts"], json!([]), "seed {seed}");
        same(&whole_but_judgements(app, &first).await, &before[0]);
        same(&whole_but_judgements(app, &second).await, &before[1]);
    }
}

/// Everything of a person but for what tells that they were judged on the way.
async fn whole_but_judgements(app: &App, person: &Value) -> Value {
    let mut whole = whole(app, id(person)).await;
    if let Some(history) = whole["history"].as_array_mut() {
        history.retain(|e| !matches!(e["action"].as_str(), Some("segments_changed" | "label_added" | "label_removed")));
    }
    whole["badges"] = badges(app, person).await;
    whole
}

async fn people_parted_are_judged_by_their_own_events_at_once(app: &App) {
    segment(app, "Buyers", json!({"event": "order"})).await;
    segment(
        app,
        "Regulars",
        json!({"event": "order", "where": [{"field": "properties.paid", "op": "eq", "value": true}], "count": {"gte": 2}}),
    )
    .await;
    segment(app, "Quick", json!({"event": "order", "count": {"gte": 2}, "within": "P30D"})).await;
    rule(app, "buyer", json!({"event": "order", "count": {"gte": 3}})).await;
    let first = app.person(json!({"external_id": "a"})).await;
    let second = app.person(json!({"external_id": "b"})).await;
    let order = |person: &Value| json!({"profile_id": id(person), "type": "order", "properties": {"paid": true}});
    send(app, json!([order(&first), order(&second), order(&second)])).await;
    let names = async |person: &Value| {
        let now = app.read(id(person)).await;
        json!([segments(&now), now["labels"]])
    };
    assert_eq!(names(&first).await, json!([["Buyers"], []]));
    assert_eq!(names(&second).await, json!([["Buyers", "Quick", "Regulars"], []]));
    let record = merge(app, &first, &second).await;
    assert_eq!(names(&first).await, json!([["Buyers", "Quick", "Regulars"], ["buyer"]]));
    // The answer is there, and so is everything that follows: the reversal judges both in its own transaction.
    revert(app, &record).await;
    assert_eq!(names(&first).await, json!([["Buyers"], []]));
    assert_eq!(names(&second).await, json!([["Buyers", "Quick", "Regulars"], []]));
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "buyer"})).await, [""; 0]);
    // What came to the survivor since is the survivor's.
    let record = merge(app, &first, &second).await;
    send(app, json!([order(&first)])).await;
    revert(app, &record).await;
    assert_eq!(names(&first).await, json!([["Buyers", "Quick", "Regulars"], []]));
    assert_eq!(names(&second).await, json!([["Buyers", "Quick", "Regulars"], []]));
}

async fn a_decision_about_duplicates_goes_over_and_comes_back(app: &App) {
    let alike = |n: usize| {
        json!({"email": format!("ada.lovelace{n}@example.com"), "first_name": "Ada", "last_name": "Lovelace", "city": "London",
            "phone": format!("+44 20 7946 09{n:02}"), "company": "Analytical Engines"})
    };
    let mut people = Vec::new();
    for n in 0..4 {
        people.push(app.person(alike(n)).await);
    }
    let [survivor, merged, decided, other] = &people[..] else { panic!("four people") };
    let pairs = async |person: &Value, status: &str| -> BTreeSet<String> {
        let page = app.get(&format!("{}?status={status}&limit=200", path(person, "/duplicates"))).await.ok();
        let both = list(&page, "data").iter().flat_map(|pair| list(pair, "profiles"));
        both.map(|p| id(p).to_owned()).filter(|other| other != id(person)).collect()
    };
    let set = |people: &[&Value]| -> BTreeSet<String> { people.iter().map(|p| id(p).to_owned()).collect() };
    let dismiss = async |one: &Value, two: &Value| {
        let page = app.get(&format!("{}?limit=200", path(one, "/duplicates"))).await.ok();
        let pair = list(&page, "data").iter().find(|pair| list(pair, "profiles").iter().any(|p| p["id"] == two["id"])).cloned();
        app.post(&format!("/v1/duplicates/{}/dismiss", id(&pair.expect("the pair is suggested")))).await.ok()
    };
    dismiss(merged, decided).await;
    dismiss(merged, survivor).await;
    dismiss(survivor, other).await;
    assert_eq!(pairs(merged, "dismissed").await, set(&[decided, survivor]));
    let record = merge(app, survivor, merged).await;
    assert_eq!(pairs(survivor, "dismissed").await, set(&[decided, other]), "who is not the one is not the other either");
    revert(app, &record).await;
    assert_eq!(pairs(merged, "dismissed").await, set(&[decided, survivor]));
    assert_eq!(pairs(survivor, "dismissed").await, set(&[merged, other]), "nobody decided that of the survivor");
    assert_eq!(pairs(survivor, "open").await, set(&[decided]));
    assert_eq!(pairs(merged, "open").await, set(&[other]));
    let page = app.get(&format!("{}?status=dismissed", path(merged, "/duplicates"))).await.ok();
    assert!(list(&page, "data").iter().all(|p| !list(p, "reasons").is_empty() && p["dismissed_by"].is_string()), "{page}");
}

/// Each event stands in a session of its own person, and each session counts its events.
async fn sessions_hold(app: &App, people: &[Value]) {
    for person in everybody(app, people).await {
        let owner = person["document"]["id"].as_str().expect("an id");
        let sessions: BTreeSet<&str> = list(&person, "sessions").iter().map(id).collect();
        let events = list(&person, "events");
        for event in events.iter().filter(|e| !e["session_id"].is_null()) {
            let session = event["session_id"].as_str().expect("an id");
            assert!(sessions.contains(session), "{owner} has an event in a session that is not theirs: {event}");
            assert_eq!(app.get(&format!("/v1/sessions/{session}")).await.ok()["profile_id"], owner);
        }
        let counted: u64 = list(&person, "sessions").iter().filter_map(|s| s["event_count"].as_u64()).sum();
        assert_eq!(counted, events.iter().filter(|e| !e["session_id"].is_null()).count() as u64);
    }
}

async fn an_earlier_merge_taken_back_takes_its_sessions_along(app: &App) {
    let mut people = Vec::new();
    for name in ["a", "b", "d"] {
        people.push(app.person(json!({"external_id": name})).await);
    }
    // Visits that join one after the other: B's, and D's beside it.
    let visit = |person: &Value, seconds: i64, word: &str| json!({"profile_id": id(person), "type": "page", "channel": "web", "occurred_at": at(seconds), "session": {"properties": {(word): word}}});
    send(app, json!([visit(&people[0], 0, "a"), visit(&people[1], 900, "secretofb"), visit(&people[1], 1_000, "secretofb")])).await;
    send(app, json!([visit(&people[2], 1_800, "d"), visit(&people[2], 1_900, "d")])).await;
    let mut before = Vec::new();
    for person in &people {
        before.push(whole(app, id(person)).await);
    }
    let one = merge(app, &people[0], &people[1]).await;
    let two = merge(app, &people[0], &people[2]).await;
    assert_eq!(all(app, id(&people[0]), "sessions").await.len(), 1, "all of it is one visit");
    revert(app, &one).await;
    sessions_hold(app, &people).await;
    same(&whole(app, id(&people[1])).await, &before[1]);
    let remembered = app.database().rows("SELECT properties FROM merge_sessions").await;
    assert!(!format!("{remembered:?}").contains("secretofb"), "a later merge remembers nothing of who left: {remembered:?}");
    revert(app, &two).await;
    sessions_hold(app, &people).await;
    for (person, before) in people.iter().zip(&before) {
        same(&whole(app, id(person)).await, before);
    }
}

async fn who_came_back_is_erased_from_every_merge_meanwhile(app: &App) {
    // What happens between somebody's merge into the first and their way back: each a list of (primary, secondary).
    let meanwhile: [(&[(usize, usize)], bool); 4] = [(&[(2, 0)], true), (&[(0, 2)], true), (&[(0, 2)], false), (&[(2, 0), (3, 2)], true)];
    for (round, (merges, taken_back)) in meanwhile.into_iter().enumerate() {
        let mark = format!("zebra{}", uuid::Uuid::now_v7().simple());
        let mut others = Vec::new();
        for name in ["stays", "unused", "third", "fourth"] {
            let person = app.person(json!({"external_id": format!("{name}{round}"), "labels": [name]})).await;
            send(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(60)}])).await;
            others.push(person);
        }
        let gone = app
            .person(json!({"email": format!("{mark}@example.com"), "company": mark, "labels": ["gone"], "attributes": {"note": mark},
                "consents": [{"channel": "email", "status": "opted_in", "source": mark}]}))
            .await;
        send(
            app,
            json!([{"profile_id": id(&gone), "type": "page", "channel": "web", "occurred_at": at(0),
            "properties": {"w": mark}, "session": {"properties": {"w": mark}}}]),
        )
        .await;
        let record = merge(app, &others[0], &gone).await;
        let mut standing = Vec::new();
        for (primary, secondary) in merges {
            standing.push(merge(app, &others[*primary], &others[*secondary]).await);
        }
        if taken_back {
            for merge in standing.iter().rev() {
                revert(app, merge).await;
            }
        }
        revert(app, &record).await;
        assert!(!mentions(&app.database(), &mark).await.is_empty());
        app.delete(&path(&gone, "")).await.ok();
        assert_eq!(mentions(&app.database(), &mark).await, [""; 0], "round {round}");
        for merge in standing.iter().filter(|_| taken_back) {
            app.get(&format!("/v1/merges/{}", id(merge))).await.refused(410, "profile_erased");
        }
        // The others are whole, and what stands can still be taken back.
        for merge in standing.iter().filter(|_| !taken_back) {
            revert(app, merge).await;
        }
        sessions_hold(app, &others).await;
        for person in &others {
            assert_eq!(list(&app.read(id(person)).await, "labels").len(), 1, "round {round}");
        }
    }
}

/// The merge remembers a visitor as they were before the batch that held an event of theirs and what told who they are.
async fn who_was_seen_as_they_were_merged_comes_back_as_seen_then(app: &App) {
    let device = json!({"kind": "anonymous_id", "value": "v1"});
    let both = json!([{"kind": "external_id", "value": "ada"}, device]);
    let by_visitor =
        |seconds: i64, channel: &str| json!({"identities": [device], "type": "page", "channel": channel, "occurred_at": at(seconds)});
    app.person(json!({"external_id": "ada"})).await;
    send(app, json!([by_visitor(0, "app")])).await;
    let visitor = app.get("/v1/profiles/lookup?kind=anonymous_id&value=v1").await.ok();
    let told = json!({"identities": both, "type": "signed_up", "channel": "web", "occurred_at": at(86_460)});
    send(app, json!([by_visitor(86_400, "web"), told])).await;
    let merges = app.get("/v1/profiles/lookup?external_id=ada").await.ok();
    let merges = app.get(&path(&merges, "/merges")).await.ok();
    revert(app, &list(&merges, "data")[0]).await;
    let back = app.read(id(&visitor)).await;
    assert_eq!((&back["last_seen_at"], &back["last_channel"]), (&json!("2026-01-02T00:00:00.000000Z"), &json!("web")));
    assert_eq!(back["channels"], json!(["app", "web"]));
    // What goes on with their visit is found.
    send(app, json!([by_visitor(86_400 + 600, "web")])).await;
    let sessions = app.get(&path(&visitor, "/sessions")).await.ok();
    let counts: Vec<&Value> = list(&sessions, "data").iter().map(|session| &session["event_count"]).collect();
    assert_eq!(counts, [2, 1], "{sessions}");
}

async fn what_others_named_is_erased_under_every_id_and_former_key(app: &App) {
    let mark = format!("zebra{}", uuid::Uuid::now_v7().simple());
    let other = app.person(json!({"external_id": "other"})).await;
    let ada = app.person(json!({"external_id": "ada", "email": format!("{mark}.1@example.com")})).await;
    let carol = app.person(json!({"external_id": "carol"})).await;
    // Messages of somebody else that name her: as she is, while she is part of another, and after she came back.
    let name_her = async |n: usize| {
        let keys = json!([{"kind": "external_id", "value": "other"}, {"kind": "email", "value": format!("{mark}.{n}@example.com")}]);
        let taken = app.post("/v1/events").json(json!({"events": [{"identities": keys, "type": "page"}]})).await.ok();
        assert_eq!(taken["results"][0]["refused"][0]["code"], "identity_conflict", "{taken}");
    };
    name_her(1).await;
    app.patch(&path(&ada, "")).json(json!({"email": format!("{mark}.2@example.com")})).await.ok();
    name_her(2).await;
    app.patch(&path(&ada, "")).json(json!({"email": format!("{mark}.3@example.com")})).await.ok();
    let record = merge(app, &carol, &ada).await;
    name_her(3).await;
    revert(app, &record).await;
    name_her(3).await;
    let dora = app.person(json!({"external_id": "dora"})).await;
    merge(app, &dora, &ada).await;
    let named = mentions(&app.database(), &mark).await;
    assert!(named.contains(&"events.refused".to_owned()), "{named:?}");
    app.delete(&path(&dora, "")).await.ok();
    assert_eq!(mentions(&app.database(), &mark).await, [""; 0]);
    let events = all(app, id(&other), "timeline").await;
    assert_eq!(events.iter().filter(|e| e["type"] == "page").count(), 4, "the events are the other's, and stay");
}

async fn each_of_two_parted_has_their_own_in_the_export(app: &App) {
    let first = app.person(json!({"external_id": "a", "company": "alphawords", "labels": ["alphalabel"]})).await;
    let second = app.person(json!({"external_id": "b", "company": "betawords", "job_title": "betajob", "labels": ["betalabel"]})).await;
    let record = merge(app, &first, &second).await;
    let export = async |person: &Value| app.get(&path(person, "/export")).header("x-reason", "access request").await.ok();
    let joined = export(&first).await;
    assert_eq!(joined["merges"][0]["primary_before"]["company"], "alphawords");
    assert_eq!(joined["merges"][0]["secondary_before"]["company"], "betawords");
    assert_eq!(joined["merges"][0]["primary_rows"]["labels"][0]["label"], "alphalabel");
    revert(app, &record).await;
    let (one, two) = (export(&first).await["merges"][0].clone(), export(&second).await["merges"][0].clone());
    assert_eq!((&one["id"], &two["id"]), (&record["id"], &record["id"]));
    assert_eq!(
        (&one["primary_before"]["company"], &one["secondary_before"], &one["secondary_rows"]),
        (&json!("alphawords"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&two["secondary_before"]["job_title"], &two["primary_before"], &two["primary_rows"]),
        (&json!("betajob"), &Value::Null, &Value::Null)
    );
    assert!(!one.to_string().contains("beta") && !two.to_string().contains("alpha"), "{one} {two}");
}

/// Merges both ways and through a third, reversals, events, edits and an erasure of the same people, all at once; on PostgreSQL
/// through two servers of one database.
async fn merges_and_erasures_that_cross_lose_nothing(engine: Engine) {
    let server = Server::new(engine).await;
    let beside = (engine != Engine::Sqlite).then(|| Server::on(server.database.clone(), &[]));
    let apps = [App::default_of(&server), App::default_of(beside.as_ref().unwrap_or(&server))];
    for round in 0..10_usize {
        let app = &apps[0];
        let mut people = Vec::new();
        for n in 0..3 {
            let person = app.person(json!({"external_id": format!("r{round}p{n}")})).await;
            send(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(n * 600), "message_id": format!("r{round}p{n}")}])).await;
            people.push(person);
        }
        let fine = |answer: &people_tests::Answer| {
            assert!(matches!(answer.status, 200 | 201 | 404 | 409 | 410 | 422), "round {round}: {answer}");
        };
        let mergers = join_all([(0, 1), (1, 0), (1, 2), (2, 0)].into_iter().enumerate().map(async |(n, (primary, secondary))| {
            let app = &apps[n % 2];
            let mut done = 0;
            // Until it is its turn, or somebody else's merge has come first for good.
            for _ in 0..60 {
                if done == 2 {
                    break;
                }
                let body = json!({"primary_id": people[primary]["id"], "secondary_id": people[secondary]["id"]});
                let told = app.post("/v1/merges/preview").json(body).await;
                fine(&told);
                if told.status != 200 {
                    continue;
                }
                let answer = app.post("/v1/merges").json(agreed(&people[primary], &people[secondary], json!({}), &told.json())).await;
                fine(&answer);
                if answer.status == 201 {
                    done += 1;
                    if round % 3 == 0 {
                        fine(&app.post(&format!("/v1/merges/{}/revert", answer.json()["id"].as_str().unwrap_or_default())).await);
                    }
                }
            }
            done
        }));
        let writers = join_all((0..6_usize).map(async |writer| {
            let app = &apps[writer % 2];
            let mut sent = Vec::new();
            for step in 0..4_usize {
                let person = &people[(writer + step) % 3];
                let message = format!("r{round}w{writer}s{step}");
                let event = json!({"identities": [{"kind": "external_id", "value": person["external_id"]}], "type": "page", "channel": "web", "message_id": message});
                let answer = app.post("/v1/events").json(json!({"events": [event]})).await;
                fine(&answer);
                assert_eq!(answer.json()["results"][0]["status"], 201, "round {round}: {answer}");
                sent.push((message, answer.json()["results"][0]["profile_id"].clone()));
                fine(&app.patch(&path(person, "")).json(json!({"attributes": {format!("a{writer}"): step}})).await);
            }
            sent
        }));
        let eraser = async {
            if round % 2 == 1 {
                tokio::task::yield_now().await;
                fine(&apps[1].delete(&path(&people[2], "")).await);
            }
        };
        let (done, sent, ()) = tokio::join!(mergers, writers, eraser);
        assert!(done.iter().sum::<usize>() > 0, "round {round}: nobody was merged, which shows nothing");
        // Whoever an event was told to be of has it, whoever they have become; unless they were erased since.
        for (message, owner) in sent.iter().flatten() {
            let app = &apps[round % 2];
            let owner = app.get(&format!("/v1/profiles/{}", owner.as_str().expect("an id"))).await;
            assert!(matches!(owner.status, 200 | 410), "round {round}: {owner}");
            if owner.status == 200 {
                let owner = owner.json();
                let events = all(app, id(&owner), "timeline").await;
                // A reversal may have taken the one the event was told to be of away from those it was of.
                let reverted = round % 3 == 0;
                let has = events.iter().any(|e| e["message_id"] == message.as_str());
                assert!(has || reverted, "round {round}: {message} is lost");
            }
        }
        let database = &server.database;
        for dangling in [
            "SELECT count(*) FROM events AS e WHERE NOT EXISTS (SELECT 1 FROM profile_documents AS d WHERE d.profile_id = e.profile_id)",
            "SELECT count(*) FROM sessions AS e WHERE NOT EXISTS (SELECT 1 FROM profile_documents AS d WHERE d.profile_id = e.profile_id)",
            "SELECT count(*) FROM events AS e WHERE e.session_id IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM sessions AS s WHERE s.id = e.session_id AND s.profile_id = e.profile_id)",
            "SELECT count(*) FROM profile_redirects AS r WHERE NOT EXISTS (SELECT 1 FROM profiles AS p WHERE p.id = r.survivor_profile_id)
                 AND NOT EXISTS (SELECT 1 FROM erasures AS x WHERE x.profile_id = r.survivor_profile_id)",
        ] {
            assert_eq!(database.one(dangling).await, "0", "round {round}: {dangling}");
        }
        if round % 2 == 0 {
            // Nobody was erased: every event that was answered is there, once.
            let count = format!("SELECT count(*) FROM events WHERE message_id LIKE 'r{round}w%' OR message_id LIKE 'r{round}p%'");
            assert_eq!(database.one(&count).await, "27", "round {round}");
        }
    }
    if let Some(beside) = beside {
        beside.kill();
    }
}
