//! `POST /v1/profiles/batch`

use actix_web::{HttpRequest, HttpResponse, post, web::Data};
use people_domain::{
    Issue, Timestamp,
    directory::{Command, Outcome},
    id::ProfileId,
};
use people_store::Group;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{CreateProfile, MANY, PatchProfile, UpsertProfile};
use crate::{
    app::App,
    auth::{Caller, ProfilesWrite},
    extract::{Body, NoQuery, Query, Shape, typed},
    problem::{ApiResult, Kind, Problem, ProblemView},
    writes::{Answer, carry_out},
};

/// Many changes at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchProfiles {
    /// 1 to 1,000 items `{"op": "create" | "upsert" | "update" | "delete", …}` with the fields of that request;
    /// `update` and `delete` name the `id`, and may name the version they are meant for as `if_match`; `delete` takes
    /// `suppress`.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
    /// As they could be read.
    #[serde(skip)]
    #[schema(ignore)]
    read: Vec<ApiResult<Value>>,
}

impl Shape for BatchProfiles {
    const LIMIT: usize = MANY;
    const LIST: Option<&'static str> = Some("items");

    fn hold(&mut self, items: Vec<ApiResult<Value>>) {
        self.read = items;
    }
}

/// One result for each item, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"results": [
    {"status": 201, "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "version": 1},
    {"status": 409, "error": {"type": "urn:people:problem:identity_taken", "title": "The identity belongs to another profile", "status": 409,
        "detail": "Another profile already has this identity; update it, or use POST /v1/profiles/upsert.", "code": "identity_taken", "errors": [],
        "conflicts": [{"kind": "email", "value": "ada@example.com", "profile_id": "0192f0c1-7d7e-7aaa-8000-000000000002"}]}}
]}))]
pub struct BatchResults {
    pub results: Vec<BatchResult>,
}

/// What became of one item.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// What the request by itself would have been answered with.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// For `delete`: the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasure_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Vec<crate::problem::ConflictView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ProblemView>,
}

impl From<&Problem> for BatchResult {
    fn from(problem: &Problem) -> Self {
        Self {
            status: problem.kind.status(),
            id: None,
            version: None,
            erasure_id: None,
            duplicates: None,
            error: Some(problem.view(None, None)),
        }
    }
}

impl From<&Outcome> for BatchResult {
    fn from(outcome: &Outcome) -> Self {
        let (status, duplicates, erasure_id) = match outcome {
            Outcome::Created(_) | Outcome::Upserted { created: true, .. } => (201, None, None),
            Outcome::Upserted { duplicates, .. } if !duplicates.is_empty() => (200, Some(crate::problem::conflicts(duplicates)), None),
            Outcome::Erased { erasure_id, .. } => (200, None, Some(erasure_id.to_string())),
            _ => (200, None, None),
        };
        Self {
            status,
            id: Some(outcome.profile_id().to_string()),
            version: outcome.profile().map(|p| p.version),
            erasure_id,
            duplicates,
            error: None,
        }
    }
}

fn command(item: Value, country: Option<&str>, may_delete: bool, now: Timestamp) -> ApiResult<Command> {
    let Value::Object(mut item) = item else {
        return Err(Problem::invalid(vec![Issue::new("", "wrong_type", "expected an object with an `op`")]));
    };
    let op = match item.remove("op") {
        Some(Value::String(op)) => op,
        _ => return Err(Problem::invalid(vec![Issue::new("/op", "missing_field", "expected create, upsert, update or delete")])),
    };
    match op.as_str() {
        "create" | "upsert" if !item_shape(&item).is_empty() => Err(Problem::invalid(item_shape(&item))),
        "create" => Ok(Command::Create(typed::<CreateProfile>(Value::Object(item))?.parse(country, now)?)),
        "upsert" => {
            let (draft, on_conflict) = typed::<UpsertProfile>(Value::Object(item))?.parse(country, now)?;
            Ok(Command::Upsert(draft, on_conflict))
        }
        "update" => {
            let (id, if_match) = target(&mut item)?;
            let item = Value::Object(item);
            let noticed = PatchProfile::notice(&item);
            if !noticed.is_empty() {
                return Err(Problem::invalid(noticed));
            }
            Ok(Command::Update { id, patch: typed::<PatchProfile>(item)?.parse(country)?, if_match })
        }
        "delete" => {
            if !may_delete {
                return Err(Problem::new(Kind::MissingScope, "This needs a key with the scope `profiles:delete`."));
            }
            let (id, if_match) = target(&mut item)?;
            let suppress = match item.remove("suppress") {
                None => false,
                Some(Value::Bool(suppress)) => suppress,
                Some(_) => return Err(Problem::invalid(vec![Issue::new("/suppress", "wrong_type", "expected true or false")])),
            };
            if let Some(key) = item.keys().next() {
                let pointer = format!("/{}", people_domain::refusal::token(key));
                return Err(Problem::invalid(vec![Issue::new(
                    pointer,
                    "unknown_field",
                    "not expected here; allowed: op, id, if_match, suppress",
                )]));
            }
            Ok(Command::Erase { id, if_match, suppress })
        }
        _ => Err(Problem::invalid(vec![Issue::new("/op", "not_an_option", "expected create, upsert, update or delete")])),
    }
}

fn item_shape(item: &Map<String, Value>) -> Vec<Issue> {
    CreateProfile::notice(&Value::Object(item.clone()))
}

fn target(item: &mut Map<String, Value>) -> ApiResult<(ProfileId, Option<Vec<u64>>)> {
    let id = match item.remove("id") {
        Some(Value::String(text)) => crate::extract::id(&text).map(ProfileId)?,
        _ => return Err(Problem::invalid(vec![Issue::new("/id", "missing_field", "expected the id of a profile")])),
    };
    let if_match = match item.remove("if_match") {
        None | Some(Value::Null) => None,
        Some(value) => Some(vec![
            value
                .as_u64()
                .ok_or_else(|| Problem::invalid(vec![Issue::new("/if_match", "wrong_type", "expected a version, a whole number")]))?,
        ]),
    };
    Ok((id, if_match))
}

/// Change many people at once
///
/// Items are carried out in order, as if each came alone, and committed together (segments and label rules judge people as they are
/// after the last of them); one that is refused spoils no other,
/// and its error tells why. With an `Idempotency-Key` the whole batch can be sent again safely. `delete` needs the scope
/// `profiles:delete` as well.
#[utoipa::path(
    tag = "profiles",
    request_body(content = BatchProfiles, example = json!({"items": [
        {"op": "create", "email": "ada@example.com", "name": "Ada Lovelace"},
        {"op": "upsert", "external_id": "crm-18", "company": "Navy"},
        {"op": "update", "id": "0192f0c1-7d7e-7aaa-8000-000000000001", "city": "London"}
    ]})),
    responses((status = 200, description = "A result for each item, in order", body = BatchResults)),
    security(("api_key" = ["profiles:write"]))
)]
#[post("/v1/profiles/batch")]
pub async fn batch_profiles(
    app: Data<App>,
    caller: Caller<ProfilesWrite>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<BatchProfiles>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let items = body.value.read;
    if !(1..=1_000).contains(&items.len()) {
        return Err(Problem::invalid(vec![Issue::new("/items", "limit_exceeded", "a batch has 1 to 1000 items")]));
    }
    let country = super::country(&app.store, caller.workspace()).await?;
    let (may_delete, now) = (caller.holds("profiles:delete"), app.store.now());
    // A thousand people take a while to read: other requests of this thread go on meanwhile.
    let read = tokio::task::spawn_blocking(move || -> Vec<ApiResult<Command>> {
        items.into_iter().map(|item| item.and_then(|item| command(item, country.as_deref(), may_delete, now))).collect()
    })
    .await
    .map_err(|_| Problem::new(Kind::Internal, "The batch could not be read."))?;
    let mut commands = Vec::with_capacity(read.len());
    // What each item waits for: the outcome of a command, or the problem it was refused with already.
    let places: Vec<Result<usize, Problem>> = read
        .into_iter()
        .map(|item| {
            item.map(|command| {
                commands.push(command);
                commands.len() - 1
            })
        })
        .collect();
    carry_out(&app, &caller, now, commands, idempotency, move |group| results(group, &places)).await
}

/// The problem of one item, with pointers into the whole body.
fn refused(mut problem: Problem, item: usize) -> BatchResult {
    for issue in &mut problem.errors {
        issue.pointer.insert_str(0, &format!("/items/{item}"));
    }
    (&problem).into()
}

fn results(group: &Group, places: &[Result<usize, Problem>]) -> ApiResult<Answer> {
    let results: Vec<BatchResult> = places
        .iter()
        .enumerate()
        .map(|(i, place)| match place {
            Err(problem) => refused(problem.clone(), i),
            Ok(index) => match group.outcomes.get(*index) {
                Some(Ok(outcome)) => outcome.into(),
                Some(Err(refusal)) => refused(refusal.clone().into(), i),
                None => refused(Problem::new(Kind::Internal, "The item was not carried out."), i),
            },
        })
        .collect();
    Ok(Answer::json(200, serde_json::to_string(&BatchResults { results }).unwrap_or_default()))
}
