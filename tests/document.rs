//! `openapi/openapi.json`: generated from the handlers, committed, and whole enough to write a client from.

use std::collections::BTreeSet;

use people_tests::{App, cli, project, stories};
use serde_json::Value;

stories![the_server_answers_the_committed_document, the_documentation_page_opens, health_is_told_without_a_key];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

fn committed() -> String {
    std::fs::read_to_string(project().join("openapi/openapi.json")).expect("openapi/openapi.json is committed")
}

fn document() -> Value {
    serde_json::from_str(&committed()).expect("openapi/openapi.json is JSON")
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().expect("the document has paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |m| item.get(*m).map(|operation| (format!("{} {path}", m.to_uppercase()), operation)))
        })
        .collect()
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let generated = cli(&["openapi"], &[]).done().stdout;
    assert!(
        generated == committed(),
        "openapi/openapi.json has drifted from the handlers; run: cargo run -p people-api -- openapi > openapi/openapi.json"
    );
}

#[test]
fn the_document_is_openapi_3_1_with_a_bearer_key() {
    let document = document();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{}", document["openapi"]);
    for member in ["title", "version", "description"] {
        assert!(document["info"][member].as_str().is_some_and(|t| !t.is_empty()), "info.{member} is missing");
    }
    let scheme = &document["components"]["securitySchemes"]["api_key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
}

#[test]
fn every_operation_says_what_a_caller_must_know() {
    let document = document();
    let mut ids = BTreeSet::new();
    let mut missing = Vec::new();
    for (name, operation) in operations(&document) {
        let mut lacks = |what: &str| missing.push(format!("{name}: {what}"));
        for member in ["summary", "description", "operationId"] {
            if operation[member].as_str().is_none_or(|text| text.trim().is_empty()) {
                lacks(member);
            }
        }
        if operation["summary"].as_str().is_some_and(|s| s.ends_with('.') || s.len() > 80) {
            lacks("a summary of a few words without a full stop");
        }
        if operation["tags"].as_array().is_none_or(|tags| tags.len() != 1) {
            lacks("exactly one tag");
        }
        if let Some(id) = operation["operationId"].as_str()
            && !ids.insert(id.to_owned())
        {
            lacks("an operationId of its own");
        }
        // A list that is told in pages says how to ask for the next.
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let pages = !resolve(&document, schema)["properties"]["next_cursor"].is_null();
        let parameters: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|parameter| resolve(&document, parameter)["name"].as_str())
            .collect();
        if pages && name.starts_with("GET") && !whole(&name) {
            for parameter in ["limit", "cursor"].into_iter().filter(|parameter| !parameters.contains(parameter)) {
                lacks(&format!("the parameter {parameter}"));
            }
        }
        let open = OPEN.iter().any(|path| name.ends_with(&format!(" {path}")));
        let scopes = operation["security"][0]["api_key"].as_array().map_or(0, Vec::len);
        if !open && scopes == 0 {
            lacks("security with a scope");
        }
        for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if media["example"].is_null() && media["examples"].as_object().is_none_or(serde_json::Map::is_empty) {
                lacks(&format!("an example of its {kind} body"));
            }
        }
        let responses = operation["responses"].as_object().cloned().unwrap_or_default();
        if !responses.keys().any(|status| status.starts_with('2')) {
            lacks("an answer of success");
        }
        let refusals: Vec<_> = responses.iter().filter(|(status, _)| status.starts_with('4')).collect();
        if !open && refusals.is_empty() {
            lacks("a refusal");
        }
        for (status, response) in refusals {
            let response = resolve(&document, response);
            if status != "304" && response["content"]["application/problem+json"].is_null() {
                lacks(&format!("application/problem+json for {status}"));
            }
        }
        if !open && !["401", "403"].iter().all(|status| responses.contains_key(*status)) {
            lacks("401 and 403");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(&document, parameter);
            if parameter["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
                lacks(&format!("a description of the parameter {}", parameter["name"]));
            }
        }
    }
    assert!(missing.is_empty(), "the document lacks {} things:\n{}", missing.len(), missing.join("\n"));
}

/// Lists that are so short that they are told at once.
fn whole(operation: &str) -> bool {
    ["properties", "label-rules", "segments", "webhooks", "{id}/labels", "{id}/segments", "{id}/consents"]
        .iter()
        .any(|end| operation.ends_with(&format!("/{end}")))
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is referred to and does not exist")),
        None => value,
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if fields.get("$ref").is_some_and(Value::is_string) {
                    resolve(document, value);
                }
                fields.values().for_each(|v| walk(document, v));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(document, v)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

#[test]
fn every_tag_is_explained() {
    let document = document();
    let explained: BTreeSet<&str> = document["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|t| t["description"].as_str().is_some_and(|d| !d.is_empty()))
        .filter_map(|t| t["name"].as_str())
        .collect();
    for (name, operation) in operations(&document) {
        for tag in operation["tags"].as_array().into_iter().flatten() {
            assert!(tag.as_str().is_some_and(|t| explained.contains(t)), "{name}: the tag {tag} is not explained in `tags`");
        }
    }
}

#[test]
fn the_routes_of_the_contract_are_there() {
    let document = document();
    let names: BTreeSet<String> = operations(&document).into_iter().map(|(name, _)| name).collect();
    let wanted = [
        "POST /v1/profiles",
        "GET /v1/profiles",
        "GET /v1/profiles/{id}",
        "PATCH /v1/profiles/{id}",
        "DELETE /v1/profiles/{id}",
        "POST /v1/profiles/search",
        "POST /v1/profiles/count",
        "GET /v1/profiles/lookup",
        "POST /v1/profiles/lookup",
        "POST /v1/profiles/upsert",
        "POST /v1/profiles/batch",
        "POST /v1/profiles/export",
        "POST /v1/profiles/{id}/identities",
        "DELETE /v1/profiles/{id}/identities/{kind}/{value}",
        "GET /v1/profiles/{id}/history",
        "GET /v1/labels",
        "POST /v1/labels",
        "GET /v1/labels/{name}",
        "PATCH /v1/labels/{name}",
        "DELETE /v1/labels/{name}",
        "GET /v1/profiles/{id}/labels",
        "PUT /v1/profiles/{id}/labels/{name}",
        "DELETE /v1/profiles/{id}/labels/{name}",
        "GET /v1/profiles/{id}/consents",
        "PUT /v1/profiles/{id}/consents/{channel}",
        "GET /v1/profiles/{id}/consents/{channel}/history",
        "GET /v1/erasures/{id}",
        "GET /v1/profiles/{id}/export",
        "GET /v1/suppressions",
        "POST /v1/suppressions/lookup",
        "DELETE /v1/suppressions/{id}",
        "POST /v1/events",
        "GET /v1/events/{id}",
        "GET /v1/profiles/{id}/timeline",
        "GET /v1/profiles/{id}/sessions",
        "GET /v1/sessions/{id}",
        "GET /v1/sessions/{id}/events",
        "POST /v1/bulk/preview",
        "POST /v1/bulk",
        "POST /v1/imports",
        "GET /v1/jobs",
        "GET /v1/jobs/{id}",
        "GET /v1/jobs/{id}/errors",
        "POST /v1/jobs/{id}/cancel",
        "GET /v1/jobs/{id}/stream",
        "GET /v1/changes",
        "GET /v1/changes/stream",
        "GET /v1/duplicates",
        "GET /v1/profiles/{id}/duplicates",
        "POST /v1/duplicates/scan",
        "POST /v1/duplicates/{id}/dismiss",
        "POST /v1/identify",
        "POST /v1/track",
        "POST /v1/page",
        "POST /v1/screen",
        "POST /v1/group",
        "POST /v1/alias",
        "POST /v1/merge",
        "POST /v1/batch",
        "POST /v1/import",
        "POST /beacon/v1/batch",
        "GET /pixel/v1/track",
        "GET /pixel/v1/page",
        "GET /v1/rejected-events",
        "GET /v1/properties",
        "POST /v1/properties",
        "GET /v1/properties/{key}",
        "PATCH /v1/properties/{key}",
        "DELETE /v1/properties/{key}",
        "GET /v1/api-keys",
        "POST /v1/api-keys",
        "GET /v1/api-keys/{id}",
        "PATCH /v1/api-keys/{id}",
        "DELETE /v1/api-keys/{id}",
        "POST /v1/api-keys/{id}/rotate",
        "GET /v1/audit-log",
        "GET /metrics",
        "GET /v1/workspace",
        "PATCH /v1/workspace",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|w| !names.contains(*w)).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

async fn the_server_answers_the_committed_document(app: &App) {
    let mut served = app.get("/openapi.json").no_key().await.ok();
    let mut committed = document();
    // A server may name its own address.
    for document in [&mut served, &mut committed] {
        document.as_object_mut().map(|o| o.shift_remove("servers"));
    }
    people_tests::same(&served, &committed);
}

async fn the_documentation_page_opens(app: &App) {
    let mut path = "/docs".to_owned();
    for _ in 0..3 {
        let answer = app.get(&path).no_key().await;
        if (300..400).contains(&answer.status) {
            path = answer.header("location").unwrap_or_default().replace(&app.url, "");
            continue;
        }
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{answer}");
        // Everything it needs comes from this server.
        assert!(!answer.text().contains("src=\"http") && !answer.text().contains("src=\"//"), "{answer}");
        return;
    }
    panic!("/docs leads in circles");
}

async fn health_is_told_without_a_key(app: &App) {
    for path in ["/healthz", "/readyz"] {
        let answer = app.get(path).no_key().await;
        assert_eq!(answer.status, 200, "{answer}");
        assert!(!answer.text().contains("sqlite") && !answer.text().contains("postgres"), "what is behind is nobody's business\n{answer}");
    }
}
