//! The roster: who holds the seats, who may look at which camera and when, where the cameras are – all of it signed by
//! the people entitled to say so, rooted in the claim key that was measured at birth.
//!
//! Signed statements form a set that only grows; the roster is a pure function of the set. Revocations and removals are
//! tombstones. Everything else in the product reads [`Verified<Roster>`], which [`RosterSet::verify`] alone makes.
//!
//! | Module | What |
//! |---|---|
//! | [`body`], [`statement`] | what a statement says, its bytes and signatures; one line for people |
//! | [`signers`] | the table of who must sign what, as data |
//! | [`set`], [`evaluate`] | reading a history in any order; the rounds that derive a roster |
//! | [`admit`](set::RosterSet::admit) | keeper's door for new statements: clock and people in office |
//! | [`snapshot`] | reading a whole history; k seats vouch for its signatures, so that a start is fast |
//! | [`roster`], [`grants`], [`hours`], [`post`] | what was derived; who may look, at which hours, and together |
//! | [`provisioning`] | what an order carries and the anchor names |
//!
//! What does not belong: files, sockets, clocks, the wrapping of keys. Invariants: no statement takes effect without a
//! row of the table; who decides about looking (custodians) and who runs the place (administrators) never look.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admit;
mod apply;
pub mod body;
mod check;
mod describe;
pub mod error;
pub mod evaluate;
pub mod grants;
pub mod hours;
pub mod post;
pub mod provisioning;
pub mod roster;
pub mod set;
pub mod signers;
pub mod snapshot;
pub mod statement;
mod verified;

#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests_admit;
#[cfg(test)]
mod tests_grants;
#[cfg(test)]
mod tests_post;
#[cfg(test)]
mod tests_set;
#[cfg(test)]
mod tests_snapshot;
#[cfg(test)]
mod tests_table;

pub use body::{Body, CameraSetup, Trust};
pub use error::RosterError;
pub use evaluate::Status;
pub use grants::{Basis, GrantRef, Refusal, TooManyRecipients};
pub use post::PostState;
pub use provisioning::Provisioning;
pub use roster::{Account, Camera, GrantState, HeadMark, Owner, Roster, SeatHolder, Threshold};
pub use set::{Anchor, Inserted, RosterSet};
pub use signers::{Case, Signers, TABLE};
pub use snapshot::Reading;
pub use statement::{Proposal, Statement};
pub use verified::Verified;
