//! Snapshots: used, not used, and never a way to write history.

use crate::body::*;
use crate::set::Kept;
use crate::testkit::*;
use crate::tests_set::{outcome, read, shuffled};
use crate::{Body, Reading, RosterError, RosterSet, Statement};
use peri_domain::{AccountId, Hash, Nonce, Rights, Role};
use peri_seal::keys::{Signature, UserPublic};

const OFFICE: [usize; 2] = [SEAT[0], HEIR];

/// The house with a grant, whose signatures nobody made, under a snapshot by these seats.
fn vouched(seats: &[usize]) -> Vec<Vec<u8>> {
    let mut history = house();
    let mut set = admitted(&history);
    history.push(forge(&mut set, grant(VIEWER), &OFFICE));
    history.push(say(Body::Snapshot(set.snapshot()), 2, seats));
    history
}

/// Puts a statement into the set as if its signatures were genuine.
fn forge(set: &mut RosterSet, body: Body, signers: &[usize]) -> Vec<u8> {
    let unsigned = Statement::unsigned(proposal(body, 2));
    let statement = signers.iter().fold(unsigned, |s, i| s.attach(fp(*i), Signature([5; 96])));
    let (bytes, genuine) = (statement.to_bytes(), statement.signers().collect());
    set.put(statement.hash(), Kept { bytes: bytes.clone(), statement, genuine, unknown: vec![] });
    bytes
}

fn open(history: &[Vec<u8>]) -> Reading {
    RosterSet::read(anchor(), history)
}

/// Grants in effect; the vouched one counts only if the snapshot was believed.
fn grants(reading: &Reading) -> usize {
    reading.set.verify(NOW).grants().count()
}

#[test]
fn a_snapshot_of_k_seats_in_office_spares_the_signatures_and_no_other_does() {
    let good = open(&vouched(&OFFICE));
    let covered = house().len() as u64 + 1;
    assert_eq!(good.snapshot, Some(Ok(covered)));
    assert!(good.left_out.is_empty());
    assert_eq!((grants(&good), good.set.verify(NOW).len()), (1, covered + 1));
    // One seat; one seat and a former one; one and an administrator; nobody.
    for seats in [&[SEAT[0]][..], &[SEAT[0], SEAT[2]], &[SEAT[0], ADMIN], &[]] {
        let reading = open(&vouched(seats));
        let why = reading.snapshot.as_ref().unwrap().clone().unwrap_err();
        assert!(matches!(why, RosterError::NeedsSigners { have, need: 2, .. } if have < 2), "{seats:?}: {why}");
        // Then every signature is checked, and the one that nobody made is left out by name.
        assert_eq!(
            reading.left_out,
            [(house().len(), RosterError::BadSignature { signer: fp(SEAT[0]).min(fp(HEIR)) })]
        );
        assert_eq!(grants(&reading), 0);
    }
}

#[test]
fn with_without_and_with_a_bad_snapshot_a_history_reads_as_the_same_roster() {
    let mut history = house();
    history.push(say(grant(VIEWER), 2, &OFFICE));
    let snapshot = say(Body::Snapshot(admitted(&history).snapshot()), 2, &OFFICE);
    let mut later = history.clone();
    later.push(snapshot.clone());
    later.push(say(revocation(&[VIEWER], &[]), 2, &[ADMIN]));
    let used = open(&later);
    assert_eq!(used.snapshot, Some(Ok(history.len() as u64)));
    assert_eq!(outcome(&used.set), outcome(&read(&later)));
    assert_eq!(outcome(&used.set), outcome(&admitted(&later)));
    // Its own bytes, and everything it covers, in another order or damaged: never another roster than the whole check.
    for seed in 0..10 {
        let mixed = shuffled(&later, seed);
        assert_eq!(outcome(&open(&mixed).set), outcome(&read(&mixed)));
    }
    for at in 0..history.len() {
        let mut damaged = later.clone();
        // In the id of the VM: a signature is not looked at, the statement is.
        damaged[at][14] ^= 1;
        let reading = open(&damaged);
        assert!(matches!(reading.snapshot, Some(Err(_))), "statement {at}");
        let mut rest = RosterSet::new(anchor());
        damaged.iter().for_each(|bytes| drop(rest.insert(bytes)));
        assert_eq!(outcome(&reading.set), outcome(&rest));
        let mut short = later.clone();
        short.remove(at);
        assert!(matches!(open(&short).snapshot, Some(Err(_))), "without {at}");
        assert_eq!(outcome(&open(&short).set), outcome(&read(&short)));
    }
}

#[test]
fn what_comes_after_a_snapshot_is_held_to_its_own_signatures() {
    let mut history = vouched(&OFFICE);
    let forged = Statement::unsigned(proposal(grant(VIEWER), 2)).attach(fp(SEAT[0]), Signature([3; 96]));
    history.push(forged.to_bytes());
    let reading = open(&history);
    assert!(matches!(reading.snapshot, Some(Ok(_))));
    assert_eq!(reading.left_out, [(history.len() - 1, RosterError::BadSignature { signer: fp(SEAT[0]) })]);
    assert_eq!(grants(&reading), 1);
}

#[test]
fn a_snapshot_of_former_or_revoked_seats_is_not_used() {
    // A handover after it.
    let mut history = vouched(&OFFICE);
    history.push(say(handover(0, SEAT[0], FREE), 2, &[SEAT[1], HEIR]));
    let reading = open(&history);
    assert_eq!(reading.snapshot, Some(Err(RosterError::StaleSeatSet { signed: 2, current: 3 })));
    assert_eq!(grants(&reading), 0, "former seats wrote history");
    // A revocation of one of its seats after it.
    let mut history = vouched(&OFFICE);
    history.push(say(revocation(&[HEIR], &[]), 2, &[ADMIN]));
    let reading = open(&history);
    assert!(matches!(reading.snapshot, Some(Err(RosterError::NeedsSigners { have: 1, need: 2, .. }))));
    assert_eq!(grants(&reading), 0, "a revoked seat wrote history");
}

#[test]
fn a_snapshot_vouches_for_no_seat() {
    // A forged handover of seat 2 to a stranger, covered by a snapshot that the stranger and one true seat signed.
    let mut history = house();
    let mut set = admitted(&history);
    history.push(forge(&mut set, handover(2, HEIR, STRANGER), &[SEAT[0], SEAT[1]]));
    assert_eq!(set.verify(NOW).seat_set(), 3);
    history.push(say(Body::Snapshot(set.snapshot()), 3, &[SEAT[0], STRANGER]));
    let reading = open(&history);
    assert!(matches!(reading.snapshot, Some(Err(RosterError::BadSignature { .. }))), "{:?}", reading.snapshot);
    assert_eq!(reading.set.verify(NOW).seat_set(), 2);
}

#[test]
fn a_forged_account_cannot_keep_a_former_seat_in_office() {
    // Both former seats of set 2 want the handover of seat 2 void: a covered account that takes the heir's key first.
    let mut history = house();
    let mut set = admitted(&history);
    history.push(forge(&mut set, person(FREE, Role::Viewer), &[ADMIN]));
    history.push(say(Body::Snapshot(set.snapshot()), 2, &OFFICE));
    history.push(say(handover(2, HEIR, FREE), 2, &[SEAT[0], SEAT[1]]));
    let reading = open(&history);
    assert_eq!(reading.snapshot, Some(Err(RosterError::StaleSeatSet { signed: 2, current: 3 })));
    assert_eq!(reading.set.verify(NOW).seat_set(), 3);
}

#[test]
fn only_a_snapshot_that_will_be_of_use_is_admitted() {
    let mut history = house();
    let first = history.clone();
    let mut set = admitted(&history);
    let good = set.snapshot();
    let bad = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = good;
        change(&mut snapshot);
        admitted(&first).admit(&say(Body::Snapshot(snapshot), 2, &OFFICE), NOW).unwrap_err().to_string()
    };
    assert!(bad(&|s| s.mark.count += 1).contains("covers more statements than there are"));
    assert!(bad(&|s| s.mark.count -= 1).contains("none that this roster had"));
    assert!(bad(&|s| s.mark.head = Hash([1; 32])).contains("none that this roster had"));
    assert!(bad(&|s| s.state = Hash([1; 32])).contains("the state differs"));
    // Signed while the roster grew: it still covers what it covered.
    history.push(say(grant(VIEWER), 2, &OFFICE));
    set.admit(history.last().unwrap(), NOW).unwrap();
    history.push(say(Body::Snapshot(good), 2, &OFFICE));
    set.admit(history.last().unwrap(), NOW).unwrap();
    assert_eq!(open(&history).snapshot, Some(Ok(good.mark.count)));
}

/// Prints how long a start with 10,000 statements takes; asserted is only what comes out.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement for people, no decision rests on it")]
fn ten_thousand_statements_open_from_a_snapshot() {
    let mut history = house();
    let mut set = admitted(&history);
    let mut put = |body: Body, signers: &[usize]| {
        // Signatures that nobody made: if the snapshot did not cover them, nothing here would take effect.
        let bytes = forge(&mut set, body, signers);
        let nonce = Statement::from_bytes(&bytes).unwrap().proposal().nonce;
        history.push(bytes);
        nonce
    };
    for number in 0..2_000_u32 {
        let mut sign = [2; 49];
        sign[1..5].copy_from_slice(&number.to_be_bytes());
        let public = UserPublic::from_parts([1; 1665], sign);
        let (recipient, mut id) = (public.fingerprint(), [0xee; 16]);
        id[..4].copy_from_slice(&number.to_be_bytes());
        let name = format!("viewer {number}");
        put(Body::Account(Box::new(NewAccount { id: AccountId(id), role: Role::Viewer, name, key: public })), &[ADMIN]);
        for year in 0..3 {
            let Body::Grant(mut body) = grant_of(VIEWER, Rights::ALL, Cameras::All, year * HOUR, (year + 1) * HOUR)
            else {
                unreachable!()
            };
            (body.recipient, body.account) = (recipient, AccountId(id));
            let nonce: Nonce = put(Body::Grant(body), &OFFICE);
            if year == 2 {
                put(revocation(&[], &[nonce]), &[SEAT[0]]);
            }
        }
    }
    history.push(say(Body::Snapshot(set.snapshot()), 2, &OFFICE));
    let start = std::time::Instant::now();
    let reading = open(&history);
    let roster = reading.set.verify(NOW);
    let took = start.elapsed();
    eprintln!("{} statements from a snapshot: {took:?}", roster.len());
    assert_eq!(reading.snapshot, Some(Ok(10_000 + house().len() as u64)));
    assert_eq!(roster.len(), history.len() as u64);
    assert_eq!(roster.recipients(camera(1), at(10)).unwrap_err().found, 2_000);
}
