//! `GET /pixel/v1/track` and `GET /pixel/v1/page`: a message as an image, for mails and pages without scripts.
//!
//! Whoever shows the image must not see that something was wrong with it: with a known key the answer is always the
//! image, and a message that cannot be used is listed under `rejected-events`.

use actix_web::{HttpRequest, HttpResponse, get, web::Data};
use serde_json::{Map, Value};

use super::{Messages, body, by_header, carry_out, query_key};
use crate::{app::App, auth::by_key, problem::ApiResult};

/// One transparent pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Deepest nesting a parameter's name may ask for.
const DEEPEST: usize = 8;

async fn show(app: &App, request: &HttpRequest, kind: &'static str) -> ApiResult<HttpResponse> {
    let caller = match by_header(request)? {
        Some(caller) => caller,
        None => by_key(app, request, &query_key(request).unwrap_or_default()).await?,
    };
    carry_out(app, &caller, Messages::alone(Some(kind), message(request.query_string())), None).await?;
    Ok(HttpResponse::Ok()
        // Shown again, it is another message; and a page that isolates itself may still show it.
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"))
        .content_type("image/gif")
        .body(GIF))
}

/// The parameters as a message: dots nest (`properties.total=5`), and what is given as a JSON object is one.
fn message(query: &str) -> Map<String, Value> {
    let mut message = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "writeKey") {
        let path: Vec<&str> = name.splitn(DEEPEST, '.').collect();
        let value = match serde_json::from_str(&value) {
            Ok(object @ Value::Object(_)) => object,
            _ => Value::from(value.into_owned()),
        };
        put(&mut message, &path, value);
    }
    // Some mailers put the id in quotes.
    if let Some(Value::String(id)) = message.get_mut("anonymousId")
        && let Some(bare) = id.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
    {
        *id = bare.to_owned();
    }
    let mut message = Value::Object(message);
    body::strip(&mut message);
    if let Value::Object(message) = message { message } else { Map::new() }
}

fn put(members: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            members.insert((*name).to_owned(), value);
        }
        [name, rest @ ..] => {
            let inner = members.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

macro_rules! pixels {
    ($($name:ident $path:literal $kind:literal, $summary:literal, $parameter:literal $description:literal;)+) => {$(
        #[utoipa::path(
            tag = "tracking",
            summary = $summary,
            description = "For mails and pages without scripts. The parameters are the members of the message, dots nest them: \
                `properties.total=5`, `context.page.path=/`. With a known key the answer is always the image, never to be stored; a \
                message that cannot be used is listed under `GET /v1/rejected-events`. The query is never logged.",
            params(
                ("writeKey" = Option<String>, Query, description = "The write key", example = "ppl_…"),
                ("userId" = Option<String>, Query, description = "The `external_id`"),
                ("anonymousId" = Option<String>, Query, description = "The `anonymous_id`; this or `userId` is needed"),
                ($parameter = Option<String>, Query, description = $description),
                ("messageId" = Option<String>, Query, description = "Makes the message count once for its key")
            ),
            responses((status = 200, description = "A transparent image of one pixel", body = Vec<u8>, content_type = "image/gif")),
            security(("api_key" = ["events:write"]))
        )]
        #[get($path)]
        pub(super) async fn $name(app: Data<App>, request: HttpRequest) -> ApiResult<HttpResponse> {
            show(&app, &request, $kind).await
        }
    )+};
}

pixels! {
    pixel_track "/pixel/v1/track" "track", "Say what somebody did, by an image", "event" "What happened: `mail_opened`";
    pixel_page "/pixel/v1/page" "page", "Say which page somebody saw, by an image", "name" "Which page";
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::message;

    #[test]
    fn parameters_are_the_members_of_a_message() {
        let read = message(
            "writeKey=secret&anonymousId=%22a1%22&properties.total=5&properties.cart.size=2&context=%7B%22ip%22%3A%221%22%7D&event=a%00b&event.x=1&x.y.z.a.b.c.d.e.f=1",
        );
        assert_eq!(
            Value::Object(read),
            json!({"anonymousId": "a1", "properties": {"total": "5", "cart": {"size": "2"}}, "context": {"ip": "1"}, "event": {"x": "1"},
                "x": {"y": {"z": {"a": {"b": {"c": {"d": {"e.f": "1"}}}}}}}})
        );
    }
}
