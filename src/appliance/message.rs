//! Every message that two roles exchange: one enum per direction of a link, bounded by `limits::MESSAGE_MAX`, strict.
//!
//! What does not belong here cannot be said between roles. Note what is absent: no message carries plaintext video, E
//! or a private key, none to or from portal carries K or X in clear, and no path of a file travels, only descriptors.

mod notice;
mod portal;
mod secret;
mod start;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
pub use notice::Notice;
use peri_access::wire::{Problem, TlsIdentity};
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos, VmId};
use peri_seal::keys::UserPublic;
pub use portal::{PortalToScribe, ScribeToPortal, Source};
pub use secret::{SecretBytes, SecretText};
pub use start::ScribeStart;

/// The six roles (courier comes with outbound calls) and the supervisor's other children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Peer {
    /// Holds roster, E of current epochs, device key.
    #[n(0)]
    Keeper,
    /// Holds database, X, ledger.
    #[n(1)]
    Scribe,
    /// Faces clients.
    #[n(2)]
    Portal,
    /// Faces one camera.
    #[n(3)]
    Recorder(#[n(0)] CameraId),
    /// One shot: brings the schema up.
    #[n(4)]
    Migrate,
}

impl core::fmt::Display for Peer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Keeper => f.write_str("keeper"),
            Self::Scribe => f.write_str("scribe"),
            Self::Portal => f.write_str("portal"),
            Self::Migrate => f.write_str("migrate"),
            Self::Recorder(camera) => write!(f, "recorder {camera}"),
        }
    }
}

/// Supervisor → any role, on descriptor 3.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Order {
    /// First message; the descriptor with it, if any, is the role's own directory or listener.
    #[n(0)]
    Start(#[n(0)] Start),
    /// A fresh link to a peer comes with this message as its descriptor; an older one to the same peer is dead.
    #[n(1)]
    Link(#[n(0)] Peer),
    /// A recorder is gone for good: its camera was removed.
    #[n(2)]
    Unlink(#[n(0)] CameraId),
    /// To scribe: put this into the technical ledger.
    #[n(3)]
    Record(#[n(0)] Event),
    /// The appliance stops: finish what is in hand and end.
    #[n(4)]
    Stop,
}

/// What a role must know to start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Start {
    /// Keeper; its directory comes as descriptor.
    #[n(0)]
    Keeper {
        /// Provisioning data as ordered.
        #[n(0)]
        provisioning: ByteVec,
        /// Longest epoch in seconds.
        #[n(1)]
        epoch_secs: u32,
        /// Refuse to run without Landlock.
        #[n(2)]
        need_landlock: bool,
    },
    /// Scribe; its own directory and the store come as descriptors, then [`Start::RootStore`].
    #[n(1)]
    Scribe(#[n(0)] ScribeStart),
    /// Portal; its listening sockets come as descriptors: the one of this machine, then the TLS listener's where names are
    /// given.
    #[n(2)]
    Portal {
        /// Refuse to run without Landlock.
        #[n(0)]
        need_landlock: bool,
        /// Names and addresses under which browsers may ask.
        #[n(1)]
        names: Vec<String>,
    },
    /// Recorder.
    #[n(3)]
    Recorder {
        /// Its camera.
        #[n(0)]
        camera: CameraId,
        /// Resolvers as text `address:port`.
        #[n(1)]
        resolvers: Vec<String>,
        /// The one TCP port that it may connect to.
        #[n(3)]
        port: u16,
        /// Refuse to run without Landlock.
        #[n(2)]
        need_landlock: bool,
    },
    /// Migrate.
    #[n(5)]
    Migrate {
        /// Socket directory of PostgreSQL.
        #[n(0)]
        database_dir: String,
        /// Refuse to run without Landlock.
        #[n(1)]
        need_landlock: bool,
    },
    /// Scribe's second message: the TPM's connection, and the directory of a swtpm's state where there is one. Later again
    /// with a new connection alone, as answer to [`Report::RootStoreLost`].
    #[n(4)]
    RootStore,
}

/// Any role → supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Report {
    /// Sandboxed and serving.
    #[n(0)]
    Ready {
        /// Landlock ABI reached; 0 = none.
        #[n(0)]
        landlock_abi: u8,
    },
    /// Keeper only: these cameras are to have a recorder, in a stable order, and may reach this TCP port.
    #[n(1)]
    Cameras(#[n(0)] Vec<(CameraId, u16)>),
    /// The link to this peer died although its process lives; a new one is needed.
    #[n(3)]
    LinkLost(#[n(0)] Peer),
    /// The role cannot go on for this reason and ends; goes to log and ledger.
    #[n(2)]
    Fatal(#[n(0)] String),
    /// Scribe only: the TPM's connection does not serve any more; a new one is needed.
    #[n(4)]
    RootStoreLost,
}

/// Something for the technical ledger. The type code must be one that the sender's role may emit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    /// Code of `peri_ledger::EntryType`.
    #[n(0)]
    pub code: u16,
    /// The camera concerned, if one is. From recorders it is ignored: the link says which camera speaks.
    #[n(1)]
    pub camera: Option<CameraId>,
    /// Plain words without personal data, at most [`Event::TEXT_MAX`] bytes.
    #[n(2)]
    pub text: String,
}

impl Event {
    /// Longest text; a longer one is cut by the receiver.
    pub const TEXT_MAX: usize = 1_000;

    /// An event of a type, its text cut to the bound.
    #[must_use]
    pub fn new(kind: peri_ledger::EntryType, camera: Option<CameraId>, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.len() > Self::TEXT_MAX {
            let cut = (0..=Self::TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
        }
        Self { code: kind.code(), camera, text }
    }
}

/// Keeper → scribe.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeeperToScribe {
    /// First message on a link.
    #[n(0)]
    Identity {
        /// The VM.
        #[n(0)]
        vm: VmId,
        /// Device keys.
        #[n(1)]
        device: UserPublic,
        /// SHA-256 of the provisioning data.
        #[n(2)]
        provisioning: Hash,
        /// Fingerprint of the claim key of the provisioning data.
        #[n(3)]
        claim_key: peri_domain::Fingerprint,
        /// Number of statements that follow.
        #[n(4)]
        statements: u64,
    },
    /// A verified statement, in order of acceptance; at start all, later each new one.
    #[n(1)]
    Statement(#[n(0)] ByteVec),
    /// Draw X and open a segment file for a coming epoch.
    #[n(2)]
    Prepare {
        /// The camera.
        #[n(0)]
        camera: CameraId,
    },
    /// The head of the segment is written and synced; this is its epoch record (ledger, index).
    #[n(3)]
    Opened {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// Encoded `EpochRecord`.
        #[n(1)]
        record: ByteVec,
        /// Length of the segment's head in bytes.
        #[n(2)]
        head_len: u64,
    },
    /// A prepared epoch will not be used (recipients changed first): erase its X and file.
    #[n(4)]
    Discard {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// The epoch.
        #[n(1)]
        epoch: EpochNo,
    },
    /// A recorder restarted: pass its running segment again.
    #[n(5)]
    Reopen {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// The epoch.
        #[n(1)]
        epoch: EpochNo,
    },
    /// For the ledger.
    #[n(6)]
    Event(#[n(0)] Event),
    /// Answer to [`ScribeToKeeper::Submit`].
    #[n(7)]
    Submitted {
        /// The number of the question.
        #[n(0)]
        id: u64,
        /// Why it was refused; `None`: accepted.
        #[n(1)]
        refused: Option<Problem>,
    },
    /// Answer to [`ScribeToKeeper::Certify`].
    #[n(8)]
    Certified {
        /// The number of the question.
        #[n(0)]
        id: u64,
        /// The signed certificate as CBOR.
        #[n(1)]
        certificate: ByteVec,
    },
    /// All statements of the roster that keeper holds have been sent.
    #[n(9)]
    RosterComplete,
}

/// Scribe → keeper.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ScribeToKeeper {
    /// Answer to [`KeeperToScribe::Prepare`]; the new segment file, open for reading and writing, is the descriptor.
    #[n(0)]
    Prepared {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// Its number.
        #[n(1)]
        epoch: EpochNo,
        /// The X of the epoch; keeper needs it for K and forgets it.
        #[n(2)]
        x: SecretBytes,
    },
    /// [`KeeperToScribe::Prepare`] could not be served (disk full, no slot); keeper asks again later.
    #[n(1)]
    PrepareFailed {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// Cause and remedy.
        #[n(1)]
        why: String,
    },
    /// Answer to [`KeeperToScribe::Reopen`]; the descriptor comes along.
    #[n(2)]
    Reopened {
        /// The camera.
        #[n(0)]
        camera: CameraId,
        /// The epoch.
        #[n(1)]
        epoch: EpochNo,
    },
    /// A statement from a client or from the database; keeper alone decides.
    #[n(3)]
    Submit {
        /// Number for the answer.
        #[n(0)]
        id: u64,
        /// Statement bytes.
        #[n(1)]
        statement: ByteVec,
    },
    /// What the database says the roster is; keeper alarms where it differs from its own.
    #[n(4)]
    DatabaseRoster {
        /// Head over the statements found there.
        #[n(0)]
        head: Hash,
        /// Their number.
        #[n(1)]
        len: u64,
    },
    /// Sign this birth certificate.
    #[n(5)]
    Certify {
        /// Number for the answer.
        #[n(0)]
        id: u64,
        /// The client's nonce.
        #[cbor(n(1), with = "minicbor::bytes")]
        nonce: [u8; 32],
        /// Ledger verifier keys.
        #[n(2)]
        ledger_keys: Vec<String>,
        /// Notices.
        #[n(3)]
        notices: Vec<String>,
        /// The TLS listener's identity.
        #[n(4)]
        tls: Option<TlsIdentity>,
    },
}

/// Keeper → recorder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeeperToRecorder {
    /// Where the camera is. Sent at start and when it changes.
    #[n(0)]
    Camera(#[n(0)] CameraSetup),
    /// An epoch to record into; the segment file comes as descriptor, its head is written.
    #[n(1)]
    Epoch(#[n(0)] EpochHandout),
    /// Answer to [`RecorderToKeeper::NeedsAuth`]: the value of the Authorization header.
    #[n(2)]
    Authorization(#[n(0)] SecretText),
    /// No epoch can be had for this reason; keeper goes on trying.
    #[n(3)]
    NoEpoch(#[n(0)] String),
}

/// A camera as its recorder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CameraSetup {
    /// `rtsp://` or `rtsps://` URL without credentials.
    #[n(0)]
    pub url: String,
    /// What makes the other end trustworthy.
    #[n(1)]
    pub trust: CameraTrust,
}

/// How a recorder knows that it speaks to the camera.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CameraTrust {
    /// SHA-256 of the SubjectPublicKeyInfo of the camera's certificate.
    #[n(0)]
    Pin(#[n(0)] Hash),
    /// The camera's certificate chains to this CA (DER).
    #[n(1)]
    Ca(#[n(0)] ByteVec),
    /// Plain RTSP to a literal address, excepted by k seats.
    #[n(2)]
    PlainException,
}

/// What a recorder needs to seal one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochHandout {
    /// The epoch.
    #[n(0)]
    pub epoch: EpochNo,
    /// Hash of its record: part of every fragment's AAD.
    #[n(1)]
    pub record_hash: Hash,
    /// K.
    #[n(2)]
    pub key: SecretBytes,
    /// Raised at every hand-out of this K, so that no (K, nonce) pair repeats.
    #[n(3)]
    pub run: u32,
    /// First instant of the epoch.
    #[n(4)]
    pub starts: UtcNanos,
    /// First instant no longer in the epoch.
    #[n(5)]
    pub ends: UtcNanos,
    /// Where fragments begin.
    #[n(6)]
    pub head_len: u64,
}

/// Recorder → keeper.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecorderToKeeper {
    /// The camera demands authorization.
    #[n(0)]
    NeedsAuth(#[n(0)] AuthQuestion),
    /// The recorder now records into this epoch; keeper prepares the next.
    #[n(1)]
    Began(#[n(0)] EpochNo),
    /// Nothing is in hand to record into; prepare an epoch that begins now.
    #[n(3)]
    NeedsEpoch,
    /// Writing failed. Hand the epoch out again under a higher run, or, where its file is damaged, prepare another.
    #[n(2)]
    Again {
        /// The epoch.
        #[n(0)]
        epoch: EpochNo,
        /// Whether its file cannot be written on.
        #[n(1)]
        damaged: bool,
    },
}

/// A camera's challenge, bound to the request that it answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuthQuestion {
    /// As read by `peri_media::auth`.
    #[n(0)]
    pub challenge: peri_media::auth::Challenge,
    /// Whether the connection is TLS with pin or CA checked; Basic is answered only then.
    #[n(1)]
    pub tls: bool,
}

/// Recorder → scribe.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecorderToScribe {
    /// Sealed bytes up to here are durable.
    #[n(0)]
    Progress(#[n(0)] Progress),
    /// Nothing has been recorded since `since`, for this reason.
    #[n(1)]
    Lost {
        /// First instant not recorded.
        #[n(0)]
        since: UtcNanos,
        /// Now: accounted as lost up to here.
        #[n(1)]
        until: UtcNanos,
        /// Cause in the words of the page.
        #[n(2)]
        cause: String,
    },
    /// For the ledger.
    #[n(2)]
    Event(#[n(0)] Event),
    /// A write failed for want of space; scribe makes room.
    #[n(3)]
    DiskFull,
}

/// How far an epoch's segment is durable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The epoch.
    #[n(0)]
    pub epoch: EpochNo,
    /// Durable length of the file.
    #[n(1)]
    pub bytes: u64,
    /// Run and counter of the last fragment.
    #[n(2)]
    pub run: u32,
    /// See `run`.
    #[n(3)]
    pub counter: u64,
    /// Running hash over all sealed fragments of this run.
    #[n(4)]
    pub tail: Hash,
    /// Recorded from here, contiguous.
    #[n(5)]
    pub from: UtcNanos,
    /// To here.
    #[n(6)]
    pub until: UtcNanos,
    /// Key fragments since the last message: (offset, start).
    #[n(7)]
    pub keys: Vec<(u64, UtcNanos)>,
    /// The final fragment is written; nothing follows.
    #[n(8)]
    pub closed: bool,
}

/// Scribe → recorder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ScribeToRecorder {
    /// There is room again.
    #[n(0)]
    Room,
    /// The disk is full and nothing more may be erased: what is left belongs to key file, roster and ledger.
    #[n(1)]
    Full,
}
