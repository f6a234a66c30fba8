//! One filter, two readers: the database through `/v1/profiles/search`, and the rules in memory. For random people with
//! random events, and random filters over every field and operator, both must name the same people. The seed is printed,
//! so that a failure can be repeated.

use std::collections::BTreeSet;

use people_domain::{
    Timestamp,
    clock::Span,
    event::Event,
    filter::{self, Facts},
    profile::Profile,
    property::{Definition, Definitions, Match, PropertyType},
};
use people_tests::{App, stories};
use rand::{Rng as _, RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

stories![the_database_and_the_rules_name_the_same_people];

const PEOPLE: usize = 120;
const FILTERS: usize = 400;

/// Texts that fold alike, texts with signs, texts of many scripts.
const TEXTS: &[&str] = &["Ada", "ada", "ÁDA", "Łukasz", "100%", "a_b", "O'Brien", "王", "Ωmega", "x\\y", "Straße", "strasse", "a", "😀"];
const LABELS: &[&str] = &["vip", "Vip", "trial", "a b", "100%"];
const CHANNELS: &[&str] = &["email", "sms", "whatsapp"];
const STATUSES: &[&str] = &["opted_in", "opted_out", "pending", "unknown"];
const COUNTRIES: &[&str] = &["GB", "IE", "PL", "JP"];
const DATES: &[&str] = &["1999-12-31", "2026-01-01", "2026-06-15", "2030-01-01"];
/// Far enough from now that the moment of asking does not matter.
const AGES: &[i64] = &[2, 10, 20, 45, 80, 200];
const SPANS: &[&str] = &["P1D", "P7D", "P2W", "P30D", "P60D", "P365D"];

const ATTRIBUTES: &[(&str, PropertyType)] = &[
    ("plan", PropertyType::Text),
    ("tier", PropertyType::Enum),
    ("seats", PropertyType::Number),
    ("beta", PropertyType::Boolean),
    ("born", PropertyType::Date),
    ("renews at", PropertyType::Datetime),
    ("tags", PropertyType::TextList),
];

fn definitions() -> Definitions {
    ATTRIBUTES
        .iter()
        .map(|(key, kind)| {
            let definition = Definition {
                key: (*key).to_owned(),
                kind: *kind,
                label: None,
                description: None,
                options: vec!["gold".to_owned(), "silver".to_owned()],
                searchable: false,
                pii: false,
                matching: Match::None,
                created_at: Timestamp::MIN,
                updated_at: Timestamp::MIN,
            };
            ((*key).to_owned(), definition)
        })
        .collect()
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.0).expect("something to choose from").clone()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let size = self.0.random_range(0..=of.len().min(3));
        (0..size).map(|_| self.one(of)).collect()
    }

    fn ago(&mut self, now: Timestamp) -> String {
        let days = self.one(AGES);
        let sign = if self.chance(20) { -1 } else { 1 };
        Timestamp::from_micros(now.micros() - sign * days * 86_400_000_000).expect("a time").short()
    }

    fn attribute(&mut self, kind: PropertyType, now: Timestamp) -> Value {
        match kind {
            PropertyType::Text => json!(self.one(TEXTS)),
            PropertyType::Enum => json!(self.one(&["gold", "silver"])),
            PropertyType::Number => self.one(&[json!(0), json!(-1), json!(12), json!(12.5), json!(0.1), json!(9_007_199_254_740_991_i64)]),
            PropertyType::Boolean => json!(self.chance(50)),
            PropertyType::Date => json!(self.one(DATES)),
            PropertyType::Datetime => json!(self.ago(now)),
            PropertyType::TextList => json!(self.some(TEXTS)),
        }
    }

    fn person(&mut self, number: usize, now: Timestamp) -> Value {
        let mut person = json!({"external_id": format!("crm-{number}")});
        for field in ["name", "company", "city", "job_title"] {
            if self.chance(70) {
                person[field] = json!(self.one(TEXTS));
            }
        }
        if self.chance(60) {
            person["country"] = json!(self.one(COUNTRIES));
        }
        if self.chance(60) {
            person["email"] = json!(format!("p{number}@{}.example", self.one(&["a", "b"])));
        }
        person["labels"] = json!(self.some(LABELS));
        let consents: Vec<Value> = CHANNELS
            .iter()
            .filter(|_| self.0.random_range(0..2) == 0)
            .map(|c| json!({"channel": c, "status": STATUSES[number % 4]}))
            .collect();
        person["consents"] = json!(consents);
        let mut attributes = Map::new();
        for (key, kind) in ATTRIBUTES {
            if self.chance(60) {
                attributes.insert((*key).to_owned(), self.attribute(*kind, now));
            }
        }
        person["attributes"] = Value::Object(attributes);
        person
    }

    fn property(&mut self) -> Value {
        self.one(&[
            json!(1),
            json!(1.5),
            json!(100),
            json!("1"),
            json!("red"),
            json!(true),
            json!(false),
            json!(null),
            json!([1]),
            json!({"a": 1}),
        ])
    }

    fn event(&mut self, now: Timestamp) -> Event {
        let mut properties = Map::new();
        for key in ["total", "colour", "a.b", "$x", "it's"] {
            if self.chance(50) {
                properties.insert(key.to_owned(), self.property());
            }
        }
        Event {
            kind: self.one(&["order_completed", "page", "a b"]).to_owned(),
            channel: if self.chance(50) { Some(self.one(CHANNELS).to_owned()) } else { None },
            // Nothing has happened that is yet to come.
            occurred_at: Timestamp::parse(&self.ago(now)).expect("a time").min(now.minus(Span::from_seconds(60))),
            properties,
        }
    }

    /// A condition on a field of the person.
    fn condition(&mut self, now: Timestamp) -> Value {
        let texts = ["name", "company", "city", "job_title", "email", "external_id", "last_channel", "avatar_url"];
        let (field, kind): (String, Option<PropertyType>) = match self.0.random_range(0..12) {
            0..3 => (self.one(&texts).to_owned(), Some(PropertyType::Text)),
            3..8 => {
                let (key, kind) = self.one(ATTRIBUTES);
                (format!("attributes.{key}"), Some(kind))
            }
            8 => ("labels".to_owned(), Some(PropertyType::TextList)),
            9 => (format!("consents.{}", self.one(CHANNELS)), None),
            10 => (self.one(&["created_at", "updated_at", "last_seen_at"]).to_owned(), Some(PropertyType::Datetime)),
            _ => ("country".to_owned(), Some(PropertyType::Text)),
        };
        let value = |dice: &mut Self| match (field.as_str(), kind) {
            ("labels", _) => json!(dice.one(LABELS)),
            ("country", _) => json!(dice.one(COUNTRIES)),
            (_, None) => json!(dice.one(STATUSES)),
            (_, Some(PropertyType::TextList)) => json!(dice.one(TEXTS)),
            (_, Some(kind)) => dice.attribute(kind, now),
        };
        let op = match kind {
            None | Some(PropertyType::Enum | PropertyType::Boolean) => self.one(&["eq", "ne", "in", "not_in", "exists", "missing"]),
            Some(PropertyType::Text) => self.one(&[
                "eq",
                "ne",
                "in",
                "not_in",
                "exists",
                "missing",
                "contains",
                "starts_with",
                "ends_with",
                "contains",
                "starts_with",
                "ends_with",
            ]),
            Some(PropertyType::Number) => self.one(&["eq", "ne", "in", "not_in", "exists", "missing", "gt", "gte", "lt", "lte", "between"]),
            Some(PropertyType::Date | PropertyType::Datetime) => self.one(&[
                "eq",
                "ne",
                "in",
                "not_in",
                "exists",
                "missing",
                "gt",
                "gte",
                "lt",
                "lte",
                "between",
                "within_last",
                "not_within_last",
            ]),
            Some(PropertyType::TextList) => {
                self.one(&["has", "has_any", "has_all", "has_none", "eq", "ne", "in", "not_in", "exists", "missing"])
            }
        };
        let mut condition = json!({"field": field, "op": op});
        match op {
            "exists" | "missing" => {}
            "in" | "not_in" | "has_any" | "has_all" | "has_none" => {
                let size = self.0.random_range(0..4);
                condition["value"] = (0..size).map(|_| value(self)).collect();
            }
            "between" => condition["value"] = json!([value(self), value(self)]),
            "within_last" | "not_within_last" => condition["value"] = json!(self.one(SPANS)),
            _ => condition["value"] = value(self),
        }
        condition
    }

    fn behaviour(&mut self, now: Timestamp) -> Value {
        let mut test = json!({"event": self.one(&["order_completed", "page", "a b", "never"])});
        let mut conditions = Vec::new();
        for _ in 0..self.0.random_range(0..3) {
            let field = self.one(&[
                "properties.total",
                "properties.colour",
                "properties.a.b",
                "properties.$x",
                "properties.it's",
                "channel",
                "occurred_at",
            ]);
            let op = match field {
                "channel" => self.one(&["eq", "ne", "exists", "missing"]),
                "occurred_at" => self.one(&["gt", "lte", "within_last", "not_within_last"]),
                _ => self.one(&["eq", "ne", "in", "not_in", "exists", "missing", "gt", "lte", "between"]),
            };
            let mut condition = json!({"field": field, "op": op});
            match (field, op) {
                (_, "exists" | "missing") => {}
                ("channel", _) => condition["value"] = json!(self.one(CHANNELS)),
                ("occurred_at", "within_last" | "not_within_last") => condition["value"] = json!(self.one(SPANS)),
                ("occurred_at", _) => condition["value"] = json!(self.ago(now)),
                (_, "gt" | "lte") => condition["value"] = self.one(&[json!(1), json!(1.5), json!(99)]),
                (_, "between") => condition["value"] = json!([1, self.one(&[1, 50, 100])]),
                (_, "in" | "not_in") => condition["value"] = json!([self.one(&["1", "red"]), self.one(&["red", "blue"])]),
                _ => condition["value"] = self.one(&[json!(1), json!(100), json!("1"), json!("red"), json!(true), json!(false)]),
            }
            conditions.push(condition);
        }
        if !conditions.is_empty() {
            test["where"] = json!(conditions);
        }
        if self.chance(60) {
            test["count"] = json!({ (self.one(&["eq", "gt", "gte", "lt", "lte"])): self.0.random_range(0..4) });
        }
        if self.chance(50) {
            test["within"] = json!(self.one(SPANS));
        }
        test
    }

    fn filter(&mut self, depth: usize, now: Timestamp) -> Value {
        match self.0.random_range(0..10) {
            0..2 if depth < 4 => json!({"all": (0..self.0.random_range(0..4)).map(|_| self.filter(depth + 1, now)).collect::<Vec<_>>()}),
            2..4 if depth < 4 => json!({"any": (0..self.0.random_range(0..4)).map(|_| self.filter(depth + 1, now)).collect::<Vec<_>>()}),
            4 if depth < 4 => json!({"not": self.filter(depth + 1, now)}),
            5..7 => self.behaviour(now),
            _ => self.condition(now),
        }
    }
}

/// Sends the events, and answers each person as they are then: when and where they were seen follows from them.
async fn live(app: &App, ids: Vec<String>, dice: &mut Dice, now: Timestamp) -> Vec<(Profile, Vec<Event>)> {
    let lives: Vec<(String, Vec<Event>)> =
        ids.into_iter().map(|id| (id, (0..dice.0.random_range(0..6)).map(|_| dice.event(now)).collect())).collect();
    let events: Vec<Value> = lives
        .iter()
        .flat_map(|(id, events)| {
            events.iter().map(move |event| {
                let mut body = json!({"profile_id": id, "type": event.kind, "properties": event.properties});
                body["occurred_at"] = json!(event.occurred_at.to_string());
                if let Some(channel) = &event.channel {
                    body["channel"] = json!(channel);
                }
                body
            })
        })
        .collect();
    let results = app.post("/v1/events").json(json!({"events": events})).await.ok();
    assert!(results["results"].as_array().expect("results").iter().all(|r| r["status"] == 201), "{results}");
    let mut people = Vec::new();
    for (id, events) in lives {
        people.push((serde_json::from_value(app.read(&id).await).expect("a profile reads as one"), events));
    }
    people
}

/// The server's clock is the machine's: asked a moment apart, no answer differs.
fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    Timestamp::from_micros(i64::try_from(since.as_micros()).expect("a time")).expect("a time")
}

pub(super) async fn the_database_and_the_rules_name_the_same_people(app: &App) {
    let seed: u64 = rand::rng().next_u64();
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let now = clock();
    for (key, definition) in definitions() {
        let mut body = json!({"key": key, "type": definition.kind.as_str()});
        if definition.kind == PropertyType::Enum {
            body["options"] = json!(definition.options);
        }
        app.post("/v1/properties").json(body).await.created();
    }
    let bodies: Vec<Value> = (0..PEOPLE).map(|n| dice.person(n, now)).collect();
    let ids = app.people(&bodies).await;
    let people = live(app, ids, &mut dice, now).await;
    let definitions = definitions();
    let mut matched = 0;
    for _ in 0..FILTERS {
        let body = dice.filter(1, now);
        let parsed = filter::parse(&body, &definitions).unwrap_or_else(|issues| panic!("seed {seed}: {body} is refused: {issues:?}"));
        let expected: BTreeSet<String> = people
            .iter()
            .filter(|(profile, events)| filter::matches(&parsed, Facts { profile, events, now: clock() }))
            .map(|(profile, _)| profile.id.to_string())
            .collect();
        let answer = app.search(json!({"filter": body, "limit": 200, "count": true})).await;
        let found: BTreeSet<String> =
            answer["data"].as_array().expect("a page").iter().map(|p| p["id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(found, expected, "seed {seed}: {body}");
        assert_eq!(answer["total"], json!(expected.len()), "seed {seed}: {body}");
        matched += expected.len();
    }
    // Filters that match nobody, or everybody, would prove nothing.
    assert!(matched > PEOPLE * FILTERS / 20 && matched < PEOPLE * FILTERS * 19 / 20, "seed {seed}: {matched} matches say little");
}
