//! Who is next: jobs that wait are gathered into groups, and large groups are given their place in line.
//!
//! On PostgreSQL two groups are saved side by side where they have nobody in common (`line.rs`). Of many requests about many
//! people hardly any two groups would have, so while a large group is being saved, requests that name none of the same are
//! chosen for the next; the others wait for the one after it, and no request more than [`PATIENCE`] times.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use people_domain::{directory::Needs, id::WorkspaceId};
use tokio::sync::{mpsc, watch};

use super::{
    GROUP, Job, QUEUE, STEPS, Waiting,
    engaged::Engaged,
    is_alone,
    line::{LARGE, Line, Place},
};
use crate::dialect::Engine;

/// Groups that a request lets go before it because it has somebody in common with the one that is being saved.
const PATIENCE: u8 = 2;

/// A large group in line, and whom it names.
struct Known {
    workspace: WorkspaceId,
    place: u64,
    needs: Needs,
}

pub(super) struct Intake {
    queue: mpsc::Receiver<Waiting>,
    /// Taken from the queue, but not for the group that was being gathered.
    held_back: VecDeque<Waiting>,
    closed: watch::Receiver<bool>,
    engaged: Arc<Engaged>,
    line: Arc<Line>,
    /// The last large group; never on SQLite, where one group is saved at a time.
    last: Option<Known>,
    engine: Engine,
}

impl Intake {
    pub(super) fn new(queue: mpsc::Receiver<Waiting>, closed: watch::Receiver<bool>, engaged: Arc<Engaged>, engine: Engine) -> Self {
        Self { queue, held_back: VecDeque::new(), closed, engaged, line: Arc::default(), last: None, engine }
    }

    /// The next job; `None` once the door is closed and nothing waits any more.
    async fn first(&mut self) -> Option<Waiting> {
        loop {
            if let Some(first) = self.foremost().and_then(|place| self.held_back.remove(place)) {
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

    /// Who of those that wait is next: the first, or the first that the group being saved need not be waited for.
    fn foremost(&mut self) -> Option<usize> {
        if self.saving().is_some() {
            self.take_in();
        }
        let mut free = (0..).zip(&self.held_back).filter(|(_, waiting)| !self.engaged.concerns(&waiting.job));
        let first @ (place, waiting) = free.next()?;
        let Some(saving) = self.saving().filter(|_| waiting.passed_over < PATIENCE) else { return Some(place) };
        let beside = std::iter::once(first).chain(free).find(|(_, waiting)| waiting.is_apart(saving));
        Some(beside.map_or(place, |(place, _)| place))
    }

    /// The group that others may be saved beside.
    fn saving(&self) -> Option<&Known> {
        self.last.as_ref().filter(|last| self.line.is_last(last.place))
    }

    /// Takes over what waits in the queue.
    fn take_in(&mut self) {
        while self.held_back.len() < QUEUE
            && let Ok(next) = self.queue.try_recv()
        {
            self.held_back.push_back(next);
        }
    }

    /// Where there is one writer and it is at work: waits until it is free, or a large group has come together. A small one
    /// taken now would only wait there, and others could not join it.
    async fn until_worth_while(&mut self, first: &Job) {
        let counts = |job: &Job| if job.workspace == first.workspace && !is_alone(job) { job.commands.len() } else { 0 };
        while self.engine == Engine::Sqlite && self.line.is_busy() {
            self.take_in();
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
        if let (Engine::Postgres, Some(place)) = (self.engine, &place) {
            let mut needs = Needs::default();
            group.iter().for_each(|waiting| needs.extend(waiting.needs()));
            self.last = Some(Known { workspace, place: place.number(), needs });
        }
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
        // Taken along, one that is not would have all of them wait.
        let beside = self.last.take_if(|last| self.line.is_last(last.place) && group.iter().all(|waiting| waiting.is_apart(last)));
        while size < most {
            let Some(next) = held_back.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            let fits = next.job.workspace == workspace
                && !is_alone(&next.job)
                // A request joins no group that is large already.
                && (size < GROUP || next.job.step.is_some())
                && !self.engaged.concerns(&next.job)
                && beside.as_ref().is_none_or(|saving| next.is_apart(saving))
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
        if beside.is_some() {
            self.last = beside;
        }
        others.iter_mut().for_each(|waiting| waiting.passed_over = waiting.passed_over.saturating_add(1));
        self.held_back = others;
        group
    }
}

impl Waiting {
    /// Whom and what it names.
    fn needs(&self) -> &Needs {
        self.needs.get_or_init(|| {
            let mut needs = Needs::default();
            self.job.commands.iter().for_each(|command| command.needs(&mut needs));
            needs
        })
    }

    /// Whether it names nobody of that group. Steps of background jobs keep their order among themselves.
    fn is_apart(&self, group: &Known) -> bool {
        self.job.workspace != group.workspace || self.job.step.is_some() || self.needs().is_apart(&group.needs)
    }
}
