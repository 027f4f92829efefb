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
/// Of these in one call: answered in a fraction of the time that a call is waited for.
const GOPS_AT_ONCE: usize = 10_000;
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
    closed: Vec<(SegmentTail, UtcNanos)>,
    /// Segments whose row was not open when it was to be closed.
    differing: Vec<SegmentKey>,
    /// What PostgreSQL refused: the first reason, and how often.
    refused: Option<(String, usize)>,
    /// Time of the last entry written by this run.
    ledger_time: UtcNanos,
    index_written: Duration,
    away_since: Option<UtcNanos>,
    /// Set when something that waited was dropped: the files must be read again.
    overflowed: bool,
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
    /// Rows that must be made again from their files.
    pub(super) differing: Vec<SegmentKey>,
    /// Rows that were given up: why the first one, and how many.
    pub(super) refused: Option<(String, usize)>,
    /// PostgreSQL answers.
    pub(super) answers: bool,
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
            closed: Vec::new(),
            differing: Vec::new(),
            refused: None,
            ledger_time: UtcNanos(i64::MIN),
            index_written: Duration::ZERO,
            away_since: None,
            overflowed: false,
        })
    }

    pub(super) fn db(&mut self) -> &mut Db {
        self.journal.db()
    }

    /// Time of the last entry; `None` while PostgreSQL is away or before the first.
    pub(super) fn last_time(&mut self) -> Option<UtcNanos> {
        let keys = self.signer.verify_keys();
        let chain = self.journal.db().chain(&keys).ok()?;
        (chain.size() > 0).then(|| chain.last_time()).inspect(|time| self.ledger_time = self.ledger_time.max(*time))
    }

    /// No decision is of a time before this.
    pub(super) const fn ledger_time(&self) -> UtcNanos {
        self.ledger_time
    }

    /// Bytes of entries that the spool lost before this run.
    pub(super) const fn torn_bytes(&self) -> u64 {
        self.journal.torn_bytes()
    }

    /// The rows of all segments that are not erased, with everything that waited.
    pub(super) fn rows(&mut self) -> Result<Vec<SegmentRow>, DbError> {
        self.write_index()?;
        let mut rows = Vec::new();
        for state in [SegmentState::Open, SegmentState::Closed, SegmentState::ErasePending] {
            rows.extend(self.journal.db().segments_in(state, UtcNanos(i64::MAX), u32::MAX)?);
        }
        Ok(rows)
    }

    /// One row, erased or not.
    pub(super) fn row(&mut self, key: SegmentKey) -> Result<Option<SegmentRow>, DbError> {
        self.journal.db().segment(key)
    }

    /// Up to when a camera is accounted for, as far as is known now.
    pub(super) fn accounted_until(&mut self, camera: CameraId) -> Option<UtcNanos> {
        self.load_book();
        self.book.cursor(camera)
    }

    fn load_book(&mut self) {
        if !self.book_loaded {
            // Where the account ends is in the database; without it, this run's first instant is the best that is known.
            self.book_loaded = self.book.load(self.journal.db()).is_ok();
        }
    }

    /// A camera's account begins now, unless it has begun.
    pub(super) fn begin_account(&mut self, camera: CameraId, now: UtcNanos) {
        self.load_book();
        self.book.begin(camera, now);
    }

    pub(super) fn segment_closed(&mut self, tail: SegmentTail, ends: UtcNanos) {
        if self.closed.len() < WAITING_MAX {
            self.closed.push((tail, ends));
        } else {
            self.overflowed = true;
        }
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
                self.note_time(&appended);
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

    /// Statements that are not in the database yet.
    pub(super) fn waiting_statements(&self) -> impl Iterator<Item = &[u8]> {
        self.statements.iter().map(Vec::as_slice)
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
        self.load_book();
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
                Ok(Recorded::InLedger(appended)) => {
                    self.note_time(&appended);
                    self.written(waited, &mut flushed);
                }
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
        flushed.differing = std::mem::take(&mut self.differing);
        flushed.refused = self.refused.take();
        flushed.answers = self.away_since.is_none();
        flushed
    }

    /// Writes the index at once: a reader wants what is true now. What PostgreSQL refuses for what it says is given up and
    /// told with the next flush; the rest goes on.
    ///
    /// # Errors
    /// [`DbError`], never [`DbError::Refused`].
    pub(super) fn write_index(&mut self) -> Result<(), DbError> {
        let db = self.journal.db();
        let refused = &mut self.refused;
        each(&mut self.statements, refused, |statement| db.add_statement(statement).map(drop))?;
        each(&mut self.opened, refused, |row| db.segment_opened(row))?;
        each(&mut self.scanned, refused, |replayed| db.replay(replayed))?;
        let tails: Vec<SegmentTail> = self.tails.values().copied().collect();
        halves(&tails, refused, &mut |tails| db.segment_tails(tails))?;
        self.tails.clear();
        while !self.gops.is_empty() {
            let part = self.gops.len().min(GOPS_AT_ONCE);
            halves(&self.gops[..part], refused, &mut |gops| db.gops_add(gops))?;
            self.gops.drain(..part);
        }
        let differing = &mut self.differing;
        each(&mut self.closed, refused, |(tail, ends)| {
            if !db.segment_closed(tail, *ends)? {
                differing.push(tail.key);
            }
            Ok(())
        })?;
        each(&mut self.states, refused, |(key, state)| db.segments_mark(&[*key], *state).map(drop))?;
        if !self.book_loaded {
            self.book.load(db)?;
            self.book_loaded = true;
        }
        for (camera, error) in self.book.flush(db)? {
            note(refused, format!("account of camera {camera}: {error}"));
        }
        each(&mut self.erased, refused, |(camera, from, until, cause)| db.coverage_erase(*camera, *from, *until, cause))
    }

    fn note_time(&mut self, appended: &[Appended]) {
        if let Some(last) = appended.last() {
            self.ledger_time = self.ledger_time.max(last.time);
        }
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

/// Writes items in order and forgets them. One that is refused is given up; any other error stops, and it waits on.
fn each<T>(
    items: &mut Vec<T>,
    refused: &mut Option<(String, usize)>,
    mut write: impl FnMut(&T) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut done = 0;
    let result = items.iter().try_for_each(|item| {
        match write(item) {
            Err(error) if error.is_refused() => note(refused, error.to_string()),
            result => result?,
        }
        done += 1;
        Ok(())
    });
    items.drain(..done);
    result
}

/// Writes items at once; where they are refused, by halves, until those that are refused by themselves are left.
fn halves<T>(
    items: &[T],
    refused: &mut Option<(String, usize)>,
    write: &mut impl FnMut(&[T]) -> Result<(), DbError>,
) -> Result<(), DbError> {
    match write(items) {
        Err(error) if error.is_refused() && items.len() > 1 => {
            let (first, second) = items.split_at(items.len() / 2);
            halves(first, refused, write)?;
            halves(second, refused, write)
        }
        Err(error) if error.is_refused() => {
            note(refused, error.to_string());
            Ok(())
        }
        result => result,
    }
}

fn note(refused: &mut Option<(String, usize)>, why: String) {
    refused.get_or_insert((why, 0)).1 += 1;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn refusal() -> DbError {
        DbError::Refused { call: "test", code: "22021".into(), message: "no".into() }
    }

    #[test]
    fn what_is_refused_is_given_up_and_the_rest_is_written() {
        let mut refused = None;
        let mut items = vec![1, 2, 3];
        let mut written = Vec::new();
        let mut take = |item: &i32| {
            if *item == 2 {
                return Err(refusal());
            }
            written.push(*item);
            Ok(())
        };
        each(&mut items, &mut refused, &mut take).unwrap();
        assert_eq!((written.as_slice(), items.len(), refused.take().unwrap().1), ([1, 3].as_slice(), 0, 1));

        let mut written = Vec::new();
        let many: Vec<i32> = (0..100).collect();
        let mut take = |items: &[i32]| {
            if items.contains(&7) || items.contains(&70) {
                return Err(refusal());
            }
            written.extend_from_slice(items);
            Ok(())
        };
        halves(&many, &mut refused, &mut take).unwrap();
        assert_eq!((written.len(), refused.unwrap().1), (98, 2));
    }

    #[test]
    fn an_outage_keeps_what_is_not_written() {
        let away = || DbError::Away { cause: "test".into(), retry_in: Duration::ZERO };
        let (mut refused, mut items) = (None, vec![1, 2, 3]);
        let result = each(&mut items, &mut refused, |item| if *item == 2 { Err(away()) } else { Ok(()) });
        assert!(result.unwrap_err().is_away());
        assert_eq!((items, refused), (vec![2, 3], None));
    }
}
