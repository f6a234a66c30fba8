//! Filters: one typed language for search, count, segments, label rules, bulk changes and export.
//!
//! [`parse()`] turns JSON into this tree and refuses what has no meaning; [`matches()`] answers it for one person in memory;
//! the store compiles it to SQL. A property test holds the two answers together. Every condition is true or false,
//! never unknown: a missing value matches `ne`, `not_in` and `has_none` and nothing else.

mod eval;
mod explain;
mod parse;

pub(crate) use eval::earliest;
pub use eval::{EventTally, Events, Facts, Verdict, attribute_value, holds, judge, matches};
pub use explain::explain;
pub use parse::{parse, parse_kept};

use crate::{
    Timestamp,
    clock::Span,
    id::{ProfileId, SegmentId},
    property::{PropertyType, Standard},
};

/// Deepest nesting of `all`, `any` and `not`.
pub const MAX_DEPTH: usize = 8;
/// Most conditions in one filter, those inside events included.
pub const MAX_CONDITIONS: usize = 50;
/// Most values in one list.
pub const MAX_VALUES: usize = 1_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Everyone when empty.
    All(Vec<Self>),
    /// No one when empty.
    Any(Vec<Self>),
    Not(Box<Self>),
    Is(Field, Test),
    Event(EventTest),
}

impl Filter {
    pub const EVERYONE: Self = Self::All(Vec::new());

    /// What it says of everybody alike, whoever they are; `None`: that depends on them.
    pub fn constant(&self) -> Option<bool> {
        let of = |filters: &[Self], decides: bool| {
            let answers: Vec<Option<bool>> = filters.iter().map(Self::constant).collect();
            if answers.contains(&Some(decides)) {
                Some(decides)
            } else {
                answers.iter().all(|answer| *answer == Some(!decides)).then_some(!decides)
            }
        };
        match self {
            Self::All(filters) => of(filters, false),
            Self::Any(filters) => of(filters, true),
            Self::Not(filter) => filter.constant().map(|answer| !answer),
            Self::Is(..) | Self::Event(_) => None,
        }
    }

    /// Who may be told apart from now on by time alone: whoever has a time in one of the filter's windows, or before it.
    pub fn may_flip(&self, now: Timestamp) -> Self {
        let candidates = self.leaves().into_iter().filter_map(|leaf| match leaf {
            Self::Is(field, Test::WithinLast(span) | Test::NotWithinLast(span)) => {
                Some(Self::Is(field.clone(), Test::Compare(Order::Gte, Scalar::Time(now.minus(*span)))))
            }
            Self::Event(test) if test.within.is_some() || test.is_relative() => Some(Self::Event(EventTest {
                kind: test.kind.clone(),
                conditions: Vec::new(),
                count: Vec::new(),
                within: test.within.filter(|_| !test.is_relative()),
            })),
            _ => None,
        });
        Self::Any(candidates.collect())
    }

    /// Every condition, in the order they stand.
    pub fn leaves(&self) -> Vec<&Self> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::leaves).collect(),
            Self::Not(inner) => inner.leaves(),
            Self::Is(..) | Self::Event(_) => vec![self],
        }
    }
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Id,
    /// The primary identity of the kind.
    Email,
    Phone,
    ExternalId,
    Standard(Standard),
    LastChannel,
    CreatedAt,
    UpdatedAt,
    LastSeenAt,
    Labels,
    Segments,
    Channels,
    /// The status on one channel.
    Consent(String),
    Attribute(String, PropertyType),
}

/// What sort of values a field has, which decides the operators it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Text,
    /// Text from a fixed list: no partial matches.
    Choice,
    Number,
    Boolean,
    Time,
    Set,
}

impl Field {
    /// As a filter calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Id => "id".to_owned(),
            Self::Email => "email".to_owned(),
            Self::Phone => "phone".to_owned(),
            Self::ExternalId => "external_id".to_owned(),
            Self::Standard(property) => property.as_str().to_owned(),
            Self::LastChannel => "last_channel".to_owned(),
            Self::CreatedAt => "created_at".to_owned(),
            Self::UpdatedAt => "updated_at".to_owned(),
            Self::LastSeenAt => "last_seen_at".to_owned(),
            Self::Labels => "labels".to_owned(),
            Self::Segments => "segments".to_owned(),
            Self::Channels => "channels".to_owned(),
            Self::Consent(channel) => format!("consents.{channel}"),
            Self::Attribute(key, _) => format!("attributes.{key}"),
        }
    }

    pub fn shape(&self) -> Shape {
        match self {
            Self::Email | Self::Phone | Self::ExternalId | Self::Standard(_) | Self::LastChannel => Shape::Text,
            Self::Id | Self::Consent(_) => Shape::Choice,
            Self::CreatedAt | Self::UpdatedAt | Self::LastSeenAt => Shape::Time,
            Self::Labels | Self::Segments | Self::Channels => Shape::Set,
            Self::Attribute(_, kind) => match kind {
                PropertyType::Text => Shape::Text,
                PropertyType::Enum => Shape::Choice,
                PropertyType::Number => Shape::Number,
                PropertyType::Boolean => Shape::Boolean,
                PropertyType::Date | PropertyType::Datetime => Shape::Time,
                PropertyType::TextList => Shape::Set,
            },
        }
    }
}

/// A value a condition compares with, in the form the field stores.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
    Time(Timestamp),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Exists,
    Missing,
    /// `eq` is a list of one.
    In(Vec<Scalar>),
    /// `ne` is a list of one. Matches missing values.
    NotIn(Vec<Scalar>),
    /// Folded needles.
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Compare(Order, Scalar),
    /// Both ends belong.
    Between(Scalar, Scalar),
    /// From `now − span` to `now`, both ends included.
    WithinLast(Span),
    /// Has a value outside of it.
    NotWithinLast(Span),
    HasAny(Vec<String>),
    HasAll(Vec<String>),
    /// Matches empty sets.
    HasNone(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Order {
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Gt => ">",
            Self::Gte => ">=",
            Self::Lt => "<",
            Self::Lte => "<=",
        }
    }

    pub fn holds<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Gt => a > b,
            Self::Gte => a >= b,
            Self::Lt => a < b,
            Self::Lte => a <= b,
        }
    }
}

/// How often something happened.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTest {
    /// The event's type, exactly.
    pub kind: String,
    /// All must hold for an event to count.
    pub conditions: Vec<(EventField, Test)>,
    /// All must hold for the number of such events; none means at least one.
    pub count: Vec<(CountOrder, i64)>,
    /// Only events from `now − within` to `now`.
    pub within: Option<Span>,
}

impl EventTest {
    /// Whether the number of events that count is one the test asks for.
    pub fn allows(&self, counted: i64) -> bool {
        if self.count.is_empty() {
            return counted >= 1;
        }
        self.count.iter().all(|(order, bound)| match order {
            CountOrder::Eq => counted == *bound,
            CountOrder::Order(order) => order.holds(&counted, bound),
        })
    }

    /// Whether nobody without such an event can pass.
    pub fn needs_one(&self) -> bool {
        !self.allows(0)
    }

    /// Whether it asks for the number of events of its type and nothing else of them.
    pub fn counts_all(&self) -> bool {
        self.conditions.is_empty() && self.within.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountOrder {
    Eq,
    Order(Order),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventField {
    Channel,
    OccurredAt,
    /// A top-level property of the event. Compared by the type of the value given: a number only matches numbers.
    Property(String),
}

/// A segment or profile id inside a filter, for dependency checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Segment(SegmentId),
    Profile(ProfileId),
}
