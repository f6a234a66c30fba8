//! The registry of tables that refer to a profile, held against both databases: a table that nobody registered would be
//! forgotten by erasure, and fails here first.

use std::collections::BTreeSet;

use people_store::registry::{BESIDE, KEPT, NOBODYS, TABLES};
use people_tests::{App, Database, Engine, Server, engine_stories, eventually, stories};
use serde_json::{Value, json};

stories![every_table_that_refers_to_a_profile_is_registered];

engine_stories![
    a_table_that_nobody_registered_is_found,
    what_leaves_is_looked_for_by_index,
    a_planner_is_told_of_what_came_before_autovacuum_comes,
];

/// By a column that is called so, or by a foreign key whatever its column is called.
async fn tables_that_refer_to_a_profile(database: &Database) -> BTreeSet<String> {
    let sql = if database.engine == Engine::Sqlite {
        "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' AND c.name LIKE '%profile%id%'
         UNION SELECT t.name FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS f
         WHERE t.type = 'table' AND f.\"table\" IN ('profiles', 'profile_documents')"
    } else {
        "SELECT c.table_name::text FROM information_schema.columns AS c
         WHERE c.table_schema = 'public' AND c.column_name LIKE '%profile%id%'
         UNION SELECT f.conrelid::regclass::text FROM pg_constraint AS f
         WHERE f.contype = 'f' AND f.confrelid IN ('profiles'::regclass, 'profile_documents'::regclass)"
    };
    database.rows(sql).await.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

fn registered() -> BTreeSet<String> {
    let mut registered: BTreeSet<String> = TABLES.iter().map(|t| t.name.to_owned()).chain(KEPT.iter().map(|t| (*t).to_owned())).collect();
    // A position in the walk over everyone, not a row of anybody.
    registered.insert("search_refreshes".to_owned());
    registered
}

async fn every_table_that_refers_to_a_profile_is_registered(app: &App) {
    let there = tables_that_refer_to_a_profile(&app.database()).await;
    assert_eq!(there, registered(), "tables with a profile's id, and the registry in crates/store/src/registry.rs");
    // Personal data can stand in a table that names nobody: each says whether it does.
    let declared = TABLES.iter().map(|t| t.name).chain(KEPT.iter().copied());
    let declared: BTreeSet<String> =
        declared.chain(BESIDE.iter().map(|(name, _)| *name)).chain(NOBODYS.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    assert_eq!(tables(&app.database()).await, declared, "all tables, and the lists in crates/store/src/registry.rs");
}

/// Every table but the driver's list of migrations and what the engine itself keeps.
async fn tables(database: &Database) -> BTreeSet<String> {
    let sql = if database.engine == Engine::Sqlite {
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    } else {
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    };
    let names = database.rows(sql).await.into_iter().filter_map(|row| row.into_iter().next());
    names.filter(|name| !name.starts_with('_')).collect()
}

/// The check itself, tried on tables it must find.
async fn a_table_that_nobody_registered_is_found(engine: Engine) {
    let server = Server::new(engine).await;
    let id = if engine == Engine::Sqlite { "BLOB" } else { "UUID" };
    let database = &server.database;
    database.rows(&format!("CREATE TABLE by_name (workspace_id {id}, some_profile_id {id})")).await;
    let refers = if engine == Engine::Citus { "" } else { ", FOREIGN KEY (workspace_id, person) REFERENCES profiles (workspace_id, id)" };
    database.rows(&format!("CREATE TABLE by_reference (workspace_id {id}, person {id}{refers})")).await;
    let found: BTreeSet<String> = tables_that_refer_to_a_profile(database).await.difference(&registered()).cloned().collect();
    let expected: &[&str] = if engine == Engine::Citus { &["by_name"] } else { &["by_name", "by_reference"] };
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// A foreign key is checked whenever a row that it may point at goes: where no index knows all of its columns, that reads the
/// whole workspace, and erasing one person takes as long as there are people.
async fn what_leaves_is_looked_for_by_index(engine: Engine) {
    let server = Server::new(engine).await;
    let database = &server.database;
    if engine == Engine::Sqlite {
        let tables = "SELECT DISTINCT f.\"table\" FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS f
                      WHERE t.type = 'table' AND f.\"from\" <> 'workspace_id'";
        let parents: Vec<String> = database.rows(tables).await.into_iter().flatten().collect();
        assert!(["profiles", "profile_documents", "labels"].iter().all(|table| parents.iter().any(|p| p == table)), "{parents:?}");
        for parent in parents {
            let plan = database.rows(&format!("EXPLAIN QUERY PLAN DELETE FROM {parent} WHERE workspace_id = x'00'")).await;
            // The first step finds the rows themselves.
            for step in plan.iter().skip(1).filter_map(|row| row.last()) {
                let reads_all = step.starts_with("SCAN") || step.ends_with("(workspace_id=?)");
                assert!(!reads_all, "when a row of {parent} goes: {step}");
            }
        }
    } else if engine == Engine::Postgres {
        let bare = "SELECT f.conrelid::regclass::text || ' → ' || f.confrelid::regclass::text FROM pg_constraint AS f
                    WHERE f.contype = 'f' AND cardinality(f.conkey) > 1 AND NOT EXISTS (
                        SELECT 1 FROM pg_index AS i
                        WHERE i.indrelid = f.conrelid AND i.indpred IS NULL
                          AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey
                    )";
        assert_eq!(database.rows(bare).await, Vec::<Vec<String>>::new(), "foreign keys that no index answers");
        // The check itself, tried on a table it must find.
        let reference = "FOREIGN KEY (workspace_id, person) REFERENCES profiles (workspace_id, id)";
        database.rows(&format!("CREATE TABLE by_reference (workspace_id UUID, person UUID, {reference})")).await;
        assert_eq!(database.rows(bare).await, [["by_reference → profiles"]]);
    }
}

/// Autovacuum comes round once a minute, and is not counted here: by then an import would have read everybody's identities for
/// each of its rows.
async fn a_planner_is_told_of_what_came_before_autovacuum_comes(engine: Engine) {
    // SQLite's planner was told by a migration, Citus's is left to Citus.
    if engine != Engine::Postgres {
        return;
    }
    let server = Server::new(engine).await;
    // Once a minute it comes round by chance, and there would be nothing left to tell.
    for table in ["profiles", "profile_identities", "profile_documents"] {
        server.database.rows(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
    }
    let people: Vec<Value> = (0..900).map(|n| json!({"external_id": format!("p{n}"), "name": "Ada"})).collect();
    App::default_of(&server).people(&people).await;
    eventually("the tables that grew are analysed", async || {
        let analysed = "SELECT count(*) FROM pg_stat_user_tables
                        WHERE relname IN ('profiles', 'profile_identities', 'profile_documents') AND analyze_count > 0";
        (server.database.one(analysed).await == "3").then_some(())
    })
    .await;
}
