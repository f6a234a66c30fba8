//! A profile: one person, as the directory knows them.
//!
//! The struct serialises to exactly the document the API answers, and the store keeps those bytes: reading a person is
//! reading one row. Identities, labels, segments, channels and consents are rows as well, which is what the database
//! enforces and filters walk; the one door for writes keeps both in step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    activity::Activity,
    consent::Consent,
    id::{ProfileId, SegmentId},
    identity::{Identity, IdentityKey, IdentityKind, NewIdentity},
    property::{MAX_NAME, Standard},
};

/// A segment a profile belongs to, as its badge shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentBadge {
    pub id: SegmentId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub id: ProfileId,
    /// Rises with every visible change; the `ETag`.
    pub version: u64,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub external_id: Option<String>,
    /// By kind, the primary of each kind first, then by age.
    pub identities: Vec<Identity>,
    pub name: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company: Option<String>,
    pub job_title: Option<String>,
    pub country: Option<String>,
    pub city: Option<String>,
    pub language: Option<String>,
    pub timezone: Option<String>,
    pub avatar_url: Option<String>,
    pub attributes: BTreeMap<String, Value>,
    pub channels: Vec<String>,
    pub last_channel: Option<String>,
    pub labels: Vec<String>,
    pub segments: Vec<SegmentBadge>,
    pub consents: Vec<Consent>,
    pub last_seen_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub merged_from: Vec<ProfileId>,
    /// Counted beside the document, and no part of it.
    #[serde(skip)]
    pub activity: Activity,
}

impl Profile {
    /// A person nobody knows anything about yet.
    pub fn empty(id: ProfileId, at: Timestamp) -> Self {
        Self {
            id,
            version: 0,
            email: None,
            phone: None,
            external_id: None,
            identities: Vec::new(),
            name: None,
            first_name: None,
            last_name: None,
            company: None,
            job_title: None,
            country: None,
            city: None,
            language: None,
            timezone: None,
            avatar_url: None,
            attributes: BTreeMap::new(),
            channels: Vec::new(),
            last_channel: None,
            labels: Vec::new(),
            segments: Vec::new(),
            consents: Vec::new(),
            last_seen_at: None,
            created_at: at,
            updated_at: at,
            merged_from: Vec::new(),
            activity: Activity::default(),
        }
    }

    /// Whether both are described alike: identities, properties and attributes. Versions, times, and what follows from events and
    /// decisions are not looked at.
    pub fn is_described_as(&self, other: &Self) -> bool {
        self.identities == other.identities
            && [&self.email, &self.phone, &self.external_id] == [&other.email, &other.phone, &other.external_id]
            && Standard::ALL.iter().all(|property| self.standard(*property) == other.standard(*property))
            && self.attributes == other.attributes
    }

    /// When the channel was heard from that they used last, and which it is.
    pub fn heard(&self) -> Option<(Timestamp, &str)> {
        let channel = self.last_channel.as_deref()?;
        Some((self.activity.heard.or(self.last_seen_at).unwrap_or(Timestamp::MIN), channel))
    }

    /// Notes that a channel was heard from. The newest counts, at one instant the name decides: the order in which events
    /// arrive does not.
    pub fn hear(&mut self, heard: Option<(Timestamp, &str)>) {
        if self.heard() < heard {
            self.last_channel = heard.map(|(_, channel)| channel.to_owned());
            self.activity.heard = heard.map(|(at, _)| at);
        } else {
            // What was read from when they were seen must not move with it.
            self.activity.heard = self.heard().map(|(at, _)| at);
        }
    }

    pub fn standard(&self, property: Standard) -> Option<&str> {
        match property {
            Standard::Name => &self.name,
            Standard::FirstName => &self.first_name,
            Standard::LastName => &self.last_name,
            Standard::Company => &self.company,
            Standard::JobTitle => &self.job_title,
            Standard::Country => &self.country,
            Standard::City => &self.city,
            Standard::Language => &self.language,
            Standard::Timezone => &self.timezone,
            Standard::AvatarUrl => &self.avatar_url,
        }
        .as_deref()
    }

    pub fn set_standard(&mut self, property: Standard, value: Option<String>) {
        *match property {
            Standard::Name => &mut self.name,
            Standard::FirstName => &mut self.first_name,
            Standard::LastName => &mut self.last_name,
            Standard::Company => &mut self.company,
            Standard::JobTitle => &mut self.job_title,
            Standard::Country => &mut self.country,
            Standard::City => &mut self.city,
            Standard::Language => &mut self.language,
            Standard::Timezone => &mut self.timezone,
            Standard::AvatarUrl => &mut self.avatar_url,
        } = value;
    }

    pub fn holds(&self, key: &IdentityKey) -> bool {
        self.identities.iter().any(|i| i.kind == key.kind && i.value == key.value)
    }

    /// Holds the key, or another number of the same line.
    pub fn answers_to(&self, key: &IdentityKey) -> bool {
        key.variants().iter().any(|variant| self.holds(variant))
    }

    pub fn primary(&self, kind: &IdentityKind) -> Option<&Identity> {
        self.identities.iter().find(|i| i.kind == *kind && i.primary)
    }

    /// Learns a key; it becomes primary when it is the first of its kind.
    pub fn learn(&mut self, new: &NewIdentity, source: &str, at: Timestamp) {
        if !self.holds(&new.key) {
            self.identities.push(Identity {
                kind: new.key.kind.clone(),
                value: new.key.value.clone(),
                raw: new.raw.clone(),
                primary: false,
                source: source.to_owned(),
                created_at: at,
            });
        }
    }

    /// Makes a held key the primary of its kind.
    pub fn promote(&mut self, key: &IdentityKey) {
        for identity in self.identities.iter_mut().filter(|i| i.kind == key.kind) {
            identity.primary = identity.value == key.value;
        }
    }

    pub fn forget(&mut self, key: &IdentityKey) {
        self.identities.retain(|i| i.kind != key.kind || i.value != key.value);
    }

    /// Puts what follows from other fields in order: one primary per kind, the top-level keys, sorted sets, and a full
    /// name where only its parts are known. `before` tells a name that was composed from one that was given.
    pub fn settle(&mut self, before: Option<&Self>) {
        self.identities.sort_by(|a, b| (&a.kind, !a.primary, a.created_at, &a.value).cmp(&(&b.kind, !b.primary, b.created_at, &b.value)));
        let mut previous: Option<IdentityKind> = None;
        for identity in &mut self.identities {
            let first = previous.as_ref() != Some(&identity.kind);
            identity.primary = first;
            previous = Some(identity.kind.clone());
        }
        let top = |profile: &Self, kind: IdentityKind| profile.primary(&kind).map(|i| i.value.clone());
        self.email = top(self, IdentityKind::email());
        self.phone = top(self, IdentityKind::phone());
        self.external_id = top(self, IdentityKind::external_id());
        self.labels.sort();
        self.labels.dedup();
        self.channels.sort();
        self.channels.dedup();
        self.consents.sort_by(|a, b| a.channel.cmp(&b.channel));
        let composed = composed_name(self.first_name.as_deref(), self.last_name.as_deref());
        let was_composed =
            before.is_some_and(|b| b.name.is_some() && b.name == composed_name(b.first_name.as_deref(), b.last_name.as_deref()));
        let untouched = before.is_none_or(|b| b.name == self.name);
        if self.name.is_none() || (was_composed && untouched) {
            self.name = composed;
        }
    }
}

/// Never longer than a name may be that is given.
fn composed_name(first: Option<&str>, last: Option<&str>) -> Option<String> {
    let mut name = match (first, last) {
        (Some(first), Some(last)) => format!("{first} {last}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => return None,
    };
    if name.len() > MAX_NAME {
        name.truncate(name.floor_char_boundary(MAX_NAME));
        name.truncate(name.trim_end().len());
    }
    Some(name)
}
