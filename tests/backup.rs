//! `people backup`: a copy of a live database, whole at one instant, that a server starts on.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use people_tests::{App, Database, Engine, Server, cli, engine_stories};
use serde_json::json;

use crate::cast::{ada, id};

engine_stories![a_copy_made_under_writes_holds_what_was_acknowledged];

async fn a_copy_made_under_writes_holds_what_was_acknowledged(engine: Engine) {
    let server = Server::new(engine).await;
    let app = App::default_of(&server);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copy = folder.path().join("copy.db").to_string_lossy().into_owned();
    if engine.is_postgres() {
        let told = server.cli(&["backup", &copy]);
        assert!(told.code == Some(1) && told.stderr.contains("pg_dump"), "{told:?}");
        assert!(!std::path::Path::new(&copy).exists());
        return;
    }
    let person = app.person(ada()).await;
    let gone = app.person(json!({"external_id": "gone", "name": "Erased Before"})).await;
    app.delete(&format!("/v1/profiles/{}", id(&gone))).await.ok();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let write = async |writer: usize| {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            // Two people a request: both or neither are in the copy.
            let items = [0, 1].map(|k| json!({"op": "create", "external_id": format!("w{writer}-{n}-{k}")}));
            app.post("/v1/profiles/batch").json(json!({"items": items})).await.ok();
            acknowledged.fetch_add(2, Ordering::SeqCst);
            n += 1;
        }
    };
    let copied = async {
        while acknowledged.load(Ordering::SeqCst) < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let (url, to) = (server.database.url.clone(), copy.clone());
        let told = tokio::task::spawn_blocking(move || cli(&["backup", &to], &[("DATABASE_URL", &url)])).await.expect("it ran").json();
        let during = acknowledged.load(Ordering::SeqCst);
        stop.store(true, Ordering::Relaxed);
        (before, during, told)
    };
    let ((before, during, told), ..) = tokio::join!(copied, write(0), write(1), write(2));
    assert!(during > before, "nothing was written while the copy was made");
    assert_eq!(told["bytes"], std::fs::metadata(&copy).expect("the copy is there").len());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "something is left beside the copy");
    // A second one never writes over the first.
    let bytes = std::fs::read(&copy).expect("the copy is read");
    let again = server.cli(&["backup", &copy]);
    assert!(again.code == Some(1) && again.stderr.contains("there already"), "{again:?}");
    assert_eq!(std::fs::read(&copy).expect("the copy is read"), bytes);
    let url = format!("sqlite://{copy}");
    let database = Database { engine, url, directory: folder.path().to_owned() };
    assert_eq!(database.one("PRAGMA integrity_check").await, "ok");
    let restored = Server::on(database, &[]);
    let there = App::default_of(&restored);
    people_tests::same(&there.read(id(&person)).await, &person);
    let total = there.post("/v1/profiles/count").json(json!({})).await.ok()["total"].as_u64().unwrap_or_default();
    let total = usize::try_from(total).expect("a small number") - 1;
    assert!(total >= before && total <= during + 6 && total % 2 == 0, "{total} of {before} to {during}");
    there.get(&format!("/v1/profiles/{}", id(&gone))).await.refused(410, "profile_erased");
    // It is a database like any other.
    there.person(json!({"external_id": "after", "name": "Grace"})).await;
    assert_eq!(there.find(json!({"q": "grace"})).await, ["after"]);
    assert_eq!(there.find(json!({"q": "lovelace"})).await, ["crm-17"]);
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let told = cli(&["backup", &path("copy.db")], &[("DATABASE_URL", &format!("sqlite://{}", path("none.db")))]);
    assert!(told.code == Some(1) && !told.stderr.contains("panicked"), "{told:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
