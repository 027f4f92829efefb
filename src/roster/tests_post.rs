//! Posts: grants to a control room, its members, their comings and goings; and the weekly hours of a grant.

use crate::body::*;
use crate::testkit::*;
use crate::{Basis, Body, Refusal, Roster, RosterError, Statement, Verified};
use peri_domain::limits::{POST_MEMBERS_MAX, STATEMENT_MAX};
use peri_domain::{AccountId, Action, Fingerprint, Nonce, Rights, Role};
use peri_seal::keys::Signature;
use peri_seal::post::POST_SEALED_LEN;

const OFFICE: [usize; 2] = [SEAT[0], HEIR];
const DESK: u8 = 0xcc;
/// Two people of a control room, and keys of its post.
const ANNA: usize = FREE;
const BERT: usize = FREE + 1;
const POST_1: usize = FREE + 2;
const POST_2: usize = FREE + 3;

/// The house with two externals, their post, and a grant to it; its id.
fn room() -> (Vec<Vec<u8>>, Nonce) {
    let mut history = house();
    history.extend([ANNA, BERT].map(|who| say(person(who, Role::External), 2, &[ADMIN])));
    history.push(say(post(DESK, 1, POST_1, &[ANNA, BERT]), 2, &OFFICE));
    let statement = signed(proposal(to_post(POST_1), 2), &OFFICE);
    history.push(statement.to_bytes());
    (history, statement.proposal().nonce)
}

fn to_post(key_of: usize) -> Body {
    let Body::Grant(body) = grant(VIEWER) else { unreachable!() };
    Body::Grant(Box::new(Grant { recipient: fp(key_of), account: AccountId([DESK; 16]), ..*body }))
}

fn after(more: Vec<Vec<u8>>) -> Verified<Roster> {
    let (mut history, _) = room();
    history.extend(more);
    admitted(&history).verify(NOW)
}

fn ask(roster: &Roster, who: usize) -> Result<(AccountId, Basis), Refusal> {
    roster.grant_for(fp(who), camera(1), Action::PlayBack, at(-10), at(0), NOW).map(|g| (g.account, g.basis))
}

fn keys(roster: &Roster) -> Vec<Fingerprint> {
    roster.recipients(camera(1), NOW).unwrap().into_iter().map(|(_, fingerprint)| fingerprint).collect()
}

#[test]
fn an_epoch_is_wrapped_to_the_post_and_each_member_asks_under_his_own_name() {
    let (history, id) = room();
    let roster = admitted(&history).verify(NOW);
    assert_eq!(keys(&roster), [fp(POST_1)]);
    for who in [ANNA, BERT] {
        assert_eq!(ask(&roster, who), Ok((account(who), Basis::Grant(id))));
    }
    assert_eq!(ask(&roster, POST_1), Err(Refusal::PostNeverAsks));
    assert_eq!(ask(&roster, VIEWER), Err(Refusal::NoGrant));
    // Rights, window and camera are the grant's.
    let export = roster.grant_for(fp(ANNA), camera(1), Action::Export, at(-10), at(0), NOW);
    assert_eq!(export.unwrap_err(), Refusal::RightMissing(peri_domain::Right::Export));
    assert_eq!(roster.next_edge(camera(1), NOW), Some(at(HOUR)));
    // Nothing of an unregistered camera.
    assert_eq!(roster.recipients(camera(2), NOW).unwrap(), [(key(TECH).public(), fp(TECH))]);
}

#[test]
fn who_leaves_a_post_is_out_with_the_next_version_and_the_grants_go_on() {
    let (mut history, id) = room();
    history.push(say(post(DESK, 2, POST_2, &[BERT]), 2, &OFFICE));
    let roster = admitted(&history).verify(NOW);
    assert_eq!(keys(&roster), [fp(POST_2)], "the key that the leaver knows gets nothing more");
    assert_eq!(ask(&roster, ANNA), Err(Refusal::NoGrant));
    assert_eq!(ask(&roster, BERT), Ok((account(BERT), Basis::Grant(id))), "k seats need not sign each grant again");
    let versions: Vec<_> = roster.posts().next().unwrap().versions().map(|v| v.key.fingerprint()).collect();
    assert_eq!(versions, [fp(POST_1), fp(POST_2)], "what was wrapped to the old key still opens for its members");
}

#[test]
fn a_member_who_was_removed_or_revoked_gets_nothing_more_through_the_post() {
    for gone in [
        say(revocation(&[ANNA], &[]), 2, &[ADMIN]),
        say(Body::AccountRemoval(AccountRemoval { account: account(ANNA) }), 2, &[ADMIN]),
        say(key_change(ANNA, ANNA, FREE + 5, ChangedBy::Reset), 2, &[ADMIN]),
    ] {
        let roster = after(vec![gone.clone()]);
        assert!(keys(&roster).is_empty(), "an epoch was wrapped to a key that a former member knows");
        assert!(ask(&roster, ANNA).is_err());
        assert_eq!(ask(&roster, BERT), Err(Refusal::NoGrant));
        assert_eq!(roster.next_edge(camera(1), NOW), None);
        // The next version, without him, and it goes on.
        let roster = after(vec![gone, say(post(DESK, 2, POST_2, &[BERT]), 2, &OFFICE)]);
        assert_eq!(keys(&roster), [fp(POST_2)]);
        assert!(ask(&roster, BERT).is_ok());
    }
    // His own change of key does not leave the post.
    let roster = after(vec![say(key_change(ANNA, ANNA, FREE + 5, ChangedBy::Holder), 2, &[ANNA])]);
    assert_eq!(keys(&roster), [fp(POST_1)]);
    assert!(ask(&roster, FREE + 5).is_ok() && ask(&roster, ANNA).is_err());
}

#[test]
fn a_revoked_post_key_or_grant_is_dead_in_any_order() {
    for by_key in [true, false] {
        let (mut history, id) = room();
        let revoked = if by_key { revocation(&[POST_1], &[]) } else { revocation(&[], &[id]) };
        // The revocation first, although it names what is not there yet.
        history.push(say(revoked, 2, &[SEAT[1]]));
        history.rotate_right(1);
        let mut set = crate::RosterSet::new(anchor());
        for bytes in &history {
            set.insert(bytes).unwrap();
        }
        let roster = set.verify(NOW);
        assert!(roster.grants().all(|(_, state)| state.revoked != by_key));
        assert!(keys(&roster).is_empty() && ask(&roster, ANNA).is_err());
    }
    // A grant to a key that was revoked by name does not go on with the next version.
    let roster =
        after(vec![say(revocation(&[POST_1], &[]), 2, &[ADMIN]), say(post(DESK, 2, POST_2, &[ANNA]), 2, &OFFICE)]);
    assert!(keys(&roster).is_empty());
    let roster = after(vec![
        say(revocation(&[POST_1], &[]), 2, &[ADMIN]),
        say(post(DESK, 2, POST_2, &[ANNA]), 2, &OFFICE),
        say(to_post(POST_2), 2, &OFFICE),
    ]);
    assert_eq!(keys(&roster), [fp(POST_2)]);
}

#[test]
fn custodians_administrators_strangers_and_foreign_keys_are_no_members() {
    let mut set = admitted(&room().0);
    let mut refuse = |body: Body| set.admit(&say(body, 2, &OFFICE), NOW).unwrap_err();
    let member = |who: usize, key_of: usize| {
        let Body::Post(mut body) = post(DESK, 2, POST_2, &[who]) else { unreachable!() };
        body.members[0].key = fp(key_of);
        Body::Post(body)
    };
    assert_eq!(refuse(member(ANNA, SEAT[0])), RosterError::GrantForCustodian { key: fp(SEAT[0]) });
    let role = |who, role| RosterError::GrantForRole { account: account(who), role };
    assert_eq!(refuse(member(ADMIN, ADMIN)), role(ADMIN, Role::Administrator));
    assert_eq!(refuse(member(AUDITOR, AUDITOR)), role(AUDITOR, Role::Auditor));
    assert!(matches!(refuse(member(ANNA, BERT)), RosterError::Invalid { .. }));
    assert!(matches!(refuse(member(ANNA, POST_1)), RosterError::Invalid { .. }));
    assert!(matches!(refuse(member(STRANGER, STRANGER)), RosterError::Invalid { .. }));
    // A key serves once: neither an old post key, nor a person's, nor a seat's is a post's.
    for key_of in [POST_1, VIEWER, SEAT[1], CLAIM, DEVICE] {
        assert!(matches!(refuse(post(DESK, 2, key_of, &[ANNA])), RosterError::KeyInUse { .. }), "{key_of}");
    }
    assert!(matches!(refuse(post(DESK, 3, POST_2, &[ANNA])), RosterError::StaleSerial { current: 1, .. }));
    assert!(matches!(
        refuse(post(u8::try_from(VIEWER).unwrap(), 1, POST_2, &[ANNA])),
        RosterError::AccountExists { .. }
    ));
    assert!(matches!(refuse(person(POST_1, Role::Viewer)), RosterError::KeyInUse { .. }));
    // The past is released to a person.
    let release = Release { account: AccountId([DESK; 16]), recipient: fp(POST_1), span: span() };
    assert!(refuse(Body::Release(Box::new(release))).to_string().contains("is a post"));
    // Its key has no signature that counts.
    let error = set.admit(&say(revocation(&[VIEWER], &[]), 2, &[POST_1]), NOW).unwrap_err();
    assert!(matches!(error, RosterError::NeedsSigners { .. }), "{error}");
}

#[test]
fn a_full_post_fits_a_statement_with_all_seats_signing() {
    let Body::Post(mut body) = post(DESK, 1, POST_1, &[ANNA]) else { unreachable!() };
    let one = body.members[0].clone();
    body.name = "n".repeat(TEXT_MAX);
    body.members = (0..POST_MEMBERS_MAX)
        .map(|i| PostMember { account: AccountId([u8::try_from(i).unwrap(); 16]), ..one.clone() })
        .collect();
    let full = Statement::unsigned(proposal(Body::Post(body.clone()), u32::MAX));
    let signers = (0..16_u8).map(|i| Fingerprint([i; 32]));
    let full = signers.fold(full, |s, signer| s.attach(signer, Signature([3; 96]))).to_bytes();
    assert!(full.len() <= STATEMENT_MAX, "{}", full.len());
    assert!(Statement::from_bytes(&full).is_ok());
    body.members.push(PostMember { account: AccountId([0xff; 16]), ..one });
    assert!(Body::Post(body.clone()).check().unwrap_err().to_string().contains("second post"));
    body.members.truncate(2);
    body.members[1].sealed = vec![0; POST_SEALED_LEN - 1];
    assert!(Body::Post(body).check().is_err());
}

#[test]
fn a_grant_with_weekly_hours_holds_in_them_alone() {
    // NOW, 2027-01-15T08:00:00Z, is a Friday; in Berlin it is nine.
    let hours = |zone: &str, from: u16, until: u16| {
        let Body::Grant(body) = grant_of(VIEWER, Rights::ALL, Cameras::All, -48 * HOUR, 480 * HOUR) else {
            unreachable!()
        };
        let spans = vec![Minutes { from: 4 * 1440 + from * 60, until: 4 * 1440 + until * 60 }];
        Body::Grant(Box::new(Grant { weekly: Some(WeeklyHours { zone: zone.into(), spans }), ..*body }))
    };
    let statement = signed(proposal(hours("Europe/Berlin", 8, 10), 2), &OFFICE);
    let line = statement.describe();
    assert!(line.contains("only Fri 08:00 to Fri 10:00 (Europe/Berlin)"), "{line}");
    let roster = after(vec![statement.to_bytes()]);
    let wrapped = |when: i64| {
        let keys = roster.recipients(camera(1), at(when)).unwrap();
        keys.iter().any(|(_, key)| *key == fp(VIEWER))
    };
    assert!(!wrapped(-HOUR - 1) && wrapped(-HOUR) && wrapped(HOUR - 1) && !wrapped(HOUR));
    assert!(!wrapped(24 * HOUR) && wrapped(7 * 24 * HOUR));
    assert_eq!(roster.next_edge(camera(1), at(2 * HOUR)), Some(at((7 * 24 - 1) * HOUR)));
    let ask = |pictures: (i64, i64), now: i64| {
        let span = (at(pictures.0), at(pictures.1));
        roster.grant_for(fp(VIEWER), camera(1), Action::PlayBack, span.0, span.1, at(now)).map(|g| g.until)
    };
    assert_eq!(ask((-HOUR, HOUR), 0), Ok(Some(at(HOUR))));
    assert_eq!(ask((-HOUR, HOUR), HOUR), Err(Refusal::OutsideHours));
    assert_eq!(ask((-HOUR - 1, HOUR), 0), Err(Refusal::PictureOutside));
    assert_eq!(ask((-HOUR, HOUR + 1), 0), Err(Refusal::PictureOutside));
    // A week later he sees this Friday's, but nothing that reaches over the nights between.
    assert_eq!(ask((-HOUR, 0), 7 * 24 * HOUR), Ok(Some(at((7 * 24 + 1) * HOUR))));
    assert_eq!(ask((0, 7 * 24 * HOUR), 7 * 24 * HOUR), Err(Refusal::PictureOutside));
    let error = crate::Proposal::new(VM, hours("Mars/Olympus", 8, 10), at(HOUR), nonce(), 2).unwrap_err();
    assert!(error.to_string().contains("Mars/Olympus") && error.to_string().contains("Europe/Berlin"), "{error}");
}
