//! Compiles `policies/seccomp/*.json` to BPF and to the table of rules that tests and documents read.
//!
//! What does not belong: any rule. Fails the build on a rule without a reason (see `policy.rs`).

#[path = "policy.rs"]
#[allow(dead_code)]
mod policy;

use policy::{Condition, Policy, Rule};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// Names of `seccomp::Role`, in its order.
const ROLES: [&str; 7] = ["supervisor", "recorder", "keeper", "scribe", "portal", "postgres", "migrate"];
/// The filter that goes first: calls that are answered "not implemented", so that libc falls back to older ones.
const FIRST: &str = "fallback";

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = std::env::var("CARGO_MANIFEST_DIR")?;
    let folder = Path::new(&manifest).join("../../policies/seccomp");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=policy.rs");
    let mut policies = BTreeMap::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let name = path.file_stem().and_then(|s| s.to_str()).ok_or("a policy's name is UTF-8")?.to_owned();
            println!("cargo::rerun-if-changed={}", path.display());
            policies.insert(name.clone(), policy::parse(&name, &std::fs::read_to_string(&path)?)?);
        }
    }
    let mut code = String::new();
    let first = policies.get(FIRST).ok_or("policies/seccomp/fallback.json is missing")?;
    emit(&mut code, FIRST, first, &first.rules)?;
    for role in ROLES {
        let rules = policy::resolve(role, &policies)?;
        emit(&mut code, role, &policies[role], &rules)?;
    }
    unused(&policies)?;
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("seccomp.rs"), code)?;
    Ok(())
}

/// A fragment that no role reaches would look like a promise.
fn unused(policies: &BTreeMap<String, Policy>) -> Result<(), Box<dyn Error>> {
    let included = |name: &String| policies.values().any(|p| p.include.contains(name));
    match policies.keys().find(|name| !ROLES.contains(&name.as_str()) && *name != FIRST && !included(name)) {
        Some(name) => Err(format!("policies/seccomp/{name}.json belongs to no role; remove it").into()),
        None => Ok(()),
    }
}

fn emit(code: &mut String, name: &str, policy: &Policy, rules: &[Rule]) -> Result<(), Box<dyn Error>> {
    let text = to_seccompiler(name, &policy.mismatch_action, &policy.match_action, rules);
    let compiled = seccompiler::compile_from_json(text.as_bytes(), seccompiler::TargetArch::x86_64)?;
    let program = compiled.get(name).ok_or("seccompiler lost a policy")?;
    let upper = name.to_uppercase();
    writeln!(code, "static {upper}_BPF: [seccompiler::sock_filter; {}] = [", program.len())?;
    for i in program {
        let (c, t, f, k) = (i.code, i.jt, i.jf, i.k);
        writeln!(code, "    seccompiler::sock_filter {{ code: {c}, jt: {t}, jf: {f}, k: {k} }},")?;
    }
    writeln!(code, "];\nstatic {upper}_RULES: [Rule; {}] = [", rules.len())?;
    for rule in rules {
        let conditions: Vec<String> = rule.conditions.iter().map(condition).collect();
        writeln!(
            code,
            "    Rule {{ syscall: {:?}, number: libc::SYS_{}, args: &[{}], comment: {:?}, source: {:?} }},",
            rule.syscall,
            rule.syscall,
            conditions.join(", "),
            rule.comment,
            rule.source
        )?;
    }
    writeln!(code, "];")?;
    Ok(())
}

fn condition(c: &Condition) -> String {
    let op = match c.op.as_str() {
        "eq" => "Op::Eq".to_owned(),
        "ne" => "Op::Ne".to_owned(),
        "ge" => "Op::Ge".to_owned(),
        "gt" => "Op::Gt".to_owned(),
        "le" => "Op::Le".to_owned(),
        "lt" => "Op::Lt".to_owned(),
        _ => format!("Op::MaskedEq({:#x})", c.mask.unwrap_or_default()),
    };
    format!("Arg {{ index: {}, wide: {}, op: {op}, value: {:#x} }}", c.index, c.wide, c.value)
}

/// The JSON that seccompiler compiles.
fn to_seccompiler(name: &str, mismatch: &Value, action: &Value, rules: &[Rule]) -> String {
    let filter: Vec<Value> = rules.iter().map(rule_json).collect();
    json!({ name: { "mismatch_action": mismatch, "match_action": action, "filter": filter } }).to_string()
}

fn rule_json(rule: &Rule) -> Value {
    let args: Vec<Value> = rule
        .conditions
        .iter()
        .map(|c| {
            let op = c.mask.map_or_else(|| json!(c.op), |mask| json!({ "masked_eq": mask }));
            json!({ "index": c.index, "type": if c.wide { "qword" } else { "dword" }, "op": op, "val": c.value })
        })
        .collect();
    if args.is_empty() { json!({ "syscall": rule.syscall }) } else { json!({ "syscall": rule.syscall, "args": args }) }
}
