//! Opening single fragments, as they come from a live stream, a range or a file.
//!
//! What does not belong: files (segment). Invariants: nothing is returned that did not authenticate under K, this
//! epoch's record and its own header; the order of what is returned is checked by [`Order`]; a fragment that is refused
//! changes nothing.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use core::ops::Range;
use peri_domain::Hash;
use peri_seal::record::{EpochId, EpochRecord};
use peri_seal::sealer::nonce;
use peri_seal::secret::ContentKey;
use peri_seal::segment::{CRC_LEN, FragmentHeader, HEADER_LEN, HeaderError, OVERHEAD, Order, OrderError};
use peri_seal::wrap::TAG_LEN;

/// Why a fragment was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// K is not the one of the record.
    #[error("the key in hand is not the one of epoch {0:?}")]
    WrongKey(EpochId),
    /// Fewer bytes than the header says.
    #[error("a fragment of {need} bytes is cut after {have}")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// No sealer writes such a header.
    #[error("damaged header: {0}")]
    Header(#[from] HeaderError),
    /// CRC-32C: damaged on disk or on the way, not by somebody who knows how.
    #[error("fragment {counter} is damaged (CRC-32C): fetch it again")]
    Checksum {
        /// Its counter, if that is not what was damaged.
        counter: u64,
    },
    /// The tag: changed by somebody who also made the checksum fit, or moved here from another epoch.
    #[error(
        "fragment {counter} of run {run} was not sealed with this key for this epoch: it was changed or moved here"
    )]
    Forged {
        /// Its run.
        run: u32,
        /// Its counter.
        counter: u64,
    },
    /// Authentic, but not what comes next.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Opens the fragments of one epoch.
pub struct FragmentOpener {
    cipher: Aes256Gcm,
    aad: [u8; Hash::LEN + HEADER_LEN],
    order: Order,
}

impl FragmentOpener {
    /// For the epoch of this record; `order` says where the fragments start ([`Order::file`], [`Order::resume`],
    /// [`Order::stream`]).
    ///
    /// # Errors
    /// [`FragmentError::WrongKey`] when the record does not commit to this key.
    pub fn new(key: &ContentKey, record: &EpochRecord, order: Order) -> Result<Self, FragmentError> {
        if key.commit() != record.context.commit_k {
            return Err(FragmentError::WrongKey(record.context.id()));
        }
        let mut aad = [0; Hash::LEN + HEADER_LEN];
        aad[..Hash::LEN].copy_from_slice(record.hash().as_bytes());
        Ok(Self { cipher: Aes256Gcm::new(key.as_bytes().into()), aad, order })
    }

    /// Opens one whole fragment in place; the plaintext is then `fragment[range]`.
    ///
    /// # Errors
    /// [`FragmentError`]; the bytes may then be anything but plaintext.
    pub fn open_in_place(&mut self, fragment: &mut [u8]) -> Result<(FragmentHeader, Range<usize>), FragmentError> {
        let have = fragment.len();
        let header = fragment.first_chunk().ok_or(FragmentError::Truncated { have, need: OVERHEAD })?;
        let header = FragmentHeader::decode(header)?;
        let need = header.total_len();
        if have != need {
            return Err(FragmentError::Truncated { have, need });
        }
        let (body, crc) = fragment.split_at_mut(need - CRC_LEN);
        if crc32c::crc32c(body).to_be_bytes() != *crc {
            return Err(FragmentError::Checksum { counter: header.counter });
        }
        self.aad[Hash::LEN..].copy_from_slice(&body[..HEADER_LEN]);
        let (ciphertext, tag) = body[HEADER_LEN..].split_at_mut(need - OVERHEAD);
        let tag: [u8; TAG_LEN] = (&*tag).try_into().expect("what is left of a fragment between text and checksum");
        self.cipher
            .decrypt_inout_detached(
                &nonce(header.run, header.counter).into(),
                &self.aad,
                ciphertext.into(),
                &tag.into(),
            )
            .map_err(|_| FragmentError::Forged { run: header.run, counter: header.counter })?;
        if let Err(error) = self.order.take(&header) {
            ciphertext_wipe(&mut fragment[HEADER_LEN..]);
            return Err(error.into());
        }
        Ok((header, HEADER_LEN..HEADER_LEN + need - OVERHEAD))
    }

    /// What may come next.
    #[must_use]
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// Goes on elsewhere in the same epoch.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
    }
}

/// An authentic fragment out of order is not handed out, and its plaintext does not stay in the caller's buffer.
fn ciphertext_wipe(bytes: &mut [u8]) {
    zeroize::Zeroize::zeroize(bytes);
}
