//! What erased people left in the rows of others.
//!
//! Identities of theirs that somebody else's messages named and that were refused: the event and its entry in the history
//! stay, since they are the other's; the identity goes, and every other that is known to be theirs, also where the event's properties,
//! its context or its session repeat it. And what
//! merges remember that were taken back: whoever came back from one stands in its record, and in those of all merges that
//! their survivor went through meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use people_domain::{
    directory::{Action, Effect},
    event::RefusedKey,
    history::Change,
    id::WorkspaceId,
    text::fold,
};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    StoreError, Tx,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// Removes the traces of everyone these effects erase, while their own rows are still there.
pub(super) async fn traces(tx: &mut Tx, workspace: WorkspaceId, effects: &[Effect]) -> Result<(), StoreError> {
    let erased: Vec<&Effect> = effects.iter().filter(|effect| effect.action == Action::Erased).collect();
    if erased.is_empty() {
        return Ok(());
    }
    let mut names = Names::of(tx, workspace, &erased).await?;
    refused_by_events(tx, workspace, &mut names).await?;
    told_by_history(tx, workspace, &names).await?;
    remembered_by_merges(tx, workspace, &erased).await
}

/// What others' rows may call the erased by.
#[derive(Debug, Default)]
struct Names {
    /// Their ids, and those of people who had been merged into them.
    ids: BTreeSet<Uuid>,
    /// Who answered for them while they were merged: under these ids, only their keys are theirs.
    hosts: BTreeSet<Uuid>,
    /// Kind and value of every identity they have, or had once.
    keys: BTreeSet<(String, String)>,
}

#[derive(FromRow)]
struct Told {
    changes: String,
}

impl Names {
    async fn of(tx: &mut Tx, workspace: WorkspaceId, erased: &[&Effect]) -> Result<Self, StoreError> {
        let people = || ids(erased.iter().map(|effect| effect.profile_id.0));
        let mut names = Self { ids: erased.iter().map(|effect| effect.profile_id.0).collect(), ..Self::default() };
        let former: Vec<(Uuid,)> = tx
            .all(
                sql("SELECT profile_id FROM profile_redirects WHERE workspace_id = $1 AND survivor_profile_id IN (SELECT id FROM {rows} AS r)")
                    .bind(workspace)
                    .rows(people()),
            )
            .await?;
        names.ids.extend(former.into_iter().map(|(id,)| id));
        let hosts: Vec<(Uuid, Uuid)> = tx
            .all(
                sql("SELECT primary_id, profile_id FROM merges
                     WHERE workspace_id = $1 AND returned_profile_id IN (SELECT id FROM {rows} AS r)")
                .bind(workspace)
                .rows(people()),
            )
            .await?;
        names.hosts.extend(hosts.into_iter().flat_map(|(primary, holder)| [primary, holder]));
        for identity in erased.iter().filter_map(|effect| effect.before.as_ref()).flat_map(|before| &before.identities) {
            names.keys.insert((identity.kind.as_str().to_owned(), identity.value.clone()));
        }
        // Keys they have given up since.
        let entries: Vec<Told> = tx
            .all(
                sql("SELECT h.changes{as_text} AS changes FROM profile_history AS h
                     WHERE h.workspace_id = $1 AND h.profile_id IN (SELECT id FROM {rows} AS r) AND h.action <> 'identity_refused'
                       AND ({position}(h.fields, $2) > 0 OR {position}(h.fields, $3) > 0 OR {position}(h.fields, $4) > 0
                            OR {position}(h.fields, $5) > 0)")
                .bind(workspace)
                .bind("\nidentities.")
                .bind("\nemail\n")
                .bind("\nphone\n")
                .bind("\nexternal_id\n")
                .rows(people()),
            )
            .await?;
        for entry in entries {
            let changes: Vec<Change> = serde_json::from_str(&entry.changes).map_err(|_| StoreError::Unreadable("a history entry"))?;
            for change in changes {
                let kind = match change.field.as_str() {
                    kind @ ("email" | "phone" | "external_id") => kind,
                    field => match field.strip_prefix("identities.") {
                        Some(kind) => kind,
                        None => continue,
                    },
                };
                for value in [&change.old, &change.new] {
                    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    names.keys.extend(values.iter().filter_map(Value::as_str).map(|value| (kind.to_owned(), value.to_owned())));
                }
            }
        }
        Ok(names)
    }

    fn is_theirs(&self, key: &RefusedKey) -> bool {
        key.profile_id.is_some_and(|id| {
            self.ids.contains(&id.0) || (self.hosts.contains(&id.0) && self.keys.contains(&(key.kind.clone(), key.value.clone())))
        })
    }
}

#[derive(FromRow)]
struct RefusingEvent {
    profile_id: Uuid,
    occurred_at: At,
    id: Uuid,
    refused: String,
    properties: String,
    context: Option<String>,
    session_id: Option<Uuid>,
    session_properties: Option<String>,
}

/// Takes out of a JSON text what says one of these keys, in whatever spelling.
fn without(text: String, keys: &[(String, String)]) -> Result<String, StoreError> {
    let unreadable = |_| StoreError::Unreadable("what an event says");
    let mut said: Value = serde_json::from_str(&text).map_err(unreadable)?;
    if forget(&mut said, "", keys) { serde_json::to_string(&said).map_err(unreadable) } else { Ok(text) }
}

/// From so many characters on, a text is hardly the same as a key by chance.
const TELLING: usize = 6;

/// `name`: of the member that this is, or stands in. What is short is a key only where an id is expected: somebody's id may be 1, and so
/// may be how many they bought.
fn forget(said: &mut Value, name: &str, keys: &[(String, String)]) -> bool {
    let mut gone = false;
    let text = match said {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            for item in items {
                gone |= forget(item, name, keys);
            }
            return gone;
        }
        Value::Object(members) => {
            for (name, value) in members {
                gone |= forget(value, name, keys);
            }
            return gone;
        }
        Value::Bool(_) | Value::Null => return false,
    };
    let is_id = || {
        let name: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        matches!(name.as_str(), "id" | "value" | "userid" | "previousid" | "anonymousid" | "externalid" | "email" | "phone")
    };
    gone = (text.chars().count() >= TELLING || is_id()) && keys.iter().any(|(kind, value)| is_said(&text, kind, value));
    if gone {
        *said = Value::Null;
    }
    gone
}

/// Whether a text is this key: as it is kept, in other case, or a telephone number as it is written in its country.
fn is_said(text: &str, kind: &str, value: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let is_number = |text: &str| {
        let national = digits(text);
        let national = national.trim_start_matches('0');
        national.len() >= 6 && digits(value).ends_with(national) && !text.contains(char::is_alphabetic)
    };
    fold(text.trim()) == fold(value) || (kind == "phone" && is_number(text))
}

/// Takes their keys out of others' events, and learns those keys.
async fn refused_by_events(tx: &mut Tx, workspace: WorkspaceId, names: &mut Names) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("text", Kind::Text)]);
    for id in names.ids.iter().chain(&names.hosts) {
        rows.push([id.to_string().into()]);
    }
    let found: Vec<RefusingEvent> = tx
        .all(
            sql("SELECT e.profile_id, e.occurred_at, e.id, e.refused{as_text} AS refused, e.properties{as_text} AS properties,
                        e.context{as_text} AS context, e.session_id, e.session_properties{as_text} AS session_properties
                 FROM events AS e {with_refused}
                 WHERE e.workspace_id = $1 AND e.refused IS NOT NULL
                   AND EXISTS (SELECT 1 FROM {rows} AS r WHERE {position}(e.refused{as_text}, r.text) > 0)")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    let mut named = Vec::new();
    for event in found {
        let mut keys: Vec<RefusedKey> =
            serde_json::from_str(&event.refused).map_err(|_| StoreError::Unreadable("the refused identities of an event"))?;
        let theirs: Vec<(String, String)> = keys.extract_if(.., |key| names.is_theirs(key)).map(|key| (key.kind, key.value)).collect();
        if theirs.is_empty() {
            continue;
        }
        let kept = serde_json::to_string(&keys).map_err(|_| StoreError::Unreadable("the refused identities of an event"))?;
        names.keys.extend(theirs);
        named.push((event, kept));
    }
    if named.is_empty() {
        return Ok(());
    }
    let keys = nobody_elses(tx, workspace, names).await?;
    let mut rows = Rows::new(&[
        ("profile_id", Kind::Uuid),
        ("occurred_at", Kind::Time),
        ("id", Kind::Uuid),
        ("refused", Kind::Json),
        ("properties", Kind::Json),
        ("context", Kind::Json),
        ("session_properties", Kind::Json),
    ]);
    let mut sessions = BTreeSet::new();
    for (event, refused) in named {
        let properties = without(event.properties, &keys)?;
        let context = event.context.map(|context| without(context, &keys)).transpose()?;
        let told = event.session_properties.map(|told| without(told, &keys)).transpose()?;
        sessions.extend(event.session_id.filter(|_| told.is_some()));
        rows.push([
            event.profile_id.into(),
            event.occurred_at.0.into(),
            event.id.into(),
            refused.into(),
            properties.into(),
            context.into(),
            told.into(),
        ]);
    }
    told_of_sessions(tx, workspace, sessions, &keys).await?;
    tx.run(
        sql("UPDATE events SET refused = r.refused, properties = r.properties, context = r.context,
                    session_properties = r.session_properties
             FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}events.workspace_id = $1 AND events.workspace_id = r.workspace_id AND events.profile_id = r.profile_id
               AND events.occurred_at = r.occurred_at AND events.id = r.id")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// The keys that were theirs and are not somebody else's by now.
async fn nobody_elses(tx: &mut Tx, workspace: WorkspaceId, names: &Names) -> Result<Vec<(String, String)>, StoreError> {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("value", Kind::Text)]);
    for (kind, value) in &names.keys {
        rows.push([kind.as_str().into(), value.as_str().into()]);
    }
    let held: Vec<(String, String, Uuid)> = tx
        .all(
            sql("SELECT i.kind, i.value, i.profile_id FROM {rows} AS r CROSS JOIN profile_identities AS i
                 WHERE i.workspace_id = $1 AND i.kind = r.kind AND i.value = r.value")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    let others: BTreeSet<(String, String)> =
        held.into_iter().filter(|(_, _, who)| !names.ids.contains(who)).map(|(kind, value, _)| (kind, value)).collect();
    Ok(names.keys.difference(&others).cloned().collect())
}

#[derive(FromRow)]
struct SessionTold {
    profile_id: Uuid,
    ended_at: At,
    id: Uuid,
    properties: String,
}

/// The same for what these sessions were told.
async fn told_of_sessions(
    tx: &mut Tx,
    workspace: WorkspaceId,
    sessions: BTreeSet<Uuid>,
    keys: &[(String, String)],
) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let found: Vec<SessionTold> = tx
        .all(
            sql("SELECT s.profile_id, s.ended_at, s.id, s.properties{as_text} AS properties
                 FROM {walk} sessions AS s WHERE s.workspace_id = $1 AND s.id {among}")
            .bind(workspace)
            .rows(ids(sessions)),
        )
        .await?;
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("day", Kind::Time), ("id", Kind::Uuid), ("properties", Kind::Json)]);
    for session in found {
        let properties = without(session.properties, keys)?;
        rows.push([session.profile_id.into(), session.ended_at.0.into(), session.id.into(), properties.into()]);
    }
    tx.run(
        sql("UPDATE sessions SET properties = r.properties FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}sessions.workspace_id = $1 AND sessions.workspace_id = r.workspace_id AND sessions.profile_id = r.profile_id
               AND sessions.ended_day = {day(}r.day{)day} AND sessions.id = r.id")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

#[derive(FromRow)]
struct Entry {
    profile_id: Uuid,
    id: Uuid,
    changes: String,
}

async fn told_by_history(tx: &mut Tx, workspace: WorkspaceId, names: &Names) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("text", Kind::Text)]);
    for (_, value) in &names.keys {
        // As it stands in the list of changes.
        rows.push([Value::from(value.as_str()).to_string().into()]);
    }
    let entries: Vec<Entry> = tx
        .all(
            sql("SELECT h.profile_id, h.id, h.changes{as_text} AS changes FROM profile_history AS h
                 WHERE h.workspace_id = $1 AND h.action = 'identity_refused'
                   AND EXISTS (SELECT 1 FROM {rows} AS r WHERE {position}(h.changes{as_text}, r.text) > 0)")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("id", Kind::Uuid), ("changes", Kind::Long)]);
    for entry in entries {
        let mut changes: Vec<Change> = serde_json::from_str(&entry.changes).map_err(|_| StoreError::Unreadable("a history entry"))?;
        let mut touched = false;
        for change in &mut changes {
            let theirs = change
                .field
                .strip_prefix("identities.")
                .zip(change.new.as_str())
                .is_some_and(|(kind, value)| names.keys.contains(&(kind.to_owned(), value.to_owned())));
            if theirs {
                change.new = Value::Null;
                touched = true;
            }
        }
        if touched {
            let kept = serde_json::to_string(&changes).map_err(|_| StoreError::Unreadable("a history entry"))?;
            rows.push([entry.profile_id.into(), entry.id.into(), kept.into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("UPDATE profile_history SET changes = r.changes FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
             WHERE {aside}profile_history.workspace_id = $1 AND profile_history.workspace_id = r.workspace_id
               AND profile_history.profile_id = r.profile_id AND profile_history.id = r.id")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Somebody who was inside of another between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stay {
    /// In whom, and who holds their records today.
    inside: Uuid,
    holder: Uuid,
    from: Uuid,
    to: Uuid,
}

#[derive(FromRow)]
struct TakenBack {
    id: Uuid,
    profile_id: Uuid,
    primary_id: Uuid,
    secondary_id: Uuid,
    revert_record_id: Uuid,
}

/// Merges that were taken back and remember the erased: those they came back from, and those that their survivor went through
/// while they were part of them, as either side and through further survivors. The records go; that there was a merge is
/// still known, and what happened to the survivors in between stays without its values and reasons, since those speak of both.
async fn remembered_by_merges(tx: &mut Tx, workspace: WorkspaceId, erased: &[&Effect]) -> Result<(), StoreError> {
    let seeds: Vec<TakenBack> = tx
        .all(
            sql("SELECT id, profile_id, primary_id, secondary_id, revert_record_id FROM merges
                 WHERE workspace_id = $1 AND returned_profile_id IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .rows(ids(erased.iter().map(|effect| effect.profile_id.0))),
        )
        .await?;
    let stay = |merge: &TakenBack, to: Uuid| Stay { inside: merge.primary_id, holder: merge.profile_id, from: merge.id, to };
    let mut open: Vec<Stay> = seeds.iter().map(|merge| stay(merge, merge.revert_record_id)).collect();
    let mut seen: BTreeMap<Uuid, TakenBack> = seeds.into_iter().map(|merge| (merge.id, merge)).collect();
    while !open.is_empty() {
        let mut rows = Rows::new(&[("inside", Kind::Uuid), ("holder", Kind::Uuid), ("from_id", Kind::Uuid), ("to_id", Kind::Uuid)]);
        for Stay { inside, holder, from, to } in &open {
            rows.push([(*inside).into(), (*holder).into(), (*from).into(), (*to).into()]);
        }
        let found: Vec<TakenBack> = tx
            .all(
                sql("SELECT m.id, m.profile_id, m.primary_id, m.secondary_id, m.revert_record_id
                     FROM {rows} AS r CROSS JOIN merges AS m
                     WHERE m.workspace_id = $1 AND m.profile_id = r.holder AND m.primary_id = r.inside
                       AND m.id > r.from_id AND m.id < r.to_id AND m.revert_record_id IS NOT NULL
                     UNION
                     SELECT m.id, m.profile_id, m.primary_id, m.secondary_id, m.revert_record_id
                     FROM {rows} AS r CROSS JOIN merges AS m
                     WHERE m.workspace_id = $1 AND m.returned_profile_id = r.holder AND m.secondary_id = r.inside
                       AND m.id > r.from_id AND m.id < r.to_id AND m.revert_record_id IS NOT NULL")
                .bind(workspace)
                .rows(rows),
            )
            .await?;
        let mut next = Vec::new();
        for merge in found {
            // Into whom their survivor went, they went along.
            if let Some(here) = open.iter().find(|stay| stay.inside == merge.secondary_id && stay.from < merge.id && merge.id < stay.to) {
                next.push(stay(&merge, here.to.min(merge.revert_record_id)));
            }
            seen.insert(merge.id, merge);
        }
        open = next;
    }
    if seen.is_empty() {
        return Ok(());
    }
    let records = || ids(seen.keys().copied());
    for statement in [
        "INSERT INTO merges_erased (workspace_id, id) SELECT $1, r.id FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING",
        "UPDATE profile_history SET changes = '[]', reason = NULL
         WHERE workspace_id = $1 AND (profile_id, id) IN (
             SELECT h.profile_id, h.id FROM merges AS m CROSS JOIN profile_history AS h
             WHERE m.workspace_id = $1 AND m.id IN (SELECT id FROM {rows} AS r)
               AND h.workspace_id = $1 AND h.profile_id = m.profile_id AND h.id >= m.id AND h.id <= m.revert_record_id
         )",
        // They are with whoever their merge is with, which is how their table is ordered.
        "DELETE FROM merge_sessions WHERE workspace_id = $1 AND (profile_id, merge_id) IN (
             SELECT m.profile_id, m.id FROM merges AS m WHERE m.workspace_id = $1 AND m.id IN (SELECT id FROM {rows} AS r)
         )",
        "DELETE FROM merges WHERE workspace_id = $1 AND id IN (SELECT id FROM {rows} AS r)",
    ] {
        tx.run(sql(statement).bind(workspace).rows(records())).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{forget, is_said};

    #[test]
    fn a_key_goes_in_any_spelling_and_nothing_that_is_like_it_by_chance() {
        let keys = [("email".to_owned(), "ada@example.com".to_owned()), ("external_id".to_owned(), "17".to_owned())];
        let mut said = json!({
            "id": 17, "items": 17, "size": "17", "previous_id": "17", "of": [{"kind": "email", "value": " ADA@example.com"}],
            "note": "ada@example.com", "text": "write to ada@example.com", "userId": "171", "more": [true, null, "17"]
        });
        assert!(forget(&mut said, "", &keys));
        let kept = json!({
            "id": null, "items": 17, "size": "17", "previous_id": null, "of": [{"kind": "email", "value": null}],
            "note": null, "text": "write to ada@example.com", "userId": "171", "more": [true, null, "17"]
        });
        assert_eq!(said, kept);
        assert!(!forget(&mut Value::from("17"), "", &keys));
    }

    #[test]
    fn a_telephone_number_is_known_as_it_is_written_in_its_country() {
        for (text, expected) in [
            ("+49 30 123456", true),
            ("030/123456", true),
            ("0049 30 123456", true),
            ("030 123457", false),
            ("56", false),
            ("x30123456", false),
        ] {
            assert_eq!(is_said(text, "phone", "+4930123456"), expected, "{text}");
        }
        assert!(!is_said("030 123456", "external_id", "+4930123456"));
    }
}
