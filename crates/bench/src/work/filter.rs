//! Filters of two to four conditions: the first page of each, and its exact count. The same conditions are tests of a
//! generated person, so every count is checked, and held against bitmaps in memory.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stage;
use crate::{
    Result,
    client::{Call, Connection, Outcome},
    limits::bitmap::{Bitmaps, Test},
    people::Person,
    report::{Row, Target, Unit},
};

const ROUNDS: usize = 40;
const PAGE: u64 = 50;

/// A filter as a person at a desk would make it.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    conditions: Vec<(Value, Test)>,
}

fn opted(person: &Person, channel: &str, status: &str) -> bool {
    person.consents.iter().any(|consent| consent.channel == channel && consent.status == status)
}

fn is(field: &str, value: &str) -> Value {
    json!({ "field": field, "op": "eq", "value": value })
}

fn has_label(label: &str) -> Value {
    json!({ "field": "labels", "op": "has", "value": label })
}

/// From common to rare.
#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let case = |name, conditions| Case { name, conditions };
    vec![
        case("reachable by phone on a paid plan, 5 to 50 seats", vec![
            (json!({ "field": "phone", "op": "exists" }), |p| p.phone.is_some()),
            (json!({ "field": "attributes.plan", "op": "in", "value": ["pro", "enterprise"] }),
                |p| p.attributes.plan.is_some_and(|plan| plan != "free")),
            (json!({ "field": "attributes.seats", "op": "between", "value": [5, 50] }),
                |p| p.attributes.seats.is_some_and(|seats| (5..=50).contains(&seats))),
            (json!({ "field": "created_at", "op": "gte", "value": "2020-01-01T00:00:00Z" }), |_| true),
        ]),
        case("leads who may be written to", vec![
            (has_label("lead"), |p| p.labels.contains(&"lead")),
            (is("consents.email", "opted_in"), |p| opted(p, "email", "opted_in")),
        ]),
        case("newsletter readers in North America", vec![
            (json!({ "field": "country", "op": "in", "value": ["US", "CA"] }), |p| matches!(p.country, Some("US" | "CA"))),
            (json!({ "field": "attributes.newsletter", "op": "eq", "value": true }), |p| p.attributes.newsletter == Some(true)),
        ]),
        case("customers in Germany on the pro plan", vec![
            (has_label("customer"), |p| p.labels.contains(&"customer")),
            (is("country", "DE"), |p| p.country == Some("DE")),
            (is("attributes.plan", "pro"), |p| p.attributes.plan == Some("pro")),
        ]),
        case("no country, synced from elsewhere, neither customer nor lead", vec![
            (json!({ "field": "country", "op": "missing" }), |p| p.country.is_none()),
            (json!({ "field": "external_id", "op": "exists" }), |p| p.external_id.is_some()),
            (json!({ "field": "labels", "op": "has_none", "value": ["customer", "lead"] }),
                |p| !p.labels.contains(&"customer") && !p.labels.contains(&"lead")),
        ]),
        case("trials that end in March", vec![
            (has_label("trial"), |p| p.labels.contains(&"trial")),
            (json!({ "field": "attributes.trial_ends", "op": "between", "value": ["2026-03-01T00:00:00Z", "2026-03-31T23:59:59Z"] }),
                |p| p.attributes.trial_ends.as_deref().is_some_and(|ends| ends.starts_with("2026-03"))),
        ]),
        case("gmail users in Spanish or Portuguese on enterprise", vec![
            (json!({ "field": "email", "op": "ends_with", "value": "@gmail.com" }),
                |p| p.email.as_deref().is_some_and(|email| email.ends_with("@gmail.com"))),
            (json!({ "field": "language", "op": "in", "value": ["es", "pt-BR"] }), |p| matches!(p.language, Some("es" | "pt-BR"))),
            (is("attributes.plan", "enterprise"), |p| p.attributes.plan == Some("enterprise")),
        ]),
        case("VIPs with more than 100 seats", vec![
            (has_label("vip"), |p| p.labels.contains(&"vip")),
            (json!({ "field": "attributes.seats", "op": "gt", "value": 100 }), |p| p.attributes.seats.is_some_and(|seats| seats > 100)),
        ]),
        case("CEOs of the Acme companies", vec![
            (json!({ "field": "company", "op": "starts_with", "value": "acme" }),
                |p| p.company.as_deref().is_some_and(|company| company.starts_with("Acme"))),
            (is("job_title", "CEO"), |p| p.job_title == Some("CEO")),
        ]),
        case("press or investors who did not opt out", vec![
            (json!({ "any": [has_label("press"), has_label("investor")] }), |p| p.labels.contains(&"press") || p.labels.contains(&"investor")),
            (json!({ "not": is("consents.email", "opted_out") }), |p| !opted(p, "email", "opted_out")),
        ]),
        case("opera lovers in Milano", vec![
            (json!({ "field": "attributes.interests", "op": "has", "value": "opera" }), |p| p.attributes.interests.contains(&"opera")),
            (is("city", "Milano"), |p| p.city == Some("Milano")),
        ]),
        case("blocked people in Brazil", vec![
            (has_label("blocked"), |p| p.labels.contains(&"blocked")),
            (is("country", "BR"), |p| p.country == Some("BR")),
        ]),
    ]
}

impl Case {
    fn filter(&self) -> Value {
        json!({ "all": self.conditions.iter().map(|(condition, _)| condition).collect::<Vec<_>>() })
    }

    fn tests(&self) -> Vec<Test> {
        self.conditions.iter().map(|(_, test)| *test).collect()
    }
}

/// The generator's own answers.
pub fn bitmaps(stage: &Stage) -> Bitmaps {
    Bitmaps::build(stage.seed, stage.site.profiles, &cases().iter().map(Case::tests).collect::<Vec<_>>())
}

pub async fn measure_pages(stage: &Stage, truth: &Bitmaps) -> Result<Vec<Row>> {
    const WORK: &str = "filter of 2-4 conditions, first page of 50";
    let asked = ask(
        stage,
        "/v1/profiles/search",
        |case| json!({ "filter": case.filter(), "limit": PAGE }),
        |at, answer| {
            let (got, expected) = (answer["data"].as_array().map_or(0, Vec::len) as u64, truth.count(at).0.min(PAGE));
            if got == expected { Ok(()) } else { Err(format!("{got} people on the page, {expected} expected")) }
        },
    )
    .await?;
    let row = |measure: &str, quantile: f64| {
        Row::new(stage.site, WORK, measure, Unit::Milliseconds, asked.outcome.milliseconds(quantile)).note(asked.slowest.clone())
    };
    Ok(vec![row("p50", 0.5), row("p99", 0.99).target(Target::AtMost(25.0)).may_grow(3.0).trouble(asked.wrong)])
}

pub async fn measure_counts(stage: &Stage, truth: &Bitmaps) -> Result<Vec<Row>> {
    const WORK: &str = "exact count of such a filter";
    let asked = ask(
        stage,
        "/v1/profiles/count",
        |case| json!({ "filter": case.filter() }),
        |at, answer| {
            let (got, expected) = (&answer["total"], truth.count(at).0);
            if got.as_u64() == Some(expected) { Ok(()) } else { Err(format!("counted {got}, {expected} expected")) }
        },
    )
    .await?;

    let mut bits = Outcome::new();
    for at in (0..cases().len()).cycle().take(cases().len() * ROUNDS) {
        bits.record(truth.count(at).1);
    }
    let row = |measure: &str, quantile: f64| {
        Row::new(stage.site, WORK, measure, Unit::Milliseconds, asked.outcome.milliseconds(quantile))
            .limit("bitmaps in memory", bits.milliseconds(quantile))
            .note(asked.slowest.clone())
    };
    Ok(vec![
        row("p50", 0.5).may_grow(3.0),
        row("slowest", 1.0).target(Target::AtMost(100.0)).trouble(asked.wrong.clone()),
        row("slowest, where this goes", 1.0).aim(Target::AtMost(5.0)).trouble(asked.wrong),
    ])
}

struct Asked {
    outcome: Outcome,
    slowest: String,
    wrong: Option<String>,
}

/// Asks every filter in turn, some rounds after a first that is not counted, one at a time.
async fn ask(
    stage: &Stage,
    path: &str,
    body: impl Fn(&Case) -> Value,
    verify: impl Fn(usize, &Value) -> std::result::Result<(), String>,
) -> Result<Asked> {
    let cases = cases();
    let bodies: Vec<String> = cases.iter().map(|case| body(case).to_string()).collect();
    let mut connection = Connection::open(&stage.server.target).await?;
    let (mut outcome, mut each) = (Outcome::new(), vec![Vec::new(); cases.len()]);
    let (mut wrong, mut wrong_cases) = (None, 0);

    // The first round: warms up, and is the one whose answers are checked.
    for (at, case) in cases.iter().enumerate() {
        let answer = connection.send(Call::post(path, bodies[at].clone())).await?;
        let checked = if answer.status.is_success() {
            serde_json::from_slice(&answer.body).map_err(|e| e.to_string()).and_then(|answer| verify(at, &answer))
        } else {
            Err(format!("answered {}: {}", answer.status, answer.excerpt()))
        };
        if let Err(fault) = checked {
            wrong_cases += 1;
            wrong.get_or_insert(format!("\"{}\": {fault}", case.name));
        }
    }
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        for (body, times) in bodies.iter().zip(&mut each) {
            let sent = Instant::now();
            connection.send(Call::post(path, body.clone())).await?;
            outcome.record(sent.elapsed());
            times.push(sent.elapsed());
        }
        // Whole rounds only, so that every filter weighs the same.
        if begun.elapsed() > stage.time * 2 {
            break;
        }
    }
    outcome.elapsed = begun.elapsed();
    let wrong = wrong.map(|first| format!("{wrong_cases} of {} filters answered wrongly; the first: {first}", cases.len()));
    Ok(Asked { outcome, slowest: slowest(&cases, each), wrong })
}

/// Names the three filters that take longest.
fn slowest(cases: &[Case], times: Vec<Vec<Duration>>) -> String {
    let rounds = times.iter().map(Vec::len).max().unwrap_or_default();
    let mut medians: Vec<(Duration, &str)> = cases
        .iter()
        .zip(times)
        .map(|(case, mut times)| {
            times.sort_unstable();
            (times.get(times.len() / 2).copied().unwrap_or_default(), case.name)
        })
        .collect();
    medians.sort_unstable();
    let worst: Vec<String> = medians
        .iter()
        .rev()
        .take(3)
        .map(|(took, name)| format!("{name} ({})", Unit::Milliseconds.show(took.as_secs_f64() * 1e3)))
        .collect();
    format!("{} filters, {rounds} rounds; slowest by median: {}", cases.len(), worst.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Case, cases};
    use crate::limits::bitmap::Bitmaps;

    #[test]
    fn filters_have_two_to_four_conditions_and_meet_someone() {
        let cases = cases();
        let truth = Bitmaps::build(1, 100_000, &cases.iter().map(Case::tests).collect::<Vec<_>>());
        for (at, case) in cases.iter().enumerate() {
            assert!((2..=4).contains(&case.conditions.len()), "{}", case.name);
            let (total, _) = truth.count(at);
            assert!((1..50_000).contains(&total), "{}: {total}", case.name);
        }
    }
}
