//! Delivering: every process looks for endpoints that are due, takes some by lease, and sends them what comes next, one
//! after the other. A slow or failing endpoint keeps nobody else waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use people_domain::{
    Timestamp,
    clock::Span,
    webhook::{Disabled, retry::Patience},
};
use people_store::{DeliveryStatus, Endpoint, Outcome, Outcomes, Store, StoreError, WebhookLease, unbroken};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    message::{Message, body, id_of},
    sender::{Sender, Sent},
    settings::WebhookSettings,
};

/// Between looks for endpoints that are due.
const POLL: Duration = Duration::from_millis(250);
/// Changes read at once.
const PAGE: i64 = 200;
/// How long changes are sent before how it went is noted, and the next are read.
const TURN: Duration = Duration::from_millis(500);
/// How long one endpoint is served while others may wait.
const SLICE: Duration = Duration::from_secs(5);
/// Times the database is asked again to note how it went.
const TRIES: u32 = 5;

#[derive(Clone, Debug)]
struct Worker {
    store: Store,
    sender: Sender,
    patience: Patience,
    owner: Uuid,
    closing: watch::Receiver<bool>,
}

/// Delivers until the process goes. Who stops the jobs waits for what is under way.
pub async fn start(store: &Store, sender: Sender, settings: &WebhookSettings) {
    if settings.at_once == 0 {
        return;
    }
    let worker =
        Worker { store: store.clone(), sender, patience: settings.patience, owner: Uuid::new_v4(), closing: store.jobs_stopping() };
    let at_once = settings.at_once;
    store.keep_until_stopped(tokio::spawn(unbroken("delivery to webhooks", move || worker.clone().run(at_once)))).await;
}

impl Worker {
    async fn run(mut self, at_once: usize) {
        let slots = Arc::new(Semaphore::new(at_once));
        let mut serving = JoinSet::new();
        while !*self.closing.borrow() {
            let free = slots.available_permits();
            if free > 0 {
                match self.store.due_webhooks(i64::try_from(free).unwrap_or(1)).await {
                    Ok(due) => {
                        for (workspace, webhook) in due {
                            let Ok(permit) = Arc::clone(&slots).try_acquire_owned() else { break };
                            match self.store.take_webhook(workspace, webhook, self.owner).await {
                                Ok(Some(lease)) => drop(serving.spawn(self.clone().serve(lease, permit))),
                                // Somebody else was first.
                                Ok(None) => {}
                                Err(error) => tracing::debug!(%error, "a webhook could not be taken"),
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "webhooks that are due cannot be read"),
                }
            }
            tokio::select! {
                // Never in step with other processes.
                () = tokio::time::sleep(POLL.mul_f64(0.5 + random())) => {}
                _ = self.closing.wait_for(|closing| *closing) => {}
            }
            while serving.try_join_next().is_some() {}
        }
        while serving.join_next().await.is_some() {}
    }

    async fn serve(self, lease: WebhookLease, permit: OwnedSemaphorePermit) {
        // It stops with the work, however that ends: else nobody would ever take the endpoint over.
        let mut heart = JoinSet::new();
        heart.spawn(beat(self.store.clone(), lease));
        let served = self.turns(lease).await;
        drop(heart);
        match served {
            Ok(()) | Err(StoreError::Stale) => {}
            Err(error) => {
                tracing::warn!(%error, code = error.code(), webhook = %lease.webhook, "a webhook has to wait");
                // When this fails too, the lease runs out by itself.
                let _ = self.store.release_webhook(lease).await;
            }
        }
        drop(permit);
    }

    /// Turn by turn, until there is nothing more, it failed, or it is others' turn.
    async fn turns(&self, lease: WebhookLease) -> Result<(), StoreError> {
        let since = Instant::now();
        loop {
            let Some(endpoint) = self.store.webhook_turn(lease, PAGE).await? else {
                return self.store.release_webhook(lease).await;
            };
            let mut done = self.turn(lease, &endpoint).await;
            let failed = matches!(done.outcome, Outcome::Failed { .. });
            let over = done.seq == endpoint.seen && endpoint.is_last;
            done.release = failed || over || *self.closing.borrow() || since.elapsed() > SLICE;
            let release = done.release;
            self.note(lease, done).await?;
            if release {
                return Ok(());
            }
        }
    }

    /// What is sent was sent: noting it is worth some patience.
    async fn note(&self, lease: WebhookLease, done: Outcomes) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            match self.store.webhook_done(lease, done.clone()).await {
                Err(StoreError::Raced | StoreError::Unavailable | StoreError::Full) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                noted => return noted,
            }
        }
    }

    /// Sends what is due, in order, up to the first that fails.
    async fn turn(&self, lease: WebhookLease, endpoint: &Endpoint) -> Outcomes {
        let began = Instant::now();
        let mut done = Outcomes {
            seq: endpoint.seen,
            deliveries: Vec::new(),
            outcome: Outcome::Idle,
            had_open: endpoint.open.is_some(),
            release: false,
        };
        for due in &endpoint.due {
            if !done.deliveries.is_empty() && (began.elapsed() > TURN || *self.closing.borrow()) {
                done.seq = due.change.seq - 1;
                break;
            }
            let seq = due.change.seq;
            let sent = match &endpoint.secrets {
                Ok(secrets) => {
                    let message = Message::new(id_of(lease.webhook, seq), body(due, endpoint.payload), secrets);
                    self.sender.send(&endpoint.url, &message, self.store.now()).await
                }
                Err(class) => unsent(self.store.now(), class),
            };
            let open = endpoint.open.as_ref().filter(|open| open.seq == Some(seq)).cloned();
            let mut delivery = open.unwrap_or_else(|| self.store.new_delivery(Some(seq), &due.change.kind, id_of(lease.webhook, seq)));
            delivery.tried(sent.attempt.clone());
            delivery.next_attempt_at = None;
            if sent.is_taken() {
                delivery.status = DeliveryStatus::Delivered;
                done.outcome = Outcome::Delivered;
                done.deliveries.push(delivery);
                continue;
            }
            // The first of this turn goes on with what failed before; after a success failing begins anew.
            let before = if done.deliveries.is_empty() { endpoint.failing_since.map(|since| (endpoint.failures, since)) } else { None };
            done.outcome = self.failed(&sent, before);
            if let Outcome::Failed { next, disabled, .. } = done.outcome {
                delivery.status = if disabled.is_some() { DeliveryStatus::Failed } else { DeliveryStatus::Pending };
                delivery.next_attempt_at = next;
            }
            done.deliveries.push(delivery);
            done.seq = seq - 1;
            break;
        }
        done
    }

    fn failed(&self, sent: &Sent, before: Option<(i64, Timestamp)>) -> Outcome {
        let now = self.store.now();
        let (failures, since) = before.map_or((1, now), |(failures, since)| (failures + 1, since));
        if sent.is_gone() {
            return Outcome::Failed { failures, since, next: None, disabled: Some(Disabled::Gone) };
        }
        let failing = Duration::from_micros(u64::try_from(now.micros() - since.micros()).unwrap_or(0));
        let pause = self.patience.pause(u32::try_from(failures).unwrap_or(u32::MAX), failing, sent.retry_after, random());
        let next = pause.map(|pause| now.plus(Span::from_micros(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))));
        Outcome::Failed { failures, since, next, disabled: next.is_none().then_some(Disabled::Failing) }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0
}

/// An attempt that never left.
pub fn unsent(at: Timestamp, class: &str) -> Sent {
    let attempt = people_store::Attempt { at, status_code: None, duration_ms: 0, error: Some(class.to_owned()) };
    Sent { attempt, retry_after: None }
}

/// Prolongs the lease while requests take long.
async fn beat(store: Store, lease: WebhookLease) {
    loop {
        tokio::time::sleep(store.webhook_heartbeat()).await;
        match store.prolong_webhook(lease).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "a lease could not be prolonged"),
        }
    }
}
