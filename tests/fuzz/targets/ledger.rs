//! The ledger: entries, events, notes, keys and checkpoints have one form; a note verifies only as it was signed.

use super::{Input, canonical, reached};
use peri_domain::{Hash, VmId};
use peri_ledger::{Checkpoint, Entry, Event, LedgerKeys, LedgerSigner, Note, VerifyKey, origin_of};
use std::sync::LazyLock;

/// First byte even: an entry; odd: an event.
pub(crate) fn entry(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte();
    let bytes = input.0;
    if which & 1 == 0 {
        if canonical(bytes, |b| Entry::from_bytes(b).ok().map(|e| e.to_bytes())) {
            let entry = Entry::from_bytes(bytes).expect("accepted before");
            assert_eq!(entry.kind.ledger(), entry.ledger);
        }
    } else if canonical(bytes, |b| Event::from_bytes(b).ok().map(|e| e.to_bytes())) {
        let event = Event::from_bytes(bytes).expect("accepted before");
        assert!(event.check().is_ok());
        let _ = event.facts.iter().map(peri_ledger::Fact::commitment).count();
    }
}

/// The fixed keys of a log and what they signed.
pub(crate) static KEYS: LazyLock<LedgerKeys> =
    LazyLock::new(|| LedgerKeys::from_bytes(&origin_of(VmId([9; 16])), &[5; LedgerKeys::LEN]).expect("a small scalar"));

/// The one checkpoint that [`KEYS`] signed.
pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint::new(origin_of(VmId([9; 16])), 42, Hash([3; 32]))
}

/// That checkpoint as a note, signed now.
pub(crate) fn signed() -> Note {
    let keys = LedgerKeys::from_bytes(&origin_of(VmId([9; 16])), &KEYS.to_bytes()).expect("the same");
    checkpoint().sign(&mut LedgerSigner::new(keys, peri_seal::rng::system())).expect("signing works")
}

/// A note, a checkpoint or a verifier key as text.
pub(crate) fn note(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(note) = text.parse::<Note>() {
        reached();
        assert_eq!(note.to_string(), text);
        assert!(note.text().ends_with('\n') && !note.lines().is_empty());
        let keys = KEYS.verify_keys();
        let both = note.verify(&keys).is_ok();
        let each: Vec<bool> = keys.iter().map(|key| note.verify(core::slice::from_ref(key)).is_ok()).collect();
        assert_eq!(both, each.iter().all(|good| *good));
        if each.contains(&true) {
            assert_eq!(note.text(), checkpoint().to_string(), "verifies, but nobody signed it");
        }
        let within = Checkpoint::try_from(&note).ok();
        assert!(within.is_none_or(|checkpoint| checkpoint.to_string() == note.text()), "a checkpoint in another form");
    }
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
        assert_eq!(checkpoint.to_string().parse::<Checkpoint>().as_ref(), Ok(&checkpoint));
    }
    if let Ok(key) = text.parse::<VerifyKey>() {
        assert_eq!(key.to_string(), text);
        assert!(!key.name().contains(['+', ' ', '\n']));
    }
}
