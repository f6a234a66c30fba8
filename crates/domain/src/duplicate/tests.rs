//! The rules held to cases everyone agrees on, and to a thousand records with known duplicates.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::{Strategy, prop, proptest};
use serde_json::Value;

use super::{Census, DEFAULT_THRESHOLD, Frequencies, Judgement, Portrait, TENTHS, compare, score};
use crate::{
    Timestamp,
    id::ProfileId,
    identity::{IdentityKey, IdentityKind, NewIdentity},
    profile::Profile,
    property::{Definition, Definitions, Match, PropertyType, Standard},
};

fn definition(key: &str, kind: PropertyType, matching: Match) -> (String, Definition) {
    let definition = Definition {
        key: key.to_owned(),
        kind,
        label: None,
        description: None,
        options: Vec::new(),
        searchable: false,
        pii: false,
        matching,
        created_at: Timestamp::MIN,
        updated_at: Timestamp::MIN,
    };
    (key.to_owned(), definition)
}

fn definitions() -> Definitions {
    Definitions::from([
        definition("date_of_birth", PropertyType::Date, Match::Date),
        definition("street", PropertyType::Text, Match::Text),
        definition("postcode", PropertyType::Text, Match::Text),
        definition("number", PropertyType::Number, Match::Number),
        definition("passport", PropertyType::Text, Match::Exact),
    ])
}

/// `field: value` pairs: standard fields, `email`, `phone`, other kinds of keys as `@kind`, and attributes.
fn person(facts: &[(&str, &str)]) -> Portrait {
    let mut profile = Profile::empty(ProfileId(uuid::Uuid::nil()), Timestamp::MIN);
    for (field, value) in facts {
        if let Some(property) = Standard::parse_name(field) {
            profile.set_standard(property, Some((*value).to_owned()));
        } else if matches!(*field, "email" | "phone") || field.starts_with('@') {
            let kind = IdentityKind::parse(field.trim_start_matches('@')).expect("a kind");
            let key = IdentityKey { kind, value: (*value).to_owned() };
            profile.learn(&NewIdentity { key, raw: (*value).to_owned() }, "test", Timestamp::MIN);
        } else {
            profile.attributes.insert((*field).to_owned(), Value::from(*value));
        }
    }
    profile.settle(None);
    Portrait::of(&profile, &definitions())
}

fn judge(a: &[(&str, &str)], b: &[(&str, &str)]) -> Judgement {
    compare(&person(a), &person(b), &Frequencies::default())
}

fn is_suggested(judgement: &Judgement) -> bool {
    judgement.score >= DEFAULT_THRESHOLD * TENTHS
}

const ADA: &[(&str, &str)] = &[("name", "Ada Lovelace"), ("email", "ada@engines.example")];

#[test]
fn a_name_alone_is_not_enough_and_a_name_with_something_of_the_person_is() {
    let with = |more: &[(&'static str, &'static str)]| [ADA, more].concat();
    assert!(!is_suggested(&judge(ADA, &[("name", "Ada Lovelace"), ("email", "countess@home.example")])));
    for (mine, theirs) in [
        (("city", "London"), ("city", "london")),
        (("company", "Analytical Engines Ltd"), ("company", "analytical engines")),
        (("phone", "+442079460000"), ("phone", "+2079460000")),
        (("date_of_birth", "1815-12-10"), ("date_of_birth", "1815-12-10")),
        (("passport", "X123456"), ("passport", "X123456")),
    ] {
        let other = [("first_name", "Áda"), ("last_name", "LOVELACE"), ("email", "countess@home.example"), theirs];
        let judgement = judge(&with(&[mine]), &other);
        assert!(is_suggested(&judgement), "{mine:?}: {judgement:#?}");
    }
}

#[test]
fn relatives_and_colleagues_are_not_one_person() {
    let home = [
        ("last_name", "Lovelace"),
        ("city", "Ockham"),
        ("street", "1 Horsley Towers"),
        ("postcode", "KT24 6DU"),
        ("number", "1"),
        ("country", "GB"),
    ];
    let father = [&home[..], &[("first_name", "William"), ("date_of_birth", "1805-02-21")]].concat();
    let mother = [&home[..], &[("first_name", "Ada"), ("date_of_birth", "1815-12-10")]].concat();
    let judgement = judge(&father, &mother);
    assert!(!is_suggested(&judgement), "{judgement:#?}");
    let again = [&home[..], &[("first_name", "Adda"), ("date_of_birth", "1815-10-12")]].concat();
    let judgement = judge(&mother, &again);
    assert!(is_suggested(&judgement), "{judgement:#?}");
}

#[test]
fn placeholders_offices_and_numbers_are_no_evidence() {
    for (a, b) in [
        ([("first_name", "100 %"), ("last_name", "-")], [("first_name", "100 %"), ("last_name", "-")]),
        ([("name", "Unknown"), ("city", "n/a")], [("name", "unknown"), ("city", "N/A")]),
        ([("email", "info@one.example"), ("passport", "none")], [("email", "info@two.example"), ("passport", "none")]),
        ([("email", "user17@one.example"), ("number", "0")], [("email", "user18@one.example"), ("number", "0")]),
    ] {
        let judgement = judge(&a, &b);
        assert!(judgement.score <= 5 * TENTHS, "{a:?}: {judgement:#?}");
    }
}

#[test]
fn names_in_the_wrong_fields_are_recognised() {
    let judgement = judge(&[("first_name", "Lovelace"), ("last_name", "Ada")], &[("first_name", "Ada"), ("last_name", "Lovelace")]);
    assert_eq!(judgement.reasons[0].level, "swapped");
    assert!(judgement.score > 8 * TENTHS, "{judgement:#?}");
    let keys = |facts| person(facts).keys();
    assert!(!keys(&[("name", "Lovelace, Ada")]).is_disjoint(&keys(&[("first_name", "Lovelace"), ("last_name", "Ada")])));
}

#[test]
fn a_common_name_counts_less_than_a_rare_one() {
    let mut census = Census::default();
    for i in 0..2_000 {
        let last = if i % 10 == 0 { "Smith".to_owned() } else { format!("Rare{i}") };
        census.add(&person(&[("last_name", &last)]));
    }
    let frequencies = census.frequencies();
    let alike = |name: &str| compare(&person(&[("last_name", name)]), &person(&[("last_name", name)]), &frequencies);
    let (smith, rare) = (alike("Smith"), alike("Rare7"));
    assert!(smith.score + 40 < rare.score, "{smith:?} {rare:?}");
    assert_eq!(smith.reasons[0].detail, "Same last name, a common one");
    assert_eq!(rare.reasons[0].detail, "Same last name");
}

#[test]
fn two_slips_do_not_hide_a_pair() {
    let one = person(&[
        ("name", "Kilmartin Reveley"),
        ("email", "kil@one.example"),
        ("phone", "+61255501234"),
        ("date_of_birth", "1960-02-10"),
        ("company", "Haddon and Sons"),
    ]);
    for other in [
        person(&[("name", "Kilmatrin Revely"), ("phone", "+61255509999")]),
        person(&[("name", "Refeley, Kilmardin"), ("phone", "+61255509999")]),
        person(&[("first_name", "Kxlmxrtin"), ("last_name", "Rwvzley"), ("company", "haddon and sons ltd")]),
        person(&[("name", "Somebody Else"), ("email", "kil@two.example")]),
        person(&[("name", "Martin Else"), ("date_of_birth", "1960-02-10")]),
        person(&[("phone", "+255501234")]),
    ] {
        assert!(!one.keys().is_disjoint(&other.keys()), "{other:?}");
    }
}

/// The records of FEBRL, as the directory would hold them.
fn febrl() -> Vec<(String, Portrait)> {
    let file = include_str!("../../../../tests/data/febrl1.csv");
    let mut lines = file.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let known = Definitions::from([
        definition("postcode", PropertyType::Text, Match::Text),
        definition("state", PropertyType::Text, Match::Exact),
        definition("date_of_birth", PropertyType::Date, Match::Date),
        definition("street_number", PropertyType::Text, Match::Number),
        definition("address_1", PropertyType::Text, Match::Text),
        definition("address_2", PropertyType::Text, Match::Text),
        definition("soc_sec_id", PropertyType::Text, Match::Exact),
    ]);
    lines
        .map(|values| {
            let record: BTreeMap<&str, &str> = header.iter().copied().zip(values).collect();
            let mut profile = Profile::empty(ProfileId(uuid::Uuid::nil()), Timestamp::MIN);
            let text = |name: &str| Some(record[name].to_owned()).filter(|text| !text.is_empty());
            profile.first_name = text("given_name");
            profile.last_name = text("surname");
            profile.city = text("suburb");
            for key in known.keys() {
                let value = match key.as_str() {
                    "date_of_birth" => text(key).filter(|d| d.len() == 8).map(|d| format!("{}-{}-{}", &d[..4], &d[4..6], &d[6..])),
                    _ => text(key),
                };
                profile.attributes.extend(value.map(|value| (key.clone(), Value::from(value))));
            }
            profile.settle(None);
            (record["rec_id"].to_owned(), Portrait::of(&profile, &known))
        })
        .collect()
}

/// How well a threshold finds the duplicates: precision, recall, F1. Without the social security number the rest of the
/// record must do.
#[test]
fn the_duplicates_of_a_thousand_real_records_are_found() {
    for (without_number, least) in [(false, 0.95), (true, 0.90)] {
        let mut people = febrl();
        if without_number {
            for (_, person) in &mut people {
                person.attributes.retain(|attribute| attribute.field != "attributes.soc_sec_id");
            }
        }
        let mut census = Census::default();
        people.iter().for_each(|(_, person)| census.add(person));
        let frequencies = census.frequencies();
        let mut blocks: HashMap<i64, Vec<usize>> = HashMap::new();
        for (i, (_, person)) in people.iter().enumerate() {
            for key in person.keys() {
                blocks.entry(key).or_default().push(i);
            }
        }
        let pairs: BTreeSet<(usize, usize)> = blocks
            .values()
            .filter(|block| block.len() <= 24)
            .flat_map(|block| block.iter().flat_map(|a| block.iter().filter(move |b| a < *b).map(move |b| (*a, *b))))
            .collect();
        let number = |id: &str| id.split('-').nth(1).map(str::to_owned);
        let is_one = |a: usize, b: usize| number(&people[a].0) == number(&people[b].0);
        let reachable = pairs.iter().filter(|(a, b)| is_one(*a, *b)).count();
        let found: Vec<(usize, usize)> =
            pairs.iter().copied().filter(|(a, b)| is_suggested(&compare(&people[*a].1, &people[*b].1, &frequencies))).collect();
        let right = found.iter().filter(|(a, b)| is_one(*a, *b)).count();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let (precision, recall) = (right as f64 / found.len() as f64, right as f64 / 500.0);
        let f1 = 2.0 * precision * recall / (precision + recall);
        let missed: Vec<String> = pairs
            .iter()
            .filter(|pair| is_one(pair.0, pair.1) && !found.contains(pair))
            .map(|(a, b)| format!("{} {}", people[*a].0, compare(&people[*a].1, &people[*b].1, &frequencies).score))
            .collect();
        let wrong: Vec<String> = found
            .iter()
            .filter(|(a, b)| !is_one(*a, *b))
            .map(|(a, b)| format!("{} {} {}", people[*a].0, people[*b].0, compare(&people[*a].1, &people[*b].1, &frequencies).score))
            .collect();
        let figures = format!(
            "precision {precision:.4}, recall {recall:.4}, F1 {f1:.4}; {} pairs compared, {reachable} of 500 reachable; wrong {wrong:?}; missed {missed:?}",
            pairs.len()
        );
        assert!(f1 >= least, "{figures}");
    }
}

fn anybody() -> impl Strategy<Value = Portrait> {
    let maybe = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    let fields = (
        maybe(&["Ada", "Áda", "A", "Grace", "Lovelace", "100 %"]),
        maybe(&["Lovelace", "Lovelase", "Hopper", "Ada"]),
        maybe(&["ada@x.example", "a.da+1@x.example", "ada@y.example", "adaa17@x.example"]),
        maybe(&["+442079460000", "+2079460000", "+442079460001"]),
        maybe(&["London", "Lon don", "Paris"]),
        maybe(&["1815-12-10", "1815-10-12", "1815-12-11", "1900-01-01"]),
        maybe(&["12 Main St", "12 Mian St", "7 Elm Row"]),
        maybe(&["Engines Ltd", "engines", "Navy"]),
    );
    fields.prop_map(|(first, last, email, phone, city, born, street, company)| {
        let facts = [
            ("first_name", first),
            ("last_name", last),
            ("email", email),
            ("phone", phone),
            ("city", city),
            ("date_of_birth", born),
            ("street", street),
            ("company", company),
        ];
        person(&facts.into_iter().filter_map(|(field, value)| Some((field, value?))).collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn it_does_not_matter_who_comes_first(a in anybody(), b in anybody(), crowd in prop::collection::vec(anybody(), 0..40)) {
        let mut census = Census::default();
        crowd.iter().for_each(|person| census.add(person));
        let frequencies = census.frequencies();
        let judgement = compare(&a, &b, &frequencies);
        assert_eq!(judgement, compare(&b, &a, &frequencies));
        assert_eq!(judgement.score, score(&a, &b, &frequencies));
        assert_eq!(judgement.score, judgement.reasons.iter().map(|reason| reason.tenths).sum::<i64>());
    }

    #[test]
    fn it_does_not_matter_in_which_order_people_are_counted(mut crowd in prop::collection::vec(anybody(), 0..60)) {
        let count = |crowd: &[Portrait]| {
            let mut census = Census::default();
            crowd.iter().for_each(|person| census.add(person));
            census.frequencies()
        };
        let one = count(&crowd);
        crowd.reverse();
        assert_eq!(one, count(&crowd));
    }

    #[test]
    fn nothing_speaks_against_somebody_being_themselves(a in anybody()) {
        let judgement = compare(&a, &a, &Frequencies::default());
        assert!(judgement.reasons.iter().all(|reason| reason.tenths > 0 || reason.field == "shared"), "{judgement:#?}");
        assert!(!a.keys().is_empty() || judgement.score < DEFAULT_THRESHOLD * TENTHS, "{a:?}");
    }
}
