//! fsck against real segment files and an index in memory.

use super::*;
use crate::segments::tests::scratch;
use peri_domain::{EpochNo, MediaDuration, VmId};
use peri_seal::sealer::{FragmentMeta, Sealer, begin};
use peri_seal::segment::{FragmentKind, encode_head};
use peri_seal::{ContentKey, EpochContext, EpochRecord, EpochSecret, SigningKey, XSecret, rng};
use std::convert::Infallible;
use std::io::Write;

/// The index of a test.
#[derive(Default)]
pub(crate) struct MemoryIndex {
    pub(crate) rows: BTreeMap<SegmentKey, SegmentRow>,
    pub(crate) replayed: Vec<Replayed>,
    /// Spans that coverage explains.
    pub(crate) explained: Vec<(CameraId, UtcNanos, UtcNanos)>,
}

impl IndexView for MemoryIndex {
    type Error = Infallible;

    fn rows(&mut self) -> Result<Vec<SegmentRow>, Infallible> {
        Ok(self.rows.values().cloned().collect())
    }

    fn set_state(&mut self, keys: &[SegmentKey], state: SegmentState) -> Result<(), Infallible> {
        for key in keys {
            if let Some(row) = self.rows.get_mut(key) {
                row.state = row.state.max(state);
            }
        }
        Ok(())
    }

    fn replay(&mut self, replayed: &Replayed) -> Result<(), Infallible> {
        self.rows.insert(replayed.row.key, replayed.row.clone());
        self.replayed.push(replayed.clone());
        Ok(())
    }

    fn unexplained(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos) -> Result<Duration, Infallible> {
        let known = self.explained.iter().any(|(c, f, u)| *c == camera && *f <= from && until <= *u);
        Ok(if known { Duration::ZERO } else { until.saturating_since(from) })
    }
}

pub(crate) fn key(camera: u8, epoch: u64) -> SegmentKey {
    (CameraId([camera; 16]), EpochNo(epoch))
}

/// Epochs of the tests last 60 s from 1,000,000 s on.
pub(crate) fn start_of(epoch: u64) -> UtcNanos {
    UtcNanos::from_secs(1_000_000 + i64::try_from(epoch).unwrap() * 60)
}

/// Writes a segment with an init fragment and a media fragment every second, the first and each tenth with a key
/// picture. Returns its row.
pub(crate) fn write_segment(
    store: &SegmentStore,
    key: SegmentKey,
    x: &XSecret,
    seconds: u8,
    finish: bool,
) -> SegmentRow {
    let mut rng = rng::system();
    let starts = start_of(key.1.0);
    let context = EpochContext {
        suite: peri_seal::SUITE,
        vm: VmId([1; 16]),
        camera: key.0,
        epoch: key.1,
        starts,
        ends: starts + Duration::from_secs(60),
        roster_head: Hash([4; 32]),
        roster_len: 3,
        commit_e: EpochSecret::generate(&mut rng).commit(),
        commit_x: x.commit(),
        commit_k: Hash([5; 32]),
        threshold: 1,
        seats: 1,
    };
    let record = EpochRecord::sign(context, &[], &SigningKey::generate(&mut rng)).unwrap();
    let mut bytes = encode_head(&record, &[]).unwrap();
    let mut sealer = Sealer::new(ContentKey::from_bytes([7; 32]), record.hash(), 1, 0).unwrap();
    for n in 0..=seconds {
        let (kind, duration) = if n == 0 { (FragmentKind::Init, 0) } else { (FragmentKind::Media, MediaDuration::HZ) };
        let meta = FragmentMeta {
            kind,
            key: n % 10 == 1,
            last: finish && n == seconds,
            start: starts + Duration::from_secs(u64::from(n.saturating_sub(1))),
            duration: MediaDuration(duration),
        };
        let place = begin(&mut bytes);
        bytes.extend_from_slice(&[n; 500]);
        sealer.seal_in_place(meta, &mut bytes, place).unwrap();
    }
    File::from(store.create(key.0, key.1).unwrap()).write_all(&bytes).unwrap();
    SegmentRow {
        key,
        starts,
        ends: starts + Duration::from_secs(60),
        bytes: bytes.len() as u64,
        state: SegmentState::Closed,
        record_hash: record.hash(),
        commit_x: x.commit(),
    }
}

fn site() -> (tempfile::TempDir, SegmentStore, MemoryIndex) {
    let (root, store) = scratch();
    let mut index = MemoryIndex::default();
    for (camera, epoch) in [(1, 1), (1, 2), (2, 1)] {
        let x = XSecret::generate(&mut rng::system());
        let row = write_segment(&store, key(camera, epoch), &x, 60, true);
        index.rows.insert(row.key, row);
    }
    (root, store, index)
}

fn path(root: &tempfile::TempDir, key: SegmentKey) -> std::path::PathBuf {
    root.path().join(format!("store/{}/{:020}.seg", key.0, key.1.0))
}

#[test]
fn a_sound_store_has_no_problems() {
    let (_root, store, mut index) = site();
    let report = fsck(&store, &mut index, false).unwrap();
    assert_eq!((report.segments, report.problems.as_slice()), (3, [].as_slice()));
    assert!(report.is_clean() && report.good_bytes > 3 * 61 * 500);
}

#[test]
fn a_row_lost_with_the_database_is_replayed_from_the_file() {
    let (_root, store, mut index) = site();
    let row = index.rows.remove(&key(1, 2)).unwrap();
    index.rows.get_mut(&key(2, 1)).unwrap().bytes -= 1;
    let report = fsck(&store, &mut index, false).unwrap();
    assert_eq!(report.problems, [Problem::OrphanFile(key(1, 2)), Problem::RowDiffers(key(2, 1), "the length")]);
    assert!(!report.is_clean() && index.replayed.is_empty(), "without repair nothing changes");
    let report = fsck(&store, &mut index, true).unwrap();
    assert_eq!((report.problems.len(), report.repaired.len()), (0, 2));
    assert_eq!(index.rows[&key(1, 2)], row);
    let replayed = &index.replayed[0];
    assert_eq!((replayed.next_counter, replayed.run, replayed.finished), (61, 1, true));
    assert_eq!(replayed.key_pictures.len(), 6);
    assert_eq!(replayed.pictures, Some((start_of(2), start_of(3))));
    assert!(fsck(&store, &mut index, true).unwrap().repaired.is_empty(), "repair is done once");
}

#[test]
fn a_power_cut_is_told_from_damage() {
    let (root, store, mut index) = site();
    let torn = path(&root, key(1, 2));
    let len = std::fs::metadata(&torn).unwrap().len();
    File::options().write(true).open(&torn).unwrap().set_len(len - 100).unwrap();
    let report = fsck(&store, &mut index, true).unwrap();
    assert!(matches!(report.problems[..], [Problem::TornTail(k, at)] if k == key(1, 2) && at == len - 552));
    assert!(report.is_clean(), "a torn tail is no damage");
    assert_eq!(report.repaired, [Problem::RowDiffers(key(1, 2), "the length")]);
    assert_eq!(
        index.rows[&key(1, 2)].ends,
        start_of(3) - Duration::from_secs(1),
        "retention counts from the last picture"
    );

    let mut bytes = std::fs::read(path(&root, key(2, 1))).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path(&root, key(2, 1)), bytes).unwrap();
    let report = fsck(&store, &mut index, false).unwrap();
    assert!(!report.is_clean());
    assert!(report.problems.iter().any(|p| matches!(p, Problem::Corrupt(k, ..) if *k == key(2, 1))));
}

#[test]
fn an_open_segment_may_end_anywhere() {
    let (root, store, mut index) = site();
    index.rows.get_mut(&key(1, 2)).unwrap().state = SegmentState::Open;
    let file = path(&root, key(1, 2));
    let len = std::fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).unwrap().set_len(len - 10).unwrap();
    assert_eq!(fsck(&store, &mut index, false).unwrap().problems, []);
}

#[test]
fn missing_moved_foreign_and_unreadable_files_are_named() {
    let (root, store, mut index) = site();
    std::fs::remove_file(path(&root, key(1, 1))).unwrap();
    std::fs::rename(path(&root, key(2, 1)), path(&root, key(2, 9))).unwrap();
    std::fs::write(path(&root, key(1, 5)), b"no segment at all, but long enough").unwrap();
    std::fs::write(root.path().join("store/notes"), b"").unwrap();
    let report = fsck(&store, &mut index, true).unwrap();
    let has = |wanted: &Problem| report.problems.contains(wanted);
    assert!(has(&Problem::MissingFile(key(1, 1))) && has(&Problem::MissingFile(key(2, 1))));
    assert!(has(&Problem::WrongPlace(key(2, 9), key(2, 1))) && has(&Problem::Stranger("notes".into())));
    assert!(report.problems.iter().any(|p| matches!(p, Problem::BadHead(k, _) if *k == key(1, 5))));
    assert!(report.repaired.is_empty() && !report.is_clean());
    assert!(path(&root, key(1, 5)).exists(), "repair never removes what it does not understand");
}

#[test]
fn a_file_that_outlived_its_erasure_is_unlinked_by_repair_only() {
    let (root, store, mut index) = site();
    index.rows.get_mut(&key(1, 1)).unwrap().state = SegmentState::Erased;
    let report = fsck(&store, &mut index, false).unwrap();
    assert_eq!(report.problems, [Problem::ErasedFileLeft(key(1, 1))]);
    assert!(path(&root, key(1, 1)).exists());
    let report = fsck(&store, &mut index, true).unwrap();
    assert_eq!(report.repaired, [Problem::ErasedFileLeft(key(1, 1))]);
    assert!(!path(&root, key(1, 1)).exists());
    assert_eq!(fsck(&store, &mut index, false).unwrap().problems, []);
}

#[test]
fn a_gap_without_a_cause_is_reported_and_one_with_a_cause_is_not() {
    let (_root, store, mut index) = site();
    let x = XSecret::generate(&mut rng::system());
    let row = write_segment(&store, key(1, 5), &x, 60, true);
    index.rows.insert(row.key, row);
    let camera = CameraId([1; 16]);
    let report = fsck(&store, &mut index, false).unwrap();
    assert_eq!(report.problems, [Problem::Gap(camera, start_of(3), start_of(5))]);
    index.explained.push((camera, start_of(3), start_of(5)));
    assert!(fsck(&store, &mut index, false).unwrap().is_clean());
}

#[test]
fn the_end_of_a_file_tells_whether_it_is_complete() {
    let (root, store) = scratch();
    let (whole, cut) = (key(1, 1), key(1, 2));
    for key in [whole, cut] {
        write_segment(&store, key, &XSecret::from_bytes([9; 32]), 3, false);
    }
    let path = |key: SegmentKey| root.path().join(format!("store/{}/{:020}.seg", key.0, key.1.0));
    let read = |key: SegmentKey| {
        let file = File::open(path(key)).unwrap();
        let head = peri_seal::scan::read_head(&file).unwrap();
        let len = file.metadata().unwrap().len();
        (final_fragment(&file, head.len as u64, len).unwrap(), head)
    };
    let (found, head) = read(whole);
    assert_eq!(found, None, "pictures at the end are no final fragment");
    let mut end = Vec::new();
    let mut sealer = Sealer::new(ContentKey::from_bytes([7; 32]), head.record.hash(), 1, 4).unwrap();
    let meta = FragmentMeta {
        kind: FragmentKind::Media,
        key: false,
        last: true,
        start: start_of(1),
        duration: MediaDuration(0),
    };
    let place = begin(&mut end);
    sealer.seal_in_place(meta, &mut end, place).unwrap();
    assert_eq!(end.len(), OVERHEAD);
    std::fs::OpenOptions::new().append(true).open(path(whole)).unwrap().write_all(&end).unwrap();
    assert_eq!(read(whole).0.map(|header| header.counter), Some(4));
    let (replayed, _) = read_segment(&File::open(path(whole)).unwrap()).unwrap();
    assert!(replayed.finished && replayed.next_counter == 5, "the whole file says the same");
    for at in 0..end.len() {
        let mut bad = end.clone();
        bad[at] ^= 1;
        let before = std::fs::metadata(path(cut)).unwrap().len();
        std::fs::OpenOptions::new().append(true).open(path(cut)).unwrap().write_all(&bad).unwrap();
        assert_eq!(read(cut).0, None, "byte {at}");
        std::fs::OpenOptions::new().write(true).open(path(cut)).unwrap().set_len(before).unwrap();
    }
}
