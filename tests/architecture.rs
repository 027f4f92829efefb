//! Holds the house in its shape: crate edges, order of members, file headers and sizes, `unsafe` in one crate only,
//! clocks in one module only, and no server binary that could open what it stores.
//!
//! What does not belong: behaviour. A failing test here says which line breaks the design, and where to change the
//! table if the design itself was changed (with a decision in `compliance/decisions/`).

mod tree;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use tree::{File, files_below, root};

/// Every crate in the order of the data, with all the crates of this workspace it may name. What is missing here is
/// the point: nothing above `open` can name it, `roster` cannot reach a disk, `media` cannot seal.
const EDGES: [(&str, &[&str]); 12] = [
    ("peri-domain", &[]),
    ("peri-sandbox", &["peri-domain"]),
    ("peri-media", &["peri-domain"]),
    ("peri-seal", &["peri-domain"]),
    ("peri-roster", &["peri-domain", "peri-seal"]),
    ("peri-ledger", &["peri-domain"]),
    ("peri-access", &["peri-domain", "peri-roster", "peri-seal"]),
    ("peri-store", &["peri-domain", "peri-ledger", "peri-sandbox", "peri-seal"]),
    (
        "peri-appliance",
        &[
            "peri-access",
            "peri-domain",
            "peri-ledger",
            "peri-media",
            "peri-roster",
            "peri-sandbox",
            "peri-seal",
            "peri-store",
        ],
    ),
    ("peri-open", &["peri-domain", "peri-seal"]),
    (
        "peri-client",
        &[
            "peri-access",
            "peri-domain",
            "peri-ledger",
            "peri-media",
            "peri-open",
            "peri-roster",
            "peri-sandbox",
            "peri-seal",
        ],
    ),
    ("peri-proofs", &["peri-access"]),
];

/// Crates that only clients may link.
const CLIENT_ONLY: [&str; 2] = ["peri-open", "peri-client"];

/// Binaries that run on a server. Each is unstripped here, so a linked function of `open` shows in its symbols.
const SERVER_BINARIES: [(&str, &str); 1] = [("peri-appliance", env!("CARGO_BIN_EXE_peri-appliance"))];

/// Binaries of people's own machines: the positive control of the symbol check.
const CLIENT_BINARIES: [(&str, &str); 1] = [("peri", env!("CARGO_BIN_EXE_peri"))];

/// A file is read in one sitting.
const LINES_MAX: usize = 600;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn packages() -> Vec<Value> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages are a list").clone()
}

fn name_of(value: &Value) -> &str {
    value["name"].as_str().expect("a name is text")
}

/// Names of the workspace crates that a package depends on, for one test of the dependency's kind.
fn internal_edges(package: &Value, kind: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().expect("dependencies are a list");
    dependencies.iter().filter(|d| d["path"].is_string() && kind(&d["kind"])).map(name_of).collect()
}

fn rust_files(folder: &str) -> Vec<File> {
    files_below(folder).into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Fails with every fault at once, so that one run shows all that is to be done.
fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whether a file below `src/` holds only tests (`tests.rs`, `tests/…`, `testkit.rs`).
fn is_test_file(file: &File) -> bool {
    file.path.split('/').skip(1).any(|part| part.starts_with("test"))
}

/// The lines that end up in a program, numbered from 1: what stands before the unit tests, without comments. Tests are a
/// module that is written out (`#[cfg(test)] mod … {`) at the end; a line that only names a file of tests ends nothing.
fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = |at: &usize| {
        let after = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*at] == "#[cfg(test)]" && after.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(tests).unwrap_or(lines.len());
    (1..).zip(lines).take(end).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn crates_depend_exactly_on_what_the_table_says() {
    let packages = packages();
    let found: BTreeMap<_, _> =
        packages.iter().map(|package| (name_of(package), internal_edges(package, |kind| kind != "dev"))).collect();
    for (name, allowed) in EDGES {
        let edges = found.get(name).unwrap_or_else(|| panic!("{name} is in the table but not in the workspace"));
        assert_eq!(edges, &allowed.iter().copied().collect::<BTreeSet<_>>(), "edges of {name}");
    }
    let known: BTreeSet<_> = EDGES.iter().map(|(name, _)| *name).chain(["peri"]).collect();
    let unknown: Vec<_> = found.keys().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "crates without a row in the table: {unknown:?}");
}

#[test]
fn members_stand_in_the_order_of_the_data() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    let manifest: toml::Table = manifest.parse().expect("the manifest is TOML");
    let members: Vec<_> = manifest["workspace"]["members"]
        .as_array()
        .expect("members are a list")
        .iter()
        .map(|member| member.as_str().expect("a member is text").replace("src/", "peri-").replace("tests/", "peri-"))
        .collect();
    assert_eq!(members, EDGES.map(|(name, _)| name), "order of members in Cargo.toml");

    let rank = |name: &str| EDGES.iter().position(|(other, _)| *other == name);
    for package in packages().iter().filter(|package| name_of(package) != "peri") {
        for edge in internal_edges(package, |_| true) {
            assert!(
                rank(edge) < rank(name_of(package)),
                "{} depends on {edge}, which stands below it",
                name_of(package)
            );
        }
    }
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    let mut faults = Vec::new();
    for file in rust_files("src").iter().chain(&rust_files("tests")) {
        let first = file.source().lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first.len() <= 20 {
            faults.push(format!("{} does not open with a //! header", file.path));
        }
    }
    report(&faults);
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let mut faults = Vec::new();
    for file in rust_files("src").iter().chain(&rust_files("tests")) {
        let lines = file.source().lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{} has {lines} lines; split it where it has a seam", file.path));
        }
    }
    report(&faults);
}

#[test]
fn unsafe_code_lives_in_the_sandbox_alone_and_says_why_it_is_sound() {
    let mut faults = Vec::new();
    // The proofs have no library, and are no program either.
    let crates = EDGES.iter().filter(|(name, _)| !["peri-sandbox", "peri-proofs"].contains(name));
    let libraries = crates.map(|(name, _)| format!("src/{}/lib.rs", name.trim_start_matches("peri-")));
    let mains: Vec<String> = rust_files("src/bin").into_iter().map(|file| file.path).collect();
    assert_eq!(mains.len(), SERVER_BINARIES.len() + CLIENT_BINARIES.len(), "a main for each binary: {mains:?}");
    for path in libraries.chain(mains) {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        if !text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{path} does not forbid unsafe code"));
        }
    }
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let is_unsafe = |line: &str| words.iter().any(|word| line.contains(word));
    for file in rust_files("src") {
        let lines: Vec<_> = file.source().lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//") && is_unsafe(l)) {
            let place = format!("{}:{}", file.path, at + 1);
            if !file.path.starts_with("src/sandbox/") {
                faults.push(format!("{place}: unsafe outside the sandbox"));
            }
            if !lines[at.saturating_sub(8)..at].iter().any(|l| l.contains("SAFETY") || l.contains("# Safety")) {
                faults.push(format!("{place}: `{}` without a SAFETY comment", line.trim()));
            }
        }
    }
    report(&faults);
}

/// How Rust and its crates read a clock.
const CLOCKS: [&str; 5] = ["SystemTime::now", "Instant::now", "clock_gettime", "gettimeofday", "UnixTime::now"];

#[test]
fn a_file_is_read_up_to_its_written_out_tests_and_not_only_to_the_first_line_of_tests() {
    let named = "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\nInstant::now();\n// Instant::now\n";
    assert!(shipped_lines(named).any(|(number, line)| number == 4 && line.contains("Instant::now")));
    assert_eq!(shipped_lines(named).filter(|(_, line)| line.contains("Instant::now")).count(), 1);
    let attribute = "#[cfg(test)]\npub(crate) fn helper() {\nInstant::now();\n}\nInstant::now();\n";
    assert_eq!(shipped_lines(attribute).count(), 5, "a helper of tests hides nothing that follows it");
    let written_out = "a();\n#[cfg(test)]\nmod tests {\nInstant::now();\n}\n";
    assert_eq!(shipped_lines(written_out).collect::<Vec<_>>(), [(1, "a();")]);
}

#[test]
fn only_the_sandbox_clock_reads_a_clock() {
    let mut faults = Vec::new();
    for file in
        rust_files("src").iter().filter(|file| !file.path.starts_with("src/sandbox/clock") && !is_test_file(file))
    {
        for (number, line) in shipped_lines(file.source()) {
            for call in CLOCKS.iter().filter(|call| line.contains(**call)) {
                faults.push(format!("{}:{number}: {call}; take the time as a parameter", file.path));
            }
        }
    }
    report(&faults);
}

/// The server's binary is a target of the root package, which builds clients too, so cargo would let its main name their
/// crates. It names the appliance alone, whose own tree is looked at here.
#[test]
fn the_policies_are_the_only_decision_point() {
    // Word, and the files that may say it: Cedar answers in one place, facts are made in one place, the roster's own reading
    // of its grants finds words for a refusal and nothing else.
    let places: [(&str, &[&str]); 4] = [
        ("cedar_policy", &["src/access/decide.rs", "src/access/entities.rs", "src/access/policy.rs"]),
        ("Entity::new", &["src/access/entities.rs"]),
        (".is_authorized(", &["src/access/policy.rs"]),
        (".grant_for(", &["src/access/decide.rs"]),
    ];
    let mut faults = Vec::new();
    let files: Vec<_> = rust_files("src").into_iter().filter(|file| !is_test_file(file)).collect();
    for (word, allowed) in places {
        for file in &files {
            let found = shipped_lines(file.source()).any(|(_, line)| line.contains(word));
            if found != allowed.contains(&file.path.as_str()) {
                faults.push(format!(
                    "{}: {word} {}",
                    file.path,
                    if found { "does not belong here" } else { "is gone" }
                ));
            }
        }
    }
    // What makes facts sees no request.
    let facts = files.iter().find(|file| file.path == "src/access/entities.rs").expect("the file of facts");
    for (number, line) in shipped_lines(facts.source()) {
        for word in ["wire", "Request", "decode"].iter().filter(|word| line.contains(**word)) {
            faults.push(format!("{}:{number}: {word}: facts come from the roster alone", facts.path));
        }
    }
    report(&faults);
}

#[test]
fn the_appliance_is_built_from_nothing_that_opens() {
    for (name, _) in SERVER_BINARIES {
        let path = format!("src/bin/{name}.rs");
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let crates: BTreeSet<&str> = code
            .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
            .filter(|word| word.starts_with("peri_"))
            .collect();
        assert_eq!(crates, BTreeSet::from(["peri_appliance"]), "{path} names other crates");
        assert!(!text.contains("include!") && !text.contains("#[path"), "{path} takes code from elsewhere");
    }
    for edges in ["normal", "normal,build"] {
        let tree = cargo(&["tree", "--offline", "--package", "peri-appliance", "--edges", edges, "--prefix", "none"]);
        assert!(tree.contains("peri-seal"), "cargo tree lists what the appliance is built from");
        for forbidden in CLIENT_ONLY {
            assert!(
                !tree.lines().any(|line| line.starts_with(&format!("{forbidden} "))),
                "appliance tree: {forbidden}"
            );
        }
    }
}

/// Every symbol of an ELF file, mangled. Both manglings of Rust carry the crate's name in clear.
fn symbols(path: &str) -> String {
    let output = Command::new("nm").arg(path).output().expect("nm of binutils is installed (scripts/setup)");
    assert!(output.status.success(), "nm {path}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn no_server_binary_contains_a_symbol_that_opens() {
    for (name, path) in SERVER_BINARIES {
        let symbols = symbols(path);
        assert!(
            symbols.contains("peri_appliance"),
            "{name} is stripped, or is not the appliance: the check would be blind"
        );
        for forbidden in CLIENT_ONLY.map(|name| name.replace('-', "_")) {
            let found = symbols.lines().find(|line| line.contains(&forbidden));
            assert!(found.is_none(), "{name} contains {}", found.unwrap_or_default());
        }
    }
    for (name, path) in CLIENT_BINARIES {
        assert!(symbols(path).contains("peri_open"), "positive control: {name} shows no symbol of peri_open");
    }
}

#[test]
fn every_binary_is_known_as_server_or_client() {
    let packages = packages();
    let peri = packages.iter().find(|package| name_of(package) == "peri").expect("the root package is there");
    let is_binary =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"));
    let built: BTreeSet<_> =
        peri["targets"].as_array().expect("targets are a list").iter().filter(is_binary).map(name_of).collect();
    let known: BTreeSet<_> = SERVER_BINARIES.iter().chain(&CLIENT_BINARIES).map(|(name, _)| *name).collect();
    assert_eq!(built, known, "a new binary needs a row in SERVER_BINARIES or CLIENT_BINARIES");
}

#[test]
fn no_file_names_a_machine_or_a_package_host() {
    // In pieces, so that this file does not name them either. Lock files are cargo's own.
    let forbidden: Vec<String> = [
        ["/wo", "rk/"],
        ["/ho", "me/"],
        ["/ro", "ot/."],
        ["crates", ".io"],
        ["npmjs", ".org"],
        ["npmjs", ".com"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["deb.debian", ".org"],
    ]
    .map(|halves| halves.concat())
    .into();
    let mut faults = Vec::new();
    for file in files_below("").iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (line, number) in file.text().unwrap_or_default().lines().zip(1..) {
            for word in forbidden.iter().filter(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{number} names {word}", file.path));
            }
        }
    }
    report(&faults);
}
