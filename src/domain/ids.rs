//! Identifiers and digests as fixed-size newtypes with one text form each.
//!
//! Ids are random, never guessable counters (OWASP ASVS 5.0 V8.2); digests are SHA-256 (32 bytes). Text form is lower
//! case hexadecimal. On the wire each is a CBOR byte string of exactly its length; any other length is refused.

use core::fmt;
use core::str::FromStr;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// A text that is not the hexadecimal form of the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected} hexadecimal digits, found {found:?}")]
pub struct ParseIdError {
    what: &'static str,
    expected: usize,
    found: String,
}

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From a slice of exactly [`Self::LEN`] bytes, else `None`.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                decode_hex::<$len>(text).map(Self).ok_or_else(|| ParseIdError {
                    what: $what,
                    expected: 2 * $len,
                    found: text.chars().take(80).collect(),
                })
            }
        }

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
                Self::from_slice(d.bytes()?).ok_or_else(|| {
                    minicbor::decode::Error::message(concat!($what, " has the wrong length")).at(at)
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_newtype!(
    /// One customer VM (on a host install: the one appliance). Random 128 bits, made at first start.
    VmId, 16, "VM id"
);
bytes_newtype!(
    /// One camera. Random 128 bits, made by the client that proposes the camera.
    CameraId, 16, "camera id"
);
bytes_newtype!(
    /// One account in the roster. Random 128 bits, made by the client that proposes the account.
    AccountId, 16, "account id"
);
bytes_newtype!(
    /// SHA-256 over the canonical CBOR of a public key set (`seal::UserPublic`, device key and so on).
    Fingerprint, 32, "fingerprint"
);
bytes_newtype!(
    /// A SHA-256 digest.
    Hash, 32, "hash"
);
bytes_newtype!(
    /// A subject of ledger entries without a name: random, resolved to a person only for an entitled auditor.
    Pseudonym, 16, "pseudonym"
);
bytes_newtype!(
    /// A random 128-bit value used once.
    Nonce, 16, "nonce"
);

/// Number of an epoch of one camera, counting from 1 and never reused; 0 is never a valid epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct EpochNo(#[n(0)] pub u64);

impl EpochNo {
    /// The epoch after this one.
    ///
    /// # Panics
    /// Never in practice: 2^64 epochs of a second each last 584 billion years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EpochNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_names_what_is_wrong() {
        let id = CameraId([0xab; 16]);
        assert_eq!(id.to_string().parse::<CameraId>(), Ok(id));
        let error = "zz".parse::<CameraId>().unwrap_err();
        assert_eq!(error.to_string(), "camera id must be 32 hexadecimal digits, found \"zz\"");
    }

    #[test]
    fn cbor_of_another_length_is_refused() {
        let wire = minicbor::to_vec(Nonce([1; 16])).unwrap();
        assert!(minicbor::decode::<Nonce>(&wire).is_ok());
        assert!(minicbor::decode::<Hash>(&wire).is_err());
    }
}
