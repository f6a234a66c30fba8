//! Definitions in order, labels by rules, and what is kept step by step against what is judged from scratch.

use std::collections::BTreeMap;

use proptest::prelude::{prop, proptest};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Definition, Living, Makes, Put};
use crate::{
    Timestamp,
    event::Event,
    filter::{self, Filter},
    id::{ProfileId, RecordId, SegmentId},
    profile::{Profile, SegmentBadge},
    property::Definitions,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000).unwrap_or(Timestamp::MIN)
}

fn parsed(filter: &Value) -> Filter {
    filter::parse(filter, &Definitions::new()).unwrap_or(Filter::Any(Vec::new()))
}

fn segment(n: u128, filter: &Value) -> Definition {
    let badge = SegmentBadge { id: SegmentId(Uuid::from_u128(n)), name: format!("s{n}") };
    Definition { makes: Makes::Segment(badge), filter: parsed(filter) }
}

fn rule(n: u128, label: &str, removes: bool, filter: &Value) -> Definition {
    Definition { makes: Makes::Label { rule: RecordId(Uuid::from_u128(n)), label: label.to_owned(), removes }, filter: parsed(filter) }
}

fn in_segment(n: u128) -> Value {
    json!({"field": "segments", "op": "has", "value": Uuid::from_u128(n).to_string()})
}

fn person() -> Profile {
    Profile::empty(ProfileId(Uuid::from_u128(1)), at(0))
}

fn settle(
    living: &Living,
    profile: &mut Profile,
    ruled: &mut BTreeMap<String, RecordId>,
    events: &[Event],
    now: Timestamp,
) -> super::Settled {
    living.settle(profile, ruled, &living.all(), &events, now)
}

#[test]
fn whoever_reads_another_comes_after_it_in_any_order_of_definition() {
    let british = json!({"field": "country", "op": "eq", "value": "GB"});
    let definitions = vec![
        segment(3, &json!({"field": "labels", "op": "has", "value": "vip"})),
        rule(2, "vip", true, &in_segment(1)),
        segment(1, &british),
    ];
    for turn in 0..3 {
        let mut definitions = definitions.clone();
        definitions.rotate_left(turn);
        let living = Living::new(definitions).unwrap_or_default();
        let (mut profile, mut ruled) = (person(), BTreeMap::new());
        profile.country = Some("GB".to_owned());
        let settled = living.settle(&mut profile, &mut ruled, &living.affected(["country"]), &[].as_slice(), at(0));
        assert_eq!(settled.entered.len(), 2, "one follows from the other");
        assert_eq!(profile.labels, ["vip"]);
        profile.country = None;
        let settled = living.settle(&mut profile, &mut ruled, &living.affected(["country"]), &[].as_slice(), at(0));
        assert_eq!((settled.left.len(), profile.labels.len(), profile.segments.len()), (2, 0, 0));
    }
}

#[test]
fn definitions_that_would_chase_each_other_are_refused() {
    let ring = vec![segment(1, &json!({"not": in_segment(2)})), segment(2, &in_segment(1))];
    assert_eq!(Living::new(ring).err().map(|ring| ring.0), Some(vec!["s1".to_owned(), "s2".to_owned()]));
    let own = vec![rule(1, "vip", true, &json!({"not": {"field": "labels", "op": "has", "value": "vip"}}))];
    assert!(Living::new(own).is_err(), "a rule that takes away what it asks for never settles");
    let any = vec![rule(1, "vip", true, &json!({"field": "labels", "op": "missing"}))];
    assert!(Living::new(any).is_err());
    let fine = vec![rule(1, "vip", true, &json!({"field": "labels", "op": "has", "value": "lead"})), segment(1, &in_segment(9))];
    assert!(Living::new(fine).is_ok(), "what nobody makes is read from nobody");
}

#[test]
fn a_label_put_by_hand_is_never_removed_by_a_rule_and_one_of_two_rules_is_enough() {
    let gb = json!({"field": "country", "op": "eq", "value": "GB"});
    let london = json!({"field": "city", "op": "eq", "value": "London"});
    let living =
        Living::new(vec![rule(1, "uk", true, &gb), rule(2, "uk", true, &london), rule(3, "seen", false, &london)]).unwrap_or_default();
    let (mut profile, mut ruled) = (person(), BTreeMap::new());
    (profile.country, profile.city) = (Some("GB".to_owned()), Some("London".to_owned()));
    settle(&living, &mut profile, &mut ruled, &[], at(0));
    assert_eq!(profile.labels, ["seen", "uk"]);
    profile.country = None;
    let settled = settle(&living, &mut profile, &mut ruled, &[], at(0));
    assert_eq!(settled.labels, [(RecordId(Uuid::from_u128(2)), "uk".to_owned(), Put::Over)]);
    profile.city = None;
    settle(&living, &mut profile, &mut ruled, &[], at(0));
    assert_eq!(profile.labels, ["seen"], "and on_exit keep keeps");
    profile.labels.push("uk".to_owned());
    profile.country = Some("GB".to_owned());
    settle(&living, &mut profile, &mut ruled, &[], at(0));
    profile.country = None;
    settle(&living, &mut profile, &mut ruled, &[], at(0));
    assert!(profile.labels.contains(&"uk".to_owned()), "by hand");
}

fn order(seconds: i64) -> Event {
    Event { kind: "order".to_owned(), channel: None, occurred_at: at(seconds), properties: serde_json::Map::new() }
}

proptest! {
    /// Asked again at every instant it named, and at no other, an answer is never wrong in between.
    #[test]
    fn nothing_flips_before_it_was_said_to(
        orders in prop::collection::vec(0_i64..200, 0..8),
        seen in prop::option::of(0_i64..200),
        bound in 0_i64..4,
        op in prop::sample::select(vec!["eq", "gt", "gte", "lt", "lte"]),
        span in 1_i64..150,
        inner in 1_i64..150,
    ) {
        let filters = [
            json!({"event": "order", "within": format!("PT{span}S"), "count": {op: bound}}),
            json!({"not": {"event": "order", "within": format!("PT{span}S")}}),
            json!({"event": "order", "where": [{"field": "occurred_at", "op": "within_last", "value": format!("PT{inner}S")}], "count": {op: bound}}),
            json!({"any": [{"field": "last_seen_at", "op": "within_last", "value": format!("PT{span}S")},
                           {"field": "created_at", "op": "not_within_last", "value": format!("PT{inner}S")}]}),
        ];
        let events: Vec<Event> = orders.iter().map(|s| order(*s)).collect();
        let mut profile = person();
        profile.last_seen_at = seen.map(at);
        for filter in filters {
            let living = Living::new(vec![segment(1, &filter)]).unwrap_or_default();
            let mut kept = profile.clone();
            let mut due = settle(&living, &mut kept, &mut BTreeMap::new(), &events, at(200)).flips_at;
            for second in 200..560 {
                // The instants a window ends at lie a microsecond after a whole second.
                let now = at(second).plus(crate::clock::Span::MICROSECOND);
                if due.is_some_and(|due| due <= now) {
                    due = settle(&living, &mut kept, &mut BTreeMap::new(), &events, now).flips_at;
                    assert!(due.is_none_or(|due| due > now), "it always moves on");
                }
                let mut fresh = profile.clone();
                settle(&living, &mut fresh, &mut BTreeMap::new(), &events, now);
                assert_eq!(kept.segments, fresh.segments, "{filter} at {second}");
            }
        }
    }
}
