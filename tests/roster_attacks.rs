//! T22 and T6, scribe's side: whoever owns the database and keeper's disk, and forges, drops, reorders or withholds roster
//! statements. Keeper alone decides: nobody gets a wrap by it, an alarm names it, and recording goes on.
//!
//! What does not belong: what a client sees of a revocation that is held back, the table of signers (`src/roster`).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is the report; a test looks at the same clock as everybody"
)]

mod attack;
mod support;

use attack::camera::{Scripted, good};
use attack::{Desk, now, segment_files, superuser, total, until, wrapped_to};
use nix::sys::signal::Signal;
use peri_access::wire::{CoverageKind, Method};
use peri_client::conn::ConnError;
use peri_domain::{AccountId, CameraId, Fingerprint, Role, VmId};
use peri_ledger::EntryType;
use peri_roster::body::{Body, Cameras, Grant, NewAccount, Revocation, Trust};
use peri_roster::{RosterSet, Statement};
use peri_seal::keys::KeyPair;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;
use support::{AppConfig, Appliance, secs};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn insert(appliance: &Appliance, statement: &[u8]) {
    superuser(
        appliance,
        &format!(
            "INSERT INTO peri.roster_statement (digest, statement) VALUES (sha256('\\x{0}'), '\\x{0}')",
            hex(statement)
        ),
    );
}

struct Stage {
    appliance: Appliance,
    _scripted: Scripted,
    camera: CameraId,
}

const NAMES: [&str; 5] = ["dpo", "council", "boss", "guard", "rev"];

impl Stage {
    fn new() -> Self {
        let scripted = Scripted::start(&[("good", good)]);
        let appliance = Appliance::founded(AppConfig { epoch_secs: Some(6), ..AppConfig::default() });
        let mut desk = Desk::of(&appliance, &NAMES);
        let grant = desk.grant_of("guard");
        desk.say(grant, &["dpo", "council"]);
        let spec = ("door".to_owned(), scripted.url(0, "good"), Trust::Plain);
        let camera = desk.add_cameras(&[spec], ["dpo", "council"])[0];
        let stage = Self { appliance, _scripted: scripted, camera };
        stage.recorded_from_now(&mut desk);
        stage
    }

    fn recorded_from_now(&self, desk: &mut Desk) {
        let since = now();
        until(&format!("recorded beyond {since}; {}", self.appliance.log()), secs(30), || {
            let health = desk.health("rev").ok()?;
            health.cameras.iter().any(|c| c.recorded_until.is_some_and(|until| until > since)).then_some(())
        });
    }

    /// Waits for epochs that began after now, and returns to whom they are wrapped.
    fn next_audience(&self) -> Vec<Fingerprint> {
        let last = segment_files(&self.appliance.data()).iter().map(|file| wrapped_to(file).0).max().unwrap_or(0);
        // The next one may have been prepared before; the one behind it was not.
        until("two more epochs", secs(25), || {
            let files = segment_files(&self.appliance.data());
            let (epoch, users) = files.iter().map(|file| wrapped_to(file)).max_by_key(|(epoch, _)| *epoch)?;
            (epoch >= last + 2).then_some(users)
        })
    }

    fn alarm(&self, desk: &mut Desk, contains: &str) {
        until(&format!("an alarm with {contains:?}; {}", self.appliance.log()), secs(20), || {
            desk.health("rev").ok()?.alarms.iter().any(|alarm| alarm.contains(contains)).then_some(())
        });
    }
}

fn stranger() -> &'static KeyPair {
    static STRANGER: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(&mut peri_seal::rng::system()));
    &STRANGER
}

/// What an administrator with the database would write to see pictures: an account and a grant for himself.
fn forgeries(desk: &Desk) -> Vec<Vec<u8>> {
    let account = AccountId([0x66; 16]);
    let person = |role| {
        Body::Account(Box::new(NewAccount {
            id: account,
            role,
            name: "mallory".into(),
            key: stranger().public().clone(),
        }))
    };
    let grant = |recipient: Fingerprint, account| {
        let Body::Grant(grant) = desk.grant_of("guard") else { unreachable!() };
        Body::Grant(Box::new(Grant { recipient, account, cameras: Cameras::All, ..*grant }))
    };
    let mine = stranger().fingerprint();
    let mut forged = vec![
        // Signed by himself alone, as if he were a seat.
        desk.statement(grant(mine, account), 1, &["boss"]),
        desk.statement(person(Role::Administrator), 1, &["boss"]),
        // One seat where two are needed, twice the same.
        desk.statement(grant(mine, account), 1, &["dpo", "boss"]),
        // For his own, non-viewer account.
        desk.statement(grant(desk.key("boss").fingerprint(), desk.account("boss")), 1, &["dpo", "boss"]),
        // Nothing at all.
        b"not a statement".to_vec(),
    ];
    // A real statement with the recipient changed under its signatures.
    let real = desk.statement(grant(desk.key("guard").fingerprint(), desk.account("guard")), 1, &["dpo", "council"]);
    let (from, to) = (desk.key("guard").fingerprint(), mine);
    let at = real.windows(32).position(|window| window == from.as_bytes()).unwrap();
    let mut changed = real;
    changed[at..at + 32].copy_from_slice(to.as_bytes());
    forged.push(changed);
    forged
}

#[test]
fn the_databases_superuser_gets_no_wrap_and_recording_goes_on_under_keepers_roster() {
    if support::quick() {
        return;
    }
    let mut stage = Stage::new();
    let mut desk = Desk::of(&stage.appliance, &NAMES);
    let began = now();
    let guard = vec![desk.key("guard").fingerprint()];
    assert_eq!(stage.next_audience(), guard);
    let before = desk.statements().unwrap();

    // Forged, foreign and late statements.
    superuser(&stage.appliance, "ALTER TABLE peri.roster_statement DISABLE TRIGGER ALL");
    let forged = forgeries(&desk);
    forged.iter().for_each(|statement| insert(&stage.appliance, statement));
    stage.appliance.kill_role("scribe", Signal::SIGKILL);
    stage.alarm(&mut desk, "the database holds a roster of");
    assert_eq!(desk.statements().unwrap(), before, "a forged statement was taken in");
    assert_eq!(stage.next_audience(), guard);
    let refused = desk.entries("rev").iter().filter(|kind| **kind == EntryType::RosterRefused).count();
    assert!(refused >= forged.len() - 1, "{refused} refusals in the ledger for {} forgeries", forged.len());

    // Reordered, dropped (the claim itself), cut off to nothing.
    for (sql, len) in [
        (
            "UPDATE peri.roster_statement SET digest = sha256(digest), statement = (SELECT statement FROM peri.roster_statement ORDER BY no DESC LIMIT 1) WHERE no = 1",
            None,
        ),
        ("DELETE FROM peri.roster_statement WHERE no % 2 = 1", None),
        ("TRUNCATE peri.roster_statement", Some("a roster of 0 statements")),
    ] {
        superuser(&stage.appliance, sql);
        let alarms = desk.entries("rev").iter().filter(|kind| **kind == EntryType::RosterAlarm).count();
        stage.appliance.kill_role("scribe", Signal::SIGKILL);
        until(&format!("another alarm in the ledger after {sql}"), secs(20), || {
            let kinds = desk.entries("rev");
            (kinds.iter().filter(|kind| **kind == EntryType::RosterAlarm).count() > alarms).then_some(())
        });
        stage.alarm(&mut desk, len.unwrap_or("the database holds a roster of"));
        assert_eq!(desk.statements().unwrap(), before, "after {sql}");
    }
    assert_eq!(stage.next_audience(), guard);

    // Everything anew: keeper still has its own.
    superuser(&stage.appliance, "TRUNCATE peri.roster_statement");
    forged.iter().for_each(|statement| insert(&stage.appliance, statement));
    stage.appliance.restart();
    stage.alarm(&mut desk, "the database holds a roster of");
    stage.recorded_from_now(&mut desk);
    assert_eq!(stage.next_audience(), guard);
    assert_eq!(desk.statements().unwrap(), before);

    // A revocation that reaches keeper counts although the database forgets it.
    superuser(&stage.appliance, "ALTER TABLE peri.roster_statement DISABLE TRIGGER ALL");
    let revocation = Body::Revocation(Revocation {
        keys: vec![desk.key("guard").fingerprint()],
        grants: Vec::new(),
        reason: "test".into(),
    });
    desk.say(revocation, &["dpo"]);
    superuser(&stage.appliance, "TRUNCATE peri.roster_statement");
    stage.appliance.kill_role("scribe", Signal::SIGKILL);
    stage.recorded_from_now(&mut desk);
    assert_eq!(stage.next_audience(), []);
    let every: Vec<_> = segment_files(&stage.appliance.data()).iter().flat_map(|file| wrapped_to(file).1).collect();
    assert!(!every.contains(&stranger().fingerprint()) && !every.contains(&desk.key("boss").fingerprint()));
    recorded_all_along(&stage, began);
}

/// The only gaps are the restarts.
fn recorded_all_along(stage: &Stage, began: peri_domain::UtcNanos) {
    let files = segment_files(&stage.appliance.data());
    let mut spans: Vec<_> = files
        .iter()
        .filter_map(|file| peri_store::fsck::read_segment(&fs::File::open(file).unwrap()).unwrap().0.pictures)
        .collect();
    spans.sort_unstable();
    let mut at = began;
    for (from, until) in spans {
        let gap = from.saturating_since(at);
        assert!(gap < secs(8), "nothing was recorded from {at} to {from}");
        at = at.max(until);
    }
    assert!(now().saturating_since(at) < secs(8), "nothing was recorded after {at}");
}

#[test]
fn keepers_own_log_cut_or_changed_is_seen_never_widens_a_right_and_heals() {
    if support::quick() {
        return;
    }
    let mut stage = Stage::new();
    let mut desk = Desk::of(&stage.appliance, &NAMES);
    let guard = vec![desk.key("guard").fingerprint()];
    let log = stage.appliance.data().join("keeper/roster.log");
    let extra = desk.grant_of("guard");
    desk.say(extra, &["dpo", "council"]);
    let statements = desk.statements().unwrap();

    // A byte in the middle, where a seat is filled: it comes back from the database's copy, which keeper verifies.
    stage.change_log(&log, false, |whole| {
        let middle = whole.len() / 2;
        whole[middle] ^= 1;
    });
    stage.recorded_from_now(&mut desk);
    stage.is_whole(&mut desk, &statements);
    assert_eq!(stage.next_audience(), guard);

    // A power cut in an append leaves a torn frame: the same.
    stage.change_log(&log, false, |whole| whole.truncate(whole.len() - 5));
    stage.is_whole(&mut desk, &statements);

    // One grant more is the last frame now, and the database has caught up with keeper.
    let another = desk.grant_of("guard");
    desk.say(another, &["dpo", "council"]);
    let statements = desk.statements().unwrap();
    stage.database_holds(statements.len());

    // Cut at the edge of a frame, and gone from the database: no wrap for anybody, though his other grants are there.
    stage.change_log(&log, true, |whole| whole.truncate(whole.len() - 8 - last_frame(whole)));
    stage.alarm(&mut desk, "keeper's roster lost statements");
    stage.recorded_from_now(&mut desk);
    assert_eq!(stage.next_audience(), []);
    let lost = statements.iter().find(|s| !desk.statements().unwrap().contains(s)).unwrap().clone();
    desk.submit(&lost).unwrap();
    stage.is_whole(&mut desk, &statements);
    assert_eq!(stage.next_audience(), guard);

    // A right that was taken away does not come back with the log of before.
    let before = fs::read(&log).unwrap();
    let revocation = Body::Revocation(Revocation { keys: guard, grants: Vec::new(), reason: "test".into() });
    desk.say(revocation, &["dpo"]);
    stage.change_log(&log, true, |whole| whole.clone_from(&before));
    stage.alarm(&mut desk, "keeper's roster lost statements");
    stage.recorded_from_now(&mut desk);
    assert_eq!(stage.next_audience(), [], "a right that was revoked came back with an old log");
}

/// Bytes of the last statement in keeper's log: frames of length, checksum and statement.
fn last_frame(log: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while at < log.len() {
        last = u32::from_be_bytes(log[at..at + 4].try_into().unwrap()) as usize;
        at += 8 + last;
    }
    assert_eq!(at, log.len());
    last
}

impl Stage {
    /// Stops the appliance, changes keeper's log, empties the database's copy if asked, and starts it again.
    fn change_log(&mut self, log: &Path, empty_database: bool, change: impl FnOnce(&mut Vec<u8>)) {
        if empty_database {
            superuser(&self.appliance, "ALTER TABLE peri.roster_statement DISABLE TRIGGER ALL");
            superuser(&self.appliance, "TRUNCATE peri.roster_statement");
        }
        assert_eq!(self.appliance.stop(), 0);
        let mut bytes = fs::read(log).unwrap();
        change(&mut bytes);
        fs::write(log, &bytes).unwrap();
        self.appliance.restart();
    }

    /// Waits until the database's copy has so many statements.
    fn database_holds(&self, count: usize) {
        let wanted = count.to_string();
        until(&format!("{wanted} statements in the database"), secs(20), || {
            let answer = superuser(&self.appliance, "SELECT count(*) FROM peri.roster_statement");
            answer.split_whitespace().any(|word| word == wanted).then_some(())
        });
    }

    /// Waits until the roster holds just these statements again, in whatever order.
    fn is_whole(&self, desk: &mut Desk, statements: &[minicbor::bytes::ByteVec]) {
        let sorted = |statements: &[minicbor::bytes::ByteVec]| {
            let mut all: Vec<Vec<u8>> = statements.iter().map(|s| s.to_vec()).collect();
            all.sort();
            all
        };
        until(&format!("the roster is whole again; {}", self.appliance.log()), secs(20), || {
            (sorted(&desk.statements().ok()?) == sorted(statements)).then_some(())
        });
    }
}

/// The statements of keeper's log.
fn frames(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut frames) = (0, Vec::new());
    while at < log.len() {
        let length = u32::from_be_bytes(log[at..at + 4].try_into().unwrap()) as usize;
        frames.push(log[at + 8..at + 8 + length].to_vec());
        at += 8 + length;
    }
    frames
}

/// A log of these statements, each with a right checksum.
fn log_of(frames: &[Vec<u8>]) -> Vec<u8> {
    let frame = |statement: &Vec<u8>| {
        let length = u32::try_from(statement.len()).unwrap().to_be_bytes();
        [&length[..], &crc32c::crc32c(statement).to_be_bytes(), statement].concat()
    };
    frames.iter().flat_map(frame).collect()
}

/// Changes the last signature of the first statement that fits, which is at the end of its bytes.
fn spoil(log: &mut Vec<u8>, fits: fn(&Body) -> bool) {
    let mut all = frames(log);
    let found = all.iter_mut().find(|bytes| fits(&Statement::from_bytes(bytes).unwrap().proposal().body)).unwrap();
    *found.last_mut().unwrap() ^= 1;
    *log = log_of(&all);
}

#[test]
fn a_snapshot_of_k_seats_spares_a_start_the_signatures_and_a_bad_one_spares_nothing() {
    if support::quick() {
        return;
    }
    let mut stage = Stage::new();
    let mut desk = Desk::of(&stage.appliance, &NAMES);
    let guard = vec![desk.key("guard").fingerprint()];
    let log = stage.appliance.data().join("keeper/roster.log");
    let covered = desk.statements().unwrap();
    let reading = RosterSet::read(desk.identity.anchor(), &covered.iter().map(|s| s.as_slice()).collect::<Vec<_>>());
    let snapshot = Body::Snapshot(reading.set.snapshot());
    // One seat alone vouches for nothing.
    let alone = desk.statement(snapshot.clone(), 1, &["dpo"]);
    assert!(matches!(desk.submit(&alone), Err(ConnError::Refused(_))));
    desk.say(snapshot, &["dpo", "council"]);
    let total = covered.len() + 1;

    // A covered signature is not looked at again: one that no longer fits shows that.
    stage.change_log(&log, true, |whole| spoil(whole, |body| matches!(body, Body::Grant(_))));
    stage.recorded_from_now(&mut desk);
    assert_eq!(desk.statements().unwrap().len(), total, "{}", stage.appliance.log());
    assert_eq!(stage.next_audience(), guard);
    assert!(!desk.health("rev").unwrap().alarms.iter().any(|alarm| alarm.contains("snapshot")));

    // A snapshot whose own signature does not fit spares nothing: the grant is seen through, and its loss with it.
    stage.change_log(&log, true, |whole| spoil(whole, |body| matches!(body, Body::Snapshot(_))));
    stage.alarm(&mut desk, "the roster's snapshot was not used, every signature was checked");
    stage.alarm(&mut desk, "keeper's roster lost statements");
    stage.recorded_from_now(&mut desk);
    assert_eq!(desk.statements().unwrap().len(), total - 2);
    assert_eq!(stage.next_audience(), []);

    // Whoever has seen the roster hands it back.
    for statement in &covered {
        desk.submit(statement).unwrap();
    }
    until("the grant is back", secs(20), || (desk.statements().ok()?.len() == total - 1).then_some(()));
}

#[test]
fn a_request_or_statement_for_another_vm_is_refused() {
    if support::quick() {
        return;
    }
    let stage = Stage::new();
    let mut desk = Desk::of(&stage.appliance, &NAMES);
    let mut elsewhere = desk.identity.vm.0;
    elsewhere[0] ^= 1;
    let elsewhere = VmId(elsewhere);
    let began = now();
    // The same question for this VM is answered.
    desk.health("rev").unwrap();
    let answered: Result<peri_access::wire::Health, _> =
        desk.talk(|conn, _, keys| conn.request(elsewhere, Method::Health, &(), &keys["rev"]));
    match answered {
        Err(ConnError::Refused(problem)) => assert_eq!(problem.status, 401, "{problem:?}"),
        other => panic!("{other:?}"),
    }
    // A statement of the seats of another VM, in every other way right.
    let grant = desk.grant_of("guard");
    let here = desk.identity.clone();
    desk.identity.vm = elsewhere;
    let foreign = desk.statement(grant, 1, &["dpo", "council"]);
    desk.identity = here;
    match desk.submit(&foreign) {
        Err(ConnError::Refused(problem)) => assert_eq!(problem.status, 409, "{problem:?}"),
        other => panic!("{other:?}"),
    }
    until("the refusal is in the ledger", secs(5), || {
        desk.entries("rev").contains(&EntryType::RosterRefused).then_some(())
    });
    // Recording goes on. (The camera itself stands still for a moment where the machine has too much to do.)
    let account = until("recording goes on", secs(30), || {
        let account = desk.account_of(stage.camera, began, "guard");
        (total(&account, CoverageKind::Recorded) > Duration::ZERO).then_some(account)
    });
    assert!(total(&account, CoverageKind::Lost) < secs(3), "{account:#?}");
}
