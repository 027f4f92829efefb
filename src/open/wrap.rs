//! Opening wraps of E, shares and answers with X with the private half of a person or seat.
//!
//! What does not belong: joining shares (shares), deriving K (content). Invariant: what opens is compared with the
//! commitment where there is one (E, X), so that a wrong secret is an error here and not noise in a picture later.

use crate::shares::OpenedShare;
use hpke::{Deserializable, Kem, OpModeR, aead::AesGcm256, kdf::HkdfSha384, kem::MlKem1024P384};
use peri_domain::{AccountId, Fingerprint, Nonce};
use peri_seal::keys::KeyPair;
use peri_seal::record::{EpochContext, EpochId, SUITE};
use peri_seal::secret::{EpochSecret, SECRET_LEN, XSecret};
use peri_seal::wrap::{ENC_LEN, Share, Wrap, WrapKind, wrap_info, x_info};
use zeroize::Zeroizing;

/// Why something did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapOpenError {
    /// Sealed to somebody else.
    #[error("this is sealed to {recipient}, the key in hand is {own}: use the key that was entitled then")]
    NotRecipient {
        /// Who opens it.
        recipient: Fingerprint,
        /// Whose key was tried.
        own: Fingerprint,
    },
    /// A share where E was expected, or the other way round.
    #[error("expected a {expected:?} wrap, found a {found:?} wrap")]
    Kind {
        /// What was asked for.
        expected: WrapKind,
        /// What is there.
        found: WrapKind,
    },
    /// Sealed with other algorithms.
    #[error("the wrap for {recipient} is of suite {found}, this version knows {SUITE}; update the older side")]
    Suite {
        /// Whose wrap.
        recipient: Fingerprint,
        /// Its suite.
        found: u16,
    },
    /// A form that no wrap of this epoch has.
    #[error("a wrap for {recipient} with this index or length is none of epoch {epoch:?}: it was changed or damaged")]
    Form {
        /// Whose wrap.
        recipient: Fingerprint,
        /// Which epoch.
        epoch: EpochId,
    },
    /// HPKE refuses: another epoch, camera, VM, request or kind, or a changed byte.
    #[error(
        "what was sealed to {own} does not open for epoch {epoch:?}: it belongs to another epoch or request, or was changed"
    )]
    Sealed {
        /// Whose key was tried.
        own: Fingerprint,
        /// Which epoch.
        epoch: EpochId,
    },
    /// The key of a post does not open.
    #[error(
        "the key of post {post}, version {serial}, does not open with key {own}: it was sealed to another member or \
         version, or wrongly; let a member make the next version (`peri post change`)"
    )]
    Post {
        /// Whose key was tried.
        own: Fingerprint,
        /// The post.
        post: AccountId,
        /// Its version.
        serial: u32,
    },
    /// It opens, but is not what the record commits to.
    #[error(
        "what was sealed for epoch {epoch:?} opens but is not the secret that its record commits to: the sealing side was wrong or lied"
    )]
    Commitment {
        /// Which epoch.
        epoch: EpochId,
    },
}

/// Opens E with the key of an entitled person.
///
/// # Errors
/// [`WrapOpenError`]; never an E that the context does not commit to.
pub fn open_wrap(user: &KeyPair, context: &EpochContext, wrap: &Wrap) -> Result<EpochSecret, WrapOpenError> {
    let plaintext = open(user, context, wrap, WrapKind::User)?;
    let e = EpochSecret::from_bytes(exactly(&plaintext, wrap, context)?);
    if e.commit() == context.commit_e { Ok(e) } else { Err(WrapOpenError::Commitment { epoch: context.id() }) }
}

/// Opens the share of a seat. That it is the right one shows only when k of them are joined.
///
/// # Errors
/// [`WrapOpenError`].
pub fn open_share(seat: &KeyPair, context: &EpochContext, wrap: &Wrap) -> Result<OpenedShare, WrapOpenError> {
    let plaintext = open(seat, context, wrap, WrapKind::Share)?;
    let Some((index, value)) = plaintext.split_first().filter(|(index, _)| **index == wrap.share_index) else {
        return Err(WrapOpenError::Commitment { epoch: context.id() });
    };
    Ok(OpenedShare::new(Share::from_parts(*index, exactly(value, wrap, context)?), context.id(), seat.fingerprint()))
}

/// Opens the X that was answered to one request.
///
/// # Errors
/// [`WrapOpenError`]; never an X that the context does not commit to.
pub fn open_x(
    user: &KeyPair,
    context: &EpochContext,
    request: &Nonce,
    sealed: &[u8],
) -> Result<XSecret, WrapOpenError> {
    let epoch = context.id();
    let own = user.fingerprint();
    let plaintext =
        hpke_open(user, &x_info(&epoch, request, &own), sealed).ok_or(WrapOpenError::Sealed { own, epoch })?;
    let x = XSecret::from_bytes(
        plaintext.as_slice().try_into().map_err(|_| WrapOpenError::Form { recipient: own, epoch })?,
    );
    if x.commit() == context.commit_x { Ok(x) } else { Err(WrapOpenError::Commitment { epoch }) }
}

fn open(
    own: &KeyPair,
    context: &EpochContext,
    wrap: &Wrap,
    expected: WrapKind,
) -> Result<Zeroizing<Vec<u8>>, WrapOpenError> {
    let (recipient, epoch) = (wrap.recipient, context.id());
    if wrap.kind != expected {
        return Err(WrapOpenError::Kind { expected, found: wrap.kind });
    }
    let fingerprint = own.fingerprint();
    if recipient != fingerprint {
        return Err(WrapOpenError::NotRecipient { recipient, own: fingerprint });
    }
    if wrap.suite != SUITE {
        return Err(WrapOpenError::Suite { recipient, found: wrap.suite });
    }
    if !wrap.fits(context) {
        return Err(WrapOpenError::Form { recipient, epoch });
    }
    hpke_open(own, &wrap_info(context, wrap.kind, wrap.share_index, &recipient), &wrap.sealed)
        .ok_or(WrapOpenError::Sealed { own: fingerprint, epoch })
}

/// HPKE base mode, encapsulation ‖ ciphertext ‖ tag (RFC 9180 §6.1).
pub(crate) fn hpke_open(own: &KeyPair, info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (enc, ciphertext) = sealed.split_at_checked(ENC_LEN)?;
    let secret = <MlKem1024P384 as Kem>::PrivateKey::from_bytes(own.hpke_secret()).ok()?;
    let enc = <MlKem1024P384 as Kem>::EncappedKey::from_bytes(enc).ok()?;
    hpke::single_shot_open::<AesGcm256, HkdfSha384, MlKem1024P384>(&OpModeR::Base, &secret, &enc, info, ciphertext, &[])
        .map(Zeroizing::new)
        .ok()
}

fn exactly(bytes: &[u8], wrap: &Wrap, context: &EpochContext) -> Result<[u8; SECRET_LEN], WrapOpenError> {
    bytes.try_into().map_err(|_| WrapOpenError::Form { recipient: wrap.recipient, epoch: context.id() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{Rng, context};
    use peri_domain::{CameraId, EpochNo, Hash, VmId};
    use peri_seal::wrap::{seal_x, wrap_epoch};

    #[test]
    fn a_wrap_opens_for_its_recipient_and_epoch_only() {
        let mut rng = Rng::new("wraps");
        let (user, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let context = context(&e, &x, 2, 3);
        let wrap = wrap_epoch(&mut rng, &e, &context, user.public()).unwrap();
        assert_eq!(open_wrap(&user, &context, &wrap).unwrap().as_bytes(), e.as_bytes());
        assert!(matches!(open_wrap(&other, &context, &wrap), Err(WrapOpenError::NotRecipient { .. })));
        assert!(matches!(open_share(&user, &context, &wrap), Err(WrapOpenError::Kind { .. })));
        let relabelled = Wrap { recipient: other.fingerprint(), ..wrap.clone() };
        assert!(matches!(open_wrap(&other, &context, &relabelled), Err(WrapOpenError::Sealed { .. })));
        // Every field of the context is bound.
        for moved in [
            EpochContext { vm: VmId([9; 16]), ..context.clone() },
            EpochContext { camera: CameraId([9; 16]), ..context.clone() },
            EpochContext { epoch: EpochNo(context.epoch.0 + 1), ..context.clone() },
            EpochContext { starts: peri_domain::UtcNanos(context.starts.0 + 1), ..context.clone() },
            EpochContext { ends: peri_domain::UtcNanos(context.ends.0 - 1), ..context.clone() },
            EpochContext { roster_head: Hash([9; 32]), ..context.clone() },
            EpochContext { roster_len: 99, ..context.clone() },
            EpochContext { commit_e: Hash([9; 32]), ..context.clone() },
            EpochContext { commit_x: Hash([9; 32]), ..context.clone() },
            EpochContext { commit_k: Hash([9; 32]), ..context.clone() },
            EpochContext { threshold: 3, ..context.clone() },
            EpochContext { seats: 4, ..context.clone() },
        ] {
            assert!(matches!(open_wrap(&user, &moved, &wrap), Err(WrapOpenError::Sealed { .. })), "{moved:?}");
        }
        for at in [0, 1_567, 1_568, 1_600, 1_664, 1_665, 1_700, wrap.sealed.len() - 1] {
            let mut bad = wrap.clone();
            bad.sealed[at] ^= 1;
            assert!(matches!(open_wrap(&user, &context, &bad), Err(WrapOpenError::Sealed { .. })), "flipped byte {at}");
        }
    }

    #[test]
    fn a_wrap_of_an_unknown_suite_names_both_suites_and_the_remedy() {
        let mut rng = Rng::new("suite");
        let user = KeyPair::generate(&mut rng);
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let context = context(&e, &x, 2, 3);
        let wrap = Wrap { suite: 2, ..wrap_epoch(&mut rng, &e, &context, user.public()).unwrap() };
        let Err(error) = open_wrap(&user, &context, &wrap) else { panic!("a wrap of suite 2 opened") };
        assert_eq!(error, WrapOpenError::Suite { recipient: user.fingerprint(), found: 2 });
        let told = error.to_string();
        assert!(told.contains("suite 2, this version knows 1; update the older side"), "{told}");
        // Of another length it is another thing.
        let cut = Wrap { suite: SUITE, sealed: wrap.sealed[1..].to_vec(), ..wrap };
        assert!(matches!(open_wrap(&user, &context, &cut), Err(WrapOpenError::Form { .. })));
    }

    #[test]
    fn an_answer_with_x_opens_for_its_request_only() {
        let mut rng = Rng::new("x");
        let (user, other) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let context = context(&e, &x, 2, 3);
        let nonce = Nonce([1; 16]);
        let sealed = seal_x(&mut rng, &x, &context.id(), &nonce, user.public()).unwrap();
        assert_eq!(open_x(&user, &context, &nonce, &sealed).unwrap().as_bytes(), x.as_bytes());
        assert!(matches!(open_x(&other, &context, &nonce, &sealed), Err(WrapOpenError::Sealed { .. })));
        assert!(matches!(open_x(&user, &context, &Nonce([2; 16]), &sealed), Err(WrapOpenError::Sealed { .. })));
        assert!(matches!(open_x(&user, &context, &nonce, &sealed[..9]), Err(WrapOpenError::Sealed { .. })));
        let another = seal_x(&mut rng, &XSecret::from_bytes([0; 32]), &context.id(), &nonce, user.public()).unwrap();
        assert!(matches!(open_x(&user, &context, &nonce, &another), Err(WrapOpenError::Commitment { .. })));
    }
}
