//! Opening the key of a post with the key of one of its members.
//!
//! What does not belong: which posts there are (`roster`). Invariant: what opens is the key that the roster names, or it
//! is an error.

use crate::wrap::{WrapOpenError, hpke_open};
use peri_domain::Fingerprint;
use peri_seal::keys::KeyPair;
use peri_seal::post::{PostId, post_info};

/// Opens the key of a version of a post, whose fingerprint the roster says is `key`.
///
/// # Errors
/// [`WrapOpenError::Post`]; never another key than the one named.
pub fn open_post(member: &KeyPair, id: &PostId, key: &Fingerprint, sealed: &[u8]) -> Result<KeyPair, WrapOpenError> {
    let own = member.fingerprint();
    let refused = || WrapOpenError::Post { own, post: id.post, serial: id.serial };
    let secret = hpke_open(member, &post_info(id, key, &own), sealed).ok_or_else(refused)?;
    let secret = secret.as_slice().try_into().map_err(|_| refused())?;
    let pair = KeyPair::from_secret_bytes(secret).map_err(|_| refused())?;
    if pair.fingerprint() == *key { Ok(pair) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::{AccountId, VmId};
    use peri_seal::post::{POST_SEALED_LEN, seal_post};
    use peri_seal::rng;

    #[test]
    fn a_post_key_opens_for_its_member_and_version_only_and_no_changed_byte_passes() {
        let mut rng = rng::system();
        let [post, member, other] = [(); 3].map(|()| KeyPair::generate(&mut rng::system()));
        let id = PostId { vm: VmId([1; 16]), post: AccountId([2; 16]), serial: 3 };
        let key = post.fingerprint();
        let sealed = seal_post(&mut rng, &post, &id, member.public()).unwrap();
        assert_eq!(sealed.len(), POST_SEALED_LEN);
        let opened = open_post(&member, &id, &key, &sealed).unwrap();
        assert_eq!(*opened.to_secret_bytes(), *post.to_secret_bytes());
        assert!(open_post(&other, &id, &key, &sealed).is_err());
        for elsewhere in
            [PostId { vm: VmId([9; 16]), ..id }, PostId { post: AccountId([9; 16]), ..id }, PostId { serial: 4, ..id }]
        {
            assert!(open_post(&member, &elsewhere, &key, &sealed).is_err(), "{elsewhere:?}");
        }
        for at in (0..sealed.len()).step_by(97).chain([sealed.len() - 1]) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open_post(&member, &id, &key, &changed).is_err(), "byte {at}");
        }
        // Sealed rightly, but another key than the one the roster names.
        let info = post_info(&id, &key, &member.fingerprint());
        let swapped =
            peri_seal::wrap::hpke_seal(&mut rng, member.public(), &info, &[], other.to_secret_bytes().as_slice())
                .unwrap();
        assert!(matches!(open_post(&member, &id, &key, &swapped), Err(WrapOpenError::Post { serial: 3, .. })));
    }
}
