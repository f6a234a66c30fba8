//! Segments and label rules: their definitions as they are kept, the job that brings everyone in line with a new one, and
//! the queue of people in whom time alone may change something.
//!
//! Who belongs to what is written by the door, in the transaction of the change that caused it. A new definition is known
//! to every group of writes that begins after it was committed; the job therefore visits, once, those who are out of line
//! and those whom time may move, and nobody is missed in between.

mod due;
mod settle;

use std::{collections::HashMap, sync::Arc};

use people_domain::{
    Issue, Refusal, Timestamp,
    directory::Cause,
    filter::{self, EventTally, EventTest, Events, Field, Filter},
    id::{ProfileId, RecordId, SegmentId, WorkspaceId},
    label,
    living::{self, Living, MAX_DEFINITIONS, Makes},
    profile::SegmentBadge,
    property::Definitions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

pub use settle::Settle;

use crate::{
    Act, Idempotency, Store, StoreError, StoredAnswer, Tx, audit, by_type, door,
    filter_sql::Composer,
    ids::new_id,
    jobs::{self, NewJob},
    profiles, properties,
    rows::ids,
    statement::{Sql, sql},
    time::At,
};

/// A sort of definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breed {
    Segment,
    Rule,
}

/// A segment, or a label rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    pub id: Uuid,
    /// A segment's name, a rule's label.
    pub name: String,
    pub description: Option<String>,
    /// As it was sent.
    pub filter: Value,
    /// Of a rule: whether the label goes when the filter does not match any more.
    pub removes: bool,
    pub enabled: bool,
    /// `computing`, `live` or `removing`.
    pub status: String,
    pub version: i64,
    pub job: Option<Uuid>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub computed_at: Option<Timestamp>,
}

impl Defined {
    /// What a change gave another value.
    fn differs(&self, old: &Self) -> Vec<&'static str> {
        let changed = [
            ("name", self.name != old.name),
            ("description", self.description != old.description),
            ("filter", self.filter != old.filter),
            ("on_exit", self.removes != old.removes),
            ("enabled", self.enabled != old.enabled),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }
}

/// What a definition is, or becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Wording {
    pub name: String,
    pub description: Option<String>,
    pub filter: Value,
    pub removes: bool,
    pub enabled: bool,
}

/// Why a definition stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum DefinitionRefusal {
    NotFound,
    /// Another has this name.
    Exists,
    TooMany,
    /// Read by these.
    InUse(Vec<String>),
    Invalid(Box<Refusal>),
}

/// Writes the answer that a retry under the same key gets.
pub type RenderDefinition = Arc<dyn Fn(&Defined) -> StoredAnswer + Send + Sync>;

/// What became of a new definition.
#[derive(Clone, Debug)]
pub enum Redefined {
    Now(Box<Defined>),
    /// The same request had been carried out: its answer.
    Before(StoredAnswer),
}

#[derive(FromRow)]
struct Stored {
    id: Uuid,
    name: String,
    description: Option<String>,
    filter: String,
    on_exit: String,
    enabled: bool,
    status: String,
    definition_version: i64,
    job_id: Option<Uuid>,
    created_at: At,
    updated_at: At,
    computed_at: Option<At>,
}

impl TryFrom<Stored> for Defined {
    type Error = StoreError;

    fn try_from(row: Stored) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            name: row.name,
            description: row.description,
            filter: serde_json::from_str(&row.filter).map_err(|_| StoreError::Unreadable("a definition's filter"))?,
            removes: row.on_exit == "remove",
            enabled: row.enabled,
            status: row.status,
            version: row.definition_version,
            job: row.job_id,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            computed_at: row.computed_at.map(|at| at.0),
        })
    }
}

impl Breed {
    /// All of a workspace; more conditions may follow.
    const fn select(self) -> &'static str {
        match self {
            Self::Segment => {
                "SELECT id, name, description, filter, 'remove' AS on_exit, (1 = 1) AS enabled, status, definition_version, job_id,
                        created_at, updated_at, computed_at
                 FROM segments WHERE workspace_id = $1"
            }
            Self::Rule => {
                "SELECT id, label AS name, CAST(NULL AS TEXT) AS description, filter, on_exit, enabled, status, definition_version, job_id,
                        created_at, updated_at, computed_at
                 FROM label_rules WHERE workspace_id = $1"
            }
        }
    }

    /// An act on one of this sort.
    fn act(self, what: &str, id: Uuid) -> Act {
        Act::of(format!("{}.{what}", self.job()), self.job(), id)
    }

    /// The name of its job.
    const fn job(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Rule => "label_rule",
        }
    }
}

/// One of them, those being removed too.
async fn row(tx: &mut Tx, workspace: WorkspaceId, sort: Breed, id: Uuid) -> Result<Option<Defined>, StoreError> {
    let row: Option<Stored> =
        tx.optional(Sql::composed(format!("{} AND id = $2", sort.select()), vec![workspace.into(), id.into()])).await?;
    row.map(Defined::try_from).transpose()
}

async fn rows(tx: &mut Tx, workspace: WorkspaceId, sort: Breed) -> Result<Vec<Defined>, StoreError> {
    let rows: Vec<Stored> = tx.all(Sql::composed(format!("{} ORDER BY id", sort.select()), vec![workspace.into()])).await?;
    rows.into_iter().map(Defined::try_from).collect()
}

/// What the door judges people by. Whoever is on the way out matches no one.
fn definition(sort: Breed, row: &Defined, properties: &Definitions) -> Result<living::Definition, Vec<Issue>> {
    let filter =
        if row.status == "removing" || !row.enabled { Filter::Any(Vec::new()) } else { filter::parse_kept(&row.filter, properties)? };
    let makes = match sort {
        Breed::Segment => Makes::Segment(SegmentBadge { id: SegmentId(row.id), name: row.name.clone() }),
        Breed::Rule => Makes::Label { rule: RecordId(row.id), label: row.name.clone(), removes: row.removes },
    };
    Ok(living::Definition { makes, filter })
}

/// Every definition of a workspace, in the order they are judged.
pub(crate) async fn load(tx: &mut Tx, workspace: WorkspaceId, properties: &Definitions) -> Result<Living, StoreError> {
    let (segments, rules) = (rows(tx, workspace, Breed::Segment).await?, rows(tx, workspace, Breed::Rule).await?);
    let all = all(&segments, &rules, properties).map_err(|_| StoreError::Unreadable("a definition's filter"))?;
    Living::new(all).map_err(|_| StoreError::Unreadable("definitions that chase each other"))
}

fn all(segments: &[Defined], rules: &[Defined], properties: &Definitions) -> Result<Vec<living::Definition>, Vec<Issue>> {
    let segments = segments.iter().map(|row| definition(Breed::Segment, row, properties));
    segments.chain(rules.iter().map(|row| definition(Breed::Rule, row, properties))).collect()
}

/// Keeps every group of writes out until this transaction ends: each takes a share of the workspace's row.
async fn hold(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.optional::<(i64,)>(sql("SELECT living_version FROM workspaces WHERE id = $1 {for_update}").bind(workspace)).await.map(|_| ())
}

async fn raise(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
    tx.run(sql("UPDATE workspaces SET living_version = living_version + 1 WHERE id = $1").bind(workspace)).await.map(|_| ())
}

/// Whether the definitions can be read and come to rest, with this one as it is to be.
async fn check(tx: &mut Tx, workspace: WorkspaceId, sort: Breed, changed: &Defined) -> Result<Result<(), DefinitionRefusal>, StoreError> {
    let properties = properties::load(tx, workspace).await?;
    let (mut segments, mut rules) = (rows(tx, workspace, Breed::Segment).await?, rows(tx, workspace, Breed::Rule).await?);
    let own = if sort == Breed::Segment { &mut segments } else { &mut rules };
    if sort == Breed::Segment && own.iter().any(|other| other.id != changed.id && other.name == changed.name && other.status != "removing")
    {
        return Ok(Err(DefinitionRefusal::Exists));
    }
    match own.iter().position(|row| row.id == changed.id) {
        Some(place) => own[place] = changed.clone(),
        None if own.len() >= MAX_DEFINITIONS => return Ok(Err(DefinitionRefusal::TooMany)),
        None => own.push(changed.clone()),
    }
    // Its job would never come to its end, or what is read would be gone when it did.
    let going = crate::labels::going(tx, workspace).await?;
    let named =
        |label: &&String| (sort == Breed::Rule && **label == changed.name) || names(&changed.filter, "labels", Some(label.as_str()));
    if let Err(refusal) = label::check_stays(going.keys().filter(named), &going) {
        return Ok(Err(DefinitionRefusal::Invalid(Box::new(refusal))));
    }
    let invalid = |issues: Vec<Issue>| {
        DefinitionRefusal::Invalid(Box::new(Refusal::invalid(issues.into_iter().map(|issue| issue.under("/filter")).collect())))
    };
    Ok(match all(&segments, &rules, &properties) {
        Err(issues) => Err(invalid(issues)),
        Ok(all) => Living::new(all).map(|_| ()).map_err(|ring| {
            let detail = format!("these would read one another in a ring, and never come to rest: {}", ring.0.join(", "));
            invalid(vec![Issue::new("", "definition_ring", detail)])
        }),
    })
}

/// What the job of a definition is told.
#[derive(Debug, Deserialize, Serialize)]
struct Parameters {
    id: Uuid,
    version: i64,
    /// Members are visited although they stay members: their badge has another name.
    members: bool,
}

async fn enqueue(
    tx: &mut Tx,
    workspace: WorkspaceId,
    sort: Breed,
    row: &Defined,
    members: bool,
    cause: &Arc<Cause>,
) -> Result<Uuid, StoreError> {
    if let Some(older) = row.job {
        jobs::cancel(tx, workspace, RecordId(older), cause.at).await?;
    }
    let id = RecordId(new_id(cause.at));
    let parameters = serde_json::to_value(Parameters { id: row.id, version: row.version, members }).unwrap_or_default();
    let details = json!({ "id": row.id });
    jobs::enqueue(tx, &NewJob { workspace, id, kind: sort.job(), parameters, details, total: None, cause: Arc::clone(cause) }).await?;
    Ok(id.0)
}

async fn insert(tx: &mut Tx, workspace: WorkspaceId, sort: Breed, row: &Defined) -> Result<(), StoreError> {
    let on_exit = if row.removes { "remove" } else { "keep" };
    match sort {
        Breed::Segment => {
            tx.run(
                sql("INSERT INTO segments (workspace_id, id, name, description, filter, status, definition_version, job_id, created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
                .bind(workspace)
                .bind(row.id)
                .bind(row.name.as_str())
                .bind(row.description.clone())
                .bind(row.filter.to_string())
                .bind(row.status.as_str())
                .bind(row.version)
                .bind(row.job)
                .bind(row.created_at)
                .bind(row.updated_at),
            )
            .await?;
        }
        Breed::Rule => {
            tx.run(
                sql("INSERT INTO label_rules (workspace_id, id, label, filter, on_exit, enabled, status, definition_version, job_id, created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $5, ($6 = 1), $7, $8, $9, $10, $11)")
                .bind(workspace)
                .bind(row.id)
                .bind(row.name.as_str())
                .bind(row.filter.to_string())
                .bind(on_exit)
                .bind(i64::from(row.enabled))
                .bind(row.status.as_str())
                .bind(row.version)
                .bind(row.job)
                .bind(row.created_at)
                .bind(row.updated_at),
            )
            .await?;
        }
    }
    Ok(())
}

async fn update(tx: &mut Tx, workspace: WorkspaceId, sort: Breed, row: &Defined) -> Result<(), StoreError> {
    let on_exit = if row.removes { "remove" } else { "keep" };
    match sort {
        Breed::Segment => {
            tx.run(
                sql("UPDATE segments
                     SET name = $3, description = $4, filter = $5, status = $6, definition_version = $7, job_id = $8, updated_at = $9
                     WHERE workspace_id = $1 AND id = $2")
                .bind(workspace)
                .bind(row.id)
                .bind(row.name.as_str())
                .bind(row.description.clone())
                .bind(row.filter.to_string())
                .bind(row.status.as_str())
                .bind(row.version)
                .bind(row.job)
                .bind(row.updated_at),
            )
            .await?;
        }
        Breed::Rule => {
            tx.run(
                sql("UPDATE label_rules
                     SET label = $3, filter = $4, on_exit = $5, enabled = ($6 = 1), status = $7, definition_version = $8, job_id = $9, updated_at = $10
                     WHERE workspace_id = $1 AND id = $2")
                .bind(workspace)
                .bind(row.id)
                .bind(row.name.as_str())
                .bind(row.filter.to_string())
                .bind(on_exit)
                .bind(i64::from(row.enabled))
                .bind(row.status.as_str())
                .bind(row.version)
                .bind(row.job)
                .bind(row.updated_at),
            )
            .await?;
        }
    }
    Ok(())
}

/// Names of the definitions that read a field's value: a segment by its id, a label by its name, any of an attribute.
pub(crate) async fn readers(tx: &mut Tx, workspace: WorkspaceId, field: &str, value: Option<&str>) -> Result<Vec<String>, StoreError> {
    let (segments, rules) = (rows(tx, workspace, Breed::Segment).await?, rows(tx, workspace, Breed::Rule).await?);
    let named = |filter: &Value| names(filter, field, value);
    Ok(segments
        .iter()
        .filter(|row| row.status != "removing" && named(&row.filter))
        .map(|row| format!("segment {}", row.name))
        .chain(rules.iter().filter(|row| row.status != "removing" && named(&row.filter)).map(|row| format!("rule for {}", row.name)))
        .collect())
}

/// The rules that put a label on, those on the way out included: they are taking it off still.
pub(crate) async fn makers(tx: &mut Tx, workspace: WorkspaceId, label: &str) -> Result<Vec<String>, StoreError> {
    let rules = rows(tx, workspace, Breed::Rule).await?;
    Ok(rules.iter().filter(|row| row.name == label).map(|row| format!("rule {}", row.id)).collect())
}

/// Whether a filter, as it was sent, has a condition on a field that names a value.
fn names(filter: &Value, field: &str, value: Option<&str>) -> bool {
    match filter {
        Value::Array(parts) => parts.iter().any(|part| names(part, field, value)),
        Value::Object(members) => {
            let own = members.get("field").and_then(Value::as_str) == Some(field);
            let says = |wanted: &str| match members.get("value") {
                Some(Value::Array(items)) => items.iter().any(|item| item == wanted),
                Some(one) => one == wanted,
                None => true,
            };
            (own && value.is_none_or(says)) || members.values().any(|part| names(part, field, value))
        }
        _ => false,
    }
}

impl Store {
    /// Every segment, or every rule, oldest first; those being removed are not told of.
    pub async fn definitions(&self, workspace: WorkspaceId, sort: Breed) -> Result<Vec<Defined>, StoreError> {
        let mut found = self.read(move |tx| Box::pin(async move { rows(tx, workspace, sort).await })).await?;
        found.retain(|row| row.status != "removing");
        Ok(found)
    }

    pub async fn definition(&self, workspace: WorkspaceId, sort: Breed, id: Uuid) -> Result<Option<Defined>, StoreError> {
        let found = self.read(move |tx| Box::pin(async move { row(tx, workspace, sort, id).await })).await?;
        Ok(found.filter(|row| row.status != "removing"))
    }

    /// Adds a definition and the job that brings everyone in line. `render` writes the answer kept under the request's key.
    pub async fn define(
        &self,
        workspace: WorkspaceId,
        sort: Breed,
        wording: Wording,
        cause: Arc<Cause>,
        answer: Option<(Idempotency, RenderDefinition)>,
    ) -> Result<Result<Redefined, DefinitionRefusal>, StoreError> {
        let done = self
            .write(move |tx| {
                let (wording, cause, answer) = (wording.clone(), Arc::clone(&cause), answer.clone());
                Box::pin(async move {
                    hold(tx, workspace).await?;
                    if let Some((idempotency, _)) = &answer
                        && let Some(before) = door::replayed(tx, workspace, idempotency, cause.at).await?
                    {
                        return Ok(Ok(Redefined::Before(before?)));
                    }
                    let mut row = Defined {
                        id: new_id(cause.at),
                        name: wording.name,
                        description: wording.description,
                        filter: wording.filter,
                        removes: wording.removes,
                        enabled: wording.enabled,
                        status: "computing".to_owned(),
                        version: 1,
                        job: None,
                        created_at: cause.at,
                        updated_at: cause.at,
                        computed_at: None,
                    };
                    if let Err(refusal) = check(tx, workspace, sort, &row).await? {
                        return Ok(Err(refusal));
                    }
                    if sort == Breed::Rule {
                        crate::labels::keep(tx, workspace, &row.name, cause.at).await?;
                    }
                    row.job = Some(enqueue(tx, workspace, sort, &row, false, &cause).await?);
                    insert(tx, workspace, sort, &row).await?;
                    audit::note(tx, workspace, vec![(&cause, sort.act("created", row.id))]).await?;
                    raise(tx, workspace).await?;
                    if let Some((idempotency, render)) = answer {
                        door::keep(tx, workspace, idempotency, render(&row), cause.at).await?;
                    }
                    Ok(Ok(Redefined::Now(Box::new(row))))
                })
            })
            .await?;
        self.jobs.tell();
        Ok(done)
    }

    /// Changes a definition. An older job is cancelled; a new one visits whoever the change concerns.
    pub async fn redefine(
        &self,
        workspace: WorkspaceId,
        sort: Breed,
        id: Uuid,
        change: Arc<dyn Fn(&Defined) -> Wording + Send + Sync>,
        cause: Arc<Cause>,
    ) -> Result<Result<Defined, DefinitionRefusal>, StoreError> {
        let done = self
            .write(move |tx| {
                let (change, cause) = (Arc::clone(&change), Arc::clone(&cause));
                Box::pin(async move {
                    hold(tx, workspace).await?;
                    let known = row(tx, workspace, sort, id).await?.filter(|row| row.status != "removing");
                    let Some(old) = known else { return Ok(Err(DefinitionRefusal::NotFound)) };
                    let wording = change(&old);
                    let mut row = Defined {
                        name: wording.name,
                        description: wording.description,
                        filter: wording.filter,
                        removes: wording.removes,
                        enabled: wording.enabled,
                        ..old.clone()
                    };
                    if row == old {
                        return Ok(Ok(old));
                    }
                    row.updated_at = cause.at;
                    if let Err(refusal) = check(tx, workspace, sort, &row).await? {
                        return Ok(Err(refusal));
                    }
                    let renamed = row.name != old.name;
                    if renamed || row.filter != old.filter || row.removes != old.removes || row.enabled != old.enabled {
                        row.version += 1;
                        "computing".clone_into(&mut row.status);
                        row.job = Some(enqueue(tx, workspace, sort, &row, renamed, &cause).await?);
                        raise(tx, workspace).await?;
                    }
                    update(tx, workspace, sort, &row).await?;
                    let told = json!({"fields": row.differs(&old)});
                    audit::note(tx, workspace, vec![(&cause, sort.act("changed", row.id).with(told))]).await?;
                    Ok(Ok(row))
                })
            })
            .await?;
        self.jobs.tell();
        Ok(done)
    }

    /// Takes a definition away: from now on it matches no one, and a job sees to those it matched. Answers the job.
    pub async fn undefine(
        &self,
        workspace: WorkspaceId,
        sort: Breed,
        id: Uuid,
        cause: Arc<Cause>,
    ) -> Result<Result<RecordId, DefinitionRefusal>, StoreError> {
        let done = self
            .write(move |tx| {
                let cause = Arc::clone(&cause);
                Box::pin(async move {
                    hold(tx, workspace).await?;
                    let known = row(tx, workspace, sort, id).await?.filter(|row| row.status != "removing");
                    let Some(mut row) = known else { return Ok(Err(DefinitionRefusal::NotFound)) };
                    if sort == Breed::Segment {
                        let users = readers(tx, workspace, "segments", Some(&id.to_string())).await?;
                        if !users.is_empty() {
                            return Ok(Err(DefinitionRefusal::InUse(users)));
                        }
                    }
                    row.version += 1;
                    row.updated_at = cause.at;
                    "removing".clone_into(&mut row.status);
                    let job = enqueue(tx, workspace, sort, &row, false, &cause).await?;
                    row.job = Some(job);
                    update(tx, workspace, sort, &row).await?;
                    audit::note(tx, workspace, vec![(&cause, sort.act("removed", id))]).await?;
                    raise(tx, workspace).await?;
                    Ok(Ok(RecordId(job)))
                })
            })
            .await?;
        self.jobs.tell();
        Ok(done)
    }

    /// Why somebody belongs or does not, by a definition's filter; `None`: there is no such person.
    pub async fn explain(&self, workspace: WorkspaceId, filter: Filter, sent: Value, id: ProfileId) -> Result<Option<Value>, StoreError> {
        let now = self.now();
        self.read(move |tx| {
            Box::pin(async move {
                let Some(profile) = profiles::whole(tx, workspace, [id.0], false).await?.pop() else { return Ok(None) };
                let mut counts = Counts(Vec::new());
                for leaf in filter.leaves() {
                    let Filter::Event(test) = leaf else { continue };
                    let mut composer = Composer::new(tx.engine(), now, workspace);
                    let events = composer.events(test);
                    let text = by_type::of_people("count(*) AS n", &events, " GROUP BY e.profile_id");
                    let counted: Option<(i64,)> = tx.optional(Sql::composed(text, composer.args).rows(ids([id.0]))).await?;
                    counts.0.push((test.clone(), counted.map_or(0, |(n,)| n)));
                }
                Ok(Some(filter::explain(&filter, &sent, &profile, &counts, now)))
            })
        })
        .await
    }

    /// Since when somebody is in each of their segments.
    pub async fn entered(&self, workspace: WorkspaceId, id: ProfileId) -> Result<HashMap<Uuid, Timestamp>, StoreError> {
        let rows: Vec<(Uuid, At)> = self
            .pools
            .all(
                sql("SELECT segment_id, entered_at FROM profile_segments WHERE workspace_id = $1 AND profile_id = $2")
                    .bind(workspace)
                    .bind(id),
            )
            .await?;
        Ok(rows.into_iter().map(|(id, at)| (id, at.0)).collect())
    }

    /// How many people are in each segment, or carry each label: from memory, or by one statement.
    pub async fn set_sizes(&self, workspace: WorkspaceId, field: Field) -> Result<HashMap<String, i64>, StoreError> {
        if let Some(kept) = self.keeper.ready(self, workspace).await? {
            let asked = field.clone();
            if let Some(sizes) = kept.ask(move |model| model.set_sizes(&asked)).await? {
                return Ok(sizes);
            }
        }
        if field == Field::Segments {
            let rows: Vec<(Uuid, i64)> = self
                .pools
                .all(
                    sql("SELECT segment_id, count(*) AS n FROM profile_segments WHERE workspace_id = $1 GROUP BY segment_id")
                        .bind(workspace),
                )
                .await?;
            return Ok(rows.into_iter().map(|(id, n)| (id.to_string(), n)).collect());
        }
        let rows: Vec<(String, i64)> = self
            .pools
            .all(sql("SELECT label, count(*) AS n FROM profile_labels WHERE workspace_id = $1 GROUP BY label").bind(workspace))
            .await?;
        Ok(rows.into_iter().collect())
    }
}

/// Numbers counted beforehand.
#[derive(Debug)]
struct Counts(Vec<(EventTest, i64)>);

impl Events for Counts {
    fn tally(&self, test: &EventTest, _: Timestamp) -> EventTally {
        let count = self.0.iter().find(|(known, _)| known == test).map_or(0, |(_, n)| *n);
        EventTally { count, flips_at: None }
    }
}
