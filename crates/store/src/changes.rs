//! The change feed: every change of a workspace in the order of commits. It is written by the door, last of all in each
//! transaction; here it is read, by people who keep a copy and by webhooks.
//!
//! Numbers are given under the lock of the feed's head, which is held until the commit: whoever reads on after a number
//! never passes over one that is committed later. After a time changes are taken out, the oldest first, and the head tells
//! up to where.

use std::collections::{BTreeSet, HashMap};

use people_domain::{
    Timestamp,
    change::{ERASED, MERGED, MERGED_INTO},
    id::WorkspaceId,
    merge::plan::FieldOutcome,
};
use sqlx::FromRow;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Store, StoreError, Tx, merges, profiles, rows::ids, statement::sql, time::At};

/// Changes taken out in one transaction.
const CHUNK: i64 = 2_000;

/// A row of the feed.
#[derive(Clone, Debug)]
pub struct Change {
    pub seq: i64,
    pub profile_id: Uuid,
    pub kind: String,
    pub version: i64,
    pub fields: Vec<String>,
    pub at: Timestamp,
    pub actor: String,
    pub request_id: String,
    pub record_id: Uuid,
}

impl Change {
    /// Whether its record is a merge.
    pub fn is_merge(&self) -> bool {
        self.kind == MERGED
    }
}

/// A change, and whom it is about where the reader is told so.
#[derive(Clone, Debug)]
pub struct Due {
    pub change: Change,
    /// The person as they are now; `None` when they are gone, or were not asked for.
    pub document: Option<String>,
    /// Who was merged into whom, where that is what happened; `None` also when it went with somebody who was erased.
    pub merge: Option<MergeOf>,
}

/// Of the record of a merge: its id, both people's, and what became of each field.
#[derive(Clone, Debug)]
pub struct MergeOf {
    pub id: Uuid,
    pub primary_id: Uuid,
    pub secondary_id: Uuid,
    pub fields: Vec<FieldOutcome>,
}

/// Part of the feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    pub changes: Vec<Due>,
    /// Number of the last change looked at: where to read on.
    pub seen: i64,
    pub has_more: bool,
}

#[derive(FromRow)]
struct Stored {
    seq: i64,
    profile_id: Uuid,
    kind: String,
    version: i64,
    fields: String,
    at: At,
    actor: String,
    request_id: String,
    record_id: Uuid,
}

impl From<Stored> for Change {
    fn from(row: Stored) -> Self {
        Self {
            seq: row.seq,
            profile_id: row.profile_id,
            kind: row.kind,
            version: row.version,
            fields: serde_json::from_str(&row.fields).unwrap_or_default(),
            at: row.at.0,
            actor: row.actor,
            request_id: row.request_id,
            record_id: row.record_id,
        }
    }
}

/// The next rows after a number, in order: a walk of the primary key.
pub(crate) async fn after(tx: &mut Tx, workspace: WorkspaceId, seq: i64, limit: i64) -> Result<Vec<Change>, StoreError> {
    let rows: Vec<Stored> = tx
        .all(
            sql("SELECT seq, profile_id, kind, version, fields{as_text} AS fields, at, actor, request_id, record_id FROM changes
                 WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
            .bind(workspace)
            .bind(seq)
            .bind(limit),
        )
        .await?;
    Ok(rows.into_iter().map(Change::from).collect())
}

/// The changes of these rows that are told outside. The second row of a merge is not, unless the merge's record went with
/// somebody who was erased: nothing else says then that the merged id, which leads to somebody erased, is nobody's.
pub(crate) async fn told(tx: &mut Tx, workspace: WorkspaceId, mut rows: Vec<Change>) -> Result<Vec<Change>, StoreError> {
    let second: BTreeSet<Uuid> = rows.iter().filter(|row| row.kind == MERGED_INTO).map(|row| row.record_id).collect();
    if second.is_empty() {
        return Ok(rows);
    }
    let kept: Vec<(Uuid,)> =
        tx.all(sql("SELECT id FROM merges WHERE workspace_id = $1 AND id {among}").bind(workspace).rows(ids(second))).await?;
    let kept: BTreeSet<Uuid> = kept.into_iter().map(|(id,)| id).collect();
    let lost: BTreeSet<Uuid> =
        rows.iter().filter(|row| row.kind == MERGED_INTO && !kept.contains(&row.record_id)).map(|row| row.profile_id).collect();
    // Somebody who came back from the merge before the other was erased leads nowhere.
    let redirected = if lost.is_empty() { Vec::new() } else { profiles::redirects(tx, workspace, lost).await? };
    let redirected: BTreeSet<Uuid> = redirected.into_iter().map(|(id, _)| id).collect();
    rows.retain_mut(|row| {
        if row.kind != MERGED_INTO {
            return true;
        }
        ERASED.clone_into(&mut row.kind);
        !kept.contains(&row.record_id) && redirected.contains(&row.profile_id)
    });
    Ok(rows)
}

/// One change with its person, for a delivery that is sent again.
pub(crate) async fn one(tx: &mut Tx, workspace: WorkspaceId, seq: i64) -> Result<Option<Due>, StoreError> {
    let found = after(tx, workspace, seq - 1, 1).await?;
    let found: Vec<Change> = found.into_iter().filter(|change| change.seq == seq).collect();
    let found = told(tx, workspace, found).await?;
    Ok(whole(tx, workspace, true, found).await?.pop())
}

/// Changes with what is told beside them, in two statements at most.
pub(crate) async fn whole(tx: &mut Tx, workspace: WorkspaceId, with_people: bool, changes: Vec<Change>) -> Result<Vec<Due>, StoreError> {
    let people: BTreeSet<Uuid> = changes.iter().filter(|_| with_people).map(|change| change.profile_id).collect();
    let found = if people.is_empty() { Vec::new() } else { profiles::documents(tx, workspace, people).await? };
    let documents: HashMap<Uuid, String> = found.into_iter().map(|row| (row.profile_id, row.document)).collect();
    let records: BTreeSet<Uuid> = changes.iter().filter(|change| change.is_merge()).map(|change| change.record_id).collect();
    let found = if records.is_empty() { Vec::new() } else { merges::among(tx, workspace, records).await? };
    let merges: HashMap<Uuid, MergeOf> = found
        .into_iter()
        .map(|row| (row.id.0, MergeOf { id: row.id.0, primary_id: row.primary_id.0, secondary_id: row.secondary_id.0, fields: row.fields }))
        .collect();
    let due = |change: Change| Due {
        document: documents.get(&change.profile_id).cloned(),
        merge: merges.get(&change.record_id).filter(|_| change.is_merge()).cloned(),
        change,
    };
    Ok(changes.into_iter().map(due).collect())
}

/// One chunk. `false`: there is no more to take out. What the look-out for duplicates or an endpoint that is enabled has
/// still to come to stays; none is enabled meanwhile, since that takes the head as well.
async fn forget(tx: &mut Tx, workspace: WorkspaceId, before: Timestamp) -> Result<bool, StoreError> {
    hold(tx, workspace).await?;
    let followed: Option<(Option<i64>, Option<i64>)> = tx
        .optional(
            sql("SELECT (SELECT min(seq) FROM duplicate_cursors WHERE workspace_id = $1) AS looked_at,
                        (SELECT min(seq) FROM webhooks WHERE workspace_id = $1 AND disabled_reason IS NULL) AS delivered")
            .bind(workspace),
        )
        .await?;
    let last = followed.into_iter().flat_map(|(looked_at, delivered)| [looked_at, delivered]).flatten().min().unwrap_or(i64::MAX);
    let (_, from) = ends(tx, workspace).await?;
    let rows: Vec<(i64, At)> = tx
        .all(
            sql("SELECT seq, at FROM changes WHERE workspace_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4")
                .bind(workspace)
                .bind(from)
                .bind(last)
                .bind(CHUNK),
        )
        .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == CHUNK);
    let old: Vec<i64> = rows.into_iter().take_while(|(_, at)| at.0 < before).map(|(seq, _)| seq).collect();
    let Some(to) = old.last().copied() else { return Ok(false) };
    let gone = sql("DELETE FROM changes WHERE workspace_id = $1 AND seq > $2 AND seq <= $3").bind(workspace).bind(from).bind(to);
    tx.run(gone).await?;
    tx.run(sql("UPDATE change_heads SET kept_from = $2 WHERE workspace_id = $1 AND kept_from < $2").bind(workspace).bind(to)).await?;
    Ok(full && i64::try_from(old.len()).is_ok_and(|count| count == CHUNK))
}

/// Keeps the feed as it is until this transaction ends: nothing is added, nothing is taken out.
pub(crate) async fn hold(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.optional::<(i64,)>(sql("SELECT seq FROM change_heads WHERE workspace_id = $1 {for_update}").bind(workspace)).await.map(|_| ())
}

/// The number of the newest change, and the one up to which they are gone.
async fn ends(tx: &mut Tx, workspace: WorkspaceId) -> Result<(i64, i64), StoreError> {
    let row: Option<(i64, i64)> =
        tx.optional(sql("SELECT seq, kept_from FROM change_heads WHERE workspace_id = $1").bind(workspace)).await?;
    row.ok_or(StoreError::Unreadable("the head of a change feed"))
}

impl Store {
    /// The next changes after a number, `limit` at most; of none, after what is gone. `None`: some after it are gone, or it
    /// was never given here, as after an older backup was put in place.
    pub async fn changes(
        &self,
        workspace: WorkspaceId,
        place: Option<i64>,
        limit: i64,
        with_people: bool,
    ) -> Result<Option<FeedPage>, StoreError> {
        self.read_settled(move |tx| {
            Box::pin(async move {
                let mut seq = match place {
                    Some(seq) => seq,
                    None => ends(tx, workspace).await?.1,
                };
                let mut rows = after(tx, workspace, seq, limit + 1).await?;
                // Looked at after the rows, so that none can go in between.
                let (mut newest, mut kept) = ends(tx, workspace).await?;
                while kept > seq || seq > newest {
                    if place.is_some() {
                        return Ok(None);
                    }
                    seq = kept;
                    rows = after(tx, workspace, seq, limit + 1).await?;
                    (newest, kept) = ends(tx, workspace).await?;
                }
                let limit = usize::try_from(limit).unwrap_or(1);
                let has_more = rows.len() > limit;
                rows.truncate(limit);
                let seen = rows.last().map_or(seq, |last| last.seq);
                let rows = told(tx, workspace, rows).await?;
                Ok(Some(FeedPage { changes: whole(tx, workspace, with_people, rows).await?, seen, has_more }))
            })
        })
        .await
    }

    /// Number of the newest change.
    pub async fn last_change(&self, workspace: WorkspaceId) -> Result<i64, StoreError> {
        let head: Option<(i64,)> = self.pools.one(sql("SELECT seq FROM change_heads WHERE workspace_id = $1").bind(workspace)).await?;
        self.pools.settle().await?;
        head.map(|(seq,)| seq).ok_or(StoreError::Unreadable("the head of a change feed"))
    }

    /// Takes changes out that are older than they are kept for, a chunk of each workspace after the other.
    pub(crate) async fn forget_changes(&self) -> Result<(), StoreError> {
        let before = self.now().minus(self.changes_kept);
        let due: Vec<(Uuid,)> = self
            .pools
            .all(
                // In this order: SQLite would read the feeds whole.
                sql("SELECT h.workspace_id FROM change_heads AS h CROSS JOIN changes AS c
                     WHERE c.workspace_id = h.workspace_id AND c.seq = h.kept_from + 1 AND c.at < $1")
                .bind(before),
            )
            .await?;
        for (workspace,) in due {
            while self.write(move |tx| Box::pin(forget(tx, WorkspaceId(workspace), before))).await? {}
        }
        Ok(())
    }

    /// Turns when something may have been written by this process. What others write is seen by looking.
    pub fn feed_moved(&self) -> watch::Receiver<()> {
        self.keeper.moved()
    }
}
