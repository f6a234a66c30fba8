//! Reading JSON strictly: no duplicate members, bounded depth, no U+0000, no unpaired surrogates, numbers as they are.
//!
//! Two engines and many clients read the same text; what one of them would read differently is refused here, with the
//! place. After this a body is a [`Value`] that means one thing.

use std::{fmt, io};

use people_domain::{Issue, refusal::token};
use serde::{
    Serialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{
    Map, Number, Value,
    map::Entry,
    ser::{Formatter, Serializer},
    value::RawValue,
};

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
    read(text, 1)
}

/// A body of which some items of a list cannot be read, which spoil no others: the rest of it, with the list empty, and the items, each
/// by itself, with places in it. `None`: it is no such body, or what is wrong stands elsewhere.
pub fn by_items(bytes: &[u8], list: &str) -> Option<(Value, Vec<Result<Value, Problem>>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let Members(members) = serde_json::from_str(text).ok()?;
    let mut rest = Map::new();
    let mut items = Vec::new();
    for (name, member) in members {
        let member = if name == list {
            let raw: Vec<&RawValue> = serde_json::from_str(member.get()).ok()?;
            items = raw.into_iter().map(|item| read(item.get(), 3)).collect();
            Value::Array(Vec::new())
        } else {
            read(member.get(), 2).ok()?
        };
        if rest.insert(name, member).is_some() {
            return None;
        }
    }
    items.iter().any(Result::is_err).then_some((Value::Object(rest), items))
}

/// The members of an object, as they are written.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Parses a value that is nested so deep.
fn read(text: &str, depth: usize) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Node { depth, place: &Place::Root }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = read.map_err(|error| explain(&error))?;
    // JSON has no other way to write it.
    if text.contains("\\u0000") {
        let mut issues = Vec::new();
        find_nul(&value, &Place::Root, &mut issues);
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
    }
    Ok(value)
}

/// Where a value stands. It becomes a pointer (RFC 6901) only where there is something to say of it.
enum Place<'p> {
    Root,
    Item(&'p Place<'p>, usize),
    Member(&'p Place<'p>, &'p str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Item(of, at) => write!(f, "{of}/{at}"),
            Self::Member(of, name) => write!(f, "{of}/{}", token(&name.replace('\0', "\u{FFFD}"))),
        }
    }
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

fn find_nul(value: &Value, place: &Place<'_>, issues: &mut Vec<Issue>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            issues.push(Issue::new(place.to_string(), "nul_character", "U+0000 cannot be stored; remove it"));
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                find_nul(item, &Place::Item(place, i), issues);
            }
        }
        Value::Object(members) => {
            for (key, item) in members {
                let place = Place::Member(place, key);
                if key.contains('\0') {
                    issues.push(Issue::new(place.to_string(), "nul_character", "U+0000 cannot be part of a name; remove it"));
                }
                find_nul(item, &place, issues);
            }
        }
        _ => {}
    }
}

struct Node<'p> {
    depth: usize,
    place: &'p Place<'p>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
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
        while let Some(item) = seq.next_element_seed(Node { depth: self.depth + 1, place: &Place::Item(self.place, items.len()) })? {
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
            let free = match members.entry(key) {
                Entry::Vacant(free) => free,
                Entry::Occupied(taken) => {
                    return Err(A::Error::custom(format!("{DUPLICATE}{}", Place::Member(self.place, taken.key()))));
                }
            };
            let value = map.next_value_seed(Node { depth: self.depth + 1, place: &Place::Member(self.place, free.key()) })?;
            free.insert(value);
        }
        Ok(Value::Object(members))
    }
}

/// How many bytes of JSON a value takes, without writing them anywhere. Numbers count with all their digits, as PostgreSQL writes
/// them: `1e308` takes three hundred and nine.
pub fn size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct WrittenOut;
    impl Formatter for WrittenOut {
        fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
            write!(writer, "{value}")
        }
    }
    let mut counter = Counter(0);
    let mut writer = Serializer::with_formatter(&mut counter, WrittenOut);
    value.serialize(&mut writer).map_or(usize::MAX, |()| counter.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{by_items, parse, size};

    fn code(text: &str) -> Option<String> {
        parse(text.as_bytes()).err().map(|p| p.errors.first().map_or(p.kind.code(), |e| e.code).to_owned())
    }

    #[test]
    fn the_place_is_told() {
        for (text, expected) in [
            (r#"{"a": [{}, {"b/c": {"d": 1, "d": 2}}]}"#, "/a/1/b~1c/d"),
            (r#"[[], ["x", "\u0000"]]"#, "/1/1"),
            (r#"{"~": [{"a\u0000": 1}]}"#, "/~0/0/a\u{FFFD}"),
        ] {
            let problem = parse(text.as_bytes()).expect_err("it is refused");
            let pointers: Vec<&str> = problem.errors.iter().map(|issue| issue.pointer.as_str()).collect();
            assert_eq!(pointers, [expected], "{text}");
        }
    }

    #[test]
    fn an_item_that_cannot_be_read_spoils_no_other() {
        let (rest, items) = by_items(br#"{"a": 1, "items": [{"b": 2}, {"c": {"d": "\u0000"}}, {"e": 1, "e": 2}]}"#, "items").expect("read");
        assert_eq!(rest, json!({"a": 1, "items": []}));
        assert_eq!(items[0].as_ref().ok(), Some(&json!({"b": 2})));
        let pointers: Vec<&str> = items.iter().filter_map(|item| Some(item.as_ref().err()?.errors.first()?.pointer.as_str())).collect();
        assert_eq!(pointers, ["/c/d", "/e"]);
        let nested = |n: usize| format!(r#"{{"items": [1, {}{}]}}"#, "[".repeat(n), "]".repeat(n));
        assert!(by_items(nested(30).as_bytes(), "items").is_none(), "nothing is wrong with it");
        assert!(by_items(nested(31).as_bytes(), "items").is_some_and(|(_, items)| items[0].is_ok() && items[1].is_err()));
        for elsewhere in [r#"{"a": "\u0000", "items": [1e999]}"#, r#"{"items": [1e999], "items": []}"#, r#"{"items": [}"#, "[1e999]"] {
            assert!(by_items(elsewhere.as_bytes(), "items").is_none(), "{elsewhere}");
        }
    }

    #[test]
    fn numbers_take_all_their_digits() {
        assert_eq!(size(&json!({"a": "ü", "b": [1, 1.5]})), r#"{"a":"ü","b":[1,1.5]}"#.len());
        assert_eq!((size(&json!(1e308)), size(&json!(-1e-300))), (309, 303));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for (text, expected) in [
            (r#"{"a": 1, "a": 2}"#, Some("duplicate_key")),
            (r#"{"a": "x\\u0000y"}"#, None),
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
