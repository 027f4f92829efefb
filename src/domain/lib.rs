//! The vocabulary of Peri: ids, times, roles, rights, limits. Every other crate speaks it.
//!
//! What does not belong: I/O, clocks, cryptography beyond naming a digest, anything that can fail for a reason
//! outside the value itself. Invariant: no dependency on another crate of this workspace and no `unsafe`.
#![forbid(unsafe_code)]

pub mod ids;
pub mod limits;
pub mod policy;
pub mod purpose;
pub mod time;

pub use ids::{AccountId, CameraId, EpochNo, Fingerprint, Hash, Nonce, ParseIdError, Pseudonym, VmId};
pub use policy::{Action, Right, Rights, Role};
pub use time::{MediaDuration, UtcNanos};
