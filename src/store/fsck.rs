//! Files against rows: does every segment on disk have a row, every row a file, and is every byte of them good?
//!
//! Needs no key: heads, headers, checksums and order are public (`peri_seal::scan`). With repair, the *index* is brought
//! into line with the files; files are evidence and never changed, except that a file whose X is gone is unlinked.
//!
//! What does not belong: the ledger (`peri-verify`), opening, X (see [`erased`] for the proof that it is gone).
//! Invariant: the database is reached through [`IndexView`] only, so this runs against any index.

pub mod erased;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::time::Duration;

use peri_domain::{CameraId, Hash, UtcNanos};
use peri_seal::scan::{ReadAt as _, ScanEnd, Stop, TailScan};
use peri_seal::segment::{CRC_LEN, FragmentHeader, HEADER_LEN, OVERHEAD};

use crate::retention::{SegmentRow, SegmentState};
use crate::segments::{SegmentError, SegmentKey, SegmentStore};

/// Two segments of a camera may lie so far apart without an explanation: epochs follow each other at key pictures, and a
/// camera's clock jitters.
pub const GAP_TOLERANCE: Duration = Duration::from_secs(1);

/// The index of segments, as far as fsck, retention and replay need it.
pub trait IndexView {
    /// Why the index does not serve.
    type Error: std::error::Error + 'static;

    /// All rows, also of erased segments.
    ///
    /// # Errors
    /// When the index is away.
    fn rows(&mut self) -> Result<Vec<SegmentRow>, Self::Error>;

    /// Moves segments to a state; durable on return. Unknown keys are skipped; no row goes back from *erased*.
    ///
    /// # Errors
    /// When the index is away; then nothing was changed.
    fn set_state(&mut self, keys: &[SegmentKey], state: SegmentState) -> Result<(), Self::Error>;

    /// Inserts or replaces row and key pictures of one segment from its file.
    ///
    /// # Errors
    /// When the index is away.
    fn replay(&mut self, replayed: &Replayed) -> Result<(), Self::Error>;

    /// How much of a span is in no coverage row that explains it (lost, paused, erased).
    ///
    /// # Errors
    /// When the index is away.
    fn unexplained(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos) -> Result<Duration, Self::Error>;
}

/// What a segment file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The row as it should be. `state` is *closed*.
    pub row: SegmentRow,
    /// Run of the last good fragment; 0 when there is none.
    pub run: u32,
    /// Counter that the next fragment would have.
    pub next_counter: u64,
    /// Running hash over the good fragments.
    pub tail: Hash,
    /// Whether the last fragment is marked as final.
    pub finished: bool,
    /// Offset and time of each fragment that starts with a key picture.
    pub key_pictures: Vec<(u64, UtcNanos)>,
    /// Time of the first fragment with pictures, and end of the last; `None` without pictures.
    pub pictures: Option<(UtcNanos, UtcNanos)>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A file without a row. Repair: replayed.
    OrphanFile(SegmentKey),
    /// A row whose file is gone, although it was never erased: pictures are lost.
    MissingFile(SegmentKey),
    /// A row says erased, the file is still there. Repair: unlinked.
    ErasedFileLeft(SegmentKey),
    /// The head cannot be read.
    BadHead(SegmentKey, String),
    /// The head belongs to another camera or epoch: the file was moved.
    WrongPlace(SegmentKey, SegmentKey),
    /// The last write was cut at this offset; what is before is good.
    TornTail(SegmentKey, u64),
    /// Bytes changed at this offset; what is before is good.
    Corrupt(SegmentKey, u64, String),
    /// A fragment stands where it may not, at this offset.
    OutOfOrder(SegmentKey, u64, String),
    /// Closed without the final fragment: a power cut or a killed recorder.
    Unfinished(SegmentKey),
    /// The row differs from the file in this. Repair: replayed.
    RowDiffers(SegmentKey, &'static str),
    /// Nothing is recorded and nothing says why.
    Gap(CameraId, UtcNanos, UtcNanos),
    /// A file that is none of ours.
    Stranger(String),
}

impl Problem {
    /// Whether this is damage. A torn tail and a missing final fragment are what a power cut leaves.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::TornTail(..) | Self::Unfinished(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = |key: &SegmentKey| format!("camera {}, epoch {}", key.0, key.1);
        match self {
            Self::OrphanFile(key) => write!(f, "{}: a file without a row; --repair replays it", segment(key)),
            Self::MissingFile(key) => {
                write!(
                    f,
                    "{}: the row has no file and was never erased; restore the file or accept the loss",
                    segment(key)
                )
            }
            Self::ErasedFileLeft(key) => {
                write!(f, "{}: erased, but the file is there; --repair unlinks it", segment(key))
            }
            Self::BadHead(key, why) => write!(f, "{}: {why}", segment(key)),
            Self::WrongPlace(key, found) => {
                write!(f, "{}: the file belongs to {}; move it back", segment(key), segment(found))
            }
            Self::TornTail(key, at) => write!(f, "{}: the last write was cut at byte {at}", segment(key)),
            Self::Corrupt(key, at, why) => write!(f, "{}: damaged at byte {at}: {why}; check the disk", segment(key)),
            Self::OutOfOrder(key, at, why) => write!(f, "{}: out of order at byte {at}: {why}", segment(key)),
            Self::Unfinished(key) => write!(f, "{}: no final fragment (power cut or killed recorder)", segment(key)),
            Self::RowDiffers(key, what) => {
                write!(f, "{}: {what} in the row differs; --repair replays it", segment(key))
            }
            Self::Gap(camera, from, until) => {
                write!(f, "camera {camera}: nothing from {from} to {until}, and no cause")
            }
            Self::Stranger(path) => write!(f, "store/{path}: none of ours; remove it by hand"),
        }
    }
}

/// What fsck found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files read.
    pub segments: usize,
    /// Good bytes in them.
    pub good_bytes: u64,
    /// Everything that is not as it should be and was not repaired.
    pub problems: Vec<Problem>,
    /// What repair put right.
    pub repaired: Vec<Problem>,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.problems.iter().any(Problem::is_damage)
    }
}

/// Why fsck could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum FsckError<E: std::error::Error + 'static> {
    /// The index.
    #[error("fsck: the index does not answer: {0}")]
    Index(#[source] E),
    /// The directory.
    #[error("fsck: {0}")]
    Store(#[from] SegmentError),
    /// A read error of the disk (not damage of a file's content).
    #[error("fsck: camera {}, epoch {}: {source}; check the disk", .key.0, .key.1)]
    Read {
        /// Which segment.
        key: SegmentKey,
        /// Cause.
        source: std::io::Error,
    },
}

/// Reads a whole segment and says what its row should be.
///
/// # Errors
/// [`ReadSegmentError::Head`] when the head is bad, [`ReadSegmentError::Io`] when the disk fails.
pub fn read_segment(file: &File) -> Result<(Replayed, ScanEnd), ReadSegmentError> {
    let mut scan = TailScan::open(file).map_err(|e| ReadSegmentError::Head(e.to_string()))?;
    let record_hash = scan.record_hash();
    let context = &scan.head().record.context;
    let (key, starts, ends, commit_x) =
        ((context.camera, context.epoch), context.starts, context.ends, context.commit_x);
    let mut key_pictures = Vec::new();
    let mut pictures: Option<(UtcNanos, UtcNanos)> = None;
    while let Some(entry) = scan.next_entry()? {
        // The empty final fragment is no picture, and its time is that of the switch.
        if entry.header.kind != peri_seal::segment::FragmentKind::Media || entry.header.len == 0 {
            continue;
        }
        if entry.header.key {
            key_pictures.push((entry.offset, entry.header.start));
        }
        let end = entry.header.start + entry.header.duration.to_duration();
        pictures = Some(pictures.map_or((entry.header.start, end), |(first, last)| (first, last.max(end))));
    }
    let end = scan.finish()?;
    // Cut short, the segment ends where its pictures end, so that its retention counts from there.
    let ends = if end.finished { ends } else { pictures.map_or(starts, |(_, last)| last.min(ends)) };
    let row = SegmentRow { key, starts, ends, bytes: end.good_len, state: SegmentState::Closed, record_hash, commit_x };
    let replayed = Replayed {
        row,
        run: end.run,
        next_counter: end.next_counter,
        tail: end.tail.current(),
        finished: end.finished,
        key_pictures,
        pictures,
    };
    Ok((replayed, end))
}

/// The final fragment, if a segment's file of `len` bytes ends with an empty one, as recorders write it. Costs one read of
/// 52 bytes, where [`read_segment`] reads everything; what stands before it is not looked at. `None` means nothing but
/// that: read the file.
///
/// # Errors
/// When the disk fails.
pub fn final_fragment(file: &File, head_len: u64, len: u64) -> std::io::Result<Option<FragmentHeader>> {
    let Some(at) = len.checked_sub(OVERHEAD as u64).filter(|at| *at >= head_len) else { return Ok(None) };
    let mut bytes = [0; OVERHEAD];
    let mut have = 0;
    while have < OVERHEAD {
        match file.read_at(at + have as u64, &mut bytes[have..])? {
            0 => return Ok(None),
            read => have += read,
        }
    }
    let (body, crc) = bytes.split_at(OVERHEAD - CRC_LEN);
    let header = body.first_chunk::<HEADER_LEN>().and_then(|header| FragmentHeader::decode(header).ok());
    let whole = crc == crc32c::crc32c(body).to_be_bytes().as_slice();
    Ok(header.filter(|header| whole && header.last && header.len == 0))
}

/// Why a segment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSegmentError {
    /// Its head.
    #[error("{0}")]
    Head(String),
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Compares the store with the index, and with `repair` replays the index from the files.
///
/// # Errors
/// [`FsckError`] when index or disk do not serve; damage is in the [`Report`].
pub fn fsck<I: IndexView>(store: &SegmentStore, index: &mut I, repair: bool) -> Result<Report, FsckError<I::Error>> {
    let mut report = Report::default();
    let mut rows: BTreeMap<SegmentKey, SegmentRow> =
        index.rows().map_err(FsckError::Index)?.into_iter().map(|row| (row.key, row)).collect();
    let listing = store.list()?;
    report.problems.extend(listing.strangers.into_iter().map(Problem::Stranger));
    let mut last_picture: Option<(CameraId, UtcNanos)> = None;
    for file in listing.segments {
        let row = rows.remove(&file.key);
        if row.as_ref().is_some_and(|row| row.state == SegmentState::Erased) {
            let problem = Problem::ErasedFileLeft(file.key);
            if repair {
                store.unlink(file.key.0, file.key.1)?;
            }
            report.settle(problem, repair);
            continue;
        }
        let Some(replayed) = report.read(store, file.key, row.as_ref())? else { continue };
        report.segments += 1;
        report.good_bytes += replayed.row.bytes;
        if let Some(problem) = difference(row.as_ref(), &replayed) {
            if repair {
                index.replay(&replayed).map_err(FsckError::Index)?;
            }
            report.settle(problem, repair);
        }
        if let Some((first, last)) = replayed.pictures {
            let before = last_picture.filter(|(camera, _)| *camera == file.key.0).map(|(_, until)| until);
            if let Some(from) = before.filter(|from| first.saturating_since(*from) > GAP_TOLERANCE) {
                let missing = index.unexplained(file.key.0, from, first).map_err(FsckError::Index)?;
                if missing > GAP_TOLERANCE {
                    report.problems.push(Problem::Gap(file.key.0, from, first));
                }
            }
            last_picture = Some((file.key.0, last));
        }
    }
    let lost = rows.into_values().filter(|row| matches!(row.state, SegmentState::Open | SegmentState::Closed));
    report.problems.extend(lost.map(|row| Problem::MissingFile(row.key)));
    Ok(report)
}

impl Report {
    fn settle(&mut self, problem: Problem, repaired: bool) {
        if repaired { &mut self.repaired } else { &mut self.problems }.push(problem);
    }

    /// Scans one file and notes what is wrong with its bytes; `None` when it cannot be said what it is.
    fn read<E: std::error::Error>(
        &mut self,
        store: &SegmentStore,
        key: SegmentKey,
        row: Option<&SegmentRow>,
    ) -> Result<Option<Replayed>, FsckError<E>> {
        let file = match store.open_read(key.0, key.1) {
            Err(SegmentError::Disk(error)) if error.is_missing() => return Ok(None), // erased meanwhile
            file => File::from(file?),
        };
        let (replayed, end) = match read_segment(&file) {
            Ok(read) => read,
            Err(ReadSegmentError::Head(why)) => {
                self.problems.push(Problem::BadHead(key, why));
                return Ok(None);
            }
            Err(ReadSegmentError::Io(source)) => return Err(FsckError::Read { key, source }),
        };
        if replayed.row.key != key {
            self.problems.push(Problem::WrongPlace(key, replayed.row.key));
            return Ok(None);
        }
        let growing = row.is_some_and(|row| row.state == SegmentState::Open);
        match end.stop {
            Stop::Torn { .. } if growing => {} // its recorder is in the middle of a write
            Stop::Torn { at } => self.problems.push(Problem::TornTail(key, at)),
            Stop::Corrupt { at, why } => self.problems.push(Problem::Corrupt(key, at, why.to_string())),
            Stop::OutOfOrder { at, why } => self.problems.push(Problem::OutOfOrder(key, at, why.to_string())),
            Stop::Clean if !end.finished && !growing => self.problems.push(Problem::Unfinished(key)),
            Stop::Clean => {}
        }
        Ok(Some(replayed))
    }
}

fn difference(row: Option<&SegmentRow>, replayed: &Replayed) -> Option<Problem> {
    let key = replayed.row.key;
    let Some(row) = row else { return Some(Problem::OrphanFile(key)) };
    let differs = |what| Some(Problem::RowDiffers(key, what));
    if row.record_hash != replayed.row.record_hash {
        differs("the epoch record")
    } else if row.commit_x != replayed.row.commit_x {
        differs("the commitment to X")
    } else if row.state == SegmentState::Closed && row.bytes != replayed.row.bytes {
        differs("the length")
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
