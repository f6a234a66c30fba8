//! The one way to find people: list, search, count, export, and whatever selects them, all ask here.
//!
//! Two plans answer a page. The *walk* goes along the index of the order asked for and tests each person; it is
//! unbeatable when many match. The *candidates* plan starts from an index that singles people out (trigrams, labels,
//! attribute values) and sorts what it finds; it wins when few match. A bounded walk is tried first: it answers the
//! common case at once and its cost is capped; only when it comes up short do the candidates have their turn. Nothing
//! else builds a WHERE over profiles, so a faster model can take this file's place.

use std::fmt::Write as _;

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
const WALK_TEXT: i64 = 2_000;
const WALK_FILTER: i64 = 1_000;
const WALK_SHORT: i64 = 20_000;
/// Matches of a text from which walking is the better plan.
const COMMON: i64 = 2_000;
/// Most people shown first for a whole identity.
const PINS: usize = 5;
/// A source of candidates is worth its while up to here.
const FEW: i64 = 20_000;

#[derive(FromRow)]
struct Hit {
    id: Uuid,
    key_time: At,
    key_text: String,
}

impl Store {
    /// A page, its total when asked for, all of one instant.
    pub async fn find(&self, question: Question) -> Result<Found, StoreError> {
        self.read(move |tx| Box::pin(async move { page(tx, &question).await })).await
    }

    /// The exact number of people a question matches.
    pub async fn count(&self, question: Question) -> Result<i64, StoreError> {
        self.read(move |tx| Box::pin(async move { count(tx, &question).await })).await
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
                    let hits: Vec<Hit> = tx.all(walk(tx.engine(), &question, &[], question.limit, None)).await?;
                    let last = hits.last().map(|hit| position(question.sort, hit));
                    let documents = in_order(tx, question.workspace, hits.into_iter().map(|hit| hit.id).collect()).await?;
                    Ok((documents, last))
                })
            })
            .await?;
        self.done = i64::try_from(documents.len()).unwrap_or(0) < self.question.limit;
        self.question.after = last;
        Ok((!documents.is_empty()).then_some(documents))
    }
}

async fn page(tx: &mut Tx, question: &Question) -> Result<Found, StoreError> {
    let wanted = usize::try_from(question.limit).unwrap_or(0);
    let mut ids: Vec<Uuid> = Vec::new();
    let mut pinned = question.pinned.clone();
    if question.after.is_none() && !question.query.words.is_empty() {
        pinned = exact(tx, question).await?;
        pinned.truncate(wanted);
        ids.extend(pinned.iter().map(|id| id.0));
    }
    let rest = question.limit - i64::try_from(ids.len()).unwrap_or(0);
    let mut hits = hits(tx, question, &pinned, rest + 1).await?;
    let more = hits.len() > usize::try_from(rest).unwrap_or(0);
    hits.truncate(usize::try_from(rest).unwrap_or(0));
    let next = if more {
        hits.last().map(|last| position(question.sort, last)).or_else(|| question.after.clone()).or(Some(Position {
            // The page was filled by people shown first: the walk has yet to begin.
            key: start(question.sort),
            id: ProfileId(if question.sort.descending { Uuid::max() } else { Uuid::nil() }),
        }))
    } else {
        None
    };
    ids.extend(hits.iter().map(|hit| hit.id));
    let documents = in_order(tx, question.workspace, ids).await?;
    let total = if question.count { Some(count(tx, question).await?) } else { None };
    Ok(Found { documents, next, pinned, total })
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
    let mut rows = crate::profiles::documents(tx, workspace, ids.iter().copied(), false).await?;
    let place: std::collections::HashMap<Uuid, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    rows.sort_by_key(|row| place.get(&row.profile_id).copied());
    Ok(rows)
}

/// People one of whose identities is exactly what was typed, and who match the filter. The kinds a workspace uses are
/// found by jumping along the primary key, a step each, so that no index by value alone is needed.
async fn exact(tx: &mut Tx, question: &Question) -> Result<Vec<ProfileId>, StoreError> {
    let typed = question.query.typed.as_str();
    let mut keys: Vec<String> = vec![typed.to_owned()];
    for kind in [IdentityKind::email(), IdentityKind::phone()] {
        if let Ok(key) = IdentityKey::parse(&kind, typed, question.country.as_deref()) {
            keys.extend(key.variants().into_iter().map(|k| k.value));
        }
    }
    keys.sort();
    keys.dedup();
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let list: Vec<String> = keys.into_iter().map(|key| composer.bind(key)).collect();
    let condition = composer.condition(&question.filter);
    let text = format!(
        "SELECT p.id FROM profiles AS p
         WHERE p.workspace_id = $1
           AND p.id IN (
               WITH RECURSIVE kinds (kind) AS (
                   SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1
                   UNION ALL
                   SELECT (SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1 AND i.kind > k.kind)
                   FROM kinds AS k WHERE k.kind IS NOT NULL
               )
               SELECT i.profile_id FROM kinds AS k CROSS JOIN profile_identities AS i
               WHERE i.workspace_id = $1 AND i.kind = k.kind AND i.value IN ({})
           )
           AND {condition}
         ORDER BY p.last_seen_at DESC, p.id LIMIT {PINS}",
        list.join(", ")
    );
    let rows: Vec<(Uuid,)> = tx.all(Sql::composed(text, composer.args)).await?;
    Ok(rows.into_iter().map(|(id,)| ProfileId(id)).collect())
}

/// The rows after the cursor, in order, by whichever plan gets there.
async fn hits(tx: &mut Tx, question: &Question, pinned: &[ProfileId], limit: i64) -> Result<Vec<Hit>, StoreError> {
    let unconditional = question.query.words.is_empty() && question.filter == Filter::EVERYONE;
    if unconditional {
        return tx.all(walk(tx.engine(), question, pinned, limit, None)).await;
    }
    let indexed = trigrams(&question.query).is_some();
    let filtered = question.filter != Filter::EVERYONE;
    let cap = match (filtered, indexed) {
        (true, _) => WALK_FILTER,
        (false, true) => WALK_TEXT,
        // One or two characters: no index knows them, and almost everybody has them. Where they are rare, the table is
        // read once, in its own order, which is many times faster than along an index.
        (false, false) => WALK_SHORT,
    };
    let first: Vec<Hit> = tx.all(walk(tx.engine(), question, pinned, limit, Some(cap))).await?;
    if i64::try_from(first.len()).unwrap_or(0) >= limit {
        return Ok(first);
    }
    if indexed && !filtered && is_common(tx, question).await? {
        return tx.all(walk(tx.engine(), question, pinned, limit, None)).await;
    }
    let source = source(tx, question).await?;
    tx.all(candidates(tx.engine(), question, pinned, limit, source.as_ref())).await
}

/// Whether a text has so many matches that sorting them all would cost more than walking to the first few.
async fn is_common(tx: &mut Tx, question: &Question) -> Result<bool, StoreError> {
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let matches = match (tx.engine(), trigrams(&question.query)) {
        (Engine::Sqlite, Some(expression)) => {
            let expression = composer.bind(expression);
            format!("SELECT rowid FROM profile_search WHERE profile_search MATCH {expression}")
        }
        (Engine::Sqlite, None) => return Ok(false),
        (Engine::Postgres, _) => {
            // The trigram index answers, whatever the planner thinks of a LIMIT. Ends with the transaction.
            tx.run(sql("SET LOCAL enable_seqscan = off")).await?;
            tx.run(sql("SET LOCAL enable_indexscan = off")).await?;
            let predicate = predicate(&mut composer, question, &[]);
            format!("SELECT 1 FROM profiles AS p WHERE p.workspace_id = $1 AND {predicate}")
        }
    };
    let text = format!("SELECT count(*) FROM (SELECT * FROM ({matches}) AS m LIMIT {COMMON}) AS n WHERE $1 = $1");
    let row: Option<(i64,)> = tx.optional(Sql::composed(text, composer.args)).await?;
    if tx.engine() == Engine::Postgres {
        tx.run(sql("SET LOCAL enable_seqscan = on")).await?;
        tx.run(sql("SET LOCAL enable_indexscan = on")).await?;
    }
    Ok(row.is_some_and(|(n,)| n >= COMMON))
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
        let needles: Vec<String> = word
            .needles
            .iter()
            .map(|needle| match composer.engine {
                Engine::Sqlite => format!("instr(p.search_text, {}) > 0", composer.bind(needle.as_str())),
                // LIKE is what the trigram index answers.
                Engine::Postgres => format!("p.search_text LIKE {}", composer.bind(format!("%{}%", escape(needle)))),
            })
            .collect();
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

/// `%`, `_` and `\` are letters.
fn escape(needle: &str) -> String {
    needle.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
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

/// Where candidates come from.
enum Source {
    /// The trigram index of SQLite.
    Trigrams(String),
    /// The n-th condition of the filter's conjunction.
    Condition(usize),
}

/// The trigrams a query needs, as an FTS5 expression; `None` when a word is too short for the index.
fn trigrams(query: &Query) -> Option<String> {
    if query.words.is_empty() {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    for word in &query.words {
        let mut ways: Vec<String> = Vec::new();
        for needle in &word.needles {
            let letters: Vec<char> = needle.chars().collect();
            if letters.len() < 3 {
                return None;
            }
            let mut parts: Vec<String> =
                letters.windows(3).map(|three| format!("\"{}\"", three.iter().collect::<String>().replace('"', "\"\""))).collect();
            parts.dedup();
            ways.push(format!("({})", parts.join(" AND ")));
        }
        all.push(format!("({})", ways.join(" OR ")));
    }
    Some(all.join(" AND "))
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
async fn source(tx: &mut Tx, question: &Question) -> Result<Option<Source>, StoreError> {
    if tx.engine() == Engine::Postgres {
        return Ok(None);
    }
    let mut composer = Composer::new(tx.engine(), question.now, question.workspace);
    let mut probes: Vec<String> = Vec::new();
    let mut trigram = None;
    if let Some(expression) = trigrams(&question.query) {
        let expression_at = composer.bind(expression.as_str());
        probes.push(format!("SELECT -1 AS which, count(*) AS size FROM (SELECT rowid FROM profile_search WHERE profile_search MATCH {expression_at} LIMIT {FEW}) WHERE $1 IS NOT NULL"));
        trigram = Some(expression);
    }
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
    Ok(match sizes.first() {
        Some((-1, _)) => trigram.map(Source::Trigrams),
        Some((which, _)) => usize::try_from(*which).ok().map(Source::Condition),
        None => None,
    })
}

/// `FROM …` of the people to be tested.
fn from(composer: &mut Composer, question: &Question, source: Option<&Source>) -> String {
    match source {
        Some(Source::Trigrams(expression)) => {
            let expression = composer.bind(expression.as_str());
            format!(
                "(SELECT rowid AS found FROM profile_search WHERE profile_search MATCH {expression}) AS s
                 CROSS JOIN profiles AS p ON p.rank = s.found AND p.workspace_id = $1"
            )
        }
        Some(Source::Condition(which)) => match conjuncts(&question.filter).get(*which).and_then(|f| composer.source(f)) {
            Some(people) => format!(
                "(SELECT DISTINCT profile_id FROM ({people})) AS s CROSS JOIN profiles AS p ON p.workspace_id = $1 AND p.id = s.profile_id"
            ),
            None => "profiles AS p".to_owned(),
        },
        None => "profiles AS p".to_owned(),
    }
}

fn candidates(engine: Engine, question: &Question, pinned: &[ProfileId], limit: i64, source: Option<&Source>) -> Sql {
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
    let from = from(&mut composer, question, source.as_ref());
    let predicate = predicate(&mut composer, question, &[]);
    let text = format!("SELECT count(*) FROM {from} WHERE p.workspace_id = $1 AND {predicate}");
    let args: Vec<Arg> = composer.args;
    let row: Option<(i64,)> = tx.optional(Sql::composed(text, args)).await?;
    Ok(row.map_or(0, |(n,)| n))
}
