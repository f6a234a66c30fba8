//! Who did it: from the keys of a message and the people who hold them to one person.
//!
//! Nobody holds any: somebody new. One does: they learn the keys they lacked. Several do: people known only by a device
//! join the identified one; identified people never join by themselves, the strongest key decides and the other keys are
//! refused. The answer depends on the keys and the people alone, never on the order they are listed in.

use crate::{
    Timestamp,
    event::RefusedKey,
    id::ProfileId,
    identity::{IdentityKind, MAX_PER_PROFILE, NewIdentity},
    profile::Profile,
};

/// Whether anything but a device says who this is.
pub fn is_identified(profile: &Profile) -> bool {
    profile.identities.iter().any(|identity| !is_of_a_device(&identity.kind))
}

/// Kinds that name a browser or a telephone, and whoever holds it.
fn is_of_a_device(kind: &IdentityKind) -> bool {
    matches!(kind.as_str(), "anonymous_id" | "device")
}

/// How many keys of one kind a person may gather from messages. Beyond, the sender is mistaken about what is a person.
fn cap(kind: &IdentityKind) -> usize {
    match kind.as_str() {
        "external_id" => 1,
        "anonymous_id" => 50,
        _ => 10,
    }
}

/// What is to be done with a message's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Whose message it is; `None`: somebody new.
    pub chosen: Option<ProfileId>,
    /// People to be merged into the chosen one, oldest first.
    pub absorbed: Vec<ProfileId>,
    /// Places of the keys the person is to learn.
    pub learnt: Vec<usize>,
    pub refused: Vec<RefusedKey>,
}

/// Decides. `owner` answers who holds a key, under any of its spellings.
pub fn resolve<'p>(keys: &[NewIdentity], owner: impl Fn(&NewIdentity) -> Option<&'p Profile>) -> Resolution {
    let owners: Vec<Option<&Profile>> = keys.iter().map(owner).collect();
    let mut people: Vec<(&Profile, u8)> = Vec::new();
    for (key, profile) in keys.iter().zip(&owners) {
        let Some(profile) = profile else { continue };
        match people.iter_mut().find(|(known, _)| known.id == profile.id) {
            Some((_, rank)) => *rank = (*rank).min(key.key.kind.rank()),
            None => people.push((profile, key.key.kind.rank())),
        }
    }
    let strangers: Vec<ProfileId> = people.iter().filter(|(p, _)| is_somebody_else(p, keys)).map(|(p, _)| p.id).collect();
    let mut fitting: Vec<(bool, u8, Timestamp, ProfileId)> = people
        .iter()
        .filter(|(profile, _)| !strangers.contains(&profile.id))
        .map(|(profile, rank)| (!is_identified(profile), *rank, profile.created_at, profile.id))
        .collect();
    // Identified before anonymous, the strongest key, the older person.
    fitting.sort_unstable();
    let chosen = fitting.first().map(|(.., id)| *id);
    let chosen_profile = people.iter().find(|(p, _)| Some(p.id) == chosen).map(|(p, _)| *p);
    let mut held = chosen_profile.map_or(0, |p| p.identities.len());
    let mut absorbed: Vec<(Timestamp, ProfileId)> = Vec::new();
    for (anonymous, _, created_at, id) in fitting.iter().skip(1) {
        let keys = people.iter().find(|(p, _)| p.id == *id).map_or(0, |(p, _)| p.identities.len());
        if *anonymous && held + keys <= MAX_PER_PROFILE {
            held += keys;
            absorbed.push((*created_at, *id));
        }
    }
    absorbed.sort_unstable();
    let absorbed: Vec<ProfileId> = absorbed.into_iter().map(|(_, id)| id).collect();
    let mut out = Resolution { chosen, absorbed, ..Resolution::default() };
    let mut gained: Vec<(&IdentityKind, usize)> = Vec::new();
    for (i, (key, profile)) in keys.iter().zip(&owners).enumerate() {
        let refuse = |code: &str, profile_id| RefusedKey {
            kind: key.key.kind.to_string(),
            value: key.key.value.clone(),
            code: code.to_owned(),
            profile_id,
        };
        match profile {
            Some(profile) if Some(profile.id) == chosen || out.absorbed.contains(&profile.id) => {}
            Some(profile) => {
                let code = if is_of_a_device(&key.key.kind) { "shared_device" } else { "identity_conflict" };
                out.refused.push(refuse(code, Some(profile.id)));
            }
            None => {
                let kind = &key.key.kind;
                let before = chosen_profile.map_or(0, |p| p.identities.iter().filter(|i| i.kind == *kind).count());
                let place = gained.iter().position(|(k, _)| *k == kind).unwrap_or_else(|| {
                    gained.push((kind, 0));
                    gained.len() - 1
                });
                if before + gained[place].1 >= cap(kind) || held >= MAX_PER_PROFILE {
                    out.refused.push(refuse("identity_cap", None));
                } else {
                    gained[place].1 += 1;
                    held += 1;
                    out.learnt.push(i);
                }
            }
        }
    }
    out
}

/// Whether the message speaks of another person than the one who holds one of its keys: it names another external id;
/// or only the device is the same, and it names another e-mail address or telephone (a shared device).
fn is_somebody_else(profile: &Profile, keys: &[NewIdentity]) -> bool {
    let names_another = |kind: &str| {
        let has = profile.identities.iter().any(|i| i.kind.as_str() == kind);
        let mut said = keys.iter().filter(|k| k.key.kind.as_str() == kind).peekable();
        has && said.peek().is_some() && said.all(|k| !profile.answers_to(&k.key))
    };
    if names_another("external_id") {
        return true;
    }
    let by_device_only = keys.iter().filter(|k| profile.answers_to(&k.key)).all(|k| is_of_a_device(&k.key.kind));
    by_device_only && (names_another("email") || names_another("phone"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};

    use super::{Resolution, is_identified, resolve};
    use crate::{
        Timestamp,
        id::ProfileId,
        identity::{IdentityKey, IdentityKind, NewIdentity},
        profile::Profile,
    };

    fn key(kind: &str, value: &str) -> NewIdentity {
        let kind = IdentityKind::parse(kind).unwrap_or_else(IdentityKind::external_id);
        NewIdentity { key: IdentityKey { kind, value: value.to_owned() }, raw: value.to_owned() }
    }

    fn person(n: u128, keys: &[(&str, &str)]) -> Profile {
        let at = Timestamp::from_micros(i64::try_from(n).unwrap_or(0)).unwrap_or(Timestamp::MIN);
        let mut profile = Profile::empty(ProfileId(uuid::Uuid::from_u128(n)), at);
        for (kind, value) in keys {
            profile.learn(&key(kind, value), "test", at);
        }
        profile.settle(None);
        profile
    }

    fn ask(people: &[Profile], keys: &[(&str, &str)]) -> (Option<u128>, Vec<u128>, Vec<String>, Vec<String>) {
        let keys: Vec<NewIdentity> = keys.iter().map(|(kind, value)| key(kind, value)).collect();
        let found: Resolution = resolve(&keys, |new| people.iter().find(|p| p.answers_to(&new.key)));
        (
            found.chosen.map(|id| id.0.as_u128()),
            found.absorbed.iter().map(|id| id.0.as_u128()).collect(),
            found.learnt.iter().map(|i| keys[*i].key.value.clone()).collect(),
            found.refused.iter().map(|r| format!("{} {}", r.value, r.code)).collect(),
        )
    }

    #[test]
    fn nobody_one_or_several() {
        let anonymous = person(1, &[("anonymous_id", "a1")]);
        let ada = person(2, &[("external_id", "u1"), ("email", "ada@example.com")]);
        let grace = person(3, &[("external_id", "u2")]);
        let people = [anonymous.clone(), ada, grace];
        assert!(!is_identified(&anonymous));
        assert_eq!(ask(&people, &[("anonymous_id", "new")]), (None, vec![], vec!["new".into()], vec![]));
        assert_eq!(
            ask(&people, &[("anonymous_id", "a1"), ("external_id", "u9")]),
            (Some(1), vec![], vec!["u9".into()], vec![]),
            "an anonymous person becomes known"
        );
        assert_eq!(ask(&people, &[("anonymous_id", "a1"), ("external_id", "u1")]), (Some(2), vec![1], vec![], vec![]));
        assert_eq!(
            ask(&people, &[("external_id", "u2"), ("email", "ada@example.com")]),
            (Some(3), vec![], vec![], vec!["ada@example.com identity_conflict".into()]),
            "identified people never merge by themselves"
        );
    }

    #[test]
    fn a_shared_device_stays_with_whom_it_belongs_to() {
        let people =
            [person(1, &[("external_id", "u1"), ("anonymous_id", "a1")]), person(2, &[("email", "x@example.com"), ("anonymous_id", "a2")])];
        assert_eq!(
            ask(&people, &[("external_id", "u2"), ("anonymous_id", "a1")]),
            (None, vec![], vec!["u2".into()], vec!["a1 shared_device".into()])
        );
        assert_eq!(
            ask(&people, &[("email", "y@example.com"), ("anonymous_id", "a2")]),
            (None, vec![], vec!["y@example.com".into()], vec!["a2 shared_device".into()])
        );
    }

    #[test]
    fn a_person_gathers_only_so_many_keys_of_a_kind() {
        let keys: Vec<(String, String)> = (0..50).map(|n| ("anonymous_id".to_owned(), format!("a{n}"))).collect();
        let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain([("external_id", "u1")]).collect();
        let people = [person(1, &keys)];
        let (chosen, _, learnt, refused) = ask(&people, &[("external_id", "u1"), ("anonymous_id", "one more")]);
        assert_eq!((chosen, learnt, refused), (Some(1), vec![], vec!["one more identity_cap".to_owned()]));
    }

    proptest! {
        #[test]
        fn the_order_of_keys_and_people_does_not_matter(
            seed in 0_usize..1_000,
            owned in prop::collection::vec(prop::collection::vec((0_usize..4, 0_usize..3), 1..4), 1..5),
            asked in prop::collection::btree_set((0_usize..4, 0_usize..3), 1..5).prop_map(|s| s.into_iter().collect::<Vec<_>>()),
        ) {
            const KINDS: [&str; 4] = ["external_id", "email", "anonymous_id", "whatsapp"];
            const VALUES: [&str; 3] = ["x@example.com", "y@example.com", "z@example.com"];
            let mut taken = std::collections::BTreeSet::new();
            let people: Vec<Profile> = owned
                .iter()
                .enumerate()
                .map(|(n, keys)| {
                    let keys: Vec<(&str, &str)> =
                        keys.iter().filter(|k| taken.insert(**k)).map(|(k, v)| (KINDS[*k], VALUES[*v])).collect();
                    person(n as u128 + 1, &keys)
                })
                .collect();
            let keys: Vec<(&str, &str)> = asked.iter().map(|(k, v)| (KINDS[*k], VALUES[*v])).collect();
            let sorted = |(chosen, absorbed, mut learnt, mut refused): (Option<u128>, Vec<u128>, Vec<String>, Vec<String>)| {
                learnt.sort();
                refused.sort();
                (chosen, absorbed, learnt, refused)
            };
            let first = sorted(ask(&people, &keys));
            let (mut other_people, mut other_keys) = (people, keys);
            other_people.reverse();
            let turn = seed % other_keys.len();
            other_keys.rotate_left(turn);
            // A cap takes keys as they come: which ones are learnt may differ, how many may not.
            let second = sorted(ask(&other_people, &other_keys));
            assert_eq!((first.0, &first.1, first.2.len()), (second.0, &second.1, second.2.len()));
        }
    }
}
