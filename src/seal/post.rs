//! The private key of a post, sealed to one of its members.
//!
//! HPKE base mode as in [`crate::wrap`]; `info` binds VM, post, version, the post's key and the member, so that what was
//! sealed for one member of one version opens for nobody else and as nothing else. The client of a member does this when
//! it makes a version, and forgets the key. What does not belong: opening (`peri-open`), and who is a member (`roster`).

use crate::digest::labelled;
use crate::keys::{KEY_PAIR_SECRET_LEN, KeyPair, UserPublic};
use crate::rng::CryptoRng;
use crate::wrap::{ENC_LEN, TAG_LEN, WrapError, hpke_seal};
use peri_domain::{AccountId, Fingerprint, VmId};

/// Bytes of a sealed post key: encapsulation ‖ both private halves ‖ tag.
pub const POST_SEALED_LEN: usize = ENC_LEN + KEY_PAIR_SECRET_LEN + TAG_LEN;

/// Which version of which post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostId {
    /// The VM.
    pub vm: VmId,
    /// The post.
    pub post: AccountId,
    /// Its version.
    pub serial: u32,
}

/// `info`: `peri/v1/post-key\0` ‖ VM (16) ‖ post (16) ‖ version (4, BE) ‖ the post's key (32) ‖ the member's key (32).
#[must_use]
pub fn post_info(id: &PostId, key: &Fingerprint, member: &Fingerprint) -> Vec<u8> {
    let serial = id.serial.to_be_bytes();
    labelled("post-key", &[id.vm.as_bytes(), id.post.as_bytes(), &serial, key.as_bytes(), member.as_bytes()])
}

/// Seals a post's key to a member.
///
/// # Errors
/// [`WrapError::Recipient`], [`WrapError::Hpke`].
pub fn seal_post(
    rng: &mut impl CryptoRng,
    pair: &KeyPair,
    id: &PostId,
    member: &UserPublic,
) -> Result<Vec<u8>, WrapError> {
    let info = post_info(id, &pair.fingerprint(), &member.fingerprint());
    hpke_seal(rng, member, &info, &[], pair.to_secret_bytes().as_slice())
}
