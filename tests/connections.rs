//! Clients that do not come on are sent away in time; whoever is served is served to the end.
//!
//! What is promised here is of the connection, the same on every engine, and takes as long as the server's patience: it is
//! told once.

use std::time::{Duration, Instant};

use people_tests::{App, Database, Engine, Server, block_on, eventually};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::cast::{ada, id, list};

/// Longest a client may do nothing, with a little for the watchdog and a busy machine.
const IN_TIME: Duration = Duration::from_secs(14);

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.url.trim_start_matches("http://")).await.expect("the server accepts")
}

/// Sends pieces with pauses, then nothing; reads what comes until the server closes. Answers what came and when it ended.
async fn slow(app: &App, what: &str, first: &str, drip: &str) -> (String, Duration) {
    let mut stream = connect(app).await;
    let begun = Instant::now();
    let _ = stream.write_all(first.as_bytes()).await;
    let (mut reader, mut writer) = stream.split();
    let mut heard = Vec::new();
    let dripping = async {
        for byte in drip.bytes().cycle() {
            tokio::time::sleep(Duration::from_millis(700)).await;
            if drip.is_empty() || writer.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut buffer = [0; 4096];
        // A reset is an end as well.
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..read]);
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::select! { () = reading => {}, () = dripping => {} }
    });
    assert!(closed.await.is_ok(), "{what}: still open after 30 s");
    (String::from_utf8_lossy(&heard).into_owned(), begun.elapsed())
}

#[test]
fn who_does_not_come_on_is_sent_away_and_who_is_served_is_not() {
    block_on(async {
        // A stream without an end: nobody works on its job.
        let server = Server::on(Database::create(Engine::Sqlite).await, &[("PEOPLE_JOBS", "0"), ("PEOPLE_KEEP_ALIVE", "7")]);
        let app = App::default_of(&server);
        let person = app.person(ada()).await;
        let job = app.post("/v1/duplicates/scan").await.is(202);
        let long = "x".repeat(8_000);
        let big: Vec<_> = (0..400)
            .map(|n| json!({"external_id": format!("big-{n}"), "attributes": {"a": long, "b": long, "c": long, "d": long, "e": long}}))
            .collect();
        for part in big.chunks(50) {
            app.people(part).await;
        }
        let host = app.url.trim_start_matches("http://").to_owned();
        let whole = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let half = "GET /healthz HTTP/1.1\r\nhost: ha";
        let body = format!(
            "POST /v1/profiles HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{{",
            app.key
        );
        let begun = Instant::now();
        let slow_ones = async {
            let second = format!("{whole}{half}");
            let answers = tokio::join!(
                slow(&app, "silent", "", ""),
                slow(&app, "half a first head", half, ""),
                slow(&app, "half a second head", &second, ""),
                slow(&app, "a second head byte by byte", &second, "a"),
                slow(&app, "idle", &whole, ""),
                slow(&app, "half a body", &body, ""),
                slow(&app, "a body byte by byte", &body, " "),
            );
            let (silent, first, second, dripped, idle, half_body, dripped_body) = answers;
            for (what, (_, took)) in [
                ("silent", &silent),
                ("half a first head", &first),
                ("half a second head", &second),
                ("a second head byte by byte", &dripped),
                ("idle", &idle),
                ("half a body", &half_body),
                ("a body byte by byte", &dripped_body),
            ] {
                assert!(*took < IN_TIME, "{what}: closed after {took:?} only");
            }
            assert!(idle.1 > Duration::from_secs(6), "idle: closed after {:?} already", idle.1);
            for (heard, _) in [&second, &dripped, &idle] {
                assert!(heard.starts_with("HTTP/1.1 200"), "the first request was answered: {heard}");
            }
            for (heard, _) in [&half_body, &dripped_body] {
                assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("request_timeout"), "{heard}");
            }
        };
        // Very many who send half a head are in nobody's way, and are gone in time too.
        let crowd = async {
            let one = async || {
                let mut stream = connect(&app).await;
                let _ = stream.write_all(half.as_bytes()).await;
                let mut buffer = [0; 256];
                let closed = tokio::time::timeout(Duration::from_secs(30), async { while let Ok(1..) = stream.read(&mut buffer).await {} });
                assert!(closed.await.is_ok(), "one of five hundred is still open after 30 s");
                begun.elapsed()
            };
            let last = futures_util::future::join_all((0..500).map(|_| one())).await.into_iter().max();
            assert!(last.is_some_and(|last| last < IN_TIME), "the last of five hundred was sent away after {last:?}");
        };
        // Whoever behaves is served all the while.
        let behaved = async {
            let mut served = 0;
            while begun.elapsed() < Duration::from_secs(13) {
                app.read(id(&person)).await;
                served += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(served > 20, "only {served} requests were served");
        };
        // A stream with nothing to say stays open.
        let stream = async {
            let mut stream = connect(&app).await;
            let head = format!("GET /v1/jobs/{}/stream HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\r\n", id(&job), app.key);
            stream.write_all(head.as_bytes()).await.expect("it is sent");
            let mut buffer = [0; 4096];
            let mut heard = String::new();
            // The comment that keeps it alive comes after fifteen seconds.
            while !heard.contains("\n:\n\n") && !heard.contains("\r\n:\n\n") {
                let read = tokio::time::timeout(Duration::from_secs(25), stream.read(&mut buffer)).await.expect("the stream goes on");
                let read = read.expect("the stream is whole");
                assert!(read > 0, "the stream ended: {heard}");
                heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        // A long answer that is read slowly, for longer than anybody may do nothing, comes whole.
        let long_answer = async {
            let mut stream = connect(&app).await;
            let head = format!(
                "POST /v1/profiles/export HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
                app.key
            );
            stream.write_all(head.as_bytes()).await.expect("it is sent");
            let (mut buffer, mut lines) = (vec![0; 64 * 1024], 0);
            let since = Instant::now();
            loop {
                let read = stream.read(&mut buffer).await.expect("the answer is whole");
                if read == 0 {
                    break;
                }
                lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
                // The first part quickly read, the rest over some fifteen seconds.
                if since.elapsed() < Duration::from_secs(15) {
                    tokio::time::sleep(Duration::from_millis(65)).await;
                }
            }
            assert!(lines >= 401, "only {lines} lines of the export came");
            since.elapsed()
        };
        let ((), (), (), (), took) = tokio::join!(slow_ones, crowd, behaved, stream, long_answer);
        assert!(took > Duration::from_secs(11), "the long answer took {took:?} only, which shows nothing");
        // Who goes away in the middle of an export had been given some of it, and that is noted.
        let mut gone = connect(&app).await;
        let head = format!(
            "POST /v1/profiles/export HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
            app.key
        );
        gone.write_all(head.as_bytes()).await.expect("it is sent");
        gone.read_exact(&mut [0; 1_000]).await.expect("it begins");
        drop(gone);
        let noted = eventually("the end of the export is noted", async || {
            let log = app.get("/v1/audit-log?action=profiles.export_ended").await.ok();
            list(&log, "data").iter().find(|entry| entry["details"]["complete"] == false).cloned()
        })
        .await;
        assert!(noted["details"]["count"].as_u64().is_some_and(|people| people <= 401), "{noted}");
        let log = app.get("/v1/audit-log?action=profiles.exported").await.ok();
        assert!(list(&log, "data").iter().any(|entry| entry["target"] == noted["target"]), "{noted} {log}");
    });
}
