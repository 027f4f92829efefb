//! What portal and scribe say to each other: clients' questions one way, answers the other, and what the TLS listener needs.
//!
//! Invariant: a signature for the TLS listener is asked for with a transcript hash alone. Scribe builds the rest of what it
//! signs (RFC 8446 §4.4.3), so a portal that is not itself any more gets no signature that would count anywhere else.

use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use peri_access::wire::{Ask, Conflict, Problem};
use peri_domain::UtcNanos;
use std::net::{IpAddr, Ipv6Addr};

/// Where a client comes from: an IPv6 address, IPv4 mapped into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Source(#[n(0)] ByteArray<16>);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        let six = match address {
            IpAddr::V4(four) => four.to_ipv6_mapped(),
            IpAddr::V6(six) => six,
        };
        Self(six.octets().into())
    }
}

impl Source {
    /// As an address, IPv4 where it is one.
    #[must_use]
    pub fn address(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(*self.0)).to_canonical()
    }
}

/// Portal → scribe. Numbers are chosen by portal, unique on this link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PortalToScribe {
    /// A client's frame, decoded and within bounds.
    #[n(0)]
    Ask {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// The frame.
        #[n(1)]
        ask: Box<Ask>,
        /// Where the client comes from, as far as portal knows; `None` for the socket of this machine.
        #[n(2)]
        source: Option<Source>,
    },
    /// The certificates that the TLS listener shows.
    #[n(1)]
    Certificates {
        /// Number of the question.
        #[n(0)]
        id: u64,
    },
    /// A handshake of the TLS listener waits for its signature.
    #[n(2)]
    SignHandshake {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// Hash over the handshake so far: 32 or 48 bytes.
        #[n(1)]
        transcript: ByteVec,
    },
    /// Whoever followed the running epoch does so no longer.
    #[n(3)]
    Left {
        /// Number of the question.
        #[n(0)]
        id: u64,
    },
}

/// Scribe → portal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ScribeToPortal {
    /// The answer's CBOR.
    #[n(0)]
    Answer {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// For the client.
        #[n(1)]
        body: ByteVec,
    },
    /// Refused or failed.
    #[n(1)]
    Problem {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// For the client.
        #[n(1)]
        problem: Problem,
    },
    /// Stream sealed bytes from the descriptor that comes along (opened for reading only).
    #[n(2)]
    Stream {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// First byte.
        #[n(1)]
        offset: u64,
        /// End known to be durable now.
        #[n(2)]
        end: u64,
        /// Live: go on with all that is written, durable or not, until [`ScribeToPortal::Closed`] or this instant.
        #[n(3)]
        follow_until: Option<UtcNanos>,
    },
    /// The followed segment is closed or the right to follow it ended.
    #[n(3)]
    Closed {
        /// Number of the question.
        #[n(0)]
        id: u64,
    },
    /// A request that was never taken up: see `Reply::NotTaken`.
    #[n(4)]
    NotTaken {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// For the client.
        #[n(1)]
        problem: Problem,
    },
    /// A request with a good proof that was not executed.
    #[n(5)]
    Conflict {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// For the client.
        #[n(1)]
        conflict: Conflict,
    },
    /// The TLS listener's certificates, its own first (DER).
    #[n(6)]
    Certificates {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// Empty where no names are configured.
        #[n(1)]
        chain: Vec<ByteVec>,
    },
    /// Signature for a handshake: DER of ECDSA P-384 with SHA-384.
    #[n(7)]
    HandshakeSigned {
        /// Number of the question.
        #[n(0)]
        id: u64,
        /// The signature; empty where scribe refuses.
        #[n(1)]
        signature: ByteVec,
    },
}

impl ScribeToPortal {
    /// Number of the question that this answers.
    #[must_use]
    pub const fn id(&self) -> u64 {
        match self {
            Self::Answer { id, .. }
            | Self::Problem { id, .. }
            | Self::NotTaken { id, .. }
            | Self::Conflict { id, .. }
            | Self::Stream { id, .. }
            | Self::Certificates { id, .. }
            | Self::HandshakeSigned { id, .. }
            | Self::Closed { id } => *id,
        }
    }
}
