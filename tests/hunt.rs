//! The hunt: what the server wrote and what its processes remember, searched for everything that only people may have.
//!
//! A day with two cameras, a viewer, an export, a live picture, re-keys and restarts; then every file below the data and
//! run directories, a dump of the database, the logs and the memory of the processes (more than `gcore` sees: also the
//! pages that ask to be left out of dumps) are searched for pictures, E, K, X, its root, private keys and passwords, as
//! bytes, in hexadecimal and in base64.
//!
//! What does not belong: the machine's own swap and page cache.

mod memory;
mod support;

use memory::{Haystack, Needles, memory_of};
use peri_access::wire::{Method, OpenedPage, SpanBody};
use peri_client::context::Context;
use peri_client::footage;
use peri_client::password::Passwords;
use peri_client::ui::Ui;
use peri_client::vault::Vault;
use peri_domain::{Action, CameraId, EpochNo, UtcNanos};
use peri_open::{content_key, open_wrap, open_x};
use peri_sandbox::clock::SystemClock;
use peri_seal::segment::{HEAD_LEN_MAX, parse_head};
use peri_seal::wrap::WrapKind;
use peri_store::root::tpm::TpmNv;
use peri_store::root::{RootStore as _, Slot};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::guard::Guarded;
use support::{
    AppConfig, Appliance, Camera, CameraOptions, CameraSpec, Home, now, postgres_dir, quick, secs, wait_for,
};

const CAMERA_PASSWORD: &str = "Wachturm-7391-Nordseite";
const RECOVERABLE: &str = "witness";

/// What is hunted, by kind; a find names it `kind what`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Frame,
    E,
    K,
    X,
    Root,
    PrivateKey,
    Password,
}

#[test]
fn nothing_that_only_people_may_have_lies_on_the_server() {
    if quick() {
        return;
    }
    let config = AppConfig { recorder_first: 62_000, epoch_secs: Some(5), rekey_secs: Some(8), ..AppConfig::default() };
    let mut appliance = Appliance::start(config);
    let home = appliance.home.clone();
    home.found(&appliance);
    let sheet = home.path("sheet.txt");
    home.ok(&["account", "request", RECOVERABLE, "--role", "auditor", "--sheet", sheet.to_str().expect("UTF-8")]);
    home.signed(&["account", "new", &format!("{RECOVERABLE}.request")], &["boss"]);
    let (exports, begin) = day(&mut appliance, &home);

    // Memory first: what is searched for is derived later, so that the search itself cannot put it there.
    let mut dumps: Vec<(&str, u32, Haystack)> = Vec::new();
    for role in ["supervisor", "portal", "scribe", "recorder", "keeper"] {
        let pids = if role == "supervisor" { vec![appliance.pid()] } else { appliance.role_pids(role) };
        dumps.extend(pids.into_iter().map(|pid| (role, pid, memory_of(pid))));
    }
    assert_eq!(dumps.len(), 6, "one of each and two recorders");

    let dumped = now();
    appliance.wait_recorded("footage", dumped + secs(7));
    appliance.wait_recorded("clock", dumped + secs(7));
    let mut needles = Needles::default();
    secrets_of_people(&mut needles, &home, &sheet);
    let epochs = secrets_of_epochs(&mut needles, &appliance, &home, begin);
    assert!(epochs >= 6, "several epochs of two cameras: {epochs}");
    for export in &exports {
        frames(&mut needles, export);
    }
    let mut files = vec![("dump of the database".to_owned(), dump_of_database(&appliance))];
    assert_eq!(appliance.stop(), 0);
    needles.push(Kind::Root, "of one slot", &roots(&appliance));
    for top in [appliance.data(), appliance.dir().join("run"), appliance.log_file()] {
        collect(&top, &mut files);
    }
    let finder = needles.finder();

    // The hunt works: it finds each kind where it must be.
    for export in &exports {
        let found = finder.kinds(&Haystack::of(fs::read(export).expect("the export can be read")));
        assert!(found.contains(&Kind::Frame), "no picture found in {}", export.display());
    }
    let kinds = |role: &str| -> BTreeSet<Kind> {
        dumps.iter().filter(|(of, ..)| *of == role).flat_map(|(.., memory)| finder.kinds(memory)).collect()
    };
    assert!(kinds("recorder").contains(&Kind::K), "a recorder seals with K, so K must be found in its memory");
    assert!(kinds("scribe").contains(&Kind::Root), "scribe holds the root of X");

    let mut faults = Vec::new();
    for (role, pid, memory) in &dumps {
        let allowed: &[Kind] = match *role {
            "scribe" => &[Kind::X, Kind::Root],
            // The plaintext of a moment and K of its own epoch. A password that Basic made it hand over is wiped.
            "recorder" => &[Kind::Frame, Kind::K],
            // K of the epochs in hand, and the camera passwords it answers with. E and X it forgot.
            "keeper" => &[Kind::K, Kind::Password],
            _ => &[],
        };
        let found = finder.find(memory);
        report(&format!("memory of {role} {pid} ({} MiB)", memory.len() >> 20), &found);
        if *role == "recorder" {
            let keys = found.iter().filter(|(kind, _)| *kind == Kind::K);
            let cameras: BTreeSet<&str> = keys.filter_map(|(_, what)| what.rsplit(' ').next()).collect();
            assert_eq!(cameras.len(), 1, "a recorder knows K of its own camera alone: {found:?}");
        }
        let wrong = found.iter().filter(|(kind, _)| !allowed.contains(kind));
        faults.extend(wrong.map(|(kind, what)| format!("memory of {role}: {kind:?} {what}")));
    }
    let mut bytes = 0;
    for (name, content) in &files {
        bytes += content.len();
        let found = finder.find(&Haystack::of(content.clone()));
        faults.extend(found.iter().map(|(kind, what)| format!("{name}: {kind:?} {what}")));
    }
    let named = |part: &str| files.iter().any(|(name, _)| name.contains(part));
    for part in ["store/", "keeper/", "scribe/", "postgres/", "pg_wal/", "/log"] {
        assert!(named(part), "no file of {part} was searched");
    }
    report(&format!("{} files, {} MiB", files.len(), bytes >> 20), &BTreeSet::new());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Two cameras, exports and a live picture, a re-key or two, every role restarted; returns the exports and the beginning.
fn day(appliance: &mut Appliance, home: &Home) -> (Vec<PathBuf>, UtcNanos) {
    let options = || CameraOptions { user: Some(("cam", CAMERA_PASSWORD)), ..CameraOptions::default() };
    // They outlive the day: pictures go on until the end of the test.
    // Basic, so that keeper hands its recorder the password itself; the other one asks for Digest.
    let basic = CameraOptions { extra: vec!["--basic".into()], ..options() };
    let tls: &'static Camera = Box::leak(Box::new(Camera::start(basic.mounts(&["footage"]))));
    let plain = CameraOptions { tls: false, ..options() }.mounts(&["clock"]);
    let plain: &'static Camera = Box::leak(Box::new(Camera::start(plain)));
    let begin = now();
    home.add_camera("footage", &tls.url("footage"), &tls.pin(), "cam", CAMERA_PASSWORD);
    let login = Some(("cam", CAMERA_PASSWORD));
    home.camera(&CameraSpec { name: "clock", url: &plain.url("clock"), pin: None, login, beside: None });
    home.grant("guard", "all", "live,playback,export");
    for role in ["scribe", "keeper", "recorder", "portal"] {
        appliance.wait_recorded("footage", now());
        appliance.wait_recorded("clock", now());
        appliance.kill_role(role, nix::sys::signal::Signal::SIGKILL);
        appliance.wait_until("it answers again", secs(40), |_| true);
    }
    // From here on the root stays, so that the one in the TPM at the end is the one in the memory that is looked at.
    appliance.stop();
    appliance.config_mut().rekey_secs = Some(3_600);
    appliance.write_config();
    appliance.restart();
    let since = now();
    appliance.wait_recorded("clock", since);
    let watched = home.path("watched.mp4");
    let mut watch = Guarded::spawn(&mut home.command(&[
        "watch",
        "clock",
        "--for",
        "2s",
        "--as",
        "guard",
        "-o",
        watched.to_str().expect("UTF-8"),
    ]));
    appliance.wait_recorded("footage", since + secs(8));
    appliance.wait_recorded("clock", since + secs(8));
    let export = |camera| wait_for("an export", secs(20), || home.export("guard", camera, since, now()).ok());
    let exports = vec![export("footage"), export("clock")];
    wait_for("the live picture ends", secs(30), || (!watch.is_running()).then_some(()));
    (exports, begin)
}

/// Passwords, recovery code, and both private keys of everybody in the home.
fn secrets_of_people(needles: &mut Needles<Kind>, home: &Home, sheet: &Path) {
    let vault = Vault::open(&home.keys()).expect("the home can be read");
    let password = fs::read_to_string(home.path("password")).expect("the harness keeps it");
    let password = password.trim_end();
    needles.push(Kind::Password, "of the keys", &[password.as_bytes().to_vec()]);
    needles.push(Kind::Password, "of the cameras", &[CAMERA_PASSWORD.as_bytes().to_vec()]);
    let text = fs::read_to_string(sheet).expect("the sheet can be read");
    let code = text.lines().skip_while(|line| !line.contains("Recovery code")).nth(2).expect("the code").trim();
    assert!(code.len() >= 26, "{code}");
    needles.push(Kind::Password, "recovery code", &[code.as_bytes().to_vec()]);
    for (name, _) in vault.all().expect("the home can be read") {
        let pair = vault.unlock(&name, password).unwrap_or_else(|error| panic!("{name}: {error}"));
        needles.push(Kind::PrivateKey, &format!("of {name} to open"), &[pair.hpke_secret().to_vec()]);
        needles.push(Kind::PrivateKey, &format!("of {name} to sign"), &[pair.signing().to_secret_bytes().to_vec()]);
    }
}

/// E, X and K of every epoch since `begin`, as the viewer derives them; how many epochs.
fn secrets_of_epochs(needles: &mut Needles<Kind>, appliance: &Appliance, home: &Home, begin: UtcNanos) -> usize {
    let password = home.path("password").display().to_string();
    let lines = Box::new(std::io::empty());
    let vault = Vault::open(&home.keys()).expect("the home can be read");
    let passwords = Passwords::from_lines(&[password], Box::new(std::io::BufReader::new(lines)));
    let clock = Box::new(SystemClock);
    let mut context =
        Context::new(Ui::new(true), vault, passwords, clock, Some(appliance.socket()), Some("guard".into()));
    let mut session = context.session().expect("the appliance is the pinned one");
    let who = context.unlock("guard").expect("the password fits");
    let known = session.roster(&context, &who).expect("the roster holds");
    let cameras: Vec<CameraId> = known.roster.cameras().map(|camera| camera.id).collect();
    assert_eq!(cameras.len(), 2);
    let mut epochs = 0;
    for camera in cameras {
        let span = SpanBody { camera, from: begin, until: now(), action: Action::PlayBack };
        let plan = footage::plan(&mut session, &who, span).expect("a viewer may ask");
        let numbers: Vec<EpochNo> = plan.segments.iter().filter(|s| !s.running).map(|s| s.epoch).collect();
        for some in numbers.chunks(20) {
            let body = footage::open_body(camera, some.to_vec(), Action::PlayBack, "hunt");
            let vm = session.vm();
            let answer = session.conn.request_with_id(vm, Method::Open, &body, &who);
            let (page, request): (OpenedPage, _) = answer.expect("a viewer gets X");
            for key in page.keys {
                let file = appliance.data().join(format!("store/store/{camera}/{:020}.seg", key.epoch.0));
                let file = if file.exists() { file } else { segment(appliance, camera, key.epoch) };
                let mut head = Vec::new();
                let source = fs::File::open(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                source.take(HEAD_LEN_MAX as u64).read_to_end(&mut head).expect("a segment can be read");
                let head = parse_head(&head).expect("the head is whole");
                let own =
                    |wrap: &&peri_seal::wrap::Wrap| wrap.kind == WrapKind::User && wrap.recipient == who.fingerprint();
                let Some(wrap) = head.wraps.iter().find(own) else { continue };
                let e = open_wrap(&who, &head.record.context, wrap).expect("the viewer's wrap opens");
                let x = open_x(&who, &head.record.context, &request, &key.sealed).expect("X opens");
                let k = content_key(&e, &x, &head.record).expect("K is what the record commits to");
                let what = format!("of epoch {} of {camera}", key.epoch);
                needles.push(Kind::E, &what, &[e.as_bytes().to_vec()]);
                needles.push(Kind::X, &what, &[x.as_bytes().to_vec()]);
                needles.push(Kind::K, &what, &[k.as_bytes().to_vec()]);
                epochs += 1;
            }
        }
    }
    epochs
}

fn segment(appliance: &Appliance, camera: CameraId, epoch: EpochNo) -> PathBuf {
    let (camera, epoch) = (camera.to_string(), format!("{:020}.seg", epoch.0));
    let fits = |path: &PathBuf| path.ends_with(&epoch) && path.to_string_lossy().contains(&camera);
    let found = appliance.segments().into_iter().find(fits);
    found.unwrap_or_else(|| panic!("no segment {epoch} of {camera}"))
}

/// Windows out of the middle of pictures: each media fragment's payload at three places, 32 bytes each, and only where it
/// is as mixed as compressed pictures are (parameter sets, filler and text are no secret).
fn frames(needles: &mut Needles<Kind>, export: &Path) {
    let bytes = fs::read(export).expect("the export can be read");
    let mut windows = Vec::new();
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        assert!(length >= 8 && at + length <= bytes.len(), "{}: a box of {length} bytes at {at}", export.display());
        if &bytes[at + 4..at + 8] == b"mdat" {
            let payload = &bytes[at + 8..at + length];
            for part in 1..4 {
                let window = payload.get(payload.len() * part / 4..).and_then(|rest| rest.get(..32));
                let mixed = |window: &&[u8]| window.iter().collect::<BTreeSet<_>>().len() >= 24;
                windows.extend(window.filter(mixed).map(<[u8]>::to_vec));
            }
        }
        at += length;
    }
    assert!(windows.len() >= 10, "{}: {} windows", export.display(), windows.len());
    needles.push(Kind::Frame, &format!("of {}", export.file_name().expect("a name").display()), &windows);
}

/// Both roots out of the TPM, with the appliance stopped.
fn roots(appliance: &Appliance) -> Vec<Vec<u8>> {
    let stream = UnixStream::connect(appliance.tpm().socket()).expect("the TPM listens");
    let mut tpm = TpmNv::open(stream.into(), None).expect("the TPM answers");
    let load = |slot| tpm.load(slot).expect("the TPM answers").map(|entry| entry.key.expose().to_vec());
    let roots: Vec<Vec<u8>> = Slot::BOTH.into_iter().filter_map(load).collect();
    assert!(!roots.is_empty(), "no root in the TPM");
    roots
}

/// Everything that SQL shows to the superuser.
fn dump_of_database(appliance: &Appliance) -> Vec<u8> {
    let user =
        nix::unistd::User::from_name("peri-postgres").expect("users can be read").expect("scripts/setup made it");
    let output = Command::new(postgres_dir().join("pg_dumpall"))
        .arg("--host")
        .arg(appliance.dir().join("run/postgres"))
        .args(["--username", "postgres", "--no-role-passwords"])
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .expect("pg_dumpall starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.len() > 10_000, "a dump with the schema and a day's entries");
    output.stdout
}

fn collect(path: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let Ok(kind) = fs::symlink_metadata(path) else { return };
    if kind.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), files);
        }
    } else if kind.is_file() {
        let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        files.push((path.display().to_string(), content));
    }
}

#[allow(clippy::print_stdout, reason = "what keeper and recorders remember is reported, not judged")]
fn report(place: &str, found: &BTreeSet<(Kind, String)>) {
    let mut counts = std::collections::BTreeMap::new();
    found.iter().for_each(|(kind, _)| *counts.entry(*kind).or_insert(0) += 1);
    println!("{place}: {counts:?}");
}

#[test]
fn the_search_sees_bytes_hexadecimal_and_base64_at_any_place() {
    let secret: Vec<u8> = (0..32).map(|i| (i * 37 + 11) as u8).collect();
    let mut needles = Needles::default();
    needles.push(Kind::K, "planted", std::slice::from_ref(&secret));
    let finder = needles.finder();
    let filler = |length: usize| -> Vec<u8> { (0..length).map(|i| (i * 7) as u8).collect() };
    let hex = |upper: bool| -> String {
        secret.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
    };
    let mut shapes = vec![secret.clone(), hex(false).into_bytes(), hex(true).into_bytes()];
    for before in 0..3 {
        let text = memory::base64(&[filler(before), secret.clone(), filler(5)].concat(), false);
        shapes.push(text.into_bytes());
        let text = memory::base64(&[filler(before), secret.clone(), filler(5)].concat(), true);
        shapes.push(text.into_bytes());
    }
    for (at, shape) in shapes.iter().enumerate() {
        for length in [0, 1, 4_099] {
            let place = Haystack::of([filler(length), shape.clone(), filler(3)].concat());
            assert_eq!(finder.kinds(&place), BTreeSet::from([Kind::K]), "shape {at} behind {length} bytes");
        }
    }
    assert!(finder.kinds(&Haystack::of(filler(100_000))).is_empty());
    let mut changed = secret;
    changed[31] ^= 1;
    assert!(finder.kinds(&Haystack::of(changed)).is_empty());
}
