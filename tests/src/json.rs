//! Whole answers compared with what was promised: ids and times become words, everything else must be the same, the
//! order of the fields included.

use serde_json::Value;

/// The value with every UUID as `<id>` and every time with microseconds as `<time>`.
pub fn redact(value: &Value) -> Value {
    match value {
        Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => "<id>".into(),
        Value::String(text) if is_time(text) => "<time>".into(),
        Value::Array(items) => items.iter().map(redact).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), redact(value))).collect(),
        other => other.clone(),
    }
}

/// `2026-01-31T08:00:00.123456Z`, the one spelling the API answers.
fn is_time(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == shape.len() && text.bytes().zip(shape).all(|(b, s)| if *s == b'd' { b.is_ascii_digit() } else { b == *s })
}

/// Fails with both documents, line by line, when they differ in anything.
#[track_caller]
pub fn same(found: &Value, promised: &Value) {
    let (found, promised) = (pretty(found), pretty(promised));
    if found == promised {
        return;
    }
    let (left, right): (Vec<&str>, Vec<&str>) = (promised.lines().collect(), found.lines().collect());
    let start = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let end = left[start..].iter().rev().zip(right[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut difference = String::new();
    let context = |lines: &[&str]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    difference += &context(&left[start.saturating_sub(3)..start]);
    difference += &left[start..left.len() - end].iter().map(|line| format!("- {line}\n")).collect::<String>();
    difference += &right[start..right.len() - end].iter().map(|line| format!("+ {line}\n")).collect::<String>();
    difference += &context(&left[left.len() - end..(left.len() - end + 3).min(left.len())]);
    panic!("the answer is not what was promised (- promised, + found)\n{difference}");
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
