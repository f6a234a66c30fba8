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

impl Judgement {
    fn add(&mut self, field: impl Into<String>, level: &str, tenths: i64, detail: impl Into<String>) {
        self.score += tenths;
        self.reasons.push(Reason { field: field.into(), level: level.to_owned(), tenths, detail: detail.into() });
    }

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
struct Met {
    level: Level,
    tenths: i64,
    common: bool,
}

impl Met {
    /// The better of two.
    fn best(self, other: Self) -> Self {
        if (other.tenths, other.level) > (self.tenths, self.level) { other } else { self }
    }

    fn sentence(self, label: &str) -> String {
        match self.level {
            Level::Same if self.common => format!("Same {label}, a common one"),
            Level::Same => format!("Same {label}"),
            Level::Close => format!("Nearly the same {label}"),
            Level::Initial => format!("One {label} is the initial of the other"),
            Level::Different => format!("Different {label}"),
        }
    }
}

/// Weighs a level of agreement between two values.
fn weigh(level: Level, field: &str, a: &str, b: &str, weights: Weights, frequencies: &Frequencies) -> Met {
    // Of two spellings the commoner one says how easily strangers meet.
    let chance = frequencies.chance(field, a, weights.presumed).max(frequencies.chance(field, b, weights.presumed));
    let common = frequencies.is_common(field, a) || frequencies.is_common(field, b);
    let tenths = match level {
        Level::Same => points(weights.same, chance),
        Level::Close => points(weights.close, (weights.spread * chance).min(0.99)).max(0),
        // Strangers share an initial one time in sixteen.
        Level::Initial => points(0.3, 1.0 / 16.0),
        Level::Different => points(1.0 - weights.same - weights.close, 1.0 - chance).min(0),
    };
    Met { level, tenths, common }
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
    let mut shared = names(a, b, frequencies, &mut judgement);
    emails(a, b, frequencies, &mut judgement);
    phones(a, b, &mut judgement);
    handles(a, b, &mut judgement);
    for (field, label, one, other, weights) in [
        ("company", "company", &a.company, &b.company, COMPANY),
        ("city", "city", &a.city, &b.city, CITY),
        ("country", "country", &a.country, &b.country, COUNTRY),
    ] {
        let (Some(one), Some(other)) = (one, other) else { continue };
        let met = weigh(text_level(one, other), field, one, other, weights, frequencies);
        shared += met.tenths.max(0);
        judgement.add(field, met.level.as_str(), met.tenths, met.sentence(label));
    }
    let mut others = b.attributes.iter().peekable();
    for one in &a.attributes {
        while others.next_if(|other| other.field < one.field).is_some() {}
        let Some(other) = others.next_if(|other| other.field == one.field) else { continue };
        let Some(met) = attribute(one, other, frequencies) else { continue };
        if matches!(one.matching, Match::Text | Match::Number) {
            shared += met.tenths.max(0);
        }
        judgement.add(&one.field, met.level.as_str(), met.tenths, met.sentence(&one.label));
    }
    if shared > SHARED {
        judgement.add(
            "shared",
            "capped",
            SHARED - shared,
            "Surname, address and company are shared in a household or an office, and count only so much together",
        );
    }
    judgement
}

/// Both names; answers what a family shares of it.
fn names(a: &Portrait, b: &Portrait, frequencies: &Frequencies, judgement: &mut Judgement) -> i64 {
    let first = |one: &str, other: &str| weigh(name_level(one, other), "first_name", one, other, FIRST, frequencies);
    let last = |one: &str, other: &str| weigh(name_level(one, other), "last_name", one, other, LAST, frequencies);
    match ((&a.first, &a.last), (&b.first, &b.last)) {
        ((Some(first_a), Some(last_a)), (Some(first_b), Some(last_b))) => {
            let (given, family) = (first(first_a, first_b), last(last_a, last_b));
            // Written the other way round. One person in fifty, whoever typed it.
            let (one, other) = (last(first_a, last_b), last(last_a, first_b));
            let swapped = one.tenths + other.tenths - points(1.0, 1.0 / 50.0);
            if one.level >= Level::Close && other.level >= Level::Close && swapped > given.tenths + family.tenths {
                judgement.add("name", "swapped", swapped, "First and last name are swapped");
                return swapped / 2;
            }
            judgement.add("first_name", given.level.as_str(), given.tenths, given.sentence("first name"));
            judgement.add("last_name", family.level.as_str(), family.tenths, family.sentence("last name"));
            family.tenths.max(0)
        }
        ((None, None), _) | (_, (None, None)) => 0,
        // One name is missing somewhere: whatever there is may be either.
        ((first_a, last_a), (first_b, last_b)) => {
            let of = |first: &Option<String>, last: &Option<String>| -> Vec<String> { first.iter().chain(last).cloned().collect() };
            let mut best: Option<(Met, bool)> = None;
            for one in of(first_a, last_a) {
                for other in of(first_b, last_b) {
                    let is_first = Some(&one) == first_a.as_ref() && Some(&other) == first_b.as_ref();
                    let met = if is_first { first(&one, &other) } else { last(&one, &other) };
                    if best.is_none_or(|(known, _)| (met.tenths, met.level) > (known.tenths, known.level)) {
                        best = Some((met, is_first));
                    }
                }
            }
            let Some((met, is_first)) = best else { return 0 };
            let (field, label) = if is_first { ("first_name", "first name") } else { ("last_name", "last name") };
            judgement.add(field, met.level.as_str(), met.tenths, met.sentence(label));
            if is_first { 0 } else { met.tenths.max(0) }
        }
    }
}

fn emails(a: &Portrait, b: &Portrait, frequencies: &Frequencies, judgement: &mut Judgement) {
    let mut best: Option<(i64, &str, &str)> = None;
    for one in &a.mailboxes {
        for other in &b.mailboxes {
            let found = email(one, other, [a, b], frequencies);
            best = Some(best.map_or(found, |known| known.max(found)));
        }
    }
    if let Some((tenths, level, detail)) = best {
        judgement.add("email", level, tenths, detail);
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
    let initial: String = first.chars().take(1).collect();
    [&first, &last, &format!("{first}{last}"), &format!("{last}{first}"), &format!("{initial}{last}"), &format!("{last}{initial}")]
        .into_iter()
        .any(|name| !name.is_empty() && name == local)
}

fn phones(a: &Portrait, b: &Portrait, judgement: &mut Judgement) {
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
        judgement.add("phone", level, tenths, detail);
    }
}

/// The same handle on another channel; the same on one channel is one identity, and one person.
fn handles(a: &Portrait, b: &Portrait, judgement: &mut Judgement) {
    let same = a.handles.iter().any(|(value, kind)| value.len() >= 4 && b.handles.iter().any(|(other, on)| value == other && kind != on));
    if same {
        judgement.add("identities", "same", 9 * TENTHS, "The same handle on two channels");
    }
}

/// The best that any two values make.
fn attribute(a: &Attribute, b: &Attribute, frequencies: &Frequencies) -> Option<Met> {
    let equal = |one: &str, other: &str| if one == other { Level::Same } else { Level::Different };
    let mut best: Option<Met> = None;
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
