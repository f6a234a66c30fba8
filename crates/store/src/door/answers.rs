//! Answers under an `Idempotency-Key`: kept with the write they are of, in its transaction, and given again within a day.

use std::collections::{BTreeSet, HashMap};

use people_domain::{
    Code, Refusal, Timestamp,
    clock::Span,
    id::{ProfileId, WorkspaceId},
};
use sqlx::FromRow;

use super::{Job, Reply};
use crate::{
    StoreError, Tx,
    rows::{Kind, Rows},
    statement::sql,
};

/// How long an answer can be replayed.
pub(super) const REPLAY: i64 = 24 * 3_600;

/// The key of a request that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of method, path and body, hex.
    pub fingerprint: String,
}

/// An answer as it was given, to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    /// Names and values of the headers to repeat.
    pub headers: Vec<(String, String)>,
    /// `None` once a person in it was erased.
    pub body: Option<String>,
}

#[derive(FromRow)]
pub(super) struct Answered {
    key: String,
    fingerprint: String,
    status: i64,
    headers: String,
    body: Option<String>,
}

/// Removes what was answered under these keys before `expired`.
pub(super) async fn expire(tx: &mut Tx, workspace: WorkspaceId, expired: Timestamp, keys: Rows) -> Result<(), StoreError> {
    tx.run(
        sql("DELETE FROM idempotency_profiles
             WHERE workspace_id = $1 AND key IN (
                 SELECT a.key FROM {rows} AS r CROSS JOIN idempotency_answers AS a
                 WHERE a.workspace_id = $1 AND a.key = r.key AND a.created_at < $2
             )")
        .bind(workspace)
        .bind(expired)
        .rows(keys.clone()),
    )
    .await?;
    tx.run(
        sql("DELETE FROM idempotency_answers WHERE workspace_id = $1 AND created_at < $2 AND key IN (SELECT key FROM {rows} AS r)")
            .bind(workspace)
            .bind(expired)
            .rows(keys),
    )
    .await
    .map(|_| ())
}

/// What was answered before under these keys, within the time of replays.
pub(super) async fn stored_answers(
    tx: &mut Tx,
    workspace: WorkspaceId,
    keys: impl Iterator<Item = (&str, Timestamp)>,
) -> Result<HashMap<String, Answered>, StoreError> {
    let mut rows = Rows::new(&[("key", Kind::Text)]);
    let mut oldest = Timestamp::MAX;
    for (key, at) in keys {
        rows.push([key.into()]);
        oldest = oldest.min(at);
    }
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let expired = oldest.minus(Span::from_seconds(REPLAY));
    expire(tx, workspace, expired, rows.clone()).await?;
    let found: Vec<Answered> = tx
        .all(
            sql("SELECT a.key, a.fingerprint, a.status, a.headers{as_text} AS headers, a.body
                 FROM {rows} AS r CROSS JOIN idempotency_answers AS a WHERE a.workspace_id = $1 AND a.key = r.key")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    Ok(found.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// For writes that do not pass the door: what to answer instead of acting again.
pub(crate) async fn replayed(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<Result<StoredAnswer, Refusal>>, StoreError> {
    let stored = stored_answers(tx, workspace, std::iter::once((idempotency.key.as_str(), now))).await?;
    Ok(stored.get(&idempotency.key).map(|row| row.answer(idempotency)))
}

/// Keeps the answer of a write that did not pass the door.
pub(crate) async fn keep(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: Idempotency,
    answer: StoredAnswer,
    now: Timestamp,
) -> Result<(), StoreError> {
    keep_about(tx, workspace, idempotency, answer, BTreeSet::new(), now).await
}

/// Keeps an answer that speaks of people.
pub(crate) async fn keep_about(
    tx: &mut Tx,
    workspace: WorkspaceId,
    idempotency: Idempotency,
    answer: StoredAnswer,
    people: BTreeSet<ProfileId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    store_answers(tx, workspace, &[(idempotency, answer, people, now)]).await
}

impl Answered {
    /// The answer again; E: the key was used for another request.
    fn answer(&self, idempotency: &Idempotency) -> Result<StoredAnswer, Refusal> {
        if self.fingerprint != idempotency.fingerprint {
            return Err(Refusal::new(Code::IdempotencyMismatch, "This Idempotency-Key was used for a different request; use a new key."));
        }
        Ok(StoredAnswer {
            status: u16::try_from(self.status).unwrap_or(200),
            headers: serde_json::from_str(&self.headers).unwrap_or_default(),
            body: self.body.clone(),
        })
    }
}

pub(super) fn replay(job: &Job, stored: &HashMap<String, Answered>) -> Option<Reply> {
    let (idempotency, _) = job.idempotency.as_ref()?;
    let row = stored.get(&idempotency.key)?;
    Some(match row.answer(idempotency) {
        Ok(answer) => Reply::Replayed(answer),
        Err(refusal) => Reply::Refused(refusal),
    })
}

pub(super) async fn store_answers(
    tx: &mut Tx,
    workspace: WorkspaceId,
    answers: &[(Idempotency, StoredAnswer, BTreeSet<ProfileId>, Timestamp)],
) -> Result<(), StoreError> {
    if answers.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("key", Kind::Text),
        ("fingerprint", Kind::Text),
        ("status", Kind::Int),
        ("headers", Kind::Json),
        ("body", Kind::Text),
        ("created_at", Kind::Time),
    ]);
    let mut people = Rows::new(&[("profile_id", Kind::Uuid), ("key", Kind::Text)]);
    for (idempotency, answer, profiles, at) in answers {
        rows.push([
            idempotency.key.as_str().into(),
            idempotency.fingerprint.as_str().into(),
            i64::from(answer.status).into(),
            serde_json::to_string(&answer.headers).unwrap_or_default().into(),
            answer.body.clone().into(),
            (*at).into(),
        ]);
        for profile in profiles {
            people.push([(*profile).into(), idempotency.key.as_str().into()]);
        }
    }
    let wanted = rows.len();
    let added = tx
        .run(
            sql("INSERT INTO idempotency_answers (workspace_id, key, fingerprint, status, headers, body, created_at)
                 SELECT $1, r.key, r.fingerprint, r.status, r.headers, r.body, r.created_at FROM {rows} AS r WHERE true
                 ON CONFLICT DO NOTHING")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    // The same key came in through another instance and was first.
    if usize::try_from(added) != Ok(wanted) {
        return Err(StoreError::Raced);
    }
    if !people.is_empty() {
        tx.run(
            sql("INSERT INTO idempotency_profiles (workspace_id, profile_id, key)
                 SELECT $1, r.profile_id, r.key FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
            .bind(workspace)
            .rows(people),
        )
        .await?;
    }
    Ok(())
}
