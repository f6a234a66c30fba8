//! The read model: everyone of a workspace in memory, in the form questions are answered from.
//!
//! Each person has a slot. What conditions compare lies in a column for each field, sets in a bitmap for each value,
//! texts in one arena with rows of trigrams, and each order of a list is kept sorted. A filter becomes a bitmap, a
//! search narrows it, a page walks an order through it, a count counts it. `keeper` loads the model and brings it in
//! step with the change feed before each answer; what it cannot answer is left to the SQL plans of `find.rs`.

mod answer;
mod behaviour;
mod bits;
mod column;
mod handed;
mod keeper;
mod order;
#[cfg(test)]
mod tests;
mod texts;

use std::{cmp::Ordering, collections::HashMap};

use hashbrown::HashTable;
use people_domain::{
    activity::Activity,
    filter::{Field, Scalar, attribute_value},
    id::ProfileId,
    page::{SortField, seen_key},
    profile::Profile,
    property::{Definitions, PropertyType, Standard},
};
use serde_json::Value;
use uuid::Uuid;

use behaviour::Behaviour;
use bits::{Bits, Members};
use column::Column;
use order::Order;
use texts::Texts;

pub(crate) use answer::{Outside, Page};
pub(crate) use handed::{Turned, Written};
pub(crate) use keeper::{Keeper, Kept};

/// Standard properties whose values are few enough for a dictionary. The others have a place in the texts.
const COLUMNS: [Standard; 8] = [
    Standard::FirstName,
    Standard::LastName,
    Standard::Company,
    Standard::JobTitle,
    Standard::Country,
    Standard::City,
    Standard::Language,
    Standard::Timezone,
];

/// Different values of one set worth a bitmap each.
const MAX_SET_VALUES: usize = 1 << 16;

#[derive(Debug, Default)]
struct Sets {
    by_value: HashMap<Box<str>, Members>,
    too_many: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    ids: Vec<Uuid>,
    versions: Vec<u32>,
    by_id: HashTable<u32>,
    free: Vec<u32>,
    live: Bits,
    seen: Vec<i64>,
    created: Vec<i64>,
    updated: Vec<i64>,
    has_name: Bits,
    has_email: Bits,
    has_phone: Bits,
    has_external_id: Bits,
    has_avatar: Bits,
    columns: HashMap<Field, Column>,
    sets: HashMap<Field, Sets>,
    texts: Texts,
    behaviour: Behaviour,
    orders: [Order; 4],
    /// Orders are put off while everyone is being loaded.
    loading: bool,
}

fn hash(id: Uuid) -> u64 {
    // The lower half of a UUIDv7 is random.
    id.as_u64_pair().1.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

const SORTS: [SortField; 4] = [SortField::LastSeenAt, SortField::CreatedAt, SortField::UpdatedAt, SortField::Name];

fn order_of(field: SortField) -> usize {
    SORTS.iter().position(|f| *f == field).unwrap_or(0)
}

/// The parts of the model that an order compares, borrowed apart from the orders themselves.
struct Keys<'m> {
    ids: &'m [Uuid],
    seen: &'m [i64],
    created: &'m [i64],
    updated: &'m [i64],
    texts: &'m Texts,
    has_name: &'m Bits,
}

impl Keys<'_> {
    fn compare(&self, field: SortField, a: u32, b: u32) -> Ordering {
        let (x, y) = (a as usize, b as usize);
        match field {
            SortField::LastSeenAt => self.seen[x].cmp(&self.seen[y]),
            SortField::CreatedAt => self.created[x].cmp(&self.created[y]),
            SortField::UpdatedAt => self.updated[x].cmp(&self.updated[y]),
            SortField::Name => self.name(a).cmp(self.name(b)),
        }
        .then_with(|| self.ids[x].cmp(&self.ids[y]))
    }

    /// The name as lists are sorted by it: 64 characters of it, after all others where there is none. Bytes of UTF-8
    /// compare as their characters do.
    fn name(&self, slot: u32) -> &[u8] {
        if !self.has_name.has(slot) {
            return "\u{10FFFF}".as_bytes();
        }
        let name = self.texts.name(slot);
        if name.len() <= 64 {
            return name;
        }
        let mut characters = 0;
        let end = name.iter().position(|byte| {
            // Any byte but a continuation begins a character.
            characters += usize::from(byte & 0xC0 != 0x80);
            characters > 64
        });
        &name[..end.unwrap_or(name.len())]
    }
}

impl Model {
    fn keys(&self) -> Keys<'_> {
        Keys {
            ids: &self.ids,
            seen: &self.seen,
            created: &self.created,
            updated: &self.updated,
            texts: &self.texts,
            has_name: &self.has_name,
        }
    }

    fn slots(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn people(&self) -> usize {
        self.by_id.len()
    }

    fn slot(&self, id: Uuid) -> Option<u32> {
        self.by_id.find(hash(id), |slot| self.ids[*slot as usize] == id).copied()
    }

    /// Takes a slot out of the orders whose key is about to change.
    fn take_from_order(&mut self, slot: u32, fields: &[SortField]) {
        for field in fields {
            let order = order_of(*field);
            let mut taken = std::mem::take(&mut self.orders[order]);
            let keys = self.keys();
            taken.remove(slot, |a, b| keys.compare(*field, a, b));
            self.orders[order] = taken;
        }
    }

    fn put_in_order(&mut self, slot: u32, fields: &[SortField]) {
        for field in fields {
            let order = order_of(*field);
            let mut taken = std::mem::take(&mut self.orders[order]);
            let keys = self.keys();
            taken.insert(slot, |a, b| keys.compare(*field, a, b));
            self.orders[order] = taken;
        }
    }

    /// Sorts everyone, after a load.
    fn sort(&mut self) {
        self.loading = false;
        for field in SORTS {
            let everyone: Vec<u32> = self.live.iter().collect();
            let mut order = Order::default();
            let keys = self.keys();
            order.build(everyone, |a, b| keys.compare(field, a, b));
            self.orders[order_of(field)] = order;
        }
    }

    /// The person is as this says.
    pub(crate) fn put(&mut self, profile: &Profile, definitions: &Definitions) {
        let text = texts::compose(profile, definitions);
        let (seen, created, updated) = (seen_key(profile).micros(), profile.created_at.micros(), profile.updated_at.micros());
        let slot = match self.slot(profile.id.0) {
            Some(slot) => {
                let at = slot as usize;
                let named = self.texts.name(slot) != text.split(|b| *b == 0).next().unwrap_or_default()
                    || self.has_name.has(slot) != profile.name.is_some();
                let moved: Vec<SortField> = SORTS
                    .into_iter()
                    .filter(|field| match field {
                        SortField::LastSeenAt => self.seen[at] != seen,
                        SortField::CreatedAt => self.created[at] != created,
                        SortField::UpdatedAt => self.updated[at] != updated,
                        SortField::Name => named,
                    })
                    .collect();
                if !self.loading {
                    self.take_from_order(slot, &moved);
                }
                self.write(slot, profile, definitions, &text, (seen, created, updated));
                self.behaviour.put(slot, &profile.activity, self.ids.len(), true);
                if !self.loading {
                    self.put_in_order(slot, &moved);
                }
                return;
            }
            None => self.free.pop().unwrap_or_else(|| {
                self.ids.push(Uuid::nil());
                self.versions.push(0);
                self.seen.push(0);
                self.created.push(0);
                self.updated.push(0);
                u32::try_from(self.ids.len() - 1).unwrap_or(u32::MAX)
            }),
        };
        self.ids[slot as usize] = profile.id.0;
        let ids = &self.ids;
        self.by_id.insert_unique(hash(profile.id.0), slot, |slot| hash(ids[*slot as usize]));
        self.live.set(slot, true);
        self.write(slot, profile, definitions, &text, (seen, created, updated));
        self.behaviour.put(slot, &profile.activity, self.ids.len(), false);
        if !self.loading {
            self.put_in_order(slot, &SORTS);
        }
    }

    /// The person was as `before` says, and is as `after` says. Where the model knows them so, and what is told of them by
    /// texts and columns is the same, only the rest is looked at: most changes are events, labels and segments.
    pub(crate) fn turn(&mut self, before: Option<&Profile>, after: &Profile, definitions: &Definitions) {
        let known = before.and_then(|before| Some((before, self.slot(after.id.0)?)));
        let Some((before, slot)) = known
            .filter(|(before, slot)| !self.loading && self.versions[*slot as usize] == short(before.version) && same_texts(before, after))
        else {
            return self.put(after, definitions);
        };
        let at = slot as usize;
        let (seen, updated) = (seen_key(after).micros(), after.updated_at.micros());
        let moved: Vec<SortField> = [(SortField::LastSeenAt, self.seen[at] != seen), (SortField::UpdatedAt, self.updated[at] != updated)]
            .into_iter()
            .filter_map(|(field, moves)| moves.then_some(field))
            .collect();
        self.take_from_order(slot, &moved);
        self.versions[at] = short(after.version);
        self.seen[at] = seen;
        self.updated[at] = updated;
        self.put_in_order(slot, &moved);
        if before.last_channel != after.last_channel {
            let channel = after.last_channel.as_ref().map(|channel| Scalar::Text(channel.clone()));
            self.columns.entry(Field::LastChannel).or_default().set(slot, channel);
        }
        let slots = self.ids.len();
        if before.activity != after.activity {
            self.behaviour.put(slot, &after.activity, slots, true);
        }
        for (field, old, new) in [(Field::Labels, &before.labels, &after.labels), (Field::Channels, &before.channels, &after.channels)] {
            if old != new {
                let (old, new) = (old.iter().map(String::as_str), new.iter().map(String::as_str));
                self.sets.entry(field).or_default().turn(slot, old, new, slots);
            }
        }
        if before.segments != after.segments {
            let ids = |profile: &Profile| profile.segments.iter().map(|badge| badge.id.to_string()).collect::<Vec<_>>();
            let (old, new) = (ids(before), ids(after));
            let (old, new) = (old.iter().map(String::as_str), new.iter().map(String::as_str));
            self.sets.entry(Field::Segments).or_default().turn(slot, old, new, slots);
        }
    }

    fn write(&mut self, slot: u32, profile: &Profile, definitions: &Definitions, text: &[u8], (seen, created, updated): (i64, i64, i64)) {
        let at = slot as usize;
        self.versions[at] = short(profile.version);
        self.seen[at] = seen;
        self.created[at] = created;
        self.updated[at] = updated;
        self.texts.set(slot, Some(text));
        self.has_name.set(slot, profile.name.is_some());
        self.has_email.set(slot, profile.email.is_some());
        self.has_phone.set(slot, profile.phone.is_some());
        self.has_external_id.set(slot, profile.external_id.is_some());
        self.has_avatar.set(slot, profile.avatar_url.is_some());
        let text_of = |text: Option<&str>| text.map(|t| Scalar::Text(t.to_owned()));
        for property in COLUMNS {
            self.columns.entry(Field::Standard(property)).or_default().set(slot, text_of(profile.standard(property)));
        }
        self.columns.entry(Field::LastChannel).or_default().set(slot, text_of(profile.last_channel.as_deref()));
        // Columns of which the person has no value any more.
        for (field, column) in &mut self.columns {
            match field {
                Field::Consent(channel) if !profile.consents.iter().any(|c| c.channel == *channel) => column.set(slot, None),
                Field::Attribute(key, _) if !profile.attributes.contains_key(key) => column.set(slot, None),
                _ => {}
            }
        }
        for consent in &profile.consents {
            let status = Scalar::Text(consent.status.as_str().to_owned());
            self.columns.entry(Field::Consent(consent.channel.clone())).or_default().set(slot, Some(status));
        }
        let slots = self.ids.len();
        let mut lists: Vec<(Field, Vec<String>)> = vec![
            (Field::Labels, profile.labels.clone()),
            (Field::Channels, profile.channels.clone()),
            (Field::Segments, profile.segments.iter().map(|s| s.id.to_string()).collect()),
        ];
        for (key, value) in &profile.attributes {
            let Some(kind) = definitions.get(key).map(|d| d.kind) else { continue };
            let field = Field::Attribute(key.clone(), kind);
            if kind == PropertyType::TextList {
                let texts = match value {
                    Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    _ => Vec::new(),
                };
                lists.push((field, texts));
            } else {
                self.columns.entry(field).or_default().set(slot, attribute_value(value, kind));
            }
        }
        for field in self.sets.keys() {
            if let Field::Attribute(key, _) = field
                && !profile.attributes.contains_key(key)
            {
                lists.push((field.clone(), Vec::new()));
            }
        }
        for (field, values) in lists {
            self.sets.entry(field).or_default().put(slot, &values, slots);
        }
    }

    /// The person is gone, and so is every byte of their texts.
    pub(crate) fn remove(&mut self, id: ProfileId) {
        let Some(slot) = self.slot(id.0) else { return };
        if !self.loading {
            self.take_from_order(slot, &SORTS);
        }
        if let Ok(entry) = self.by_id.find_entry(hash(id.0), |s| *s == slot) {
            entry.remove();
        }
        self.live.set(slot, false);
        self.texts.set(slot, None);
        for bits in [&mut self.has_name, &mut self.has_email, &mut self.has_phone, &mut self.has_external_id, &mut self.has_avatar] {
            bits.set(slot, false);
        }
        for column in self.columns.values_mut() {
            column.set(slot, None);
        }
        let slots = self.ids.len();
        self.behaviour.put(slot, &Activity::default(), slots, true);
        for sets in self.sets.values_mut() {
            sets.put(slot, &[], slots);
        }
        self.ids[slot as usize] = Uuid::nil();
        self.free.push(slot);
    }

    /// Memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.ids.capacity() * (16 + 4 + 3 * 8)
            + self.by_id.capacity() * 5
            + self.texts.bytes()
            + self.behaviour.bytes()
            + self.columns.values().map(Column::bytes).sum::<usize>()
            + self.sets.values().flat_map(|s| s.by_value.values()).map(Members::bytes).sum::<usize>()
            + self.orders.iter().map(Order::bytes).sum::<usize>()
            + 6 * self.live.bytes()
    }
}

/// Whether texts and columns tell the same of both, but for the channel used last.
fn same_texts(before: &Profile, after: &Profile) -> bool {
    before.created_at == after.created_at && before.consents == after.consents && before.is_described_as(after)
}

/// Enough of a version to tell that it changed.
#[expect(clippy::cast_possible_truncation, reason = "compared with what was cut the same way")]
fn short(version: u64) -> u32 {
    version as u32
}

/// Whether a document is in the version a page was made from.
pub(crate) fn same_version(document: i64, judged: u32) -> bool {
    u64::try_from(document).is_ok_and(|version| short(version) == judged)
}

impl Sets {
    fn put(&mut self, slot: u32, values: &[String], slots: usize) {
        if self.too_many {
            return;
        }
        for (value, members) in &mut self.by_value {
            if members.has(slot) && !values.iter().any(|v| **v == **value) {
                members.set(slot, false, slots);
            }
        }
        for value in values {
            self.enter(slot, value, slots);
        }
        self.bound();
    }

    /// The slot has these values instead of those.
    fn turn<'v>(
        &mut self,
        slot: u32,
        old: impl Iterator<Item = &'v str> + Clone,
        new: impl Iterator<Item = &'v str> + Clone,
        slots: usize,
    ) {
        if self.too_many {
            return;
        }
        for value in old.filter(|value| new.clone().all(|kept| kept != *value)) {
            if let Some(members) = self.by_value.get_mut(value) {
                members.set(slot, false, slots);
            }
        }
        for value in new {
            self.enter(slot, value, slots);
        }
        self.bound();
    }

    fn enter(&mut self, slot: u32, value: &str, slots: usize) {
        match self.by_value.get_mut(value) {
            Some(members) => members.set(slot, true, slots),
            None => {
                let mut members = Members::default();
                members.set(slot, true, slots);
                self.by_value.insert(value.into(), members);
            }
        }
    }

    fn bound(&mut self) {
        if self.by_value.len() > MAX_SET_VALUES {
            *self = Self { by_value: HashMap::new(), too_many: true };
        }
    }
}
