//! The index of segments in the database: which file covers which time, how far it goes, where its groups of pictures
//! begin; and how it is made again from the files.
//!
//! Truth is in the files and the ledger: a lost index costs a scan, never a picture. What does not belong: the files
//! themselves (`segments`), when to erase (`retention`). Invariant: a segment's state only goes up ([`SegmentState`]),
//! in the database function and so for everybody.

use crate::coverage::Coverage;
use crate::db::{Db, DbError, from_db, to_db};
use crate::fsck::{IndexView, Replayed};
use crate::retention::{SegmentRow, SegmentState};
use crate::segments::SegmentKey;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use postgres::Row;
use std::time::Duration;

/// Rows fetched at once.
const PAGE: i32 = 4096;

/// How far a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentTail {
    /// Camera and epoch.
    pub key: SegmentKey,
    /// Bytes on disk.
    pub bytes: u64,
    /// Counter of the last fragment; 0 before the first.
    pub last_counter: u64,
}

/// Where a group of pictures begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gop {
    /// Byte in the segment file, of the fragment that holds the key frame.
    pub offset: u64,
    /// Time of the key frame.
    pub starts: UtcNanos,
}

/// A group of pictures with the segment it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GopRow {
    /// Camera.
    pub camera: CameraId,
    /// Epoch.
    pub epoch: EpochNo,
    /// Where.
    pub gop: Gop,
}

impl Db {
    /// A segment begins; its state is taken as open, its end as the latest it may have. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_opened(&mut self, row: &SegmentRow) -> Result<(), DbError> {
        self.call(
            "SELECT peri_api.segment_opened($1, $2, $3, $4, $5, $6, $7)",
            &[
                &row.key.0.as_bytes().as_slice(),
                &to_db(row.key.1.0),
                &row.starts.0,
                &row.ends.0,
                &to_db(row.bytes),
                &row.record_hash.as_bytes().as_slice(),
                &row.commit_x.as_bytes().as_slice(),
            ],
        )?;
        Ok(())
    }

    /// How far the open segments are, all in one transaction. Those that are not open are left alone, and nothing goes
    /// backwards.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_tails(&mut self, tails: &[SegmentTail]) -> Result<(), DbError> {
        if tails.is_empty() {
            return Ok(());
        }
        let (cameras, epochs) = columns(tails.iter().map(|t| &t.key));
        let bytes: Vec<i64> = tails.iter().map(|t| to_db(t.bytes)).collect();
        let counters: Vec<i64> = tails.iter().map(|t| to_db(t.last_counter)).collect();
        self.call("SELECT peri_api.segment_tails($1, $2, $3, $4)", &[&cameras, &epochs, &bytes, &counters])?;
        Ok(())
    }

    /// An open segment ended at this time, with this tail; whether it was open.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_closed(&mut self, tail: &SegmentTail, ends: UtcNanos) -> Result<bool, DbError> {
        let rows = self.call(
            "SELECT peri_api.segment_closed($1, $2, $3, $4, $5)",
            &[
                &tail.key.0.as_bytes().as_slice(),
                &to_db(tail.key.1.0),
                &ends.0,
                &to_db(tail.bytes),
                &to_db(tail.last_counter),
            ],
        )?;
        Ok(rows[0].get(0))
    }

    /// Moves segments up in their life, in one transaction; how many moved (those did not that are there already, above,
    /// or unknown).
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segments_mark(&mut self, keys: &[SegmentKey], state: SegmentState) -> Result<u64, DbError> {
        let (cameras, epochs) = columns(keys.iter());
        from_db(self.call("SELECT peri_api.segments_mark($1, $2, $3)", &[&cameras, &epochs, &code(state)])?[0].get(0))
    }

    /// Segments of a camera that may hold pictures between two times, open ones included, oldest first; all states.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segments_between(
        &mut self,
        camera: CameraId,
        from: UtcNanos,
        until: UtcNanos,
    ) -> Result<Vec<SegmentRow>, DbError> {
        let camera = camera.as_bytes().as_slice();
        parse_all(&self.call("SELECT * FROM peri_api.segments_between($1, $2, $3)", &[&camera, &from.0, &until.0])?)
    }

    /// One segment.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment(&mut self, key: SegmentKey) -> Result<Option<SegmentRow>, DbError> {
        let rows = self.segment_one(key)?;
        Ok(parse_all(&rows)?.pop())
    }

    /// How far one segment is, as far as the index knows.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_tail(&mut self, key: SegmentKey) -> Result<Option<SegmentTail>, DbError> {
        let rows = self.segment_one(key)?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(SegmentTail {
            key,
            bytes: from_db(row.get("bytes"))?,
            last_counter: from_db(row.get("last_counter"))?,
        }))
    }

    fn segment_one(&mut self, key: SegmentKey) -> Result<Vec<Row>, DbError> {
        let camera = key.0.as_bytes().as_slice();
        self.call("SELECT * FROM peri_api.segment_one($1, $2)", &[&camera, &to_db(key.1.0)])
    }

    /// Segments in one state that ended before a time, oldest first, of all cameras, at most `limit`: what retention
    /// (closed, before its edge), a full disk (closed, before now) and the re-key (pending) ask for.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segments_in(
        &mut self,
        state: SegmentState,
        ended_before: UtcNanos,
        limit: u32,
    ) -> Result<Vec<SegmentRow>, DbError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        parse_all(
            &self.call("SELECT * FROM peri_api.segments_in($1, $2, $3)", &[&code(state), &ended_before.0, &limit])?,
        )
    }

    /// The highest epoch of a camera that the index knows.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn last_epoch(&mut self, camera: CameraId) -> Result<Option<EpochNo>, DbError> {
        let camera = camera.as_bytes().as_slice();
        let epoch: Option<i64> = self.call("SELECT peri_api.last_epoch($1)", &[&camera])?[0].get(0);
        epoch.map(|epoch| from_db(epoch).map(EpochNo)).transpose()
    }

    /// Adds groups of pictures, all in one transaction; known ones, and those of unknown or erased segments, are left
    /// out.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn gops_add(&mut self, gops: &[(SegmentKey, Gop)]) -> Result<(), DbError> {
        if gops.is_empty() {
            return Ok(());
        }
        let (cameras, epochs) = columns(gops.iter().map(|(key, _)| key));
        let offsets: Vec<i64> = gops.iter().map(|(_, gop)| to_db(gop.offset)).collect();
        let starts: Vec<i64> = gops.iter().map(|(_, gop)| gop.starts.0).collect();
        self.call("SELECT peri_api.gops_add($1, $2, $3, $4)", &[&cameras, &epochs, &offsets, &starts])?;
        Ok(())
    }

    /// The groups of pictures of a segment, in file order.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn gops(&mut self, key: SegmentKey) -> Result<Vec<Gop>, DbError> {
        let camera = key.0.as_bytes().as_slice();
        let rows = self.call("SELECT * FROM peri_api.gops($1, $2)", &[&camera, &to_db(key.1.0)])?;
        rows.iter().map(|row| Ok(Gop { offset: from_db(row.get(0))?, starts: UtcNanos(row.get(1)) })).collect()
    }
}

impl IndexView for Db {
    type Error = DbError;

    fn rows(&mut self) -> Result<Vec<SegmentRow>, DbError> {
        let mut all: Vec<SegmentRow> = Vec::new();
        loop {
            let (camera, epoch) = all.last().map_or((CameraId([0; 16]), EpochNo(0)), |row| row.key);
            let camera = camera.as_bytes().as_slice();
            let rows =
                self.call("SELECT * FROM peri_api.segments_after($1, $2, $3)", &[&camera, &to_db(epoch.0), &PAGE])?;
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(parse_all(&rows)?);
        }
    }

    fn set_state(&mut self, keys: &[SegmentKey], state: SegmentState) -> Result<(), DbError> {
        self.segments_mark(keys, state).map(drop)
    }

    fn replay(&mut self, replayed: &Replayed) -> Result<(), DbError> {
        let row = &replayed.row;
        self.call(
            "SELECT peri_api.segment_put($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &row.key.0.as_bytes().as_slice(),
                &to_db(row.key.1.0),
                &row.starts.0,
                &row.ends.0,
                &to_db(row.bytes),
                &to_db(replayed.next_counter.saturating_sub(1)),
                &row.record_hash.as_bytes().as_slice(),
                &row.commit_x.as_bytes().as_slice(),
            ],
        )?;
        let gop = |(offset, starts): &(u64, UtcNanos)| (row.key, Gop { offset: *offset, starts: *starts });
        self.gops_add(&replayed.key_pictures.iter().map(gop).collect::<Vec<_>>())
    }

    fn unexplained(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos) -> Result<Duration, DbError> {
        let spans = self.coverage_between(camera, from, until)?;
        let explained = spans.iter().filter(|span| span.state != Coverage::Recorded);
        let explained: Duration = explained.map(|s| s.ends.min(until).saturating_since(s.starts.max(from))).sum();
        Ok(until.saturating_since(from).saturating_sub(explained))
    }
}

/// The two columns of the keys.
fn columns<'a>(keys: impl Iterator<Item = &'a SegmentKey>) -> (Vec<&'a [u8]>, Vec<i64>) {
    keys.map(|(camera, epoch)| (camera.as_bytes().as_slice(), to_db(epoch.0))).unzip()
}

/// The schema's code of a state; higher is later in life.
const fn code(state: SegmentState) -> i16 {
    match state {
        SegmentState::Open => 0,
        SegmentState::Closed => 1,
        SegmentState::ErasePending => 2,
        SegmentState::Erased => 3,
    }
}

fn parse_all(rows: &[Row]) -> Result<Vec<SegmentRow>, DbError> {
    rows.iter().map(|row| parse(row).ok_or(DbError::Row("segment"))).collect()
}

fn parse(row: &Row) -> Option<SegmentRow> {
    let number = |column: &str| u64::try_from(row.get::<_, i64>(column)).ok();
    let state = row.get::<_, i16>("state");
    let states = [SegmentState::Open, SegmentState::Closed, SegmentState::ErasePending, SegmentState::Erased];
    Some(SegmentRow {
        key: (CameraId::from_slice(row.get("camera"))?, EpochNo(number("epoch")?)),
        starts: UtcNanos(row.get("starts")),
        ends: UtcNanos(row.get("ends")),
        bytes: number("bytes")?,
        state: states.into_iter().find(|known| code(*known) == state)?,
        record_hash: Hash::from_slice(row.get("record_hash"))?,
        commit_x: Hash::from_slice(row.get("commit_x"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Book;
    use crate::testdb::TestDb;

    const CAMERA: CameraId = CameraId([1; 16]);

    fn key(epoch: u64) -> SegmentKey {
        (CAMERA, EpochNo(epoch))
    }

    /// Epochs of 100 ns: the first from 100 to 200.
    fn row(epoch: u64) -> SegmentRow {
        let starts = UtcNanos(100 * epoch as i64);
        SegmentRow {
            key: key(epoch),
            starts,
            ends: starts + Duration::from_nanos(100),
            bytes: 10,
            state: SegmentState::Open,
            record_hash: Hash([2; 32]),
            commit_x: Hash([3; 32]),
        }
    }

    fn tail(epoch: u64, bytes: u64) -> SegmentTail {
        SegmentTail { key: key(epoch), bytes, last_counter: bytes / 10 }
    }

    fn gop(epoch: u64, offset: u64, starts: i64) -> (SegmentKey, Gop) {
        (key(epoch), Gop { offset, starts: UtcNanos(starts) })
    }

    #[test]
    fn a_segment_lives_upwards_only() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        db.segment_opened(&row(1)).unwrap();
        db.segment_opened(&SegmentRow { starts: UtcNanos(150), ..row(1) }).unwrap();
        db.segment_tails(&[tail(1, 500), tail(7, 1)]).unwrap();
        db.segment_tails(&[tail(1, 400)]).unwrap();
        assert_eq!(db.segment(key(1)).unwrap(), Some(SegmentRow { bytes: 500, ..row(1) }));
        assert_eq!(db.segment_tail(key(1)).unwrap(), Some(tail(1, 500)));
        assert_eq!(db.segment(key(7)).unwrap(), None);

        db.gops_add(&[gop(1, 10, 100), gop(1, 300, 120), gop(1, 10, 100), gop(9, 1, 1)]).unwrap();
        assert_eq!(db.gops(key(1)).unwrap().len(), 2);
        assert!(db.segment_closed(&tail(1, 600), UtcNanos(160)).unwrap());
        assert!(!db.segment_closed(&tail(1, 900), UtcNanos(190)).unwrap());
        db.segment_tails(&[tail(1, 900)]).unwrap();
        let closed = SegmentRow { bytes: 600, ends: UtcNanos(160), state: SegmentState::Closed, ..row(1) };
        assert_eq!(db.segment(key(1)).unwrap(), Some(closed));

        assert_eq!(db.segments_mark(&[key(1), key(8)], SegmentState::ErasePending).unwrap(), 1);
        assert!(db.gops(key(1)).unwrap().is_empty());
        assert_eq!(db.segments_mark(&[key(1)], SegmentState::Erased).unwrap(), 1);
        assert_eq!(db.segments_mark(&[key(1)], SegmentState::Closed).unwrap(), 0);
        db.gops_add(&[gop(1, 10, 100)]).unwrap();
        assert!(db.gops(key(1)).unwrap().is_empty());
        assert_eq!(db.segments_in(SegmentState::Erased, UtcNanos(i64::MAX), 9).unwrap().len(), 1);
    }

    #[test]
    fn a_span_finds_its_segments_and_retention_the_oldest() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        for epoch in 1..=4 {
            db.segment_opened(&row(epoch)).unwrap();
            if epoch < 4 {
                db.segment_closed(&tail(epoch, 10), row(epoch).ends).unwrap();
            }
        }
        let mut between = |from, until| {
            let rows = db.segments_between(CAMERA, UtcNanos(from), UtcNanos(until)).unwrap();
            rows.into_iter().map(|r| r.key.1.0).collect::<Vec<_>>()
        };
        assert_eq!(between(250, 300), [2]);
        assert_eq!(between(200, 301), [2, 3]);
        assert_eq!(between(450, 500), [4], "an open segment may already hold it");
        assert_eq!(between(0, 100), [0; 0]);
        let old = db.segments_in(SegmentState::Closed, UtcNanos(301), 10).unwrap();
        assert_eq!(old.iter().map(|r| r.key.1.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(db.rows().unwrap().len(), 4);
        assert_eq!(db.last_epoch(CAMERA).unwrap(), Some(EpochNo(4)));
        assert_eq!(db.last_epoch(CameraId([9; 16])).unwrap(), None);
    }

    #[test]
    fn scans_make_the_index_again_and_never_raise_the_erased() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let replayed = Replayed {
            row: SegmentRow { bytes: 700, ends: UtcNanos(590), state: SegmentState::Closed, ..row(5) },
            run: 1,
            next_counter: 4,
            tail: Hash([6; 32]),
            finished: true,
            key_pictures: vec![(4, UtcNanos(501)), (400, UtcNanos(550))],
            pictures: Some((UtcNanos(501), UtcNanos(590))),
        };
        // The index had seen only the beginning when PostgreSQL went away.
        db.segment_opened(&row(5)).unwrap();
        db.gops_add(&[gop(5, 4, 501)]).unwrap();
        for _ in 0..2 {
            db.replay(&replayed).unwrap();
            assert_eq!(db.segment(key(5)).unwrap().as_ref(), Some(&replayed.row));
            assert_eq!(db.segment_tail(key(5)).unwrap().unwrap().last_counter, 3);
            assert_eq!(db.gops(key(5)).unwrap(), [gop(5, 4, 501).1, gop(5, 400, 550).1]);
        }
        db.set_state(&[key(5)], SegmentState::Erased).unwrap();
        db.replay(&replayed).unwrap();
        assert_eq!(db.segment(key(5)).unwrap().unwrap().state, SegmentState::Erased);
        assert!(db.gops(key(5)).unwrap().is_empty());
    }

    #[test]
    fn only_what_no_cause_covers_is_unexplained() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(0));
        book.report(CAMERA, UtcNanos(100), Coverage::Recorded, "");
        book.report(CAMERA, UtcNanos(150), Coverage::Lost, "no answer");
        book.flush(&mut db).unwrap();
        let mut unexplained = |from, until| db.unexplained(CAMERA, UtcNanos(from), UtcNanos(until)).unwrap();
        assert_eq!(unexplained(100, 150), Duration::ZERO);
        assert_eq!(unexplained(90, 150), Duration::from_nanos(10));
        assert_eq!(unexplained(120, 200), Duration::from_nanos(50));
    }
}
