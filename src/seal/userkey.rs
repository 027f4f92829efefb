//! Wrapping of a user's private halves for storage: under password and device secret, and under the recovery code.
//!
//! What does not belong: unwrapping (peri-open). Invariants: a private half is never stored in clear; whoever has the
//! stored wrap and a list that contains the password, but not the 128-bit device secret, has nothing to test a guess
//! against, and the same holds for `authKey`; a wrap key seals one key set only.
//!
//! ```text
//! ikm     = PBKDF2-HMAC-SHA-512(password, salt, rounds, 64 bytes) ‖ device secret (16)
//! wrapKey = HKDF-SHA-512(ikm, no salt, "peri/v1/user-wrap-key\0" ‖ fingerprint), 32 bytes
//! authKey = HKDF-SHA-512(ikm, no salt, "peri/v1/user-auth-key\0"), 32 bytes
//! recovery wrapKey = HKDF-SHA-512(code (16), salt, "peri/v1/recovery-wrap-key\0" ‖ fingerprint), 32 bytes
//! recovery authKey = HKDF-SHA-512(code (16), no salt, "peri/v1/recovery-auth-key\0"), 32 bytes
//! laneKey = HKDF-SHA-512(device secret or code (16), no salt, "peri/v1/device-lane\0" or "peri/v1/recovery-lane\0"), 32 bytes
//! wrapped = AES-256-GCM(wrapKey, nonce 0, aad = "peri/v1/user-key\0" ‖ canonical parameters, HPKE seed ‖ scalar)
//! ```
//! The nonce is fixed because a wrap key is used for one plaintext: it comes from a salt drawn for this wrap and from the
//! fingerprint of the very key set that is sealed, so sealing twice gives the same bytes and reveals nothing.
//!
//! A password is taken as the UTF-8 bytes that the caller gives; callers normalise to NFC first (browsers:
//! `normalize('NFC')`), so that two keyboards that compose "ä" differently agree.

use crate::canonical::{self, CanonicalError};
use crate::digest::{hash, labelled};
use crate::keys::{KEY_PAIR_SECRET_LEN, KeyPair};
use crate::rng::CryptoRng;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use minicbor::{Decode, Encode};
use peri_domain::limits::{PBKDF2_ROUNDS_MAX as ROUNDS_MAX, PBKDF2_ROUNDS_MIN as ROUNDS_MIN};
use peri_domain::{Fingerprint, Hash};
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a salt.
pub const SALT_LEN: usize = 32;
/// Bytes of the device secret and of the recovery code: 128 bits, beyond any search.
pub const DEVICE_SECRET_LEN: usize = 16;
/// Bytes of the sealed halves.
pub const SEALED_LEN: usize = KEY_PAIR_SECRET_LEN + 16;

const VERSION: u16 = 1;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits and 12 of checksum are 140 bits: 28 characters of five bits, seven groups of four.
const CODE_CHARS: usize = 28;

/// What the user's known devices keep: 128 random bits made at enrolment.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DeviceSecret([u8; DEVICE_SECRET_LEN]);

/// The printed code that brings a user back without custodians: 128 random bits.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; DEVICE_SECRET_LEN]);

/// The key that wraps the private halves.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct WrapKey([u8; 32]);

/// What the client proves at login; the server keeps only its Argon2id hash.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AuthKey([u8; 32]);

/// What shows that a client holds the device secret or the recovery code, before any password is looked at: attempts
/// with it have a lane of their own, which strangers cannot slow down. The server keeps only its hash.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LaneKey([u8; 32]);

/// The stretched password with the device secret, from which both keys come.
pub struct Stretched {
    ikm: Zeroizing<[u8; 64 + DEVICE_SECRET_LEN]>,
    parameters: PasswordParameters,
}

/// Rounds and salt of a password; not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PasswordParameters {
    /// PBKDF2 rounds.
    #[n(0)]
    pub rounds: u32,
    /// Salt.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub salt: [u8; SALT_LEN],
}

/// How a wrap key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// Password and device secret.
    #[n(0)]
    Password(#[n(0)] PasswordParameters),
    /// Recovery code.
    #[n(1)]
    Recovery {
        /// Salt.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        salt: [u8; SALT_LEN],
    },
}

/// The stored form. Canonical CBOR `[version, fingerprint, method, sealed]`.
///
/// The format number is also the suite: format 1 is PBKDF2-HMAC-SHA-512 (password) or none (code), HKDF-SHA-512 and
/// AES-256-GCM around the private halves of a key set of suite 1. Other algorithms, or key sets of another suite, get
/// another number, and it is authenticated with the rest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WrappedUserKey {
    /// Format and suite, 1.
    #[n(0)]
    pub version: u16,
    /// Fingerprint of the key set inside.
    #[n(1)]
    pub fingerprint: Fingerprint,
    /// How the wrap key is made.
    #[n(2)]
    pub method: Method,
    /// Ciphertext (80) ‖ tag (16).
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: [u8; SEALED_LEN],
}

/// A stored wrap, password or code that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserKeyError {
    /// Fewer rounds than allowed: somebody weakened the stored wrap.
    #[error(
        "{found} PBKDF2 rounds, {ROUNDS_MIN} to {ROUNDS_MAX} are allowed: the stored key was weakened or damaged; use the recovery code"
    )]
    Rounds {
        /// Rounds in the wrap.
        found: u32,
    },
    /// Written by another version, with other algorithms.
    #[error("format {found} of a stored key is unknown, this version knows {VERSION}; update the older side")]
    Version {
        /// Its format.
        found: u16,
    },
    /// Not the canonical bytes of a stored key.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// A recovery code of the wrong length.
    #[error("a recovery code has {CODE_CHARS} letters and digits, this one has {found}")]
    CodeLength {
        /// Characters found.
        found: usize,
    },
    /// A character that no code has.
    #[error("the character {found:?} is in no recovery code")]
    CodeCharacter {
        /// The character.
        found: char,
    },
    /// A recovery code with a typing error.
    #[error("the recovery code has a typing error (its checksum does not fit); compare it with the printed sheet")]
    CodeChecksum,
}

macro_rules! secret_bytes {
    ($name:ident, $len:expr) => {
        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
    };
}
secret_bytes!(DeviceSecret, DEVICE_SECRET_LEN);
secret_bytes!(RecoveryCode, DEVICE_SECRET_LEN);
secret_bytes!(WrapKey, 32);
secret_bytes!(AuthKey, 32);
secret_bytes!(LaneKey, 32);

impl AuthKey {
    /// As received at login; wipe the source after.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl LaneKey {
    /// As received at login; wipe the source after.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the server keeps: a plain hash, because the key has the 128 bits of what it comes from.
    #[must_use]
    pub fn commit(&self) -> Hash {
        hash("lane-key", &[&self.0])
    }
}

impl DeviceSecret {
    /// A new one, at enrolment.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(draw(rng))
    }

    /// From stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DEVICE_SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// See [`LaneKey`].
    #[must_use]
    pub fn lane_key(&self) -> LaneKey {
        LaneKey(expand(None, &self.0, &labelled("device-lane", &[])))
    }
}

impl PasswordParameters {
    /// A new salt and the least rounds.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self { rounds: ROUNDS_MIN, salt: draw(rng) }
    }
}

impl Stretched {
    /// Stretches a password.
    ///
    /// # Errors
    /// [`UserKeyError::Rounds`].
    pub fn new(password: &str, device: &DeviceSecret, parameters: PasswordParameters) -> Result<Self, UserKeyError> {
        let found = parameters.rounds;
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&found) {
            return Err(UserKeyError::Rounds { found });
        }
        let mut ikm = Zeroizing::new([0; 64 + DEVICE_SECRET_LEN]);
        pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), &parameters.salt, found, &mut ikm[..64]);
        ikm[64..].copy_from_slice(&device.0);
        Ok(Self { ikm, parameters })
    }

    /// Rounds and salt that were used.
    #[must_use]
    pub const fn parameters(&self) -> &PasswordParameters {
        &self.parameters
    }

    /// The key for the wrap of this key set.
    #[must_use]
    pub fn wrap_key(&self, fingerprint: &Fingerprint) -> WrapKey {
        WrapKey(expand(None, &self.ikm[..], &labelled("user-wrap-key", &[fingerprint.as_bytes()])))
    }

    /// What is proven at login.
    #[must_use]
    pub fn auth_key(&self) -> AuthKey {
        AuthKey(expand(None, &self.ikm[..], &labelled("user-auth-key", &[])))
    }

    /// Wraps the private halves.
    #[must_use]
    pub fn wrap(&self, pair: &KeyPair) -> WrappedUserKey {
        seal(&self.wrap_key(&pair.fingerprint()), Method::Password(self.parameters), pair)
    }
}

impl RecoveryCode {
    /// A new code.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(draw(rng))
    }

    /// From the 128 bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DEVICE_SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// What is proven to the server when the code is used.
    #[must_use]
    pub fn auth_key(&self) -> AuthKey {
        AuthKey(expand(None, &self.0, &labelled("recovery-auth-key", &[])))
    }

    /// See [`LaneKey`].
    #[must_use]
    pub fn lane_key(&self) -> LaneKey {
        LaneKey(expand(None, &self.0, &labelled("recovery-lane", &[])))
    }

    /// The key for the wrap of this key set.
    #[must_use]
    pub fn wrap_key(&self, salt: &[u8; SALT_LEN], fingerprint: &Fingerprint) -> WrapKey {
        WrapKey(expand(Some(salt), &self.0, &labelled("recovery-wrap-key", &[fingerprint.as_bytes()])))
    }

    /// Wraps the private halves.
    #[must_use]
    pub fn wrap(&self, rng: &mut impl CryptoRng, pair: &KeyPair) -> WrappedUserKey {
        let salt = draw(rng);
        seal(&self.wrap_key(&salt, &pair.fingerprint()), Method::Recovery { salt }, pair)
    }

    /// For printing: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX` in Crockford's alphabet (no I, L, O, U), five bits a
    /// character, most significant first: the 128 bits, then 12 bits of checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(CODE_CHARS + CODE_CHARS / 4));
        let bits = Zeroizing::new(u128::from_be_bytes(self.0));
        let checksum = u128::from(self.checksum());
        for at in 0..CODE_CHARS {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            // The 140 bits are `bits << 12 | checksum`; character `at` holds bits 135 − 5·at and up.
            let shift = 5 * (CODE_CHARS - 1 - at);
            let five = if shift >= 12 { *bits >> (shift - 12) } else { *bits << (12 - shift) | checksum >> shift };
            text.push(char::from(ALPHABET[usize::try_from(five & 31).expect("five bits")]));
        }
        text
    }

    /// Reads what was printed: case, spaces and hyphens do not matter, I and L are 1, O is 0.
    ///
    /// # Errors
    /// [`UserKeyError`] says what is wrong with the code, never what it is.
    pub fn parse(text: &str) -> Result<Self, UserKeyError> {
        let mut bits = Zeroizing::new(0_u128);
        let (mut check, mut found) = (0_u16, 0_usize);
        for character in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let upper = match character.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            let value = ALPHABET
                .iter()
                .position(|symbol| char::from(*symbol) == upper)
                .ok_or(UserKeyError::CodeCharacter { found: character })?;
            for bit in (0..5).rev().map(|bit| value >> bit & 1) {
                if found < 128 {
                    *bits = *bits << 1 | u128::from(bit == 1);
                } else {
                    check = check << 1 | u16::from(bit == 1);
                }
                found += 1;
            }
            if found > 5 * CODE_CHARS {
                let found = text.chars().filter(|c| c.is_alphanumeric()).count();
                return Err(UserKeyError::CodeLength { found });
            }
        }
        if found != 5 * CODE_CHARS {
            return Err(UserKeyError::CodeLength { found: found / 5 });
        }
        let code = Self(bits.to_be_bytes());
        if code.checksum() == check { Ok(code) } else { Err(UserKeyError::CodeChecksum) }
    }

    fn checksum(&self) -> u16 {
        let digest = hash("recovery-check", &[&self.0]);
        u16::from_be_bytes([digest.0[0], digest.0[1]]) >> 4
    }
}

impl WrappedUserKey {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From stored bytes.
    ///
    /// # Errors
    /// [`UserKeyError::Encoding`], [`UserKeyError::Version`], [`UserKeyError::Rounds`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UserKeyError> {
        let wrapped: Self = canonical::decode("stored user key", bytes)?;
        if wrapped.version != VERSION {
            return Err(UserKeyError::Version { found: wrapped.version });
        }
        if let Method::Password(PasswordParameters { rounds, .. }) = wrapped.method
            && !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds)
        {
            return Err(UserKeyError::Rounds { found: rounds });
        }
        Ok(wrapped)
    }

    /// What is authenticated with the sealed halves: version, fingerprint and method.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        aad(&self.fingerprint, &self.method)
    }
}

fn aad(fingerprint: &Fingerprint, method: &Method) -> Vec<u8> {
    labelled("user-key", &[&canonical::encode(&(VERSION, *fingerprint, *method))])
}

fn seal(key: &WrapKey, method: Method, pair: &KeyPair) -> WrappedUserKey {
    let fingerprint = pair.fingerprint();
    let mut halves = pair.to_secret_bytes();
    let tag = Aes256Gcm::new((&key.0).into())
        .encrypt_inout_detached(&[0; 12].into(), &aad(&fingerprint, &method), halves.as_mut_slice().into())
        .expect("80 bytes are far below the limit of AES-GCM");
    let mut sealed = [0; SEALED_LEN];
    sealed[..KEY_PAIR_SECRET_LEN].copy_from_slice(&halves[..]);
    sealed[KEY_PAIR_SECRET_LEN..].copy_from_slice(&tag);
    WrappedUserKey { version: VERSION, fingerprint, method, sealed }
}

fn expand(salt: Option<&[u8]>, ikm: &[u8], info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha512>::new(salt, ikm).expand(info, &mut key).expect("32 bytes are one block of HKDF-SHA-512");
    key
}

fn draw<const N: usize>(rng: &mut impl CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use proptest::prelude::*;

    #[test]
    fn weak_rounds_are_neither_made_nor_read() {
        let device = DeviceSecret::from_bytes([1; 16]);
        let weak = PasswordParameters { rounds: ROUNDS_MIN - 1, salt: [2; 32] };
        assert!(matches!(Stretched::new("x", &device, weak), Err(UserKeyError::Rounds { .. })));
        let pair = KeyPair::generate(&mut rng::system());
        let mut wrapped = RecoveryCode([3; 16]).wrap(&mut rng::system(), &pair);
        assert_eq!(WrappedUserKey::from_bytes(&wrapped.to_bytes()).unwrap(), wrapped);
        for rounds in [1, ROUNDS_MIN - 1, ROUNDS_MAX + 1] {
            wrapped.method = Method::Password(PasswordParameters { rounds, salt: [2; 32] });
            assert!(matches!(WrappedUserKey::from_bytes(&wrapped.to_bytes()), Err(UserKeyError::Rounds { .. })));
        }
    }

    #[test]
    fn a_stored_key_of_an_unknown_format_names_both_formats_and_the_remedy() {
        let pair = KeyPair::generate(&mut rng::system());
        let mut wrapped = RecoveryCode([3; 16]).wrap(&mut rng::system(), &pair);
        wrapped.version = 2;
        let error = WrappedUserKey::from_bytes(&wrapped.to_bytes()).unwrap_err();
        assert!(matches!(error, UserKeyError::Version { found: 2 }));
        let told = error.to_string();
        assert!(told.contains("format 2") && told.contains("knows 1; update the older side"), "{told}");
    }

    #[test]
    fn password_device_secret_and_salt_each_change_both_keys() {
        let stretch = |password: &str, device: u8, salt: u8| {
            let parameters = PasswordParameters { rounds: ROUNDS_MIN, salt: [salt; 32] };
            let stretched = Stretched::new(password, &DeviceSecret([device; 16]), parameters).unwrap();
            (*stretched.wrap_key(&Fingerprint([0; 32])).as_bytes(), *stretched.auth_key().as_bytes())
        };
        let base = stretch("secret", 1, 1);
        for other in [stretch("Secret", 1, 1), stretch("secret", 2, 1), stretch("secret", 1, 2)] {
            assert!(base.0 != other.0 && base.1 != other.1);
        }
        assert!(base.0 != base.1);
    }

    #[test]
    fn no_key_that_the_server_sees_is_another_one() {
        let (device, code) = (DeviceSecret([7; 16]), RecoveryCode([7; 16]));
        let wrap = *code.wrap_key(&[0; 32], &Fingerprint([0; 32])).as_bytes();
        let all = [*code.auth_key().as_bytes(), wrap, *code.lane_key().as_bytes(), *device.lane_key().as_bytes()];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
        assert_eq!(LaneKey::from_bytes(*code.lane_key().as_bytes()).commit(), code.lane_key().commit());
    }

    #[test]
    fn a_code_survives_the_hand_and_a_slip_is_noticed() {
        let code = RecoveryCode([0; 16]);
        let text = code.to_text();
        assert_eq!((text.len(), text.matches('-').count()), (34, 6));
        assert!(text.starts_with("0000-0000-0000-"));
        let sloppy = text.replace('-', " ").replace('0', "o").to_lowercase();
        assert_eq!(RecoveryCode::parse(&sloppy).unwrap().0, code.0);
        assert!(matches!(RecoveryCode::parse(&text[..33]), Err(UserKeyError::CodeLength { found: 27 })));
        assert!(matches!(RecoveryCode::parse(&format!("{}0", *text)), Err(UserKeyError::CodeLength { .. })));
        assert!(matches!(RecoveryCode::parse(&text.replacen('0', "u", 1)), Err(UserKeyError::CodeCharacter { .. })));
    }

    proptest! {
        #[test]
        fn codes_round_trip_and_one_wrong_character_is_noticed(bytes: [u8; 16], at in 0..CODE_CHARS, by in 1..32_usize) {
            let text = RecoveryCode(bytes).to_text();
            prop_assert_eq!(RecoveryCode::parse(&text).unwrap().0, bytes);
            let mut characters: Vec<u8> = text.bytes().filter(|c| *c != b'-').collect();
            let value = ALPHABET.iter().position(|c| *c == characters[at]).unwrap();
            characters[at] = ALPHABET[(value + by) % 32];
            let wrong = String::from_utf8(characters).unwrap();
            // Twelve bits: one slip in 4,096 goes through here and is then stopped by the wrap's tag.
            if let Ok(code) = RecoveryCode::parse(&wrong) {
                prop_assert!(code.0 != bytes);
            }
        }
    }
}
