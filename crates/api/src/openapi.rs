//! The document: OpenAPI 3.1, generated from the handlers, completed in one pass, served and shown.
//!
//! Handlers describe what is theirs; what every route shares (problems, the request id, retries) is added here, so no
//! handler can forget it. `openapi/openapi.json` is this document, committed; a test fails when they differ.

use std::sync::LazyLock;

use actix_web::{App, HttpResponse, web};
use utoipa::{
    OpenApi,
    openapi::{
        Content, HeaderBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, Type,
        path::{HttpMethod, Operation, ParameterBuilder, ParameterIn, PathItem},
        schema::Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_actix_web::AppExt as _;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    problem::{ConflictView, ErrorView, Kind, ProblemView},
    routes,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "People",
        description = "The directory of every customer: one profile per person, found as you type, kept true, erased with a receipt.\n\n\
            **First steps.** Press *Authorize* and paste the API key that the server printed at its first start. Create a person with \
            `POST /v1/profiles`, find them with `GET /v1/profiles?q=…`, narrow the list with `POST /v1/profiles/search`.\n\n\
            **Errors** are `application/problem+json` (RFC 9457): branch on `code`, show `detail`, and look at `errors` for each place.\n\n\
            **Retries.** Send an `Idempotency-Key` with a POST, and the same request again within 24 hours changes nothing and is \
            answered as before, with `Idempotency-Replayed: true` (about somebody erased since: `{\"erased\": true}`). Requests that were refused changed nothing and are simply tried again.\n\n\
            **Concurrent edits.** Every profile carries its version as `ETag`; send it back as `If-Match`, and a change made meanwhile by \
            somebody else is answered with 412 instead of being lost.\n\n\
            **Merged ids.** The id of somebody who was merged answers for the survivor on every route, through chains; \
            `Content-Location`, or `profile_id` in the answer, says whose it is.\n\n\
            **Limits.** A key that asks too often is answered with 429, a server that has too much to do with 503, both with \
            `Retry-After`. Where a key is limited, `RateLimit` and `RateLimit-Policy` tell on every answer what is left.\n\n\
            **Lists** are walked with `next_cursor`, which belongs to one query and stays valid while people are added.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "profiles", description = "People: create, read, correct, find, export."),
        (name = "identities", description = "The keys a person is recognised by."),
        (name = "merges", description = "Two people who are one: previewed, carried out, taken back."),
        (name = "labels", description = "Short names on people, and the catalogue of them."),
        (name = "consents", description = "Where people stand on each channel, and the ledger of their decisions."),
        (name = "events", description = "The timeline: what people did, and their sessions."),
        (name = "tracking", description = "What the public SDKs of Segment and RudderStack send, unmodified."),
        (name = "bulk", description = "One change of many people, previewed before it is made."),
        (name = "imports", description = "Files of people, taken in by a job."),
        (name = "segments", description = "Everyone a filter matches, kept true on its own: the moment a write is answered, and when a window of time ends."),
        (name = "jobs", description = "Work that goes on after its request was answered: how far it is, what it could not do."),
        (name = "duplicates", description = "Pairs of people who may be one, and what speaks for it."),
        (name = "erasures", description = "Receipts of what was erased, and whom not to take in again."),
        (name = "properties", description = "Definitions of custom attributes."),
        (name = "changes", description = "Every change of the workspace in the order it was made, for those who keep a copy."),
        (name = "webhooks", description = "Endpoints that are told of every change: signed, in order, at least once."),
        (name = "workspace", description = "Settings of the workspace."),
        (name = "api-keys", description = "Keys, their scopes and rotation."),
        (name = "audit-log", description = "Who did what and when, over administration and data."),
        (name = "operations", description = "Whether the service is alive and ready, and how it does."),
    ),
    components(schemas(ProblemView, ErrorView, ConflictView))
)]
struct Base;

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let (_, document) = App::new().into_utoipa_app().openapi(Base::openapi()).configure(routes::all).split_for_parts();
    complete(document)
});

/// The finished document.
pub fn document() -> &'static Document {
    &DOCUMENT
}

/// As it is committed: pretty, with a line break at the end.
pub fn text() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Methods of the path, for a 405; none when the path is not ours.
pub fn methods(path: &str) -> Vec<&'static str> {
    if path == "/openapi.json" || path == "/docs" || path.starts_with("/docs/") {
        return vec!["GET", "HEAD"];
    }
    let asked: Vec<&str> = path.split('/').collect();
    let paths = &document().paths.paths;
    if let Some(item) = paths.get(path) {
        return answered(path, item);
    }
    let mut out: Vec<&'static str> = paths
        .iter()
        .filter(|(template, _)| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == asked.len()
                && parts.iter().zip(&asked).all(|(part, asked)| part == asked || (part.starts_with('{') && !asked.is_empty()))
        })
        .flat_map(|(template, item)| answered(template, item))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// What can be read can be asked for by HEAD, but for a message of a tracking SDK, which a GET may bring.
fn answered(path: &str, item: &PathItem) -> Vec<&'static str> {
    let head = item.get.as_ref().filter(|_| !crate::tracking::is_route(path));
    [("GET", item.get.as_ref()), ("HEAD", head), ("POST", item.post.as_ref()), ("PUT", item.put.as_ref())]
        .into_iter()
        .chain([("PATCH", item.patch.as_ref()), ("DELETE", item.delete.as_ref())])
        .filter_map(|(method, operation)| operation.map(|_| method))
        .collect()
}

fn complete(mut document: Document) -> Document {
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "api_key",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("ppl_…")
                .description(Some("An API key. It belongs to one workspace and holds scopes; each operation names the one it needs."))
                .build(),
        ),
    );
    for (path, item) in &mut document.paths.paths {
        let slots = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, slot) in slots {
            if let Some(operation) = slot {
                complete_operation(path, &method, operation);
            }
        }
    }
    document
}

fn complete_operation(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let public = !path.starts_with("/v1") && !crate::tracking::is_route(path);
    let mut kinds: Vec<Kind> = vec![Kind::Unavailable];
    if !public {
        kinds.extend([Kind::Unauthorized, Kind::MissingScope, Kind::RateLimited, Kind::Internal, Kind::InvalidQuery]);
    }
    if path.contains('{') {
        kinds.push(Kind::NotFound);
    }
    // Tracking SDKs send whatever else fails again, so their messages fail with 400.
    if operation.request_body.is_some() && !crate::tracking::is_route(path) {
        kinds.extend([Kind::MalformedJson, Kind::BodyTooLarge, Kind::UnsupportedMediaType, Kind::ValidationFailed, Kind::RequestTimeout]);
    }
    if *method == HttpMethod::Post && !public {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(RefOr::T(
            ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .description(Some(
                    "Makes the request safe to send again: the same key and body within 24 hours is answered as before. \
                     1 to 255 printable ASCII characters. Of no consequence on requests that only read.",
                ))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
                .build(),
        ));
    }
    if *method == HttpMethod::Post && !public {
        kinds.push(Kind::IdempotencyMismatch);
    }
    for kind in kinds {
        let status = kind.status().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(problem_response(kind)));
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let failed = status.starts_with('4') || status.starts_with('5');
        if failed && response.content.is_empty() {
            response.content.insert("application/problem+json".to_owned(), RefOr::T(problem_content()));
        }
        let told: &[(&str, Type, &str)] = match status.as_str() {
            "429" => &[RETRY_AFTER, RATE_LIMIT_RESET, RATE_LIMIT, RATE_LIMIT_POLICY],
            "503" => &[RETRY_AFTER],
            status if *method == HttpMethod::Post && !public && status.starts_with('2') => &[REPLAYED],
            _ => &[],
        };
        for (name, kind, description) in [&REQUEST_ID].into_iter().chain(told) {
            let schema = Schema::Object(ObjectBuilder::new().schema_type(kind.clone()).build());
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(*description)).build();
            response.headers.insert((*name).to_owned(), RefOr::T(header));
        }
    }
}

const REQUEST_ID: (&str, Type, &str) = ("X-Request-Id", Type::String, "The request's id: yours when you sent one, else a new one.");
const REPLAYED: (&str, Type, &str) =
    ("Idempotency-Replayed", Type::Boolean, "`true`: the answer to an earlier request with this `Idempotency-Key`.");
const RETRY_AFTER: (&str, Type, &str) = ("Retry-After", Type::Integer, "Seconds after which to send the request again.");
const RATE_LIMIT_RESET: (&str, Type, &str) = ("X-RateLimit-Reset", Type::Integer, "The same, as tracking SDKs ask for it.");
const RATE_LIMIT: (&str, Type, &str) = ("RateLimit", Type::String, "What is left of the key's requests, such as `\"key\";r=0;t=2`.");
const RATE_LIMIT_POLICY: (&str, Type, &str) =
    ("RateLimit-Policy", Type::String, "Requests in a window of seconds, such as `\"key\";q=10000;w=2`.");

fn problem_content() -> Content {
    Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
}

fn problem_response(kind: Kind) -> utoipa::openapi::Response {
    ResponseBuilder::new()
        .description(format!("{} (`{}`)", kind.title(), kind.code()))
        .content("application/problem+json", problem_content())
        .build()
}

/// `/openapi.json`, and the document to read and try at `/docs`.
pub fn docs() -> actix_web::Scope {
    let config = Config::from("/openapi.json")
        .persist_authorization(true)
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .doc_expansion("list");
    web::scope("")
        .route("/docs", web::get().to(|| async { HttpResponse::TemporaryRedirect().insert_header(("Location", "/docs/")).finish() }))
        .route("/openapi.json", web::get().to(|| async { HttpResponse::Ok().content_type("application/json").body(text()) }))
        .service(SwaggerUi::new("/docs/{_:.*}").config(config))
}
