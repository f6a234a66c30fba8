//! `POST /v1/imports`: files of people, CSV or lines of JSON, taken in by a job.

use std::collections::BTreeMap;

use people_tests::{Answer, App, Engine, Server, engine_stories, eventually, percent, same, stories};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    bulk::finished,
    cast::{ada, changes, grace, id, identities, list},
};

stories![
    a_table_is_taken_in,
    columns_of_other_programs_are_known,
    a_mapping_is_followed_to_the_letter,
    a_file_nobody_could_be_told_from_is_refused,
    rows_that_cannot_be_taken_are_told_by_their_line,
    any_delimiter_and_any_quoting_is_read,
    encodings_are_read_or_refused,
    rows_about_one_person_take_effect_in_order,
    a_dry_run_tells_what_would_happen_and_changes_nothing,
    modes_create_or_update_only,
    attributes_take_the_type_of_their_column,
    lines_of_json_are_taken_in,
    an_export_comes_back_as_it_was,
    an_export_taken_in_where_it_came_from_changes_nothing,
    a_table_taken_in_late_brings_no_withdrawn_consent_back,
    a_decision_is_told_with_its_time_and_its_source,
    a_retry_of_an_import_is_answered_with_the_same_job,
    what_is_no_file_is_refused,
    a_quote_that_is_not_closed_takes_nobody_along,
    a_row_longer_than_any_is_passed_over,
    nothing_of_the_file_is_kept_when_it_is_done,
    a_file_that_breaks_off_leaves_nothing,
];
engine_stories![
    an_import_outlives_kill_nine_and_takes_each_row_once,
    a_dry_run_outlives_kill_nine_and_counts_right,
    steps_with_nobody_in_common_are_saved_side_by_side,
];

async fn send(app: &App, query: &str, file: impl Into<Vec<u8>>) -> Answer {
    app.post(&format!("/v1/imports{query}")).bytes("text/csv", file).await
}

/// The job of a file of CSV, once it has ended.
async fn imported(app: &App, query: &str, file: impl Into<Vec<u8>>) -> Value {
    let job = send(app, query, file).await.is(202);
    finished(app, &job).await
}

#[track_caller]
fn counts(job: &Value) -> Value {
    assert_eq!(job["status"], "succeeded", "{job}");
    json!([job["total"], job["succeeded"], job["failed"], job["details"]["created"], job["details"]["updated"]])
}

async fn errors(app: &App, job: &Value) -> Vec<Value> {
    list(&app.get(&format!("/v1/jobs/{}/errors?limit=200", id(job))).await.ok(), "data").to_vec()
}

async fn by_email(app: &App, email: &str) -> Value {
    app.get(&format!("/v1/profiles/lookup?email={}", percent(email))).await.ok()
}

async fn a_table_is_taken_in(app: &App) {
    let file = "Email,First name,Last name,Country,Favourite colour\nAda@Example.com,Ada,Lovelace,United Kingdom,blue\ngrace@navy.example,Grace,,us,\n";
    let answer = send(app, "", file).await;
    let job = answer.is(202);
    assert_eq!((&job["kind"], answer.header("location")), (&"import".into(), Some(format!("/v1/jobs/{}", id(&job)).as_str())));
    let done = finished(app, &job).await;
    assert_eq!(counts(&done), json!([2, 2, 0, 2, 0]));
    assert_eq!(
        done["details"],
        json!({
            "mode": "upsert", "dry_run": false, "format": "csv", "delimiter": ",",
            "mapping": {"Email": "email", "First name": "first_name", "Last name": "last_name", "Country": "country"},
            "ignored": ["Favourite colour"], "encoding": "utf-8", "created": 2, "updated": 0,
            "consents_without_effect": 0
        })
    );
    let ada = by_email(app, "ada@example.com").await;
    assert_eq!((&ada["name"], &ada["country"], &ada["attributes"]), (&"Ada Lovelace".into(), &"GB".into(), &json!({})));
    assert_eq!((&ada["identities"][0]["source"], &ada["identities"][0]["raw"]), (&"import".into(), &"Ada@Example.com".into()));
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!(
        (&entry["source"], &entry["actor"], &changes(entry)["country"]),
        (&"import".into(), &done["created_by"], &json!([null, "GB"]))
    );
}

async fn a_quote_that_is_not_closed_takes_nobody_along(app: &App) {
    let done = imported(app, "", "email,name\nq0@example.com,\"A \"\"B\"\"\"\nq1@example.com,\"Ada\nq2@example.com,Bob\n").await;
    assert_eq!(counts(&done), json!([2, 1, 1, 1, 0]));
    let told = errors(app, &done).await;
    assert_eq!((told.len(), &told[0]["line"], &told[0]["code"]), (1, &json!(3), &json!("unended_quote")), "{told:?}");
    assert_eq!(by_email(app, "q0@example.com").await["name"], "A \"B\"");
    for nobody in ["q1@example.com", "q2@example.com"] {
        app.get(&format!("/v1/profiles/lookup?email={}", percent(nobody))).await.refused(404, "not_found");
    }
    // A quote inside of a value opens nothing, and a last row without a line's end is whole.
    let done = imported(app, "", "email,company\nq3@example.com,5\" pipes\nq4@example.com,\"Engines, Ltd\"").await;
    assert_eq!(counts(&done), json!([2, 2, 0, 2, 0]));
    // Whoever forgot to name the columns is told so, and not what stands there.
    let told = send(app, "", "john@example.com,John Private\njane@example.com,Jane\n").await.refused(422, "validation_failed");
    assert!(told.to_string().contains("name the columns") && !told.to_string().contains("ohn"), "{told}");
}

async fn a_row_longer_than_any_is_passed_over(app: &App) {
    for (kind, ended) in [("text/csv", "\r\n"), ("application/x-ndjson", "\n")] {
        let row = |who: String, name: &str| match kind {
            "text/csv" => format!("{who},\"{name}\"{ended}"),
            _ => format!("{}{ended}", json!({"email": who, "name": name})),
        };
        let mut file = if kind == "text/csv" { format!("email,name{ended}") } else { String::new() };
        let first = file.len();
        (0..1_500).for_each(|n| file.push_str(&row(format!("{n}.{first}@long.example"), "x")));
        file.push_str(&row(format!("big.{first}@long.example"), &"long\" ".replace('"', "").repeat(400_000)));
        (1_500..1_600).for_each(|n| file.push_str(&row(format!("{n}.{first}@long.example"), "x")));
        let job = app.post("/v1/imports").bytes(kind, file).await.is(202);
        let done = finished(app, &job).await;
        assert_eq!(counts(&done), json!([1_601, 1_600, 1, 1_600, 0]));
        let told = errors(app, &done).await;
        let line = if kind == "text/csv" { 1_502 } else { 1_501 };
        assert_eq!((told.len(), &told[0]["line"], &told[0]["code"]), (1, &json!(line), &json!("row_too_long")), "{told:?}");
        by_email(app, &format!("1599.{first}@long.example")).await;
    }
    // More blank rows than are held at once.
    let (blank, after) = (",\n".repeat(1_400_000), "gap@example.com,Gap\n,\nnobody\n");
    let done = imported(app, "", format!("email,name\n{blank}{after}")).await;
    assert_eq!(counts(&done), json!([2, 1, 1, 1, 0]));
    assert_eq!(errors(app, &done).await[0]["line"], 1_400_004);
}

async fn columns_of_other_programs_are_known(app: &App) {
    let google = "First Name,Last Name,Organization Name,Labels,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Value,Phone 1 - Value\n\
                  Ada,Lovelace,Engines,* myContacts ::: friends,Work,ada@example.com ::: ada@home.example,ada@old.example,+44 20 7946 0000\n";
    assert_eq!(counts(&imported(app, "", google).await), json!([1, 1, 0, 1, 0]));
    let ada = by_email(app, "ada@example.com").await;
    assert_eq!(identities(&ada, "email"), ["ada@example.com", "ada@home.example", "ada@old.example"]);
    assert_eq!(
        (&ada["labels"], &ada["company"], &ada["phone"]),
        (&json!(["friends", "myContacts"]), &"Engines".into(), &"+442079460000".into())
    );
    let mailchimp =
        "Email Address,First Name,Last Name,MEMBER_RATING,TAGS\ngrace@navy.example,Grace,Hopper,5,\"\"\"vip\"\",\"\"paid, yearly\"\"\"\n";
    assert_eq!(counts(&imported(app, "", mailchimp).await), json!([1, 1, 0, 1, 0]));
    let grace = by_email(app, "grace@navy.example").await;
    assert_eq!((&grace["labels"], &grace["name"]), (&json!(["paid, yearly", "vip"]), &"Grace Hopper".into()));
}

async fn a_mapping_is_followed_to_the_letter(app: &App) {
    let file = "Who,Mail,Plan,Agreed,Chat\nAda,ada@example.com,pro,opted_in,@ada; @lovelace\n";
    let mapping =
        json!({"Mail": "email", "Plan": "attributes.plan", "Agreed": "consents.email", "Chat": "identities.telegram", "Who": null});
    let done = imported(app, &format!("?mapping={}", percent(&mapping.to_string())), file).await;
    assert_eq!(done["details"]["ignored"], json!(["Who"]));
    let ada = by_email(app, "ada@example.com").await;
    assert_eq!((&ada["name"], &ada["attributes"]), (&Value::Null, &json!({"plan": "pro"})));
    assert_eq!(identities(&ada, "telegram"), ["@ada", "@lovelace"]);
    assert_eq!((&ada["consents"][0]["status"], &ada["consents"][0]["source"]), (&"opted_in".into(), &"import".into()));
    for (mapping, pointer, code) in [
        (json!({"E-Mail": "email"}), "mapping/E-Mail", "unknown_column"),
        (json!({"Mail": "e-mail"}), "mapping/Mail", "not_an_option"),
        (json!({"Plan": "attributes.plan"}), "mapping", "identity_required"),
    ] {
        send(app, &format!("?mapping={}", percent(&mapping.to_string())), file).await.refused_at(pointer, code);
    }
    send(app, "?mapping=email", file).await.refused(400, "invalid_query");
}

async fn a_file_nobody_could_be_told_from_is_refused(app: &App) {
    // Without a first line that names the columns, the first person would be lost.
    send(app, "", "ada@example.com,Ada\ngrace@navy.example,Grace\n").await.refused_at("", "invalid_header");
    send(app, "", "Mail address,Name of somebody\nada@example.com,Ada\n").await.refused_at("mapping", "identity_required");
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 0);
    assert_eq!(app.find(json!({})).await, [""; 0]);
}

async fn rows_that_cannot_be_taken_are_told_by_their_line(app: &App) {
    app.person(json!({"external_id": "crm-1", "email": "taken@example.com"})).await;
    app.person(json!({"external_id": "crm-2"})).await;
    let file = "Email,External ID,Company,Language\n\
                ada@example.com,a,,en\n\
                not an address,b,,en\n\
                \n\
                \"c@example.com\",c,\"several\nlines\",no language at all\n\
                taken@example.com,crm-2,,\n\
                too,few\n\
                ,,,en\n\
                ,,,\n\
                last@example.com,z,,\n\
                ,,, \n";
    let done = imported(app, "", file).await;
    assert_eq!(counts(&done), json!([7, 2, 5, 2, 0]));
    let told: Vec<Value> = errors(app, &done).await.iter().map(|e| json!([e["line"], e["code"]])).collect();
    assert_eq!(
        told,
        [
            json!([3, "invalid_email"]),
            json!([5, "invalid_language"]),
            json!([7, "identity_conflict"]),
            json!([8, "wrong_columns"]),
            json!([9, "identity_required"]),
        ]
    );
    let text = app.get(&format!("/v1/jobs/{}/errors", id(&done))).await.text();
    for value in ["not an address", "taken@example.com", "several", "crm-2"] {
        assert!(!text.contains(value), "{value} is repeated in {text}");
    }
    // Page by page.
    let first = app.get(&format!("/v1/jobs/{}/errors?limit=3", id(&done))).await.ok();
    let cursor = first["next_cursor"].as_str().expect("there is another page");
    let second = app.get(&format!("/v1/jobs/{}/errors?limit=3&cursor={cursor}", id(&done))).await.ok();
    assert_eq!((list(&first, "data").len(), list(&second, "data").len(), &second["next_cursor"]), (3, 2, &Value::Null));
    let table = app.get(&format!("/v1/jobs/{}/errors", id(&done))).header("accept", "text/csv").await;
    assert_eq!((table.status, table.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let lines: Vec<String> = table.text().lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(
        lines,
        ["line,code", "3,invalid_email", "5,invalid_language", "7,identity_conflict", "8,wrong_columns", "9,identity_required"]
    );
    for accept in ["application/json", "text/csv"] {
        app.neighbour().get(&format!("/v1/jobs/{}/errors", id(&done))).header("accept", accept).await.refused(404, "not_found");
    }
}

async fn any_delimiter_and_any_quoting_is_read(app: &App) {
    for (n, (query, delimiter, end)) in
        [("", ';', "\r\n"), ("", '\t', "\n"), ("", '|', "\r\n"), ("?delimiter=%3A", ':', "\n"), ("?delimiter=tab", '\t', "\r")]
            .into_iter()
            .enumerate()
    {
        let rows = [
            ["\"External ID\"", "Company", "Name"].map(str::to_owned),
            [format!("x{n}"), format!("\"one{delimiter} \"\"two\"\"\nthree\""), "'=1+1".to_owned()],
        ];
        let file: String = rows.iter().map(|row| row.join(&delimiter.to_string()) + end).collect();
        assert_eq!(counts(&imported(app, query, file).await), json!([1, 1, 0, 1, 0]), "{delimiter:?}");
        let person = app.get(&format!("/v1/profiles/lookup?external_id=x{n}")).await.ok();
        assert_eq!((&person["company"], &person["name"]), (&format!("one{delimiter} \"two\"\nthree").into(), &"=1+1".into()));
    }
}

async fn encodings_are_read_or_refused(app: &App) {
    let text = |n: usize| format!("External ID;Name\r\nx{n};Jürgen Müßig\r\n");
    let in_latin1 = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect::<Vec<u8>>();
    let latin1 = |n: usize| in_latin1(&text(n));
    let utf16 = |n: usize| [0xFF, 0xFE].into_iter().chain(text(n).encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>();
    let with_mark = |n: usize| [b"\xEF\xBB\xBF".to_vec(), text(n).into_bytes()].concat();
    for (n, (query, file)) in
        [("", text(0).into_bytes()), ("", with_mark(1)), ("?encoding=latin1", latin1(2)), ("", utf16(3)), ("?encoding=utf-8", with_mark(4))]
            .into_iter()
            .enumerate()
    {
        assert_eq!(counts(&imported(app, query, file).await), json!([1, 1, 0, 1, 0]), "{n}");
        let person = app.get(&format!("/v1/profiles/lookup?external_id=x{n}")).await.ok();
        assert_eq!(person["name"], "Jürgen Müßig", "{n}");
    }
    send(app, "?encoding=utf-8", latin1(9)).await.refused_at("encoding", "invalid_encoding");
    send(app, "?encoding=klingon", text(9)).await.refused(400, "invalid_query");
    // Where nobody says so and no letter is UTF-8, it is Latin-1: from its head, or from far into the file.
    let done = imported(app, "", in_latin1("External ID;Name;Größe\r\nx5;Jürgen Müßig;\r\n")).await;
    assert_eq!((&done["details"]["encoding"], &done["details"]["ignored"]), (&"windows-1252".into(), &json!(["Größe"])));
    let mut long = String::from("External ID;Name\n");
    (0..3_000).for_each(|n| long.push_str(&format!("long-{n};A name long enough to fill the head\n")));
    let done = imported(app, "", [long.as_bytes(), b"x6;J\xFCrgen M\xFC\xDFig\n"].concat()).await;
    assert_eq!(counts(&done), json!([3_001, 3_001, 0, 3_001, 0]));
    for n in [5, 6] {
        let person = app.get(&format!("/v1/profiles/lookup?external_id=x{n}")).await.ok();
        assert_eq!(person["name"], "Jürgen Müßig", "{n}");
    }
    // A head that is neither is refused; far into the file, it is a row that cannot be read.
    send(app, "", [text(9).as_bytes(), &latin1(9)].concat()).await.refused_at("encoding", "invalid_encoding");
    let mut file = String::from("External ID;Name\nwell;Zoë\n");
    (0..3_000).for_each(|n| file.push_str(&format!("many-{n};A name long enough to fill the head\n")));
    let mut file = file.into_bytes();
    file.extend_from_slice(b"bad;J\xFCrgen\n");
    let done = imported(app, "", file).await;
    assert_eq!(counts(&done), json!([3_002, 3_001, 1, 3_001, 0]));
    let told = &errors(app, &done).await[0];
    assert_eq!((&told["line"], &told["code"]), (&3_003.into(), &"invalid_encoding".into()));
    // Lines are lines, whatever ends them.
    for end in ["\r", "\r\n", "\n"] {
        let rows = ["External ID,Language", "l1,none such", "l2,en", "\"l\r\n3\",nor this", "l4,nor that"];
        let done = imported(app, "", rows.join(end)).await;
        let lines: Vec<Value> = errors(app, &done).await.iter().map(|e| e["line"].clone()).collect();
        assert_eq!((json!(lines), &done["failed"]), (json!([2, 4, 6]), &3.into()), "{end:?}");
    }
}

async fn rows_about_one_person_take_effect_in_order(app: &App) {
    // More rows than a step takes, so the same people come up within a step and across steps.
    let mut file = String::from("Email,City,Labels\n");
    (0..2_500).for_each(|n| file.push_str(&format!("Person{}@example.com,City {n},l{}\n", n % 700, n / 700)));
    let done = imported(app, "", file.clone()).await;
    assert_eq!(counts(&done), json!([2_500, 2_500, 0, 700, 1_800]));
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 700}));
    let person = by_email(app, "person7@example.com").await;
    assert_eq!(
        (&person["city"], &person["labels"], &person["version"]),
        (&"City 2107".into(), &json!(["l0", "l1", "l2", "l3"]), &4.into())
    );
    // The same file again adds nothing but the way there and back.
    let done = imported(app, "", file).await;
    assert_eq!(counts(&done), json!([2_500, 2_500, 0, 0, 2_500]));
}

async fn a_dry_run_tells_what_would_happen_and_changes_nothing(app: &App) {
    let taken = app.person(json!({"email": "person3@example.com"})).await;
    let mut file = String::from("Email,Plan,Country\n");
    (0..2_500).for_each(|n| file.push_str(&format!("person{}@example.com,pro,{}\n", n % 1_700, if n == 2_100 { "Narnia" } else { "GB" })));
    let mapping = percent(r#"{"Email": "email", "Plan": "attributes.plan", "Country": "country"}"#);
    for mode in ["upsert", "create"] {
        let dry = imported(app, &format!("?mode={mode}&dry_run=true&mapping={mapping}"), file.clone()).await;
        let told: Vec<Value> = errors(app, &dry).await;
        assert_eq!(app.find(json!({})).await.len(), 1);
        assert_eq!(app.read(id(&taken)).await, taken);
        assert_eq!(app.get("/v1/properties").await.ok()["data"], json!([]));
        let neighbour = app.neighbour();
        neighbour.person(json!({"email": "person3@example.com"})).await;
        let real = imported(&neighbour, &format!("?mode={mode}&mapping={mapping}"), file.clone()).await;
        assert_eq!(counts(&dry), counts(&real), "{mode}");
        assert!(told == errors(&neighbour, &real).await, "the errors of mode {mode}");
    }
}

async fn modes_create_or_update_only(app: &App) {
    let (ada, grace) = (app.person(ada()).await, app.person(grace()).await);
    let file = "Email,City\nada@example.com,Paris\nnew@example.com,Rome\n";
    let done = imported(app, "?mode=create", file).await;
    assert_eq!(counts(&done), json!([2, 1, 1, 1, 0]));
    assert_eq!(errors(app, &done).await[0]["code"], "identity_taken");
    let done = imported(app, "?mode=update", "Email,City\nada@example.com,Paris\nnobody@example.com,Rome\n").await;
    assert_eq!(counts(&done), json!([2, 1, 1, 0, 1]));
    assert_eq!((&errors(app, &done).await[0]["code"], &errors(app, &done).await[0]["line"]), (&"not_found".into(), &3.into()));
    assert_eq!(app.read(id(&ada)).await["city"], "Paris");
    // By id, also to a new key.
    let file = format!("id,Email\n{},grace@new.example\n{},ada@example.com\nnonsense,x@example.com\n", id(&grace), id(&grace));
    let done = imported(app, "?mode=update", file).await;
    let told: Vec<Value> = errors(app, &done).await.iter().map(|e| json!([e["line"], e["code"]])).collect();
    assert_eq!(told, [json!([3, "identity_conflict"]), json!([4, "invalid_value"])]);
    assert_eq!(app.read(id(&grace)).await["email"], "grace@new.example");
    send(app, "?mode=replace", "Email\nx@example.com\n").await.refused(400, "invalid_query");
}

async fn attributes_take_the_type_of_their_column(app: &App) {
    // A column in which nobody has anything defines nothing.
    imported(app, "", "email,attributes.blank\nx@example.com,\ny@example.com, \n").await;
    app.get("/v1/properties/blank").await.refused(404, "not_found");
    app.post("/v1/properties").json(json!({"key": "tags", "type": "text_list"})).await.created();
    let file = "email,attributes.seats,attributes.code,attributes.since,attributes.active,attributes.tags\n\
                a@example.com,12,123,2026-01-31,true,x;y\n\
                b@example.com,'-1.5,abc,2026-02-28,false,\n\
                c@example.com,,007,,TRUE,z\n";
    assert_eq!(counts(&imported(app, "", file).await), json!([3, 3, 0, 3, 0]));
    assert_eq!(
        by_email(app, "a@example.com").await["attributes"],
        json!({"active": true, "code": "123", "seats": 12, "since": "2026-01-31", "tags": ["x", "y"]})
    );
    assert_eq!(
        by_email(app, "b@example.com").await["attributes"],
        json!({"active": false, "code": "abc", "seats": -1.5, "since": "2026-02-28"})
    );
    let done = imported(app, "", "email,attributes.seats\nd@example.com,many\n").await;
    assert_eq!((&done["failed"], &errors(app, &done).await[0]["code"]), (&1.into(), &"wrong_type".into()));
    app.patch("/v1/workspace").json(json!({"strict_attributes": true})).await.ok();
    send(app, "", "email,attributes.unheard\ne@example.com,x\n").await.refused_at("mapping", "unknown_attribute");
}

async fn lines_of_json_are_taken_in(app: &App) {
    let person = app.person(json!({"email": "ada@example.com", "city": "London"})).await;
    let lines = [
        r#"{"email": "ada@example.com", "city": null, "attributes": {"seats": 3}, "labels": ["vip"]}"#,
        "",
        r#"{"email": "grace@navy.example", "consents": [{"channel": "sms", "status": "opted_out"}]}"#,
        r#"{"email": "x@example.com", "surname": "X"}"#,
        r#"{"email": "x@example.com""#,
        r#"["email"]"#,
        r#"{"email": "last@example.com"}"#,
    ]
    .join("\n");
    let job = app.post("/v1/imports").bytes("application/x-ndjson", lines).await.is(202);
    let done = finished(app, &job).await;
    assert_eq!(counts(&done), json!([6, 3, 3, 2, 1]));
    let told: Vec<Value> = errors(app, &done).await.iter().map(|e| json!([e["line"], e["code"]])).collect();
    assert_eq!(told, [json!([4, "unknown_field"]), json!([5, "malformed_json"]), json!([6, "wrong_type"])]);
    let now = app.read(id(&person)).await;
    assert_eq!((&now["city"], &now["attributes"]["seats"], &now["labels"]), (&Value::Null, &3.into(), &json!(["vip"])));
    app.post("/v1/imports?delimiter=%3B").bytes("application/x-ndjson", "{}").await.refused(400, "invalid_query");
}

/// Texts that have gone wrong on the way through spreadsheets before.
fn text(rng: &mut impl rand::Rng) -> String {
    const PIECES: [&str; 22] =
        ["=", "+", "-", "@", "'", "\"", "\"\"", ";", "\\", ",", "\n", "\r\n", "\t", " ", "a", "7", "É", "漢", "🦀", "|", "::: ", "null"];
    (0..rng.random_range(1..7)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
}

fn person(n: usize, rng: &mut impl rand::Rng) -> Value {
    let label = |text: String| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let mut body = json!({
        "external_id": format!("'{}id-{n}", ["", "=", "+", "-"][n % 4]), "email": format!("P{n}@Example.com"), "phone": format!("+4420794{:05}", n),
        "company": format!("{}x", text(rng)), "first_name": format!("{}y", text(rng)), "city": "Köln", "country": "DE", "language": "pt-BR",
        "attributes": {"note": format!("{}z", text(rng)), "score": rng.random_range(-500..500), "since": "2026-01-31T08:00:00Z", "active": n.is_multiple_of(2),
            "topics": [format!("{}t", label(text(rng))), "b;c"]},
        "labels": [format!("{}l", label(text(rng))), "vip"]
    });
    if n.is_multiple_of(5) {
        body.as_object_mut().map(|fields| fields.remove("attributes"));
    }
    body
}

/// Everybody by external id, without what a server gives of its own.
async fn everybody(app: &App) -> BTreeMap<String, Value> {
    let export = app.post("/v1/profiles/export").json(json!({"sort": "created_at"})).await.text();
    let own = ["id", "version", "created_at", "updated_at"];
    export
        .lines()
        .map(|line| {
            let mut profile: Value = serde_json::from_str(line).expect("a line of JSON");
            for member in own {
                profile.as_object_mut().map(|fields| fields.shift_remove(member));
            }
            for identity in profile["identities"].as_array_mut().into_iter().flatten() {
                identity["source"] = Value::Null;
                identity["created_at"] = Value::Null;
            }
            (profile["external_id"].as_str().unwrap_or_default().to_owned(), profile)
        })
        .collect()
}

async fn an_export_comes_back_as_it_was(app: &App) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(17);
    app.post("/v1/properties").json(json!({"key": "topics", "type": "text_list"})).await.created();
    let people: Vec<Value> = (0..1_200).map(|n| person(n, &mut rng)).collect();
    app.people(&people).await;
    app.person(json!({"email": "ada@example.com", "identities": [{"kind": "email", "value": "Ada@Home.example"}, {"kind": "device", "value": "d"}],
        "consents": [{"channel": "sms", "status": "opted_out", "occurred_at": "2026-01-31T08:00:00Z", "source": "call"}], "external_id": "ada"}))
        .await;
    let there = everybody(app).await;
    // Lines of JSON hold everything.
    let json = app.post("/v1/profiles/export").json(json!({"sort": "created_at"})).await.bytes;
    let other = app.neighbour();
    let job = other.post("/v1/imports").bytes("application/x-ndjson", json).await.is(202);
    assert_eq!(counts(&finished(&other, &job).await), json!([1_201, 1_201, 0, 1_201, 0]));
    let here = everybody(&other).await;
    for (who, profile) in &there {
        assert_eq!(here.get(who), Some(profile), "{who}");
    }
    assert_eq!(here.len(), there.len());
    // A table holds what it has columns for.
    let table = app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({"sort": "created_at"})).await.bytes;
    let other = app.neighbour();
    other.post("/v1/properties").json(json!({"key": "topics", "type": "text_list"})).await.created();
    let done = imported(&other, "", table.clone()).await;
    assert_eq!(counts(&done), json!([1_201, 1_201, 0, 1_201, 0]), "{:?}", errors(&other, &done).await.first());
    // What has no column is how a key was typed.
    let bare = |mut profile: Value| {
        for identity in profile["identities"].as_array_mut().into_iter().flatten() {
            identity["raw"] = Value::Null;
        }
        profile
    };
    let here = everybody(&other).await;
    for (who, profile) in &there {
        assert_eq!(here.get(who).cloned().map(bare), Some(bare(profile.clone())), "{who}");
    }
    let again = other.post("/v1/profiles/export").header("accept", "text/csv").json(json!({"sort": "created_at"})).await.bytes;
    let rows = |bytes: &[u8]| -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let own = |i: usize| matches!(i, 0 | 1 | 18 | 19);
        let row =
            |record: csv::StringRecord| record.iter().enumerate().filter(|(i, _)| !own(*i)).map(|(_, cell)| cell.to_owned()).collect();
        let mut rows: Vec<Vec<String>> = reader.records().map(|record| row(record.expect("a row"))).collect();
        rows[1..].sort();
        rows
    };
    for (found, promised) in rows(&again).iter().zip(&rows(&table)) {
        assert_eq!(found, promised);
    }
    assert_eq!(rows(&again).len(), rows(&table).len());
}

/// Between an export and its return somebody unsubscribes, and somebody else comes back.
async fn a_table_taken_in_late_brings_no_withdrawn_consent_back(app: &App) {
    let decided = |status: &str| json!([{"channel": "email", "status": status, "occurred_at": "2026-01-31T08:00:00Z"}]);
    let ada = app.person(json!({"email": "ada@example.com", "consents": decided("opted_in")})).await;
    let grace = app.person(json!({"email": "grace@navy.example", "consents": decided("opted_out")})).await;
    let table = app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({})).await.text();
    for (person, status) in [(&ada, "opted_out"), (&grace, "opted_in")] {
        app.put(&format!("/v1/profiles/{}/consents/email", id(person))).json(json!({"status": status})).await.ok();
    }
    let done = imported(app, "", table).await;
    assert_eq!((&done["failed"], &done["details"]["consents_without_effect"]), (&0.into(), &2.into()), "{done}");
    let stand = async |expected: [(&Value, &str); 2]| {
        for (person, status) in expected {
            let now = app.get(&format!("/v1/profiles/{}", id(person))).await.ok();
            assert_eq!(now["consents"][0]["status"], status, "{now}");
        }
    };
    stand([(&ada, "opted_out"), (&grace, "opted_in")]).await;
    // A table that does not say since when: an opt-out is not undone by it, whichever way the time is missing.
    let mapped = format!("?mapping={}", percent(r#"{"email": "email", "state": "consents.email"}"#));
    for (query, header) in
        [("", "consents.email,note"), ("", "consents.email,consents.email.occurred_at"), (mapped.as_str(), "state,since")]
    {
        for status in ["opted_in", "pending", "unknown"] {
            let file = format!("email,{header}\nada@example.com,{status},\nnew-{status}@example.com,{status},\n");
            let dry = imported(app, &format!("{query}{}dry_run=true", if query.is_empty() { "?" } else { "&" }), file.clone()).await;
            let done = imported(app, query, file).await;
            for told in [&dry, &done] {
                assert_eq!((&told["failed"], &told["details"]["consents_without_effect"]), (&0.into(), &1.into()), "{told}");
            }
            assert_eq!(by_email(app, &format!("new-{status}@example.com")).await["consents"][0]["status"], status);
            stand([(&ada, "opted_out"), (&grace, "opted_in")]).await;
        }
    }
    // What is so stays as it was, since when it was; an opt-out counts from now on.
    let before = app.read(id(&grace)).await;
    imported(app, "", "email,consents.email\ngrace@navy.example,Opted-in\n").await;
    same(&app.read(id(&grace)).await, &before);
    let done = imported(app, "", "email,consents.email\ngrace@navy.example,Opted out\n").await;
    assert_eq!(done["details"]["consents_without_effect"], 0);
    stand([(&ada, "opted_out"), (&grace, "opted_out")]).await;
    let lines = "{\"email\": \"grace@navy.example\", \"consents\": [{\"channel\": \"email\", \"status\": \"opted_in\"}]}\n";
    let job = app.post("/v1/imports").bytes("application/x-ndjson", lines).await.is(202);
    assert_eq!(finished(app, &job).await["details"]["consents_without_effect"], 1);
    stand([(&ada, "opted_out"), (&grace, "opted_out")]).await;
}

async fn a_decision_is_told_with_its_time_and_its_source(app: &App) {
    let file = "email,Opted,When,Where\n\
        ada@example.com,opted_in,2026-01-31T08:00:00+01:00,fair\n\
        grace@navy.example,opted_out,2026-01-31T08:00:00Z,\n\
        ida@example.com,,2026-01-31T08:00:00Z,fair\n\
        amy@example.com, Opted Out ,2026-01-31,fair\n\
        may@example.com,opted_in,2026-01-31 08:00:00,fair\n\
        eva@example.com,opted_in,31.1.2026,fair\n\
        zoe@example.com,opted_in,2126-01-31T08:00:00Z,fair\n";
    let mapping = |fields: Value| format!("?mapping={}", percent(&fields.to_string()));
    let whole = json!({"email": "email", "Opted": "consents.sms", "When": "consents.sms.occurred_at", "Where": "consents.sms.source"});
    let done = imported(app, &mapping(whole), file).await;
    assert_eq!(counts(&done), json!([7, 5, 2, 5, 0]));
    let told: Vec<Value> = errors(app, &done).await.iter().map(|error| json!([error["line"], error["code"], error["detail"]])).collect();
    assert_eq!((told.len(), &told[0][0], &told[1][0]), (2, &7.into(), &8.into()), "{told:?}");
    for error in &told {
        assert_eq!(error[1], "invalid_datetime");
        assert!(
            error[2].as_str().is_some_and(|detail| detail.starts_with("consents.sms.occurred_at: ")),
            "the column is not named: {error}"
        );
    }
    for (email, promised) in [
        ("ada@example.com", json!([["opted_in", "2026-01-31T07:00:00.000000Z", "fair"]])),
        ("grace@navy.example", json!([["opted_out", "2026-01-31T08:00:00.000000Z", null]])),
        ("ida@example.com", json!([])),
        ("amy@example.com", json!([["opted_out", "2026-01-31T00:00:00.000000Z", "fair"]])),
        ("may@example.com", json!([["opted_in", "2026-01-31T08:00:00.000000Z", "fair"]])),
    ] {
        let person = by_email(app, email).await;
        let consents: Vec<Value> = list(&person, "consents").iter().map(|c| json!([c["status"], c["occurred_at"], c["source"]])).collect();
        assert_eq!(Value::from(consents), promised, "{email}");
    }
    // Headers as people write them; one that can only be meant for us, and is not understood, is asked about.
    let done = imported(app, "", "email,Consents.SMS,CONSENTS PUSH\nkim@example.com,opted_out,opted_in\n").await;
    assert_eq!(done["details"]["mapping"], json!({"email": "email", "Consents.SMS": "consents.sms", "CONSENTS PUSH": "consents.push"}));
    assert_eq!(list(&by_email(app, "kim@example.com").await, "consents").len(), 2);
    for (header, code) in
        [("consents.sms.when", "unknown_column"), ("consent.sms", "unknown_column"), ("Consents.sms,consents.sms", "invalid_value")]
    {
        send(app, "", format!("email,{header}\nkim@example.com,opted_in,\n")).await.refused_at("mapping", code);
    }
    // When or where, but not what.
    for (field, alone) in [("When", "consents.sms.occurred_at"), ("Where", "consents.sms.source")] {
        send(app, &mapping(json!({"email": "email", field: alone})), file).await.refused_at("mapping", "invalid_value");
    }
}

async fn an_export_taken_in_where_it_came_from_changes_nothing(app: &App) {
    // What only just fits: a name composed of two long ones, many long columns, labels like marks of other programs.
    app.person(json!({"email": "long@example.com", "first_name": "f".repeat(600), "last_name": "ł".repeat(400), "labels": ["* starred", "a ::: b"]})).await;
    for part in 0..6 {
        let attributes: serde_json::Map<String, Value> =
            (part * 160..(part + 1) * 160).map(|n| (format!("{}{n:04}", "k".repeat(60)), json!(n))).collect();
        app.person(json!({"external_id": format!("wide-{part}"), "attributes": attributes})).await;
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(18);
    let mut people: Vec<Value> = (0..200).map(|n| person(n, &mut rng)).collect();
    for (n, person) in people.iter_mut().enumerate() {
        person["identities"] =
            json!([{"kind": "device", "value": format!("device-{n}")}, {"kind": "email", "value": format!("second{n}@example.com")}]);
        person["consents"] = json!([
            {"channel": "email", "status": "opted_out", "occurred_at": "2026-01-31T08:00:00.123456Z", "source": "=form; no"},
            {"channel": "sms", "status": "opted_in"}
        ]);
    }
    app.people(&people).await;
    let whole = async || app.post("/v1/profiles/export").json(json!({"sort": "created_at"})).await.text();
    let before = whole().await;
    let table = app.post("/v1/profiles/export").header("accept", "text/csv").json(json!({})).await.bytes;
    assert_eq!(counts(&imported(app, "", table.clone()).await), json!([207, 207, 0, 0, 207]));
    assert_eq!(counts(&imported(app, "?mode=update", table).await), json!([207, 207, 0, 0, 207]));
    let job = app.post("/v1/imports").bytes("application/x-ndjson", before.clone()).await.is(202);
    assert_eq!(counts(&finished(app, &job).await), json!([207, 207, 0, 0, 207]));
    for (found, promised) in whole().await.lines().zip(before.lines()) {
        assert_eq!(found, promised, "versions and all");
    }
}

async fn a_retry_of_an_import_is_answered_with_the_same_job(app: &App) {
    let send = |query: &str, file: &str| app.post(&format!("/v1/imports{query}")).idempotency_key("file-1").bytes("text/csv", file);
    let first = send("", "Email\nada@example.com\n").await;
    finished(app, &first.is(202)).await;
    let again = send("", "Email\nada@example.com\n").await;
    assert_eq!((again.status, &again.bytes, again.header("idempotency-replayed")), (202, &first.bytes, Some("true")));
    send("", "Email\ngrace@navy.example\n").await.refused(422, "idempotency_mismatch");
    send("?mode=create", "Email\nada@example.com\n").await.refused(422, "idempotency_mismatch");
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 1);
}

async fn what_is_no_file_is_refused(app: &App) {
    for file in ["", "\n\n", "   "] {
        send(app, "", file).await.refused_at("", "empty_file");
    }
    app.post("/v1/imports").bytes("application/json", "{}").await.refused(415, "unsupported_media_type");
    app.post("/v1/imports").header("content-encoding", "gzip").bytes("text/csv", "x").await.refused(415, "unsupported_media_type");
    let endless = format!("email,{}\nada@example.com,x\n", "z".repeat(200_000));
    send(app, "", endless).await.refused_at("", "invalid_header");
    for query in ["?delimiter=ab", "?delimiter=%22", "?dry_run=1", "?mapping=%5B%5D", "?colour=blue", "?mode=%00"] {
        send(app, query, "Email\nx@example.com\n").await.refused(400, "invalid_query");
    }
    // Only a header: nobody.
    assert_eq!(counts(&imported(app, "", "Email\n").await), json!([0, 0, 0, 0, 0]));
    // A quote that never ends is a row that is none, or no file at all.
    let done = imported(app, "", "Email,Name\na@example.com,\"Ada\nb@example.com,Bob\n").await;
    assert_eq!(done["status"], "succeeded");
    let mut endless = String::from("Email,Name\na@example.com,\"Ada\n");
    endless.push_str(&"b@example.com,Bob\n".repeat(150_000));
    let done = imported(app, "", endless).await;
    assert_eq!((&done["status"], &done["error"]["code"]), (&"failed".into(), &"malformed_csv".into()), "{done}");
    app.with_scopes(&["profiles:write"])
        .await
        .post("/v1/imports")
        .bytes("text/csv", "Email\nx@example.com\n")
        .await
        .refused(403, "missing_scope");
}

async fn nothing_of_the_file_is_kept_when_it_is_done(app: &App) {
    let mark = format!("canary{}", uuid::Uuid::now_v7().simple());
    let file = format!("Email,Name\n{mark}@example.com,Name\nnot {mark},Bad\n");
    let done = imported(app, "", file).await;
    assert_eq!(counts(&done), json!([2, 1, 1, 1, 0]));
    let person = by_email(app, &format!("{mark}@example.com")).await;
    app.delete(&format!("/v1/profiles/{}", id(&person))).await.ok();
    let database = app.database();
    let cast = |column: &str| {
        if app.engine.is_postgres() { format!("encode({column}, 'escape')") } else { format!("CAST({column} AS TEXT)") }
    };
    for (table, column) in [
        ("jobs", "parameters".to_owned()),
        ("jobs", "details".to_owned()),
        ("jobs", "checkpoint".to_owned()),
        ("job_errors", "detail".to_owned()),
        ("job_inputs", cast("content")),
    ] {
        let found = database.one(&format!("SELECT count(*) FROM {table} WHERE {column} LIKE '%{mark}%'")).await;
        assert_eq!(found, "0", "{table}.{column}");
    }
}

async fn a_file_that_breaks_off_leaves_nothing(app: &App) {
    let kept = async || app.database().one("SELECT count(*) FROM job_inputs").await != "0";
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
    let head = format!(
        "POST /v1/imports HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: text/csv\r\ncontent-length: 9000000\r\n\r\n",
        app.key
    );
    let rows: String = (0..20_000).map(|n| format!("person{n}@example.com,Person {n}\n")).collect();
    stream.write_all(format!("{head}Email,Name\n{rows}").as_bytes()).await.expect("it is sent");
    eventually("some of the file is kept", async || kept().await.then_some(())).await;
    drop(stream);
    eventually("nothing of the file is kept", async || (!kept().await).then_some(())).await;
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 0);
    assert_eq!(app.find(json!({})).await, [""; 0]);
}

const ROWS: usize = 12_000;
/// Of so many rows, one cannot be taken.
const BAD: usize = 100;
const KILLS: usize = 3;

/// A file in which each person comes up twice, a label more each time.
fn twice_everybody() -> String {
    let mut file = String::from("External ID,Labels,City,Language\n");
    for n in 0..ROWS {
        let language = if n % BAD == 17 { "no language" } else { "en" };
        file.push_str(&format!("p{},l{},City {n},{language}\n", n % (ROWS / 2), n / (ROWS / 2)));
    }
    file
}

/// Sends the file and kills the server whenever the job has moved on, so many times at least. The server that saw its end,
/// and the job.
async fn killed_again_and_again(engine: Engine, query: &str) -> (Server, Value) {
    let quick = [("PEOPLE_JOB_LEASE", "1")];
    let server = Server::new(engine).await;
    let mut server = Server::on(server.kill(), &quick);
    let job = send(&App::default_of(&server), query, twice_everybody()).await.is(202);
    let (mut kills, mut seen) = (0, 0);
    loop {
        let app = App::default_of(&server);
        let path = format!("/v1/jobs/{}", id(&job));
        let now = eventually("the job moves on", async || {
            let processed = app.get(&path).await.ok()["processed"].as_u64().unwrap_or(0);
            (processed > seen).then_some(processed)
        })
        .await;
        if usize::try_from(now) == Ok(ROWS) {
            break;
        }
        seen = now;
        server = Server::on(server.kill(), &quick);
        kills += 1;
    }
    assert!(kills >= KILLS, "only {kills} kills while it ran: this shows nothing");
    let done = finished(&App::default_of(&server), &job).await;
    (server, done)
}

async fn a_dry_run_outlives_kill_nine_and_counts_right(engine: Engine) {
    let (server, done) = killed_again_and_again(engine, "?dry_run=true").await;
    assert_eq!(counts(&done), counts_of_all());
    let app = App::default_of(&server);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 0}));
    same(&json!(every_error(&app, &done).await), &json!(bad_lines()));
}

/// What the job counts: of two rows of one person, both may be bad, since a half of the rows has as many.
fn counts_of_all() -> Value {
    let bad = ROWS / BAD;
    json!([ROWS, ROWS - bad, bad, ROWS / 2 - bad / 2, ROWS / 2 - bad / 2])
}

/// Lines and codes of the rows that cannot be taken.
fn bad_lines() -> Vec<Value> {
    (0..ROWS).filter(|n| n % BAD == 17).map(|n| json!([n + 2, "invalid_language"])).collect()
}

async fn every_error(app: &App, job: &Value) -> Vec<Value> {
    errors(app, job).await.iter().map(|e| json!([e["line"], e["code"]])).collect()
}

/// Everybody, but for their ids and the times of their rows.
async fn everybody_by_what_was_sent(app: &App) -> Vec<String> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for own in ["id", "created_at", "updated_at"] {
                    members.shift_remove(own);
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = app.post("/v1/profiles/export").header("accept", "application/x-ndjson").json(json!({})).await.text();
    let mut people: Vec<String> = text
        .lines()
        .map(|line| {
            let mut person: Value = serde_json::from_str(line).expect("a line is JSON");
            strip(&mut person);
            person.to_string()
        })
        .collect();
    people.sort_unstable();
    people
}

async fn an_import_outlives_kill_nine_and_takes_each_row_once(engine: Engine) {
    let (server, done) = killed_again_and_again(engine, "").await;
    let app = App::default_of(&server);
    assert_eq!(counts(&done), counts_of_all());
    same(&json!(every_error(&app, &done).await), &json!(bad_lines()));
    // The directory is the one that nobody disturbed, versions included: no row was applied twice.
    let quiet = Server::new(engine).await;
    let calm = App::default_of(&quiet);
    let undisturbed = imported(&calm, "", twice_everybody()).await;
    assert_eq!(counts(&undisturbed), counts_of_all());
    let (one, other) = (everybody_by_what_was_sent(&app).await, everybody_by_what_was_sent(&calm).await);
    assert_eq!(one.len(), ROWS / 2 - ROWS / BAD / 2);
    assert!(one == other, "the directory is another than after the undisturbed import");
    same(&json!(every_error(&calm, &undisturbed).await), &json!(bad_lines()));
}

/// Everybody once; in the middle, some of the step before, too, with another city.
fn mostly_once() -> String {
    let mut file = String::from("external_id,email,city,labels\n");
    for n in 0..6_000 {
        file.push_str(&format!("c-{n},person{n}@example.com,Rome,\"imported,l{}\"\n", n % 3));
        if n % 10 == 9 && (3_000..4_000).contains(&n) {
            file.push_str(&format!("c-{},,Oslo {n},late\n", n - 900));
        }
    }
    file
}

async fn steps_with_nobody_in_common_are_saved_side_by_side(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let file = mostly_once();
    let rows = file.lines().count() - 1;
    let done = imported(&app, "", file).await;
    assert_eq!(counts(&done), json!([rows, rows, 0, 6_000, rows - 6_000]));
    let moved = app.post("/v1/profiles/count").json(json!({"filter": {"field": "labels", "op": "has", "value": "late"}})).await.ok();
    assert_eq!(moved, json!({"total": rows - 6_000}));
    // The feed is in the order of the file, without a gap.
    let mut told: Vec<Value> = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let from = cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={}", percent(cursor)));
        let page = app.get(&format!("/v1/changes?limit=1000&include=profile{from}")).await.ok();
        let data = list(&page, "data");
        if data.is_empty() {
            break;
        }
        told.extend(
            data.iter().filter(|change| change["type"] == "profile.created").map(|change| change["data"]["profile"]["external_id"].clone()),
        );
        cursor = page["next_cursor"].as_str().map(str::to_owned);
    }
    let in_order: Vec<Value> = (0..6_000).map(|n| json!(format!("c-{n}"))).collect();
    assert_eq!((told.len(), told.iter().zip(&in_order).find(|(one, other)| one != other)), (6_000, None), "told of as they were taken in");
    let metrics = app.get("/metrics").no_key().await.text();
    let kept = |line: &&str| line.starts_with("people_writer_groups_beside_total{decision=\"kept\"}");
    let beside: u64 = metrics.lines().find(kept).and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the series is there");
    if engine.is_postgres() {
        assert!(beside > 0, "no group was saved beside another");
    } else {
        assert_eq!(beside, 0, "SQLite has one writer");
    }
}
