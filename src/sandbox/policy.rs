//! Reads `policies/seccomp/*.json`, checks them and joins them: shared by build.rs and the tests.
//!
//! What does not belong: BPF (seccompiler compiles), applying. Invariants: a rule without a reason, an unknown key, a
//! system call of [`NEVER`] or an allow-list that does anything but kill on a mismatch fails the build; what a policy
//! includes is named, never copied.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// System calls that stand in no policy: ways to other processes' memory, to code that was not there at start, to
/// kernel interfaces with a record of privilege escalations, and to another security state.
pub(crate) const NEVER: &[&str] = &[
    "execve",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "memfd_create",
    "memfd_secret",
    "pkey_mprotect",
    "personality",
    "modify_ldt",
    "unshare",
    "setns",
    "chroot",
    "pivot_root",
    "mount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "mount_setattr",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "open_by_handle_at",
    "name_to_handle_at",
    "fanotify_init",
    "quotactl",
    "swapon",
    "swapoff",
    "acct",
    "iopl",
    "ioperm",
    "vmsplice",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "vhangup",
    "lookup_dcookie",
    "mknod",
    "mknodat",
];

/// One condition on an argument; all of a rule must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Number of the argument, 0 to 5.
    pub(crate) index: u8,
    /// Compare all 64 bits, not only the lower 32 (the kernel itself looks only at 32 of an `int`).
    pub(crate) wide: bool,
    /// `eq`, `ne`, `ge`, `gt`, `le`, `lt` or `masked_eq`.
    pub(crate) op: String,
    /// Mask of `masked_eq`.
    pub(crate) mask: Option<u64>,
    /// What is compared with.
    pub(crate) value: u64,
}

/// One allowed system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Name as in the kernel's table.
    pub(crate) syscall: String,
    /// Conditions; none allows every argument.
    pub(crate) conditions: Vec<Condition>,
    /// Why the role needs it.
    pub(crate) comment: String,
    /// The policy file that holds it.
    pub(crate) source: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Policies whose rules belong to this one too.
    pub(crate) include: Vec<String>,
    /// What a rule that matches does, in seccompiler's words.
    pub(crate) match_action: Value,
    /// What happens to everything else.
    pub(crate) mismatch_action: Value,
    /// Rules of this file.
    pub(crate) rules: Vec<Rule>,
}

/// Parses the file of the policy `name`.
///
/// # Errors
/// A sentence that names file, rule and remedy.
pub(crate) fn parse(name: &str, text: &str) -> Result<Policy, String> {
    let file = format!("policies/seccomp/{name}.json");
    let value: Value = serde_json::from_str(text).map_err(|e| format!("{file}: {e}"))?;
    let top = value.as_object().filter(|o| o.len() == 1).and_then(|o| o.get(name)).and_then(Value::as_object);
    let body = top.ok_or_else(|| format!("{file}: one object named {name:?} is needed at the top"))?;
    only_keys(body, &["include", "mismatch_action", "match_action", "filter"], &file)?;
    let action = |key: &str| body.get(key).cloned().ok_or_else(|| format!("{file}: {key} is missing"));
    let include = match body.get("include") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list.clone()).map_err(|e| format!("{file}: include: {e}"))?,
    };
    let filter = body.get("filter").and_then(Value::as_array).ok_or_else(|| format!("{file}: filter is missing"))?;
    let rules = filter.iter().map(|rule| parse_rule(rule, name, &file)).collect::<Result<_, _>>()?;
    Ok(Policy { include, match_action: action("match_action")?, mismatch_action: action("mismatch_action")?, rules })
}

fn parse_rule(value: &Value, source: &str, file: &str) -> Result<Rule, String> {
    let rule = value.as_object().ok_or_else(|| format!("{file}: a rule is an object"))?;
    let syscall = rule.get("syscall").and_then(Value::as_str).unwrap_or_default().to_owned();
    let place = format!("{file}: {syscall:?}");
    only_keys(rule, &["syscall", "args", "comment"], &place)?;
    let comment = rule.get("comment").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    if syscall.is_empty() {
        return Err(format!("{place}: a rule without a system call"));
    }
    if comment.len() < 8 {
        return Err(format!("{place}: every rule needs a comment that says why the role needs it"));
    }
    if NEVER.contains(&syscall.as_str()) {
        return Err(format!("{place}: stands in no policy (see NEVER in src/sandbox/policy.rs)"));
    }
    let args = match rule.get("args") {
        None => &Vec::new(),
        Some(Value::Array(args)) if !args.is_empty() => args,
        Some(_) => return Err(format!("{place}: args is a list with at least one condition, or absent")),
    };
    let conditions = args.iter().map(|arg| parse_condition(arg, &place)).collect::<Result<_, _>>()?;
    Ok(Rule { syscall, conditions, comment, source: source.to_owned() })
}

fn parse_condition(value: &Value, place: &str) -> Result<Condition, String> {
    let arg = value.as_object().ok_or_else(|| format!("{place}: a condition is an object"))?;
    only_keys(arg, &["index", "type", "op", "val", "comment"], place)?;
    let number = |key: &str| arg.get(key).and_then(Value::as_u64).ok_or_else(|| format!("{place}: {key} is missing"));
    let wide = match arg.get("type").and_then(Value::as_str) {
        Some("dword") => false,
        Some("qword") => true,
        _ => return Err(format!("{place}: type is dword or qword")),
    };
    let (op, mask) = match arg.get("op") {
        Some(Value::String(op)) if ["eq", "ne", "ge", "gt", "le", "lt"].contains(&op.as_str()) => (op.clone(), None),
        Some(Value::Object(op)) if op.len() == 1 => {
            let mask = op.get("masked_eq").and_then(Value::as_u64);
            ("masked_eq".to_owned(), Some(mask.ok_or_else(|| format!("{place}: masked_eq needs a mask"))?))
        }
        _ => return Err(format!("{place}: unknown op")),
    };
    let index = u8::try_from(number("index")?).ok().filter(|i| *i < 6);
    let index = index.ok_or_else(|| format!("{place}: index is 0 to 5"))?;
    Ok(Condition { index, wide, op, mask, value: number("val")? })
}

fn only_keys(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{place}: unknown key {key:?}")),
        None => Ok(()),
    }
}

/// All rules of a policy with everything it includes, each once, in order of source. A rule without conditions makes
/// conditional ones for the same call moot: they are left out.
///
/// # Errors
/// Includes that do not exist or form a ring; an allow-list whose actions are not kill and allow.
pub(crate) fn resolve(name: &str, all: &BTreeMap<String, Policy>) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = Vec::new();
    collect(name, all, &mut Vec::new(), &mut rules)?;
    let free: Vec<String> = rules.iter().filter(|r| r.conditions.is_empty()).map(|r| r.syscall.clone()).collect();
    let mut kept: Vec<Rule> = Vec::new();
    for rule in rules {
        let moot = !rule.conditions.is_empty() && free.contains(&rule.syscall);
        let known = kept.iter().any(|k| k.syscall == rule.syscall && k.conditions == rule.conditions);
        if !moot && !known {
            kept.push(rule);
        }
    }
    Ok(kept)
}

fn collect(
    name: &str,
    all: &BTreeMap<String, Policy>,
    path: &mut Vec<String>,
    rules: &mut Vec<Rule>,
) -> Result<(), String> {
    let policy = all.get(name).ok_or_else(|| format!("policies/seccomp/{name}.json is included but missing"))?;
    if path.iter().any(|p| p == name) {
        return Err(format!("policies/seccomp/{name}.json includes itself by way of {path:?}"));
    }
    if policy.mismatch_action != json!("kill_process") || policy.match_action != json!("allow") {
        return Err(format!("policies/seccomp/{name}.json: an allow-list kills on mismatch and allows on match"));
    }
    path.push(name.to_owned());
    for included in &policy.include {
        collect(included, all, path, rules)?;
    }
    path.pop();
    rules.extend(policy.rules.iter().cloned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_rule(rule: &str) -> Result<Policy, String> {
        let text = format!(r#"{{"x":{{"mismatch_action":"kill_process","match_action":"allow","filter":[{rule}]}}}}"#);
        parse("x", &text)
    }

    #[test]
    fn a_rule_without_a_reason_or_with_an_unknown_word_fails_the_build() {
        assert!(with_rule(r#"{"syscall":"read","comment":"typed messages"}"#).is_ok());
        for (rule, why) in [
            (r#"{"syscall":"read"}"#, "needs a comment"),
            (r#"{"syscall":"read","comment":"  "}"#, "needs a comment"),
            (r#"{"syscall":"read","comment":"typed messages","arg":[]}"#, "unknown key"),
            (r#"{"syscall":"read","comment":"typed messages","args":[]}"#, "at least one"),
            (r#"{"syscall":"ptrace","comment":"to debug it"}"#, "stands in no policy"),
            (r#"{"syscall":"execve","comment":"to start it"}"#, "stands in no policy"),
            (
                r#"{"syscall":"dup","comment":"long enough","args":[{"index":6,"type":"dword","op":"eq","val":1}]}"#,
                "index",
            ),
            (
                r#"{"syscall":"dup","comment":"long enough","args":[{"index":0,"type":"dword","op":"is","val":1}]}"#,
                "op",
            ),
        ] {
            let error = with_rule(rule).unwrap_err();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }

    #[test]
    fn an_allow_list_that_does_not_kill_and_rings_of_includes_are_refused() {
        let mut policy = with_rule(r#"{"syscall":"read","comment":"typed messages"}"#).unwrap();
        policy.mismatch_action = json!("log");
        let all = BTreeMap::from([("x".to_owned(), policy.clone())]);
        assert!(resolve("x", &all).unwrap_err().contains("kills on mismatch"));
        policy.mismatch_action = json!("kill_process");
        policy.include = vec!["x".to_owned()];
        assert!(resolve("x", &BTreeMap::from([("x".to_owned(), policy)])).unwrap_err().contains("includes itself"));
    }
}
