//! A copy of a live SQLite database.
//!
//! `VACUUM INTO` reads one snapshot beside the writers: everything that was acknowledged before it began is in the copy,
//! nothing is there by half. It copies rows, not pages, so bytes of the erased that still lie in free space are not copied;
//! people who are erased later are in it as they were. The copy takes its name only when it is whole, checked and on disk.

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("PostgreSQL is copied with its own tools: pg_dump --format=custom, or a base backup with its log")]
    Postgres,
    #[error("{} is there already; a backup never writes over anything", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, std::io::Error),
    #[error("cannot copy the database: {0}")]
    Copy(#[source] sqlx::Error),
    #[error("the copy is not sound, and was thrown away: {0}")]
    Unsound(String),
}

/// Copies the database into a new file; answers its size in bytes.
pub async fn backup(url: &str, to: &Path) -> Result<u64, BackupError> {
    if !url.starts_with("sqlite:") {
        return Err(BackupError::Postgres);
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let unwritable = |e: std::io::Error| BackupError::Write(to.to_owned(), e);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Beside its name, so that it can take it in one step; readable by its owner only.
    let copy = tempfile::Builder::new().prefix(".people-backup-").tempfile_in(folder).map_err(unwritable)?;
    let options = SqliteConnectOptions::from_str(url).map_err(BackupError::Copy)?.read_only(true).busy_timeout(Duration::from_secs(30));
    let mut source = options.connect().await.map_err(BackupError::Copy)?;
    let target = copy.path().to_str().ok_or_else(|| unwritable(std::io::ErrorKind::InvalidFilename.into()))?;
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut source).await.map_err(BackupError::Copy)?;
    // What was read is closed, whatever becomes of the copy.
    let _ = source.close().await;
    check(copy.path()).await?;
    copy.as_file().sync_all().map_err(unwritable)?;
    let bytes = copy.as_file().metadata().map_err(unwritable)?.len();
    copy.persist_noclobber(to).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => BackupError::Write(to.to_owned(), e.error),
    })?;
    // The name itself.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    Ok(bytes)
}

/// E: the copy is not one that a server could start on.
async fn check(copy: &Path) -> Result<(), BackupError> {
    let mut copy = SqliteConnectOptions::new().filename(copy).read_only(true).connect().await.map_err(BackupError::Copy)?;
    let told: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check").fetch_all(&mut copy).await.map_err(BackupError::Copy)?;
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut copy).await.map_err(BackupError::Copy)?;
    let _ = copy.close().await;
    match told.as_slice() {
        [(ok,)] if ok == "ok" && orphans.is_empty() => Ok(()),
        // Told without what the rows hold.
        _ => Err(BackupError::Unsound(format!("{} faults, {} rows that refer to nothing", told.len(), orphans.len()))),
    }
}
