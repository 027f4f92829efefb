//! What `strace -ff -e raw=all` wrote about a running appliance, read back against the tables of its roles.
//!
//! What does not belong: starting anything, judging what may stay unused. A process counts for the table that holds it
//! at that moment: between fork and its own filter a role is held by the supervisor's envelope, so until then its calls
//! count as the supervisor's. Every call of anybody also counts for the envelope, which all have inherited.

use peri_sandbox::seccomp::{Arg, Op, Role, Rule, table};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One line: a call that was made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    name: String,
    args: Vec<u64>,
    /// What it returned, unless it never did or failed.
    result: Option<u64>,
    /// The line, for whoever reads a failure.
    line: String,
}

/// Which filter holds a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// None yet: the supervisor before its walls, and what it runs then (initdb); filters seen so far.
    Free(u8),
    /// The supervisor behind its walls.
    Supervisor,
    /// A child of the supervisor that is not a program yet; filters of its own so far.
    Child(u8),
    /// A role that has not confined itself; filters of its own so far.
    Starting(Role, u8),
    /// A role behind its walls.
    Narrow(Role),
}

/// Two filters are stacked; after the second the table holds.
const FILTERS: u8 = 2;

/// Which rules were used, and what no rule allows.
#[derive(Default)]
pub(crate) struct Usage {
    /// How often each rule was used.
    used: BTreeMap<(Role, usize), u64>,
    /// Calls behind a role's walls that its table does not allow: the process was killed, or this reader is wrong.
    pub(crate) foreign: BTreeSet<String>,
    /// Calls seen per role, to tell a role that did nothing from one that needs little.
    pub(crate) calls: BTreeMap<Role, u64>,
    /// What the supervisor itself called behind its walls, without its children.
    pub(crate) supervisor: BTreeMap<String, u64>,
    /// Processes and threads that no other one started: the first one, unless the trace is torn.
    pub(crate) roots: usize,
}

impl Usage {
    /// Reads every `PREFIX.PID` of a directory.
    pub(crate) fn read(dir: &Path) -> Self {
        let mut files: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
        for entry in fs::read_dir(dir).expect("the directory of traces can be read") {
            let path = entry.expect("its entries can be read").path();
            let pid = path.extension().and_then(|pid| pid.to_str()).and_then(|pid| pid.parse().ok());
            let text = fs::read(&path).expect("a trace can be read");
            let text = String::from_utf8_lossy(&text);
            files.insert(pid.expect("a trace ends in its pid"), text.lines().filter_map(Call::parse).collect());
        }
        let children: BTreeSet<u64> = files.values().flatten().filter_map(Call::child).collect();
        let mut usage = Self::default();
        let mut todo: Vec<(u64, Held)> =
            files.keys().filter(|pid| !children.contains(pid)).map(|pid| (*pid, Held::Free(0))).collect();
        usage.roots = todo.len();
        while let Some((pid, mut held)) = todo.pop() {
            for call in files.get(&pid).into_iter().flatten() {
                usage.count(held, call);
                if let Some(child) = call.child() {
                    todo.push((child, held.of_child()));
                }
                held = held.after(call);
            }
        }
        usage
    }

    fn count(&mut self, held: Held, call: &Call) {
        if held == Held::Supervisor {
            *self.supervisor.entry(call.name.clone()).or_default() += 1;
        }
        let roles: &[Role] = match held {
            Held::Free(_) => return,
            Held::Supervisor | Held::Child(_) | Held::Starting(..) => &[Role::Supervisor],
            Held::Narrow(role) => &[role, Role::Supervisor],
        };
        for role in roles {
            *self.calls.entry(*role).or_default() += 1;
            let fits = |(_, rule): &(usize, &Rule)| call.fits(rule);
            let matching: Vec<usize> = table(*role).iter().enumerate().filter(fits).map(|(at, _)| at).collect();
            if matching.is_empty() {
                self.foreign.insert(format!("{role}: {}", call.line));
            }
            for at in matching {
                *self.used.entry((*role, at)).or_default() += 1;
            }
        }
    }

    /// Rules of a role that were used once: on another day, perhaps not at all.
    pub(crate) fn once(&self, role: Role) -> Vec<String> {
        let own = |(of, _): &(Role, usize)| *of == role && role != Role::Supervisor;
        let once = self.used.iter().filter(|(key, times)| own(key) && **times == 1);
        once.map(|((_, at), _)| label(&table(role)[*at])).collect()
    }

    /// Rules that nothing used, each with the roles whose table holds it in vain. The envelope is asked only for what it
    /// alone needs: the parts of the roles are judged with the roles.
    pub(crate) fn unused(&self) -> BTreeMap<(String, String), BTreeSet<Role>> {
        let mut unused: BTreeMap<_, BTreeSet<Role>> = BTreeMap::new();
        for role in Role::ALL {
            for (at, rule) in table(role).iter().enumerate() {
                let own = role != Role::Supervisor || ["supervisor", "start", "loader"].contains(&rule.source);
                if own && !self.used.contains_key(&(role, at)) {
                    unused.entry((rule.source.to_owned(), label(rule))).or_default().insert(role);
                }
            }
        }
        unused
    }
}

/// A rule as the golden file writes it: `madvise(2=0x4)`, `openat`.
pub(crate) fn label(rule: &Rule) -> String {
    let condition = |arg: &Arg| {
        let (index, value) = (arg.index, arg.value);
        match arg.op {
            Op::Eq => format!("{index}={value:#x}"),
            Op::MaskedEq(mask) => format!("{index}&{mask:#x}={value:#x}"),
            other => format!("{index} {other:?} {value:#x}"),
        }
    };
    let conditions: Vec<String> = rule.args.iter().map(condition).collect();
    if conditions.is_empty() { rule.syscall.to_owned() } else { format!("{}({})", rule.syscall, conditions.join(",")) }
}

impl Held {
    fn of_child(self) -> Self {
        if self == Self::Supervisor { Self::Child(0) } else { self }
    }

    /// The state after a call returned.
    fn after(self, call: &Call) -> Self {
        // SECCOMP_SET_MODE_FILTER is 1.
        let filter = call.name == "seccomp" && call.args.first() == Some(&1) && call.result == Some(0);
        match self {
            Self::Free(n) if filter && n + 1 == FILTERS => Self::Supervisor,
            Self::Free(n) if filter => Self::Free(n + 1),
            // Only for postgres does the child put the filters on; all others confine themselves.
            Self::Child(n) if filter && n + 1 == FILTERS => Self::Narrow(Role::Postgres),
            Self::Child(n) if filter => Self::Child(n + 1),
            Self::Child(0) if call.name == "execveat" && call.result == Some(0) => match call.role() {
                Some(role) => Self::Starting(role, 0),
                None => self,
            },
            Self::Starting(role, n) if filter && n + 1 == FILTERS => Self::Narrow(role),
            Self::Starting(role, n) if filter => Self::Starting(role, n + 1),
            _ => self,
        }
    }
}

impl Call {
    /// `name(0x1, 0x2) = 0x3`; signals, ends of processes and interrupted halves give `None`.
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once('(')?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return None;
        }
        let (inside, result) =
            rest.rsplit_once(" = ").map_or((rest, ""), |(inside, result)| (inside.trim_end(), result));
        let inside = inside.split(" <unfinished").next().unwrap_or(inside).trim_end_matches(')');
        let args = if name == "execveat" {
            // Not raw, because the words name the role: descriptor first, flags last.
            let flags = if inside.ends_with("AT_EMPTY_PATH") { 0x1000 } else { u64::MAX };
            vec![number(inside.split(',').next()?)?, 0, 0, 0, flags]
        } else {
            inside.split(", ").filter_map(number).collect()
        };
        let result = result.split(' ').next().filter(|word| !word.starts_with('-')).and_then(number);
        Some(Self { name: name.to_owned(), args, result, line: line.to_owned() })
    }

    fn child(&self) -> Option<u64> {
        let starts = ["clone", "clone3", "fork", "vfork"].contains(&self.name.as_str());
        self.result.filter(|pid| starts && *pid > 0)
    }

    fn role(&self) -> Option<Role> {
        let after = self.line.split("\"role\", \"").nth(1)?;
        after.split('"').next()?.parse().ok()
    }

    fn fits(&self, rule: &Rule) -> bool {
        self.name == rule.syscall && rule.args.iter().all(|arg| self.fits_arg(arg))
    }

    fn fits_arg(&self, arg: &Arg) -> bool {
        let narrow = |value: u64| if arg.wide { value } else { value & u64::from(u32::MAX) };
        let (found, value) = (narrow(self.args.get(usize::from(arg.index)).copied().unwrap_or(0)), narrow(arg.value));
        match arg.op {
            Op::Eq => found == value,
            Op::Ne => found != value,
            Op::Ge => found >= value,
            Op::Gt => found > value,
            Op::Le => found <= value,
            Op::Lt => found < value,
            Op::MaskedEq(mask) => found & mask == value & mask,
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
