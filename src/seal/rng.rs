//! Randomness as a parameter: the trait that callers pass, and the one source that ships.
//!
//! What does not belong: seeded generators (tests and vectors bring their own).

pub use hpke::rand_core::CryptoRng;
use hpke::rand_core::UnwrapErr;

/// `getrandom(2)` on every call; no state in the process that a fork or snapshot could repeat.
pub type SystemRng = UnwrapErr<getrandom::SysRng>;

/// The system's generator.
///
/// A draw panics when the kernel refuses it (no entropy device, seccomp): a process that cannot draw keys must not go
/// on, and no caller could do anything better.
#[must_use]
pub fn system() -> SystemRng {
    UnwrapErr(getrandom::SysRng)
}
