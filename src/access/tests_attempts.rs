//! Slow-down against a model that remembers everything, floods, restarts, parallel guesses.

use super::*;
use proptest::prelude::*;

const HOUR: i64 = 3600;

fn attempts(max: usize) -> Attempts {
    Attempts::with_room(AttemptKey::from_bytes([7; 32]), max)
}

fn at(secs: i64) -> UtcNanos {
    UtcNanos::from_secs(1_700_000_000 + secs)
}

fn stranger<'a>(name: &'a str, source: &str) -> Attempt<'a> {
    Attempt::Stranger { name, source: Some(source.parse().unwrap()) }
}

fn v4(n: u32) -> IpAddr {
    IpAddr::V4(n.into())
}

#[test]
fn ten_thousand_parallel_guesses_cost_one_hash() {
    let mut all = attempts(1_000);
    let hashes =
        (0..10_000).filter(|n| all.reserve(Attempt::Stranger { name: "anna", source: Some(v4(*n)) }, at(0)).is_ok());
    assert_eq!(hashes.count(), 1, "one name from 10,000 addresses");
    let mut all = attempts(1_000);
    let names: Vec<_> = (0..10_000).map(|n| format!("user{n}")).collect();
    let hashes = names.iter().filter(|name| all.reserve(stranger(name, "192.0.2.1"), at(0)).is_ok()).count();
    assert_eq!(hashes, 1, "10,000 names from one address");
    let hashes = names.iter().enumerate().filter(|(n, name)| {
        let source: IpAddr = format!("2001:db8:1:{n:x}::1").parse().unwrap();
        let source = Some(source);
        all.reserve(Attempt::Stranger { name, source }, at(100)).is_ok()
    });
    assert_eq!(hashes.count(), 1, "10,000 names from 10,000 networks of one site");
}

#[test]
fn the_nth_failure_delays_the_next_by_two_to_the_n_minus_one_up_to_an_hour() {
    let mut all = attempts(1_000);
    let mut now = 0;
    for n in 1..=20_u32 {
        let _ticket = all.reserve(stranger("anna", "192.0.2.1"), at(now)).unwrap();
        let delay = 2_i64.pow(n - 1).min(HOUR);
        let early = all.reserve(stranger("anna", "192.0.2.1"), at(now)).unwrap_err();
        assert_eq!(early.retry_after_s, u64::try_from(delay).unwrap());
        // Early attempts, however many, change nothing.
        assert!(all.reserve(stranger("anna", "192.0.2.1"), at(now + delay - 1)).is_err());
        now += delay;
    }
    // A year of guessing without rest: one an hour.
    let mut guesses = 0;
    let end = now + 365 * 24 * HOUR;
    while now < end {
        match all.reserve(stranger("anna", "192.0.2.1"), at(now)) {
            Ok(_) => guesses += 1,
            Err(early) => now += i64::try_from(early.retry_after_s).unwrap(),
        }
    }
    assert!(guesses <= 365 * 24 + 1, "{guesses}");
}

#[test]
fn waiting_for_forgiveness_is_worth_no_more_guesses_than_one_an_hour() {
    for wait in [HOUR, 2 * HOUR, 6 * HOUR, 13 * HOUR, 24 * HOUR] {
        let mut all = attempts(1_000);
        let (mut now, mut guesses) = (0, 0);
        while now < 365 * 24 * HOUR {
            // A burst until the delay is longer than a minute, then a rest.
            while let Ok(_ticket) = all.reserve(stranger("anna", "192.0.2.1"), at(now)) {
                guesses += 1;
                now += 60;
            }
            now += wait;
        }
        assert!(guesses <= 365 * 24 + 12, "{guesses} guesses with rests of {wait} s");
    }
}

#[test]
fn the_right_password_is_not_looked_at_early_and_a_success_cleans_the_account_only() {
    let mut all = attempts(1_000);
    let _wrong = all.reserve(stranger("anna", "192.0.2.1"), at(0)).unwrap();
    assert_eq!(all.reserve(stranger("anna", "192.0.2.9"), at(0)).unwrap_err(), TooEarly { retry_after_s: 1 });
    let _wrong = all.reserve(stranger("anna", "192.0.2.1"), at(1)).unwrap();
    let right = all.reserve(stranger("anna", "192.0.2.1"), at(3)).unwrap();
    let records = all.succeeded(right);
    assert_eq!(records.len(), 2);
    assert!(all.reserve(stranger("anna", "192.0.2.2"), at(3)).is_ok(), "the account is clean");
    let _third = all.reserve(stranger("ben", "192.0.2.1"), at(3)).unwrap();
    let early = all.reserve(stranger("carl", "192.0.2.1"), at(3)).unwrap_err();
    assert_eq!(early.retry_after_s, 4, "the address still has its two failures, and one more");
}

#[test]
fn an_own_account_does_not_buy_guesses() {
    let mut all = attempts(1_000);
    let (mut now, mut guesses) = (0, 0);
    for n in 0..40 {
        let name = format!("victim{n}");
        if let Ok(_wrong) = all.reserve(stranger(&name, "192.0.2.1"), at(now)) {
            guesses += 1;
        }
        now += 60;
        if let Ok(own) = all.reserve(stranger("mallory", "192.0.2.1"), at(now)) {
            all.succeeded(own);
        }
        now += 60;
    }
    assert!(guesses < 14, "{guesses} guesses in 80 minutes");
}

#[test]
fn a_known_device_gets_in_whatever_strangers_do() {
    let mut all = attempts(4);
    let device = Attempt::Known(Hash([1; 32]));
    for n in 0..10_000_u32 {
        let _ = all.reserve(Attempt::Stranger { name: "anna", source: Some(v4(n)) }, at(i64::from(n)));
    }
    let ticket = all.reserve(device, at(10_000)).unwrap();
    all.succeeded(ticket);
    // The thief of a device is slowed down too, and that slows no one else.
    let _wrong = all.reserve(device, at(10_000)).unwrap();
    assert!(all.reserve(device, at(10_000)).is_err());
    assert!(all.reserve(Attempt::Known(Hash([2; 32])), at(10_000)).is_ok());
}

#[test]
fn a_restart_forgets_nothing_neither_from_the_state_nor_from_its_records() {
    let mut all = attempts(1_000);
    let mut log = all.to_bytes();
    let mut records = vec![];
    for (now, n) in [(0, 1), (1, 2), (3, 3)] {
        let ticket = all.reserve(stranger("anna", "2001:db8::1"), at(now)).unwrap();
        records.extend(ticket.records());
        if n == 2 {
            log = all.to_bytes();
            records.clear();
        }
    }
    let mut again = Attempts::from_bytes(AttemptKey::from_bytes([7; 32]), &log).unwrap();
    records.into_iter().for_each(|record| again.apply(record));
    assert_eq!(again.to_bytes(), all.to_bytes());
    assert_eq!(again.reserve(stranger("anna", "2001:db8:ffff::1"), at(3)).unwrap_err().retry_after_s, 4);
    let mut longer = log.clone();
    longer.push(0);
    assert!(Attempts::from_bytes(AttemptKey::from_bytes([7; 32]), &longer).is_err());
}

#[test]
fn pushing_entries_out_frees_neither_the_victim_nor_the_attacker() {
    let mut all = attempts(8);
    let mut now = 0;
    for _ in 0..10 {
        let _ticket = all.reserve(stranger("anna", "192.0.2.1"), at(now)).unwrap();
        now += 512;
    }
    for n in 0..5_000_u32 {
        let (name, time) = (format!("flood{n}"), now - 500 + i64::from(n / 20));
        let _ = all.reserve(Attempt::Stranger { name: &name, source: Some(v4(n << 8)) }, at(time));
        assert!(all.strangers.tallies.len() <= 8 && all.strangers.order.len() <= 8);
    }
    let early = all.reserve(stranger("anna", "198.51.100.1"), at(now - 250)).unwrap_err();
    assert!(early.retry_after_s >= 250, "{early}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A table of any size is never laxer than one that forgets nothing.
    #[test]
    fn no_flood_makes_the_table_laxer_than_perfect_memory(
        script in proptest::collection::vec((0..12_u32, 0..6_u32, 0..5_000_i64, any::<bool>()), 1..300),
        max in 4..12_usize,
    ) {
        let (mut small, mut perfect) = (attempts(max), attempts(1_000_000));
        let mut now = 0;
        for (name, source, pause, right) in script {
            now += pause / 10;
            let name = format!("user{name}");
            let attempt = Attempt::Stranger { name: &name, source: Some(v4(source)) };
            // Whatever the small table lets through is let through, and counted, by perfect memory.
            if let Ok(ticket) = small.reserve(attempt, at(now)) {
                let twin = perfect.reserve(attempt, at(now));
                prop_assert!(twin.is_ok(), "laxer than perfect memory");
                if right {
                    small.succeeded(ticket);
                    perfect.succeeded(twin.unwrap());
                }
            }
            prop_assert!(small.strangers.tallies.len() <= max);
        }
        let restored = Attempts::from_bytes(AttemptKey::from_bytes([7; 32]), &small.to_bytes()).unwrap();
        prop_assert_eq!(restored.to_bytes(), small.to_bytes());
    }
}

#[test]
fn where_the_source_tells_nothing_only_the_name_is_counted() {
    let mut all = Attempts::new(AttemptKey::from_bytes([1; 32]));
    let here = |name| Attempt::Stranger { name, source: None };
    assert_eq!(all.reserve(here("anna"), at(0)).unwrap().records().count(), 1);
    assert!(all.reserve(here("anna"), at(0)).is_err());
    assert!(all.reserve(here("bert"), at(0)).is_ok());
}
