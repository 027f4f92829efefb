//! A small installation on paper for tests of access: fixed keys, two seats of which one suffices, statements signed and
//! put into a roster set as keeper would.
//!
//! What does not belong: judgements. Keys are fixed so that runs are alike; they belong to nobody.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod lives;

use peri_domain::{AccountId, CameraId, Fingerprint, Hash, Nonce, Rights, Role, UtcNanos, VmId};
use peri_roster::body::{
    AccountRemoval, Body, CameraAdd, CameraRegister, CameraRemove, Cameras, ChangedBy, ClaimedBy, Genesis, Grant,
    GrantRenewal, KeyChange, NewAccount, Post, PostMember, Revocation, Seat, SeatKind, WeeklyHours, device_identity,
};
use peri_roster::{Anchor, CameraSetup, Proposal, Roster, RosterSet, Statement, Trust, Verified};
use peri_seal::keys::KeyPair;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Indices of keys.
pub(crate) const CLAIM: usize = 0;
pub(crate) const DEVICE: usize = 1;
/// Signs for the custodians; one seat suffices here.
pub(crate) const SEAT: usize = 2;
pub(crate) const OTHER_SEAT: usize = 3;
pub(crate) const ADMINISTRATOR: usize = 4;
pub(crate) const VIEWER: usize = 5;
pub(crate) const EXTERNAL: usize = 6;
pub(crate) const TECHNICIAN: usize = 7;
pub(crate) const OTHER_TECHNICIAN: usize = 8;
pub(crate) const AUDITOR: usize = 9;
/// Keys without an owner.
pub(crate) const FREE: usize = 10;

/// Every account of [`Office::staffed`].
pub(crate) const STAFF: [(usize, Role); 6] = [
    (ADMINISTRATOR, Role::Administrator),
    (VIEWER, Role::Viewer),
    (EXTERNAL, Role::External),
    (TECHNICIAN, Role::Technician),
    (OTHER_TECHNICIAN, Role::Technician),
    (AUDITOR, Role::Auditor),
];

static KEYS: LazyLock<Vec<KeyPair>> = LazyLock::new(|| {
    (1..=32_u8).map(|i| KeyPair::from_secret_bytes(&[i; 80]).expect("a small scalar is below the order")).collect()
});

pub(crate) const VM: VmId = VmId([9; 16]);
/// When everything is judged, but for what a test moves.
pub(crate) const NOW: UtcNanos = UtcNanos::from_secs(1_800_000_000);
pub(crate) const HOUR: i64 = 3600;

/// Seconds after [`NOW`].
pub(crate) fn at(secs: i64) -> UtcNanos {
    UtcNanos::from_secs(NOW.secs() + secs)
}

pub(crate) fn key(index: usize) -> &'static KeyPair {
    &KEYS[index]
}

pub(crate) fn fingerprint(index: usize) -> Fingerprint {
    KEYS[index].fingerprint()
}

pub(crate) fn account(index: usize) -> AccountId {
    AccountId([u8::try_from(index).expect("a small number"); 16])
}

/// The post of this number; no account has its id.
pub(crate) fn post(number: usize) -> AccountId {
    AccountId([0xf0 + u8::try_from(number).expect("a small number"); 16])
}

pub(crate) fn camera(number: u8) -> CameraId {
    CameraId([number; 16])
}

/// Roster statements of one appliance.
#[derive(Clone)]
pub(crate) struct Office {
    set: RosterSet,
    vm: VmId,
    said: u64,
    /// Posts by the keys of their versions.
    posts: BTreeMap<usize, AccountId>,
}

impl Office {
    /// Claimed; no seat is filled yet.
    pub(crate) fn claimed(vm: VmId) -> Self {
        let provisioning = Hash([7; 32]);
        let anchor = Anchor { vm, claim_key: fingerprint(CLAIM), provisioning, device: fingerprint(DEVICE) };
        let mut office = Self { set: RosterSet::new(anchor), vm, said: 0, posts: BTreeMap::new() };
        office.say_under(
            0,
            Body::Genesis(Box::new(Genesis {
                provisioning,
                claim_key: key(CLAIM).public().clone(),
                device: key(DEVICE).public().clone(),
                image: None,
                k: 1,
                n: 2,
                claimed_by: ClaimedBy::Customer,
            })),
            CLAIM,
        );
        office
    }

    /// With both seats and an account of every role.
    pub(crate) fn staffed(vm: VmId) -> Self {
        let mut office = Self::claimed(vm);
        for (index, holder) in (0..).zip([SEAT, OTHER_SEAT]) {
            let key = key(holder).public().clone();
            let seat = Seat { index, name: format!("seat {index}"), key, kind: SeatKind::Person };
            office.say_under(0, Body::Seat(Box::new(seat)), CLAIM);
        }
        STAFF.iter().for_each(|(index, role)| office.employ(*index, *role));
        office
    }

    /// The verified roster.
    pub(crate) fn roster(&self) -> Verified<Roster> {
        self.set.verify(NOW)
    }

    /// An account with the key of its number.
    pub(crate) fn employ(&mut self, index: usize, role: Role) {
        let (id, key) = (account(index), key(index).public().clone());
        let person = NewAccount { id, role, name: format!("person {index}"), key };
        self.say(Body::Account(Box::new(person)), SEAT);
    }

    /// Says something under the seats in office; whether it takes effect is the roster's affair. Returns its nonce.
    pub(crate) fn say(&mut self, body: Body, signer: usize) -> Nonce {
        self.say_under(1, body, signer)
    }

    fn say_under(&mut self, seat_set: u32, body: Body, signer: usize) -> Nonce {
        self.said += 1;
        let nonce = Nonce(u128::from(self.said).to_be_bytes());
        let proposal = Proposal::new(self.vm, body, at(HOUR), nonce, seat_set).expect("a sane body");
        let statement = Statement::unsigned(proposal).sign(key(signer).signing(), fingerprint(signer));
        self.set.insert(&statement.to_bytes()).expect("a genuine statement");
        nonce
    }

    /// A grant by the custodians to the account or post of this key: rights, cameras, seconds from and until.
    pub(crate) fn grant(&mut self, to: usize, rights: Rights, cameras: Cameras, window: (i64, i64)) -> Nonce {
        self.grant_in(None, to, rights, cameras, window)
    }

    /// As [`Self::grant`], in hours of the week.
    pub(crate) fn grant_in(
        &mut self,
        weekly: Option<WeeklyHours>,
        to: usize,
        rights: Rights,
        cameras: Cameras,
        window: (i64, i64),
    ) -> Nonce {
        let (from, until) = (at(window.0), at(window.1));
        let holder = self.posts.get(&to).copied().unwrap_or_else(|| account(to));
        let grant = Grant { recipient: fingerprint(to), account: holder, rights, cameras, from, until, weekly };
        self.say(Body::Grant(Box::new(grant)), SEAT)
    }

    /// A version of a post: its key, and its members with their first keys. Nobody opens its key here.
    pub(crate) fn man(&mut self, number: usize, serial: u32, key_of: usize, members: &[usize]) {
        let sealed = || vec![0; peri_seal::post::POST_SEALED_LEN];
        let member = |of: &usize| PostMember { account: account(*of), key: fingerprint(*of), sealed: sealed() };
        let mut members: Vec<_> = members.iter().map(member).collect();
        members.sort_unstable_by_key(|member| member.account);
        let (id, key) = (post(number), key(key_of).public().clone());
        self.posts.insert(key_of, id);
        self.say(Body::Post(Box::new(Post { id, serial, name: "control room".into(), key, members })), SEAT);
    }

    pub(crate) fn renew(&mut self, grant: Nonce, until: i64) {
        self.say(Body::GrantRenewal(GrantRenewal { grants: vec![grant], until: at(until) }), SEAT);
    }

    pub(crate) fn revoke(&mut self, keys: &[usize], grants: &[Nonce]) {
        let mut keys: Vec<_> = keys.iter().map(|index| fingerprint(*index)).collect();
        keys.sort_unstable();
        let mut grants = grants.to_vec();
        grants.sort_unstable();
        self.say(Body::Revocation(Revocation { keys, grants, reason: "left".into() }), SEAT);
    }

    pub(crate) fn remove(&mut self, of: usize) {
        self.say(Body::AccountRemoval(AccountRemoval { account: account(of) }), ADMINISTRATOR);
    }

    /// A new key for an account, said by its holder or as a reset by the administrator.
    pub(crate) fn change_key(&mut self, of: usize, old: usize, new: usize, by: ChangedBy) {
        let signer = if by == ChangedBy::Holder { old } else { ADMINISTRATOR };
        let (old, new) = (fingerprint(old), key(new).public().clone());
        self.say(Body::KeyChange(Box::new(KeyChange { account: account(of), old, new, by })), signer);
    }

    /// A camera that [`TECHNICIAN`] is setting up.
    pub(crate) fn mount(&mut self, number: u8) {
        let setup = CameraSetup {
            name: format!("door {number}"),
            device: device_identity("serial", &number.to_string()),
            url: format!("rtsps://10.0.0.{number}/stream"),
            trust: Trust::Pin(Hash([number; 32])),
            user: "peri".into(),
            sealed_password: vec![1, 2, 3],
        };
        let set_up_by = Some(account(TECHNICIAN));
        self.say(
            Body::CameraAdd(Box::new(CameraAdd { camera: camera(number), setup, set_up_by, beside: None })),
            TECHNICIAN,
        );
    }

    pub(crate) fn register(&mut self, number: u8) {
        self.say(Body::CameraRegister(CameraRegister { camera: camera(number) }), TECHNICIAN);
    }

    pub(crate) fn dismantle(&mut self, number: u8) {
        self.say(Body::CameraRemove(CameraRemove { camera: camera(number) }), ADMINISTRATOR);
    }
}
