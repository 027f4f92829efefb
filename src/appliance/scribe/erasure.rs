//! Erasure: what is past its time, what must go early because the disk is full, and the hourly re-key that makes it true.
//!
//! Order: X dropped (durable mark) ─ entry and row *pending* durable ─ re-key ─● X gone ─ entry *erased* durable ─ file
//! unlinked. A restart completes what was cut: the key file re-keys when it is opened, and a file whose X is gone is unlinked
//! then.

use super::Scribe;
use crate::message::ScribeToRecorder;
use peri_domain::limits::DISK_RESERVE_BYTES;
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_store::retention::{self, Rules, SegmentState, Space};
use peri_store::segments::{LeavesPruner, SegmentKey};
use peri_store::xfile::Demand;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often the plan is made.
const PLAN_EVERY: Duration = Duration::from_secs(10);
/// After a jump of the clock nothing expires for so long: time to correct it, against a year too far ahead.
const CLOCK_DOUBT: Duration = Duration::from_secs(3600);
/// A failed re-key is tried again after so long.
const REKEY_RETRY: Duration = Duration::from_secs(30);
/// Leaves files looked at per plan.
const PRUNE_BUDGET: usize = 64;

pub(super) struct Erasure {
    rekey_every: Duration,
    last_plan: Option<Duration>,
    next_rekey: Duration,
    /// The last one failed, so not before then, whatever needs it.
    not_before: Duration,
    /// Why it failed, in short.
    failure: Option<&'static str>,
    /// The TPM's connection is dead: the supervisor is to be asked for another.
    root_store_lost: bool,
    doubt_until: Duration,
    full: bool,
    /// Nothing more may go: recorders were told to stop writing.
    stopped: bool,
    pruner: LeavesPruner,
}

impl Erasure {
    pub(super) fn new(rekey_every: Duration, now: Duration) -> Self {
        Self {
            rekey_every,
            last_plan: None,
            next_rekey: now + rekey_every,
            not_before: now,
            failure: None,
            root_store_lost: false,
            doubt_until: Duration::ZERO,
            full: false,
            stopped: false,
            pruner: LeavesPruner::default(),
        }
    }

    pub(super) fn clock_jumped(&mut self, now: Duration) {
        self.doubt_until = now + CLOCK_DOUBT;
    }

    /// Whether a re-key may be tried now.
    pub(super) fn may_rekey(&self, now: Duration) -> bool {
        now >= self.not_before
    }

    /// Why the last re-key failed, in short.
    pub(super) const fn rekey_fails(&self) -> Option<&'static str> {
        self.failure
    }

    /// Whether the supervisor is to be asked for a new connection to the TPM; once for each failure.
    pub(super) fn take_root_store_lost(&mut self) -> bool {
        std::mem::take(&mut self.root_store_lost)
    }

    /// There is a new connection to the TPM: what waits for it is tried at once.
    pub(super) fn root_store_is_back(&mut self, now: Duration) {
        self.not_before = now;
        self.next_rekey = now;
        self.last_plan = None;
    }

    fn plan_is_due(&self, now: Duration) -> bool {
        let every = PLAN_EVERY.min(self.rekey_every);
        self.last_plan.is_none_or(|last| now.saturating_sub(last) >= every)
    }
}

/// The configuration can only shorten what the custodians decided; at its default it leaves their word alone.
pub(crate) fn retention_in_force(configured: Duration, decided: Duration) -> Duration {
    if configured < peri_domain::limits::RETENTION_DEFAULT { configured.min(decided) } else { decided }
}

impl Scribe {
    /// The retention that holds: the roster's, but never longer than the configuration says.
    fn rules(&self) -> Option<Rules> {
        let configured = Duration::from_secs(self.start.retention_secs.into());
        let retention = retention_in_force(configured, self.roster.as_ref()?.retention());
        Some(Rules { retention, per_camera: BTreeMap::new() })
    }

    /// Plans and begins erasures, closes orphaned segments, re-keys when the hour is over.
    pub(super) fn erase_what_is_due(&mut self, now: Duration) {
        // Recorders write without asking, so a shrinking disk is looked at more often than the plan is made.
        let short = self.store.free_bytes().is_ok_and(|free| free < DISK_RESERVE_BYTES);
        if !self.erasure.plan_is_due(now) && (!short || self.erasure.stopped) {
            return;
        }
        self.erasure.last_plan = Some(now);
        self.erase_damaged();
        let Some(rules) = self.rules() else { return };
        let free = self.store.free_bytes().unwrap_or(u64::MAX);
        let certain = (now >= self.erasure.doubt_until).then(|| self.clock.utc());
        let rows = self.index.rows();
        let space = Space::with_default_reserve(free);
        let plan = retention::plan(&rows, certain, &rules, &[], space);
        if !plan.expired.is_empty() {
            self.begin(&plan.expired, "retention");
        }
        if !plan.early.is_empty() || plan.shortfall > 0 {
            self.note_full(free, plan.shortfall);
        } else if std::mem::take(&mut self.erasure.full) {
            self.record(EntryType::DiskOk, None, &format!("{free} bytes free"));
        }
        let stop = plan.shortfall > 0;
        if stop != std::mem::replace(&mut self.erasure.stopped, stop) {
            self.tell_recorders(if stop { ScribeToRecorder::Full } else { ScribeToRecorder::Room });
        }
        if !plan.early.is_empty() {
            self.begin(&plan.early, "disk full");
            for key in &plan.early {
                self.record(
                    EntryType::ErasedEarly,
                    Some(key.0),
                    &format!(
                        "epoch {}: the disk is full and this was the oldest; make room or shorten retention",
                        key.1
                    ),
                );
            }
        }
        // The plan counts what is pending as free; on a full disk that must become true at once.
        let pending = !(plan.early.is_empty() && plan.expired.is_empty() && plan.pending.is_empty());
        self.expect_slots();
        let needed = now >= self.erasure.next_rekey
            || (pending && free < space.reserve)
            || !plan.early.is_empty()
            || self.xfile.is_short();
        if needed && self.erasure.may_rekey(now) {
            self.rekey(now);
        }
        if let Err(error) = self.erasure.pruner.prune(&self.store, PRUNE_BUDGET) {
            self.alarm(EntryType::StoreGap, None, &error.to_string());
        }
    }

    /// Whether recorders are to write; a fresh one is told when not.
    pub(super) const fn may_write(&self) -> bool {
        !self.erasure.stopped
    }

    /// A recorder found the disk full: plan at once.
    pub(super) fn make_room(&mut self) {
        self.erasure.last_plan = None;
        let now = self.clock.monotonic();
        self.erase_what_is_due(now);
    }

    fn note_full(&mut self, free: u64, shortfall: u64) {
        if std::mem::replace(&mut self.erasure.full, true) {
            return;
        }
        let what = if shortfall > 0 {
            "nothing more may go, so recording is lost (disk full); make room"
        } else {
            "the oldest recordings go before their time; make room or shorten retention"
        };
        self.alarm(EntryType::DiskFull, None, &format!("{free} bytes free; {what}"));
    }

    fn begin(&mut self, keys: &[SegmentKey], why: &'static str) {
        if let Err(error) = self.xfile.drop_keys(keys) {
            self.alarm(EntryType::StoreGap, None, &format!("erasure could not begin: {error}"));
            return;
        }
        for key in keys {
            self.index.begin_erasure(*key, why);
            self.book_state(*key, SegmentState::ErasePending);
            self.record(EntryType::ErasurePending, Some(key.0), &format!("epoch {}: {why}", key.1));
        }
    }

    /// What the key file must hold, for its next re-key.
    pub(super) fn expect_slots(&mut self) {
        let Some(roster) = &self.roster else { return };
        let Some(rules) = self.rules() else { return };
        let demand = Demand {
            cameras: roster.cameras().filter(|camera| camera.registered && !camera.removed).count(),
            retention: rules.retention,
            epoch: Duration::from_secs(self.start.epoch_secs.into()),
            rekey_every: self.erasure.rekey_every,
        };
        self.xfile.expect(demand.slots());
    }

    /// The supervisor made a new connection to the TPM.
    pub(super) fn take_root_store(&mut self, connection: OwnedFd) {
        match self.xfile.roots().reconnect(connection) {
            Ok(()) => self.erasure.root_store_is_back(self.clock.monotonic()),
            // The next re-key fails for this reason, says so, and asks for another.
            Err(error) => self.rekey_failed(self.clock.monotonic(), "TPM gone", &error.to_string()),
        }
    }

    /// Told once for each cause, although it is tried again and again.
    fn rekey_failed(&mut self, now: Duration, short: &'static str, error: &str) {
        self.erasure.not_before = now + REKEY_RETRY.min(self.erasure.rekey_every);
        self.erasure.next_rekey = self.erasure.not_before;
        if self.erasure.failure.replace(short) != Some(short) {
            let text = format!(
                "re-key failed ({short}), erasure stays pending: {error}. Tried again every {} s; recording goes on for {} \
                 more epochs of all cameras",
                REKEY_RETRY.as_secs(),
                self.xfile.free_slots()
            );
            self.alarm(EntryType::StoreGap, None, &text);
        }
    }

    /// Re-keys the X file; then what was pending exists no more.
    pub(super) fn rekey(&mut self, now: Duration) {
        let rows = self.index.rows();
        let pending: Vec<SegmentKey> =
            rows.iter().filter(|row| row.state == SegmentState::ErasePending).map(|row| row.key).collect();
        let orphaned = self
            .store
            .list()
            .map(|listing| retention::orphaned_keys(self.xfile.living(), &rows, &listing.segments))
            .unwrap_or_default();
        // Before X ends, its rows and entries say so: a restart must be able to tell erasure from loss.
        self.flush_books();
        if let Some(books) = &mut self.books {
            // Away: then the entries in the spool say it.
            let _ = books.write_index();
        }
        let dropped = self.xfile.drop_keys(&pending).and_then(|_| self.xfile.drop_keys(&orphaned));
        match dropped.and_then(|_| self.xfile.rekey()) {
            Ok(rekeyed) => {
                self.erasure.next_rekey = now + self.erasure.rekey_every;
                let after = match self.erasure.failure.take() {
                    Some(why) => format!("; it failed before ({why})"),
                    None => String::new(),
                };
                let text = format!(
                    "generation {}, {} carried, {} erased, {} slots{after}",
                    rekeyed.generation,
                    rekeyed.carried,
                    rekeyed.erased.len(),
                    self.xfile.slots()
                );
                self.record(EntryType::Rekeyed, None, &text);
                for key in &rekeyed.damaged {
                    self.alarm(
                        EntryType::StoreGap,
                        Some(key.0),
                        &format!("X of epoch {} is damaged; it opens no more", key.1),
                    );
                }
                self.unlink_erased(&pending);
            }
            Err(error) => {
                self.erasure.root_store_lost |= error.is_root_store_lost();
                self.rekey_failed(now, error.in_short(), &error.to_string());
            }
        }
    }

    /// X of these is gone: the entries first, durable, then the files.
    pub(super) fn unlink_erased(&mut self, keys: &[SegmentKey]) {
        for key in keys {
            let Some(segment) = self.index.segment(*key).filter(|segment| !segment.entered) else { continue };
            let (used, from, until) = (segment.used, segment.row.starts, segment.row.ends);
            let cause = segment.cause.unwrap_or(if used { "retention" } else { "never used" });
            let how = if segment.cause.is_some() { "" } else { "; completed at start" };
            if used {
                self.book_erased(key.0, from, until, cause);
            }
            self.record(EntryType::Erased, Some(key.0), &format!("epoch {}: {cause}{how}", key.1));
            self.index.erasure_entered(*key);
        }
        self.flush_books();
        if let Err(error) = self.store.unlink_all(keys) {
            self.alarm(EntryType::StoreGap, None, &format!("erased segments could not be unlinked: {error}"));
            // They are found again, as pending, by the next re-key.
            keys.iter().for_each(|key| self.index.set_state(*key, SegmentState::ErasePending));
            return;
        }
        for key in keys {
            self.index.set_state(*key, SegmentState::Erased);
            self.book_state(*key, SegmentState::Erased);
        }
    }

    /// Files whose head is damaged say no time themselves: the file system's does.
    fn erase_damaged(&mut self) {
        let Some(rules) = self.rules() else { return };
        if self.clock.monotonic() < self.erasure.doubt_until {
            return;
        }
        let now = self.clock.utc();
        let over = |key: &SegmentKey| {
            self.store.length(key.0, key.1).is_ok_and(|(_, written)| written + rules.of(key.0) <= now)
        };
        let over: Vec<SegmentKey> = self.index.damaged.iter().copied().filter(over).collect();
        for key in over {
            let gone = self.xfile.drop_keys(&[key]).map_err(|e| e.to_string());
            if let Err(error) = gone.and_then(|_| self.store.unlink(key.0, key.1).map_err(|e| e.to_string())) {
                self.alarm(EntryType::StoreGap, Some(key.0), &format!("erasure could not begin: {error}"));
                continue;
            }
            self.index.damaged.retain(|damaged| *damaged != key);
            self.book_state(key, SegmentState::ErasePending);
            let text = format!("epoch {}: retention, of a damaged file; its X ends with the next re-key", key.1);
            self.record(EntryType::ErasurePending, Some(key.0), &text);
        }
    }
}
