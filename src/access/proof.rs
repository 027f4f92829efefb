//! The proof that every request carries: who asks (session), what exactly (method, path, body), in which place of which
//! channel, and what the client has seen of earlier answers.
//!
//! What does not belong: what a proof does to a channel (window, sessions), whether the request is allowed (decide).
//! Invariants: [`Genuine`] has one constructor, [`Proof::check`], and nothing that keeps state takes anything else, so
//! garbage, cookies and foreign signatures change nothing; one proof has one encoding; method, path and body are what
//! the server received, never what the proof says.
//!
//! On the wire a proof is base64url without padding (RFC 4648 §5) of its canonical CBOR, below 1 KiB, in one header
//! field. Signed is `peri/v1/sign/proof\0 ‖ CBOR [vm, method, path, SHA-256(body), proof without signature]`.

use crate::session::{Session, SessionError, SessionId, SessionKey, SessionSignature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::limits::{PROOF_PATH_MAX, PROOF_REPORTS_MAX, PROOF_WINDOW};
use peri_domain::{Hash, Nonce, UtcNanos, VmId};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::digest::hash;
use peri_seal::rng::CryptoRng;

/// Context of a proof's signature.
pub const PROOF_CONTEXT: &str = "proof";
/// Longest header value: 16 reports of 30 bytes, a bitmap of 128 and 180 bytes of fixed fields in base64.
pub const PROOF_TEXT_MAX: usize = 1_152;

const BITMAP_BYTES_MAX: usize = (PROOF_WINDOW / 8) as usize;

/// A channel: one page or process, drawn at its start and kept in memory only, so that neither a duplicated tab nor a
/// restored one shares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ChannelId(#[n(0)] pub Nonce);

/// One life of scribe, drawn at its start. The windows live in its memory, so a proof for another life proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct BootEpoch(#[n(0)] pub Nonce);

/// The request that a proof is for, as client and server each know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'a> {
    method: &'a str,
    path: &'a str,
    body: Hash,
}

/// What the client saw instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Seen {
    /// The request failed; no answer came. Answers that do not come from scribe (a 502 of the portal) are failures too.
    #[n(0)]
    Failure,
    /// The refusal of a copy (409) with this nonce: the browser sent the request again by itself.
    #[n(1)]
    Nonce(#[n(0)] Nonce),
}

/// The outcome of one request, other than an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// The request's counter.
    #[n(0)]
    pub counter: u64,
    /// What was seen.
    #[n(1)]
    pub seen: Seen,
}

/// What the client has seen of its own requests so far.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// Every request up to this counter is done: its answer was seen, or this proof or an earlier one reports it.
    #[n(0)]
    pub settled: u64,
    /// Answers seen behind `settled`: bit `i` (byte `i / 8`, least significant first) is counter `settled + 1 + i`.
    /// The last byte is not zero and bit 0 is, else `settled` would be larger; at most 128 bytes.
    #[n(1)]
    pub answered: ByteVec,
    /// Outcomes other than answers, by rising counter, repeated until a proof that carries them is answered.
    #[n(2)]
    pub reports: Vec<Report>,
}

/// A proof as it travels; worth nothing until [`Proof::check`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    /// Whose.
    #[n(0)]
    pub session: SessionId,
    /// In which channel.
    #[n(1)]
    pub channel: ChannelId,
    /// From 1; each once.
    #[n(2)]
    pub counter: u64,
    /// See [`Progress`].
    #[n(3)]
    pub progress: Progress,
    /// The life of scribe that is meant.
    #[n(4)]
    pub boot: BootEpoch,
    /// Over all of it and the request.
    #[n(5)]
    pub signature: SessionSignature,
}

/// A proof whose form, session and signature are good. What takes one may keep state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genuine {
    proof: Proof,
    digest: Hash,
}

/// Why a proof does not count: 401, and nothing changes.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Longer than any proof, or not base64url.
    #[error("the proof is not base64url of at most {PROOF_TEXT_MAX} characters")]
    Text,
    /// Not the canonical bytes.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// A field is out of its range.
    #[error("the proof contradicts itself: {what}; reload the page")]
    Shape {
        /// Which rule.
        what: &'static str,
    },
    /// Method or path that no request of ours has.
    #[error(
        "a proof is for a method of capital letters and a path of at most {PROOF_PATH_MAX} visible ASCII characters"
    )]
    Request,
    /// Another session.
    #[error("the proof is for another session; log in again")]
    OtherSession,
    /// The session is over.
    #[error("the session is over; log in again")]
    Expired,
    /// Not this key, or not this request.
    #[error("the proof does not fit this request: {0}")]
    Signature(#[source] SessionError),
}

impl<'a> RequestLine<'a> {
    /// A request. The path is taken with its query, exactly as it stands in the request line.
    ///
    /// # Errors
    /// [`ProofError::Request`].
    pub fn new(method: &'a str, path: &'a str, body: &[u8]) -> Result<Self, ProofError> {
        let method_ok = (1..=16).contains(&method.len()) && method.bytes().all(|c| c.is_ascii_uppercase());
        // A fragment never travels; whoever sends one means another request than the server sees.
        let visible = |c: u8| (0x21..=0x7e).contains(&c) && c != b'#';
        let path_ok = path.len() <= PROOF_PATH_MAX && path.starts_with('/') && path.bytes().all(visible);
        if method_ok && path_ok {
            Ok(Self { method, path, body: hash("request-body", &[body]) })
        } else {
            Err(ProofError::Request)
        }
    }
}

impl Progress {
    /// Counters answered behind `settled`, rising.
    pub fn answered_counters(&self) -> impl Iterator<Item = u64> + '_ {
        let bit = |at: usize| self.answered[at / 8] >> (at % 8) & 1 == 1;
        // Saturating: whoever writes a counter near the end of the range acknowledges what can never have been sent.
        (0..self.answered.len() * 8).filter(move |at| bit(*at)).map(|at| self.settled.saturating_add(1 + at as u64))
    }

    /// From its parts; `answered` rising, all above `settled` and within the window.
    #[must_use]
    pub fn new(settled: u64, answered: impl IntoIterator<Item = u64>, reports: Vec<Report>) -> Self {
        let mut bitmap = Vec::new();
        for counter in answered {
            let at = usize::try_from(counter - settled - 1).unwrap_or(usize::MAX);
            if at / 8 >= bitmap.len() {
                bitmap.resize(at / 8 + 1, 0_u8);
            }
            bitmap[at / 8] |= 1 << (at % 8);
        }
        Self { settled, answered: bitmap.into(), reports }
    }
}

impl Proof {
    /// Signs a request; the client's side.
    #[expect(clippy::too_many_arguments, reason = "each is a field that is signed; a builder would make them optional")]
    pub fn sign(
        rng: &mut impl CryptoRng,
        key: &SessionKey,
        vm: VmId,
        boot: BootEpoch,
        channel: ChannelId,
        counter: u64,
        progress: Progress,
        request: &RequestLine<'_>,
    ) -> Self {
        let session = key.public().id();
        let unsigned = SessionSignature([0; 64]);
        let mut proof = Self { session, channel, counter, progress, boot, signature: unsigned };
        proof.signature = key.sign(rng, PROOF_CONTEXT, &proof.signed_bytes(vm, request));
        proof
    }

    /// What an answer to this request is bound to: session, channel and counter, so no other request has it.
    #[must_use]
    pub fn request_id(&self) -> Nonce {
        let parts = canonical::encode(&(self.session, self.channel, self.counter));
        let digest = hash("request-id", &[&parts]);
        Nonce::from_slice(&digest.0[..Nonce::LEN]).expect("half of a digest has the length of a nonce")
    }

    /// The header value.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(canonical::encode(self))
    }

    /// Reads a header value: form only, so that the session can be looked up.
    ///
    /// # Errors
    /// [`ProofError::Text`], [`ProofError::Encoding`], [`ProofError::Shape`].
    pub fn from_text(text: &str) -> Result<Self, ProofError> {
        if text.len() > PROOF_TEXT_MAX {
            return Err(ProofError::Text);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ProofError::Text)?;
        let proof: Self = canonical::decode("proof", &bytes)?;
        proof.check_shape()?;
        Ok(proof)
    }

    /// Checks everything that needs no memory of earlier requests.
    ///
    /// # Errors
    /// [`ProofError`]; nothing has changed then.
    pub fn check(self, session: &Session, request: &RequestLine<'_>, now: UtcNanos) -> Result<Genuine, ProofError> {
        self.check_shape()?;
        if self.session != session.id() {
            return Err(ProofError::OtherSession);
        }
        if now >= session.not_after() {
            return Err(ProofError::Expired);
        }
        let signed = self.signed_bytes(session.vm(), request);
        session.verify(PROOF_CONTEXT, &signed, &self.signature).map_err(ProofError::Signature)?;
        // With the signature: a browser's copy is the same to the last byte, a second signature is a second signer.
        let digest = hash("proof-copy", &[&signed, &self.signature.0]);
        Ok(Genuine { proof: self, digest })
    }

    fn check_shape(&self) -> Result<(), ProofError> {
        let shape = |what| Err(ProofError::Shape { what });
        let Progress { settled, answered, reports } = &self.progress;
        if self.counter <= *settled {
            return shape("it settles itself or a later request");
        }
        if self.counter - settled > PROOF_WINDOW {
            return shape("more than 1,024 requests are unsettled");
        }
        if answered.len() > BITMAP_BYTES_MAX
            || answered.last() == Some(&0)
            || answered.first().is_some_and(|b| b & 1 == 1)
        {
            return shape("its bitmap is not in the shortest form");
        }
        if self.progress.answered_counters().last().is_some_and(|last| last >= self.counter) {
            return shape("it acknowledges itself or a later request");
        }
        if reports.len() > PROOF_REPORTS_MAX {
            return shape("more than 16 reports");
        }
        if !reports.is_sorted_by(|a, b| a.counter < b.counter) {
            return shape("its reports are not in order");
        }
        if reports.iter().any(|report| report.counter == 0 || report.counter >= self.counter) {
            return shape("it reports on itself, a later request or none");
        }
        // Window and reports may overlap only in counters below `settled`; a bit is an answer, a report is none.
        let answered = |counter| self.progress.answered_counters().any(|at| at == counter);
        if reports.iter().any(|report| report.counter > *settled && answered(report.counter)) {
            return shape("it both acknowledges and reports a request");
        }
        Ok(())
    }

    fn signed_bytes(&self, vm: VmId, request: &RequestLine<'_>) -> Vec<u8> {
        let proof = (self.session, self.channel, self.counter, &self.progress, self.boot);
        canonical::encode(&(vm, request.method, request.path, request.body, proof))
    }
}

impl Genuine {
    /// The proof.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Equal for copies to the last byte, and for nothing else.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.digest
    }

    /// As if checked: the models of this crate's tests run thousands of channels without signatures.
    #[cfg(test)]
    pub(crate) fn assumed(proof: Proof) -> Self {
        let digest = hash("proof-copy", &[&canonical::encode(&proof)]);
        Self { proof, digest }
    }
}

#[cfg(test)]
#[path = "tests_proof.rs"]
mod tests;
