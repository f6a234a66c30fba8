//! Instants and durations: microseconds since the Unix epoch, UTC, written as RFC 3339.
//!
//! Both engines keep microseconds, so the clock truncates to them; an instant that was answered compares equal to the
//! instant that was stored.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Microseconds since 1970-01-01T00:00:00Z. Years 0001 to 9999 (RFC 3339 section 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const DAY: i64 = 86_400_000_000;

impl Timestamp {
    /// 0001-01-01T00:00:00Z, the first instant the API can speak of; the store keeps it for "never seen".
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z, the last one.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the epoch; E: outside the years 0001 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    pub fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, for UUIDv7 (RFC 9562 section 5.7); never negative.
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000)).unwrap_or(0)
    }

    /// The day since the epoch, UTC.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// RFC 3339 with any offset. Refused: leap seconds, year 0000, anything without an offset.
    pub fn parse(text: &str) -> Option<Self> {
        // `time` reads second 60 as 59.999…; two engines would then disagree on what was meant.
        if text.get(17..19) == Some("60") {
            return None;
        }
        Self::from_offset(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    /// Midnight UTC of an ISO 8601 calendar date (`2026-12-01`).
    pub fn parse_date(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shaped =
            bytes.len() == 10 && bytes.iter().enumerate().all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() });
        shaped.then(|| Self::parse(&format!("{text}T00:00:00Z"))).flatten()
    }

    pub fn from_offset(at: OffsetDateTime) -> Option<Self> {
        Self::from_micros(i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).ok()?)
    }

    pub fn to_offset(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .to_offset(UtcOffset::UTC)
    }

    /// This instant moved by a span; stays within the speakable years.
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0).clamp(Self::MIN.0, Self::MAX.0))
    }

    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Shortest exact spelling: no fraction where there is none (`2026-12-01T00:00:00Z`). For attribute values, whose
    /// author wrote no fraction either.
    pub fn short(self) -> String {
        let full = self.to_string();
        match full.strip_suffix(".000000Z") {
            Some(whole) => format!("{whole}Z"),
            None => full,
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.to_offset();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 time such as 2026-01-31T08:00:00Z"))
    }
}

/// A length of time of fixed size, at most 3,650 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    pub const MAX_DAYS: i64 = 3_650;
    /// The least there is.
    pub const MICROSECOND: Self = Self(1);

    /// ISO 8601-1 duration of weeks, days, hours, minutes and seconds: `P30D`, `PT12H`, `P1W`. Refused: months and
    /// years, whose length depends on the calendar, negative spans, and anything over `P3650D`.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('P') {
            return None;
        }
        let span: jiff::Span = text.parse().ok()?;
        if span.get_years() != 0 || span.get_months() != 0 || span.is_negative() {
            return None;
        }
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        let micros = [
            days.checked_mul(DAY)?,
            i64::from(span.get_hours()).checked_mul(3_600_000_000)?,
            span.get_minutes().checked_mul(60_000_000)?,
            span.get_seconds().checked_mul(1_000_000)?,
            span.get_milliseconds().checked_mul(1_000)?,
            span.get_microseconds(),
        ]
        .into_iter()
        .try_fold(0_i64, i64::checked_add)?;
        (micros <= Self::MAX_DAYS * DAY).then_some(Self(micros))
    }

    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub fn micros(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, Timestamp};

    #[test]
    fn an_instant_is_utc_with_microseconds_whatever_offset_it_came_in() {
        let at = Timestamp::parse("2026-01-31T09:30:00.1234567+01:30").map(|at| at.to_string());
        assert_eq!(at.as_deref(), Some("2026-01-31T08:00:00.123456Z"));
    }

    #[test]
    fn leap_seconds_missing_offsets_and_absurd_years_are_refused() {
        for text in ["2016-12-31T23:59:60Z", "2026-01-31T08:00:00", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-02-30T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z"), Some(Timestamp::MIN));
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59.999999Z"), Some(Timestamp::MAX));
    }

    #[test]
    fn a_span_is_of_fixed_length() {
        assert_eq!(Span::parse("P30D").map(Span::micros), Some(30 * 86_400_000_000));
        assert_eq!(Span::parse("P1DT2H").map(Span::micros), Some(26 * 3_600_000_000));
        for text in ["P1M", "P1Y", "-P1D", "30 days", "P3651D", "P", ""] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
