//! `peri ledger`: fetches every entry and checks chain, tree and signatures; remembers what it saw, so that a ledger
//! that was rolled back or rewritten afterwards is noticed by this home.

use crate::context::Context;
use crate::exit::Error;
use crate::times::human;
use crate::ui::Report;
use crate::vault::KeyKind;
use clap::Args;
use minicbor::bytes::ByteVec;
use peri_access::wire::{LedgerBody, LedgerPage, Method};
use peri_domain::{Hash, Role};
use peri_ledger::tree::leaf_hash;
use peri_ledger::{Checkpoint, Entry, EntryType, Frontier, Ledger, Note, VerifyKey, origin_of};
use serde_json::json;
use std::collections::BTreeMap;

/// State file of the newest checkpoint seen.
const CHECKPOINT_FILE: &str = "checkpoint";
const CHECKPOINT_MAX: usize = 64 * 1024;

/// `peri ledger`
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// Print the last N entries
    #[arg(long, value_name = "N", default_value_t = 0)]
    tail: usize,
}

/// A ledger that held.
#[derive(Debug, PartialEq, Eq)]
struct Checked {
    entries: Vec<Entry>,
    root: Hash,
    /// Entries of each kind.
    kinds: BTreeMap<&'static str, u64>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Verification`] names the first wrong entry.
pub fn run(args: &LedgerArgs, context: &mut Context) -> Result<Report, Error> {
    let mut session = context.session()?;
    let who = context.requester(|file| match file.kind {
        KeyKind::Seat => true,
        KeyKind::Account { role, .. } => role == Role::Auditor,
        KeyKind::Claim => false,
    })?;
    let vm = session.vm();
    let keys = session
        .profile
        .identity
        .ledger_keys
        .iter()
        .map(|line| line.parse::<VerifyKey>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Verification(format!("a pinned ledger key is unreadable: {error}")))?;
    let mut entries: Vec<ByteVec> = Vec::new();
    let note = loop {
        let body = LedgerBody { from: entries.len() as u64 };
        let page: LedgerPage = session.conn.request(vm, Method::Ledger, &body, &who)?;
        let empty = page.entries.is_empty();
        entries.extend(page.entries);
        if empty || entries.len() as u64 >= page.size {
            break page.checkpoint;
        }
    };
    let before: Option<String> = context.vault.state(CHECKPOINT_FILE, CHECKPOINT_MAX)?;
    let before = before.map(|text| read_note(&text, &keys)).transpose()?;
    if note.is_empty() {
        return match before {
            None => Ok(Report::new("the ledger is empty", json!({ "size": 0 }))),
            Some(before) => Err(shorter(0, before.size)),
        };
    }
    let checkpoint = read_note(&note, &keys)?;
    let checked = check(&origin_of(vm), &entries, &checkpoint, before.as_ref())?;
    context.vault.set_state(CHECKPOINT_FILE, &note)?;
    Ok(report(args, &checked, before.is_some()))
}

fn read_note(text: &str, keys: &[VerifyKey]) -> Result<Checkpoint, Error> {
    let bad = |error: peri_ledger::NoteError| Error::Verification(format!("checkpoint: {error}"));
    let note: Note = text.parse().map_err(bad)?;
    note.verify(keys).map_err(bad)?;
    Checkpoint::try_from(&note).map_err(bad)
}

fn shorter(found: u64, seen: u64) -> Error {
    Error::Verification(format!(
        "the ledger ends at {found}, this home has seen {seen} entries: it was cut off or the appliance was rolled back"
    ))
}

/// Checks entries against the newest signed checkpoint and the one seen before. The signed root covers every byte; the
/// chains say which entry is wrong, and each batch must open with the hash of the checkpoint before it.
fn check(
    origin: &str,
    entries: &[ByteVec],
    checkpoint: &Checkpoint,
    before: Option<&Checkpoint>,
) -> Result<Checked, Error> {
    let wrong = |at: u64, what: &str| Error::Verification(format!("ledger entry {at}: {what}"));
    if checkpoint.origin != origin {
        return Err(Error::Verification(format!("the checkpoint is of another log ({:?})", checkpoint.origin)));
    }
    let size = usize::try_from(checkpoint.size).unwrap_or(usize::MAX);
    let covered = entries.get(..size).ok_or_else(|| {
        wrong(entries.len() as u64, "it is missing, and all after it; the signed checkpoint covers more")
    })?;
    if let Some(before) = before.filter(|before| before.size > checkpoint.size) {
        return Err(shorter(checkpoint.size, before.size));
    }
    let mut frontier = Frontier::new();
    let mut heads = Ledger::ALL.map(|ledger| (0_u64, ledger.start_hash(origin)));
    let mut checked =
        Checked { entries: Vec::with_capacity(covered.len()), root: frontier.root(), kinds: BTreeMap::new() };
    for (at, bytes) in (0_u64..).zip(covered) {
        let entry = Entry::from_bytes(bytes).map_err(|error| wrong(at, &error.to_string()))?;
        let head = &mut heads[usize::from(entry.ledger.code())];
        if entry.ledger_seq != head.0 || entry.prev_hash != head.1 {
            return Err(wrong(
                at,
                "it does not continue its chain: it, or the one before it in its ledger, was changed or removed",
            ));
        }
        if checked.entries.last().is_some_and(|last: &Entry| entry.time < last.time) {
            return Err(wrong(at, "its time lies before the entry before it"));
        }
        let block = Checkpoint::new(origin.to_owned(), at, frontier.root()).hash();
        if entry.kind == EntryType::CheckpointBlock && entry.commitments != [block] {
            return Err(wrong(at, "it does not hold the hash of the checkpoint before it"));
        }
        *head = (head.0 + 1, Entry::hash_of(bytes));
        frontier.push(leaf_hash(bytes));
        if before.is_some_and(|before| before.size == at + 1 && before.root != frontier.root()) {
            return Err(Error::Verification(format!(
                "the first {} entries are not those that this home saw and verified before: history was rewritten",
                at + 1
            )));
        }
        *checked.kinds.entry(entry.kind.name()).or_default() += 1;
        checked.entries.push(entry);
    }
    checked.root = frontier.root();
    if checked.root != checkpoint.root {
        return Err(Error::Verification("the entries are not those that the checkpoint signs".into()));
    }
    Ok(checked)
}

fn report(args: &LedgerArgs, checked: &Checked, seen_before: bool) -> Report {
    let size = checked.entries.len();
    let span = match (checked.entries.first(), checked.entries.last()) {
        (Some(first), Some(last)) => human(last.time.saturating_since(first.time)),
        _ => String::new(),
    };
    let continues = if seen_before { ", and continues what this home saw before" } else { "" };
    let mut text =
        format!("{size} entries over {span}: chains, tree and signatures hold{continues}\nroot {}", checked.root);
    checked.kinds.iter().for_each(|(kind, count)| text.push_str(&format!("\n  {count:>8} {kind}")));
    let tail: Vec<_> = checked.entries[size.saturating_sub(args.tail)..]
        .iter()
        .map(|entry| {
            json!({
                "time": entry.time.to_string(), "ledger": entry.ledger.to_string(), "seq": entry.ledger_seq,
                "type": entry.kind.name(),
            })
        })
        .collect();
    for entry in checked.entries[size.saturating_sub(args.tail)..].iter() {
        text.push_str(&format!("\n{} {} {} {}", entry.time, entry.ledger, entry.ledger_seq, entry.kind.name()));
    }
    let document =
        json!({ "size": size, "root": checked.root, "kinds": checked.kinds, "tail": tail, "verified": true });
    Report::new(text, document)
}

#[cfg(test)]
mod tests;
