//! `GET /v1/duplicates`, `GET /v1/profiles/{id}/duplicates`, `POST /v1/duplicates/{id}/dismiss` and
//! `POST /v1/duplicates/scan`: who may be one person, and why.

use std::{collections::BTreeSet, future::IntoFuture as _};

use futures_util::future::join_all;
use people_tests::{App, same, stories};
use serde_json::{Value, json};

use crate::{
    bulk::finished,
    cast::{id, list, path},
};

stories![
    a_pair_is_suggested_the_moment_its_second_is_written,
    what_speaks_for_a_pair_adds_up_and_can_be_read,
    an_edit_makes_a_pair_and_unmakes_it,
    two_who_come_at_once_find_each_other,
    placeholders_relatives_and_namesakes_are_not_suggested,
    a_dismissed_pair_never_comes_back,
    a_dismissal_binds_who_one_of_them_becomes,
    a_dismissal_sent_again_is_answered_again_until_its_people_are_erased,
    merged_people_are_not_suggested,
    erased_people_leave_nothing_behind,
    identified_people_named_by_one_message_are_suggested,
    the_threshold_of_the_workspace_takes_effect,
    pairs_are_walked_best_first_and_counted,
    a_scan_finds_who_was_there_before_and_after_a_definition_changed,
    after_a_scan_common_names_count_less,
    a_crowd_of_namesakes_is_not_held_against_itself,
    mere_events_change_no_suggestion,
    a_neighbours_pairs_are_nobody_elses,
];

/// Ada as two departments know her.
fn ada_of_sales() -> Value {
    json!({"external_id": "sales-1", "email": "ada@engines.example", "first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines",
           "city": "London", "country": "GB"})
}

fn ada_of_support() -> Value {
    json!({"external_id": "support-9", "email": "countess@home.example", "first_name": "Áda", "last_name": "Lovelase", "company": "Analytical Engines Ltd.", "city": "london", "country": "GB",
           "phone": "+442079460000"})
}

async fn pairs(app: &App) -> Vec<Value> {
    list(&app.get("/v1/duplicates?limit=200").await.ok(), "data").to_vec()
}

async fn pairs_of(app: &App, person: &Value) -> Vec<Value> {
    list(&app.get(&path(person, "/duplicates")).await.ok(), "data").to_vec()
}

/// The ids of the two.
fn two(pair: &Value) -> BTreeSet<String> {
    list(pair, "profiles").iter().map(|p| id(p).to_owned()).collect()
}

fn ids(people: &[&Value]) -> BTreeSet<String> {
    people.iter().map(|p| id(p).to_owned()).collect()
}

/// The levels by field.
fn levels(pair: &Value) -> Vec<(&str, &str)> {
    list(pair, "reasons").iter().filter_map(|r| Some((r["field"].as_str()?, r["level"].as_str()?))).collect()
}

/// Everyone is looked at anew, until the job has ended.
pub(crate) async fn scan(app: &App) -> Value {
    let job = app.post("/v1/duplicates/scan").await.is(202);
    assert_eq!(job["kind"], "duplicate_scan");
    let done = finished(app, &job).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["processed"], done["total"], "everyone is looked at once: {done}");
    done
}

async fn dismiss(app: &App, pair: &Value) -> Value {
    app.post(&format!("/v1/duplicates/{}/dismiss", id(pair))).await.ok()
}

async fn a_pair_is_suggested_the_moment_its_second_is_written(app: &App) {
    let sales = app.person(ada_of_sales()).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    let support = app.person(ada_of_support()).await;
    let found = pairs(app).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(two(&found[0]), ids(&[&sales, &support]));
    assert_eq!(id(&found[0]["profiles"][0]), id(&sales), "the older one first");
    for person in [&sales, &support] {
        assert_eq!(pairs_of(app, person).await, found, "from either side");
    }
    // Also within one request.
    let batch = [("crm-1", "Grace Hopper", "navy@one.example"), ("crm-2", "Grace Hoper", "grace@two.example")]
        .map(|(key, name, email)| json!({"external_id": key, "name": name, "email": email, "company": "US Navy", "city": "Arlington"}));
    app.people(&batch).await;
    assert_eq!(pairs(app).await.len(), 2);
}

async fn what_speaks_for_a_pair_adds_up_and_can_be_read(app: &App) {
    app.post("/v1/properties").json(json!({"key": "born", "type": "date", "label": "date of birth", "match": "date"})).await.created();
    let with_birthday = |mut person: Value, born: &str| {
        person["attributes"] = json!({"born": born});
        person
    };
    let one = app.person(with_birthday(ada_of_sales(), "1815-12-10")).await;
    app.person(with_birthday(ada_of_support(), "1815-12-11")).await;
    let found = pairs(app).await.remove(0);
    assert_eq!(
        levels(&found),
        [
            ("first_name", "same"),
            ("last_name", "close"),
            ("email", "different"),
            ("company", "same"),
            ("city", "same"),
            ("country", "same"),
            ("attributes.born", "close"),
            ("shared", "capped")
        ]
    );
    let details: Vec<&str> = list(&found, "reasons").iter().filter_map(|r| r["detail"].as_str()).collect();
    assert_eq!(
        details,
        [
            "Same first name",
            "Nearly the same last name",
            "Different e-mail addresses",
            "Same company",
            "Same city",
            "Same country",
            "Nearly the same date of birth",
            "Surname, address and company are shared in a household or an office, and count only so much together"
        ]
    );
    let tenths = |value: &Value| (value.as_f64().expect("points") * 10.0).round() as i64;
    assert_eq!(list(&found, "reasons").iter().map(|r| tenths(&r["points"])).sum::<i64>(), tenths(&found["score"]), "{found:#}");
    assert!(found["score"].as_f64().is_some_and(|score| score >= 20.0));
    // A summary is enough to tell the two apart.
    let summary = &found["profiles"][0];
    for field in
        ["id", "version", "name", "email", "phone", "external_id", "company", "city", "country", "avatar_url", "last_seen_at", "created_at"]
    {
        assert_eq!(summary[field], one[field], "{field}");
    }
    assert_eq!((&found["status"], &found["dismissed_at"], &found["dismissed_by"]), (&"open".into(), &Value::Null, &Value::Null));
}

async fn an_edit_makes_a_pair_and_unmakes_it(app: &App) {
    let sales = app.person(ada_of_sales()).await;
    let support = app.person(ada_of_support()).await;
    let found = pairs(app).await;
    app.patch(&path(&support, "")).json(json!({"first_name": "Grace", "last_name": "Hopper"})).await.ok();
    assert_eq!(pairs(app).await, [Value::Null; 0], "what holds no longer is not suggested");
    app.patch(&path(&support, "")).json(json!({"first_name": "Ada", "last_name": "Lovelace"})).await.ok();
    let again = pairs(app).await;
    assert_eq!(two(&again[0]), ids(&[&sales, &support]));
    assert!(levels(&found[0]).contains(&("last_name", "close")) && levels(&again[0]).contains(&("last_name", "same")));
    // What is not compared changes nothing.
    app.patch(&path(&support, "")).json(json!({"job_title": "Countess", "attributes": {"plan": "pro"}})).await.ok();
    assert_eq!((pairs(app).await[0]["id"].clone(), pairs(app).await.len()), (again[0]["id"].clone(), 1));
}

async fn two_who_come_at_once_find_each_other(app: &App) {
    let people = |n: usize| {
        ["one", "two"].map(|side| {
            json!({"external_id": format!("{side}-{n}"), "email": format!("{side}{n}@x.example"), "phone": format!("+44207946{n:04}"),
                   "identities": [{"kind": "instagram", "value": format!("{side}.handle.{n}")}],
                   "name": format!("Zebediah Quux{}", char::from(b'a' + u8::try_from(n).unwrap_or(0)).to_string().repeat(4)), "city": format!("Town {n}")})
        })
    };
    let rounds = 20;
    let calls = (0..rounds).flat_map(|n| {
        people(n).map(|mut body| {
            // One line is one person's: only one of the two has it.
            if body["external_id"].as_str().is_some_and(|key| key.starts_with("two")) {
                body.as_object_mut().map(|o| o.shift_remove("phone"));
            }
            app.post("/v1/profiles").json(body).into_future()
        })
    });
    for answer in join_all(calls).await {
        answer.created();
    }
    let found: BTreeSet<BTreeSet<String>> = pairs(app)
        .await
        .iter()
        .map(|pair| list(pair, "profiles").iter().map(|p| p["external_id"].as_str().unwrap_or_default().to_owned()).collect())
        .collect();
    for n in 0..rounds {
        let expected = BTreeSet::from([format!("one-{n}"), format!("two-{n}")]);
        assert!(found.contains(&expected), "{expected:?} is not among {found:?}");
    }
}

async fn placeholders_relatives_and_namesakes_are_not_suggested(app: &App) {
    app.people(&[
        // Placeholders.
        json!({"email": "a@one.example", "first_name": "100 %", "last_name": "-", "company": "n/a", "city": "unknown"}),
        json!({"email": "b@two.example", "first_name": "100 %", "last_name": "-", "company": "N/A", "city": "Unknown"}),
        // Offices.
        json!({"email": "info@one.example", "city": "Leeds"}),
        json!({"email": "info@two.example", "city": "Leeds"}),
        // Relatives.
        json!({"email": "mary@shelley.example", "first_name": "Mary", "last_name": "Shelley", "city": "Bath", "country": "GB", "company": "Shelley"}),
        json!({"email": "percy@shelley.example", "first_name": "Percy", "last_name": "Shelley", "city": "Bath", "country": "GB", "company": "Shelley"}),
        // Namesakes, of whom nothing else is known or everything differs.
        json!({"email": "jd1@one.example", "name": "Jane Doe", "city": "York", "country": "GB"}),
        json!({"email": "jd2@two.example", "name": "Jane Doe", "city": "Perth", "country": "AU"}),
        // Numbered accounts.
        json!({"email": "user17@corp.example", "external_id": "17"}),
        json!({"email": "user18@corp.example", "external_id": "18"}),
    ])
    .await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    scan(app).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
}

async fn a_dismissed_pair_never_comes_back(app: &App) {
    let sales = app.person(ada_of_sales()).await;
    let support = app.person(ada_of_support()).await;
    let pair = pairs(app).await.remove(0);
    let key = app.post("/v1/api-keys").json(json!({"name": "steward", "scopes": ["profiles:merge", "profiles:read"]})).await.created();
    let steward = app.with_key(key["key"].as_str().expect("the key is shown once"));
    let dismissed = dismiss(&steward, &pair).await;
    assert_eq!((&dismissed["status"], &dismissed["id"]), (&"dismissed".into(), &pair["id"]));
    assert_eq!(dismissed["dismissed_by"], format!("key:{}", id(&key)));
    same(&dismiss(app, &pair).await, &dismissed);
    let nothing = async || {
        assert_eq!(pairs(app).await, [Value::Null; 0]);
        assert_eq!(pairs_of(app, &sales).await, [Value::Null; 0]);
    };
    nothing().await;
    scan(app).await;
    nothing().await;
    // They grow still more alike, on both sides.
    for person in [&sales, &support] {
        app.patch(&path(person, ""))
            .json(json!({"first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines"}))
            .await
            .ok();
        nothing().await;
    }
    // They cease to be alike, and begin again.
    app.patch(&path(&support, "")).json(json!({"first_name": "Grace", "last_name": "Hopper", "company": null})).await.ok();
    scan(app).await;
    app.patch(&path(&support, "")).json(json!({"first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines"})).await.ok();
    scan(app).await;
    nothing().await;
    // One message names both.
    let event = json!({"type": "seen", "identities": [{"kind": "email", "value": "ada@engines.example"}, {"kind": "phone", "value": "+442079460000"}]});
    app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    nothing().await;
    let remembered = app.get("/v1/duplicates?status=dismissed&count=true").await.ok();
    assert_eq!((remembered["total"].clone(), list(&remembered, "data")[0]["id"].clone()), (1.into(), pair["id"].clone()));
    // A third is still suggested with either.
    app.person(json!({"external_id": "web-3", "name": "Ada Lovelace", "company": "Analytical Engines", "city": "London"})).await;
    assert_eq!(pairs(app).await.len(), 2);
}

/// An anonymous visitor who gave a name is dismissed beside Ada; then they turn out to be somebody known.
async fn a_dismissal_binds_who_one_of_them_becomes(app: &App) {
    let ada = app.person(ada_of_sales()).await;
    let visitor = json!({"identities": [{"kind": "anonymous_id", "value": "browser-1"}], "name": "Ada Lovelace", "city": "London", "company": "Analytical Engines"});
    let visitor = app.person(visitor).await;
    let pair = pairs(app).await.remove(0);
    assert_eq!(two(&pair), ids(&[&ada, &visitor]));
    dismiss(app, &pair).await;
    let known = app.person(json!({"external_id": "crm-7", "email": "byron@home.example"})).await;
    let event = json!({"type": "seen", "identities": [{"kind": "anonymous_id", "value": "browser-1"}, {"kind": "email", "value": "byron@home.example"}]});
    app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    assert_eq!(app.read(id(&visitor)).await["id"], known["id"], "the visitor is the known person");
    assert_eq!(app.read(id(&known)).await["name"], "Ada Lovelace");
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    scan(app).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    let remembered = app.get("/v1/duplicates?status=dismissed").await.ok();
    assert_eq!(two(&list(&remembered, "data")[0]), ids(&[&ada, &known]));
}

async fn a_dismissal_sent_again_is_answered_again_until_its_people_are_erased(app: &App) {
    let sales = app.person(ada_of_sales()).await;
    app.person(ada_of_support()).await;
    let pair = pairs(app).await.remove(0);
    let path_of_pair = format!("/v1/duplicates/{}/dismiss", id(&pair));
    let first = app.post(&path_of_pair).idempotency_key("once").await;
    let second = app.post(&path_of_pair).idempotency_key("once").await;
    assert_eq!((first.bytes.clone(), second.header("idempotency-replayed")), (second.bytes.clone(), Some("true")));
    app.post("/v1/duplicates/0192f0c1-2d3e-7000-8000-000000000000/dismiss")
        .idempotency_key("once")
        .await
        .refused(422, "idempotency_mismatch");
    app.delete(&path(&sales, "")).await.ok();
    let after = app.post(&path_of_pair).idempotency_key("once").await;
    assert_eq!((after.status, after.text()), (200, "{\"erased\":true}".to_owned()));
    let scans = [
        app.post("/v1/duplicates/scan").idempotency_key("scan").await.is(202),
        app.post("/v1/duplicates/scan").idempotency_key("scan").await.is(202),
    ];
    assert_eq!(scans[0]["id"], scans[1]["id"], "a retry makes no second job");
    finished(app, &scans[0]).await;
}

async fn merged_people_are_not_suggested(app: &App) {
    let ada = app.person(ada_of_sales()).await;
    let visitor = json!({"identities": [{"kind": "anonymous_id", "value": "browser-1"}], "name": "Ada Lovelace", "company": "Analytical Engines", "city": "London"});
    let visitor = app.person(visitor).await;
    let support = app.person(ada_of_support()).await;
    assert_eq!(pairs(app).await.len(), 3, "each with each");
    let event = json!({"type": "seen", "identities": [{"kind": "anonymous_id", "value": "browser-1"}, {"kind": "email", "value": "ada@engines.example"}]});
    app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    for _ in 0..2 {
        let left = pairs(app).await;
        assert_eq!(left.len(), 1, "{left:#?}");
        assert_eq!(two(&left[0]), ids(&[&ada, &support]));
        // The id that was merged away answers for the survivor.
        assert_eq!(pairs_of(app, &visitor).await, left);
        scan(app).await;
    }
}

async fn erased_people_leave_nothing_behind(app: &App) {
    let ada = app.person(ada_of_sales()).await;
    let support = app.person(ada_of_support()).await;
    let third =
        app.person(json!({"external_id": "web-3", "name": "Ada Lovelace", "company": "Analytical Engines", "city": "London"})).await;
    let first = pairs(app).await;
    assert_eq!(first.len(), 3);
    dismiss(app, first.iter().find(|p| two(p) == ids(&[&ada, &third])).expect("the pair")).await;
    app.delete(&path(&ada, "")).await.ok();
    app.get(&path(&ada, "/duplicates")).await.refused(410, "profile_erased");
    assert_eq!(two(&pairs(app).await[0]), ids(&[&support, &third]));
    app.delete(&path(&support, "")).await.ok();
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    scan(app).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    assert_eq!(list(&app.get("/v1/duplicates?status=dismissed").await.ok(), "data"), [Value::Null; 0]);
    // Whoever comes anew is not held against who is gone.
    app.person(ada_of_sales()).await;
    assert_eq!(pairs(app).await.len(), 1, "with the third alone");
}

async fn identified_people_named_by_one_message_are_suggested(app: &App) {
    let ada = app.person(json!({"external_id": "crm-17", "email": "ada@engines.example", "name": "Ada Lovelace", "country": "GB"})).await;
    let grace = app.person(json!({"external_id": "crm-18", "email": "grace@navy.example", "name": "Grace Hopper", "country": "US"})).await;
    let event = json!({"type": "seen", "identities": [{"kind": "external_id", "value": "crm-17"}, {"kind": "email", "value": "grace@navy.example"}]});
    app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    let expect = async |detail: &str| {
        let found = pairs(app).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(two(&found[0]), ids(&[&ada, &grace]));
        assert_eq!(found[0]["reasons"][0]["level"], "identity_conflict");
        assert_eq!(found[0]["reasons"][0]["detail"], detail);
    };
    expect("One message or request named both people by their email").await;
    // An edit and a scan forget neither the pair nor why it is one.
    app.patch(&path(&grace, "")).json(json!({"city": "Arlington"})).await.ok();
    expect("One message or request named both people by their email").await;
    scan(app).await;
    expect("One message or request named both people by their email").await;
    // An upsert that takes the strongest key reports the other, here too.
    app.post("/v1/profiles/upsert")
        .json(json!({"external_id": "crm-18", "email": "ada@engines.example", "on_conflict": "strongest"}))
        .await
        .ok();
    expect("One message or request named both people by their email").await;
    let walter = app.person(json!({"external_id": "crm-19", "name": "Walter Shewhart"})).await;
    app.post("/v1/profiles/upsert")
        .json(json!({"external_id": "crm-19", "email": "ada@engines.example", "on_conflict": "strongest"}))
        .await
        .ok();
    assert_eq!(two(&pairs_of(app, &walter).await[0]), ids(&[&ada, &walter]));
}

async fn the_threshold_of_the_workspace_takes_effect(app: &App) {
    assert_eq!(app.get("/v1/workspace").await.ok()["duplicate_threshold"], 20);
    app.person(ada_of_sales()).await;
    app.person(ada_of_support()).await;
    let score = pairs(app).await[0]["score"].as_f64().expect("a score");
    let ceiling = score.ceil() as i64 + 1;
    assert_eq!(app.patch("/v1/workspace").json(json!({"duplicate_threshold": ceiling})).await.ok()["duplicate_threshold"], ceiling);
    assert_eq!(app.get("/v1/duplicates?count=true").await.ok()["total"], 0, "hidden at once");
    app.patch("/v1/workspace").json(json!({"duplicate_threshold": 20})).await.ok();
    assert_eq!(pairs(app).await.len(), 1, "and there again");
    // Weaker pairs come with a lower threshold: at the next write, and by the next scan.
    let weak = |n: i64| json!({"external_id": format!("w{n}"), "name": "Jane Doe", "email": format!("jd{n}@x{n}.example")});
    app.people(&[weak(1), weak(2)]).await;
    assert_eq!(pairs(app).await.len(), 1);
    app.patch("/v1/workspace").json(json!({"duplicate_threshold": 10})).await.ok();
    scan(app).await;
    assert_eq!(pairs(app).await.len(), 2);
    app.person(weak(3)).await;
    assert_eq!(pairs(app).await.len(), 4);
    // A scan takes back what a raised one no longer holds.
    app.patch("/v1/workspace").json(json!({"duplicate_threshold": 20})).await.ok();
    scan(app).await;
    app.patch("/v1/workspace").json(json!({"duplicate_threshold": 10})).await.ok();
    assert_eq!(pairs(app).await.len(), 1);
    for (bad, code) in [(json!(9), "invalid_value"), (json!(41), "invalid_value"), (json!(20.5), "wrong_type"), (json!(null), "wrong_type")]
    {
        app.patch("/v1/workspace").json(json!({"duplicate_threshold": bad})).await.refused_at("/duplicate_threshold", code);
    }
}

async fn pairs_are_walked_best_first_and_counted(app: &App) {
    let people: Vec<Value> = (0..7)
        .flat_map(|n| {
            ["a", "b"].map(|side| {
                let mut person = json!({"external_id": format!("{side}{n}"), "first_name": "Ada", "last_name": format!("{}quist", ["Lind", "Berg", "Holm", "Sund", "Alm", "Ek", "Dal"][n]), "company": format!("Works {n}")});
                if n % 2 == 0 {
                    person["email"] = format!("box.{n}.quist@{side}.example").into();
                }
                person
            })
        })
        .collect();
    app.people(&people).await;
    let all = pairs(app).await;
    assert_eq!(all.len(), 7, "{all:#?}");
    let scores: Vec<f64> = all.iter().filter_map(|p| p["score"].as_f64()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] > scores[6], "{scores:?}");
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/duplicates?limit=3&count=true{cursor}")).await.ok();
        assert_eq!(page["total"], 7);
        walked.extend(list(&page, "data").to_vec());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, all);
    assert!(app.get("/v1/duplicates").await.ok().get("total").is_none());
    let page = app.get("/v1/duplicates?limit=3").await.ok();
    let next = page["next_cursor"].as_str().expect("there is more");
    app.get(&format!("/v1/duplicates?status=dismissed&cursor={next}")).await.refused(400, "cursor_mismatch");
    app.get("/v1/duplicates?status=maybe").await.refused(400, "invalid_query");
    app.get("/v1/duplicates?limit=0").await.refused(400, "invalid_query");
}

async fn a_scan_finds_who_was_there_before_and_after_a_definition_changed(app: &App) {
    let passport =
        |key: &str, name: &str| json!({"external_id": key, "name": name, "city": "London", "attributes": {"passport": "X 123 456 789"}});
    app.people(&[passport("p1", "A. Lovelace"), passport("p2", "Ada Lovelace")]).await;
    assert_eq!(pairs(app).await, [Value::Null; 0], "an attribute says nothing until its definition says how");
    app.patch("/v1/properties/passport").json(json!({"match": "exact"})).await.ok();
    scan(app).await;
    let found = pairs(app).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(levels(&found[0]).contains(&("attributes.passport", "same")));
    app.patch("/v1/properties/passport").json(json!({"match": "none"})).await.ok();
    scan(app).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    // People who were written by a version that knew nothing of duplicates.
    let adas = ids(&[&app.person(ada_of_sales()).await, &app.person(ada_of_support()).await]);
    // Whoever asks lets the look-out come up to date, so it does not write these people's keys again after they are gone.
    assert!(pairs(app).await.iter().any(|pair| two(pair) == adas));
    let workspace =
        if app.engine.is_postgres() { format!("'{}'", app.workspace_id) } else { format!("x'{}'", app.workspace_id.replace('-', "")) };
    for table in ["duplicate_keys", "duplicate_suggestions"] {
        app.database().rows(&format!("DELETE FROM {table} WHERE workspace_id = {workspace}")).await;
    }
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    let done = scan(app).await;
    assert!(pairs(app).await.iter().any(|pair| two(pair) == adas));
    assert!(done["details"]["compared"].as_i64().is_some_and(|compared| (1..=6).contains(&compared)), "{done}");
    same(&scan(app).await["details"], &done["details"]);
}

async fn after_a_scan_common_names_count_less(app: &App) {
    let mut people: Vec<Value> = (0..300)
        .map(|n| {
            let last = if n % 4 == 0 { "Smith".to_owned() } else { format!("Rare{}", char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26)) };
            json!({"external_id": format!("c{n}"), "first_name": format!("First{}", char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26)), "last_name": last})
        })
        .collect();
    for (name, side) in [("Smith", "a"), ("Smith", "b"), ("Featherstonehaugh", "c"), ("Featherstonehaugh", "d")] {
        people
            .push(json!({"external_id": format!("w-{side}"), "first_name": "Winifred", "last_name": name, "city": format!("{name} Town")}));
    }
    app.people(&people).await;
    let points = async |key: &str| {
        let person = app.get(&format!("/v1/profiles/lookup?external_id={key}")).await.ok();
        let pair = pairs_of(app, &person).await.into_iter().next().unwrap_or_else(|| panic!("{key} has no pair"));
        let last = list(&pair, "reasons").iter().find(|r| r["field"] == "last_name").cloned().expect("the surname was compared");
        (last["points"].as_f64().expect("points"), last["detail"].as_str().unwrap_or_default().to_owned())
    };
    let before = (points("w-a").await.0, points("w-c").await.0);
    assert_eq!(before.0, before.1, "nothing was counted yet");
    app.patch("/v1/workspace").json(json!({"duplicate_threshold": 10})).await.ok();
    scan(app).await;
    let ((smith, said), (rare, _)) = (points("w-a").await, points("w-c").await);
    assert!(smith + 3.0 < rare, "{smith} and {rare}");
    assert_eq!(said, "Same last name, a common one");
}

/// The work grows with the people, not with their square.
async fn a_crowd_of_namesakes_is_not_held_against_itself(app: &App) {
    let people: Vec<Value> = (0..200)
        .map(|n| json!({"external_id": format!("n{n}"), "email": format!("contact{}@x{n}.example", n * 7), "name": "Jane Doe", "city": "London", "country": "GB"}))
        .collect();
    app.people(&people).await;
    for one in &people[..10] {
        let mut late = one.clone();
        late["external_id"] = format!("late-{}", one["external_id"].as_str().unwrap_or_default()).into();
        late["email"] = Value::Null;
        app.person(late).await;
    }
    let total = app.get("/v1/duplicates?count=true").await.ok()["total"].clone();
    assert!(total.as_i64().is_some_and(|total| total <= 210 * 12), "{total}");
    let done = scan(app).await;
    assert!(done["details"]["compared"].as_i64().is_some_and(|compared| compared <= 210 * 50), "{done}");
}

async fn mere_events_change_no_suggestion(app: &App) {
    let ada = app.person(ada_of_sales()).await;
    app.person(ada_of_support()).await;
    let before = pairs(app).await;
    let events: Vec<Value> =
        (0..50).map(|n| json!({"profile_id": ada["id"], "type": "seen", "channel": "web", "properties": {"n": n}})).collect();
    app.post("/v1/events").json(json!({"events": events})).await.ok();
    let mut after = pairs(app).await;
    for pair in &mut after {
        for (profile, was) in pair["profiles"].as_array_mut().into_iter().flatten().zip(list(&before[0], "profiles")) {
            for field in ["version", "last_seen_at"] {
                profile[field] = was[field].clone();
            }
        }
    }
    assert_eq!(after, before);
}

async fn a_neighbours_pairs_are_nobody_elses(app: &App) {
    let neighbour = app.neighbour();
    let theirs = neighbour.person(ada_of_sales()).await;
    app.person(ada_of_support()).await;
    assert_eq!((pairs(app).await.len(), pairs(&neighbour).await.len()), (0, 0), "nobody is compared across workspaces");
    neighbour.person(ada_of_support()).await;
    let pair = pairs(&neighbour).await.remove(0);
    scan(app).await;
    assert_eq!(pairs(app).await, [Value::Null; 0]);
    app.post(&format!("/v1/duplicates/{}/dismiss", id(&pair))).await.refused(404, "not_found");
    app.get(&path(&theirs, "/duplicates")).await.refused(404, "not_found");
    same(&pairs(&neighbour).await[0], &pair);
}
