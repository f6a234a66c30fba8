//! The report for machines: every row with its verdict and ratio worked out.

use serde::Serialize;

use super::{Report, Row, Verdict};

#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    row: &'a Row,
    ratio: Option<f64>,
    verdict: Verdict,
}

pub fn render(report: &Report) -> serde_json::Result<String> {
    let rows: Vec<Judged<'_>> = report.rows.iter().map(|row| Judged { row, ratio: row.ratio(), verdict: row.verdict() }).collect();
    serde_json::to_string_pretty(&serde_json::json!({ "facts": report.facts, "rows": rows }))
}
