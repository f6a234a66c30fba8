//! The answer of a filter for one person, in memory.

use serde_json::Value;

use super::{EventField, EventTest, Field, Filter, Scalar, Test};
use crate::{Timestamp, clock::Span, event::Event, profile::Profile, property::PropertyType, text::fold};

/// What is known of one person when a filter is asked about them.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub profile: &'a Profile,
    pub events: &'a [Event],
    pub now: Timestamp,
}

/// The answer of a filter, and until when time alone cannot change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub holds: bool,
    /// The next instant at which the answer may be another although nothing happens; never earlier than it is, sometimes
    /// earlier than it need be.
    pub flips_at: Option<Timestamp>,
}

/// What a filter asks of somebody's events.
pub trait Events {
    fn tally(&self, test: &EventTest, now: Timestamp) -> EventTally;
}

/// How many events count, and when time alone may change whether that is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTally {
    pub count: i64,
    pub flips_at: Option<Timestamp>,
}

/// Whether the filter matches.
pub fn matches(filter: &Filter, facts: Facts<'_>) -> bool {
    judge(filter, facts.profile, &facts.events, facts.now).holds
}

/// Whether the filter matches, and until when.
pub fn judge(filter: &Filter, profile: &Profile, events: &dyn Events, now: Timestamp) -> Verdict {
    let many = |parts: &[Filter], all: bool| {
        let mut out = Verdict { holds: all, flips_at: None };
        for part in parts {
            let verdict = judge(part, profile, events, now);
            out.holds = if all { out.holds && verdict.holds } else { out.holds || verdict.holds };
            out.flips_at = earliest(out.flips_at, verdict.flips_at);
        }
        out
    };
    match filter {
        Filter::All(parts) => many(parts, true),
        Filter::Any(parts) => many(parts, false),
        Filter::Not(inner) => {
            let verdict = judge(inner, profile, events, now);
            Verdict { holds: !verdict.holds, ..verdict }
        }
        Filter::Is(field, test) => match set_of(field, profile) {
            Some(set) => Verdict { holds: holds_for_set(test, &set), flips_at: None },
            None => {
                let value = value_of(field, profile);
                Verdict { holds: holds(test, value.as_ref(), now), flips_at: flip(test, value.as_ref(), now) }
            }
        },
        Filter::Event(test) => {
            let tally = events.tally(test, now);
            Verdict { holds: test.allows(tally.count), flips_at: tally.flips_at }
        }
    }
}

pub(crate) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The instant after which a window of this length has left `at` behind.
fn leaves(at: Timestamp, span: Span) -> Timestamp {
    at.plus(span).plus(Span::MICROSECOND)
}

/// When a window that ends now takes a time in, or leaves it behind.
fn flip(test: &Test, value: Option<&Scalar>, now: Timestamp) -> Option<Timestamp> {
    match (test, value) {
        (Test::WithinLast(span) | Test::NotWithinLast(span), Some(Scalar::Time(at))) => {
            let at = *at;
            if at > now { Some(at) } else { Some(leaves(at, *span)).filter(|end| *end > now) }
        }
        _ => None,
    }
}

impl Events for &[Event] {
    fn tally(&self, test: &EventTest, now: Timestamp) -> EventTally {
        let mut counted: Vec<Timestamp> = Vec::new();
        let mut flips_at = None;
        for event in self.iter().filter(|event| event.kind == test.kind) {
            flips_at = earliest(flips_at, test.inner_flip(event, now));
            if test.counts(event, now) {
                counted.push(event.occurred_at);
            }
        }
        let count = i64::try_from(counted.len()).unwrap_or(i64::MAX);
        if let Some(span) = test.within {
            counted.sort_unstable();
            // The first to leave the window that makes a difference.
            let enough = test.allows(count);
            let last = (1..).zip(&counted).find(|(gone, _)| test.allows(count - gone) != enough).map(|(_, at)| *at);
            flips_at = earliest(flips_at, last.map(|at| leaves(at, span)));
        }
        EventTally { count, flips_at }
    }
}

impl EventTest {
    /// Whether an event of the type is one that counts.
    pub fn counts(&self, event: &Event, now: Timestamp) -> bool {
        event.kind == self.kind
            && self.within.is_none_or(|span| now.minus(span) <= event.occurred_at && event.occurred_at <= now)
            && self.conditions.iter().all(|(field, condition)| holds_for_event(field, condition, event, now))
    }

    /// Whether conditions on the event itself depend on the time at which they are asked.
    pub fn is_relative(&self) -> bool {
        self.conditions.iter().any(|(_, test)| matches!(test, Test::WithinLast(_) | Test::NotWithinLast(_)))
    }

    /// When such a condition may change for an event.
    pub fn inner_flip(&self, event: &Event, now: Timestamp) -> Option<Timestamp> {
        self.conditions
            .iter()
            .filter(|(field, _)| *field == EventField::OccurredAt)
            .filter_map(|(_, test)| flip(test, Some(&Scalar::Time(event.occurred_at)), now))
            .min()
    }
}

pub(super) fn set_of<'a>(field: &Field, profile: &'a Profile) -> Option<Vec<std::borrow::Cow<'a, str>>> {
    match field {
        Field::Labels => Some(profile.labels.iter().map(|s| s.as_str().into()).collect()),
        Field::Channels => Some(profile.channels.iter().map(|s| s.as_str().into()).collect()),
        Field::Segments => Some(profile.segments.iter().map(|s| s.id.to_string().into()).collect()),
        Field::Attribute(key, PropertyType::TextList) => Some(match profile.attributes.get(key) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(Into::into).collect(),
            _ => Vec::new(),
        }),
        _ => None,
    }
}

pub(super) fn value_of(field: &Field, profile: &Profile) -> Option<Scalar> {
    let text = |value: Option<&str>| value.map(|t| Scalar::Text(t.to_owned()));
    match field {
        Field::Id => Some(Scalar::Text(profile.id.to_string())),
        Field::Email => text(profile.email.as_deref()),
        Field::Phone => text(profile.phone.as_deref()),
        Field::ExternalId => text(profile.external_id.as_deref()),
        Field::Standard(property) => text(profile.standard(*property)),
        Field::LastChannel => text(profile.last_channel.as_deref()),
        Field::CreatedAt => Some(Scalar::Time(profile.created_at)),
        Field::UpdatedAt => Some(Scalar::Time(profile.updated_at)),
        Field::LastSeenAt => profile.last_seen_at.map(Scalar::Time),
        Field::Consent(channel) => {
            profile.consents.iter().find(|c| c.channel == *channel).map(|c| Scalar::Text(c.status.as_str().to_owned()))
        }
        Field::Attribute(key, kind) => attribute_value(profile.attributes.get(key)?, *kind),
        Field::Labels | Field::Segments | Field::Channels => None,
    }
}

/// An attribute in the form conditions compare: dates as instants.
pub fn attribute_value(value: &Value, kind: PropertyType) -> Option<Scalar> {
    match (kind, value) {
        (PropertyType::Text | PropertyType::Enum, Value::String(text)) => Some(Scalar::Text(text.clone())),
        (PropertyType::Number, Value::Number(number)) => number.as_f64().map(Scalar::Number),
        (PropertyType::Boolean, Value::Bool(flag)) => Some(Scalar::Boolean(*flag)),
        (PropertyType::Date, Value::String(text)) => Timestamp::parse_date(text).map(Scalar::Time),
        (PropertyType::Datetime, Value::String(text)) => Timestamp::parse(text).map(Scalar::Time),
        _ => None,
    }
}

/// Whether a test of a single value holds, wherever the value is kept.
pub fn holds(test: &Test, value: Option<&Scalar>, now: Timestamp) -> bool {
    let text = |check: &dyn Fn(String) -> bool| match value {
        Some(Scalar::Text(text)) => check(fold(text)),
        _ => false,
    };
    let time = |check: &dyn Fn(Timestamp) -> bool| match value {
        Some(Scalar::Time(at)) => check(*at),
        _ => false,
    };
    match test {
        Test::Exists => value.is_some(),
        Test::Missing => value.is_none(),
        Test::In(values) => value.is_some_and(|v| values.contains(v)),
        Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
        Test::Contains(needle) => text(&|t| t.contains(needle.as_str())),
        Test::StartsWith(needle) => text(&|t| t.starts_with(needle.as_str())),
        Test::EndsWith(needle) => text(&|t| t.ends_with(needle.as_str())),
        Test::Compare(order, bound) => match (value, bound) {
            (Some(Scalar::Number(v)), Scalar::Number(b)) => order.holds(v, b),
            (Some(Scalar::Time(v)), Scalar::Time(b)) => order.holds(v, b),
            _ => false,
        },
        Test::Between(low, high) => match (value, low, high) {
            (Some(Scalar::Number(v)), Scalar::Number(low), Scalar::Number(high)) => low <= v && v <= high,
            (Some(Scalar::Time(v)), Scalar::Time(low), Scalar::Time(high)) => low <= v && v <= high,
            _ => false,
        },
        Test::WithinLast(span) => time(&|at| now.minus(*span) <= at && at <= now),
        Test::NotWithinLast(span) => time(&|at| at < now.minus(*span) || now < at),
        Test::HasAny(_) | Test::HasAll(_) | Test::HasNone(_) => false,
    }
}

fn holds_for_set(test: &Test, set: &[std::borrow::Cow<'_, str>]) -> bool {
    let has = |wanted: &String| set.iter().any(|item| item == wanted);
    match test {
        Test::Exists => !set.is_empty(),
        Test::Missing => set.is_empty(),
        Test::HasAny(wanted) => wanted.iter().any(has),
        Test::HasAll(wanted) => wanted.iter().all(has),
        Test::HasNone(wanted) => !wanted.iter().any(has),
        _ => false,
    }
}

fn holds_for_event(field: &EventField, test: &Test, event: &Event, now: Timestamp) -> bool {
    let value = match field {
        EventField::Channel => event.channel.clone().map(Scalar::Text),
        EventField::OccurredAt => Some(Scalar::Time(event.occurred_at)),
        EventField::Property(key) => event.properties.get(key).and_then(|value| match value {
            Value::String(text) => Some(Scalar::Text(text.clone())),
            Value::Number(number) => number.as_f64().map(Scalar::Number),
            Value::Bool(flag) => Some(Scalar::Boolean(*flag)),
            _ => None,
        }),
    };
    // `exists` asks for presence, whatever the value's type.
    let present = match field {
        EventField::Property(key) => event.properties.get(key).is_some_and(|v| !v.is_null()),
        _ => value.is_some(),
    };
    match test {
        Test::Exists => present,
        Test::Missing => !present,
        _ => holds(test, value.as_ref(), now),
    }
}
