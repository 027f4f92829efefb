//! The tails of all segments, every ten seconds, as one ledger entry: the RFC 6962 root over (camera, epoch, run,
//! counter, hash), with the leaves beside the segments. So a malicious cut of a segment differs from a power cut.

use crate::message::Progress;
use peri_domain::limits::TAIL_ENTRY_EVERY;
use peri_domain::{CameraId, EpochNo, Hash};
use peri_ledger::tree;
use peri_store::segments::TailLeaf;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Tails {
    moved: BTreeMap<(CameraId, EpochNo), TailLeaf>,
    written: Duration,
}

impl Tails {
    pub(super) fn progress(&mut self, camera: CameraId, progress: &Progress) {
        self.moved.insert(
            (camera, progress.epoch),
            TailLeaf {
                camera,
                epoch: progress.epoch,
                run: progress.run,
                counter: progress.counter,
                hash: progress.tail,
            },
        );
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.moved.is_empty() && now.saturating_sub(self.written) >= TAIL_ENTRY_EVERY
    }

    /// The root over everything that moved, and its leaves; `None` when nothing did.
    pub(super) fn take(&mut self, now: Duration) -> Option<(Hash, Vec<TailLeaf>)> {
        self.written = now;
        if self.moved.is_empty() {
            return None;
        }
        let leaves: Vec<TailLeaf> = std::mem::take(&mut self.moved).into_values().collect();
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| tree::leaf_hash(&leaf.to_bytes())).collect();
        Some((tree::root_of(&hashes), leaves))
    }
}
