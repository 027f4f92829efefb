//! When each camera's recorder was heard last, and what it means when it was not.
//!
//! What does not belong: what is done about it (`recording`). Times are of the monotonic clock, so that a step of the other
//! one loses no camera.

use peri_domain::CameraId;
use peri_domain::limits::RTP_SILENCE_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A camera without recorder is lost after so long: a restart takes less.
const ABSENT: Duration = Duration::from_secs(5);
/// A recorder that says nothing for so long is dead, whatever its process does: it reports a silent camera before.
const MUTE: Duration = Duration::from_secs(RTP_SILENCE_MAX.as_secs() + 5);
/// How often it is looked for silent recorders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Silence {
    heard: BTreeMap<CameraId, Duration>,
    /// Cameras whose account has begun.
    begun: BTreeSet<CameraId>,
    looked: Duration,
}

impl Silence {
    pub(super) fn heard(&mut self, camera: CameraId, now: Duration) {
        self.heard.insert(camera, now);
    }

    /// Whether to look now.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.looked) >= LOOK_EVERY;
        if due {
            self.looked = now;
        }
        due
    }

    /// Whether this run of scribe sees the camera for the first time.
    pub(super) fn begins(&mut self, camera: CameraId) -> bool {
        self.begun.insert(camera)
    }

    /// Why a camera is lost although its recorder does not say so. One that was never heard is given the same time as one
    /// that was heard just now.
    pub(super) fn cause(&mut self, camera: CameraId, linked: bool, now: Duration) -> Option<&'static str> {
        let silent = now.saturating_sub(*self.heard.entry(camera).or_insert(now));
        let (most, cause) =
            if linked { (MUTE, "its recorder does not report") } else { (ABSENT, "its recorder does not run") };
        (silent >= most).then_some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: CameraId = CameraId([1; 16]);
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_camera_whose_recorder_is_not_heard_is_lost_with_the_right_cause_and_not_before_its_time() {
        let start = Duration::from_secs(1_000);
        let mut silence = Silence::default();
        // Never heard: the time runs from the first look.
        assert_eq!(silence.cause(CAMERA, false, start), None);
        assert_eq!(silence.cause(CAMERA, false, start + ABSENT - MOMENT), None);
        assert_eq!(silence.cause(CAMERA, false, start + ABSENT), Some("its recorder does not run"));
        // A link is no word: the recorder reports a silent camera by itself, before this.
        assert_eq!(silence.cause(CAMERA, true, start + ABSENT), None);
        assert_eq!(silence.cause(CAMERA, true, start + RTP_SILENCE_MAX), None);
        assert_eq!(silence.cause(CAMERA, true, start + MUTE), Some("its recorder does not report"));
        silence.heard(CAMERA, start + MUTE);
        assert_eq!(silence.cause(CAMERA, true, start + MUTE), None);
        assert_eq!(silence.cause(CAMERA, false, start + MUTE + ABSENT), Some("its recorder does not run"));
        assert_eq!(silence.cause(CameraId([2; 16]), false, start + MUTE + ABSENT), None, "each camera by itself");
    }

    #[test]
    fn it_is_looked_once_a_second_and_an_account_begins_once() {
        let mut silence = Silence::default();
        let looks = (0..=4_000).filter(|ms| silence.is_due(Duration::from_millis(*ms))).count();
        assert_eq!(looks, 4);
        assert!(silence.begins(CAMERA) && !silence.begins(CAMERA) && silence.begins(CameraId([2; 16])));
    }
}
