//! `/v1/labels`: the catalogue. Renaming or removing a label reaches everybody who carries it, by a job that survives
//! `kill -9` and changes each person once; nothing is lost of who put a label on.

use people_tests::{App, Engine, Server, engine_stories, eventually, percent, stories};
use serde_json::{Value, json};

use crate::{
    bulk::{confirmed, finished},
    cast::{ada, changes, grace, id, list, nobody, path, version},
};

stories![
    a_label_is_made_and_read,
    a_retry_makes_no_second_label,
    what_is_no_label_is_not_made,
    a_label_tells_how_many_carry_it,
    a_colour_and_a_description_change_alone,
    one_nobody_carries_is_renamed_and_removed_at_once,
    a_renamed_label_reaches_everybody,
    a_removed_label_leaves_everybody,
    a_name_that_is_there_is_not_renamed_to,
    a_renamed_label_keeps_who_put_it_on,
    one_that_rules_or_segments_use_is_neither_renamed_nor_removed,
    the_catalogue_is_changed_with_its_scope_alone,
    a_neighbours_labels_stay_as_they_are,
];
engine_stories![
    a_label_that_goes_is_not_put_on_anybody,
    of_two_labels_that_become_one_the_one_by_hand_is_kept,
    a_cancelled_change_leaves_both_labels_to_use,
    a_rename_outlives_kill_nine_and_changes_each_person_once,
    somebody_who_comes_by_the_label_meanwhile_is_reached,
];

async fn make(app: &App, name: &str) -> Value {
    app.post("/v1/labels").json(json!({"name": name})).await.created()
}

async fn catalogue(app: &App) -> Vec<String> {
    let all = app.get("/v1/labels?limit=200").await.ok();
    list(&all, "data").iter().filter_map(|label| label["name"].as_str().map(str::to_owned)).collect()
}

async fn rename(app: &App, from: &str, to: &str) -> Value {
    app.patch(&format!("/v1/labels/{from}")).json(json!({"name": to})).await.is(202)
}

async fn with_label(app: &App, label: &str) -> Vec<String> {
    app.filtered(json!({"field": "labels", "op": "has", "value": label})).await
}

async fn carried(app: &App, profile: &Value) -> Vec<Value> {
    list(&app.get(&path(profile, "/labels")).await.ok(), "data").to_vec()
}

/// A label as if a rule had put it on.
pub(crate) async fn by_a_rule(app: &App, profile: &Value, label: &str) {
    let literal = |id: &str| if app.engine.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) };
    let (rule, profile) = (literal(RULE), literal(id(profile)));
    let sql = format!(
        "UPDATE profile_labels SET source = 'rule', rule_id = {rule}, actor = 'rule:{RULE}' WHERE profile_id = {profile} AND label = '{label}'"
    );
    app.database().rows(&sql).await;
}

pub(crate) const RULE: &str = "0192f0c1-7d7e-7aaa-8000-00000000000a";

async fn a_label_is_made_and_read(app: &App) {
    let sent = json!({"name": "  vip & co/1 ", "color": "#1F6FEB", "description": " Answered within the hour "});
    let answer = app.post("/v1/labels").json(sent).await;
    let made = answer.created();
    let told = ["name", "color", "description", "state", "becomes", "job_id", "member_count"].map(|member| made[member].clone());
    assert_eq!(json!(told), json!(["vip & co/1", "#1f6feb", "Answered within the hour", "live", null, null, 0]));
    let location = answer.header("location").expect("where it is read");
    assert_eq!(app.get(location).await.ok(), made);
    assert_eq!(app.get("/v1/labels").await.ok()["data"], json!([made]));
    app.post("/v1/labels").json(json!({"name": "vip & co/1"})).await.refused(409, "label_exists");
    // One that came to be with a person is one of the catalogue.
    app.person(ada()).await;
    app.post("/v1/labels").json(json!({"name": "vip"})).await.refused(409, "label_exists");
    app.get("/v1/labels/nothing").await.refused(404, "not_found");
    app.get("/v1/labels/%00").await.refused(404, "not_found");
}

async fn a_retry_makes_no_second_label(app: &App) {
    let send = |name: &str| app.post("/v1/labels").idempotency_key("once").json(json!({"name": name}));
    let first = send("vip").await;
    let again = send("vip").await;
    assert_eq!((again.created(), again.header("idempotency-replayed")), (first.created(), Some("true")));
    assert_eq!(again.header("location"), first.header("location"));
    send("other").await.refused(422, "idempotency_mismatch");
    assert_eq!(catalogue(app).await, ["vip"]);
}

async fn what_is_no_label_is_not_made(app: &App) {
    make(app, "vip").await;
    for (sent, pointer, code) in [
        (json!({"name": " "}), "/name", "invalid_label"),
        (json!({"name": "a\nb"}), "/name", "invalid_label"),
        (json!({"name": "x".repeat(129)}), "/name", "invalid_label"),
        (json!({"name": "a", "color": "red"}), "/color", "invalid_color"),
        (json!({"name": "a", "color": "#12345"}), "/color", "invalid_color"),
        (json!({"name": "a", "description": "x".repeat(1_001)}), "/description", "too_long"),
        (json!({"name": "a", "source": "manual"}), "/source", "unknown_field"),
    ] {
        app.post("/v1/labels").json(sent.clone()).await.refused_at(pointer, code);
        app.patch("/v1/labels/vip").json(sent).await.refused_at(pointer, code);
    }
    app.post("/v1/labels").json(json!({"color": "#000000"})).await.refused_at("", "missing_field");
    app.patch("/v1/labels/vip").json(json!({"name": null})).await.refused_at("/name", "wrong_type");
    assert_eq!(catalogue(app).await, ["vip"]);
}

async fn a_label_tells_how_many_carry_it(app: &App) {
    app.neighbour().person(ada()).await;
    let count = async || app.get("/v1/labels/vip").await.ok()["member_count"].clone();
    make(app, "vip").await;
    assert_eq!(count().await, 0);
    let ada = app.person(ada()).await;
    app.person(json!({"external_id": "b", "labels": ["vip", "x"]})).await;
    assert_eq!(count().await, 2);
    app.delete(&path(&ada, "")).await.ok();
    assert_eq!(count().await, 1);
}

async fn a_colour_and_a_description_change_alone(app: &App) {
    let ada = app.person(ada()).await;
    let change = async |body: Value| {
        let label = app.patch("/v1/labels/vip").json(body).await.ok();
        assert_eq!(app.get("/v1/labels/vip").await.ok(), label);
        json!([label["name"], label["color"], label["description"], label["member_count"]])
    };
    assert_eq!(change(json!({"color": "#D4A72C", "description": "Few"})).await, json!(["vip", "#d4a72c", "Few", 1]));
    assert_eq!(change(json!({"color": null})).await, json!(["vip", null, "Few", 1]));
    assert_eq!(change(json!({"name": " vip "})).await, json!(["vip", null, "Few", 1]));
    assert_eq!(change(json!({})).await, json!(["vip", null, "Few", 1]));
    assert_eq!(change(json!({"description": ""})).await, json!(["vip", null, null, 1]));
    assert_eq!(app.read(id(&ada)).await, ada);
    app.patch("/v1/labels/nothing").json(json!({"color": null})).await.refused(404, "not_found");
}

async fn one_nobody_carries_is_renamed_and_removed_at_once(app: &App) {
    let made = make(app, "vip").await;
    let renamed = app.patch("/v1/labels/vip").json(json!({"name": "gold", "color": "#d4a72c"})).await.ok();
    assert_eq!((&renamed["name"], &renamed["color"], &renamed["created_at"]), (&"gold".into(), &"#d4a72c".into(), &made["created_at"]));
    app.get("/v1/labels/vip").await.refused(404, "not_found");
    app.delete("/v1/labels/gold").await.no_content();
    app.delete("/v1/labels/gold").await.refused(404, "not_found");
    assert_eq!(catalogue(app).await, [""; 0]);
    assert_eq!(list(&app.get("/v1/jobs").await.ok(), "data").len(), 0);
}

async fn a_renamed_label_reaches_everybody(app: &App) {
    let (ada, grace) = (app.person(ada()).await, app.person(grace()).await);
    let both = app.person(json!({"external_id": "b", "labels": ["vip", "a", "z"]})).await;
    app.patch("/v1/labels/vip").json(json!({"color": "#d4a72c", "description": "Few"})).await.ok();
    let answer = app.patch("/v1/labels/vip").header("x-reason", "new names").json(json!({"name": "gold / 1"})).await;
    let job = answer.is(202);
    assert_eq!(answer.header("location"), Some(format!("/v1/jobs/{}", id(&job)).as_str()));
    let done = finished(app, &job).await;
    let told = ["kind", "status", "total", "processed", "succeeded", "failed", "details"].map(|member| done[member].clone());
    assert_eq!(json!(told), json!(["label_rename", "succeeded", 2, 2, 2, 0, {"label": "vip", "becomes": "gold / 1"}]));
    assert_eq!(app.read(id(&both)).await["labels"], json!(["a", "gold / 1", "z"]));
    assert_eq!(app.read(id(&grace)).await, grace);
    assert_eq!((with_label(app, "vip").await, with_label(app, "gold / 1").await), (vec![], vec!["b".to_owned(), "crm-17".to_owned()]));
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], &entry["reason"]), (&"label_added".into(), &"new names".into()));
    assert_eq!((&entry["actor"], changes(entry)), (&done["created_by"], json!({"labels": [["vip"], ["gold / 1"]]})));
    app.get("/v1/labels/vip").await.refused(404, "not_found");
    let label = app.get(&format!("/v1/labels/{}", percent("gold / 1"))).await.ok();
    let told = ["color", "description", "state", "member_count"].map(|member| label[member].clone());
    assert_eq!(json!(told), json!(["#d4a72c", "Few", "live", 2]));
    // The old name is free.
    let after = app.put(&path(&ada, "/labels/vip")).await.ok();
    assert_eq!((&after["labels"], version(&after)), (&json!(["gold / 1", "vip"]), 3));
    assert_eq!(app.get("/v1/labels/vip").await.ok()["color"], Value::Null);
}

async fn a_removed_label_leaves_everybody(app: &App) {
    let ada = app.person(ada()).await;
    let both = app.person(json!({"external_id": "b", "labels": ["vip", "a"]})).await;
    let job = app.delete("/v1/labels/vip").await.is(202);
    let done = finished(app, &job).await;
    let told = ["kind", "status", "total", "succeeded", "details"].map(|member| done[member].clone());
    assert_eq!(json!(told), json!(["label_removal", "succeeded", 2, 2, {"label": "vip"}]));
    assert_eq!((app.read(id(&ada)).await["labels"].clone(), app.read(id(&both)).await["labels"].clone()), (json!([]), json!(["a"])));
    assert_eq!(with_label(app, "vip").await, [""; 0]);
    assert_eq!((carried(app, &ada).await, catalogue(app).await), (vec![], vec!["a".to_owned()]));
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], changes(entry)), (&"label_removed".into(), json!({"labels": [["vip"], null]})));
    app.get("/v1/labels/vip").await.refused(404, "not_found");
    app.put(&path(&ada, "/labels/vip")).await.ok();
    assert_eq!(app.get("/v1/labels/vip").await.ok()["member_count"], 1);
}

async fn a_name_that_is_there_is_not_renamed_to(app: &App) {
    let ada = app.person(ada()).await;
    make(app, "gold").await;
    let refused = app.patch("/v1/labels/vip").json(json!({"name": "gold"})).await.refused(409, "label_exists");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("POST /v1/bulk")), "the remedy is told: {refused}");
    assert_eq!(app.read(id(&ada)).await, ada);
    // As the remedy says.
    let selection = json!({"filter": {"field": "labels", "op": "has", "value": "vip"}});
    let job = confirmed(app, selection, json!({"type": "add_labels", "labels": ["gold"]})).await.is(202);
    finished(app, &job).await;
    finished(app, &app.delete("/v1/labels/vip").await.is(202)).await;
    assert_eq!((app.read(id(&ada)).await["labels"].clone(), catalogue(app).await), (json!(["gold"]), vec!["gold".to_owned()]));
}

async fn a_renamed_label_keeps_who_put_it_on(app: &App) {
    let (ada, by_rule) = (app.person(ada()).await, app.person(json!({"external_id": "r", "labels": ["vip"]})).await);
    by_a_rule(app, &by_rule, "vip").await;
    let before = (carried(app, &ada).await, carried(app, &by_rule).await);
    assert_eq!((&before.1[0]["source"], &before.1[0]["rule_id"]), (&"rule".into(), &RULE.into()));
    // Another key asks for it.
    let other = app.with_scopes(&["config", "profiles:read"]).await;
    finished(app, &rename(&other, "vip", "gold").await).await;
    let renamed = |labels: Vec<Value>| -> Vec<Value> {
        let renamed = |mut label: Value| {
            label["name"] = "gold".into();
            label
        };
        labels.into_iter().map(renamed).collect()
    };
    assert_eq!(carried(app, &ada).await, renamed(before.0));
    assert_eq!(carried(app, &by_rule).await, renamed(before.1));
}

async fn one_that_rules_or_segments_use_is_neither_renamed_nor_removed(app: &App) {
    app.person(ada()).await;
    let everyone = json!({"field": "external_id", "op": "exists"});
    let reads = json!({"field": "labels", "op": "has", "value": "vip"});
    for (place, body, told) in [
        ("/v1/label-rules", json!({"label": "vip", "filter": everyone, "on_exit": "keep"}), "rule "),
        ("/v1/label-rules", json!({"label": "other", "filter": {"not": reads}}), "rule for other"),
        ("/v1/segments", json!({"name": "Few", "filter": {"all": [everyone, {"any": [reads]}]}}), "segment Few"),
    ] {
        let made = app.post(place).json(body).await.created();
        for refused in [
            app.patch("/v1/labels/vip").json(json!({"name": "gold"})).await.refused(409, "label_in_use"),
            app.delete("/v1/labels/vip").await.refused(409, "label_in_use"),
        ] {
            assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{told:?} in {refused}");
        }
        app.patch("/v1/labels/vip").json(json!({"color": "#000000"})).await.ok();
        let gone = app.delete(&format!("{place}/{}", id(&made))).await.is(202);
        assert_eq!(finished(app, &gone).await["status"], "succeeded");
    }
    finished(app, &rename(app, "vip", "gold").await).await;
    assert_eq!(with_label(app, "gold").await, ["crm-17"]);
}

async fn the_catalogue_is_changed_with_its_scope_alone(app: &App) {
    let ada = app.person(ada()).await;
    let narrow = app.with_scopes(&["profiles:read", "profiles:write", "bulk", "admin"]).await;
    narrow.post("/v1/labels").json(json!({"name": "a"})).await.refused(403, "missing_scope");
    narrow.patch("/v1/labels/vip").json(json!({"name": "a"})).await.refused(403, "missing_scope");
    narrow.delete("/v1/labels/vip").await.refused(403, "missing_scope");
    narrow.get("/v1/labels/vip").await.ok();
    assert_eq!((app.read(id(&ada)).await, catalogue(app).await), (ada, vec!["vip".to_owned()]));
}

async fn a_neighbours_labels_stay_as_they_are(app: &App) {
    let neighbour = app.neighbour();
    let theirs = neighbour.person(ada()).await;
    app.person(ada()).await;
    app.person(json!({"external_id": "b", "labels": ["old"]})).await;
    finished(app, &rename(app, "vip", "gold").await).await;
    finished(app, &app.delete("/v1/labels/old").await.is(202)).await;
    assert_eq!((catalogue(&neighbour).await, neighbour.read(id(&theirs)).await), (vec!["vip".to_owned()], theirs));
}

/// A server that puts jobs in the queue and works on none.
async fn idle(engine: Engine) -> Server {
    Server::on(Server::new(engine).await.kill(), &[("PEOPLE_JOBS", "0")])
}

/// One that works on them, on the same database.
fn at_work(server: Server) -> Server {
    Server::on(server.kill(), &[])
}

async fn a_label_that_goes_is_not_put_on_anybody(engine: Engine) {
    let server = idle(engine).await;
    let app = App::default_of(&server);
    let (ada, b) = (app.person(ada()).await, app.person(json!({"external_id": "b", "labels": ["old", "vip"]})).await);
    let renaming = rename(&app, "vip", "gold").await;
    let removing = app.delete("/v1/labels/old").await.is(202);
    let states = async || {
        let all = app.get("/v1/labels").await.ok();
        json!(list(&all, "data").iter().map(|l| json!([l["name"], l["state"], l["becomes"], l["job_id"]])).collect::<Vec<_>>())
    };
    let going =
        json!([["gold", "live", null, null], ["old", "removing", null, removing["id"]], ["vip", "renaming", "gold", renaming["id"]]]);
    assert_eq!(states().await, going);
    for label in ["vip", "old"] {
        let sent = json!({"external_id": "c", "labels": [label]});
        app.put(&path(&ada, &format!("/labels/{label}"))).await.refused(409, "label_going");
        app.post("/v1/profiles").json(sent.clone()).await.refused(409, "label_going");
        app.post("/v1/profiles/upsert").json(sent.clone()).await.refused(409, "label_going");
        app.post("/v1/profiles/upsert").json(json!({"external_id": "b", "labels": [label]})).await.refused(409, "label_going");
        let batch = json!({"items": [{"op": "create", "external_id": "c", "labels": [label]}, {"op": "upsert", "external_id": "b"}]});
        let results = app.post("/v1/profiles/batch").json(batch).await.ok();
        let told: Vec<Value> = list(&results, "results").iter().map(|r| json!([r["status"], r["error"]["code"]])).collect();
        assert_eq!(json!(told), json!([[409, "label_going"], [200, null]]));
        let preview = json!({"selection": {"ids": [ada["id"]]}, "action": {"type": "add_labels", "labels": [label]}});
        let preview = app.post("/v1/bulk/preview").json(preview).await.ok();
        assert_eq!(preview["sample"][0]["error"]["code"], "label_going");
        app.patch(&format!("/v1/labels/{label}")).json(json!({"name": "new"})).await.refused(409, "label_going");
        app.patch(&format!("/v1/labels/{label}")).json(json!({"color": null})).await.refused(409, "label_going");
        app.delete(&format!("/v1/labels/{label}")).await.refused(409, "label_going");
        app.post("/v1/labels").json(json!({"name": label})).await.refused(409, "label_exists");
        let everyone = json!({"field": "external_id", "op": "exists"});
        app.post("/v1/label-rules").json(json!({"label": label, "filter": everyone})).await.refused(409, "label_going");
        let reads = json!({"name": "them", "filter": {"any": [everyone, {"field": "labels", "op": "has_any", "value": ["x", label]}]}});
        app.post("/v1/segments").json(reads).await.refused(409, "label_going");
    }
    app.patch("/v1/labels/gold").json(json!({"name": "new"})).await.refused(409, "label_going");
    app.delete("/v1/labels/gold").await.refused(409, "label_going");
    assert_eq!((states().await, app.read(id(&b)).await), (going, b.clone()));
    // It can be taken off, and the new name be used.
    let after = app.delete(&path(&ada, "/labels/vip")).await.ok();
    assert_eq!(after["labels"], json!([]));
    app.put(&path(&ada, "/labels/gold")).await.ok();
    let server = at_work(server);
    let app = App::default_of(&server);
    for (job, people) in [(&renaming, 1), (&removing, 1)] {
        let done = finished(&app, job).await;
        assert_eq!((&done["status"], &done["total"], &done["succeeded"]), (&"succeeded".into(), &people.into(), &people.into()));
    }
    assert_eq!(app.read(id(&b)).await["labels"], json!(["gold"]));
    assert_eq!(version(&app.read(id(&ada)).await), 3, "who had lost it was not given it under its new name");
    assert_eq!(catalogue(&app).await, ["gold"]);
    app.put(&path(&ada, "/labels/vip")).await.ok();
}

async fn of_two_labels_that_become_one_the_one_by_hand_is_kept(engine: Engine) {
    let server = idle(engine).await;
    let app = App::default_of(&server);
    let person = async |name: &str| app.person(json!({"external_id": name, "labels": ["vip"]})).await;
    let (old_by_hand, new_by_hand) = (person("a").await, person("b").await);
    let job = rename(&app, "vip", "gold").await;
    for one in [&old_by_hand, &new_by_hand] {
        app.put(&path(one, "/labels/gold")).await.ok();
    }
    by_a_rule(&app, &old_by_hand, "gold").await;
    by_a_rule(&app, &new_by_hand, "vip").await;
    let (kept_of_old, kept_of_new) = (carried(&app, &old_by_hand).await[1].clone(), carried(&app, &new_by_hand).await[0].clone());
    let server = at_work(server);
    let app = App::default_of(&server);
    assert_eq!(finished(&app, &job).await["succeeded"], 2);
    let mut expected = kept_of_old;
    expected["name"] = "gold".into();
    assert_eq!(carried(&app, &old_by_hand).await, [expected]);
    assert_eq!(carried(&app, &new_by_hand).await, [kept_of_new]);
    assert_eq!(app.read(id(&old_by_hand)).await["labels"], json!(["gold"]));
}

async fn a_cancelled_change_leaves_both_labels_to_use(engine: Engine) {
    let server = idle(engine).await;
    let app = App::default_of(&server);
    let ada = app.person(ada()).await;
    for renamed in [true, false] {
        let job = if renamed { rename(&app, "vip", "gold").await } else { app.delete("/v1/labels/vip").await.is(202) };
        app.post(&format!("/v1/jobs/{}/cancel", id(&job))).await.ok();
        let label = app.get("/v1/labels/vip").await.ok();
        assert_eq!((&label["state"], &label["job_id"], &label["becomes"]), (&"live".into(), &Value::Null, &Value::Null));
        app.post("/v1/profiles/upsert").json(json!({"external_id": "b", "labels": ["vip"]})).await;
        assert_eq!(with_label(&app, "vip").await, ["b", "crm-17"]);
    }
    assert_eq!(catalogue(&app).await, ["gold", "vip"]);
    app.delete("/v1/labels/gold").await.no_content();
    let server = at_work(server);
    let app = App::default_of(&server);
    finished(&app, &rename(&app, "vip", "gold").await).await;
    assert_eq!(app.read(id(&ada)).await["labels"], json!(["gold"]));
}

const CROWD: usize = 5_000;
const QUICK: (&str, &str) = ("PEOPLE_JOB_LEASE", "1");

async fn crowd(app: &App) -> Vec<String> {
    let people: Vec<Value> = (0..CROWD).map(|n| json!({"external_id": format!("p{n}"), "labels": ["vip"]})).collect();
    app.people(&people).await
}

async fn processed(app: &App, job: &Value) -> usize {
    let now = app.get(&format!("/v1/jobs/{}", id(job))).await.ok();
    now["processed"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("processed is a number")
}

async fn a_rename_outlives_kill_nine_and_changes_each_person_once(engine: Engine) {
    let server = Server::new(engine).await;
    let mut server = Server::on(server.kill(), &[QUICK]);
    crowd(&App::default_of(&server)).await;
    let job = rename(&App::default_of(&server), "vip", "gold").await;
    let (mut kills, mut seen) = (0, 0);
    loop {
        let app = App::default_of(&server);
        seen = eventually("the job moves on", async || Some(processed(&app, &job).await).filter(|now| *now > seen)).await;
        if seen == CROWD {
            break;
        }
        server = Server::on(server.kill(), &[QUICK]);
        kills += 1;
    }
    assert!(kills >= 2, "only {kills} kills while it ran: this shows nothing");
    let app = App::default_of(&server);
    let done = finished(&app, &job).await;
    assert_eq!((&done["status"], &done["succeeded"], &done["failed"]), (&"succeeded".into(), &CROWD.into(), &0.into()));
    let count = async |sql: &str| server.database.one(sql).await.parse::<usize>().unwrap_or(0);
    assert_eq!(count("SELECT sum(version) FROM profile_documents").await, CROWD * 2, "the sum of all versions");
    assert_eq!(count("SELECT count(*) FROM profile_history WHERE action = 'label_added'").await, CROWD);
    assert_eq!(count("SELECT count(*) FROM profile_labels WHERE label = 'gold'").await, CROWD);
    assert_eq!(count("SELECT count(*) FROM profile_labels").await, CROWD);
    assert_eq!(catalogue(&app).await, ["gold"]);
    assert_eq!(app.get("/v1/labels/gold").await.ok()["member_count"], CROWD);
}

async fn somebody_who_comes_by_the_label_meanwhile_is_reached(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let first = app.person(nobody("first")).await;
    crowd(&app).await;
    // A visitor, the last of the walk, is merged into somebody the walk has passed.
    let visit = json!({"events": [{"identities": [{"kind": "anonymous_id", "value": "a1"}], "type": "page"}]});
    let visitor = json!({"id": app.post("/v1/events").json(visit).await.ok()["results"][0]["profile_id"]});
    app.put(&path(&visitor, "/labels/vip")).await.ok();
    let job = app.delete("/v1/labels/vip").await.is(202);
    eventually("the walk has passed the first", async || (processed(&app, &job).await > 0).then_some(())).await;
    let login = json!({"events": [{
        "identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": "first"}], "type": "login"
    }]});
    app.post("/v1/events").json(login).await.ok();
    let merged = app.history(id(&first)).await;
    assert!(merged.iter().any(|entry| entry["changes"].to_string().contains("vip")), "the merge brought the label: {merged:?}");
    let done = finished(&app, &job).await;
    assert_eq!((&done["status"], &done["succeeded"], &done["total"]), (&"succeeded".into(), &(CROWD + 1).into(), &(CROWD + 1).into()));
    assert_eq!(app.read(id(&first)).await["labels"], json!([]));
    assert_eq!(with_label(&app, "vip").await, [""; 0]);
    app.get("/v1/labels/vip").await.refused(404, "not_found");
}
