//! `POST /v1/imports`

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse, post,
    web::{Data, Payload},
};
use encoding_rs::Encoding;
use futures_util::StreamExt as _;
use people_domain::{
    Issue,
    id::{RecordId, WorkspaceId},
    identity::{IdentityKey, IdentityKind},
    property::{Definitions, PropertyType},
};
use people_store::{Idempotency, jobs::NewJob};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use super::{
    mapping::{Columns, Field, given, guessed},
    rows::{Format, Letters, Mode, Place, Row, common_type, records},
    spool::{HEAD, Spool},
    work::Parameters,
};
use crate::{
    app::App,
    auth::{Bulk, Caller},
    extract::{Query, idempotency_key},
    jobs::{Inputs, JobView, answer, stored},
    problem::{ApiResult, Kind, Problem},
};

/// Most bytes of a file.
const MAX_FILE: u64 = 1 << 30;
/// Most columns.
const MAX_COLUMNS: usize = 5_000;
/// Longest silence of a sender.
const SILENCE: Duration = Duration::from_secs(10);
/// After this long a sender has to have kept up a kilobyte a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows that tell the types of attributes nobody has defined.
const SAMPLE: usize = 500;

/// How a file is read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// `upsert` (default): find by any identity and update, or create. `create`: somebody who is there is an error.
    /// `update`: somebody who is not there is an error; a column `id` may name them.
    pub mode: Option<String>,
    /// For CSV, JSON of column → field: `id`, `email`, `phone`, `external_id`, a standard property, `labels`,
    /// `identities.<kind>`, `consents.<channel>` (a status), `consents.<channel>.occurred_at` and `consents.<channel>.source` (of
    /// the status), `attributes.<key>` or `null`. What it does not name is left out. Without it the columns are told from their
    /// names, and the job's `details` show how.
    #[param(example = r#"{"E-mail": "email", "Plan": "attributes.plan"}"#)]
    pub mapping: Option<String>,
    /// For CSV: one character, or `tab`. Without it, told from the first line.
    pub delimiter: Option<String>,
    /// `utf-8`, `latin1`, or any other name of the WHATWG Encoding standard. A byte order mark is believed first. Without either
    /// it is UTF-8, or Latin-1 (windows-1252) where no letter of the file is UTF-8; the job's `details` tell.
    pub encoding: Option<String>,
    /// Tell what would happen and change nothing.
    pub dry_run: Option<bool>,
}

/// The parameters, read.
struct Wanted {
    mode: Mode,
    mapping: Option<Map<String, Value>>,
    delimiter: Option<u8>,
    encoding: Option<&'static Encoding>,
    dry_run: bool,
    csv: bool,
}

impl ImportParams {
    fn parse(self, request: &HttpRequest) -> ApiResult<Wanted> {
        let (csv, charset) = media(request)?;
        let mode = match self.mode.as_deref() {
            None => Mode::Upsert,
            Some(text) => Mode::parse(text).ok_or_else(|| Problem::query("mode", "Expected upsert, create or update."))?,
        };
        let mapping = self
            .mapping
            .as_deref()
            .map(|text| match crate::json::parse(text.as_bytes()) {
                Ok(Value::Object(mapping)) => Ok(mapping),
                _ => Err(Problem::query("mapping", "Expected a JSON object of column → field.")),
            })
            .transpose()?;
        let delimiter = self
            .delimiter
            .as_deref()
            .map(|text| match text.as_bytes() {
                _ if text == "tab" => Ok(b'\t'),
                [byte] if (byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) && !matches!(byte, b'"' | b'\\') => Ok(*byte),
                _ => Err(Problem::query("delimiter", "Expected one ASCII character such as , or ; or tab.")),
            })
            .transpose()?;
        if !csv && (mapping.is_some() || delimiter.is_some()) {
            return Err(Problem::query("mapping", "Lines of JSON name their fields themselves; mapping and delimiter are for text/csv."));
        }
        let named = |name: &str| {
            // Its name in daily use; the standard knows it as windows-1252, which holds all of it.
            Encoding::for_label(if name.eq_ignore_ascii_case("latin-1") { b"latin1" } else { name.as_bytes() })
        };
        let encoding = match (self.encoding.as_deref(), charset.as_deref()) {
            (Some(name), _) => {
                Some(named(name).ok_or_else(|| Problem::query("encoding", "Expected utf-8, latin1 or another known encoding."))?)
            }
            (None, Some(name)) => Some(named(name).ok_or_else(|| Problem::new(Kind::UnsupportedMediaType, "The charset is not known."))?),
            (None, None) => None,
        };
        Ok(Wanted { mode, mapping, delimiter, encoding, dry_run: self.dry_run.unwrap_or(false), csv })
    }
}

/// Whether it is CSV, and in which charset.
fn media(request: &HttpRequest) -> ApiResult<(bool, Option<String>)> {
    let sent = request.headers().get("Content-Type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = sent.split(';').map(str::trim);
    let csv = match parts.next().unwrap_or_default() {
        "text/csv" => true,
        "application/x-ndjson" | "application/ndjson" => false,
        _ => {
            return Err(Problem::new(Kind::UnsupportedMediaType, "Send the file as `Content-Type: text/csv` or `application/x-ndjson`."));
        }
    };
    let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| *name == "charset");
    match request.headers().get("Content-Encoding") {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::new(Kind::UnsupportedMediaType, "Send the file without a Content-Encoding."))
        }
        _ => Ok((csv, charset.map(|(_, name)| name.trim_matches('"').to_owned()))),
    }
}

/// Import people
///
/// A file of CSV or of lines of JSON, up to 1 GiB, taken in by a job. The first line of CSV names the columns; headers such
/// as those of Google Contacts, HubSpot, Mailchimp and Outlook are known, and so are those of an export from here, whose
/// formula-guarding `'` is taken off again. Labels of a file are put on by hand, and stay when a rule does not hold any more. A line of JSON holds the fields of an upsert, or a whole profile as an export
/// writes it. An empty cell says nothing, a row of empty cells is no row; `null` in JSON clears. A row that cannot be taken holds up no other: the job counts
/// it, and `/v1/jobs/{id}/errors` tells its line and why. The job's `details` count who was `created`, and who was found and
/// `updated`, be it with what they had already.
///
/// **Consents.** A status counts from its `occurred_at` on, a day or a time: whatever was decided later stands, so a table that
/// is taken in late undoes nothing. One without it is of now, says nothing where it is so already, and gives way to an opt-out: who
/// comes back says when. To change a status in a table, empty its time too. `consents_without_effect` in `details` counts the
/// statuses of the file that are not the person's afterwards.
///
/// **Taking a table back.** Define the properties first where it goes to another workspace: a column's type is else told from its
/// cells. Where it came from, `mode=update` finds people by their `id`, also where an address in the table is theirs no more.
/// Rows about one person take effect in the order of the file. With
/// `dry_run=true` rows are judged and counted, and nothing changes: each against the directory as it is and a thousand rows or so
/// around it, and against the keys of everybody whom earlier rows would create. What earlier rows would teach people who are there
/// already, or the type that they would give an attribute, only the import itself knows.
#[utoipa::path(
    tag = "imports",
    params(ImportParams),
    request_body(content(
        (String = "text/csv", example = json!("Email,First name,Plan\nada@example.com,Ada,pro\n")),
        (String = "application/x-ndjson", example = json!("{\"email\": \"ada@example.com\", \"first_name\": \"Ada\"}\n"))
    )),
    responses((status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Where the job is followed")))),
    security(("api_key" = ["bulk"]))
)]
#[post("/v1/imports")]
pub async fn create_import(
    app: Data<App>,
    caller: Caller<Bulk>,
    request: HttpRequest,
    Query(params): Query<ImportParams>,
    payload: Payload,
) -> ApiResult<HttpResponse> {
    let key = idempotency_key(&request)?;
    let wanted = params.parse(&request)?;
    let (workspace, job) = (caller.workspace(), app.store.new_record_id());
    let inputs = Inputs::of(&app.store, workspace, job);
    let received = receive(&app, &request, workspace, job, &wanted, payload).await?;
    inputs.keep();
    let new = NewJob {
        workspace,
        id: job,
        kind: "import",
        parameters: serde_json::to_value(&received.parameters).unwrap_or_default(),
        details: received.details,
        total: Some(received.rows),
        cause: caller.cause(app.store.now()),
    };
    let idempotency = key.map(|key| Idempotency { key, fingerprint: received.fingerprint });
    answer(app.store.enqueue(new, idempotency, stored).await?)
}

struct Received {
    parameters: Parameters,
    details: Value,
    rows: i64,
    fingerprint: String,
}

/// What the head of a file says.
struct Look {
    format: Format,
    letters: Letters,
    types: BTreeMap<String, PropertyType>,
    details: Map<String, Value>,
}

async fn receive(
    app: &App,
    request: &HttpRequest,
    workspace: WorkspaceId,
    job: RecordId,
    wanted: &Wanted,
    mut payload: Payload,
) -> ApiResult<Received> {
    let mut digest = Sha256::new();
    for part in [request.method().as_str(), request.path(), request.query_string()] {
        digest.update(part);
        digest.update([0]);
    }
    let mut spool = Spool::new(app.store.clone(), workspace, job, wanted.encoding, wanted.csv);
    let definitions = app.store.properties(workspace).await?;
    let strict = app.store.workspace(workspace).await?.is_some_and(|row| row.workspace.strict_attributes);
    let mut look = None;
    let (since, mut bytes) = (Instant::now(), 0_u64);
    let slow = || Problem::new(Kind::RequestTimeout, "A file comes in without long pauses, and faster than a kilobyte a second.");
    while let Some(chunk) = tokio::time::timeout(SILENCE, payload.next()).await.map_err(|_| slow())? {
        let chunk = chunk.map_err(|_| Problem::new(Kind::BadRequest, "The body broke off."))?;
        bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if bytes > MAX_FILE {
            return Err(Problem::new(Kind::BodyTooLarge, format!("A file has at most {MAX_FILE} bytes; send it in parts.")));
        }
        if since.elapsed() > PATIENCE && bytes / 1_024 < since.elapsed().as_secs() {
            return Err(slow());
        }
        digest.update(&chunk);
        spool.push(&chunk).await?;
        // A file that cannot be read is refused before all of it has come.
        if look.is_none() && spool.head().len() == HEAD {
            look = Some(look_at(spool.head(), spool.letters(), false, wanted, &definitions, strict)?);
        }
    }
    let length = spool.finish().await?;
    let letters = spool.letters();
    let Look { format, types, mut details, letters: at_first } = match look {
        Some(look) => look,
        None => look_at(spool.head(), letters, true, wanted, &definitions, strict)?,
    };
    if at_first == Letters::Latin1 && letters == Letters::Utf8 {
        return Err(mixed());
    }
    details.insert("encoding".to_owned(), spool.encoding().to_ascii_lowercase().into());
    let header = i64::from(wanted.csv);
    let begin = begin(&format, spool.head());
    Ok(Received {
        parameters: Parameters { format, letters, mode: wanted.mode, dry_run: wanted.dry_run, types, length, begin },
        details: Value::Object(details),
        rows: (spool.rows() - header).max(0),
        fingerprint: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Where the rows begin: after the header.
fn begin(format: &Format, head: &[u8]) -> Place {
    match format {
        Format::Ndjson => Place::BEGINNING,
        Format::Csv { .. } => records(format, Letters::Utf8, head, true, Place::BEGINNING, 1).1,
    }
}

fn refused(pointer: &str, code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::invalid(vec![Issue::new(pointer, code, detail)])
}

/// Neither the one nor the other.
fn mixed() -> Problem {
    refused("encoding", "invalid_encoding", "some of the file is UTF-8 and some is not; if it is Latin-1, send it with encoding=latin1")
}

/// Tells from the head of a file how to read it. `whole`: there is no more of it.
fn look_at(head: &[u8], letters: Letters, whole: bool, wanted: &Wanted, definitions: &Definitions, strict: bool) -> ApiResult<Look> {
    if head.trim_ascii().is_empty() {
        return Err(refused("", "empty_file", "the file is empty"));
    }
    let text;
    let head = match letters {
        Letters::Latin1 => {
            text = letters.read(head);
            text.as_bytes()
        }
        Letters::Utf8 => head,
    };
    if let Err(error) = std::str::from_utf8(head)
        && (whole || error.error_len().is_some())
    {
        return Err(mixed());
    }
    let mut details = Map::new();
    details.insert("mode".to_owned(), wanted.mode.as_str().into());
    details.insert("dry_run".to_owned(), wanted.dry_run.into());
    details.insert("format".to_owned(), if wanted.csv { "csv" } else { "ndjson" }.into());
    if !wanted.csv {
        return Ok(Look { format: Format::Ndjson, letters, types: BTreeMap::new(), details });
    }
    let delimiter = wanted.delimiter.unwrap_or_else(|| likely_delimiter(head));
    let first_line = Format::Csv { delimiter, columns: Columns { width: 0, used: Vec::new() } };
    if !whole && records(&first_line, Letters::Utf8, head, false, Place::BEGINNING, 1).0.is_empty() {
        return Err(refused("", "invalid_header", format!("the first line, which names the columns, has at most {HEAD} bytes")));
    }
    let header = header(head, delimiter)?;
    let columns = match &wanted.mapping {
        Some(mapping) => given(mapping, &header)?,
        None => guessed(&header, definitions)?,
    }
    .checked(&header, wanted.mode == Mode::Update)?;
    let format = Format::Csv { delimiter, columns };
    let Format::Csv { columns, .. } = &format else { return Err(Problem::not_found()) };
    let place = begin(&format, head);
    let (sample, _) = records(&format, Letters::Utf8, &head[place.offset.min(head.len())..], whole, place, SAMPLE);
    let mut types = BTreeMap::new();
    for (index, field) in &columns.used {
        let Field::Attribute(key) = field else { continue };
        let kind = match definitions.get(key) {
            Some(definition) => definition.kind,
            None if strict => {
                let detail = format!("this workspace accepts defined attributes only; define {key} with POST /v1/properties");
                return Err(refused("mapping", "unknown_attribute", detail));
            }
            None => {
                let cells = sample.iter().filter_map(|(_, row)| match row {
                    Row::Cells(cells) => cells.get(*index).map(String::as_str),
                    _ => None,
                });
                // What nobody has yet is defined by whoever has it first.
                let Some(kind) = common_type(cells) else { continue };
                kind
            }
        };
        types.insert(key.clone(), kind);
    }
    details.insert("delimiter".to_owned(), char::from(delimiter).to_string().into());
    details.insert("mapping".to_owned(), columns.shown(&header));
    details.insert("ignored".to_owned(), json!(columns.ignored(&header)));
    Ok(Look { types, details, format, letters })
}

/// The candidate that the first line has most of, outside of quotes.
fn likely_delimiter(head: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in head.trim_ascii_start() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            byte if !quoted => {
                if let Some((_, count)) = counts.iter_mut().find(|(candidate, _)| candidate == byte) {
                    *count += 1;
                }
            }
            _ => {}
        }
    }
    // Among equals the first: a single column has none of them.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(byte, _)| *byte)
}

fn header(head: &[u8], delimiter: u8) -> ApiResult<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(head);
    let mut record = csv::StringRecord::new();
    let read = reader.read_record(&mut record).map_err(|_| refused("", "invalid_header", "the first line cannot be read"))?;
    if !read || record.iter().all(|name| name.trim().is_empty()) {
        return Err(refused("", "invalid_header", "the first line has to name the columns"));
    }
    // As an export has them: the most attributes there can be, and a thousand channels.
    if record.len() > MAX_COLUMNS {
        return Err(refused("", "limit_exceeded", format!("a file has at most {MAX_COLUMNS} columns")));
    }
    // A file without such a line: what is said of columns, here and in the job, would say it of people.
    let is_key = |cell: &str| {
        let is_number = cell.chars().filter(char::is_ascii_digit).count() >= 7 && !cell.contains(char::is_alphabetic);
        IdentityKey::parse(&IdentityKind::email(), cell, None).is_ok() || is_number
    };
    if record.iter().any(is_key) {
        let detail = "the first line has to name the columns, and this one holds an e-mail address or a telephone number: put a line of names \
                      before it";
        return Err(refused("", "invalid_header", detail));
    }
    Ok(record.iter().map(str::to_owned).collect())
}
