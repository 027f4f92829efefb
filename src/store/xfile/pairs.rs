//! Files and roots: writing a pair, and finding out which file opens with which root.
//!
//! What does not belong: the order of the steps, which [`super::XFile`] owns.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::format::{self, Layout, Record, Sealer, SlotState};
use super::{Key, KeyDir, KeyFile, XFileError};
use crate::root::{RootEntry, RootStore, Slot};

pub(super) struct Scanned {
    pub(super) live: BTreeMap<Key, u32>,
    pub(super) dropped: BTreeSet<Key>,
    pub(super) burned: Vec<u32>,
}

pub(super) fn generations<D: KeyDir>(dir: &D) -> Result<Vec<u64>, XFileError> {
    let names = dir.names().map_err(|source| XFileError::Io { doing: "listing key files", source })?;
    Ok(names.iter().filter_map(|name| format::generation_of(name)).collect())
}

/// The file of this root, if it opens with it.
pub(super) fn open_pair<D: KeyDir>(dir: &D, entry: &RootEntry) -> Result<Option<(Layout, D::File)>, XFileError> {
    let io = |source| XFileError::Io { doing: "opening the key file", source };
    let file = dir.open(&format::file_name(entry.generation)).map_err(io)?;
    let len = file.length().map_err(io)?;
    let mut header = [0; format::HEADER_LEN];
    if len < format::HEADER_LEN as u64 {
        return Ok(None);
    }
    file.read_at(&mut header, 0).map_err(io)?;
    let layout = Sealer::new(&entry.key, entry.generation).open_header(&header);
    Ok(layout.filter(|layout| layout.file_len() == len).map(|layout| (layout, file)))
}

pub(super) fn scan<F: KeyFile>(file: &F, layout: Layout, entry: &RootEntry) -> Result<Scanned, XFileError> {
    let mut scanned = Scanned { live: BTreeMap::new(), dropped: BTreeSet::new(), burned: Vec::new() };
    visit(file, layout, entry, |slot, mark, state| match state {
        SlotState::Empty => {}
        SlotState::Burned => scanned.burned.push(slot),
        SlotState::Taken(record) if mark == format::DROPPED => {
            scanned.dropped.insert(record.key());
        }
        SlotState::Taken(record) => {
            scanned.live.insert(record.key(), slot);
        }
    })?;
    Ok(scanned)
}

pub(super) fn visit<F: KeyFile>(
    file: &F,
    layout: Layout,
    entry: &RootEntry,
    mut each: impl FnMut(u32, u8, SlotState),
) -> Result<(), XFileError> {
    const CHUNK: u32 = 512; // 64 KiB of records at once
    let io = |source| XFileError::Io { doing: "reading the key file", source };
    let sealer = Sealer::new(&entry.key, entry.generation);
    let mut first = 0;
    while first < layout.slots {
        let count = CHUNK.min(layout.slots - first);
        let mut records = vec![0; count as usize * format::RECORD_LEN];
        let mut marks = vec![0; count as usize];
        file.read_at(&mut records, layout.record_at(first)).map_err(io)?;
        file.read_at(&mut marks, layout.mark_at(first)).map_err(io)?;
        for ((slot, sealed), mark) in (first..).zip(records.as_chunks().0).zip(marks) {
            each(slot, mark, sealer.open(slot, sealed));
        }
        first += count;
    }
    Ok(())
}

/// Whether a file is what a creation leaves that was cut before its root was stored: no record, no mark.
pub(super) fn never_used<D: KeyDir>(dir: &D, generation: u64) -> bool {
    let check = || -> io::Result<bool> {
        let file = dir.open(&format::file_name(generation))?;
        let len = file.length()?;
        let mut at = format::HEADER_LEN as u64;
        while at < len {
            let mut chunk = vec![0; usize::try_from((len - at).min(1 << 20)).unwrap_or(1 << 20)];
            file.read_at(&mut chunk, at)?;
            if chunk.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += chunk.len() as u64;
        }
        Ok(true)
    };
    check().unwrap_or(false)
}

/// A key file in the making: its ciphertext in memory, filled record by record, so that never more than one X lies there
/// in clear.
pub(super) struct Image<'a> {
    layout: Layout,
    entry: &'a RootEntry,
    sealer: Sealer,
    bytes: Vec<u8>,
    taken: u32,
}

impl<'a> Image<'a> {
    /// An empty one. Every byte is written later, zeros too, so that a full disk never stops a draw.
    pub(super) fn new(layout: Layout, entry: &'a RootEntry) -> Self {
        let sealer = Sealer::new(&entry.key, entry.generation);
        let mut bytes = vec![0; usize::try_from(layout.file_len()).unwrap_or(usize::MAX)];
        bytes[..format::HEADER_LEN].copy_from_slice(&sealer.seal_header(layout));
        Self { layout, entry, sealer, bytes, taken: 0 }
    }

    /// Takes the next slot; `None` when there is none.
    pub(super) fn push(&mut self, record: &Record) -> Option<u32> {
        let slot = self.taken;
        if slot >= self.layout.slots {
            return None;
        }
        let at = usize::try_from(self.layout.record_at(slot)).unwrap_or(usize::MAX);
        self.bytes[at..at + format::RECORD_LEN].copy_from_slice(&self.sealer.seal(slot, record));
        self.taken += 1;
        Some(slot)
    }

    /// Writes the file and makes it and its name durable.
    pub(super) fn write<D: KeyDir>(self, dir: &D) -> Result<D::File, XFileError> {
        let io = |source| XFileError::Io { doing: "writing the new file", source };
        let file = dir.create(&format::file_name(self.entry.generation)).map_err(io)?;
        file.write_at(&self.bytes, 0).map_err(io)?;
        file.sync().map_err(io)?;
        dir.sync().map_err(io)?;
        Ok(file)
    }
}

/// Stores a root and reads it back.
pub(super) fn put_root<R: RootStore>(roots: &mut R, slot: Slot, entry: &RootEntry) -> Result<(), XFileError> {
    let doing = "storing the new root";
    roots.store(slot, entry).map_err(|source| XFileError::Root { doing, source })?;
    let back = roots.load(slot).map_err(|source| XFileError::Root { doing, source })?;
    match back {
        Some(back) if back.generation == entry.generation && back.key.same_as(&entry.key) => Ok(()),
        _ => Err(XFileError::ReadBack { slot }),
    }
}
