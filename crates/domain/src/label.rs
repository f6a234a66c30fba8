//! Labels: short names on a profile, put there by a hand or by a rule.

use std::collections::BTreeMap;

use crate::{Code, Issue, Refusal, text::clean};

/// Longest label, in bytes.
pub const MAX_BYTES: usize = 128;
/// Most labels on one profile.
pub const MAX_PER_PROFILE: usize = 200;

/// Labels that a job is taking off everybody, each with the label that takes its place; `None` when it is removed.
pub type Going = BTreeMap<String, Option<String>>;

/// Refuses to put on what is going: the job would never come to its end.
pub fn check_stays<'l>(labels: impl IntoIterator<Item = &'l String>, going: &Going) -> Result<(), Refusal> {
    match labels.into_iter().find_map(|label| going.get(label)) {
        None => Ok(()),
        Some(Some(_)) => Err(Refusal::new(Code::LabelGoing, "This label is being renamed; use its new name, which GET /v1/labels tells.")),
        Some(None) => {
            Err(Refusal::new(Code::LabelGoing, "This label is being removed from everybody; use it again once that job has ended."))
        }
    }
}

/// A colour as `#rrggbb`, in lower case.
pub fn color(text: &str) -> Result<String, Issue> {
    match text.strip_prefix('#') {
        Some(digits) if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(text.to_ascii_lowercase()),
        _ => Err(Issue::new("", "invalid_color", "expected a colour such as #1f6feb")),
    }
}

/// Trims and checks a label's name; case is kept and counts.
pub fn parse(text: &str) -> Result<String, Issue> {
    match clean(text, MAX_BYTES) {
        Ok(Some(name)) if name.chars().any(char::is_control) => {
            Err(Issue::new("", "invalid_label", "a label has no line breaks or control characters"))
        }
        Ok(Some(name)) => Ok(name),
        Ok(None) => Err(Issue::new("", "invalid_label", "a label has at least one visible character")),
        Err(_) => Err(Issue::new("", "invalid_label", format!("a label is at most {MAX_BYTES} bytes, without U+0000"))),
    }
}

#[cfg(test)]
mod tests {
    use super::color;

    #[test]
    fn a_colour_is_six_hex_digits() {
        assert_eq!(color("#1F6feb").as_deref(), Ok("#1f6feb"));
        for wrong in ["", "#", "red", "1f6feb", "#1f6fe", "#1f6feb0", "#1f6feg", "#１f6fe", " #1f6feb"] {
            assert!(color(wrong).is_err(), "{wrong:?}");
        }
    }
}
