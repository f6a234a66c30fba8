//! How often values occur in a workspace: what agreement by chance is judged by.
//!
//! What is counted is kept by hashes. A value that many share may all the same be somebody's, and nothing here would know
//! whose once they are erased.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::Portrait;

/// Values held by fewer people of a census are not listed: they are rare, and nobody's business.
const LISTED: u64 = 5;
/// Most values listed of a field.
const MAX_LISTED: usize = 500;
/// What is presumed weighs as much as this many people: the first few of a workspace say little.
const PRESUMED: f64 = 100.0;
/// No agreement is rarer than one in a million by itself.
const RAREST: f64 = 1.0 / 1_048_576.0;

/// How often the values of each field occur. Empty: nothing was counted yet, and what is usual elsewhere is presumed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frequencies {
    fields: BTreeMap<String, Field>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Field {
    /// Who has a value at all.
    people: u64,
    /// How many more than two, on average, share a value that is not listed.
    others: f64,
    /// Who has it, by the hash of the value.
    common: HashMap<u64, u64>,
}

/// The same in every process, whenever it was built: it is stored.
fn hash(value: &str) -> u64 {
    SipHasher13::new().hash(value.as_bytes())
}

impl Frequencies {
    /// The chance that a stranger has this value too: how many have it beside the two who are compared. `presumed`: where
    /// nothing was counted.
    pub(super) fn chance(&self, field: &str, value: &str, presumed: f64) -> f64 {
        let (others, people) = match self.fields.get(field) {
            Some(field) => (field.common.get(&hash(value)).map_or(field.others, |held| count(held.saturating_sub(2))), count(field.people)),
            None => (0.0, 0.0),
        };
        ((others + PRESUMED * presumed) / (people + PRESUMED)).clamp(RAREST, 0.99)
    }

    /// Whether the value is among the common ones.
    pub(super) fn is_common(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|field| field.common.contains_key(&hash(value)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "people are counted, and a chance needs no more than six digits")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Counts people, or as many of them as stand for all.
#[derive(Debug, Default)]
pub struct Census {
    fields: BTreeMap<String, HashMap<String, u64>>,
}

impl Census {
    pub fn add(&mut self, portrait: &Portrait) {
        for (field, value) in portrait.counted() {
            if !self.fields.contains_key(field) {
                self.fields.insert(field.to_owned(), HashMap::new());
            }
            if let Some(values) = self.fields.get_mut(field) {
                match values.get_mut(value) {
                    Some(held) => *held += 1,
                    None => {
                        values.insert(value.to_owned(), 1);
                    }
                }
            }
        }
    }

    pub fn frequencies(self) -> Frequencies {
        let fields = self.fields.into_iter().map(|(field, values)| (field, of_field(values))).collect();
        Frequencies { fields }
    }
}

fn of_field(values: HashMap<String, u64>) -> Field {
    let people = values.values().sum();
    let mut sorted: Vec<(String, u64)> = values.into_iter().collect();
    sorted.sort_unstable_by(|(a, held_a), (b, held_b)| held_b.cmp(held_a).then_with(|| a.cmp(b)));
    let listed = sorted.iter().take(MAX_LISTED).take_while(|(_, held)| *held >= LISTED).count();
    let rest = sorted.split_off(listed);
    let unlisted: u64 = rest.iter().map(|(_, held)| held).sum();
    // Of somebody with such a value: how many have it beside them and one more.
    let meetings: u64 = rest.iter().map(|(_, held)| held * held.saturating_sub(2)).sum();
    let others = if unlisted == 0 { 0.0 } else { count(meetings) / count(unlisted) };
    Field { people, others, common: sorted.into_iter().map(|(value, held)| (hash(&value), held)).collect() }
}
