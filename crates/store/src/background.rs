//! How background work on SQLite gives way to whoever reads meanwhile.
//!
//! A read needs a core for a tenth of a millisecond. When all cores are busy it waits for the scheduler's slice of somebody, which
//! takes milliseconds; and a thread that wakes up may be put behind a long statement although another core is idle. So the
//! statements of background jobs offer their core many times a millisecond. And where nobody waits for a job, it does not run
//! beside the other work in the background that keeps a core busy: moving the log into the database. On PostgreSQL all of that is
//! the server's.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Shared by everybody who works in the background of one SQLite database. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Background {
    /// Whether what is being written is.
    writes: Arc<AtomicBool>,
    /// Held by steps of jobs together, by whoever moves the log alone.
    turn: Arc<RwLock<()>>,
}

/// While it is there, the log is not moved.
#[derive(Debug)]
pub struct Undisturbed {
    _turn: Option<OwnedRwLockReadGuard<()>>,
}

impl Background {
    /// Instructions of SQLite's machine between two offers of the core. They take a tenth of a microsecond, or some microseconds
    /// where a page is changed.
    const EVERY: i32 = 500;

    /// The writing connection offers its core while it works in the background.
    pub(crate) async fn watch(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.lock_handle().await?.set_progress_handler(Self::EVERY, move || {
            if self.writes.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            // The statement goes on.
            true
        });
        Ok(())
    }

    /// Says of the transaction that is being written whether it is work in the background.
    pub(crate) fn writes(&self, writes: bool) {
        self.writes.store(writes, Ordering::Relaxed);
    }

    pub(crate) async fn step(&self) -> Undisturbed {
        Undisturbed { _turn: Some(Arc::clone(&self.turn).read_owned().await) }
    }

    /// Waits for the steps that are being taken; the next ones wait for this.
    pub(crate) async fn move_the_log(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.turn).write_owned().await
    }
}

impl Undisturbed {
    /// Where there is no such log.
    pub(crate) fn anyway() -> Self {
        Self { _turn: None }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::Background;

    #[tokio::test]
    async fn steps_and_moves_of_the_log_take_turns() {
        let background = Background::default();
        let (one, other) = (background.step().await, background.step().await);
        let moving = background.move_the_log();
        tokio::pin!(moving);
        assert!(moving.as_mut().now_or_never().is_none(), "steps are being taken");
        assert!(background.step().now_or_never().is_none(), "the next step stands behind the move, which would wait for ever otherwise");
        drop(one);
        assert!(moving.as_mut().now_or_never().is_none(), "one is still being taken");
        drop(other);
        let moving = moving.await;
        assert!(background.step().now_or_never().is_none(), "the log is being moved");
        drop(moving);
        background.step().await;
    }
}
