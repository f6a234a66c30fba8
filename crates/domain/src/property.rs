//! Properties: the standard ones every profile has, and the custom attributes a workspace defines.
//!
//! A definition gives a custom attribute its type. The first value written infers one, unless the workspace is strict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::ValidateUrl;

use crate::{
    Issue, Timestamp, country,
    refusal::token,
    text::{Unfit, clean},
};

/// Longest text value, in bytes.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
/// Longest name, of a person or of what they belong to, in bytes.
pub const MAX_NAME: usize = 1_000;
/// Most custom attributes on one profile.
pub const MAX_ATTRIBUTES: usize = 200;
/// Most bytes of custom attributes on one profile, as JSON.
pub const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;
/// Most definitions of a workspace.
pub const MAX_DEFINITIONS: usize = 1_000;
/// From so many on, what a browser says defines no more: its key can be read by anybody, who must not use up what servers need.
pub const MAX_DEFINITIONS_BY_BROWSERS: usize = 500;
/// Integers every JSON reader keeps exactly (RFC 8259 section 6).
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

macro_rules! standard {
    ($($variant:ident $name:literal),+ $(,)?) => {
        /// A property every profile has. Texts; `country`, `language`, `timezone` and `avatar_url` are checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Standard { $($variant),+ }

        impl Standard {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

standard! {
    Name "name", FirstName "first_name", LastName "last_name", Company "company", JobTitle "job_title", Country "country",
    City "city", Language "language", Timezone "timezone", AvatarUrl "avatar_url",
}

impl Standard {
    pub fn parse_name(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.as_str() == text)
    }

    /// Checks and normalises a value; blank is the same as none.
    pub fn parse(self, text: &str) -> Result<Option<String>, Issue> {
        let max = match self {
            Self::Name | Self::FirstName | Self::LastName | Self::Company | Self::JobTitle | Self::City => MAX_NAME,
            Self::Country | Self::Language | Self::Timezone => 100,
            Self::AvatarUrl => 2_048,
        };
        let Some(text) = clean(text, max).map_err(|e| unfit(e, max))? else { return Ok(None) };
        let value = match self {
            Self::Country => country::parse_country(&text)
                .ok_or_else(|| Issue::new("", "invalid_country", "expected an ISO 3166-1 alpha-2 code such as GB")),
            Self::Language => country::parse_language(&text)
                .ok_or_else(|| Issue::new("", "invalid_language", "expected a BCP 47 language tag such as en or pt-BR")),
            Self::Timezone => country::parse_timezone(&text)
                .ok_or_else(|| Issue::new("", "invalid_timezone", "expected an IANA time zone such as Europe/London")),
            Self::AvatarUrl => {
                if text.as_str().validate_url() && (text.starts_with("https://") || text.starts_with("http://")) {
                    Ok(text)
                } else {
                    Err(Issue::new("", "invalid_url", "expected an http or https URL"))
                }
            }
            _ => Ok(text),
        }?;
        Ok(Some(value))
    }
}

fn unfit(e: Unfit, max: usize) -> Issue {
    match e {
        Unfit::Nul => Issue::new("", "nul_character", "U+0000 cannot be stored; remove it"),
        Unfit::TooLong => Issue::new("", "too_long", format!("at most {max} bytes of UTF-8")),
    }
}

/// Type of a custom attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PropertyType {
    Text,
    Number,
    Boolean,
    Date,
    Datetime,
    TextList,
    Enum,
}

impl PropertyType {
    pub const ALL: &'static [Self] = &[Self::Text, Self::Number, Self::Boolean, Self::Date, Self::Datetime, Self::TextList, Self::Enum];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::TextList => "text_list",
            Self::Enum => "enum",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == text)
    }
}

/// How a property counts when duplicates are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    #[default]
    None,
    Exact,
    Text,
    Date,
    Number,
}

impl Match {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exact => "exact",
            Self::Text => "text",
            Self::Date => "date",
            Self::Number => "number",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Exact, Self::Text, Self::Date, Self::Number].into_iter().find(|m| m.as_str() == text)
    }
}

/// The definition of a custom attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub key: String,
    #[serde(rename = "type")]
    pub kind: PropertyType,
    pub label: Option<String>,
    pub description: Option<String>,
    /// What an `enum` may be; empty for every other type.
    pub options: Vec<String>,
    /// Its values are part of the search text.
    pub searchable: bool,
    /// Personal data: left out where only what is needed is shown.
    pub pii: bool,
    #[serde(rename = "match")]
    pub matching: Match,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The definitions of a workspace by key.
pub type Definitions = BTreeMap<String, Definition>;

/// What the custom attributes of one profile take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) number: usize,
    /// As JSON.
    pub(crate) bytes: usize,
}

impl Room {
    pub(crate) fn of(attributes: &BTreeMap<String, Value>) -> Self {
        let bytes = attributes.iter().map(|(key, value)| Self::bytes_of(key, value)).sum();
        Self { number: attributes.len(), bytes }
    }

    fn bytes_of(key: &str, value: &Value) -> usize {
        key.len() + value.to_string().len() + 4
    }

    /// One value in place of another; whether there is room for it. If not, nothing is taken.
    pub(crate) fn take(&mut self, key: &str, former: Option<&Value>, value: Option<&Value>) -> bool {
        let size = |value: Option<&Value>| value.map_or(0, |value| Self::bytes_of(key, value));
        let number = self.number - usize::from(former.is_some()) + usize::from(value.is_some());
        let bytes = self.bytes - size(former) + size(value);
        let grows = number > self.number || bytes > self.bytes;
        let fits = !grows || (number <= MAX_ATTRIBUTES && bytes <= MAX_ATTRIBUTE_BYTES);
        if fits {
            *self = Self { number, bytes };
        }
        fits
    }
}

/// `[A-Za-z][A-Za-z0-9_ .:-]{0,63}`, no space at the end: what partners' systems call their fields.
pub fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.len() <= 64
        && !text.ends_with(' ')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b' '))
}

pub const KEY_RULE: &str = "an attribute name starts with a letter and has at most 64 letters, digits, '_', '-', '.', ':' or spaces";

/// The type a first value suggests; E: nothing can be told from it (`null`, objects, mixed lists).
pub fn infer(value: &Value) -> Option<PropertyType> {
    match value {
        Value::String(text) if Timestamp::parse_date(text).is_some() => Some(PropertyType::Date),
        Value::String(text) if Timestamp::parse(text).is_some() => Some(PropertyType::Datetime),
        Value::String(_) => Some(PropertyType::Text),
        Value::Number(_) => Some(PropertyType::Number),
        Value::Bool(_) => Some(PropertyType::Boolean),
        Value::Array(items) if items.iter().all(Value::is_string) => Some(PropertyType::TextList),
        _ => None,
    }
}

/// Checks a value against its definition and returns it in the one form it is stored in; `None` clears it.
pub fn check(definition: &Definition, value: &Value) -> Result<Option<Value>, Issue> {
    let key = definition.key.as_str();
    let wrong =
        |expected: &str| Err(Issue::new("", "wrong_type", format!("expected {expected} for attributes.{key}, got {}", kind_of(value))));
    match (definition.kind, value) {
        (_, Value::Null) => Ok(None),
        (PropertyType::Text, Value::String(text)) => {
            Ok(clean(text, MAX_TEXT_BYTES).map_err(|e| unfit(e, MAX_TEXT_BYTES))?.map(Value::String))
        }
        (PropertyType::Text, _) => wrong("text"),
        (PropertyType::Enum, Value::String(text)) => {
            let text = clean(text, MAX_TEXT_BYTES).map_err(|e| unfit(e, MAX_TEXT_BYTES))?;
            match text {
                None => Ok(None),
                Some(text) if definition.options.contains(&text) => Ok(Some(Value::String(text))),
                Some(_) => Err(Issue::new("", "not_an_option", format!("attributes.{key} is one of: {}", definition.options.join(", ")))),
            }
        }
        (PropertyType::Enum, _) => wrong("one of the options, as text"),
        (PropertyType::Number, Value::Number(number)) => exact_number(number).map(Some).ok_or_else(|| {
            Issue::new("", "number_out_of_range", format!("attributes.{key}: integers beyond ±(2^53−1) lose digits in JSON; send text"))
        }),
        (PropertyType::Number, _) => wrong("a number"),
        (PropertyType::Boolean, Value::Bool(_)) => Ok(Some(value.clone())),
        (PropertyType::Boolean, _) => wrong("true or false"),
        (PropertyType::Date, Value::String(text)) => match Timestamp::parse_date(text.trim()) {
            Some(_) => Ok(Some(Value::String(text.trim().to_owned()))),
            None => Err(Issue::new("", "invalid_date", format!("expected a date such as 2026-12-01 for attributes.{key}"))),
        },
        (PropertyType::Date, _) => wrong("a date such as 2026-12-01"),
        (PropertyType::Datetime, Value::String(text)) => match Timestamp::parse(text.trim()).or_else(|| Timestamp::parse_date(text.trim()))
        {
            Some(at) => Ok(Some(Value::String(at.short()))),
            None => Err(Issue::new(
                "",
                "invalid_datetime",
                format!("expected an RFC 3339 time such as 2026-12-01T00:00:00Z for attributes.{key}"),
            )),
        },
        (PropertyType::Datetime, _) => wrong("a time such as 2026-12-01T00:00:00Z"),
        (PropertyType::TextList, Value::Array(items)) => {
            let mut out: Vec<Value> = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let Value::String(text) = item else {
                    return Err(Issue::new(
                        format!("/{index}"),
                        "wrong_type",
                        format!("expected text in the list attributes.{key}, got {}", kind_of(item)),
                    ));
                };
                if let Some(text) = clean(text, MAX_TEXT_BYTES).map_err(|e| unfit(e, MAX_TEXT_BYTES).under(&format!("/{index}")))? {
                    let text = Value::String(text);
                    if !out.contains(&text) {
                        out.push(text);
                    }
                }
            }
            if out.len() > 200 {
                return Err(Issue::new("", "too_long", format!("the list attributes.{key} holds at most 200 texts")));
            }
            // An empty list is no value, as a blank text is none.
            Ok((!out.is_empty()).then_some(Value::Array(out)))
        }
        (PropertyType::TextList, _) => wrong("a list of texts"),
    }
}

/// A number in its one spelling (12.0 is 12, -0.0 is 0); E: not finite, or whole and beyond ±(2^53−1).
pub fn exact_number(number: &serde_json::Number) -> Option<Value> {
    let float = number.as_f64().filter(|f| f.is_finite())?;
    if float.fract() != 0.0 {
        return Some(Value::Number(number.clone()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole float beyond i64 saturates, and is out of range either way")]
    let whole = number.as_i64().unwrap_or(float as i64);
    (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(&whole).then(|| Value::from(whole))
}

/// What a JSON value is, in the words of an error message.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The pointer of an attribute in a request body.
pub fn pointer(key: &str) -> String {
    format!("/attributes/{}", token(key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Definition, Match, PropertyType, check, infer, is_key};
    use crate::Timestamp;

    fn definition(kind: PropertyType) -> Definition {
        Definition {
            key: "x".into(),
            kind,
            label: None,
            description: None,
            options: vec!["a".into(), "b".into()],
            searchable: false,
            pii: false,
            matching: Match::None,
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
        }
    }

    #[test]
    fn a_first_value_tells_its_type() {
        for (value, kind) in [
            (json!("pro"), Some(PropertyType::Text)),
            (json!("2026-12-01"), Some(PropertyType::Date)),
            (json!("2026-12-01T00:00:00Z"), Some(PropertyType::Datetime)),
            (json!(12), Some(PropertyType::Number)),
            (json!(true), Some(PropertyType::Boolean)),
            (json!(["a"]), Some(PropertyType::TextList)),
            (json!([1]), None),
            (json!({"a": 1}), None),
            (json!(null), None),
        ] {
            assert_eq!(infer(&value), kind, "{value}");
        }
    }

    #[test]
    fn values_are_stored_in_one_form_or_refused() {
        let ok = |kind, value: Value| check(&definition(kind), &value).ok().flatten();
        assert_eq!(ok(PropertyType::Number, json!(12.0)), Some(json!(12)));
        assert_eq!(ok(PropertyType::Number, json!(-0.0)), Some(json!(0)));
        assert_eq!(ok(PropertyType::Number, json!(0.1)), Some(json!(0.1)));
        assert_eq!(ok(PropertyType::Datetime, json!("2026-12-01T01:00:00+01:00")), Some(json!("2026-12-01T00:00:00Z")));
        assert_eq!(ok(PropertyType::TextList, json!(["a", " a ", "b", ""])), Some(json!(["a", "b"])));
        assert_eq!(ok(PropertyType::Text, json!("  ")), None);
        for (kind, value, code) in [
            (PropertyType::Number, json!("12"), "wrong_type"),
            (PropertyType::Number, json!(9_007_199_254_740_992_i64), "number_out_of_range"),
            (PropertyType::Number, json!(1e17), "number_out_of_range"),
            (PropertyType::Enum, json!("c"), "not_an_option"),
            (PropertyType::Date, json!("2026-13-01"), "invalid_date"),
            (PropertyType::Text, json!("a\u{0}b"), "nul_character"),
            (PropertyType::TextList, json!(["a", 1]), "wrong_type"),
        ] {
            assert_eq!(check(&definition(kind), &value).err().map(|i| i.code), Some(code), "{value}");
        }
    }

    #[test]
    fn attribute_names_are_plain() {
        for (key, fine) in [
            ("plan", true),
            ("Trial ends", true),
            ("a.b:c-d_e", true),
            ("1a", false),
            ("a'b", false),
            ("a\"", false),
            ("", false),
            ("a ", false),
        ] {
            assert_eq!(is_key(key), fine, "{key}");
        }
    }
}
