//! Proofs about the access policies as they are compiled in, by SymCC and cvc5: for every person, camera, grant and moment
//! that the schema can express, not for examples.
//!
//! `policies/access/properties/never` describes requests that must never be allowed; a proof is that the policies and
//! such a file have no request in common. `properties/always` describes requests that must be allowed: the policies
//! cannot pass by denying everything. Then the proofs are put to the test themselves: every condition of every policy is
//! taken away, one at a time, and a proof must fail with a counterexample that Cedar really allows.
//!
//! What does not belong: whether facts are copied rightly from the roster (`tests/access.rs`).

#[path = "../tree/mod.rs"]
mod tree;

use cedar_policy::{Authorizer, Decision, Policy, PolicySet, RequestEnv};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet};
use peri_access::policy::{FILES, Policies};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tokio::process::Command;
use tree::{files_below, root};

/// Milliseconds of wall clock for one query; the slowest takes a hundredth of it.
const LIMIT: &str = "--tlimit=60000";

/// A file of `properties`, by its name.
struct Property {
    name: String,
    requests: PolicySet,
}

fn properties(kind: &str) -> Vec<Property> {
    let folder = format!("policies/access/properties/{kind}");
    let read = |file: tree::File| Property {
        name: file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".cedar").to_owned(),
        requests: file.source().parse().unwrap_or_else(|error| panic!("{}: {error}", file.path)),
    };
    let found: Vec<_> = files_below(&folder).into_iter().map(read).collect();
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

/// The solver, in a process of its own.
struct Prover {
    symcc: CedarSymCompiler<LocalSolver>,
    envs: Vec<RequestEnv>,
}

impl Prover {
    fn start() -> Self {
        let python = root().join("target/tools/venv/bin/python");
        let mut command = Command::new(&python);
        command.arg("-I").arg(root().join("tests/proofs/solver.py")).arg(LIMIT).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command)
            .unwrap_or_else(|error| panic!("{} (made by scripts/setup): {error}", python.display()));
        let envs: Vec<_> = Policies::shipped().schema().request_envs().collect();
        assert_eq!(envs.len(), 21, "three kinds of askers, three looks, three readings and inviting");
        Self { symcc: CedarSymCompiler::new(solver).expect("a solver"), envs }
    }

    fn compiled(set: &PolicySet, env: &RequestEnv) -> CompiledPolicySet {
        CompiledPolicySet::compile(set, env, Policies::shipped().schema())
            .unwrap_or_else(|error| panic!("{env:?}: {error}"))
    }

    /// A request that both sets allow, as text. The counterexample is replayed on Cedar itself.
    async fn common(&mut self, policies: &PolicySet, requests: &PolicySet) -> Option<String> {
        for env in &self.envs {
            let (one, two) = (Self::compiled(policies, env), Self::compiled(requests, env));
            let found = self.symcc.check_disjoint_with_counterexample_opt(&one, &two).await;
            if let Some(example) = found.unwrap_or_else(|error| panic!("{env:?}: {error}")) {
                for set in [policies, requests] {
                    let answer = Authorizer::new().is_authorized(&example.request, set, &example.entities);
                    assert_eq!(answer.decision(), Decision::Allow, "a counterexample that is none: {example}");
                }
                return Some(example.to_string());
            }
        }
        None
    }

    /// A request that `requests` allows and `policies` does not.
    async fn missing(&mut self, policies: &PolicySet, requests: &PolicySet) -> Option<String> {
        for env in &self.envs {
            let (one, two) = (Self::compiled(requests, env), Self::compiled(policies, env));
            let found = self.symcc.check_implies_with_counterexample_opt(&one, &two).await;
            if let Some(example) = found.unwrap_or_else(|error| panic!("{env:?}: {error}")) {
                return Some(example.to_string());
            }
        }
        None
    }

    /// The first property that does not hold of `policies`, and why.
    async fn broken(&mut self, policies: &PolicySet, never: &[Property], always: &[Property]) -> Option<String> {
        for property in never {
            if let Some(example) = self.common(policies, &property.requests).await {
                return Some(format!("{} is possible: {example}", property.name));
            }
        }
        for property in always {
            if let Some(example) = self.missing(policies, &property.requests).await {
                return Some(format!("{} is denied: {example}", property.name));
            }
        }
        None
    }
}

/// `set` with one policy put in place of another, or without it.
fn replaced(set: &PolicySet, old: &Policy, new: Option<Policy>) -> PolicySet {
    let others = set.policies().filter(|policy| policy.id() != old.id()).cloned();
    PolicySet::from_policies(others.chain(new)).expect("ids stay apart")
}

#[tokio::test]
async fn what_must_never_be_allowed_never_is() {
    let mut prover = Prover::start();
    for property in properties("never") {
        let found = prover.common(Policies::shipped().set(), &property.requests).await;
        assert_eq!(found, None, "{} is possible", property.name);
    }
}

#[tokio::test]
async fn whom_the_custodians_named_is_never_denied() {
    let mut prover = Prover::start();
    for property in properties("always") {
        let found = prover.missing(Policies::shipped().set(), &property.requests).await;
        assert_eq!(found, None, "{} is denied", property.name);
    }
}

#[tokio::test]
async fn no_policy_ever_fails_to_evaluate() {
    let mut prover = Prover::start();
    let (shipped, mut checked) = (Policies::shipped(), 0);
    for policy in shipped.set().policies() {
        for env in &prover.envs {
            let compiled = cedar_policy_symcc::CompiledPolicy::compile(policy, env, shipped.schema());
            let compiled = compiled.unwrap_or_else(|error| panic!("{}: {error}", policy.id()));
            let holds = prover.symcc.check_never_errors_opt(&compiled).await.expect("the solver answers");
            assert!(holds, "{} can fail in {env:?}", policy.id());
            checked += 1;
        }
    }
    assert_eq!(checked, 21 * shipped.set().policies().count());
}

/// A property that describes no request at all would be proved of anything.
#[tokio::test]
async fn every_property_describes_requests_that_can_be_made() {
    let mut prover = Prover::start();
    let anybody: PolicySet = "permit (principal, action, resource);".parse().expect("a policy");
    for property in properties("never").into_iter().chain(properties("always")) {
        for policy in property.requests.policies() {
            let alone = PolicySet::from_policies([policy.clone()]).expect("one policy");
            let found = prover.common(&anybody, &alone).await;
            assert!(found.is_some(), "{}: nobody can ask this: {policy}", property.name);
        }
    }
}

#[tokio::test]
async fn without_any_one_condition_a_proof_fails() {
    let mut prover = Prover::start();
    let (never, always) = (properties("never"), properties("always"));
    let (set, mut idle, mut mutants) = (Policies::shipped().set(), Vec::new(), 0);
    for policy in set.policies() {
        let json = policy.to_json().expect("policies have a JSON form");
        let conditions = json["conditions"].as_array().map_or(0, Vec::len);
        let mut changed: Vec<(String, Option<Policy>)> = vec![("the whole policy".to_owned(), None)];
        for number in 0..conditions {
            let mut json = json.clone();
            json["conditions"].as_array_mut().expect("a list").remove(number);
            let weaker = Policy::from_json(Some(policy.id().clone()), json).expect("one condition less");
            changed.push((format!("condition {}", number + 1), Some(weaker)));
        }
        for (what, weaker) in changed {
            mutants += 1;
            if prover.broken(&replaced(set, policy, weaker), &never, &always).await.is_none() {
                idle.push(format!("{}: nothing breaks without {what}", policy.id()));
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
    assert!(mutants > 30, "only {mutants} mutants");
}

/// Changes that somebody might make in good faith: file, old text, new text, the property that must fail.
const MISTAKES: [(&str, &str, &str, &str); 16] = [
    ("pictures.cedar", "[Role::\"viewer\",", "[Role::\"auditor\", Role::\"viewer\",", "auditor-looks"),
    ("pictures.cedar", "[Role::\"viewer\",", "[Role::\"administrator\", Role::\"viewer\",", "administrator-looks"),
    ("pictures.cedar", "when { context has grant && !context.grant.revoked }\n", "", "looks-with-revoked-grant"),
    ("pictures.cedar", "context.now < context.grant.until", "context.now <= context.grant.until", EARLY_OR_LATE),
    ("pictures.cedar", "context.until <= context.grant.until", "context.from <= context.grant.until", OUTSIDE),
    ("pictures.cedar", "when { context.inHours }\n", "", "looks-outside-the-hours"),
    ("pictures.cedar", "post.members.contains(principal)", "post.keys.contains(context.key)", OTHERS_POST),
    ("pictures.cedar", "post.keys.contains(context.grant.recipient)", "post.keys.contains(context.key)", OTHERS_POST),
    ("pictures.cedar", "context.grant.post.inOffice else true", "true else true", "looks-through-post-out-of-office"),
    ("pictures.cedar", "context.grant has account && context.grant.account == principal", "true", FOREIGN_GRANT),
    ("pictures.cedar", "when { !resource.registered };", ";", "technician-after-registration"),
    ("pictures.cedar", "rights.contains(Right::\"export\")", "rights.contains(Right::\"playback\")", RIGHT),
    ("pictures.cedar", "action == Action::\"watchLive\", resource is Camera", "action, resource is Camera", UNGRANTED),
    ("never.cedar", "unless { principal.vm == resource.vm };", "unless { true };", "owner-or-reseller-looks"),
    ("reading.cedar", "action == Action::\"readHealth\", resource)", "action, resource)", "ledger-read-by-others"),
    ("inviting.cedar", "when { principal.role == Role::\"administrator\" }", "", "others-invite"),
];
const EARLY_OR_LATE: &str = "looks-with-expired-or-early-grant";
const OUTSIDE: &str = "looks-outside-the-window";
const RIGHT: &str = "looks-without-the-right";
const OTHERS_POST: &str = "looks-through-post-of-others";
const FOREIGN_GRANT: &str = "looks-with-foreign-grant";
const UNGRANTED: &str = "looks-without-grant";

#[tokio::test]
async fn plausible_mistakes_are_found_by_the_proof_they_break() {
    let mut prover = Prover::start();
    let never: BTreeMap<_, _> = properties("never").into_iter().map(|p| (p.name, p.requests)).collect();
    let mut faults = String::new();
    for (file, old, new, property) in MISTAKES {
        let mut set = PolicySet::new();
        for (name, text) in FILES {
            let text = if name == file {
                assert_eq!(text.matches(old).count(), 1, "{file}: {old:?} must stand there once");
                text.replace(old, new)
            } else {
                text.to_owned()
            };
            for policy in text.parse::<PolicySet>().unwrap_or_else(|error| panic!("{new:?}: {error}")).policies() {
                let id = policy.annotation("id").expect("every policy has an id");
                set.add(policy.new_id(id.parse().expect("an id"))).expect("ids stay apart");
            }
        }
        if prover.common(&set, &never[property]).await.is_none() {
            writeln!(faults, "{file}: {new:?} for {old:?} passes as {property}").expect("text");
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// What the solver program answers to a script, line by line.
fn answers(arguments: &[&str], script: &str) -> Vec<String> {
    let mut child = std::process::Command::new(root().join("target/tools/venv/bin/python"))
        .arg("-I")
        .arg(root().join("tests/proofs/solver.py"))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("scripts/setup made it");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), script.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    std::str::from_utf8(&output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn the_prover_refuses_what_it_cannot_read() {
    let script =
        "(set-logic ALL)\n(declare-const x Bool)\n; (assert\n(assert (and x (not x)))\n(check-sat)\n(prove-it)\n";
    let lines = answers(&[], script);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "unsat");
    assert!(lines[1].starts_with("(error \"") && lines[1].contains("prove-it"), "{}", lines[1]);
}

/// SymCC resets the solver before each question, and a reset forgets options.
#[test]
fn a_question_that_takes_too_long_is_unknown_after_a_reset_too() {
    let cubes = "(and (> x 2) (> y 2) (> z 2) (= (+ (* x x x) (* y y y)) (* z z z)))";
    let consts = "(declare-const x Int)\n(declare-const y Int)\n(declare-const z Int)";
    let question = format!("(reset)\n(set-logic ALL)\n{consts}\n(assert {cubes})\n(check-sat)\n");
    let lines = answers(&["--tlimit=100"], &question.repeat(2));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("unknown")), "{lines:?}");
}
