//! What the customer must know before trusting an appliance: each stands in the birth certificate, on the page, and in
//! the ledger at every start.
//!
//! What does not belong: what comes and goes while the appliance runs (alarms).

use minicbor::{Decode, Encode};
use peri_ledger::EntryType;

/// One such thing. Its name is that of its ledger entry, so that no second name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Notice {
    /// No witness is configured.
    #[n(0)]
    Unwitnessed,
    /// Root store and data lie on one file system.
    #[n(1)]
    RootStoreSameDisk,
    /// The configuration lets the appliance start without Landlock.
    #[n(2)]
    NoLandlock,
}

impl Notice {
    /// The type of the entry.
    #[must_use]
    pub const fn entry(self) -> EntryType {
        match self {
            Self::Unwitnessed => EntryType::Unwitnessed,
            Self::RootStoreSameDisk => EntryType::RootStoreSameDisk,
            Self::NoLandlock => EntryType::NoLandlock,
        }
    }

    /// The text of the entry.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unwitnessed => "no witness is configured",
            Self::RootStoreSameDisk => "root store and data lie on one file system, as the configuration accepts",
            Self::NoLandlock => {
                "the configuration accepts a kernel without Landlock; `role_started` says what is enforced"
            }
        }
    }

    /// The name on the page and in the certificate.
    #[must_use]
    pub fn name(self) -> String {
        self.entry().name().to_owned()
    }
}
