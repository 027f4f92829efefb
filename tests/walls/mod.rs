//! Behind and against the walls: the probe of the shipped binary, and the call that no role may make.
//!
//! What does not belong: what must come of it (`tests/seccomp.rs`).

use crate::support::Dir;
use crate::support::guard::Guarded;
use nix::unistd::User;
use peri_sandbox::seccomp::Role;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The binary that ships.
const APPLIANCE: &str = env!("CARGO_BIN_EXE_peri-appliance");

/// A copy of it that every user may execute: a work tree often lies below a directory that roles may not enter.
fn program() -> PathBuf {
    static COPY: OnceLock<Dir> = OnceLock::new();
    let made = || {
        let dir = Dir::new("probe");
        fs::copy(APPLIANCE, dir.join("peri-appliance")).expect("the program can be copied");
        dir
    };
    COPY.get_or_init(made).join("peri-appliance")
}

/// First uid of recorders in the default configuration.
const RECORDER_UID: u32 = 64_000;

/// What must be among the attacks, whatever else is: taking one out of the table fails here.
pub(crate) const NEEDED: [&str; 25] = [
    "exec",
    "exec-by-descriptor",
    "exec-absolute-path",
    "ptrace",
    "process-vm-readv",
    "pidfd-getfd",
    "mmap-rwx",
    "mprotect-exec",
    "memfd",
    "socket-packet",
    "socket-raw",
    "socket-netlink",
    "io-uring",
    "bpf",
    "userfaultfd",
    "unshare",
    "x32",
    "i386",
    "open-foreign",
    "open-shadow",
    "open-keeper",
    "create-foreign",
    "connect-foreign",
    "connect-udp",
    "become-root",
];

/// What works without walls on any machine this runs on: the attacks are real. Others need a module, a 32-bit ABI or a
/// kernel option, and may be refused without any wall of ours.
pub(crate) const REAL: [&str; 25] = [
    "exec",
    "exec-by-descriptor",
    "exec-as-own-binary",
    "ptrace",
    "mmap-rwx",
    "mmap-exec-anonymous",
    "mprotect-exec",
    "memfd",
    "personality",
    "socket-packet",
    "socket-raw",
    "socket-netlink",
    "socket-inet",
    "socket-unix",
    "connect-foreign",
    "connect-udp",
    "listen-tcp",
    "fork",
    "open-foreign",
    "open-shadow",
    "write-foreign",
    "open-root",
    "create-foreign",
    "become-root",
    "make-dumpable",
];

/// Runs `probe ROLE ATTACK` of the shipped binary as the user the role has in production, behind the walls that the
/// configuration gives it.
pub(crate) fn probe(role: Role, attack: &str, config: &Path) -> std::process::Output {
    let user = match role {
        Role::Supervisor => None,
        Role::Recorder => Some((RECORDER_UID, RECORDER_UID)),
        // The one-shot migration runs as the database's user.
        Role::Postgres | Role::Migrate => Some(user("peri-postgres")),
        Role::Keeper => Some(user("peri-keeper")),
        Role::Scribe => Some(user("peri-scribe")),
        Role::Portal => Some(user("peri-portal")),
    };
    let mut command = Command::new(program());
    command.args(["probe", role.name(), attack, "--config"]).arg(config).env_clear().stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.output().expect("the probe starts")
}

fn user(name: &str) -> (u32, u32) {
    let user = User::from_name(name).expect("users can be read");
    let user = user.unwrap_or_else(|| panic!("there is no user {name}; run scripts/setup"));
    (user.uid.as_raw(), user.gid.as_raw())
}

/// A tracer that turns the next call of a live process into `getpgrp`: harmless, and in no table. (strace can put only
/// calls without arguments in the place of another; `ptrace` and the like are tried by probes.)
pub(crate) struct Forbidden(Guarded);

/// Attaches it, and returns once it holds the process.
pub(crate) fn forbidden_call(pid: u32) -> Forbidden {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &pid.to_string(), "-e", "trace=all", "-e", "inject=all:retval=0:syscall=getpgrp"]);
    Forbidden(Guarded::spawn(strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped())))
}

impl Forbidden {
    /// What it saw, once the process is gone.
    pub(crate) fn ended(mut self) -> String {
        let mut said = String::new();
        let stderr = self.0.child().stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut said).expect("strace writes text");
        said
    }
}
