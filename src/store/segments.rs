//! The directory of sealed segment files, and of the leaves that ledger tail entries commit to.
//!
//! ```text
//! <data>/store/<camera, 32 hex>/<epoch, 20 digits>.seg
//! <data>/store/leaves/<ledger sequence, 20 digits>.cbor
//! <data>/store/leaves/root-<root, 64 hex>.cbor          of an entry that went through the spool and had no number yet
//! ```
//! What does not belong: what is in a segment (`peri_seal::segment`), when one is erased (`retention`), rows about it
//! (`db`). Invariants: a segment is made once (`O_EXCL`) and only appended to; its name is durable before its descriptor
//! is handed out, and its absence before [`SegmentStore::unlink`] returns. No space is preallocated: a segment's length
//! is what the recorder wrote, so that a tail scan needs no other source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use minicbor::{Decode, Encode};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use peri_domain::limits::CAMERAS_MAX;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_sandbox::durable::{Dir, DurableError, write_atomic};
use peri_seal::canonical::{self, CanonicalError};

/// Which segment: there is one per epoch of a camera.
pub type SegmentKey = (CameraId, EpochNo);

const STORE: &str = "store";
const LEAVES: &str = "leaves";

/// Longest leaves file: an array head and [`CAMERAS_MAX`] leaves of at most 80 bytes, twice (a camera may change
/// segments between two tail entries).
const LEAVES_LEN_MAX: usize = 2 * CAMERAS_MAX * 80 + 8;

/// Why the segment directory failed.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Disk.
    #[error("segment store: {0}")]
    Disk(#[from] DurableError),
    /// The descriptor could not be set to append only.
    #[error("segment store: append mode of camera {camera}, epoch {epoch}: {source}")]
    Append {
        /// Camera.
        camera: CameraId,
        /// Epoch.
        epoch: EpochNo,
        /// The kernel's answer.
        source: nix::Error,
    },
    /// The length of a file could not be read.
    #[error("segment store: length of camera {camera}, epoch {epoch}: {source}")]
    Length {
        /// Camera.
        camera: CameraId,
        /// Epoch.
        epoch: EpochNo,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A leaves file is damaged.
    #[error("leaves {name}: {source}; the root of that ledger entry can no longer be proved from this machine")]
    Leaves {
        /// The file: the entry's number in the technical ledger, or its root.
        name: String,
        /// What is wrong.
        source: CanonicalError,
    },
}

/// One segment file as it lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFile {
    /// Which.
    pub key: SegmentKey,
    /// Length in bytes.
    pub bytes: u64,
}

/// Everything in the store directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Segments, by camera and epoch.
    pub segments: Vec<SegmentFile>,
    /// Relative paths of what is none of ours.
    pub strangers: Vec<String>,
}

/// What a ledger tail entry says of one segment: the leaf of its RFC 6962 tree is the canonical CBOR of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TailLeaf {
    /// Camera.
    #[n(0)]
    pub camera: CameraId,
    /// Epoch.
    #[n(1)]
    pub epoch: EpochNo,
    /// Run of the last fragment.
    #[n(2)]
    pub run: u32,
    /// Counter of the last fragment.
    #[n(3)]
    pub counter: u64,
    /// Running hash over the sealed bytes up to and including it.
    #[n(4)]
    pub hash: Hash,
}

impl TailLeaf {
    /// The leaf's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }
}

/// The open directory. Scribe owns it and passes descriptors on.
pub struct SegmentStore {
    root: Dir,
    leaves: Dir,
}

impl SegmentStore {
    /// Opens the store in the data directory and makes it where it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(data: &Dir) -> Result<Self, SegmentError> {
        let root = data.ensure_dir(STORE, 0o700)?;
        let leaves = root.ensure_dir(LEAVES, 0o700)?;
        Ok(Self { root, leaves })
    }

    /// Makes the file of a new epoch: readable, writable at its end only. Its name is durable.
    ///
    /// # Errors
    /// When it exists (`EEXIST`), or the disk is full.
    pub fn create(&self, camera: CameraId, epoch: EpochNo) -> Result<OwnedFd, SegmentError> {
        let dir = self.root.ensure_dir(&camera.to_string(), 0o700)?;
        let file = dir.create_excl(&file_name(epoch), 0o600)?;
        dir.sync()?;
        append_only(file, (camera, epoch))
    }

    /// Opens a segment to read.
    ///
    /// # Errors
    /// When it is missing.
    pub fn open_read(&self, camera: CameraId, epoch: EpochNo) -> Result<OwnedFd, SegmentError> {
        Ok(self.root.open_dir(&camera.to_string())?.open_read(&file_name(epoch))?.into())
    }

    /// Opens an existing segment to read, to cut its torn tail and to append.
    ///
    /// # Errors
    /// When it is missing.
    pub fn open_append(&self, camera: CameraId, epoch: EpochNo) -> Result<OwnedFd, SegmentError> {
        let file = self.root.open_dir(&camera.to_string())?.open_rw(&file_name(epoch))?;
        append_only(file, (camera, epoch))
    }

    /// Removes a segment, durably. Whether it was there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn unlink(&self, camera: CameraId, epoch: EpochNo) -> Result<bool, SegmentError> {
        Ok(self.unlink_all(&[(camera, epoch)])? == 1)
    }

    /// Removes many segments with one sync per camera. Returns how many were there.
    ///
    /// # Errors
    /// What the file system says; some may be gone then, and the call may be repeated.
    pub fn unlink_all(&self, keys: &[SegmentKey]) -> Result<usize, SegmentError> {
        let mut by_camera = BTreeMap::<CameraId, Vec<EpochNo>>::new();
        for (camera, epoch) in keys {
            by_camera.entry(*camera).or_default().push(*epoch);
        }
        let mut gone = 0;
        for (camera, epochs) in by_camera {
            let dir = match self.root.open_dir(&camera.to_string()) {
                Err(error) if error.is_missing() => continue,
                dir => dir?,
            };
            for epoch in epochs {
                gone += usize::from(dir.unlink(&file_name(epoch))?);
            }
            dir.sync()?; // also when nothing was there: an earlier unlink may not be durable yet
        }
        Ok(gone)
    }

    /// Length of a segment and when it was written last, by the file system's clock.
    ///
    /// # Errors
    /// When it is missing.
    pub fn length(&self, camera: CameraId, epoch: EpochNo) -> Result<(u64, UtcNanos), SegmentError> {
        let failed = |source| SegmentError::Length { camera, epoch, source };
        let metadata = File::from(self.open_read(camera, epoch)?).metadata().map_err(failed)?;
        let written = UtcNanos::from_secs(metadata.mtime());
        Ok((metadata.len(), written))
    }

    /// Whether the segment's file is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn has(&self, camera: CameraId, epoch: EpochNo) -> Result<bool, SegmentError> {
        match self.root.open_dir(&camera.to_string()) {
            Err(error) if error.is_missing() => Ok(false),
            dir => Ok(dir?.has(&file_name(epoch))?),
        }
    }

    /// Lists everything with lengths, by camera and epoch.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list(&self) -> Result<Listing, SegmentError> {
        let (keys, strangers) = self.names()?;
        let mut listing = Listing { segments: Vec::with_capacity(keys.len()), strangers };
        for (camera, epoch) in keys {
            let file = match self.open_read(camera, epoch) {
                Err(SegmentError::Disk(error)) if error.is_missing() => continue, // erased meanwhile
                file => File::from(file?),
            };
            let length = file.metadata().map_err(|source| SegmentError::Length { camera, epoch, source })?.len();
            listing.segments.push(SegmentFile { key: (camera, epoch), bytes: length });
        }
        Ok(listing)
    }

    /// Segments by name, sorted, and paths of what is none of ours.
    fn names(&self) -> Result<(Vec<SegmentKey>, Vec<String>), SegmentError> {
        let (mut keys, mut strangers) = (Vec::new(), Vec::new());
        for name in self.root.names()? {
            if name == LEAVES {
                continue;
            }
            let Ok(camera) = name.parse::<CameraId>() else {
                strangers.push(name);
                continue;
            };
            for file in self.root.open_dir(&name)?.names()? {
                match epoch_of(&file) {
                    Some(epoch) => keys.push((camera, epoch)),
                    None => strangers.push(format!("{name}/{file}")),
                }
            }
        }
        let foreign = |name: &String| leaves_seq(name).is_none() && leaves_root(name).is_none() && !is_cut_short(name);
        strangers.extend(self.leaves.names()?.into_iter().filter(foreign).map(|name| format!("{LEAVES}/{name}")));
        keys.sort_unstable();
        Ok((keys, strangers))
    }

    /// Bytes free for recordings.
    ///
    /// # Errors
    /// What the file system says.
    pub fn free_bytes(&self) -> Result<u64, SegmentError> {
        Ok(self.root.free_bytes()?)
    }

    /// Keeps the leaves of a tail entry, durably. `seq` is the entry's number in the technical ledger.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_leaves(&self, seq: u64, leaves: &[TailLeaf]) -> Result<(), SegmentError> {
        Ok(write_atomic(&self.leaves, &leaves_name(seq), &canonical::encode(&leaves.to_vec()), 0o600)?)
    }

    /// As [`Self::write_leaves`], for an entry that lies in the spool and will get its number later: its digest, the root
    /// over these leaves, finds it.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write_leaves_of_root(&self, root: &Hash, leaves: &[TailLeaf]) -> Result<(), SegmentError> {
        Ok(write_atomic(&self.leaves, &root_name(root), &canonical::encode(&leaves.to_vec()), 0o600)?)
    }

    /// The leaves of a tail entry; `None` when they are gone with the last segment that they cover.
    ///
    /// # Errors
    /// [`SegmentError::Leaves`] when the file is damaged.
    pub fn read_leaves(&self, seq: u64) -> Result<Option<Vec<TailLeaf>>, SegmentError> {
        self.leaves_of(&leaves_name(seq))
    }

    /// As [`Self::read_leaves`], of an entry that went through the spool.
    ///
    /// # Errors
    /// [`SegmentError::Leaves`] when the file is damaged.
    pub fn read_leaves_of_root(&self, root: &Hash) -> Result<Option<Vec<TailLeaf>>, SegmentError> {
        self.leaves_of(&root_name(root))
    }

    fn leaves_of(&self, name: &str) -> Result<Option<Vec<TailLeaf>>, SegmentError> {
        match self.leaves.read(name, LEAVES_LEN_MAX) {
            Err(error) if error.is_missing() => Ok(None),
            bytes => canonical::decode("leaves", &bytes?)
                .map(Some)
                .map_err(|source| SegmentError::Leaves { name: name.to_owned(), source }),
        }
    }

    fn leaves_names(&self) -> Result<Vec<String>, SegmentError> {
        let ours = |name: &String| leaves_seq(name).is_some() || leaves_root(name).is_some();
        Ok(self.leaves.names()?.into_iter().filter(ours).collect())
    }
}

/// Removes leaves files whose last segment is gone. It remembers for each file one segment that still lives, so that a
/// file is read again only when that one goes; 72 hours are 25,920 files.
#[derive(Default)]
pub struct LeavesPruner {
    witness: BTreeMap<String, SegmentKey>,
}

impl LeavesPruner {
    /// Looks at all files in order and reads at most `budget` of them. Returns the names of those removed. What a kill in
    /// the middle of a write left goes too, so the caller must be the only one that writes leaves.
    ///
    /// # Errors
    /// What the file system says. A damaged leaves file is left for `fsck`, and does not stop the others.
    pub fn prune(&mut self, store: &SegmentStore, mut budget: usize) -> Result<Vec<String>, SegmentError> {
        let (living, _) = store.names()?;
        let living: BTreeSet<_> = living.into_iter().collect();
        let mut removed = Vec::new();
        for name in store.leaves.names()?.into_iter().filter(|name| is_cut_short(name)) {
            store.leaves.unlink(&name)?;
            removed.push(name);
        }
        for name in store.leaves_names()? {
            if self.witness.get(&name).is_some_and(|key| living.contains(key)) {
                continue;
            }
            if budget == 0 {
                break;
            }
            budget -= 1;
            let leaves = match store.leaves_of(&name) {
                Ok(leaves) => leaves.unwrap_or_default(),
                Err(SegmentError::Leaves { .. }) => continue,
                Err(error) => return Err(error),
            };
            // The newest epoch covered outlives the others.
            let newest = leaves.iter().map(|leaf| (leaf.camera, leaf.epoch)).filter(|key| living.contains(key));
            if let Some(key) = newest.max_by_key(|(_, epoch)| *epoch) {
                self.witness.insert(name, key);
            } else {
                store.leaves.unlink(&name)?;
                self.witness.remove(&name);
                removed.push(name);
            }
        }
        if !removed.is_empty() {
            store.leaves.sync()?;
        }
        Ok(removed)
    }
}

fn append_only(file: File, (camera, epoch): SegmentKey) -> Result<OwnedFd, SegmentError> {
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(|source| SegmentError::Append {
        camera,
        epoch,
        source,
    })?;
    Ok(file.into())
}

fn file_name(epoch: EpochNo) -> String {
    format!("{:020}.seg", epoch.0)
}

fn epoch_of(name: &str) -> Option<EpochNo> {
    number_of(name, ".seg").map(EpochNo)
}

fn leaves_name(seq: u64) -> String {
    format!("{seq:020}.cbor")
}

fn root_name(root: &Hash) -> String {
    format!("root-{root}.cbor")
}

/// The beginning of a leaves file whose write was cut short.
fn is_cut_short(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| leaves_seq(name).is_some() || leaves_root(name).is_some())
}

fn leaves_root(name: &str) -> Option<Hash> {
    let root = name.strip_prefix("root-")?.strip_suffix(".cbor")?.parse().ok()?;
    (root_name(&root) == name).then_some(root)
}

fn leaves_seq(name: &str) -> Option<u64> {
    number_of(name, ".cbor")
}

fn number_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::io::{Read, Seek, SeekFrom, Write};

    pub(crate) fn scratch() -> (tempfile::TempDir, SegmentStore) {
        let root = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(&Dir::open(root.path()).unwrap()).unwrap();
        (root, store)
    }

    fn camera(n: u8) -> CameraId {
        CameraId([n; 16])
    }

    fn leaf(camera: CameraId, epoch: u64) -> TailLeaf {
        TailLeaf { camera, epoch: EpochNo(epoch), run: 1, counter: 7, hash: Hash([3; 32]) }
    }

    #[test]
    fn a_segment_is_made_once_and_only_grows() {
        let (root, store) = scratch();
        let mut file = File::from(store.create(camera(1), EpochNo(7)).unwrap());
        file.write_all(b"head").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"+tail").unwrap();
        let twice = store.create(camera(1), EpochNo(7)).unwrap_err();
        assert!(matches!(&twice, SegmentError::Disk(e) if e.errno() == Some(Errno::EEXIST)), "{twice}");
        let mut again = File::from(store.open_append(camera(1), EpochNo(7)).unwrap());
        again.set_len(8).unwrap();
        again.write_all(b"!").unwrap();
        let mut text = String::new();
        File::from(store.open_read(camera(1), EpochNo(7)).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "head+tai!");
        let path = format!("store/{}/00000000000000000007.seg", camera(1));
        assert!(root.path().join(path).exists());
        assert!(store.open_append(camera(1), EpochNo(8)).is_err(), "appending makes no file");
    }

    #[test]
    fn listing_tells_segments_from_strangers() {
        let (root, store) = scratch();
        for (n, epoch) in [(2, 5), (1, 11), (1, 9)] {
            File::from(store.create(camera(n), EpochNo(epoch)).unwrap()).write_all(&[0; 10]).unwrap();
        }
        let dir = root.path().join("store").join(camera(1).to_string());
        std::fs::write(dir.join("9.seg"), b"").unwrap();
        std::fs::write(dir.join("00000000000000000009.seg.tmp"), b"").unwrap();
        std::fs::write(root.path().join("store/leaves/x"), b"").unwrap();
        std::fs::write(root.path().join("store/readme"), b"").unwrap();
        let listing = store.list().unwrap();
        let keys: Vec<_> = listing.segments.iter().map(|segment| segment.key).collect();
        assert_eq!(keys, [(camera(1), EpochNo(9)), (camera(1), EpochNo(11)), (camera(2), EpochNo(5))]);
        assert!(listing.segments.iter().all(|segment| segment.bytes == 10));
        assert_eq!(listing.strangers.len(), 4, "{:?}", listing.strangers);
        assert!(store.unlink(camera(1), EpochNo(9)).unwrap());
        assert!(!store.unlink(camera(1), EpochNo(9)).unwrap());
        assert!(!store.unlink(camera(9), EpochNo(9)).unwrap());
        assert!(!store.has(camera(1), EpochNo(9)).unwrap() && store.has(camera(2), EpochNo(5)).unwrap());
    }

    #[test]
    fn leaves_cut_short_by_a_kill_are_no_strangers_and_go() {
        let (root, store) = scratch();
        let path = root.path().join(format!("store/leaves/{}.tmp", leaves_name(160)));
        std::fs::write(&path, b"half").unwrap();
        assert_eq!(store.list().unwrap().strangers, [] as [String; 0]);
        assert_eq!(LeavesPruner::default().prune(&store, 0).unwrap(), [format!("{}.tmp", leaves_name(160))]);
        assert!(!path.exists());
    }

    #[test]
    fn leaves_stay_until_the_last_segment_they_cover_is_gone() {
        let (root, store) = scratch();
        for key in [(camera(1), 1), (camera(1), 2), (camera(2), 1)] {
            store.create(key.0, EpochNo(key.1)).unwrap();
        }
        store.write_leaves(10, &[leaf(camera(1), 1), leaf(camera(2), 1)]).unwrap();
        store.write_leaves(11, &[leaf(camera(1), 2), leaf(camera(1), 1)]).unwrap();
        std::fs::write(root.path().join("store/leaves/00000000000000000012.cbor"), b"\x81\x00").unwrap();
        assert_eq!(store.read_leaves(10).unwrap().unwrap().len(), 2);
        assert!(matches!(store.read_leaves(12), Err(SegmentError::Leaves { name, .. }) if name == leaves_name(12)));
        let mut pruner = LeavesPruner::default();
        let none = Vec::<String>::new();
        let root = Hash([0xAB; 32]);
        store.write_leaves_of_root(&root, &[leaf(camera(2), 1)]).unwrap();
        assert_eq!(store.read_leaves_of_root(&root).unwrap().unwrap().len(), 1);
        assert_eq!(store.list().unwrap().strangers, none, "both names are known");
        assert_eq!(pruner.prune(&store, 100).unwrap(), none);
        store.unlink(camera(1), EpochNo(1)).unwrap();
        assert_eq!(pruner.prune(&store, 100).unwrap(), none);
        store.unlink(camera(2), EpochNo(1)).unwrap();
        assert_eq!(pruner.prune(&store, 0).unwrap(), none, "the budget holds");
        assert_eq!(pruner.prune(&store, 100).unwrap(), [leaves_name(10), root_name(&root)]);
        assert_eq!(store.read_leaves(10).unwrap(), None);
        store.unlink(camera(1), EpochNo(2)).unwrap();
        assert_eq!(pruner.prune(&store, 100).unwrap(), [leaves_name(11)]);
    }

    #[test]
    fn the_longest_leaves_file_fits_its_bound() {
        let biggest = TailLeaf {
            camera: camera(255),
            epoch: EpochNo(u64::MAX),
            run: u32::MAX,
            counter: u64::MAX,
            hash: Hash([255; 32]),
        };
        assert!(biggest.to_bytes().len() <= 80);
        let (_root, store) = scratch();
        store.write_leaves(1, &vec![biggest; 2 * CAMERAS_MAX]).unwrap();
        assert_eq!(store.read_leaves(1).unwrap().unwrap().len(), 2 * CAMERAS_MAX);
    }
}
