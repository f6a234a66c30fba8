//! From bytes to commands: records with their line numbers, each turned into a person's fields and those into a command,
//! or into the reason why not. Pure, and run beside the door.

use std::{borrow::Cow, collections::BTreeMap};

use encoding_rs::WINDOWS_1252;
use people_domain::{
    Timestamp,
    consent::Status,
    country::read_country,
    directory::{Command, Draft, OnConflict},
    id::ProfileId,
    property::{PropertyType, Standard, kind_of},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::mapping::{Columns, Field, Told};
use crate::{
    cells::{restored, split},
    extract::{Shape as _, typed},
    json,
    problem::{ApiResult, Kind, Problem},
    profiles::body::{CreateProfile, UpsertProfile, identity},
};

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Upsert,
    Create,
    Update,
}

impl Mode {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Upsert, Self::Create, Self::Update].into_iter().find(|mode| mode.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// How rows stand in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Csv { delimiter: u8, columns: Columns },
    Ndjson,
}

/// What bytes beyond ASCII stand for in the file as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Letters {
    /// What is not UTF-8 is told of the row it stands in.
    #[default]
    Utf8,
    /// Nobody said so, but the file cannot be anything else: see [`Spool::letters`](super::spool::Spool::letters).
    Latin1,
}

impl Letters {
    /// The name the Encoding standard has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Latin1 => "windows-1252",
        }
    }

    /// As UTF-8, where every byte stands for something.
    pub fn read(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Latin1 => WINDOWS_1252.decode_without_bom_handling(bytes).0,
        }
    }
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub offset: usize,
    /// Of what begins there, from 1.
    pub line: i64,
}

impl Place {
    pub const BEGINNING: Self = Self { offset: 0, line: 1 };
}

/// A row as it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Cells(Vec<String>),
    Object(Value),
    /// Code and detail.
    Unreadable(&'static str, String),
}

/// What is wrong with a row: a code and what to do.
pub type Fault = (String, String);

/// Complete records from the beginning of `bytes`, which is where `at` stands, and the place after the last of them. The
/// last record counts as complete when it is ended, or when nothing follows (`whole`).
pub fn records(format: &Format, letters: Letters, bytes: &[u8], whole: bool, at: Place, most: usize) -> (Vec<(i64, Row)>, Place) {
    match format {
        Format::Csv { delimiter, columns } => cells((*delimiter, columns.width), letters, bytes, whole, at, most),
        Format::Ndjson => objects(letters, bytes, whole, at, most),
    }
}

/// The lines ended between two places: by a line feed, by a carriage return, or by both.
fn lines(bytes: &[u8], from: usize, to: usize) -> i64 {
    let ends = memchr::memchr2_iter(b'\n', b'\r', &bytes[from..to]);
    let ends = ends.filter(|at| bytes[from + at] == b'\n' || bytes.get(from + at + 1) != Some(&b'\n'));
    i64::try_from(ends.count()).unwrap_or(i64::MAX)
}

fn cells((delimiter, width): (u8, usize), letters: Letters, bytes: &[u8], whole: bool, at: Place, most: usize) -> (Vec<(i64, Row)>, Place) {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let (mut rows, mut done, mut line) = (Vec::new(), 0, at.line);
    while rows.len() < most {
        // Reading from memory does not fail, and records of any length are accepted.
        if !reader.read_byte_record(&mut record).unwrap_or(false) {
            if whole {
                line += lines(bytes, done, bytes.len());
                done = bytes.len();
            }
            break;
        }
        let after = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX).min(bytes.len());
        if after == bytes.len() && !whole {
            break;
        }
        // Empty lines before a record belong to it, for the reader; the line that counts is the one it begins in.
        let blank = bytes[done..after].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        let begins = line + lines(bytes, done, done + blank);
        line += lines(bytes, done, after);
        let is_open = after == bytes.len() && quote_is_open(delimiter, &bytes[done..after]);
        done = after;
        // A table saved by a spreadsheet may end in rows of nothing but delimiters: nobody is told there, as in an empty line.
        if is_open || !record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            rows.push((begins, if is_open { unended() } else { row(&record, width, letters) }));
        }
    }
    (rows, Place { offset: at.offset + done, line })
}

/// Whether the last record of a file ends inside of a quoted value, which the reader takes for its end: then another line
/// behind it would be part of that value.
fn quote_is_open(delimiter: u8, record: &[u8]) -> bool {
    if !record.contains(&b'"') {
        return false;
    }
    let more = [record, b"\nx"].concat();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(more.as_slice());
    reader.byte_records().count() < 2
}

fn unended() -> Row {
    let detail = "a quote is opened in this row and not closed before the file ends: what follows it was not taken; close it, and send the rows \
                  from this one on again";
    Row::Unreadable("unended_quote", detail.to_owned())
}

/// Looks for the end of one record, piece by piece, and keeps nothing of it.
#[derive(Debug)]
pub struct RecordEnd {
    /// `None`: a record is a line.
    reader: Option<Box<csv_core::Reader>>,
    at: Place,
    /// The line the record begins in, once something of it was there: empty lines before it are not its own.
    begins: Option<i64>,
    /// Whether the last byte was a carriage return, which is a line's end where no line feed follows.
    returned: bool,
}

impl RecordEnd {
    pub fn of(format: &Format, from: Place) -> Self {
        let reader = match format {
            Format::Csv { delimiter, .. } => Some(Box::new(csv_core::ReaderBuilder::new().delimiter(*delimiter).build())),
            Format::Ndjson => None,
        };
        Self { reader, at: from, begins: None, returned: false }
    }

    /// The line the record begins in and the place after it, where these bytes, which follow those before, hold its end.
    pub fn look(&mut self, bytes: &[u8]) -> Option<(i64, Place)> {
        let (read, ended) = match &mut self.reader {
            None => memchr::memchr(b'\n', bytes).map_or((bytes.len(), false), |end| (end + 1, true)),
            Some(reader) => {
                let (mut value, mut ends) = (vec![0; 64 * 1024], [0; 64]);
                let (mut read, mut ended) = (0, false);
                while !ended && read < bytes.len() {
                    let (result, more, _, _) = reader.read_record(&bytes[read..], &mut value, &mut ends);
                    read += more;
                    ended = matches!(result, csv_core::ReadRecordResult::Record);
                }
                (read, ended)
            }
        };
        for byte in &bytes[..read] {
            // A return before a line feed is no end of its own.
            self.at.line += i64::from(*byte == b'\n' || self.returned);
            self.returned = *byte == b'\r';
            if !matches!(byte, b'\n' | b'\r') {
                self.begins.get_or_insert(self.at.line);
            }
        }
        self.at.offset += read;
        if ended && self.returned && bytes.get(read) != Some(&b'\n') {
            self.at.line += 1;
        }
        ended.then_some((self.begins.unwrap_or(self.at.line), self.at))
    }
}

fn row(record: &csv::ByteRecord, width: usize, letters: Letters) -> Row {
    if record.len() != width {
        let detail = format!("the first line names {width} columns, this row has {}; a quote or a delimiter may be missing", record.len());
        return Row::Unreadable("wrong_columns", detail);
    }
    if letters == Letters::Latin1 {
        return Row::Cells(record.iter().map(|cell| letters.read(cell).into_owned()).collect());
    }
    match csv::StringRecord::from_byte_record(record.clone()) {
        Ok(record) => Row::Cells(record.iter().map(str::to_owned).collect()),
        Err(_) => {
            Row::Unreadable("invalid_encoding", "this row is not UTF-8; if the file is Latin-1, send it with encoding=latin1".to_owned())
        }
    }
}

fn objects(letters: Letters, bytes: &[u8], whole: bool, at: Place, most: usize) -> (Vec<(i64, Row)>, Place) {
    let (mut rows, mut done, mut line) = (Vec::new(), 0, at.line);
    while rows.len() < most && done < bytes.len() {
        let (text, after) = match memchr::memchr(b'\n', &bytes[done..]) {
            Some(end) => (&bytes[done..done + end], done + end + 1),
            None if whole => (&bytes[done..], bytes.len()),
            None => break,
        };
        if !text.trim_ascii().is_empty() {
            let text = text.trim_ascii();
            rows.push((line, if letters == Letters::Latin1 { object(letters.read(text).as_bytes()) } else { object(text) }));
        }
        line += 1;
        done = after;
    }
    (rows, Place { offset: at.offset + done, line })
}

fn object(text: &[u8]) -> Row {
    match json::parse(text) {
        Ok(value) if value.is_object() => Row::Object(value),
        Ok(value) => Row::Unreadable("wrong_type", format!("expected a JSON object, got {}", kind_of(&value))),
        Err(problem) => {
            let detail = problem.errors.first().map_or(problem.detail, |issue| issue.detail.clone());
            Row::Unreadable(problem.kind.code(), detail)
        }
    }
}

/// What turns rows into commands.
#[derive(Clone, Debug)]
pub struct Reading {
    pub format: Format,
    pub letters: Letters,
    pub mode: Mode,
    pub country: Option<String>,
    /// Types of the attributes that are mapped.
    pub types: BTreeMap<String, PropertyType>,
    /// When a decision on consent counts that names no time of its own.
    pub now: Timestamp,
}

impl Reading {
    /// The command of a row; E: a code and what to do.
    pub fn command(&self, row: Row) -> Result<Command, Fault> {
        let (id, fields) = match (row, &self.format) {
            (Row::Unreadable(code, detail), _) => return Err((code.to_owned(), detail)),
            (Row::Cells(cells), Format::Csv { columns, .. }) => self.of_cells(&cells, columns)?,
            (Row::Object(value), _) => self.of_object(value)?,
            (Row::Cells(_), Format::Ndjson) => return Err(("wrong_type".to_owned(), "expected a JSON object".to_owned())),
        };
        // In a table there are columns, and no list of consents to count in.
        let is_table = matches!(self.format, Format::Csv { .. });
        let consents = fields["consents"].as_array().into_iter().flatten().filter(|_| is_table);
        let columns: Vec<String> = consents.map(|consent| consent["channel"].as_str().unwrap_or_default().to_owned()).collect();
        self.parse(id, fields).map_err(told).map_err(|(code, detail)| {
            let named = |detail: String, (i, channel): (usize, &String)| {
                detail.strip_prefix(&format!("consents.{i}.")).map(|rest| format!("consents.{channel}.{rest}")).unwrap_or(detail)
            };
            (code, columns.iter().enumerate().fold(detail, named))
        })
    }

    fn parse(&self, id: Option<ProfileId>, fields: Value) -> ApiResult<Command> {
        let country = self.country.as_deref();
        let noticed = CreateProfile::notice(&fields);
        if !noticed.is_empty() {
            return Err(Problem::invalid(noticed));
        }
        let consents = fields["consents"].as_array().into_iter().flatten();
        let dated: Vec<bool> = consents.map(|consent| !consent["occurred_at"].is_null()).collect();
        Ok(match self.mode {
            Mode::Create => Command::Create(apart(typed::<CreateProfile>(fields)?.parse(country, self.now)?, &dated)),
            Mode::Upsert => {
                let (draft, on_conflict) = typed::<UpsertProfile>(fields)?.parse(country, self.now)?;
                Command::Upsert(apart(draft, &dated), on_conflict)
            }
            Mode::Update => {
                let (draft, on_conflict): (_, OnConflict) = typed::<UpsertProfile>(fields)?.parse(country, self.now)?;
                Command::Amend { id, draft: apart(draft, &dated), on_conflict }
            }
        })
    }

    /// The fields of a row of CSV. An empty cell says nothing.
    fn of_cells(&self, cells: &[String], columns: &Columns) -> Result<(Option<ProfileId>, Value), Fault> {
        let mut id = None;
        let mut out = Map::new();
        let (mut identities, mut labels, mut attributes) = (Vec::new(), Vec::new(), Map::new());
        let mut consents: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (index, field) in &columns.used {
            let cell = cells.get(*index).map_or("", |cell| restored(cell));
            if cell.trim().is_empty() {
                continue;
            }
            match field {
                Field::Id => id = Some(profile_id(cell)?),
                Field::ExternalId => {
                    out.insert("external_id".to_owned(), cell.into());
                }
                Field::Email | Field::Phone => {
                    // Google Contacts puts several into one cell.
                    let kind = field.to_string();
                    let mut values = cell.split(" ::: ");
                    out.insert(kind.clone(), values.next().unwrap_or_default().into());
                    identities.extend(values.map(|value| json!({"kind": kind, "value": value})));
                }
                Field::Identities(kind) => {
                    identities.extend(split(cell).into_iter().map(|value| json!({"kind": kind, "value": value})));
                }
                Field::Standard(Standard::Country) => {
                    out.insert("country".to_owned(), read_country(cell).unwrap_or_else(|| cell.to_owned()).into());
                }
                Field::Standard(property) => {
                    out.insert(property.as_str().to_owned(), cell.into());
                }
                Field::Labels => {
                    // Google Contacts marks its own groups with an asterisk.
                    let of_google = cell.starts_with("* ") || cell.contains(" ::: ");
                    let bare = |label: String| match label.strip_prefix("* ") {
                        Some(group) if of_google => group.to_owned(),
                        _ => label,
                    };
                    labels.extend(split(cell).into_iter().map(bare).map(Value::from));
                }
                Field::Consent(channel, told) => {
                    let refused = |code: &str, expected: &str| (code.to_owned(), format!("{field}: expected {expected}"));
                    let (member, text) = match told {
                        Told::Status => {
                            let status = status(cell);
                            (
                                "status",
                                status
                                    .ok_or_else(|| refused("not_an_option", "opted_in, opted_out, pending or unknown"))?
                                    .as_str()
                                    .to_owned(),
                            )
                        }
                        // A day is its first instant.
                        Told::OccurredAt => {
                            let at = Timestamp::parse_loosely(cell);
                            let expected = "a time such as 2026-01-31T08:00:00Z, or a day such as 2026-01-31";
                            ("occurred_at", at.ok_or_else(|| refused("invalid_datetime", expected))?.to_string())
                        }
                        Told::Source => ("source", cell.to_owned()),
                    };
                    consents.entry(channel.as_str()).or_default().insert(member.to_owned(), text.into());
                }
                Field::Attribute(key) => {
                    attributes.insert(key.clone(), attribute(cell, self.types.get(key).copied()));
                }
            }
        }
        let consents = consents.into_iter().filter(|(_, decision)| decision.contains_key("status")).map(|(channel, mut decision)| {
            decision.insert("channel".to_owned(), channel.into());
            if !columns.holds(&Field::Consent(channel.to_owned(), Told::Source)) {
                decision.insert("source".to_owned(), "import".into());
            }
            Value::Object(decision)
        });
        for (member, values) in [("identities", identities), ("labels", labels), ("consents", consents.collect())] {
            if !values.is_empty() {
                out.insert(member.to_owned(), values.into());
            }
        }
        if !attributes.is_empty() {
            out.insert("attributes".to_owned(), attributes.into());
        }
        Ok((id, Value::Object(out)))
    }

    /// The fields of a line of JSON: those of an upsert, or a whole profile as an export writes it, of which what only the
    /// server says is left out.
    fn of_object(&self, value: Value) -> Result<(Option<ProfileId>, Value), Fault> {
        let Value::Object(mut fields) = value else { return Ok((None, value)) };
        for member in READ_ONLY {
            fields.remove(*member);
        }
        let id = match fields.remove("id") {
            Some(Value::String(text)) if self.mode == Mode::Update => Some(profile_id(&text)?),
            _ => None,
        };
        let mut identities = Vec::new();
        for identity in list(&mut fields, "identities") {
            if let Some(kept) = self.as_typed(identity, &mut fields) {
                identities.push(kept);
            }
        }
        if !identities.is_empty() {
            fields.insert("identities".to_owned(), identities.into());
        }
        let consents: Vec<Value> = list(&mut fields, "consents")
            .into_iter()
            .map(|mut consent| {
                if let Some(members) = consent.as_object_mut() {
                    // What follows from the decisions.
                    for member in ["opted_in_at", "opted_out_at"] {
                        members.remove(member);
                    }
                }
                consent
            })
            .collect();
        if !consents.is_empty() {
            fields.insert("consents".to_owned(), consents.into());
        }
        Ok((id, Value::Object(fields)))
    }

    /// An identity as it was typed, where an export tells: the primary ones take the place of the top-level values.
    fn as_typed(&self, sent: Value, fields: &mut Map<String, Value>) -> Option<Value> {
        let Some(members) = sent.as_object().filter(|members| members.contains_key("raw")) else { return Some(sent) };
        let (Some(kind), Some(value)) = (members.get("kind").and_then(Value::as_str), members.get("value").and_then(Value::as_str)) else {
            return Some(sent);
        };
        let raw = members.get("raw").and_then(Value::as_str).unwrap_or(value);
        // A number written nationally may mean another one here.
        let same = identity(kind, raw, self.country.as_deref(), "").is_ok_and(|new| new.key.value == value);
        let typed = if same { raw } else { value };
        match fields.get_mut(kind) {
            Some(top) if matches!(kind, "email" | "phone" | "external_id") && top.as_str() == Some(value) => {
                *top = typed.into();
                None
            }
            _ => Some(json!({"kind": kind, "value": typed})),
        }
    }
}

/// A file is from some time ago: what it tells without a time stands apart.
fn apart(mut draft: Draft, dated: &[bool]) -> Draft {
    let mut dated = dated.iter();
    let (decisions, undated) = std::mem::take(&mut draft.decisions).into_iter().partition(|_| dated.next().is_none_or(|dated| *dated));
    Draft { decisions, undated, ..draft }
}

/// The status a cell tells, however a person writes it.
fn status(cell: &str) -> Option<Status> {
    Status::parse(&cell.trim().to_ascii_lowercase().replace([' ', '-'], "_"))
}

/// Members of an exported profile that only the server says.
const READ_ONLY: &[&str] =
    &["version", "channels", "last_channel", "segments", "last_seen_at", "created_at", "updated_at", "merged_from", "duplicates"];

/// Takes a list out, when it is one; anything else stays, to be refused at its place.
fn list(fields: &mut Map<String, Value>, member: &str) -> Vec<Value> {
    match fields.remove(member) {
        Some(Value::Array(items)) => items,
        Some(other) => {
            fields.insert(member.to_owned(), other);
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn profile_id(text: &str) -> Result<ProfileId, Fault> {
    uuid::Uuid::try_parse(text.trim())
        .map(ProfileId)
        .map_err(|_| ("invalid_value".to_owned(), "id: expected the id of a profile".to_owned()))
}

/// A cell as the value of an attribute of a type; what does not fit stays text, and is refused with the type.
fn attribute(cell: &str, kind: Option<PropertyType>) -> Value {
    let text = cell.trim();
    match kind {
        Some(PropertyType::Number) => text
            .parse::<serde_json::Number>()
            .ok()
            .or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64))
            .map_or_else(|| cell.into(), Value::Number),
        Some(PropertyType::Boolean) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => true.into(),
            "false" | "no" | "0" => false.into(),
            _ => cell.into(),
        },
        Some(PropertyType::TextList) => split(cell).into(),
        _ => cell.into(),
    }
}

/// The type that the cells of a column have in common. `None`: they are blank.
pub fn common_type<'a>(cells: impl Iterator<Item = &'a str>) -> Option<PropertyType> {
    let fits = |kind: PropertyType, cell: &str| match kind {
        PropertyType::Number => is_number(cell),
        PropertyType::Boolean => matches!(cell.to_ascii_lowercase().as_str(), "true" | "false"),
        PropertyType::Date => Timestamp::parse_date(cell).is_some(),
        _ => Timestamp::parse(cell).is_some(),
    };
    let mut possible = vec![PropertyType::Number, PropertyType::Boolean, PropertyType::Date, PropertyType::Datetime];
    let mut any = false;
    for cell in cells.map(|cell| restored(cell).trim()).filter(|cell| !cell.is_empty()) {
        any = true;
        possible.retain(|kind| fits(*kind, cell));
    }
    any.then(|| possible.first().copied().unwrap_or(PropertyType::Text))
}

/// Written as a number writes itself: `007`, `+1` and `1e5` are names of things.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all(whole) && whole.len() <= 15 && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(|f| all(f) && f.len() <= 15)
}

/// A refusal as a row's error: the first thing wrong, with its field. No value of the row is repeated.
pub fn told(problem: Problem) -> Fault {
    match problem.errors.into_iter().next() {
        Some(issue) => {
            let field = issue.pointer.trim_start_matches('/').replace('/', ".");
            let detail = if field.is_empty() { issue.detail } else { format!("{field}: {}", issue.detail) };
            (issue.code.to_owned(), detail)
        }
        None => {
            let detail = match problem.kind {
                Kind::IdentityTaken => "another profile, or an earlier row, has one of these identities already".to_owned(),
                Kind::IdentityConflict => "these identities belong to different profiles; merge them, or correct the row".to_owned(),
                _ => problem.detail,
            };
            (problem.kind.code().to_owned(), detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use people_domain::property::PropertyType;

    use super::{Columns, Format, Letters, Place, Row, common_type, records};

    fn csv(width: usize) -> Format {
        Format::Csv { delimiter: b',', columns: Columns { width, used: Vec::new() } }
    }

    fn cells(row: &[&str]) -> Row {
        Row::Cells(row.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn a_record_begins_in_its_line_whatever_ends_the_ones_before() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "", "\"two", "lines\",c", "", "", "d,e"].join(end);
            let (rows, place) = records(&csv(2), Letters::Utf8, text.as_bytes(), true, Place::BEGINNING, 10);
            let inner = format!("two{end}lines");
            assert_eq!(rows, [(1, cells(&["a", "b"])), (3, cells(&[&inner, "c"])), (7, cells(&["d", "e"]))], "{end:?}");
            assert_eq!(place, Place { offset: text.len(), line: 7 });
        }
    }

    #[test]
    fn rows_of_nothing_but_delimiters_are_as_empty_lines() {
        let text = "a,b\n,\n \t, \n\"\",\n \nc,\n,,\n,\"";
        let (rows, place) = records(&csv(2), Letters::Utf8, text.as_bytes(), true, Place::BEGINNING, 10);
        assert_eq!(rows[..2], [(1, cells(&["a", "b"])), (6, cells(&["c", ""]))]);
        assert!(matches!(rows[2..], [(8, Row::Unreadable("unended_quote", _))]), "{rows:?}");
        assert_eq!(place, Place { offset: text.len(), line: 8 });
    }

    #[test]
    fn pieces_of_any_size_give_the_same_records() {
        for (text, line) in [
            ("a,b\n,\n\n\"x\",2\n , \nlast,1\n,\n", 8),
            ("a,b\r\n\r\n\"x \"\"y\"\"\r\nz\",2\r\nlast,\"1\"\r\n", 6),
            ("a,b\r\r\"x \"\"y\"\"\rz\",2\rlast,\"1\"\r", 6),
        ] {
            let (whole, end) = records(&csv(2), Letters::Utf8, text.as_bytes(), true, Place::BEGINNING, 10);
            assert_eq!((whole.len(), end.line), (3, line));
            for size in 1..text.len() {
                let (mut rows, mut at, mut to) = (Vec::new(), Place::BEGINNING, 0);
                while at.offset < text.len() {
                    to = (to + size).min(text.len());
                    let (found, next) = records(&csv(2), Letters::Utf8, &text.as_bytes()[at.offset..to], to == text.len(), at, 1);
                    at = next;
                    if found.is_empty() && to == text.len() {
                        break;
                    }
                    rows.extend(found);
                }
                assert_eq!((rows, at), (whole.clone(), end), "in pieces of {size}");
            }
        }
    }

    #[test]
    fn lines_of_json_are_counted_with_the_blank_ones() {
        let text = "{\"a\": 1}\n\n  \r\n[1]\n{\"a\": 1, \"a\": 2}\n{";
        let (rows, place) = records(&Format::Ndjson, Letters::Utf8, text.as_bytes(), true, Place::BEGINNING, 10);
        let told: Vec<(i64, Option<&str>)> = rows
            .iter()
            .map(|(line, row)| {
                let code = match row {
                    Row::Unreadable(code, _) => Some(*code),
                    _ => None,
                };
                (*line, code)
            })
            .collect();
        assert_eq!(told, [(1, None), (4, Some("wrong_type")), (5, Some("duplicate_key")), (6, Some("malformed_json"))]);
        assert_eq!(place.offset, text.len());
        let (rows, place) = records(&Format::Ndjson, Letters::Utf8, b"{}\n{\"a\"", false, Place::BEGINNING, 10);
        assert_eq!((rows.len(), place), (1, Place { offset: 3, line: 2 }));
    }

    #[test]
    fn a_column_has_the_type_of_all_its_cells() {
        for (cells, kind) in [
            (vec!["1", "2.5", "-3", ""], PropertyType::Number),
            (vec!["1", "two"], PropertyType::Text),
            (vec!["007"], PropertyType::Text),
            (vec!["'-5"], PropertyType::Number),
            (vec!["true", "FALSE"], PropertyType::Boolean),
            (vec!["2026-01-31"], PropertyType::Date),
            (vec!["2026-01-31T08:00:00Z"], PropertyType::Datetime),
            (vec!["2026-01-31", "soon"], PropertyType::Text),
        ] {
            assert_eq!(common_type(cells.iter().copied()), Some(kind), "{cells:?}");
        }
        assert_eq!(common_type(["", " "].into_iter()), None);
    }
}
