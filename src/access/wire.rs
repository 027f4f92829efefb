//! What travels between a client and the appliance: frames, requests with their proofs, answers.
//!
//! A frame is a 32-bit big-endian length and that many bytes of canonical CBOR ([`Ask`] one way, [`Reply`] the other).
//! Video never travels in CBOR: after [`Reply::Stream`] come [`Reply::Chunk`]s of sealed segment bytes and one
//! [`Reply::End`]. All types here are read from outside, so all are bounded and strict.

use crate::invite::{InvitationId, Redemption};
use crate::login::{LoginRequest, Prelogin};
use crate::proof::{BootEpoch, Proof, ProofError, RequestLine};
use crate::session::Opening;
use crate::setting::SignedSetting;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use peri_domain::{AccountId, Action, CameraId, EpochNo, Hash, Nonce, UtcNanos};
use peri_seal::keys::UserPublic;

pub use crate::birth::{BIRTH_CONTEXT, BirthCertificate, TlsIdentity};

/// Longest frame in either direction: a chunk of 1 MiB and its CBOR head.
pub const FRAME_MAX: usize = 1024 * 1024 + 64;
/// Longest [`Reply::Chunk`].
pub const CHUNK_MAX: usize = 1024 * 1024;
/// [`Problem::code`] of a request whose session scribe does not know: it restarted, or the session is over.
pub const SESSION_UNKNOWN: &str = "session_unknown";
/// Epochs of one [`OpenBody`]: 32 sealed X of 1.7 KiB each fit a message between roles.
pub const OPEN_EPOCHS_MAX: usize = 24;

/// A client's frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// Who are you? Answered by a [`BirthCertificate`] over the given nonce.
    #[n(0)]
    Hello {
        /// Chosen by the client, so that an old certificate cannot be replayed.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// A nonce for the next opening of a session; answered by a CBOR [`Nonce`] of 16 bytes.
    #[n(1)]
    Nonce,
    /// A self-contained signed roster statement (`peri_roster::Statement` bytes). Needs no signed request around it:
    /// the statement proves its signers itself.
    #[n(2)]
    Submit {
        /// At most `limits::STATEMENT_MAX` bytes.
        #[n(0)]
        statement: ByteVec,
    },
    /// A session begins, or is shown again to a scribe that restarted; answered by [`SessionOpened`].
    #[n(3)]
    Open(#[n(0)] Opening),
    /// A request in a session.
    #[n(4)]
    Request(#[n(0)] Request),
    /// How to stretch a password; answered by [`peri_seal::userkey::PasswordParameters`], whether anybody has the name or not.
    #[n(5)]
    Prelogin(#[n(0)] Prelogin),
    /// A login; answered by [`LoggedInPage`].
    #[n(6)]
    Login(#[n(0)] LoginRequest),
    /// Sets the login of an account; answered by the empty array (CBOR 0x80).
    #[n(7)]
    Set(#[n(0)] SignedSetting),
    /// Redeems an invitation; answered by [`RedeemedPage`].
    #[n(8)]
    Redeem(#[n(0)] Redemption),
}

/// What a request asks for; its body is the CBOR of the type named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Method {
    /// Body [`RosterBody`], answer [`RosterPage`]. Any account, seat, or the unspent claim key.
    #[n(0)]
    Roster,
    /// Body [`SpanBody`], answer [`SegmentsPage`]. Whoever may play back or export the camera in that span.
    #[n(1)]
    Segments,
    /// Body [`OpenBody`], answer [`OpenedPage`]: X of epochs, sealed to the signer. The disclosure.
    #[n(2)]
    Open,
    /// Body [`FetchBody`], answer a stream of sealed bytes.
    #[n(3)]
    Fetch,
    /// No parameters: body the empty array (CBOR 0x80) and nothing else, answer [`Health`]. Administrators, custodians,
    /// auditors.
    #[n(4)]
    Health,
    /// Body [`LedgerBody`], answer [`LedgerPage`]. Auditors and custodians.
    #[n(5)]
    Ledger,
    /// Body the empty array (CBOR 0x80; not looked at), answer the same: the session ends.
    #[n(6)]
    Logout,
    /// Body [`crate::invite::Offer`], answer the empty array: invites somebody. Administrators, and the seats of custodians;
    /// it gives no right.
    #[n(7)]
    Offer,
    /// Body [`InvitationBody`], answer [`InvitationPage`]: what became of an invitation of one's own. As [`Method::Offer`].
    #[n(8)]
    Invitation,
    /// Body [`InvitationBody`], answer the empty array: takes an unused invitation of one's own back. As
    /// [`Method::Offer`].
    #[n(9)]
    Withdraw,
    /// Body [`crate::house::HouseBody`], answer [`crate::house::HousePage`]: what the page shows of the roster. Whoever may
    /// read the roster.
    #[n(10)]
    House,
    /// Body [`crate::house::ProposeBody`], answer the empty array: a statement for others to sign. As [`Method::Offer`].
    #[n(11)]
    Propose,
    /// Body the empty array, answer [`crate::house::ProposalsPage`]. As [`Method::Offer`].
    #[n(12)]
    Proposals,
}

impl Method {
    /// Every method, in wire order.
    pub const ALL: [Self; 13] = [
        Self::Roster,
        Self::Segments,
        Self::Open,
        Self::Fetch,
        Self::Health,
        Self::Ledger,
        Self::Logout,
        Self::Offer,
        Self::Invitation,
        Self::Withdraw,
        Self::House,
        Self::Propose,
        Self::Proposals,
    ];

    /// How the request line of this method reads under a proof.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Roster => "/v1/roster",
            Self::Segments => "/v1/segments",
            Self::Open => "/v1/open",
            Self::Fetch => "/v1/fetch",
            Self::Health => "/v1/health",
            Self::Ledger => "/v1/ledger",
            Self::Logout => "/v1/logout",
            Self::Offer => "/v1/offer",
            Self::Invitation => "/v1/invitation",
            Self::Withdraw => "/v1/withdraw",
            Self::House => "/v1/house",
            Self::Propose => "/v1/propose",
            Self::Proposals => "/v1/proposals",
        }
    }
}

/// A request in a session. Method and body as the proof covers them; the VM and the asker's key are the session's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// What is asked.
    #[n(0)]
    pub method: Method,
    /// CBOR of the method's body type; at most 16 KiB.
    #[n(1)]
    pub body: ByteVec,
    /// Who asks, and that it is fresh.
    #[n(2)]
    pub proof: Proof,
}

/// What a proof for this method and body signs.
///
/// # Errors
/// Never for the methods there are.
pub fn request_line(method: Method, body: &[u8]) -> Result<RequestLine<'static>, ProofError> {
    RequestLine::new("POST", method.path(), body)
}

/// Answer to [`Ask::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionOpened {
    /// The life of scribe that proofs are for.
    #[n(0)]
    pub boot: BootEpoch,
    /// The appliance's clock.
    #[n(1)]
    pub now: UtcNanos,
}

/// Why a request was not executed although its proof is good (HTTP 409); the next proof says what the client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Conflict {
    /// It came before: a connection that broke, or somebody who copied it. The client's next proof reports this nonce.
    #[n(0)]
    Copy(#[n(0)] Nonce),
    /// The client said before that it is dead.
    #[n(1)]
    GivenUp,
    /// Scribe restarted: sign again in a new channel under this epoch.
    #[n(2)]
    Resync(#[n(0)] BootEpoch),
    /// This channel has ended: go on in a new one.
    #[n(3)]
    ChannelEnded,
}

/// The appliance's frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// CBOR of the answer type of the question.
    #[n(0)]
    Answer(#[n(0)] ByteVec),
    /// Refused or failed, with cause and remedy. To a request in a session this is an answer like any: it was taken up.
    #[n(1)]
    Problem(#[n(0)] Problem),
    /// Sealed bytes follow; `length` is the number known now (a running segment may grow).
    #[n(2)]
    Stream {
        /// Bytes from the offset asked for to the end known now.
        #[n(0)]
        length: u64,
    },
    /// Sealed bytes, at most [`CHUNK_MAX`].
    #[n(3)]
    Chunk(#[n(0)] ByteVec),
    /// The stream is complete.
    #[n(4)]
    End,
    /// The request was never taken up: portal could not pass it on, or its session is unknown, over or locked. A failure
    /// in the terms of a proof's reports, never an answer.
    #[n(5)]
    NotTaken(#[n(0)] Problem),
    /// The proof is good, and the request was not executed.
    #[n(6)]
    Conflict(#[n(0)] Conflict),
    /// A viewer who is too slow for the live picture: so many bytes of whole fragments were left out. What follows begins with
    /// a key picture, behind the initialisation fragment that it needs.
    #[n(7)]
    Skipped(#[n(0)] u64),
}

/// A refusal or failure in the terms of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// As an HTTP status would say it.
    #[n(0)]
    pub status: u16,
    /// Stable short name for programs.
    #[n(1)]
    pub code: String,
    /// What happened.
    #[n(2)]
    pub title: String,
    /// Cause and remedy.
    #[n(3)]
    pub detail: String,
    /// For 429 and 503: seconds after which another attempt may do better.
    #[n(4)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem from its four parts.
    pub fn new(status: u16, code: &str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), title: title.into(), detail: detail.into(), retry_after_s: None }
    }

    /// With the time after which another attempt may do better.
    #[must_use]
    pub const fn retry_after(mut self, secs: u64) -> Self {
        self.retry_after_s = Some(secs);
        self
    }
}

/// Answer to [`Ask::Login`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LoggedInPage {
    /// Whose login it is.
    #[n(0)]
    pub account: AccountId,
    /// Canonical `peri_seal::userkey::WrappedUserKey`, for the client to open.
    #[n(1)]
    pub wrapped: ByteVec,
}

/// Answer to [`Ask::Redeem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RedeemedPage {
    /// The account that the key will be proposed for.
    #[n(0)]
    pub account: AccountId,
}

/// Body of [`Method::Invitation`] and [`Method::Withdraw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct InvitationBody {
    /// The invitation.
    #[n(0)]
    pub id: InvitationId,
}

/// Answer to [`Method::Invitation`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InvitationPage {
    /// The account that it is for.
    #[n(0)]
    pub account: AccountId,
    /// First instant at which it is void.
    #[n(1)]
    pub not_after: UtcNanos,
    /// The key that was enrolled; compare its ten words with the invited one before it is entered anywhere.
    #[n(2)]
    pub key: Option<UserPublic>,
}

/// Body of [`Method::Roster`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RosterBody {
    /// Statements to skip, in the appliance's order of acceptance.
    #[n(0)]
    pub after: u64,
}

/// Statements in order of acceptance; ask again with a larger `after` until `total` is reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RosterPage {
    /// Statement bytes.
    #[n(0)]
    pub statements: Vec<ByteVec>,
    /// Number of all statements.
    #[n(1)]
    pub total: u64,
    /// Head over all of them.
    #[n(2)]
    pub head: Hash,
}

/// A camera and a half-open span of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SpanBody {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// First instant wanted.
    #[n(1)]
    pub from: UtcNanos,
    /// First instant no longer wanted.
    #[n(2)]
    pub until: UtcNanos,
    /// Why the client asks: decides which right is needed.
    #[n(3)]
    pub action: Action,
}

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SegmentInfo {
    /// The epoch; one file per epoch.
    #[n(0)]
    pub epoch: EpochNo,
    /// Start of the epoch.
    #[n(1)]
    pub starts: UtcNanos,
    /// End of the epoch (of what is recorded, once closed).
    #[n(2)]
    pub ends: UtcNanos,
    /// Bytes known to be durable.
    #[n(3)]
    pub bytes: u64,
    /// Whether it is still being written.
    #[n(4)]
    pub running: bool,
    /// Offset of the last key fragment at or before the start of the span asked for; the head's length at the least.
    #[n(5)]
    pub seek: u64,
}

/// How a stretch of camera time is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CoverageKind {
    /// Recorded and durable.
    #[n(0)]
    Recorded,
    /// Not recorded; the cause is given.
    #[n(1)]
    Lost,
    /// Not recorded because somebody entitled paused it.
    #[n(2)]
    Paused,
    /// Was recorded, is erased.
    #[n(3)]
    Erased,
}

/// A stretch of accounted camera time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CoverageSpan {
    /// Start.
    #[n(0)]
    pub from: UtcNanos,
    /// End (exclusive).
    #[n(1)]
    pub until: UtcNanos,
    /// What became of it.
    #[n(2)]
    pub kind: CoverageKind,
    /// Cause or actor, empty for recorded.
    #[n(3)]
    pub cause: String,
}

/// Answer to [`Method::Segments`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SegmentsPage {
    /// Oldest first.
    #[n(0)]
    pub segments: Vec<SegmentInfo>,
    /// Oldest first, contiguous.
    #[n(1)]
    pub coverage: Vec<CoverageSpan>,
    /// Where to ask on when the span held more than one page; `None` at the end.
    #[n(2)]
    pub next: Option<UtcNanos>,
}

/// Body of [`Method::Open`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenBody {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// At most [`OPEN_EPOCHS_MAX`], for [`Action::WatchLive`] empty: the running one is meant.
    #[n(1)]
    pub epochs: Vec<EpochNo>,
    /// Live, playback or export.
    #[n(2)]
    pub action: Action,
    /// For export: why, in the asker's words (goes to the ledger's details); at most 400 bytes.
    #[n(3)]
    pub purpose: String,
}

/// One sealed X.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SealedX {
    /// The epoch.
    #[n(0)]
    pub epoch: EpochNo,
    /// `peri_seal::wrap::seal_x` output, bound to this request ([`Proof::request_id`]).
    #[n(1)]
    pub sealed: ByteVec,
}

/// Answer to [`Method::Open`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenedPage {
    /// In the order asked for; epochs already erased are missing.
    #[n(0)]
    pub keys: Vec<SealedX>,
}

/// Body of [`Method::Fetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FetchBody {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// The epoch.
    #[n(1)]
    pub epoch: EpochNo,
    /// First byte wanted.
    #[n(2)]
    pub offset: u64,
    /// Bytes wanted at most; `None`: to the end.
    #[n(3)]
    pub length: Option<u64>,
    /// Keep streaming what is appended until the epoch closes (live).
    #[n(4)]
    pub follow: bool,
    /// Live, playback or export, as in the open request.
    #[n(5)]
    pub action: Action,
}

/// Answer to [`Method::Health`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Health {
    /// The appliance's clock.
    #[n(0)]
    pub now: UtcNanos,
    /// One per camera.
    #[n(1)]
    pub cameras: Vec<CameraHealth>,
    /// Alarms that stand, newest first, as text.
    #[n(2)]
    pub alarms: Vec<String>,
    /// Free bytes of the store's file system.
    #[n(3)]
    pub free_bytes: u64,
    /// Notices as in the birth certificate.
    #[n(4)]
    pub notices: Vec<String>,
}

/// State of a camera without a word about its picture.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraHealth {
    /// The camera.
    #[n(0)]
    pub camera: CameraId,
    /// Recorded and durable up to here; `None` before the first picture.
    #[n(1)]
    pub recorded_until: Option<UtcNanos>,
    /// Why it is not recording now; empty while it is.
    #[n(2)]
    pub lost: String,
    /// Running epoch.
    #[n(3)]
    pub epoch: Option<EpochNo>,
}

/// Body of [`Method::Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LedgerBody {
    /// First leaf index wanted.
    #[n(0)]
    pub from: u64,
}

/// Entries of the woven tree in leaf order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LedgerPage {
    /// Entry bytes (leaves).
    #[n(0)]
    pub entries: Vec<ByteVec>,
    /// Size of the tree.
    #[n(1)]
    pub size: u64,
    /// The newest signed checkpoint covering at least these entries; empty before the first.
    #[n(2)]
    pub checkpoint: String,
}

/// Strict decoding: canonical form only, nothing behind it.
///
/// # Errors
/// What minicbor says, or that the bytes are not the canonical form of what they decode to.
pub fn decode_strict<'b, T>(bytes: &'b [u8]) -> Result<T, minicbor::decode::Error>
where
    T: Decode<'b, ()> + Encode<()>,
{
    let value: T = minicbor::decode(bytes)?;
    match minicbor::to_vec(&value) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(minicbor::decode::Error::message("not in canonical form")),
    }
}
