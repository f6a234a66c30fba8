//! The audit log: who did what and when, over administration and data.
//!
//! A row is written in the transaction of the act: what cannot be noted does not happen. It names fields, counts and ids,
//! never a value of anybody's, so erasure has nothing to take out of it. It only grows.

use std::sync::Arc;

use people_domain::{
    Timestamp,
    clock::Span,
    directory::{Cause, Command, Outcome},
    id::{ProfileId, RecordId, WorkspaceId},
};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Tx,
    ids::new_id,
    rows::{Kind, Rows},
    statement::{Arg, Sql, sql},
    time::At,
};

/// Who acts on the command line.
pub const CLI: &str = "cli";

/// An act, as it is noted.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub action: String,
    /// The kind of thing it was done to, and its id or name.
    pub target: Option<(&'static str, String)>,
    /// Whose data was handed out.
    pub profile_id: Option<ProfileId>,
    /// An object: names of fields, counts, scopes. Never a value of anybody's.
    pub details: Value,
}

impl Act {
    pub fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), target: None, profile_id: None, details: json!({}) }
    }

    pub fn of(action: impl Into<String>, kind: &'static str, id: impl ToString) -> Self {
        Self { target: Some((kind, id.to_string())), ..Self::new(action) }
    }

    pub fn with(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// What one command of a request did, where that is an act.
    pub(crate) fn done(command: &Command, outcome: &Outcome) -> Option<Self> {
        match (command, outcome) {
            (_, Outcome::Erased { erasure_id, .. }) => Some(Self::of("profile.erased", "erasure", erasure_id)),
            (Command::Merge { .. }, Outcome::Merged { id, .. }) => Some(Self::of("merge.created", "merge", id)),
            (Command::Revert { .. }, Outcome::Merged { id, .. }) => Some(Self::of("merge.reverted", "merge", id)),
            (Command::NoteExport { .. }, outcome) => {
                Some(Self { profile_id: Some(outcome.profile_id()), ..Self::new("profile.exported") }.with(json!({"count": 1})))
            }
            _ => None,
        }
    }
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    pub id: RecordId,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: Option<(String, String)>,
    pub details: Value,
    pub request_id: String,
}

/// What to list; `None` leaves open.
#[derive(Clone, Debug, Default)]
pub struct AuditQuestion {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target_type: Option<String>,
    pub target_id: Option<String>,
    /// Not older.
    pub from: Option<Timestamp>,
    /// Older.
    pub to: Option<Timestamp>,
    /// Older than this row.
    pub before: Option<RecordId>,
    pub limit: i64,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    at: At,
    actor: String,
    action: String,
    target_type: Option<String>,
    target_id: Option<String>,
    profile_id: Option<Uuid>,
    details: String,
    request_id: String,
}

/// Notes acts, each with who did it, in the transaction that does them.
pub(crate) async fn note(tx: &mut Tx, workspace: WorkspaceId, acts: Vec<(&Cause, Act)>) -> Result<(), StoreError> {
    if acts.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("id", Kind::Uuid),
        ("at", Kind::Time),
        ("actor", Kind::Text),
        ("action", Kind::Text),
        ("target_type", Kind::Text),
        ("target_id", Kind::Text),
        ("profile_id", Kind::Uuid),
        ("details", Kind::Text),
        ("request_id", Kind::Text),
    ]);
    for (cause, act) in acts {
        let (target_type, target_id) = act.target.unzip();
        rows.push([
            new_id(cause.at).into(),
            cause.at.into(),
            cause.actor.as_str().into(),
            act.action.into(),
            target_type.map(str::to_owned).into(),
            target_id.into(),
            act.profile_id.map(|id| id.0).into(),
            act.details.to_string().into(),
            cause.request_id.as_str().into(),
        ]);
    }
    tx.run(
        sql("INSERT INTO audit_log (workspace_id, id, at, actor, action, target_type, target_id, profile_id, details, request_id)
             SELECT $1, r.id, r.at, r.actor, r.action, r.target_type, r.target_id, r.profile_id, r.details, r.request_id FROM {rows} AS r")
        .bind(workspace)
        .rows(rows),
    )
    .await
    .map(|_| ())
}

/// Ids of this time and later are not less than this one.
pub(crate) fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.micros().max(0) / 1_000).unwrap_or(0);
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// What rows of the log have to be, with the values that the conditions count.
fn conditions(workspace: WorkspaceId, question: AuditQuestion) -> (String, Vec<Arg>) {
    let before = question.before.map_or(Uuid::max(), |id| id.0);
    let mut text = String::from("workspace_id = $1 AND id < $2");
    let mut args: Vec<Arg> = vec![workspace.into(), before.into()];
    let mut and = |condition: &str, value: Arg| {
        args.push(value);
        text.push_str(&format!(" AND {condition} ${}", args.len()));
    };
    if let Some(actor) = question.actor {
        and("actor =", actor.into());
    }
    if let Some(action) = question.action {
        and("action =", action.into());
    }
    match (question.target_type.as_deref(), question.target_id) {
        // A person is named by a column of their own.
        (Some("profile"), Some(id)) => and("profile_id =", Uuid::try_parse(&id).unwrap_or(Uuid::nil()).into()),
        (Some("profile"), None) => and("profile_id >", Uuid::nil().into()),
        (kind, id) => {
            if let Some(kind) = kind {
                and("target_type =", kind.into());
            }
            if let Some(id) = id {
                and("target_id =", id.into());
            }
        }
    }
    if let Some(from) = question.from {
        // The id bounds the walk, the time decides.
        and("id >=", first_id(from).into());
        and("at >=", from.into());
    }
    if let Some(to) = question.to {
        and("id <", first_id(to.plus(Span::from_seconds(1))).into());
        and("at <", to.into());
    }
    (text, args)
}

/// How many they are, older than `before` or not.
pub(crate) fn counting(workspace: WorkspaceId, question: AuditQuestion) -> Sql {
    let (conditions, args) = conditions(workspace, AuditQuestion { before: None, ..question });
    Sql::composed(format!("SELECT count(*) FROM audit_log WHERE {conditions}"), args)
}

impl Store {
    /// Notes an act that changes nothing in the database: before data is handed out.
    pub async fn audit(&self, workspace: WorkspaceId, cause: Arc<Cause>, act: Act) -> Result<(), StoreError> {
        self.write(move |tx| {
            let (cause, act) = (Arc::clone(&cause), act.clone());
            Box::pin(async move { note(tx, workspace, vec![(&cause, act)]).await })
        })
        .await
    }

    /// Rows of the log, newest first.
    pub async fn audited(&self, workspace: WorkspaceId, question: AuditQuestion) -> Result<Vec<Audited>, StoreError> {
        let limit = question.limit;
        let (conditions, mut args) = conditions(workspace, question);
        args.push(limit.into());
        let text = format!(
            "SELECT id, at, actor, action, target_type, target_id, profile_id, details, request_id FROM audit_log
             WHERE {conditions} ORDER BY id DESC LIMIT ${}",
            args.len()
        );
        let rows: Vec<Stored> = self.pools.all(Sql::composed(text, args)).await?;
        rows.into_iter()
            .map(|row| {
                let target = row.profile_id.map(|id| ("profile".to_owned(), id.to_string())).or(row.target_type.zip(row.target_id));
                Ok(Audited {
                    id: RecordId(row.id),
                    at: row.at.0,
                    actor: row.actor,
                    action: row.action,
                    target,
                    details: serde_json::from_str(&row.details).map_err(|_| StoreError::Unreadable("a row of the audit log"))?,
                    request_id: row.request_id,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use people_domain::Timestamp;

    use super::first_id;
    use crate::ids::new_id;

    #[test]
    fn ids_of_a_time_are_not_before_its_first() {
        let at = Timestamp::from_micros(1_764_057_600_123_456).unwrap_or(Timestamp::MIN);
        assert!(first_id(at) <= new_id(at));
        let before = Timestamp::from_micros(1_764_057_600_122_999).unwrap_or(Timestamp::MIN);
        assert!(new_id(before) < first_id(at));
    }
}
