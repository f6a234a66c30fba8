//! The real program as a child process: `people serve` on a free port, and its other subcommands.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Database, Engine};

/// The first full-scope key of workspace `default`, known beforehand.
pub const BOOTSTRAP_KEY: &str = "ppl_bootstrap_key_of_the_test_suite_0123456789abcdef";

/// What servers of the suite keep secrets under.
pub const SECRET_KEY: &str = "secret_key_of_the_test_suite_0123456789abcdef";

/// The program under test: `PEOPLE_BIN`, or `people` beside the test executable.
pub fn people() -> PathBuf {
    if let Some(path) = std::env::var_os("PEOPLE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test knows where it is");
    let name = format!("people{}", std::env::consts::EXE_SUFFIX);
    let found = test.ancestors().skip(2).take(2).map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no `people` beside {}; build it first: cargo build -p people-api", test.display()))
}

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live in the project")
}

/// What a subcommand answered.
#[derive(Debug)]
pub struct Cli {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "the command failed\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let done = self.done();
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {}", done.stdout))
    }
}

/// Runs a subcommand with nothing of the caller's configuration but the given variables.
pub fn cli(arguments: &[&str], environment: &[(&str, &str)]) -> Cli {
    let output =
        bare(&people()).args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().expect("the program starts");
    Cli {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command in an empty directory whose settings come from nobody's shell and nobody's `.env`.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(std::env::temp_dir());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PEOPLE_") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// A running server. Killed when dropped, and by its keeper when the test process ends in any other way.
#[derive(Debug)]
pub struct Server {
    pub database: Database,
    pub url: String,
    keeper: Mutex<Child>,
    /// While this end of the pipe is open the keeper lets the server live.
    lifeline: Option<ChildStdin>,
    process: u32,
    log: Arc<Mutex<String>>,
    keep_database: bool,
}

/// Starts the program, tells its process id on the first line, and kills it when standard input ends.
const KEEPER: &str = r#"
"$@" & server=$!
echo "process $server"
cat > /dev/null
kill -9 "$server" 2> /dev/null
wait "$server" 2> /dev/null
[ -z "$REMOVE_AFTERWARDS" ] || rm -rf "$REMOVE_AFTERWARDS"
"#;

impl Server {
    /// A server on a new database.
    pub async fn new(engine: Engine) -> Self {
        Self::on(Database::create(engine).await, &[])
    }

    /// A server on a database that may have been used before.
    pub fn on(database: Database, environment: &[(&str, &str)]) -> Self {
        Self::start(database, environment, false)
    }

    fn start(database: Database, environment: &[(&str, &str)], remove_afterwards: bool) -> Self {
        let mut command = bare(Path::new("sh"));
        command
            .args(["-c", KEEPER, "sh"])
            .arg(people())
            .arg("serve")
            .env("DATABASE_URL", &database.url)
            .env("PEOPLE_LISTEN", "127.0.0.1:0")
            .env("PEOPLE_BOOTSTRAP_KEY", BOOTSTRAP_KEY)
            .env("PEOPLE_LOG", "warn")
            .env("PEOPLE_SECRET_KEY", SECRET_KEY)
            // Receivers of webhooks live in the test.
            .env("PEOPLE_WEBHOOKS_ALLOW_PRIVATE", "true")
            .env("REMOVE_AFTERWARDS", if remove_afterwards { database.directory.as_os_str() } else { "".as_ref() })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in environment {
            // An empty value takes the variable away.
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let mut keeper = command.spawn().expect("a shell starts");
        let lifeline = keeper.stdin.take();
        let stdout = keeper.stdout.take().expect("piped above");
        let mut stderr = keeper.stderr.take().expect("piped above");
        let log = Arc::new(Mutex::new(String::new()));
        let (said, heard) = mpsc::channel();
        // Both pipes are read to their ends: a full pipe would stop the server.
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().expect("no reader panics").push_str(&format!("{line}\n"));
                let _ = said.send(line);
            }
        });
        let errors = Arc::clone(&log);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                errors.lock().expect("no reader panics").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut server =
            Self { database, url: String::new(), keeper: Mutex::new(keeper), lifeline, process: 0, log, keep_database: remove_afterwards };
        loop {
            let Ok(line) = heard.recv_timeout(Duration::from_secs(60)) else {
                panic!("the server did not come up on {}:\n{}", server.database.engine.name(), server.log());
            };
            if let Some(process) = line.strip_prefix("process ") {
                server.process = process.trim().parse().expect("a process id is a number");
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                server.url = rest.split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned();
                return server;
            }
        }
    }

    /// Everything the server has written so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").clone()
    }

    /// The id of the server's process.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Runs a subcommand on the same database.
    pub fn cli(&self, arguments: &[&str]) -> Cli {
        cli(arguments, &[("DATABASE_URL", &self.database.url)])
    }

    /// `kill -9`: nothing is flushed, no goodbye is said. Returns once the process is gone, and keeps the database.
    pub fn kill(mut self) -> Database {
        self.keep_database = true;
        self.stop();
        self.database.clone()
    }

    fn stop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.process.to_string()]).stderr(Stdio::null()).status();
        drop(self.lifeline.take());
        if let Ok(mut keeper) = self.keeper.lock() {
            let _ = keeper.wait();
        }
    }

    /// The one server all stories of an engine share; its directory goes when this process ends.
    pub async fn shared(engine: Engine) -> &'static Self {
        static SERVERS: [tokio::sync::OnceCell<Server>; 3] = [const { tokio::sync::OnceCell::const_new() }; 3];
        let place = Engine::ALL.iter().position(|e| *e == engine).unwrap_or_default();
        SERVERS[place].get_or_init(async || Self::start(Database::create(engine).await, &[], true)).await
    }

    /// The same, but for a server that keeps nothing in memory and answers every question by SQL.
    pub async fn without_memory(engine: Engine) -> &'static Self {
        static SERVERS: [tokio::sync::OnceCell<Server>; 3] = [const { tokio::sync::OnceCell::const_new() }; 3];
        let place = Engine::ALL.iter().position(|e| *e == engine).unwrap_or_default();
        SERVERS[place].get_or_init(async || Self::start(Database::create(engine).await, &[("PEOPLE_READ_MODEL_MB", "0")], true)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if !self.keep_database {
            let database = self.database.clone();
            // A runtime may be running on this thread already, and none can be started inside of it.
            let _ = thread::spawn(move || crate::block_on(async move { database.remove().await })).join();
        }
    }
}
