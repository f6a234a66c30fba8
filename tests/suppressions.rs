//! `DELETE /v1/profiles/{id}?suppress=true` and `/v1/suppressions`: whoever was erased on that condition does not come back
//! by anybody's import, form or SDK, until the suppression is lifted.

use futures_util::future::join_all;
use people_tests::{App, Database, Engine, Server, engine_stories, redact, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list, nobody, path};

stories![
    explicit_writes_are_refused_with_the_remedy,
    items_of_a_batch_are_refused_one_by_one,
    events_and_messages_are_dropped_and_counted,
    the_list_tells_kinds_and_times_and_no_values,
    an_identity_leads_to_its_entry_and_a_lifted_one_is_free,
    every_spelling_of_a_telephone_is_the_same_line,
    it_holds_within_the_request_that_suppresses,
    an_alias_brings_nobody_back,
    only_what_was_suppressed_is,
    whoever_is_erased_while_messages_arrive_does_not_slip_back,
];

engine_stories![the_key_may_come_later_and_must_stay_the_same];

async fn suppressed(app: &App, body: Value) -> Value {
    let person = app.person(body).await;
    app.delete(&path(&person, "?suppress=true")).await.ok()
}

async fn entries(app: &App) -> Vec<Value> {
    list(&app.get("/v1/suppressions").await.ok(), "data").to_vec()
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = entries.iter().filter_map(|entry| entry["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds
}

async fn explicit_writes_are_refused_with_the_remedy(app: &App) {
    suppressed(app, ada()).await;
    let grace = app.person(nobody("grace")).await;
    let refused = app.post("/v1/profiles").json(json!({"email": " ADA@example.com "})).await.refused(409, "identity_suppressed");
    assert_eq!(refused["errors"][0]["pointer"], "/email", "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("/v1/suppressions")), "{refused}");
    let body =
        json!({"external_id": "new", "identities": [{"kind": "device", "value": "d"}, {"kind": "email", "value": "ada@example.com"}]});
    let refused = app.post("/v1/profiles/upsert").json(body).await.refused(409, "identity_suppressed");
    assert_eq!(refused["errors"][0]["pointer"], "/identities/1", "{refused}");
    let upsert = json!({"external_id": "grace", "phone": "+44 20 7946 0000"});
    app.post("/v1/profiles/upsert").json(upsert).await.refused(409, "identity_suppressed");
    let refused = app.patch(&path(&grace, "")).json(json!({"email": "ada@example.com"})).await.refused(409, "identity_suppressed");
    assert_eq!(refused["errors"][0]["pointer"], "/email", "{refused}");
    let identity = json!({"kind": "email", "value": "ada@example.com"});
    let refused = app.post(&path(&grace, "/identities")).json(identity).await.refused(409, "identity_suppressed");
    assert_eq!(refused["errors"][0]["pointer"], "/value", "{refused}");
    same(&app.read(id(&grace)).await, &grace);
    assert_eq!(app.find(json!({})).await, ["grace"]);
}

async fn items_of_a_batch_are_refused_one_by_one(app: &App) {
    let person = app.person(ada()).await;
    let batch = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [
            {"op": "delete", "id": id(&person), "suppress": true}, {"op": "create", "email": "ada@example.com"},
            {"op": "create", "external_id": "fine"}, {"op": "upsert", "external_id": "crm-17"}, {"op": "delete", "id": id(&person), "suppress": 1}
        ]}))
        .await
        .ok();
    let statuses: Vec<&Value> = list(&batch, "results").iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [200, 409, 201, 409, 422], "{batch}");
    assert_eq!(batch["results"][1]["error"]["code"], "identity_suppressed");
    assert_eq!(batch["results"][1]["error"]["errors"][0]["pointer"], "/items/1/email", "{batch}");
    assert_eq!(app.find(json!({})).await, ["fine"]);
}

async fn events_and_messages_are_dropped_and_counted(app: &App) {
    suppressed(app, ada()).await;
    app.person(nobody("grace")).await;
    let event = |kind: &str, value: &str| json!({"identities": [{"kind": kind, "value": value}], "type": "page"});
    let mut events = json!({"events": [event("email", "Ada@example.com"), event("external_id", "grace"), event("phone", "+442079460000")]});
    // Hers among others: the whole event is dropped.
    events["events"][2]["identities"] = json!([{"kind": "phone", "value": "+442079460000"}, {"kind": "external_id", "value": "grace"}]);
    let answer = app.post("/v1/events").idempotency_key("again").json(events.clone()).await.ok();
    same(
        &redact(&answer),
        &json!({"results": [{"status": 200, "suppressed": true}, {"status": 201, "id": "<id>", "profile_id": "<id>"}, {"status": 200, "suppressed": true}]}),
    );
    same(&app.post("/v1/events").idempotency_key("again").json(events).await.ok(), &answer);
    let alone = app.post("/v1/identify").json(json!({"userId": "crm-17", "traits": {"plan": "pro"}})).await.ok();
    assert_eq!(alone, json!({"success": true, "accepted": 0, "suppressed": 1, "rejected": []}));
    let batch = app
        .post("/v1/batch")
        .json(json!({"batch": [
            {"type": "track", "userId": "grace", "event": "x"}, {"type": "track", "userId": "crm-17", "event": "x"}, {"type": "track", "event": "x"},
            {"type": "identify", "userId": "new", "traits": {"email": "ada@example.com"}}
        ]}))
        .await
        .ok();
    assert_eq!((&batch["accepted"], &batch["suppressed"]), (&json!(1), &json!(2)), "{batch}");
    assert_eq!((list(&batch, "rejected").len(), &batch["rejected"][0]["index"]), (1, &json!(2)), "{batch}");
    assert_eq!(app.find(json!({})).await, ["grace"], "nobody came of a dropped message");
    let dropped = |kind: &str, entries: &[Value]| entries.iter().find(|e| e["kind"] == kind).map(|e| e["dropped"].clone());
    let all = entries(app).await;
    assert_eq!(
        (dropped("email", &all), dropped("phone", &all), dropped("external_id", &all)),
        (Some(json!(2)), Some(json!(1)), Some(json!(2)))
    );
    assert!(all.iter().all(|e| e["last_dropped_at"].is_string()), "{all:?}");
}

async fn an_alias_brings_nobody_back(app: &App) {
    suppressed(app, json!({"external_id": "crm-17", "identities": [{"kind": "anonymous_id", "value": "device-of-ada"}]})).await;
    for former in ["crm-17", "device-of-ada"] {
        let answer = app.post("/v1/alias").json(json!({"userId": "fresh", "previousId": former})).await.ok();
        assert_eq!((&answer["accepted"], &answer["suppressed"]), (&json!(0), &json!(1)), "{former}: {answer}");
    }
    assert_eq!(app.find(json!({})).await, [""; 0]);
    assert!(entries(app).await.iter().all(|entry| entry["dropped"] == 1));
}

async fn the_list_tells_kinds_and_times_and_no_values(app: &App) {
    assert_eq!(app.get("/v1/suppressions").await.ok(), json!({"data": [], "next_cursor": null, "counts": {}}));
    let receipt = suppressed(app, ada()).await;
    let list = app.get("/v1/suppressions").await.ok();
    assert_eq!(list["counts"], json!({"email": 1, "phone": 1, "external_id": 1}));
    for entry in crate::cast::list(&list, "data") {
        same(
            &redact(entry),
            &json!({"id": "<id>", "kind": entry["kind"], "erasure_id": "<id>", "suppressed_at": "<time>", "actor": entry["actor"], "dropped": 0, "last_dropped_at": null}),
        );
        assert_eq!((&entry["erasure_id"], &entry["suppressed_at"]), (&receipt["id"], &receipt["erased_at"]));
        assert!(entry["actor"].as_str().is_some_and(|actor| actor.starts_with("key:")), "{entry}");
    }
    // Nor is there a value in the database.
    for value in ["ada@example.com", "442079460000", "crm-17"] {
        let left: Vec<String> =
            crate::erasures::mentions(&app.database(), value).await.into_iter().filter(|c| c.starts_with("suppressions")).collect();
        assert_eq!(left, [""; 0], "{value}");
    }
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/suppressions?limit=2{cursor}")).await.ok();
        walked.extend(crate::cast::list(&page, "data").iter().map(|e| id(e).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, crate::cast::list(&list, "data").iter().map(|e| id(e).to_owned()).collect::<Vec<_>>());
    assert_eq!(app.neighbour().get("/v1/suppressions").await.ok()["data"], json!([]));
}

async fn an_identity_leads_to_its_entry_and_a_lifted_one_is_free(app: &App) {
    suppressed(app, ada()).await;
    let lookup = |identities: Value| app.post("/v1/suppressions/lookup").json(json!({"identities": identities}));
    let answer =
        lookup(json!([{"kind": "email", "value": " Ada@Example.com"}, {"kind": "email", "value": "grace@example.com"}])).await.ok();
    assert_eq!(answer["missing"], json!([{"kind": "email", "value": "grace@example.com"}]));
    let entry = answer["found"][0]["suppression"].clone();
    assert_eq!((&answer["found"][0]["value"], &entry["kind"]), (&json!(" Ada@Example.com"), &json!("email")));
    let narrow = app.with_scopes(&["profiles:read", "profiles:write"]).await;
    narrow.delete(&format!("/v1/suppressions/{}", id(&entry))).await.refused(403, "missing_scope");
    app.neighbour().delete(&format!("/v1/suppressions/{}", id(&entry))).await.refused(404, "not_found");
    app.delete(&format!("/v1/suppressions/{}", id(&entry))).await.no_content();
    app.delete(&format!("/v1/suppressions/{}", id(&entry))).await.refused(404, "not_found");
    app.person(json!({"email": "ada@example.com"})).await;
    // The others of hers are still barred.
    app.post("/v1/profiles").json(nobody("crm-17")).await.refused(409, "identity_suppressed");
    lookup(json!([])).await.refused_at("/identities", "limit_exceeded");
    lookup(json!([{"kind": "email", "value": "nonsense"}])).await.refused_at("/identities/0/value", "invalid_email");
    let nothing = app
        .neighbour()
        .post("/v1/suppressions/lookup")
        .json(json!({"identities": [{"kind": "external_id", "value": "crm-17"}]}))
        .await
        .ok();
    assert_eq!(nothing["found"], json!([]), "another workspace's list is its own");
}

async fn every_spelling_of_a_telephone_is_the_same_line(app: &App) {
    suppressed(app, json!({"phone": "+55 11 98765-4321"})).await;
    for spelling in ["+5511987654321", "+55 (11) 8765-4321", "0055 11 98765 4321"] {
        app.post("/v1/profiles").json(json!({"phone": spelling})).await.refused(409, "identity_suppressed");
    }
    let found = app.post("/v1/suppressions/lookup").json(json!({"identities": [{"kind": "phone", "value": "+551187654321"}]})).await.ok();
    assert_eq!(list(&found, "found").len(), 1);
    assert_eq!(kinds(&entries(app).await), ["phone"]);
    app.person(json!({"phone": "+55 11 98765-4322"})).await;
}

async fn it_holds_within_the_request_that_suppresses(app: &App) {
    let person = app.person(json!({"external_id": "crm-17"})).await;
    let batch = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [{"op": "delete", "id": id(&person), "suppress": true}, {"op": "create", "external_id": "crm-17"}]}))
        .await
        .ok();
    assert_eq!(batch["results"][1]["error"]["code"], "identity_suppressed", "{batch}");
}

async fn only_what_was_suppressed_is(app: &App) {
    // Erased without it: free at once, also in a workspace that has a list.
    suppressed(app, nobody("one")).await;
    let two = app.person(nobody("two")).await;
    app.delete(&path(&two, "")).await.ok();
    app.person(nobody("two")).await;
    // The same value of another kind is another identity; the same in another workspace is another person.
    app.person(json!({"identities": [{"kind": "device", "value": "one"}]})).await;
    app.neighbour().person(nobody("one")).await;
    let three = app.person(nobody("three")).await;
    app.delete(&path(&three, "?suppress=maybe")).await.refused(400, "invalid_query");
    app.delete(&path(&three, "?suppress=false")).await.ok();
    assert_eq!(entries(app).await.len(), 1);
}

/// Messages and imports that are under way while a person is erased either come before, and go with them, or after, and
/// are dropped or refused. The first suppression of a workspace is the hard one: nobody looks at the list before.
async fn whoever_is_erased_while_messages_arrive_does_not_slip_back(app: &App) {
    for round in 0..12 {
        let fresh = if round % 2 == 0 { app.neighbour() } else { app.clone() };
        let who = format!("racing-{round}");
        let person = fresh.person(nobody(&who)).await;
        let events = || async {
            let event = json!({"identities": [{"kind": "external_id", "value": who}], "type": "page"});
            let answer = fresh.post("/v1/events").json(json!({"events": [event]})).await.ok();
            let status = answer["results"][0]["status"].as_u64();
            assert!(matches!(status, Some(200 | 201)), "{answer}");
        };
        let upserts = || async {
            let answer = fresh.post("/v1/profiles/upsert").json(nobody(&who)).await;
            assert!(matches!(answer.status, 200 | 409), "{answer}");
        };
        let erase = async {
            fresh.delete(&path(&person, "?suppress=true")).await.ok();
        };
        tokio::join!(
            join_all((0..12).map(|_| events())),
            join_all((0..12).map(|_| upserts())),
            erase,
            join_all((0..12).map(|_| events())),
            join_all((0..12).map(|_| upserts()))
        );
        fresh.get(&format!("/v1/profiles/lookup?external_id={who}")).await.refused(404, "not_found");
        assert_eq!(fresh.find(json!({"q": who})).await, [""; 0], "round {round}");
        fresh.post("/v1/profiles").json(nobody(&who)).await.refused(409, "identity_suppressed");
    }
}

/// The installation's key is added later, and the list goes on; another key, or none any more, and nothing starts: the
/// list would recognise nobody.
async fn the_key_may_come_later_and_must_stay_the_same(engine: Engine) {
    const ONE: &str = "0123456789abcdef0123456789abcdef";
    let server = Server::on(Database::create(engine).await, &[]);
    suppressed(&App::default_of(&server), ada()).await;
    let hash = "SELECT hash FROM suppressions ORDER BY kind";
    let before = server.database.rows(hash).await;
    let server = Server::on(server.kill(), &[("PEOPLE_SUPPRESSION_KEY", ONE)]);
    let app = App::default_of(&server);
    app.post("/v1/profiles").json(json!({"email": "ada@example.com"})).await.refused(409, "identity_suppressed");
    let after = server.database.rows(hash).await;
    assert!(before.len() == 3 && after.len() == 3 && before.iter().all(|row| !after.contains(row)), "hashed again: {before:?} {after:?}");
    suppressed(&app, nobody("under the key")).await;
    let database = server.kill();
    for key in ["", "another-key-another-key-another-key"] {
        let url = database.url.as_str();
        let mut environment = vec![("DATABASE_URL", url), ("PEOPLE_LISTEN", "127.0.0.1:0")];
        if !key.is_empty() {
            environment.push(("PEOPLE_SUPPRESSION_KEY", key));
        }
        let answer = people_tests::cli(&["serve"], &environment);
        assert!(answer.code.is_some_and(|code| code != 0) && answer.stderr.contains("PEOPLE_SUPPRESSION_KEY"), "{answer:?}");
        assert!(key.is_empty() || !answer.stderr.contains(key), "{answer:?}");
    }
    let server = Server::on(database, &[("PEOPLE_SUPPRESSION_KEY", ONE)]);
    App::default_of(&server).post("/v1/profiles").json(nobody("under the key")).await.refused(409, "identity_suppressed");
}
