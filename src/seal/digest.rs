//! SHA-256 with domain separation: `SHA-256("peri/v1/<what>\0" ‖ parts…)`.
//!
//! What does not belong: keyed constructions (secret, userkey). Invariant: the parts of one `what` have fixed lengths
//! or are canonical CBOR, so that no two different inputs run together to the same bytes.

use peri_domain::Hash;
use sha2::{Digest, Sha256};

/// First bytes of every hashed, signed or bound string.
pub const PREFIX: &str = "peri/v1/";

/// A hasher that has taken the prefix `peri/v1/<what>\0`.
#[must_use]
pub fn hasher(what: &'static str) -> Sha256 {
    Sha256::new().chain_update(PREFIX).chain_update(what).chain_update([0])
}

/// The digest of the parts under the prefix `peri/v1/<what>\0`.
#[must_use]
pub fn hash(what: &'static str, parts: &[&[u8]]) -> Hash {
    let mut state = hasher(what);
    parts.iter().for_each(|part| state.update(part));
    finish(state)
}

/// Ends a [`hasher`].
#[must_use]
pub fn finish(state: Sha256) -> Hash {
    Hash(state.finalize().into())
}

/// The byte string `peri/v1/<what>\0 ‖ parts…`, as HPKE or HKDF `info`.
#[must_use]
pub fn labelled(what: &'static str, parts: &[&[u8]]) -> Vec<u8> {
    let len = PREFIX.len() + what.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(what.as_bytes());
    out.push(0);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
