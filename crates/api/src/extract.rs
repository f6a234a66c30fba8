//! Reading requests: JSON bodies, query strings, ids and conditional headers, each mistake at its place.

use std::{future::Future, pin::Pin, time::Duration};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::HeaderMap};
use futures_util::StreamExt as _;
use people_domain::{Issue, refusal::token};
use people_store::Idempotency;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    json,
    problem::{ApiResult, Kind, Problem},
};

pub const MIB: usize = 1024 * 1024;
/// Longest time a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// A body with a shape of its own.
pub trait Shape: DeserializeOwned + 'static {
    /// Most bytes.
    const LIMIT: usize = MIB;

    /// Media types it is read from.
    const MEDIA: &'static [&'static str] = &["application/json"];

    /// The member that holds a list whose items are read later, each by itself; such items are handed over as they came.
    const LIST: Option<&'static str> = None;

    /// Takes the items of that list, where the body has one; E: what is wrong with the JSON of an item, at its place in it.
    fn hold(&mut self, _items: Vec<ApiResult<Value>>) {}

    /// Mistakes worth a better word than "unknown field".
    fn notice(_body: &Value) -> Vec<Issue> {
        Vec::new()
    }
}

/// A JSON body, and what identifies the request for a retry.
#[derive(Debug)]
pub struct Body<T> {
    pub value: T,
    digest: String,
}

impl<T: Shape> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = ApiResult<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            is_json(request.headers(), T::MEDIA)?;
            let bytes = read_all(request.headers(), payload, T::LIMIT).await?;
            let (mut value, held) = match json::parse(&bytes) {
                Ok(value) => (value, None),
                // What is wrong with one item costs no other.
                Err(problem) => {
                    let (value, items) = T::LIST.and_then(|list| json::by_items(&bytes, list)).ok_or(problem)?;
                    (value, Some(items))
                }
            };
            if !value.is_object() {
                let detail = format!("expected a JSON object, got {}", people_domain::property::kind_of(&value));
                return Err(Problem::invalid(vec![Issue::new("", "wrong_type", detail)]));
            }
            let noticed = T::notice(&value);
            if !noticed.is_empty() {
                return Err(Problem::invalid(noticed));
            }
            let digest = fingerprint(&request, &bytes);
            let items = match T::LIST.and_then(|list| value.get_mut(list)) {
                Some(Value::Array(items)) => std::mem::take(items),
                _ => Vec::new(),
            };
            let mut value: T = typed(value)?;
            value.hold(held.unwrap_or_else(|| items.into_iter().map(Ok).collect()));
            Ok(Self { value, digest })
        })
    }
}

impl<T> Body<T> {
    /// The key under which this request may be sent again.
    pub fn idempotency(&self, request: &HttpRequest) -> ApiResult<Option<Idempotency>> {
        Ok(idempotency_key(request)?.map(|key| Idempotency { key, fingerprint: self.digest.clone() }))
    }
}

/// What a request is recognised by when it comes again under the same key.
pub fn fingerprint(request: &HttpRequest, body: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(request.method().as_str());
    digest.update([0]);
    digest.update(request.path());
    digest.update([0]);
    digest.update(body);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `Idempotency-Key` header, checked.
pub fn idempotency_key(request: &HttpRequest) -> ApiResult<Option<String>> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Problem::at(Kind::InvalidHeader, "Idempotency-Key", "invalid_header", "Expected 1 to 255 printable ASCII characters.")
    })
}

fn is_json(headers: &HeaderMap, media: &[&str]) -> ApiResult<()> {
    let sent = headers.get("Content-Type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = sent.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let readable = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        _ => true,
    });
    if !media.contains(&essence) || !readable {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!("Send the body as `Content-Type: {}`, in UTF-8.", media.join("` or `")),
        ));
    }
    match headers.get("Content-Encoding") {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::new(Kind::UnsupportedMediaType, "Send the body without a Content-Encoding."))
        }
        _ => Ok(()),
    }
}

/// Reads a body of at most `limit` bytes.
pub async fn read_all(headers: &HeaderMap, mut payload: Payload, limit: usize) -> ApiResult<Vec<u8>> {
    let too_large = || Problem::new(Kind::BodyTooLarge, format!("A body here has at most {limit} bytes; send less at a time."));
    let announced = headers.get("Content-Length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let read = async {
        let mut bytes = Vec::with_capacity(announced.unwrap_or(1024).min(limit));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Kind::BadRequest, "The body broke off."))?;
            if bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_DEADLINE, read)
        .await
        .unwrap_or_else(|_| Err(Problem::new(Kind::RequestTimeout, format!("A body arrives within {} seconds.", BODY_DEADLINE.as_secs()))))
}

/// Gives a value its type; E: 422 with the pointer.
pub fn typed<T: DeserializeOwned>(value: Value) -> ApiResult<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer: String = error
            .path()
            .iter()
            .map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => format!("/{index}"),
                serde_path_to_error::Segment::Map { key } => format!("/{}", token(key)),
                serde_path_to_error::Segment::Enum { variant } => format!("/{}", token(variant)),
                serde_path_to_error::Segment::Unknown => String::new(),
            })
            .collect();
        let (code, detail) = explain(&error.inner().to_string());
        Problem::invalid(vec![Issue::new(pointer, code, detail)])
    })
}

/// The driver's words without the value that was sent.
fn explain(message: &str) -> (&'static str, String) {
    let expected = message.rsplit_once("expected ").map_or("something else", |(_, expected)| expected);
    if message.starts_with("unknown field") {
        let expected = if message.contains("there are no fields") { "nothing" } else { expected.trim_start_matches("one of ") };
        ("unknown_field", format!("not expected here; allowed: {}", expected.replace('`', "")))
    } else if message.starts_with("missing field") {
        ("missing_field", message.replace('`', "").replacen("missing field", "this is missing:", 1))
    } else if message.starts_with("unknown variant") {
        ("not_an_option", format!("expected {}", expected.replace('`', "")))
    } else if message.starts_with("invalid type") || message.starts_with("invalid value") || message.starts_with("invalid length") {
        ("wrong_type", format!("expected {}", in_words(expected)))
    } else if message.starts_with("UUID parsing failed") {
        ("wrong_type", "expected an id, a UUID such as 0192f0c1-7d7e-7aaa-8000-000000000001".to_owned())
    } else if message.contains("parse") && message.contains("float") {
        ("wrong_type", "expected a number".to_owned())
    } else if ["invalid digit", "number too", "cannot parse integer"].iter().any(|words| message.contains(words)) {
        ("wrong_type", "expected a whole number".to_owned())
    } else if message.contains("was not `true` or `false`") {
        ("wrong_type", "expected true or false".to_owned())
    } else {
        ("invalid_value", message.to_owned())
    }
}

/// The names of our shapes, and of the language's, say nothing to others.
fn in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "a JSON object",
        "a boolean" => "true or false",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        shape if shape.starts_with("struct ") => "a JSON object",
        words if words.starts_with("\"true\"") => "true or false",
        words => words,
    }
}

/// The query string as a typed struct; every parameter known, none twice that is single.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(read_query(request.query_string()).map(Self))
    }
}

fn read_query<T: DeserializeOwned>(query: &str) -> ApiResult<T> {
    let invalid = |name: &str, detail: String| Problem::query(name, &detail);
    let decoded = percent_encoding::percent_decode_str(query)
        .decode_utf8()
        .map_err(|_| invalid("", "The query string is not UTF-8 once its escapes are read.".to_owned()))?;
    if decoded.contains('\0') {
        return Err(invalid("", "U+0000 cannot be part of a parameter.".to_owned()));
    }
    // An empty value is no value: only what is typed by people may be empty.
    if let Some((name, _)) = form_pairs(query).find(|(name, value)| value.is_empty() && !name.is_empty() && name != "q") {
        return Err(invalid(&name, "this parameter needs a value, or is left out".to_owned()));
    }
    let deserializer = serde_html_form::Deserializer::new(form_pairs(query));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let name = error.path().to_string();
        let name = if name == "." { "" } else { &name };
        let is_repeated = form_pairs(query).filter(|(given, _)| given == name).count() > 1;
        let message = error.inner().to_string();
        let detail = if is_repeated && message.contains("unsupported value") {
            "this parameter is given once".to_owned()
        } else {
            explain(&message).1
        };
        invalid(name, detail)
    })
}

fn form_pairs(query: &str) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.as_bytes())
}

/// No query string at all.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// An id in the path; anything that is not a UUID is not found.
pub fn id(text: &str) -> ApiResult<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36).ok_or_else(Problem::not_found)
}

/// `If-Match: "7"`: the versions a change is meant for. `*` asks only that there is one; weak tags match nothing
/// (RFC 9110 section 13.1.1).
pub fn if_match(request: &HttpRequest) -> ApiResult<Option<Vec<u64>>> {
    let Some(value) = request.headers().get("If-Match") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for part in text.split(',').map(str::trim) {
        let opaque = part.strip_prefix("W/").unwrap_or(part);
        let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        if inner.is_none_or(|inner| inner.contains('"')) {
            return Err(Problem::at(Kind::InvalidHeader, "If-Match", "invalid_header", "Expected the ETag of the profile, such as \"7\"."));
        }
        // A tag that is none of ours matches nothing.
        versions.extend(tag(part));
    }
    Ok(Some(versions))
}

/// A member that may be absent, but not `null`.
pub fn not_null<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn tag(text: &str) -> Option<u64> {
    text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// A member of a JSON object that may be absent, `null` or there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sent<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Sent<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer)? {
            Some(value) => Self::Value(value),
            None => Self::Null,
        })
    }
}

impl<T> Sent<T> {
    /// Absent keeps (`None`), `null` clears (`Some(None)`).
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    pub fn value(self) -> Option<T> {
        self.into_option().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{Sent, read_query, typed};

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Patch {
        #[serde(default)]
        name: Sent<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Params {
        #[serde(default)]
        label: Vec<String>,
        limit: Option<i64>,
        count: Option<bool>,
    }

    #[test]
    fn absent_null_and_value_are_three_things() {
        let patch = |text: &str| typed::<Patch>(serde_json::from_str(text).unwrap_or_default()).map(|p| p.name).map_err(|p| p.errors);
        assert_eq!(patch("{}"), Ok(Sent::Absent));
        assert_eq!(patch(r#"{"name": null}"#), Ok(Sent::Null));
        assert_eq!(patch(r#"{"name": "x"}"#), Ok(Sent::Value("x".into())));
        let wrong = patch(r#"{"name": 1}"#).err().unwrap_or_default();
        assert_eq!((wrong[0].pointer.as_str(), wrong[0].code, wrong[0].detail.as_str()), ("/name", "wrong_type", "expected a string"));
        let unknown = patch(r#"{"nme": 1}"#).err().unwrap_or_default();
        assert_eq!((unknown[0].pointer.as_str(), unknown[0].code), ("/nme", "unknown_field"));
    }

    #[test]
    fn parameters_repeat_only_where_they_may() {
        let read = |query: &str| read_query::<Params>(query).map_err(|p| p.errors[0].pointer.clone());
        assert_eq!(read("label=a&label=b&limit=5"), Ok(Params { label: vec!["a".into(), "b".into()], limit: Some(5), count: None }));
        assert_eq!(read("label=a%20b"), Ok(Params { label: vec!["a b".into()], limit: None, count: None }));
        let told = |query: &str| read_query::<Params>(query).err().map(|p| (p.errors[0].pointer.clone(), p.errors[0].detail.clone()));
        for (query, detail) in [
            ("limit=1&limit=2", "this parameter is given once"),
            ("limit=x", "expected a whole number"),
            ("limit=1.5", "expected a whole number"),
            ("limit=99999999999999999999", "expected a whole number"),
            ("count=maybe", "expected true or false"),
        ] {
            let name = query.split('=').next().unwrap_or_default();
            assert_eq!(told(query), Some((name.to_owned(), detail.to_owned())), "{query}");
        }
        assert!(read("nonsense=1").is_err());
        assert!(read("limit=x").is_err());
        assert!(read("label=%00").is_err());
        assert!(read("label=%FF").is_err());
    }
}
