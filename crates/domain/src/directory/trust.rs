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
    property::{self, Standard},
};

/// Fields of people, by their names in history.
pub type Fields = BTreeMap<ProfileId, BTreeSet<String>>;

/// Fields of people that others than browsers have written.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    fields: Fields,
    /// Whether a browser speaks of anybody in this group; if not, nothing has to be remembered.
    asked: bool,
}

impl Vouched {
    /// Remembers what was written earlier in the same group. A merge brings fields along with their own history.
    pub(super) fn note(&mut self, profile: ProfileId, changes: &[Change], action: Action, cause: &Cause) {
        if self.asked && cause.source != BROWSER && action != Action::Merged {
            self.fields.entry(profile).or_default().extend(changes.iter().map(|change| change.field.clone()));
        }
    }

    pub(super) fn inherit(&mut self, survivor: ProfileId, from: ProfileId) {
        if let Some(brought) = self.fields.get(&from).cloned() {
            self.fields.entry(survivor).or_default().extend(brought);
        }
    }

    fn holds(&self, profile: ProfileId, field: &str) -> bool {
        self.fields.get(&profile).is_some_and(|fields| fields.contains(field))
    }
}

/// What browsers say of a field within one circle: whether it is anything else than somebody's value, can be told without
/// keeping all of it.
#[derive(Clone, Copy)]
struct Said<'v, T: ?Sized> {
    first: Option<&'v T>,
    /// Not all say the same.
    several: bool,
}

impl<'v, T: PartialEq + ?Sized> Said<'v, T> {
    fn hear<K: Ord>(told: &mut BTreeMap<K, Self>, field: K, value: Option<&'v T>) {
        let said = told.entry(field).or_insert(Self { first: value, several: false });
        said.several |= said.first != value;
    }

    fn is_another(&self, known: &T) -> bool {
        self.several || self.first != Some(known)
    }
}

/// All that browsers say within one circle.
#[derive(Default)]
struct Heard<'c> {
    standard: BTreeMap<Standard, Said<'c, str>>,
    attributes: BTreeMap<&'c str, Said<'c, Value>>,
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

    /// The root of a circle; the way there is shorter the next time (path halving).
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

    /// The circle of the command at this place.
    fn around(&mut self, place: usize) -> Option<usize> {
        let member = self.first.get(place).copied().flatten()?;
        Some(self.find(member))
    }

    /// Everybody whom its commands could come to be about.
    fn members(&self, circle: usize) -> &[ProfileId] {
        self.people.get(&circle).map_or(&[], Vec::as_slice)
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
    pub fn doubts<'c>(&mut self, commands: impl Iterator<Item = &'c Command> + Clone) -> Fields {
        let speaks = |command: &Command| {
            matches!(command, Command::Track(incoming)
                if incoming.trust == Trust::Browser && incoming.traits.is_some() && matches!(incoming.whose, Whose::Keys(_)))
        };
        if !commands.clone().any(speaks) {
            return Fields::new();
        }
        self.vouched.asked = true;
        let mut circles = Circles::of(self, commands.clone());
        // First what is said in a circle, then of whom: each message is gone through once, and each person.
        let mut told: BTreeMap<usize, Heard<'c>> = BTreeMap::new();
        for (place, command) in commands.enumerate() {
            let (Command::Track(incoming), true) = (command, speaks(command)) else { continue };
            let (Some(traits), Some(circle)) = (&incoming.traits, circles.around(place)) else { continue };
            let heard = told.entry(circle).or_default();
            for (field, value) in &traits.standard {
                Said::hear(&mut heard.standard, *field, value.as_deref());
            }
            for (key, value) in &traits.attributes {
                Said::hear(&mut heard.attributes, key.as_str(), Some(value));
            }
        }
        let mut doubts = Fields::new();
        for (circle, heard) in &told {
            for id in circles.members(*circle) {
                let Some(Standing::Live(profile)) = self.people.get(id) else { continue };
                let standard =
                    heard.standard.iter().filter(|(field, said)| profile.standard(**field).is_some_and(|known| said.is_another(known)));
                let mut fields: BTreeSet<String> = standard.map(|(field, _)| field.as_str().to_owned()).collect();
                let attributes = profile
                    .attributes
                    .iter()
                    .filter(|(key, known)| heard.attributes.get(key.as_str()).is_some_and(|said| said.is_another(known)));
                fields.extend(attributes.map(|(key, _)| named(key)));
                if !fields.is_empty() {
                    doubts.insert(*id, fields);
                }
            }
        }
        doubts
    }

    /// Those of the doubts that others than browsers have written.
    pub fn vouch(&mut self, fields: Fields) {
        for (profile, fields) in fields {
            self.vouched.fields.entry(profile).or_default().extend(fields);
        }
    }

    /// Takes out of a browser's traits what it may not change, and reports it.
    pub(super) fn keep_vouched(&self, profile: &Profile, traits: &mut Draft, refused: &mut Vec<RefusedKey>) {
        let is_vouched = |field: &str| self.vouched.holds(profile.id, field);
        let mut refuse = |name: &str, said: Option<Value>| refused.push(RefusedKey::of_trait(name, "untrusted", said));
        traits.standard.retain(|(field, value)| {
            let known = profile.standard(*field);
            let kept = known.is_some() && known != value.as_deref() && is_vouched(field.as_str());
            if kept {
                refuse(field.as_str(), value.clone().map(Value::from));
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
            let said = traits.attributes.shift_remove(&key);
            refuse(&key, said);
        }
    }

    /// Whether a value, brought into the form of its type, is another than the known one.
    fn differs(&self, key: &str, known: &Value, value: &Value) -> bool {
        let normalised = self.definitions.get(key).and_then(|definition| property::check(definition, value).ok()).flatten();
        normalised.as_ref().unwrap_or(value) != known
    }
}
