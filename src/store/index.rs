//! The index of segments in the database: which file covers which time, how far it goes, where its groups of pictures
//! begin; and how it is made again from the files.
//!
//! Truth is in the files and the ledger: a lost index costs a scan, never a picture. What does not belong: the files
//! themselves (`segments`), when to erase (`retention`). Invariant: a segment's state only goes up ([`SegmentState`]),
//! in the database function and so for everybody.

use crate::db::{Db, DbError, from_db, to_db};
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use postgres::Row;

/// The life of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentState {
    /// Being written, or not closed yet after a crash.
    Open,
    /// Ended by its final flag or by the tail scan.
    Closed,
    /// X is dropped; gone for good after the next re-key.
    ErasePending,
    /// X is gone and the file is unlinked. The row stays, so that the absence of X can be proved by its commitment.
    Erased,
}

impl SegmentState {
    const fn code(self) -> i16 {
        match self {
            Self::Open => 0,
            Self::Closed => 1,
            Self::ErasePending => 2,
            Self::Erased => 3,
        }
    }

    const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Open),
            1 => Some(Self::Closed),
            2 => Some(Self::ErasePending),
            3 => Some(Self::Erased),
            _ => None,
        }
    }
}

/// One row of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    /// Camera.
    pub camera: CameraId,
    /// Epoch, which is also the file.
    pub epoch: EpochNo,
    /// First picture.
    pub starts: UtcNanos,
    /// End of the last picture known here.
    pub ends: UtcNanos,
    /// Bytes known to be on disk.
    pub bytes: u64,
    /// Counter of the last fragment known here.
    pub last_counter: u64,
    /// Where it is in its life.
    pub state: SegmentState,
    /// Hash of the epoch record.
    pub record_hash: Hash,
    /// Commitment to X.
    pub commit_x: Hash,
}

/// How far an open segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentTail {
    /// Camera.
    pub camera: CameraId,
    /// Epoch.
    pub epoch: EpochNo,
    /// End of the last picture.
    pub ends: UtcNanos,
    /// Bytes on disk.
    pub bytes: u64,
    /// Counter of the last fragment.
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

/// What a scan of a segment file found, without any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedSegment {
    /// The row as the file says it; state open or closed.
    pub row: SegmentRow,
    /// Its groups of pictures.
    pub gops: Vec<Gop>,
}

impl Db {
    /// A segment begins. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_opened(
        &mut self,
        camera: CameraId,
        epoch: EpochNo,
        starts: UtcNanos,
        record_hash: Hash,
        commit_x: Hash,
    ) -> Result<(), DbError> {
        self.call("SELECT peri_api.segment_opened($1, $2, $3, $4, $5)", &[
            &camera.as_bytes().as_slice(),
            &to_db(epoch.0),
            &starts.0,
            &record_hash.as_bytes().as_slice(),
            &commit_x.as_bytes().as_slice(),
        ])?;
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
        let cameras: Vec<&[u8]> = tails.iter().map(|t| t.camera.as_bytes().as_slice()).collect();
        let epochs: Vec<i64> = tails.iter().map(|t| to_db(t.epoch.0)).collect();
        let ends: Vec<i64> = tails.iter().map(|t| t.ends.0).collect();
        let bytes: Vec<i64> = tails.iter().map(|t| to_db(t.bytes)).collect();
        let counters: Vec<i64> = tails.iter().map(|t| to_db(t.last_counter)).collect();
        self.call("SELECT peri_api.segment_tails($1, $2, $3, $4, $5)", &[&cameras, &epochs, &ends, &bytes, &counters])?;
        Ok(())
    }

    /// A segment ended; its tail is final.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_closed(&mut self, tail: &SegmentTail) -> Result<(), DbError> {
        self.segment_tails(std::slice::from_ref(tail))?;
        self.segment_mark(tail.camera, tail.epoch, SegmentState::Closed).map(drop)
    }

    /// Moves a segment up in its life; whether it moved (it did not when it is there already, above, or unknown).
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment_mark(&mut self, camera: CameraId, epoch: EpochNo, state: SegmentState) -> Result<bool, DbError> {
        let camera = camera.as_bytes().as_slice();
        Ok(self.call("SELECT peri_api.segment_mark($1, $2, $3)", &[&camera, &to_db(epoch.0), &state.code()])?[0].get(0))
    }

    /// Segments of a camera that hold pictures between two times, open ones included, oldest first; all states.
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
        rows(&self.call("SELECT * FROM peri_api.segments_between($1, $2, $3)", &[&camera, &from.0, &until.0])?)
    }

    /// One segment.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn segment(&mut self, camera: CameraId, epoch: EpochNo) -> Result<Option<SegmentRow>, DbError> {
        let camera = camera.as_bytes().as_slice();
        let found = self.call("SELECT * FROM peri_api.segment_one($1, $2)", &[&camera, &to_db(epoch.0)])?;
        Ok(rows(&found)?.pop())
    }

    /// Segments in one state that ended before a time, oldest first, of all cameras, at most `limit`: what retention
    /// (closed, before its edge), disk full (closed, before now) and the re-key (pending) ask for.
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
        rows(&self.call("SELECT * FROM peri_api.segments_in($1, $2, $3)", &[&state.code(), &ended_before.0, &limit])?)
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
    pub fn gops_add(&mut self, gops: &[GopRow]) -> Result<(), DbError> {
        if gops.is_empty() {
            return Ok(());
        }
        let cameras: Vec<&[u8]> = gops.iter().map(|g| g.camera.as_bytes().as_slice()).collect();
        let epochs: Vec<i64> = gops.iter().map(|g| to_db(g.epoch.0)).collect();
        let offsets: Vec<i64> = gops.iter().map(|g| to_db(g.gop.offset)).collect();
        let starts: Vec<i64> = gops.iter().map(|g| g.gop.starts.0).collect();
        self.call("SELECT peri_api.gops_add($1, $2, $3, $4)", &[&cameras, &epochs, &offsets, &starts])?;
        Ok(())
    }

    /// The groups of pictures of a segment, in file order.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn gops(&mut self, camera: CameraId, epoch: EpochNo) -> Result<Vec<Gop>, DbError> {
        let camera = camera.as_bytes().as_slice();
        let rows = self.call("SELECT * FROM peri_api.gops($1, $2)", &[&camera, &to_db(epoch.0)])?;
        rows.iter().map(|row| Ok(Gop { offset: from_db(row.get(0))?, starts: UtcNanos(row.get(1)) })).collect()
    }

    /// Puts what scans found into the index; how many segments. What the file says replaces what the index said, except
    /// that an erased segment stays erased. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`DbError`]; what was put before stays.
    pub fn index_scanned(&mut self, scanned: impl IntoIterator<Item = ScannedSegment>) -> Result<usize, DbError> {
        let mut count = 0;
        for ScannedSegment { row, gops } in scanned {
            let closed = row.state >= SegmentState::Closed;
            self.call("SELECT peri_api.segment_put($1, $2, $3, $4, $5, $6, $7, $8, $9)", &[
                &row.camera.as_bytes().as_slice(),
                &to_db(row.epoch.0),
                &row.starts.0,
                &row.ends.0,
                &to_db(row.bytes),
                &to_db(row.last_counter),
                &closed,
                &row.record_hash.as_bytes().as_slice(),
                &row.commit_x.as_bytes().as_slice(),
            ])?;
            let gops: Vec<_> =
                gops.into_iter().map(|gop| GopRow { camera: row.camera, epoch: row.epoch, gop }).collect();
            self.gops_add(&gops)?;
            count += 1;
        }
        Ok(count)
    }
}

fn rows(rows: &[Row]) -> Result<Vec<SegmentRow>, DbError> {
    rows.iter().map(|row| parse(row).ok_or(DbError::Row("segment"))).collect()
}

fn parse(row: &Row) -> Option<SegmentRow> {
    let number = |column: &str| u64::try_from(row.get::<_, i64>(column)).ok();
    Some(SegmentRow {
        camera: CameraId::from_slice(row.get("camera"))?,
        epoch: EpochNo(number("epoch")?),
        starts: UtcNanos(row.get("starts")),
        ends: UtcNanos(row.get("ends")),
        bytes: number("bytes")?,
        last_counter: number("last_counter")?,
        state: SegmentState::from_code(row.get("state"))?,
        record_hash: Hash::from_slice(row.get("record_hash"))?,
        commit_x: Hash::from_slice(row.get("commit_x"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdb::TestDb;

    const CAMERA: CameraId = CameraId([1; 16]);

    fn tail(epoch: u64, ends: i64, bytes: u64) -> SegmentTail {
        SegmentTail { camera: CAMERA, epoch: EpochNo(epoch), ends: UtcNanos(ends), bytes, last_counter: bytes / 10 }
    }

    fn gop(epoch: u64, offset: u64, starts: i64) -> GopRow {
        GopRow { camera: CAMERA, epoch: EpochNo(epoch), gop: Gop { offset, starts: UtcNanos(starts) } }
    }

    fn open(db: &mut Db, epoch: u64, starts: i64) {
        db.segment_opened(CAMERA, EpochNo(epoch), UtcNanos(starts), Hash([2; 32]), Hash([3; 32])).unwrap();
    }

    #[test]
    fn a_segment_lives_upwards_only() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        open(&mut db, 1, 100);
        open(&mut db, 1, 999);
        db.segment_tails(&[tail(1, 150, 500), tail(7, 1, 1)]).unwrap();
        db.segment_tails(&[tail(1, 140, 400)]).unwrap();
        let row = db.segment(CAMERA, EpochNo(1)).unwrap().unwrap();
        assert_eq!((row.starts, row.ends, row.bytes, row.last_counter), (UtcNanos(100), UtcNanos(150), 500, 50));
        assert_eq!(db.segment(CAMERA, EpochNo(7)).unwrap(), None);

        db.gops_add(&[gop(1, 10, 100), gop(1, 300, 120), gop(1, 10, 100), gop(9, 1, 1)]).unwrap();
        assert_eq!(db.gops(CAMERA, EpochNo(1)).unwrap().len(), 2);
        db.segment_closed(&tail(1, 160, 600)).unwrap();
        db.segment_tails(&[tail(1, 900, 900)]).unwrap();
        let row = db.segment(CAMERA, EpochNo(1)).unwrap().unwrap();
        assert_eq!((row.state, row.ends), (SegmentState::Closed, UtcNanos(160)));

        assert!(db.segment_mark(CAMERA, EpochNo(1), SegmentState::ErasePending).unwrap());
        assert!(db.gops(CAMERA, EpochNo(1)).unwrap().is_empty());
        assert!(db.segment_mark(CAMERA, EpochNo(1), SegmentState::Erased).unwrap());
        assert!(!db.segment_mark(CAMERA, EpochNo(1), SegmentState::Closed).unwrap());
        db.gops_add(&[gop(1, 10, 100)]).unwrap();
        assert!(db.gops(CAMERA, EpochNo(1)).unwrap().is_empty());
        assert_eq!(db.segments_in(SegmentState::Erased, UtcNanos(i64::MAX), 9).unwrap().len(), 1);
    }

    #[test]
    fn a_span_finds_its_segments_and_retention_the_oldest() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        for epoch in 1..=4 {
            open(&mut db, epoch, 100 * epoch as i64);
            if epoch < 4 {
                db.segment_closed(&tail(epoch, 100 * epoch as i64 + 100, 10)).unwrap();
            }
        }
        let mut between = |from, until| {
            let rows = db.segments_between(CAMERA, UtcNanos(from), UtcNanos(until)).unwrap();
            rows.into_iter().map(|r| r.epoch.0).collect::<Vec<_>>()
        };
        assert_eq!(between(250, 300), [2]);
        assert_eq!(between(200, 301), [2, 3]);
        assert_eq!(between(450, 500), [4], "an open segment may already hold it");
        assert_eq!(between(0, 100), [0; 0]);
        let old = db.segments_in(SegmentState::Closed, UtcNanos(301), 10).unwrap();
        assert_eq!(old.iter().map(|r| r.epoch.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(db.last_epoch(CAMERA).unwrap(), Some(EpochNo(4)));
        assert_eq!(db.last_epoch(CameraId([9; 16])).unwrap(), None);
    }

    #[test]
    fn scans_make_the_index_again_and_never_raise_the_erased() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let row = SegmentRow {
            camera: CAMERA,
            epoch: EpochNo(5),
            starts: UtcNanos(1),
            ends: UtcNanos(90),
            bytes: 700,
            last_counter: 3,
            state: SegmentState::Closed,
            record_hash: Hash([2; 32]),
            commit_x: Hash([3; 32]),
        };
        let gops = vec![Gop { offset: 4, starts: UtcNanos(1) }, Gop { offset: 400, starts: UtcNanos(50) }];
        let scanned = ScannedSegment { row, gops: gops.clone() };
        // The index had seen only the beginning when PostgreSQL went away.
        open(&mut db, 5, 1);
        db.gops_add(&[gop(5, 4, 1)]).unwrap();
        for _ in 0..2 {
            assert_eq!(db.index_scanned([scanned.clone()]).unwrap(), 1);
            assert_eq!(db.segment(CAMERA, EpochNo(5)).unwrap(), Some(row));
            assert_eq!(db.gops(CAMERA, EpochNo(5)).unwrap(), gops);
        }
        db.segment_mark(CAMERA, EpochNo(5), SegmentState::Erased).unwrap();
        db.index_scanned([scanned]).unwrap();
        assert_eq!(db.segment(CAMERA, EpochNo(5)).unwrap().unwrap().state, SegmentState::Erased);
        assert!(db.gops(CAMERA, EpochNo(5)).unwrap().is_empty());
    }
}
