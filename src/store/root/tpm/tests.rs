//! Against a real swtpm.

use super::*;
use crate::root::RootKey;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running swtpm with its state in a temporary directory; ends with the value.
pub(crate) struct Swtpm {
    dir: tempfile::TempDir,
    child: Child,
}

impl Swtpm {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Self::launch(dir.path());
        Self { dir, child }
    }

    fn launch(dir: &Path) -> Child {
        let socket = dir.join("socket");
        let _ = std::fs::remove_file(&socket);
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", dir.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed by scripts/setup");
        for _ in 0..200 {
            if UnixStream::connect(&socket).is_ok() {
                return child;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let status = child.wait();
        panic!("swtpm did not open its socket within 4 s: {status:?}");
    }

    /// Ends swtpm as a power cut of the host would and starts it again from its state.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::launch(self.dir.path());
    }

    pub(crate) fn connect(&self) -> OwnedFd {
        UnixStream::connect(self.dir.path().join("socket")).unwrap().into()
    }

    pub(crate) fn nv(&self) -> TpmNv {
        let dir = std::fs::File::open(self.dir.path()).unwrap();
        TpmNv::open(self.connect(), Some(dir.into())).unwrap()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn entry(generation: u64) -> RootEntry {
    RootEntry { generation, key: RootKey::generate().unwrap() }
}

#[test]
fn roots_survive_a_restart_of_the_tpm_and_are_gone_after_clear() {
    let mut swtpm = Swtpm::start();
    let (a, b) = (entry(1), entry(2));
    let mut nv = swtpm.nv();
    assert!(nv.load(Slot::A).unwrap().is_none(), "a fresh TPM holds no root");
    nv.store(Slot::A, &a).unwrap();
    nv.store(Slot::B, &b).unwrap();
    drop(nv);
    swtpm.restart();
    let mut nv = swtpm.nv();
    let read = nv.load(Slot::A).unwrap().unwrap();
    assert_eq!((read.generation, read.key.expose()), (1, a.key.expose()));
    assert_eq!(nv.load(Slot::B).unwrap().unwrap().key.expose(), b.key.expose());
    nv.clear(Slot::A).unwrap();
    drop(nv);
    swtpm.restart();
    assert!(swtpm.nv().load(Slot::A).unwrap().is_none());
    let state = std::fs::read(swtpm.dir.path().join("tpm2-00.permall")).unwrap();
    let holds = |key: &RootKey| state.windows(32).any(|w| w == key.expose());
    assert!(holds(&b.key), "positive control: the living root is found in the state file");
    assert!(!holds(&a.key), "a cleared root is not in the state file");
}

#[test]
fn an_answer_that_a_killed_predecessor_left_unread_is_discarded() {
    let swtpm = Swtpm::start();
    let mut first = swtpm.nv();
    let root = entry(9);
    first.store(Slot::A, &root).unwrap();
    let shared = first.stream.as_fd().try_clone_to_owned().unwrap();
    for settle in [Duration::from_millis(300), Duration::ZERO] {
        // Killed between command and answer: once with the answer already waiting, once with it still to come.
        let command = TpmNvReadPublicCommand { handles: [index(Slot::A)] };
        first.send("NV_ReadPublic", &command, false, |_| {}).unwrap();
        std::thread::sleep(settle);
        let mut second = TpmNv::open(shared.try_clone().unwrap(), None).unwrap();
        assert_eq!(second.load(Slot::A).unwrap().unwrap().key.expose(), root.key.expose());
    }
}

#[test]
fn a_tpm_that_died_serves_again_over_a_new_connection() {
    let mut swtpm = Swtpm::start();
    let (a, b) = (entry(1), entry(2));
    let mut nv = swtpm.nv();
    nv.store(Slot::A, &a).unwrap();
    swtpm.restart();
    let lost = nv.store(Slot::B, &b).unwrap_err();
    assert!(lost.is_connection_lost(), "{lost}");
    nv.reconnect(swtpm.connect()).unwrap();
    nv.store(Slot::B, &b).unwrap();
    assert_eq!(nv.load(Slot::A).unwrap().unwrap().key.expose(), a.key.expose());
    assert_eq!(nv.load(Slot::B).unwrap().unwrap().key.expose(), b.key.expose());
}

#[test]
fn an_index_that_somebody_defined_with_a_wider_policy_is_refused() {
    let swtpm = Swtpm::start();
    let mut nv = swtpm.nv();
    let command = TpmNvUndefineSpaceCommand { handles: [owner(), index(Slot::B)] };
    nv.call("NV_UndefineSpace", &command, true, |_| {}).unwrap().success("").unwrap();
    let wider = TpmaNv::from_bits_truncate(ATTRIBUTES | TpmaNv::AUTHREAD.bits());
    let command = TpmNvDefineSpaceCommand {
        handles: [owner()],
        auth: Tpm2bAuth::default(),
        public_info: Tpm2bNvPublic { inner: TpmsNvPublic { attributes: wider, ..public_area(Slot::B) } },
    };
    nv.call("NV_DefineSpace", &command, true, |_| {}).unwrap().success("").unwrap();
    drop(nv);
    let refused = TpmNv::open(swtpm.connect(), None).err().unwrap();
    assert!(matches!(refused, TpmError::Foreign { index: 0x0180_5053, .. }), "{refused}");
}

#[test]
fn destroying_the_store_leaves_no_index_behind() {
    let swtpm = Swtpm::start();
    let mut nv = swtpm.nv();
    nv.store(Slot::A, &entry(1)).unwrap();
    nv.destroy().unwrap();
    assert!(swtpm.nv().load(Slot::A).unwrap().is_none());
}

#[test]
fn a_peer_that_is_no_tpm_is_named_and_never_waited_for_long() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = std::thread::spawn(move || {
        let mut theirs = theirs;
        let mut command = [0; 64];
        let _ = theirs.read(&mut command);
        let _ = theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = TpmNv::open(ours.into(), None).err().unwrap();
    assert!(matches!(error, TpmError::Malformed { .. }), "{error}");
    peer.join().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let error = TpmNv::open(ours.into(), None).err().unwrap();
    assert!(matches!(error, TpmError::Io { .. } | TpmError::Gone { .. }), "{error}");
}
