//! The one way to find people: list, search, count, export, and whatever selects them, all ask here.
//!
//! The read model answers from memory; what it does not keep of a condition (whole identities, single events) is looked
//! up first and handed to it. Before it is loaded, and where there is no room for it, two plans in SQL do. The *walk*
//! goes along the order asked for and tests each person; it is unbeatable when many match. The *candidates* plan starts
//! from an index that singles people out (identities, labels, segments), or from everyone, and sorts what it finds. A
//! bounded walk is tried first: it answers the common case at once and its cost is capped; only when it comes up short
//! do the candidates have their turn. Nothing else builds a WHERE over profiles.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use people_domain::{
    Timestamp,
    filter::{Filter, Test},
    id::{ProfileId, WorkspaceId},
    identity::{IdentityKey, IdentityKind},
    page::{Position, Sort, SortField, SortKey},
    search::Query,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Document, Store, StoreError, Tx, by_type,
    dialect::Engine,
    filter_sql::Composer,
    read_model::{Kept, Outside, Page},
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

/// People tested by the first, bounded walk.
const WALK: i64 = 2_000;
/// People asked about one by one, at most; more, and all events of a type are read once.
const MANY: usize = 100_000;
/// People asked about in one statement.
const CHUNK: usize = 20_000;
/// Positions an export reads ahead where no index gives its order.
const AHEAD: i64 = 50_000;
/// Most people shown first for a whole identity.
const PINS: usize = 5;
/// Pages made from memory before one is given whose people changed at that very moment.
const TRIES: u32 = 3;
/// A source of candidates is worth its while up to here.
const FEW: i64 = 20_000;

#[derive(Debug, FromRow)]
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
            let outside = self.outside(&kept, &question).await?;
            if let Some(answer) = kept.ask(move |model| model.answer(&asked, &outside, &[], 0, true)).await? {
                return Ok(answer.total.and_then(|n| i64::try_from(n).ok()).unwrap_or(0));
            }
        }
        self.read(move |tx| Box::pin(async move { count(tx, &question).await })).await
    }

    /// Asks the database about conditions that memory cannot judge alone: whole identities by their index, events of
    /// those whose tallies leave it open. A statement for each such condition (and each chunk of very many people).
    async fn outside(&self, kept: &Arc<Kept>, question: &Arc<Question>) -> Result<Outside, StoreError> {
        let mut outside = Outside::default();
        let engine = self.pools.engine();
        for condition in question.filter.leaves() {
            let mut composer = Composer::new(engine, question.now, question.workspace);
            match condition {
                Filter::Event(test) => {
                    let (asked, now) = (test.clone(), question.now);
                    let ask = kept.ask(move |model| model.to_ask(&asked, now)).await?;
                    if ask.is_empty() {
                        continue;
                    }
                    let mut counted: HashMap<Uuid, i64> = HashMap::new();
                    let events = composer.events(test);
                    if ask.len() > MANY {
                        // The table is read once rather than looked into for each of them.
                        let text = format!("SELECT e.profile_id, count(*) AS n FROM events AS e WHERE {events} GROUP BY e.profile_id");
                        let rows: Vec<(Uuid, i64)> = self.pools.all(Sql::composed(text, composer.args)).await?;
                        counted.extend(rows);
                    } else {
                        let text = by_type::of_people("e.profile_id, count(*) AS n", &events, " GROUP BY e.profile_id");
                        for chunk in ask.chunks(CHUNK) {
                            let statement =
                                Sql::composed(text.clone(), composer.args.clone()).rows(crate::rows::ids(chunk.iter().copied()));
                            let rows: Vec<(Uuid, i64)> = self.pools.all(statement).await?;
                            counted.extend(rows);
                        }
                    }
                    let passed = ask.iter().copied().filter(|id| test.allows(counted.get(id).copied().unwrap_or(0))).collect();
                    outside.tell_of(condition, ask.into_iter().collect(), passed);
                }
                Filter::Is(_, Test::In(_)) => {
                    if let Some(source) = composer.identities(condition) {
                        let holds = composer.condition(condition);
                        let text = format!(
                            "SELECT DISTINCT p.id FROM ({source}) AS m CROSS JOIN profiles AS p
                             WHERE p.workspace_id = $1 AND p.id = m.profile_id AND {holds}"
                        );
                        let rows: Vec<(Uuid,)> = self.pools.all(Sql::composed(text, composer.args)).await?;
                        outside.tell(condition, rows.into_iter().map(|(id,)| id).collect());
                    }
                }
                _ => {}
            }
        }
        Ok(outside)
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
        let outside = self.outside(kept, question).await?;
        // A page filled by people shown first asks for one more, to know whether there is a next page.
        let Some(answer) = kept.ask(move |model| model.answer(&asked, &outside, &shown, rest.max(1), asked.count)).await? else {
            return Ok(None);
        };
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
    /// Where SQL has looked ahead to.
    ahead: VecDeque<Hit>,
    done: bool,
}

impl Store {
    /// Walks along the question's order.
    pub fn walk(&self, question: Question) -> Walk {
        Walk { store: self.clone(), question, ahead: VecDeque::new(), done: false }
    }
}

impl Walk {
    pub(crate) const fn workspace(&self) -> WorkspaceId {
        self.question.workspace
    }

    /// The next chunk of at most the question's limit; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Document>>, StoreError> {
        while !self.done {
            let documents = if self.ahead.is_empty() && self.store.keeper.ready(&self.store, self.question.workspace).await?.is_some() {
                let found = self.store.find(self.question.clone()).await?;
                self.done = found.next.is_none();
                self.question.after = found.next;
                self.question.pinned = found.pinned;
                found.documents
            } else {
                self.next_by_sql().await?
            };
            if !documents.is_empty() {
                return Ok(Some(documents));
            }
        }
        Ok(None)
    }

    /// Positions are read far ahead, since most orders have no index; documents as they are asked for.
    async fn next_by_sql(&mut self) -> Result<Vec<Document>, StoreError> {
        if self.ahead.is_empty() {
            let question = self.question.clone();
            let hits: Vec<Hit> = self
                .store
                .read(move |tx| Box::pin(async move { tx.all(walk(tx.engine(), &question, &question.pinned, AHEAD, None)).await }))
                .await?;
            self.done = hits.is_empty();
            self.ahead = hits.into();
        }
        let chunk: Vec<Hit> = self.ahead.drain(..self.ahead.len().min(usize::try_from(self.question.limit).unwrap_or(1))).collect();
        if let Some(last) = chunk.last() {
            self.question.after = Some(position(self.question.sort, last));
        }
        let (workspace, ids) = (self.question.workspace, chunk.into_iter().map(|hit| hit.id).collect());
        self.store.read(move |tx| Box::pin(async move { in_order(tx, workspace, ids).await })).await
    }
}

impl Walk {
    /// As [`Walk::next`], without the documents: who they are, and the version they were found in.
    pub async fn next_versions(&mut self) -> Result<Option<Vec<(ProfileId, i64)>>, StoreError> {
        while !self.done {
            let people = self.some_versions().await?;
            if !people.is_empty() {
                return Ok(Some(people));
            }
        }
        Ok(None)
    }

    /// Some people; none of them may be there any more before the walk has come to its end.
    async fn some_versions(&mut self) -> Result<Vec<(ProfileId, i64)>, StoreError> {
        if self.ahead.is_empty()
            && let Some(kept) = self.store.keeper.ready(&self.store, self.question.workspace).await?
        {
            let asked = Arc::new(self.question.clone());
            let outside = self.store.outside(&kept, &asked).await?;
            let limit = usize::try_from(self.question.limit).unwrap_or(1);
            if let Some(answer) = kept.ask(move |model| model.answer(&asked, &outside, &[], limit, false)).await? {
                self.done = !answer.page.more;
                self.question.after = answer.page.last;
                return Ok(answer.page.people.into_iter().map(|(id, version)| (id, i64::from(version))).collect());
            }
        }
        let documents = self.next_by_sql().await?;
        Ok(documents.iter().map(|d| (ProfileId(d.profile_id), d.version & i64::from(u32::MAX))).collect())
    }
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
    let rows = crate::profiles::documents(tx, workspace, ids.iter().copied()).await?;
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
         ) AS f CROSS JOIN profiles AS p CROSS JOIN profile_documents AS d
         WHERE p.workspace_id = $1 AND p.id = f.profile_id AND d.workspace_id = $1 AND d.profile_id = p.id AND {condition}
         ORDER BY d.last_seen_at DESC, p.id LIMIT {PINS}",
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
    let first: Vec<Hit> = tx.all(walk(tx.engine(), question, pinned, limit, Some(WALK))).await?;
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
    /// The order as an index of the driving table has it, to which the id is added.
    by: String,
}

fn order(sort: Sort) -> Order {
    let column = match sort.field {
        SortField::LastSeenAt => "d.last_seen_at",
        SortField::CreatedAt => "p.created_at",
        SortField::UpdatedAt => "p.updated_at",
        SortField::Name => "p.name_key",
    };
    let (direction, beyond) = if sort.descending { ("DESC", "<") } else { ("ASC", ">") };
    let by = match sort.field {
        // The index knows days; within one, the rows are sorted.
        SortField::LastSeenAt => format!("d.seen_day {direction}, d.last_seen_at {direction}"),
        _ => format!("{column} {direction}"),
    };
    Order { column, direction, beyond, by }
}

fn keys(sort: Sort) -> &'static str {
    match sort.field {
        SortField::LastSeenAt => "p.id, d.last_seen_at AS key_time, '' AS key_text",
        SortField::CreatedAt => "p.id, p.created_at AS key_time, '' AS key_text",
        SortField::UpdatedAt => "p.id, p.updated_at AS key_time, '' AS key_text",
        SortField::Name => "p.id, p.created_at AS key_time, p.name_key AS key_text",
    }
}

/// The tables of a question, the one whose index gives the order first. `asks` tells whether the document's row is needed.
fn tables(sort: Sort, asks: bool) -> &'static str {
    match (sort.field, asks) {
        (SortField::LastSeenAt, _) => {
            "profile_documents AS d CROSS JOIN profiles AS p WHERE d.workspace_id = $1 AND p.workspace_id = $1 AND p.id = d.profile_id"
        }
        (_, true) => {
            "profiles AS p CROSS JOIN profile_documents AS d WHERE p.workspace_id = $1 AND d.workspace_id = $1 AND d.profile_id = p.id"
        }
        (_, false) => "profiles AS p WHERE p.workspace_id = $1",
    }
}

/// `AND (key, id) < (…)`: the rows after the cursor.
fn after(composer: &mut Composer, question: &Question, order: &Order) -> String {
    let Some(position) = &question.after else { return String::new() };
    let mut day = String::new();
    let key = match &position.key {
        SortKey::Time(micros) => {
            let at = Timestamp::from_micros(*micros).unwrap_or(Timestamp::MIN);
            if question.sort.field == SortField::LastSeenAt {
                day = format!(" AND d.seen_day {}= {}", order.beyond, composer.bind(at.day()));
            }
            composer.bind(at)
        }
        SortKey::Text(text) => composer.bind(text.as_str()),
    };
    let id = composer.bind(position.id);
    format!("{day} AND ({}, p.id) {} ({key}, {id})", order.column, order.beyond)
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
    let (by, direction) = (&order.by, order.direction);
    let limit = composer.bind(limit);
    let keys = keys(question.sort);
    let text = match cap {
        None => format!(
            "SELECT {keys} FROM {}{after} AND {predicate}
             ORDER BY {by}, p.id {direction} LIMIT {limit}",
            tables(question.sort, composer.asks_documents)
        ),
        Some(cap) => {
            let cap = composer.bind(cap);
            format!(
                "SELECT {keys}
                 FROM (
                     SELECT p.id FROM {}{after}
                     ORDER BY {by}, p.id {direction} LIMIT {cap}
                 ) AS w CROSS JOIN profiles AS p CROSS JOIN profile_documents AS d
                 WHERE p.workspace_id = $1 AND p.id = w.id AND d.workspace_id = $1 AND d.profile_id = w.id AND {predicate}
                 ORDER BY {by}, p.id {direction} LIMIT {limit}",
                tables(question.sort, false)
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

/// Chooses where candidates come from, by probing how many people each indexed condition singles out, in one statement.
async fn source(tx: &mut Tx, question: &Question) -> Result<Option<usize>, StoreError> {
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let mut probes: Vec<String> = Vec::new();
    for (i, condition) in conjuncts(&question.filter).iter().enumerate().take(8) {
        if let Some(source) = composer.source(condition) {
            probes.push(format!("SELECT {i}{{as_bigint}} AS which, count(*) AS size FROM ({source} LIMIT {FEW}) AS s"));
        }
    }
    if probes.is_empty() {
        return Ok(None);
    }
    let mut sizes: Vec<(i64, i64)> = tx.all(Sql::composed(probes.join(" UNION ALL "), composer.args)).await?;
    sizes.retain(|(_, size)| *size < FEW);
    sizes.sort_by_key(|(which, size)| (*size, *which));
    Ok(sizes.first().and_then(|(which, _)| usize::try_from(*which).ok()))
}

/// `FROM …` of the people to be tested.
fn from(composer: &mut Composer, question: &Question, source: Option<usize>) -> String {
    match source.and_then(|which| conjuncts(&question.filter).get(which)).and_then(|condition| composer.source(condition)) {
        Some(people) => format!(
            "(SELECT DISTINCT profile_id FROM ({people}) AS m) AS s CROSS JOIN profiles AS p CROSS JOIN profile_documents AS d
             WHERE p.workspace_id = $1 AND p.id = s.profile_id AND d.workspace_id = $1 AND d.profile_id = s.profile_id"
        ),
        None => tables(question.sort, true).to_owned(),
    }
}

fn candidates(engine: Engine, question: &Question, pinned: &[ProfileId], limit: i64, source: Option<usize>) -> Sql {
    let mut composer = Composer::new(engine, question.now, question.workspace);
    let from = from(&mut composer, question, source);
    let order = order(question.sort);
    let after = after(&mut composer, question, &order);
    let predicate = predicate(&mut composer, question, pinned);
    let limit = composer.bind(limit);
    let direction = order.direction;
    let key = if question.sort.field == SortField::Name { "key_text" } else { "key_time" };
    // The fence keeps the planner from walking the order's index: that walk has been tried.
    let text = format!(
        "SELECT c.id, c.key_time, c.key_text FROM (SELECT {} FROM {from}{after} AND {predicate} {{fence}}) AS c
         ORDER BY c.{key} {direction}, c.id {direction} LIMIT {limit}",
        keys(question.sort)
    );
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
    let args: Vec<Arg> = composer.args;
    let row: Option<(i64,)> = tx.optional(Sql::composed(format!("SELECT count(*) FROM {from} AND {predicate}"), args)).await?;
    Ok(row.map_or(0, |(n,)| n))
}
