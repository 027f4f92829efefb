//! The system calls of each role: filters compiled from `policies/seccomp/<role>.json` when this crate is built.
//!
//! What does not belong: the rules (data in the policies), Landlock, privileges. Two filters are stacked (the strictest
//! answer wins): the first answers `clone3` with ENOSYS, so that libc falls back to `clone`, whose flags a filter can
//! see; the second allows what the table says and kills the process on everything else, on another architecture and on
//! x32 numbers.
//!
//! Invariants: a filter is inherited by every child and never loosened, so the supervisor's is the *envelope* of all
//! roles, joined when built; each role narrows it before it reads its first message.

use core::fmt;
use core::str::FromStr;

include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

/// A process of the appliance, as far as its walls are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Starts and reaps all others; its filter is the envelope.
    Supervisor,
    /// One per camera; the only one with a network.
    Recorder,
    /// Roster and E.
    Keeper,
    /// Database, X, ledger.
    Scribe,
    /// Clients.
    Portal,
    /// The PostgreSQL server and its children; applied by the supervisor's child before it becomes postgres.
    Postgres,
    /// One-shot: brings the database schema up as its superuser.
    Migrate,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] =
        [Self::Supervisor, Self::Recorder, Self::Keeper, Self::Scribe, Self::Portal, Self::Postgres, Self::Migrate];

    /// Name of the role and of its policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Recorder => "recorder",
            Self::Keeper => "keeper",
            Self::Scribe => "scribe",
            Self::Portal => "portal",
            Self::Postgres => "postgres",
            Self::Migrate => "migrate",
        }
    }

    fn filter(self) -> &'static [seccompiler::sock_filter] {
        match self {
            Self::Supervisor => &SUPERVISOR_BPF,
            Self::Recorder => &RECORDER_BPF,
            Self::Keeper => &KEEPER_BPF,
            Self::Scribe => &SCRIBE_BPF,
            Self::Portal => &PORTAL_BPF,
            Self::Postgres => &POSTGRES_BPF,
            Self::Migrate => &MIGRATE_BPF,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No role has that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role; roles are supervisor, recorder, keeper, scribe, portal, postgres, migrate")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

/// Comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater or equal.
    Ge,
    /// Greater.
    Gt,
    /// Less or equal.
    Le,
    /// Less.
    Lt,
    /// Equal after masking.
    MaskedEq(u64),
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// Number of the argument, from 0.
    pub index: u8,
    /// All 64 bits count, not only the lower 32.
    pub wide: bool,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: u64,
}

/// One allowed system call of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Name.
    pub syscall: &'static str,
    /// Number on x86-64.
    pub number: i64,
    /// Conditions that must all hold; several rules for one call are alternatives.
    pub args: &'static [Arg],
    /// Why the role needs it.
    pub comment: &'static str,
    /// Policy file that holds the rule.
    pub source: &'static str,
}

/// The rules of a role, with all that its policy includes.
#[must_use]
pub fn table(role: Role) -> &'static [Rule] {
    match role {
        Role::Supervisor => &SUPERVISOR_RULES,
        Role::Recorder => &RECORDER_RULES,
        Role::Keeper => &KEEPER_RULES,
        Role::Scribe => &SCRIBE_RULES,
        Role::Portal => &PORTAL_RULES,
        Role::Postgres => &POSTGRES_RULES,
        Role::Migrate => &MIGRATE_RULES,
    }
}

/// The calls that the first filter answers with ENOSYS.
#[must_use]
pub fn fallback_table() -> &'static [Rule] {
    &FALLBACK_RULES
}

/// A filter was not installed: the process must end.
#[derive(Debug, thiserror::Error)]
#[error("seccomp filter of {role}: {reason}; a kernel with CONFIG_SECCOMP_FILTER is needed")]
pub struct SeccompError {
    role: Role,
    reason: String,
}

/// Puts the calling thread, and every thread and child it makes from now on, under the filter of the role. Sets
/// no_new_privs. Cannot be undone.
///
/// # Errors
/// When the kernel refuses; whoever sees that must not go on.
pub fn apply(role: Role) -> Result<(), SeccompError> {
    let error = |e: seccompiler::Error| SeccompError { role, reason: e.to_string() };
    seccompiler::apply_filter(&FALLBACK_BPF).map_err(error)?;
    seccompiler::apply_filter(role.filter()).map_err(error)
}

/// As [`apply`], for all threads of the process at once.
///
/// # Errors
/// As [`apply`]; also when a thread has a filter of its own.
pub fn apply_all_threads(role: Role) -> Result<(), SeccompError> {
    let error = |e: seccompiler::Error| SeccompError { role, reason: e.to_string() };
    seccompiler::apply_filter_all_threads(&FALLBACK_BPF).map_err(error)?;
    seccompiler::apply_filter_all_threads(role.filter()).map_err(error)
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
