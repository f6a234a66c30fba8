//! What is done to each of the people selected.

use people_domain::{
    Issue, Timestamp,
    consent::Decision,
    directory::{Command, Patch},
    id::ProfileId,
    label,
    refusal::Issues,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    auth::{Caller, Scope},
    extract::{Shape as _, typed},
    problem::{ApiResult, Kind, Problem},
    profiles::body::{ConsentBody, PatchProfile, decision},
};

/// Labels put on or taken off at once.
const MAX_LABELS: usize = 50;

const TYPES: &str = "expected update, add_labels, remove_labels, set_consent or delete";

/// One change, to be made of many people.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Update(Patch),
    Relabel { add: Vec<String>, remove: Vec<String> },
    SetConsent(Decision),
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    patch: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn under(prefix: &'static str) -> impl Fn(Problem) -> Problem {
    move |problem| Problem { errors: problem.errors.into_iter().map(|issue| issue.under(prefix)).collect(), ..problem }
}

impl Action {
    /// Reads `{"type": …, …}`. `now` is when a decision on consent counts that names no time of its own.
    pub fn parse(sent: &Value, country: Option<&str>, now: Timestamp) -> ApiResult<(Self, &'static str)> {
        let Value::Object(members) = sent else {
            return Err(Problem::invalid(vec![Issue::new("/action", "wrong_type", "expected an object with a `type`")]));
        };
        let mut rest: Map<String, Value> = members.clone();
        let Some(Value::String(kind)) = rest.remove("type") else {
            return Err(Problem::invalid(vec![Issue::new("/action/type", "missing_field", TYPES)]));
        };
        let rest = Value::Object(rest);
        Ok(match kind.as_str() {
            "update" => {
                let update: Update = typed(rest).map_err(under("/action"))?;
                if !update.patch.is_object() {
                    return Err(Problem::invalid(vec![Issue::new("/action/patch", "wrong_type", "expected an object")]));
                }
                let noticed = PatchProfile::notice(&update.patch);
                if !noticed.is_empty() {
                    return Err(under("/action/patch")(Problem::invalid(noticed)));
                }
                let patch = typed::<PatchProfile>(update.patch).and_then(|patch| patch.parse(country)).map_err(under("/action/patch"))?;
                (Self::Update(patch), "update")
            }
            "add_labels" => (Self::Relabel { add: labels(rest)?, remove: Vec::new() }, "add_labels"),
            "remove_labels" => (Self::Relabel { add: Vec::new(), remove: labels(rest)? }, "remove_labels"),
            "set_consent" => {
                let consent: ConsentBody = typed(rest).map_err(under("/action"))?;
                (Self::SetConsent(decision(&consent, now, "/action").map_err(Problem::invalid)?), "set_consent")
            }
            "delete" => {
                typed::<Nothing>(rest).map_err(under("/action"))?;
                (Self::Delete, "delete")
            }
            _ => return Err(Problem::invalid(vec![Issue::new("/action/type", "not_an_option", TYPES)])),
        })
    }

    /// E: 403: deleting needs a scope of its own.
    pub fn allow<S: Scope>(&self, caller: &Caller<S>) -> ApiResult<()> {
        let needed = match self {
            Self::Delete => "profiles:delete",
            Self::Update(_) | Self::Relabel { .. } | Self::SetConsent(_) => return Ok(()),
        };
        if caller.holds(needed) {
            return Ok(());
        }
        Err(Problem::new(Kind::MissingScope, format!("This needs a key with the scope `{needed}`.")))
    }

    /// Of the person as they were selected: somebody who was merged away since is told instead of their survivor being
    /// changed, and nobody is deleted who has changed since.
    pub fn command(&self, id: ProfileId, version: u64) -> Command {
        let version = matches!(self, Self::Delete).then_some(version);
        Command::AsSelected { id, version, command: Box::new(self.of(id)) }
    }

    fn of(&self, id: ProfileId) -> Command {
        match self {
            Self::Update(patch) => Command::Update { id, patch: patch.clone(), if_match: None },
            Self::Relabel { add, remove } => Command::Relabel { id, add: add.clone(), remove: remove.clone() },
            Self::SetConsent(decision) => Command::RecordConsent { id, decision: decision.clone(), if_match: None },
            Self::Delete => Command::Erase { id, if_match: None, suppress: false },
        }
    }
}

fn labels(rest: Value) -> ApiResult<Vec<String>> {
    let sent: Labels = typed(rest).map_err(under("/action"))?;
    let mut issues = Issues::default();
    if !(1..=MAX_LABELS).contains(&sent.labels.len()) {
        issues.push("/action/labels", "limit_exceeded", format!("1 to {MAX_LABELS} labels"));
    }
    let labels = sent
        .labels
        .iter()
        .enumerate()
        .filter_map(|(i, text)| issues.take(label::parse(text).map_err(|issue| issue.under(&format!("/action/labels/{i}")))))
        .collect();
    issues.into_result()?;
    Ok(labels)
}
