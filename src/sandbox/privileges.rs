//! Giving up what a process does not need: user, capabilities, core dumps, limits, descriptors.
//!
//! What does not belong: deciding who gets which uid. Invariants: every step goes one way; a step that fails is an error
//! and the caller ends. Root of the machine can still read the memory of a role (`gcore` as root works): PR_SET_DUMPABLE
//! keeps out other processes with the same uid, not root.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use std::os::fd::RawFd;

/// A privilege was not given up: the process must end.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}; start as root, or without uids in the configuration")]
pub struct PrivilegeError {
    step: &'static str,
    source: Errno,
}

impl PrivilegeError {
    /// The kernel's answer.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.source
    }
}

const fn failed(step: &'static str) -> impl Fn(Errno) -> PrivilegeError {
    move |source| PrivilegeError { step, source }
}

/// A capability that some role keeps (numbers of linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// CAP_KILL: stopping roles of other uids.
    Kill = 5,
    /// CAP_SETGID: roles' groups.
    SetGid = 6,
    /// CAP_SETUID: roles' users.
    SetUid = 7,
    /// CAP_SYS_ADMIN: mounting the store, in the VM until it is up.
    SysAdmin = 21,
    /// CAP_SYS_BOOT: reboot after an update, in the VM.
    SysBoot = 22,
}

impl Capability {
    /// What the supervisor keeps on a host: starting and stopping roles under their own uids.
    pub const SUPERVISOR: [Self; 3] = [Self::SetUid, Self::SetGid, Self::Kill];

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// CAP_SETPCAP: needed to empty the bounding set.
const SETPCAP: u64 = 1 << 8;
/// Beyond the last capability that any kernel knows; the loop ends at the first unknown one.
const CAPABILITIES: libc::c_ulong = 64;

/// Gives up every capability but those to keep: bounding, ambient, inheritable, permitted and effective sets. Uid 0 is
/// worth nothing after it: a later exec gains no capability (securebits NOROOT, locked).
///
/// Without CAP_SETPCAP (not root) the bounding set stays; no_new_privs makes it void.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_only(keep: &[Capability]) -> Result<(), PrivilegeError> {
    let wanted = keep.iter().fold(0, |set, c| set | c.bit());
    let held = capabilities()?;
    prctl("PR_CAP_AMBIENT_CLEAR_ALL", libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    if held & SETPCAP != 0 {
        for number in 0..CAPABILITIES {
            if wanted & (1 << number) != 0 {
                continue;
            }
            match prctl("PR_CAPBSET_DROP", libc::PR_CAPBSET_DROP, number) {
                Ok(()) => {}
                Err(e) if e.source == Errno::EINVAL => break,
                Err(e) => return Err(e),
            }
        }
        // SECBIT_NOROOT | its lock | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | its lock
        // (linux/securebits.h). NO_SETUID_FIXUP stays off: leaving uid 0 must empty the sets.
        const SECUREBITS: libc::c_ulong = 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7;
        prctl("PR_SET_SECUREBITS", libc::PR_SET_SECUREBITS, SECUREBITS)?;
    }
    set_capabilities(wanted & held)
}

/// Becomes another user for good: no supplementary groups, real, effective and saved ids alike. From uid 0 this empties
/// the capability sets.
///
/// # Errors
/// When not privileged.
pub fn become_user(uid: u32, gid: u32) -> Result<(), PrivilegeError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(failed("setgroups"))?;
    setresgid(group, group, group).map_err(failed("setresgid"))?;
    setresuid(user, user, user).map_err(failed("setresuid"))
}

/// No exec gains privileges from here on.
///
/// # Errors
/// Never on a kernel with seccomp.
pub fn no_new_privileges() -> Result<(), PrivilegeError> {
    prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// No core dump and no tracer of the same uid. An exec switches it back on, so each role calls this itself.
///
/// # Errors
/// Never.
pub fn undumpable() -> Result<(), PrivilegeError> {
    prctl("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 0)
}

/// Files made from here on are for this user alone.
pub fn private_files() {
    umask(Mode::from_bits_truncate(0o077));
}

/// Ends this process when `parent` ends. To be called after the last change of uid, which clears it (prctl(2)).
///
/// # Errors
/// `ESRCH` when the parent has ended already.
pub fn end_with(parent: Pid) -> Result<(), PrivilegeError> {
    prctl("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    if getppid() == parent { Ok(()) } else { Err(failed("parent")(Errno::ESRCH)) }
}

/// Bounds of a process; `None` leaves one as it is. Core dumps are always off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors.
    pub open_files: Option<u64>,
    /// Processes and threads of the uid; only for a uid that belongs to one role.
    pub processes: Option<u64>,
    /// Address space in bytes.
    pub address_space: Option<u64>,
    /// Heap and private writable mappings in bytes.
    pub data: Option<u64>,
    /// Locked memory in bytes.
    pub locked: Option<u64>,
    /// Longest file in bytes; writing beyond raises SIGXFSZ.
    pub file_size: Option<u64>,
}

/// Sets soft and hard limits, none of which can be raised again without privilege. These are upper bounds: where the
/// present hard limit is lower already, it stays.
///
/// # Errors
/// Never on a live process.
pub fn limit(limits: &Limits) -> Result<(), PrivilegeError> {
    let all = [
        (Resource::RLIMIT_CORE, Some(0)),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_NPROC, limits.processes),
        (Resource::RLIMIT_AS, limits.address_space),
        (Resource::RLIMIT_DATA, limits.data),
        (Resource::RLIMIT_MEMLOCK, limits.locked),
        (Resource::RLIMIT_FSIZE, limits.file_size),
    ];
    for (resource, value) in all {
        if let Some(value) = value {
            let (_, hard) = getrlimit(resource).map_err(failed("getrlimit"))?;
            let value = value.min(hard);
            setrlimit(resource, value, value).map_err(failed("setrlimit"))?;
        }
    }
    Ok(())
}

/// Closes every descriptor that is not listed. For the first lines of a role's main: whoever owned a closed descriptor
/// must not use it any more.
///
/// # Errors
/// Never on Linux 5.9 or newer.
pub fn close_all_but(keep: &[RawFd]) -> Result<(), PrivilegeError> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut from = 0;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1, 0)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX, 0)
}

/// Marks all descriptors from `first` on as close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), PrivilegeError> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<(), PrivilegeError> {
    // SAFETY: closes or marks descriptors; that nobody uses closed ones is the caller's contract. nix has no wrapper.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).map(drop).map_err(failed("close_range"))
}

fn prctl(step: &'static str, option: libc::c_int, value: libc::c_ulong) -> Result<(), PrivilegeError> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: none of the options used here takes a pointer.
    let result = unsafe { libc::prctl(option, value, NONE, NONE, NONE) };
    Errno::result(result).map(drop).map_err(failed(step))
}

/// `struct __user_cap_header_struct` (capget(2)).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`; version 3 takes two, low and high half.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3.
const VERSION: u32 = 0x2008_0522;

/// The effective set.
fn capabilities() -> Result<u64, PrivilegeError> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both pointers are live and have the layout of version 3; pid 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    Errno::result(result).map_err(failed("capget"))?;
    Ok(u64::from(sets[1].effective) << 32 | u64::from(sets[0].effective))
}

fn set_capabilities(keep: u64) -> Result<(), PrivilegeError> {
    let mut header = Header { version: VERSION, pid: 0 };
    let half = |set: u64| {
        let bits = u32::try_from(set & 0xffff_ffff).expect("masked to 32 bits");
        Sets { effective: bits, permitted: bits, inheritable: 0 }
    };
    let sets = [half(keep), half(keep >> 32)];
    // SAFETY: as in `capabilities`; the call only reads the sets.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    Errno::result(result).map(drop).map_err(failed("capset"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::in_child;
    use crate::spawn::Exit;

    fn status(key: &str) -> String {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().trim_start_matches(':').trim().to_owned()
    }

    #[test]
    fn only_kept_capabilities_remain_and_leaving_root_empties_all() {
        if !Uid::effective().is_root() {
            return;
        }
        let outcome = in_child(|| {
            keep_only(&Capability::SUPERVISOR).unwrap();
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(status(set), "00000000000000e0", "{set}");
            }
            assert_eq!((status("CapInh"), status("CapAmb")), ("0".repeat(16), "0".repeat(16)));
            become_user(64_000, 64_000).unwrap();
            assert_eq!((status("CapPrm"), status("CapEff")), ("0".repeat(16), "0".repeat(16)));
            assert_eq!(status("Groups"), "");
            assert_eq!(status("Uid").split_whitespace().collect::<Vec<_>>(), ["64000"; 4]);
            assert!(become_user(0, 0).is_err());
        });
        assert_eq!(outcome, Exit::Code(0));
    }

    #[test]
    fn hardening_sets_no_new_privileges_no_dump_limits_and_umask() {
        let outcome = in_child(|| {
            no_new_privileges().unwrap();
            undumpable().unwrap();
            private_files();
            limit(&Limits { open_files: Some(16), ..Limits::default() }).unwrap();
            assert_eq!(status("NoNewPrivs"), "1");
            assert_eq!(status("Umask"), "0077");
            // SAFETY: reads a flag.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
            let core = getrlimit(Resource::RLIMIT_CORE).unwrap();
            assert_eq!(core, (0, 0));
            let files: Vec<_> = (0..32).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
            assert!(files.len() < 16);
        });
        assert_eq!(outcome, Exit::Code(0));
    }

    #[test]
    fn all_descriptors_but_the_listed_are_closed() {
        let outcome = in_child(|| {
            let (kept, dropped) = (200, 201);
            // SAFETY: this process of its own has nothing at these numbers.
            unsafe {
                assert_eq!(libc::dup2(2, kept), kept);
                assert_eq!(libc::dup2(2, dropped), dropped);
            }
            close_all_but(&[2, kept, 1]).unwrap();
            // SAFETY: F_GETFD of any number only reads.
            let open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
            assert!(open(1) && open(2) && open(kept) && !open(dropped) && !open(0));
        });
        assert_eq!(outcome, Exit::Code(0));
    }
}
