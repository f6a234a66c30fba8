//! The one way to find people: list, search, count, export, and whatever selects them, all ask here.
//!
//! The read model answers from memory. Before it is loaded, and for what it does not keep (events, whole values of fields
//! with an index), two plans in SQL do. The *walk* goes along the index of the order asked for and tests each person; it is
//! unbeatable when many match. The *candidates* plan starts from an index that singles people out (labels, attribute
//! values) and sorts what it finds; it wins when few match. A bounded walk is tried first: it answers the
//! common case at once and its cost is capped; only when it comes up short do the candidates have their turn. Nothing
//! else builds a WHERE over profiles.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use people_domain::{
    Timestamp,
    filter::Filter,
    id::{ProfileId, WorkspaceId},
    identity::{IdentityKey, IdentityKind},
    page::{Position, Sort, SortField, SortKey},
    search::Query,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Document, Store, StoreError, Tx,
    dialect::Engine,
    filter_sql::Composer,
    read_model::{Kept, Page},
    statement::{Arg, Sql, sql},
    time::At,
};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub workspace: WorkspaceId,
    pub query: Query,
    pub filter: Filter,
    pub sort: Sort,
    /// Continues after this row.
    pub after: Option<Position>,
    /// People shown first on an earlier page because the text typed is a whole identity of theirs.
    pub pinned: Vec<ProfileId>,
    /// The workspace's country, to read phone numbers typed nationally.
    pub country: Option<String>,
    pub limit: i64,
    pub count: bool,
    pub now: Timestamp,
}

/// A page, and where the next one begins.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub documents: Vec<Document>,
    pub next: Option<Position>,
    pub pinned: Vec<ProfileId>,
    pub total: Option<i64>,
}

/// Rows tested by the first, bounded walk: a text is tested fast, a filter's conditions cost a probe each.
const WALK_TEXT: i64 = 20_000;
const WALK_FILTER: i64 = 1_000;
/// Most people shown first for a whole identity.
const PINS: usize = 5;
/// Pages made from memory before one is given whose people changed at that very moment.
const TRIES: u32 = 3;
/// A source of candidates is worth its while up to here.
const FEW: i64 = 20_000;

#[derive(FromRow)]
struct Hit {
    id: Uuid,
    key_time: At,
    key_text: String,
}

impl Store {
    /// A page, and its total when asked for.
    pub async fn find(&self, question: Question) -> Result<Found, StoreError> {
        let question = Arc::new(question);
        for attempt in 1..=TRIES {
            let Some(kept) = self.keeper.ready(self, question.workspace).await? else { break };
            match self.page_in_memory(&kept, &question, attempt == TRIES).await? {
                Some(Some(found)) => return Ok(found),
                // Somebody on the page changed while it was made.
                Some(None) => {}
                None => break,
            }
        }
        self.read(move |tx| Box::pin(async move { page(tx, &question).await })).await
    }

    /// The exact number of people a question matches.
    pub async fn count(&self, question: Question) -> Result<i64, StoreError> {
        let question = Arc::new(question);
        if let Some(kept) = self.keeper.ready(self, question.workspace).await? {
            let asked = Arc::clone(&question);
            if let Some(answer) = kept.ask(move |model| model.answer(&asked, &[], 0, true)).await? {
                return Ok(answer.total.and_then(|n| i64::try_from(n).ok()).unwrap_or(0));
            }
        }
        self.read(move |tx| Box::pin(async move { count(tx, &question).await })).await
    }

    /// The page from the read model: its people are judged there, their documents read after. `None`: memory cannot
    /// answer; `Some(None)`: one of the people is not any more what the model judged.
    async fn page_in_memory(
        &self,
        kept: &Arc<Kept>,
        question: &Arc<Question>,
        last_try: bool,
    ) -> Result<Option<Option<Found>>, StoreError> {
        let wanted = usize::try_from(question.limit).unwrap_or(0);
        let mut pinned = question.pinned.clone();
        let mut ids: Vec<Uuid> = Vec::new();
        if question.after.is_none() && !question.query.words.is_empty() {
            let rows: Vec<(Uuid,)> = self.pools.all(exact(self.pools.engine(), question)).await?;
            ids = rows.into_iter().take(wanted).map(|(id,)| id).collect();
            pinned = ids.iter().copied().map(ProfileId).collect();
        }
        let rest = wanted - ids.len();
        let (asked, shown) = (Arc::clone(question), pinned.clone());
        // A page filled by people shown first asks for one more, to know whether there is a next page.
        let Some(answer) = kept.ask(move |model| model.answer(&asked, &shown, rest.max(1), asked.count)).await? else { return Ok(None) };
        let mut page = answer.page;
        if rest == 0 {
            page = Page { more: !page.people.is_empty(), ..Page::default() };
        }
        ids.extend(page.people.iter().map(|(id, _)| id.0));
        let documents = if ids.is_empty() {
            Vec::new()
        } else {
            let rows: Vec<Document> = self.pools.all(crate::profiles::documents_sql(question.workspace, ids.iter().copied())).await?;
            sorted(rows, &ids)
        };
        let judged: HashMap<Uuid, u32> = page.people.iter().map(|(id, version)| (id.0, *version)).collect();
        let same = documents.len() == ids.len()
            && documents
                .iter()
                .all(|d| judged.get(&d.profile_id).is_none_or(|version| crate::read_model::same_version(d.version, *version)));
        if !same && !last_try {
            return Ok(Some(None));
        }
        let next = if page.more { page.last.or_else(|| question.after.clone()).or(Some(beginning(question.sort))) } else { None };
        let total = answer.total.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Ok(Some(Some(Found { documents, next, pinned, total })))
    }
}

/// Everyone a question matches, a chunk at a time, each chunk of one instant.
#[derive(Debug)]
pub struct Walk {
    store: Store,
    question: Question,
    done: bool,
}

impl Store {
    /// Walks along the index of the question's order; for answers that take everyone, no other plan is better.
    pub fn walk(&self, question: Question) -> Walk {
        Walk { store: self.clone(), question, done: false }
    }
}

impl Walk {
    /// The next chunk of at most the question's limit; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Document>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let question = self.question.clone();
        let (documents, last) = self
            .store
            .read(move |tx| {
                Box::pin(async move {
                    let (ids, last) = stretch(tx, &question).await?;
                    Ok((in_order(tx, question.workspace, ids).await?, last))
                })
            })
            .await?;
        self.done = i64::try_from(documents.len()).unwrap_or(0) < self.question.limit;
        self.question.after = last;
        Ok((!documents.is_empty()).then_some(documents))
    }
}

impl Walk {
    /// As [`Walk::next`], without the documents: who they are, and the version they were found in.
    pub async fn next_versions(&mut self) -> Result<Option<Vec<(ProfileId, i64)>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let question = self.question.clone();
        let (versions, last) = self
            .store
            .read(move |tx| {
                Box::pin(async move {
                    let (ids, last) = stretch(tx, &question).await?;
                    let rows: Vec<(Uuid, i64)> = tx
                        .all(
                            sql("SELECT d.profile_id, d.version FROM {rows} AS r CROSS JOIN profile_documents AS d
                                 WHERE d.workspace_id = $1 AND d.profile_id = r.id")
                            .bind(question.workspace)
                            .rows(crate::rows::ids(ids.iter().copied())),
                        )
                        .await?;
                    let mut versions: HashMap<Uuid, i64> = rows.into_iter().collect();
                    let found: Vec<(ProfileId, i64)> =
                        ids.into_iter().filter_map(|id| versions.remove(&id).map(|version| (ProfileId(id), version))).collect();
                    Ok((found, last))
                })
            })
            .await?;
        self.done = i64::try_from(versions.len()).unwrap_or(0) < self.question.limit;
        self.question.after = last;
        Ok((!versions.is_empty()).then_some(versions))
    }
}

/// The next people of a walk in order, and where it stands after them.
async fn stretch(tx: &mut Tx, question: &Question) -> Result<(Vec<Uuid>, Option<Position>), StoreError> {
    let hits: Vec<Hit> = tx.all(walk(tx.engine(), question, &[], question.limit, None)).await?;
    let last = hits.last().map(|hit| position(question.sort, hit));
    Ok((hits.into_iter().map(|hit| hit.id).collect(), last))
}

async fn page(tx: &mut Tx, question: &Question) -> Result<Found, StoreError> {
    let wanted = usize::try_from(question.limit).unwrap_or(0);
    let mut ids: Vec<Uuid> = Vec::new();
    let mut pinned = question.pinned.clone();
    if question.after.is_none() && !question.query.words.is_empty() {
        let rows: Vec<(Uuid,)> = tx.all(exact(tx.engine(), question)).await?;
        pinned = rows.into_iter().take(wanted).map(|(id,)| ProfileId(id)).collect();
        ids.extend(pinned.iter().map(|id| id.0));
    }
    let rest = question.limit - i64::try_from(ids.len()).unwrap_or(0);
    let mut hits = hits(tx, question, &pinned, rest + 1).await?;
    let more = hits.len() > usize::try_from(rest).unwrap_or(0);
    hits.truncate(usize::try_from(rest).unwrap_or(0));
    let next = if more {
        hits.last().map(|last| position(question.sort, last)).or_else(|| question.after.clone()).or(Some(beginning(question.sort)))
    } else {
        None
    };
    ids.extend(hits.iter().map(|hit| hit.id));
    let documents = in_order(tx, question.workspace, ids).await?;
    let total = if question.count { Some(count(tx, question).await?) } else { None };
    Ok(Found { documents, next, pinned, total })
}

/// Where a walk begins: for a page that was filled by people shown first.
fn beginning(sort: Sort) -> Position {
    Position { key: start(sort), id: ProfileId(if sort.descending { Uuid::max() } else { Uuid::nil() }) }
}

fn start(sort: Sort) -> SortKey {
    match (sort.field, sort.descending) {
        (SortField::Name, true) => SortKey::Text("\u{10FFFF}\u{10FFFF}".to_owned()),
        (SortField::Name, false) => SortKey::Text(String::new()),
        (_, true) => SortKey::Time(Timestamp::MAX.micros()),
        (_, false) => SortKey::Time(Timestamp::MIN.micros()),
    }
}

fn position(sort: Sort, hit: &Hit) -> Position {
    let key = match sort.field {
        SortField::Name => SortKey::Text(hit.key_text.clone()),
        _ => SortKey::Time(hit.key_time.0.micros()),
    };
    Position { key, id: ProfileId(hit.id) }
}

async fn in_order(tx: &mut Tx, workspace: WorkspaceId, ids: Vec<Uuid>) -> Result<Vec<Document>, StoreError> {
    let rows = crate::profiles::documents(tx, workspace, ids.iter().copied(), false).await?;
    Ok(sorted(rows, &ids))
}

fn sorted(mut rows: Vec<Document>, ids: &[Uuid]) -> Vec<Document> {
    let place: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    rows.sort_by_key(|row| place.get(&row.profile_id).copied());
    rows
}

/// People one of whose identities is exactly what was typed, and who match the filter. The kinds a workspace uses are
/// found by jumping along the primary key, a step each, so that no index by value alone is needed.
fn exact(engine: Engine, question: &Question) -> Sql {
    let typed = question.query.typed.as_str();
    let mut keys: Vec<String> = vec![typed.to_owned()];
    for kind in [IdentityKind::email(), IdentityKind::phone()] {
        if let Ok(key) = IdentityKey::parse(&kind, typed, question.country.as_deref()) {
            keys.extend(key.variants().into_iter().map(|k| k.value));
        }
    }
    keys.sort();
    keys.dedup();
    let mut composer = Composer::new(engine, question.now, question.workspace);
    let list: Vec<String> = keys.into_iter().map(|key| composer.bind(key)).collect();
    let condition = composer.condition(&question.filter);
    let text = format!(
        // The keys first, then their people: as a condition on people, SQLite would walk everyone in search of them.
        "SELECT p.id
         FROM (
             WITH RECURSIVE kinds (kind) AS (
                 SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1
                 UNION ALL
                 SELECT (SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1 AND i.kind > k.kind)
                 FROM kinds AS k WHERE k.kind IS NOT NULL
             )
             SELECT DISTINCT i.profile_id FROM kinds AS k CROSS JOIN profile_identities AS i
             WHERE i.workspace_id = $1 AND i.kind = k.kind AND i.value IN ({})
         ) AS f CROSS JOIN profiles AS p
         WHERE p.workspace_id = $1 AND p.id = f.profile_id AND {condition}
         ORDER BY p.last_seen_at DESC, p.id LIMIT {PINS}",
        list.join(", ")
    );
    Sql::composed(text, composer.args)
}

/// The rows after the cursor, in order, by whichever plan gets there.
async fn hits(tx: &mut Tx, question: &Question, pinned: &[ProfileId], limit: i64) -> Result<Vec<Hit>, StoreError> {
    let unconditional = question.query.words.is_empty() && question.filter == Filter::EVERYONE;
    if unconditional {
        return tx.all(walk(tx.engine(), question, pinned, limit, None)).await;
    }
    // No index knows parts of texts. Where one is rare, the table is read once, in its own order, which is many times
    // faster than along an index.
    let cap = if question.filter == Filter::EVERYONE { WALK_TEXT } else { WALK_FILTER };
    let first: Vec<Hit> = tx.all(walk(tx.engine(), question, pinned, limit, Some(cap))).await?;
    if i64::try_from(first.len()).unwrap_or(0) >= limit {
        return Ok(first);
    }
    let source = source(tx, question).await?;
    tx.all(candidates(tx.engine(), question, pinned, limit, source)).await
}

struct Order {
    column: &'static str,
    direction: &'static str,
    beyond: &'static str,
}

fn order(sort: Sort) -> Order {
    let column = match sort.field {
        SortField::LastSeenAt => "p.last_seen_at",
        SortField::CreatedAt => "p.created_at",
        SortField::UpdatedAt => "p.updated_at",
        SortField::Name => "p.name_key",
    };
    let (direction, beyond) = if sort.descending { ("DESC", "<") } else { ("ASC", ">") };
    Order { column, direction, beyond }
}

/// What a walk over texts carries along.
fn columns(sort: Sort) -> &'static str {
    match sort.field {
        SortField::LastSeenAt => "p.id, p.last_seen_at, p.search_text",
        SortField::CreatedAt => "p.id, p.created_at, p.search_text",
        SortField::UpdatedAt => "p.id, p.updated_at, p.search_text",
        SortField::Name => "p.id, p.created_at, p.name_key, p.search_text",
    }
}

fn keys(sort: Sort) -> &'static str {
    match sort.field {
        SortField::LastSeenAt => "p.id, p.last_seen_at AS key_time, '' AS key_text",
        SortField::CreatedAt => "p.id, p.created_at AS key_time, '' AS key_text",
        SortField::UpdatedAt => "p.id, p.updated_at AS key_time, '' AS key_text",
        SortField::Name => "p.id, p.created_at AS key_time, p.name_key AS key_text",
    }
}

/// `AND (key, id) < (…)`: the rows after the cursor.
fn after(composer: &mut Composer, question: &Question, order: &Order) -> String {
    let Some(position) = &question.after else { return String::new() };
    let key = match &position.key {
        SortKey::Time(micros) => composer.bind(Timestamp::from_micros(*micros).unwrap_or(Timestamp::MIN)),
        SortKey::Text(text) => composer.bind(text.as_str()),
    };
    let id = composer.bind(position.id);
    format!(" AND ({}, p.id) {} ({key}, {id})", order.column, order.beyond)
}

/// What a person must satisfy: words, filter, not shown first already.
fn predicate(composer: &mut Composer, question: &Question, pinned: &[ProfileId]) -> String {
    let mut text = String::from("(1 = 1)");
    for word in &question.query.words {
        let needles: Vec<String> =
            word.needles.iter().map(|needle| format!("{{position}}(p.search_text, {}) > 0", composer.bind(needle.as_str()))).collect();
        let _ = write!(text, " AND ({})", needles.join(" OR "));
    }
    if question.filter != Filter::EVERYONE {
        let _ = write!(text, " AND {}", composer.condition(&question.filter));
    }
    for id in pinned {
        let _ = write!(text, " AND p.id <> {}", composer.bind(*id));
    }
    text
}

fn walk(engine: Engine, question: &Question, pinned: &[ProfileId], limit: i64, cap: Option<i64>) -> Sql {
    let mut composer = Composer::new(engine, question.now, question.workspace);
    let order = order(question.sort);
    let after = after(&mut composer, question, &order);
    let predicate = predicate(&mut composer, question, pinned);
    let (column, direction) = (order.column, order.direction);
    let limit = composer.bind(limit);
    let keys = keys(question.sort);
    let text = match cap {
        None => format!(
            "SELECT {keys} FROM profiles AS p
             WHERE p.workspace_id = $1{after} AND {predicate}
             ORDER BY {column} {direction}, p.id {direction} LIMIT {limit}"
        ),
        Some(cap) => {
            let cap = composer.bind(cap);
            // A text alone needs three columns; a filter may ask for any.
            let all = if question.filter == Filter::EVERYONE { columns(question.sort) } else { "p.*" };
            format!(
                "SELECT {keys} FROM (
                     SELECT {all} FROM profiles AS p
                     WHERE p.workspace_id = $1{after}
                     ORDER BY {column} {direction}, p.id {direction} LIMIT {cap}
                 ) AS p
                 WHERE {predicate}
                 ORDER BY {column} {direction}, p.id {direction} LIMIT {limit}"
            )
        }
    };
    Sql::composed(text, composer.args)
}

/// Conditions that must all hold, from the top of the filter.
fn conjuncts(filter: &Filter) -> &[Filter] {
    match filter {
        Filter::All(parts) => parts,
        other => std::slice::from_ref(other),
    }
}

/// Chooses where candidates come from. PostgreSQL's planner chooses by itself; SQLite is told, by probing how many
/// people each indexed condition singles out, in one statement.
async fn source(tx: &mut Tx, question: &Question) -> Result<Option<usize>, StoreError> {
    if tx.engine() == Engine::Postgres {
        return Ok(None);
    }
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let mut probes: Vec<String> = Vec::new();
    for (i, condition) in conjuncts(&question.filter).iter().enumerate().take(8) {
        if let Some(source) = composer.source(condition) {
            probes.push(format!("SELECT {i} AS which, count(*) AS size FROM ({source} LIMIT {FEW})"));
        }
    }
    if probes.is_empty() {
        return Ok(None);
    }
    let mut sizes: Vec<(i64, i64)> = tx.all(Sql::composed(probes.join(" UNION ALL "), composer.args)).await?;
    sizes.sort_by_key(|(which, size)| (*size, *which));
    Ok(sizes.first().and_then(|(which, _)| usize::try_from(*which).ok()))
}

/// `FROM …` of the people to be tested.
fn from(composer: &mut Composer, question: &Question, source: Option<usize>) -> String {
    match source.and_then(|which| conjuncts(&question.filter).get(which)).and_then(|condition| composer.source(condition)) {
        Some(people) => {
            format!(
                "(SELECT DISTINCT profile_id FROM ({people})) AS s CROSS JOIN profiles AS p ON p.workspace_id = $1 AND p.id = s.profile_id"
            )
        }
        None => "profiles AS p".to_owned(),
    }
}

fn candidates(engine: Engine, question: &Question, pinned: &[ProfileId], limit: i64, source: Option<usize>) -> Sql {
    let mut composer = Composer::new(engine, question.now, question.workspace);
    let from = from(&mut composer, question, source);
    let order = order(question.sort);
    let after = after(&mut composer, question, &order);
    let predicate = predicate(&mut composer, question, pinned);
    let limit = composer.bind(limit);
    let (column, direction) = (order.column, order.direction);
    let text = match engine {
        // OFFSET 0 keeps the planner from walking the order's index: that walk has been tried.
        Engine::Postgres => format!(
            "SELECT {} FROM (SELECT p.* FROM {from} WHERE p.workspace_id = $1{after} AND {predicate} OFFSET 0) AS p
             ORDER BY {column} {direction}, p.id {direction} LIMIT {limit}",
            keys(question.sort)
        ),
        // The plus sign does the same in SQLite.
        Engine::Sqlite => format!(
            "SELECT {} FROM {from} WHERE p.workspace_id = $1{after} AND {predicate}
             ORDER BY +{column} {direction}, p.id {direction} LIMIT {limit}",
            keys(question.sort)
        ),
    };
    Sql::composed(text, composer.args)
}

async fn count(tx: &mut Tx, question: &Question) -> Result<i64, StoreError> {
    if question.query.words.is_empty() && question.filter == Filter::EVERYONE {
        let row: Option<(i64,)> =
            tx.optional(sql("SELECT count(*) FROM profiles WHERE workspace_id = $1").bind(question.workspace)).await?;
        return Ok(row.map_or(0, |(n,)| n));
    }
    let source = source(tx, question).await?;
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let from = from(&mut composer, question, source);
    let predicate = predicate(&mut composer, question, &[]);
    let text = format!("SELECT count(*) FROM {from} WHERE p.workspace_id = $1 AND {predicate}");
    let args: Vec<Arg> = composer.args;
    let row: Option<(i64,)> = tx.optional(Sql::composed(text, args)).await?;
    Ok(row.map_or(0, |(n,)| n))
}
