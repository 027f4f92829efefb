//! Which appliance this home trusts, and how it came to do so.
//!
//! A home trusts exactly one appliance. The claimer pins it at the claim; everybody else imports the identity file that
//! the claimer hands over (`peri trust export`), and compares ten words with him. What does not belong: keys, the
//! roster. Invariant: nothing is asked of, signed for or believed from an appliance whose certificate does not fit the
//! pinned identity.

use crate::vault::{Vault, VaultError};
use minicbor::{Decode, Encode};
use peri_access::wire::BirthCertificate;
use peri_domain::{Fingerprint, Hash, VmId};
use peri_roster::Anchor;
use peri_seal::canonical;
use peri_seal::keys::UserPublic;
use peri_seal::words::words;
use std::path::{Path, PathBuf};

/// The pinned identity: nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Identity {
    #[n(0)]
    version: u16,
    /// The VM.
    #[n(1)]
    pub vm: VmId,
    /// Its device key: signs epoch records and birth certificates, receives camera passwords.
    #[n(2)]
    pub device: UserPublic,
    /// The claim key's fingerprint: the root of the roster.
    #[n(3)]
    pub claim: Fingerprint,
    /// Digest of the provisioning data.
    #[n(4)]
    pub provisioning: Hash,
    /// Verifier keys of the ledger (C2SP signed-note lines).
    #[n(5)]
    pub ledger_keys: Vec<String>,
}

/// What a home remembers: the identity and where the appliance listens.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Profile {
    /// Whom to trust.
    #[n(0)]
    pub identity: Identity,
    /// Where to find it; `--socket` overrides.
    #[n(1)]
    pub socket: Option<String>,
}

const VERSION: u16 = 1;
const FILE: &str = "profile";

/// Longest identity: device key 1.7 KiB, a few ledger keys of 200 bytes.
pub const IDENTITY_MAX: usize = 16 * 1024;

/// Why an appliance is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nothing is pinned.
    #[error(
        "this home knows no appliance yet; the claimer runs `peri claim use`, everybody else \
         `peri trust import FILE` with the identity file that the claimer hands over"
    )]
    Unknown,
    /// A different appliance than the one pinned.
    #[error(
        "THE APPLIANCE HAS CHANGED. Pinned: {pinned}. Answering now: {found}. Either somebody stands in between, or it \
         was set up anew; nothing was sent. Ask the claimer before you trust the new one"
    )]
    Changed {
        /// Ten words of the pinned identity.
        pinned: String,
        /// Ten words of what answers.
        found: String,
    },
    /// A ledger with other keys under the same identity.
    #[error(
        "the appliance names other ledger keys than those pinned at the claim; its history cannot be checked any more"
    )]
    LedgerKeys,
    /// The home already trusts another.
    #[error("this home trusts another appliance already ({pinned}); keep one home per appliance: --home DIR")]
    Taken {
        /// Ten words of the pinned identity.
        pinned: String,
    },
    /// Not an identity file.
    #[error("{path:?} is no identity file of this version: {why}; ask the claimer to run `peri trust export` again")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The words given do not fit.
    #[error("the words you gave do not fit this appliance; it says: {found}. Do not trust it before you have asked")]
    Words {
        /// Ten words of what was offered.
        found: String,
    },
    /// No socket known.
    #[error("where does the appliance listen? Give --socket PATH (it is remembered)")]
    NoSocket,
    /// The home fails.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl ProfileError {
    /// See [`crate::exit::EXIT_CODES`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown | Self::Taken { .. } | Self::File { .. } | Self::NoSocket => 2,
            Self::Changed { .. } | Self::LedgerKeys | Self::Words { .. } => 5,
            Self::Vault(error) => error.exit_code(),
        }
    }
}

impl Identity {
    /// From a checked certificate at the claim.
    #[must_use]
    pub fn new(certificate: &BirthCertificate, claim: Fingerprint) -> Self {
        Self {
            version: VERSION,
            vm: certificate.vm,
            device: certificate.device.clone(),
            claim,
            provisioning: certificate.provisioning,
            ledger_keys: certificate.ledger_keys.clone(),
        }
    }

    /// From the bytes of an identity file.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ProfileError> {
        let bad = |why: String| ProfileError::File { path: path.to_owned(), why };
        let identity: Self = canonical::decode("identity", bytes).map_err(|e| bad(e.to_string()))?;
        if identity.version != VERSION {
            return Err(bad(format!("it is of version {}", identity.version)));
        }
        identity.device.validate().map_err(|e| bad(e.to_string()))?;
        Ok(identity)
    }

    /// The bytes of an identity file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Digest over everything that makes this appliance the one meant: people compare its words.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let parts = (self.vm, self.device.fingerprint(), self.claim, self.provisioning);
        Fingerprint(peri_seal::digest::hash("appliance-identity", &[&canonical::encode(&parts)]).0)
    }

    /// The ten words that people compare.
    #[must_use]
    pub fn words(&self) -> String {
        words(&self.fingerprint()).join(" ")
    }

    /// What the roster is rooted in.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        Anchor {
            vm: self.vm,
            claim_key: self.claim,
            provisioning: self.provisioning,
            device: self.device.fingerprint(),
        }
    }

    /// Whether a (genuine) certificate is of this appliance.
    ///
    /// # Errors
    /// [`ProfileError::Changed`], [`ProfileError::LedgerKeys`].
    pub fn check(&self, certificate: &BirthCertificate) -> Result<(), ProfileError> {
        let found = Self::new(certificate, self.claim);
        if found.fingerprint() != self.fingerprint() {
            return Err(ProfileError::Changed { pinned: self.words(), found: found.words() });
        }
        if found.ledger_keys != self.ledger_keys {
            return Err(ProfileError::LedgerKeys);
        }
        Ok(())
    }
}

impl Profile {
    /// The home's profile.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`] when nothing is pinned.
    pub fn load(vault: &Vault) -> Result<Self, ProfileError> {
        vault.state(FILE, IDENTITY_MAX)?.ok_or(ProfileError::Unknown)
    }

    /// Pins an identity, or updates the socket of the same one.
    ///
    /// # Errors
    /// [`ProfileError::Taken`] when the home trusts another.
    pub fn pin(vault: &Vault, identity: Identity, socket: Option<&Path>) -> Result<Self, ProfileError> {
        let before = match Self::load(vault) {
            Ok(before) if before.identity.fingerprint() != identity.fingerprint() => {
                return Err(ProfileError::Taken { pinned: before.identity.words() });
            }
            Ok(before) => before.socket,
            Err(ProfileError::Unknown) => None,
            Err(error) => return Err(error),
        };
        let socket = socket.map(|path| path.to_string_lossy().into_owned()).or(before);
        let profile = Self { identity, socket };
        vault.set_state(FILE, &profile)?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::keys::{KeyPair, Signature};
    use peri_seal::rng;

    fn certificate(device: &KeyPair) -> BirthCertificate {
        BirthCertificate {
            vm: VmId([1; 16]),
            device: device.public().clone(),
            ledger_keys: vec!["a+1+b".into()],
            provisioning: Hash([2; 32]),
            claimed: true,
            roster_head: Hash([0; 32]),
            roster_len: 0,
            notices: vec![],
            nonce: [0; 32],
            signature: Signature([0; 96]),
            tls: None,
        }
    }

    #[test]
    fn a_changed_device_or_vm_is_refused_with_both_fingerprints_in_words() {
        let (device, other) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let identity = Identity::new(&certificate(&device), Fingerprint([3; 32]));
        identity.check(&certificate(&device)).unwrap();
        let error = identity.check(&certificate(&other)).unwrap_err();
        let ProfileError::Changed { pinned, found } = &error else { panic!("{error}") };
        assert_eq!((pinned.split(' ').count(), found.split(' ').count()), (10, 10));
        assert_ne!(pinned, found);
        assert_eq!(error.exit_code(), 5);
        let moved = BirthCertificate { vm: VmId([9; 16]), ..certificate(&device) };
        assert!(matches!(identity.check(&moved), Err(ProfileError::Changed { .. })));
        let rekeyed = BirthCertificate { ledger_keys: vec![], ..certificate(&device) };
        assert!(matches!(identity.check(&rekeyed), Err(ProfileError::LedgerKeys)));
    }

    #[test]
    fn a_home_trusts_one_appliance_and_remembers_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("home")).unwrap();
        assert!(matches!(Profile::load(&vault), Err(ProfileError::Unknown)));
        let device = KeyPair::generate(&mut rng::system());
        let identity = Identity::new(&certificate(&device), Fingerprint([3; 32]));
        Profile::pin(&vault, identity.clone(), Some(Path::new("/run/peri.sock"))).unwrap();
        let profile = Profile::pin(&vault, identity.clone(), None).unwrap();
        assert_eq!(profile.socket.as_deref(), Some("/run/peri.sock"));
        let other = Identity { claim: Fingerprint([4; 32]), ..identity.clone() };
        assert!(matches!(Profile::pin(&vault, other, None), Err(ProfileError::Taken { .. })));
        assert_eq!(Profile::load(&vault).unwrap().identity, identity);
    }

    #[test]
    fn an_identity_file_round_trips_and_a_cut_one_is_refused() {
        let device = KeyPair::generate(&mut rng::system());
        let identity = Identity::new(&certificate(&device), Fingerprint([3; 32]));
        let bytes = identity.to_bytes();
        assert_eq!(Identity::from_bytes(Path::new("x"), &bytes).unwrap(), identity);
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(Identity::from_bytes(Path::new("x"), &bytes[..len]).is_err(), "{len}");
        }
    }
}
