//! Loading what a group of commands will be decided on, in a constant number of statements.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use people_domain::{
    directory::{Directory, Needs, Standing},
    id::{ProfileId, WorkspaceId},
    identity::IdentityKey,
    label::Going,
    living::Living,
    property::Definitions,
};
use uuid::Uuid;

use super::{
    line::{Basis, Leaving},
    reverting, timeline,
};
use crate::{
    StoreError, Tx, labels,
    profiles::{self, Ahead},
    properties,
    statement::sql,
    suppressions::{self, Hasher, SuppressionKey},
    workspaces,
};

/// Definitions, and labels that are going, as of a version, so that a group reads them only when they changed.
#[derive(Clone)]
struct Definitional {
    properties_version: i64,
    properties: Definitions,
    going: Going,
    living_version: i64,
    living: Arc<Living>,
}

/// What a group need not read again.
#[derive(Default)]
pub(super) struct Known {
    definitions: HashMap<WorkspaceId, Definitional>,
}

impl Known {
    pub(super) fn clear(&mut self) {
        self.definitions.clear();
    }
}

/// How what a decision needs is read.
pub(super) enum Reading<'a> {
    /// In the transaction that saves it, the documents locked in id order. Some may have been read ahead.
    Locked(&'a Ahead),
    /// Only to say what would happen.
    Rehearsed,
    /// While the group before is being saved. Leaves behind what it rests on.
    Early { leaving: &'a Leaving, basis: &'a mut Option<Basis> },
}

/// Loads what the commands will be decided on. Owners are checked against documents, so a key that moved in between is
/// noticed.
pub(super) async fn load(
    tx: &mut Tx,
    workspace_id: WorkspaceId,
    needs: &Needs,
    known: &mut Known,
    key: &SuppressionKey,
    reading: &mut Reading<'_>,
) -> Result<(Directory, Arc<Living>, Option<Hasher>), StoreError> {
    let early = match reading {
        Reading::Early { leaving, .. } => Some(*leaving),
        _ => None,
    };
    let workspace = match early {
        Some(_) => workspaces::read(tx, workspace_id).await?,
        None => workspaces::load(tx, workspace_id).await?,
    };
    let workspace = workspace.ok_or(StoreError::Unreadable("a workspace"))?;
    let (properties_version, living_version) = (workspace.definitions_version, workspace.living_version);
    let current = |known: &Definitional| known.properties_version == properties_version && known.living_version == living_version;
    if !known.definitions.get(&workspace_id).is_some_and(current) {
        let properties = properties::load(tx, workspace_id).await?;
        let going = labels::going(tx, workspace_id).await?;
        let living = Arc::new(crate::living::load(tx, workspace_id, &properties).await?);
        known.definitions.insert(workspace_id, Definitional { properties_version, properties, going, living_version, living });
    }
    let Definitional { properties: definitions, going, living, .. } =
        known.definitions.get(&workspace_id).cloned().ok_or(StoreError::Raced)?;
    let mut owners = profiles::owners(tx, workspace_id, &needs.keys).await?;
    if let Some(leaving) = early {
        owners.retain(|(key, _)| !leaving.keys.contains_key(key));
        owners.extend(needs.keys.iter().filter_map(|key| Some((key.clone(), (*leaving.keys.get(key)?)?))));
    }
    let mut ids: BTreeSet<Uuid> = needs.profiles.iter().copied().chain(owners.iter().map(|(_, id)| *id)).map(|id| id.0).collect();
    ids.extend(reverting::holders(tx, workspace_id, &needs.merges).await?);
    let mut people: HashMap<ProfileId, Standing> = HashMap::with_capacity(ids.len());
    let lock = matches!(reading, Reading::Locked(_));
    match reading {
        Reading::Locked(ahead) if !ahead.is_empty() => {
            for profile in ahead.unchanged(tx, workspace_id, ids.iter().copied()).await? {
                people.insert(profile.id, Standing::Live(profile));
            }
        }
        Reading::Early { leaving, basis } => {
            let (known, unread): (Vec<Uuid>, Vec<Uuid>) = ids.iter().partition(|id| leaving.people.contains_key(&ProfileId(**id)));
            let mut rows = BTreeMap::new();
            for profile in known.into_iter().filter_map(|id| leaving.people.get(&ProfileId(id))) {
                rows.insert(profile.id.0, (profile.version, leaving.stamp.clone()));
                people.insert(profile.id, Standing::Live(Arc::clone(profile)));
            }
            for (profile, stamp) in profiles::stamped(tx, workspace_id, unread).await? {
                rows.insert(profile.id.0, (profile.version, stamp));
                people.insert(profile.id, Standing::Live(Arc::new(profile)));
            }
            // Merged, erased, or never there: that is looked into under the locks.
            if people.len() != ids.len() {
                return Err(StoreError::Raced);
            }
            **basis = Some(Basis {
                workspace: workspace.clone(),
                barred: Vec::new(),
                asked: needs.keys.clone(),
                rows,
                stamp: leaving.stamp.clone(),
                is_apart: leaving.is_apart(needs, &ids),
            });
        }
        Reading::Locked(_) | Reading::Rehearsed => {}
    }
    let unread: Vec<Uuid> = ids.iter().copied().filter(|id| !people.contains_key(&ProfileId(*id))).collect();
    for profile in profiles::whole(tx, workspace_id, unread, lock).await? {
        people.insert(profile.id, Standing::Live(Arc::new(profile)));
    }
    let mut missing: Vec<Uuid> = ids.into_iter().filter(|id| !people.contains_key(&ProfileId(*id))).collect();
    if !missing.is_empty() {
        let merged = profiles::redirects(tx, workspace_id, missing.iter().copied()).await?;
        let survivors: BTreeSet<Uuid> = merged.iter().map(|(_, to)| *to).filter(|id| !people.contains_key(&ProfileId(*id))).collect();
        for profile in profiles::whole(tx, workspace_id, survivors.iter().copied(), lock).await? {
            people.insert(profile.id, Standing::Live(Arc::new(profile)));
        }
        missing.retain(|id| !merged.iter().any(|(from, _)| from == id));
        // Whom a merged id led to may have been erased since.
        missing.extend(survivors.into_iter().filter(|id| !people.contains_key(&ProfileId(*id))));
        people.extend(merged.into_iter().map(|(from, to)| (ProfileId(from), Standing::Merged(ProfileId(to)))));
    }
    if !missing.is_empty() {
        let erased: Vec<(Uuid,)> = tx
            .all(
                sql("SELECT profile_id FROM erasures WHERE workspace_id = $1 AND profile_id IN (SELECT id FROM {rows} AS r)")
                    .bind(workspace_id)
                    .rows(crate::rows::ids(missing.iter().copied())),
            )
            .await?;
        people.extend(erased.into_iter().map(|(id,)| (ProfileId(id), Standing::Erased)));
        // Between these questions somebody may have been merged further, or come back from a merge: then ask again.
        missing.retain(|id| !people.contains_key(&ProfileId(*id)));
        let is_led_to = |id: &Uuid| people.values().any(|standing| *standing == Standing::Merged(ProfileId(*id)));
        if missing.iter().any(is_led_to)
            || (!missing.is_empty()
                && (!profiles::redirects(tx, workspace_id, missing.iter().copied()).await?.is_empty()
                    || !profiles::documents(tx, workspace_id, missing.iter().copied()).await?.is_empty()))
        {
            return Err(StoreError::Raced);
        }
    }
    let mut held: HashMap<IdentityKey, ProfileId> = HashMap::with_capacity(owners.len());
    for (key, owner) in owners {
        match people.get(&owner) {
            Some(Standing::Live(profile)) if profile.holds(&key) => held.insert(key, owner),
            _ => return Err(StoreError::Raced),
        };
    }
    let merges = reverting::load(tx, workspace_id, &needs.merges, &people).await?;
    let mut directory = Directory::new(workspace.workspace, definitions, people, held);
    directory.know_going(going);
    let mut messages = timeline::known(tx, workspace_id, &needs.messages).await?;
    if let Some(leaving) = early {
        messages.extend(needs.messages.iter().filter_map(|message| Some((message.clone(), leaving.messages.get(message)?.clone()))));
    }
    directory.know(messages);
    directory.remember(merges);
    let hasher = workspace.seal.map(|seal| Hasher::open(key, &seal)).transpose()?;
    if let Some(hasher) = &hasher {
        let barred = suppressions::barred(tx, workspace_id, hasher, &needs.keys).await?;
        if let Reading::Early { basis, .. } = reading
            && let Some(basis) = basis.as_mut()
        {
            basis.barred.clone_from(&barred);
        }
        directory.bar(barred);
    }
    Ok((directory, living, hasher))
}
