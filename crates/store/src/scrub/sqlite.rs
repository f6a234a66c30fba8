//! SQLite: what `secure_delete` leaves behind.
//!
//! Deleted cells and freed pages are overwritten with zeros when they are deleted. Left are copies of cells in the slack
//! of pages that were balanced (see `slack.rs`), samples that somebody's ANALYZE kept, and the log. So the slack of every
//! page is cleared, in ordinary transactions; then the log is written into the file and cut to nothing.
//!
//! A small file is walked in one transaction. A large one is walked beside the writes, and twice: balancing may give a
//! page that has not been walked the number of one that has, and the second walk meets it.

use std::time::Duration;

use sqlx::{Sqlite, SqlitePool, Transaction};

use super::{ScrubError, slack};
use crate::engine::pause;

/// Pages read at a time.
const CHUNK: i64 = 512;
/// Pages up to which writers wait for the walk: 64 MiB, some tenths of a second.
const SMALL: i64 = 16_384;
/// Attempts to cut the log, about ten seconds in all.
const ATTEMPTS: u32 = 40;

type Page = (i64, Vec<u8>);

pub(super) async fn scrub(writer: &SqlitePool, readers: &SqlitePool) -> Result<(), ScrubError> {
    scrub_file(writer, readers, SMALL).await
}

async fn scrub_file(writer: &SqlitePool, readers: &SqlitePool, small: i64) -> Result<(), ScrubError> {
    forget_samples(writer).await?;
    let (pages,): (i64,) = sqlx::query_as("PRAGMA page_count").fetch_one(readers).await?;
    let (readable,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM pragma_module_list WHERE name = 'sqlite_dbpage'").fetch_one(readers).await?;
    if readable == 0 || pages >= slack::TOO_MANY_PAGES {
        // Built without access to single pages: the whole file is written anew, which takes as long as it takes.
        sqlx::query("VACUUM").execute(writer).await?;
    } else if pages <= small {
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
        let reserved = reserved(&mut tx).await?;
        let mut from = 1;
        while from <= pages {
            let found = read(&mut *tx, from).await?;
            clear(&mut tx, found, reserved).await?;
            from += CHUNK;
        }
        clear_free_pages(&mut tx).await?;
        tx.commit().await?;
    } else {
        for _ in 0..2 {
            walk(writer, readers, pages).await?;
        }
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
        clear_free_pages(&mut tx).await?;
        tx.commit().await?;
    }
    cut_the_log(writer).await
}

/// People's values that ANALYZE sampled; this program never runs it, a person at a shell may.
async fn forget_samples(writer: &SqlitePool) -> Result<(), ScrubError> {
    let (there,): (i64,) = sqlx::query_as("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat4'").fetch_one(writer).await?;
    if there > 0 {
        sqlx::query("DELETE FROM sqlite_stat4").execute(writer).await?;
    }
    Ok(())
}

async fn read<'e>(executor: impl sqlx::SqliteExecutor<'e>, from: i64) -> Result<Vec<Page>, ScrubError> {
    Ok(sqlx::query_as("SELECT pgno, data FROM sqlite_dbpage WHERE pgno >= $1 AND pgno < $2")
        .bind(from)
        .bind(from + CHUNK)
        .fetch_all(executor)
        .await?)
}

async fn one(tx: &mut Transaction<'static, Sqlite>, pgno: i64) -> Result<Option<Vec<u8>>, ScrubError> {
    let row: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT data FROM sqlite_dbpage WHERE pgno = $1").bind(pgno).fetch_optional(&mut **tx).await?;
    Ok(row.map(|(data,)| data))
}

async fn write(tx: &mut Transaction<'static, Sqlite>, pgno: i64, data: Vec<u8>) -> Result<(), ScrubError> {
    sqlx::query("UPDATE sqlite_dbpage SET data = $2 WHERE pgno = $1").bind(pgno).bind(data).execute(&mut **tx).await?;
    Ok(())
}

/// Bytes at the end of every page that SQLite leaves to extensions.
async fn reserved(tx: &mut Transaction<'static, Sqlite>) -> Result<usize, ScrubError> {
    Ok(one(tx, 1).await?.and_then(|page| page.get(20).copied()).map_or(0, usize::from))
}

async fn clear(tx: &mut Transaction<'static, Sqlite>, pages: Vec<Page>, reserved: usize) -> Result<(), ScrubError> {
    for (pgno, mut data) in pages {
        if slack::clear(&mut data, pgno, reserved) {
            write(tx, pgno, data).await?;
        }
    }
    Ok(())
}

/// Walks a large file beside the writes: pages with something to clear are read again when nobody else writes.
async fn walk(writer: &SqlitePool, readers: &SqlitePool, pages: i64) -> Result<(), ScrubError> {
    let mut from = 1;
    while from <= pages {
        let found = read(readers, from).await?;
        let dirty: Vec<i64> = found.into_iter().filter_map(|(pgno, mut data)| slack::clear(&mut data, pgno, 0).then_some(pgno)).collect();
        if !dirty.is_empty() {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
            let reserved = reserved(&mut tx).await?;
            for pgno in dirty {
                if let Some(data) = one(&mut tx, pgno).await? {
                    clear(&mut tx, vec![(pgno, data)], reserved).await?;
                }
            }
            tx.commit().await?;
        }
        // Requests go first.
        tokio::time::sleep(Duration::from_millis(2)).await;
        from += CHUNK;
    }
    Ok(())
}

/// Zeroes pages that hold nothing (the file format's *freelist*): `secure_delete` does so when they are freed, a program
/// that writes to the file without it does not.
async fn clear_free_pages(tx: &mut Transaction<'static, Sqlite>) -> Result<(), ScrubError> {
    let long = |page: &[u8], at: usize| -> Option<i64> { Some(i64::from(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?))) };
    let Some(first) = one(tx, 1).await? else { return Ok(()) };
    let mut trunk = long(&first, 32).unwrap_or(0);
    let mut left = long(&first, 36).unwrap_or(0);
    while trunk != 0 && left > 0 {
        let Some(mut page) = one(tx, trunk).await? else { return Ok(()) };
        let (next, leaves) = (long(&page, 0).unwrap_or(0), long(&page, 4).unwrap_or(0));
        let Some(used) = usize::try_from(leaves).ok().map(|leaves| 8 + 4 * leaves).filter(|used| *used <= page.len()) else {
            return Ok(());
        };
        for at in (8..used).step_by(4) {
            let Some(pgno) = long(&page, at) else { break };
            if let Some(data) = one(tx, pgno).await?.filter(|data| data.iter().any(|byte| *byte != 0)) {
                write(tx, pgno, vec![0; data.len()]).await?;
            }
        }
        if page[used..].iter().any(|byte| *byte != 0) {
            page[used..].fill(0);
            write(tx, trunk, page).await?;
        }
        left -= 1 + leaves;
        trunk = next;
    }
    Ok(())
}

/// Writes the log into the file and cuts it to nothing. Readers that stand in the way end soon; each attempt waits for
/// them only a little, since writers wait behind it.
async fn cut_the_log(writer: &SqlitePool) -> Result<(), ScrubError> {
    for attempt in 0..ATTEMPTS {
        let mut connection = writer.acquire().await?;
        sqlx::query("PRAGMA busy_timeout = 100").fetch_all(&mut *connection).await?;
        let cut: Result<(i64, i64, i64), sqlx::Error> = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
        sqlx::query("PRAGMA busy_timeout = 5000").fetch_all(&mut *connection).await?;
        drop(connection);
        match cut {
            Ok((0, 0, 0)) => return Ok(()),
            Ok(_) => {}
            // Somebody else is writing or checkpointing: SQLITE_BUSY or SQLITE_LOCKED.
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("5" | "6" | "261" | "517")) => {}
            Err(error) => return Err(error.into()),
        }
        pause(attempt.min(15)).await;
    }
    Err(ScrubError::NotYet("a reader has the log in use".to_owned()))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
    use rand_chacha::ChaCha8Rng;
    use sqlx::{
        SqlitePool,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
    };

    use super::{SMALL, scrub_file};

    const PEOPLE: usize = 1_200;

    fn mark(person: usize) -> String {
        format!("person-{person:05}-mark")
    }

    /// A file in which people were written, changed and removed in a random order, with `secure_delete` on throughout.
    async fn lived_in(path: &std::path::Path, rng: &mut ChaCha8Rng) -> Result<(SqlitePool, Vec<usize>), sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", "0");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        for table in [
            "CREATE TABLE documents (id BLOB NOT NULL PRIMARY KEY, document TEXT NOT NULL) STRICT",
            "CREATE TABLE keys (value TEXT NOT NULL PRIMARY KEY, id BLOB NOT NULL) STRICT, WITHOUT ROWID",
            "CREATE INDEX keys_by_id ON keys (id, value)",
        ] {
            sqlx::query(table).execute(&pool).await?;
        }
        let mut tx = pool.begin().await?;
        let ids: Vec<[u8; 16]> = (0..PEOPLE).map(|_| rng.random()).collect();
        for person in 0..PEOPLE {
            let length = rng.random_range(100..900);
            let write = |who: usize, length: usize| (ids[who].to_vec(), format!("{}{}", mark(who), "x".repeat(length)));
            let (id, document) = write(person, length);
            sqlx::query("INSERT INTO documents VALUES ($1, $2)").bind(id).bind(document).execute(&mut *tx).await?;
            for _ in 0..3 {
                let value = format!("{:08x}-{}", rng.random::<u32>(), mark(person));
                sqlx::query("INSERT INTO keys VALUES ($1, $2)").bind(value).bind(ids[person].to_vec()).execute(&mut *tx).await?;
            }
            let (id, document) = write(rng.random_range(0..=person), rng.random_range(100..1_500));
            sqlx::query("UPDATE documents SET document = $2 WHERE id = $1").bind(id).bind(document).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        let mut erased: Vec<usize> = (0..PEOPLE).collect();
        erased.shuffle(rng);
        erased.truncate(PEOPLE / 4);
        let mut tx = pool.begin().await?;
        for person in &erased {
            for table in ["DELETE FROM documents WHERE id = $1", "DELETE FROM keys WHERE id = $1"] {
                sqlx::query(table).bind(ids[*person].to_vec()).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&pool).await?;
        Ok((pool, erased))
    }

    async fn contents(pool: &SqlitePool) -> Result<Vec<(String,)>, sqlx::Error> {
        sqlx::query_as("SELECT hex(id) || document FROM documents UNION ALL SELECT value || hex(id) FROM keys ORDER BY 1")
            .fetch_all(pool)
            .await
    }

    /// How many of the erased the file still tells of.
    fn told_of(path: &std::path::Path, erased: &[usize]) -> usize {
        let bytes = std::fs::read(path).unwrap_or_default();
        erased.iter().filter(|person| memchr::memmem::find(&bytes, mark(**person).as_bytes()).is_some()).count()
    }

    #[tokio::test]
    async fn what_balancing_left_in_the_slack_is_gone_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let mut left_before = [0, 0];
        for seed in 0..40 {
            let path = std::env::temp_dir().join(format!("people-scrub-{}.db", uuid::Uuid::new_v4().simple()));
            let (pool, erased) = lived_in(&path, &mut ChaCha8Rng::seed_from_u64(seed)).await?;
            let left = told_of(&path, &erased);
            let before = contents(&pool).await?;
            // In one transaction, or beside the writes.
            scrub_file(&pool, &pool, if seed % 2 == 0 { SMALL } else { 0 }).await?;
            assert_eq!(told_of(&path, &erased), 0, "seed {seed}");
            assert!(contents(&pool).await? == before, "seed {seed}: what people said has changed");
            let (verdict,): (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&pool).await?;
            assert_eq!(verdict, "ok", "seed {seed}");
            pool.close().await;
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", path.display()));
            }
            left_before[usize::from(seed % 2 == 1)] += left;
            // Both ways, and with something to clear in each.
            if left_before[0] > 0 && left_before[1] > 0 {
                return Ok(());
            }
        }
        panic!("deleting alone left nothing in most of the files: this shows nothing: {left_before:?}")
    }
}
