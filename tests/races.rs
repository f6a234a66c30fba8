//! Many clients at once: one person per identity, no change lost, no request answered with a fault.

use futures_util::future::join_all;
use people_tests::{Answer, App, Engine, Server, engine_stories, stories};
use serde_json::{Value, json};

use crate::cast::{id, list, path, version};

stories![
    sixty_four_creations_of_one_email_make_one_person,
    sixty_four_upserts_of_one_email_make_one_person,
    upserts_of_one_person_lose_no_label,
    of_many_patches_with_one_tag_one_wins,
    read_modify_write_loops_lose_nothing,
    patches_of_different_fields_all_arrive,
    crossed_upserts_end_without_a_fault,
    batches_that_cross_end_without_a_fault,
    erasing_and_writing_at_once_leave_no_half,
    versions_and_history_agree_under_load,
];

engine_stories![large_groups_with_people_in_common_lose_nothing];

const CLIENTS: usize = 64;

/// One address in as many spellings as clients know.
fn spelling(round: usize, n: usize) -> String {
    let plain = format!("r{round}.josé.lovelace@example.com");
    let cased: String =
        plain.chars().enumerate().map(|(i, c)| if n >> (i % 6) & 1 == 1 { c.to_uppercase().collect() } else { c.to_string() }).collect();
    match n % 3 {
        0 => cased,
        1 => format!("  {cased} "),
        _ => cased.replace('é', "e\u{301}").replace('É', "E\u{301}"),
    }
}

#[track_caller]
fn no_fault(answers: &[Answer]) {
    for answer in answers {
        assert!(answer.status < 500, "a fault under load\n{answer}");
    }
}

async fn sixty_four_creations_of_one_email_make_one_person(app: &App) {
    for round in 0..3 {
        let answers = join_all(
            (0..CLIENTS)
                .map(|n| app.post("/v1/profiles").json(json!({"email": spelling(round, n), "attributes": {"client": n}})).into_future()),
        )
        .await;
        let created: Vec<Value> = answers.iter().filter(|a| a.status == 201).map(Answer::json).collect();
        assert_eq!(created.len(), 1, "exactly one is created: {:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
        for answer in answers.iter().filter(|a| a.status != 201) {
            let problem = answer.refused(409, "identity_taken");
            assert_eq!(problem["conflicts"][0]["profile_id"], created[0]["id"]);
        }
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 3);
}

async fn sixty_four_upserts_of_one_email_make_one_person(app: &App) {
    for round in 0..3 {
        let answers = join_all((0..CLIENTS).map(|n| {
            app.post("/v1/profiles/upsert").json(json!({"email": spelling(round, n), "attributes": {format!("c{n}"): n}})).into_future()
        }))
        .await;
        assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1, "exactly one is created");
        let first = answers[0].json()["id"].clone();
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 201), "{answer}");
            assert_eq!(answer.json()["id"], first, "all are the same person");
        }
        // And what each of them said is there.
        let person = app.read(first.as_str().unwrap_or_default()).await;
        assert_eq!(person["attributes"].as_object().map(serde_json::Map::len), Some(CLIENTS));
        assert_eq!((version(&person), list(&person, "identities").len()), (CLIENTS as u64, 1));
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 3);
}

async fn upserts_of_one_person_lose_no_label(app: &App) {
    let answers = join_all(
        (0..CLIENTS)
            .map(|n| app.post("/v1/profiles/upsert").json(json!({"external_id": "one", "labels": [format!("l{n:02}")]})).into_future()),
    )
    .await;
    no_fault(&answers);
    let person = app.get("/v1/profiles/lookup?external_id=one").await.ok();
    assert_eq!(list(&person, "labels").len(), CLIENTS);
}

async fn of_many_patches_with_one_tag_one_wins(app: &App) {
    let person = app.person(json!({"external_id": "one"})).await;
    let answers = join_all(
        (0..CLIENTS).map(|n| app.patch(&path(&person, "")).if_match(&person).json(json!({"city": format!("City {n}")})).into_future()),
    )
    .await;
    let won: Vec<&Answer> = answers.iter().filter(|a| a.status == 200).collect();
    assert_eq!(won.len(), 1, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    answers.iter().filter(|a| a.status != 200).for_each(|a| {
        a.refused(412, "version_mismatch");
    });
    let now = app.read(id(&person)).await;
    assert_eq!((&now, version(&now)), (&won[0].json(), 2));
}

async fn read_modify_write_loops_lose_nothing(app: &App) {
    let person = app.person(json!({"external_id": "one", "attributes": {"count": 0}})).await;
    let loops = join_all((0..16).map(async |_| {
        for _ in 0..4 {
            for attempt in 0.. {
                assert!(attempt < 2_000, "somebody never gets a turn");
                let seen = app.read(id(&person)).await;
                let next = seen["attributes"]["count"].as_i64().unwrap_or(-1) + 1;
                let answer = app.patch(&path(&person, "")).if_match(&seen).json(json!({"attributes": {"count": next}})).await;
                match answer.status {
                    200 => break,
                    412 => {}
                    _ => panic!("{answer}"),
                }
            }
        }
    }));
    loops.await;
    let now = app.read(id(&person)).await;
    assert_eq!((&now["attributes"]["count"], version(&now)), (&json!(64), 65));
    assert_eq!(app.history(id(&person)).await.len(), 65);
}

async fn patches_of_different_fields_all_arrive(app: &App) {
    let person = app.person(json!({"external_id": "one"})).await;
    let answers =
        join_all((0..CLIENTS).map(|n| app.patch(&path(&person, "")).json(json!({"attributes": {format!("f{n:02}"): n}})).into_future()))
            .await;
    for answer in &answers {
        answer.ok();
    }
    let now = app.read(id(&person)).await;
    assert_eq!(now["attributes"].as_object().map(serde_json::Map::len), Some(CLIENTS));
    let mut versions: Vec<u64> = answers.iter().map(|a| version(&a.json())).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=CLIENTS as u64 + 1).collect::<Vec<_>>(), "each answer is a version of its own");
}

async fn crossed_upserts_end_without_a_fault(app: &App) {
    for round in 0..20 {
        let (e1, p1, p2) =
            (format!("e{round}@example.com"), format!("+44207946{:04}", round * 2), format!("+44207946{:04}", round * 2 + 1));
        let bodies = [
            json!({"email": e1, "phone": p1}),
            json!({"phone": p1, "email": e1}),
            json!({"email": e1, "phone": p2}),
            json!({"phone": p2, "external_id": format!("x{round}")}),
            json!({"external_id": format!("x{round}"), "email": e1}),
        ];
        let answers = join_all((0..20).map(|n| app.post("/v1/profiles/upsert").json(bodies[n % bodies.len()].clone()).into_future())).await;
        for answer in &answers {
            match answer.status {
                200 | 201 => {}
                _ => {
                    answer.refused(409, "identity_conflict");
                }
            }
        }
        // Each key has one owner, whichever way it went.
        for (kind, value) in [("email", e1.as_str()), ("phone", &p1), ("phone", &p2)] {
            let found = app.filtered(json!({"field": kind, "op": "eq", "value": value})).await;
            assert!(found.len() <= 1, "{kind} {value} is the primary of {} people", found.len());
        }
    }
}

async fn batches_that_cross_end_without_a_fault(app: &App) {
    let items = |order: &mut dyn Iterator<Item = usize>, tag: &str| -> Value {
        order
            .map(|n| json!({"op": "upsert", "external_id": format!("p{n}"), "email": format!("p{n}@example.com"), "labels": [tag]}))
            .collect()
    };
    let answers = join_all((0..12).map(|n| {
        let tag = format!("batch-{n:02}");
        let all = if n % 2 == 0 { items(&mut (0..50), &tag) } else { items(&mut (0..50).rev(), &tag) };
        app.post("/v1/profiles/batch").json(json!({"items": all})).into_future()
    }))
    .await;
    for answer in &answers {
        for result in list(&answer.ok(), "results") {
            assert!(matches!(result["status"].as_u64(), Some(200 | 201)), "{result}");
        }
    }
    let page = app.search(json!({"limit": 200})).await;
    assert_eq!(list(&page, "data").len(), 50);
    for person in list(&page, "data") {
        assert_eq!(list(person, "labels").len(), 12, "{person}");
    }
}

async fn erasing_and_writing_at_once_leave_no_half(app: &App) {
    for round in 0..8 {
        let external_id = format!("p{round}");
        let person = app.person(json!({"external_id": external_id})).await;
        let (erased, answers) = tokio::join!(
            app.delete(&path(&person, "")).into_future(),
            join_all((0..12).map(|n| {
                if n % 2 == 0 {
                    app.patch(&path(&person, "")).json(json!({"attributes": {"n": n}})).into_future()
                } else {
                    app.post("/v1/profiles/upsert").json(json!({"external_id": external_id, "attributes": {"n": n}})).into_future()
                }
            }))
        );
        erased.ok();
        no_fault(&answers);
        app.get(&path(&person, "")).await.refused(410, "profile_erased");
        // Whoever wrote after the erasure wrote about somebody new.
        let lookup = app.get(&format!("/v1/profiles/lookup?external_id={external_id}")).await;
        if lookup.status == 200 {
            assert_ne!(lookup.json()["id"], person["id"]);
        } else {
            lookup.refused(404, "not_found");
        }
    }
}

async fn versions_and_history_agree_under_load(app: &App) {
    let people: Vec<Value> = join_all((0..8).map(|n| app.person(json!({"external_id": format!("p{n}")})))).await;
    let answers = join_all((0..160).map(|n| {
        let person = &people[n % people.len()];
        match n % 3 {
            0 => app.patch(&path(person, "")).json(json!({"attributes": {"n": n}})).into_future(),
            1 => app.post(&path(person, "/identities")).json(json!({"kind": "device", "value": format!("d{n}")})).into_future(),
            _ => app
                .post("/v1/profiles/upsert")
                .json(json!({"external_id": person["external_id"], "labels": [format!("l{n}")]}))
                .into_future(),
        }
    }))
    .await;
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 201), "{answer}");
    }
    for person in &people {
        let now = app.read(id(person)).await;
        let entries = app.history(id(person)).await;
        let versions: Vec<u64> = entries.iter().filter_map(|e| e["version"].as_u64()).collect();
        assert_eq!(versions, (1..=version(&now)).rev().collect::<Vec<_>>(), "one entry for each version");
        let answered = answers.iter().filter(|a| a.json()["id"] == person["id"]).count() as u64;
        assert_eq!(version(&now), answered + 1, "one version for each acknowledged change");
    }
}

/// Batches so large that each is decided while the one before it is saved, about the same people: who is created once, whose
/// every change, event and label is there, and whose history and feed tell of each version once, as if one batch had come
/// after the other. Others merge, erase, define and set meanwhile, and some keys wander.
async fn large_groups_with_people_in_common_lose_nothing(engine: Engine) {
    const PEOPLE: usize = 150;
    const BATCH: usize = 100;
    const WRITERS: usize = 6;
    const ROUNDS: usize = 15;
    let server = Server::new(engine).await;
    // SQLite's file belongs to one process.
    let second = engine.is_postgres().then(|| Server::on(server.database.clone(), &[]));
    let apps: Vec<App> = [Some(&server), second.as_ref()].into_iter().flatten().map(App::default_of).collect();
    let app = &apps[0];
    let apps = &apps;
    let start = cursor(&app.get("/v1/changes").await.ok());
    let writer = |c: usize| async move {
        for round in 0..ROUNDS {
            let app = &apps[(c + round) / 2 % apps.len()];
            let first = (c * 37 + round * 53) % PEOPLE;
            let of = |n: usize| format!("shared-{}", (first + n) % PEOPLE);
            if (c + round).is_multiple_of(2) {
                let item = |n: usize| {
                    json!({"op": "upsert", "external_id": of(n), "attributes": {format!("w{c}"): round}, "labels": [format!("l{c}-{round}")],
                           "identities": [{"kind": "telegram", "value": format!("{}-{c}", of(n))}]})
                };
                let items: Vec<Value> = (0..BATCH).map(item).collect();
                let results = app.post("/v1/profiles/batch").json(json!({ "items": items })).await.ok();
                assert!(list(&results, "results").iter().all(|r| matches!(r["status"].as_u64(), Some(200 | 201))), "{results}");
            } else {
                // Known by the handle where it is there already, by the id where not: the same person.
                let event = |n: usize| {
                    let keys = json!([{"kind": "telegram", "value": format!("{}-{c}", of(n))}, {"kind": "external_id", "value": of(n)}]);
                    json!({"identities": keys, "type": format!("e{c}"), "channel": format!("c{round}"), "message_id": format!("m-{c}-{round}-{n}")})
                };
                let events: Vec<Value> = (0..BATCH).map(event).collect();
                let body = json!({ "events": events });
                let results = app.post("/v1/events").json(body.clone()).await.ok();
                assert!(list(&results, "results").iter().all(|r| r["status"] == 201), "{results}");
                // Sent again, it is known.
                let again = app.post("/v1/events").json(body).await.ok();
                let ids = |results: &Value| list(results, "results").iter().map(|r| r["id"].clone()).collect::<Vec<_>>();
                assert_eq!(ids(&again), ids(&results));
            }
        }
    };
    let others = async {
        for round in 0..ROUNDS {
            let (visitor, user) = (
                json!({"kind": "anonymous_id", "value": format!("v{round}")}),
                json!({"kind": "external_id", "value": format!("p{round}")}),
            );
            for identities in [json!([visitor]), json!([user]), json!([visitor, user])] {
                app.post("/v1/events").json(json!({"events": [{"identities": identities, "type": "seen"}]})).await.ok();
            }
            let one = app.get(&format!("/v1/profiles/lookup?external_id=p{round}")).await.ok();
            assert_eq!(list(&one, "identities").len(), 2, "a visitor became a user: {one}");
            app.delete(&path(&one, "")).await.is(200);
            app.post("/v1/properties").json(json!({"key": format!("defined_{round}"), "type": "number"})).await.created();
            let gap = json!({"session_gap_seconds": 1_800 + round});
            app.patch("/v1/workspace").json(gap).await.ok();
        }
    };
    futures_util::future::join(join_all((0..WRITERS).map(writer)), others).await;

    let met = |c: usize, person: usize, even: bool| {
        (0..ROUNDS)
            .filter(|round| (c + round).is_multiple_of(2) == even)
            .filter(|round| (person + PEOPLE - (c * 37 + round * 53) % PEOPLE) % PEOPLE < BATCH)
            .collect::<Vec<_>>()
    };
    let feed = feed_since(app, start).await;
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], PEOPLE);
    for person in 0..PEOPLE {
        let found = app.get(&format!("/v1/profiles/lookup?external_id=shared-{person}")).await.ok();
        let (labels, keys) = (list(&found, "labels"), list(&found, "identities"));
        for c in 0..WRITERS {
            let said = met(c, person, true);
            assert_eq!(found["attributes"][format!("w{c}")].as_u64(), said.last().map(|round| *round as u64), "{found}");
            for round in &said {
                assert!(labels.contains(&json!(format!("l{c}-{round}"))), "l{c}-{round} is missing: {found}");
            }
            let handle = format!("shared-{person}-{c}");
            assert_eq!(keys.iter().any(|key| key["value"] == *handle), !(said.is_empty() && met(c, person, false).is_empty()));
            let who = json!({"filter": {"all": [
                {"field": "external_id", "op": "eq", "value": format!("shared-{person}")},
                {"event": format!("e{c}"), "count": {"eq": met(c, person, false).len()}},
            ]}});
            assert_eq!(app.post("/v1/profiles/count").json(who).await.ok()["total"], 1, "events e{c} of shared-{person}: {found}");
        }
        // Every version once, in order, and none left out. A late event counts and is told, and changes nothing else.
        let versions: Vec<u64> = feed
            .iter()
            .map(|change| &change["data"])
            .filter(|data| data["profile_id"] == found["id"] && data["fields"] != json!([]))
            .filter_map(|data| data["version"].as_u64())
            .collect();
        assert_eq!(versions, (1..=version(&found)).collect::<Vec<_>>(), "{found}");
    }
    let mut kept = 0;
    for app in apps {
        let told = app.get("/metrics").no_key().await.text();
        let counted = told.lines().find_map(|line| line.strip_prefix("people_writer_groups_ahead_total{decision=\"kept\"} "));
        kept += counted.and_then(|n| n.parse::<u64>().ok()).expect("the metric is there");
    }
    assert!(kept > 0, "no group was decided ahead");
}

async fn feed_since(app: &App, mut at: String) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let page = app.get(&format!("/v1/changes?limit=200&cursor={at}")).await.ok();
        all.extend(list(&page, "data").iter().cloned());
        if page["has_more"] == false {
            return all;
        }
        at = cursor(&page);
    }
}

fn cursor(page: &Value) -> String {
    page["next_cursor"].as_str().expect("a page tells where to read on").to_owned()
}
