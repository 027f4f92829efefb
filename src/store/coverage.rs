//! The account of every camera-second: recorded, lost (why), paused (by whom) or erased.
//!
//! [`Book`] gathers reports in memory, so that an outage of PostgreSQL leaves no hole, and writes them in one
//! transaction when it can. Contiguous by construction: a report names only its end; it begins where the account of its
//! camera ends. The database function keeps the same rule, and a report that arrives twice changes nothing. What does
//! not belong: who decides that a camera is lost (recorder, supervisor), erasing itself (`retention`).

use crate::db::{Db, DbError};
use peri_domain::{CameraId, UtcNanos};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Spans that wait in memory for one camera: a camera flapping every 10 s fills it in 11 hours, at 512 cameras it costs
/// at most 200 MiB. Above it the newest span swallows what follows, as lost.
const WAITING_MAX: usize = 4096;

/// Longest cause in bytes, as the schema has it.
const CAUSE_MAX: usize = peri_domain::limits::CAUSE_BYTES_MAX;

/// Cause of a span that swallowed others.
const OVERFLOW: &str = "more changes than the account could keep while PostgreSQL was away";

/// What a camera's time was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coverage {
    /// Sealed on disk.
    Recorded,
    /// Not recorded; the cause says why.
    Lost,
    /// Not recorded because somebody paused it; the cause says who.
    Paused,
    /// Was recorded and is gone; the cause says why.
    Erased,
}

impl Coverage {
    const fn code(self) -> i16 {
        match self {
            Self::Recorded => 0,
            Self::Lost => 1,
            Self::Paused => 2,
            Self::Erased => 3,
        }
    }

    const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Recorded),
            1 => Some(Self::Lost),
            2 => Some(Self::Paused),
            3 => Some(Self::Erased),
            _ => None,
        }
    }
}

/// A stretch of one camera's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Begin.
    pub starts: UtcNanos,
    /// End, not included.
    pub ends: UtcNanos,
    /// What it was.
    pub state: Coverage,
    /// Why; empty for recorded.
    pub cause: String,
}

/// The account in memory: each camera's end, and what is not in the database yet.
#[derive(Debug, Default)]
pub struct Book {
    cameras: BTreeMap<CameraId, Account>,
}

#[derive(Debug)]
struct Account {
    cursor: UtcNanos,
    waiting: VecDeque<Span>,
}

impl Book {
    /// An empty account.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over where the database's accounts end, for cameras that have no end here yet.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn load(&mut self, db: &mut Db) -> Result<(), DbError> {
        for (camera, cursor) in db.coverage_cursors()? {
            self.begin(camera, cursor);
        }
        Ok(())
    }

    /// A camera's account begins here, unless it has begun. Registration, or the first time this run sees the camera
    /// while the database is away (it then fills what lies between as lost).
    pub fn begin(&mut self, camera: CameraId, at: UtcNanos) {
        self.cameras.entry(camera).or_insert_with(|| Account { cursor: at, waiting: VecDeque::new() });
    }

    /// Up to when a camera is accounted for; `None` when its account has not begun.
    #[must_use]
    pub fn cursor(&self, camera: CameraId) -> Option<UtcNanos> {
        self.cameras.get(&camera).map(|account| account.cursor)
    }

    /// A camera's time from its cursor until `until` was this. Joins with the span before where they are alike. An end
    /// before the cursor, or a camera whose account has not begun, changes nothing.
    pub fn report(&mut self, camera: CameraId, until: UtcNanos, state: Coverage, cause: &str) {
        let Some(account) = self.cameras.get_mut(&camera) else { return };
        if until <= account.cursor || state == Coverage::Erased {
            return;
        }
        let cause = clean(cause);
        let full = account.waiting.len() >= WAITING_MAX;
        match account.waiting.back_mut() {
            Some(last) if last.state == state && last.cause == cause => last.ends = until,
            Some(last) if full => {
                last.ends = until;
                last.state = Coverage::Lost;
                OVERFLOW.clone_into(&mut last.cause);
            }
            _ => account.waiting.push_back(Span {
                starts: account.cursor,
                ends: until,
                state,
                cause: cause.into_owned(),
            }),
        }
        account.cursor = until;
    }

    /// Spans that are not in the database yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.cameras.values().map(|account| account.waiting.len()).sum()
    }

    /// Writes what waits, in one transaction; durable on return. On an error everything waits on, and is written again
    /// without harm where the outcome was unknown. Where PostgreSQL refuses, the cameras are written one by one, and those
    /// that it refuses by themselves are given up and returned: nobody's account may hold up the others'.
    ///
    /// # Errors
    /// [`DbError`], never [`DbError::Refused`].
    pub fn flush(&mut self, db: &mut Db) -> Result<Vec<(CameraId, DbError)>, DbError> {
        let spans: Vec<(CameraId, &Span)> = self
            .cameras
            .iter()
            .flat_map(|(camera, account)| account.waiting.iter().map(|span| (*camera, span)))
            .collect();
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        match db.coverage_report(&spans) {
            Ok(()) => {
                self.cameras.values_mut().for_each(|account| account.waiting.clear());
                Ok(Vec::new())
            }
            Err(refused) if refused.is_refused() => self.flush_each(db),
            Err(error) => Err(error),
        }
    }

    fn flush_each(&mut self, db: &mut Db) -> Result<Vec<(CameraId, DbError)>, DbError> {
        let mut given_up = Vec::new();
        for (camera, account) in self.cameras.iter_mut().filter(|(_, account)| !account.waiting.is_empty()) {
            let spans: Vec<_> = account.waiting.iter().map(|span| (*camera, span)).collect();
            match db.coverage_report(&spans) {
                Ok(()) => {}
                Err(refused) if refused.is_refused() => given_up.push((*camera, refused)),
                Err(error) => return Err(error),
            }
            account.waiting.clear();
        }
        Ok(given_up)
    }
}

impl Db {
    /// Up to when each camera is accounted for.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn coverage_cursors(&mut self) -> Result<Vec<(CameraId, UtcNanos)>, DbError> {
        let rows = self.call("SELECT * FROM peri_api.coverage_cursors()", &[])?;
        rows.iter()
            .map(|row| {
                let camera = CameraId::from_slice(row.get(0)).ok_or(DbError::Row("coverage"))?;
                Ok((camera, UtcNanos(row.get(1))))
            })
            .collect()
    }

    fn coverage_report(&mut self, spans: &[(CameraId, &Span)]) -> Result<(), DbError> {
        let cameras: Vec<&[u8]> = spans.iter().map(|(camera, _)| camera.as_bytes().as_slice()).collect();
        let starts: Vec<i64> = spans.iter().map(|(_, s)| s.starts.0).collect();
        let ends: Vec<i64> = spans.iter().map(|(_, s)| s.ends.0).collect();
        let states: Vec<i16> = spans.iter().map(|(_, s)| s.state.code()).collect();
        let causes: Vec<&str> = spans.iter().map(|(_, s)| s.cause.as_str()).collect();
        self.call(
            "SELECT peri_api.coverage_report($1, $2, $3, $4, $5)",
            &[&cameras, &starts, &ends, &states, &causes],
        )?;
        Ok(())
    }

    /// Turns what is recorded between two times into erased; lost and paused stay. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn coverage_erase(
        &mut self,
        camera: CameraId,
        from: UtcNanos,
        until: UtcNanos,
        cause: &str,
    ) -> Result<(), DbError> {
        let camera = camera.as_bytes().as_slice();
        self.call(
            "SELECT peri_api.coverage_erase($1, $2, $3, $4)",
            &[&camera, &from.0, &until.0, &clean(cause).as_ref()],
        )?;
        Ok(())
    }

    /// The spans that touch a stretch of time, oldest first, not cut to it; without gap between the first and the last.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn coverage_between(
        &mut self,
        camera: CameraId,
        from: UtcNanos,
        until: UtcNanos,
    ) -> Result<Vec<Span>, DbError> {
        let camera = camera.as_bytes().as_slice();
        let rows = self.call("SELECT * FROM peri_api.coverage_between($1, $2, $3)", &[&camera, &from.0, &until.0])?;
        rows.iter()
            .map(|row| {
                Ok(Span {
                    starts: UtcNanos(row.get("starts")),
                    ends: UtcNanos(row.get("ends")),
                    state: Coverage::from_code(row.get("state")).ok_or(DbError::Row("coverage"))?,
                    cause: row.get("cause"),
                })
            })
            .collect()
    }
}

/// At most [`CAUSE_MAX`] bytes, cut between characters, without control characters: cameras have a say in causes, and
/// PostgreSQL takes no NUL.
fn clean(cause: &str) -> Cow<'_, str> {
    let cause = &cause[..cause.floor_char_boundary(CAUSE_MAX)];
    // A space is never longer than what it stands for.
    if cause.contains(char::is_control) { cause.replace(char::is_control, " ").into() } else { cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdb::TestDb;
    use proptest::prelude::*;

    const CAMERA: CameraId = CameraId([4; 16]);
    const ALL: (UtcNanos, UtcNanos) = (UtcNanos(i64::MIN), UtcNanos(i64::MAX));

    fn rows(db: &mut Db) -> Vec<(i64, i64, Coverage, String)> {
        let spans = db.coverage_between(CAMERA, ALL.0, ALL.1).unwrap();
        spans.into_iter().map(|s| (s.starts.0, s.ends.0, s.state, s.cause)).collect()
    }

    fn assert_contiguous(rows: &[(i64, i64, Coverage, String)]) {
        assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].0), "{rows:?}");
    }

    #[test]
    fn reports_join_and_survive_an_outage_and_a_restart() {
        let mut cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let mut book = Book::new();
        book.report(CAMERA, UtcNanos(5), Coverage::Recorded, "");
        assert_eq!(book.waiting(), 0, "an account begins before it is written");
        book.begin(CAMERA, UtcNanos(10));
        book.report(CAMERA, UtcNanos(20), Coverage::Recorded, "");
        book.report(CAMERA, UtcNanos(15), Coverage::Lost, "a report from the past");
        book.flush(&mut db).unwrap();
        cluster.pause();
        book.report(CAMERA, UtcNanos(30), Coverage::Recorded, "");
        book.report(CAMERA, UtcNanos(40), Coverage::Lost, "no answer");
        assert!(book.flush(&mut db).unwrap_err().is_away());
        assert_eq!(book.waiting(), 2);
        cluster.resume();
        std::thread::sleep(std::time::Duration::from_millis(250));
        book.flush(&mut db).unwrap();
        let lost = (30, 40, Coverage::Lost, "no answer".to_owned());
        assert_eq!(rows(&mut db), [(10, 30, Coverage::Recorded, String::new()), lost]);

        // A new run that could not read the end fills what it does not know, and repeats nothing.
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(50));
        book.report(CAMERA, UtcNanos(60), Coverage::Recorded, "");
        book.flush(&mut db).unwrap();
        let mut late = Book::new();
        late.begin(CAMERA, UtcNanos(35));
        late.report(CAMERA, UtcNanos(55), Coverage::Lost, "late");
        late.flush(&mut db).unwrap();
        let all = rows(&mut db);
        assert_contiguous(&all);
        assert_eq!(all[2], (40, 50, Coverage::Lost, "not accounted for".to_owned()));
        assert_eq!(all[3], (50, 60, Coverage::Recorded, String::new()));
        let mut book = Book::new();
        book.load(&mut db).unwrap();
        assert_eq!(book.cursor(CAMERA), Some(UtcNanos(60)));
    }

    #[test]
    fn erasing_takes_recorded_time_only_and_keeps_the_account_short() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(0));
        book.report(CAMERA, UtcNanos(100), Coverage::Recorded, "");
        book.report(CAMERA, UtcNanos(120), Coverage::Paused, "custodians");
        book.report(CAMERA, UtcNanos(300), Coverage::Recorded, "");
        book.flush(&mut db).unwrap();
        for epoch in 0..20 {
            db.coverage_erase(CAMERA, UtcNanos(epoch * 10), UtcNanos(epoch * 10 + 10), "retention").unwrap();
            assert_contiguous(&rows(&mut db));
        }
        let erased = |from, until| (from, until, Coverage::Erased, "retention".to_owned());
        let expected = [
            erased(0, 100),
            (100, 120, Coverage::Paused, "custodians".to_owned()),
            erased(120, 200),
            (200, 300, Coverage::Recorded, String::new()),
        ];
        assert_eq!(rows(&mut db), expected);
        db.coverage_erase(CAMERA, UtcNanos(240), UtcNanos(250), "early").unwrap();
        assert_contiguous(&rows(&mut db));
        assert_eq!(rows(&mut db).len(), 6);
    }

    #[test]
    fn an_account_too_long_for_memory_says_lost_and_stays_contiguous() {
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(0));
        for i in 1..=(WAITING_MAX as i64 + 100) {
            let state = if i % 2 == 0 { Coverage::Recorded } else { Coverage::Lost };
            book.report(CAMERA, UtcNanos(i), state, "flapping");
        }
        assert_eq!(book.waiting(), WAITING_MAX);
        let last = book.cameras[&CAMERA].waiting.back().unwrap();
        assert_eq!((last.ends, last.state), (UtcNanos(WAITING_MAX as i64 + 100), Coverage::Lost));
        assert!(clean(&"ä".repeat(150)).len() <= CAUSE_MAX);
    }

    #[test]
    fn a_cause_with_control_characters_is_accounted_for_without_them() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(0));
        book.report(CAMERA, UtcNanos(10), Coverage::Lost, "no\0answer\n\u{85}");
        assert!(book.flush(&mut db).unwrap().is_empty());
        assert_eq!(rows(&mut db), [(0, 10, Coverage::Lost, "no answer  ".to_owned())]);
    }

    #[test]
    fn an_account_that_is_refused_holds_up_no_other() {
        let cluster = TestDb::start();
        let mut db = cluster.db("peri/test");
        let other = CameraId([5; 16]);
        let mut book = Book::new();
        book.begin(CAMERA, UtcNanos(0));
        book.begin(other, UtcNanos(0));
        book.report(CAMERA, UtcNanos(10), Coverage::Recorded, "");
        book.report(other, UtcNanos(10), Coverage::Recorded, "");
        // What the schema refuses, however it came here.
        book.cameras.get_mut(&other).unwrap().waiting[0].state = Coverage::Erased;
        let given_up = book.flush(&mut db).unwrap();
        assert!(matches!(given_up.as_slice(), [(camera, DbError::Refused { .. })] if *camera == other), "{given_up:?}");
        assert_eq!((book.waiting(), rows(&mut db).len()), (0, 1));
    }

    proptest! {
        #[test]
        fn waiting_spans_are_always_contiguous(reports in prop::collection::vec((0_i64..500, 0_u8..3, 0_u8..2), 0..60)) {
            let mut book = Book::new();
            book.begin(CAMERA, UtcNanos(0));
            for (until, state, cause) in reports {
                let state = [Coverage::Recorded, Coverage::Lost, Coverage::Paused][usize::from(state)];
                book.report(CAMERA, UtcNanos(until), state, if cause == 0 { "a" } else { "b" });
            }
            let account = &book.cameras[&CAMERA];
            let spans: Vec<_> = account.waiting.iter().collect();
            prop_assert!(spans.windows(2).all(|p| p[0].ends == p[1].starts && (p[0].state, &p[0].cause) != (p[1].state, &p[1].cause)));
            prop_assert!(spans.iter().all(|s| s.starts < s.ends));
            prop_assert_eq!(spans.last().map_or(UtcNanos(0), |s| s.ends), account.cursor);
        }
    }
}
