//! Timelines that come to be long. Events of one type are then found in another way, and nobody can tell: what is read of a type
//! is what stands on the whole timeline, and segments, filters and pages agree, while people grow, are merged and are parted.

use people_tests::{App, eventually, percent, stories};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    cast::{id, list, path},
    events::literal,
    merges::{all, at, merge, revert, send},
};

stories![a_timeline_grows_long_unnoticed, long_and_short_are_merged_and_parted];

const KINDS: [&str; 3] = ["order", "page", "a \"rare\" one"];

/// So many events of somebody, from the `from`th on, some out of order. Every seventh is of the last kind.
fn events(person: &Value, from: usize, many: usize) -> Value {
    let one = |n: usize| {
        let kind = if n.is_multiple_of(7) { KINDS[2] } else { KINDS[n % 2] };
        let seconds = i64::try_from(n * 37 % 5_000).expect("a few");
        json!({"profile_id": id(person), "type": kind, "channel": "web", "occurred_at": at(seconds), "properties": {"n": n % 10},
            "message_id": format!("{}-{n}", id(person))})
    };
    (from..from + many).map(one).collect()
}

async fn member(app: &App, segment: &Value, person: &Value) -> bool {
    list(&app.read(id(person)).await, "segments").iter().any(|held| held["id"] == segment["id"])
}

/// Orders with a small number: a condition that no count kept beside the document answers.
fn small_orders(count: usize) -> Value {
    json!({"event": "order", "where": [{"field": "properties.n", "op": "lt", "value": 5}], "count": {"gte": count}})
}

fn is_small_order(event: &Value) -> bool {
    event["type"] == "order" && event["properties"]["n"].as_i64().is_some_and(|n| n < 5)
}

/// Whether an event is among those that are asked for.
type Wanted<'a> = &'a dyn Fn(&Value) -> bool;

fn of_system(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|kind| kind.starts_with("system."))
}

/// Everything that is read by type, held against the whole timeline.
async fn agrees(app: &App, person: &Value) {
    let line: Vec<Value> = all(app, id(person), "timeline").await;
    let of = |kinds: &[&str]| kinds.iter().map(|kind| format!("&type={}", percent(kind))).collect::<String>();
    let is_of = |kinds: &[&str], event: &Value| kinds.iter().any(|kind| event["type"] == *kind);
    let rare = [KINDS[2], "system.created"];
    let asked: [(String, Wanted<'_>); 8] = [
        (of(&KINDS[..1]), &|event| is_of(&KINDS[..1], event)),
        (of(&KINDS[1..2]), &|event| is_of(&KINDS[1..2], event)),
        (of(&KINDS[2..]), &|event| is_of(&KINDS[2..], event)),
        (of(&[KINDS[0], KINDS[2], "nothing", KINDS[0]]), &|event| is_of(&[KINDS[0], KINDS[2]], event)),
        (of(&rare), &|event| is_of(&rare, event)),
        (of(&[KINDS[2], "system"]), &|event| is_of(&KINDS[2..], event) || of_system(event)),
        ("&system=false".to_owned(), &|event| !of_system(event)),
        ("&system=true".to_owned(), &of_system),
    ];
    for (question, wanted) in asked {
        let expected: Vec<&Value> = line.iter().filter(|event| wanted(event)).collect();
        let mut found: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = app.get(&path(person, &format!("/timeline?limit=150&count=true{question}{cursor}"))).await.ok();
            assert_eq!(page["total"], expected.len(), "{question}");
            found.extend(list(&page, "data").iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert!(found.iter().eq(expected.iter().copied()), "{question}: {} found, {} there", found.len(), expected.len());
    }
    let small = line.iter().filter(|event| is_small_order(event)).count();
    let them = |filter: Value| json!({"filter": {"all": [{"field": "email", "op": "eq", "value": person["email"]}, filter]}});
    for (count, expected) in [(small, 1), (small + 1, 0)] {
        if count > 0 {
            let counted = app.post("/v1/profiles/count").json(them(small_orders(count))).await.ok();
            assert_eq!(counted["total"], expected, "{small} small orders, {count} wanted");
        }
    }
}

/// What the two ways rest upon.
async fn is_kept_in_step(app: &App, person: &Value) {
    let whose = format!("profile_id = {}", literal(app, id(person)));
    let ask = async |sql: &str| app.database().one(&format!("{sql} WHERE {whose}")).await.parse::<i64>().expect("a number");
    let (said, there) = (ask("SELECT event_count FROM profile_documents").await, ask("SELECT count(*) FROM events").await);
    assert_eq!(said, there, "the document says how many events there are");
    let not_by_type = app.database().one(&format!("SELECT count(*) FROM events WHERE {whose} AND NOT in_long_timeline")).await;
    assert!(there < 1_000 || not_by_type == "0", "{not_by_type} of {there} events are not found by their type");
}

async fn live(app: &App, filter: Value) -> Value {
    let made = app
        .post("/v1/segments")
        .json(json!({"name": format!("Small orders {}", filter["count"]["gte"]), "filter": filter}))
        .await
        .created();
    eventually("the segment is live", async || {
        let now = app.get(&format!("/v1/segments/{}", id(&made))).await.ok();
        (now["status"] == "live").then_some(now)
    })
    .await
}

pub(crate) async fn a_timeline_grows_long_unnoticed(app: &App) {
    let person = app.person(json!({"email": "grows@example.com"})).await;
    let bystander = app.person(json!({"email": "few@example.com"})).await;
    send(app, events(&bystander, 0, 30)).await;
    // Some are in the segment before their timeline is long, some only after.
    let bounds = [100, 240];
    let segments = [live(app, small_orders(bounds[0])).await, live(app, small_orders(bounds[1])).await];
    let (mut sent, mut small) = (0, 0);
    for many in [600, 399, 1, 1, 300] {
        send(app, events(&person, sent, many)).await;
        sent += many;
        agrees(app, &person).await;
        is_kept_in_step(app, &person).await;
        let line: Vec<Value> = all(app, id(&person), "timeline").await;
        small = line.iter().filter(|event| is_small_order(event)).count();
        for (segment, bound) in segments.iter().zip(bounds) {
            assert_eq!(member(app, segment, &person).await, small >= bound, "{small} small orders of {sent} events");
        }
    }
    agrees(app, &bystander).await;
    is_kept_in_step(app, &bystander).await;
    let few = format!("SELECT count(*) FROM events WHERE profile_id = {} AND in_long_timeline", literal(app, id(&bystander)));
    assert_eq!(app.database().one(&few).await, "0", "who has few events has none in the index");
    for segment in &segments {
        let why = app.get(&format!("/v1/segments/{}/explanation?profile_id={}", id(segment), id(&person))).await.ok();
        assert_eq!((&why["holds"], &why["explanation"]["actual"]), (&json!(true), &json!(small)), "{why}");
    }
}

pub(crate) async fn long_and_short_are_merged_and_parted(app: &App) {
    let mut rng = ChaCha8Rng::seed_from_u64(29);
    let mut people: Vec<(Value, usize)> = Vec::new();
    for (name, many) in [("a", 600), ("b", 550), ("c", 1_050), ("d", 20)] {
        let person = app.person(json!({"email": format!("{name}@example.com")})).await;
        send(app, events(&person, 0, many)).await;
        people.push((person, many));
    }
    live(app, small_orders(100)).await;
    for _ in 0..6 {
        // Two of them, in any order, and what they do while they are one and after.
        let first = rng.random_range(0..people.len());
        let second = (first + rng.random_range(1..people.len())) % people.len();
        let (primary, secondary) = (people[first].0.clone(), people[second].0.clone());
        let record = merge(app, &app.read(id(&primary)).await, &app.read(id(&secondary)).await).await;
        let mut more = async |place: usize| {
            let (person, sent) = &mut people[place];
            let many = rng.random_range(1..60);
            send(app, events(person, *sent, many)).await;
            *sent += many;
        };
        agrees(app, &primary).await;
        is_kept_in_step(app, &primary).await;
        more(first).await;
        agrees(app, &primary).await;
        assert_eq!(revert(app, &record).await["conflicts"], json!([]));
        more(second).await;
        for person in [&primary, &secondary] {
            agrees(app, person).await;
            is_kept_in_step(app, person).await;
        }
    }
}
