//! The only place that reads clocks, a detector for clocks that jump, and the time that decisions go by.
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

/// How the time of day differs from the time that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It lies so far behind.
    Behind(Duration),
    /// It leapt ahead so far, and is not believed yet.
    Ahead(Duration),
}

/// The time that decisions go by: never before a time that was seen, and slow to believe a leap.
///
/// What ends at an instant has ended once that instant was seen, whatever the time of day says later. Between two looks
/// the seen time goes on with the monotonic clock, so that setting the time of day neither stops nor turns it. A time of
/// day that leaps ahead ends what ends before it at once, but is only remembered when it stood for [`Self::BELIEVED_AFTER`]:
/// a clock that was years ahead for a moment leaves no trace.
#[derive(Debug, Clone)]
pub struct SteadyTime {
    seen: UtcNanos,
    /// Monotonic time of the last look.
    looked: Duration,
    /// Since when the time of day leads by more than a step.
    leads_since: Option<Duration>,
}

impl SteadyTime {
    /// A larger step of the time of day is a leap: NTP steps by less, people and broken clocks by more.
    pub const STEP_MAX: Duration = Duration::from_secs(2);
    /// A leap that stands so long is believed: time to correct it.
    pub const BELIEVED_AFTER: Duration = Duration::from_secs(3600);
    /// A machine may have been off so long since a remembered time; what leads by more is a leap.
    pub const OFF_MAX: Duration = Duration::from_secs(30 * 86_400);

    /// Starts at the clock's present, but not before `remembered`, the time that an earlier run saw last.
    pub fn new(clock: &(impl Clock + ?Sized), remembered: Option<UtcNanos>) -> Self {
        let (utc, looked) = (clock.utc(), clock.monotonic());
        let seen = match remembered {
            Some(before) if utc > before + Self::OFF_MAX => before,
            Some(before) => before.max(utc),
            None => utc,
        };
        Self { seen, looked, leads_since: None }
    }

    /// Another source saw this time: no decision is of a time before it.
    pub fn saw(&mut self, time: UtcNanos) {
        self.seen = self.seen.max(time);
    }

    /// The time to decide by.
    pub fn now(&mut self, clock: &(impl Clock + ?Sized)) -> UtcNanos {
        let (utc, monotonic) = (clock.utc(), clock.monotonic());
        self.seen = self.seen + monotonic.saturating_sub(self.looked);
        self.looked = monotonic;
        if utc <= self.seen + Self::STEP_MAX {
            self.leads_since = None;
            self.seen = self.seen.max(utc);
        } else if monotonic.saturating_sub(*self.leads_since.get_or_insert(monotonic)) >= Self::BELIEVED_AFTER {
            self.leads_since = None;
            self.seen = utc;
        }
        self.seen.max(utc)
    }

    /// The time to be remembered beyond a restart; a leap that is not believed yet is not in it.
    #[must_use]
    pub const fn seen(&self) -> UtcNanos {
        self.seen
    }

    /// Whether the time of day is in doubt, as of the last look.
    pub fn doubt(&self, clock: &(impl Clock + ?Sized)) -> Option<Doubt> {
        let utc = clock.utc();
        if self.leads_since.is_some() {
            return Some(Doubt::Ahead(utc.saturating_since(self.seen)));
        }
        let behind = self.seen.saturating_since(utc);
        (behind > Self::STEP_MAX).then_some(Doubt::Behind(behind))
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

    impl Fake {
        fn at(utc_secs: i64) -> Self {
            Self { utc: Cell::new(utc_secs * 1_000_000_000), monotonic: Cell::new(7) }
        }

        /// Both clocks go on.
        fn pass(&self, secs: u32) {
            self.utc.set(self.utc.get() + i64::from(secs) * 1_000_000_000);
            self.monotonic.set(self.monotonic.get() + u64::from(secs) * 1_000_000_000);
        }

        /// Somebody sets the time of day.
        fn set(&self, utc_secs: i64) {
            self.utc.set(utc_secs * 1_000_000_000);
        }
    }

    const YEAR: i64 = 365 * 86_400;

    fn secs(secs: i64) -> UtcNanos {
        UtcNanos::from_secs(secs)
    }

    #[test]
    fn a_clock_set_back_neither_turns_nor_stops_steady_time() {
        let clock = Fake::at(1_000_000);
        let mut time = SteadyTime::new(&clock, None);
        clock.pass(100);
        assert_eq!((time.now(&clock), time.doubt(&clock)), (secs(1_000_100), None));
        clock.set(1_000_000 - YEAR);
        assert_eq!(time.now(&clock), secs(1_000_100), "what was seen was seen");
        let behind = Duration::from_secs(YEAR.unsigned_abs() + 100);
        assert_eq!(time.doubt(&clock), Some(Doubt::Behind(behind)));
        clock.pass(50);
        assert_eq!(time.now(&clock), secs(1_000_150), "nor does it stand still");
        // After a restart with what was remembered: the same.
        let mut time = SteadyTime::new(&clock, Some(time.seen()));
        clock.pass(10);
        assert_eq!(time.now(&clock), secs(1_000_160));
        clock.set(1_000_200);
        assert_eq!(
            (time.now(&clock), time.doubt(&clock)),
            (secs(1_000_200), Some(Doubt::Ahead(Duration::from_secs(40))))
        );
    }

    #[test]
    fn a_leap_ahead_counts_at_once_and_is_remembered_only_when_it_stands() {
        let clock = Fake::at(1_000_000);
        let mut time = SteadyTime::new(&clock, None);
        clock.set(1_000_000 + 10 * YEAR);
        assert_eq!(time.now(&clock), secs(1_000_000 + 10 * YEAR), "what ends before it has ended");
        assert!(matches!(time.doubt(&clock), Some(Doubt::Ahead(by)) if by.as_secs() == (10 * YEAR).unsigned_abs()));
        assert_eq!(time.seen(), secs(1_000_000), "and is not remembered");
        clock.pass(3599);
        time.now(&clock);
        clock.set(1_003_600);
        clock.pass(1);
        assert_eq!((time.now(&clock), time.doubt(&clock)), (secs(1_003_601), None), "corrected: no trace is left");
        // One that stands for an hour is believed, and then it stays.
        clock.set(1_003_600 + YEAR);
        time.now(&clock);
        clock.pass(3601);
        time.now(&clock);
        assert_eq!((time.seen(), time.doubt(&clock)), (secs(1_007_201 + YEAR), None));
        clock.set(1_007_300);
        assert_eq!(time.now(&clock), secs(1_007_201 + YEAR));
    }

    #[test]
    fn a_machine_that_was_off_for_days_starts_in_the_present_and_one_off_for_years_is_doubted() {
        let clock = Fake::at(1_000_000 + 20 * 86_400);
        let mut time = SteadyTime::new(&clock, Some(secs(1_000_000)));
        assert_eq!((time.now(&clock), time.doubt(&clock)), (secs(1_000_000 + 20 * 86_400), None));
        clock.set(1_000_000 + 3 * YEAR);
        let mut time = SteadyTime::new(&clock, Some(secs(1_000_000)));
        assert_eq!(time.now(&clock), secs(1_000_000 + 3 * YEAR));
        assert!(matches!(time.doubt(&clock), Some(Doubt::Ahead(_))));
        assert_eq!(time.seen(), secs(1_000_000));
        time.saw(secs(1_000_500));
        assert_eq!(time.seen(), secs(1_000_500));
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
