//! Starting a role: fork, give up everything, exec one of two binaries by descriptor; and learning how it ended.
//!
//! What does not belong: restarts and back-off, messages. Invariants: the child has exactly the descriptors listed, at
//! the numbers listed, plus standard output and error; it has no capability and a uid of its own (where the supervisor
//! is root); it ends with its supervisor; a child that could not become the program says why and never runs on.
//!
//! The supervisor must have one thread: fork copies only the calling one.

use crate::landlock::Prepared;
use crate::privileges::{self, Limits, PrivilegeError};
use crate::seccomp::{self, Role};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, pipe2, setsid};
use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the control channel to the supervisor in every role; others follow.
pub const CONTROL_FD: RawFd = 3;
/// Number of the program's own binary at exec (the policy of the supervisor names it).
const OWN_FD: RawFd = 10;
/// Number of postgres at exec (the policies of supervisor and postgres name it).
const POSTGRES_FD: RawFd = 11;
/// Where descriptors wait while the low numbers are set up.
const PARKED_FD: RawFd = 32;

/// Which of the two binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The binary that this process runs.
    Own,
    /// The PostgreSQL server.
    Postgres,
}

/// The two binaries, opened once at start, so that what is started is what was there then.
#[derive(Debug)]
pub struct Programs {
    own: OwnedFd,
    postgres: Option<OwnedFd>,
}

impl Programs {
    /// Opens the running binary and, where this appliance runs its own, postgres.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(postgres: Option<&Path>) -> Result<Self, SpawnError> {
        Self::open_at(Path::new("/proc/self/exe"), postgres)
    }

    fn open_at(own: &Path, postgres: Option<&Path>) -> Result<Self, SpawnError> {
        let open = |path: &Path| {
            open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(|source| SpawnError::Program { path: path.display().to_string(), source })
        };
        Ok(Self { own: open(own)?, postgres: postgres.map(open).transpose()? })
    }
}

/// What to start and with what.
#[derive(Debug)]
pub struct Command {
    /// Which binary.
    pub program: Program,
    /// `argv`, the name first.
    pub args: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// User and group; `None` keeps the supervisor's (not root).
    pub user: Option<(u32, u32)>,
    /// Descriptors with their numbers in the child: [`CONTROL_FD`] and on, below 10 (0 to 2 replace standard streams).
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// Bounds.
    pub limits: Limits,
    /// Walls put on before the exec, for a program that does not put them on itself (postgres).
    pub confine: Option<(Prepared, Role)>,
}

/// A role was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A binary cannot be opened.
    #[error("program {path}: {source}; check the configuration")]
    Program {
        /// Its path.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Postgres was asked for and not opened.
    #[error("no postgres binary was opened at start; set its path in the configuration")]
    NoPostgres,
    /// A descriptor number outside 0 to 9, or twice.
    #[error("descriptor number {0} is taken or outside 0 to 9")]
    Descriptor(RawFd),
    /// An argument with a NUL.
    #[error("argument or environment with a NUL byte: {0}")]
    Argument(#[from] NulError),
    /// The process could not be made.
    #[error("{call}: {source}; check process and memory limits")]
    System {
        /// What was tried.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The child could not become the program.
    #[error("child could not {step}: {source}")]
    Child {
        /// What failed in the child.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
}

/// A started role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Child {
    /// Its process id, valid until it was reaped.
    pub pid: Pid,
}

impl Child {
    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone, or not ours.
    pub fn signal(self, signal: Signal) -> Result<(), Errno> {
        kill(self.pid, signal)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(Signal),
    /// By its seccomp filter (SIGSYS): it tried what its table does not allow.
    Violation,
}

/// Steps of the child, as they travel through the report pipe.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Park,
    Place,
    Signals,
    Limits,
    User,
    Tie,
    Landlock,
    Seccomp,
    Exec,
}

impl Step {
    fn name(number: u8) -> &'static str {
        const NAMES: [&str; 9] = [
            "park its descriptors",
            "place its descriptors",
            "unblock signals",
            "set its limits",
            "change its user",
            "tie itself to the supervisor",
            "put Landlock on",
            "put seccomp on",
            "exec the program",
        ];
        NAMES.get(usize::from(number)).copied().unwrap_or("start")
    }
}

/// Starts a program and returns when it runs (or when it could not become it).
///
/// # Errors
/// See [`SpawnError`]; after an error there is no child.
pub fn spawn(programs: &Programs, command: Command) -> Result<Child, SpawnError> {
    let (binary, number) = match command.program {
        Program::Own => (&programs.own, OWN_FD),
        Program::Postgres => (programs.postgres.as_ref().ok_or(SpawnError::NoPostgres)?, POSTGRES_FD),
    };
    let mut seen = [false; OWN_FD as usize];
    for (_, at) in &command.fds {
        let slot = usize::try_from(*at).ok().and_then(|at| seen.get_mut(at)).filter(|taken| !**taken);
        *slot.ok_or(SpawnError::Descriptor(*at))? = true;
    }
    let args = command.args.iter().map(|a| CString::new(a.as_str())).collect::<Result<Vec<_>, _>>()?;
    let env = command.env.iter().map(|e| CString::new(e.as_str())).collect::<Result<Vec<_>, _>>()?;
    let (report, reporter) = pipe2(OFlag::O_CLOEXEC).map_err(|source| SpawnError::System { call: "pipe2", source })?;
    let parent = getpid();
    // SAFETY: this process has one thread (contract of the module), so the child's copy of every lock is consistent.
    match unsafe { fork() }.map_err(|source| SpawnError::System { call: "fork", source })? {
        ForkResult::Child => {
            drop(report);
            let (pipe, (step, errno)) = match park(reporter.as_raw_fd()) {
                Ok(pipe) => {
                    let Err(failure) = become_program(command, binary, number, parent, (&args, &env));
                    (pipe, failure)
                }
                Err(errno) => (reporter.as_raw_fd(), (Step::Park, errno)),
            };
            let code = (errno as i32).to_ne_bytes();
            let bytes = [step as u8, code[0], code[1], code[2], code[3]];
            // SAFETY: writes five live bytes to the report pipe and ends the child without running the parent's exit
            // handlers. Nothing is left to do if the write fails: the parent then sees the exit code.
            unsafe {
                libc::write(pipe, bytes.as_ptr().cast(), bytes.len());
                libc::_exit(127)
            }
        }
        ForkResult::Parent { child } => {
            drop(reporter);
            let mut bytes = Vec::new();
            let read = File::from(report).take(5).read_to_end(&mut bytes);
            match (read, bytes.as_slice()) {
                (Ok(_), []) => Ok(Child { pid: child }),
                (Ok(_), [step, code @ ..]) if code.len() == 4 => {
                    let _ = waitpid(child, None);
                    let code = i32::from_ne_bytes(code.try_into().expect("four bytes by the guard"));
                    Err(SpawnError::Child { step: Step::name(*step), source: Errno::from_raw(code) })
                }
                _ => {
                    let _ = kill(child, Signal::SIGKILL);
                    let _ = waitpid(child, None);
                    Err(SpawnError::System { call: "read of the child's report", source: Errno::EIO })
                }
            }
        }
    }
}

/// Everything between fork and exec; returns only on failure.
fn become_program(
    command: Command,
    binary: &OwnedFd,
    number: RawFd,
    parent: Pid,
    (args, env): (&[CString], &[CString]),
) -> Result<Infallible, (Step, Errno)> {
    let at = |step: Step| move |errno: Errno| (step, errno);
    let giving_up = |step: Step| move |error: PrivilegeError| (step, error.errno());
    let program = park(binary.as_raw_fd()).map_err(at(Step::Park))?;
    let mut fds = Vec::with_capacity(command.fds.len());
    for (fd, number) in &command.fds {
        fds.push((park(fd.as_raw_fd()).map_err(at(Step::Park))?, *number));
    }
    privileges::close_on_exec_from(3).map_err(giving_up(Step::Place))?;
    for (fd, number) in fds {
        // SAFETY: replaces a descriptor whose owner in this copy of the process is never used again: it execs or ends.
        Errno::result(unsafe { libc::dup2(fd, number) }).map_err(at(Step::Place))?;
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::dup3(program, number, libc::O_CLOEXEC) }).map_err(at(Step::Place))?;
    // SIGPIPE stays ignored over the exec, as the standard library and postgres want it; the mask must be emptied.
    crate::poll::unblock_all().map_err(|_| (Step::Signals, Errno::EINVAL))?;
    privileges::private_files();
    privileges::limit(&command.limits).map_err(giving_up(Step::Limits))?;
    if let Some((uid, gid)) = command.user {
        privileges::become_user(uid, gid).map_err(giving_up(Step::User))?;
    }
    setsid().map_err(at(Step::Tie))?;
    privileges::end_with(parent).map_err(giving_up(Step::Tie))?;
    privileges::no_new_privileges().map_err(giving_up(Step::Tie))?;
    if let Some((landlock, role)) = command.confine {
        landlock.enforce().map_err(|_| (Step::Landlock, Errno::last()))?;
        seccomp::apply(role).map_err(|_| (Step::Seccomp, Errno::last()))?;
    }
    Err((Step::Exec, exec(number, args, env)))
}

fn park(fd: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: duplicates to the lowest free number from PARKED_FD on; the copy closes at exec.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, PARKED_FD) })
}

/// Returns only when the kernel refuses.
fn exec(number: RawFd, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([core::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both lists are null-terminated arrays of live C strings; the empty path with AT_EMPTY_PATH executes the
    // descriptor itself. Raw call: glibc's fexecve goes through /proc where the kernel lacks it, with execve.
    unsafe {
        libc::syscall(libc::SYS_execveat, number, c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), libc::AT_EMPTY_PATH);
    }
    Errno::last()
}

/// The channel to the supervisor in a role that [`spawn`] started; `None` when there is no descriptor 3, or it was
/// taken before; one that is no channel fails at its first message.
#[must_use]
pub fn control_channel() -> Option<crate::channel::Channel> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: asks whether descriptor 3 exists, and sets a flag on it: a role that could exec must not hand it on.
    if unsafe { libc::fcntl(CONTROL_FD, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: in a role 3 is the control channel by the contract of `spawn`, nobody else owns it, and it is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    Some(crate::channel::Channel::from(fd))
}

/// Everybody who ended since the last call: roles, and as PID 1 orphans too. Never blocks.
///
/// # Errors
/// Never but on a kernel out of order.
pub fn reap() -> Result<Vec<(Pid, Exit)>, Errno> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => match exit_of(status) {
                Some(end) => ended.push(end),
                None if status == WaitStatus::StillAlive => return Ok(ended),
                None => {}
            },
            Err(Errno::ECHILD) => return Ok(ended),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits for one process.
///
/// # Errors
/// `ECHILD` when it is no child of this process.
pub fn wait(child: Pid) -> Result<Exit, Errno> {
    loop {
        match waitpid(child, None) {
            Ok(status) => {
                if let Some((_, exit)) = exit_of(status) {
                    return Ok(exit);
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<(Pid, Exit)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, Exit::Code(code))),
        WaitStatus::Signaled(pid, Signal::SIGSYS, _) => Some((pid, Exit::Violation)),
        WaitStatus::Signaled(pid, signal, _) => Some((pid, Exit::Signal(signal))),
        _ => None,
    }
}

#[cfg(test)]
#[path = "spawn_tests.rs"]
mod tests;
