//! Who may enter what into the ledger, and how much of it: no process that faces the outside fills the ledger.
//!
//! What does not belong: what an entry says, who asks (`requests`).

use peri_domain::CameraId;
use peri_domain::limits::CAMERAS_MAX;
use peri_ledger::EntryType;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is over its number within this time is counted, and told in one entry.
const WINDOW: Duration = Duration::from_secs(60);
/// Events of one kind from a process that strangers have a say in.
const FEW: u32 = 60;
/// Events of one kind from keeper and supervisor: one for every camera, and again after a restart.
const MANY: u32 = 2 * CAMERAS_MAX as u32;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sender {
    Supervisor,
    Keeper,
    Recorder(CameraId),
    /// Whoever reaches the socket and has no key in office.
    Strangers,
}

impl core::fmt::Display for Sender {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            Self::Keeper => f.write_str("keeper"),
            Self::Recorder(camera) => write!(f, "recorder {camera}"),
            Self::Strangers => f.write_str("strangers' requests"),
        }
    }
}

impl Sender {
    /// The camera that it may speak of, where there is only one.
    pub(super) const fn camera(self) -> Option<CameraId> {
        match self {
            Self::Recorder(camera) => Some(camera),
            _ => None,
        }
    }

    /// What this role knows of, and nobody else may say.
    pub(super) const fn may_enter(self, kind: EntryType) -> bool {
        match self {
            Self::Supervisor => matches!(
                kind,
                EntryType::ApplianceStarted
                    | EntryType::ApplianceStopped
                    | EntryType::RoleStarted
                    | EntryType::RoleDied
                    | EntryType::SandboxViolation
            ),
            Self::Keeper => {
                matches!(
                    kind,
                    EntryType::RosterAccepted
                        | EntryType::RosterRefused
                        | EntryType::RosterAlarm
                        | EntryType::ClockJump
                )
            }
            Self::Recorder(_) => {
                matches!(kind, EntryType::CameraClock | EntryType::StreamDamaged | EntryType::CryptoDeviation)
            }
            Self::Strangers => false,
        }
    }

    const fn most(self, kind: Option<EntryType>) -> u32 {
        match (self, kind) {
            (Self::Strangers, _) => 0,
            // A stranger's statement reaches keeper, which says so.
            (Self::Recorder(_), _) | (Self::Keeper, Some(EntryType::RosterRefused)) => FEW,
            (Self::Supervisor | Self::Keeper, _) => MANY,
        }
    }
}

#[derive(Debug)]
struct Quota {
    since: Duration,
    taken: u32,
    over: u32,
}

/// How much was entered lately.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    windows: BTreeMap<(Sender, Option<EntryType>), Quota>,
    breaches: BTreeSet<Sender>,
}

impl Quotas {
    /// Whether one more may be entered; if not it is counted.
    pub(super) fn take(&mut self, sender: Sender, kind: EntryType, now: Duration) -> bool {
        self.count(sender, Some(kind), now)
    }

    /// A request that nobody in office signed: never entered by itself.
    pub(super) fn stranger(&mut self, now: Duration) {
        self.count(Sender::Strangers, None, now);
    }

    fn count(&mut self, sender: Sender, kind: Option<EntryType>, now: Duration) -> bool {
        let quota = self.windows.entry((sender, kind)).or_insert(Quota { since: now, taken: 0, over: 0 });
        let fits = quota.taken < sender.most(kind);
        *(if fits { &mut quota.taken } else { &mut quota.over }) += 1;
        fits
    }

    /// The first time that a sender says what is not its business.
    pub(super) fn is_first_breach(&mut self, sender: Sender) -> bool {
        self.breaches.insert(sender)
    }

    /// What was counted in windows that are over.
    pub(super) fn over(&mut self, now: Duration) -> Vec<(Sender, Option<EntryType>, u32)> {
        let mut over = Vec::new();
        self.windows.retain(|(sender, kind), quota| {
            let running = now.saturating_sub(quota.since) < WINDOW;
            if !running && quota.over > 0 {
                over.push((*sender, *kind, quota.over));
            }
            running
        });
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: CameraId = CameraId([1; 16]);

    #[test]
    fn a_flood_becomes_one_entry_a_minute_and_hinders_no_other() {
        let mut quotas = Quotas::default();
        let flood = Sender::Recorder(CAMERA);
        let entered = (0..1_000).filter(|_| quotas.take(flood, EntryType::StreamDamaged, WINDOW)).count();
        assert_eq!(entered, FEW as usize);
        assert!(quotas.take(flood, EntryType::CameraClock, WINDOW), "another kind");
        assert!(quotas.take(Sender::Recorder(CameraId([2; 16])), EntryType::StreamDamaged, WINDOW), "another camera");
        assert_eq!(quotas.over(WINDOW), []);
        assert_eq!(quotas.over(2 * WINDOW), [(flood, Some(EntryType::StreamDamaged), 1_000 - FEW)]);
        assert!(quotas.take(flood, EntryType::StreamDamaged, 2 * WINDOW));
        for _ in 0..5 {
            quotas.stranger(2 * WINDOW);
        }
        assert_eq!(quotas.over(3 * WINDOW), [(Sender::Strangers, None, 5)]);
    }

    #[test]
    fn what_strangers_have_a_say_in_is_bounded_tightly_and_the_rest_by_the_cameras() {
        let entered = |sender: Sender, kind| {
            let mut quotas = Quotas::default();
            (0..MANY + 100).filter(|_| quotas.take(sender, kind, Duration::ZERO)).count() as u32
        };
        assert_eq!(entered(Sender::Keeper, EntryType::RosterRefused), FEW);
        assert_eq!(entered(Sender::Keeper, EntryType::RosterAccepted), MANY);
        assert_eq!(entered(Sender::Supervisor, EntryType::RoleDied), MANY);
        assert_eq!(entered(Sender::Recorder(CAMERA), EntryType::CameraClock), FEW);
        assert_eq!(entered(Sender::Strangers, EntryType::RequestRefused), 0);
    }

    #[test]
    fn a_window_ends_by_itself_and_a_breach_is_told_once_for_each_sender() {
        let mut quotas = Quotas::default();
        let sender = Sender::Recorder(CAMERA);
        (0..FEW).for_each(|_| assert!(quotas.take(sender, EntryType::StreamDamaged, Duration::ZERO)));
        assert!(!quotas.take(sender, EntryType::StreamDamaged, WINDOW - Duration::from_millis(1)));
        // What stayed within its number is nothing to tell, and is forgotten with the window.
        assert!(quotas.take(Sender::Keeper, EntryType::RosterAlarm, Duration::ZERO));
        assert_eq!(quotas.over(WINDOW), [(sender, Some(EntryType::StreamDamaged), 1)]);
        assert!(quotas.windows.is_empty());
        assert!(quotas.is_first_breach(sender) && !quotas.is_first_breach(sender));
        assert!(quotas.is_first_breach(Sender::Keeper));
    }

    #[test]
    fn each_role_enters_only_what_it_knows_of() {
        let senders = [Sender::Supervisor, Sender::Keeper, Sender::Recorder(CAMERA), Sender::Strangers];
        for kind in EntryType::ALL {
            let able = senders.iter().filter(|sender| sender.may_enter(*kind)).count();
            assert!(able <= 1, "{kind} from two roles");
            // What scribe alone knows: disclosures, erasures, the ledger itself.
            let scribes = kind.ledger() != peri_ledger::Ledger::Technical
                || matches!(kind, EntryType::Erased | EntryType::EpochOpened | EntryType::CheckpointBlock);
            assert!(!scribes || able == 0, "{kind}");
        }
    }
}
