//! scribe's connection to PostgreSQL: the ledger's durable append, the roster's statements, and reading both back.
//!
//! What does not belong: what to do while PostgreSQL is away (`journal`, `spool`), segments and accounts (`index`,
//! `coverage`, which extend [`Db`]). Everything is synchronous and meant for one thread; a call takes a bounded time,
//! whatever the server does ([`session`]). Durability point: a call that returns `Ok` was committed to disk. Invariants:
//! the chain in memory is replaced only after the commit; after any failed append it is forgotten and read again, with
//! its checkpoint verified; a lost connection is tried again with growing delay, never in a loop inside a call.

mod session;

use crate::schema::Endpoint;
use peri_domain::{Hash, Nonce, UtcNanos};
use peri_ledger::chain::{BATCH_EVENTS_MAX, StoredEnd};
use peri_ledger::{
    Batch, Chain, ChainError, CheckpointSigner, Detail, Entry, EntryError, EntryType, Event, Ledger, VerifyKey,
};
use peri_sandbox::clock::Clock;
use postgres::Row;
use postgres::types::ToSql;
use session::{Failed, Hung, Session};
use std::time::Duration;

/// Waiting time after the first failed connection; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);

/// Longest time between two attempts: PostgreSQL recovers from a crash in seconds, and an attempt costs a millisecond.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Rows fetched at once: 1,024 entries of some 150 bytes, and never more than 64 MiB of the largest.
const PAGE: i32 = 1024;

/// Why a call did nothing (or, for [`DbError::Away`] during an append, perhaps did: see [`Mark`]).
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, it broke in the call, or there was no answer in time.
    #[error("PostgreSQL is away ({cause}); trying again in {} ms", retry_in.as_millis())]
    Away {
        /// What the last attempt said.
        cause: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// PostgreSQL refused the call for what it says; the same call will be refused again.
    #[error("PostgreSQL refused {call}: {message} (SQLSTATE {code})")]
    Refused {
        /// The function.
        call: &'static str,
        /// Its SQLSTATE; PR001 to PR003 are ours (see `sql/001_ledger.sql`).
        code: String,
        /// What it said.
        message: String,
    },
    /// The log's end or an event is not what it must be.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A row holds what we never wrote.
    #[error("a row of {0} is not one of ours; run `peri-appliance fsck`")]
    Row(&'static str),
}

impl DbError {
    /// Whether PostgreSQL may answer later.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether PostgreSQL answered, and will answer the same again: repeating the call is no use.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl From<EntryError> for DbError {
    fn from(error: EntryError) -> Self {
        Self::Chain(error.into())
    }
}

/// Numbers the events of one run of scribe, so that an append whose outcome is unknown can be repeated: the database
/// takes each number once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Random, drawn at start.
    pub run: Nonce,
    /// Number of the first event of the call.
    pub first_no: u64,
}

/// Where an event stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Chain.
    pub ledger: Ledger,
    /// Number in the chain.
    pub seq: u64,
    /// Index of the leaf.
    pub leaf_index: u64,
    /// Type.
    pub kind: EntryType,
    /// Time in the entry.
    pub time: UtcNanos,
}

/// The connection.
pub struct Db {
    endpoint: Endpoint,
    origin: String,
    clock: Box<dyn Clock + Send>,
    session: Option<Session>,
    hung: Hung,
    next_try: Duration,
    delay: Duration,
    last_cause: String,
    chain: Option<Chain>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, origin, session, .. } = self;
        f.debug_struct("Db")
            .field("endpoint", endpoint)
            .field("origin", origin)
            .field("connected", &session.is_some())
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Does not connect yet. `origin` is the log's name ([`peri_ledger::origin_of`]).
    #[must_use]
    pub fn new(endpoint: Endpoint, origin: &str, clock: impl Clock + Send + 'static) -> Self {
        Self {
            endpoint,
            origin: origin.to_owned(),
            clock: Box::new(clock),
            session: None,
            hung: Hung::default(),
            next_try: Duration::ZERO,
            delay: RETRY_MIN,
            last_cause: String::new(),
            chain: None,
        }
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether PostgreSQL answers now.
    pub fn is_up(&mut self) -> bool {
        self.call("SELECT 1", &[]).is_ok()
    }

    /// Appends events in order and returns where they stand once all are durable. More than a batch holds become several
    /// batches, each durable by itself. With a mark, events whose numbers the database has are refused (PR002).
    ///
    /// # Errors
    /// [`DbError`]. After [`DbError::Away`] the outcome is unknown: ask [`Self::marked`] before appending again.
    pub fn append(
        &mut self,
        events: &[Event],
        mark: Option<Mark>,
        signer: &mut dyn CheckpointSigner,
    ) -> Result<Vec<Appended>, DbError> {
        let mut appended = Vec::with_capacity(events.len());
        let mut done = 0;
        for part in events.chunks(BATCH_EVENTS_MAX) {
            done += part.len() as u64;
            let marked = mark.map(|mark| (mark.run, mark.first_no + done - 1));
            let chain = match self.chain.take() {
                Some(chain) => chain,
                None => self.load_chain(&signer.verify_keys())?,
            };
            let (next, batch) = chain.seal(part, signer)?;
            self.commit(chain.size(), &batch, marked)?;
            self.chain = Some(next);
            appended.extend(batch.events().iter().map(|e| Appended {
                ledger: e.ledger,
                seq: e.seq,
                leaf_index: e.index,
                kind: e.kind,
                time: e.time,
            }));
        }
        Ok(appended)
    }

    /// Number of the last event of a run that is in the ledger.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn marked(&mut self, run: Nonce) -> Result<Option<u64>, DbError> {
        let rows = self.call("SELECT peri_api.event_mark($1)", &[&run.as_bytes().as_slice()])?;
        Ok(rows[0].get::<_, Option<i64>>(0).and_then(|no| u64::try_from(no).ok()))
    }

    /// The present end of the log, verified with `keys`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn chain(&mut self, keys: &[VerifyKey]) -> Result<Chain, DbError> {
        if self.chain.is_none() {
            self.chain = Some(self.load_chain(keys)?);
        }
        self.chain.clone().ok_or(DbError::Row("ledger_head"))
    }

    fn load_chain(&mut self, keys: &[VerifyKey]) -> Result<Chain, DbError> {
        let origin = self.origin.clone();
        let rows = self.call("SELECT * FROM peri_api.ledger_end()", &[])?;
        let row = rows.first().ok_or(DbError::Row("ledger_head"))?;
        if row.get::<_, i64>("size") == 0 {
            return Ok(Chain::new(&origin));
        }
        let (Some(note), Some(frontier), Some(last)) = (
            row.get::<_, Option<String>>("note"),
            row.get::<_, Option<&[u8]>>("frontier"),
            row.get::<_, Option<&[u8]>>("last"),
        ) else {
            return Err(DbError::Row("ledger_checkpoint"));
        };
        let stored = StoredEnd {
            note,
            frontier: frontier.chunks(Hash::LEN).filter_map(Hash::from_slice).collect(),
            last_entries: ["access", "billing", "technical"].map(|ledger| row.get(ledger)),
            last_time: Entry::from_bytes(last)?.time,
        };
        Ok(Chain::restore(&origin, &stored, keys)?)
    }

    fn commit(&mut self, first: u64, batch: &Batch, mark: Option<(Nonce, u64)>) -> Result<(), DbError> {
        let entries = &batch.entries;
        let ledgers: Vec<i16> = entries.iter().map(|e| i16::from(e.ledger.code())).collect();
        let seqs: Vec<i64> = entries.iter().map(|e| to_db(e.seq)).collect();
        let bytes: Vec<&[u8]> = entries.iter().map(|e| e.bytes.as_slice()).collect();
        let leaves: Vec<&[u8]> = entries.iter().map(|e| e.leaf_hash.as_bytes().as_slice()).collect();
        let details: Vec<(i64, i16, &Detail)> = entries
            .iter()
            .flat_map(|e| e.details.iter().map(|(at, d)| (to_db(e.index), i16::try_from(*at).unwrap_or(i16::MAX), d)))
            .collect();
        let detail_leaves: Vec<i64> = details.iter().map(|(leaf, _, _)| *leaf).collect();
        let positions: Vec<i16> = details.iter().map(|(_, at, _)| *at).collect();
        let salts: Vec<&[u8]> = details.iter().map(|(_, _, d)| d.salt.as_bytes().as_slice()).collect();
        let cbors: Vec<&[u8]> = details.iter().map(|(_, _, d)| d.cbor.as_slice()).collect();
        let root = batch.checkpoint.root.as_bytes().as_slice();
        let frontier: Vec<u8> = batch.frontier.iter().flat_map(|hash| hash.0).collect();
        let run = mark.as_ref().map(|(run, _)| run.as_bytes().as_slice());
        let last_no = mark.map(|(_, no)| to_db(no));
        self.call(
            "SELECT peri_api.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            &[
                &to_db(first),
                &ledgers,
                &seqs,
                &bytes,
                &leaves,
                &detail_leaves,
                &positions,
                &salts,
                &cbors,
                &root,
                &batch.note.to_string(),
                &frontier,
                &run,
                &last_no,
            ],
        )?;
        Ok(())
    }

    /// Entries from a leaf on, at most 1,024; each with its leaf index.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn entries(&mut self, from: u64) -> Result<Vec<(u64, Vec<u8>)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.entries($1, $2)", &[&to_db(from), &PAGE])?;
        rows.iter().map(|row| Ok((from_db(row.get(0))?, row.get(1)))).collect()
    }

    /// Entries of one ledger from a number on, at most 1,024; each with its leaf index.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn ledger_range(&mut self, ledger: Ledger, from: u64) -> Result<Vec<(u64, Vec<u8>)>, DbError> {
        let code = i16::from(ledger.code());
        let rows = self.call("SELECT * FROM peri_api.ledger_range($1, $2, $3)", &[&code, &to_db(from), &PAGE])?;
        rows.iter().map(|row| Ok((from_db(row.get(0))?, row.get(1)))).collect()
    }

    /// Leaf hashes from a leaf on, at most 1,024.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn leaf_hashes(&mut self, from: u64) -> Result<Vec<Hash>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.leaf_hashes($1, $2)", &[&to_db(from), &PAGE])?;
        rows.iter().map(|row| Hash::from_slice(row.get(0)).ok_or(DbError::Row("ledger_entry"))).collect()
    }

    /// What the commitments of one entry commit to, with their positions; erased ones are left out.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn details(&mut self, leaf: u64) -> Result<Vec<(u16, Detail)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.details($1)", &[&to_db(leaf)])?;
        let detail = |row: &Row| {
            let position = u16::try_from(row.get::<_, i16>(0)).ok()?;
            Some((position, Detail { salt: Nonce::from_slice(row.get(1))?, cbor: row.get(2) }))
        };
        rows.iter().map(|row| detail(row).ok_or(DbError::Row("ledger_detail"))).collect()
    }

    /// Signed checkpoints over more than `above` entries, at most 1,024, each with its size.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn checkpoints(&mut self, above: u64) -> Result<Vec<(u64, String)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.checkpoints($1, $2)", &[&to_db(above), &PAGE])?;
        rows.iter().map(|row| Ok((from_db(row.get(0))?, row.get(1)))).collect()
    }

    /// Keeps a roster statement; whether it is new. keeper judges it, not the database.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn add_statement(&mut self, statement: &[u8]) -> Result<bool, DbError> {
        Ok(self.call("SELECT peri_api.add_statement($1)", &[&statement])?[0].get(0))
    }

    /// Roster statements that came after number `after` (0 for all), at most 1,024, each with its number.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn statements_after(&mut self, after: u64) -> Result<Vec<(u64, Vec<u8>)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.statements($1, $2)", &[&to_db(after), &PAGE])?;
        rows.iter().map(|row| Ok((from_db(row.get(0))?, row.get(1)))).collect()
    }

    /// All roster statements in order of arrival.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn statements(&mut self) -> Result<Vec<Vec<u8>>, DbError> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let page = self.statements_after(after)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = *last;
            all.extend(page.into_iter().map(|(_, statement)| statement));
        }
    }

    /// Runs one prepared statement in its own transaction. A broken connection is given up and noted, and so is one that
    /// does not answer.
    pub(crate) fn call(&mut self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        let failed = match self.session()?.run(sql, params) {
            Ok(rows) => return Ok(rows),
            Err(failed) => failed,
        };
        let refused = |code: &str, message| Err(DbError::Refused { call: sql, code: code.to_owned(), message });
        let cause = match failed {
            Failed::Parameters(message) => return refused("client", message),
            Failed::Said { error, broken: false } => match error.as_db_error() {
                Some(refusal) if !passes(refusal.code().code()) => {
                    return refused(refusal.code().code(), refusal.message().to_owned());
                }
                None if !is_io(&error) => return refused("client", error.to_string()),
                _ => describe(&error),
            },
            Failed::Said { error, broken: true } => describe(&error),
            Failed::Silent(cause) => {
                if let Some(session) = self.session.take() {
                    self.hung.push(session.into_thread(), self.clock.monotonic());
                }
                cause
            }
        };
        self.session = None;
        self.chain = None;
        self.delay = RETRY_MIN;
        Err(self.away(cause))
    }

    fn session(&mut self) -> Result<&mut Session, DbError> {
        let now = self.clock.monotonic();
        if self.session.is_none() {
            let waits = self.hung.keeps(now).unwrap_or_default().max(self.next_try.saturating_sub(now));
            if !waits.is_zero() {
                return Err(DbError::Away { cause: self.last_cause.clone(), retry_in: waits });
            }
            // What another process appended meanwhile must be seen: the chain is read again with every connection.
            self.chain = None;
            match Session::open(&self.endpoint) {
                Ok(session) => {
                    self.delay = RETRY_MIN;
                    self.session = Some(session);
                }
                Err((failed, thread)) => {
                    if let Some(thread) = thread {
                        self.hung.push(thread, self.clock.monotonic());
                    }
                    let cause = match failed {
                        Failed::Said { error, .. } => describe(&error),
                        Failed::Parameters(cause) | Failed::Silent(cause) => cause,
                    };
                    return Err(self.away(cause));
                }
            }
        }
        self.session.as_mut().ok_or(DbError::Row("nothing"))
    }

    fn away(&mut self, cause: String) -> DbError {
        let retry_in = self.delay;
        self.next_try = self.clock.monotonic() + retry_in;
        self.delay = (self.delay * 2).min(RETRY_MAX);
        self.last_cause.clone_from(&cause);
        DbError::Away { cause, retry_in }
    }
}

/// Whether a SQLSTATE speaks of the server's condition, not of the call (PostgreSQL, appendix A): transaction rolled back,
/// resources (full disk), locks, operator intervention (time-outs, shutdown), system and internal errors. The call is made
/// again over a new connection.
fn passes(code: &str) -> bool {
    ["40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
}

fn is_io(error: &postgres::Error) -> bool {
    use std::error::Error as _;
    error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>())
}

/// The error with its cause, which `postgres` hides in the source.
pub(crate) fn describe(error: &postgres::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// A number for the database. None of ours comes near 2^63; one that did would be refused by the row checks.
pub(crate) fn to_db(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from the database.
pub(crate) fn from_db(number: i64) -> Result<u64, DbError> {
    u64::try_from(number).map_err(|_| DbError::Row("a number below zero"))
}

#[cfg(test)]
mod tests;
