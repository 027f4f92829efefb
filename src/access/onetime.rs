//! One-time keys of externals: each session consumes one and receives the next, so that two holders show.
//!
//! What does not belong: the session that follows (session), grants (decide). Invariants: only redemptions and
//! confirmations signed by the client key change anything; the server keeps hashes of keys, and the next key only as
//! sealed to the client key; keys are 256 random bits, so none says whose it is or which came before.
//!
//! ```text
//!              redeem(K, s): next key drawn, sealed, durable
//!  ready(K) ───────────────────────────────────────────────▶ answered(K, s, next N)
//!     ▲                                                        │ redeem(K, s) again: the same answer
//!     │       confirm(N), or redeem(N, s₂) right away          │ redeem(K, other s): LOCK
//!     └────────────────────────────────────────────────────────┘
//!  any state: a redemption signed by the client key with any other key, so K after N was confirmed: LOCK
//! ```
//! The client stores the session key *before* it redeems, and the next key before it confirms, so it can stop at any
//! instant and go on: a lost answer or a crash locks nobody. Whoever holds a copy of the client (profile, backup)
//! comes to the same key with another session, or to a spent key: one of the two was a thief, and both are out.

use crate::session::{SessionKey, SessionPublic};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::{Fingerprint, Hash, VmId};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::digest::{hash, labelled};
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::rng::CryptoRng;
use peri_seal::wrap::{WrapError, hpke_seal};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Context of the client key's signature over a redemption.
pub const REDEEM_CONTEXT: &str = "one-time-redeem";
/// Context of the client key's signature over a confirmation.
pub const CONFIRM_CONTEXT: &str = "one-time-confirm";

/// A one-time key; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct OneTimeKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    [u8; 32],
);

/// Consumes a key for a session.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Redemption {
    /// The key itself: the server has only its hash.
    #[n(0)]
    pub key: OneTimeKey,
    /// The session it is consumed for.
    #[n(1)]
    pub session: SessionPublic,
    /// By the client key over (VM, key's hash, session).
    #[n(2)]
    pub signature: Signature,
}

/// Says that the next key is stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Confirmation {
    /// Hash of the next key.
    #[n(0)]
    pub next: Hash,
    /// By the client key over (VM, hash).
    #[n(1)]
    pub signature: Signature,
}

/// Why a chain is locked; an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum ChainLock {
    /// One key, two sessions.
    #[n(0)]
    #[error("one access key was used for two sessions: one of the two holders is a thief")]
    TwoSessions,
    /// A key that is spent, or was never given.
    #[n(1)]
    #[error("a spent access key was used again: somebody has a copy of it, or a backup was played back")]
    SpentKey,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Not by the client key; nothing has changed.
    #[error("this is not signed by the key {client} of this access; enrol again with a new invitation")]
    Signature {
        /// Whose chain.
        client: Fingerprint,
    },
    /// Locked by this very redemption: alarm, entry, sockets closed.
    #[error("{0}; this access is locked until the custodians renew it")]
    Lock(ChainLock),
    /// Locked before.
    #[error("this access is locked ({0}); ask the custodians to renew it")]
    Locked(ChainLock),
    /// A confirmation of a key that is not the next one; nothing has changed.
    #[error("this confirmation is not for the key that was given last; redeem it instead")]
    NotNext,
    /// The next key could not be sealed; nothing has changed.
    #[error(transparent)]
    Seal(#[from] WrapError),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum State {
    #[n(0)]
    Ready(#[n(0)] Hash),
    #[n(1)]
    Answered {
        #[n(0)]
        spent: Hash,
        #[n(1)]
        session: SessionPublic,
        #[n(2)]
        next: Hash,
        #[n(3)]
        sealed: ByteVec,
    },
    #[n(2)]
    Locked(#[n(0)] ChainLock),
}

/// The server's side of one external access. Make [`Chain::to_bytes`] durable before each answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Chain {
    #[n(0)]
    client: Fingerprint,
    #[n(1)]
    state: State,
}

/// A session may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The next key, sealed to the client key.
    pub sealed: Vec<u8>,
    /// Not a repetition: write the entry.
    pub first: bool,
}

/// The client's side. Stored (wrapped under the client's key) after every change, before anything is sent.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Holder {
    /// Has a key.
    #[n(0)]
    Ready(#[n(0)] OneTimeKey),
    /// Is consuming it for this session key (its scalar).
    #[n(1)]
    Redeeming(#[n(0)] OneTimeKey, #[n(1)] OneTimeKey),
    /// Has the next key and has not yet heard that the server knows.
    #[n(2)]
    Confirming(#[n(0)] OneTimeKey),
}

impl OneTimeKey {
    /// A new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self(key)
    }

    /// From the 32 bytes that were sealed.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the server keeps.
    #[must_use]
    pub fn commit(&self) -> Hash {
        hash("one-time-key", &[&self.0])
    }
}

/// HPKE `info` of the next key: `peri/v1/one-time-next\0` ‖ VM ‖ client ‖ hash of the consumed key.
#[must_use]
pub fn next_info(vm: VmId, client: &Fingerprint, spent: &Hash) -> Vec<u8> {
    labelled("one-time-next", &[vm.as_bytes(), client.as_bytes(), spent.as_bytes()])
}

/// Seals the next key to the client key.
///
/// # Errors
/// [`WrapError`].
pub fn seal_next(
    rng: &mut impl CryptoRng,
    vm: VmId,
    client: &UserPublic,
    spent: &Hash,
    next: &OneTimeKey,
) -> Result<Vec<u8>, WrapError> {
    hpke_seal(rng, client, &next_info(vm, &client.fingerprint(), spent), &[], &next.0)
}

impl Chain {
    /// Begins a chain for a client key that was enrolled, with the hash of its first key.
    #[must_use]
    pub const fn new(client: Fingerprint, first: Hash) -> Self {
        Self { client, state: State::Ready(first) }
    }

    /// Why it is locked, if it is.
    #[must_use]
    pub const fn locked(&self) -> Option<ChainLock> {
        match self.state {
            State::Locked(why) => Some(why),
            State::Ready(_) | State::Answered { .. } => None,
        }
    }

    /// Consumes a key. `next` is freshly drawn and `seal` seals it ([`seal_next`]); both are used only for a first
    /// redemption.
    ///
    /// # Errors
    /// [`ChainError`]; after [`ChainError::Lock`] the chain has changed.
    pub fn redeem(
        &mut self,
        vm: VmId,
        client: &UserPublic,
        redemption: &Redemption,
        next: &OneTimeKey,
        seal: impl FnOnce(&Hash, &OneTimeKey) -> Result<Vec<u8>, WrapError>,
    ) -> Result<Redeemed, ChainError> {
        let key = redemption.key.commit();
        let message = canonical::encode(&(vm, key, redemption.session));
        self.check(client, REDEEM_CONTEXT, &message, &redemption.signature)?;
        match &self.state {
            State::Locked(why) => return Err(ChainError::Locked(*why)),
            State::Answered { spent, session, sealed, .. } if *spent == key => {
                if *session == redemption.session {
                    return Ok(Redeemed { sealed: sealed.to_vec(), first: false });
                }
                return Err(self.lock(ChainLock::TwoSessions));
            }
            State::Ready(current) | State::Answered { next: current, .. } if *current == key => {}
            State::Ready(_) | State::Answered { .. } => return Err(self.lock(ChainLock::SpentKey)),
        }
        let sealed = seal(&key, next)?;
        let answer = Redeemed { sealed: sealed.clone(), first: true };
        let session = redemption.session;
        self.state = State::Answered { spent: key, session, next: next.commit(), sealed: sealed.into() };
        Ok(answer)
    }

    /// Takes note that the client has stored the next key; the one before is spent for good. Repeating it is harmless.
    ///
    /// # Errors
    /// [`ChainError::Signature`], [`ChainError::Locked`], [`ChainError::NotNext`].
    pub fn confirm(&mut self, vm: VmId, client: &UserPublic, confirmation: &Confirmation) -> Result<(), ChainError> {
        let message = canonical::encode(&(vm, confirmation.next));
        self.check(client, CONFIRM_CONTEXT, &message, &confirmation.signature)?;
        match &self.state {
            State::Locked(why) => Err(ChainError::Locked(*why)),
            State::Ready(current) | State::Answered { next: current, .. } if *current == confirmation.next => {
                self.state = State::Ready(*current);
                Ok(())
            }
            State::Ready(_) | State::Answered { .. } => Err(ChainError::NotNext),
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From [`Chain::to_bytes`].
    ///
    /// # Errors
    /// [`CanonicalError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode("stored access", bytes)
    }

    fn lock(&mut self, why: ChainLock) -> ChainError {
        self.state = State::Locked(why);
        ChainError::Lock(why)
    }

    fn check(
        &self,
        client: &UserPublic,
        context: &'static str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), ChainError> {
        let genuine = client.fingerprint() == self.client && client.verify(context, message, signature).is_ok();
        if genuine { Ok(()) } else { Err(ChainError::Signature { client: self.client }) }
    }
}

impl Holder {
    /// Begins to consume the key, or goes on with the same session. Store the state, then send the redemption.
    pub fn redeem(&mut self, rng: &mut impl CryptoRng, vm: VmId, client: &KeyPair) -> (Redemption, SessionKey) {
        if let Self::Ready(key) | Self::Confirming(key) = self {
            let scalar = SessionKey::generate(rng).to_secret_bytes();
            *self = Self::Redeeming(key.clone(), OneTimeKey(*scalar));
        }
        let Self::Redeeming(key, scalar) = self else { unreachable!("every other state was just left") };
        let session = SessionKey::from_secret_bytes(&scalar.0).expect("generated, or checked when it was read");
        let signature = client.sign(REDEEM_CONTEXT, &canonical::encode(&(vm, key.commit(), session.public())));
        (Redemption { key: key.clone(), session: session.public(), signature }, session)
    }

    /// Takes the next key, opened from the answer. Store the state, then send the confirmation. `None` when nothing
    /// was being redeemed: a late answer to what is settled.
    pub fn answered(&mut self, vm: VmId, client: &KeyPair, next: OneTimeKey) -> Option<Confirmation> {
        if !matches!(self, Self::Redeeming(..)) {
            return None;
        }
        *self = Self::Confirming(next);
        self.confirmation(vm, client)
    }

    /// The confirmation to send (again), if one is due.
    #[must_use]
    pub fn confirmation(&self, vm: VmId, client: &KeyPair) -> Option<Confirmation> {
        let Self::Confirming(next) = self else { return None };
        let next = next.commit();
        Some(Confirmation { next, signature: client.sign(CONFIRM_CONTEXT, &canonical::encode(&(vm, next))) })
    }

    /// The server knows.
    pub fn confirmed(&mut self) {
        if let Self::Confirming(key) = self {
            *self = Self::Ready(key.clone());
        }
    }

    /// For storage; to be wrapped at once.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(canonical::encode(self))
    }

    /// From storage.
    ///
    /// # Errors
    /// [`CanonicalError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let what = "stored access key";
        let holder = canonical::decode(what, bytes)?;
        match &holder {
            Self::Redeeming(_, scalar) if SessionKey::from_secret_bytes(&scalar.0).is_none() => {
                let source = minicbor::decode::Error::message("its session's key is no scalar of P-256");
                Err(CanonicalError::Shape { what, source })
            }
            _ => Ok(holder),
        }
    }
}

#[cfg(test)]
#[path = "tests_onetime.rs"]
mod tests;
