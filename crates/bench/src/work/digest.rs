//! The directory in a number: read whole through the export, summed up whatever the order.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Write as _,
    hash::{Hash as _, Hasher as _},
};

use http_body_util::BodyExt;
use serde_json::Value;

use crate::{
    Result,
    client::{Call, Connection, Target},
};

/// Everybody whom `as_counted` does not pass over, as it leaves them: their digest, and how many they are.
pub async fn digest(target: &Target, as_counted: impl Fn(Value) -> Option<Value>) -> Result<(u64, u64)> {
    let mut connection = Connection::open(target).await?;
    let mut call = Call::post("/v1/profiles/export", "{}");
    call.accept = Some("application/x-ndjson");
    let (status, mut body) = connection.stream(call).await?;
    if !status.is_success() {
        return Err(format!("the export answered {status}").into());
    }
    let (mut rest, mut sum, mut people) = (Vec::new(), 0_u64, 0);
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        rest.extend_from_slice(data);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in rest[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(person) = as_counted(serde_json::from_slice(line)?) {
                sum = sum.wrapping_add(fingerprint(&person));
                people += 1;
            }
        }
        rest.drain(..whole);
    }
    Ok((sum, people))
}

fn fingerprint(person: &Value) -> u64 {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(text, "{person}");
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Without what a server gives of its own: two directories can be compared. The version stays, so that a row applied twice
/// would show.
pub fn without_ids_and_times(mut person: Value) -> Value {
    strip(&mut person);
    person
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for own in ["id", "created_at", "updated_at", "occurred_at", "opted_in_at", "opted_out_at"] {
                members.remove(own);
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
