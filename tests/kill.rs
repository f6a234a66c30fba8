//! `kill -9` under load: what was acknowledged is there, what was not is wholly there or wholly absent, and rows,
//! history, search and change feed tell one story.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use people_tests::{App, Call, Database, Engine, Server, engine_stories, eventually};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::cast::{id, list};

engine_stories![acknowledged_writes_outlive_kill_nine];

const ROUNDS: usize = 20;
const WRITERS: usize = 8;

/// What a person must look like: the version and what was written last. `None`: not in the directory.
type State = Option<(u64, Value)>;

/// What a client knows of one person: the last acknowledged state, and the one that was on its way.
#[derive(Debug)]
struct Known {
    acknowledged: State,
    pending: Option<State>,
}

/// The journal of all clients, by external id.
type Journal = RefCell<BTreeMap<String, Known>>;

fn state_of(profile: &Value) -> State {
    let devices = list(profile, "identities").iter().filter(|i| i["kind"] == "device").count();
    Some((
        profile["version"].as_u64().unwrap_or(0),
        json!({"step": profile["attributes"]["step"], "labels": profile["labels"], "devices": devices, "email": profile["email"]}),
    ))
}

struct Writer<'a> {
    app: &'a App,
    journal: &'a Journal,
    /// How many writes of this round were acknowledged.
    done: &'a Cell<usize>,
}

impl Writer<'_> {
    /// Sends a write that takes these people to these states. `None` when the server died on the way.
    async fn write(&self, call: Call, outcome: &[(String, State)]) -> Option<Value> {
        for (external_id, state) in outcome {
            let mut journal = self.journal.borrow_mut();
            journal.entry(external_id.clone()).or_insert(Known { acknowledged: None, pending: None }).pending = Some(state.clone());
        }
        let answer = call.attempt().await.ok()?;
        assert!(answer.status < 300, "refused under load\n{answer}");
        for (external_id, state) in outcome {
            self.journal.borrow_mut().insert(external_id.clone(), Known { acknowledged: state.clone(), pending: None });
        }
        self.done.set(self.done.get() + 1);
        Some(answer.json())
    }

    /// Writes people, one after the other, until the server is gone.
    async fn work(&self, name: &str) {
        for n in 0.. {
            if self.life(&format!("{name}-{n}"), n).await.is_none() {
                return;
            }
        }
    }

    /// One person from creation to, sometimes, erasure; and now and then many in one batch.
    async fn life(&self, who: &str, n: usize) -> Option<()> {
        let email = format!("{who}@example.com");
        let state = |version: u64, step: u64, labels: &[&str], devices: usize| -> State {
            Some((version, json!({"step": step, "labels": labels, "devices": devices, "email": email})))
        };
        let one = |state: State| vec![(who.to_owned(), state)];
        let body = json!({"external_id": who, "email": email, "name": format!("Person {who}"), "attributes": {"step": 0}, "labels": ["a"]});
        let person = self.write(self.app.post("/v1/profiles").json(body), &one(state(1, 0, &["a"], 0))).await?;
        let path = format!("/v1/profiles/{}", id(&person));
        self.write(self.app.patch(&path).json(json!({"attributes": {"step": 1}})), &one(state(2, 1, &["a"], 0))).await?;
        let device = json!({"kind": "device", "value": format!("device of {who}")});
        self.write(self.app.post(&format!("{path}/identities")).json(device), &one(state(3, 1, &["a"], 1))).await?;
        let upsert = json!({"external_id": who, "labels": ["b"], "attributes": {"step": 2}});
        self.write(self.app.post("/v1/profiles/upsert").json(upsert), &one(state(4, 2, &["a", "b"], 1))).await?;
        if n % 4 == 1 {
            self.write(self.app.delete(&path), &one(None)).await?;
        }
        if n.is_multiple_of(3) {
            let ids: Vec<String> = (0..20).map(|i| format!("{who}-batch-{i}")).collect();
            let items: Vec<Value> = ids.iter().map(|e| json!({"op": "create", "external_id": e, "attributes": {"step": 0}})).collect();
            let outcome: Vec<(String, State)> =
                ids.into_iter().map(|e| (e, Some((1, json!({"step": 0, "labels": [], "devices": 0, "email": null}))))).collect();
            self.write(self.app.post("/v1/profiles/batch").json(json!({"items": items})), &outcome).await?;
        }
        Some(())
    }
}

async fn acknowledged_writes_outlive_kill_nine(engine: Engine) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let journal = Journal::default();
    let mut server = Server::new(engine).await;
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let done = Cell::new(0);
        let delay = Duration::from_millis(rng.random_range(5..400));
        let app = App::default_of(&server);
        let writer = Writer { app: &app, journal: &journal, done: &done };
        let database = {
            let names: Vec<String> = (0..WRITERS).map(|w| format!("r{round}-w{w}")).collect();
            let (database, _) = tokio::join!(
                async {
                    eventually("the first write is acknowledged", async || (done.get() > 0).then_some(())).await;
                    tokio::time::sleep(delay).await;
                    server.kill()
                },
                join_all(names.iter().map(|name| writer.work(name)))
            );
            database
        };
        acknowledged += done.get();
        server = Server::on(database, &[]);
        compare(&App::default_of(&server), &journal, &format!("r{round}-")).await;
        consistent(&server.database).await;
    }
    assert!(acknowledged >= ROUNDS * 10, "only {acknowledged} writes in {ROUNDS} rounds: this shows nothing");
    // Nothing of an earlier round was lost in a later one.
    let app = App::default_of(&server);
    compare(&app, &journal, "").await;
    let people = journal.borrow().values().filter(|k| k.acknowledged.is_some()).count();
    let total = app.post("/v1/profiles/count").json(json!({})).await.ok()["total"].as_u64();
    assert_eq!(total, u64::try_from(people).ok(), "the count, and everybody known to be there");
}

/// Everybody whose external id begins so is in a state their client knows; the journal then holds what was found.
async fn compare(app: &App, journal: &Journal, prefix: &str) {
    let ids: Vec<String> = journal.borrow().keys().filter(|e| e.starts_with(prefix)).cloned().collect();
    for part in ids.chunks(1_000) {
        let asked: Vec<Value> = part.iter().map(|e| json!({"kind": "external_id", "value": e})).collect();
        let answer = app.post("/v1/profiles/lookup").json(json!({"identities": asked})).await.ok();
        let found: BTreeMap<&str, &Value> =
            list(&answer, "found").iter().map(|f| (f["value"].as_str().unwrap_or_default(), &f["profile"])).collect();
        for external_id in part {
            let state = found.get(external_id.as_str()).and_then(|p| state_of(p));
            let mut journal = journal.borrow_mut();
            let known = journal.get_mut(external_id).expect("asked from the journal");
            let expected = state == known.acknowledged || known.pending.as_ref() == Some(&state);
            assert!(expected, "{external_id} is in a state nobody wrote: {state:?}, known is {known:?}");
            *known = Known { acknowledged: state, pending: None };
        }
    }
    // Search finds them as they are now.
    for external_id in ids.iter().step_by(ids.len() / 10 + 1) {
        let there = journal.borrow()[external_id].acknowledged.is_some();
        let found = app.find(json!({"q": external_id})).await;
        assert_eq!(found.contains(external_id), there, "{external_id} by search: {found:?}");
    }
}

/// An id column as 32 hexadecimal digits, however the engine keeps it.
fn hex(database: &Database, column: &str) -> String {
    if database.engine.is_postgres() {
        format!("replace({column}::text, '-', '')")
    } else {
        format!("CASE typeof({column}) WHEN 'blob' THEN lower(hex({column})) ELSE replace({column}, '-', '') END")
    }
}

/// The tables agree with each other, read past the API.
async fn consistent(database: &Database) {
    let text = if database.engine.is_postgres() { "::text" } else { "" };
    let (own, of) = (hex(database, "p.id"), hex(database, "profile_id"));
    let documents = format!(
        "SELECT {own}, d.version, d.document{text} FROM profiles p
           LEFT JOIN profile_documents d ON d.workspace_id = p.workspace_id AND d.profile_id = p.id"
    );
    let profiles = database.rows(&documents).await;
    let mut identities: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for row in database.rows(&format!("SELECT {of}, kind, value FROM profile_identities")).await {
        identities.entry(row[0].clone()).or_default().insert((row[1].clone(), row[2].clone()));
    }
    let mut history: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in database.rows(&format!("SELECT {of}, version FROM profile_history")).await {
        history.entry(row[0].clone()).or_default().push(row[1].parse().unwrap_or(0));
    }
    let mut changes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in database.rows(&format!("SELECT {of}, version FROM changes")).await {
        changes.entry(row[0].clone()).or_default().push(row[1].parse().unwrap_or(0));
    }
    for row in &profiles {
        let (id, version) = (&row[0], row[1].parse::<u64>().unwrap_or(0));
        let document: Value = serde_json::from_str(&row[2]).unwrap_or_else(|e| panic!("the document of {id} is not JSON ({e})"));
        assert_eq!(document["version"], version, "the document of {id} is of another version than its row");
        assert_eq!(document["id"].as_str().map(|i| i.replace('-', "")).as_ref(), Some(id));
        let told: BTreeSet<(String, String)> = list(&document, "identities")
            .iter()
            .map(|i| (i["kind"].as_str().unwrap_or_default().to_owned(), i["value"].as_str().unwrap_or_default().to_owned()))
            .collect();
        assert_eq!(identities.remove(id), Some(told), "the identities of {id} differ from its document");
        let all: Vec<u64> = (1..=version).collect();
        for (name, rows) in [("history", &mut history), ("change feed", &mut changes)] {
            let mut versions = rows.remove(id).unwrap_or_default();
            versions.sort_unstable();
            assert_eq!(versions, all, "the {name} of {id} does not tell every version once");
        }
    }
    assert!(identities.is_empty(), "identities of nobody: {identities:?}");
    assert!(history.is_empty(), "history of nobody: {history:?}");
    if !database.engine.is_postgres() {
        assert_eq!(database.rows("PRAGMA integrity_check").await, [["ok"]]);
        assert_eq!(database.rows("PRAGMA foreign_key_check").await, [[""; 0]; 0]);
    }
}
