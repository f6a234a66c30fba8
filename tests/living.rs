//! Living profiles: `/v1/segments`, `/v1/label-rules`, and what they make of people, the moment a write is answered and when
//! time alone moves somebody.

use std::time::{Duration, Instant};

use people_tests::{App, Engine, Server, engine_stories, eventually, same, stories};
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, list, nobody, path, version};

stories![
    a_segment_is_true_the_moment_a_write_is_answered,
    a_new_segment_takes_in_everyone_and_a_removed_one_lets_go,
    segments_refer_to_segments_and_never_in_a_ring,
    a_preview_saves_nothing,
    an_explanation_tells_why_condition_by_condition,
    what_is_wrong_with_a_definition_is_told_at_its_place,
    a_rule_puts_a_label_on_and_takes_only_its_own_off,
    a_new_rule_reaches_everyone_and_a_switched_off_one_lets_go,
    a_window_ends_by_itself,
    a_merge_judges_the_survivor_anew,
    what_is_kept_step_by_step_is_what_is_judged_from_scratch,
];

engine_stories![windows_that_ended_while_nothing_ran_are_seen_to];

async fn segment(app: &App, name: &str, filter: Value) -> Value {
    let made = app.post("/v1/segments").json(json!({"name": name, "filter": filter})).await.created();
    live(app, id(&made)).await
}

/// The segment once it is computed.
async fn live(app: &App, segment: &str) -> Value {
    eventually("the segment is live", async || {
        let now = app.get(&format!("/v1/segments/{segment}")).await.ok();
        (now["status"] == "live").then_some(now)
    })
    .await
}

async fn rule(app: &App, body: Value) -> Value {
    let made = app.post("/v1/label-rules").json(body).await.created();
    eventually("the rule is live", async || {
        let now = app.get(&format!("/v1/label-rules/{}", id(&made))).await.ok();
        (now["status"] == "live").then_some(now)
    })
    .await
}

fn names(profile: &Value) -> Vec<&str> {
    list(profile, "segments").iter().filter_map(|s| s["name"].as_str()).collect()
}

fn labels(profile: &Value) -> Vec<&str> {
    list(profile, "labels").iter().filter_map(Value::as_str).collect()
}

fn members(segment: &Value) -> Value {
    json!({"field": "segments", "op": "has", "value": id(segment)})
}

async fn track(app: &App, events: Value) {
    let results = app.post("/v1/events").json(json!({"events": events})).await.ok();
    assert!(list(&results, "results").iter().all(|r| r["status"] == 201), "{results}");
}

fn ago(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_micros();
    let at = i64::try_from(now).expect("a time") - seconds * 1_000_000;
    people_domain::Timestamp::from_micros(at).expect("a time").to_string()
}

async fn a_segment_is_true_the_moment_a_write_is_answered(app: &App) {
    let british = segment(app, "British", json!({"field": "country", "op": "eq", "value": "GB"})).await;
    let buyers = segment(
        app,
        "Buyers",
        json!({"event": "order", "where": [{"field": "properties.total", "op": "gt", "value": 10}], "count": {"gte": 2}}),
    )
    .await;
    let person = app.person(ada()).await;
    assert_eq!(names(&person), ["British"], "the answer of the write itself");
    same(&app.read(id(&person)).await, &person);
    let one = |total: i64| json!([{"profile_id": id(&person), "type": "order", "properties": {"total": total}, "message_id": format!("m{total}")}]);
    track(app, one(11)).await;
    track(app, one(5)).await;
    assert_eq!(names(&app.read(id(&person)).await), ["British"]);
    track(app, one(12)).await;
    assert_eq!(names(&app.read(id(&person)).await), ["British", "Buyers"]);
    track(app, one(12)).await;
    assert_eq!(app.filtered(members(&buyers)).await, ["crm-17"]);
    assert_eq!(app.get(&format!("/v1/segments/{}", id(&buyers))).await.ok()["member_count"], 1);
    let page = app.get(&format!("/v1/segments/{}/profiles?count=true", id(&british))).await.ok();
    assert_eq!((&page["data"][0]["id"], &page["total"]), (&person["id"], &json!(1)));
    let left = app.patch(&path(&person, "")).json(json!({"country": "US"})).await.ok();
    assert_eq!(names(&left), ["Buyers"]);
    assert_eq!(app.filtered(members(&british)).await, [""; 0]);
    assert_eq!(app.get(&format!("/v1/segments/{}", id(&british))).await.ok()["member_count"], 0);
    let entered = app.get(&path(&person, "/segments")).await.ok();
    assert_eq!((&entered["data"][0]["name"], list(&entered, "data").len()), (&json!("Buyers"), 1));
    // Entries and exits are on the timeline, and every version stands in the history.
    let line = app.get(&path(&person, "/timeline?type=system.segments_changed")).await.ok();
    assert_eq!(list(&line, "data").len(), 3, "{line}");
    let mut versions: Vec<u64> = app.history(id(&person)).await.iter().filter_map(|e| e["version"].as_u64()).collect();
    versions.sort_unstable();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]) && versions.last() == Some(&version(&left)), "{versions:?}");
}

async fn a_new_segment_takes_in_everyone_and_a_removed_one_lets_go(app: &App) {
    let people: Vec<Value> =
        (0..60).map(|n| json!({"external_id": format!("p{n}"), "country": if n % 3 == 0 { "GB" } else { "US" }})).collect();
    app.people(&people).await;
    let made = app
        .post("/v1/segments")
        .json(json!({"name": "UK", "description": "Everyone in Britain", "filter": {"field": "country", "op": "eq", "value": "GB"}}))
        .await;
    assert!(made.header("location").is_some_and(|at| at.starts_with("/v1/segments/")));
    let made = made.created();
    assert_eq!(made["member_count"], 20, "what it will hold");
    let uk = live(app, id(&made)).await;
    assert_eq!((&uk["member_count"], &uk["description"]), (&json!(20), &json!("Everyone in Britain")));
    assert_eq!(app.filtered(members(&uk)).await.len(), 20);
    let someone = app.find(json!({"filter": members(&uk), "limit": 1})).await;
    let person = app.get(&format!("/v1/profiles/lookup?external_id={}", someone[0])).await.ok();
    assert_eq!(names(&person), ["UK"]);
    // Another definition, another name: everyone follows.
    app.patch(&format!("/v1/segments/{}", id(&uk)))
        .json(json!({"name": "Not the UK", "filter": {"not": {"field": "country", "op": "eq", "value": "GB"}}}))
        .await
        .ok();
    let other = live(app, id(&uk)).await;
    assert_eq!(other["member_count"], 40);
    assert_eq!(app.filtered(members(&uk)).await.len(), 40);
    app.patch(&format!("/v1/segments/{}", id(&uk))).json(json!({"name": "Elsewhere"})).await.ok();
    live(app, id(&uk)).await;
    let member = app.search(json!({"filter": members(&uk), "limit": 1})).await;
    assert_eq!(names(&member["data"][0]), ["Elsewhere"], "a new name reaches every badge");
    let job = app.delete(&format!("/v1/segments/{}", id(&uk))).await.is(202);
    app.get(&format!("/v1/segments/{}", id(&uk))).await.refused(404, "not_found");
    crate::bulk::finished(app, &job).await;
    assert_eq!(app.filtered(members(&uk)).await, [""; 0]);
    assert!(names(&app.read(id(&member["data"][0])).await).is_empty());
    assert_eq!(list(&app.get("/v1/segments").await.ok(), "data").len(), 0);
}

async fn segments_refer_to_segments_and_never_in_a_ring(app: &App) {
    let british = segment(app, "British", json!({"field": "country", "op": "eq", "value": "GB"})).await;
    let seen = segment(app, "Reachable", json!({"all": [members(&british), {"field": "email", "op": "exists"}]})).await;
    let person = app.person(ada()).await;
    assert_eq!(names(&person), ["British", "Reachable"]);
    let moved = app.patch(&path(&person, "")).json(json!({"country": "FR"})).await.ok();
    assert!(names(&moved).is_empty(), "one leaves, the other follows: {moved}");
    app.delete(&format!("/v1/segments/{}", id(&british))).await.refused(409, "segment_in_use");
    let ring = json!({"filter": {"not": members(&seen)}});
    app.patch(&format!("/v1/segments/{}", id(&british))).json(ring).await.refused_at("/filter", "definition_ring");
    assert_eq!(app.get(&format!("/v1/segments/{}", id(&british))).await.ok()["filter"], british["filter"], "it stays as it was");
    app.post("/v1/segments").json(json!({"name": "British", "filter": {"all": []}})).await.refused(409, "segment_exists");
    app.delete(&format!("/v1/segments/{}", id(&seen))).await.is(202);
    app.delete(&format!("/v1/segments/{}", id(&british))).await.is(202);
}

async fn a_preview_saves_nothing(app: &App) {
    app.people(&[ada(), grace(), nobody("crm-19")]).await;
    let preview = app.post("/v1/segments/preview").json(json!({"filter": {"field": "email", "op": "exists"}})).await.ok();
    assert_eq!((&preview["total"], list(&preview, "sample").len()), (&json!(2), 2));
    assert!(preview["sample"][0]["identities"].is_array(), "whole people: {preview}");
    assert_eq!(app.get("/v1/segments").await.ok(), json!({"data": [], "next_cursor": null}));
    app.post("/v1/segments/preview")
        .json(json!({"filter": {"field": "nonsense", "op": "eq", "value": 1}}))
        .await
        .refused_at("/filter/field", "unknown_field");
}

async fn an_explanation_tells_why_condition_by_condition(app: &App) {
    let filter = json!({"all": [
        {"field": "country", "op": "eq", "value": "GB"},
        {"any": [{"field": "labels", "op": "has", "value": "vip"}, {"not": {"field": "attributes.seats", "op": "gt", "value": 50}}]},
        {"event": "order", "count": {"gte": 2}, "within": "P90D"}
    ]});
    let person = app.person(ada()).await;
    let made = segment(app, "Good customers", filter).await;
    track(app, json!([{"profile_id": id(&person), "type": "order"}])).await;
    let told = app.get(&format!("/v1/segments/{}/explanation?profile_id={}", id(&made), id(&person))).await.ok();
    assert_eq!((&told["holds"], &told["profile_id"]), (&json!(false), &person["id"]));
    let all = list(&told["explanation"], "all");
    assert_eq!((&all[0]["holds"], &all[0]["actual"]), (&json!(true), &json!("GB")));
    assert_eq!((&all[1]["holds"], &all[1]["any"][0]["actual"]), (&json!(true), &json!(["vip"])));
    assert_eq!((&all[1]["any"][1]["holds"], &all[1]["any"][1]["not"]["actual"]), (&json!(true), &json!(12.0)));
    assert_eq!((&all[2]["holds"], &all[2]["actual"], &all[2]["condition"]["event"]), (&json!(false), &json!(1), &json!("order")));
    app.get(&format!("/v1/segments/{}/explanation", id(&made))).await.refused(400, "invalid_query");
    app.get(&format!("/v1/segments/{}/explanation?profile_id={}", id(&made), id(&made))).await.refused(404, "not_found");
}

async fn what_is_wrong_with_a_definition_is_told_at_its_place(app: &App) {
    let fine = json!({"field": "country", "op": "exists"});
    app.post("/v1/segments").json(json!({"name": " ", "filter": fine})).await.refused_at("/name", "blank");
    app.post("/v1/segments").json(json!({"name": "x".repeat(201), "filter": fine})).await.refused_at("/name", "too_long");
    app.post("/v1/segments").json(json!({"name": "x"})).await.refused_at("", "missing_field");
    app.post("/v1/segments")
        .json(json!({"name": "x", "filter": {"all": [{"field": "country", "op": "gt", "value": 1}]}}))
        .await
        .refused_at("/filter/all/0/op", "unknown_operator");
    app.post("/v1/segments").json(json!({"name": "x", "filter": fine, "status": "live"})).await.refused_at("/status", "unknown_field");
    app.post("/v1/label-rules").json(json!({"label": " ", "filter": fine})).await.refused_at("/label", "invalid_label");
    app.post("/v1/label-rules")
        .json(json!({"label": "x", "filter": fine, "on_exit": "maybe"}))
        .await
        .refused_at("/on_exit", "not_an_option");
    let own = json!({"label": "x", "filter": {"not": {"field": "labels", "op": "has", "value": "x"}}});
    app.post("/v1/label-rules").json(own).await.refused_at("/filter", "definition_ring");
    let made = segment(app, "once", fine.clone()).await;
    app.patch(&format!("/v1/segments/{}", id(&made))).json(json!({"name": null})).await.refused_at("/name", "wrong_type");
    // A retry makes no second one, and is answered as the first was.
    let body = json!({"name": "retried", "filter": fine});
    let first = app.post("/v1/segments").header("idempotency-key", "k").json(body.clone()).await.created();
    let again = app.post("/v1/segments").header("idempotency-key", "k").json(body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    same(&again.created(), &first);
    // A property that a definition reads stays defined.
    app.post("/v1/properties").json(json!({"key": "tier", "type": "text"})).await.created();
    segment(app, "tiered", json!({"field": "attributes.tier", "op": "exists"})).await;
    app.delete("/v1/properties/tier").await.refused(409, "property_in_use");
}

async fn a_rule_puts_a_label_on_and_takes_only_its_own_off(app: &App) {
    let uk = rule(app, json!({"label": "uk", "filter": {"field": "country", "op": "eq", "value": "GB"}, "on_exit": "remove"})).await;
    rule(app, json!({"label": "was-uk", "filter": {"field": "country", "op": "eq", "value": "GB"}})).await;
    let follows = segment(app, "Labelled", json!({"field": "labels", "op": "has", "value": "uk"})).await;
    let person = app.person(ada()).await;
    assert_eq!((labels(&person), names(&person)), (vec!["uk", "vip", "was-uk"], vec!["Labelled"]));
    let carried = app.get(&path(&person, "/labels")).await.ok();
    let own = list(&carried, "data").iter().find(|l| l["name"] == "uk").expect("the label");
    assert_eq!((&own["source"], &own["rule_id"]), (&json!("rule"), &uk["id"]));
    let left = app.patch(&path(&person, "")).json(json!({"country": "FR"})).await.ok();
    assert_eq!((labels(&left), names(&left)), (vec!["vip", "was-uk"], vec![]), "on_exit keep keeps, remove removes");
    // By hand first: the rule has nothing to add, and nothing to take away.
    let by_hand = app.put(&path(&person, "/labels/uk")).await.ok();
    assert_eq!(names(&by_hand), ["Labelled"]);
    app.patch(&path(&person, "")).json(json!({"country": "GB"})).await.ok();
    let left = app.patch(&path(&person, "")).json(json!({"country": "FR"})).await.ok();
    assert_eq!(labels(&left), ["uk", "vip", "was-uk"], "a label put by hand is never removed by a rule");
    assert_eq!(app.filtered(members(&follows)).await, ["crm-17"]);
    let line = app.get(&path(&person, "/timeline?type=system.label_removed")).await.ok();
    assert_eq!(line["data"][0]["properties"]["actor"], format!("rule:{}", id(&uk)), "{line}");
}

async fn a_new_rule_reaches_everyone_and_a_switched_off_one_lets_go(app: &App) {
    app.people(&[ada(), grace(), nobody("crm-19")]).await;
    let made = rule(app, json!({"label": "reachable", "filter": {"field": "email", "op": "exists"}, "on_exit": "remove"})).await;
    let holders = json!({"field": "labels", "op": "has", "value": "reachable"});
    assert_eq!(app.filtered(holders.clone()).await, ["crm-17", "crm-18"]);
    let place = format!("/v1/label-rules/{}", id(&made));
    let off = app.patch(&place).json(json!({"enabled": false})).await.ok();
    crate::bulk::finished(app, &json!({"id": off["job_id"]})).await;
    assert_eq!(app.filtered(holders.clone()).await, [""; 0]);
    let on = app.patch(&place).json(json!({"enabled": true, "filter": {"field": "country", "op": "eq", "value": "US"}})).await.ok();
    crate::bulk::finished(app, &json!({"id": on["job_id"]})).await;
    assert_eq!(app.filtered(holders.clone()).await, ["crm-18"]);
    let job = app.delete(&place).await.is(202);
    crate::bulk::finished(app, &job).await;
    assert_eq!(app.filtered(holders).await, [""; 0]);
    app.get(&place).await.refused(404, "not_found");
}

/// Nothing is written: time alone moves people, each within two seconds of the instant at which thirty days are over. Other
/// stories share the machine and may hold everything up for a moment, though not at most of the instants.
async fn a_window_ends_by_itself(app: &App) {
    const DAYS: i64 = 30 * 86_400;
    const INSTANTS: i64 = 6;
    let lately = segment(app, "Lately", json!({"event": "visit", "within": "P30D"})).await;
    let gone = segment(app, "Gone", json!({"field": "last_seen_at", "op": "not_within_last", "value": "P30D"})).await;
    rule(app, json!({"label": "here", "filter": {"event": "visit", "within": "P30D"}, "on_exit": "remove"})).await;
    let mut people = Vec::new();
    for n in 0..INSTANTS {
        people.push(app.person(nobody(&format!("u{n}"))).await);
    }
    let instants: Vec<_> =
        (0..INSTANTS).map(|n| (Instant::now() + Duration::from_secs(u64::try_from(5 + 3 * n).expect("a number")), 5 + 3 * n)).collect();
    let visits = people
        .iter()
        .zip(&instants)
        .map(|(person, (_, left))| json!({"profile_id": id(person), "type": "visit", "occurred_at": ago(DAYS - left)}));
    track(app, visits.collect()).await;
    let mut late = Vec::new();
    for (person, (instant, _)) in people.iter().zip(instants) {
        let now = app.read(id(person)).await;
        let was = Instant::now();
        // Only on a machine that stood still are the thirty days over before anybody could look.
        if was < instant {
            assert_eq!((names(&now), labels(&now)), (vec!["Lately"], vec!["here"]));
        }
        let moved = eventually("the window has ended", async || {
            let now = app.read(id(person)).await;
            (names(&now) == ["Gone"] && labels(&now).is_empty()).then_some(now)
        })
        .await;
        assert!(Instant::now() >= instant, "not before its time");
        late.push(Instant::now() - instant);
        assert!(was >= instant || version(&moved) > version(&now), "and the version tells");
    }
    let in_time = late.iter().filter(|late| **late <= Duration::from_secs(2)).count();
    assert!(in_time * 2 > late.len(), "within two seconds of the instant: {late:?}");
    assert_eq!(app.filtered(members(&lately)).await, [""; 0]);
    assert_eq!(app.filtered(members(&gone)).await.len(), people.len());
    // Somebody who was there before the definition was made is moved as well.
    track(app, json!([{"profile_id": id(&people[0]), "type": "click", "occurred_at": ago(0)}])).await;
    let clicked =
        segment(app, "Clicked", json!({"all": [{"field": "last_seen_at", "op": "exists"}, {"not": {"event": "click", "within": "PT2S"}}]}))
            .await;
    // The list alone: between it and a count somebody may move.
    let all_in = async || (app.find_sorted(json!({"filter": members(&clicked)})).await.len() == people.len()).then_some(());
    eventually("the new window ends too", all_in).await;
    assert_eq!(app.filtered(members(&clicked)).await.len(), people.len());
}

async fn windows_that_ended_while_nothing_ran_are_seen_to(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let lately = segment(&app, "Lately", json!({"event": "visit", "within": "PT2S"})).await;
    let person = app.person(nobody("u1")).await;
    track(&app, json!([{"profile_id": id(&person), "type": "visit", "occurred_at": ago(0)}])).await;
    assert_eq!(names(&app.read(id(&person)).await), ["Lately"]);
    let database = server.kill();
    // The window ends while nobody is there to see it.
    std::thread::sleep(Duration::from_millis(2_500));
    let server = Server::on(database, &[]);
    let app = App::default_of(&server);
    eventually("what came due meanwhile is seen to", async || names(&app.read(id(&person)).await).is_empty().then_some(())).await;
    assert_eq!(app.filtered(members(&lately)).await, [""; 0]);
}

async fn a_merge_judges_the_survivor_anew(app: &App) {
    let two = segment(
        app,
        "Two visits",
        json!({"event": "visit", "where": [{"field": "channel", "op": "eq", "value": "web"}], "count": {"gte": 2}}),
    )
    .await;
    let one = segment(app, "One visit", json!({"event": "visit", "count": {"eq": 1}})).await;
    let visit = |keys: Value| json!([{"identities": keys, "type": "visit", "channel": "web"}]);
    track(app, visit(json!([{"kind": "anonymous_id", "value": "a1"}]))).await;
    track(app, visit(json!([{"kind": "external_id", "value": "u1"}]))).await;
    assert_eq!(app.filtered(members(&one)).await.len(), 2);
    track(app, json!([{"identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": "u1"}], "type": "login"}]))
        .await;
    let person = app.get("/v1/profiles/lookup?external_id=u1").await.ok();
    assert_eq!(names(&person), ["Two visits"]);
    assert_eq!((app.filtered(members(&two)).await, app.filtered(members(&one)).await), (vec!["u1".to_owned()], vec![]));
    assert_eq!(app.get(&format!("/v1/segments/{}", id(&one))).await.ok()["member_count"], 0);
}

/// Ten thousand changes of many sorts under definitions of many sorts: at the end, everybody belongs to what their own
/// filter matches, and nobody to anything else.
async fn what_is_kept_step_by_step_is_what_is_judged_from_scratch(app: &App) {
    const PEOPLE: usize = 60;
    let seed: u64 = rand::rng().next_u64();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut one = |of: &[&str]| -> String { (*of.choose(&mut dice).expect("a choice")).to_owned() };
    let filters = vec![
        json!({"field": "country", "op": "eq", "value": "GB"}),
        json!({"field": "country", "op": "missing"}),
        json!({"not": {"field": "company", "op": "contains", "value": "cm"}}),
        json!({"field": "attributes.plan", "op": "in", "value": ["pro", "free"]}),
        json!({"field": "labels", "op": "has_any", "value": ["vip", "auto"]}),
        json!({"field": "consents.email", "op": "ne", "value": "opted_out"}),
        json!({"field": "channels", "op": "has_all", "value": ["web", "app"]}),
        json!({"event": "order", "count": {"gte": 3}}),
        json!({"event": "order", "count": {"lt": 2}}),
        json!({"event": "order", "where": [{"field": "properties.total", "op": "gte", "value": 5}], "count": {"gte": 2}, "within": "P30D"}),
        json!({"not": {"event": "visit", "within": "P7D"}}),
        json!({"event": "visit", "where": [{"field": "occurred_at", "op": "within_last", "value": "P20D"}, {"field": "channel", "op": "eq", "value": "app"}]}),
        json!({"field": "last_seen_at", "op": "within_last", "value": "P5D"}),
        json!({"all": [{"field": "email", "op": "exists"}, {"any": [{"field": "city", "op": "starts_with", "value": "L"}, {"event": "visit", "count": {"gt": 6}}]}]}),
    ];
    app.post("/v1/properties").json(json!({"key": "plan", "type": "text"})).await.created();
    let mut segments = Vec::new();
    for (n, filter) in filters.iter().enumerate() {
        segments.push((segment(app, &format!("s{n}"), filter.clone()).await, filter.clone()));
    }
    let nested = json!({"all": [members(&segments[0].0), {"not": members(&segments[7].0)}]});
    segments.push((segment(app, "nested", nested.clone()).await, nested));
    rule(app, json!({"label": "auto", "filter": {"all": [{"field": "country", "op": "eq", "value": "IE"}, {"event": "order", "count": {"gte": 1}}]}, "on_exit": "remove"})).await;
    let people: Vec<Value> = (0..PEOPLE).map(|n| nobody(&format!("p{n}"))).collect();
    app.people(&people).await;
    let mut done = 0;
    let mut message = 0;
    while done < 10_000 {
        let items: Vec<Value> = (0..150)
            .map(|_| {
                let n: usize = one(&["0", "1", "2", "3", "4", "5"]).parse::<usize>().unwrap_or(0) * 10
                    + one(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]).parse::<usize>().unwrap_or(0);
                let mut item = json!({"op": "upsert", "external_id": format!("p{n}")});
                match one(&["country", "company", "city", "plan", "label", "consent", "email"]).as_str() {
                    "country" => item["country"] = one(&["GB", "IE", "FR", ""]).into(),
                    "company" => item["company"] = one(&["Acme", "Umbrella", "acm"]).into(),
                    "city" => item["city"] = one(&["London", "Leeds", "Paris"]).into(),
                    "plan" => item["attributes"] = json!({"plan": one(&["pro", "free", "team"])}),
                    "label" => item["labels"] = json!([one(&["vip", "lead"])]),
                    "email" => item["email"] = format!("p{n}@example.com").into(),
                    _ => item["consents"] = json!([{"channel": "email", "status": one(&["opted_in", "opted_out", "pending"])}]),
                }
                if item["country"] == "" {
                    item["country"] = Value::Null;
                }
                item
            })
            .collect();
        done += items.len();
        let answer = app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
        assert!(list(&answer, "results").iter().all(|r| r["status"].as_u64() < Some(300)), "seed {seed}: {answer}");
        let events: Vec<Value> = (0..100)
            .map(|_| {
                message += 1;
                let n: usize = one(&["0", "1", "2", "3", "4", "5"]).parse::<usize>().unwrap_or(0) * 10 + message % 10;
                json!({
                    "identities": [{"kind": "external_id", "value": format!("p{n}")}], "type": one(&["order", "visit", "visit", "other"]),
                    "channel": one(&["web", "app"]), "properties": {"total": message % 9},
                    "occurred_at": ago(86_400 * one(&["1", "3", "6", "15", "25", "40"]).parse::<i64>().unwrap_or(1) + 60),
                    "message_id": format!("{seed}-{message}")
                })
            })
            .collect();
        done += events.len();
        // The last few people are seldom seen, so that not everyone is everywhere.
        track(app, json!(events.into_iter().filter(|e| e["type"] != "order" || e["properties"]["total"] != 0).collect::<Vec<_>>())).await;
    }
    let mut sum = 0;
    for (segment, filter) in &segments {
        let kept = app.filtered(members(segment)).await;
        let judged = app.filtered(filter.clone()).await;
        assert_eq!(kept, judged, "seed {seed}: {filter}");
        assert_eq!(app.get(&format!("/v1/segments/{}", id(segment))).await.ok()["member_count"], kept.len(), "seed {seed}");
        let badged = app.search(json!({"filter": members(segment), "limit": 200})).await;
        assert!(
            list(&badged, "data").iter().all(|p| list(p, "segments").iter().any(|s| s["id"] == segment["id"])),
            "seed {seed}: {filter}"
        );
        sum += kept.len();
    }
    assert!(sum > PEOPLE && sum < PEOPLE * segments.len() * 9 / 10, "seed {seed}: {sum} memberships say little");
}
