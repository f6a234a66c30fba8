//! `POST /v1/profiles/export`: what a search finds, as lines of JSON or as a table.

use people_tests::{Answer, App, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, grace, nobody};

stories![
    lines_of_json_are_whole_profiles,
    a_table_has_a_column_for_everything,
    formulas_are_neutralised,
    an_export_is_what_the_search_finds,
    other_formats_are_not_acceptable,
    an_empty_export_is_empty,
    what_is_no_search_is_refused,
    many_people_are_streamed_whole,
];

const STANDARD: [&str; 20] = [
    "id",
    "version",
    "email",
    "phone",
    "external_id",
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
    "labels",
    "channels",
    "last_seen_at",
    "created_at",
    "updated_at",
];

#[track_caller]
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")), "{answer}");
    let text = answer.text();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is not ended");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[track_caller]
fn table(answer: &Answer) -> (Vec<String>, Vec<Vec<String>>) {
    assert_eq!(answer.status, 200, "{answer}");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{answer}");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(answer.bytes.as_slice());
    let mut rows = reader.records().map(|row| row.expect("a row of CSV").iter().map(str::to_owned).collect::<Vec<_>>());
    (rows.next().expect("a header row"), rows.collect())
}

async fn lines_of_json_are_whole_profiles(app: &App) {
    let ada = app.person(ada()).await;
    let grace = app.person(grace()).await;
    for request in [
        app.post("/v1/profiles/export"),
        app.post("/v1/profiles/export").header("accept", "application/x-ndjson"),
        app.post("/v1/profiles/export").header("accept", "*/*"),
    ] {
        let found = lines(&request.json(json!({"sort": "name"})).await);
        same(&Value::Array(found), &json!([ada, grace]));
    }
}

async fn a_table_has_a_column_for_everything(app: &App) {
    let mut body = ada();
    body["labels"] = json!(["vip", "beta"]);
    body["company"] = "Lovelace, \"Babbage\" & Söhne\nLtd".into();
    body["identities"] =
        json!([{"kind": "email", "value": "second@example.com"}, {"kind": "device", "value": "a;b"}, {"kind": "device", "value": "c"}]);
    body["consents"] = json!([{"channel": "sms", "status": "opted_out", "occurred_at": "2026-01-31T08:00:00Z", "source": "call"}]);
    let ada = app.person(body).await;
    let mut body = grace();
    body["consents"] = json!([{"channel": "email", "status": "opted_in", "occurred_at": "2026-02-28T08:00:00Z"}]);
    app.person(body).await;
    let answer = app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({"sort": "name"})).await;
    let (header, rows) = table(&answer);
    let mut expected: Vec<String> = STANDARD.iter().map(|s| (*s).to_owned()).collect();
    expected.extend(["attributes.plan", "attributes.seats", "attributes.trial_ends"].map(str::to_owned));
    expected.extend(["device", "email", "external_id", "phone"].map(|kind| format!("identities.{kind}")));
    for channel in ["email", "sms"] {
        expected.extend(["", ".occurred_at", ".source"].map(|told| format!("consents.{channel}{told}")));
    }
    assert_eq!(header, expected);
    assert_eq!(rows.len(), 2);
    let cell = |row: usize, column: &str| rows[row][header.iter().position(|h| h == column).expect(column)].as_str();
    assert_eq!(cell(0, "id"), ada["id"]);
    assert_eq!((cell(0, "version"), cell(0, "email")), ("1", "ada@example.com"));
    assert_eq!(cell(0, "company"), "Lovelace, \"Babbage\" & Söhne\nLtd");
    assert_eq!(cell(0, "phone"), "'+442079460000");
    assert_eq!((cell(0, "attributes.seats"), cell(0, "attributes.trial_ends")), ("12", "2026-12-01T00:00:00Z"));
    assert!(cell(0, "labels").contains("vip") && cell(0, "labels").contains("beta"));
    assert_eq!(
        (cell(0, "identities.device"), cell(0, "identities.email"), cell(0, "identities.phone")),
        ("a\\;b;c", "second@example.com", "")
    );
    assert_eq!(
        (cell(0, "consents.sms"), cell(0, "consents.sms.occurred_at"), cell(0, "consents.sms.source")),
        ("opted_out", "2026-01-31T08:00:00.000000Z", "call")
    );
    assert_eq!((cell(0, "consents.email"), cell(0, "consents.email.occurred_at")), ("", ""));
    assert_eq!((cell(1, "consents.email"), cell(1, "consents.email.source"), cell(1, "identities.device")), ("opted_in", "", ""));
    assert_eq!((cell(1, "name"), cell(1, "attributes.plan"), cell(1, "job_title")), ("Grace Hopper", "", ""));
    assert_eq!(cell(0, "created_at"), ada["created_at"]);
}

async fn formulas_are_neutralised(app: &App) {
    let attacks = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "=HYPERLINK(\"http://evil\")"];
    for (n, attack) in attacks.iter().enumerate() {
        app.person(json!({"external_id": format!("p{n}"), "name": attack, "company": attack, "attributes": {"note": attack}})).await;
    }
    app.person(json!({"external_id": "=p9", "name": "z plain - and = inside", "labels": ["=label"], "attributes": {"delta": -5}})).await;
    let (header, rows) = table(&app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({"sort": "created_at"})).await);
    let column = |name: &str| header.iter().position(|h| h == name).expect("the column");
    for (row, attack) in rows.iter().zip(attacks) {
        for name in ["name", "company", "attributes.note"] {
            assert_eq!(row[column(name)], format!("'{attack}"));
        }
    }
    let last = &rows[attacks.len()];
    assert_eq!(last[column("external_id")], "'=p9");
    assert_eq!(last[column("name")], "z plain - and = inside");
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '@', '\t', '\r'])), "a cell can start a formula");
    // Lines of JSON are for programs: nothing is added to them.
    let raw = lines(&app.post("/v1/profiles/export").json(json!({"sort": "created_at"})).await);
    assert_eq!(raw[0]["name"], "=1+1");
}

async fn an_export_is_what_the_search_finds(app: &App) {
    for n in 0..30 {
        app.person(
            json!({"external_id": format!("p{n:02}"), "name": format!("Person {n}"), "country": if n % 3 == 0 { "GB" } else { "IE" }}),
        )
        .await;
    }
    for query in [
        json!({"q": "person 1"}),
        json!({"filter": {"field": "country", "op": "eq", "value": "GB"}}),
        json!({"q": "person 2", "filter": {"field": "country", "op": "eq", "value": "IE"}, "sort": "-name"}),
        json!({"sort": "-created_at"}),
    ] {
        let exported: Vec<String> = lines(&app.post("/v1/profiles/export").json(query.clone()).await)
            .iter()
            .map(|p| p["external_id"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(exported, app.find(query.clone()).await, "{query}");
    }
}

async fn other_formats_are_not_acceptable(app: &App) {
    for (accept, form) in [
        ("application/x-ndjson;q=0.1, text/csv;q=0.9", "text/csv"),
        ("text/csv;q=0.4, */*;q=0.2", "text/csv"),
        ("text/csv;q=0, */*", "application/x-ndjson"),
        ("text/csv, application/x-ndjson", "application/x-ndjson"),
    ] {
        let answer = app.post("/v1/profiles/export").header("accept", accept).json(json!({})).await;
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with(form)), "{accept}: {:?}", answer.header("content-type"));
    }
    app.post("/v1/profiles/export").header("accept", "text/csv;q=0").json(json!({})).await.refused(406, "not_acceptable");
    for accept in ["application/pdf", "text/html", "image/png;q=0.5"] {
        app.post("/v1/profiles/export").header("accept", accept).json(json!({})).await.refused(406, "not_acceptable");
    }
}

async fn an_empty_export_is_empty(app: &App) {
    assert_eq!(lines(&app.post("/v1/profiles/export").json(json!({})).await), [Value::Null; 0]);
    let (header, rows) = table(&app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({})).await);
    assert_eq!((header, rows.len()), (STANDARD.map(str::to_owned).to_vec(), 0));
}

async fn what_is_no_search_is_refused(app: &App) {
    for (body, pointer) in [
        (json!({"limit": 5}), "/limit"),
        (json!({"cursor": "x"}), "/cursor"),
        (json!({"count": true}), "/count"),
        (json!({"filter": {"field": "nonsense", "op": "eq", "value": 1}}), "/filter/field"),
    ] {
        app.post("/v1/profiles/export").json(body).await.refused_at(pointer, "unknown_field");
    }
    app.post("/v1/profiles/export").json(json!({"sort": "email"})).await.refused(422, "validation_failed");
}

async fn many_people_are_streamed_whole(app: &App) {
    let bodies: Vec<Value> = (0..5_000).map(|i| nobody(&format!("p{i:05}"))).collect();
    app.people(&bodies).await;
    let exported = lines(&app.post("/v1/profiles/export").json(json!({"sort": "created_at"})).await);
    let mut ids: Vec<&str> = exported.iter().filter_map(|p| p["external_id"].as_str()).collect();
    assert_eq!(ids.len(), 5_000);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5_000, "somebody was exported twice");
    let (_, rows) = table(&app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({})).await);
    assert_eq!(rows.len(), 5_000);
}
