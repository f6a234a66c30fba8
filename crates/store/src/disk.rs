//! Where commits on SQLite reach the disk.
//!
//! With `synchronous=FULL` a commit keeps the only writer until the disk has taken it. So the writing connection has
//! `synchronous=NORMAL`, which leaves out that one step (the log is still flushed before it is moved into the database, and when it
//! is begun anew), and the step is taken here, while the next group is already being saved: nobody is answered before a flush of
//! the log has ended that began after their commit. One flush serves everybody who had committed when it began.
//!
//! So what is committed can be read a moment before it is on disk. Whoever hands on for good what they have read, such as the
//! change feed and webhooks, waits for it too: what others keep is not to be lost here.
//!
//! After a flush that failed nobody can say what is on disk: the next one may succeed without having written anything (Rebello
//! et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Then no write is answered until the process is
//! started again, which reads the log as it is.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Mutex;

use crate::StoreError;

/// The disk below an SQLite database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Below>);

#[derive(Debug)]
struct Below {
    log: PathBuf,
    /// Commits of this process.
    committed: AtomicU64,
    /// How many of them are on disk.
    flushed: AtomicU64,
    failed: AtomicBool,
    took: Histogram,
    /// Whoever flushes; whoever else wants to stands behind them.
    turn: Mutex<()>,
}

impl Disk {
    pub(crate) fn below(database: &Path, took: Histogram) -> Self {
        let mut log = OsString::from(database);
        log.push("-wal");
        Self(Arc::new(Below {
            log: log.into(),
            committed: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            took,
            turn: Mutex::new(()),
        }))
    }

    /// A transaction has been committed.
    pub(crate) fn committed(&self) {
        self.0.committed.fetch_add(1, Ordering::AcqRel);
    }

    /// Transactions committed so far.
    pub(crate) fn commits(&self) -> u64 {
        self.0.committed.load(Ordering::Acquire)
    }

    /// Waits until everything that has been committed so far is on disk.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let wanted = self.commits();
        let is_there = || self.0.flushed.load(Ordering::Acquire) >= wanted;
        if is_there() {
            return self.trusted();
        }
        let _turn = self.0.turn.lock().await;
        self.trusted()?;
        if is_there() {
            return Ok(());
        }
        let so_far = self.commits();
        let below = Arc::clone(&self.0);
        let begun = Instant::now();
        // What it comes to is noted there: whoever waits may go away meanwhile, and the system tells of a failure once.
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = flush(&below.log);
            if let Err(error) = &flushed {
                below.failed.store(true, Ordering::Release);
                tracing::error!(kind = %error.kind(), "the disk did not take the log: no write is answered until this process is started again");
            }
            flushed.is_ok()
        });
        if !flushed.await.unwrap_or(false) {
            return Err(StoreError::Unavailable);
        }
        self.0.took.observe(begun.elapsed().as_secs_f64());
        self.0.flushed.store(so_far, Ordering::Release);
        Ok(())
    }

    fn trusted(&self) -> Result<(), StoreError> {
        if self.0.failed.load(Ordering::Acquire) { Err(StoreError::Unavailable) } else { Ok(()) }
    }
}

/// Through a handle of its own: what is flushed is the file, whoever wrote to it. SQLite holds no locks on its log, which closing
/// the handle would let go of.
fn flush(log: &Path) -> io::Result<()> {
    // Windows flushes for those only who may write.
    match OpenOptions::new().write(true).open(log) {
        Ok(file) => file.sync_data(),
        // The last connection has moved it into the database, and flushed that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::Disk;
    use crate::meters::Meters;

    #[tokio::test]
    async fn one_flush_serves_everybody_who_had_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::below(&folder.path().join("people.db"), Meters::new().flush_seconds);
        std::fs::write(folder.path().join("people.db-wal"), b"frames").expect("a file");
        let held = disk.0.turn.lock().await;
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                disk.committed();
                let disk = disk.clone();
                tokio::spawn(async move { disk.settle().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()), "nobody goes on before a flush");
        drop(held);
        for task in waiting {
            task.await.expect("no panic").expect("flushed");
        }
        assert_eq!(disk.0.flushed.load(super::Ordering::Acquire), 20);
    }

    #[tokio::test]
    async fn after_a_flush_that_failed_nothing_is_answered() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::below(&folder.path().join("people.db"), Meters::new().flush_seconds);
        disk.committed();
        disk.settle().await.expect("no log, nothing to flush");
        // A folder in the log's place cannot be opened for writing.
        std::fs::create_dir(folder.path().join("people.db-wal")).expect("a folder");
        disk.committed();
        disk.settle().await.expect_err("it could not be flushed");
        std::fs::remove_dir(folder.path().join("people.db-wal")).expect("removed");
        disk.settle().await.expect_err("what was lost then is still not there");
        disk.committed();
        disk.settle().await.expect_err("nor is anything after it to be trusted");
    }
}
