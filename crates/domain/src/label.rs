//! Labels: short names on a profile, put there by a hand or by a rule.

use crate::{Issue, text::clean};

/// Longest label, in bytes.
pub const MAX_BYTES: usize = 128;
/// Most labels on one profile.
pub const MAX_PER_PROFILE: usize = 200;

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
