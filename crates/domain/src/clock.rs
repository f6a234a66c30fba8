//! Instants and durations: microseconds since the Unix epoch, UTC, written as RFC 3339.
//!
//! Both engines keep microseconds, so the clock truncates to them; an instant that was answered compares equal to the
//! instant that was stored.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339};

/// Microseconds since 1970-01-01T00:00:00Z. Years 0001 to 9999 (RFC 3339 section 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const DAY: i64 = 86_400_000_000;
/// Bytes of an instant as it is written.
const WRITTEN: usize = 27;
/// The Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;

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
        if let Some(at) = Self::read_back(text) {
            return Some(at);
        }
        // `time` reads second 60 as 59.999…; two engines would then disagree on what was meant.
        if text.get(17..19) == Some("60") {
            return None;
        }
        Self::from_offset(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    /// What [`Self::written`] wrote, which is nearly every instant that is read: documents hold a dozen each. `None`: anything
    /// else, be it an instant or not.
    fn read_back(text: &str) -> Option<Self> {
        let bytes: &[u8; WRITTEN] = text.as_bytes().try_into().ok()?;
        let mark = |at: usize, is: u8| (bytes[at] == is).then_some(());
        mark(4, b'-').and(mark(7, b'-')).and(mark(10, b'T')).and(mark(13, b':'))?;
        mark(16, b':').and(mark(19, b'.')).and(mark(26, b'Z'))?;
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().try_fold(0_i32, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i32::from(byte - b'0')))
        };
        let month = Month::try_from(u8::try_from(number(5..7)?).ok()?).ok()?;
        let date = Date::from_calendar_date(number(0..4)?, month, u8::try_from(number(8..10)?).ok()?).ok()?;
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = i64::from(date.to_julian_day()) - EPOCH;
        let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second);
        Self::from_micros(seconds * 1_000_000 + i64::from(number(20..26)?))
    }

    /// `2026-01-31T08:00:00.000000Z`: always of one length, so that texts sort as instants do. A profile is written down for every
    /// event of theirs, so this does without the machinery of formats.
    fn written(self) -> [u8; WRITTEN] {
        let at = self.to_offset();
        let (year, month, day) = at.to_calendar_date();
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |range: std::ops::Range<usize>, mut number: u32| {
            for digit in out[range].iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        };
        put(0..4, year.unsigned_abs());
        put(5..7, u8::from(month).into());
        put(8..10, day.into());
        put(11..13, at.hour().into());
        put(14..16, at.minute().into());
        put(17..19, at.second().into());
        put(20..26, at.microsecond());
        out
    }

    /// Midnight UTC of an ISO 8601 calendar date (`2026-12-01`).
    pub fn parse_date(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shaped =
            bytes.len() == 10 && bytes.iter().enumerate().all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() });
        shaped.then(|| Self::parse(&format!("{text}T00:00:00Z"))).flatten()
    }

    /// An instant as systems write it that do not keep to RFC 3339: an ISO 8601 date or time, UTC where it names no offset
    /// (`2026-01-31`, `2026-01-31 08:00`, `2026-01-31T10:00:00+0200`), with its time zone (RFC 9557:
    /// `2026-01-31T10:00:00[Europe/Paris]`), as programs print it (`2026-01-31 10:00:00 +0200`, `… UTC`), or as mails have it
    /// (RFC 2822).
    pub fn parse_loosely(text: &str) -> Option<Self> {
        let text = text.trim();
        let printed = || {
            let (date, zone) = text.rsplit_once(' ')?;
            let zone = if zone == "UTC" { "+0000" } else { zone };
            jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", format!("{date} {zone}")).ok()?.to_timestamp().ok()
        };
        let of_mail = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
        let civil = || jiff::tz::Offset::UTC.to_timestamp(text.parse().ok()?).ok();
        Self::parse(text).or_else(|| {
            // What names a zone means its time, or nothing.
            let at = if text.ends_with(']') {
                text.parse::<jiff::ZonedDateTime>().ok()?.timestamp()
            } else {
                text.parse::<jiff::Timestamp>().ok().or_else(civil).or_else(printed).or_else(of_mail)?
            };
            Self::from_micros(at.as_microsecond())
        })
    }

    /// Seconds since 1970, or milliseconds: what is too small to be the one since 1973 is neither, and no second before the year
    /// 5138 is written with twelve digits.
    pub fn from_unix(number: f64) -> Option<Self> {
        if number.is_nan() || number < 1e8 {
            return None;
        }
        let seconds = if number < 1e11 { number } else { number / 1_000.0 };
        #[expect(clippy::cast_possible_truncation, reason = "what does not fit is no time: the cast saturates, and is refused")]
        Self::from_micros((seconds * 1_000_000.0).round() as i64)
    }

    pub fn from_offset(at: OffsetDateTime) -> Option<Self> {
        Self::from_micros(at.unix_timestamp().checked_mul(1_000_000)?.checked_add(at.microsecond().into())?)
    }

    pub fn to_offset(self) -> OffsetDateTime {
        let micros = u32::try_from(self.0.rem_euclid(1_000_000)).unwrap_or(0);
        OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000_000))
            .and_then(|at| at.replace_microsecond(micros))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
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
        f.write_str(std::str::from_utf8(&self.written()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.written()).map_err(serde::ser::Error::custom)?)
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
    use proptest::prelude::*;
    use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

    use super::{Span, Timestamp};

    proptest! {
        #[test]
        fn an_instant_is_written_as_the_calendar_has_it_and_read_back(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let at = Timestamp(micros);
            let nanos = i128::from(micros) * 1_000;
            let calendar = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("a year that can be spoken of");
            let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
            prop_assert_eq!(at.to_string(), calendar.format(&format).expect("written"));
            prop_assert_eq!(at.to_offset(), calendar);
            prop_assert_eq!(Timestamp::from_offset(calendar), Some(at));
            prop_assert_eq!(Timestamp::read_back(&at.to_string()), Some(at));
        }

        /// The short way of reading takes nothing that the long one refuses, and takes it for the same.
        #[test]
        fn what_is_nearly_an_instant_is_read_as_by_the_library(
            micros in Timestamp::MIN.0..=Timestamp::MAX.0, place in 0_usize..27, byte in "[0-9TZ:. +a-]"
        ) {
            let mut text = Timestamp(micros).to_string();
            text.replace_range(place..=place, &byte);
            if let Some(at) = Timestamp::read_back(&text) {
                let read = OffsetDateTime::parse(&text, &Rfc3339).expect("an instant for the library too");
                prop_assert_eq!(Some(at), Timestamp::from_offset(read));
            }
        }
    }

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
