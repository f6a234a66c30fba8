//! Who is calling: API keys, the scopes they hold, and nothing of what they are.
//!
//! A key is looked up by its SHA-256. A found key is remembered for two seconds, so that a request costs no statement of
//! its own and a revoked key still stops within moments on every instance. What a caller may do is in a handler's
//! signature: `Caller<ProfilesWrite>`.

use std::{
    collections::HashMap,
    fmt,
    future::{Ready, ready},
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    middleware::Next,
    web::Data,
};
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use people_domain::{
    Timestamp,
    directory::{BROWSER, Cause},
    id::WorkspaceId,
    text::clean,
};
use people_store::{ApiKey, Idempotency, Store, Trust};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    app::App,
    edge::RequestId,
    metrics::Rejection,
    problem::{Kind, Problem},
};

/// Every scope a key can hold.
pub const SCOPES: &[&str] =
    &["profiles:read", "profiles:write", "profiles:delete", "profiles:merge", "events:write", "bulk", "config", "admin"];

/// A scope in a handler's signature.
pub trait Scope: 'static {
    const NAME: &'static str;
}

macro_rules! scopes {
    ($($name:ident $text:literal),+ $(,)?) => {$(
        #[derive(Debug)]
        pub struct $name;
        impl Scope for $name {
            const NAME: &'static str = $text;
        }
    )+};
}

scopes! {
    ProfilesRead "profiles:read",
    ProfilesWrite "profiles:write",
    ProfilesDelete "profiles:delete",
    ProfilesMerge "profiles:merge",
    EventsWrite "events:write",
    Bulk "bulk",
    Config "config",
    Admin "admin",
}

/// The hash a key is stored and found by, in hex.
pub fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new key: `ppl_`, 256 random bits and a checksum, so that a leaked one is recognised as a key.
///
/// E: the operating system has no randomness to give.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)?;
    Ok(key_of(&random))
}

fn key_of(secret: &[u8]) -> String {
    let body = hex(secret);
    let sum = crc32fast::hash(body.as_bytes());
    format!("ppl_{body}{sum:08x}")
}

/// The new key of a request that may be sent again: derived from the caller's own key and the request
/// (HMAC-SHA256, RFC 2104), so that a retry finds the same secret and nobody has to store it.
pub fn derived_key(caller: &SecretString, idempotency: &Idempotency) -> String {
    let mut secret = [0_u8; 32];
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(caller.expose_secret().as_bytes()) {
        mac.update(b"api-key\0");
        mac.update(idempotency.key.as_bytes());
        mac.update(b"\0");
        mac.update(idempotency.fingerprint.as_bytes());
        secret.copy_from_slice(&mac.finalize().into_bytes());
    }
    key_of(&secret)
}

/// Keys seen lately, and when each was last used.
#[derive(Default)]
pub struct Doorkeeper {
    known: Mutex<HashMap<String, (Instant, Arc<ApiKey>)>>,
    used: Mutex<HashMap<Uuid, Timestamp>>,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorkeeper")
    }
}

const REMEMBERED: Duration = Duration::from_secs(2);

impl Doorkeeper {
    async fn recognise(&self, store: &Store, presented: &str) -> Result<Arc<ApiKey>, Problem> {
        let hash = hash(presented);
        let remembered = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&hash).filter(|(since, _)| since.elapsed() < REMEMBERED).map(|(_, key)| Arc::clone(key))
        };
        let key = match remembered {
            Some(key) => key,
            None => {
                let key = store.authenticate(&hash).await?.ok_or_else(unauthorized)?;
                let key = Arc::new(key);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() > 10_000 {
                    known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
                }
                known.insert(hash, (Instant::now(), Arc::clone(&key)));
                key
            }
        };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, store.now());
        Ok(key)
    }

    /// Forgets what is remembered: a key was changed or revoked here.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes down when keys were used, every half minute, in one transaction.
    pub async fn note_use(self: Arc<Self>, store: Store) {
        loop {
            tokio::time::sleep(Duration::from_secs(30)).await;
            self.note_now(&store).await;
        }
    }

    /// The same at once: before the process goes.
    pub async fn note_now(&self, store: &Store) {
        let used: Vec<_> = self.used.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        if !used.is_empty() && store.touch_api_keys(used).await.is_err() {
            tracing::debug!("the use of API keys could not be noted");
        }
    }
}

fn unauthorized() -> Problem {
    Problem::new(Kind::Unauthorized, "Send a valid API key: `Authorization: Bearer ppl_…`.")
}

/// What the middleware learnt; the extractor says so.
#[derive(Clone)]
struct Recognised(Result<(Arc<ApiKey>, SecretString), Problem>);

/// Recognises the caller of every request that needs one, before anything else of it is read.
pub async fn recognise(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.path().starts_with("/v1") || crate::tracking::is_route(request.path()) {
        let presented =
            request.headers().get("Authorization").and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' ')).and_then(
                |(scheme, key)| match scheme.to_ascii_lowercase().as_str() {
                    "bearer" => Some(key.trim().to_owned()),
                    "basic" if crate::tracking::is_route(request.path()) => user_name(key.trim()),
                    _ => None,
                },
            );
        let app = request.app_data::<Data<App>>().cloned();
        let recognised = match (presented, app) {
            (Some(key), Some(app)) if !key.is_empty() && key.len() <= 512 => match app.doorkeeper.recognise(&app.store, &key).await {
                Ok(found) => within_rate(&app, &request, &found).map(|()| (found, SecretString::from(key))),
                Err(problem) => Err(problem),
            },
            _ => Err(unauthorized()),
        };
        // Before anything else of the request is read.
        if let Err(problem) = &recognised
            && problem.kind == Kind::RateLimited
        {
            return Ok(request.error_response(problem.clone()).map_into_right_body());
        }
        request.extensions_mut().insert(Recognised(recognised));
    }
    next.call(request).await.map(ServiceResponse::map_into_left_body)
}

/// Takes the request from its key's bucket, and leaves a note for the headers of the answer.
fn within_rate(app: &App, request: &impl HttpMessage, key: &ApiKey) -> Result<(), Problem> {
    let Some(taken) = app.rates.take(key) else { return Ok(()) };
    request.extensions_mut().insert(taken);
    let Some(wait) = taken.wait else { return Ok(()) };
    app.metrics.rejected(Rejection::RateLimited);
    let detail = "This key sends more requests than it may; wait, and send more in each.";
    Err(Problem { retry_after: Some(wait), ..Problem::new(Kind::RateLimited, detail) })
}

/// The user name of Basic authentication (RFC 7617), where tracking SDKs put the write key; the colon may be missing.
fn user_name(credentials: &str) -> Option<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    Some(text.split_once(':').map_or(text.as_str(), |(name, _)| name).to_owned())
}

/// The caller by a key found elsewhere than in the head of the request.
pub async fn by_key<S: Scope>(app: &App, request: &HttpRequest, key: &str) -> Result<Caller<S>, Problem> {
    if key.is_empty() || key.len() > 512 {
        return Err(unauthorized());
    }
    let found = app.doorkeeper.recognise(&app.store, key).await?;
    within_rate(app, request, &found)?;
    request.extensions_mut().insert(Recognised(Ok((found, SecretString::from(key)))));
    caller(request)
}

/// The caller of a request, holding the scope `S`.
#[derive(Debug)]
pub struct Caller<S: Scope> {
    pub key: Arc<ApiKey>,
    /// The key as it was presented.
    pub presented: SecretString,
    pub request_id: String,
    pub reason: Option<String>,
    scope: PhantomData<S>,
}

impl<S: Scope> Caller<S> {
    pub fn workspace(&self) -> WorkspaceId {
        self.key.workspace_id
    }

    pub fn holds(&self, scope: &str) -> bool {
        self.key.scopes.iter().any(|held| held == scope)
    }

    /// Looks again whether the key stands and holds the scope, two seconds old at most: before more is told on an answer that
    /// goes on for as long as its client likes. E: 401, 403.
    pub async fn still(&self, app: &App) -> Result<(), Problem> {
        let key = app.doorkeeper.recognise(&app.store, self.presented.expose_secret()).await?;
        if key.scopes.iter().any(|scope| scope == S::NAME) { Ok(()) } else { Err(missing::<S>()) }
    }

    /// What stands beside every change this request makes.
    pub fn cause(&self, at: Timestamp) -> Arc<Cause> {
        Arc::new(Cause {
            at,
            actor: format!("key:{}", self.key.id),
            // What a key says that anybody can read is marked as such.
            source: if self.key.trust == Trust::Browser { BROWSER } else { "api" },
            request_id: self.request_id.clone(),
            reason: self.reason.clone(),
        })
    }
}

impl<S: Scope> FromRequest for Caller<S> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request))
    }
}

fn missing<S: Scope>() -> Problem {
    Problem::new(Kind::MissingScope, format!("This needs a key with the scope `{}`.", S::NAME))
}

/// The caller as the head of the request tells.
pub fn caller<S: Scope>(request: &HttpRequest) -> Result<Caller<S>, Problem> {
    let recognised = request.extensions().get::<Recognised>().cloned();
    let (key, presented) = recognised.map_or_else(|| Err(unauthorized()), |r| r.0)?;
    if !key.scopes.iter().any(|scope| scope == S::NAME) {
        return Err(missing::<S>());
    }
    let reason = match request.headers().get("X-Reason") {
        None => None,
        Some(value) => {
            let text = std::str::from_utf8(value.as_bytes()).ok().and_then(|text| clean(text, 500).ok());
            text.ok_or_else(|| Problem::at(Kind::InvalidHeader, "X-Reason", "invalid_header", "Expected UTF-8 text of at most 500 bytes."))?
        }
    };
    let request_id = request.extensions().get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
    Ok(Caller { key, presented, request_id, reason, scope: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::{hash, new_key};

    #[test]
    fn keys_are_recognisable_and_never_alike() {
        let (a, b) = (new_key().unwrap_or_default(), new_key().unwrap_or_default());
        assert!(a.starts_with("ppl_") && a.len() > 50 && a != b);
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
