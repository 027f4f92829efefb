//! A ledger as the appliance would send it: whole, changed, cut, rewritten.

use super::*;
use peri_domain::{UtcNanos, VmId};
use peri_ledger::{Chain, Event, LedgerKeys, LedgerSigner};
use peri_seal::rng::{self, SystemRng};

struct Log {
    origin: String,
    chain: Chain,
    signer: LedgerSigner<SystemRng>,
    keys: Vec<VerifyKey>,
    entries: Vec<ByteVec>,
    note: String,
}

impl Log {
    fn new() -> Self {
        let origin = origin_of(VmId([1; 16]));
        let keys = LedgerKeys::generate(&origin, &mut rng::system()).unwrap();
        let verify = keys.verify_keys();
        Self {
            chain: Chain::new(&origin),
            signer: LedgerSigner::new(keys, rng::system()),
            keys: verify,
            entries: vec![],
            note: String::new(),
            origin,
        }
    }

    fn append(&mut self, count: i64) {
        let start = self.entries.len() as i64;
        let event = |at| {
            let kind = if at % 3 == 0 { EntryType::DisclosureIntent } else { EntryType::EpochOpened };
            Event::new(kind, UtcNanos::from_secs(at)).with_digest(Hash([at as u8; 32]))
        };
        let events: Vec<_> = (start..start + count).map(event).collect();
        let (chain, batch) = self.chain.seal(&events, &mut self.signer).unwrap();
        self.chain = chain;
        self.entries.extend(batch.entries.into_iter().map(|entry| ByteVec::from(entry.bytes)));
        self.note = batch.note.to_string();
    }

    fn check(&self, before: Option<&Checkpoint>) -> Result<Checked, String> {
        let checkpoint = read_note(&self.note, &self.keys).map_err(|e| e.to_string())?;
        check(&self.origin, &self.entries, &checkpoint, before).map_err(|e| e.to_string())
    }
}

#[test]
fn a_good_ledger_holds_and_grows() {
    let mut log = Log::new();
    log.append(5);
    let first = read_note(&log.note, &log.keys).unwrap();
    log.append(4);
    let checked = log.check(Some(&first)).unwrap();
    assert_eq!(checked.entries.len(), 10, "nine events and the hash of the first checkpoint");
    assert_eq!(checked.root, log.chain.root());
}

#[test]
fn a_changed_dropped_or_reordered_entry_is_named() {
    let mut log = Log::new();
    log.append(6);
    log.append(6);
    let good = log.entries.clone();
    let other = {
        let mut other = Log::new();
        other.append(6);
        other.entries
    };
    log.entries = good.clone();
    log.entries[2] = other[1].clone();
    assert!(log.check(None).unwrap_err().contains("entry 2"), "foreign entry");
    log.entries = good.clone();
    log.entries.remove(4);
    assert!(log.check(None).is_err());
    log.entries = good.clone();
    log.entries.swap(1, 2);
    assert!(log.check(None).unwrap_err().contains("entry 1"));
    log.entries = good[..9].to_vec();
    assert!(log.check(None).unwrap_err().contains("entry 9: it is missing"));
}

#[test]
fn a_shorter_or_rewritten_history_is_noticed_by_a_home_that_saw_more() {
    let mut log = Log::new();
    log.append(5);
    let (early_entries, early_note) = (log.entries.clone(), log.note.clone());
    log.append(5);
    let seen = read_note(&log.note, &log.keys).unwrap();
    let full = log.entries.clone();
    (log.entries, log.note) = (early_entries, early_note);
    assert!(log.check(Some(&seen)).unwrap_err().contains("has seen 11"));
    // The operator with all keys writes another history of the same VM.
    let mut rewritten = Log::new();
    rewritten.append(7);
    rewritten.append(7);
    assert_ne!(rewritten.entries[..11], full[..]);
    assert!(rewritten.check(Some(&seen)).unwrap_err().contains("history was rewritten"));
}

#[test]
fn a_checkpoint_under_other_keys_is_refused() {
    let mut log = Log::new();
    log.append(3);
    log.keys = Log::new().keys;
    assert!(log.check(None).unwrap_err().contains("checkpoint"));
}
