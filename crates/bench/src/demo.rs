//! A look around with real records: `make demo` starts a server of its own, loads the 1,000 records of the FEBRL data set
//! through the API, and searches, filters and counts in them. Each answer is held against the file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{Failure, Result, client::Call, server::Server};

/// What the demo needs to know.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The records, as CSV.
    #[arg(long, default_value = "tests/data/febrl1.csv")]
    data: PathBuf,
    /// The server; `people` beside this program by default.
    #[arg(long)]
    server_bin: Option<PathBuf>,
}

type Record = BTreeMap<String, String>;

fn records(path: &Path) -> Result<Vec<Record>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path)?;
    reader.deserialize().map(|row| row.map_err(Failure::from)).collect()
}

fn text<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    record.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// A record as the API takes it.
fn item(record: &Record) -> Value {
    json!({
        "op": "create",
        "external_id": text(record, "rec_id"),
        "first_name": text(record, "given_name"),
        "last_name": text(record, "surname"),
        "city": text(record, "suburb"),
        "attributes": {
            "address": text(record, "address_1"),
            "postcode": text(record, "postcode"),
            "state": text(record, "state"),
        },
    })
}

/// One question, what the file says, and how to ask.
struct Ask {
    words: &'static str,
    body: Value,
    expected: usize,
}

fn questions(records: &[Record]) -> Vec<Ask> {
    let count = |which: &dyn Fn(&Record) -> bool| records.iter().filter(|r| which(r)).count();
    let is = |record: &Record, name: &str, value: &str| text(record, name) == Some(value);
    let found =
        |record: &Record, part: &str| ["given_name", "surname", "rec_id"].iter().any(|n| text(record, n).is_some_and(|t| t.contains(part)));
    vec![
        Ask { words: "search \"HARRI\"", body: json!({"q": "HARRI"}), expected: count(&|r| found(r, "harri")) },
        Ask { words: "search \"joshua b\"", body: json!({"q": "joshua b"}), expected: count(&|r| found(r, "joshua") && found(r, "b")) },
        Ask {
            words: "live in Queensland",
            body: json!({"filter": {"field": "attributes.state", "op": "eq", "value": "qld"}}),
            expected: count(&|r| is(r, "state", "qld")),
        },
        Ask {
            words: "are called Joshua and live in New South Wales or Victoria",
            body: json!({"filter": {"all": [
                {"field": "first_name", "op": "eq", "value": "joshua"},
                {"field": "attributes.state", "op": "in", "value": ["nsw", "vic"]}
            ]}}),
            expected: count(&|r| is(r, "given_name", "joshua") && (is(r, "state", "nsw") || is(r, "state", "vic"))),
        },
        Ask {
            words: "have no first name, or an address that is a circuit",
            body: json!({"filter": {"any": [
                {"field": "first_name", "op": "missing"},
                {"field": "attributes.address", "op": "ends_with", "value": "Circuit"}
            ]}}),
            expected: count(&|r| text(r, "given_name").is_none() || text(r, "address_1").is_some_and(|a| a.ends_with("circuit"))),
        },
    ]
}

/// Runs the demo; E: the server says anything but what the file says.
pub async fn run(options: &Options) -> Result<String> {
    let binary = match &options.server_bin {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name(format!("people{}", std::env::consts::EXE_SUFFIX)),
    };
    let folder = tempfile::tempdir()?;
    let server = Server::people(&binary, &format!("sqlite://{}", folder.path().join("demo.db").display())).await?;
    let records = records(&options.data)?;
    let mut told = String::new();
    let mut tell = |line: String| {
        told.push_str(&line);
        told.push('\n');
    };
    let begun = std::time::Instant::now();
    for chunk in records.chunks(500) {
        let body = json!({"items": chunk.iter().map(item).collect::<Vec<_>>()});
        let answer = server.target.json(Call::post("/v1/profiles/batch", body.to_string())).await?;
        let refused = answer["results"].as_array().into_iter().flatten().find(|result| result["status"] != 201);
        if let Some(refused) = refused {
            return Err(format!("a record was refused: {refused}").into());
        }
    }
    tell(format!("{} records loaded in {} ms", records.len(), begun.elapsed().as_millis()));
    for ask in questions(&records) {
        let mut body = ask.body.clone();
        body["count"] = json!(true);
        body["sort"] = json!("name");
        body["limit"] = json!(3);
        let begun = std::time::Instant::now();
        let answer = server.target.json(Call::post("/v1/profiles/search", body.to_string())).await?;
        let took = begun.elapsed();
        if answer["total"] != json!(ask.expected) {
            return Err(format!("{}: the server says {}, the file says {}", ask.words, answer["total"], ask.expected).into());
        }
        let names: Vec<String> = answer["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| format!("{} of {}", p["name"].as_str().unwrap_or("somebody"), p["city"].as_str().unwrap_or("nowhere known")))
            .collect();
        tell(format!("\n{} people: {} ({:.1} ms)", ask.expected, ask.words, took.as_secs_f64() * 1e3));
        tell(format!("  {} …", names.join("; ")));
    }
    tell("\nEvery number is what the file says.".to_owned());
    server.kill().await?;
    Ok(told)
}
