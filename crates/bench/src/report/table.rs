//! The report as plain text: a block for each engine and size, a line for each measure, remarks below.

use super::{Report, Row};

const COLUMNS: [&str; 6] = ["work", "target", "measured", "limit", "ratio", "verdict"];

pub fn render(report: &Report) -> String {
    let mut out = String::from("People benchmark\n");
    for fact in &report.facts {
        out.push_str(&format!("{fact}\n"));
    }
    let mut rest = report.rows.as_slice();
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|row| row.engine == first.engine && row.profiles == first.profiles).count();
        let (block, later) = rest.split_at(length);
        out.push_str(&format!("\n{}, {} profiles\n", first.engine, super::thousands(first.profiles as f64)));
        render_block(block, &mut out);
        rest = later;
    }
    out
}

fn render_block(rows: &[Row], out: &mut String) {
    let mut remarks = Vec::new();
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    for row in rows {
        lines.push(line(row, &mut remarks));
    }
    let widths: Vec<usize> =
        (0..COLUMNS.len()).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    for (at, remark) in remarks.iter().enumerate() {
        out.push_str(&format!("  [{}] {remark}\n", at + 1));
    }
}

fn line(row: &Row, remarks: &mut Vec<String>) -> [String; 6] {
    let mut work = if row.measure.is_empty() { row.work.to_owned() } else { format!("{}: {}", row.work, row.measure) };
    for remark in [&row.note, &row.trouble].into_iter().flatten() {
        let at = remarks.iter().position(|known| known == remark).unwrap_or_else(|| {
            remarks.push(remark.clone());
            remarks.len() - 1
        });
        work.push_str(&format!(" [{}]", at + 1));
    }
    [work, row.show_target(), row.show_measured(), row.show_limit(), row.show_ratio(), row.verdict().as_str().to_owned()]
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::{
        database::Engine,
        report::{Report, Row, Site, Target, Unit},
    };

    #[test]
    fn the_table_reads_from_left_to_right() {
        let site = Site { engine: Engine::Sqlite, profiles: 1_000 };
        let report = Report {
            facts: vec!["2 cores".into()],
            rows: vec![
                Row::new(site, "read", "requests", Unit::PerSecond, 9_000.0).target(Target::ShareOfLimit(0.8)).limit("one row", 10_000.0),
                Row::new(site, "search", "p99", Unit::Milliseconds, 40.0).target(Target::AtMost(25.0)).note("2,000 queries"),
            ],
        };
        let expected = "\
People benchmark
2 cores

SQLite, 1,000 profiles
work             target           measured  limit             ratio  verdict
read: requests   ≥ 80 % of limit  9,000/s   10,000/s one row  90 %   ok
search: p99 [1]  ≤ 25 ms          40.0 ms   -                 -      SHORT
  [1] 2,000 queries
";
        assert_eq!(render(&report), expected);
    }
}
