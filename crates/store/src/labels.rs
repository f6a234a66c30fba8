//! Labels: the catalogue, and what one person carries. They are put on and taken off through the door.
//!
//! A label that is renamed or removed while people carry it is *going*: a job changes them, some hundred a step, and takes
//! the label from the catalogue when nobody carries it any more. Meanwhile it cannot be put on anybody: every batch of
//! writes knows the labels that are going, since each change of them raises the version that the door checks by. A renamed
//! label stands under its new name at once. When the job ends otherwise (cancelled, failed), the label is an ordinary one
//! again.

use std::sync::Arc;

use people_domain::{
    Timestamp,
    directory::Cause,
    id::{ProfileId, RecordId, WorkspaceId},
    label::Going,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Act, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, door,
    jobs::{self, Job, Lease, NewJob, Progress},
    living,
    properties::{hold_workspace, raise_version},
    statement::{Sql, sql},
    time::At,
};

/// The kind of the job that renames a label.
pub const LABEL_RENAME: &str = "label_rename";
/// The kind of the job that removes one.
pub const LABEL_REMOVAL: &str = "label_removal";

/// A label of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    /// `#rrggbb`.
    pub color: Option<String>,
    pub description: Option<String>,
    pub created_at: Timestamp,
    /// The job that renames or removes it.
    pub job: Option<RecordId>,
    /// What it becomes, when it is renamed.
    pub becomes: Option<String>,
}

/// Changes of a label; `None` keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelChange {
    pub name: Option<String>,
    pub color: Option<Option<String>>,
    pub description: Option<Option<String>>,
}

impl LabelChange {
    /// What is given a value.
    fn fields(&self) -> Vec<&'static str> {
        let given = [("name", self.name.is_some()), ("color", self.color.is_some()), ("description", self.description.is_some())];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// When a label came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelMade {
    Now,
    /// The same request had been carried out: its answer.
    Before(StoredAnswer),
}

/// What became of a change of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelDone {
    /// Nobody had to be changed; `None`: it is removed.
    Now(Option<Label>),
    /// A job changes those who carry it.
    Later(Box<Job>),
}

/// Why the catalogue stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRefusal {
    NotFound,
    Exists,
    /// It is being renamed or removed, or another is being renamed to it.
    Going,
    /// By what.
    InUse(Vec<String>),
}

/// What the job of a label that goes is asked to do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct GoingLabel {
    pub from: String,
    /// `None`: it is removed.
    pub to: Option<String>,
}

/// A label on a person, and who put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub name: String,
    /// `manual` or `rule`.
    pub source: String,
    pub rule_id: Option<Uuid>,
    pub actor: String,
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Stored {
    name: String,
    color: Option<String>,
    description: Option<String>,
    created_at: At,
    job_id: Option<Uuid>,
    becomes: Option<String>,
}

impl From<Stored> for Label {
    fn from(row: Stored) -> Self {
        Self {
            name: row.name,
            color: row.color,
            description: row.description,
            created_at: row.created_at.0,
            job: row.job_id.map(RecordId),
            becomes: row.becomes,
        }
    }
}

#[derive(FromRow)]
struct StoredCarried {
    label: String,
    source: String,
    rule_id: Option<Uuid>,
    actor: String,
    created_at: At,
}

fn selected(text: &str) -> Sql {
    Sql::composed(format!("SELECT name, color, description, created_at, job_id, becomes FROM labels {text}"), Vec::new())
}

async fn load(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<Option<Label>, StoreError> {
    let row: Option<Stored> = tx.optional(selected("WHERE workspace_id = $1 AND name = $2").bind(workspace).bind(name)).await?;
    Ok(row.map(Into::into))
}

async fn insert(tx: &mut Tx, workspace: WorkspaceId, label: &Label) -> Result<(), StoreError> {
    tx.run(
        sql("INSERT INTO labels (workspace_id, name, color, description, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(workspace)
            .bind(label.name.as_str())
            .bind(label.color.as_deref())
            .bind(label.description.as_deref())
            .bind(label.created_at),
    )
    .await
    .map(|_| ())
}

/// Sees to it that a label is in the catalogue.
pub(crate) async fn keep(tx: &mut Tx, workspace: WorkspaceId, name: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.run(
        sql("INSERT INTO labels (workspace_id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(workspace)
            .bind(name)
            .bind(at),
    )
    .await
    .map(|_| ())
}

async fn delete(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<(), StoreError> {
    tx.run(sql("DELETE FROM labels WHERE workspace_id = $1 AND name = $2").bind(workspace).bind(name)).await.map(|_| ())
}

async fn carriers(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<i64, StoreError> {
    let row: Option<(i64,)> =
        tx.optional(sql("SELECT count(*) FROM profile_labels WHERE workspace_id = $1 AND label = $2").bind(workspace).bind(name)).await?;
    Ok(row.map_or(0, |(n,)| n))
}

/// What reads or puts on a label and would be wrong without it: it must not be renamed or removed.
async fn label_uses(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<Vec<String>, StoreError> {
    let mut uses = living::makers(tx, workspace, name).await?;
    uses.extend(living::readers(tx, workspace, "labels", Some(name)).await?);
    Ok(uses)
}

/// The labels that are going, for the door.
pub(crate) async fn going(tx: &mut Tx, workspace: WorkspaceId) -> Result<Going, StoreError> {
    let rows: Vec<(String, Option<String>)> =
        tx.all(sql("SELECT name, becomes FROM labels WHERE workspace_id = $1 AND job_id IS NOT NULL").bind(workspace)).await?;
    Ok(rows.into_iter().collect())
}

/// A job that ended has no label going any more.
pub(crate) async fn let_go(tx: &mut Tx, workspace: WorkspaceId, job: RecordId) -> Result<(), StoreError> {
    let let_go = tx
        .run(sql("UPDATE labels SET job_id = NULL, becomes = NULL WHERE workspace_id = $1 AND job_id = $2").bind(workspace).bind(job))
        .await?;
    if let_go > 0 { raise_version(tx, workspace).await } else { Ok(()) }
}

/// The label, if it may be renamed or removed.
async fn free(tx: &mut Tx, workspace: WorkspaceId, name: &str) -> Result<Result<Label, LabelRefusal>, StoreError> {
    let Some(label) = load(tx, workspace, name).await? else { return Ok(Err(LabelRefusal::NotFound)) };
    if label.job.is_some() || going(tx, workspace).await?.values().flatten().any(|becomes| becomes == name) {
        return Ok(Err(LabelRefusal::Going));
    }
    let uses = label_uses(tx, workspace, name).await?;
    Ok(if uses.is_empty() { Ok(label) } else { Err(LabelRefusal::InUse(uses)) })
}

/// Gives a label to a job that takes it off everybody.
async fn send_off(tx: &mut Tx, new: NewJob, what: &GoingLabel) -> Result<Job, StoreError> {
    let details = match &what.to {
        Some(to) => json!({"label": what.from, "becomes": to}),
        None => json!({"label": what.from}),
    };
    let new = NewJob {
        kind: if what.to.is_some() { LABEL_RENAME } else { LABEL_REMOVAL },
        parameters: serde_json::to_value(what).map_err(|_| StoreError::Unreadable("a job's parameters"))?,
        details,
        ..new
    };
    tx.run(
        sql("UPDATE labels SET job_id = $3, becomes = $4 WHERE workspace_id = $1 AND name = $2")
            .bind(new.workspace)
            .bind(what.from.as_str())
            .bind(new.id)
            .bind(what.to.as_deref()),
    )
    .await?;
    raise_version(tx, new.workspace).await?;
    jobs::enqueue(tx, &new).await
}

impl Store {
    /// Puts a label in the catalogue. `answer` is kept under the request's key, to be given again.
    pub async fn make_label(
        &self,
        workspace: WorkspaceId,
        label: Label,
        cause: Arc<Cause>,
        answer: Option<(Idempotency, StoredAnswer)>,
    ) -> Result<Result<LabelMade, LabelRefusal>, StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (label, cause, answer) = (label.clone(), Arc::clone(&cause), answer.clone());
            Box::pin(async move {
                hold_workspace(tx, workspace).await?;
                if let Some((idempotency, _)) = &answer
                    && let Some(before) = door::replayed(tx, workspace, idempotency, now).await?
                {
                    return Ok(Ok(LabelMade::Before(before?)));
                }
                if load(tx, workspace, &label.name).await?.is_some() {
                    return Ok(Err(LabelRefusal::Exists));
                }
                insert(tx, workspace, &label).await?;
                audit::note(tx, workspace, vec![(&cause, Act::of("label.created", "label", &label.name))]).await?;
                if let Some((idempotency, answer)) = answer {
                    door::keep(tx, workspace, idempotency, answer, now).await?;
                }
                Ok(Ok(LabelMade::Now))
            })
        })
        .await
    }

    pub async fn label(&self, workspace: WorkspaceId, name: &str) -> Result<Option<Label>, StoreError> {
        let row: Option<Stored> = self.pools.one(selected("WHERE workspace_id = $1 AND name = $2").bind(workspace).bind(name)).await?;
        Ok(row.map(Into::into))
    }

    /// Changes a label. A new name is in the catalogue at once; when people carry the label, `job` renames it on them.
    pub async fn change_label(
        &self,
        name: String,
        change: LabelChange,
        job: NewJob,
    ) -> Result<Result<LabelDone, LabelRefusal>, StoreError> {
        let done = self
            .write(move |tx| {
                let (name, change, job) = (name.clone(), change.clone(), job.clone());
                Box::pin(async move {
                    let workspace = job.workspace;
                    let told = json!({"fields": change.fields(), "name": change.name});
                    let act = Act::of("label.changed", "label", &name).with(told);
                    let cause = Arc::clone(&job.cause);
                    hold_workspace(tx, workspace).await?;
                    let Some(old) = load(tx, workspace, &name).await? else { return Ok(Err(LabelRefusal::NotFound)) };
                    let new = Label {
                        name: change.name.unwrap_or_else(|| name.clone()),
                        color: change.color.unwrap_or_else(|| old.color.clone()),
                        description: change.description.unwrap_or_else(|| old.description.clone()),
                        ..old.clone()
                    };
                    if new.name == name {
                        if old.job.is_some() {
                            return Ok(Err(LabelRefusal::Going));
                        }
                        tx.run(
                            sql("UPDATE labels SET color = $3, description = $4 WHERE workspace_id = $1 AND name = $2")
                                .bind(workspace)
                                .bind(name)
                                .bind(new.color.as_deref())
                                .bind(new.description.as_deref()),
                        )
                        .await?;
                        audit::note(tx, workspace, vec![(&cause, act)]).await?;
                        return Ok(Ok(LabelDone::Now(Some(new))));
                    }
                    if let Err(refusal) = free(tx, workspace, &name).await? {
                        return Ok(Err(refusal));
                    }
                    if load(tx, workspace, &new.name).await?.is_some() {
                        return Ok(Err(LabelRefusal::Exists));
                    }
                    insert(tx, workspace, &new).await?;
                    audit::note(tx, workspace, vec![(&cause, act)]).await?;
                    let carriers = carriers(tx, workspace, &name).await?;
                    if carriers == 0 {
                        delete(tx, workspace, &name).await?;
                        return Ok(Ok(LabelDone::Now(Some(new))));
                    }
                    let what = GoingLabel { from: name, to: Some(new.name) };
                    let job = send_off(tx, NewJob { total: Some(carriers), ..job }, &what).await?;
                    Ok(Ok(LabelDone::Later(Box::new(job))))
                })
            })
            .await?;
        if matches!(done, Ok(LabelDone::Later(_))) {
            self.jobs.tell();
        }
        Ok(done)
    }

    /// Removes a label; when people carry it, `job` takes it off them first.
    pub async fn remove_label(&self, name: String, job: NewJob) -> Result<Result<LabelDone, LabelRefusal>, StoreError> {
        let done = self
            .write(move |tx| {
                let (name, job) = (name.clone(), job.clone());
                Box::pin(async move {
                    let workspace = job.workspace;
                    hold_workspace(tx, workspace).await?;
                    if let Err(refusal) = free(tx, workspace, &name).await? {
                        return Ok(Err(refusal));
                    }
                    let act = Act::of("label.removed", "label", &name);
                    audit::note(tx, workspace, vec![(&job.cause, act)]).await?;
                    let carriers = carriers(tx, workspace, &name).await?;
                    if carriers == 0 {
                        delete(tx, workspace, &name).await?;
                        return Ok(Ok(LabelDone::Now(None)));
                    }
                    let job = send_off(tx, NewJob { total: Some(carriers), ..job }, &GoingLabel { from: name, to: None }).await?;
                    Ok(Ok(LabelDone::Later(Box::new(job))))
                })
            })
            .await?;
        if matches!(done, Ok(LabelDone::Later(_))) {
            self.jobs.tell();
        }
        Ok(done)
    }

    /// People who carry a label, in the order of their ids, after one.
    pub async fn who_carries(
        &self,
        workspace: WorkspaceId,
        label: &str,
        after: Option<ProfileId>,
        limit: i64,
    ) -> Result<Vec<ProfileId>, StoreError> {
        // The nil id is nobody's.
        let rows: Vec<(Uuid,)> = self
            .pools
            .all(
                sql("SELECT profile_id FROM profile_labels
                     WHERE workspace_id = $1 AND label = $2 AND profile_id > $3 ORDER BY profile_id LIMIT $4")
                .bind(workspace)
                .bind(label)
                .bind(after.map_or(Uuid::nil(), |id| id.0))
                .bind(limit),
            )
            .await?;
        Ok(rows.into_iter().map(|(id,)| ProfileId(id)).collect())
    }

    /// Takes a label that nobody carries any more from the catalogue, with the last step of its job. Where somebody came by
    /// it meanwhile, by a merge, `again` is the step's progress instead.
    pub async fn finish_label(&self, lease: Lease, name: String, last: Progress, again: Progress) -> Result<(), StoreError> {
        let now = self.now();
        self.write(move |tx| {
            let (name, last, again) = (name.clone(), last.clone(), again.clone());
            Box::pin(async move {
                hold_workspace(tx, lease.workspace).await?;
                if carriers(tx, lease.workspace, &name).await? > 0 {
                    return jobs::advance(tx, lease, &again, now).await;
                }
                delete(tx, lease.workspace, &name).await?;
                raise_version(tx, lease.workspace).await?;
                jobs::advance(tx, lease, &last, now).await
            })
        })
        .await
    }

    /// Labels after a name, in the order of their names.
    pub async fn labels(&self, workspace: WorkspaceId, after: Option<String>, limit: i64) -> Result<Vec<Label>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                // No name is empty, so everything comes after the empty one.
                let rows: Vec<Stored> = tx
                    .all(
                        selected("WHERE workspace_id = $1 AND name > $2 ORDER BY name LIMIT $3")
                            .bind(workspace)
                            .bind(after.unwrap_or_default())
                            .bind(limit),
                    )
                    .await?;
                Ok(rows.into_iter().map(Into::into).collect())
            })
        })
        .await
    }

    /// What a person carries, by name.
    pub async fn labels_of(&self, workspace: WorkspaceId, profile: ProfileId) -> Result<Vec<Carried>, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                let rows: Vec<StoredCarried> = tx
                    .all(
                        sql("SELECT label, source, rule_id, actor, created_at FROM profile_labels
                             WHERE workspace_id = $1 AND profile_id = $2 ORDER BY label")
                        .bind(workspace)
                        .bind(profile),
                    )
                    .await?;
                Ok(rows
                    .into_iter()
                    .map(|row| Carried {
                        name: row.label,
                        source: row.source,
                        rule_id: row.rule_id,
                        actor: row.actor,
                        created_at: row.created_at.0,
                    })
                    .collect())
            })
        })
        .await
    }
}
