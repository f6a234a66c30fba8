//! Duplicates: pairs that may be one person, as they are listed and dismissed.
//!
//! `follow` looks for them beside the writes, along the change feed; `scan` goes over everyone; `named` suggests those whom
//! one message named together, in its transaction. Whoever asks lets the look-out come up to date first. A person who changes
//! while they are judged stands further down the feed, and is judged again.

mod follow;
mod named;
mod scan;
mod suggestions;

pub(crate) use follow::LookOut;
pub(crate) use named::Named;
pub use scan::{DUPLICATE_SCAN, DuplicateScan};
pub(crate) use suggestions::{Dismissal, carry, part};

use std::{collections::HashMap, sync::Arc};

use people_domain::{
    Refusal, Timestamp,
    duplicate::{Frequencies, Reason, TENTHS},
    id::{ProfileId, RecordId, WorkspaceId},
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Idempotency, Store, StoreError, StoredAnswer, Tx, door, profiles, statement::sql, time::At, workspaces};

/// Whether a pair waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuggestionStatus {
    Open,
    Dismissed,
}

impl SuggestionStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Dismissed => "dismissed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Dismissed].into_iter().find(|status| status.as_str() == text)
    }
}

/// Two people who may be one.
#[derive(Clone, Debug)]
pub struct Suggestion {
    pub id: RecordId,
    /// The older one first.
    pub profiles: [Profile; 2],
    /// In tenths of a point: the sum of the reasons.
    pub score: i64,
    pub reasons: Vec<Reason>,
    pub status: SuggestionStatus,
    pub found_at: Timestamp,
    pub dismissed_at: Option<Timestamp>,
    pub dismissed_by: Option<String>,
}

/// A page of suggestions, best first.
#[derive(Clone, Debug)]
pub struct SuggestionPage {
    pub status: SuggestionStatus,
    /// Only pairs with this person.
    pub profile: Option<ProfileId>,
    /// Score and id of the last one seen.
    pub after: Option<(i64, RecordId)>,
    pub limit: i64,
    pub count: bool,
}

/// What became of a dismissal.
#[derive(Clone, Debug)]
pub enum Dismissed {
    Now(Box<Suggestion>),
    /// The same request had been carried out: its answer.
    Before(StoredAnswer),
    /// The idempotency key had been used for another request.
    Refused(Refusal),
    NotFound,
}

/// Writes the answer that is kept for a retry.
pub type RenderSuggestion = Arc<dyn Fn(&Suggestion) -> StoredAnswer + Send + Sync>;

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    profile_id: Uuid,
    other_profile_id: Uuid,
    score: i64,
    reasons: String,
    status: String,
    found_at: At,
    dismissed_at: Option<At>,
    dismissed_by: Option<String>,
}

/// Fetches the people of suggestions: one statement.
async fn whole(tx: &mut Tx, workspace: WorkspaceId, rows: Vec<Stored>) -> Result<Vec<Suggestion>, StoreError> {
    let ids = rows.iter().flat_map(|row| [row.profile_id, row.other_profile_id]).collect();
    let people = people(tx, workspace, ids).await?;
    rows.into_iter()
        .map(|row| {
            let one = |id: &Uuid| people.get(id).cloned().ok_or(StoreError::Raced);
            Ok(Suggestion {
                id: RecordId(row.id),
                profiles: [one(&row.profile_id)?, one(&row.other_profile_id)?],
                score: row.score,
                reasons: serde_json::from_str(&row.reasons).map_err(|_| StoreError::Unreadable("the reasons of a suggestion"))?,
                status: SuggestionStatus::parse(&row.status).ok_or(StoreError::Unreadable("the status of a suggestion"))?,
                found_at: row.found_at.0,
                dismissed_at: row.dismissed_at.map(|at| at.0),
                dismissed_by: row.dismissed_by,
            })
        })
        .collect()
}

/// People by id; who is gone is left out.
async fn people(tx: &mut Tx, workspace: WorkspaceId, mut ids: Vec<Uuid>) -> Result<HashMap<Uuid, Profile>, StoreError> {
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let documents = profiles::documents(tx, workspace, ids).await?;
    documents
        .into_iter()
        .map(|row| {
            let profile = serde_json::from_str(&row.document).map_err(|_| StoreError::Unreadable("a profile's document"))?;
            Ok((row.profile_id, profile))
        })
        .collect()
}

/// What the last census counted.
async fn frequencies(tx: &mut Tx, workspace: WorkspaceId) -> Result<Frequencies, StoreError> {
    let row: Option<(String,)> = tx
        .optional(sql("SELECT frequencies{as_text} AS frequencies FROM duplicate_censuses WHERE workspace_id = $1").bind(workspace))
        .await?;
    match row {
        Some((text,)) => serde_json::from_str(&text).map_err(|_| StoreError::Unreadable("a census")),
        None => Ok(Frequencies::default()),
    }
}

impl Store {
    /// Suggestions, and how many there are in all when that was asked.
    pub async fn duplicates(&self, workspace: WorkspaceId, page: SuggestionPage) -> Result<(Vec<Suggestion>, Option<i64>), StoreError> {
        self.come_up_to_date(workspace).await?;
        self.read(move |tx| {
            Box::pin(async move {
                let settings = workspaces::read(tx, workspace).await?.ok_or(StoreError::Unreadable("a workspace"))?;
                let least = match page.status {
                    SuggestionStatus::Open => settings.workspace.duplicate_threshold * TENTHS,
                    // What was dismissed stays to be seen, whatever is asked of new pairs.
                    SuggestionStatus::Dismissed => i64::MIN,
                };
                let (score, id) = page.after.map_or((i64::MAX, Uuid::max()), |(score, id)| (score, id.0));
                let columns = "SELECT id, profile_id, other_profile_id, score, reasons{as_text} AS reasons, status, found_at, dismissed_at, dismissed_by
                     FROM duplicate_suggestions";
                let rows = match page.profile {
                    None => {
                        sql_of(columns, "WHERE workspace_id = $1 AND status = $2 AND score >= $3 AND (score, id) < ($4, $5)
                              ORDER BY score DESC, id DESC LIMIT $6")
                    }
                    Some(_) => {
                        sql_of(columns, "WHERE workspace_id = $1 AND status = $2 AND score >= $3 AND (score, id) < ($4, $5)
                              AND id IN (
                                  SELECT id FROM duplicate_suggestions WHERE workspace_id = $1 AND profile_id = $7
                                  UNION ALL SELECT id FROM duplicate_suggestions WHERE workspace_id = $1 AND other_profile_id = $7
                              )
                              ORDER BY score DESC, id DESC LIMIT $6")
                    }
                };
                let rows = rows.bind(workspace).bind(page.status.as_str()).bind(least).bind(score).bind(id).bind(page.limit);
                let rows = match page.profile {
                    None => rows,
                    Some(profile) => rows.bind(profile),
                };
                let rows: Vec<Stored> = tx.all(rows).await?;
                let total = match (page.count, page.profile) {
                    (false, _) => None,
                    (true, None) => {
                        tx.optional::<(i64,)>(
                            sql("SELECT count(*) AS total FROM duplicate_suggestions WHERE workspace_id = $1 AND status = $2 AND score >= $3")
                                .bind(workspace)
                                .bind(page.status.as_str())
                                .bind(least),
                        )
                        .await?
                    }
                    (true, Some(profile)) => {
                        tx.optional::<(i64,)>(
                            sql("SELECT count(*) AS total FROM duplicate_suggestions
                                 WHERE workspace_id = $1 AND status = $2 AND score >= $3
                                   AND id IN (
                                       SELECT id FROM duplicate_suggestions WHERE workspace_id = $1 AND profile_id = $4
                                       UNION ALL SELECT id FROM duplicate_suggestions WHERE workspace_id = $1 AND other_profile_id = $4
                                   )")
                            .bind(workspace)
                            .bind(page.status.as_str())
                            .bind(least)
                            .bind(profile),
                        )
                        .await?
                    }
                };
                Ok((whole(tx, workspace, rows).await?, total.map(|(total,)| total)))
            })
        })
        .await
    }

    /// Decides that two people are two, for good. Doing it again changes nothing.
    pub async fn dismiss_duplicate(
        &self,
        workspace: WorkspaceId,
        id: RecordId,
        actor: String,
        answer: Option<(Idempotency, RenderSuggestion)>,
    ) -> Result<Dismissed, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (actor, answer) = (actor.clone(), answer.clone());
            Box::pin(async move {
                if let Some((idempotency, _)) = &answer
                    && let Some(before) = door::replayed(tx, workspace, idempotency, now).await?
                {
                    return Ok(before.map_or_else(Dismissed::Refused, Dismissed::Before));
                }
                tx.run(
                    sql("UPDATE duplicate_suggestions SET status = 'dismissed', dismissed_at = $3, dismissed_by = $4
                         WHERE workspace_id = $1 AND id = $2 AND status = 'open'")
                    .bind(workspace)
                    .bind(id)
                    .bind(now)
                    .bind(actor),
                )
                .await?;
                let row: Option<Stored> = tx
                    .optional(
                        sql("SELECT id, profile_id, other_profile_id, score, reasons{as_text} AS reasons, status, found_at, dismissed_at, dismissed_by
                             FROM duplicate_suggestions WHERE workspace_id = $1 AND id = $2")
                        .bind(workspace)
                        .bind(id),
                    )
                    .await?;
                let Some(suggestion) = whole(tx, workspace, row.into_iter().collect()).await?.pop() else { return Ok(Dismissed::NotFound) };
                if let Some((idempotency, render)) = answer {
                    let people = suggestion.profiles.iter().map(|profile| profile.id).collect();
                    door::keep_about(tx, workspace, idempotency, render(&suggestion), people, now).await?;
                }
                Ok(Dismissed::Now(Box::new(suggestion)))
            })
        })
        .await
    }
}

/// Two static pieces as one text.
fn sql_of(columns: &'static str, rest: &'static str) -> crate::statement::Sql {
    crate::statement::Sql::composed(format!("{columns} {rest}"), Vec::new())
}
