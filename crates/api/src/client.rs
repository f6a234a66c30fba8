//! The command line as a client: `people import` and `people export` talk to a server as everybody does, over HTTP.
//!
//! Bars go to the terminal, and only to one; what a command is asked for goes to standard output.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

/// Which server, and by which key.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Address of the server
    #[arg(long, env = "PEOPLE_URL", default_value = "http://127.0.0.1:8080")]
    server: String,

    /// API key with the scopes the command needs
    #[arg(long, env = "PEOPLE_KEY", hide_env_values = true)]
    key: SecretString,
}

/// `people import`; needs the scopes `bulk` and `profiles:read`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// CSV, or lines of JSON where the name ends in .ndjson or .jsonl; `-` reads from standard input
    file: PathBuf,

    /// `csv` or `ndjson`; told from the name of the file, `csv` otherwise
    #[arg(long)]
    format: Option<String>,

    /// What a column holds, such as `--map "E-mail=email"`; repeated. Without it, columns are told from their names
    #[arg(long = "map", value_name = "COLUMN=FIELD")]
    map: Vec<String>,

    /// `upsert`, `create` or `update`
    #[arg(long, default_value = "upsert")]
    mode: String,

    /// Tell what would happen and change nothing
    #[arg(long)]
    dry_run: bool,

    /// One character or `tab`; told from the first line without it
    #[arg(long)]
    delimiter: Option<String>,

    /// `utf-8`, `latin1` or any other encoding of the WHATWG standard
    #[arg(long)]
    encoding: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// `people export`; needs the scope `profiles:read`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// File to write; standard output without it
    #[arg(long, short)]
    output: Option<PathBuf>,

    /// `csv` or `ndjson`; told from the name of the file, `ndjson` otherwise
    #[arg(long)]
    format: Option<String>,

    /// Only people this search finds
    #[arg(long)]
    q: Option<String>,

    /// Only people this filter matches, as JSON
    #[arg(long)]
    filter: Option<String>,

    /// `-last_seen_at`, `created_at`, `name`, …
    #[arg(long)]
    sort: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// What went wrong, for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0}")]
    Usage(String),
    #[error("{file}: {error}")]
    File { file: String, error: io::Error },
    #[error("the server does not answer: {0}")]
    Server(#[from] ureq::Error),
    #[error("the connection broke off: {0}")]
    Broken(#[from] io::Error),
    /// A problem the server told.
    #[error("the server refused ({code}): {detail}")]
    Refused { status: u16, code: String, detail: String },
    #[error("{0}")]
    Failed(String),
}

impl ClientError {
    /// Whether it may be otherwise in a moment: the server is starting again, or somebody between is in its way.
    const fn passes(&self) -> bool {
        match self {
            Self::Server(_) | Self::Broken(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Usage(_) | Self::File { .. } | Self::Failed(_) => false,
        }
    }
}

type Result<T> = std::result::Result<T, ClientError>;

struct Client {
    agent: ureq::Agent,
    server: Url,
    key: SecretString,
}

impl Client {
    fn new(args: &ServerArgs) -> Result<Self> {
        let wrong =
            || ClientError::Usage(format!("--server: expected an address such as https://people.example.com, got {:?}", args.server));
        let server = Url::parse(&args.server).ok().filter(|url| url.has_host()).ok_or_else(wrong)?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_connect(Some(Duration::from_secs(10))).build().into();
        Ok(Self { agent, server, key: args.key.clone() })
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> String {
        let mut url = self.server.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url.into()
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.key.expose_secret())
    }

    fn get(&self, path: &str) -> Result<ureq::Body> {
        let response = self.agent.get(self.url(path, &[])).header("Authorization", self.authorization()).call()?;
        answered(response)
    }

    fn post(&self, path: &str, query: &[(&str, String)], kind: &str, accept: &str, body: impl Read + 'static) -> Result<ureq::Body> {
        let response = self
            .agent
            .post(self.url(path, query))
            .header("Authorization", self.authorization())
            .header("Content-Type", kind)
            .header("Accept", accept)
            .send(ureq::SendBody::from_owned_reader(body))?;
        answered(response)
    }
}

/// The body of an answer; E: the problem.
fn answered(mut response: ureq::http::Response<ureq::Body>) -> Result<ureq::Body> {
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    let problem: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap_or_default()).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut detail = text(&problem["detail"]).unwrap_or_else(|| response.status().to_string());
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    if let [only] = errors.as_slice() {
        detail = format!("{}: {detail}", only["pointer"].as_str().unwrap_or_default());
    }
    for error in errors.iter().filter(|_| errors.len() > 1) {
        if let (Some(pointer), Some(what)) = (error["pointer"].as_str(), error["detail"].as_str()) {
            detail.push_str(&format!("\n  {pointer}: {what}"));
        }
    }
    let status = response.status().as_u16();
    Err(ClientError::Refused { status, code: text(&problem["code"]).unwrap_or_else(|| response.status().as_u16().to_string()), detail })
}

fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn is_ndjson(name: &str) -> bool {
    [".ndjson", ".jsonl"].iter().any(|end| name.ends_with(end))
}

/// Sends the file and follows its job to the end: the job.
pub fn import(args: &ImportArgs) -> Result<Value> {
    let client = Client::new(&args.server)?;
    let name = args.file.to_string_lossy().into_owned();
    let mut query = vec![("mode", args.mode.clone())];
    if args.dry_run {
        query.push(("dry_run", "true".to_owned()));
    }
    if !args.map.is_empty() {
        let mut mapping = Map::new();
        for pair in &args.map {
            let (column, field) = pair
                .rsplit_once('=')
                .ok_or_else(|| ClientError::Usage(format!("--map: expected COLUMN=FIELD such as \"E-mail=email\", got {pair:?}")))?;
            mapping.insert(column.trim().to_owned(), field.trim().into());
        }
        query.push(("mapping", Value::Object(mapping).to_string()));
    }
    query.extend(args.delimiter.clone().map(|delimiter| ("delimiter", delimiter)));
    query.extend(args.encoding.clone().map(|encoding| ("encoding", encoding)));
    let ndjson = match args.format.as_deref() {
        Some("csv") => false,
        Some("ndjson") => true,
        Some(_) => return Err(ClientError::Usage("--format is csv or ndjson".to_owned())),
        None => is_ndjson(&name),
    };
    let kind = if ndjson { "application/x-ndjson" } else { "text/csv" };
    let (file, length): (Box<dyn Read + Send + Sync>, Option<u64>) = if name == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let unreadable = |error| ClientError::File { file: name.clone(), error };
        let file = File::open(&args.file).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        (Box::new(file), Some(length))
    };
    let sending = bar(length, "sending   {wide_bar} {bytes}/{total_bytes} {eta}");
    let mut body = client.post("/v1/imports", &query, kind, "application/json", sending.wrap_read(file))?;
    sending.finish_and_clear();
    let job: Value = json_of(&body.read_to_string()?)?;
    tell_ignored(&job);
    follow(&client, job)
}

/// What an export says of its own accord is no loss; every other column that is left out may be one.
fn tell_ignored(job: &Value) {
    const OWN: [&str; 6] = ["id", "version", "channels", "last_seen_at", "created_at", "updated_at"];
    let ignored = job["details"]["ignored"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ignored: Vec<&str> = ignored.filter(|name| !OWN.contains(name)).collect();
    if !ignored.is_empty() {
        // Nobody who closed it is waiting to be told.
        let _ = writeln!(io::stderr(), "people: columns left out: {} (--map \"COLUMN=FIELD\" says what one holds)", ignored.join(", "));
    }
}

/// How often the job is looked for, a few seconds apart, before it is left alone.
const LOOKS: u64 = 60;

/// Reads the events of a job until it has ended. A stream that breaks off is taken up again, also when the server has to come
/// back first.
fn follow(client: &Client, mut job: Value) -> Result<Value> {
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let rows = bar(job["total"].as_u64(), "importing {wide_bar} {pos}/{len} rows {per_sec} {eta} {msg}");
    let mut broken = 0;
    loop {
        let stream = match client.get(&format!("/v1/jobs/{id}/stream")) {
            Ok(body) => Some(BufReader::new(body.into_reader())),
            Err(error) if error.passes() => None,
            Err(error) => return Err(error),
        };
        for line in stream.into_iter().flat_map(BufReader::lines) {
            let Ok(line) = line else { break };
            let Some(data) = line.strip_prefix("data: ") else { continue };
            // The line may have broken off with the connection.
            let Ok(told) = json_of(data) else { break };
            broken = 0;
            job = told;
            rows.set_position(job["processed"].as_u64().unwrap_or(0));
            if let Some(failed @ 1..) = job["failed"].as_u64() {
                rows.set_message(format!("{failed} not taken"));
            }
            if !matches!(job["status"].as_str(), Some("queued" | "running")) {
                rows.finish_and_clear();
                return Ok(job);
            }
        }
        broken += 1;
        if broken > LOOKS {
            return Err(ClientError::Failed(format!("the job goes on, but cannot be followed: GET /v1/jobs/{id}")));
        }
        std::thread::sleep(Duration::from_secs(broken.min(5)));
    }
}

/// E: the job, or rows of it, failed.
pub fn all_taken(job: &Value) -> Result<()> {
    let id = job["id"].as_str().unwrap_or_default();
    match (job["status"].as_str(), job["failed"].as_u64().unwrap_or(0)) {
        (Some("succeeded"), 0) => Ok(()),
        (Some("succeeded"), failed) => Err(ClientError::Failed(format!("{failed} rows were not taken; why: GET /v1/jobs/{id}/errors"))),
        (status, _) => {
            let detail = job["error"]["detail"].as_str().unwrap_or("no more was done");
            Err(ClientError::Failed(format!("the job {}: {detail}", status.unwrap_or("ended"))))
        }
    }
}

/// Writes everybody the search finds.
pub fn export(args: &ExportArgs) -> Result<()> {
    let client = Client::new(&args.server)?;
    let name = args.output.as_ref().map(|path| path.to_string_lossy().into_owned());
    let csv = match args.format.as_deref() {
        Some("csv") => true,
        Some("ndjson") => false,
        Some(_) => return Err(ClientError::Usage("--format is csv or ndjson".to_owned())),
        None => name.as_deref().is_some_and(|name| name.ends_with(".csv")),
    };
    let mut body = Map::new();
    for (member, value) in [("q", &args.q), ("sort", &args.sort)] {
        if let Some(value) = value {
            body.insert(member.to_owned(), value.as_str().into());
        }
    }
    if let Some(filter) = &args.filter {
        body.insert("filter".to_owned(), json_of(filter).map_err(|_| ClientError::Usage("--filter is not JSON".to_owned()))?);
    }
    let accept = if csv { "text/csv" } else { "application/x-ndjson" };
    let body = io::Cursor::new(json!(body).to_string());
    let answer = client.post("/v1/profiles/export", &[], "application/json", accept, body)?;
    let writing = bar(None, "exporting {spinner} {bytes} {bytes_per_sec}");
    let mut from = writing.wrap_read(answer.into_reader());
    match (&args.output, name) {
        (Some(path), Some(file)) => {
            let unwritable = |error| ClientError::File { file: file.clone(), error };
            if path.exists() && !path.is_file() {
                // A pipe or a device is written to, not replaced.
                let mut to = File::options().write(true).open(path).map_err(unwritable)?;
                io::copy(&mut from, &mut to)?;
                writing.finish_and_clear();
                return Ok(());
            }
            // Under its name it stands whole, or not at all.
            let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let mut to = tempfile::NamedTempFile::new_in(beside).map_err(unwritable)?;
            io::copy(&mut from, &mut to)?;
            to.as_file().sync_all().map_err(unwritable)?;
            to.persist(path).map_err(|error| unwritable(error.error))?;
        }
        _ => {
            let mut to = io::stdout().lock();
            io::copy(&mut from, &mut to)?;
            to.flush()?;
        }
    }
    writing.finish_and_clear();
    Ok(())
}

fn json_of(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| ClientError::Failed("the server answered something else than JSON".to_owned()))
}
