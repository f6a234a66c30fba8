//! Tenants never meet, and no route forgets its scope: a walk over every operation of the document the server itself
//! answers. A new route is walked the day it is documented; a path parameter this test cannot fill fails it.

use people_tests::{Answer, App, redact, same, stories};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{ada, id, list};

stories![
    another_tenants_ids_are_not_found_on_any_route,
    every_route_refuses_a_key_without_its_scope,
    every_route_refuses_nobody,
    a_scope_is_enough_for_its_routes,
    nothing_a_neighbour_writes_is_seen,
];

const SCOPES: [&str; 8] =
    ["profiles:read", "profiles:write", "profiles:delete", "profiles:merge", "events:write", "bulk", "config", "admin"];
/// What answers without a key: nothing about anybody.
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

struct Operation {
    method: Method,
    path: String,
    scopes: Vec<String>,
    /// The document's own example of the request body.
    body: Option<Value>,
    content_type: String,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn parameters(&self) -> Vec<&str> {
        self.path.split('/').filter_map(|s| s.strip_prefix('{')).filter_map(|s| s.strip_suffix('}')).collect()
    }

    async fn send(&self, app: &App, path: &str) -> Answer {
        let mut call = app.call(self.method.clone(), path).header("x-request-id", "walk");
        if let Some(body) = &self.body {
            call = if self.content_type == "application/json" {
                call.json(body.clone())
            } else {
                call.bytes(&self.content_type, body.to_string())
            };
        }
        call.await
    }
}

/// Every operation of the document that needs a key.
async fn operations(app: &App) -> Vec<Operation> {
    let document = app.get("/openapi.json").no_key().await.ok();
    let mut out = Vec::new();
    for (path, item) in document["paths"].as_object().expect("the document has paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { panic!("{method} of {path}") };
            if !matches!(method.as_str(), "GET" | "POST" | "PUT" | "PATCH" | "DELETE") {
                continue;
            }
            let security = operation["security"].as_array().cloned().unwrap_or_default();
            if OPEN.contains(&path.as_str()) || path.starts_with("/docs") {
                continue;
            }
            let scopes: Vec<String> = security
                .iter()
                .flat_map(|s| s["api_key"].as_array().cloned().unwrap_or_default())
                .filter_map(|s| s.as_str().map(str::to_owned))
                .collect();
            assert!(!scopes.is_empty(), "{method} {path} names no scope in its `security`");
            assert!(scopes.iter().all(|s| SCOPES.contains(&s.as_str())), "{method} {path} names an unknown scope: {scopes:?}");
            let content = operation["requestBody"]["content"].as_object().cloned().unwrap_or_default();
            let (content_type, media) = content.into_iter().next().unwrap_or_default();
            let example = match &media["example"] {
                Value::Null => media["examples"].as_object().and_then(|all| all.values().next()).map(|e| e["value"].clone()),
                one => Some(one.clone()),
            };
            assert!(content_type.is_empty() || example.is_some(), "{method} {path} shows no example of its body");
            out.push(Operation { method, path: path.clone(), scopes, body: example, content_type });
        }
    }
    assert!(out.len() >= 20, "only {} operations are documented", out.len());
    out
}

/// The ids of a workspace a path may name.
struct Ids {
    profile: String,
    identity: (String, String),
    property: String,
    api_key: String,
    erasure: String,
    event: String,
    session: String,
    job: String,
    suppression: String,
    segment: String,
    rule: String,
    duplicate: String,
    merge: String,
    webhook: String,
    delivery: String,
}

impl Ids {
    async fn of(app: &App, property: &str) -> Self {
        let profile = app.person(ada()).await;
        app.post("/v1/properties").json(json!({"key": property, "type": "text"})).await.created();
        let key = app.post("/v1/api-keys").json(json!({"name": "walked", "scopes": ["profiles:read"]})).await.created();
        let gone = app.person(json!({"external_id": "gone"})).await;
        let erasure = app.delete(&format!("/v1/profiles/{}?suppress=true", id(&gone))).await.ok();
        let suppression = app.get("/v1/suppressions").await.ok()["data"][0].clone();
        let event = json!({"profile_id": profile["id"], "type": "walked", "channel": "web"});
        let event = app.post("/v1/events").json(json!({"events": [event]})).await.ok()["results"][0].clone();
        let event = app.get(&format!("/v1/events/{}", id(&event))).await.ok();
        let (selection, action) = (json!({"ids": [profile["id"]]}), json!({"type": "add_labels", "labels": ["vip"]}));
        let job = crate::bulk::confirmed(app, selection, action).await.is(202);
        let job = crate::bulk::finished(app, &job).await;
        let everyone = json!({"all": []});
        let segment = app.post("/v1/segments").json(json!({"name": "walked", "filter": everyone})).await.created();
        let rule = app.post("/v1/label-rules").json(json!({"label": "walked", "filter": everyone})).await.created();
        for made in [&segment, &rule] {
            crate::bulk::finished(app, &json!({"id": made["job_id"]})).await;
        }
        let alike = [("alike-1", "Ada"), ("alike-2", "Áda")];
        app.people(
            &alike
                .map(|(key, first)| json!({"external_id": key, "name": format!("{first} Byron"), "company": "Engines", "city": "London"})),
        )
        .await;
        let pairs = app.get("/v1/duplicates").await.ok();
        let other = app.person(json!({"external_id": "other"})).await;
        let mut pair = json!({"primary_id": profile["id"], "secondary_id": other["id"]});
        pair["preview_token"] = app.post("/v1/merges/preview").json(pair.clone()).await.ok()["preview_token"].clone();
        let merge = app.post("/v1/merges").json(pair).await.created();
        let webhook = app.post("/v1/webhooks").json(json!({"url": "http://127.0.0.1:9/", "enabled": false})).await.created();
        let delivery = app.post(&format!("/v1/webhooks/{}/test", id(&webhook))).await.ok();
        Self {
            segment: id(&segment).to_owned(),
            rule: id(&rule).to_owned(),
            duplicate: id(&list(&pairs, "data")[0]).to_owned(),
            job: id(&job).to_owned(),
            event: id(&event).to_owned(),
            session: event["session_id"].as_str().expect("the event has a session").to_owned(),
            merge: id(&merge).to_owned(),
            webhook: id(&webhook).to_owned(),
            delivery: id(&delivery).to_owned(),
            profile: id(&profile).to_owned(),
            identity: ("external_id".to_owned(), "crm-17".to_owned()),
            property: property.to_owned(),
            api_key: id(&key).to_owned(),
            erasure: id(&erasure).to_owned(),
            suppression: id(&suppression).to_owned(),
        }
    }

    fn nobodys() -> Self {
        let nothing = || uuid::Uuid::now_v7().to_string();
        Self {
            profile: nothing(),
            identity: ("external_id".to_owned(), "crm-17".to_owned()),
            property: "nobodys_property".to_owned(),
            api_key: nothing(),
            erasure: nothing(),
            event: nothing(),
            session: nothing(),
            job: nothing(),
            suppression: nothing(),
            segment: nothing(),
            rule: nothing(),
            duplicate: nothing(),
            merge: nothing(),
            webhook: nothing(),
            delivery: nothing(),
        }
    }

    /// The path with every parameter filled in.
    fn fill(&self, path: &str) -> String {
        let mut out = Vec::new();
        let mut collection = "";
        for piece in path.split('/') {
            let Some(name) = piece.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
                collection = piece;
                out.push(piece);
                continue;
            };
            out.push(match (collection, name) {
                ("profiles", "id") => &self.profile,
                ("identities", "kind") => &self.identity.0,
                ("identities", "value") => &self.identity.1,
                ("labels", "name") => "vip",
                ("consents", "channel") => "email",
                ("properties", "key") => &self.property,
                ("api-keys", "id") => &self.api_key,
                ("erasures", "id") => &self.erasure,
                ("events", "id") => &self.event,
                ("sessions", "id") => &self.session,
                ("jobs", "id") => &self.job,
                ("suppressions", "id") => &self.suppression,
                ("segments", "id") => &self.segment,
                ("label-rules", "id") => &self.rule,
                ("duplicates", "id") => &self.duplicate,
                ("merges", "id") => &self.merge,
                ("webhooks", "id") => &self.webhook,
                ("deliveries", "delivery_id") => &self.delivery,
                _ => panic!("{path}: no id is known for {{{name}}} of {collection}; teach `Ids` about it"),
            });
        }
        out.join("/")
    }
}

/// A refusal without what names this one request.
fn bare(answer: &Answer) -> Value {
    let mut problem = answer.problem();
    // The last three are there for tracking SDKs, on their routes.
    for member in ["request_id", "instance", "success", "message", "error"] {
        problem.as_object_mut().map(|o| o.shift_remove(member));
    }
    redact(&problem)
}

async fn another_tenants_ids_are_not_found_on_any_route(app: &App) {
    let neighbour = app.neighbour();
    let foreign = Ids::of(&neighbour, "their_property").await;
    let before = neighbour.search(json!({"limit": 200})).await;
    let mut walked = 0;
    for operation in operations(app).await.iter().filter(|o| !o.parameters().is_empty()) {
        let theirs = operation.send(app, &foreign.fill(&operation.path)).await;
        let nobodys = operation.send(app, &Ids::nobodys().fill(&operation.path)).await;
        assert_eq!((theirs.status, nobodys.status), (404, 404), "{}\n{theirs}\n{nobodys}", operation.name());
        same(&bare(&theirs), &bare(&nobodys));
        assert_eq!(theirs.json()["code"], "not_found", "{}", operation.name());
        walked += 1;
    }
    assert!(walked >= 10, "only {walked} operations take ids");
    same(&neighbour.search(json!({"limit": 200})).await, &before);
    neighbour.get(&format!("/v1/api-keys/{}", foreign.api_key)).await.ok();
    neighbour.get(&format!("/v1/properties/{}", foreign.property)).await.ok();
}

async fn every_route_refuses_a_key_without_its_scope(app: &App) {
    let ids = Ids::of(app, "own_property").await;
    let before = app.search(json!({"limit": 200})).await;
    let mut narrow: Vec<(Vec<String>, App)> = Vec::new();
    for operation in operations(app).await {
        for missing in &operation.scopes {
            let rest: Vec<&str> = SCOPES.into_iter().filter(|s| s != missing).collect();
            if !narrow.iter().any(|(scopes, _)| *scopes == rest) {
                narrow.push((rest.iter().map(|s| (*s).to_owned()).collect(), app.with_scopes(&rest).await));
            }
            let (_, other) = narrow.iter().find(|(scopes, _)| *scopes == rest).expect("just pushed");
            for path in [ids.fill(&operation.path), Ids::nobodys().fill(&operation.path)] {
                let answer = operation.send(other, &path).await;
                assert_eq!(answer.status, 403, "{} with every scope but {missing}\n{answer}", operation.name());
                let problem = answer.refused(403, "missing_scope");
                assert!(problem["detail"].as_str().is_some_and(|d| d.contains(missing.as_str())), "{}: {problem}", operation.name());
            }
        }
    }
    same(&app.search(json!({"limit": 200})).await, &before);
}

async fn every_route_refuses_nobody(app: &App) {
    let ids = Ids::of(app, "own_property").await;
    let nobody = app.with_key("ppl_0000000000000000000000000000000000000000000000000000");
    let mut bodies = Vec::new();
    for operation in operations(app).await {
        let path = ids.fill(&operation.path);
        let answer = operation.send(&nobody, &path).await;
        assert_eq!(answer.status, 401, "{}\n{answer}", operation.name());
        answer.refused(401, "unauthorized");
        let answer = app.call(operation.method.clone(), &path).no_key().await;
        assert_eq!(answer.status, 401, "{} without any key\n{answer}", operation.name());
        bodies.push(bare(&answer));
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "all routes refuse nobody in the same words");
    let document = app.get("/openapi.json").no_key().await.ok();
    for path in document["paths"].as_object().into_iter().flatten().map(|(path, _)| path).filter(|p| OPEN.contains(&p.as_str())) {
        let answer = app.get(path).no_key().await;
        assert_ne!(answer.status, 401, "{path} needs no key");
    }
}

async fn a_scope_is_enough_for_its_routes(app: &App) {
    for operation in operations(app).await {
        // Ids of nobody, so that nothing is changed or deleted along the way.
        let scopes: Vec<&str> = operation.scopes.iter().map(String::as_str).collect();
        let mut path = Ids::nobodys().fill(&operation.path);
        if path == "/v1/changes/stream" {
            // Has no end, unless it has no beginning.
            path.push_str("?cursor=none");
        }
        let answer = operation.send(&app.with_scopes(&scopes).await, &path).await;
        assert!(
            answer.status != 401 && answer.status != 403 && answer.status < 500,
            "{} with exactly {scopes:?}\n{answer}",
            operation.name()
        );
    }
}

async fn nothing_a_neighbour_writes_is_seen(app: &App) {
    let neighbour = app.neighbour();
    let theirs = neighbour.person(ada()).await;
    let mine = app.person(json!({"external_id": "mine", "name": "Ada Other"})).await;
    assert_eq!(app.find(json!({})).await, ["mine"]);
    assert_eq!(app.find(json!({"q": "ada"})).await, ["mine"]);
    assert_eq!(app.find(json!({"q": "lovelace"})).await, [""; 0]);
    assert_eq!(app.filtered(json!({"field": "id", "op": "eq", "value": theirs["id"]})).await, [""; 0]);
    assert_eq!(app.filtered(json!({"not": {"field": "external_id", "op": "eq", "value": "mine"}})).await, [""; 0]);
    app.get("/v1/profiles/lookup?email=ada@example.com").await.refused(404, "not_found");
    let lookup = app.post("/v1/profiles/lookup").json(json!({"identities": [{"kind": "email", "value": "ada@example.com"}]})).await.ok();
    assert_eq!(lookup["found"], json!([]));
    let batch = app
        .post("/v1/profiles/batch")
        .json(json!({"items": [{"op": "update", "id": theirs["id"], "city": "Stolen"}, {"op": "delete", "id": theirs["id"]}, {"op": "upsert", "email": "ada@example.com", "city": "Mine"}]}))
        .await
        .ok();
    let statuses: Vec<&Value> = list(&batch, "results").iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [404, 404, 201]);
    let export = app.post("/v1/profiles/export").json(json!({})).await.text();
    assert!(!export.contains(id(&theirs)) && export.contains(id(&mine)));
    same(&neighbour.read(id(&theirs)).await, &theirs);
    // An identity taken there is free here, and a conflict never names a foreign id.
    let conflict = app.post("/v1/profiles").json(json!({"email": "ada@example.com"})).await.refused(409, "identity_taken");
    assert!(!conflict.to_string().contains(id(&theirs)));
}
