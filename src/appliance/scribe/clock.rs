//! Whether the machine's clock can be right, and what to say when not: pure functions of two times.
//!
//! What does not belong: reading a clock, raising the alarm. Recording goes on either way; nothing expires by a clock in
//! doubt, and entries never go back in time.

use peri_domain::UtcNanos;
use std::time::Duration;

/// A clock that moves by more than this between two looks has jumped.
pub(super) const TOLERANCE: Duration = Duration::from_secs(2);
/// No right clock shows an earlier time.
const RELEASED: UtcNanos = UtcNanos::from_secs(1_767_225_600); // 2026-01-01
/// An appliance that was off for longer, or whose clock leapt: one of the two must be looked at.
const AWAY_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What every alarm about the clock ends with: the remedy, and what happens until then.
const REMEDY: &str = "set it (NTP), nothing expires for an hour";

/// Why the clock is in doubt at the start: before this release, behind the ledger's last entry, or far beyond it.
pub(super) fn doubt(now: UtcNanos, last: Option<UtcNanos>) -> Option<String> {
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

/// The alarm after a jump while the appliance ran.
pub(super) fn jumped(by_nanos: i64) -> String {
    format!("the clock moved by {:+.1} s; {REMEDY}", by_nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_release_behind_the_ledger_or_far_beyond_it_is_in_doubt_and_the_alarm_says_what_to_do() {
        let last = RELEASED + Duration::from_secs(86_400);
        let second = Duration::from_secs(1);
        let cases = [
            (RELEASED - second, None, "before this release"),
            (RELEASED - second, Some(RELEASED - second), "before this release"),
            (last - TOLERANCE - second, Some(last), "the clock went back"),
            (last + AWAY_MAX + second, Some(last), "was the appliance off so long?"),
        ];
        for (now, last, cause) in cases {
            let text = doubt(now, last).unwrap_or_else(|| panic!("{now} after {last:?} is believed"));
            assert!(text.contains(cause) && text.contains(&now.to_string()) && text.ends_with(REMEDY), "{text}");
        }
        for now in [last - TOLERANCE, last, last + second, last + AWAY_MAX] {
            assert_eq!(doubt(now, Some(last)), None, "{now} after {last}");
        }
        assert_eq!(doubt(RELEASED, None), None, "the first start has no ledger to compare with");
    }

    #[test]
    fn a_jump_is_told_with_its_sign_and_its_remedy() {
        assert_eq!(jumped(-3_600_000_000_000), format!("the clock moved by -3600.0 s; {REMEDY}"));
        assert_eq!(jumped(2_500_000_000), format!("the clock moved by +2.5 s; {REMEDY}"));
    }
}
