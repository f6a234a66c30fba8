//! The edge: what happens to every request and every answer, whatever its route.
//!
//! A request id is taken or made, one span covers the request (route and status, never a query string), limits on the
//! head are kept, and every failure leaves as a complete problem: ours with instance and request id, and the ones the
//! framework answers by itself translated.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH},
    },
    middleware::Next,
    web::{Bytes, Data},
};
use futures_util::StreamExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    app::App,
    connections::{Connection, Handed, Kept},
    cors::Readers,
    lanes::Lane,
    metrics::{self, Rejection},
    problem::{Kind, Problem},
    rates::Taken,
};

/// Most bytes of a body that are read although the request is refused by its head.
const SHORT: u64 = 128 * 1024;
/// How long such a body is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest request target.
const MAX_URI: usize = 8 * 1024;
/// Most bytes of header names and values together.
const MAX_HEADERS: usize = 16 * 1024;

/// The id of the request, the caller's own when it is usable.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

fn request_id(request: &ServiceRequest) -> String {
    request
        .headers()
        .get("X-Request-Id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Wraps the whole application.
pub async fn edge(mut request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let app = request.app_data::<Data<App>>().cloned();
    let readers = app.as_ref().map_or(Readers::Nobody { varies: false }, |app| Readers::of(request.head(), &app.origins));
    // What any web page may send may change something even when it is a GET.
    if method == Method::HEAD && !matches!(readers, Readers::AnyPage) {
        // Answered as GET is; what stands in the answer is not sent.
        request.head_mut().method = Method::GET;
    }
    let route = request.match_pattern();
    let span = tracing::info_span!(
        "request",
        method = metrics::known(&method),
        route = route.as_deref().unwrap_or("unmatched"),
        request_id = %id,
        status = tracing::field::Empty,
    );
    let instance = request.path().to_owned();
    let begun = Instant::now();
    let mut kept = Kept { request: request.conn_data::<Arc<Connection>>().map(Connection::request), place: None };
    let lane = Lane::of(&method, &instance);
    let place = lane.zip(app.as_ref()).map(|(lane, app)| app.lanes.enter(lane));
    let refused = match place {
        Some(None) => Some(overloaded(app.as_ref())),
        Some(Some(place)) => {
            kept.place = Some(place);
            head_limits(&request)
        }
        None => head_limits(&request),
    };
    let preflight = readers.is_preflight(&request);
    if refused.is_some() {
        read_off(&mut request).await;
    }
    let answered = match refused {
        Some(problem) => Ok(request.into_response(problem.respond(Some(&instance), Some(&id)))),
        None if preflight => Ok(request.into_response(HttpResponse::NoContent().finish())),
        None => next.call(request).instrument(span.clone()).await.map(|response| sparing(complete(response, &instance, &id), &method)),
    };
    let mut response = match answered {
        Ok(response) => response,
        // A fault of the middleware stack itself: answered, and told without its cause.
        Err(error) => {
            let status = error.as_response_error().status_code();
            return Err(
                actix_web::error::InternalError::from_response(error, translate(status, "").respond(Some(&instance), Some(&id))).into()
            );
        }
    };
    if !lane.is_some_and(Lane::holds) || !matches!(response.response().body().size(), BodySize::Stream) {
        kept.place = None;
    }
    span.record("status", response.status().as_u16());
    tracing::info!(parent: &span, ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "answered");
    if let Some(app) = &app {
        app.metrics.answered(&method, route.as_deref(), response.status(), begun.elapsed());
        if app.connections.is_leaving() {
            // Whoever would come again on this connection goes elsewhere.
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
    }
    let taken = response.request().extensions().get::<Taken>().copied();
    if let Some(taken) = taken {
        taken.tell(response.headers_mut());
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    readers.tell(response.headers_mut(), preflight);
    Ok(response.map_body(|_, body| Handed::new(body, kept).boxed()))
}

/// Leaves out the body that nobody asked for: of a HEAD, and of what the caller has already (RFC 9110 section 13.1.2).
fn sparing(response: ServiceResponse<BoxBody>, method: &Method) -> ServiceResponse<BoxBody> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && response.status() == StatusCode::OK && has(response.request(), response.headers().get(ETAG)) {
        return response.map_body(|head, _| {
            head.status = StatusCode::NOT_MODIFIED;
            head.headers.remove(CONTENT_TYPE);
            actix_web::body::None::new().boxed()
        });
    }
    if *method == Method::HEAD { response.map_body(|_, body| Unsent(body.size()).boxed()) } else { response }
}

/// Whether the caller has what this tag stands for.
fn has(request: &HttpRequest, tag: Option<&HeaderValue>) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let Some(tag) = tag.and_then(|tag| tag.to_str().ok()).map(opaque) else { return false };
    let known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).map(str::trim).any(|known| known == "*" || opaque(known) == tag)
}

/// A body of which only the size is told.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// Takes in a body that nobody will look at, when it is short: on a connection whose request was read to its end the client
/// sends its next one, and opening another would cost both of them more than the reading.
async fn read_off(request: &mut ServiceRequest) {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if !announced.is_some_and(|length| (1..=SHORT).contains(&length)) {
        return;
    }
    let mut body = request.take_payload();
    // A client that does not come on is not waited for; its connection is closed with the answer.
    let _ = tokio::time::timeout(PATIENCE, async { while body.next().await.is_some_and(|chunk| chunk.is_ok()) {} }).await;
}

fn overloaded(app: Option<&Data<App>>) -> Problem {
    if let Some(app) = app {
        app.metrics.rejected(Rejection::Overloaded);
    }
    Problem { retry_after: Some(1), ..Problem::new(Kind::Overloaded, "Nothing was done; send the request again after a moment.") }
}

fn head_limits(request: &ServiceRequest) -> Option<Problem> {
    if request.uri().to_string().len() > MAX_URI {
        return Some(Problem::new(
            Kind::UriTooLong,
            format!("An address has at most {MAX_URI} bytes; use POST /v1/profiles/search for long searches."),
        ));
    }
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (bytes > MAX_HEADERS).then(|| Problem::new(Kind::RequestHeaderFieldsTooLarge, format!("Headers take at most {MAX_HEADERS} bytes.")))
}

/// Gives a failure its instance and request id.
fn complete<B: MessageBody + 'static>(response: ServiceResponse<B>, instance: &str, id: &str) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response.map_into_boxed_body();
    }
    let ours = response.response().error().and_then(|error| error.as_error::<Problem>()).cloned();
    let framework = response.response().error().is_some() || !is_problem(response.response());
    let problem = match ours {
        Some(problem) => problem,
        None if framework => translate(status, ""),
        None => return response.map_into_boxed_body(),
    };
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, problem.respond(Some(instance), Some(id)))
}

fn is_problem<B>(response: &HttpResponse<B>) -> bool {
    response.headers().get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"))
}

/// A failure the framework found by itself.
fn translate(status: StatusCode, detail: &str) -> Problem {
    let kind = match status.as_u16() {
        404 => Kind::NotFound,
        405 => Kind::MethodNotAllowed,
        408 => Kind::RequestTimeout,
        413 => Kind::BodyTooLarge,
        414 => Kind::UriTooLong,
        415 => Kind::UnsupportedMediaType,
        431 => Kind::RequestHeaderFieldsTooLarge,
        503 => Kind::Unavailable,
        400..=499 => Kind::BadRequest,
        _ => Kind::Internal,
    };
    Problem::new(kind, if detail.is_empty() { kind.title() } else { detail })
}

/// Answers what no route takes: 405 with what is allowed where the path is one of ours, 404 elsewhere.
pub async fn unmatched(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let path = request.path();
    let allowed = crate::openapi::methods(path);
    if allowed.is_empty() {
        let bare = path.trim_end_matches('/');
        let is_slash = bare != path && !crate::openapi::methods(bare).is_empty();
        let remedy = if is_slash { "Ask for the path without the slash at its end." } else { "/docs lists every path." };
        return Err(Problem::new(Kind::NotFound, format!("There is nothing here. {remedy}")));
    }
    if allowed.contains(&request.method().as_str()) {
        return Err(Problem::new(
            Kind::NotFound,
            "There is nothing here: an id in a path is a UUID, such as 0192f0c1-7d7e-7aaa-8000-000000000001.",
        ));
    }
    let allow = allowed.join(", ");
    Err(Problem { allow: Some(allow.clone()), ..Problem::new(Kind::MethodNotAllowed, format!("This path takes {allow}.")) })
}
