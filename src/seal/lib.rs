//! Sealing: key sets, epoch secrets, epoch records, wraps and shares, the segment format, fragments, user-key wraps.
//!
//! What does not belong: any code that unseals a fragment, unwraps E, joins shares or unwraps a user's private key.
//! That is `peri-open`, which no server binary links. The one exception is [`device::open_on_device`]: it opens what
//! a client sealed to the device key (camera passwords) under an `info` string of its own, so it can open neither a
//! wrap of E nor an answer with X. Sans-I/O: randomness and byte sources are parameters, time comes inside values.
//!
//! Invariants: one AES-GCM key never sees one nonce twice ([`sealer`]); every byte string that is hashed, signed or
//! bound as `info` starts with its own domain-separation prefix ([`digest`]); every decoder of outside bytes accepts
//! the canonical form only ([`canonical`]).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod canonical;
pub mod device;
pub mod digest;
pub mod keys;
pub mod post;
pub mod record;
pub mod rng;
pub mod scan;
pub mod sealer;
pub mod secret;
pub mod segment;
pub mod userkey;
pub mod words;
pub mod wrap;

pub use keys::{KeyPair, Signature, SigningKey, UserPublic};
pub use record::{EpochContext, EpochId, EpochRecord, SUITE};
pub use secret::{ContentKey, EpochSecret, XSecret};
pub use wrap::{Share, Wrap, WrapKind};
