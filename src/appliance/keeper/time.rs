//! The time by which keeper decides over grants, kept beyond its restarts, and what it says when the clock is in doubt.
//!
//! Who gets a wrap is decided by [`SteadyTime`]: a clock that is set back gives nobody back what ended. When an epoch starts
//! and ends is the clock's business, whatever it shows, because recorders cut by the same clock: so a clock that is wrong,
//! years ahead too, never stops recording. It costs wraps at most: while it shows a time behind the end of a grant, the
//! epochs that begin are shared to the others and to the seats.
//!
//! What does not belong: scribe's side, whose decisions are never before the last entry of the ledger.

use super::files::{FilesError, read_seen, write_seen};
use peri_domain::UtcNanos;
use peri_sandbox::clock::{Clock, Doubt, SteadyTime};
use peri_sandbox::durable::Dir;
use std::time::Duration;

/// How often the seen time is written: a power cut together with a clock set back gives back so much at most.
const WRITE_EVERY: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Time {
    steady: SteadyTime,
    written: UtcNanos,
    /// Of which kind the last doubt was, so that it is told once.
    told: Option<bool>,
    write_failed: bool,
    alarms: Vec<String>,
}

impl Time {
    pub(super) fn open(dir: &Dir, clock: &impl Clock) -> Self {
        let (remembered, damaged) = read_seen(dir);
        Self {
            steady: SteadyTime::new(clock, remembered),
            written: remembered.unwrap_or(UtcNanos(i64::MIN)),
            told: None,
            write_failed: false,
            alarms: damaged.map(str::to_owned).into_iter().collect(),
        }
    }

    /// The time to decide over grants by.
    pub(super) fn now(&mut self, clock: &impl Clock) -> UtcNanos {
        self.steady.now(clock)
    }

    /// To be called at every tick: remembers the time durably, and notices a clock in doubt.
    pub(super) fn keep(&mut self, clock: &impl Clock, dir: &Dir) {
        self.steady.now(clock);
        if self.steady.seen().saturating_since(self.written) >= WRITE_EVERY {
            self.write(dir);
        }
        let doubt = self.steady.doubt(clock);
        let kind = doubt.map(|doubt| matches!(doubt, Doubt::Ahead(_)));
        if kind == self.told {
            return;
        }
        self.told = kind;
        let Some(doubt) = doubt else { return };
        self.alarms.push(match doubt {
            Doubt::Behind(by) => format!(
                "the clock is {} s behind the time that keeper saw last; grants go by that time, recording by the clock; \
                 set it (NTP). If the earlier time was wrong, stop the appliance and remove keeper's file time.seen",
                by.as_secs()
            ),
            Doubt::Ahead(by) => format!(
                "the clock leapt {} s ahead; grants that end before count as ended while it shows that, recording goes on; \
                 set it (NTP) within an hour, then it is believed",
                by.as_secs()
            ),
        });
    }

    /// Writes what was seen since; also before the end.
    pub(super) fn write(&mut self, dir: &Dir) {
        let seen = self.steady.seen();
        if seen <= self.written {
            return;
        }
        let outcome: Result<(), FilesError> = write_seen(dir, seen);
        match outcome {
            Ok(()) => self.write_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.write_failed, true) {
                    self.alarms.push(format!(
                        "keeper cannot remember the time: {error}; a restart with the clock set back would give back \
                         grants that ended"
                    ));
                }
            }
        }
        // Tried again with the next step, not with every tick.
        self.written = seen;
    }

    /// What is to be told; to be asked when somebody hears it.
    pub(super) fn take_alarms(&mut self) -> Vec<String> {
        std::mem::take(&mut self.alarms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake(Cell<i64>, Cell<u64>);

    impl Clock for Fake {
        fn utc(&self) -> UtcNanos {
            UtcNanos::from_secs(self.0.get())
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.1.get())
        }
    }

    impl Fake {
        fn pass(&self, secs: u32) {
            self.0.set(self.0.get() + i64::from(secs));
            self.1.set(self.1.get() + u64::from(secs));
        }
    }

    /// When the grant of these tests ends.
    const END: i64 = 1_800_000_000;

    fn holds(time: &mut Time, clock: &Fake) -> bool {
        time.now(clock) < UtcNanos::from_secs(END)
    }

    #[test]
    fn a_grant_that_ended_stays_ended_when_the_clock_is_set_back_even_across_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let clock = Fake(Cell::new(END - 10), Cell::new(5));
        let mut time = Time::open(&dir, &clock);
        time.keep(&clock, &dir);
        assert!(holds(&mut time, &clock), "positive control");
        clock.pass(30);
        time.keep(&clock, &dir);
        assert!(!holds(&mut time, &clock) && time.take_alarms().is_empty());
        clock.0.set(END - 86_400);
        time.keep(&clock, &dir);
        assert!(!holds(&mut time, &clock));
        let alarms = time.take_alarms();
        assert!(
            alarms.len() == 1 && alarms[0].contains("behind the time") && alarms[0].contains("time.seen"),
            "{alarms:?}"
        );
        time.keep(&clock, &dir);
        assert!(time.take_alarms().is_empty(), "told once");
        // Killed, started again with a clock that restarted too: only what is on disk counts.
        drop(time);
        clock.1.set(0);
        let mut time = Time::open(&dir, &clock);
        assert!(!holds(&mut time, &clock));
        // Without the file it would come back: it is the file that holds it.
        std::fs::remove_file(temp.path().join("time.seen")).unwrap();
        assert!(holds(&mut Time::open(&dir, &clock), &clock));
    }

    #[test]
    fn a_clock_years_ahead_costs_wraps_while_it_lasts_and_nothing_afterwards() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let clock = Fake(Cell::new(END - 100_000), Cell::new(5));
        let mut time = Time::open(&dir, &clock);
        time.keep(&clock, &dir);
        clock.0.set(END + 10 * 365 * 86_400);
        for _ in 0..30 {
            clock.pass(100);
            time.keep(&clock, &dir);
        }
        assert!(!holds(&mut time, &clock));
        assert!(time.take_alarms()[0].contains("leapt"));
        // A restart in between, then the clock is corrected.
        let mut time = Time::open(&dir, &clock);
        assert!(!holds(&mut time, &clock));
        clock.0.set(END - 90_000);
        time.keep(&clock, &dir);
        assert!(holds(&mut time, &clock), "nothing is left of it");
    }

    #[test]
    fn a_damaged_file_is_told_and_stops_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let clock = Fake(Cell::new(END), Cell::new(5));
        Time::open(&dir, &clock).keep(&clock, &dir);
        let path = temp.path().join("time.seen");
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(Time::open(&dir, &clock).take_alarms().is_empty());
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut time = Time::open(&dir, &clock);
        assert!(time.take_alarms()[0].contains("time.seen is damaged"));
        assert!(!holds(&mut time, &clock));
    }
}
