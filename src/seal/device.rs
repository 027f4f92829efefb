//! What a client seals to the device key (camera passwords), and its opening on the device.
//!
//! The one HPKE-open that a server needs. It can open nothing else: its `info` label is its own, and wraps of E and
//! answers with X are sealed to users' keys, which no server has. What does not belong: any other opening.

use crate::digest::labelled;
use crate::keys::{KeyPair, UserPublic};
use crate::rng::CryptoRng;
use crate::wrap::{ENC_LEN, TAG_LEN, WrapError, hpke_seal};
use hpke::{Deserializable, Kem, OpModeR, aead::AesGcm256, kdf::HkdfSha384, kem::MlKem1024P384};
use peri_domain::Fingerprint;
use peri_domain::limits::DEVICE_SECRET_BYTES_MAX;
use zeroize::Zeroizing;

/// Why a sealed value did not open here.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Shorter than an encapsulation and tag, or longer than any value.
    #[error("{len} bytes are no value sealed to a device")]
    Length {
        /// Its length.
        len: usize,
    },
    /// Longer than any value sealed to a device.
    #[error("{len} bytes are too long to be sealed to a device; at most {DEVICE_SECRET_BYTES_MAX} are possible")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// The device's key is none, or the library refused.
    #[error(transparent)]
    Seal(#[from] WrapError),
    /// Sealed to another device, for another purpose, or changed.
    #[error(
        "the value was not sealed to this device ({device}) for this purpose, or was changed; enter it again in a client"
    )]
    NotForThisDevice {
        /// Fingerprint of this device.
        device: Fingerprint,
    },
}

/// Seals a value to the device. `purpose` is bound as AAD and must be given again at opening: for a camera password
/// the kind of secret and the camera's id.
///
/// # Errors
/// [`DeviceError::TooLong`], [`DeviceError::Seal`].
pub fn seal_to_device(
    rng: &mut impl CryptoRng,
    device: &UserPublic,
    purpose: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, DeviceError> {
    let len = plaintext.len();
    if len > DEVICE_SECRET_BYTES_MAX {
        return Err(DeviceError::TooLong { len });
    }
    Ok(hpke_seal(rng, device, &device_info(&device.fingerprint()), purpose, plaintext)?)
}

/// Opens what [`seal_to_device`] sealed.
///
/// # Errors
/// [`DeviceError`].
pub fn open_on_device(device: &KeyPair, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
    let len = sealed.len();
    if !(ENC_LEN + TAG_LEN..=ENC_LEN + TAG_LEN + DEVICE_SECRET_BYTES_MAX).contains(&len) {
        return Err(DeviceError::Length { len });
    }
    let refused = |_| DeviceError::NotForThisDevice { device: device.fingerprint() };
    let (enc, ciphertext) = sealed.split_at(ENC_LEN);
    let secret = <MlKem1024P384 as Kem>::PrivateKey::from_bytes(device.hpke_secret()).map_err(refused)?;
    let enc = <MlKem1024P384 as Kem>::EncappedKey::from_bytes(enc).map_err(refused)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha384, MlKem1024P384>(
        &OpModeR::Base,
        &secret,
        &enc,
        &device_info(&device.fingerprint()),
        ciphertext,
        purpose,
    )
    .map(Zeroizing::new)
    .map_err(refused)
}

/// `peri/v1/to-device\0` ‖ fingerprint of the device.
fn device_info(device: &Fingerprint) -> Vec<u8> {
    labelled("to-device", &[device.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EpochId;
    use crate::rng;
    use crate::secret::XSecret;
    use crate::wrap::seal_x;
    use peri_domain::{CameraId, EpochNo, Nonce, VmId};

    #[test]
    fn only_this_device_opens_it_for_this_purpose() {
        let mut rng = rng::system();
        let (device, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let sealed = seal_to_device(&mut rng, device.public(), b"camera 1", b"secret").unwrap();
        assert_eq!(&open_on_device(&device, b"camera 1", &sealed).unwrap()[..], b"secret");
        assert!(open_on_device(&device, b"camera 2", &sealed).is_err());
        assert!(open_on_device(&other, b"camera 1", &sealed).is_err());
        assert!(open_on_device(&device, b"camera 1", &sealed[..100]).is_err());
        let longest = [7; DEVICE_SECRET_BYTES_MAX];
        let most = seal_to_device(&mut rng, device.public(), b"", &longest).unwrap();
        assert_eq!(open_on_device(&device, b"", &most).unwrap()[..], longest);
        let longer = [7; DEVICE_SECRET_BYTES_MAX + 1];
        assert!(matches!(seal_to_device(&mut rng, device.public(), b"", &longer), Err(DeviceError::TooLong { .. })));
        for at in [0, 1_000, 1_568, 1_600, 1_664, 1_665, sealed.len() - 1] {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open_on_device(&device, b"camera 1", &bad).is_err(), "flipped byte {at}");
        }
    }

    #[test]
    fn an_answer_with_x_does_not_open_here_even_under_the_same_key() {
        let mut rng = rng::system();
        let device = KeyPair::generate(&mut rng);
        let id = EpochId { vm: VmId([1; 16]), camera: CameraId([1; 16]), epoch: EpochNo(1) };
        let sealed = seal_x(&mut rng, &XSecret::generate(&mut rng::system()), &id, &Nonce([1; 16]), device.public());
        assert!(open_on_device(&device, b"", &sealed.unwrap()).is_err());
    }
}
