//! K from E and X, checked against the record.
//!
//! What does not belong: where E and X come from (wrap, shares). Invariant: K is returned only when all three
//! commitments of the record hold.

use peri_seal::record::{EpochId, EpochRecord};
use peri_seal::secret::{ContentKey, EpochSecret, XSecret, derive_content_key};

/// Which of the secrets is not the one of the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// E.
    #[error("E is not the one of epoch {0:?}: it comes from another epoch's wrap or shares")]
    WrongE(EpochId),
    /// X.
    #[error("X is not the one of epoch {0:?}: ask the appliance for this epoch")]
    WrongX(EpochId),
    /// Both are right, but the record commits to another K.
    #[error(
        "the record of epoch {0:?} commits to a key that does not come from its own E and X: the recording side was wrong or lied"
    )]
    WrongK(EpochId),
}

/// Derives K.
///
/// # Errors
/// [`ContentError`].
pub fn content_key(e: &EpochSecret, x: &XSecret, record: &EpochRecord) -> Result<ContentKey, ContentError> {
    let epoch = record.context.id();
    if e.commit() != record.context.commit_e {
        return Err(ContentError::WrongE(epoch));
    }
    if x.commit() != record.context.commit_x {
        return Err(ContentError::WrongX(epoch));
    }
    let key = derive_content_key(e, x, &epoch);
    if key.commit() == record.context.commit_k { Ok(key) } else { Err(ContentError::WrongK(epoch)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{Rng, context};
    use peri_domain::Hash;
    use peri_seal::keys::SigningKey;

    #[test]
    fn each_wrong_secret_is_named() {
        let mut rng = Rng::new("content");
        let (e, x) = (EpochSecret::generate(&mut rng), XSecret::generate(&mut rng));
        let device = SigningKey::generate(&mut rng);
        let mut record = EpochRecord::sign_with(&mut rng, context(&e, &x, 1, 1), &[], &device).unwrap();
        assert!(content_key(&e, &x, &record).is_ok());
        let other = EpochSecret::generate(&mut rng);
        assert!(matches!(content_key(&other, &x, &record), Err(ContentError::WrongE(_))));
        let other = XSecret::generate(&mut rng);
        assert!(matches!(content_key(&e, &other, &record), Err(ContentError::WrongX(_))));
        record.context.commit_k = Hash([0; 32]);
        assert!(matches!(content_key(&e, &x, &record), Err(ContentError::WrongK(_))));
    }
}
