//! Snapshots: k seats sign which statements are in effect, so that a start need not check ten thousand signatures.
//!
//! A snapshot vouches for signatures only; everything is derived anew from the statements and compared with the state
//! digest. The chain from the anchor to the seats – genesis, seats, handovers – is never vouched for: its signatures
//! are always checked, so a forged snapshot would need k genuine seats *of the seat set in office*. A snapshot of an
//! earlier seat set is refused, since former seats must not be able to write history.

use crate::body::Body;
use crate::error::RosterError;
use crate::roster::{HeadMark, mark_of};
use crate::set::{Anchor, Kept, RosterSet};
use crate::statement::Statement;
use minicbor::{Decode, Encode};
use peri_domain::limits::{SEATS_MAX, STATEMENTS_MAX};
use peri_domain::{Fingerprint, Hash, VmId};
use peri_seal::canonical;
use peri_seal::keys::{Signature, SigningKey};
use std::collections::BTreeSet;

/// Context of the signatures over a snapshot.
const SIGN_CONTEXT: &str = "roster-snapshot";

/// What k seats sign.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// The VM.
    #[n(0)]
    pub vm: VmId,
    /// Head and count.
    #[n(1)]
    pub mark: HeadMark,
    /// Seat set in office.
    #[n(2)]
    pub seat_set: u32,
    /// Ids of the effective statements, ascending.
    #[n(3)]
    pub ids: Vec<Hash>,
    /// Digest of what is derived from them.
    #[n(4)]
    pub state: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Entry {
    #[n(0)]
    signer: Fingerprint,
    #[n(1)]
    signature: Signature,
}

/// A snapshot with signatures collected so far, not verified.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedSnapshot {
    #[n(0)]
    snapshot: Snapshot,
    #[n(1)]
    signatures: Vec<Entry>,
}

impl SignedSnapshot {
    /// What is signed.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// With one signature more.
    #[must_use]
    pub fn sign(mut self, key: &SigningKey, signer: Fingerprint) -> Self {
        let signature = key.sign(SIGN_CONTEXT, &canonical::encode(&self.snapshot));
        self.signatures.retain(|entry| entry.signer != signer);
        self.signatures.push(Entry { signer, signature });
        self.signatures.sort_unstable_by_key(|entry| entry.signer);
        self
    }

    /// Canonical bytes, for a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// From canonical bytes; signatures are not verified.
    ///
    /// # Errors
    /// [`RosterError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RosterError> {
        let this: Self = canonical::decode("roster snapshot", bytes)?;
        let fits = this.snapshot.ids.len() <= STATEMENTS_MAX && this.signatures.len() <= usize::from(SEATS_MAX);
        let ordered =
            this.snapshot.ids.is_sorted_by(|a, b| a < b) && this.signatures.is_sorted_by(|a, b| a.signer < b.signer);
        if fits && ordered {
            return Ok(this);
        }
        Err(RosterError::Malformed { what: "roster snapshot", why: "lists too long or not ascending".into() })
    }
}

impl RosterSet {
    /// The snapshot of this moment, unsigned.
    #[must_use]
    pub fn snapshot(&self) -> SignedSnapshot {
        let evaluation = self.evaluation();
        SignedSnapshot {
            snapshot: Snapshot {
                vm: self.anchor.vm,
                mark: evaluation.roster.mark,
                seat_set: evaluation.roster.seat_set(),
                ids: evaluation.effective.clone(),
                state: evaluation.roster.state_digest(),
            },
            signatures: Vec::new(),
        }
    }

    /// A set from a signed snapshot and *every* statement there is, in any order: those it covers need no signature
    /// check, later ones are inserted with theirs.
    ///
    /// # Errors
    /// [`RosterError::Snapshot`] says what does not fit; errors of [`RosterSet::insert`] for the chain of seats.
    pub fn from_snapshot(
        anchor: Anchor,
        signed: &SignedSnapshot,
        statements: &[impl AsRef<[u8]>],
    ) -> Result<Self, RosterError> {
        let refuse = |why: String| Err(RosterError::Snapshot { why });
        let snapshot = &signed.snapshot;
        if snapshot.vm != anchor.vm {
            return Err(RosterError::NotForThisVm { found: snapshot.vm, expected: anchor.vm });
        }
        if mark_of(anchor.vm, &snapshot.ids) != snapshot.mark {
            return refuse("its head is not that of its list".into());
        }
        let mut set = Self::new(anchor);
        let (mut covered, mut later) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for bytes in statements {
            let statement = Statement::from_bytes(bytes.as_ref())?;
            let id = statement.hash();
            if snapshot.ids.binary_search(&id).is_err() {
                later.push(bytes.as_ref());
            } else if !seen.insert(id) {
                continue;
            } else if matches!(statement.proposal().body, Body::Genesis(_) | Body::Seat(_) | Body::SeatHandover(_)) {
                set.insert(bytes.as_ref())?;
            } else {
                set.check_place(&statement)?;
                covered.push((id, bytes.as_ref(), statement));
            }
        }
        if seen.len() != snapshot.ids.len() {
            let missing = snapshot.ids.len() - seen.len();
            return Err(RosterError::Shorter { missing, count: snapshot.mark.count });
        }
        set.check_seats_signed(signed)?;
        for (id, bytes, statement) in covered {
            let genuine = statement.signers().collect();
            let own: Vec<_> = statement.proposal().body.keys().into_iter().cloned().collect();
            set.put(id, Kept { bytes: bytes.to_vec(), statement, genuine, unknown: Vec::new() });
            own.into_iter().for_each(|key| set.learn(key));
        }
        let evaluation = set.evaluation();
        if evaluation.roster.mark != snapshot.mark {
            return refuse(format!("{} of its statements take effect", evaluation.roster.mark.count));
        }
        if evaluation.roster.state_digest() != snapshot.state {
            return refuse("another version of this program derived it; the state differs".into());
        }
        for bytes in later {
            set.insert(bytes)?;
        }
        // Only now is it certain which seat set is in office.
        let current = set.evaluation().roster.seat_set();
        if current != snapshot.seat_set {
            return refuse(format!("it is of seat set {}, in office is {current}", snapshot.seat_set));
        }
        Ok(set)
    }

    /// k seats of the last seat set it covers, derived from checked signatures alone, signed the snapshot.
    fn check_seats_signed(&self, signed: &SignedSnapshot) -> Result<(), RosterError> {
        let roster = &self.evaluation().roster;
        let refuse = |why: String| Err(RosterError::Snapshot { why });
        if roster.seat_set() == 0 || roster.seat_set() != signed.snapshot.seat_set {
            return refuse(format!(
                "it is of seat set {}, in office is {}",
                signed.snapshot.seat_set,
                roster.seat_set()
            ));
        }
        let bytes = canonical::encode(&signed.snapshot);
        let genuine = signed
            .signatures
            .iter()
            .filter(|entry| {
                let seat = roster.seats().find(|seat| seat.fingerprint == entry.signer);
                seat.is_some_and(|seat| seat.key.verify(SIGN_CONTEXT, &bytes, &entry.signature).is_ok())
            })
            .count();
        let k = roster.threshold().map_or(1, |t| usize::from(t.k));
        if genuine >= k { Ok(()) } else { refuse(format!("{genuine} of {k} seats in office signed it")) }
    }
}
