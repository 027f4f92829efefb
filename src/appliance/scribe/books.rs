//! Everything scribe writes into the database, in one place that outlives an outage of it.
//!
//! Ledger events go through the journal (database, else spool); index and account wait in memory and are made again
//! from the segment files where memory did not suffice. What does not belong: deciding what to write.
//! Durability point: [`Books::append_now`] returns after the commit; [`Books::flush`] after commit or spool.

use peri_domain::limits::{BATCH_ENTRIES_MAX, BATCH_WAIT_MAX, TAIL_ENTRY_EVERY};
use peri_domain::{CameraId, Nonce, UtcNanos};
use peri_ledger::{CheckpointSigner as _, Event, LedgerKeys, LedgerSigner};
use peri_sandbox::durable::Dir;
use peri_seal::rng::{self, SystemRng};
use peri_store::coverage::{Book, Coverage};
use peri_store::db::{Appended, Db, DbError};
use peri_store::fsck::{IndexView as _, Replayed};
use peri_store::index::{Gop, SegmentTail};
use peri_store::journal::{Journal, JournalError, Recorded};
use peri_store::retention::{SegmentRow, SegmentState};
use peri_store::segments::SegmentKey;
use peri_store::spool::Spool;
use std::collections::BTreeMap;
use std::time::Duration;

/// Places of key pictures that wait in memory: ten minutes of 500 cameras with a key picture a second. Above it they are
/// dropped and read from the files again.
const GOPS_MAX: usize = 300_000;
/// Everything else that waits, each kind.
const WAITING_MAX: usize = 50_000;

pub(super) struct Books {
    journal: Journal,
    signer: LedgerSigner<SystemRng>,
    events: Vec<Event>,
    events_since: Option<Duration>,
    book: Book,
    book_loaded: bool,
    statements: Vec<Vec<u8>>,
    opened: Vec<SegmentRow>,
    tails: BTreeMap<SegmentKey, SegmentTail>,
    gops: Vec<(SegmentKey, Gop)>,
    states: Vec<(SegmentKey, SegmentState)>,
    erased: Vec<(CameraId, UtcNanos, UtcNanos, String)>,
    scanned: Vec<Replayed>,
    index_written: Duration,
    away_since: Option<UtcNanos>,
    /// Set when something that waited was dropped: the files must be read again.
    overflowed: bool,
    /// Whether this run has seen the rows of the database.
    rows_seen: bool,
}

/// What a flush has to tell.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// PostgreSQL went away just now, for this reason.
    pub(super) went_away: Option<String>,
    /// PostgreSQL came back: away since, and events that came from the spool.
    pub(super) came_back: Option<(UtcNanos, usize)>,
    /// The files must be read again into the index.
    pub(super) needs_replay: bool,
    /// The database answers for the first time: its rows must be compared with the files.
    pub(super) needs_rows: bool,
}

impl Books {
    pub(super) fn open(db: Db, dir: &Dir, keys: LedgerKeys, run: Nonce) -> Result<Self, JournalError> {
        Ok(Self {
            journal: Journal::new(db, Spool::open(dir)?, run),
            signer: LedgerSigner::new(keys, rng::system()),
            events: Vec::new(),
            events_since: None,
            book: Book::new(),
            book_loaded: false,
            statements: Vec::new(),
            opened: Vec::new(),
            tails: BTreeMap::new(),
            gops: Vec::new(),
            states: Vec::new(),
            erased: Vec::new(),
            scanned: Vec::new(),
            index_written: Duration::ZERO,
            away_since: None,
            overflowed: false,
            rows_seen: false,
        })
    }

    pub(super) fn db(&mut self) -> &mut Db {
        self.journal.db()
    }

    /// Time of the last entry; `None` while PostgreSQL is away or before the first.
    pub(super) fn last_time(&mut self) -> Option<UtcNanos> {
        let keys = self.signer.verify_keys();
        let chain = self.journal.db().chain(&keys).ok()?;
        (chain.size() > 0).then(|| chain.last_time())
    }

    /// All rows of the database.
    pub(super) fn rows(&mut self) -> Result<Vec<SegmentRow>, DbError> {
        let rows = self.journal.db().rows()?;
        self.rows_seen = true;
        Ok(rows)
    }

    /// Puts an event into the next batch.
    pub(super) fn record(&mut self, event: Event, now: Duration) {
        self.events_since.get_or_insert(now);
        self.events.push(event);
    }

    /// Appends an event durably, behind everything recorded before it; for what must be provable before it happens.
    pub(super) fn append_now(&mut self, event: Event) -> Result<Appended, JournalError> {
        self.events.push(event);
        match self.journal.append_now(&self.events, &mut self.signer) {
            Ok(appended) => {
                self.events.clear();
                self.events_since = None;
                appended.last().copied().ok_or(JournalError::Db(DbError::Row("ledger_entry")))
            }
            Err(error) => {
                // The intent never happened; what was recorded before it goes out with the next flush.
                self.events.pop();
                Err(error)
            }
        }
    }

    pub(super) fn statement(&mut self, statement: &[u8]) {
        self.statements.push(statement.to_vec());
    }

    pub(super) fn segment_opened(&mut self, row: SegmentRow) {
        if self.opened.len() < WAITING_MAX {
            self.opened.push(row);
        } else {
            self.overflowed = true;
        }
    }

    pub(super) fn progress(&mut self, camera: CameraId, progress: &crate::message::Progress) {
        let key = (camera, progress.epoch);
        self.tails.insert(key, SegmentTail { key, bytes: progress.bytes, last_counter: progress.counter });
        if self.gops.len() + progress.keys.len() > GOPS_MAX {
            self.overflowed = true;
            return;
        }
        self.gops.extend(progress.keys.iter().map(|(offset, starts)| (key, Gop { offset: *offset, starts: *starts })));
    }

    pub(super) fn state(&mut self, key: SegmentKey, state: SegmentState) {
        if self.states.len() < WAITING_MAX {
            self.states.push((key, state));
        } else {
            self.overflowed = true;
        }
    }

    pub(super) fn scanned(&mut self, segment: Replayed) {
        self.scanned.push(segment);
    }

    /// A camera's time until `until` was this; from `from` on where the account has no end yet.
    pub(super) fn cover(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, state: Coverage, cause: &str) {
        if !self.book_loaded {
            // Where the account ends is in the database; without it, this run's first instant is the best that is known.
            self.book_loaded = self.book.load(self.journal.db()).is_ok();
        }
        self.book.begin(camera, from);
        self.book.report(camera, from, Coverage::Lost, "the appliance was not recording");
        self.book.report(camera, until, state, cause);
    }

    pub(super) fn cover_erased(&mut self, camera: CameraId, from: UtcNanos, until: UtcNanos, cause: &str) {
        self.erased.push((camera, from, until, cause.to_owned()));
    }

    /// Whether a flush has something to do now.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.events.len() >= BATCH_ENTRIES_MAX / 2
            || self.events_since.is_some_and(|since| now.saturating_sub(since) >= BATCH_WAIT_MAX)
            || now.saturating_sub(self.index_written) >= TAIL_ENTRY_EVERY
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, now: Duration, utc: UtcNanos) -> Flushed {
        let mut flushed = Flushed::default();
        let waited = self.journal.waiting();
        if !self.events.is_empty() {
            match self.journal.record(&self.events, &mut self.signer) {
                Ok(Recorded::InLedger(_)) => self.written(waited, &mut flushed),
                Ok(Recorded::Spooled { cause, .. }) => {
                    self.events.clear();
                    self.went_away(&cause.to_string(), utc, &mut flushed);
                }
                // Neither took them: they wait here, bounded by what a second brings, and the alarm names the cause.
                Err(error) => {
                    self.events.truncate(WAITING_MAX);
                    self.went_away(&error.to_string(), utc, &mut flushed);
                }
            }
        } else if self.away_since.is_some() || waited > 0 {
            match self.journal.replay(&mut self.signer) {
                Ok(_) => self.written(waited, &mut flushed),
                Err(error) => self.went_away(&error.to_string(), utc, &mut flushed),
            }
        }
        self.events_since = if self.events.is_empty() { None } else { Some(now) };
        if self.away_since.is_none()
            && now.saturating_sub(self.index_written) >= TAIL_ENTRY_EVERY.min(BATCH_WAIT_MAX * 2)
        {
            self.index_written = now;
            if let Err(error) = self.write_index() {
                self.went_away(&error.to_string(), utc, &mut flushed);
            }
        }
        if self.away_since.is_none() && std::mem::take(&mut self.overflowed) {
            flushed.needs_replay = true;
        }
        flushed.needs_rows = self.away_since.is_none() && !self.rows_seen;
        flushed
    }

    /// Writes the index at once: a reader wants what is true now.
    pub(super) fn write_index(&mut self) -> Result<(), DbError> {
        let db = self.journal.db();
        while let Some(statement) = self.statements.first() {
            db.add_statement(statement)?;
            self.statements.remove(0);
        }
        while let Some(opened) = self.opened.first() {
            db.segment_opened(opened)?;
            self.opened.remove(0);
        }
        while let Some(replayed) = self.scanned.first() {
            db.replay(replayed)?;
            self.scanned.remove(0);
        }
        if !self.tails.is_empty() {
            db.segment_tails(&self.tails.values().copied().collect::<Vec<_>>())?;
            self.tails.clear();
        }
        if !self.gops.is_empty() {
            db.gops_add(&self.gops)?;
            self.gops.clear();
        }
        while let Some((key, state)) = self.states.first().copied() {
            db.segments_mark(&[key], state)?;
            self.states.remove(0);
        }
        if !self.book_loaded {
            self.book.load(db)?;
            self.book_loaded = true;
        }
        self.book.flush(db)?;
        while let Some((camera, from, until, cause)) = self.erased.first() {
            db.coverage_erase(*camera, *from, *until, cause)?;
            self.erased.remove(0);
        }
        Ok(())
    }

    fn written(&mut self, waited: usize, flushed: &mut Flushed) {
        self.events.clear();
        if let Some(since) = self.away_since.take() {
            flushed.came_back = Some((since, waited));
        }
    }

    fn went_away(&mut self, cause: &str, utc: UtcNanos, flushed: &mut Flushed) {
        if self.away_since.is_none() {
            self.away_since = Some(utc);
            flushed.went_away = Some(cause.to_owned());
        }
    }

    /// Since when PostgreSQL is away.
    pub(super) const fn away_since(&self) -> Option<UtcNanos> {
        self.away_since
    }
}
