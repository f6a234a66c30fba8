//! The jobs that rename a label or remove it: some hundred people a step, through the one door.
//!
//! People are walked in the order of their ids. Somebody may come by the label behind the walk (a merge brings the labels of
//! both), so whoever still carries it at the end is walked again; the label leaves the catalogue in a transaction that sees
//! that nobody does.

use std::sync::Arc;

use people_domain::{Code, Refusal, directory::Command, id::ProfileId};
use people_store::{
    GoingLabel, Group, LABEL_REMOVAL, LABEL_RENAME, Store, StoreError,
    jobs::{End, JobError, JobKind, Progress, Step, Stepping, Turn, read},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::Problem;

/// People changed in one transaction.
const STEP: i64 = 500;

/// Where the next step begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Checkpoint {
    after: Option<uuid::Uuid>,
    /// People changed since the walk began, or began again.
    changed: i64,
}

impl Checkpoint {
    fn json(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct Rename;

impl JobKind for Rename {
    fn name(&self) -> &'static str {
        LABEL_RENAME
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(step(store, turn))
    }
}

#[derive(Debug)]
pub struct Removal;

impl JobKind for Removal {
    fn name(&self) -> &'static str {
        LABEL_REMOVAL
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(step(store, turn))
    }
}

fn command(label: &GoingLabel, id: ProfileId) -> Command {
    match &label.to {
        Some(to) => Command::RenameLabel { id, from: label.from.clone(), to: to.clone() },
        None => Command::Relabel { id, add: Vec::new(), remove: vec![label.from.clone()] },
    }
}

async fn step(store: &Store, turn: Turn) -> Result<(), StoreError> {
    let lease = turn.lease;
    let label: GoingLabel = read(&turn.parameters)?;
    let checkpoint: Checkpoint = if turn.checkpoint.is_null() { Checkpoint::default() } else { read(&turn.checkpoint)? };
    let people = store.who_carries(lease.workspace, &label.from, checkpoint.after.map(ProfileId), STEP).await?;
    let Some(last) = people.last().copied() else {
        return finish(store, &turn, label, checkpoint).await;
    };
    let commands = people.iter().map(|id| command(&label, *id)).collect();
    let done = turn.job.processed;
    let progress = move |group: &Group| {
        let mut progress = Progress::default();
        for (i, (outcome, id)) in group.outcomes.iter().zip(&people).enumerate() {
            progress.processed += 1;
            match outcome {
                // Whoever is no more carries no label.
                Ok(_) | Err(Refusal { code: Code::NotFound | Code::ProfileErased, .. }) => progress.succeeded += 1,
                Err(refusal) => {
                    progress.failed += 1;
                    let problem = Problem::from(refusal.clone());
                    progress.errors.push(JobError {
                        position: done + i64::try_from(i + 1).unwrap_or(0),
                        code: problem.kind.code().to_owned(),
                        detail: problem.detail,
                        profile_id: Some(*id),
                    });
                }
            }
        }
        progress.checkpoint = Checkpoint { after: Some(last.0), changed: checkpoint.changed + progress.succeeded }.json();
        progress
    };
    let cause = turn.cause(store.now(), "label");
    let step = Some(Step::new(lease, Arc::new(progress)));
    store.carry_out(people_store::Job { workspace: lease.workspace, cause, commands, idempotency: None, step }).await.map(|_| ())
}

/// The end of a walk: the end of the job too, unless somebody carries the label still.
async fn finish(store: &Store, turn: &Turn, label: GoingLabel, checkpoint: Checkpoint) -> Result<(), StoreError> {
    // Fewer than there were, when some lost it otherwise; more, when some came by it.
    let last = Progress { end: Some(End::Succeeded), total: Some(turn.job.processed), ..Progress::default() };
    let again = if checkpoint.changed > 0 || turn.checkpoint.is_null() {
        Progress { checkpoint: Checkpoint::default().json(), ..Progress::default() }
    } else {
        let detail = "Some people still carry the label and could not be changed; the job's errors tell who. The label stays.";
        let end = End::Failed { code: "label_carried".to_owned(), detail: detail.to_owned() };
        Progress { end: Some(end), ..Progress::default() }
    };
    store.finish_label(turn.lease, label.from, last, again).await
}
