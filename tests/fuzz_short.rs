//! The fuzz targets for a bounded time in every test run: the corpus (regressions included) and fresh seeds as they are,
//! then mutations of both for less than a second each. `scripts/fuzz` runs the same targets long, guided by coverage.
//!
//! The sequence of mutations is fixed by a seed that is printed; `PERI_FUZZ_SEED` sets another. An input that fails is kept
//! below `target/fuzz/artifacts/` and named, and belongs into the corpus once it is understood.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "fuzz/parsers.rs"]
mod parsers;
#[path = "fuzz/targets/mod.rs"]
mod targets;
mod tree;

use peri_sandbox::clock::{Clock, SystemClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for the mutations of one target. 38 targets on two threads: about 13 s.
const TIME: Duration = Duration::from_millis(700);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// xorshift64*: small, fixed, and good enough to choose mutations.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(word).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Values at which arithmetic and lengths go wrong.
const EDGES: [u8; 9] = [0, 1, 2, 0x0d, 0x1f, 0x7f, 0x80, 0xfe, 0xff];

fn mutate(bytes: &mut Vec<u8>, pool: &[Vec<u8>], chance: &mut Chance) {
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let len = chance.below(16).min(bytes.len() - at);
        match chance.below(10) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 if at < bytes.len() => bytes[at] = EDGES[chance.below(EDGES.len())],
            3 if at < bytes.len() => bytes[at] = chance.byte(),
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let fill = chance.byte();
                drop(bytes.splice(at..at, core::iter::repeat_n(fill, len)));
            }
            6 => {
                let piece = bytes[at..at + len].to_vec();
                let to = chance.below(bytes.len() + 1);
                drop(bytes.splice(to..to, piece));
            }
            7 => {
                let other = &pool[chance.below(pool.len())];
                let from = chance.below(other.len() + 1);
                let piece = &other[from..other.len().min(from + chance.below(64))];
                drop(bytes.splice(at..at + len, piece.iter().copied()));
            }
            8 if bytes.len() - at >= 2 => {
                // A 16-bit number a little off: lengths and counters.
                let word = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                let word = word.wrapping_add(u16::from(chance.byte() % 9)).wrapping_sub(4);
                bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
            }
            9 if chance.below(8) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("tests/fuzz/corpus").join(name);
    let mut out: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/fuzz --seeds writes it", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    out.sort();
    out
}

/// Runs a target; where it fails, keeps the input and says how to run it again.
fn run(target: &targets::Target, input: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let folder: PathBuf = root().join("target/fuzz/artifacts").join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("short");
        std::fs::write(&path, input).unwrap();
        eprintln!("{} fails with {what}; kept as {}, again with:", target.name, path.display());
        eprintln!("  scripts/fuzz --reproduce {} {}", target.name, path.display());
        std::panic::resume_unwind(panic);
    }
}

fn fuzz(name: &str) {
    let target = targets::find(name).unwrap();
    let clock = SystemClock;
    let seed = std::env::var("PERI_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5045_5249_u64);
    let mut pool = targets::seeds::seeds(name);
    pool.iter().for_each(|seed| run(target, seed, "a fresh seed"));
    assert!(targets::judged() > 0, "no seed of {name} reaches the oracle: the target proves nothing");
    for (file, bytes) in corpus(name) {
        run(target, &bytes, &format!("corpus/{name}/{file}"));
        pool.push(bytes);
    }
    let (start, before) = (clock.monotonic(), targets::judged());
    let (mut chance, mut runs) = (Chance(seed), 0_u64);
    while clock.monotonic() < start + TIME {
        let mut input = pool[chance.below(pool.len())].clone();
        mutate(&mut input, &pool, &mut chance);
        input.truncate(target.max_len);
        run(target, &input, &format!("mutation {runs} of seed {seed}"));
        runs += 1;
    }
    println!("{name}: seed {seed}, {runs} mutations, judged {} times", targets::judged() - before);
}

#[test]
fn rtsp_frames_do_not_depend_on_how_the_bytes_arrive() {
    fuzz("rtsp_wire");
}

#[test]
fn a_camera_session_does_not_depend_on_how_the_bytes_arrive_and_sets_up_one_track() {
    fuzz("rtsp_client");
}

#[test]
fn our_rtsp_server_plays_to_nobody_without_the_password() {
    fuzz("rtsp_server");
}

#[test]
fn junk_in_a_session_description_changes_nothing_and_what_was_read_can_be_written() {
    fuzz("sdp");
}

#[test]
fn an_answer_to_any_challenge_is_taken_by_our_own_server_and_no_other_password_is() {
    fuzz("auth");
}

#[test]
fn rtp_packets_are_written_as_they_were_read_and_never_delivered_twice() {
    fuzz("rtp");
}

#[test]
fn a_compound_of_rtcp_reads_as_the_sum_of_its_parts() {
    fuzz("rtcp");
}

#[test]
fn an_sps_says_to_us_what_it_says_to_an_independent_reader() {
    fuzz("sps");
}

#[test]
fn access_units_survive_packetising_and_taking_apart() {
    fuzz("h264");
}

#[test]
fn fragments_are_read_by_an_independent_reader_with_every_access_unit_once() {
    fuzz("fragment");
}

#[test]
fn the_joiner_keeps_payloads_of_any_fragment_it_takes() {
    fuzz("mp4join");
}

#[test]
fn a_scan_agrees_with_a_naive_one_and_a_prefix_scans_as_a_prefix() {
    fuzz("segment_scan");
}

#[test]
fn what_opens_of_a_changed_segment_is_a_beginning_of_what_was_recorded() {
    fuzz("segment_open");
}

#[test]
fn a_fragment_header_has_one_form() {
    fuzz("fragment_header");
}

#[test]
fn a_key_set_has_one_form_and_no_signature_comes_out_of_nowhere() {
    fuzz("keys");
}

#[test]
fn records_and_wraps_have_one_form_and_only_genuine_ones_open() {
    fuzz("epoch_records");
}

#[test]
fn stored_user_keys_have_one_form_and_only_genuine_ones_open() {
    fuzz("userkey");
}

#[test]
fn no_changed_statement_gets_into_the_roster() {
    fuzz("statement");
}

#[test]
fn provisioning_data_have_one_form_and_a_claim_key() {
    fuzz("provisioning");
}

#[test]
fn only_the_snapshot_that_the_seats_signed_is_believed() {
    fuzz("snapshot");
}

#[test]
fn ledger_entries_and_events_have_one_form() {
    fuzz("ledger_entry");
}

#[test]
fn a_note_verifies_only_as_it_was_signed() {
    fuzz("note");
}

#[test]
fn frames_of_clients_have_one_form_and_no_request_is_forged() {
    fuzz("access_wire");
}

#[test]
fn messages_between_roles_have_one_form() {
    fuzz("messages");
}

#[test]
fn an_accepted_configuration_keeps_its_bounds_and_admits_no_unknown_key() {
    fuzz("config");
}

#[test]
fn a_dns_answer_counts_only_for_its_question() {
    fuzz("dns");
}

#[test]
fn a_spool_opens_to_its_good_beginning() {
    fuzz("spool");
}

#[test]
fn a_root_comes_only_out_of_an_answer_that_holds_it() {
    fuzz("tpm");
}

#[test]
fn only_the_session_certificate_that_the_key_signed_counts() {
    fuzz("certificate");
}

#[test]
fn a_proof_has_one_text_counts_for_one_request_and_is_executed_once() {
    fuzz("proof");
}

#[test]
fn an_invitation_has_one_form_and_enrols_one_key() {
    fuzz("invitation");
}

#[test]
fn a_chain_of_one_time_keys_does_what_its_drawing_says() {
    fuzz("onetime");
}

#[test]
fn counted_attempts_have_one_form_and_a_restart_forgets_none() {
    fuzz("attempts");
}

#[test]
fn what_is_sealed_to_the_device_opens_there_for_its_purpose() {
    fuzz("device_sealed");
}

#[test]
fn files_of_clients_have_one_form_and_no_request_or_certificate_is_forged() {
    fuzz("client_files");
}

#[test]
fn a_typed_time_means_what_it_says() {
    fuzz("typed");
}

#[test]
fn a_struck_key_file_gives_back_what_was_drawn_and_names_the_rest() {
    fuzz("xfile");
}

#[test]
fn leaves_have_one_form() {
    fuzz("leaves");
}

/// Names in the order in which they stand between these marks in a text.
fn between<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// The source of a module of targets.
fn module(name: &str) -> String {
    let path = root().join(format!("tests/fuzz/targets/{name}.rs"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_target_is_run_here_and_has_a_corpus() {
    let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
    // A test runs it: its own attribute stands two lines above.
    let lines: Vec<&str> = include_str!("fuzz_short.rs").lines().collect();
    let mut tested: Vec<&str> = lines
        .windows(3)
        .filter(|three| three[0] == "#[test]")
        .filter_map(|three| three[2].strip_prefix("    fuzz(\"")?.strip_suffix("\");"))
        .collect();
    tested.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(tested, sorted, "targets that are run here, and those that there are");
    // scripts/fuzz reads the list out of the source.
    let listed = std::process::Command::new(root().join("scripts/fuzz")).arg("--list").output().unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().collect::<Vec<_>>(), names, "scripts/fuzz --list");
    let folders = std::fs::read_dir(root().join("tests/fuzz/corpus")).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort_unstable();
    assert_eq!(folders, sorted, "folders of the corpus, and targets");
    assert!(names.iter().all(|name| !corpus(name).is_empty()), "an empty corpus");
}

#[test]
fn every_function_that_is_a_target_is_registered() {
    let list = module("mod");
    for name in between(&list, "pub(crate) mod ", ';') {
        let source = module(name);
        for function in between(&source, "\npub(crate) fn ", '(') {
            let takes_input = source.contains(&format!("\npub(crate) fn {function}(data: &[u8]) {{"));
            assert!(
                !takes_input || list.contains(&format!(", {name}::{function}),")),
                "{name}::{function} is no target"
            );
        }
    }
}

#[test]
fn every_parser_has_a_target_or_a_reason() {
    let listed = parsers::TRIED.iter().map(|(parser, ..)| *parser).chain(parsers::NOT_TRIED.iter().map(|(p, _)| *p));
    let mut faults = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for parser in listed {
        if !known.insert(parser.to_owned()) {
            faults.push(format!("{parser} stands in the table twice"));
        }
    }
    let found = parsers::found();
    let missing = found.difference(&known).map(|p| format!("{p}: write a target, or a row with the reason for none"));
    let gone = known.difference(&found).map(|p| format!("{p} is no parser any more: take its row away"));
    faults.extend(missing.chain(gone));
    let list = module("mod");
    for (parser, target, call) in parsers::TRIED {
        // "target("note", 2048, ledger::note)": the module that must get to the parser.
        let row = list.split(&format!("    target(\"{target}\", ")).nth(1).and_then(|rest| rest.split(", ").nth(1));
        match row.and_then(|function| function.split("::").next()) {
            None => faults.push(format!("{parser}: there is no target {target}")),
            Some(name) if !module(name).contains(call) => faults.push(format!("{parser}: {name}.rs has no {call}")),
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn parsers_are_found_by_name_and_by_what_they_call() {
    let source = "impl<'a, T: X> From<u8> for Thing<T> {\n    pub fn parse_x(\n        bytes: &[u8],\n    ) -> Self {\n    }\n    \
                  fn quiet(&self) {\n        canonical::decode(x)\n    }\n    fn read_into(b: &mut [u8]) {}\n}\npub(crate) fn \
                  from_text(t: &str) {}\nfn decode(n: u8) {}\n#[cfg(test)]\nmod tests {\nfn parse(t: &str) {}\n}\n";
    assert_eq!(parsers::parsers("a.rs", source), ["a.rs Thing::parse_x", "a.rs Thing::quiet", "a.rs from_text"]);
}
