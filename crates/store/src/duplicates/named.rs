//! People whom one message names together: suggested in the transaction that read it, since nothing else tells of it.

use std::collections::{BTreeMap, BTreeSet};

use people_domain::{
    Timestamp,
    directory::{Directory, Merge},
    duplicate::{Portrait, compare},
    event::Occurrence,
    id::{ProfileId, WorkspaceId},
    property::Definitions,
};

use super::{
    frequencies, people,
    suggestions::{Found, Pair, Word, pair, standing, upsert},
};
use crate::{StoreError, Tx};

/// Who was named together, with the kinds of the keys.
#[derive(Debug)]
pub(crate) struct Named {
    pairs: BTreeMap<Pair, BTreeSet<String>>,
    definitions: Definitions,
    at: Timestamp,
}

impl Named {
    /// What a group leaves to look at; asked before it is saved.
    pub(crate) fn of(directory: &Directory, occurrences: &[Occurrence], merges: &[Merge]) -> Option<Self> {
        let survivor = |id: ProfileId| {
            let mut at = id;
            while let Some(merge) = merges.iter().find(|merge| merge.secondary.id == at) {
                at = merge.primary.id;
            }
            at.0
        };
        let refused = occurrences.iter().flat_map(|occurrence| {
            occurrence
                .refused
                .iter()
                .filter(|key| key.code == "identity_conflict")
                .filter_map(|key| Some((occurrence.profile_id, key.profile_id?, key.kind.as_str(), occurrence.received_at)))
        });
        let upserted = directory.conflicts().iter().map(|named| (named.chosen, named.other, named.kind.as_str(), named.at));
        let mut pairs: BTreeMap<Pair, BTreeSet<String>> = BTreeMap::new();
        let mut at = Timestamp::MIN;
        for (one, other, kind, when) in refused.chain(upserted) {
            let (one, other) = (survivor(one), survivor(other));
            if one != other {
                pairs.entry(pair(one, other)).or_default().insert(kind.to_owned());
                at = at.max(when);
            }
        }
        (!pairs.is_empty()).then(|| Self { pairs, definitions: directory.definitions.clone(), at })
    }

    /// Suggests them. After the group is saved; its documents are held, so nobody judges them on another state meanwhile.
    pub(crate) async fn suggest(self, tx: &mut Tx, workspace: WorkspaceId) -> Result<(), StoreError> {
        let both: BTreeSet<_> = self.pairs.keys().flat_map(|(one, other)| [*one, *other]).collect();
        let standing = standing(tx, workspace, both.clone()).await?;
        let people = people(tx, workspace, both.into_iter().collect()).await?;
        let frequencies = frequencies(tx, workspace).await?;
        let mut found = Vec::new();
        for (pair, kinds) in self.pairs {
            let row = standing.get(&pair);
            let (Some(one), Some(other)) = (people.get(&pair.0), people.get(&pair.1)) else { continue };
            if row.is_some_and(|row| !row.is_open()) {
                continue;
            }
            let kinds: Vec<String> =
                row.into_iter().flat_map(super::suggestions::Standing::kinds).chain(kinds).collect::<BTreeSet<_>>().into_iter().collect();
            let judgement = compare(&Portrait::of(one, &self.definitions), &Portrait::of(other, &self.definitions), &frequencies)
                .with_named_together(&kinds);
            found.push(Found { pair, judgement, named_by: kinds.join(" ") });
        }
        upsert(tx, workspace, &found, Word::Last, self.at).await
    }
}
