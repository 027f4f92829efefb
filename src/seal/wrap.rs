//! Wraps: E under the key of each entitled person, and one share of E under the key of each seat; X under the key of
//! whoever may look.
//!
//! All are HPKE base mode (RFC 9180) with MLKEM1024-P384, HKDF-SHA-384, AES-256-GCM. `info` binds every field of the
//! epoch context, the kind, the recipient's fingerprint and the share index, so that a wrap copied to another epoch,
//! camera, VM, person or kind does not open. What does not belong: opening (peri-open).
//!
//! **Shares.** A share is the value at x = `index` (1…n, the seat's number) of polynomials of degree k − 1 over GF(256),
//! polynomial x^8 + x^4 + x^3 + x + 1 (0x11b), one for each byte of E, whose value at x = 0 is E: what npm
//! `shamir-secret-sharing` calls a share is our value followed by our index.
//! **k = 1** is a path of its own, without polynomials: each seat gets a `Share` wrap with index 0, the value at x = 0,
//! which is E itself. Index 0 is never made nor accepted for k ≥ 2. Either way the plaintext starts with the index, so
//! what was released cannot be relabelled.

use crate::canonical;
use crate::digest::{hash, labelled};
use crate::keys::{HPKE_PUBLIC_LEN, KeyError, UserPublic};
use crate::record::{EpochContext, EpochId, RecordError, SUITE};
use crate::rng::CryptoRng;
use crate::secret::{EpochSecret, SECRET_LEN, XSecret};
use hpke::{OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha384, kem::MlKem1024P384};
use minicbor::{Decode, Encode};
use peri_domain::{Fingerprint, Hash, Nonce};
use vsss_rs::Gf256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an encapsulation: ML-KEM-1024 ciphertext (1,568) and uncompressed P-384 point (97).
pub const ENC_LEN: usize = HPKE_PUBLIC_LEN;
/// Bytes of an AES-GCM tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the sealed part of a [`WrapKind::User`] wrap.
pub const USER_SEALED_LEN: usize = ENC_LEN + SECRET_LEN + TAG_LEN;
/// Bytes of the sealed part of a [`WrapKind::Share`] wrap: the index comes first.
pub const SHARE_SEALED_LEN: usize = USER_SEALED_LEN + 1;
/// Longest canonical wrap: sealed part with head (3), fingerprint (34), suite (3), kind (1), index (2), array head (1).
pub const WRAP_LEN_MAX: usize = SHARE_SEALED_LEN + 44;

/// What a wrap holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum WrapKind {
    /// E itself, for a person with a grant.
    #[n(0)]
    User,
    /// A share of E, for a seat (with k = 1: E, marked by index 0).
    #[n(1)]
    Share,
}

/// One sealed E or share. Canonical CBOR `[suite, kind, recipient, share_index, sealed]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Wrap {
    /// Algorithms, [`SUITE`].
    #[n(0)]
    pub suite: u16,
    /// What is inside.
    #[n(1)]
    pub kind: WrapKind,
    /// Fingerprint of the key that opens it.
    #[n(2)]
    pub recipient: Fingerprint,
    /// x of the share, 1…n; 0 for a `User` wrap and for the whole secret of k = 1.
    #[n(3)]
    pub share_index: u8,
    /// Encapsulation (1,665 bytes) ‖ ciphertext ‖ tag.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A share in clear; wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Share {
    index: u8,
    value: [u8; SECRET_LEN],
}

/// Why nothing was wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The recipient's key is not a key.
    #[error("nothing can be sealed to {recipient}: {source}")]
    Recipient {
        /// Whose key.
        recipient: Fingerprint,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The HPKE library refused.
    #[error("sealing to {recipient} failed: {source}")]
    Hpke {
        /// Whose key.
        recipient: Fingerprint,
        /// Its word.
        source: hpke::HpkeError,
    },
    /// k and n make no sharing.
    #[error("{k} of {n} seats is no sharing: 1 ≤ k ≤ n ≤ 16")]
    Threshold {
        /// Seats needed.
        k: u8,
        /// Seats there are.
        n: u8,
    },
    /// A share that does not fit the context.
    #[error("share {index} does not belong to an epoch with {k} of {n} seats")]
    Index {
        /// x of the share.
        index: u8,
        /// Seats needed.
        k: u8,
        /// Seats there are.
        n: u8,
    },
    /// The secret is not the one that the context commits to.
    #[error("the secret does not match the commitment of epoch {0:?}; nothing was wrapped")]
    Commitment(EpochId),
    /// The context is out of range.
    #[error(transparent)]
    Context(#[from] RecordError),
}

impl Wrap {
    /// SHA-256 over the canonical bytes under the prefix `peri/v1/wrap-hash\0`.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash("wrap-hash", &[&canonical::encode(self)])
    }

    /// Whether suite, index and length fit the kind and the context's k and n. Readers name an unknown suite by itself, so
    /// that a wrap of a later version is not called damaged.
    #[must_use]
    pub fn fits(&self, context: &EpochContext) -> bool {
        self.suite == SUITE
            && match self.kind {
                WrapKind::User => self.share_index == 0 && self.sealed.len() == USER_SEALED_LEN,
                WrapKind::Share => {
                    index_fits(self.share_index, context.threshold, context.seats)
                        && self.sealed.len() == SHARE_SEALED_LEN
                }
            }
    }
}

impl core::fmt::Debug for Wrap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Wrap({:?} {} #{}, {} bytes)", self.kind, self.recipient, self.share_index, self.sealed.len())
    }
}

impl Share {
    /// From x and the value there. Index 0 is the whole secret of a k = 1 epoch.
    #[must_use]
    pub const fn from_parts(index: u8, value: [u8; SECRET_LEN]) -> Self {
        Self { index, value }
    }

    /// x: the seat's number, or 0 for the whole secret of a k = 1 epoch.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// The value at x.
    #[must_use]
    pub const fn value(&self) -> &[u8; SECRET_LEN] {
        &self.value
    }
}

/// Whether a share with this index may exist for k of n.
#[must_use]
pub const fn index_fits(index: u8, k: u8, n: u8) -> bool {
    if k == 1 { index == 0 } else { index >= 1 && index <= n }
}

/// HPKE base mode: encapsulation ‖ ciphertext ‖ tag. `info` must come from [`labelled`] with a label of its own.
///
/// # Errors
/// [`WrapError::Recipient`], [`WrapError::Hpke`].
pub fn hpke_seal(
    rng: &mut impl CryptoRng,
    recipient: &UserPublic,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, WrapError> {
    let key =
        recipient.hpke_key().map_err(|source| WrapError::Recipient { recipient: recipient.fingerprint(), source })?;
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha384, MlKem1024P384>(
        &OpModeS::Base,
        &key,
        info,
        plaintext,
        aad,
        rng,
    )
    .map_err(|source| WrapError::Hpke { recipient: recipient.fingerprint(), source })?;
    let mut sealed = Vec::with_capacity(ENC_LEN + ciphertext.len());
    sealed.extend_from_slice(&enc.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// `info` of a wrap: `peri/v1/wrap\0` ‖ kind (1) ‖ share index (1) ‖ recipient (32) ‖ canonical context.
#[must_use]
pub fn wrap_info(context: &EpochContext, kind: WrapKind, index: u8, recipient: &Fingerprint) -> Vec<u8> {
    let kind = match kind {
        WrapKind::User => 0_u8,
        WrapKind::Share => 1,
    };
    labelled("wrap", &[&[kind, index], recipient.as_bytes(), &context.to_bytes()])
}

/// `info` of an answer with X: `peri/v1/x-answer\0` ‖ suite (2, BE) ‖ VM ‖ camera ‖ epoch (BE) ‖ request nonce (16) ‖
/// recipient (32).
#[must_use]
pub fn x_info(epoch: &EpochId, request: &Nonce, recipient: &Fingerprint) -> Vec<u8> {
    labelled("x-answer", &[&SUITE.to_be_bytes(), &epoch.to_bytes(), request.as_bytes(), recipient.as_bytes()])
}

/// Wraps E to one entitled person.
///
/// # Errors
/// [`WrapError`]; nothing is wrapped when E is not the one of the context.
pub fn wrap_epoch(
    rng: &mut impl CryptoRng,
    e: &EpochSecret,
    context: &EpochContext,
    recipient: &UserPublic,
) -> Result<Wrap, WrapError> {
    context.validate()?;
    if e.commit() != context.commit_e {
        return Err(WrapError::Commitment(context.id()));
    }
    seal_wrap(rng, context, WrapKind::User, 0, recipient, e.as_bytes())
}

/// Splits E to n seats of which k release it. With k = 1 all n shares are E itself, with index 0.
///
/// # Errors
/// [`WrapError::Threshold`].
pub fn split_epoch(rng: &mut impl CryptoRng, e: &EpochSecret, k: u8, n: u8) -> Result<Vec<Share>, WrapError> {
    if k == 0 || k > n || n > peri_domain::limits::SEATS_MAX {
        return Err(WrapError::Threshold { k, n });
    }
    if k == 1 {
        return Ok((0..n).map(|_| Share { index: 0, value: *e.as_bytes() }).collect());
    }
    let raw = Zeroizing::new(
        Gf256::split_bytes(usize::from(k), usize::from(n), e.as_bytes(), rng)
            .map_err(|_| WrapError::Threshold { k, n })?,
    );
    Ok(raw
        .iter()
        .map(|share| Share {
            index: share[0],
            value: share[1..].try_into().expect("a share is one byte longer than the secret of 32"),
        })
        .collect())
}

/// Wraps one share to a seat.
///
/// # Errors
/// [`WrapError`]; a share that cannot belong to this context is refused.
pub fn wrap_share(
    rng: &mut impl CryptoRng,
    share: &Share,
    context: &EpochContext,
    seat: &UserPublic,
) -> Result<Wrap, WrapError> {
    context.validate()?;
    let (k, n) = (context.threshold, context.seats);
    if !index_fits(share.index, k, n) {
        return Err(WrapError::Index { index: share.index, k, n });
    }
    let mut plaintext = Zeroizing::new([0; 1 + SECRET_LEN]);
    plaintext[0] = share.index;
    plaintext[1..].copy_from_slice(&share.value);
    seal_wrap(rng, context, WrapKind::Share, share.index, seat, &plaintext[..])
}

/// Seals X to whoever asked, for this one request.
///
/// # Errors
/// [`WrapError::Recipient`], [`WrapError::Hpke`].
pub fn seal_x(
    rng: &mut impl CryptoRng,
    x: &XSecret,
    epoch: &EpochId,
    request: &Nonce,
    recipient: &UserPublic,
) -> Result<Vec<u8>, WrapError> {
    hpke_seal(rng, recipient, &x_info(epoch, request, &recipient.fingerprint()), &[], x.as_bytes())
}

fn seal_wrap(
    rng: &mut impl CryptoRng,
    context: &EpochContext,
    kind: WrapKind,
    share_index: u8,
    recipient: &UserPublic,
    plaintext: &[u8],
) -> Result<Wrap, WrapError> {
    let fingerprint = recipient.fingerprint();
    let sealed = hpke_seal(rng, recipient, &wrap_info(context, kind, share_index, &fingerprint), &[], plaintext)?;
    Ok(Wrap { suite: SUITE, kind, recipient: fingerprint, share_index, sealed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyPair;
    use crate::record::tests::context;
    use crate::rng;

    /// Multiplication in GF(256) modulo 0x11b, written apart from the library's.
    fn mul(mut a: u16, mut b: u16) -> u16 {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a <<= 1;
            if a & 0x100 != 0 {
                a ^= 0x11b;
            }
            b >>= 1;
        }
        product
    }

    fn inverse(a: u16) -> u16 {
        (1..=255).find(|b| mul(a, *b) == 1).unwrap()
    }

    fn at_zero(shares: &[(u16, u16)]) -> u16 {
        shares.iter().fold(0, |sum, (x, y)| {
            let basis = shares
                .iter()
                .filter(|(other, _)| other != x)
                .fold(1, |basis, (other, _)| mul(basis, mul(*other, inverse(other ^ x))));
            sum ^ mul(*y, basis)
        })
    }

    #[test]
    fn the_field_is_0x11b_as_in_shamir_secret_sharing() {
        // FIPS 197 §4.2: {57} • {83} = {c1} modulo 0x11b; modulo 0x11d it is {31}.
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!((Gf256(0x57) * Gf256(0x83)).0, 0xc1);
        let e = EpochSecret::from_bytes(core::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        let shares = split_epoch(&mut rng::system(), &e, 3, 5).unwrap();
        for chosen in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            for byte in 0..SECRET_LEN {
                let points =
                    chosen.map(|seat: usize| (u16::from(shares[seat].index), u16::from(shares[seat].value[byte])));
                assert_eq!(at_zero(&points), u16::from(e.as_bytes()[byte]));
            }
        }
    }

    #[test]
    fn fewer_shares_than_k_are_consistent_with_any_secret() {
        let e = EpochSecret::from_bytes([0; 32]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..8_000 {
            seen.insert(split_epoch(&mut rng::system(), &e, 2, 2).unwrap()[0].value[0]);
        }
        // With coefficients over the whole field every value occurs, the secret itself too (missing one: e^-31 each).
        assert_eq!(seen.len(), 256);
    }

    #[test]
    fn k_1_hands_the_whole_secret_marked_with_index_0() {
        let e = EpochSecret::from_bytes([9; 32]);
        let shares = split_epoch(&mut rng::system(), &e, 1, 3).unwrap();
        assert!(shares.len() == 3 && shares.iter().all(|share| share.index == 0 && share.value == [9; 32]));
        let seat = KeyPair::generate(&mut rng::system());
        let context = context();
        assert!(matches!(
            wrap_share(&mut rng::system(), &shares[0], &context, seat.public()),
            Err(WrapError::Index { index: 0, k: 2, n: 3 })
        ));
        let alone = EpochContext { threshold: 1, ..context };
        let wrap = wrap_share(&mut rng::system(), &shares[0], &alone, seat.public()).unwrap();
        assert!(wrap.fits(&alone) && wrap.share_index == 0);
        let two = split_epoch(&mut rng::system(), &e, 2, 3).unwrap();
        assert!(wrap_share(&mut rng::system(), &two[0], &alone, seat.public()).is_err());
    }

    #[test]
    fn nonsense_thresholds_are_refused() {
        let e = EpochSecret::from_bytes([9; 32]);
        for (k, n) in [(0, 0), (0, 3), (4, 3), (2, 17)] {
            assert!(matches!(split_epoch(&mut rng::system(), &e, k, n), Err(WrapError::Threshold { .. })));
        }
    }

    #[test]
    fn e_of_another_epoch_is_not_wrapped() {
        let user = KeyPair::generate(&mut rng::system());
        let e = EpochSecret::generate(&mut rng::system());
        assert!(matches!(wrap_epoch(&mut rng::system(), &e, &context(), user.public()), Err(WrapError::Commitment(_))));
        let context = EpochContext { commit_e: e.commit(), ..context() };
        let wrap = wrap_epoch(&mut rng::system(), &e, &context, user.public()).unwrap();
        assert!(wrap.fits(&context));
        assert!(canonical::encode(&wrap).len() <= WRAP_LEN_MAX);
    }
}
