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
use core::time::Duration;
use minicbor::{Decode, Encode};
use peri_domain::limits::EPOCH_MAX;
use peri_domain::{AccountId, Action, CameraId, Fingerprint, Role, UtcNanos};
use peri_roster::{Owner, Roster, Verified};
use peri_seal::keys::UserPublic;

/// How far back weekly hours are looked through for a list of recordings: a year, at most 1,500 stretches of each grant.
pub const CUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Who asks, proven by a signature under a key that is in office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    fingerprint: Fingerprint,
    key: UserPublic,
    standing: Standing,
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Standing {
    /// The claim key, until all seats are filled.
    #[n(0)]
    Claim,
    /// A custodian seat in office.
    #[n(1)]
    Seat(#[n(0)] u8),
    /// An account in office.
    #[n(2)]
    Account(#[n(0)] AccountId, #[n(1)] Role),
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
    /// Invitations, by which people enrol keys.
    Invitations,
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

/// What a key stands for at present; `None` when it is not, or no longer, in office.
#[must_use]
pub fn standing(roster: &Verified<Roster>, fingerprint: Fingerprint) -> Option<Standing> {
    key_in_office(roster, fingerprint).map(|(_, standing)| standing)
}

/// The key of this fingerprint and what it stands for, while it is in office.
#[must_use]
pub fn key_in_office(roster: &Verified<Roster>, fingerprint: Fingerprint) -> Option<(UserPublic, Standing)> {
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

/// Decides: asks the policies, for pictures with each grant of the asker and of his posts in turn.
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

/// Where the pictures of a span lie that the asker's grants, and those of his posts, let him have now: the window of each
/// grant, cut into its stretches of weekly hours, in no order. An epoch that touches the span lies in one of them if it is
/// allowed; hours are looked through for the last [`CUT_MAX`] of the span. What is shown is judged again by [`decide`],
/// piece by piece.
#[must_use]
pub fn windows(
    roster: &Verified<Roster>,
    principal: &Principal,
    action: Action,
    camera: CameraId,
    span: (UtcNanos, UtcNanos),
    now: UtcNanos,
) -> Vec<(UtcNanos, UtcNanos)> {
    let Some((verb, facts)) = about_camera(roster, principal, action, camera) else { return Vec::new() };
    let stretches = |grant: &GrantFact| {
        // That the pictures keep the hours is seen to by cutting; what is left to ask is the moment.
        let pictures = Pictures { from: grant.from, until: grant.until, running: true };
        let now_in_hours = grant.weekly.as_ref().is_none_or(|hours| hours.contains(now));
        let open = looks(&facts, principal, verb, pictures, now, Some((grant, now_in_hours)));
        if open { cut(grant, span, now) } else { Vec::new() }
    };
    facts.grants().iter().flat_map(stretches).collect()
}

/// The window of a grant within a span, with an epoch's length on both sides, in stretches of its weekly hours.
fn cut(grant: &GrantFact, (from, until): (UtcNanos, UtcNanos), now: UtcNanos) -> Vec<(UtcNanos, UtcNanos)> {
    let Some(hours) = &grant.weekly else { return vec![(grant.from, grant.until)] };
    // An epoch that runs has begun, and nothing is recorded ahead.
    let end = grant.until.min(until.min(now) + EPOCH_MAX);
    let mut at = grant.from.max(from - EPOCH_MAX).max(end - CUT_MAX);
    let mut found = Vec::new();
    while at < end {
        let edge = hours.next_edge(at).map_or(end, |edge| edge.min(end));
        if hours.contains(at) {
            found.push((at, edge));
        }
        at = edge;
    }
    found
}

/// Whether the moment of asking lies in the weekly hours of a grant and the pictures in one stretch of them. Cedar knows no
/// time zones; the hours are those that the custodians signed.
fn in_hours(grant: &GrantFact, pictures: Pictures, now: UtcNanos) -> bool {
    grant.weekly.as_ref().is_none_or(|hours| {
        let whole = || hours.next_edge(pictures.from).is_none_or(|edge| edge >= pictures.until);
        hours.contains(now) && hours.contains(pictures.from) && whole()
    })
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
            let tried = facts.grants().iter().map(|grant| Some((grant, in_hours(grant, pictures, now))));
            return tried.chain([None]).any(|grant| looks(&facts, principal, verb, pictures, now, grant));
        }
        (Action::ReadRoster, Object::Roster) => "readRoster",
        (Action::ReadLedger, Object::Ledger) => "readLedger",
        (Action::ReadLedger, Object::Health) => "readHealth",
        (Action::Invite, Object::Invitations) => "invite",
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
        Action::ProposeRoster | Action::ReadRoster | Action::ReadLedger | Action::Invite => return None,
    };
    Some((verb, Facts::of_camera(roster, principal, camera)?))
}

fn looks(
    facts: &Facts,
    principal: &Principal,
    verb: &str,
    pictures: Pictures,
    now: UtcNanos,
    // With whether its hours are kept.
    grant: Option<(&GrantFact, bool)>,
) -> bool {
    let mut context = vec![
        ("key", entities::key(principal.fingerprint)),
        ("now", entities::moment(now)),
        ("from", entities::moment(pictures.from)),
        ("until", entities::moment(pictures.until)),
        ("running", RestrictedExpression::new_bool(pictures.running)),
    ];
    context.push(("inHours", RestrictedExpression::new_bool(grant.is_none_or(|(_, in_hours)| in_hours))));
    context.extend(grant.map(|(grant, _)| ("grant", entities::link(grant.uid.clone()))));
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
        (Action::Invite, Object::Invitations) => {
            never(standing, "administrators and custodians invite; ask one of them")
        }
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
