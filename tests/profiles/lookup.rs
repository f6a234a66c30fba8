//! `GET` and `POST /v1/profiles/lookup`: who answers to this address, number or id?

use people_tests::{App, percent, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, path};

stories![
    each_identity_finds_its_person,
    a_phone_finds_its_person_however_it_is_written,
    somebody_unknown_is_not_found,
    one_identity_is_asked_for,
    many_are_found_and_missed_in_the_order_asked,
    a_removed_identity_finds_nobody,
    too_many_are_refused,
];

async fn each_identity_finds_its_person(app: &App) {
    let mut body = ada();
    body["identities"] = json!([{"kind": "device", "value": "d/1?&=%"}, {"kind": "email", "value": "ada@work.example"}]);
    let ada = app.person(body).await;
    app.person(grace()).await;
    for query in [
        "email=ada@example.com".to_owned(),
        format!("email={}", percent(" ADA@Example.COM ")),
        "email=ada%40work.example".to_owned(),
        "phone=%2B442079460000".to_owned(),
        "external_id=crm-17".to_owned(),
        "kind=external_id&value=crm-17".to_owned(),
        format!("kind=device&value={}", percent("d/1?&=%")),
    ] {
        let answer = app.get(&format!("/v1/profiles/lookup?{query}")).await;
        same(&answer.ok(), &ada);
        assert_eq!(answer.header("etag"), Some("\"1\""), "{query}");
    }
}

async fn a_phone_finds_its_person_however_it_is_written(app: &App) {
    app.patch("/v1/workspace").json(json!({"default_country": "GB"})).await.ok();
    for (stored, spellings) in [
        ("+442079460000", &["+44 (20) 7946-0000", "020 7946 0000", "00442079460000"][..]),
        ("+551187654321", &["+5511987654321", "+55 11 98765-4321"]),
        ("+5215512345678", &["+525512345678"]),
        ("+541123456789", &["+5491123456789"]),
    ] {
        let person = app.person(json!({"phone": stored})).await;
        for spelling in spellings {
            let found = app.get(&format!("/v1/profiles/lookup?phone={}", percent(spelling))).await.ok();
            same(&found, &person);
            assert_eq!(found["phone"], stored, "the stored number is never rewritten");
        }
    }
}

async fn somebody_unknown_is_not_found(app: &App) {
    app.person(ada()).await;
    for query in ["email=nobody@example.com", "external_id=CRM-17", "kind=device&value=crm-17", "phone=%2B442079460001"] {
        app.get(&format!("/v1/profiles/lookup?{query}")).await.refused(404, "not_found");
    }
}

async fn one_identity_is_asked_for(app: &App) {
    for query in [
        "",
        "email=a@example.com&phone=%2B442079460000",
        "kind=device",
        "value=1",
        "email=a@example.com&email=b@example.com",
        "kind=Bad-Kind&value=1",
        "colour=red",
        "email=a@example.com&kind=device&value=1",
    ] {
        app.get(&format!("/v1/profiles/lookup?{query}")).await.refused(400, "invalid_query");
    }
    // What could be nobody's address is refused, not missed.
    for query in ["email=ada", "phone=12", "external_id=null"] {
        let answer = app.get(&format!("/v1/profiles/lookup?{query}")).await;
        assert!(matches!(answer.status, 400 | 422), "{answer}");
        answer.problem();
    }
}

async fn many_are_found_and_missed_in_the_order_asked(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    let asked = [
        json!({"kind": "external_id", "value": "crm-18"}),
        json!({"kind": "email", "value": "nobody@example.com"}),
        json!({"kind": "email", "value": "ADA@example.com"}),
        json!({"kind": "phone", "value": "+44 20 7946 0000"}),
        json!({"kind": "device", "value": "d-9"}),
    ];
    let answer = app.post("/v1/profiles/lookup").json(json!({"identities": asked})).await.ok();
    same(
        &answer,
        &json!({
            "found": [
                {"kind": asked[0]["kind"], "value": asked[0]["value"], "profile": grace},
                {"kind": asked[2]["kind"], "value": asked[2]["value"], "profile": ada},
                {"kind": asked[3]["kind"], "value": asked[3]["value"], "profile": ada}
            ],
            "missing": [asked[1], asked[4]]
        }),
    );
    same(&app.post("/v1/profiles/lookup").json(json!({"identities": []})).await.ok(), &json!({"found": [], "missing": []}));
}

async fn a_removed_identity_finds_nobody(app: &App) {
    let ada = app.person(ada()).await;
    app.delete(&path(&ada, "/identities/phone/%2B442079460000")).await.ok();
    app.get("/v1/profiles/lookup?phone=%2B442079460000").await.refused(404, "not_found");
    let answer = app.post("/v1/profiles/lookup").json(json!({"identities": [{"kind": "phone", "value": "+442079460000"}]})).await.ok();
    assert_eq!(answer["found"], json!([]));
}

async fn too_many_are_refused(app: &App) {
    let many = |n: usize| -> Vec<Value> { (0..n).map(|i| json!({"kind": "external_id", "value": format!("crm-{i}")})).collect() };
    let ada = app.person(json!({"external_id": "crm-999"})).await;
    let answer = app.post("/v1/profiles/lookup").json(json!({"identities": many(1_000)})).await.ok();
    assert_eq!(answer["found"][0]["profile"]["id"], ada["id"]);
    assert_eq!(answer["missing"].as_array().map(Vec::len), Some(999));
    app.post("/v1/profiles/lookup").json(json!({"identities": many(1_001)})).await.refused_at("/identities", "limit_exceeded");
    app.post("/v1/profiles/lookup")
        .json(json!({"identities": [{"kind": "email", "value": "ada"}]}))
        .await
        .refused_at("/identities/0/value", "invalid_email");
}
