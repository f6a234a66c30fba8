//! How much speaks for two profiles being one person, and what.

use serde::{Deserialize, Serialize};
use strsim::osa_distance;

use super::{
    Frequencies, TENTHS,
    portrait::{Attribute, Mailbox, Portrait, squeezed, tail},
};
use crate::property::Match;

/// Most points that what a household or an office shares (surname, address, company) counts together. Relatives and
/// colleagues agree on all of it, so it does not suffice without something of the person.
const SHARED: i64 = 16 * TENTHS;
/// What it weighs that one message named both.
const NAMED_TOGETHER: i64 = 40 * TENTHS;

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// As filters call it; `name` for both names together, `shared` for what is taken off again.
    pub field: String,
    /// `same`, `close`, `initial`, `swapped`, `different`, …
    pub level: String,
    /// In tenths; below zero it speaks against.
    pub tenths: i64,
    /// In a sentence.
    pub detail: String,
}

/// All that speaks for or against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The sum of the reasons, in tenths of a point.
    pub score: i64,
    pub reasons: Vec<Reason>,
}

/// What evidence is added to: with its reasons, or, for the many pairs that come to nothing, without.
trait Sum {
    fn add(&mut self, field: &str, level: &str, tenths: i64, detail: impl FnOnce() -> String);
}

impl Sum for Judgement {
    fn add(&mut self, field: &str, level: &str, tenths: i64, detail: impl FnOnce() -> String) {
        self.score += tenths;
        self.reasons.push(Reason { field: field.to_owned(), level: level.to_owned(), tenths, detail: detail() });
    }
}

impl Sum for i64 {
    fn add(&mut self, _: &str, _: &str, tenths: i64, _: impl FnOnce() -> String) {
        *self += tenths;
    }
}

impl Judgement {
    /// Adds that messages named both people by these kinds of keys.
    pub fn with_named_together(mut self, kinds: &[String]) -> Self {
        if !kinds.is_empty() {
            let reason = named_together(kinds);
            self.score += reason.tenths;
            self.reasons.insert(0, reason);
        }
        self
    }
}

/// The reason of a pair that one message, or one upsert, named together.
pub fn named_together(kinds: &[String]) -> Reason {
    Reason {
        field: "identities".to_owned(),
        level: "identity_conflict".to_owned(),
        tenths: NAMED_TOGETHER,
        detail: format!("One message or request named both people by their {}", kinds.join(" and ")),
    }
}

/// `log2(m / u)` in tenths.
fn points(m: f64, u: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "probabilities of six digits: between -200 and 200")]
    let tenths = ((m / u).log2() * 10.0).round() as i64;
    tenths
}

/// How a field is judged.
#[derive(Clone, Copy)]
struct Weights {
    /// How often one person's two profiles agree, and nearly agree.
    same: f64,
    close: f64,
    /// How much likelier strangers nearly agree than agree.
    spread: f64,
    /// How often strangers agree, where nothing was counted.
    presumed: f64,
}

const FIRST: Weights = Weights { same: 0.80, close: 0.12, spread: 4.0, presumed: 1.0 / 150.0 };
const LAST: Weights = Weights { same: 0.80, close: 0.12, spread: 4.0, presumed: 1.0 / 600.0 };
const COMPANY: Weights = Weights { same: 0.60, close: 0.10, spread: 4.0, presumed: 1.0 / 300.0 };
const CITY: Weights = Weights { same: 0.70, close: 0.10, spread: 4.0, presumed: 1.0 / 50.0 };
const COUNTRY: Weights = Weights { same: 0.95, close: 0.0, spread: 1.0, presumed: 0.3 };
const EXACT: Weights = Weights { same: 0.90, close: 0.0, spread: 1.0, presumed: 1.0 / 500.0 };
const TEXT: Weights = Weights { same: 0.70, close: 0.15, spread: 4.0, presumed: 1.0 / 100.0 };
const DATE: Weights = Weights { same: 0.88, close: 0.07, spread: 30.0, presumed: 1.0 / 5_000.0 };
const NUMBER: Weights = Weights { same: 0.85, close: 0.0, spread: 1.0, presumed: 1.0 / 30.0 };

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Different,
    Initial,
    Close,
    Same,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Initial => "initial",
            Self::Close => "close",
            Self::Same => "same",
        }
    }
}

/// A comparison of one field.
#[derive(Clone, Copy)]
struct Met<'a> {
    level: Level,
    tenths: i64,
    values: [&'a str; 2],
}

impl Met<'_> {
    /// The better of two.
    fn best(self, other: Self) -> Self {
        if (other.tenths, other.level) > (self.tenths, self.level) { other } else { self }
    }

    fn sentence(self, field: &str, label: &str, frequencies: &Frequencies) -> String {
        match self.level {
            Level::Same if self.values.iter().any(|value| frequencies.is_common(field, value)) => format!("Same {label}, a common one"),
            Level::Same => format!("Same {label}"),
            Level::Close => format!("Nearly the same {label}"),
            Level::Initial => format!("One {label} is the initial of the other"),
            Level::Different => format!("Different {label}"),
        }
    }
}

/// Weighs a level of agreement between two values.
fn weigh<'a>(level: Level, field: &str, a: &'a str, b: &'a str, weights: Weights, frequencies: &Frequencies) -> Met<'a> {
    // Of two spellings the commoner one says how easily strangers meet.
    let chance = frequencies.chance(field, a, weights.presumed);
    let chance = if a == b { chance } else { chance.max(frequencies.chance(field, b, weights.presumed)) };
    let tenths = match level {
        Level::Same => points(weights.same, chance),
        Level::Close => points(weights.close, (weights.spread * chance).min(0.99)).max(0),
        // Strangers share an initial one time in sixteen.
        Level::Initial => points(0.3, 1.0 / 16.0),
        Level::Different => points(1.0 - weights.same - weights.close, 1.0 - chance).min(0),
    };
    Met { level, tenths, values: [a, b] }
}

/// Same but for spaces, or a slip or two of the hand.
fn text_level(a: &str, b: &str) -> Level {
    if a == b {
        return Level::Same;
    }
    let (a, b) = (squeezed(a), squeezed(b));
    if a == b {
        return Level::Same;
    }
    let (long, short) = (a.chars().count().max(b.chars().count()), a.chars().count().min(b.chars().count()));
    let slips = if long >= 8 { 2 } else { usize::from(long >= 4) };
    if long - short <= slips && osa_distance(&a, &b) <= slips { Level::Close } else { Level::Different }
}

fn name_level(a: &str, b: &str) -> Level {
    let is_initial = |one: &str, other: &str| one.chars().count() == 1 && other.starts_with(one);
    match text_level(a, b) {
        Level::Different if is_initial(a, b) || is_initial(b, a) => Level::Initial,
        level => level,
    }
}

fn date_level(a: &str, b: &str) -> Level {
    let day_and_month_swapped = || a.get(..4) == b.get(..4) && a.get(5..7) == b.get(8..10) && a.get(8..10) == b.get(5..7);
    if a == b {
        Level::Same
    } else if osa_distance(a, b) <= 1 || day_and_month_swapped() {
        Level::Close
    } else {
        Level::Different
    }
}

/// Compares two people. The same whichever comes first.
pub fn compare(a: &Portrait, b: &Portrait, frequencies: &Frequencies) -> Judgement {
    let mut judgement = Judgement::default();
    weigh_all(a, b, frequencies, &mut judgement);
    judgement
}

/// The score alone, in tenths of a point.
pub fn score(a: &Portrait, b: &Portrait, frequencies: &Frequencies) -> i64 {
    let mut score = 0;
    weigh_all(a, b, frequencies, &mut score);
    score
}

fn weigh_all(a: &Portrait, b: &Portrait, frequencies: &Frequencies, judgement: &mut impl Sum) {
    let mut shared = names(a, b, frequencies, judgement);
    emails(a, b, frequencies, judgement);
    phones(a, b, judgement);
    handles(a, b, judgement);
    for (field, label, one, other, weights) in [
        ("company", "company", &a.company, &b.company, COMPANY),
        ("city", "city", &a.city, &b.city, CITY),
        ("country", "country", &a.country, &b.country, COUNTRY),
    ] {
        let (Some(one), Some(other)) = (one, other) else { continue };
        let met = weigh(text_level(one, other), field, one, other, weights, frequencies);
        shared += met.tenths.max(0);
        judgement.add(field, met.level.as_str(), met.tenths, || met.sentence(field, label, frequencies));
    }
    let mut others = b.attributes.iter().peekable();
    for one in &a.attributes {
        while others.next_if(|other| other.field < one.field).is_some() {}
        let Some(other) = others.next_if(|other| other.field == one.field) else { continue };
        let Some(met) = attribute(one, other, frequencies) else { continue };
        if matches!(one.matching, Match::Text | Match::Number) {
            shared += met.tenths.max(0);
        }
        judgement.add(&one.field, met.level.as_str(), met.tenths, || met.sentence(&one.field, &one.label, frequencies));
    }
    if shared > SHARED {
        let detail = "Surname, address and company are shared in a household or an office, and count only so much together";
        judgement.add("shared", "capped", SHARED - shared, || detail.to_owned());
    }
}

/// Both names; answers what a family shares of it.
fn names(a: &Portrait, b: &Portrait, frequencies: &Frequencies, judgement: &mut impl Sum) -> i64 {
    fn first<'a>(one: &'a str, other: &'a str, frequencies: &Frequencies) -> Met<'a> {
        weigh(name_level(one, other), "first_name", one, other, FIRST, frequencies)
    }
    fn last<'a>(one: &'a str, other: &'a str, frequencies: &Frequencies) -> Met<'a> {
        weigh(name_level(one, other), "last_name", one, other, LAST, frequencies)
    }
    match ((a.first.as_deref(), a.last.as_deref()), (b.first.as_deref(), b.last.as_deref())) {
        ((Some(first_a), Some(last_a)), (Some(first_b), Some(last_b))) => {
            let (given, family) = (first(first_a, first_b, frequencies), last(last_a, last_b, frequencies));
            // Written the other way round. One person in fifty, whoever typed it.
            let (one, other) = (last(first_a, last_b, frequencies), last(last_a, first_b, frequencies));
            let swapped = one.tenths + other.tenths - points(1.0, 1.0 / 50.0);
            if one.level >= Level::Close && other.level >= Level::Close && swapped > given.tenths + family.tenths {
                judgement.add("name", "swapped", swapped, || "First and last name are swapped".to_owned());
                return swapped / 2;
            }
            for (met, field, label) in [(given, "first_name", "first name"), (family, "last_name", "last name")] {
                judgement.add(field, met.level.as_str(), met.tenths, || met.sentence(field, label, frequencies));
            }
            family.tenths.max(0)
        }
        ((None, None), _) | (_, (None, None)) => 0,
        // One name is missing somewhere: whatever there is may be either.
        ((first_a, last_a), (first_b, last_b)) => {
            let mut best: Option<(Met<'_>, bool)> = None;
            for one in first_a.into_iter().chain(last_a) {
                for other in first_b.into_iter().chain(last_b) {
                    let is_first = Some(one) == first_a && Some(other) == first_b;
                    let met = if is_first { first(one, other, frequencies) } else { last(one, other, frequencies) };
                    if best.is_none_or(|(known, _)| (met.tenths, met.level) > (known.tenths, known.level)) {
                        best = Some((met, is_first));
                    }
                }
            }
            let Some((met, is_first)) = best else { return 0 };
            let (field, label) = if is_first { ("first_name", "first name") } else { ("last_name", "last name") };
            judgement.add(field, met.level.as_str(), met.tenths, || met.sentence(field, label, frequencies));
            if is_first { 0 } else { met.tenths.max(0) }
        }
    }
}

fn emails(a: &Portrait, b: &Portrait, frequencies: &Frequencies, judgement: &mut impl Sum) {
    let mut best: Option<(i64, &str, &str)> = None;
    for one in &a.mailboxes {
        for other in &b.mailboxes {
            let found = email(one, other, [a, b], frequencies);
            best = Some(best.map_or(found, |known| known.max(found)));
        }
    }
    if let Some((tenths, level, detail)) = best {
        judgement.add("email", level, tenths, || detail.to_owned());
    }
}

fn email(one: &Mailbox, other: &Mailbox, people: [&Portrait; 2], frequencies: &Frequencies) -> (i64, &'static str, &'static str) {
    let numbers = |mailbox: &Mailbox| mailbox.local.chars().filter(char::is_ascii_digit).collect::<String>();
    let slip =
        || one.local.len().min(other.local.len()) >= 5 && numbers(one) == numbers(other) && osa_distance(&one.local, &other.local) <= 1;
    if one.local == other.local && one.domain == other.domain {
        return (15 * TENTHS, "same_mailbox", "Two spellings of one e-mail address");
    }
    if one.local == other.local {
        // A mailbox called after its owner says little more than the name did.
        if people.iter().any(|person| is_called_after(&one.local, person)) {
            return (4 * TENTHS, "same_name", "E-mail addresses are made of the same name, at different providers");
        }
        let presumed = if one.local.len() >= 6 { 1.0 / 20_000.0 } else { 1.0 / 2_000.0 };
        let chance = frequencies.chance("email", &one.local, presumed);
        return (points(0.3, chance).clamp(0, 13 * TENTHS), "same_local_part", "E-mail addresses share the part before the @");
    }
    if one.domain == other.domain && slip() {
        return (6 * TENTHS, "close", "E-mail addresses differ by one letter");
    }
    (-TENTHS / 2, "different", "Different e-mail addresses")
}

fn is_called_after(local: &str, person: &Portrait) -> bool {
    let (first, last) = (squeezed(person.first.as_deref().unwrap_or_default()), squeezed(person.last.as_deref().unwrap_or_default()));
    let (first, last): (&str, &str) = (&first, &last);
    let initial = first.chars().next().map_or("", |c| &first[..c.len_utf8()]);
    [[first, ""], ["", last], [first, last], [last, first], [initial, last], [last, initial]]
        .into_iter()
        .any(|[one, other]| !local.is_empty() && local.strip_prefix(one) == Some(other))
}

fn phones(a: &Portrait, b: &Portrait, judgement: &mut impl Sum) {
    let mut best: Option<(i64, &str, &str)> = None;
    for one in &a.phones {
        for other in &b.phones {
            let found = if one.len() >= 8 && other.len() >= 8 && tail(one) == tail(other) {
                (13 * TENTHS, "same", "Phone numbers end in the same eight digits")
            } else if one.len() == other.len() && osa_distance(one, other) <= 1 {
                (4 * TENTHS, "close", "Phone numbers differ by one digit")
            } else {
                (-TENTHS / 2, "different", "Different phone numbers")
            };
            best = Some(best.map_or(found, |known| known.max(found)));
        }
    }
    if let Some((tenths, level, detail)) = best {
        judgement.add("phone", level, tenths, || detail.to_owned());
    }
}

/// The same handle on another channel; the same on one channel is one identity, and one person.
fn handles(a: &Portrait, b: &Portrait, judgement: &mut impl Sum) {
    let same = a.handles.iter().any(|(value, kind)| value.len() >= 4 && b.handles.iter().any(|(other, on)| value == other && kind != on));
    if same {
        judgement.add("identities", "same", 9 * TENTHS, || "The same handle on two channels".to_owned());
    }
}

/// The best that any two values make.
fn attribute<'a>(a: &'a Attribute, b: &'a Attribute, frequencies: &Frequencies) -> Option<Met<'a>> {
    let equal = |one: &str, other: &str| if one == other { Level::Same } else { Level::Different };
    let mut best: Option<Met<'a>> = None;
    for one in &a.values {
        for other in &b.values {
            let (level, weights) = match a.matching {
                Match::Exact => (equal(one, other), EXACT),
                Match::Text => (text_level(one, other), TEXT),
                Match::Date => (date_level(one, other), DATE),
                Match::Number => (equal(one, other), NUMBER),
                Match::None => return None,
            };
            let met = weigh(level, &a.field, one, other, weights, frequencies);
            best = Some(best.map_or(met, |known| known.best(met)));
        }
    }
    best
}
