//! When a camera that failed is tried again: later each time, and never all cameras at the same moment.
//!
//! What does not belong: clocks and randomness (both come in), why it failed.

use std::time::Duration;

/// First wait.
const MIN: Duration = Duration::from_millis(500);
/// Longest wait; doubled in between.
const MAX: Duration = Duration::from_secs(30);
/// A session that played so long was good: the next loss begins with the shortest wait.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// The next try of one camera.
#[derive(Debug)]
pub(super) struct Retry {
    at: Duration,
    wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { at: Duration::ZERO, wait: MIN }
    }
}

impl Retry {
    /// When it is due, on the monotonic clock.
    pub(super) const fn at(&self) -> Duration {
        self.at
    }

    /// There is something new to try.
    pub(super) const fn at_once(&mut self) {
        self.at = Duration::ZERO;
    }

    /// A session ended that had played so long. `jitter` spreads the wait by a quarter to either side, so that a switch
    /// that comes back does not meet every camera's recorder at once.
    pub(super) fn failed(&mut self, now: Duration, played: Duration, jitter: u8) {
        if played >= GOOD_SESSION {
            self.wait = MIN;
        }
        let spread = 0.75 + f64::from(jitter) / 255.0 / 2.0;
        self.at = now + self.wait.mul_f64(spread);
        self.wait = (self.wait * 2).min(MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u8 = 127;

    /// Waits of so many failures in a row, in seconds.
    fn waits(retry: &mut Retry, jitter: u8, failures: usize) -> Vec<f64> {
        let now = Duration::from_secs(1_000);
        let mut wait = || {
            retry.failed(now, Duration::ZERO, jitter);
            (retry.at() - now).as_secs_f64()
        };
        (0..failures).map(|_| wait()).collect()
    }

    #[test]
    fn a_camera_that_keeps_failing_is_tried_later_each_time_up_to_a_bound() {
        let waits = waits(&mut Retry::default(), MIDDLE, 9);
        for (wait, expected) in waits.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
            assert!((wait / expected - 1.0).abs() < 0.01, "{waits:?}");
        }
    }

    #[test]
    fn jitter_spreads_a_wait_by_a_quarter_to_either_side() {
        for (step, expected) in [0.5, 1.0, 2.0].into_iter().enumerate() {
            let at = |jitter| waits(&mut Retry::default(), jitter, 3)[step] / expected;
            assert!((at(0) - 0.75).abs() < 1e-9 && (at(255) - 1.25).abs() < 1e-9, "{} to {}", at(0), at(255));
            let all: Vec<f64> = (0..=255).map(at).collect();
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "every jitter is a wait of its own");
        }
    }

    #[test]
    fn a_good_session_or_a_new_set_up_begins_anew() {
        let mut retry = Retry::default();
        waits(&mut retry, MIDDLE, 6);
        let now = Duration::from_secs(2_000);
        retry.failed(now, GOOD_SESSION - Duration::from_millis(1), MIDDLE);
        assert!(retry.at() - now > Duration::from_secs(20), "a session that ended young was not good");
        retry.failed(now, GOOD_SESSION, MIDDLE);
        assert!(retry.at() - now < Duration::from_secs(1));
        retry.at_once();
        assert_eq!(retry.at(), Duration::ZERO);
    }
}
