//! `/v1/changes`: a reader of the feed sees every change once, in the order of commits, whoever writes meanwhile; and who
//! follows it has the directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all};
use people_tests::{App, Engine, Server, engine_stories, redact, same, stories};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::{
    bulk::{confirmed, finished},
    cast::{ada, id, list, nobody, path},
};

stories![
    a_change_is_told_and_says_nothing_of_anybody,
    a_reader_goes_on_where_it_stood,
    what_is_no_place_in_the_feed_is_refused,
    a_waiting_reader_is_woken,
    a_merge_is_one_change,
    who_was_erased_with_another_is_told_too,
    a_follower_is_told_as_it_goes_and_comes_back_where_it_was,
    a_follower_knows_where_it_stands_and_is_told_nothing_once_its_key_is_revoked,
    every_reader_sees_every_change_once_and_a_replica_has_everybody,
    a_replica_made_from_the_feed_alone_equals_the_directory,
];
engine_stories![
    changes_are_forgotten_after_a_time_and_their_readers_are_told,
    a_server_that_is_told_to_go_keeps_no_reader_waiting,
    a_reader_hears_of_what_another_server_writes,
];

async fn feed(app: &App, query: &str) -> Value {
    app.get(&format!("/v1/changes?{query}")).await.ok()
}

fn next(page: &Value) -> &str {
    page["next_cursor"].as_str().expect("a page tells where to read on")
}

async fn latest(app: &App) -> String {
    next(&feed(app, "cursor=latest").await).to_owned()
}

/// Everything after a cursor, page by page.
async fn rest(app: &App, mut cursor: String, query: &str) -> Vec<Value> {
    let mut out = Vec::new();
    loop {
        let page = feed(app, &format!("cursor={cursor}{query}")).await;
        out.extend_from_slice(list(&page, "data"));
        next(&page).clone_into(&mut cursor);
        if page["has_more"] == false {
            return out;
        }
    }
}

fn sequence(change: &Value) -> i64 {
    change["data"]["sequence"].as_i64().unwrap_or_else(|| panic!("no number in {change}"))
}

fn kinds(changes: &[Value]) -> Vec<&str> {
    changes.iter().filter_map(|change| change["type"].as_str()).collect()
}

async fn a_change_is_told_and_says_nothing_of_anybody(app: &App) {
    let start = latest(app).await;
    let ada = app.person(ada()).await;
    app.patch(&path(&ada, "")).json(json!({"company": "Babbage & Co", "city": "Turin"})).await.ok();
    app.delete(&path(&ada, "")).await.ok();
    let page = feed(app, &format!("cursor={start}")).await;
    for told in ["Ada", "ada@", "Lovelace", "Babbage", "Turin", "London", "crm-17"] {
        assert!(!page.to_string().contains(told), "{told} is told: {page}");
    }
    let changes = list(&page, "data");
    assert_eq!(kinds(changes), ["profile.created", "profile.updated", "profile.erased"]);
    assert!(changes.iter().all(|change| change["data"]["profile_id"] == ada["id"]), "{page}");
    same(
        &redact(&json!({"type": changes[1]["type"], "timestamp": changes[1]["timestamp"], "data": changes[1]["data"]})),
        &json!({"type": "profile.updated", "timestamp": "<time>", "data": {
            "sequence": sequence(&changes[1]), "profile_id": "<id>", "version": 2, "fields": ["city", "company"], "record_id": "<id>"
        }}),
    );
    assert!(changes.iter().all(|change| change["actor"].is_string() && change["request_id"].is_string() && change["cursor"].is_string()));
    // With the person where that is asked for: as they are now, which is nobody.
    let whole = feed(app, &format!("cursor={start}&include=profile")).await;
    assert!(list(&whole, "data").iter().all(|change| change["data"].get("profile") == Some(&Value::Null)), "{whole}");
    let grace = app.person(nobody("grace")).await;
    let whole = rest(app, next(&whole).to_owned(), "&include=profile").await;
    same(&whole[0]["data"]["profile"], &app.read(id(&grace)).await);
}

async fn a_reader_goes_on_where_it_stood(app: &App) {
    let start = latest(app).await;
    assert_eq!(feed(app, &format!("cursor={start}")).await, json!({"data": [], "next_cursor": start, "has_more": false}));
    app.people(&(0..25).map(|n| nobody(&format!("p{n}"))).collect::<Vec<Value>>()).await;
    let all = rest(app, start.clone(), "").await;
    assert_eq!(all.len(), 25);
    assert!(all.windows(2).all(|pair| sequence(&pair[0]) < sequence(&pair[1])), "{all:?}");
    assert_eq!(rest(app, start.clone(), "&limit=7").await, all);
    // From the change itself, too.
    let tenth = all[9]["cursor"].as_str().expect("a change has a cursor");
    assert_eq!(rest(app, tenth.to_owned(), "").await, all[10..]);
    let from_the_first = feed(app, "limit=1000").await;
    assert_eq!(list(&from_the_first, "data"), all);
    assert_eq!(list(&app.neighbour().get("/v1/changes").await.ok(), "data").len(), 0);
}

async fn what_is_no_place_in_the_feed_is_refused(app: &App) {
    app.get("/v1/changes?cursor=none").await.refused(400, "invalid_cursor");
    app.get("/v1/changes/stream?cursor=none").await.refused(400, "invalid_cursor");
    app.get("/v1/changes/stream").header("Last-Event-ID", "none").await.refused(400, "invalid_cursor");
    let theirs = latest(&app.neighbour()).await;
    app.get(&format!("/v1/changes?cursor={theirs}")).await.refused(400, "invalid_cursor");
    for query in ["limit=0", "limit=1001", "wait=61", "wait=-1", "include=identities", "types=profile.created", "cursor="] {
        app.get(&format!("/v1/changes?{query}")).await.refused(400, "invalid_query");
    }
}

/// What a reader is told who waits already when something is written.
async fn woken(app: &App, waiting: &str, write: impl AsyncFnOnce() -> Value) -> Value {
    let mut waiting = std::pin::pin!(feed(app, waiting));
    tokio::select! {
        page = &mut waiting => panic!("there was nothing to tell: {page}"),
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
    }
    let (page, _) = tokio::join!(waiting, write());
    page
}

async fn a_waiting_reader_is_woken(app: &App) {
    let start = latest(app).await;
    let begun = Instant::now();
    let nothing = feed(app, &format!("cursor={start}&wait=1")).await;
    assert!(list(&nothing, "data").is_empty() && begun.elapsed() >= Duration::from_secs(1), "{nothing}");
    let waiting = format!("cursor={start}&wait=60");
    let page = woken(app, &waiting, async || app.person(nobody("a")).await).await;
    assert_eq!(kinds(list(&page, "data")), ["profile.created"]);
    assert!(begun.elapsed() < Duration::from_secs(50), "woken after {:?}", begun.elapsed());
    // There is something already.
    assert_eq!(feed(app, &waiting).await, page);
}

async fn a_merge_is_one_change(app: &App) {
    let first = app.person(ada()).await;
    let second = app.person(json!({"external_id": "other", "company": "Navy", "country": "GB"})).await;
    let start = latest(app).await;
    let mut pair = json!({"primary_id": first["id"], "secondary_id": second["id"]});
    pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
    let merge = app.post("/v1/merges").json(pair).await.created();
    let told = rest(app, start, "").await;
    assert_eq!(kinds(&told), ["profile.merged"]);
    let data = &told[0]["data"];
    assert_eq!((&data["profile_id"], &data["record_id"]), (&first["id"], &merge["id"]));
    let of = &data["merge"];
    assert_eq!((&of["id"], &of["primary_id"], &of["secondary_id"]), (&merge["id"], &first["id"], &second["id"]));
    // What became of each field, and nothing of what is in it.
    let bare = |field: &Value| json!({"field": field["field"], "kept": field["kept"], "conflict": field["conflict"]});
    assert_eq!(list(of, "fields"), list(&merge, "fields").iter().map(bare).collect::<Vec<Value>>());
    assert!(list(of, "fields").contains(&json!({"field": "company", "kept": "primary", "conflict": true})), "{of}");
    assert!(!told[0].to_string().contains("Navy"), "{}", told[0]);
    let start = latest(app).await;
    app.post(&format!("/v1/merges/{}/revert", id(&merge))).await.ok();
    let told = rest(app, start, "").await;
    let of: BTreeSet<&str> = told.iter().filter_map(|change| change["data"]["profile_id"].as_str()).collect();
    assert_eq!(kinds(&told), ["profile.merge_reverted"; 2]);
    assert_eq!(of, BTreeSet::from([id(&first), id(&second)]));
}

/// The events of a stream, as (id, type, data); comments left out.
async fn followed(app: &App, query: &str, last: Option<&str>, count: usize) -> Vec<(String, String, Value)> {
    let mut request =
        reqwest::Client::new().get(format!("{}/v1/changes/stream{query}", app.url)).header("authorization", format!("Bearer {}", app.key));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let answer = request.send().await.expect("the stream opens");
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"text/event-stream".parse().expect("a value")));
    let (mut text, mut stream) = (String::new(), answer.bytes_stream());
    loop {
        let blocks: Vec<&str> =
            text.rsplit_once("\n\n").map_or("", |(whole, _)| whole).split("\n\n").filter(|block| block.contains("\nevent: ")).collect();
        if blocks.len() >= count {
            let event = |block: &&str| {
                let mut lines = block.lines();
                let mut line = |name: &str| {
                    let line = lines.next().and_then(|line| line.strip_prefix(name));
                    line.unwrap_or_else(|| panic!("no {name:?} in {block}")).to_owned()
                };
                (line("id: "), line("event: "), serde_json::from_str(&line("data: ")).expect("the data of an event is JSON"))
            };
            return blocks.iter().map(event).collect();
        }
        let chunk = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("something comes within a minute");
        text.push_str(std::str::from_utf8(&chunk.expect("the stream has no end").expect("the stream goes on")).expect("UTF-8"));
    }
}

async fn a_follower_is_told_as_it_goes_and_comes_back_where_it_was(app: &App) {
    let start = latest(app).await;
    let from = format!("?cursor={start}&include=profile");
    let (told, ada) = tokio::join!(followed(app, &from, None, 2), async {
        let ada = app.person(ada()).await;
        app.patch(&path(&ada, "")).json(json!({"city": "Turin"})).await.ok()
    });
    let listed = rest(app, start, "&include=profile").await;
    assert_eq!(told.len(), 2);
    for ((at, kind, _), change) in told.iter().zip(&listed) {
        assert_eq!((&json!(at), &json!(kind)), (&change["cursor"], &change["type"]));
    }
    same(&told[1].2, &listed[1]);
    same(&told[1].2["data"]["profile"], &app.read(id(&ada)).await);
    // `Last-Event-ID` goes before the cursor the client began with.
    let again = followed(app, &from, Some(&told[0].0), 1).await;
    assert_eq!(again[0].0, told[1].0);
}

async fn a_follower_knows_where_it_stands_and_is_told_nothing_once_its_key_is_revoked(app: &App) {
    let start = latest(app).await;
    for (path, made) in [("/v1/changes/stream?cursor=latest&include=profile", "before"), ("/v1/changes/stream?include=profile", "later")] {
        let key = app.post("/v1/api-keys").json(json!({"name": "reader", "scopes": ["profiles:read"]})).await.created();
        let secret = key["key"].as_str().expect("a key");
        let request = reqwest::Client::new().get(format!("{}{path}", app.url)).header("authorization", format!("Bearer {secret}"));
        let mut stream = request.send().await.expect("the stream opens").bytes_stream();
        let first = stream.next().await.expect("it begins").expect("it goes on");
        if path.contains("latest") {
            // Cut off before the first change, it comes back to here and misses nothing.
            assert!(first.starts_with(format!("id: {start}\n").as_bytes()), "{first:?}");
        }
        app.person(json!({"external_id": made})).await;
        let mut heard = String::new();
        while !heard.contains(&format!("\"external_id\":\"{made}\"")) {
            let chunk = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("something comes within a minute");
            heard.push_str(std::str::from_utf8(&chunk.expect("the stream has no end").expect("the stream goes on")).expect("UTF-8"));
        }
        assert_eq!(app.delete(&format!("/v1/api-keys/{}", id(&key))).await.status, 204);
        app.person(json!({"external_id": format!("secret-{made}")})).await;
        let rest = async {
            let mut rest = String::new();
            while let Some(Ok(chunk)) = stream.next().await {
                rest.push_str(&String::from_utf8_lossy(&chunk));
            }
            rest
        };
        let rest = tokio::time::timeout(Duration::from_secs(60), rest).await.expect("the stream ends within a minute");
        assert!(!rest.contains("secret"), "{rest}");
    }
}

/// Who is held under which id by somebody who only reads the feed.
fn follow(replica: &mut BTreeMap<String, Value>, changes: &[Value]) {
    for change in changes {
        let data = &change["data"];
        let who = data["profile_id"].as_str().expect("a change is about somebody").to_owned();
        if data["profile"].is_null() {
            replica.remove(&who);
        } else {
            replica.insert(who, data["profile"].clone());
        }
        if let Some(gone) = data["merge"]["secondary_id"].as_str() {
            replica.remove(gone);
        }
    }
}

/// About how many changes the readers are to see.
fn size() -> i64 {
    std::env::var("PEOPLE_TEST_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

/// Writes in every way there is, about people of its own and those whom all write about, until the feed has come to a number.
async fn write_until(app: &App, writer: u64, end: i64, seen: &AtomicI64) {
    const BATCH: usize = 20;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(writer);
    for round in 0.. {
        if seen.load(Ordering::Relaxed) >= end {
            return;
        }
        let mut items: BTreeMap<String, Value> = BTreeMap::new();
        for _ in 0..BATCH {
            let n = rng.random_range(0..200_u32);
            // Some are everybody's: writers wait for each other.
            // Its own are others after a while, since merges make people of very many keys.
            let who = if n < 50 { format!("shared{n}") } else { format!("{writer}-{}-{n}", round / 200) };
            items.insert(who.clone(), json!({"op": "upsert", "external_id": who, "city": format!("{writer}-{round}")}));
        }
        let sent: Vec<&Value> = items.values().collect();
        let answer = app.post("/v1/profiles/batch").json(json!({"items": sent})).await.ok();
        let results = list(&answer, "results");
        assert!(results.iter().all(|result| result["status"].as_i64().is_some_and(|s| s < 300)), "{answer}");
        // Those of its own stay until this writer takes them away.
        let own = items.keys().zip(results).filter(|(who, _)| !who.starts_with("shared"));
        let mut own: Vec<String> = own.map(|(_, result)| id(result).to_owned()).collect();
        own.sort();
        own.dedup();
        match (rng.random_range(0..6_u32), &own[..]) {
            (0, [one, other, ..]) => {
                let mut pair = json!({"primary_id": one, "secondary_id": other});
                pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
                app.post("/v1/merges").json(pair).await.created();
            }
            (1, [.., one]) => {
                app.delete(&format!("/v1/profiles/{one}")).await.ok();
            }
            (2, [.., one]) => {
                app.put(&format!("/v1/profiles/{one}/labels/vip")).await.json();
                app.put(&format!("/v1/profiles/{one}/consents/email")).json(json!({"status": "opted_out"})).await.json();
            }
            (3, _) => {
                let event =
                    |who: &String| json!({"identities": [{"kind": "external_id", "value": who}], "type": "bought", "channel": "web"});
                app.post("/v1/events").json(json!({"events": items.keys().map(event).collect::<Vec<Value>>()})).await.ok();
            }
            (4, [one, ..]) => {
                app.patch(&format!("/v1/profiles/{one}")).json(json!({"company": format!("{round}")})).await.ok();
            }
            _ => {}
        }
    }
}

/// What a reader of the feed notes of each change.
type Noted = (i64, Value, Value);

/// Reads on from a cursor until it is told that the marker changed. Now and then it goes on from a change instead of the end of a
/// page, as somebody does who was interrupted.
async fn read_until(app: &App, mut cursor: String, limit: usize, marker: &str, seen: Option<&AtomicI64>) -> Vec<Noted> {
    let mut noted: Vec<Noted> = Vec::new();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(limit as u64);
    loop {
        let page = feed(app, &format!("cursor={cursor}&wait=20&limit={limit}")).await;
        let changes = list(&page, "data");
        assert!(!changes.is_empty(), "the reader of {limit} waits after {} changes", noted.len());
        noted.extend(changes.iter().map(|change| (sequence(change), change["cursor"].clone(), change["data"]["record_id"].clone())));
        if let (Some(seen), Some((last, ..))) = (seen, noted.last()) {
            seen.store(*last, Ordering::Relaxed);
        }
        let ended = |change: &Value| change["data"]["profile_id"] == marker && change["type"] == "profile.updated";
        if changes.iter().any(ended) {
            return noted;
        }
        let again = rng.random_range(0..changes.len());
        if rng.random_range(0..4_u32) == 0 && again > 0 {
            noted.truncate(noted.len() - again);
            noted.last().and_then(|(_, cursor, _)| cursor.as_str()).expect("some are left").clone_into(&mut cursor);
        } else {
            next(&page).clone_into(&mut cursor);
        }
    }
}

async fn every_reader_sees_every_change_once_and_a_replica_has_everybody(app: &App) {
    const WRITERS: u64 = 8;
    let start = latest(app).await;
    let marker = id(&app.person(nobody("the marker")).await).to_owned();
    let first = rest(app, start.clone(), "").await;
    // Some numbers are not told.
    let end = sequence(&first[0]) + size() + size() / 50;
    let seen = AtomicI64::new(0);
    let write = async {
        join_all((0..WRITERS).map(|writer| write_until(app, writer, end, &seen))).await;
        app.patch(&format!("/v1/profiles/{marker}")).json(json!({"city": "The end"})).await.ok();
    };
    // One from the beginning, the others from wherever the feed has come to when they are started.
    let read = async |reader: usize, limit: usize| {
        let mut from = start.clone();
        if reader > 0 {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(100 + reader as u64);
            let begin = sequence(&first[0]) + rng.random_range(1..size() / 2);
            let mut place = 0;
            while place < begin {
                let page = feed(app, &format!("cursor={from}&limit=1000&wait=20")).await;
                let change = list(&page, "data").iter().find(|change| sequence(change) >= begin).or_else(|| list(&page, "data").last());
                let change = change.expect("the feed goes on");
                place = sequence(change);
                change["cursor"].as_str().expect("a change has a cursor").clone_into(&mut from);
            }
        }
        read_until(app, from, limit, &marker, (reader == 0).then_some(&seen)).await
    };
    // Who has nothing but the feed has the directory.
    let replicate = async {
        let (mut replica, mut cursor) = (BTreeMap::new(), start.clone());
        loop {
            let page = feed(app, &format!("cursor={cursor}&wait=20&limit=500&include=profile")).await;
            let changes = list(&page, "data");
            follow(&mut replica, changes);
            if changes.iter().any(|change| change["data"]["profile"]["city"] == "The end") && page["has_more"] == false {
                return replica;
            }
            assert!(!changes.is_empty(), "the replica waits");
            next(&page).clone_into(&mut cursor);
        }
    };
    let readers = join_all([1_000, 100, 37, 250].into_iter().enumerate().map(|(reader, limit)| read(reader, limit)));
    let ((), readers, replica) = tokio::join!(write, readers, replicate);
    let whole = &readers[0];
    assert!(i64::try_from(whole.len()).is_ok_and(|n| n >= size()), "only {} changes", whole.len());
    assert!(whole.windows(2).all(|pair| pair[0].0 < pair[1].0), "not in order");
    // A merge takes two numbers and is told once; no other number is missing.
    let quiet = rest(app, start, "").await;
    let merges = kinds(&quiet).iter().filter(|kind| **kind == "profile.merged").count();
    let numbers = whole.last().map_or(0, |last| last.0 - whole[0].0 + 1);
    assert!(merges > 0 && i64::try_from(whole.len() + merges) == Ok(numbers), "{} and {merges} of {numbers} numbers", whole.len());
    assert!(quiet.iter().map(sequence).eq(whole.iter().map(|noted| noted.0)), "what is read afterwards is another feed");
    for later in &readers[1..] {
        let begin = later[0].0;
        let expected: Vec<&Noted> = whole.iter().skip_while(|noted| noted.0 < begin).collect();
        assert!(begin > whole[0].0 && later.iter().eq(expected), "readers saw different feeds");
    }
    let directory = everybody(app).await;
    assert_eq!(replica.keys().collect::<Vec<_>>(), directory.keys().collect::<Vec<_>>());
    for (who, person) in &directory {
        same(&replica[who], person);
    }
}

async fn everybody(app: &App) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let mut page = app.search(json!({"limit": 200})).await;
    loop {
        out.extend(list(&page, "data").iter().map(|person| (id(person).to_owned(), person.clone())));
        let Some(cursor) = page["next_cursor"].as_str().map(str::to_owned) else { return out };
        page = app.search(json!({"limit": 200, "cursor": cursor})).await;
    }
}

async fn a_replica_made_from_the_feed_alone_equals_the_directory(app: &App) {
    let mut replica = BTreeMap::new();
    let mut cursor = latest(app).await;
    let mut step = async |replica: &mut BTreeMap<String, Value>| {
        let changes = rest(app, cursor.clone(), "&include=profile&limit=13").await;
        if let Some(last) = changes.last().and_then(|change| change["cursor"].as_str()) {
            last.clone_into(&mut cursor);
        }
        follow(replica, &changes);
    };
    let people: Vec<Value> = (0..40)
        .map(|n| json!({"external_id": format!("p{n}"), "city": if n % 2 == 0 { "Turin" } else { "Paris" }, "email": format!("p{n}@example.com")}))
        .collect();
    let ids = app.people(&people).await;
    step(&mut replica).await;
    let filter = json!({"field": "city", "op": "eq", "value": "Turin"});
    let segment = app.post("/v1/segments").json(json!({"name": "Turin", "filter": filter})).await.created();
    let rule = app.post("/v1/label-rules").json(json!({"label": "turinese", "filter": filter})).await.created();
    for made in [&segment, &rule] {
        finished(app, &json!({"id": made["job_id"]})).await;
    }
    app.patch(&format!("/v1/profiles/{}", ids[1])).json(json!({"city": "Turin"})).await.ok();
    app.put(&format!("/v1/profiles/{}/labels/vip", ids[2])).await.json();
    app.put(&format!("/v1/profiles/{}/consents/email", ids[3])).json(json!({"status": "opted_out"})).await.json();
    app.post("/v1/events").json(json!({"events": [{"profile_id": ids[4], "type": "bought", "channel": "web"}]})).await.ok();
    step(&mut replica).await;
    let job = confirmed(app, json!({"ids": ids[10..20]}), json!({"type": "add_labels", "labels": ["bulk"]})).await.is(202);
    finished(app, &job).await;
    let merge = async |primary: usize, secondary: usize| {
        let mut pair = json!({"primary_id": ids[primary], "secondary_id": ids[secondary]});
        pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
        app.post("/v1/merges").json(pair).await.created()
    };
    let (back, _) = (merge(20, 21).await, merge(22, 23).await);
    merge(24, 22).await;
    step(&mut replica).await;
    app.post(&format!("/v1/merges/{}/revert", id(&back))).await.ok();
    // Of these two the reader knows nothing but that they were there.
    merge(26, 27).await;
    for gone in ids[30..33].iter().chain([&ids[26]]) {
        app.delete(&format!("/v1/profiles/{gone}")).await.ok();
    }
    app.patch("/v1/labels/bulk").json(json!({"name": "in bulk"})).await.json();
    app.delete(&format!("/v1/segments/{}", id(&segment))).await;
    // Renaming and removing are jobs.
    for job in list(&app.get("/v1/jobs?limit=200").await.ok(), "data") {
        finished(app, job).await;
    }
    step(&mut replica).await;
    let directory = everybody(app).await;
    assert_eq!(replica.keys().collect::<Vec<_>>(), directory.keys().collect::<Vec<_>>());
    for (who, person) in &directory {
        same(&replica[who], person);
    }
}

async fn changes_are_forgotten_after_a_time_and_their_readers_are_told(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let start = latest(&app).await;
    let hook = async |settings: Value| app.post("/v1/webhooks").json(settings).await.created();
    let paused = hook(json!({"url": "http://127.0.0.1:9/", "enabled": false})).await;
    let crowd = |names: &[&str]| names.iter().map(|name| nobody(name)).collect::<Vec<Value>>();
    let mut old = app.people(&crowd(&["old1", "old2"])).await;
    // Nobody listens there: it is enabled, and comes to nothing of what follows.
    let failing = hook(json!({"url": "http://127.0.0.1:9/"})).await;
    let of_the_failing = latest(&app).await;
    old.extend(app.people(&crowd(&["old3", "old4", "old5"])).await);
    let middle = latest(&app).await;
    let young = app.people(&crowd(&["young1", "young2"])).await;
    // The look-out comes to all of them.
    app.get("/v1/duplicates").await.ok();
    let database = server.kill();
    let month = if engine.is_postgres() { ["interval '31 days'", "interval '29 days'"] } else { ["31 * 86400000000", "29 * 86400000000"] };
    let about = |ids: &[String]| {
        let literal = |id: &String| if engine.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) };
        ids.iter().map(literal).collect::<Vec<String>>().join(", ")
    };
    for (ids, age) in [(&old, month[0]), (&young, month[1])] {
        database.rows(&format!("UPDATE changes SET at = at - {age} WHERE profile_id IN ({})", about(ids))).await;
    }
    let server = Server::on(database, &[]);
    let app = App::default_of(&server);
    let expired = format!("/v1/changes?cursor={start}");
    people_tests::eventually("the first are gone", async || (app.get(&expired).await.status == 410).then_some(())).await;
    let told = app.get(&expired).await.refused(410, "cursor_expired");
    assert!(told["errors"][0]["detail"].as_str().is_some_and(|detail| detail.contains("latest")), "{told}");
    app.get(&format!("/v1/changes/stream?cursor={start}")).await.refused(410, "cursor_expired");
    app.get("/v1/changes/stream").header("Last-Event-ID", &start).await.refused(410, "cursor_expired");
    // What an enabled webhook has not come to stays, as old as it is: they would have gone in the same transaction.
    assert_eq!(rest(&app, of_the_failing.clone(), "").await.len(), 5);
    app.patch(&format!("/v1/webhooks/{}", id(&failing))).json(json!({"enabled": false})).await.ok();
    let expired = format!("/v1/changes?cursor={of_the_failing}");
    people_tests::eventually("the others are gone", async || (app.get(&expired).await.status == 410).then_some(())).await;
    // Exactly those: the last one that is gone is still a place to go on from, and who begins begins there.
    let kept = rest(&app, middle, "").await;
    let of: Vec<&str> = kept.iter().filter_map(|change| change["data"]["profile_id"].as_str()).collect();
    assert_eq!(of, young);
    assert_eq!(list(&feed(&app, "limit=1000").await, "data"), kept);
    // Everybody is still in the directory, and read from it in step.
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 7);
    app.person(nobody("new")).await;
    assert_eq!(app.find(json!({"q": "new"})).await, ["new"]);
    // Webhooks that were disabled meanwhile are told, and do not go on as if nothing were missing.
    let enabled = |hook: &Value| app.patch(&format!("/v1/webhooks/{}", id(hook)));
    enabled(&paused).json(json!({"enabled": true})).await.refused(410, "cursor_expired");
    assert_eq!(app.get(&format!("/v1/webhooks/{}", id(&paused))).await.ok()["enabled"], false);
    assert_eq!(enabled(&paused).json(json!({"enabled": true, "resume_from": "latest"})).await.ok()["enabled"], true);
    // An older backup is put in place: a reader who was further on would miss what is written until it gets there.
    let ahead = latest(&app).await;
    let database = server.kill();
    database.rows("DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes)").await;
    database.rows("UPDATE change_heads SET seq = seq - 1").await;
    let server = Server::on(database, &[]);
    App::default_of(&server).get(&format!("/v1/changes?cursor={ahead}")).await.refused(410, "cursor_expired");
}

/// A reader who knew both before the merge learns that both are gone, though the merge's record went with them; and one who
/// came back from a merge is not told to be.
async fn who_was_erased_with_another_is_told_too(app: &App) {
    let people = app.people(&["a", "b", "c", "d"].map(nobody)).await;
    let start = latest(app).await;
    let merge = async |primary: usize, secondary: usize| {
        let mut pair = json!({"primary_id": people[primary], "secondary_id": people[secondary]});
        pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
        app.post("/v1/merges").json(pair).await.created()
    };
    merge(0, 1).await;
    let back = merge(2, 3).await;
    app.post(&format!("/v1/merges/{}/revert", id(&back))).await.ok();
    let erased = |changes: &[Value]| -> BTreeSet<String> {
        let erased = changes.iter().filter(|change| change["type"] == "profile.erased");
        erased.filter_map(|change| change["data"]["profile_id"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(erased(&rest(app, start.clone(), "").await), BTreeSet::new());
    for gone in [&people[0], &people[2]] {
        app.delete(&format!("/v1/profiles/{gone}")).await.ok();
    }
    let told = rest(app, start, "").await;
    assert_eq!(erased(&told), people[..3].iter().cloned().collect());
    assert!(told.iter().all(|change| change["type"] != "profile.merged" || change["data"]["merge"].is_null()), "{told:?}");
    app.read(&people[3]).await;
}

async fn a_server_that_is_told_to_go_keeps_no_reader_waiting(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let start = latest(&app).await;
    let key = format!("Bearer {}", app.key);
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("{}/v1/changes{path}", app.url)).header("authorization", &key).send();
    let stream = get("/stream").await.expect("the stream opens");
    let waiting = tokio::spawn(get(&format!("?cursor={start}&wait=60")));
    // Once the lane of streams says that both are there.
    people_tests::eventually("two readers wait", async || {
        let metrics = app.get("/metrics").no_key().await.text();
        metrics.lines().any(|line| line.contains("lane=\"streams\"") && line.ends_with(" 2")).then_some(())
    })
    .await;
    let told = Instant::now();
    let sent = Command::new("kill").args(["-TERM", &server.process().to_string()]).status().expect("kill can be run");
    assert!(sent.success());
    stream.text().await.expect("the stream ends as it should");
    let answer = waiting.await.expect("the task ends").expect("an answer comes");
    assert_eq!(answer.status().as_u16(), 200);
    // Requests under way are waited for up to twenty seconds; these are not.
    assert!(told.elapsed().as_secs() < 15, "the readers went after {:?}", told.elapsed());
}

async fn a_reader_hears_of_what_another_server_writes(engine: Engine) {
    if engine == Engine::Sqlite {
        // One process has the file.
        return;
    }
    let server = Server::new(engine).await;
    let other = Server::on(server.database.clone(), &[]);
    let (reader, writer) = (App::default_of(&server), App::default_of(&other));
    let waiting = format!("cursor={}&wait=60", latest(&reader).await);
    let begun = Instant::now();
    let page = woken(&reader, &waiting, async || writer.person(nobody("a")).await).await;
    assert_eq!(kinds(list(&page, "data")), ["profile.created"]);
    assert!(begun.elapsed() < Duration::from_secs(50), "woken after {:?}", begun.elapsed());
}
