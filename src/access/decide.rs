//! The one decision: may this signer do this now? The policies of `policies/access` answer, on facts from
//! `Verified<Roster>`; nothing is allowed without their yes.
//!
//! Steps, each with a proof value: [`open_session`] turns a certificate that is shown into a [`Session`], [`authenticate`]
//! the session of a request into a [`Principal`], [`decide`] a principal and an object into [`Allowed`]. A handler that
//! discloses takes an `Allowed`, so it cannot be written without them. What does not belong: rules. The words for a
//! refusal are looked for after the policies have said no, and decide nothing.

use crate::entities::{self, Facts, GrantFact};
use crate::policy::{Policies, Question};
use crate::session::{Opening, Session, SessionError};
use cedar_policy::RestrictedExpression;
use peri_domain::{AccountId, Action, CameraId, Fingerprint, Role, UtcNanos};
use peri_roster::{Owner, Roster, Verified};
use peri_seal::keys::UserPublic;

/// Who asks, proven by a signature under a key that is in office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    fingerprint: Fingerprint,
    key: UserPublic,
    standing: Standing,
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The claim key, until all seats are filled.
    Claim,
    /// A custodian seat in office.
    Seat(u8),
    /// An account in office.
    Account(AccountId, Role),
}

impl Principal {
    /// Fingerprint of the key that signed.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key that signed: what an answer is sealed to.
    #[must_use]
    pub const fn key(&self) -> &UserPublic {
        &self.key
    }

    /// What it stands for.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Statements of the roster.
    Roster,
    /// Entries of the ledger.
    Ledger,
    /// State of the appliance, without pictures.
    Health,
    /// Pictures of one camera from one half-open span; `running`: of the epoch that is being recorded.
    Pictures {
        /// The camera.
        camera: CameraId,
        /// First instant.
        from: UtcNanos,
        /// First instant no longer meant.
        until: UtcNanos,
        /// Whether the span is the running epoch.
        running: bool,
    },
}

/// Why not. The text is for the ledger and for the asker; it tells nothing about cameras without a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The session exists at another VM.
    #[error("this session is for another appliance; log in here")]
    OtherVm,
    /// No key in office stands behind it.
    #[error("this key is not (or no longer) in office here; ask an administrator which account you have")]
    UnknownKey,
    /// The certificate, or who shows it, is not good.
    #[error("{0}")]
    Certificate(String),
    /// This standing may never do this.
    #[error("{who} may not do this; {remedy}")]
    Role {
        /// Role or standing.
        who: String,
        /// Who may, or what to do.
        remedy: &'static str,
    },
    /// The roster's word on grants.
    #[error("{0}")]
    Grant(String),
    /// The policies say no where the roster sees nothing against it. They are tested to agree.
    #[error("the policies of this appliance do not allow this; report it, with what you asked for")]
    Policy,
}

/// Proof that [`decide`] said yes to this principal, action and object.
#[derive(Debug)]
pub struct Allowed {
    principal: Principal,
    action: Action,
    object: Object,
}

impl Allowed {
    /// Who.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// About what.
    #[must_use]
    pub const fn object(&self) -> Object {
        self.object
    }
}

/// The session of a certificate that is shown: signed by a key in office, and shown by the holder of the session key.
/// Whether the nonce is good is asked before.
///
/// # Errors
/// [`Denied::UnknownKey`], [`Denied::Certificate`].
pub fn open_session(
    roster: &Verified<Roster>,
    opening: &Opening,
    now: UtcNanos,
) -> Result<(Session, Principal), Denied> {
    let fingerprint = opening.certified.certificate.signer;
    let (key, standing) = key_in_office(roster, fingerprint).ok_or(Denied::UnknownKey)?;
    let session = opening.verify(roster.vm(), &key, now).map_err(|error| match error {
        SessionError::OtherVm { .. } => Denied::OtherVm,
        other => Denied::Certificate(other.to_string()),
    })?;
    Ok((session, Principal { fingerprint, key, standing }))
}

/// Who asks in a session: asked anew with every request, so that a revocation does not wait for the session's end.
///
/// # Errors
/// [`Denied::OtherVm`], [`Denied::UnknownKey`].
pub fn authenticate(roster: &Verified<Roster>, session: &Session) -> Result<Principal, Denied> {
    if session.vm() != roster.vm() {
        return Err(Denied::OtherVm);
    }
    let fingerprint = session.signer();
    let (key, standing) = key_in_office(roster, fingerprint).ok_or(Denied::UnknownKey)?;
    Ok(Principal { fingerprint, key, standing })
}

fn key_in_office(roster: &Verified<Roster>, fingerprint: Fingerprint) -> Option<(UserPublic, Standing)> {
    if let Some(account) = roster.account_by_key(fingerprint) {
        return Some((account.key().0.clone(), Standing::Account(account.id(), account.role())));
    }
    if let Some(seat) = roster.seats().find(|seat| seat.fingerprint == fingerprint && !seat.revoked) {
        return Some((UserPublic::clone(&seat.key), Standing::Seat(seat.index)));
    }
    let genesis = roster.genesis()?;
    // Spent once every seat is filled, which is when the first seat set is in office.
    let unspent = roster.seat_set() == 0 && roster.owner(fingerprint) == Some(Owner::Claim);
    unspent.then(|| (genesis.claim_key.clone(), Standing::Claim))
}

/// Decides: asks the policies, for pictures with each of the asker's grants in turn.
///
/// # Errors
/// [`Denied`] with the reason.
pub fn decide(
    roster: &Verified<Roster>,
    principal: Principal,
    action: Action,
    object: Object,
    now: UtcNanos,
) -> Result<Allowed, Denied> {
    if permits(roster, &principal, action, object, now) {
        Ok(Allowed { principal, action, object })
    } else {
        Err(reason(roster, &principal, action, object, now))
    }
}

/// The windows of those of the asker's grants that let him do this to this camera now: one for each, in no order. What
/// they show is judged again by [`decide`], piece by piece.
#[must_use]
pub fn windows(
    roster: &Verified<Roster>,
    principal: &Principal,
    action: Action,
    camera: CameraId,
    now: UtcNanos,
) -> Vec<(UtcNanos, UtcNanos)> {
    let Some((verb, facts)) = about_camera(roster, principal, action, camera) else { return Vec::new() };
    let whole = |grant: &&GrantFact| {
        let pictures = Pictures { from: grant.from, until: grant.until, running: true };
        looks(&facts, principal, verb, pictures, now, Some(grant))
    };
    facts.grants().iter().filter(whole).map(|grant| (grant.from, grant.until)).collect()
}

#[derive(Clone, Copy)]
struct Pictures {
    from: UtcNanos,
    until: UtcNanos,
    running: bool,
}

fn permits(roster: &Verified<Roster>, principal: &Principal, action: Action, object: Object, now: UtcNanos) -> bool {
    let verb = match (action, object) {
        (_, Object::Pictures { camera, from, until, running }) => {
            let Some((verb, facts)) = about_camera(roster, principal, action, camera) else { return false };
            let pictures = Pictures { from, until, running };
            // One grant that fits is enough; without any there is still the set-up.
            let mut tried = facts.grants().iter().map(Some).chain([None]);
            return tried.any(|grant| looks(&facts, principal, verb, pictures, now, grant));
        }
        (Action::ReadRoster, Object::Roster) => "readRoster",
        (Action::ReadLedger, Object::Ledger) => "readLedger",
        (Action::ReadLedger, Object::Health) => "readHealth",
        _ => return false,
    };
    let Some(facts) = Facts::of_appliance(roster, principal) else { return false };
    ask(&facts, verb, vec![("key", entities::key(principal.fingerprint))])
}

fn about_camera(
    roster: &Verified<Roster>,
    principal: &Principal,
    action: Action,
    camera: CameraId,
) -> Option<(&'static str, Facts)> {
    let verb = match action {
        Action::WatchLive => "watchLive",
        Action::PlayBack => "playBack",
        Action::Export => "export",
        Action::ProposeRoster | Action::ReadRoster | Action::ReadLedger => return None,
    };
    Some((verb, Facts::of_camera(roster, principal, camera)?))
}

fn looks(
    facts: &Facts,
    principal: &Principal,
    verb: &str,
    pictures: Pictures,
    now: UtcNanos,
    grant: Option<&GrantFact>,
) -> bool {
    let mut context = vec![
        ("key", entities::key(principal.fingerprint)),
        ("now", entities::moment(now)),
        ("from", entities::moment(pictures.from)),
        ("until", entities::moment(pictures.until)),
        ("running", RestrictedExpression::new_bool(pictures.running)),
    ];
    context.extend(grant.map(|grant| ("grant", entities::link(grant.uid.clone()))));
    ask(facts, verb, context)
}

fn ask(facts: &Facts, verb: &str, context: Vec<(&'static str, RestrictedExpression)>) -> bool {
    let (principal, resource) = (facts.asker().clone(), facts.object().clone());
    let question = Question { principal, action: entities::action(verb), resource, context };
    Policies::shipped().allow(question, facts.entities())
}

/// Words for a refusal that has been decided.
fn reason(roster: &Verified<Roster>, principal: &Principal, action: Action, object: Object, now: UtcNanos) -> Denied {
    let standing = principal.standing;
    match (action, object) {
        (Action::ReadLedger, Object::Ledger) => never(standing, "the ledger is read by auditors and custodians"),
        (Action::ReadLedger, Object::Health) => {
            never(standing, "health is read by administrators, auditors and custodians")
        }
        (Action::WatchLive | Action::PlayBack | Action::Export, Object::Pictures { camera, from, until, running }) => {
            let Standing::Account(_, role) = standing else {
                return never(standing, "pictures are for accounts that hold a grant; custodians give grants");
            };
            if !role.may_receive_grant() {
                return never(standing, "ask the custodians to grant viewing to a viewer account");
            }
            if action == Action::WatchLive && !running {
                return Denied::Grant("live is the running epoch only; the past needs the right to playback".into());
            }
            match roster.grant_for(principal.fingerprint, camera, action, from, until, now) {
                Err(refusal) => Denied::Grant(refusal.to_string()),
                Ok(_) => Denied::Policy,
            }
        }
        (Action::ReadRoster, Object::Roster) => Denied::UnknownKey,
        _ => never(standing, "nobody may"),
    }
}

fn never(standing: Standing, remedy: &'static str) -> Denied {
    let who = match standing {
        Standing::Claim => "the claim key".to_owned(),
        Standing::Seat(index) => format!("custodian seat {}", u16::from(index) + 1),
        Standing::Account(_, role) => format!("the role {role}"),
    };
    Denied::Role { who, remedy }
}
