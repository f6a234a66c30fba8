//! Definitions of custom attributes.

use actix_web::{
    HttpRequest, HttpResponse, delete, get, patch, post,
    web::{Data, Json, Path},
};
use people_domain::{
    Issue,
    property::{self, Definition, Match, PropertyType, Standard},
    refusal::Issues,
    text::clean,
};
use people_store::{Defined, PropertyChange, PropertyRefusal, StoredAnswer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Caller, Config, ProfilesRead},
    extract::{Body, NoQuery, Query, Sent, Shape, not_null},
    paging::{Page, PageParams},
    problem::{ApiResult, Kind, Problem},
    writes::again,
};

/// The definition of a custom attribute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Property, example = json!({
    "key": "plan", "type": "enum", "label": "Plan", "description": null, "options": ["free", "pro"], "searchable": false, "pii": false,
    "match": "none", "created_at": "2026-01-31T08:00:00.000000Z", "updated_at": "2026-01-31T08:00:00.000000Z"
}))]
pub struct PropertyView {
    pub key: String,
    /// `text`, `number`, `boolean`, `date`, `datetime`, `text_list` or `enum`; never changes.
    #[serde(rename = "type")]
    pub kind: String,
    pub label: Option<String>,
    pub description: Option<String>,
    /// What an `enum` may be.
    pub options: Vec<String>,
    /// Whether `q` finds people by it.
    pub searchable: bool,
    /// Whether it is personal data.
    pub pii: bool,
    /// How it counts when duplicates are looked for: `none`; `exact`, as numbers of documents and cards are, and what is
    /// chosen from a list; `text`, typed by hand, as addresses are (slips are forgiven); `date`, as birthdays are (so are
    /// slips there); `number`.
    #[serde(rename = "match")]
    pub matching: String,
    pub created_at: String,
    pub updated_at: String,
}

impl From<Definition> for PropertyView {
    fn from(d: Definition) -> Self {
        Self {
            key: d.key,
            kind: d.kind.as_str().to_owned(),
            label: d.label,
            description: d.description,
            options: d.options,
            searchable: d.searchable,
            pii: d.pii,
            matching: d.matching.as_str().to_owned(),
            created_at: d.created_at.to_string(),
            updated_at: d.updated_at.to_string(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PropertyList {
    pub data: Vec<PropertyView>,
    pub next_cursor: Option<String>,
    /// How many rows there are, where `count` asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProperty {
    /// Starts with a letter; at most 64 letters, digits, `_`, `-`, `.`, `:` or spaces.
    pub key: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub label: Option<String>,
    pub description: Option<String>,
    /// For `enum`: 1 to 200 texts.
    pub options: Option<Vec<String>>,
    #[serde(default)]
    pub searchable: bool,
    #[serde(default)]
    pub pii: bool,
    #[serde(rename = "match")]
    pub matching: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchProperty {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub label: Sent<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub description: Sent<String>,
    /// May only grow: values that people have stay valid.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Vec<String>)]
    pub options: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool)]
    pub searchable: Option<bool>,
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = bool)]
    pub pii: Option<bool>,
    #[serde(rename = "match", default, deserialize_with = "not_null")]
    #[schema(value_type = String)]
    pub matching: Option<String>,
}

impl Shape for CreateProperty {}

impl Shape for PatchProperty {
    fn notice(body: &Value) -> Vec<Issue> {
        let fixed = |key: &str, detail: &str| body.get(key).map(|_| Issue::new(format!("/{key}"), "unknown_field", detail));
        [
            fixed("type", "the type of a property never changes; define another one and move the values"),
            fixed("key", "the name of a property never changes; define another one and move the values"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn text(value: Option<String>, at: &str, issues: &mut Issues) -> Option<String> {
    value.and_then(|text| match clean(&text, 1_000) {
        Ok(text) => text,
        Err(_) => {
            issues.push(at, "too_long", "expected at most 1000 bytes of text");
            None
        }
    })
}

fn matching(value: Option<&str>, issues: &mut Issues) -> Option<Match> {
    let text = value?;
    let parsed = Match::parse(text);
    if parsed.is_none() {
        issues.push("/match", "not_an_option", "expected none, exact, text, date or number");
    }
    parsed
}

fn options(values: Vec<String>, issues: &mut Issues) -> Vec<String> {
    if values.len() > 200 {
        issues.push("/options", "limit_exceeded", "an enum has at most 200 options");
    }
    let mut out: Vec<String> = Vec::new();
    for (i, value) in values.iter().enumerate() {
        match clean(value, 500) {
            Ok(Some(value)) if !out.contains(&value) => out.push(value),
            Ok(Some(_)) => issues.push(format!("/options/{i}"), "invalid_value", "this option is there already"),
            _ => issues.push(format!("/options/{i}"), "invalid_value", "an option is 1 to 500 bytes of text"),
        }
    }
    out
}

impl CreateProperty {
    fn parse(self, now: people_domain::Timestamp) -> ApiResult<Definition> {
        let mut issues = Issues::default();
        if !property::is_key(&self.key) {
            issues.push("/key", "invalid_attribute_name", property::KEY_RULE);
        } else if Standard::parse_name(&self.key).is_some() {
            issues.push("/key", "invalid_attribute_name", "this is a standard property of every profile; it needs no definition");
        }
        let kind = PropertyType::parse(&self.kind).unwrap_or_else(|| {
            let known: Vec<&str> = PropertyType::ALL.iter().map(|t| t.as_str()).collect();
            issues.push("/type", "not_an_option", format!("expected one of: {}", known.join(", ")));
            PropertyType::Text
        });
        let options = options(self.options.unwrap_or_default(), &mut issues);
        match (kind, options.is_empty()) {
            (PropertyType::Enum, true) => issues.push("/options", "missing_field", "an enum needs its options"),
            (PropertyType::Enum, false) | (_, true) => {}
            (_, false) => issues.push("/options", "invalid_value", "only an enum has options"),
        }
        let definition = Definition {
            key: self.key,
            kind,
            label: text(self.label, "/label", &mut issues),
            description: text(self.description, "/description", &mut issues),
            options,
            searchable: self.searchable,
            pii: self.pii,
            matching: matching(self.matching.as_deref(), &mut issues).unwrap_or_default(),
            created_at: now,
            updated_at: now,
        };
        issues.into_result()?;
        Ok(definition)
    }
}

fn refused(refusal: PropertyRefusal) -> Problem {
    match refusal {
        PropertyRefusal::NotFound => Problem::not_found(),
        PropertyRefusal::Exists => {
            Problem::at(Kind::PropertyExists, "/key", "property_exists", "Change it with PATCH, or choose another key.")
        }
        PropertyRefusal::TooMany => Problem::at(
            Kind::LimitExceeded,
            "/key",
            "limit_exceeded",
            format!("A workspace defines at most {} properties.", property::MAX_DEFINITIONS),
        ),
        PropertyRefusal::InUse => Problem::new(
            Kind::PropertyInUse,
            "Profiles hold values of this property. Find them with the filter {\"field\": \"attributes.<key>\", \"op\": \"exists\"} and clear the values first.",
        ),
    }
}

/// List properties
#[utoipa::path(
    tag = "properties",
    description = "Every custom attribute of the workspace, defined or inferred from a first value, by key.",
    params(PageParams),
    responses((status = 200, description = "The definitions", body = PropertyList)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/properties")]
pub async fn list_properties(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    Query(params): Query<PageParams>,
) -> ApiResult<Json<PropertyList>> {
    let definitions = app.store.properties(caller.workspace()).await?;
    let rows = definitions.into_values().collect();
    let Page { data, next_cursor, total } =
        params.of(caller.workspace(), "properties", rows, |definition: &Definition| definition.key.clone())?;
    Ok(Json(PropertyList { data: data.into_iter().map(Into::into).collect(), next_cursor, total }))
}

/// Define a property
#[utoipa::path(
    tag = "properties",
    description = "Gives a custom attribute its type before the first value.",
    request_body(content = CreateProperty, example = json!({"key": "plan", "type": "enum", "options": ["free", "pro"], "label": "Plan"})),
    responses((status = 201, description = "The definition", body = PropertyView), (status = 409, description = "It is defined already (`property_exists`)")),
    security(("api_key" = ["config"]))
)]
#[post("/v1/properties")]
pub async fn create_property(
    app: Data<App>,
    caller: Caller<Config>,
    request: HttpRequest,
    _query: Query<NoQuery>,
    body: Body<CreateProperty>,
) -> ApiResult<HttpResponse> {
    let idempotency = body.idempotency(&request)?;
    let now = app.store.now();
    let definition = body.value.parse(now)?;
    let location = format!("/v1/properties/{}", percent_encoding::utf8_percent_encode(&definition.key, percent_encoding::NON_ALPHANUMERIC));
    let body = serde_json::to_string(&PropertyView::from(definition.clone())).unwrap_or_default();
    let answer = idempotency.map(|key| {
        let headers = vec![("Location".to_owned(), location.clone())];
        (key, StoredAnswer { status: 201, headers, body: Some(body.clone()) })
    });
    match app.store.define_property(caller.workspace(), definition, caller.cause(now), answer).await?.map_err(refused)? {
        Defined::Now => Ok(HttpResponse::Created().insert_header(("Location", location)).content_type("application/json").body(body)),
        Defined::Before(stored) => Ok(again(stored)),
    }
}

/// Read a property
#[utoipa::path(
    tag = "properties",
    description = "One definition by its key.",
    params(("key" = String, Path, description = "Key of the property", example = "plan")),
    responses((status = 200, description = "The definition", body = PropertyView)),
    security(("api_key" = ["profiles:read"]))
)]
#[get("/v1/properties/{key}")]
pub async fn read_property(
    app: Data<App>,
    caller: Caller<ProfilesRead>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<Json<PropertyView>> {
    let mut definitions = app.store.properties(caller.workspace()).await?;
    Ok(Json(definitions.remove(path.as_str()).ok_or_else(Problem::not_found)?.into()))
}

/// Change a property
#[utoipa::path(
    tag = "properties",
    description = "What is absent stays. The type never changes, and options only grow, so that every stored value stays valid. \
        When `match` changes, people written from then on follow it, and everybody with the next `POST /v1/duplicates/scan`. \
        When `searchable` changes, new values follow at once and the search text of everybody is renewed in the background.",
    params(("key" = String, Path, description = "Key of the property", example = "plan")),
    request_body(content = PatchProperty, example = json!({"label": "Plan", "searchable": true})),
    responses((status = 200, description = "The definition as it is now", body = PropertyView)),
    security(("api_key" = ["config"]))
)]
#[patch("/v1/properties/{key}")]
pub async fn patch_property(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
    body: Body<PatchProperty>,
) -> ApiResult<Json<PropertyView>> {
    let key = path.into_inner();
    let known = app.store.properties(caller.workspace()).await?.remove(&key).ok_or_else(Problem::not_found)?;
    let mut issues = Issues::default();
    let body = body.value;
    let grown = body.options.map(|values| options(values, &mut issues));
    if let Some(grown) = &grown {
        if known.kind != PropertyType::Enum {
            issues.push("/options", "invalid_value", "only an enum has options");
        }
        if let Some(lost) = known.options.iter().find(|old| !grown.contains(old)) {
            issues.push("/options", "invalid_value", format!("options only grow, since people may hold them; keep {lost:?}"));
        }
    }
    let change = PropertyChange {
        label: body.label.into_option().map(|label| text(label, "/label", &mut issues)),
        description: body.description.into_option().map(|description| text(description, "/description", &mut issues)),
        options: grown,
        searchable: body.searchable,
        pii: body.pii,
        matching: matching(body.matching.as_deref(), &mut issues),
    };
    issues.into_result()?;
    let definition = app.store.change_property(caller.workspace(), key, change, caller.cause(app.store.now())).await?.map_err(refused)?;
    Ok(Json(definition.into()))
}

/// Remove a property
#[utoipa::path(
    tag = "properties",
    description = "Only while no profile holds a value of it: nothing is lost by accident.",
    params(("key" = String, Path, description = "Key of the property", example = "plan")),
    responses((status = 204, description = "The definition is gone"), (status = 409, description = "Profiles hold values of it (`property_in_use`)")),
    security(("api_key" = ["config"]))
)]
#[delete("/v1/properties/{key}")]
pub async fn delete_property(
    app: Data<App>,
    caller: Caller<Config>,
    path: Path<String>,
    _query: Query<NoQuery>,
) -> ApiResult<HttpResponse> {
    app.store.remove_property(caller.workspace(), path.into_inner(), caller.cause(app.store.now())).await?.map_err(refused)?;
    Ok(HttpResponse::NoContent().finish())
}
