//! The attacker inside: what a role that was taken over would try first, to be run behind the role's own walls.
//!
//! What does not belong: exploits; each attack is one harmless attempt whose success shows a hole. Used by the tests of
//! this crate and by the hidden `probe` command of the appliance, which the integration tests start under each role.

use crate::confine::confine;
use crate::landlock::Rules;
use crate::privileges::become_user;
use crate::seccomp::Role;
use crate::spawn::{Exit, wait};
use nix::errno::Errno;
use nix::unistd::{ForkResult, Uid, fork};
use std::ptr::null;

/// Which wall must stop an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// Seccomp: the process dies.
    Seccomp,
    /// Landlock (or the kernel's own check of privileges) refuses; dying earlier is as good.
    Refusal,
}

/// One attempt.
pub struct Attack {
    /// Name for the command line.
    pub name: &'static str,
    /// What stops it.
    pub wall: Wall,
    /// Roles that may do this, with the reason.
    pub permitted: &'static [(Role, &'static str)],
    attempt: fn() -> i64,
}

/// What became of an attempt whose process is still alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// The kernel said no.
    Refused(Errno),
    /// It worked: a hole, unless [`Attack::permitted`] names the role.
    Succeeded,
}

/// What became of an attempt, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Killed by its filter.
    Killed,
    /// The kernel said no.
    Refused,
    /// It worked.
    Succeeded,
    /// The process ended in another way, which proves nothing.
    Unclear(Exit),
}

/// Tries it in this process, which may not survive it. `None`: no attack has that name.
#[must_use]
pub fn run(name: &str) -> Option<ProbeResult> {
    let attack = ATTACKS.iter().find(|a| a.name == name)?;
    Errno::clear();
    let result = (attack.attempt)();
    // Some attempts report an error number negated, others set errno.
    Some(match result {
        0.. => ProbeResult::Succeeded,
        -1 => ProbeResult::Refused(Errno::last()),
        code => ProbeResult::Refused(Errno::from_raw(i32::try_from(-code).unwrap_or(libc::EIO))),
    })
}

/// Tries it in a child behind the filter of the role and a Landlock that allows nothing (uid 65534 where root). What
/// production allows beyond that is tried by `probe` of the appliance, behind the very rules of production.
///
/// # Errors
/// When there is no child to be had.
pub fn attempt(role: Role, name: &str) -> Result<Outcome, Errno> {
    let rules = Rules::default();
    let exit = forked(|| {
        if Uid::effective().is_root() {
            become_user(65_534, 65_534).map_err(|e| e.errno())?;
        }
        confine(role, &rules, &[], false).map_err(|_| Errno::EINVAL)?;
        Ok(run(name))
    })?;
    Ok(outcome_of(exit))
}

/// Tries it in a child without walls: the control that an attack can succeed at all.
///
/// # Errors
/// When there is no child to be had.
pub fn attempt_without_walls(name: &str) -> Result<Outcome, Errno> {
    forked(|| Ok(run(name))).map(outcome_of)
}

const REFUSED: i32 = 10;
const SUCCEEDED: i32 = 11;

fn outcome_of(exit: Exit) -> Outcome {
    match exit {
        Exit::Violation => Outcome::Killed,
        Exit::Code(REFUSED) => Outcome::Refused,
        Exit::Code(SUCCEEDED) => Outcome::Succeeded,
        other => Outcome::Unclear(other),
    }
}

fn forked(body: impl FnOnce() -> Result<Option<ProbeResult>, Errno>) -> Result<Exit, Errno> {
    // SAFETY: the child calls the kernel and allocates a little; libc's allocator survives fork.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = match body() {
                Ok(Some(ProbeResult::Refused(_))) => REFUSED,
                Ok(Some(ProbeResult::Succeeded)) => SUCCEEDED,
                Ok(None) | Err(_) => 1,
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => wait(child),
    }
}

/// Runs a test's body in a child, so that walls do not fall on the test runner; code 0, or 101 after a panic.
#[cfg(test)]
pub(crate) fn in_child(body: impl FnOnce()) -> Exit {
    // SAFETY: as in `forked`; a failed assertion prints through an unlocked standard error.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            if let Err(panic) = &result {
                let text = panic.downcast_ref::<String>().map_or("panic in a child", String::as_str);
                // SAFETY: writes live bytes.
                unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
            }
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => wait(child).unwrap(),
    }
}

macro_rules! sys {
    ($number:expr $(, $arg:expr)*) => {
        // SAFETY: an attempt of the probe: arguments are constants, null, or pointers to live locals, and the process is
        // a throw-away.
        unsafe { libc::syscall($number $(, $arg)*) }
    };
}

const fn attack(name: &'static str, wall: Wall, attempt: fn() -> i64) -> Attack {
    Attack { name, wall, permitted: &[], attempt }
}

const fn except(attack: Attack, permitted: &'static [(Role, &'static str)]) -> Attack {
    Attack { permitted, ..attack }
}

const RW: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
const ANON: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const ENVELOPE: &str = "its roles inherit its walls, so these allow what a recorder needs; it makes none itself";
const START: &str = "what programs read at their start, and how PostgreSQL maps uids to names";

/// Every attempt.
pub const ATTACKS: &[Attack] = &[
    attack("exec", Wall::Seccomp, || {
        let argv = [c"/bin/true".as_ptr(), null()];
        sys!(libc::SYS_execve, c"/bin/true".as_ptr(), argv.as_ptr(), null::<u8>())
    }),
    attack("exec-by-descriptor", Wall::Seccomp, || exec_by_descriptor(50)),
    attack("exec-as-own-binary", Wall::Refusal, || exec_by_descriptor(10)),
    attack("exec-as-postgres", Wall::Refusal, || exec_by_descriptor(11)),
    attack("exec-absolute-path", Wall::Refusal, || {
        let argv = [c"/bin/true".as_ptr(), null()];
        sys!(libc::SYS_execveat, 10, c"/bin/true".as_ptr(), argv.as_ptr(), null::<u8>(), libc::AT_EMPTY_PATH)
    }),
    attack("ptrace", Wall::Seccomp, || sys!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)),
    attack("process-vm-readv", Wall::Seccomp, || sys!(libc::SYS_process_vm_readv, 1, 0, 0, 0, 0, 0)),
    attack("pidfd-getfd", Wall::Seccomp, || sys!(libc::SYS_pidfd_getfd, 0, 0, 0)),
    attack("mmap-rwx", Wall::Seccomp, || sys!(libc::SYS_mmap, 0, 4096, RW | libc::PROT_EXEC, ANON, -1, 0)),
    attack("mmap-exec-anonymous", Wall::Seccomp, || {
        sys!(libc::SYS_mmap, 0, 4096, libc::PROT_READ | libc::PROT_EXEC, ANON, -1, 0)
    }),
    attack("mprotect-exec", Wall::Seccomp, || {
        let page = sys!(libc::SYS_mmap, 0, 4096, RW, ANON, -1, 0);
        sys!(libc::SYS_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC)
    }),
    attack("pkey-mprotect-exec", Wall::Seccomp, || {
        let page = sys!(libc::SYS_mmap, 0, 4096, RW, ANON, -1, 0);
        sys!(libc::SYS_pkey_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC, -1)
    }),
    attack("memfd", Wall::Seccomp, || sys!(libc::SYS_memfd_create, c"x".as_ptr(), 0)),
    attack("personality", Wall::Seccomp, || sys!(libc::SYS_personality, 0x0040_0000)),
    attack("socket-packet", Wall::Seccomp, || socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    attack("socket-raw", Wall::Seccomp, || socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    attack("socket-ping", Wall::Seccomp, || socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)),
    attack("socket-mptcp", Wall::Seccomp, || socket(libc::AF_INET, libc::SOCK_STREAM, 262)),
    attack("socket-netlink", Wall::Seccomp, || socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    attack("socket-vsock", Wall::Seccomp, || socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    attack("socket-alg", Wall::Seccomp, || socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    except(
        attack("socket-inet", Wall::Seccomp, || socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
        &[(Role::Recorder, "the camera"), (Role::Supervisor, ENVELOPE)],
    ),
    except(
        attack("socket-unix", Wall::Seccomp, || socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
        &[
            (Role::Scribe, "the database"),
            (Role::Migrate, "the database"),
            (Role::Postgres, "its own socket"),
            (Role::Supervisor, ENVELOPE),
        ],
    ),
    except(
        attack("connect-foreign", Wall::Refusal, || connect(libc::SOCK_STREAM, 9)),
        &[(
            Role::Supervisor,
            "a camera's port is not known beforehand, and recorders inherit its Landlock; it makes none",
        )],
    ),
    except(
        attack("connect-udp", Wall::Seccomp, || connect(libc::SOCK_DGRAM, 9)),
        &[(Role::Recorder, "questions to resolvers; Landlock has no rule for UDP"), (Role::Supervisor, ENVELOPE)],
    ),
    attack("listen-tcp", Wall::Refusal, || {
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let address = inet(0);
        let bound = sys!(libc::SYS_bind, fd, &raw const address, size_of_val(&address));
        if bound < 0 { bound } else { sys!(libc::SYS_listen, fd, 1) }
    }),
    attack("io-uring", Wall::Seccomp, || {
        let mut params = [0_u8; 120];
        sys!(libc::SYS_io_uring_setup, 4, params.as_mut_ptr())
    }),
    attack("bpf", Wall::Seccomp, || sys!(libc::SYS_bpf, 0, 0, 0)),
    attack("userfaultfd", Wall::Seccomp, || sys!(libc::SYS_userfaultfd, 1)),
    attack("keyctl", Wall::Seccomp, || sys!(libc::SYS_keyctl, 0, -3, 0)),
    attack("perf", Wall::Seccomp, || sys!(libc::SYS_perf_event_open, 0, 0, -1, -1, 0)),
    attack("mount", Wall::Seccomp, || sys!(libc::SYS_mount, 0, c"/".as_ptr(), 0, libc::MS_REMOUNT, 0)),
    attack("unshare", Wall::Seccomp, || sys!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
    attack("clone-new-user", Wall::Seccomp, || {
        child_of(sys!(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0))
    }),
    except(
        attack("fork", Wall::Seccomp, || {
            const FLAGS: libc::c_int = libc::CLONE_CHILD_CLEARTID | libc::CLONE_CHILD_SETTID | libc::SIGCHLD;
            let mut tid = 0_i32;
            child_of(sys!(libc::SYS_clone, FLAGS, 0, 0, &raw mut tid, 0))
        }),
        &[(Role::Supervisor, "starts the roles"), (Role::Postgres, "a process per connection")],
    ),
    attack("vfork", Wall::Seccomp, || child_of(sys!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0))),
    attack("x32", Wall::Seccomp, || sys!(0x4000_0000 | libc::SYS_getpid)),
    attack("i386", Wall::Seccomp, i386),
    except(
        attack("open-foreign", Wall::Refusal, || open(c"/etc/passwd", libc::O_RDONLY)),
        &[(Role::Supervisor, START), (Role::Postgres, START)],
    ),
    attack("open-shadow", Wall::Refusal, || open(c"/etc/shadow", libc::O_RDONLY)),
    attack("write-foreign", Wall::Refusal, || open(c"/etc/passwd", libc::O_WRONLY)),
    // The parts of the data directory, in which a probe stands.
    except(attack("open-keeper", Wall::Refusal, || open_below(c"keeper")), &[(Role::Keeper, "its own")]),
    except(attack("open-scribe", Wall::Refusal, || open_below(c"scribe")), &[(Role::Scribe, "its own")]),
    except(attack("open-store", Wall::Refusal, || open_below(c"store")), &[(Role::Scribe, "its own")]),
    except(attack("open-cluster", Wall::Refusal, || open_below(c"postgres")), &[(Role::Postgres, "its own")]),
    except(
        attack("open-keeper-as-its-user", Wall::Refusal, || {
            let owner = owner_of(c"keeper");
            if owner < 0 || sys!(libc::SYS_setresuid, owner, owner, owner) < 0 {
                return -1;
            }
            open_below(c"keeper")
        }),
        &[(Role::Supervisor, "it starts every role as its user, and the directories of roles are beneath its own")],
    ),
    attack("open-root", Wall::Refusal, || open(c"/", libc::O_RDONLY | libc::O_DIRECTORY)),
    attack("open-process", Wall::Refusal, || open(c"/proc/self/mem", libc::O_RDWR)),
    attack("read-memory-of-init", Wall::Refusal, || open(c"/proc/1/mem", libc::O_RDONLY)),
    attack("create-foreign", Wall::Refusal, || open(c"/tmp", libc::O_TMPFILE | libc::O_RDWR)),
    attack("open-by-handle", Wall::Seccomp, || sys!(libc::SYS_open_by_handle_at, -1, 0, 0)),
    attack("signal-parent", Wall::Refusal, || sys!(libc::SYS_kill, nix::unistd::getppid().as_raw(), 0)),
    attack("signal-init", Wall::Refusal, || sys!(libc::SYS_kill, 1, 0)),
    attack("become-root", Wall::Refusal, || sys!(libc::SYS_setresuid, 0, 0, 0)),
    attack("chroot", Wall::Seccomp, || sys!(libc::SYS_chroot, c"/".as_ptr())),
    attack("make-dumpable", Wall::Seccomp, || sys!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0)),
    attack("load-module", Wall::Seccomp, || sys!(libc::SYS_init_module, 0, 0, 0)),
    attack("kexec", Wall::Seccomp, || sys!(libc::SYS_kexec_load, 0, 0, 0, 0)),
    attack("set-clock", Wall::Seccomp, || sys!(libc::SYS_clock_settime, 0, 0)),
    attack("terminal-input", Wall::Seccomp, || sys!(libc::SYS_ioctl, 0, libc::TIOCSTI, c"x".as_ptr())),
];

fn exec_by_descriptor(number: i32) -> i64 {
    // Under Landlock the open itself is refused, which is as good; where it is not, the exec must be.
    let fd = sys!(libc::SYS_openat, libc::AT_FDCWD, c"/bin/true".as_ptr(), libc::O_PATH);
    if fd >= 0 {
        sys!(libc::SYS_dup2, fd, number);
    }
    let argv = [c"true".as_ptr(), null()];
    sys!(libc::SYS_execveat, number, c"".as_ptr(), argv.as_ptr(), null::<u8>(), libc::AT_EMPTY_PATH)
}

fn socket(family: i32, kind: i32, protocol: i32) -> i64 {
    sys!(libc::SYS_socket, family, kind | libc::SOCK_CLOEXEC, protocol)
}

fn inet(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

/// A refusal by the peer or the route means that the wall let the attempt through.
fn connect(kind: i32, port: u16) -> i64 {
    let fd = socket(libc::AF_INET, kind, 0);
    let address = inet(port);
    let result = sys!(libc::SYS_connect, fd, &raw const address, size_of_val(&address));
    if result < 0 && matches!(Errno::last(), Errno::ECONNREFUSED | Errno::ENETUNREACH) { 0 } else { result }
}

fn open(path: &core::ffi::CStr, flags: i32) -> i64 {
    sys!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600)
}

fn open_below(name: &core::ffi::CStr) -> i64 {
    open(name, libc::O_RDONLY | libc::O_DIRECTORY)
}

fn owner_of(name: &core::ffi::CStr) -> i64 {
    // SAFETY: all-zero is a valid `stat`, which the call fills.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    let result = sys!(libc::SYS_newfstatat, libc::AT_FDCWD, name.as_ptr(), &raw mut found, 0);
    if result < 0 { result } else { i64::from(found.st_uid) }
}

/// The new process ends at once.
fn child_of(result: i64) -> i64 {
    if result == 0 {
        sys!(libc::SYS_exit_group, 0);
    }
    result
}

/// `getpid` through the 32-bit gate, whose numbers mean other calls.
fn i386() -> i64 {
    let result: u64;
    // SAFETY: int 0x80 with number 20 takes no argument; the kernel clobbers r8 to r11 there.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_u64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result.cast_signed()
}

/// Calls one system call with six raw arguments: for tests that mutate the arguments of a rule.
#[cfg(test)]
pub(crate) fn raw(number: i64, args: [u64; 6]) -> i64 {
    sys!(number, args[0], args[1], args[2], args[3], args[4], args[5])
}
