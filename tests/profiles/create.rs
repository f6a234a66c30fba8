//! `POST /v1/profiles`: a person enters the directory.

use people_tests::{App, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, id, identities, nobody};

stories![
    creating_answers_the_whole_profile,
    creating_names_its_place,
    what_is_left_out_is_null,
    a_taken_identity_is_refused_with_its_owner,
    an_email_is_taken_in_any_case_and_form,
    a_phone_is_taken_in_every_spelling_of_its_line,
    further_identities_come_along,
    somebody_without_identity_is_refused,
    placeholders_identify_no_one,
    the_same_value_of_two_kinds_is_two_identities,
    attributes_keep_the_form_of_their_type,
    a_wrong_value_is_told_at_its_place,
    all_mistakes_are_told_at_once,
    nobody_writes_what_the_server_decides,
    limits_are_named_when_they_are_passed,
    blank_text_is_no_text,
    texts_are_composed_and_trimmed,
    a_refused_person_leaves_nothing_behind,
];

async fn creating_answers_the_whole_profile(app: &App) {
    let answer = app.post("/v1/profiles").json(ada()).await;
    let profile = answer.created();
    same(
        &redact(&profile),
        &json!({
            "id": "<id>",
            "version": 1,
            "email": "ada@example.com",
            "phone": "+442079460000",
            "external_id": "crm-17",
            "identities": [
                {"kind": "email", "value": "ada@example.com", "raw": "Ada@Example.com", "primary": true, "source": "api", "created_at": "<time>"},
                {"kind": "external_id", "value": "crm-17", "raw": "crm-17", "primary": true, "source": "api", "created_at": "<time>"},
                {"kind": "phone", "value": "+442079460000", "raw": "+44 20 7946 0000", "primary": true, "source": "api", "created_at": "<time>"}
            ],
            "name": "Ada Lovelace",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "company": "Analytical Engines",
            "job_title": null,
            "country": "GB",
            "city": "London",
            "language": "en",
            "timezone": "Europe/London",
            "avatar_url": null,
            "attributes": {"plan": "pro", "seats": 12, "trial_ends": "2026-12-01T00:00:00Z"},
            "channels": profile["channels"],
            "last_channel": null,
            "labels": ["vip"],
            "segments": [],
            "consents": [
                {"channel": "email", "status": "opted_in", "opted_in_at": "<time>", "opted_out_at": null, "occurred_at": "<time>", "source": "signup form"}
            ],
            "last_seen_at": null,
            "created_at": "<time>",
            "updated_at": "<time>",
            "merged_from": []
        }),
    );
    assert_eq!(profile["created_at"], profile["updated_at"]);
    assert_eq!(uuid::Uuid::try_parse(id(&profile)).map(|id| id.get_version_num()), Ok(7));
    same(&app.read(id(&profile)).await, &profile);
}

async fn creating_names_its_place(app: &App) {
    let answer = app.post("/v1/profiles").json(ada()).await;
    let profile = answer.created();
    assert_eq!(answer.header("location"), Some(format!("/v1/profiles/{}", id(&profile)).as_str()));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn what_is_left_out_is_null(app: &App) {
    let profile = app.person(nobody("crm-1")).await;
    for field in [
        "email",
        "phone",
        "name",
        "first_name",
        "last_name",
        "company",
        "job_title",
        "country",
        "city",
        "language",
        "timezone",
        "avatar_url",
        "last_channel",
        "last_seen_at",
    ] {
        assert_eq!(profile.get(field), Some(&Value::Null), "{field}");
    }
    for field in ["channels", "labels", "segments", "consents", "merged_from"] {
        assert_eq!(profile[field], json!([]), "{field}");
    }
    assert_eq!(profile["attributes"], json!({}));
}

async fn a_taken_identity_is_refused_with_its_owner(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let problem = app
        .post("/v1/profiles")
        .json(json!({"email": "ADA@example.com", "external_id": "crm-18", "phone": "+1 212 555 0100"}))
        .await
        .refused(409, "identity_taken");
    let mut conflicts = crate::cast::list(&problem, "conflicts").to_vec();
    conflicts.sort_by_key(ToString::to_string);
    let mut expected = vec![
        json!({"kind": "email", "value": "ada@example.com", "profile_id": ada["id"]}),
        json!({"kind": "external_id", "value": "crm-18", "profile_id": grace["id"]}),
    ];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(conflicts, expected);
    // The free phone number was not taken by the refused request.
    app.person(json!({"phone": "+12125550100"})).await;
}

async fn an_email_is_taken_in_any_case_and_form(app: &App) {
    app.person(json!({"email": "josé@example.com"})).await;
    for spelling in ["José@Example.com", "  JOSÉ@EXAMPLE.COM ", "Jose\u{301}@example.com"] {
        app.post("/v1/profiles").json(json!({"email": spelling})).await.refused(409, "identity_taken");
    }
    // An accent makes another address, for e-mail is not search.
    app.person(json!({"email": "jose@example.com"})).await;
}

async fn a_phone_is_taken_in_every_spelling_of_its_line(app: &App) {
    app.patch("/v1/workspace").json(json!({"default_country": "GB"})).await.ok();
    for (stored, spellings) in [
        ("+442079460000", &["020 7946 0000", "+44 (20) 7946-0000", "0044 20 7946 0000"][..]),
        // Brazil's ninth digit, Mexico's 1, Argentina's 9.
        ("+5511987654321", &["+55 11 8765-4321"]),
        ("+525512345678", &["+52 1 55 1234 5678"]),
        ("+5491123456789", &["+54 11 2345-6789"]),
    ] {
        let profile = app.person(json!({"phone": stored})).await;
        assert_eq!(profile["phone"], stored);
        for spelling in spellings {
            let problem = app.post("/v1/profiles").json(json!({"phone": spelling})).await.refused(409, "identity_taken");
            assert_eq!(problem["conflicts"][0]["profile_id"], profile["id"], "{spelling}");
        }
    }
    // A Brazilian landline never had a ninth digit.
    app.person(json!({"phone": "+551133334444"})).await;
    app.person(json!({"phone": "+5511933334444"})).await;
}

async fn further_identities_come_along(app: &App) {
    let profile = app
        .person(json!({
            "email": "ada@example.com",
            "identities": [
                {"kind": "email", "value": "Ada@Work.example"},
                {"kind": "device", "value": "d-1"},
                {"kind": "whatsapp", "value": "447700900000"}
            ]
        }))
        .await;
    assert_eq!(identities(&profile, "email"), ["ada@example.com", "ada@work.example"]);
    assert_eq!(identities(&profile, "device"), ["d-1"]);
    assert_eq!(identities(&profile, "whatsapp"), ["447700900000"]);
    assert_eq!(profile["email"], "ada@example.com");
    app.person(json!({"identities": [{"kind": "anonymous_id", "value": "a-1"}]})).await;
    // Twice the same one is one.
    let twice = app.person(json!({"email": "g@example.com", "identities": [{"kind": "email", "value": "G@example.com"}]})).await;
    assert_eq!(identities(&twice, "email"), ["g@example.com"]);
}

async fn somebody_without_identity_is_refused(app: &App) {
    for body in [json!({}), json!({"name": "Ada"}), json!({"email": null}), json!({"identities": []})] {
        app.post("/v1/profiles").json(body).await.refused(422, "identity_required");
    }
}

async fn placeholders_identify_no_one(app: &App) {
    for junk in
        ["null", "NULL", "undefined", "Guest", "anonymous", "NaN", "[object Object]", "0", "", "   ", "\"null\"", "none", "N/A", "-"]
    {
        app.post("/v1/profiles").json(json!({"external_id": junk})).await.refused_at("/external_id", "junk_identity");
        app.post("/v1/profiles")
            .json(json!({"email": "ada@example.com", "identities": [{"kind": "device", "value": junk}]}))
            .await
            .refused_at("/identities/0/value", "junk_identity");
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 0}));
}

async fn the_same_value_of_two_kinds_is_two_identities(app: &App) {
    let one = app.person(nobody("17")).await;
    let other = app.person(json!({"identities": [{"kind": "device", "value": "17"}]})).await;
    assert_ne!(one["id"], other["id"]);
    // External ids are compared as they are written: case counts.
    app.person(nobody("CRM-a")).await;
    app.person(nobody("crm-A")).await;
}

async fn attributes_keep_the_form_of_their_type(app: &App) {
    let profile = app
        .person(json!({"external_id": "crm-1", "attributes": {
            "text": " pro ", "number": 12.0, "negative_zero": -0.0, "fraction": 0.1, "boolean": false, "date": "2026-12-01",
            "datetime": "2026-12-01T01:00:00+01:00", "text_list": ["a", " a ", "b"], "Trial ends.at:x-y": "yes"
        }}))
        .await;
    assert_eq!(
        profile["attributes"],
        json!({
            "Trial ends.at:x-y": "yes", "boolean": false, "date": "2026-12-01", "datetime": "2026-12-01T00:00:00Z", "fraction": 0.1,
            "negative_zero": 0, "number": 12, "text": "pro", "text_list": ["a", "b"]
        })
    );
    let properties = app.get("/v1/properties").await.ok();
    let types: Value = crate::cast::list(&properties, "data")
        .iter()
        .map(|p| (p["key"].as_str().unwrap_or_default().to_owned(), p["type"].clone()))
        .collect();
    assert_eq!(
        types,
        json!({
            "Trial ends.at:x-y": "text", "boolean": "boolean", "date": "date", "datetime": "datetime", "fraction": "number",
            "negative_zero": "number", "number": "number", "text": "text", "text_list": "text_list"
        })
    );
}

async fn a_wrong_value_is_told_at_its_place(app: &App) {
    app.post("/v1/properties").json(json!({"key": "tier", "type": "enum", "options": ["gold", "silver"]})).await.created();
    app.person(json!({"external_id": "crm-0", "attributes": {"seats": 1, "since": "2026-01-01"}})).await;
    for (body, pointer, code) in [
        (json!({"email": "ada"}), "/email", "invalid_email"),
        (json!({"email": 7}), "/email", "wrong_type"),
        (json!({"phone": "020 7946 0000"}), "/phone", "invalid_phone"),
        (json!({"phone": "hello"}), "/phone", "invalid_phone"),
        (json!({"external_id": "x".repeat(513)}), "/external_id", "too_long"),
        (json!({"external_id": "a", "country": "UK"}), "/country", "invalid_country"),
        (json!({"external_id": "a", "country": "XX"}), "/country", "invalid_country"),
        (json!({"external_id": "a", "language": "not a tag"}), "/language", "invalid_language"),
        (json!({"external_id": "a", "timezone": "Mars/Olympus"}), "/timezone", "invalid_timezone"),
        (json!({"external_id": "a", "avatar_url": "javascript:alert(1)"}), "/avatar_url", "invalid_url"),
        (json!({"external_id": "a", "name": ["Ada"]}), "/name", "wrong_type"),
        (json!({"external_id": "a", "name": "a\u{0}b"}), "/name", "nul_character"),
        (json!({"external_id": "a", "attributes": {"seats": "12"}}), "/attributes/seats", "wrong_type"),
        (json!({"external_id": "a", "attributes": {"seats": 9_007_199_254_740_992_i64}}), "/attributes/seats", "number_out_of_range"),
        (json!({"external_id": "a", "attributes": {"since": "2026-13-01"}}), "/attributes/since", "invalid_date"),
        (json!({"external_id": "a", "attributes": {"tier": "bronze"}}), "/attributes/tier", "not_an_option"),
        (json!({"external_id": "a", "attributes": {"seats": {"n": 1}}}), "/attributes/seats", "wrong_type"),
        (json!({"external_id": "a", "labels": "vip"}), "/labels", "wrong_type"),
        (json!({"external_id": "a", "labels": ["ok", "  "]}), "/labels/1", "invalid_label"),
        (json!({"external_id": "a", "consents": [{"channel": "Email!", "status": "opted_in"}]}), "/consents/0/channel", "invalid_channel"),
        (json!({"external_id": "a", "unknown": 1}), "/unknown", "unknown_field"),
        (json!({"external_id": "a", "identities": [{"kind": "device", "value": "d", "extra": 1}]}), "/identities/0/extra", "unknown_field"),
    ] {
        app.post("/v1/profiles").json(body).await.refused_at(pointer, code);
    }
    // A name that is no attribute's name points at itself, escaped as RFC 6901 wants it.
    let problem =
        app.post("/v1/profiles").json(json!({"external_id": "a", "attributes": {"a/b~c": 1}})).await.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/attributes/a~1b~0c");
}

async fn all_mistakes_are_told_at_once(app: &App) {
    let problem = app
        .post("/v1/profiles")
        .json(json!({"email": "ada", "phone": "x", "country": "UK", "attributes": {"bad/name": 1}}))
        .await
        .refused(422, "validation_failed");
    let mut pointers: Vec<&str> = crate::cast::list(&problem, "errors").iter().filter_map(|e| e["pointer"].as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/attributes/bad~1name", "/country", "/email", "/phone"]);
}

async fn nobody_writes_what_the_server_decides(app: &App) {
    for (field, value) in [
        ("id", json!("0192f0c1-2d3e-7000-8000-000000000000")),
        ("version", json!(9)),
        ("workspace_id", json!(app.workspace_id)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("updated_at", json!("2020-01-01T00:00:00Z")),
        ("last_seen_at", json!("2020-01-01T00:00:00Z")),
        ("channels", json!(["email"])),
        ("last_channel", json!("email")),
        ("segments", json!([])),
        ("merged_from", json!([])),
        ("merged_into", json!(null)),
    ] {
        let mut body = nobody("crm-1");
        body[field] = value;
        app.post("/v1/profiles").json(body).await.refused_at(&format!("/{field}"), "unknown_field");
    }
}

async fn limits_are_named_when_they_are_passed(app: &App) {
    let many = |n: usize| -> Value { (0..n).map(|i| (format!("a{i}"), json!(i))).collect() };
    app.person(json!({"external_id": "full", "attributes": many(200)})).await;
    for (body, pointer, number) in [
        (json!({"external_id": "a", "attributes": many(201)}), "/attributes", "200"),
        (json!({"external_id": "a", "attributes": {"a": "x".repeat(8 * 1024 + 1)}}), "/attributes/a", "8192"),
        (
            json!({"external_id": "a", "identities": (0..100).map(|i| json!({"kind": "device", "value": format!("d{i}")})).collect::<Vec<_>>()}),
            "/identities",
            "100",
        ),
    ] {
        let problem = app.post("/v1/profiles").json(body).await.refused(422, "validation_failed");
        let error = &problem["errors"][0];
        assert!(error["pointer"].as_str().is_some_and(|p| p.starts_with(pointer)), "{error}");
        assert!(error["detail"].as_str().is_some_and(|d| d.replace([',', '_'], "").contains(number)), "the limit is not named: {error}");
    }
    let heavy: Value = (0..9).map(|i| (format!("h{i}"), json!("x".repeat(8_000)))).collect();
    let problem = app.post("/v1/profiles").json(json!({"external_id": "a", "attributes": heavy})).await.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["code"], "limit_exceeded");
    app.post("/v1/profiles")
        .bytes("application/json", format!("{{\"external_id\":\"a\",\"name\":\"{}\"}}", "x".repeat(1_100_000)))
        .await
        .refused(413, "body_too_large");
}

async fn blank_text_is_no_text(app: &App) {
    let profile = app.person(json!({"external_id": "crm-1", "name": "  ", "company": "", "attributes": {"note": " "}})).await;
    assert_eq!((&profile["name"], &profile["company"], &profile["attributes"]), (&Value::Null, &Value::Null, &json!({})));
}

async fn texts_are_composed_and_trimmed(app: &App) {
    let profile = app.person(json!({"external_id": " crm-1 ", "name": " Jose\u{301} ", "labels": [" b ", "a", "a"]})).await;
    assert_eq!(profile["name"], "José");
    assert_eq!(profile["external_id"], "crm-1");
    assert_eq!(profile["identities"][0]["raw"], " crm-1 ");
    assert_eq!(profile["labels"], json!(["a", "b"]));
}

async fn a_refused_person_leaves_nothing_behind(app: &App) {
    app.post("/v1/profiles")
        .json(json!({"email": "ada@example.com", "country": "UK", "attributes": {"brand_new": 1}, "labels": ["fresh"]}))
        .await
        .refused(422, "validation_failed");
    assert_eq!(app.get("/v1/properties").await.ok()["data"], json!([]), "a refused write must not define properties");
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 0}));
    app.person(json!({"email": "ada@example.com", "attributes": {"brand_new": "text"}})).await;
}
