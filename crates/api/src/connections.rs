//! Connections, and closing those whose client does not come on.
//!
//! The framework has a timer for the first head of a connection and for idle ones, and none for a head that stops half-way
//! on a connection that was used before, nor for an answer that nobody takes. So each connection notes what it is doing,
//! and a watchdog shuts down the sockets that have been doing nothing for too long. While a handler works nothing is cut,
//! and a stream that has nothing to say is waited for.

use std::{
    any::Any,
    fmt,
    net::{Shutdown, TcpStream},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::Extensions,
    web::Bytes,
};
use tokio::sync::OwnedSemaphorePermit;

/// Longest time beyond that between two requests, in which the framework closes who is idle, for a head that began to arrive.
const HEAD: Duration = Duration::from_secs(5);
/// Longest time for a client to take the next piece of its answer.
const TAKING: Duration = Duration::from_secs(60);
/// Pieces an answer is handed over in, so that one who does not read is noticed.
const PIECE: usize = 64 * 1024;

struct Doing {
    /// Requests between their head and the last byte of their answer.
    requests: usize,
    /// Since when there are none.
    idle_since: Instant,
    /// When a piece of an answer was handed over that has not been taken yet.
    handed_at: Option<Instant>,
}

/// One connection. It ends with its socket: the framework holds it, everybody else looks it up.
pub struct Connection {
    socket: TcpStream,
    doing: Mutex<Doing>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    fn doing(&self) -> std::sync::MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has arrived on it.
    pub fn request(self: &Arc<Self>) -> Request {
        self.doing().requests += 1;
        Request(Arc::clone(self))
    }

    fn is_stuck(&self, patience: Duration) -> bool {
        let doing = self.doing();
        if doing.requests == 0 { doing.idle_since.elapsed() > patience } else { doing.handed_at.is_some_and(|at| at.elapsed() > TAKING) }
    }
}

/// A request on a connection, until the last byte of its answer was taken or it was given up.
#[derive(Debug)]
pub struct Request(Arc<Connection>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        doing.requests = doing.requests.saturating_sub(1);
        doing.idle_since = Instant::now();
        doing.handed_at = None;
    }
}

/// Where the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Serving,
    /// Told to go: `/readyz` says so, everything is still served.
    Leaving,
    /// Nothing new is accepted; who is idle is sent away.
    Closed,
}

/// Every open connection of this process.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    open: Arc<Mutex<Vec<Weak<Connection>>>>,
    stage: Arc<AtomicU8>,
}

impl Connections {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the server: notes a connection that was accepted. The handle of the socket is a second one of our own, since the
    /// framework keeps its own to itself.
    pub fn accepted(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        let Some(socket) = second_handle(stream) else { return };
        let doing = Doing { requests: 0, idle_since: Instant::now(), handed_at: None };
        let connection = Arc::new(Connection { socket, doing: Mutex::new(doing) });
        self.open().push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    pub fn len(&self) -> usize {
        self.open().iter().filter(|connection| connection.strong_count() > 0).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub fn is_leaving(&self) -> bool {
        self.stage.load(Ordering::Relaxed) != Stage::Serving as u8
    }

    /// Closes who does not come on, as long as the process lives; `closed` is called for each.
    /// `keep_alive`: the longest time between two requests.
    pub async fn watch(self, keep_alive: Duration, closed: impl Fn()) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let going = self.stage.load(Ordering::Relaxed) == Stage::Closed as u8;
            let patience = if going { Duration::from_millis(500) } else { keep_alive + HEAD };
            let living: Vec<Arc<Connection>> = {
                let mut open = self.open();
                open.retain(|connection| connection.strong_count() > 0);
                open.iter().filter_map(Weak::upgrade).collect()
            };
            for connection in living.iter().filter(|connection| connection.is_stuck(patience)) {
                // The framework reads the end of it, and lets go of its own handle.
                if connection.socket.shutdown(Shutdown::Both).is_ok() && !going {
                    closed();
                }
            }
        }
    }
}

/// Allows this process as many open files as the system lets it: a connection takes two of them.
pub fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // What the system does not grant is done without.
        let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    }
}

#[cfg(unix)]
fn second_handle(stream: &actix_web::rt::net::TcpStream) -> Option<TcpStream> {
    use std::os::fd::AsFd as _;
    stream.as_fd().try_clone_to_owned().ok().map(TcpStream::from)
}

#[cfg(windows)]
fn second_handle(stream: &actix_web::rt::net::TcpStream) -> Option<TcpStream> {
    use std::os::windows::io::AsSocket as _;
    stream.as_socket().try_clone_to_owned().ok().map(TcpStream::from)
}

/// What is let go of when an answer has been taken.
#[derive(Debug, Default)]
pub struct Kept {
    pub request: Option<Request>,
    pub place: Option<OwnedSemaphorePermit>,
}

/// An answer that holds something until its last byte, handed over in pieces.
pub struct Handed {
    body: BoxBody,
    rest: Bytes,
    kept: Kept,
}

impl Handed {
    pub fn new(body: BoxBody, kept: Kept) -> Self {
        Self { body, rest: Bytes::new(), kept }
    }

    /// Notes that it is the client's turn, or that it is not.
    fn handed(&self, handed: bool) {
        if let Some(request) = &self.kept.request {
            request.0.doing().handed_at = handed.then(Instant::now);
        }
    }
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handed")
    }
}

impl MessageBody for Handed {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.handed(false);
        // An empty piece would be the end to whoever reads it.
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.handed(true);
        Poll::Ready(Some(Ok(piece)))
    }
}
