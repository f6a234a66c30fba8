//! Web pages that use the API from a browser: those of the origins the operator names, and no others.
//!
//! What any page may do with the tracking routes stands in `tracking`.

use people_tests::{Answer, App, Database, Engine, Server, block_on};
use reqwest::Method;
use serde_json::json;

use crate::cast::{ada, id};

const OURS: &str = "https://people.example";
const THEIRS: &str = "https://people.example.evil.example";

/// The answer's own words on who may read it, and whether it depends on who asked.
#[track_caller]
fn readers(answer: &Answer) -> (Option<&str>, bool) {
    let varies = answer.header("vary").is_some_and(|names| names.to_ascii_lowercase().contains("origin"));
    (answer.header("access-control-allow-origin"), varies)
}

fn preflight<'a>(app: &App, path: &str, origin: &'a str, method: &'a str) -> people_tests::Call {
    app.call(Method::OPTIONS, path).no_key().header("origin", origin).header("access-control-request-method", method)
}

#[test]
fn pages_of_named_origins_use_the_whole_api() {
    block_on(async {
        let origins = format!("{OURS}, http://localhost:5173");
        let server = Server::on(Database::create(Engine::Sqlite).await, &[("PEOPLE_CORS_ORIGINS", &origins)]);
        let app = App::default_of(&server);
        let person = app.person(ada()).await;
        let read = format!("/v1/profiles/{}", id(&person));
        for (path, method) in
            [(read.as_str(), "PATCH"), ("/v1/profiles/search", "POST"), (read.as_str(), "DELETE"), ("/openapi.json", "GET")]
        {
            for origin in [OURS, "http://localhost:5173"] {
                let asked = preflight(&app, path, origin, method).await;
                assert_eq!((asked.status, readers(&asked)), (204, (Some(origin), true)), "{asked}");
                assert!(asked.header("access-control-allow-methods").is_some_and(|names| names.contains(method)), "{asked}");
                let send = asked.header("access-control-allow-headers").unwrap_or_default();
                for name in ["authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "x-reason"] {
                    assert!(send.contains(name), "{name}: {asked}");
                }
                // Nothing goes by cookies.
                assert_eq!(asked.header("access-control-allow-credentials"), None);
            }
            let asked = preflight(&app, path, THEIRS, method).await;
            assert_eq!((asked.status, readers(&asked)), (405, (None, true)), "{asked}");
        }
        for answer in [
            app.get(&read).header("origin", OURS).await,
            app.get(&read).header("origin", OURS).header("if-none-match", "\"1\"").await,
            app.post("/v1/profiles").header("origin", OURS).json(json!({"country": "?"})).await,
            app.get("/v1/nothing").header("origin", OURS).await,
            app.get(&read).no_key().header("origin", OURS).await,
        ] {
            assert_eq!(readers(&answer), (Some(OURS), true), "{answer}");
            let read = answer.header("access-control-expose-headers").unwrap_or_default();
            for name in ["etag", "location", "content-location", "x-request-id", "retry-after", "idempotency-replayed"] {
                assert!(read.split(", ").any(|known| known == name), "{name}: {answer}");
            }
        }
        // Served as ever, and to be read by no page; nor is what is no part of the API.
        let answer = app.get(&read).header("origin", THEIRS).await;
        assert_eq!((answer.status, readers(&answer)), (200, (None, true)), "{answer}");
        assert_eq!(readers(&app.get(&read).await), (None, true));
        for path in ["/metrics", "/healthz", "/docs/"] {
            assert_eq!(app.get(path).header("origin", OURS).await.header("access-control-allow-origin"), None, "{path}");
        }
        // Tracking is open to every page.
        let sent = app.post("/v1/track").header("origin", THEIRS).json(json!({"userId": "u", "event": "e"})).await;
        assert_eq!(readers(&sent), (Some("*"), false), "{sent}");
    });
}

#[test]
fn any_origin_or_none_may_be_named() {
    block_on(async {
        let open = Server::on(Database::create(Engine::Sqlite).await, &[("PEOPLE_CORS_ORIGINS", "*")]);
        let app = App::default_of(&open);
        assert_eq!(readers(&preflight(&app, "/v1/profiles", THEIRS, "GET").await), (Some(THEIRS), true));
        let closed = Server::new(Engine::Sqlite).await;
        let app = App::default_of(&closed);
        let asked = preflight(&app, "/v1/profiles", OURS, "GET").await;
        assert_eq!((asked.status, readers(&asked)), (405, (None, false)), "{asked}");
    });
}
