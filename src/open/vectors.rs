//! Test vectors in `tests/vectors/*.json`, shared with the TypeScript implementation: writing and reading.
//!
//! Each file is `{about, cases: [{name, expect, inputs, outputs}]}`; bytes are lower-case hexadecimal. `expect` is `good`
//! or the class of the error. They are made from fixed seeds, so that this code writes the same files again:
//! `cargo test --release -p peri-open regenerate_vectors -- --ignored`. What does not belong: product code.

mod client;
mod epoch;
mod keys;
mod segment;

use core::convert::Infallible;
use hpke::rand_core::{TryCryptoRng, TryRng};
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos, VmId};
use peri_seal::record::{EpochContext, EpochId, SUITE};
use peri_seal::secret::{EpochSecret, XSecret, derive_content_key};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// SHA-256 in counter mode over a seed: fixed, for tests and vectors only.
pub(crate) struct Rng {
    seed: [u8; 32],
    block: u64,
    left: Vec<u8>,
}

impl Rng {
    pub(crate) fn new(seed: &str) -> Self {
        Self { seed: Sha256::digest(seed).into(), block: 0, left: Vec::new() }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let Ok(()) = self.try_fill_bytes(&mut out);
        out
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            if self.left.is_empty() {
                let block = Sha256::new().chain_update(self.seed).chain_update(self.block.to_be_bytes()).finalize();
                self.left = block.to_vec();
                self.block += 1;
            }
            *byte = self.left.remove(0);
        }
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// A context that commits to these secrets.
pub(crate) fn context(e: &EpochSecret, x: &XSecret, threshold: u8, seats: u8) -> EpochContext {
    let (vm, camera, epoch) = (VmId([0xa1; 16]), CameraId([0xc2; 16]), EpochNo(7));
    EpochContext {
        suite: SUITE,
        vm,
        camera,
        epoch,
        starts: UtcNanos::from_secs(1_795_563_000),
        ends: UtcNanos::from_secs(1_795_563_900),
        roster_head: Hash([0x33; 32]),
        roster_len: 12,
        commit_e: e.commit(),
        commit_x: x.commit(),
        commit_k: derive_content_key(e, x, &EpochId { vm, camera, epoch }).commit(),
        threshold,
        seats,
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

fn case(name: &str, expect: &str, inputs: &Value, outputs: &Value) -> Value {
    json!({ "name": name, "expect": expect, "inputs": inputs, "outputs": outputs })
}

fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut changed = base.clone();
    changed[field] = value;
    changed
}

type Make = fn() -> Value;
type Check = fn(&Value) -> String;
const FILES: [(&str, Make, Check); 8] = [
    ("keys", keys::keys, keys::check_keys),
    ("derive", epoch::derive, epoch::check_derive),
    ("shares", epoch::shares, epoch::check_shares),
    ("wraps", epoch::wraps, epoch::check_wraps),
    ("userkey", keys::userkeys, keys::check_userkeys),
    ("segment", segment::segments, segment::check_segments),
    ("request", client::requests, client::check_requests),
    ("device", client::devices, client::check_devices),
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")).join(format!("{name}.json"))
}

#[test]
fn every_stored_vector_gives_what_it_says() {
    for (file, _, check) in FILES {
        let text = std::fs::read_to_string(path(file)).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(cases.len() >= 3, "{file}");
        for case in cases {
            assert_eq!(check(case), case["expect"].as_str().unwrap(), "{file}: {}", case["name"]);
        }
    }
}

#[test]
fn stored_vectors_are_what_this_version_writes() {
    for (file, make, _) in FILES {
        let text = std::fs::read_to_string(path(file)).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        assert!(stored == make(), "{file}.json differs: a format changed, or the vectors were not regenerated");
    }
}

#[test]
#[ignore = "writes tests/vectors"]
fn regenerate_vectors() {
    for (file, make, _) in FILES {
        let text = serde_json::to_string_pretty(&make()).unwrap();
        std::fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        std::fs::write(path(file), text + "\n").unwrap();
    }
}
