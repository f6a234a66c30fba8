//! A receiver of webhooks inside the test: it listens on 127.0.0.1, notes what comes, and answers as it is told.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
    pub at: Instant,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Received {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.body))
    }

    /// The number of the change.
    #[track_caller]
    pub fn sequence(&self) -> i64 {
        self.json()["data"]["sequence"].as_i64().unwrap_or_else(|| panic!("no sequence in {}", self.body))
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// With these headers.
    With(u16, Vec<(&'static str, String)>),
    /// Nothing, until the other side gives up.
    Silence,
    /// The connection is closed.
    Close,
}

type Rule = dyn FnMut(usize, &Received) -> Reply + Send;

struct Inner {
    received: Mutex<Vec<Received>>,
    rule: Mutex<Box<Rule>>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens until it is dropped: from then on, whoever connects is refused.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    listening: Option<JoinHandle<()>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.address)
    }
}

impl Receiver {
    /// Takes everything.
    pub fn new() -> Self {
        Self::on(0, |_, _| Reply::Status(204))
    }

    /// Answers as the rule says, which is given how many came before.
    pub fn answering(rule: impl FnMut(usize, &Received) -> Reply + Send + 'static) -> Self {
        Self::on(0, rule)
    }

    /// On the port of one that was there before, or any where it is 0.
    pub fn on(port: u16, rule: impl FnMut(usize, &Received) -> Reply + Send + 'static) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => break listener,
                Err(e) => assert!(Instant::now() < deadline, "no port {port}: {e}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let address = listener.local_addr().expect("a bound socket has an address");
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            rule: Mutex::new(Box::new(rule)),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&inner);
        let listening = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&accepting);
                let number = serving.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serving.serve(stream, number));
            }
        });
        Self { address, inner, listening: Some(listening) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// From now on it answers so.
    pub fn answer(&self, rule: impl FnMut(usize, &Received) -> Reply + Send + 'static) {
        *lock(&self.inner.rule) = Box::new(rule);
    }

    /// Everything that came so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.inner.received).clone()
    }

    pub fn count(&self) -> usize {
        lock(&self.inner.received).len()
    }

    /// Numbers of the changes that came, in the order they came, repetitions included.
    pub fn sequences(&self) -> Vec<i64> {
        self.received().iter().map(Received::sequence).collect()
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        // Wakes who waits for a connection, and ends those that are open. The port is closed when that thread is gone;
        // until then the system would go on taking connections for it.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        for stream in lock(&self.inner.open).drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream, number: usize) {
        let _ = stream.set_nodelay(true);
        let Ok(held) = stream.try_clone() else { return };
        lock(&self.open).push(held);
        let mut reader = BufReader::new(&stream);
        while let Some(received) = read(&mut reader, number) {
            let before = {
                let mut all = lock(&self.received);
                all.push(received.clone());
                all.len() - 1
            };
            let reply = (lock(&self.rule))(before, &received);
            let (status, headers) = match reply {
                Reply::Status(status) => (status, Vec::new()),
                Reply::With(status, headers) => (status, headers),
                Reply::Close => break,
                Reply::Silence => {
                    // The other side closes, or this receiver is dropped.
                    let _ = reader.read(&mut [0; 1]);
                    break;
                }
            };
            let mut head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n", if status == 204 { 0 } else { 2 });
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            if status != 204 {
                head.push_str("ok");
            }
            if (&stream).write_all(head.as_bytes()).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn read(reader: &mut BufReader<&TcpStream>, connection: usize) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = HeaderMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?);
    }
    let length: usize = headers.get("content-length").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).ok()?, at: Instant::now(), connection })
}
