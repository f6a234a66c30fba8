//! `POST /v1/profiles/export`

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{Accept, Header as _, Quality},
    post,
    web::Data,
};
use futures_util::Stream;
use people_domain::{id::WorkspaceId, profile::Profile, property::Standard};
use people_store::{Columns, Question};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    list::{Ask, sort},
    noted::Noted,
    search::{filter_of, words},
};
use crate::{
    app::App,
    auth::{Caller, ProfilesRead},
    cells::{harmless, join},
    extract::{Body, NoQuery, Query, Shape},
    imports::mapping::Told,
    problem::{ApiResult, Kind, Problem},
};

/// What to export.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportProfiles {
    pub q: Option<String>,
    /// As in the search.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    pub sort: Option<String>,
}

impl Shape for ExportProfiles {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Ndjson,
    Csv,
}

impl Form {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// People read at a time: enough to be fast, little enough to stay small.
const CHUNK: i64 = 2_000;

fn form(request: &HttpRequest) -> ApiResult<Form> {
    let ranges = Accept::parse(request).map(|accept| accept.to_vec()).unwrap_or_default();
    if ranges.is_empty() {
        return Ok(Form::Ndjson);
    }
    // Of several ranges the most precise one tells how much a form is liked (RFC 9110 section 12.5.1).
    let liked = |names: &[&str], kind: &str| {
        let precision = |range: &str| match range {
            range if names.contains(&range) => 3,
            range if range == kind => 2,
            "*/*" => 1,
            _ => 0,
        };
        let told = ranges.iter().map(|item| (precision(item.item.essence_str()), item.quality)).filter(|(precision, _)| *precision > 0);
        told.max_by_key(|(precision, _)| *precision).map_or(Quality::ZERO, |(_, quality)| quality)
    };
    let ndjson = liked(&["application/x-ndjson", "application/ndjson"], "application/*");
    let csv = liked(&["text/csv"], "text/*");
    match (ndjson, csv) {
        (ndjson, csv) if csv > ndjson => Ok(Form::Csv),
        (ndjson, _) if ndjson > Quality::ZERO => Ok(Form::Ndjson),
        _ => Err(Problem::new(Kind::NotAcceptable, "An export is application/x-ndjson or text/csv.")),
    }
}

/// Export people
///
/// Everyone a search would list, streamed: NDJSON with a whole profile on each line, or CSV. Memory does not grow with the
/// size. That it was asked for, and how many people it held, is written to the audit log.
///
/// The columns of CSV are the properties, `attributes.<key>` of all that are defined, `identities.<kind>` for keys beside
/// those that have a column of their own, and `consents.<channel>` with `consents.<channel>.occurred_at` and
/// `consents.<channel>.source`, for what anybody in the workspace has. A cell that a spreadsheet would take for a formula is
/// preceded by `'`, and the items of a list are separated by `;`; `POST /v1/imports` takes both back. Segments follow from
/// what people are, and have no column. People who change while the export runs may appear as they were or as they are.
#[utoipa::path(
    tag = "profiles",
    params(("Accept" = Option<String>, Header, description = "`application/x-ndjson` (default) or `text/csv`")),
    request_body(content = ExportProfiles, example = json!({"filter": {"field": "country", "op": "eq", "value": "GB"}, "sort": "created_at"})),
    responses(
        (status = 200, description = "The people", content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 406, description = "No such representation (`not_acceptable`)")
    ),
    security(("api_key" = ["profiles:read"]))
)]
#[post("/v1/profiles/export")]
pub async fn export_profiles(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<ExportProfiles>,
) -> ApiResult<HttpResponse> {
    let form = form(&request)?;
    let asked = Ask {
        workspace: caller.workspace(),
        country: None,
        query: words(body.value.q.as_deref())?,
        filter: filter_of(&app.store, caller.workspace(), body.value.filter.as_ref()).await?,
        sort: sort(body.value.sort.as_deref(), Kind::ValidationFailed, "/sort")?,
        limit: CHUNK,
        cursor: None,
        count: false,
        now: app.store.now(),
        fingerprint: String::new(),
    }
    .ready()?;
    let table = match form {
        Form::Ndjson => None,
        Form::Csv => Some(Table::of(&app, caller.workspace()).await?),
    };
    // An export nobody knows of does not happen.
    let noted = Noted::begin(&app.store, caller.workspace(), caller.cause(app.store.now()), form.as_str()).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("Cache-Control", "no-store"));
    Ok(match table {
        None => response.content_type("application/x-ndjson").streaming(ndjson(app, caller, asked.question, noted)),
        Some(table) => response
            .content_type("text/csv; charset=utf-8")
            .insert_header(("Content-Disposition", "attachment; filename=\"people.csv\""))
            .streaming(csv_rows(app, caller, asked.question, table, noted)),
    })
}

type Bytes = actix_web::web::Bytes;
type Chunk = Result<Bytes, Problem>;

fn ndjson(app: Data<App>, caller: Caller<ProfilesRead>, question: Question, mut noted: Noted) -> impl Stream<Item = Chunk> {
    async_stream::try_stream! {
        let mut walk = app.store.walk(question);
        while let Some(documents) = walk.next().await.map_err(Problem::from)? {
            caller.still(&app).await?;
            noted.sent(documents.len());
            let mut out = String::with_capacity(documents.iter().map(|d| d.document.len() + 1).sum());
            for document in documents {
                out.push_str(&document.document);
                out.push('\n');
            }
            yield out.into();
        }
        noted.end().await?;
    }
}

fn csv_rows(app: Data<App>, caller: Caller<ProfilesRead>, question: Question, table: Table, mut noted: Noted) -> impl Stream<Item = Chunk> {
    async_stream::try_stream! {
        let mut walk = app.store.walk(question);
        yield line(vec![table.header()])?;
        while let Some(documents) = walk.next().await.map_err(Problem::from)? {
            caller.still(&app).await?;
            noted.sent(documents.len());
            // Nobody is left out in silence: a document that cannot be read ends the stream.
            let rows = documents
                .iter()
                .map(|document| serde_json::from_str::<Profile>(&document.document).map(|profile| table.cells(&profile)))
                .collect::<Result<Vec<Vec<String>>, _>>()
                .map_err(|_| Problem::new(Kind::Internal, "A profile could not be read."))?;
            yield line(rows)?;
        }
        noted.end().await?;
    }
}

const FIXED: &[&str] = &[
    "id",
    "version",
    "email",
    "phone",
    "external_id",
    "name",
    "first_name",
    "last_name",
    "company",
    "job_title",
    "country",
    "city",
    "language",
    "timezone",
    "avatar_url",
    "labels",
    "channels",
    "last_seen_at",
    "created_at",
    "updated_at",
];

/// The columns of one export: the fixed ones, and what else there was when it began.
#[derive(Clone, Debug, Default)]
struct Table {
    /// Of attributes.
    keys: Vec<String>,
    /// Of identities, and whether the first of the kind has a column of its own.
    kinds: Vec<(String, bool)>,
    /// Of consents.
    channels: Vec<String>,
}

impl Table {
    async fn of(app: &App, workspace: WorkspaceId) -> ApiResult<Self> {
        let keys = app.store.properties(workspace).await?.into_keys().collect();
        let Columns { kinds, channels } = app.store.columns(workspace).await?;
        let kinds =
            kinds.into_iter().map(|kind| (matches!(kind.as_str(), "email" | "phone" | "external_id"), kind)).map(|(own, kind)| (kind, own));
        Ok(Self { keys, kinds: kinds.collect(), channels })
    }

    fn header(&self) -> Vec<String> {
        let mut header: Vec<String> = FIXED.iter().map(|name| (*name).to_owned()).collect();
        header.extend(self.keys.iter().map(|key| format!("attributes.{key}")));
        header.extend(self.kinds.iter().map(|(kind, _)| format!("identities.{kind}")));
        let of = |channel| [Told::Status, Told::OccurredAt, Told::Source].map(|told| told.column(channel));
        header.extend(self.channels.iter().flat_map(|channel| of(channel)));
        header
    }

    fn cells(&self, profile: &Profile) -> Vec<String> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let mut row = vec![
            profile.id.to_string(),
            profile.version.to_string(),
            text(profile.email.as_deref()),
            text(profile.phone.as_deref()),
            text(profile.external_id.as_deref()),
        ];
        row.extend(Standard::ALL.iter().map(|property| text(profile.standard(*property))));
        row.push(join(profile.labels.iter().map(String::as_str)));
        row.push(join(profile.channels.iter().map(String::as_str)));
        row.push(profile.last_seen_at.map(|at| at.to_string()).unwrap_or_default());
        row.push(profile.created_at.to_string());
        row.push(profile.updated_at.to_string());
        row.extend(self.keys.iter().map(|key| match profile.attributes.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => join(items.iter().filter_map(Value::as_str)),
            Some(other) => other.to_string(),
        }));
        row.extend(self.kinds.iter().map(|(kind, own)| {
            let of_kind = profile.identities.iter().filter(|identity| identity.kind.as_str() == kind && !(*own && identity.primary));
            join(of_kind.map(|identity| identity.value.as_str()))
        }));
        for channel in &self.channels {
            let consent = profile.consents.iter().find(|consent| consent.channel == *channel);
            row.push(text(consent.map(|consent| consent.status.as_str())));
            row.push(consent.map(|consent| consent.occurred_at.to_string()).unwrap_or_default());
            row.push(text(consent.and_then(|consent| consent.source.as_deref())));
        }
        row
    }
}

pub(crate) fn line(rows: Vec<Vec<String>>) -> Chunk {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let broken = |_| Problem::new(Kind::Internal, "A row could not be written.");
    for row in rows {
        writer.write_record(row.into_iter().map(harmless)).map_err(broken)?;
    }
    let bytes = writer.into_inner().map_err(|_| Problem::new(Kind::Internal, "A row could not be written."))?;
    Ok(bytes.into())
}
