//! The larger statements of a group: rows of people, their keys, consents, documents, history and the feed.
//!
//! What they say follows from what was decided, so they are begun to be written down as soon as that is known
//! ([`Drafts::of`]), on other threads: where a group is decided before its turn, while the one before it is still being saved.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use people_domain::{
    Timestamp, change,
    directory::{Action, Effect},
    id::{ProfileId, WorkspaceId},
    page::{name_key, seen_key},
    profile::Profile,
    property::{Definitions, PropertyType, Standard},
    search,
    text::fold,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    later::Later,
    save::{Span, spans},
};
use crate::{
    StoreError,
    dialect::Engine,
    read_model::Turned,
    rows::{Cell, Kind, Rows},
    statement::{Sql, sql},
};

/// Statements that are being written down.
pub(super) struct Drafts {
    /// What they speak of.
    effects: Arc<Vec<Effect>>,
    pub(super) profiles: [Later; 2],
    pub(super) identities: Later,
    pub(super) consents: [Later; 2],
    pub(super) ledger: Later,
    pub(super) documents: [Later; 3],
    /// The documents of all who were there before, where those are not among the former: it writes, and so locks, the rows that are
    /// what the group was decided on, and is Raced where one is not.
    pub(super) guarded: Option<Later>,
    pub(super) history: Later,
    pub(super) changes: Later,
}

impl Drafts {
    /// Of a group that was decided before its turn on these rows, and in which nobody is merged, parted or erased.
    pub(super) fn of(
        engine: Engine,
        workspace: WorkspaceId,
        effects: &Arc<Vec<Effect>>,
        definitions: Definitions,
        rows: &BTreeMap<Uuid, (u64, String)>,
    ) -> Self {
        let spans = spans(effects);
        // SQLite has no rows to lock. Where somebody was only looked at, or events are to be found by their type before the document
        // says so, all rows are locked first, in the one order that everybody keeps to.
        let long = || spans.values().filter_map(|span| span.after).any(|after| after.activity.is_long());
        let are_written = rows.keys().all(|id| spans.contains_key(&ProfileId(*id)));
        let guards = engine == Engine::Postgres && are_written && !long();
        Self::about(engine, workspace, effects, definitions, &spans, true, guards.then_some(rows))
    }

    /// `settled`: what stood before is what the rows say. `guards`: rows to be written only as they were.
    pub(super) fn about(
        engine: Engine,
        workspace: WorkspaceId,
        effects: &Arc<Vec<Effect>>,
        definitions: Definitions,
        spans: &BTreeMap<ProfileId, Span<'_>>,
        settled: bool,
        guards: Option<&BTreeMap<Uuid, (u64, String)>>,
    ) -> Self {
        let many = effects.len();
        let untouched = untouched(spans, effects, settled);
        let people: Vec<Arc<Profile>> = spans.values().filter_map(|span| span.after.cloned()).collect();
        let newcomers = newcomers(spans, settled);
        let definitions = Arc::new(definitions);
        let profiles = [Writing::New, if settled { Writing::Known } else { Writing::Any }].map(|writing| {
            let concerned = |profile: &Profile| match writing {
                Writing::New => newcomers.contains(&profile.id),
                _ => !newcomers.contains(&profile.id) && !untouched.contains(&profile.id),
            };
            let (people, definitions) = (people.iter().filter(|profile| concerned(profile)).cloned().collect(), Arc::clone(&definitions));
            Later::of(engine, many, move || Ok(profiles(workspace, people, writing, &definitions)))
        });
        let (new, mut known) = people.iter().cloned().partition::<Vec<_>, _>(|profile| newcomers.contains(&profile.id));
        let guarded = guards.map(|rows| {
            let with_row = |after: Arc<Profile>| rows.get(&after.id.0).cloned().map(|row| (after, row));
            let known: Option<Vec<_>> = std::mem::take(&mut known).into_iter().map(with_row).collect();
            Later::of(engine, many, move || guarded(workspace, known.ok_or(StoreError::Raced)?))
        });
        let (same_day, others) = known.into_iter().partition::<Vec<_>, _>(|profile| {
            let before = spans.get(&profile.id).and_then(|span| span.before).filter(|_| settled);
            before.is_some_and(|before| seen_key(before).day() == seen_key(profile).day())
        });
        let documents = [(new, Writing::New), (same_day, Writing::Known), (others, Writing::Any)]
            .map(|(people, writing)| Later::of(engine, many, move || documents(workspace, &people, writing)));
        let turned: Arc<Vec<Turned>> =
            Arc::new(spans.values().filter_map(|span| Some((span.before.cloned(), Arc::clone(span.after?)))).collect());
        let identities = {
            let turned = Arc::clone(&turned);
            Later::of(engine, many, move || Ok(identities(workspace, &turned)))
        };
        let consents = [Writing::New, Writing::Any].map(|writing| {
            let (turned, newcomers) = (Arc::clone(&turned), newcomers.clone());
            let concerned = move |profile: &Profile| newcomers.contains(&profile.id) == (writing == Writing::New);
            Later::of(engine, many, move || Ok(consents(workspace, &turned, writing, concerned)))
        });
        let ledger = {
            let (effects, people) = (Arc::clone(effects), people.iter().map(|profile| profile.id).collect());
            Later::of(engine, many, move || Ok(ledger(workspace, &people, &effects)))
        };
        let history = {
            let (effects, people) = (Arc::clone(effects), people.iter().map(|profile| profile.id).collect());
            Later::of(engine, many, move || Ok(history(workspace, &people, &effects)))
        };
        let changes = {
            let effects = Arc::clone(effects);
            Later::of(engine, many, move || Ok(changes(workspace, &effects)))
        };
        Self { effects: Arc::clone(effects), profiles, identities, consents, ledger, documents, guarded, history, changes }
    }

    /// Whether nothing was decided since.
    pub(super) fn are_about(&self, effects: &Arc<Vec<Effect>>) -> bool {
        Arc::ptr_eq(&self.effects, effects)
    }
}

/// People nobody has a row of.
pub(super) fn newcomers(spans: &BTreeMap<ProfileId, Span<'_>>, settled: bool) -> BTreeSet<ProfileId> {
    spans.iter().filter(|(_, span)| settled && span.before.is_none()).map(|(id, _)| *id).collect()
}

/// Whose rows a statement writes. Where rows may be there already each is looked for before it is written, on PostgreSQL at half
/// of what writing it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// People nobody has a row of.
    New,
    /// People who have one, of which what seldom changes stays: the time of creation, or the day they were seen on.
    Known,
    /// Either; all of a row is written.
    Any,
}

/// People whose row of `profiles` stays as it is: most of those who send events, and all who only enter a segment or leave it.
/// Where the states before are not `settled`, only those who were merely seen count.
fn untouched(spans: &BTreeMap<ProfileId, Span<'_>>, effects: &[Effect], settled: bool) -> BTreeSet<ProfileId> {
    let more: BTreeSet<ProfileId> =
        effects.iter().filter(|e| !settled && e.action != Action::Seen).map(|effect| effect.profile_id).collect();
    spans
        .iter()
        .filter(|(id, span)| !more.contains(id) && span.before.zip(span.after).is_some_and(|(before, after)| same_row(before, after)))
        .map(|(id, _)| *id)
        .collect()
}

/// Whether all that the row of `profiles` is made of is the same.
fn same_row(before: &Profile, after: &Profile) -> bool {
    (before.created_at, before.updated_at) == (after.created_at, after.updated_at) && before.is_described_as(after)
}

/// Only a merge, or what takes one back, gives somebody another time of creation; where nothing does, the statement must not
/// name it, since SQLite writes every index anew whose columns it is told of.
fn profiles(workspace: WorkspaceId, people: Vec<Arc<Profile>>, writing: Writing, definitions: &Definitions) -> Option<Sql> {
    const INSERT: &str = "INSERT INTO profiles (
                 workspace_id, id, created_at, updated_at, name_key, search_text,
                 email, phone, external_id, name, first_name, last_name, company, job_title, country, city,
                 language, timezone, avatar_url, folded, comparables
             )
             SELECT $1, r.id, r.created_at, r.updated_at, r.name_key, r.search_text,
                    r.email, r.phone, r.external_id, r.name, r.first_name, r.last_name, r.company, r.job_title, r.country, r.city,
                    r.language, r.timezone, r.avatar_url, r.folded, r.comparables
             FROM {rows} AS r WHERE true";
    const OR_UPDATE: &str = "ON CONFLICT (workspace_id, id) DO UPDATE SET
                 updated_at = EXCLUDED.updated_at,
                 name_key = EXCLUDED.name_key,
                 search_text = EXCLUDED.search_text,
                 email = EXCLUDED.email,
                 phone = EXCLUDED.phone,
                 external_id = EXCLUDED.external_id,
                 name = EXCLUDED.name,
                 first_name = EXCLUDED.first_name,
                 last_name = EXCLUDED.last_name,
                 company = EXCLUDED.company,
                 job_title = EXCLUDED.job_title,
                 country = EXCLUDED.country,
                 city = EXCLUDED.city,
                 language = EXCLUDED.language,
                 timezone = EXCLUDED.timezone,
                 avatar_url = EXCLUDED.avatar_url,
                 folded = EXCLUDED.folded,
                 comparables = EXCLUDED.comparables";
    const COLUMNS: &[(&str, Kind)] = &[
        ("id", Kind::Uuid),
        ("created_at", Kind::Time),
        ("updated_at", Kind::Time),
        ("name_key", Kind::Text),
        ("search_text", Kind::Long),
        ("email", Kind::Text),
        ("phone", Kind::Text),
        ("external_id", Kind::Text),
        ("name", Kind::Text),
        ("first_name", Kind::Text),
        ("last_name", Kind::Text),
        ("company", Kind::Text),
        ("job_title", Kind::Text),
        ("country", Kind::Text),
        ("city", Kind::Text),
        ("language", Kind::Text),
        ("timezone", Kind::Text),
        ("avatar_url", Kind::Text),
        ("folded", Kind::Json),
        ("comparables", Kind::Json),
    ];
    let mut rows = Rows::new(COLUMNS);
    for after in &people {
        let search_text = search::text_of(after, definitions);
        rows.push([
            after.id.into(),
            after.created_at.into(),
            after.updated_at.into(),
            name_key(after).into(),
            search_text.into(),
            after.email.clone().into(),
            after.phone.clone().into(),
            after.external_id.clone().into(),
            after.name.clone().into(),
            after.first_name.clone().into(),
            after.last_name.clone().into(),
            after.company.clone().into(),
            after.job_title.clone().into(),
            after.country.clone().into(),
            after.city.clone().into(),
            after.language.clone().into(),
            after.timezone.clone().into(),
            after.avatar_url.clone().into(),
            folded(after, definitions).to_string().into(),
            comparables(after, definitions).to_string().into(),
        ]);
    }
    if rows.is_empty() {
        return None;
    }
    let statement = match writing {
        Writing::New => sql(INSERT),
        Writing::Known => Sql::composed(format!("{INSERT} {OR_UPDATE}"), Vec::new()),
        Writing::Any => Sql::composed(format!("{INSERT} {OR_UPDATE}, created_at = EXCLUDED.created_at"), Vec::new()),
    };
    Some(statement.bind(workspace).each(rows))
}

fn version(profile: &Profile) -> Cell {
    i64::try_from(profile.version).unwrap_or(i64::MAX).into()
}

/// Folded texts by the name a filter calls them.
fn folded(profile: &Profile, definitions: &Definitions) -> Value {
    let mut out = Map::new();
    let mut put = |field: &str, text: Option<&str>| {
        if let Some(text) = text {
            out.insert(field.to_owned(), fold(text).into());
        }
    };
    put("email", profile.email.as_deref());
    put("phone", profile.phone.as_deref());
    put("external_id", profile.external_id.as_deref());
    for property in Standard::ALL {
        put(property.as_str(), profile.standard(*property));
    }
    for (key, value) in &profile.attributes {
        if definitions.get(key).is_some_and(|d| d.kind == PropertyType::Text) {
            put(&format!("attributes.{key}"), value.as_str());
        }
    }
    Value::Object(out)
}

/// One attribute in the form conditions compare: texts, a number (dates and times in microseconds, booleans as 0 and
/// 1), or the texts of a list.
pub(crate) enum Comparable<'a> {
    Text(&'a str),
    Number(f64),
    Boolean(bool),
    List(Vec<&'a str>),
}

pub(crate) fn comparable(value: &Value, kind: PropertyType) -> Option<Comparable<'_>> {
    match (kind, value) {
        (PropertyType::Text | PropertyType::Enum, Value::String(text)) => Some(Comparable::Text(text)),
        (PropertyType::Number, Value::Number(number)) => number.as_f64().map(Comparable::Number),
        (PropertyType::Boolean, Value::Bool(flag)) => Some(Comparable::Boolean(*flag)),
        (PropertyType::Date, Value::String(text)) => Timestamp::parse_date(text).map(|at| Comparable::Number(micros(at))),
        (PropertyType::Datetime, Value::String(text)) => Timestamp::parse(text).map(|at| Comparable::Number(micros(at))),
        (PropertyType::TextList, Value::Array(items)) => Some(Comparable::List(items.iter().filter_map(Value::as_str).collect())),
        _ => None,
    }
}

/// Microseconds as a float: exact up to the year 2255, within 32 µs in the year 9999. Bounds go through the same
/// rounding, so order and equality hold.
#[expect(clippy::cast_precision_loss, reason = "both sides of every comparison lose the same bits")]
pub(crate) fn micros(at: Timestamp) -> f64 {
    at.micros() as f64
}

fn comparables(profile: &Profile, definitions: &Definitions) -> Value {
    let mut out = Map::new();
    for (key, value) in &profile.attributes {
        let Some(comparable) = definitions.get(key).and_then(|d| comparable(value, d.kind)) else { continue };
        let value = match comparable {
            Comparable::Text(text) => Value::from(text),
            Comparable::Number(number) => Value::from(number),
            Comparable::Boolean(flag) => Value::from(flag),
            // No item is no value.
            Comparable::List(items) if items.is_empty() => continue,
            Comparable::List(items) => Value::from(items),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

/// Keys that somebody holds now and did not hold before.
fn identities(workspace: WorkspaceId, turned: &[Turned]) -> Option<Sql> {
    let mut new: BTreeMap<(&str, &str), (ProfileId, Timestamp)> = BTreeMap::new();
    for (before, after) in turned {
        for identity in after.identities.iter().filter(|i| before.as_ref().is_none_or(|b| !b.holds(&i.key()))) {
            new.insert((identity.kind.as_str(), &identity.value), (after.id, identity.created_at));
        }
    }
    if new.is_empty() {
        return None;
    }
    let mut rows = Rows::new(&[("kind", Kind::Text), ("value", Kind::Text), ("profile_id", Kind::Uuid), ("created_at", Kind::Time)]);
    for ((kind, value), (profile_id, created_at)) in new {
        rows.push([kind.into(), value.into(), profile_id.into(), created_at.into()]);
    }
    // Where somebody else took a key first, it is decided again, on what is true by then. Left out and not refused: PostgreSQL
    // writes what a unique index refuses into its log, where no erasure reaches.
    Some(
        sql("INSERT {or_fail} INTO profile_identities (workspace_id, kind, value, profile_id, origin_profile_id, created_at)
             SELECT $1, r.kind, r.value, r.profile_id, r.profile_id, r.created_at FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
        .bind(workspace)
        .each(rows)
        .whole(),
    )
}

/// Where a consent stands now, of those for whom it stands elsewhere than before.
fn consents(workspace: WorkspaceId, turned: &[Turned], writing: Writing, concerned: impl Fn(&Profile) -> bool) -> Option<Sql> {
    const INSERT: &str = "INSERT {or_fail} INTO profile_consents (workspace_id, profile_id, channel, status)
             SELECT $1, r.profile_id, r.channel, r.status FROM {rows} AS r WHERE true";
    const OR_UPDATE: &str = "ON CONFLICT (workspace_id, profile_id, channel) DO UPDATE SET status = EXCLUDED.status";
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("channel", Kind::Text), ("status", Kind::Text)]);
    for (before, after) in turned.iter().filter(|(_, after)| concerned(after)) {
        for consent in &after.consents {
            let was = before.as_ref().and_then(|b| b.consents.iter().find(|c| c.channel == consent.channel)).map(|c| c.status);
            if was != Some(consent.status) {
                rows.push([after.id.into(), consent.channel.as_str().into(), consent.status.as_str().into()]);
            }
        }
    }
    if rows.is_empty() {
        return None;
    }
    let statement = match writing {
        Writing::New => sql(INSERT),
        _ => Sql::composed(format!("{INSERT} {OR_UPDATE}"), Vec::new()),
    };
    Some(statement.bind(workspace).each(rows))
}

/// What these people decided about consents.
fn ledger(workspace: WorkspaceId, people: &BTreeSet<ProfileId>, effects: &[Effect]) -> Option<Sql> {
    let mut ledger = Rows::new(&[
        ("profile_id", Kind::Uuid),
        ("id", Kind::Uuid),
        ("channel", Kind::Text),
        ("status", Kind::Text),
        ("occurred_at", Kind::Time),
        ("recorded_at", Kind::Time),
        ("source", Kind::Text),
        ("evidence", Kind::Text),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
    ]);
    for effect in effects.iter().filter(|effect| people.contains(&effect.profile_id)) {
        for decision in &effect.decisions {
            ledger.push([
                effect.profile_id.into(),
                crate::ids::new_id(effect.cause.at).into(),
                decision.channel.as_str().into(),
                decision.status.as_str().into(),
                decision.occurred_at.into(),
                effect.cause.at.into(),
                decision.source.clone().into(),
                decision.evidence.clone().into(),
                effect.cause.actor.as_str().into(),
                effect.cause.request_id.as_str().into(),
            ]);
        }
    }
    if ledger.is_empty() {
        return None;
    }
    Some(
        sql("INSERT {or_fail} INTO consent_ledger (
                 workspace_id, profile_id, id, channel, status, occurred_at, recorded_at, source, evidence, actor, request_id, origin_profile_id
             )
             SELECT $1, r.profile_id, r.id, r.channel, r.status, r.occurred_at, r.recorded_at, r.source, r.evidence, r.actor, r.request_id, r.profile_id
             FROM {rows} AS r")
        .bind(workspace)
        .each(ledger),
    )
}

/// The last two are those of a row that is to be as it was.
const DOCUMENT: &[(&str, Kind); 10] = &[
    ("profile_id", Kind::Uuid),
    ("version", Kind::Int),
    ("last_seen_at", Kind::Time),
    ("seen_day", Kind::Int),
    ("last_channel", Kind::Text),
    ("event_count", Kind::Int),
    ("activity", Kind::Json),
    ("document", Kind::Long),
    ("was_version", Kind::Int),
    ("was_stamp", Kind::Text),
];

fn document(after: &Profile) -> Result<[Cell; 8], StoreError> {
    let unwritable = |_| StoreError::Unreadable("a profile that cannot be written");
    let seen = seen_key(after);
    Ok([
        after.id.into(),
        version(after),
        seen.into(),
        seen.day().into(),
        after.last_channel.clone().into(),
        after.activity.count().into(),
        serde_json::to_string(&after.activity).map_err(unwritable)?.into(),
        serde_json::to_string(after).map_err(unwritable)?.into(),
    ])
}

/// Of people whose rows still have these versions and stamps, all of them, in id order, on PostgreSQL: to lock a row before it is
/// written, and to look for it again, takes half as long as writing it does.
fn guarded(workspace: WorkspaceId, people: Vec<(Arc<Profile>, (u64, String))>) -> Result<Option<Sql>, StoreError> {
    let mut rows = Rows::new(DOCUMENT);
    for (after, (version, stamp)) in people {
        rows.push_with(document(&after)?, [i64::try_from(version).ok().into(), stamp.into()]);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let statement = sql("UPDATE profile_documents SET
             version = r.version, last_seen_at = r.last_seen_at, seen_day = r.seen_day, last_channel = r.last_channel,
             event_count = r.event_count, activity = r.activity, document = r.document
         FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
         WHERE profile_documents.workspace_id = $1 AND profile_documents.workspace_id = r.workspace_id
           AND profile_documents.profile_id = r.profile_id AND profile_documents.version = r.was_version
           AND profile_documents.xmin::text = r.was_stamp");
    Ok(Some(statement.bind(workspace).rows(rows).whole()))
}

/// The document and what stands beside it. Of people who were last seen on the same day as before the day is not named:
/// SQLite writes every index anew whose columns it is told of.
fn documents(workspace: WorkspaceId, people: &[Arc<Profile>], writing: Writing) -> Result<Option<Sql>, StoreError> {
    const INSERT: &str = "INSERT INTO profile_documents (
                 workspace_id, profile_id, version, last_seen_at, seen_day, last_channel, event_count, activity, document
             )
             SELECT $1, r.profile_id, r.version, r.last_seen_at, r.seen_day, r.last_channel, r.event_count, r.activity, r.document
             FROM {rows} AS r WHERE true";
    const OR_UPDATE: &str = "ON CONFLICT (workspace_id, profile_id) DO UPDATE SET
                 version = EXCLUDED.version,
                 last_seen_at = EXCLUDED.last_seen_at,
                 last_channel = EXCLUDED.last_channel,
                 event_count = EXCLUDED.event_count,
                 activity = EXCLUDED.activity,
                 document = EXCLUDED.document";
    let mut rows = Rows::new(&DOCUMENT[..8]);
    for after in people {
        rows.push(document(after)?);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let statement = match writing {
        Writing::New => sql(INSERT),
        Writing::Known => Sql::composed(format!("{INSERT} {OR_UPDATE}"), Vec::new()),
        Writing::Any => Sql::composed(format!("{INSERT} {OR_UPDATE}, seen_day = EXCLUDED.seen_day"), Vec::new()),
    };
    Ok(Some(statement.bind(workspace).each(rows)))
}

fn history(workspace: WorkspaceId, people: &BTreeSet<ProfileId>, effects: &[Effect]) -> Option<Sql> {
    let mut rows = Rows::new(&[
        ("profile_id", Kind::Uuid),
        ("id", Kind::Uuid),
        ("at", Kind::Time),
        ("action", Kind::Text),
        ("source", Kind::Text),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
        ("reason", Kind::Text),
        ("version", Kind::Int),
        ("fields", Kind::Text),
        ("changes", Kind::Long),
    ]);
    // What happened to somebody who is erased at the end of the group leaves no history.
    for effect in effects.iter().filter(|e| people.contains(&e.profile_id)) {
        let Some(after) = &effect.after else { continue };
        // The event itself tells when somebody was seen.
        if effect.action == Action::Seen || (effect.action == Action::SegmentsChanged && effect.changes.is_empty()) {
            continue;
        }
        let mut fields = String::from("\n");
        for change in &effect.changes {
            fields.push_str(&change.field);
            fields.push('\n');
        }
        rows.push([
            effect.profile_id.into(),
            effect.record_id.into(),
            effect.at.into(),
            effect.action.as_str().into(),
            effect.cause.source.into(),
            effect.cause.actor.as_str().into(),
            effect.cause.request_id.as_str().into(),
            effect.cause.reason.clone().into(),
            version(after),
            fields.into(),
            serde_json::to_string(&effect.changes).unwrap_or_else(|_| "[]".to_owned()).into(),
        ]);
    }
    if rows.is_empty() {
        return None;
    }
    Some(
        sql("INSERT {or_fail} INTO profile_history (
                 workspace_id, profile_id, id, at, action, source, actor, request_id, reason, version, fields, changes
             )
             SELECT $1, r.profile_id, r.id, r.at, r.action, r.source, r.actor, r.request_id, r.reason, r.version, r.fields, r.changes
             FROM {rows} AS r")
        .bind(workspace)
        .each(rows),
    )
}

/// Whether the profile is another: a late event only counts.
fn is_visible(effect: &Effect) -> bool {
    effect.before.as_ref().map(|p| p.version) != effect.after.as_ref().map(|p| p.version)
}

/// What the feed is told of.
pub(super) fn told(effects: &[Effect]) -> impl Iterator<Item = (&'static str, &Effect)> {
    effects.iter().filter_map(|effect| change::kind_of(effect.action).map(|kind| (kind, effect)))
}

/// The rows of the feed: the last numbers up to its head, which has been moved by then.
fn changes(workspace: WorkspaceId, effects: &[Effect]) -> Option<Sql> {
    let mut rows = Rows::new(&[
        ("place", Kind::Int),
        ("profile_id", Kind::Uuid),
        ("kind", Kind::Text),
        ("version", Kind::Int),
        ("fields", Kind::Text),
        ("at", Kind::Time),
        ("actor", Kind::Text),
        ("request_id", Kind::Text),
        ("record_id", Kind::Uuid),
    ]);
    for (place, (kind, effect)) in (1_i64..).zip(told(effects)) {
        let fields: Vec<&str> = match effect.action {
            Action::SegmentsChanged => vec!["segments"],
            Action::Seen if is_visible(effect) => vec!["channels", "last_channel", "last_seen_at"],
            _ => effect.changes.iter().map(|c| c.field.as_str()).collect(),
        };
        let last = effect.after.as_ref().or(effect.before.as_ref());
        rows.push([
            place.into(),
            effect.profile_id.into(),
            kind.into(),
            last.map_or_else(|| 0_i64.into(), |p| version(p)),
            Value::from(fields).to_string().into(),
            effect.at.into(),
            effect.cause.actor.as_str().into(),
            effect.cause.request_id.as_str().into(),
            effect.record_id.into(),
        ]);
    }
    if rows.is_empty() {
        return None;
    }
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    Some(
        sql("INSERT INTO changes (workspace_id, seq, profile_id, kind, version, fields, at, actor, request_id, record_id)
             SELECT $1, h.seq - $2 + r.place, r.profile_id, r.kind, r.version, r.fields, r.at, r.actor, r.request_id, r.record_id
             FROM {rows} AS r CROSS JOIN change_heads AS h WHERE h.workspace_id = $1")
        .bind(workspace)
        .bind(count)
        .each(rows),
    )
}
