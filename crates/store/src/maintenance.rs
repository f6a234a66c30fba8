//! What the store does beside requests: checkpoints of SQLite's log, statistics of PostgreSQL's tables, scrubbing its file after
//! erasures, giving memory back, forgetting old changes of the feed, and bringing search text in line with properties that became
//! searchable. Everything here can be stopped at any point and goes on where it stood.

use std::time::Duration;

use people_domain::{id::WorkspaceId, search};
use sqlx::{Executor as _, FromRow};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    engine::{Pools, unbroken},
    profiles, properties,
    rows::{Kind, Rows},
    scrub::Scrubbing,
    statement::sql,
    time::At,
};

/// People whose search text is renewed in one transaction.
const CHUNK: i64 = 500;
/// Rounds, of a second each, between looks for changes that are kept no longer.
const FORGETTING: u64 = 10;
/// Rounds between moves of SQLite's log into the database. Pages that are written again and again meanwhile are moved once.
const MOVING: u64 = 4;
/// Log size, in pages, from which a checkpoint may make writers wait.
const FORCED: i64 = 64_000;
/// Pages that a writer can wait for.
const LITTLE: i64 = 4_000;
/// Rounds without a write after which the writer's pages are given back.
const QUIET: u32 = 5;
/// Times that a checkpoint looks for what came in meanwhile.
const PASSES: u32 = 6;

#[derive(FromRow)]
struct Refresh {
    workspace_id: Uuid,
    key: String,
    after_profile_id: Option<Uuid>,
    requested_at: At,
}

/// Since when nothing has been written.
#[derive(Debug, Default)]
struct Resting {
    commits: u64,
    rounds: u32,
}

impl Store {
    /// Runs until the store is closed.
    pub async fn maintain(self) {
        let [following, watching, looking] = [(); 3].map(|()| self.clone());
        tokio::spawn(unbroken("the follower of the feed", move || {
            let store = following.clone();
            async move { store.keeper.follow(&store, || store.is_closed()).await }
        }));
        tokio::spawn(unbroken("the watch of those whose time comes", move || watching.clone().watch_time()));
        tokio::spawn(unbroken("the look-out for duplicates", move || looking.clone().look_out()));
        unbroken("maintenance", || self.keep_up()).await;
    }

    async fn keep_up(&self) {
        let mut scrubbing = Scrubbing::default();
        let mut resting = Resting::default();
        for round in 0_u64.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.is_closed() {
                return;
            }
            match &self.pools {
                Pools::Sqlite { kept, .. } => kept.rest(),
                Pools::Postgres { kept, .. } => kept.rest(),
            }
            if round.is_multiple_of(MOVING)
                && let Err(error) = self.checkpoint().await
            {
                tracing::debug!(%error, "checkpoint put off");
            }
            if let Err(error) = self.rest(&mut resting).await {
                tracing::debug!(%error, "the writer's pages are kept for now");
            }
            if let Err(error) = self.take_stock().await {
                tracing::debug!(%error, "tables that grew could not be analysed yet");
            }
            if self.is_sqlite() {
                self.scrub_when_due(&mut scrubbing).await;
            }
            if round.is_multiple_of(FORGETTING)
                && let Err(error) = self.forget_changes().await
            {
                tracing::warn!(%error, code = error.code(), "old changes could not be taken out of the feed yet");
            }
            match self.refresh_search().await {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, code = error.code(), "search text could not be renewed yet"),
            }
        }
    }

    /// Judges people when their time has come; those whose time came while nothing ran are judged first of all.
    async fn watch_time(self) {
        while !self.is_closed() {
            if let Err(error) = self.judge_due().await {
                tracing::warn!(%error, code = error.code(), "people whose time has come could not be judged yet");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn is_closed(&self) -> bool {
        match &self.pools {
            Pools::Sqlite { writer, .. } => writer.is_closed(),
            Pools::Postgres { pool, .. } => pool.is_closed(),
        }
    }

    /// Moves SQLite's log into the database beside the writers. A very long log is begun anew, which makes them wait until its
    /// last page is in its place: so what came in while it was moved is moved beside them first, until that is little.
    async fn checkpoint(&self) -> Result<(), StoreError> {
        let Pools::Sqlite { writer, readers, kept, background, .. } = &self.pools else { return Ok(()) };
        let _alone = background.move_the_log().await;
        let wanted = kept.wanted(readers);
        let mut reader = readers.acquire().await?;
        drop(wanted);
        let mut length = 0;
        for _ in 0..PASSES {
            // Readers are query_only; a checkpoint is not a query, and needs a connection that may write.
            let (_, log, moved): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *reader).await?;
            if log <= FORCED {
                return Ok(());
            }
            if moved < log {
                // A reader keeps some of it from being moved.
                if log - moved <= FORCED {
                    return Ok(());
                }
                break;
            }
            // Each pass finds what came in during the one before.
            if log - length <= LITTLE {
                break;
            }
            length = log;
        }
        drop(reader);
        let mut writer = writer.acquire().await?;
        // A long reader, such as a backup, is not waited for: writers stand behind this.
        sqlx::query("PRAGMA busy_timeout = 200").execute(&mut *writer).await?;
        let restarted = sqlx::query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(RESTART)").fetch_one(&mut *writer).await;
        sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut *writer).await?;
        restarted?;
        Ok(())
    }

    /// Gives back the pages SQLite's writing connection keeps in memory, once nothing has been written for a while. The system
    /// has them too, for as long as it has nothing better to keep.
    async fn rest(&self, resting: &mut Resting) -> Result<(), StoreError> {
        let Pools::Sqlite { writer, disk, .. } = &self.pools else { return Ok(()) };
        let commits = disk.commits();
        if commits != resting.commits {
            *resting = Resting { commits, rounds: 0 };
            return Ok(());
        }
        resting.rounds = resting.rounds.saturating_add(1);
        if resting.rounds == QUIET {
            writer.execute("PRAGMA shrink_memory").await?;
        }
        Ok(())
    }

    /// Analyses PostgreSQL's tables each time they have grown to four times their size, as far as indexes go. Autovacuum comes
    /// round once a minute; until then the planner takes a workspace for as telling as an e-mail address, and an import into a
    /// new database reads all of its identities for each row. Citus keeps to its own.
    async fn take_stock(&self) -> Result<(), StoreError> {
        let Pools::Postgres { pool, kept, .. } = &self.pools else { return Ok(()) };
        const GROWN: &str = "DO $$
            DECLARE grown record;
            BEGIN
                IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus') THEN RETURN; END IF;
                -- Rows to look at: how telling a column is, roughly. Autovacuum finds out the rest.
                PERFORM set_config('default_statistics_target', '10', true);
                -- A table that somebody else analyses at this moment is not worth a line of the log.
                PERFORM set_config('client_min_messages', 'error', true);
                FOR grown IN
                    SELECT c.oid::regclass AS name, string_agg(DISTINCT quote_ident(a.attname), ', ') AS columns
                    FROM pg_class AS c
                    JOIN pg_stat_user_tables AS s ON s.relid = c.oid
                    JOIN pg_index AS i ON i.indrelid = c.oid
                    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                    WHERE s.schemaname = current_schema() AND s.n_live_tup > 500 + 3 * greatest(c.reltuples, 0)
                      AND pg_has_role(c.relowner, 'USAGE')
                    GROUP BY c.oid
                LOOP
                    EXECUTE format('ANALYZE (SKIP_LOCKED) %s (%s)', grown.name, grown.columns);
                END LOOP;
            END $$";
        let wanted = kept.wanted(pool);
        let mut connection = pool.acquire().await?;
        drop(wanted);
        connection.execute(GROWN).await?;
        Ok(())
    }

    /// Renews the search text of everyone after a property became searchable or ceased to be.
    pub async fn refresh_search(&self) -> Result<(), StoreError> {
        loop {
            let next: Option<Refresh> = self
                .pools
                .one(sql("SELECT workspace_id, key, after_profile_id, requested_at FROM search_refreshes ORDER BY requested_at LIMIT 1"))
                .await?;
            let Some(next) = next else { return Ok(()) };
            self.refresh_chunk(next).await?;
        }
    }

    /// One chunk of the walk. What was asked anew meanwhile begins from its beginning: a walk only ends, or moves on, the
    /// request it was made for.
    async fn refresh_chunk(&self, refresh: Refresh) -> Result<(), StoreError> {
        let Refresh { workspace_id, key, after_profile_id: after, requested_at } = refresh;
        let (workspace, requested_at) = (WorkspaceId(workspace_id), requested_at.0);
        self.write(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let definitions = properties::load(tx, workspace).await?;
                let chunk: Vec<(Uuid,)> = tx
                    .all(
                        sql("SELECT profile_id FROM profile_documents WHERE workspace_id = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3")
                            .bind(workspace)
                            .bind(after.unwrap_or(Uuid::nil()))
                            .bind(CHUNK),
                    )
                    .await?;
                let Some((last,)) = chunk.last().copied() else {
                    tx.run(
                        sql("DELETE FROM search_refreshes WHERE workspace_id = $1 AND key = $2 AND requested_at = $3")
                            .bind(workspace)
                            .bind(key.as_str())
                            .bind(requested_at),
                    )
                    .await?;
                    return Ok(());
                };
                let people = profiles::whole(tx, workspace, chunk.into_iter().map(|(id,)| id), true).await?;
                let mut rows = Rows::new(&[("id", Kind::Uuid), ("search_text", Kind::Text)]);
                for profile in people.iter().filter(|profile| profile.attributes.contains_key(&key)) {
                    rows.push([profile.id.into(), search::text_of(profile, &definitions).into()]);
                }
                if !rows.is_empty() {
                    tx.run(
                        sql("UPDATE profiles SET search_text = r.search_text
                             FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
                             WHERE {aside}profiles.workspace_id = $1 AND profiles.workspace_id = r.workspace_id AND profiles.id = r.id")
                        .bind(workspace)
                        .rows(rows),
                    )
                    .await?;
                }
                tx.run(
                    sql("UPDATE search_refreshes SET after_profile_id = $4 WHERE workspace_id = $1 AND key = $2 AND requested_at = $3")
                        .bind(workspace)
                        .bind(key.as_str())
                        .bind(requested_at)
                        .bind(last),
                )
                .await?;
                Ok(())
            })
        })
        .await
    }
}
