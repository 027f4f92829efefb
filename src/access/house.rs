//! What the page shows of the house to an account: cameras, accounts, seats, grants, and who the asker is.
//!
//! An answer that scribe takes from its verified roster, in pages, because a house may be larger than a message. Nothing in it
//! is a permission: what somebody may look at is decided again with each request. What does not belong: statements (the wire's
//! roster method gives them whole, to whoever wants to verify for himself), pictures, words for people. Invariant: whoever is
//! neither administrator, custodian nor auditor is told of the cameras that grants name for him, and of nobody else's grants.

use crate::decide::Standing;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::{AccountId, CameraId, Fingerprint, Nonce, Rights, Role, UtcNanos, VmId};
use peri_roster::body::SeatKind;
use peri_seal::keys::UserPublic;

/// Body of [`crate::wire::Method::House`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HouseBody {
    /// Items to skip.
    #[n(0)]
    pub after: u64,
}

/// Answer to [`crate::wire::Method::House`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HousePage {
    /// The appliance's clock.
    #[n(0)]
    pub now: UtcNanos,
    /// The appliance.
    #[n(1)]
    pub vm: VmId,
    /// Verifies epoch records; camera passwords are sealed to it.
    #[n(2)]
    pub device: UserPublic,
    /// Fingerprint of the asker's key.
    #[n(3)]
    pub key: Fingerprint,
    /// What the asker's key stands for.
    #[n(4)]
    pub me: Standing,
    /// The asker's name in the roster; empty for the claim key.
    #[n(5)]
    pub name: String,
    /// Seats that must sign together; 0 before the genesis.
    #[n(6)]
    pub k: u8,
    /// Seats.
    #[n(7)]
    pub n: u8,
    /// Retention in force, seconds.
    #[n(8)]
    pub retention_secs: u64,
    /// Longest retention that the profile allows, seconds.
    #[n(9)]
    pub ceiling_secs: u64,
    /// Version of the set of seats, which proposals name.
    #[n(10)]
    pub seat_set: u32,
    /// As in the birth certificate.
    #[n(11)]
    pub notices: Vec<String>,
    /// In one order as long as the roster does not change: cameras, accounts, seats, grants, memberships.
    #[n(12)]
    pub items: Vec<HouseItem>,
    /// What to ask with next; `None` at the end.
    #[n(13)]
    pub next: Option<u64>,
}

/// A thing or person of the house.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum HouseItem {
    /// A camera.
    #[n(0)]
    Camera(#[n(0)] HouseCamera),
    /// An account.
    #[n(1)]
    Account(#[n(0)] HouseAccount),
    /// A custodian's seat.
    #[n(2)]
    Seat(#[n(0)] HouseSeat),
    /// A grant.
    #[n(3)]
    Grant(#[n(0)] HouseGrant),
    /// The asker's share in a post.
    #[n(4)]
    Membership(#[n(0)] HouseMembership),
}

/// A camera without its picture.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HouseCamera {
    /// The camera.
    #[n(0)]
    pub id: CameraId,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Whether set-up is over.
    #[n(2)]
    pub registered: bool,
    /// Whether it was removed.
    #[n(3)]
    pub removed: bool,
    /// Whether its pictures come in the clear, by an exception of the custodians.
    #[n(4)]
    pub plain: bool,
    /// What the asker may do with it now.
    #[n(5)]
    pub rights: Rights,
    /// Recorded and durable up to here; `None` before the first picture, and for whoever may neither look now nor read the
    /// state of the appliance.
    #[n(6)]
    pub recorded_until: Option<UtcNanos>,
    /// Why it is not recording; empty while it is. Told as `recorded_until`.
    #[n(7)]
    pub lost: String,
}

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AccountState {
    /// In office.
    #[n(0)]
    InOffice,
    /// Removed.
    #[n(1)]
    Removed,
    /// Its key was revoked.
    #[n(2)]
    Revoked,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HouseAccount {
    /// The account.
    #[n(0)]
    pub id: AccountId,
    /// Its one role.
    #[n(1)]
    pub role: Role,
    /// Its name.
    #[n(2)]
    pub name: String,
    /// Fingerprint of its present key.
    #[n(3)]
    pub key: Fingerprint,
    /// How it stands.
    #[n(4)]
    pub state: AccountState,
}

/// A custodian's seat.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HouseSeat {
    /// From 0.
    #[n(0)]
    pub index: u8,
    /// A person, or a sheet in a safe.
    #[n(1)]
    pub kind: SeatKind,
    /// Its name.
    #[n(2)]
    pub name: String,
    /// Fingerprint of its key.
    #[n(3)]
    pub key: Fingerprint,
    /// Whether its key was revoked.
    #[n(4)]
    pub revoked: bool,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HouseGrant {
    /// By what it is revoked and renewed.
    #[n(0)]
    pub nonce: Nonce,
    /// Who (for a post: its id).
    #[n(1)]
    pub account: AccountId,
    /// What.
    #[n(2)]
    pub rights: Rights,
    /// Which cameras; `None` means all.
    #[n(3)]
    pub cameras: Option<Vec<CameraId>>,
    /// First instant.
    #[n(4)]
    pub from: UtcNanos,
    /// First instant no longer in it.
    #[n(5)]
    pub until: UtcNanos,
    /// Hours of the week in words; empty for all.
    #[n(6)]
    pub weekly: String,
    /// Whether it was revoked.
    #[n(7)]
    pub revoked: bool,
}

/// A version of a post whose key is sealed to the asker's: what is wrapped to the post opens with it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HouseMembership {
    /// The post.
    #[n(0)]
    pub post: AccountId,
    /// Its version.
    #[n(1)]
    pub serial: u32,
    /// Fingerprint of the version's key.
    #[n(2)]
    pub key: Fingerprint,
    /// The key, sealed to the asker's.
    #[n(3)]
    pub sealed: ByteVec,
}

/// Body of [`crate::wire::Method::Propose`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProposeBody {
    /// Statement bytes with a signature of the asker.
    #[n(0)]
    pub statement: ByteVec,
}

/// Answer to [`crate::wire::Method::Proposals`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProposalsPage {
    /// Statements that wait for signatures, oldest first.
    #[n(0)]
    pub statements: Vec<ByteVec>,
}
