//! The client: keep-alive HTTP/1.1 connections of hyper, and a driver that keeps a number of them busy.
//!
//! It shares its cores with the server it measures, so it does little: one request is built before the clock starts,
//! one answer is read whole. [`drive`] is closed-loop: a connection sends its next request when the last is answered.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Result;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server to talk to, and the key to talk with.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    host: HeaderValue,
    authorization: HeaderValue,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Target {
    /// E: a key that cannot stand in a header.
    pub fn new(address: SocketAddr, key: &str) -> Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        Ok(Self { address, host: HeaderValue::from_str(&address.to_string())?, authorization })
    }

    /// Opens a connection of its own for one request and gives the answer as JSON. E: any status but 2xx.
    pub async fn json(&self, call: Call) -> Result<Value> {
        let what = call.to_string();
        let answer = Connection::open(self).await?.send(call).await?;
        if !answer.status.is_success() {
            return Err(format!("{what} answered {}: {}", answer.status, answer.excerpt()).into());
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

/// One request to make.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub accept: Option<&'static str>,
    /// Of the body, where there is one.
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), accept: None, content_type: "application/json", body: Bytes::new() }
    }

    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path: path.into(), accept: None, content_type: "application/json", body: body.into() }
    }

    /// A body that is not JSON.
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// The beginning of the body, for an error message.
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(400).collect()
    }
}

/// A keep-alive connection. The socket is closed when it is dropped.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended shows in the next request on it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { target: target.clone(), sender, driver })
    }

    /// Whether the other side has not closed it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, &self.target.host)
            .header(AUTHORIZATION, &self.target.authorization);
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        Ok(request.body(Full::new(call.body))?)
    }

    pub async fn send(&mut self, call: Call) -> Result<Answer> {
        let request = self.request(call)?;
        self.exchange(request).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let work = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Answer { status: head.status, body: body.collect().await?.to_bytes() })
        };
        tokio::time::timeout(PATIENCE, work).await?
    }

    /// Sends a request and leaves the body to be read in pieces.
    pub async fn stream(&mut self, call: Call) -> Result<(StatusCode, Incoming)> {
        let request = self.request(call)?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head.status, body))
    }
}

/// How much load: whichever of `count` and `time` ends first.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Requests sent first and not counted.
    pub warm_up: u64,
    pub count: u64,
    pub time: Duration,
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Nanoseconds an answer took, from request sent to body read; answers that were not as hoped are in it too.
    pub latency: Histogram<u64>,
    pub elapsed: Duration,
    /// Answers that were not as hoped, and the first of them in words.
    pub failed: u64,
    pub first_failure: Option<String>,
}

impl Outcome {
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("three digits up to ten minutes are fit bounds");
        Self { latency, elapsed: Duration::ZERO, failed: 0, first_failure: None }
    }

    pub fn per_second(&self) -> f64 {
        (self.latency.len() - self.failed.min(self.latency.len())) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Milliseconds that this share of answers did not exceed.
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }

    pub fn record(&mut self, took: Duration) {
        self.latency.saturating_record((took.as_nanos() as u64).max(1));
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.latency.add(&other.latency)?;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        Ok(())
    }

    /// Words for the report when answers were not as hoped.
    pub fn complaint(&self) -> Option<String> {
        let first = self.first_failure.as_deref()?;
        Some(format!("{} of {} answers failed; the first: {first}", self.failed, self.latency.len()))
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps connections busy with the calls that `make` gives for 0, 1, 2, …; an answer that is no 2xx, or in which
/// `verify` finds a fault, counts as failed.
/// After a transport error the connection is opened anew.
pub async fn drive<M, V>(target: &Target, load: Load, make: M, verify: V) -> Result<Outcome>
where
    M: Fn(u64) -> Call + Send + Sync + 'static,
    V: Fn(u64, &Answer) -> std::result::Result<(), String> + Send + Sync + 'static,
{
    let shared = Arc::new((make, verify, AtomicU64::new(0)));
    if load.warm_up > 0 {
        // Half of the time at most goes to warming up.
        phase(target, &shared, load.connections, load.warm_up, load.time / 2).await?;
    }
    let used = shared.2.load(Ordering::Relaxed);
    phase(target, &shared, load.connections, used + load.count, load.time).await
}

/// The same for as long as something else takes; `load.time` is the longest.
pub async fn drive_until<M, V, D>(target: &Target, load: Load, make: M, verify: V, done: D) -> Result<(Outcome, D::Output)>
where
    M: Fn(u64) -> Call + Send + Sync + 'static,
    V: Fn(u64, &Answer) -> std::result::Result<(), String> + Send + Sync + 'static,
    D: Future,
{
    let shared = Arc::new((make, verify, AtomicU64::new(0)));
    let stop = async {
        let out = done.await;
        // No number below the end is left.
        shared.2.store(u64::MAX, Ordering::Relaxed);
        out
    };
    let (outcome, out) = tokio::join!(phase(target, &shared, load.connections, load.count, load.time), stop);
    Ok((outcome?, out))
}

async fn phase<M, V>(target: &Target, shared: &Arc<(M, V, AtomicU64)>, connections: usize, end: u64, time: Duration) -> Result<Outcome>
where
    M: Fn(u64) -> Call + Send + Sync + 'static,
    V: Fn(u64, &Answer) -> std::result::Result<(), String> + Send + Sync + 'static,
{
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(target).await?);
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in open {
        tasks.spawn(keep_busy(connection, Arc::clone(shared), end, begun + time));
    }
    let mut total = Outcome::new();
    while let Some(done) = tasks.join_next().await {
        total.merge(done??)?;
    }
    total.elapsed = begun.elapsed();
    Ok(total)
}

async fn keep_busy<M, V>(mut connection: Connection, shared: Arc<(M, V, AtomicU64)>, end: u64, deadline: Instant) -> Result<Outcome>
where
    M: Fn(u64) -> Call + Send + Sync + 'static,
    V: Fn(u64, &Answer) -> std::result::Result<(), String> + Send + Sync + 'static,
{
    let (make, verify, next) = &*shared;
    let mut outcome = Outcome::new();
    while Instant::now() < deadline {
        // Taken only below the end, so that every number given out is a request made: callers count on it.
        let Ok(at) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < end).then_some(n + 1)) else { break };
        let call = make(at);
        let what = call.to_string();
        let request = connection.request(call)?;
        let sent = Instant::now();
        let answer = connection.exchange(request).await;
        outcome.record(sent.elapsed());
        match answer {
            Ok(answer) if !answer.status.is_success() => outcome.fail(format!("{what} answered {}: {}", answer.status, answer.excerpt())),
            Ok(answer) => {
                if let Err(fault) = verify(at, &answer) {
                    outcome.fail(format!("{what}: {fault}"));
                }
            }
            Err(e) => {
                outcome.fail(format!("{what}: {e}"));
                connection = Connection::open(&connection.target).await?;
            }
        }
    }
    Ok(outcome)
}

/// Any 2xx will do.
pub fn any_success(_: u64, _: &Answer) -> std::result::Result<(), String> {
    Ok(())
}

/// Percent-encodes a query value (RFC 3986 unreserved characters stay).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, encode};

    #[test]
    fn every_byte_of_a_query_survives_the_address() {
        assert_eq!(encode("O'Brien +1%_ Łuk"), "O%27Brien%20%2B1%25_%20%C5%81uk");
    }

    #[test]
    fn percentiles_are_in_milliseconds_and_failures_are_no_throughput() {
        let mut outcome = Outcome::new();
        (1..=100).for_each(|n| outcome.record(Duration::from_millis(n)));
        outcome.elapsed = Duration::from_secs(2);
        outcome.fail("GET / answered 500".to_owned());
        assert!((outcome.milliseconds(0.5) - 50.0).abs() < 0.1, "{}", outcome.milliseconds(0.5));
        assert!((outcome.per_second() - 49.5).abs() < 1e-6);
        assert_eq!(outcome.complaint().as_deref(), Some("1 of 100 answers failed; the first: GET / answered 500"));
    }
}
