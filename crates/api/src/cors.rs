//! Which web pages may send requests and read the answers: the CORS protocol of the Fetch standard.
//!
//! Any page may use the tracking routes: its key says whose page it is. The rest of `/v1` is open to the pages of the origins
//! that the operator names. No cookie is ever asked for, so an origin by itself gives nobody any right: the key does.

use actix_web::{
    dev::{RequestHead, ServiceRequest},
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
        },
    },
};
use url::Url;

/// Pages that may use the whole API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    these: Vec<String>,
}

impl Origins {
    /// `https://app.example, http://localhost:5173`, or `*` for any. E: what is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut origins = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let is_whole = |url: Url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == item;
            // A star is everything, and no part of an address.
            let is_origin = || !item.contains('*') && Url::parse(item).is_ok_and(is_whole);
            match item {
                "*" => origins.any = true,
                _ if is_origin() => origins.these.push(item.to_owned()),
                _ => return Err(item.to_owned()),
            }
        }
        Ok(origins)
    }

    fn is_empty(&self) -> bool {
        !self.any && self.these.is_empty()
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        self.any || origin.to_str().is_ok_and(|origin| self.these.iter().any(|known| known == origin))
    }
}

/// Who may read the answer to a request.
#[derive(Clone, Debug)]
pub enum Readers {
    /// Nobody's page. `varies`: to a page of another origin it would be told otherwise.
    Nobody { varies: bool },
    /// Any page, as of the tracking routes.
    AnyPage,
    /// Pages of this origin.
    Page(HeaderValue),
}

impl Readers {
    pub fn of(head: &RequestHead, origins: &Origins) -> Self {
        let path = head.uri.path();
        if crate::tracking::is_route(path) {
            return Self::AnyPage;
        }
        if origins.is_empty() || !(path.starts_with("/v1/") || path == "/openapi.json") {
            return Self::Nobody { varies: false };
        }
        match head.headers.get(ORIGIN).filter(|origin| origins.allow(origin)) {
            Some(origin) => Self::Page(origin.clone()),
            None => Self::Nobody { varies: true },
        }
    }

    /// Whether this is a browser's question before the request.
    pub fn is_preflight(&self, request: &ServiceRequest) -> bool {
        let asks = request.method() == Method::OPTIONS;
        match self {
            Self::Nobody { .. } => false,
            Self::AnyPage => asks,
            Self::Page(_) => asks && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        }
    }

    pub fn tell(&self, headers: &mut HeaderMap, preflight: bool) {
        const READ: &str = "x-request-id, retry-after, ratelimit, ratelimit-policy, x-ratelimit-reset";
        const READ_ALL: &str = "x-request-id, retry-after, ratelimit, ratelimit-policy, x-ratelimit-reset, etag, location, \
            content-location, content-disposition, idempotency-replayed, www-authenticate, allow";
        // Authorization is not covered by the star (Fetch standard, CORS-preflight).
        const SEND: &str = "*, authorization, content-type, content-encoding";
        const SEND_ALL: &str = "*, authorization, content-type, idempotency-key, if-match, if-none-match, x-reason, x-request-id, \
            last-event-id";
        let (read, send, methods) = match self {
            Self::Nobody { varies: false } => return,
            Self::Nobody { varies: true } => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
            Self::AnyPage => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                (READ, SEND, "GET, POST")
            }
            Self::Page(origin) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                (READ_ALL, SEND_ALL, "GET, HEAD, POST, PUT, PATCH, DELETE")
            }
        };
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(ACCESS_CONTROL_EXPOSE_HEADERS, read);
        if preflight {
            set(ACCESS_CONTROL_ALLOW_METHODS, methods);
            set(ACCESS_CONTROL_ALLOW_HEADERS, send);
            set(ACCESS_CONTROL_MAX_AGE, "86400");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn origins_are_told_from_addresses() {
        let parsed = Origins::parse(" https://app.example ,http://localhost:5173,");
        assert_eq!(parsed.map(|origins| origins.these), Ok(vec!["https://app.example".to_owned(), "http://localhost:5173".to_owned()]));
        assert!(Origins::parse("").is_ok_and(|origins| origins.is_empty()));
        assert!(Origins::parse("*").is_ok_and(|origins| origins.any));
        for wrong in ["https://app.example/", "app.example", "https://app.example/people", "ftp://app.example", "https://*.example", "null"]
        {
            assert_eq!(Origins::parse(&format!("https://fine.example,{wrong}")), Err(wrong.to_owned()));
        }
    }
}
