//! Provisioning data: what the customer makes before ordering and the order carries; all of it is public.
//!
//! Its digest is measured by the platform where that exists, named in the birth certificate and in the genesis. So an
//! appliance that was started with somebody else's claim key cannot be claimed by the customer, who sees it at once.
//! What does not belong: the private half of the claim key, anything about a person.

use crate::error::RosterError;
use minicbor::{Decode, Encode};
use peri_domain::{Hash, Nonce};
use peri_seal::keys::UserPublic;
use peri_seal::{canonical, digest};

/// Format of provisioning data.
pub const PROVISIONING_FORMAT: u16 = 1;

/// Longest provisioning data: a key set of 1.7 KiB and witness keys.
pub const PROVISIONING_MAX: usize = 16 * 1024;

/// Witness keys at most.
pub const WITNESSES_MAX: usize = 32;

/// What an appliance is born with. Canonical CBOR `[format, claim key, update root, lowest version, witnesses, nonce]`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Provisioning {
    #[n(0)]
    format: u16,
    /// Who may claim.
    #[n(1)]
    pub claim_key: UserPublic,
    /// SHA-256 of the root metadata that updates must chain to; none: no updates are taken.
    #[n(2)]
    pub update_root: Option<Hash>,
    /// No image below this version may run: major, minor, patch.
    #[n(3)]
    pub lowest_version: [u32; 3],
    /// Verifier keys of ledger witnesses (C2SP signed-note lines).
    #[n(4)]
    pub witnesses: Vec<String>,
    /// Makes two orders with one claim key distinguishable.
    #[n(5)]
    pub nonce: Nonce,
}

impl Provisioning {
    /// Fresh provisioning data.
    #[must_use]
    pub fn new(claim_key: UserPublic, update_root: Option<Hash>, lowest_version: [u32; 3], nonce: Nonce) -> Self {
        Self { format: PROVISIONING_FORMAT, claim_key, update_root, lowest_version, witnesses: Vec::new(), nonce }
    }

    /// From the bytes of an order.
    ///
    /// # Errors
    /// [`RosterError::Malformed`], [`RosterError::UnknownSuite`], [`RosterError::TooLarge`]; also when the claim key is
    /// no key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RosterError> {
        const WHAT: &str = "provisioning data";
        if bytes.len() > PROVISIONING_MAX {
            return Err(RosterError::TooLarge { len: bytes.len(), max: PROVISIONING_MAX });
        }
        let malformed = |why: String| RosterError::Malformed { what: WHAT, why };
        let provisioning: Self = canonical::decode(WHAT, bytes).map_err(|e| malformed(e.to_string()))?;
        if provisioning.format != PROVISIONING_FORMAT {
            return Err(RosterError::UnknownSuite { found: provisioning.format, known: PROVISIONING_FORMAT });
        }
        if provisioning.witnesses.len() > WITNESSES_MAX {
            return Err(malformed(format!("more than {WITNESSES_MAX} witnesses")));
        }
        provisioning.claim_key.validate().map_err(|e| malformed(e.to_string()))?;
        Ok(provisioning)
    }

    /// Canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// What is measured: SHA-256 over `peri/v1/provisioning\0` and the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Hash {
        digest::hash("provisioning", &[&self.to_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::keys::KeyPair;
    use peri_seal::rng;

    #[test]
    fn the_digest_covers_every_field_and_only_the_canonical_form_is_read() {
        let key = KeyPair::generate(&mut rng::system());
        let one = Provisioning::new(key.public().clone(), None, [0, 1, 0], Nonce([1; 16]));
        let bytes = one.to_bytes();
        assert_eq!(Provisioning::from_bytes(&bytes).unwrap(), one);
        for other in [
            Provisioning { nonce: Nonce([2; 16]), ..one.clone() },
            Provisioning { lowest_version: [0, 1, 1], ..one.clone() },
            Provisioning { update_root: Some(Hash([0; 32])), ..one.clone() },
            Provisioning { witnesses: vec!["w".into()], ..one.clone() },
        ] {
            assert_ne!(other.digest(), one.digest());
        }
        assert!(Provisioning::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(Provisioning::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        let newer = Provisioning { format: 2, ..one };
        let error = Provisioning::from_bytes(&newer.to_bytes()).unwrap_err();
        assert!(matches!(error, RosterError::UnknownSuite { found: 2, .. }), "{error}");
    }
}
