//! Which segments go, and in which order their parts go.
//!
//! The planner is pure: rows, rules, holds, free bytes and the time go in, a [`Plan`] comes out. The executor is two
//! calls, because X is gone for good only at the next re-key of its file (DESIGN §3.7):
//! ```text
//!  begin:  row → erase_pending;  X marked as dropped (durable; handed out no more)
//!  finish: X file re-keyed;  segment file unlinked (durable);  row → erased
//! ```
//! A crash anywhere leaves the row at *pending*, and `finish` does all of it again: each step is idempotent.
//!
//! What does not belong: ledger entries (the caller writes them from what these calls return), who may set retention.
//! Invariants: the segment being recorded never goes; a held segment never goes; nothing goes by time while the clock
//! is in doubt; a segment file is unlinked only after its X is gone, so *erased* never depends on the disk forgetting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peri_domain::limits::DISK_RESERVE_BYTES;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};

use crate::fsck::IndexView;
use crate::root::RootStore;
use crate::segments::{SegmentError, SegmentFile, SegmentKey, SegmentStore};
use crate::xfile::{KeyDir, Rekeyed, XFile, XFileError};

/// Life of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentState {
    /// Being recorded, or prepared.
    Open,
    /// Complete, or cut by a crash and closed.
    Closed,
    /// X is dropped; the next re-key ends it.
    ErasePending,
    /// X is gone, then the file.
    Erased,
}

/// What the index knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Camera and epoch.
    pub key: SegmentKey,
    /// Start of the epoch.
    pub starts: UtcNanos,
    /// End of the epoch; of an open one the latest end that it may have.
    pub ends: UtcNanos,
    /// Length of the file as far as known.
    pub bytes: u64,
    /// State.
    pub state: SegmentState,
    /// Hash of the epoch record.
    pub record_hash: Hash,
    /// Commitment to X from the epoch record.
    pub commit_x: Hash,
}

/// How long segments stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// For cameras without a rule of their own.
    pub retention: Duration,
    /// Per camera.
    pub per_camera: BTreeMap<CameraId, Duration>,
}

impl Rules {
    /// Time that a camera's segments stay, from the end of the epoch. No picture therefore outlives retention by more
    /// than an epoch (15 min) and the wait for the re-key (1 h).
    #[must_use]
    pub fn of(&self, camera: CameraId) -> Duration {
        self.per_camera.get(&camera).copied().unwrap_or(self.retention)
    }

    /// Whether a segment is past its time.
    #[must_use]
    pub fn expired(&self, row: &SegmentRow, now: UtcNanos) -> bool {
        row.ends + self.of(row.key.0) <= now
    }
}

/// A span of one camera that must not be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Camera.
    pub camera: CameraId,
    /// First instant held.
    pub from: UtcNanos,
    /// First instant not held.
    pub until: UtcNanos,
}

impl Hold {
    pub(crate) fn covers(&self, row: &SegmentRow) -> bool {
        self.camera == row.key.0 && row.starts < self.until && self.from < row.ends
    }
}

/// Room on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free now.
    pub free: u64,
    /// Below this, the oldest segments go early.
    pub reserve: u64,
    /// Once they go, they go until this is free: each early erasure costs a re-key, so not one by one.
    pub target: u64,
}

impl Space {
    /// With the reserve of [`DISK_RESERVE_BYTES`], and a quarter more as target.
    #[must_use]
    pub const fn with_default_reserve(free: u64) -> Self {
        Self { free, reserve: DISK_RESERVE_BYTES, target: DISK_RESERVE_BYTES + DISK_RESERVE_BYTES / 4 }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Past their time: [`begin`] these; they end at the hourly re-key.
    pub expired: Vec<SegmentKey>,
    /// Not past their time, but the disk is full: [`begin`] and [`finish`] these at once, with entry and alarm. Oldest
    /// first.
    pub early: Vec<SegmentKey>,
    /// Begun before, not finished.
    pub pending: Vec<SegmentKey>,
    /// Bytes below the reserve even when all of this is done. Above zero: nothing more may go, recording is lost (disk
    /// full).
    pub shortfall: u64,
}

/// Plans. `now` is `None` while the clock is in doubt (it jumped, or is behind the ledger): then nothing expires, since
/// a clock a year ahead would erase everything; a full disk still takes the oldest by their own order.
#[must_use]
pub fn plan(rows: &[SegmentRow], now: Option<UtcNanos>, rules: &Rules, holds: &[Hold], space: Space) -> Plan {
    let mut plan = Plan::default();
    let mut will_be_free = space.free;
    let mut candidates = Vec::new();
    for row in rows {
        match row.state {
            SegmentState::Open | SegmentState::Erased => {}
            SegmentState::ErasePending => {
                plan.pending.push(row.key);
                will_be_free = will_be_free.saturating_add(row.bytes);
            }
            SegmentState::Closed if holds.iter().any(|hold| hold.covers(row)) => {}
            SegmentState::Closed if now.is_some_and(|now| rules.expired(row, now)) => {
                plan.expired.push(row.key);
                will_be_free = will_be_free.saturating_add(row.bytes);
            }
            SegmentState::Closed => candidates.push(row),
        }
    }
    if will_be_free < space.reserve {
        candidates.sort_by_key(|row| (row.ends, row.key));
        for row in candidates {
            if will_be_free >= space.target {
                break;
            }
            plan.early.push(row.key);
            will_be_free = will_be_free.saturating_add(row.bytes);
        }
    }
    plan.shortfall = space.reserve.saturating_sub(will_be_free);
    plan
}

/// X that no segment will ever use: drawn ahead for an epoch that was skipped (a restart, a failed draw), or left behind
/// by an erasure that was cut. An X counts as orphaned when neither a living row nor a file has its epoch and its camera
/// has gone on to a later one. Files are asked too, because rows may lag while the database is away.
#[must_use]
pub fn orphaned_keys(
    living: impl Iterator<Item = SegmentKey>,
    rows: &[SegmentRow],
    files: &[SegmentFile],
) -> Vec<SegmentKey> {
    let mut used: BTreeSet<_> = files.iter().map(|file| file.key).collect();
    let mut latest = BTreeMap::<CameraId, EpochNo>::new();
    used.extend(rows.iter().filter(|row| row.state != SegmentState::Erased).map(|row| row.key));
    for (camera, epoch) in used.iter().copied().chain(rows.iter().map(|row| row.key)) {
        let entry = latest.entry(camera).or_insert(epoch);
        *entry = (*entry).max(epoch);
    }
    living.filter(|key| !used.contains(key) && latest.get(&key.0).is_some_and(|latest| key.1 < *latest)).collect()
}

/// Why an erasure did not go through. What was asked stays *pending*; repeat [`finish`].
#[derive(Debug, thiserror::Error)]
pub enum ErasureError<E: std::error::Error + 'static> {
    /// The index.
    #[error("erasure: the index did not take the new state: {0}")]
    Index(#[source] E),
    /// The X file.
    #[error("erasure: {0}")]
    XFile(#[from] XFileError),
    /// The segment files.
    #[error("erasure: {0}")]
    Segments(#[from] SegmentError),
}

/// What [`finish`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Segments that exist no more.
    pub erased: Vec<SegmentKey>,
    /// The re-key that ended their X.
    pub rekeyed: Rekeyed,
}

/// First half: rows become *pending* and X is marked as dropped.
///
/// # Errors
/// [`ErasureError`]; then repeat, or go on with [`finish`], which does both again.
pub fn begin<D: KeyDir, R: RootStore, I: IndexView>(
    xfile: &mut XFile<D, R>,
    index: &mut I,
    victims: &[SegmentKey],
) -> Result<(), ErasureError<I::Error>> {
    if victims.is_empty() {
        return Ok(());
    }
    index.set_state(victims, SegmentState::ErasePending).map_err(ErasureError::Index)?;
    xfile.drop_keys(victims)?;
    Ok(())
}

/// Second half, at the hourly re-key or at once: all of `pending` ends. Re-keys also when there is nothing pending, so
/// that X dropped for other reasons end on time.
///
/// # Errors
/// [`ErasureError`]. No segment file goes unless the re-key that ends its X went through.
pub fn finish<D: KeyDir, R: RootStore, I: IndexView>(
    xfile: &mut XFile<D, R>,
    store: &SegmentStore,
    index: &mut I,
    pending: &[SegmentKey],
) -> Result<Finished, ErasureError<I::Error>> {
    xfile.drop_keys(pending)?;
    let rekeyed = xfile.rekey()?;
    store.unlink_all(pending)?;
    if !pending.is_empty() {
        index.set_state(pending, SegmentState::Erased).map_err(ErasureError::Index)?;
    }
    Ok(Finished { erased: pending.to_vec(), rekeyed })
}

#[cfg(test)]
mod tests;
