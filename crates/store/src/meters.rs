//! What the store counts of itself, for `/metrics`: numbers and the names of kinds, nothing of anybody.

use std::{fmt, time::Duration};

use people_domain::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use sqlx::FromRow;

use crate::{Store, StoreError, engine::Pools, statement::sql, time::At};

/// Counted as it happens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meters {
    /// Who asked for a connection and has none yet.
    pub(crate) waiting: Gauge,
    /// Jobs that wait for the door.
    pub(crate) queue: Gauge,
    /// Commands of a group.
    pub(crate) group_size: Histogram,
    pub(crate) group_seconds: Histogram,
    /// Until the disk has taken SQLite's log.
    pub(crate) flush_seconds: Histogram,
    /// Groups decided while the one before them was saved.
    ahead: Family<WhatBecame, Counter>,
    beside: Family<WhatBecame, Counter>,
    /// Requests to webhooks.
    deliveries: Family<HowItWent, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HowItWent {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WhatBecame {
    decision: &'static str,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    /// A request to a webhook was taken, or was not.
    pub(crate) fn delivered(&self, taken: bool) {
        self.deliveries.get_or_create(&HowItWent { outcome: if taken { "delivered" } else { "failed" } }).inc();
    }

    /// A group that was decided ahead had its turn: what was decided stood, or not.
    pub(crate) fn decided_ahead(&self, stood: bool) {
        self.ahead.get_or_create(&WhatBecame { decision: if stood { "kept" } else { "repeated" } }).inc();
    }

    /// A group was saved while the one before it was being saved; its rows were kept, or taken back since the other began anew.
    pub(crate) fn saved_beside(&self, kept: bool) {
        self.beside.get_or_create(&WhatBecame { decision: if kept { "kept" } else { "repeated" } }).inc();
    }

    pub(crate) fn new() -> Self {
        let deliveries = Family::<HowItWent, Counter>::default();
        for outcome in ["delivered", "failed"] {
            // There from the start, at 0.
            drop(deliveries.get_or_create(&HowItWent { outcome }));
        }
        let (ahead, beside) = (Family::<WhatBecame, Counter>::default(), Family::<WhatBecame, Counter>::default());
        for decision in ["kept", "repeated"] {
            drop(ahead.get_or_create(&WhatBecame { decision }));
            drop(beside.get_or_create(&WhatBecame { decision }));
        }
        Self {
            ahead,
            beside,
            deliveries,
            waiting: Gauge::default(),
            queue: Gauge::default(),
            group_size: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            group_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            flush_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
        }
    }
}

/// Counts somebody for as long as it lives, also when they give up.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn by(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A pool of connections, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// `writers` or `readers`.
    pub name: &'static str,
    pub open: u32,
    pub idle: usize,
    pub most: u32,
}

/// What stands in the database, over all workspaces.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    /// Jobs of the last thirty days: kind, status, how many.
    pub jobs: Vec<(String, String, i64)>,
    /// Segments: status, how many.
    pub segments: Vec<(String, i64)>,
    /// Endpoints: `enabled` or why not, how many, and changes they have not come to.
    pub webhooks: Vec<(String, i64, i64)>,
    /// How long the oldest job has waited that nobody has begun.
    pub queued_for: Duration,
    /// How long those are overdue whose time came first, and who have not been judged since.
    pub overdue_for: Duration,
}

#[derive(FromRow)]
struct Jobs {
    kind: String,
    status: String,
    n: i64,
}

#[derive(FromRow)]
struct Segments {
    status: String,
    n: i64,
}

#[derive(FromRow)]
struct Webhooks {
    status: String,
    n: i64,
    pending: i64,
}

impl Store {
    /// Puts the store's own counters into a registry.
    pub fn register_meters(&self, registry: &mut Registry) {
        let meters = self.pools.meters().clone();
        registry.register("people_database_waiting", "Who asked for a database connection and has none yet", meters.waiting);
        registry.register("people_writer_queue_depth", "Requests that wait for the writer", meters.queue);
        registry.register("people_writer_group_commands", "Commands that shared a commit", meters.group_size);
        registry.register(
            "people_writer_group_seconds",
            "Time from the beginning of a group to its commit, retries included",
            meters.group_seconds,
        );
        registry.register(
            "people_log_flush_seconds",
            "Time that the disk takes for SQLite's log; no write is answered before. One flush serves all who wait when it begins",
            meters.flush_seconds,
        );
        registry.register(
            "people_writer_groups_ahead",
            "Groups decided while the one before them was saved, by whether that decision was kept or repeated in their turn",
            meters.ahead,
        );
        registry.register(
            "people_writer_groups_beside",
            "Groups saved while the one before them was being saved, by whether what they had written was kept or repeated in their turn",
            meters.beside,
        );
        registry.register("people_webhook_deliveries", "Requests sent to webhooks, pings and repetitions included", meters.deliveries);
    }

    pub fn pool_sizes(&self) -> [PoolSize; 2] {
        match &self.pools {
            Pools::Sqlite { writer, readers, kept, .. } => [
                PoolSize { name: "writers", open: writer.size(), idle: writer.num_idle(), most: writer.options().get_max_connections() },
                PoolSize {
                    name: "readers",
                    open: readers.size(),
                    idle: readers.num_idle().saturating_add(kept.len()),
                    most: readers.options().get_max_connections(),
                },
            ],
            Pools::Postgres { writers, pool, kept, .. } => [
                PoolSize { name: "writers", open: writers.size(), idle: writers.num_idle(), most: writers.options().get_max_connections() },
                PoolSize {
                    name: "readers",
                    open: pool.size(),
                    idle: pool.num_idle().saturating_add(kept.len()),
                    most: pool.options().get_max_connections(),
                },
            ],
        }
    }

    /// Workspaces whose people are in memory, and the bytes they take.
    pub fn read_model_size(&self) -> (usize, usize) {
        self.keeper.size()
    }

    /// Counts jobs and segments across workspaces: to be asked every few seconds at most.
    pub async fn standings(&self) -> Result<Standings, StoreError> {
        let jobs: Vec<Jobs> = self.pools.all(sql("SELECT kind, status, count(*){as_bigint} AS n FROM jobs GROUP BY kind, status")).await?;
        let segments: Vec<Segments> = self.pools.all(sql("SELECT status, count(*){as_bigint} AS n FROM segments GROUP BY status")).await?;
        let webhooks: Vec<Webhooks> = self
            .pools
            .all(sql("SELECT coalesce(w.disabled_reason, 'enabled') AS status, count(*){as_bigint} AS n,
                             CAST(sum(coalesce(h.seq, w.seq) - w.seq) AS BIGINT) AS pending
                      FROM webhooks AS w LEFT JOIN change_heads AS h ON h.workspace_id = w.workspace_id
                      GROUP BY coalesce(w.disabled_reason, 'enabled')"))
            .await?;
        let queued: Option<(Option<At>,)> = self.pools.one(sql("SELECT min(created_at) AS at FROM jobs WHERE status = 'queued'")).await?;
        let now = self.now();
        let since = |at: Option<Timestamp>| {
            let micros = at.map_or(0, |at| now.micros() - at.micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        let queued = queued.and_then(|(at,)| at).map(|at| at.0);
        let due = self.oldest_due(now).await?;
        Ok(Standings {
            queued_for: since(queued),
            overdue_for: since(due),
            webhooks: webhooks.into_iter().map(|row| (row.status, row.n, row.pending)).collect(),
            jobs: jobs.into_iter().map(|row| (row.kind, row.status, row.n)).collect(),
            segments: segments.into_iter().map(|row| (row.status, row.n)).collect(),
        })
    }
}
