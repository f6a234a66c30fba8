//! Connections that go from one statement to the next without their pool.
//!
//! The pool asks each connection that comes back whether it is still well: on PostgreSQL that is a round trip, on SQLite two
//! changes of thread, as much as a short statement itself. So those whose statement was carried out to its end are kept for the
//! next, for about a second; what broke off, or was given up half-way, goes back and is looked at. One connection is never
//! kept, and whoever else waits for one ([`Kept::wanted`]) is given those that are.

use std::{
    ops::DerefMut,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Database, Pool, pool::PoolConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long one is kept. The pool sees to it that connections are not used for ever.
const LONGEST: Duration = Duration::from_secs(1);

/// Those of one pool. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Kept<DB: Database>(Arc<Inner<DB>>);

impl<DB: Database> Clone for Kept<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<DB: Database> {
    resting: std::sync::Mutex<Vec<Resting<DB>>>,
    /// For each that may be lent at a time.
    turns: Arc<Semaphore>,
    /// Whoever else waits for a connection of the pool; once it is closed, for good.
    wanted: AtomicUsize,
}

#[derive(Debug)]
struct Resting<DB: Database> {
    connection: PoolConnection<DB>,
    /// When it came from the pool.
    since: Instant,
}

/// A connection for one statement. Given back by [`Kept::keep`]; dropped, it goes to the pool.
#[derive(Debug)]
pub(crate) struct Lent<DB: Database> {
    resting: Resting<DB>,
    _turn: OwnedSemaphorePermit,
}

impl<DB: Database> Lent<DB> {
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        self.resting.connection.deref_mut()
    }
}

/// Somebody waits for a connection of the pool, until this is dropped.
pub(crate) struct Wanted<'k, DB: Database>(&'k Kept<DB>);

impl<DB: Database> Drop for Wanted<'_, DB> {
    fn drop(&mut self) {
        self.0.0.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<DB: Database> Kept<DB> {
    pub(crate) fn of(pool: &Pool<DB>) -> Self {
        let most = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let turns = Arc::new(Semaphore::new(most.saturating_sub(1).max(1)));
        // With one connection there is none to keep.
        let wanted = AtomicUsize::new(usize::from(most < 2));
        Self(Arc::new(Inner { resting: std::sync::Mutex::default(), turns, wanted }))
    }

    /// A connection that was kept, or one of the pool. E: none was free in time.
    pub(crate) async fn lend(&self, pool: &Pool<DB>) -> Result<Lent<DB>, sqlx::Error> {
        let lent = async {
            let turn = Arc::clone(&self.0.turns).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let resting = match self.newest() {
                Some(resting) => resting,
                None => {
                    let _wanted = self.wanted(pool);
                    Resting { connection: pool.acquire().await?, since: Instant::now() }
                }
            };
            Ok(Lent { resting, _turn: turn })
        };
        timeout(pool.options().get_acquire_timeout(), lent).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Takes back one whose statement was carried out to its end.
    pub(crate) fn keep(&self, Lent { resting, _turn }: Lent<DB>) {
        if resting.since.elapsed() > LONGEST {
            return;
        }
        self.resting(|all| all.push(resting));
        // Whoever came to want one before it lay there has not seen it; whoever comes later looks for themselves.
        if self.0.wanted.load(Ordering::Acquire) > 0 {
            drop(self.newest());
        }
    }

    /// To be held while waiting for a connection of the pool. Where that has too few, one is given back to it.
    pub(crate) fn wanted(&self, pool: &Pool<DB>) -> Wanted<'_, DB> {
        let by_others = self.0.wanted.fetch_add(1, Ordering::AcqRel);
        if pool.num_idle() <= by_others {
            drop(self.newest());
        }
        Wanted(self)
    }

    /// Gives back those that have been kept long enough.
    pub(crate) fn rest(&self) {
        let old: Vec<_> = self.resting(|all| all.extract_if(.., |one| one.since.elapsed() > LONGEST).collect());
        drop(old);
    }

    /// Gives all back; none is kept any more.
    pub(crate) fn close(&self) {
        self.0.wanted.fetch_add(1, Ordering::AcqRel);
        let all = self.resting(std::mem::take);
        drop(all);
    }

    pub(crate) fn len(&self) -> usize {
        self.resting(|all| all.len())
    }

    fn newest(&self) -> Option<Resting<DB>> {
        self.resting(Vec::pop)
    }

    fn resting<T>(&self, look: impl FnOnce(&mut Vec<Resting<DB>>) -> T) -> T {
        look(&mut self.0.resting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

    use super::Kept;

    async fn pool(most: u32) -> SqlitePool {
        let options = SqlitePoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(2));
        options.connect("sqlite::memory:").await.expect("a pool")
    }

    async fn lend_and_keep(kept: &Kept<sqlx::Sqlite>, pool: &SqlitePool, times: usize) {
        let mut lent = Vec::new();
        for _ in 0..times {
            lent.push(kept.lend(pool).await.expect("a connection"));
        }
        lent.into_iter().for_each(|lent| kept.keep(lent));
    }

    #[tokio::test]
    async fn what_is_kept_is_lent_again_and_given_to_whoever_else_wants_it() {
        let pool = pool(3).await;
        let kept = Kept::of(&pool);
        lend_and_keep(&kept, &pool, 2).await;
        assert_eq!((kept.len(), pool.num_idle()), (2, 0));
        lend_and_keep(&kept, &pool, 2).await;
        assert_eq!((kept.len(), pool.size()), (2, 2), "no other was opened");
        // Three are wanted, and two of them lie here.
        let mut others = Vec::new();
        for _ in 0..3 {
            let _wanted = kept.wanted(&pool);
            others.push(pool.acquire().await.expect("one of those that were kept"));
        }
        assert_eq!(kept.len(), 0);
    }

    #[tokio::test]
    async fn one_that_comes_back_goes_to_who_waits() {
        let pool = pool(2).await;
        let kept = Kept::of(&pool);
        let other = pool.acquire().await.expect("the one that is never kept");
        let lent = kept.lend(&pool).await.expect("the other");
        let wanted = kept.wanted(&pool);
        let waiting = pool.acquire();
        kept.keep(lent);
        let found = waiting.await;
        drop(wanted);
        found.expect("the one that came back");
        drop(other);
    }

    #[tokio::test]
    async fn a_pool_can_be_closed_and_no_more_than_all_but_one_are_lent() {
        let pool = pool(3).await;
        let kept = Kept::of(&pool);
        let lent = [kept.lend(&pool).await.expect("one"), kept.lend(&pool).await.expect("two")];
        let third = tokio::time::timeout(Duration::from_millis(50), kept.lend(&pool)).await;
        assert!(third.is_err(), "a third was lent");
        pool.acquire().await.expect("the one that is left");
        lent.into_iter().for_each(|lent| kept.keep(lent));
        kept.close();
        tokio::time::timeout(Duration::from_secs(5), pool.close()).await.expect("nothing is held back");
    }

    #[tokio::test]
    async fn where_there_is_one_it_is_not_kept() {
        let pool = pool(1).await;
        let kept = Kept::of(&pool);
        for _ in 0..3 {
            lend_and_keep(&kept, &pool, 1).await;
            pool.acquire().await.expect("free");
        }
    }
}
