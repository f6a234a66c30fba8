//! The bytes of an erased person leave the files of the database, and the receipt says so. Everything that can be said of
//! a person is said of her with a mark in it; then the files are searched for the mark, byte by byte.
//!
//! There is no index of trigrams any more (a test holds that too), so a text is in a file whole or, across the pages of a
//! long row, in parts: the mark, in both cases, and the longest parts of it that nothing else has, the digits of her
//! telephone and a number of hers are all there is to search for. Names of labels and attributes, types of events and
//! channels are words of the workspace, not hers.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use people_tests::{App, Database, Engine, Server, engine_stories, eventually};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::cast::{id, list, path};

engine_stories![
    no_byte_of_an_erased_person_is_left_in_any_file,
    an_erasure_that_is_killed_is_whole_or_never_was,
    the_last_one_leaves_an_empty_directory_that_works,
    a_reader_holds_the_stamp_up_and_no_more,
    by_default_the_bytes_are_out_within_a_minute,
    an_old_transaction_is_not_scrubbed_past,
    the_command_scrubs_beside_a_running_server,
    a_job_that_may_name_the_erased_holds_the_stamp_up,
];

/// What is searched for.
struct Marks {
    mark: String,
    phone: String,
    number: u64,
}

impl Marks {
    fn new() -> Self {
        let random = uuid::Uuid::new_v4().as_u128();
        let digits = u64::try_from(random % 90_000_000).unwrap_or(0) + 10_000_000;
        Self { mark: format!("zq{:012x}", random >> 80), phone: format!("79{digits}"), number: 7_000_000_000_000 + digits * 7 }
    }

    /// Parts of the mark: long enough that chance writes none of them.
    fn parts(&self) -> Vec<Vec<u8>> {
        [self.mark.clone(), self.mark.to_uppercase()].iter().flat_map(|mark| mark.as_bytes().windows(10).map(<[u8]>::to_vec)).collect()
    }

    fn needles(&self) -> Vec<Vec<u8>> {
        let phone = &self.phone;
        [
            self.mark.clone(),
            self.mark.to_uppercase(),
            phone.clone(),
            format!("{} {} {}", &phone[..4], &phone[4..7], &phone[7..]),
            self.number.to_string(),
        ]
        .into_iter()
        .map(String::into_bytes)
        .collect()
    }
}

/// Everything there is to say about a person; a second one, whom an event of hers was mistaken for, and a crowd.
async fn life(app: &App, marks: &Marks) -> (Value, Value) {
    let mark = &marks.mark;
    let of = |what: &str| format!("{what}-{mark}");
    app.post("/v1/properties").json(json!({"key": "motto", "type": "text", "searchable": true})).await;
    crowd(app, &of("before"), 150).await;
    let phone = &marks.phone;
    let body = json!({
        "email": format!("First.{}@Example.com", mark.to_uppercase()), "phone": format!("+44 {} {} {}", &phone[..4], &phone[4..7], &phone[7..]),
        "external_id": of("crm"), "name": of("Name"), "first_name": of("First"), "last_name": of("Last"), "company": of("Company"),
        "job_title": of("Job"), "city": of("City"), "avatar_url": format!("https://example.com/{mark}.png"), "country": "GB", "language": "en",
        "timezone": "Europe/London",
        "attributes": {"motto": of("Motto"), "note": of("Note"), "tags": [of("tag-one"), of("tag-two")], "number": marks.number},
        "identities": [{"kind": "device", "value": of("device")}, {"kind": "whatsapp", "value": of("whatsapp")}],
        "labels": ["vip"], "consents": [{"channel": "email", "status": "opted_in", "source": of("form"), "evidence": of("evidence")}]
    });
    let create = || app.post("/v1/profiles").idempotency_key("create").header("x-reason", &of("reason")).json(body.clone());
    let person = create().await.created();
    app.patch(&path(&person, ""))
        .header("x-reason", &of("typo"))
        .json(json!({"email": format!("second.{mark}@example.com"), "company": of("Second company")}))
        .await
        .ok();
    // A visitor nobody knew, and then it was her: merged, with a snapshot of both.
    let event = |identities: Value, n: usize| {
        json!({"identities": identities, "type": "order_completed", "channel": "web", "message_id": format!("{}-{n}", of("message")),
            "properties": {"item": of("item"), "nested": {"note": [of("deep")]}}, "session": {"id": of("session"), "properties": {"landing": of("landing")}}})
    };
    let visitor = json!([{"kind": "anonymous_id", "value": of("visitor")}]);
    let known = json!([{"kind": "external_id", "value": of("crm")}, {"kind": "anonymous_id", "value": of("visitor")}]);
    let taken = app.post("/v1/events").json(json!({"events": [event(visitor, 1), event(known.clone(), 2)]})).await.ok();
    assert!(list(&taken, "results").iter().all(|r| r["status"] == 201), "{taken}");
    let many: Vec<Value> = (3..300).map(|n| event(known.clone(), n)).collect();
    app.post("/v1/events").idempotency_key("events").json(json!({"events": many})).await.ok();
    // Somebody else's messages named her: refused, and told of in the other's rows and stored answer.
    let other = app.person(json!({"external_id": format!("other-{}", marks.number + 1)})).await;
    let both =
        json!([{"kind": "external_id", "value": other["external_id"]}, {"kind": "email", "value": format!("second.{mark}@example.com")}]);
    let event = json!({"identities": both, "type": "page", "channel": "web"});
    let refused = app.post("/v1/events").idempotency_key("mistaken").json(json!({"events": [event]})).await.ok();
    assert_eq!(refused["results"][0]["refused"][0]["code"], "identity_conflict", "{refused}");
    let upsert = json!({"external_id": other["external_id"], "email": format!("second.{mark}@example.com"), "on_conflict": "strongest"});
    let strongest = app.post("/v1/profiles/upsert").idempotency_key("strongest").json(upsert).await.ok();
    assert!(strongest.to_string().contains(mark.as_str()), "{strongest}");
    // She becomes part of somebody and comes back; somebody becomes part of her and stays.
    let fellow = app.person(json!({"external_id": format!("fellow-{}", marks.number + 2)})).await;
    let record = crate::merges::merge(app, &fellow, &person).await;
    app.patch(&path(&fellow, "")).json(json!({"job_title": "Clerk"})).await.ok();
    crate::merges::revert(app, &record).await;
    let double = app.person(json!({"external_id": of("double"), "company": of("Double's"), "labels": ["vip"]})).await;
    crate::merges::merge(app, &app.read(id(&person)).await, &double).await;
    // A file that names her, with a row that cannot be taken; and a change of many.
    let file = format!("external_id,email,company\n{},,{}\n{},no.address.{mark},x\n", of("crm"), of("Imported"), of("crm"));
    let job = app.post("/v1/imports").bytes("text/csv", file).await.is(202);
    let done = crate::bulk::finished(app, &job).await;
    assert_eq!(json!([done["succeeded"], done["failed"]]), json!([1, 1]), "{done}");
    let (selection, action) = (json!({"q": mark}), json!({"type": "add_labels", "labels": ["vip"]}));
    let told = app.post("/v1/bulk/preview").json(json!({"selection": selection, "action": action})).await.ok();
    let body = json!({"selection": selection, "action": action, "confirmation_token": told["confirmation_token"]});
    let job = app.post("/v1/bulk").idempotency_key("bulk").json(body).await.is(202);
    crate::bulk::finished(app, &job).await;
    crate::duplicates::scan(app).await;
    // The export names her too, and is noted.
    assert!(app.get(&path(&person, "/export")).header("x-reason", &of("access")).await.text().contains(mark.as_str()));
    crowd(app, "after", 150).await;
    assert_eq!(create().await.header("idempotency-replayed"), Some("true"));
    (person, other)
}

/// Others, who come and change and go: pages are split, joined and balanced around her rows.
async fn crowd(app: &App, name: &str, size: usize) {
    let who = |n: usize| format!("crowd-{}-{n}", name.split('-').next().unwrap_or_default());
    let people: Vec<Value> = (0..size)
        .map(|n| json!({"external_id": who(n), "email": format!("{}@example.com", who(n)), "company": "c".repeat(n % 400), "labels": ["vip"]}))
        .collect();
    let ids = app.people(&people).await;
    let items: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| match n % 3 {
            0 => json!({"op": "update", "id": id, "company": "d".repeat(n * 7 % 900)}),
            1 => json!({"op": "update", "id": id, "city": "e".repeat(n * 5 % 300), "email": format!("new-{}@example.com", who(n))}),
            _ => json!({"op": "delete", "id": id}),
        })
        .collect();
    app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
}

/// Every file there is below a directory; one that goes while it is looked at has gone.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => out.extend(files(&path)),
            Ok(kind) if kind.is_file() => out.push(path),
            _ => {}
        }
    }
    out
}

/// Which of the needles are in which files.
fn found_in(directory: &Path, needles: &[Vec<u8>]) -> Vec<(String, String)> {
    let finders: Vec<_> = needles.iter().map(memchr::memmem::Finder::new).collect();
    let mut out = Vec::new();
    for file in files(directory) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        for (finder, needle) in finders.iter().zip(needles) {
            if finder.find(&bytes).is_some() {
                let name = file.strip_prefix(directory).unwrap_or(&file).display().to_string();
                out.push((String::from_utf8_lossy(needle).into_owned(), name));
            }
        }
    }
    out
}

/// The database as its operator would copy it.
fn dump(database: &Database) -> String {
    let out = std::process::Command::new("pg_dump").arg("--dbname").arg(&database.url).output().expect("pg_dump is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Walks every list of the document, and what stands in them.
async fn no_answer_tells_of(app: &App, mark: &str) {
    let document = app.get("/openapi.json").no_key().await.ok();
    let mut asked = 0;
    for (route, methods) in document["paths"].as_object().expect("routes") {
        // A stream does not end; what asks for a parameter is not a list of everything.
        if methods.get("get").is_none() || route.contains('{') || route.ends_with("/stream") || route.ends_with("/lookup") {
            continue;
        }
        let answer = app.get(route).await;
        assert!(!answer.text().to_lowercase().contains(mark), "{route} tells of her");
        asked += 1;
    }
    assert!(asked > 10, "only {asked} routes were asked");
    for list in ["jobs", "merges"] {
        let ids = app
            .database()
            .rows(&format!("SELECT {} FROM {list}", if app.engine.is_postgres() { "id::text" } else { "lower(hex(id))" }))
            .await;
        for row in ids {
            let id: uuid::Uuid = row[0].parse().expect("an id");
            for rest in if list == "jobs" { &["", "/errors"][..] } else { &[""][..] } {
                let answer = app.get(&format!("/v1/{list}/{id}{rest}")).await;
                assert!(!answer.text().to_lowercase().contains(mark), "{list}/{id}{rest} tells of her: {answer}");
            }
        }
    }
}

/// Where the database keeps its files, when this test may read them.
async fn directory(database: &Database) -> Option<PathBuf> {
    if !database.engine.is_postgres() {
        return Some(database.directory.clone());
    }
    let there = PathBuf::from(database.one("SHOW data_directory").await);
    let readable = std::fs::read_dir(there.join("base")).is_ok();
    assert!(readable || std::env::var("CI").as_deref() != Ok("true"), "where CI=true the bytes of {} must be searched", there.display());
    if !readable {
        use std::io::Write as _;
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {} cannot be read, so the bytes of PostgreSQL's files are not searched", there.display());
    }
    readable.then_some(there)
}

/// A database whose values lie in its files as they are: PostgreSQL would compress long ones, which no search finds.
async fn uncompressed(engine: Engine) -> Database {
    let database = Database::create(engine).await;
    people_tests::cli(&["migrate"], &[("DATABASE_URL", database.url.as_str())]).done();
    if engine.is_postgres() {
        let columns = "SELECT table_name, column_name FROM information_schema.columns
                       WHERE table_schema = 'public' AND data_type IN ('text', 'jsonb') AND table_name NOT LIKE '\\_%'";
        for row in database.rows(columns).await {
            database.rows(&format!("ALTER TABLE \"{}\" ALTER COLUMN \"{}\" SET STORAGE EXTERNAL", row[0], row[1])).await;
        }
    }
    database
}

async fn stamp(app: &App, receipt: &Value) -> Value {
    app.get(&format!("/v1/erasures/{}", id(receipt))).await.ok()["scrubbed_at"].clone()
}

async fn stamped(app: &App, receipt: &Value) {
    eventually("the receipt is stamped", async || Some(stamp(app, receipt).await).filter(Value::is_string)).await;
}

async fn no_byte_of_an_erased_person_is_left_in_any_file(engine: Engine) {
    let server = Server::on(uncompressed(engine).await, &[("PEOPLE_SCRUB_AFTER", "1")]);
    let app = App::default_of(&server);
    let marks = Marks::new();
    let (person, other) = life(&app, &marks).await;
    // Somebody at a shell had the planner look at the data; and all of it has reached the files.
    server.database.rows("ANALYZE").await;
    if engine.is_postgres() {
        server.database.rows("CHECKPOINT").await;
    }
    let directory = directory(&server.database).await;
    let needles = marks.needles();
    if let Some(directory) = &directory {
        let there = found_in(directory, &needles);
        for needle in needles.iter().map(|needle| String::from_utf8_lossy(needle)) {
            assert!(there.iter().any(|(found, _)| *found == needle), "{needle} is in no file even before: {there:?}");
        }
    }
    let receipt = app.delete(&path(&person, "?suppress=true")).header("x-reason", "asked for").await.ok();
    assert_eq!(receipt["scrubbed_at"], Value::Null);
    for kind in ["identities", "history", "events", "sessions", "labels", "consents", "merges"] {
        assert!(receipt["counts"][kind].as_i64().is_some_and(|n| n > 0), "{kind} of {receipt}");
    }
    if engine.is_postgres() {
        let told = server.cli(&["scrub"]).json();
        assert!(told["receipts_stamped"].as_u64().is_some_and(|n| n >= 1), "{told}");
    }
    stamped(&app, &receipt).await;
    if let Some(directory) = &directory {
        let mut left = found_in(directory, &[needles.clone(), marks.parts()].concat());
        name_tables(&server, &mut left).await;
        assert!(left.is_empty(), "left in the files of {}: {left:?}", engine.name());
    }
    if engine.is_postgres() {
        let dump = dump(&server.database);
        assert!(dump.contains("CREATE TABLE") && dump.contains("other-"), "this is no dump");
        for needle in &needles {
            assert!(!dump.contains(&*String::from_utf8_lossy(needle)), "in the dump: {}", String::from_utf8_lossy(needle));
        }
    }
    let index_of_parts = if engine.is_postgres() {
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND indexdef NOT LIKE '%USING btree%'"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
    };
    assert_eq!(server.database.one(index_of_parts).await, "0", "an index of parts of texts keeps them after the texts are gone");
    // Nor does any row of any table, or any answer, tell of her.
    for needle in [&marks.mark, &marks.phone, &marks.number.to_string()] {
        assert_eq!(crate::erasures::mentions(&server.database, needle).await, [""; 0], "{needle}");
        assert_eq!(app.find(json!({"q": needle})).await, [""; 0], "{needle}");
    }
    no_answer_tells_of(&app, &marks.mark).await;
    app.get(&path(&person, "")).await.refused(410, "profile_erased");
    let merged = server.database.rows("SELECT count(*) FROM profile_redirects").await;
    assert_eq!(merged, [["2"]], "the ids of those who were merged into her are remembered");
    for rest in ["/timeline", "/history", "/export", ""] {
        let answer = app.get(&path(&other, rest)).await;
        assert!(answer.status == 200 && !answer.text().to_lowercase().contains(marks.mark.as_str()), "{answer}");
    }
    for key in ["mistaken", "strongest"] {
        let told = server.database.one(&format!("SELECT count(*) FROM idempotency_answers WHERE key = '{key}' AND body IS NULL")).await;
        assert_eq!(told, "1", "the answer under {key} is blanked");
    }
    assert!(!server.log().contains(marks.mark.as_str()) && !server.log().contains(&marks.phone), "{}", server.log());
}

/// Says of which table the files of PostgreSQL are.
async fn name_tables(server: &Server, left: &mut [(String, String)]) {
    for (_, file) in left.iter_mut().filter(|_| server.database.engine.is_postgres()) {
        let node: u64 = file.rsplit('/').next().and_then(|name| name.parse().ok()).unwrap_or(0);
        let table = format!("SELECT relname FROM pg_class WHERE relfilenode = {node}");
        file.push_str(&format!(": {:?}", server.database.rows(&table).await));
    }
}

/// Tables without rows keep what the planner sampled of those they had: here that is every table of people.
async fn the_last_one_leaves_an_empty_directory_that_works(engine: Engine) {
    let server = Server::on(uncompressed(engine).await, &[("PEOPLE_SCRUB_AFTER", "1")]);
    let app = App::default_of(&server);
    let marks = Marks::new();
    let (person, _) = life(&app, &marks).await;
    server.database.rows("ANALYZE").await;
    let everyone = app.post("/v1/profiles/export").json(json!({})).await.text();
    for line in everyone.lines() {
        let other: Value = serde_json::from_str(line).expect("a line of JSON");
        if other["id"] != person["id"] {
            app.delete(&path(&other, "")).await.ok();
        }
    }
    let receipt = app.delete(&path(&person, "")).await.ok();
    if engine.is_postgres() {
        server.cli(&["scrub"]).json();
        let sampled = format!("SELECT count(*) FROM pg_stats WHERE position('{}' in pg_stats::text) > 0", marks.mark);
        assert_eq!(server.database.one(&sampled).await, "0");
    }
    stamped(&app, &receipt).await;
    if let Some(directory) = &directory(&server.database).await {
        let mut left = found_in(directory, &marks.needles());
        name_tables(&server, &mut left).await;
        assert!(left.is_empty(), "left in the files of {}: {left:?}", engine.name());
    }
    // Keys, references and indexes are what they were.
    let again = app.person(json!({"external_id": "again", "labels": ["vip"], "company": "New"})).await;
    let event = json!({"identities": [{"kind": "external_id", "value": "again"}], "type": "page", "channel": "web"});
    app.post("/v1/events").json(json!({"events": [event]})).await.ok();
    crowd(&app, "again", 30).await;
    assert_eq!(app.find(json!({"q": "new"})).await.first().map(String::as_str), Some("again"));
    app.delete(&path(&again, "")).await.ok();
}

const ROUNDS: usize = 20;

/// `kill -9` in the middle of an erasure: the person is whole, or gone without a trace and with a receipt.
async fn an_erasure_that_is_killed_is_whole_or_never_was(engine: Engine) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(10);
    let mut server = Server::new(engine).await;
    let (mut unanswered, mut longest) = (0, Duration::from_millis(20));
    for round in 0..ROUNDS {
        let app = App::default_of(&server);
        let mark = format!("killed{round:02}x{:08x}", rng.random::<u32>());
        let person = app
            .person(json!({"external_id": mark, "name": format!("Name {mark}"), "labels": ["vip"], "attributes": {"note": mark},
                "consents": [{"channel": "email", "status": "opted_in", "source": mark}]}))
            .await;
        let events: Vec<Value> = (0..400)
            .map(|n| json!({"profile_id": person["id"], "type": "page", "channel": "web", "message_id": format!("{mark}-{n}")}))
            .collect();
        app.post("/v1/events").json(json!({"events": events})).await.ok();
        let before = rows_of(&app, &server.database, id(&person)).await;
        let whole = app.read(id(&person)).await;
        let delay = longest.mul_f64(rng.random_range(0.0..1.2));
        let began = Instant::now();
        let (answer, database) = tokio::join!(
            async {
                let answer = app.delete(&path(&person, "")).attempt().await;
                (answer, began.elapsed())
            },
            async {
                tokio::time::sleep(delay).await;
                server.kill()
            }
        );
        match answer {
            (Ok(ref answer), took) => {
                answer.ok();
                longest = took;
            }
            (Err(_), _) => unanswered += 1,
        }
        let acknowledged = answer.0.is_ok();
        server = Server::on(database, &[]);
        let app = App::default_of(&server);
        let now = app.get(&path(&person, "")).await;
        let after = rows_of(&app, &server.database, id(&person)).await;
        if now.status == 200 {
            assert!(!acknowledged, "round {round}: an acknowledged erasure is undone");
            people_tests::same(&now.json(), &whole);
            assert_eq!(after, before, "round {round}: half a person");
        } else {
            now.refused(410, "profile_erased");
            let left: Vec<&(String, String)> = after.iter().filter(|(table, _)| table != "erasures" && table != "changes").collect();
            assert!(left.iter().all(|(_, rows)| rows == "0"), "round {round}: {left:?}");
            assert_eq!(after.iter().find(|(table, _)| table == "erasures").map(|(_, rows)| rows.as_str()), Some("1"), "round {round}");
            assert_eq!(crate::erasures::mentions(&server.database, &mark).await, [""; 0], "round {round}");
        }
    }
    assert!(unanswered > 0, "no erasure was interrupted in {ROUNDS} rounds: this shows nothing");
}

/// How many rows of every table refer to a person, once duplicates have been looked for up to the newest change.
async fn rows_of(app: &App, database: &Database, profile: &str) -> Vec<(String, String)> {
    use people_store::registry::{KEPT, TABLES};
    app.get("/v1/duplicates").await.ok();
    let postgres = database.engine.is_postgres();
    let id = if postgres { format!("'{profile}'") } else { format!("x'{}'", profile.replace('-', "")) };
    let mut out = Vec::new();
    for table in TABLES.iter().map(|table| table.name).chain(KEPT.iter().copied()) {
        out.push((table.to_owned(), database.one(&format!("SELECT count(*) FROM {table} WHERE profile_id = {id}")).await));
    }
    out.push(("profiles".to_owned(), database.one(&format!("SELECT count(*) FROM profiles WHERE id = {id}")).await));
    out
}

/// SQLite's log cannot be cut while somebody reads from it: the receipt waits, and is stamped when the reader has ended.
async fn a_reader_holds_the_stamp_up_and_no_more(engine: Engine) {
    if engine.is_postgres() {
        return;
    }
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_SCRUB_AFTER", "0")]);
    let app = App::default_of(&server);
    let person = app.person(json!({"external_id": "held"})).await;
    let mut reader = server.database.sqlite().await;
    let mut snapshot = reader.begin().await.expect("a reader begins");
    sqlx::query("SELECT count(*) FROM profiles").fetch_all(&mut *snapshot).await.expect("a reader reads");
    let receipt = app.delete(&path(&person, "")).await.ok();
    eventually("the log says why", async || server.log().contains("a reader has the log in use").then_some(())).await;
    assert_eq!(stamp(&app, &receipt).await, Value::Null);
    // Writes go on meanwhile.
    app.person(json!({"external_id": "another"})).await;
    snapshot.rollback().await.expect("the reader ends");
    stamped(&app, &receipt).await;
    assert_eq!(std::fs::metadata(server.database.directory.join("people.db-wal")).map_or(0, |m| m.len()) / (1 << 20), 0);
}

async fn by_default_the_bytes_are_out_within_a_minute(engine: Engine) {
    if engine.is_postgres() {
        return;
    }
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let person = app.person(json!({"external_id": "soon-gone-for-good"})).await;
    let receipt = app.delete(&path(&person, "")).await.ok();
    let erased = Instant::now();
    while stamp(&app, &receipt).await.is_null() {
        assert!(erased.elapsed() < Duration::from_secs(60), "not stamped after a minute");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(found_in(&server.database.directory, &[b"soon-gone-for-good".to_vec()]).is_empty());
}

/// PostgreSQL keeps rows that a running transaction may read: `people scrub` waits for it, and stamps only then. So it does for one
/// that writes to another database: who reads here meanwhile goes back to what was so when that began.
async fn an_old_transaction_is_not_scrubbed_past(engine: Engine) {
    if !engine.is_postgres() {
        return;
    }
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let elsewhere = Database::create(engine).await;
    for (database, what) in [(&server.database, "SELECT count(*) FROM profiles"), (&elsewhere, "SELECT pg_current_xact_id()::text")] {
        let person = app.person(json!({"external_id": "read-by-somebody"})).await;
        let mut other = database.postgres().await;
        let mut open = other.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction begins");
        sqlx::query(what).fetch_all(&mut *open).await.expect("it goes on");
        let receipt = app.delete(&path(&person, "")).await.ok();
        let url = server.database.url.clone();
        let scrub = std::thread::spawn(move || people_tests::cli(&["scrub", "--leave-log"], &[("DATABASE_URL", &url)]));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!scrub.is_finished(), "the scrub did not wait for: {what}");
        assert_eq!(stamp(&app, &receipt).await, Value::Null);
        open.rollback().await.expect("the transaction ends");
        let told = scrub.join().expect("the scrub ends").json();
        assert!(told["receipts_stamped"].as_u64().is_some_and(|n| n >= 1), "{told}");
        assert!(stamp(&app, &receipt).await.is_string());
    }
}

async fn the_command_scrubs_beside_a_running_server(engine: Engine) {
    if engine.is_postgres() {
        return;
    }
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_SCRUB_AFTER", "3600")]);
    let app = App::default_of(&server);
    let person = app.person(json!({"external_id": "gone-by-command"})).await;
    let receipt = app.delete(&path(&person, "")).await.ok();
    assert_eq!(server.cli(&["scrub"]).json(), json!({"receipts_stamped": 1, "receipts_held": 0}));
    assert!(stamp(&app, &receipt).await.is_string());
    assert!(found_in(&server.database.directory, &[b"gone-by-command".to_vec()]).is_empty());
    assert_eq!(server.cli(&["scrub"]).json(), json!({"receipts_stamped": 0, "receipts_held": 0}));
    app.person(json!({"external_id": "gone-by-command"})).await;
}

/// What a job was given may name people until it ends: receipts of those erased meanwhile wait for it.
async fn a_job_that_may_name_the_erased_holds_the_stamp_up(engine: Engine) {
    let server = Server::on(Database::create(engine).await, &[("PEOPLE_SCRUB_AFTER", "3600"), ("PEOPLE_JOBS", "0")]);
    let app = App::default_of(&server);
    let person = app.person(json!({"external_id": "named-by-a-job"})).await;
    let asked = json!({"selection": {"filter": {"field": "external_id", "op": "eq", "value": "named-by-a-job"}}, "action": {"type": "add_labels", "labels": ["vip"]}});
    let preview = app.post("/v1/bulk/preview").json(asked.clone()).await.ok();
    let mut execute = asked;
    execute["confirmation_token"] = preview["confirmation_token"].clone();
    let job = app.post("/v1/bulk").json(execute).await.is(202);
    let receipt = app.delete(&path(&person, "")).await.ok();
    let scrub = || if engine.is_postgres() { server.cli(&["scrub", "--leave-log"]) } else { server.cli(&["scrub"]) };
    assert_eq!(scrub().json(), json!({"receipts_stamped": 0, "receipts_held": 1}));
    assert_eq!(stamp(&app, &receipt).await, Value::Null);
    app.post(&format!("/v1/jobs/{}/cancel", id(&job))).json(json!({})).await;
    assert_eq!(scrub().json(), json!({"receipts_stamped": 1, "receipts_held": 0}));
    assert!(stamp(&app, &receipt).await.is_string());
}
