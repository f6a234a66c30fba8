//! The command line: `people serve | migrate | scrub | backup | openapi | workspaces create | keys create | import | export`.

use clap::{Parser, Subcommand};
use people_domain::refusal::Issues;
use people_store::{Made, NewApiKey, Options, Store, Trust, WorkspaceRow};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    api_keys::scopes_of,
    app,
    auth::{self, SCOPES},
    client::{self, ExportArgs, ImportArgs},
    config::{DatabaseArgs, ServeArgs},
    connections, leaving, openapi, telemetry,
};

/// The directory of every customer, as a headless API.
#[derive(Debug, Parser)]
#[command(name = "people", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API; creates and migrates the database, and on the first start a workspace and a key
    Serve(Box<ServeArgs>),
    /// Bring the database to this program's schema, and on Citus distribute it
    Migrate(DatabaseArgs),
    /// Take the bytes of the erased out of the database's files; on PostgreSQL each table is locked while it is rewritten
    Scrub {
        /// Leave PostgreSQL's write-ahead log to be cleared by other means
        #[arg(long)]
        leave_log: bool,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Copy a live SQLite database into a new file, whole and checked, while the server runs
    Backup {
        /// The file to write; it must not be there yet
        to: std::path::PathBuf,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Workspaces
    #[command(subcommand)]
    Workspaces(WorkspacesCommand),
    /// API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Send a file of people to a server, and follow what becomes of it
    Import(ImportArgs),
    /// Write the people of a server to a file
    Export(ExportArgs),
}

#[derive(Debug, Subcommand)]
enum WorkspacesCommand {
    /// Create a workspace
    Create {
        name: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create an API key and print it, this once
    Create {
        /// Name or id of the workspace
        #[arg(long)]
        workspace: String,
        /// Scopes, separated by commas, or `all`
        #[arg(long)]
        scopes: String,
        #[arg(long, default_value = "made on the command line")]
        name: String,
        /// `server`, or `browser` for a key that will be public
        #[arg(long, default_value = "server")]
        trust: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// A message for the terminal, one mistake a line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CliError(String);

macro_rules! told_by_its_message {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )+};
}

told_by_its_message!(
    people_store::StoreError,
    people_store::ScrubError,
    people_store::BackupError,
    app::StartError,
    std::io::Error,
    getrandom::Error,
    client::ClientError
);

fn mistakes(found: Vec<String>) -> CliError {
    CliError(format!("the configuration has mistakes:\n  {}", found.join("\n  ")))
}

/// Says something to the person at the terminal.
#[expect(clippy::print_stdout, reason = "what a command is asked for goes to standard output")]
fn say(text: &str) {
    println!("{text}");
}

/// Runs the command given on the command line.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Serve(args) => serve(&args).await,
        Command::Migrate(args) => {
            let store = open(&args).await?;
            store.migrate().await?;
            store.close().await;
            say("the database is up to date");
            Ok(())
        }
        Command::Scrub { leave_log, database } => {
            let store = open(&database).await?;
            store.migrate().await?;
            let done = store.scrub(!leave_log).await;
            store.close().await;
            let done = done?;
            say(&json!({"receipts_stamped": done.receipts, "receipts_held": done.held}).to_string());
            Ok(())
        }
        Command::Backup { to, database } => {
            let database = database.checked().map_err(mistakes)?;
            let bytes = people_store::backup(&database.url, &to).await?;
            say(&json!({"file": to, "bytes": bytes}).to_string());
            Ok(())
        }
        Command::Openapi => {
            say(openapi::text().trim_end());
            Ok(())
        }
        Command::Workspaces(WorkspacesCommand::Create { name, database }) => {
            let store = open(&database).await?;
            store.migrate().await?;
            if !store.workspaces_named(name.trim()).await?.is_empty() {
                return Err(CliError(format!("there is a workspace named {:?} already", name.trim())));
            }
            let row = store.create_workspace(name.trim()).await?;
            say(&json!({"id": row.workspace.id, "name": row.workspace.name}).to_string());
            store.close().await;
            Ok(())
        }
        Command::Keys(KeysCommand::Create { workspace, scopes, name, trust, database }) => {
            let store = open(&database).await?;
            store.migrate().await?;
            create_key(&store, &workspace, &scopes, name, &trust).await?;
            store.close().await;
            Ok(())
        }
        Command::Import(args) => {
            let job = blocking(move || client::import(&args)).await?;
            say(&job.to_string());
            Ok(client::all_taken(&job)?)
        }
        Command::Export(args) => blocking(move || client::export(&args)).await,
    }
}

/// The client waits for the network, and for nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, client::ClientError> + Send + 'static) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| CliError("the command stopped".to_owned()))?;
    Ok(done?)
}

async fn open(args: &DatabaseArgs) -> Result<Store, CliError> {
    let database = args.checked().map_err(mistakes)?;
    Ok(app::open(Options { connections: database.connections, read_model_bytes: 0, ..Options::new(database.url) }).await?)
}

async fn find_workspace(store: &Store, wanted: &str) -> Result<WorkspaceRow, CliError> {
    if let Ok(id) = wanted.parse::<uuid::Uuid>() {
        return store.workspace(id.into()).await?.ok_or_else(|| CliError(format!("there is no workspace {wanted}")));
    }
    let mut found = store.workspaces_named(wanted).await?;
    match (found.pop(), found.is_empty()) {
        (Some(row), true) => Ok(row),
        (None, _) => Err(CliError(format!("there is no workspace named {wanted:?}; make it with `people workspaces create`"))),
        (Some(_), false) => Err(CliError(format!("several workspaces are named {wanted:?}; give the id"))),
    }
}

async fn create_key(store: &Store, workspace: &str, scopes: &str, name: String, trust: &str) -> Result<(), CliError> {
    let row = find_workspace(store, workspace).await?;
    let scopes: Vec<String> = match scopes {
        "all" => SCOPES.iter().map(|s| (*s).to_owned()).collect(),
        list => list.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect(),
    };
    let mut issues = Issues::default();
    let trust = Trust::parse(trust).ok_or_else(|| CliError("--trust is server or browser".to_owned()))?;
    scopes_of(&scopes, trust, |_| true, &mut issues);
    issues.into_result().map_err(|refusal| CliError(refusal.detail))?;
    let secret = auth::new_key()?;
    let new = NewApiKey { workspace_id: row.workspace.id, name, scopes, trust, rate_limit: None, secret_hash: auth::hash(&secret) };
    let Made::Now(key) = store.create_api_key(new, app::by_hand(store), None).await? else {
        return Err(CliError("the key was not made".to_owned()));
    };
    say(&json!({"id": key.id, "workspace_id": key.workspace_id, "name": key.name, "scopes": key.scopes, "trust": key.trust.as_str(), "key": secret}).to_string());
    Ok(())
}

async fn serve(args: &ServeArgs) -> Result<(), CliError> {
    let settings = args.checked().map_err(mistakes)?;
    telemetry::start(&settings.log, settings.log_json);
    connections::raise_limit();
    let running = app::start(&settings).await?;
    let address = running.address;
    say(&format!("People is listening on http://{address}"));
    say(&format!("Read and try the API at http://{address}/docs"));
    if let Some(key) = &running.first_key {
        let key = key.expose_secret();
        say("\nThis is the first start. Your API key, shown this once:\n");
        say(&format!("  {key}\n\nTry it:\n"));
        say(&format!(
            "  curl -s http://{address}/v1/profiles -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    -d '{{\"email\": \"ada@example.com\", \"name\": \"Ada Lovelace\"}}'\n"
        ));
    }
    let leaving = leaving::Leaving {
        handle: running.server.handle(),
        store: running.store.clone(),
        connections: running.connections.clone(),
        drain: settings.limits.drain,
    };
    tokio::spawn(leaving.when_told());
    running.server.await?;
    running.doorkeeper.note_now(&running.store).await;
    running.store.close().await;
    Ok(())
}
