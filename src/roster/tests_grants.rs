//! Who may look: windows, rights, keys and roles.

use crate::body::*;
use crate::testkit::*;
use crate::{Basis, Body, Refusal, Roster, RosterError, Statement, Verified};
use peri_domain::limits::{RECIPIENTS_MAX, RETENTION_DEFAULT};
use peri_domain::{Action, Nonce, Right, Rights, Role};
use peri_seal::keys::KeyPair;
use std::time::Duration;

const OFFICE: [usize; 2] = [SEAT[0], HEIR];

fn with(more: Vec<Vec<u8>>) -> Verified<Roster> {
    let mut history = house();
    history.extend(more);
    admitted(&history).verify(NOW)
}

fn granted(body: Body) -> (Nonce, Vec<u8>) {
    let statement = signed(proposal(body, 2), &OFFICE);
    (statement.proposal().nonce, statement.to_bytes())
}

fn ask(roster: &Roster, who: usize, cam: u8, action: Action, pictures: (i64, i64), now: i64) -> Result<Basis, Refusal> {
    roster.grant_for(fp(who), camera(cam), action, at(pictures.0), at(pictures.1), at(now)).map(|g| g.basis)
}

fn keys(roster: &Roster, cam: u8, when: i64) -> Vec<peri_domain::Fingerprint> {
    roster.recipients(camera(cam), at(when)).unwrap().into_iter().map(|(_, fingerprint)| fingerprint).collect()
}

#[test]
fn wraps_follow_the_pictures_time_and_x_also_the_time_of_asking() {
    let rights = Rights::NONE.with(Right::Live).with(Right::Playback);
    let (id, bytes) = granted(grant_of(VIEWER, rights, Cameras::List(vec![camera(1)]), 100, 200));
    let roster = with(vec![bytes]);
    for (when, has) in [(99, false), (100, true), (199, true), (200, false)] {
        assert_eq!(keys(&roster, 1, when), if has { vec![fp(VIEWER)] } else { vec![] }, "at {when}");
    }
    assert_eq!(roster.next_edge(camera(1), NOW), Some(at(100)));
    assert_eq!(roster.next_edge(camera(1), at(100)), Some(at(200)));
    assert_eq!(roster.next_edge(camera(1), at(200)), None);
    assert_eq!(roster.next_edge(camera(2), NOW), None);
    let back = Action::PlayBack;
    assert_eq!(ask(&roster, VIEWER, 1, back, (100, 150), 150), Ok(Basis::Grant(id)));
    assert_eq!(ask(&roster, VIEWER, 1, back, (100, 200), 199), Ok(Basis::Grant(id)));
    assert_eq!(ask(&roster, VIEWER, 1, back, (100, 150), 200), Err(Refusal::Ended(at(200))));
    assert_eq!(ask(&roster, VIEWER, 1, back, (100, 150), 99), Err(Refusal::NotYet(at(100))));
    assert_eq!(ask(&roster, VIEWER, 1, back, (99, 150), 150), Err(Refusal::PictureOutside));
    assert_eq!(ask(&roster, VIEWER, 1, back, (150, 201), 150), Err(Refusal::PictureOutside));
    assert_eq!(ask(&roster, VIEWER, 1, back, (150, 150), 150), Err(Refusal::EmptySpan));
    assert_eq!(ask(&roster, VIEWER, 1, Action::Export, (100, 150), 150), Err(Refusal::RightMissing(Right::Export)));
    assert_eq!(
        ask(&roster, VIEWER, 1, Action::ReadLedger, (100, 150), 150).unwrap_err(),
        Refusal::NotByGrant(Action::ReadLedger)
    );
    // Live is the running epoch.
    assert_eq!(ask(&roster, VIEWER, 1, Action::WatchLive, (140, 160), 150), Ok(Basis::Grant(id)));
    assert_eq!(ask(&roster, VIEWER, 1, Action::WatchLive, (120, 140), 150), Err(Refusal::NotRunning));
    assert_eq!(ask(&roster, VIEWER, 1, Action::WatchLive, (160, 170), 150), Err(Refusal::NotRunning));
    // Other cameras, unknown ones.
    assert_eq!(ask(&roster, VIEWER, 7, back, (100, 150), 150), Err(Refusal::UnknownCamera));
}

#[test]
fn only_live_gives_no_past() {
    let (_, bytes) = granted(grant_of(VIEWER, Rights::NONE.with(Right::Live), Cameras::All, -HOUR, HOUR));
    let roster = with(vec![bytes]);
    assert!(ask(&roster, VIEWER, 1, Action::WatchLive, (-10, 10), 0).is_ok());
    assert_eq!(ask(&roster, VIEWER, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::RightMissing(Right::Playback)));
    assert_eq!(keys(&roster, 1, 0), [fp(VIEWER)]);
}

#[test]
fn those_who_decide_and_those_who_run_the_place_never_look() {
    let (_, bytes) = granted(grant(VIEWER));
    let roster = with(vec![bytes]);
    let ask = |who| ask(&roster, who, 1, Action::PlayBack, (-10, 0), 0);
    assert_eq!(ask(SEAT[0]), Err(Refusal::RoleNever(Role::Custodian)));
    assert_eq!(ask(CLAIM), Err(Refusal::RoleNever(Role::Custodian)));
    assert_eq!(ask(ADMIN), Err(Refusal::RoleNever(Role::Administrator)));
    assert_eq!(ask(AUDITOR), Err(Refusal::RoleNever(Role::Auditor)));
    assert_eq!(ask(DEVICE), Err(Refusal::UnknownKey));
    assert_eq!(ask(STRANGER), Err(Refusal::UnknownKey));
    assert_eq!(ask(TECH), Err(Refusal::NoGrant));
    for (who, is_role) in [(SEAT[0], false), (ADMIN, true), (AUDITOR, true)] {
        let error = admitted(&house()).admit(&say(grant(who), 2, &OFFICE), NOW).unwrap_err();
        let fits = if is_role {
            matches!(error, RosterError::GrantForRole { .. })
        } else {
            matches!(error, RosterError::GrantForCustodian { .. })
        };
        assert!(fits, "{who}: {error}");
    }
}

#[test]
fn a_technician_sees_what_he_sets_up_until_it_is_registered() {
    let roster = with(vec![]);
    assert_eq!(ask(&roster, TECH, 2, Action::WatchLive, (-10, 10), 0), Ok(Basis::SetUp));
    assert_eq!(ask(&roster, TECH2, 2, Action::WatchLive, (-10, 10), 0), Err(Refusal::NotRegistered));
    assert_eq!(ask(&roster, TECH, 2, Action::PlayBack, (-10, 0), 0), Err(Refusal::NotRegistered));
    assert_eq!(keys(&roster, 2, 0), [fp(TECH)]);
    let roster = with(vec![say(register(2), 2, &[TECH])]);
    assert_eq!(ask(&roster, TECH, 2, Action::WatchLive, (-10, 10), 0), Err(Refusal::NoGrant));
    assert!(keys(&roster, 2, 0).is_empty());
}

#[test]
fn a_grant_on_all_cameras_shows_no_unregistered_one() {
    let (_, bytes) = granted(grant(VIEWER));
    let roster = with(vec![bytes]);
    assert_eq!(ask(&roster, VIEWER, 2, Action::WatchLive, (-10, 10), 0), Err(Refusal::NotRegistered));
    assert_eq!(keys(&roster, 2, 0), [fp(TECH)]);
}

#[test]
fn a_removed_camera_has_a_past_and_no_present() {
    let (id, bytes) = granted(grant(VIEWER));
    let roster = with(vec![bytes, say(remove(1), 2, &[ADMIN])]);
    assert_eq!(ask(&roster, VIEWER, 1, Action::WatchLive, (-10, 10), 0), Err(Refusal::CameraRemoved));
    assert_eq!(ask(&roster, VIEWER, 1, Action::PlayBack, (-10, 0), 0), Ok(Basis::Grant(id)));
    assert!(keys(&roster, 1, 0).is_empty() && roster.removed(camera(1)));
}

#[test]
fn a_holders_new_key_keeps_his_grants_and_a_reset_does_not() {
    let (id, bytes) = granted(grant(VIEWER));
    let moved = say(key_change(VIEWER, VIEWER, FREE, ChangedBy::Holder), 2, &[VIEWER]);
    let roster = with(vec![bytes.clone(), moved.clone()]);
    assert_eq!(ask(&roster, FREE, 1, Action::PlayBack, (-10, 0), 0), Ok(Basis::Grant(id)));
    assert_eq!(ask(&roster, VIEWER, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::KeyReplaced));
    assert_eq!(keys(&roster, 1, 0), [fp(FREE)]);
    let reset = say(key_change(VIEWER, VIEWER, FREE, ChangedBy::Reset), 2, &[ADMIN]);
    let roster = with(vec![bytes.clone(), reset]);
    assert_eq!(ask(&roster, FREE, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::NoGrant));
    assert!(keys(&roster, 1, 0).is_empty());
    // The reset's grants stay dead through a later change by the holder.
    let reset = say(key_change(VIEWER, VIEWER, FREE, ChangedBy::Reset), 2, &[ADMIN]);
    let again = say(key_change(VIEWER, FREE, FREE + 1, ChangedBy::Holder), 2, &[FREE]);
    assert!(keys(&with(vec![bytes, reset, again]), 1, 0).is_empty());
}

#[test]
fn a_thief_cannot_escape_revocation_by_changing_the_key() {
    let (_, bytes) = granted(grant(VIEWER));
    let theft = say(key_change(VIEWER, VIEWER, FREE, ChangedBy::Holder), 2, &[VIEWER]);
    let revoked = say(revocation(&[VIEWER], &[]), 2, &[ADMIN]);
    let roster = with(vec![bytes, theft, revoked]);
    assert_eq!(ask(&roster, FREE, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::KeyRevoked));
    assert!(keys(&roster, 1, 0).is_empty());
    assert_eq!(roster.next_edge(camera(1), at(-2 * HOUR)), None);
    assert!(roster.account_by_key(fp(FREE)).is_none());
}

#[test]
fn removal_of_an_account_ends_everything_of_it() {
    let (_, bytes) = granted(grant(VIEWER));
    let removal = Body::AccountRemoval(AccountRemoval { account: account(VIEWER) });
    let roster = with(vec![bytes, say(removal, 2, &[ADMIN])]);
    assert_eq!(ask(&roster, VIEWER, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::AccountRemoved));
    assert!(keys(&roster, 1, 0).is_empty());
}

#[test]
fn a_renewal_lengthens_and_never_shortens_or_revives() {
    let (id, bytes) = granted(grant(VIEWER));
    let renew = |hours: i64| Body::GrantRenewal(GrantRenewal { grants: vec![id], until: at(hours * HOUR) });
    let longer = say(renew(5), 2, &OFFICE);
    let shorter = signed(proposal(renew(2), 2), &OFFICE).to_bytes();
    let roster = with(vec![bytes.clone(), longer.clone(), shorter]);
    assert_eq!(roster.next_edge(camera(1), NOW), Some(at(5 * HOUR)));
    let mut history = house();
    history.extend([bytes, say(revocation(&[], &[id]), 2, &[SEAT[1]])]);
    let mut set = admitted(&history);
    assert!(set.admit(&longer, NOW).is_err());
    set.insert(&longer).unwrap();
    let roster = set.verify(NOW);
    assert!(keys(&roster, 1, 0).is_empty());
    assert_eq!(ask(&roster, VIEWER, 1, Action::PlayBack, (-10, 0), 0), Err(Refusal::GrantRevoked));
}

#[test]
fn too_many_recipients_are_refused_with_the_way_out() {
    let mut roster = Roster::clone(&with(vec![]));
    let grants: Vec<_> = (0..=RECIPIENTS_MAX).map(|i| u8::try_from(i).unwrap()).collect();
    for i in grants {
        // Built beside the door: a hundred key pairs would cost a second and prove nothing more.
        let mut person = roster.account(account(VIEWER)).unwrap().clone();
        person.id = peri_domain::AccountId([i, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        let Body::Grant(grant) = grant(VIEWER) else { unreachable!() };
        let grant = Grant { account: person.id, ..*grant };
        roster.grants_of.insert(person.id, vec![Nonce([i; 16])]);
        let until = grant.until;
        roster.grants.insert(Nonce([i; 16]), crate::GrantState { grant, until, revoked: false });
        roster.accounts.insert(person.id, person);
    }
    let error = roster.recipients(camera(1), NOW).unwrap_err();
    assert_eq!(error.found, RECIPIENTS_MAX + 1);
    assert!(error.to_string().contains("post key"));

    // Keeper's door asks this before it lets the grant in that would be one too many.
    let one = Cameras::List(vec![camera(1)]);
    assert_eq!(roster.crowd(&one, NOW), Some(RECIPIENTS_MAX + 1));
    assert_eq!(roster.crowd(&Cameras::All, NOW), Some(RECIPIENTS_MAX + 1));
    // Not at the same time is not too many: one of them begins when all others are over …
    let over = roster.grants.values().map(|state| state.until).max().unwrap();
    let late = *roster.grants.keys().next_back().unwrap();
    let state = roster.grants.get_mut(&late).unwrap();
    (state.grant.from, state.until) = (over, at(1_000 * HOUR).max(over + Duration::from_secs(1)));
    assert_eq!(roster.crowd(&one, NOW), None);
    // … nor one for another camera, nor one that is over or revoked.
    let state = roster.grants.get_mut(&late).unwrap();
    (state.grant.from, state.until, state.grant.cameras) = (NOW, over, Cameras::List(vec![camera(2)]));
    assert_eq!(roster.crowd(&one, NOW), None);
    let state = roster.grants.get_mut(&late).unwrap();
    state.grant.cameras = one.clone();
    assert_eq!(roster.crowd(&one, NOW), Some(RECIPIENTS_MAX + 1));
    assert_eq!(roster.crowd(&one, over), None);
    roster.revoked_grants.insert(late);
    assert_eq!(roster.crowd(&one, NOW), None);
}

#[test]
fn the_door_refuses_the_grant_that_is_one_too_many_and_keeps_all_others() {
    let people: Vec<KeyPair> = (0..=RECIPIENTS_MAX).map(|_| KeyPair::generate(&mut peri_seal::rng::system())).collect();
    let mut set = admitted(&house());
    let mut last = None;
    for (i, pair) in people.iter().enumerate() {
        let id = peri_domain::AccountId([u8::try_from(100 + i).unwrap(); 16]);
        let Body::Account(mut new) = person(VIEWER, Role::Viewer) else { unreachable!() };
        (new.id, new.name, new.key) = (id, format!("guard {i}"), pair.public().clone());
        set.admit(&say(Body::Account(new), 2, &[ADMIN]), NOW).unwrap();
        let Body::Grant(mut grant) = grant(VIEWER) else { unreachable!() };
        (grant.account, grant.recipient) = (id, pair.fingerprint());
        last = Some(set.admit(&say(Body::Grant(grant), 2, &OFFICE), NOW));
    }
    let error = last.unwrap().unwrap_err();
    assert_eq!(error, RosterError::TooManyRecipients { found: RECIPIENTS_MAX + 1, max: RECIPIENTS_MAX });
    assert_eq!(set.verify(NOW).recipients(camera(1), NOW).unwrap().len(), RECIPIENTS_MAX);
}

#[test]
fn retention_is_the_administrators_below_the_ceiling_and_never_above() {
    let keep = |serial, hours: u64| Body::Retention(Retention { serial, secs: hours * 3600 });
    let mut set = admitted(&house());
    assert_eq!(set.verify(NOW).retention(), RETENTION_DEFAULT);
    let error = set.admit(&say(keep(1, 73), 2, &[ADMIN]), NOW).unwrap_err();
    assert_eq!(error, RosterError::AboveCeiling { secs: 73 * 3600, ceiling: 72 * 3600 });
    set.admit(&say(profile(1, 240), 2, &OFFICE), NOW).unwrap();
    set.admit(&say(keep(1, 200), 2, &[ADMIN]), NOW).unwrap();
    assert_eq!(set.verify(NOW).retention(), Duration::from_secs(200 * 3600));
    set.admit(&say(profile(2, 100), 2, &OFFICE), NOW).unwrap();
    assert_eq!(set.verify(NOW).retention(), Duration::from_secs(100 * 3600));
    let error = set.admit(&say(keep(u32::MAX, 1), 2, &[ADMIN]), NOW).unwrap_err();
    assert!(matches!(error, RosterError::StaleSerial { current: 1, .. }), "{error}");
}

#[test]
fn a_signer_reads_who_what_and_how_long() {
    let statement = Statement::unsigned(proposal(
        grant_of(VIEWER, Rights::NONE.with(Right::Export), Cameras::List(vec![camera(1), camera(2)]), 0, HOUR),
        2,
    ));
    let line = statement.describe();
    for part in [
        "grant export on 2 cameras [",
        &camera(1).to_string(),
        &camera(2).to_string(),
        &account(VIEWER).to_string(),
        &fp(VIEWER).to_string()[..16],
        &at(HOUR).to_string(),
    ] {
        assert!(line.contains(part), "{line}");
    }
}
