//! The client's half of a channel: numbers requests, remembers what became of them, says so with every proof.
//!
//! What does not belong: signing (proof), sending. Invariants: a counter is used once; an outcome is said once and
//! never changes; an outcome other than an answer is repeated until a proof that carries it was answered, because the
//! proof itself may be lost; `settled` never passes a request whose outcome this proof or an answered one does not
//! give. [`crate::window`] is the other half. The page in the browser will need the same in TypeScript: `src/web/crypto`
//! signs proofs and leaves to its caller what they say about earlier requests.

use crate::proof::{Progress, Report, Seen};
use peri_domain::limits::{PROOF_REPORTS_MAX, PROOF_WINDOW};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Scribe's answer was read to its end.
    Answer,
    /// Anything else.
    Other(Seen),
}

/// A request was used wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// 1,024 requests are on their way, or more failures than a proof can report stand before the next answer.
    #[error("{PROOF_WINDOW} requests of this page are unsettled; wait for one, or go on in a new channel")]
    Full,
    /// Never sent, or finished before.
    #[error("request {counter} is not on its way")]
    NotPending {
        /// The counter.
        counter: u64,
    },
}

/// See the module. Lives in memory only; after a resync, or when the channel has ended, begin a new one.
#[derive(Debug, Default)]
pub struct Outbox {
    last: u64,
    settled: u64,
    /// Sent, nothing seen yet; with the reports that went along.
    pending: BTreeMap<u64, Vec<u64>>,
    /// Above `settled`.
    answered: BTreeSet<u64>,
    /// Outcomes that scribe may not know yet.
    unsaid: BTreeMap<u64, Seen>,
}

impl Outbox {
    /// The next counter, and what to say with it.
    ///
    /// # Errors
    /// [`ChannelError::Full`].
    pub fn begin(&mut self) -> Result<(u64, Progress), ChannelError> {
        let carried: Vec<_> =
            self.unsaid.iter().take(PROOF_REPORTS_MAX).map(|(&counter, &seen)| Report { counter, seen }).collect();
        let first_pending = self.pending.first_key_value().map_or(u64::MAX, |(counter, _)| *counter);
        let first_silent = self.unsaid.keys().nth(PROOF_REPORTS_MAX).copied().unwrap_or(u64::MAX);
        let settled = (self.last + 1).min(first_pending).min(first_silent) - 1;
        let counter = self.last + 1;
        if counter - settled > PROOF_WINDOW {
            return Err(ChannelError::Full);
        }
        self.settled = settled;
        self.answered = self.answered.split_off(&(settled + 1));
        self.last = counter;
        self.pending.insert(counter, carried.iter().map(|report| report.counter).collect());
        Ok((counter, Progress::new(settled, self.answered.iter().copied(), carried)))
    }

    /// What became of a request.
    ///
    /// # Errors
    /// [`ChannelError::NotPending`].
    pub fn finish(&mut self, counter: u64, outcome: Outcome) -> Result<(), ChannelError> {
        let carried = self.pending.remove(&counter).ok_or(ChannelError::NotPending { counter })?;
        match outcome {
            Outcome::Answer => {
                self.answered.insert(counter);
                self.unsaid.retain(|said, _| !carried.contains(said));
            }
            Outcome::Other(seen) => {
                self.unsaid.insert(counter, seen);
            }
        }
        Ok(())
    }

    /// Requests on their way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_repeated_until_a_proof_that_carries_it_is_answered() {
        let mut outbox = Outbox::default();
        let (one, _) = outbox.begin().unwrap();
        outbox.finish(one, Outcome::Other(Seen::Failure)).unwrap();
        let report = vec![Report { counter: 1, seen: Seen::Failure }];
        let (two, says) = outbox.begin().unwrap();
        assert_eq!((two, says), (2, Progress::new(1, [], report.clone())));
        let (three, says) = outbox.begin().unwrap();
        assert_eq!(says, Progress::new(1, [], report));
        outbox.finish(two, Outcome::Answer).unwrap();
        assert_eq!(outbox.begin().unwrap().1, Progress::new(2, [], vec![]));
        assert_eq!(outbox.finish(two, Outcome::Answer), Err(ChannelError::NotPending { counter: two }));
        outbox.finish(three, Outcome::Answer).unwrap();
    }

    #[test]
    fn answers_out_of_order_are_acknowledged_one_by_one() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.begin().unwrap();
        }
        outbox.finish(3, Outcome::Answer).unwrap();
        outbox.finish(5, Outcome::Answer).unwrap();
        assert_eq!(outbox.begin().unwrap().1, Progress::new(0, [3, 5], vec![]));
        outbox.finish(1, Outcome::Answer).unwrap();
        outbox.finish(2, Outcome::Answer).unwrap();
        assert_eq!(outbox.begin().unwrap().1, Progress::new(3, [5], vec![]));
    }

    #[test]
    fn the_window_stops_a_client_that_nobody_answers() {
        let mut outbox = Outbox::default();
        for _ in 0..PROOF_WINDOW {
            outbox.begin().unwrap();
        }
        assert_eq!(outbox.begin(), Err(ChannelError::Full));
        outbox.finish(1, Outcome::Answer).unwrap();
        outbox.begin().unwrap();
        assert_eq!(outbox.pending(), 1_024);
        // More failures than one proof reports: the seventeenth waits, and settled with it.
        let mut outbox = Outbox::default();
        for counter in 1..=20 {
            outbox.begin().unwrap();
            outbox.finish(counter, Outcome::Other(Seen::Failure)).unwrap();
        }
        let (_, says) = outbox.begin().unwrap();
        assert_eq!((says.settled, says.reports.len()), (16, 16));
    }
}
