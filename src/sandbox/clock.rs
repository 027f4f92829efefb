//! The only place that reads clocks, and a detector for clocks that jump.
//!
//! What does not belong: time zones, formatting (see `peri_domain::time`), media time. Invariant: everything else takes
//! a [`Clock`] as a parameter (clippy's disallowed methods hold it).

use core::time::Duration;
use nix::time::{ClockId, clock_gettime};
use peri_domain::UtcNanos;

/// A source of both kinds of time.
pub trait Clock {
    /// Time of day; may jump in either direction when somebody sets it.
    fn utc(&self) -> UtcNanos;
    /// Time since some fixed moment of this boot; never goes back, stands still while the machine is suspended.
    fn monotonic(&self) -> Duration;
}

/// The kernel's clocks (`CLOCK_REALTIME`, `CLOCK_MONOTONIC`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn utc(&self) -> UtcNanos {
        let now = read(ClockId::CLOCK_REALTIME);
        UtcNanos(now.tv_sec().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec()))
    }

    fn monotonic(&self) -> Duration {
        let now = read(ClockId::CLOCK_MONOTONIC);
        let secs = u64::try_from(now.tv_sec()).expect("monotonic time starts at 0 (clock_gettime(2))");
        let nanos = u32::try_from(now.tv_nsec()).expect("below 10^9 (clock_gettime(2))");
        Duration::new(secs, nanos)
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn utc(&self) -> UtcNanos {
        (**self).utc()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

fn read(clock: ClockId) -> nix::sys::time::TimeSpec {
    clock_gettime(clock).expect("both clocks exist on every Linux, and the pointer is ours")
}

/// A step of the time of day against the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Nanoseconds by which UTC moved more (positive) or less (negative) than real time passed.
    pub by_nanos: i64,
    /// UTC after the step.
    pub now: UtcNanos,
}

/// Compares both clocks at every check and names a difference above the tolerance.
///
/// Slow drift is not a jump: each check starts from the clocks of the one before.
#[derive(Debug, Clone)]
pub struct JumpDetector {
    tolerance: Duration,
    utc: UtcNanos,
    monotonic: Duration,
}

impl JumpDetector {
    /// Starts at the clock's present. `tolerance` must exceed what slewing moves between two checks (NTP: 0.5 ms/s).
    pub fn new(clock: &(impl Clock + ?Sized), tolerance: Duration) -> Self {
        Self { tolerance, utc: clock.utc(), monotonic: clock.monotonic() }
    }

    /// The jump since the last check, if there was one.
    pub fn check(&mut self, clock: &(impl Clock + ?Sized)) -> Option<Jump> {
        let (utc, monotonic) = (clock.utc(), clock.monotonic());
        let passed = i64::try_from(monotonic.saturating_sub(self.monotonic).as_nanos()).unwrap_or(i64::MAX);
        let by_nanos = utc.0.saturating_sub(self.utc.0).saturating_sub(passed);
        self.utc = utc;
        self.monotonic = monotonic;
        let jumped = u128::from(by_nanos.unsigned_abs()) > self.tolerance.as_nanos();
        jumped.then_some(Jump { by_nanos, now: utc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake {
        utc: Cell<i64>,
        monotonic: Cell<u64>,
    }

    impl Clock for Fake {
        fn utc(&self) -> UtcNanos {
            UtcNanos(self.utc.get())
        }

        fn monotonic(&self) -> Duration {
            Duration::from_nanos(self.monotonic.get())
        }
    }

    #[test]
    fn a_step_is_named_once_with_its_sign_and_drift_is_not() {
        let clock = Fake { utc: Cell::new(1_000_000_000), monotonic: Cell::new(5) };
        let mut detector = JumpDetector::new(&clock, Duration::from_millis(100));
        clock.utc.set(2_050_000_000);
        clock.monotonic.set(1_000_000_005);
        assert_eq!(detector.check(&clock), None, "50 ms of drift");
        clock.utc.set(1_050_000_000);
        assert_eq!(detector.check(&clock).map(|j| j.by_nanos), Some(-1_000_000_000));
        assert_eq!(detector.check(&clock), None, "named once");
        clock.utc.set(3_050_000_000);
        assert_eq!(detector.check(&clock).map(|j| j.by_nanos), Some(2_000_000_000));
    }

    #[test]
    fn system_clock_runs_after_this_was_written_and_never_back() {
        let clock = SystemClock;
        assert!(clock.utc() > UtcNanos::from_secs(1_700_000_000));
        let earlier = clock.monotonic();
        assert!(clock.monotonic() >= earlier);
    }
}
