//! Setting a login: what a client hands to the server at enrolment, after a change of password, and after a recovery.
//!
//! What does not belong: logging in (login), where credentials lie (store), how keys are wrapped (`peri_seal::userkey`).
//! Invariants: a setting counts only under the signature of the very key whose wraps it carries, for one appliance, within
//! minutes of its making, and never after a newer one; the server keeps hashes of both `authKey`s and the wraps.

use crate::login::{Credential, HashError, KeyHash, Way};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::limits::{CLOCK_AHEAD_MAX, LOGIN_NAME_MAX, PBKDF2_ROUNDS_MIN};
use peri_domain::{AccountId, Fingerprint, Hash, UtcNanos, VmId};
use peri_seal::canonical;
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::rng::CryptoRng;
use peri_seal::userkey::{AuthKey, Method, PasswordParameters, WrappedUserKey};
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Context of the roster key's signature over a setting.
pub const SETTING_CONTEXT: &str = "login-setting";

const VERSION: u16 = 1;

/// How old a setting may be when it comes: the client makes it and sends it.
const FRESH: Duration = Duration::from_secs(300);

/// One way in, as the client knows it. Wiped on drop.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub struct NewWay {
    /// `authKey`; the server keeps its Argon2id hash.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub auth_key: [u8; 32],
    /// Commitment of `laneKey`.
    #[n(1)]
    #[zeroize(skip)]
    pub lane: Hash,
    /// Canonical `WrappedUserKey`.
    #[n(2)]
    #[zeroize(skip)]
    pub wrapped: ByteVec,
}

impl core::fmt::Debug for NewWay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("NewWay(..)")
    }
}

/// What a client wants its login to be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Setting {
    /// Format, 1.
    #[n(0)]
    pub version: u16,
    /// The VM at which it holds.
    #[n(1)]
    pub vm: VmId,
    /// Fingerprint of the roster key: whose login it is, and what the wraps hold.
    #[n(2)]
    pub signer: Fingerprint,
    /// Login name, folded and normalised by the client; at most [`LOGIN_NAME_MAX`] bytes.
    #[n(3)]
    pub name: String,
    /// When the client made it.
    #[n(4)]
    pub issued: UtcNanos,
    /// Rounds and salt of the password.
    #[n(5)]
    pub parameters: PasswordParameters,
    /// Password and device secret.
    #[n(6)]
    pub password: NewWay,
    /// The printed code; `None` leaves the one that stands.
    #[n(7)]
    pub recovery: Option<NewWay>,
}

/// A setting under the signature of its roster key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedSetting {
    /// The setting.
    #[n(0)]
    pub setting: Setting,
    /// ECDSA P-384 over its canonical bytes under [`SETTING_CONTEXT`].
    #[n(1)]
    pub signature: Signature,
}

/// Why a setting is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Written by a later version.
    #[error("a login setting of format {found}, this version knows {VERSION}: upgrade the appliance")]
    Version {
        /// Its format.
        found: u16,
    },
    /// For another VM.
    #[error("this login is set for another appliance")]
    OtherVm,
    /// Name out of bounds.
    #[error("a login name has 1 to {LOGIN_NAME_MAX} bytes, this one has {found}")]
    Name {
        /// Bytes found.
        found: usize,
    },
    /// Too old or from the future.
    #[error("the setting was made {off_s} s {direction} by the appliance's clock; set the clock of this computer")]
    Clock {
        /// Seconds.
        off_s: u64,
        /// Which way.
        direction: &'static str,
    },
    /// The wrap is not what it must be.
    #[error("the wrapped key of the {of} is not one of this key under these parameters: {why}")]
    Wrap {
        /// Password or recovery code.
        of: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Not signed by the key.
    #[error("the setting is not signed by its roster key")]
    Signature,
}

impl SignedSetting {
    /// Signs; the client's side.
    #[must_use]
    pub fn new(
        vm: VmId,
        pair: &KeyPair,
        name: &str,
        issued: UtcNanos,
        parameters: PasswordParameters,
        password: NewWay,
        recovery: Option<NewWay>,
    ) -> Self {
        let (signer, name) = (pair.fingerprint(), name.to_owned());
        let setting = Setting { version: VERSION, vm, signer, name, issued, parameters, password, recovery };
        let signature = pair.sign(SETTING_CONTEXT, &canonical::encode(&setting));
        Self { setting, signature }
    }

    /// Checks all but whose key it is and whether a newer one stands.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn verify(&self, vm: VmId, key: &UserPublic, now: UtcNanos) -> Result<(), SettingError> {
        let Setting { version, vm: named, signer, name, issued, parameters, password, recovery } = &self.setting;
        if *version != VERSION {
            return Err(SettingError::Version { found: *version });
        }
        if *named != vm {
            return Err(SettingError::OtherVm);
        }
        if !(1..=LOGIN_NAME_MAX).contains(&name.len()) {
            return Err(SettingError::Name { found: name.len() });
        }
        let (ahead, behind) = (issued.saturating_since(now), now.saturating_since(*issued));
        if ahead > CLOCK_AHEAD_MAX {
            return Err(SettingError::Clock { off_s: ahead.as_secs(), direction: "in the future" });
        }
        if behind > FRESH {
            return Err(SettingError::Clock { off_s: behind.as_secs(), direction: "ago" });
        }
        if key.fingerprint() != *signer
            || key.verify(SETTING_CONTEXT, &canonical::encode(&self.setting), &self.signature).is_err()
        {
            return Err(SettingError::Signature);
        }
        check_wrap("password", password, *signer, |method| *method == Method::Password(*parameters))?;
        if parameters.rounds != PBKDF2_ROUNDS_MIN {
            // Everybody has the same, so that they tell nobody whether a name is known.
            return Err(SettingError::Wrap { of: "password", why: format!("{} rounds", parameters.rounds) });
        }
        match recovery {
            Some(way) => check_wrap("recovery code", way, *signer, |method| matches!(method, Method::Recovery { .. })),
            None => Ok(()),
        }
    }

    /// Hashes both keys; runs where it may take its time. A way of recovery that is not set anew is `None`: the caller
    /// takes over what stands once this is done, because a code may be spent meanwhile.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn hashed(
        &self,
        account: AccountId,
        hash: &impl KeyHash,
        rng: &mut impl CryptoRng,
    ) -> Result<Credential, HashError> {
        let mut hashed = |way: &NewWay| -> Result<Way, HashError> {
            let mut salt = [0; 16];
            rng.fill_bytes(&mut salt);
            let phc = hash.hash(&AuthKey::from_bytes(way.auth_key), &salt)?;
            Ok(Way { phc, lane: way.lane, wrapped: way.wrapped.clone() })
        };
        let Setting { parameters, password, recovery, .. } = &self.setting;
        let password = hashed(password)?;
        let recovery = recovery.as_ref().map(hashed).transpose()?;
        Ok(Credential { account, parameters: *parameters, password, recovery })
    }
}

fn check_wrap(
    of: &'static str,
    way: &NewWay,
    signer: Fingerprint,
    fits: impl Fn(&Method) -> bool,
) -> Result<(), SettingError> {
    let wrapped =
        WrappedUserKey::from_bytes(&way.wrapped).map_err(|error| SettingError::Wrap { of, why: error.to_string() })?;
    if wrapped.fingerprint == signer && fits(&wrapped.method) {
        Ok(())
    } else {
        Err(SettingError::Wrap { of, why: "it names another key or method".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_seal::rng;
    use peri_seal::userkey::{DeviceSecret, RecoveryCode, Stretched};

    const VM: VmId = VmId([1; 16]);
    const NOW: UtcNanos = UtcNanos::from_secs(1_000_000);

    fn ways(pair: &KeyPair) -> (PasswordParameters, NewWay, NewWay) {
        let rng = &mut rng::system();
        let (device, code) = (DeviceSecret::generate(rng), RecoveryCode::generate(rng));
        let parameters = PasswordParameters::generate(rng);
        let stretched = Stretched::new("a sentence nobody guesses", &device, parameters).unwrap();
        let password = NewWay {
            auth_key: *stretched.auth_key().as_bytes(),
            lane: device.lane_key().commit(),
            wrapped: stretched.wrap(pair).to_bytes().into(),
        };
        let recovery = NewWay {
            auth_key: *code.auth_key().as_bytes(),
            lane: code.lane_key().commit(),
            wrapped: code.wrap(rng, pair).to_bytes().into(),
        };
        (parameters, password, recovery)
    }

    #[test]
    fn a_setting_holds_for_its_key_appliance_and_minutes_only() {
        let (pair, other) = (KeyPair::generate(&mut rng::system()), KeyPair::generate(&mut rng::system()));
        let (parameters, password, recovery) = ways(&pair);
        let make = |pair: &KeyPair, issued: UtcNanos| {
            SignedSetting::new(VM, pair, "anna", issued, parameters, password.clone(), Some(recovery.clone()))
        };
        let good = make(&pair, NOW);
        assert_eq!(good.verify(VM, pair.public(), NOW + Duration::from_secs(300)), Ok(()));
        assert_eq!(good.verify(VmId([2; 16]), pair.public(), NOW), Err(SettingError::OtherVm));
        assert_eq!(good.verify(VM, other.public(), NOW), Err(SettingError::Signature));
        for (now, off_s) in [(NOW + Duration::from_secs(301), 301), (NOW - Duration::from_secs(121), 121)] {
            let error = good.verify(VM, pair.public(), now).unwrap_err();
            assert!(matches!(error, SettingError::Clock { off_s: found, .. } if found == off_s), "{error}");
        }
        // Somebody else's key signs for wraps that are not his; a name, a wrap or a lane that was changed.
        assert!(matches!(make(&other, NOW).verify(VM, other.public(), NOW), Err(SettingError::Wrap { .. })));
        let changed = |change: &dyn Fn(&mut Setting)| {
            let mut bad = good.clone();
            change(&mut bad.setting);
            bad.verify(VM, pair.public(), NOW)
        };
        assert_eq!(changed(&|s| s.name = "bert".into()), Err(SettingError::Signature));
        assert_eq!(changed(&|s| s.password.auth_key[0] ^= 1), Err(SettingError::Signature));
        assert_eq!(changed(&|s| s.password.lane.0[0] ^= 1), Err(SettingError::Signature));
        assert_eq!(changed(&|s| s.recovery = None), Err(SettingError::Signature));
        assert_eq!(changed(&|s| s.version = 2), Err(SettingError::Version { found: 2 }));
        assert_eq!(changed(&|s| s.name = String::new()), Err(SettingError::Name { found: 0 }));
        // Other parameters than those of the wrap would make every later login fail.
        let moved = PasswordParameters::generate(&mut rng::system());
        let bad = SignedSetting::new(VM, &pair, "anna", NOW, moved, password.clone(), None);
        assert!(matches!(bad.verify(VM, pair.public(), NOW), Err(SettingError::Wrap { of: "password", .. })));
        let swapped = SignedSetting::new(VM, &pair, "anna", NOW, parameters, password.clone(), Some(password.clone()));
        assert!(matches!(swapped.verify(VM, pair.public(), NOW), Err(SettingError::Wrap { of: "recovery code", .. })));
    }
}
