//! Who is next: jobs that wait are gathered into groups, and large groups are given their place in line.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::{mpsc, watch};

use super::{
    GROUP, Job, QUEUE, STEPS, Waiting,
    engaged::Engaged,
    is_alone,
    line::{LARGE, Line, Place},
};
use crate::dialect::Engine;

pub(super) struct Intake {
    queue: mpsc::Receiver<Waiting>,
    /// Taken from the queue, but not for the group that was being gathered.
    held_back: VecDeque<Waiting>,
    closed: watch::Receiver<bool>,
    engaged: Arc<Engaged>,
    line: Arc<Line>,
    engine: Engine,
}

impl Intake {
    pub(super) fn new(queue: mpsc::Receiver<Waiting>, closed: watch::Receiver<bool>, engaged: Arc<Engaged>, engine: Engine) -> Self {
        Self { queue, held_back: VecDeque::new(), closed, engaged, line: Arc::default(), engine }
    }

    /// The next job; `None` once the door is closed and nothing waits any more.
    async fn first(&mut self) -> Option<Waiting> {
        loop {
            let free = self.held_back.iter().position(|waiting| !self.engaged.concerns(&waiting.job));
            if let Some(first) = free.and_then(|place| self.held_back.remove(place)) {
                return Some(first);
            }
            let engaged = Arc::clone(&self.engaged);
            let next = tokio::select! {
                biased;
                waiting = self.queue.recv() => waiting,
                // Told while nobody listened, it is told now.
                () = engaged.freed.notified() => continue,
                _ = self.closed.wait_for(|closed| *closed), if self.held_back.is_empty() => self.queue.try_recv().ok(),
            };
            match next {
                Some(next) => self.held_back.push_back(next),
                None if self.held_back.is_empty() => return None,
                // Nobody sends any more; who is held back has their turn when the others are free.
                None => engaged.freed.notified().await,
            }
        }
    }

    /// Where there is one writer and it is at work: waits until it is free, or a large group has come together. A small one
    /// taken now would only wait there, and others could not join it.
    async fn until_worth_while(&mut self, first: &Job) {
        let counts = |job: &Job| if job.workspace == first.workspace && !is_alone(job) { job.commands.len() } else { 0 };
        while self.engine == Engine::Sqlite && self.line.is_busy() {
            while self.held_back.len() < QUEUE
                && let Ok(next) = self.queue.try_recv()
            {
                self.held_back.push_back(next);
            }
            let size = counts(first) + self.held_back.iter().map(|waiting| counts(&waiting.job)).sum::<usize>();
            if size >= LARGE && !is_alone(first) {
                return;
            }
            let line = Arc::clone(&self.line);
            tokio::select! {
                () = line.freed.notified() => {}
                next = self.queue.recv(), if self.held_back.len() < QUEUE => match next {
                    Some(next) => self.held_back.push_back(next),
                    // Nobody sends any more.
                    None => line.freed.notified().await,
                },
            }
        }
    }

    /// The next group, what waits for one workspace, no idempotency key twice; and its place, where it stands in line.
    pub(super) async fn next(&mut self) -> Option<(Vec<Waiting>, Option<Place>)> {
        let first = self.first().await?;
        self.until_worth_while(&first.job).await;
        let workspace = first.job.workspace;
        let group = self.group(first);
        let size = group.iter().map(|waiting| waiting.job.commands.len()).sum::<usize>();
        let is_alone = group.iter().any(|waiting| is_alone(&waiting.job));
        let place = match self.engine {
            Engine::Sqlite => Some(self.line.enter(None, workspace)),
            // Steps of background jobs whatever their size, so that those of one job keep their order.
            Engine::Postgres => {
                let is_step = group.iter().any(|waiting| waiting.job.step.is_some());
                ((size >= LARGE || is_step) && !is_alone).then(|| self.line.enter(Some(workspace), workspace))
            }
        };
        Some((group, place))
    }

    fn group(&mut self, first: Waiting) -> Vec<Waiting> {
        let workspace = first.job.workspace;
        if is_alone(&first.job) {
            return vec![first];
        }
        let mut size = first.job.commands.len();
        let mut keys: BTreeSet<String> = first.job.idempotency.iter().map(|(i, _)| i.key.clone()).collect();
        let mut group = vec![first];
        let mut others = VecDeque::new();
        let mut held_back = std::mem::take(&mut self.held_back);
        let of_steps = self.engine == Engine::Sqlite && group.iter().all(|waiting| waiting.job.step.is_some());
        let most = if of_steps { STEPS } else { GROUP };
        while size < most {
            let Some(next) = held_back.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            let fits = next.job.workspace == workspace
                && !is_alone(&next.job)
                // A request joins no group that is large already.
                && (size < GROUP || next.job.step.is_some())
                && !self.engaged.concerns(&next.job)
                && next.job.idempotency.as_ref().is_none_or(|(i, _)| keys.insert(i.key.clone()));
            if fits {
                size += next.job.commands.len();
                group.push(next);
            } else {
                others.push_back(next);
                // Do not let one busy workspace drain the queue past everybody else.
                if others.len() >= GROUP {
                    break;
                }
            }
        }
        others.append(&mut held_back);
        self.held_back = others;
        group
    }
}
