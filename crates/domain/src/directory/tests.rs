//! The rules of writing, told without a database.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{BROWSER, Cause, Command, Directory, Draft, OnConflict, Outcome, Patch, Standing};
use crate::{
    Code, Timestamp,
    consent::{Decision, Status},
    event::{Claim, Event, Incoming, SenderTimes, Trust, Whose},
    id::{IdSource, ProfileId, WorkspaceId},
    identity::{IdentityKey, IdentityKind, NewIdentity},
    property::Standard,
    workspace::Workspace,
};

struct Counter(u32);

impl IdSource for Counter {
    fn count(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
    fn random(&mut self) -> [u8; 4] {
        [0; 4]
    }
}

struct Desk {
    directory: Directory,
    ids: Counter,
    clock: i64,
}

impl Desk {
    fn open() -> Self {
        let workspace = Workspace {
            id: WorkspaceId(uuid::Uuid::nil()),
            name: "desk".into(),
            default_country: Some("GB".into()),
            strict_attributes: false,
            session_gap_seconds: 1800,
            duplicate_threshold: crate::duplicate::DEFAULT_THRESHOLD,
            time_zone: "UTC".into(),
        };
        Self {
            directory: Directory::new(workspace, HashMap::new().into_iter().collect(), HashMap::new(), HashMap::new()),
            ids: Counter(0),
            clock: 0,
        }
    }

    fn tell(&mut self, command: &Command) -> Result<Outcome, Code> {
        self.tell_from("api", command)
    }

    fn tell_from(&mut self, source: &'static str, command: &Command) -> Result<Outcome, Code> {
        self.clock += 1;
        let cause = Cause {
            at: Timestamp::from_micros(self.clock * 1_000_000).unwrap_or(Timestamp::MIN),
            actor: "test".into(),
            source,
            request_id: "r".into(),
            reason: None,
        };
        self.directory.decide(command, &Arc::new(cause), &mut self.ids).map_err(|r| r.code)
    }
}

fn key(kind: &str, raw: &str) -> NewIdentity {
    let kind = IdentityKind::parse(kind).expect("a kind");
    NewIdentity { key: IdentityKey::parse(&kind, raw, Some("GB")).expect("a key"), raw: raw.to_owned() }
}

fn draft(primaries: &[(&str, &str)]) -> Draft {
    Draft { primaries: primaries.iter().map(|(kind, raw)| key(kind, raw)).collect(), ..Draft::default() }
}

fn attributes(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn a_taken_identity_is_refused_and_free_again_after_erasure() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    assert_eq!(desk.tell(&Command::Create(draft(&[("email", " ADA@x.org")]))), Err(Code::IdentityTaken));
    assert!(desk.tell(&Command::Erase { id: ada, if_match: None, suppress: false }).is_ok());
    assert_eq!(desk.tell(&Command::Update { id: ada, patch: Patch::default(), if_match: None }), Err(Code::ProfileErased));
    assert!(desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).is_ok());
}

#[test]
fn a_patched_email_is_corrected_and_an_upserted_one_is_collected() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("external_id", "crm-1"), ("email", "typo@x.org")]))).expect("created").profile_id();
    let patch = Patch { primaries: vec![(IdentityKind::email(), Some(key("email", "ada@x.org")))], ..Patch::default() };
    let patched = desk.tell(&Command::Update { id: ada, patch, if_match: Some(vec![1]) }).expect("patched");
    let emails = |o: &Outcome| {
        o.profile().map(|p| p.identities.iter().filter(|i| i.kind.as_str() == "email").map(|i| i.value.clone()).collect::<Vec<_>>())
    };
    assert_eq!(emails(&patched), Some(vec!["ada@x.org".to_owned()]));
    let upserted =
        desk.tell(&Command::Upsert(draft(&[("external_id", "crm-1"), ("email", "new@x.org")]), OnConflict::Reject)).expect("upserted");
    assert_eq!(emails(&upserted), Some(vec!["new@x.org".to_owned(), "ada@x.org".to_owned()]));
    assert_eq!(upserted.profile().and_then(|p| p.email.clone()).as_deref(), Some("new@x.org"));
}

#[test]
fn keys_of_two_people_conflict_or_go_to_the_strongest() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("external_id", "crm-1")]))).expect("created").profile_id();
    let grace = desk.tell(&Command::Create(draft(&[("email", "grace@x.org")]))).expect("created").profile_id();
    let both = draft(&[("email", "grace@x.org"), ("external_id", "crm-1")]);
    assert_eq!(desk.tell(&Command::Upsert(both.clone(), OnConflict::Reject)), Err(Code::IdentityConflict));
    match desk.tell(&Command::Upsert(both, OnConflict::Strongest)) {
        Ok(Outcome::Upserted { profile, created: false, duplicates }) => {
            assert_eq!(profile.id, ada);
            assert_eq!(duplicates.iter().map(|d| d.profile_id).collect::<Vec<_>>(), vec![grace]);
            assert_eq!(profile.email, None);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stale_version_is_refused_and_an_empty_change_is_none() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let company = |name: &str| Patch { standard: vec![(Standard::Company, Some(name.to_owned()))], ..Patch::default() };
    assert!(desk.tell(&Command::Update { id, patch: company("A"), if_match: Some(vec![1]) }).is_ok());
    assert_eq!(desk.tell(&Command::Update { id, patch: company("B"), if_match: Some(vec![1]) }), Err(Code::VersionMismatch));
    let same = desk.tell(&Command::Update { id, patch: company("A"), if_match: None }).expect("same");
    assert_eq!(same.profile().map(|p| p.version), Some(2));
    assert_eq!(desk.directory.into_parts().0.len(), 2);
}

#[test]
fn a_late_decision_goes_into_the_ledger_and_changes_nothing() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let say = |status, at: i64, evidence: Option<&str>| Command::RecordConsent {
        id,
        decision: Decision {
            channel: "sms".into(),
            status,
            occurred_at: Timestamp::from_micros(at).expect("a time"),
            source: Some("form".into()),
            evidence: evidence.map(str::to_owned),
        },
        if_match: None,
    };
    let stands = |outcome: &Outcome| outcome.profile().map(|p| (p.version, p.consents[0].status));
    let out = desk.tell(&say(Status::OptedOut, 9, None)).expect("recorded");
    assert_eq!(stands(&out), Some((2, Status::OptedOut)));
    // Known already: nothing to record.
    assert_eq!(desk.tell(&say(Status::OptedOut, 9, None)).as_ref().map(stands), Ok(Some((2, Status::OptedOut))));
    let late = desk.tell(&say(Status::Pending, 5, Some("a letter"))).expect("recorded");
    assert_eq!(stands(&late), Some((2, Status::OptedOut)));
    // An older opt-in is the newest opt-in there is: that much shows, the status stays.
    let late = desk.tell(&say(Status::OptedIn, 4, None)).expect("recorded");
    assert_eq!(stands(&late), Some((3, Status::OptedOut)));
    let (effects, ..) = desk.directory.into_parts();
    let told: Vec<_> = effects.iter().map(|e| (e.action.as_str(), e.decisions.len(), e.changes.len())).collect();
    assert_eq!(told, [("created", 0, 1), ("consent_recorded", 1, 1), ("consent_recorded", 1, 0), ("consent_recorded", 1, 0)]);
}

#[test]
fn a_label_is_put_on_once_and_taken_off_once() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let add = Command::AddLabel { id, label: "vip".into(), if_match: None };
    let remove = Command::RemoveLabel { id, label: "vip".into(), if_match: None };
    assert!(matches!(desk.tell(&add), Ok(Outcome::Updated(profile)) if profile.labels == ["vip"] && profile.version == 2));
    assert!(matches!(desk.tell(&add), Ok(Outcome::Held(profile)) if profile.version == 2));
    assert!(matches!(desk.tell(&remove), Ok(Outcome::Updated(profile)) if profile.labels.is_empty()));
    assert_eq!(desk.tell(&remove), Err(Code::NotFound));
    let (effects, ..) = desk.directory.into_parts();
    assert_eq!(effects.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["created", "label_added", "label_removed"]);
}

#[test]
fn amending_finds_by_id_or_key_and_creates_nobody() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let grace = desk.tell(&Command::Create(draft(&[("email", "grace@x.org")]))).expect("created").profile_id();
    let amend = |id: Option<ProfileId>, keys: &[(&str, &str)]| Command::Amend { id, draft: draft(keys), on_conflict: OnConflict::Reject };
    let told = desk.tell(&amend(None, &[("email", "ada@x.org"), ("external_id", "a")]));
    assert!(matches!(&told, Ok(Outcome::Upserted { profile, created: false, .. }) if profile.id == ada), "{told:?}");
    let told = desk.tell(&amend(Some(grace), &[("external_id", "g")]));
    assert!(matches!(&told, Ok(Outcome::Upserted { profile, .. }) if profile.id == grace), "{told:?}");
    assert_eq!(desk.tell(&amend(Some(grace), &[("email", "ada@x.org")])), Err(Code::IdentityConflict));
    assert_eq!(desk.tell(&amend(None, &[("email", "nobody@x.org")])), Err(Code::NotFound));
    assert_eq!(desk.tell(&amend(Some(ProfileId(uuid::Uuid::nil())), &[("email", "ada@x.org")])), Err(Code::NotFound));
}

#[test]
fn many_labels_go_on_and_off_in_one_change_and_none_in_none() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let relabel = |add: &[&str], remove: &[&str]| Command::Relabel {
        id,
        add: add.iter().map(|l| (*l).to_owned()).collect(),
        remove: remove.iter().map(|l| (*l).to_owned()).collect(),
    };
    let told = desk.tell(&relabel(&["b", "a"], &["absent"]));
    assert!(matches!(&told, Ok(Outcome::Updated(profile)) if profile.labels == ["a", "b"] && profile.version == 2), "{told:?}");
    let again = desk.tell(&relabel(&["a"], &["absent"]));
    assert!(matches!(&again, Ok(Outcome::Held(profile)) if profile.version == 2), "{again:?}");
    let both = desk.tell(&relabel(&["c"], &["a"]));
    assert!(matches!(&both, Ok(Outcome::Updated(profile)) if profile.labels == ["b", "c"] && profile.version == 3), "{both:?}");
    let off = desk.tell(&relabel(&[], &["b", "c"]));
    assert!(matches!(&off, Ok(Outcome::Updated(profile)) if profile.labels.is_empty() && profile.version == 4), "{off:?}");
    let (effects, ..) = desk.directory.into_parts();
    let told: Vec<&str> = effects.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(told, ["created", "label_added", "label_added", "label_removed"]);
}

#[test]
fn a_label_named_by_hand_is_claimed_and_a_rule_claims_nothing() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    let add = Command::AddLabel { id, label: "vip".into(), if_match: None };
    desk.tell(&add).expect("put on");
    assert!(desk.directory.take_labelling().claims.is_empty(), "what is new is nobody else's");
    let claimed = |desk: &mut Desk| desk.directory.take_labelling().claims.into_keys().collect::<Vec<_>>();
    let vip = [(id, "vip".to_owned())];
    desk.tell(&add).expect("held");
    assert_eq!(desk.directory.named_by_hand(&[], id), ["vip".to_owned()].into());
    assert_eq!(claimed(&mut desk), vip);
    desk.tell(&Command::Relabel { id, add: vec!["vip".into(), "new".into()], remove: Vec::new() }).expect("put on");
    assert_eq!(claimed(&mut desk), vip);
    let upsert = Draft { labels: vec!["vip".into(), "newer".into()], ..draft(&[("email", "ada@x.org")]) };
    desk.tell(&Command::Upsert(upsert, OnConflict::Reject)).expect("upserted");
    assert_eq!(claimed(&mut desk), vip);
    let rule = Cause { at: Timestamp::MIN, actor: "rule:1".into(), source: "rule", request_id: "r".into(), reason: None };
    desk.directory.decide(&add, &Arc::new(rule), &mut desk.ids).expect("held");
    assert!(desk.directory.take_labelling().claims.is_empty());
}

#[test]
fn a_label_is_renamed_on_whoever_carries_it_and_on_nobody_else() {
    let mut desk = Desk::open();
    let labelled = |key: &str, labels: &[&str]| {
        Command::Create(Draft { labels: labels.iter().map(|l| (*l).to_owned()).collect(), ..draft(&[("email", key)]) })
    };
    let rename = |id| Command::RenameLabel { id, from: "vip".into(), to: "gold".into() };
    let one = desk.tell(&labelled("a@x.org", &["vip", "z"])).expect("created").profile_id();
    let both = desk.tell(&labelled("b@x.org", &["gold", "vip"])).expect("created").profile_id();
    let neither = desk.tell(&labelled("c@x.org", &["z"])).expect("created").profile_id();
    assert!(matches!(desk.tell(&rename(one)), Ok(Outcome::Updated(p)) if p.labels == ["gold", "z"] && p.version == 2));
    assert!(matches!(desk.tell(&rename(one)), Ok(Outcome::Held(p)) if p.version == 2));
    assert!(matches!(desk.tell(&rename(both)), Ok(Outcome::Updated(p)) if p.labels == ["gold"] && p.version == 2));
    assert!(matches!(desk.tell(&rename(neither)), Ok(Outcome::Held(p)) if p.labels == ["z"] && p.version == 1));
    assert_eq!(desk.directory.take_labelling().renamed.iter().map(|r| r.profile_id).collect::<Vec<_>>(), [one, both]);
}

#[test]
fn a_label_that_goes_is_taken_off_and_not_put_on() {
    let mut desk = Desk::open();
    let labelled = |key: &str| Draft { labels: vec!["vip".into()], ..draft(&[("email", key)]) };
    let id = desk.tell(&Command::Create(labelled("a@x.org"))).expect("created").profile_id();
    desk.directory.know_going([("vip".to_owned(), None)].into());
    for command in [
        Command::Create(labelled("b@x.org")),
        Command::Upsert(labelled("b@x.org"), OnConflict::Reject),
        Command::Upsert(labelled("a@x.org"), OnConflict::Reject),
        Command::AddLabel { id, label: "vip".into(), if_match: None },
        Command::Relabel { id, add: vec!["vip".into()], remove: Vec::new() },
    ] {
        assert_eq!(desk.tell(&command), Err(Code::LabelGoing), "{command:?}");
    }
    let remove = Command::RemoveLabel { id, label: "vip".into(), if_match: None };
    assert!(matches!(desk.tell(&remove), Ok(Outcome::Updated(profile)) if profile.labels.is_empty()));
}

#[test]
fn the_last_identity_stays() {
    let mut desk = Desk::open();
    let id = desk.tell(&Command::Create(draft(&[("phone", "020 7946 0000")]))).expect("created").profile_id();
    let phone = key("phone", "+442079460000").key;
    assert_eq!(desk.tell(&Command::RemoveIdentity { id, key: phone, if_match: None }), Err(Code::IdentityRequired));
    let cleared = Patch { primaries: vec![(IdentityKind::phone(), None)], ..Patch::default() };
    assert_eq!(desk.tell(&Command::Update { id, patch: cleared, if_match: None }), Err(Code::IdentityRequired));
    assert_eq!(desk.tell(&Command::Create(Draft::default())), Err(Code::IdentityRequired));
}

#[test]
fn a_first_value_defines_an_attribute_and_a_refused_command_defines_none() {
    let mut desk = Desk::open();
    let mut ada = draft(&[("email", "ada@x.org")]);
    ada.attributes = attributes(json!({"seats": 12, "bad": {"x": 1}}));
    assert_eq!(desk.tell(&Command::Create(ada.clone())), Err(Code::ValidationFailed));
    assert!(desk.directory.definitions.is_empty());
    ada.attributes = attributes(json!({"seats": 12}));
    assert!(desk.tell(&Command::Create(ada)).is_ok());
    let mut grace = draft(&[("email", "grace@x.org")]);
    grace.attributes = attributes(json!({"seats": "twelve"}));
    assert_eq!(desk.tell(&Command::Create(grace)), Err(Code::ValidationFailed));
}

#[test]
fn a_composed_name_follows_its_parts_and_a_given_one_does_not() {
    let mut desk = Desk::open();
    let mut ada = draft(&[("email", "ada@x.org")]);
    ada.standard = vec![(Standard::FirstName, Some("Ada".into())), (Standard::LastName, Some("Byron".into()))];
    let id = desk.tell(&Command::Create(ada)).expect("created").profile_id();
    let set = |property, text: &str| Patch { standard: vec![(property, Some(text.to_owned()))], ..Patch::default() };
    let name = |o: Result<Outcome, Code>| o.ok().and_then(|o| o.profile().and_then(|p| p.name.clone()));
    assert_eq!(
        name(desk.tell(&Command::Update { id, patch: set(Standard::LastName, "Lovelace"), if_match: None })).as_deref(),
        Some("Ada Lovelace")
    );
    assert_eq!(
        name(desk.tell(&Command::Update { id, patch: set(Standard::Name, "Countess"), if_match: None })).as_deref(),
        Some("Countess")
    );
    assert_eq!(
        name(desk.tell(&Command::Update { id, patch: set(Standard::LastName, "King"), if_match: None })).as_deref(),
        Some("Countess")
    );
}

#[test]
fn an_unknown_id_is_not_found() {
    let mut desk = Desk::open();
    let id = ProfileId(uuid::Uuid::nil());
    assert_eq!(desk.tell(&Command::Erase { id, if_match: None, suppress: false }), Err(Code::NotFound));
}

#[test]
fn a_suppressed_identity_is_refused_where_it_stands_also_by_its_other_spelling() {
    let mut desk = Desk::open();
    let keys = draft(&[("email", "ada@x.org"), ("phone", "+5511987654321")]);
    let ada = desk.tell(&Command::Create(keys)).expect("created").profile_id();
    let grace = desk.tell(&Command::Create(draft(&[("external_id", "crm-2")]))).expect("created").profile_id();
    assert!(desk.tell(&Command::Erase { id: ada, if_match: None, suppress: true }).is_ok());
    let refused = Err(Code::IdentitySuppressed);
    assert_eq!(desk.tell(&Command::Create(draft(&[("email", "ADA@x.org")]))), refused);
    // Without the ninth digit it is the same line.
    assert_eq!(desk.tell(&Command::Create(draft(&[("phone", "+551187654321")]))), refused);
    assert_eq!(desk.tell(&Command::Upsert(draft(&[("external_id", "crm-2"), ("email", "ada@x.org")]), OnConflict::Strongest)), refused);
    let patch = Patch { primaries: vec![(IdentityKind::email(), Some(key("email", "ada@x.org")))], ..Patch::default() };
    assert_eq!(desk.tell(&Command::Update { id: grace, patch, if_match: None }), refused);
    assert_eq!(desk.tell(&Command::AddIdentity { id: grace, identity: key("email", "ada@x.org"), if_match: None }), refused);
    let (listed, dropped) = desk.directory.suppressions();
    assert_eq!((listed.len(), listed[0].keys.len(), dropped.len()), (1, 2, 0));
    let places: Vec<String> = match desk.directory.admit(draft(&[("email", "ada@x.org")]).places()) {
        Err(refusal) => refusal.issues.into_iter().map(|issue| issue.pointer).collect(),
        Ok(()) => Vec::new(),
    };
    assert_eq!(places, ["/email"]);
}

#[test]
fn a_message_that_names_a_suppressed_identity_is_dropped_and_counted() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    assert!(desk.tell(&Command::Erase { id: ada, if_match: None, suppress: true }).is_ok());
    let message = |keys: &[(&str, &str)]| {
        Command::Track(Box::new(Incoming {
            whose: Whose::Keys(keys.iter().map(|(kind, raw)| key(kind, raw)).collect()),
            claim: Claim::Together,
            trust: Trust::Server,
            message: None,
            event: Event { kind: "seen".into(), channel: None, occurred_at: Timestamp::MIN, properties: Map::new() },
            context: None,
            times: SenderTimes::default(),
            received_at: Timestamp::MIN,
            session: None,
            traits: None,
            refused: Vec::new(),
            place: None,
        }))
    };
    for _ in 0..2 {
        assert_eq!(desk.tell(&message(&[("external_id", "crm-9"), ("email", "ada@x.org")])), Err(Code::IdentitySuppressed));
    }
    assert!(desk.tell(&message(&[("external_id", "crm-9")])).is_ok());
    let (_, dropped) = desk.directory.suppressions();
    assert_eq!(dropped.into_values().collect::<Vec<_>>(), [2]);
}

#[test]
fn an_erasure_without_suppression_bars_nobody() {
    let mut desk = Desk::open();
    let ada = desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).expect("created").profile_id();
    assert!(desk.tell(&Command::Erase { id: ada, if_match: None, suppress: false }).is_ok());
    assert!(desk.tell(&Command::Create(draft(&[("email", "ada@x.org")]))).is_ok());
}

/// What a message says; a browser's unless told otherwise.
fn says(keys: &[(&str, &str)], traits: Value, trust: Trust) -> Incoming {
    let mut draft = Draft::default();
    for (field, value) in attributes(traits) {
        match Standard::parse_name(&field) {
            Some(field) => draft.standard.push((field, value.as_str().map(str::to_owned))),
            None => {
                draft.attributes.insert(field, value);
            }
        }
    }
    Incoming {
        whose: Whose::Keys(keys.iter().map(|(kind, value)| key(kind, value)).collect()),
        claim: Claim::Together,
        trust,
        message: None,
        event: Event { kind: "identify".into(), channel: None, occurred_at: Timestamp::MIN, properties: Map::new() },
        context: None,
        times: SenderTimes::default(),
        received_at: Timestamp::MIN,
        session: None,
        traits: Some(draft),
        refused: Vec::new(),
        place: None,
    }
}

/// Tells a message as its key would, and answers the traits that were not believed.
fn message(desk: &mut Desk, incoming: Incoming) -> (ProfileId, Vec<String>) {
    let source = if incoming.trust == Trust::Browser { BROWSER } else { "tracking" };
    let command = Command::Track(Box::new(incoming));
    desk.directory.doubts([&command].into_iter());
    match desk.tell_from(source, &command) {
        Ok(Outcome::Tracked { profile_id, refused, .. }) => {
            (profile_id, refused.into_iter().filter(|r| r.code == "untrusted").map(|r| r.value).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_browser_fills_what_is_empty_and_changes_what_browsers_wrote() {
    let mut desk = Desk::open();
    // A group in which a browser speaks.
    desk.directory.doubts([&Command::Track(Box::new(says(&[("device", "d")], json!({}), Trust::Browser)))].into_iter());
    let mut ada = draft(&[("external_id", "u1")]);
    ada.standard.push((Standard::Company, Some("Engines".into())));
    ada.attributes = attributes(json!({"plan": "pro"}));
    let id = desk.tell(&Command::Create(ada)).expect("created").profile_id();
    let mine = [("external_id", "u1")];
    let (who, untrusted) =
        message(&mut desk, says(&mine, json!({"company": "Evil", "city": "London", "plan": "free", "theme": "dark"}), Trust::Browser));
    assert_eq!((who, untrusted), (id, vec!["company".to_owned(), "plan".to_owned()]));
    let (_, untrusted) = message(&mut desk, says(&mine, json!({"company": "Engines", "city": "Paris", "theme": "light"}), Trust::Browser));
    assert_eq!(untrusted, [""; 0], "its own words it may change, and what is so already is no change");
    let (_, untrusted) = message(&mut desk, says(&mine, json!({"city": "Rome", "company": "Analytical"}), Trust::Server));
    assert_eq!(untrusted, [""; 0], "a server is believed");
    let (_, untrusted) = message(&mut desk, says(&mine, json!({"city": "Oslo", "theme": "dark"}), Trust::Browser));
    assert_eq!(untrusted, ["city"], "what a server wrote since stays");
    let Some(Standing::Live(person)) = desk.directory.people.get(&id) else { panic!("gone") };
    assert_eq!((person.company.as_deref(), person.city.as_deref()), (Some("Analytical"), Some("Rome")));
    assert_eq!(json!(person.attributes), json!({"plan": "pro", "theme": "dark"}));
}

#[test]
fn what_a_server_said_of_a_visitor_is_kept_when_they_are_merged() {
    let mut desk = Desk::open();
    // A group in which a browser speaks.
    desk.directory.doubts([&Command::Track(Box::new(says(&[("device", "d")], json!({}), Trust::Browser)))].into_iter());
    message(&mut desk, says(&[("anonymous_id", "a1")], json!({"plan": "pro", "theme": "dark"}), Trust::Server));
    message(&mut desk, says(&[("external_id", "u1")], json!({}), Trust::Server));
    let both = [("anonymous_id", "a1"), ("external_id", "u1")];
    let (_, untrusted) = message(&mut desk, says(&both, json!({"plan": "free", "city": "London"}), Trust::Browser));
    assert_eq!(untrusted, ["plan"]);
    let (_, untrusted) = message(&mut desk, says(&both, json!({"city": "Paris"}), Trust::Browser));
    assert_eq!(untrusted, [""; 0]);
}

#[test]
fn a_former_id_is_the_users_when_there_is_one_and_else_a_visitors() {
    let mut desk = Desk::open();
    let alias = |user: &str, previous: &str, trust| {
        let claim = Claim::Formerly { user: key("external_id", previous), visitor: key("anonymous_id", previous) };
        Incoming { claim, traits: None, ..says(&[("external_id", user)], json!({}), trust) }
    };
    let (visitor, _) = message(&mut desk, says(&[("anonymous_id", "a1")], json!({}), Trust::Browser));
    let (ada, _) = message(&mut desk, says(&[("external_id", "u1")], json!({}), Trust::Server));
    let (grace, _) = message(&mut desk, says(&[("external_id", "u2")], json!({}), Trust::Server));
    assert_eq!(message(&mut desk, alias("u1", "a1", Trust::Browser)).0, ada);
    assert_eq!(desk.directory.people.get(&visitor), Some(&Standing::Merged(ada)));
    let told = desk.tell(&Command::Track(Box::new(alias("u2", "u1", Trust::Server)))).expect("taken");
    let Outcome::Tracked { profile_id, refused, .. } = told else { panic!("{told:?}") };
    assert_eq!((profile_id, refused[0].code.as_str(), refused[0].profile_id), (grace, "identity_conflict", Some(ada)));
    assert_eq!(message(&mut desk, alias("new", "u2", Trust::Server)).0, grace);
    let Some(Standing::Live(person)) = desk.directory.people.get(&grace) else { panic!("gone") };
    assert_eq!((person.external_id.as_deref(), person.identities.len()), (Some("new"), 2), "a server renames its user");
}
