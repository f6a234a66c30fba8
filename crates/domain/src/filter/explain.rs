//! Why somebody matches a filter or does not: the filter once more, condition by condition, with what is true of them.

use serde_json::{Map, Value, json};

use super::{Events, Filter, Scalar, eval, judge};
use crate::{Timestamp, profile::Profile};

/// The filter as it was sent, each part with `holds`, each condition with what it met: the field's value, or the number of
/// events that count.
pub fn explain(filter: &Filter, sent: &Value, profile: &Profile, events: &dyn Events, now: Timestamp) -> Value {
    let holds = judge(filter, profile, events, now).holds;
    let many = |name: &str, parts: &[Filter]| {
        let told: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| explain(part, sent.get(name).and_then(|all| all.get(i)).unwrap_or(&Value::Null), profile, events, now))
            .collect();
        Value::Object(Map::from_iter([(name.to_owned(), Value::Array(told)), ("holds".to_owned(), holds.into())]))
    };
    match filter {
        Filter::All(parts) => many("all", parts),
        Filter::Any(parts) => many("any", parts),
        Filter::Not(inner) => {
            json!({"not": explain(inner, sent.get("not").unwrap_or(&Value::Null), profile, events, now), "holds": holds})
        }
        Filter::Is(field, _) => {
            let actual = match eval::set_of(field, profile) {
                Some(set) => json!(set),
                None => match eval::value_of(field, profile) {
                    Some(Scalar::Text(text)) => text.into(),
                    Some(Scalar::Number(number)) => number.into(),
                    Some(Scalar::Boolean(flag)) => flag.into(),
                    Some(Scalar::Time(at)) => at.to_string().into(),
                    None => Value::Null,
                },
            };
            json!({"condition": sent, "holds": holds, "actual": actual})
        }
        Filter::Event(test) => json!({"condition": sent, "holds": holds, "actual": events.tally(test, now).count}),
    }
}
