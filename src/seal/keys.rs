//! Key sets of users, seats and devices: an HPKE pair (MLKEM1024-P384) and an ECDSA P-384 signing pair.
//!
//! What does not belong: the wrapping of private halves (userkey) and any use of the HPKE private half (device, and
//! `peri-open`). Invariants: a private half has no `Debug`, no `Clone` and is wiped on drop; signatures are randomised
//! (hedged: RFC 6979 with fresh additional data, its §3.6) and always carry a context, so that a signature made for one
//! purpose is never valid for another.
//!
//! ECDSA is malleable: (r, s) and (r, n − s) are both valid, and browsers do not normalise. Nothing may therefore be
//! identified by its signature bytes, only by the hash of what was signed.

use crate::canonical::{self, CanonicalError};
use crate::digest::{PREFIX, hash};
use crate::rng::{self, CryptoRng};
use core::fmt;
use hpke::{Deserializable, Kem, Serializable, kem::MlKem1024P384};
use minicbor::{Decode, Decoder, Encode, Encoder};
use p384::ecdsa::signature::{MultipartVerifier, RandomizedMultipartSigner};
use p384::elliptic_curve::Generate;
use peri_domain::Fingerprint;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an HPKE public key: ML-KEM-1024 encapsulation key (1,568) and uncompressed P-384 point (97).
pub const HPKE_PUBLIC_LEN: usize = 1_665;
/// Bytes of an HPKE private key: the seed from which both halves are expanded.
pub const HPKE_SECRET_LEN: usize = 32;
/// Bytes of a verifying key: SEC1 compressed P-384 point.
pub const SIGN_PUBLIC_LEN: usize = 49;
/// Bytes of a signing key: a P-384 scalar, big-endian.
pub const SIGN_SECRET_LEN: usize = 48;
/// Bytes of a signature: r ‖ s, 48 bytes each, big-endian (IEEE P1363, what WebCrypto speaks).
pub const SIGNATURE_LEN: usize = 96;
/// Bytes of both private halves: HPKE seed ‖ signing scalar.
pub const KEY_PAIR_SECRET_LEN: usize = HPKE_SECRET_LEN + SIGN_SECRET_LEN;

/// The algorithms of a key set; 1 is HPKE MLKEM1024-P384 / HKDF-SHA-384 / AES-256-GCM and ECDSA P-384 / SHA-384.
pub const KEY_SUITE: u16 = 1;

/// A key or signature that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a point, not a scalar, or an ML-KEM key out of range.
    #[error("the {what} is not a valid key of suite {KEY_SUITE}; its owner must enrol again")]
    Invalid {
        /// Which half.
        what: &'static str,
    },
    /// The signature is not of this key over this message for this context.
    #[error("the signature of {signer} for {context:?} is wrong: changed message, other key or other purpose")]
    Signature {
        /// Who should have signed.
        signer: Fingerprint,
        /// For what.
        context: &'static str,
    },
    /// Not the canonical bytes of a key set.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
}

/// An ECDSA P-384 signature, r ‖ s. On the wire a CBOR byte string of exactly 96 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; SIGNATURE_LEN]);

/// The public halves of one user, seat or device.
///
/// Canonical CBOR `[suite, h'1,665 bytes', h'49 bytes']`. Decoding checks lengths and suite only (point and lattice
/// checks cost more than the rest of a roster statement); the halves are checked by [`UserPublic::validate`], which
/// the enrolling side calls once, and again wherever they are used.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserPublic {
    hpke: Box<[u8; HPKE_PUBLIC_LEN]>,
    sign: [u8; SIGN_PUBLIC_LEN],
}

/// A P-384 signing key; wiped on drop.
pub struct SigningKey(p384::ecdsa::SigningKey);

/// Both private halves of one user, seat or device, with the public ones.
pub struct KeyPair {
    seed: Zeroizing<[u8; HPKE_SECRET_LEN]>,
    signing: SigningKey,
    public: UserPublic,
    fingerprint: Fingerprint,
}

impl UserPublic {
    /// From both halves, unchecked but for their lengths.
    #[must_use]
    pub fn from_parts(hpke: [u8; HPKE_PUBLIC_LEN], sign: [u8; SIGN_PUBLIC_LEN]) -> Self {
        Self { hpke: Box::new(hpke), sign }
    }

    /// The HPKE half: ML-KEM-1024 encapsulation key ‖ uncompressed P-384 point.
    #[must_use]
    pub fn hpke(&self) -> &[u8; HPKE_PUBLIC_LEN] {
        &self.hpke
    }

    /// The verifying half: SEC1 compressed P-384 point.
    #[must_use]
    pub fn sign(&self) -> &[u8; SIGN_PUBLIC_LEN] {
        &self.sign
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From canonical bytes.
    ///
    /// # Errors
    /// [`KeyError::Encoding`] for anything but the canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(canonical::decode("public key set", bytes)?)
    }

    /// SHA-256 over the canonical bytes under the prefix `peri/v1/user-public\0`.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(hash("user-public", &[&self.to_bytes()]).0)
    }

    /// Checks that both halves are keys: the points lie on the curve (SEC1 §2.3.4, SP 800-56A §5.6.2.3) and the ML-KEM
    /// key passes the modulus check (FIPS 203 §7.2).
    ///
    /// # Errors
    /// [`KeyError::Invalid`] names the half.
    pub fn validate(&self) -> Result<(), KeyError> {
        self.hpke_key()?;
        self.verifying_key().map(drop)
    }

    /// Checks a signature over `peri/v1/sign/<context>\0 ‖ message` (SHA-384).
    ///
    /// # Errors
    /// [`KeyError::Signature`], or [`KeyError::Invalid`] when the key itself is not one.
    pub fn verify(&self, context: &'static str, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        let wrong = || KeyError::Signature { signer: self.fingerprint(), context };
        let parsed = p384::ecdsa::Signature::from_slice(&signature.0).map_err(|_| wrong())?;
        self.verifying_key()?.multipart_verify(&signed_parts(context, message), &parsed).map_err(|_| wrong())
    }

    /// The HPKE half as a checked key.
    pub(crate) fn hpke_key(&self) -> Result<<MlKem1024P384 as Kem>::PublicKey, KeyError> {
        <MlKem1024P384 as Kem>::PublicKey::from_bytes(&self.hpke[..])
            .map_err(|_| KeyError::Invalid { what: "HPKE public key" })
    }

    fn verifying_key(&self) -> Result<p384::ecdsa::VerifyingKey, KeyError> {
        let invalid = KeyError::Invalid { what: "verifying key" };
        // The library also takes the "compact" form (tag 5), which would give one point two fingerprints.
        if !matches!(self.sign[0], 2 | 3) {
            return Err(invalid);
        }
        p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.sign).map_err(|_| invalid)
    }
}

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(p384::ecdsa::SigningKey::generate_from_rng(rng))
    }

    /// From the scalar.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] when it is zero or not below the group order.
    pub fn from_secret_bytes(scalar: &[u8; SIGN_SECRET_LEN]) -> Result<Self, KeyError> {
        p384::ecdsa::SigningKey::from_slice(scalar).map(Self).map_err(|_| KeyError::Invalid { what: "signing key" })
    }

    /// The scalar; wiped on drop.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; SIGN_SECRET_LEN]> {
        let mut scalar = self.0.to_bytes();
        let out = Zeroizing::new(scalar.into());
        scalar.as_mut_slice().zeroize();
        out
    }

    /// The public half, SEC1 compressed.
    #[must_use]
    pub fn public_bytes(&self) -> [u8; SIGN_PUBLIC_LEN] {
        self.0
            .verifying_key()
            .to_sec1_point(true)
            .as_bytes()
            .try_into()
            .expect("a compressed P-384 point has 49 bytes; the point of a non-zero scalar is never at infinity")
    }

    /// Signs `peri/v1/sign/<context>\0 ‖ message` (SHA-384) with randomness of the system.
    #[must_use]
    pub fn sign(&self, context: &'static str, message: &[u8]) -> Signature {
        self.sign_with(&mut rng::system(), context, message)
    }

    /// As [`SigningKey::sign`], with the caller's randomness.
    #[must_use]
    pub fn sign_with(&self, rng: &mut impl CryptoRng, context: &'static str, message: &[u8]) -> Signature {
        let signature: p384::ecdsa::Signature = self
            .0
            .try_multipart_sign_with_rng(rng, &signed_parts(context, message))
            .expect("a 48-byte digest has the length this curve needs, and this generator does not fail");
        Signature(signature.to_bytes().into())
    }
}

impl KeyPair {
    /// A new key set.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        // The private key of this KEM *is* a uniform 32-byte seed (draft-irtf-cfrg-concrete-hybrid-kems §4).
        let mut seed = Zeroizing::new([0; HPKE_SECRET_LEN]);
        rng.fill_bytes(&mut seed[..]);
        let signing = SigningKey::generate(rng);
        Self::from_halves(seed, signing)
    }

    /// From both private halves, HPKE seed ‖ signing scalar.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] when the scalar is none.
    pub fn from_secret_bytes(secret: &[u8; KEY_PAIR_SECRET_LEN]) -> Result<Self, KeyError> {
        let (seed, scalar) = secret.split_at(HPKE_SECRET_LEN);
        let seed = Zeroizing::new(seed.try_into().expect("split at 32"));
        let scalar = Zeroizing::new(scalar.try_into().expect("48 bytes are left of 80"));
        Ok(Self::from_halves(seed, SigningKey::from_secret_bytes(&scalar)?))
    }

    /// Both private halves, HPKE seed ‖ signing scalar; wiped on drop. To be wrapped at once, never stored in clear.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; KEY_PAIR_SECRET_LEN]> {
        let mut out = Zeroizing::new([0; KEY_PAIR_SECRET_LEN]);
        out[..HPKE_SECRET_LEN].copy_from_slice(&self.seed[..]);
        out[HPKE_SECRET_LEN..].copy_from_slice(&self.signing.to_secret_bytes()[..]);
        out
    }

    /// The HPKE private half: the 32-byte seed.
    #[must_use]
    pub fn hpke_secret(&self) -> &[u8; HPKE_SECRET_LEN] {
        &self.seed
    }

    /// The signing half.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The public halves.
    #[must_use]
    pub fn public(&self) -> &UserPublic {
        &self.public
    }

    /// The fingerprint of the public halves.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// See [`SigningKey::sign`].
    #[must_use]
    pub fn sign(&self, context: &'static str, message: &[u8]) -> Signature {
        self.signing.sign(context, message)
    }

    fn from_halves(seed: Zeroizing<[u8; HPKE_SECRET_LEN]>, signing: SigningKey) -> Self {
        let private = <MlKem1024P384 as Kem>::PrivateKey::from_bytes(&seed[..])
            .expect("every 32-byte seed is a private key of this KEM");
        let hpke = MlKem1024P384::sk_to_pk(&private).to_bytes();
        let public = UserPublic::from_parts(hpke.into(), signing.public_bytes());
        let fingerprint = public.fingerprint();
        Self { seed, signing, public, fingerprint }
    }
}

/// What is signed: the parts of `peri/v1/sign/<context>\0 ‖ message`.
fn signed_parts<'a>(context: &'static str, message: &'a [u8]) -> [&'a [u8]; 5] {
    [PREFIX.as_bytes(), b"sign/", context.as_bytes(), &[0], message]
}

impl fmt::Debug for UserPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserPublic({})", self.fingerprint())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl<C> Encode<C> for Signature {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Signature {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        exactly(d, "a signature has 96 bytes").map(Self)
    }
}

impl<C> Encode<C> for UserPublic {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(3)?.u16(KEY_SUITE)?.bytes(&self.hpke[..])?.bytes(&self.sign)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for UserPublic {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        if d.array()? != Some(3) {
            return Err(minicbor::decode::Error::message("a public key set is an array of three").at(at));
        }
        let at = d.position();
        let found = d.u16()?;
        if found != KEY_SUITE {
            let why = format!("key suite {found} is unknown, this version knows {KEY_SUITE}; update the older side");
            return Err(minicbor::decode::Error::message(why).at(at));
        }
        let hpke = exactly(d, "an HPKE public key has 1,665 bytes")?;
        let sign = exactly(d, "a verifying key has 49 bytes")?;
        Ok(Self::from_parts(hpke, sign))
    }
}

fn exactly<const N: usize>(d: &mut Decoder<'_>, what: &'static str) -> Result<[u8; N], minicbor::decode::Error> {
    let at = d.position();
    d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message(what).at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_round_trips_and_has_one_form() {
        let pair = KeyPair::generate(&mut rng::system());
        pair.public().validate().unwrap();
        let bytes = pair.public().to_bytes();
        assert_eq!(UserPublic::from_bytes(&bytes).unwrap(), *pair.public());
        assert!(UserPublic::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(UserPublic::from_bytes(&longer).is_err());
        let again = KeyPair::from_secret_bytes(&pair.to_secret_bytes()).unwrap();
        assert_eq!(again.public(), pair.public());
        assert_eq!(again.fingerprint(), pair.public().fingerprint());
    }

    #[test]
    fn a_key_set_of_an_unknown_suite_names_both_suites_and_the_remedy() {
        let mut bytes = KeyPair::generate(&mut rng::system()).public().to_bytes();
        assert_eq!(bytes[..2], [0x83, 1], "an array of three, suite 1");
        bytes[1] = 2;
        let told = UserPublic::from_bytes(&bytes).unwrap_err().to_string();
        assert!(told.contains("key suite 2 is unknown, this version knows 1; update the older side"), "{told}");
    }

    #[test]
    fn a_signature_holds_for_its_message_context_and_key_only() {
        let (one, two) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let signature = one.sign("grant", b"message");
        one.public().verify("grant", b"message", &signature).unwrap();
        assert!(one.public().verify("revocation", b"message", &signature).is_err());
        assert!(one.public().verify("grant", b"massage", &signature).is_err());
        assert!(two.public().verify("grant", b"message", &signature).is_err());
        for at in 0..SIGNATURE_LEN {
            let mut bad = signature;
            bad.0[at] ^= 1;
            assert!(one.public().verify("grant", b"message", &bad).is_err(), "flipped byte {at}");
        }
    }

    #[test]
    fn signatures_are_randomised() {
        let key = SigningKey::generate(&mut rng::system());
        assert!(key.sign("x", b"m") != key.sign("x", b"m"));
    }

    #[test]
    fn keys_off_the_curve_or_out_of_range_are_named() {
        let pair = KeyPair::generate(&mut rng::system());
        let mut sign = *pair.public().sign();
        sign[0] = 5;
        let bad = UserPublic::from_parts(*pair.public().hpke(), sign);
        assert!(bad.validate().unwrap_err().to_string().contains("verifying key"));
        let mut hpke = *pair.public().hpke();
        hpke[HPKE_PUBLIC_LEN - 1] ^= 1;
        let bad = UserPublic::from_parts(hpke, *pair.public().sign());
        assert!(bad.validate().unwrap_err().to_string().contains("HPKE public key"));
        // FIPS 203 §7.2: a coefficient of 4,095 is not reduced modulo 3,329.
        let mut hpke = *pair.public().hpke();
        hpke[..3].fill(0xff);
        assert!(UserPublic::from_parts(hpke, *pair.public().sign()).validate().is_err());
        assert!(SigningKey::from_secret_bytes(&[0; 48]).is_err());
        assert!(SigningKey::from_secret_bytes(&[0xff; 48]).is_err());
    }
}
