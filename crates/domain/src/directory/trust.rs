//! How far a browser is believed of a person's traits.
//!
//! The key of a browser can be read by anybody who opens the page. It therefore fills what is empty, and changes what
//! only browsers have written: a site's own `identify` goes on updating what it says every day. What a server's key or
//! the API wrote stays, for any person, identified or not. Who wrote a field is what its history says, which moves along
//! when people are merged; so nothing has to be kept beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Action, BROWSER, Cause, Command, Directory, Draft, Needs, Standing};
use crate::{
    event::{RefusedKey, Trust, Whose},
    history::Change,
    id::ProfileId,
    identity::IdentityKey,
    profile::Profile,
    property,
};

/// Fields of people that others than browsers have written.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    fields: BTreeSet<(ProfileId, String)>,
    /// Whether a browser speaks of anybody in this group; if not, nothing has to be remembered.
    asked: bool,
}

impl Vouched {
    /// Remembers what was written earlier in the same group. A merge brings fields along with their own history.
    pub(super) fn note(&mut self, profile: ProfileId, changes: &[Change], action: Action, cause: &Cause) {
        if self.asked && cause.source != BROWSER && action != Action::Merged {
            self.fields.extend(changes.iter().map(|change| (profile, change.field.clone())));
        }
    }

    pub(super) fn inherit(&mut self, survivor: ProfileId, from: ProfileId) {
        if self.asked {
            let brought: Vec<String> = self.fields.iter().filter(|(id, _)| *id == from).map(|(_, field)| field.clone()).collect();
            self.fields.extend(brought.into_iter().map(|field| (survivor, field)));
        }
    }
}

/// Who may become one person within a group: people and keys that its commands name together, directly or through others
/// (a union of sets, each known by one of its members).
struct Circles {
    /// Of each command, one of whatever it names; `None`: it names nobody.
    first: Vec<Option<usize>>,
    /// Where each leads to; the root of a circle to itself.
    parents: Vec<usize>,
    people: BTreeMap<usize, Vec<ProfileId>>,
}

impl Circles {
    fn of<'c>(directory: &Directory, commands: impl Iterator<Item = &'c Command>) -> Self {
        let mut keys: BTreeMap<IdentityKey, usize> = BTreeMap::new();
        let mut known: BTreeMap<ProfileId, usize> = BTreeMap::new();
        let mut out = Self { first: Vec::new(), parents: Vec::new(), people: BTreeMap::new() };
        for command in commands {
            let mut needs = Needs::default();
            command.needs(&mut needs);
            let mut first = None;
            let people = needs.profiles.iter().copied().chain(needs.keys.iter().filter_map(|key| directory.owners.get(key).copied()));
            let people: Vec<usize> = people.map(|id| *known.entry(directory.survivor(id)).or_insert_with(|| out.add())).collect();
            let named: Vec<usize> = needs.keys.iter().map(|key| *keys.entry(key.canonical()).or_insert_with(|| out.add())).collect();
            for member in people.into_iter().chain(named) {
                match first {
                    None => first = Some(member),
                    Some(first) => out.unite(first, member),
                }
            }
            out.first.push(first);
        }
        for (id, member) in known {
            let root = out.find(member);
            out.people.entry(root).or_default().push(id);
        }
        out
    }

    fn add(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn root(&self, mut at: usize) -> usize {
        while self.parents[at] != at {
            at = self.parents[at];
        }
        at
    }

    /// The same, and shorter the next time (path halving).
    fn find(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.parents[one] = other;
    }

    /// Everybody whom the command at this place could come to be about.
    fn around(&self, place: usize) -> impl Iterator<Item = ProfileId> {
        let root = self.first.get(place).copied().flatten().map(|member| self.root(member));
        root.and_then(|root| self.people.get(&root)).into_iter().flatten().copied()
    }
}

/// The name of an attribute in history.
fn named(key: &str) -> String {
    format!("attributes.{key}")
}

impl Directory {
    /// The fields browsers would change: whoever holds the history is to say which of them others have written. Whose a key is
    /// may be another by the time its message has its turn: so it is asked about everybody whom the commands of the group could
    /// bring together until then.
    pub fn doubts<'c>(&mut self, commands: impl Iterator<Item = &'c Command> + Clone) -> BTreeSet<(ProfileId, String)> {
        let speaks = |command: &Command| {
            matches!(command, Command::Track(incoming)
                if incoming.trust == Trust::Browser && incoming.traits.is_some() && matches!(incoming.whose, Whose::Keys(_)))
        };
        if !commands.clone().any(speaks) {
            return BTreeSet::new();
        }
        self.vouched.asked = true;
        let circles = Circles::of(self, commands.clone());
        let mut doubts = BTreeSet::new();
        for (place, command) in commands.enumerate() {
            let (Command::Track(incoming), true) = (command, speaks(command)) else { continue };
            let Some(traits) = &incoming.traits else { continue };
            for id in circles.around(place) {
                let Some(Standing::Live(profile)) = self.people.get(&id) else { continue };
                let standard = traits.standard.iter().filter(|(field, value)| {
                    let known = profile.standard(*field);
                    known.is_some() && known != value.as_deref()
                });
                doubts.extend(standard.map(|(field, _)| (id, field.as_str().to_owned())));
                let attributes =
                    traits.attributes.iter().filter(|(key, value)| profile.attributes.get(*key).is_some_and(|known| known != *value));
                doubts.extend(attributes.map(|(key, _)| (id, named(key))));
            }
        }
        doubts
    }

    /// Those of the doubts that others than browsers have written.
    pub fn vouch(&mut self, fields: impl IntoIterator<Item = (ProfileId, String)>) {
        self.vouched.fields.extend(fields);
    }

    /// Takes out of a browser's traits what it may not change, and reports it.
    pub(super) fn keep_vouched(&self, profile: &Profile, traits: &mut Draft, refused: &mut Vec<RefusedKey>) {
        let is_vouched = |field: &str| self.vouched.fields.contains(&(profile.id, field.to_owned()));
        let mut refuse = |value: &str| {
            refused.push(RefusedKey { kind: "trait".to_owned(), value: value.to_owned(), code: "untrusted".to_owned(), profile_id: None });
        };
        traits.standard.retain(|(field, value)| {
            let known = profile.standard(*field);
            let kept = known.is_some() && known != value.as_deref() && is_vouched(field.as_str());
            if kept {
                refuse(field.as_str());
            }
            !kept
        });
        let changing: Vec<String> = traits
            .attributes
            .iter()
            .filter(|(key, value)| {
                profile.attributes.get(*key).is_some_and(|known| self.differs(key, known, value)) && is_vouched(&named(key))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in changing {
            refuse(&key);
            traits.attributes.shift_remove(&key);
        }
    }

    /// Whether a value, brought into the form of its type, is another than the known one.
    fn differs(&self, key: &str, known: &Value, value: &Value) -> bool {
        let normalised = self.definitions.get(key).and_then(|definition| property::check(definition, value).ok()).flatten();
        normalised.as_ref().unwrap_or(value) != known
    }
}
