//! Scribe's nonces: each opening of a session carries one, each works once, and they cost bounded memory.
//!
//! A nonce proves that an opening was made after it was handed out. A stolen copy of one therefore opens nothing: its
//! nonce is spent or was never ours (nonces do not survive a restart of scribe).

use core::time::Duration;
use peri_domain::Nonce;
use std::collections::{HashMap, VecDeque};

/// How long a client may take between asking for a nonce and using it: a person types no password in between.
const LIFETIME: Duration = Duration::from_secs(60);

/// Nonces outstanding at once: 8,192 × about 100 B is under a megabyte; more than any page or script has in flight.
const OUTSTANDING_MAX: usize = 8_192;

/// The outstanding nonces, oldest first. Time is monotonic and a parameter.
#[derive(Default)]
pub struct Nonces {
    order: VecDeque<(Duration, Nonce)>,
    live: HashMap<Nonce, Duration>,
}

/// Why a nonce does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Never handed out by this process, used before, pushed out by a flood, or expired.
    #[error("the nonce of this opening is unknown, spent or older than 60 s; ask for a new one and sign again")]
    NotOutstanding,
}

impl Nonces {
    /// Remembers a freshly drawn nonce; the oldest goes when there are too many.
    pub fn issue(&mut self, nonce: Nonce, now: Duration) {
        self.forget_expired(now);
        if self.order.len() >= OUTSTANDING_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.live.remove(&oldest);
        }
        self.order.push_back((now, nonce));
        self.live.insert(nonce, now);
    }

    /// Spends a nonce.
    ///
    /// # Errors
    /// [`NonceError::NotOutstanding`] unless it was issued within the last minute and not spent since.
    pub fn spend(&mut self, nonce: &Nonce, now: Duration) -> Result<(), NonceError> {
        self.forget_expired(now);
        self.live.remove(nonce).map(drop).ok_or(NonceError::NotOutstanding)
    }

    fn forget_expired(&mut self, now: Duration) {
        while let Some((issued, nonce)) = self.order.front() {
            if now.saturating_sub(*issued) < LIFETIME {
                break;
            }
            self.live.remove(nonce);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_works_once() {
        let mut nonces = Nonces::default();
        nonces.issue(Nonce([1; 16]), Duration::ZERO);
        assert_eq!(nonces.spend(&Nonce([1; 16]), Duration::from_secs(1)), Ok(()));
        assert_eq!(nonces.spend(&Nonce([1; 16]), Duration::from_secs(1)), Err(NonceError::NotOutstanding));
        assert_eq!(nonces.spend(&Nonce([2; 16]), Duration::from_secs(1)), Err(NonceError::NotOutstanding));
    }

    #[test]
    fn a_nonce_expires_after_a_minute() {
        let mut nonces = Nonces::default();
        nonces.issue(Nonce([1; 16]), Duration::ZERO);
        assert!(nonces.spend(&Nonce([1; 16]), LIFETIME).is_err());
    }

    #[test]
    fn a_flood_of_nonces_stays_within_bounds() {
        let mut nonces = Nonces::default();
        for i in 0..3 * OUTSTANDING_MAX as u64 {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&i.to_be_bytes());
            nonces.issue(Nonce(nonce), Duration::ZERO);
        }
        assert_eq!(nonces.live.len(), OUTSTANDING_MAX);
        assert_eq!(nonces.order.len(), OUTSTANDING_MAX);
    }
}
