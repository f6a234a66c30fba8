//! What was measured, and how it is told: one table for people, JSON for machines, a chart for the eye.
//!
//! A [`Row`] is one measure of one work, beside its target and, where there is one, the limit taken in the same run.

pub mod json;
pub mod svg;
pub mod table;

use serde::Serialize;

use crate::database::Engine;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Machine, engines and sizes, a sentence each.
    pub facts: Vec<String>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Milliseconds,
    Megabytes,
    /// How many times as much.
    Times,
}

impl Unit {
    /// Whether more is better.
    pub fn is_rate(self) -> bool {
        self == Self::PerSecond
    }

    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Milliseconds if value < 0.1 => format!("{value:.4} ms"),
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds if value < 100.0 => format!("{value:.1} ms"),
            Self::Milliseconds => format!("{} ms", thousands(value)),
            Self::Megabytes => format!("{} MB", thousands(value)),
            Self::Times => format!("{value:.2}x"),
        }
    }

    /// Targets are whole numbers, and read better as such.
    fn show_whole(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{} ms", thousands(value)),
            Self::Times => format!("{}x", thousands(value)),
            Self::PerSecond | Self::Megabytes => self.show(value),
        }
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value <= -0.5 { format!("-{out}") } else { out }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Of the limit, 0 to 1; for rates.
    ShareOfLimit(f64),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    pub name: &'static str,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Short,
    /// Short of where this is to go one day, which is no target yet.
    NotYet,
    /// No target.
    Open,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Short => "SHORT",
            Self::NotYet => "not yet",
            Self::Open => "-",
        }
    }
}

/// One measure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub engine: Engine,
    pub profiles: u64,
    /// The work and what of it is measured: `read one profile, 32 connections`, `p99`.
    pub work: &'static str,
    pub measure: String,
    pub unit: Unit,
    pub target: Option<Target>,
    /// A target for one day: missing it is no shortfall.
    pub aim: bool,
    /// `None` when the work could not be done; `trouble` says why.
    pub measured: Option<f64>,
    pub limit: Option<Limit>,
    /// How many times worse this may be at the larger size of `--growth`.
    pub growth: Option<f64>,
    pub note: Option<String>,
    /// Answers that were wrong or missing: whatever the figure, the row falls short.
    pub trouble: Option<String>,
}

impl Row {
    pub fn new(site: Site, work: &'static str, measure: impl Into<String>, unit: Unit, measured: f64) -> Self {
        Self {
            engine: site.engine,
            profiles: site.profiles,
            work,
            measure: measure.into(),
            unit,
            target: None,
            aim: false,
            measured: Some(measured),
            limit: None,
            growth: None,
            note: None,
            trouble: None,
        }
    }

    /// A work that could not be done.
    pub fn failed(site: Site, work: &'static str, why: impl std::fmt::Display) -> Self {
        Self { measured: None, trouble: Some(why.to_string()), ..Self::new(site, work, "", Unit::Times, 0.0) }
    }

    pub fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    pub fn aim(mut self, target: Target) -> Self {
        self.aim = true;
        self.target(target)
    }

    pub fn limit(mut self, name: &'static str, value: f64) -> Self {
        self.limit = Some(Limit { name, value });
        self
    }

    pub fn may_grow(mut self, times: f64) -> Self {
        self.growth = Some(times);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub fn trouble(mut self, trouble: Option<String>) -> Self {
        self.trouble = self.trouble.or(trouble);
        self
    }

    /// Measured over limit: the share of a rate that is reached, how many times longer a time is.
    pub fn ratio(&self) -> Option<f64> {
        let (measured, limit) = (self.measured?, self.limit.as_ref()?.value);
        (limit > 0.0).then(|| measured / limit)
    }

    pub fn verdict(&self) -> Verdict {
        let (Some(measured), None) = (self.measured, &self.trouble) else { return Verdict::Short };
        let reached = match self.target {
            None => return Verdict::Open,
            Some(Target::AtLeast(least)) => measured >= least,
            Some(Target::AtMost(most)) => measured <= most,
            Some(Target::ShareOfLimit(share)) => self.ratio().is_some_and(|ratio| ratio >= share),
        };
        match (reached, self.aim) {
            (true, _) => Verdict::Ok,
            (false, true) => Verdict::NotYet,
            (false, false) => Verdict::Short,
        }
    }

    pub fn show_target(&self) -> String {
        match self.target {
            None => "-".to_owned(),
            Some(Target::AtLeast(least)) => format!("≥ {}", self.unit.show_whole(least)),
            Some(Target::AtMost(most)) => format!("≤ {}", self.unit.show_whole(most)),
            Some(Target::ShareOfLimit(share)) => format!("≥ {:.0} % of limit", share * 100.0),
        }
    }

    pub fn show_measured(&self) -> String {
        self.measured.map_or_else(|| "failed".to_owned(), |value| self.unit.show(value))
    }

    pub fn show_limit(&self) -> String {
        self.limit.as_ref().map_or_else(|| "-".to_owned(), |limit| format!("{} {}", self.unit.show(limit.value), limit.name))
    }

    pub fn show_ratio(&self) -> String {
        match self.ratio() {
            None => "-".to_owned(),
            Some(ratio) if self.unit.is_rate() => format!("{:.0} %", ratio * 100.0),
            Some(ratio) => format!("{ratio:.1}x"),
        }
    }
}

/// Which database a row speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub engine: Engine,
    pub profiles: u64,
}

/// For each measure that is to grow slowly, the larger size held against the smaller one.
pub fn growth(rows: &[Row]) -> Vec<Row> {
    let mut out = Vec::new();
    for large in rows {
        let Some(most) = large.growth else { continue };
        let small = rows.iter().find(|small| {
            small.engine == large.engine && small.work == large.work && small.measure == large.measure && small.profiles < large.profiles
        });
        let Some((small, (before, after))) = small.and_then(|small| Some((small, small.measured.zip(large.measured)?))) else { continue };
        let worse = if large.unit.is_rate() { before / after.max(1e-9) } else { after / before.max(1e-9) };
        let site = Site { engine: large.engine, profiles: large.profiles };
        let note = format!(
            "{} at {} profiles, {} at {}",
            small.unit.show(before),
            thousands(small.profiles as f64),
            large.unit.show(after),
            thousands(large.profiles as f64)
        );
        out.push(
            Row::new(site, large.work, format!("growth of {}", large.measure), Unit::Times, worse).target(Target::AtMost(most)).note(note),
        );
    }
    out
}

/// Machine and operating system in words.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut facts = vec![format!("{cores} cores, shared by server and client")];
    facts.extend(field(&read("/proc/cpuinfo"), "model name"));
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|kb| kb.trim_end_matches("kB").trim().parse::<u64>().ok());
    facts.extend(memory.map(|kb| format!("{:.0} GB of memory", kb as f64 / 1024.0 / 1024.0)));
    let kernel = read("/proc/sys/kernel/osrelease");
    facts.push(format!("{} {} {}", std::env::consts::OS, std::env::consts::ARCH, kernel.trim()).trim().to_owned());
    facts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Row, Site, Target, Unit, Verdict, growth};
    use crate::database::Engine;

    const SITE: Site = Site { engine: Engine::Sqlite, profiles: 1_000_000 };

    #[test]
    fn a_verdict_needs_the_target_and_answers_without_fault() {
        let rate = Row::new(SITE, "read", "requests", Unit::PerSecond, 9_000.0).limit("one row", 10_000.0);
        assert_eq!(rate.clone().verdict(), Verdict::Open);
        assert_eq!(rate.clone().target(Target::ShareOfLimit(0.8)).verdict(), Verdict::Ok);
        assert_eq!(rate.clone().target(Target::AtLeast(9_500.0)).verdict(), Verdict::Short);
        assert_eq!(rate.clone().aim(Target::AtLeast(9_500.0)).verdict(), Verdict::NotYet);
        assert_eq!(rate.target(Target::AtLeast(1.0)).trouble(Some("one answer was 500".into())).verdict(), Verdict::Short);
        assert_eq!(Row::failed(SITE, "read", "no server").verdict(), Verdict::Short);
    }

    #[test]
    fn growth_is_how_many_times_worse_the_larger_size_is() {
        let small = Site { profiles: 100_000, ..SITE };
        let rows = [
            Row::new(small, "read", "requests", Unit::PerSecond, 12_000.0).may_grow(2.0),
            Row::new(SITE, "read", "requests", Unit::PerSecond, 4_000.0).may_grow(2.0),
            Row::new(small, "search", "p50", Unit::Milliseconds, 1.0).may_grow(3.0),
            Row::new(SITE, "search", "p50", Unit::Milliseconds, 2.5).may_grow(3.0),
            Row::new(SITE, "memory", "resident", Unit::Megabytes, 200.0),
        ];
        let grown: Vec<_> = growth(&rows).into_iter().map(|row| (row.work, row.show_measured(), row.verdict())).collect();
        assert_eq!(grown, [("read", "3.00x".to_owned(), Verdict::Short), ("search", "2.50x".to_owned(), Verdict::Ok)]);
    }

    #[test]
    fn figures_are_written_to_be_read() {
        assert_eq!(Unit::PerSecond.show(1_234_567.4), "1,234,567/s");
        assert_eq!(Unit::Milliseconds.show(0.0123), "0.0123 ms");
        assert_eq!(Unit::Milliseconds.show(12.34), "12.3 ms");
        assert_eq!(Unit::Megabytes.show(-3.2), "-3 MB");
    }
}
