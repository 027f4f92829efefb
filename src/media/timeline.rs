//! From 32-bit RTP timestamps to one unwrapped, strictly rising timeline in 90 kHz ticks.
//!
//! The camera's clock is not trusted: a step backwards or a leap of more than `MEDIA_STEP_MAX` starts a new *run*, which
//! continues where the old one ended, and is reported. What the wall clock was is `wallclock`'s business.
//!
//! Invariant: [`Timeline::place`] returns strictly rising times.

use peri_domain::MediaDuration;
use peri_domain::limits::MEDIA_STEP_MAX;

/// Largest step within a run, in ticks.
const STEP_MAX: i64 = MEDIA_STEP_MAX.as_secs() as i64 * MediaDuration::HZ as i64;

/// Duration assumed before two samples were seen: 25 pictures a second.
pub(crate) const DEFAULT_STEP: u32 = MediaDuration::HZ / 25;

/// A timestamp on the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Unwrapped time in 90 kHz ticks.
    pub at_90k: i64,
    /// Set when a new run began here: by how many ticks the camera's clock jumped (negative: backwards).
    pub jumped_90k: Option<i64>,
}

/// Unwraps timestamps.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    rtp: u32,
    at: i64,
    step: u32,
}

impl Timeline {
    /// Places the timestamp of the next sample. The first one lies at its own value.
    pub fn place(&mut self, rtp: u32) -> Placed {
        let Some(last) = self.last else {
            self.last = Some(Last { rtp, at: i64::from(rtp), step: DEFAULT_STEP });
            return Placed { at_90k: i64::from(rtp), jumped_90k: None };
        };
        // The shorter way around the 32-bit circle decides the direction (RFC 3550 section 5.1).
        let delta = i64::from(rtp.wrapping_sub(last.rtp) as i32);
        let (step, jumped_90k) = match delta {
            // Two pictures with one timestamp (fields sent apart): one tick keeps decode times rising.
            0 => (1, None),
            1..=STEP_MAX => (delta, None),
            _ => (i64::from(last.step), Some(delta)),
        };
        let at = last.at + step;
        let step = if jumped_90k.is_none() && delta > 0 { delta as u32 } else { last.step };
        self.last = Some(Last { rtp, at, step });
        Placed { at_90k: at, jumped_90k }
    }

    /// Where a timestamp near the last one lies (sender reports), without moving the timeline; `None` before a sample.
    #[must_use]
    pub fn locate(&self, rtp: u32) -> Option<i64> {
        self.last.map(|last| last.at + i64::from(rtp.wrapping_sub(last.rtp) as i32))
    }

    /// The last step between two samples, the best guess for the duration of the next one.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.last.map_or(DEFAULT_STEP, |last| last.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_of_32_bits_is_no_jump() {
        let mut line = Timeline::default();
        assert_eq!(line.place(u32::MAX - 1000).at_90k, i64::from(u32::MAX) - 1000);
        assert_eq!(line.place(1999), Placed { at_90k: i64::from(u32::MAX) + 2000, jumped_90k: None });
        assert_eq!(line.step(), 3000);
        assert_eq!(line.locate(1000), Some(i64::from(u32::MAX) + 1001));
    }

    #[test]
    fn backwards_and_far_forward_begin_a_new_run_that_is_named() {
        let mut line = Timeline::default();
        line.place(900_000);
        line.place(903_000);
        assert_eq!(line.place(100), Placed { at_90k: 906_000, jumped_90k: Some(-902_900) });
        assert_eq!(line.place(3100).at_90k, 909_000);
        assert_eq!(line.place(3100 + 900_001), Placed { at_90k: 912_000, jumped_90k: Some(900_001) });
        assert_eq!(line.place(3100 + 900_001).at_90k, 912_001);
    }

    proptest::proptest! {
        #[test]
        fn any_timestamps_rise(stamps: Vec<u32>) {
            let mut line = Timeline::default();
            let placed: Vec<_> = stamps.iter().map(|s| line.place(*s).at_90k).collect();
            proptest::prop_assert!(placed.windows(2).all(|w| w[0] < w[1]));
        }
    }
}
