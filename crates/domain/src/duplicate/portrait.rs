//! What of a person is compared, and the blocks they stand in.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Timestamp,
    identity::is_junk,
    profile::Profile,
    property::{Definition, Definitions, Match},
    text::{digits, fold},
};

/// What of a person is compared: folded, junk left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Portrait {
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    pub(super) mailboxes: BTreeSet<Mailbox>,
    /// Digits with the country code.
    pub(super) phones: BTreeSet<String>,
    /// `(value, kind)` of handles that people choose.
    pub(super) handles: BTreeSet<(String, String)>,
    pub(super) company: Option<String>,
    pub(super) city: Option<String>,
    pub(super) country: Option<String>,
    /// By key.
    pub(super) attributes: Vec<Attribute>,
}

/// An e-mail address as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mailbox {
    /// Without dots and what follows a plus.
    pub(super) local: String,
    pub(super) domain: String,
}

/// A custom attribute whose definition says how it is matched.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attribute {
    /// `attributes.<key>`, as filters call it.
    pub(super) field: String,
    pub(super) label: String,
    pub(super) matching: Match,
    /// One, or the members of a list.
    pub(super) values: BTreeSet<String>,
}

/// Mailboxes of an office, not of a person.
const ROLES: &[&str] = &[
    "accounts",
    "admin",
    "billing",
    "buero",
    "contact",
    "contacto",
    "contato",
    "hello",
    "help",
    "info",
    "kontakt",
    "mail",
    "noreply",
    "office",
    "postmaster",
    "sales",
    "service",
    "support",
    "team",
    "webmaster",
];

/// What stands before a name, and after a company's.
const TITLES: &[&str] = &["dr", "frau", "herr", "mr", "mrs", "ms", "mx", "miss", "mme", "prof", "sir"];
const FORMS: &[&str] =
    &["ag", "bv", "co", "corp", "gmbh", "inc", "kg", "limited", "llc", "ltd", "ltda", "oy", "plc", "pty", "sa", "sarl", "srl"];

/// Words of letters and digits, folded, with one space between. `None` where nothing of use is left.
fn words(text: &str) -> Option<String> {
    if is_junk(text) {
        return None;
    }
    let folded: String = fold(text).chars().filter(|c| !matches!(c, '\'' | '’' | '`' | '.')).collect();
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}

/// A name has letters: "100 %" and "-" are none.
fn name(text: Option<&str>) -> Option<String> {
    words(text?).filter(|text| text.chars().any(char::is_alphabetic))
}

fn company(text: Option<&str>) -> Option<String> {
    let whole = words(text?)?;
    let bare: Vec<&str> = whole.split(' ').filter(|word| !FORMS.contains(word)).collect();
    Some(if bare.is_empty() { whole.clone() } else { bare.join(" ") })
}

/// Without the spaces: "gar butt" is "garbutt".
pub(super) fn squeezed(text: &str) -> Cow<'_, str> {
    if text.contains(' ') { text.replace(' ', "").into() } else { text.into() }
}

/// First and last name of a person, from the parts or from the whole.
fn names(profile: &Profile) -> (Option<String>, Option<String>) {
    let (first, last) = (name(profile.first_name.as_deref()), name(profile.last_name.as_deref()));
    if first.is_some() && last.is_some() {
        return (first, last);
    }
    let whole = profile.name.as_deref().unwrap_or_default();
    // "Lovelace, Ada"
    let whole = match whole.split_once(',') {
        Some((last, first)) => format!("{first} {last}"),
        None => whole.to_owned(),
    };
    let whole = name(Some(&whole)).unwrap_or_default();
    let parts: Vec<&str> = whole.split(' ').filter(|word| !word.is_empty() && !TITLES.contains(word)).collect();
    match parts.as_slice() {
        [one, .., other] => (first.or_else(|| Some((*one).to_owned())), last.or_else(|| Some((*other).to_owned()))),
        [one] if first.is_none() && last.is_none() => (None, Some((*one).to_owned())),
        _ => (first, last),
    }
}

fn mailbox(address: &str) -> Option<Mailbox> {
    let (local, domain) = address.split_once('@')?;
    let local: String = fold(local.split('+').next().unwrap_or(local)).chars().filter(|c| c.is_alphanumeric()).collect();
    let domain = if domain == "googlemail.com" { "gmail.com" } else { domain };
    (local.chars().count() >= 2 && !ROLES.contains(&local.as_str()) && !is_junk(&local))
        .then(|| Mailbox { local, domain: domain.to_owned() })
}

fn attribute(definition: &Definition, value: &Value) -> Option<Attribute> {
    let one = |value: &Value| -> Option<String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        match definition.matching {
            Match::None => None,
            Match::Exact => Some(text.trim().to_owned()).filter(|text| !text.is_empty() && (value.is_boolean() || !is_junk(text))),
            Match::Text => words(&text),
            Match::Date => {
                let day = text.get(..10)?;
                Timestamp::parse_date(day).map(|_| day.to_owned())
            }
            Match::Number => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.to_string()),
        }
    };
    let values: BTreeSet<String> = match value {
        Value::Array(items) => items.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    };
    (!values.is_empty()).then(|| Attribute {
        field: format!("attributes.{}", definition.key),
        label: definition.label.clone().unwrap_or_else(|| definition.key.replace(['_', '-', '.', ':'], " ")),
        matching: definition.matching,
        values,
    })
}

impl Portrait {
    pub fn of(profile: &Profile, definitions: &Definitions) -> Self {
        let (first, last) = names(profile);
        let mut portrait = Self {
            first,
            last,
            company: company(profile.company.as_deref()),
            city: profile.city.as_deref().and_then(words),
            country: profile.country.clone(),
            ..Self::default()
        };
        for identity in &profile.identities {
            match identity.kind.as_str() {
                "email" => portrait.mailboxes.extend(mailbox(&identity.value)),
                "phone" => {
                    portrait.phones.insert(digits(&identity.value));
                }
                // Ids that machines give out say nothing about who is like whom.
                "external_id" | "anonymous_id" | "device" => {}
                kind => {
                    let bare = identity.value.trim_start_matches('+');
                    if (8..=15).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit()) {
                        portrait.phones.insert(bare.to_owned());
                    } else if identity.value.contains('@') && mailbox(&identity.value).is_some() {
                        portrait.mailboxes.extend(mailbox(&identity.value));
                    } else {
                        portrait.handles.insert((fold(identity.value.trim_start_matches('@')), kind.to_owned()));
                    }
                }
            }
        }
        portrait.attributes = profile
            .attributes
            .iter()
            .filter_map(|(key, value)| definitions.get(key).and_then(|definition| attribute(definition, value)))
            .collect();
        portrait
    }

    /// The blocks this person stands in, as numbers (the first eight bytes of a SHA-256): small to keep, and nothing
    /// can be read off them. Two that collide by chance are two people compared for nothing. The last bit says whether the
    /// block is telling by itself ([`is_telling`]).
    pub fn keys(&self) -> BTreeSet<i64> {
        let mut keys = BTreeSet::new();
        let mut put = |kind: &str, parts: &[&str]| {
            let telling = !matches!(kind, "name" | "city" | "company");
            keys.insert(hash(kind, parts) & !1 | i64::from(telling));
        };
        // In either order: which is the first name is often mistaken.
        let mut names: Vec<String> = self.first.iter().chain(&self.last).map(|name| skeleton(name)).collect();
        names.sort_unstable();
        if !names.is_empty() {
            put("name", &names.iter().map(String::as_str).collect::<Vec<_>>());
            // At one place initials say enough, whatever else of the names is mistyped. One name alone has to be whole.
            let initials: String =
                if names.len() == 1 { names.concat() } else { names.iter().filter_map(|name| name.chars().next()).collect() };
            for (kind, place) in [("city", &self.city), ("company", &self.company)] {
                if let Some(place) = place {
                    put(kind, &[&squeezed(place), &initials]);
                }
            }
        }
        for mailbox in &self.mailboxes {
            put("email", &[&mailbox.local]);
        }
        for phone in &self.phones {
            put("phone", &[tail(phone)]);
        }
        for (value, _) in &self.handles {
            put("handle", &[value]);
        }
        for attribute in &self.attributes {
            for value in &attribute.values {
                match attribute.matching {
                    Match::Exact | Match::Date => put(&attribute.field, &[value]),
                    Match::Text => put(&attribute.field, &[&squeezed(value)]),
                    // A number alone is shared by too many.
                    Match::Number | Match::None => {}
                }
            }
        }
        keys
    }

    /// What is counted of a person, by field.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&str, &str)> {
        let fixed = [
            ("first_name", self.first.as_deref()),
            ("last_name", self.last.as_deref()),
            ("company", self.company.as_deref()),
            ("city", self.city.as_deref()),
            ("country", self.country.as_deref()),
        ];
        let fixed = fixed.into_iter().filter_map(|(field, value)| Some((field, value?)));
        let mailboxes = self.mailboxes.iter().map(|mailbox| ("email", mailbox.local.as_str()));
        let own = self.attributes.iter().flat_map(|a| a.values.iter().map(|value| (a.field.as_str(), value.as_str())));
        fixed.chain(mailboxes).chain(own)
    }
}

/// Whether one such block in common may be enough: a mailbox, a telephone, a birthday. Of names and places, which many
/// share, it takes two.
pub fn is_telling(key: i64) -> bool {
    key & 1 == 1
}

/// A line is known by its last eight digits, however its country code is written.
pub(super) fn tail(phone: &str) -> &str {
    phone.get(phone.len().saturating_sub(8)..).unwrap_or(phone)
}

/// A word as the ear has it: its first letter, and which families of consonants follow. Vowels, doubled letters, letters
/// that changed places and those that sound alike (Soundex's families) make no difference; other scripts keep every letter.
fn skeleton(name: &str) -> String {
    let mut letters = name.chars().filter(|c| *c != ' ');
    let Some(initial) = letters.next() else { return String::new() };
    let rest: BTreeSet<char> = letters
        .filter_map(|c| match c {
            'a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'h' | 'w' => None,
            'b' | 'f' | 'p' | 'v' => Some('b'),
            'c' | 'g' | 'j' | 'k' | 'q' | 's' | 'x' | 'z' => Some('c'),
            'd' | 't' => Some('d'),
            'm' | 'n' => Some('m'),
            other => Some(other),
        })
        .collect();
    std::iter::once(initial).chain(rest).collect()
}

fn hash(kind: &str, parts: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    digest.update(kind);
    for part in parts {
        digest.update([0]);
        digest.update(part);
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.finalize()[..8]);
    i64::from_be_bytes(bytes)
}
