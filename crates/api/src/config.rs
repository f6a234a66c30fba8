//! Configuration: flags and environment, read by clap, checked whole before anything starts.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use secrecy::SecretString;

use crate::{
    cors::Origins,
    limits::{LimitArgs, Limits},
    webhooks::settings::{WebhookArgs, WebhookSettings},
};

/// Where the data is. Shared by every command.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// `sqlite://path/to/file.db` (created when missing) or `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://data/people.db", hide_env_values = true)]
    pub database_url: String,

    /// Connections to PostgreSQL, or reading connections to the SQLite file (1–200)
    #[arg(long, env = "PEOPLE_DATABASE_CONNECTIONS", default_value = "10")]
    pub database_connections: String,
}

/// How the server runs.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Address to listen on; port 0 picks a free one
    #[arg(long, env = "PEOPLE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// Origins whose web pages may use the whole API from a browser, such as `https://app.example,http://localhost:5173`; `*`
    /// for any. Tracking is open to every page
    #[arg(long, env = "PEOPLE_CORS_ORIGINS", default_value = "")]
    pub cors_origins: String,

    /// Secret of the first API key, for automation; without it one is made up and printed once
    #[arg(long, env = "PEOPLE_BOOTSTRAP_KEY", hide_env_values = true)]
    pub bootstrap_key: Option<String>,

    /// What to log: `error`, `warn`, `info`, `debug`, or directives such as `info,people_api=debug`
    #[arg(long, env = "PEOPLE_LOG", default_value = "info")]
    pub log: String,

    /// `text` or `json`
    #[arg(long, env = "PEOPLE_LOG_FORMAT", default_value = "text")]
    pub log_format: String,

    /// Worker threads of the HTTP server; 0 is one for each core
    #[arg(long, env = "PEOPLE_WORKERS", default_value = "0")]
    pub workers: String,

    /// MiB of memory for answering lists, searches, filters and counts (about 230 for a million people); workspaces that
    /// do not fit are answered from the database. 0 keeps nothing in memory
    #[arg(long, env = "PEOPLE_READ_MODEL_MB", default_value = "2048")]
    pub read_model_mb: String,

    /// Jobs this process works on at once; 0 leaves them to other processes
    #[arg(long, env = "PEOPLE_JOBS", default_value = "2")]
    pub jobs: String,

    /// Seconds after which a job, or a webhook, whose process died is taken over (1–300)
    #[arg(long, env = "PEOPLE_JOB_LEASE", default_value = "30")]
    pub job_lease: String,

    /// Seconds that the bytes of an erased person may stay in SQLite's files (0–3600); on PostgreSQL, `people scrub` is run
    #[arg(long, env = "PEOPLE_SCRUB_AFTER", default_value = "30")]
    pub scrub_after: String,

    /// Days for which the change feed can be read (1–3650)
    #[arg(long, env = "PEOPLE_CHANGES_RETENTION", default_value = "30")]
    pub changes_retention: String,

    /// Secret under which suppressed identities are hashed, the same on every instance; to be kept apart from backups of
    /// the database. Without it the hashes are only as safe as the database
    #[arg(long, env = "PEOPLE_SUPPRESSION_KEY", hide_env_values = true)]
    pub suppression_key: Option<String>,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub webhooks: WebhookArgs,
}

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub struct Settings {
    pub database: Database,
    pub listen: SocketAddr,
    pub origins: Origins,
    pub bootstrap_key: Option<SecretString>,
    pub log: String,
    pub log_json: bool,
    pub workers: usize,
    pub read_model_bytes: usize,
    /// Jobs worked on at once.
    pub jobs: usize,
    pub job_lease_seconds: i64,
    pub scrub_after: Duration,
    pub changes_kept: Duration,
    pub suppression_key: Option<SecretString>,
    pub limits: Limits,
    pub webhooks: WebhookSettings,
}

#[derive(Clone)]
pub struct Database {
    pub url: String,
    pub connections: u32,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        write!(f, "Database({} connections)", self.connections)
    }
}

/// Shortest secret a first key, or the suppression key, may have.
pub const MIN_SECRET: usize = 32;

/// Whether a text can be a secret: long enough, and free of what a shell or a header would change.
pub fn is_secret(text: &str) -> bool {
    (MIN_SECRET..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl DatabaseArgs {
    fn check(&self, mistakes: &mut Vec<String>) -> Database {
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| self.database_url.starts_with(scheme)) {
            mistakes.push("DATABASE_URL: expected sqlite://path or postgres://user:password@host/database".to_owned());
        }
        let connections = self.database_connections.parse().ok().filter(|n| (1..=200).contains(n));
        if connections.is_none() {
            mistakes.push("PEOPLE_DATABASE_CONNECTIONS: expected a number from 1 to 200".to_owned());
        }
        Database { url: self.database_url.clone(), connections: connections.unwrap_or(1) }
    }

    /// E: every mistake, one a line.
    pub fn checked(&self) -> Result<Database, Vec<String>> {
        let mut mistakes = Vec::new();
        let database = self.check(&mut mistakes);
        if mistakes.is_empty() { Ok(database) } else { Err(mistakes) }
    }
}

impl ServeArgs {
    /// E: every mistake, one a line, so that they can all be mended at once.
    pub fn checked(&self) -> Result<Settings, Vec<String>> {
        let mut mistakes = Vec::new();
        let database = self.database.check(&mut mistakes);
        let listen = self.listen.parse::<SocketAddr>();
        if listen.is_err() {
            mistakes.push(format!("PEOPLE_LISTEN: expected an address and a port such as 127.0.0.1:8080, got {:?}", self.listen));
        }
        let origins = Origins::parse(&self.cors_origins).unwrap_or_else(|wrong| {
            mistakes.push(format!(
                "PEOPLE_CORS_ORIGINS: expected origins such as https://app.example, separated by commas, each as browsers tell it (host in lower \
                 case, the port where it is not the usual one, no slash at the end), got {wrong:?}"
            ));
            Origins::default()
        });
        for (name, secret) in [("PEOPLE_BOOTSTRAP_KEY", &self.bootstrap_key), ("PEOPLE_SUPPRESSION_KEY", &self.suppression_key)] {
            if secret.as_ref().is_some_and(|secret| !is_secret(secret)) {
                mistakes.push(format!("{name}: expected {MIN_SECRET} to 256 visible ASCII characters"));
            }
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log).is_err() {
            mistakes.push("PEOPLE_LOG: expected a level such as info, or directives such as info,people_api=debug".to_owned());
        }
        let log_json = match self.log_format.as_str() {
            "text" => false,
            "json" => true,
            _ => {
                mistakes.push("PEOPLE_LOG_FORMAT: expected text or json".to_owned());
                false
            }
        };
        let workers = self.workers.parse::<usize>().ok().filter(|n| *n <= 256);
        if workers.is_none() {
            mistakes.push("PEOPLE_WORKERS: expected a number from 0 to 256".to_owned());
        }
        let read_model = self.read_model_mb.parse::<usize>().ok().filter(|n| *n <= 1 << 20);
        if read_model.is_none() {
            mistakes.push("PEOPLE_READ_MODEL_MB: expected a number of MiB from 0 to 1048576".to_owned());
        }
        let jobs = self.jobs.parse::<usize>().ok().filter(|n| *n <= 16);
        if jobs.is_none() {
            mistakes.push("PEOPLE_JOBS: expected a number from 0 to 16".to_owned());
        }
        let job_lease = self.job_lease.parse::<i64>().ok().filter(|n| (1..=300).contains(n));
        if job_lease.is_none() {
            mistakes.push("PEOPLE_JOB_LEASE: expected a number of seconds from 1 to 300".to_owned());
        }
        let scrub_after = self.scrub_after.parse::<u64>().ok().filter(|seconds| *seconds <= 3_600);
        if scrub_after.is_none() {
            mistakes.push("PEOPLE_SCRUB_AFTER: expected a number of seconds from 0 to 3600".to_owned());
        }
        let changes_kept = self.changes_retention.parse::<u64>().ok().filter(|days| (1..=3_650).contains(days));
        if changes_kept.is_none() {
            mistakes.push("PEOPLE_CHANGES_RETENTION: expected a number of days from 1 to 3650".to_owned());
        }
        let limits = self.limits.check(&mut mistakes);
        let webhooks = self.webhooks.check(&mut mistakes);
        match (listen, workers) {
            (Ok(listen), Some(workers)) if mistakes.is_empty() => Ok(Settings {
                database,
                listen,
                origins,
                bootstrap_key: self.bootstrap_key.clone().map(SecretString::from),
                log: self.log.clone(),
                log_json,
                read_model_bytes: read_model.unwrap_or(0) << 20,
                jobs: jobs.unwrap_or(0),
                job_lease_seconds: job_lease.unwrap_or(30),
                scrub_after: Duration::from_secs(scrub_after.unwrap_or(0)),
                changes_kept: Duration::from_secs(changes_kept.unwrap_or(1) * 86_400),
                suppression_key: self.suppression_key.clone().map(SecretString::from),
                limits,
                webhooks,
                workers: if workers == 0 { std::thread::available_parallelism().map_or(2, usize::from) } else { workers },
            }),
            _ => Err(mistakes),
        }
    }
}
