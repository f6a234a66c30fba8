//! What the stories are told with: a server per engine, a workspace per story, a client that speaks HTTP.
//!
//! `stories![a, b]` makes three tests of each story: `a::sqlite`, `a::postgres` and `a::citus`. All stories of an
//! engine share one server, and each gets a workspace and a full-scope key of its own, so they cannot see each other.
//! Without `TEST_CITUS_URL` the third is told as ignored.
//! To add a story: write `async fn its_promise(app: &App)` in the file of its URL and put its name in the list at the
//! top; a story that is not listed is dead code, which the lints refuse.

mod app;
mod contract;
mod engine;
mod json;
mod raw;
mod receiver;
mod server;

pub use app::{Answer, App, Call, percent};
pub use engine::{Database, Engine};
pub use json::{redact, same};
pub use raw::{RawAnswer, raw_request};
pub use receiver::{Received, Receiver, Reply};
pub use server::{BOOTSTRAP_KEY, Cli, Server, cli, people, project};

/// Makes a test of each story on each engine.
#[macro_export]
macro_rules! stories {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::tell($crate::Engine::Sqlite, super::$name);
            }

            #[test]
            fn postgres() {
                $crate::tell($crate::Engine::Postgres, super::$name);
            }

            #[test]
            #[cfg_attr(not(citus), ignore = "TEST_CITUS_URL names no server")]
            fn citus() {
                $crate::tell($crate::Engine::Citus, super::$name);
            }
        }
    )+};
}

/// Makes a test on each engine of something that brings its own server.
#[macro_export]
macro_rules! engine_stories {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::tell_alone($crate::Engine::Sqlite, super::$name);
            }

            #[test]
            fn postgres() {
                $crate::tell_alone($crate::Engine::Postgres, super::$name);
            }

            #[test]
            #[cfg_attr(not(citus), ignore = "TEST_CITUS_URL names no server")]
            fn citus() {
                $crate::tell_alone($crate::Engine::Citus, super::$name);
            }
        }
    )+};
}

/// Runs a story in a workspace of its own on the engine's shared server.
pub fn tell(engine: Engine, story: impl AsyncFnOnce(&App)) {
    if engine.is_here() {
        block_on(async {
            let app = App::shared(engine).await;
            story(&app).await;
        });
    }
}

/// Runs a story that starts and stops servers itself.
pub fn tell_alone(engine: Engine, story: impl AsyncFnOnce(Engine)) {
    if engine.is_here() {
        block_on(story(engine));
    }
}

/// Runs one future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built").block_on(future)
}

/// Asks again until the answer is there, and fails after the deadline with what it waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "still not so after 30 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
