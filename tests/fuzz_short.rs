//! The fuzz targets for a bounded time in every test run: the corpus (regressions included) and fresh seeds as they are,
//! then mutations of both for about a second each. `scripts/fuzz` runs the same targets long, guided by coverage.
//!
//! The sequence of mutations is fixed by a seed that is printed; `PERI_FUZZ_SEED` sets another. An input that fails is kept
//! below `target/fuzz/artifacts/` and named, and belongs into the corpus once it is understood.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "fuzz/targets/mod.rs"]
mod targets;

use peri_sandbox::clock::{Clock, SystemClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for the mutations of one target. 28 targets on two threads: about 14 s.
const TIME: Duration = Duration::from_millis(900);

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
fn every_target_is_run_here_and_has_a_corpus() {
    let source = include_str!("fuzz_short.rs");
    for target in targets::TARGETS {
        assert!(source.contains(&format!("    fuzz(\"{}\");", target.name)), "{} is not run", target.name);
        assert!(!corpus(target.name).is_empty(), "{} has no corpus", target.name);
    }
}
