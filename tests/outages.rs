//! Parts of a running appliance end, stop answering or are damaged: recording goes on, what is lost is bounded and
//! accounted for, and what was recorded is found again.
//!
//! Two appliances, so that two tests run at once: parts die in one, the whole of the other stops. Each test leaves its
//! appliance running and whole. The test of the TPM has one of its own.
#![allow(clippy::unwrap_used)]

mod attack;
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peri_access::wire::{Method, OpenBody, OpenedPage};
use peri_client::conn::ConnError;
use peri_domain::{Action, UtcNanos};
use peri_sandbox::clock::{Clock as _, SystemClock};
use peri_seal::scan::TailScan;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use support::*;

struct House {
    app: Appliance,
    _camera: Camera,
}

/// Number 0 or 1.
fn house(number: usize) -> MutexGuard<'static, House> {
    static HOUSES: [OnceLock<Mutex<House>>; 2] = [const { OnceLock::new() }; 2];
    let house = HOUSES[number].get_or_init(|| {
        let app = Appliance::founded(AppConfig { epoch_secs: Some(8), ..AppConfig::default() });
        let camera = Camera::start(CameraOptions::default().mounts(&["footage"]));
        app.home.add_camera("footage", &camera.url("footage"), &camera.pin(), "cam", "secret1");
        app.home.grant("guard", "all", "live,playback,export");
        app.wait_recorded("footage", now() + secs(9));
        Mutex::new(House { app, _camera: camera })
    });
    house.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[allow(clippy::print_stderr, reason = "shown when the test fails")]
/// Exports from `from` to now; says the longest time in seconds between two pictures, and how many runs of pictures that
/// follow each other there are.
fn account(app: &Appliance, from: UtcNanos) -> (f64, usize) {
    let until = now();
    app.wait_recorded("footage", until);
    // PostgreSQL may be recovering; until it has, disclosure is refused.
    let file = wait_for("the ledger is back", secs(20), || match app.home.export("guard", "footage", from, until) {
        Ok(file) => Some(file),
        Err((3, text)) if text.contains("cannot answer just now") => None,
        Err((code, text)) => panic!("{code}: {text}"),
    });
    let times = video::times(&file);
    let steps: Vec<_> = times.windows(2).map(|pair| ((pair[1] - pair[0]) * 1000.0).round() as i64).collect();
    eprintln!("{}\n{steps:?} ms\n{}", app.home.report(&file), app.log());
    // Every picture there is must decode and be one of the source's.
    let runs = video::runs_in_source(&video::frame_hashes(&file)).len();
    let covered = times[times.len() - 1] - times[0];
    // An epoch that `from` lies in may begin between two key pictures, which are two seconds apart.
    assert!(covered + 2.5 > until.saturating_since(from).as_secs_f64(), "the export is too short: {covered} s");
    (times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max), runs)
}

#[test]
fn no_picture_is_lost_when_scribe_keeper_or_portal_is_killed() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    let from = now();
    for role in ["portal", "scribe", "keeper"] {
        app.kill_role(role, Signal::SIGKILL);
        app.wait_recorded("footage", now() + secs(2));
    }
    let (gap, runs) = account(app, from);
    assert!(gap < 0.2 && runs == 1, "{gap} s without a picture, {runs} runs");
    let ledger = app.home.ledger(0);
    assert!(ledger["verified"] == true && ledger["kinds"]["role_died"].as_u64() >= Some(3), "{ledger}");
}

#[test]
fn killed_recorder_loses_seconds_and_the_segment_goes_on() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    let from = now();
    app.wait_recorded("footage", from + secs(3));
    app.kill_role("recorder", Signal::SIGKILL);
    app.wait_recorded("footage", now() + secs(4));
    let (gap, runs) = account(app, from);
    // A fragment that was not whole yet, the start, the connection; the camera begins anew with a key picture.
    // The seam of the looped source may lie inside and looks like one more run.
    assert!(gap < 2.0 && (2..=3).contains(&runs), "{gap} s without a picture, {runs} runs");
}

#[test]
fn recording_goes_on_while_the_database_is_dead_and_nothing_is_disclosed() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    let from = now();
    // Dead, and dead again whenever it comes back, for longer than an epoch.
    let done = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for pid in app.role_pids("postgres") {
                    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        app.wait_recorded("footage", from + secs(3));
        let refused = app.home.export("guard", "footage", from, from + secs(2));
        app.wait_recorded("footage", from + secs(10));
        done.store(true, Ordering::Relaxed);
        refused
    });
    let (code, text) = refused.unwrap_err();
    assert!(code == 3 && text.contains("cannot answer just now"), "{code}: {text}");
    // A database that dies again and again is started again ever later.
    let deadline = now() + peri_domain::limits::RESTART_DELAY_MAX + secs(20);
    let ledger = loop {
        let outcome = app.home.run(&["ledger", "--as", "rev"]);
        let ledger = (outcome.code == 0).then(|| outcome.json());
        if let Some(ledger) = ledger.filter(|ledger| ledger["kinds"]["spool_replayed"].as_u64() >= Some(1)) {
            break ledger;
        }
        let said = format!("{}: {}", outcome.code, outcome.stderr);
        assert!(now() < deadline, "the spool is not in the ledger: {said}; {}", app.log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    assert_eq!(ledger["verified"], true, "{ledger}");
    let (gap, runs) = account(app, from);
    // One run: no picture is missing. The camera itself stands still for a moment where the machine has too much to do.
    assert!(gap < 3.0 && runs == 1, "{gap} s without a picture, {runs} runs");
}

#[test]
fn a_disclosure_waits_until_its_entry_is_durable() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    let from = now();
    let from = &from;
    let guard = raw::key(&app.home, "guard");
    let camera = raw::camera(app, "footage");
    app.wait_recorded("footage", *from + secs(3));
    let epoch = raw::segments(app, &guard, camera, *from, *from + secs(2)).unwrap()[0].epoch;
    let intents = || app.home.ledger(0)["kinds"]["export_intent"].as_u64().unwrap_or(0);
    let (mut connection, certificate) = raw::connect(&app.socket());
    let mut open = || {
        let body =
            OpenBody { camera, epochs: vec![epoch], action: Action::Export, purpose: "the order of things".into() };
        let answer: Result<OpenedPage, ConnError> = connection.request(certificate.vm, Method::Open, &body, &guard);
        answer
    };
    let before = intents();
    // Nothing can be entered while somebody else holds the row that orders appends.
    let mut holder = Command::new("runuser")
        .args(["-u", "peri-postgres", "--", "psql", "-X", "-q", "-U", "postgres", "-d", "peri", "-h"])
        .arg(app.dir().join("run/postgres"))
        .args(["-c", "BEGIN; LOCK peri.ledger_head; SELECT 'held' FROM pg_sleep(3); COMMIT"])
        .current_dir("/")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'peri.ledger_head'::regclass AND granted \
                  AND mode = 'AccessExclusiveLock'";
    wait_for("the lock is held", secs(2), || (attack::superuser(app, locked) == "1").then_some(()));
    match open() {
        Ok(page) => {
            assert_eq!(page.keys.len(), 1);
            let held = attack::superuser(app, locked);
            assert_eq!(held, "0", "X was given while its entry could not be written");
        }
        Err(ConnError::Refused(problem)) => assert_eq!(problem.status, 503, "{problem}"),
        Err(other) => panic!("{other}"),
    }
    assert!(holder.wait().unwrap().success());
    let opened = wait_for("it is given once the ledger can take the entry", secs(20), || open().ok());
    assert_eq!(opened.keys.len(), 1);
    // Each answer has its entry; a refused question may have one too.
    assert!(intents() > before, "X was given without an entry");
}

/// Processes of the appliance's own PostgreSQL.
fn database_pids(app: &Appliance) -> Vec<Pid> {
    let postmaster = app.role_pids("postgres")[0];
    let children = processes().into_iter().filter(|(_, parent, _)| *parent == postmaster).map(|(pid, ..)| pid);
    std::iter::once(postmaster).chain(children).map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

/// Lets processes go on when a test that stopped them ends, however it ends.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn stop(pids: Vec<Pid>) -> Self {
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// How long portal and scribe take to answer a question that needs neither keeper nor database.
fn answer_time(app: &Appliance) -> std::time::Duration {
    let began = SystemClock.monotonic();
    let mut stream = UnixStream::connect(app.socket()).unwrap();
    // CBOR of `Ask::Nonce`, and the head of its answer.
    stream.write_all(&[0, 0, 0, 3, 0x82, 0x01, 0x80]).unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..], [0x82, 0x00], "an answer, no problem");
    SystemClock.monotonic() - began
}

#[test]
#[allow(clippy::print_stderr, reason = "shown when the test fails")]
fn recording_goes_on_from_epoch_to_epoch_while_the_database_hangs() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    let from = now();
    let epochs = || app.segments().len();
    let before = epochs();
    let stopped = Stopped::stop(database_pids(app));
    let (mut slowest, mut asked) = (secs(0), 0);
    // Three epochs: the one that runs, the one in hand, and one that had to be prepared meanwhile, with X and file.
    while now() < from + secs(26) {
        slowest = slowest.max(answer_time(app));
        asked += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    eprintln!("the database hung for 26 s: {asked} questions, the longest wait {slowest:?}");
    // Two seconds are waited for the database, once; the rest is the machine's load.
    assert!(slowest < secs(4), "scribe did not answer for {slowest:?}");
    assert!(epochs() >= before + 3, "{} epochs were prepared", epochs() - before);
    app.wait_recorded("footage", from + secs(24));
    let (code, text) = app.home.export("guard", "footage", from, from + secs(2)).unwrap_err();
    assert!(code == 3 && text.contains("cannot answer just now"), "{code}: {text}");
    drop(stopped);
    let (gap, runs) = account(app, from);
    assert!(gap < 0.2 && runs <= 2, "{gap} s without a picture, {runs} runs");
    wait_for("the spool is in the ledger", secs(20), || {
        let outcome = app.home.run(&["ledger", "--as", "rev"]);
        (outcome.code == 0 && outcome.json()["kinds"]["spool_replayed"].as_u64() >= Some(1)).then_some(())
    });
    assert_eq!(app.home.ledger(0)["verified"], true);
}

#[test]
fn alarms_that_stand_are_there_again_when_scribe_is_killed() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(0);
    app.kill_role("keeper", Signal::SIGKILL);
    let alarms = |health: &serde_json::Value| -> Vec<String> {
        health["alarms"].as_array().unwrap().iter().map(|alarm| alarm.as_str().unwrap().to_owned()).collect()
    };
    let keeper = |health: &serde_json::Value| alarms(health).iter().any(|alarm| alarm.contains("keeper was ended"));
    let standing = alarms(&app.wait_until("keeper's death is an alarm", secs(20), keeper));
    // They are on disk within a second.
    std::thread::sleep(secs(2));
    app.kill_role("scribe", Signal::SIGKILL);
    let after = app.wait_until("scribe is back", secs(20), |_| true);
    let (after, missing) = (alarms(&after), |after: &[String]| -> Vec<String> {
        standing.iter().filter(|alarm| !after.contains(alarm)).cloned().collect()
    });
    // Only what fifty newer ones pushed out may be gone.
    assert!(missing(&after).is_empty() || after.len() == 50, "gone: {:#?}\nof {after:#?}", missing(&after));
    assert!(after.iter().any(|alarm| alarm.contains("keeper was ended")), "{after:#?}");
}

/// Whether the last fragment of a segment is the final one.
fn is_finished(segment: &Path) -> bool {
    TailScan::open(File::open(segment).unwrap()).unwrap().finish().unwrap().finished
}

#[test]
fn graceful_stop_finishes_the_segments_and_damage_is_found_by_byte_and_epoch() {
    if quick() {
        return;
    }
    let House { app, .. } = &mut *house(1);
    let from = now();
    app.wait_recorded("footage", from + secs(10));
    let whole = app.segments();
    assert_eq!(app.stop(), 0);
    let newest = app.segments().into_iter().rev().find(|path| path.metadata().unwrap().len() > 100_000).unwrap();
    assert!(is_finished(&newest), "a graceful stop writes the final fragment");
    let fsck = |app: &Appliance| {
        let output = app.fsck(&["--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report)
    };
    let (code, report) = fsck(app);
    assert_eq!(code, Some(0), "{report}");
    // One byte of a segment in the middle changes.
    let segment = whole[whole.len() - 2].clone();
    let file = File::options().read(true).write(true).open(&segment).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let (code, report) = fsck(app);
    assert_eq!(code, Some(1), "{report}");
    let problem = report["problems"].to_string();
    let epoch: u64 = segment.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let named = problem.split("damaged at byte ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<u64>().ok());
    // The fragment that holds the byte is named by its first one; fragments of 250 ms are below 256 KiB here.
    assert!(named.is_some_and(|byte| byte <= at && at - byte < 262_144), "byte {at} was changed: {problem}");
    assert!(problem.contains(&format!("epoch {epoch}")), "{problem}");
    app.restart();
    app.wait_recorded("footage", now() + secs(1));
    let head = peri_seal::scan::read_head(&file).unwrap().record.context;
    let (code, text) = app.home.export("guard", "footage", head.starts, head.starts + secs(8)).unwrap_err();
    assert!(code == 5 && text.contains(&format!("epoch {epoch}, byte")), "{code}: {text}");
    file.write_all_at(&byte, at).unwrap();
    app.home.export("guard", "footage", head.starts, head.starts + secs(6)).unwrap();
}

#[test]
fn appliance_killed_as_a_whole_goes_on_after_a_restart() {
    if quick() {
        return;
    }
    let House { app, .. } = &mut *house(1);
    let from = now();
    app.wait_recorded("footage", from + secs(4));
    let killed = now();
    app.kill9();
    app.restart();
    let up = now();
    app.wait_recorded("footage", up + secs(4));
    let (gap, _) = account(app, from);
    let away = up.saturating_since(killed).as_secs_f64();
    assert!(gap < away + 4.0, "{gap} s without a picture, {away} s without an appliance");
    assert_eq!(app.home.ledger(0)["verified"], true);
    assert_eq!(app.stop(), 0);
    let output = app.fsck(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    app.restart();
}

#[test]
fn recording_goes_on_without_the_tpm_and_it_is_connected_to_again_when_it_is_back() {
    if quick() {
        return;
    }
    let config = AppConfig { epoch_secs: Some(8), rekey_secs: Some(3), ..AppConfig::default() };
    let mut app = Appliance::founded(config);
    let camera = Camera::start(CameraOptions::default().mounts(&["footage"]));
    app.home.add_camera("footage", &camera.url("footage"), &camera.pin(), "cam", "secret1");
    app.wait_recorded("footage", now());
    let scribe = app.role_pids("scribe");
    app.tpm_mut().kill();
    let dead = now();
    app.wait_until("the dead TPM is named", secs(30), |health| {
        health["alarms"].to_string().contains("re-key failed (TPM gone), erasure stays pending")
    });
    let rekeyed = |app: &Appliance| app.home.ledger(0)["kinds"]["rekeyed"].as_u64().unwrap_or(0);
    let before = rekeyed(&app);
    // For longer than the epochs that were in hand.
    app.wait_recorded("footage", dead + secs(18));
    assert_eq!(rekeyed(&app), before, "no re-key without a TPM");
    let alarms = app.home.health()["alarms"].to_string().matches("re-key failed (TPM gone)").count();
    assert_eq!(alarms, 1, "told once, although it is tried every three seconds");
    app.tpm_mut().again();
    wait_for("a re-key with the new connection", secs(30), || (rekeyed(&app) > before).then_some(()));
    assert_eq!(app.role_pids("scribe"), scribe, "nothing was restarted");
    assert!(app.log().contains("the TPM is connected to again"), "{}", app.log());
    // It dies and comes back unnoticed, and then scribe dies: the next scribe gets a connection that lives.
    app.tpm_mut().kill();
    app.tpm_mut().again();
    app.kill_role("scribe", Signal::SIGKILL);
    app.wait_recorded("footage", now() + secs(2));
    let log = app.log();
    assert_eq!(app.stop(), 0, "{log}");
}

/// Nobody hands out keys or files any more: what is in hand is used to its signed end, and only then is something lost.
#[test]
fn recording_goes_on_to_the_end_of_the_epochs_in_hand_while_keeper_and_scribe_hang() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house(1);
    let from = now();
    app.wait_recorded("footage", from + secs(1));
    let hung: Vec<u32> =
        ["keeper", "scribe"].into_iter().flat_map(|role| app.signal_role(role, Signal::SIGSTOP)).collect();
    let stopped = now();
    let heads = app.segments().into_iter().filter_map(|path| TailScan::open(File::open(path).ok()?).ok());
    let end = heads.map(|scan| scan.head().record.context.ends).max().unwrap();
    assert!(end > stopped + secs(3), "an epoch is always in hand ahead: it ends at {end}, it is {stopped}");
    std::thread::sleep((end + secs(3)).saturating_since(now()));
    for pid in hung {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).unwrap();
    }
    let back = now();
    app.wait_recorded("footage", back + secs(1));
    let file = wait_for("an export", secs(20), || app.home.export("guard", "footage", from, now()).ok());
    let report = app.home.report(&file);
    let gaps = report["gaps"].as_array().unwrap();
    assert!(!gaps.is_empty(), "{report}");
    let time = |gap: &serde_json::Value, key: &str| UtcNanos::parse_rfc3339(gap[key].as_str().unwrap()).unwrap();
    for gap in gaps {
        let named = gap["kind"] == "lost" && gap["cause"].as_str().unwrap().contains("no epoch");
        assert!(named && time(gap, "from") + secs(1) >= end, "hung at {stopped}, in hand to {end}: {report}");
    }
    let (first, last) = (time(&gaps[0], "from"), time(&gaps[gaps.len() - 1], "until"));
    assert!(
        first <= end + secs(1) && last <= back + secs(8),
        "hung at {stopped}, in hand to {end}, back {back}: {report}"
    );
    // Before the gap and after it; the seam of the looped source may lie inside and looks like one more run.
    let runs = video::runs_in_source(&video::frame_hashes(&file)).len();
    assert!((2..=3).contains(&runs), "{runs} runs of pictures");
}
