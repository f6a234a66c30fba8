//! Living profiles: segments and label rules, kept true on their own.
//!
//! A definition is a filter and what follows from it. On a change only those definitions are judged that read something
//! that changed, on the person as they are then; what follows may be read by others, which come after it: the order is
//! topological, and definitions that would chase each other are refused. Judging also tells when time alone may change an
//! answer, so that nobody has to look at everybody once a day.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Timestamp,
    filter::{EventTest, Events, Field, Filter, Test, earliest, judge},
    id::{RecordId, SegmentId},
    label,
    profile::{Profile, SegmentBadge},
};

/// Most segments, and most rules, of a workspace.
pub const MAX_DEFINITIONS: usize = 500;

/// What a definition makes of somebody its filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Makes {
    /// A member.
    Segment(SegmentBadge),
    /// Somebody with a label; `removes`: it goes when the filter does not match any more.
    Label { rule: RecordId, label: String, removes: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub makes: Makes,
    /// A filter that matches no one stands for a rule that is switched off.
    pub filter: Filter,
}

/// What definitions depend on one another by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Segment(String),
    Label(String),
    AnySegment,
    AnyLabel,
}

/// Every definition of a workspace, each after those it reads.
#[derive(Clone, Debug, Default)]
pub struct Living {
    definitions: Vec<Definition>,
    /// By the name of a field, as history calls it, or `event:<type>`.
    readers: HashMap<String, Vec<usize>>,
    /// Who reads what a definition makes, directly or through others.
    followers: Vec<BTreeSet<usize>>,
    by_time: BTreeSet<usize>,
}

/// The names in a ring of definitions that read one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring(pub Vec<String>);

/// What became of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub entered: Vec<SegmentId>,
    pub left: Vec<SegmentId>,
    /// Labels put on or taken off by a rule.
    pub labels: Vec<(RecordId, String, Put)>,
    /// When time alone may change what was judged.
    pub flips_at: Option<Timestamp>,
    /// A badge has another name now.
    pub renamed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    On,
    Off,
    /// It stays, by another rule than the one that put it on.
    Over,
}

impl Definition {
    fn name(&self) -> String {
        match &self.makes {
            Makes::Segment(badge) => badge.name.clone(),
            Makes::Label { label, .. } => format!("rule for {label}"),
        }
    }

    fn thing(&self) -> Thing {
        match &self.makes {
            Makes::Segment(badge) => Thing::Segment(badge.id.to_string()),
            Makes::Label { label, .. } => Thing::Label(label.clone()),
        }
    }

    fn needs(&self) -> BTreeSet<Thing> {
        let mut out = BTreeSet::new();
        for leaf in self.filter.leaves() {
            let Filter::Is(field @ (Field::Segments | Field::Labels), test) = leaf else { continue };
            let named = |name: &String| if *field == Field::Segments { Thing::Segment(name.clone()) } else { Thing::Label(name.clone()) };
            match test {
                Test::HasAny(names) | Test::HasAll(names) | Test::HasNone(names) => out.extend(names.iter().map(named)),
                _ => {
                    out.insert(if *field == Field::Segments { Thing::AnySegment } else { Thing::AnyLabel });
                }
            }
        }
        out
    }

    /// The fields and events its filter reads.
    fn reads(&self) -> BTreeSet<String> {
        self.filter
            .leaves()
            .into_iter()
            .filter_map(|leaf| match leaf {
                Filter::Is(field, _) => Some(field.name()),
                Filter::Event(test) => Some(event_name(&test.kind)),
                _ => None,
            })
            .collect()
    }

    /// Whether time alone can change its answer.
    fn is_by_time(&self) -> bool {
        self.filter.leaves().into_iter().any(|leaf| match leaf {
            Filter::Is(_, test) => matches!(test, Test::WithinLast(_) | Test::NotWithinLast(_)),
            Filter::Event(test) => test.within.is_some() || test.is_relative(),
            _ => false,
        })
    }
}

/// An event's type, as [`Living::affected`] is told of it.
pub fn event_name(kind: &str) -> String {
    format!("event:{kind}")
}

impl Living {
    /// Puts definitions in order. E: some read one another in a ring.
    pub fn new(definitions: Vec<Definition>) -> Result<Self, Ring> {
        let makes: Vec<Thing> = definitions.iter().map(Definition::thing).collect();
        let needs: Vec<BTreeSet<Thing>> = definitions.iter().map(Definition::needs).collect();
        let reads = |reader: usize, made: usize| {
            needs[reader].contains(&makes[made])
                || match makes[made] {
                    Thing::Segment(_) => needs[reader].contains(&Thing::AnySegment),
                    _ => needs[reader].contains(&Thing::AnyLabel),
                }
        };
        let all = 0..definitions.len();
        let sources: Vec<Vec<usize>> = all.clone().map(|reader| all.clone().filter(|made| reads(reader, *made)).collect()).collect();
        let mut order: Vec<usize> = Vec::with_capacity(definitions.len());
        let mut waiting: Vec<usize> = all.collect();
        while !waiting.is_empty() {
            let (ready, rest): (Vec<usize>, Vec<usize>) =
                waiting.iter().partition(|reader| sources[**reader].iter().all(|made| order.contains(made)));
            if ready.is_empty() {
                return Err(Ring(rest.into_iter().map(|i| definitions[i].name()).collect()));
            }
            order.extend(ready);
            waiting = rest;
        }
        let place: HashMap<usize, usize> = order.iter().enumerate().map(|(place, i)| (*i, place)).collect();
        let mut followers: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); definitions.len()];
        // From the last to the first, whoever follows a follower follows too.
        for made in (0..order.len()).rev() {
            let direct: Vec<usize> = order.iter().filter(|i| sources[**i].contains(&order[made])).map(|i| place[i]).collect();
            for reader in direct {
                let further = followers[reader].clone();
                followers[made].insert(reader);
                followers[made].extend(further);
            }
        }
        let mut slots: Vec<Option<Definition>> = definitions.into_iter().map(Some).collect();
        let definitions: Vec<Definition> = order.into_iter().filter_map(|i| slots[i].take()).collect();
        let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, definition) in definitions.iter().enumerate() {
            for name in definition.reads() {
                readers.entry(name).or_default().push(i);
            }
        }
        let by_time = definitions.iter().enumerate().filter(|(_, d)| d.is_by_time()).map(|(i, _)| i).collect();
        Ok(Self { definitions, readers, followers, by_time })
    }

    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// Whether judging these, or whatever follows from them, may take a label off.
    pub fn may_unlabel(&self, which: &BTreeSet<usize>) -> bool {
        let takes_off = |i: &usize| matches!(self.definitions[*i].makes, Makes::Label { removes: true, .. });
        which.iter().any(|i| takes_off(i) || self.followers[*i].iter().any(takes_off))
    }

    /// Where the definition with this id stands.
    pub fn place(&self, id: uuid::Uuid) -> Option<usize> {
        self.definitions.iter().position(|definition| match &definition.makes {
            Makes::Segment(badge) => badge.id.0 == id,
            Makes::Label { rule, .. } => rule.0 == id,
        })
    }

    pub fn all(&self) -> BTreeSet<usize> {
        (0..self.definitions.len()).collect()
    }

    /// Those whose answer may change by time alone.
    pub fn by_time(&self) -> &BTreeSet<usize> {
        &self.by_time
    }

    /// The definitions that read one of these fields or events.
    pub fn affected<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> BTreeSet<usize> {
        names.into_iter().filter_map(|name| self.readers.get(name)).flatten().copied().collect()
    }

    /// The tests of events that judging these, and whatever follows from them, may ask.
    pub fn tests(&self, which: &BTreeSet<usize>) -> Vec<&EventTest> {
        let reached: BTreeSet<usize> = which.iter().flat_map(|i| self.followers[*i].iter().chain(std::iter::once(i))).copied().collect();
        let mut out: Vec<&EventTest> = Vec::new();
        for leaf in reached.into_iter().flat_map(|i| self.definitions[i].filter.leaves()) {
            if let Filter::Event(test) = leaf
                && !out.contains(&test)
            {
                out.push(test);
            }
        }
        out
    }

    /// Judges these definitions, and those that read what follows, and changes the person accordingly. `ruled` tells which
    /// labels a rule put on, and which rule; labels put by hand are not in it, and stay.
    pub fn settle(
        &self,
        profile: &mut Profile,
        ruled: &mut BTreeMap<String, RecordId>,
        which: &BTreeSet<usize>,
        events: &dyn Events,
        now: Timestamp,
    ) -> Settled {
        let mut out = Settled::default();
        let mut queue = which.clone();
        while let Some(i) = queue.pop_first() {
            let definition = &self.definitions[i];
            let verdict = judge(&definition.filter, profile, events, now);
            out.flips_at = earliest(out.flips_at, verdict.flips_at);
            let changed = match &definition.makes {
                Makes::Segment(badge) => belong(profile, badge, verdict.holds, &mut out),
                Makes::Label { rule, label, removes } => {
                    self.carry(profile, ruled, (*rule, label, *removes), verdict.holds, &mut out, &|filter, profile| {
                        judge(filter, profile, events, now).holds
                    })
                }
            };
            if changed {
                // Everyone who reads it stands further on.
                queue.extend(&self.followers[i]);
            }
        }
        profile.segments.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        out
    }

    fn carry(
        &self,
        profile: &mut Profile,
        ruled: &mut BTreeMap<String, RecordId>,
        (rule, label, removes): (RecordId, &str, bool),
        holds: bool,
        out: &mut Settled,
        judge: &dyn Fn(&Filter, &Profile) -> bool,
    ) -> bool {
        let carries = profile.labels.iter().any(|held| held == label);
        if holds {
            if carries || profile.labels.len() >= label::MAX_PER_PROFILE {
                return false;
            }
            profile.labels.push(label.to_owned());
            profile.labels.sort();
            ruled.insert(label.to_owned(), rule);
            out.labels.push((rule, label.to_owned(), Put::On));
            return true;
        }
        if !carries || !removes || ruled.get(label) != Some(&rule) {
            return false;
        }
        let other = self.definitions.iter().find_map(|other| match &other.makes {
            Makes::Label { rule: id, label: theirs, .. } if theirs == label && *id != rule && judge(&other.filter, profile) => Some(*id),
            _ => None,
        });
        if let Some(other) = other {
            ruled.insert(label.to_owned(), other);
            out.labels.push((other, label.to_owned(), Put::Over));
            return false;
        }
        profile.labels.retain(|held| held != label);
        ruled.remove(label);
        out.labels.push((rule, label.to_owned(), Put::Off));
        true
    }
}

fn belong(profile: &mut Profile, badge: &SegmentBadge, holds: bool, out: &mut Settled) -> bool {
    let place = profile.segments.iter().position(|held| held.id == badge.id);
    match (place, holds) {
        (None, true) => {
            profile.segments.push(badge.clone());
            out.entered.push(badge.id);
            true
        }
        (Some(place), false) => {
            profile.segments.remove(place);
            out.left.push(badge.id);
            true
        }
        (Some(place), true) if profile.segments[place].name != badge.name => {
            profile.segments[place].name.clone_from(&badge.name);
            out.renamed = true;
            false
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
