//! One field of everyone: a code for each slot and a dictionary of what the codes mean.
//!
//! A condition is asked once of each different value, and the codes are read through the answers. Numbers and times of
//! too many different values are kept plainly; texts of too many are not kept at all, and conditions on them are left
//! to the database, which has an index for them.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use people_domain::{
    Timestamp,
    filter::{Scalar, Test, holds},
};

use super::bits::{Bits, words};

/// Different values of a text worth a dictionary.
const TEXTS: usize = 1 << 18;
/// Different numbers or times from which they are kept plainly.
const NUMBERS: usize = 1 << 16;

#[derive(Clone, Debug)]
enum Codes {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
}

#[derive(Clone, Debug)]
enum Kept {
    /// Code 0 is "no value", code n the n-th value.
    Dictionary {
        codes: Codes,
        values: Vec<Scalar>,
        table: HashTable<u32>,
    },
    Times(Vec<i64>),
    Numbers(Vec<f64>),
    TooMany,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    kept: Kept,
    /// Who has a value; kept for texts too many to keep.
    present: Bits,
    hasher: DefaultHashBuilder,
}

const NO_TIME: i64 = i64::MIN;

impl Default for Column {
    fn default() -> Self {
        Self {
            kept: Kept::Dictionary { codes: Codes::One(Vec::new()), values: Vec::new(), table: HashTable::new() },
            present: Bits::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

fn hash(hasher: &DefaultHashBuilder, value: &Scalar) -> u64 {
    match value {
        Scalar::Text(text) => hasher.hash_one(text),
        // Zero is zero, whatever its sign.
        Scalar::Number(number) => hasher.hash_one((*number + 0.0).to_bits()),
        Scalar::Boolean(flag) => hasher.hash_one(flag),
        Scalar::Time(at) => hasher.hash_one(at.micros()),
    }
}

impl Codes {
    fn get(&self, slot: usize) -> usize {
        match self {
            Self::One(codes) => codes.get(slot).map_or(0, |c| usize::from(*c)),
            Self::Two(codes) => codes.get(slot).map_or(0, |c| usize::from(*c)),
            Self::Four(codes) => codes.get(slot).map_or(0, |c| *c as usize),
        }
    }

    /// Writes a code, in wider cells once it does not fit.
    fn set(&mut self, slot: usize, code: u32) {
        fn put<T: Copy + Default>(codes: &mut Vec<T>, slot: usize, code: T) {
            if slot >= codes.len() {
                codes.resize(slot + 1, T::default());
            }
            codes[slot] = code;
        }
        match self {
            Self::One(codes) => match u8::try_from(code) {
                Ok(code) => return put(codes, slot, code),
                Err(_) => *self = Self::Two(codes.iter().map(|c| u16::from(*c)).collect()),
            },
            Self::Two(codes) => match u16::try_from(code) {
                Ok(code) => return put(codes, slot, code),
                Err(_) => *self = Self::Four(codes.iter().map(|c| u32::from(*c)).collect()),
            },
            Self::Four(codes) => return put(codes, slot, code),
        }
        self.set(slot, code);
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(codes) => codes.capacity(),
            Self::Two(codes) => codes.capacity() * 2,
            Self::Four(codes) => codes.capacity() * 4,
        }
    }
}

/// A word of answers for every 64 cells.
fn scan<T: Copy>(cells: &[T], slots: usize, missing: bool, mut holds: impl FnMut(T) -> bool) -> Bits {
    let mut out = Vec::with_capacity(words(slots));
    for chunk in cells.chunks(64) {
        let mut word = 0_u64;
        for (i, cell) in chunk.iter().enumerate() {
            word |= u64::from(holds(*cell)) << i;
        }
        // Slots past the end have no value.
        if missing && chunk.len() < 64 {
            word |= u64::MAX << chunk.len();
        }
        out.push(word);
    }
    out.resize(words(slots), if missing { u64::MAX } else { 0 });
    Bits(out)
}

impl Column {
    pub(super) fn set(&mut self, slot: u32, value: Option<Scalar>) {
        let at = slot as usize;
        self.present.set(slot, value.is_some());
        match &mut self.kept {
            Kept::Dictionary { codes, values, table } => {
                let Some(value) = value else {
                    if codes.get(at) != 0 {
                        codes.set(at, 0);
                    }
                    return;
                };
                let hashed = hash(&self.hasher, &value);
                // Code n is the value at n − 1.
                let known = table.find(hashed, |code| values[*code as usize - 1] == value).copied();
                let code = known.unwrap_or_else(|| {
                    values.push(value.clone());
                    let code = u32::try_from(values.len()).unwrap_or(u32::MAX);
                    table.insert_unique(hashed, code, |code| hash(&self.hasher, &values[*code as usize - 1]));
                    code
                });
                codes.set(at, code);
                let most = if matches!(value, Scalar::Text(_)) { TEXTS } else { NUMBERS };
                if values.len() > most {
                    self.outgrow();
                }
            }
            Kept::Times(cells) => {
                if at >= cells.len() {
                    cells.resize(at + 1, NO_TIME);
                }
                cells[at] = match value {
                    Some(Scalar::Time(time)) => time.micros(),
                    _ => NO_TIME,
                };
            }
            Kept::Numbers(cells) => {
                if at >= cells.len() {
                    cells.resize(at + 1, f64::NAN);
                }
                cells[at] = match value {
                    Some(Scalar::Number(number)) => number,
                    _ => f64::NAN,
                };
            }
            Kept::TooMany => {}
        }
    }

    /// Gives the dictionary up.
    fn outgrow(&mut self) {
        let Kept::Dictionary { codes, values, .. } = &self.kept else { return };
        let slots = self.present.0.len() * 64;
        let value = |slot: usize| codes.get(slot).checked_sub(1).map(|i| &values[i]);
        self.kept = match values.first() {
            Some(Scalar::Time(_)) => Kept::Times(
                (0..slots)
                    .map(|slot| match value(slot) {
                        Some(Scalar::Time(at)) => at.micros(),
                        _ => NO_TIME,
                    })
                    .collect(),
            ),
            Some(Scalar::Number(_)) => Kept::Numbers(
                (0..slots)
                    .map(|slot| match value(slot) {
                        Some(Scalar::Number(number)) => *number,
                        _ => f64::NAN,
                    })
                    .collect(),
            ),
            _ => Kept::TooMany,
        };
    }

    /// Everyone for whom the test holds; `None` when the values are not kept.
    pub(super) fn answer(&self, test: &Test, now: Timestamp, slots: usize) -> Option<Bits> {
        let missing = holds(test, None, now);
        match (test, &self.kept) {
            (Test::Exists, _) => Some(self.present.sized(slots)),
            (Test::Missing, _) => {
                let mut out = self.present.sized(slots);
                out.flip();
                Some(out)
            }
            (_, Kept::TooMany) => None,
            (_, Kept::Times(cells)) => Some(scan(cells, slots, missing, |cell| {
                let value = Timestamp::from_micros(cell).map(Scalar::Time);
                holds(test, value.as_ref(), now)
            })),
            (_, Kept::Numbers(cells)) => Some(scan(cells, slots, missing, |cell| {
                let value = (!cell.is_nan()).then_some(Scalar::Number(cell));
                holds(test, value.as_ref(), now)
            })),
            (_, Kept::Dictionary { codes, values, table }) => {
                let mut allowed = vec![missing; values.len() + 1];
                match test {
                    // Named values are looked up: nothing else is asked.
                    Test::In(named) | Test::NotIn(named) => {
                        let named_holds = matches!(test, Test::In(_));
                        allowed[1..].fill(!named_holds);
                        for value in named {
                            let found = table.find(hash(&self.hasher, value), |code| values[*code as usize - 1] == *value);
                            if let Some(code) = found {
                                allowed[*code as usize] = named_holds;
                            }
                        }
                    }
                    _ => {
                        for (allowed, value) in allowed[1..].iter_mut().zip(values) {
                            *allowed = holds(test, Some(value), now);
                        }
                    }
                }
                Some(match codes {
                    Codes::One(codes) => scan(codes, slots, missing, |code| allowed[usize::from(code)]),
                    Codes::Two(codes) => scan(codes, slots, missing, |code| allowed[usize::from(code)]),
                    Codes::Four(codes) => scan(codes, slots, missing, |code| allowed[code as usize]),
                })
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.present.bytes()
            + match &self.kept {
                Kept::Dictionary { codes, values, table } => {
                    let texts: usize = values.iter().map(|v| if let Scalar::Text(text) = v { text.capacity() + 16 } else { 0 }).sum();
                    codes.bytes() + values.capacity() * size_of::<Scalar>() + table.capacity() * 5 + texts
                }
                Kept::Times(cells) => cells.capacity() * 8,
                Kept::Numbers(cells) => cells.capacity() * 8,
                Kept::TooMany => 0,
            }
    }
}

/// Times kept plainly, for the instants everybody has.
pub(super) fn times(cells: &[i64], never: Option<i64>, test: &Test, now: Timestamp, slots: usize) -> Bits {
    let missing = holds(test, None, now);
    let (low, high, inside) = match test {
        Test::Compare(order, Scalar::Time(at)) => {
            use people_domain::filter::Order;
            let at = at.micros();
            match order {
                Order::Gt => (at + 1, i64::MAX, true),
                Order::Gte => (at, i64::MAX, true),
                Order::Lt => (i64::MIN, at - 1, true),
                Order::Lte => (i64::MIN, at, true),
            }
        }
        Test::Between(Scalar::Time(low), Scalar::Time(high)) => (low.micros(), high.micros(), true),
        Test::WithinLast(span) => (now.minus(*span).micros(), now.micros(), true),
        Test::NotWithinLast(span) => (now.minus(*span).micros(), now.micros(), false),
        _ => {
            return scan(cells, slots, missing, |cell| {
                let value = if never == Some(cell) { None } else { Timestamp::from_micros(cell).map(Scalar::Time) };
                holds(test, value.as_ref(), now)
            });
        }
    };
    match never {
        Some(never) => scan(cells, slots, missing, |cell| cell != never && ((low <= cell && cell <= high) == inside)),
        None => scan(cells, slots, missing, |cell| (low <= cell && cell <= high) == inside),
    }
}

#[cfg(test)]
mod tests {
    use people_domain::{
        Timestamp,
        filter::{Scalar, Test, holds},
    };

    use super::{Column, NUMBERS, TEXTS};

    /// Whatever form a column has taken, its answers are the rules' answers.
    #[test]
    fn a_column_answers_as_the_rules_do_in_every_form() {
        let number = |i: usize| Scalar::Number(f64::from(u32::try_from(i).unwrap_or(0)) / 2.0);
        let text = |i: usize| Scalar::Text(format!("Text {i}"));
        let time = |i: usize| Scalar::Time(Timestamp::from_micros(i64::try_from(i).unwrap_or(0) * 1_000_000).unwrap_or(Timestamp::MIN));
        type Make<'a> = &'a dyn Fn(usize) -> Scalar;
        let cases: [(Make<'_>, usize); 6] =
            [(&number, 100), (&number, NUMBERS + 9), (&text, 200), (&text, 70_000), (&time, 300), (&time, NUMBERS + 9)];
        for (make, different) in cases {
            let mut column = Column::default();
            let slots = different + 77;
            let mut truth: Vec<Option<Scalar>> = vec![None; slots];
            for (slot, value) in truth.iter_mut().enumerate().take(different + 20) {
                *value = (slot % 7 != 3).then(|| make(slot % different));
                column.set(u32::try_from(slot).unwrap_or(0), value.clone());
            }
            let now = Timestamp::MAX;
            for test in [
                Test::Exists,
                Test::Missing,
                Test::In(vec![make(5), make(different + 1_000)]),
                Test::NotIn(vec![make(5), make(8)]),
                Test::Between(make(4), make(50)),
                Test::Contains("text 1".to_owned()),
            ] {
                let Some(bits) = column.answer(&test, now, slots) else { continue };
                for (slot, value) in truth.iter().enumerate() {
                    let told = bits.has(u32::try_from(slot).unwrap_or(0));
                    assert_eq!(told, holds(&test, value.as_ref(), now), "{test:?} of {value:?} at {slot}");
                }
            }
        }
    }

    #[test]
    fn texts_too_many_to_keep_still_know_who_has_one() {
        let mut column = Column::default();
        for slot in 0..=u32::try_from(TEXTS).unwrap_or(0) {
            column.set(slot, Some(Scalar::Text(slot.to_string())));
        }
        assert!(column.answer(&Test::Contains("1".to_owned()), Timestamp::MAX, TEXTS + 1).is_none());
        assert_eq!(column.answer(&Test::Exists, Timestamp::MAX, TEXTS + 1).map(|b| b.count()), Some(TEXTS + 1));
    }
}
