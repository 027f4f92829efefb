//! From media time to UTC. The camera's clock is not trusted; the local arrival time is, slowly.
//!
//! The first picture starts at its arrival; from there the camera's own ticks carry the time, because they have no
//! network jitter, and the result is steered toward the arrival times by at most [`STEER_PPM`]. A local clock that
//! leaps forward by more than a second moves the result at once; one that steps back never does: time runs on at
//! [`CATCH_UP_PPM`] less than real until the local clock has caught up. Both are reported. The camera's own idea of UTC
//! (sender reports) is kept as information in `rtp::SenderClock`, never used here.
//!
//! Invariant: results never go backwards as long as media time does not.

use peri_domain::UtcNanos;

/// Steering: crystals of cameras are within 100 ppm, so 500 ppm follows any of them and is invisible in a picture.
const STEER_PPM: i64 = 500;

/// Slowing down after the local clock stepped back: a tenth, so an hour (a mistaken time zone) heals in ten hours.
const CATCH_UP_PPM: i64 = 100_000;

/// A difference that steering does not try to hide.
const JUMP_NANOS: i64 = 1_000_000_000;

/// A difference between local clock and media time of more than a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockJump {
    /// Local clock minus running time, in nanoseconds; positive: the local clock was ahead.
    pub by_nanos: i64,
}

/// The running map.
#[derive(Debug, Default)]
pub struct WallClock {
    last: Option<(i64, i64)>,
    behind_reported: bool,
}

impl WallClock {
    /// UTC of the media time `at_90k`, whose last byte arrived at `arrival`. Media times must not fall.
    pub fn map(&mut self, at_90k: i64, arrival: UtcNanos) -> (UtcNanos, Option<ClockJump>) {
        let Some((last_90k, last_nanos)) = self.last else {
            self.last = Some((at_90k, arrival.0));
            return (arrival, None);
        };
        let ticks = at_90k.saturating_sub(last_90k).max(0);
        let elapsed = nanos(ticks);
        let running = last_nanos.saturating_add(elapsed);
        let error = arrival.0.saturating_sub(running);
        let mut jump = None;
        let out = if error > JUMP_NANOS {
            jump = Some(ClockJump { by_nanos: error });
            arrival.0
        } else if error < -JUMP_NANOS {
            if !self.behind_reported {
                jump = Some(ClockJump { by_nanos: error });
            }
            running - part(elapsed, CATCH_UP_PPM)
        } else {
            let most = part(elapsed, STEER_PPM);
            running.saturating_add(error.clamp(-most, most))
        };
        self.behind_reported = error < -JUMP_NANOS;
        self.last = Some((at_90k.max(last_90k), out));
        (UtcNanos(out), jump)
    }
}

fn nanos(ticks: i64) -> i64 {
    i64::try_from(i128::from(ticks) * 100_000 / 9).unwrap_or(i64::MAX)
}

fn part(nanos: i64, ppm: i64) -> i64 {
    i64::try_from(i128::from(nanos) * i128::from(ppm) / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn jitter_is_smoothed_and_drift_is_followed() {
        let mut clock = WallClock::default();
        let start = 1_800_000_000_000_000_000;
        let mut out = 0;
        // The camera's crystal runs 200 ppm slow, arrivals jitter by up to 30 ms.
        for frame in 0..15_000_i64 {
            let real = frame * 66_666_667;
            let camera = real - real / 5000;
            let jitter = (frame * 7919 % 31) * 1_000_000;
            let (utc, jump) = clock.map(camera * 9 / 100_000, UtcNanos(start + real + jitter));
            assert_eq!(jump, None);
            out = utc.0 - start - real;
        }
        assert!((0..40_000_000).contains(&out), "{out}");
    }

    #[test]
    fn leap_forward_is_taken_and_step_back_is_walked_off() {
        let mut clock = WallClock::default();
        clock.map(0, UtcNanos(0));
        let (utc, jump) = clock.map(90_000, UtcNanos(10_000_000_000));
        assert_eq!((utc.0, jump), (10_000_000_000, Some(ClockJump { by_nanos: 9_000_000_000 })));
        let (utc, jump) = clock.map(180_000, UtcNanos(1_000_000_000));
        assert_eq!((utc.0, jump), (10_900_000_000, Some(ClockJump { by_nanos: -10_000_000_000 })));
        assert_eq!(clock.map(270_000, UtcNanos(2_000_000_000)).1, None);
    }

    proptest! {
        #[test]
        fn never_backwards(steps in prop::collection::vec((0..2_000_000_i64, any::<i64>()), 0..60)) {
            let mut clock = WallClock::default();
            let (mut at, mut last) = (0, i64::MIN);
            for (step, arrival) in steps {
                at += step;
                // Three centuries around 1970 hold every clock that is not nonsense.
                let (utc, _) = clock.map(at, UtcNanos(arrival / 4));
                prop_assert!(utc.0 >= last);
                last = utc.0;
            }
        }
    }
}
