//! The report as a chart: for each measure a bar of what was measured above a bar of its limit, or of its target.
//!
//! Measures differ in unit and by magnitudes, so each pair has a scale of its own: what counts is how the two compare.

use super::{Report, Row, Target, Verdict, thousands};

const WIDTH: f64 = 1120.0;
const LABEL: f64 = 450.0;
const BAR: f64 = 330.0;
const ROW: f64 = 34.0;
const HEAD: f64 = 26.0;

pub fn render(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    text(&mut body, 16.0, y, "title", "People benchmark");
    for fact in &report.facts {
        y += 16.0;
        text(&mut body, 16.0, y, "fact", fact);
    }
    y += 22.0;
    legend(&mut body, y);
    y += 14.0;

    let mut site = None;
    for row in report.rows.iter().filter(|row| row.measured.is_some()) {
        if site != Some((row.engine, row.profiles)) {
            site = Some((row.engine, row.profiles));
            y += HEAD;
            text(&mut body, 16.0, y, "site", &format!("{}, {} profiles", row.engine, thousands(row.profiles as f64)));
            y += 8.0;
        }
        pair(&mut body, y, row);
        y += ROW;
    }
    let height = y + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"What was measured beside its limit\">\n<style>\n\
         text {{ font: 12px system-ui, sans-serif; fill: #1f2933 }} .title {{ font-size: 18px; font-weight: 600 }} \
         .fact {{ fill: #52606d }} .site {{ font-size: 14px; font-weight: 600 }} .work {{ text-anchor: end }} \
         .ok {{ fill: #2f855a }} .short {{ fill: #c53030 }} .open {{ fill: #2b6cb0 }} .limit {{ fill: #a0aec0 }} .target {{ fill: #d9a441 }}\n\
         </style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn legend(body: &mut String, y: f64) {
    let mut x = 16.0;
    for (class, what) in [
        ("ok", "measured, target met"),
        ("short", "measured, short of its target"),
        ("open", "measured, no target"),
        ("limit", "limit, same run"),
        ("target", "target"),
    ] {
        bar(body, x, y - 9.0, 10.0, 10.0, class);
        text(body, x + 15.0, y, "fact", what);
        x += 40.0 + 6.2 * what.len() as f64;
    }
}

fn pair(body: &mut String, y: f64, row: &Row) {
    let Some(measured) = row.measured else { return };
    let class = match row.verdict() {
        Verdict::Ok => "ok",
        Verdict::Short => "short",
        Verdict::NotYet | Verdict::Open => "open",
    };
    let beside = match (&row.limit, row.target) {
        (Some(limit), _) => Some(("limit", limit.value, format!("{} {} ({})", row.unit.show(limit.value), limit.name, row.show_ratio()))),
        (None, Some(Target::AtLeast(value) | Target::AtMost(value))) => Some(("target", value, row.show_target())),
        _ => None,
    };
    let scale = beside.as_ref().map_or(measured, |(_, value, _)| value.max(measured)).max(1e-9);
    text(body, LABEL - 10.0, y + 16.0, "work", &format!("{}: {}", row.work, row.measure));
    bar(body, LABEL, y, BAR * (measured / scale).max(0.0), 12.0, class);
    text(body, LABEL + BAR + 10.0, y + 10.0, "value", &row.show_measured());
    if let Some((class, value, words)) = beside {
        bar(body, LABEL, y + 14.0, BAR * (value / scale).max(0.0), 8.0, class);
        text(body, LABEL + BAR + 10.0, y + 23.0, "fact", &words);
    }
}

fn bar(body: &mut String, x: f64, y: f64, width: f64, height: f64, class: &str) {
    // A bar too short to see would look like a missing one.
    let width = width.max(1.0);
    body.push_str(&format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"/>\n"));
}

fn text(body: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    body.push_str(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{escaped}</text>\n"));
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::{
        database::Engine,
        report::{Report, Row, Site, Target, Unit},
    };

    #[test]
    fn the_longer_bar_fills_the_width_and_words_are_escaped() {
        let site = Site { engine: Engine::Postgres, profiles: 1_000 };
        let row = Row::new(site, "read", "requests", Unit::PerSecond, 50.0).target(Target::ShareOfLimit(0.8)).limit("a < b & c", 100.0);
        let svg = render(&Report { facts: vec![], rows: vec![row] });
        assert!(svg.contains("width=\"165.0\" height=\"12.0\" class=\"short\""), "{svg}");
        assert!(svg.contains("width=\"330.0\" height=\"8.0\" class=\"limit\""), "{svg}");
        assert!(svg.contains("a &lt; b &amp; c (50 %)"), "{svg}");
    }
}
