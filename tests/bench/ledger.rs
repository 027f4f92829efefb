//! How fast the ledger takes entries: PostgreSQL as shipped, every commit waits for the disk.
//!
//! What does not belong: the spool, verification.

use crate::Measure;
use crate::support::Dir;
use peri_domain::{Hash, Nonce};
use peri_ledger::{CheckpointSigner, EntryType, Event, LedgerKeys, LedgerSigner};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_seal::rng;
use peri_store::db::Db;
use peri_store::testdb::TestDb;
use std::io::Write as _;
use std::time::Duration;

const ORIGIN: &str = "peri/bench";
/// Entries of the throughput, in batches as large as they come.
const BATCHED: usize = 20_000;
/// Single intents.
const INTENTS: usize = 400;

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|i| {
            Event::new(EntryType::DisclosureIntent, SystemClock.utc())
                .with_digest(Hash([7; 32]))
                .with_detail(Nonce([1; 16]), &(i as u64))
        })
        .collect()
}

/// `ledger.append_batched` and `ledger.intent_p99`.
pub(crate) fn measure(batched: bool, intents: bool) -> Vec<Measure> {
    let cluster = TestDb::start_durable();
    let mut db = cluster.db(ORIGIN);
    let mut found = Vec::new();
    let keys = LedgerKeys::generate(ORIGIN, &mut rng::system()).expect("an origin");
    let mut signer = LedgerSigner::new(keys, rng::system());
    append(&mut db, &events(300), &mut signer);
    if batched {
        let events = events(BATCHED);
        let took = append(&mut db, &events, &mut signer);
        found.push(Measure {
            name: "ledger.append_batched".into(),
            value: BATCHED as f64 / took.as_secs_f64(),
            unit: "1/s",
            baseline: None,
            goal: None,
            note: format!("{BATCHED} disclosure intents with details, hashed, signed and durable"),
        });
    }
    if intents {
        let event = events(1);
        let ours = p99((0..INTENTS).map(|_| append(&mut db, &event, &mut signer)));
        let dir = Dir::new("bench-sync");
        let mut file = std::fs::File::create(dir.join("file")).expect("a file");
        let sync = p99((0..INTENTS).map(|_| {
            timed(|| {
                file.write_all(&[7; 4096]).expect("the disk takes it");
                file.sync_data().expect("the disk keeps it");
            })
        }));
        found.push(Measure {
            name: "ledger.intent_p99".into(),
            value: ours,
            unit: "ms",
            baseline: Some(sync),
            goal: None,
            note: format!(
                "{INTENTS} intents one by one; baseline: 4 KiB appended and fdatasync, 99th percentile, same disk"
            ),
        });
    }
    found
}

fn append(db: &mut Db, events: &[Event], signer: &mut dyn CheckpointSigner) -> Duration {
    timed(|| drop(db.append(events, None, signer).expect("the database takes it")))
}

fn timed(work: impl FnOnce()) -> Duration {
    let clock = SystemClock;
    let from = clock.monotonic();
    work();
    clock.monotonic() - from
}

/// 99th percentile in milliseconds.
fn p99(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().unwrap_or(0.0)
}
