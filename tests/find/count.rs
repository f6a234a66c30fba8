//! `POST /v1/profiles/count` and `count=true`: exact, and equal to the list they count.

use people_tests::{App, stories};
use serde_json::{Value, json};

stories![counts_equal_the_lists_they_count, a_total_comes_only_when_asked_for, counting_takes_no_page];

async fn counts_equal_the_lists_they_count(app: &App) {
    let countries = ["GB", "IE", "US", "FR"];
    let bodies: Vec<Value> = (0..237)
        .map(|n| json!({"external_id": format!("p{n:03}"), "name": format!("Person {n}"), "country": countries[n % 4], "labels": if n % 5 == 0 { vec!["five"] } else { vec![] }, "attributes": {"n": n}}))
        .collect();
    app.people(&bodies).await;
    for (body, expected) in [
        (json!({}), 237),
        (json!({"q": "person 1"}), (0..237).filter(|n| format!("Person {n} p{n:03}").contains('1')).count()),
        (json!({"filter": {"field": "country", "op": "eq", "value": "GB"}}), 60),
        (json!({"filter": {"field": "labels", "op": "has", "value": "five"}}), 48),
        (json!({"filter": {"field": "attributes.n", "op": "lt", "value": 100}}), 100),
        (
            json!({"filter": {"all": [{"field": "country", "op": "eq", "value": "FR"}, {"field": "labels", "op": "missing"}]}}),
            (0..237).filter(|n| n % 4 == 3 && n % 5 != 0).count(),
        ),
        (json!({"q": "nobody at all"}), 0),
        (json!({"filter": {"any": []}}), 0),
    ] {
        let total = app.post("/v1/profiles/count").json(body.clone()).await.ok();
        assert_eq!(total, json!({"total": expected}), "{body}");
        assert_eq!(app.find(body.clone()).await.len(), expected, "{body}");
        let mut counted = body.clone();
        counted["count"] = true.into();
        counted["limit"] = 7.into();
        let page = app.search(counted.clone()).await;
        assert_eq!(page["total"], expected, "{body}");
        // The total is of the whole, on every page.
        if let Some(cursor) = page["next_cursor"].as_str() {
            counted["cursor"] = cursor.into();
            assert_eq!(app.search(counted).await["total"], expected, "{body}");
        }
    }
    assert_eq!(app.get("/v1/profiles?count=true&limit=1&country=GB&country=GB").await.status, 400, "country is given once");
    assert_eq!(app.get("/v1/profiles?count=true&limit=1&country=GB").await.ok()["total"], 60);
}

async fn a_total_comes_only_when_asked_for(app: &App) {
    app.person(json!({"external_id": "a"})).await;
    for page in [
        app.search(json!({})).await,
        app.search(json!({"count": false})).await,
        app.get("/v1/profiles").await.ok(),
        app.get("/v1/profiles?count=false").await.ok(),
    ] {
        assert_eq!(page.get("total"), None, "{page}");
        assert_eq!(
            page.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()),
            Some(vec!["data".to_owned(), "next_cursor".to_owned()])
        );
    }
}

async fn counting_takes_no_page(app: &App) {
    for (body, pointer) in [
        (json!({"limit": 5}), "/limit"),
        (json!({"cursor": "x"}), "/cursor"),
        (json!({"sort": "name"}), "/sort"),
        (json!({"count": true}), "/count"),
    ] {
        app.post("/v1/profiles/count").json(body).await.refused_at(pointer, "unknown_field");
    }
    app.post("/v1/profiles/count").json(json!([])).await.refused(422, "validation_failed");
}
