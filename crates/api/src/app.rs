//! The application: what handlers share, and how it is put together. `people serve` and the tests build it here.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App as ActixApp, HttpServer, dev::Server, middleware::from_fn, web};
use people_domain::{directory::Cause, webhook::address::Reach};
use people_store::{CLI, NewApiKey, Options, SecretKey, Store, StoreError, SuppressionKey, Trust, unbroken};
use secrecy::{ExposeSecret, SecretString};
use utoipa_actix_web::AppExt as _;

use crate::{
    auth::{self, Doorkeeper, SCOPES},
    config::Settings,
    connections::Connections,
    cors::Origins,
    edge, jobs,
    lanes::Lanes,
    metrics::{Metrics, Rejection},
    openapi,
    rates::Rates,
    routes,
    webhooks::{self, Sender},
};

/// What every handler can reach.
#[derive(Debug)]
pub struct App {
    pub store: Store,
    pub doorkeeper: Arc<Doorkeeper>,
    pub lanes: Lanes,
    pub rates: Rates,
    pub metrics: Metrics,
    pub connections: Connections,
    /// What `/metrics` is read with, when not everybody may.
    pub metrics_token: Option<SecretString>,
    /// Sends to webhooks.
    pub sender: Sender,
    pub webhook_reach: Reach,
    /// Whose web pages may use the whole API.
    pub origins: Origins,
}

/// A server that listens, and where.
pub struct Running {
    pub server: Server,
    pub address: std::net::SocketAddr,
    pub store: Store,
    pub connections: Connections,
    pub doorkeeper: Arc<Doorkeeper>,
    /// The first key, when this start made it up.
    pub first_key: Option<SecretString>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the database: {0}")]
    Store(#[from] StoreError),
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// Name of the workspace that the first start creates.
pub const DEFAULT_WORKSPACE: &str = "default";

/// Opens and migrates the database, sees to the first key, and listens.
pub async fn start(settings: &Settings) -> Result<Running, StartError> {
    let secret_key = settings.webhooks.secret_key.clone().or_else(|| webhooks::settings::key_beside(&settings.database.url));
    let store = open(Options {
        connections: settings.database.connections,
        read_model_bytes: settings.read_model_bytes,
        lease_seconds: settings.job_lease_seconds,
        scrub_after: settings.scrub_after,
        changes_kept: settings.changes_kept,
        suppression_key: SuppressionKey::new(settings.suppression_key.as_ref().map(ExposeSecret::expose_secret)),
        secret_key: SecretKey::new(secret_key.as_ref().map(ExposeSecret::expose_secret)),
        ..Options::new(settings.database.url.clone())
    })
    .await?;
    store.migrate().await?;
    store.settle_suppression_key().await?;
    store.settle_secret_key().await?;
    let first_key = first_key(&store, settings.bootstrap_key.as_ref()).await?;
    let listener = TcpListener::bind(settings.listen).map_err(|e| StartError::Listen(settings.listen, e))?;
    let address = listener.local_addr().map_err(|e| StartError::Listen(settings.listen, e))?;
    tokio::spawn(store.clone().maintain());
    store.start_jobs(jobs::kinds(), settings.jobs).await;
    let sender = Sender::new(settings.webhooks.reach, settings.webhooks.timeout);
    webhooks::worker::start(&store, sender.clone(), &settings.webhooks).await;
    // The tables of telephone numbers take a moment to read: now, not in somebody's first request.
    tokio::task::spawn_blocking(|| people_domain::identity::phone_search_digits("+442079460000"));
    let doorkeeper = Arc::new(Doorkeeper::default());
    let (noting, noted) = (Arc::clone(&doorkeeper), store.clone());
    tokio::spawn(unbroken("the noting of keys that are used", move || Arc::clone(&noting).note_use(noted.clone())));
    let connections = Connections::default();
    let app = web::Data::new(App {
        store: store.clone(),
        doorkeeper: Arc::clone(&doorkeeper),
        lanes: Lanes::new(settings.limits.lanes),
        rates: Rates::new(settings.limits.rate, settings.limits.burst),
        metrics: Metrics::new(&store),
        connections: connections.clone(),
        metrics_token: settings.limits.metrics_token.clone(),
        sender: sender.clone(),
        webhook_reach: settings.webhooks.reach,
        origins: settings.origins.clone(),
    });
    let watched = app.clone();
    let watching = connections.clone();
    let keep_alive = settings.limits.keep_alive;
    tokio::spawn(unbroken("the watch of connections", move || {
        let watched = watched.clone();
        watching.clone().watch(keep_alive, move || watched.metrics.rejected(Rejection::Slow))
    }));
    let accepted = connections.clone();
    let server = HttpServer::new(move || {
        ActixApp::new()
            .into_utoipa_app()
            .app_data(app.clone())
            .configure(routes::all)
            .map(|app| {
                app.service(openapi::docs())
                    .default_service(web::to(edge::unmatched))
                    .wrap(from_fn(auth::recognise))
                    .wrap(from_fn(edge::edge))
            })
            .into_app()
    })
    .workers(settings.workers)
    .on_connect(move |io, data| accepted.accepted(io, data))
    .client_request_timeout(Duration::from_secs(5))
    .keep_alive(keep_alive)
    // Else the last piece of an answer waits for the client to say that it has those before.
    .tcp_nodelay(true)
    .shutdown_timeout(15)
    // The command line sees to signals: readiness goes first.
    .disable_signals()
    .listen(listener)
    .map_err(|e| StartError::Listen(settings.listen, e))?
    .run();
    Ok(Running { server, address, store, connections, doorkeeper, first_key })
}

/// Opens a database, making the folder of an SQLite file that has none yet.
pub async fn open(options: Options) -> Result<Store, StoreError> {
    if let Some(path) = options.url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//").split('?').next().unwrap_or_default();
        if let Some(folder) = std::path::Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // When this fails, opening the file says so.
            let _ = std::fs::create_dir_all(folder);
        }
    }
    Store::open(options).await
}

/// The cause of what is done on the command line, or by the first start.
pub fn by_hand(store: &Store) -> Arc<Cause> {
    Arc::new(Cause { at: store.now(), actor: CLI.to_owned(), source: "cli", request_id: String::new(), reason: None })
}

/// On the first start, the workspace `default` and a key that may do everything. The secret given is used; otherwise
/// one is made up, to be printed once.
async fn first_key(store: &Store, given: Option<&SecretString>) -> Result<Option<SecretString>, StartError> {
    if store.has_workspaces().await? {
        return Ok(None);
    }
    let (secret, made_up) = match given {
        Some(secret) => (secret.clone(), None),
        None => {
            let secret = SecretString::from(auth::new_key().map_err(|_| StartError::Randomness)?);
            (secret.clone(), Some(secret))
        }
    };
    let workspace = store.create_workspace(DEFAULT_WORKSPACE).await?;
    store
        .create_api_key(
            NewApiKey {
                workspace_id: workspace.workspace.id,
                name: "first key".to_owned(),
                scopes: SCOPES.iter().map(|s| (*s).to_owned()).collect(),
                trust: Trust::Server,
                rate_limit: None,
                secret_hash: auth::hash(secret.expose_secret()),
            },
            by_hand(store),
            None,
        )
        .await?;
    Ok(made_up)
}
