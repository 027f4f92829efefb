//! Reading a whole segment file: record, wraps, then the opened fragments in order.
//!
//! ```text
//! SegmentReader::open   head is canonical, signed by the expected device, of the expected VM and camera
//!   └─ wraps, record → E and X → K
//! SegmentReader::unlock K is the one of the record
//!   └─ OpenSegment::next_fragment … None, then OpenSegment::ending
//! ```
//! What does not belong: fetching, playing, exporting. Invariants: states consume `self`, so that nothing is opened of a
//! segment whose record was not verified; the buffer is at most one fragment.

use crate::fragment::{FragmentError, FragmentOpener};
use peri_domain::{CameraId, Hash, VmId};
use peri_seal::keys::UserPublic;
use peri_seal::record::{EpochRecord, RecordError};
use peri_seal::secret::ContentKey;
use peri_seal::segment::{FragmentHeader, FragmentKind, HEAD_LEN_MAX, HEADER_LEN, Head, HeadError, Order, parse_head};
use peri_seal::wrap::Wrap;
use std::io::{self, Read, Seek, SeekFrom};
use zeroize::Zeroizing;

/// Why a segment was not read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The record is not of this device.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A segment of another VM.
    #[error("the segment belongs to VM {found}, not {expected}")]
    OtherVm {
        /// Its VM.
        found: VmId,
        /// The VM that was asked for.
        expected: VmId,
    },
    /// A segment of another camera.
    #[error("the segment belongs to camera {found}, not {expected}")]
    OtherCamera {
        /// Its camera.
        found: CameraId,
        /// The camera that was asked for.
        expected: CameraId,
    },
    /// A fragment.
    #[error("at byte {at}: {source}")]
    Fragment {
        /// Where it starts.
        at: u64,
        /// What is wrong.
        source: FragmentError,
    },
    /// A picture before the first initialisation segment.
    #[error("at byte {at}: a picture comes before the parameters to decode it: the start of the segment is missing")]
    MediaBeforeInit {
        /// Where.
        at: u64,
    },
    /// K is not the one of the record.
    #[error(transparent)]
    Key(FragmentError),
    /// Reading failed.
    #[error("reading the segment: {0}")]
    Io(#[from] io::Error),
}

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the fragment marked as the last: nothing is missing.
    Final,
    /// Without it: the segment is still being written, the power was cut, or somebody cut the end. The ledger's tail
    /// entries tell which.
    NotFinal,
}

/// Who must have recorded the segment.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Key set of the device, from the verified roster.
    pub device: &'a UserPublic,
    /// The VM.
    pub vm: VmId,
    /// The camera.
    pub camera: CameraId,
}

/// A segment whose head is verified.
pub struct SegmentReader<R> {
    source: R,
    head: Head,
}

/// A segment that is being opened.
pub struct OpenSegment<R> {
    source: R,
    record: EpochRecord,
    opener: FragmentOpener,
    buffer: Zeroizing<Vec<u8>>,
    at: u64,
    init_seen: bool,
    ending: Option<Ending>,
}

/// One opened fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Its header.
    pub header: FragmentHeader,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its plaintext: fMP4.
    pub payload: &'a [u8],
}

impl<R: Read + Seek> SegmentReader<R> {
    /// Reads and verifies the head.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn open(mut source: R, expected: &Expected<'_>) -> Result<Self, SegmentError> {
        let head = read_head(&mut source)?;
        let context = &head.record.context;
        head.record.verify(expected.device)?;
        if context.vm != expected.vm {
            return Err(SegmentError::OtherVm { found: context.vm, expected: expected.vm });
        }
        if context.camera != expected.camera {
            return Err(SegmentError::OtherCamera { found: context.camera, expected: expected.camera });
        }
        Ok(Self { source, head })
    }

    /// The verified record.
    pub fn record(&self) -> &EpochRecord {
        &self.head.record
    }

    /// The wraps, which are those of the record.
    pub fn wraps(&self) -> &[Wrap] {
        &self.head.wraps
    }

    /// Goes on to the fragments.
    ///
    /// # Errors
    /// [`SegmentError::Key`] when K is not the one of the record.
    pub fn unlock(mut self, key: &ContentKey) -> Result<OpenSegment<R>, SegmentError> {
        let opener = FragmentOpener::new(key, &self.head.record, Order::file()).map_err(SegmentError::Key)?;
        let at = u64::try_from(self.head.len).expect("a head has less than 1 MiB");
        self.source.seek(SeekFrom::Start(at))?;
        Ok(OpenSegment {
            source: self.source,
            record: self.head.record,
            opener,
            buffer: Zeroizing::new(Vec::new()),
            at,
            init_seen: false,
            ending: None,
        })
    }
}

impl<R: Read + Seek> OpenSegment<R> {
    /// The next fragment; `None` at the end, when [`OpenSegment::ending`] says which.
    ///
    /// # Errors
    /// [`SegmentError`]; what came before stays valid, what comes after is not read.
    pub fn next_fragment(&mut self) -> Result<Option<Fragment<'_>>, SegmentError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let at = self.at;
        let fragment = |source| SegmentError::Fragment { at, source };
        self.buffer.resize(HEADER_LEN, 0);
        let have = read_full(&mut self.source, &mut self.buffer[..])?;
        if have == 0 {
            self.ending = Some(if self.opener.order().ended() { Ending::Final } else { Ending::NotFinal });
            return Ok(None);
        }
        if have < HEADER_LEN {
            return Err(fragment(FragmentError::Truncated { have, need: HEADER_LEN }));
        }
        let header = self.buffer.first_chunk().expect("a whole header was read");
        let header = FragmentHeader::decode(header).map_err(|error| fragment(error.into()))?;
        let need = header.total_len();
        self.buffer.resize(need, 0);
        let have = HEADER_LEN + read_full(&mut self.source, &mut self.buffer[HEADER_LEN..])?;
        if have < need {
            return Err(fragment(FragmentError::Truncated { have, need }));
        }
        let (header, payload) = self.opener.open_in_place(&mut self.buffer).map_err(fragment)?;
        self.init_seen |= header.kind == FragmentKind::Init;
        if !self.init_seen && !payload.is_empty() {
            return Err(SegmentError::MediaBeforeInit { at });
        }
        self.at += u64::try_from(need).expect("a fragment has about 8 MiB at most");
        Ok(Some(Fragment { header, offset: at, payload: &self.buffer[payload] }))
    }

    /// Goes on at a fragment that the index names; the caller has the init fragment already, or seeks to it first.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn seek(&mut self, offset: u64, counter: u64) -> Result<(), SegmentError> {
        self.source.seek(SeekFrom::Start(offset))?;
        self.opener.set_order(Order::resume(counter));
        self.at = offset;
        self.init_seen = true;
        self.ending = None;
        Ok(())
    }

    /// How it ended, once [`OpenSegment::next_fragment`] has returned `None`.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The record.
    pub fn record(&self) -> &EpochRecord {
        &self.record
    }

    /// Hash of the record.
    pub fn record_hash(&self) -> Hash {
        self.record.hash()
    }
}

fn read_head(source: &mut impl Read) -> Result<Head, SegmentError> {
    let mut bytes = Vec::new();
    let mut want = 4_096;
    loop {
        let from = bytes.len();
        bytes.resize(want, 0);
        let read = read_full(source, &mut bytes[from..])?;
        bytes.truncate(from + read);
        match parse_head(&bytes) {
            Err(HeadError::Incomplete { need }) if bytes.len() == want && need <= HEAD_LEN_MAX => want = need,
            result => return Ok(result?),
        }
    }
}

fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
