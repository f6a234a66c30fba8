//! Lanes: how many requests are under way at once, by what they cost.
//!
//! Beyond its size a lane sheds: the request is answered with 503 and `Retry-After` at once, before its key or its body is
//! looked at. Searches, exports and streams have lanes of their own, smaller ones, so that they can never keep out what is
//! being written. Exports and streams hold their place until their last byte. Health and metrics have no lane.

use std::sync::Arc;

use actix_web::http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Everything that is not one of the others: ingestion, reading and writing one person, administration.
    Requests,
    /// Lists, searches and counts over everyone.
    Searches,
    /// Answers without a bound on their size.
    Exports,
    /// Answers without an end.
    Streams,
}

impl Lane {
    pub const ALL: [Self; 4] = [Self::Requests, Self::Searches, Self::Exports, Self::Streams];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Searches => "searches",
            Self::Exports => "exports",
            Self::Streams => "streams",
        }
    }

    /// The lane of a request; `None`: it is never shed.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        if matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return None;
        }
        let Some(rest) = path.strip_prefix("/v1/") else { return Some(Self::Requests) };
        let reads = method == Method::GET || method == Method::HEAD;
        Some(match rest {
            "profiles" if reads => Self::Searches,
            "profiles/search" | "profiles/count" | "bulk/preview" | "segments/preview" => Self::Searches,
            "profiles/export" => Self::Exports,
            _ if reads && rest.starts_with("profiles/") && rest.ends_with("/export") => Self::Exports,
            _ if reads && rest.starts_with("segments/") && rest.ends_with("/profiles") => Self::Searches,
            // It may wait for a change.
            "changes" if reads => Self::Streams,
            _ if reads && rest.ends_with("/stream") => Self::Streams,
            _ => Self::Requests,
        })
    }

    /// Whether a request keeps its place until its answer has been taken, not only until it begins.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Exports | Self::Streams)
    }
}

/// Sizes of the lanes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub requests: usize,
    pub searches: usize,
    pub exports: usize,
    pub streams: usize,
}

#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: [(usize, Arc<Semaphore>); 4],
}

impl Lanes {
    pub fn new(sizes: Sizes) -> Self {
        let Sizes { requests, searches, exports, streams } = sizes;
        Self { lanes: [requests, searches, exports, streams].map(|size| (size, Arc::new(Semaphore::new(size)))) }
    }

    /// A place in the lane, for as long as it is kept; `None`: the lane is full.
    pub fn enter(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.lanes[lane as usize].1).try_acquire_owned().ok()
    }

    /// The size of a lane, and how many are in it.
    pub fn standing(&self, lane: Lane) -> (usize, usize) {
        let (size, places) = &self.lanes[lane as usize];
        (*size, size.saturating_sub(places.available_permits()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;

    use super::{Lane, Lanes, Sizes};

    #[test]
    fn each_route_has_its_lane() {
        let id = "0192f0c1-7d7e-7aaa-8000-000000000001";
        let of = |method: Method, path: &str| Lane::of(&method, path);
        assert_eq!(of(Method::GET, "/v1/profiles"), Some(Lane::Searches));
        assert_eq!(of(Method::POST, "/v1/profiles"), Some(Lane::Requests));
        assert_eq!(of(Method::POST, "/v1/profiles/search"), Some(Lane::Searches));
        assert_eq!(of(Method::GET, &format!("/v1/profiles/{id}")), Some(Lane::Requests));
        assert_eq!(of(Method::GET, &format!("/v1/profiles/{id}/export")), Some(Lane::Exports));
        assert_eq!(of(Method::POST, "/v1/profiles/export"), Some(Lane::Exports));
        assert_eq!(of(Method::GET, &format!("/v1/segments/{id}/profiles")), Some(Lane::Searches));
        assert_eq!(of(Method::GET, &format!("/v1/jobs/{id}/stream")), Some(Lane::Streams));
        assert_eq!(of(Method::GET, "/v1/changes"), Some(Lane::Streams));
        assert_eq!(of(Method::POST, "/v1/events"), Some(Lane::Requests));
        assert_eq!(of(Method::GET, "/metrics"), None);
        assert_eq!(of(Method::GET, "/readyz"), None);
    }

    #[test]
    fn a_full_lane_takes_nobody_until_somebody_leaves() {
        let lanes = Lanes::new(Sizes { requests: 1, searches: 1, exports: 1, streams: 1 });
        let first = lanes.enter(Lane::Searches);
        assert!(first.is_some() && lanes.enter(Lane::Searches).is_none());
        assert!(lanes.enter(Lane::Requests).is_some(), "another lane is free");
        assert_eq!(lanes.standing(Lane::Searches), (1, 1));
        drop(first);
        assert!(lanes.enter(Lane::Searches).is_some());
    }
}
