//! Who there is and what can be asked: roles, rights and actions, as data without a decision.
//!
//! The decision itself stands in `access` (until then in scribe's one function); here are only the words.

use core::fmt;
use minicbor::{Decode, Encode};

/// The one role of an account. An account never has two (enforced by the roster verifier).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Role {
    /// Accounts, network, health; never a picture.
    #[n(0)]
    Administrator,
    /// A seat of the k of n that together grant; never receives a grant.
    #[n(1)]
    Custodian,
    /// Sees what a grant says.
    #[n(2)]
    Viewer,
    /// Control room or police: a viewer from outside, permanent or until a date.
    #[n(3)]
    External,
    /// Sets cameras up; sees a camera's picture only until it is registered.
    #[n(4)]
    Technician,
    /// Ledger, evidence, configuration; never a picture.
    #[n(5)]
    Auditor,
}

impl Role {
    /// Every role, in wire order.
    pub const ALL: [Self; 6] =
        [Self::Administrator, Self::Custodian, Self::Viewer, Self::External, Self::Technician, Self::Auditor];

    /// Whether the roster may name an account of this role as the recipient of a grant.
    #[must_use]
    pub const fn may_receive_grant(self) -> bool {
        matches!(self, Self::Viewer | Self::External | Self::Technician)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Administrator => "administrator",
            Self::Custodian => "custodian",
            Self::Viewer => "viewer",
            Self::External => "external",
            Self::Technician => "technician",
            Self::Auditor => "auditor",
        })
    }
}

/// One right that a grant can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Right {
    /// The running epoch only.
    Live = 1,
    /// Past epochs inside the window.
    Playback = 2,
    /// Saving a span, with ledger entry and purpose.
    Export = 4,
}

/// A set of rights; bits of [`Right`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode)]
#[cbor(transparent)]
pub struct Rights(#[n(0)] u8);

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Live, playback and export.
    pub const ALL: Self = Self(7);

    /// This set with one right more.
    #[must_use]
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | right as u8)
    }

    /// Whether the right is in the set.
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        self.0 & right as u8 != 0
    }

    /// Whether no right is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// From wire bits; `None` when an unknown bit is set.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !7 == 0 { Some(Self(bits)) } else { None }
    }
}

impl<'b, C> Decode<'b, C> for Rights {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_bits(d.u8()?).ok_or_else(|| minicbor::decode::Error::message("unknown right").at(at))
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Right::Live, "live"), (Right::Playback, "playback"), (Right::Export, "export")];
        let mut first = true;
        for (_, name) in names.iter().filter(|(right, _)| self.has(*right)) {
            if !first {
                f.write_str(",")?;
            }
            first = false;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

/// What a client asks of the appliance; the action of each ledger entry and each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Action {
    /// X of the running epoch.
    #[n(0)]
    WatchLive,
    /// X of past epochs, to look.
    #[n(1)]
    PlayBack,
    /// X of past epochs, to save.
    #[n(2)]
    Export,
    /// Adding a roster statement.
    #[n(3)]
    ProposeRoster,
    /// Reading the roster.
    #[n(4)]
    ReadRoster,
    /// Reading ledger and health.
    #[n(5)]
    ReadLedger,
    /// Offering, looking up and withdrawing invitations.
    #[n(6)]
    Invite,
}

impl Action {
    /// The right a grant must give for this action; `None` where no grant is asked.
    #[must_use]
    pub const fn needs(self) -> Option<Right> {
        match self {
            Self::WatchLive => Some(Right::Live),
            Self::PlayBack => Some(Right::Playback),
            Self::Export => Some(Right::Export),
            Self::ProposeRoster | Self::ReadRoster | Self::ReadLedger | Self::Invite => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_right_bits_are_refused() {
        assert!(minicbor::decode::<Rights>(&[0x07]).is_ok());
        assert!(minicbor::decode::<Rights>(&[0x08]).is_err());
    }

    #[test]
    fn custodians_administrators_and_auditors_never_receive_grants() {
        let receivers: Vec<_> = Role::ALL.into_iter().filter(|r| r.may_receive_grant()).collect();
        assert_eq!(receivers, [Role::Viewer, Role::External, Role::Technician]);
    }
}
