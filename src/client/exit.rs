//! Every way in which a command can fail, and the stable exit code of each.
//!
//! Scripts rely on the codes; a new kind of failure takes a new number, an old number never changes its meaning.

use crate::conn::ConnError;
use crate::footage::FootageError;
use crate::password::PasswordError;
use crate::profile::ProfileError;
use crate::times::TimeError;
use crate::vault::VaultError;

/// Help text about the exit codes, shown below `peri --help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  this machine failed (disk, permissions)
  2  usage: an argument is wrong or missing
  3  refused by the appliance or by the roster's rules
  4  the appliance cannot be reached or broke off
  5  verification failed: identity, signature, commitment, chain or picture data are not what they must be
  6  a key is missing, locked, or the password is wrong
  7  signatures are missing; the proposal was not submitted
  8  nothing there: no picture in the span, no epoch running";

/// What went wrong, grouped by what a person or script does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument is wrong, or a combination of arguments; the text says what to write instead.
    #[error("{0}")]
    Usage(String),
    /// A file of the user's could not be read or written.
    #[error("{what} {path:?}: {source}")]
    File {
        /// `cannot read`, `cannot write`.
        what: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Standard output went away or is full.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    /// Signatures are missing.
    #[error("{0}")]
    Signatures(String),
    /// There is no picture where one was asked for.
    #[error("{0}")]
    Nothing(String),
    /// Something is not what a signature, commitment or chain says it must be.
    #[error("{0}")]
    Verification(String),
    /// The roster's rules refuse the statement before it is even sent.
    #[error("the roster refuses this: {0}")]
    Roster(#[from] peri_roster::RosterError),
    /// Connection, protocol, refusal.
    #[error(transparent)]
    Conn(#[from] ConnError),
    /// Keys on disk.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The pinned identity.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Typing or reading a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A time on the command line.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Fetching, opening or joining recorded pictures.
    #[error(transparent)]
    Footage(#[from] FootageError),
}

impl Error {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Output(_) => 1,
            Self::Usage(_) | Self::Time(_) => 2,
            Self::Roster(_) => 3,
            Self::Verification(_) => 5,
            Self::Signatures(_) => 7,
            Self::Nothing(_) => 8,
            Self::Conn(error) => error.exit_code(),
            Self::Vault(error) => error.exit_code(),
            Self::Profile(error) => error.exit_code(),
            Self::Password(error) => error.exit_code(),
            Self::Footage(error) => error.exit_code(),
        }
    }

    /// Short stable name for `--json`.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Conn(ConnError::Refused(problem)) => problem.code.clone(),
            _ => match self.exit_code() {
                1 => "local-failure",
                2 => "usage",
                3 => "refused",
                4 => "unreachable",
                5 => "verification-failed",
                6 => "key-locked",
                7 => "signatures-missing",
                _ => "nothing-there",
            }
            .to_owned(),
        }
    }
}
