//! The model against the rules: whatever was put, changed and removed, its pages and totals are those of a plain list
//! that asks `filter::matches` of each person and sorts.

use people_domain::{
    Timestamp,
    clock::Span,
    consent::{Consent, Status},
    filter::{Facts, Field, Filter, Order, Scalar, Test, matches},
    id::{ProfileId, SegmentId, WorkspaceId},
    identity::{Identity, IdentityKind},
    page::{Position, Sort, SortField, SortKey},
    profile::{Profile, SegmentBadge},
    property::{Definition, Definitions, Match, PropertyType, Standard},
    search::{self, Query},
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use uuid::Uuid;

use super::{Model, Outside};
use crate::find::Question;

const NAMES: &[&str] = &["Ada Lovelace", "Łukasz Żółć", "王小明", "José García", "Ana", "O'Brien", "ada", "Zoë\nTwo Lines"];
const WORDS: &[&str] = &["a", "ad", "ada", "lov", "王", "zoe", "two", "x", "gar jos", "o'b", "1", "555", "(0)5", "acme", "zzzz"];
const COMPANIES: &[&str] = &["Acme", "Acme Ltd", "Umbrella", "acme"];
const SEGMENTS: [Uuid; 2] = [Uuid::from_u128(1), Uuid::from_u128(2)];
const LABELS: &[&str] = &["vip", "lead", "trial"];

fn definitions() -> Definitions {
    [("seats", PropertyType::Number), ("born", PropertyType::Date), ("tags", PropertyType::TextList), ("plan", PropertyType::Text)]
        .into_iter()
        .map(|(key, kind)| {
            let definition = Definition {
                key: key.to_owned(),
                kind,
                label: None,
                description: None,
                options: Vec::new(),
                searchable: key == "plan",
                pii: false,
                matching: Match::None,
                created_at: Timestamp::MIN,
                updated_at: Timestamp::MIN,
            };
            (key.to_owned(), definition)
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

    fn some(&mut self, of: &[&str]) -> Vec<String> {
        of.iter().filter(|_| self.0.random_range(0..3) == 0).map(|s| (*s).to_owned()).collect()
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::from_micros(i64::from(self.0.random_range(0..40_u32)) * 86_400_000_000).expect("a time")
    }

    fn person(&mut self, id: Uuid, version: u64) -> Profile {
        let mut profile = Profile::empty(ProfileId(id), self.time());
        profile.version = version;
        profile.updated_at = self.time();
        profile.name = self.chance(80).then(|| self.one(NAMES).to_owned());
        profile.company = self.chance(60).then(|| self.one(COMPANIES).to_owned());
        profile.country = self.chance(60).then(|| self.one(&["GB", "PL"]).to_owned());
        profile.email = self.chance(60).then(|| format!("p{}@{}.example", self.0.random_range(0..30), self.one(&["a", "b"])));
        profile.identities.extend(profile.email.iter().map(|email| Identity {
            kind: IdentityKind::email(),
            value: email.clone(),
            raw: email.to_uppercase(),
            primary: true,
            source: "api".to_owned(),
            created_at: Timestamp::MIN,
        }));
        profile.last_seen_at = self.chance(60).then(|| self.time());
        profile.labels = self.some(LABELS);
        profile.channels = self.some(&["email", "sms"]);
        profile.last_channel = profile.channels.first().cloned();
        for id in SEGMENTS {
            if self.chance(30) {
                profile.segments.push(SegmentBadge { id: SegmentId(id), name: "A segment".to_owned() });
            }
        }
        if self.chance(50) {
            profile.consents.push(Consent {
                channel: "email".to_owned(),
                status: self.one(&[Status::OptedIn, Status::OptedOut]),
                opted_in_at: None,
                opted_out_at: None,
                occurred_at: Timestamp::MIN,
                source: None,
            });
        }
        for (key, value) in [
            ("seats", json!(self.0.random_range(0..5))),
            ("born", json!(self.one(&["1970-01-05", "1970-01-20"]))),
            ("tags", json!(self.some(&["x", "y"]))),
            ("plan", json!(self.one(&["Pro 555", "free"]))),
        ] {
            if self.chance(50) {
                profile.attributes.insert(key.to_owned(), value);
            }
        }
        profile
    }

    /// Another state of somebody in which only some of what changes most often is another.
    fn somewhat(&mut self, before: &Profile, other: Profile) -> Profile {
        let mut after = Profile { version: other.version, ..before.clone() };
        if self.chance(50) {
            after.labels = other.labels;
        }
        if self.chance(50) {
            (after.channels, after.last_channel) = (other.channels, other.last_channel);
        }
        if self.chance(50) {
            after.last_seen_at = other.last_seen_at;
        }
        if self.chance(50) {
            after.updated_at = other.updated_at;
        }
        if self.chance(50) {
            after.segments = other.segments;
        }
        if self.chance(20) {
            after.consents = other.consents;
        }
        after
    }

    fn condition(&mut self, people: &[Profile]) -> Filter {
        let text = |t: &str| Scalar::Text(t.to_owned());
        let time = self.time();
        let times = [
            Test::Compare(self.one(&[Order::Gt, Order::Gte, Order::Lt, Order::Lte]), Scalar::Time(time)),
            Test::Between(Scalar::Time(self.time()), Scalar::Time(time)),
            Test::WithinLast(Span::from_seconds(86_400 * 10)),
            Test::NotWithinLast(Span::from_seconds(86_400 * 10)),
            Test::In(vec![Scalar::Time(time)]),
            Test::NotIn(vec![Scalar::Time(time)]),
            Test::Exists,
            Test::Missing,
        ];
        let parts = [
            Test::Contains("a".to_owned()),
            Test::Contains("acm".to_owned()),
            Test::StartsWith("ada".to_owned()),
            Test::StartsWith("acme".to_owned()),
            Test::EndsWith("example".to_owned()),
            Test::EndsWith("a".to_owned()),
            Test::Exists,
            Test::Missing,
        ];
        let set = self.some(LABELS);
        let sets = [Test::HasAny(set.clone()), Test::HasAll(set.clone()), Test::HasNone(set), Test::Exists, Test::Missing];
        let values = [Test::In(vec![text("GB"), text("Acme")]), Test::NotIn(vec![text("PL"), text("Acme")]), Test::Exists, Test::Missing];
        let numbers = [
            Test::Between(Scalar::Number(1.0), Scalar::Number(3.0)),
            Test::Compare(Order::Gt, Scalar::Number(2.0)),
            Test::In(vec![Scalar::Number(0.0)]),
            Test::NotIn(vec![Scalar::Number(4.0)]),
            Test::Missing,
        ];
        let (field, test) = match self.0.random_range(0..15) {
            13 => (Field::Segments, self.one(&[Test::HasAny(vec![SEGMENTS[0].to_string()]), Test::HasNone(vec![SEGMENTS[1].to_string()])])),
            14 => (Field::LastChannel, self.one(&[Test::In(vec![text("email")]), Test::Missing])),
            0 => (self.one(&[Field::Email, Field::Standard(Standard::Name), Field::Phone]), self.one(&parts)),
            1 => (Field::Standard(Standard::Company), self.one(&parts)),
            2 => (self.one(&[Field::Standard(Standard::Country), Field::Standard(Standard::Company)]), self.one(&values)),
            3 => (Field::LastSeenAt, self.one(&times)),
            4 => (self.one(&[Field::CreatedAt, Field::UpdatedAt]), self.one(&times)),
            5 => (Field::Attribute("born".to_owned(), PropertyType::Date), self.one(&times)),
            6 => (Field::Labels, self.one(&sets)),
            7 => (Field::Channels, Test::HasAny(self.some(&["email", "sms"]))),
            8 => (Field::Attribute("tags".to_owned(), PropertyType::TextList), Test::HasNone(self.some(&["x", "y"]))),
            9 => (Field::Attribute("seats".to_owned(), PropertyType::Number), self.one(&numbers)),
            10 => (Field::Consent("email".to_owned()), self.one(&[Test::In(vec![text("opted_in")]), Test::NotIn(vec![text("opted_in")])])),
            11 => (Field::Attribute("plan".to_owned(), PropertyType::Text), self.one(&parts)),
            _ => {
                let id = people.choose(&mut self.0).map_or_else(|| Uuid::nil().to_string(), |p| p.id.to_string());
                (Field::Id, self.one(&[Test::In(vec![text(&id)]), Test::NotIn(vec![text(&id)])]))
            }
        };
        Filter::Is(field, test)
    }

    fn filter(&mut self, people: &[Profile], depth: usize) -> Filter {
        match self.0.random_range(0..8) {
            0 if depth < 3 => Filter::All((0..self.0.random_range(0..3)).map(|_| self.filter(people, depth + 1)).collect()),
            1 if depth < 3 => Filter::Any((0..self.0.random_range(0..3)).map(|_| self.filter(people, depth + 1)).collect()),
            2 if depth < 3 => Filter::Not(Box::new(self.filter(people, depth + 1))),
            _ => self.condition(people),
        }
    }
}

#[test]
fn pages_and_totals_are_those_of_a_plain_list() {
    let seed = rand::rng().next_u64();
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let definitions = definitions();
    let mut model = Model::default();
    let mut people: Vec<Profile> = Vec::new();
    let now = Timestamp::from_micros(30 * 86_400_000_000).expect("a time");
    for round in 0..200_u64 {
        for _ in 0..dice.0.random_range(0..60) {
            match dice.0.random_range(0..10) {
                0..5 => {
                    let id = Uuid::from_u128(dice.0.random());
                    let person = dice.person(id, 1);
                    model.put(&person, &definitions);
                    people.push(person);
                }
                5..9 if !people.is_empty() => {
                    let at = dice.0.random_range(0..people.len());
                    let before = people[at].clone();
                    let other = dice.person(before.id.0, round + 2);
                    // Now and then somebody who is known in another state than is told.
                    let told = dice.chance(90);
                    people[at] = if dice.chance(50) { other } else { dice.somewhat(&before, other) };
                    if dice.chance(30) {
                        model.put(&people[at], &definitions);
                    } else if told {
                        model.turn(Some(&before), &people[at], &definitions);
                    } else {
                        let stranger = Profile { version: before.version + 1, ..people[at].clone() };
                        model.turn(Some(&stranger), &people[at], &definitions);
                    }
                }
                9 if !people.is_empty() => {
                    let gone = people.swap_remove(dice.0.random_range(0..people.len()));
                    model.remove(gone.id);
                }
                _ => {}
            }
        }
        if round % 97 == 13 {
            // As after a load.
            let mut fresh = Model { loading: true, ..Model::default() };
            people.iter().for_each(|p| fresh.put(p, &definitions));
            fresh.sort();
            model = fresh;
        }
        let sort = Sort {
            field: dice.one(&[SortField::LastSeenAt, SortField::CreatedAt, SortField::UpdatedAt, SortField::Name]),
            descending: dice.chance(50),
        };
        let filter = dice.filter(&people, 0);
        let query = Query::parse(if dice.chance(50) { dice.one(WORDS) } else { "" }).expect("a query");
        let after = people.choose(&mut dice.0).filter(|_| round % 3 == 0).map(|p| Position { key: sort.key(p), id: p.id });
        let question = Question {
            workspace: WorkspaceId(Uuid::nil()),
            query: query.clone(),
            filter: filter.clone(),
            sort,
            after: after.clone(),
            pinned: Vec::new(),
            country: None,
            limit: 25,
            count: true,
            now,
        };
        let mut expected: Vec<(SortKey, ProfileId, u64)> = people
            .iter()
            .filter(|p| matches(&filter, Facts { profile: p, events: &[], now }) && query.matches(&search::text_of(p, &definitions)))
            .map(|p| (sort.key(p), p.id, p.version))
            .collect();
        expected.sort();
        if sort.descending {
            expected.reverse();
        }
        let total = expected.len();
        if let Some(place) = &after {
            let place = (place.key.clone(), place.id);
            expected.retain(|(key, id, _)| {
                let here = (key.clone(), *id);
                if sort.descending { here < place } else { here > place }
            });
        }
        let told = format!("seed {seed}, round {round}: {filter:?} {query:?} {sort:?} {after:?}");
        let count = dice.chance(50);
        let answer = model.answer(&question, &Outside::default(), &[], 25, count).unwrap_or_else(|| panic!("{told}: not kept"));
        let page: Vec<(ProfileId, u64)> = answer.page.people.iter().map(|(id, version)| (*id, u64::from(*version))).collect();
        let wanted: Vec<(ProfileId, u64)> = expected.iter().take(25).map(|(_, id, version)| (*id, *version)).collect();
        assert_eq!(page, wanted, "{told}");
        assert_eq!(answer.page.more, expected.len() > 25, "{told}");
        assert_eq!(answer.total, count.then_some(total), "{told}");
        let last = expected.get(..25.min(expected.len())).and_then(|page| page.last()).map(|(key, id, _)| (key.clone(), *id));
        assert_eq!(answer.page.last.map(|p| (p.key, p.id)), last, "{told}");
    }
    assert_eq!(model.people(), people.len());
    assert!(people.len() > 500, "too few to say much");
}
