//! When a failed delivery is tried again: exponential back-off with jitter, for as long as somebody is patient.

use std::time::Duration;

/// How long a failing endpoint is tried. Everything else follows from it, so that a test may be impatient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Duration);

impl Patience {
    /// Three days.
    pub const USUAL: Self = Self(Duration::from_secs(3 * 24 * 3_600));

    pub const fn of(whole: Duration) -> Self {
        Self(whole)
    }

    /// Between the first failure and the second attempt: five seconds of three days.
    fn first(self) -> Duration {
        self.0 / 51_840
    }

    /// Longest pause: six hours of three days.
    fn longest(self) -> Duration {
        self.0 / 12
    }

    /// How long to wait after an attempt failed; `None`: it has been long enough. `failures` counts this attempt, `since`
    /// is the time since the first of them failed, `asked` is what the receiver wished (`Retry-After`), `jitter` is
    /// anything from 0 to 1. The last attempt falls on the end of the patience.
    pub fn pause(self, failures: u32, since: Duration, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        let left = self.0.checked_sub(since).filter(|left| !left.is_zero())?;
        let doubled = self.first().saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let usual = doubled.min(self.longest()).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0);
        let wanted = asked.unwrap_or_default().min(self.longest());
        Some(usual.max(wanted).min(left))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{any, prop, proptest};

    use super::Patience;

    /// The attempts at a receiver that is never there: seconds since the first.
    fn attempts(jitter: f64) -> Vec<u64> {
        let mut since = Duration::ZERO;
        let mut out = vec![0];
        while let Some(pause) = Patience::USUAL.pause(u32::try_from(out.len()).unwrap_or(u32::MAX), since, None, jitter) {
            since += pause;
            out.push(since.as_secs());
        }
        out
    }

    #[test]
    fn three_days_of_failing_are_about_twenty_attempts() {
        let steady = attempts(0.5);
        assert_eq!(&steady[..8], [0, 5, 15, 35, 75, 155, 315, 635]);
        assert_eq!(steady.last(), Some(&(3 * 24 * 3_600)));
        for jitter in [0.0, 0.5, 1.0] {
            let n = attempts(jitter).len();
            assert!((18..30).contains(&n), "{n} attempts with jitter {jitter}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_time_but_not_for_ever() {
        let pause = |asked| Patience::USUAL.pause(1, Duration::ZERO, Some(Duration::from_secs(asked)), 0.5).map(|p| p.as_secs());
        assert_eq!((pause(1), pause(120), pause(1_000_000)), (Some(5), Some(120), Some(6 * 3_600)));
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_patience(
            failures in any::<u32>(), since in 0_u64..400_000, asked in prop::option::of(any::<u64>()), jitter in any::<f64>(),
        ) {
            let since = Duration::from_secs(since);
            let pause = Patience::USUAL.pause(failures, since, asked.map(Duration::from_secs), if jitter.is_nan() { 0.0 } else { jitter });
            assert_eq!(pause.is_none(), since >= Duration::from_secs(259_200));
            assert!(pause.is_none_or(|pause| since + pause <= Duration::from_secs(259_200)));
        }
    }
}
