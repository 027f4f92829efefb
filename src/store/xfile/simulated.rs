//! A disk and a root store that fail or lose power at any chosen operation, for the tests of the key file.
//!
//! The disk knows what is only cached and what is durable, for bytes and for names, and remembers every content that
//! ever stood on it: what a thief with an old copy of the disk would hold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::{KeyDir, KeyFile};
use crate::root::{RootEntry, RootError, RootStore, SLOT_LEN, Slot};

/// How the chosen operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Power lost before it took effect.
    CutBefore,
    /// Power lost half way through a write.
    CutHalf,
    /// Power lost after it took effect, before anybody heard of it.
    CutAfter,
    /// Fails once, without effect.
    Fails,
    /// Fails once, although it took effect.
    FailsLate,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [Self::CutBefore, Self::CutHalf, Self::CutAfter, Self::Fails, Self::FailsLate];

    pub(super) const fn is_cut(self) -> bool {
        matches!(self, Self::CutBefore | Self::CutHalf | Self::CutAfter)
    }
}

/// What of the page cache a power cut leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cache {
    Lost,
    NamesKept,
    Kept,
}

impl Cache {
    pub(super) const ALL: [Self; 3] = [Self::Lost, Self::NamesKept, Self::Kept];
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    cached: Vec<u8>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_inode: u64,
    nv: [[u8; 32]; 4], // two slots of 64 bytes
    history: Vec<Vec<u8>>,
    operations: usize,
    /// First operation that goes wrong, how many in a row, and how.
    fault: Option<(usize, usize, Fault)>,
    off: bool,
}

/// The machine around the key file.
#[derive(Clone, Default)]
pub(super) struct World(Rc<RefCell<State>>);

enum Effect {
    None,
    Half,
    Full,
}

impl World {
    pub(super) fn with_fault(at: usize, fault: Fault) -> Self {
        let world = Self::default();
        world.fail(at, 1, fault);
        world
    }

    /// From the operation of this number on, so many go wrong.
    pub(super) fn fail(&self, at: usize, count: usize, fault: Fault) {
        self.0.borrow_mut().fault = Some((at, count, fault));
    }

    pub(super) fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// Power comes back.
    pub(super) fn reboot(&self, cache: Cache) {
        let mut state = self.0.borrow_mut();
        state.off = false;
        match cache {
            Cache::Lost => state.names = state.durable_names.clone(),
            Cache::NamesKept | Cache::Kept => state.durable_names = state.names.clone(),
        }
        for inode in state.inodes.values_mut() {
            match cache {
                Cache::Lost | Cache::NamesKept => inode.cached = inode.durable.clone(),
                Cache::Kept => inode.durable = inode.cached.clone(),
            }
        }
    }

    /// Every file content that ever was, and the bytes of both root slots as they are now.
    pub(super) fn loot(&self) -> (Vec<Vec<u8>>, [[u8; SLOT_LEN]; 2]) {
        let state = self.0.borrow();
        let slot = |i: usize| [state.nv[2 * i], state.nv[2 * i + 1]].concat().try_into().unwrap();
        (state.history.clone(), [slot(0), slot(1)])
    }

    /// Overwrites the TPM with zeros, as clearing it does.
    pub(super) fn clear_tpm(&self) {
        self.0.borrow_mut().nv = Default::default();
    }

    /// Changes a byte of every key file, durably.
    pub(super) fn rot(&self, offset: usize) {
        for inode in self.0.borrow_mut().inodes.values_mut() {
            if let Some(byte) = inode.cached.get_mut(offset) {
                *byte ^= 1;
            }
            inode.durable = inode.cached.clone();
        }
    }

    /// Runs one operation under the fault plan.
    fn operate(&self, act: impl FnOnce(&mut State, Effect)) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.off {
            return Err(io::Error::other("power is off"));
        }
        let number = state.operations;
        state.operations += 1;
        let fault = state.fault.filter(|(at, count, _)| (*at..at + count).contains(&number)).map(|(.., fault)| fault);
        let effect = match fault {
            Some(Fault::CutBefore | Fault::Fails) => Effect::None,
            Some(Fault::CutHalf) => Effect::Half,
            Some(Fault::CutAfter | Fault::FailsLate) | None => Effect::Full,
        };
        act(&mut state, effect);
        match fault {
            Some(fault) => {
                state.off = fault.is_cut();
                Err(io::Error::other("injected"))
            }
            None => Ok(()),
        }
    }
}

impl KeyDir for World {
    type File = SimulatedFile;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.operate(|state, _| names = state.names.keys().cloned().collect())?;
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut made = None;
        self.operate(|state, effect| {
            if !matches!(effect, Effect::None) && !state.names.contains_key(name) {
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.names.insert(name.to_owned(), inode);
                made = Some(inode);
            }
        })?;
        let inode = made.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
        Ok(SimulatedFile { world: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut found = None;
        self.operate(|state, _| found = state.names.get(name).copied())?;
        let inode = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(SimulatedFile { world: self.clone(), inode })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.operate(|state, effect| {
            if !matches!(effect, Effect::None) {
                state.names.remove(name);
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(|state, effect| {
            if matches!(effect, Effect::Full) {
                state.durable_names = state.names.clone();
            }
        })
    }
}

pub(super) struct SimulatedFile {
    world: World,
    inode: u64,
}

impl KeyFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.world.0.borrow().inodes[&self.inode].cached.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut whole = false;
        self.world.operate(|state, _| {
            let at = usize::try_from(offset).unwrap();
            if let Some(bytes) = state.inodes[&self.inode].cached.get(at..at + buf.len()) {
                buf.copy_from_slice(bytes);
                whole = true;
            }
        })?;
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.world.operate(|state, effect| {
            let len = match effect {
                Effect::None => 0,
                Effect::Half => bytes.len() / 2,
                Effect::Full => bytes.len(),
            };
            let at = usize::try_from(offset).unwrap();
            let cached = &mut state.inodes.get_mut(&self.inode).unwrap().cached;
            cached.resize(cached.len().max(at + len), 0);
            cached[at..at + len].copy_from_slice(&bytes[..len]);
            let content = cached.clone();
            state.history.push(content);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.world.operate(|state, effect| {
            if matches!(effect, Effect::Full) {
                let inode = state.inodes.get_mut(&self.inode).unwrap();
                inode.durable = inode.cached.clone();
            }
        })
    }
}

impl World {
    fn write_slot(&self, slot: Slot, bytes: &[u8; SLOT_LEN]) -> Result<(), RootError> {
        let first = if slot == Slot::A { 0 } else { 2 };
        self.operate(|state, effect| {
            let (head, tail) = bytes.split_at(32);
            if !matches!(effect, Effect::None) {
                state.nv[first].copy_from_slice(head);
            }
            if matches!(effect, Effect::Full) {
                state.nv[first + 1].copy_from_slice(tail);
            }
        })
        .map_err(|e| RootError::Other { slot, reason: e.to_string() })
    }
}

impl RootStore for World {
    fn load(&mut self, slot: Slot) -> Result<Option<RootEntry>, RootError> {
        self.operate(|_, _| {}).map_err(|e| RootError::Other { slot, reason: e.to_string() })?;
        RootEntry::decode(&self.loot().1[usize::from(slot == Slot::B)])
    }

    fn store(&mut self, slot: Slot, entry: &RootEntry) -> Result<(), RootError> {
        self.write_slot(slot, &entry.encode())
    }

    fn clear(&mut self, slot: Slot) -> Result<(), RootError> {
        self.write_slot(slot, &[0; SLOT_LEN])
    }
}
