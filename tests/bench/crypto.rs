//! What sealing and key wrapping cost by themselves.
//!
//! What does not belong: processes, disks, cameras.

use crate::{Goal, Measure};
use peri_domain::limits::{EPOCH_MAX, RECIPIENTS_MAX};
use peri_domain::{CameraId, EpochNo, Hash, MediaDuration, UtcNanos, VmId};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::keys::KeyPair;
use peri_seal::sealer::{FragmentMeta, Sealer, TailHash, begin};
use peri_seal::secret::{ContentKey, EpochSecret, XSecret, derive_content_key};
use peri_seal::segment::{FragmentKind, encode_head};
use peri_seal::wrap::wrap_epoch;
use peri_seal::{EpochContext, EpochId, EpochRecord, SUITE, rng};
use std::process::Command;
use std::time::Duration;

/// Bytes of one fragment, as in the baseline's command line; a fragment of 250 ms at 4 Mbit/s has twice as many.
const FRAGMENT: usize = 65_536;
const FRAGMENTS: usize = 4_000;
const RECIPIENTS: [usize; 4] = [1, 10, 100, 1_000];

/// Seconds that something takes.
pub(crate) fn seconds(work: impl FnOnce()) -> f64 {
    let clock = SystemClock;
    let from = clock.monotonic();
    work();
    (clock.monotonic() - from).as_secs_f64()
}

/// Seconds at best of three, so that a neighbour on the machine does not count.
pub(crate) fn best(mut work: impl FnMut()) -> f64 {
    (0..3).map(|_| seconds(&mut work)).fold(f64::MAX, f64::min)
}

fn gb_per_s(work: impl FnMut()) -> f64 {
    (FRAGMENTS * FRAGMENT) as f64 / 1e9 / best(work)
}

/// `seal.throughput`: AES-256-GCM, checksum and header, in place; beside it the chain over the sealed bytes.
pub(crate) fn throughput() -> Vec<Measure> {
    let mut sealer = Sealer::new(ContentKey::from_bytes([1; 32]), Hash([2; 32]), 1, 0).expect("run 1, counter 0");
    let mut buffer = Vec::with_capacity(2 * FRAGMENT);
    let meta = FragmentMeta {
        kind: FragmentKind::Media,
        key: false,
        last: false,
        start: UtcNanos::from_secs(1_800_000_000),
        duration: MediaDuration(9_000),
    };
    let seal = gb_per_s(|| {
        for _ in 0..FRAGMENTS {
            buffer.clear();
            let place = begin(&mut buffer);
            // Contents do not matter to the speed; a resize costs what a memset does.
            buffer.resize(place.payload() + FRAGMENT, 7);
            sealer.seal_in_place(meta, &mut buffer, place).expect("within the limits");
        }
    });
    let mut tail = TailHash::new(&Hash([2; 32]));
    let chain = gb_per_s(|| (0..FRAGMENTS).for_each(|_| tail.push(&buffer)));
    let fill = gb_per_s(|| {
        for _ in 0..FRAGMENTS {
            buffer.clear();
            buffer.resize(FRAGMENT, std::hint::black_box(7));
        }
    });
    vec![Measure {
        name: "seal.throughput".into(),
        value: seal,
        unit: "GB/s",
        baseline: openssl(),
        goal: None,
        note: format!(
            "baseline: openssl speed -evp aes-256-gcm -bytes {FRAGMENT}; ours with header, CRC-32C and filling the buffer \
             (alone {fill:.0} GB/s); the SHA-256 chain over sealed fragments, alone: {chain:.2} GB/s"
        ),
    }]
}

fn openssl() -> Option<f64> {
    let output = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "2", "-bytes", &FRAGMENT.to_string(), "-evp", "aes-256-gcm"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // +F:<number>:<name>:<bytes per second>
    let line = text.lines().find(|line| line.starts_with("+F:"))?;
    line.rsplit(':').next()?.parse::<f64>().ok().map(|bytes| bytes / 1e9)
}

/// `wrap.recipients`: which share of a camera's CPU making its epochs takes, for so many people; `recording` is the CPU of
/// recording in seconds per camera-hour.
pub(crate) fn recipients(recording: f64) -> Vec<Measure> {
    let epochs_per_hour = Duration::from_secs(3600).as_secs_f64() / EPOCH_MAX.as_secs_f64();
    let most = *RECIPIENTS.last().unwrap_or(&1);
    let people: Vec<KeyPair> = (0..most).map(|_| KeyPair::generate(&mut rng::system())).collect();
    let device = KeyPair::generate(&mut rng::system());
    let none = epoch(&device, &[]);
    let mut costs = Vec::new();
    for count in RECIPIENTS {
        let times = (200 / count).max(1);
        let best = (0..3)
            .map(|_| seconds(|| (0..times).for_each(|_| _ = epoch(&device, &people[..count]))) / times as f64)
            .fold(f64::MAX, f64::min);
        costs.push(best);
    }
    let percent = |secs: f64| secs * epochs_per_hour / recording * 100.0;
    let further = (costs[costs.len() - 1] - costs[0]) / (most - 1) as f64;
    let note = RECIPIENTS
        .iter()
        .zip(&costs)
        .map(|(count, cost)| format!("{count}: {:.2} ms, {:.2} % of a camera", cost * 1e3, percent(*cost)))
        .collect::<Vec<_>>()
        .join("; ");
    let note = format!(
        "{epochs_per_hour} epochs an hour against {recording:.2} s of recording; an epoch with the wraps of so many people \
         costs {note}; an epoch holds at most {RECIPIENTS_MAX} (beyond, a post key), the last number is of the wraps alone; the \
         head without anybody has {} bytes",
        none
    );
    let measure = |name: &str, value: f64, bound: f64, note: String| Measure {
        name: name.into(),
        value,
        unit: "%",
        baseline: None,
        goal: Some(Goal::ValueAtMost(bound)),
        note,
    };
    vec![
        measure("wrap.recipients.first", percent(costs[0]), 3.0, note),
        measure("wrap.recipients.further", percent(further), 0.2, String::new()),
    ]
}

/// Makes one epoch as keeper does, and returns the length of its head; beyond what an epoch may hold only the wraps.
fn epoch(device: &KeyPair, people: &[KeyPair]) -> usize {
    let (e, x) = (EpochSecret::generate(&mut rng::system()), XSecret::generate(&mut rng::system()));
    let id = EpochId { vm: VmId([1; 16]), camera: CameraId([2; 16]), epoch: EpochNo(1) };
    let key = derive_content_key(&e, &x, &id);
    let starts = UtcNanos::from_secs(1_800_000_000);
    let context = EpochContext {
        suite: SUITE,
        vm: id.vm,
        camera: id.camera,
        epoch: id.epoch,
        starts,
        ends: starts + EPOCH_MAX,
        roster_head: Hash([3; 32]),
        roster_len: 10,
        commit_e: e.commit(),
        commit_x: x.commit(),
        commit_k: key.commit(),
        threshold: 2,
        seats: 3,
    };
    let mut rng = rng::system();
    let wraps: Vec<_> =
        people.iter().map(|pair| wrap_epoch(&mut rng, &e, &context, pair.public()).expect("a fresh key")).collect();
    if people.len() > RECIPIENTS_MAX {
        return wraps.len();
    }
    let record = EpochRecord::sign(context, &wraps, device.signing()).expect("a context within the limits");
    encode_head(&record, &wraps).expect("a head within the limits").len()
}
