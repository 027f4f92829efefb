//! What a ledger says: entry types with stable codes, the entry itself, and events that have no number yet.
//!
//! Personal data never stands in an entry. An entry holds commitments; what they commit to ([`Detail`]) lies outside
//! and can be erased without touching the chain. Invariants: an entry has one byte form (canonical CBOR; the decoder
//! refuses every other), a type belongs to exactly one ledger, and a code is never given to a second meaning.

use core::fmt;
use core::str::FromStr;
use minicbor::{Decode, Decoder, Encode, Encoder};
use peri_domain::{Hash, Nonce, Pseudonym, UtcNanos};
use sha2::{Digest, Sha256};

/// Largest entry or detail in bytes. C2SP tlog-tiles stores an entry with a 16-bit length.
pub const ENTRY_MAX: usize = 65_535;

/// Commitments in one entry: an entry of 16 needs 16 · 34 + 100 bytes, far below [`ENTRY_MAX`]; no type needs more.
pub const FACTS_MAX: usize = 16;

/// Why bytes are not an entry, or an event cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes are not CBOR of the right shape.
    #[error("not a ledger entry: {0}")]
    Malformed(String),
    /// Well-formed, but not the one canonical form, or bytes follow.
    #[error("a ledger entry in a form other than the canonical one ({0} bytes)")]
    NotCanonical(usize),
    /// The type code belongs to another ledger.
    #[error("entry type {kind} belongs to the {right} ledger, found in the {found} ledger")]
    WrongLedger {
        /// The type.
        kind: EntryType,
        /// The ledger it belongs to.
        right: Ledger,
        /// The ledger that the entry names.
        found: Ledger,
    },
    /// More than [`ENTRY_MAX`] bytes or [`FACTS_MAX`] facts.
    #[error("{what} of {kind} is {size}, allowed are {max}; split the event")]
    TooLarge {
        /// The type of the event.
        kind: EntryType,
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
}

/// One of the three ledgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Ledger {
    /// Who asked to see what.
    #[n(0)]
    Access,
    /// What is charged; nothing derived from content, no disclosure.
    #[n(1)]
    Billing,
    /// What the appliance did.
    #[n(2)]
    Technical,
}

impl Ledger {
    /// Every ledger, in code order.
    pub const ALL: [Self; 3] = [Self::Access, Self::Billing, Self::Technical];

    /// Stable code, 0 to 2.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Access => 0,
            Self::Billing => 1,
            Self::Technical => 2,
        }
    }

    /// From a code; `None` where there is no such ledger.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// What the first entry of this ledger names as its predecessor: SHA-256("peri/v1/ledger-start\0" ‖ ledger code ‖
    /// origin). So an entry cannot move to another VM or ledger.
    #[must_use]
    pub fn start_hash(self, origin: &str) -> Hash {
        let mut hash = Sha256::new_with_prefix(b"peri/v1/ledger-start\0");
        hash.update([self.code()]);
        hash.update(origin.as_bytes());
        Hash(hash.finalize().into())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "access",
            Self::Billing => "billing",
            Self::Technical => "technical",
        })
    }
}

impl FromStr for Ledger {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        Self::ALL
            .into_iter()
            .find(|ledger| ledger.to_string() == text)
            .ok_or_else(|| EntryError::Malformed(format!("no ledger {text:?}; there are access, billing, technical")))
    }
}

/// The table of entry types. The high byte of a code is the ledger, so that codes of one ledger stay together.
macro_rules! entry_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What happened. Codes are stable for ever; a retired one is never used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum EntryType {
            $($(#[$doc])* $name = $code,)*
        }

        impl EntryType {
            /// Every type, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// From a code; `None` where no type has it.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in reports and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

entry_types! {
    /// The customer's claim signature made the genesis.
    Claim = 0x0001, "claim";
    /// X is about to be handed to somebody; durable before the first byte.
    DisclosureIntent = 0x0002, "disclosure_intent";
    /// X was asked for and refused.
    DisclosureRefused = 0x0003, "disclosure_refused";
    /// Any other request was refused.
    RequestRefused = 0x0004, "request_refused";
    /// A roster statement was handed in.
    RosterProposal = 0x0005, "roster_proposal";
    /// X of past epochs is about to be handed out for saving.
    ExportIntent = 0x0006, "export_intent";
    /// X of the running epoch is about to be handed out.
    LiveIntent = 0x0007, "live_intent";
    /// A session began: a roster key certified a session key.
    SessionStarted = 0x0008, "session_started";
    /// A session ended before its time: logout, or its roster key is out of office.
    SessionEnded = 0x0009, "session_ended";
    /// A session was locked: somebody has a copy of its requests or of its key.
    SessionLocked = 0x000a, "session_locked";
    /// Copies of a request came, and its channel ended before the client said what it saw.
    CopyUnresolved = 0x000b, "copy_unresolved";
    /// A wrapped key was handed out for password and device secret.
    LoggedIn = 0x000c, "logged_in";
    /// A wrapped key was handed out for a recovery code, which is spent.
    RecoveryUsed = 0x000d, "recovery_used";
    /// An account's login was set: enrolment, new password, new recovery code.
    LoginSet = 0x000e, "login_set";
    /// Somebody was invited.
    InvitationOffered = 0x000f, "invitation_offered";
    /// An invitation enrolled a key.
    KeyEnrolled = 0x0010, "key_enrolled";
    /// A used invitation was used again for another key: somebody read the link.
    InvitationMisused = 0x0011, "invitation_misused";
    /// An unused invitation was taken back.
    InvitationWithdrawn = 0x0012, "invitation_withdrawn";
    /// A statement was put forward for others to sign, or one of them signed it.
    ProposalSigned = 0x0013, "proposal_signed";

    /// Hours that the VM ran.
    VmHours = 0x0101, "vm_hours";
    /// Keeps the rhythm of the billing ledger, so that silence says nothing.
    BillingFiller = 0x0102, "billing_filler";

    /// The hash of the checkpoint before this batch; always the first entry of a batch but the very first.
    CheckpointBlock = 0x0201, "checkpoint_block";
    /// The appliance started.
    ApplianceStarted = 0x0202, "appliance_started";
    /// The appliance was asked to stop.
    ApplianceStopped = 0x0203, "appliance_stopped";
    /// A role runs.
    RoleStarted = 0x0204, "role_started";
    /// A role ended by itself.
    RoleDied = 0x0205, "role_died";
    /// A role did what its policy forbids and was ended for it.
    SandboxViolation = 0x0206, "sandbox_violation";
    /// keeper verified and took a new roster head.
    RosterAccepted = 0x0207, "roster_accepted";
    /// keeper refused a statement.
    RosterRefused = 0x0208, "roster_refused";
    /// keeper saw a roster that is bad or shorter than its own; recording goes on under the last good one.
    RosterAlarm = 0x0209, "roster_alarm";
    /// An epoch began; commits to its record.
    EpochOpened = 0x020a, "epoch_opened";
    /// RFC 6962 root over the leaves (segment, last counter, hash) of all cameras.
    SegmentTail = 0x020b, "segment_tail";
    /// A camera sends no more.
    CameraLost = 0x020c, "camera_lost";
    /// A camera sends again.
    CameraBack = 0x020d, "camera_back";
    /// A segment ended with its final flag, or its tail was closed after a crash.
    SegmentClosed = 0x020e, "segment_closed";
    /// X and segment are gone.
    Erased = 0x020f, "erased";
    /// Gone before retention was over (disk full, or early erasure by k seats).
    ErasedEarly = 0x0210, "erased_early";
    /// X is dropped, but the old root can still open it until the next re-key.
    ErasurePending = 0x0211, "erasure_pending";
    /// The X file was re-keyed; what was pending is gone.
    Rekeyed = 0x0212, "rekeyed";
    /// Less than the reserve is free.
    DiskFull = 0x0213, "disk_full";
    /// The reserve is free again.
    DiskOk = 0x0214, "disk_ok";
    /// The clock moved by more than it may.
    ClockJump = 0x0215, "clock_jump";
    /// The root store lies on the file system of the X file (allowed by configuration).
    RootStoreSameDisk = 0x0216, "root_store_same_disk";
    /// No witness is configured; wraps are made all the same.
    Unwitnessed = 0x0217, "unwitnessed";
    /// PostgreSQL was away or lost rows; how long, how many.
    StoreGap = 0x0218, "store_gap";
    /// The spool was read back into the ledger.
    SpoolReplayed = 0x0219, "spool_replayed";
    /// A camera's connection lies outside the recommended set of TR-02102.
    CryptoDeviation = 0x021a, "crypto_deviation";
    /// Packets or pictures of a camera are missing or damaged.
    StreamDamaged = 0x021b, "stream_damaged";
    /// A camera's own clock is off; information, never used.
    CameraClock = 0x021c, "camera_clock";
    /// The configuration lets the appliance start on a kernel without Landlock.
    NoLandlock = 0x021d, "no_landlock";
}

impl EntryType {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The one ledger that this type belongs to.
    #[must_use]
    pub const fn ledger(self) -> Ledger {
        match self.code() >> 8 {
            0 => Ledger::Access,
            1 => Ledger::Billing,
            _ => Ledger::Technical,
        }
    }
}

impl fmt::Display for EntryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<C> Encode<C> for EntryType {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u16(self.code())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EntryType {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_code(d.u16()?).ok_or_else(|| minicbor::decode::Error::message("unknown entry type").at(at))
    }
}

/// One entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Which chain.
    #[n(0)]
    pub ledger: Ledger,
    /// Number in its chain, from 0.
    #[n(1)]
    pub ledger_seq: u64,
    /// [`Entry::hash_of`] the entry before in the same chain; [`Ledger::start_hash`] at number 0.
    #[n(2)]
    pub prev_hash: Hash,
    /// When; never below the entry before in the log.
    #[n(3)]
    pub time: UtcNanos,
    /// What.
    #[n(4)]
    pub kind: EntryType,
    /// Who, without a name.
    #[n(5)]
    pub pseudonym: Option<Pseudonym>,
    /// Digests of what lies outside, in the order that the type defines.
    #[n(6)]
    pub commitments: Vec<Hash>,
}

impl Entry {
    /// The bytes that are the leaf of the tree.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// Parses the one canonical form.
    ///
    /// # Errors
    /// [`EntryError`] for every other byte string, and for a type that stands in a foreign ledger.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let entry: Self = from_canonical(bytes)?;
        if entry.kind.ledger() != entry.ledger {
            return Err(EntryError::WrongLedger { kind: entry.kind, right: entry.kind.ledger(), found: entry.ledger });
        }
        Ok(entry)
    }

    /// The link of the chain: SHA-256("peri/v1/entry\0" ‖ entry bytes). Another prefix than the leaf hash of RFC 6962,
    /// so neither can stand for the other.
    #[must_use]
    pub fn hash_of(bytes: &[u8]) -> Hash {
        let mut hash = Sha256::new_with_prefix(b"peri/v1/entry\0");
        hash.update(bytes);
        Hash(hash.finalize().into())
    }
}

/// What a commitment commits to: canonical CBOR of the type's details under a random salt (so that a digest of few
/// possible values tells nothing once the detail is erased).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Detail {
    /// Random, fresh for every detail.
    #[n(0)]
    pub salt: Nonce,
    /// The details, CBOR.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub cbor: Vec<u8>,
}

impl Detail {
    /// From anything that encodes; the salt comes from the caller's random source.
    #[must_use]
    pub fn new<T: Encode<()>>(salt: Nonce, details: &T) -> Self {
        Self { salt, cbor: to_cbor(details) }
    }

    /// SHA-256("peri/v1/details\0" ‖ salt ‖ CBOR).
    #[must_use]
    pub fn commitment(&self) -> Hash {
        let mut hash = Sha256::new_with_prefix(b"peri/v1/details\0");
        hash.update(self.salt.as_bytes());
        hash.update(&self.cbor);
        Hash(hash.finalize().into())
    }
}

/// One commitment of an event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Fact {
    /// A digest of something that is kept elsewhere (an epoch record, a tail root).
    #[n(0)]
    Digest(#[n(0)] Hash),
    /// Details that the store keeps beside the entry.
    #[n(1)]
    Detail(#[n(0)] Detail),
}

impl Fact {
    /// What the entry holds.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        match self {
            Self::Digest(hash) => *hash,
            Self::Detail(detail) => detail.commitment(),
        }
    }
}

/// Something that happened and has no number yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    /// What.
    #[n(0)]
    pub kind: EntryType,
    /// When, by the appliance's clock; the chain lifts it to the last entry's time where the clock went back.
    #[n(1)]
    pub time: UtcNanos,
    /// Who, without a name.
    #[n(2)]
    pub pseudonym: Option<Pseudonym>,
    /// What it commits to.
    #[n(3)]
    pub facts: Vec<Fact>,
}

impl Event {
    /// An event without person or facts.
    #[must_use]
    pub const fn new(kind: EntryType, time: UtcNanos) -> Self {
        Self { kind, time, pseudonym: None, facts: Vec::new() }
    }

    /// With one fact more.
    #[must_use]
    pub fn with(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// With one digest more.
    #[must_use]
    pub fn with_digest(self, digest: Hash) -> Self {
        self.with(Fact::Digest(digest))
    }

    /// With one detail more.
    #[must_use]
    pub fn with_detail<T: Encode<()>>(self, salt: Nonce, details: &T) -> Self {
        self.with(Fact::Detail(Detail::new(salt, details)))
    }

    /// About somebody.
    #[must_use]
    pub const fn about(mut self, pseudonym: Pseudonym) -> Self {
        self.pseudonym = Some(pseudonym);
        self
    }

    /// Canonical bytes, for the spool.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// Parses the one canonical form within the limits.
    ///
    /// # Errors
    /// [`EntryError`] for every other byte string.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let event: Self = from_canonical(bytes)?;
        event.check()?;
        Ok(event)
    }

    /// Whether the event can become an entry.
    ///
    /// # Errors
    /// [`EntryError::TooLarge`].
    pub fn check(&self) -> Result<(), EntryError> {
        let too_large = |what, size, max| EntryError::TooLarge { kind: self.kind, what, size, max };
        if self.facts.len() > FACTS_MAX {
            return Err(too_large("the number of facts", self.facts.len(), FACTS_MAX));
        }
        for fact in &self.facts {
            if let Fact::Detail(detail) = fact
                && detail.cbor.len() > ENTRY_MAX
            {
                return Err(too_large("a detail", detail.cbor.len(), ENTRY_MAX));
            }
        }
        Ok(())
    }
}

/// Canonical CBOR of a value.
fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec cannot fail and no value here refuses to encode")
}

/// Decodes, encodes again and compares: only the canonical form passes, without trailing bytes.
fn from_canonical<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, EntryError> {
    let value: T = minicbor::decode(bytes).map_err(|e| EntryError::Malformed(e.to_string()))?;
    if to_cbor(&value) != bytes {
        return Err(EntryError::NotCanonical(bytes.len()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Entry {
        Entry {
            ledger: Ledger::Technical,
            ledger_seq: 7,
            prev_hash: Hash([1; 32]),
            time: UtcNanos(5),
            kind: EntryType::EpochOpened,
            pseudonym: None,
            commitments: vec![Hash([2; 32])],
        }
    }

    #[test]
    fn codes_are_unique_stable_and_tell_the_ledger() {
        let mut codes: Vec<_> = EntryType::ALL.iter().map(|t| t.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), EntryType::ALL.len());
        for kind in EntryType::ALL {
            assert_eq!(EntryType::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(EntryType::DisclosureIntent.ledger(), Ledger::Access);
        assert_eq!(EntryType::VmHours.ledger(), Ledger::Billing);
        assert_eq!(EntryType::SpoolReplayed.code(), 0x0219);
        assert_eq!(EntryType::SpoolReplayed.ledger(), Ledger::Technical);
    }

    #[test]
    fn only_the_canonical_form_of_an_entry_is_accepted() {
        let bytes = sample().to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Ok(sample()));

        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(Entry::from_bytes(&longer), Err(EntryError::NotCanonical(_))));

        // The number 7 in two bytes instead of one means the same and is refused.
        let mut wide = bytes.clone();
        assert_eq!(wide[2], 7);
        wide.splice(2..3, [0x18, 7]);
        assert!(matches!(Entry::from_bytes(&wide), Err(EntryError::NotCanonical(_))));
        for cut in 0..bytes.len() {
            assert!(Entry::from_bytes(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_type_in_a_foreign_ledger_is_refused() {
        let entry = Entry { ledger: Ledger::Billing, ..sample() };
        assert!(matches!(Entry::from_bytes(&entry.to_bytes()), Err(EntryError::WrongLedger { .. })));
    }

    #[test]
    fn commitments_hide_equal_details_behind_their_salt() {
        let one = Detail::new(Nonce([1; 16]), &"same");
        let two = Detail::new(Nonce([2; 16]), &"same");
        assert_ne!(one.commitment(), two.commitment());
        assert_eq!(one.commitment(), Detail::new(Nonce([1; 16]), &"same").commitment());
    }

    #[test]
    fn events_round_trip_and_refuse_what_no_entry_can_hold() {
        let event = Event::new(EntryType::CameraLost, UtcNanos(9))
            .about(Pseudonym([3; 16]))
            .with_digest(Hash([4; 32]))
            .with_detail(Nonce([5; 16]), &"no answer");
        assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event.clone()));
        let crowded = (0..FACTS_MAX).fold(event, |e, _| e.with_digest(Hash([0; 32])));
        assert!(matches!(Event::from_bytes(&crowded.to_bytes()), Err(EntryError::TooLarge { .. })));
    }
}
