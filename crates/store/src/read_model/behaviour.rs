//! What everyone did, counted: for each type of event how often and when last, a cell for each slot.
//!
//! A test that asks how often something ever happened is answered from here. One that looks into events (a window of
//! time, their properties) is answered for those who cannot have passed, or must have; the others are named, so that the
//! database is asked about them and nobody else.

use std::collections::HashMap;

use people_domain::{
    Timestamp,
    activity::{Activity, key},
    filter::EventTest,
};

use super::bits::Bits;

/// Times are kept in seconds, rounded up: enough to tell who cannot have done a thing lately.
type Cell = (u32, u32);

#[derive(Debug)]
enum Tallies {
    /// While few did it.
    Few(HashMap<u32, Cell>),
    Many(Vec<Cell>),
}

#[derive(Debug, Default)]
pub(super) struct Behaviour {
    by_type: HashMap<Box<str>, Tallies>,
    /// Who did so many different things that some are not counted by name.
    others: Bits,
}

/// Who passes a test for sure, and who has to be asked about.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) sure: Bits,
    pub(super) ask: Bits,
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.micros().div_euclid(1_000_000).saturating_add(1).max(0)).unwrap_or(u32::MAX)
}

impl Tallies {
    fn get(&self, slot: u32) -> Cell {
        match self {
            Self::Few(cells) => cells.get(&slot).copied().unwrap_or_default(),
            Self::Many(cells) => cells.get(slot as usize).copied().unwrap_or_default(),
        }
    }

    fn set(&mut self, slot: u32, cell: Cell, slots: usize) {
        match self {
            Self::Few(cells) => {
                if cell.0 == 0 {
                    cells.remove(&slot);
                } else {
                    cells.insert(slot, cell);
                }
                // An entry of a hash table takes about three cells of a list.
                if cells.len() > 64 && cells.len() * 3 > slots {
                    let mut list = vec![Cell::default(); slots];
                    for (slot, cell) in cells.drain() {
                        list[slot as usize] = cell;
                    }
                    *self = Self::Many(list);
                }
            }
            Self::Many(cells) => {
                if slot as usize >= cells.len() {
                    if cell.0 == 0 {
                        return;
                    }
                    cells.resize(slot as usize + 1, Cell::default());
                }
                cells[slot as usize] = cell;
            }
        }
    }

    fn each(&self, mut take: impl FnMut(u32, Cell)) {
        match self {
            Self::Few(cells) => cells.iter().for_each(|(slot, cell)| take(*slot, *cell)),
            Self::Many(cells) => {
                for (slot, cell) in (0..).zip(cells).filter(|(_, cell)| cell.0 > 0) {
                    take(slot, *cell);
                }
            }
        }
    }
}

impl Behaviour {
    /// `known`: the slot had somebody in it already, of whom something may have to go.
    pub(super) fn put(&mut self, slot: u32, activity: &Activity, slots: usize, known: bool) {
        if known {
            for (name, tallies) in &mut self.by_type {
                if tallies.get(slot).0 > 0 && activity.tallies().all(|(key, _)| key != &**name) {
                    tallies.set(slot, Cell::default(), slots);
                }
            }
        }
        for (key, tally) in activity.tallies() {
            let cell = (u32::try_from(tally.count).unwrap_or(u32::MAX), seconds(tally.last));
            match self.by_type.get_mut(key) {
                Some(tallies) => tallies.set(slot, cell, slots),
                None => {
                    self.by_type.insert(key.into(), Tallies::Few(HashMap::from([(slot, cell)])));
                }
            }
        }
        self.others.set(slot, activity.has_others());
    }

    pub(super) fn judge(&self, test: &EventTest, now: Timestamp, slots: usize) -> Judged {
        let tallies = self.by_type.get(key(&test.kind).as_str());
        let mut sure = if test.needs_one() { Bits::none(slots) } else { Bits::all(slots) };
        let mut ask = Bits::none(slots);
        let since = test.within.map(|span| seconds(now.minus(span)).saturating_sub(1));
        if let Some(tallies) = tallies {
            tallies.each(|slot, (count, last)| {
                if test.counts_all() && count < u32::MAX {
                    sure.set(slot, test.allows(i64::from(count)));
                } else if since.is_none_or(|since| last >= since) {
                    sure.set(slot, false);
                    ask.set(slot, true);
                }
            });
        }
        for slot in self.others.iter() {
            sure.set(slot, false);
            ask.set(slot, true);
        }
        Judged { sure, ask }
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |tallies: &Tallies| match tallies {
            Tallies::Few(cells) => cells.capacity() * 16,
            Tallies::Many(cells) => cells.capacity() * size_of::<Cell>(),
        };
        self.by_type.values().map(of).sum::<usize>() + self.others.bytes()
    }
}
