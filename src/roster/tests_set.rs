//! Order, tombstones, foreign bytes, shorter rosters; properties over random histories.

use crate::body::*;
use crate::roster::mark_of;
use crate::testkit::*;
use crate::{Anchor, Body, Proposal, Roster, RosterError, RosterSet, Statement, Status};
use peri_domain::{AccountId, Hash, Nonce, Rights, Role};
use peri_seal::keys::Signature;
use proptest::prelude::*;

pub(crate) fn read(history: &[Vec<u8>]) -> RosterSet {
    let mut set = RosterSet::new(anchor());
    for bytes in history {
        set.insert(bytes).unwrap();
    }
    set
}

/// What an order must not change.
pub(crate) fn outcome(set: &RosterSet) -> (Hash, u64, Hash, Roster) {
    let roster = set.verify(NOW);
    (roster.head(), roster.len(), roster.state_digest(), Roster::clone(&roster))
}

/// Deterministic shuffle (Fisher–Yates over a linear congruence; quality is of no matter here).
pub(crate) fn shuffled(history: &[Vec<u8>], mut seed: u64) -> Vec<Vec<u8>> {
    let mut out = history.to_vec();
    for i in (1..out.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.swap(i, usize::try_from(seed >> 33).unwrap() % (i + 1));
    }
    out
}

#[test]
fn a_house_read_backwards_is_the_same_house() {
    let house = house();
    let forwards = read(&house);
    let backwards: Vec<_> = house.iter().rev().cloned().collect();
    assert_eq!(outcome(&forwards), outcome(&read(&backwards)));
    assert_eq!(outcome(&forwards), outcome(&admitted(&house)));
    assert_eq!(forwards.verify(NOW).len(), house.len() as u64);
    assert_eq!(forwards.verify(NOW).seat_set(), 2);
}

#[test]
fn a_statement_before_its_reasons_waits_and_then_takes_effect() {
    let house = house();
    let grant = say(grant(VIEWER), 2, &[SEAT[0], HEIR]);
    let mut set = RosterSet::new(anchor());
    let id = set.insert(&grant).unwrap().id;
    assert!(matches!(set.status(&id), Some(Status::Waiting(_))));
    for (number, bytes) in house.iter().rev().enumerate() {
        set.insert(bytes).unwrap();
        let last = number + 1 == house.len();
        assert_eq!(set.status(&id) == Some(Status::Effective), last);
    }
}

#[test]
fn revocation_wins_in_any_order() {
    let grant = signed(proposal(grant(VIEWER), 2), &[SEAT[0], HEIR]);
    let id = grant.proposal().nonce;
    let revoked = say(revocation(&[], &[id]), 2, &[SEAT[1]]);
    let mut history = house();
    history.extend([revoked, grant.to_bytes()]);
    for seed in 0..20 {
        let roster = read(&shuffled(&history, seed)).verify(NOW);
        assert_eq!(roster.recipients(camera(1), NOW).unwrap().len(), 0);
        assert!(roster.grants().all(|(_, state)| state.revoked));
    }
}

#[test]
fn a_handover_or_revocation_of_a_seat_undoes_no_grant_it_signed() {
    let mut history = house();
    history.truncate(history.len() - 1);
    history.push(say(grant(VIEWER), 1, &[SEAT[0], SEAT[2]]));
    history.push(say(handover(2, SEAT[2], HEIR), 1, &[SEAT[0], SEAT[2]]));
    history.push(say(revocation(&[SEAT[2]], &[]), 2, &[SEAT[1]]));
    for seed in 0..10 {
        let roster = read(&shuffled(&history, seed)).verify(NOW);
        assert_eq!(roster.recipients(camera(1), NOW).unwrap(), [(key(VIEWER).public(), fp(VIEWER))]);
    }
}

#[test]
fn a_bad_signature_counts_for_nothing_whether_its_key_came_before_or_after() {
    let proposal = proposal(grant(VIEWER), 2);
    // Two good ones and one that nobody made, by a seat.
    let bad = signed(proposal, &[SEAT[0], HEIR]).attach(fp(SEAT[1]), Signature([3; 96])).to_bytes();
    let mut after = read(&house());
    assert_eq!(after.insert(&bad), Err(RosterError::BadSignature { signer: fp(SEAT[1]) }));
    let mut before = RosterSet::new(anchor());
    let id = before.insert(&bad).unwrap().id;
    house().iter().for_each(|bytes| drop(before.insert(bytes)));
    assert_eq!(before.status(&id), None);
    assert!(before.verify(NOW).grants().next().is_none());
}

#[test]
fn another_vm_another_anchor_and_a_second_claim_are_refused() {
    let genesis_bytes = say(genesis(), 0, &[CLAIM]);
    let elsewhere = Anchor { vm: peri_domain::VmId([1; 16]), ..anchor() };
    assert!(matches!(RosterSet::new(elsewhere).insert(&genesis_bytes), Err(RosterError::NotForThisVm { .. })));
    // A swapped claim key, another provisioning, a cloned VM with a key of its own.
    for (what, other) in [
        ("claim key", Anchor { claim_key: fp(STRANGER), ..anchor() }),
        ("provisioning digest", Anchor { provisioning: Hash([8; 32]), ..anchor() }),
        ("device key", Anchor { device: fp(STRANGER), ..anchor() }),
    ] {
        let error = RosterSet::new(other).insert(&genesis_bytes).unwrap_err();
        assert!(matches!(&error, RosterError::NotTheAnchor { what: w, .. } if *w == what), "{error}");
    }
    let mut set = admitted(&house());
    assert_eq!(set.admit(&say(genesis(), 0, &[CLAIM]), NOW), Err(RosterError::SecondClaim));
}

#[test]
fn a_claim_by_the_reseller_shows_for_ever() {
    let Body::Genesis(mut body) = genesis() else { unreachable!() };
    body.claimed_by = ClaimedBy::Reseller;
    let set = admitted(&[say(Body::Genesis(body), 0, &[CLAIM])]);
    assert_eq!(set.verify(NOW).genesis().unwrap().claimed_by, ClaimedBy::Reseller);
}

#[test]
fn a_shorter_roster_is_noticed() {
    let house = house();
    let full = read(&house);
    let (mark, ids) = (full.mark(), full.effective().to_vec());
    assert_eq!(full.is_extension_of(&mark, &ids), Ok(()));
    for dropped in 0..house.len() {
        let mut rest = house.clone();
        rest.remove(dropped);
        let error = read(&rest).is_extension_of(&mark, &ids).unwrap_err();
        assert!(matches!(error, RosterError::Shorter { missing, .. } if missing > 0), "without {dropped}: {error}");
    }
    assert!(full.is_extension_of(&mark, &ids[1..]).is_err());
    assert_eq!(read(&house[1..]).missing(&ids).len(), 1);
}

#[test]
fn one_flipped_bit_anywhere_and_a_statement_has_no_effect() {
    let base = read(&house());
    let before = outcome(&base);
    for statement in [
        say(grant(VIEWER), 2, &[SEAT[0], HEIR]),
        say(revocation(&[VIEWER], &[Nonce([4; 16])]), 2, &[ADMIN]),
        say(camera_add(3, 3, Some(TECH), None), 2, &[TECH]),
    ] {
        let mut fresh = base.clone();
        fresh.insert(&statement).unwrap();
        assert_ne!(fresh.mark(), base.mark());
        for at in 0..statement.len() {
            let mut bytes = statement.clone();
            bytes[at] ^= 1 << (at % 8);
            let mut set = base.clone();
            assert!(set.admit(&bytes, NOW).is_err(), "byte {at} admitted");
            drop(set.insert(&bytes));
            assert_eq!(outcome(&set), before, "byte {at} took effect");
        }
    }
}

#[test]
fn an_unknown_format_is_named() {
    let mut bytes = proposal(grant(VIEWER), 2).to_bytes();
    assert_eq!(bytes[1], 1);
    bytes[1] = 2;
    assert_eq!(Proposal::from_bytes(&bytes), Err(RosterError::UnknownSuite { found: 2, known: 1 }));
}

/// A random history: operations tried at keeper's door; the admitted ones, and all that were tried.
fn play(choices: &[(u8, u8, u8)]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut history = house();
    let mut tried = history.clone();
    let mut set = admitted(&history);
    for (what, a, b) in choices {
        let roster = set.verify(NOW);
        let office: Vec<usize> =
            (0..32).filter(|i| roster.seats().any(|s| s.fingerprint == fp(*i) && !s.revoked)).collect();
        let two: Vec<usize> = office.iter().cycle().skip(usize::from(*b) % 3).take(2).copied().collect();
        let (free, nth) = (FREE + usize::from(*a) % 12, usize::from(*b));
        let grants: Vec<Nonce> = roster.grants().map(|(id, _)| id).collect();
        let some_grant = grants.get(nth % grants.len().max(1)).copied().unwrap_or(Nonce([0; 16]));
        let (cam, dev) = (1 + a % 6, 1 + b % 6);
        let (body, signers) = match what % 16 {
            0 => (handover(b % 3, office[nth % office.len()], free), two),
            1 => (person(free, Role::Viewer), vec![ADMIN]),
            2 => (person(free, Role::Administrator), two),
            3 => (grant_of(if b % 2 == 0 { VIEWER } else { free }, Rights::ALL, Cameras::All, 0, HOUR), two),
            4 => (Body::GrantRenewal(GrantRenewal { grants: vec![some_grant], until: at(i64::from(*a) * HOUR) }), two),
            5 => (revocation(&[], &[some_grant]), vec![office[0]]),
            6 => (revocation(&[free], &[]), vec![ADMIN]),
            7 => (camera_add(cam, dev, None, None), vec![ADMIN]),
            8 => (camera_add(cam, dev, None, Some(1 + b % 3)), two),
            9 => (re_setup(cam, roster.camera(camera(cam)).map_or(1, |c| c.serial + 1), dev, None), two),
            10 => (if b % 2 == 0 { register(cam) } else { remove(cam) }, two),
            11 => (key_change(VIEWER, VIEWER, free, ChangedBy::Holder), vec![VIEWER]),
            12 => {
                let serial = roster.post(AccountId([0xcc; 16])).map_or(1, |post| post.present().serial + 1);
                (post(0xcc, serial, free, if b % 2 == 0 { &[VIEWER] } else { &[VIEWER, TECH] }), two)
            }
            13 => (Body::Snapshot(set.snapshot()), two),
            14 => (profile(roster.profile().map_or(1, |p| p.serial + 1), u64::from(*b)), two),
            _ => (
                Body::Retention(Retention {
                    serial: roster.retention.map_or(1, |r| r.0 + 1),
                    secs: u64::from(*a) * 3600,
                }),
                vec![ADMIN],
            ),
        };
        let bytes = say(body, roster.seat_set(), &signers);
        tried.push(bytes.clone());
        if set.admit(&bytes, NOW).is_ok() {
            history.push(bytes);
        }
    }
    (history, tried)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_a_valid_history_gives_the_same_head_and_roster(
        choices in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..30), seed in any::<u64>()
    ) {
        let (history, _) = play(&choices);
        let admitted = admitted(&history);
        prop_assert_eq!(admitted.verify(NOW).len(), history.len() as u64);
        prop_assert_eq!(outcome(&admitted), outcome(&read(&shuffled(&history, seed))));
        let mut door = RosterSet::new(anchor());
        let results = door.admit_all(&shuffled(&history, seed), NOW);
        prop_assert!(door.mark().count <= results.len() as u64);
    }

    #[test]
    fn contradictions_are_settled_the_same_way_in_any_order(
        choices in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..30), seed in any::<u64>()
    ) {
        // Everything that was tried, refused statements included.
        let (_, tried) = play(&choices);
        prop_assert_eq!(outcome(&read(&tried)), outcome(&read(&shuffled(&tried, seed))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in any::<(u16, u16)>()) {
        drop(Statement::from_bytes(&bytes));
        drop(Proposal::from_bytes(&bytes));
        drop(RosterSet::read(anchor(), &[&bytes]));
        drop(RosterSet::new(anchor()).insert(&bytes));
        // Spliced into a good one.
        let mut good = Statement::unsigned(proposal(grant(VIEWER), 2)).to_bytes();
        let from = usize::from(at.0) % good.len();
        let until = (from + usize::from(at.1) % 8).min(good.len());
        good.splice(from..until, bytes.iter().take(8).copied());
        if let Ok(statement) = Statement::from_bytes(&good) {
            prop_assert_eq!(statement.to_bytes(), good, "not the only form");
            drop(statement.describe());
        }
    }

    #[test]
    fn the_head_depends_on_every_id(ids in proptest::collection::btree_set(any::<[u8; 32]>(), 1..20)) {
        let ids: Vec<Hash> = ids.into_iter().map(Hash).collect();
        prop_assert_ne!(mark_of(VM, &ids), mark_of(VM, &ids[1..]));
        prop_assert_ne!(mark_of(VM, &ids).head, mark_of(peri_domain::VmId([0; 16]), &ids).head);
    }
}
