//! The home directory of a person: keys under password and device secret, what is remembered about the appliance.
//!
//! ```text
//! device-secret      128 random bits made here (0600); half of every key's lock, worthless alone
//! keys/NAME          public key set, and the private one under (password, device secret) and under a recovery code
//! profile            which appliance this home trusts (see profile)
//! provisioning.cbor  what `claim new` made and the order carried
//! roster             the statements seen last: a shorter roster is noticed
//! checkpoint         the newest ledger checkpoint seen: a shorter or other history is noticed
//! ```
//! Invariants: a private key is never on disk in clear; directory 0700, files 0600; every write is atomic and durable.
//! What does not belong: asking for passwords ([`crate::password`]), printing ([`crate::sheet`] makes the recovery
//! sheet's text).

use minicbor::{Decode, Encode};
use peri_domain::{AccountId, Fingerprint, Role, UtcNanos};
use peri_open::userkey::{UserKeyOpenError, open_with_password, open_with_recovery};
use peri_sandbox::durable::{Dir, DurableError, write_atomic};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::keys::{KeyPair, UserPublic};
use peri_seal::rng;
use peri_seal::userkey::{
    DEVICE_SECRET_LEN, DeviceSecret, PasswordParameters, RecoveryCode, Stretched, UserKeyError, WrappedUserKey,
};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const DEVICE_SECRET_FILE: &str = "device-secret";

/// Longest key file: public keys 1.7 KiB and two wraps of some 200 bytes.
const KEY_FILE_MAX: usize = 8 * 1024;

/// Written and removed where a key file is about to come.
const TRIAL_FILE: &str = ".trial";

/// What a key is for; decides which commands take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum KeyKind {
    /// Makes the genesis and fills the seats, then is spent.
    #[n(0)]
    Claim,
    /// A custodian's seat.
    #[n(1)]
    Seat,
    /// An account with its role.
    #[n(2)]
    Account {
        /// The account's id, made with the key.
        #[n(0)]
        id: AccountId,
        /// The role asked for; the roster decides.
        #[n(1)]
        role: Role,
    },
}

impl core::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Claim => f.write_str("claim"),
            Self::Seat => f.write_str("seat"),
            Self::Account { role, .. } => role.fmt(f),
        }
    }
}

/// A key file: all of it may be read by a thief of the disk without harm as long as the device secret or the password
/// is unknown to him.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyFile {
    #[n(0)]
    version: u16,
    /// What it is for.
    #[n(1)]
    pub kind: KeyKind,
    /// Public halves.
    #[n(2)]
    pub public: UserPublic,
    /// When it was made.
    #[n(3)]
    pub created: UtcNanos,
    #[n(4)]
    locked: WrappedUserKey,
    #[n(5)]
    recovery: WrappedUserKey,
}

const KEY_FILE_VERSION: u16 = 1;

/// Why the home does not give what is asked for.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No place to keep keys.
    #[error("neither --home nor XDG_DATA_HOME nor HOME says where keys are kept; give --home DIR")]
    NoHome,
    /// The directory cannot be made or opened.
    #[error("cannot use {path:?} as home of keys: {source}")]
    Home {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others may look into it.
    #[error("{path:?} may be read by others (mode {mode:o}); run: chmod 700 {path:?}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file operation.
    #[error(transparent)]
    Files(#[from] DurableError),
    /// A name that cannot be a file.
    #[error(
        "{0:?} is no name for a key: use 1 to 40 letters, digits, '-', '_' or '.', not beginning with '.' nor ending with '.tmp'"
    )]
    Name(String),
    /// A second key of the name.
    #[error("there is a key {0:?} already; nothing overwrites a key: take another name or move the file away")]
    Exists(String),
    /// No key of that name.
    #[error("there is no key {name:?} in this home{}; see `peri key list`, or give --home", list(.known))]
    Missing {
        /// The name asked for.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// More than one key would do, or none.
    #[error("say which key signs with {option}{}", list(.candidates))]
    Ambiguous {
        /// The option to give.
        option: &'static str,
        /// Keys that would do.
        candidates: Vec<String>,
    },
    /// The file is not what this version writes.
    #[error("the key file {name:?} is damaged or of another version: {source}; restore it from a backup")]
    Damaged {
        /// The key.
        name: String,
        /// What is wrong.
        source: CanonicalError,
    },
    /// Another file of the home is damaged.
    #[error("{file:?} in the home is damaged: {source}; restore it from a backup")]
    State {
        /// The file.
        file: &'static str,
        /// What is wrong.
        source: CanonicalError,
    },
    /// The device secret has another length.
    #[error(
        "the file device-secret is damaged ({0} bytes instead of {DEVICE_SECRET_LEN}); restore it from a backup, or use the recovery sheet: `peri key recover`"
    )]
    DeviceSecret(usize),
    /// It does not open.
    #[error("key {name:?} does not open: {source}")]
    Locked {
        /// The key.
        name: String,
        /// Why not.
        source: UserKeyOpenError,
    },
    /// It opens to another key than the file says.
    #[error(
        "key {name:?} opens, but to another key set ({found}) than its file names ({expected}); the file was tampered with"
    )]
    Swapped {
        /// The key.
        name: String,
        /// What the file names.
        expected: Fingerprint,
        /// What it holds.
        found: Fingerprint,
    },
    /// The recovery code is no code.
    #[error("this is no recovery code: {0}")]
    Code(UserKeyError),
}

impl VaultError {
    /// See [`crate::exit::EXIT_CODES`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Home { .. } | Self::Open { .. } | Self::Files(_) | Self::State { .. } => 1,
            Self::NoHome | Self::Name(_) | Self::Exists(_) => 2,
            Self::Swapped { .. } => 5,
            _ => 6,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (there are: {})", names.join(", ")) }
}

/// An open home.
pub struct Vault {
    path: PathBuf,
    dir: Dir,
    keys: Dir,
}

impl Vault {
    /// Opens the home and makes it if it is not there.
    ///
    /// # Errors
    /// [`VaultError::Home`], [`VaultError::Open`].
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let home = |source| VaultError::Home { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(home)?;
        let path = path.canonicalize().map_err(home)?;
        let mode = path.metadata().map_err(home)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Open { path, mode });
        }
        let dir = Dir::open(&path)?;
        let keys = dir.ensure_dir("keys", DIR_MODE)?;
        Ok(Self { path, dir, keys })
    }

    /// Where the home is unless `--home` says otherwise; `data_home` and `home` are the environment's variables.
    ///
    /// # Errors
    /// [`VaultError::NoHome`].
    pub fn default_path(data_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, VaultError> {
        // XDG Base Directory Specification: a relative path in the variable is to be ignored.
        let data = data_home.filter(|path| path.is_absolute());
        let base = data.or_else(|| home.map(|home| home.join(".local/share"))).ok_or(VaultError::NoHome)?;
        Ok(base.join("peri"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a key. The recovery code is shown once and stored nowhere.
    ///
    /// # Errors
    /// [`VaultError::Name`], [`VaultError::Exists`], file errors.
    pub fn create(
        &self,
        name: &str,
        kind: KeyKind,
        password: &str,
        now: UtcNanos,
    ) -> Result<(KeyFile, KeyPair, RecoveryCode), VaultError> {
        let pair = KeyPair::generate(&mut rng::system());
        let code = RecoveryCode::generate(&mut rng::system());
        let file = self.install(name, kind, &pair, password, &code, now)?;
        Ok((file, pair, code))
    }

    /// Whether a key of this name could be made.
    ///
    /// # Errors
    /// [`VaultError::Name`], [`VaultError::Exists`], file errors.
    pub fn free(&self, name: &str) -> Result<(), VaultError> {
        check_name(name)?;
        if self.keys.has(name)? { Err(VaultError::Exists(name.to_owned())) } else { Ok(()) }
    }

    /// Takes in a key that came from elsewhere, under a password and a recovery code.
    ///
    /// # Errors
    /// As [`Vault::create`].
    pub fn install(
        &self,
        name: &str,
        kind: KeyKind,
        pair: &KeyPair,
        password: &str,
        code: &RecoveryCode,
        now: UtcNanos,
    ) -> Result<KeyFile, VaultError> {
        self.free(name)?;
        let file = self.locked_up(kind, pair, password, code, now)?;
        self.store(name, &file)?;
        Ok(file)
    }

    /// The file of a key under a password with this home's device secret and under a recovery code; it is not written.
    ///
    /// # Errors
    /// As [`Vault::device_secret`].
    pub fn locked_up(
        &self,
        kind: KeyKind,
        pair: &KeyPair,
        password: &str,
        code: &RecoveryCode,
        now: UtcNanos,
    ) -> Result<KeyFile, VaultError> {
        Ok(KeyFile {
            version: KEY_FILE_VERSION,
            kind,
            public: pair.public().clone(),
            created: now,
            locked: lock(pair, password, &self.device_secret()?),
            recovery: code.wrap(&mut rng::system(), pair),
        })
    }

    /// Tries whether a key file could be written: writes one of the greatest length under a name that no key has, and
    /// takes it away again.
    ///
    /// # Errors
    /// File errors.
    pub fn try_keys(&self) -> Result<(), VaultError> {
        let _turn = self.turn()?;
        write_atomic(&self.keys, TRIAL_FILE, &[0; KEY_FILE_MAX], FILE_MODE)?;
        self.keys.unlink(TRIAL_FILE)?;
        Ok(())
    }

    /// Gives a key a new recovery code; the one before is void for this file.
    ///
    /// # Errors
    /// As [`Vault::key`].
    pub fn renew_code(&self, name: &str, pair: &KeyPair, code: &RecoveryCode) -> Result<KeyFile, VaultError> {
        let file = KeyFile { recovery: code.wrap(&mut rng::system(), pair), ..self.key(name)? };
        self.store(name, &file)?;
        Ok(file)
    }

    /// Corrects what a key is for, once the roster has said it.
    ///
    /// # Errors
    /// As [`Vault::key`].
    pub fn set_kind(&self, name: &str, kind: KeyKind) -> Result<KeyFile, VaultError> {
        let file = KeyFile { kind, ..self.key(name)? };
        self.store(name, &file)?;
        Ok(file)
    }

    /// Names of all keys, sorted.
    ///
    /// # Errors
    /// File errors.
    pub fn names(&self) -> Result<Vec<String>, VaultError> {
        Ok(self.keys.files()?.into_iter().filter(|name| check_name(name).is_ok()).collect())
    }

    /// A key's file.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Damaged`].
    pub fn key(&self, name: &str) -> Result<KeyFile, VaultError> {
        check_name(name)?;
        let bytes = match self.keys.read(name, KEY_FILE_MAX) {
            Err(error) if error.is_missing() => {
                return Err(VaultError::Missing { name: name.to_owned(), known: self.names()? });
            }
            other => other?,
        };
        let damaged = |source| VaultError::Damaged { name: name.to_owned(), source };
        let file: KeyFile = canonical::decode("key file", &bytes).map_err(damaged)?;
        if file.version == KEY_FILE_VERSION {
            Ok(file)
        } else {
            Err(damaged(CanonicalError::NotCanonical { what: "key file of this version" }))
        }
    }

    /// All keys with their names.
    ///
    /// # Errors
    /// As [`Vault::key`].
    pub fn all(&self) -> Result<Vec<(String, KeyFile)>, VaultError> {
        self.names()?.into_iter().map(|name| self.key(&name).map(|file| (name, file))).collect()
    }

    /// Opens a key with its password and this home's device secret.
    ///
    /// # Errors
    /// [`VaultError::Locked`] for a wrong password as for a foreign device secret; [`VaultError::Swapped`].
    pub fn unlock(&self, name: &str, password: &str) -> Result<KeyPair, VaultError> {
        let file = self.key(name)?;
        let locked = |source| VaultError::Locked { name: name.to_owned(), source };
        let pair = open_with_password(&file.locked, password, &self.device_secret()?).map_err(locked)?;
        same_key(name, &file, pair)
    }

    /// Opens a key with its recovery code and locks it anew, under a password with this home's device secret and under the
    /// `next` code, in one write: a code that was typed in somewhere is worth nothing with this file any more.
    ///
    /// # Errors
    /// [`VaultError::Code`], [`VaultError::Locked`].
    pub fn recover(
        &self,
        name: &str,
        code: &str,
        password: &str,
        next: &RecoveryCode,
    ) -> Result<(KeyFile, KeyPair), VaultError> {
        let file = self.key(name)?;
        let code = RecoveryCode::parse(code).map_err(VaultError::Code)?;
        let locked = |source| VaultError::Locked { name: name.to_owned(), source };
        let pair = open_with_recovery(&file.recovery, &code).map_err(locked)?;
        let pair = same_key(name, &file, pair)?;
        let file = KeyFile { recovery: next.wrap(&mut rng::system(), &pair), ..file };
        Ok((self.relock(name, file, &pair, password)?, pair))
    }

    /// Locks a key under a new password.
    ///
    /// # Errors
    /// As [`Vault::unlock`].
    pub fn change_password(&self, name: &str, old: &str, new: &str) -> Result<KeyFile, VaultError> {
        let pair = self.unlock(name, old)?;
        self.relock(name, self.key(name)?, &pair, new)
    }

    /// A state file of the home; `None` when it is not there.
    ///
    /// # Errors
    /// [`VaultError::State`], file errors.
    pub fn state<T>(&self, file: &'static str, max: usize) -> Result<Option<T>, VaultError>
    where
        T: for<'b> Decode<'b, ()> + Encode<()>,
    {
        match self.dir.read(file, max) {
            Ok(bytes) => {
                canonical::decode("state file", &bytes).map(Some).map_err(|source| VaultError::State { file, source })
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a state file, atomically and durably.
    ///
    /// # Errors
    /// File errors.
    pub fn set_state<T: Encode<()>>(&self, file: &'static str, value: &T) -> Result<(), VaultError> {
        let _turn = self.turn()?;
        Ok(write_atomic(&self.dir, file, &canonical::encode(value), FILE_MODE)?)
    }

    /// Waits until no other run of the program writes to this home; until the file is dropped.
    fn turn(&self) -> Result<std::fs::File, VaultError> {
        let home = |source| VaultError::Home { path: self.path.clone(), source };
        let held = std::fs::File::open(&self.path).map_err(home)?;
        held.lock().map_err(home)?;
        Ok(held)
    }

    fn relock(&self, name: &str, mut file: KeyFile, pair: &KeyPair, password: &str) -> Result<KeyFile, VaultError> {
        file.locked = lock(pair, password, &self.device_secret()?);
        self.store(name, &file)?;
        Ok(file)
    }

    fn store(&self, name: &str, file: &KeyFile) -> Result<(), VaultError> {
        let _turn = self.turn()?;
        Ok(write_atomic(&self.keys, name, &canonical::encode(file), FILE_MODE)?)
    }

    /// The secret of this device; made at first use.
    ///
    /// # Errors
    /// [`VaultError::DeviceSecret`], file errors.
    pub fn device_secret(&self) -> Result<DeviceSecret, VaultError> {
        match self.dir.read(DEVICE_SECRET_FILE, 4 * DEVICE_SECRET_LEN) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let mut secret: [u8; DEVICE_SECRET_LEN] =
                    bytes.as_slice().try_into().map_err(|_| VaultError::DeviceSecret(bytes.len()))?;
                let device = DeviceSecret::from_bytes(secret);
                secret.zeroize();
                Ok(device)
            }
            Err(error) if error.is_missing() => {
                let turn = self.turn()?;
                // Another run was first: what it locked needs its secret.
                if self.dir.has(DEVICE_SECRET_FILE)? {
                    drop(turn);
                    return self.device_secret();
                }
                let secret = DeviceSecret::generate(&mut rng::system());
                write_atomic(&self.dir, DEVICE_SECRET_FILE, secret.as_bytes(), FILE_MODE)?;
                Ok(secret)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn check_name(name: &str) -> Result<(), VaultError> {
    let fits = (1..=40).contains(&name.len())
        && !name.starts_with('.')
        && !name.ends_with(".tmp")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Ok(()) } else { Err(VaultError::Name(name.chars().take(60).collect())) }
}

fn same_key(name: &str, file: &KeyFile, pair: KeyPair) -> Result<KeyPair, VaultError> {
    if *pair.public() == file.public {
        Ok(pair)
    } else {
        Err(VaultError::Swapped {
            name: name.to_owned(),
            expected: file.public.fingerprint(),
            found: pair.fingerprint(),
        })
    }
}

fn lock(pair: &KeyPair, password: &str, device: &DeviceSecret) -> WrappedUserKey {
    let parameters = PasswordParameters::generate(&mut rng::system());
    Stretched::new(password, device, parameters).expect("generated parameters have the least rounds allowed").wrap(pair)
}

#[cfg(test)]
mod tests;
