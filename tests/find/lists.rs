//! `GET /v1/profiles` and the pages of every list: sorts, cursors, and what stays stable while people are added.

use std::collections::BTreeSet;

use people_tests::{App, eventually, percent, same, stories};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::{
    bulk::finished,
    cast::{ada, id, list, path},
    merges::{merge, revert},
};

stories![
    a_list_holds_whole_profiles,
    every_sort_walks_everyone_once_each_way,
    pages_stay_stable_while_people_are_added,
    names_sort_as_people_read_them_and_nameless_come_last,
    the_newest_change_comes_first,
    a_cursor_belongs_to_its_question,
    a_tampered_cursor_is_refused,
    each_parameter_filters,
    repeated_parameters_must_all_match,
    bad_parameters_are_refused_by_name,
    pages_have_fifty_people_unless_told_otherwise,
    every_list_walks_its_rows_once_and_tells_how_many_there_are,
];

const SORTS: [&str; 8] = ["last_seen_at", "-last_seen_at", "created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"];

/// Row by row, each page with the total; the rows as they are told.
async fn row_by_row(app: &App, line: &str, least: usize) {
    let (mut rows, mut totals, mut cursor) = (BTreeSet::new(), BTreeSet::new(), String::new());
    let joint = if line.contains('?') { '&' } else { '?' };
    let mut pages = 0;
    loop {
        let page = app.get(&format!("{line}{joint}limit=1&count=true{cursor}")).await.ok();
        totals.insert(page["total"].as_i64().unwrap_or_else(|| panic!("{line}: no total in {page}")));
        rows.extend(list(&page, "data").iter().map(Value::to_string));
        pages += list(&page, "data").len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={}", percent(next));
    }
    assert_eq!((rows.len(), totals), (pages, BTreeSet::from([i64::try_from(pages).expect("few rows")])), "{line}");
    assert!(pages >= least, "{line}: {pages} rows only");
    let whole = app.get(&format!("{line}{joint}limit=200")).await.ok();
    assert_eq!((list(&whole, "data").len(), whole.get("total")), (pages, None), "{line}");
    app.get(&format!("{line}{joint}limit=0")).await.refused(400, "invalid_query");
    app.get(&format!("{line}{joint}cursor=x")).await.refused(400, "invalid_cursor");
}

async fn every_list_walks_its_rows_once_and_tells_how_many_there_are(app: &App) {
    let ada = app.person(ada()).await;
    for n in 0..3 {
        app.post("/v1/properties").json(json!({"key": format!("key{n}"), "type": "text"})).await.created();
        app.post("/v1/api-keys").json(json!({"name": format!("k{n}"), "scopes": ["profiles:read"]})).await.created();
        let everybody = json!({"field": "external_id", "op": "exists"});
        app.post("/v1/segments").json(json!({"name": format!("s{n}"), "filter": everybody})).await.created();
        app.post("/v1/label-rules").json(json!({"label": format!("rule{n}"), "filter": everybody})).await.created();
        app.put(&path(&ada, &format!("/labels/l{n}"))).await.ok();
        for (channel, status) in [("email", "opted_in"), ("sms", "opted_out")] {
            app.put(&path(&ada, &format!("/consents/{channel}"))).json(json!({"status": status, "source": format!("form {n}")})).await.ok();
        }
        app.put(&path(&ada, &format!("/consents/channel{n}"))).json(json!({"status": "pending"})).await.ok();
        let event = |kind: &str, channel: &str, hour: i64| json!({"profile_id": ada["id"], "type": kind, "channel": channel, "occurred_at": format!("2026-01-0{}T{hour:02}:00:00Z", n + 1)});
        let events = [event("order", "web", 8), event("order", "web", 9), event("call", "phone", 9)];
        app.post("/v1/events").json(json!({"events": events})).await.ok();
        app.post("/v1/track").json(json!({"event": "x", "userId": "undefined"})).await;
        let other = app.person(json!({"external_id": format!("other{n}")})).await;
        let merge = merge(app, &app.read(id(&ada)).await, &other).await;
        if n == 1 {
            revert(app, &merge).await;
        }
        let gone = app.person(json!({"external_id": format!("gone{n}"), "email": format!("gone{n}@example.com")})).await;
        app.delete(&path(&gone, "?suppress=true")).await.ok();
    }
    let file = "email\nx\ny\nz\n";
    let job = app.post("/v1/imports").bytes("text/csv", file).await.is(202);
    finished(app, &job).await;
    eventually("the segments are there", async || {
        let page = app.get("/v1/segments").await.ok();
        list(&page, "data").iter().all(|segment| segment["status"] == "live").then_some(())
    })
    .await;
    eventually("all jobs have ended", async || {
        let page = app.get("/v1/jobs?limit=200").await.ok();
        list(&page, "data").iter().all(|job| job["status"] == "succeeded").then_some(())
    })
    .await;
    let session = app.get(&path(&ada, "/sessions?channel=web")).await.ok()["data"][0].clone();
    for (line, least) in [
        ("/v1/properties".to_owned(), 3),
        ("/v1/api-keys".to_owned(), 4),
        ("/v1/segments".to_owned(), 3),
        ("/v1/label-rules".to_owned(), 3),
        ("/v1/labels".to_owned(), 6),
        ("/v1/jobs".to_owned(), 7),
        ("/v1/jobs?kind=import".to_owned(), 1),
        ("/v1/jobs?status=succeeded".to_owned(), 7),
        ("/v1/jobs?status=failed".to_owned(), 0),
        (format!("/v1/jobs/{}/errors", id(&job)), 3),
        ("/v1/suppressions".to_owned(), 6),
        ("/v1/rejected-events".to_owned(), 3),
        ("/v1/webhooks".to_owned(), 0),
        ("/v1/audit-log".to_owned(), 15),
        ("/v1/audit-log?action=api_key.created".to_owned(), 3),
        (format!("/v1/audit-log?target_type=profile&from={}", "2026-01-01"), 0),
        (path(&ada, "/labels"), 6),
        (path(&ada, "/segments"), 3),
        (path(&ada, "/consents"), 5),
        (path(&ada, "/consents/email/history"), 3),
        (path(&ada, "/history"), 10),
        (path(&ada, "/history?field=labels"), 3),
        (path(&ada, "/merges"), 3),
        (path(&ada, "/duplicates"), 0),
        (path(&ada, "/sessions"), 9),
        (path(&ada, "/sessions?channel=phone"), 3),
        (path(&ada, "/timeline"), 20),
        (path(&ada, "/timeline?type=order"), 6),
        (path(&ada, "/timeline?type=system"), 10),
        (path(&ada, "/timeline?type=system.merged"), 3),
        (path(&ada, "/timeline?type=order&type=call&type=system.merged"), 12),
        (path(&ada, "/timeline?system=false"), 9),
        (path(&ada, "/timeline?system=true&type=order"), 0),
        (path(&ada, "/timeline?channel=phone"), 3),
        (path(&ada, "/timeline?from=2026-01-02&to=2026-01-03"), 3),
        (path(&ada, &format!("/timeline?session_id={}", id(&session))), 1),
        (format!("/v1/sessions/{}/events", id(&session)), 1),
        (format!("/v1/segments/{}/profiles", id(&app.get("/v1/segments").await.ok()["data"][0])), 1),
    ] {
        row_by_row(app, &line, least).await;
    }
}

async fn crowd(app: &App, size: usize) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let names = ["Ada", "ada", "Ádám", "Zoë", "zebra", "Łukasz", "王", "Émile", "emile", "O'Brien", "_", "10", "9"];
    let bodies: Vec<Value> = (0..size)
        .map(|n| {
            let mut body = json!({"external_id": format!("p{n:04}")});
            // Equal names and no name at all: the order must still be total.
            if rng.random_range(0..4) != 0 {
                body["name"] = names[rng.random_range(0..names.len())].into();
            }
            body
        })
        .collect();
    // Batches share an instant, single writes have their own.
    let (batched, single) = bodies.split_at(size * 2 / 3);
    app.people(batched).await;
    for body in single {
        app.person(body.clone()).await;
    }
    for n in (0..size).step_by(7) {
        let person = app.get(&format!("/v1/profiles/lookup?external_id=p{n:04}")).await.ok();
        app.patch(&path(&person, "")).json(json!({"city": "Rome"})).await.ok();
    }
}

async fn walk(app: &App, sort: &str, limit: usize) -> Vec<String> {
    app.find(json!({"sort": sort, "limit": limit})).await
}

pub(super) async fn a_list_holds_whole_profiles(app: &App) {
    let ada = app.person(ada()).await;
    let answer = app.get("/v1/profiles").await;
    same(&answer.ok(), &json!({"data": [ada], "next_cursor": null}));
    same(&app.search(json!({})).await, &json!({"data": [ada], "next_cursor": null}));
}

pub(super) async fn every_sort_walks_everyone_once_each_way(app: &App) {
    crowd(app, 150).await;
    let default: Vec<String> = app.find(json!({})).await;
    for pair in SORTS.chunks(2) {
        let whole = walk(app, pair[0], 200).await;
        assert_eq!(whole.len(), 150, "{}", pair[0]);
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 150, "{}: somebody comes twice", pair[0]);
        let mut reversed = walk(app, pair[1], 200).await;
        reversed.reverse();
        assert_eq!(whole, reversed, "{} is not the reverse of {}", pair[1], pair[0]);
        for limit in [1, 7, 50, 149, 150] {
            assert_eq!(walk(app, pair[0], limit).await, whole, "{} by {limit}", pair[0]);
        }
    }
    assert_eq!(default, walk(app, "-last_seen_at", 50).await, "newest seen first is the default");
    // Filters and searches walk in the same order.
    for sort in SORTS {
        let some: Vec<String> =
            app.find(json!({"sort": sort, "limit": 11, "filter": {"field": "city", "op": "eq", "value": "Rome"}})).await;
        let all = walk(app, sort, 200).await;
        assert_eq!(some, all.iter().filter(|e| some.contains(e)).cloned().collect::<Vec<_>>(), "{sort}");
        assert_eq!(some.len(), 22);
        let searched = app.find(json!({"sort": sort, "limit": 11, "q": "p00"})).await;
        assert_eq!(searched, all.iter().filter(|e| e.contains("p00")).cloned().collect::<Vec<_>>(), "{sort}");
    }
}

pub(super) async fn pages_stay_stable_while_people_are_added(app: &App) {
    crowd(app, 60).await;
    for sort in SORTS {
        let before: Vec<String> = walk(app, sort, 200).await;
        let mut walked = Vec::new();
        let mut cursor = Value::Null;
        let mut page_number = 0;
        loop {
            let mut body = json!({"sort": sort, "limit": 9});
            if !cursor.is_null() {
                body["cursor"] = cursor;
            }
            let page = app.search(body).await;
            walked.extend(list(&page, "data").iter().map(|p| p["external_id"].as_str().unwrap_or_default().to_owned()));
            for (n, name) in ["Aaa", "Mmm", "Zzz"].iter().enumerate() {
                app.person(json!({"external_id": format!("new-{sort}-{page_number}-{n}"), "name": name})).await;
            }
            page_number += 1;
            cursor = page["next_cursor"].clone();
            if cursor.is_null() || page_number > 60 {
                break;
            }
        }
        assert!(page_number < 60, "{sort}: the walk never ends while people are added");
        let old: Vec<String> = walked.iter().filter(|e| before.contains(e)).cloned().collect();
        assert_eq!(old, before, "{sort}: those who were there are all walked, once, in order");
        assert_eq!(walked.iter().collect::<BTreeSet<_>>().len(), walked.len(), "{sort}: somebody comes twice");
        for person in app.find(json!({"q": "new-", "limit": 200})).await {
            let person = app.get(&format!("/v1/profiles/lookup?external_id={}", percent(&person))).await.ok();
            app.delete(&path(&person, "")).await.ok();
        }
    }
}

pub(super) async fn names_sort_as_people_read_them_and_nameless_come_last(app: &App) {
    for (n, name) in ["zebra", "Émile", "adam", "Ada", "Zoë", "emily"].iter().enumerate() {
        app.person(json!({"external_id": format!("p{n}"), "name": name})).await;
    }
    app.person(json!({"external_id": "nameless"})).await;
    let names = async |sort: &str| -> Vec<Value> {
        list(&app.search(json!({"sort": sort})).await, "data").iter().map(|p| p["name"].clone()).collect()
    };
    let mut expected: Vec<Value> = ["Ada", "adam", "Émile", "emily", "zebra", "Zoë"].iter().map(|n| json!(n)).collect();
    expected.push(Value::Null);
    assert_eq!(names("name").await, expected);
    expected.reverse();
    assert_eq!(names("-name").await, expected);
}

pub(super) async fn the_newest_change_comes_first(app: &App) {
    let a = app.person(json!({"external_id": "a"})).await;
    app.person(json!({"external_id": "b"})).await;
    app.person(json!({"external_id": "c"})).await;
    assert_eq!(walk(app, "-created_at", 50).await, ["c", "b", "a"]);
    app.patch(&path(&a, "")).json(json!({"city": "Rome"})).await.ok();
    assert_eq!(walk(app, "-updated_at", 50).await, ["a", "c", "b"]);
    assert_eq!(walk(app, "-created_at", 50).await, ["c", "b", "a"]);
}

pub(super) async fn a_cursor_belongs_to_its_question(app: &App) {
    crowd(app, 30).await;
    let question = json!({"q": "p", "sort": "name", "limit": 5, "filter": {"field": "external_id", "op": "exists"}});
    let cursor = app.search(question.clone()).await["next_cursor"].clone();
    for (field, value) in [
        ("q", json!("p0")),
        ("sort", json!("-name")),
        ("sort", json!("created_at")),
        ("filter", json!({"field": "name", "op": "exists"})),
        ("filter", Value::Null),
    ] {
        let mut other = question.clone();
        other["cursor"] = cursor.clone();
        other[field] = value.clone();
        app.post("/v1/profiles/search").json(other).await.refused(400, "cursor_mismatch");
    }
    // The size of a page, and whether it is counted, are no part of the question.
    let mut same_question = question.clone();
    same_question["cursor"] = cursor.clone();
    same_question["limit"] = 3.into();
    same_question["count"] = true.into();
    // Nor is the order in which a client writes the members of an object.
    same_question["filter"] = json!({"op": "exists", "field": "external_id"});
    assert_eq!(app.search(same_question).await["data"].as_array().map(Vec::len), Some(3));
    // Nor is it worth anything to the neighbour.
    let mut stolen = question;
    stolen["cursor"] = cursor;
    let answer = app.neighbour().post("/v1/profiles/search").json(stolen).await;
    assert_eq!(answer.status, 400, "{answer}");
}

pub(super) async fn a_tampered_cursor_is_refused(app: &App) {
    crowd(app, 20).await;
    let cursor = app.search(json!({"limit": 5})).await["next_cursor"].as_str().unwrap_or_default().to_owned();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for _ in 0..100 {
        let mut forged = cursor.clone().into_bytes();
        let place = rng.random_range(0..forged.len());
        let letter = alphabet[rng.random_range(0..alphabet.len())];
        if forged[place] == letter {
            continue;
        }
        forged[place] = letter;
        // The unused bits of the last character may not change what it stands for.
        if place + 1 == forged.len() {
            continue;
        }
        let forged = String::from_utf8_lossy(&forged).into_owned();
        let answer = app.post("/v1/profiles/search").json(json!({"limit": 5, "cursor": forged})).await;
        assert_eq!(answer.status, 400, "{forged}\n{answer}");
        answer.problem();
    }
    for forged in [
        "",
        "x",
        "null",
        "AAAA",
        "' OR 1=1",
        "😀",
        &cursor[1..],
        &cursor[..cursor.len() - 2],
        &format!("{cursor}{cursor}"),
        &"A".repeat(10_000),
    ] {
        let answer = app.post("/v1/profiles/search").json(json!({"limit": 5, "cursor": forged})).await;
        assert_eq!(answer.status, 400, "{forged}\n{answer}");
        let code = answer.problem()["code"].clone();
        assert!(code == "invalid_cursor" || code == "cursor_mismatch", "{answer}");
    }
}

pub(super) async fn each_parameter_filters(app: &App) {
    app.person(json!({"external_id": "a", "name": "Ada", "country": "GB", "labels": ["vip"]})).await;
    let b = app.person(json!({"external_id": "b", "name": "Bob", "country": "IE"})).await;
    let get = async |query: String| -> Vec<String> {
        let page = app.get(&format!("/v1/profiles?sort=created_at&{query}")).await.ok();
        list(&page, "data").iter().map(|p| p["external_id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let at = percent(b["created_at"].as_str().unwrap_or_default());
    for (query, expected) in [
        ("q=ada".to_owned(), &["a"][..]),
        ("label=vip".to_owned(), &["a"]),
        ("label=VIP".to_owned(), &[]),
        ("country=IE".to_owned(), &["b"]),
        ("channel=carrier_pigeon".to_owned(), &[]),
        ("segment=0192f0c1-2d3e-7000-8000-000000000000".to_owned(), &[]),
        (format!("created_after={at}"), &["b"]),
        (format!("created_before={at}"), &["a"]),
        ("created_after=2020-01-01".to_owned(), &["a", "b"]),
        ("created_before=2020-01-01T00:00:00Z".to_owned(), &[]),
        ("seen_after=2020-01-01".to_owned(), &[]),
        ("seen_before=2099-01-01".to_owned(), &[]),
        ("q=b&country=IE".to_owned(), &["b"]),
        ("q=b&country=GB".to_owned(), &[]),
    ] {
        assert_eq!(get(query.clone()).await, expected, "{query}");
    }
}

pub(super) async fn repeated_parameters_must_all_match(app: &App) {
    app.person(json!({"external_id": "a", "labels": ["vip", "beta"]})).await;
    app.person(json!({"external_id": "b", "labels": ["vip"]})).await;
    let page = app.get("/v1/profiles?label=vip&label=beta&count=true").await.ok();
    assert_eq!((&page["total"], &page["data"][0]["external_id"]), (&json!(1), &json!("a")));
    assert_eq!(app.get("/v1/profiles?label=vip&count=true").await.ok()["total"], 2);
}

pub(super) async fn bad_parameters_are_refused_by_name(app: &App) {
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1e3", "limit"),
        ("limit=5&limit=6", "limit"),
        ("sort=email", "sort"),
        ("sort=created_at;drop", "sort"),
        ("sort=-", "sort"),
        ("count=maybe", "count"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2026-13-01", "created_before"),
        ("seen_after=10000-01-01T00:00:00Z", "seen_after"),
        ("country=UK", "country"),
        ("segment=none", "segment"),
        ("q=a&q=b", "q"),
        ("colour=red", "colour"),
        ("filter=%7B%7D", "filter"),
        ("workspace_id=1", "workspace_id"),
        ("Limit=5", "Limit"),
    ] {
        let problem = app.get(&format!("/v1/profiles?{query}")).await.refused(400, "invalid_query");
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains(name)), "{query}: {}", problem["detail"]);
    }
    for (body, pointer) in [
        (json!({"limit": 0}), "/limit"),
        (json!({"limit": 201}), "/limit"),
        (json!({"limit": "5"}), "/limit"),
        (json!({"sort": "email"}), "/sort"),
        (json!({"sort": 1}), "/sort"),
        (json!({"count": 1}), "/count"),
        (json!({"label": "x"}), "/label"),
    ] {
        let problem = app.post("/v1/profiles/search").json(body).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
}

pub(super) async fn pages_have_fifty_people_unless_told_otherwise(app: &App) {
    let bodies: Vec<Value> = (0..201).map(|n| json!({"external_id": format!("p{n}")})).collect();
    app.people(&bodies).await;
    let size = |page: &Value| list(page, "data").len();
    assert_eq!(size(&app.get("/v1/profiles").await.ok()), 50);
    assert_eq!(size(&app.search(json!({})).await), 50);
    let page = app.get("/v1/profiles?limit=200").await.ok();
    assert_eq!(size(&page), 200);
    let last = app.get(&format!("/v1/profiles?limit=200&cursor={}", percent(page["next_cursor"].as_str().unwrap_or_default()))).await.ok();
    assert_eq!((size(&last), &last["next_cursor"]), (1, &Value::Null));
    // A page that ends exactly with the last person is the last page.
    assert_eq!(app.get("/v1/profiles?limit=1&q=p200").await.ok()["next_cursor"], Value::Null);
}
