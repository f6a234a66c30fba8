//! `PATCH /v1/profiles/{id}`: JSON Merge Patch (RFC 7396). Absent keeps, null clears, and a stale tag is refused.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, changes, grace, id, identities, nobody, path, version};

stories![
    only_what_is_sent_changes,
    null_clears,
    attributes_merge_key_by_key,
    a_stale_tag_is_refused_and_nothing_changes,
    a_patch_that_changes_nothing_is_no_version,
    a_typo_in_the_email_is_corrected_not_collected,
    the_next_email_moves_up_when_the_primary_goes,
    the_last_identity_stays,
    an_email_of_somebody_else_is_refused,
    the_composed_name_follows_its_parts,
    a_given_name_stays,
    labels_and_consents_have_their_own_routes,
    a_bad_patch_changes_nothing,
    the_merge_patch_content_type_is_welcome,
    every_visible_change_raises_the_version_and_the_time,
    limits_hold_for_the_result_not_the_request,
];

async fn only_what_is_sent_changes(app: &App) {
    let before = app.person(ada()).await;
    let answer = app.patch(&path(&before, "")).json(json!({"job_title": "Countess"})).await;
    let after = answer.ok();
    assert_eq!(answer.header("etag"), Some("\"2\""));
    let mut expected = before.clone();
    expected["job_title"] = "Countess".into();
    expected["version"] = 2.into();
    expected["updated_at"] = after["updated_at"].clone();
    same(&after, &expected);
    same(&app.read(id(&before)).await, &after);
}

async fn null_clears(app: &App) {
    let before = app.person(ada()).await;
    let fields = ["first_name", "last_name", "name", "company", "country", "city", "language", "timezone", "phone"];
    let body: Value = fields.iter().map(|f| ((*f).to_owned(), Value::Null)).collect();
    let after = app.patch(&path(&before, "")).json(body).await.ok();
    for field in fields {
        assert_eq!(after.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(after["email"], "ada@example.com");
    assert_eq!(identities(&after, "phone"), [""; 0]);
}

async fn attributes_merge_key_by_key(app: &App) {
    let before = app.person(ada()).await;
    let after = app.patch(&path(&before, "")).json(json!({"attributes": {"plan": null, "seats": 13, "beta": true}})).await.ok();
    assert_eq!(after["attributes"], json!({"beta": true, "seats": 13, "trial_ends": "2026-12-01T00:00:00Z"}));
    // Clearing what is not there, and what nobody defined, changes nothing.
    let same_again = app.patch(&path(&before, "")).json(json!({"attributes": {"plan": null}})).await.ok();
    assert_eq!(version(&same_again), version(&after));
    let cleared = app.patch(&path(&before, "")).json(json!({"attributes": null})).await.ok();
    assert_eq!(cleared["attributes"], json!({}), "RFC 7396: null removes the member, and a profile's attributes are then empty");
}

async fn a_stale_tag_is_refused_and_nothing_changes(app: &App) {
    let first = app.person(ada()).await;
    let second = app.patch(&path(&first, "")).if_match(&first).json(json!({"city": "Paris"})).await.ok();
    app.patch(&path(&first, "")).if_match(&first).json(json!({"city": "Rome"})).await.refused(412, "version_mismatch");
    for tag in ["\"2\"", "*", "\"9\", \"2\""] {
        let body = json!({"city": "Paris"});
        app.patch(&path(&first, "")).header("if-match", tag).json(body).await.ok();
    }
    // Weak tags never match strongly (RFC 9110 section 13.1.1).
    app.patch(&path(&first, "")).header("if-match", "W/\"2\"").json(json!({"city": "Rome"})).await.refused(412, "version_mismatch");
    same(&app.read(id(&first)).await, &second);
    app.patch(&path(&first, "")).header("if-match", "2 or so").json(json!({"city": "Rome"})).await.refused(400, "invalid_header");
}

async fn a_patch_that_changes_nothing_is_no_version(app: &App) {
    let before = app.person(ada()).await;
    for body in [
        json!({}),
        json!({"city": "London"}),
        json!({"email": "ADA@EXAMPLE.COM"}),
        json!({"phone": "+44 (20) 7946 0000"}),
        json!({"attributes": {"seats": 12.0}}),
        json!({"attributes": {}}),
        json!({"job_title": null, "country": "gb"}),
    ] {
        let after = app.patch(&path(&before, "")).json(body.clone()).await.ok();
        assert_eq!((version(&after), &after["updated_at"]), (1, &before["updated_at"]), "{body}");
    }
    assert_eq!(app.history(id(&before)).await.len(), 1);
}

async fn a_typo_in_the_email_is_corrected_not_collected(app: &App) {
    let before = app.person(json!({"email": "ada@exmaple.com"})).await;
    let after = app.patch(&path(&before, "")).json(json!({"email": "Ada@example.com"})).await.ok();
    assert_eq!(identities(&after, "email"), ["ada@example.com"]);
    assert_eq!(after["identities"][0]["raw"], "Ada@example.com");
    // The mistyped address is free for its owner, and finds nobody.
    app.get("/v1/profiles/lookup?email=ada@exmaple.com").await.refused(404, "not_found");
    assert_eq!(app.search(json!({"q": "exmaple"})).await["data"], json!([]));
    app.person(json!({"email": "ada@exmaple.com"})).await;
}

async fn the_next_email_moves_up_when_the_primary_goes(app: &App) {
    let ada = app.person(json!({"email": "one@example.com", "identities": [{"kind": "email", "value": "two@example.com"}]})).await;
    let after = app.patch(&path(&ada, "")).json(json!({"email": null})).await.ok();
    assert_eq!(after["email"], "two@example.com");
    assert_eq!(identities(&after, "email"), ["two@example.com"]);
    assert_eq!(after["identities"][0]["primary"], true);
    app.get("/v1/profiles/lookup?email=one@example.com").await.refused(404, "not_found");
}

async fn the_last_identity_stays(app: &App) {
    let ada = app.person(json!({"email": "ada@example.com"})).await;
    app.patch(&path(&ada, "")).json(json!({"email": null})).await.refused(422, "identity_required");
    let moved = app.patch(&path(&ada, "")).json(json!({"email": null, "external_id": "crm-17"})).await.ok();
    assert_eq!((&moved["email"], &moved["external_id"]), (&Value::Null, &json!("crm-17")));
}

async fn an_email_of_somebody_else_is_refused(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let problem =
        app.patch(&path(&ada, "")).json(json!({"email": "GRACE@navy.example", "city": "Rome"})).await.refused(409, "identity_taken");
    assert_eq!(problem["conflicts"], json!([{"kind": "email", "value": "grace@navy.example", "profile_id": grace["id"]}]));
    same(&app.read(id(&ada)).await, &ada);
}

async fn the_composed_name_follows_its_parts(app: &App) {
    let ada = app.person(json!({"external_id": "crm-17", "first_name": "Ada", "last_name": "Byron"})).await;
    assert_eq!(ada["name"], "Ada Byron");
    let married = app.patch(&path(&ada, "")).json(json!({"last_name": "Lovelace"})).await.ok();
    assert_eq!(married["name"], "Ada Lovelace");
    let first_only = app.patch(&path(&ada, "")).json(json!({"last_name": null})).await.ok();
    assert_eq!(first_only["name"], "Ada");
}

async fn a_given_name_stays(app: &App) {
    let ada = app.person(json!({"external_id": "crm-17", "name": "Countess of Lovelace", "first_name": "Ada"})).await;
    let after = app.patch(&path(&ada, "")).json(json!({"first_name": "Augusta", "last_name": "King"})).await.ok();
    assert_eq!(after["name"], "Countess of Lovelace");
}

async fn labels_and_consents_have_their_own_routes(app: &App) {
    let ada = app.person(ada()).await;
    for (body, pointer, route) in [
        (json!({"labels": ["x"]}), "/labels", "/labels"),
        (json!({"consents": []}), "/consents", "/consents"),
        (json!({"identities": []}), "/identities", "/identities"),
    ] {
        let problem = app.patch(&path(&ada, "")).json(body).await;
        assert_eq!(problem.status, 422);
        let problem = problem.problem();
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], pointer);
        assert!(error["detail"].as_str().is_some_and(|d| d.contains(route)), "the route to use is not named: {error}");
    }
    same(&app.read(id(&ada)).await, &ada);
}

async fn a_bad_patch_changes_nothing(app: &App) {
    let ada = app.person(ada()).await;
    for (body, pointer, code) in [
        (json!({"city": "Rome", "country": "UK"}), "/country", "invalid_country"),
        (json!({"city": "Rome", "attributes": {"seats": "many"}}), "/attributes/seats", "wrong_type"),
        (json!({"city": "Rome", "version": 7}), "/version", "unknown_field"),
        (json!({"city": "Rome", "id": id(&ada)}), "/id", "unknown_field"),
        (json!({"city": 7}), "/city", "wrong_type"),
        (json!({"attributes": [1]}), "/attributes", "wrong_type"),
    ] {
        app.patch(&path(&ada, "")).json(body).await.refused_at(pointer, code);
    }
    same(&app.read(id(&ada)).await, &ada);
    assert_eq!(app.history(id(&ada)).await.len(), 1);
}

async fn the_merge_patch_content_type_is_welcome(app: &App) {
    let ada = app.person(ada()).await;
    let after = app.patch(&path(&ada, "")).bytes("application/merge-patch+json", "{\"city\":\"Rome\"}").await.ok();
    assert_eq!(after["city"], "Rome");
    app.patch(&path(&ada, "")).bytes("text/plain", "{\"city\":\"Paris\"}").await.refused(415, "unsupported_media_type");
}

async fn every_visible_change_raises_the_version_and_the_time(app: &App) {
    let mut last = app.person(nobody("crm-1")).await;
    for body in
        [json!({"name": "A"}), json!({"email": "a@example.com"}), json!({"attributes": {"x": 1}}), json!({"attributes": {"x": null}})]
    {
        let next = app.patch(&path(&last, "")).json(body.clone()).await.ok();
        assert_eq!(version(&next), version(&last) + 1, "{body}");
        assert!(next["updated_at"].as_str() > last["updated_at"].as_str(), "{body}");
        assert_eq!(next["created_at"], last["created_at"]);
        last = next;
    }
    let entries = app.history(id(&last)).await;
    let newest_first: Vec<u64> = entries.iter().filter_map(|e| e["version"].as_u64()).collect();
    assert_eq!(newest_first, [5, 4, 3, 2, 1]);
    assert_eq!(changes(&entries[0]), json!({"attributes.x": [1, null]}));
}

async fn limits_hold_for_the_result_not_the_request(app: &App) {
    let half = |prefix: &str| -> Value { (0..120).map(|i| (format!("{prefix}{i}"), json!(i))).collect() };
    let ada = app.person(json!({"external_id": "crm-1", "attributes": half("a")})).await;
    let problem = app.patch(&path(&ada, "")).json(json!({"attributes": half("b")})).await.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["code"], "limit_exceeded");
    same(&app.read(id(&ada)).await, &ada);
}
