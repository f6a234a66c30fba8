//! The answer of a filter for one person, in memory.

use serde_json::Value;

use super::{EventField, EventTest, Field, Filter, Scalar, Test};
use crate::{Timestamp, event::Event, profile::Profile, property::PropertyType, text::fold};

/// What is known of one person when a filter is asked about them.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub profile: &'a Profile,
    pub events: &'a [Event],
    pub now: Timestamp,
}

/// Whether the filter matches.
pub fn matches(filter: &Filter, facts: Facts<'_>) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|f| matches(f, facts)),
        Filter::Any(parts) => parts.iter().any(|f| matches(f, facts)),
        Filter::Not(inner) => !matches(inner, facts),
        Filter::Is(field, test) => match set_of(field, facts.profile) {
            Some(set) => holds_for_set(test, &set),
            None => holds(test, value_of(field, facts.profile).as_ref(), facts.now),
        },
        Filter::Event(test) => event_holds(test, facts),
    }
}

fn set_of<'a>(field: &Field, profile: &'a Profile) -> Option<Vec<std::borrow::Cow<'a, str>>> {
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

fn value_of(field: &Field, profile: &Profile) -> Option<Scalar> {
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

fn event_holds(test: &EventTest, facts: Facts<'_>) -> bool {
    let counted = facts
        .events
        .iter()
        .filter(|event| {
            event.kind == test.kind
                && test.within.is_none_or(|span| facts.now.minus(span) <= event.occurred_at && event.occurred_at <= facts.now)
                && test.conditions.iter().all(|(field, condition)| holds_for_event(field, condition, event, facts.now))
        })
        .count();
    test.allows(i64::try_from(counted).unwrap_or(i64::MAX))
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
