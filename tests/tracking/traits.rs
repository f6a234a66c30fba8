//! What an `identify` says of a person: fields of the profile, attributes, and what cannot be kept.

use people_tests::{App, stories};
use serde_json::{Map, Value, json};

use super::{page, person, person_of, timeline};
use crate::cast::{id, identities};

stories![
    traits_are_the_same_in_either_spelling,
    what_a_reserved_trait_holds_is_kept,
    what_cannot_be_an_attribute_stays_with_the_event,
    a_trait_that_finds_no_room_costs_no_other,
];

async fn says(app: &App, message: Value) -> Value {
    page(app, "/v1/identify", message.clone()).await;
    person_of(app, message["userId"].as_str().expect("an id")).await
}

async fn traits_are_the_same_in_either_spelling(app: &App) {
    let ada = says(
        app,
        json!({"userId": "u1", "traits": {"first_name": "Ada", "title": "Countess"}, "context": {"traits": {"firstName": "Augusta", "lastName": "King"}}}),
    )
    .await;
    assert_eq!((&ada["first_name"], &ada["last_name"], &ada["job_title"]), (&json!("Ada"), &json!("King"), &json!("Countess")));
    assert_eq!(ada["attributes"], json!({}), "none is left over");
    let grace =
        says(app, json!({"userId": "u2", "traits": {"firstName": null, "first_name": "Grace", "avatar": "https://a.example/g.png"}})).await;
    assert_eq!((&grace["first_name"], &grace["avatar_url"]), (&json!("Grace"), &json!("https://a.example/g.png")));
    assert_eq!(grace["attributes"], json!({}));
    let both = says(app, json!({"userId": "u3", "traits": {"lastName": "Theirs", "last_name": "Ours"}})).await;
    assert_eq!((&both["last_name"], &both["attributes"]), (&json!("Ours"), &json!({})));
    let (first, second) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    says(app, json!({"userId": "u4", "traits": {"createdAt": first}})).await;
    let since = says(app, json!({"userId": "u4", "traits": {"created_at": second}})).await;
    assert_eq!(since["attributes"], json!({"created_at": second}));
}

async fn what_cannot_be_an_attribute_stays_with_the_event(app: &App) {
    let lost = json!({"cart": [{"sku": "1"}], "prefs": {"theme": "dark"}, "country": "Nowhereland", "a b\u{7}": 1});
    let mut traits = lost.clone();
    traits["plan"] = json!("pro");
    let ada = says(app, json!({"userId": "u1", "traits": traits, "messageId": "m"})).await;
    assert_eq!((&ada["attributes"], &ada["country"]), (&json!({"plan": "pro"}), &Value::Null));
    let told = timeline(app, &ada, "identify").await[0]["refused"].clone();
    let said: Map<String, Value> = told
        .as_array()
        .expect("a list")
        .iter()
        .map(|refused| (refused["value"].as_str().unwrap_or_default().to_owned(), refused["said"].clone()))
        .collect();
    assert_eq!(Value::Object(said), lost, "{told}");
    // Sent again it is answered, and kept, the same.
    page(app, "/v1/identify", json!({"userId": "u1", "traits": traits, "messageId": "m"})).await;
    assert_eq!(timeline(app, &ada, "identify").await.len(), 1);
}

async fn what_a_reserved_trait_holds_is_kept(app: &App) {
    let ada = says(
        app,
        json!({"userId": "u1", "traits": {
            "id": "u1", "city": "Paris", "email": "ada@example.com",
            "address": {"street": "12 St James's Square", "city": "London", "state": null, "postalCode": "SW1Y", "country": "GB"},
            "company": {"id": "c1", "name": "Engines", "industry": "computing", "employee_count": 3, "plan": "pro"}
        }}),
    )
    .await;
    assert_eq!((&ada["city"], &ada["country"], &ada["company"]), (&json!("Paris"), &json!("GB"), &json!("Engines")));
    assert_eq!(
        ada["attributes"],
        json!({"address.city": "London", "address.postal_code": "SW1Y", "address.street": "12 St James's Square", "company.employee_count": 3,
            "company.id": "c1", "company.industry": "computing", "company.plan": "pro"})
    );
    let by_plan = json!({"field": "attributes.company.plan", "op": "eq", "value": "pro"});
    assert_eq!(app.find(json!({"filter": by_plan})).await, ["u1"]);
    let other = says(
        app,
        json!({"userId": "u2", "traits": {"id": "crm-9", "address": "12 Main St", "company": "Navy", "name": {"first": "G"}, "phone": {}}}),
    )
    .await;
    assert_eq!((&other["company"], &other["attributes"]), (&json!("Navy"), &json!({"address": "12 Main St", "id": "crm-9"})));
    let told = |name: &str, said: Value| json!({"kind": "trait", "value": name, "code": "wrong_type", "said": said});
    let refused = json!([told("name", json!({"first": "G"})), told("phone", json!({}))]);
    assert_eq!(timeline(app, &other, "identify").await[0]["refused"], refused);
}

async fn a_trait_that_finds_no_room_costs_no_other(app: &App) {
    let numbered = |from: usize, to: usize| (from..to).map(|n| (format!("t{n:03}"), json!("x"))).collect::<Map<String, Value>>();
    page(app, "/v1/page", json!({"anonymousId": "a1"})).await;
    let ada = says(app, json!({"userId": "u1", "anonymousId": "a1", "traits": numbered(0, 201)})).await;
    assert_eq!(ada["attributes"].as_object().expect("an object").len(), 200);
    assert_eq!(person(app, "anonymous_id", "a1").await["id"], ada["id"]);
    let refused = |name: &str, said: &str| json!([{"kind": "trait", "value": name, "code": "limit_exceeded", "said": said}]);
    assert_eq!(timeline(app, &ada, "identify").await[0]["refused"], refused("t200", "x"));
    // What is there is changed, and the rest of the message is worth no less.
    let traits = json!({"one_more": "1", "t000": "new", "firstName": "Ada", "email": "ada@example.com"});
    let ada = says(app, json!({"userId": "u1", "anonymousId": "a2", "traits": traits})).await;
    assert_eq!((&ada["attributes"]["t000"], &ada["first_name"]), (&json!("new"), &json!("Ada")));
    assert_eq!((identities(&ada, "email"), identities(&ada, "anonymous_id")), (vec!["ada@example.com"], vec!["a1", "a2"]));
    assert_eq!(timeline(app, &ada, "identify").await[0]["refused"], refused("one_more", "1"));
    assert_eq!(app.get("/v1/properties/one_more").await.status, 404, "nor is it defined");
    // 64 KiB in all: nine of these are too many, the ninth is left out, and a shorter one finds room.
    let wide = |n: usize| json!({"userId": "u2", "traits": {format!("wide{n}"): "x".repeat(8_000)}});
    for n in 0..9 {
        says(app, wide(n)).await;
    }
    let grace = says(app, json!({"userId": "u2", "traits": {"short": "y"}})).await;
    assert_eq!(grace["attributes"].as_object().expect("an object").len(), 9);
    assert_eq!(timeline(app, &grace, "identify").await[1]["refused"], refused("wide8", &"x".repeat(8_000)));
    assert!(app.read(id(&grace)).await["attributes"]["short"] == "y");
}
