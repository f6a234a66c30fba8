//! The filter language, operator by operator: what matches, what does not, and what becomes of those with no value.

use people_tests::{App, stories};
use serde_json::{Value, json};

use crate::cast::path;

stories![
    texts_are_compared_as_they_are_and_matched_as_they_sound,
    numbers_are_compared_as_numbers,
    booleans_are_true_false_or_missing,
    dates_are_compared_as_instants,
    sets_are_asked_for_their_members,
    choices_are_compared_whole,
    missing_matches_only_what_says_so,
    all_any_and_not_combine,
    no_condition_is_everyone_and_no_alternative_no_one,
    identities_of_the_top_are_fields,
    recent_is_counted_from_now,
    mistakes_are_told_at_their_place_with_what_is_allowed,
    a_filter_has_its_limits,
    conditions_on_events_nobody_sent_match_no_one,
    signs_in_values_are_letters,
];

/// Four people and one nobody knows anything about: `e`.
async fn table(app: &App) {
    app.post("/v1/properties").json(json!({"key": "tier", "type": "enum", "options": ["gold", "silver"]})).await.created();
    let people = [
        json!({"external_id": "a", "company": "Acme Räder", "country": "GB", "email": "a@example.com", "labels": ["vip", "beta"],
               "consents": [{"channel": "email", "status": "opted_in"}],
               "attributes": {"plan": "Pro", "seats": 5, "active": true, "since": "2026-01-01", "at": "2026-01-01T12:00:00Z", "tags": ["x", "y"], "tier": "gold"}}),
        json!({"external_id": "b", "company": "acme", "country": "IE", "phone": "+442079460000", "labels": ["vip"],
               "consents": [{"channel": "email", "status": "opted_out"}],
               "attributes": {"plan": "pro", "seats": 50, "active": false, "since": "2026-02-01", "at": "2026-01-01T13:00:00+01:00", "tags": ["y"], "tier": "silver"}}),
        json!({"external_id": "c", "company": "Zebra 100%", "country": "US", "labels": ["Beta"],
               "attributes": {"plan": "free", "seats": -1.5, "since": "2025-12-31", "at": "2026-01-02T00:00:00.000001Z", "tags": []}}),
        json!({"external_id": "d", "company": "100 Zebras", "attributes": {"plan": "10", "seats": 9, "active": true}}),
        json!({"external_id": "e"}),
    ];
    for person in people {
        app.person(person).await;
    }
}

#[track_caller]
fn case(filter: Value, expected: &str) -> (Value, Vec<String>) {
    (filter, expected.chars().map(String::from).collect())
}

/// Each filter with the people it matches, as the letters of their external ids.
async fn check(app: &App, cases: &[(&str, &str, Value, &str)]) {
    for (field, op, value, expected) in cases {
        let mut filter = json!({"field": field, "op": op});
        if !value.is_null() {
            filter["value"] = value.clone();
        }
        let (filter, expected) = case(filter, expected);
        assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
        // `not` is the complement, whatever is missing.
        let rest: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|s| (*s).to_owned()).filter(|s| !expected.contains(s)).collect();
        assert_eq!(app.filtered(json!({"not": filter})).await, rest, "not {filter}");
    }
}

async fn texts_are_compared_as_they_are_and_matched_as_they_sound(app: &App) {
    table(app).await;
    let none = Value::Null;
    check(
        app,
        &[
            ("company", "eq", json!("acme"), "b"),
            ("company", "eq", json!("Acme"), ""),
            ("company", "ne", json!("acme"), "acde"),
            ("company", "in", json!(["acme", "Zebra 100%", "nobody"]), "bc"),
            ("company", "in", json!([]), ""),
            ("company", "not_in", json!(["acme", "Zebra 100%"]), "ade"),
            ("company", "not_in", json!([]), "abcde"),
            ("company", "exists", none.clone(), "abcd"),
            ("company", "missing", none.clone(), "e"),
            ("company", "contains", json!("ZEBRA"), "cd"),
            ("company", "contains", json!("rader"), "a"),
            ("company", "contains", json!("0%"), "c"),
            ("company", "starts_with", json!("ACMÉ"), "ab"),
            ("company", "starts_with", json!("100"), "d"),
            ("company", "ends_with", json!("räder"), "a"),
            ("company", "ends_with", json!("%"), "c"),
            ("attributes.plan", "eq", json!("pro"), "b"),
            ("attributes.plan", "contains", json!("PRO"), "ab"),
            ("attributes.plan", "eq", json!("10"), "d"),
            ("attributes.plan", "missing", none, "e"),
            ("country", "eq", json!("gb"), "a"),
            ("country", "in", json!(["GB", "IE"]), "ab"),
            ("country", "ne", json!("US"), "abde"),
        ],
    )
    .await;
}

async fn numbers_are_compared_as_numbers(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("attributes.seats", "eq", json!(5), "a"),
            ("attributes.seats", "eq", json!(5.0), "a"),
            ("attributes.seats", "eq", json!(-1.5), "c"),
            ("attributes.seats", "ne", json!(5), "bcde"),
            ("attributes.seats", "in", json!([5, 9]), "ad"),
            ("attributes.seats", "not_in", json!([5, 9]), "bce"),
            ("attributes.seats", "gt", json!(9), "b"),
            ("attributes.seats", "gte", json!(9), "bd"),
            ("attributes.seats", "lt", json!(5), "c"),
            ("attributes.seats", "lte", json!(5), "ac"),
            ("attributes.seats", "lt", json!(10), "acd"),
            ("attributes.seats", "between", json!([5, 50]), "abd"),
            ("attributes.seats", "between", json!([50, 5]), ""),
            ("attributes.seats", "between", json!([-2, 0]), "c"),
            ("attributes.seats", "exists", Value::Null, "abcd"),
            ("attributes.seats", "missing", Value::Null, "e"),
        ],
    )
    .await;
}

async fn booleans_are_true_false_or_missing(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("attributes.active", "eq", json!(true), "ad"),
            ("attributes.active", "eq", json!(false), "b"),
            ("attributes.active", "ne", json!(true), "bce"),
            ("attributes.active", "in", json!([true, false]), "abd"),
            ("attributes.active", "not_in", json!([false]), "acde"),
            ("attributes.active", "exists", Value::Null, "abd"),
            ("attributes.active", "missing", Value::Null, "ce"),
        ],
    )
    .await;
}

async fn dates_are_compared_as_instants(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("attributes.since", "eq", json!("2026-01-01"), "a"),
            ("attributes.since", "gt", json!("2025-12-31"), "ab"),
            ("attributes.since", "gte", json!("2025-12-31T00:00:00Z"), "abc"),
            ("attributes.since", "lt", json!("2026-01-01"), "c"),
            ("attributes.since", "lte", json!("2026-01-01"), "ac"),
            ("attributes.since", "between", json!(["2025-12-31", "2026-01-01"]), "ac"),
            ("attributes.since", "ne", json!("2026-01-01"), "bcde"),
            ("attributes.since", "in", json!(["2026-01-01", "2026-02-01"]), "ab"),
            ("attributes.since", "missing", Value::Null, "de"),
            // Noon in London is one o'clock in Paris.
            ("attributes.at", "eq", json!("2026-01-01T12:00:00Z"), "ab"),
            ("attributes.at", "eq", json!("2026-01-01T13:00:00+01:00"), "ab"),
            ("attributes.at", "gt", json!("2026-01-02T00:00:00Z"), "c"),
            ("attributes.at", "gte", json!("2026-01-02T00:00:00.000001Z"), "c"),
            ("attributes.at", "gt", json!("2026-01-02T00:00:00.000001Z"), ""),
            ("created_at", "gt", json!("2020-01-01"), "abcde"),
            ("created_at", "lt", json!("2020-01-01"), ""),
            ("created_at", "exists", Value::Null, "abcde"),
            ("updated_at", "between", json!(["2020-01-01", "9999-12-31T23:59:59Z"]), "abcde"),
            ("created_at", "gte", json!("0001-01-01T00:00:00Z"), "abcde"),
        ],
    )
    .await;
}

async fn sets_are_asked_for_their_members(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("labels", "has", json!("vip"), "ab"),
            ("labels", "has", json!("beta"), "a"),
            ("labels", "has_any", json!(["beta", "Beta"]), "ac"),
            ("labels", "has_all", json!(["vip", "beta"]), "a"),
            ("labels", "has_all", json!(["vip", "nothing"]), ""),
            ("labels", "has_none", json!(["vip"]), "cde"),
            ("labels", "has_none", json!(["vip", "Beta"]), "de"),
            ("labels", "has_any", json!([]), ""),
            ("labels", "has_all", json!([]), "abcde"),
            ("labels", "has_none", json!([]), "abcde"),
            ("labels", "eq", json!("vip"), "ab"),
            ("labels", "ne", json!("vip"), "cde"),
            ("labels", "in", json!(["vip", "Beta"]), "abc"),
            ("labels", "not_in", json!(["vip", "Beta"]), "de"),
            ("labels", "exists", Value::Null, "abc"),
            ("labels", "missing", Value::Null, "de"),
            ("attributes.tags", "has", json!("y"), "ab"),
            ("attributes.tags", "has_all", json!(["x", "y"]), "a"),
            ("attributes.tags", "has_none", json!(["x"]), "bcde"),
            ("attributes.tags", "exists", Value::Null, "ab"),
            ("segments", "exists", Value::Null, ""),
            ("segments", "has", json!("0192f0c1-2d3e-7000-8000-000000000000"), ""),
            ("channels", "has", json!("carrier_pigeon"), ""),
        ],
    )
    .await;
}

async fn choices_are_compared_whole(app: &App) {
    table(app).await;
    let ada = app.search(json!({"filter": {"field": "external_id", "op": "eq", "value": "a"}})).await["data"][0].clone();
    check(
        app,
        &[
            ("attributes.tier", "eq", json!("gold"), "a"),
            ("attributes.tier", "ne", json!("gold"), "bcde"),
            ("attributes.tier", "in", json!(["gold", "silver"]), "ab"),
            ("consents.email", "eq", json!("opted_in"), "a"),
            ("consents.email", "ne", json!("opted_in"), "bcde"),
            ("consents.email", "in", json!(["opted_in", "opted_out"]), "ab"),
            ("consents.email", "missing", Value::Null, "cde"),
            ("consents.sms", "missing", Value::Null, "abcde"),
            ("id", "eq", ada["id"].clone(), "a"),
            ("id", "ne", ada["id"].clone(), "bcde"),
            ("id", "in", json!([ada["id"], "0192f0c1-2d3e-7000-8000-000000000000"]), "a"),
        ],
    )
    .await;
}

async fn missing_matches_only_what_says_so(app: &App) {
    table(app).await;
    // `e` has no value anywhere: of every operator only these three, and `missing`, match.
    for (field, value, list) in [
        ("company", json!("x"), json!(["x"])),
        ("attributes.seats", json!(1), json!([1])),
        ("attributes.active", json!(true), json!([true])),
        ("attributes.since", json!("2026-01-01"), json!(["2026-01-01"])),
        ("attributes.tier", json!("gold"), json!(["gold"])),
        ("last_seen_at", json!("2026-01-01"), json!(["2026-01-01"])),
        ("consents.email", json!("opted_in"), json!(["opted_in"])),
    ] {
        for (op, value, matches) in [("eq", &value, false), ("ne", &value, true), ("in", &list, false), ("not_in", &list, true)] {
            let found = app
                .filtered(json!({"all": [{"field": "external_id", "op": "eq", "value": "e"}, {"field": field, "op": op, "value": value}]}))
                .await;
            assert_eq!(found.len(), usize::from(matches), "{field} {op} {value}");
        }
    }
    for (field, op, value) in [
        ("company", "contains", json!("")),
        ("company", "starts_with", json!("")),
        ("attributes.seats", "gt", json!(-1e9)),
        ("attributes.seats", "lt", json!(1e9)),
        ("attributes.seats", "between", json!([-1e9, 1e9])),
        ("last_seen_at", "lt", json!("9999-01-01")),
        ("last_seen_at", "within_last", json!("P3650D")),
        ("last_seen_at", "not_within_last", json!("P1D")),
        ("attributes.since", "not_within_last", json!("P1D")),
    ] {
        let filter = json!({"all": [{"field": "external_id", "op": "eq", "value": "e"}, {"field": field, "op": op, "value": value}]});
        assert_eq!(app.filtered(filter.clone()).await, [""; 0], "{filter}");
    }
}

async fn all_any_and_not_combine(app: &App) {
    table(app).await;
    let gb = json!({"field": "country", "op": "eq", "value": "GB"});
    let vip = json!({"field": "labels", "op": "has", "value": "vip"});
    let many = json!({"field": "attributes.seats", "op": "gte", "value": 9});
    for (filter, expected) in [
        (json!({"all": [gb, vip]}), "a"),
        (json!({"any": [gb, many]}), "abd"),
        (json!({"all": [vip, {"any": [gb, many]}]}), "ab"),
        (json!({"all": [vip, {"not": {"any": [gb, many]}}]}), ""),
        (json!({"not": {"all": [vip, many]}}), "acde"),
        (json!({"not": {"not": gb}}), "a"),
        (json!({"any": [{"all": [gb, vip]}, {"all": [many, {"not": vip}]}]}), "ad"),
        (json!({"all": [{"not": gb}, {"not": many}, {"not": {"field": "country", "op": "exists"}}]}), "e"),
    ] {
        let (filter, expected) = case(filter, expected);
        assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
    }
    // With `q` and a filter both must match.
    assert_eq!(app.find_sorted(json!({"q": "acme", "filter": gb})).await, ["a"]);
    assert_eq!(app.post("/v1/profiles/count").json(json!({"q": "acme", "filter": vip})).await.ok(), json!({"total": 2}));
}

async fn no_condition_is_everyone_and_no_alternative_no_one(app: &App) {
    table(app).await;
    for (filter, expected) in [
        (json!({"all": []}), "abcde"),
        (json!({"any": []}), ""),
        (json!({"not": {"all": []}}), ""),
        (json!({"not": {"any": []}}), "abcde"),
        (json!({"all": [{"any": []}]}), ""),
        (json!({"any": [{"all": []}]}), "abcde"),
        (json!({"all": [{"all": []}, {"field": "external_id", "op": "eq", "value": "a"}]}), "a"),
    ] {
        let (filter, expected) = case(filter, expected);
        assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
    }
    assert_eq!(app.find_sorted(json!({"filter": null})).await.len(), 5);
}

async fn identities_of_the_top_are_fields(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("email", "eq", json!("A@Example.com"), "a"),
            ("email", "exists", Value::Null, "a"),
            ("email", "ends_with", json!("@EXAMPLE.com"), "a"),
            ("email", "missing", Value::Null, "bcde"),
            ("phone", "eq", json!("+442079460000"), "b"),
            ("phone", "eq", json!("+44 (0)20 7946-0000"), "b"),
            ("phone", "contains", json!("7946 0000"), "b"),
            ("phone", "starts_with", json!("+44"), "b"),
            ("external_id", "in", json!(["a", "e"]), "ae"),
            ("external_id", "eq", json!("A"), ""),
        ],
    )
    .await;
    // The primary one counts, and after a change the new one.
    let a = app.get("/v1/profiles/lookup?external_id=a").await.ok();
    app.patch(&path(&a, "")).json(json!({"email": "new@example.com"})).await.ok();
    assert_eq!(app.filtered(json!({"field": "email", "op": "eq", "value": "a@example.com"})).await, [""; 0]);
}

async fn recent_is_counted_from_now(app: &App) {
    table(app).await;
    check(
        app,
        &[
            ("created_at", "within_last", json!("P1D"), "abcde"),
            ("created_at", "within_last", json!("PT1H"), "abcde"),
            ("created_at", "not_within_last", json!("P1D"), ""),
            ("updated_at", "within_last", json!("P1W"), "abcde"),
            ("attributes.since", "within_last", json!("P3650D"), "abc"),
            ("last_seen_at", "within_last", json!("P30D"), ""),
        ],
    )
    .await;
    for (n, (at, within)) in [("2000-01-01", false), ("9999-12-31", false)].iter().enumerate() {
        app.person(json!({"external_id": format!("x{n}"), "attributes": {"since": at}})).await;
        let filter = json!({"all": [{"field": "external_id", "op": "eq", "value": format!("x{n}")}, {"field": "attributes.since", "op": "within_last", "value": "P30D"}]});
        assert_eq!(app.filtered(filter).await.is_empty(), !within, "{at}: what lies in the future is not within the last days");
        let filter = json!({"all": [{"field": "external_id", "op": "eq", "value": format!("x{n}")}, {"field": "attributes.since", "op": "not_within_last", "value": "P30D"}]});
        assert_eq!(app.filtered(filter).await.len(), 1, "{at}");
    }
}

async fn mistakes_are_told_at_their_place_with_what_is_allowed(app: &App) {
    table(app).await;
    for (filter, pointer, code) in [
        (json!({"field": "nonsense", "op": "eq", "value": 1}), "/filter/field", "unknown_field"),
        (json!({"field": "attributes.nonsense", "op": "exists"}), "/filter/field", "unknown_field"),
        (json!({"field": "workspace_id", "op": "exists"}), "/filter/field", "unknown_field"),
        (json!({"field": "email", "op": "like", "value": "x"}), "/filter/op", "unknown_operator"),
        (json!({"field": "attributes.seats", "op": "contains", "value": "1"}), "/filter/op", "unknown_operator"),
        (json!({"field": "labels", "op": "contains", "value": "v"}), "/filter/op", "unknown_operator"),
        (json!({"field": "company", "op": "gt", "value": "a"}), "/filter/op", "unknown_operator"),
        (json!({"field": "attributes.active", "op": "gt", "value": true}), "/filter/op", "unknown_operator"),
        (json!({"field": "attributes.seats", "op": "gt", "value": "5"}), "/filter/value", "wrong_type"),
        (json!({"field": "attributes.seats", "op": "in", "value": [5, "6"]}), "/filter/value/1", "wrong_type"),
        (json!({"field": "attributes.seats", "op": "between", "value": [5]}), "/filter/value", "wrong_type"),
        (json!({"field": "attributes.active", "op": "eq", "value": 1}), "/filter/value", "wrong_type"),
        (json!({"field": "created_at", "op": "gt", "value": "yesterday"}), "/filter/value", "wrong_type"),
        (json!({"field": "created_at", "op": "within_last", "value": "P1M"}), "/filter/value", "wrong_type"),
        (json!({"field": "created_at", "op": "within_last", "value": "P99999D"}), "/filter/value", "wrong_type"),
        (json!({"field": "consents.email", "op": "eq", "value": "yes"}), "/filter/value", "wrong_type"),
        (json!({"field": "company", "op": "eq", "value": null}), "/filter/value", "wrong_type"),
        (json!({"field": "company", "op": "eq"}), "/filter", "invalid_filter"),
        (json!({"field": "company", "op": "exists", "value": 1}), "/filter/value", "invalid_filter"),
        (json!({"field": "company"}), "/filter", "invalid_filter"),
        (json!({"field": "company", "op": "eq", "value": "a", "case": false}), "/filter/case", "unknown_field"),
        (json!({"all": {}}), "/filter/all", "invalid_filter"),
        (json!({"all": [], "any": []}), "/filter/any", "unknown_field"),
        (json!({}), "/filter", "invalid_filter"),
        (json!([]), "/filter", "invalid_filter"),
        (json!("x"), "/filter", "invalid_filter"),
        (
            json!({"all": [{"all": []}, {"not": {"any": [{"field": "x", "op": "eq", "value": 1}]}}]}),
            "/filter/all/1/not/any/0/field",
            "unknown_field",
        ),
        (json!({"event": "x", "count": {"about": 2}}), "/filter/count/about", "unknown_operator"),
        (json!({"event": "x", "within": "P1Y"}), "/filter/within", "wrong_type"),
        (json!({"event": "x", "where": [{"field": "email", "op": "exists"}]}), "/filter/where/0/field", "unknown_field"),
    ] {
        for route in ["search", "count", "export"] {
            let answer = app.post(&format!("/v1/profiles/{route}")).json(json!({"filter": filter})).await;
            answer.refused_at(pointer, code);
        }
    }
    let problem =
        app.post("/v1/profiles/search").json(json!({"filter": {"field": "attributes.seats", "op": "like", "value": 5}})).await.problem();
    let detail = problem["errors"][0]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("between") && detail.contains("gte"), "what is allowed is not told: {detail}");
    // Several mistakes are told together.
    let problem = app
        .post("/v1/profiles/search")
        .json(json!({"filter": {"all": [{"field": "x", "op": "eq", "value": 1}, {"field": "email", "op": "y"}]}}))
        .await
        .problem();
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(2));
}

async fn a_filter_has_its_limits(app: &App) {
    let leaf = json!({"field": "email", "op": "exists"});
    let nested = |depth: usize| (1..depth).fold(leaf.clone(), |inner, _| json!({"not": inner}));
    app.search(json!({"filter": nested(8)})).await;
    let problem = app.post("/v1/profiles/search").json(json!({"filter": nested(9)})).await.problem();
    assert_eq!(problem["errors"][0]["code"], "limit_exceeded");
    let wide = |n: usize| json!({"filter": {"any": vec![leaf.clone(); n]}});
    app.search(wide(50)).await;
    app.post("/v1/profiles/search").json(wide(51)).await.refused_at("/filter", "limit_exceeded");
    let list =
        |n: usize| json!({"filter": {"field": "external_id", "op": "in", "value": (0..n).map(|i| i.to_string()).collect::<Vec<_>>()}});
    app.search(list(1_000)).await;
    app.post("/v1/profiles/search").json(list(1_001)).await.refused_at("/filter/value", "limit_exceeded");
}

async fn conditions_on_events_nobody_sent_match_no_one(app: &App) {
    table(app).await;
    for (filter, expected) in [
        (json!({"event": "order_completed"}), ""),
        (
            json!({"event": "order_completed", "where": [{"field": "properties.total", "op": "gt", "value": 100}], "count": {"gte": 2}, "within": "P90D"}),
            "",
        ),
        (json!({"event": "order_completed", "count": {"eq": 0}}), "abcde"),
        (json!({"event": "order_completed", "count": {"lt": 3}, "within": "P7D"}), "abcde"),
        (json!({"not": {"event": "order_completed"}}), "abcde"),
    ] {
        let (filter, expected) = case(filter, expected);
        assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
    }
}

async fn signs_in_values_are_letters(app: &App) {
    for (n, text) in [
        "100%",
        "100x",
        "a_b",
        "axb",
        "back\\slash",
        "quo\"te",
        "O'Brien",
        "'; DROP TABLE profiles; --",
        "*",
        "?",
        "[a]",
        "{\"json\": 1}",
        "$1",
        ":name",
        "😀",
    ]
    .iter()
    .enumerate()
    {
        app.person(json!({"external_id": format!("p{n:02}"), "company": text, "attributes": {"note": text}, "labels": [text]})).await;
    }
    let everyone = app.search(json!({"limit": 200})).await["data"].as_array().cloned().unwrap_or_default();
    for person in &everyone {
        let text = person["company"].as_str().unwrap_or_default();
        let own = vec![person["external_id"].as_str().unwrap_or_default().to_owned()];
        for (field, op, value) in [
            ("company", "eq", json!(text)),
            ("company", "in", json!([text])),
            ("company", "starts_with", json!(text)),
            ("company", "ends_with", json!(text)),
            ("company", "contains", json!(text)),
            ("attributes.note", "eq", json!(text)),
            ("attributes.note", "contains", json!(text)),
            ("labels", "has", json!(text)),
            ("labels", "has_all", json!([text])),
        ] {
            assert_eq!(app.filtered(json!({"field": field, "op": op, "value": value})).await, own, "{field} {op} {value}");
        }
    }
}
