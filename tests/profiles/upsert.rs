//! `POST /v1/profiles/upsert`: known people are updated, unknown ones created, strangers never joined.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, changes, grace, id, identities, path};

stories![
    somebody_unknown_is_created,
    any_identity_matches,
    fields_that_are_absent_stay,
    labels_are_added_and_consents_recorded,
    a_new_email_becomes_the_primary_and_the_old_one_stays,
    the_same_again_changes_nothing,
    identities_of_several_people_are_refused_and_listed,
    the_strongest_identity_wins_when_asked,
    a_phone_matches_its_line_and_is_not_rewritten,
    an_upsert_needs_an_identity,
];

async fn somebody_unknown_is_created(app: &App) {
    let answer = app.post("/v1/profiles/upsert").json(ada()).await;
    let profile = answer.created();
    assert_eq!(answer.header("location"), Some(path(&profile, "").as_str()));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    same(&app.read(id(&profile)).await, &profile);
}

async fn any_identity_matches(app: &App) {
    let mut body = ada();
    body["identities"] = json!([{"kind": "device", "value": "d-1"}]);
    let ada = app.person(body).await;
    for (n, identity) in [
        json!({"email": "ADA@EXAMPLE.COM"}),
        json!({"phone": "+44 (0)20 7946 0000"}),
        json!({"external_id": "crm-17"}),
        json!({"identities": [{"kind": "device", "value": "d-1"}]}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = identity.clone();
        body["attributes"] = json!({"seats": 100 + n});
        let after = app.post("/v1/profiles/upsert").json(body).await.ok();
        assert_eq!((id(&after), &after["attributes"]["seats"]), (id(&ada), &json!(100 + n)), "{identity}");
    }
}

async fn fields_that_are_absent_stay(app: &App) {
    let before = app.person(ada()).await;
    let after = app
        .post("/v1/profiles/upsert")
        .json(json!({"external_id": "crm-17", "city": "Paris", "company": null, "attributes": {"plan": null}}))
        .await
        .ok();
    let mut expected = before.clone();
    expected["city"] = "Paris".into();
    expected["company"] = Value::Null;
    expected["attributes"] = json!({"seats": 12, "trial_ends": "2026-12-01T00:00:00Z"});
    expected["version"] = 2.into();
    expected["updated_at"] = after["updated_at"].clone();
    same(&after, &expected);
}

async fn labels_are_added_and_consents_recorded(app: &App) {
    app.person(ada()).await;
    let after = app
        .post("/v1/profiles/upsert")
        .json(json!({
            "external_id": "crm-17", "labels": ["beta", "vip"],
            "consents": [{"channel": "sms", "status": "opted_out", "occurred_at": "2026-01-01T00:00:00Z"},
                         {"channel": "email", "status": "opted_out", "occurred_at": "2020-01-01T00:00:00Z"}]
        }))
        .await
        .ok();
    assert_eq!(after["labels"], json!(["beta", "vip"]));
    let statuses: Vec<(&Value, &Value)> = crate::cast::list(&after, "consents").iter().map(|c| (&c["channel"], &c["status"])).collect();
    // The older decision on e-mail came late: it is recorded, and the newer one holds.
    assert_eq!(statuses, [(&json!("email"), &json!("opted_in")), (&json!("sms"), &json!("opted_out"))]);
    assert_eq!(after["consents"][0]["opted_out_at"], "2020-01-01T00:00:00.000000Z");
    // One that decides nothing is no change of the person, however often a sync sends it.
    for _ in 0..3 {
        let consents = json!([{"channel": "email", "status": "pending", "occurred_at": "2019-01-01T00:00:00Z", "source": "form"}]);
        let again = app.post("/v1/profiles/upsert").json(json!({"external_id": "crm-17", "consents": consents})).await.ok();
        same(&again, &after);
    }
    let entry = &app.history(id(&after)).await[0];
    assert_eq!((&entry["action"], &entry["changes"]), (&json!("consent_recorded"), &json!([])));
}

async fn a_new_email_becomes_the_primary_and_the_old_one_stays(app: &App) {
    let before = app.person(ada()).await;
    let after = app.post("/v1/profiles/upsert").json(json!({"external_id": "crm-17", "email": "Ada@New.example"})).await.ok();
    assert_eq!(after["email"], "ada@new.example");
    assert_eq!(identities(&after, "email"), ["ada@new.example", "ada@example.com"]);
    for email in ["ada@new.example", "ada@example.com"] {
        assert_eq!(app.get(&format!("/v1/profiles/lookup?email={email}")).await.ok()["id"], before["id"]);
    }
    let entry = &app.history(id(&before)).await[0];
    assert_eq!(changes(entry)["email"], json!(["ada@example.com", "ada@new.example"]));
    // Naming the older one again promotes it.
    let back = app.post("/v1/profiles/upsert").json(json!({"external_id": "crm-17", "email": "ada@example.com"})).await.ok();
    assert_eq!(identities(&back, "email"), ["ada@example.com", "ada@new.example"]);
}

async fn the_same_again_changes_nothing(app: &App) {
    let mut body = ada();
    body["consents"][0]["occurred_at"] = "2026-01-01T00:00:00Z".into();
    let first = app.post("/v1/profiles/upsert").json(body.clone()).await.created();
    let second = app.post("/v1/profiles/upsert").json(body).await.ok();
    same(&second, &first);
    assert_eq!(app.history(id(&first)).await.len(), 1);
}

async fn identities_of_several_people_are_refused_and_listed(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let body = json!({"email": "ada@example.com", "external_id": "crm-18", "city": "Nowhere"});
    for body in [body.clone(), {
        let mut b = body.clone();
        b["on_conflict"] = "reject".into();
        b
    }] {
        let problem = app.post("/v1/profiles/upsert").json(body).await.refused(409, "identity_conflict");
        let mut conflicts = crate::cast::list(&problem, "conflicts").to_vec();
        conflicts.sort_by_key(|c| c["kind"].to_string());
        assert_eq!(
            conflicts,
            [
                json!({"kind": "email", "value": "ada@example.com", "profile_id": ada["id"]}),
                json!({"kind": "external_id", "value": "crm-18", "profile_id": grace["id"]})
            ]
        );
    }
    same(&app.read(id(&ada)).await, &ada);
    same(&app.read(id(&grace)).await, &grace);
}

async fn the_strongest_identity_wins_when_asked(app: &App) {
    let by_id = app.person(json!({"external_id": "crm-1"})).await;
    let by_email = app.person(json!({"email": "a@example.com"})).await;
    let by_phone = app.person(json!({"phone": "+442079460000"})).await;
    let by_device = app.person(json!({"identities": [{"kind": "device", "value": "d-1"}]})).await;
    let duplicate = |kind: &str, value: &str, profile: &Value| json!({"kind": kind, "value": value, "profile_id": profile["id"]});
    let everything = json!({
        "on_conflict": "strongest", "external_id": "crm-1", "email": "a@example.com", "phone": "+442079460000",
        "identities": [{"kind": "device", "value": "d-1"}], "city": "Paris"
    });
    let mut expected = vec![
        duplicate("email", "a@example.com", &by_email),
        duplicate("phone", "+442079460000", &by_phone),
        duplicate("device", "d-1", &by_device),
    ];
    for (field, winner) in [("external_id", &by_id), ("email", &by_email), ("phone", &by_phone)] {
        let mut body = everything.clone();
        for weaker in ["external_id", "email", "phone"].into_iter().take_while(|f| *f != field) {
            body[weaker] = Value::Null;
        }
        let mut body: Value = body.as_object().expect("an object").clone().into_iter().filter(|(_, v)| !v.is_null()).collect();
        body["city"] = format!("Paris {field}").into();
        let answer = app.post("/v1/profiles/upsert").json(body).await.ok();
        let mut duplicates = crate::cast::list(&answer, "duplicates").to_vec();
        duplicates.sort_by_key(ToString::to_string);
        let mut wanted = expected.clone();
        wanted.sort_by_key(ToString::to_string);
        assert_eq!((id(&answer), duplicates), (id(winner), wanted), "{field}");
        expected.remove(0);
    }
    // Nobody lost an identity to the winner.
    assert_eq!(app.read(id(&by_email)).await["email"], "a@example.com");
    assert_eq!(app.read(id(&by_id)).await["email"], Value::Null);
    same(&app.read(id(&by_device)).await, &by_device);
}

async fn a_phone_matches_its_line_and_is_not_rewritten(app: &App) {
    let before = app.person(json!({"phone": "+551187654321"})).await;
    let after = app.post("/v1/profiles/upsert").json(json!({"phone": "+5511987654321", "city": "São Paulo"})).await.ok();
    assert_eq!((id(&after), &after["phone"]), (id(&before), &json!("+551187654321")));
    assert_eq!(identities(&after, "phone"), ["+551187654321"]);
}

async fn an_upsert_needs_an_identity(app: &App) {
    app.post("/v1/profiles/upsert").json(json!({"name": "Ada"})).await.refused(422, "identity_required");
    app.post("/v1/profiles/upsert").json(json!({"external_id": "null"})).await.refused_at("/external_id", "junk_identity");
    app.post("/v1/profiles/upsert").json(json!({"external_id": "a", "on_conflict": "maybe"})).await.refused(422, "validation_failed");
}
