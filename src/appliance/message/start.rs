//! What scribe is started with.

use minicbor::{Decode, Encode};

/// What scribe must know to start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ScribeStart {
    /// Socket directory of PostgreSQL.
    #[n(0)]
    pub database_dir: String,
    /// Seconds between re-keyings of the X file.
    #[n(1)]
    pub rekey_secs: u32,
    /// Retention from the configuration in seconds; the profile's ceiling may be lower or, by k seats, higher.
    #[n(2)]
    pub retention_secs: u32,
    /// Things the customer must know.
    #[n(3)]
    pub notices: Vec<super::Notice>,
    /// Refuse to run without Landlock.
    #[n(4)]
    pub need_landlock: bool,
    /// Longest epoch in seconds: with retention it says how many X there will be.
    #[n(5)]
    pub epoch_secs: u32,
    /// Names and addresses of the TLS listener; none: there is no such listener.
    #[n(6)]
    pub names: Vec<String>,
}
