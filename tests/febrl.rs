//! A thousand records of people as they are typed in real offices (FEBRL), with their gaps, slips and duplicates:
//! loaded through the API, then searched, filtered and counted. What must come out is computed from the file here.

use std::collections::BTreeMap;

use people_tests::{App, project, stories};
use serde_json::{Value, json};

use crate::{cast::list, duplicates::scan};

stories![a_thousand_real_records_are_found_filtered_and_counted, the_duplicates_among_a_thousand_real_records_are_suggested];

type Record = BTreeMap<String, String>;

fn records() -> Vec<Record> {
    let path = project().join("tests/data/febrl1.csv");
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).expect("the data is there");
    reader.deserialize().map(|row| row.expect("a row of the data")).collect()
}

/// `19081209` as `1908-12-09`, where it is a day of the calendar.
fn birthday(record: &Record) -> Option<String> {
    let digits = &record["date_of_birth"];
    let (year, month, day) = (digits.get(..4)?, digits.get(4..6)?, digits.get(6..8)?);
    let (y, m, d): (u32, u32, u32) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let leap = y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let days = match m {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    (digits.len() == 8 && y > 0 && (1..=days).contains(&d)).then(|| format!("{year}-{month}-{day}"))
}

fn profile(record: &Record) -> Value {
    let text = |name: &str| Some(record[name].as_str()).filter(|t| !t.is_empty());
    json!({
        "op": "create",
        "external_id": record["rec_id"],
        "first_name": text("given_name"),
        "last_name": text("surname"),
        "city": text("suburb"),
        "attributes": {
            "postcode": text("postcode"), "state": text("state"), "date_of_birth": birthday(record), "street_number": text("street_number").and_then(|n| n.parse::<i64>().ok()),
            "address_1": text("address_1"), "soc_sec_id": text("soc_sec_id")
        }
    })
}

/// The record ids of those a closure picks, sorted.
fn pick(records: &[Record], which: impl Fn(&Record) -> bool) -> Vec<String> {
    let mut ids: Vec<String> = records.iter().filter(|r| which(r)).map(|r| r["rec_id"].clone()).collect();
    ids.sort();
    ids
}

/// What the search bar must find: every word in one of the searched fields.
fn searched(record: &Record, q: &str) -> bool {
    let fields = [&record["rec_id"], &record["given_name"], &record["surname"], &record["soc_sec_id"]];
    q.split_whitespace().all(|word| fields.iter().any(|field| field.contains(word)))
}

async fn a_thousand_real_records_are_found_filtered_and_counted(app: &App) {
    let records = records();
    assert_eq!(records.len(), 1_000);
    for (key, kind, searchable) in [
        ("postcode", "text", false),
        ("state", "text", false),
        ("date_of_birth", "date", false),
        ("street_number", "number", false),
        ("address_1", "text", false),
        ("soc_sec_id", "text", true),
    ] {
        app.post("/v1/properties").json(json!({"key": key, "type": kind, "searchable": searchable, "pii": true})).await.created();
    }
    let items: Vec<Value> = records.iter().map(profile).collect();
    let answer = app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
    assert!(list(&answer, "results").iter().all(|r| r["status"] == 201), "{answer}");
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 1_000}));

    // Everybody is found by their own name, and with them exactly those the file says.
    for record in records.iter().step_by(20) {
        let (given, surname) = (&record["given_name"], &record["surname"]);
        for q in [
            format!("{given} {surname}"),
            format!("{surname} {given}"),
            surname.chars().take(3).collect(),
            record["rec_id"].clone(),
            record["soc_sec_id"].clone(),
        ] {
            let q = q.trim().to_owned();
            if q.is_empty() {
                continue;
            }
            let expected = pick(&records, |r| searched(r, &q));
            assert!(expected.contains(&record["rec_id"]), "{q}");
            assert_eq!(app.find_sorted(json!({"q": q})).await, expected, "{q}");
            assert_eq!(app.post("/v1/profiles/count").json(json!({"q": q.to_uppercase()})).await.ok()["total"], expected.len(), "{q}");
        }
    }

    // Each state, and those of whom none is known.
    let states: std::collections::BTreeSet<&String> = records.iter().map(|r| &r["state"]).filter(|s| !s.is_empty()).collect();
    let mut in_states = 0;
    for state in states {
        let expected = pick(&records, |r| r["state"] == *state);
        in_states += expected.len();
        assert_eq!(app.filtered(json!({"field": "attributes.state", "op": "eq", "value": state})).await, expected, "{state}");
    }
    let nowhere = app.filtered(json!({"field": "attributes.state", "op": "missing"})).await;
    assert_eq!((nowhere.len() + in_states, nowhere), (1_000, pick(&records, |r| r["state"].is_empty())));

    let born = |r: &Record| birthday(r).unwrap_or_default();
    let number = |r: &Record| r["street_number"].parse::<i64>().ok();
    for (filter, expected) in [
        (json!({"field": "first_name", "op": "missing"}), pick(&records, |r| r["given_name"].is_empty())),
        (json!({"field": "city", "op": "eq", "value": "canterbury"}), pick(&records, |r| r["suburb"] == "canterbury")),
        (json!({"field": "city", "op": "contains", "value": "north"}), pick(&records, |r| r["suburb"].contains("north"))),
        (json!({"field": "last_name", "op": "starts_with", "value": "Ha"}), pick(&records, |r| r["surname"].starts_with("ha"))),
        (json!({"field": "attributes.postcode", "op": "starts_with", "value": "2"}), pick(&records, |r| r["postcode"].starts_with('2'))),
        (
            json!({"field": "attributes.postcode", "op": "in", "value": ["4011", "4814", "2776"]}),
            pick(&records, |r| ["4011", "4814", "2776"].contains(&r["postcode"].as_str())),
        ),
        (
            json!({"field": "attributes.date_of_birth", "op": "between", "value": ["1950-01-01", "1959-12-31"]}),
            pick(&records, |r| born(r).starts_with("195")),
        ),
        (
            json!({"field": "attributes.date_of_birth", "op": "lt", "value": "1910-01-01"}),
            pick(&records, |r| !born(r).is_empty() && born(r).as_str() < "1910-01-01"),
        ),
        (json!({"field": "attributes.date_of_birth", "op": "missing"}), pick(&records, |r| born(r).is_empty())),
        (
            json!({"field": "attributes.street_number", "op": "between", "value": [10, 20]}),
            pick(&records, |r| number(r).is_some_and(|n| (10..=20).contains(&n))),
        ),
        (json!({"field": "attributes.street_number", "op": "gt", "value": 200}), pick(&records, |r| number(r).is_some_and(|n| n > 200))),
        (json!({"field": "external_id", "op": "ends_with", "value": "-org"}), pick(&records, |r| r["rec_id"].ends_with("-org"))),
        (
            json!({"all": [{"field": "attributes.state", "op": "in", "value": ["nsw", "vic"]}, {"field": "attributes.date_of_birth", "op": "gte", "value": "1980-01-01"},
                           {"not": {"field": "external_id", "op": "ends_with", "value": "-org"}}]}),
            pick(&records, |r| {
                ["nsw", "vic"].contains(&r["state"].as_str()) && born(r).as_str() >= "1980-01-01" && !r["rec_id"].ends_with("-org")
            }),
        ),
        (
            json!({"any": [{"field": "attributes.state", "op": "eq", "value": "act"}, {"field": "attributes.state", "op": "missing"}]}),
            pick(&records, |r| r["state"].is_empty() || r["state"] == "act"),
        ),
    ] {
        assert!(!expected.is_empty(), "the file has nobody for {filter}");
        assert_eq!(app.filtered(filter.clone()).await, expected, "{filter}");
    }

    // The right person, whole: the first record of the file.
    let person = app.get("/v1/profiles/lookup?external_id=rec-223-org").await.ok();
    assert_eq!((&person["name"], &person["first_name"], &person["city"]), (&json!("waller"), &Value::Null, &json!("st james")));
    assert_eq!(
        person["attributes"],
        json!({"address_1": "tullaroop street", "date_of_birth": "1908-12-09", "postcode": "4011", "soc_sec_id": "6988048", "state": "wa", "street_number": 6})
    );
}

/// How many of the suggested pairs are right, and how many of the right ones are suggested. Nothing is told of which record
/// is which: the keys are running numbers, and only the definitions of the properties say how they are matched.
async fn the_duplicates_among_a_thousand_real_records_are_suggested(app: &App) {
    for (key, kind, matching) in [
        ("postcode", "text", "text"),
        ("state", "text", "exact"),
        ("date_of_birth", "date", "date"),
        ("street_number", "number", "number"),
        ("address_1", "text", "text"),
        ("address_2", "text", "text"),
        ("soc_sec_id", "text", "exact"),
    ] {
        app.post("/v1/properties").json(json!({"key": key, "type": kind, "match": matching, "pii": true})).await.created();
    }
    let records = records();
    let people: Vec<Value> = records
        .iter()
        .enumerate()
        .map(|(n, record)| {
            let mut person = profile(record);
            person["external_id"] = format!("n-{n}").into();
            person["attributes"]["address_2"] = Some(record["address_2"].as_str()).filter(|t| !t.is_empty()).into();
            person
        })
        .collect();
    let ids = app.people(&people).await;
    let original: BTreeMap<&str, &str> =
        ids.iter().zip(&records).map(|(id, record)| (id.as_str(), record["rec_id"].split('-').nth(1).unwrap_or_default())).collect();
    let mut figures = Vec::new();
    for time in ["as they are written", "after a scan"] {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut cursor = String::new();
        let total = loop {
            let page = app.get(&format!("/v1/duplicates?limit=200&count=true{cursor}")).await.ok();
            pairs.extend(list(&page, "data").iter().map(|pair| {
                let id = |n: usize| pair["profiles"][n]["id"].as_str().unwrap_or_default().to_owned();
                (id(0), id(1))
            }));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break page["total"].clone(),
            }
        };
        assert_eq!(total, pairs.len());
        let right = pairs.iter().filter(|(a, b)| original[a.as_str()] == original[b.as_str()]).count();
        let (precision, recall) = (right as f64 / pairs.len() as f64, right as f64 / 500.0);
        let f1 = 2.0 * precision * recall / (precision + recall);
        figures.push((time, f1, format!("{time}: precision {precision:.4}, recall {recall:.4}, F1 {f1:.4}")));
        if time == "as they are written" {
            let done = scan(app).await;
            figures.push((time, f1, format!("{} pairs compared", done["details"]["compared"])));
        }
    }
    assert!(figures.iter().all(|(_, f1, _)| *f1 >= 0.95), "{figures:#?}");
}
