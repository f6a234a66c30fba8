//! The command line: `people serve | migrate | scrub | backup | openapi | workspaces create | keys create | import | export`, and its
//! configuration.

use std::net::TcpStream;

use people_tests::{App, BOOTSTRAP_KEY, Cli, Database, Engine, Server, cli, engine_stories, eventually, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id, list};

engine_stories![
    migrating_twice_is_migrating_once,
    a_workspace_and_its_key_are_made_by_hand,
    what_is_written_outlives_a_restart,
    the_first_start_shows_a_key_once,
    a_polite_stop_is_obeyed,
    the_log_holds_no_secret_and_nobody,
    an_import_is_followed_across_a_restart,
];
stories![a_file_is_sent_and_followed_to_its_end, everybody_is_written_to_a_file_and_back, what_the_server_refuses_is_told];

async fn migrating_twice_is_migrating_once(engine: Engine) {
    let database = Database::create(engine).await;
    let environment = [("DATABASE_URL", database.url.as_str())];
    cli(&["migrate"], &environment).done();
    cli(&["migrate"], &environment).done();
    let server = Server::on(database, &[]);
    App::default_of(&server).person(ada()).await;
}

async fn a_workspace_and_its_key_are_made_by_hand(engine: Engine) {
    let server = Server::new(engine).await;
    let workspace = server.cli(&["workspaces", "create", "acme"]).json();
    assert_eq!(workspace["name"], "acme");
    assert!(uuid::Uuid::try_parse(id(&workspace)).is_ok());
    let reader = server.cli(&["keys", "create", "--workspace", "acme", "--scopes", "profiles:read", "--name", "dashboard"]).json();
    let shop = server.cli(&["keys", "create", "--workspace", "acme", "--scopes", "events:write", "--trust", "browser"]).json();
    let writer = server.cli(&["keys", "create", "--workspace", "acme", "--scopes", "profiles:read,profiles:write"]).json();
    let admin = server.cli(&["keys", "create", "--workspace", "acme", "--scopes", "all"]).json();
    let key = |made: &serde_json::Value| made["key"].as_str().unwrap_or_default().to_owned();
    let app = App::default_of(&server).with_key(&key(&writer));
    let person = app.person(ada()).await;
    app.with_key(&key(&reader)).get("/v1/profiles").await.ok();
    app.with_key(&key(&reader)).post("/v1/profiles").json(json!({"external_id": "b"})).await.refused(403, "missing_scope");
    let shown = app.with_key(&key(&admin)).get(&format!("/v1/api-keys/{}", id(&reader))).await.ok();
    assert_eq!((&shown["name"], &shown["trust"], &shown["scopes"]), (&json!("dashboard"), &json!("server"), &json!(["profiles:read"])));
    assert_eq!(app.with_key(&key(&admin)).get(&format!("/v1/api-keys/{}", id(&shop))).await.ok()["trust"], "browser");
    App::default_of(&server).get(&format!("/v1/profiles/{}", id(&person))).await.refused(404, "not_found");
    for (arguments, named) in [
        (&["workspaces", "create", "acme"][..], "acme"),
        (&["keys", "create", "--workspace", "nowhere", "--scopes", "all"], "nowhere"),
        (&["keys", "create", "--workspace", "acme", "--scopes", "profiles:read,everything"], "everything"),
        (&["keys", "create", "--workspace", "acme"], "--scopes"),
        (&["keys", "create", "--workspace", "acme", "--scopes", "profiles:read", "--trust", "browser"], "events:write"),
        (&["dance"], "dance"),
    ] {
        let answer = server.cli(arguments);
        assert!(answer.code != Some(0) && answer.stdout.is_empty() && answer.stderr.contains(named), "{arguments:?}: {answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{arguments:?}: {answer:?}");
    }
}

async fn what_is_written_outlives_a_restart(engine: Engine) {
    let server = Server::new(engine).await;
    let person = App::default_of(&server).person(ada()).await;
    let server = Server::on(server.kill(), &[]);
    people_tests::same(&App::default_of(&server).read(id(&person)).await, &person);
}

async fn the_first_start_shows_a_key_once(engine: Engine) {
    // Without PEOPLE_BOOTSTRAP_KEY the server makes one.
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_BOOTSTRAP_KEY", "")]);
    let said =
        eventually("the key is shown", async || Some(server.log()).filter(|log| log.contains("ppl_") && log.contains("/docs"))).await;
    assert!(said.contains("curl "), "no command to begin with: {said}");
    let key: String =
        said[said.find("ppl_").unwrap_or_default()..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    App::default_of(&server).with_key(&key).person(ada()).await;
    let server = Server::on(server.kill(), &[("PEOPLE_BOOTSTRAP_KEY", "")]);
    App::default_of(&server).with_key(&key).get("/v1/profiles/lookup?external_id=crm-17").await.ok();
    assert!(!server.log().contains("ppl_"), "a key is shown again: {}", server.log());
}

async fn a_polite_stop_is_obeyed(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let person = app.person(ada()).await;
    let done = std::process::Command::new("kill").args(["-TERM", &server.process().to_string()]).status().expect("kill runs");
    assert!(done.success());
    let address = server.url.trim_start_matches("http://").to_owned();
    eventually("the server is gone", async || TcpStream::connect(&address).is_err().then_some(())).await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let server = Server::on(server.kill(), &[]);
    people_tests::same(&App::default_of(&server).read(id(&person)).await, &person);
}

/// Names, addresses, search words and keys belong to the database, not to whoever reads the log.
async fn the_log_holds_no_secret_and_nobody(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_LOG", "debug")]);
    let app = App::default_of(&server);
    let mark = "canary7f3e";
    let body = json!({"external_id": format!("x-{mark}"), "email": format!("{mark}@example.com"), "name": format!("Name {mark}"), "attributes": {"note": mark}});
    let person = app.person(body.clone()).await;
    app.post("/v1/profiles").json(body.clone()).await.refused(409, "identity_taken");
    app.post("/v1/profiles").bytes("application/json", format!("{{\"name\": \"{mark}\"")).await.refused(400, "malformed_json");
    app.post("/v1/profiles").json(json!({"external_id": "a", "country": mark})).await.refused(422, "validation_failed");
    app.get(&format!("/v1/profiles?q={mark}")).await.ok();
    app.get(&format!("/v1/profiles?nonsense={mark}")).await.refused(400, "invalid_query");
    app.search(json!({"q": mark, "filter": {"field": "company", "op": "eq", "value": mark}})).await;
    app.get(&format!("/v1/profiles/lookup?email={mark}@example.com")).await.ok();
    app.delete(&format!("/v1/profiles/{}/identities/email/{mark}%40example.com", id(&person))).await.ok();
    app.with_key(&format!("ppl_{mark}")).get("/v1/profiles").await.refused(401, "unauthorized");
    app.delete(&format!("/v1/profiles/{}", id(&person))).await.ok();
    let log = server.log();
    assert!(!log.contains(BOOTSTRAP_KEY), "the key is in the log");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(mark)).collect();
    assert!(lines.is_empty(), "the log tells of her:\n{}", lines.join("\n"));
}

#[test]
fn every_mistake_of_the_configuration_is_told_at_once() {
    let answer = cli(
        &["serve"],
        &[
            ("DATABASE_URL", "mysql://localhost/people"),
            ("PEOPLE_LISTEN", "nowhere"),
            ("PEOPLE_CORS_ORIGINS", "https://app.example/"),
            ("PEOPLE_BOOTSTRAP_KEY", "short"),
            ("PEOPLE_SCRUB_AFTER", "soon"),
            ("PEOPLE_SUPPRESSION_KEY", "salt"),
            ("PEOPLE_RATE_LIMIT", "many"),
            ("PEOPLE_MAX_EXPORTS", "0"),
            ("PEOPLE_DRAIN", "61"),
            ("PEOPLE_KEEP_ALIVE", "0"),
            ("PEOPLE_METRICS_TOKEN", "short"),
            ("PEOPLE_SECRET_KEY", "short"),
            ("PEOPLE_WEBHOOKS", "257"),
            ("PEOPLE_WEBHOOK_TIMEOUT", "0"),
            ("PEOPLE_WEBHOOK_GIVE_UP_AFTER", "never"),
            ("PEOPLE_WEBHOOKS_ALLOW_PRIVATE", "maybe"),
        ],
    );
    assert!(answer.code.is_some_and(|code| code != 0), "{answer:?}");
    for variable in [
        "DATABASE_URL",
        "PEOPLE_LISTEN",
        "PEOPLE_CORS_ORIGINS",
        "PEOPLE_BOOTSTRAP_KEY",
        "PEOPLE_SCRUB_AFTER",
        "PEOPLE_SUPPRESSION_KEY",
        "PEOPLE_RATE_LIMIT",
        "PEOPLE_MAX_EXPORTS",
        "PEOPLE_DRAIN",
        "PEOPLE_KEEP_ALIVE",
        "PEOPLE_METRICS_TOKEN",
        "PEOPLE_SECRET_KEY",
        "PEOPLE_WEBHOOKS",
        "PEOPLE_WEBHOOK_TIMEOUT",
        "PEOPLE_WEBHOOK_GIVE_UP_AFTER",
        "PEOPLE_WEBHOOKS_ALLOW_PRIVATE",
    ] {
        assert!(answer.stderr.contains(variable), "{variable} is not named: {answer:?}");
    }
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
}

#[test]
fn a_database_that_does_not_answer_is_said_without_its_password() {
    let answer = cli(&["migrate"], &[("DATABASE_URL", "postgres://people:topsecret@127.0.0.1:1/people")]);
    assert!(answer.code.is_some_and(|code| code != 0), "{answer:?}");
    assert!(!answer.stderr.contains("topsecret") && !answer.stdout.contains("topsecret"), "{answer:?}");
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
}

#[test]
fn the_program_explains_itself() {
    let help = cli(&["--help"], &[]).done().stdout;
    for word in [
        "serve",
        "migrate",
        "scrub",
        "backup",
        "PEOPLE_MAX_REQUESTS",
        "PEOPLE_SCRUB_AFTER",
        "openapi",
        "workspaces",
        "keys",
        "DATABASE_URL",
    ] {
        assert!(help.contains(word) || cli(&["serve", "--help"], &[]).done().stdout.contains(word), "{word} is not explained:\n{help}");
    }
    assert!(cli(&["--version"], &[]).done().stdout.starts_with("people "));
}

/// A subcommand that talks to the server as this workspace.
fn client(app: &App, arguments: &[&str]) -> Cli {
    cli(arguments, &[("PEOPLE_URL", &app.url), ("PEOPLE_KEY", &app.key)])
}

fn written(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("the file is written");
    (folder, path.to_string_lossy().into_owned())
}

async fn a_file_is_sent_and_followed_to_its_end(app: &App) {
    let rows: String = (0..1_500).map(|n| format!("person{n}@example.com;Person {n};pro\n")).collect();
    let (_folder, file) = written("people.csv", &format!("Mail;Who;Plan\n{rows}nobody;;\n"));
    let told = client(app, &["import", &file, "--map", "Mail=email", "--map", "Plan=attributes.plan", "--dry-run"]);
    let job: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|e| panic!("{e}: {told:?}"));
    let id = job["id"].as_str().unwrap_or_default();
    assert_eq!((&job["status"], &job["succeeded"], &job["failed"]), (&"succeeded".into(), &1_500.into(), &1.into()));
    // A row that was not taken is a failure for a script.
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("1 rows were not taken") && told.stderr.contains(id), "{told:?}");
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 0}));
    let (_folder, file) = written("people.csv", &format!("Mail;Who;Plan\n{rows}"));
    let job = client(app, &["import", &file, "--map", "Mail=email", "--map", "Who=name"]).json();
    assert_eq!((&job["succeeded"], &job["details"]["mapping"]), (&1_500.into(), &json!({"Mail": "email", "Who": "name"})));
    assert_eq!(app.post("/v1/profiles/count").json(json!({"q": "person 1499"})).await.ok(), json!({"total": 1}));
}

/// The server goes while its job waits, and comes back under the same address.
async fn an_import_is_followed_across_a_restart(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    let rows: String = (0..50).map(|n| format!("person{n}@example.com,Person {n}\n")).collect();
    let (_folder, file) = written("people.csv", &format!("Email,Name\n{rows}"));
    let (url, key) = (app.url.clone(), app.key.clone());
    let told = tokio::task::spawn_blocking(move || cli(&["import", &file], &[("PEOPLE_URL", &url), ("PEOPLE_KEY", &key)]));
    eventually("the file has come in", async || (!list(&app.get("/v1/jobs").await.ok(), "data").is_empty()).then_some(())).await;
    let listen = server.url.trim_start_matches("http://").to_owned();
    let server = Server::on(server.kill(), &[("PEOPLE_LISTEN", &listen)]);
    let job = told.await.expect("it ends").json();
    assert_eq!((&job["status"], &job["succeeded"]), (&"succeeded".into(), &50.into()));
    assert_eq!(App::default_of(&server).post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": 50}));
}

async fn everybody_is_written_to_a_file_and_back(app: &App) {
    app.people(&[ada(), json!({"external_id": "=odd", "name": "Semi;colon", "country": "IE"})]).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, format) in [("people.ndjson", "ndjson"), ("people.csv", "csv")] {
        let path = folder.path().join(name).to_string_lossy().into_owned();
        client(app, &["export", "--output", &path, "--sort", "created_at"]).done();
        let answered = client(app, &["export", "--format", format, "--sort", "created_at"]).done().stdout;
        assert_eq!(std::fs::read_to_string(&path).expect("it was written"), answered);
        let other = app.neighbour();
        let job = client(&other, &["import", &path]).json();
        assert_eq!((&job["succeeded"], &job["failed"]), (&2.into(), &0.into()), "{job}");
        assert_eq!(other.find(json!({"sort": "created_at"})).await, ["crm-17", "=odd"]);
    }
    let filter = r#"{"field": "country", "op": "eq", "value": "IE"}"#;
    let found = client(app, &["export", "--filter", filter]).done().stdout;
    assert!(found.lines().count() == 1 && found.contains("=odd"), "{found}");
}

async fn what_the_server_refuses_is_told(app: &App) {
    let (_folder, file) = written("people.csv", "Mail,Who\nada@example.com,Ada\n");
    let told = client(app, &["import", &file, "--map", "Post=email"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""));
    assert!(told.stderr.contains("validation_failed") && told.stderr.contains("mapping/Post"), "{told:?}");
    let told = cli(&["import", &file], &[("PEOPLE_URL", &app.url), ("PEOPLE_KEY", "ppl_none")]);
    assert!(told.code == Some(1) && told.stderr.contains("unauthorized") && !told.stderr.contains("ppl_none"), "{told:?}");
    let told = client(app, &["import", "/nowhere/people.csv"]);
    assert!(told.code == Some(1) && told.stderr.contains("/nowhere/people.csv"), "{told:?}");
    let told = cli(&["export", "--server", "http://127.0.0.1:9"], &[("PEOPLE_KEY", &app.key)]);
    assert!(told.code == Some(1) && told.stderr.contains("does not answer"), "{told:?}");
}
