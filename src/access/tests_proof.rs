//! Proofs: bound to one request, strict in form, and no text panics.

use super::*;
use crate::session::SignedCertificate;
use peri_seal::{KeyPair, rng};
use proptest::prelude::*;

const VM: VmId = VmId([1; 16]);
const NOW: UtcNanos = UtcNanos::from_secs(1_000);
const BOOT: BootEpoch = BootEpoch(Nonce([3; 16]));
const CHANNEL: ChannelId = ChannelId(Nonce([4; 16]));

fn session(key: &SessionKey, vm: VmId) -> Session {
    let user = KeyPair::generate(&mut rng::system());
    SignedCertificate::issue(vm, &user, key.public(), NOW, UtcNanos::from_secs(2_000), 4)
        .verify(vm, user.public(), NOW)
        .unwrap()
}

fn progress() -> Progress {
    let nonce = Report { counter: 6, seen: Seen::Nonce(Nonce([9; 16])) };
    Progress::new(5, [7, 9, 20], vec![Report { counter: 2, seen: Seen::Failure }, nonce])
}

fn sign(key: &SessionKey, counter: u64, progress: Progress, request: &RequestLine<'_>) -> Proof {
    Proof::sign(&mut rng::system(), key, VM, BOOT, CHANNEL, counter, progress, request)
}

#[test]
fn a_proof_is_for_one_request_session_vm_and_time() {
    let key = SessionKey::generate(&mut rng::system());
    let (session_here, there) = (session(&key, VM), session(&key, VmId([2; 16])));
    let line = |method, path, body: &'static [u8]| RequestLine::new(method, path, body).unwrap();
    let request = line("POST", "/v1/grants?x=1", b"body");
    let proof = sign(&key, 21, progress(), &request);
    let read = Proof::from_text(&proof.to_text()).unwrap();
    assert_eq!(read, proof);
    let good = read.clone().check(&session_here, &request, NOW).unwrap();
    assert_eq!(good.proof(), &proof);
    for other in [
        line("PUT", "/v1/grants?x=1", b"body"),
        line("POST", "/v1/grants?x=2", b"body"),
        line("POST", "/v1/grants?x=1", b"bodz"),
    ] {
        assert!(matches!(read.clone().check(&session_here, &other, NOW), Err(ProofError::Signature(_))));
    }
    assert!(matches!(read.clone().check(&there, &request, NOW), Err(ProofError::Signature(_))));
    let foreign = session(&SessionKey::generate(&mut rng::system()), VM);
    assert!(matches!(read.clone().check(&foreign, &request, NOW), Err(ProofError::OtherSession)));
    assert!(matches!(read.check(&session_here, &request, UtcNanos::from_secs(2_000)), Err(ProofError::Expired)));
}

#[test]
fn no_field_of_a_proof_can_be_changed() {
    let key = SessionKey::generate(&mut rng::system());
    let here = session(&key, VM);
    let request = RequestLine::new("GET", "/", b"").unwrap();
    let proof = sign(&key, 21, progress(), &request);
    let edits: [&dyn Fn(&mut Proof); 6] = [
        &|p| p.counter += 1,
        &|p| p.channel = ChannelId(Nonce([5; 16])),
        &|p| p.boot = BootEpoch(Nonce([5; 16])),
        &|p| p.progress = Progress::new(5, [7, 9], p.progress.reports.clone()),
        &|p| p.progress.reports.truncate(1),
        &|p| p.signature.0[40] ^= 1,
    ];
    for (at, edit) in edits.iter().enumerate() {
        let mut bad = proof.clone();
        edit(&mut bad);
        assert!(matches!(bad.check(&here, &request, NOW), Err(ProofError::Signature(_))), "edit {at}");
    }
}

#[test]
fn a_proof_that_contradicts_itself_is_refused() {
    let key = SessionKey::generate(&mut rng::system());
    let request = RequestLine::new("GET", "/", b"").unwrap();
    let refused = |counter, progress: Progress| {
        let text = sign(&key, counter, progress, &request).to_text();
        matches!(Proof::from_text(&text), Err(ProofError::Shape { .. }))
    };
    let fails = |counters: &[u64]| -> Vec<_> {
        counters.iter().map(|counter| Report { counter: *counter, seen: Seen::Failure }).collect()
    };
    let plain = |settled| Progress::new(settled, [], vec![]);
    assert!(!refused(1, plain(0)) && !refused(1_024, plain(0)) && refused(1_025, plain(0)));
    assert!(refused(0, plain(0)) && refused(5, plain(5)) && refused(1, plain(u64::MAX)));
    assert!(refused(9, Progress::new(3, [9], vec![])) && !refused(9, Progress::new(3, [8], vec![])));
    assert!(refused(9, Progress::new(3, [4], vec![])));
    assert!(refused(9, Progress { answered: vec![2, 0].into(), ..plain(3) }));
    assert!(refused(9, Progress::new(3, [], fails(&[5, 4]))) && refused(9, Progress::new(3, [], fails(&[4, 4]))));
    assert!(refused(9, Progress::new(3, [], fails(&[9]))) && refused(9, Progress::new(3, [], fails(&[0]))));
    assert!(refused(9, Progress::new(3, [5], fails(&[5]))));
    assert!(refused(99, Progress::new(3, [], fails(&(4..21).collect::<Vec<_>>()))));
    assert!(Proof::from_text(&"A".repeat(PROOF_TEXT_MAX + 1)).is_err());
    for path in ["", "x", "/a b", "/ä", "/#x", "/\r\nx"] {
        assert!(RequestLine::new("GET", path, b"").is_err(), "{path:?}");
    }
    assert!(RequestLine::new("get", "/", b"").is_err() && RequestLine::new("", "/", b"").is_err());
}

#[test]
fn the_largest_proof_fits_its_header() {
    let key = SessionKey::generate(&mut rng::system());
    let base = u64::MAX - 2_000;
    let reports = (0..16).map(|i| Report { counter: base - 20 + i, seen: Seen::Nonce(Nonce([255; 16])) }).collect();
    let progress = Progress::new(base, base + 2..base + 1_024, reports);
    let text = sign(&key, base + 1_024, progress, &RequestLine::new("GET", "/", b"").unwrap()).to_text();
    Proof::from_text(&text).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_survived_and_what_is_read_is_written_again(text in "[A-Za-z0-9_-]{0,300}", bytes: Vec<u8>) {
        for text in [text, URL_SAFE_NO_PAD.encode(bytes)] {
            if let Ok(proof) = Proof::from_text(&text) {
                prop_assert_eq!(proof.to_text(), text);
            }
        }
    }
}
