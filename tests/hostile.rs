//! What no client should send: a table of requests, each with the refusal it must get. Nothing answers 500, every
//! refusal is problem+json, and afterwards the directory is as it was.
//!
//! To add a case, add a line; a case is a name, a request byte for byte, and the status and code it is answered with.

use people_tests::{App, percent, raw_request, same, stories};
use serde_json::{Value, json};

use crate::cast::{ada, id};

stories![hostile_requests_are_refused_and_change_nothing, half_sent_requests_harm_nobody, sql_in_every_text_place_is_text];

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

struct Case {
    name: String,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

/// The table under construction; each method adds one line.
struct Table {
    key: String,
    cases: Vec<Case>,
}

impl Table {
    #[expect(clippy::too_many_arguments, reason = "a line of the table has as many columns")]
    fn add(
        &mut self,
        name: impl Into<String>,
        method: &'static str,
        target: impl Into<String>,
        kind: Option<&str>,
        body: impl Into<Vec<u8>>,
        status: u16,
        code: &'static str,
    ) -> &mut Case {
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {}", self.key))];
        headers.extend(kind.map(|kind| ("content-type".to_owned(), kind.to_owned())));
        self.cases.push(Case { name: name.into(), method, target: target.into(), headers, body: body.into(), status, code });
        self.cases.last_mut().expect("just pushed")
    }

    fn post(&mut self, name: impl Into<String>, target: &str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) {
        self.add(name, "POST", target, Some(JSON), body, status, code);
    }

    fn get(&mut self, name: impl Into<String>, target: impl Into<String>, status: u16, code: &'static str) {
        self.add(name, "GET", target, None, "", status, code);
    }

    #[expect(clippy::too_many_arguments, reason = "a line of the table has as many columns")]
    fn header(
        &mut self,
        name: impl Into<String>,
        method: &'static str,
        target: &str,
        header: (&str, &str),
        body: &str,
        status: u16,
        code: &'static str,
    ) {
        let kind = (!body.is_empty()).then_some(JSON);
        self.add(name, method, target, kind, body, status, code).headers.push((header.0.to_owned(), header.1.to_owned()));
    }
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

fn table(app: &App, ada: &Value) -> Vec<Case> {
    let mut t = Table { key: app.key.clone(), cases: Vec::new() };
    let profile = format!("/v1/profiles/{}", id(ada));
    let create = "/v1/profiles";

    // JSON that is none.
    for (name, body) in [
        ("an empty body", &b""[..]),
        ("a word", b"ada"),
        ("an open object", b"{"),
        ("an open string", b"{\"email\": \"ada"),
        ("a trailing comma", b"{\"email\": \"a@example.com\",}"),
        ("single quotes", b"{'email': 'a@example.com'}"),
        ("a comment", b"{\"email\": \"a@example.com\" /* hi */}"),
        ("two documents", b"{\"email\": \"a@example.com\"}{}"),
        ("NaN", b"{\"external_id\": \"a\", \"attributes\": {\"n\": NaN}}"),
        ("Infinity", b"{\"external_id\": \"a\", \"attributes\": {\"n\": Infinity}}"),
        ("a leading zero", b"{\"external_id\": \"a\", \"attributes\": {\"n\": 012}}"),
        ("a bare plus", b"{\"external_id\": \"a\", \"attributes\": {\"n\": +1}}"),
        ("a byte order mark", b"\xef\xbb\xbf{\"external_id\": \"a\"}"),
        ("UTF-16", b"\xff\xfe{\0\"\0"),
        ("bytes that are not UTF-8", b"{\"external_id\": \"a\xff\"}"),
        ("an overlong encoding", b"{\"external_id\": \"a\xc0\xaf\"}"),
        ("a surrogate in UTF-8", b"{\"external_id\": \"a\xed\xa0\x80\"}"),
        ("a raw line break in a string", b"{\"external_id\": \"a\nb\"}"),
        ("a raw NUL byte in a string", b"{\"external_id\": \"a\0b\"}"),
        ("a bad escape", b"{\"external_id\": \"\\x41\"}"),
        ("a half escape", b"{\"external_id\": \"\\u12\"}"),
        ("XML", b"<profile/>"),
        ("a form", b"email=a@example.com"),
    ] {
        t.post(format!("create: {name}"), create, body, 400, "malformed_json");
        if body.len() < 8 {
            t.post(format!("search: {name}"), "/v1/profiles/search", body, 400, "malformed_json");
            t.add(format!("patch: {name}"), "PATCH", profile.clone(), Some(JSON), body, 400, "malformed_json");
        }
    }
    for (name, body) in [
        ("the same key twice", r#"{"external_id": "a", "external_id": "b"}"#),
        ("the same key twice, once escaped", r#"{"external_id": "a", "external\u005fid": "b"}"#),
        ("the same attribute twice", r#"{"external_id": "a", "attributes": {"n": 1, "n": 2}}"#),
    ] {
        t.post(format!("create: {name}"), create, body, 400, "duplicate_key");
    }
    t.post(
        // In an item it costs that item alone (tests/events.rs).
        "batch: the same key twice beside the items",
        "/v1/profiles/batch",
        r#"{"items": [], "items": [{"op": "create", "external_id": "a"}]}"#,
        400,
        "duplicate_key",
    );

    // JSON too deep or too big.
    for (name, body) in [
        ("33 lists in an attribute", format!(r#"{{"external_id": "a", "attributes": {{"n": {}}}}}"#, nested("[", "1", "]", 33))),
        ("a thousand lists", nested("[", "", "]", 1_000)),
        ("a hundred thousand lists, never closed", "[".repeat(100_000)),
        ("a hundred thousand objects", nested("{\"a\":", "1", "}", 100_000)),
    ] {
        t.post(format!("create: {name}"), create, body, 422, "too_deep");
    }
    t.post(
        "search: a filter of a thousand nots",
        "/v1/profiles/search",
        format!("{{\"filter\": {}}}", nested("{\"not\":", "{\"all\":[]}", "}", 1_000)),
        422,
        "too_deep",
    );
    for (name, target, size) in [
        ("create", create, 1_200_000),
        ("search", "/v1/profiles/search", 1_200_000),
        ("lookup", "/v1/profiles/lookup", 1_200_000),
        ("batch", "/v1/profiles/batch", 4_300_000),
    ] {
        t.post(format!("{name}: more bytes than allowed"), target, format!("{{\"q\": \"{}\"}}", "x".repeat(size)), 413, "body_too_large");
    }
    t.post("create: a megabyte of open lists", create, "[".repeat(1_048_576 - 10), 422, "too_deep");
    let many_keys: String = (0..60_000).map(|i| format!("\"k{i}\":1,")).collect();
    t.post("create: sixty thousand unknown keys", create, format!("{{{many_keys}\"external_id\":\"a\"}}"), 422, "validation_failed");

    // Text no database should hold.
    for (name, body) in [
        ("NUL in a name", r#"{"external_id": "a", "name": "a\u0000b"}"#),
        ("NUL in an e-mail", r#"{"email": "a\u0000@example.com"}"#),
        ("NUL in an external id", r#"{"external_id": "a\u0000"}"#),
        ("NUL in an attribute", r#"{"external_id": "a", "attributes": {"n": "\u0000"}}"#),
        ("NUL in an attribute's name", r#"{"external_id": "a", "attributes": {"n\u0000": 1}}"#),
        ("NUL in a list", r#"{"external_id": "a", "attributes": {"n": ["x", "\u0000"]}}"#),
        ("NUL in a label", r#"{"external_id": "a", "labels": ["\u0000"]}"#),
        (
            "NUL in a source of consent",
            r#"{"external_id": "a", "consents": [{"channel": "email", "status": "opted_in", "source": "\u0000"}]}"#,
        ),
        ("NUL in a field's name", r#"{"external_id": "a", "\u0000": 1}"#),
        ("a lone high surrogate", r#"{"external_id": "a", "name": "\ud800"}"#),
        ("a lone low surrogate", r#"{"external_id": "a", "name": "\udc00x"}"#),
        ("surrogates the wrong way round", r#"{"external_id": "a", "name": "\udc00\ud800"}"#),
        ("a lone surrogate in an attribute", r#"{"external_id": "a", "attributes": {"n": "\ud800"}}"#),
        ("a lone surrogate in an attribute's name", r#"{"external_id": "a", "attributes": {"\ud800": 1}}"#),
    ] {
        t.post(format!("create: {name}"), create, body, 422, "validation_failed");
        t.post(format!("upsert: {name}"), "/v1/profiles/upsert", body, 422, "validation_failed");
    }
    for (name, body) in [
        ("NUL in q", r#"{"q": "a\u0000"}"#),
        ("NUL in a filter's value", r#"{"filter": {"field": "company", "op": "contains", "value": "\u0000"}}"#),
        ("NUL in a filter's field", r#"{"filter": {"field": "company\u0000", "op": "exists"}}"#),
        ("NUL in a filter's label", r#"{"filter": {"field": "labels", "op": "has", "value": "\u0000"}}"#),
        ("NUL in an event's name", r#"{"filter": {"event": "\u0000"}}"#),
        ("a lone surrogate in q", r#"{"q": "\ud800"}"#),
    ] {
        t.post(format!("search: {name}"), "/v1/profiles/search", body, 422, "validation_failed");
    }
    t.post("search: NUL in a cursor", "/v1/profiles/search", r#"{"cursor": "\u0000"}"#, 422, "validation_failed");

    // Shapes nobody described.
    for (name, body) in [
        ("a list", "[]"),
        ("a text", "\"ada\""),
        ("a number", "7"),
        ("null", "null"),
        ("true", "true"),
        ("an e-mail as a number", r#"{"email": 7}"#),
        ("an e-mail as a list", r#"{"email": ["a@example.com"]}"#),
        ("an e-mail as an object", r#"{"email": {"$ne": null}}"#),
        ("a name as a boolean", r#"{"external_id": "a", "name": true}"#),
        ("labels as a text", r#"{"external_id": "a", "labels": "vip"}"#),
        ("labels of numbers", r#"{"external_id": "a", "labels": [1]}"#),
        ("attributes as a list", r#"{"external_id": "a", "attributes": []}"#),
        ("attributes as a text", r#"{"external_id": "a", "attributes": "{}"}"#),
        ("an attribute as an object", r#"{"external_id": "a", "attributes": {"n": {"m": 1}}}"#),
        ("an attribute of mixed lists", r#"{"external_id": "a", "attributes": {"n": ["a", 1]}}"#),
        ("identities as an object", r#"{"identities": {"kind": "device", "value": "x"}}"#),
        ("an identity as a text", r#"{"identities": ["x"]}"#),
        ("an identity without a value", r#"{"identities": [{"kind": "device"}]}"#),
        ("an identity of a kind that is none", r#"{"identities": [{"kind": "de vice", "value": "x"}]}"#),
        ("a consent without a status", r#"{"external_id": "a", "consents": [{"channel": "email"}]}"#),
        ("a consent with a status that is none", r#"{"external_id": "a", "consents": [{"channel": "email", "status": "maybe"}]}"#),
        (
            "a consent on no date",
            r#"{"external_id": "a", "consents": [{"channel": "email", "status": "opted_in", "occurred_at": "yesterday"}]}"#,
        ),
        ("an unknown field", r#"{"external_id": "a", "surname": "Lovelace"}"#),
        ("the field of another language", r#"{"external_id": "a", "firstName": "Ada"}"#),
        ("a prototype", r#"{"external_id": "a", "__proto__": {"admin": true}}"#),
        ("somebody else's workspace", r#"{"external_id": "a", "workspace_id": "0192f0c1-2d3e-7000-8000-000000000000"}"#),
        ("a version of one's own", r#"{"external_id": "a", "version": 99}"#),
        ("an id of one's own", r#"{"external_id": "a", "id": "0192f0c1-2d3e-7000-8000-000000000000"}"#),
        ("a date of birth for the row", r#"{"external_id": "a", "created_at": "1970-01-01T00:00:00Z"}"#),
        ("an attribute's name with a quote", r#"{"external_id": "a", "attributes": {"a'b": 1}}"#),
        ("an attribute's name that is SQL", r#"{"external_id": "a", "attributes": {"x') OR 1=1; --": 1}}"#),
        ("an attribute's name that is a path", r#"{"external_id": "a", "attributes": {"$.a[0]": 1}}"#),
        ("an empty attribute's name", r#"{"external_id": "a", "attributes": {"": 1}}"#),
        ("a number too big to be exact", r#"{"external_id": "a", "attributes": {"n": 9007199254740993}}"#),
        ("a number too big for anything", r#"{"external_id": "a", "attributes": {"n": 123456789012345678901234567890}}"#),
        ("an e-mail of four kilobytes", &format!("{{\"email\": \"{}@example.com\"}}", "x".repeat(4_000))),
        ("an external id of one megabyte less a bit", &format!("{{\"external_id\": \"{}\"}}", "x".repeat(1_000_000))),
        (
            "an attribute's name of a thousand letters",
            &format!("{{\"external_id\": \"a\", \"attributes\": {{\"{}\": 1}}}}", "x".repeat(1_000)),
        ),
        ("a label of a thousand letters", &format!("{{\"external_id\": \"a\", \"labels\": [\"{}\"]}}", "x".repeat(1_000))),
        (
            "two hundred and one labels",
            &json!({"external_id": "a", "labels": (0..201).map(|n| format!("l{n}")).collect::<Vec<_>>()}).to_string(),
        ),
        (
            "a hundred and one identities",
            &json!({"identities": (0..101).map(|n| json!({"kind": "device", "value": format!("d{n}")})).collect::<Vec<_>>()}).to_string(),
        ),
    ] {
        t.post(format!("create: {name}"), create, body, 422, "validation_failed");
    }
    // Exponents beyond all floats: whether a parser calls it malformed or out of range, it is no fault. serde_json says the former.
    t.post("create: a number beyond all floats", create, r#"{"external_id": "a", "attributes": {"n": 1e400}}"#, 422, "validation_failed");
    for (name, body) in [("nothing", "{}"), ("only a name", r#"{"name": "Ada"}"#), ("only nulls", r#"{"email": null, "phone": null}"#)] {
        t.post(format!("create: {name}"), create, body, 422, "identity_required");
        t.post(format!("upsert: {name}"), "/v1/profiles/upsert", body, 422, "identity_required");
    }

    // Merges of nobody.
    let me = id(ada);
    for (name, body) in [
        ("a list", "[]".to_owned()),
        ("ids that are numbers", r#"{"primary_id": 1, "secondary_id": 2}"#.to_owned()),
        ("ids that are SQL", r#"{"primary_id": "' OR '1'='1", "secondary_id": "x"}"#.to_owned()),
        ("oneself", json!({"primary_id": me, "secondary_id": me}).to_string()),
        ("choices in a list", json!({"primary_id": me, "secondary_id": me, "keep": ["company"]}).to_string()),
        ("a choice of neither", json!({"primary_id": me, "secondary_id": me, "keep": {"company": "tertiary"}}).to_string()),
        ("NUL in a choice", json!({"primary_id": me, "secondary_id": me, "keep": {"\0": "primary"}}).to_string()),
        ("an unknown member", json!({"primary_id": me, "secondary_id": me, "force": true}).to_string()),
    ] {
        t.post(format!("preview a merge: {name}"), "/v1/merges/preview", body.clone(), 422, "validation_failed");
        t.post(format!("merge: {name}"), "/v1/merges", body, 422, "validation_failed");
    }
    for token in ["", "e30", "\0", "😀", "A".repeat(100_000).as_str()] {
        let body = json!({"primary_id": me, "secondary_id": me, "preview_token": token}).to_string();
        t.post(format!("merge: the token {}", token.chars().take(10).collect::<String>()), "/v1/merges", body, 422, "validation_failed");
    }
    t.get("a merge that is none", "/v1/merges/%00", 404, "not_found");
    t.get("a merge by a short id", "/v1/merges/abc", 404, "not_found");
    t.add("revert what is none", "POST", "/v1/merges/abc/revert", None, "", 404, "not_found");

    // Dates nobody lived.
    for at in [
        "0000-01-01",
        "10000-01-01",
        "2026-02-30",
        "2026-13-01",
        "2026-1-1",
        "yesterday",
        "1e9",
        "-0001-01-01",
        "2016-12-31T23:59:60Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "99999999999999999999",
    ] {
        t.get(format!("list: created after {at}"), format!("{create}?created_after={}", percent(at)), 400, "invalid_query");
        t.post(
            format!("search: created after {at}"),
            "/v1/profiles/search",
            json!({"filter": {"field": "created_at", "op": "gt", "value": at}}).to_string(),
            422,
            "validation_failed",
        );
    }

    // SQL where names are expected.
    for sql in [
        "' OR '1'='1",
        "'; DROP TABLE profiles; --",
        "\" OR \"\"=\"",
        "1; SELECT pg_sleep(10)",
        "created_at) UNION SELECT 1 --",
        "name, COLLATE NOCASE",
        "(SELECT 1)",
        "%27%20OR%201=1",
    ] {
        t.get(format!("list: sorted by {sql}"), format!("{create}?sort={}", percent(sql)), 400, "invalid_query");
        t.get(format!("list: after the cursor {sql}"), format!("{create}?cursor={}", percent(sql)), 400, "invalid_cursor");
        t.get(format!("list: limited to {sql}"), format!("{create}?limit={}", percent(sql)), 400, "invalid_query");
        t.post(
            format!("search: by the field {sql}"),
            "/v1/profiles/search",
            json!({"filter": {"field": sql, "op": "eq", "value": 1}}).to_string(),
            422,
            "validation_failed",
        );
        t.post(
            format!("search: by the attribute {sql}"),
            "/v1/profiles/search",
            json!({"filter": {"field": format!("attributes.{sql}"), "op": "exists"}}).to_string(),
            422,
            "validation_failed",
        );
        t.post(
            format!("search: by the operator {sql}"),
            "/v1/profiles/search",
            json!({"filter": {"field": "email", "op": sql, "value": "x"}}).to_string(),
            422,
            "validation_failed",
        );
        t.post(format!("search: sorted by {sql}"), "/v1/profiles/search", json!({"sort": sql}).to_string(), 422, "validation_failed");
        t.get(format!("the profile {sql}"), format!("{create}/{}", percent(sql)), 404, "not_found");
        t.post(format!("define {sql}"), "/v1/properties", json!({"key": sql, "type": "text"}).to_string(), 422, "validation_failed");
    }

    // Bodies of other kinds.
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "application",
        "",
    ] {
        t.add(format!("create: as {kind:?}"), "POST", create, Some(kind), r#"{"external_id": "a"}"#, 415, "unsupported_media_type");
    }
    t.add("create: as nothing", "POST", create, None, r#"{"external_id": "a"}"#, 415, "unsupported_media_type");
    t.add(
        "create: in another character set",
        "POST",
        create,
        Some("application/json; charset=utf-16"),
        r#"{"external_id": "a"}"#,
        415,
        "unsupported_media_type",
    );

    // Paths and methods that are none.
    for target in [
        "/",
        "/v1",
        "/v1/",
        "/v1/profile",
        "/v2/profiles",
        "/v1/profiles/",
        "/v1//profiles",
        "/V1/profiles",
        "/v1/profiles.json",
        "/admin",
        "/.env",
        "/v1/profiles/a/b/c/d",
        "/v1/profiles/..%2f..%2fetc%2fpasswd",
        "/v1/../../etc/passwd",
        "/v1/profiles/%00",
        "/v1/profiles/%ff",
        "/%",
        "/%zz",
    ] {
        t.get(format!("the path {target}"), target, 404, "not_found");
    }
    for (method, target) in [
        ("PUT", create),
        ("PATCH", create),
        ("DELETE", create),
        ("GET", "/v1/profiles/search"),
        ("GET", "/v1/profiles/count"),
        ("PUT", "/v1/profiles/lookup"),
        ("GET", "/v1/profiles/export"),
        ("GET", "/v1/profiles/batch"),
        ("GET", "/v1/merges"),
        ("GET", "/v1/merges/preview"),
        ("DELETE", "/v1/merges"),
        ("POST", "/v1/workspace"),
        ("DELETE", "/v1/workspace"),
        ("POST", "/healthz"),
        ("TRACE", create),
        ("BREW", create),
    ] {
        t.add(format!("{method} {target}"), method, target, None, "", 405, "method_not_allowed");
    }
    t.add("PUT a profile", "PUT", profile.clone(), Some(JSON), "{}", 405, "method_not_allowed");
    t.add("POST a profile", "POST", profile.clone(), Some(JSON), "{}", 405, "method_not_allowed");

    // Query strings.
    for query in [
        "limit=9999999999999999999999",
        "limit=0x10",
        "limit=%00",
        "limit=%ff",
        "limit",
        "=",
        "&&&x=1",
        "q=a&q=b",
        "sort[]=name",
        "sort=name,created_at",
        "count=1",
        "count=TRUE",
        "q=%00",
        "label=%00",
        "label=",
        "country=GBR",
        "country=%00",
        "segment=17",
        "channel=No%20Channel",
        "q=%ff",
        "q=%ed%a0%80",
    ] {
        t.get(format!("list: ?{}", percent(query)), format!("{create}?{query}"), 400, "invalid_query");
    }
    let thousands: String = (0..3_000).map(|n| format!("x{n}=1&")).collect();
    t.get("list: three thousand unknown parameters", format!("{create}?{thousands}"), 414, "uri_too_long");
    for cursor in ["x", "AAAA", "null", "e30", "eyJrIjoxfQ", "../../x", "A".repeat(4_000).as_str(), "😀"] {
        t.get(
            format!("list: the cursor {}", cursor.chars().take(20).collect::<String>()),
            format!("{create}?cursor={}", if cursor.is_ascii() { cursor.to_owned() } else { percent(cursor) }),
            400,
            "invalid_cursor",
        );
    }

    // Headers.
    for tag in ["", "7", "\"", "\"x", "'1'", "\"1\" \"2\"", "W/1"] {
        t.header(format!("patch: If-Match {tag}"), "PATCH", &profile, ("if-match", tag), "{\"city\": \"Rome\"}", 400, "invalid_header");
    }
    for tag in ["\"x\"", "\"99999999999999999999999999\"", "\"-1\"", "\"0\"", "\"2\"", "\"1 OR 1=1\""] {
        t.header(format!("patch: If-Match {tag}"), "PATCH", &profile, ("if-match", tag), "{\"city\": \"Rome\"}", 412, "version_mismatch");
        t.header(format!("delete: If-Match {tag}"), "DELETE", &profile, ("if-match", tag), "", 412, "version_mismatch");
    }
    t.header(
        "create: an endless retry key",
        "POST",
        create,
        ("idempotency-key", &"x".repeat(300)),
        r#"{"external_id": "a"}"#,
        400,
        "invalid_header",
    );
    t.header("create: a blank retry key", "POST", create, ("idempotency-key", ""), r#"{"external_id": "a"}"#, 400, "invalid_header");
    t.header(
        "create: an endless reason",
        "POST",
        create,
        ("x-reason", &"x".repeat(5_000)),
        r#"{"external_id": "a"}"#,
        400,
        "invalid_header",
    );

    // Nobody's key, and nobody at all.
    for header in [
        "Bearer ' OR 1=1 --",
        "Bearer null",
        "Bearer undefined",
        "Bearer %00",
        "Bearer ppl_x",
        "Basic YTpi",
        "Negotiate x",
        "Bearer \u{1F600}",
    ] {
        t.add(format!("list: authorised by {header}"), "GET", create, None, "", 401, "unauthorized").headers[0].1 = header.to_owned();
    }
    t.add("create: a bad body from nobody", "POST", create, Some(JSON), "{", 401, "unauthorized").headers.remove(0);
    t.add("an unknown profile for nobody", "GET", profile.clone(), None, "", 401, "unauthorized").headers.remove(0);

    // Batches and lookups.
    for (name, target, body) in [
        ("batch: no items", "/v1/profiles/batch", "{\"items\": []}".to_owned()),
        ("batch: nothing", "/v1/profiles/batch", "{}".to_owned()),
        ("batch: items as an object", "/v1/profiles/batch", "{\"items\": {}}".to_owned()),
        (
            "batch: too many",
            "/v1/profiles/batch",
            format!("{{\"items\": [{}]}}", vec!["{\"op\":\"create\",\"external_id\":\"a\"}"; 1_001].join(",")),
        ),
        ("lookup: nothing", "/v1/profiles/lookup", "{}".to_owned()),
        ("suppressions: nothing", "/v1/suppressions/lookup", "{}".to_owned()),
        ("suppressions: a list", "/v1/suppressions/lookup", "{\"identities\": {}}".to_owned()),
        (
            "suppressions: U+0000",
            "/v1/suppressions/lookup",
            "{\"identities\": [{\"kind\": \"external_id\", \"value\": \"a\\u0000\"}]}".to_owned(),
        ),
        ("lookup: a text", "/v1/profiles/lookup", "{\"identities\": [\"a\"]}".to_owned()),
        ("lookup: junk", "/v1/profiles/lookup", "{\"identities\": [{\"kind\": \"email\", \"value\": 1}]}".to_owned()),
        ("count: a page", "/v1/profiles/count", "{\"limit\": 5}".to_owned()),
        ("search: a float of a limit", "/v1/profiles/search", "{\"limit\": 5.5}".to_owned()),
        ("search: a negative limit", "/v1/profiles/search", "{\"limit\": -1}".to_owned()),
        ("search: an endless limit", "/v1/profiles/search", "{\"limit\": 99999999999999999999}".to_owned()),
        ("search: q as a list", "/v1/profiles/search", "{\"q\": [\"a\"]}".to_owned()),
        ("search: an endless q", "/v1/profiles/search", format!("{{\"q\": \"{}\"}}", "x".repeat(100_000))),
        ("search: the cursor as a number", "/v1/profiles/search", "{\"cursor\": 7}".to_owned()),
        ("export: an unknown field", "/v1/profiles/export", "{\"format\": \"csv\"}".to_owned()),
        ("define: nothing", "/v1/properties", "{}".to_owned()),
        ("make a key: for everything", "/v1/api-keys", "{\"name\": \"x\", \"scopes\": [\"*\"]}".to_owned()),
    ] {
        t.post(name, target, body, 422, "validation_failed");
    }
    // Bulk changes, imports and jobs.
    for (name, target, body) in [
        ("bulk: nothing", "/v1/bulk/preview", "{}".to_owned()),
        ("bulk: everyone by accident", "/v1/bulk/preview", r#"{"selection": {}, "action": {"type": "delete"}}"#.to_owned()),
        (
            "bulk: SQL for an action",
            "/v1/bulk/preview",
            r#"{"selection": {"all": true}, "action": {"type": "'; DROP TABLE jobs; --"}}"#.to_owned(),
        ),
        ("bulk: an action in a list", "/v1/bulk/preview", r#"{"selection": {"all": true}, "action": [{"type": "delete"}]}"#.to_owned()),
        (
            "bulk: a made-up token",
            "/v1/bulk",
            r#"{"selection": {"all": true}, "action": {"type": "delete"}, "confirmation_token": "AAAA"}"#.to_owned(),
        ),
        (
            "bulk: NUL in a label",
            "/v1/bulk/preview",
            r#"{"selection": {"all": true}, "action": {"type": "add_labels", "labels": ["\u0000"]}}"#.to_owned(),
        ),
    ] {
        t.post(name, target, body, 422, "validation_failed");
    }
    let csv = Some("text/csv");
    for (name, query, body, status, code) in [
        ("nothing", "", &b""[..], 422, "validation_failed"),
        ("bytes that are no text", "", b"\xff\xfd\x00\x80", 422, "validation_failed"),
        ("a table of nobody", "", b"a,b\n1,2\n", 422, "validation_failed"),
        ("a mapping that is none", "?mapping=%7B", b"Email\n", 400, "invalid_query"),
        ("a mapping of NUL", "?mapping=%00", b"Email\n", 400, "invalid_query"),
        ("a delimiter of two", "?delimiter=%2C%2C", b"Email\n", 400, "invalid_query"),
        ("a delimiter that is none", "?delimiter=%FF", b"Email\n", 400, "invalid_query"),
        ("an encoding of nobody", "?encoding=ebcdic-of-mars", b"Email\n", 400, "invalid_query"),
    ] {
        t.add(format!("import: {name}"), "POST", format!("/v1/imports{query}"), csv, body, status, code);
    }
    t.add("import: as JSON", "POST", "/v1/imports", Some(JSON), "[]", 415, "unsupported_media_type");
    t.get("jobs: in a state that is none", "/v1/jobs?status=%27%20OR%201%3D1", 400, "invalid_query");
    t.get("jobs: after a made-up cursor", "/v1/jobs?cursor=AAAA", 400, "invalid_cursor");
    t.get("jobs: one of nobody", "/v1/jobs/0192f0c1-2d3e-7000-8000-000000000000/stream", 404, "not_found");
    t.get("jobs: an id that is none", "/v1/jobs/17/errors", 404, "not_found");
    t.cases
}

async fn hostile_requests_are_refused_and_change_nothing(app: &App) {
    let ada = app.person(ada()).await;
    let cases = table(app, &ada);
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    let before = picture(app).await;
    let mut wrong = Vec::new();
    for case in &cases {
        let answer = match raw_request(&app.url, case.method, &case.target, &case.headers, &case.body).await {
            Ok(answer) => answer,
            Err(e) => {
                wrong.push(format!("{}: {e}", case.name));
                continue;
            }
        };
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let whole = ["type", "title", "detail", "instance", "code", "request_id"].iter().all(|m| problem[*m].is_string())
            && problem["status"] == answer.status;
        if (answer.status, problem["code"].as_str(), answer.header("content-type"), whole)
            != (case.status, Some(case.code), Some(PROBLEM), true)
        {
            let text: String = answer.text().chars().take(300).collect();
            wrong.push(format!("{}: expected {} {}, got {} {text}", case.name, case.status, case.code, answer.status));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    same(&picture(app).await, &before);
    same(&app.read(id(&ada)).await, &ada);
}

/// Everything of the workspace a request could have changed.
async fn picture(app: &App) -> Value {
    let mut keys = app.get("/v1/api-keys").await.ok();
    for key in keys["data"].as_array_mut().into_iter().flatten() {
        key["last_used_at"] = Value::Null;
    }
    json!({
        "people": app.search(json!({"limit": 200, "count": true})).await,
        "properties": app.get("/v1/properties").await.ok(),
        "workspace": app.get("/v1/workspace").await.ok(),
        "keys": keys
    })
}

/// Connections that break off in the middle, while somebody else works.
async fn half_sent_requests_harm_nobody(app: &App) {
    use tokio::io::AsyncWriteExt as _;
    let address = app.url.trim_start_matches("http://").to_owned();
    let head =
        format!("POST /v1/profiles HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n", app.key);
    for n in 0..60 {
        let pieces = [
            format!("{head}content-length: 1000\r\n\r\n{{\"external_id\": \"half-{n}\""),
            format!("{head}transfer-encoding: chunked\r\n\r\n40\r\n{{\"external_id\": \"half-{n}\"}}"),
            head[..head.len() / 2].to_owned(),
        ];
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("the server listens");
        stream.write_all(pieces[n % 3].as_bytes()).await.expect("the server reads");
        drop(stream);
        app.person(json!({"external_id": format!("whole-{n}")})).await;
    }
    let found = app.find_sorted(json!({})).await;
    assert_eq!(found.len(), 60);
    assert!(found.iter().all(|e| e.starts_with("whole-")), "{found:?}");
}

async fn sql_in_every_text_place_is_text(app: &App) {
    let neighbour = app.neighbour();
    let bystander = neighbour.person(ada()).await;
    for (n, sql) in [
        "' OR '1'='1",
        "'; DROP TABLE profiles; --",
        "\"; DELETE FROM profiles; --",
        "') UNION SELECT * FROM api_keys --",
        "$1",
        "?1",
        ":x",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "\\'; --",
        "%' OR 1=1 --",
        "1); ATTACH DATABASE 'x' AS y; --",
    ]
    .iter()
    .enumerate()
    {
        let person = app
            .person(json!({
                "external_id": format!("{sql} {n}"), "name": sql, "company": sql, "labels": [sql], "attributes": {"note": sql, "list": [sql]},
                "identities": [{"kind": "device", "value": sql}], "consents": [{"channel": "email", "status": "opted_in", "source": sql}]
            }))
            .await;
        assert_eq!((&person["name"], &person["labels"][0], &person["attributes"]["note"]), (&json!(sql), &json!(sql), &json!(sql)));
        for filter in [
            json!({"field": "name", "op": "eq", "value": sql}),
            json!({"field": "name", "op": "contains", "value": sql}),
            json!({"field": "labels", "op": "has", "value": sql}),
            json!({"field": "attributes.note", "op": "in", "value": [sql]}),
            json!({"field": "attributes.list", "op": "has", "value": sql}),
        ] {
            assert_eq!(app.filtered(filter.clone()).await, [format!("{sql} {n}")], "{filter}");
        }
        let found = app.get(&format!("/v1/profiles/lookup?kind=device&value={}", percent(sql))).await.ok();
        assert_eq!(found["id"], person["id"]);
        let listed = app.get(&format!("/v1/profiles?label={}&count=true", percent(sql))).await.ok();
        assert_eq!(listed["total"], 1);
        app.patch(&format!("/v1/profiles/{}", id(&person)))
            .header("x-reason", "'; DROP TABLE profiles; --")
            .json(json!({"city": sql}))
            .await
            .ok();
    }
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok()["total"], 12);
    same(&neighbour.read(id(&bystander)).await, &bystander);
}
