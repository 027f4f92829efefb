//! T15 and T32: every role killed at any moment, and every write, sync, rename and unlink failing or dying under it, on a
//! running appliance with cameras. Afterwards little is missing and every gap has a cause, the files and the index agree,
//! the ledger verifies, an export plays, and no nonce was used twice.
//!
//! What does not belong: power cuts that lose unsynced pages (they need a machine of their own), full disks (`retention`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a panic is the report; a test looks at the same clock as everybody"
)]

mod attack;
mod support;

use attack::camera::{Script, Scripted, good, seldom_keys};
use attack::{Desk, Stretch, now, random, segment_files, superuser, total, until};
use nix::sys::signal::Signal;
use peri_access::wire::{CoverageKind, FetchBody};
use peri_domain::{Action, CameraId, EpochNo, UtcNanos};
use peri_ledger::EntryType;
use peri_roster::body::Trust;
use peri_seal::scan::read_head;
use peri_seal::segment::{FragmentHeader, HEADER_LEN};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::guard::Guarded;
use support::{AppConfig, Appliance, Dir, processes, secs, video};

/// What a kill may cost: unsynced pictures (2 s at most, here a group of pictures of 1 s), the restart, the camera's
/// first key picture.
const LOSS_MAX: Duration = secs(5);

struct Stage {
    appliance: Appliance,
    _scripted: Scripted,
    cameras: Vec<CameraId>,
}

impl Stage {
    /// A claimed appliance with so many honest cameras, all recorded.
    fn with_cameras(count: usize, epoch_secs: u32, rekey_secs: u32) -> Self {
        Self::of(&vec![("good", good as Script); count], epoch_secs, rekey_secs)
    }

    /// The same with a camera for each of these scripts.
    fn of(scripts: &[(&'static str, Script)], epoch_secs: u32, rekey_secs: u32) -> Self {
        let scripted = Scripted::start(scripts);
        let config = AppConfig { epoch_secs: Some(epoch_secs), rekey_secs: Some(rekey_secs), ..AppConfig::default() };
        let appliance = Appliance::founded(config);
        let mut desk = Desk::of(&appliance, &["dpo", "council", "guard", "rev"]);
        let spec =
            |(i, (path, _)): (usize, &(&str, Script))| (format!("camera{i}"), scripted.url(i, path), Trust::Plain);
        let specs: Vec<_> = scripts.iter().enumerate().map(spec).collect();
        let cameras = desk.add_cameras(&specs, ["dpo", "council"]);
        let grant = desk.grant_of("guard");
        desk.say(grant, &["dpo", "council"]);
        let stage = Self { appliance, _scripted: scripted, cameras };
        stage.recorded_beyond(&mut desk, now());
        stage
    }

    fn desk(&self, names: &[&str]) -> Desk {
        Desk::of(&self.appliance, names)
    }

    /// Waits until every camera is recorded beyond `time`.
    fn recorded_beyond(&self, desk: &mut Desk, time: UtcNanos) {
        until(&format!("all cameras recorded beyond {time}; {}", self.appliance.log()), secs(30), || {
            let health = desk.health("rev").ok()?;
            let done = |camera: &CameraId| {
                health.cameras.iter().any(|c| c.camera == *camera && c.recorded_until.is_some_and(|u| u > time))
            };
            self.cameras.iter().all(done).then_some(())
        });
    }

    /// The account of a camera since `from`, and the sum of what was lost in it.
    fn lost(&self, desk: &mut Desk, camera: CameraId, from: UtcNanos) -> (Vec<Stretch>, Duration) {
        let account = until("the account answers", secs(15), || {
            desk.segments(camera, from, now(), "guard").ok()?;
            Some(desk.account_of(camera, from, "guard"))
        });
        let within = account.iter().filter(|s| s.kind == CoverageKind::Lost);
        let lost = within.map(|s| s.until.saturating_since(s.from.max(from))).sum();
        (account, lost)
    }

    /// What must hold whatever happened: ledger, account, export; then a graceful stop and a clean fsck.
    fn holds(mut self, desk: &mut Desk, began: UtcNanos) {
        let home = self.appliance.home.clone();
        home.ledger(0);
        let mut accounts = Vec::new();
        for (i, camera) in self.cameras.clone().into_iter().enumerate() {
            let (account, lost) = self.lost(desk, camera, began);
            let recorded = total(&account, CoverageKind::Recorded);
            let whole = account.last().unwrap().until.saturating_since(account[0].from);
            assert_eq!(recorded + total(&account, CoverageKind::Lost) + total(&account, CoverageKind::Erased), whole);
            eprintln!("camera{i}: {recorded:?} recorded, {lost:?} lost");
            accounts.push((camera, account));
            let film = home.export("guard", &format!("camera{i}"), began, now()).unwrap();
            let film_secs = *video::times(&film).last().unwrap();
            let pictures = video::frame_hashes(&film).len();
            // Fifteen pictures a second, but for what the account says is lost (rounded to groups of pictures).
            assert!(
                pictures as f64 >= (recorded.as_secs_f64() - 6.0) * 15.0,
                "{pictures} pictures in {film_secs} s of film, {recorded:?} recorded"
            );
        }
        assert!(!desk.entries("rev").contains(&EntryType::SandboxViolation), "{}", self.appliance.log());
        assert!(!self.appliance.log().contains("panicked"), "{}", self.appliance.log());
        let told = superuser(
            &self.appliance,
            "SELECT leaf_index, encode(detail, 'escape') FROM peri.ledger_detail ORDER BY leaf_index",
        );
        assert_eq!(self.appliance.stop(), 0);
        fsck_is_clean(&self.appliance, &accounts, &told);
    }
}

/// Files and index agree. Where they do not, files and account are shown side by side.
fn fsck_is_clean(appliance: &Appliance, accounts: &[(CameraId, Vec<Stretch>)], told: &str) {
    let checked = appliance.fsck(&[]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    let good = checked.status.success()
        && !["a file without a row", "the row has no file", "the file is there", "none of ours"]
            .iter()
            .any(|orphan| text.contains(orphan));
    if good {
        return;
    }
    let mut shown = String::new();
    for path in segment_files(&appliance.data()) {
        let (replayed, end) = peri_store::fsck::read_segment(&File::open(&path).unwrap()).unwrap();
        let pictures = replayed.pictures.map(|(from, until)| format!("{from} to {until}"));
        shown += &format!("{:?}: {pictures:?}, {:?}\n", replayed.row.key, end.stop);
    }
    for (camera, account) in accounts {
        for stretch in account {
            shown += &format!("{camera}: {} to {} {:?} {}\n", stretch.from, stretch.until, stretch.kind, stretch.cause);
        }
    }
    panic!("{text}\n{shown}\n{told}\n{}", appliance.log());
}

#[test]
fn a_role_killed_at_any_moment_costs_little_and_every_gap_has_a_cause() {
    if support::quick() {
        return;
    }
    let mut stage = Stage::of(&[("good", good), ("seldom", seldom_keys)], 20, 4);
    let mut desk = stage.desk(&["guard", "rev"]);
    let began = now();
    let dir = Dir::new("strace");
    let recorders = stage.appliance.role_pids("recorder");
    let mut watches: Vec<_> = recorders.iter().map(|pid| Injection::watch(&dir, *pid, "write,fdatasync")).collect();
    // Those who only hold up others first: until a recorder dies, it is watched how long it leaves pictures unsynced.
    for role in ["keeper", "scribe", "portal", "postgres", "scribe", "recorder", "recorder"] {
        if role == "recorder" && !watches.is_empty() {
            std::thread::sleep((began + secs(10)).saturating_since(now()));
            let traces: Vec<String> = std::mem::take(&mut watches).into_iter().map(Injection::end).collect();
            pictures_became_durable_in_time(&stage, &traces);
        }
        std::thread::sleep(Duration::from_millis(u64::from(random::<1>()[0]) * 3));
        let killed = now();
        stage.appliance.kill_role(role, Signal::SIGKILL);
        stage.recorded_beyond(&mut desk, now());
        for camera in stage.cameras.clone() {
            let (account, lost) = stage.lost(&mut desk, camera, killed);
            // Whoever does not hold the pictures in his hands costs none of them.
            let most = if role == "recorder" { LOSS_MAX } else { Duration::ZERO };
            assert!(lost <= most, "{role} was killed at {killed}, {lost:?} lost: {account:#?}");
        }
    }
    let killed = now();
    stage.appliance.kill9();
    stage.appliance.restart();
    stage.recorded_beyond(&mut desk, now());
    for camera in stage.cameras.clone() {
        let (account, lost) = stage.lost(&mut desk, camera, killed);
        // A supervisor starts a database before it starts anything that serves.
        assert!(lost <= LOSS_MAX + secs(5), "the supervisor was killed at {killed}, {lost:?} lost: {account:#?}");
    }
    let died = desk.entries("rev").iter().filter(|kind| **kind == EntryType::RoleDied).count();
    assert!(died >= 7, "{died} deaths in the ledger");
    stage.holds(&mut desk, began);
}

/// strace on one process: the `nth` call of these fails or kills.
struct Injection {
    strace: Guarded,
    output: PathBuf,
}

impl Injection {
    fn attach(dir: &Dir, pid: u32, calls: &str, fault: &str) -> Self {
        // strace skips a failing call by another one in its place, which the role's filter must know.
        let instead = if fault.starts_with("error") { ":syscall=getpid" } else { "" };
        Self::trace(dir, pid, calls, &["-e", &format!("inject={calls}:{fault}{instead}")])
    }

    /// Only looks, with the time of each call.
    fn watch(dir: &Dir, pid: u32, calls: &str) -> Self {
        Self::trace(dir, pid, calls, &["-ttt"])
    }

    fn trace(dir: &Dir, pid: u32, calls: &str, more: &[&str]) -> Self {
        let output = dir.join(format!("{pid}-{}", peri_domain::Hash(random())));
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-x", "-s", "160", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        command.args(more).arg("-o").arg(&output);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = Guarded::spawn(&mut command);
        // It says so once it holds the process.
        let mut stderr = strace.child().stderr.take().unwrap();
        let mut said = [0; 64];
        let _ = stderr.read(&mut said);
        Self { strace, output }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Whether the fault has struck.
    fn struck(&self) -> bool {
        let text = self.text();
        text.contains("(INJECTED)") || text.contains("killed by SIGKILL")
    }

    /// Whether the process is gone.
    fn is_over(&mut self) -> bool {
        self.strace.child().try_wait().unwrap().is_some()
    }

    /// Lets the process go.
    fn end(mut self) -> String {
        self.strace.signal(Signal::SIGINT);
        let _ = self.strace.child().wait();
        self.text()
    }
}

/// Longest time in seconds that bytes of a camera's segments stood written and not synced, and how many syncs there were.
fn unsynced(traces: &[String], camera: &str) -> (f64, usize) {
    let mut since: BTreeMap<&str, f64> = BTreeMap::new();
    let (mut longest, mut syncs) = (0.0_f64, 0);
    for line in traces.iter().flat_map(|trace| trace.lines()).filter(|line| line.contains(camera)) {
        let time: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let Some(path) = line.split(['<', '>']).nth(1).filter(|path| path.ends_with(".seg")) else { continue };
        let began = since.get(path).copied();
        longest = longest.max(began.map_or(0.0, |began| time - began));
        if line.contains("fdatasync(") {
            since.remove(path);
            syncs += 1;
        } else {
            since.insert(path, began.unwrap_or(time));
        }
    }
    (longest, syncs)
}

/// min(group of pictures, 2 s), for a camera with a key picture a second and one with a key picture in four.
fn pictures_became_durable_in_time(stage: &Stage, traces: &[String]) {
    /// Bytes gather for 200 ms, a fragment for 250 ms, and the machine has other things to do.
    const SLACK: f64 = 0.8;
    for (camera, most) in stage.cameras.iter().zip([1.0, 2.0]) {
        let (longest, syncs) = unsynced(traces, &camera.to_string());
        eprintln!("{camera}: {syncs} syncs, {longest:.3} s at most between a write and its sync");
        assert!(syncs >= 4, "{syncs} syncs in ten seconds");
        assert!(longest <= most + SLACK, "pictures stood unsynced for {longest:.3} s, which may be {most} s");
    }
}

/// Role, calls, fault. A choice, each on the way of a role; that it was struck is asserted. Every single operation of the X
/// file fails in a simulated world (`src/store/xfile/tests.rs`); the supervisor writes nothing after its start.
const FAULTS: &[(&str, &[(&str, &str)])] = &[
    (
        "recorder",
        &[
            ("write", "error=EIO:when=4"),
            ("write", "error=ENOSPC:when=2"),
            ("write,ftruncate", "error=EIO:when=3+1"),
            ("fdatasync", "error=EIO:when=1"),
            ("fdatasync", "error=ENOSPC:when=2"),
            ("write", "signal=KILL:when=7"),
            ("fdatasync", "signal=KILL:when=1"),
        ],
    ),
    (
        "scribe",
        &[
            ("pwrite64", "error=EIO:when=1"),
            ("pwrite64", "error=ENOSPC:when=2"),
            ("fdatasync", "error=EIO:when=1"),
            ("fsync", "error=EIO:when=1"),
            ("renameat", "error=EIO:when=1"),
            ("unlinkat", "error=EIO:when=1"),
            ("syncfs", "error=EIO:when=1"),
            ("pwrite64", "signal=KILL:when=2"),
            ("renameat", "signal=KILL:when=1"),
            ("syncfs", "signal=KILL:when=1"),
            ("unlinkat", "signal=KILL:when=2"),
        ],
    ),
    (
        "portal",
        &[("sendto", "error=EIO:when=1"), ("sendmsg", "error=ENOBUFS:when=1"), ("sendto", "signal=KILL:when=2")],
    ),
    // The process of the database that serves scribe; its end takes the others with it.
    (
        "backend",
        &[("pwrite64", "error=ENOSPC:when=1"), ("fdatasync", "error=EIO:when=1"), ("fdatasync", "signal=KILL:when=2")],
    ),
    (
        "keeper",
        &[
            ("pwrite64", "error=ENOSPC:when=1"),
            ("fdatasync", "error=EIO:when=1"),
            ("renameat", "error=EIO:when=1"),
            ("pwrite64", "signal=KILL:when=2"),
            ("fdatasync", "signal=KILL:when=2"),
            ("renameat", "signal=KILL:when=1"),
        ],
    ),
];

/// The first process of a role, or of the database the one that serves scribe.
fn pid_of(appliance: &Appliance, role: &str) -> Option<u32> {
    if role != "backend" {
        return appliance.role_pids(role).first().copied();
    }
    let postmaster = *appliance.role_pids("postgres").first()?;
    let serves = |line: &str| line.starts_with("postgres: ") && line.contains("[local]");
    processes().into_iter().find(|(_, parent, line)| *parent == postmaster && serves(line)).map(|(pid, ..)| pid)
}

/// One role's faults, one after the other; each must strike, and the cameras must be recorded again after it.
fn suffer(stage: &Stage, role: &str, faults: &[(&str, &str)]) {
    let dir = Dir::new("strace");
    let mut desk = stage.desk(&["dpo", "council", "guard", "rev"]);
    for (calls, fault) in faults {
        let began = std::time::Instant::now();
        let attach = || {
            let pid = until(&format!("a {role}"), secs(20), || pid_of(&stage.appliance, role));
            Injection::attach(&dir, pid, calls, fault)
        };
        let mut injection = attach();
        until(&format!("{role}: {calls} {fault} strikes"), secs(40), || {
            if role == "keeper" {
                // A changed audience makes keeper write: the statement, its mark, a head for every camera.
                let seat_set = 1;
                let grant = desk.grant_of("guard");
                let statement = desk.statement(grant, seat_set, &["dpo", "council"]);
                let _ = desk.submit(&statement);
            } else if role == "portal" {
                // It writes when somebody asks.
                let _ = desk.health("rev");
            }
            let struck = injection.struck();
            if !struck && injection.is_over() {
                // The process was on its way out after the fault before, or was started anew beside another role.
                injection = attach();
            }
            struck.then_some(())
        });
        injection.end();
        stage.recorded_beyond(&mut desk, now());
        eprintln!("{role}: {calls} {fault}: {:?}", began.elapsed());
    }
}

#[test]
fn writes_syncs_renames_and_unlinks_of_every_role_fail_or_kill_it_and_every_gap_is_short() {
    if support::quick() {
        return;
    }
    // Re-key every two seconds: most of scribe's faults hit it, the two files of X and the root in the TPM.
    let stage = Stage::with_cameras(2, 12, 2);
    let mut desk = stage.desk(&["guard", "rev"]);
    let began = now();
    std::thread::scope(|scope| {
        for (role, faults) in FAULTS {
            scope.spawn(|| suffer(&stage, role, faults));
        }
    });
    for camera in stage.cameras.clone() {
        let (account, _) = stage.lost(&mut desk, camera, began);
        for stretch in account.iter().filter(|stretch| stretch.kind == CoverageKind::Lost) {
            // Faults of all roles fall together, and restarts wait longer each time (4 s at most here).
            assert!(stretch.length() <= LOSS_MAX + secs(6), "{stretch:#?} of {account:#?}");
        }
    }
    stage.holds(&mut desk, began);
}

/// (run, counter) of every fragment of a segment file, with its ciphertext.
fn fragments(bytes: &[u8]) -> Vec<((u32, u64), Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>()) {
        let Ok(header) = FragmentHeader::decode(head) else { break };
        let Some(whole) = bytes.get(at..at + header.total_len()) else { break };
        found.push(((header.run, header.counter), whole[HEADER_LEN..].to_vec()));
        at += whole.len();
    }
    found
}

/// File and bytes that a traced `write` was about to write, as far as strace shows them.
fn last_write(trace: &str) -> Option<(PathBuf, Vec<u8>)> {
    let line = trace.lines().rfind(|line| line.contains("write("))?;
    let path = line.split(['<', '>']).nth(1)?;
    let hex = line.split('"').nth(1)?;
    let bytes: Option<Vec<u8>> = hex.split("\\x").skip(1).map(|two| u8::from_str_radix(two, 16).ok()).collect();
    Some((path.into(), bytes?))
}

#[test]
fn a_recorder_killed_between_sealing_and_writing_never_repeats_a_nonce() {
    if support::quick() {
        return;
    }
    const CAMERAS: usize = 6;
    const ROUNDS: usize = 4;
    let stage = Stage::with_cameras(CAMERAS, 60, 60);
    let mut desk = stage.desk(&["guard", "rev"]);
    let began = now();
    let dir = Dir::new("strace");
    let over = AtomicBool::new(false);
    let mut killed: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let watched = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&stage, &over));
        for round in 0..ROUNDS {
            let pids = stage.appliance.role_pids("recorder");
            assert_eq!(pids.len(), CAMERAS);
            // Another write for each: the initialisation, the first picture, some later ones.
            let injections: Vec<_> = (0..)
                .zip(&pids)
                .map(|(i, pid)| {
                    Injection::attach(&dir, *pid, "write", &format!("signal=KILL:when={}", 1 + i + round * 2))
                })
                .collect();
            for injection in injections {
                until("the kill strikes", secs(15), || injection.struck().then_some(()));
                killed.extend(last_write(&injection.end()));
            }
            until("all recorders are back", secs(20), || {
                let back = stage.appliance.role_pids("recorder");
                (back.len() == CAMERAS && !back.iter().any(|pid| pids.contains(pid))).then_some(())
            });
            stage.recorded_beyond(&mut desk, now());
        }
        over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert_eq!(killed.len(), CAMERAS * ROUNDS);

    // A file is an epoch, an epoch has one K, and a nonce is (run, counter).
    let mut files: BTreeMap<PathBuf, BTreeMap<(u32, u64), Vec<u8>>> = BTreeMap::new();
    let mut most_runs = 0;
    for path in segment_files(&stage.appliance.data()) {
        let bytes = fs::read(&path).unwrap();
        // The file of an epoch that is being prepared has no head yet.
        let Ok(head) = read_head(&File::open(&path).unwrap()) else { continue };
        let key = (head.record.context.camera, head.record.context.epoch);
        let mut nonces = BTreeMap::new();
        let mut last_run = 0;
        for ((run, counter), ciphertext) in fragments(&bytes[head.len..]) {
            assert!(run >= last_run, "{}: run {run} after {last_run}", path.display());
            last_run = run;
            if let Some(seen) = watched.get(&(key, run, counter)) {
                assert_eq!(
                    *seen, ciphertext,
                    "a viewer saw another fragment under run {run}, counter {counter} of {key:?}"
                );
            }
            let twice = nonces.insert((run, counter), ciphertext);
            assert!(twice.is_none(), "{}: run {run}, counter {counter} twice", path.display());
        }
        most_runs = most_runs.max(nonces.keys().map(|(run, _)| run).collect::<BTreeSet<_>>().len());
        files.insert(path, nonces);
    }
    assert!(watched.len() > 100, "the viewers saw {} fragments", watched.len());
    assert!(most_runs > 2, "kills inside an epoch raise its run, at most {most_runs} were found");
    // What was sealed and died on its way: where its run and counter stand in its file, it stands there itself.
    let mut unwritten = 0;
    for (path, bytes) in &killed {
        let header = FragmentHeader::decode(bytes.first_chunk().unwrap()).expect("a recorder writes fragments alone");
        match files[path].get(&(header.run, header.counter)) {
            Some(ciphertext) => assert!(
                ciphertext.starts_with(&bytes[HEADER_LEN..]),
                "{}: run {}, counter {} sealed two fragments",
                path.display(),
                header.run,
                header.counter
            ),
            None => unwritten += 1,
        }
    }
    assert!(unwritten >= killed.len() / 2, "{unwritten} of {} fragments were sealed and not written", killed.len());
    stage.holds(&mut desk, began);
}

type Seen = BTreeMap<((CameraId, EpochNo), u32, u64), Vec<u8>>;

/// Follows the running epochs of all cameras as a live viewer does, and keeps every sealed fragment that came.
fn watch(stage: &Stage, over: &AtomicBool) -> Seen {
    let mut desk = stage.desk(&["guard", "rev"]);
    let mut seen = Seen::new();
    while !over.load(Ordering::Relaxed) {
        let running: Vec<_> = match desk.health("rev") {
            Ok(health) => health.cameras.iter().filter_map(|c| Some((c.camera, c.epoch?))).collect(),
            Err(_) => continue,
        };
        for (camera, epoch) in running {
            let body = FetchBody { camera, epoch, offset: 0, length: None, follow: false, action: Action::WatchLive };
            let fetched = desk.talk(|conn, identity, keys| {
                let mut bytes = Vec::new();
                conn.fetch(identity.vm, &body, &keys["guard"])?.read_to_end(&mut bytes)?;
                Ok(bytes)
            });
            let Ok(bytes) = fetched else { continue };
            let Ok(head) = peri_seal::segment::parse_head(&bytes) else { continue };
            for ((run, counter), ciphertext) in fragments(&bytes[head.len..]) {
                let before = seen.insert(((camera, epoch), run, counter), ciphertext.clone());
                assert!(before.is_none_or(|before| before == ciphertext), "run {run}, counter {counter} changed");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    seen
}

#[test]
fn a_trace_is_read_as_it_is_written() {
    let trace = "12 write(7</d/x.seg>, \"\\x50\\x46\\x02\"..., 300) = ?\n12 +++ killed by SIGKILL +++\n";
    assert_eq!(last_write(trace), Some(("/d/x.seg".into(), vec![0x50, 0x46, 0x02])));
    assert_eq!(last_write("12 fdatasync(7) = 0\n"), None);
    let trace = "7     10.25 write(7</cam/x.seg>, \"\\x50\"..., 300) = 300\n7     11.5 write(7</cam/x.seg>, \"\", 9) = 9\n\
                 7     11.75 fdatasync(7</cam/x.seg>) = 0\n7     12.0 write(3<socket:[9]>, \"\", 1) = 1\n\
                 7     13.0 write(7</cam/x.seg>, \"\", 9) = 9\n7     13.25 fdatasync(7</cam/x.seg>) = 0\n";
    assert_eq!(unsynced(&[trace.into()], "cam"), (1.5, 2));
    assert_eq!(unsynced(&[trace.into()], "other"), (0.0, 0));
}
