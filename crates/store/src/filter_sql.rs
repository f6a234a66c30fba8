//! A domain filter as SQL over the row `p` of a profile and the row `d` of its document.
//!
//! Every piece is true or false, never NULL, so that `NOT` means what it says; the property test in
//! `tests/find/agreement.rs` holds this file and `domain::filter::matches` to the same answer. Texts are put together
//! from static pieces; every name and value is bound.

use people_domain::{
    Timestamp, activity,
    filter::{CountOrder, EventField, EventTest, Field, Filter, Scalar, Test},
    property::{PropertyType, Standard},
};
use serde_json::Value;

use crate::{by_type, dialect::Engine, door::micros, statement::Arg};

/// Collects the values of a composed statement. `$1` is always the workspace.
#[derive(Debug)]
pub(crate) struct Composer {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    pub(crate) args: Vec<Arg>,
    /// Whether a condition looks at the document's row.
    pub(crate) asks_documents: bool,
}

impl Composer {
    pub(crate) fn new(engine: Engine, now: Timestamp, workspace: people_domain::id::WorkspaceId) -> Self {
        Self { engine, now, args: vec![workspace.into()], asks_documents: false }
    }

    /// Binds a value and answers its placeholder.
    pub(crate) fn bind(&mut self, value: impl Into<Arg>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }

    fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.engine {
            Engine::Sqlite => sqlite,
            Engine::Postgres => postgres,
        }
    }

    /// `IN (…)` over a list of texts; one statement whatever its length.
    fn texts(&mut self, values: &[String]) -> String {
        if let [only] = values {
            return format!("= {}", self.bind(only.as_str()));
        }
        match self.engine {
            Engine::Sqlite => {
                let list = self.bind(Arg::Json(Value::from(values.to_vec()).to_string()));
                format!("IN (SELECT value FROM json_each({list}))")
            }
            Engine::Postgres => {
                let list = self.bind(Arg::TextList(values.iter().cloned().map(Some).collect()));
                format!("= ANY({list})")
            }
        }
    }

    fn numbers(&mut self, values: &[f64]) -> String {
        if let [only] = values {
            return format!("= {}", self.bind(*only));
        }
        match self.engine {
            Engine::Sqlite => {
                let list = self.bind(Arg::Json(Value::from(values.to_vec()).to_string()));
                format!("IN (SELECT value FROM json_each({list}))")
            }
            Engine::Postgres => {
                let list = self.bind(Arg::FloatList(values.iter().copied().map(Some).collect()));
                format!("= ANY({list})")
            }
        }
    }

    fn ids(&mut self, values: &[String]) -> String {
        let ids: Vec<uuid::Uuid> = values.iter().filter_map(|v| v.parse().ok()).collect();
        match self.engine {
            Engine::Sqlite => {
                let list = self.bind(Arg::Json(Value::from(ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string()));
                format!("IN (SELECT unhex(value) FROM json_each({list}))")
            }
            Engine::Postgres => {
                let list = self.bind(Arg::UuidList(ids.into_iter().map(Some).collect()));
                format!("= ANY({list})")
            }
        }
    }

    fn times(&mut self, values: &[Timestamp]) -> String {
        if let [only] = values {
            return format!("= {}", self.bind(*only));
        }
        match self.engine {
            Engine::Sqlite => {
                let list = self.bind(Arg::Json(Value::from(values.iter().map(|t| t.micros()).collect::<Vec<_>>()).to_string()));
                format!("IN (SELECT value FROM json_each({list}))")
            }
            Engine::Postgres => {
                let list = self.bind(Arg::TimeList(values.iter().copied().map(Some).collect()));
                format!("= ANY({list})")
            }
        }
    }

    /// The whole filter as one condition.
    pub(crate) fn condition(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::All(parts) => self.joined(parts, " AND ", "1 = 1"),
            Filter::Any(parts) => self.joined(parts, " OR ", "1 = 0"),
            Filter::Not(inner) => format!("(NOT {})", self.condition(inner)),
            Filter::Is(field, test) => self.leaf(field, test),
            Filter::Event(test) => self.event(test),
        }
    }

    fn joined(&mut self, parts: &[Filter], with: &str, empty: &str) -> String {
        if parts.is_empty() {
            return format!("({empty})");
        }
        let parts: Vec<String> = parts.iter().map(|part| self.condition(part)).collect();
        format!("({})", parts.join(with))
    }

    fn leaf(&mut self, field: &Field, test: &Test) -> String {
        match field {
            Field::Id => match test {
                Test::In(values) => format!("(p.id {})", self.ids(&strings(values))),
                Test::NotIn(values) => format!("(NOT (p.id {}))", self.ids(&strings(values))),
                Test::Exists => "(1 = 1)".to_owned(),
                _ => "(1 = 0)".to_owned(),
            },
            Field::Email => self.text("p.email", "email", test),
            Field::Phone => self.text("p.phone", "phone", test),
            Field::ExternalId => self.text("p.external_id", "external_id", test),
            Field::LastChannel => {
                self.asks_documents = true;
                match test {
                    // The name of a channel is folded as it stands.
                    Test::Contains(needle) | Test::StartsWith(needle) | Test::EndsWith(needle) => {
                        self.partial("d.last_channel", test, needle)
                    }
                    _ => self.text("d.last_channel", "last_channel", test),
                }
            }
            Field::Standard(property) => self.text(column(*property), property.as_str(), test),
            Field::CreatedAt => self.time("p.created_at", false, test),
            Field::UpdatedAt => self.time("p.updated_at", false, test),
            Field::LastSeenAt => {
                self.asks_documents = true;
                self.time("d.last_seen_at", true, test)
            }
            Field::Labels => self.set("profile_labels", "label", false, test),
            Field::Segments => self.set("profile_segments", "segment_id", true, test),
            Field::Channels => self.set("profile_channels", "channel", false, test),
            Field::Consent(channel) => self.consent(channel, test),
            Field::Attribute(key, kind) => self.attribute(key, *kind, test),
        }
    }

    fn text(&mut self, column: &str, folded: &str, test: &Test) -> String {
        match test {
            Test::Exists => format!("({column} IS NOT NULL)"),
            Test::Missing => format!("({column} IS NULL)"),
            Test::In(values) => format!("({column} IS NOT NULL AND {column} {})", self.texts(&strings(values))),
            Test::NotIn(values) => format!("({column} IS NULL OR NOT ({column} {}))", self.texts(&strings(values))),
            Test::Contains(needle) | Test::StartsWith(needle) | Test::EndsWith(needle) => {
                let text = self.folded(folded);
                self.partial(&text, test, needle)
            }
            _ => "(1 = 0)".to_owned(),
        }
    }

    /// The folded text of a field.
    fn folded(&mut self, field: &str) -> String {
        format!("(p.folded ->> {})", self.bind(field))
    }

    /// A folded text that contains, starts or ends with a needle.
    fn partial(&mut self, text: &str, test: &Test, needle: &str) -> String {
        let needle = self.bind(needle);
        let holds = match test {
            Test::StartsWith(_) => format!("{{position}}({text}, {needle}) = 1"),
            Test::EndsWith(_) => {
                format!("length({text}) >= length({needle}) AND substr({text}, length({text}) - length({needle}) + 1) = {needle}")
            }
            _ => format!("{{position}}({text}, {needle}) > 0"),
        };
        format!("({text} IS NOT NULL AND {holds})")
    }

    fn time(&mut self, column: &str, optional: bool, test: &Test) -> String {
        // People never seen carry the first instant there is.
        let present = if optional { format!("{column} > {}", self.bind(Timestamp::MIN)) } else { "1 = 1".to_owned() };
        match test {
            Test::Exists => format!("({present})"),
            Test::Missing => format!("(NOT ({present}))"),
            Test::In(values) => format!("({present} AND {column} {})", self.times(&instants(values))),
            Test::NotIn(values) => format!("(NOT ({present}) OR NOT ({column} {}))", self.times(&instants(values))),
            Test::Compare(order, Scalar::Time(at)) => format!("({present} AND {column} {} {})", order.sql(), self.bind(*at)),
            Test::Between(Scalar::Time(low), Scalar::Time(high)) => {
                format!("({present} AND {column} >= {} AND {column} <= {})", self.bind(*low), self.bind(*high))
            }
            Test::WithinLast(span) => {
                let (from, to) = (self.bind(self.now.minus(*span)), self.bind(self.now));
                format!("({present} AND {column} >= {from} AND {column} <= {to})")
            }
            Test::NotWithinLast(span) => {
                let (from, to) = (self.bind(self.now.minus(*span)), self.bind(self.now));
                format!("({present} AND ({column} < {from} OR {column} > {to}))")
            }
            _ => "(1 = 0)".to_owned(),
        }
    }

    fn set(&mut self, table: &str, column: &str, of_ids: bool, test: &Test) -> String {
        let rows = format!("SELECT 1 FROM {table} AS m WHERE m.workspace_id = $1 AND m.profile_id = p.id");
        let among = |me: &mut Self, values: &[String]| {
            if of_ids { me.ids(values) } else { me.texts(values) }
        };
        match test {
            Test::Exists => format!("(EXISTS ({rows}))"),
            Test::Missing => format!("(NOT EXISTS ({rows}))"),
            Test::HasAny(values) if values.is_empty() => "(1 = 0)".to_owned(),
            Test::HasAll(values) | Test::HasNone(values) if values.is_empty() => "(1 = 1)".to_owned(),
            Test::HasAny(values) => format!("(EXISTS ({rows} AND m.{column} {}))", among(self, values)),
            Test::HasNone(values) => format!("(NOT EXISTS ({rows} AND m.{column} {}))", among(self, values)),
            Test::HasAll(values) => {
                let mut distinct = values.clone();
                distinct.sort();
                distinct.dedup();
                let list = among(self, &distinct);
                let wanted = self.bind(i64::try_from(distinct.len()).unwrap_or(i64::MAX));
                format!(
                    "((SELECT count(*) FROM {table} AS m WHERE m.workspace_id = $1 AND m.profile_id = p.id AND m.{column} {list}) = {wanted})"
                )
            }
            _ => "(1 = 0)".to_owned(),
        }
    }

    fn consent(&mut self, channel: &str, test: &Test) -> String {
        let channel = self.bind(channel);
        let rows =
            format!("SELECT 1 FROM profile_consents AS m WHERE m.workspace_id = $1 AND m.profile_id = p.id AND m.channel = {channel}");
        match test {
            Test::Exists => format!("(EXISTS ({rows}))"),
            Test::Missing => format!("(NOT EXISTS ({rows}))"),
            Test::In(values) => format!("(EXISTS ({rows} AND m.status {}))", self.texts(&strings(values))),
            Test::NotIn(values) => format!("(NOT EXISTS ({rows} AND m.status {}))", self.texts(&strings(values))),
            _ => "(1 = 0)".to_owned(),
        }
    }

    fn attribute(&mut self, key: &str, kind: PropertyType, test: &Test) -> String {
        if let Test::Contains(needle) | Test::StartsWith(needle) | Test::EndsWith(needle) = test {
            let text = self.folded(&format!("attributes.{key}"));
            return self.partial(&text, test, needle);
        }
        if kind == PropertyType::TextList {
            return self.attribute_list(key, test);
        }
        let key = self.bind(key);
        let present = format!("p.comparables -> {key} IS NOT NULL");
        let textual = matches!(kind, PropertyType::Text | PropertyType::Enum);
        let column = match (self.engine, kind) {
            // SQLite reads numbers as numbers and booleans as 0 and 1.
            (Engine::Sqlite, _) => format!("(p.comparables ->> {key})"),
            (Engine::Postgres, PropertyType::Boolean) => format!("(p.comparables ->> {key})::boolean::int::double precision"),
            (Engine::Postgres, _) if textual => format!("(p.comparables ->> {key})"),
            (Engine::Postgres, _) => format!("(p.comparables ->> {key})::double precision"),
        };
        let among = |me: &mut Self, values: &[Scalar]| if textual { me.texts(&strings(values)) } else { me.numbers(&floats(values)) };
        match test {
            Test::Exists => format!("({present})"),
            Test::Missing => format!("(NOT ({present}))"),
            Test::In(values) => format!("({present} AND {column} {})", among(self, values)),
            Test::NotIn(values) => format!("(NOT ({present} AND {column} {}))", among(self, values)),
            _ => match self.number_range(&column, test) {
                Some(range) => format!("({present} AND {range})"),
                None => "(1 = 0)".to_owned(),
            },
        }
    }

    /// A list of texts; an empty one is not kept.
    fn attribute_list(&mut self, key: &str, test: &Test) -> String {
        match test {
            Test::HasAny(values) if values.is_empty() => return "(1 = 0)".to_owned(),
            Test::HasAll(values) | Test::HasNone(values) if values.is_empty() => return "(1 = 1)".to_owned(),
            _ => {}
        }
        let key = self.bind(key);
        let present = format!("p.comparables -> {key} IS NOT NULL");
        let from = match self.engine {
            Engine::Sqlite => format!("json_each(p.comparables -> {key}) AS j WHERE"),
            Engine::Postgres => format!("jsonb_array_elements_text(coalesce(p.comparables -> {key}, '[]')) AS j (value) WHERE"),
        };
        match test {
            Test::Exists => format!("({present})"),
            Test::Missing => format!("(NOT ({present}))"),
            Test::HasAny(values) => format!("(EXISTS (SELECT 1 FROM {from} j.value {}))", self.texts(values)),
            Test::HasNone(values) => format!("(NOT EXISTS (SELECT 1 FROM {from} j.value {}))", self.texts(values)),
            Test::HasAll(values) => {
                let mut distinct = values.clone();
                distinct.sort();
                distinct.dedup();
                let list = self.texts(&distinct);
                let wanted = self.bind(i64::try_from(distinct.len()).unwrap_or(i64::MAX));
                format!("((SELECT count(DISTINCT j.value) FROM {from} j.value {list}) = {wanted})")
            }
            _ => "(1 = 0)".to_owned(),
        }
    }

    fn number_range(&mut self, column: &str, test: &Test) -> Option<String> {
        Some(match test {
            Test::Compare(order, bound) => format!("{column} {} {}", order.sql(), self.bind(float(bound)?)),
            Test::Between(low, high) => format!("{column} >= {} AND {column} <= {}", self.bind(float(low)?), self.bind(float(high)?)),
            Test::WithinLast(span) => {
                let (from, to) = (self.bind(micros(self.now.minus(*span))), self.bind(micros(self.now)));
                format!("{column} >= {from} AND {column} <= {to}")
            }
            Test::NotWithinLast(span) => {
                let (from, to) = (self.bind(micros(self.now.minus(*span))), self.bind(micros(self.now)));
                format!("({column} < {from} OR {column} > {to})")
            }
            _ => return None,
        })
    }

    /// Which events `e` count.
    pub(crate) fn events(&mut self, test: &EventTest) -> String {
        let kind = self.bind(test.kind.as_str());
        let mut rows = format!("e.workspace_id = $1 AND e.type = {kind}");
        if let Some(span) = test.within {
            let (from, to) = (self.bind(self.now.minus(span)), self.bind(self.now));
            rows.push_str(&format!(" AND e.occurred_at >= {from} AND e.occurred_at <= {to}"));
        }
        for (field, condition) in &test.conditions {
            rows.push_str(" AND ");
            rows.push_str(&self.event_leaf(field, condition));
        }
        rows
    }

    /// How often something happened. What is counted beside the document answers, or at least tells who need not be
    /// asked; the rest their timeline tells.
    fn event(&mut self, test: &EventTest) -> String {
        let events = self.events(test);
        let [short, long] = by_type::either(|way| {
            let rows = format!("FROM events AS e {} e.profile_id = p.id AND {events}", way.found);
            if test.count.is_empty() { format!("EXISTS (SELECT 1 {rows})") } else { format!("(SELECT count(*) {rows})") }
        });
        let told = format!("(CASE WHEN {} THEN {long} ELSE {short} END)", by_type::is_long());
        let holds = if test.count.is_empty() { told } else { self.bounds(test, &told) };
        self.asks_documents = true;
        if !test.counts_all() && !test.needs_one() {
            return format!("({holds})");
        }
        let key = self.bind(activity::key(&test.kind));
        let others = format!("d.activity -> '{}' IS NOT NULL", activity::OTHERS);
        if test.counts_all() {
            let counted = self.bounds(test, &format!("coalesce((d.activity -> {key} ->> 0){{as_bigint}}, 0)"));
            return format!("(CASE WHEN {others} THEN {holds} ELSE {counted} END)");
        }
        let last = format!("(d.activity -> {key} ->> 2){{as_bigint}}");
        let lately = match test.within {
            Some(span) => format!("coalesce({last} >= {}, 1 = 0)", self.bind(self.now.minus(span).micros())),
            None => format!("{last} IS NOT NULL"),
        };
        format!("(({others} OR {lately}) AND {holds})")
    }

    fn bounds(&mut self, test: &EventTest, count: &str) -> String {
        if test.count.is_empty() {
            return format!("({count} >= 1)");
        }
        let bounds: Vec<String> = test
            .count
            .iter()
            .map(|(order, bound)| {
                let order = match order {
                    CountOrder::Eq => "=",
                    CountOrder::Order(order) => order.sql(),
                };
                format!("{count} {order} {}", self.bind(*bound))
            })
            .collect();
        format!("({})", bounds.join(" AND "))
    }

    fn event_leaf(&mut self, field: &EventField, test: &Test) -> String {
        match field {
            EventField::OccurredAt => self.time("e.occurred_at", false, test),
            EventField::Channel => match test {
                Test::Exists => "(e.channel IS NOT NULL)".to_owned(),
                Test::Missing => "(e.channel IS NULL)".to_owned(),
                Test::In(values) => format!("(e.channel IS NOT NULL AND e.channel {})", self.texts(&strings(values))),
                Test::NotIn(values) => format!("(e.channel IS NULL OR NOT (e.channel {}))", self.texts(&strings(values))),
                _ => "(1 = 0)".to_owned(),
            },
            EventField::Property(key) => self.event_property(key, test),
        }
    }

    /// A property of an event compares with values of its own JSON type only.
    fn event_property(&mut self, key: &str, test: &Test) -> String {
        let key = self.bind(key);
        let rows = match self.engine {
            Engine::Sqlite => format!("SELECT 1 FROM json_each(e.properties) AS j WHERE j.key = {key}"),
            Engine::Postgres => format!("SELECT 1 FROM (SELECT e.properties -> {key} AS value) AS j WHERE j.value IS NOT NULL"),
        };
        let null = self.pick("j.type <> 'null'", "jsonb_typeof(j.value) <> 'null'");
        let number = self.pick("j.type IN ('integer', 'real')", "jsonb_typeof(j.value) = 'number'");
        let as_number =
            self.pick("CAST(j.atom AS REAL)", "CASE WHEN jsonb_typeof(j.value) = 'number' THEN (j.value #>> '{}')::double precision END");
        match test {
            Test::Exists => format!("(EXISTS ({rows} AND {null}))"),
            Test::Missing => format!("(NOT EXISTS ({rows} AND {null}))"),
            Test::In(values) | Test::NotIn(values) => {
                let mut parts: Vec<String> = Vec::new();
                let texts: Vec<String> =
                    values.iter().filter_map(|v| if let Scalar::Text(t) = v { Some(t.clone()) } else { None }).collect();
                if !texts.is_empty() {
                    let list = self.texts(&texts);
                    parts.push(match self.engine {
                        Engine::Sqlite => format!("(j.type = 'text' AND j.atom {list})"),
                        Engine::Postgres => format!("(jsonb_typeof(j.value) = 'string' AND (j.value #>> '{{}}') {list})"),
                    });
                }
                let numbers: Vec<f64> = values.iter().filter_map(|v| if let Scalar::Number(n) = v { Some(*n) } else { None }).collect();
                if !numbers.is_empty() {
                    parts.push(format!("({number} AND {as_number} {})", self.numbers(&numbers)));
                }
                for flag in values.iter().filter_map(|v| if let Scalar::Boolean(b) = v { Some(*b) } else { None }) {
                    parts.push(match (self.engine, flag) {
                        (Engine::Sqlite, true) => "(j.type = 'true')".to_owned(),
                        (Engine::Sqlite, false) => "(j.type = 'false')".to_owned(),
                        (Engine::Postgres, true) => "(j.value = 'true'::jsonb)".to_owned(),
                        (Engine::Postgres, false) => "(j.value = 'false'::jsonb)".to_owned(),
                    });
                }
                let any = if parts.is_empty() { "(1 = 0)".to_owned() } else { format!("({})", parts.join(" OR ")) };
                let not = if matches!(test, Test::NotIn(_)) { "NOT " } else { "" };
                format!("({not}EXISTS ({rows} AND {any}))")
            }
            _ => match self.number_range(as_number, test) {
                Some(range) => format!("(EXISTS ({rows} AND {number} AND {range}))"),
                None => "(1 = 0)".to_owned(),
            },
        }
    }

    /// The people a condition singles out through an index, as `SELECT profile_id …`; `None` for conditions no index
    /// answers.
    pub(crate) fn source(&mut self, filter: &Filter) -> Option<String> {
        let Filter::Is(field, test) = filter else { return None };
        let members =
            |table: &str, condition: String| format!("SELECT m.profile_id FROM {table} AS m WHERE m.workspace_id = $1 AND {condition}");
        Some(match (field, test) {
            (Field::Labels, Test::HasAny(values)) => members("profile_labels", format!("m.label {}", self.texts(values))),
            (Field::Segments, Test::HasAny(values)) => members("profile_segments", format!("m.segment_id {}", self.ids(values))),
            _ => return self.identities(filter),
        })
    }

    /// The people who hold an identity a condition names.
    pub(crate) fn identities(&mut self, filter: &Filter) -> Option<String> {
        let (kind, values) = match filter {
            Filter::Is(Field::Email, Test::In(values)) => ("email", values),
            Filter::Is(Field::Phone, Test::In(values)) => ("phone", values),
            Filter::Is(Field::ExternalId, Test::In(values)) => ("external_id", values),
            _ => return None,
        };
        let kind = self.bind(kind);
        let values = self.texts(&strings(values));
        Some(format!("SELECT m.profile_id FROM profile_identities AS m WHERE m.workspace_id = $1 AND m.kind = {kind} AND m.value {values}"))
    }
}

fn column(property: Standard) -> &'static str {
    match property {
        Standard::Name => "p.name",
        Standard::FirstName => "p.first_name",
        Standard::LastName => "p.last_name",
        Standard::Company => "p.company",
        Standard::JobTitle => "p.job_title",
        Standard::Country => "p.country",
        Standard::City => "p.city",
        Standard::Language => "p.language",
        Standard::Timezone => "p.timezone",
        Standard::AvatarUrl => "p.avatar_url",
    }
}

fn strings(values: &[Scalar]) -> Vec<String> {
    values.iter().filter_map(|v| if let Scalar::Text(text) = v { Some(text.clone()) } else { None }).collect()
}

fn instants(values: &[Scalar]) -> Vec<Timestamp> {
    values.iter().filter_map(|v| if let Scalar::Time(at) = v { Some(*at) } else { None }).collect()
}

fn float(value: &Scalar) -> Option<f64> {
    match value {
        Scalar::Number(number) => Some(*number),
        Scalar::Time(at) => Some(micros(*at)),
        Scalar::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        Scalar::Text(_) => None,
    }
}

fn floats(values: &[Scalar]) -> Vec<f64> {
    values.iter().filter_map(float).collect()
}
