//! The one decision: may this signer do this now? Deny by default; everything is read from `Verified<Roster>`.
//!
//! Steps, each with a proof value: [`open_session`] turns a certificate that is shown into a [`Session`], [`authenticate`]
//! the session of a request into a [`Principal`], [`decide`] a principal and an object into [`Allowed`]. A handler that
//! discloses takes an `Allowed`, so it cannot be written without them.

use crate::session::{Opening, Session, SessionError};
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

/// Decides. Pictures need a grant that gives the right over the whole span, now; nothing else about pictures is ever
/// allowed, whatever the role.
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
    let standing = principal.standing;
    match (action, object) {
        (Action::ReadRoster, Object::Roster) => {}
        (Action::ReadLedger, Object::Ledger) => {
            allow(standing, |role| role == Role::Auditor, "the ledger is read by auditors and custodians")?
        }
        (Action::ReadLedger, Object::Health) => allow(
            standing,
            |role| matches!(role, Role::Auditor | Role::Administrator),
            "health is read by administrators, auditors and custodians",
        )?,
        (Action::WatchLive | Action::PlayBack | Action::Export, Object::Pictures { camera, from, until, running }) => {
            let Standing::Account(_, role) = standing else {
                return Err(never(standing, "pictures are for accounts that hold a grant; custodians give grants"));
            };
            if !role.may_receive_grant() {
                return Err(never(standing, "ask the custodians to grant viewing to a viewer account"));
            }
            if action == Action::WatchLive && !running {
                return Err(Denied::Grant(
                    "live is the running epoch only; the past needs the right to playback".into(),
                ));
            }
            roster
                .grant_for(principal.fingerprint, camera, action, from, until, now)
                .map_err(|refusal| Denied::Grant(refusal.to_string()))?;
        }
        _ => return Err(never(standing, "nobody may")),
    }
    Ok(Allowed { principal, action, object })
}

fn allow(standing: Standing, role_may: impl Fn(Role) -> bool, remedy: &'static str) -> Result<(), Denied> {
    match standing {
        Standing::Seat(_) => Ok(()),
        Standing::Account(_, role) if role_may(role) => Ok(()),
        _ => Err(never(standing, remedy)),
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
