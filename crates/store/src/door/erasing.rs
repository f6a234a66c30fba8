//! What an erased person left in the rows of others: identities of theirs that somebody else's messages named and that
//! were refused. The event and its entry in the history stay, since they are the other's; the identity goes.

use people_domain::{
    directory::{Action, Effect},
    event::RefusedKey,
    history::Change,
    id::WorkspaceId,
};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    StoreError, Tx,
    rows::{Kind, Rows},
    statement::sql,
    time::At,
};

/// Removes the traces of everyone these effects erase.
pub(super) async fn traces(tx: &mut Tx, workspace: WorkspaceId, effects: &[Effect]) -> Result<(), StoreError> {
    let erased: Vec<&Effect> = effects.iter().filter(|effect| effect.action == Action::Erased).collect();
    if erased.is_empty() {
        return Ok(());
    }
    refused_by_events(tx, workspace, &erased).await?;
    told_by_history(tx, workspace, &erased).await
}

#[derive(FromRow)]
struct RefusingEvent {
    profile_id: Uuid,
    occurred_at: At,
    id: Uuid,
    refused: String,
}

async fn refused_by_events(tx: &mut Tx, workspace: WorkspaceId, erased: &[&Effect]) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("text", Kind::Text)]);
    for effect in erased {
        rows.push([effect.profile_id.to_string().into()]);
    }
    let found: Vec<RefusingEvent> = tx
        .all(
            sql("SELECT e.profile_id, e.occurred_at, e.id, e.refused{as_text} AS refused FROM events AS e
                 WHERE e.workspace_id = $1 AND e.refused IS NOT NULL
                   AND EXISTS (SELECT 1 FROM {rows} AS r WHERE {position}(e.refused{as_text}, r.text) > 0)")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("occurred_at", Kind::Time), ("id", Kind::Uuid), ("refused", Kind::Json)]);
    for event in found {
        let mut keys: Vec<RefusedKey> =
            serde_json::from_str(&event.refused).map_err(|_| StoreError::Unreadable("the refused identities of an event"))?;
        keys.retain(|key| !erased.iter().any(|effect| key.profile_id == Some(effect.profile_id)));
        let kept = serde_json::to_string(&keys).map_err(|_| StoreError::Unreadable("the refused identities of an event"))?;
        rows.push([event.profile_id.into(), event.occurred_at.0.into(), event.id.into(), kept.into()]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.run(
        sql("UPDATE events SET refused = (SELECT r.refused FROM {rows} AS r WHERE r.id = events.id)
             WHERE workspace_id = $1 AND (profile_id, occurred_at, id) IN (SELECT profile_id, occurred_at, id FROM {rows} AS r)")
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

async fn told_by_history(tx: &mut Tx, workspace: WorkspaceId, erased: &[&Effect]) -> Result<(), StoreError> {
    let keys: Vec<_> = erased.iter().filter_map(|effect| effect.before.as_ref()).flat_map(|before| &before.identities).collect();
    let mut rows = Rows::new(&[("text", Kind::Text)]);
    for key in &keys {
        // As it stands in the list of changes.
        rows.push([Value::from(key.value.as_str()).to_string().into()]);
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
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("id", Kind::Uuid), ("changes", Kind::Json)]);
    for entry in entries {
        let mut changes: Vec<Change> = serde_json::from_str(&entry.changes).map_err(|_| StoreError::Unreadable("a history entry"))?;
        let mut touched = false;
        for change in &mut changes {
            let theirs = keys.iter().any(|key| {
                change.field.strip_prefix("identities.") == Some(key.kind.as_str()) && change.new.as_str() == Some(key.value.as_str())
            });
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
        sql("UPDATE profile_history SET changes = (SELECT r.changes FROM {rows} AS r WHERE r.id = profile_history.id)
             WHERE workspace_id = $1 AND (profile_id, id) IN (SELECT profile_id, id FROM {rows} AS r)")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}
