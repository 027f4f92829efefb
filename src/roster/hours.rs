//! Weekly hours of a grant: a clock on a wall in some time zone, and when it shows a minute that counts.
//!
//! An instant counts when the wall clock of the zone shows a minute inside a span. So on the day the clock goes back an
//! hour that shows twice counts twice, and on the day it goes forward an hour that never shows counts never. The rules
//! of the zones are those of the IANA database of this release, compiled in: whoever wraps and whoever discloses reads
//! the same ones, and no file of a machine can change them. What does not belong: the window of a grant (`grants`).
//! Invariant: an unknown zone counts never.

use crate::body::TEXT_MAX;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use minicbor::{Decode, Encode};
use peri_domain::UtcNanos;

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;
/// Most spans: four a day.
pub const SPANS_MAX: usize = 28;

const MINUTE: i64 = 60 * 1_000_000_000;
const WEEK: i64 = WEEK_MINUTES as i64 * MINUTE;
/// 1970-01-01 was a Thursday.
const EPOCH_IN_WEEK: i64 = 3 * 24 * 60 * MINUTE;
/// How far ahead an edge is looked for: a week and the largest step of a clock. Whoever asks looks at most an epoch ahead.
const HORIZON: i64 = WEEK + 26 * 60 * MINUTE;

/// Hours of the week in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WeeklyHours {
    /// IANA name, such as `Europe/Berlin`.
    #[n(0)]
    pub zone: String,
    /// Minutes since Monday 00:00, from (inclusive) and until (exclusive), ascending with a gap between each two.
    #[n(1)]
    pub spans: Vec<Minutes>,
}

/// A span of [`WeeklyHours`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Minutes {
    /// First minute of the week.
    #[n(0)]
    pub from: u16,
    /// The minute after the last.
    #[n(1)]
    pub until: u16,
}

impl WeeklyHours {
    /// Whether the wall clock of the zone shows a minute of a span.
    #[must_use]
    pub fn contains(&self, at: UtcNanos) -> bool {
        zone(&self.zone).is_some_and(|zone| self.shows(wall(&zone, at)))
    }

    /// The first instant after `after` at which it becomes, or ceases to be, one of the hours.
    #[must_use]
    pub fn next_edge(&self, after: UtcNanos) -> Option<UtcNanos> {
        let zone = zone(&self.zone)?;
        let inside = self.shows(wall(&zone, after));
        let mut from = after.0;
        while from - after.0 <= HORIZON {
            // Until the zone's next step the wall clock runs as any clock does.
            let shown = wall(&zone, UtcNanos(from));
            let boundary = self.ahead(shown).map_or(i64::MAX, |ahead| from.saturating_add(ahead));
            let step = zone.following(timestamp(UtcNanos(from))?).next().map(|step| step.timestamp().as_nanosecond());
            let step = step.and_then(|nanos| i64::try_from(nanos).ok()).unwrap_or(i64::MAX);
            let next = boundary.min(step);
            if next <= from {
                // The end of all time, which somebody may ask about.
                return None;
            }
            from = next;
            if self.shows(wall(&zone, UtcNanos(from))) != inside {
                return Some(UtcNanos(from));
            }
        }
        None
    }

    /// What a signer must know: every span and the zone.
    #[must_use]
    pub fn describe(&self) -> String {
        let spans: Vec<_> =
            self.spans.iter().map(|span| format!("{} to {}", moment(span.from), moment(span.until))).collect();
        format!("{} ({})", spans.join(", "), self.zone)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.zone.len() > TEXT_MAX || zone(&self.zone).is_none() {
            return Err(format!("{:?} is no IANA time zone that this version knows, such as Europe/Berlin", self.zone));
        }
        if self.spans.is_empty() || self.spans.len() > SPANS_MAX {
            return Err(format!("weekly hours have 1 to {SPANS_MAX} spans, these have {}", self.spans.len()));
        }
        let sane = self.spans.iter().all(|span| span.from < span.until && span.until <= WEEK_MINUTES);
        if sane && self.spans.windows(2).all(|pair| pair[0].until < pair[1].from) {
            return Ok(());
        }
        Err("weekly hours are spans of the week from Monday, ascending, with a gap between each two".into())
    }

    fn shows(&self, shown: i64) -> bool {
        let minute = shown / MINUTE;
        self.spans.iter().any(|span| i64::from(span.from) <= minute && minute < i64::from(span.until))
    }

    /// How long a clock that shows this runs until the next beginning or end of a span.
    fn ahead(&self, shown: i64) -> Option<i64> {
        let ends = self.spans.iter().flat_map(|span| [span.from, span.until]);
        ends.map(|end| (i64::from(end) * MINUTE - shown - 1).rem_euclid(WEEK) + 1).min()
    }
}

/// By its exact name; there is one way to write it.
fn zone(name: &str) -> Option<TimeZone> {
    // Made anew each time: it is an empty handle, the parsed zones lie in a cache of the library.
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// What the wall clock shows, in nanoseconds since Monday 00:00.
fn wall(zone: &TimeZone, at: UtcNanos) -> i64 {
    let offset = timestamp(at).map_or(0, |at| i64::from(zone.to_offset(at).seconds()));
    (at.0.rem_euclid(WEEK) + offset * 1_000_000_000 + EPOCH_IN_WEEK).rem_euclid(WEEK)
}

fn timestamp(at: UtcNanos) -> Option<Timestamp> {
    Timestamp::from_nanosecond(at.0.into()).ok()
}

fn moment(minute: u16) -> String {
    const DAYS: [&str; 8] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Sun"];
    // The end of the week is Sunday 24:00.
    let day = usize::from(minute / 1440);
    let (hour, minute) = if day == 7 { (24, 0) } else { (minute % 1440 / 60, minute % 60) };
    format!("{} {hour:02}:{minute:02}", DAYS[day.min(7)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours(zone: &str, spans: &[(u16, u16)]) -> WeeklyHours {
        let spans = spans.iter().map(|(from, until)| Minutes { from: *from, until: *until }).collect();
        WeeklyHours { zone: zone.into(), spans }
    }

    fn at(text: &str) -> UtcNanos {
        UtcNanos::parse_rfc3339(text).unwrap()
    }

    const fn minute(day: u16, hour: u16) -> u16 {
        day * 1440 + hour * 60
    }

    #[test]
    fn a_working_day_is_the_wall_clocks_in_winter_and_in_summer() {
        let mondays = hours("Europe/Berlin", &[(minute(0, 8), minute(0, 18))]);
        assert_eq!(mondays.check(), Ok(()));
        // 2026-01-05 and 2026-07-06 are Mondays.
        for (time, inside) in [
            ("2026-01-05T07:59:59+01:00", false),
            ("2026-01-05T08:00:00+01:00", true),
            ("2026-01-05T17:59:59.999999999+01:00", true),
            ("2026-01-05T18:00:00+01:00", false),
            ("2026-07-06T07:59:59+02:00", false),
            ("2026-07-06T08:00:00+02:00", true),
            ("2026-07-06T18:00:00+02:00", false),
            ("2026-07-07T09:00:00+02:00", false),
        ] {
            assert_eq!(mondays.contains(at(time)), inside, "{time}");
        }
        assert_eq!(mondays.next_edge(at("2026-01-05T08:00:00+01:00")), Some(at("2026-01-05T18:00:00+01:00")));
        // Over the spring change: 8 o'clock on the wall, an hour earlier in UTC.
        assert_eq!(mondays.next_edge(at("2026-03-23T18:00:00+01:00")), Some(at("2026-03-30T08:00:00+02:00")));
        assert_eq!(mondays.next_edge(at("2026-10-19T18:00:00+02:00")), Some(at("2026-10-26T08:00:00+01:00")));
    }

    #[test]
    fn an_hour_that_shows_twice_counts_twice_and_one_that_never_shows_never() {
        // Sundays from two to three: in Berlin the clock goes forward over it on 2026-03-29 and repeats it on 2026-10-25.
        let sundays = hours("Europe/Berlin", &[(minute(6, 2), minute(6, 3))]);
        let (before, after) = (at("2026-03-29T01:59:59+01:00"), at("2026-03-29T03:00:00+02:00"));
        assert!(!sundays.contains(before) && !sundays.contains(after));
        assert_eq!(sundays.next_edge(before), Some(at("2026-04-05T02:00:00+02:00")));
        let (from, until) = (at("2026-10-25T02:00:00+02:00"), at("2026-10-25T03:00:00+01:00"));
        assert_eq!(sundays.next_edge(at("2026-10-25T00:00:00+02:00")), Some(from));
        assert!(sundays.contains(at("2026-10-25T02:30:00+02:00")) && sundays.contains(at("2026-10-25T02:30:00+01:00")));
        assert_eq!(sundays.next_edge(from), Some(until), "two hours in one piece");
    }

    #[test]
    fn the_ends_of_time_are_survived() {
        let nights = hours("UTC", &[(0, minute(0, 6)), (minute(6, 22), WEEK_MINUTES)]);
        let berlin = hours("Europe/Berlin", &[(minute(0, 8), minute(5, 18))]);
        for hours in [nights, berlin] {
            for after in [i64::MAX, i64::MAX - 1, i64::MAX - MINUTE] {
                assert_eq!(hours.next_edge(UtcNanos(after)), None);
            }
            assert!(hours.next_edge(UtcNanos(i64::MIN)).is_some());
        }
    }

    #[test]
    fn a_step_of_the_clock_in_or_out_of_the_hours_is_an_edge() {
        // From half past two: the spring step lands at three, inside.
        let late = hours("Europe/Berlin", &[(minute(6, 2) + 30, minute(6, 4))]);
        assert_eq!(late.next_edge(at("2026-03-29T01:00:00+01:00")), Some(at("2026-03-29T03:00:00+02:00")));
        // The autumn step leaves them at three o'clock (shown twice from two on), before and after half past two.
        assert_eq!(late.next_edge(at("2026-10-25T02:30:00+02:00")), Some(at("2026-10-25T02:00:00+01:00")));
        assert_eq!(late.next_edge(at("2026-10-25T02:00:00+01:00")), Some(at("2026-10-25T02:30:00+01:00")));
    }

    #[test]
    fn a_night_over_the_end_of_the_week_has_no_edge_at_midnight() {
        let nights = hours("UTC", &[(0, minute(0, 6)), (minute(6, 22), WEEK_MINUTES)]);
        assert_eq!(nights.check(), Ok(()));
        assert_eq!(nights.next_edge(at("2026-01-04T22:00:00Z")), Some(at("2026-01-05T06:00:00Z")));
        assert_eq!(nights.describe(), "Mon 00:00 to Mon 06:00, Sun 22:00 to Sun 24:00 (UTC)");
        assert_eq!(hours("UTC", &[(0, WEEK_MINUTES)]).next_edge(at("2026-01-04T22:00:00Z")), None);
    }

    #[test]
    fn impossible_hours_are_refused_and_an_unknown_zone_counts_never() {
        let good = (minute(0, 8), minute(0, 18));
        for (zone, spans) in [
            ("Europe/Atlantis", vec![good]),
            ("europe/berlin", vec![good]),
            ("", vec![good]),
            ("../etc/passwd", vec![good]),
            ("UTC", vec![]),
            ("UTC", vec![(5, 5)]),
            ("UTC", vec![(0, WEEK_MINUTES + 1)]),
            ("UTC", vec![(0, 5), (5, 9)]),
            ("UTC", vec![(7, 9), (0, 5)]),
            ("UTC", (0..=SPANS_MAX).map(|i| (i as u16 * 10, i as u16 * 10 + 5)).collect()),
        ] {
            assert!(hours(zone, &spans).check().is_err(), "{zone:?} {spans:?}");
        }
        let nowhere = hours("Europe/Atlantis", &[(0, WEEK_MINUTES)]);
        assert!(!nowhere.contains(at("2026-01-05T09:00:00Z")));
        assert_eq!(nowhere.next_edge(at("2026-01-05T09:00:00Z")), None);
    }

    proptest! {
        #[test]
        fn between_two_edges_nothing_changes(
            zone in proptest::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
            bounds in proptest::collection::btree_set(0..=WEEK_MINUTES, 2..12),
            secs in 1_700_000_000_i64..1_900_000_000,
        ) {
            let bounds: Vec<u16> = bounds.into_iter().collect();
            let spans: Vec<(u16, u16)> = bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            let hours = hours(zone, &spans);
            prop_assert_eq!(hours.check(), Ok(()));
            let from = UtcNanos::from_secs(secs);
            let inside = hours.contains(from);
            let edge = hours.next_edge(from);
            let end = edge.map_or(secs + 8 * 86_400, UtcNanos::secs);
            for at in (secs..end).step_by(61) {
                prop_assert_eq!(hours.contains(UtcNanos::from_secs(at)), inside, "at {}", at);
            }
            if let Some(edge) = edge {
                prop_assert!(edge > from && hours.contains(edge) != inside);
                prop_assert_eq!(hours.contains(UtcNanos(edge.0 - 1)), inside);
            }
        }
    }
}
