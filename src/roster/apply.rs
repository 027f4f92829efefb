//! What each statement does to the roster, once its signers suffice.
//!
//! Three outcomes, decided by the roster alone: it takes effect; it waits for something that is not there yet; it is
//! void for ever because it contradicts what took effect before it. What does not belong: signatures, clocks. The
//! effect depends on the body, never on who signed or in which order statements arrived.

use crate::body::{Body, CameraSetup, ChangedBy, Seat};
use crate::error::RosterError;
use crate::post::PostState;
use crate::roster::{Account, AccountKey, Camera, GrantState, Owner, Roster, SeatHolder, device_marks};
use crate::statement::Proposal;
use peri_domain::{AccountId, CameraId, Fingerprint};
use peri_seal::keys::UserPublic;
use std::sync::Arc;

/// Whether everything the body refers to is there. Void statements pass: [`apply`] says why they are.
///
/// # Errors
/// [`RosterError::Waiting`].
pub(crate) fn ready(roster: &Roster, body: &Body) -> Result<(), RosterError> {
    let wait = |there: bool, what: &dyn Fn() -> String| {
        if there { Ok(()) } else { Err(RosterError::Waiting { what: what() }) }
    };
    let account = |id: AccountId| wait(roster.account(id).is_some(), &|| format!("account {id}"));
    let camera = |id: CameraId| wait(roster.camera(id).is_some(), &|| format!("camera {id}"));
    let recipient = |id: AccountId, key: Fingerprint| {
        // A key that is somebody else's makes the grant void, not waiting.
        wait(roster.owner(key).is_some(), &|| format!("key {key} of account {id}"))
    };
    match body {
        Body::Genesis(_) => Ok(()),
        Body::KeyChange(b) => {
            account(b.account)?;
            wait(roster.owner(b.old).is_some(), &|| format!("key {} of account {}", b.old, b.account))
        }
        Body::Grant(b) => recipient(b.account, b.recipient),
        Body::Release(b) => recipient(b.account, b.recipient),
        Body::GrantRenewal(b) => match b.grants.iter().find(|id| !roster.grants.contains_key(*id)) {
            Some(id) => Err(RosterError::Waiting { what: format!("grant {id}") }),
            None => Ok(()),
        },
        Body::AccountRemoval(b) => account(b.account),
        Body::Post(b) => b.members.iter().try_for_each(|member| {
            account(member.account)?;
            recipient(member.account, member.key)
        }),
        Body::CameraRegister(b) => camera(b.camera),
        Body::CameraRemove(b) => camera(b.camera),
        Body::CameraAdd(b) => b.beside.map_or(Ok(()), camera),
        Body::CameraReSetup(b) => {
            b.beside.map_or(Ok(()), camera)?;
            if b.serial == 0 { Ok(()) } else { camera(b.camera) }
        }
        _ => wait(roster.claimed(), &|| "the genesis".into()),
    }
}

/// Takes a statement into effect.
///
/// # Errors
/// Why it is void.
pub(crate) fn apply(roster: &mut Roster, proposal: &Proposal) -> Result<(), RosterError> {
    let id = proposal.nonce;
    match &proposal.body {
        Body::Genesis(b) => {
            if roster.claimed() {
                return Err(RosterError::SecondClaim);
            }
            roster.genesis = Some(Arc::new((**b).clone()));
        }
        Body::Seat(b) => fill_seat(roster, b)?,
        Body::SeatHandover(b) => hand_over(roster, proposal.seat_set, b.from, &b.seat)?,
        Body::Profile(b) => {
            let current = roster.profile().map_or(0, |p| p.serial);
            if roster.threshold().is_some_and(|t| (t.k, t.n) != (b.k, b.n)) {
                return Err(RosterError::Invalid {
                    what: "protection profile",
                    why: "k and n are fixed at the claim; repeat those of the genesis".into(),
                });
            }
            if same_serial(current, b.serial, "profile")? {
                roster.profile = Some(Arc::new((**b).clone()));
            }
        }
        Body::Account(b) => {
            if roster.accounts.contains_key(&b.id) || roster.posts.contains_key(&b.id) {
                return Err(RosterError::AccountExists { account: b.id });
            }
            let key = take_key(roster, &b.key, Owner::Account(b.id))?;
            let account = Account { id: b.id, role: b.role, name: b.name.clone(), keys: vec![key], removed: false };
            roster.accounts.insert(b.id, account);
        }
        Body::AccountRemoval(b) => {
            roster.accounts.get_mut(&b.account).ok_or_else(|| missing("account", b.account))?.removed = true;
        }
        Body::KeyChange(b) => {
            let account = roster.account(b.account).ok_or_else(|| missing("account", b.account))?;
            if account.key().1 != b.old {
                return Err(RosterError::KeyReplaced { account: b.account, old: b.old });
            }
            let mut key = take_key(roster, &b.new, Owner::Account(b.account))?;
            key.carries_grants = b.by == ChangedBy::Holder;
            roster.accounts.get_mut(&b.account).ok_or_else(|| missing("account", b.account))?.keys.push(key);
        }
        Body::Grant(b) => {
            check_recipient(roster, b.account, b.recipient)?;
            let state =
                GrantState { grant: (**b).clone(), until: b.until, revoked: roster.revoked_grants.contains(&id) };
            roster.grants_of.entry(b.account).or_default().push(id);
            roster.grants.insert(id, state);
        }
        Body::GrantRenewal(b) => {
            for grant in &b.grants {
                let state = roster.grants.get_mut(grant).ok_or_else(|| missing("grant", grant))?;
                state.until = state.until.max(b.until);
            }
        }
        Body::Revocation(b) => {
            roster.revoked_keys.extend(&b.keys);
            roster.revoked_grants.extend(&b.grants);
            for grant in &b.grants {
                if let Some(state) = roster.grants.get_mut(grant) {
                    state.revoked = true;
                }
            }
        }
        Body::CameraAdd(b) => {
            if roster.cameras.contains_key(&b.camera) {
                return Err(RosterError::CameraExists { camera: b.camera });
            }
            put_camera(roster, b.camera, &b.setup, b.set_up_by, b.beside)?;
        }
        Body::CameraRegister(b) => {
            roster.cameras.get_mut(&b.camera).ok_or_else(|| missing("camera", b.camera))?.registered = true;
        }
        Body::CameraRemove(b) => {
            roster.cameras.get_mut(&b.camera).ok_or_else(|| missing("camera", b.camera))?.removed = true;
        }
        Body::CameraReSetup(b) if b.serial == 0 => {
            if roster.cameras.contains_key(&b.camera) {
                return Err(RosterError::CameraExists { camera: b.camera });
            }
            put_camera(roster, b.camera, &b.setup, None, b.beside)?;
        }
        Body::CameraReSetup(b) => {
            let current = roster.camera(b.camera).ok_or_else(|| missing("camera", b.camera))?.serial;
            let newer = same_serial(current, b.serial, "camera re-set-up")?;
            take_device(roster, b.camera, &b.setup, b.beside)?;
            if let Some(camera) = roster.cameras.get_mut(&b.camera).filter(|_| newer) {
                camera.serial = b.serial;
                camera.setup = b.setup.clone();
            }
        }
        Body::Endpoint(b) => {
            let current = roster.endpoints.get(&b.id).map_or(0, |e| e.serial);
            if same_serial(current, b.serial, "endpoint")? {
                roster.endpoints.insert(b.id, (**b).clone());
            }
        }
        Body::Retention(b) => {
            if same_serial(roster.retention.map_or(0, |r| r.0), b.serial, "retention")? {
                roster.retention = Some((b.serial, b.secs));
            }
        }
        Body::Release(b) => {
            if let Some(Owner::Post(post)) = roster.owner(b.recipient) {
                let why = format!("{post} is a post; the past is released to a person, in the person's own name");
                return Err(RosterError::Invalid { what: "release", why });
            }
            check_recipient(roster, b.account, b.recipient)?;
            roster.releases.insert(id, (**b).clone());
        }
        Body::Hold(b) => drop(roster.holds.insert(id, b.clone())),
        Body::Exception(b) => drop(roster.exceptions.insert(id, (**b).clone())),
        Body::EarlyErasure(b) => drop(roster.erasures.insert(id, b.clone())),
        Body::Post(b) => {
            if roster.accounts.contains_key(&b.id) {
                return Err(RosterError::AccountExists { account: b.id });
            }
            let versions = roster.posts.get(&b.id).map(|post| &post.versions);
            if b.serial == 0 || versions.is_some_and(|versions| versions.contains_key(&b.serial)) {
                let current = versions.and_then(|versions| versions.keys().next_back().copied()).unwrap_or(0);
                return Err(RosterError::StaleSerial { what: "post", found: b.serial, current });
            }
            roster.check_members(b)?;
            take_key(roster, &b.key, Owner::Post(b.id))?;
            let post = roster.posts.entry(b.id).or_insert_with(|| PostState { versions: Default::default() });
            post.versions.insert(b.serial, (**b).clone());
        }
        // It vouches for signatures and says nothing about the roster itself.
        Body::Snapshot(_) => {}
    }
    Ok(())
}

fn missing(what: &str, id: impl core::fmt::Display) -> RosterError {
    RosterError::Waiting { what: format!("{what} {id}") }
}

/// Whether a replacement is newer. An older one took effect in its time and is history; a second one with the number
/// in force is void.
fn same_serial(current: u32, found: u32, what: &'static str) -> Result<bool, RosterError> {
    if found == current || found == 0 {
        return Err(RosterError::StaleSerial { what, found, current });
    }
    Ok(found > current)
}

/// Gives a key its owner, once and for ever.
fn take_key(roster: &mut Roster, public: &UserPublic, owner: Owner) -> Result<AccountKey, RosterError> {
    let fingerprint = public.fingerprint();
    if let Some(taken) = roster.owner(fingerprint) {
        let by = match taken {
            Owner::Claim => "the claim key".into(),
            Owner::Device => "the VM's own key".into(),
            Owner::Seat(index) => format!("seat {index}"),
            Owner::Account(id) => format!("account {id}"),
            Owner::Post(id) => format!("post {id}"),
        };
        return Err(RosterError::KeyInUse { key: fingerprint, by });
    }
    roster.owners.insert(fingerprint, owner);
    Ok(AccountKey { fingerprint, public: Arc::new(public.clone()), carries_grants: false })
}

fn take_seat(roster: &mut Roster, seat: &Seat) -> Result<SeatHolder, RosterError> {
    let key = take_key(roster, &seat.key, Owner::Seat(seat.index))?;
    Ok(SeatHolder {
        index: seat.index,
        name: seat.name.clone(),
        kind: seat.kind,
        key: key.public,
        fingerprint: key.fingerprint,
        revoked: false,
    })
}

fn fill_seat(roster: &mut Roster, seat: &Seat) -> Result<(), RosterError> {
    let Some(n) = roster.threshold().map(|t| t.n) else { return Err(missing("genesis", "of this VM")) };
    if !roster.seat_sets.is_empty() {
        return Err(RosterError::ClaimSpent { n });
    }
    if seat.index >= n {
        return Err(RosterError::Invalid { what: "seat", why: format!("seat {} of seats 0 to {}", seat.index, n - 1) });
    }
    if roster.founding.contains_key(&seat.index) {
        return Err(RosterError::SeatTaken { index: seat.index });
    }
    let holder = take_seat(roster, seat)?;
    roster.founding.insert(seat.index, holder);
    if roster.founding.len() == usize::from(n) {
        roster.seat_sets.push(roster.founding.clone());
    }
    Ok(())
}

fn hand_over(roster: &mut Roster, signed: u32, from: Fingerprint, seat: &Seat) -> Result<(), RosterError> {
    let current = roster.seat_set();
    if signed != current {
        return Err(RosterError::StaleSeatSet { signed, current });
    }
    let Some(mut set) = roster.seat_sets.last().cloned() else { return Err(missing("seat set", signed)) };
    if set.get(&seat.index).is_none_or(|holder| holder.fingerprint != from) {
        return Err(RosterError::Invalid {
            what: "seat handover",
            why: format!("key {from} does not hold seat {} in seat set {signed}", seat.index),
        });
    }
    let holder = take_seat(roster, seat)?;
    set.insert(seat.index, holder);
    roster.seat_sets.push(set);
    Ok(())
}

fn check_recipient(roster: &Roster, account: AccountId, key: Fingerprint) -> Result<(), RosterError> {
    match roster.owner(key) {
        Some(Owner::Seat(_) | Owner::Claim) => Err(RosterError::GrantForCustodian { key }),
        Some(Owner::Account(owner)) if owner == account => {
            let role = roster.account(account).ok_or_else(|| missing("account", account))?.role();
            if role.may_receive_grant() { Ok(()) } else { Err(RosterError::GrantForRole { account, role }) }
        }
        Some(Owner::Post(post)) if post == account => Ok(()),
        _ => Err(RosterError::Invalid {
            what: "recipient",
            why: format!("key {key} is not a key of account {account}; name the account's own key"),
        }),
    }
}

fn put_camera(
    roster: &mut Roster,
    id: CameraId,
    setup: &CameraSetup,
    set_up_by: Option<AccountId>,
    beside: Option<CameraId>,
) -> Result<(), RosterError> {
    take_device(roster, id, setup, beside)?;
    let camera = Camera { id, setup: setup.clone(), serial: 0, set_up_by, registered: false, removed: false };
    roster.cameras.insert(id, camera);
    Ok(())
}

/// Gives device, address and pin to a camera, for ever. Cameras that k seats put beside each other share them.
fn take_device(
    roster: &mut Roster,
    id: CameraId,
    setup: &CameraSetup,
    beside: Option<CameraId>,
) -> Result<(), RosterError> {
    if let Some(camera) = roster.device_conflict(id, setup, beside) {
        return Err(RosterError::DeviceKnown { camera });
    }
    if let Some(other) = beside {
        join(roster, id, other);
    }
    for mark in device_marks(setup) {
        roster.devices.entry(mark).or_default().insert(id);
    }
    Ok(())
}

/// Makes two families one; the smaller root stays, so that the result does not depend on the order.
fn join(roster: &mut Roster, one: CameraId, other: CameraId) {
    let (a, b) = (roster.family(one), roster.family(other));
    if a != b {
        roster.kin.insert(a.max(b), a.min(b));
    }
}
