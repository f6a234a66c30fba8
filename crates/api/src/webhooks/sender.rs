//! Sending one request to somebody else's server, and nowhere it must not go.
//!
//! The URL is checked before each request; a name is resolved here, all of its addresses are looked at, and the
//! connection goes to exactly those: what the name says a moment later does not matter. The client follows no redirects,
//! knows no proxies and keeps no cookies. What is answered is read to keep the connection, and thrown away.

use std::{
    error::Error as _,
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use actix_web::http::header::HttpDate;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header::HeaderMap};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, builderstates::WantsSchemes};
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use people_domain::{
    Timestamp,
    webhook::address::{Reach, target},
};
use people_store::Attempt;
use tower_service::Service;

use super::message::Message;

/// Most of an answer that is read.
const READ: usize = 64 * 1024;
/// Longest time for the rest of an answer whose status is known.
const REST: Duration = Duration::from_secs(1);
/// Connections that nothing was sent on for so long are closed, before the other side does so while we send.
const IDLE: Duration = Duration::from_secs(4);

/// Where names lead; tests bring their own.
pub trait Lookup: Send + Sync + 'static {
    fn addresses<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// What the operating system says.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Nowhere {
    #[error("the name is not known")]
    Unknown,
    #[error("the name leads to an address that is not public")]
    NotPublic,
}

/// Resolves names to addresses that may all be connected to, or refuses them.
#[derive(Clone)]
pub struct Guarded {
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl Guarded {
    pub fn new(lookup: Arc<dyn Lookup>, reach: Reach) -> Self {
        Self { lookup, reach }
    }

    /// E: not one of the addresses is used when any is not public.
    pub async fn resolve(&self, host: &str) -> Result<Vec<SocketAddr>, Nowhere> {
        let found = self.lookup.addresses(host).await.map_err(|_| Nowhere::Unknown)?;
        if found.is_empty() {
            return Err(Nowhere::Unknown);
        }
        if !found.iter().all(|address| self.reach.allows(*address)) {
            return Err(Nowhere::NotPublic);
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Nowhere;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Nowhere>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Nowhere>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guarded = self.clone();
        Box::pin(async move { Ok(guarded.resolve(name.as_str()).await?.into_iter()) })
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub attempt: Attempt,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Sent {
    pub fn is_taken(&self) -> bool {
        self.attempt.error.is_none()
    }

    /// The receiver wants nothing more, ever.
    pub fn is_gone(&self) -> bool {
        self.attempt.status_code == Some(410)
    }
}

type Body = Full<hyper::body::Bytes>;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Sender {
    client: Client<HttpsConnector<HttpConnector<Guarded>>, Body>,
    reach: Reach,
    timeout: Duration,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?})", self.reach)
    }
}

impl Sender {
    pub fn new(reach: Reach, timeout: Duration) -> Self {
        Self::with(Arc::new(SystemLookup), reach, timeout)
    }

    pub fn with(lookup: Arc<dyn Lookup>, reach: Reach, timeout: Duration) -> Self {
        Self::trusting(HttpsConnectorBuilder::new().with_webpki_roots(), lookup, reach, timeout)
    }

    fn trusting(tls: HttpsConnectorBuilder<WantsSchemes>, lookup: Arc<dyn Lookup>, reach: Reach, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Guarded::new(lookup, reach));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector);
        Self { client, reach, timeout }
    }

    /// One attempt. What is told of it holds nothing of what was sent or answered.
    pub async fn send(&self, url: &str, message: &Message, at: Timestamp) -> Sent {
        let began = Instant::now();
        let (status_code, error, retry_after) = match self.exchange(url, message, at).await {
            Ok(answer) => judge(answer).await,
            Err(error) => (None, Some(error), None),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Sent { attempt: Attempt { at, status_code, duration_ms, error: error.map(str::to_owned) }, retry_after }
    }

    async fn exchange(&self, url: &str, message: &Message, at: Timestamp) -> Result<Response<Incoming>, &'static str> {
        let url = target(url, self.reach).map_err(|issue| if issue.code == "address_not_public" { issue.code } else { "invalid_url" })?;
        let mut request = Request::post(url.as_str())
            .header("content-type", "application/json")
            .header("user-agent", concat!("People/", env!("CARGO_PKG_VERSION"), " (webhooks)"));
        for (name, value) in message.headers(at) {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(message.body.clone())).map_err(|_| "invalid_url")?;
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Err(_) => Err("timeout"),
            Ok(Err(error)) => Err(class(&error)),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

type Judged = (Option<u16>, Option<&'static str>, Option<Duration>);

async fn judge(answer: Response<Incoming>) -> Judged {
    let status = answer.status();
    let asked = retry_after(answer.headers());
    // Read to its end, the connection serves again; else it is closed.
    let mut body = answer.into_body();
    let drained = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, hyper::body::Bytes::len);
            if read > READ {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(REST, drained).await;
    let error = match status.as_u16() {
        200..=299 => None,
        300..=399 => Some("redirect"),
        _ => Some("status"),
    };
    (Some(status.as_u16()), error, asked)
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: SystemTime = text.parse::<HttpDate>().ok()?.into();
    date.duration_since(SystemTime::now()).ok()
}

/// The class of a failure, for whoever runs the endpoint.
fn class(error: &ClientError) -> &'static str {
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(nowhere) = found.downcast_ref::<Nowhere>() {
            return match nowhere {
                Nowhere::Unknown => "dns",
                Nowhere::NotPublic => "address_not_public",
            };
        }
        cause = match found.downcast_ref::<io::Error>() {
            Some(io) if io.kind() == io::ErrorKind::TimedOut => return "timeout",
            // What TLS is not content with.
            Some(io) if io.kind() == io::ErrorKind::InvalidData && error.is_connect() => return "tls",
            // Its `source` would pass over the error that it wraps.
            Some(io) => match io.get_ref() {
                Some(wrapped) => Some(wrapped),
                None => io.source(),
            },
            None => found.source(),
        };
    }
    if error.is_connect() { "connect" } else { "broken" }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        io,
        net::{IpAddr, Ipv4Addr, TcpListener},
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use people_domain::{Timestamp, webhook::address::Reach};
    use people_store::WebhookSecret;

    use super::{Guarded, Lookup, Nowhere, Sender};
    use crate::webhooks::message::Message;

    const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14));
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Answers each question with the next of its answers, round and round.
    struct Flipping {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
    }

    impl Flipping {
        fn of(answers: Vec<Vec<IpAddr>>) -> Arc<Self> {
            Arc::new(Self { answers, asked: AtomicUsize::new(0) })
        }
    }

    impl Lookup for Flipping {
        fn addresses<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            let n = self.asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { Ok(self.answers[n % self.answers.len()].clone()) })
        }
    }

    fn message() -> Message {
        Message::new("msg_1".to_owned(), "{}".to_owned(), &[WebhookSecret([1; 32])])
    }

    #[tokio::test]
    async fn a_name_that_turns_to_loopback_is_not_followed() {
        let guarded = Guarded::new(Flipping::of(vec![vec![PUBLIC], vec![LOOPBACK], vec![PUBLIC, LOOPBACK]]), Reach::Public);
        for _ in 0..1_000 {
            // Checked and connected to are the same addresses: nobody asks a second time in between.
            assert!(guarded.resolve("hooks.example.com").await.is_ok_and(|found| found.iter().all(|a| a.ip() == PUBLIC)));
            assert!(matches!(guarded.resolve("hooks.example.com").await, Err(Nowhere::NotPublic)));
            assert!(matches!(guarded.resolve("hooks.example.com").await, Err(Nowhere::NotPublic)));
        }
    }

    #[tokio::test]
    async fn nothing_reaches_a_loopback_listener() {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { panic!("a port") };
        let Ok(port) = listener.local_addr().map(|address| address.port()) else { panic!("a port") };
        assert!(listener.set_nonblocking(true).is_ok());
        // A private address alone, and among public ones.
        let lookup = Flipping::of(vec![vec![LOOPBACK], vec![PUBLIC, LOOPBACK], vec![LOOPBACK, PUBLIC]]);
        let sender = Sender::with(lookup, Reach::Public, Duration::from_secs(2));
        for _ in 0..300 {
            let sent = sender.send(&format!("https://hooks.example.com:{port}/"), &message(), Timestamp::MIN).await;
            assert_eq!(sent.attempt.error.as_deref(), Some("address_not_public"));
        }
        for url in
            [format!("https://127.0.0.1:{port}/"), format!("https://[::ffff:127.0.0.1]:{port}/"), format!("http://127.0.0.1:{port}/")]
        {
            let sent = sender.send(&url, &message(), Timestamp::MIN).await;
            assert!(matches!(sent.attempt.error.as_deref(), Some("address_not_public" | "invalid_url")), "{url}: {sent:?}");
        }
        assert!(listener.accept().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock), "somebody came by");
        // The listener is there: it is reached where everything is allowed.
        let sender = Sender::with(Flipping::of(vec![vec![LOOPBACK]]), Reach::Anywhere, Duration::from_millis(200));
        let sent = sender.send(&format!("http://hooks.example.com:{port}/"), &message(), Timestamp::MIN).await;
        assert_eq!(sent.attempt.error.as_deref(), Some("timeout"));
        assert!(listener.accept().is_ok());
    }

    #[tokio::test]
    async fn what_is_no_tls_is_told() {
        let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:0").await else { panic!("a port") };
        let Ok(port) = listener.local_addr().map(|address| address.port()) else { panic!("a port") };
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1_024]).await;
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                let _ = socket.read(&mut [0; 1_024]).await;
            }
        });
        let sender = Sender::new(Reach::Anywhere, Duration::from_secs(5));
        let sent = sender.send(&format!("https://127.0.0.1:{port}/"), &message(), Timestamp::MIN).await;
        assert_eq!((sent.attempt.status_code, sent.attempt.error.as_deref()), (None, Some("tls")));
    }

    /// A server with a certificate of this authority for this name; it counts the requests that it understood.
    async fn secure(issuer: &rcgen::Issuer<'_, rcgen::KeyPair>, name: &str) -> (u16, Arc<AtomicUsize>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, issuer).expect("signed");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.into()], key.into());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls.expect("a certificate")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&requests);
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let mut buffer = [0; 4_096];
                while let Ok(1..) = socket.read(&mut buffer).await {
                    counting.fetch_add(1, Ordering::SeqCst);
                    let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                    let _ = socket.flush().await;
                }
            }
        });
        (port, requests)
    }

    #[tokio::test]
    async fn a_server_proves_that_it_has_the_name() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).expect("signed");
        let issuer = rcgen::Issuer::new(authority, key);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.der().clone()).expect("a root");
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let lookup = || Flipping::of(vec![vec![LOOPBACK]]);
        let trusting = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
        let sender = Sender::trusting(trusting, lookup(), Reach::Anywhere, Duration::from_secs(5));
        let (port, requests) = secure(&issuer, "hooks.example.com").await;
        let taken = sender.send(&format!("https://hooks.example.com:{port}/"), &message(), Timestamp::MIN).await;
        assert_eq!((taken.attempt.status_code, taken.attempt.error), (Some(204), None));
        // Another name, or an authority that nobody trusts.
        let misnamed = sender.send(&format!("https://other.example.com:{port}/"), &message(), Timestamp::MIN).await;
        assert_eq!(misnamed.attempt.error.as_deref(), Some("tls"));
        let usual = Sender::with(lookup(), Reach::Anywhere, Duration::from_secs(5));
        let untrusted = usual.send(&format!("https://hooks.example.com:{port}/"), &message(), Timestamp::MIN).await;
        assert_eq!(untrusted.attempt.error.as_deref(), Some("tls"));
        assert_eq!(requests.load(Ordering::SeqCst), 1, "what was sent was read by somebody else");
    }
}
