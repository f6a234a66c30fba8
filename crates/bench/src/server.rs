//! A server as a child process: started on a free port of 127.0.0.1, its address read from what it prints, killed when
//! dropped. Serves for the real binary and for the limits alike.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::{
    Result,
    client::{Call, Connection, Target},
};

/// The first key of a fresh database. Lives only as long as a benchmark's database.
const BOOTSTRAP_KEY: &str = "people-bench-key-0123456789abcdef0123456789abcdef";
/// Longest wait for a server to start: a million profiles may have to be read first.
const START_WITHIN: Duration = Duration::from_secs(180);

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub target: Target,
    /// From starting the process to the first 200 of `/readyz`; zero for the limits, which have none.
    pub ready_after: Duration,
    said: Said,
}

/// The last lines a child printed, for the message when it fails.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<VecDeque<String>>>);

impl Said {
    fn push(&self, line: String) {
        if let Ok(mut lines) = self.0.lock() {
            if lines.len() == 20 {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    fn text(&self) -> String {
        self.0.lock().map(|lines| lines.iter().cloned().collect::<Vec<_>>().join("\n")).unwrap_or_default()
    }
}

impl Server {
    /// Starts the real server on a database and waits until it is ready.
    pub async fn people(binary: &Path, database_url: &str) -> Result<Self> {
        let begun = Instant::now();
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .env("DATABASE_URL", database_url)
            .env("PEOPLE_LISTEN", "127.0.0.1:0")
            .env("PEOPLE_BOOTSTRAP_KEY", BOOTSTRAP_KEY)
            .env("PEOPLE_LOG", "warn")
            // One key sends everything here, and it is the server that is measured.
            .env("PEOPLE_RATE_LIMIT", "0");
        let mut server = Self::start(command).await?;
        server.wait_until_ready(begun).await?;
        Ok(server)
    }

    /// Starts this program again as the server that shows a limit.
    pub async fn limit<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("limit-server").args(args);
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Result<Self> {
        // A limit ends when its standard input does, so that it never outlives this process.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let program = PathBuf::from(command.as_std().get_program());
        let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        let said = Said::default();
        let (found, address) = tokio::sync::oneshot::channel();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(listen_to(stdout, said.clone(), Some(found)));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen_to(stderr, said.clone(), None));
        }
        match tokio::time::timeout(START_WITHIN, address).await {
            Ok(Ok(address)) => Ok(Self { child, target: Target::new(address, BOOTSTRAP_KEY)?, ready_after: Duration::ZERO, said }),
            _ => Err(format!("{} did not say where it listens; it said:\n{}", program.display(), said.text()).into()),
        }
    }

    async fn wait_until_ready(&mut self, begun: Instant) -> Result<()> {
        while begun.elapsed() < START_WITHIN {
            if let Ok(mut connection) = Connection::open(&self.target).await
                && let Ok(answer) = connection.send(Call::get("/readyz")).await
                && answer.status.is_success()
            {
                self.ready_after = begun.elapsed();
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(format!("the server was not ready in time; it said:\n{}", self.said.text()).into())
    }

    /// Ends the process at once, as a crash would, and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Waits until the server has been idle for a second, for at most a minute: indexing and checkpoints after a load
    /// are not to disturb what is measured next.
    pub async fn settle(&self) {
        let mut before = self.cpu_ticks();
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.cpu_ticks();
            match (before, now) {
                (Some(before), Some(now)) if now - before > 5 => {}
                _ => return,
            }
            before = now;
        }
    }

    /// Processor time used so far, in the kernel's ticks (field 14 and 15 of `/proc/PID/stat`). Linux only.
    fn cpu_ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    }

    /// Memory in use. Linux only.
    pub fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        Memory::parse(&status)
    }

    /// What the server printed last, for a report of something odd.
    pub fn last_words(&self) -> String {
        self.said.text()
    }
}

/// Keeps what a child prints from filling its pipe, and finds the address in it.
async fn listen_to(pipe: impl AsyncRead + Unpin, said: Said, mut found: Option<tokio::sync::oneshot::Sender<SocketAddr>>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = address_in(&line)
            && let Some(found) = found.take()
        {
            let _ = found.send(address);
        }
        said.push(line);
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("listening on http://")?.1;
    rest.split(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']'))).next()?.parse().ok()
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// All of it, pages of mapped files included.
    pub resident: u64,
    /// What the process allocated itself.
    pub own: u64,
}

impl Memory {
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(rest.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        Some(Self { resident: field("VmRSS")?, own: field("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, address_in};

    #[test]
    fn the_address_is_found_in_any_wording() {
        for line in ["people 0.1.0 listening on http://127.0.0.1:4711", "listening on http://127.0.0.1:4711, docs at /docs"] {
            assert_eq!(address_in(line), Some(([127, 0, 0, 1], 4711).into()), "{line}");
        }
        assert_eq!(address_in("API key: …"), None);
    }

    #[test]
    fn memory_is_read_from_the_status_file() {
        let status = "Name:\tpeople\nVmRSS:\t  123456 kB\nRssAnon:\t  100000 kB\n";
        assert_eq!(Memory::parse(status), Some(Memory { resident: 123_456 * 1024, own: 100_000 * 1024 }));
        assert_eq!(Memory::parse("Name:\tpeople\n"), None);
    }
}
