//! Sealing of fragments, in place.
//!
//! The nonce is run (4) ‖ counter (8), the deterministic construction of SP 800-38D §8.2.1. Why no (K, nonce) pair ever
//! repeats: keeper raises the run at every hand-out of K ([`RunCounter`]) and keeps it only in memory; when keeper
//! restarts it starts new epochs, hence new keys; inside one run a [`Sealer`] only counts up; it takes the key by value
//! and can neither be cloned nor wound back; and a failed sealing leaves the counter where it was only if nothing was
//! encrypted. What does not belong: building fMP4 (media), writing (recorder), opening (peri-open).
//!
//! Zero copy: the caller opens a place in its write buffer with [`begin`], which leaves room for the header, appends the
//! plaintext, and [`Sealer::seal_in_place`] fills in the header, encrypts, and appends tag and checksum.

use crate::digest::{finish, hash, hasher};
use crate::secret::ContentKey;
use crate::segment::{FRAGMENTS_PER_KEY_MAX, FragmentHeader, FragmentKind, HEADER_LEN, HeaderError, OVERHEAD};
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use peri_domain::{Hash, MediaDuration, UtcNanos};
use sha2::Digest;

/// Why a fragment was not sealed. The buffer is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The header would be none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The last fragment was sealed already.
    #[error("this segment has its last fragment; open the next epoch")]
    Ended,
    /// K has sealed all it may.
    #[error("this key has sealed 2^32 fragments; open the next epoch")]
    Exhausted,
    /// The place in the buffer was not opened with [`begin`], or the buffer was cut since.
    #[error("the buffer has no room for a header at {at}")]
    NoHeadroom {
        /// Where.
        at: usize,
    },
    /// The plaintext is longer than a fragment may be.
    #[error("a fragment of {len} bytes is longer than 8 MiB: lower the camera's bit rate")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// What the caller knows of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentMeta {
    /// Init or media.
    pub kind: FragmentKind,
    /// Starts with a picture that decodes alone.
    pub key: bool,
    /// Nothing follows in this segment.
    pub last: bool,
    /// UTC of the first picture.
    pub start: UtcNanos,
    /// Media time it covers; 0 for init.
    pub duration: MediaDuration,
}

/// A place in a buffer with room for a header before the plaintext.
#[derive(Debug)]
pub struct Headroom(usize);

/// Counts the hand-outs of one K, from 1. Lives in keeper's memory beside E of the epoch; not `Clone`, so that a run is
/// handed out once.
#[derive(Debug, Default)]
pub struct RunCounter(u32);

/// Seals the fragments of one run of one epoch.
pub struct Sealer {
    cipher: Aes256Gcm,
    aad: [u8; Hash::LEN + HEADER_LEN],
    run: u32,
    next: u64,
    ended: bool,
}

/// Chain over the sealed fragments: h(0) = SHA-256(`peri/v1/tail-start\0` ‖ record hash), h(n) = SHA-256(`peri/v1/tail\0`
/// ‖ h(n−1) ‖ fragment n with header, tag and checksum). A GCM tag would not do: whoever has K makes two fragments with
/// one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailHash(Hash);

impl RunCounter {
    /// No run handed out yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The next run; `None` after 2^32 − 1 of them, when a new epoch must start.
    #[must_use]
    pub fn raise(&mut self) -> Option<u32> {
        self.0 = self.0.checked_add(1)?;
        Some(self.0)
    }
}

/// Opens a place for a fragment at the end of the buffer: room for the header, after which the plaintext is appended.
pub fn begin(buffer: &mut Vec<u8>) -> Headroom {
    let at = buffer.len();
    buffer.resize(at + HEADER_LEN, 0);
    Headroom(at)
}

impl Headroom {
    /// A place whose plaintext begins at `payload`, for a buffer that was built with at least [`HEADER_LEN`] bytes before
    /// it; `None` when there is no such room.
    #[must_use]
    pub const fn before(payload: usize) -> Option<Self> {
        match payload.checked_sub(HEADER_LEN) {
            Some(at) => Some(Self(at)),
            None => None,
        }
    }

    /// Offset of the fragment in the buffer.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.0
    }

    /// Offset of the plaintext in the buffer.
    #[must_use]
    pub const fn payload(&self) -> usize {
        self.0 + HEADER_LEN
    }
}

impl Sealer {
    /// A sealer that goes on at `first_counter`: 0 in a new segment, else what the tail scan says.
    ///
    /// # Errors
    /// [`SealError::Header`] for run 0, [`SealError::Exhausted`] for a counter beyond what K may seal.
    pub fn new(key: ContentKey, record_hash: Hash, run: u32, first_counter: u64) -> Result<Self, SealError> {
        if run == 0 {
            return Err(HeaderError::Run.into());
        }
        if first_counter >= FRAGMENTS_PER_KEY_MAX {
            return Err(SealError::Exhausted);
        }
        let mut aad = [0; Hash::LEN + HEADER_LEN];
        aad[..Hash::LEN].copy_from_slice(record_hash.as_bytes());
        Ok(Self { cipher: Aes256Gcm::new(key.as_bytes().into()), aad, run, next: first_counter, ended: false })
    }

    /// Seals what lies between the headroom and the end of the buffer, in place; header, tag and checksum are added. The
    /// fragment is then `buffer[place.offset()..]`.
    ///
    /// # Errors
    /// [`SealError`]; the buffer and the counter are then unchanged.
    pub fn seal_in_place(
        &mut self,
        meta: FragmentMeta,
        buffer: &mut Vec<u8>,
        place: Headroom,
    ) -> Result<FragmentHeader, SealError> {
        if self.ended {
            return Err(SealError::Ended);
        }
        let at = place.offset();
        let len = buffer.len().checked_sub(place.payload()).ok_or(SealError::NoHeadroom { at })?;
        if self.next >= FRAGMENTS_PER_KEY_MAX {
            return Err(SealError::Exhausted);
        }
        let header = FragmentHeader {
            kind: meta.kind,
            key: meta.key,
            last: meta.last,
            len: u32::try_from(len).map_err(|_| SealError::TooLong { len })?,
            run: self.run,
            counter: self.next,
            start: meta.start,
            duration: meta.duration,
        };
        header.check()?;
        let encoded = header.encode();
        self.aad[Hash::LEN..].copy_from_slice(&encoded);
        // From here on the nonce counts as used, whatever happens.
        self.next += 1;
        self.ended = meta.last;
        buffer.reserve(OVERHEAD - HEADER_LEN);
        buffer[at..at + HEADER_LEN].copy_from_slice(&encoded);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &nonce(header.run, header.counter).into(),
                &self.aad,
                (&mut buffer[at + HEADER_LEN..]).into(),
            )
            .expect("AES-GCM refuses only more than 64 GiB, and a fragment has at most 8 MiB");
        buffer.extend_from_slice(&tag);
        let crc = crc32c::crc32c(&buffer[at..]);
        buffer.extend_from_slice(&crc.to_be_bytes());
        Ok(header)
    }

    /// Counter of the next fragment.
    #[must_use]
    pub const fn next_counter(&self) -> u64 {
        self.next
    }

    /// The run of this sealer.
    #[must_use]
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// Whether the last fragment was sealed.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }
}

/// run (4, BE) ‖ counter (8, BE).
#[must_use]
pub fn nonce(run: u32, counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&run.to_be_bytes());
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl TailHash {
    /// h(0).
    #[must_use]
    pub fn new(record_hash: &Hash) -> Self {
        Self(hash("tail-start", &[record_hash.as_bytes()]))
    }

    /// Takes one whole fragment.
    pub fn push(&mut self, fragment: &[u8]) {
        self.0 = hash("tail", &[self.0.as_bytes(), fragment]);
    }

    /// h(n).
    #[must_use]
    pub const fn current(&self) -> Hash {
        self.0
    }

    /// For a reader that has the fragment in pieces: the state after h(n−1).
    pub(crate) fn start_push(&self) -> sha2::Sha256 {
        hasher("tail").chain_update(self.0.as_bytes())
    }

    /// Ends what [`TailHash::start_push`] began.
    pub(crate) fn end_push(&mut self, state: sha2::Sha256) {
        self.0 = finish(state);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    pub(crate) fn meta(kind: FragmentKind, last: bool) -> FragmentMeta {
        let duration = MediaDuration(if kind == FragmentKind::Init { 0 } else { 9_000 });
        FragmentMeta { kind, key: false, last, start: UtcNanos::from_secs(1_795_563_000), duration }
    }

    fn sealer(first: u64) -> Sealer {
        Sealer::new(ContentKey::from_bytes([1; 32]), Hash([2; 32]), 1, first).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_format_document() {
        let mut buffer = b"before".to_vec();
        let place = begin(&mut buffer);
        buffer.extend_from_slice(b"plain");
        let header = sealer(5).seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).unwrap();
        assert_eq!(&buffer[..6], b"before");
        let fragment = &buffer[6..];
        assert_eq!(fragment.len(), header.total_len());
        assert_eq!(fragment[..HEADER_LEN], header.encode());
        assert_eq!((header.counter, header.run, header.len), (5, 1, 5));
        // The same with the AEAD alone.
        let mut expected = b"plain".to_vec();
        let mut aad = [2; 64];
        aad[32..].copy_from_slice(&header.encode());
        let tag = Aes256Gcm::new(&[1; 32].into())
            .encrypt_inout_detached(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5].into(), &aad, expected.as_mut_slice().into())
            .unwrap();
        assert_eq!(fragment[HEADER_LEN..HEADER_LEN + 5], expected);
        assert_eq!(fragment[HEADER_LEN + 5..HEADER_LEN + 21], tag[..]);
        let crc = crc32c::crc32c(&fragment[..fragment.len() - 4]);
        assert_eq!(fragment[fragment.len() - 4..], crc.to_be_bytes());
    }

    #[test]
    fn counters_rise_and_nothing_follows_the_last() {
        let mut sealer = sealer(0);
        for (expected, last) in [(0, false), (1, false), (2, true)] {
            let mut buffer = Vec::new();
            let place = begin(&mut buffer);
            buffer.push(1);
            let header = sealer.seal_in_place(meta(FragmentKind::Media, last), &mut buffer, place).unwrap();
            assert_eq!(header.counter, expected);
        }
        let mut buffer = Vec::new();
        let place = begin(&mut buffer);
        buffer.push(1);
        assert_eq!(sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place), Err(SealError::Ended));
    }

    #[test]
    fn refused_fragments_leave_buffer_and_counter_alone() {
        let mut sealer = sealer(0);
        let mut buffer = Vec::new();
        let place = begin(&mut buffer);
        assert!(sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).is_err(), "empty");
        let place = Headroom(0);
        buffer.push(7);
        assert!(sealer.seal_in_place(meta(FragmentKind::Init, true), &mut buffer, place).is_err(), "init as last");
        assert_eq!(buffer[HEADER_LEN..], [7]);
        buffer.clear();
        assert!(sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, Headroom(0)).is_err());
        let place = begin(&mut buffer);
        buffer.resize(HEADER_LEN + peri_domain::limits::FRAGMENT_BYTES_MAX + 1, 0);
        assert!(sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).is_err());
        assert_eq!(sealer.next_counter(), 0);
    }

    #[test]
    fn a_key_seals_at_most_2_to_the_32_fragments_and_run_0_is_none() {
        let key = || ContentKey::from_bytes([1; 32]);
        assert!(Sealer::new(key(), Hash([2; 32]), 1, FRAGMENTS_PER_KEY_MAX).is_err());
        assert!(Sealer::new(key(), Hash([2; 32]), 0, 0).is_err());
        let mut sealer = sealer(FRAGMENTS_PER_KEY_MAX - 1);
        for expected in [true, false] {
            let mut buffer = Vec::new();
            let place = begin(&mut buffer);
            buffer.push(1);
            assert_eq!(sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).is_ok(), expected);
        }
        let mut runs = RunCounter(u32::MAX - 1);
        assert_eq!((runs.raise(), runs.raise()), (Some(u32::MAX), None));
    }

    proptest! {
        /// A recorder is killed at any moment: of what it sealed, any tail never reached the disk. The next one goes on
        /// after what did, under the next run.
        #[test]
        fn no_nonce_repeats_over_kills(lives in proptest::collection::vec((0..20_u64, 0..20_u64), 1..12)) {
            let mut runs = RunCounter::new();
            let mut on_disk = 0;
            let mut seen = std::collections::HashSet::new();
            for (sealed, lost) in lives {
                let run = runs.raise().unwrap();
                let key = ContentKey::from_bytes([1; 32]);
                let mut sealer = Sealer::new(key, Hash([2; 32]), run, on_disk).unwrap();
                for _ in 0..sealed {
                    let mut buffer = Vec::new();
                    let place = begin(&mut buffer);
                    buffer.push(1);
                    let header = sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).unwrap();
                    prop_assert!(seen.insert(nonce(header.run, header.counter)));
                }
                on_disk += sealed.saturating_sub(lost);
            }
        }
    }

    /// Best of five, so that a neighbour on the machine does not count.
    #[allow(clippy::disallowed_methods, reason = "a measurement, not product code")]
    fn gb_per_s(bytes: usize, mut work: impl FnMut()) -> f64 {
        let best = (0..5)
            .map(|_| {
                let from = Instant::now();
                work();
                from.elapsed()
            })
            .min()
            .unwrap_or(Duration::MAX);
        #[allow(clippy::cast_precision_loss)]
        let gigabytes = bytes as f64 / 1e9;
        gigabytes / best.as_secs_f64()
    }

    #[test]
    #[ignore = "prints a measurement"]
    #[allow(clippy::print_stdout)]
    fn throughput() {
        const TIMES: usize = 2_000;
        for len in [4_096, 16_384, 65_536] {
            let mut buffer = Vec::with_capacity(len + OVERHEAD);
            let cipher = Aes256Gcm::new(&[1; 32].into());
            buffer.resize(len, 0);
            let mut counter = 0;
            let raw = gb_per_s(TIMES * len, || {
                for _ in 0..TIMES {
                    counter += 1;
                    let tag = cipher.encrypt_inout_detached(
                        &nonce(1, counter).into(),
                        &[0; 64],
                        buffer.as_mut_slice().into(),
                    );
                    std::hint::black_box(tag.unwrap());
                }
            });
            let mut tail = TailHash::new(&Hash([0; 32]));
            let mut run = |with_tail: bool| {
                let mut sealer = sealer(0);
                gb_per_s(TIMES * len, || {
                    for _ in 0..TIMES {
                        buffer.clear();
                        let place = begin(&mut buffer);
                        // Only the length is set: what lies there is the ciphertext of the round before.
                        buffer.resize(HEADER_LEN + len, 0);
                        sealer.seal_in_place(meta(FragmentKind::Media, false), &mut buffer, place).unwrap();
                        if with_tail {
                            tail.push(&buffer);
                        }
                    }
                })
            };
            let (sealed, tailed) = (run(false), run(true));
            println!(
                "{len:6} B: aes-gcm {raw:.2} GB/s, sealer {sealed:.2} ({:.0} %), with tail hash {tailed:.2} ({:.0} %)",
                100.0 * sealed / raw,
                100.0 * tailed / raw
            );
        }
    }
}
