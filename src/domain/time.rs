//! Two kinds of time that must never be mixed: UTC in nanoseconds, and media time in ticks of 90 kHz.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;
use minicbor::{Decode, Encode};

/// Nanoseconds since 1970-01-01T00:00:00Z (POSIX time: leap seconds are not counted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct UtcNanos(#[n(0)] pub i64);

impl UtcNanos {
    /// From whole seconds since 1970.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Later minus earlier; zero if `earlier` is in fact later (clocks jump).
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// Parses RFC 3339 in UTC or with a numeric offset (`2026-11-24T23:30:00Z`, `2026-11-25T00:30:00.5+01:00`), in the
    /// years 1970 to 2200; every number has the width that the grammar gives it.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't', ' '])?;
        let (clock, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
        let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, part)| (whole, Some(part)));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(whole, ':', [2; 3])?;
        let offset_secs = match zone {
            "Z" | "z" => 0,
            _ => {
                let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2; 2])?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let secs = hours * 3600 + minutes * 60;
                if zone.starts_with('-') { -secs } else { secs }
            }
        };
        if !(1..=12).contains(&month)
            || !(1..=days_in_month(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
            || fraction.is_some_and(|part| part.len() > 9)
            || !(1970..=2200).contains(&year)
        {
            return None;
        }
        let nanos = match fraction {
            None => 0,
            Some("") => return None,
            Some(part) => digits(&format!("{part:0<9}"))?,
        };
        let secs = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_secs;
        Some(Self(secs * 1_000_000_000 + nanos))
    }
}

impl fmt::Display for UtcNanos {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs();
        let millis = self.0.rem_euclid(1_000_000_000) / 1_000_000;
        let (year, month, day) = civil_from_days(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl Add<Duration> for UtcNanos {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for UtcNanos {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// A span of media time in ticks of 90 kHz (RFC 6184 §8.2.1 fixes the H.264 RTP clock at 90,000 Hz).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct MediaDuration(#[n(0)] pub u32);

impl MediaDuration {
    /// Ticks per second.
    pub const HZ: u32 = 90_000;

    /// As a span of real time, exact to a nanosecond (rounded down).
    #[must_use]
    pub const fn to_duration(self) -> Duration {
        Duration::from_nanos(self.0 as u64 * 100_000 / 9)
    }
}

/// Numbers of these widths between separators, and nothing else.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for (number, width) in out.iter_mut().zip(widths) {
        *number = parts.next().filter(|part| part.len() == width).and_then(digits)?;
    }
    parts.next().is_none().then_some(out)
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (years of 400-year eras starting in March).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_over_leap_days_and_offsets() {
        for (text, secs) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2024-02-29T23:59:59.000Z", 1_709_251_199),
            ("2026-10-25T01:00:00.000Z", 1_792_890_000),
        ] {
            let time = UtcNanos::parse_rfc3339(text).unwrap();
            assert_eq!(time, UtcNanos::from_secs(secs));
            assert_eq!(time.to_string(), text);
        }
        assert_eq!(
            UtcNanos::parse_rfc3339("2026-11-25T00:30:00.5+01:00"),
            Some(UtcNanos::from_secs(1_795_563_000) + Duration::from_millis(500))
        );
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01", "x"] {
            assert_eq!(UtcNanos::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_has_the_widths_of_its_grammar_and_an_offset_of_less_than_a_day() {
        for text in [
            "2026-11-25T00:30:00Z01:00",
            "2026-11-25T00:30:00+9999999999999999:00",
            "2026-11-25T00:30:00+24:00",
            "2026-11-25T00:30:00+01:60",
            "2026-11-25T00:30:00.Z",
            "2026-1-25T00:30:00Z",
            "02026-11-25T00:30:00Z",
            "2026-11-25T0:30:00Z",
            "2026-11-25T00:30:00:00Z",
            "2026-11-25T00:30:00+1:00",
            "2026-11-25T00:30:00.0000000001Z",
        ] {
            assert_eq!(UtcNanos::parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(UtcNanos::parse_rfc3339("1970-01-01T00:00:00+23:59"), Some(UtcNanos::from_secs(-86_340)));
    }

    #[test]
    fn ticks_become_time_exactly() {
        assert_eq!(MediaDuration(90_000).to_duration(), Duration::from_secs(1));
        assert_eq!(MediaDuration(9).to_duration(), Duration::from_nanos(100_000));
    }
}
