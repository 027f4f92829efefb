//! The tools of this crate behind the walls of the roles that use them: what a role needs must go on working.

use super::*;
use crate::channel::{Channel, Typed};
use crate::clock::{Clock, SystemClock};
use crate::durable::{self, Dir};
use crate::landlock::{Access, PathRule};
use crate::memory::Locked;
use crate::poll::{Interest, Poller, Token};
use crate::probe::in_child;
use crate::spawn::Exit;
use core::time::Duration;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::OnceLock;

fn beneath(dir: &tempfile::TempDir) -> Rules {
    Rules { paths: vec![PathRule::new(dir.path(), Access::ReadWrite)], ..Rules::default() }
}

/// Called once before the walls too: a test runs in a thread with a heap arena of its own, whose first shrinking makes libc
/// read a file; roles have one arena (see `confine`). When a call is missing, `strace -f` on the test names it.
fn event_loop_and_secrets() {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).unwrap();
    let secret = Locked::take(&mut bytes).unwrap();
    assert_ne!(secret.as_bytes(), &[0; 32]);
    // Made by the first call, before the walls: only the supervisor makes channels.
    static PAIR: OnceLock<(Channel, Channel)> = OnceLock::new();
    let (near, far) = PAIR.get_or_init(|| Channel::pair().unwrap());
    let poller = Poller::new().unwrap();
    poller.add(near, Token(1), Interest::Read).unwrap();
    far.send(b"x", &[]).unwrap();
    let mut ready = Vec::new();
    poller.wait(&mut ready, None).unwrap();
    assert_eq!(ready[0].token, Token(1));
    assert_eq!(near.recv(&mut [0; 8]).unwrap().unwrap().0, 1);
    poller.wait(&mut ready, Some(Duration::from_millis(1))).unwrap();
    assert!(ready.is_empty());
    assert!(SystemClock.utc().0 > 0 && SystemClock.monotonic() > Duration::ZERO);
    std::thread::sleep(Duration::from_millis(1));
    // A heap that grows and shrinks by more than one arena step and by mapped blocks.
    let blocks: Vec<Vec<u8>> = (1..64).map(|i| vec![1; i * 10_000]).collect();
    assert_eq!(blocks.iter().map(Vec::len).sum::<usize>(), 63 * 64 / 2 * 10_000);
}

#[test]
fn keeper_keeps_files_of_its_own_and_talks_over_channels() {
    let root = tempfile::tempdir().unwrap();
    let abi = landlock::kernel_abi();
    let exit = in_child(|| {
        let (near, far) = Channel::pair().unwrap();
        let (sender, mut receiver) = (Typed::<u64, u64>::new(near), Typed::<u64, u64>::new(far));
        event_loop_and_secrets();
        let enforced = confine(Role::Keeper, &beneath(&root), &[], false).unwrap();
        assert_eq!(enforced.abi, abi);
        let dir = Dir::open(root.path()).unwrap().ensure_dir("state", 0o700).unwrap();
        durable::write_atomic(&dir, "head", b"7", 0o600).unwrap();
        assert_eq!(dir.read("head", 10).unwrap(), b"7");
        let log = dir.open_append("log", 0o600).unwrap();
        durable::append_sync(&log, b"entry").unwrap();
        assert_eq!(dir.files().unwrap(), ["head", "log"]);
        dir.remove("log").unwrap();
        assert!(!dir.has("log").unwrap() && dir.free_bytes().unwrap() > 0 && dir.device().unwrap() > 0);
        sender.send_with(&5, &[dir.as_fd()]).unwrap();
        let (number, fds) = receiver.recv_wait(Some(Duration::from_secs(1))).unwrap().unwrap();
        assert_eq!((number, fds.len()), (5, 1));
        event_loop_and_secrets();
        assert!(Dir::open(std::path::Path::new("/etc")).is_err());
    });
    assert_eq!(exit, Exit::Code(0));
}

#[test]
fn recorder_writes_handed_over_segments_and_reaches_only_its_port() {
    let root = tempfile::tempdir().unwrap();
    let camera = TcpListener::bind("127.0.0.1:0").unwrap();
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (camera_at, resolver_at) = (camera.local_addr().unwrap(), resolver.local_addr().unwrap());
    let rules = Rules { connect_ports: vec![camera_at.port()], ..Rules::default() };
    let abi = landlock::kernel_abi();
    let exit = in_child(|| {
        let segment = File::options().read(true).write(true).create_new(true).open(root.path().join("s")).unwrap();
        event_loop_and_secrets();
        confine(Role::Recorder, &rules, &[], false).unwrap();
        (&segment).write_all(b"fragment and torn tail").unwrap();
        segment.set_len(8).unwrap();
        durable::sync_data(&segment).unwrap();
        let mut bytes = [0; 8];
        assert!(durable::read_exact_at(&segment, &mut bytes, 0).unwrap() && &bytes == b"fragment");
        let mut stream = TcpStream::connect_timeout(&camera_at, Duration::from_secs(1)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(b"OPTIONS").unwrap();
        stream.set_nonblocking(true).unwrap();
        let question = UdpSocket::bind("127.0.0.1:0").unwrap();
        question.connect(resolver_at).unwrap();
        question.send(b"name?").unwrap();
        event_loop_and_secrets();
        if abi >= 4 {
            let other = TcpStream::connect(("127.0.0.1", 9)).unwrap_err();
            assert_eq!(other.raw_os_error(), Some(libc::EACCES));
        }
    });
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(std::fs::read(root.path().join("s")).unwrap(), b"fragment");
    let mut heard = [0; 8];
    assert_eq!(resolver.recv(&mut heard).unwrap(), 5);
    assert_eq!(camera.accept().unwrap().0.read(&mut heard).unwrap(), 7);
}

#[test]
fn scribe_reaches_the_database_socket_with_threads_and_files() {
    let root = tempfile::tempdir().unwrap();
    let database = UnixListener::bind(root.path().join("db")).unwrap();
    let exit = in_child(|| {
        event_loop_and_secrets();
        confine(Role::Scribe, &beneath(&root), &[], false).unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let path = root.path().join("db");
        let thread = std::thread::spawn(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(b"query").unwrap();
        });
        durable::write_atomic(&dir, "x", &[1; 4096], 0o600).unwrap();
        thread.join().unwrap();
        event_loop_and_secrets();
    });
    assert_eq!(exit, Exit::Code(0));
    let mut heard = [0; 8];
    assert_eq!(database.accept().unwrap().0.read(&mut heard).unwrap(), 5);
}

#[test]
fn portal_accepts_on_what_it_inherited_and_opens_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("listener");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"request").unwrap();
    let exit = in_child(|| {
        event_loop_and_secrets();
        confine(Role::Portal, &Rules::default(), &[], false).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 7];
        stream.read_exact(&mut request).unwrap();
        std::thread::spawn(move || stream.write_all(b"answer").unwrap()).join().unwrap();
        event_loop_and_secrets();
    });
    assert_eq!(exit, Exit::Code(0));
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}
