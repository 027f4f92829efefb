//! Holds the claims in `compliance/` to what exists: a control that names a missing file, a test that is not there or
//! does not run, an unknown status, or "done" without code and test, fails here. So do prose pages that point nowhere.
//!
//! What does not belong: whether a control is met. That is what the tests that it names decide.

mod tree;

use std::collections::BTreeSet;
use std::fs;
use toml::{Table, Value};
use tree::{File, files_below, root};

/// Keys of one `[[control]]`; all but `note` are required, lists may be empty.
const KEYS: [&str; 8] = ["id", "source", "claim", "code", "policy", "test", "status", "note"];

/// `done`: code and at least one test that can fail. `pending`: no claim is made yet; the note says what is missing.
const STATUSES: [&str; 2] = ["done", "pending"];

/// Where a control comes from (`source`); each has its section in `compliance/controls.toml`.
const SOURCES: [&str; 6] = ["attack", "pp-0023", "tr-02102", "gdpr", "asvs", "design"];

/// What every decision record has, in this order.
const DECISION_PARTS: [&str; 5] =
    ["\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Alternatives\n", "\n## Consequences\n"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn controls() -> Vec<Table> {
    let document: Table = read("compliance/controls.toml").parse().expect("controls.toml is TOML");
    let unknown: Vec<_> = document.keys().filter(|key| *key != "control").collect();
    assert!(unknown.is_empty(), "unknown keys in controls.toml: {unknown:?}");
    let controls = document["control"].as_array().expect("controls are a list");
    controls.iter().map(|control| control.as_table().expect("a control is a table").clone()).collect()
}

fn text<'a>(control: &'a Table, key: &str) -> &'a str {
    let value = control.get(key).and_then(Value::as_str);
    value.unwrap_or_else(|| panic!("control {:?}: {key} must be text", control.get("id")))
}

fn list<'a>(control: &'a Table, key: &str) -> Vec<&'a str> {
    let values = control.get(key).and_then(Value::as_array);
    let values = values.unwrap_or_else(|| panic!("control {}: {key} must be a list", text(control, "id")));
    values.iter().map(|value| value.as_str().expect("list items are text")).collect()
}

/// Why the test `path::function` cannot back a claim; `None` when it exists and runs.
fn fault_of_test(name: &str) -> Option<String> {
    let Some((path, function)) = name.split_once("::") else {
        return Some(format!("{name} is not of the form path::function"));
    };
    let Ok(source) = fs::read_to_string(root().join(path)) else {
        return Some(format!("{path} does not exist"));
    };
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| {
        let after = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.strip_prefix(function));
        after.is_some_and(|rest| rest.starts_with(['(', '<']))
    }) else {
        return Some(format!("{path} has no function {function}"));
    };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
    let attributes: Vec<_> = above.filter(|line| line.starts_with('#')).collect();
    if !attributes.iter().any(|line| line.ends_with("test]")) {
        return Some(format!("{function} in {path} is not a test"));
    }
    attributes.iter().any(|line| line.starts_with("#[ignore")).then(|| format!("{name} is ignored, so it never runs"))
}

#[test]
fn every_control_has_the_known_shape_and_its_own_id() {
    let mut ids = BTreeSet::new();
    for control in controls() {
        let id = text(&control, "id");
        assert!(ids.insert(id.to_owned()), "{id} appears twice");
        let unknown: Vec<_> = control.keys().filter(|key| !KEYS.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{id}: unknown keys {unknown:?}");
        assert!(text(&control, "claim").len() > 20, "{id}: the claim says nothing");
        let (source, status) = (text(&control, "source"), text(&control, "status"));
        assert!(SOURCES.contains(&source), "{id}: unknown source {source}");
        assert!(STATUSES.contains(&status), "{id}: unknown status {status}");
    }
}

#[test]
fn every_path_and_test_that_a_control_names_exists() {
    let mut faults = Vec::new();
    for control in controls() {
        let id = text(&control, "id");
        for path in list(&control, "code").into_iter().chain(list(&control, "policy")) {
            if !root().join(path).exists() {
                faults.push(format!("{id}: {path} does not exist"));
            }
        }
        faults
            .extend(list(&control, "test").into_iter().filter_map(fault_of_test).map(|fault| format!("{id}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn done_means_code_and_a_test_and_pending_says_what_is_missing() {
    for control in controls() {
        let (id, status) = (text(&control, "id"), text(&control, "status"));
        let note = control.get("note").map_or("", |_| text(&control, "note"));
        match status {
            "done" => assert!(
                !list(&control, "code").is_empty() && !list(&control, "test").is_empty(),
                "{id} claims to be done without code and test"
            ),
            _ => assert!(!note.is_empty(), "{id} is pending: the note must say what is missing"),
        }
    }
}

#[test]
fn a_control_cannot_be_backed_by_a_test_that_is_not_there() {
    let here = "tests/compliance.rs::a_control_cannot_be_backed_by_a_test_that_is_not_there";
    assert_eq!(fault_of_test(here), None);
    for (name, fault) in [
        ("tests/compliance.rs", "not of the form"),
        ("tests/nowhere.rs::x", "does not exist"),
        ("tests/compliance.rs::nobody_wrote_this", "has no function"),
        ("tests/compliance.rs::fault_of_test", "is not a test"),
    ] {
        assert!(fault_of_test(name).is_some_and(|found| found.contains(fault)), "{name}");
    }
}

#[test]
fn crypto_policy_gives_every_deviation_a_reason_and_every_method_its_last_year() {
    let policy: Table = read("policies/crypto.toml").parse().expect("crypto.toml is TOML");
    let rows = |key: &str| policy[key].as_array().unwrap_or_else(|| panic!("{key} is a list")).clone();
    let text_of = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut used = BTreeSet::new();
    for row in rows("method") {
        let name = text_of(&row, "name");
        assert!(used.insert(name.clone()), "{name} appears twice");
        assert!(!text_of(&row, "purpose").is_empty(), "{name}: what is it used for?");
        let year = row.get("use_by").and_then(Value::as_integer);
        assert!(year.is_some_and(|year| (2026..2100).contains(&year)), "{name}: use_by must be a year");
        assert!(root().join(text_of(&row, "code")).exists(), "{name}: code {} does not exist", text_of(&row, "code"));
    }
    for row in rows("deviation") {
        let name = text_of(&row, "name");
        assert!(used.insert(name.clone()), "{name} is both recommended and a deviation");
        for key in ["where", "reason", "instead", "ends"] {
            assert!(text_of(&row, key).len() > 10, "deviation {name}: {key} is missing");
        }
    }
}

#[test]
fn decisions_are_numbered_and_have_their_five_parts() {
    let mut numbers = BTreeSet::new();
    for file in files_below("compliance/decisions") {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let number: u32 = name.get(..4).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: NNNN-title.md"));
        assert!(numbers.insert(number), "decision {number} exists twice");
        let mut rest = file.source();
        for part in DECISION_PARTS {
            let at = rest.find(part).unwrap_or_else(|| panic!("{name}: {:?} missing or out of order", part.trim()));
            rest = &rest[at + part.len() - 1..];
        }
    }
    let expected: BTreeSet<_> = (1..=u32::try_from(numbers.len()).expect("a small number")).collect();
    assert_eq!(numbers, expected, "decisions are numbered without gaps");
}

/// Paths in backticks that a page names; patterns (`<role>`, `*`, `…`) are not paths.
fn named_paths(page: &File) -> Vec<String> {
    let tops = ["src/", "tests/", "policies/", "compliance/", "scripts/", "image/"];
    let code = page.source().split('`').skip(1).step_by(2);
    code.filter(|span| tops.iter().any(|top| span.starts_with(top)))
        .map(|span| span.split([' ', ':']).next().unwrap_or_default().to_owned())
        .filter(|path| !path.contains(['<', '*', '{', '…']))
        .collect()
}

#[test]
fn pages_point_only_at_what_exists() {
    let pages: Vec<_> = files_below("").into_iter().filter(|file| file.path.ends_with(".md")).collect();
    assert!(pages.iter().any(|page| page.path == "ARCHITECTURE.md"));
    let mut faults = Vec::new();
    for page in &pages {
        for path in named_paths(page) {
            if !root().join(&path).exists() {
                faults.push(format!("{} names {path}, which does not exist", page.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
