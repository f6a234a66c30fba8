//! The worker outlives a fault of ours. What a command says cannot cause one that is known of; a function that writes an answer
//! to be stored runs in the same place.

use std::sync::Arc;

use people_domain::{
    Timestamp,
    directory::{Cause, Command, Draft},
    id::WorkspaceId,
    identity::{IdentityKey, IdentityKind, NewIdentity},
};

use super::{Group, Idempotency, Job, Reply};
use crate::{Options, Store, StoreError};

async fn store(folder: &tempfile::TempDir) -> (Store, WorkspaceId) {
    let url = format!("sqlite://{}", folder.path().join("people.db").display());
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
async fn a_fault_stops_the_request_it_is_in_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, workspace) = store(&folder).await;
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
