//! The limit of counting: one bit a person and condition, ANDed in memory.
//!
//! The bits come from the generator, so the count is also the truth that the server's answer is held to.

use std::time::{Duration, Instant};

use crate::people::{Person, person};

/// A condition as a test of a generated person.
pub type Test = fn(&Person) -> bool;

/// For each filter, for each of its conditions, one bit a person.
#[derive(Debug)]
pub struct Bitmaps {
    filters: Vec<Vec<Vec<u64>>>,
}

impl Bitmaps {
    /// Walks the people `0..profiles` once.
    pub fn build(seed: u64, profiles: u64, filters: &[Vec<Test>]) -> Self {
        let words = profiles.div_ceil(64) as usize;
        let mut out: Vec<Vec<Vec<u64>>> = filters.iter().map(|tests| vec![vec![0; words]; tests.len()]).collect();
        for index in 0..profiles {
            let person = person(seed, index);
            for (tests, bitmaps) in filters.iter().zip(&mut out) {
                for (test, bitmap) in tests.iter().zip(bitmaps) {
                    bitmap[(index / 64) as usize] |= u64::from(test(&person)) << (index % 64);
                }
            }
        }
        Self { filters: out }
    }

    /// How many people meet every condition of a filter, and how long it took to find out.
    pub fn count(&self, filter: usize) -> (u64, Duration) {
        let begun = Instant::now();
        let bitmaps = &self.filters[filter];
        let Some((first, rest)) = bitmaps.split_first() else { return (0, begun.elapsed()) };
        let total = first.iter().enumerate().map(|(at, word)| u64::from(rest.iter().fold(*word, |all, b| all & b[at]).count_ones())).sum();
        (total, begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bitmaps, Test};
    use crate::people::person;

    #[test]
    fn bits_count_what_a_walk_counts() {
        let tests: Vec<Test> = vec![|p| p.labels.contains(&"customer"), |p| p.country == Some("US")];
        let walked = (0..1_000).map(|i| person(1, i)).filter(|p| tests.iter().all(|test| test(p))).count();
        assert!(walked > 0);
        assert_eq!(Bitmaps::build(1, 1_000, &[tests]).count(0).0, walked as u64);
    }
}
