//! The present end of the log, and how a batch of events becomes entries with a signed checkpoint.
//!
//! A [`Chain`] is a value: [`Chain::seal`] leaves it as it is and returns the next one with the batch. The store makes
//! the batch durable and only then replaces the chain, so a failed transaction leaves nothing behind. Order within a
//! batch: the hash of the checkpoint before (from the second batch on), then the events as they came.
//!
//! Invariants: leaf indices and the numbers of each ledger have no gaps; time never falls; a batch holds at most
//! [`BATCH_ENTRIES_MAX`] entries and at least one event.

use crate::checkpoint::Checkpoint;
use crate::entry::{Detail, ENTRY_MAX, Entry, EntryError, EntryType, Event, Fact, Ledger};
use crate::note::{CheckpointSigner, Note, NoteError, VerifyKey};
use crate::tree::{Frontier, leaf_hash};
use core::time::Duration;
use peri_domain::limits::{BATCH_ENTRIES_MAX, BATCH_WAIT_MAX};
use peri_domain::{Hash, Pseudonym, UtcNanos};
use std::collections::VecDeque;

/// Events in one batch: one entry is kept for the checkpoint before.
pub const BATCH_EVENTS_MAX: usize = BATCH_ENTRIES_MAX - 1;

/// Why no batch was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No events, or more than [`BATCH_EVENTS_MAX`].
    #[error("a batch takes 1 to {BATCH_EVENTS_MAX} events, not {0}")]
    BatchSize(usize),
    /// An event cannot become an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] NoteError),
    /// The stored end of the log does not fit its signed checkpoint.
    #[error("the stored end of the ledger is not what its checkpoint says: {0}; run `peri-appliance fsck`")]
    Restore(&'static str),
}

/// The end of one of the three chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the next entry.
    pub next_seq: u64,
    /// What the next entry names as its predecessor.
    pub hash: Hash,
}

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    origin: String,
    frontier: Frontier,
    heads: [Head; 3],
    last_time: UtcNanos,
    last_checkpoint: Option<Hash>,
}

/// What the store keeps to go on later: the last checkpoint's note, the tree's frontier and each ledger's last entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnd {
    /// The last signed checkpoint.
    pub note: String,
    /// [`Frontier::roots`] at its size.
    pub frontier: Vec<Hash>,
    /// The bytes of the last entry of each ledger, in code order.
    pub last_entries: [Option<Vec<u8>>; 3],
    /// Time of the last entry of all.
    pub last_time: UtcNanos,
}

/// One entry of a batch, with what the store keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEntry {
    /// Index of the leaf.
    pub index: u64,
    /// Chain.
    pub ledger: Ledger,
    /// Number in the chain.
    pub seq: u64,
    /// Type.
    pub kind: EntryType,
    /// Time, lifted where the clock went back.
    pub time: UtcNanos,
    /// Pseudonym.
    pub pseudonym: Option<Pseudonym>,
    /// The leaf.
    pub bytes: Vec<u8>,
    /// Its leaf hash.
    pub leaf_hash: Hash,
    /// Details with the position of their commitment.
    pub details: Vec<(u16, Detail)>,
}

/// Entries that become durable together, and the checkpoint that covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// At most [`BATCH_ENTRIES_MAX`], in leaf order.
    pub entries: Vec<SealedEntry>,
    /// Whether the first entry is the checkpoint before and not an event.
    pub leads_with_checkpoint: bool,
    /// Size and root after this batch.
    pub checkpoint: Checkpoint,
    /// The signed checkpoint.
    pub note: Note,
    /// [`Frontier::roots`] after this batch.
    pub frontier: Vec<Hash>,
}

impl Batch {
    /// The entries of the events, in their order.
    #[must_use]
    pub fn events(&self) -> &[SealedEntry] {
        &self.entries[usize::from(self.leads_with_checkpoint)..]
    }
}

impl Chain {
    /// An empty log.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            frontier: Frontier::new(),
            heads: Ledger::ALL.map(|ledger| Head { next_seq: 0, hash: ledger.start_hash(origin) }),
            last_time: UtcNanos(i64::MIN),
            last_checkpoint: None,
        }
    }

    /// The log as the store left it. The checkpoint's signatures and the frontier's root are checked here, so a changed
    /// end is refused instead of being signed again; entries before the end are `verify_ledger`'s work.
    ///
    /// # Errors
    /// [`ChainError`] naming what does not fit.
    pub fn restore(origin: &str, stored: &StoredEnd, keys: &[VerifyKey]) -> Result<Self, ChainError> {
        let note: Note = stored.note.parse()?;
        note.verify(keys)?;
        let checkpoint = Checkpoint::try_from(&note)?;
        if checkpoint.origin != origin {
            return Err(ChainError::Restore("the checkpoint is of another log"));
        }
        let frontier = Frontier::from_parts(checkpoint.size, stored.frontier.clone())
            .filter(|frontier| frontier.root() == checkpoint.root)
            .ok_or(ChainError::Restore("the tree's frontier gives another root"))?;
        let mut chain = Self { frontier, last_checkpoint: Some(checkpoint.hash()), ..Self::new(origin) };
        let mut entries = 0;
        for (head, (ledger, bytes)) in chain.heads.iter_mut().zip(Ledger::ALL.into_iter().zip(&stored.last_entries)) {
            let Some(bytes) = bytes else { continue };
            let entry = Entry::from_bytes(bytes)?;
            if entry.ledger != ledger || entry.time > stored.last_time {
                return Err(ChainError::Restore("a last entry is of another ledger, or later than the last time"));
            }
            *head = Head { next_seq: entry.ledger_seq + 1, hash: Entry::hash_of(bytes) };
            entries += head.next_seq;
        }
        if entries != checkpoint.size {
            return Err(ChainError::Restore("the three ledgers do not add up to the size of the log"));
        }
        chain.last_time = stored.last_time;
        Ok(chain)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The end of one ledger.
    #[must_use]
    pub const fn head(&self, ledger: Ledger) -> &Head {
        &self.heads[ledger.code() as usize]
    }

    /// Time of the last entry; `UtcNanos(i64::MIN)` in an empty log.
    #[must_use]
    pub const fn last_time(&self) -> UtcNanos {
        self.last_time
    }

    /// Numbers, chains and signs; the present chain stays what it is until the caller replaces it.
    ///
    /// # Errors
    /// [`ChainError`]; then nothing happened.
    pub fn seal(&self, events: &[Event], signer: &mut dyn CheckpointSigner) -> Result<(Self, Batch), ChainError> {
        if events.is_empty() || events.len() > BATCH_EVENTS_MAX {
            return Err(ChainError::BatchSize(events.len()));
        }
        let mut next = self.clone();
        let mut entries = Vec::with_capacity(events.len() + 1);
        if let Some(hash) = self.last_checkpoint {
            entries.push(next.append(&Event::new(EntryType::CheckpointBlock, self.last_time).with_digest(hash))?);
        }
        let leads_with_checkpoint = !entries.is_empty();
        for event in events {
            entries.push(next.append(event)?);
        }
        let checkpoint = Checkpoint::new(next.origin.clone(), next.size(), next.root());
        let note = checkpoint.sign(signer)?;
        next.last_checkpoint = Some(checkpoint.hash());
        let frontier = next.frontier.roots().to_vec();
        Ok((next, Batch { entries, leads_with_checkpoint, checkpoint, note, frontier }))
    }

    fn append(&mut self, event: &Event) -> Result<SealedEntry, ChainError> {
        event.check()?;
        let ledger = event.kind.ledger();
        let head = &mut self.heads[usize::from(ledger.code())];
        let entry = Entry {
            ledger,
            ledger_seq: head.next_seq,
            prev_hash: head.hash,
            time: event.time.max(self.last_time),
            kind: event.kind,
            pseudonym: event.pseudonym,
            commitments: event.facts.iter().map(Fact::commitment).collect(),
        };
        let bytes = entry.to_bytes();
        debug_assert!(bytes.len() <= ENTRY_MAX, "FACTS_MAX bounds the entry");
        *head = Head { next_seq: head.next_seq + 1, hash: Entry::hash_of(&bytes) };
        self.last_time = entry.time;
        let (index, leaf_hash) = (self.frontier.size(), leaf_hash(&bytes));
        self.frontier.push(leaf_hash);
        let details = (0..).zip(&event.facts).filter_map(|(at, fact)| match fact {
            Fact::Detail(detail) => Some((at, detail.clone())),
            Fact::Digest(_) => None,
        });
        Ok(SealedEntry {
            index,
            ledger,
            seq: entry.ledger_seq,
            kind: entry.kind,
            time: entry.time,
            pseudonym: entry.pseudonym,
            bytes,
            leaf_hash,
            details: details.collect(),
        })
    }
}

/// Collects events that may wait, until a batch is full or its oldest event has waited [`BATCH_WAIT_MAX`]. Time is any
/// monotonic clock.
#[derive(Debug, Default)]
pub struct Batcher {
    waiting: VecDeque<(Duration, Event)>,
}

impl Batcher {
    /// Nothing waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    /// One event more.
    pub fn push(&mut self, event: Event, now: Duration) {
        self.waiting.push_back((now, event));
    }

    /// Number of waiting events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next batch is due: now at the latest when one is full; `None` when nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let (since, _) = self.waiting.front()?;
        Some(if self.waiting.len() >= BATCH_EVENTS_MAX { *since } else { *since + BATCH_WAIT_MAX })
    }

    /// The next batch if one is due at `now`, else nothing.
    pub fn take_due(&mut self, now: Duration) -> Vec<Event> {
        if self.due().is_some_and(|due| due <= now) { self.take() } else { Vec::new() }
    }

    /// Up to a batch of what waits, due or not.
    pub fn take(&mut self) -> Vec<Event> {
        let count = self.waiting.len().min(BATCH_EVENTS_MAX);
        self.waiting.drain(..count).map(|(_, event)| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{LedgerKeys, LedgerSigner};
    use getrandom::SysRng;
    use peri_domain::Nonce;

    fn signer() -> LedgerSigner<SysRng> {
        LedgerSigner::new(LedgerKeys::generate("peri/test", &mut SysRng).unwrap(), SysRng)
    }

    fn event(kind: EntryType, at: i64) -> Event {
        Event::new(kind, UtcNanos(at))
    }

    #[test]
    fn the_hash_of_each_checkpoint_opens_the_next_batch() {
        let mut signer = signer();
        let (chain, first) = Chain::new("peri/test").seal(&[event(EntryType::Claim, 1)], &mut signer).unwrap();
        assert!(!first.leads_with_checkpoint);
        let (chain, second) = chain.seal(&[event(EntryType::VmHours, 2)], &mut signer).unwrap();
        assert_eq!(second.entries.len(), 2);
        let block = Entry::from_bytes(&second.entries[0].bytes).unwrap();
        assert_eq!(block.kind, EntryType::CheckpointBlock);
        assert_eq!(block.commitments, [first.checkpoint.hash()]);
        assert_eq!(second.events()[0].ledger, Ledger::Billing);
        assert_eq!((chain.size(), chain.head(Ledger::Technical).next_seq), (3, 1));
        second.note.verify(&signer.verify_keys()).unwrap();
    }

    #[test]
    fn time_never_falls_below_the_last_entry() {
        let mut signer = signer();
        let events = [event(EntryType::CameraLost, 50), event(EntryType::CameraBack, 10)];
        let (chain, batch) = Chain::new("peri/test").seal(&events, &mut signer).unwrap();
        assert_eq!(batch.entries[1].time, UtcNanos(50));
        assert_eq!(chain.last_time(), UtcNanos(50));
    }

    #[test]
    fn a_restored_chain_goes_on_and_a_changed_end_is_refused() {
        let mut signer = signer();
        let events: Vec<_> = (0..7).map(|i| event(EntryType::ALL[i], 5)).collect();
        let (chain, batch) = Chain::new("peri/test").seal(&events, &mut signer).unwrap();
        let last = |ledger| batch.entries.iter().rev().find(|e| e.ledger == ledger).map(|e| e.bytes.clone());
        let stored = StoredEnd {
            note: batch.note.to_string(),
            frontier: batch.frontier.clone(),
            last_entries: Ledger::ALL.map(last),
            last_time: UtcNanos(5),
        };
        let keys = signer.verify_keys();
        assert_eq!(Chain::restore("peri/test", &stored, &keys).as_ref(), Ok(&chain));

        let mut bad = stored.clone();
        bad.frontier[0].0[0] ^= 1;
        assert!(matches!(Chain::restore("peri/test", &bad, &keys), Err(ChainError::Restore(_))));
        let mut bad = stored.clone();
        bad.last_entries[0] = None;
        assert!(matches!(Chain::restore("peri/test", &bad, &keys), Err(ChainError::Restore(_))));
        let mut bad = stored.clone();
        bad.note = bad.note.replace("\n7\n", "\n6\n");
        assert!(matches!(Chain::restore("peri/test", &bad, &keys), Err(ChainError::Signer(_))));
        assert!(Chain::restore("peri/other", &stored, &keys).is_err());
    }

    #[test]
    fn a_batch_never_exceeds_its_bound_and_waits_no_longer_than_a_second() {
        let mut batcher = Batcher::new();
        assert_eq!(batcher.due(), None);
        let start = Duration::from_secs(100);
        batcher.push(event(EntryType::CameraLost, 0), start);
        assert!(batcher.take_due(start + BATCH_WAIT_MAX - Duration::from_millis(1)).is_empty());
        assert_eq!(batcher.take_due(start + BATCH_WAIT_MAX).len(), 1);
        (0..300).for_each(|_| batcher.push(event(EntryType::CameraLost, 0), start));
        let full = batcher.take_due(start);
        assert_eq!((full.len(), batcher.len()), (BATCH_EVENTS_MAX, 45));

        let mut signer = signer();
        let (chain, _) = Chain::new("peri/test").seal(&full, &mut signer).unwrap();
        let (_, batch) = chain.seal(&full, &mut signer).unwrap();
        assert_eq!(batch.entries.len(), BATCH_ENTRIES_MAX);
        let one_more = [full.as_slice(), &full[..1]].concat();
        assert_eq!(chain.seal(&one_more, &mut signer), Err(ChainError::BatchSize(256)));
        assert_eq!(chain.seal(&[], &mut signer), Err(ChainError::BatchSize(0)));
    }

    #[test]
    fn details_keep_the_position_of_their_commitment() {
        let mut signer = signer();
        let event = event(EntryType::CameraLost, 1).with_digest(Hash([1; 32])).with_detail(Nonce([2; 16]), &"timeout");
        let (_, batch) = Chain::new("peri/test").seal(&[event], &mut signer).unwrap();
        let entry = Entry::from_bytes(&batch.entries[0].bytes).unwrap();
        let (at, detail) = &batch.entries[0].details[0];
        assert_eq!((*at, detail.commitment()), (1, entry.commitments[1]));
    }
}
