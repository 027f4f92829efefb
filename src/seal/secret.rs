//! The three secrets of an epoch: E (drawn by keeper), X (drawn by scribe) and K, which comes out of both.
//!
//! What does not belong: where they are kept, who gets them. Invariants: no `Debug`, no `Clone`, wiped on drop; K is
//! never stored, only derived.
//!
//! Commitments are plain domain-separated hashes: each secret is 256 uniformly random bits, so a hash hides it, and
//! SHA-256 being collision-resistant binds it. They do not take the epoch as an input, so that a search for leftovers
//! (`fsck --prove-erased`) needs one hash per candidate and not one per candidate and epoch; the signed epoch record
//! binds them to the epoch.

use crate::digest::{hash, labelled};
use crate::record::{EpochId, SUITE};
use crate::rng::CryptoRng;
use hkdf::Hkdf;
use peri_domain::Hash;
use sha2::Sha384;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of E, X and K.
pub const SECRET_LEN: usize = 32;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $label:literal) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; SECRET_LEN]);

        impl $name {
            /// From raw bytes; wipe the source after.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; SECRET_LEN]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; SECRET_LEN] {
                &self.0
            }

            #[doc = concat!("SHA-256 under the prefix `peri/v1/", $label, "\\0`.")]
            #[must_use]
            pub fn commit(&self) -> Hash {
                hash($label, &[&self.0])
            }
        }
    };
}

secret!(
    /// E: drawn by keeper, wrapped to the entitled, shared to the seats, forgotten.
    EpochSecret, "commit-e"
);
secret!(
    /// X: drawn by scribe, kept in the key file until erasure, handed out per disclosure.
    XSecret, "commit-x"
);
secret!(
    /// K: seals the fragments of one epoch of one camera.
    ContentKey, "commit-k"
);

impl EpochSecret {
    /// A new E.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(draw(rng))
    }
}

impl XSecret {
    /// A new X.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(draw(rng))
    }
}

/// K = HKDF-SHA-384(ikm E ‖ X, no salt, info `peri/v1/content-key\0` ‖ suite (2, BE) ‖ VM (16) ‖ camera (16) ‖ epoch
/// (8, BE)), 32 bytes (RFC 5869). Both halves are uniform, so the extract step needs no salt; lacking either, K is
/// uniform to whoever looks.
#[must_use]
pub fn derive_content_key(e: &EpochSecret, x: &XSecret, epoch: &EpochId) -> ContentKey {
    let mut ikm = [0; 2 * SECRET_LEN];
    ikm[..SECRET_LEN].copy_from_slice(&e.0);
    ikm[SECRET_LEN..].copy_from_slice(&x.0);
    let mut k = ContentKey([0; SECRET_LEN]);
    Hkdf::<Sha384>::new(None, &ikm)
        .expand(&labelled("content-key", &[&SUITE.to_be_bytes(), &epoch.to_bytes()]), &mut k.0)
        .expect("32 bytes are one block of HKDF-SHA-384");
    ikm.zeroize();
    k
}

fn draw(rng: &mut impl CryptoRng) -> [u8; SECRET_LEN] {
    let mut bytes = [0; SECRET_LEN];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::{CameraId, EpochNo, VmId};

    #[test]
    fn every_input_changes_k() {
        let id = EpochId { vm: VmId([1; 16]), camera: CameraId([2; 16]), epoch: EpochNo(3) };
        let k =
            |e: u8, x: u8, id: &EpochId| *derive_content_key(&EpochSecret([e; 32]), &XSecret([x; 32]), id).as_bytes();
        let all = [
            k(1, 2, &id),
            k(2, 1, &id),
            k(1, 3, &id),
            k(1, 2, &EpochId { vm: VmId([9; 16]), ..id }),
            k(1, 2, &EpochId { camera: CameraId([9; 16]), ..id }),
            k(1, 2, &EpochId { epoch: EpochNo(4), ..id }),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn the_three_commitments_never_coincide() {
        let bytes = [7; 32];
        let (e, x, k) = (EpochSecret(bytes).commit(), XSecret(bytes).commit(), ContentKey(bytes).commit());
        assert!(e != x && x != k && e != k);
    }
}
