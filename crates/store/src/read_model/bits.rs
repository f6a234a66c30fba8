//! Sets of slots: plain bits while an answer is worked out, and a form for keeping that is small when few belong.

/// A bit for each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(pub(super) Vec<u64>);

pub(super) fn words(slots: usize) -> usize {
    slots.div_ceil(64)
}

impl Bits {
    pub(super) fn none(slots: usize) -> Self {
        Self(vec![0; words(slots)])
    }

    /// Every slot, and the unused ones of the last word: the living are taken from an answer at its end.
    pub(super) fn all(slots: usize) -> Self {
        Self(vec![u64::MAX; words(slots)])
    }

    pub(super) fn has(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, slot: u32, to: bool) {
        let at = slot as usize / 64;
        if at >= self.0.len() {
            if !to {
                return;
            }
            self.0.resize(at + 1, 0);
        }
        let mask = 1 << (slot % 64);
        if to {
            self.0[at] |= mask;
        } else {
            self.0[at] &= !mask;
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        for (i, word) in self.0.iter_mut().enumerate() {
            *word &= other.0.get(i).copied().unwrap_or(0);
        }
    }

    pub(super) fn or(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(super) fn flip(&mut self) {
        for word in &mut self.0 {
            *word = !*word;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                // Slots are u32, so their words are too.
                u32::try_from(i * 64).ok().map(|base| base + bit)
            })
        })
    }

    /// A copy of exactly the words an answer over `slots` needs.
    pub(super) fn sized(&self, slots: usize) -> Self {
        let mut out = self.clone();
        out.0.resize(words(slots), 0);
        out
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

/// Who carries one value of a set: a sorted list while they are few, bits when they are many.
#[derive(Clone, Debug)]
pub(super) enum Members {
    Few(Vec<u32>),
    Many(Bits, usize),
}

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Members {
    pub(super) fn has(&self, slot: u32) -> bool {
        match self {
            Self::Few(list) => list.binary_search(&slot).is_ok(),
            Self::Many(bits, _) => bits.has(slot),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(_, count) => *count,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(_, count) => *count == 0,
        }
    }

    pub(super) fn set(&mut self, slot: u32, to: bool, slots: usize) {
        match self {
            Self::Few(list) => match (list.binary_search(&slot), to) {
                (Err(at), true) => list.insert(at, slot),
                (Ok(at), false) => {
                    list.remove(at);
                }
                _ => {}
            },
            Self::Many(bits, count) => {
                if bits.has(slot) != to {
                    bits.set(slot, to);
                    *count = if to { *count + 1 } else { *count - 1 };
                }
            }
        }
        // A list of 32-bit numbers is as large as the bits once every 32nd slot is in it.
        match self {
            Self::Few(list) if list.len() > 64 && list.len() > slots / 32 => {
                let mut bits = Bits::none(slots);
                list.iter().for_each(|slot| bits.set(*slot, true));
                *self = Self::Many(bits, list.len());
            }
            _ => {}
        }
    }

    pub(super) fn add_to(&self, out: &mut Bits) {
        match self {
            Self::Few(list) => list.iter().for_each(|slot| out.set(*slot, true)),
            Self::Many(bits, _) => out.or(bits),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Few(list) => list.capacity() * 4,
            Self::Many(bits, _) => bits.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy as _, any, prop, proptest};

    use super::{Bits, Members};

    proptest! {
        #[test]
        fn members_are_a_set_in_either_form(steps in prop::collection::vec((0_u32..400, any::<bool>()), 0..600), slots in 400_usize..5_000) {
            let (mut members, mut truth) = (Members::default(), BTreeSet::new());
            for (slot, to) in steps {
                members.set(slot, to, slots);
                if to { truth.insert(slot); } else { truth.remove(&slot); }
            }
            let mut bits = Bits::none(slots);
            members.add_to(&mut bits);
            assert!(bits.iter().eq(truth.iter().copied()));
            assert_eq!(bits.count(), truth.len());
            assert_eq!(members.is_empty(), truth.is_empty());
            assert!((0..400).all(|slot| members.has(slot) == truth.contains(&slot)));
        }

        #[test]
        fn bits_follow_the_algebra_of_sets(a in prop::collection::btree_set(0_u32..200, 0..80), b in prop::collection::btree_set(0_u32..200, 0..80).prop_map(|b| b)) {
            let bits = |set: &BTreeSet<u32>| { let mut out = Bits::none(200); set.iter().for_each(|s| out.set(*s, true)); out };
            let (mut and, mut or, mut not) = (bits(&a), bits(&a), bits(&a));
            and.and(&bits(&b));
            or.or(&bits(&b));
            not.flip();
            assert!(and.iter().eq(a.intersection(&b).copied()));
            assert!(or.iter().eq(a.union(&b).copied()));
            assert!((0..200).all(|slot| not.has(slot) != a.contains(&slot)));
        }
    }
}
