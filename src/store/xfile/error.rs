//! Why the key file does not serve, and what to do about it.

use std::io;

use peri_domain::{CameraId, EpochNo};

use super::SLOTS_MAX;
use crate::root::{RootError, Slot};

/// Why the key file does not serve.
#[derive(Debug, thiserror::Error)]
pub enum XFileError {
    /// Disk.
    #[error("X key file, {doing}: {source}; nothing was handed out")]
    Io {
        /// Step.
        doing: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// Root store.
    #[error("X key file, {doing}: {source}")]
    Root {
        /// Step.
        doing: &'static str,
        /// Cause.
        source: RootError,
    },
    /// Files and roots are there, but none fits another.
    #[error(
        "no root opens the X key file (files of generation {files:?}, roots of generation {roots:?}): the TPM state or the \
         data directory was replaced, or restored from a copy. Bring back the TPM state that belongs to this data; if it \
         is lost, all recordings so far are lost with it, and `forget_x = true` starts anew"
    )]
    NoPairOpens {
        /// Generations found in file names.
        files: Vec<u64>,
        /// Generations found in the root store.
        roots: Vec<u64>,
    },
    /// No slot left.
    #[error("all {slots} slots of the X key file are taken; {}", room(*.slots))]
    Full {
        /// Slots of the file.
        slots: u32,
    },
    /// An epoch number came twice.
    #[error("camera {camera}, epoch {epoch}: X was drawn before; epoch numbers are never reused")]
    DrawnBefore {
        /// Camera.
        camera: CameraId,
        /// Epoch.
        epoch: EpochNo,
    },
    /// There is no such X, or no longer.
    #[error("camera {camera}, epoch {epoch}: there is no X (never drawn, or erased)")]
    Unknown {
        /// Camera.
        camera: CameraId,
        /// Epoch.
        epoch: EpochNo,
    },
    /// A record that was good does not open any more.
    #[error("camera {camera}, epoch {epoch}: the record in slot {slot} is damaged; that epoch cannot be opened again")]
    Damaged {
        /// Camera.
        camera: CameraId,
        /// Epoch.
        epoch: EpochNo,
        /// Slot.
        slot: u32,
    },
    /// The store did not keep the root it was given.
    #[error("slot {slot} of the root store reads back differently from what was written; re-key not done")]
    ReadBack {
        /// Slot.
        slot: Slot,
    },
    /// An earlier failure left two candidates.
    #[error("the X key file must be opened anew: a failed re-key could not be taken back; restart the role")]
    Reopen,
    /// Kernel randomness.
    #[error("the kernel gave no random bytes; nothing was drawn")]
    Random,
}

const fn room(slots: u32) -> &'static str {
    if slots < SLOTS_MAX {
        "a re-key frees those of erased recordings and makes the file larger"
    } else {
        "it cannot grow any more: shorten retention or record fewer cameras"
    }
}

impl XFileError {
    /// Whether the root store does not answer any more, so that a new connection to it may help.
    #[must_use]
    pub const fn is_root_store_lost(&self) -> bool {
        matches!(self, Self::Root { source, .. } if source.is_connection_lost())
    }

    /// In two or three words what stands in the way, for account and alarm. The whole text says more.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Full { .. } => "key file full",
            Self::Root { .. } if self.is_root_store_lost() => "TPM gone",
            Self::Root { .. } | Self::ReadBack { .. } => "TPM refuses",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => "disk full",
            Self::Io { .. } => "key file not writable",
            Self::Reopen => "key file to be opened anew",
            _ => "key file",
        }
    }
}
