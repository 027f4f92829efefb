//! What scribe does after a start or an outage to bring index, rows and account in line with the files: file by file, a
//! little in each turn, because a store is read in hours and epochs are asked for in seconds.
//!
//! Heads and ends of files are read at once ([`super::index`]); what needs a whole file waits in a queue. Until the last
//! run of a camera is accounted for, new reports about it are held back, so that its account stays in order.
//!
//! What does not belong: what is erased and when (`erasure`), the checks of `fsck`. Invariants: no row is closed while
//! its recorder may still write; no file goes unless its X does not live *and* its erasure is on record, or it was
//! never used.

use super::index::{self, Headless};
use super::{EpochDetail, Scribe, salt};
use peri_domain::{CameraId, UtcNanos};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_store::coverage::Coverage;
use peri_store::fsck::Replayed;
use peri_store::retention::{SegmentRow, SegmentState};
use peri_store::segments::SegmentKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Files are read for so long in one turn; one that takes longer is the only one of its turn.
const READ_FOR: Duration = Duration::from_millis(50);
/// Segments of one camera that a stopped scribe may have missed: the running one, and those that ended meanwhile.
const LAST_RUN_MAX: usize = 4;
/// Reports held back per camera: one every two seconds for half an hour.
const HELD_MAX: usize = 1_000;
/// Without a database that says which segments were closed before, they are closed after so long.
const ROWS_PATIENCE: Duration = Duration::from_secs(600);

/// Why a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its pictures may lie behind the end of the account.
    LastRun,
    /// Its row is missing, or differs.
    Row,
    /// Its recorder finished it while scribe was not there.
    Finished,
    /// Its recorder is gone and did not finish it.
    Orphan,
}

/// A report about a camera, held back.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    from: UtcNanos,
    until: UtcNanos,
    state: Coverage,
    cause: String,
}

pub(super) struct Recovery {
    queue: VecDeque<(SegmentKey, Why)>,
    held: BTreeMap<CameraId, Vec<Report>>,
    /// X that the opening of the key file found dropped and ended.
    ended: BTreeSet<SegmentKey>,
    /// Segments with pictures and without X; whether they were erased only the database knows.
    doubtful: Vec<SegmentKey>,
    rows_seen: bool,
    started: Duration,
}

impl Recovery {
    pub(super) fn new(ended: impl IntoIterator<Item = SegmentKey>, now: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            ended: ended.into_iter().collect(),
            doubtful: Vec::new(),
            rows_seen: false,
            started: now,
        }
    }

    pub(super) fn holds(&self, camera: CameraId) -> bool {
        self.held.contains_key(&camera)
    }

    /// Reads the segments of a camera that reach behind the end of its account, the last few of them, and holds back what is
    /// reported meanwhile.
    fn queue_last_run(&mut self, camera: CameraId, segments: &[index::Segment], end: Option<UtcNanos>) {
        let behind = segments.iter().filter(|segment| end.is_none_or(|end| segment.row.ends > end));
        let mut keys: Vec<_> = behind.map(|segment| segment.row.key).collect();
        keys.drain(..keys.len().saturating_sub(LAST_RUN_MAX));
        if !keys.is_empty() {
            self.held.entry(camera).or_default();
            self.queue.extend(keys.into_iter().map(|key| (key, Why::LastRun)));
        }
    }

    /// Holds a report back, or gives it back to be taken now. What is too much to be held shows as not accounted for.
    fn hold(&mut self, camera: CameraId, report: Report) -> Option<Report> {
        let Some(held) = self.held.get_mut(&camera) else { return Some(report) };
        if held.len() < HELD_MAX {
            held.push(report);
        }
        None
    }

    /// What was held back, once nothing of the camera's last run is left to be read.
    fn release(&mut self, camera: CameraId) -> Vec<Report> {
        if self.queue.iter().any(|(next, why)| next.0 == camera && *why == Why::LastRun) {
            return Vec::new();
        }
        self.held.remove(&camera).unwrap_or_default()
    }

    /// Whether segments without their final fragment may be closed: the rows say which were before, or there are none to wait
    /// for any longer.
    fn may_close_orphans(&self, now: Duration) -> bool {
        self.rows_seen || now.saturating_sub(self.started) >= ROWS_PATIENCE
    }
}

impl Scribe {
    /// As soon as the books are open: completes what was cut, and queues what must be read.
    pub(super) fn recover(&mut self) {
        self.finish_interrupted_erasures();
        self.look_at_headless();
        self.queue_last_run();
        self.compare_rows();
    }

    /// A turn's reading.
    pub(super) fn read_files(&mut self) {
        let began = self.clock.monotonic();
        while let Some((key, why)) = self.next_file(began) {
            let replayed = index::scan_file(&self.store, key);
            match why {
                Why::LastRun => self.account_for(key, replayed.as_ref()),
                Why::Row | Why::Finished => {
                    if let Some(replayed) = &replayed {
                        self.book_scan(replayed);
                    }
                    if why == Why::Finished {
                        self.record(EntryType::SegmentClosed, Some(key.0), &format!("epoch {}", key.1));
                    }
                }
                Why::Orphan => self.close_orphan(key, replayed.as_ref()),
            }
            if self.clock.monotonic().saturating_sub(began) >= READ_FOR {
                return;
            }
        }
    }

    fn next_file(&mut self, now: Duration) -> Option<(SegmentKey, Why)> {
        if let Some(next) = self.recovery.queue.pop_front() {
            return Some(next);
        }
        let orphan = self.recovery.may_close_orphans(now).then(|| self.index.orphaned(self.clock.utc())).flatten();
        orphan.map(|key| (key, Why::Orphan))
    }

    /// The account is written every ten seconds; what lies behind its end was recorded all the same.
    fn queue_last_run(&mut self) {
        for (camera, segments) in self.index.used() {
            let end = self.books.as_mut().and_then(|books| books.accounted_until(camera));
            self.recovery.queue_last_run(camera, &segments, end);
        }
    }

    fn account_for(&mut self, key: SegmentKey, replayed: Option<&Replayed>) {
        if let Some(replayed) = replayed {
            if let Some((from, until)) = replayed.pictures {
                self.cover_now(key.0, from, until, Coverage::Recorded, "");
            }
            if replayed.finished {
                self.book_scan(replayed);
            }
        }
        for report in self.recovery.release(key.0) {
            self.cover_now(key.0, report.from, report.until, report.state, &report.cause);
        }
    }

    /// Segments whose recorder died for good: the file says how far they go.
    fn close_orphan(&mut self, key: SegmentKey, replayed: Option<&Replayed>) {
        let finished = replayed.is_some_and(|replayed| replayed.finished);
        match replayed {
            Some(replayed) => {
                self.index.take_scan(replayed);
                self.book_scan(replayed);
            }
            None => self.index.set_state(key, SegmentState::Closed),
        }
        let how = if finished { "" } else { ": closed without its final fragment" };
        self.record(EntryType::SegmentClosed, Some(key.0), &format!("epoch {}{how}", key.1));
    }

    /// What a scan of a file says goes into its row, unless its recorder may still write.
    fn book_scan(&mut self, replayed: &Replayed) {
        let key = replayed.row.key;
        let may_grow = |segment: &index::Segment| segment.row.ends > self.clock.utc();
        if !replayed.finished
            && (self.index.running(key.0) == Some(key.1) || self.index.segment(key).is_some_and(may_grow))
        {
            return;
        }
        if let Some(books) = &mut self.books {
            books.scanned(replayed.clone());
        }
    }

    /// A camera's time was this; in order, so behind what its last run still has to tell.
    pub(super) fn cover(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, state: Coverage, cause: &str) {
        let report = Report { from, until, state, cause: cause.to_owned() };
        if let Some(report) = self.recovery.hold(camera, report) {
            self.cover_now(camera, report.from, report.until, report.state, &report.cause);
        }
    }

    fn cover_now(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, state: Coverage, cause: &str) {
        if let Some(books) = &mut self.books {
            books.cover(camera, from, until, state, cause);
        }
    }

    /// Everything that waited for the database was too much for memory: all files are read again.
    pub(super) fn replay_index(&mut self) {
        let waiting: BTreeSet<SegmentKey> = self.recovery.queue.iter().map(|(key, _)| *key).collect();
        let keys: Vec<_> = self.index.keys().filter(|key| !waiting.contains(key)).collect();
        self.recovery.queue.extend(keys.into_iter().map(|key| (key, Why::Row)));
    }

    pub(super) fn read_again(&mut self, keys: &[SegmentKey]) {
        self.recovery.queue.extend(keys.iter().map(|key| (*key, Why::Row)));
    }

    /// What a restart left: files whose X is gone are unlinked, with their entries.
    fn finish_interrupted_erasures(&mut self) {
        let living: BTreeSet<SegmentKey> = self.xfile.living().collect();
        living.iter().for_each(|key| self.index.note_epoch(*key));
        let dead: Vec<SegmentKey> = self.index.keys().filter(|key| !living.contains(key)).collect();
        let sure = |key: &SegmentKey| {
            self.recovery.ended.contains(key) || self.index.segment(*key).is_some_and(|segment| !segment.used)
        };
        let (sure, doubtful): (Vec<_>, Vec<_>) = dead.into_iter().partition(sure);
        self.recovery.doubtful = doubtful;
        if !sure.is_empty() {
            self.unlink_erased(&sure);
        }
    }

    /// Files without a readable head. One that was prepared and never used goes; a damaged one is evidence and stays
    /// until its time is over by the file system's clock ([`Scribe::erase_damaged`]).
    fn look_at_headless(&mut self) {
        for Headless { key, unused } in self.index.take_headless() {
            // Keeper may have written the head since.
            if self.index.adopt(&self.store, key) {
                continue;
            }
            if !unused {
                self.index.damaged.push(key);
                let text = format!("the head of epoch {}'s file cannot be read; run `peri-appliance fsck`", key.1);
                self.alarm(EntryType::StoreGap, Some(key.0), &text);
                continue;
            }
            let gone = self.xfile.drop_keys(&[key]).map_err(|e| e.to_string());
            let text = match gone.and_then(|_| self.store.unlink(key.0, key.1).map_err(|e| e.to_string())) {
                Ok(_) => {
                    self.book_state(key, SegmentState::Erased);
                    self.record(EntryType::Erased, Some(key.0), &format!("epoch {}: prepared and never used", key.1));
                    continue;
                }
                Err(error) => format!("the unused file of epoch {} could not be removed: {error}", key.1),
            };
            self.alarm(EntryType::StoreGap, Some(key.0), &text);
        }
    }

    /// Compares index and rows, once the database answers: rows that waited in the memory of a scribe that died are made
    /// again, rows of files that are gone end.
    pub(super) fn compare_rows(&mut self) {
        if self.recovery.rows_seen {
            return;
        }
        let Some(books) = &mut self.books else { return };
        let Ok(rows) = books.rows() else { return };
        let now = self.clock.utc();
        let compared = self.index.compare(&rows, now);
        let mut missing = Vec::new();
        for key in compared.missing {
            match books.row(key) {
                Ok(None) => missing.push(key),
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
        let mut erased = Vec::new();
        let mut lost = Vec::new();
        for key in std::mem::take(&mut self.recovery.doubtful) {
            match books.row(key).map(|row| row.map(|row| row.state)) {
                Ok(Some(SegmentState::ErasePending | SegmentState::Erased)) => erased.push(key),
                Ok(_) => lost.push(key),
                Err(_) => {
                    self.recovery.doubtful.push(key);
                    return;
                }
            }
        }
        self.recovery.rows_seen = true;
        let queued: BTreeSet<SegmentKey> = self.recovery.queue.iter().map(|(key, _)| *key).collect();
        let fresh = |key: &SegmentKey| !queued.contains(key);
        self.recovery.queue.extend(compared.finished.into_iter().map(|key| (key, Why::Finished)));
        self.recovery.queue.extend(compared.differing.into_iter().filter(fresh).map(|key| (key, Why::Row)));
        if !erased.is_empty() {
            self.unlink_erased(&erased);
        }
        for key in lost {
            let text = format!("X of epoch {} is gone, and no erasure is on record: its pictures open no more", key.1);
            self.alarm(EntryType::StoreGap, Some(key.0), &text);
        }
        for key in missing {
            self.enter_opened_again(key);
        }
        self.end_rows_without_file(&compared.without_file);
    }

    /// The row, and the entry, that a scribe had in memory when it died.
    fn enter_opened_again(&mut self, key: SegmentKey) {
        let Some(row) = self.index.segment(key).map(|segment| segment.row.clone()) else { return };
        let Some(record) = index::read_record(&self.store, key) else { return };
        let event = peri_ledger::Event::new(EntryType::EpochOpened, self.clock.utc())
            .with_digest(record.hash())
            .with_detail(salt(), &EpochDetail { camera: key.0, record: record.to_bytes().into() });
        self.enter(event);
        let closed = row.state == SegmentState::Closed;
        if let Some(books) = &mut self.books {
            books.segment_opened(SegmentRow { state: SegmentState::Open, ..row });
        }
        if closed {
            self.recovery.queue.push_back((key, Why::Finished));
        }
    }

    fn end_rows_without_file(&mut self, rows: &[SegmentRow]) {
        let living: BTreeSet<SegmentKey> = self.xfile.living().collect();
        for row in rows {
            let (camera, epoch) = row.key;
            if living.contains(&row.key) || self.index.damaged.contains(&row.key) {
                continue;
            }
            self.book_state(row.key, SegmentState::Erased);
            if row.state == SegmentState::ErasePending {
                self.book_erased(camera, row.starts, row.ends, "retention");
                self.record(EntryType::Erased, Some(camera), &format!("epoch {epoch}: completed at start"));
            } else {
                self.book_erased(camera, row.starts, row.ends, "file gone");
                self.record(EntryType::Erased, Some(camera), &format!("epoch {epoch}: erased at start: file gone"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::EpochNo;

    const CAMERA: CameraId = CameraId([1; 16]);
    const OTHER: CameraId = CameraId([2; 16]);

    fn report(at: i64) -> Report {
        Report { from: UtcNanos(at), until: UtcNanos(at + 1), state: Coverage::Lost, cause: "test".into() }
    }

    /// Epochs 1 to 6, each ten seconds long.
    fn segments() -> Vec<index::Segment> {
        (1..=6)
            .map(|epoch| index::Segment::of((CAMERA, EpochNo(epoch)), epoch as i64 * 10, SegmentState::Open))
            .collect()
    }

    fn queued(recovery: &Recovery) -> Vec<u64> {
        recovery.queue.iter().map(|(key, _)| key.1.0).collect()
    }

    #[test]
    fn what_lies_behind_the_end_of_the_account_is_read_and_no_more_than_a_few() {
        let begun = |end| {
            let mut recovery = Recovery::new([], Duration::ZERO);
            recovery.queue_last_run(CAMERA, &segments(), end);
            (queued(&recovery), recovery.holds(CAMERA))
        };
        // Epoch 5 ends at second 60: an account until then leaves only the last.
        assert_eq!(begun(Some(UtcNanos::from_secs(60))), (vec![6], true));
        assert_eq!(begun(Some(UtcNanos(UtcNanos::from_secs(60).0 - 1))), (vec![5, 6], true));
        assert_eq!(begun(Some(UtcNanos::from_secs(70))), (vec![], false), "nothing to wait for");
        assert_eq!(begun(None), (vec![3, 4, 5, 6], true), "the last few alone");
    }

    #[test]
    fn reports_wait_for_the_last_run_of_their_camera_in_order_and_of_no_other() {
        let mut recovery = Recovery::new([], Duration::ZERO);
        recovery.queue_last_run(CAMERA, &segments(), Some(UtcNanos::from_secs(60)));
        recovery.queue.push_back(((OTHER, EpochNo(9)), Why::LastRun));
        assert_eq!(recovery.hold(OTHER, report(1)), Some(report(1)), "not held back: taken at once");
        for at in 0..HELD_MAX as i64 + 5 {
            assert_eq!(recovery.hold(CAMERA, report(at)), None);
        }
        assert_eq!(recovery.release(CAMERA), [], "its file is not read yet");
        recovery.queue.pop_front();
        recovery.queue.push_back(((CAMERA, EpochNo(1)), Why::Row));
        let released = recovery.release(CAMERA);
        assert_eq!(released.len(), HELD_MAX);
        assert!(released.iter().zip(0..).all(|(held, at)| *held == report(at)), "in the order they came");
        assert!(!recovery.holds(CAMERA));
        assert_eq!(recovery.hold(CAMERA, report(3)), Some(report(3)));
    }

    #[test]
    fn unfinished_segments_are_closed_when_the_rows_are_known_or_too_long_away() {
        let start = Duration::from_secs(50);
        let mut recovery = Recovery::new([], start);
        assert!(!recovery.may_close_orphans(start + ROWS_PATIENCE - Duration::from_millis(1)));
        assert!(recovery.may_close_orphans(start + ROWS_PATIENCE));
        recovery.rows_seen = true;
        assert!(recovery.may_close_orphans(start));
    }
}
