//! Attacks on the portal from outside and on its link to scribe: who floods it, stalls it, asks it for what is not on disk
//! yet, or cuts its link takes nothing from others, and nothing that is not theirs.
//!
//! One appliance; the tests take turns, because each disturbs the portal of all. What does not belong: what the roster
//! allows (`roster_attacks`).
#![allow(clippy::disallowed_methods, reason = "a test looks at the same clock as the people who look at the product")]
#![allow(clippy::unwrap_used)]

mod attack;
mod support;

use attack::camera::{Scripted, good};
use attack::{Desk, segment_files, until, wrapped_to};
use nix::sys::signal::Signal;
use peri_access::wire::{FetchBody, Health, Method};
use peri_client::conn::{ConnError, Connection};
use peri_domain::limits::{PORTAL_CONNECTIONS_PER_UID, PORTAL_FRAME_IN_MAX};
use peri_domain::{Action, CameraId, EpochNo, UtcNanos};
use peri_roster::body::Trust;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use support::guard::Guarded;
use support::{AppConfig, Appliance, secs};

/// An account of the system that is nobody's here.
const STRANGER: u32 = 65_534;

struct Stage {
    appliance: Appliance,
    _camera: Scripted,
    camera: CameraId,
}

fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| {
        let scripted = Scripted::start(&[("honest", good)]);
        let appliance = Appliance::founded(AppConfig::default());
        let mut desk = desk(&appliance);
        let camera =
            desk.add_cameras(&[("honest".into(), scripted.url(0, "honest"), Trust::Plain)], ["dpo", "council"])[0];
        let grant = desk.grant_of("guard");
        desk.say(grant, &["dpo", "council"]);
        Mutex::new(Stage { appliance, _camera: scripted, camera })
    });
    let stage = stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    recorded_beyond(&stage, attack::now());
    stage
}

fn desk(appliance: &Appliance) -> Desk {
    Desk::of(appliance, &["dpo", "council", "guard", "rev"])
}

fn recorded_beyond(stage: &Stage, since: UtcNanos) {
    let mut desk = desk(&stage.appliance);
    until("the camera is recorded", secs(30), || {
        let health = desk.health("rev").ok()?;
        let until = health.cameras.iter().find(|c| c.camera == stage.camera)?.recorded_until?;
        (until > since).then_some(())
    });
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
    command
}

/// Opens ten thousand connections, holds on to the first, says how many of those the portal left open, and waits.
const FLOOD: &str = r#"
import socket, sys
kept = []
for number in range(10000):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    kept.append(one)
    if len(kept) > 500:
        kept.pop().close()
open_still = 0
for one in kept:
    one.setblocking(False)
    try:
        one.recv(1)
    except BlockingIOError:
        open_still += 1
print(open_still, flush=True)
sys.stdin.read()
"#;

#[test]
fn a_flood_of_connections_by_one_account_takes_nothing_from_others() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let socket = stage.appliance.socket();
    let (mut standing, mut fresh) = (desk(&stage.appliance), desk(&stage.appliance));
    standing.health("rev").unwrap();
    let mut command = python(FLOOD, &[socket.to_str().unwrap()]);
    command.uid(STRANGER).gid(STRANGER);
    let mut flood = Guarded::spawn(&mut command);
    let output = flood.child().stdout.take().unwrap();
    let answer = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    });
    let mut slowest = Duration::ZERO;
    let mut asked = |desk: &mut Desk| {
        let began = Instant::now();
        desk.health("rev").unwrap();
        slowest = slowest.max(began.elapsed());
    };
    while !answer.is_finished() {
        // Over a connection that stood before, and over a new one.
        asked(&mut standing);
        fresh.hang_up();
        asked(&mut fresh);
        std::thread::sleep(Duration::from_millis(50));
    }
    let held: usize = answer.join().unwrap().trim().parse().unwrap();
    assert_eq!(held, PORTAL_CONNECTIONS_PER_UID, "connections that one account holds of ten thousand");
    fresh.hang_up();
    asked(&mut fresh);
    assert!(slowest < secs(3), "others waited {slowest:?}");
    drop(flood);
    assert_eq!(stage.appliance.role_pids("portal").len(), 1);
}

/// How long the portal keeps a connection on which these bytes come, one each `pause`, and then nothing.
fn kept_for(socket: &Path, bytes: &[u8], pause: Duration) -> Duration {
    let mut stream = UnixStream::connect(socket).unwrap();
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut bytes = bytes.iter();
    while began.elapsed() < secs(30) {
        if let Some(byte) = bytes.next()
            && stream.write_all(&[*byte]).is_err()
        {
            break;
        }
        match stream.read(&mut [0; 1]) {
            Ok(0) => break,
            Ok(_) => panic!("an answer to half a frame"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        std::thread::sleep(pause);
    }
    began.elapsed()
}

#[test]
fn half_a_frame_and_a_frame_that_trickles_are_cut_at_their_deadline() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let socket = stage.appliance.socket();
    // Half of a length; a length and no more; a kilobyte, a byte five times a second.
    let trickle: Vec<u8> = [0, 0, 4, 0].into_iter().chain([0x82; 1024]).collect();
    let attacks = [(vec![0, 0], 10), (vec![0, 0, 4, 0], 10), (trickle, 200)];
    std::thread::scope(|scope| {
        let attacks = attacks.iter().map(|(bytes, pause)| {
            let socket = &socket;
            scope.spawn(move || kept_for(socket, bytes, Duration::from_millis(*pause)))
        });
        let attacks: Vec<_> = attacks.collect();
        for attack in attacks {
            let kept = attack.join().unwrap();
            assert!(kept >= PORTAL_FRAME_IN_MAX && kept < PORTAL_FRAME_IN_MAX + secs(5), "kept for {kept:?}");
        }
    });
    // Who is only idle is left alone for longer than that.
    let mut connection = Connection::open(&socket).unwrap();
    connection.hello().unwrap();
    std::thread::sleep(PORTAL_FRAME_IN_MAX + secs(1));
    connection.hello().unwrap();
}

/// Shuts the one link of a process down, as neither of its ends would: both go on running.
const CUT: &str = r#"
import ctypes, os, socket, sys
pid = int(sys.argv[1])
handle = os.pidfd_open(pid)
pidfd_getfd = lambda fd: ctypes.CDLL(None).syscall(438, handle, fd, 0)
control = os.fstat(pidfd_getfd(3)).st_ino
links = {}
for name in os.listdir(f"/proc/{pid}/fd"):
    fd = pidfd_getfd(int(name))
    try:
        one = socket.socket(fileno=fd)
    except OSError:
        continue
    if one.type == socket.SOCK_SEQPACKET and os.fstat(fd).st_ino != control:
        links[os.fstat(fd).st_ino] = one
for one in links.values():
    one.shutdown(socket.SHUT_RDWR)
print(len(links), flush=True)
"#;

#[test]
fn a_link_to_scribe_that_dies_alone_is_made_anew() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let pids = |role| stage.appliance.role_pids(role);
    let before = (pids("portal"), pids("scribe"));
    for round in 0..3 {
        let output = python(CUT, &[&before.0[0].to_string()]).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.trim(), "1", "portal has one link");
        let mut desk = desk(&stage.appliance);
        until(&format!("portal answers after cut {round}"), secs(10), || desk.health("rev").ok());
    }
    assert_eq!(before, (pids("portal"), pids("scribe")), "nobody died");
}

/// Length of what a fetch gives, read to its end or until it has this many bytes.
fn fetched(desk: &mut Desk, body: &FetchBody, enough: u64) -> Result<u64, ConnError> {
    desk.talk(|conn, identity, keys| {
        let mut stream = conn.fetch(identity.vm, body, &keys["guard"])?;
        let mut buffer = vec![0; 65_536];
        while stream.read(&mut buffer)? > 0 && stream.received() < enough {}
        Ok(stream.received())
    })
}

#[test]
fn playback_and_export_end_at_the_durable_end_and_only_live_goes_beyond() {
    if support::quick() {
        return;
    }
    const BEYOND: u64 = 300_000;
    let stage = stage();
    let (app, camera) = (&stage.appliance, stage.camera);
    let mut desk = desk(app);
    // The recorder stands still: nothing is written, synced or reported but what the test writes.
    app.signal_role("recorder", Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(500));
    let page = desk.segments(camera, attack::now() - secs(5), attack::now(), "guard").unwrap();
    let running = page.segments.iter().find(|segment| segment.running).copied().unwrap();
    let path = segment_files(&app.data()).into_iter().find(|file| wrapped_to(file).0 == running.epoch.0).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().len();
    assert!(running.bytes <= written);
    file.write_all_at(&vec![0xEE; BEYOND as usize], written).unwrap();
    let body =
        |action, offset, length, follow| FetchBody { camera, epoch: running.epoch, offset, length, follow, action };
    let mut got = Vec::new();
    for action in [Action::PlayBack, Action::Export] {
        for (offset, length) in
            [(0, None), (0, Some(u64::MAX)), (running.bytes - 10, Some(1 << 20)), (written + 10, None)]
        {
            let expected = running.bytes.saturating_sub(offset);
            got.push((fetched(&mut desk, &body(action, offset, length, false), u64::MAX), expected, action, offset));
        }
    }
    let followed = fetched(&mut desk, &body(Action::PlayBack, 0, None, true), u64::MAX);
    let live = fetched(&mut desk, &body(Action::WatchLive, 0, None, true), written + BEYOND);
    file.set_len(written).unwrap();
    app.signal_role("recorder", Signal::SIGCONT);
    for (got, expected, action, offset) in got {
        assert_eq!(got.unwrap(), expected, "{action:?} from {offset}; {} bytes are durable", running.bytes);
    }
    assert!(matches!(&followed, Err(ConnError::Refused(problem)) if problem.code == "not_live"), "{followed:?}");
    assert_eq!(live.unwrap(), written + BEYOND, "live goes on to what is written");
    recorded_beyond(&stage, attack::now());
}

#[test]
fn a_question_without_parameters_takes_the_empty_array_and_nothing_else() {
    if support::quick() {
        return;
    }
    let stage = stage();
    let mut desk = desk(&stage.appliance);
    desk.health("rev").unwrap();
    let null: Result<Health, _> =
        desk.talk(|conn, identity, keys| conn.request(identity.vm, Method::Health, &None::<u8>, &keys["rev"]));
    assert!(matches!(&null, Err(ConnError::Refused(problem)) if problem.code == "malformed"), "{null:?}");
    let more: Result<Health, _> =
        desk.talk(|conn, identity, keys| conn.request(identity.vm, Method::Health, &EpochNo(1), &keys["rev"]));
    assert!(matches!(&more, Err(ConnError::Refused(problem)) if problem.code == "malformed"), "{more:?}");
}
