//! `GET /v1/profiles`, and what every way of finding people shares: sorts, limits, cursors and the page itself.

use actix_web::{HttpResponse, get, web::Data};
use people_domain::{
    Timestamp, consent,
    filter::{Field, Filter, Order, Scalar, Test},
    id::{ProfileId, WorkspaceId},
    label,
    page::{Position, SORTS, Sort},
    property::Standard,
    search::Query as Words,
};
use people_store::{Found, Question};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::view::ProfileList;
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cursor,
    extract::Query,
    problem::{ApiResult, Kind, Problem},
};

/// What to list.
#[derive(Clone, Debug, Deserialize, IntoParams, Serialize)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Any part of name, e-mail, phone, external id, other identities, company or searchable attributes; several words
    /// must all match. At most 200 characters.
    pub q: Option<String>,
    /// People with this label; repeated, with all of them.
    #[serde(default)]
    pub label: Vec<String>,
    /// Members of this segment (its id); repeated, of all of them.
    #[serde(default)]
    pub segment: Vec<String>,
    /// People seen on this channel; repeated, on all of them.
    #[serde(default)]
    pub channel: Vec<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Created at this time or later.
    pub created_after: Option<String>,
    /// Created before this time.
    pub created_before: Option<String>,
    /// Seen at this time or later.
    pub seen_after: Option<String>,
    /// Seen, but not since this time.
    pub seen_before: Option<String>,
    /// `-last_seen_at` (default), `last_seen_at`, `-created_at`, `created_at`, `-updated_at`, `updated_at`, `name` or `-name`.
    pub sort: Option<String>,
    /// People of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// Where a page ended, with the clock it was asked under: a window such as "in the last 30 days" does not slide
/// between pages.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Place {
    at: Position,
    pinned: Vec<ProfileId>,
    now: Timestamp,
}

/// Rows of a page.
pub fn limit(sent: Option<i64>) -> ApiResult<i64> {
    match sent {
        None => Ok(50),
        Some(limit @ 1..=200) => Ok(limit),
        Some(_) => Err(Problem::query("limit", "A page has 1 to 200 rows.")),
    }
}

pub(crate) fn sort(sent: Option<&str>, kind: Kind, pointer: &str) -> ApiResult<Sort> {
    match sent {
        None => Ok(Sort::default()),
        Some(text) => Sort::parse(text).ok_or_else(|| {
            let detail = format!("Expected one of: {}.", SORTS.join(", "));
            if kind == Kind::InvalidQuery { Problem::query(pointer, &detail) } else { Problem::at(kind, pointer, "unknown_sort", detail) }
        }),
    }
}

/// A question, continued where a cursor says.
pub(crate) struct Asked {
    pub question: Question,
    pub fingerprint: String,
}

pub(crate) struct Ask<'a> {
    pub workspace: WorkspaceId,
    pub country: Option<String>,
    pub query: Words,
    pub filter: Filter,
    pub sort: Sort,
    pub limit: i64,
    pub cursor: Option<&'a str>,
    pub count: bool,
    pub now: Timestamp,
    pub fingerprint: String,
}

impl Ask<'_> {
    pub(crate) fn ready(self) -> ApiResult<Asked> {
        let place: Option<Place> = self.cursor.map(|cursor| cursor::read(self.workspace, &self.fingerprint, cursor)).transpose()?;
        let (after, pinned, now) = place.map_or((None, Vec::new(), self.now), |place| (Some(place.at), place.pinned, place.now));
        let question = Question {
            workspace: self.workspace,
            query: self.query,
            filter: self.filter,
            sort: self.sort,
            after,
            pinned,
            country: self.country,
            limit: self.limit,
            count: self.count,
            now,
        };
        Ok(Asked { question, fingerprint: self.fingerprint })
    }
}

/// The page as JSON: the documents as they are stored.
pub(crate) async fn answer(app: &App, asked: Asked) -> ApiResult<HttpResponse> {
    let (workspace, now) = (asked.question.workspace, asked.question.now);
    let Found { documents, next, pinned, total } = app.store.find(asked.question).await?;
    let bytes: usize = documents.iter().map(|d| d.document.len() + 1).sum();
    let mut body = String::with_capacity(bytes + 200);
    body.push_str("{\"data\":[");
    for (i, document) in documents.iter().enumerate() {
        if i > 0 {
            body.push(',');
        }
        body.push_str(&document.document);
    }
    body.push_str("],\"next_cursor\":");
    match next {
        Some(at) => {
            let cursor = cursor::write(workspace, &asked.fingerprint, &Place { at, pinned, now });
            body.push('"');
            body.push_str(&cursor);
            body.push('"');
        }
        None => body.push_str("null"),
    }
    if let Some(total) = total {
        body.push_str(&format!(",\"total\":{total}"));
    }
    body.push('}');
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type("application/json").body(body))
}

fn time(name: &str, sent: Option<&str>) -> ApiResult<Option<Timestamp>> {
    sent.map(|text| {
        Timestamp::parse(text)
            .or_else(|| Timestamp::parse_date(text))
            .ok_or_else(|| Problem::query(name, "Expected a time such as 2026-01-31T08:00:00Z or a date."))
    })
    .transpose()
}

impl ListParams {
    fn filter(&self) -> ApiResult<Filter> {
        let mut all: Vec<Filter> = Vec::new();
        for label in &self.label {
            let label = label::parse(label).map_err(|issue| Problem::query("label", &issue.detail))?;
            all.push(Filter::Is(Field::Labels, Test::HasAny(vec![label])));
        }
        for segment in &self.segment {
            let id = uuid::Uuid::try_parse(segment).map_err(|_| Problem::query("segment", "Expected the id of a segment."))?;
            all.push(Filter::Is(Field::Segments, Test::HasAny(vec![id.to_string()])));
        }
        for channel in &self.channel {
            let channel = consent::parse_channel(channel).map_err(|issue| Problem::query("channel", &issue.detail))?;
            all.push(Filter::Is(Field::Channels, Test::HasAny(vec![channel])));
        }
        if let Some(country) = &self.country {
            let code = people_domain::country::parse_country(country)
                .ok_or_else(|| Problem::query("country", "Expected an ISO 3166-1 alpha-2 code such as GB."))?;
            all.push(Filter::Is(Field::Standard(Standard::Country), Test::In(vec![Scalar::Text(code)])));
        }
        for (name, sent, field, order) in [
            ("created_after", &self.created_after, Field::CreatedAt, Order::Gte),
            ("created_before", &self.created_before, Field::CreatedAt, Order::Lt),
            ("seen_after", &self.seen_after, Field::LastSeenAt, Order::Gte),
            ("seen_before", &self.seen_before, Field::LastSeenAt, Order::Lt),
        ] {
            if let Some(at) = time(name, sent.as_deref())? {
                all.push(Filter::Is(field, Test::Compare(order, Scalar::Time(at))));
            }
        }
        Ok(Filter::All(all))
    }
}

/// List and search people
///
/// Most recently seen first, never-seen last, unless sorted otherwise. `q` finds any part of what a person can be known
/// by, whatever its case, accents or phone punctuation; a whole identity typed in comes first. Parameters all hold at
/// once. For richer conditions use `POST /v1/profiles/search`, which also keeps what is typed out of addresses.
#[utoipa::path(
    tag = "profiles",
    params(ListParams),
    responses((status = 200, description = "A page of people", body = ProfileList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/profiles")]
pub async fn list_profiles(app: Data<App>, caller: Caller<ProfilesRead>, Query(params): Query<ListParams>) -> ApiResult<HttpResponse> {
    let query = Words::parse(params.q.as_deref().unwrap_or_default()).map_err(|issue| Problem::query("q", &issue.detail))?;
    let asked = Ask {
        workspace: caller.workspace(),
        country: if query.words.is_empty() { None } else { super::country(&app.store, caller.workspace()).await? },
        query,
        filter: params.filter()?,
        sort: sort(params.sort.as_deref(), Kind::InvalidQuery, "sort")?,
        limit: limit(params.limit)?,
        cursor: params.cursor.as_deref(),
        count: params.count.unwrap_or(false),
        now: app.store.now(),
        fingerprint: cursor::fingerprint(&ListParams { limit: None, cursor: None, count: None, ..params.clone() }),
    }
    .ready()?;
    answer(&app, asked).await
}
