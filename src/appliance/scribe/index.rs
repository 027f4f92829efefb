//! What scribe knows of the segments without asking the database: made from the files at start, kept up as it runs.
//!
//! The files are the truth, so retention, erasure and the numbers of epochs work while PostgreSQL is away. What does not
//! belong: where key pictures lie (database), how time is accounted (books).

use crate::message::Progress;
use peri_access::wire::CameraHealth;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_seal::record::EpochRecord;
use peri_seal::scan;
use peri_store::fsck::{self, Replayed};
use peri_store::retention::{SegmentRow, SegmentState};
use peri_store::segments::{SegmentError, SegmentKey, SegmentStore};
use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

/// An open segment without progress for so long after its end is closed by scribe.
const ORPHANED_AFTER: Duration = Duration::from_secs(60);

/// A segment in memory.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) row: SegmentRow,
    pub(super) head_len: u64,
    /// Whether a fragment is known to lie in it.
    pub(super) used: bool,
    /// Whether this run of scribe saw it opened or written.
    fresh: bool,
}

#[derive(Debug, Default)]
struct CameraState {
    recorded_until: Option<UtcNanos>,
    lost: Option<String>,
    running: Option<EpochNo>,
    last_epoch: u64,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    segments: BTreeMap<SegmentKey, Segment>,
    cameras: BTreeMap<CameraId, CameraState>,
    /// Files whose head cannot be read; `fsck` names them.
    pub(super) unreadable: usize,
}

impl Index {
    /// Reads the head of every segment file.
    pub(super) fn from_files(store: &SegmentStore) -> Result<Self, SegmentError> {
        let mut index = Self::default();
        for file in store.list()?.segments {
            let (camera, epoch) = file.key;
            let state = index.cameras.entry(camera).or_default();
            state.last_epoch = state.last_epoch.max(epoch.0);
            let head = store.open_read(camera, epoch).ok().and_then(|fd| scan::read_head(&File::from(fd)).ok());
            let Some(head) = head.filter(|head| head.record.context.epoch == epoch) else {
                index.unreadable += 1;
                continue;
            };
            let row = row_of(file.key, &head.record, file.bytes, SegmentState::Open);
            let head_len = head.len as u64;
            let used = file.bytes > head_len;
            index.segments.insert(file.key, Segment { row, head_len, used, fresh: false });
        }
        Ok(index)
    }

    /// Whether an X was drawn or a file made under a number before: the highest decides.
    pub(super) fn note_epoch(&mut self, (camera, epoch): SegmentKey) {
        let state = self.cameras.entry(camera).or_default();
        state.last_epoch = state.last_epoch.max(epoch.0);
    }

    /// The next number; each is used once, whatever becomes of it.
    pub(super) fn next_epoch(&mut self, camera: CameraId) -> EpochNo {
        let state = self.cameras.entry(camera).or_default();
        state.last_epoch += 1;
        EpochNo(state.last_epoch)
    }

    pub(super) fn opened(&mut self, camera: CameraId, record: &EpochRecord, head_len: u64) {
        let key = (camera, record.context.epoch);
        let row = row_of(key, record, head_len, SegmentState::Open);
        self.segments.insert(key, Segment { row, head_len, used: false, fresh: true });
    }

    pub(super) fn remove(&mut self, key: SegmentKey) {
        self.segments.remove(&key);
    }

    /// Takes progress; returns the cause if the camera was lost until now.
    pub(super) fn progress(&mut self, camera: CameraId, progress: &Progress) -> Option<String> {
        if let Some(segment) = self.segments.get_mut(&(camera, progress.epoch)) {
            segment.row.bytes = segment.row.bytes.max(progress.bytes);
            segment.used = true;
            segment.fresh = true;
        }
        let state = self.cameras.entry(camera).or_default();
        state.running = (!progress.closed).then_some(progress.epoch);
        // The final fragment of an epoch in which nothing came is no picture: the camera stays lost.
        if progress.from >= progress.until {
            return None;
        }
        state.recorded_until = Some(progress.until);
        state.lost.take()
    }

    /// Notes a loss; `true` when it is news.
    pub(super) fn lost(&mut self, camera: CameraId, cause: &str) -> bool {
        let state = self.cameras.entry(camera).or_default();
        let news = state.lost.as_deref() != Some(cause);
        state.lost = Some(cause.to_owned());
        news
    }

    pub(super) fn set_state(&mut self, key: SegmentKey, new: SegmentState) {
        if let Some(segment) = self.segments.get_mut(&key) {
            segment.row.state = segment.row.state.max(new);
        }
        if new == SegmentState::Erased {
            self.segments.remove(&key);
        }
    }

    pub(super) fn segment(&self, key: SegmentKey) -> Option<&Segment> {
        self.segments.get(&key)
    }

    /// The epoch that is being recorded.
    pub(super) fn running(&self, camera: CameraId) -> Option<EpochNo> {
        self.cameras.get(&camera).and_then(|state| state.running)
    }

    pub(super) fn rows(&self) -> Vec<SegmentRow> {
        self.segments.values().map(|segment| segment.row.clone()).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = SegmentKey> + '_ {
        self.segments.keys().copied()
    }

    /// Segments with pictures that may lie in a span, each with the end of its pictures: its signed end, or where the next
    /// one began. In order of time.
    pub(super) fn between(&self, camera: CameraId, from: UtcNanos, until: UtcNanos) -> Vec<(&Segment, UtcNanos)> {
        let all = (camera, EpochNo(0))..=(camera, EpochNo(u64::MAX));
        let used: Vec<&Segment> = self.segments.range(all).map(|(_, segment)| segment).filter(|s| s.used).collect();
        let ends = used.iter().enumerate().map(|(at, segment)| {
            used.get(at + 1).map_or(segment.row.ends, |next| segment.row.ends.min(next.row.starts))
        });
        let spans = used.iter().copied().zip(ends);
        spans.filter(|(segment, ends)| segment.row.starts < until && *ends > from).collect()
    }

    /// Compares with the rows of the database: what is closed there is closed; returns what the rows lack.
    pub(super) fn compare(&mut self, rows: &[SegmentRow], now: UtcNanos) -> (Vec<SegmentRow>, Vec<SegmentKey>) {
        let known: BTreeMap<SegmentKey, SegmentState> = rows.iter().map(|row| (row.key, row.state)).collect();
        let (mut missing, mut to_scan) = (Vec::new(), Vec::new());
        for (key, segment) in &mut self.segments {
            match known.get(key) {
                Some(SegmentState::Closed) => segment.row.state = segment.row.state.max(SegmentState::Closed),
                Some(SegmentState::Open) if segment.used && segment.row.ends <= now => to_scan.push(*key),
                Some(_) => {}
                None => {
                    missing.push(segment.row.clone());
                    if segment.used && segment.row.ends <= now {
                        to_scan.push(*key);
                    }
                }
            }
        }
        (missing, to_scan)
    }

    /// The last segment of each camera that has pictures, as it was found at start: its end may be ahead of the account.
    pub(super) fn unfinished(&self) -> Vec<SegmentKey> {
        let mut last: BTreeMap<CameraId, SegmentKey> = BTreeMap::new();
        for (key, segment) in &self.segments {
            if segment.used {
                last.insert(key.0, *key);
            }
        }
        last.into_values().collect()
    }

    /// Open segments that nobody writes any more.
    pub(super) fn orphaned(&self, now: UtcNanos) -> Vec<SegmentKey> {
        let over = |segment: &Segment| {
            segment.row.state == SegmentState::Open
                && segment.row.ends + ORPHANED_AFTER <= now
                && self.cameras.get(&segment.row.key.0).and_then(|c| c.running) != Some(segment.row.key.1)
        };
        self.segments.values().filter(|segment| over(segment)).map(|segment| segment.row.key).collect()
    }

    /// Takes what a scan of the file says.
    pub(super) fn take_scan(&mut self, replayed: &Replayed) {
        if let Some(segment) = self.segments.get_mut(&replayed.row.key) {
            segment.row = replayed.row.clone();
            segment.used = replayed.pictures.is_some();
        }
    }

    pub(super) fn health(&self) -> Vec<CameraHealth> {
        self.cameras
            .iter()
            .map(|(camera, state)| CameraHealth {
                camera: *camera,
                recorded_until: state.recorded_until,
                lost: state.lost.clone().unwrap_or_default(),
                epoch: state.running,
            })
            .collect()
    }
}

/// Reads a whole segment file.
pub(super) fn scan_file(store: &SegmentStore, (camera, epoch): SegmentKey) -> Option<Replayed> {
    let fd = store.open_read(camera, epoch).ok()?;
    fsck::read_segment(&File::from(fd)).ok().map(|(replayed, _)| replayed)
}

fn row_of(key: SegmentKey, record: &EpochRecord, bytes: u64, state: SegmentState) -> SegmentRow {
    let record_hash: Hash = record.hash();
    let context = &record.context;
    SegmentRow {
        key,
        starts: context.starts,
        ends: context.ends,
        bytes,
        state,
        record_hash,
        commit_x: context.commit_x,
    }
}
