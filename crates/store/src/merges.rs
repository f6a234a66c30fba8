//! Merges as they are read: the record, the list of a person, and what a preview needs. They are written through the
//! door.

use std::collections::BTreeMap;

use people_domain::{
    Code, Refusal, Timestamp,
    id::{ProfileId, RecordId, WorkspaceId},
    merge::{
        self, Keep, Side,
        plan::{self, FieldOutcome, Plan},
        revert::{Left, Record},
    },
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Store, StoreError, Tx, door, living, profiles, properties, statement::sql, time::At};

/// A merge as it was carried out, and whether it was taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub id: RecordId,
    pub primary_id: ProfileId,
    pub secondary_id: ProfileId,
    /// Who answers for the primary's id today.
    pub survivor_id: ProfileId,
    pub automatic: bool,
    pub keep: Keep,
    pub fields: Vec<FieldOutcome>,
    pub moved: Moves,
    pub merged_at: Timestamp,
    pub actor: String,
    pub request_id: String,
    pub reason: Option<String>,
    pub reverted: Option<TakenBack>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TakenBack {
    pub at: Timestamp,
    pub actor: String,
    pub left: Vec<Left>,
}

/// Rows that go over with the secondary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Moves {
    pub events: i64,
    pub sessions: i64,
    pub segments: i64,
    pub labels: i64,
    pub identities: i64,
    /// Decisions of the ledger.
    pub consents: i64,
}

/// The two a preview is about, as they are, and what the merge would make of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Previewed {
    pub primary: Profile,
    pub secondary: Profile,
    pub plan: Plan,
    pub moves: Moves,
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    profile_id: Uuid,
    primary_id: Uuid,
    secondary_id: Uuid,
    automatic: bool,
    keep: String,
    primary_before: String,
    secondary_before: String,
    judged: Option<String>,
    moved: String,
    merged_at: At,
    actor: String,
    request_id: String,
    reason: Option<String>,
    reverted_at: Option<At>,
    reverted_by: Option<String>,
    primary_heard_at: Option<At>,
    secondary_heard_at: Option<At>,
    conflicts: Option<String>,
}

/// Whole rows of merges.
macro_rules! merges {
    ($which:literal) => {
        concat!(
            "SELECT id, profile_id, primary_id, secondary_id, automatic, keep{as_text} AS keep, primary_before{as_text} AS primary_before,
                    secondary_before{as_text} AS secondary_before, judged{as_text} AS judged, moved{as_text} AS moved, merged_at, actor,
                    request_id, reason, reverted_at, reverted_by, primary_heard_at, secondary_heard_at, conflicts{as_text} AS conflicts
             FROM merges ",
            $which
        )
    };
}

const UNREADABLE: StoreError = StoreError::Unreadable("a merge");

impl Stored {
    fn record(&self) -> Result<Record, StoreError> {
        let read = |document: &str, heard: &Option<At>| {
            let mut profile: Profile = serde_json::from_str(document).map_err(|_| UNREADABLE)?;
            profile.activity.heard = heard.as_ref().map(|at| at.0);
            Ok::<_, StoreError>(profile)
        };
        Ok(Record {
            id: RecordId(self.id),
            primary_id: ProfileId(self.primary_id),
            secondary_id: ProfileId(self.secondary_id),
            holder: ProfileId(self.profile_id),
            primary: read(&self.primary_before, &self.primary_heard_at)?,
            secondary: read(&self.secondary_before, &self.secondary_heard_at)?,
            keep: serde_json::from_str(&self.keep).map_err(|_| UNREADABLE)?,
            judged: self.judged.as_deref().map(serde_json::from_str).transpose().map_err(|_| UNREADABLE)?,
            reverted: self.reverted_at.is_some(),
        })
    }

    fn read(self) -> Result<Merged, StoreError> {
        let record = self.record()?;
        let left = self.conflicts.as_deref().map_or(Ok(Vec::new()), serde_json::from_str).map_err(|_| UNREADABLE)?;
        Ok(Merged {
            id: record.id,
            primary_id: record.primary_id,
            secondary_id: record.secondary_id,
            survivor_id: record.holder,
            automatic: self.automatic,
            fields: plan::told(&record.primary, &record.secondary, &record.keep, record.judged.as_ref()),
            keep: record.keep,
            moved: serde_json::from_str(&self.moved).map_err(|_| UNREADABLE)?,
            merged_at: self.merged_at.0,
            actor: self.actor,
            request_id: self.request_id,
            reason: self.reason,
            reverted: self.reverted_at.map(|at| TakenBack { at: at.0, actor: self.reverted_by.unwrap_or_default(), left }),
        })
    }
}

async fn stored(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<Option<Stored>, StoreError> {
    tx.optional(sql(merges!("WHERE workspace_id = $1 AND id = $2")).bind(workspace).bind(id)).await
}

/// Several merges, as they are told.
pub(crate) async fn among(tx: &mut Tx, workspace: WorkspaceId, merges: impl IntoIterator<Item = Uuid>) -> Result<Vec<Merged>, StoreError> {
    let rows: Vec<Stored> =
        tx.all(sql(merges!("WHERE workspace_id = $1 AND id {among}")).bind(workspace).rows(crate::rows::ids(merges))).await?;
    rows.into_iter().map(Stored::read).collect()
}

/// One merge, as it can be taken back.
pub(crate) async fn record(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<Option<Record>, StoreError> {
    stored(tx, workspace, id).await?.map(|row| row.record()).transpose()
}

/// One merge, as it is told.
pub(crate) async fn merged(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<Option<Merged>, StoreError> {
    stored(tx, workspace, id).await?.map(Stored::read).transpose()
}

/// Merges into the same primary after this one, the oldest first, without those taken back.
pub(crate) async fn later(tx: &mut Tx, workspace: WorkspaceId, than: &Record) -> Result<Vec<Record>, StoreError> {
    let rows: Vec<Stored> = tx
        .all(
            sql(merges!(
                "WHERE workspace_id = $1 AND profile_id = $2 AND id > $3 AND primary_id = $2 AND reverted_at IS NULL
                 ORDER BY id"
            ))
            .bind(workspace)
            .bind(than.primary_id)
            .bind(than.id),
        )
        .await?;
    rows.iter().map(Stored::record).collect()
}

/// Whether the record went with somebody who was erased.
pub(crate) async fn is_erased(tx: &mut Tx, workspace: WorkspaceId, id: RecordId) -> Result<bool, StoreError> {
    let found: Option<(Uuid,)> =
        tx.optional(sql("SELECT id FROM merges_erased WHERE workspace_id = $1 AND id = $2").bind(workspace).bind(id)).await?;
    Ok(found.is_some())
}

/// The person an id answers with. E: 404, or 410.
async fn answering(tx: &mut Tx, workspace: WorkspaceId, id: ProfileId) -> Result<Profile, StoreError> {
    let mut who = id;
    let mut found = profiles::whole(tx, workspace, [who.0], false).await?;
    if found.is_empty()
        && let Some((_, survivor)) = profiles::redirects(tx, workspace, [who.0]).await?.pop()
    {
        who = ProfileId(survivor);
        found = profiles::whole(tx, workspace, [who.0], false).await?;
    }
    if let Some(profile) = found.pop() {
        return Ok(profile);
    }
    let erased: Option<(Uuid,)> =
        tx.optional(sql("SELECT id FROM erasures WHERE workspace_id = $1 AND profile_id = $2").bind(workspace).bind(who)).await?;
    Err(match erased {
        Some(_) => Refusal::new(Code::ProfileErased, "This person was erased; nothing of them is kept."),
        None => Refusal::new(Code::NotFound, "There is no profile with this id."),
    }
    .into())
}

#[derive(FromRow)]
struct Counted {
    what: String,
    rows: i64,
}

impl Store {
    /// What a merge of these two would come to. E: one of them is nobody, erased, or the other; a choice that cannot be made.
    pub async fn preview_merge(
        &self,
        workspace: WorkspaceId,
        primary: ProfileId,
        secondary: ProfileId,
        keep: Keep,
    ) -> Result<Previewed, StoreError> {
        let now = self.now();
        self.read(move |tx| {
            let keep = keep.clone();
            Box::pin(async move {
                let first = answering(tx, workspace, primary).await?;
                let second = answering(tx, workspace, secondary).await?;
                if first.id == second.id {
                    return Err(merge::one_person(primary == secondary).into());
                }
                for (asked, found, side) in [(primary, first.id, Side::Primary), (secondary, second.id, Side::Secondary)] {
                    if asked != found {
                        return Err(merge::merged_away(side, found).into());
                    }
                }
                let rows: Vec<Counted> = tx
                    .all(
                        sql("SELECT 'events' AS what, count(*) AS rows FROM events WHERE workspace_id = $1 AND profile_id = $2
                             UNION ALL
                             SELECT 'sessions' AS what, count(*) AS rows FROM sessions WHERE workspace_id = $1 AND profile_id = $2
                             UNION ALL
                             SELECT 'consents' AS what, count(*) AS rows FROM consent_ledger WHERE workspace_id = $1 AND profile_id = $2")
                        .bind(workspace)
                        .bind(second.id),
                    )
                    .await?;
                let counts: BTreeMap<String, i64> = rows.into_iter().map(|row| (row.what, row.rows)).collect();
                let of = |what: &str| counts.get(what).copied().unwrap_or(0);
                let size = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
                let moves = Moves {
                    events: of("events"),
                    sessions: of("sessions"),
                    segments: size(second.segments.len()),
                    labels: size(second.labels.len()),
                    identities: size(second.identities.len()),
                    consents: of("consents"),
                };
                let mut plan = plan::plan(&first, &second, &keep)?;
                let properties = properties::load(tx, workspace).await?;
                let living = living::load(tx, workspace, &properties).await?;
                if !living.is_empty() {
                    let judged = door::foresee(tx, workspace, &living, &plan.result, second.id, now).await?;
                    plan = plan.judged(&first, &second, &judged);
                }
                Ok(Previewed { primary: first, secondary: second, plan, moves })
            })
        })
        .await
    }

    /// One merge. E: 404; 410 when its record went with somebody who was erased.
    pub async fn merged(&self, workspace: WorkspaceId, id: RecordId) -> Result<Merged, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                match merged(tx, workspace, id).await? {
                    Some(merged) => Ok(merged),
                    None if is_erased(tx, workspace, id).await? => {
                        Err(Refusal::new(Code::ProfileErased, "One of the two was erased; nothing of the merge is kept.").into())
                    }
                    None => Err(Refusal::new(Code::NotFound, "There is no merge with this id.").into()),
                }
            })
        })
        .await
    }

    /// Merges a person survived, or came back from, made before `before`; newest first.
    pub async fn merges_of(
        &self,
        workspace: WorkspaceId,
        profile: ProfileId,
        before: Option<RecordId>,
        limit: i64,
    ) -> Result<Vec<Merged>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<Stored> = tx
                    .all(
                        sql(merges!(
                            "WHERE workspace_id = $1 AND (profile_id = $2 OR returned_profile_id = $2) AND id < $3
                             ORDER BY id DESC LIMIT $4"
                        ))
                        .bind(workspace)
                        .bind(profile)
                        .bind(before.map_or(Uuid::max(), |id| id.0))
                        .bind(limit),
                    )
                    .await?;
                rows.into_iter().map(Stored::read).collect()
            })
        })
        .await
    }
}
