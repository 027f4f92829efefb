//! The planner on paper, and the executor on real files with a failing machine underneath.

use super::*;
use crate::fsck::erased::{GRACE, Hunt, overdue};
use crate::fsck::tests::{MemoryIndex, key, start_of, write_segment};
use crate::root::tpm::tests::Swtpm;
use crate::segments::tests::scratch;
use crate::xfile::disk::DiskKeys;
use peri_sandbox::durable::Dir;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const ROOM: Space = Space { free: 1000, reserve: 100, target: 150 };

fn row(camera: u8, epoch: u64, state: SegmentState) -> SegmentRow {
    SegmentRow {
        key: key(camera, epoch),
        starts: start_of(epoch),
        ends: start_of(epoch + 1),
        bytes: 10,
        state,
        record_hash: Hash([0; 32]),
        commit_x: Hash([epoch as u8; 32]),
    }
}

fn rules() -> Rules {
    Rules { retention: HOUR, per_camera: BTreeMap::new() }
}

#[test]
fn a_segment_expires_when_its_end_is_as_old_as_retention() {
    let rows: Vec<_> = (1..=3).map(|epoch| row(1, epoch, SegmentState::Closed)).collect();
    let at = |now| plan(&rows, Some(now), &rules(), &[], ROOM).expired;
    assert_eq!(at(start_of(3) + HOUR - Duration::from_nanos(1)), [key(1, 1)]);
    assert_eq!(at(start_of(3) + HOUR), [key(1, 1), key(1, 2)]);
    let mut longer = rules();
    longer.per_camera.insert(key(1, 0).0, 2 * HOUR);
    assert!(plan(&rows, Some(start_of(3) + HOUR), &longer, &[], ROOM).expired.is_empty());
}

#[test]
fn nothing_expires_while_the_clock_is_in_doubt() {
    let rows = [row(1, 1, SegmentState::Closed)];
    assert_eq!(plan(&rows, None, &rules(), &[], ROOM), Plan::default());
}

#[test]
fn open_and_held_segments_stay_whatever_happens() {
    let rows = [row(1, 1, SegmentState::Open), row(1, 2, SegmentState::Closed), row(1, 3, SegmentState::Closed)];
    let hold = Hold { camera: key(1, 0).0, from: start_of(3) - Duration::from_secs(1), until: start_of(3) };
    let full = Space { free: 0, reserve: 1000, target: 1000 };
    let plan = plan(&rows, Some(start_of(900)), &rules(), &[hold], full);
    assert_eq!(plan.expired, [key(1, 3)], "only the one that the hold does not touch");
    assert_eq!((plan.early.as_slice(), plan.shortfall), ([].as_slice(), 990));
}

#[test]
fn on_a_full_disk_the_oldest_go_until_the_target_is_free() {
    let rows: Vec<_> = [(2, 4), (1, 1), (2, 2), (1, 3), (1, 5)]
        .map(|(camera, epoch)| row(camera, epoch, SegmentState::Closed))
        .into_iter()
        .chain([row(3, 1, SegmentState::ErasePending), row(3, 0, SegmentState::Erased)])
        .collect();
    let space = |free| Space { free, reserve: 100, target: 120 };
    let early = |free| plan(&rows, Some(start_of(6)), &rules(), &[], space(free));
    assert!(early(90).early.is_empty(), "what is pending is enough");
    assert_eq!(early(85).early, [key(1, 1), key(2, 2), key(1, 3)]);
    assert_eq!(early(85).pending, [key(3, 1)]);
    let hopeless = early(10);
    assert_eq!((hopeless.early.len(), hopeless.shortfall), (5, 30));
    assert_eq!(plan(&rows, None, &rules(), &[], space(85)).early.len(), 3, "the order needs no clock");
}

#[test]
fn an_x_is_orphaned_only_when_nothing_uses_it_and_its_camera_went_on() {
    let rows = [row(1, 5, SegmentState::Open), row(1, 4, SegmentState::Closed), row(1, 2, SegmentState::Erased)];
    let files = [SegmentFile { key: key(1, 3), bytes: 9 }, SegmentFile { key: key(2, 1), bytes: 9 }];
    let living = [key(1, 1), key(1, 2), key(1, 3), key(1, 4), key(1, 5), key(1, 6), key(2, 2), key(3, 1)];
    // 3 has only a file (the database was away), 6 and 2/2 are issued ahead, camera 3 has not begun.
    assert_eq!(orphaned_keys(living.into_iter(), &rows, &files), [key(1, 1), key(1, 2)]);
}

proptest! {
    #[test]
    fn no_plan_touches_open_or_held_or_takes_a_newer_segment_before_an_older(
        states in proptest::collection::vec(0..4_u8, 1..40),
        hold in (0_u64..40, 0_u64..10),
        free in 0_u64..500,
        now in 0_u64..200,
    ) {
        let rows: Vec<_> = (0..).zip(&states).map(|(epoch, state)| row(1, epoch, match state {
            0 => SegmentState::Open,
            1 => SegmentState::Closed,
            2 => SegmentState::ErasePending,
            _ => SegmentState::Erased,
        })).collect();
        let hold = Hold { camera: key(1, 0).0, from: start_of(hold.0), until: start_of(hold.0 + hold.1) };
        let space = Space { free, reserve: 200, target: 250 };
        let plan = plan(&rows, Some(start_of(now)), &rules(), &[hold], space);
        let chosen: BTreeSet<_> = plan.expired.iter().chain(&plan.early).copied().collect();
        for row in &rows {
            if chosen.contains(&row.key) {
                prop_assert!(row.state == SegmentState::Closed && !hold.covers(row));
            } else if let Some(last) = plan.early.last() && row.state == SegmentState::Closed && !hold.covers(row) {
                prop_assert!(row.key > *last, "{:?} is older than {last:?} and stays", row.key);
            }
        }
        if plan.shortfall > 0 {
            let stay = rows.iter().filter(|row| row.state == SegmentState::Closed && !hold.covers(row));
            prop_assert!(stay.into_iter().all(|row| chosen.contains(&row.key)), "short of space with something left");
        }
    }
}

#[test]
fn after_an_erasure_no_x_slot_file_or_copy_holds_what_was_erased() {
    let swtpm = Swtpm::start();
    let (root, store) = scratch();
    std::fs::create_dir(root.path().join("x")).unwrap();
    let keys = DiskKeys::new(Dir::open(&root.path().join("x")).unwrap());
    let (mut xfile, _) = XFile::open(keys, swtpm.nv(), 64).unwrap();
    let mut index = MemoryIndex::default();
    for (camera, epoch) in [(1, 1), (1, 2), (1, 3)] {
        let key = key(camera, epoch);
        let x = xfile.draw(key.0, key.1).unwrap();
        index.rows.insert(key, write_segment(&store, key, &x, 3, true));
    }
    let now = start_of(3) + HOUR;
    let rows: Vec<_> = index.rows.values().cloned().collect();
    let plan = plan(&rows, Some(now), &rules(), &[], ROOM);
    assert_eq!(plan.expired, [key(1, 1), key(1, 2)]);

    begin(&mut xfile, &mut index, &plan.expired).unwrap();
    assert_eq!(index.rows[&key(1, 1)].state, SegmentState::ErasePending);
    assert!(xfile.get(key(1, 1).0, key(1, 1).1).is_err(), "pending is not handed out");
    assert!(store.has(key(1, 1).0, key(1, 1).1).unwrap(), "pending: the file is there until X is gone");
    let suspects = overdue(&rows, now + GRACE, &rules(), &[]);
    assert_eq!(suspects.len(), 2);
    let mut hunt = Hunt::new(&suspects);
    hunt.x_file(&mut xfile).unwrap();
    assert_eq!(hunt.found.len(), 2, "positive control: before the re-key both are found");

    let done = finish(&mut xfile, &store, &mut index, &plan.expired).unwrap();
    assert_eq!((done.erased.len(), done.rekeyed.erased.len(), done.rekeyed.carried), (2, 2, 1));
    assert_eq!(index.rows[&key(1, 2)].state, SegmentState::Erased);
    assert_eq!(store.list().unwrap().segments.len(), 1);
    let mut hunt = Hunt::new(&suspects);
    hunt.x_file(&mut xfile).unwrap();
    hunt.tree(root.path(), &|_| false).unwrap();
    assert!(hunt.is_proved(), "{:?}", hunt.found);
    // The whole of it again changes nothing: what a crash before the last step leads to.
    let again = finish(&mut xfile, &store, &mut index, &plan.expired).unwrap();
    assert_eq!(again.rekeyed.erased, []);
    assert!(xfile.get(key(1, 3).0, key(1, 3).1).is_ok(), "what is not past its time lives");
}

#[test]
fn an_erasure_whose_rekey_fails_stays_pending_and_keeps_the_file() {
    let mut swtpm = Swtpm::start();
    let (root, store) = scratch();
    std::fs::create_dir(root.path().join("x")).unwrap();
    let keys = || DiskKeys::new(Dir::open(&root.path().join("x")).unwrap());
    let (mut xfile, _) = XFile::open(keys(), swtpm.nv(), 64).unwrap();
    let mut index = MemoryIndex::default();
    let x = xfile.draw(key(1, 1).0, key(1, 1).1).unwrap();
    index.rows.insert(key(1, 1), write_segment(&store, key(1, 1), &x, 3, true));
    begin(&mut xfile, &mut index, &[key(1, 1)]).unwrap();
    swtpm.restart(); // the connection is gone
    assert!(matches!(finish(&mut xfile, &store, &mut index, &[key(1, 1)]), Err(ErasureError::XFile(_))));
    assert_eq!(index.rows[&key(1, 1)].state, SegmentState::ErasePending);
    assert!(store.has(key(1, 1).0, key(1, 1).1).unwrap());
    let (mut xfile, opened) = XFile::open(keys(), swtpm.nv(), 64).unwrap();
    assert_eq!(opened.erased, [key(1, 1)], "the mark survived, and opening re-keys");
    finish(&mut xfile, &store, &mut index, &[key(1, 1)]).unwrap();
    assert!(!store.has(key(1, 1).0, key(1, 1).1).unwrap());
}
