//! Random people, in any order, among writers and when the server is killed: no merge and no reversal loses anything.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use people_tests::{App, Engine, Server, engine_stories, eventually, same, stories};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{agreed, all, at, everybody, is_system, merge, pair, preview, revert, send, somebody, value, whole};
use crate::cast::{id, identities, list, path};

stories![
    random_pairs_lose_nothing_and_come_back_whole,
    a_label_the_survivor_may_not_keep_leaves_no_trace,
    any_order_of_merges_keeps_the_same,
    crossed_merges_end_in_one_person,
    merges_among_writers_lose_nothing,
    reversals_among_writers_lose_nothing,
    a_life_of_merges_and_reversals_keeps_everything,
    sessions_of_people_parted_are_those_of_their_own_events,
];

engine_stories![kill_nine_leaves_one_or_two_never_a_half];

/// What a merge must keep, of one person: events, sessions' events, keys, decisions, labels, each once.
fn holdings(person: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut events: Vec<Value> =
        list(&person["events"]).iter().map(|e| json!([e["id"], e["type"], e["occurred_at"], e["properties"]])).collect();
    let mut keys: Vec<Value> =
        list(&person["document"]["identities"]).iter().map(|i| json!([i["kind"], i["value"], i["raw"], i["created_at"]])).collect();
    let mut ledger = list(&person["ledger"]);
    let mut history: Vec<Value> = list(&person["history"]).iter().map(|e| json!([e["id"], e["changes"]])).collect();
    for rows in [&mut events, &mut keys, &mut ledger, &mut history] {
        rows.sort_by_key(Value::to_string);
    }
    json!({"events": events, "keys": keys, "ledger": ledger, "history": history})
}

fn both(first: &Value, second: &Value) -> Value {
    let mut out = json!({});
    for (name, rows) in first.as_object().expect("an object") {
        let mut rows: Vec<Value> = rows.as_array().into_iter().chain(second[name].as_array()).flatten().cloned().collect();
        rows.sort_by_key(Value::to_string);
        out[name] = json!(rows);
    }
    out
}

fn set(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(Value::to_string).collect()
}

async fn random_pairs_lose_nothing_and_come_back_whole(app: &App) {
    for seed in 0..16_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Every other pair is busy enough for visits of one to bridge those of the other.
        let mut moments: Vec<i64> = (0..if seed % 2 == 0 { 40 } else { 26 }).map(|n| n * 1_031).collect();
        let first = somebody(app, &mut rng, &format!("a{seed}"), &mut moments).await;
        let second = somebody(app, &mut rng, &format!("b{seed}"), &mut moments).await;
        let before = [whole(app, id(&first)).await, whole(app, id(&second)).await];
        let mut keep = json!({});
        let both_have = |key: &str| [&first, &second].iter().all(|person| !person["attributes"][key].is_null());
        for field in ["company", "name", "city", "external_id", "attributes.plan", "attributes.seats"] {
            if field.strip_prefix("attributes.").is_some_and(|key| !both_have(key)) {
                continue;
            }
            if rng.random_bool(0.4) {
                keep[field] = json!(["primary", "secondary"].choose(&mut rng));
            }
        }
        let told = preview(app, &first, &second, keep.clone()).await;
        let record = app.post("/v1/merges").json(agreed(&first, &second, keep, &told)).await.created();
        same(&record["fields"], &told["fields"]);
        same(&record["moves"], &told["moves"]);
        let joined = whole(app, id(&first)).await;
        same(&holdings(&joined), &both(&holdings(&before[0]), &holdings(&before[1])));
        for sets in ["labels", "channels"] {
            let united: BTreeSet<String> = set(&before[0]["document"][sets]).union(&set(&before[1]["document"][sets])).cloned().collect();
            assert_eq!(set(&joined["document"][sets]), united, "seed {seed}: {sets}");
        }
        let counted: i64 = joined["sessions"].as_array().into_iter().flatten().filter_map(|s| s["event_count"].as_i64()).sum();
        let events = joined["events"].as_array().map_or(0, Vec::len);
        assert_eq!(usize::try_from(counted), Ok(events), "seed {seed}: every event in one session");
        for told in list(&told, "fields") {
            let name = told["field"].as_str().expect("a name");
            assert_eq!(&value(&joined["document"], name), &told["result"], "seed {seed}: {name} as previewed");
        }
        let back = revert(app, &record).await;
        assert_eq!(back["conflicts"], json!([]), "seed {seed}");
        same(&whole(app, id(&first)).await, &before[0]);
        same(&whole(app, id(&second)).await, &before[1]);
    }
}

/// What does not depend on the order in which the same people were merged.
async fn lasting(app: &App, external_id: &str) -> Value {
    let person = app.get(&format!("/v1/profiles/lookup?external_id={external_id}")).await.ok();
    let whole = whole(app, id(&person)).await;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut keys: Vec<Value> = list(&whole["document"]["identities"]).iter().map(|i| json!([i["kind"], i["value"], i["raw"]])).collect();
    let mut events: Vec<Value> =
        list(&whole["events"]).iter().map(|e| json!([e["message_id"], e["type"], e["occurred_at"], e["properties"]])).collect();
    let mut sessions: Vec<Value> = list(&whole["sessions"])
        .iter()
        .map(|s| json!([s["channel"], s["sender_id"], s["started_at"], s["ended_at"], s["event_count"]]))
        .collect();
    let mut ledger: Vec<Value> =
        list(&whole["ledger"]).iter().map(|e| json!([e["channel"], e["status"], e["occurred_at"], e["source"]])).collect();
    for rows in [&mut keys, &mut events, &mut sessions, &mut ledger] {
        rows.sort_by_key(Value::to_string);
    }
    let document = &whole["document"];
    json!({"keys": keys, "events": events, "sessions": sessions, "ledger": ledger, "labels": document["labels"], "consents": document["consents"],
        "channels": document["channels"], "last_seen_at": document["last_seen_at"], "external_id": document["external_id"]})
}

/// A rule's label comes with the merged and is taken off the survivor in the same transaction.
async fn a_label_the_survivor_may_not_keep_leaves_no_trace(app: &App) {
    let french = json!({"label": "french", "filter": {"field": "country", "op": "eq", "value": "FR"}, "on_exit": "remove"});
    let rule = app.post("/v1/label-rules").json(french).await.created();
    eventually("the rule is live", async || {
        (app.get(&format!("/v1/label-rules/{}", id(&rule))).await.ok()["status"] == "live").then_some(())
    })
    .await;
    let carried = async |person: &Value| app.get(&path(person, "/labels")).await.ok()["data"].clone();
    let carry_it = async || app.get("/v1/labels/french").await.ok()["member_count"].clone();
    let briton = app.person(json!({"external_id": "a", "country": "GB"})).await;
    let french = app.person(json!({"external_id": "b", "country": "FR"})).await;
    let before = carried(&french).await;
    assert_eq!((&before[0]["name"], &before[0]["rule_id"], carry_it().await), (&json!("french"), &rule["id"], json!(1)));
    let merged = merge(app, &briton, &french).await;
    assert_eq!(app.read(id(&briton)).await["labels"], json!([]));
    assert_eq!((carried(&briton).await, carry_it().await), (json!([]), json!(0)));
    revert(app, &merged).await;
    assert_eq!((carried(&briton).await, carried(&french).await, carry_it().await), (json!([]), before, json!(1)));
}

async fn any_order_of_merges_keeps_the_same(app: &App) {
    for seed in 0..3_u64 {
        let mut ends = Vec::new();
        // (primary, secondary), in three orders that end with `a`.
        for order in [[("a", "b"), ("a", "c"), ("a", "d")], [("b", "c"), ("b", "d"), ("a", "b")], [("d", "c"), ("a", "d"), ("a", "b")]] {
            let desk = app.neighbour();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut moments: Vec<i64> = (0..80).map(|n| n * 457).collect();
            let mut people = Vec::new();
            for name in ["a", "b", "c", "d"] {
                people.push(somebody(&desk, &mut rng, name, &mut moments).await);
            }
            let of = |name: &str| people.iter().find(|p| p["external_id"] == name).expect("one of the four");
            for (primary, secondary) in order {
                merge(&desk, of(primary), of(secondary)).await;
            }
            let person = desk.read(id(of("a"))).await;
            let first = people.iter().map(|p| p["created_at"].as_str().expect("a time")).min();
            assert_eq!(person["created_at"].as_str(), first, "the oldest of all");
            assert_eq!(list(&person, "merged_from").len(), 3);
            ends.push(lasting(&desk, "a").await);
        }
        same(&ends[1], &ends[0]);
        same(&ends[2], &ends[0]);
    }
}

async fn crossed_merges_end_in_one_person(app: &App) {
    for round in 0..12 {
        let mut people = Vec::new();
        for n in 0..3 {
            let person = app.person(json!({"external_id": format!("r{round}p{n}"), "labels": [format!("l{n}")]})).await;
            send(app, json!([{"profile_id": id(&person), "type": "page", "channel": "web", "occurred_at": at(n * 600)}])).await;
            people.push(app.read(id(&person)).await);
        }
        let [a, b, c] = [&people[0], &people[1], &people[2]];
        let wanted = if round % 2 == 0 { vec![(a, b), (b, a), (a, b), (b, a)] } else { vec![(b, a), (c, b), (a, c), (b, a)] };
        let mut bodies = Vec::new();
        for (primary, secondary) in &wanted {
            bodies.push(agreed(primary, secondary, json!({}), &preview(app, primary, secondary, json!({})).await));
        }
        let answers = join_all(bodies.into_iter().map(|body| app.post("/v1/merges").json(body).into_future())).await;
        let done = answers.iter().filter(|a| a.status == 201).count();
        assert!(done >= 1, "round {round}: somebody is first");
        for answer in answers.iter().filter(|a| a.status != 201) {
            assert!(matches!(answer.status, 409 | 422), "round {round}: {answer}");
        }
        if round % 2 == 0 {
            assert_eq!(done, 1, "round {round}: opposite merges do not both happen");
        }
        // Whoever is one with whom: every id answers, every key leads there, every event is in one place.
        let mut survivors = BTreeSet::new();
        let mut events = 0;
        for person in &people {
            let now = app.read(id(person)).await;
            let by_key = app.get(&format!("/v1/profiles/lookup?external_id={}", person["external_id"].as_str().expect("an id"))).await.ok();
            same(&by_key, &now);
            if survivors.insert(id(&now).to_owned()) {
                let person = whole(app, id(&now)).await;
                events += person["events"].as_array().map_or(0, Vec::len);
            }
        }
        assert_eq!((survivors.len(), events), (3 - done, 3), "round {round}");
    }
}

async fn merges_among_writers_lose_nothing(app: &App) {
    for round in 0..4 {
        let name = |n: usize| format!("r{round}p{n}");
        let mut people = Vec::new();
        for n in 0..4 {
            people.push(app.person(json!({"external_id": name(n)})).await);
        }
        let writers = join_all((0..12_usize).map(async |writer| {
            let mut answers = Vec::new();
            for step in 0..6_usize {
                let person = &people[(writer + step) % 4];
                let message = format!("r{round}w{writer}s{step}");
                let event = json!({"identities": [{"kind": "external_id", "value": person["external_id"]}], "type": "page", "channel": "web",
                    "occurred_at": at(i64::try_from(writer * 100 + step).unwrap_or(0)), "message_id": message});
                answers.push(app.post("/v1/events").json(json!({"events": [event]})).await);
                if writer % 3 == 0 {
                    answers.push(app.patch(&path(person, "")).json(json!({"attributes": {message.clone(): step}})).await);
                }
                if writer % 3 == 1 {
                    answers.push(app.put(&path(person, &format!("/labels/{message}"))).await);
                }
            }
            answers
        }));
        let merger = async {
            let mut made = 0;
            let mut answers = Vec::new();
            for (primary, secondary) in [(0, 1), (2, 3), (0, 2)] {
                for attempt in 0.. {
                    assert!(attempt < 500, "a merge never gets its turn");
                    let told = app.post("/v1/merges/preview").json(pair(&people[primary], &people[secondary], json!({}))).await.ok();
                    let body = agreed(&people[primary], &people[secondary], json!({}), &told);
                    let answer = app.post("/v1/merges").json(body).await;
                    let status = answer.status;
                    answers.push(answer);
                    if status == 201 {
                        made += 1;
                        break;
                    }
                    assert_eq!(status, 409, "only a stale preview is in the way");
                }
            }
            (made, answers)
        };
        let (written, (made, _)) = tokio::join!(writers, merger);
        assert_eq!(made, 3);
        for answer in written.iter().flatten() {
            assert!(matches!(answer.status, 200 | 201), "{answer}");
            if let Some(results) = answer.json()["results"].as_array() {
                assert_eq!(results[0]["status"], 201, "{answer}");
            }
        }
        let person = whole(app, id(&people[0])).await;
        assert_eq!(person["events"].as_array().map(Vec::len), Some(72), "every event, once");
        assert_eq!(
            person["document"]["attributes"].as_object().map(|a| a.keys().filter(|k| k.starts_with(&format!("r{round}w"))).count()),
            Some(24)
        );
        assert_eq!(list(&person["document"], "labels").len(), 24);
        assert_eq!(list(&person["document"], "identities").len(), 4);
        for other in &people[1..] {
            assert_eq!(app.read(id(other)).await["id"], people[0]["id"]);
        }
    }
}

async fn reversals_among_writers_lose_nothing(app: &App) {
    for round in 0..4 {
        let first = app.person(json!({"external_id": format!("r{round}a")})).await;
        let second = app.person(json!({"external_id": format!("r{round}b")})).await;
        let writers = join_all((0..8_usize).map(async |writer| {
            let mut sent = 0;
            for step in 0..10_usize {
                let person = if (writer + step) % 2 == 0 { &first } else { &second };
                let message = format!("r{round}w{writer}s{step}");
                let event = json!({"identities": [{"kind": "external_id", "value": person["external_id"]}], "type": "page", "channel": "web",
                    "occurred_at": at(i64::try_from(writer * 700 + step * 11).unwrap_or(0)), "message_id": message});
                send(app, json!([event])).await;
                sent += 1;
                if writer % 4 == 1 {
                    app.patch(&path(person, "")).json(json!({"city": message})).await.ok();
                }
            }
            sent
        }));
        let coupler = async {
            let mut made = 0;
            for _ in 0..6 {
                let told = preview(app, &first, &second, json!({})).await;
                let answer = app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told)).await;
                if answer.status != 201 {
                    answer.refused(409, "preview_stale");
                    continue;
                }
                made += 1;
                let record = answer.json();
                let call = || app.post(&format!("/v1/merges/{}/revert", id(&record))).into_future();
                let answers = join_all((0..3).map(|_| call())).await;
                assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1, "one of them takes it back");
                for answer in answers.iter().filter(|a| a.status != 200) {
                    answer.refused(409, "merge_reverted");
                }
            }
            made
        };
        let (sent, _) = tokio::join!(writers, coupler);
        // However often that came off among the writers, it comes off now.
        let record = merge(app, &first, &second).await;
        revert(app, &record).await;
        let people = [whole(app, id(&first)).await, whole(app, id(&second)).await];
        let events: Vec<&Value> = people.iter().flat_map(|p| p["events"].as_array().into_iter().flatten()).collect();
        let messages: BTreeSet<&str> = events.iter().filter_map(|e| e["message_id"].as_str()).collect();
        assert_eq!((events.len(), messages.len()), (sent.iter().sum::<usize>(), sent.iter().sum::<usize>()), "every event, once");
        for (person, key) in people.iter().zip(["a", "b"]) {
            assert_eq!(identities(&person["document"], "external_id"), [format!("r{round}{key}")]);
        }
    }
}

async fn a_life_of_merges_and_reversals_keeps_everything(app: &App) {
    for seed in 0..8_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000 + seed);
        let mut moments: Vec<i64> = (0..300).map(|n| n * 457).collect();
        let mut people = Vec::new();
        for n in 0..5 {
            people.push(somebody(app, &mut rng, &format!("s{seed}p{n}"), &mut moments).await);
        }
        let before = everybody(app, &people).await;
        assert_eq!(before.len(), 5);
        let total = |of: &str, people: &[Value]| -> usize { people.iter().map(|p| p[of].as_array().map_or(0, Vec::len)).sum() };
        let (mut events, ledger) = (total("events", &before), total("ledger", &before));
        let keys = |people: &[Value]| -> usize { people.iter().map(|p| list(&p["document"], "identities").len()).sum() };
        let mut standing: Vec<Value> = Vec::new();
        for step in 0..14 {
            let (one, other) = (rng.random_range(0..5), rng.random_range(0..5));
            match rng.random_range(0..4) {
                0 => {
                    let key = json!([{"kind": "external_id", "value": people[one]["external_id"]}]);
                    let event = json!({"identities": key, "type": "more", "channel": "web", "occurred_at": at(moments.remove(0)), "message_id": format!("s{seed}m{step}")});
                    send(app, json!([event])).await;
                    events += 1;
                }
                1 if !standing.is_empty() => {
                    let place = rng.random_range(0..standing.len());
                    let answer = app.post(&format!("/v1/merges/{}/revert", id(&standing[place]))).await;
                    if answer.status == 200 {
                        standing.remove(place);
                    } else {
                        answer.refused(409, "merged_further");
                    }
                }
                _ => {
                    // By the ids they answer with today.
                    let (one, other) = (app.read(id(&people[one])).await, app.read(id(&people[other])).await);
                    let answer = app.post("/v1/merges/preview").json(pair(&one, &other, json!({}))).await;
                    if answer.status == 200 {
                        let body = agreed(&one, &other, json!({}), &answer.json());
                        standing.push(app.post("/v1/merges").json(body).await.created());
                    } else {
                        answer.refused_at("/secondary_id", "self_merge");
                    }
                }
            }
            let now = everybody(app, &people).await;
            assert_eq!(now.len(), 5 - standing.len(), "seed {seed}, step {step}");
            assert_eq!(
                (total("events", &now), total("ledger", &now), keys(&now)),
                (events, ledger, keys(&before)),
                "seed {seed}, step {step}"
            );
            let ids: BTreeSet<String> =
                now.iter().flat_map(|p| p["events"].as_array().into_iter().flatten()).map(|e| id(e).to_owned()).collect();
            assert_eq!(ids.len(), events, "seed {seed}, step {step}: no event twice");
        }
        // And everything is taken back, the last first.
        standing.sort_by_key(|merge| std::cmp::Reverse(id(merge).to_owned()));
        for merge in &standing {
            revert(app, merge).await;
        }
        for (person, before) in people.iter().zip(&before) {
            let now = whole(app, id(person)).await;
            let own = |person: &Value| -> Vec<Value> {
                person["events"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|e| e["type"] != "more")
                    .cloned()
                    .map(|mut event| {
                        // Which session an event is in may have changed with those that came since.
                        event.as_object_mut().map(|e| e.shift_remove("session_id"));
                        event
                    })
                    .collect()
            };
            same(&json!(own(&now)), &json!(own(before)));
            for member in ["identities", "labels", "consents", "company", "name", "attributes", "created_at", "merged_from"] {
                assert_eq!(now["document"][member], before["document"][member], "seed {seed}: {member}");
            }
            same(&now["labels"], &before["labels"]);
            same(&now["ledger"], &before["ledger"]);
            same(&now["history"], &before["history"]);
        }
    }
}

/// An event that was sent: when, in which session of its sender's, and what it told of it.
type Sent = (i64, Option<&'static str>, String);

/// The sessions of these events, by the rules: a sender's own, else no pause longer than half an hour.
fn by_rule(events: &[Sent]) -> Vec<(String, usize, BTreeSet<String>)> {
    let mut strands: BTreeMap<Option<&str>, Vec<&Sent>> = BTreeMap::new();
    events.iter().for_each(|event| strands.entry(event.1).or_default().push(event));
    let mut out = Vec::new();
    for (sender, mut events) in strands {
        events.sort();
        for session in events.chunk_by(|one, next| sender.is_some() || next.0 - one.0 <= 1_800) {
            out.push((at(session[0].0), session.len(), session.iter().map(|(_, _, told)| told.clone()).collect()));
        }
    }
    out.sort();
    out
}

async fn sessions_of_people_parted_are_those_of_their_own_events(app: &App) {
    for seed in 0..40_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(7_000 + seed);
        let mut people = Vec::new();
        for n in 0..3 {
            people.push(app.person(json!({"external_id": format!("k{seed}p{n}")})).await);
        }
        let mut events: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
        let mut standing: Vec<Value> = Vec::new();
        let mut program = Vec::new();
        let mut step = 0;
        while step < 24 || !standing.is_empty() {
            step += 1;
            let (one, other) = (rng.random_range(0..3), rng.random_range(0..3));
            match if step > 24 { 1 } else { rng.random_range(0..8) } {
                1 if !standing.is_empty() => {
                    let merge = &standing[rng.random_range(0..standing.len())].clone();
                    let answer = app.post(&format!("/v1/merges/{}/revert", id(merge))).await;
                    if answer.status == 200 {
                        standing.retain(|known| known["id"] != merge["id"]);
                        program.push(format!("revert {} of {}", id(merge), merge["secondary_id"]));
                    } else {
                        answer.refused(409, "merged_further");
                    }
                }
                2 => {
                    let (one, other) = (app.read(id(&people[one])).await, app.read(id(&people[other])).await);
                    if one["id"] != other["id"] {
                        let merge = merge(app, &one, &other).await;
                        program.push(format!("merge {} {} <- {}", id(&merge), id(&one), id(&other)));
                        standing.push(merge);
                    }
                }
                _ => {
                    let (seconds, told) = (rng.random_range(0..20) * 700, format!("told{seed}x{step}"));
                    let sender = rng.random_bool(0.2).then_some("S");
                    let mut session = json!({"properties": {&told: step}});
                    if let Some(sender) = sender {
                        session["id"] = json!(sender);
                    }
                    let key = json!([{"kind": "external_id", "value": people[one]["external_id"]}]);
                    let event = json!({"identities": key, "type": "e", "channel": "web", "occurred_at": at(seconds), "session": session});
                    let sent = app.post("/v1/events").json(json!({"events": [event]})).await.ok();
                    // Whose it is now, it stays.
                    let owner = sent["results"][0]["profile_id"].as_str().expect("an id").to_owned();
                    program.push(format!("event {owner} {seconds} {sender:?}"));
                    events.entry(owner).or_default().push((seconds, sender, told));
                }
            }
        }
        for person in &people {
            let sessions = whole(app, id(person)).await["sessions"].clone();
            let mut found: Vec<(String, usize, BTreeSet<String>)> = sessions
                .as_array()
                .into_iter()
                .flatten()
                .map(|session| {
                    let told = session["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
                    let count = session["event_count"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                    (session["started_at"].as_str().unwrap_or_default().replace(".000000", ""), count, told)
                })
                .collect();
            found.sort();
            let wanted = by_rule(events.get(id(person)).map_or(&[], Vec::as_slice));
            assert_eq!(found, wanted, "seed {seed}, {}: {program:#?}", id(person));
        }
    }
}

async fn kill_nine_leaves_one_or_two_never_a_half(engine: Engine) {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut server = Server::new(engine).await;
    let (mut merged, mut apart) = (0, 0);
    for round in 0..20 {
        let mut app = App::default_of(&server);
        let mut moments: Vec<i64> = (0..40).map(|n| n * 457).collect();
        let first = somebody(&app, &mut rng, &format!("a{round}"), &mut moments).await;
        let second = somebody(&app, &mut rng, &format!("b{round}"), &mut moments).await;
        let many: Vec<Value> = (0..2_000)
            .map(|n| json!({"profile_id": id(&second), "type": "page", "channel": "bulk", "occurred_at": at(100_000 + n * 2_000), "message_id": format!("{round}-{n}")}))
            .collect();
        send(&app, json!(many)).await;
        let counted = async |app: &App, person: &Value| {
            let profile = whole_but_long(app, person).await;
            (profile["events"].as_u64().unwrap_or(0), profile["keys"].as_u64().unwrap_or(0), profile["sessions"].as_u64().unwrap_or(0))
        };
        let (of_first, of_second) = (counted(&app, &first).await, counted(&app, &second).await);
        let told = preview(&app, &first, &second, json!({})).await;
        let call = app.post("/v1/merges").json(agreed(&first, &second, json!({}), &told));
        let delay = std::time::Duration::from_micros(rng.random_range(0..400_000));
        let (answer, database) = tokio::join!(call.attempt(), async {
            tokio::time::sleep(delay).await;
            server.kill()
        });
        server = Server::on(database, &[]);
        app = App::default_of(&server);
        let now = app.read(id(&second)).await;
        let is_one = now["id"] == first["id"];
        if answer.is_ok_and(|answer| answer.status == 201) {
            assert!(is_one, "round {round}: an acknowledged merge is there");
        }
        let found = counted(&app, &first).await;
        if is_one {
            merged += 1;
            assert_eq!((found.0, found.1), (of_first.0 + of_second.0, of_first.1 + of_second.1), "round {round}");
            let records = all(&app, id(&first), "merges").await;
            assert_eq!(records.len(), 1);
            assert_eq!(records[0]["moves"]["events"], of_second.0);
            // And the way back is whole too, or not begun.
            let call = app.post(&format!("/v1/merges/{}/revert", id(&records[0])));
            let delay = std::time::Duration::from_micros(rng.random_range(0..200_000));
            let (answer, database) = tokio::join!(call.attempt(), async {
                tokio::time::sleep(delay).await;
                server.kill()
            });
            server = Server::on(database, &[]);
            app = App::default_of(&server);
            let back = app.read(id(&second)).await["id"] == second["id"];
            assert!(back || !answer.is_ok_and(|answer| answer.status == 200), "round {round}: an acknowledged reversal is there");
            if !back {
                assert_eq!(counted(&app, &first).await, found, "round {round}");
                revert(&app, &records[0]).await;
            }
        } else {
            apart += 1;
            assert_eq!(all(&app, id(&first), "merges").await, Vec::<Value>::new());
        }
        assert_eq!(counted(&app, &first).await, of_first, "round {round}");
        assert_eq!(counted(&app, &second).await, of_second, "round {round}");
        if engine == Engine::Sqlite {
            assert_eq!(server.database.rows("PRAGMA foreign_key_check").await, [[""; 0]; 0]);
        }
    }
    assert!(merged > 0 && apart > 0, "{merged} rounds ended merged and {apart} apart: this shows nothing of the middle");
}

/// Numbers of a person with very many events.
async fn whole_but_long(app: &App, person: &Value) -> Value {
    let document = app.read(id(person)).await;
    let events = all(app, id(person), "timeline").await.iter().filter(|e| !is_system(e)).count();
    let sessions: i64 = all(app, id(person), "sessions").await.iter().filter_map(|s| s["event_count"].as_i64()).sum();
    json!({"events": events, "keys": list(&document, "identities").len(), "sessions": sessions})
}
