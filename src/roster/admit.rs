//! Admission: the one door through which keeper lets a new statement in.
//!
//! A set cannot tell a statement that was signed in time from one that a former seat or administrator signs today with
//! an old key. Keeper can: it stands at the door with the roster in force and a clock, and keeps what it admitted in
//! files of its own. So besides everything the evaluation asks, admission asks: is it in time; are all who count in
//! office *now*, under the seat set in office; does it refer to what is there and not removed; does nothing accepted
//! lose effect. A statement that was held back until its signers left office is refused – it is signed again in a
//! minute, while a late one let in would be a way around a handover.
//!
//! Revocations are the exception: they have no end for acceptance, since a late one is better than none.

use crate::body::{Body, Cameras};
use crate::error::RosterError;
use crate::evaluate::Status;
use crate::roster::Roster;
use crate::set::{Inserted, RosterSet};
use crate::signers::{Standing, suffice};
use crate::statement::{Proposal, Statement};
use core::time::Duration;
use peri_domain::limits::{CAMERAS_MAX, PROPOSAL_OPEN_MAX, RECIPIENTS_MAX, STATEMENTS_MAX};
use peri_domain::{AccountId, CameraId, Fingerprint, Role, UtcNanos};
use peri_seal::keys::UserPublic;

impl RosterSet {
    /// Lets a new statement in, or says why not. A refused statement leaves the set as it was; statements that only
    /// waited (see [`RosterSet::insert`]) are dropped first.
    ///
    /// # Errors
    /// [`RosterError`] names culprit and remedy.
    pub fn admit(&mut self, bytes: &[u8], now: UtcNanos) -> Result<Inserted, RosterError> {
        let statement = Statement::from_bytes(bytes)?;
        self.check_place(&statement)?;
        let id = statement.hash();
        self.drop_waiting();
        if self.entries.contains_key(&id) {
            return Ok(Inserted { id, new: false });
        }
        if self.entries.len() >= STATEMENTS_MAX {
            return Err(RosterError::Full { max: STATEMENTS_MAX });
        }
        let own: Vec<UserPublic> = statement.proposal().body.keys().into_iter().cloned().collect();
        for key in &own {
            key.validate()
                .map_err(|error| RosterError::UnusableKey { key: key.fingerprint(), why: error.to_string() })?;
        }
        let copy = self.check_signatures(bytes, statement, &own)?;
        if let Some(signer) = copy.unknown.first() {
            return Err(RosterError::UnknownSigner { signer: *signer });
        }
        let before = self.evaluation().clone();
        let proposal = copy.statement.proposal();
        check_time(proposal, now)?;
        check_office(&before.roster, proposal, &copy.genuine)?;
        check_body(&before.roster, &proposal.body, now)?;
        if let Body::Snapshot(snapshot) = &proposal.body {
            self.check_snapshot(snapshot)?;
        }
        // First by itself on the roster in force, so that the refusal names the contradiction …
        let nonce = proposal.nonce;
        if before.nonces.contains(&nonce) {
            return Err(RosterError::ReplayedNonce { nonce });
        }
        crate::apply::ready(&before.roster, &proposal.body)?;
        crate::apply::apply(&mut before.roster.clone(), proposal)?;
        // … then as part of the whole, as every reader will derive it.
        let reach = match &proposal.body {
            Body::Grant(grant) => Some(grant.cameras.clone()),
            Body::GrantRenewal(_) | Body::Post(_) => Some(Cameras::All),
            _ => None,
        };

        self.put(id, copy);
        let after = self.evaluation();
        let refusal = match after.status.get(&id) {
            Some(Status::Effective) => before
                .effective
                .iter()
                .find(|old| after.effective.binary_search(old).is_err())
                .map(|other| RosterError::Undoes { other: *other })
                .or_else(|| {
                    let found = after.roster.crowd(reach.as_ref()?, now)?;
                    Some(RosterError::TooManyRecipients { found, max: RECIPIENTS_MAX })
                }),
            Some(Status::Waiting(why) | Status::Void(why)) => Some(why.clone()),
            None => Some(RosterError::Waiting { what: "itself".into() }),
        };
        if let Some(why) = refusal {
            self.withdraw(&id, before);
            return Err(why);
        }
        own.into_iter().for_each(|key| self.learn(key));
        Ok(Inserted { id, new: true })
    }

    /// Admits a batch whose order is unknown: goes over it until nothing more gets in. The results stand in the order
    /// of the batch.
    pub fn admit_all(&mut self, batch: &[impl AsRef<[u8]>], now: UtcNanos) -> Vec<Result<Inserted, RosterError>> {
        let mut results: Vec<_> = batch.iter().map(|bytes| self.admit(bytes.as_ref(), now)).collect();
        loop {
            let mut progress = false;
            for (bytes, result) in batch.iter().zip(&mut results).filter(|(_, result)| result.is_err()) {
                *result = self.admit(bytes.as_ref(), now);
                progress |= result.is_ok();
            }
            if !progress {
                return results;
            }
        }
    }
}

fn check_time(proposal: &Proposal, now: UtcNanos) -> Result<(), RosterError> {
    if matches!(proposal.body, Body::Revocation(_)) {
        return Ok(());
    }
    let not_after = proposal.not_after;
    if now > not_after {
        return Err(RosterError::Expired { not_after, now });
    }
    if not_after.saturating_since(now) > PROPOSAL_OPEN_MAX {
        return Err(RosterError::OpenTooLong { not_after, now, max_days: PROPOSAL_OPEN_MAX.as_secs() / 86_400 });
    }
    Ok(())
}

/// Enough of the signers are in office; if not, says whether they once were.
fn check_office(roster: &Roster, proposal: &Proposal, genuine: &[Fingerprint]) -> Result<(), RosterError> {
    suffice(roster, proposal, genuine, Standing::Ever)?;
    let Err(needs) = suffice(roster, proposal, genuine, Standing::Now) else { return Ok(()) };
    let revoked = genuine.iter().find(|key| roster.revoked_keys().contains(key));
    if let Some(signer) = revoked {
        return Err(RosterError::SignerNotInOffice { signer: *signer, why: "the key was revoked" });
    }
    let out_of_office = |key: &&Fingerprint| {
        matches!(roster.owner(**key), Some(crate::roster::Owner::Account(_))) && roster.account_by_key(**key).is_none()
    };
    if let Some(signer) = genuine.iter().find(out_of_office) {
        return Err(RosterError::SignerNotInOffice {
            signer: *signer,
            why: "its account was removed or has another key",
        });
    }
    let (signed, current) = (proposal.seat_set, roster.seat_set());
    Err(if signed == current { needs } else { RosterError::StaleSeatSet { signed, current } })
}

/// What a new statement must fit besides what the evaluation asks of an old one.
fn check_body(roster: &Roster, body: &Body, now: UtcNanos) -> Result<(), RosterError> {
    let invalid = |why: String| Err(RosterError::Invalid { what: body.kind(), why });
    match body {
        Body::Profile(b) => next_serial("profile", roster.profile().map_or(0, |p| p.serial), b.serial),
        Body::Retention(b) => {
            next_serial("retention", roster.retention.map_or(0, |r| r.0), b.serial)?;
            if Duration::from_secs(b.secs) > roster.retention_ceiling() {
                return Err(RosterError::AboveCeiling { secs: b.secs, ceiling: roster.retention_ceiling().as_secs() });
            }
            Ok(())
        }
        Body::Endpoint(b) => next_serial("endpoint", roster.endpoints.get(&b.id).map_or(0, |e| e.serial), b.serial),
        Body::KeyChange(b) if roster.account(b.account).is_some_and(|a| a.removed()) => {
            invalid(format!("account {} was removed; make a new account", b.account))
        }
        Body::Grant(b) => {
            recipient(roster, body, b.account, b.recipient)?;
            cameras(roster, &b.cameras)?;
            if b.until <= now { invalid(format!("its window ended at {}", b.until)) } else { Ok(()) }
        }
        Body::GrantRenewal(b) => {
            let dead = |id: &&peri_domain::Nonce| roster.grants.get(*id).is_some_and(|g| roster.grant_dead(**id, g));
            if let Some(id) = b.grants.iter().find(dead) {
                return invalid(format!("grant {id} or its recipient was revoked; sign a new grant"));
            }
            if b.until <= now { invalid(format!("the new end {} is over", b.until)) } else { Ok(()) }
        }
        Body::Revocation(b) => {
            let in_office: Vec<_> = roster.seats().filter(|seat| !seat.revoked).map(|seat| seat.fingerprint).collect();
            let left = in_office.iter().filter(|key| !b.keys.contains(key)).count();
            let k = roster.threshold().map_or(0, |t| t.k);
            if left < in_office.len() && left < usize::from(k) {
                return Err(RosterError::TooFewSeats { left: u32::try_from(left).unwrap_or(0), k });
            }
            Ok(())
        }
        Body::CameraAdd(b) => {
            room(roster)?;
            b.beside.map_or(Ok(()), |other| present(roster, other))?;
            match b.set_up_by.map(|id| (id, roster.account(id))) {
                None => Ok(()),
                Some((_, Some(a))) if a.role() == Role::Technician && !a.removed() => Ok(()),
                Some((id, _)) => invalid(format!("account {id} is no technician in office")),
            }
        }
        Body::Post(b) => {
            next_serial("post", roster.post(b.id).map_or(0, |post| post.present().serial), b.serial)?;
            roster.check_members(b)?;
            match b.members.iter().find(|member| roster.account_by_key(member.key).is_none()) {
                Some(gone) => invalid(format!("key {} of member {} is not in office", gone.key, gone.account)),
                None => Ok(()),
            }
        }
        Body::CameraRegister(b) => present(roster, b.camera),
        Body::CameraRemove(b) => present(roster, b.camera),
        Body::CameraReSetup(b) if b.serial == 0 => room(roster),
        Body::CameraReSetup(b) => {
            present(roster, b.camera)?;
            next_serial("camera re-set-up", roster.camera(b.camera).map_or(0, |c| c.serial), b.serial)
        }
        Body::Release(b) => {
            recipient(roster, body, b.account, b.recipient)?;
            cameras(roster, &b.span.cameras)
        }
        Body::Hold(b) | Body::EarlyErasure(b) => cameras(roster, &b.cameras),
        Body::Exception(b) if b.until <= now => invalid(format!("it ended at {}", b.until)),
        Body::Exception(b) => b.camera.map_or(Ok(()), |camera| present(roster, camera)),
        _ => Ok(()),
    }
}

fn next_serial(what: &'static str, current: u32, found: u32) -> Result<(), RosterError> {
    // Exactly the next one: a jump to the highest number would close the setting for ever.
    if current.checked_add(1) == Some(found) { Ok(()) } else { Err(RosterError::StaleSerial { what, found, current }) }
}

fn recipient(roster: &Roster, body: &Body, account: AccountId, key: Fingerprint) -> Result<(), RosterError> {
    if matches!(roster.owner(key), Some(crate::roster::Owner::Seat(_))) {
        return Err(RosterError::GrantForCustodian { key });
    }
    let post = roster.post(account).filter(|post| post.present().key.fingerprint() == key);
    match (roster.account_by_key(key), post) {
        (Some(found), _) if found.id() == account => Ok(()),
        (None, Some(post)) if roster.post_in_office(post) => Ok(()),
        _ => Err(RosterError::Invalid {
            what: body.kind(),
            why: format!(
                "key {key} is not the present key of account or post {account}, or not in office; name its present key"
            ),
        }),
    }
}

fn present(roster: &Roster, camera: CameraId) -> Result<(), RosterError> {
    match roster.camera(camera) {
        None => Err(RosterError::UnknownCamera { camera }),
        Some(found) if found.removed => Err(RosterError::CameraRemoved { camera }),
        Some(_) => Ok(()),
    }
}

/// Past pictures of a removed camera may still be granted, released, held and erased: known is enough.
fn cameras(roster: &Roster, cameras: &Cameras) -> Result<(), RosterError> {
    cameras.unknown(roster).map_or(Ok(()), |camera| Err(RosterError::UnknownCamera { camera }))
}

fn room(roster: &Roster) -> Result<(), RosterError> {
    if roster.cameras().filter(|camera| !camera.removed).count() < CAMERAS_MAX {
        return Ok(());
    }
    Err(RosterError::Invalid {
        what: "new camera",
        why: format!("{CAMERAS_MAX} cameras are in the roster, its limit; remove one first"),
    })
}
