//! Events on disk while PostgreSQL is away: a bounded, synced append file.
//!
//! Frame: length of the payload (u32 LE) ‖ CRC-32C of the payload (u32 LE) ‖ payload, the canonical CBOR
//! [run, number, event bytes]. Durability point: [`Spool::push`] returns after fdatasync. A torn tail – the frame that a
//! power cut interrupted, never acknowledged – is cut off at opening and counted. What does not belong: when to spool
//! and when to replay (`journal`). Events are not secret beyond the ledger itself: details are in the clear here as in
//! the database, and the file is emptied as soon as they are there.

use minicbor::{Decode, Encode};
use peri_domain::Nonce;
use peri_domain::limits::{SPOOL_BYTES_MAX, SPOOL_ENTRIES_MAX};
use peri_ledger::Event;
use peri_sandbox::durable::{Dir, DurableError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Name of the file.
pub const SPOOL_FILE: &str = "ledger.spool";

/// Length and CRC before each payload.
const HEAD: usize = 8;

/// Why events could not be spooled or read back.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The bound is reached.
    #[error("the spool is full ({entries} events, {bytes} bytes); bring PostgreSQL back")]
    Full {
        /// Events in it.
        entries: usize,
        /// Bytes in it.
        bytes: u64,
    },
    /// The file system refused.
    #[error("spool: {0}; check space and health of the disk")]
    Io(#[from] io::Error),
    /// The directory refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// One event with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// The run of scribe that recorded it.
    pub run: Nonce,
    /// Its number in that run.
    pub no: u64,
    /// The event.
    pub event: Event,
}

#[derive(Encode, Decode)]
struct Frame {
    #[n(0)]
    run: Nonce,
    #[n(1)]
    no: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    event: Vec<u8>,
}

/// The open file.
#[derive(Debug)]
pub struct Spool {
    file: File,
    bytes: u64,
    entries: usize,
    bytes_max: u64,
    torn: u64,
}

impl Spool {
    /// Opens or makes the spool and cuts a torn tail off.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn open(dir: &Dir) -> Result<Self, SpoolError> {
        Self::open_with(dir, SPOOL_BYTES_MAX)
    }

    fn open_with(dir: &Dir, bytes_max: u64) -> Result<Self, SpoolError> {
        let file = dir.open_append(SPOOL_FILE, 0o600)?;
        dir.sync()?;
        let mut spool = Self { file, bytes: 0, entries: 0, bytes_max, torn: 0 };
        let content = spool.content(spool.file.metadata()?.len())?;
        let (frames, good) = parse(&content);
        spool.entries = frames.len();
        spool.bytes = good as u64;
        spool.torn = (content.len() - good) as u64;
        if spool.torn > 0 {
            spool.cut()?;
        }
        Ok(spool)
    }

    /// Events in the spool.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes that were cut off at opening: at most one unacknowledged push, more only when the disk lost something.
    #[must_use]
    pub const fn torn_bytes(&self) -> u64 {
        self.torn
    }

    /// Appends events numbered from `first_no` on; durable on return, all or none.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Io`]; then none of them is in the spool.
    pub fn push(&mut self, run: Nonce, first_no: u64, events: &[Event]) -> Result<(), SpoolError> {
        let mut frames = Vec::new();
        for (no, event) in (first_no..).zip(events) {
            let frame = Frame { run, no, event: event.to_bytes() };
            let payload = minicbor::to_vec(&frame).expect("writing to a Vec cannot fail");
            let length = u32::try_from(payload.len()).expect("an event is bounded far below 4 GiB");
            frames.extend_from_slice(&length.to_le_bytes());
            frames.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
            frames.extend_from_slice(&payload);
        }
        let bytes = self.bytes + frames.len() as u64;
        if self.entries + events.len() > SPOOL_ENTRIES_MAX || bytes > self.bytes_max {
            return Err(SpoolError::Full { entries: self.entries, bytes: self.bytes });
        }
        let written = io::Write::write_all(&mut &self.file, &frames).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was half written must not stand before the next frame. If even this fails, opening cuts it.
            let _ = self.cut();
            return Err(error.into());
        }
        self.bytes = bytes;
        self.entries += events.len();
        Ok(())
    }

    /// Everything in the spool, in order.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn read(&self) -> Result<Vec<Spooled>, SpoolError> {
        let content = self.content(self.bytes)?;
        let (frames, good) = parse(&content);
        if frames.len() != self.entries || good != content.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame changed after it was synced").into());
        }
        Ok(frames)
    }

    /// Empties the spool, durably: everything in it is in the ledger.
    ///
    /// # Errors
    /// [`SpoolError::Io`]; then a later replay finds the events again, and their numbers known.
    pub fn clear(&mut self) -> Result<(), SpoolError> {
        self.bytes = 0;
        self.entries = 0;
        self.cut()
    }

    fn cut(&self) -> Result<(), SpoolError> {
        self.file.set_len(self.bytes)?;
        Ok(self.file.sync_all()?)
    }

    fn content(&self, length: u64) -> Result<Vec<u8>, SpoolError> {
        // Nobody but us writes here; a longer file is damage, and its surplus is cut like any other.
        let length = usize::try_from(length.min(2 * SPOOL_BYTES_MAX)).unwrap_or(usize::MAX);
        let mut content = vec![0; length];
        self.file.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}

/// The good frames from the beginning, and how many bytes they take.
fn parse(content: &[u8]) -> (Vec<Spooled>, usize) {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((frame, end)) = parse_one(content, at) {
        frames.push(frame);
        at = end;
    }
    (frames, at)
}

fn parse_one(content: &[u8], at: usize) -> Option<(Spooled, usize)> {
    let head = content.get(at..at + HEAD)?;
    let word = |from: usize| head[from..from + 4].try_into().ok().map(u32::from_le_bytes);
    let (length, crc) = (usize::try_from(word(0)?).ok()?, word(4)?);
    let end = (at + HEAD).checked_add(length)?;
    let payload = content.get(at + HEAD..end)?;
    // Zeroes, as a file system leaves them behind a power cut, have the CRC of nothing and are no frame.
    if payload.is_empty() || crc32c::crc32c(payload) != crc {
        return None;
    }
    let frame: Frame = minicbor::decode(payload).ok()?;
    let event = Event::from_bytes(&frame.event).ok()?;
    Some((Spooled { run: frame.run, no: frame.no, event }, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::UtcNanos;
    use peri_ledger::EntryType;
    use std::fs;

    const RUN: Nonce = Nonce([1; 16]);

    fn events(count: i64) -> Vec<Event> {
        (0..count).map(|i| Event::new(EntryType::CameraLost, UtcNanos(i)).with_detail(Nonce([2; 16]), &i)).collect()
    }

    #[test]
    fn events_come_back_in_order_after_reopening() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut spool = Spool::open(&dir).unwrap();
        spool.push(RUN, 5, &events(3)).unwrap();
        spool.push(RUN, 8, &events(1)).unwrap();
        drop(spool);
        let mut spool = Spool::open(&dir).unwrap();
        assert_eq!((spool.len(), spool.torn_bytes()), (4, 0));
        let numbers: Vec<_> = spool.read().unwrap().into_iter().map(|s| s.no).collect();
        assert_eq!(numbers, [5, 6, 7, 8]);
        assert_eq!(spool.read().unwrap()[2].event, events(3)[2]);
        spool.clear().unwrap();
        assert!(Spool::open(&dir).unwrap().is_empty());
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_its_own_frame() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut spool = Spool::open(&dir).unwrap();
        spool.push(RUN, 0, &events(2)).unwrap();
        let whole = spool.bytes;
        // An event whose last byte is not zero, so that zeroes cannot complete it.
        spool.push(RUN, 2, &events(2)[1..]).unwrap();
        let path = place.path().join(SPOOL_FILE);
        let full = fs::read(&path).unwrap();
        for cut in whole..full.len() as u64 {
            let mut torn = full[..cut as usize].to_vec();
            // Some file systems leave zeroes where the data never came.
            if cut % 2 == 0 {
                torn.extend_from_slice(&[0; 64]);
            }
            fs::write(&path, torn).unwrap();
            let mut spool = Spool::open(&dir).unwrap();
            assert_eq!((spool.len(), spool.bytes), (2, whole), "cut at {cut}");
            spool.push(RUN, 2, &events(1)).unwrap();
            assert_eq!(Spool::open(&dir).unwrap().len(), 3);
        }
    }

    #[test]
    fn a_full_spool_refuses_and_keeps_what_it_has() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut spool = Spool::open_with(&dir, 400).unwrap();
        let mut kept = 0;
        while spool.push(RUN, kept, &events(1)).is_ok() {
            kept += 1;
        }
        assert!(kept > 2);
        assert!(matches!(spool.push(RUN, kept, &events(1)), Err(SpoolError::Full { .. })));
        assert_eq!(Spool::open(&dir).unwrap().len() as u64, kept);
    }

    #[test]
    fn a_flipped_bit_is_never_replayed() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        Spool::open(&dir).unwrap().push(RUN, 0, &events(1)).unwrap();
        let path = place.path().join(SPOOL_FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, bad).unwrap();
            assert!(Spool::open(&dir).unwrap().is_empty(), "byte {at}");
        }
    }
}
