//! The body of a tracking SDK: packed or not, in whatever state a page left its texts, read as far as it can be.

use std::{borrow::Cow, collections::BTreeMap, io::Read as _};

use actix_web::{HttpRequest, web::Payload};
use flate2::read::GzDecoder;
use people_store::Idempotency;
use serde::Deserialize as _;
use serde_json::{Map, Value, value::RawValue};

use super::{invalid, message::Rejected};
use crate::{
    extract::{fingerprint, idempotency_key, read_all},
    problem::{ApiResult, Kind, Problem},
    profiles::body::MANY,
};

/// Deepest nesting of objects and lists.
const MAX_DEPTH: usize = 200;

/// A body as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) value: Value,
    /// Messages of a batch that are none, by their place. They spoil no other.
    pub(super) unreadable: BTreeMap<usize, Rejected>,
    /// The key under which the request may be sent again.
    pub(super) idempotency: Option<Idempotency>,
}

/// The body, unpacked; E: 400, since SDKs would send a 413 again.
pub(super) async fn read(request: &HttpRequest, payload: Payload) -> ApiResult<Read> {
    let too_large = || invalid("too_large", format!("A request has at most {MANY} bytes, unpacked."));
    let bytes = read_all(request.headers(), payload.into_inner(), MANY).await.map_err(|problem| match problem.kind {
        Kind::BodyTooLarge => too_large(),
        // It may come through the next time; not every SDK tries again after a 408.
        Kind::RequestTimeout => Problem { retry_after: Some(1), ..Problem::new(Kind::Unavailable, problem.detail) },
        _ => problem,
    })?;
    let idempotency = idempotency_key(request)?.map(|key| Idempotency { key, fingerprint: fingerprint(request, &bytes) });
    let coding = request.headers().get("Content-Encoding").map(|v| v.to_str().unwrap_or_default().trim().to_ascii_lowercase());
    let bytes = match coding.as_deref() {
        None | Some("" | "identity") => bytes,
        Some("gzip") => {
            let mut out = Vec::new();
            let limit = u64::try_from(MANY).unwrap_or(u64::MAX).saturating_add(1);
            let unpacked = GzDecoder::new(bytes.as_slice()).take(limit).read_to_end(&mut out);
            unpacked.map_err(|_| invalid("invalid_gzip", "The body is not gzip, as its Content-Encoding says."))?;
            if out.len() > MANY {
                return Err(too_large());
            }
            out
        }
        Some(_) => return Err(invalid("unsupported_encoding", "The body is sent as it is, or as gzip.")),
    };
    parse(&bytes).map(|read| Read { idempotency, ..read }).map_err(|why| invalid(why.code, why.message))
}

/// JSON, also where a page cut a text in the middle of a character, or a message of a batch cannot be read: the one must not
/// cost the other.
fn parse(bytes: &[u8]) -> Result<Read, Rejected> {
    let whole = std::str::from_utf8(bytes).map_err(|_| malformed()).and_then(value);
    let mut read = match whole {
        Ok(value) => Read { value, ..Read::default() },
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            let text = without_halves(&text);
            value(&text).map(|value| Read { value, ..Read::default() }).or_else(|why| piecewise(&text).ok_or(why))?
        }
    };
    strip(&mut read.value);
    Ok(read)
}

fn malformed() -> Rejected {
    Rejected::new("malformed_json", "This is not JSON.")
}

fn value(text: &str) -> Result<Value, Rejected> {
    if depth(text) > MAX_DEPTH {
        return Err(Rejected::new("too_deep", format!("JSON may be nested at most {MAX_DEPTH} deep.")));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    // How deep it goes is known by now.
    reader.disable_recursion_limit();
    let read = Value::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        if error.to_string().contains("number out of range") {
            Rejected::new("number_out_of_range", "A number is too large to be kept; send it as text.")
        } else {
            malformed()
        }
    })
}

/// A batch of which some messages cannot be read; `None`: it is not a batch, or no message of it can be told from the others.
fn piecewise(text: &str) -> Option<Read> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let mut body = Map::new();
    let mut unreadable = BTreeMap::new();
    for (name, member) in members {
        let read = if name == "batch" {
            let items: Vec<&RawValue> = serde_json::from_str(member.get()).ok()?;
            let read = |(at, item): (usize, &RawValue)| {
                value(item.get()).unwrap_or_else(|why| {
                    unreadable.insert(at, why);
                    Value::Null
                })
            };
            Value::Array(items.into_iter().enumerate().map(read).collect())
        } else {
            value(member.get()).ok()?
        };
        body.insert(name, read);
    }
    (!unreadable.is_empty()).then(|| Read { value: Value::Object(body), unreadable, ..Read::default() })
}

/// How deep objects and lists are nested, at most; of what is not JSON, anything.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Half a surrogate pair, as JavaScript writes it, becomes U+FFFD: it is no character (RFC 8259 section 8.2).
fn without_halves(json: &str) -> Cow<'_, str> {
    const UNIT: usize = r"\u0000".len();
    let unit = |at: usize| {
        let digits = json.get(at..at + UNIT)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        match (unit(at), unit(at + UNIT)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 2 * UNIT,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str(&json[copied..at]);
                out.push_str("\\ufffd");
                at += UNIT;
                copied = at;
            }
            (Some(_), _) => at += UNIT,
            // Another escape: what it escapes is no beginning of one. It may be a character of several bytes in bad JSON.
            (None, _) => at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    if copied == 0 {
        return json.into();
    }
    out.push_str(&json[copied..]);
    out.into()
}

/// Takes out U+0000, which no database keeps: SDKs pass on whatever a page had.
pub(super) fn strip(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Object(members) => {
            if members.keys().any(|key| key.contains('\0')) {
                let old = std::mem::take(members);
                members.extend(old.into_iter().map(|(key, value)| (key.replace('\0', ""), value)));
            }
            members.values_mut().for_each(strip);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::{Value, json};

    use super::{depth, parse, without_halves};

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap_or_default().value
    }

    #[test]
    fn a_message_that_is_none_spoils_no_other() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let batch = |item: &str| format!(r#"{{"batch": [{{"type": "page"}}, {item}], "sentAt": "x", "context": {{}}}}"#);
        for (item, code) in [(deep(201), "too_deep"), (r#"{"n": 1e400}"#.to_owned(), "number_out_of_range")] {
            let read = parse(batch(&item).as_bytes()).unwrap_or_default();
            assert_eq!(read.value["batch"], json!([{"type": "page"}, null]));
            assert_eq!(read.unreadable.iter().map(|(at, why)| (*at, why.code)).collect::<Vec<_>>(), [(1, code)]);
        }
        assert!(parse(batch(&deep(198)).as_bytes()).unwrap_or_default().unreadable.is_empty(), "as deep as may be");
        let code = |text: &str| parse(text.as_bytes()).err().map(|why| why.code);
        assert_eq!(code(&batch("{]")), Some("malformed_json"));
        assert_eq!(code(r#"{"a": 1e400}"#), Some("number_out_of_range"));
        assert_eq!(code(&format!(r#"{{"batch": [], "context": {}}}"#, deep(201))), Some("too_deep"));
        assert_eq!(depth(r#"{"a": "[[\"[[", "b": [{}]}"#), 3);
    }

    #[test]
    fn half_a_character_costs_nothing_else() {
        assert_eq!(
            read(r#"{"a": "x\ud83d", "b": "\ud83d\ude00", "c": "\ude00y"}"#),
            json!({"a": "x\u{FFFD}", "b": "😀", "c": "\u{FFFD}y"})
        );
        assert_eq!(
            read(r#"{"a": "\\ud83d", "b": "\ud83d"}"#),
            json!({"a": r"\ud83d", "b": "\u{FFFD}"}),
            "an escaped backslash begins nothing"
        );
        assert_eq!(parse(b"{\"a\": \"\xff\"}").unwrap_or_default().value, json!({"a": "\u{FFFD}"}));
        assert!(parse(b"{\"a\": \\").is_err() && parse("\\ü".as_bytes()).is_err());
        assert_eq!(parse("[".repeat(201).as_bytes()).err().map(|why| why.code), Some("too_deep"));
    }

    proptest! {
        #[test]
        fn whole_texts_are_left_alone(text in any::<String>()) {
            let json = Value::from(text).to_string();
            assert_eq!(without_halves(&json), json);
        }

        #[test]
        fn no_text_makes_it_stumble(text in "[\\\\ud8c0fF\"ü{}]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
