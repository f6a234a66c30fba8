//! `POST /v1/events`, and what can be read of it: the timeline, events and sessions of people.

use people_tests::{App, percent, same, stories};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use serde_json::{Value, json};

use crate::cast::{ada, id, identities, list, path, version};

stories![
    an_event_makes_or_finds_its_person_and_shows_on_the_timeline,
    a_message_counts_once_however_often_it_is_sent,
    what_is_wrong_with_an_event_spoils_no_other,
    json_that_cannot_be_read_spoils_no_other_event,
    a_person_seen_moves_up_and_has_channels,
    the_channel_used_last_goes_by_time_and_not_by_arrival,
    the_senders_clock_is_corrected,
    an_anonymous_person_joins_the_identified_one,
    merges_within_one_request_keep_everything,
    identified_people_never_merge_by_themselves,
    a_merged_id_answers_for_the_survivor,
    erasure_takes_the_timeline_and_the_merge_along,
    sessions_follow_from_events_in_any_order,
    a_session_named_by_its_sender_is_one,
    the_latest_word_about_a_session_counts_in_any_order,
    sessions_go_on_past_midnight,
    the_timeline_is_walked_and_filtered,
    whatever_stands_on_a_timeline_is_read_by_its_id,
    a_type_is_asked_for_as_it_was_sent,
    a_person_takes_in_only_so_many_visitors,
    shuffled_senders_end_where_the_ordered_replay_ends,
    two_first_events_at_once_make_one_person,
    behavioural_filters_see_the_events,
    tallies_are_those_of_the_timeline,
];

/// `2026-01-01T00:00:00Z` and so many seconds.
fn at(seconds: i64) -> String {
    people_domain::Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).expect("a time").short()
}

fn by(kind: &str, value: &str) -> Value {
    json!([{"kind": kind, "value": value}])
}

async fn send(app: &App, events: Value) -> Vec<Value> {
    list(&app.post("/v1/events").json(json!({"events": events})).await.ok(), "results").to_vec()
}

/// Sends events that must all be taken.
async fn taken(app: &App, events: Value) -> Vec<Value> {
    let results = send(app, events).await;
    for result in &results {
        assert_eq!(result["status"], 201, "{result}");
    }
    results
}

async fn timeline(app: &App, profile: &str, query: &str) -> Vec<Value> {
    list(&app.get(&format!("/v1/profiles/{profile}/timeline?limit=200{query}")).await.ok(), "data").to_vec()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["type"].as_str()).collect()
}

async fn sessions(app: &App, profile: &str) -> Vec<Value> {
    list(&app.get(&format!("/v1/profiles/{profile}/sessions")).await.ok(), "data").to_vec()
}

async fn an_event_makes_or_finds_its_person_and_shows_on_the_timeline(app: &App) {
    let event = json!({"identities": [{"kind": "external_id", "value": "u1"}, {"kind": "anonymous_id", "value": "a1"}], "type": "order_completed",
        "channel": "web", "occurred_at": at(0), "properties": {"total": 120.5, "items": [{"sku": "x"}]}, "message_id": "m1"});
    let first = taken(app, json!([event])).await;
    let profile = first[0]["profile_id"].as_str().expect("an id").to_owned();
    let person = app.read(&profile).await;
    assert_eq!((identities(&person, "external_id"), identities(&person, "anonymous_id")), (vec!["u1"], vec!["a1"]));
    let shown = app.get(&format!("/v1/events/{}", id(&first[0]))).await.ok();
    assert_eq!((&shown["properties"], &shown["channel"], &shown["message_id"]), (&event["properties"], &json!("web"), &json!("m1")));
    assert_eq!(shown["occurred_at"], "2026-01-01T00:00:00.000000Z");
    let second =
        taken(app, json!([{"identities": by("anonymous_id", "a1"), "type": "page"}, {"profile_id": profile, "type": "call"}])).await;
    assert!(second.iter().all(|r| r["profile_id"] == profile.as_str()), "{second:?}");
    let line = timeline(app, &profile, "").await;
    let mut kinds = types(&line);
    kinds.sort_unstable();
    assert_eq!(kinds, ["call", "order_completed", "page", "system.created"]);
    assert!(line.windows(2).all(|pair| pair[0]["occurred_at"].as_str() >= pair[1]["occurred_at"].as_str()), "newest first: {line:?}");
    app.get("/v1/profiles/0192f0c1-7d7e-7aaa-8000-000000000001/timeline").await.refused(404, "not_found");
    app.get("/v1/sessions/0192f0c1-7d7e-7aaa-8000-000000000001/events").await.refused(404, "not_found");
}

async fn a_message_counts_once_however_often_it_is_sent(app: &App) {
    let events = json!([
        {"identities": by("external_id", "u1"), "type": "order", "channel": "web", "message_id": "m1"},
        {"identities": by("external_id", "u1"), "type": "order", "channel": "web", "message_id": "m1"},
        {"identities": by("external_id", "u2"), "type": "order", "channel": "web", "message_id": "m2"}
    ]);
    let first = taken(app, events.clone()).await;
    assert_eq!(first[0], first[1], "within one request too");
    let person = app.read(first[0]["profile_id"].as_str().expect("an id")).await;
    let again = taken(app, events).await;
    same(&json!(again), &json!(first));
    same(&app.read(id(&person)).await, &person);
    assert_eq!(timeline(app, id(&person), "&type=order").await.len(), 1);
    assert_eq!(sessions(app, id(&person)).await[0]["event_count"], 1);
}

async fn what_is_wrong_with_an_event_spoils_no_other(app: &App) {
    let gone = app.person(json!({"external_id": "gone"})).await;
    app.delete(&path(&gone, "")).await.ok();
    let fine = json!({"identities": by("external_id", "u1"), "type": "page"});
    let with = |field: &str, value: Value| {
        let mut event = fine.clone();
        event[field] = value;
        event
    };
    let cases = [
        (with("type", json!("")), 422, "/events/1/type"),
        (with("type", json!("system.updated")), 422, "/events/1/type"),
        (with("type", json!(1)), 422, "/events/1/type"),
        (with("channel", json!("We B")), 422, "/events/1/channel"),
        (with("occurred_at", json!("yesterday")), 422, "/events/1/occurred_at"),
        (with("occurred_at", json!("2999-01-01T00:00:00Z")), 422, "/events/1/occurred_at"),
        (with("identities", by("external_id", "null")), 422, "/events/1/identities/0/value"),
        (with("identities", json!([])), 422, "/events/1"),
        (with("profile_id", json!(id(&gone))), 422, "/events/1"),
        (with("properties", json!({"long": "x".repeat(40_000)})), 422, "/events/1/properties"),
        (with("session", json!({"id": ""})), 422, "/events/1/session/id"),
        (with("nonsense", json!(1)), 422, "/events/1/nonsense"),
        (json!({"profile_id": id(&gone), "type": "page"}), 410, ""),
        (json!({"profile_id": "0192f0c1-7d7e-7aaa-8000-000000000001", "type": "page"}), 404, ""),
        (json!("page"), 422, "/events/1"),
    ];
    for (case, status, pointer) in cases {
        let results = send(app, json!([fine, case, fine])).await;
        assert_eq!((&results[0]["status"], &results[2]["status"]), (&json!(201), &json!(201)), "{case}");
        assert_eq!(results[1]["status"], status, "{case}: {}", results[1]);
        if !pointer.is_empty() {
            assert_eq!(results[1]["error"]["errors"][0]["pointer"], pointer, "{case}: {}", results[1]);
        }
    }
    app.post("/v1/events").json(json!({"events": []})).await.refused_at("/events", "limit_exceeded");
    app.post("/v1/events").json(json!({"events": vec![fine.clone(); 2_501]})).await.refused_at("/events", "limit_exceeded");
    app.post("/v1/events").json(json!({"events": [fine], "sent_at": "now"})).await.refused_at("/sent_at", "invalid_datetime");
    // A key that is none is told of, and the event is taken for the others.
    let keys = json!([{"kind": "external_id", "value": "u1"}, {"kind": "email", "value": "nonsense"}]);
    let result = taken(app, json!([{"identities": keys, "type": "page"}])).await;
    assert_eq!(result[0]["refused"][0]["code"], "invalid_email", "{result:?}");
}

async fn a_person_seen_moves_up_and_has_channels(app: &App) {
    let person = app.person(ada()).await;
    taken(
        app,
        json!([
            {"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(100)},
            {"profile_id": id(&person), "type": "message", "channel": "whatsapp", "occurred_at": at(50)}
        ]),
    )
    .await;
    let seen = app.read(id(&person)).await;
    assert_eq!((&seen["last_seen_at"], &seen["last_channel"]), (&json!("2026-01-01T00:01:40.000000Z"), &json!("web")));
    assert_eq!(seen["channels"], json!(["web", "whatsapp"]));
    assert_eq!(version(&seen), version(&person) + 1, "a request's events are one change");
    assert_eq!(app.history(id(&person)).await.len(), 1, "being seen is not a change of a field");
    assert_eq!(app.filtered(json!({"field": "channels", "op": "has", "value": "whatsapp"})).await, ["crm-17"]);
    assert_eq!(app.filtered(json!({"field": "last_channel", "op": "eq", "value": "web"})).await, ["crm-17"]);
    assert_eq!(app.filtered(json!({"field": "last_seen_at", "op": "gte", "value": at(100)})).await, ["crm-17"]);
    taken(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(10)}])).await;
    same(&app.read(id(&person)).await, &seen);
    taken(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(200)}])).await;
    assert_eq!(app.filtered(json!({"field": "last_seen_at", "op": "gte", "value": at(200)})).await, ["crm-17"]);
    assert_eq!(app.find(json!({"q": "lovelace"})).await, ["crm-17"], "the search text stays");
}

/// Also where events that name no channel come in between, and across a merge and back.
async fn the_channel_used_last_goes_by_time_and_not_by_arrival(app: &App) {
    let event = |who: &str, seconds: i64, channel: Option<&str>| json!({"identities": by("external_id", who), "type": "visit", "occurred_at": at(seconds), "channel": channel});
    for (who, order) in [("u1", [(1, Some("web")), (3, None), (2, Some("chat"))]), ("u2", [(3, None), (2, Some("chat")), (1, Some("web"))])]
    {
        for (seconds, channel) in order {
            taken(app, json!([event(who, seconds, channel)])).await;
        }
        let person = app.get(&format!("/v1/profiles/lookup?external_id={who}")).await.ok();
        assert_eq!((&person["last_channel"], &person["channels"]), (&json!("chat"), &json!(["chat", "web"])), "{who}");
        assert_eq!(person["last_seen_at"], "2026-01-01T00:00:03.000000Z");
    }
    // Somebody who was seen later, and heard from earlier.
    taken(app, json!([event("u3", 1, Some("email")), event("u3", 9, None)])).await;
    let of = async |who: &str| app.get(&format!("/v1/profiles/lookup?external_id={who}")).await.ok();
    let (first, third) = (of("u1").await, of("u3").await);
    let merged = crate::merges::merge(app, &first, &third).await;
    assert_eq!(of("u3").await["last_channel"], "chat");
    crate::merges::revert(app, &merged).await;
    assert_eq!((&of("u1").await["last_channel"], &of("u3").await["last_channel"]), (&json!("chat"), &json!("email")));
}

async fn the_senders_clock_is_corrected(app: &App) {
    let body = json!({"sent_at": "2030-06-01T12:00:00Z", "events": [{"identities": by("external_id", "u1"), "type": "page", "occurred_at": "2030-06-01T11:59:00Z"}]});
    let results = app.post("/v1/events").json(body).await.ok();
    let event = app.get(&format!("/v1/events/{}", id(&results["results"][0]))).await.ok();
    let time = |field: &str| people_domain::Timestamp::parse(event[field].as_str().expect("a time")).expect("a time").micros();
    assert_eq!(time("received_at") - time("occurred_at"), 60_000_000, "a minute before it was sent: {event}");
    // A clock a little ahead, by which nothing else is known: placed at its receipt, and what it said is kept.
    let said = people_domain::Timestamp::from_micros(time("received_at") + 200_000_000).expect("a time").to_string();
    let ahead = taken(app, json!([{"identities": by("external_id", "u1"), "type": "page", "occurred_at": said}])).await;
    let event = app.get(&format!("/v1/events/{}", id(&ahead[0]))).await.ok();
    assert_eq!((&event["original_timestamp"], &event["occurred_at"]), (&json!(said), &event["received_at"]));
}

async fn an_anonymous_person_joins_the_identified_one(app: &App) {
    let anonymous = taken(
        app,
        json!([
            {"identities": by("anonymous_id", "a1"), "type": "page", "channel": "web", "occurred_at": at(0)},
            {"identities": by("anonymous_id", "a1"), "type": "page", "channel": "web", "occurred_at": at(60)}
        ]),
    )
    .await;
    let ada = app.person(ada()).await;
    taken(app, json!([{"profile_id": id(&ada), "type": "page", "channel": "web", "occurred_at": at(120)}])).await;
    let keys = json!([{"kind": "external_id", "value": "crm-17"}, {"kind": "anonymous_id", "value": "a1"}]);
    let joined = taken(app, json!([{"identities": keys, "type": "login", "channel": "web", "occurred_at": at(180)}])).await;
    assert_eq!(joined[0]["profile_id"], ada["id"], "the identified person is the one who stays");
    let person = app.read(id(&ada)).await;
    assert_eq!(identities(&person, "anonymous_id"), ["a1"]);
    assert_eq!(person["merged_from"], json!([anonymous[0]["profile_id"]]));
    let line = timeline(app, id(&ada), "").await;
    assert_eq!(line.iter().filter(|e| e["type"] == "page").count(), 3, "no event is lost: {line:?}");
    assert!(types(&line).contains(&"system.merged"), "{line:?}");
    assert!(line.iter().all(|e| e["profile_id"] == ada["id"]), "{line:?}");
    let sessions = sessions(app, id(&ada)).await;
    assert_eq!(sessions.len(), 1, "what is one visit is one session: {sessions:?}");
    assert_eq!((&sessions[0]["event_count"], &sessions[0]["duration_seconds"]), (&json!(4), &json!(180)));
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 1}));
    assert_eq!(app.find(json!({"q": "a1"})).await, ["crm-17"], "found by the key that was learnt");
}

async fn merges_within_one_request_keep_everything(app: &App) {
    let results = taken(app, json!([
        {"identities": by("anonymous_id", "a1"), "type": "page", "channel": "web", "occurred_at": at(0)},
        {"identities": by("anonymous_id", "a2"), "type": "page", "channel": "app", "occurred_at": at(1)},
        {"identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "anonymous_id", "value": "a2"}], "type": "page", "occurred_at": at(2)},
        {"identities": by("external_id", "u1"), "type": "page", "channel": "web", "occurred_at": at(3)},
        {"identities": [{"kind": "anonymous_id", "value": "a2"}, {"kind": "external_id", "value": "u1"}], "type": "login", "occurred_at": at(4)},
        {"identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "email", "value": "u1@example.com"}], "type": "subscribe", "occurred_at": at(5)}
    ]))
    .await;
    let survivor = results[4]["profile_id"].as_str().expect("an id");
    assert_eq!(results[5]["profile_id"], survivor);
    let person = app.read(survivor).await;
    assert_eq!(list(&person, "identities").len(), 4, "{person}");
    assert_eq!(person["channels"], json!(["app", "web"]));
    assert_eq!(list(&person, "merged_from").len(), 2, "{person}");
    let line = timeline(app, survivor, "").await;
    assert_eq!(line.iter().filter(|e| !e["type"].as_str().expect("a type").starts_with("system.")).count(), 6, "{line:?}");
    for old in [&results[0], &results[1], &results[3]] {
        same(&app.read(old["profile_id"].as_str().expect("an id")).await, &person);
    }
    // The same keys find the same person, and none is held by anybody else.
    for (kind, value) in [("anonymous_id", "a1"), ("anonymous_id", "a2"), ("external_id", "u1"), ("email", "u1@example.com")] {
        let found = app.get(&format!("/v1/profiles/lookup?kind={kind}&value={value}")).await.ok();
        same(&found, &person);
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 1}));
    let counted: i64 = sessions(app, survivor).await.iter().filter_map(|s| s["event_count"].as_i64()).sum();
    assert_eq!(counted, 6);
}

async fn identified_people_never_merge_by_themselves(app: &App) {
    let ada = app.person(json!({"external_id": "u1", "email": "ada@example.com"})).await;
    let grace = app.person(json!({"external_id": "u2"})).await;
    let keys = json!([{"kind": "email", "value": "ada@example.com"}, {"kind": "external_id", "value": "u2"}]);
    let results = taken(app, json!([{"identities": keys, "type": "page", "message_id": "m"}])).await;
    assert_eq!(results[0]["profile_id"], grace["id"], "the strongest key decides");
    let refused = json!([{"kind": "email", "value": "ada@example.com", "code": "identity_conflict", "profile_id": ada["id"]}]);
    assert_eq!(results[0]["refused"], refused);
    same(&json!(taken(app, json!([{"identities": keys, "type": "page", "message_id": "m"}])).await), &json!(results));
    same(&app.read(id(&ada)).await, &ada);
    let line = timeline(app, id(&grace), "&type=system.identity_refused").await;
    assert_eq!(line.len(), 1);
    assert_eq!(line[0]["properties"]["fields"], json!(["identities.email"]));
    // A shared device: the key stays with whom it belongs to.
    taken(
        app,
        json!([{"identities": [{"kind": "external_id", "value": "u1"}, {"kind": "anonymous_id", "value": "tablet"}], "type": "page"}]),
    )
    .await;
    let keys = json!([{"kind": "external_id", "value": "u9"}, {"kind": "anonymous_id", "value": "tablet"}]);
    let results = taken(app, json!([{"identities": keys, "type": "page"}])).await;
    assert!(results[0]["profile_id"] != ada["id"] && results[0]["refused"][0]["code"] == "shared_device", "{results:?}");
}

async fn a_merged_id_answers_for_the_survivor(app: &App) {
    let old = taken(app, json!([{"identities": by("anonymous_id", "a1"), "type": "page"}])).await[0]["profile_id"].clone();
    let old = old.as_str().expect("an id");
    let keys = |external: &str| json!([{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": external}]);
    let ada = app.person(json!({"external_id": "u1"})).await;
    taken(app, json!([{"identities": keys("u1"), "type": "login"}])).await;
    let answer = app.get(&format!("/v1/profiles/{old}")).await;
    same(&answer.ok(), &app.read(id(&ada)).await);
    assert_eq!(answer.header("content-location"), Some(path(&ada, "").as_str()));
    assert!(answer.header("etag").is_some());
    same(&json!(timeline(app, old, "").await), &json!(timeline(app, id(&ada), "").await));
    same(&json!(app.history(old).await), &json!(app.history(id(&ada)).await));
    same(&json!(sessions(app, old).await), &json!(sessions(app, id(&ada)).await));
    let patched = app.patch(&format!("/v1/profiles/{old}")).json(json!({"city": "London"})).await.ok();
    assert_eq!((&patched["id"], &patched["city"]), (&ada["id"], &json!("London")));
    let late = taken(app, json!([{"profile_id": old, "type": "late"}])).await;
    assert_eq!(late[0]["profile_id"], ada["id"], "late events go to the survivor");
    app.delete(&format!("/v1/profiles/{old}")).await.ok();
    app.get(&format!("/v1/profiles/{old}")).await.refused(410, "profile_erased");
    app.get(&path(&ada, "")).await.refused(410, "profile_erased");
}

async fn erasure_takes_the_timeline_and_the_merge_along(app: &App) {
    let results = taken(app, json!([
        {"identities": by("anonymous_id", "secret-device"), "type": "secret_page", "channel": "web"},
        {"identities": by("external_id", "secret-id"), "type": "secret_page", "channel": "web", "properties": {"word": "secret-word"}},
        {"identities": [{"kind": "anonymous_id", "value": "secret-device"}, {"kind": "external_id", "value": "secret-id"}], "type": "secret_login"}
    ]))
    .await;
    let survivor = results[2]["profile_id"].as_str().expect("an id");
    let receipt = app.delete(&format!("/v1/profiles/{survivor}")).await.ok();
    assert_eq!((&receipt["counts"]["events"], &receipt["counts"]["merges"]), (&json!(3), &json!(1)), "{receipt}");
    app.get(&format!("/v1/events/{}", id(&results[1]))).await.refused(404, "not_found");
    for table in ["events", "sessions", "merges", "profile_history", "profile_identities", "profile_documents"] {
        let count = app.database().one(&format!("SELECT count(*) FROM {table} WHERE profile_id = {}", literal(app, survivor))).await;
        assert_eq!(count, "0", "{table}");
    }
}

/// An id as the engine writes it in a statement.
pub(crate) fn literal(app: &App, id: &str) -> String {
    if app.engine == people_tests::Engine::Sqlite { format!("x'{}'", id.replace('-', "")) } else { format!("'{id}'") }
}

async fn sessions_follow_from_events_in_any_order(app: &App) {
    app.patch("/v1/workspace").json(json!({"session_gap_seconds": 600})).await.ok();
    let event = |seconds: i64, channel: &str| json!({"identities": by("external_id", "u1"), "type": "page", "channel": channel, "occurred_at": at(seconds)});
    let first = taken(app, json!([event(0, "web"), event(900, "web"), event(900, "app")])).await;
    let profile = first[0]["profile_id"].as_str().expect("an id");
    assert_eq!(sessions(app, profile).await.len(), 3);
    taken(app, json!([event(450, "web")])).await;
    let two = sessions(app, profile).await;
    assert_eq!(two.len(), 2, "a late event joins what it stands between: {two:?}");
    let web = two.iter().find(|s| s["channel"] == "web").expect("the session of the web");
    assert_eq!((&web["event_count"], &web["duration_seconds"]), (&json!(3), &json!(900)));
    let inside = app.get(&format!("/v1/sessions/{}/events", id(web))).await.ok();
    assert_eq!(list(&inside, "data").len(), 3);
    assert!(list(&inside, "data").iter().all(|e| e["session_id"] == web["id"]), "{inside}");
    same(&app.get(&format!("/v1/sessions/{}", id(web))).await.ok(), web);
    same(&json!(timeline(app, profile, &format!("&session_id={}", id(web))).await), &inside["data"]);
}

async fn a_session_named_by_its_sender_is_one(app: &App) {
    let event = |seconds: i64, properties: Value| {
        json!({"identities": by("external_id", "u1"), "type": "page", "channel": "web", "occurred_at": at(seconds),
        "session": {"id": "visit-1", "properties": properties}})
    };
    let results = taken(app, json!([event(0, json!({"landing": "/spring"})), event(90_000, json!({"exit": "/cart"}))])).await;
    let profile = results[0]["profile_id"].as_str().expect("an id");
    taken(app, json!([event(50, json!({}))])).await;
    let sessions = sessions(app, profile).await;
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!(sessions[0]["properties"], json!({"landing": "/spring", "exit": "/cart"}));
    assert_eq!((&sessions[0]["event_count"], &sessions[0]["sender_id"]), (&json!(3), &json!("visit-1")));
    assert_eq!(app.read(profile).await["attributes"], json!({}), "nothing of a session leaks into the profile");
}

async fn the_latest_word_about_a_session_counts_in_any_order(app: &App) {
    let event = |seconds: i64, properties: Value| json!({"identities": by("external_id", "u1"), "type": "page", "occurred_at": at(seconds), "session": {"properties": properties}});
    let first = taken(app, json!([event(1_800, json!({"exit": "/cart", "plan": "pro"}))])).await;
    let profile = first[0]["profile_id"].as_str().expect("an id");
    // Earlier and told later: of what is known it changes nothing.
    taken(app, json!([event(1_000, json!({"exit": "/", "landing": "/spring", "plan": "free"}))])).await;
    taken(app, json!([event(900, json!({"landing": "/"}))])).await;
    // Two sessions become one by what stands between them.
    taken(app, json!([event(4_500, json!({"exit": "/thanks"}))])).await;
    assert_eq!(sessions(app, profile).await.len(), 2);
    taken(app, json!([event(3_000, json!({"exit": "/pay", "plan": "team"}))])).await;
    let whole = sessions(app, profile).await;
    assert_eq!(whole.len(), 1, "{whole:?}");
    assert_eq!(whole[0]["properties"], json!({"exit": "/thanks", "plan": "team", "landing": "/spring"}));
}

/// A session stands in its table on the day it ended: one that goes on is the same one on the next day, in any order of arrival,
/// and the list is walked by the moment, whatever the day; before 1970 too.
async fn sessions_go_on_past_midnight(app: &App) {
    let midnights = ["1970-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-03-01T00:00:00Z"];
    let around = |midnight: &str| {
        let midnight = people_domain::Timestamp::parse(midnight).expect("a time").micros();
        [-700, -20, 300, 1_500]
            .map(|seconds| people_domain::Timestamp::from_micros(midnight + seconds * 1_000_000).expect("a time").short())
    };
    let whole = |short: &str| short.replace('Z', ".000000Z");
    let mut expected: Vec<(String, String)> = Vec::new();
    let mut profile = String::new();
    for (n, midnight) in midnights.into_iter().enumerate() {
        let times = around(midnight);
        expected.push((whole(&times[0]), whole(&times[3])));
        // In another order each time, and one by one: the session is moved from day to day and back into its place.
        let order = [[0, 1, 2, 3], [3, 0, 2, 1], [1, 3, 0, 2]][n];
        for place in order {
            let event = json!({"identities": by("external_id", "u1"), "type": "page", "channel": "web", "occurred_at": times[place]});
            profile = taken(app, json!([event])).await[0]["profile_id"].as_str().expect("an id").to_owned();
        }
    }
    // Several of one day, ended at the same moment too.
    for (sender, seconds) in [("a", 40_000), ("b", 40_000), ("c", 40_001), ("d", 86_399)] {
        let event = json!({"identities": by("external_id", "u1"), "type": "page", "channel": "web", "occurred_at": at(seconds), "session": {"id": sender}});
        taken(app, json!([event])).await;
        expected.push((whole(&at(seconds)), whole(&at(seconds))));
    }
    expected.sort_by(|one, other| other.1.cmp(&one.1));
    let all = sessions(app, &profile).await;
    let told: Vec<(String, String)> = all
        .iter()
        .map(|s| (s["started_at"].as_str().unwrap_or_default().to_owned(), s["ended_at"].as_str().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(told, expected);
    for session in &all {
        let count = if session["sender_id"].is_null() { 4 } else { 1 };
        assert_eq!(session["event_count"], json!(count), "{session}");
    }
    for limit in [1, 2, 3] {
        let mut walked: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = app.get(&format!("/v1/profiles/{profile}/sessions?limit={limit}{cursor}")).await.ok();
            walked.extend(list(&page, "data").iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        same(&json!(walked), &json!(all));
    }
    // The access export walks the same rows from the oldest on.
    let export = app.get(&format!("/v1/profiles/{profile}/export")).await.ok();
    let ended: Vec<&str> = list(&export, "sessions").iter().filter_map(|s| s["ended_at"].as_str()).collect();
    let mut oldest_first: Vec<&str> = expected.iter().map(|(_, ended)| ended.as_str()).collect();
    oldest_first.reverse();
    assert_eq!(ended, oldest_first);
}

async fn the_timeline_is_walked_and_filtered(app: &App) {
    let events: Vec<Value> = (0..25)
        .map(|n| {
            let channel = if n % 2 == 0 { "web" } else { "app" };
            json!({"identities": by("external_id", "u1"), "type": format!("t{}", n % 3), "channel": channel, "occurred_at": at(n / 2 * 100)})
        })
        .collect();
    let profile = taken(app, json!(events)).await[0]["profile_id"].as_str().expect("an id").to_owned();
    app.patch(&format!("/v1/profiles/{profile}")).json(json!({"city": "London"})).await.ok();
    let whole = timeline(app, &profile, "").await;
    assert_eq!(whole.len(), 27);
    let mut walked: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/profiles/{profile}/timeline?limit=4{cursor}")).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        // What arrives meanwhile does not move the walk.
        taken(app, json!([{"identities": by("external_id", "u1"), "type": "new"}])).await;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    same(&json!(walked), &json!(whole));
    assert_eq!(timeline(app, &profile, "&type=t1").await.len(), 8);
    assert_eq!(timeline(app, &profile, "&channel=app").await.len(), 12);
    assert_eq!(timeline(app, &profile, &format!("&from={}&to={}&type=t0", at(0), at(100))).await.len(), 1);
    assert_eq!(types(&timeline(app, &profile, "&type=system").await), ["system.updated", "system.created"]);
    assert_eq!(types(&timeline(app, &profile, "&type=system.created").await), ["system.created"]);
    assert_eq!(timeline(app, &profile, "&type=t1&type=t0&channel=app").await.len(), 8);
    for wrong in ["&type=t1", "&type=t1&type=t2", "&system=false"] {
        app.get(&format!("/v1/profiles/{profile}/timeline?limit=4{wrong}{cursor}")).await.refused(400, "cursor_mismatch");
    }
    let many = (0..21).map(|n| format!("type=t{n}")).collect::<Vec<_>>().join("&");
    for wrong in [many.as_str(), "system=1", "limit=0", "limit=201", "from=now", "session_id=x", "cursor=x", "nonsense=1"] {
        assert_eq!(app.get(&format!("/v1/profiles/{profile}/timeline?{wrong}")).await.status, 400, "{wrong}");
    }
}

/// Everything of a directory that does not depend on ids and on when it was told.
async fn portrait(app: &App) -> Value {
    let mut people = Vec::new();
    for external in app.find(json!({"sort": "name"})).await {
        let person = app.get(&format!("/v1/profiles/lookup?external_id={external}")).await.ok();
        let mut keys: Vec<String> = list(&person, "identities").iter().map(|i| format!("{} {}", i["kind"], i["value"])).collect();
        keys.sort();
        let mut visits: Vec<Value> = sessions(app, id(&person))
            .await
            .iter()
            .map(|s| {
                // The order of members says nothing.
                let told: std::collections::BTreeMap<&String, &Value> = s["properties"].as_object().into_iter().flatten().collect();
                json!([s["channel"], s["sender_id"], s["started_at"], s["ended_at"], s["event_count"], told])
            })
            .collect();
        visits.sort_by_key(Value::to_string);
        let mut events: Vec<Value> = timeline(app, id(&person), "")
            .await
            .iter()
            .filter(|e| !e["type"].as_str().expect("a type").starts_with("system."))
            .map(|e| json!([e["message_id"], e["occurred_at"], e["type"]]))
            .collect();
        events.sort_by_key(Value::to_string);
        people.push(json!([external, keys, visits, events, person["last_seen_at"], person["channels"], person["last_channel"]]));
    }
    people.sort_by_key(Value::to_string);
    json!(people)
}

/// A hundred people, each with three devices that become theirs by and by, an address, and visits on two channels, some
/// of them named by the sender: 2,400 events, each at an instant of its own.
fn lives() -> Vec<Value> {
    (0..2_400_i64)
        .map(|n| {
            let (person, step) = (n % 100, n / 100);
            let user = json!({"kind": "external_id", "value": format!("u{person:02}")});
            let device = json!({"kind": "anonymous_id", "value": format!("a{person:02}-{}", step % 3)});
            let address = json!({"kind": "email", "value": format!("u{person:02}@example.com")});
            let keys = match step % 8 {
                // Somebody on a device, not known who.
                0..=3 => json!([device]),
                4 | 5 => json!([user]),
                // The device is theirs. Every device gets here: 8 and 3 have no divisor in common.
                6 => json!([device, user]),
                _ => json!([user, address]),
            };
            let mut event = json!({"identities": keys, "type": format!("t{}", step % 4), "channel": if step % 2 == 0 { "web" } else { "app" },
                // Seven minutes apart on the whole, with gaps that divide sessions.
                "occurred_at": at(step * 420 + (step / 5) * 3_000 + person), "message_id": format!("m{n}")});
            if step % 9 == 0 {
                event["session"] = json!({"id": format!("visit-{}", step / 12), "properties": {"landing": "/spring", "step": step}});
            } else if step % 9 < 5 {
                // What one event says of a session, another says otherwise.
                event["session"] = json!({"properties": {"step": step, format!("of {}", step % 2): step}});
            }
            event
        })
        .collect()
}

/// Sixteen clients at once, each with its share and some of the next one's, shuffled; some requests are sent twice at the
/// same time, some again later. Where they end is compared whole: who holds which keys, sessions with their bounds and
/// counts, every event once.
async fn shuffled_senders_end_where_the_ordered_replay_ends(app: &App) {
    const CLIENTS: usize = 16;
    let events = lives();
    let replay = app.neighbour();
    taken(&replay, json!(events)).await;
    let senders = (0..CLIENTS).map(|client| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(client as u64);
        let mut mine: Vec<Value> = events.iter().skip(client).step_by(CLIENTS).cloned().collect();
        mine.extend(events.iter().skip((client + 1) % CLIENTS).step_by(4 * CLIENTS).cloned());
        mine.shuffle(&mut rng);
        async move {
            for (n, part) in mine.chunks(12).enumerate() {
                let sent = taken(app, json!(part));
                let first = if n % 3 == 0 {
                    let (first, twin) = tokio::join!(sent, taken(app, json!(part)));
                    let id = |results: &[Value]| results.iter().map(|r| r["id"].clone()).collect::<Vec<_>>();
                    assert_eq!(id(&first), id(&twin), "the same events, whichever request was first");
                    first
                } else {
                    sent.await
                };
                if n % 4 == 1 {
                    let again = taken(app, json!(part)).await;
                    assert!(first.iter().zip(&again).all(|(a, b)| a["id"] == b["id"]), "a retry is answered with the same events");
                }
            }
        }
    });
    futures_util::future::join_all(senders).await;
    for directory in [app, &replay] {
        assert_eq!(directory.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 100}), "nobody is left over");
    }
    let ended = portrait(app).await;
    same(&ended, &portrait(&replay).await);
    let people = ended.as_array().expect("people");
    assert!(people.iter().all(|p| p[1].as_array().map(Vec::len) == Some(5)), "three devices, an id and an address each: {}", people[0]);
    assert_eq!(people.iter().filter_map(|p| p[3].as_array()).map(Vec::len).sum::<usize>(), 2_400);
}

async fn two_first_events_at_once_make_one_person(app: &App) {
    for round in 0..20 {
        let event = json!([{"identities": by("external_id", &format!("u{round}")), "type": "page"}]);
        let results = futures_util::future::join_all((0..4).map(|_| taken(app, event.clone()))).await;
        assert!(results.iter().all(|r| r[0]["profile_id"] == results[0][0]["profile_id"]), "{results:?}");
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 20}));
}

async fn behavioural_filters_see_the_events(app: &App) {
    for (person, totals) in [("u1", vec![50, 150, 200]), ("u2", vec![150]), ("u3", vec![])] {
        app.person(json!({"external_id": person})).await;
        for total in totals {
            taken(app, json!([{"identities": by("external_id", person), "type": "order", "properties": {"total": total}}])).await;
        }
    }
    let large = |count: i64| json!({"event": "order", "where": [{"field": "properties.total", "op": "gt", "value": 100}], "count": {"gte": count}, "within": "P1D"});
    assert_eq!(app.filtered(large(1)).await, ["u1", "u2"]);
    assert_eq!(app.filtered(large(2)).await, ["u1"]);
    assert_eq!(app.filtered(json!({"event": "order", "count": {"eq": 0}})).await, ["u3"]);
    let export = app.post("/v1/profiles/export").json(json!({"filter": large(2)})).await.text();
    assert_eq!(export.lines().count(), 1);
}

/// What is counted beside each person's document is what their timeline says, after late events, repeats and merges.
pub(crate) async fn tallies_are_those_of_the_timeline(app: &App) {
    let kinds = ["order_completed", "$pageview", "a \"quoted\" \\ 100% type", "12"];
    let mut n = 0;
    let mut event = |keys: Value, seconds: i64| {
        n += 1;
        json!({"identities": keys, "type": kinds[n % kinds.len()], "channel": "web", "occurred_at": at(seconds), "message_id": format!("m{n}")})
    };
    let known = json!([{"kind": "external_id", "value": "u1"}]);
    let device = json!([{"kind": "anonymous_id", "value": "a1"}]);
    let both = json!([{"kind": "external_id", "value": "u1"}, {"kind": "anonymous_id", "value": "a1"}]);
    let first: Vec<Value> = (0..9).map(|i| event(known.clone(), i * 1_000)).collect();
    let late: Vec<Value> = (0..9).map(|i| event(device.clone(), 5_000 - i * 700)).collect();
    let joined: Vec<Value> = (0..5).map(|i| event(both.clone(), i)).collect();
    taken(app, json!(first)).await;
    taken(app, json!(late)).await;
    taken(app, json!(joined)).await;
    taken(app, json!(late)).await;
    let many: Vec<Value> =
        (0..130).map(|i| json!({"identities": by("external_id", "u2"), "type": format!("type {i}"), "occurred_at": at(i)})).collect();
    taken(app, json!(many)).await;
    for (kind, count) in [(kinds[0], 5), (kinds[1], 6), (kinds[2], 6), (kinds[3], 6), ("never", 0)] {
        for (op, bound, wanted) in [("eq", count, true), ("gte", count, true), ("gt", count, false), ("lt", count, false)] {
            let filter = json!({"all": [{"field": "external_id", "op": "eq", "value": "u1"}, {"event": kind, "count": {op: bound}}]});
            let expected: &[&str] = if wanted { &["u1"] } else { &[] };
            assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
        }
    }
    // More types than are counted by name: the timeline itself is asked.
    for kind in ["type 3", "type 129"] {
        assert_eq!(app.filtered(json!({"event": kind, "count": {"eq": 1}})).await, ["u2"]);
        assert_eq!(app.filtered(json!({"event": kind, "within": "P3650D"})).await, ["u2"]);
    }
    assert_eq!(app.filtered(json!({"event": "type 200", "count": {"lt": 1}})).await, ["u1", "u2"]);
}

async fn json_that_cannot_be_read_spoils_no_other_event(app: &App) {
    let event = |properties: &str| {
        format!(r#"{{"identities": [{{"kind": "external_id", "value": "u1"}}], "type": "e", "properties": {properties}}}"#)
    };
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let items = [
        event("{}"),
        event(r#"{"a": {"b": "\u0000"}}"#),
        event(r#"{"a": "\ud800"}"#),
        event(r#"{"a": 1e400}"#),
        event(r#"{"a": 1, "a": 2}"#),
        event(&format!(r#"{{"a": {deep}}}"#)),
        r#"[null, [{"kind": "external_id", "value": "u1"}], "e"]"#.to_owned(),
        "null".to_owned(),
        r#"{"identities": "u1", "type": "e"}"#.to_owned(),
        event(r#"{"last": true}"#),
    ];
    let body = format!(r#"{{"events": [{}]}}"#, items.join(", "));
    let send = async || app.post("/v1/events").idempotency_key("once").bytes("application/json", body.clone()).await;
    let answer = send().await.ok();
    let told: Vec<Value> = list(&answer, "results")
        .iter()
        .map(|result| {
            json!([
                result["status"],
                result["error"]["code"],
                result["error"]["errors"][0]["code"],
                result["error"]["errors"][0]["pointer"]
            ])
        })
        .collect();
    let invalid = |code: &str, at: &str| json!([422, "validation_failed", code, at]);
    assert_eq!(
        told,
        [
            json!([201, null, null, null]),
            invalid("nul_character", "/events/1/properties/a/b"),
            invalid("unpaired_surrogate", "/events/2"),
            invalid("number_out_of_range", "/events/3"),
            json!([400, "duplicate_key", "duplicate_key", "/events/4/properties/a"]),
            json!([422, "too_deep", null, null]),
            invalid("wrong_type", "/events/6"),
            invalid("wrong_type", "/events/7"),
            invalid("wrong_type", "/events/8/identities"),
            json!([201, null, null, null])
        ]
    );
    assert!(!answer.to_string().contains("struct"), "{answer}");
    let ada = app.get("/v1/profiles/lookup?kind=external_id&value=u1").await.ok();
    assert_eq!(timeline(app, id(&ada), "&type=e").await.len(), 2);
    same(&send().await.ok(), &answer);
    // What is wrong elsewhere is wrong with all of it.
    for (body, status, code) in [
        (format!(r#"{{"events": [{}], "sent_at": "\u0000"}}"#, event("{}")), 422, "validation_failed"),
        (format!(r#"{{"events": [{}], "events": []}}"#, event("{}")), 400, "duplicate_key"),
        (format!(r#"{{"events": [{}, ]}}"#, event("{}")), 400, "malformed_json"),
    ] {
        app.post("/v1/events").bytes("application/json", body).await.refused(status, code);
    }
    let batch = r#"{"items": [{"op": "create", "external_id": "a\u0000"}, {"op": "create", "external_id": "fine"}]}"#;
    let answer = app.post("/v1/profiles/batch").bytes("application/json", batch).await.ok();
    assert_eq!((&answer["results"][0]["status"], &answer["results"][1]["status"]), (&json!(422), &json!(201)), "{answer}");
    assert_eq!(answer["results"][0]["error"]["errors"][0]["pointer"], "/items/0/external_id");
}

async fn whatever_stands_on_a_timeline_is_read_by_its_id(app: &App) {
    let person = app.person(ada()).await;
    taken(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(0)}])).await;
    app.patch(&path(&person, "")).json(json!({"city": "Paris"})).await.ok();
    app.put(&path(&person, "/labels/late")).await.ok();
    let line = timeline(app, id(&person), "").await;
    let mut kinds = types(&line);
    kinds.sort_unstable();
    assert_eq!(kinds, ["page", "system.created", "system.label_added", "system.updated"]);
    let neighbour = app.neighbour();
    for event in &line {
        same(&app.get(&format!("/v1/events/{}", id(event))).await.ok(), event);
        neighbour.get(&format!("/v1/events/{}", id(event))).await.refused(404, "not_found");
    }
    app.delete(&path(&person, "")).await.ok();
    for event in &line {
        app.get(&format!("/v1/events/{}", id(event))).await.refused(404, "not_found");
    }
}

async fn a_type_is_asked_for_as_it_was_sent(app: &App) {
    for sent in ["cafe\u{301}", "  spaced out "] {
        let results = taken(app, json!([{"identities": by("external_id", sent.trim()), "type": sent}])).await;
        let person = results[0]["profile_id"].as_str().expect("an id");
        assert_eq!(app.search(json!({"filter": {"event": sent}})).await["data"][0]["id"], person, "{sent}");
        assert_eq!(timeline(app, person, &format!("&type={}", percent(sent))).await.len(), 1, "{sent}");
    }
    assert_eq!(app.search(json!({"filter": {"event": "café"}})).await["data"].as_array().map(Vec::len), Some(1));
}

async fn a_person_takes_in_only_so_many_visitors(app: &App) {
    for n in 0..52 {
        let visitor = format!("visitor-{n:02}");
        let keys = json!([{"kind": "external_id", "value": "u1"}, {"kind": "anonymous_id", "value": visitor}]);
        taken(app, json!([{"identities": by("anonymous_id", &visitor), "type": "page"}])).await;
        let told = taken(app, json!([{"identities": keys, "type": "sign_in"}])).await;
        let refused = &told[0]["refused"][0];
        assert_eq!(refused["code"], if n < 50 { Value::Null } else { json!("identity_cap") }, "{n}: {told:?}");
    }
    let person = app.get("/v1/profiles/lookup?kind=external_id&value=u1").await.ok();
    assert_eq!(identities(&person, "anonymous_id").len(), 50);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 3}), "the last two are visitors still");
}
