//! Times as people write them on the command line.
//!
//! Accepted: RFC 3339 with a zone (`2026-11-24T22:10:00+01:00`), `now`, and spans relative to now (`-10m`, `+30d`). A
//! local time without a zone is refused: twice a year it means two instants or none (a day of 25 or 23 hours).

use core::time::Duration;
use peri_domain::UtcNanos;

/// Text for `--help` of every option that takes a time.
pub const TIME_HELP: &str =
    "RFC 3339 with zone (2026-11-24T22:10:00+01:00), `now`, or relative (-10m, +30d; s m h d w)";

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Neither of the accepted forms.
    #[error("{text:?} is no time; write RFC 3339 with a zone (2026-11-24T22:10:00+01:00 or …Z), `now`, -10m or +30d")]
    Unreadable {
        /// What was written.
        text: String,
    },
    /// A duration that is none.
    #[error("{text:?} is no length of time; write a number and s, m, h, d or w, for example 72h")]
    Length {
        /// What was written.
        text: String,
    },
    /// The end does not lie after the start.
    #[error("--until/--to ({until}) must lie after --from ({from})")]
    Reversed {
        /// Start.
        from: UtcNanos,
        /// End.
        until: UtcNanos,
    },
}

/// Parses a time; `now` is what relative forms count from.
///
/// # Errors
/// [`TimeError::Unreadable`].
pub fn parse(text: &str, now: UtcNanos) -> Result<UtcNanos, TimeError> {
    let unreadable = || TimeError::Unreadable { text: text.to_owned() };
    if text == "now" {
        return Ok(now);
    }
    if let Some(span) = text.strip_prefix('-') {
        return length(span).map(|span| now - span).map_err(|_| unreadable());
    }
    if let Some(span) = text.strip_prefix('+') {
        return length(span).map(|span| now + span).map_err(|_| unreadable());
    }
    UtcNanos::parse_rfc3339(text).ok_or_else(unreadable)
}

/// Parses a span `[from, until)` that is not empty.
///
/// # Errors
/// [`TimeError::Unreadable`], [`TimeError::Reversed`].
pub fn parse_span(from: &str, until: &str, now: UtcNanos) -> Result<(UtcNanos, UtcNanos), TimeError> {
    let (from, until) = (parse(from, now)?, parse(until, now)?);
    if until <= from {
        return Err(TimeError::Reversed { from, until });
    }
    Ok((from, until))
}

/// Parses a length: a whole number and a unit (`90s`, `10m`, `72h`, `30d`, `2w`).
///
/// # Errors
/// [`TimeError::Length`]; also when it exceeds 200 years, the range of nanoseconds in 64 bits.
pub fn length(text: &str) -> Result<Duration, TimeError> {
    let bad = || TimeError::Length { text: text.to_owned() };
    let unit_at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit_secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(bad()),
    };
    const MAX_SECS: u64 = 200 * 366 * 86_400;
    number.checked_mul(unit_secs).filter(|secs| *secs <= MAX_SECS).map(Duration::from_secs).ok_or_else(bad)
}

/// A length as people read it: `2 h 5 min`, `3.4 s`.
#[must_use]
pub fn human(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..=59 => format!("{:.1} s", span.as_secs_f64()),
        60..=3_599 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..=172_799 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcNanos = UtcNanos::from_secs(1_795_563_000);

    #[test]
    fn absolute_and_relative_forms_are_understood() {
        assert_eq!(parse("now", NOW), Ok(NOW));
        assert_eq!(parse("-10m", NOW), Ok(UtcNanos::from_secs(1_795_562_400)));
        assert_eq!(parse("+2d", NOW), Ok(UtcNanos::from_secs(1_795_735_800)));
        assert_eq!(parse("2026-11-25T00:30:00+01:00", NOW), Ok(NOW));
    }

    #[test]
    fn a_local_time_without_zone_is_refused() {
        let error = parse("2026-10-25T02:30:00", NOW).unwrap_err();
        assert!(error.to_string().contains("zone"), "{error}");
        assert!(parse("2026-11-24 22:10", NOW).is_err());
    }

    #[test]
    fn nonsense_is_refused_without_panic() {
        for text in
            ["", "-", "+", "-m", "-10", "10m", "-10x", "-10ü", "-ü", "yesterday", "-99999999999999999999s", "+999999w"]
        {
            assert!(parse(text, NOW).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_empty_or_reversed_span_is_refused() {
        assert!(parse_span("-10m", "now", NOW).is_ok());
        assert!(matches!(parse_span("now", "now", NOW), Err(TimeError::Reversed { .. })));
        assert!(matches!(parse_span("now", "-1s", NOW), Err(TimeError::Reversed { .. })));
    }

    #[test]
    fn lengths_read_naturally() {
        assert_eq!(human(Duration::from_millis(3_400)), "3.4 s");
        assert_eq!(human(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(human(Duration::from_secs(72 * 3600)), "3 d 0 h");
    }
}
