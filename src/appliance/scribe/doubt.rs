//! When the clock is in doubt, and what the alarm then says: cause and remedy. Times come in, a text goes out.
//!
//! What does not belong: reading a clock, what follows from the doubt ([`super::erasure`]).

use peri_domain::UtcNanos;
use std::time::Duration;

/// A clock that moves by more than this between two ticks has jumped; one that lies so far behind went back.
pub(super) const TOLERANCE: Duration = Duration::from_secs(2);
/// No right clock shows an earlier time.
const RELEASED: UtcNanos = UtcNanos::from_secs(1_767_225_600); // 2026-01-01
/// An appliance that was off for longer, or whose clock leapt: one of the two must be looked at.
const AWAY_MAX: Duration = Duration::from_secs(30 * 86_400);
const REMEDY: &str = "set it (NTP); nothing expires for an hour";

/// At a start: not before this release, not behind the last entry of the ledger, not far beyond it.
pub(super) fn of_a_start(now: UtcNanos, last: Option<UtcNanos>) -> Option<String> {
    let what = match last {
        _ if now < RELEASED => format!("{now} lies before this release; the clock is wrong"),
        Some(last) if now + TOLERANCE < last => {
            format!("{now} lies before the last ledger entry of {last}; the clock went back")
        }
        Some(last) if last + AWAY_MAX < now => {
            format!("{now} is far beyond the last ledger entry of {last}; was the appliance off so long?")
        }
        _ => return None,
    };
    Some(format!("{what}; {REMEDY}"))
}

/// While it runs: the time of day left the monotonic clock by this much.
pub(super) fn of_a_jump(by_nanos: i64) -> String {
    format!("the clock moved by {:+.1} s; was it set by hand, or does its source fail? {REMEDY}", by_nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const LAST: UtcNanos = UtcNanos::from_secs(1_800_000_000);

    fn told(now: UtcNanos, last: Option<UtcNanos>) -> String {
        let text = of_a_start(now, last).unwrap_or_else(|| panic!("{now} after {last:?} is not in doubt"));
        assert!(text.contains("set it (NTP)") && text.contains("nothing expires"), "no remedy: {text}");
        assert!(text.contains(&now.to_string()), "{text}");
        text
    }

    #[test]
    fn a_clock_before_the_release_behind_the_ledger_or_far_beyond_it_is_told_with_a_remedy() {
        let before = UtcNanos(RELEASED.0 - 1);
        for last in [None, Some(LAST), Some(UtcNanos(0))] {
            assert!(told(before, last).contains("before this release"));
        }
        let behind = told(LAST - TOLERANCE - Duration::from_nanos(1), Some(LAST));
        assert!(behind.contains("went back") && behind.contains(&LAST.to_string()), "{behind}");
        let beyond = told(LAST + AWAY_MAX + Duration::from_nanos(1), Some(LAST));
        assert!(beyond.contains("far beyond") && beyond.contains(&LAST.to_string()), "{beyond}");
    }

    #[test]
    fn a_clock_within_its_bounds_is_believed() {
        for now in [LAST - TOLERANCE, LAST, LAST + DAY, LAST + AWAY_MAX] {
            assert_eq!(of_a_start(now, Some(LAST)), None, "{now}");
        }
        for now in [RELEASED, LAST + 100 * DAY] {
            assert_eq!(of_a_start(now, None), None, "an empty ledger has no last entry: {now}");
        }
    }

    #[test]
    fn a_jump_is_told_with_its_length_sign_and_remedy() {
        for (nanos, length) in [(3_600_000_000_000, "+3600.0 s"), (-2_500_000_000, "-2.5 s")] {
            let text = of_a_jump(nanos);
            assert!(text.contains(length) && text.contains(REMEDY), "{text}");
        }
    }
}
