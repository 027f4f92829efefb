//! What a statement can say: one struct per kind, as CBOR arrays, with their limits.
//!
//! What does not belong: the checks (`check`), who may say it (`signers`), what it does to the roster (`apply`).
//! Invariants: the effect of a statement depends on its body alone, signatures only decide whether it takes effect;
//! texts are short and free of control and direction characters, because people read them before they sign; there is
//! no field that would switch audio on for a camera.

pub use crate::hours::{Minutes, WeeklyHours};
pub use crate::post::{Post, PostMember};
pub use crate::snapshot::Snapshot;
use minicbor::{Decode, Encode};
use peri_domain::limits::CAMERAS_MAX;
use peri_domain::{AccountId, CameraId, Fingerprint, Hash, Nonce, Rights, Role, UtcNanos};
use peri_seal::keys::UserPublic;

/// Longest name or reason, in bytes: it is shown on one line of a signing page.
pub const TEXT_MAX: usize = 200;
/// Longest URL, in bytes (RFC 9110 §4.1 recommends 8,000 for servers; cameras use less than 200).
pub const URL_MAX: usize = 1024;
/// Longest certificate or sealed password, in bytes (an enc of 1,665 bytes, a password and a tag; a P-384 chain of two).
pub const BLOB_MAX: usize = 4096;
/// Most keys, grants or list entries in one statement: 512 × 32 bytes stay below the statement limit.
pub const LIST_MAX: usize = CAMERAS_MAX;
/// Longest retention a profile may allow: ten years, the longest storage duty of commercial law.
pub const RETENTION_SECS_MAX: u64 = 10 * 366 * 86_400;

/// Everything a statement can say.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// The first statement of a VM.
    #[n(0)]
    Genesis(#[n(0)] Box<Genesis>),
    /// Fills a seat at the founding.
    #[n(1)]
    Seat(#[n(0)] Box<Seat>),
    /// Gives a seat to somebody else and opens the next seat set.
    #[n(2)]
    SeatHandover(#[n(0)] Box<SeatHandover>),
    /// The protection profile.
    #[n(3)]
    Profile(#[n(0)] Box<Profile>),
    /// A new account.
    #[n(4)]
    Account(#[n(0)] Box<NewAccount>),
    /// The end of an account, for ever.
    #[n(5)]
    AccountRemoval(#[n(0)] AccountRemoval),
    /// Another key for an account.
    #[n(6)]
    KeyChange(#[n(0)] Box<KeyChange>),
    /// Who may look, at what, when.
    #[n(7)]
    Grant(#[n(0)] Box<Grant>),
    /// A later end for a batch of grants.
    #[n(8)]
    GrantRenewal(#[n(0)] GrantRenewal),
    /// Tombstones.
    #[n(9)]
    Revocation(#[n(0)] Revocation),
    /// A new camera.
    #[n(10)]
    CameraAdd(#[n(0)] Box<CameraAdd>),
    /// A camera's set-up is over.
    #[n(11)]
    CameraRegister(#[n(0)] CameraRegister),
    /// The end of a camera and its device, for ever.
    #[n(12)]
    CameraRemove(#[n(0)] CameraRemove),
    /// Another address, pin or device for a camera; the only way back for a removed device.
    #[n(13)]
    CameraReSetup(#[n(0)] Box<CameraReSetup>),
    /// Where the appliance may call out to.
    #[n(14)]
    Endpoint(#[n(0)] Box<Endpoint>),
    /// How long pictures are kept.
    #[n(15)]
    Retention(#[n(0)] Retention),
    /// The past for somebody newly entitled.
    #[n(16)]
    Release(#[n(0)] Box<Release>),
    /// Pictures that must not be erased.
    #[n(17)]
    Hold(#[n(0)] Span),
    /// A deviation from the rules that the custodians take on themselves.
    #[n(18)]
    Exception(#[n(0)] Box<Exception>),
    /// Pictures that go before their time.
    #[n(19)]
    EarlyErasure(#[n(0)] Span),
    /// One key for the people of a control room.
    #[n(20)]
    Post(#[n(0)] Box<Post>),
    /// k seats vouch for the statements so far.
    #[n(21)]
    Snapshot(#[n(0)] Snapshot),
}

/// Who made the claim; shown for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ClaimedBy {
    /// The customer.
    #[n(0)]
    Customer,
    /// The reseller in the customer's place.
    #[n(1)]
    Reseller,
}

/// Roots the roster in what was measured at birth.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// Digest of the provisioning data.
    #[n(0)]
    pub provisioning: Hash,
    /// The claim key, made before ordering.
    #[n(1)]
    pub claim_key: UserPublic,
    /// The VM's own key.
    #[n(2)]
    pub device: UserPublic,
    /// Root hash of the image; none on a host install.
    #[n(3)]
    pub image: Option<Hash>,
    /// Seats that must sign together.
    #[n(4)]
    pub k: u8,
    /// Seats.
    #[n(5)]
    pub n: u8,
    /// Who claimed.
    #[n(6)]
    pub claimed_by: ClaimedBy,
}

/// Who or what holds a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SeatKind {
    /// A person with a client.
    #[n(0)]
    Person,
    /// A printed sheet in a safe.
    #[n(1)]
    Paper,
}

/// Fills seat `index` (0 to n − 1).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Seat {
    /// Number of the seat; the share of an epoch for it is the polynomial at `index + 1`.
    #[n(0)]
    pub index: u8,
    /// What the seat is called ("works council").
    #[n(1)]
    pub name: String,
    /// Its key.
    #[n(2)]
    pub key: UserPublic,
    /// Person or paper.
    #[n(3)]
    pub kind: SeatKind,
}

/// Replaces the holder of seat `seat.index`, whose key is `from`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SeatHandover {
    /// Present key of the seat.
    #[n(0)]
    pub from: Fingerprint,
    /// The seat afterwards.
    #[n(1)]
    pub seat: Seat,
}

/// A region that must be masked, as a polygon in per mille of width and height.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mask {
    /// Camera.
    #[n(0)]
    pub camera: CameraId,
    /// Corners.
    #[n(1)]
    pub corners: Vec<Corner>,
}

/// A corner of a [`Mask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Corner {
    /// From the left, per mille of the width.
    #[n(0)]
    pub x: u16,
    /// From the top, per mille of the height.
    #[n(1)]
    pub y: u16,
}

/// The rules of this installation, for the auditor as for the machine.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Profile {
    /// Follows the serial in force; the first is 1.
    #[n(0)]
    pub serial: u32,
    /// As in the genesis: the threshold is fixed at the claim, the profile repeats it for its readers.
    #[n(1)]
    pub k: u8,
    /// As in the genesis.
    #[n(2)]
    pub n: u8,
    /// Longest retention an administrator may set, in seconds.
    #[n(3)]
    pub retention_ceiling_secs: u64,
    /// Always false (§ 201 StGB); the field exists so that the statement says it.
    #[n(4)]
    pub audio: bool,
    /// Masked regions.
    #[n(5)]
    pub masks: Vec<Mask>,
    /// Deviations in words.
    #[n(6)]
    pub exceptions: Vec<String>,
    /// Who is told what, in words.
    #[n(7)]
    pub told: Vec<String>,
}

/// A new account with its one role.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewAccount {
    /// The account.
    #[n(0)]
    pub id: AccountId,
    /// Its role, for ever.
    #[n(1)]
    pub role: Role,
    /// Pseudonym; the real name is personal data and lives outside the roster.
    #[n(2)]
    pub name: String,
    /// Its first key.
    #[n(3)]
    pub key: UserPublic,
}

/// Ends an account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AccountRemoval {
    /// The account.
    #[n(0)]
    pub account: AccountId,
}

/// Who makes a key change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ChangedBy {
    /// The holder, with the old key: the grants go with him.
    #[n(0)]
    Holder,
    /// Somebody else after a loss: the new key starts without grants.
    #[n(1)]
    Reset,
}

/// Another key for an account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyChange {
    /// The account.
    #[n(0)]
    pub account: AccountId,
    /// Its present key.
    #[n(1)]
    pub old: Fingerprint,
    /// Its next key.
    #[n(2)]
    pub new: UserPublic,
    /// Holder or reset.
    #[n(3)]
    pub by: ChangedBy,
}

/// Cameras of a grant, release, hold or erasure.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Cameras {
    /// Every camera, later ones too.
    #[n(0)]
    All,
    /// These, strictly ascending.
    #[n(1)]
    List(#[n(0)] Vec<CameraId>),
}

impl Cameras {
    /// Whether the camera is among them.
    #[must_use]
    pub fn contains(&self, camera: CameraId) -> bool {
        match self {
            Self::All => true,
            Self::List(list) => list.binary_search(&camera).is_ok(),
        }
    }
}

/// Who may look, at what, when. Its id is the nonce of its proposal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The recipient's key.
    #[n(0)]
    pub recipient: Fingerprint,
    /// The recipient's account.
    #[n(1)]
    pub account: AccountId,
    /// Live, playback, export.
    #[n(2)]
    pub rights: Rights,
    /// Cameras.
    #[n(3)]
    pub cameras: Cameras,
    /// First moment (inclusive).
    #[n(4)]
    pub from: UtcNanos,
    /// Last moment (exclusive). Every grant ends.
    #[n(5)]
    pub until: UtcNanos,
    /// Narrower hours.
    #[n(6)]
    pub weekly: Option<WeeklyHours>,
}

/// A later end for a batch of grants; it never shortens one and never brings a revoked one back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GrantRenewal {
    /// Grants, strictly ascending.
    #[n(0)]
    pub grants: Vec<Nonce>,
    /// New end (exclusive).
    #[n(1)]
    pub until: UtcNanos,
}

/// Tombstones over keys and grants. They win in any order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Revocation {
    /// Keys, strictly ascending.
    #[n(0)]
    pub keys: Vec<Fingerprint>,
    /// Grants, strictly ascending.
    #[n(1)]
    pub grants: Vec<Nonce>,
    /// Why.
    #[n(2)]
    pub reason: String,
}

/// Why the address of a camera is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Trust {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo.
    #[n(0)]
    Pin(#[n(0)] Hash),
    /// DER certificate of the authority that signs the camera's.
    #[n(1)]
    Ca(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Plain RTSP: only k seats may say so, and the tile shows it.
    #[n(2)]
    Plain,
}

/// How to reach a camera.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraSetup {
    /// What people call it.
    #[n(0)]
    pub name: String,
    /// Identity of the device: SHA-256 of what cannot be changed about it (see [`device_identity`]).
    #[n(1)]
    pub device: Hash,
    /// `rtsps://host[:port]/path`, or `rtsp://address…` under [`Trust::Plain`]; never with user or password.
    #[n(2)]
    pub url: String,
    /// Pin, authority or plain.
    #[n(3)]
    pub trust: Trust,
    /// User name at the camera.
    #[n(4)]
    pub user: String,
    /// Password, sealed to the device key in the client; opaque here. Empty: none.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub sealed_password: Vec<u8>,
}

/// A new camera.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraAdd {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// How to reach it.
    #[n(1)]
    pub setup: CameraSetup,
    /// The technician who may look until it is registered.
    #[n(2)]
    pub set_up_by: Option<AccountId>,
    /// The camera with which it shares device, address or pin (a second input of one encoder); only k seats may say so.
    #[n(3)]
    pub beside: Option<CameraId>,
}

/// Ends a camera's set-up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraRegister {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
}

/// Ends a camera; its device, address and pin stay known.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraRemove {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
}

/// Another set-up for an existing camera (serial 1 and above), or a removed device under a new id (serial 0).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraReSetup {
    /// An existing camera, or with serial 0 a new id (then unregistered).
    #[n(0)]
    pub camera: CameraId,
    /// Follows the serial in force; a camera as added has 0.
    #[n(1)]
    pub serial: u32,
    /// How to reach it.
    #[n(2)]
    pub setup: CameraSetup,
    /// The camera with which it shares, or from which it takes over, device, address or pin.
    #[n(3)]
    pub beside: Option<CameraId>,
}

/// What an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum EndpointKind {
    /// Alarms and events.
    #[n(0)]
    Webhook,
    /// Mail relay.
    #[n(1)]
    Mail,
    /// Time-stamping authority (RFC 3161).
    #[n(2)]
    Tsa,
    /// Updates.
    #[n(3)]
    Updates,
    /// The premises end.
    #[n(4)]
    Site,
    /// A ledger witness.
    #[n(5)]
    Witness,
}

/// Where the appliance may call out to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Endpoint {
    /// Names the endpoint over its versions.
    #[n(0)]
    pub id: Nonce,
    /// Follows the serial in force; the first is 1.
    #[n(1)]
    pub serial: u32,
    /// What for.
    #[n(2)]
    pub kind: EndpointKind,
    /// Where; empty ends the endpoint.
    #[n(3)]
    pub url: String,
    /// Verification key or pin in the endpoint's own form; may be empty.
    #[n(4)]
    pub key: String,
}

/// How long pictures are kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Retention {
    /// Follows the serial in force; the first is 1.
    #[n(0)]
    pub serial: u32,
    /// Seconds.
    #[n(1)]
    pub secs: u64,
}

/// Cameras and a span of time, with a reason. Its id is the nonce of its proposal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Span {
    /// Cameras.
    #[n(0)]
    pub cameras: Cameras,
    /// First moment (inclusive).
    #[n(1)]
    pub from: UtcNanos,
    /// Last moment (exclusive).
    #[n(2)]
    pub until: UtcNanos,
    /// Why.
    #[n(3)]
    pub reason: String,
}

/// Shares of past epochs for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Release {
    /// Recipient's account.
    #[n(0)]
    pub account: AccountId,
    /// Recipient's key.
    #[n(1)]
    pub recipient: Fingerprint,
    /// What and why.
    #[n(2)]
    pub span: Span,
}

/// A deviation, until a date.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Exception {
    /// Which rule, in words of the control register.
    #[n(0)]
    pub rule: String,
    /// Camera it is limited to.
    #[n(1)]
    pub camera: Option<CameraId>,
    /// End (exclusive).
    #[n(2)]
    pub until: UtcNanos,
    /// Why.
    #[n(3)]
    pub reason: String,
}

/// Identity of a device from what cannot be changed about it (`kind` such as `"serial"` or `"mac"`).
#[must_use]
pub fn device_identity(kind: &str, value: &str) -> Hash {
    peri_seal::digest::hash("camera-device", &[kind.as_bytes(), &[0], value.as_bytes()])
}

impl Body {
    /// The keys a statement brings into the roster.
    pub(crate) fn keys(&self) -> Vec<&UserPublic> {
        match self {
            Self::Genesis(b) => vec![&b.claim_key, &b.device],
            Self::Seat(b) => vec![&b.key],
            Self::SeatHandover(b) => vec![&b.seat.key],
            Self::Account(b) => vec![&b.key],
            Self::KeyChange(b) => vec![&b.new],
            Self::Post(b) => vec![&b.key],
            _ => Vec::new(),
        }
    }
}
