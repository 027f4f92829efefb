//! Canonical CBOR: one value has one encoding, so hashes and signatures over it mean one thing.
//!
//! What does not belong: the shapes themselves. Invariant: [`decode`] accepts exactly the bytes that [`encode`]
//! writes; longer integer forms, indefinite lengths and trailing bytes are refused (RFC 8949 §4.2.1).

use minicbor::{Decode, Encode};

/// Bytes that are not the canonical form of the value they should be.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Not CBOR of this shape.
    #[error("{what} does not decode: {source}")]
    Shape {
        /// What was expected.
        what: &'static str,
        /// Position and reason.
        source: minicbor::decode::Error,
    },
    /// Decodes, but another encoder wrote it, or something follows.
    #[error("{what} is not in canonical form or has trailing bytes; encode it again with the canonical encoder")]
    NotCanonical {
        /// What was expected.
        what: &'static str,
    },
}

/// The canonical bytes of a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes every byte and no encoder here fails by itself")
}

/// Decodes and compares with the re-encoding.
///
/// # Errors
/// [`CanonicalError`] when the bytes are not exactly what [`encode`] writes for some value.
pub fn decode<'b, T: Encode<()> + Decode<'b, ()>>(what: &'static str, bytes: &'b [u8]) -> Result<T, CanonicalError> {
    let value: T = minicbor::decode(bytes).map_err(|source| CanonicalError::Shape { what, source })?;
    if encode(&value) == bytes { Ok(value) } else { Err(CanonicalError::NotCanonical { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peri_domain::EpochNo;

    #[test]
    fn long_forms_and_trailing_bytes_are_refused() {
        assert_eq!(decode::<EpochNo>("epoch", &[0x05]).unwrap(), EpochNo(5));
        assert!(matches!(decode::<EpochNo>("epoch", &[0x18, 0x05]), Err(CanonicalError::NotCanonical { .. })));
        assert!(matches!(decode::<EpochNo>("epoch", &[0x05, 0x00]), Err(CanonicalError::NotCanonical { .. })));
        assert!(matches!(decode::<EpochNo>("epoch", &[]), Err(CanonicalError::Shape { .. })));
    }
}
