//! The PostgreSQL schema can be distributed by `workspace_id` without another change: every key and index leads with
//! it, and nothing is used that a distributed table cannot have. On Citus itself, the tables are distributed.

use people_tests::{Database, Engine, Server, tell_alone};

/// Read across workspaces: few rows, reference tables or local ones on Citus.
const ACROSS_WORKSPACES: [&str; 3] = ["workspaces", "api_keys", "_sqlx_migrations"];

macro_rules! schema_rules {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn postgres() {
                super::told(people_tests::Engine::Postgres, super::$name);
            }

            #[test]
            #[cfg_attr(not(citus), ignore = "TEST_CITUS_URL names no server")]
            fn citus() {
                super::told(people_tests::Engine::Citus, super::$name);
            }
        }
    )+};
}

schema_rules![
    every_table_has_a_workspace,
    every_key_and_index_leads_with_the_workspace,
    every_foreign_key_stays_inside_a_workspace,
    nothing_is_used_that_cannot_be_distributed,
    the_tables_across_workspaces_are_the_listed_ones,
    on_citus_the_tables_are_distributed,
];

fn told(engine: Engine, rule: impl AsyncFnOnce(&Database)) {
    tell_alone(engine, async |engine| {
        let server = Server::shared(engine).await;
        rule(&server.database).await;
    });
}

fn listed() -> String {
    ACROSS_WORKSPACES.map(|t| format!("'{t}'")).join(", ")
}

async fn tenant_tables(database: &Database) -> Vec<String> {
    let sql = format!(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname NOT IN ({}) ORDER BY 1",
        listed()
    );
    let tables: Vec<String> = database.rows(&sql).await.into_iter().map(|row| row[0].clone()).collect();
    assert!(tables.len() >= 5 && tables.contains(&"profiles".to_owned()), "the schema is not the one expected: {tables:?}");
    tables
}

async fn every_table_has_a_workspace(database: &Database) {
    for table in tenant_tables(database).await {
        let sql = format!(
            "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = '\"{table}\"'::regclass AND attname = 'workspace_id'"
        );
        assert_eq!(database.rows(&sql).await, [["uuid", "t"]], "{table}.workspace_id is a uuid that is always there");
        let keys =
            database.one(&format!("SELECT count(*) FROM pg_constraint WHERE conrelid = '\"{table}\"'::regclass AND contype = 'p'")).await;
        assert_eq!(keys, "1", "{table} has a primary key");
    }
}

async fn every_key_and_index_leads_with_the_workspace(database: &Database) {
    tenant_tables(database).await;
    let sql = format!(
        "SELECT t.relname, i.relname, coalesce(a.attname, '(an expression)')
           FROM pg_index x
           JOIN pg_class t ON t.oid = x.indrelid
           JOIN pg_class i ON i.oid = x.indexrelid
           LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0] AND x.indkey[0] <> 0
          WHERE t.relnamespace = 'public'::regnamespace AND t.relname NOT IN ({})
          ORDER BY 1, 2",
        listed()
    );
    let indexes = database.rows(&sql).await;
    assert!(indexes.len() >= 10, "only {} indexes: {indexes:?}", indexes.len());
    let wrong: Vec<_> = indexes.iter().filter(|row| row[2] != "workspace_id").collect();
    assert!(wrong.is_empty(), "these lead with something else: {wrong:?}");
}

async fn every_foreign_key_stays_inside_a_workspace(database: &Database) {
    let sql = "SELECT c.conname, f.relname, a.attname, b.attname, c.confdeltype::text, c.confupdtype::text, t.relname
                 FROM pg_constraint c
                 JOIN pg_class t ON t.oid = c.conrelid
                 JOIN pg_class f ON f.oid = c.confrelid
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                 JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
                WHERE c.contype = 'f' AND t.relnamespace = 'public'::regnamespace";
    for row in database.rows(sql).await {
        let (name, to, from_column, to_column, on_delete, on_update, table) =
            (&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6]);
        if ACROSS_WORKSPACES.contains(&table.as_str()) {
            continue;
        }
        let whole_workspace = to == "workspaces" && to_column == "id";
        assert!(
            from_column == "workspace_id" && (to_column == "workspace_id" || whole_workspace),
            "{table}.{name} leads with {from_column} → {to}.{to_column}"
        );
        assert!(
            !["n", "d"].contains(&on_delete.as_str()) && !["n", "d"].contains(&on_update.as_str()),
            "{table}.{name} sets columns when its target goes, which distributed tables cannot"
        );
    }
}

async fn nothing_is_used_that_cannot_be_distributed(database: &Database) {
    for (what, sql) in [
        (
            "triggers",
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND c.relnamespace = 'public'::regnamespace",
        ),
        ("rules", "SELECT tablename, rulename FROM pg_rules WHERE schemaname = 'public'"),
        (
            "sequences, which tenants would share",
            "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace",
        ),
        (
            "identity columns",
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'YES'",
        ),
        (
            "views and materialised views",
            "SELECT relname FROM pg_class c WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')",
        ),
        ("exclusion constraints", "SELECT conname FROM pg_constraint WHERE contype = 'x'"),
        (
            "columns of type json, which keeps what it cannot read",
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'json'",
        ),
        (
            "times without a zone",
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'",
        ),
        (
            "inherited tables",
            "SELECT inhrelid::regclass::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE p.relkind = 'r' AND p.relnamespace = 'public'::regnamespace",
        ),
    ] {
        let found = database.rows(sql).await;
        assert!(found.is_empty(), "the schema has {what}: {found:?}");
    }
}

async fn the_tables_across_workspaces_are_the_listed_ones(database: &Database) {
    for table in ACROSS_WORKSPACES {
        let there = database.one(&format!("SELECT count(*) FROM pg_class WHERE relname = '{table}' AND relkind = 'r'")).await;
        assert_eq!(there, "1", "{table} is listed as read across workspaces and does not exist");
    }
}

async fn on_citus_the_tables_are_distributed(database: &Database) {
    let has_citus = database.one("SELECT count(*) FROM pg_extension WHERE extname = 'citus'").await;
    assert_eq!(has_citus, if database.engine == Engine::Citus { "1" } else { "0" });
    if database.engine == Engine::Citus {
        for table in tenant_tables(database).await {
            let column =
                database.one(&format!("SELECT distribution_column FROM citus_tables WHERE table_name = '\"{table}\"'::regclass")).await;
            assert_eq!(column, "workspace_id", "{table} is not distributed by its workspace");
        }
        let groups = database.one("SELECT count(DISTINCT colocation_id) FROM citus_tables WHERE citus_table_type = 'distributed'").await;
        assert_eq!(groups, "1", "the tables of a workspace live together");
    }
}
