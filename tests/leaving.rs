//! Told to go, the server turns out nobody it let in.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use people_tests::{App, BOOTSTRAP_KEY, Database, Engine, Server, engine_stories, eventually, people};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::cast::id;

engine_stories![under_load_everybody_is_answered, an_interrupt_does_not_wait_for_a_balancer];

/// A server whose end is seen by the story itself.
struct Own {
    process: Child,
    url: String,
}

impl Own {
    fn start(database: &Database, settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(people())
            .arg("serve")
            .env("DATABASE_URL", &database.url)
            .env("PEOPLE_LISTEN", "127.0.0.1:0")
            .env("PEOPLE_BOOTSTRAP_KEY", BOOTSTRAP_KEY)
            .env("PEOPLE_LOG", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped above")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.split_once("listening on ").map(|(_, url)| url.trim().to_owned())).expect("it listens");
        // What else it says is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }

    fn tell(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(done.success());
    }

    /// Its exit code, once it is gone.
    async fn gone(&mut self) -> Option<i32> {
        eventually("the server is gone", async || self.process.try_wait().expect("it is ours").map(|status| status.code())).await
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn under_load_everybody_is_answered(engine: Engine) {
    let database = Database::create(engine).await;
    let mut server = Own::start(&database, &[("PEOPLE_DRAIN", "2")]);
    let app = App::at(&database, &server.url);
    app.people(&(0..500).map(|n| json!({"external_id": format!("before-{n}")})).collect::<Vec<_>>()).await;
    let (away, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = async |client: usize| {
        // Like a balancer's client: it comes for as long as the server says that it is ready.
        let mut n = 0;
        while !away.load(Ordering::SeqCst) {
            let answer = app.post("/v1/profiles").json(json!({"external_id": format!("c{client}-{n}")})).attempt().await;
            let answer = answer.unwrap_or_else(|e| panic!("a request got no answer: {e:?}"));
            assert_eq!(answer.status, 201, "{answer}");
            acknowledged.fetch_add(1, Ordering::SeqCst);
            n += 1;
        }
    };
    let told = async {
        while acknowledged.load(Ordering::SeqCst) < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // One whose body is on its way when the server is told, and long after.
        let address = app.url.trim_start_matches("http://").to_owned();
        let mut late = TcpStream::connect(&address).await.expect("the server accepts");
        let body = json!({"external_id": "late"}).to_string();
        let head = format!(
            "POST /v1/profiles HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            app.key,
            body.len()
        );
        late.write_all(head.as_bytes()).await.expect("it is sent");
        late.write_all(&body.as_bytes()[..5]).await.expect("it is sent");
        server.tell("-TERM");
        let begun = Instant::now();
        // It says so at once, and serves on.
        let answer = eventually("it says that it goes", async || {
            let answer = app.get("/readyz").no_key().await;
            (answer.status == 503).then_some(answer)
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        answer.refused(503, "unavailable");
        app.get("/healthz").no_key().await.ok();
        let answer = app.get("/v1/workspace").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer}");
        tokio::time::sleep(Duration::from_millis(300)).await;
        away.store(true, Ordering::SeqCst);
        // Nobody new is let in any more; whoever was is answered.
        eventually("nothing is accepted", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
        late.write_all(&body.as_bytes()[5..]).await.expect("it is still there");
        let mut answer = Vec::new();
        late.read_to_end(&mut answer).await.expect("it is answered");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        acknowledged.fetch_add(1, Ordering::SeqCst);
        begun
    };
    let (begun, ..) = tokio::join!(told, load(0), load(1), load(2), load(3), load(4), load(5));
    assert_eq!(server.gone().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?} to go", begun.elapsed());
    let again = Server::on(database, &[]);
    let app = App::default_of(&again);
    let total = app.post("/v1/profiles/count").json(json!({})).await.ok()["total"].as_u64();
    assert_eq!(total, Some(500 + acknowledged.load(Ordering::SeqCst) as u64), "an acknowledged write is lost, or one is there twice");
    // Noted on the way out, not half a minute later.
    let keys = app.get("/v1/api-keys").await.ok();
    assert!(keys["data"][0]["last_used_at"].is_string(), "{keys}");
}

async fn an_interrupt_does_not_wait_for_a_balancer(engine: Engine) {
    let database = Database::create(engine).await;
    let mut server = Own::start(&database, &[("PEOPLE_DRAIN", "60")]);
    let app = App::at(&database, &server.url);
    let job = app.post("/v1/duplicates/scan").await.is(202);
    assert!(!id(&job).is_empty());
    let begun = Instant::now();
    server.tell("-INT");
    assert_eq!(server.gone().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?} to go", begun.elapsed());
}
