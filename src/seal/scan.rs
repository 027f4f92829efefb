//! Walking a segment without a key: headers, checksums, order.
//!
//! Used at a recorder's restart (where does the good part end?), to replay the index when the database was away, and by
//! fsck. What does not belong: opening, repairing (the caller cuts the file), the database. Invariants: memory is one
//! window of [`WINDOW`] bytes and the head (at most `HEAD_LEN_MAX`), whatever the file holds; no byte behind the good
//! part is ever reported as good. A checksum is no signature: who can write the file can make one that scans well but
//! does not open.

use crate::sealer::TailHash;
use crate::segment::{
    CRC_LEN, FragmentHeader, HEAD_LEN_MAX, HEADER_LEN, Head, HeadError, HeaderError, Order, OrderError, parse_head,
};
use peri_domain::Hash;
use sha2::Digest;
use std::io;

/// Bytes read at once: large enough that a read costs less than the checksum of what it brings.
pub const WINDOW: usize = 128 * 1024;

/// A source that is read at offsets, as by `pread(2)`.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes at the offset; 0 at the end.
    ///
    /// # Errors
    /// Those of the source.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }
}

/// One good fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes of the whole fragment, checksum included.
    pub len: u32,
    /// Its header.
    pub header: FragmentHeader,
}

/// Why a scan went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The file ends where a fragment ends.
    #[error("the file ends with a whole fragment")]
    Clean,
    /// The file ends inside a fragment, or with nothing but zeros where one should start (an extended file whose data
    /// never reached the disk).
    #[error("the file ends inside the fragment at byte {at}: the write was cut; the part before it is good")]
    Torn {
        /// Where the good part ends.
        at: u64,
    },
    /// A fragment whose checksum or header is wrong.
    #[error("the fragment at byte {at} is damaged ({why}); the part before it is good")]
    Corrupt {
        /// Where the good part ends.
        at: u64,
        /// What is wrong.
        why: Damage,
    },
    /// A whole fragment that may not come here.
    #[error("byte {at}: {why}; the part before it is good")]
    OutOfOrder {
        /// Where the good part ends.
        at: u64,
        /// What is wrong.
        why: OrderError,
    },
}

/// What is wrong with a damaged fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// CRC-32C.
    #[error("CRC-32C")]
    Checksum,
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanEnd {
    /// Bytes that are good; the file may be cut here and written on.
    pub good_len: u64,
    /// Good fragments.
    pub fragments: u64,
    /// Counter for the next fragment.
    pub next_counter: u64,
    /// Highest run; 0 when there is no fragment.
    pub run: u32,
    /// The last good fragment.
    pub last: Option<IndexEntry>,
    /// Whether it is marked as the last.
    pub finished: bool,
    /// [`TailHash`] over the good fragments.
    pub tail: TailHash,
    /// Why the scan ended.
    pub stop: Stop,
}

/// A scan under way.
pub struct TailScan<R> {
    source: R,
    head: Head,
    record_hash: Hash,
    window: Vec<u8>,
    window_at: u64,
    offset: u64,
    order: Order,
    tail: TailHash,
    fragments: u64,
    last: Option<IndexEntry>,
    stop: Option<Stop>,
}

/// Reads the head of a segment.
///
/// # Errors
/// [`HeadError`]; `Incomplete` when the file ends inside the head.
pub fn read_head<R: ReadAt + ?Sized>(source: &R) -> Result<Head, HeadError> {
    let mut bytes = Vec::new();
    let mut want = 4_096;
    loop {
        let from = bytes.len();
        bytes.resize(want, 0);
        let read = read_full(source, u64::try_from(from).unwrap_or(u64::MAX), &mut bytes[from..])?;
        bytes.truncate(from + read);
        match parse_head(&bytes) {
            // `need` is bounded by the parser and above what is there, so this goes on at most twice.
            Err(HeadError::Incomplete { need }) if bytes.len() == want && need <= HEAD_LEN_MAX => want = need,
            result => return result,
        }
    }
}

impl<R: ReadAt> TailScan<R> {
    /// Reads the head and stands before the first fragment.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn open(source: R) -> Result<Self, HeadError> {
        let head = read_head(&source)?;
        let offset = u64::try_from(head.len).expect("a head has less than 1 MiB");
        let record_hash = head.record.hash();
        Ok(Self {
            source,
            record_hash,
            window: Vec::new(),
            window_at: 0,
            offset,
            order: Order::file(),
            tail: TailHash::new(&record_hash),
            fragments: 0,
            last: None,
            stop: None,
            head,
        })
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Hash of the epoch record.
    pub fn record_hash(&self) -> Hash {
        self.record_hash
    }

    /// The next good fragment; `None` when there is no more, and [`TailScan::finish`] says why.
    ///
    /// # Errors
    /// Those of the source; the scan can be called again.
    pub fn next_entry(&mut self) -> io::Result<Option<IndexEntry>> {
        if self.stop.is_some() {
            return Ok(None);
        }
        match self.step()? {
            Ok(entry) => Ok(Some(entry)),
            Err(stop) => {
                self.stop = Some(stop);
                Ok(None)
            }
        }
    }

    /// Walks what is left and says how it ended.
    ///
    /// # Errors
    /// Those of the source.
    pub fn finish(mut self) -> io::Result<ScanEnd> {
        while self.next_entry()?.is_some() {}
        Ok(ScanEnd {
            good_len: self.offset,
            fragments: self.fragments,
            next_counter: self.order.next_counter(),
            run: self.order.run(),
            last: self.last,
            finished: self.order.ended(),
            tail: self.tail,
            stop: self.stop.unwrap_or(Stop::Clean),
        })
    }

    fn step(&mut self) -> io::Result<Result<IndexEntry, Stop>> {
        let at = self.offset;
        let available = self.fill(at, HEADER_LEN)?;
        if available.is_empty() {
            return Ok(Err(Stop::Clean));
        }
        let Some(bytes) = available.first_chunk::<HEADER_LEN>().copied() else {
            return Ok(Err(Stop::Torn { at }));
        };
        let header = match FragmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(_) if bytes == [0; HEADER_LEN] && self.zeros_from(at)? => return Ok(Err(Stop::Torn { at })),
            Err(why) => return Ok(Err(Stop::Corrupt { at, why: why.into() })),
        };
        let mut order = self.order;
        let ordered = order.take(&header);
        let mut digest = self.tail.start_push();
        let mut crc = 0;
        let mut position = at;
        let body_end = at + u64::try_from(header.total_len() - CRC_LEN).expect("a fragment has about 8 MiB at most");
        while position < body_end {
            let left = usize::try_from(body_end - position).expect("less than a fragment is left");
            let piece = self.fill(position, 1)?;
            let piece = &piece[..piece.len().min(left)];
            if piece.is_empty() {
                return Ok(Err(Stop::Torn { at }));
            }
            crc = crc32c::crc32c_append(crc, piece);
            digest.update(piece);
            position += u64::try_from(piece.len()).expect("less than a window");
        }
        let Some(found) = self.fill(position, CRC_LEN)?.first_chunk::<CRC_LEN>().copied() else {
            return Ok(Err(Stop::Torn { at }));
        };
        if u32::from_be_bytes(found) != crc {
            return Ok(Err(Stop::Corrupt { at, why: Damage::Checksum }));
        }
        if let Err(why) = ordered {
            return Ok(Err(Stop::OutOfOrder { at, why }));
        }
        digest.update(found);
        self.tail.end_push(digest);
        self.order = order;
        let len = header.len + u32::try_from(crate::segment::OVERHEAD).expect("52");
        let entry = IndexEntry { offset: at, len, header };
        self.offset += u64::from(len);
        self.fragments += 1;
        self.last = Some(entry);
        Ok(Ok(entry))
    }

    /// What the window holds from `offset` on: at least `least` bytes unless the file ends before.
    fn fill(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        let skip = offset.checked_sub(self.window_at).and_then(|skip| usize::try_from(skip).ok());
        let inside = skip.filter(|skip| self.window.len().saturating_sub(*skip) >= least);
        let skip = match inside {
            Some(skip) => skip,
            None => {
                self.window.resize(WINDOW, 0);
                let read = read_full(&self.source, offset, &mut self.window);
                self.window.truncate(*read.as_ref().unwrap_or(&0));
                self.window_at = offset;
                read?;
                0
            }
        };
        Ok(&self.window[skip..])
    }

    fn zeros_from(&mut self, mut at: u64) -> io::Result<bool> {
        loop {
            let piece = self.fill(at, 1)?;
            if piece.is_empty() {
                return Ok(true);
            }
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += u64::try_from(piece.len()).expect("less than a window");
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn read_full<R: ReadAt + ?Sized>(source: &R, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match source.read_at(at, &mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealer::{FragmentMeta, Sealer, begin};
    use crate::secret::ContentKey;
    use crate::segment::tests::HEAD;
    use crate::segment::{FragmentKind, OVERHEAD};
    use peri_domain::{MediaDuration, UtcNanos};
    use proptest::prelude::*;

    /// A segment with fragments of these lengths, and where each starts; a new run after each `true`.
    fn segment(fragments: &[(usize, bool)], finish: bool) -> (Vec<u8>, Vec<u64>, TailHash) {
        let mut file = HEAD.clone();
        let record_hash = parse_head(&file).unwrap().record.hash();
        let mut tail = TailHash::new(&record_hash);
        let mut offsets = Vec::new();
        let sealer = |run, first| Sealer::new(ContentKey::from_bytes([1; 32]), record_hash, run, first).unwrap();
        let mut now = sealer(1, 0);
        for (at, (len, new_run)) in fragments.iter().enumerate() {
            let last = finish && at + 1 == fragments.len();
            let kind = if at == 0 && !last { FragmentKind::Init } else { FragmentKind::Media };
            let duration = MediaDuration(if kind == FragmentKind::Init { 0 } else { 9_000 });
            let place = begin(&mut file);
            let offset = place.offset();
            file.resize(place.payload() + len, 0x55);
            let meta = FragmentMeta { kind, key: at % 5 == 1, last, start: UtcNanos(5), duration };
            now.seal_in_place(meta, &mut file, place).unwrap();
            tail.push(&file[offset..]);
            offsets.push(u64::try_from(offset).unwrap());
            if *new_run {
                now = sealer(now.run() + 1, now.next_counter());
            }
        }
        (file, offsets, tail)
    }

    fn scan(file: &[u8]) -> (Vec<IndexEntry>, ScanEnd) {
        let mut scan = TailScan::open(file).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = scan.next_entry().unwrap() {
            entries.push(entry);
        }
        (entries, scan.finish().unwrap())
    }

    fn small() -> (Vec<u8>, Vec<u64>, TailHash) {
        segment(&[(700, false), (3_000, false), (WINDOW + 5, true), (10, false), (1, false)], true)
    }

    #[test]
    fn a_whole_segment_scans_clean_with_the_writers_tail_hash() {
        let (file, offsets, tail) = small();
        let (entries, end) = scan(&file);
        assert_eq!(entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), offsets);
        assert_eq!(end.stop, Stop::Clean);
        assert_eq!((end.fragments, end.next_counter, end.run, end.finished), (5, 5, 2, true));
        assert_eq!(end.good_len, u64::try_from(file.len()).unwrap());
        assert_eq!(end.tail, tail);
        assert!(entries[0].header.kind == FragmentKind::Init && entries[1].header.key);
    }

    #[test]
    fn a_cut_anywhere_is_torn_and_keeps_what_was_whole() {
        let (file, offsets, _) = segment(&[(700, false), (300, false), (90, false)], true);
        let len = u64::try_from(file.len()).unwrap();
        for cut in offsets[0]..len {
            let (entries, end) = scan(&file[..usize::try_from(cut).unwrap()]);
            let whole = offsets.iter().skip(1).chain([&len]).filter(|next| **next <= cut).count();
            assert_eq!(entries.len(), whole, "cut at {cut}");
            let at = offsets[whole];
            assert_eq!(end.stop, if at == cut { Stop::Clean } else { Stop::Torn { at } }, "cut at {cut}");
            assert!(end.good_len == at && !end.finished);
        }
    }

    #[test]
    fn every_changed_byte_ends_the_good_part_before_it() {
        let (file, offsets, _) = segment(&[(70, false), (30, false), (90, false)], true);
        for at in usize::try_from(offsets[0]).unwrap()..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            let (_, end) = scan(&bad);
            let start = *offsets.iter().rfind(|offset| **offset <= u64::try_from(at).unwrap()).unwrap();
            assert_eq!(end.good_len, start, "changed byte {at}");
            assert!(matches!(end.stop, Stop::Corrupt { .. } | Stop::Torn { .. }), "changed byte {at}: {:?}", end.stop);
        }
    }

    #[test]
    fn missing_swapped_repeated_and_added_fragments_are_out_of_order() {
        let (file, offsets, _) = segment(&[(70, false), (30, true), (30, false), (90, false)], true);
        let cut = |at: usize| usize::try_from(offsets[at]).unwrap();
        let (head, parts) = (&file[..cut(0)], [&file[cut(0)..cut(1)], &file[cut(1)..cut(2)], &file[cut(2)..cut(3)]]);
        let last = &file[cut(3)..];
        let build = |parts: &[&[u8]]| [&[head], parts].concat().concat();
        for (bad, why) in [
            (build(&[parts[0], parts[2], last]), OrderError::Missing { expected: 1, found: 2 }),
            (build(&[parts[0], parts[2], parts[1], last]), OrderError::Missing { expected: 1, found: 2 }),
            (build(&[parts[0], parts[1], parts[1], last]), OrderError::Repeated { expected: 2, found: 1 }),
            (build(&[parts[0], parts[1], parts[2], last, last]), OrderError::AfterLast),
        ] {
            let (_, end) = scan(&bad);
            assert!(matches!(end.stop, Stop::OutOfOrder { why: found, .. } if found == why), "{:?}", end.stop);
        }
    }

    #[test]
    fn zeros_after_the_good_part_are_a_torn_write_and_anything_else_is_damage() {
        let (mut file, ..) = segment(&[(70, false), (30, false)], false);
        let at = u64::try_from(file.len()).unwrap();
        file.resize(file.len() + 3 * WINDOW, 0);
        assert_eq!(scan(&file).1.stop, Stop::Torn { at });
        *file.last_mut().unwrap() = 1;
        assert_eq!(scan(&file).1.stop, Stop::Corrupt { at, why: Damage::Header(HeaderError::Marker) });
    }

    #[test]
    fn a_recorder_goes_on_where_the_scan_ended() {
        let (mut file, ..) = segment(&[(70, false), (30, false)], false);
        let whole = file.len();
        file.extend_from_slice(&[1, 2, 3]);
        let end = scan(&file).1;
        file.truncate(usize::try_from(end.good_len).unwrap());
        assert_eq!(file.len(), whole);
        let hash = parse_head(&file).unwrap().record.hash();
        let mut next = Sealer::new(ContentKey::from_bytes([1; 32]), hash, end.run + 1, end.next_counter).unwrap();
        let place = begin(&mut file);
        let meta = FragmentMeta {
            kind: FragmentKind::Media,
            key: false,
            last: true,
            start: UtcNanos(1),
            duration: MediaDuration(0),
        };
        next.seal_in_place(meta, &mut file, place).unwrap();
        let end = scan(&file).1;
        assert!(end.stop == Stop::Clean && end.finished && end.fragments == 3 && end.run == 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_scan_finds_what_the_writer_wrote(
            fragments in proptest::collection::vec((1..40_000_usize, any::<bool>()), 1..20),
            finish in any::<bool>(),
        ) {
            let (file, offsets, tail) = segment(&fragments, finish);
            let (entries, end) = scan(&file);
            prop_assert_eq!(end.stop, Stop::Clean);
            prop_assert_eq!(end.finished, finish);
            prop_assert_eq!(end.tail, tail);
            prop_assert_eq!(entries.len(), fragments.len());
            for (at, entry) in entries.iter().enumerate() {
                prop_assert_eq!(entry.offset, offsets[at]);
                prop_assert_eq!(entry.len as usize, fragments[at].0 + OVERHEAD);
                prop_assert_eq!(entry.header.counter, u64::try_from(at).unwrap());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_nor_grow_the_window(
            bytes in proptest::collection::vec(any::<u8>(), 0..3_000),
            marked in any::<bool>(),
        ) {
            let mut file = HEAD.clone();
            let head = file.len();
            file.extend_from_slice(&bytes);
            if marked && bytes.len() > 40 {
                file[head..head + 5].copy_from_slice(&[b'P', b'F', 2, 1, 0]);
            }
            let mut scan = TailScan::open(file.as_slice()).unwrap();
            while scan.next_entry().unwrap().is_some() {}
            prop_assert!(scan.window.capacity() <= WINDOW);
            prop_assert!(scan.finish().unwrap().good_len >= u64::try_from(head).unwrap());
            let _ = TailScan::open(bytes.as_slice());
        }
    }
}
