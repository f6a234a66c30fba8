//! `/v1/jobs`: work that goes on after its request was answered. A job survives `kill -9`, and each of its rows takes
//! effect once: the kind told with is the bulk change, whose every row is one version and one entry of the history.

use std::{collections::BTreeSet, process::Command};

use futures_util::StreamExt as _;
use people_tests::{App, Engine, Server, engine_stories, eventually, stories};
use serde_json::{Value, json};

use crate::{
    bulk::{confirmed, finished},
    cast::{id, list, nobody},
};

stories![
    a_job_tells_how_far_it_is,
    jobs_are_listed_newest_first,
    a_job_is_followed_as_it_goes,
    what_a_job_was_asked_is_forgotten_when_it_ends,
    a_job_that_ended_stays_as_it_is,
];
engine_stories![
    a_job_outlives_kill_nine_and_does_each_row_once,
    of_two_servers_one_dies_and_the_other_finishes,
    several_servers_share_several_jobs_and_one_dies,
    a_server_that_slept_past_its_lease_changes_nothing,
    a_cancelled_job_does_nothing_more,
    a_job_waits_for_somebody_to_work_on_it,
    jobs_of_a_newer_program_keep_no_others_waiting,
    a_server_that_is_told_to_go_gives_its_job_back,
    a_job_is_forgotten_a_month_after_it_ended,
    somebody_who_follows_a_job_keeps_no_server_from_going,
];

async fn a_job_tells_how_far_it_is(app: &App) {
    app.people(&[nobody("a"), nobody("b")]).await;
    let answer = confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]})).await;
    let job = answer.is(202);
    assert_eq!(answer.header("location"), Some(format!("/v1/jobs/{}", id(&job)).as_str()));
    assert_eq!((&job["kind"], &job["total"], &job["details"]), (&"bulk".into(), &2.into(), &json!({"action": "add_labels"})));
    assert!(job["status"] == "queued" && job["processed"] == 0 && job["started_at"].is_null(), "{job}");
    let done = finished(app, &job).await;
    let told = ["status", "total", "processed", "succeeded", "failed", "error"].map(|member| done[member].clone());
    assert_eq!(json!(told), json!(["succeeded", 2, 2, 2, 0, null]));
    assert!(done["started_at"].as_str() >= job["created_at"].as_str() && done["finished_at"].as_str() >= done["started_at"].as_str());
    let errors = app.get(&format!("/v1/jobs/{}/errors", id(&job))).await.ok();
    assert_eq!(errors, json!({"data": [], "next_cursor": null}));
}

async fn jobs_are_listed_newest_first(app: &App) {
    app.person(nobody("a")).await;
    let mut made = Vec::new();
    for label in ["x", "y", "z"] {
        let job = confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": [label]})).await.is(202);
        finished(app, &job).await;
        made.insert(0, id(&job).to_owned());
    }
    let first = app.get("/v1/jobs?limit=2").await.ok();
    let cursor = first["next_cursor"].as_str().expect("there is another page");
    let second = app.get(&format!("/v1/jobs?limit=2&cursor={cursor}")).await.ok();
    let listed: Vec<&str> = list(&first, "data").iter().chain(list(&second, "data")).map(id).collect();
    assert_eq!(listed, made);
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(list(&app.get("/v1/jobs?status=succeeded&kind=bulk").await.ok(), "data").len(), 3);
    assert_eq!(list(&app.get("/v1/jobs?status=failed").await.ok(), "data").len(), 0);
    assert_eq!(list(&app.get("/v1/jobs?kind=import").await.ok(), "data").len(), 0);
    app.get("/v1/jobs?status=lost").await.refused(400, "invalid_query");
    app.get(&format!("/v1/jobs?status=failed&cursor={cursor}")).await.refused(400, "cursor_mismatch");
    assert_eq!(list(&app.neighbour().get("/v1/jobs").await.ok(), "data").len(), 0);
}

/// A stream that has begun.
async fn stream(app: &App, job: &Value) -> reqwest::Response {
    let answer = reqwest::Client::new()
        .get(format!("{}/v1/jobs/{}/stream", app.url, id(job)))
        .header("authorization", format!("Bearer {}", app.key))
        .send()
        .await
        .expect("the stream opens");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    answer
}

/// The events of a stream, until it ends.
async fn events(answer: reqwest::Response) -> Vec<Value> {
    let mut text = String::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.expect("the stream goes on")).expect("UTF-8"));
    }
    let event = |block: &str| {
        let data = block.strip_prefix("event: job\ndata: ").unwrap_or_else(|| panic!("not an event: {block}"));
        serde_json::from_str(data).expect("the data of an event is JSON")
    };
    text.split_terminator("\n\n").filter(|block| *block != ":").map(event).collect()
}

async fn followed(app: &App, job: &Value) -> Vec<Value> {
    events(stream(app, job).await).await
}

async fn a_job_is_followed_as_it_goes(app: &App) {
    let people: Vec<Value> = (0..3_000).map(|n| nobody(&format!("p{n}"))).collect();
    app.people(&people).await;
    let job = confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]})).await.is(202);
    let events = followed(app, &job).await;
    assert!(events.len() >= 2, "only {} events of {events:?}", events.len());
    let processed: Vec<i64> = events.iter().filter_map(|event| event["processed"].as_i64()).collect();
    assert!(processed.is_sorted(), "{processed:?}");
    let last = events.last().expect("there are events");
    assert_eq!((&last["status"], &last["processed"]), (&"succeeded".into(), &3_000.into()));
    assert_eq!(last, &app.get(&format!("/v1/jobs/{}", id(&job))).await.ok());
    // One that has ended is told once.
    assert_eq!(followed(app, &job).await, std::slice::from_ref(last));
}

async fn what_a_job_was_asked_is_forgotten_when_it_ends(app: &App) {
    let mark = format!("canary{}", uuid::Uuid::now_v7().simple());
    app.person(json!({"email": format!("{mark}@example.com")})).await;
    let selection = json!({"filter": {"field": "email", "op": "eq", "value": format!("{mark}@example.com")}});
    let job = confirmed(app, selection, json!({"type": "update", "patch": {"company": format!("{mark} Ltd")}})).await.is(202);
    finished(app, &job).await;
    let database = app.database();
    let traces =
        format!("SELECT count(*) FROM jobs WHERE parameters LIKE '%{mark}%' OR checkpoint LIKE '%{mark}%' OR details LIKE '%{mark}%'");
    assert_eq!(database.one(&traces).await, "0");
    let of = if app.engine.is_postgres() { format!("'{}'", id(&job)) } else { format!("x'{}'", id(&job).replace('-', "")) };
    assert_eq!(database.one(&format!("SELECT count(*) FROM job_inputs WHERE job_id = {of}")).await, "0");
}

async fn a_job_that_ended_stays_as_it_is(app: &App) {
    app.person(nobody("a")).await;
    let job = confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]})).await.is(202);
    let done = finished(app, &job).await;
    assert_eq!(app.post(&format!("/v1/jobs/{}/cancel", id(&job))).await.ok(), done);
    app.with_scopes(&["profiles:read"]).await.post(&format!("/v1/jobs/{}/cancel", id(&job))).await.refused(403, "missing_scope");
    app.neighbour().post(&format!("/v1/jobs/{}/cancel", id(&job))).await.refused(404, "not_found");
    // Sent again under one key it is answered as before; the key is of no use for another job.
    let cancel = |job: &Value| app.post(&format!("/v1/jobs/{}/cancel", id(job))).idempotency_key("once");
    assert_eq!((cancel(&job).await.ok(), cancel(&job).await.header("idempotency-replayed")), (done, Some("true")));
    let other = confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": ["y"]})).await.is(202);
    cancel(&other).await.refused(422, "idempotency_mismatch");
    finished(app, &other).await;
}

/// People who are each at version 1, to be changed by a job.
async fn crowd(app: &App, size: usize) {
    let people: Vec<Value> = (0..size).map(|n| nobody(&format!("p{n}"))).collect();
    app.people(&people).await;
}

async fn label_everybody(app: &App) -> Value {
    confirmed(app, json!({"all": true}), json!({"type": "add_labels", "labels": ["x"]})).await.is(202)
}

/// Everybody changed once: one version, one entry of the history, one change in the feed.
async fn each_once(app: &App, server: &Server, size: usize) {
    let database = &server.database;
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "x"})).await.len(), size);
    let count = async |sql: &str| database.one(sql).await.parse::<usize>().unwrap_or(0);
    assert_eq!(count("SELECT sum(version) FROM profile_documents").await, size * 2, "the sum of all versions");
    assert_eq!(count("SELECT count(*) FROM profile_history WHERE action = 'label_added'").await, size);
    assert_eq!(count("SELECT count(*) FROM changes").await, size * 2);
}

async fn processed(app: &App, job: &Value) -> i64 {
    let now = app.get(&format!("/v1/jobs/{}", id(job))).await.ok();
    now["processed"].as_i64().expect("processed is a number")
}

const CROWD: usize = 6_000;
/// A lease of a second, so that nobody waits half a minute.
const QUICK: (&str, &str) = ("PEOPLE_JOB_LEASE", "1");

async fn a_job_outlives_kill_nine_and_does_each_row_once(engine: Engine) {
    let server = Server::new(engine).await;
    let mut server = Server::on(server.kill(), &[QUICK]);
    crowd(&App::default_of(&server), CROWD).await;
    let job = label_everybody(&App::default_of(&server)).await;
    let (mut kills, mut seen) = (0, 0);
    loop {
        let app = App::default_of(&server);
        // Once it has moved on, it is killed again.
        let now = eventually("the job moves on", async || Some(processed(&app, &job).await).filter(|now| *now > seen)).await;
        if usize::try_from(now) == Ok(CROWD) {
            break;
        }
        assert!(now > seen, "the job went back from {seen} to {now}");
        seen = now;
        server = Server::on(server.kill(), &[QUICK]);
        kills += 1;
    }
    assert!(kills >= 2, "only {kills} kills while it ran: this shows nothing");
    let app = App::default_of(&server);
    let done = finished(&app, &job).await;
    assert_eq!((&done["status"], &done["succeeded"], &done["failed"]), (&"succeeded".into(), &CROWD.into(), &0.into()));
    each_once(&app, &server, CROWD).await;
}

async fn of_two_servers_one_dies_and_the_other_finishes(engine: Engine) {
    if engine == Engine::Sqlite {
        // One process has the file.
        return;
    }
    let server = Server::new(engine).await;
    let first = Server::on(server.kill(), &[QUICK]);
    crowd(&App::default_of(&first), CROWD).await;
    let second = Server::on(first.database.clone(), &[QUICK, ("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&second);
    let job = label_everybody(&app).await;
    eventually("the first one works", async || (processed(&app, &job).await > 0).then_some(())).await;
    let third = Server::on(first.database.clone(), &[QUICK]);
    first.kill();
    let before = processed(&app, &job).await;
    assert!(usize::try_from(before).is_ok_and(|n| n < CROWD), "it was done before anybody died: this shows nothing");
    let done = finished(&app, &job).await;
    assert_eq!((&done["status"], &done["succeeded"]), (&"succeeded".into(), &CROWD.into()));
    each_once(&app, &third, CROWD).await;
    drop(third);
    second.kill().remove().await;
}

async fn several_servers_share_several_jobs_and_one_dies(engine: Engine) {
    const JOBS: usize = 6;
    const SIZE: usize = 2_000;
    if engine == Engine::Sqlite {
        // One process has the file.
        return;
    }
    let server = Server::new(engine).await;
    let teller = Server::on(server.kill(), &[QUICK, ("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&teller);
    crowd(&app, SIZE).await;
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        jobs.push(confirmed(&app, json!({"all": true}), json!({"type": "add_labels", "labels": [format!("x{n}")]})).await.is(202));
    }
    let mut workers: Vec<Server> = (0..3).map(|_| Server::on(teller.database.clone(), &[QUICK, ("PEOPLE_JOBS", "1")])).collect();
    // Who holds a job, of those that somebody holds.
    let holders = async || {
        let rows = teller.database.rows("SELECT DISTINCT lease_owner FROM jobs WHERE status = 'running' AND lease_owner IS NOT NULL").await;
        rows.into_iter().flatten().collect::<BTreeSet<String>>()
    };
    eventually("three work at once", async || (holders().await.len() == 3).then_some(())).await;
    if let Some(dies) = workers.pop() {
        dies.kill();
    }
    for job in &jobs {
        let done = finished(&app, job).await;
        assert_eq!((&done["status"], &done["succeeded"], &done["failed"]), (&"succeeded".into(), &SIZE.into(), &0.into()));
    }
    let count = async |sql: &str| teller.database.one(sql).await.parse::<usize>().unwrap_or(0);
    assert_eq!(count("SELECT sum(version) FROM profile_documents").await, SIZE * (1 + JOBS), "the sum of all versions");
    assert_eq!(count("SELECT count(*) FROM profile_history WHERE action = 'label_added'").await, SIZE * JOBS);
    assert_eq!(count("SELECT count(*) FROM changes").await, SIZE * (1 + JOBS));
    drop(workers);
    teller.kill().remove().await;
}

fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &server.process().to_string()]).status().expect("kill can be run");
    assert!(sent.success(), "{name} could not be sent");
}

async fn a_server_that_slept_past_its_lease_changes_nothing(engine: Engine) {
    if engine == Engine::Sqlite {
        return;
    }
    let server = Server::new(engine).await;
    let sleeper = Server::on(server.kill(), &[QUICK]);
    crowd(&App::default_of(&sleeper), CROWD).await;
    let other = Server::on(sleeper.database.clone(), &[QUICK, ("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&other);
    let job = label_everybody(&app).await;
    eventually("the sleeper works", async || (processed(&app, &job).await > 0).then_some(())).await;
    signal(&sleeper, "-STOP");
    let worker = Server::on(sleeper.database.clone(), &[QUICK]);
    let before = processed(&app, &job).await;
    eventually("the other one has taken over", async || (processed(&app, &job).await > before).then_some(())).await;
    signal(&sleeper, "-CONT");
    let done = finished(&app, &job).await;
    assert_eq!((&done["status"], &done["succeeded"]), (&"succeeded".into(), &CROWD.into()));
    each_once(&app, &worker, CROWD).await;
    drop(worker);
    drop(other);
    sleeper.kill().remove().await;
}

async fn a_cancelled_job_does_nothing_more(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    crowd(&app, CROWD).await;
    let job = label_everybody(&app).await;
    eventually("the job is under way", async || (processed(&app, &job).await > 0).then_some(())).await;
    let cancelled = app.post(&format!("/v1/jobs/{}/cancel", id(&job))).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cancelled["finished_at"].is_string());
    let done = cancelled["processed"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("processed is a number");
    assert!(done < CROWD, "it was done before it was cancelled: this shows nothing");
    let labelled = async || app.filtered(json!({"field": "labels", "op": "has", "value": "x"})).await.len();
    assert_eq!(labelled().await, done, "what was counted is what was done");
    // Another job of the same worker ends, so the cancelled one's step has come to its end as well.
    let selection = json!({"filter": {"field": "external_id", "op": "eq", "value": "p1"}});
    let next = confirmed(&app, selection, json!({"type": "add_labels", "labels": ["y"]})).await.is(202);
    finished(&app, &next).await;
    assert_eq!(labelled().await, done);
    assert_eq!(app.get(&format!("/v1/jobs/{}", id(&job))).await.ok(), cancelled);
}

async fn a_job_waits_for_somebody_to_work_on_it(engine: Engine) {
    let server = Server::new(engine).await;
    let server = Server::on(server.kill(), &[("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    app.person(nobody("a")).await;
    let (waiting, cancelled) = (label_everybody(&app).await, label_everybody(&app).await);
    let gone = app.post(&format!("/v1/jobs/{}/cancel", id(&cancelled))).await.ok();
    assert_eq!((&gone["status"], &gone["started_at"]), (&"cancelled".into(), &Value::Null));
    assert_eq!(list(&app.get("/v1/jobs?status=queued").await.ok(), "data").len(), 1);
    let server = Server::on(server.kill(), &[]);
    let app = App::default_of(&server);
    assert_eq!(finished(&app, &waiting).await["status"], "succeeded");
    assert_eq!(app.get(&format!("/v1/jobs/{}", id(&cancelled))).await.ok(), gone);
}

/// While programs are being replaced, there may be jobs that only the new ones know.
async fn jobs_of_a_newer_program_keep_no_others_waiting(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    app.person(nobody("a")).await;
    finished(&app, &label_everybody(&app).await).await;
    let new_id = if engine.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    let columns = "parameters, checkpoint, details, processed, succeeded, failed, attempt, actor, request_id, created_at, updated_at";
    server
        .database
        .rows(&format!(
            "INSERT INTO jobs (workspace_id, id, kind, status, {columns})
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
             SELECT workspace_id, {new_id}, 'of_tomorrow', 'queued', {columns} FROM n CROSS JOIN jobs"
        ))
        .await;
    assert_eq!(server.database.one("SELECT count(*) FROM jobs WHERE kind = 'of_tomorrow'").await, "40");
    assert_eq!(finished(&app, &label_everybody(&app).await).await["status"], "succeeded");
}

async fn a_server_that_is_told_to_go_gives_its_job_back(engine: Engine) {
    let server = Server::new(engine).await;
    // A lease nobody would wait for.
    let long = [("PEOPLE_JOB_LEASE", "300")];
    let server = Server::on(server.kill(), &long);
    let app = App::default_of(&server);
    crowd(&app, CROWD).await;
    let job = label_everybody(&app).await;
    eventually("the job is under way", async || (processed(&app, &job).await > 0).then_some(())).await;
    signal(&server, "-TERM");
    let address = server.url.trim_start_matches("http://").to_owned();
    eventually("it has stopped listening", async || std::net::TcpStream::connect(&address).is_err().then_some(())).await;
    let database = server.database.clone();
    let given_back = if engine.is_postgres() { "lease_until < now()" } else { "lease_until < unixepoch() * 1000000" };
    eventually("the lease is given back", async || {
        let open =
            database.one(&format!("SELECT count(*) FROM jobs WHERE status = 'running' AND {given_back} AND lease_owner IS NULL")).await;
        (open == "1").then_some(())
    })
    .await;
    let server = Server::on(server.kill(), &long);
    let app = App::default_of(&server);
    assert_eq!(finished(&app, &job).await["succeeded"], CROWD);
    each_once(&app, &server, CROWD).await;
}

async fn a_job_is_forgotten_a_month_after_it_ended(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    app.person(nobody("a")).await;
    let action = json!({"type": "update", "patch": {"external_id": null}});
    let old = confirmed(&app, json!({"all": true}), action.clone()).await.is(202);
    assert_eq!(finished(&app, &old).await["failed"], 1);
    let recent = confirmed(&app, json!({"all": true}), action).await.is(202);
    finished(&app, &recent).await;
    let database = server.kill();
    let (of, days) = if engine.is_postgres() {
        (format!("'{}'", id(&old)), ["interval '31 days'", "interval '29 days'"])
    } else {
        (format!("x'{}'", id(&old).replace('-', "")), ["31 * 86400000000", "29 * 86400000000"])
    };
    database.rows(&format!("UPDATE jobs SET finished_at = finished_at - {} WHERE id = {of}", days[0])).await;
    database.rows(&format!("UPDATE jobs SET finished_at = finished_at - {} WHERE id <> {of}", days[1])).await;
    let server = Server::on(database, &[]);
    let app = App::default_of(&server);
    eventually("the old one is gone", async || (app.get(&format!("/v1/jobs/{}", id(&old))).await.status == 404).then_some(())).await;
    app.get(&format!("/v1/jobs/{}", id(&recent))).await.ok();
    assert_eq!(server.database.one("SELECT count(*) FROM job_errors").await, "1", "the errors go with their job");
}

async fn somebody_who_follows_a_job_keeps_no_server_from_going(engine: Engine) {
    let server = Server::new(engine).await;
    let server = Server::on(server.kill(), &[("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    app.person(nobody("a")).await;
    let job = label_everybody(&app).await;
    let open = stream(&app, &job).await;
    let told = std::time::Instant::now();
    signal(&server, "-TERM");
    assert_eq!(events(open).await[0]["status"], "queued");
    // Requests under way are waited for up to twenty seconds; this one is not.
    assert!(told.elapsed().as_secs() < 15, "the stream ended after {:?}", told.elapsed());
}
