//! Who did it: from the keys of a message and the people who hold them to one person.
//!
//! Nobody holds any: somebody new. One does: they learn the keys they lacked. Several do: people known only by a device
//! join the identified one; identified people never join by themselves, the strongest key decides and the other keys are
//! refused. The answer depends on the keys and the people alone, never on the order they are listed in.
//!
//! A browser's key is public, and an address is easily known: so a browser reaches an identified person by their own id or by their
//! device, and by an address only where nothing else of the message says who it is. What it brings together is somebody anonymous
//! with somebody identified, nobody else.
//!
//! A sender may also say outright that keys are one person's (`alias`, `merge`). It is held to the same rules: what is
//! refused is then a conflict, whatever the kind of key, since it was asked for.

use crate::{
    Timestamp,
    event::{RefusedKey, Trust},
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

/// The sender says that the keys are one person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outright {
    /// The first so many keys are the author's own, the others who they were before. All of them: nobody comes first.
    pub authors: usize,
}

/// How many keys of one kind a person may gather from messages. Beyond, the sender is mistaken about what is a person.
fn cap(kind: &IdentityKind, outright: Option<Outright>, trust: Trust) -> usize {
    match kind.as_str() {
        // A server renames its users, and says so.
        "external_id" if outright.is_some() && trust == Trust::Server => 10,
        "external_id" => 1,
        "anonymous_id" => 50,
        "device" => 10,
        // A page can be made to say anything: what it fills leaves room for what a server says.
        _ if trust == Trust::Browser => 5,
        _ => 10,
    }
}

/// How many keys in all a person may have who learns another one.
fn most(trust: Trust) -> usize {
    if trust == Trust::Browser { MAX_PER_PROFILE - 20 } else { MAX_PER_PROFILE }
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
    /// A browser named the chosen one by an address alone: what they did is believed, what it says of them is not.
    pub by_address: bool,
}

/// Decides. `owner` answers who holds a key, under any of its spellings.
pub fn resolve<'p>(
    keys: &[NewIdentity],
    outright: Option<Outright>,
    trust: Trust,
    owner: impl Fn(&NewIdentity) -> Option<&'p Profile>,
) -> Resolution {
    let owners: Vec<Option<&Profile>> = keys.iter().map(owner).collect();
    let authors = outright.map_or(keys.len(), |said| said.authors);
    // The author before who they were, then the strongest key.
    let mut people: Vec<(&Profile, (bool, u8))> = Vec::new();
    for (i, (key, profile)) in keys.iter().zip(&owners).enumerate() {
        let Some(profile) = profile else { continue };
        let rank = (i >= authors, key.key.kind.rank());
        match people.iter_mut().find(|(known, _)| known.id == profile.id) {
            Some((_, strongest)) => *strongest = (*strongest).min(rank),
            None => people.push((profile, rank)),
        }
    }
    let mut strangers: Vec<ProfileId> = people.iter().filter(|(p, _)| is_somebody_else(p, keys)).map(|(p, _)| p.id).collect();
    if trust == Trust::Browser {
        let by_address: Vec<ProfileId> = people.iter().filter(|(p, _)| is_reached_by_address(p, keys)).map(|(p, _)| p.id).collect();
        let says_who = |owner: &Option<&Profile>| owner.is_none_or(|p| !strangers.contains(&p.id) && !by_address.contains(&p.id));
        if owners.iter().any(says_who) {
            strangers.extend(by_address);
        }
    }
    let mut fitting: Vec<(bool, (bool, u8), Timestamp, ProfileId)> = people
        .iter()
        .filter(|(profile, _)| !strangers.contains(&profile.id))
        .map(|(profile, rank)| (!is_identified(profile), *rank, profile.created_at, profile.id))
        .collect();
    // Identified before anonymous, the strongest key, the older person.
    fitting.sort_unstable();
    let chosen = fitting.first().map(|(.., id)| *id);
    let chosen_profile = people.iter().find(|(p, _)| Some(p.id) == chosen).map(|(p, _)| *p);
    let mut held = chosen_profile.map_or(0, |p| p.identities.len());
    // How many of each kind they have, with who joins them.
    let mut kinds: Vec<(&IdentityKind, usize)> = chosen_profile.map(by_kind).unwrap_or_default();
    let mut too_many: Vec<ProfileId> = Vec::new();
    let mut absorbed: Vec<(Timestamp, ProfileId)> = Vec::new();
    let becomes_known = || keys.iter().zip(&owners).any(|(key, owner)| owner.is_none() && !is_of_a_device(&key.key.kind));
    let may_absorb = trust == Trust::Server || chosen_profile.is_some_and(is_identified) || becomes_known();
    for (anonymous, _, created_at, id) in fitting.iter().skip(1) {
        let Some((other, _)) = people.iter().find(|(p, _)| p.id == *id).filter(|_| *anonymous && may_absorb) else { continue };
        let theirs = by_kind(other);
        let fits = theirs.iter().all(|(kind, count)| number_of(&kinds, kind) + count <= cap(kind, outright, trust));
        if !fits || held + other.identities.len() > MAX_PER_PROFILE {
            too_many.push(*id);
            continue;
        }
        held += other.identities.len();
        theirs.into_iter().for_each(|(kind, count)| add(&mut kinds, kind, count));
        absorbed.push((*created_at, *id));
    }
    absorbed.sort_unstable();
    let absorbed: Vec<ProfileId> = absorbed.into_iter().map(|(_, id)| id).collect();
    let by_address = trust == Trust::Browser && chosen_profile.is_some_and(|p| is_reached_by_address(p, keys));
    let mut out = Resolution { chosen, absorbed, by_address, ..Resolution::default() };
    // Where not all can be learnt, which ones are does not depend on how they were listed.
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_unstable_by_key(|i| (*i >= authors, &keys[*i].key));
    for i in order {
        let (key, profile) = (&keys[i], owners[i]);
        let refuse = |code: &str, profile_id| RefusedKey {
            kind: key.key.kind.to_string(),
            value: key.key.value.clone(),
            code: code.to_owned(),
            profile_id,
            said: None,
        };
        match profile {
            Some(profile) if Some(profile.id) == chosen || out.absorbed.contains(&profile.id) => {}
            Some(profile) => {
                let by_chance = outright.is_none() && is_of_a_device(&key.key.kind);
                let code = match (too_many.contains(&profile.id), by_chance) {
                    (true, _) => "identity_cap",
                    (false, true) => "shared_device",
                    (false, false) => "identity_conflict",
                };
                out.refused.push(refuse(code, Some(profile.id)));
            }
            None => {
                let kind = &key.key.kind;
                if number_of(&kinds, kind) >= cap(kind, outright, trust) || held >= most(trust) {
                    out.refused.push(refuse("identity_cap", None));
                } else {
                    add(&mut kinds, kind, 1);
                    held += 1;
                    out.learnt.push(i);
                }
            }
        }
    }
    out.learnt.sort_unstable();
    out
}

/// How many keys of each kind a person has.
fn by_kind(profile: &Profile) -> Vec<(&IdentityKind, usize)> {
    let mut out = Vec::new();
    profile.identities.iter().for_each(|identity| add(&mut out, &identity.kind, 1));
    out
}

fn number_of(kinds: &[(&IdentityKind, usize)], kind: &IdentityKind) -> usize {
    kinds.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
}

fn add<'k>(kinds: &mut Vec<(&'k IdentityKind, usize)>, kind: &'k IdentityKind, count: usize) {
    match kinds.iter_mut().find(|(known, _)| *known == kind) {
        Some((_, number)) => *number += count,
        None => kinds.push((kind, count)),
    }
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

/// Whether somebody identified is named by nothing but an address: neither by their own id nor by their device.
fn is_reached_by_address(profile: &Profile, keys: &[NewIdentity]) -> bool {
    let says_who = |kind: &IdentityKind| kind.as_str() == "external_id" || is_of_a_device(kind);
    is_identified(profile) && !keys.iter().any(|new| says_who(&new.key.kind) && profile.answers_to(&new.key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};

    use super::{Outright, Resolution, is_identified, resolve};
    use crate::{
        Timestamp,
        event::Trust,
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

    /// Who it is, who joins them, what they learn, what is refused.
    type Told = (Option<u128>, Vec<u128>, Vec<String>, Vec<String>);

    fn ask(people: &[Profile], keys: &[(&str, &str)]) -> Told {
        ask_outright(people, keys, None, Trust::Server)
    }

    fn ask_outright(people: &[Profile], keys: &[(&str, &str)], outright: Option<Outright>, trust: Trust) -> Told {
        let keys: Vec<NewIdentity> = keys.iter().map(|(kind, value)| key(kind, value)).collect();
        let found: Resolution = resolve(&keys, outright, trust, |new| people.iter().find(|p| p.answers_to(&new.key)));
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
    fn caps_hold_for_each_kind() {
        for (kind, cap) in [("external_id", 1), ("anonymous_id", 50), ("email", 10), ("device", 10), ("whatsapp", 10)] {
            let values: Vec<String> = (0..cap).map(|n| format!("{kind}-{n:02}")).collect();
            let full: Vec<(&str, &str)> = values.iter().map(|value| (kind, value.as_str())).collect();
            let lacks_one = person(1, &full[1..].iter().copied().chain([("instagram", "ada")]).collect::<Vec<_>>());
            let person = person(1, &full.iter().copied().chain([("instagram", "ada")]).collect::<Vec<_>>());
            // An external id the person does not have is that of somebody else: only the cap of the others shows here.
            let by = ("instagram", "ada");
            if kind != "external_id" {
                let (chosen, _, learnt, refused) = ask(&[person], &[by, (kind, "zz")]);
                assert_eq!((chosen, learnt, refused), (Some(1), vec![], vec!["zz identity_cap".to_owned()]), "{kind}");
            }
            let (chosen, _, learnt, refused) = ask(&[lacks_one], &[by, (kind, "zy"), (kind, "zz")]);
            assert_eq!((chosen, learnt, refused), (Some(1), vec!["zy".to_owned()], vec!["zz identity_cap".to_owned()]), "{kind}");
        }
        let (_, _, learnt, refused) = ask(&[], &[("external_id", "b"), ("external_id", "a")]);
        assert_eq!((learnt, refused), (vec!["a".to_owned()], vec!["b identity_cap".to_owned()]), "of two ids at once, the same one stays");
    }

    #[test]
    fn what_is_said_outright_is_held_to_the_same_rules() {
        let anonymous = person(1, &[("anonymous_id", "a1")]);
        let ada = person(2, &[("external_id", "u1")]);
        let grace = person(3, &[("external_id", "u2"), ("anonymous_id", "a2")]);
        let people = [anonymous, ada, grace];
        let (server, browser) = (Trust::Server, Trust::Browser);
        let (alias, both) = (Some(Outright { authors: 1 }), Some(Outright { authors: 2 }));
        assert_eq!(
            ask_outright(&people, &[("external_id", "u2"), ("external_id", "u1")], alias, server),
            (Some(3), vec![], vec![], vec!["u1 identity_conflict".into()]),
            "the author is the one who speaks, though the other is older; two identified people stay two"
        );
        assert_eq!(
            ask_outright(&people, &[("external_id", "u2"), ("external_id", "u1")], both, server),
            (Some(2), vec![], vec![], vec!["u2 identity_conflict".into()])
        );
        assert_eq!(
            ask_outright(&people, &[("external_id", "u1"), ("anonymous_id", "a1")], alias, browser),
            (Some(2), vec![1], vec![], vec![])
        );
        assert_eq!(
            ask_outright(&people, &[("external_id", "u9"), ("anonymous_id", "a2")], both, server),
            (None, vec![], vec!["u9".into()], vec!["a2 identity_conflict".into()]),
            "somebody else's device, asked for outright, is a conflict"
        );
        let renamed = &[("external_id", "new"), ("external_id", "u1")];
        assert_eq!(
            ask_outright(&people, renamed, alias, server),
            (Some(2), vec![], vec!["new".into()], vec![]),
            "a server renames its user"
        );
        assert_eq!(
            ask_outright(&people, renamed, alias, browser),
            (Some(2), vec![], vec![], vec!["new identity_cap".into()]),
            "a browser gives nobody a further id"
        );
    }

    #[test]
    fn a_browser_reaches_nobody_by_their_address() {
        let ask = |people: &[Profile], keys: &[(&str, &str)]| ask_outright(people, keys, None, Trust::Browser);
        let subscriber = person(1, &[("email", "ada@example.com")]);
        let ada = person(2, &[("external_id", "u1"), ("email", "ada@engines.example")]);
        let (first, second) = (person(3, &[("anonymous_id", "a1")]), person(4, &[("anonymous_id", "a2")]));
        let people = [subscriber, ada, first, second];
        let theirs = || vec!["ada@example.com identity_conflict".to_owned()];
        assert_eq!(ask(&people, &[("external_id", "evil"), ("email", "ada@example.com")]), (None, vec![], vec!["evil".into()], theirs()));
        assert_eq!(ask(&people, &[("anonymous_id", "new"), ("email", "ada@example.com")]), (None, vec![], vec!["new".into()], theirs()));
        assert_eq!(ask(&people, &[("anonymous_id", "a1"), ("email", "ada@example.com")]), (Some(3), vec![], vec![], theirs()));
        assert_eq!(
            ask(&people, &[("email", "ada@example.com"), ("phone", "+442079460000")]),
            (None, vec![], vec!["+442079460000".into()], theirs()),
            "nor gives it them a further address"
        );
        assert_eq!(ask(&people, &[("email", "ada@example.com")]), (Some(1), vec![], vec![], vec![]), "what names nobody else is theirs");
        assert_eq!(
            ask(&people, &[("external_id", "u1"), ("email", "ada@engines.example"), ("anonymous_id", "a1")]),
            (Some(2), vec![3], vec![], vec![]),
            "an anonymous person joins who names their own id"
        );
        assert_eq!(
            ask(&people, &[("anonymous_id", "a1"), ("email", "new@example.com"), ("anonymous_id", "a2")]),
            (Some(3), vec![4], vec!["new@example.com".into()], vec![]),
            "becoming known by it"
        );
        let (chosen, absorbed, ..) = ask(&people, &[("anonymous_id", "a1"), ("anonymous_id", "a2")]);
        assert_eq!((chosen, absorbed), (Some(3), vec![]), "two whom nobody knows stay two");
    }

    #[test]
    fn a_person_gathers_only_so_many_keys_of_a_kind() {
        let keys: Vec<(String, String)> = (0..50).map(|n| ("anonymous_id".to_owned(), format!("a{n}"))).collect();
        let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain([("external_id", "u1")]).collect();
        let people = [person(1, &keys)];
        let (chosen, _, learnt, refused) = ask(&people, &[("external_id", "u1"), ("anonymous_id", "one more")]);
        assert_eq!((chosen, learnt, refused), (Some(1), vec![], vec!["one more identity_cap".to_owned()]));
        let visitor = person(2, &[("anonymous_id", "one more")]);
        let both = [people[0].clone(), visitor];
        assert_eq!(
            ask(&both, &[("external_id", "u1"), ("anonymous_id", "one more")]),
            (Some(1), vec![], vec![], vec!["one more identity_cap".to_owned()]),
            "nor by taking in whoever has them"
        );
    }

    #[test]
    fn what_browsers_fill_leaves_room_for_servers() {
        let filled = |kinds: usize, of_each: usize| {
            let keys: Vec<(String, String)> =
                (0..kinds).flat_map(|kind| (0..of_each).map(move |n| (format!("kind{kind}"), n.to_string()))).collect();
            let own = [("external_id", "u1"), ("email", "1@a.example"), ("email", "2@a.example"), ("email", "3@a.example")];
            let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(own).collect();
            [person(1, &keys)]
        };
        let new = [("external_id", "u1"), ("email", "4@a.example"), ("email", "5@a.example"), ("email", "6@a.example")];
        let learnt = |people: &[Profile], trust| ask_outright(people, &new, None, trust).2.len();
        assert_eq!((learnt(&filled(0, 0), Trust::Browser), learnt(&filled(0, 0), Trust::Server)), (2, 3), "five of a kind");
        assert_eq!((learnt(&filled(15, 5), Trust::Browser), learnt(&filled(15, 5), Trust::Server)), (1, 3), "eighty in all");
    }

    proptest! {
        #[test]
        fn the_order_of_keys_and_people_does_not_matter(
            seed in 0_usize..1_000,
            outright in prop::bool::ANY,
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
            let sorted = |(chosen, absorbed, mut learnt, mut refused): Told| {
                learnt.sort();
                refused.sort();
                (chosen, absorbed, learnt, refused)
            };
            let outright = outright.then_some(Outright { authors: keys.len() });
            let trust = if seed % 2 == 0 { Trust::Server } else { Trust::Browser };
            let first = sorted(ask_outright(&people, &keys, outright, trust));
            let (mut other_people, mut other_keys) = (people, keys);
            other_people.reverse();
            let turn = seed % other_keys.len();
            other_keys.rotate_left(turn);
            assert_eq!(sorted(ask_outright(&other_people, &other_keys, outright, trust)), first);
        }
    }
}
