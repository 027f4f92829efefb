//! Snapshots, and reading a whole history: k seats vouch for the statements so far, so that a start need not check
//! twenty thousand signatures.
//!
//! A snapshot is a statement like any other. It names the head of the first statements in keeper's order of acceptance
//! and a digest of what is derived from them; it vouches for their *signatures* only. Everything is derived anew and
//! compared, and a statement that is missing is missing, snapshot or not. The chain from the anchor to the seats –
//! genesis, seats, handovers – is never vouched for: its signatures are always checked, so a forged snapshot would need
//! k genuine seats *of the seat set in office*. A snapshot of an earlier seat set is not used, since former seats must
//! not be able to write history.
//!
//! Invariant: [`RosterSet::read`] comes to the same roster with a snapshot, without one, and with a bad one.

use crate::body::Body;
use crate::error::RosterError;
use crate::evaluate::Status;
use crate::roster::{HeadMark, mark_of};
use crate::set::{Anchor, Kept, RosterSet};
use crate::signers::{Standing, suffice};
use crate::statement::Statement;
use minicbor::{Decode, Encode};
use peri_domain::{Fingerprint, Hash};

/// What k seats vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Head and count of the first statements.
    #[n(0)]
    pub mark: HeadMark,
    /// Digest of what is derived from them.
    #[n(1)]
    pub state: Hash,
}

/// A history that was read.
pub struct Reading {
    /// The set.
    pub set: RosterSet,
    /// What could not be taken in, by its place in the history, and why.
    pub left_out: Vec<(usize, RosterError)>,
    /// What became of the last snapshot in it: how many statements it covered, or why it was not used.
    pub snapshot: Option<Result<u64, RosterError>>,
}

impl RosterSet {
    /// The snapshot of this moment, for k seats to sign.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let roster = &self.evaluation().roster;
        Snapshot { mark: roster.mark, state: roster.state_digest() }
    }

    /// Reads a history in order of acceptance. Signatures that the last snapshot in it covers are not checked again; if it
    /// cannot be used, all are.
    #[must_use]
    pub fn read(anchor: Anchor, history: &[impl AsRef<[u8]>]) -> Reading {
        let parsed: Vec<Option<Statement>> = history.iter().map(|b| Statement::from_bytes(b.as_ref()).ok()).collect();
        let is_snapshot = |statement: &Statement| matches!(statement.proposal().body, Body::Snapshot(_));
        let last = parsed.iter().rposition(|statement| statement.as_ref().is_some_and(is_snapshot));
        let vouched = last.map(|at| Self::read_vouched(anchor, history, &parsed, at));
        let refused = match vouched {
            Some(Ok(reading)) => return reading,
            Some(Err(why)) => Some(Err(why)),
            None => None,
        };
        let mut set = Self::new(anchor);
        let left_out = set.take_in(history, 0);
        Reading { set, left_out, snapshot: refused }
    }

    fn read_vouched(
        anchor: Anchor,
        history: &[impl AsRef<[u8]>],
        parsed: &[Option<Statement>],
        at: usize,
    ) -> Result<Reading, RosterError> {
        let (mut set, covered) = Self::read_covered(anchor, history, parsed, at)?;
        let left_out = set.take_in(history, covered);
        // Only now are all tombstones known: who was revoked since vouches for nothing.
        set.still_vouched(parsed[at].as_ref())?;
        Ok(Reading { set, left_out, snapshot: Some(Ok(covered as u64)) })
    }

    /// Inserts a history from a place on; what does not verify is left out.
    fn take_in(&mut self, history: &[impl AsRef<[u8]>], from: usize) -> Vec<(usize, RosterError)> {
        let mut left_out = Vec::new();
        for (at, bytes) in history.iter().enumerate().skip(from) {
            if let Err(why) = self.insert(bytes.as_ref()) {
                left_out.push((at, why));
            }
        }
        left_out
    }

    /// The first statements of a history as the snapshot at `at` vouches for them, and how many they are.
    fn read_covered(
        anchor: Anchor,
        history: &[impl AsRef<[u8]>],
        parsed: &[Option<Statement>],
        at: usize,
    ) -> Result<(Self, usize), RosterError> {
        let refuse = |why: String| Err(RosterError::Snapshot { why });
        let Some(snapshot) = &parsed[at] else { return refuse("it is no statement".into()) };
        let Body::Snapshot(Snapshot { mark, state }) = snapshot.proposal().body else {
            return refuse("it is another statement".into());
        };
        let covered = usize::try_from(mark.count).unwrap_or(usize::MAX);
        if covered > at || parsed[..covered].iter().any(Option::is_none) {
            return refuse("statements that it covers are missing or damaged".into());
        }
        let mut ids: Vec<Hash> = parsed[..covered].iter().flatten().map(Statement::hash).collect();
        ids.sort_unstable();
        if mark_of(anchor.vm, &ids) != mark {
            return refuse("the statements before it are not those that it covers".into());
        }
        // The chain of seats first, all of it, with every signature; then who signed the snapshot.
        let mut set = Self::new(anchor);
        for (bytes, statement) in history.iter().zip(parsed) {
            if statement.as_ref().is_some_and(|s| is_of_seats(&s.proposal().body)) {
                set.insert(bytes.as_ref())?;
            }
        }
        set.check_place(snapshot)?;
        let kept = set.check_signatures(history[at].as_ref(), snapshot.clone(), &[])?;
        set.vouched(snapshot, &kept.genuine)?;
        for (bytes, statement) in history[..covered].iter().zip(parsed[..covered].iter().flatten()) {
            if is_of_seats(&statement.proposal().body) {
                continue;
            }
            set.check_place(statement)?;
            let genuine = statement.signers().collect();
            let own: Vec<_> = statement.proposal().body.keys().into_iter().cloned().collect();
            let copy =
                Kept { bytes: bytes.as_ref().to_vec(), statement: statement.clone(), genuine, unknown: Vec::new() };
            set.put(statement.hash(), copy);
            own.into_iter().for_each(|key| set.learn(key));
        }
        set.set_order(parsed[..covered].iter().flatten().map(Statement::hash));
        let roster = &set.evaluation().roster;
        if roster.mark != mark {
            return refuse(format!(
                "{} of the {} statements that it covers take effect",
                roster.mark.count, mark.count
            ));
        }
        if roster.state_digest() != state {
            return refuse("another version of this program derived it; the state differs".into());
        }
        Ok((set, covered))
    }

    /// k seats in office under this roster signed.
    fn vouched(&self, snapshot: &Statement, genuine: &[Fingerprint]) -> Result<(), RosterError> {
        let roster = &self.evaluation().roster;
        let (signed, current) = (snapshot.proposal().seat_set, roster.seat_set());
        if signed != current {
            return Err(RosterError::StaleSeatSet { signed, current });
        }
        suffice(roster, snapshot.proposal(), genuine, Standing::Now)
    }

    fn still_vouched(&self, snapshot: Option<&Statement>) -> Result<(), RosterError> {
        let refuse = |why: &str| Err(RosterError::Snapshot { why: why.into() });
        let Some(snapshot) = snapshot else { return refuse("it is no statement") };
        let Some(kept) = self.entries.get(&snapshot.hash()).and_then(|copies| copies.first()) else {
            return refuse("it does not verify");
        };
        self.vouched(snapshot, &kept.genuine)?;
        let effective = self.status(&snapshot.hash()) == Some(Status::Effective);
        if effective { Ok(()) } else { refuse("it has no effect") }
    }

    /// What admission asks of a snapshot: that it will be of use. It names a head that this set had, and what is derived
    /// from it here.
    pub(crate) fn check_snapshot(&self, snapshot: &Snapshot) -> Result<(), RosterError> {
        let refuse = |why: &str| Err(RosterError::Snapshot { why: why.into() });
        let covered = usize::try_from(snapshot.mark.count).unwrap_or(usize::MAX);
        let Some(ids) = self.order().get(..covered) else { return refuse("it covers more statements than there are") };
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        if mark_of(self.anchor.vm, &sorted) != snapshot.mark {
            return refuse("its head is none that this roster had");
        }
        let mut earlier = self.clone();
        earlier.keep_only(&sorted);
        if earlier.evaluation().roster.state_digest() == snapshot.state {
            return Ok(());
        }
        refuse("another version of this program derived it; the state differs")
    }
}

/// Statements that no snapshot vouches for.
const fn is_of_seats(body: &Body) -> bool {
    matches!(body, Body::Genesis(_) | Body::Seat(_) | Body::SeatHandover(_))
}
