//! Every answer of every story, held against `openapi/openapi.json`: clients are generated from it, and believe it.
//!
//! Checked are the status and the media type of what succeeded, and of JSON the types, the members that are always there,
//! and that no member comes which the document does not know.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::project;

/// Larger answers repeat what smaller ones say.
const LARGEST: usize = 64 * 1024;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(project().join("openapi/openapi.json")).expect("openapi/openapi.json is committed");
    serde_json::from_str(&text).expect("openapi/openapi.json is JSON")
});

/// What the document says of a request; `None`: it is of no operation.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let is_parameter = |part: &str| part.starts_with('{');
        let fits = parts.len() == asked.len() && parts.iter().zip(&asked).all(|(part, asked)| is_parameter(part) || part == asked);
        fits.then(|| parts.iter().filter(|part| is_parameter(part)).count())
    };
    let paths = DOCUMENT["paths"].as_object()?;
    let best = paths.iter().filter_map(|(template, item)| fits(template).map(|parameters| (parameters, item)));
    best.min_by_key(|(parameters, _)| *parameters)?.1.get(method.to_ascii_lowercase())
}

/// Fails where an answer is not what the document says. `line`: method and target.
pub(crate) fn holds(line: &str, status: u16, media: Option<&str>, body: &[u8]) {
    let Some((method, target)) = line.split_once(' ') else { return };
    let path = target.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    let bare = |media: &str| media.split(';').next().unwrap_or_default().to_owned();
    let media = bare(media.unwrap_or_default());
    let declared = &operation["responses"][status.to_string()];
    let succeeded = (200..300).contains(&status);
    assert!(!succeeded || !declared.is_null(), "{line}: the document knows no answer {status}");
    let content = declared["content"].as_object().into_iter().flatten().find(|(name, _)| bare(name) == media).map(|(_, content)| content);
    assert!(!succeeded || body.is_empty() || content.is_some(), "{line}: the document knows no {media:?} for {status}");
    let schema =
        if succeeded { content.map_or(&Value::Null, |content| &content["schema"]) } else { &DOCUMENT["components"]["schemas"]["Problem"] };
    let is_json = matches!(media.as_str(), "application/json" | "application/problem+json");
    // What is said of somebody who was erased since, when a request is sent again.
    if body.len() > LARGEST || schema.is_null() || !is_json || body == br#"{"erased":true}"# {
        return;
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    json.disable_recursion_limit();
    let Some(Ok(value)) = json.into_iter::<Value>().next() else { panic!("{line}: {media} is no JSON") };
    // What the tracking routes add to a problem is told where they are described.
    let mut wrong = Vec::new();
    check(schema, &value, "", succeeded, &mut wrong);
    assert!(wrong.is_empty(), "{line} answered {status} with what the document does not say:\n{}\n{value}", wrong.join("\n"));
}

fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str().and_then(|at| DOCUMENT.pointer(&at[1..])) {
        Some(target) => resolved(target),
        None => schema,
    }
}

/// `closed`: a member that is not declared is wrong.
fn check(schema: &'static Value, value: &Value, at: &str, closed: bool, wrong: &mut Vec<String>) {
    let schema = resolved(schema);
    if let Some(any) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let fits = |one: &'static Value| {
            let mut wrong = Vec::new();
            check(one, value, at, closed, &mut wrong);
            wrong.is_empty()
        };
        if !any.iter().any(fits) {
            wrong.push(format!("{at}: fits none of what it may be"));
        }
        return;
    }
    if let Some(all) = schema["allOf"].as_array() {
        all.iter().for_each(|one| check(one, value, at, false, wrong));
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is = |kind: &&str| match *kind {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        kind => kind == name_of(value),
    };
    if !types.iter().any(is) {
        wrong.push(format!("{at}: expected {}, got {}", types.join(" or "), name_of(value)));
        return;
    }
    if let Some(options) = schema["enum"].as_array().filter(|options| !options.contains(value)) {
        wrong.push(format!("{at}: expected one of {options:?}"));
    }
    match value {
        Value::Array(items) if !schema["items"].is_null() => {
            items.iter().enumerate().for_each(|(i, item)| check(&schema["items"], item, &format!("{at}/{i}"), closed, wrong));
        }
        Value::Object(members) => object(schema, members, at, closed, wrong),
        _ => {}
    }
}

fn object(schema: &'static Value, members: &Map<String, Value>, at: &str, closed: bool, wrong: &mut Vec<String>) {
    let always = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    wrong.extend(always.filter(|name| !members.contains_key(*name)).map(|name| format!("{at}/{name}: is missing")));
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, value) in members {
        let at = format!("{at}/{name}");
        match (properties.get(name), &schema["additionalProperties"]) {
            (Some(declared), _) => check(declared, value, &at, closed, wrong),
            (None, more @ Value::Object(_)) => check(more, value, &at, closed, wrong),
            (None, _) if closed => wrong.push(format!("{at}: is not declared")),
            (None, _) => {}
        }
    }
}

const fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
