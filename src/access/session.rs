//! Sessions: a P-256 key made by the client, for which the account's roster key vouches.
//!
//! What does not belong: what a session may do (decide), its requests (proof), its state at scribe (sessions).
//! Invariants: [`Session`] has one constructor, [`SignedCertificate::verify`]; a certificate holds for one VM, one
//! session key and a time of at most [`SESSION_MAX`]; there is no cookie and no bearer token anywhere.
//!
//! The key is P-256 because browsers make it non-extractable and sign with it in 0.1 ms; it lives for a shift and
//! opens nothing, so the roster key's P-384 is not needed. On the wire a public key is the compressed SEC1 point:
//! one key, one form, one id.

use minicbor::{Decode, Decoder, Encode, Encoder};
use p256::ecdsa::signature::{MultipartVerifier, RandomizedMultipartSigner};
use p256::elliptic_curve::Generate;
use peri_domain::limits::{CHANNELS_AT_ONCE_MAX, CLOCK_AHEAD_MAX, SESSION_MAX};
use peri_domain::{Fingerprint, Hash, Nonce, UtcNanos, VmId};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::digest::{PREFIX, hash};
use peri_seal::keys::{KeyError, KeyPair, Signature, UserPublic};
use peri_seal::rng::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// Context of the roster key's signature over a certificate.
pub const SESSION_CONTEXT: &str = "session-certificate";
/// Context of the session key's signature when a certificate is shown.
pub const OPENING_CONTEXT: &str = "session-opening";
/// Bytes of a session's public key: SEC1 compressed P-256 point.
pub const SESSION_PUBLIC_LEN: usize = 33;
/// Bytes of a session's signature: r ‖ s (IEEE P1363, what WebCrypto speaks).
pub const SESSION_SIGNATURE_LEN: usize = 64;

const VERSION: u16 = 1;

/// A session by the digest of its public key; names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct SessionId(#[n(0)] pub Hash);

/// A session's public key; a CBOR byte string of 33 bytes. Its point is checked where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionPublic(pub [u8; SESSION_PUBLIC_LEN]);

/// ECDSA P-256 with SHA-256, r ‖ s; a CBOR byte string of 64 bytes. Malleable: never identifies anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSignature(pub [u8; SESSION_SIGNATURE_LEN]);

/// A session's private key in a native client (browsers keep theirs in WebCrypto); wiped on drop.
pub struct SessionKey(p256::ecdsa::SigningKey);

/// What the roster key vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionCertificate {
    /// Format, 1.
    #[n(0)]
    pub version: u16,
    /// The VM at which the session exists.
    #[n(1)]
    pub vm: VmId,
    /// Fingerprint of the account's or seat's roster key.
    #[n(2)]
    pub signer: Fingerprint,
    /// The session key.
    #[n(3)]
    pub session: SessionPublic,
    /// When the client made it, by its own clock.
    #[n(4)]
    pub issued: UtcNanos,
    /// First instant at which it is void; at most [`SESSION_MAX`] after `issued`.
    #[n(5)]
    pub not_after: UtcNanos,
    /// Channels (pages, processes) that may be open at once, 1 to [`CHANNELS_AT_ONCE_MAX`]; opening one more ends the
    /// one that was silent longest. A script asks for one, so that a thief's second process shows.
    #[n(6)]
    pub channels: u16,
}

/// A certificate with the roster key's signature over its canonical bytes under [`SESSION_CONTEXT`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedCertificate {
    /// The certificate.
    #[n(0)]
    pub certificate: SessionCertificate,
    /// ECDSA P-384.
    #[n(1)]
    pub signature: Signature,
}

/// A certificate as it is shown to scribe: with the session key's own signature over a nonce of scribe, so that a copy of
/// it opens nothing a second time, and nobody gets a key certified that he does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The certificate.
    #[n(0)]
    pub certified: SignedCertificate,
    /// From scribe, used once.
    #[n(1)]
    pub nonce: Nonce,
    /// By the session key over (certificate, nonce) under [`OPENING_CONTEXT`].
    #[n(2)]
    pub possession: SessionSignature,
}

/// Proof that a certificate was good when it was shown. Whether its signer is still in office is asked of the roster
/// with every request (decide), because a revocation must not wait for the end of a session.
#[derive(Debug, Clone)]
pub struct Session {
    id: SessionId,
    key: p256::ecdsa::VerifyingKey,
    signer: Fingerprint,
    vm: VmId,
    not_after: UtcNanos,
    channels: u16,
}

/// Why a certificate, a session key or a session's signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not the canonical bytes.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// Written by a later version.
    #[error("a session certificate of format {found}, this version knows {VERSION}: upgrade the appliance")]
    Version {
        /// Its format.
        found: u16,
    },
    /// Made for another VM.
    #[error("the session certificate is for appliance {found}, not for this one; log in here")]
    OtherVm {
        /// The VM that it names.
        found: VmId,
    },
    /// The roster key given is not the one named.
    #[error("the session certificate names key {named}, which is not the key it is checked against")]
    OtherSigner {
        /// The key that it names.
        named: Fingerprint,
    },
    /// The roster key did not sign it.
    #[error("the session certificate is not signed by its roster key: {0}; log in again")]
    Signature(#[from] KeyError),
    /// The session key is no point of the curve, or not in compressed form.
    #[error("the session key is not a compressed P-256 point; make a new one")]
    Key,
    /// From the future.
    #[error(
        "the session certificate is dated {ahead_s} s ahead of the appliance's clock; \
         set the clock of this computer, or have the administrator check the appliance's"
    )]
    Ahead {
        /// Seconds.
        ahead_s: u64,
    },
    /// Past its end.
    #[error("the session ended {since_s} s ago; log in again (if you just did, the clock of this computer is late)")]
    Expired {
        /// Seconds.
        since_s: u64,
    },
    /// Longer than a session may be, or ends before it begins.
    #[error("a session lasts more than 0 and at most {} h; log in again", SESSION_MAX.as_secs() / 3600)]
    Length,
    /// No channel, or too many.
    #[error("a session has 1 to {CHANNELS_AT_ONCE_MAX} channels at once, this one asks for {found}")]
    Channels {
        /// Number asked for.
        found: u16,
    },
    /// The session key did not sign this.
    #[error("the signature is not of this session's key")]
    Proof,
}

impl SessionKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(p256::ecdsa::SigningKey::generate_from_rng(rng))
    }

    /// From a scalar, big-endian; `None` when it is zero or not below the group order (one in 2^32 is).
    #[must_use]
    pub fn from_secret_bytes(scalar: &[u8; 32]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(scalar).ok().map(Self)
    }

    /// The scalar; wiped on drop. To be wrapped at once, never stored in clear.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut scalar = self.0.to_bytes();
        let out = Zeroizing::new(scalar.into());
        scalar.as_mut_slice().zeroize();
        out
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SessionPublic {
        let point = self.0.verifying_key().to_sec1_point(true);
        SessionPublic(point.as_bytes().try_into().expect("a compressed P-256 point that is not infinity has 33 bytes"))
    }

    /// Signs `peri/v1/sign/<context>\0 ‖ message`, randomised (hedged RFC 6979, its §3.6).
    pub fn sign(&self, rng: &mut impl CryptoRng, context: &'static str, message: &[u8]) -> SessionSignature {
        let signature: p256::ecdsa::Signature = self
            .0
            .try_multipart_sign_with_rng(rng, &signed_parts(context, message))
            .expect("a 32-byte digest has the length this curve needs, and this generator does not fail");
        SessionSignature(signature.to_bytes().into())
    }
}

impl SessionPublic {
    /// The id: SHA-256 under the prefix `peri/v1/session-public\0`.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId(hash("session-public", &[&self.0]))
    }

    /// Checks a signature made by [`SessionKey::sign`].
    ///
    /// # Errors
    /// [`SessionError::Key`], [`SessionError::Proof`].
    pub fn verify(
        &self,
        context: &'static str,
        message: &[u8],
        signature: &SessionSignature,
    ) -> Result<(), SessionError> {
        verify(&self.key()?, context, message, signature)
    }

    fn key(&self) -> Result<p256::ecdsa::VerifyingKey, SessionError> {
        // The library also takes the "compact" form (tag 5), which would give one point two ids.
        if !matches!(self.0[0], 2 | 3) {
            return Err(SessionError::Key);
        }
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.0).map_err(|_| SessionError::Key)
    }
}

impl SignedCertificate {
    /// Certifies a session key; the client's side of a login.
    #[must_use]
    pub fn issue(
        vm: VmId,
        roster_key: &KeyPair,
        session: SessionPublic,
        issued: UtcNanos,
        not_after: UtcNanos,
        channels: u16,
    ) -> Self {
        let signer = roster_key.fingerprint();
        let certificate = SessionCertificate { version: VERSION, vm, signer, session, issued, not_after, channels };
        let signature = roster_key.sign(SESSION_CONTEXT, &canonical::encode(&certificate));
        Self { certificate, signature }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From canonical bytes; nothing is checked yet but the form.
    ///
    /// # Errors
    /// [`SessionError::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SessionError> {
        Ok(canonical::decode("session certificate", bytes)?)
    }

    /// Checks everything about the certificate against the key that the roster holds for its signer.
    ///
    /// # Errors
    /// [`SessionError`]; cheap checks come first.
    pub fn verify(&self, vm: VmId, roster_key: &UserPublic, now: UtcNanos) -> Result<Session, SessionError> {
        let SessionCertificate { version, vm: found, signer, session, issued, not_after, channels } = self.certificate;
        if version != VERSION {
            return Err(SessionError::Version { found: version });
        }
        if found != vm {
            return Err(SessionError::OtherVm { found });
        }
        if roster_key.fingerprint() != signer {
            return Err(SessionError::OtherSigner { named: signer });
        }
        if not_after <= issued || not_after.saturating_since(issued) > SESSION_MAX {
            return Err(SessionError::Length);
        }
        if !(1..=CHANNELS_AT_ONCE_MAX).contains(&channels) {
            return Err(SessionError::Channels { found: channels });
        }
        let ahead = issued.saturating_since(now);
        if ahead > CLOCK_AHEAD_MAX {
            return Err(SessionError::Ahead { ahead_s: ahead.as_secs() });
        }
        if now >= not_after {
            return Err(SessionError::Expired { since_s: now.saturating_since(not_after).as_secs() });
        }
        let key = session.key()?;
        roster_key.verify(SESSION_CONTEXT, &canonical::encode(&self.certificate), &self.signature)?;
        Ok(Session { id: session.id(), key, signer, vm, not_after, channels })
    }
}

impl Opening {
    /// Shows a certificate; the client's side.
    pub fn new(rng: &mut impl CryptoRng, certified: SignedCertificate, nonce: Nonce, key: &SessionKey) -> Self {
        let possession = key.sign(rng, OPENING_CONTEXT, &opening_bytes(&certified.certificate, nonce));
        Self { certified, nonce, possession }
    }

    /// Checks the certificate and who shows it; whether the nonce is good is asked before.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn verify(&self, vm: VmId, roster_key: &UserPublic, now: UtcNanos) -> Result<Session, SessionError> {
        let session = self.certified.verify(vm, roster_key, now)?;
        let shown = opening_bytes(&self.certified.certificate, self.nonce);
        session.verify(OPENING_CONTEXT, &shown, &self.possession)?;
        Ok(session)
    }
}

fn opening_bytes(certificate: &SessionCertificate, nonce: Nonce) -> Vec<u8> {
    canonical::encode(&(certificate, nonce))
}

impl Session {
    /// The session.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Fingerprint of the roster key behind it.
    #[must_use]
    pub const fn signer(&self) -> Fingerprint {
        self.signer
    }

    /// The VM at which it exists.
    #[must_use]
    pub const fn vm(&self) -> VmId {
        self.vm
    }

    /// First instant at which it is void.
    #[must_use]
    pub const fn not_after(&self) -> UtcNanos {
        self.not_after
    }

    /// Channels that may be open at once.
    #[must_use]
    pub const fn channels(&self) -> u16 {
        self.channels
    }

    /// Checks a signature of this session's key.
    ///
    /// # Errors
    /// [`SessionError::Proof`].
    pub fn verify(
        &self,
        context: &'static str,
        message: &[u8],
        signature: &SessionSignature,
    ) -> Result<(), SessionError> {
        verify(&self.key, context, message, signature)
    }
}

fn verify(
    key: &p256::ecdsa::VerifyingKey,
    context: &'static str,
    message: &[u8],
    signature: &SessionSignature,
) -> Result<(), SessionError> {
    let signature = p256::ecdsa::Signature::from_slice(&signature.0).map_err(|_| SessionError::Proof)?;
    key.multipart_verify(&signed_parts(context, message), &signature).map_err(|_| SessionError::Proof)
}

/// What is signed: the parts of `peri/v1/sign/<context>\0 ‖ message`, as with roster keys.
fn signed_parts<'a>(context: &'static str, message: &'a [u8]) -> [&'a [u8]; 5] {
    [PREFIX.as_bytes(), b"sign/", context.as_bytes(), &[0], message]
}

macro_rules! fixed_bytes {
    ($name:ident, $what:literal) => {
        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                d.bytes()?.try_into().map(Self).map_err(|_| minicbor::decode::Error::message($what).at(at))
            }
        }
    };
}
fixed_bytes!(SessionPublic, "a session key has 33 bytes");
fixed_bytes!(SessionSignature, "a session's signature has 64 bytes");

#[cfg(test)]
#[path = "tests_session.rs"]
mod tests;
