//! Answers from memory: a filter as a bitmap, a search through it, a page along an order, an exact count.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use people_domain::{
    Timestamp,
    filter::{EventTest, Field, Filter, Scalar, Test},
    id::ProfileId,
    page::{Position, SortField, SortKey},
    property::{PropertyType, Standard},
};
use uuid::Uuid;

use super::{
    Model,
    behaviour::Judged,
    bits::{Bits, words},
    column, order_of,
    texts::{Needles, Part, Place},
};
use crate::find::Question;

/// So few that they are gathered and sorted rather than met along the order.
const FEW: usize = 4_096;
/// Texts looked at along an order before all candidates are looked at in the order they lie in.
const LOOKS: usize = 30_000;

/// A page's people, with the versions they were judged by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) people: Vec<(ProfileId, u32)>,
    /// Where each of them stands in the order.
    pub(crate) last: Option<Position>,
    pub(crate) more: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) page: Page,
    pub(crate) total: Option<usize>,
}

/// What the database told of conditions that memory cannot judge alone, by where a condition stands in its filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside(HashMap<usize, Told>);

/// Of whom the database was asked, and who passed.
#[derive(Clone, Debug)]
struct Told {
    asked: Option<HashSet<Uuid>>,
    passed: HashSet<Uuid>,
}

/// A condition is known by its place in the filter, which stays where it is while a question is answered.
fn place_of(condition: &Filter) -> usize {
    std::ptr::from_ref(condition).addr()
}

impl Outside {
    /// The whole answer of a condition.
    pub(crate) fn tell(&mut self, condition: &Filter, passed: HashSet<Uuid>) {
        self.0.insert(place_of(condition), Told { asked: None, passed });
    }

    /// The answer of a condition for some.
    pub(crate) fn tell_of(&mut self, condition: &Filter, asked: HashSet<Uuid>, passed: HashSet<Uuid>) {
        self.0.insert(place_of(condition), Told { asked: Some(asked), passed });
    }
}

impl Model {
    /// How many people have each value of a set; `None` when it has too many values to be kept.
    pub(crate) fn set_sizes(&self, field: &Field) -> Option<HashMap<String, i64>> {
        let Some(sets) = self.sets.get(field) else { return Some(HashMap::new()) };
        let size = |members: &super::bits::Members| i64::try_from(members.len()).unwrap_or(i64::MAX);
        (!sets.too_many).then(|| sets.by_value.iter().map(|(value, members)| (value.to_string(), size(members))).collect())
    }

    /// Of whom the database has to be asked, for a condition on events.
    pub(crate) fn to_ask(&self, test: &EventTest, now: Timestamp) -> Vec<Uuid> {
        let mut ask = self.behaviour.judge(test, now, self.slots()).ask;
        ask.and(&self.live);
        ask.iter().map(|slot| self.ids[slot as usize]).collect()
    }

    /// The page and the total; `None` when a condition needs what is not kept in memory.
    pub(crate) fn answer(&self, question: &Question, outside: &Outside, pinned: &[ProfileId], limit: usize, count: bool) -> Option<Answer> {
        let matching = self.matching(&question.filter, outside, question.now)?;
        let needles = Needles::of(&question.query);
        let mut candidates = matching;
        if let Some(narrow) = self.texts.candidates(&question.query, self.slots()) {
            candidates.and(&narrow);
        }
        let searched = !question.query.words.is_empty();
        // Once every candidate was looked at, they are the answer.
        let mut exact = !searched;
        let settle = |candidates: &mut Bits| {
            let wrong: Vec<u32> = candidates.iter().filter(|slot| !needles.all_in(self.texts.get(*slot))).collect();
            wrong.into_iter().for_each(|slot| candidates.set(slot, false));
        };
        if searched && (count || candidates.count() <= FEW) {
            settle(&mut candidates);
            exact = true;
        }
        let total = count.then(|| candidates.count());
        if limit == 0 {
            return Some(Answer { page: Page::default(), total });
        }
        let pinned: Vec<u32> = pinned.iter().filter_map(|id| self.slot(id.0)).collect();
        let mut slots = Vec::with_capacity(limit + 1);
        let mut walked = false;
        if candidates.count() > FEW {
            let mut looks = 0;
            walked = true;
            for slot in self.walk(question) {
                if !candidates.has(slot) || pinned.contains(&slot) {
                    continue;
                }
                if !exact {
                    looks += 1;
                    if looks > LOOKS {
                        walked = false;
                        break;
                    }
                    if !needles.all_in(self.texts.get(slot)) {
                        continue;
                    }
                }
                slots.push(slot);
                if slots.len() > limit {
                    break;
                }
            }
            if !walked {
                settle(&mut candidates);
            }
        }
        if !walked {
            slots = self.gather(question, &candidates, &pinned, limit + 1);
        }
        let more = slots.len() > limit;
        slots.truncate(limit);
        let last = slots.last().map(|slot| self.position(question.sort.field, *slot));
        let people = slots.into_iter().map(|slot| (ProfileId(self.ids[slot as usize]), self.versions[slot as usize])).collect();
        Some(Answer { page: Page { people, last, more }, total })
    }

    fn position(&self, field: SortField, slot: u32) -> Position {
        let at = slot as usize;
        let key = match field {
            SortField::LastSeenAt => SortKey::Time(self.seen[at]),
            SortField::CreatedAt => SortKey::Time(self.created[at]),
            SortField::UpdatedAt => SortKey::Time(self.updated[at]),
            // Cut between characters of what was UTF-8.
            SortField::Name => SortKey::Text(String::from_utf8_lossy(self.keys().name(slot)).into_owned()),
        };
        Position { key, id: ProfileId(self.ids[at]) }
    }

    /// Where a slot stands to a position.
    fn stands(&self, field: SortField, slot: u32, place: &Position) -> Ordering {
        let at = slot as usize;
        match (&place.key, field) {
            (SortKey::Text(text), SortField::Name) => self.keys().name(slot).cmp(text.as_bytes()),
            (SortKey::Time(time), SortField::CreatedAt) => self.created[at].cmp(time),
            (SortKey::Time(time), SortField::UpdatedAt) => self.updated[at].cmp(time),
            (SortKey::Time(time), _) => self.seen[at].cmp(time),
            // A cursor is bound to its sort: this does not happen.
            (SortKey::Text(_), _) => Ordering::Equal,
        }
        .then_with(|| self.ids[at].cmp(&place.id.0))
    }

    fn walk<'a>(&'a self, question: &'a Question) -> impl Iterator<Item = u32> + 'a {
        let field = question.sort.field;
        let stands = question.after.as_ref().map(|place| move |slot: u32| self.stands(field, slot, place));
        let place = stands.as_ref().map(|stands| stands as &dyn Fn(u32) -> Ordering);
        self.orders[order_of(field)].walk(question.sort.descending, place, move |a, b| self.keys().compare(field, a, b))
    }

    fn gather(&self, question: &Question, among: &Bits, pinned: &[u32], limit: usize) -> Vec<u32> {
        let (field, descending) = (question.sort.field, question.sort.descending);
        let beyond = if descending { Ordering::Less } else { Ordering::Greater };
        let mut slots: Vec<u32> = among
            .iter()
            .filter(|slot| question.after.as_ref().is_none_or(|place| self.stands(field, *slot, place) == beyond))
            .filter(|slot| !pinned.contains(slot))
            .collect();
        let keys = self.keys();
        let compare = |a: &u32, b: &u32| {
            let order = keys.compare(field, *a, *b);
            if descending { order.reverse() } else { order }
        };
        if slots.len() > limit {
            slots.select_nth_unstable_by(limit - 1, compare);
            slots.truncate(limit);
        }
        slots.sort_unstable_by(compare);
        slots
    }

    /// Everyone the filter matches.
    fn matching(&self, filter: &Filter, outside: &Outside, now: Timestamp) -> Option<Bits> {
        let mut out = self.eval(filter, outside, now)?;
        out.and(&self.live);
        Some(out)
    }

    fn eval(&self, filter: &Filter, outside: &Outside, now: Timestamp) -> Option<Bits> {
        let slots = self.slots();
        if let Some(told) = outside.0.get(&place_of(filter)).filter(|_| matches!(filter, Filter::Is(..))) {
            return Some(self.named(&told.passed));
        }
        match filter {
            Filter::All(parts) => {
                let mut out = Bits::all(slots);
                // Parts of texts are looked for last, among those who are left.
                let (texts, others): (Vec<_>, Vec<_>) = parts.iter().partition(|part| text_part(part).is_some());
                for part in others {
                    out.and(&self.eval(part, outside, now)?);
                }
                for (place, part) in texts.into_iter().filter_map(text_part) {
                    out.and(self.present(place));
                    out = self.texts.with_part(place, part, &out, slots);
                }
                Some(out)
            }
            Filter::Any(parts) => {
                let mut out = Bits::none(slots);
                for part in parts {
                    out.or(&self.eval(part, outside, now)?);
                }
                Some(out)
            }
            Filter::Not(inner) => {
                let mut out = self.eval(inner, outside, now)?;
                out.flip();
                Some(out)
            }
            Filter::Is(field, test) => match text_part(filter) {
                Some((place, part)) => Some(self.texts.with_part(place, part, self.present(place), slots)),
                None => self.condition(field, test, now),
            },
            Filter::Event(test) => {
                let Judged { mut sure, mut ask } = self.behaviour.judge(test, now, slots);
                ask.and(&self.live);
                if ask.0.iter().all(|word| *word == 0) {
                    return Some(sure);
                }
                let told = outside.0.get(&place_of(filter))?;
                for slot in ask.iter() {
                    let id = self.ids[slot as usize];
                    // Somebody who came to be asked about meanwhile: the database judges all.
                    if told.asked.as_ref().is_some_and(|asked| !asked.contains(&id)) {
                        return None;
                    }
                    sure.set(slot, told.passed.contains(&id));
                }
                Some(sure)
            }
        }
    }

    fn named(&self, ids: &HashSet<Uuid>) -> Bits {
        let mut out = Bits::none(self.slots());
        ids.iter().filter_map(|id| self.slot(*id)).for_each(|slot| out.set(slot, true));
        out
    }

    fn condition(&self, field: &Field, test: &Test, now: Timestamp) -> Option<Bits> {
        let slots = self.slots();
        match field {
            Field::Id => self.with_id(test),
            Field::Email => presence(&self.has_email, test, slots),
            Field::Phone => presence(&self.has_phone, test, slots),
            Field::ExternalId => presence(&self.has_external_id, test, slots),
            Field::Standard(Standard::Name) => presence(&self.has_name, test, slots),
            Field::Standard(Standard::AvatarUrl) => presence(&self.has_avatar, test, slots),
            Field::CreatedAt => Some(column::times(&self.created, None, test, now, slots)),
            Field::UpdatedAt => Some(column::times(&self.updated, None, test, now, slots)),
            Field::LastSeenAt => Some(column::times(&self.seen, Some(Timestamp::MIN.micros()), test, now, slots)),
            Field::Labels | Field::Segments | Field::Channels | Field::Attribute(_, PropertyType::TextList) => self.in_set(field, test),
            Field::Standard(_) | Field::LastChannel | Field::Consent(_) | Field::Attribute(..) => match self.columns.get(field) {
                Some(column) => column.answer(test, now, slots),
                // Nobody has a value.
                None => column::Column::default().answer(test, now, slots),
            },
        }
    }

    fn with_id(&self, test: &Test) -> Option<Bits> {
        let named = |values: &[Scalar]| {
            let mut out = Bits::none(self.slots());
            for value in values {
                if let Scalar::Text(text) = value
                    && let Some(slot) = Uuid::try_parse(text).ok().and_then(|id| self.slot(id))
                {
                    out.set(slot, true);
                }
            }
            out
        };
        match test {
            Test::Exists => Some(Bits::all(self.slots())),
            Test::Missing => Some(Bits::none(self.slots())),
            Test::In(values) => Some(named(values)),
            Test::NotIn(values) => {
                let mut out = named(values);
                out.flip();
                Some(out)
            }
            _ => None,
        }
    }

    fn present(&self, place: Place) -> &Bits {
        match place {
            Place::Name => &self.has_name,
            Place::Email => &self.has_email,
            Place::Phone => &self.has_phone,
            Place::ExternalId => &self.has_external_id,
        }
    }

    fn in_set(&self, field: &Field, test: &Test) -> Option<Bits> {
        let slots = self.slots();
        let sets = self.sets.get(field);
        if sets.is_some_and(|s| s.too_many) {
            return None;
        }
        let members = |value: &str| {
            let mut out = Bits::none(slots);
            if let Some(members) = sets.and_then(|s| s.by_value.get(value)) {
                members.add_to(&mut out);
            }
            out
        };
        let any = |values: &mut dyn Iterator<Item = &str>| {
            let mut out = Bits::none(slots);
            for value in values {
                if let Some(members) = sets.and_then(|s| s.by_value.get(value)) {
                    members.add_to(&mut out);
                }
            }
            out
        };
        let mut everything = sets.iter().flat_map(|s| s.by_value.iter()).filter(|(_, m)| !m.is_empty()).map(|(value, _)| &**value);
        let mut out = match test {
            Test::Exists | Test::Missing => any(&mut everything),
            Test::HasAny(wanted) | Test::HasNone(wanted) => any(&mut wanted.iter().map(String::as_str)),
            Test::HasAll(wanted) => {
                let mut out = Bits::all(slots);
                wanted.iter().for_each(|value| out.and(&members(value)));
                out
            }
            _ => return None,
        };
        if matches!(test, Test::Missing | Test::HasNone(_)) {
            out.flip();
        }
        debug_assert_eq!(out.0.len(), words(slots));
        Some(out)
    }
}

/// A condition on part of a field that has its place in the texts.
fn text_part(filter: &Filter) -> Option<(Place, Part<'_>)> {
    let Filter::Is(field, test) = filter else { return None };
    let place = match field {
        Field::Email => Place::Email,
        Field::Phone => Place::Phone,
        Field::ExternalId => Place::ExternalId,
        Field::Standard(Standard::Name) => Place::Name,
        _ => return None,
    };
    match test {
        Test::Contains(needle) => Some((place, Part::Anywhere(needle))),
        Test::StartsWith(needle) => Some((place, Part::Start(needle))),
        Test::EndsWith(needle) => Some((place, Part::End(needle))),
        _ => None,
    }
}

/// Whole values of such fields are left to the database's indexes.
fn presence(present: &Bits, test: &Test, slots: usize) -> Option<Bits> {
    let mut out = present.sized(slots);
    match test {
        Test::Exists => {}
        Test::Missing => out.flip(),
        _ => return None,
    }
    Some(out)
}
