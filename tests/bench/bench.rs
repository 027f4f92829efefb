//! Measures what Peri costs, against baselines in the same run: `scripts/bench [--json FILE] [NAME…]`.
//!
//! A table for people, and with `--json` one line {name, value, unit, baseline, ratio, goal, met} per measurement; ratio
//! is value ÷ baseline. What does not belong: tests. A goal that is missed is said, not asserted: the machine may be busy.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "counts and times far below the limits of a double"
)]

mod access;
mod crypto;
mod ledger;
mod meter;
mod recording;
mod replay;
mod site;
#[path = "../support/mod.rs"]
mod support;

use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// One result.
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The same of something known, in this run.
    pub(crate) baseline: Option<f64>,
    /// What is wanted, of the value or of the ratio; `None`: no goal.
    pub(crate) goal: Option<Goal>,
    /// What a reader must know to judge it.
    pub(crate) note: String,
}

/// A bound.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    ValueAtMost(f64),
    ValueAtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Measure {
    fn ratio(&self) -> Option<f64> {
        self.baseline.map(|baseline| self.value / baseline)
    }

    fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::ValueAtMost(bound) => self.value <= bound,
            Goal::ValueAtLeast(bound) => self.value >= bound,
            Goal::RatioAtMost(bound) => self.ratio()? <= bound,
            Goal::RatioAtLeast(bound) => self.ratio()? >= bound,
        })
    }

    fn goal_text(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::ValueAtMost(bound)) => format!("<= {bound}"),
            Some(Goal::ValueAtLeast(bound)) => format!(">= {bound}"),
            Some(Goal::RatioAtMost(bound)) => format!("ratio <= {bound}"),
            Some(Goal::RatioAtLeast(bound)) => format!("ratio >= {bound}"),
        }
    }

    fn print(&self) {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), short);
        println!(
            "{:<30} {:>9} {:<5} {:>9} {:>7}  {:<14} {}",
            self.name,
            short(self.value),
            self.unit,
            number(self.baseline),
            self.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}")),
            self.goal_text(),
            match self.met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            }
        );
        self.note.lines().for_each(|line| println!("    {line}"));
    }
}

/// Three or more digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A group of measurements that needs nothing but the processor.
type Measuring = fn() -> Vec<Measure>;

/// What can be measured, in the order in which it runs.
const NAMES: [&str; 13] = [
    "seal.throughput",
    "roster.verify_1000",
    "roster.verify_10000_snapshot",
    "wrap.per_second",
    "auth.proof_verify",
    "auth.login",
    "ledger.append_batched",
    "ledger.intent_p99",
    "record.cpu_per_camera_hour",
    "record.pss_per_camera",
    "wrap.recipients",
    "crash.lost_ms",
    "record.cameras_per_core",
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (mut json_file, mut wanted) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--replay" | "--replay-whole" => {
                let material = PathBuf::from(words.next().unwrap_or_default());
                return match replay::serve(&material, word == "--replay-whole") {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("replayer: {error}");
                        ExitCode::FAILURE
                    }
                };
            }
            "--json" => match words.next() {
                Some(file) => json_file = Some(PathBuf::from(file)),
                None => return usage("--json needs a file"),
            },
            // Cargo says so to every bench.
            "--bench" => {}
            name if NAMES.contains(&name) => wanted.push(name.to_owned()),
            other => return usage(&format!("{other:?} is not measured here")),
        }
    }
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    println!("{:<30} {:>9} {:<5} {:>9} {:>7}  {:<14}", "name", "value", "unit", "baseline", "ratio", "goal");
    let mut measures = Vec::new();
    let mut tell = |found: Vec<Measure>| {
        found.iter().for_each(Measure::print);
        measures.extend(found);
    };
    if wants("seal.throughput") {
        tell(crypto::throughput());
    }
    let of_access: [(&str, Measuring); 5] = [
        ("roster.verify_1000", access::roster),
        ("roster.verify_10000_snapshot", access::large_roster),
        ("wrap.per_second", access::wraps),
        ("auth.proof_verify", access::proofs),
        ("auth.login", access::login),
    ];
    for (_, measure) in of_access.iter().filter(|(name, _)| wants(name)) {
        tell(measure());
    }
    if wants("ledger.append_batched") || wants("ledger.intent_p99") {
        tell(ledger::measure(wants("ledger.append_batched"), wants("ledger.intent_p99")));
    }
    let of_recording = ["record.cpu_per_camera_hour", "record.pss_per_camera", "wrap.recipients", "crash.lost_ms"];
    let mut cpu = None;
    if of_recording.iter().any(|name| wants(name)) {
        let mut bench = recording::Bench::start();
        if wants("record.cpu_per_camera_hour") || wants("wrap.recipients") {
            let (found, ours) = bench.cpu(wants("record.cpu_per_camera_hour"));
            cpu = Some(ours);
            tell(found);
        }
        if wants("record.pss_per_camera") {
            tell(bench.memory());
        }
        if wants("crash.lost_ms") {
            tell(bench.crash());
        }
    }
    if let Some(cpu) = cpu.filter(|_| wants("wrap.recipients")) {
        tell(crypto::recipients(cpu));
    }
    if wants("record.cameras_per_core") {
        tell(recording::cameras_per_core());
    }
    match json_file.map(|file| (write_json(&file, &measures), file)) {
        Some((Err(error), file)) => {
            eprintln!("bench: {}: {error}", file.display());
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("bench: {problem}\nusage: scripts/bench [--json FILE] [NAME…]\nnames: {}", NAMES.join(" "));
    ExitCode::from(2)
}

fn write_json(path: &std::path::Path, measures: &[Measure]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for measure in measures {
        let line = json!({
            "name": measure.name, "value": measure.value, "unit": measure.unit, "baseline": measure.baseline,
            "ratio": measure.ratio(), "goal": measure.goal.map(|_| measure.goal_text()), "met": measure.met(),
        });
        writeln!(file, "{line}")?;
    }
    Ok(())
}
