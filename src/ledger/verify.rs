//! Checking a whole ledger from its first leaf, with nothing but the log's name and public keys.
//!
//! Each batch must be covered by a checkpoint that every key signed; entries must be canonical, numbered without gaps
//! and chained per ledger; each batch must open with the hash of the checkpoint before; the RFC 6962 root must be the
//! signed one; checkpoints known from elsewhere (witnesses, clients) must lie on the same log. The finding names the
//! first wrong entry. What does not belong: where entries come from, witness quorums.
//!
//! Limit, said so in the finding: who rewrites an entry *and* every link after it breaks only the signed root, which
//! names the batch and not the entry within it.

use crate::checkpoint::Checkpoint;
use crate::entry::{Detail, Entry, EntryType, Ledger};
use crate::note::{Note, NoteError, VerifyKey};
use crate::tree::{Frontier, leaf_hash};
use core::fmt;
use peri_domain::limits::BATCH_ENTRIES_MAX;
use peri_domain::{Hash, UtcNanos};
use std::collections::BTreeMap;

/// Classes of findings; the number is the exit code of `peri-verify` (DESIGN §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// A checkpoint is not signed by every key.
    Signature = 10,
    /// A root is not the signed one, or two checkpoints contradict each other.
    Proof = 11,
    /// Too few witnesses cosigned.
    Witness = 12,
    /// Numbers, links or times of a chain do not fit.
    Chain = 13,
    /// An entry or a detail is not what it must be by itself.
    Content = 14,
    /// Something that must be there is not.
    Truncated = 15,
}

impl Class {
    /// Exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Proof => "proof",
            Self::Witness => "witness",
            Self::Chain => "chain",
            Self::Content => "content",
            Self::Truncated => "truncated",
        })
    }
}

/// What is wrong, and at which leaf first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: entry {entry}: {what}")]
pub struct Finding {
    /// Kind of fault.
    pub class: Class,
    /// Index of the first wrong leaf; where only the batch is known, of the batch's first leaf.
    pub entry: u64,
    /// In words.
    pub what: String,
}

/// What a good ledger holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Entries of each ledger, in code order.
    pub per_ledger: [u64; 3],
    /// Number of checkpoints.
    pub checkpoints: u64,
    /// Time of the last entry; `None` in an empty ledger.
    pub last_time: Option<UtcNanos>,
}

fn finding<T>(class: Class, entry: u64, what: impl Into<String>) -> Result<T, Finding> {
    Err(Finding { class, entry, what: what.into() })
}

/// Checks `entries` (all of them, in leaf order) against `checkpoints` (all of them, in order of size), both as stored.
/// `keys` must all have signed each checkpoint. `known` are checkpoints whose signatures the caller has checked and
/// which this log must contain.
///
/// # Errors
/// The first [`Finding`].
pub fn verify_ledger<E, N>(
    origin: &str,
    entries: impl IntoIterator<Item = E>,
    checkpoints: impl IntoIterator<Item = N>,
    keys: &[VerifyKey],
    known: &[Checkpoint],
) -> Result<Report, Finding>
where
    E: AsRef<[u8]>,
    N: AsRef<str>,
{
    let mut walk = Walk::new(origin, known);
    let mut entries = entries.into_iter();
    let mut batch: Vec<E> = Vec::with_capacity(BATCH_ENTRIES_MAX);
    let mut count = 0;
    for note in checkpoints {
        let checkpoint = walk.check_note(note.as_ref(), keys)?;
        let wanted = usize::try_from(checkpoint.size - walk.frontier.size()).unwrap_or(usize::MAX);
        batch.clear();
        batch.extend(entries.by_ref().take(wanted));
        walk.check_batch(&batch, &checkpoint, entries.by_ref())?;
        count += 1;
    }
    let size = walk.frontier.size();
    if entries.next().is_some() {
        return finding(Class::Truncated, size, "it exists, but no checkpoint covers it; checkpoints were cut off");
    }
    if let Some((known, _)) = walk.known.range(size + 1..).next() {
        return finding(Class::Truncated, size, format!("the ledger ends here, a checkpoint over {known} is known"));
    }
    Ok(Report {
        size,
        root: walk.frontier.root(),
        per_ledger: walk.heads.map(|(seq, _)| seq),
        checkpoints: count,
        last_time: (size > 0).then_some(walk.last_time),
    })
}

/// Checks that stored details are what an entry commits to. A detail that was erased is simply not in the list.
///
/// # Errors
/// A [`Finding`] of class content.
pub fn verify_details(index: u64, entry: &Entry, details: &[(u16, Detail)]) -> Result<(), Finding> {
    for (at, detail) in details {
        if entry.commitments.get(usize::from(*at)) != Some(&detail.commitment()) {
            return finding(Class::Content, index, format!("detail {at} is not what the entry commits to"));
        }
    }
    Ok(())
}

/// The state of the walk: what the next entry must fit.
struct Walk<'a> {
    origin: &'a str,
    known: BTreeMap<u64, Hash>,
    frontier: Frontier,
    /// Next number and link of each ledger.
    heads: [(u64, Hash); 3],
    last_time: UtcNanos,
    last_checkpoint: Option<Hash>,
}

impl<'a> Walk<'a> {
    fn new(origin: &'a str, known: &[Checkpoint]) -> Self {
        Self {
            origin,
            known: known.iter().map(|c| (c.size, c.root)).collect(),
            frontier: Frontier::new(),
            heads: Ledger::ALL.map(|ledger| (0, ledger.start_hash(origin))),
            last_time: UtcNanos(i64::MIN),
            last_checkpoint: None,
        }
    }

    /// Parses and verifies the next checkpoint.
    fn check_note(&self, note: &str, keys: &[VerifyKey]) -> Result<Checkpoint, Finding> {
        let from = self.frontier.size();
        let refuse = |e: NoteError| Finding {
            class: Class::Signature,
            entry: from,
            what: format!("the checkpoint over the batch that begins here: {e}"),
        };
        let note: Note = note.parse().map_err(refuse)?;
        note.verify(keys).map_err(refuse)?;
        let checkpoint = Checkpoint::try_from(&note).map_err(refuse)?;
        if checkpoint.origin != self.origin {
            return finding(Class::Signature, from, format!("the checkpoint is of {:?}", checkpoint.origin));
        }
        if checkpoint.size <= from {
            let what =
                format!("a checkpoint over {} follows one over {from}; one of them is misplaced", checkpoint.size);
            return finding(Class::Proof, from, what);
        }
        if checkpoint.size - from > BATCH_ENTRIES_MAX as u64 {
            let what =
                format!("the next checkpoint covers {} entries; one in between is missing", checkpoint.size - from);
            return finding(Class::Truncated, from, what);
        }
        Ok(checkpoint)
    }

    /// Checks one batch; `rest` are the entries after it, read only to tell which entry of a bad batch is wrong.
    fn check_batch<E: AsRef<[u8]>>(
        &mut self,
        batch: &[E],
        checkpoint: &Checkpoint,
        rest: impl Iterator<Item = E>,
    ) -> Result<(), Finding> {
        let from = self.frontier.size();
        let trusted = self.heads;
        let mut parsed: Vec<(Entry, Hash)> = Vec::with_capacity(batch.len());
        for (index, bytes) in (from..).zip(batch) {
            let bytes = bytes.as_ref();
            let entry = match Entry::from_bytes(bytes) {
                Ok(entry) => entry,
                Err(e) => return finding(Class::Content, index, e.to_string()),
            };
            parsed.push((entry, Entry::hash_of(bytes)));
        }
        for (at, (entry, hash)) in parsed.iter().enumerate() {
            let index = from + at as u64;
            self.check_place(index, entry, at == 0)?;
            let head = &mut self.heads[usize::from(entry.ledger.code())];
            if entry.prev_hash != head.1 {
                return Err(blame_link(from, at, &parsed, &trusted, batch, &self.frontier, checkpoint));
            }
            *head = (entry.ledger_seq + 1, *hash);
            self.last_time = entry.time;
        }
        if from + (batch.len() as u64) < checkpoint.size {
            let what = format!("it is missing, and all after it; the checkpoint covers {}", checkpoint.size);
            return finding(Class::Truncated, from + batch.len() as u64, what);
        }
        let mut frontier = self.frontier.clone();
        for bytes in batch {
            frontier.push(leaf_hash(bytes.as_ref()));
            if let Some(root) = self.known.get(&frontier.size())
                && *root != frontier.root()
                && frontier.size() < checkpoint.size
            {
                return finding(Class::Proof, from, fork(frontier.size()));
            }
        }
        if frontier.root() != checkpoint.root {
            return Err(blame_root(from, &parsed, rest));
        }
        if self.known.get(&checkpoint.size).is_some_and(|root| *root != checkpoint.root) {
            return finding(Class::Proof, from, fork(checkpoint.size));
        }
        self.frontier = frontier;
        self.last_checkpoint = Some(checkpoint.hash());
        Ok(())
    }

    /// Number, time and position of one entry.
    fn check_place(&self, index: u64, entry: &Entry, first: bool) -> Result<(), Finding> {
        let block = entry.kind == EntryType::CheckpointBlock;
        match (first, self.last_checkpoint, block) {
            (true, Some(hash), true) if entry.commitments != [hash] => {
                return finding(Class::Chain, index, "it does not hold the hash of the checkpoint before");
            }
            (true, Some(_), false) => {
                return finding(Class::Chain, index, "a batch must open with the hash of the checkpoint before");
            }
            (true, None, true) | (false, _, true) => {
                return finding(Class::Content, index, "the hash of a checkpoint stands where no batch begins");
            }
            _ => {}
        }
        let (expected, _) = self.heads[usize::from(entry.ledger.code())];
        if entry.ledger_seq > expected {
            let what =
                format!("number {expected} of the {} ledger is missing here; found {}", entry.ledger, entry.ledger_seq);
            return finding(Class::Chain, index, what);
        }
        if entry.ledger_seq < expected {
            let what = format!(
                "number {} of the {} ledger comes again or too late; {expected} is next",
                entry.ledger_seq, entry.ledger
            );
            return finding(Class::Chain, index, what);
        }
        if entry.time < self.last_time {
            return finding(Class::Chain, index, format!("its time {} lies before the entry before it", entry.time));
        }
        Ok(())
    }
}

fn fork(size: u64) -> String {
    format!("at {size} entries this log has another root than the checkpoint known from elsewhere: it was forked")
}

/// Entry `at` does not name the entry before it in its ledger: one of the two was changed. The one before is beyond
/// doubt when an earlier, good root covers it. Else the changed one is told by what comes after, and where nothing
/// does, by trying whether the signed root returns once the link is mended.
fn blame_link<E: AsRef<[u8]>>(
    from: u64,
    at: usize,
    parsed: &[(Entry, Hash)],
    trusted: &[(u64, Hash); 3],
    batch: &[E],
    frontier: &Frontier,
    checkpoint: &Checkpoint,
) -> Finding {
    let (entry, hash) = &parsed[at];
    let before = parsed[..at].iter().rposition(|(e, _)| e.ledger == entry.ledger);
    let after = parsed[at + 1..].iter().find(|(e, _)| e.ledger == entry.ledger);
    let wrong = match (before, after) {
        (None, _) => at,
        (Some(before), Some((next, _))) if next.prev_hash == *hash => before,
        (Some(_), Some(_)) => at,
        (Some(before), None) => {
            let mended = Entry { prev_hash: parsed[before].1, ..entry.clone() }.to_bytes();
            let mut frontier = frontier.clone();
            for (i, bytes) in batch.iter().enumerate() {
                frontier.push(leaf_hash(if i == at { &mended } else { bytes.as_ref() }));
            }
            if frontier.root() == checkpoint.root { at } else { before }
        }
    };
    let wrong_entry = &parsed[wrong].0;
    let first = trusted[usize::from(entry.ledger.code())].0;
    let what = if wrong == at {
        format!("number {} of the {} ledger does not name its predecessor", wrong_entry.ledger_seq, entry.ledger)
    } else {
        format!(
            "number {} of the {} ledger is not what its successor names (numbers before {first} are good)",
            wrong_entry.ledger_seq, entry.ledger
        )
    };
    Finding { class: Class::Chain, entry: from + wrong as u64, what }
}

/// All links within the batch fit, but the root does not: the changed entry is one that nothing in the batch names (the
/// last of its ledger), or the links were rewritten too.
fn blame_root<E: AsRef<[u8]>>(from: u64, parsed: &[(Entry, Hash)], rest: impl Iterator<Item = E>) -> Finding {
    let last_of = |ledger| parsed.iter().rposition(|(e, _): &(Entry, Hash)| e.ledger == ledger);
    let mut unnamed: Vec<usize> = Ledger::ALL.into_iter().filter_map(last_of).collect();
    let mut contradicted = None;
    for entry in rest.map_while(|bytes| Entry::from_bytes(bytes.as_ref()).ok()) {
        let Some(which) = unnamed.iter().position(|at| parsed[*at].0.ledger == entry.ledger) else { continue };
        let at = unnamed.swap_remove(which);
        if entry.prev_hash != parsed[at].1 {
            contradicted = contradicted.into_iter().chain([at]).min();
        }
        if unnamed.is_empty() {
            break;
        }
    }
    let last = from + parsed.len() as u64 - 1;
    match (contradicted, unnamed.as_slice()) {
        (Some(at), _) => {
            let what = format!(
                "number {} of the {} ledger is not what its successor names, and the signed root differs",
                parsed[at].0.ledger_seq, parsed[at].0.ledger
            );
            Finding { class: Class::Proof, entry: from + at as u64, what }
        }
        (None, [at]) => Finding {
            class: Class::Proof,
            entry: from + *at as u64,
            what: "the signed root differs, and this is the only entry of its batch that no other names".to_owned(),
        },
        (None, _) => Finding {
            class: Class::Proof,
            entry: from,
            what: format!("the signed root over the batch {from} to {last} differs; one of its entries was rewritten"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::entry::Event;
    use crate::note::{CheckpointSigner as _, LedgerKeys, LedgerSigner};
    use getrandom::SysRng;
    use peri_domain::Nonce;
    use proptest::prelude::*;

    const ORIGIN: &str = "peri/test";

    struct Log {
        entries: Vec<Vec<u8>>,
        notes: Vec<String>,
        sizes: Vec<u64>,
        keys: Vec<VerifyKey>,
    }

    impl Log {
        /// A log of batches of these sizes, the kinds of its events spread over the three ledgers.
        fn of(batches: &[usize]) -> Self {
            let mut signer = LedgerSigner::new(LedgerKeys::generate(ORIGIN, &mut SysRng).unwrap(), SysRng);
            let kinds = [EntryType::DisclosureIntent, EntryType::CameraLost, EntryType::VmHours, EntryType::CameraBack];
            let mut chain = Chain::new(ORIGIN);
            let mut log = Self { entries: vec![], notes: vec![], sizes: vec![], keys: signer.verify_keys() };
            let mut clock = 0;
            for size in batches {
                let events: Vec<_> = (0..*size)
                    .map(|_| {
                        clock += 1;
                        Event::new(kinds[clock as usize % 4], UtcNanos(clock)).with_digest(Hash([clock as u8; 32]))
                    })
                    .collect();
                let (next, batch) = chain.seal(&events, &mut signer).unwrap();
                chain = next;
                log.entries.extend(batch.entries.iter().map(|e| e.bytes.clone()));
                log.notes.push(batch.note.to_string());
                log.sizes.push(batch.checkpoint.size);
            }
            log
        }

        fn verify(&self) -> Result<Report, Finding> {
            verify_ledger(ORIGIN, &self.entries, &self.notes, &self.keys, &[])
        }

        fn change(&mut self, index: usize, how: impl FnOnce(&mut Entry)) {
            let mut entry = Entry::from_bytes(&self.entries[index]).unwrap();
            how(&mut entry);
            self.entries[index] = entry.to_bytes();
        }
    }

    #[test]
    fn a_good_ledger_verifies_and_counts() {
        let report = Log::of(&[5, 1, 20]).verify().unwrap();
        assert_eq!((report.size, report.checkpoints), (28, 3));
        assert_eq!(report.per_ledger.iter().sum::<u64>(), 28);
        assert_eq!(Log::of(&[]).verify().unwrap().size, 0);
    }

    #[test]
    fn every_single_edit_is_found_at_its_entry() {
        let total = Log::of(&[6, 9, 3, 1, 7]).entries.len();
        for index in 0..total {
            let mut log = Log::of(&[6, 9, 3, 1, 7]);
            log.change(index, |e| e.commitments[0].0[31] ^= 1);
            let found = log.verify().unwrap_err();
            // In the last batch several ledgers end without a successor: there the batch is named.
            let last = log.sizes[3];
            if (index as u64) < last {
                assert_eq!(found.entry, index as u64, "{found}");
            } else {
                assert!(found.entry >= last && found.entry <= index as u64, "{found}");
            }
            let mut log = Log::of(&[6, 9, 3, 1, 7]);
            log.change(index, |e| e.prev_hash.0[0] ^= 1);
            let found = log.verify().unwrap_err();
            assert_eq!((found.entry, found.class), (index as u64, Class::Chain), "{found}");
        }
    }

    #[test]
    fn every_deletion_is_found_at_its_place() {
        for index in 0..Log::of(&[6, 9, 3]).entries.len() {
            let mut log = Log::of(&[6, 9, 3]);
            let gone = Entry::from_bytes(&log.entries.remove(index)).unwrap();
            let found = log.verify().unwrap_err();
            // The gap shows at the place itself or, where other ledgers follow first, at the next entry of its ledger.
            let shows = (index..log.entries.len())
                .find(|i| Entry::from_bytes(&log.entries[*i]).unwrap().ledger == gone.ledger)
                .unwrap_or(log.entries.len());
            assert!((index as u64..=shows as u64).contains(&found.entry), "{index}: {found}");
        }
    }

    #[test]
    fn every_swap_is_found_at_its_first_entry() {
        for index in 0..Log::of(&[6, 9, 3]).entries.len() - 1 {
            let mut log = Log::of(&[6, 9, 3]);
            log.entries.swap(index, index + 1);
            let found = log.verify().unwrap_err();
            assert!((found.entry as usize) == index || (found.entry as usize) == index + 1, "{index}: {found}");
        }
    }

    #[test]
    fn truncation_names_the_first_missing_entry() {
        let mut log = Log::of(&[6, 9, 3]);
        log.entries.truncate(12);
        let found = log.verify().unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Truncated, 12));

        let mut log = Log::of(&[6, 9, 3]);
        log.notes.pop();
        let found = log.verify().unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Truncated, 16));

        let mut log = Log::of(&[6, 255, 255]);
        log.notes.remove(1);
        assert_eq!(log.verify().unwrap_err().class, Class::Truncated);
    }

    #[test]
    fn cutting_entries_and_checkpoints_alike_is_found_by_whoever_knows_a_later_checkpoint() {
        let mut log = Log::of(&[6, 9, 3]);
        let later: Checkpoint = log.notes[2].parse::<Note>().unwrap().text().parse().unwrap();
        let verify =
            |log: &Log| verify_ledger(ORIGIN, &log.entries, &log.notes, &log.keys, std::slice::from_ref(&later));
        verify(&log).unwrap();
        log.notes.truncate(2);
        log.entries.truncate(16);
        log.verify().unwrap();
        let found = verify(&log).unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Truncated, 16));
    }

    #[test]
    fn a_fork_under_the_same_keys_is_found_by_a_known_checkpoint() {
        let log = Log::of(&[6, 9]);
        let mut known: Checkpoint = log.notes[0].parse::<Note>().unwrap().text().parse().unwrap();
        known.root.0[0] ^= 1;
        let found = verify_ledger(ORIGIN, &log.entries, &log.notes, &log.keys, &[known]).unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Proof, 0));
    }

    #[test]
    fn a_checkpoint_of_another_key_or_log_is_a_signature_finding() {
        let (mut log, other) = (Log::of(&[6, 9]), Log::of(&[6, 9]));
        log.notes[1] = other.notes[1].clone();
        let found = log.verify().unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Signature, 6));
        let log = Log::of(&[2]);
        let found = verify_ledger("peri/other", &log.entries, &log.notes, &log.keys, &[]).unwrap_err();
        assert_eq!(found.class, Class::Signature);
    }

    #[test]
    fn details_must_be_what_the_entry_commits_to() {
        let detail = Detail::new(Nonce([1; 16]), &"x");
        let mut log = Log::of(&[1]);
        log.change(0, |e| e.commitments = vec![detail.commitment()]);
        let entry = Entry::from_bytes(&log.entries[0]).unwrap();
        verify_details(0, &entry, &[(0, detail.clone())]).unwrap();
        let other = Detail::new(Nonce([1; 16]), &"y");
        assert_eq!(verify_details(0, &entry, &[(0, other)]).unwrap_err().class, Class::Content);
        assert!(verify_details(0, &entry, &[(1, detail)]).is_err());
    }

    #[test]
    fn rewriting_an_entry_with_all_links_after_it_still_breaks_the_signed_root() {
        let mut log = Log::of(&[8, 4]);
        let mut heads = Ledger::ALL.map(|l| l.start_hash(ORIGIN));
        for index in 0..log.entries.len() {
            log.change(index, |e| {
                if index == 2 {
                    e.time = UtcNanos(e.time.0 - 1);
                }
                e.prev_hash = heads[usize::from(e.ledger.code())];
            });
            let ledger = Entry::from_bytes(&log.entries[index]).unwrap().ledger;
            heads[usize::from(ledger.code())] = Entry::hash_of(&log.entries[index]);
        }
        let found = log.verify().unwrap_err();
        assert_eq!((found.class, found.entry), (Class::Proof, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_change_of_any_byte_verifies(entry in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(),
                                          bit in 0_u8..8) {
            let mut log = Log::of(&[4, 3]);
            let index = entry.index(log.entries.len());
            let at = byte.index(log.entries[index].len());
            log.entries[index][at] ^= 1 << bit;
            prop_assert!(log.verify().is_err());
        }
    }
}
