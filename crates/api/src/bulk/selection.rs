//! Who is meant: a filter, a search, ids, or explicitly everyone; and the walk that tells whether they are still the same.

use people_domain::{
    Issue, Timestamp,
    filter::{Field, Filter, MAX_VALUES, Scalar, Test},
    id::{ProfileId, RecordId, WorkspaceId},
    page::{Sort, SortField},
};
use people_store::{Question, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::{
    problem::{ApiResult, Problem},
    profiles::{
        country,
        search::{filter_of, words},
    },
};

/// People of one chunk of the walk, and of one input of the job.
pub const PIECE: usize = 5_000;
/// Bytes of a person in an input: id and version.
const PACKED: usize = 24;

/// Who is meant. `q` and `filter` hold at once; nothing at all is refused, since it would be everyone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// As in the search.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    pub q: Option<String>,
    /// 1 to 1,000 ids of profiles. One that was merged away means the survivor.
    pub ids: Option<Vec<String>>,
    /// `true`: everyone. Cannot stand beside the others.
    pub all: Option<bool>,
}

/// A selection as of a walk: how many, and a hash over who they are and in which version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    pub count: i64,
    pub hash: String,
}

impl Selection {
    /// The question that finds them. `now` is the clock of the preview, so that "in the last 30 days" does not slide
    /// before the execution.
    pub async fn question(&self, store: &Store, workspace: WorkspaceId, now: Timestamp) -> ApiResult<Question> {
        let refused = |code, detail: &str| Problem::invalid(vec![Issue::new("/selection", code, detail)]);
        let narrowed = self.filter.is_some() || self.q.is_some() || self.ids.is_some();
        match (self.all, narrowed) {
            (Some(true), true) => {
                return Err(refused("invalid_selection", "`all` means everyone; leave out filter, q and ids, or leave out all"));
            }
            (Some(true), false) | (None | Some(false), true) => {}
            (None | Some(false), false) => {
                return Err(refused("empty_selection", "say who is meant by filter, q or ids; everyone is {\"all\": true}"));
            }
        }
        let under =
            |problem: Problem| Problem { errors: problem.errors.into_iter().map(|issue| issue.under("/selection")).collect(), ..problem };
        let query = words(self.q.as_deref()).map_err(under)?;
        if self.q.is_some() && query.words.is_empty() {
            return Err(refused("empty_selection", "q has no word to search for; everyone is {\"all\": true}"));
        }
        let mut filter = filter_of(store, workspace, self.filter.as_ref()).await.map_err(under)?;
        // What a builder of filters sends while it is empty.
        if self.q.is_none() && self.ids.is_none() && self.all != Some(true) && filter.constant() == Some(true) {
            return Err(refused("empty_selection", "this filter matches everyone; if that is meant, say {\"all\": true}"));
        }
        if let Some(ids) = &self.ids {
            let ids = parsed(ids)?;
            // An id that was merged away answers for the survivor, here as everywhere.
            let survivors = store.survivors(workspace, ids.clone()).await?;
            let lived = ids.iter().map(|id| survivors.get(id).unwrap_or(id));
            filter = Filter::All(vec![filter, Filter::Is(Field::Id, Test::In(lived.map(|id| Scalar::Text(id.0.to_string())).collect()))]);
        }
        Ok(Question {
            workspace,
            country: if query.words.is_empty() { None } else { country(store, workspace).await? },
            query,
            filter,
            // The one order that nothing a job does can change.
            sort: Sort { field: SortField::CreatedAt, descending: false },
            after: None,
            pinned: Vec::new(),
            limit: i64::try_from(PIECE).unwrap_or(1),
            count: false,
            now,
        })
    }
}

fn parsed(ids: &[String]) -> ApiResult<Vec<ProfileId>> {
    if !(1..=MAX_VALUES).contains(&ids.len()) {
        let detail = format!("1 to {MAX_VALUES} ids; for more people use a filter");
        return Err(Problem::invalid(vec![Issue::new("/selection/ids", "limit_exceeded", detail)]));
    }
    let mut issues = Vec::new();
    let mut found = Vec::new();
    for (i, text) in ids.iter().enumerate() {
        match uuid::Uuid::try_parse(text) {
            Ok(id) => found.push(ProfileId(id)),
            Err(_) => issues.push(Issue::new(format!("/selection/ids/{i}"), "invalid_value", "expected the id of a profile")),
        }
    }
    if issues.is_empty() { Ok(found) } else { Err(Problem::invalid(issues)) }
}

/// Walks a selection in constant memory. With a job, its people are kept as the job's inputs on the way.
pub async fn walk(store: &Store, question: Question, keep_for: Option<RecordId>) -> ApiResult<Matched> {
    let workspace = question.workspace;
    let (mut count, mut hash) = (0_i64, Sha256::new());
    let mut walk = store.walk(question);
    // Pieces are all of one size but the last: the job finds a person's place by division.
    let (mut piece, mut packed) = (0, Vec::with_capacity(PIECE * PACKED));
    while let Some(people) = walk.next_versions().await? {
        for (id, version) in people {
            count += 1;
            hash.update(id.0.as_bytes());
            hash.update(version.to_be_bytes());
            packed.extend_from_slice(id.0.as_bytes());
            packed.extend_from_slice(&version.to_be_bytes());
            if packed.len() == PIECE * PACKED {
                if let Some(job) = keep_for {
                    store.keep_input(workspace, job, piece, packed).await?;
                    piece += 1;
                }
                packed = Vec::with_capacity(PIECE * PACKED);
            }
        }
    }
    if let Some(job) = keep_for.filter(|_| !packed.is_empty()) {
        store.keep_input(workspace, job, piece, packed).await?;
    }
    let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Matched { count, hash })
}

/// The people of one input, each in the version selected.
pub fn unpack(packed: &[u8]) -> Vec<(ProfileId, u64)> {
    let person = |bytes: &[u8]| {
        let (id, version) = bytes.split_first_chunk::<16>()?;
        Some((ProfileId(uuid::Uuid::from_bytes(*id)), u64::from_be_bytes(version.try_into().ok()?)))
    };
    packed.chunks_exact(PACKED).filter_map(person).collect()
}
