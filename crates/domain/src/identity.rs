//! Identity keys: how a person is recognised.
//!
//! A key is a kind and a normalised value; a pair belongs to at most one profile of a workspace. What was typed is kept
//! beside it as `raw`. Phone numbers are stored once, in E.164, and *matched* through [`IdentityKey::variants`]: the
//! spellings one line is known by are never rewritten into each other.

use std::{borrow::Cow, fmt};

use email_address::{EmailAddress, Options};
use phonenumber::{Mode, country::Id as Country, metadata::DATABASE};
use serde::{Deserialize, Deserializer, Serialize, de};
use unicode_normalization::UnicodeNormalization;

use crate::{
    Issue, Timestamp,
    text::{Unfit, clean, is_invisible},
};

/// Longest identity value, in bytes: both engines index it whole.
pub const MAX_VALUE_BYTES: usize = 512;
/// Most identities one profile may hold.
pub const MAX_PER_PROFILE: usize = 100;

/// What sort of key: `email`, `phone`, `external_id`, `anonymous_id` or any channel handle, `[a-z][a-z0-9_]{0,31}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IdentityKind(Cow<'static, str>);

/// Kinds that most keys are of: they are named a few times for each person of a batch, and need no memory of their own.
const COMMON: &[&str] = &["email", "phone", "external_id", "anonymous_id"];

impl IdentityKind {
    pub const fn email() -> Self {
        Self(Cow::Borrowed("email"))
    }
    pub const fn phone() -> Self {
        Self(Cow::Borrowed("phone"))
    }
    pub const fn external_id() -> Self {
        Self(Cow::Borrowed("external_id"))
    }

    fn named(text: &str) -> Self {
        let common = COMMON.iter().find(|common| **common == text);
        Self(common.map_or_else(|| Cow::Owned(text.to_owned()), |common| Cow::Borrowed(*common)))
    }

    /// E: not of the form above.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let shaped = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && text.len() <= 32
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        shaped.then(|| Self::named(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Strength when keys of one request point at different people: lower is stronger.
    pub fn rank(&self) -> u8 {
        match self.as_str() {
            "external_id" => 0,
            "email" => 1,
            "phone" => 2,
            "anonymous_id" => 4,
            _ => 3,
        }
    }
}

impl<'de> Deserialize<'de> for IdentityKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = IdentityKind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a kind of identity")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<IdentityKind, E> {
                Ok(IdentityKind::named(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kind and its normalised value: the thing that is unique in a workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    pub kind: IdentityKind,
    pub value: String,
}

/// A key on a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub kind: IdentityKind,
    pub value: String,
    /// What was typed, before normalisation.
    pub raw: String,
    /// The one shown at the top level of the profile for its kind.
    pub primary: bool,
    pub source: String,
    pub created_at: Timestamp,
}

impl Identity {
    pub fn key(&self) -> IdentityKey {
        IdentityKey { kind: self.kind.clone(), value: self.value.clone() }
    }
}

/// A key as it arrives: normalised, with what was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    pub key: IdentityKey,
    pub raw: String,
}

/// Values that stand for "nobody" in somebody's code and would fuse thousands of people.
const JUNK: &[&str] = &[
    "0",
    "-1",
    "00000000-0000-0000-0000-000000000000",
    "anonymous",
    "anon",
    "distinct_id",
    "distinctid",
    "email",
    "empty",
    "false",
    "guest",
    "id",
    "n/a",
    "na",
    "nan",
    "nil",
    "no-reply",
    "none",
    "not_authenticated",
    "null",
    "object",
    "[object object]",
    "phone",
    "test",
    "true",
    "undefined",
    "unknown",
    "user",
    "user_id",
    "userid",
    "void",
];

/// Whether a value identifies no one, in any case and under any quoting.
pub fn is_junk(value: &str) -> bool {
    // What nobody sees tells nobody apart.
    let shown: String = value.chars().filter(|c| !is_invisible(*c)).collect();
    let bare =
        shown.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '“' | '”' | '(' | ')' | '<' | '>' | '{' | '}'));
    let lowered = bare.to_lowercase();
    bare.is_empty()
        || JUNK.contains(&lowered.as_str())
        || bare.chars().all(|c| matches!(c, '-' | '_' | '.' | ',' | '?' | '*' | '#' | '/' | '+'))
        || bare.chars().all(|c| c == '0')
}

impl IdentityKey {
    /// Normalises and checks one key. `country` is the workspace's default, for phones written nationally.
    ///
    /// E (code of the issue, pointer empty): `junk_identity`, `invalid_email`, `invalid_phone`, `invalid_identity`,
    /// `too_long`, `nul_character`.
    pub fn parse(kind: &IdentityKind, raw: &str, country: Option<&str>) -> Result<Self, Issue> {
        let cleaned = match clean(raw, MAX_VALUE_BYTES) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(Issue::new("", "junk_identity", format!("a blank {kind} identifies no one; leave it out"))),
            Err(Unfit::Nul) => return Err(Issue::new("", "nul_character", "U+0000 cannot be stored; remove it")),
            Err(Unfit::TooLong) => {
                return Err(Issue::new("", "too_long", format!("an identity is at most {MAX_VALUE_BYTES} bytes")));
            }
        };
        if is_junk(&cleaned) {
            return Err(Issue::new(
                "",
                "junk_identity",
                format!("this {kind} is a placeholder that would join strangers; send a real value or leave it out"),
            ));
        }
        let value = match kind.as_str() {
            "email" => {
                let lowered = email_as_kept(&cleaned);
                let shape = Options::default().with_required_tld().without_domain_literal().without_display_text();
                if EmailAddress::parse_with_options(&lowered, shape).is_err() || lowered.contains(['"', ' ']) {
                    return Err(Issue::new("", "invalid_email", "expected an e-mail address such as ada@example.com"));
                }
                lowered
            }
            "phone" => parse_phone(&cleaned, country)?,
            _ if cleaned.chars().any(char::is_control) => {
                return Err(Issue::new("", "invalid_identity", "control characters cannot be part of an identity"));
            }
            _ => cleaned,
        };
        if value.len() > MAX_VALUE_BYTES {
            return Err(Issue::new("", "too_long", format!("an identity is at most {MAX_VALUE_BYTES} bytes")));
        }
        Ok(Self { kind: kind.clone(), value })
    }

    /// Every stored spelling that means the same line, this one first.
    pub fn variants(&self) -> Vec<Self> {
        if self.kind.as_str() != "phone" {
            return vec![self.clone()];
        }
        let mut all = vec![self.clone()];
        all.extend(phone_variants(&self.value).into_iter().map(|value| Self { kind: self.kind.clone(), value }));
        all
    }
}

impl IdentityKey {
    /// One spelling for all that mean the same line: what a key is recognised by where its value is not kept.
    pub fn canonical(&self) -> Self {
        // Variants stand for each other, so every one of them has the same first.
        self.variants().into_iter().min().unwrap_or_else(|| self.clone())
    }
}

/// One spelling for an address: lower-cased, composed (NFC), and its domain as people read it where it came in letters of DNS
/// (`xn--…`, RFC 5891).
pub(crate) fn email_as_kept(text: &str) -> String {
    let lowered: String = text.to_lowercase().nfc().collect();
    match lowered.rsplit_once('@') {
        Some((name, domain)) if domain.split('.').any(|label| label.starts_with("xn--")) => match idna::domain_to_unicode(domain) {
            (domain, Ok(())) => format!("{name}@{domain}"),
            (_, Err(_)) => lowered,
        },
        _ => lowered,
    }
}

fn parse_phone(text: &str, country: Option<&str>) -> Result<String, Issue> {
    let refused = || {
        Issue::new(
            "",
            "invalid_phone",
            match country {
                Some(country) => format!("expected a phone number, international (+44 20 7946 0000) or national of {country}"),
                None => "expected an international phone number such as +44 20 7946 0000; set the workspace's default country to accept national ones".to_owned(),
            },
        )
    };
    let region: Option<Country> = country.and_then(|c| c.parse().ok());
    // 00 is how most of the world dials +.
    let dialled = match text.strip_prefix("00") {
        Some(rest) => format!("+{rest}"),
        None => text.to_owned(),
    };
    if let Some(e164) = already_international(&dialled) {
        return Ok(e164);
    }
    let number = phonenumber::parse(region, &dialled).map_err(|_| refused())?;
    // The library's validity follows numbering plans that lag behind reality, so only the shape E.164 asks for is held.
    let formatted = number.format().mode(Mode::E164).to_string();
    let digits = formatted.strip_prefix('+').ok_or_else(refused)?;
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused());
    }
    Ok(formatted)
}

/// A number written as `+`, country code and national number, with any punctuation: it is E.164 but for the punctuation.
/// `None` sends it to the library's grammar: a trunk prefix after the code (`+44 (0)20 …`), letters, extensions.
///
/// The library compiles and forgets a regular expression for nearly every number of a mixed list, which costs a
/// thousand times what this does.
fn already_international(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    if !rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '\u{A0}' | '\u{2011}' | '\u{2013}')) {
        return None;
    }
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    let (national, trunk) = split_country(&digits)?;
    let plausible = (8..=15).contains(&digits.len()) && national.len() >= 5;
    let trunk_is_dialled = trunk.is_some_and(|trunk| national.starts_with(trunk)) || national.starts_with('0') && trunk.is_some();
    (plausible && !trunk_is_dialled).then(|| format!("+{digits}"))
}

/// The national number of E.164 digits, and the trunk prefix its country dials before it. Country codes are prefix-free
/// (ITU-T E.164 annex D), so the first that fits is the one.
fn split_country(digits: &str) -> Option<(&str, Option<&'static str>)> {
    (1..=3).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        let country = DATABASE.by_code(&code.parse::<u16>().ok()?)?;
        Some((national, country.first().and_then(|country| country.national_prefix())))
    })
}

/// The other numbers a line of these countries is known by. Source: national numbering plans.
/// Brazil added a ninth digit to mobiles (8 digits starting 6–9 gained a leading 9); Mexico dropped the mobile `1`
/// after +52 in 2019; Argentina inserts a `9` after +54 for mobiles dialled from abroad.
fn phone_variants(e164: &str) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(rest) = e164.strip_prefix("+55") {
        match (rest.len(), rest.get(..2), rest.get(2..)) {
            (11, Some(area), Some(line)) if line.starts_with('9') && matches!(line.as_bytes().get(1), Some(b'6'..=b'9')) => {
                out.push(format!("+55{area}{}", &line[1..]));
            }
            (10, Some(area), Some(line)) if matches!(line.as_bytes().first(), Some(b'6'..=b'9')) => out.push(format!("+55{area}9{line}")),
            _ => {}
        }
    } else if let Some(rest) = e164.strip_prefix("+52") {
        match (rest.len(), rest.strip_prefix('1')) {
            (11, Some(line)) => out.push(format!("+52{line}")),
            (10, _) => out.push(format!("+521{rest}")),
            _ => {}
        }
    } else if let Some(rest) = e164.strip_prefix("+54") {
        match (rest.len(), rest.strip_prefix('9')) {
            (11, Some(line)) => out.push(format!("+54{line}")),
            (10, _) => out.push(format!("+549{rest}")),
            _ => {}
        }
    }
    out
}

/// The digits a phone can be searched by: E.164, and the national form with its trunk prefix where there is one.
pub fn phone_search_digits(e164: &str) -> Vec<String> {
    let digits = crate::text::digits(e164);
    let national = split_country(&digits).map(|(national, trunk)| format!("{}{national}", trunk.unwrap_or_default()));
    let mut out = vec![digits];
    out.extend(national);
    out
}

#[cfg(test)]
mod tests {
    use super::{IdentityKey, IdentityKind, is_junk};

    fn parse(kind: &str, raw: &str, country: Option<&str>) -> Result<String, &'static str> {
        let kind = IdentityKind::parse(kind).ok_or("kind")?;
        IdentityKey::parse(&kind, raw, country).map(|k| k.value).map_err(|i| i.code)
    }

    #[test]
    fn emails_are_trimmed_composed_and_lowered() {
        assert_eq!(parse("email", "  Ada@Example.COM ", None), Ok("ada@example.com".into()));
        assert_eq!(parse("email", "Jose\u{301}@example.com", None), Ok("josé@example.com".into()));
        for bad in ["ada", "ada@", "@x.org", "a b@x.org", "ada@x@y"] {
            assert_eq!(parse("email", bad, None), Err("invalid_email"), "{bad}");
        }
    }

    #[test]
    fn phones_become_e164_however_they_are_written() {
        assert_eq!(super::phone_search_digits("+442079460000"), ["442079460000", "02079460000"]);
        assert_eq!(parse("phone", "+39 06 1234 5678", None), Ok("+390612345678".into()), "a zero that belongs to the number stays");
        for (raw, country) in [
            ("+44 (0)20 7946 0000", None),
            ("+44 (20) 7946-0000", None),
            ("020 7946 0000", Some("GB")),
            ("0044 20 7946 0000", None),
            ("+44.20.7946.0000", Some("US")),
        ] {
            assert_eq!(parse("phone", raw, country), Ok("+442079460000".into()), "{raw}");
        }
        for bad in ["020 7946 0000", "hello", "12", "+1"] {
            assert_eq!(parse("phone", bad, None), Err("invalid_phone"), "{bad}");
        }
    }

    #[test]
    fn one_line_of_brazil_mexico_or_argentina_is_found_by_each_of_its_numbers() {
        for (one, other) in [("+5511987654321", "+551187654321"), ("+5215512345678", "+525512345678"), ("+5491123456789", "+541123456789")]
        {
            for (a, b) in [(one, other), (other, one)] {
                let key = IdentityKey { kind: IdentityKind::phone(), value: a.into() };
                assert!(key.variants().iter().any(|v| v.value == b), "{a} should also be {b}");
                assert_eq!(key.canonical(), IdentityKey { kind: IdentityKind::phone(), value: b.into() }.canonical());
            }
        }
        // A Brazilian landline never gained the ninth digit.
        let landline = IdentityKey { kind: IdentityKind::phone(), value: "+551133334444".into() };
        assert_eq!(landline.variants().len(), 1);
    }

    #[test]
    fn placeholders_are_junk_in_any_case_and_quoting() {
        for junk in [
            "null",
            "NULL",
            " undefined ",
            "\"guest\"",
            "[object Object]",
            "NaN",
            "0",
            "000",
            "''",
            "-",
            "Anonymous",
            "N/A",
            "\u{200b}",
            "nu\u{ad}ll\u{feff}",
        ] {
            assert!(is_junk(junk), "{junk}");
        }
        for fine in ["ada", "1", "user-17", "nullable", "王"] {
            assert!(!is_junk(fine), "{fine}");
        }
    }

    #[test]
    fn kinds_are_short_lower_case_words() {
        for (text, fine) in [("whatsapp", true), ("a1_b", true), ("Email", false), ("1a", false), ("", false), ("a-b", false)] {
            assert_eq!(IdentityKind::parse(text).is_some(), fine, "{text}");
        }
    }
}
