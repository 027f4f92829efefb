//! Putting all walls of a role on, in the order in which each still can be: the first lines of a role's main.
//!
//! What does not belong: which walls (data of the caller and of the policies). Invariant: nothing that came from outside
//! was read before this returned.

use crate::landlock::{self, Enforced, LandlockError, Rules};
use crate::privileges::{self, Capability, PrivilegeError};
use crate::seccomp::{self, Role, SeccompError};

/// A wall did not stand: the process must end.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// See [`LandlockError`].
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// See [`PrivilegeError`].
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// See [`SeccompError`].
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

/// Gives up all capabilities but `keep`, dumps and new privileges, then puts on Landlock and seccomp. The uid was
/// changed by [`crate::spawn`] already. Call with one thread; libraries that open files or make threads when first used
/// (cryptographic self-tests, random device) are to be used once before.
///
/// # Errors
/// See [`ConfineError`].
pub fn confine(
    role: Role,
    rules: &Rules,
    keep: &[Capability],
    allow_no_landlock: bool,
) -> Result<Enforced, ConfineError> {
    // One heap arena for all threads: a second one makes libc read /proc/sys/vm/overcommit_memory when it first shrinks,
    // which is an open that a role without files does not survive. SAFETY: only sets a number inside libc.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    let prepared = landlock::prepare(rules, allow_no_landlock)?;
    privileges::private_files();
    privileges::keep_only(keep)?;
    privileges::no_new_privileges()?;
    privileges::undumpable()?;
    let enforced = prepared.enforce()?;
    seccomp::apply(role)?;
    Ok(enforced)
}

#[cfg(test)]
#[path = "confine_tests.rs"]
mod tests;
