//! What scribe reads back from its own disk when somebody had the disk in hand: the X key file and the leaves of tails.

use super::{canonical, folder, reached};
use peri_domain::{CameraId, EpochNo, Hash};
use peri_sandbox::durable::Dir;
use peri_store::root::{RootEntry, RootError, RootStore, SLOT_LEN, Slot};
use peri_store::segments::SegmentStore;
use peri_store::xfile::{KeyDir, KeyFile, XFile, XFileError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::LazyLock;

type Files = BTreeMap<String, Vec<u8>>;

/// A directory in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Files>>);

/// One of its files.
struct MemoryFile(Memory, String);

impl KeyDir for Memory {
    type File = MemoryFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        assert!(self.0.borrow_mut().insert(name.into(), Vec::new()).is_none(), "{name} was there");
        Ok(MemoryFile(self.clone(), name.into()))
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let there = self.0.borrow().contains_key(name);
        there.then(|| MemoryFile(self.clone(), name.into())).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl KeyFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.0.borrow()[&self.1].len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let files = self.0.0.borrow();
        let at = usize::try_from(offset).expect("a small file");
        let found = files[&self.1].get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut files = self.0.0.borrow_mut();
        let file = files.get_mut(&self.1).expect("it is open");
        let at = usize::try_from(offset).expect("a small file");
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Two slots for roots, as bytes.
#[derive(Clone)]
struct Slots(Rc<RefCell<[[u8; SLOT_LEN]; 2]>>);

impl RootStore for Slots {
    fn load(&mut self, slot: Slot) -> Result<Option<RootEntry>, RootError> {
        RootEntry::decode(&self.0.borrow()[usize::from(slot == Slot::B)])
    }

    fn store(&mut self, slot: Slot, entry: &RootEntry) -> Result<(), RootError> {
        self.0.borrow_mut()[usize::from(slot == Slot::B)] = *entry.encode();
        Ok(())
    }

    fn clear(&mut self, slot: Slot) -> Result<(), RootError> {
        self.0.borrow_mut()[usize::from(slot == Slot::B)] = [0; SLOT_LEN];
        Ok(())
    }
}

const SLOTS: usize = 8;
const HEADER: usize = 512;
const RECORD: usize = 128;
/// Ciphertext and tag; what follows in a record is padding.
const SEALED: usize = 80;
const MARKS: usize = HEADER + SLOTS * RECORD;
const DROPPED: u8 = 0xd5;

/// A key file of ours, its roots, and the key and commitment of the X in each slot that was taken.
struct Genuine {
    name: String,
    file: Vec<u8>,
    roots: [[u8; SLOT_LEN]; 2],
    drawn: Vec<((CameraId, EpochNo), Hash)>,
}

/// Drawn anew in each process; what is judged is only which of them come back, not their values.
static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let (dir, roots) = (Memory::default(), Slots(Rc::new(RefCell::new([[0; SLOT_LEN]; 2]))));
    let (mut keys, opened) = XFile::open(dir.clone(), roots.clone(), SLOTS as u32).expect("an empty directory");
    assert!(opened.created);
    let key = |at: u8| (CameraId([at % 2; 16]), EpochNo(u64::from(at)));
    let drawn = (1..=5).map(key).map(|(camera, epoch)| {
        let x = keys.draw(camera, epoch).expect("room");
        ((camera, epoch), x.commit())
    });
    let drawn = drawn.collect();
    keys.drop_keys(&[key(2)]).expect("it is there");
    let mut files = dir.0.take();
    let (name, file) = files.pop_first().expect("the key file");
    assert!(files.is_empty() && file.len() == MARKS + SLOTS);
    let roots = *roots.0.borrow();
    Genuine { name, file, roots, drawn }
});

/// Every four bytes one blow against the file or the roots: what, where, how much.
fn struck(data: &[u8]) -> (Vec<u8>, [[u8; SLOT_LEN]; 2]) {
    let (mut file, mut roots) = (GENUINE.file.clone(), GENUINE.roots);
    for blow in data.as_chunks::<4>().0.iter().take(16) {
        let at = usize::from(u16::from_be_bytes([blow[1], blow[2]]));
        let slots = (HEADER + at % SLOTS * RECORD, HEADER + usize::from(blow[3]) % SLOTS * RECORD);
        match blow[0] % 8 {
            0 if !file.is_empty() => {
                let len = file.len();
                file[at % len] ^= blow[3];
            }
            1 => file.truncate(at % (file.len() + 1)),
            2 => roots[at / SLOT_LEN % 2][at % SLOT_LEN] ^= blow[3],
            // A record in another place, or taken out.
            3 if file.len() >= MARKS => file.copy_within(slots.0..slots.0 + RECORD, slots.1),
            4 if file.len() >= MARKS => file[slots.0..slots.0 + RECORD].fill(0),
            5 if file.len() > MARKS + at % SLOTS => {
                file[MARKS + at % SLOTS] = if blow[3] & 1 == 0 { DROPPED } else { 0 }
            }
            6 => file.resize(file.len() + at % 200, blow[3]),
            7 => roots.swap(0, 1),
            _ => {}
        }
    }
    (file, roots)
}

/// A file or root that was changed: what opens is what was drawn, in its slot and under its mark, and everything else is
/// named as damaged or refuses the whole.
pub(crate) fn xfile(data: &[u8]) {
    let (file, roots) = struck(data);
    let whole_root = roots.iter().any(|slot| GENUINE.roots.contains(slot) && slot != &[0; SLOT_LEN]);
    let (dir, slots) = (Memory::default(), Slots(Rc::new(RefCell::new(roots))));
    dir.0.borrow_mut().insert(GENUINE.name.clone(), file.clone());
    let opened = XFile::open(dir.clone(), slots.clone(), SLOTS as u32);
    reached();
    if !whole_root || file.len() != GENUINE.file.len() || file[..HEADER] != GENUINE.file[..HEADER] {
        // Only what never held an X is replaced by a new file without a word.
        let never_used = !whole_root && file.iter().skip(HEADER).all(|byte| *byte == 0);
        match opened {
            Ok((keys, opened)) => assert!(never_used && opened.created && keys.living().count() == 0),
            Err(XFileError::NoPairOpens { .. }) => {
                assert!(!never_used);
                assert_eq!(dir.0.borrow().get(&GENUINE.name), Some(&file), "a file that may still open was touched");
            }
            Err(other) => panic!("{other}"),
        }
        return;
    }
    let (keys, opened) = opened.expect("the header and its root are whole");
    let (mut living, mut erased, mut burned) = (Vec::new(), Vec::new(), Vec::new());
    for slot in 0..SLOTS {
        let at = HEADER + slot * RECORD;
        let (record, genuine) = (&file[at..at + RECORD], &GENUINE.file[at..at + RECORD]);
        if record.iter().all(|byte| *byte == 0) {
            continue;
        }
        match GENUINE.drawn.get(slot).filter(|_| record[..SEALED] == genuine[..SEALED]) {
            None => burned.push(slot as u32),
            Some((key, _)) if file[MARKS + slot] == DROPPED => erased.push(*key),
            Some(drawn) => living.push(*drawn),
        }
    }
    living.sort_by_key(|(key, _)| *key);
    erased.sort();
    assert_eq!((opened.burned, opened.live), (burned, living.len()));
    let mut gone = opened.erased;
    gone.sort();
    assert_eq!(gone, erased);
    assert!(!opened.created && keys.living().eq(living.iter().map(|(key, _)| *key)));
    for (key, commitment) in &GENUINE.drawn {
        let x = keys.get(key.0, key.1).ok().map(|x| x.commit());
        assert_eq!(x, living.iter().any(|(alive, _)| alive == key).then_some(*commitment), "{key:?}");
    }
    // Written anew without what was lost: the next opening finds the same and nothing damaged.
    drop(keys);
    let (mut again, second) = XFile::open(dir, slots, SLOTS as u32).expect("just written");
    assert!(second.burned.is_empty() && second.erased.is_empty() && second.live == living.len());
    let all = again.every_commitment().expect("just written");
    assert!(all.len() == living.len() && living.iter().all(|(key, commitment)| all.get(commitment) == Some(key)));
}

/// The leaves of a tail entry, through the file that holds them.
pub(crate) fn leaves(data: &[u8]) {
    let data_dir = folder("leaves");
    let store = SegmentStore::open(&Dir::open(&data_dir).expect("our folder")).expect("a store");
    let path = data_dir.join("store/leaves").join(format!("{:020}.cbor", 7));
    canonical(data, |bytes| {
        std::fs::write(&path, bytes).expect("a file");
        let leaves = store.read_leaves(7).ok()?.expect("it is there");
        store.write_leaves(7, &leaves).expect("room");
        Some(std::fs::read(&path).expect("just written"))
    });
}
