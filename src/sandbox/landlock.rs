//! Which files, ports and processes a role can still reach: Landlock.
//!
//! What does not belong: which role gets which directory (the appliance knows). Everything that is not named is denied:
//! files, TCP bind and connect (ABI 4), device ioctls (ABI 5), signals to and abstract sockets of processes outside
//! (ABI 6; a process may always signal those that it confined further, so the supervisor reaches its roles). Not in
//! Landlock's reach, and therefore seccomp's work: UDP, pathname sockets, `stat`, `chmod`, executable mappings.
//!
//! Invariant: rights come from what was tested, ABI 7; a newer kernel does not change what a role may do.

use crate::landlock::Access::{Execute, Read, ReadWrite};
use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The interface version whose rights are asked for.
const TESTED: ABI = ABI::V7;

/// What may be done beneath a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read files, list directories.
    Read,
    /// Read, and make, write, cut, rename and remove files, directories and sockets.
    ReadWrite,
    /// Read and execute (one file: a binary or the loader, which the kernel opens for execution too).
    Execute,
}

/// One allowed file or directory with all beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Where. Must exist when the rules are prepared.
    pub path: PathBuf,
    /// What.
    pub access: Access,
}

impl PathRule {
    /// A rule.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access }
    }
}

/// All that stays allowed. The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files and directories.
    pub paths: Vec<PathRule>,
    /// TCP ports that may be connected to (any address; the firewall knows the address).
    pub connect_ports: Vec<u16>,
    /// TCP ports that may be bound.
    pub bind_ports: Vec<u16>,
    /// Leaves TCP connect out of the rules: for the supervisor, whose children each narrow it to their own port.
    pub any_connect: bool,
}

/// What the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforced {
    /// Interface version of the running kernel; 0: no Landlock, and the configuration allowed that.
    pub abi: u32,
}

impl Enforced {
    /// TCP bind and connect are under control.
    #[must_use]
    pub const fn network(self) -> bool {
        self.abi >= 4
    }

    /// Signals and abstract sockets are under control.
    #[must_use]
    pub const fn scopes(self) -> bool {
        self.abi >= 6
    }
}

/// The walls did not stand: the process must end.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel has no Landlock.
    #[error(
        "the kernel has no Landlock (5.13 or newer with `landlock` in its lsm= list is needed); `accept.no_landlock = true` in the configuration starts without this wall, which page and ledger then say"
    )]
    Missing,
    /// A path to be allowed is not there.
    #[error("Landlock rule for {path}: {reason}; make it first or correct the configuration")]
    Path {
        /// The path of the rule.
        path: PathBuf,
        /// The kernel's answer.
        reason: String,
    },
    /// The kernel refused.
    #[error("Landlock: {0}")]
    System(String),
}

/// Interface version of the running kernel, 0 where there is no Landlock.
#[must_use]
pub fn kernel_abi() -> u32 {
    const VERSION: libc::c_uint = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with a null attribute, size 0 and this flag the call only returns a number (landlock_create_ruleset(2)).
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, core::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// Rules the kernel has checked, ready for a process to put on (this one, or a child after fork).
#[derive(Debug)]
pub struct Prepared {
    ruleset: Option<RulesetCreated>,
    abi: u32,
}

/// Opens every path of the rules and makes a ruleset of them. `allow_missing`: go on without Landlock where the kernel
/// has none.
///
/// # Errors
/// See [`LandlockError`].
pub fn prepare(rules: &Rules, allow_missing: bool) -> Result<Prepared, LandlockError> {
    let abi = kernel_abi();
    if abi == 0 {
        return if allow_missing { Ok(Prepared { ruleset: None, abi }) } else { Err(LandlockError::Missing) };
    }
    let system = |e: ::landlock::RulesetError| LandlockError::System(e.to_string());
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TESTED))
        .and_then(|r| {
            let all = AccessNet::from_all(TESTED);
            r.handle_access(if rules.any_connect { all & !AccessNet::ConnectTcp } else { all })
        })
        .and_then(|r| r.scope(Scope::from_all(TESTED)))
        .and_then(Ruleset::create)
        .map_err(system)?;
    for rule in &rules.paths {
        let (fd, is_dir) = open(&rule.path)?;
        let access = rights(rule.access, is_dir);
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(system)?;
    }
    for port in &rules.connect_ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(system)?;
    }
    for port in &rules.bind_ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp)).map_err(system)?;
    }
    Ok(Prepared { ruleset: Some(ruleset), abi })
}

impl Prepared {
    /// Puts the calling thread, and all threads and children it makes from now on, under the rules. Sets no_new_privs.
    /// Cannot be undone.
    ///
    /// # Errors
    /// When the kernel refuses; whoever sees that must not go on.
    pub fn enforce(self) -> Result<Enforced, LandlockError> {
        if let Some(ruleset) = self.ruleset {
            let status = ruleset.restrict_self().map_err(|e| LandlockError::System(e.to_string()))?;
            if status.ruleset == RulesetStatus::NotEnforced {
                return Err(LandlockError::Missing);
            }
        }
        Ok(Enforced { abi: self.abi })
    }
}

/// [`prepare`] and [`Prepared::enforce`] in one.
///
/// # Errors
/// See [`LandlockError`].
pub fn restrict(rules: &Rules, allow_missing: bool) -> Result<Enforced, LandlockError> {
    prepare(rules, allow_missing)?.enforce()
}

fn open(path: &Path) -> Result<(PathFd, bool), LandlockError> {
    let error = |reason: String| LandlockError::Path { path: path.to_owned(), reason };
    let fd = PathFd::new(path).map_err(|e| error(e.to_string()))?;
    let copy = fd.as_fd().try_clone_to_owned().map_err(|e| error(e.to_string()))?;
    let is_dir = File::from(copy).metadata().map_err(|e| error(e.to_string()))?.is_dir();
    Ok((fd, is_dir))
}

fn rights(access: Access, is_dir: bool) -> BitFlags<AccessFs> {
    let write = AccessFs::from_write(TESTED) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let all = match access {
        Read => AccessFs::ReadFile | AccessFs::ReadDir,
        ReadWrite => AccessFs::ReadFile | AccessFs::ReadDir | write,
        Execute => AccessFs::ReadFile | AccessFs::Execute,
    };
    if is_dir { all } else { all & AccessFs::from_file(TESTED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::in_child;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn this_machine_has_landlock_and_rules_for_missing_paths_are_refused() {
        assert!(kernel_abi() >= 1, "the tests of the walls need Landlock");
        let rules = Rules { paths: vec![PathRule::new("/nowhere/at/all", Read)], ..Rules::default() };
        let error = prepare(&rules, true).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("correct the configuration"), "{error}");
    }

    #[test]
    fn only_named_directories_can_be_read_and_only_writable_ones_written() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(own.path().join("a"), b"a").unwrap();
        std::fs::write(other.path().join("b"), b"b").unwrap();
        let read_only = tempfile::tempdir().unwrap();
        std::fs::write(read_only.path().join("c"), b"c").unwrap();
        let rules = Rules {
            paths: vec![PathRule::new(own.path(), ReadWrite), PathRule::new(read_only.path(), Read)],
            ..Rules::default()
        };
        let outcome = in_child(|| {
            let held = File::open(other.path().join("b")).unwrap();
            restrict(&rules, false).unwrap();
            let refused = |r: std::io::Result<()>| r.is_err_and(|e| e.raw_os_error() == Some(libc::EACCES));
            assert!(std::fs::read(own.path().join("a")).is_ok());
            std::fs::write(own.path().join("new"), b"x").unwrap();
            std::fs::rename(own.path().join("new"), own.path().join("renamed")).unwrap();
            std::fs::remove_file(own.path().join("renamed")).unwrap();
            assert!(std::fs::read(read_only.path().join("c")).is_ok());
            assert!(refused(std::fs::write(read_only.path().join("c"), b"x")));
            assert!(refused(std::fs::read(other.path().join("b")).map(drop)));
            assert!(refused(std::fs::remove_file(other.path().join("b"))));
            assert!(refused(std::fs::read_dir("/").map(drop)));
            assert!(held.metadata().is_ok(), "what was handed over stays");
        });
        assert_eq!(outcome, crate::spawn::Exit::Code(0));
    }

    #[test]
    fn only_named_ports_can_be_connected_to_and_none_bound() {
        if kernel_abi() < 4 {
            return;
        }
        let (named, foreign) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (named, foreign) = (named.local_addr().unwrap(), foreign.local_addr().unwrap());
        let listeners = (TcpListener::bind(named).ok(), TcpListener::bind(foreign).ok());
        let rules = Rules { connect_ports: vec![named.port()], ..Rules::default() };
        let outcome = in_child(|| {
            restrict(&rules, false).unwrap();
            let errno = |e: std::io::Error| e.raw_os_error();
            assert_ne!(TcpStream::connect(named).map(drop).map_err(errno), Err(Some(libc::EACCES)));
            assert_eq!(TcpStream::connect(foreign).map(drop).map_err(errno), Err(Some(libc::EACCES)));
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop).map_err(errno);
            assert_eq!(bound, Err(Some(libc::EACCES)));
        });
        drop(listeners);
        assert_eq!(outcome, crate::spawn::Exit::Code(0));
    }

    #[test]
    fn a_role_cannot_signal_the_process_that_started_it_but_is_reached_by_it() {
        if kernel_abi() < 6 {
            return;
        }
        let outcome = in_child(|| {
            restrict(&Rules::default(), false).unwrap();
            let parent = nix::unistd::getppid();
            assert_eq!(nix::sys::signal::kill(parent, None), Err(nix::errno::Errno::EPERM));
            let inner = in_child(|| {
                restrict(&Rules::default(), false).unwrap();
                let above = nix::unistd::getppid();
                assert_eq!(nix::sys::signal::kill(above, None), Err(nix::errno::Errno::EPERM));
            });
            assert_eq!(inner, crate::spawn::Exit::Code(0));
            // SAFETY: the child only sleeps.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => {
                    restrict(&Rules::default(), false).unwrap();
                    nix::unistd::pause();
                    std::process::exit(1);
                }
                nix::unistd::ForkResult::Parent { child } => {
                    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
                    nix::sys::wait::waitpid(child, None).unwrap();
                }
            }
        });
        assert_eq!(outcome, crate::spawn::Exit::Code(0));
    }
}
