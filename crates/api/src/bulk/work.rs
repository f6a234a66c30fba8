//! The job of a bulk change: some hundred people a step, through the one door.

use std::sync::Arc;

use people_domain::id::ProfileId;
use people_store::{
    Group, Store, StoreError,
    jobs::{End, JobError, JobKind, Progress, Step, Stepping, Turn, read},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    action::Action,
    selection::{PIECE, unpack},
};
use crate::problem::Problem;

/// People changed in one transaction.
const STEP: usize = 500;
/// On SQLite, which works in this process: so few that nothing of a step keeps a core for longer than a read may wait.
const SHORT_STEP: usize = 100;

/// What the job is asked to do; whom it is about stands in its inputs.
#[derive(Debug, Deserialize, Serialize)]
pub struct Parameters {
    /// As it was sent.
    pub action: Value,
}

/// Where the next step begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Checkpoint {
    /// People done.
    done: usize,
}

#[derive(Debug)]
pub struct Bulk;

impl JobKind for Bulk {
    fn name(&self) -> &'static str {
        "bulk"
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(step(store, turn))
    }
}

async fn step(store: &Store, turn: Turn) -> Result<(), StoreError> {
    let _undisturbed = store.undisturbed().await;
    let lease = turn.lease;
    let parameters: Parameters = read(&turn.parameters)?;
    let Checkpoint { done } = if turn.checkpoint.is_null() { Checkpoint::default() } else { read(&turn.checkpoint)? };
    let piece = i64::try_from(done / PIECE).unwrap_or(i64::MAX);
    let people = match store.input(lease.workspace, lease.job, piece).await? {
        Some(packed) => unpack(&packed),
        None => Vec::new(),
    };
    let people: Vec<(ProfileId, u64)> =
        people.into_iter().skip(done % PIECE).take(if store.is_sqlite() { SHORT_STEP } else { STEP }).collect();
    let after = done + people.len();
    let total = usize::try_from(turn.job.total.unwrap_or(0)).unwrap_or(usize::MAX);
    let end = (people.is_empty() || after >= total).then_some(End::Succeeded);
    let country = store.workspace(lease.workspace).await?.and_then(|row| row.workspace.default_country);
    // A decision without a time of its own was made when the change was asked for, not when its turn came.
    let (action, _) = Action::parse(&parameters.action, country.as_deref(), turn.job.created_at)
        .map_err(|_| StoreError::Unreadable("the action of a job"))?;
    let commands = people.iter().map(|(id, version)| action.command(*id, *version)).collect();
    let progress = move |group: &Group| {
        let mut progress = Progress {
            checkpoint: serde_json::to_value(Checkpoint { done: after }).unwrap_or_default(),
            end: end.clone(),
            ..Progress::default()
        };
        for (i, (outcome, (id, _))) in group.outcomes.iter().zip(&people).enumerate() {
            progress.processed += 1;
            match outcome {
                Ok(_) => progress.succeeded += 1,
                Err(refusal) => {
                    progress.failed += 1;
                    let problem = Problem::from(refusal.clone());
                    progress.errors.push(JobError {
                        position: i64::try_from(done + i + 1).unwrap_or(i64::MAX),
                        code: problem.kind.code().to_owned(),
                        detail: problem.detail,
                        profile_id: Some(*id),
                    });
                }
            }
        }
        progress
    };
    let cause = turn.cause(store.now(), "bulk");
    let job = people_store::Job {
        workspace: lease.workspace,
        cause,
        commands,
        idempotency: None,
        step: Some(Step::new(lease, Arc::new(progress))),
    };
    store.carry_out(job).await.map(|_| ())
}
