//! A small installation for the tests of this crate: a pool of keys, and a founded roster with people and cameras.

use crate::body::*;
use crate::{Anchor, Proposal, RosterSet, Statement};
use peri_domain::{AccountId, CameraId, Fingerprint, Hash, Nonce, Right, Rights, Role, UtcNanos, VmId};
use peri_seal::keys::KeyPair;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const CLAIM: usize = 0;
pub(crate) const DEVICE: usize = 1;
/// Founding seats 0, 1, 2 of k = 2, n = 3.
pub(crate) const SEAT: [usize; 3] = [2, 3, 4];
/// Takes seat 2 over.
pub(crate) const HEIR: usize = 5;
pub(crate) const ADMIN: usize = 6;
pub(crate) const VIEWER: usize = 7;
pub(crate) const TECH: usize = 8;
pub(crate) const TECH2: usize = 9;
pub(crate) const AUDITOR: usize = 10;
pub(crate) const STRANGER: usize = 11;
/// Keys without an owner, for new people.
pub(crate) const FREE: usize = 12;

static POOL: LazyLock<Vec<KeyPair>> =
    LazyLock::new(|| (0..32).map(|_| KeyPair::generate(&mut peri_seal::rng::system())).collect());
static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) const VM: VmId = VmId([9; 16]);
pub(crate) const NOW: UtcNanos = UtcNanos::from_secs(1_800_000_000);
pub(crate) const HOUR: i64 = 3600;

pub(crate) fn at(secs: i64) -> UtcNanos {
    UtcNanos::from_secs(NOW.secs() + secs)
}

pub(crate) fn key(index: usize) -> &'static KeyPair {
    &POOL[index]
}

pub(crate) fn fp(index: usize) -> Fingerprint {
    POOL[index].fingerprint()
}

pub(crate) fn anchor() -> Anchor {
    Anchor { vm: VM, claim_key: fp(CLAIM), provisioning: Hash([7; 32]), device: fp(DEVICE) }
}

pub(crate) fn nonce() -> Nonce {
    Nonce(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

pub(crate) fn account(index: usize) -> AccountId {
    AccountId([u8::try_from(index).unwrap(); 16])
}

pub(crate) fn camera(number: u8) -> CameraId {
    CameraId([number; 16])
}

pub(crate) fn proposal(body: Body, seat_set: u32) -> Proposal {
    Proposal::new(VM, body, at(HOUR), nonce(), seat_set).unwrap()
}

pub(crate) fn signed(proposal: Proposal, signers: &[usize]) -> Statement {
    signers.iter().fold(Statement::unsigned(proposal), |s, i| s.sign(key(*i).signing(), fp(*i)))
}

pub(crate) fn say(body: Body, seat_set: u32, signers: &[usize]) -> Vec<u8> {
    signed(proposal(body, seat_set), signers).to_bytes()
}

pub(crate) fn genesis() -> Body {
    Body::Genesis(Box::new(Genesis {
        provisioning: Hash([7; 32]),
        claim_key: key(CLAIM).public().clone(),
        device: key(DEVICE).public().clone(),
        image: None,
        k: 2,
        n: 3,
        claimed_by: ClaimedBy::Customer,
    }))
}

pub(crate) fn seat_of(index: u8, holder: usize) -> Seat {
    Seat { index, name: format!("seat {index}"), key: key(holder).public().clone(), kind: SeatKind::Person }
}

pub(crate) fn seat(index: u8, holder: usize) -> Body {
    Body::Seat(Box::new(seat_of(index, holder)))
}

pub(crate) fn handover(index: u8, from: usize, to: usize) -> Body {
    Body::SeatHandover(Box::new(SeatHandover { from: fp(from), seat: seat_of(index, to) }))
}

pub(crate) fn person(index: usize, role: Role) -> Body {
    Body::Account(Box::new(NewAccount {
        id: account(index),
        role,
        name: format!("person {index}"),
        key: key(index).public().clone(),
    }))
}

pub(crate) fn key_change(owner: usize, old: usize, new: usize, by: ChangedBy) -> Body {
    Body::KeyChange(Box::new(KeyChange { account: account(owner), old: fp(old), new: key(new).public().clone(), by }))
}

pub(crate) fn grant_of(recipient: usize, rights: Rights, cameras: Cameras, from: i64, until: i64) -> Body {
    Body::Grant(Box::new(Grant {
        recipient: fp(recipient),
        account: account(recipient),
        rights,
        cameras,
        from: at(from),
        until: at(until),
        weekly: None,
    }))
}

pub(crate) fn grant(recipient: usize) -> Body {
    grant_of(recipient, Rights::NONE.with(Right::Live).with(Right::Playback), Cameras::All, -HOUR, HOUR)
}

pub(crate) fn revocation(keys: &[usize], grants: &[Nonce]) -> Body {
    let mut keys: Vec<_> = keys.iter().map(|i| fp(*i)).collect();
    keys.sort_unstable();
    let mut grants = grants.to_vec();
    grants.sort_unstable();
    Body::Revocation(Revocation { keys, grants, reason: "left".into() })
}

/// A set-up for a device of its own.
pub(crate) fn setup(device: u8) -> CameraSetup {
    CameraSetup {
        name: format!("door {device}"),
        device: device_identity("serial", &device.to_string()),
        url: format!("rtsps://10.0.0.{device}/stream"),
        trust: Trust::Pin(Hash([device; 32])),
        user: "peri".into(),
        sealed_password: vec![1, 2, 3],
    }
}

pub(crate) fn camera_add(number: u8, device: u8, set_up_by: Option<usize>, beside: Option<u8>) -> Body {
    Body::CameraAdd(Box::new(CameraAdd {
        camera: camera(number),
        setup: setup(device),
        set_up_by: set_up_by.map(account),
        beside: beside.map(camera),
    }))
}

pub(crate) fn re_setup(number: u8, serial: u32, device: u8, beside: Option<u8>) -> Body {
    Body::CameraReSetup(Box::new(CameraReSetup {
        camera: camera(number),
        serial,
        setup: setup(device),
        beside: beside.map(camera),
    }))
}

pub(crate) fn register(number: u8) -> Body {
    Body::CameraRegister(CameraRegister { camera: camera(number) })
}

pub(crate) fn remove(number: u8) -> Body {
    Body::CameraRemove(CameraRemove { camera: camera(number) })
}

pub(crate) fn profile(serial: u32, ceiling_hours: u64) -> Body {
    Body::Profile(Box::new(Profile {
        serial,
        k: 2,
        n: 3,
        retention_ceiling_secs: ceiling_hours * 3600,
        audio: false,
        masks: Vec::new(),
        exceptions: Vec::new(),
        told: vec!["works council: every release".into()],
    }))
}

/// A post of these members; nobody opens its key here.
pub(crate) fn post(id: u8, serial: u32, key_of: usize, members: &[usize]) -> Body {
    let mut members: Vec<PostMember> = members
        .iter()
        .map(|i| PostMember { account: account(*i), key: fp(*i), sealed: vec![0; peri_seal::post::POST_SEALED_LEN] })
        .collect();
    members.sort_unstable_by_key(|member| member.account);
    let key = key(key_of).public().clone();
    Body::Post(Box::new(Post { id: AccountId([id; 16]), serial, name: "control room".into(), key, members }))
}

pub(crate) fn span() -> Span {
    Span { cameras: Cameras::All, from: at(-HOUR), until: at(0), reason: "case 12".into() }
}

/// Genesis and three seats.
pub(crate) fn founding() -> Vec<Vec<u8>> {
    let mut history = vec![say(genesis(), 0, &[CLAIM])];
    for (index, holder) in (0..).zip(SEAT) {
        history.push(say(seat(index, holder), 0, &[CLAIM]));
    }
    history
}

/// Everybody, seat 2 handed over (seat set 2), camera 1 registered, camera 2 being set up by the technician.
pub(crate) fn house() -> Vec<Vec<u8>> {
    let mut history = founding();
    let seats = [SEAT[0], SEAT[1]];
    history.push(say(person(ADMIN, Role::Administrator), 1, &seats));
    for (index, role) in
        [(VIEWER, Role::Viewer), (TECH, Role::Technician), (TECH2, Role::Technician), (AUDITOR, Role::Auditor)]
    {
        history.push(say(person(index, role), 1, &[ADMIN]));
    }
    history.push(say(camera_add(1, 1, None, None), 1, &seats));
    history.push(say(register(1), 1, &seats));
    history.push(say(camera_add(2, 2, Some(TECH), None), 1, &[TECH]));
    history.push(say(handover(2, SEAT[2], HEIR), 1, &seats));
    history
}

pub(crate) fn admitted(history: &[Vec<u8>]) -> RosterSet {
    let mut set = RosterSet::new(anchor());
    for bytes in history {
        set.admit(bytes, NOW).unwrap();
    }
    set
}
