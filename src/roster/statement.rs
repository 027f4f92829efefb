//! A proposal, its signatures, and their bytes: canonical CBOR `[proposal bytes, [[signer, signature]…]]`.
//!
//! What does not belong: whether the signers suffice (`signers`) and what follows (`apply`). Invariants: a statement
//! is identified by the hash of its proposal, never by its signatures (ECDSA is malleable); signers are strictly
//! ascending, so that nobody signs twice; every signature covers VM, format, nonce, end and seat set.

use crate::body::Body;
use crate::error::RosterError;
use minicbor::{Decode, Encode};
use peri_domain::limits::{SEATS_MAX, STATEMENT_MAX};
use peri_domain::{Fingerprint, Hash, Nonce, UtcNanos, VmId};
use peri_seal::keys::{Signature, SigningKey, UserPublic};
use peri_seal::{canonical, digest};

/// Format of a proposal and its signatures (ECDSA P-384 with SHA-384 over canonical CBOR).
pub const FORMAT: u16 = 1;

/// Context of every signature over a proposal.
pub const SIGN_CONTEXT: &str = "roster-proposal";

/// Most signatures of one statement: every seat, and the claim key or an account.
pub const SIGNATURES_MAX: usize = SEATS_MAX as usize + 2;

/// What is proposed, self-contained.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Proposal {
    #[n(0)]
    format: u16,
    /// The VM it is for.
    #[n(1)]
    pub vm: VmId,
    /// What it says.
    #[n(2)]
    pub body: Body,
    /// End for acceptance (inclusive): after it nobody new takes it in.
    #[n(3)]
    pub not_after: UtcNanos,
    /// Fresh for every proposal; the id of a grant, release, hold, exception or erasure.
    #[n(4)]
    pub nonce: Nonce,
    /// Version of the seat set whose seats sign: 0 at the founding, 1 when all seats are filled, one more with every
    /// handover. Statements of an account carry the version it saw.
    #[n(5)]
    pub seat_set: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct SignatureEntry {
    #[n(0)]
    signer: Fingerprint,
    #[n(1)]
    signature: Signature,
}

#[derive(Encode, Decode)]
struct Wire {
    #[cbor(n(0), with = "minicbor::bytes")]
    proposal: Vec<u8>,
    #[n(1)]
    signatures: Vec<SignatureEntry>,
}

/// A proposal with the signatures collected so far. Nothing about it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    proposal: Proposal,
    proposal_bytes: Vec<u8>,
    signatures: Vec<SignatureEntry>,
}

impl Proposal {
    /// A proposal in this version's format.
    ///
    /// # Errors
    /// [`RosterError::Invalid`] when the body says something impossible.
    pub fn new(vm: VmId, body: Body, not_after: UtcNanos, nonce: Nonce, seat_set: u32) -> Result<Self, RosterError> {
        body.check()?;
        Ok(Self { format: FORMAT, vm, body, not_after, nonce, seat_set })
    }

    /// The bytes that are signed and hashed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From canonical bytes, checked in form.
    ///
    /// # Errors
    /// [`RosterError`]: malformed, unknown format, impossible body.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RosterError> {
        let mut peek = minicbor::Decoder::new(bytes);
        if let (Ok(Some(_)), Ok(found)) = (peek.array(), peek.u16())
            && found != FORMAT
        {
            return Err(RosterError::UnknownSuite { found, known: FORMAT });
        }
        let proposal: Self = canonical::decode("roster proposal", bytes)?;
        proposal.body.check()?;
        Ok(proposal)
    }

    /// The id of the statement.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash_of(&self.to_bytes())
    }

    /// The proposal with a first signature.
    #[must_use]
    pub fn sign(self, key: &SigningKey, signer: Fingerprint) -> Statement {
        Statement::unsigned(self).sign(key, signer)
    }
}

impl Statement {
    /// Without a signature; nothing takes effect like this.
    #[must_use]
    pub fn unsigned(proposal: Proposal) -> Self {
        let proposal_bytes = proposal.to_bytes();
        Self { proposal, proposal_bytes, signatures: Vec::new() }
    }

    /// With one signature more (or a new one of the same signer).
    #[must_use]
    pub fn sign(mut self, key: &SigningKey, signer: Fingerprint) -> Self {
        let signature = key.sign(SIGN_CONTEXT, &self.proposal_bytes);
        self.put(SignatureEntry { signer, signature });
        self
    }

    /// With the signatures of another copy of the same proposal.
    ///
    /// # Errors
    /// [`RosterError::Malformed`] when it is another proposal.
    pub fn merge(mut self, other: &Self) -> Result<Self, RosterError> {
        if self.proposal_bytes != other.proposal_bytes {
            return Err(RosterError::Malformed {
                what: "second copy of a statement",
                why: "it is another proposal; signatures of different proposals cannot be joined".into(),
            });
        }
        other.signatures.iter().cloned().for_each(|entry| self.put(entry));
        Ok(self)
    }

    /// Canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(&Wire { proposal: self.proposal_bytes.clone(), signatures: self.signatures.clone() })
    }

    /// From canonical bytes, checked in form; signatures are not verified.
    ///
    /// # Errors
    /// [`RosterError`]: too large, malformed, unknown format, impossible body.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RosterError> {
        if bytes.len() > STATEMENT_MAX {
            return Err(RosterError::TooLarge { len: bytes.len(), max: STATEMENT_MAX });
        }
        let wire: Wire = canonical::decode("roster statement", bytes)?;
        let malformed = |why: &str| Err(RosterError::Malformed { what: "roster statement", why: why.into() });
        if wire.signatures.len() > SIGNATURES_MAX {
            return malformed("more signatures than seats");
        }
        if !wire.signatures.windows(2).all(|pair| pair[0].signer < pair[1].signer) {
            return malformed("signers are not strictly ascending");
        }
        let proposal = Proposal::from_bytes(&wire.proposal)?;
        Ok(Self { proposal, proposal_bytes: wire.proposal, signatures: wire.signatures })
    }

    /// What is proposed.
    #[must_use]
    pub const fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// Whose signatures are there; not verified.
    pub fn signers(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.signatures.iter().map(|entry| entry.signer)
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &UserPublic) -> bool {
        let signer = key.fingerprint();
        let own = self.signatures.iter().find(|entry| entry.signer == signer);
        own.is_some_and(|entry| key.verify(SIGN_CONTEXT, &self.proposal_bytes, &entry.signature).is_ok())
    }

    /// The id of the statement: SHA-256 over `peri/v1/roster-statement\0` and the proposal.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash_of(&self.proposal_bytes)
    }

    /// What it says, in one line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        self.proposal.describe()
    }

    pub(crate) fn signed_bytes(&self) -> &[u8] {
        &self.proposal_bytes
    }

    pub(crate) fn signatures(&self) -> impl Iterator<Item = (Fingerprint, &Signature)> + '_ {
        self.signatures.iter().map(|entry| (entry.signer, &entry.signature))
    }

    /// With a signature that nobody made.
    #[cfg(test)]
    pub(crate) fn attach(mut self, signer: Fingerprint, signature: Signature) -> Self {
        self.put(SignatureEntry { signer, signature });
        self
    }

    fn put(&mut self, entry: SignatureEntry) {
        match self.signatures.binary_search_by_key(&entry.signer, |e| e.signer) {
            Ok(at) => self.signatures[at] = entry,
            Err(at) => self.signatures.insert(at, entry),
        }
    }
}

fn hash_of(proposal_bytes: &[u8]) -> Hash {
    digest::hash("roster-statement", &[proposal_bytes])
}
