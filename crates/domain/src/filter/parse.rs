//! Reading a filter from JSON: every mistake at its place, with what is allowed there.

use serde_json::{Map, Value};

use super::{CountOrder, EventField, EventTest, Field, Filter, MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, Order, Scalar, Shape, Test};
use crate::{
    Issue, Timestamp,
    clock::Span,
    consent::Status,
    identity::{IdentityKey, IdentityKind, email_as_kept},
    label,
    property::{Definitions, Standard, kind_of},
    refusal::{Issues, token},
    text::{clean, fold},
};

const FIELDS: &str = "id, email, phone, external_id, name, first_name, last_name, company, job_title, country, city, language, timezone, \
     avatar_url, last_channel, created_at, updated_at, last_seen_at, labels, segments, channels, consents.<channel> and attributes.<key>";

/// Reads a filter. Pointers are relative to the filter itself.
///
/// E: `invalid_filter` (shape), `unknown_field`, `unknown_operator`, `wrong_type`, `limit_exceeded`.
pub fn parse(value: &Value, definitions: &Definitions) -> Result<Filter, Vec<Issue>> {
    read(value, Reader { definitions, issues: Issues::default(), conditions: 0, is_kept: false })
}

/// Reads a filter that was taken before: what would be refused today because nobody can have such a value matches nobody, so
/// that no definition becomes unreadable.
pub fn parse_kept(value: &Value, definitions: &Definitions) -> Result<Filter, Vec<Issue>> {
    read(value, Reader { definitions, issues: Issues::default(), conditions: 0, is_kept: true })
}

fn read(value: &Value, mut reader: Reader<'_>) -> Result<Filter, Vec<Issue>> {
    let filter = reader.filter(value, "", 1);
    if reader.conditions > MAX_CONDITIONS {
        reader.issues.push(
            "",
            "limit_exceeded",
            format!("a filter has at most {MAX_CONDITIONS} conditions, this one has {}", reader.conditions),
        );
    }
    match (filter, reader.issues.into_result()) {
        (Some(filter), Ok(())) => Ok(filter),
        (_, Err(refusal)) => Err(refusal.issues),
        (None, Ok(())) => Err(vec![Issue::new("", "invalid_filter", "expected a filter")]),
    }
}

struct Reader<'a> {
    definitions: &'a Definitions,
    issues: Issues,
    conditions: usize,
    is_kept: bool,
}

const SHAPES: &str =
    "expected one of {\"all\": […]}, {\"any\": […]}, {\"not\": {…}}, {\"field\": …, \"op\": …, \"value\": …} or {\"event\": …}";

impl Reader<'_> {
    fn filter(&mut self, value: &Value, at: &str, depth: usize) -> Option<Filter> {
        if depth > MAX_DEPTH {
            self.issues.push(at, "limit_exceeded", format!("a filter nests at most {MAX_DEPTH} deep"));
            return None;
        }
        let Value::Object(object) = value else {
            self.issues.push(at, "invalid_filter", format!("{SHAPES}, got {}", kind_of(value)));
            return None;
        };
        if let Some(list) = object.get("all") {
            self.only(object, &["all"], at);
            return self.list(list, &format!("{at}/all"), depth).map(Filter::All);
        }
        if let Some(list) = object.get("any") {
            self.only(object, &["any"], at);
            return self.list(list, &format!("{at}/any"), depth).map(Filter::Any);
        }
        if let Some(inner) = object.get("not") {
            self.only(object, &["not"], at);
            return self.filter(inner, &format!("{at}/not"), depth + 1).map(|f| Filter::Not(Box::new(f)));
        }
        if object.contains_key("event") {
            return self.event(object, at);
        }
        if object.contains_key("field") || object.contains_key("op") {
            return self.condition(object, at);
        }
        self.issues.push(at, "invalid_filter", SHAPES);
        None
    }

    fn only(&mut self, object: &Map<String, Value>, allowed: &[&str], at: &str) {
        for key in object.keys().filter(|key| !allowed.contains(&key.as_str())) {
            self.issues.push(
                format!("{at}/{}", token(key)),
                "unknown_field",
                format!("not expected here; allowed: {}", allowed.join(", ")),
            );
        }
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Option<Vec<Filter>> {
        let Value::Array(items) = value else {
            self.issues.push(at, "invalid_filter", format!("expected a list of filters, got {}", kind_of(value)));
            return None;
        };
        // Each part is read even after a bad one, so that all mistakes are told at once.
        let parts: Vec<Option<Filter>> =
            items.iter().enumerate().map(|(i, item)| self.filter(item, &format!("{at}/{i}"), depth + 1)).collect();
        parts.into_iter().collect()
    }

    fn text<'v>(&mut self, object: &'v Map<String, Value>, key: &str, at: &str) -> Option<&'v str> {
        match object.get(key) {
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.issues.push(format!("{at}/{key}"), "wrong_type", format!("expected text, got {}", kind_of(other)));
                None
            }
            None => {
                self.issues.push(at, "invalid_filter", format!("`{key}` is missing"));
                None
            }
        }
    }

    fn condition(&mut self, object: &Map<String, Value>, at: &str) -> Option<Filter> {
        self.conditions += 1;
        self.only(object, &["field", "op", "value"], at);
        let (name, op) = (self.text(object, "field", at), self.text(object, "op", at));
        let field = self.field(name?, &format!("{at}/field"))?;
        let test = self.test(op?, object.get("value"), &Operand::Profile(&field), at)?;
        Some(Filter::Is(field, test))
    }

    fn field(&mut self, name: &str, at: &str) -> Option<Field> {
        let field = match name {
            "id" => Field::Id,
            "email" => Field::Email,
            "phone" => Field::Phone,
            "external_id" => Field::ExternalId,
            "last_channel" => Field::LastChannel,
            "created_at" => Field::CreatedAt,
            "updated_at" => Field::UpdatedAt,
            "last_seen_at" => Field::LastSeenAt,
            "labels" => Field::Labels,
            "segments" => Field::Segments,
            "channels" => Field::Channels,
            _ => {
                if let Some(property) = Standard::parse_name(name) {
                    return Some(Field::Standard(property));
                }
                if let Some(channel) = name.strip_prefix("consents.").and_then(IdentityKind::parse) {
                    return Some(Field::Consent(channel.as_str().to_owned()));
                }
                if let Some(key) = name.strip_prefix("attributes.") {
                    return match self.definitions.get(key) {
                        Some(definition) => Some(Field::Attribute(key.to_owned(), definition.kind)),
                        None => {
                            let mut known: Vec<&str> = self.definitions.keys().map(String::as_str).take(20).collect();
                            known.sort_unstable();
                            self.issues.push(
                                at,
                                "unknown_field",
                                match known.as_slice() {
                                    [] => "this workspace has no custom attributes yet; write one or define it with POST /v1/properties"
                                        .to_owned(),
                                    known => format!("no such attribute in this workspace; it has: {}", known.join(", ")),
                                },
                            );
                            None
                        }
                    };
                }
                self.issues.push(at, "unknown_field", format!("no such field; a filter can ask for {FIELDS}"));
                return None;
            }
        };
        Some(field)
    }

    fn test(&mut self, op: &str, value: Option<&Value>, operand: &Operand<'_>, at: &str) -> Option<Test> {
        let shape = operand.shape(value);
        let value_at = format!("{at}/value");
        if matches!(op, "exists" | "missing") {
            if value.is_some_and(|v| !v.is_null()) {
                self.issues.push(value_at, "invalid_filter", format!("`{op}` takes no value"));
                return None;
            }
            return Some(if op == "exists" { Test::Exists } else { Test::Missing });
        }
        let allowed = operators(shape);
        if !allowed.contains(&op) {
            self.issues.push(format!("{at}/op"), "unknown_operator", format!("{} takes {}", operand.name(), allowed.join(", ")));
            return None;
        }
        let Some(value) = value else {
            self.issues.push(at, "invalid_filter", format!("`{op}` needs a value"));
            return None;
        };
        if shape == Shape::Set {
            let values = match op {
                "has" | "eq" | "ne" => vec![self.member(value, operand, &value_at)?],
                _ => self.many(value, &value_at, |me, v, at| me.member(v, operand, at))?,
            };
            return Some(match op {
                "has" | "eq" | "in" | "has_any" => Test::HasAny(values),
                "has_all" => Test::HasAll(values),
                _ => Test::HasNone(values),
            });
        }
        Some(match op {
            "eq" => Test::In(operand.spellings(vec![self.scalar(value, operand, shape, &value_at)?])),
            "ne" => Test::NotIn(operand.spellings(vec![self.scalar(value, operand, shape, &value_at)?])),
            "in" => {
                Test::In(operand.spellings(self.many(value, &value_at, |me, v, at| me.scalar(v, operand, operand.shape(Some(v)), at))?))
            }
            "not_in" => {
                Test::NotIn(operand.spellings(self.many(value, &value_at, |me, v, at| me.scalar(v, operand, operand.shape(Some(v)), at))?))
            }
            "contains" | "starts_with" | "ends_with" => {
                let Value::String(text) = value else {
                    return self.wrong(&value_at, "text", operand, value);
                };
                let text = self.storable(text, &value_at)?;
                let needle = operand.part(&fold(&text));
                match op {
                    "contains" => Test::Contains(needle),
                    "starts_with" => Test::StartsWith(needle),
                    _ => Test::EndsWith(needle),
                }
            }
            "gt" => Test::Compare(Order::Gt, self.scalar(value, operand, shape, &value_at)?),
            "gte" => Test::Compare(Order::Gte, self.scalar(value, operand, shape, &value_at)?),
            "lt" => Test::Compare(Order::Lt, self.scalar(value, operand, shape, &value_at)?),
            "lte" => Test::Compare(Order::Lte, self.scalar(value, operand, shape, &value_at)?),
            "between" => {
                let Some([low, high]) = value.as_array().map(Vec::as_slice) else {
                    self.issues.push(value_at, "wrong_type", "`between` takes a list of two values, the lower first");
                    return None;
                };
                // Both of the shape that the first gives to what has none of its own.
                let low = self.scalar(low, operand, shape, &format!("{value_at}/0"));
                let high = self.scalar(high, operand, shape, &format!("{value_at}/1"));
                Test::Between(low?, high?)
            }
            _ => {
                let span = self.span(value, &value_at)?;
                if op == "within_last" { Test::WithinLast(span) } else { Test::NotWithinLast(span) }
            }
        })
    }

    fn span(&mut self, value: &Value, at: &str) -> Option<Span> {
        let span = value.as_str().and_then(Span::parse);
        if span.is_none() {
            self.issues.push(
                at,
                "wrong_type",
                "expected an ISO 8601 duration of weeks, days or hours such as P30D or PT12H, at most P3650D",
            );
        }
        span
    }

    fn many<T>(&mut self, value: &Value, at: &str, mut read: impl FnMut(&mut Self, &Value, &str) -> Option<T>) -> Option<Vec<T>> {
        let Value::Array(items) = value else {
            self.issues.push(at, "wrong_type", format!("expected a list of values, got {}", kind_of(value)));
            return None;
        };
        if items.len() > MAX_VALUES {
            self.issues.push(at, "limit_exceeded", format!("a list has at most {MAX_VALUES} values"));
            return None;
        }
        let read: Vec<Option<T>> = items.iter().enumerate().map(|(i, item)| read(self, item, &format!("{at}/{i}"))).collect();
        read.into_iter().collect()
    }

    fn wrong<T>(&mut self, at: &str, expected: &str, operand: &Operand<'_>, got: &Value) -> Option<T> {
        self.issues.push(at, "wrong_type", format!("expected {expected} for {}, got {}", operand.name(), kind_of(got)));
        None
    }

    fn storable(&mut self, text: &str, at: &str) -> Option<String> {
        if text.contains('\0') {
            self.issues.push(at, "nul_character", "U+0000 cannot be part of a stored value; remove it");
            return None;
        }
        if text.len() > crate::property::MAX_TEXT_BYTES {
            self.issues.push(at, "limit_exceeded", format!("a text value is at most {} bytes", crate::property::MAX_TEXT_BYTES));
            return None;
        }
        Some(text.to_owned())
    }

    fn scalar(&mut self, value: &Value, operand: &Operand<'_>, shape: Shape, at: &str) -> Option<Scalar> {
        match (shape, value) {
            (Shape::Text | Shape::Choice, Value::String(text)) => {
                let text = self.storable(text, at)?;
                match operand.normalise(&text) {
                    Ok(text) => Some(Scalar::Text(text)),
                    Err(Unread::Nobodys(_)) if self.is_kept => Some(Scalar::Text(text)),
                    Err(Unread::Nobodys(detail) | Unread::Wrong(detail)) => {
                        self.issues.push(at, "wrong_type", detail);
                        None
                    }
                }
            }
            (Shape::Text | Shape::Choice, _) => self.wrong(at, "text", operand, value),
            (Shape::Number, Value::Number(number)) => match number.as_f64().filter(|f| f.is_finite()) {
                Some(float) => Some(Scalar::Number(float)),
                None => self.wrong(at, "a number", operand, value),
            },
            (Shape::Number, _) => self.wrong(at, "a number", operand, value),
            (Shape::Boolean, Value::Bool(flag)) => Some(Scalar::Boolean(*flag)),
            (Shape::Boolean, _) => self.wrong(at, "true or false", operand, value),
            (Shape::Time, Value::String(text)) => match Timestamp::parse(text).or_else(|| Timestamp::parse_date(text)) {
                Some(time) => Some(Scalar::Time(time)),
                None => self.wrong(at, "a time such as 2026-01-01T00:00:00Z or a date", operand, value),
            },
            (Shape::Time, _) => self.wrong(at, "a time such as 2026-01-01T00:00:00Z or a date", operand, value),
            (Shape::Set, _) => None,
        }
    }

    fn member(&mut self, value: &Value, operand: &Operand<'_>, at: &str) -> Option<String> {
        let Value::String(text) = value else {
            return self.wrong(at, "text", operand, value);
        };
        let text = self.storable(text, at)?;
        match operand {
            Operand::Profile(Field::Labels) => label::parse(&text).map_err(|issue| self.issues.add(issue.under(at))).ok(),
            Operand::Profile(Field::Segments) => match text.parse::<uuid::Uuid>() {
                Ok(id) => Some(id.to_string()),
                Err(_) => self.wrong(at, "a segment's id", operand, value),
            },
            Operand::Profile(_) => Some(as_kept(&text)),
            Operand::Event(_) => Some(text),
        }
    }

    fn event(&mut self, object: &Map<String, Value>, at: &str) -> Option<Filter> {
        self.conditions += 1;
        self.only(object, &["event", "where", "count", "within"], at);
        // As types are kept.
        let kind = self.text(object, "event", at).map(|text| clean(text, 256).ok().flatten());
        if kind == Some(None) {
            self.issues.push(format!("{at}/event"), "invalid_filter", "expected the type of an event, at most 256 bytes");
        }
        let kind = kind.flatten();
        let mut conditions = Vec::new();
        match object.get("where") {
            None => {}
            Some(Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    conditions.extend(self.event_condition(item, &format!("{at}/where/{i}")));
                }
            }
            Some(other) => {
                self.issues.push(format!("{at}/where"), "wrong_type", format!("expected a list of conditions, got {}", kind_of(other)))
            }
        }
        let mut count = Vec::new();
        match object.get("count") {
            None => {}
            Some(Value::Object(bounds)) if !bounds.is_empty() => {
                for (op, bound) in bounds {
                    let order = match op.as_str() {
                        "eq" => Some(CountOrder::Eq),
                        "gt" => Some(CountOrder::Order(Order::Gt)),
                        "gte" => Some(CountOrder::Order(Order::Gte)),
                        "lt" => Some(CountOrder::Order(Order::Lt)),
                        "lte" => Some(CountOrder::Order(Order::Lte)),
                        _ => None,
                    };
                    let place = format!("{at}/count/{}", token(op));
                    match (order, bound.as_i64().filter(|n| (0..=1_000_000_000).contains(n))) {
                        (Some(order), Some(bound)) => count.push((order, bound)),
                        (None, _) => self.issues.push(place, "unknown_operator", "a count takes eq, gt, gte, lt, lte"),
                        (_, None) => self.issues.push(place, "wrong_type", "expected a whole number from 0 to 1000000000"),
                    }
                }
            }
            Some(_) => self.issues.push(format!("{at}/count"), "wrong_type", "expected bounds such as {\"gte\": 2}"),
        }
        let within = match object.get("within") {
            None => None,
            Some(value) => Some(self.span(value, &format!("{at}/within"))?),
        };
        Some(Filter::Event(EventTest { kind: kind?, conditions, count, within }))
    }

    fn event_condition(&mut self, value: &Value, at: &str) -> Option<(EventField, Test)> {
        self.conditions += 1;
        let Value::Object(object) = value else {
            self.issues.push(at, "invalid_filter", "expected {\"field\": \"properties.…\", \"op\": …, \"value\": …}");
            return None;
        };
        self.only(object, &["field", "op", "value"], at);
        let (name, op) = (self.text(object, "field", at), self.text(object, "op", at));
        let field = match name? {
            "channel" => EventField::Channel,
            "occurred_at" => EventField::OccurredAt,
            other => match other.strip_prefix("properties.").filter(|key| !key.is_empty() && key.len() <= 256 && !key.contains('\0')) {
                Some(key) => EventField::Property(key.to_owned()),
                None => {
                    self.issues.push(
                        format!("{at}/field"),
                        "unknown_field",
                        "an event is asked for channel, occurred_at or properties.<name>",
                    );
                    return None;
                }
            },
        };
        let test = self.test(op?, object.get("value"), &Operand::Event(&field), at)?;
        Some((field, test))
    }
}

/// What the value of a condition is compared with.
enum Operand<'a> {
    Profile(&'a Field),
    Event(&'a EventField),
}

impl Operand<'_> {
    /// A profile's field has a shape; an event's property takes the shape of the value it is compared with.
    fn shape(&self, value: Option<&Value>) -> Shape {
        match self {
            Self::Profile(field) => field.shape(),
            // An event's texts are kept as they came, unfolded: no partial matches.
            Self::Event(EventField::Channel) => Shape::Choice,
            Self::Event(EventField::OccurredAt) => Shape::Time,
            Self::Event(EventField::Property(_)) => match value {
                Some(Value::Array(items)) if !items.is_empty() => self.shape(items.first()),
                Some(Value::Number(_)) => Shape::Number,
                Some(Value::Bool(_)) => Shape::Boolean,
                _ => Shape::Choice,
            },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Profile(field) => field.name(),
            Self::Event(EventField::Channel) => "channel".to_owned(),
            Self::Event(EventField::OccurredAt) => "occurred_at".to_owned(),
            Self::Event(EventField::Property(key)) => format!("properties.{key}"),
        }
    }

    /// The form the field is stored in, so that `Ada@Example.com` finds `ada@example.com`.
    fn normalise(&self, text: &str) -> Result<String, Unread> {
        let nobodys = |detail: &str| Unread::Nobodys(detail.to_owned());
        match self {
            Self::Profile(Field::Id) => {
                text.parse::<uuid::Uuid>().map(|id| id.to_string()).map_err(|_| Unread::Wrong("expected a profile's id, a UUID".to_owned()))
            }
            Self::Profile(Field::Email) => Ok(email_as_kept(text.trim())),
            // Without the workspace's country: were that changed, a segment would be of others.
            Self::Profile(Field::Phone) => IdentityKey::parse(&IdentityKind::phone(), text, None)
                .map(|key| key.value)
                .map_err(|_| nobodys("expected a phone number with its country code, such as +442079460000")),
            Self::Profile(Field::Consent(channel)) => match Status::parse(text) {
                Some(status) => Ok(status.as_str().to_owned()),
                None => Err(Unread::Wrong(format!("consents.{channel} is one of: opted_in, opted_out, pending, unknown"))),
            },
            Self::Profile(Field::Standard(property @ (Standard::Country | Standard::Language | Standard::Timezone))) => {
                let value = property.parse(text).map_err(|issue| Unread::Nobodys(issue.detail))?;
                value.ok_or_else(|| nobodys("expected a value; `missing` asks for those without one"))
            }
            Self::Profile(_) => Ok(as_kept(text)),
            // As they came.
            Self::Event(_) => Ok(text.to_owned()),
        }
    }

    /// With the other numbers the same lines are known by.
    fn spellings(&self, values: Vec<Scalar>) -> Vec<Scalar> {
        if !matches!(self, Self::Profile(Field::Phone)) {
            return values;
        }
        let mut all: Vec<Scalar> = Vec::with_capacity(values.len());
        for value in values {
            let Scalar::Text(value) = value else { continue };
            let key = IdentityKey { kind: IdentityKind::phone(), value };
            for spelling in key.variants().into_iter().map(|key| Scalar::Text(key.value)) {
                if !all.contains(&spelling) {
                    all.push(spelling);
                }
            }
        }
        all
    }

    /// A piece of a value as it is stored: numbers stand without the punctuation people write them with.
    fn part(&self, folded: &str) -> String {
        let is_dialled = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '/' | '(' | ')');
        if matches!(self, Self::Profile(Field::Phone)) && folded.chars().all(is_dialled) {
            let bare: String = folded.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
            // Nothing is part of every number, and was not what was asked for.
            if !bare.is_empty() {
                return bare;
            }
        }
        folded.to_owned()
    }
}

/// A text as profiles keep it.
fn as_kept(text: &str) -> String {
    clean(text, usize::MAX).ok().flatten().unwrap_or_default()
}

/// Why a text is no value of its field.
enum Unread {
    Wrong(String),
    /// It has the right type, and no profile can have it.
    Nobodys(String),
}

fn operators(shape: Shape) -> &'static [&'static str] {
    match shape {
        Shape::Text => &["eq", "ne", "in", "not_in", "exists", "missing", "contains", "starts_with", "ends_with"],
        Shape::Choice | Shape::Boolean => &["eq", "ne", "in", "not_in", "exists", "missing"],
        Shape::Number => &["eq", "ne", "in", "not_in", "exists", "missing", "gt", "gte", "lt", "lte", "between"],
        Shape::Time => {
            &["eq", "ne", "in", "not_in", "exists", "missing", "gt", "gte", "lt", "lte", "between", "within_last", "not_within_last"]
        }
        Shape::Set => &["has", "has_any", "has_all", "has_none", "eq", "ne", "in", "not_in", "exists", "missing"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{parse, parse_kept};
    use crate::{
        Timestamp,
        filter::{Filter, Scalar, Test},
        property::{Definition, Definitions, Match, PropertyType},
    };

    fn definitions() -> Definitions {
        let seats = Definition {
            key: "seats".into(),
            kind: PropertyType::Number,
            label: None,
            description: None,
            options: Vec::new(),
            searchable: false,
            pii: false,
            matching: Match::None,
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
        };
        [("seats".to_owned(), seats)].into()
    }

    fn refused(filter: &Value) -> Vec<(String, &'static str)> {
        parse(filter, &definitions()).err().unwrap_or_default().into_iter().map(|i| (i.pointer, i.code)).collect()
    }

    #[test]
    fn every_mistake_is_told_at_its_place() {
        let found = refused(&json!({"all": [
            {"field": "nonsense", "op": "eq", "value": 1},
            {"field": "attributes.seats", "op": "contains", "value": "x"},
            {"any": [{"field": "attributes.seats", "op": "eq", "value": "five"}]},
            {"field": "created_at", "op": "within_last", "value": "a month"},
            {"field": "email", "op": "exists", "value": 1},
            {"event": "x", "count": {"about": 2}},
            7,
            {"event": "x", "where": [{"field": "properties.n", "op": "between", "value": [0, true]}]}
        ]}));
        let expected = [
            ("/all/0/field", "unknown_field"),
            ("/all/1/op", "unknown_operator"),
            ("/all/2/any/0/value", "wrong_type"),
            ("/all/3/value", "wrong_type"),
            ("/all/4/value", "invalid_filter"),
            ("/all/5/count/about", "unknown_operator"),
            ("/all/6", "invalid_filter"),
            ("/all/7/where/0/value/1", "wrong_type"),
        ];
        assert_eq!(found, expected.map(|(p, c)| (p.to_owned(), c)).to_vec());
    }

    #[test]
    fn values_are_read_as_they_are_stored() {
        let texts = |filter: &Value| match parse(filter, &definitions()) {
            Ok(Filter::Is(_, Test::In(values) | Test::NotIn(values))) => {
                values.into_iter().map(|value| if let Scalar::Text(text) = value { text } else { String::new() }).collect()
            }
            Ok(Filter::Is(_, Test::Contains(text) | Test::StartsWith(text))) => vec![text],
            other => vec![format!("{other:?}")],
        };
        for (field, op, value, read) in [
            ("phone", "eq", json!("+44 (0)20 7946-0000"), &["+442079460000"][..]),
            ("phone", "ne", json!("0044 20 7946 0000"), &["+442079460000"]),
            // Brazil's ninth digit: the same line.
            ("phone", "in", json!(["+55 11 96123 4567", "+551161234567"]), &["+5511961234567", "+551161234567"]),
            ("phone", "contains", json!("7946 00-00"), &["79460000"]),
            ("phone", "starts_with", json!("+44 (20)"), &["+4420"]),
            ("phone", "contains", json!(" - "), &[" - "]),
            ("email", "eq", json!(" Ada@Example.com"), &["ada@example.com"]),
            ("email", "eq", json!("ada@xn--mller-kva.example"), &["ada@m\u{fc}ller.example"]),
            ("company", "ne", json!(" Jose\u{301} "), &["Jos\u{e9}"]),
            ("country", "eq", json!("gb"), &["GB"]),
            ("language", "in", json!(["EN", "pt-br"]), &["en", "pt-BR"]),
            ("timezone", "eq", json!("europe/london"), &["Europe/London"]),
        ] {
            assert_eq!(texts(&json!({"field": field, "op": op, "value": value})), read, "{field} {op} {value}");
        }
    }

    #[test]
    fn what_nobody_can_have_is_told_and_in_a_filter_that_was_taken_before_matches_nobody() {
        for (field, value) in
            [("phone", "020 7946 0000"), ("phone", "soon"), ("country", "Germany"), ("language", "!"), ("timezone", "Mars")]
        {
            let filter = json!({"field": field, "op": "eq", "value": value});
            assert_eq!(refused(&filter), [("/value".to_owned(), "wrong_type")], "{filter}");
            assert!(parse_kept(&filter, &definitions()).is_ok(), "{filter}");
        }
        assert!(parse_kept(&json!({"field": "id", "op": "eq", "value": "x"}), &definitions()).is_err());
    }

    #[test]
    fn nesting_and_number_of_conditions_are_bounded() {
        let mut deep = json!({"field": "email", "op": "exists"});
        for _ in 0..8 {
            deep = json!({"not": deep});
        }
        assert_eq!(refused(&deep).first().map(|(_, c)| *c), Some("limit_exceeded"));
        let wide: Vec<Value> = (0..51).map(|_| json!({"field": "email", "op": "exists"})).collect();
        assert_eq!(refused(&json!({"all": wide})).first().map(|(_, c)| *c), Some("limit_exceeded"));
    }

    #[test]
    fn the_example_of_the_contract_is_understood() {
        let filter = json!({"all": [
            {"field": "labels", "op": "has", "value": "vip"},
            {"field": "channels", "op": "has_any", "value": ["whatsapp", "email"]},
            {"field": "created_at", "op": "gte", "value": "2026-01-01T00:00:00Z"},
            {"field": "last_seen_at", "op": "within_last", "value": "P30D"},
            {"field": "attributes.seats", "op": "between", "value": [5, 50]},
            {"field": "consents.email", "op": "eq", "value": "opted_in"},
            {"not": {"field": "company", "op": "starts_with", "value": "Acme"}},
            {"any": [{"field": "country", "op": "in", "value": ["GB", "IE"]}, {"field": "email", "op": "exists"}]},
            {"event": "order_completed", "where": [{"field": "properties.total", "op": "gt", "value": 100}], "count": {"gte": 2}, "within": "P90D"}
        ]});
        assert!(parse(&filter, &definitions()).is_ok());
    }
}
