//! The body of a tracking SDK: packed or not, in whatever state a page left its texts, read as far as it can be.

use std::{borrow::Cow, io::Read as _};

use actix_web::{HttpRequest, web::Payload};
use flate2::read::GzDecoder;
use serde::Serialize;
use serde_json::Value;

use super::invalid;
use crate::{
    extract::read_all,
    problem::{ApiResult, Kind, Problem},
    profiles::body::MANY,
};

/// The body, unpacked; E: 400, since SDKs would send a 413 again.
pub(super) async fn read(request: &HttpRequest, payload: Payload) -> ApiResult<Value> {
    let too_large = || invalid("too_large", format!("A request has at most {MANY} bytes, unpacked."));
    let bytes = read_all(request.headers(), payload.into_inner(), MANY).await.map_err(|problem| match problem.kind {
        Kind::BodyTooLarge => too_large(),
        // It may come through the next time; not every SDK tries again after a 408.
        Kind::RequestTimeout => Problem { retry_after: Some(1), ..Problem::new(Kind::Unavailable, problem.detail) },
        _ => problem,
    })?;
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
    parse(&bytes)
}

/// JSON, also where a page cut a text in the middle of a character: one such text must not cost the whole batch.
fn parse(bytes: &[u8]) -> ApiResult<Value> {
    let read = serde_json::from_slice(bytes).or_else(|_| serde_json::from_str(&without_halves(&String::from_utf8_lossy(bytes))));
    let mut value: Value = read.map_err(|error| {
        if error.to_string().contains("recursion limit") {
            invalid("too_deep", "The JSON is nested too deep.")
        } else {
            invalid("malformed_json", "The body is not JSON.")
        }
    })?;
    strip(&mut value);
    Ok(value)
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

/// How many bytes of JSON a value takes, without writing them anywhere.
pub(super) fn size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::{Value, json};

    use super::{parse, size, without_halves};

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap_or_default()
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
        assert_eq!(parse(b"{\"a\": \"\xff\"}").unwrap_or_default(), json!({"a": "\u{FFFD}"}));
        assert!(parse(b"{\"a\": \\").is_err() && parse("\\ü".as_bytes()).is_err());
        assert_eq!(parse("[".repeat(200).as_bytes()).err().map(|p| p.errors[0].code), Some("too_deep"));
        assert_eq!(size(&json!({"a": "ü"})), r#"{"a":"ü"}"#.len());
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
