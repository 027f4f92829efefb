//! The ledger: three hash chains – access, billing, technical – woven into one RFC 6962 tree whose checkpoints are
//! C2SP signed notes, and whose every batch opens with the hash of the checkpoint before it.
//!
//! What does not belong: storage, clocks, sockets, who may append or read. Life of an entry: [`Event`] →
//! [`Chain::seal`] numbers, chains and signs a [`Batch`] → the store makes it durable in one transaction → the
//! returned chain becomes the present one. Invariant: the same event list on the same chain gives the same entries, so
//! a batch whose commit is in doubt can be recognised by its root.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod chain;
pub mod checkpoint;
pub mod entry;
pub mod note;
pub mod tree;
pub mod verify;

pub use chain::{Batch, Batcher, Chain, ChainError, Head, SealedEntry};
pub use checkpoint::{Checkpoint, origin_of};
pub use entry::{Detail, Entry, EntryError, EntryType, Event, Fact, Ledger};
pub use note::{CheckpointSigner, LedgerKeys, LedgerSigner, Note, NoteError, VerifyKey};
pub use tree::Frontier;
pub use verify::{Class, Finding, verify_ledger};
