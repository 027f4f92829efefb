//! One channel at scribe: which of its requests came, which answers were seen, and what a copy means.
//!
//! What does not belong: signatures (proof), sessions and their end (sessions), the client's half (channel).
//!
//! ```text
//!            first arrival:                  client saw the answer,
//!            executed once                   no copy ever came
//!  fresh ───────────────────▶ open(copies) ───────────────────────▶ answered ── any copy ──▶ LOCK (copied after)
//!    │                         │  ▲   │  client saw the answer,
//!    │                    copy │  │   └──── but a copy came ───────────────────────────────▶ LOCK (copied before)
//!    │                         └──┘ nothing is executed; 409 with a fresh nonce
//!    │                         │
//!    │ client saw a failure    │ client saw a failure, or one of those nonces
//!    ▼                         ▼
//!  given up ◀──────────── given up ── any copy, or the first arrival after all ──▶ refused, nothing is executed
//!
//!  other bytes under a used counter, an answer or a nonce that was never given, an outcome that changes ──▶ LOCK
//! ```
//! Why this is sound. Nothing is executed twice, whatever arrives. A browser that sends again by itself does so
//! because its connection broke, and gives the page the copy's answer: so the page sees a nonce of ours or a failure,
//! never the answer. If the page saw the answer, nobody honest had a reason to send the request again: the copy was
//! somebody else's. Only the client can say what it saw, because it signs it.
//!
//! Conditions on the caller. A request whose connection has ended before it is passed on is dropped: nobody waits for
//! its answer, and its copy may already be answered. Without that an original that lingers in a socket buffer behind
//! its own copy would look like a thief's. The client counts as *answer* only what scribe made.
//!
//! Memory: at most 1,024 open requests with at most 8 nonces each; 1,024 answered or given-up counters above the base
//! and 1,024 given-up ones below it. When more than that were given up, a copy of the oldest counts as a copy of an
//! answered one: a lock, never an execution.

use crate::proof::{Genuine, Seen};
use peri_domain::limits::{COPY_NONCES_MAX, PROOF_WINDOW};
use peri_domain::{Hash, Nonce};
use std::collections::{BTreeMap, BTreeSet};

/// Why a session is locked. Somebody has a copy of its requests or of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockReason {
    /// The client has the answer, and the request came once more.
    #[error("request {counter} was sent again after its answer had been acknowledged")]
    CopiedAfter {
        /// Its counter.
        counter: u64,
    },
    /// The client has the answer, and a copy had come before it said so.
    #[error("request {counter} was sent by somebody else as well before its answer was acknowledged")]
    CopiedBefore {
        /// Its counter.
        counter: u64,
    },
    /// Two requests that differ carry one counter.
    #[error("two different requests carry the number {counter}: the session key is used twice")]
    Forked {
        /// The counter.
        counter: u64,
    },
    /// The client acknowledges what scribe never answered.
    #[error("the client saw an answer to request {counter} that this appliance never gave")]
    InventedAnswer {
        /// Its counter.
        counter: u64,
    },
    /// The client reports a nonce that scribe never gave for this request.
    #[error("the client saw a refusal of request {counter} that this appliance never gave")]
    InventedNonce {
        /// Its counter.
        counter: u64,
    },
    /// The client says something else than before about a request.
    #[error("the client contradicts itself about request {counter}: the session key is used twice")]
    Contradiction {
        /// Its counter.
        counter: u64,
    },
}

/// What a request of a known channel leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first: execute it.
    Execute,
    /// A copy before any acknowledgement: execute nothing, answer 409 with this nonce.
    Copy(Nonce),
    /// The client has given this request up: execute nothing, answer 409 without a nonce.
    GivenUp,
    /// Lock the session.
    Lock(LockReason),
}

#[derive(Debug)]
struct Open {
    digest: Hash,
    nonces: Vec<Nonce>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Window {
    /// Every counter up to here is answered or given up.
    base: u64,
    open: BTreeMap<u64, Open>,
    /// Above `base` only.
    answered: BTreeSet<u64>,
    /// Above `base` all, below it the newest [`PROOF_WINDOW`].
    given_up: BTreeSet<u64>,
    /// The largest counter that left `given_up`.
    forgotten: u64,
}

impl Window {
    /// A request of this channel. `fresh` is a nonce never used before; it is spent only by [`Arrival::Copy`].
    pub fn arrive(&mut self, genuine: &Genuine, fresh: Nonce) -> Arrival {
        let counter = genuine.proof().counter;
        if let Some(open) = self.open.get_mut(&counter) {
            if open.digest != genuine.digest() {
                return Arrival::Lock(LockReason::Forked { counter });
            }
            if open.nonces.len() < COPY_NONCES_MAX {
                open.nonces.push(fresh);
            }
            return Arrival::Copy(*open.nonces.last().expect("one was pushed, or eight are there"));
        }
        if self.given_up.contains(&counter) {
            return Arrival::GivenUp;
        }
        if self.is_answered(counter) {
            return Arrival::Lock(LockReason::CopiedAfter { counter });
        }
        if let Err(reason) = self.settle(genuine) {
            return Arrival::Lock(reason);
        }
        self.open.insert(counter, Open { digest: genuine.digest(), nonces: Vec::new() });
        Arrival::Execute
    }

    /// A request of this channel after its end: a copy of an answered one still locks, nothing else is told apart.
    #[must_use]
    pub fn arrive_late(&self, genuine: &Genuine) -> Arrival {
        let counter = genuine.proof().counter;
        if self.is_answered(counter) {
            return Arrival::Lock(LockReason::CopiedAfter { counter });
        }
        Arrival::GivenUp
    }

    /// Requests of which copies came and about which the client has not said what it saw: (counter, copies; 8 stands
    /// for 8 or more).
    pub fn unresolved(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.open
            .iter()
            .filter(|(_, open)| !open.nonces.is_empty())
            .map(|(counter, open)| (*counter, open.nonces.len()))
    }

    /// After the end: lets go of open requests. What is kept decides only between a lock and a refusal.
    pub fn shrink(&mut self) {
        self.open.clear();
    }

    fn is_answered(&self, counter: u64) -> bool {
        (counter <= self.base && !self.given_up.contains(&counter)) || self.answered.contains(&counter)
    }

    /// Takes what a first arrival says about earlier requests. Reports first: `settled` covers them.
    fn settle(&mut self, genuine: &Genuine) -> Result<(), LockReason> {
        let progress = &genuine.proof().progress;
        for report in &progress.reports {
            self.give_up(report.counter, report.seen)?;
        }
        for counter in progress.answered_counters() {
            self.answer(counter)?;
            if counter > self.base {
                self.answered.insert(counter);
            }
        }
        // Ends at the first counter that is neither open, answered nor given up, so it is bounded by what is kept.
        for counter in self.base + 1..=progress.settled {
            if !self.given_up.contains(&counter) && !self.answered.remove(&counter) {
                self.answer(counter)?;
            }
            self.base = counter;
        }
        let below = self.given_up.range(..=self.base).count() as u64;
        for _ in PROOF_WINDOW..below {
            self.forgotten = self.given_up.pop_first().unwrap_or(self.forgotten);
        }
        Ok(())
    }

    fn answer(&mut self, counter: u64) -> Result<(), LockReason> {
        match self.open.remove(&counter) {
            Some(open) if open.nonces.is_empty() => Ok(()),
            Some(_) => Err(LockReason::CopiedBefore { counter }),
            None if self.is_answered(counter) => Ok(()),
            None if self.given_up.contains(&counter) => Err(LockReason::Contradiction { counter }),
            None => Err(LockReason::InventedAnswer { counter }),
        }
    }

    fn give_up(&mut self, counter: u64, seen: Seen) -> Result<(), LockReason> {
        if self.given_up.contains(&counter) || counter <= self.forgotten {
            return Ok(());
        }
        if self.is_answered(counter) {
            return Err(LockReason::Contradiction { counter });
        }
        let nonces = self.open.remove(&counter).map(|open| open.nonces).unwrap_or_default();
        if let Seen::Nonce(nonce) = seen
            && !nonces.contains(&nonce)
        {
            return Err(LockReason::InventedNonce { counter });
        }
        self.given_up.insert(counter);
        Ok(())
    }

    /// Everything kept, for tests of the bound.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.open.values().map(|open| 1 + open.nonces.len()).sum::<usize>() + self.answered.len() + self.given_up.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{BootEpoch, ChannelId, Progress, Proof, Report};
    use crate::session::{SessionId, SessionSignature};

    fn message(counter: u64, progress: Progress, salt: u8) -> Genuine {
        Genuine::assumed(Proof {
            session: SessionId(Hash([0; 32])),
            channel: ChannelId(Nonce([0; 16])),
            counter,
            progress,
            boot: BootEpoch(Nonce([0; 16])),
            signature: SessionSignature([salt; 64]),
        })
    }

    fn plain(counter: u64, settled: u64) -> Genuine {
        message(counter, Progress::new(settled, [], vec![]), 0)
    }

    fn nonce(n: u8) -> Nonce {
        Nonce([n; 16])
    }

    #[test]
    fn a_copy_after_the_acknowledgement_locks_at_once() {
        let mut window = Window::default();
        assert_eq!(window.arrive(&plain(1, 0), nonce(1)), Arrival::Execute);
        assert_eq!(window.arrive(&plain(2, 1), nonce(2)), Arrival::Execute);
        let lock = Arrival::Lock(LockReason::CopiedAfter { counter: 1 });
        assert_eq!(window.arrive_late(&plain(1, 0)), lock);
        assert_eq!(window.arrive(&plain(1, 0), nonce(3)), lock);
        let mut window = Window::default();
        for counter in [1, 2, 3] {
            window.arrive(&plain(counter, 0), nonce(1));
        }
        window.arrive(&message(4, Progress::new(0, [2], vec![]), 0), nonce(1));
        assert_eq!(window.arrive(&plain(2, 0), nonce(3)), Arrival::Lock(LockReason::CopiedAfter { counter: 2 }));
    }

    #[test]
    fn a_copy_before_executes_nothing_and_the_next_message_says_whose_it_was() {
        let copied = || {
            let mut window = Window::default();
            assert_eq!(window.arrive(&plain(1, 0), nonce(1)), Arrival::Execute);
            assert_eq!(window.arrive(&plain(1, 0), nonce(2)), Arrival::Copy(nonce(2)));
            assert_eq!(window.unresolved().collect::<Vec<_>>(), [(1, 1)]);
            window
        };
        let says = |seen| message(2, Progress::new(1, [], vec![Report { counter: 1, seen }]), 0);
        let mut window = copied();
        assert_eq!(window.arrive(&plain(2, 1), nonce(3)), Arrival::Lock(LockReason::CopiedBefore { counter: 1 }));
        for seen in [Seen::Failure, Seen::Nonce(nonce(2))] {
            let mut window = copied();
            assert_eq!(window.arrive(&says(seen), nonce(3)), Arrival::Execute);
            assert_eq!(window.unresolved().count(), 0);
            assert_eq!(window.arrive(&plain(1, 0), nonce(4)), Arrival::GivenUp);
        }
        let mut window = copied();
        let invented = Arrival::Lock(LockReason::InventedNonce { counter: 1 });
        assert_eq!(window.arrive(&says(Seen::Nonce(nonce(9))), nonce(3)), invented);
    }

    #[test]
    fn a_second_holder_of_the_key_shows() {
        let mut window = Window::default();
        window.arrive(&plain(1, 0), nonce(1));
        let other = message(1, Progress::new(0, [], vec![]), 7);
        assert_eq!(window.arrive(&other, nonce(1)), Arrival::Lock(LockReason::Forked { counter: 1 }));
        let mut window = Window::default();
        window.arrive(&plain(1, 0), nonce(1));
        assert_eq!(window.arrive(&plain(3, 2), nonce(1)), Arrival::Lock(LockReason::InventedAnswer { counter: 2 }));
        let mut window = Window::default();
        window.arrive(&plain(1, 0), nonce(1));
        window.arrive(&plain(2, 1), nonce(1));
        let denies = message(3, Progress::new(2, [], vec![Report { counter: 1, seen: Seen::Failure }]), 0);
        assert_eq!(window.arrive(&denies, nonce(1)), Arrival::Lock(LockReason::Contradiction { counter: 1 }));
    }

    #[test]
    fn a_request_given_up_before_it_came_is_never_executed() {
        let mut window = Window::default();
        let gives_up = message(2, Progress::new(1, [], vec![Report { counter: 1, seen: Seen::Failure }]), 0);
        assert_eq!(window.arrive(&gives_up, nonce(1)), Arrival::Execute);
        assert_eq!(window.arrive(&plain(1, 0), nonce(1)), Arrival::GivenUp);
    }

    #[test]
    fn memory_stays_bounded_whatever_the_client_sends() {
        let mut window = Window::default();
        for counter in 1..=PROOF_WINDOW {
            window.arrive(&plain(counter, 0), nonce(1));
            for copy in 0..20 {
                window.arrive(&plain(counter, 0), nonce(copy));
            }
        }
        assert_eq!(window.kept(), (1 + COPY_NONCES_MAX) * PROOF_WINDOW as usize);
        // A client whose requests all fail: one report each.
        let mut window = Window::default();
        for counter in 1..=5_000 {
            let reports = (counter > 1).then_some(Report { counter: counter - 1, seen: Seen::Failure });
            let next = message(counter, Progress::new(counter - 1, [], reports.into_iter().collect()), 0);
            assert_eq!(window.arrive(&next, nonce(1)), Arrival::Execute);
            assert!(window.kept() <= PROOF_WINDOW as usize + 1);
        }
        assert_eq!(window.arrive(&plain(4_500, 0), nonce(1)), Arrival::GivenUp);
        assert!(matches!(window.arrive(&plain(1, 0), nonce(1)), Arrival::Lock(LockReason::CopiedAfter { .. })));
    }
}
