//! The X key file: scribe's half of every epoch's content key, at rest.
//!
//! One file (a header and `slots` records) lies encrypted under a root that lives elsewhere ([`crate::root`]). Its number
//! of slots is fixed while it lives; each re-key writes a new file of the size that is needed then ([`size`]). X is drawn here, looked up here, and ends here: erasure of a segment *is* the re-key that leaves
//! its X out (DESIGN §3.4, §3.7).
//!
//! What does not belong: E, K, who may have an X, segment files.
//!
//! # Why no (root, nonce) pair ever repeats
//! A record is sealed with AES-256-GCM under the root; the nonce is slot number ‖ generation. A root is drawn for one
//! file and never used for another, so within a root the generation is constant and nonces differ as slots differ. Within
//! a file a slot is written at most once: `next_free` only rises, also after a failed write. A restart forgets
//! `next_free`, and a slot that reads as empty may have been written before the power went; therefore *opening re-keys*:
//! the file found is only read, and every write goes to a new file under a new root.
//!
//! # Re-key, step by step (● = durable)
//! ```text
//!  file g, root g in slot s ──● file g+1 written and synced, directory synced     old pair opens
//!                           ──● root g+1 in slot other(s), read back              both open, same content; new wins
//!                           ──● slot s overwritten, read back                     new pair opens; old X are gone
//!                           ──● file g unlinked, directory synced
//! ```
//! A crash anywhere is decided at the next opening by *the highest generation that opens*. Between the second and the
//! third point nothing is drawn, so both pairs hold the same. A failure (not a crash) before the second point takes the
//! new file away again, so that its root opens nothing; if even that fails, the value refuses all service until it is
//! opened anew, because a draw into the old file could be lost to the new one.
//!
//! # Invariants
//! - [`XFile::draw`] returns only what is on disk.
//! - A dropped X is gone from memory at once, from the file's index at once (a mark, durable), and from the machine
//!   after the next successful [`XFile::rekey`] or [`XFile::open`].
//! - A record that does not open (torn by a power cut, rotten) is *burned*: reported, never reused, not carried over.

pub mod disk;
mod error;
mod format;
mod pairs;
#[cfg(test)]
mod simulated;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use peri_domain::{CameraId, EpochNo, Hash};
use peri_seal::XSecret;

use crate::root::{RootEntry, RootKey, RootStore, Slot};
pub use error::XFileError;
use format::{Layout, Record, Sealer, SlotState};
use pairs::{Image, generations, never_used, open_pair, put_root, scan, visit};
pub use size::{Demand, SLOTS_MAX, SLOTS_MIN};

/// The directory of the key file, as far as this module needs it. Names are plain file names.
pub trait KeyDir {
    /// An open file.
    type File: KeyFile;
    /// Names of all files, in any order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Creates a file that must not exist, readable and writable for this user only.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Removes a file; one that is not there is no error.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync(&self) -> io::Result<()>;
}

/// One file, read and written at offsets.
pub trait KeyFile {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes written bytes durable.
    fn sync(&self) -> io::Result<()>;
}

type Key = (CameraId, EpochNo);

/// What [`XFile::open`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Generation of the file now in use.
    pub generation: u64,
    /// Whether there was none before.
    pub created: bool,
    /// X that live.
    pub live: usize,
    /// Slots that did not open: torn by a power cut or rotten. Their epochs, if any record names them, are lost.
    pub burned: Vec<u32>,
    /// X that were marked before the restart and are gone now.
    pub erased: Vec<Key>,
    /// An earlier re-key had been cut; it was completed or taken back.
    pub recovered: bool,
}

/// What a re-key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// Generation of the new file.
    pub generation: u64,
    /// X carried over.
    pub carried: usize,
    /// X that no longer exist anywhere.
    pub erased: Vec<Key>,
    /// X whose record did not open and could not be carried over.
    pub damaged: Vec<Key>,
}

/// The open key file. One value per machine; scribe owns it.
pub struct XFile<D: KeyDir, R: RootStore> {
    dir: D,
    roots: R,
    layout: Layout,
    current: Current<D::File>,
    /// Slots that are to be there after the next re-key.
    expected: u32,
    /// Slot of each living X.
    index: BTreeMap<Key, u32>,
    /// Dropped since the last re-key; their records are still in the file.
    dropped: BTreeSet<Key>,
    /// First slot never written in this generation.
    next_free: u32,
    /// Highest generation ever tried, so that a failed attempt's file name is not taken again.
    highest: u64,
    /// The last re-key could not clear the old root or unlink the old file yet.
    leftovers: bool,
    /// Erased as soon as the leftovers are gone.
    erasing: Vec<Key>,
    poisoned: bool,
}

struct Current<F> {
    file: F,
    generation: u64,
    slot: Slot,
    root: RootKey,
}

impl<D: KeyDir, R: RootStore> XFile<D, R> {
    /// Opens whichever (file, root) pair opens, the highest generation first, and re-keys it into a file of `slots`
    /// slots, or of more where more X live. Creates one where there is nothing, or nothing but a creation that was cut
    /// before its first X.
    ///
    /// # Errors
    /// [`XFileError::NoPairOpens`] when there is something and none of it opens; others as they come. Opening may be
    /// tried again.
    pub fn open(dir: D, roots: R, slots: u32) -> Result<(Self, Opened), XFileError> {
        Self::open_or_forget(dir, roots, slots, false)
    }

    /// As [`Self::open`], but where no pair opens, everything is given up and a new file started: the answer to a lost
    /// TPM. All recordings so far stay closed for ever.
    ///
    /// # Errors
    /// As [`Self::open`], without [`XFileError::NoPairOpens`].
    pub fn open_or_forget(dir: D, mut roots: R, slots: u32, forget: bool) -> Result<(Self, Opened), XFileError> {
        let mut entries = Vec::new();
        for slot in Slot::BOTH {
            let entry = roots.load(slot).map_err(|source| XFileError::Root { doing: "reading roots", source })?;
            entries.extend(entry.map(|entry| (slot, entry)));
        }
        let mut generations = generations(&dir)?;
        generations.sort_unstable_by(|a, b| b.cmp(a));
        entries.sort_unstable_by_key(|(_, entry)| core::cmp::Reverse(entry.generation));
        let root_generations: Vec<_> = entries.iter().map(|(_, entry)| entry.generation).collect();
        let highest = generations.iter().chain(&root_generations).copied().max().unwrap_or(0);
        let candidates = entries.len() + generations.len();

        for (slot, entry) in entries {
            if !generations.contains(&entry.generation) {
                continue;
            }
            let Some((layout, file)) = open_pair(&dir, &entry)? else { continue };
            let scanned = scan(&file, layout, &entry)?;
            let generation = entry.generation;
            let mut this = Self {
                dir,
                roots,
                layout,
                current: Current { file, generation, slot, root: entry.key },
                expected: slots,
                index: scanned.live,
                dropped: scanned.dropped,
                next_free: layout.slots, // the file found is only read
                highest,
                leftovers: true,
                erasing: Vec::new(),
                poisoned: false,
            };
            let done = this.rekey()?;
            let live = this.index.len();
            let burned = scanned.burned;
            let opened = Opened {
                generation: done.generation,
                created: false,
                live,
                burned,
                erased: done.erased,
                recovered: candidates > 2,
            };
            return Ok((this, opened));
        }

        let unused = root_generations.is_empty() && generations.iter().all(|&g| never_used(&dir, g));
        if !unused && !forget {
            return Err(XFileError::NoPairOpens { files: generations, roots: root_generations });
        }
        Self::create(dir, roots, slots, highest + 1, candidates > 0)
    }

    fn create(
        dir: D,
        mut roots: R,
        slots: u32,
        generation: u64,
        recovered: bool,
    ) -> Result<(Self, Opened), XFileError> {
        let layout = Layout { slots: size::slots_for(slots, 0) };
        let key = RootKey::generate().map_err(|source| XFileError::Root { doing: "new root", source })?;
        let entry = RootEntry { generation, key };
        let file = Image::new(layout, &entry).write(&dir)?;
        // Slot B may hold a root that opens nothing any more: it is cleared with the leftovers.
        put_root(&mut roots, Slot::A, &entry)?;
        let current = Current { file, generation, slot: Slot::A, root: entry.key };
        let mut this = Self {
            dir,
            roots,
            layout,
            current,
            expected: slots,
            index: BTreeMap::new(),
            dropped: BTreeSet::new(),
            next_free: 0,
            highest: generation,
            leftovers: true,
            erasing: Vec::new(),
            poisoned: false,
        };
        this.clear_leftovers()?;
        let opened = Opened { generation, created: true, live: 0, burned: Vec::new(), erased: Vec::new(), recovered };
        Ok((this, opened))
    }

    /// Draws the X of a new epoch. It is on disk when this returns.
    ///
    /// # Errors
    /// [`XFileError::DrawnBefore`], [`XFileError::Full`] (a re-key makes room), or what the disk says; then the slot is
    /// burned until the next re-key and the X that was in hand is forgotten.
    pub fn draw(&mut self, camera: CameraId, epoch: EpochNo) -> Result<XSecret, XFileError> {
        if self.poisoned {
            return Err(XFileError::Reopen);
        }
        if self.index.contains_key(&(camera, epoch)) || self.dropped.contains(&(camera, epoch)) {
            return Err(XFileError::DrawnBefore { camera, epoch });
        }
        if self.next_free >= self.layout.slots {
            return Err(XFileError::Full { slots: self.layout.slots });
        }
        let slot = self.next_free;
        self.next_free += 1; // before the write: a slot that may have been written is never written again
        let record = Record::draw(camera, epoch).ok_or(XFileError::Random)?;
        let sealed = Sealer::new(&self.current.root, self.current.generation).seal(slot, &record);
        let io = |source| XFileError::Io { doing: "drawing X", source };
        self.current.file.write_at(&sealed, self.layout.record_at(slot)).map_err(io)?;
        self.current.file.sync().map_err(io)?;
        self.index.insert((camera, epoch), slot);
        Ok(record.x())
    }

    /// The X of an epoch, read from the file.
    ///
    /// # Errors
    /// [`XFileError::Unknown`], [`XFileError::Damaged`], or what the disk says.
    pub fn get(&self, camera: CameraId, epoch: EpochNo) -> Result<XSecret, XFileError> {
        let slot = *self.index.get(&(camera, epoch)).ok_or(XFileError::Unknown { camera, epoch })?;
        self.record(slot)?
            .filter(|record| record.key() == (camera, epoch))
            .map(|record| record.x())
            .ok_or(XFileError::Damaged { camera, epoch, slot })
    }

    /// Marks X as dropped: no longer handed out, also after a restart, and gone at the next re-key. Epochs that have
    /// none are skipped, so that an interrupted erasure can be repeated. Returns how many were marked.
    ///
    /// # Errors
    /// What the disk says; then none is *known* to be marked, and the call may be repeated.
    pub fn drop_keys(&mut self, keys: &[(CameraId, EpochNo)]) -> Result<usize, XFileError> {
        if self.poisoned {
            return Err(XFileError::Reopen);
        }
        let io = |source| XFileError::Io { doing: "marking X as dropped", source };
        let known: Vec<_> = keys.iter().filter_map(|key| Some((*key, *self.index.get(key)?))).collect();
        for (_, slot) in &known {
            self.current.file.write_at(&[format::DROPPED], self.layout.mark_at(*slot)).map_err(io)?;
        }
        if !known.is_empty() {
            self.current.file.sync().map_err(io)?;
        }
        for (key, _) in &known {
            self.index.remove(key);
            self.dropped.insert(*key);
        }
        Ok(known.len())
    }

    /// How many slots are to be there from the next re-key on; it makes more where more X live.
    pub const fn expect(&mut self, slots: u32) {
        self.expected = slots;
    }

    /// Moves all living X into a new file under a new root and destroys the old root (steps in the module's text).
    /// What was dropped before exists nowhere once this returns `Ok`. The new file has as many slots as are needed now
    /// ([`XFile::expect`]), and always some that are free, unless as many live as there may ever be.
    ///
    /// # Errors
    /// After any error nothing that lives is lost, and what was dropped still counts as *pending*: repeat the call.
    pub fn rekey(&mut self) -> Result<Rekeyed, XFileError> {
        if self.poisoned {
            return Err(XFileError::Reopen);
        }
        if self.leftovers {
            // The spare slot is overwritten and the other files go before a third generation appears.
            self.clear_leftovers()?;
        }
        let generation = self.highest + 1;
        self.highest = generation;
        let key = RootKey::generate().map_err(|source| XFileError::Root { doing: "new root", source })?;
        let entry = RootEntry { generation, key };
        let layout = Layout { slots: size::slots_for(self.expected, self.index.len()) };
        let mut image = Image::new(layout, &entry);
        let mut index = BTreeMap::new();
        let mut damaged = Vec::new();
        for (&key, &slot) in &self.index {
            let Some(record) = self.record(slot)?.filter(|record| record.key() == key) else {
                damaged.push(key);
                continue;
            };
            index.insert(key, image.push(&record).ok_or(XFileError::Full { slots: layout.slots })?);
        }
        let carried = index.len();
        let spare = self.current.slot.other();
        let written = image.write(&self.dir).and_then(|file| put_root(&mut self.roots, spare, &entry).map(|()| file));
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                self.take_back(generation);
                return Err(error);
            }
        };

        // The new pair is complete and wins from here on.
        self.index = index;
        self.erasing.extend(core::mem::take(&mut self.dropped));
        self.current = Current { file, generation, slot: spare, root: entry.key };
        self.layout = layout;
        self.next_free = u32::try_from(carried).unwrap_or(u32::MAX); // slots are taken from 0 on
        self.leftovers = true;
        self.clear_leftovers()?;
        Ok(Rekeyed { generation, carried, erased: core::mem::take(&mut self.erasing), damaged })
    }

    /// Removes the file of a failed attempt; without it its root, wherever it may have got to, opens nothing.
    fn take_back(&mut self, generation: u64) {
        let gone = self.dir.unlink(&format::file_name(generation)).and_then(|()| self.dir.sync()).is_ok();
        self.leftovers = true;
        self.poisoned = !gone;
    }

    /// Clears the root of the other slot, then unlinks every other key file.
    fn clear_leftovers(&mut self) -> Result<(), XFileError> {
        let doing = "clearing the old root";
        let spare = self.current.slot.other();
        self.roots.clear(spare).map_err(|source| XFileError::Root { doing, source })?;
        if self.roots.load(spare).map_err(|source| XFileError::Root { doing, source })?.is_some() {
            return Err(XFileError::ReadBack { slot: spare });
        }
        let io = |source| XFileError::Io { doing: "removing the old file", source };
        for generation in generations(&self.dir)? {
            if generation != self.current.generation {
                self.dir.unlink(&format::file_name(generation)).map_err(io)?;
            }
        }
        self.dir.sync().map_err(io)?;
        self.leftovers = false;
        Ok(())
    }

    fn record(&self, slot: u32) -> Result<Option<Record>, XFileError> {
        let mut sealed = [0; format::RECORD_LEN];
        self.current
            .file
            .read_at(&mut sealed, self.layout.record_at(slot))
            .map_err(|source| XFileError::Io { doing: "reading X", source })?;
        Ok(match Sealer::new(&self.current.root, self.current.generation).open(slot, &sealed) {
            SlotState::Taken(record) => Some(record),
            SlotState::Empty | SlotState::Burned => None,
        })
    }

    /// Epochs whose X lives, in order.
    pub fn living(&self) -> impl Iterator<Item = (CameraId, EpochNo)> {
        self.index.keys().copied()
    }

    /// Epochs whose X is dropped and goes with the next re-key.
    pub fn pending(&self) -> impl Iterator<Item = (CameraId, EpochNo)> {
        self.dropped.iter().chain(&self.erasing).copied()
    }

    /// Slots of this generation.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.layout.slots
    }

    /// Slots still free in this generation. A re-key gives back those of dropped X and of failed draws.
    #[must_use]
    pub const fn free_slots(&self) -> u32 {
        self.layout.slots - self.next_free
    }

    /// Whether slots run out and a re-key would help: few are left, and it would more than double them.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let live = self.index.len();
        let after = size::slots_for(self.expected, live).saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        self.free_slots() <= self.layout.slots / size::FEW && after > self.free_slots().saturating_mul(2)
    }

    /// Whether only opening it anew helps (see the module's text): until then every call that writes is refused.
    #[must_use]
    pub const fn must_reopen(&self) -> bool {
        self.poisoned
    }

    /// Where the roots lie, to connect to it anew.
    pub const fn roots(&mut self) -> &mut R {
        &mut self.roots
    }

    /// Commitment of every X that anything on this machine can still open: each record of each key file in the
    /// directory, dropped or not, under each root in either slot. The evidence for `fsck --prove-erased`.
    ///
    /// # Errors
    /// What disk or root store say.
    pub fn every_commitment(&mut self) -> Result<BTreeMap<Hash, (CameraId, EpochNo)>, XFileError> {
        evidence(&self.dir, &mut self.roots)
    }
}

/// What [`XFile::every_commitment`] says, without opening the key file for use: nothing is written, re-keyed or removed, so
/// it may be asked by whoever must not own a file there (root, in `fsck --prove-erased`).
///
/// # Errors
/// What disk or root store say.
pub fn evidence<D: KeyDir, R: RootStore>(
    dir: &D,
    roots: &mut R,
) -> Result<BTreeMap<Hash, (CameraId, EpochNo)>, XFileError> {
    let mut found = BTreeMap::new();
    for slot in Slot::BOTH {
        let entry = roots.load(slot).map_err(|source| XFileError::Root { doing: "reading roots", source })?;
        let Some(entry) = entry else { continue };
        for generation in generations(dir)? {
            // Not only the generation of the root's own number: any file that it happens to open.
            let key = entry.key.duplicate().map_err(|source| XFileError::Root { doing: "reading roots", source })?;
            let entry = RootEntry { generation, key };
            let Some((layout, file)) = open_pair(dir, &entry)? else { continue };
            visit(&file, layout, &entry, |_, _, state| {
                if let SlotState::Taken(record) = state {
                    found.insert(record.x().commit(), record.key());
                }
            })?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
