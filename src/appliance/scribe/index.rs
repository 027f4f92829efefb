//! What scribe knows of the segments without asking the database: made from the files at start, kept up as it runs.
//!
//! The files are the truth, so retention, erasure and the numbers of epochs work while PostgreSQL is away. What does not
//! belong: where key pictures lie (database), how time is accounted (books). Invariant: `bytes` of a segment are durable:
//! its recorder said so, or they were synced here before they were counted; playback and export end there.

use crate::message::Progress;
use peri_access::wire::CameraHealth;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_sandbox::durable::sync_data;
use peri_seal::record::EpochRecord;
use peri_seal::scan;
use peri_seal::segment::HeadError;
use peri_store::fsck::{self, Replayed};
use peri_store::index::SegmentTail;
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
    /// Counter of the last fragment, as far as known.
    counter: u64,
    /// Whether this run of scribe saw it opened: its row is on the way.
    opened: bool,
    /// Whether this run of scribe saw it written.
    fresh: bool,
    /// Why it is being erased, once that began.
    pub(super) cause: Option<&'static str>,
    /// Whether its erasure is entered, although the file could not be unlinked yet.
    pub(super) entered: bool,
}

/// A file whose head cannot be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headless {
    pub(super) key: SegmentKey,
    /// The head was never written whole: keeper hands nothing out before it is, so there are no pictures either.
    pub(super) unused: bool,
}

/// Where index and rows differ.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// No row that lives.
    pub(super) missing: Vec<SegmentKey>,
    /// The row is open, the file is finished.
    pub(super) finished: Vec<SegmentKey>,
    /// The row is closed at another length than the file.
    pub(super) differing: Vec<SegmentKey>,
    /// No file.
    pub(super) without_file: Vec<SegmentRow>,
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
    headless: Vec<Headless>,
    /// Files whose head is damaged; `fsck` names them.
    pub(super) damaged: Vec<SegmentKey>,
}

impl Index {
    /// Reads the head and the end of every segment file. What does not end with its final fragment counts as open.
    pub(super) fn from_files(store: &SegmentStore) -> Result<Self, SegmentError> {
        let mut index = Self::default();
        for file in store.list()?.segments {
            let (camera, epoch) = file.key;
            let state = index.cameras.entry(camera).or_default();
            state.last_epoch = state.last_epoch.max(epoch.0);
            match read_ends(store, file.key) {
                Ok(segment) => drop(index.segments.insert(file.key, segment)),
                Err(unused) => index.headless.push(Headless { key: file.key, unused }),
            }
        }
        Ok(index)
    }

    pub(super) fn take_headless(&mut self) -> Vec<Headless> {
        std::mem::take(&mut self.headless)
    }

    /// Takes a segment in that was not known: whether its file says that it is one.
    pub(super) fn adopt(&mut self, store: &SegmentStore, key: SegmentKey) -> bool {
        let segment = read_ends(store, key);
        segment.is_ok_and(|segment| {
            self.note_epoch(key);
            self.segments.entry(key).or_insert(segment);
            true
        })
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
        let segment = Segment::new(row, head_len);
        self.segments.insert(key, Segment { opened: true, fresh: true, ..segment });
    }

    pub(super) fn remove(&mut self, key: SegmentKey) {
        self.segments.remove(&key);
    }

    /// Takes progress; returns the cause if the camera was lost until now.
    pub(super) fn progress(&mut self, camera: CameraId, progress: &Progress) -> Option<String> {
        if let Some(segment) = self.segments.get_mut(&(camera, progress.epoch)) {
            segment.row.bytes = segment.row.bytes.max(progress.bytes);
            segment.counter = segment.counter.max(progress.counter);
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

    /// Notes that an erasure begins, and why.
    pub(super) fn begin_erasure(&mut self, key: SegmentKey, cause: &'static str) {
        self.set_state(key, SegmentState::ErasePending);
        if let Some(segment) = self.segments.get_mut(&key) {
            segment.cause = Some(cause);
        }
    }

    pub(super) fn erasure_entered(&mut self, key: SegmentKey) {
        if let Some(segment) = self.segments.get_mut(&key) {
            segment.entered = true;
        }
    }

    /// How far a segment is, and its signed end.
    pub(super) fn tail(&self, key: SegmentKey) -> Option<(SegmentTail, UtcNanos)> {
        let segment = self.segments.get(&key)?;
        let tail = SegmentTail { key, bytes: segment.row.bytes, last_counter: segment.counter };
        Some((tail, segment.row.ends))
    }

    /// Nobody writes into this camera's segments any more.
    pub(super) fn stopped(&mut self, camera: CameraId) {
        if let Some(state) = self.cameras.get_mut(&camera) {
            state.running = None;
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

    /// Compares with the rows of the database that are not erased. Segments that were closed there without their final
    /// fragment are closed here too.
    pub(super) fn compare(&mut self, rows: &[SegmentRow], now: UtcNanos) -> Compared {
        let mut compared = Compared::default();
        let mut known: BTreeMap<SegmentKey, &SegmentRow> = rows.iter().map(|row| (row.key, row)).collect();
        for (key, segment) in &mut self.segments {
            let Some(row) = known.remove(key) else {
                if !segment.opened {
                    compared.missing.push(*key);
                }
                continue;
            };
            match (row.state, segment.row.state) {
                (SegmentState::Open, SegmentState::Closed) if !segment.fresh => compared.finished.push(*key),
                (SegmentState::Closed, SegmentState::Closed) if !segment.fresh && row.bytes != segment.row.bytes => {
                    compared.differing.push(*key);
                }
                (SegmentState::Closed, SegmentState::Open) if !segment.fresh && segment.row.ends <= now => {
                    segment.row.state = SegmentState::Closed;
                    segment.row.ends = row.ends;
                }
                _ => {}
            }
        }
        compared.without_file = known.into_values().cloned().collect();
        compared
    }

    /// Segments with pictures, by camera, in order.
    pub(super) fn used(&self) -> BTreeMap<CameraId, Vec<Segment>> {
        let mut used = BTreeMap::<CameraId, Vec<Segment>>::new();
        for (key, segment) in self.segments.iter().filter(|(_, segment)| segment.used) {
            used.entry(key.0).or_default().push(segment.clone());
        }
        used
    }

    /// An open segment that nobody writes any more.
    pub(super) fn orphaned(&self, now: UtcNanos) -> Option<SegmentKey> {
        let over = |segment: &Segment| {
            segment.row.state == SegmentState::Open
                && segment.row.ends + ORPHANED_AFTER <= now
                && self.cameras.get(&segment.row.key.0).and_then(|c| c.running) != Some(segment.row.key.1)
        };
        self.segments.values().find(|segment| over(segment)).map(|segment| segment.row.key)
    }

    /// Takes what a scan of the file says.
    pub(super) fn take_scan(&mut self, replayed: &Replayed) {
        if let Some(segment) = self.segments.get_mut(&replayed.row.key) {
            segment.row = replayed.row.clone();
            segment.used = replayed.pictures.is_some();
            segment.counter = replayed.next_counter.saturating_sub(1);
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

impl Segment {
    fn new(row: SegmentRow, head_len: u64) -> Self {
        Self { row, head_len, used: false, counter: 0, opened: false, fresh: false, cause: None, entered: false }
    }

    /// Of ten seconds, from a second on; with pictures.
    #[cfg(test)]
    pub(super) fn of(key: SegmentKey, starts: i64, state: SegmentState) -> Self {
        let (starts, ends) = (UtcNanos::from_secs(starts), UtcNanos::from_secs(starts + 10));
        let (record_hash, commit_x) = (Hash([0; 32]), Hash([0; 32]));
        let row = SegmentRow { key, starts, ends, bytes: 1_000, state, record_hash, commit_x };
        Self { used: true, ..Self::new(row, 100) }
    }
}

/// Reads head and end of a segment file; on failure says whether it was never used.
fn read_ends(store: &SegmentStore, key: SegmentKey) -> Result<Segment, bool> {
    let file = File::from(store.open_read(key.0, key.1).map_err(|_| false)?);
    let len = file.metadata().map_err(|_| false)?.len();
    let head = scan::read_head(&file).map_err(|error| match error {
        HeadError::Incomplete { .. } => true,
        // The length came to the disk, the bytes did not.
        HeadError::Magic { found } => found == [0; 8],
        _ => false,
    })?;
    if (head.record.context.camera, head.record.context.epoch) != key {
        return Err(false);
    }
    let head_len = head.len as u64;
    let end = fsck::final_fragment(&file, head_len, len).map_err(|_| false)?;
    let state = if end.is_some() { SegmentState::Closed } else { SegmentState::Open };
    if end.is_none() {
        // No report of its recorder vouches for what it wrote last.
        sync_data(&file).map_err(|_| false)?;
    }
    let segment = Segment::new(row_of(key, &head.record, len, state), head_len);
    Ok(Segment { used: len > head_len, counter: end.map_or(0, |end| end.counter), ..segment })
}

/// The record of a segment.
pub(super) fn read_record(store: &SegmentStore, key: SegmentKey) -> Option<EpochRecord> {
    let fd = store.open_read(key.0, key.1).ok()?;
    scan::read_head(&File::from(fd)).ok().map(|head| head.record)
}

/// Reads a whole segment file.
pub(super) fn scan_file(store: &SegmentStore, (camera, epoch): SegmentKey) -> Option<Replayed> {
    let file = File::from(store.open_read(camera, epoch).ok()?);
    let (replayed, _) = fsck::read_segment(&file).ok()?;
    sync_data(&file).ok().map(|()| replayed)
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

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: CameraId = CameraId([1; 16]);

    fn key(epoch: u64) -> SegmentKey {
        (CAMERA, EpochNo(epoch))
    }

    fn index(states: &[(u64, SegmentState)]) -> Index {
        let segment = |(epoch, state): &(u64, SegmentState)| Segment::of(key(*epoch), *epoch as i64 * 10, *state);
        let segments = states.iter().map(|of| (key(of.0), segment(of))).collect();
        Index { segments, ..Index::default() }
    }

    #[test]
    fn rows_are_compared_with_files_each_way() {
        use SegmentState::{Closed, Open};
        let mut index = index(&[(1, Closed), (2, Closed), (3, Closed), (4, Open), (5, Open), (6, Open)]);
        if let Some(fresh) = index.segments.get_mut(&key(6)) {
            fresh.opened = true;
        }
        let row = |epoch, state, bytes| SegmentRow { bytes, ..Segment::of(key(epoch), epoch as i64 * 10, state).row };
        let rows = [
            row(2, Open, 1_000),
            row(3, Closed, 999),
            SegmentRow { ends: UtcNanos::from_secs(45), ..row(4, Closed, 1_000) },
            row(5, Closed, 1_000),
            row(9, Open, 1_000),
        ];
        // Second 55: epoch 4 is over, epoch 5 may still be written, whatever the row says.
        let compared = index.compare(&rows, UtcNanos::from_secs(55));
        assert_eq!(compared.missing, [key(1)], "the row of epoch 6 is on its way");
        assert_eq!(compared.finished, [key(2)]);
        assert_eq!(compared.differing, [key(3)]);
        assert_eq!(compared.without_file.iter().map(|row| row.key).collect::<Vec<_>>(), [key(9)]);
        let state = |epoch| index.segments[&key(epoch)].row.state;
        assert_eq!((state(4), index.segments[&key(4)].row.ends), (Closed, UtcNanos::from_secs(45)));
        assert_eq!(state(5), Open);
    }

    #[test]
    fn a_segment_without_its_final_fragment_is_an_orphan_a_while_after_its_end_unless_it_is_being_written() {
        let mut index = index(&[(1, SegmentState::Closed), (2, SegmentState::Open)]);
        let over = UtcNanos::from_secs(30) + ORPHANED_AFTER;
        assert_eq!(index.orphaned(UtcNanos(over.0 - 1)), None);
        assert_eq!(index.orphaned(over), Some(key(2)));
        index.cameras.entry(CAMERA).or_default().running = Some(EpochNo(2));
        assert_eq!(index.orphaned(over), None);
        index.stopped(CAMERA);
        assert_eq!(index.orphaned(over), Some(key(2)));
        index.set_state(key(2), SegmentState::Closed);
        assert_eq!(index.orphaned(over), None);
    }
}
