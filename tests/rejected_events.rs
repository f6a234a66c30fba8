//! `GET /v1/rejected-events`: what tracking SDKs sent and what was not taken of it.

use people_tests::{App, same, stories};
use serde_json::{Value, json};

use crate::cast::list;

stories![
    what_was_not_taken_is_listed_newest_first,
    nothing_of_what_a_message_said_is_kept,
    the_list_is_bounded_in_number_and_in_age,
    a_batch_and_its_rejects_are_one_write,
];

async fn rejected(app: &App) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/rejected-events?limit=200{cursor}")).await.ok();
        found.extend(list(&page, "data").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

/// So many messages of nobody.
fn bad(count: usize, name: &str) -> Value {
    json!({"batch": (0..count).map(|n| json!({"type": "track", "event": "e", "messageId": format!("{name}-{n}")})).collect::<Vec<_>>()})
}

async fn what_was_not_taken_is_listed_newest_first(app: &App) {
    assert_eq!(app.get("/v1/rejected-events").await.ok(), json!({"data": [], "next_cursor": null}));
    let batch = json!({"batch": [
        {"type": "track", "userId": "u1", "event": "fine", "messageId": "m0"},
        {"type": "track", "event": "nobody's", "messageId": "m1"},
        {"type": "nonsense", "userId": "u1", "messageId": "m2"},
        {"type": "track", "userId": "u1", "event": "fine", "messageId": "m3"},
        "nonsense"
    ]});
    let answer = app.post("/v1/batch").json(batch).await.ok();
    assert_eq!((&answer["accepted"], list(&answer, "rejected").len()), (&json!(2), 3), "{answer}");
    app.post("/v1/track").json(json!({"userId": "u1", "messageId": "alone"})).await.problem();
    let found = rejected(app).await;
    let shown: Vec<(u64, &str, &str)> = found
        .iter()
        .map(|r| (r["index"].as_u64().unwrap_or(99), r["message_id"].as_str().unwrap_or("-"), r["code"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(shown, [(0, "alone", "invalid_event"), (4, "-", "wrong_type"), (2, "m2", "invalid_type"), (1, "m1", "no_user_anon_id")]);
    let mine = app.get("/v1/api-keys").await.ok();
    assert_eq!(found[0]["api_key_id"], list(&mine, "data")[0]["id"], "the key it came with");
    for (told, kept) in list(&answer, "rejected").iter().zip(found.iter().skip(1).rev()) {
        assert_eq!((&told["messageId"], &told["message"]), (&kept["message_id"], &kept["message"]), "as the sender was told");
    }
    // Walked in small pages while more arrive.
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/rejected-events?limit=1{cursor}")).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        app.post("/v1/batch").json(bad(1, "meanwhile")).await.ok();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    same(&json!(walked), &json!(found));
    assert!(rejected(&app.neighbour()).await.is_empty(), "a tenant sees its own");
    for wrong in ["limit=0", "limit=201", "cursor=x", "nonsense=1"] {
        assert_eq!(app.get(&format!("/v1/rejected-events?{wrong}")).await.status, 400, "{wrong}");
    }
}

async fn nothing_of_what_a_message_said_is_kept(app: &App) {
    let said = json!({"email": "secret@example.com", "name": "Secret"});
    let batch = json!({"batch": [
        {"type": "secret", "userId": "secret-user", "anonymousId": "secret-visitor", "traits": said, "messageId": "m1"},
        {"type": "identify", "traits": said, "messageId": "m2"},
        {"type": "track", "userId": "secret-user", "event": "", "properties": said, "messageId": "m3"},
        {"type": "track", "userId": "secret-user", "event": "e", "properties": {"secret": "x".repeat(40_000)}, "messageId": "m4"},
        {"type": "identify", "userId": "secret-user", "traits": {"email": "secret@example.com", "long": "secret".repeat(12_000)}, "messageId": "m5"},
        {"type": "alias", "userId": "secret-user", "messageId": "m6"},
        {"type": "merge", "mergeProperties": [{"type": "email", "value": "secret"}, {"type": "email", "value": "secret"}], "messageId": "m7"}
    ]});
    app.post("/v1/batch").json(batch).await.ok();
    let found = rejected(app).await;
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(!json!(found).to_string().to_lowercase().contains("secret"), "{found:?}");
    let rows = app.database().rows("SELECT message_id, code, detail FROM rejected_messages WHERE code <> ''").await;
    assert!(rows.iter().flatten().all(|text| !text.to_lowercase().contains("secret")), "{rows:?}");
}

async fn the_list_is_bounded_in_number_and_in_age(app: &App) {
    // A row of eight days ago, written past the API: its id says when.
    let person = app.person(json!({"external_id": "now"})).await;
    let now = people_domain::Timestamp::parse(person["created_at"].as_str().expect("a time")).expect("a time");
    let old = now.minus(people_domain::clock::Span::from_seconds(8 * 24 * 3_600));
    let id = uuid::Builder::from_unix_timestamp_millis(old.unix_millis(), &[7; 10]).into_uuid().simple().to_string();
    let workspace = app.workspace_id.replace('-', "");
    let (id, workspace, time) = if app.engine.is_postgres() {
        (format!("'{id}'"), format!("'{workspace}'"), format!("'{old}'"))
    } else {
        (format!("x'{id}'"), format!("x'{workspace}'"), old.micros().to_string())
    };
    let insert = format!(
        "INSERT INTO rejected_messages (workspace_id, id, api_key_id, place, message_id, code, detail, received_at)
         VALUES ({workspace}, {id}, {workspace}, 0, 'old', 'no_user_anon_id', '', {time})"
    );
    app.database().rows(&insert).await;
    let count = format!("SELECT count(*) FROM rejected_messages WHERE workspace_id = {workspace}");
    assert_eq!(app.database().one(&count).await, "1");
    assert!(rejected(app).await.is_empty(), "what is older than seven days is not shown");
    for round in 0..5 {
        app.post("/v1/batch").json(bad(2_100, &format!("r{round}"))).await.ok();
    }
    assert_eq!(app.database().one(&count).await, "10000", "and it goes with the next ones, as do those beyond the newest ten thousand");
    let found = rejected(app).await;
    assert_eq!((found.len(), &found[0]["message_id"], &found[9_999]["message_id"]), (10_000, &json!("r4-2099"), &json!("r0-500")));
}

async fn a_batch_and_its_rejects_are_one_write(app: &App) {
    // Sent at once and again, good and bad in one: neither comes without the other.
    let batch = |n: usize| {
        json!({"batch": [{"type": "track", "userId": format!("u{n}"), "event": "e", "messageId": format!("good-{n}")},
                                            {"type": "track", "event": "e", "messageId": format!("bad-{n}")}]})
    };
    futures_util::future::join_all((0..20).map(|n| async move { app.post("/v1/batch").json(batch(n)).await.ok() })).await;
    let mut found: Vec<String> = rejected(app).await.iter().filter_map(|r| r["message_id"].as_str().map(str::to_owned)).collect();
    found.sort();
    let mut wanted: Vec<String> = (0..20).map(|n| format!("bad-{n}")).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 20}));
}
