//! Who asks, and may he: the requests of clients, the proof that a request is fresh and whose it is, the decision.
//!
//! What does not belong: sockets, files, clocks, sealing. Invariants: a decision is made only on a
//! `Verified<Roster>`; [`Allowed`] has one constructor, and it stands behind that decision; a nonce works once.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod decide;
pub mod nonces;
pub mod wire;

pub use decide::{Allowed, Denied, decide};
pub use nonces::Nonces;
