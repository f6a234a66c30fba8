//! The job of a definition: brings everyone in line with it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use people_domain::{
    directory::Command,
    filter::{Field, Filter, Test},
    id::ProfileId,
    page::{Position, Sort, SortField, SortKey},
    search::Query,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Breed, Defined, Parameters, definition, hold, raise, row};
use crate::{
    Job as DoorJob, Store, StoreError,
    find::{Question, Walk},
    jobs::{self, End, JobKind, Progress, Step, Stepping, Turn},
    profiles::Ahead,
    properties,
    statement::sql,
};

/// Such transactions in one step of the job.
const ROUNDS: usize = 16;
/// Longest pause of the job after one.
const LONGEST_REST: Duration = Duration::from_millis(250);
/// How the job of a definition shares the database. Meant so that writers keep half of their pace and a million people are done in
/// half a minute; README tells how far that holds.
struct Pace {
    /// People of one transaction.
    people: i64,
    /// How long the job rests after one while others write, in times it took.
    rest: f64,
}

/// People found at once, in transactions.
const PAGE: i64 = 8;

impl Pace {
    const fn on(sqlite: bool) -> Self {
        if sqlite {
            // Others' writes stand behind it: fewer people, and some fewer than the door carries out at once, so that those
            // who wait meanwhile go along in the same transaction.
            Self { people: 448, rest: 0.65 }
        } else {
            Self { people: 1_344, rest: 0.24 }
        }
    }
}

/// The job of a definition: visits, in the order of their creation, whoever is out of line and whoever time may move.
#[derive(Debug)]
pub struct Settle(pub Breed);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Checkpoint {
    after: (i64, Uuid),
}

impl JobKind for Settle {
    fn name(&self) -> &'static str {
        self.0.job()
    }

    fn step<'a>(&'a self, store: &'a Store, turn: Turn) -> Stepping<'a> {
        Box::pin(step(store, self.0, turn))
    }
}

async fn step(store: &Store, sort: Breed, turn: Turn) -> Result<(), StoreError> {
    let workspace = turn.lease.workspace;
    let parameters: Parameters = jobs::read(&turn.parameters)?;
    let after: Option<Checkpoint> = if turn.checkpoint.is_null() { None } else { Some(jobs::read(&turn.checkpoint)?) };
    let (row, properties) = store
        .read(move |tx| {
            Box::pin(async move {
                let found = row(tx, workspace, sort, parameters.id).await?;
                Ok((found, properties::load(tx, workspace).await?))
            })
        })
        .await?;
    // A definition that is another by now has a job of its own.
    let Some(row) = row.filter(|row| row.version == parameters.version) else {
        return store.advance_job(turn.lease, Progress { end: Some(End::Succeeded), ..Progress::default() }).await;
    };
    let filter = definition(sort, &row, &properties).map_err(|_| StoreError::Unreadable("a definition's filter"))?.filter;
    let holders = match sort {
        Breed::Segment => Filter::Is(Field::Segments, Test::HasAny(vec![row.id.to_string()])),
        Breed::Rule => Filter::Is(Field::Labels, Test::HasAny(vec![row.name.clone()])),
    };
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let mut concerned = vec![Filter::All(vec![filter.clone(), not(&holders)]), filter.may_flip(store.now())];
    concerned.push(if parameters.members { holders.clone() } else { Filter::All(vec![not(&filter), holders]) });
    let pace = Pace::on(store.is_sqlite());
    let question = Question {
        workspace,
        query: Query::default(),
        filter: Filter::Any(concerned),
        sort: Sort { field: SortField::CreatedAt, descending: false },
        after: after.map(|c| Position { key: SortKey::Time(c.after.0), id: ProfileId(c.after.1) }),
        pinned: Vec::new(),
        country: None,
        limit: pace.people * PAGE,
        count: false,
        now: store.now(),
    };
    let mut total = if turn.checkpoint.is_null() { Some(store.count(question.clone()).await?) } else { None };
    let ranks = Ranks { walk: store.walk(question), waiting: VecDeque::new(), people: usize::try_from(pace.people).unwrap_or(1) };
    let (mut ranks, mut batch) = look_ahead(store.clone(), ranks, after).await?;
    for round in 1..=ROUNDS {
        // What is left is anybody's once this process has gone.
        if *store.jobs.closing.borrow() {
            return Ok(());
        }
        let Some(Batch { people, last, ahead }) = batch else { return finish(store, sort, row, turn, total).await };
        // The next are looked for while these are at the door.
        let next = (round < ROUNDS).then(|| tokio::spawn(look_ahead(store.clone(), ranks, last)));
        let count = i64::try_from(people.len()).unwrap_or(0);
        let commands = people.into_iter().map(|id| Command::Reconsider { id, only: Some(row.id) }).collect();
        let told = total.take();
        let progress = move |_: &crate::Group| Progress {
            checkpoint: serde_json::to_value(last).unwrap_or_default(),
            processed: count,
            succeeded: count,
            total: told,
            ..Progress::default()
        };
        let step = Some(Step { ahead, ..Step::new(turn.lease, Arc::new(progress)) });
        let cause = turn.cause(store.now(), sort.job());
        let (begun, others) = (Instant::now(), store.door.requests());
        store.carry_out(DoorJob { workspace, cause, commands, idempotency: None, step }).await?;
        // Who wrote meanwhile has the door to themselves for a while.
        if store.door.requests() != others {
            tokio::time::sleep(begun.elapsed().mul_f64(pace.rest).min(LONGEST_REST)).await;
        }
        let Some(next) = next else { break };
        (ranks, batch) = next.await.map_err(|_| StoreError::Raced)??;
    }
    Ok(())
}

/// Those a definition concerns, in their order.
struct Ranks {
    walk: Walk,
    /// Found, and not yet read.
    waiting: VecDeque<ProfileId>,
    /// Of one transaction.
    people: usize,
}

/// Some of them.
struct Batch {
    people: Vec<ProfileId>,
    /// The last of them who was there, or else where the walk stood before.
    last: Option<Checkpoint>,
    ahead: Ahead,
}

/// Finds the next people, and reads them. Many are found at once, since that takes as long as finding a few; whoever ceases to
/// be concerned meanwhile is judged again for nothing, and whoever comes to be was judged by the write that made them so.
async fn look_ahead(store: Store, mut ranks: Ranks, before: Option<Checkpoint>) -> Result<(Ranks, Option<Batch>), StoreError> {
    if ranks.waiting.is_empty() {
        let found = ranks.walk.next_versions().await?.unwrap_or_default();
        ranks.waiting.extend(found.into_iter().map(|(id, _)| id));
    }
    let people: Vec<ProfileId> = ranks.waiting.drain(..ranks.people.min(ranks.waiting.len())).collect();
    if people.is_empty() {
        return Ok((ranks, None));
    }
    let ahead = Ahead::read(&store, ranks.walk.workspace(), people.iter().map(|id| id.0).collect()).await?;
    let last = people.iter().rev().find_map(|id| Some(Checkpoint { after: (ahead.created_at(*id)?.micros(), id.0) })).or(before);
    Ok((ranks, Some(Batch { people, last, ahead })))
}

/// Everyone is in line: the definition is live, or gone.
async fn finish(store: &Store, sort: Breed, row: Defined, turn: Turn, total: Option<i64>) -> Result<(), StoreError> {
    let (workspace, lease, now) = (turn.lease.workspace, turn.lease, store.now());
    store
        .write(move |tx| {
            let row = row.clone();
            Box::pin(async move {
                let removing = row.status == "removing";
                let text = match (sort, removing) {
                    (Breed::Segment, true) => "DELETE FROM segments WHERE workspace_id = $1 AND id = $2 AND definition_version = $3",
                    (Breed::Rule, true) => "DELETE FROM label_rules WHERE workspace_id = $1 AND id = $2 AND definition_version = $3",
                    (Breed::Segment, false) => {
                        "UPDATE segments SET status = 'live', computed_at = $4 WHERE workspace_id = $1 AND id = $2 AND definition_version = $3"
                    }
                    (Breed::Rule, false) => {
                        "UPDATE label_rules SET status = 'live', computed_at = $4 WHERE workspace_id = $1 AND id = $2 AND definition_version = $3"
                    }
                };
                let statement = sql(text).bind(workspace).bind(row.id).bind(row.version);
                if removing {
                    hold(tx, workspace).await?;
                    tx.run(statement).await?;
                    raise(tx, workspace).await?;
                } else {
                    tx.run(statement.bind(now)).await?;
                }
                jobs::advance(tx, lease, &Progress { end: Some(End::Succeeded), total, ..Progress::default() }, now).await
            })
        })
        .await
}
