//! Orders a list can be walked in, and the position a cursor remembers.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, id::ProfileId, profile::Profile, text::fold};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortField {
    #[default]
    LastSeenAt,
    CreatedAt,
    UpdatedAt,
    Name,
}

/// A sort the store has an index for. Ascending is the exact reverse of descending: never-seen people come last in the
/// newest-first order, and people without a name come last from A to Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    pub field: SortField,
    pub descending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { field: SortField::LastSeenAt, descending: true }
    }
}

pub const SORTS: &[&str] = &["last_seen_at", "-last_seen_at", "created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"];

impl Sort {
    /// `-created_at` is newest first, `name` is A to Z.
    pub fn parse(text: &str) -> Option<Self> {
        let (descending, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let field = match name {
            "last_seen_at" => SortField::LastSeenAt,
            "created_at" => SortField::CreatedAt,
            "updated_at" => SortField::UpdatedAt,
            "name" => SortField::Name,
            _ => return None,
        };
        Some(Self { field, descending })
    }

    /// The value a profile stands at in this order.
    pub fn key(self, profile: &Profile) -> SortKey {
        match self.field {
            SortField::LastSeenAt => SortKey::Time(seen_key(profile).micros()),
            SortField::CreatedAt => SortKey::Time(profile.created_at.micros()),
            SortField::UpdatedAt => SortKey::Time(profile.updated_at.micros()),
            SortField::Name => SortKey::Text(name_key(profile)),
        }
    }
}

/// `last_seen_at`, with a sentinel that sorts before every instant for people never seen.
pub fn seen_key(profile: &Profile) -> Timestamp {
    profile.last_seen_at.unwrap_or(Timestamp::MIN)
}

/// The folded name, short enough to index; a character after all others where there is none.
pub fn name_key(profile: &Profile) -> String {
    match profile.name.as_deref() {
        Some(name) => fold(name).chars().take(64).collect(),
        None => "\u{10FFFF}".to_owned(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SortKey {
    Time(i64),
    Text(String),
}

/// Just after which row the next page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub key: SortKey,
    pub id: ProfileId,
}
