//! Parts of a running appliance end, stop answering or are damaged: recording goes on, what is lost is bounded and
//! accounted for, and what was recorded is found again.
//!
//! One appliance for all tests, one test at a time; each leaves it running and whole.
#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use peri_domain::UtcNanos;
use peri_seal::scan::TailScan;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};
use support::*;

struct House {
    app: Appliance,
    _camera: Camera,
}

fn house() -> MutexGuard<'static, House> {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| {
        let app = Appliance::founded(AppConfig { epoch_secs: Some(8), ..AppConfig::default() });
        let camera = Camera::start(CameraOptions::default().mounts(&["footage"]));
        app.home.add_camera("footage", &camera.url("footage"), &camera.pin(), "cam", "secret1");
        app.home.grant("guard", "all", "live,playback,export");
        app.wait_recorded("footage", now() + secs(9));
        Mutex::new(House { app, _camera: camera })
    });
    house.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Exports from `from` to now; says the longest time in seconds between two pictures, and how many runs of pictures that
/// follow each other there are.
fn account(app: &Appliance, from: UtcNanos) -> (f64, usize) {
    let until = now();
    app.wait_recorded("footage", until);
    let file = app.home.export("guard", "footage", from, until).unwrap();
    // Every picture there is must decode and be one of the source's.
    let runs = video::runs_in_source(&video::frame_hashes(&file)).len();
    let times = video::times(&file);
    let covered = times[times.len() - 1] - times[0];
    assert!(covered + 1.0 > until.saturating_since(from).as_secs_f64(), "the export ends early: {covered} s");
    (times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max), runs)
}

#[test]
fn no_picture_is_lost_when_scribe_keeper_or_portal_is_killed() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house();
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
    let House { app, .. } = &*house();
    let from = now();
    app.wait_recorded("footage", from + secs(3));
    app.kill_role("recorder", Signal::SIGKILL);
    app.wait_recorded("footage", now() + secs(4));
    let (gap, runs) = account(app, from);
    // A fragment that was not whole yet, the start, the connection; the camera begins anew with a key picture.
    assert!(gap < 2.0 && runs == 2, "{gap} s without a picture, {runs} runs");
}

#[test]
fn recording_goes_on_while_the_database_is_stopped_or_killed() {
    if quick() {
        return;
    }
    let House { app, .. } = &*house();
    let from = now();
    let postmaster = app.role_pids("postgres")[0];
    let server: Vec<u32> = std::iter::once(postmaster)
        .chain(processes().into_iter().filter(|(_, parent, _)| *parent == postmaster).map(|(pid, ..)| pid))
        .collect();
    let signal = |signal| {
        for pid in &server {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal);
        }
    };
    // Stopped, not dead: the worst case, since nothing says so. Longer than an epoch.
    signal(Signal::SIGSTOP);
    std::thread::sleep(secs(6));
    let (code, text) = app.home.export("guard", "footage", from, from + secs(2)).unwrap_err();
    assert!(code == 3 || code == 4, "{text}");
    assert!(text.contains("cannot answer just now"), "{text}");
    signal(Signal::SIGCONT);
    app.wait_recorded("footage", now() + secs(2));
    app.kill_role("postgres", Signal::SIGKILL);
    app.wait_recorded("footage", now() + secs(4));
    let (gap, runs) = account(app, from);
    assert!(gap < 0.2 && runs == 1, "{gap} s without a picture, {runs} runs");
    let ledger = wait_for("the spool is in the ledger", secs(15), || {
        let ledger = app.home.ledger(0);
        (ledger["kinds"]["spool_replayed"].as_u64() >= Some(1)).then_some(ledger)
    });
    assert_eq!(ledger["verified"], true, "{ledger}");
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
    let House { app, .. } = &mut *house();
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
    let House { app, .. } = &mut *house();
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
