//! What a person did so far, counted: for each type of event how many, the first and the last.
//!
//! Kept beside the person's document and brought in step with every event, so that a question such as "at least two
//! orders" reads no timeline. A person who did very many different things has the rarest counted together; only about
//! those the timeline has to be asked.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap as _,
};

use crate::Timestamp;

/// Types counted by name for one person. Later ones are counted together.
pub const MAX_TYPES: usize = 100;
/// Events from which on a timeline is long: those of one type are then looked up, and no longer picked out of all.
pub const LONG: i64 = 1_000;
/// Under which they are; no type is called so, since types begin with a colon here.
pub const OTHERS: &str = "others";
/// Under which stands when a channel was last heard from.
const HEARD: &str = "heard";

/// How often, since when, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub count: i64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Tally {
    pub fn once(at: Timestamp) -> Self {
        Self { count: 1, first: at, last: at }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.count, self.first.micros(), self.last.micros()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (count, first, last) = <(i64, i64, i64)>::deserialize(deserializer)?;
        let at = |micros| Timestamp::from_micros(micros).ok_or_else(|| serde::de::Error::custom("an instant out of range"));
        Ok(Self { count, first: at(first)?, last: at(last)? })
    }
}

/// The tallies of one person, and when the newest event that named a channel happened: as JSON
/// `{":order_completed": [2, first, last], "heard": at}` with times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    tallies: BTreeMap<String, Tally>,
    /// Of the profile's `last_channel`. People who were last heard from before this was kept have none.
    pub heard: Option<Timestamp>,
}

impl Serialize for Activity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, tally) in &self.tallies {
            map.serialize_entry(key, tally)?;
        }
        if let Some(at) = self.heard {
            map.serialize_entry(HEARD, &at.micros())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Activity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tallies by type")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Activity, A::Error> {
                let mut out = Activity::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == HEARD {
                        out.heard = Timestamp::from_micros(map.next_value()?);
                    } else {
                        out.tallies.insert(key, map.next_value()?);
                    }
                }
                Ok(out)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// What is known of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Never,
    Counted(Tally),
    /// Among those counted together: the timeline knows.
    Unknown,
}

/// A type as it is called here: no character in it means anything to either database's JSON paths.
pub fn key(kind: &str) -> String {
    let mut out = String::with_capacity(kind.len() + 1);
    out.push(':');
    for character in kind.chars() {
        match character {
            '%' => out.push_str("%25"),
            '"' => out.push_str("%22"),
            '\\' => out.push_str("%5C"),
            other => out.push(other),
        }
    }
    out
}

impl Activity {
    /// Takes events of one type in.
    pub fn add(&mut self, kind: &str, tally: Tally) {
        self.add_key(key(kind), tally);
    }

    fn add_key(&mut self, key: String, tally: Tally) {
        let room = self.tallies.len() - usize::from(self.tallies.contains_key(OTHERS)) < MAX_TYPES;
        let key = if room || self.tallies.contains_key(&key) { key } else { OTHERS.to_owned() };
        self.tallies.entry(key).and_modify(|known| known.add(tally)).or_insert(tally);
    }

    /// Takes over what another did, whose events move here. When a channel was heard from goes with its name
    /// ([`crate::profile::Profile::hear`]).
    pub fn join(&mut self, other: &Self) {
        for (key, tally) in &other.tallies {
            if key == OTHERS {
                self.tallies.entry(key.clone()).and_modify(|known| known.add(*tally)).or_insert(*tally);
            } else {
                self.add_key(key.clone(), *tally);
            }
        }
    }

    pub fn of(&self, kind: &str) -> Told {
        // Some of a type that came after the room was gone stand among the others, also when two people were joined.
        if self.has_others() {
            return Told::Unknown;
        }
        // Asked of everyone who is judged, for each condition about events: most have done little, and then no name is spelt out.
        if self.tallies.is_empty() {
            return Told::Never;
        }
        self.tallies.get(&key(kind)).map_or(Told::Never, |tally| Told::Counted(*tally))
    }

    /// How many events there are, of whatever type.
    pub fn count(&self) -> i64 {
        self.tallies.values().map(|tally| tally.count).sum()
    }

    /// When the newest of all events happened.
    pub fn last(&self) -> Option<Timestamp> {
        self.tallies.values().map(|tally| tally.last).max()
    }

    /// Whether there are so many events that they are looked up by their type.
    pub fn is_long(&self) -> bool {
        self.count() >= LONG
    }

    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// Whether some are counted together.
    pub fn has_others(&self) -> bool {
        self.tallies.contains_key(OTHERS)
    }

    /// The types counted by name, as [`key`] spells them.
    pub fn tallies(&self) -> impl Iterator<Item = (&str, Tally)> {
        self.tallies.iter().filter(|(key, _)| *key != OTHERS).map(|(key, tally)| (key.as_str(), *tally))
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, LONG, MAX_TYPES, Tally, Told};
    use crate::Timestamp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap_or(Timestamp::MIN)
    }

    #[test]
    fn types_are_counted_by_name_whatever_they_are_called() {
        let mut activity = Activity::default();
        for kind in ["order", "$pageview", "a \"b\" \\ %", "12", "order"] {
            activity.add(kind, Tally::once(at(5)));
        }
        activity.add("order", Tally::once(at(2)));
        activity.heard = Some(at(5));
        assert_eq!(activity.of("order"), Told::Counted(Tally { count: 3, first: at(2), last: at(5) }));
        assert_eq!(activity.of("a \"b\" \\ %"), Told::Counted(Tally::once(at(5))));
        assert_eq!(activity.of("never"), Told::Never);
        let again: Activity = serde_json::from_str(&serde_json::to_string(&activity).unwrap_or_default()).unwrap_or_default();
        assert_eq!(again, activity);
    }

    #[test]
    fn very_many_types_are_counted_together_and_said_to_be_unknown() {
        let mut activity = Activity::default();
        for n in 0..MAX_TYPES {
            activity.add(&n.to_string(), Tally::once(at(1)));
        }
        assert_eq!((activity.of("0"), activity.of("more")), (Told::Counted(Tally::once(at(1))), Told::Never));
        activity.add("more", Tally::once(at(1)));
        assert_eq!((activity.of("0"), activity.of("more"), activity.of("never")), (Told::Unknown, Told::Unknown, Told::Unknown));
        let mut other = Activity::default();
        other.join(&activity);
        assert_eq!(other, activity);
        let all = i64::try_from(MAX_TYPES).unwrap_or(0) + 1;
        assert_eq!((other.count(), other.is_long()), (all, false), "those counted together are events too");
        other.add("more", Tally { count: LONG - all, ..Tally::once(at(1)) });
        assert!(other.is_long());
    }
}
