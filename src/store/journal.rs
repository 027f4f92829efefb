//! The one way for scribe to write the ledger: into the database, or into the spool while it is away.
//!
//! Every event of a run is numbered (random run id, counter). The database takes each number once, so an event whose
//! commit is in doubt is spooled and, at the replay, either appended or recognised: exactly once, in order.
//!
//! ```text
//!            record                         replay (before anything else is appended)
//!  events ──▶ database up? ──yes──▶ ledger ◀──── spool: number > mark of its run → append, else skip; then clear
//!                 └──no──▶ spool ────────────────┘
//! ```
//! Disclosures do not spool: [`Journal::append_now`] refuses while PostgreSQL is away (the caller answers 503). An event
//! of theirs whose commit is in doubt may stand in the ledger without its disclosure; never the other way round.

use crate::db::{Appended, Db, DbError, Mark};
use crate::spool::{Spool, SpoolError, Spooled};
use peri_domain::Nonce;
use peri_ledger::chain::BATCH_EVENTS_MAX;
use peri_ledger::{CheckpointSigner, Event};

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database refused or is away, and the call does not spool.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Neither database nor spool took the events: they are lost unless the caller keeps them.
    #[error("{spool}; and {db}")]
    Both {
        /// Why not the spool.
        spool: Box<SpoolError>,
        /// Why not the database.
        db: Box<DbError>,
    },
    /// The spool cannot be read back or emptied.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Where recorded events went.
#[derive(Debug)]
pub enum Recorded {
    /// Into the ledger.
    InLedger(Vec<Appended>),
    /// Into the spool, because of this.
    Spooled {
        /// Why not into the ledger. When it is not [`DbError::Away`], somebody must look.
        cause: DbError,
        /// Events in the spool now.
        waiting: usize,
    },
}

/// Database, spool and the numbers of this run.
#[derive(Debug)]
pub struct Journal {
    db: Db,
    spool: Spool,
    run: Nonce,
    next_no: u64,
}

impl Journal {
    /// `run` is drawn at random at each start.
    #[must_use]
    pub const fn new(db: Db, spool: Spool, run: Nonce) -> Self {
        Self { db, spool, run, next_no: 0 }
    }

    /// The database, for everything that is not an append.
    pub const fn db(&mut self) -> &mut Db {
        &mut self.db
    }

    /// Events in the spool.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.spool.len()
    }

    /// Bytes that the spool had lost when it was opened.
    #[must_use]
    pub const fn torn_bytes(&self) -> u64 {
        self.spool.torn_bytes()
    }

    /// Writes events durably: into the ledger if it can be, after what waits in the spool, else into the spool.
    ///
    /// # Errors
    /// [`JournalError::Both`]; an event that can never become an entry is refused at once.
    pub fn record(&mut self, events: &[Event], signer: &mut dyn CheckpointSigner) -> Result<Recorded, JournalError> {
        events.iter().try_for_each(Event::check).map_err(DbError::from)?;
        let first_no = self.number(events);
        match self.append(events, first_no, signer) {
            Ok(appended) => Ok(Recorded::InLedger(appended)),
            Err(cause) => match self.spool.push(self.run, first_no, events) {
                Ok(()) => Ok(Recorded::Spooled { cause: as_db(cause), waiting: self.spool.len() }),
                Err(spool) => Err(JournalError::Both { spool: Box::new(spool), db: Box::new(as_db(cause)) }),
            },
        }
    }

    /// Writes events into the ledger or not at all, for what must be provable before it happens.
    ///
    /// # Errors
    /// [`JournalError`]; [`DbError::Away`] inside means 503.
    pub fn append_now(
        &mut self,
        events: &[Event],
        signer: &mut dyn CheckpointSigner,
    ) -> Result<Vec<Appended>, JournalError> {
        let first_no = self.number(events);
        self.append(events, first_no, signer)
    }

    /// Brings the spool into the ledger; how many events were appended (those that were in already are not counted).
    /// Cheap when the spool is empty.
    ///
    /// # Errors
    /// [`JournalError`]; what was appended stays, the rest waits on.
    pub fn replay(&mut self, signer: &mut dyn CheckpointSigner) -> Result<usize, JournalError> {
        if self.spool.is_empty() {
            return Ok(0);
        }
        let mut appended = 0;
        let spooled = self.spool.read()?;
        for part in spooled.chunk_by(|a, b| a.run == b.run && b.no == a.no + 1) {
            let mark = self.db.marked(part[0].run)?;
            let known = part.partition_point(|s| mark.is_some_and(|mark| s.no <= mark));
            for batch in part[known..].chunks(BATCH_EVENTS_MAX) {
                let Spooled { run, no, .. } = batch[0];
                let events: Vec<Event> = batch.iter().map(|s| s.event.clone()).collect();
                self.db.append(&events, Some(Mark { run, first_no: no }), signer)?;
                appended += events.len();
            }
        }
        self.spool.clear()?;
        Ok(appended)
    }

    fn number(&mut self, events: &[Event]) -> u64 {
        let first = self.next_no;
        self.next_no += events.len() as u64;
        first
    }

    fn append(
        &mut self,
        events: &[Event],
        first_no: u64,
        signer: &mut dyn CheckpointSigner,
    ) -> Result<Vec<Appended>, JournalError> {
        self.replay(signer)?;
        Ok(self.db.append(events, Some(Mark { run: self.run, first_no }), signer)?)
    }
}

fn as_db(error: JournalError) -> DbError {
    match error {
        JournalError::Db(db) => db,
        JournalError::Both { db, .. } => *db,
        JournalError::Spool(spool) => {
            DbError::Refused { call: "reading the spool", code: "spool".to_owned(), message: spool.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::SPOOL_FILE;
    use crate::testdb::TestDb;
    use getrandom::SysRng;
    use peri_domain::UtcNanos;
    use peri_ledger::{Entry, EntryType, LedgerKeys, LedgerSigner, verify_ledger};
    use peri_sandbox::durable::Dir;
    use std::time::Duration;

    const ORIGIN: &str = "peri/test";

    struct Bench {
        cluster: TestDb,
        place: tempfile::TempDir,
        signer: LedgerSigner<SysRng>,
    }

    impl Bench {
        fn new() -> Self {
            let keys = LedgerKeys::generate(ORIGIN, &mut SysRng).unwrap();
            Self {
                cluster: TestDb::start(),
                place: tempfile::tempdir().unwrap(),
                signer: LedgerSigner::new(keys, SysRng),
            }
        }

        fn journal(&self, run: u8) -> Journal {
            let spool = Spool::open(&Dir::open(self.place.path()).unwrap()).unwrap();
            Journal::new(self.cluster.db(ORIGIN), spool, Nonce([run; 16]))
        }

        /// Times of the events in the ledger, in its order; the whole ledger verifies.
        fn times(&mut self) -> Vec<i64> {
            let mut db = self.cluster.db(ORIGIN);
            let entries: Vec<_> = db.entries(0).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
            let notes: Vec<_> = db.checkpoints(0).unwrap().into_iter().map(|(_, note)| note).collect();
            verify_ledger(ORIGIN, &entries, &notes, &self.signer.verify_keys(), &[]).unwrap();
            let parsed = entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap());
            parsed.filter(|e| e.kind != EntryType::CheckpointBlock).map(|e| e.time.0).collect()
        }
    }

    fn events(times: std::ops::Range<i64>) -> Vec<Event> {
        times.map(|t| Event::new(EntryType::CameraLost, UtcNanos(t))).collect()
    }

    fn wait() {
        std::thread::sleep(Duration::from_millis(250));
    }

    #[test]
    fn events_of_an_outage_are_appended_in_order_before_the_next() {
        let mut bench = Bench::new();
        let mut journal = bench.journal(1);
        assert!(
            matches!(journal.record(&events(0..3), &mut bench.signer).unwrap(), Recorded::InLedger(a) if a.len() == 3)
        );
        bench.cluster.crash();
        for t in 3..9 {
            let recorded = journal.record(&events(t..t + 1), &mut bench.signer).unwrap();
            assert!(matches!(recorded, Recorded::Spooled { cause: DbError::Away { .. }, .. }));
        }
        let refused = journal.append_now(&events(99..100), &mut bench.signer).unwrap_err();
        assert!(matches!(refused, JournalError::Db(DbError::Away { .. })));
        bench.cluster.resume();
        wait();
        let recorded = journal.record(&events(9..11), &mut bench.signer).unwrap();
        assert!(matches!(recorded, Recorded::InLedger(_)), "{recorded:?}");
        assert_eq!(journal.waiting(), 0);
        assert_eq!(bench.times(), (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn a_crash_between_commit_and_emptying_the_spool_duplicates_nothing() {
        let mut bench = Bench::new();
        bench.cluster.pause();
        let mut journal = bench.journal(1);
        journal.record(&events(0..600), &mut bench.signer).unwrap();
        let path = bench.place.path().join(SPOOL_FILE);
        let before = std::fs::read(&path).unwrap();
        bench.cluster.resume();
        wait();
        assert_eq!(journal.replay(&mut bench.signer).unwrap(), 600);
        // The power went after the commit and before the file was cut: it is all there again, and a new run begins.
        std::fs::write(&path, &before).unwrap();
        let mut journal = bench.journal(2);
        assert_eq!(journal.waiting(), 600);
        assert_eq!(journal.replay(&mut bench.signer).unwrap(), 0);
        journal.record(&events(600..601), &mut bench.signer).unwrap();
        assert_eq!(bench.times(), (0..601).collect::<Vec<_>>());
    }

    #[test]
    fn a_replay_interrupted_half_way_goes_on_where_it_stopped() {
        let mut bench = Bench::new();
        bench.cluster.pause();
        let mut journal = bench.journal(1);
        journal.record(&events(0..600), &mut bench.signer).unwrap();
        drop(journal);
        bench.cluster.resume();
        wait();
        // The first batch of the replay was committed, then scribe died.
        let mark = Mark { run: Nonce([1; 16]), first_no: 0 };
        bench.cluster.db(ORIGIN).append(&events(0..255), Some(mark), &mut bench.signer).unwrap();
        let mut journal = bench.journal(2);
        assert_eq!(journal.replay(&mut bench.signer).unwrap(), 345);
        assert_eq!(bench.times(), (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_whose_commit_was_in_doubt_is_recognised() {
        let mut bench = Bench::new();
        let mut journal = bench.journal(1);
        // Committed, but the answer never came: the same numbers are spooled.
        let mark = Mark { run: Nonce([1; 16]), first_no: 0 };
        journal.db().append(&events(0..2), Some(mark), &mut bench.signer).unwrap();
        journal.spool.push(Nonce([1; 16]), 0, &events(0..2)).unwrap();
        journal.next_no = 2;
        journal.record(&events(2..4), &mut bench.signer).unwrap();
        assert_eq!(bench.times(), [0, 1, 2, 3]);
        // And the database itself takes no number twice.
        let refused = journal.db().append(&events(0..2), Some(mark), &mut bench.signer).unwrap_err();
        assert!(matches!(&refused, DbError::Refused { code, .. } if code == "PR002"), "{refused}");
    }

    #[test]
    fn replayed_numbers_that_skip_some_are_all_taken() {
        let mut bench = Bench::new();
        bench.cluster.pause();
        let mut journal = bench.journal(1);
        journal.record(&events(0..2), &mut bench.signer).unwrap();
        journal.append_now(&events(50..51), &mut bench.signer).unwrap_err();
        journal.record(&events(2..4), &mut bench.signer).unwrap();
        bench.cluster.resume();
        wait();
        assert_eq!(journal.replay(&mut bench.signer).unwrap(), 4);
        assert_eq!(bench.times(), [0, 1, 2, 3]);
    }
}
