//! The plan of a merge and its reversal, over random people.

use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{
    Keep, Side, merged, outcome,
    plan::{Kept, plan, values},
    revert::{Entry, Record, Reversal, Seen, Why, part},
};
use crate::{
    Code, Timestamp,
    activity::{Activity, Tally},
    consent::{self, Consent, Decision, Status},
    id::{ProfileId, RecordId},
    identity::{IdentityKey, IdentityKind, NewIdentity},
    profile::Profile,
    property::Standard,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000).unwrap_or(Timestamp::MIN)
}

/// Somebody, and the ledger their consents follow from.
#[derive(Clone, Debug)]
struct Somebody {
    profile: Profile,
    ledger: Vec<Decision>,
}

fn decision() -> impl Strategy<Value = Decision> {
    let status = prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending), Just(Status::Unknown)];
    ("(email|sms|push)", status, 0_i64..5, prop::option::of("[ab]")).prop_map(|(channel, status, when, source)| Decision {
        channel,
        status,
        occurred_at: at(when),
        source,
        evidence: None,
    })
}

fn attribute() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3_i32).prop_map(|n| json!(n)),
        "[ab]".prop_map(|text| json!(text)),
        prop::collection::btree_set("[abc]", 1..3).prop_map(|list| json!(list)),
    ]
}

/// Keys carry the person's number, since a key belongs to one person.
fn somebody(n: u128) -> impl Strategy<Value = Somebody> {
    (
        prop::collection::vec(prop::option::of("[xyz]"), Standard::ALL.len()),
        prop::collection::btree_map("(plan|seats|tags)", attribute(), 0..3),
        prop::collection::btree_set("(email|phone|device|external_id)[0-2]", 1..6),
        prop::collection::btree_set("(vip|trial|beta)", 0..3),
        prop::collection::vec((0_i64..9, prop::option::of("(web|app)"), "(page|order)"), 0..5),
        prop::collection::vec(decision(), 0..5),
        any::<u8>(),
    )
        .prop_map(move |(standard, attributes, keys, labels, events, ledger, promoted)| {
            let mut profile = Profile::empty(ProfileId(uuid::Uuid::from_u128(n)), at(i64::try_from(n).unwrap_or(0) * 7 % 5));
            profile.version = 1 + u64::from(promoted % 4);
            for (property, value) in Standard::ALL.iter().zip(standard) {
                profile.set_standard(*property, value);
            }
            profile.attributes = attributes;
            for (place, key) in keys.iter().enumerate() {
                let kind = IdentityKind::parse(key.trim_end_matches(|c: char| c.is_ascii_digit())).expect("a kind");
                let key = IdentityKey { kind, value: format!("{key} of {n}") };
                profile.learn(&NewIdentity { raw: key.value.clone(), key }, "test", at(i64::try_from(place).unwrap_or(0)));
            }
            profile.labels = labels.into_iter().collect();
            for (seconds, channel, kind) in events {
                see(&mut profile, at(seconds), channel, &kind);
            }
            for decision in &ledger {
                consent::record(&mut profile.consents, decision);
            }
            profile.settle(None);
            // Any key may be the first of its kind, not only the oldest.
            if let Some(identity) = profile.identities.get(usize::from(promoted) % profile.identities.len()) {
                let key = identity.key();
                profile.promote(&key);
            }
            let before = profile.clone();
            profile.settle(Some(&before));
            Somebody { profile, ledger }
        })
}

fn see(profile: &mut Profile, when: Timestamp, channel: Option<String>, kind: &str) {
    profile.activity.add(kind, Tally::once(when));
    profile.channels.extend(channel.iter().cloned());
    profile.hear(channel.as_deref().map(|channel| (when, channel)));
    profile.last_seen_at = profile.last_seen_at.max(Some(when));
}

fn keep() -> impl Strategy<Value = Keep> {
    let side = prop_oneof![Just(Side::Primary), Just(Side::Secondary)];
    prop::collection::btree_map("(company|city|first_name|email|phone|attributes\\.plan|attributes\\.tags)", side, 0..4)
}

/// The choices that these two can be asked to make.
fn possible(keep: Keep, first: &Profile, second: &Profile) -> Keep {
    keep.into_iter()
        .filter(|(field, side)| {
            let one = Keep::from([(field.clone(), *side)]);
            outcome(first, second, &one).is_ok()
        })
        .collect()
}

fn record(n: u128, primary: &Profile, secondary: &Profile, keep: &Keep) -> Record {
    Record {
        id: RecordId(uuid::Uuid::from_u128(n)),
        primary_id: primary.id,
        secondary_id: secondary.id,
        holder: primary.id,
        primary: stored(primary),
        secondary: stored(secondary),
        keep: keep.clone(),
        judged: None,
        reverted: false,
    }
}

/// As a merge remembers somebody: without what they did, but for when they were heard from.
fn stored(profile: &Profile) -> Profile {
    let mut activity = Activity::default();
    activity.heard = profile.activity.heard;
    Profile { activity, ..profile.clone() }
}

fn seen(people: &[&Profile]) -> Seen {
    let mut out = Seen::default();
    for profile in people {
        out.did.join(&profile.activity);
        out.last = out.last.max(profile.last_seen_at);
        out.last_channel = out.last_channel.max(profile.heard().map(|(at, channel)| (at, channel.to_owned())));
        out.channels.extend(profile.channels.iter().cloned());
    }
    out
}

fn entries(people: &[&Somebody]) -> Vec<Entry> {
    let of = |person: &&Somebody| -> Vec<Entry> {
        person.ledger.iter().map(|decision| Entry { origin: person.profile.id, decision: decision.clone() }).collect()
    };
    people.iter().flat_map(of).collect()
}

fn keys(profile: &Profile) -> BTreeSet<(String, String)> {
    profile.identities.iter().map(|i| (i.kind.to_string(), i.value.clone())).collect()
}

/// But for what is given anew with every change.
fn same(profile: &Profile) -> Profile {
    let mut profile = profile.clone();
    profile.settle(None);
    profile.version = 0;
    profile.updated_at = Timestamp::MIN;
    profile
}

fn person(n: u128, email: &str) -> Profile {
    let mut profile = Profile::empty(ProfileId(uuid::Uuid::from_u128(n)), at(i64::try_from(n).unwrap_or(0)));
    let key = IdentityKey { kind: IdentityKind::email(), value: email.to_owned() };
    profile.learn(&NewIdentity { key, raw: email.to_owned() }, "test", profile.created_at);
    profile.settle(None);
    profile
}

#[test]
fn what_is_empty_is_filled_and_the_callers_choice_holds() {
    let (mut a, mut b) = (person(2, "a@example.com"), person(1, "b@example.com"));
    a.company = Some("Analytical Engines".to_owned());
    b.company = Some("Navy".to_owned());
    b.city = Some("London".to_owned());
    (a.last_seen_at, b.last_seen_at) = (Some(at(5)), Some(at(9)));
    (a.labels, b.labels) = (vec!["vip".to_owned()], vec!["vip".to_owned(), "trial".to_owned()]);
    let mut one = merged(&a, &b, &Keep::new());
    one.settle(Some(&a));
    assert_eq!((one.company.as_deref(), one.city.as_deref()), (Some("Analytical Engines"), Some("London")));
    assert_eq!((one.created_at, one.last_seen_at), (at(1), Some(at(9))));
    assert_eq!(one.email.as_deref(), Some("a@example.com"), "the primary's key stays primary");
    assert_eq!(one.identities.len(), 2, "and no key is lost");
    assert_eq!((one.labels.as_slice(), one.merged_from.as_slice()), (["trial".to_owned(), "vip".to_owned()].as_slice(), [b.id].as_slice()));
    let keep = Keep::from([(Standard::Company.as_str().to_owned(), Side::Secondary)]);
    assert_eq!(merged(&a, &b, &keep).company.as_deref(), Some("Navy"));
}

/// Found by random people: the given name was the same as the other's first name, was taken for one composed of it, and
/// went with it.
#[test]
fn a_name_that_was_given_outlives_the_others_first_name() {
    let (mut first, mut second) = (person(1, "a@example.com"), person(2, "b@example.com"));
    first.name = Some("Prince".to_owned());
    second.first_name = Some("Prince".to_owned());
    second.settle(None);
    let now = outcome(&first, &second, &Keep::new()).expect("nothing is chosen");
    let record = record(9, &first, &second, &Keep::new());
    let parted = part(&now, &Reversal { record, later: Vec::new(), ledger: Vec::new(), seen: Seen::default(), returned: Seen::default() });
    assert_eq!((parted.survivor.name.as_deref(), parted.survivor.first_name), (Some("Prince"), None));
}

#[test]
fn what_cannot_be_chosen_is_refused_at_its_place() {
    for (field, fine) in
        [("company", true), ("email", true), ("phone", false), ("labels", false), ("attributes.plan", false), ("id", false), ("", false)]
    {
        let keep = Keep::from([(field.to_owned(), Side::Secondary)]);
        let refused = outcome(&person(1, "a@example.com"), &person(2, "b@example.com"), &keep)
            .map_err(|refusal| (refusal.code, refusal.issues[0].pointer.clone()));
        assert_eq!(refused.err(), (!fine).then(|| (Code::ValidationFailed, format!("/keep/{field}"))), "{field}");
    }
}

proptest! {
    #[test]
    fn the_plan_tells_what_becomes_of_every_field(first in somebody(1), second in somebody(2), keep in keep()) {
        let (first, second) = (first.profile, second.profile);
        let keep = possible(keep, &first, &second);
        let told = plan(&first, &second, &keep).expect("possible choices");
        prop_assert_eq!(&told.result, &outcome(&first, &second, &keep).expect("the same"));
        let all = values(&told.result);
        let names: BTreeSet<&str> = told.fields.iter().map(|f| f.field.as_str()).collect();
        prop_assert_eq!(names.len(), told.fields.len(), "each field once");
        for name in values(&first).keys().chain(values(&second).keys()).chain(all.keys()) {
            prop_assert!(names.contains(name.as_str()), "{} is told", name);
        }
        for field in &told.fields {
            prop_assert_eq!(&field.result, all.get(&field.field).unwrap_or(&Value::Null), "{}", field.field);
            match field.kept {
                Kept::Primary => prop_assert_eq!(&field.result, &field.primary),
                Kept::Secondary => prop_assert_eq!(&field.result, &field.secondary),
                Kept::Both => {}
            }
            let both = !field.primary.is_null() && !field.secondary.is_null();
            prop_assert!(!field.conflict || (both && field.primary != field.secondary), "{:?}", field);
            // A value that only one has is never lost, unless the other was chosen; a full name follows its parts.
            let chosen = keep.get(&field.field);
            match chosen {
                Some(Side::Primary) if field.field != "name" => prop_assert_eq!(&field.result, &field.primary),
                Some(Side::Secondary) if field.field != "name" => prop_assert_eq!(&field.result, &field.secondary),
                _ if field.primary.is_null() && !field.secondary.is_null() => prop_assert!(!field.result.is_null(), "{:?}", field),
                _ => {}
            }
        }
    }

    #[test]
    fn keys_labels_channels_and_counts_are_those_of_both(first in somebody(1), second in somebody(2), keep in keep()) {
        let (first, second) = (first.profile, second.profile);
        let keep = possible(keep, &first, &second);
        let joined = outcome(&first, &second, &keep).expect("possible choices");
        let united = |of: fn(&Profile) -> &Vec<String>| -> BTreeSet<String> { of(&first).iter().chain(of(&second)).cloned().collect() };
        prop_assert_eq!(keys(&joined), keys(&first).union(&keys(&second)).cloned().collect::<BTreeSet<_>>());
        prop_assert_eq!(joined.identities.len(), first.identities.len() + second.identities.len(), "none twice");
        prop_assert_eq!(joined.labels.iter().cloned().collect::<BTreeSet<_>>(), united(|p| &p.labels));
        prop_assert_eq!(joined.channels.iter().cloned().collect::<BTreeSet<_>>(), united(|p| &p.channels));
        let mut did = first.activity.clone();
        did.join(&second.activity);
        did.heard = first.heard().max(second.heard()).map(|(at, _)| at);
        prop_assert_eq!(&joined.activity, &did);
        for kind in ["email", "phone", "external_id"] {
            let kind = IdentityKind::parse(kind).expect("a kind");
            let (one, other) = (first.primary(&kind), second.primary(&kind));
            let expected = if keep.get(kind.as_str()) == Some(&Side::Secondary) { other } else { one.or(other) };
            prop_assert_eq!(joined.primary(&kind).map(|i| &i.value), expected.map(|i| &i.value));
        }
    }

    #[test]
    fn what_is_promised_does_not_depend_on_the_order(first in somebody(1), second in somebody(2), third in somebody(3)) {
        let [a, b, c] = [first.profile, second.profile, third.profile];
        let none = Keep::new();
        let join = |x: &Profile, y: &Profile| outcome(x, y, &none).expect("no limit is near");
        let ends = [join(&join(&a, &b), &c), join(&a, &join(&b, &c)), join(&join(&c, &b), &a), join(&b, &join(&a, &c))];
        for end in &ends {
            prop_assert_eq!(keys(end), keys(&ends[0]));
            prop_assert_eq!((&end.labels, &end.channels, &end.consents), (&ends[0].labels, &ends[0].channels, &ends[0].consents));
            prop_assert_eq!((end.created_at, end.last_seen_at), (ends[0].created_at, ends[0].last_seen_at));
            prop_assert_eq!(&end.activity, &ends[0].activity);
        }
    }

    #[test]
    fn a_merge_taken_back_at_once_leaves_both_as_they_were(first in somebody(1), second in somebody(2), keep in keep()) {
        let keep = possible(keep, &first.profile, &second.profile);
        let now = outcome(&first.profile, &second.profile, &keep).expect("possible choices");
        let parted = part(&now, &Reversal {
            record: record(9, &first.profile, &second.profile, &keep),
            later: Vec::new(),
            ledger: entries(&[&first, &second]),
            seen: seen(&[&first.profile]),
            returned: seen(&[&second.profile]),
        });
        prop_assert!(parted.left.is_empty() && parted.decisions.is_empty(), "{:?}", parted.left);
        prop_assert_eq!(same(&parted.survivor), same(&first.profile));
        prop_assert_eq!(same(&parted.secondary), same(&second.profile));
    }

    #[test]
    fn taking_an_earlier_merge_back_leaves_what_the_later_alone_had_made(
        first in somebody(1), second in somebody(2), third in somebody(3), keep in keep(),
    ) {
        let keep = possible(keep, &first.profile, &second.profile);
        let between = outcome(&first.profile, &second.profile, &keep).expect("possible choices");
        let none = Keep::new();
        let now = outcome(&between, &third.profile, &none).expect("no limit is near");
        let parted = part(&now, &Reversal {
            record: record(9, &first.profile, &second.profile, &keep),
            later: vec![record(10, &between, &third.profile, &none)],
            ledger: entries(&[&first, &second, &third]),
            seen: seen(&[&first.profile, &third.profile]),
            returned: seen(&[&second.profile]),
        });
        prop_assert!(parted.left.is_empty(), "{:?}", parted.left);
        let expected = outcome(&first.profile, &third.profile, &none).expect("no limit is near");
        prop_assert_eq!(same(&parted.survivor), same(&expected));
        prop_assert_eq!(same(&parted.secondary), same(&second.profile));
        prop_assert_eq!(parted.later.len(), 1);
        prop_assert_eq!(same(&stored(&parted.later[0].1)), same(&stored(&first.profile)), "the later merge remembers nothing else");
    }

    #[test]
    fn an_edit_is_never_undone_and_always_told(first in somebody(1), second in somebody(2), keep in keep(), place in 1_usize..10) {
        let keep = possible(keep, &first.profile, &second.profile);
        let mut now = outcome(&first.profile, &second.profile, &keep).expect("possible choices");
        let property = Standard::ALL[place];
        let merged = now.standard(property).map(str::to_owned);
        now.set_standard(property, Some("edited".to_owned()));
        let parted = part(&now, &Reversal {
            record: record(9, &first.profile, &second.profile, &keep),
            later: Vec::new(),
            ledger: entries(&[&first, &second]),
            seen: seen(&[&first.profile]),
            returned: Seen::default(),
        });
        prop_assert_eq!(parted.survivor.standard(property), Some("edited"));
        let told: Vec<_> = parted.left.iter().map(|left| (left.field.as_str(), left.reason)).collect();
        let changed = merged.as_deref() != first.profile.standard(property);
        prop_assert_eq!(told, if changed { vec![(property.as_str(), Why::EditedSince)] } else { Vec::new() });
        prop_assert_eq!(same(&parted.secondary), same(&stored(&second.profile)));
    }

    #[test]
    fn consent_is_the_same_whichever_side_is_primary(
        first in (prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending)], 0_i64..3),
        second in (prop_oneof![Just(Status::OptedIn), Just(Status::OptedOut), Just(Status::Pending)], 0_i64..3),
        source in prop::option::of("[ab]"),
    ) {
        let consent = |(status, when): (Status, i64)| Consent {
            channel: "email".to_owned(),
            status,
            opted_in_at: (status == Status::OptedIn).then(|| at(when)),
            opted_out_at: (status == Status::OptedOut).then(|| at(when)),
            occurred_at: at(when),
            source: source.clone(),
        };
        let (mut a, mut b) = (person(1, "a@example.com"), person(2, "b@example.com"));
        (a.consents, b.consents) = (vec![consent(first)], vec![consent(second)]);
        assert_eq!(merged(&a, &b, &Keep::new()).consents, merged(&b, &a, &Keep::new()).consents);
        if first.1 == second.1 && (first.0 == Status::OptedOut || second.0 == Status::OptedOut) {
            assert_eq!(merged(&a, &b, &Keep::new()).consents[0].status, Status::OptedOut);
        }
    }
}
