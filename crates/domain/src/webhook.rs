//! Webhooks: which changes an endpoint is told of, where it may be, and when a failed delivery is tried again.

pub mod address;
pub mod retry;

use crate::{Issue, change::TYPES};

/// Type of the ping that `POST /v1/webhooks/{id}/test` sends.
pub const TEST: &str = "webhook.test";

/// Most patterns of one endpoint.
const MAX_PATTERNS: usize = 50;

/// Patterns such as `profile.created`, `profile.*` or `*`: the changes an endpoint is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events(Vec<String>);

impl Events {
    pub fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// E: every pattern that can match nothing, with its place in `/events`.
    pub fn parse(patterns: &[String]) -> Result<Self, Vec<Issue>> {
        if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
            let detail = format!("expected 1 to {MAX_PATTERNS} types or patterns; leave `events` out for all of them");
            return Err(vec![Issue::new("/events", "invalid_value", detail)]);
        }
        let mut issues = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for (i, pattern) in patterns.iter().enumerate() {
            if !TYPES.iter().any(|kind| matches(pattern, kind)) {
                let detail = format!("{pattern:?} is no type of event; expected *, profile.*, or one of: {}", TYPES.join(", "));
                issues.push(Issue::new(format!("/events/{i}"), "not_an_option", detail));
            } else if !known.contains(pattern) {
                known.push(pattern.clone());
            }
        }
        if issues.is_empty() { Ok(Self(known)) } else { Err(issues) }
    }

    pub fn contains(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, kind))
    }

    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// As it is stored: patterns hold no space.
    pub fn joined(&self) -> String {
        self.0.join(" ")
    }

    pub fn split(text: &str) -> Self {
        Self(text.split(' ').filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect())
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(family) => kind.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')),
        None => pattern == "*" || pattern == kind,
    }
}

/// What a delivery says of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Ids and names of fields: nothing of anybody's.
    Thin,
    /// The profile besides, as it is when the delivery is sent.
    Full,
}

impl Payload {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Thin => "thin",
            Self::Full => "full",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Thin, Self::Full].into_iter().find(|payload| payload.as_str() == text)
    }
}

/// Why an endpoint is not told of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// Somebody asked for it.
    Paused,
    /// It answered 410.
    Gone,
    /// It failed for as long as it is tried.
    Failing,
}

impl Disabled {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Paused, Self::Gone, Self::Failing].into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::Events;

    fn events(patterns: &[&str]) -> Result<Events, Vec<String>> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Events::parse(&patterns).map_err(|issues| issues.into_iter().map(|issue| issue.pointer).collect())
    }

    #[test]
    fn a_pattern_matches_its_family_and_nothing_else() {
        let merges = events(&["profile.merged", "profile.erased"]).unwrap_or(Events::all());
        assert!(merges.contains("profile.merged") && !merges.contains("profile.merge_reverted") && !merges.contains("profile.created"));
        let family = events(&["profile.*", "profile.*"]).unwrap_or(Events::split(""));
        assert_eq!(family.patterns(), ["profile.*"]);
        assert!(family.contains("profile.updated") && !family.contains("profiles.updated") && !family.contains("profile"));
        assert_eq!(Events::split(&family.joined()), family);
    }

    #[test]
    fn what_can_match_nothing_is_named() {
        assert_eq!(
            events(&["*", "profile.exploded", "profil*", "event.*"]),
            Err(vec!["/events/1".into(), "/events/2".into(), "/events/3".into()])
        );
        assert_eq!(events(&[]), Err(vec!["/events".into()]));
    }
}
