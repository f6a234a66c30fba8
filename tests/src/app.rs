//! A workspace of its own on a running server, and the client that talks to it.
//!
//! `app.post("/v1/profiles").json(…).await.created()` reads as the request it is. An answer knows the request it
//! belongs to, so that a failure shows both.

use std::{
    future::IntoFuture,
    panic::Location,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Database, Engine, Server, contract};

#[derive(Clone, Debug)]
pub struct App {
    pub engine: Engine,
    /// `http://127.0.0.1:…`
    pub url: String,
    pub workspace: String,
    pub workspace_id: String,
    /// A key of this workspace with every scope.
    pub key: String,
    database_url: String,
    http: reqwest::Client,
}

impl App {
    /// A new workspace on the server all stories of the engine share.
    pub async fn shared(engine: Engine) -> Self {
        Self::on(Server::shared(engine).await)
    }

    /// A new workspace on the given server, made with the command line.
    pub fn on(server: &Server) -> Self {
        Self::with(server.database.engine, &server.url, &server.database.url)
    }

    fn with(engine: Engine, url: &str, database_url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let workspace = format!("story-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let environment = [("DATABASE_URL", database_url)];
        let made = crate::cli(&["workspaces", "create", &workspace], &environment).json();
        let key = crate::cli(&["keys", "create", "--workspace", &workspace, "--scopes", "all"], &environment).json();
        Self {
            engine,
            url: url.to_owned(),
            workspace,
            workspace_id: text(&made, "id"),
            key: text(&key, "key"),
            database_url: database_url.to_owned(),
            http: client(),
        }
    }

    /// The default workspace of a server, by the key given at its start.
    pub fn default_of(server: &Server) -> Self {
        Self {
            engine: server.database.engine,
            url: server.url.clone(),
            workspace: "default".to_owned(),
            workspace_id: String::new(),
            key: crate::BOOTSTRAP_KEY.to_owned(),
            database_url: server.database.url.clone(),
            http: client(),
        }
    }

    /// The default workspace of a server that a story started itself, by the key given at its start.
    pub fn at(database: &Database, url: &str) -> Self {
        Self {
            engine: database.engine,
            url: url.trim_end_matches('/').to_owned(),
            workspace: "default".to_owned(),
            workspace_id: String::new(),
            key: crate::BOOTSTRAP_KEY.to_owned(),
            database_url: database.url.clone(),
            http: client(),
        }
    }

    /// Another tenant on the same server.
    pub fn neighbour(&self) -> Self {
        Self::with(self.engine, &self.url, &self.database_url)
    }

    /// The same workspace through another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same workspace through a new key that holds these scopes and no other.
    pub async fn with_scopes(&self, scopes: &[&str]) -> Self {
        let key = self.post("/v1/api-keys").json(json!({"name": "narrow", "scopes": scopes})).await.created();
        self.with_key(&text(&key, "key"))
    }

    /// The database behind the server, to look into it beside the API.
    pub fn database(&self) -> Database {
        Database { engine: self.engine, url: self.database_url.clone(), directory: std::path::PathBuf::new() }
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let line = format!("{method} {path}");
        let request = self.http.request(method, format!("{}{path}", self.url));
        Call { line, request, key: Some(self.key.clone()), body: String::new() }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Creates a person, and answers the whole profile.
    pub async fn person(&self, body: Value) -> Value {
        self.post("/v1/profiles").json(body).await.created()
    }

    /// The person as they are now.
    pub async fn read(&self, id: &str) -> Value {
        self.get(&format!("/v1/profiles/{id}")).await.ok()
    }

    /// Loads many people, a thousand a request; every one must be taken. Their ids, in order.
    pub async fn people(&self, bodies: &[Value]) -> Vec<String> {
        let mut ids = Vec::with_capacity(bodies.len());
        for part in bodies.chunks(1_000) {
            let items: Vec<Value> = part
                .iter()
                .map(|body| {
                    let mut item = body.clone();
                    item["op"] = "create".into();
                    item
                })
                .collect();
            let answer = self.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
            for (item, result) in items.iter().zip(list(&answer, "results")) {
                assert_eq!(result["status"], 201, "{item} was not taken: {result}");
                ids.push(text(result, "id"));
            }
        }
        ids
    }

    /// One page of a search.
    pub async fn search(&self, body: Value) -> Value {
        self.post("/v1/profiles/search").json(body).await.ok()
    }

    /// The external ids a search finds, in order, walked page by page to the end.
    pub async fn find(&self, query: Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut body = query.clone();
            if body.get("limit").is_none() {
                body["limit"] = 200.into();
            }
            if !cursor.is_null() {
                body["cursor"] = cursor;
            }
            let page = self.search(body).await;
            found.extend(list(&page, "data").iter().map(|p| p["external_id"].as_str().unwrap_or_default().to_owned()));
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                return found;
            }
            assert!(found.len() < 100_000, "the list has no end");
        }
    }

    /// What a search finds, as a sorted list.
    pub async fn find_sorted(&self, query: Value) -> Vec<String> {
        let mut found = self.find(query).await;
        found.sort();
        found
    }

    /// What a filter matches, as a sorted list. The count of the same filter must agree with it.
    pub async fn filtered(&self, filter: Value) -> Vec<String> {
        let found = self.find_sorted(json!({"filter": filter})).await;
        let count = self.post("/v1/profiles/count").json(json!({"filter": filter})).await.ok();
        assert_eq!(count, json!({"total": found.len()}), "the count differs from the list for {filter}");
        found
    }

    /// The whole of a profile's history, newest first.
    pub async fn history(&self, id: &str) -> Vec<Value> {
        list(&self.get(&format!("/v1/profiles/{id}/history?limit=200")).await.ok(), "data").to_vec()
    }
}

fn client() -> reqwest::Client {
    // Nothing of the environment's proxies, no redirects followed in silence.
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The server closes a connection that has been idle for five seconds, and a request sent at that instant gets no answer
        // (RFC 9112, 9.3.1): a story that reads its database for that long comes back with a new one.
        .pool_idle_timeout(std::time::Duration::from_secs(3))
        .timeout(std::time::Duration::from_secs(120))
        .build()
        .expect("a client can be built")
}

#[track_caller]
fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` is not text in {value}")).to_owned()
}

#[track_caller]
fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("`{field}` is not a list in {value}"))
}

/// A piece of a path or query, percent-encoded whole.
pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A request that has not been sent.
#[derive(Debug)]
#[must_use = "a call is sent when it is awaited"]
pub struct Call {
    line: String,
    request: reqwest::RequestBuilder,
    key: Option<String>,
    body: String,
}

impl Call {
    pub fn json(mut self, body: Value) -> Self {
        self.body = body.to_string();
        self.request = self.request.header("content-type", "application/json").body(self.body.clone());
        self
    }

    pub fn bytes(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        self.request = self.request.header("content-type", content_type).body(body);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// `If-Match` with the profile's version as it was answered.
    pub fn if_match(self, profile: &Value) -> Self {
        let tag = format!("\"{}\"", profile["version"]);
        self.header("if-match", &tag)
    }

    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn no_key(mut self) -> Self {
        self.key = None;
        self
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let line = self.line.clone();
            let answer = self.attempt().await.unwrap_or_else(|e| panic!("{line} got no whole answer: {e:?}"));
            contract::holds(&line, answer.status, answer.header("content-type"), &answer.bytes);
            answer
        })
    }
}

impl Call {
    /// Sends the request; `Err` when the connection broke before the answer was complete.
    pub async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let Self { line, mut request, key, body } = self;
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { line, sent: body, status, headers, bytes: answer.bytes().await?.to_vec() })
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    line: String,
    sent: String,
    pub status: u16,
    headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{self}\nis not JSON: {e}"))
    }

    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        let at = Location::caller();
        assert!(self.status == status, "{at}: expected {status}\n{self}");
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind == "application/json" || kind == "application/json; charset=utf-8", "{at}: the answer is {kind:?}\n{self}");
        self.json()
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        self.is(200)
    }

    #[track_caller]
    pub fn created(&self) -> Value {
        self.is(201)
    }

    #[track_caller]
    pub fn no_content(&self) {
        assert!(self.status == 204 && self.bytes.is_empty(), "expected 204 without a body\n{self}");
    }

    /// A refusal as RFC 9457 wants it, whole: every member of the contract, of its type.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let at = Location::caller();
        assert!(self.status == status, "{at}: expected {status} {code}\n{self}");
        let problem = self.problem();
        assert!(problem["code"] == code, "{at}: expected the code {code}\n{self}");
        problem
    }

    /// A refusal with one of its `errors` at this pointer with this code.
    #[track_caller]
    pub fn refused_at(&self, pointer: &str, code: &str) -> Value {
        let at = Location::caller();
        assert!(self.status == 422, "{at}: expected 422 with {code} at {pointer:?}\n{self}");
        let problem = self.problem();
        let found = list(&problem, "errors").iter().any(|e| e["pointer"] == pointer && e["code"] == code);
        assert!(found, "{at}: expected {code} at {pointer:?}\n{self}");
        problem
    }

    #[track_caller]
    pub fn problem(&self) -> Value {
        let at = Location::caller();
        assert!(self.header("content-type") == Some("application/problem+json"), "{at}: expected application/problem+json\n{self}");
        let problem = self.json();
        for member in ["type", "title", "detail", "instance", "code", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{at}: `{member}` is missing\n{self}");
        }
        assert!(problem["status"] == self.status, "{at}: `status` differs from the status line\n{self}");
        assert!(problem["request_id"].as_str() == self.header("x-request-id"), "{at}: `request_id` differs from the header\n{self}");
        for error in list(&problem, "errors") {
            let whole = ["pointer", "code", "detail"].iter().all(|member| error[*member].is_string());
            assert!(whole, "{at}: an entry of `errors` is not whole\n{self}");
        }
        problem
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: &str| text.chars().take(2_000).collect::<String>();
        write!(f, "  {}\n  {}\n  answered {}\n  {}", self.line, short(&self.sent), self.status, short(&self.text()))
    }
}
