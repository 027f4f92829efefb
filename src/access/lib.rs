//! Who asks, and may he: the requests of clients, the proof that a request is fresh and whose it is, the decision.
//!
//! The decision: [`decide`] puts the question, [`entities`] copies the facts from the roster, [`policy`] holds the
//! policies that answer.
//!
//! Getting in: [`invite`] enrols a key, [`setting`] stores its wraps, [`login`] hands them out ([`attempts`] slows
//! guessing down), [`onetime`] replaces the password of externals; the opened key certifies a [`session`] ([`nonces`] say
//! that it is shown just now), whose requests carry a [`proof`]; [`sessions`] and [`window`] are scribe's memory of them,
//! [`channel`] the client's.
//!
//! What does not belong: sockets, files, clocks, sealing. Invariants: a decision is made only on a
//! `Verified<Roster>`, by the policies; [`Allowed`] has one constructor, and it stands behind their yes; a nonce works once; what
//! keeps state about a session takes only proofs whose signature was checked.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attempts;
pub mod birth;
pub mod channel;
pub mod decide;
pub mod entities;
pub mod house;
pub mod invite;
pub mod login;
pub mod nonces;
pub mod onetime;
pub mod policy;
pub mod proof;
pub mod session;
pub mod sessions;
pub mod setting;
#[cfg(test)]
mod tests_window;
pub mod window;
pub mod wire;

pub use decide::{Allowed, Denied, decide};
pub use nonces::Nonces;
