//! Settings of what one process takes on, and how it goes: rates, lanes, draining, who reads its metrics.

use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::{config::is_secret, lanes::Sizes};

/// As they are given.
#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// Requests a second that one API key may send to this process, unless the key has a rate of its own; 0 for no limit
    #[arg(long, env = "PEOPLE_RATE_LIMIT", default_value = "5000")]
    pub rate_limit: String,

    /// Requests that a key may send at once before the rate counts
    #[arg(long, env = "PEOPLE_RATE_BURST", default_value = "10000")]
    pub rate_burst: String,

    /// Requests under way at once; beyond it they are answered with 503 at once
    #[arg(long, env = "PEOPLE_MAX_REQUESTS", default_value = "1024")]
    pub max_requests: String,

    /// Lists, searches and counts under way at once, beside the requests
    #[arg(long, env = "PEOPLE_MAX_SEARCHES", default_value = "256")]
    pub max_searches: String,

    /// Exports under way at once, until their last byte
    #[arg(long, env = "PEOPLE_MAX_EXPORTS", default_value = "16")]
    pub max_exports: String,

    /// Event streams open at once
    #[arg(long, env = "PEOPLE_MAX_STREAMS", default_value = "1024")]
    pub max_streams: String,

    /// Seconds between SIGTERM, from which on /readyz answers 503, and accepting no more connections (0–60)
    #[arg(long, env = "PEOPLE_DRAIN", default_value = "5")]
    pub drain: String,

    /// Seconds that a connection is kept open between two requests (1–3600); a balancer should let go of its own sooner
    #[arg(long, env = "PEOPLE_KEEP_ALIVE", default_value = "75")]
    pub keep_alive: String,

    /// Secret that /metrics is read with (`Authorization: Bearer …`); without it anybody who reaches the port reads it
    #[arg(long, env = "PEOPLE_METRICS_TOKEN", hide_env_values = true)]
    pub metrics_token: Option<String>,
}

/// Checked.
#[derive(Clone, Debug)]
pub struct Limits {
    pub rate: u32,
    pub burst: u32,
    pub lanes: Sizes,
    pub drain: Duration,
    pub keep_alive: Duration,
    pub metrics_token: Option<SecretString>,
}

impl LimitArgs {
    /// Adds what is wrong to the mistakes; what is answered then is not used.
    pub fn check(&self, mistakes: &mut Vec<String>) -> Limits {
        let mut number = |name: &str, text: &str, least: u32, most: u32| {
            text.parse().ok().filter(|n| (least..=most).contains(n)).unwrap_or_else(|| {
                mistakes.push(format!("{name}: expected a number from {least} to {most}"));
                least
            })
        };
        let rate = number("PEOPLE_RATE_LIMIT", &self.rate_limit, 0, 1_000_000);
        let burst = number("PEOPLE_RATE_BURST", &self.rate_burst, 1, 10_000_000);
        let [requests, searches, exports, streams] = [
            ("PEOPLE_MAX_REQUESTS", &self.max_requests),
            ("PEOPLE_MAX_SEARCHES", &self.max_searches),
            ("PEOPLE_MAX_EXPORTS", &self.max_exports),
            ("PEOPLE_MAX_STREAMS", &self.max_streams),
        ]
        .map(|(name, text)| number(name, text, 1, 1_000_000) as usize);
        let drain = number("PEOPLE_DRAIN", &self.drain, 0, 60);
        let keep_alive = number("PEOPLE_KEEP_ALIVE", &self.keep_alive, 1, 3_600);
        if self.metrics_token.as_ref().is_some_and(|secret| !is_secret(secret)) {
            mistakes.push("PEOPLE_METRICS_TOKEN: expected 32 to 256 visible ASCII characters".to_owned());
        }
        Limits {
            rate,
            burst,
            lanes: Sizes { requests, searches, exports, streams },
            drain: Duration::from_secs(drain.into()),
            keep_alive: Duration::from_secs(keep_alive.into()),
            metrics_token: self.metrics_token.clone().map(SecretString::from),
        }
    }
}
