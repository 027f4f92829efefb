//! Slow-down of guessing: an attempt is reserved before any hashing, and counts as failed until it has succeeded.
//!
//! What does not belong: names, passwords, hashes (login), clocks, files. Invariants: the n-th failure delays the next
//! attempt by min(2^(n−1) s, 1 h); an early attempt is refused without a look at its password, right or wrong, and
//! changes nothing; what was counted is never forgotten early, neither by a restart (the caller makes the
//! [`Record`]s durable before it hashes) nor by a flood.
//!
//! ```text
//!  reserve ─ some subject still delayed ──▶ TooEarly(retry after)            no hash, no change
//!     │ else: every subject n + 1, delayed from now                          ──▶ records made durable
//!     ▼
//!  Ticket ── wrong, or never heard of again ──▶ stays counted
//!     └───── succeeded ──▶ account or lane: clean;  prefixes: this one attempt is taken back
//! ```
//! So 10,000 parallel guesses cost one hash: the first reserves, the others are early.
//!
//! Subjects of a stranger's attempt: the account name (keyed digest; unknown names count alike) and the source's
//! prefixes (/32, or /64, /56 and /48). Whoever proves the device secret, the recovery code or a passkey has a *lane*
//! instead, counted alone: no stranger can lock him out. A success does not clean a prefix, else an attacker with one
//! account of his own would log in between guesses. An hour of quiet after a delay takes back one failure.
//!
//! Eviction (as *space-saving* counting does it): when the table is full, the entry that will be forgiven first
//! goes, and what it had becomes the least that every subject *not* in the table is held to have. Nobody's delay is
//! ever underestimated, so pushing out an entry, one's own or a victim's, gains nothing: a flood from 65,536 prefixes
//! slows strangers down, and lanes have a table of their own that strangers cannot fill.

use hmac::{Hmac, KeyInit, Mac};
use minicbor::{Decode, Encode};
use peri_domain::limits::{ATTEMPT_DELAY_MAX, ATTEMPT_ENTRIES_MAX, ATTEMPT_FORGIVE};
use peri_domain::{Hash, UtcNanos};
use peri_seal::canonical::{self, CanonicalError};
use peri_seal::digest::labelled;
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Keys the digests of names, so that the stored state lists nobody; drawn once, durable.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AttemptKey([u8; 32]);

/// What failures are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Subject {
    /// A login name, whether or not anybody has it.
    #[n(0)]
    Name(#[n(0)] Hash),
    /// A prefix: length in bits, and the address with the rest cleared (IPv4 as mapped IPv6).
    #[n(1)]
    Prefix(
        #[n(0)] u8,
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        [u8; 16],
    ),
    /// Whoever proved this secret.
    #[n(2)]
    Lane(#[n(0)] Hash),
}

/// Failures of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Tally {
    /// At [`Tally::until`]; an hour later one less, and so on.
    #[n(0)]
    failures: u32,
    /// No attempt before.
    #[n(1)]
    until: i64,
}

/// A subject's state as it is kept on disk: the last record of a subject counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// The subject.
    #[n(0)]
    pub subject: Subject,
    /// Its state; the default means clean.
    #[n(1)]
    pub tally: Tally,
}

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt<'a> {
    /// A name from an address.
    Stranger {
        /// The name as typed; callers fold case and normalise first.
        name: &'a str,
        /// Where the connection comes from; `None` where that tells nothing (a unix socket).
        source: Option<IpAddr>,
    },
    /// Somebody who proved a secret, by its commitment.
    Known(Hash),
}

/// A reserved attempt. Dropping it leaves the attempt counted as failed.
#[derive(Debug)]
#[must_use = "make its records durable before hashing"]
pub struct Ticket {
    /// Subject, state before, state since.
    taken: Vec<(Subject, Tally, Tally)>,
}

/// Why no attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; the next one is possible in {retry_after_s} s")]
pub struct TooEarly {
    /// For `Retry-After`: whole seconds, rounded up.
    pub retry_after_s: u64,
}

/// Failures of one kind of subjects in bounded memory.
#[derive(Debug)]
struct Table {
    max: usize,
    tallies: BTreeMap<Subject, Tally>,
    /// By the instant at which all is forgiven.
    order: BTreeSet<(i64, Subject)>,
    /// The least that any subject outside is held to have.
    floor: Tally,
}

/// See the module.
pub struct Attempts {
    key: AttemptKey,
    strangers: Table,
    lanes: Table,
}

#[derive(Encode, Decode)]
struct Stored {
    #[n(0)]
    version: u16,
    #[n(1)]
    floors: [Tally; 2],
    #[n(2)]
    records: Vec<Record>,
}

/// Stored state that is none.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Not the canonical bytes.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// Written by a later version.
    #[error("stored attempts of format {found}, this version knows 1: upgrade")]
    Version {
        /// Its format.
        found: u16,
    },
}

impl AttemptKey {
    /// From stored bytes, or freshly drawn ones.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn name(&self, name: &str) -> Hash {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(&labelled("attempt-name", &[name.as_bytes()]));
        Hash(mac.finalize().into_bytes().into())
    }
}

impl Tally {
    /// Failures that still count.
    fn standing(self, now: i64) -> u32 {
        let quiet = now.saturating_sub(self.until).max(0) / nanos(ATTEMPT_FORGIVE);
        self.failures.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX))
    }

    /// After one failure more at `now`.
    fn after(self, now: i64) -> Self {
        let failures = self.standing(now).saturating_add(1);
        // 2^12 s is already more than an hour.
        let delay = (1_000_000_000_i64 << (failures - 1).min(12)).min(nanos(ATTEMPT_DELAY_MAX));
        Self { failures, until: now.saturating_add(delay) }
    }

    fn forgiven_at(self) -> i64 {
        self.until.saturating_add(i64::from(self.failures).saturating_mul(nanos(ATTEMPT_FORGIVE)))
    }

    /// At least as strict as both.
    fn or(self, other: Self) -> Self {
        Self { failures: self.failures.max(other.failures), until: self.until.max(other.until) }
    }
}

impl Table {
    fn new(max: usize) -> Self {
        Self { max, tallies: BTreeMap::new(), order: BTreeSet::new(), floor: Tally::default() }
    }

    fn tally(&self, subject: &Subject) -> Tally {
        self.tallies.get(subject).copied().unwrap_or(self.floor)
    }

    fn set(&mut self, subject: Subject, tally: Tally) {
        if let Some(old) = self.tallies.insert(subject, tally) {
            self.order.remove(&(old.forgiven_at(), subject));
        }
        self.order.insert((tally.forgiven_at(), subject));
        if self.tallies.len() > self.max
            && let Some((_, gone)) = self.order.pop_first()
        {
            let tally = self.tallies.remove(&gone).unwrap_or_default();
            self.floor = self.floor.or(tally);
        }
    }

    /// Drops what is forgiven: the same as not being there, unless the floor says more.
    fn sweep(&mut self, now: i64) {
        while let Some((_, subject)) = self.order.first().copied().filter(|(forgiven, _)| *forgiven <= now) {
            self.order.pop_first();
            self.tallies.remove(&subject);
        }
        if self.floor.forgiven_at() <= now {
            self.floor = Tally::default();
        }
    }
}

impl Attempts {
    /// With nothing counted.
    #[must_use]
    pub fn new(key: AttemptKey) -> Self {
        Self::with_room(key, ATTEMPT_ENTRIES_MAX)
    }

    fn with_room(key: AttemptKey, max: usize) -> Self {
        Self { key, strangers: Table::new(max), lanes: Table::new(max) }
    }

    /// Reserves an attempt. Make [`Ticket::records`] durable, then hash.
    ///
    /// # Errors
    /// [`TooEarly`]; nothing has changed then.
    pub fn reserve(&mut self, attempt: Attempt<'_>, now: UtcNanos) -> Result<Ticket, TooEarly> {
        let subjects = self.subjects(attempt);
        let table = self.table(&subjects[0]);
        table.sweep(now.0);
        let latest = subjects.iter().map(|subject| table.tally(subject).until).max().unwrap_or(0);
        if latest > now.0 {
            let wait = u64::try_from(latest.saturating_sub(now.0)).unwrap_or(0);
            return Err(TooEarly { retry_after_s: wait.div_ceil(1_000_000_000) });
        }
        let taken = subjects
            .into_iter()
            .map(|subject| {
                let before = table.tally(&subject);
                (subject, before, before.after(now.0))
            })
            .collect();
        let ticket = Ticket { taken };
        for (subject, _, since) in &ticket.taken {
            table.set(*subject, *since);
        }
        Ok(ticket)
    }

    /// By what a name is known in what is stored.
    #[must_use]
    pub fn name_digest(&self, name: &str) -> Hash {
        self.key.name(name)
    }

    /// The attempt was right. Returns what to make durable.
    pub fn succeeded(&mut self, ticket: Ticket) -> Vec<Record> {
        let clear = |(subject, before, since): (Subject, Tally, Tally)| {
            let table = self.table(&subject);
            let tally = match subject {
                Subject::Name(_) | Subject::Lane(_) => table.floor,
                // Nobody else tried from here since: as if it had not been. Else only the count goes down.
                Subject::Prefix(..) if table.tally(&subject) == since => before,
                Subject::Prefix(..) => {
                    let tally = table.tally(&subject);
                    Tally { failures: tally.failures.saturating_sub(1), ..tally }
                }
            };
            table.set(subject, tally);
            Record { subject, tally }
        };
        ticket.taken.into_iter().map(clear).collect()
    }

    /// Takes a record read back at start; in the order in which they were written.
    pub fn apply(&mut self, record: Record) {
        self.table(&record.subject).set(record.subject, record.tally);
    }

    /// Everything as canonical CBOR, so that old records can go.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries = self.strangers.tallies.iter().chain(&self.lanes.tallies);
        let records = entries.map(|(subject, tally)| Record { subject: *subject, tally: *tally }).collect();
        canonical::encode(&Stored { version: 1, floors: [self.strangers.floor, self.lanes.floor], records })
    }

    /// From [`Attempts::to_bytes`] and the key of that time.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn from_bytes(key: AttemptKey, bytes: &[u8]) -> Result<Self, RestoreError> {
        let what = "stored attempts";
        let stored: Stored = canonical::decode(what, bytes)?;
        if stored.version != 1 {
            return Err(RestoreError::Version { found: stored.version });
        }
        let mut attempts = Self::new(key);
        [attempts.strangers.floor, attempts.lanes.floor] = stored.floors;
        stored.records.into_iter().for_each(|record| attempts.apply(record));
        // Records out of order, twice or too many: nothing that this table would write.
        if attempts.to_bytes() == bytes { Ok(attempts) } else { Err(CanonicalError::NotCanonical { what }.into()) }
    }

    fn subjects(&self, attempt: Attempt<'_>) -> Vec<Subject> {
        match attempt {
            Attempt::Known(secret) => vec![Subject::Lane(secret)],
            Attempt::Stranger { name, source } => {
                let (address, lengths): (_, &[u8]) = match source.map(|source| source.to_canonical()) {
                    Some(IpAddr::V4(v4)) => (v4.to_ipv6_mapped(), &[96 + 32]),
                    Some(IpAddr::V6(v6)) => (v6, &[64, 56, 48]),
                    None => (Ipv6Addr::UNSPECIFIED, &[]),
                };
                let prefix = |bits: &u8| {
                    let cleared = address.to_bits() & (u128::MAX << (128 - u32::from(*bits)));
                    Subject::Prefix(*bits, cleared.to_be_bytes())
                };
                let name = core::iter::once(Subject::Name(self.key.name(name)));
                name.chain(lengths.iter().map(prefix)).collect()
            }
        }
    }

    fn table(&mut self, subject: &Subject) -> &mut Table {
        match subject {
            Subject::Lane(_) => &mut self.lanes,
            Subject::Name(_) | Subject::Prefix(..) => &mut self.strangers,
        }
    }
}

impl Record {
    /// When nothing of it counts any more.
    #[must_use]
    pub fn forgiven_at(&self) -> UtcNanos {
        UtcNanos(self.tally.forgiven_at())
    }
}

impl Ticket {
    /// What to make durable before hashing.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.taken.iter().map(|(subject, _, since)| Record { subject: *subject, tally: *since })
    }
}

const fn nanos(duration: core::time::Duration) -> i64 {
    duration.as_secs() as i64 * 1_000_000_000
}

#[cfg(test)]
#[path = "tests_attempts.rs"]
mod tests;
