//! Saving reversals of merges: rows go back to whom they came from, set-based, by their `origin_profile_id`; what a
//! union or a joined session had swallowed is written again from what the merge remembered.
//!
//! A merge is decided and saved by itself ([`Command::is_alone`](people_domain::directory::Command::is_alone)), so the
//! people here are touched by nothing else of the group. The survivor's document is locked since the group was loaded.

mod timelines;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    Timestamp,
    activity::Tally,
    consent::{Decision, Status},
    directory::{Lived, MergeStanding, Reverted, Standing},
    id::{ProfileId, RecordId, WorkspaceId},
    identity::IdentityKey,
    merge::revert::{Entry, Reversal, Seen},
    profile::Profile,
};
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    living,
    merging::{self, LabelRow, RowsOf},
    save::Span,
};
use crate::{
    StoreError, Tx,
    duplicates::{self, Dismissal},
    merges,
    rows::{Kind, Rows, ids},
    statement::sql,
    time::At,
};

/// Who has to be loaded, and locked, before these merges can be looked at.
pub(super) async fn holders(tx: &mut Tx, workspace: WorkspaceId, wanted: &BTreeSet<RecordId>) -> Result<Vec<Uuid>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid,)> = tx
        .all(
            sql("SELECT profile_id FROM merges WHERE workspace_id = $1 AND id IN (SELECT id FROM {rows} AS r)")
                .bind(workspace)
                .rows(ids(wanted.iter().map(|id| id.0))),
        )
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

#[derive(FromRow)]
struct Told {
    origin_profile_id: Uuid,
    channel: String,
    status: String,
    occurred_at: At,
    source: Option<String>,
    evidence: Option<String>,
}

#[derive(FromRow)]
struct Did {
    kind: String,
    channel: Option<String>,
    origin_profile_id: Uuid,
    count: i64,
    first: At,
    last: At,
}

/// What must be known to take merges back. Read after the survivors were locked: nobody changes any of it meanwhile.
pub(super) async fn load(
    tx: &mut Tx,
    workspace: WorkspaceId,
    wanted: &BTreeSet<RecordId>,
    loaded: &HashMap<ProfileId, Standing>,
) -> Result<HashMap<RecordId, MergeStanding>, StoreError> {
    let mut out = HashMap::new();
    for id in wanted {
        let Some(record) = merges::record(tx, workspace, *id).await? else {
            if merges::is_erased(tx, workspace, *id).await? {
                out.insert(*id, MergeStanding::Erased);
            }
            continue;
        };
        // The record went from one to another while the locks were waited for.
        if !loaded.contains_key(&record.holder) {
            return Err(StoreError::Raced);
        }
        let later = merges::later(tx, workspace, &record).await?;
        let ledger: Vec<Told> = tx
            .all(
                sql("SELECT origin_profile_id, channel, status, occurred_at, source, evidence FROM consent_ledger
                     WHERE workspace_id = $1 AND profile_id = $2")
                .bind(workspace)
                .bind(record.primary_id),
            )
            .await?;
        let ledger = ledger
            .into_iter()
            .map(|row| {
                Ok(Entry {
                    origin: ProfileId(row.origin_profile_id),
                    decision: Decision {
                        channel: row.channel,
                        status: Status::parse(&row.status).ok_or(StoreError::Unreadable("a decision's status"))?,
                        occurred_at: row.occurred_at.0,
                        source: row.source,
                        evidence: row.evidence,
                    },
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let members = record.members();
        let (mut seen, mut returned) = (Seen::default(), Seen::default());
        for row in events(tx, workspace, record.primary_id).await? {
            let tally = Tally { count: row.count, first: row.first.0, last: row.last.0 };
            let whose = if members.contains(&ProfileId(row.origin_profile_id)) { &mut returned } else { &mut seen };
            whose.add(&row.kind, row.channel.as_deref(), tally);
        }
        out.insert(*id, MergeStanding::Recorded(Box::new(Reversal { record, later, ledger, seen, returned })));
    }
    Ok(out)
}

/// What the events of the survivor add up to, by where they came from; what was done first comes first.
async fn events(tx: &mut Tx, workspace: WorkspaceId, survivor: ProfileId) -> Result<Vec<Did>, StoreError> {
    tx.all(
        sql("SELECT type AS kind, channel, origin_profile_id, count(*) AS count, min(occurred_at) AS first, max(occurred_at) AS last
             FROM events WHERE workspace_id = $1 AND profile_id = $2
             GROUP BY type, channel, origin_profile_id ORDER BY min(occurred_at), type, channel")
        .bind(workspace)
        .bind(survivor),
    )
    .await
}

/// A person before and after.
type State = (ProfileId, Option<Arc<Profile>>, Option<Arc<Profile>>);

/// States that make the ordinary saving leave alone the rows that go back as they are: keys, and those labels of the one who
/// returns that they still carry once they have been judged.
#[derive(Debug, Default)]
pub(super) struct Staged {
    states: Vec<State>,
}

impl Staged {
    pub(super) fn of(reverted: &[Reverted], spans: &BTreeMap<ProfileId, Span<'_>>) -> Self {
        let mut states = Vec::new();
        for back in reverted {
            let after = |id: ProfileId| spans.get(&id).and_then(|span| span.after.cloned());
            if let Some(mut before) = spans.get(&back.survivor.id).and_then(|span| span.before.map(|before| (**before).clone())) {
                before.identities.retain(|identity| !back.secondary.holds(&identity.key()));
                states.push((back.survivor.id, Some(Arc::new(before)), after(back.survivor.id)));
            }
            let last = after(back.secondary.id);
            let mut before = Profile::empty(back.secondary.id, back.secondary.created_at);
            before.identities.clone_from(&back.secondary.identities);
            before.labels = labels_back(back, last.as_deref());
            states.push((back.secondary.id, Some(Arc::new(before)), last));
        }
        Self { states }
    }

    pub(super) fn lay_over<'s>(&'s self, spans: &mut BTreeMap<ProfileId, Span<'s>>) {
        for (id, before, after) in &self.states {
            spans.insert(*id, Span { before: before.as_ref(), after: after.as_ref() });
        }
    }
}

/// Labels of before that the one who returns carries: those that no rule has taken off in the same breath.
fn labels_back(back: &Reverted, last: Option<&Profile>) -> Vec<String> {
    back.secondary.labels.iter().filter(|label| last.is_some_and(|last| last.labels.contains(label))).cloned().collect()
}

/// Moves every row back. The one who returns has a document by now; `spans` tell who the two are at the end.
pub(super) async fn move_rows(
    tx: &mut Tx,
    workspace: WorkspaceId,
    reverted: &[Reverted],
    spans: &BTreeMap<ProfileId, Span<'_>>,
    gap_seconds: i64,
) -> Result<(), StoreError> {
    for back in reverted {
        tx.take_time().await?;
        keys(tx, workspace, back).await?;
        let last = |id: ProfileId| spans.get(&id).and_then(|span| span.after);
        if let (Some(survivor), Some(secondary)) = (last(back.survivor.id), last(back.secondary.id)) {
            sets(tx, workspace, back, survivor, secondary).await?;
        }
        timelines::part(tx, workspace, back, gap_seconds).await?;
        for statement in GO_BACK {
            tx.run(sql(statement).bind(workspace).bind(back.survivor.id).bind(back.secondary.id).rows(members(back))).await?;
        }
        note(tx, workspace, back).await?;
    }
    Ok(())
}

fn members(back: &Reverted) -> Rows {
    ids(back.members.iter().map(|id| id.0))
}

async fn keys(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted) -> Result<(), StoreError> {
    let mut rows = Rows::new(&[("kind", Kind::Text), ("value", Kind::Text)]);
    for IdentityKey { kind, value } in back.secondary.identities.iter().map(people_domain::identity::Identity::key) {
        rows.push([kind.as_str().into(), value.into()]);
    }
    let wanted = rows.len();
    let moved = tx
        .run(
            sql("UPDATE profile_identities SET profile_id = $3
                 WHERE workspace_id = $1 AND profile_id = $2 AND (kind, value) IN (SELECT kind, value FROM {rows} AS r)")
            .bind(workspace)
            .bind(back.survivor.id)
            .bind(back.secondary.id)
            .rows(rows),
        )
        .await?;
    if usize::try_from(moved) == Ok(wanted) { Ok(()) } else { Err(StoreError::Raced) }
}

/// Labels, segments, channels and consents: what a union made one is made two.
async fn sets(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted, survivor: &Profile, secondary: &Profile) -> Result<(), StoreError> {
    let was = Memory::of(tx, workspace, back).await?.secondary;
    let mut names = Rows::new(&[("name", Kind::Text), ("created_at", Kind::Time)]);
    let mut labels = Rows::new(&[
        ("label", Kind::Text),
        ("source", Kind::Text),
        ("rule_id", Kind::Uuid),
        ("actor", Kind::Text),
        ("created_at", Kind::Time),
    ]);
    for label in labels_back(back, Some(secondary)) {
        let row = was.labels.iter().find(|row| row.label == label).cloned().unwrap_or_else(|| LabelRow {
            label: label.clone(),
            source: "manual".to_owned(),
            rule_id: None,
            actor: back.cause.actor.clone(),
            created_at: back.at,
        });
        names.push([row.label.as_str().into(), row.created_at.into()]);
        labels.push([row.label.into(), row.source.into(), row.rule_id.into(), row.actor.into(), row.created_at.into()]);
    }
    if !labels.is_empty() {
        // The label may have left the catalogue since.
        tx.run(
            sql("INSERT INTO labels (workspace_id, name, created_at) SELECT $1, r.name, r.created_at FROM {rows} AS r WHERE true ON CONFLICT DO NOTHING")
                .bind(workspace)
                .rows(names),
        )
        .await?;
        tx.run(
            sql("INSERT INTO profile_labels (workspace_id, profile_id, label, source, rule_id, actor, created_at)
                 SELECT $1, $2, r.label, r.source, r.rule_id, r.actor, r.created_at FROM {rows} AS r")
            .bind(workspace)
            .bind(back.secondary.id)
            .rows(labels),
        )
        .await?;
    }
    let mut segments = Rows::new(&[("segment_id", Kind::Uuid), ("entered_at", Kind::Time)]);
    for row in was.segments.iter().filter(|row| secondary.segments.iter().any(|badge| badge.id.0 == row.segment_id)) {
        segments.push([row.segment_id.into(), row.entered_at.into()]);
    }
    if !segments.is_empty() {
        tx.run(
            sql("INSERT INTO profile_segments (workspace_id, profile_id, segment_id, entered_at)
                 SELECT $1, $2, r.segment_id, r.entered_at FROM {rows} AS r CROSS JOIN segments AS s
                 WHERE s.workspace_id = $1 AND s.id = r.segment_id ON CONFLICT DO NOTHING")
            .bind(workspace)
            .bind(back.secondary.id)
            .rows(segments),
        )
        .await?;
    }
    let names = |kept: &mut dyn Iterator<Item = &str>| {
        let mut rows = Rows::new(&[("name", Kind::Text)]);
        kept.for_each(|name| rows.push([name.into()]));
        rows
    };
    tx.run(
        sql("DELETE FROM profile_segments WHERE workspace_id = $1 AND profile_id = $2 AND segment_id NOT IN (SELECT id FROM {rows} AS r)")
            .bind(workspace)
            .bind(survivor.id)
            .rows(ids(survivor.segments.iter().map(|badge| badge.id.0))),
    )
    .await?;
    tx.run(
        sql("DELETE FROM profile_channels WHERE workspace_id = $1 AND profile_id = $2 AND channel NOT IN (SELECT name FROM {rows} AS r)")
            .bind(workspace)
            .bind(survivor.id)
            .rows(names(&mut survivor.channels.iter().map(String::as_str))),
    )
    .await?;
    tx.run(
        sql("DELETE FROM profile_consents WHERE workspace_id = $1 AND profile_id = $2 AND channel NOT IN (SELECT name FROM {rows} AS r)")
            .bind(workspace)
            .bind(survivor.id)
            .rows(names(&mut survivor.consents.iter().map(|consent| consent.channel.as_str()))),
    )
    .await
    .map(|_| ())
}

#[derive(FromRow)]
struct Remembering {
    primary_rows: Option<String>,
    secondary_rows: Option<String>,
    dismissals: Option<String>,
}

/// What a merge remembers beside both documents.
#[derive(Debug, Default)]
struct Memory {
    primary: RowsOf,
    secondary: RowsOf,
    dismissals: Vec<Dismissal>,
}

impl Memory {
    async fn of(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted) -> Result<Self, StoreError> {
        fn read<T: Default + serde::de::DeserializeOwned>(text: Option<String>) -> Result<T, StoreError> {
            text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(&text))
                .map_err(|_| StoreError::Unreadable("what a merge remembers"))
        }
        let stored: Option<Remembering> = tx
            .optional(
                sql("SELECT primary_rows{as_text} AS primary_rows, secondary_rows{as_text} AS secondary_rows, dismissals{as_text} AS dismissals
                     FROM merges WHERE workspace_id = $1 AND id = $2")
                .bind(workspace)
                .bind(back.merge_id),
            )
            .await?;
        let Some(stored) = stored else { return Ok(Self::default()) };
        Ok(Self { primary: read(stored.primary_rows)?, secondary: read(stored.secondary_rows)?, dismissals: read(stored.dismissals)? })
    }
}

/// Rows that the survivor has in the secondary's place, or that judging has just written anew, are as they were before the
/// merge; and so is what had been decided of duplicates. After everything else is in its place.
pub(super) async fn as_they_were(
    tx: &mut Tx,
    workspace: WorkspaceId,
    reverted: &[Reverted],
    spans: &BTreeMap<ProfileId, Span<'_>>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for back in reverted {
        if spans.get(&back.survivor.id).is_none_or(|span| span.after.is_none()) {
            continue;
        }
        let memory = Memory::of(tx, workspace, back).await?;
        let current =
            merging::rows_of(tx, workspace, std::iter::once(back.survivor.id)).await?.remove(&back.survivor.id.0).unwrap_or_default();
        let mut labels = Rows::new(&[
            ("label", Kind::Text),
            ("source", Kind::Text),
            ("rule_id", Kind::Uuid),
            ("actor", Kind::Text),
            ("created_at", Kind::Time),
        ]);
        for row in current.labels {
            let Some(was) = memory.primary.labels.iter().find(|was| was.label == row.label && **was != row) else { continue };
            let anew = row.created_at == now && row.rule_id.is_some() && row.rule_id == was.rule_id;
            if anew || memory.secondary.labels.contains(&row) {
                let was = was.clone();
                labels.push([was.label.into(), was.source.into(), was.rule_id.into(), was.actor.into(), was.created_at.into()]);
            }
        }
        if !labels.is_empty() {
            // A rule whose label seemed to be by hand has not judged it.
            let due = Lived { due: vec![(back.survivor.id, Some(now), false)], ..Lived::default() };
            living::write_due(tx, workspace, &due).await?;
            tx.run(
                sql("INSERT INTO profile_labels (workspace_id, profile_id, label, source, rule_id, actor, created_at)
                     SELECT $1, $2, r.label, r.source, r.rule_id, r.actor, r.created_at FROM {rows} AS r WHERE true
                     ON CONFLICT (workspace_id, profile_id, label) DO UPDATE SET
                         source = EXCLUDED.source, rule_id = EXCLUDED.rule_id, actor = EXCLUDED.actor, created_at = EXCLUDED.created_at")
                .bind(workspace)
                .bind(back.survivor.id)
                .rows(labels),
            )
            .await?;
        }
        let mut segments = Rows::new(&[("segment_id", Kind::Uuid), ("entered_at", Kind::Time)]);
        for row in current.segments.iter().filter(|row| row.entered_at == now) {
            if let Some(was) = memory.primary.segments.iter().find(|was| was.segment_id == row.segment_id) {
                segments.push([was.segment_id.into(), was.entered_at.into()]);
            }
        }
        if !segments.is_empty() {
            tx.run(
                sql("INSERT INTO profile_segments (workspace_id, profile_id, segment_id, entered_at)
                     SELECT $1, $2, r.segment_id, r.entered_at FROM {rows} AS r WHERE true
                     ON CONFLICT (workspace_id, profile_id, segment_id) DO UPDATE SET entered_at = EXCLUDED.entered_at")
                .bind(workspace)
                .bind(back.survivor.id)
                .rows(segments),
            )
            .await?;
        }
        duplicates::part(tx, workspace, back.survivor.id, back.secondary.id, &memory.dismissals, now).await?;
    }
    Ok(())
}

/// What came from `{rows}` (of one column `id`) goes from `$2` back to `$3`.
const GO_BACK: &[&str] = &[
    "UPDATE consent_ledger SET profile_id = $3
     WHERE workspace_id = $1 AND profile_id = $2 AND origin_profile_id IN (SELECT id FROM {rows} AS r)",
    // An entry of one's own names no origin.
    "UPDATE profile_history
     SET profile_id = $3, origin_profile_id = CASE WHEN origin_profile_id = $3 THEN NULL ELSE origin_profile_id END
     WHERE workspace_id = $1 AND profile_id = $2 AND origin_profile_id IN (SELECT id FROM {rows} AS r)",
    "UPDATE merges SET profile_id = $3
     WHERE workspace_id = $1 AND profile_id = $2 AND primary_id IN (SELECT id FROM {rows} AS r)",
    "UPDATE merges SET returned_profile_id = $3
     WHERE workspace_id = $1 AND returned_profile_id = $2 AND secondary_id IN (SELECT id FROM {rows} AS r)",
    "UPDATE merge_sessions SET profile_id = $3
     WHERE workspace_id = $1 AND profile_id = $2 AND merge_id IN (
         SELECT m.id FROM merges AS m WHERE m.workspace_id = $1 AND m.profile_id = $3 AND m.primary_id IN (SELECT id FROM {rows} AS r)
     )",
    "UPDATE profile_redirects SET survivor_profile_id = $3
     WHERE workspace_id = $1 AND survivor_profile_id = $2 AND profile_id <> $3 AND profile_id IN (SELECT id FROM {rows} AS r)",
    "DELETE FROM profile_redirects
     WHERE workspace_id = $1 AND survivor_profile_id = $2 AND profile_id = $3 AND profile_id IN (SELECT id FROM {rows} AS r)",
];

/// Writes down that it happened, and what later merges remember from now on.
async fn note(tx: &mut Tx, workspace: WorkspaceId, back: &Reverted) -> Result<(), StoreError> {
    let unwritable = |_| StoreError::Unreadable("a merge that cannot be written");
    tx.run(
        sql("DELETE FROM merge_sessions WHERE workspace_id = $1 AND profile_id = $2 AND merge_id = $3")
            .bind(workspace)
            .bind(back.survivor.id)
            .bind(back.merge_id),
    )
    .await?;
    let mut row = Rows::new(&[("conflicts", Kind::Json)]);
    row.push([serde_json::to_string(&back.left).map_err(unwritable)?.into()]);
    tx.run(
        sql("UPDATE merges
             SET returned_profile_id = $3, reverted_at = $4, reverted_by = $5, revert_record_id = $6,
                 conflicts = (SELECT r.conflicts FROM {rows} AS r)
             WHERE workspace_id = $1 AND id = $2")
        .bind(workspace)
        .bind(back.merge_id)
        .bind(back.secondary.id)
        .bind(back.at)
        .bind(back.cause.actor.as_str())
        .bind(back.record_id)
        .rows(row),
    )
    .await?;
    if !back.later.is_empty() {
        let mut rows = Rows::new(&[("id", Kind::Uuid), ("primary_before", Kind::Json), ("heard_at", Kind::Time)]);
        for (id, profile) in &back.later {
            let heard = profile.heard().map(|(at, _)| at);
            rows.push([(*id).into(), serde_json::to_string(profile).map_err(unwritable)?.into(), heard.into()]);
        }
        tx.run(
            sql("UPDATE merges SET primary_before = r.primary_before, primary_heard_at = r.heard_at
                 FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r
                 WHERE {aside}merges.workspace_id = $1 AND merges.workspace_id = r.workspace_id AND merges.id = r.id")
            .bind(workspace)
            .rows(rows),
        )
        .await?;
    }
    // Which of the two an answer speaks of is not written down: erasing either takes it.
    tx.run(
        sql("INSERT INTO idempotency_profiles (workspace_id, profile_id, key)
             SELECT workspace_id, $3, key FROM idempotency_profiles WHERE workspace_id = $1 AND profile_id = $2
             ON CONFLICT DO NOTHING")
        .bind(workspace)
        .bind(back.survivor.id)
        .bind(back.secondary.id),
    )
    .await
    .map(|_| ())
}
