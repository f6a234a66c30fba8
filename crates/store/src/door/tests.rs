//! The worker outlives a fault of ours. What a command says cannot cause one that is known of; a function that writes an answer
//! to be stored runs in the same place.

use std::{env, str::FromStr as _, sync::Arc};

use people_domain::{
    Timestamp,
    directory::{Cause, Command, Draft},
    id::WorkspaceId,
    identity::{IdentityKey, IdentityKind, NewIdentity},
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::{Group, Idempotency, Job, Reply};
use crate::{Options, Store, StoreError};

async fn store(url: String) -> (Store, WorkspaceId) {
    let store = Store::open(Options::new(url)).await.expect("a store");
    store.migrate().await.expect("a schema");
    let workspace = store.create_workspace("test").await.expect("a workspace");
    (store, workspace.workspace.id)
}

fn creates(workspace: WorkspaceId, number: usize) -> Job {
    let at = Timestamp::parse("2026-01-31T08:00:00Z").expect("an instant");
    let cause = Cause { at, actor: "key:test".to_owned(), source: "api", request_id: String::new(), reason: None };
    let kind = IdentityKind::parse("external_id").expect("a kind");
    let raw = format!("user-{number}");
    let key = IdentityKey::parse(&kind, &raw, None).expect("a key");
    let draft = Draft { primaries: vec![NewIdentity { key, raw }], ..Draft::default() };
    Job { workspace, cause: Arc::new(cause), commands: vec![Command::Create(draft)], idempotency: None, step: None }
}

fn stops(workspace: WorkspaceId, number: usize) -> Job {
    let idempotency = Idempotency { key: number.to_string(), fingerprint: String::new() };
    let mut job = creates(workspace, number);
    job.idempotency = Some((idempotency, Arc::new(|_: &Group| panic!("a fault"))));
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_stops_the_request_it_is_in_and_no_other_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    a_fault_stops_the_request_it_is_in_and_no_other(format!("sqlite://{}", folder.path().join("people.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_stops_the_request_it_is_in_and_no_other_on_postgres() {
    // The stories say so, and fail, where there has to be one and is none.
    let Ok(server) = env::var("TEST_POSTGRES_URL") else { return };
    let server = PgConnectOptions::from_str(&server).expect("an address");
    let mut administration: PgConnection = server.connect().await.expect("a server");
    // As the stories name theirs, which tidy up what a run that broke off has left.
    let seconds = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let name = format!("people_test_{seconds}_{}_door", std::process::id());
    administration.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).await.expect("a database");
    a_fault_stops_the_request_it_is_in_and_no_other(server.database(&name).to_url_lossy().into()).await;
    administration.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.expect("gone");
}

async fn a_fault_stops_the_request_it_is_in_and_no_other(url: String) {
    let (store, workspace) = store(url).await;
    // More of them than there are workers, among others: some share a group with them.
    let jobs = (0..40).map(|n| if n % 8 == 3 { (true, stops(workspace, n)) } else { (false, creates(workspace, n)) });
    let mut pending = Vec::new();
    for (is_faulty, job) in jobs {
        pending.push((is_faulty, store.hand_in(job).await.expect("handed in")));
    }
    for (is_faulty, pending) in pending {
        match pending.reply().await {
            Err(StoreError::Stopped) => assert!(is_faulty, "another request was stopped"),
            Ok(Reply::Done(group)) => assert!(!is_faulty && group.outcomes.iter().all(Result::is_ok), "{:?}", group.outcomes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.last_change(workspace).await.expect("the feed"), 35, "each of the others took effect once");
    store.close().await;
}
