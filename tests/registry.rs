//! The registry of tables that refer to a profile, held against both databases: a table that nobody registered would be
//! forgotten by erasure, and fails here first.

use std::collections::BTreeSet;

use people_store::registry::{KEPT, TABLES};
use people_tests::{App, Engine, stories};

stories![every_table_that_refers_to_a_profile_is_registered];

async fn every_table_that_refers_to_a_profile_is_registered(app: &App) {
    let sql = if app.engine == Engine::Sqlite {
        "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' AND c.name LIKE '%profile_id'"
    } else {
        "SELECT c.table_name FROM information_schema.columns AS c WHERE c.table_schema = 'public' AND c.column_name LIKE '%profile_id'"
    };
    let there: BTreeSet<String> = app.database().rows(sql).await.into_iter().filter_map(|row| row.into_iter().next()).collect();
    let mut registered: BTreeSet<String> = TABLES.iter().map(|t| t.name.to_owned()).chain(KEPT.iter().map(|t| (*t).to_owned())).collect();
    // A position in the walk over everyone, not a row of anybody.
    registered.insert("search_refreshes".to_owned());
    assert_eq!(there, registered, "tables with a profile's id, and the registry in crates/store/src/registry.rs");
}
