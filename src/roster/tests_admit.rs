//! Keeper's door: late, stale, replayed, dishonest, and what an insider tries at set-up.

use crate::body::*;
use crate::testkit::*;
use crate::{Body, Proposal, RosterError, RosterSet};
use peri_domain::{Nonce, Rights, Role};
use peri_seal::keys::UserPublic;

const OFFICE: [usize; 2] = [SEAT[0], HEIR];

fn refused(set: &mut RosterSet, bytes: &[u8]) -> RosterError {
    let before = set.mark();
    let error = set.admit(bytes, NOW).unwrap_err();
    assert_eq!(set.mark(), before);
    error
}

#[test]
fn late_and_endless_proposals_are_refused_and_late_revocations_are_not() {
    let mut set = admitted(&house());
    let open = |body, not_after| signed(Proposal::new(VM, body, not_after, nonce(), 2).unwrap(), &OFFICE).to_bytes();
    assert!(matches!(refused(&mut set, &open(grant(VIEWER), at(-1))), RosterError::Expired { .. }));
    let far = at(31 * 24 * HOUR);
    assert!(matches!(refused(&mut set, &open(grant(VIEWER), far)), RosterError::OpenTooLong { max_days: 30, .. }));
    set.admit(&open(revocation(&[VIEWER], &[]), at(-9 * HOUR)), NOW).unwrap();
}

#[test]
fn a_nonce_serves_once() {
    let mut set = admitted(&house());
    let again = |body| signed(Proposal::new(VM, body, at(HOUR), Nonce([0xaa; 16]), 2).unwrap(), &OFFICE).to_bytes();
    set.admit(&again(grant(VIEWER)), NOW).unwrap();
    let error = refused(&mut set, &again(grant_of(VIEWER, Rights::ALL, Cameras::All, 0, HOUR)));
    assert_eq!(error, RosterError::ReplayedNonce { nonce: Nonce([0xaa; 16]) });
}

#[test]
fn the_same_statement_again_changes_nothing() {
    let mut set = admitted(&house());
    let bytes = say(grant(VIEWER), 2, &OFFICE);
    assert!(set.admit(&bytes, NOW).unwrap().new);
    let mark = set.mark();
    assert!(!set.admit(&bytes, NOW).unwrap().new);
    assert_eq!(set.mark(), mark);
}

#[test]
fn former_seats_cannot_sign_under_their_old_seat_set() {
    let mut set = admitted(&house());
    let stale = say(grant(VIEWER), 1, &[SEAT[0], SEAT[2]]);
    assert_eq!(refused(&mut set, &stale), RosterError::StaleSeatSet { signed: 1, current: 2 });
    // Nor with a seat in office that signs the old version, nor under the new version.
    assert!(matches!(refused(&mut set, &say(grant(VIEWER), 1, &[SEAT[0], SEAT[1]])), RosterError::StaleSeatSet { .. }));
    assert!(matches!(refused(&mut set, &say(grant(VIEWER), 2, &[SEAT[0], SEAT[2]])), RosterError::NeedsSigners { .. }));
    assert!(matches!(refused(&mut set, &say(grant(VIEWER), 3, &OFFICE)), RosterError::NeedsSigners { .. }));
    // A reader of history keeps it apart: he cannot know when it was signed, and takes it only from keeper.
    assert!(set.verify(NOW).grants().next().is_none());
}

#[test]
fn a_revoked_seat_or_removed_administrator_signs_nothing_more() {
    let mut set = admitted(&house());
    set.admit(&say(revocation(&[HEIR], &[]), 2, &[ADMIN]), NOW).unwrap();
    let error = refused(&mut set, &say(grant(VIEWER), 2, &OFFICE));
    assert!(matches!(error, RosterError::SignerNotInOffice { signer, .. } if signer == fp(HEIR)), "{error}");
    // Two are left of k = 2: no further revocation.
    let error = refused(&mut set, &say(revocation(&[SEAT[0]], &[]), 2, &[ADMIN]));
    assert_eq!(error, RosterError::TooFewSeats { left: 1, k: 2 });
    set.admit(&say(handover(2, HEIR, FREE), 2, &[SEAT[0], SEAT[1]]), NOW).unwrap();
    set.admit(&say(revocation(&[ADMIN], &[]), 3, &[SEAT[0]]), NOW).unwrap();
    let error = refused(&mut set, &say(person(FREE + 1, Role::Viewer), 3, &[ADMIN]));
    assert!(matches!(error, RosterError::SignerNotInOffice { signer, .. } if signer == fp(ADMIN)), "{error}");
    // What she made before stays.
    assert!(set.verify(NOW).account(account(VIEWER)).is_some());
}

#[test]
fn the_claim_key_is_spent_once_all_seats_are_filled() {
    let mut set = admitted(&founding()[..3]);
    assert_eq!(refused(&mut set, &say(seat(0, FREE), 0, &[CLAIM])), RosterError::SeatTaken { index: 0 });
    assert!(matches!(refused(&mut set, &say(seat(3, FREE), 0, &[CLAIM])), RosterError::Invalid { .. }));
    assert_eq!(set.verify(NOW).seat_set(), 0);
    set.admit(&founding()[3], NOW).unwrap();
    for index in 0..4 {
        assert_eq!(refused(&mut set, &say(seat(index, FREE), 0, &[CLAIM])), RosterError::ClaimSpent { n: 3 });
    }
    assert!(matches!(
        refused(&mut set, &say(handover(0, SEAT[0], FREE), 1, &[CLAIM])),
        RosterError::NeedsSigners { .. }
    ));
}

#[test]
fn one_key_never_serves_twice() {
    let mut set = admitted(&house());
    for (holder, by) in
        [(VIEWER, "account"), (SEAT[0], "seat 0"), (SEAT[2], "seat 2"), (CLAIM, "claim"), (DEVICE, "VM")]
    {
        let Body::Account(mut body) = person(FREE, Role::Viewer) else { unreachable!() };
        body.key = key(holder).public().clone();
        let error = refused(&mut set, &say(Body::Account(body), 2, &[ADMIN]));
        assert!(matches!(&error, RosterError::KeyInUse { by: found, .. } if found.contains(by)), "{error}");
    }
    let error = refused(&mut set, &say(handover(0, SEAT[0], VIEWER), 2, &OFFICE));
    assert!(matches!(error, RosterError::KeyInUse { .. }), "{error}");
    let error = refused(&mut set, &say(key_change(VIEWER, VIEWER, TECH, ChangedBy::Holder), 2, &[VIEWER]));
    assert!(matches!(error, RosterError::KeyInUse { .. }), "{error}");
}

#[test]
fn one_account_has_one_role_for_ever() {
    let mut set = admitted(&house());
    let Body::Account(mut body) = person(VIEWER, Role::Technician) else { unreachable!() };
    body.key = key(FREE).public().clone();
    assert_eq!(
        refused(&mut set, &say(Body::Account(body), 2, &OFFICE)),
        RosterError::AccountExists { account: account(VIEWER) }
    );
    assert!(Proposal::new(VM, person(FREE, Role::Custodian), at(HOUR), nonce(), 2).is_err());
}

#[test]
fn a_key_that_is_none_is_refused_at_the_door() {
    let mut set = admitted(&house());
    let Body::Account(mut body) = person(FREE, Role::Viewer) else { unreachable!() };
    body.key = UserPublic::from_parts([0xff; 1665], *key(FREE).public().sign());
    assert!(matches!(refused(&mut set, &say(Body::Account(body), 2, &[ADMIN])), RosterError::UnusableKey { .. }));
}

#[test]
fn a_surplus_signature_cannot_be_planted_to_void_a_statement_later() {
    let mut set = admitted(&house());
    let planted = signed(proposal(grant(VIEWER), 2), &OFFICE).attach(fp(FREE), peri_seal::Signature([1; 96]));
    let error = refused(&mut set, &planted.to_bytes());
    assert_eq!(error, RosterError::UnknownSigner { signer: fp(FREE) });
}

#[test]
fn what_only_waited_never_comes_in_behind_an_admission() {
    let mut set = admitted(&house());
    // Read from somewhere, never admitted: a grant to somebody not enrolled yet.
    let waiting = set.insert(&say(grant(FREE), 2, &OFFICE)).unwrap().id;
    set.admit(&say(person(FREE, Role::Viewer), 2, &[ADMIN]), NOW).unwrap();
    assert_eq!(set.status(&waiting), None);
    assert!(set.verify(NOW).recipients(camera(1), NOW).unwrap().is_empty());
}

#[test]
fn a_batch_in_any_order_gets_in() {
    let mut batch = house();
    batch.reverse();
    let mut set = RosterSet::new(anchor());
    // Without the handover: in office before the others, it would make their seat set stale.
    let results = set.admit_all(&batch[1..], NOW);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[test]
fn grants_name_present_keys_known_cameras_and_open_windows() {
    let mut set = admitted(&house());
    let list = Cameras::List(vec![camera(9)]);
    let error = refused(&mut set, &say(grant_of(VIEWER, Rights::ALL, list, 0, HOUR), 2, &OFFICE));
    assert_eq!(error, RosterError::UnknownCamera { camera: camera(9) });
    let over = grant_of(VIEWER, Rights::ALL, Cameras::All, -2 * HOUR, -HOUR);
    assert!(matches!(refused(&mut set, &say(over, 2, &OFFICE)), RosterError::Invalid { .. }));
    let Body::Grant(mut body) = grant(VIEWER) else { unreachable!() };
    body.account = account(TECH);
    assert!(matches!(refused(&mut set, &say(Body::Grant(body), 2, &OFFICE)), RosterError::Invalid { .. }));
    set.admit(&say(key_change(VIEWER, VIEWER, FREE, ChangedBy::Holder), 2, &[VIEWER]), NOW).unwrap();
    assert!(matches!(refused(&mut set, &say(grant(VIEWER), 2, &OFFICE)), RosterError::Invalid { .. }));
}

#[test]
fn impossible_bodies_are_refused_before_anybody_signs() {
    let make = |body| Proposal::new(VM, body, at(HOUR), nonce(), 2).map(|_| ());
    let Body::Grant(g) = grant(VIEWER) else { unreachable!() };
    let hours = WeeklyHours { zone: "Europe/Atlantis".into(), spans: vec![Minutes { from: 0, until: 60 }] };
    let Body::Profile(p) = profile(1, 72) else { unreachable!() };
    let Body::Genesis(claim) = genesis() else { unreachable!() };
    let url = |url: &str| {
        let setup = CameraSetup { url: url.into(), ..setup(3) };
        Body::CameraAdd(Box::new(CameraAdd { camera: camera(3), setup, set_up_by: None, beside: None }))
    };
    for (body, says) in [
        (Body::Grant(Box::new(Grant { weekly: Some(hours), ..(*g).clone() })), "no IANA time zone"),
        (Body::Grant(Box::new(Grant { rights: Rights::NONE, ..(*g).clone() })), "no right"),
        (Body::Grant(Box::new(Grant { until: g.from, ..(*g).clone() })), "before it begins"),
        (Body::Grant(Box::new(Grant { cameras: Cameras::List(vec![]), ..(*g).clone() })), "no camera"),
        (Body::Grant(Box::new(Grant { cameras: Cameras::List(vec![camera(2), camera(1)]), ..*g })), "ascending"),
        (Body::Profile(Box::new(Profile { audio: true, ..*p })), "audio"),
        (Body::Genesis(Box::new(Genesis { k: 4, ..(*claim).clone() })), "k ≤ n"),
        (Body::Genesis(Box::new(Genesis { k: 0, ..*claim })), "1 ≤ k"),
        (url("rtsp://10.0.0.3/"), "rtsps://"),
        (url("rtsps://user:secret@10.0.0.3/"), "seal the password"),
        (url("rtsps:///"), "host"),
        (url("rtsps://a\u{202e}b/"), "hidden"),
        (revocation(&[], &[]), "neither"),
        (re_setup(3, 0, 3, None), "camera it was"),
    ] {
        let error = make(body).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn an_insider_cannot_bring_a_device_back_as_new_or_point_it_elsewhere() {
    let mut set = admitted(&house());
    let known = |error: RosterError| {
        assert_eq!(error, RosterError::DeviceKnown { camera: camera(1) });
    };
    // The same device while its camera is registered: by identity, by pin, by address.
    known(refused(&mut set, &say(camera_add(3, 1, Some(TECH), None), 2, &[ADMIN])));
    let disguised = |change: &dyn Fn(&mut CameraSetup)| {
        let mut setup = setup(3);
        change(&mut setup);
        Body::CameraAdd(Box::new(CameraAdd { camera: camera(3), setup, set_up_by: Some(account(TECH)), beside: None }))
    };
    let by_pin = disguised(&|s| s.trust = setup(1).trust);
    let by_address = disguised(&|s| s.url = "rtsps://10.0.0.1:322/other".into());
    known(refused(&mut set, &say(by_pin.clone(), 2, &[TECH])));
    known(refused(&mut set, &say(by_address.clone(), 2, &[ADMIN])));
    assert!(matches!(refused(&mut set, &say(re_setup(1, 1, 5, None), 2, &[ADMIN])), RosterError::NeedsSigners { .. }));
    // After removal: still, for administrator and seats alike.
    set.admit(&say(remove(1), 2, &[ADMIN]), NOW).unwrap();
    for body in [camera_add(3, 1, Some(TECH), None), by_pin, by_address] {
        known(refused(&mut set, &say(body.clone(), 2, &[ADMIN])));
        known(refused(&mut set, &say(body, 2, &OFFICE)));
    }
    let beside = say(camera_add(3, 1, None, Some(1)), 2, &OFFICE);
    assert_eq!(refused(&mut set, &beside), RosterError::CameraRemoved { camera: camera(1) });
    assert_eq!(
        refused(&mut set, &say(re_setup(1, 1, 1, None), 2, &OFFICE)),
        RosterError::CameraRemoved { camera: camera(1) }
    );
    // The one way: k seats set it up again under a new id.
    set.admit(&say(re_setup(3, 0, 1, Some(1)), 2, &OFFICE), NOW).unwrap();
    let roster = set.verify(NOW);
    assert!(roster.removed(camera(1)) && !roster.removed(camera(3)));
    assert!(!roster.camera(camera(3)).unwrap().registered);
}

#[test]
fn two_inputs_of_one_encoder_are_two_cameras_if_k_seats_say_so() {
    let mut set = admitted(&house());
    set.admit(&say(camera_add(3, 1, None, Some(1)), 2, &OFFICE), NOW).unwrap();
    set.admit(&say(remove(3), 2, &[ADMIN]), NOW).unwrap();
    assert!(!set.verify(NOW).removed(camera(1)));
}

#[test]
fn an_administrator_cannot_make_another_or_take_one_over() {
    let mut set = admitted(&house());
    let error = refused(&mut set, &say(person(FREE, Role::Administrator), 2, &[ADMIN]));
    assert!(matches!(error, RosterError::NeedsSigners { .. }), "{error}");
    set.admit(&say(person(FREE, Role::Administrator), 2, &OFFICE), NOW).unwrap();
    let error = refused(&mut set, &say(key_change(FREE, FREE, FREE + 1, ChangedBy::Reset), 2, &[ADMIN]));
    assert!(matches!(error, RosterError::NeedsSigners { .. }), "{error}");
}
