//! Search text: everything of a person that can be typed to find them, folded once.
//!
//! The stored text and the needles of a query come from the same [`fold`], so any piece of any searchable field finds
//! its person. Fields are kept apart by line breaks, which no needle contains.

use serde_json::Value;

use crate::{
    identity::phone_search_digits,
    profile::Profile,
    property::{Definitions, Standard},
    text::{digits, fold},
};

/// Longest query, in characters.
pub const MAX_QUERY_CHARS: usize = 200;
/// Most words of a query.
pub const MAX_WORDS: usize = 16;

/// The folded text of a person: name, keys, company and every attribute marked searchable.
pub fn text_of(profile: &Profile, definitions: &Definitions) -> String {
    let mut out = String::new();
    let mut put = |text: &str| {
        for word in text.lines().filter(|line| !line.is_empty()) {
            out.push_str(word);
            out.push('\n');
        }
    };
    for property in [Standard::Name, Standard::FirstName, Standard::LastName, Standard::Company] {
        if let Some(text) = profile.standard(property) {
            put(&fold(text));
        }
    }
    for identity in &profile.identities {
        put(&fold(&identity.value));
        if identity.raw != identity.value {
            put(&fold(&identity.raw));
        }
        if identity.kind.as_str() == "phone" {
            for national in phone_search_digits(&identity.value) {
                put(&national);
            }
            put(&digits(&identity.raw));
        }
    }
    for (key, value) in &profile.attributes {
        if definitions.get(key).is_some_and(|d| d.searchable) {
            match value {
                Value::String(text) => put(&fold(text)),
                Value::Array(items) => items.iter().filter_map(Value::as_str).for_each(|text| put(&fold(text))),
                other => put(&other.to_string()),
            }
        }
    }
    out
}

/// One word of a query: the text must contain one of the needles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Folded spellings, none empty: the word itself, and its digits when it looks like part of a phone number.
    pub needles: Vec<String>,
}

/// What a person typed into the search bar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// All must match, in any order. None: everyone matches.
    pub words: Vec<Word>,
    /// The text as typed, trimmed: a whole identity ranks first.
    pub typed: String,
}

impl Query {
    /// E: longer than [`MAX_QUERY_CHARS`], more than [`MAX_WORDS`] words, or U+0000.
    pub fn parse(text: &str) -> Result<Self, crate::Issue> {
        if text.contains('\0') {
            return Err(crate::Issue::new("", "nul_character", "U+0000 cannot be searched for; remove it"));
        }
        let typed = text.trim();
        if typed.chars().count() > MAX_QUERY_CHARS {
            return Err(crate::Issue::new("", "too_long", format!("a search is at most {MAX_QUERY_CHARS} characters")));
        }
        let words: Vec<Word> = typed.split_whitespace().flat_map(words_of).collect();
        if words.len() > MAX_WORDS {
            return Err(crate::Issue::new("", "too_long", format!("a search is at most {MAX_WORDS} words")));
        }
        Ok(Self { words, typed: typed.to_owned() })
    }

    pub fn matches(&self, search_text: &str) -> bool {
        self.words.iter().all(|word| word.needles.iter().any(|needle| search_text.contains(needle.as_str())))
    }
}

fn words_of(typed: &str) -> Vec<Word> {
    let dialled = typed.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')' | '.' | '/' | '·' | '‑' | '–'));
    let number = if dialled { digits(typed) } else { String::new() };
    // Compatibility folding can turn one character into several words (`㍿`, no-break space).
    fold(typed)
        .split_whitespace()
        .map(|folded| {
            let mut needles = vec![folded.to_owned()];
            if !number.is_empty() && number != folded {
                needles.push(number.clone());
            }
            Word { needles }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn all_words_match_in_any_order_and_signs_are_letters() {
        let text = "o'brien 100%_sure\\\nada lovelace\n+442079460000\n442079460000\n02079460000\n";
        let hit = |q: &str| Query::parse(q).is_ok_and(|q| q.matches(text));
        for q in ["", "a", "LOVE", "lace ada", "o'b", "%", "_", "\\", "100%_", "(020) 7946-0000", "+44 20", "7946.0000"] {
            assert!(hit(q), "{q}");
        }
        for q in ["x", "ada x", "o%b", "a_a", "999"] {
            assert!(!hit(q), "{q}");
        }
    }

    #[test]
    fn endless_queries_are_refused() {
        assert!(Query::parse(&"x".repeat(201)).is_err());
        assert!(Query::parse(&"x ".repeat(17)).is_err());
        assert!(Query::parse("a\0b").is_err());
    }
}
