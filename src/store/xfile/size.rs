//! How many slots a key file has: what a site will need, and always more than what lives.
//!
//! The need is reckoned beforehand, so that the disk gives the room before recordings fill it. Where the reckoning was too
//! low (epochs end early at every edge of a grant), each re-key still adds a quarter to what lives, so that a file grows
//! within a few re-keys, and two never follow each other without slots gained between them.

use core::time::Duration;

/// Fewest slots of an appliance's file, before it knows its cameras: half a mebibyte, and an hour of
/// [`peri_domain::limits::CAMERAS_MAX`] cameras at eight epochs.
pub const SLOTS_MIN: u32 = 4_096;

/// Most slots a file may have: 129 MiB, of which a re-key has two for a moment, about the reserve that the disk keeps for
/// it. As many cameras as there may be record 14 days with that, 250 of them a month.
pub const SLOTS_MAX: u32 = 1 << 20;

/// Less than this part of the slots is few.
pub(super) const FEW: u32 = 16;

/// The running epoch, the next one, and one that was replaced before it began.
const AT_ONCE: u128 = 3;

/// What X are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Cameras recorded.
    pub cameras: usize,
    /// How long recordings live.
    pub retention: Duration,
    /// Longest epoch.
    pub epoch: Duration,
    /// Time between two re-keys: so long an erased X still takes its slot.
    pub rekey_every: Duration,
}

impl Demand {
    /// Slots for it, with a quarter more than reckoned; at least [`SLOTS_MIN`], at most [`SLOTS_MAX`].
    #[must_use]
    pub fn slots(&self) -> u32 {
        // Epochs are shortened by up to an eighth, so that cameras do not all change at once.
        let shortest = (self.epoch - self.epoch / 8).as_nanos().max(1);
        let lives = (self.retention + self.epoch + self.rekey_every).as_nanos();
        let reckoned = self.cameras as u128 * (lives.div_ceil(shortest) + AT_ONCE);
        let slots = reckoned.saturating_add(reckoned / 4).min(u128::from(SLOTS_MAX));
        u32::try_from(slots).unwrap_or(SLOTS_MAX).max(SLOTS_MIN)
    }
}

/// Slots of the next file.
pub(super) fn slots_for(expected: u32, live: usize) -> u32 {
    let live = u32::try_from(live).unwrap_or(SLOTS_MAX);
    expected.max(live.saturating_add(live / 4).saturating_add(1)).min(SLOTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn demand(cameras: usize, days: u32) -> Demand {
        Demand { cameras, retention: days * 24 * HOUR, epoch: HOUR / 4, rekey_every: HOUR }
    }

    #[test]
    fn the_reckoning_holds_every_x_that_lives_at_once() {
        for (cameras, days) in [(1, 3), (227, 3), (228, 3), (512, 3), (512, 14), (250, 30)] {
            let all = demand(cameras, days);
            // Every epoch as short as the jitter allows, for as long as it lives, and the one ahead.
            let shortest = all.epoch - all.epoch / 8;
            let living = (all.retention + all.epoch + all.rekey_every).as_secs_f64() / shortest.as_secs_f64() + 2.0;
            let slots = all.slots();
            assert!(f64::from(slots) > living * cameras as f64, "{cameras} cameras, {days} days: {slots} slots");
            assert!(slots < SLOTS_MAX, "{cameras} cameras, {days} days: {slots} slots");
        }
        assert_eq!(demand(0, 3).slots(), SLOTS_MIN);
        assert_eq!(demand(512, 3000).slots(), SLOTS_MAX);
    }

    #[test]
    fn a_new_file_always_has_a_free_slot_until_it_cannot_grow() {
        for live in [0, 1, 2, 3, 100, 65_536, SLOTS_MAX as usize - 1] {
            assert!(slots_for(1, live) as usize > live, "{live} live");
        }
        assert_eq!(slots_for(1, SLOTS_MAX as usize), SLOTS_MAX);
        assert_eq!(slots_for(u32::MAX, 1), SLOTS_MAX);
        assert_eq!(slots_for(500, 10), 500);
    }
}
