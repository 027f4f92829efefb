//! What processes cost: CPU time and memory of a tree of processes, from `/proc`.
//!
//! What does not belong: what is measured. Invariant: CPU time of a process that ended between two readings is counted,
//! through its parent.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use peri_sandbox::clock::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::time::Duration;

/// CPU seconds by name of role.
pub(crate) type Shares = BTreeMap<String, f64>;

struct Process {
    id: u32,
    parent: u32,
    /// User and system, of the process's own and of the children it waited for.
    cpu: f64,
}

/// Everything below a process, itself included.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.id));
        at += 1;
    }
    found
}

/// CPU seconds that the trees below `roots` used so far, by role.
pub(crate) fn cpu(roots: &[u32]) -> Shares {
    let all = processes();
    let mut shares = Shares::new();
    for id in roots.iter().flat_map(|root| tree(*root)) {
        if let Some(process) = all.iter().find(|p| p.id == id) {
            *shares.entry(role(id)).or_default() += process.cpu;
        }
    }
    shares
}

/// CPU seconds used by the trees during `span`, by role, and the time that really passed.
pub(crate) fn cpu_during(roots: &[u32], span: Duration) -> (Shares, Duration) {
    let from = SystemClock.monotonic();
    let before = cpu(roots);
    std::thread::sleep(span);
    let mut used = cpu(roots);
    let passed = SystemClock.monotonic() - from;
    for (role, cpu) in &mut used {
        *cpu -= before.get(role).copied().unwrap_or(0.0);
    }
    (used, passed)
}

/// CPU seconds, user and system, that something takes in this process, with what comes out of it.
pub(crate) fn own_cpu<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
        (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
    };
    let before = used();
    let made = work();
    (made, used() - before)
}

/// What a process is called here: the role of an appliance's process, else its program.
pub(crate) fn role(id: u32) -> String {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let mut words = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned());
    let program = words.next().unwrap_or_default();
    let program = program.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    if program == "peri-appliance" {
        let words: Vec<String> = words.collect();
        let name = words.iter().position(|w| w == "role").and_then(|at| words.get(at + 1));
        return name.cloned().unwrap_or_else(|| "supervisor".into());
    }
    program
}

/// Proportional set size in MiB.
pub(crate) fn pss(id: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let kib: f64 = text.lines().find_map(|l| l.strip_prefix("Pss:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}

fn processes() -> Vec<Process> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(id: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, …, utime (11), stime (12), cutime (13), cstime (14).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // USER_HZ is 100 on every architecture of Linux that Peri runs on. Where the scheduler tells nanoseconds, they count
    // for the process's own time: a recorder uses less than a tick in a second.
    let own = tasks(id).unwrap_or((ticks(11)? + ticks(12)?) / 100.0);
    Some(Process { id, parent: fields.get(1)?.parse().ok()?, cpu: own + (ticks(13)? + ticks(14)?) / 100.0 })
}

/// CPU seconds of all threads, to the nanosecond.
fn tasks(id: u32) -> Option<f64> {
    let mut nanos = 0.0;
    for task in std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        nanos += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanos / 1e9)
}
