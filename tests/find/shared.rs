//! Whoever writes, through whichever server: each server finds everybody as they are. A server takes over what it wrote itself
//! and reads what others wrote, in the order of the feed; here both come mixed, while lists are asked for.

use futures_util::future::join_all;
use people_tests::{App, Engine, Server, engine_stories};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    bulk::finished,
    cast::{id, list},
};

engine_stories![what_several_write_at_once_is_found_by_each];

const PEOPLE: usize = 60;
const WRITERS: u64 = 8;
const ROUNDS: usize = 40;

async fn write(apps: &[App], ids: &[String], writer: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(writer);
    for round in 0..ROUNDS {
        let app = &apps[rng.random_range(0..apps.len())];
        let n = rng.random_range(0..PEOPLE);
        let person = format!("/v1/profiles/{}", ids[n]);
        let of = |rng: &mut ChaCha8Rng, values: [&'static str; 2]| values[rng.random_range(0..2_usize)];
        let answer = match rng.random_range(0..7_u32) {
            0 | 1 => app.patch(&person).json(json!({"city": of(&mut rng, ["Turin", "Paris"])})).await,
            2 => app.put(&format!("{person}/labels/{}", of(&mut rng, ["a", "b"]))).await,
            3 => app.delete(&format!("{person}/labels/{}", of(&mut rng, ["a", "b"]))).await,
            4 => {
                let (channel, kind) = (of(&mut rng, ["web", "sms"]), of(&mut rng, ["bought", "looked"]));
                let events = json!({"events": [{"profile_id": ids[n], "type": kind, "channel": channel}]});
                app.post("/v1/events").json(events).await
            }
            5 => {
                let items: Vec<Value> = (n..PEOPLE.min(n + 5))
                    .map(|n| json!({"op": "upsert", "external_id": format!("p{n}"), "company": format!("{writer} {round}")}))
                    .collect();
                app.post("/v1/profiles/batch").json(json!({"items": items})).await
            }
            _ => {
                let new = format!("new-{writer}-{round}");
                let answer = app.post("/v1/profiles").json(json!({"external_id": new, "city": "Turin"})).await;
                if rng.random_range(0..2_u32) == 0 {
                    app.delete(&format!("/v1/profiles/{}", id(&answer.created()))).await.ok();
                    continue;
                }
                answer
            }
        };
        assert!(answer.status < 400 || answer.status == 404, "{answer}");
    }
}

/// Lists are asked for meanwhile, so that each server takes writes in at any moment.
async fn ask(apps: &[App]) {
    for round in 0..ROUNDS {
        let app = &apps[round % apps.len()];
        app.search(json!({"filter": {"field": "city", "op": "eq", "value": "Turin"}, "limit": 5})).await;
    }
}

fn has(person: &Value, list: &str, value: &str) -> bool {
    person[list].as_array().is_some_and(|items| items.iter().any(|item| item == value || item["id"] == value))
}

async fn what_several_write_at_once_is_found_by_each(engine: Engine) {
    let server = Server::new(engine).await;
    // SQLite's file belongs to one process.
    let second = engine.is_postgres().then(|| Server::on(server.database.clone(), &[]));
    let apps: Vec<App> = [Some(&server), second.as_ref()].into_iter().flatten().map(App::default_of).collect();
    let app = &apps[0];
    let people: Vec<Value> = (0..PEOPLE).map(|n| json!({"external_id": format!("p{n}"), "city": "Paris"})).collect();
    let ids = app.people(&people).await;
    let of_turin = json!({"field": "city", "op": "eq", "value": "Turin"});
    let segment = app.post("/v1/segments").json(json!({"name": "Turin", "filter": of_turin})).await.created();
    finished(app, &json!({"id": segment["job_id"]})).await;
    ask(&apps).await;
    tokio::join!(join_all((0..WRITERS).map(|writer| write(&apps, &ids, writer))), ask(&apps), ask(&apps));
    for app in &apps {
        let everybody = app.find(json!({"sort": "-updated_at"})).await;
        let mut documents = Vec::new();
        for name in &everybody {
            documents.push(app.get(&format!("/v1/profiles/lookup?external_id={name}")).await.ok());
        }
        assert!(documents.len() > PEOPLE, "nobody was created meanwhile");
        assert!(documents.windows(2).all(|two| two[0]["updated_at"].as_str() >= two[1]["updated_at"].as_str()), "not newest first");
        let segment = id(&segment);
        type Holds<'t> = &'t dyn Fn(&Value) -> bool;
        let conditions: [(Value, Holds<'_>); 6] = [
            (of_turin.clone(), &|person| person["city"] == "Turin"),
            (json!({"field": "labels", "op": "has", "value": "a"}), &|person| has(person, "labels", "a")),
            (json!({"field": "labels", "op": "has_none", "value": ["b"]}), &|person| !has(person, "labels", "b")),
            (json!({"field": "segments", "op": "has", "value": segment}), &|person| has(person, "segments", segment)),
            (json!({"field": "channels", "op": "has", "value": "sms"}), &|person| has(person, "channels", "sms")),
            (json!({"field": "last_channel", "op": "eq", "value": "web"}), &|person| person["last_channel"] == "web"),
        ];
        for (condition, holds) in conditions {
            let mut expected: Vec<&str> =
                documents.iter().filter(|person| holds(person)).filter_map(|person| person["external_id"].as_str()).collect();
            expected.sort_unstable();
            assert!(!expected.is_empty(), "nobody is told by {condition}");
            assert_eq!(app.filtered(condition.clone()).await, expected, "{condition}");
        }
        // What somebody did is counted beside them.
        let bought = json!({"event": "bought", "count": {"gte": 1}});
        let mut expected = Vec::new();
        for person in &documents {
            let events = app.get(&format!("/v1/profiles/{}/timeline?type=bought&limit=1", id(person))).await.ok();
            if !list(&events, "data").is_empty() {
                expected.push(person["external_id"].as_str().unwrap_or_default().to_owned());
            }
        }
        expected.sort();
        assert_eq!(app.filtered(bought).await, expected);
    }
    drop(second);
    server.kill().remove().await;
}
