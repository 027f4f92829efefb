//! Why a statement, a snapshot or an older state of a roster is refused: every refusal names the culprit and the remedy.
//!
//! What does not belong: refusals of a disclosure (see [`crate::grants::Refusal`]), which are ordinary answers and no
//! faults of the roster.

use crate::signers::Case;
use peri_domain::{AccountId, CameraId, Fingerprint, Nonce, Role, UtcNanos, VmId};

/// A refused statement, snapshot or state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Bytes that are not the canonical form of what they should be.
    #[error("{what} is malformed: {why}; make it again with a client of this version")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// Where reading ended.
        why: String,
    },
    /// More bytes than [`peri_domain::limits::STATEMENT_MAX`].
    #[error("a statement of {len} bytes is longer than {max}; split it")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A format or set of algorithms this version does not know.
    #[error("statement format {found} is unknown, this version knows {known}; update the older side")]
    UnknownSuite {
        /// Format number found.
        found: u16,
        /// Format number known.
        known: u16,
    },
    /// A body that says something impossible.
    #[error("{what}: {why}")]
    Invalid {
        /// The kind of statement.
        what: &'static str,
        /// What is impossible and what would be right.
        why: String,
    },
    /// Signed for another VM.
    #[error("the statement is for VM {found}, this is VM {expected}; sign a new one for this VM")]
    NotForThisVm {
        /// VM named in the statement.
        found: VmId,
        /// VM of this roster.
        expected: VmId,
    },
    /// A signature that does not fit its key.
    #[error(
        "the signature of key {signer} does not fit; the statement was changed after signing, or the key is another's"
    )]
    BadSignature {
        /// Whose signature.
        signer: Fingerprint,
    },
    /// A signature by a key that is in no statement.
    #[error(
        "key {signer}, which signed, is not in the roster; leave its signature away, or deliver its statement first"
    )]
    UnknownSigner {
        /// Whose signature.
        signer: Fingerprint,
    },
    /// The set is full.
    #[error("the roster holds {max} statements, its limit; nothing more is taken")]
    Full {
        /// The limit.
        max: usize,
    },
    /// A grant more than an epoch is wrapped to.
    #[error(
        "with this grant {found} people could look at one camera at the same time, more than {max}; end other grants \
         first, or give the control room a post key"
    )]
    TooManyRecipients {
        /// People.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Too few of those who must sign.
    #[error("{case} is signed by {have} of {need} who must sign it: {who}; collect the missing signatures")]
    NeedsSigners {
        /// The row of the signer table.
        case: Case,
        /// Signatures that count for the alternative that came nearest.
        have: u32,
        /// Signatures that alternative needs.
        need: u32,
        /// Who may sign, in words.
        who: String,
    },
    /// Refers to something that is not there (yet).
    #[error("waits for {what}, which is not in the roster (yet); deliver that statement first")]
    Waiting {
        /// What is missing.
        what: String,
    },
    /// The genesis does not fit what was measured at birth.
    #[error(
        "the genesis names another {what} ({found}) than this VM was born with ({expected}); this is not your VM, or the claim key was swapped"
    )]
    NotTheAnchor {
        /// Which of the anchored values differs.
        what: &'static str,
        /// In the statement, hexadecimal.
        found: String,
        /// In the anchor, hexadecimal.
        expected: String,
    },
    /// A second genesis.
    #[error("this VM is claimed already; if it was not you, destroy it and order again")]
    SecondClaim,
    /// A seat filled after the founding.
    #[error("the claim key is spent: all {n} seats are filled; hand a seat over with the signatures of k seats")]
    ClaimSpent {
        /// Seats.
        n: u8,
    },
    /// A seat filled twice.
    #[error("seat {index} is filled already; hand it over with the signatures of k seats")]
    SeatTaken {
        /// Number of the seat.
        index: u8,
    },
    /// Signed under a seat set that was replaced.
    #[error("signed under seat set {signed}, but seat set {current} is in office; sign it again")]
    StaleSeatSet {
        /// The version the signers meant.
        signed: u32,
        /// The present version.
        current: u32,
    },
    /// A seat key as recipient.
    #[error("key {key} is a custodian's; custodians decide who looks and never look: grant to a viewer's key")]
    GrantForCustodian {
        /// The recipient's key.
        key: Fingerprint,
    },
    /// A role that never receives a grant.
    #[error("account {account} is {role}, which never receives a grant; only viewer, external and technician do")]
    GrantForRole {
        /// The recipient.
        account: AccountId,
        /// Its role.
        role: Role,
    },
    /// One key in two places.
    #[error("key {key} is in use already ({by}); a key serves once: make a new one")]
    KeyInUse {
        /// The key.
        key: Fingerprint,
        /// Where it is in use.
        by: String,
    },
    /// A key that is none.
    #[error("key {key} is no usable key ({why}); its owner must enrol again")]
    UnusableKey {
        /// Its fingerprint.
        key: Fingerprint,
        /// What is wrong with it.
        why: String,
    },
    /// An account id used twice.
    #[error("account {account} exists already and has one role for ever; use a new account id")]
    AccountExists {
        /// The account.
        account: AccountId,
    },
    /// A key change whose old key is not the account's key.
    #[error("key {old} is no longer the key of account {account}; sign the change with its present key")]
    KeyReplaced {
        /// The account.
        account: AccountId,
        /// The key named as old.
        old: Fingerprint,
    },
    /// Accepted too late.
    #[error(
        "the proposal could be accepted until {not_after}, here it is {now}; sign it again, and if it was made just now set the clock of whoever made it"
    )]
    Expired {
        /// End for acceptance.
        not_after: UtcNanos,
        /// Time of the attempt.
        now: UtcNanos,
    },
    /// Open for longer than allowed.
    #[error(
        "the proposal would stay acceptable until {not_after}, more than {max_days} days from {now} here; shorten it, or set the clock of whoever made it"
    )]
    OpenTooLong {
        /// End for acceptance.
        not_after: UtcNanos,
        /// Time of the attempt.
        now: UtcNanos,
        /// The limit.
        max_days: u64,
    },
    /// A nonce used twice.
    #[error("nonce {nonce} was used by another statement; make the proposal again with a fresh nonce")]
    ReplayedNonce {
        /// The nonce.
        nonce: Nonce,
    },
    /// A signer who once was entitled and no longer is.
    #[error("the signature of key {signer} no longer counts: {why}; let somebody in office sign")]
    SignerNotInOffice {
        /// Whose signature.
        signer: Fingerprint,
        /// Since when not.
        why: &'static str,
    },
    /// A device that is or was another camera.
    #[error("this device (or its address or pin) is camera {camera} already; only k seats may set it up again")]
    DeviceKnown {
        /// The camera it is or was.
        camera: CameraId,
    },
    /// A camera id used twice.
    #[error("camera {camera} exists already; use a new camera id, or set it up again with k seats")]
    CameraExists {
        /// The camera.
        camera: CameraId,
    },
    /// A camera that was removed for ever.
    #[error("camera {camera} was removed; set its device up again under a new id with k seats")]
    CameraRemoved {
        /// The camera.
        camera: CameraId,
    },
    /// A camera nobody added.
    #[error("camera {camera} is not in the roster; add it first")]
    UnknownCamera {
        /// The camera.
        camera: CameraId,
    },
    /// An out-of-turn replacement.
    #[error("{what} number {found} does not follow number {current}; fetch the roster and number it {}", .current + 1)]
    StaleSerial {
        /// What is replaced.
        what: &'static str,
        /// Number in the statement.
        found: u32,
        /// Number in force.
        current: u32,
    },
    /// Longer than the profile allows.
    #[error("retention of {secs} s exceeds the ceiling of {ceiling} s; k seats may raise the ceiling in the profile")]
    AboveCeiling {
        /// Asked for.
        secs: u64,
        /// Allowed.
        ceiling: u64,
    },
    /// A revocation that would leave nobody able to act.
    #[error(
        "after this revocation {left} seats would stay in office, fewer than the {k} that must sign; hand a seat over first"
    )]
    TooFewSeats {
        /// Seats left.
        left: u32,
        /// Threshold.
        k: u8,
    },
    /// An accepted statement would lose effect.
    #[error("the statement would undo accepted statement {other}; nothing accepted is ever undone: refused")]
    Undoes {
        /// Statement that would lose effect.
        other: peri_domain::Hash,
    },
    /// Fewer statements than before.
    #[error(
        "the roster is shorter than one accepted before: {missing} of {count} statements are missing; fetch them from a witness or backup, the last good roster stays in force"
    )]
    Shorter {
        /// Statements missing.
        missing: usize,
        /// Statements of the earlier head.
        count: u64,
    },
    /// A snapshot that proves nothing.
    #[error("the snapshot is refused: {why}; start without it (slower) and let k seats sign a new one")]
    Snapshot {
        /// What is wrong with it.
        why: String,
    },
}

impl From<peri_seal::canonical::CanonicalError> for RosterError {
    fn from(error: peri_seal::canonical::CanonicalError) -> Self {
        use peri_seal::canonical::CanonicalError;
        let what = match &error {
            CanonicalError::Shape { what, .. } | CanonicalError::NotCanonical { what } => *what,
        };
        Self::Malformed { what, why: error.to_string() }
    }
}
