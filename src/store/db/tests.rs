//! The ledger in a real PostgreSQL: durable, in order, verified end to end; and how fast.

use super::*;
use crate::testdb::TestDb;
use getrandom::SysRng;
use peri_domain::limits::DATABASE_ANSWER_MAX;
use peri_ledger::{Class, LedgerKeys, LedgerSigner, verify_ledger};
use peri_sandbox::clock::SystemClock;

const ORIGIN: &str = "peri/test";

fn signer() -> LedgerSigner<SysRng> {
    LedgerSigner::new(LedgerKeys::generate(ORIGIN, &mut SysRng).unwrap(), SysRng)
}

fn events(count: usize) -> Vec<Event> {
    let kinds = [EntryType::CameraLost, EntryType::DisclosureIntent, EntryType::VmHours];
    (0..count)
        .map(|i| {
            Event::new(kinds[i % 3], UtcNanos(i as i64))
                .with_digest(Hash([7; 32]))
                .with_detail(Nonce([i as u8; 16]), &(i as u64))
        })
        .collect()
}

fn read_all(db: &mut Db) -> (Vec<Vec<u8>>, Vec<String>) {
    let (mut entries, mut notes) = (Vec::new(), Vec::new());
    loop {
        let page = db.entries(entries.len() as u64).unwrap();
        if page.is_empty() {
            break;
        }
        entries.extend(page.into_iter().map(|(_, bytes)| bytes));
    }
    let mut above = 0;
    while let Some((last, _)) = db.checkpoints(above).unwrap().last().cloned() {
        notes.extend(db.checkpoints(above).unwrap().into_iter().map(|(_, note)| note));
        above = last;
    }
    (entries, notes)
}

#[test]
fn what_is_appended_verifies_after_a_crash_and_a_new_connection() {
    let mut cluster = TestDb::start_durable();
    let mut signer = signer();
    let mut db = cluster.db(ORIGIN);
    let appended = db.append(&events(600), None, &mut signer).unwrap();
    assert_eq!(appended.len(), 600);
    assert_eq!((appended[0].leaf_index, appended[599].leaf_index), (0, 601));
    assert!(appended.windows(2).all(|pair| pair[0].leaf_index < pair[1].leaf_index));

    cluster.crash();
    assert!(db.append(&events(1), None, &mut signer).unwrap_err().is_away());
    cluster.resume();
    std::thread::sleep(RETRY_MIN * 2);
    let again = db.append(&events(1), None, &mut signer).unwrap();
    assert_eq!(again[0].leaf_index, 603);

    let (entries, notes) = read_all(&mut cluster.db(ORIGIN));
    let report = verify_ledger(ORIGIN, &entries, &notes, &signer.verify_keys(), &[]).unwrap();
    assert_eq!((report.size, report.checkpoints), (604, 4));
    assert_eq!(db.ledger_range(Ledger::Access, 0).unwrap().len(), 200);
    let details = db.details(appended[5].leaf_index).unwrap();
    let entry = Entry::from_bytes(&entries[5]).unwrap();
    peri_ledger::verify::verify_details(5, &entry, &details).unwrap();
    assert_eq!(details.len(), 1);
    let leaves = db.leaf_hashes(600).unwrap();
    assert_eq!(leaves.len(), 4);
}

#[test]
fn whatever_the_superuser_does_to_the_rows_is_named() {
    let cluster = TestDb::start();
    let mut signer = signer();
    let mut db = cluster.db(ORIGIN);
    for _ in 0..4 {
        db.append(&events(10), None, &mut signer).unwrap();
    }
    let keys = signer.verify_keys();
    let mut root = Endpoint::superuser(cluster.socket_dir()).connect().unwrap();
    let mut tampered = |sql: &str| {
        let mut transaction = root.transaction().unwrap();
        transaction.batch_execute("SET session_replication_role = replica").unwrap();
        transaction.batch_execute(sql).unwrap();
        let read = |rows: Vec<Row>| rows.iter().map(|r| r.get(0)).collect::<Vec<Vec<u8>>>();
        let entries = read(transaction.query("SELECT entry FROM peri.ledger_entry ORDER BY leaf_index", &[]).unwrap());
        let notes = transaction.query("SELECT note FROM peri.ledger_checkpoint ORDER BY size", &[]).unwrap();
        let notes: Vec<String> = notes.iter().map(|r| r.get(0)).collect();
        verify_ledger(ORIGIN, &entries, &notes, &keys, &[]).map_err(|f| (f.class, f.entry))
    };
    assert!(tampered("SELECT 1").is_ok());
    assert_eq!(
        tampered(
            "UPDATE peri.ledger_entry SET entry = set_byte(entry, octet_length(entry) - 1, 0) WHERE leaf_index = 12"
        ),
        Err((Class::Chain, 12))
    );
    assert_eq!(tampered("DELETE FROM peri.ledger_entry WHERE leaf_index = 10"), Err((Class::Chain, 10)));
    assert_eq!(tampered("DELETE FROM peri.ledger_entry WHERE leaf_index >= 40"), Err((Class::Truncated, 40)));
    assert_eq!(tampered("DELETE FROM peri.ledger_checkpoint WHERE size > 40"), Err((Class::Truncated, 32)));
    let swap = "UPDATE peri.ledger_entry SET leaf_index = leaf_index + 1000 WHERE leaf_index IN (13, 16);
                UPDATE peri.ledger_entry SET leaf_index = 1029 - leaf_index WHERE leaf_index >= 1000";
    assert_eq!(tampered(swap), Err((Class::Chain, 13)));
}

#[test]
fn a_changed_end_is_refused_instead_of_signed_again() {
    let cluster = TestDb::start();
    let mut signer = signer();
    cluster.db(ORIGIN).append(&events(9), None, &mut signer).unwrap();
    let mut root = Endpoint::superuser(cluster.socket_dir()).connect().unwrap();
    let forge = "SET session_replication_role = replica;
                 UPDATE peri.ledger_checkpoint SET frontier = set_byte(frontier, 3, get_byte(frontier, 3) # 1)";
    root.batch_execute(forge).unwrap();
    let refused = cluster.db(ORIGIN).append(&events(1), None, &mut signer).unwrap_err();
    assert!(matches!(refused, DbError::Chain(ChainError::Restore(_))), "{refused}");
}

#[test]
fn of_two_writers_one_is_refused_and_goes_on_after_reading_again() {
    let cluster = TestDb::start();
    let mut signer = signer();
    let (mut one, mut two) = (cluster.db(ORIGIN), cluster.db(ORIGIN));
    one.append(&events(3), None, &mut signer).unwrap();
    two.append(&events(3), None, &mut signer).unwrap();
    let refused = one.append(&events(3), None, &mut signer).unwrap_err();
    assert!(matches!(&refused, DbError::Refused { code, .. } if code == "PR001"), "{refused}");
    one.append(&events(3), None, &mut signer).unwrap();
    let (entries, notes) = read_all(&mut one);
    assert_eq!(verify_ledger(ORIGIN, &entries, &notes, &signer.verify_keys(), &[]).unwrap().size, 11);
}

#[test]
fn statements_are_kept_once_in_order_of_arrival() {
    let cluster = TestDb::start();
    let mut db = cluster.db(ORIGIN);
    assert!(db.add_statement(b"genesis").unwrap());
    assert!(db.add_statement(b"seat").unwrap());
    assert!(!db.add_statement(b"genesis").unwrap());
    assert_eq!(db.statements().unwrap(), [b"genesis".to_vec(), b"seat".to_vec()]);
    assert_eq!(db.statements_after(1).unwrap()[0].1, b"seat");
    let too_long = vec![1; peri_domain::limits::STATEMENT_MAX + 1];
    assert!(matches!(db.add_statement(&too_long), Err(DbError::Refused { .. })));
}

/// A clock that the test moves.
#[derive(Clone, Default)]
struct Hands(std::sync::Arc<std::sync::Mutex<Duration>>);

impl Clock for Hands {
    fn utc(&self) -> UtcNanos {
        UtcNanos(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[test]
fn attempts_to_reconnect_back_off() {
    let clock = Hands::default();
    let nowhere = Endpoint::scribe(std::path::Path::new("/nonexistent"));
    let mut db = Db::new(nowhere, ORIGIN, clock.clone());
    let mut delays = Vec::new();
    for _ in 0..9 {
        let Err(DbError::Away { retry_in, .. }) = db.statements() else { panic!("connected to nowhere") };
        delays.push(retry_in);
        let Err(DbError::Away { retry_in: wait, .. }) = db.statements() else { panic!("connected to nowhere") };
        assert_eq!(wait, retry_in, "no attempt before its time");
        *clock.0.lock().unwrap() += retry_in;
    }
    assert_eq!((delays[0], delays[1], delays[8]), (RETRY_MIN, RETRY_MIN * 2, RETRY_MAX));
}

/// How long a call took that found the database away.
fn away_after(db: &mut Db) -> Duration {
    let began = SystemClock.monotonic();
    assert!(db.statements().unwrap_err().is_away());
    SystemClock.monotonic() - began
}

/// Calls until the database answers.
fn back(db: &mut Db) -> Duration {
    let began = SystemClock.monotonic();
    while let Err(error) = db.statements() {
        assert!(error.is_away() && SystemClock.monotonic() - began < Duration::from_secs(20), "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    SystemClock.monotonic() - began
}

#[test]
fn a_server_that_hangs_is_waited_for_once_and_what_it_did_meanwhile_is_known() {
    let cluster = TestDb::start();
    let mut signer = signer();
    let mut db = cluster.db(ORIGIN);
    let run = Nonce([9; 16]);
    db.append(&events(3), Some(Mark { run, first_no: 0 }), &mut signer).unwrap();
    cluster.hang();
    let began = SystemClock.monotonic();
    assert!(db.append(&events(3), Some(Mark { run, first_no: 3 }), &mut signer).unwrap_err().is_away());
    let waited = SystemClock.monotonic() - began;
    let most = DATABASE_ANSWER_MAX + Duration::from_secs(1);
    assert!(waited >= DATABASE_ANSWER_MAX && waited < most, "{waited:?}");
    // Past every back-off, and for all that nothing answers: no call waits again.
    std::thread::sleep(RETRY_MIN * 3);
    let all: Duration = (0..100).map(|_| away_after(&mut db)).sum();
    assert!(all < Duration::from_millis(500), "a hundred calls took {all:?}");
    cluster.wake();
    back(&mut db);
    // The append that was given up was carried out; its thread ended before the next connection was made, so this is final.
    assert_eq!(db.marked(run).unwrap(), Some(5));
    db.append(&events(1), Some(Mark { run, first_no: 6 }), &mut signer).unwrap();
    let (entries, notes) = read_all(&mut db);
    verify_ledger(ORIGIN, &entries, &notes, &signer.verify_keys(), &[]).unwrap();

    // A server that hangs before there is a connection.
    let mut late = cluster.db(ORIGIN);
    cluster.hang();
    assert!(away_after(&mut late) < most);
    std::thread::sleep(RETRY_MIN * 3);
    assert!(away_after(&mut late) < Duration::from_millis(50));
    cluster.wake();
    back(&mut late);
}

#[test]
fn a_connection_that_hangs_for_ever_is_given_up_and_another_made_beside_it() {
    let cluster = TestDb::start();
    let clock = Hands::default();
    let mut db = Db::new(Endpoint::scribe(cluster.socket_dir()), ORIGIN, clock.clone());
    let stuck: i32 = db.call("SELECT pg_backend_pid()", &[]).unwrap()[0].get(0);
    let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(stuck), signal).unwrap();
    signal(nix::sys::signal::Signal::SIGSTOP);
    assert!(db.statements().unwrap_err().is_away());
    *clock.0.lock().unwrap() += Duration::from_secs(50);
    assert!(db.statements().unwrap_err().is_away(), "too early");
    *clock.0.lock().unwrap() += Duration::from_secs(11);
    db.statements().unwrap();
    let other: i32 = db.call("SELECT pg_backend_pid()", &[]).unwrap()[0].get(0);
    signal(nix::sys::signal::Signal::SIGCONT);
    assert_ne!(stuck, other);
}

#[test]
fn parameters_that_do_not_fit_are_refused_and_the_connection_stays() {
    let cluster = TestDb::start();
    let mut db = cluster.db(ORIGIN);
    let refused = |result: Result<Vec<Row>, DbError>| match result {
        Err(DbError::Refused { code, message, .. }) => (code, message),
        other => panic!("{other:?}"),
    };
    let (code, message) = refused(db.call("SELECT $1::bigint", &[]));
    assert!(code == "client" && message.contains("0 parameters where 1"), "{message}");
    assert_eq!(refused(db.call("SELECT $1::bigint", &[&"text"])).0, "client");
    let rows = db.call("SELECT $1::bigint, $2::bytea, $3::text[]", &[&7_i64, &None::<&[u8]>, &vec!["a", "ü"]]).unwrap();
    assert_eq!((rows[0].get::<_, i64>(0), rows[0].get::<_, Option<Vec<u8>>>(1)), (7, None));
    assert_eq!(rows[0].get::<_, Vec<String>>(2), ["a", "ü"]);
}

/// `cargo test --release -p peri-store -- --ignored --nocapture append_rate`
#[test]
#[ignore = "measures; run by hand or by scripts/bench"]
#[allow(clippy::print_stderr)]
fn append_rate_in_batches_is_above_20000_entries_a_second() {
    let cluster = TestDb::start_durable();
    let mut signer = signer();
    let mut db = cluster.db(ORIGIN);
    let plain: Vec<_> =
        (0..255 * 200).map(|i| Event::new(EntryType::CameraLost, UtcNanos(i)).with_digest(Hash([1; 32]))).collect();
    db.append(&plain[..255], None, &mut signer).unwrap();
    let start = SystemClock.monotonic();
    db.append(&plain, None, &mut signer).unwrap();
    let rate = plain.len() as f64 / (SystemClock.monotonic() - start).as_secs_f64();
    eprintln!("ledger.append_batched {rate:.0}/s");
    assert!(rate >= 20_000.0, "{rate:.0}/s");
}
