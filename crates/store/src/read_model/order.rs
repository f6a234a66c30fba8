//! The orders a list can be walked in: one sorted run, and beside it those who moved since it was sorted.
//!
//! Those who moved are few and kept sorted; once they are many they are worked into the run, which costs a look at
//! everyone, but so seldom that each move pays little.

use std::cmp::Ordering;

use super::bits::Bits;

#[derive(Debug, Default)]
pub(super) struct Order {
    run: Vec<u32>,
    /// Who is in `moved`, or nowhere, whatever the run says.
    stale: Bits,
    moved: Vec<u32>,
}

impl Order {
    /// Takes a slot out; its key must still be the one it was put in with.
    pub(super) fn remove(&mut self, slot: u32, compare: impl Fn(u32, u32) -> Ordering) {
        if self.stale.has(slot) {
            if let Ok(at) = self.moved.binary_search_by(|other| compare(*other, slot)) {
                self.moved.remove(at);
            }
        } else {
            self.stale.set(slot, true);
        }
    }

    /// Puts a slot in that is not in, where its key says.
    pub(super) fn insert(&mut self, slot: u32, compare: impl Fn(u32, u32) -> Ordering) {
        self.stale.set(slot, true);
        if let Err(at) = self.moved.binary_search_by(|other| compare(*other, slot)) {
            self.moved.insert(at, slot);
        }
        if self.moved.len() > 2_048.max(self.run.len() / 16) {
            self.work_in(compare);
        }
    }

    fn work_in(&mut self, compare: impl Fn(u32, u32) -> Ordering) {
        let mut run = std::mem::take(&mut self.run);
        run.retain(|slot| !self.stale.has(*slot));
        let mut out = Vec::with_capacity(run.len() + self.moved.len());
        let mut from = 0;
        for slot in self.moved.drain(..) {
            let at = from + run[from..].partition_point(|other| compare(*other, slot) == Ordering::Less);
            out.extend_from_slice(&run[from..at]);
            out.push(slot);
            from = at;
        }
        out.extend_from_slice(&run[from..]);
        self.run = out;
        self.stale = Bits::default();
    }

    /// Sorts everyone at once.
    pub(super) fn build(&mut self, slots: Vec<u32>, compare: impl Fn(u32, u32) -> Ordering) {
        self.run = slots;
        self.run.sort_unstable_by(|a, b| compare(*a, *b));
        self.stale = Bits::default();
        self.moved.clear();
    }

    /// Everyone after a place, or from the beginning: `place` tells where a slot stands to it.
    pub(super) fn walk<'a, F: Fn(u32, u32) -> Ordering + 'a>(
        &'a self,
        descending: bool,
        place: Option<&dyn Fn(u32) -> Ordering>,
        compare: F,
    ) -> impl Iterator<Item = u32> + use<'a, F> {
        let bounds = |list: &[u32]| match (place, descending) {
            (None, _) => (0, list.len()),
            (Some(place), true) => (0, list.partition_point(|slot| place(*slot) == Ordering::Less)),
            (Some(place), false) => (list.partition_point(|slot| place(*slot) != Ordering::Greater), list.len()),
        };
        let (from, to) = self.run_bounds(place, descending);
        let mut run = &self.run[from..to];
        let (from, to) = bounds(&self.moved);
        let mut moved = &self.moved[from..to];
        let wanted = if descending { Ordering::Greater } else { Ordering::Less };
        std::iter::from_fn(move || {
            let ends = |list: &[u32]| if descending { list.last().copied() } else { list.first().copied() };
            let shorter = |list: &'a [u32]| if descending { &list[..list.len() - 1] } else { &list[1..] };
            while let Some(slot) = ends(run) {
                if !self.stale.has(slot) {
                    break;
                }
                run = shorter(run);
            }
            match (ends(run), ends(moved)) {
                (Some(a), Some(b)) if compare(a, b) == wanted => {
                    run = shorter(run);
                    Some(a)
                }
                (_, Some(b)) => {
                    moved = shorter(moved);
                    Some(b)
                }
                (Some(a), None) => {
                    run = shorter(run);
                    Some(a)
                }
                (None, None) => None,
            }
        })
    }

    /// Where a place lies in the run. Stale entries are not in order any more, so the search steps over them.
    fn run_bounds(&self, place: Option<&dyn Fn(u32) -> Ordering>, descending: bool) -> (usize, usize) {
        let Some(place) = place else { return (0, self.run.len()) };
        let before = |slot: u32| if descending { place(slot) == Ordering::Less } else { place(slot) != Ordering::Greater };
        let (mut low, mut high) = (0, self.run.len());
        while low < high {
            let middle = low.midpoint(high);
            // The first entry from the middle on that still stands in order.
            let Some(at) = (middle..high).find(|i| !self.stale.has(self.run[*i])) else {
                high = middle;
                continue;
            };
            if before(self.run[at]) {
                low = at + 1;
            } else {
                high = middle;
            }
        }
        if descending { (0, low) } else { (low, self.run.len()) }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.run.capacity() + self.moved.capacity()) * 4 + self.stale.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::{any, prop, proptest};

    use super::Order;

    proptest! {
        #[test]
        fn a_walk_is_a_sorted_list_from_any_place(
            steps in prop::collection::vec((0_u32..40, prop::option::of(0_i64..20)), 0..200),
            built in 0_usize..200,
            place in (0_i64..20, 0_u32..40),
            descending in any::<bool>(),
        ) {
            let mut keys: Vec<Option<i64>> = vec![None; 40];
            let mut order = Order::default();
            for (n, (slot, key)) in steps.into_iter().enumerate() {
                let at = slot as usize;
                if keys[at].is_some() {
                    order.remove(slot, |a, b| (keys[a as usize], a).cmp(&(keys[b as usize], b)));
                }
                keys[at] = key;
                if key.is_some() {
                    order.insert(slot, |a, b| (keys[a as usize], a).cmp(&(keys[b as usize], b)));
                }
                if n == built {
                    let all = (0..40).filter(|s| keys[*s as usize].is_some()).collect();
                    order.build(all, |a, b| (keys[a as usize], a).cmp(&(keys[b as usize], b)));
                } else if n % 50 == 49 {
                    order.work_in(|a, b| (keys[a as usize], a).cmp(&(keys[b as usize], b)));
                }
            }
            let mut truth: Vec<(i64, u32)> = (0..40).filter_map(|s| keys[s as usize].map(|k| (k, s))).collect();
            truth.sort_unstable();
            if descending { truth.reverse(); }
            let compare = |a: u32, b: u32| (keys[a as usize], a).cmp(&(keys[b as usize], b));
            let all: Vec<u32> = order.walk(descending, None, compare).collect();
            assert!(all.iter().copied().eq(truth.iter().map(|(_, s)| *s)));
            let stands = |slot: u32| (keys[slot as usize].unwrap_or(-1), slot).cmp(&place);
            let wanted = if descending { Ordering::Less } else { Ordering::Greater };
            let after: Vec<u32> = order.walk(descending, Some(&stands), compare).collect();
            assert!(after.iter().copied().eq(truth.iter().filter(|pair| (**pair).cmp(&place) == wanted).map(|(_, s)| *s)));
        }
    }
}
