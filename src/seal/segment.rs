//! The segment file: one per epoch of one camera. Byte by byte in `compliance/segment-format.md`.
//!
//! ```text
//! magic (8)
//! section: length (4) | epoch record | CRC-32C (4)
//! section: length (4) | wraps        | CRC-32C (4)
//! fragment*: header (32) | ciphertext (length) | tag (16) | CRC-32C (4)
//! ```
//! Integers are big-endian. What does not belong: sealing (sealer), reading files (scan). Invariants: every length is
//! checked against its bound before anything is allocated or read; a head or header has one form; counters run through
//! the whole file without a gap, also over a change of run, so that a cut anywhere but at the end shows.

use crate::canonical::{self, CanonicalError};
use crate::record::{EpochRecord, RECORD_LEN_MAX, RecordError, SUITE, WRAPS_MAX};
use crate::wrap::{TAG_LEN, WRAP_LEN_MAX, Wrap};
use peri_domain::limits::FRAGMENT_BYTES_MAX;
use peri_domain::{Fingerprint, MediaDuration, UtcNanos};

/// First eight bytes of a segment; the last is the version of the format.
pub const MAGIC: [u8; 8] = *b"PERISEG\x01";
/// Length and checksum around a section.
const SECTION_EXTRA: usize = 8;
/// Longest wraps section: CBOR array head (3) and the wraps.
pub const WRAPS_LEN_MAX: usize = 3 + WRAPS_MAX * WRAP_LEN_MAX;
/// Longest head.
pub const HEAD_LEN_MAX: usize = MAGIC.len() + SECTION_EXTRA + RECORD_LEN_MAX + SECTION_EXTRA + WRAPS_LEN_MAX;

/// Bytes of a fragment header.
pub const HEADER_LEN: usize = 32;
/// Bytes of the checksum after a fragment.
pub const CRC_LEN: usize = 4;
/// Bytes around the ciphertext of a fragment.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN + CRC_LEN;
/// First two bytes of a fragment.
const MARKER: [u8; 2] = *b"PF";
const FLAG_KEY: u8 = 1;
const FLAG_LAST: u8 = 2;

/// Most fragments under one K: SP 800-38D §8.3 allows 2^32 invocations of AES-GCM per key. An epoch has about 4,000.
pub const FRAGMENTS_PER_KEY_MAX: u64 = 1 << 32;

/// A head that is not one.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// More bytes are needed.
    #[error("the head of the segment is cut: it has at least {need} bytes")]
    Incomplete {
        /// Bytes from the start of the file that are needed to go on; at most [`HEAD_LEN_MAX`].
        need: usize,
    },
    /// Another kind of file.
    #[error("not a segment of format 1: it starts with {found:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 8],
    },
    /// A length beyond its bound.
    #[error("the {section} section claims {found} bytes, at most {most} are possible")]
    Length {
        /// Which section.
        section: &'static str,
        /// Its length field.
        found: u32,
        /// The bound.
        most: usize,
    },
    /// A section whose checksum is wrong.
    #[error("the {section} section is damaged (CRC-32C): restore the file from a copy")]
    Checksum {
        /// Which section.
        section: &'static str,
    },
    /// A wrap that cannot be one of this epoch.
    #[error("the wrap for {recipient} cannot be one of this epoch: kind, index or length is wrong")]
    Wrap {
        /// Whose wrap.
        recipient: Fingerprint,
    },
    /// A wrap with other algorithms.
    #[error("the wrap for {recipient} is of suite {found}, this version knows {SUITE}; update the older side")]
    WrapSuite {
        /// Whose wrap.
        recipient: Fingerprint,
        /// Its suite.
        found: u16,
    },
    /// A section that does not decode.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// A record that is not acceptable or not of these wraps.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file could not be read.
    #[error("reading the head of the segment: {0}")]
    Io(#[from] std::io::Error),
}

/// The head of a segment. Signature and device are *not* checked here; lengths, checksums, canonical form, ranges and
/// that the wraps are those of the record are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The epoch record.
    pub record: EpochRecord,
    /// The wraps.
    pub wraps: Vec<Wrap>,
    /// Bytes of the head: offset of the first fragment.
    pub len: usize,
}

/// Writes a head.
///
/// # Errors
/// [`HeadError::Record`], [`HeadError::Wrap`] or [`HeadError::WrapSuite`] when record and wraps do not fit: what could
/// not be parsed is not written.
pub fn encode_head(record: &EpochRecord, wraps: &[Wrap]) -> Result<Vec<u8>, HeadError> {
    check_head(record, wraps)?;
    let wraps = canonical::encode(&wraps);
    let mut out = Vec::with_capacity(MAGIC.len() + 2 * SECTION_EXTRA + RECORD_LEN_MAX + wraps.len());
    out.extend_from_slice(&MAGIC);
    for section in [record.to_bytes(), wraps] {
        let at = out.len();
        let len = u32::try_from(section.len()).expect("a record and its wraps are bounded far below 4 GiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&section);
        let crc = crc32c::crc32c(&out[at..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    Ok(out)
}

/// Reads a head from the first bytes of a segment; what follows it is ignored.
///
/// # Errors
/// [`HeadError`]; with [`HeadError::Incomplete`] call again with that many bytes.
pub fn parse_head(bytes: &[u8]) -> Result<Head, HeadError> {
    let magic = bytes.first_chunk().ok_or(HeadError::Incomplete { need: MAGIC.len() + 4 })?;
    if *magic != MAGIC {
        return Err(HeadError::Magic { found: *magic });
    }
    let (record, at) = section("record", bytes, MAGIC.len(), RECORD_LEN_MAX)?;
    let (wraps, len) = section("wraps", bytes, at, WRAPS_LEN_MAX)?;
    let record = EpochRecord::from_bytes(record)?;
    let wraps: Vec<Wrap> = canonical::decode("list of wraps", wraps)?;
    check_head(&record, &wraps)?;
    Ok(Head { record, wraps, len })
}

fn check_head(record: &EpochRecord, wraps: &[Wrap]) -> Result<(), HeadError> {
    record.context.validate()?;
    if let Some(&Wrap { recipient, suite, .. }) = wraps.iter().find(|wrap| !wrap.fits(&record.context)) {
        return Err(match suite {
            SUITE => HeadError::Wrap { recipient },
            found => HeadError::WrapSuite { recipient, found },
        });
    }
    Ok(record.verify_wraps(wraps)?)
}

fn section<'a>(section: &'static str, bytes: &'a [u8], at: usize, most: usize) -> Result<(&'a [u8], usize), HeadError> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(HeadError::Incomplete { need: at + 4 })?;
    let found = u32::from_be_bytes(*found);
    let len =
        usize::try_from(found).ok().filter(|len| *len <= most).ok_or(HeadError::Length { section, found, most })?;
    let body = at + 4..at + 4 + len;
    let after = body.end + CRC_LEN;
    let crc = bytes.get(body.end..after).and_then(<[u8]>::first_chunk).ok_or(HeadError::Incomplete { need: after })?;
    if crc32c::crc32c(&bytes[at..body.end]) != u32::from_be_bytes(*crc) {
        return Err(HeadError::Checksum { section });
    }
    Ok((&bytes[body], after))
}

/// What the plaintext of a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FragmentKind {
    /// fMP4 initialisation segment (`ftyp`, `moov`): for all media fragments up to the next one.
    Init,
    /// fMP4 media segment (`moof`, `mdat`).
    Media,
}

/// The clear header of a fragment, authenticated as AAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// Init or media.
    pub kind: FragmentKind,
    /// Starts with a picture that decodes alone.
    pub key: bool,
    /// Nothing follows in this segment. The only fragment that may be empty.
    pub last: bool,
    /// Bytes of ciphertext, which are as many as of plaintext.
    pub len: u32,
    /// Which hand-out of K sealed it, from 1.
    pub run: u32,
    /// Position in the file, from 0, without a gap.
    pub counter: u64,
    /// UTC of the first picture.
    pub start: UtcNanos,
    /// Media time it covers; 0 for init.
    pub duration: MediaDuration,
}

/// A header that no sealer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not the start of a fragment.
    #[error("no fragment starts here")]
    Marker,
    /// A kind of a later version.
    #[error("unknown fragment kind {0}")]
    Kind(u8),
    /// A flag of a later version.
    #[error("unknown fragment flags {0:#04x}")]
    Flags(u8),
    /// Longer than a fragment may be, or empty without being the last.
    #[error("a fragment of {0} bytes: 1 to 8 MiB are possible, and 0 in the last one")]
    Length(u32),
    /// Run 0.
    #[error("runs count from 1")]
    Run,
    /// Beyond what one key may seal.
    #[error("fragment counter {0} is beyond what one key may seal")]
    Counter(u64),
    /// An init fragment marked as key or last, or with a duration.
    #[error("an init fragment has no key flag, no duration and is never the last")]
    Init,
}

impl FragmentHeader {
    /// Bytes of the whole fragment, checksum included.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.len as usize + OVERHEAD
    }

    /// Checks what [`FragmentHeader::decode`] checks.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn check(&self) -> Result<(), HeaderError> {
        if self.len as usize > FRAGMENT_BYTES_MAX || (self.len == 0 && !self.last) {
            return Err(HeaderError::Length(self.len));
        }
        if self.run == 0 {
            return Err(HeaderError::Run);
        }
        if self.counter >= FRAGMENTS_PER_KEY_MAX {
            return Err(HeaderError::Counter(self.counter));
        }
        if self.kind == FragmentKind::Init && (self.key || self.last || self.duration.0 != 0) {
            return Err(HeaderError::Init);
        }
        Ok(())
    }

    /// The 32 bytes: marker (2) ‖ kind (1) ‖ flags (1) ‖ length (4) ‖ run (4) ‖ counter (8) ‖ start (8) ‖ duration (4).
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..2].copy_from_slice(&MARKER);
        out[2] = match self.kind {
            FragmentKind::Init => 1,
            FragmentKind::Media => 2,
        };
        out[3] = if self.key { FLAG_KEY } else { 0 } | if self.last { FLAG_LAST } else { 0 };
        out[4..8].copy_from_slice(&self.len.to_be_bytes());
        out[8..12].copy_from_slice(&self.run.to_be_bytes());
        out[12..20].copy_from_slice(&self.counter.to_be_bytes());
        out[20..28].copy_from_slice(&self.start.0.to_be_bytes());
        out[28..].copy_from_slice(&self.duration.0.to_be_bytes());
        out
    }

    /// Reads the 32 bytes.
    ///
    /// # Errors
    /// [`HeaderError`]; a header that decodes is one that encodes to the same bytes.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        if bytes[..2] != MARKER {
            return Err(HeaderError::Marker);
        }
        let kind = match bytes[2] {
            1 => FragmentKind::Init,
            2 => FragmentKind::Media,
            other => return Err(HeaderError::Kind(other)),
        };
        if bytes[3] & !(FLAG_KEY | FLAG_LAST) != 0 {
            return Err(HeaderError::Flags(bytes[3]));
        }
        let header = Self {
            kind,
            key: bytes[3] & FLAG_KEY != 0,
            last: bytes[3] & FLAG_LAST != 0,
            len: u32::from_be_bytes(field(bytes, 4)),
            run: u32::from_be_bytes(field(bytes, 8)),
            counter: u64::from_be_bytes(field(bytes, 12)),
            start: UtcNanos(i64::from_be_bytes(field(bytes, 20))),
            duration: MediaDuration(u32::from_be_bytes(field(bytes, 28))),
        };
        header.check()?;
        Ok(header)
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("every field lies inside the 32 bytes")
}

/// Where the fragments of one epoch stand, and which one may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    next: Option<u64>,
    run: u32,
    ended: bool,
    stream: bool,
}

/// A fragment that may not come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It was there already.
    #[error("fragment {found} comes again or too late, {expected} was due: repeated or reordered")]
    Repeated {
        /// Counter that was due.
        expected: u64,
        /// Counter that came.
        found: u64,
    },
    /// One before it is missing.
    #[error("fragment {found} comes where {expected} was due: fragments are missing or reordered")]
    Missing {
        /// Counter that was due.
        expected: u64,
        /// Counter that came.
        found: u64,
    },
    /// A run lower than the one before it.
    #[error("run {found} comes after run {before}: an older hand-out of the key cannot seal after a newer one")]
    RunBack {
        /// Run before.
        before: u32,
        /// Run that came.
        found: u32,
    },
    /// Something after the last fragment.
    #[error("something follows the fragment that is marked as the last")]
    AfterLast,
}

impl Order {
    /// For a file, from its first fragment: counters 0, 1, 2, … over all runs.
    #[must_use]
    pub const fn file() -> Self {
        Self::resume(0)
    }

    /// For a file, from the fragment with this counter.
    #[must_use]
    pub const fn resume(next: u64) -> Self {
        Self { next: Some(next), run: 0, ended: false, stream: false }
    }

    /// For live viewers: joins anywhere, and a new run may repeat counters of which the earlier sealing reached viewers
    /// but not the disk (the recorder was killed in between).
    #[must_use]
    pub const fn stream() -> Self {
        Self { next: None, run: 0, ended: false, stream: true }
    }

    /// Takes the next fragment.
    ///
    /// # Errors
    /// [`OrderError`]; the state is then unchanged.
    pub fn take(&mut self, header: &FragmentHeader) -> Result<(), OrderError> {
        if self.ended {
            return Err(OrderError::AfterLast);
        }
        if header.run < self.run {
            return Err(OrderError::RunBack { before: self.run, found: header.run });
        }
        let free = self.stream && header.run > self.run;
        let found = header.counter;
        match self.next {
            Some(expected) if found < expected && !free => return Err(OrderError::Repeated { expected, found }),
            Some(expected) if found > expected && !free => return Err(OrderError::Missing { expected, found }),
            _ => {}
        }
        *self = Self { next: Some(found + 1), run: header.run, ended: header.last, stream: self.stream };
        Ok(())
    }

    /// Counter of the next fragment.
    #[must_use]
    pub fn next_counter(&self) -> u64 {
        self.next.unwrap_or(0)
    }

    /// Highest run so far; 0 before the first fragment.
    #[must_use]
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// Whether the fragment marked as the last was taken.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::record::EpochContext;
    use crate::record::tests::{context, wrap};
    use crate::rng;
    use crate::wrap::WrapKind;
    use peri_domain::EpochNo;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    pub(crate) static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let wraps = [wrap(1), wrap(2)];
        let device = SigningKey::generate(&mut rng::system());
        encode_head(&EpochRecord::sign(context(), &wraps, &device).unwrap(), &wraps).unwrap()
    });

    pub(crate) fn any_header() -> impl Strategy<Value = FragmentHeader> {
        let media = (any::<bool>(), any::<bool>(), 0..=8_388_608_u32, 1_u32.., 0..FRAGMENTS_PER_KEY_MAX);
        (any::<bool>(), media, any::<i64>(), any::<u32>()).prop_map(
            |(init, (key, last, len, run, counter), start, duration)| FragmentHeader {
                kind: if init { FragmentKind::Init } else { FragmentKind::Media },
                key: key && !init,
                last: last && !init,
                len: if last && !init { len } else { len.max(1) },
                run,
                counter,
                start: UtcNanos(start),
                duration: MediaDuration(if init { 0 } else { duration }),
            },
        )
    }

    #[test]
    fn a_head_round_trips_and_asks_for_the_bytes_it_lacks() {
        let head = parse_head(&HEAD).unwrap();
        assert_eq!(head.len, HEAD.len());
        assert_eq!(encode_head(&head.record, &head.wraps).unwrap(), *HEAD);
        for cut in 0..HEAD.len() {
            let Err(HeadError::Incomplete { need }) = parse_head(&HEAD[..cut]) else { panic!("cut at {cut}") };
            assert!(need > cut && need <= HEAD.len());
        }
    }

    #[test]
    fn every_changed_byte_of_a_head_is_noticed() {
        for at in 0..HEAD.len() {
            let mut bad = HEAD.clone();
            bad[at] ^= 0x40;
            assert!(parse_head(&bad).is_err(), "changed byte {at}");
        }
    }

    #[test]
    fn a_head_with_foreign_wraps_is_neither_written_nor_read() {
        let head = parse_head(&HEAD).unwrap();
        assert!(matches!(encode_head(&head.record, &head.wraps[..1]), Err(HeadError::Record(_))));
        let mut wraps = head.wraps.clone();
        wraps[0].sealed.pop();
        assert!(matches!(encode_head(&head.record, &wraps), Err(HeadError::Wrap { .. })));
        wraps[0].suite = 2;
        let told = encode_head(&head.record, &wraps).unwrap_err().to_string();
        assert!(told.contains("suite 2, this version knows 1; update the older side"), "{told}");
    }

    #[test]
    fn lengths_are_refused_before_they_are_believed() {
        let mut bad = HEAD[..16].to_vec();
        bad[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(parse_head(&bad), Err(HeadError::Length { section: "record", .. })));
    }

    #[test]
    fn order_names_what_is_wrong() {
        let header = |run, counter, last| FragmentHeader {
            kind: FragmentKind::Media,
            key: false,
            last,
            len: 1,
            run,
            counter,
            start: UtcNanos(0),
            duration: MediaDuration(1),
        };
        let mut order = Order::file();
        assert_eq!(order.take(&header(1, 1, false)), Err(OrderError::Missing { expected: 0, found: 1 }));
        order.take(&header(1, 0, false)).unwrap();
        assert_eq!(order.take(&header(1, 0, false)), Err(OrderError::Repeated { expected: 1, found: 0 }));
        order.take(&header(3, 1, false)).unwrap();
        assert_eq!(order.take(&header(2, 2, false)), Err(OrderError::RunBack { before: 3, found: 2 }));
        assert_eq!(order.take(&header(4, 1, false)), Err(OrderError::Repeated { expected: 2, found: 1 }));
        order.take(&header(3, 2, true)).unwrap();
        assert_eq!(order.take(&header(3, 3, false)), Err(OrderError::AfterLast));

        let mut live = Order::stream();
        live.take(&header(1, 40, false)).unwrap();
        assert!(live.take(&header(1, 42, false)).is_err());
        live.take(&header(1, 41, false)).unwrap();
        live.take(&header(2, 41, false)).unwrap();
        assert!(live.take(&header(1, 42, false)).is_err());
    }

    proptest! {
        #[test]
        fn heads_round_trip(
            recipients in proptest::collection::vec(any::<(u8, bool)>(), 0..20),
            (epoch, starts, lasts, len) in (1_u64.., 0..4_000_000_000_000_000_000_i64, 1..=900_000_000_000_i64, any::<u64>()),
            seats in 1..=16_u8,
            after in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            static DEVICE: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(&mut rng::system()));
            let context = EpochContext {
                epoch: EpochNo(epoch),
                starts: UtcNanos(starts),
                ends: UtcNanos(starts + lasts),
                roster_len: len,
                threshold: seats,
                seats,
                ..context()
            };
            let wraps: Vec<_> = recipients
                .iter()
                .map(|(recipient, seat)| {
                    let mut wrap = wrap(*recipient);
                    if *seat {
                        wrap.kind = WrapKind::Share;
                        wrap.share_index = if seats == 1 { 0 } else { recipient % seats + 1 };
                        wrap.sealed.push(0);
                    }
                    wrap
                })
                .collect();
            let record = EpochRecord::sign(context, &wraps, &DEVICE).unwrap();
            let mut bytes = encode_head(&record, &wraps).unwrap();
            let len = bytes.len();
            prop_assert!(len <= HEAD_LEN_MAX);
            bytes.extend_from_slice(&after);
            prop_assert_eq!(parse_head(&bytes).unwrap(), Head { record, wraps, len });
        }

        #[test]
        fn headers_round_trip(header in any_header()) {
            prop_assert_eq!(FragmentHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn a_header_that_decodes_has_one_form(mut bytes in any::<[u8; HEADER_LEN]>(), marked in any::<bool>()) {
            if marked {
                bytes[..2].copy_from_slice(&MARKER);
                bytes[2] = bytes[2] % 2 + 1;
                bytes[3] %= 4;
                bytes[4] = 0;
                bytes[12..16].fill(0);
            }
            if let Ok(header) = FragmentHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn arbitrary_heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() > 10 {
                bytes[..8].copy_from_slice(&MAGIC);
                bytes[8..10].fill(0);
            }
            let _ = parse_head(&bytes);
        }
    }
}
