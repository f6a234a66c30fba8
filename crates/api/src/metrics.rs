//! What `/metrics` tells: numbers for whoever runs the service, in the text format of OpenMetrics.
//!
//! A label is a method, a route as it is written in the document, a class of status, the name of a lane, a pool or a kind:
//! never an id, a key or anything a caller sent. So the number of series is bounded, and nothing of anybody is told.

use std::{
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, Instant, SystemTime},
};

use actix_web::http::{Method, StatusCode};
use people_store::{Standings, Store, StoreError};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use tokio::sync::Mutex;

use crate::lanes::{Lane, Lanes};

/// How long what the database counts is told again: scraping often costs it nothing.
const COUNTED: Duration = Duration::from_secs(5);

/// From a fast read to the longest a body may take.
const SECONDS: [f64; 15] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Answered {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InLane {
    lane: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Because {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfPool {
    pool: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfKind {
    kind: String,
    status: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InStatus {
    status: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Build {
    version: &'static str,
    engine: &'static str,
}

/// Why a request was turned away before its route saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its lane was full.
    Overloaded,
    /// Its key had used up its requests.
    RateLimited,
    /// The client came too slowly, or did not take its answer.
    Slow,
}

impl Rejection {
    const ALL: [Self; 3] = [Self::Overloaded, Self::RateLimited, Self::Slow];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Slow => "slow",
        }
    }
}

/// A time, as it is now.
type Seconds = Gauge<f64, AtomicU64>;

/// The counters of this process, and what is looked at when they are read.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Histogram, fn() -> Histogram>,
    in_flight: Family<InLane, Gauge>,
    lane_size: Family<InLane, Gauge>,
    rejected: Family<Because, Counter>,
    connections: Gauge,
    pools: Family<OfPool, Gauge>,
    jobs: Family<OfKind, Gauge>,
    queued_for: Seconds,
    overdue_for: Seconds,
    segments: Family<InStatus, Gauge>,
    webhooks: Family<InStatus, Gauge>,
    webhook_pending: Family<InStatus, Gauge>,
    database_up: Gauge,
    models: Gauge,
    model_bytes: Gauge,
    memory: Gauge,
    files: Gauge,
    counted: Mutex<Option<(Instant, bool)>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(store: &Store) -> Self {
        let mut registry = Registry::default();
        let answered = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        registry.register(
            "people_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            answered.clone(),
        );
        let in_flight = Family::<InLane, Gauge>::default();
        registry.register(
            "people_http_requests_in_flight",
            "Requests under way, by lane; exports and streams until their last byte",
            in_flight.clone(),
        );
        let lane_size = Family::<InLane, Gauge>::default();
        registry.register("people_http_lane_size", "Requests a lane takes before it sheds", lane_size.clone());
        let rejected = Family::<Because, Counter>::default();
        for reason in Rejection::ALL {
            // There from the start, at 0.
            drop(rejected.get_or_create(&Because { reason: reason.as_str() }));
        }
        registry.register("people_http_rejected", "Requests and connections turned away", rejected.clone());
        let connections = Gauge::default();
        registry.register("people_http_connections", "Open connections", connections.clone());
        store.register_meters(&mut registry);
        let pools = Family::<OfPool, Gauge>::default();
        registry.register(
            "people_database_connections",
            "Database connections: open, idle of these, and the most there may be",
            pools.clone(),
        );
        let database_up = Gauge::default();
        registry.register(
            "people_database_up",
            "Whether the database answered when it was last asked for the counts below",
            database_up.clone(),
        );
        let jobs = Family::<OfKind, Gauge>::default();
        registry.register("people_jobs", "Jobs of the last thirty days in the database, the same on every instance", jobs.clone());
        let queued_for = Seconds::default();
        registry.register(
            "people_jobs_oldest_queued_seconds",
            "How long the oldest job has waited to be begun, the same on every instance",
            queued_for.clone(),
        );
        let overdue_for = Seconds::default();
        registry.register(
            "people_due_oldest_seconds",
            "How long somebody is overdue to be judged by segments and rules because time has passed, at most; the same on every instance",
            overdue_for.clone(),
        );
        let segments = Family::<InStatus, Gauge>::default();
        registry.register("people_segments", "Segments in the database, the same on every instance", segments.clone());
        let webhooks = Family::<InStatus, Gauge>::default();
        registry.register("people_webhooks", "Webhook endpoints in the database, the same on every instance", webhooks.clone());
        let webhook_pending = Family::<InStatus, Gauge>::default();
        registry.register(
            "people_webhook_pending_changes",
            "Changes that webhook endpoints have not come to, summed up, the same on every instance",
            webhook_pending.clone(),
        );
        let models = Gauge::default();
        registry.register("people_read_models", "Workspaces answered from memory", models.clone());
        let model_bytes = Gauge::default();
        registry.register("people_read_model_bytes", "Memory that read models take", model_bytes.clone());
        let memory = Gauge::default();
        registry.register("process_resident_memory_bytes", "Memory of the process; 0 where it cannot be told", memory.clone());
        let files = Gauge::default();
        registry.register("process_open_fds", "Open files and sockets; 0 where it cannot be told", files.clone());
        let started = Gauge::<i64>::default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        started.set(i64::try_from(now).unwrap_or(0));
        registry.register("process_start_time_seconds", "When the process started, in seconds since 1970", started);
        let engine = if store.is_sqlite() { "sqlite" } else { "postgres" };
        registry.register("people_build", "What runs here", Info::new(Build { version: env!("CARGO_PKG_VERSION"), engine }));
        Self {
            registry,
            answered,
            in_flight,
            lane_size,
            rejected,
            connections,
            pools,
            jobs,
            queued_for,
            overdue_for,
            segments,
            webhooks,
            webhook_pending,
            database_up,
            models,
            model_bytes,
            memory,
            files,
            counted: Mutex::new(None),
        }
    }

    /// A request was answered. `route` is a pattern of the router, `None` where no route is.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let labels = Answered { method: known(method), route: template(route.unwrap_or("unmatched")), status: class(status) };
        self.answered.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn rejected(&self, reason: Rejection) {
        self.rejected.get_or_create(&Because { reason: reason.as_str() }).inc();
    }

    /// Everything, as it is now.
    pub async fn text(&self, store: &Store, lanes: &Lanes, connections: usize) -> String {
        for lane in Lane::ALL {
            let (size, taken) = lanes.standing(lane);
            self.lane_size.get_or_create(&InLane { lane: lane.as_str() }).set(gauged(size));
            self.in_flight.get_or_create(&InLane { lane: lane.as_str() }).set(gauged(taken));
        }
        self.connections.set(gauged(connections));
        for pool in store.pool_sizes() {
            let states = [("open", i64::from(pool.open)), ("idle", gauged(pool.idle)), ("most", i64::from(pool.most))];
            for (state, n) in states {
                self.pools.get_or_create(&OfPool { pool: pool.name, state }).set(n);
            }
        }
        let (models, bytes) = store.read_model_size();
        self.models.set(gauged(models));
        self.model_bytes.set(gauged(bytes));
        self.memory.set(resident());
        self.files.set(open_files());
        self.count(store).await;
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Asks the database, unless it was asked a moment ago. Where it does not answer the rest is told all the same.
    async fn count(&self, store: &Store) {
        let mut counted = self.counted.lock().await;
        if counted.is_some_and(|(since, _)| since.elapsed() < COUNTED) {
            return;
        }
        let standings: Result<Standings, StoreError> = store.standings().await;
        self.database_up.set(standings.is_ok().into());
        // Nobody knows, while the database does not answer: what was last heard may be long over.
        let waited = standings.as_ref().map_or((f64::NAN, f64::NAN), |s| (s.queued_for.as_secs_f64(), s.overdue_for.as_secs_f64()));
        self.queued_for.set(waited.0);
        self.overdue_for.set(waited.1);
        self.jobs.clear();
        self.segments.clear();
        self.webhooks.clear();
        self.webhook_pending.clear();
        if let Ok(standings) = &standings {
            for (kind, status, n) in &standings.jobs {
                self.jobs.get_or_create(&OfKind { kind: kind.clone(), status: status.clone() }).set(*n);
            }
            for (status, n) in &standings.segments {
                self.segments.get_or_create(&InStatus { status: status.clone() }).set(*n);
            }
            for (status, n, pending) in &standings.webhooks {
                self.webhooks.get_or_create(&InStatus { status: status.clone() }).set(*n);
                self.webhook_pending.get_or_create(&InStatus { status: status.clone() }).set(*pending);
            }
        }
        *counted = Some((Instant::now(), standings.is_ok()));
    }
}

fn gauged(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Anybody can make up a method; only those that HTTP knows become a label, or stand in the log.
pub fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// The pattern as the document writes it: `{id}` for `{id:[0-9a-f-]+}`.
fn template(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    // Braces nest where an expression counts repetitions.
    let (mut depth, mut in_expression) = (0_u32, false);
    for c in pattern.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => in_expression = true,
            _ => {}
        }
        if depth == 0 {
            in_expression = false;
        }
        if !in_expression {
            out.push(c);
        }
    }
    out
}

/// Resident memory, where Linux tells it.
fn resident() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) * 1024
}

fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| gauged(files.count()))
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn a_route_is_told_as_the_document_writes_it() {
        assert_eq!(template("/v1/jobs/{id:[0-9a-fA-F-]+}/stream"), "/v1/jobs/{id}/stream");
        assert_eq!(template("/v1/x/{a:[0-9]{2}}/{b}"), "/v1/x/{a}/{b}");
        assert_eq!(template("/docs/{_:.*}"), "/docs/{_}");
        assert_eq!(template("/v1/profiles"), "/v1/profiles");
    }
}
