//! Where the root of the X key file lives: outside the disk that holds the file.
//!
//! One root is 32 random bytes; whoever has both the key file and its root has every X. The roots lie in two slots of
//! a [`RootStore`] so that a re-key can bring the new one to safety before the old one goes (DESIGN §3.7). The only
//! store is the NV memory of a TPM ([`tpm::TpmNv`]): real, or swtpm with its state on another file system.
//!
//! What does not belong: the key file itself (`xfile`), any other use of the TPM (quotes, PCRs).
//! Invariant: a slot that is empty, cleared or torn reads as *no root*, never as a wrong one.

pub mod tpm;

use core::fmt;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use peri_sandbox::memory::{Locked, MemoryError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Length of a root in bytes: an AES-256 key.
pub const ROOT_LEN: usize = 32;

/// Length of one encoded slot: magic 8, generation 8, root 32, digest 16.
pub const SLOT_LEN: usize = 64;

const MAGIC: &[u8; 8] = b"PERIXRT1";
const DIGEST_PREFIX: &[u8] = b"peri/v1/root-slot\0";
const DIGEST_AT: usize = SLOT_LEN - 16;

/// One of the two places for a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A root key, in pages of its own that are locked, not dumped, and wiped when dropped.
pub struct RootKey(Locked<ROOT_LEN>);

impl RootKey {
    /// A fresh one from the kernel's random numbers.
    ///
    /// # Errors
    /// When the kernel gives no random bytes or no memory.
    pub fn generate() -> Result<Self, RootError> {
        let mut key = Locked::zeroed()?;
        getrandom::fill(key.as_mut()).map_err(|_| RootError::Random)?;
        Ok(Self(key))
    }

    /// A second copy.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn duplicate(&self) -> Result<Self, RootError> {
        Self::copy_from(self.expose())
    }

    fn copy_from(bytes: &[u8; ROOT_LEN]) -> Result<Self, RootError> {
        let mut key = Locked::zeroed()?;
        key.as_mut().copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// The bytes, to key a cipher with.
    #[must_use]
    pub fn expose(&self) -> &[u8; ROOT_LEN] {
        self.0.as_bytes()
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// A root together with the generation of the key file that it opens.
pub struct RootEntry {
    /// Number of the key file; rises with each re-key.
    pub generation: u64,
    /// The root of that file.
    pub key: RootKey,
}

impl RootEntry {
    /// The bytes of one slot. The digest makes a write that a power cut stopped half way read as *no root*.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<[u8; SLOT_LEN]> {
        let mut out = Zeroizing::new([0; SLOT_LEN]);
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.generation.to_be_bytes());
        out[16..DIGEST_AT].copy_from_slice(self.key.expose());
        let digest = slot_digest(&out[..DIGEST_AT]);
        out[DIGEST_AT..].copy_from_slice(&digest);
        out
    }

    /// The root in a slot's bytes; `None` when the slot is empty, cleared or torn.
    ///
    /// # Errors
    /// When the kernel gives no memory for it.
    pub fn decode(bytes: &[u8; SLOT_LEN]) -> Result<Option<Self>, RootError> {
        if &bytes[..8] != MAGIC || slot_digest(&bytes[..DIGEST_AT]) != bytes[DIGEST_AT..] {
            return Ok(None);
        }
        let key = RootKey::copy_from(bytes[16..DIGEST_AT].try_into().expect("32 bytes by range"))?;
        let generation = u64::from_be_bytes(bytes[8..16].try_into().expect("8 bytes by range"));
        Ok(Some(Self { generation, key }))
    }
}

fn slot_digest(content: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(DIGEST_PREFIX).chain_update(content).finalize();
    digest[..16].try_into().expect("16 of 32 bytes by range")
}

/// Two slots for roots, each written whole.
pub trait RootStore {
    /// The root in a slot; `None` when it is empty, cleared or torn.
    ///
    /// # Errors
    /// When the store does not answer or is not ours.
    fn load(&mut self, slot: Slot) -> Result<Option<RootEntry>, RootError>;

    /// Puts a root into a slot; it survives a power cut once this returns.
    ///
    /// # Errors
    /// As [`Self::load`]. After an error the slot may hold the old root, the new one or none.
    fn store(&mut self, slot: Slot, entry: &RootEntry) -> Result<(), RootError>;

    /// Overwrites a slot; its root is gone, durably, once this returns.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn clear(&mut self, slot: Slot) -> Result<(), RootError>;
}

/// Why the root store failed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes for a new root; nothing was changed")]
    Random,
    /// The kernel gave no memory for it.
    #[error("root of the X key file: {0}")]
    Memory(#[from] MemoryError),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] tpm::TpmError),
    /// A test double of another store.
    #[error("root store, slot {slot}: {reason}")]
    Other {
        /// Which slot.
        slot: Slot,
        /// What happened.
        reason: String,
    },
}

impl RootError {
    /// Whether the connection does not serve any more; a new one may.
    #[must_use]
    pub const fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Tpm(error) if error.is_connection_lost())
    }
}

/// How far the root is from the disk it protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separation {
    /// The state of the root store lies on another file system than the data.
    Separate,
    /// Both lie on the same one, as the configuration allows. Page and ledger must say so.
    SameDisk,
}

/// Why the appliance must not start with these directories.
#[derive(Debug, thiserror::Error)]
pub enum SeparationError {
    /// Root and file on one file system.
    #[error(
        "the data in {data} and the TPM state in {state} lie on the same file system, so one stolen disk would open the \
         X file: move the TPM state to another file system, or accept this with root_store.same_disk = true (it is then \
         shown in the page and in the ledger)"
    )]
    SameDisk {
        /// Data directory.
        data: PathBuf,
        /// State directory of the TPM.
        state: PathBuf,
    },
    /// A directory that cannot be looked at.
    #[error("cannot read the file system of {path}: {source}; create the directory or correct the configuration")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Compares the file systems (`st_dev`) of data and TPM state (DESIGN §3.4). It sees file systems, not disks: two
/// partitions of one disk, or two btrfs subvolumes, pass.
///
/// # Errors
/// [`SeparationError::SameDisk`] when both are the same and `same_disk` is not set, or when a directory is missing.
pub fn check_separate_disk(data_dir: &Path, state_dir: &Path, same_disk: bool) -> Result<Separation, SeparationError> {
    let device = |path: &Path| {
        std::fs::metadata(path)
            .map(|m| m.st_dev())
            .map_err(|source| SeparationError::Unreadable { path: path.to_owned(), source })
    };
    if device(data_dir)? != device(state_dir)? {
        return Ok(Separation::Separate);
    }
    if same_disk {
        return Ok(Separation::SameDisk);
    }
    Err(SeparationError::SameDisk { data: data_dir.to_owned(), state: state_dir.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_torn_at_any_byte_holds_no_root() {
        let old = RootEntry { generation: 7, key: RootKey::generate().unwrap() }.encode();
        let new = RootEntry { generation: 8, key: RootKey::generate().unwrap() }.encode();
        assert_eq!(RootEntry::decode(&new).unwrap().unwrap().generation, 8);
        assert!(RootEntry::decode(&[0; SLOT_LEN]).unwrap().is_none());
        // Byte 15 is the first that differs (the generation's last), so cuts before it leave the old slot whole.
        for cut in 0..SLOT_LEN {
            let mut torn = *old;
            torn[..cut].copy_from_slice(&new[..cut]);
            let whole = torn == *old || torn == *new;
            assert_eq!(RootEntry::decode(&torn).unwrap().is_some(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn one_file_system_is_refused_unless_the_configuration_says_so() {
        let data = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let refused = check_separate_disk(data.path(), state.path(), false).unwrap_err();
        assert!(refused.to_string().contains("root_store.same_disk = true"), "{refused}");
        assert_eq!(check_separate_disk(data.path(), state.path(), true).unwrap(), Separation::SameDisk);
        assert_eq!(check_separate_disk(data.path(), Path::new("/dev/shm"), false).unwrap(), Separation::Separate);
        assert!(check_separate_disk(data.path(), Path::new("/nowhere/at/all"), true).is_err());
    }
}
