//! Opening a user's stored private halves.
//!
//! What does not belong: how they are wrapped (`peri_seal::userkey`), storing. Invariant: what opens is the key set whose
//! fingerprint stands on the wrap, or an error.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use peri_domain::Fingerprint;
use peri_seal::keys::{KEY_PAIR_SECRET_LEN, KeyPair};
use peri_seal::userkey::{DeviceSecret, Method, RecoveryCode, Stretched, UserKeyError, WrapKey, WrappedUserKey};
use peri_seal::wrap::TAG_LEN;
use zeroize::Zeroizing;

/// Why the stored key did not open.
#[derive(Debug, thiserror::Error)]
pub enum UserKeyOpenError {
    /// The stored form is not acceptable.
    #[error(transparent)]
    Stored(#[from] UserKeyError),
    /// The other kind of wrap.
    #[error("the stored key of {fingerprint} is wrapped under {found}, not under {expected}")]
    Method {
        /// Whose key.
        fingerprint: Fingerprint,
        /// What it is wrapped under.
        found: &'static str,
        /// What was given.
        expected: &'static str,
    },
    /// Wrong password, device or code, or a changed wrap: it cannot be told which, and must not be.
    #[error("the stored key of {fingerprint} does not open with this {with}")]
    DoesNotOpen {
        /// Whose key.
        fingerprint: Fingerprint,
        /// What was given.
        with: &'static str,
    },
    /// Opens, but is another key set.
    #[error("the stored key of {fingerprint} opens to another key set: it was made wrongly")]
    OtherKey {
        /// Whose key it should be.
        fingerprint: Fingerprint,
    },
}

/// Opens with password and device secret. Takes as long as the rounds in the wrap say, about 0.6 s at the least.
///
/// # Errors
/// [`UserKeyOpenError`]; fewer rounds than allowed are refused before any work.
pub fn open_with_password(
    wrapped: &WrappedUserKey,
    password: &str,
    device: &DeviceSecret,
) -> Result<KeyPair, UserKeyOpenError> {
    let Method::Password(parameters) = wrapped.method else {
        return Err(method(wrapped, "the recovery code", "password and device"));
    };
    open_stretched(wrapped, &Stretched::new(password, device, parameters)?)
}

/// As [`open_with_password`], with a password that was stretched already (for `authKey`, say).
///
/// # Errors
/// [`UserKeyOpenError`].
pub fn open_stretched(wrapped: &WrappedUserKey, stretched: &Stretched) -> Result<KeyPair, UserKeyOpenError> {
    if wrapped.method != Method::Password(*stretched.parameters()) {
        return Err(method(wrapped, "other parameters", "password and device"));
    }
    open(wrapped, &stretched.wrap_key(&wrapped.fingerprint), "password on this device")
}

/// Opens with the printed recovery code.
///
/// # Errors
/// [`UserKeyOpenError`].
pub fn open_with_recovery(wrapped: &WrappedUserKey, code: &RecoveryCode) -> Result<KeyPair, UserKeyOpenError> {
    let Method::Recovery { salt } = wrapped.method else {
        return Err(method(wrapped, "password and device", "the recovery code"));
    };
    open(wrapped, &code.wrap_key(&salt, &wrapped.fingerprint), "recovery code")
}

fn open(wrapped: &WrappedUserKey, key: &WrapKey, with: &'static str) -> Result<KeyPair, UserKeyOpenError> {
    let fingerprint = wrapped.fingerprint;
    let (ciphertext, tag) = wrapped.sealed.split_at(KEY_PAIR_SECRET_LEN);
    let tag: [u8; TAG_LEN] = tag.try_into().expect("16 bytes are left of 96");
    let mut halves: Zeroizing<[u8; KEY_PAIR_SECRET_LEN]> = Zeroizing::new(ciphertext.try_into().expect("split at 80"));
    Aes256Gcm::new(key.as_bytes().into())
        .decrypt_inout_detached(&[0; 12].into(), &wrapped.aad(), halves.as_mut_slice().into(), &tag.into())
        .map_err(|_| UserKeyOpenError::DoesNotOpen { fingerprint, with })?;
    KeyPair::from_secret_bytes(&halves)
        .ok()
        .filter(|pair| pair.fingerprint() == fingerprint)
        .ok_or(UserKeyOpenError::OtherKey { fingerprint })
}

fn method(wrapped: &WrappedUserKey, found: &'static str, expected: &'static str) -> UserKeyOpenError {
    UserKeyOpenError::Method { fingerprint: wrapped.fingerprint, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Rng;
    use peri_seal::userkey::PasswordParameters;

    #[test]
    fn password_and_device_secret_both_are_needed() {
        let mut rng = Rng::new("user");
        let pair = KeyPair::generate(&mut rng);
        let device = DeviceSecret::generate(&mut rng);
        let parameters = PasswordParameters::generate(&mut rng);
        let wrapped = Stretched::new("pässword", &device, parameters).unwrap().wrap(&pair);
        let stored = WrappedUserKey::from_bytes(&wrapped.to_bytes()).unwrap();
        let opened = open_with_password(&stored, "pässword", &device).unwrap();
        assert_eq!(opened.to_secret_bytes(), pair.to_secret_bytes());
        let no = |result: Result<KeyPair, _>| matches!(result, Err(UserKeyOpenError::DoesNotOpen { .. }));
        assert!(no(open_with_password(&stored, "password", &device)));
        // The thief of the database has the right password in his list, but not the device secret.
        assert!(no(open_with_password(&stored, "pässword", &DeviceSecret::generate(&mut rng))));
        let mut weak = stored.clone();
        weak.method = Method::Password(PasswordParameters { rounds: 599_999, ..parameters });
        assert!(matches!(
            open_with_password(&weak, "pässword", &device),
            Err(UserKeyOpenError::Stored(UserKeyError::Rounds { found: 599_999 }))
        ));
        let code = RecoveryCode::generate(&mut rng);
        assert!(matches!(open_with_recovery(&stored, &code), Err(UserKeyOpenError::Method { .. })));
    }

    #[test]
    fn the_recovery_code_opens_its_own_wrap_only() {
        let mut rng = Rng::new("recovery");
        let (pair, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let code = RecoveryCode::generate(&mut rng);
        let wrapped = code.wrap(&mut rng, &pair);
        let typed = RecoveryCode::parse(&code.to_text().to_lowercase()).unwrap();
        assert_eq!(open_with_recovery(&wrapped, &typed).unwrap().fingerprint(), pair.fingerprint());
        let moved = WrappedUserKey { fingerprint: other.fingerprint(), ..wrapped.clone() };
        assert!(open_with_recovery(&moved, &code).is_err());
        for at in 0..wrapped.sealed.len() {
            let mut bad = wrapped.clone();
            bad.sealed[at] ^= 1;
            assert!(open_with_recovery(&bad, &code).is_err(), "flipped byte {at}");
        }
    }

    #[test]
    fn another_key_set_under_a_fitting_wrap_is_refused() {
        let mut rng = Rng::new("swapped");
        let (pair, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let code = RecoveryCode::generate(&mut rng);
        let mut wrapped = code.wrap(&mut rng, &pair);
        let Method::Recovery { salt } = wrapped.method else { panic!("recovery") };
        // Whoever knows the code can seal other halves under the same name.
        let mut halves = *other.to_secret_bytes();
        let tag = Aes256Gcm::new(code.wrap_key(&salt, &pair.fingerprint()).as_bytes().into())
            .encrypt_inout_detached(&[0; 12].into(), &wrapped.aad(), halves.as_mut_slice().into())
            .unwrap();
        wrapped.sealed[..KEY_PAIR_SECRET_LEN].copy_from_slice(&halves);
        wrapped.sealed[KEY_PAIR_SECRET_LEN..].copy_from_slice(&tag);
        assert!(matches!(open_with_recovery(&wrapped, &code), Err(UserKeyOpenError::OtherKey { .. })));
    }
}
