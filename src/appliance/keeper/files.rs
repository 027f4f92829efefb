//! Keeper's own files: identity, the provisioning data it was born with, the roster as a log of statements, the last time
//! that it saw.
//!
//! The roster here is the authority: what the database says is a copy that is compared, never believed. A statement is
//! durable here before anybody hears that it was accepted. The log is append-only: frames of length and CRC-32C; a torn
//! tail (power cut) is cut off. A damaged middle or a cut shows at the remembered head: recording goes on, but nobody gets
//! a wrap until the missing statements are back, because one of them may be a revocation.

use minicbor::{Decode, Encode};
use peri_domain::limits::{STATEMENT_MAX, STATEMENTS_MAX};
use peri_domain::{Hash, UtcNanos, VmId};
use peri_roster::{Anchor, HeadMark, RosterError, RosterSet, Statement};
use peri_sandbox::durable::{self, Dir, DurableError};
use peri_seal::keys::{KEY_PAIR_SECRET_LEN, KeyPair};
use peri_seal::{digest, rng};
use std::fs::File;
use zeroize::{Zeroize, ZeroizeOnDrop};

const IDENTITY: &str = "identity";
const ROSTER: &str = "roster.log";
const MARK: &str = "roster.head";
const SEEN: &str = "time.seen";
const SEEN_LEN: usize = 12;

/// Why keeper cannot start from its files.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// The disk refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The disk refused an append.
    #[error("cannot write keeper's roster log: {0}; make room on its disk")]
    Append(nix::errno::Errno),
    /// The identity file is damaged.
    #[error(
        "keeper's identity file is damaged; restore keeper's directory from its disk image, or destroy and claim anew"
    )]
    Identity,
    /// Started with other provisioning data than at birth.
    #[error(
        "this appliance was born with provisioning data {born}, but the configuration now names {found}; put the \
         original file back (a second claim is never possible)"
    )]
    SecondClaim {
        /// At first start.
        born: Hash,
        /// Now.
        found: Hash,
    },
    /// The remembered head is damaged.
    #[error(
        "keeper's file roster.head is damaged; restore keeper's directory, or remove the file if the roster is whole"
    )]
    Remembered,
}

/// Identity at rest.
#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct Stored {
    #[n(0)]
    #[zeroize(skip)]
    vm: VmId,
    #[n(1)]
    #[zeroize(skip)]
    provisioning: Hash,
    #[cbor(n(2), with = "minicbor::bytes")]
    secret: [u8; KEY_PAIR_SECRET_LEN],
}

/// Who this appliance is.
pub(super) struct Identity {
    pub(super) vm: VmId,
    pub(super) device: KeyPair,
    /// SHA-256 of the provisioning data.
    pub(super) provisioning: Hash,
}

impl Identity {
    /// Reads the identity, or makes it at the first start.
    pub(super) fn load_or_create(dir: &Dir, provisioning: &[u8]) -> Result<Self, FilesError> {
        let found = digest::hash("provisioning", &[provisioning]);
        if !dir.has(IDENTITY)? {
            let device = KeyPair::generate(&mut rng::system());
            let mut vm = [0; 16];
            getrandom::fill(&mut vm).expect("the kernel always has randomness after boot");
            let stored = Stored { vm: VmId(vm), provisioning: found, secret: *device.to_secret_bytes() };
            let mut bytes = minicbor::to_vec(&stored).expect("encoding into a Vec cannot fail");
            let written = durable::write_atomic(dir, IDENTITY, &bytes, 0o400);
            bytes.zeroize();
            written?;
            return Ok(Self { vm: VmId(vm), device, provisioning: found });
        }
        let mut bytes = dir.read(IDENTITY, 4096)?;
        let stored = minicbor::decode::<Stored>(&bytes).map_err(|_| FilesError::Identity);
        bytes.zeroize();
        let stored = stored?;
        if stored.provisioning != found {
            return Err(FilesError::SecondClaim { born: stored.provisioning, found });
        }
        let device = KeyPair::from_secret_bytes(&stored.secret).map_err(|_| FilesError::Identity)?;
        Ok(Self { vm: stored.vm, device, provisioning: found })
    }
}

/// The VM's id alone.
pub(super) fn vm_of(dir: &Dir) -> Result<VmId, FilesError> {
    let mut bytes = dir.read(IDENTITY, 4096)?;
    let stored = minicbor::decode::<Stored>(&bytes).map_err(|_| FilesError::Identity);
    bytes.zeroize();
    stored.map(|stored| stored.vm)
}

/// The highest head that this keeper ever had and what it consists of, beside the log: a log that was cut at the edge of
/// a frame, or whose middle is damaged, shows.
#[derive(Encode, Decode)]
pub(super) struct Remembered {
    /// The head.
    #[n(0)]
    pub(super) mark: HeadMark,
    /// Ids of its statements, ascending.
    #[n(1)]
    ids: Vec<Hash>,
}

impl Remembered {
    pub(super) fn of(set: &RosterSet) -> Self {
        Self { mark: set.mark(), ids: set.effective().to_vec() }
    }

    pub(super) fn read(dir: &Dir) -> Result<Option<Self>, FilesError> {
        if !dir.has(MARK)? {
            return Ok(None);
        }
        let bytes = dir.read(MARK, 64 + STATEMENTS_MAX * (Hash::LEN + 4))?;
        minicbor::decode(&bytes).map(Some).map_err(|_| FilesError::Remembered)
    }

    /// Durable on return.
    pub(super) fn write(&self, dir: &Dir) -> Result<(), FilesError> {
        let bytes = minicbor::to_vec(self).expect("encoding into a Vec cannot fail");
        Ok(durable::write_atomic(dir, MARK, &bytes, 0o600)?)
    }

    /// Whether the set still has all of it in effect.
    pub(super) fn is_within(&self, set: &RosterSet) -> bool {
        set.is_extension_of(&self.mark, &self.ids).is_ok()
    }

    /// Whether a statement belonged to it.
    pub(super) fn lists(&self, statement: &[u8]) -> bool {
        Statement::from_bytes(statement).is_ok_and(|statement| self.ids.binary_search(&statement.hash()).is_ok())
    }
}

/// The time that an earlier run saw last: nanoseconds, 8 bytes BE ‖ CRC-32C of them, 4 bytes BE. `None` where there is none;
/// a damaged file counts as none, since it must not stop recording, and is told as an error.
pub(super) fn read_seen(dir: &Dir) -> (Option<UtcNanos>, Option<&'static str>) {
    let read = || -> Result<Option<[u8; SEEN_LEN]>, DurableError> {
        if !dir.has(SEEN)? {
            return Ok(None);
        }
        Ok(Some(<[u8; SEEN_LEN]>::try_from(dir.read(SEEN, SEEN_LEN)?).unwrap_or([0; SEEN_LEN])))
    };
    let damaged =
        "keeper's file time.seen is damaged: grants that ended come back if the clock was set back; look at it";
    match read() {
        Ok(None) => (None, None),
        Ok(Some(bytes)) => {
            let (nanos, crc) = bytes.split_at(8);
            if crc != crc32c::crc32c(nanos).to_be_bytes() {
                return (None, Some(damaged));
            }
            (Some(UtcNanos(i64::from_be_bytes(nanos.try_into().expect("8 bytes by range")))), None)
        }
        Err(_) => (None, Some(damaged)),
    }
}

/// Durable on return.
pub(super) fn write_seen(dir: &Dir, time: UtcNanos) -> Result<(), FilesError> {
    let mut bytes = [0; SEEN_LEN];
    bytes[..8].copy_from_slice(&time.0.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[..8]).to_be_bytes();
    bytes[8..].copy_from_slice(&crc);
    Ok(durable::write_atomic(dir, SEEN, &bytes, 0o600)?)
}

/// The roster of a log: signatures that the last snapshot in it covers are not checked again. Returns the set, the
/// statements in it, and why the snapshot could not be used – unless for the ordinary reason that a seat changed hands
/// since.
pub(super) fn read_roster(anchor: Anchor, log: Vec<Vec<u8>>) -> (RosterSet, Vec<Vec<u8>>, Option<String>) {
    let reading = RosterSet::read(anchor, &log);
    let left_out: Vec<usize> = reading.left_out.iter().map(|(at, _)| *at).collect();
    let kept = log.into_iter().enumerate().filter(|(at, _)| left_out.binary_search(at).is_err());
    let unused = match reading.snapshot {
        None | Some(Ok(_) | Err(RosterError::StaleSeatSet { .. })) => None,
        Some(Err(why)) => Some(format!("the roster's snapshot was not used, every signature was checked: {why}")),
    };
    (reading.set, kept.map(|(_, statement)| statement).collect(), unused)
}

/// The statements on disk.
pub(super) struct RosterLog {
    file: File,
    end: u64,
}

impl RosterLog {
    /// Opens the log and reads every statement in order of acceptance.
    pub(super) fn open(dir: &Dir) -> Result<(Self, Vec<Vec<u8>>), FilesError> {
        let file = if dir.has(ROSTER)? { dir.open_rw(ROSTER)? } else { dir.create_excl(ROSTER, 0o600)? };
        dir.sync()?;
        let length = file.metadata().map_err(|e| FilesError::Append(errno(&e)))?.len();
        let most = STATEMENTS_MAX as u64 * (STATEMENT_MAX as u64 + 8);
        let mut bytes = vec![0; usize::try_from(length.min(most)).unwrap_or(0)];
        durable::read_exact_at(&file, &mut bytes, 0).map_err(FilesError::Append)?;
        let mut statements = Vec::new();
        let mut at = 0;
        let mut end = 0;
        while at < bytes.len() {
            if let Some(next) = frame(&bytes[at..]) {
                statements.push(next.to_vec());
                at += next.len() + 8;
                end = at;
            } else {
                // Damage: what follows may still be whole. That something is missing shows at the remembered head.
                at += 1;
            }
        }
        let end = end as u64;
        if end < length {
            // A torn append, never acknowledged.
            file.set_len(end).map_err(|e| FilesError::Append(errno(&e)))?;
            durable::sync_data(&file).map_err(FilesError::Append)?;
        }
        Ok((Self { file, end }, statements))
    }

    /// Appends one statement, durable on return.
    pub(super) fn append(&mut self, statement: &[u8]) -> Result<(), FilesError> {
        let mut bytes = Vec::with_capacity(statement.len() + 8);
        let length = u32::try_from(statement.len()).expect("statements are bounded");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(statement).to_be_bytes());
        bytes.extend_from_slice(statement);
        durable::write_all_at(&self.file, &bytes, self.end).map_err(FilesError::Append)?;
        durable::sync_data(&self.file).map_err(FilesError::Append)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// The statement at the start of `bytes`, if a whole and unharmed frame stands there.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    if length == 0 || length > STATEMENT_MAX {
        return None;
    }
    let body = bytes.get(8..8 + length)?;
    (crc32c::crc32c(body) == crc).then_some(body)
}

fn errno(error: &std::io::Error) -> nix::errno::Errno {
    nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn identity_survives_and_other_provisioning_data_is_refused() {
        let (_temp, dir) = dir();
        let first = Identity::load_or_create(&dir, b"order").unwrap();
        let again = Identity::load_or_create(&dir, b"order").unwrap();
        assert_eq!(first.vm, again.vm);
        assert_eq!(first.device.fingerprint(), again.device.fingerprint());
        assert!(matches!(Identity::load_or_create(&dir, b"other"), Err(FilesError::SecondClaim { .. })));
    }

    #[test]
    fn a_torn_tail_is_cut_and_a_damaged_middle_loses_one_statement_and_shows() {
        let (temp, dir) = dir();
        let (mut log, none) = RosterLog::open(&dir).unwrap();
        assert!(none.is_empty());
        for text in [&b"one"[..], b"two", b"three"] {
            log.append(text).unwrap();
        }
        let path = temp.path().join(ROSTER);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        let (mut log, statements) = RosterLog::open(&dir).unwrap();
        assert_eq!(statements, [b"one".to_vec(), b"two".to_vec()]);
        log.append(b"four").unwrap();
        assert_eq!(RosterLog::open(&dir).unwrap().1.len(), 3);
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[9] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(RosterLog::open(&dir).unwrap().1, [b"two".to_vec(), b"four".to_vec()]);
    }
}
