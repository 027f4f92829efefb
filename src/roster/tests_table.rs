//! The signer table row by row: every set of up to two signers out of eleven parties, against a second table written
//! out here.

use crate::body::*;
use crate::signers::{Case, TABLE};
use crate::testkit::*;
use crate::{Body, RosterError, RosterSet, Statement};
use peri_domain::{Nonce, Role};

const PARTIES: [usize; 11] = [CLAIM, DEVICE, SEAT[0], SEAT[1], SEAT[2], HEIR, ADMIN, VIEWER, TECH, TECH2, STRANGER];

/// Seats in office of the house: two of these three.
const TWO_SEATS: [&[usize]; 3] = [&[SEAT[0], SEAT[1]], &[SEAT[0], HEIR], &[SEAT[1], HEIR]];

struct Row {
    case: Case,
    base: Vec<Vec<u8>>,
    body: Body,
    seat_set: u32,
    suffices: Vec<&'static [usize]>,
}

fn rows() -> Vec<Row> {
    let house = house();
    let granted = {
        let mut history = house.clone();
        history.push(say(grant(VIEWER), 2, &[SEAT[0], HEIR]));
        history
    };
    let grant_id = Statement::from_bytes(granted.last().unwrap()).unwrap().proposal().nonce;
    let seats = TWO_SEATS.to_vec();
    let seats_or = |more: &[&'static [usize]]| [&seats[..], more].concat();
    let row = |case, body, suffices| Row { case, base: house.clone(), body, seat_set: 2, suffices };
    let plain = CameraSetup { url: "rtsp://10.0.0.9/".into(), trust: Trust::Plain, ..setup(9) };
    let endpoint = Endpoint {
        id: Nonce([1; 16]),
        serial: 1,
        kind: EndpointKind::Tsa,
        url: "https://tsa.example/".into(),
        key: String::new(),
    };
    let exception =
        Exception { rule: "masking".into(), camera: Some(camera(1)), until: at(HOUR), reason: "repair".into() };
    vec![
        Row { case: Case::Genesis, base: vec![], body: genesis(), seat_set: 0, suffices: vec![&[CLAIM]] },
        Row {
            case: Case::Seat,
            base: founding()[..3].to_vec(),
            body: seat(2, SEAT[2]),
            seat_set: 0,
            suffices: vec![&[CLAIM]],
        },
        row(Case::SeatHandover, handover(0, SEAT[0], FREE), seats.clone()),
        row(Case::Profile, profile(1, 100), seats.clone()),
        row(Case::Administrator, person(FREE, Role::Administrator), seats.clone()),
        row(Case::OtherAccount, person(FREE, Role::Viewer), seats_or(&[&[ADMIN]])),
        row(
            Case::AccountRemoval,
            Body::AccountRemoval(AccountRemoval { account: account(VIEWER) }),
            seats_or(&[&[ADMIN]]),
        ),
        row(Case::KeyChange, key_change(VIEWER, VIEWER, FREE, ChangedBy::Holder), vec![&[VIEWER]]),
        row(Case::KeyResetAdministrator, key_change(ADMIN, ADMIN, FREE, ChangedBy::Reset), seats.clone()),
        row(Case::KeyResetOther, key_change(VIEWER, VIEWER, FREE, ChangedBy::Reset), seats_or(&[&[ADMIN]])),
        row(Case::Grant, grant(VIEWER), seats.clone()),
        Row {
            case: Case::GrantRenewal,
            base: granted,
            body: Body::GrantRenewal(GrantRenewal { grants: vec![grant_id], until: at(9 * HOUR) }),
            seat_set: 2,
            suffices: seats.clone(),
        },
        row(Case::Revocation, revocation(&[VIEWER], &[]), vec![&[SEAT[0]], &[SEAT[1]], &[HEIR], &[ADMIN]]),
        row(Case::CameraAdd, camera_add(3, 3, Some(TECH), None), seats_or(&[&[ADMIN], &[TECH]])),
        row(Case::CameraAddRisky, camera_add(3, 1, Some(TECH), Some(1)), seats.clone()),
        row(
            Case::CameraAddRisky,
            Body::CameraAdd(Box::new(CameraAdd { camera: camera(9), setup: plain, set_up_by: None, beside: None })),
            seats.clone(),
        ),
        row(Case::CameraRegister, register(2), seats_or(&[&[TECH]])),
        row(Case::CameraRemove, remove(1), seats_or(&[&[ADMIN]])),
        row(Case::CameraReSetup, re_setup(1, 1, 5, None), seats.clone()),
        row(Case::Endpoint, Body::Endpoint(Box::new(endpoint)), seats.clone()),
        row(Case::Retention, Body::Retention(Retention { serial: 1, secs: 3600 }), seats_or(&[&[ADMIN]])),
        row(
            Case::Release,
            Body::Release(Box::new(Release { account: account(VIEWER), recipient: fp(VIEWER), span: span() })),
            seats.clone(),
        ),
        row(Case::Hold, Body::Hold(span()), seats.clone()),
        row(Case::Exception, Body::Exception(Box::new(exception)), seats.clone()),
        row(Case::EarlyErasure, Body::EarlyErasure(span()), seats.clone()),
        row(Case::Post, post(0xcc, 1, FREE, &[VIEWER]), seats.clone()),
        row(Case::Snapshot, Body::Snapshot(admitted(&house).snapshot()), seats),
    ]
}

#[test]
fn every_case_has_its_row() {
    for (at, (case, _, alternatives)) in TABLE.iter().enumerate() {
        assert_eq!(*case as usize, at);
        assert!(!alternatives.is_empty());
    }
    let tested: std::collections::BTreeSet<_> = rows().iter().map(|row| row.case).collect();
    assert_eq!(tested.len(), TABLE.len(), "a row of the table has no test");
}

#[test]
fn every_signer_set_is_accepted_or_refused_as_the_table_says() {
    for row in rows() {
        let base = admitted(&row.base);
        let proposal = proposal(row.body.clone(), row.seat_set);
        assert_eq!(Case::of(&proposal.body, &base.verify(NOW)).unwrap(), row.case);
        let signatures: Vec<Statement> = PARTIES.iter().map(|p| signed(proposal.clone(), &[*p])).collect();
        let known = |p: usize| {
            base.keys.contains_key(&fp(p))
                || (row.case == Case::Genesis && [CLAIM, DEVICE].contains(&p))
                || (row.case == Case::Seat && p == SEAT[2])
        };
        let mut accepted = 0;
        let mut attempt = |signers: &[usize], statement: &Statement| {
            let mut set: RosterSet = base.clone();
            let before = set.mark();
            let expected = signers.iter().all(|s| known(*s))
                && row.suffices.iter().any(|need| need.iter().all(|s| signers.contains(s)));
            let result = set.admit(&statement.to_bytes(), NOW);
            assert_eq!(result.is_ok(), expected, "{:?} signed by {signers:?}: {result:?}", row.case);
            accepted += u32::from(expected);
            if let Err(why) = result {
                assert_eq!(set.mark(), before);
                let named = matches!(why, RosterError::NeedsSigners { .. } | RosterError::UnknownSigner { .. });
                assert!(named, "{:?} signed by {signers:?}: {why}", row.case);
            }
        };
        attempt(&[], &Statement::unsigned(proposal.clone()));
        for (i, one) in signatures.iter().enumerate() {
            attempt(&[PARTIES[i]], one);
            for (j, two) in signatures.iter().enumerate().skip(i + 1) {
                attempt(&[PARTIES[i], PARTIES[j]], &one.clone().merge(two).unwrap());
            }
        }
        assert!(accepted > 0, "{:?} is never accepted", row.case);
    }
}

#[test]
fn a_refusal_counts_signatures_and_names_who_is_missing() {
    let mut set = admitted(&house());
    let error = set.admit(&say(grant(VIEWER), 2, &[SEAT[0]]), NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a grant is signed by 1 of 2 who must sign it: 2 seats of seat set 2; collect the missing signatures"
    );
    let error = set.admit(&say(person(FREE, Role::Auditor), 2, &[VIEWER]), NOW).unwrap_err();
    assert!(error.to_string().contains("one administrator, or 2 seats"), "{error}");
}

#[test]
fn one_seat_signing_twice_is_one_seat() {
    let mut set = admitted(&house());
    let proposal = proposal(grant(VIEWER), 2);
    let twice = signed(proposal, &[SEAT[0], SEAT[0]]);
    assert_eq!(twice.signers().count(), 1);
    assert!(matches!(set.admit(&twice.to_bytes(), NOW), Err(RosterError::NeedsSigners { have: 1, need: 2, .. })));
}
