//! Reading JSON strictly: no duplicate members, bounded depth, no U+0000, no unpaired surrogates, numbers as they are.
//!
//! Two engines and many clients read the same text; what one of them would read differently is refused here, with the
//! place. After this a body is a [`Value`] that means one thing.

use std::fmt;

use people_domain::{Issue, refusal::token};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::problem::{Kind, Problem};

/// Deepest nesting of objects and lists.
pub const MAX_DEPTH: usize = 32;

const DUPLICATE: &str = "\u{1}duplicate ";
const DEEP: &str = "\u{1}deep ";

/// Parses a whole body.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Problem::new(Kind::MalformedJson, "The body is not UTF-8 (RFC 8259 section 8.1); send it as UTF-8 without a byte order mark.")
    })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Node { depth: 1, pointer: String::new() }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = read.map_err(|error| explain(&error))?;
    let mut issues = Vec::new();
    find_nul(&value, &mut String::new(), &mut issues);
    if issues.is_empty() { Ok(value) } else { Err(Problem::invalid(issues)) }
}

fn explain(error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    if let Some(at) = message.strip_prefix(DUPLICATE) {
        let pointer = at.rsplit_once(" at line ").map_or(at, |(pointer, _)| pointer);
        return Problem::at(Kind::DuplicateKey, pointer, "duplicate_key", "This member is named twice in one object; keep one of them.");
    }
    if message.starts_with(DEEP) || message.contains("recursion limit") {
        return Problem::new(Kind::TooDeep, format!("JSON may be nested at most {MAX_DEPTH} deep."));
    }
    if message.contains("surrogate") || message.contains("unexpected end of hex escape") {
        return Problem::at(
            Kind::ValidationFailed,
            "",
            "unpaired_surrogate",
            format!(
                "Half of a surrogate pair (\\uD800 to \\uDFFF) stands alone at line {}, column {}; it is no character.",
                error.line(),
                error.column()
            ),
        );
    }
    if message.contains("number out of range") {
        return Problem::at(
            Kind::ValidationFailed,
            "",
            "number_out_of_range",
            "A number is too large to be kept exactly; send it as text.",
        );
    }
    Problem::new(Kind::MalformedJson, format!("The body stops being JSON at line {}, column {}.", error.line(), error.column()))
}

fn find_nul(value: &Value, pointer: &mut String, issues: &mut Vec<Issue>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            issues.push(Issue::new(pointer.clone(), "nul_character", "U+0000 cannot be stored; remove it"));
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let length = pointer.len();
                pointer.push_str(&format!("/{i}"));
                find_nul(item, pointer, issues);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, item) in members {
                let length = pointer.len();
                pointer.push('/');
                pointer.push_str(&token(&key.replace('\0', "\u{FFFD}")));
                if key.contains('\0') {
                    issues.push(Issue::new(pointer.clone(), "nul_character", "U+0000 cannot be part of a name; remove it"));
                }
                find_nul(item, pointer, issues);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

struct Node {
    depth: usize,
    pointer: String,
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(A::Error::custom(DEEP));
        }
        let mut items = Vec::new();
        while let Some(item) =
            seq.next_element_seed(Node { depth: self.depth + 1, pointer: format!("{}/{}", self.pointer, items.len()) })?
        {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        if self.depth > MAX_DEPTH {
            return Err(A::Error::custom(DEEP));
        }
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let pointer = format!("{}/{}", self.pointer, token(&key));
            if members.contains_key(&key) {
                return Err(A::Error::custom(format!("{DUPLICATE}{pointer}")));
            }
            let value = map.next_value_seed(Node { depth: self.depth + 1, pointer })?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn code(text: &str) -> Option<String> {
        parse(text.as_bytes()).err().map(|p| p.errors.first().map_or(p.kind.code(), |e| e.code).to_owned())
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for (text, expected) in [
            (r#"{"a": 1, "a": 2}"#, Some("duplicate_key")),
            (r#"{"a": "x\u0000y"}"#, Some("nul_character")),
            (r#"{"a\u0000": 1}"#, Some("nul_character")),
            (r#"{"a": "\ud800"}"#, Some("unpaired_surrogate")),
            (r#"{"a": "\udc00x"}"#, Some("unpaired_surrogate")),
            (r#"{"a": "\ud83d\ude00"}"#, None),
            (r#"{"a": 1e999}"#, Some("number_out_of_range")),
            (r#"{"a": }"#, Some("malformed_json")),
            (r#"{} {}"#, Some("malformed_json")),
            ("", Some("malformed_json")),
            ("\u{feff}{}", Some("malformed_json")),
        ] {
            assert_eq!(code(text).as_deref(), expected, "{text}");
        }
        assert_eq!(code(&("[".repeat(33) + &"]".repeat(33))).as_deref(), Some("too_deep"));
        assert_eq!(code(&("[".repeat(32) + &"]".repeat(32))), None);
        assert_eq!(code(&"[".repeat(100_000)).as_deref(), Some("too_deep"));
    }
}
