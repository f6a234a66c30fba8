//! Messages: who did it, what is learnt of them, and the event that is kept.
//!
//! A message that had arrived before is answered as before and changes nothing. When people were last seen is gathered
//! over the whole group and noted once at its end, so that a hundred events of one person write that person once.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Action, Cause, Directory, Draft, Effect, Merge, Outcome, Standing};
use crate::{
    Code, Refusal, Timestamp,
    activity::{Activity, Tally},
    event::{Claim, Incoming, Known, MessageKey, Occurrence, Place, RefusedKey, Rejection, Trust, Unreadable, Whose},
    history::Change,
    id::{IdSource, ProfileId, RecordId},
    identity::NewIdentity,
    merge::Keep,
    profile::Profile,
    property::{self, Definition, Room},
    resolve::{self, Outright, Resolution},
};

/// What a group of messages adds up to.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub(super) known: HashMap<MessageKey, Known>,
    pub(super) occurrences: Vec<Occurrence>,
    pub(super) merges: Vec<Merge>,
    pub(super) rejections: Vec<Rejection>,
    sightings: BTreeMap<ProfileId, Sighting>,
    /// Refused keys already told of in this group.
    told: BTreeSet<(ProfileId, String, String)>,
}

/// When and where somebody was seen within the group.
#[derive(Debug)]
struct Sighting {
    last: Timestamp,
    channels: BTreeSet<String>,
    /// The channel of the newest event that named one.
    last_channel: Option<(Timestamp, String)>,
    did: Activity,
    cause: Arc<Cause>,
}

impl Directory {
    pub(super) fn track(&mut self, incoming: &Incoming, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Outcome, Refusal> {
        let taken = self.take_in(incoming, cause, ids);
        if let (Err(refusal), Some(place)) = (&taken, &incoming.place)
            && refusal.code != Code::IdentitySuppressed
        {
            self.list_rejected(place, refusal, cause, ids);
        }
        taken
    }

    /// Lists a message that could not be read; answers why.
    pub(super) fn reject(&mut self, unreadable: &Unreadable, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Refusal {
        let refusal = Refusal::at("", unreadable.code, unreadable.detail.clone());
        self.list_rejected(&unreadable.place, &refusal, cause, ids);
        refusal
    }

    fn list_rejected(&mut self, place: &Place, refusal: &Refusal, cause: &Arc<Cause>, ids: &mut dyn IdSource) {
        self.track.rejections.push(Rejection {
            id: RecordId(ids.next(cause.at)),
            place: place.clone(),
            code: refusal.issues.first().map_or("refused", |issue| issue.code).to_owned(),
            detail: refusal.detail.clone(),
            received_at: cause.at,
        });
    }

    fn take_in(&mut self, incoming: &Incoming, cause: &Arc<Cause>, ids: &mut dyn IdSource) -> Result<Outcome, Refusal> {
        if let Some(known) = incoming.message.as_ref().and_then(|message| self.track.known.get(message)) {
            let profile_id = self.survivor(known.profile_id);
            return Ok(Outcome::Tracked { event_id: known.id, profile_id, refused: known.refused.clone() });
        }
        if let Whose::Keys(keys) = &incoming.whose {
            // Who an alias was before is named as well, whichever of the two it turns out to be.
            let former = match &incoming.claim {
                Claim::Formerly { user, visitor } => vec![user, visitor],
                Claim::Together | Claim::OnePerson => Vec::new(),
            };
            self.admit_message(keys.iter().chain(former))?;
        }
        let (profile, mut refused) = match &incoming.whose {
            Whose::Profile(id) => (self.live(*id, None)?, Vec::new()),
            Whose::Keys(keys) => self.person_of(keys, incoming, cause, ids)?,
        };
        let profile_id = profile.id;
        refused.extend(incoming.refused.iter().cloned());
        self.tell_of(&refused, &profile, cause, ids);
        self.see(profile_id, incoming, cause);
        let event_id = RecordId(ids.next(cause.at));
        if let Some(message) = &incoming.message {
            self.track.known.insert(message.clone(), Known { id: event_id, profile_id, refused: refused.clone() });
        }
        self.track.occurrences.push(Occurrence {
            id: event_id,
            profile_id,
            origin_profile_id: profile_id,
            event: incoming.event.clone(),
            context: incoming.context.clone(),
            message: incoming.message.clone(),
            session: incoming.session.clone(),
            times: incoming.times,
            received_at: incoming.received_at,
            refused: refused.clone(),
        });
        Ok(Outcome::Tracked { event_id, profile_id, refused })
    }

    /// Finds or makes the person, who learns what the message says.
    fn person_of(
        &mut self,
        keys: &[NewIdentity],
        incoming: &Incoming,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<(Arc<Profile>, Vec<RefusedKey>), Refusal> {
        if keys.is_empty() {
            return Err(Refusal::new(Code::IdentityRequired, "An event needs a profile_id, or an identity that can be used."));
        }
        let (keys, outright) = self.claimed(keys, incoming);
        let keys = keys.as_ref();
        let Resolution { chosen, absorbed, learnt, mut refused, by_address } =
            resolve::resolve(keys, outright, incoming.trust, |new| match self.owner(&new.key).and_then(|id| self.people.get(&id)) {
                Some(Standing::Live(profile)) => Some(profile),
                _ => None,
            });
        let Some(chosen) = chosen else {
            return self.newcomer(keys, &learnt, refused, incoming, cause, ids);
        };
        for other in absorbed {
            // Together they would exceed a limit: they stay two, and the sender is told.
            if self.merge(chosen, other, &Keep::new(), true, cause, ids).is_err() {
                refused.extend(keys.iter().filter(|new| self.owner(&new.key) == Some(other)).map(|new| RefusedKey {
                    kind: new.key.kind.to_string(),
                    value: new.key.value.clone(),
                    code: "identity_cap".to_owned(),
                    profile_id: Some(other),
                    said: None,
                }));
            }
        }
        let before = self.live(chosen, None)?;
        if by_address {
            refused.extend(incoming.traits.iter().flat_map(untrusted));
        }
        if learnt.is_empty() && (incoming.traits.is_none() || by_address) {
            return Ok((before, refused));
        }
        let mut profile = (*before).clone();
        for place in &learnt {
            profile.learn(&keys[*place], cause.source, cause.at);
            // A server that says who its user was before says by what id they go from now on.
            if incoming.trust == Trust::Server && *place == 0 && matches!(incoming.claim, Claim::Formerly { .. }) {
                profile.promote(&keys[*place].key);
            }
        }
        let inferred = self.take_traits(&mut profile, keys, incoming, cause, &mut refused)?;
        let action = if incoming.traits.is_some() { Action::Upserted } else { Action::IdentityAdded };
        let profile = self.save(Some(before), profile, action, inferred, Vec::new(), cause, ids)?;
        Ok((profile, refused))
    }

    /// The keys with what the message claims of them. A former id is the user's of that id when there is one, else a
    /// visitor's: SDKs send both under one name.
    fn claimed<'k>(&self, keys: &'k [NewIdentity], incoming: &Incoming) -> (Cow<'k, [NewIdentity]>, Option<Outright>) {
        let outright = Outright { authors: keys.len() };
        match &incoming.claim {
            Claim::Together => (keys.into(), None),
            Claim::OnePerson => (keys.into(), Some(outright)),
            Claim::Formerly { user, visitor } => {
                let former = if self.owner(&user.key).is_some() { user } else { visitor };
                let mut all = keys.to_vec();
                if !all.iter().any(|known| known.key == former.key) {
                    all.push(former.clone());
                }
                (all.into(), Some(outright))
            }
        }
    }

    fn newcomer(
        &mut self,
        keys: &[NewIdentity],
        learnt: &[usize],
        mut refused: Vec<RefusedKey>,
        incoming: &Incoming,
        cause: &Arc<Cause>,
        ids: &mut dyn IdSource,
    ) -> Result<(Arc<Profile>, Vec<RefusedKey>), Refusal> {
        let mut profile = Profile::empty(ProfileId(ids.next(cause.at)), cause.at);
        for place in learnt {
            profile.learn(&keys[*place], cause.source, cause.at);
        }
        let inferred = self.take_traits(&mut profile, keys, incoming, cause, &mut refused)?;
        let at = incoming.event.occurred_at;
        profile.hear(incoming.event.channel.as_deref().map(|channel| (at, channel)));
        profile.last_seen_at = Some(at);
        profile.channels.extend(incoming.event.channel.iter().cloned());
        let profile = self.save(None, profile, Action::Created, inferred, Vec::new(), cause, ids)?;
        Ok((profile, refused))
    }

    /// Lays what an `identify` says over the profile. A trait that cannot be kept is refused by itself: the rest of the
    /// message is worth no less.
    fn take_traits(
        &self,
        profile: &mut Profile,
        keys: &[NewIdentity],
        incoming: &Incoming,
        cause: &Arc<Cause>,
        refused: &mut Vec<RefusedKey>,
    ) -> Result<Vec<Definition>, Refusal> {
        let Some(traits) = &incoming.traits else { return Ok(Vec::new()) };
        let mut bare = traits.clone();
        if incoming.trust == Trust::Browser {
            self.keep_vouched(profile, &mut bare, refused);
        }
        let attributes = std::mem::take(&mut bare.attributes);
        let mut inferred = self.fill(profile, &bare, cause)?;
        let most = if incoming.trust == Trust::Browser { property::MAX_DEFINITIONS_BY_BROWSERS } else { property::MAX_DEFINITIONS };
        let mut room = Room::of(&profile.attributes);
        for (key, value) in attributes {
            let former = profile.attributes.get(&key).cloned();
            let one = serde_json::Map::from_iter([(key.clone(), value)]);
            let set = match self.set_attributes(profile, &one, cause) {
                Ok(found) if !found.is_empty() && self.definitions.len() + inferred.len() + found.len() > most => Err("limit_exceeded"),
                Ok(found) => room.take(&key, former.as_ref(), profile.attributes.get(&key)).then_some(found).ok_or("limit_exceeded"),
                Err(refusal) => Err(refusal.issues.first().map_or("invalid_value", |issue| issue.code)),
            };
            match set {
                Ok(found) => inferred.extend(found),
                Err(code) => {
                    match former {
                        Some(former) => profile.attributes.insert(key.clone(), former),
                        None => profile.attributes.remove(&key),
                    };
                    refused.push(RefusedKey::of_trait(&key, code, one.into_iter().next().map(|(_, said)| said)));
                }
            }
        }
        // What a server says of somebody's address is the newest; a browser may add one, not put one first.
        if incoming.trust == Trust::Server {
            for new in keys.iter().filter(|new| matches!(new.key.kind.as_str(), "email" | "phone")) {
                if let Some(held) = new.key.variants().into_iter().find(|variant| profile.holds(variant)) {
                    profile.promote(&held);
                }
            }
        }
        Ok(inferred)
    }

    /// A key that belongs to somebody else shows on the timeline, once a group.
    fn tell_of(&mut self, refused: &[RefusedKey], profile: &Arc<Profile>, cause: &Arc<Cause>, ids: &mut dyn IdSource) {
        let conflicts: Vec<&RefusedKey> = refused
            .iter()
            .filter(|key| key.code == "identity_conflict" && self.track.told.insert((profile.id, key.kind.clone(), key.value.clone())))
            .collect();
        if conflicts.is_empty() {
            return;
        }
        let changes = conflicts
            .into_iter()
            .map(|key| Change { field: format!("identities.{}", key.kind), old: serde_json::Value::Null, new: key.value.as_str().into() })
            .collect();
        let at = cause.at.max(profile.updated_at);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: profile.id,
            before: Some(Arc::clone(profile)),
            after: Some(Arc::clone(profile)),
            action: Action::IdentityRefused,
            changes,
            decisions: Vec::new(),
            cause: Arc::clone(cause),
            at,
            record_id: RecordId(ids.next(at)),
        });
    }

    fn see(&mut self, profile: ProfileId, incoming: &Incoming, cause: &Arc<Cause>) {
        let (at, channel) = (incoming.event.occurred_at, &incoming.event.channel);
        let sighting = self.track.sightings.entry(profile).or_insert_with(|| Sighting {
            last: at,
            channels: BTreeSet::new(),
            last_channel: None,
            did: Activity::default(),
            cause: Arc::clone(cause),
        });
        sighting.last = sighting.last.max(at);
        sighting.did.add(&incoming.event.kind, Tally::once(at));
        if let Some(channel) = channel {
            if !sighting.channels.contains(channel) {
                sighting.channels.insert(channel.clone());
            }
            if sighting.last_channel.as_ref().is_none_or(|(newest, name)| (*newest, name) < (at, channel)) {
                sighting.last_channel = Some((at, channel.clone()));
            }
        }
    }

    pub(super) fn note_sightings(&mut self, ids: &mut dyn IdSource) {
        for (id, sighting) in std::mem::take(&mut self.track.sightings) {
            let id = self.survivor(id);
            let Some(Standing::Live(before)) = self.people.get(&id) else { continue };
            let before = Arc::clone(before);
            let moved = before.last_seen_at.is_none_or(|seen| seen < sighting.last);
            let is_known = sighting.channels.iter().all(|channel| before.channels.contains(channel));
            let mut profile = (*before).clone();
            profile.activity.join(&sighting.did);
            profile.hear(sighting.last_channel.as_ref().map(|(at, channel)| (*at, channel.as_str())));
            if !moved && is_known && profile.last_channel == before.last_channel {
                self.note_activity(id, before, profile, sighting.cause, ids);
                continue;
            }
            profile.last_seen_at = profile.last_seen_at.max(Some(sighting.last));
            profile.channels.extend(sighting.channels);
            profile.channels.sort();
            profile.channels.dedup();
            profile.version += 1;
            let profile = Arc::new(profile);
            self.people.insert(id, Standing::Live(Arc::clone(&profile)));
            let at = sighting.cause.at.max(profile.updated_at);
            Arc::make_mut(&mut self.effects).push(Effect {
                profile_id: id,
                before: Some(before),
                after: Some(profile),
                action: Action::Seen,
                changes: Vec::new(),
                decisions: Vec::new(),
                cause: sighting.cause,
                at,
                record_id: RecordId(ids.next(at)),
            });
        }
    }

    /// A late event, or the first one: it counts, and nothing of the profile that anybody sees is another.
    fn note_activity(&mut self, id: ProfileId, before: Arc<Profile>, profile: Profile, cause: Arc<Cause>, ids: &mut dyn IdSource) {
        let profile = Arc::new(profile);
        self.people.insert(id, Standing::Live(Arc::clone(&profile)));
        // Who changed in this group anyway is written anyway.
        if let Some(last) = Arc::make_mut(&mut self.effects).iter_mut().rev().find(|effect| effect.profile_id == id)
            && last.after.is_some()
        {
            last.after = Some(profile);
            return;
        }
        let at = cause.at.max(profile.updated_at);
        Arc::make_mut(&mut self.effects).push(Effect {
            profile_id: id,
            before: Some(before),
            after: Some(profile),
            action: Action::Seen,
            changes: Vec::new(),
            decisions: Vec::new(),
            cause,
            at,
            record_id: RecordId(ids.next(at)),
        });
    }
}

/// Everything a browser says of somebody whom it may not speak of.
fn untrusted(traits: &Draft) -> impl Iterator<Item = RefusedKey> {
    let standard = traits.standard.iter().map(|(field, said)| (field.as_str(), said.clone().map(Into::into)));
    let attributes = traits.attributes.iter().map(|(key, said)| (key.as_str(), Some(said.clone())));
    standard.chain(attributes).map(|(name, said)| RefusedKey::of_trait(name, "untrusted", said))
}
