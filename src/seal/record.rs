//! The epoch record: what one epoch of one camera is, signed by the device key.
//!
//! It opens the segment file, its hash is the first half of the AAD of every fragment, and its context is part of the
//! HPKE `info` of every wrap. So a fragment, wrap or share moved to another epoch, camera or VM does not open.
//! What does not belong: how wraps are made (wrap), where the record lies (segment).

use crate::canonical::{self, CanonicalError};
use crate::digest::{hash, hasher};
use crate::keys::{KeyError, Signature, SigningKey, UserPublic};
use crate::rng::{self, CryptoRng};
use crate::wrap::Wrap;
use minicbor::{Decode, Encode};
use peri_domain::limits::{EPOCH_MAX, RECIPIENTS_MAX, SEATS_MAX};
use peri_domain::{CameraId, EpochNo, Fingerprint, Hash, UtcNanos, VmId};
use sha2::Digest;

/// The one suite so far: E and X of 32 bytes, HKDF-SHA-384, AES-256-GCM fragments, HPKE MLKEM1024-P384 / HKDF-SHA-384 /
/// AES-256-GCM wraps, shares over GF(256) with 0x11b, ECDSA P-384 signature, SHA-256 commitments.
pub const SUITE: u16 = 1;

/// Most wraps of one epoch: every recipient and every seat.
pub const WRAPS_MAX: usize = RECIPIENTS_MAX + SEATS_MAX as usize;

/// Longest canonical record. Derivation: context 4 × 34 (hashes) + 2 × 17 (ids) + 5 × 9 (numbers) + 3 × 3 = 224,
/// signature 98, wraps hash 34, count 5, array heads 2: 363, rounded up.
pub const RECORD_LEN_MAX: usize = 512;

const SIGN_CONTEXT: &str = "epoch-record";

/// Which epoch of which camera of which VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct EpochId {
    /// The VM.
    #[n(0)]
    pub vm: VmId,
    /// The camera.
    #[n(1)]
    pub camera: CameraId,
    /// The number of the epoch of this camera.
    #[n(2)]
    pub epoch: EpochNo,
}

impl EpochId {
    /// Length of [`EpochId::to_bytes`].
    pub const LEN: usize = VmId::LEN + CameraId::LEN + 8;

    /// VM ‖ camera ‖ epoch (BE), fixed length, for `info` strings.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..16].copy_from_slice(self.vm.as_bytes());
        out[16..32].copy_from_slice(self.camera.as_bytes());
        out[32..].copy_from_slice(&self.epoch.0.to_be_bytes());
        out
    }
}

/// Everything about an epoch that is fixed before its wraps are made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochContext {
    /// Algorithms, [`SUITE`].
    #[n(0)]
    pub suite: u16,
    /// The VM.
    #[n(1)]
    pub vm: VmId,
    /// The camera.
    #[n(2)]
    pub camera: CameraId,
    /// The number of the epoch of this camera, from 1.
    #[n(3)]
    pub epoch: EpochNo,
    /// First instant whose pictures belong here.
    #[n(4)]
    pub starts: UtcNanos,
    /// Planned end (exclusive); at most [`EPOCH_MAX`] after the start. An epoch may end earlier, never later.
    #[n(5)]
    pub ends: UtcNanos,
    /// Head of the roster under which the recipients were chosen.
    #[n(6)]
    pub roster_head: Hash,
    /// Statements in that roster.
    #[n(7)]
    pub roster_len: u64,
    /// Commitment to E.
    #[n(8)]
    pub commit_e: Hash,
    /// Commitment to X.
    #[n(9)]
    pub commit_x: Hash,
    /// Commitment to K.
    #[n(10)]
    pub commit_k: Hash,
    /// k: seats that together release E.
    #[n(11)]
    pub threshold: u8,
    /// n: seats there are.
    #[n(12)]
    pub seats: u8,
}

/// The signed record. Canonical CBOR, at most [`RECORD_LEN_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochRecord {
    /// What the wraps bind.
    #[n(0)]
    pub context: EpochContext,
    /// [`wraps_hash`] of the wraps in the head of the segment.
    #[n(1)]
    pub wraps_hash: Hash,
    /// How many wraps there are.
    #[n(2)]
    pub wraps_count: u32,
    /// Signature of the device key over the three fields above.
    #[n(3)]
    pub device_sig: Signature,
}

/// A record that is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a version with other algorithms.
    #[error("epoch {epoch} of camera {camera} is of suite {found}, this version knows {SUITE}; update the older side")]
    Suite {
        /// Camera of the record.
        camera: CameraId,
        /// Epoch of the record.
        epoch: EpochNo,
        /// Its suite.
        found: u16,
    },
    /// A field outside its range.
    #[error("epoch {epoch} of camera {camera}: {what}")]
    Range {
        /// Camera of the record.
        camera: CameraId,
        /// Epoch of the record.
        epoch: EpochNo,
        /// Which rule.
        what: &'static str,
    },
    /// The wraps are not those that the device signed.
    #[error(
        "the wraps of epoch {epoch} of camera {camera} are not those of its record: one was added, dropped or changed"
    )]
    Wraps {
        /// Camera of the record.
        camera: CameraId,
        /// Epoch of the record.
        epoch: EpochNo,
    },
    /// Not signed by this device.
    #[error("epoch {epoch} of camera {camera} was not recorded by this device: {source}")]
    Device {
        /// Camera of the record.
        camera: CameraId,
        /// Epoch of the record.
        epoch: EpochNo,
        /// What failed.
        source: KeyError,
    },
    /// Not the canonical bytes of a record.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
}

#[derive(Encode)]
struct Signed<'a> {
    #[n(0)]
    context: &'a EpochContext,
    #[n(1)]
    wraps_hash: &'a Hash,
    #[n(2)]
    wraps_count: u32,
}

impl EpochContext {
    /// The ids alone.
    #[must_use]
    pub fn id(&self) -> EpochId {
        EpochId { vm: self.vm, camera: self.camera, epoch: self.epoch }
    }

    /// The canonical bytes, as bound by every wrap.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Checks suite and ranges.
    ///
    /// # Errors
    /// [`RecordError::Suite`], [`RecordError::Range`].
    pub fn validate(&self) -> Result<(), RecordError> {
        let (camera, epoch) = (self.camera, self.epoch);
        if self.suite != SUITE {
            return Err(RecordError::Suite { camera, epoch, found: self.suite });
        }
        let range = |what| Err(RecordError::Range { camera, epoch, what });
        if epoch.0 == 0 {
            return range("epochs count from 1");
        }
        if self.ends <= self.starts || self.ends.saturating_since(self.starts) > EPOCH_MAX {
            return range("an epoch ends after it starts and lasts at most 15 minutes");
        }
        if self.threshold == 0 || self.threshold > self.seats || self.seats > SEATS_MAX {
            return range("1 ≤ k ≤ n ≤ 16 seats");
        }
        Ok(())
    }
}

impl EpochRecord {
    /// Signs a record over a context and its wraps.
    ///
    /// # Errors
    /// [`RecordError::Suite`], [`RecordError::Range`].
    pub fn sign(context: EpochContext, wraps: &[Wrap], device: &SigningKey) -> Result<Self, RecordError> {
        Self::sign_with(&mut rng::system(), context, wraps, device)
    }

    /// As [`EpochRecord::sign`], with the caller's randomness.
    ///
    /// # Errors
    /// [`RecordError::Suite`], [`RecordError::Range`].
    pub fn sign_with(
        rng: &mut impl CryptoRng,
        context: EpochContext,
        wraps: &[Wrap],
        device: &SigningKey,
    ) -> Result<Self, RecordError> {
        context.validate()?;
        let wraps_hash = wraps_hash(wraps);
        let wraps_count =
            u32::try_from(wraps.len()).ok().filter(|_| wraps.len() <= WRAPS_MAX).ok_or(RecordError::Range {
                camera: context.camera,
                epoch: context.epoch,
                what: "more wraps than recipients and seats; use a post key",
            })?;
        let signed = canonical::encode(&Signed { context: &context, wraps_hash: &wraps_hash, wraps_count });
        let device_sig = device.sign_with(rng, SIGN_CONTEXT, &signed);
        Ok(Self { context, wraps_hash, wraps_count, device_sig })
    }

    /// Checks ranges and the device's signature.
    ///
    /// # Errors
    /// [`RecordError`] says which.
    pub fn verify(&self, device: &UserPublic) -> Result<(), RecordError> {
        self.context.validate()?;
        let signed = canonical::encode(&Signed {
            context: &self.context,
            wraps_hash: &self.wraps_hash,
            wraps_count: self.wraps_count,
        });
        device.verify(SIGN_CONTEXT, &signed, &self.device_sig).map_err(|source| RecordError::Device {
            camera: self.context.camera,
            epoch: self.context.epoch,
            source,
        })
    }

    /// Checks that these are the wraps that were signed.
    ///
    /// # Errors
    /// [`RecordError::Wraps`].
    pub fn verify_wraps(&self, wraps: &[Wrap]) -> Result<(), RecordError> {
        if u32::try_from(wraps.len()) == Ok(self.wraps_count) && wraps_hash(wraps) == self.wraps_hash {
            Ok(())
        } else {
            Err(RecordError::Wraps { camera: self.context.camera, epoch: self.context.epoch })
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From canonical bytes; nothing but their form is checked.
    ///
    /// # Errors
    /// [`RecordError::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(canonical::decode("epoch record", bytes)?)
    }

    /// SHA-256 over the canonical bytes, signature included, under the prefix `peri/v1/epoch-record\0`: the name of the
    /// epoch in every AAD and in the ledger.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash("epoch-record", &[&self.to_bytes()])
    }

    /// The wrap of one recipient, if there is one of that kind.
    #[must_use]
    pub fn find_wrap<'a>(wraps: &'a [Wrap], recipient: &Fingerprint, kind: crate::wrap::WrapKind) -> Option<&'a Wrap> {
        wraps.iter().find(|wrap| wrap.kind == kind && wrap.recipient == *recipient)
    }
}

/// SHA-256 over the hashes of the wraps in order, under the prefix `peri/v1/wraps\0`. A list of hashes and not of
/// wraps, so that one wrap can be shown to belong to a record without the others.
#[must_use]
pub fn wraps_hash(wraps: &[Wrap]) -> Hash {
    let mut state = hasher("wraps");
    wraps.iter().for_each(|wrap| state.update(wrap.hash().as_bytes()));
    crate::digest::finish(state)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::KeyPair;
    use crate::wrap::WrapKind;

    pub(crate) fn context() -> EpochContext {
        EpochContext {
            suite: SUITE,
            vm: VmId([1; 16]),
            camera: CameraId([2; 16]),
            epoch: EpochNo(7),
            starts: UtcNanos::from_secs(1_795_563_000),
            ends: UtcNanos::from_secs(1_795_563_900),
            roster_head: Hash([3; 32]),
            roster_len: 12,
            commit_e: Hash([4; 32]),
            commit_x: Hash([5; 32]),
            commit_k: Hash([6; 32]),
            threshold: 2,
            seats: 3,
        }
    }

    pub(crate) fn wrap(recipient: u8) -> Wrap {
        Wrap {
            suite: SUITE,
            kind: WrapKind::User,
            recipient: Fingerprint([recipient; 32]),
            share_index: 0,
            sealed: vec![recipient; 1_713],
        }
    }

    #[test]
    fn a_record_verifies_only_unchanged_and_under_its_device() {
        let mut rng = rng::system();
        let (device, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let wraps = [wrap(1), wrap(2)];
        let record = EpochRecord::sign(context(), &wraps, device.signing()).unwrap();
        record.verify(device.public()).unwrap();
        record.verify_wraps(&wraps).unwrap();
        assert!(matches!(record.verify(other.public()), Err(RecordError::Device { .. })));
        assert!(record.verify_wraps(&wraps[..1]).is_err());
        assert!(record.verify_wraps(&[wrap(2), wrap(1)]).is_err());

        let bytes = record.to_bytes();
        assert!(bytes.len() <= RECORD_LEN_MAX);
        assert_eq!(EpochRecord::from_bytes(&bytes).unwrap(), record);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let accepted = EpochRecord::from_bytes(&bad).is_ok_and(|record| record.verify(device.public()).is_ok());
            assert!(!accepted, "flipped byte {at}");
        }
    }

    #[test]
    fn contexts_out_of_range_are_never_signed() {
        let device = SigningKey::generate(&mut rng::system());
        let good = context();
        for bad in [
            EpochContext { suite: 2, ..good.clone() },
            EpochContext { epoch: EpochNo(0), ..good.clone() },
            EpochContext { ends: good.starts, ..good.clone() },
            EpochContext { ends: UtcNanos(good.ends.0 + 1), ..good.clone() },
            EpochContext { threshold: 0, ..good.clone() },
            EpochContext { threshold: 4, ..good.clone() },
            EpochContext { seats: 17, ..good.clone() },
        ] {
            assert!(EpochRecord::sign(bad, &[], &device).is_err());
        }
        let wraps: Vec<_> = (0..=WRAPS_MAX).map(|_| wrap(1)).collect();
        assert!(EpochRecord::sign(good, &wraps, &device).is_err());
    }
}
