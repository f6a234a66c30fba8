//! Sessions: stretches of one person's events.
//!
//! A sender that names its sessions is believed; otherwise events of one channel belong together as long as none is
//! further from its neighbour than the workspace's gap. The same events end in the same sessions in any order of
//! arrival: a late one opens, extends, or joins two that it stands between.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::{
    Timestamp,
    clock::Span,
    id::{ProfileId, RecordId},
};

/// A session as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub id: RecordId,
    pub profile_id: ProfileId,
    pub origin_profile_id: ProfileId,
    /// Of its first event; `None` when that named none.
    pub channel: Option<String>,
    /// The sender's own id.
    pub sender_id: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub event_count: i64,
    pub properties: Map<String, Value>,
    /// When the event happened that told each of them; without an entry, when the session began.
    pub told_at: BTreeMap<String, Timestamp>,
}

/// Most properties of a session, and most bytes of them as JSON.
pub const MAX_PROPERTIES: usize = 100;
pub const MAX_PROPERTIES_BYTES: usize = 32 * 1024;

/// A value as it is compared with others: as JSON, in whatever order its members came.
fn comparable(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

impl Session {
    /// Takes in what was told of the session at a time. The latest word counts, and of two at the same time the one whose JSON
    /// sorts last: in whatever order events arrive, the same is known in the end.
    fn learn(&mut self, name: &str, value: &Value, at: Timestamp) {
        let is_newer = self.properties.get(name).is_none_or(|known| {
            let told = self.told_at.get(name).copied().unwrap_or(self.started_at);
            at.cmp(&told).then_with(|| comparable(value).cmp(&comparable(known))).is_gt()
        });
        if is_newer {
            self.properties.insert(name.to_owned(), value.clone());
            self.told_at.insert(name.to_owned(), at);
        }
    }

    /// Notes when what it knows was told, before its beginning moves.
    fn settle(&mut self) {
        for name in self.properties.keys() {
            if !self.told_at.contains_key(name) {
                self.told_at.insert(name.clone(), self.started_at);
            }
        }
    }

    /// An event at a time belongs to it. Its channel is that of its first event; of two at the same instant, the one whose name
    /// sorts first.
    fn reach(&mut self, at: Timestamp, channel: Option<&String>) {
        if at < self.started_at || (at == self.started_at && channel < self.channel.as_ref()) {
            self.channel = channel.cloned();
        }
        self.started_at = self.started_at.min(at);
        self.ended_at = self.ended_at.max(at);
    }

    /// Keeps to the limits: of too many properties those stay whose names sort first, whatever the order they were told in.
    fn bound(&mut self) {
        if self.properties.len() > MAX_PROPERTIES || self.told_at.len() > MAX_PROPERTIES || is_large(&self.properties) {
            let mut left = MAX_PROPERTIES_BYTES;
            let mut known: Vec<(String, Value)> = std::mem::take(&mut self.properties).into_iter().collect();
            known.sort_by(|(a, _), (b, _)| a.cmp(b));
            for (name, value) in known.into_iter().take(MAX_PROPERTIES) {
                let Some(rest) = left.checked_sub(name.len() + value.to_string().len()) else { break };
                left = rest;
                self.properties.insert(name, value);
            }
            self.told_at.retain(|name, _| self.properties.contains_key(name));
        }
    }
}

fn is_large(properties: &Map<String, Value>) -> bool {
    properties.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>() > MAX_PROPERTIES_BYTES
}

/// An event to be placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    pub profile_id: ProfileId,
    pub origin_profile_id: ProfileId,
    pub channel: Option<String>,
    pub sender_id: Option<String>,
    pub at: Timestamp,
    pub properties: Map<String, Value>,
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Sessions that are new or have changed, whole.
    pub written: Vec<Session>,
    /// Sessions that became part of another: (gone, into).
    pub joined: Vec<(RecordId, RecordId)>,
    /// For each visit, in order.
    pub placed: Vec<RecordId>,
}

/// Events that belong together: by the sender's id, else by channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strand {
    Named(ProfileId, String),
    Channel(ProfileId, Option<String>),
}

/// The strand an event or a session is of.
pub fn strand(profile: ProfileId, channel: Option<&String>, sender_id: Option<&String>) -> Strand {
    match sender_id {
        Some(id) => Strand::Named(profile, id.clone()),
        None => Strand::Channel(profile, channel.cloned()),
    }
}

enum Piece {
    Stands(Box<Session>),
    Comes(usize),
}

impl Piece {
    fn starts(&self, visits: &[Visit]) -> Timestamp {
        match self {
            Self::Stands(session) => session.started_at,
            Self::Comes(i) => visits[*i].at,
        }
    }
}

/// Places visits among the sessions that stand near them. `standing` holds every session that one of them, or one of
/// the others given, could touch.
pub fn arrange(standing: Vec<Session>, visits: &[Visit], gap: Span, mut new_id: impl FnMut(Timestamp) -> RecordId) -> Plan {
    let mut strands: BTreeMap<Strand, Vec<Piece>> = BTreeMap::new();
    for session in standing {
        let strand = strand(session.profile_id, session.channel.as_ref(), session.sender_id.as_ref());
        strands.entry(strand).or_default().push(Piece::Stands(Box::new(session)));
    }
    for (i, visit) in visits.iter().enumerate() {
        let strand = strand(visit.profile_id, visit.channel.as_ref(), visit.sender_id.as_ref());
        strands.entry(strand).or_default().push(Piece::Comes(i));
    }
    let mut plan = Plan { placed: vec![RecordId(uuid::Uuid::nil()); visits.len()], ..Plan::default() };
    for (strand, mut pieces) in strands {
        pieces.sort_by_key(|piece| piece.starts(visits));
        let named = matches!(strand, Strand::Named(..));
        let mut stretch: Vec<Piece> = Vec::new();
        let mut end = Timestamp::MIN;
        for piece in pieces {
            let (starts, ends) = match &piece {
                Piece::Stands(session) => (session.started_at, session.ended_at),
                Piece::Comes(i) => (visits[*i].at, visits[*i].at),
            };
            if !stretch.is_empty() && !named && starts > end.plus(gap) {
                close(std::mem::take(&mut stretch), visits, &mut plan, &mut new_id);
                end = Timestamp::MIN;
            }
            end = end.max(ends);
            stretch.push(piece);
        }
        close(stretch, visits, &mut plan, &mut new_id);
    }
    plan
}

/// A session that a plan brings together with what came from somebody else: with one of another origin, or with such events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed<'s> {
    /// As it stood.
    pub session: &'s Session,
    pub into: RecordId,
    /// Of another origin than the session.
    pub with: ProfileId,
}

/// Those of a plan, each with every other origin.
pub fn mixed<'s>(standing: &'s [Session], visits: &[Visit], plan: &Plan) -> Vec<Mixed<'s>> {
    let changed: HashSet<RecordId> = plan.written.iter().map(|session| session.id).collect();
    let joined: HashMap<RecordId, RecordId> = plan.joined.iter().copied().collect();
    let into = |session: &Session| *joined.get(&session.id).unwrap_or(&session.id);
    let mut origins: HashMap<RecordId, BTreeSet<ProfileId>> = HashMap::new();
    for session in standing.iter().filter(|session| changed.contains(&into(session))) {
        origins.entry(into(session)).or_default().insert(session.origin_profile_id);
    }
    // What only comes is nobody's session yet.
    for (visit, place) in visits.iter().zip(&plan.placed) {
        if let Some(origins) = origins.get_mut(place) {
            origins.insert(visit.origin_profile_id);
        }
    }
    let others = |session: &'s Session| {
        let all = origins.get(&into(session)).into_iter().flatten().copied();
        all.filter(|origin| *origin != session.origin_profile_id).map(move |with| (session, with))
    };
    standing.iter().flat_map(others).map(|(session, with)| Mixed { session, into: into(session), with }).collect()
}

/// Makes one session of a stretch.
fn close(stretch: Vec<Piece>, visits: &[Visit], plan: &mut Plan, new_id: &mut impl FnMut(Timestamp) -> RecordId) {
    let mut standing: Vec<Session> = Vec::new();
    let mut coming: Vec<usize> = Vec::new();
    for piece in stretch {
        match piece {
            Piece::Stands(session) => standing.push(*session),
            Piece::Comes(i) => coming.push(i),
        }
    }
    if coming.is_empty() && standing.len() < 2 {
        return;
    }
    // The oldest id stays, so that the answer does not depend on who came last.
    standing.sort_by_key(|session| session.id);
    let mut all = standing.into_iter();
    let mut session = match (all.next(), coming.first()) {
        (Some(session), _) => session,
        (None, Some(first)) => {
            let visit = &visits[*first];
            Session {
                id: new_id(visit.at),
                profile_id: visit.profile_id,
                origin_profile_id: visit.origin_profile_id,
                channel: visit.channel.clone(),
                sender_id: visit.sender_id.clone(),
                started_at: visit.at,
                ended_at: visit.at,
                event_count: 0,
                properties: Map::new(),
                told_at: BTreeMap::new(),
            }
        }
        (None, None) => return,
    };
    session.settle();
    for other in all {
        session.reach(other.started_at, other.channel.as_ref());
        session.ended_at = session.ended_at.max(other.ended_at);
        session.event_count += other.event_count;
        for (name, value) in &other.properties {
            session.learn(name, value, other.told_at.get(name).copied().unwrap_or(other.started_at));
        }
        plan.joined.push((other.id, session.id));
    }
    for i in coming {
        let visit = &visits[i];
        session.reach(visit.at, visit.channel.as_ref());
        session.event_count += 1;
        for (name, value) in &visit.properties {
            session.learn(name, value, visit.at);
        }
        plan.placed[i] = session.id;
    }
    session.bound();
    plan.written.push(session);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop, proptest};

    use super::{Session, Visit, arrange};
    use crate::{
        Timestamp,
        clock::Span,
        id::{ProfileId, RecordId},
    };

    const GAP: i64 = 30;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000).unwrap_or(Timestamp::MIN)
    }

    fn visit((seconds, channel, named): (i64, u8, u8)) -> Visit {
        let profile_id = ProfileId(uuid::Uuid::from_u128(1));
        Visit {
            profile_id,
            origin_profile_id: profile_id,
            channel: Some(format!("c{channel}")),
            sender_id: (named == 0).then(|| "theirs".to_owned()),
            at: at(seconds),
            // Each tells something that others tell otherwise.
            properties: serde_json::Map::from_iter([("last".to_owned(), seconds.into()), (format!("of {}", seconds % 3), channel.into())]),
        }
    }

    /// A session as it is held to others: whose, on which channel, from when to when, how many events, what was told of it.
    type Seen = (Option<String>, Option<String>, Timestamp, Timestamp, i64, BTreeMap<String, i64>);

    /// Sessions and where each event ended up, after arrivals in these portions.
    fn live(portions: &[Vec<Visit>]) -> Vec<Seen> {
        let mut sessions: BTreeMap<RecordId, Session> = BTreeMap::new();
        let mut events: Vec<(Timestamp, RecordId)> = Vec::new();
        let mut next = 0_u128;
        for portion in portions {
            let plan = arrange(sessions.values().cloned().collect(), portion, Span::from_seconds(GAP), |_| {
                next += 1;
                RecordId(uuid::Uuid::from_u128(next))
            });
            for (gone, into) in &plan.joined {
                sessions.remove(gone);
                events.iter_mut().filter(|(_, id)| id == gone).for_each(|(_, id)| *id = *into);
            }
            for session in plan.written {
                sessions.insert(session.id, session);
            }
            events.extend(portion.iter().map(|v| v.at).zip(plan.placed));
        }
        for session in sessions.values() {
            let mine: Vec<Timestamp> = events.iter().filter(|(_, id)| *id == session.id).map(|(at, _)| *at).collect();
            assert_eq!(i64::try_from(mine.len()), Ok(session.event_count), "the count is the number of rows");
            assert_eq!((mine.iter().min(), mine.iter().max()), (Some(&session.started_at), Some(&session.ended_at)));
        }
        let told = |s: &Session| s.properties.iter().map(|(name, value)| (name.clone(), value.as_i64().unwrap_or(-1))).collect();
        let mut out: Vec<Seen> = sessions
            .into_values()
            .map(|s| (s.sender_id.clone(), s.channel.clone(), s.started_at, s.ended_at, s.event_count, told(&s)))
            .collect();
        out.sort();
        out
    }

    #[test]
    fn a_late_event_joins_the_two_sessions_it_stands_between() {
        let one = |seconds| vec![visit((seconds, 0, 1))];
        assert_eq!(live(&[one(0), one(60)]).len(), 2);
        let told = BTreeMap::from([("last".to_owned(), 60), ("of 0".to_owned(), 0)]);
        assert_eq!(live(&[one(0), one(60), one(30)]), [(None, Some("c0".to_owned()), at(0), at(60), 3, told)]);
        assert_eq!(live(&[one(0), one(31)]).len(), 2, "a gap ends a session");
    }

    #[test]
    fn what_was_told_before_anybody_noted_when_counts_as_of_the_beginning_there_was() {
        let mut session =
            arrange(Vec::new(), &[visit((20, 0, 1))], Span::from_seconds(GAP), |_| RecordId(uuid::Uuid::nil())).written.remove(0);
        session.told_at.clear();
        let plan = arrange(vec![session], &[visit((10, 0, 1))], Span::from_seconds(GAP), |_| RecordId(uuid::Uuid::nil()));
        assert_eq!(plan.written[0].started_at, at(10));
        assert_eq!(plan.written[0].properties["last"], 20, "an earlier event does not know better");
    }

    #[test]
    fn a_session_keeps_a_bounded_number_of_properties_in_any_order() {
        let tells =
            |name: String, value: String| Visit { properties: serde_json::Map::from_iter([(name, value.into())]), ..visit((0, 0, 1)) };
        let visits: Vec<Visit> = (0..300).map(|n| tells(format!("p{n:03}"), "x".to_owned())).collect();
        let known = |visits: &[Visit]| {
            let mut session: Vec<Session> = Vec::new();
            for visits in visits.chunks(7) {
                session = arrange(session, visits, Span::from_seconds(GAP), |_| RecordId(uuid::Uuid::nil())).written;
            }
            let mut names: Vec<String> = session[0].properties.keys().cloned().collect();
            names.sort();
            assert_eq!(session[0].told_at.len(), names.len());
            names
        };
        let there: Vec<String> = (0..super::MAX_PROPERTIES).map(|n| format!("p{n:03}")).collect();
        assert_eq!(known(&visits), there);
        assert_eq!(known(&visits.into_iter().rev().collect::<Vec<_>>()), there);
        let long: Vec<Visit> = (0..10).map(|n| tells(format!("p{n}"), "x".repeat(8_000))).collect();
        assert_eq!(known(&long).len(), 4);
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_ends_in_the_same_sessions(
            events in prop::collection::vec((0_i64..400, 0_u8..2, 0_u8..4), 1..40),
            cut in 1_usize..8,
            turn in 0_usize..40,
        ) {
            let ordered: Vec<Visit> = { let mut e = events.clone(); e.sort_unstable(); e.into_iter().map(visit).collect() };
            let mut shuffled: Vec<Visit> = events.into_iter().map(visit).collect();
            let turn = turn % shuffled.len();
            shuffled.rotate_left(turn);
            let portions: Vec<Vec<Visit>> = shuffled.chunks(cut).map(<[Visit]>::to_vec).collect();
            assert_eq!(live(&portions), live(&[ordered]));
        }
    }
}
