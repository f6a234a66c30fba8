//! How often a key may ask: a bucket of requests for each, filled at a steady rate.
//!
//! The buckets are this process's own: with several instances behind a balancer each allows the whole rate. A request
//! counts once, whatever it carries, so that sending a thousand people in one is the cheaper way. Buckets of keys that have
//! not asked for a while are full, and are forgotten.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use people_store::ApiKey;
use uuid::Uuid;

/// Buckets kept before the full ones are looked for.
const MANY: usize = 10_000;

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Requests a second of one key, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate of a key's own, with a burst in the same proportion.
    fn of_key(self, per_second: NonZeroU32) -> Self {
        let burst = u64::from(per_second.get()) * u64::from(self.burst.get()) / u64::from(self.per_second.get());
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(per_second);
        Self { per_second, burst }
    }

    /// Seconds until an empty bucket is full.
    fn window(self) -> u32 {
        self.burst.get().div_ceil(self.per_second.get())
    }
}

struct Bucket {
    rate: Rate,
    limiter: Limiter,
    asked: Instant,
}

/// What a request took, and what is left: told in the headers of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    rate: Rate,
    remaining: u32,
    /// Seconds after which to come again; `None`: the request goes on.
    pub wait: Option<u32>,
}

pub struct Rates {
    /// For keys without a rate of their own; `None`: they are not limited.
    usual: Option<Rate>,
    /// What a key's own rate is completed from.
    shape: Rate,
    clock: DefaultClock,
    buckets: Mutex<HashMap<Uuid, Bucket>>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rates({:?})", self.usual)
    }
}

impl Rates {
    /// `per_second` 0: only keys with a rate of their own are limited.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let usual = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst)).map(|(per_second, burst)| Rate { per_second, burst });
        let two = NonZeroU32::MIN.saturating_add(1);
        let shape = usual.unwrap_or(Rate { per_second: NonZeroU32::MIN, burst: two });
        Self { usual, shape, clock: DefaultClock::default(), buckets: Mutex::default() }
    }

    /// Takes one request from the key's bucket; `None`: the key is not limited.
    pub fn take(&self, key: &ApiKey) -> Option<Taken> {
        let own = key.rate_limit.and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        let rate = own.map(|own| self.shape.of_key(own)).or(self.usual)?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY && !buckets.contains_key(&key.id) {
            buckets.retain(|_, bucket| bucket.asked.elapsed() < Duration::from_secs(bucket.rate.window().into()));
        }
        let bucket = buckets.entry(key.id).or_insert_with(|| self.bucket(rate));
        if bucket.rate != rate {
            *bucket = self.bucket(rate);
        }
        bucket.asked = Instant::now();
        Some(match bucket.limiter.check() {
            Ok(state) => Taken { rate, remaining: state.remaining_burst_capacity(), wait: None },
            Err(until) => Taken { rate, remaining: 0, wait: Some(self.seconds(&until)) },
        })
    }

    fn bucket(&self, rate: Rate) -> Bucket {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::direct_with_clock(quota, self.clock.clone()).with_middleware::<StateInformationMiddleware>();
        Bucket { rate, limiter, asked: Instant::now() }
    }

    fn seconds(&self, until: &NotUntil<<DefaultClock as governor::clock::Clock>::Instant>) -> u32 {
        let wait = until.wait_time_from(self.clock.now());
        u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
    }
}

impl Taken {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): `q` requests in `w` seconds, of which
    /// `r` are left, and all again after `t` seconds.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let Rate { per_second, burst } = self.rate;
        let full = burst.get().saturating_sub(self.remaining).div_ceil(per_second.get());
        let policy = format!("\"key\";q={burst};w={}", self.rate.window());
        let state = format!("\"key\";r={};t={full}", self.remaining);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderMap;
    use people_domain::{Timestamp, id::WorkspaceId};
    use people_store::{ApiKey, Trust};
    use uuid::Uuid;

    use super::Rates;

    fn key(rate_limit: Option<i64>) -> ApiKey {
        ApiKey {
            id: Uuid::new_v4(),
            workspace_id: WorkspaceId(Uuid::nil()),
            name: String::new(),
            scopes: Vec::new(),
            trust: Trust::Server,
            rate_limit,
            created_at: Timestamp::MIN,
            last_used_at: None,
        }
    }

    #[test]
    fn a_bucket_empties_and_says_when_to_come_again() {
        let rates = Rates::new(1, 3);
        let (mine, yours) = (key(None), key(None));
        let taken: Vec<_> = (0..4).filter_map(|_| rates.take(&mine)).map(|taken| (taken.remaining, taken.wait)).collect();
        assert_eq!(taken, [(2, None), (1, None), (0, None), (0, Some(1))]);
        assert_eq!(rates.take(&yours).map(|taken| taken.wait), Some(None), "another key has a bucket of its own");
        let mut headers = HeaderMap::new();
        rates.take(&mine).expect("it is limited").tell(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").map(|v| v.as_bytes()), Some(&b"\"key\";q=3;w=3"[..]));
        assert_eq!(headers.get("ratelimit").map(|v| v.as_bytes()), Some(&b"\"key\";r=0;t=3"[..]));
    }

    #[test]
    fn a_key_may_have_a_rate_of_its_own() {
        let rates = Rates::new(0, 0);
        assert_eq!(rates.take(&key(None)), None);
        let own = key(Some(2));
        let waits: Vec<_> = (0..5).filter_map(|_| rates.take(&own)).map(|taken| taken.wait.is_some()).collect();
        assert_eq!(waits, [false, false, false, false, true]);
    }
}
