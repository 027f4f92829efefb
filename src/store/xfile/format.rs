//! The bytes of the X key file.
//!
//! ```text
//! 0      header, 512: magic 8 ‖ slots u32 BE ‖ generation u64 BE ‖ zeros ‖ tag 16 (AES-256-GCM over nothing, the
//!        rest of the header as AAD, slot number 0xFFFF_FFFF in the nonce)
//! 512    slots × 128: ciphertext of 64 ‖ tag 16 ‖ 48 zeros; a slot that is all zeros is empty
//! then   slots × 1: mark, 0 living, 0xD5 dropped
//! ```
//! Plaintext of a record: camera 16 ‖ epoch u64 BE ‖ X 32 ‖ 8 zeros. Records are 128 bytes so that none straddles a
//! sector: a torn write then damages one record only. The number of slots is that of one file; the next may have more or
//! fewer. Marks are not authenticated: who can write the file can also
//! delete it, and a mark opens nothing.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use peri_domain::{CameraId, EpochNo};
use peri_seal::XSecret;
use zeroize::Zeroizing;

use crate::root::RootKey;

pub(super) const HEADER_LEN: usize = 512;
pub(super) const RECORD_LEN: usize = 128;
pub(super) const DROPPED: u8 = 0xD5;

const MAGIC: &[u8; 8] = b"PERIXKF1";
const RECORD_AAD: &[u8] = b"peri/v1/x-record\0";
const PLAIN_LEN: usize = 64;
const TAG_LEN: usize = 16;
const HEADER_SLOT: u32 = u32::MAX;

pub(super) fn file_name(generation: u64) -> String {
    format!("x.{generation:020}.key")
}

pub(super) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("x.")?.strip_suffix(".key")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Where things lie in a file of so many slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) slots: u32,
}

impl Layout {
    pub(super) fn record_at(self, slot: u32) -> u64 {
        HEADER_LEN as u64 + u64::from(slot) * RECORD_LEN as u64
    }

    pub(super) fn mark_at(self, slot: u32) -> u64 {
        self.record_at(self.slots) + u64::from(slot)
    }

    pub(super) fn file_len(self) -> u64 {
        self.mark_at(self.slots)
    }
}

/// One X with its epoch, in one wiped box.
pub(super) struct Record(Box<Zeroizing<[u8; PLAIN_LEN]>>);

impl Record {
    /// A fresh X; `None` when the kernel gives no random bytes.
    pub(super) fn draw(camera: CameraId, epoch: EpochNo) -> Option<Self> {
        let mut plain = Box::new(Zeroizing::new([0; PLAIN_LEN]));
        plain[..16].copy_from_slice(camera.as_bytes());
        plain[16..24].copy_from_slice(&epoch.0.to_be_bytes());
        getrandom::fill(&mut plain[24..56]).ok()?;
        Some(Self(plain))
    }

    pub(super) fn key(&self) -> (CameraId, EpochNo) {
        let camera = self.0[..16].try_into().expect("16 bytes by range");
        let epoch = self.0[16..24].try_into().expect("8 bytes by range");
        (CameraId(camera), EpochNo(u64::from_be_bytes(epoch)))
    }

    pub(super) fn x(&self) -> XSecret {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&self.0[24..56]);
        XSecret::from_bytes(*bytes)
    }
}

pub(super) enum SlotState {
    Empty,
    Taken(Record),
    Burned,
}

/// The cipher of one file. Made for each operation, so that the key schedule does not lie around between them.
pub(super) struct Sealer {
    cipher: Box<Aes256Gcm>,
    generation: u64,
}

impl Sealer {
    pub(super) fn new(root: &RootKey, generation: u64) -> Self {
        Self { cipher: Box::new(Aes256Gcm::new(root.expose().into())), generation }
    }

    fn nonce(&self, slot: u32) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&slot.to_be_bytes());
        nonce[4..].copy_from_slice(&self.generation.to_be_bytes());
        nonce
    }

    pub(super) fn seal(&self, slot: u32, record: &Record) -> [u8; RECORD_LEN] {
        let mut buffer = Zeroizing::new([0; PLAIN_LEN]);
        buffer.copy_from_slice(record.0.as_slice());
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(self.nonce(slot)), RECORD_AAD, buffer.as_mut_slice().into())
            .expect("64 bytes are within AES-GCM's limit");
        let mut out = [0; RECORD_LEN];
        out[..PLAIN_LEN].copy_from_slice(buffer.as_slice());
        out[PLAIN_LEN..PLAIN_LEN + TAG_LEN].copy_from_slice(&tag);
        out
    }

    pub(super) fn open(&self, slot: u32, sealed: &[u8; RECORD_LEN]) -> SlotState {
        if sealed.iter().all(|byte| *byte == 0) {
            return SlotState::Empty;
        }
        let mut plain = Box::new(Zeroizing::new([0; PLAIN_LEN]));
        plain.copy_from_slice(&sealed[..PLAIN_LEN]);
        let tag: [u8; TAG_LEN] = sealed[PLAIN_LEN..PLAIN_LEN + TAG_LEN].try_into().expect("16 bytes by range");
        let opened = self.cipher.decrypt_inout_detached(
            &Nonce::from(self.nonce(slot)),
            RECORD_AAD,
            plain.as_mut_slice().into(),
            &Tag::from(tag),
        );
        match opened {
            Ok(()) => SlotState::Taken(Record(plain)),
            Err(_) => SlotState::Burned,
        }
    }

    fn header_tag(&self, header: &[u8]) -> [u8; TAG_LEN] {
        let mut nothing = [0; 0];
        self.cipher
            .encrypt_inout_detached(&Nonce::from(self.nonce(HEADER_SLOT)), header, nothing.as_mut_slice().into())
            .expect("512 bytes are within AES-GCM's limit")
            .into()
    }

    pub(super) fn seal_header(&self, layout: Layout) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&layout.slots.to_be_bytes());
        header[12..20].copy_from_slice(&self.generation.to_be_bytes());
        let tag = self.header_tag(&header[..HEADER_LEN - TAG_LEN]);
        header[HEADER_LEN - TAG_LEN..].copy_from_slice(&tag);
        header
    }

    /// The layout, if this root made the header.
    pub(super) fn open_header(&self, header: &[u8; HEADER_LEN]) -> Option<Layout> {
        let (content, tag) = header.split_at(HEADER_LEN - TAG_LEN);
        let tag: [u8; TAG_LEN] = tag.try_into().expect("16 bytes by range");
        let mut nothing = [0; 0];
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(self.nonce(HEADER_SLOT)),
                content,
                nothing.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .ok()?;
        let slots = u32::from_be_bytes(content[8..12].try_into().expect("4 bytes by range"));
        (&content[..8] == MAGIC && slots <= super::SLOTS_MAX).then_some(Layout { slots })
    }
}
