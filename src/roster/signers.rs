//! The signer table: who must sign what. Data; the evaluation below it only reads the rows.
//!
//! | Statement | Any one of these suffices |
//! |---|---|
//! | genesis, seat at the founding | the claim key |
//! | seat handover; profile; grant, renewal, release; post; hold, exception, early erasure; endpoint; camera re-set-up; snapshot | k seats |
//! | first administrator and every further one; an administrator's key after a loss | k seats |
//! | other accounts, removal of an account, other keys after a loss, retention, removal of a camera | one administrator; k seats |
//! | key change | the account's old key |
//! | new camera | one administrator; the technician it names; k seats |
//! | new camera that is plain RTSP, or shares the device, address or pin of another | k seats |
//! | registration | the technician who set it up; k seats |
//! | revocation | one seat; one administrator |
//!
//! k seats are accepted wherever one administrator is: they could appoint one.
//!
//! What does not belong: whether a signature is genuine (`set`) and whether the body fits the roster (`apply`).
//! Two measures of standing: *ever* (was this key entitled in the seat set the statement names, or as an account's key
//! at any time – the measure of history, which later handovers, removals and revocations never change) and *now* (is it
//! in office – the measure of admission, see `admit`).

use crate::body::{Body, ChangedBy, Trust};
use crate::error::RosterError;
use crate::roster::{Owner, Roster};
use crate::statement::Proposal;
use core::fmt;
use peri_domain::{AccountId, Fingerprint, Role};
use std::collections::BTreeSet;

/// One alternative of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signers {
    /// The claim key of the anchor.
    ClaimKey,
    /// k different seats of the seat set the statement names.
    Seats,
    /// Any one seat.
    OneSeat,
    /// One account with role administrator.
    OneAdministrator,
    /// The technician named as the one who sets the camera up.
    SettingTechnician,
    /// The key that is being replaced.
    OldKey,
}

/// A row of the table: kinds of statements that need different signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the rows; their text form says more")]
pub enum Case {
    Genesis,
    Seat,
    SeatHandover,
    Profile,
    Administrator,
    OtherAccount,
    AccountRemoval,
    KeyChange,
    KeyResetAdministrator,
    KeyResetOther,
    Grant,
    GrantRenewal,
    Revocation,
    CameraAdd,
    CameraAddRisky,
    CameraRegister,
    CameraRemove,
    CameraReSetup,
    Endpoint,
    Retention,
    Release,
    Hold,
    Exception,
    EarlyErasure,
    Post,
    Snapshot,
}

/// The table. Each row: the case, its name for people, the alternatives.
pub const TABLE: [(Case, &str, &[Signers]); 26] = [
    (Case::Genesis, "the genesis", &[Signers::ClaimKey]),
    (Case::Seat, "a seat at the founding", &[Signers::ClaimKey]),
    (Case::SeatHandover, "a seat handover", &[Signers::Seats]),
    (Case::Profile, "the protection profile", &[Signers::Seats]),
    (Case::Administrator, "an administrator's account", &[Signers::Seats]),
    (Case::OtherAccount, "an account", &[Signers::OneAdministrator, Signers::Seats]),
    (Case::AccountRemoval, "removal of an account", &[Signers::OneAdministrator, Signers::Seats]),
    (Case::KeyChange, "a key change", &[Signers::OldKey]),
    (Case::KeyResetAdministrator, "an administrator's new key", &[Signers::Seats]),
    (Case::KeyResetOther, "a new key after a loss", &[Signers::OneAdministrator, Signers::Seats]),
    (Case::Grant, "a grant", &[Signers::Seats]),
    (Case::GrantRenewal, "a renewal of grants", &[Signers::Seats]),
    (Case::Revocation, "a revocation", &[Signers::OneSeat, Signers::OneAdministrator]),
    (Case::CameraAdd, "a new camera", &[Signers::OneAdministrator, Signers::SettingTechnician, Signers::Seats]),
    (Case::CameraAddRisky, "a new camera that is plain RTSP or shares the device of another", &[Signers::Seats]),
    (Case::CameraRegister, "the registration of a camera", &[Signers::SettingTechnician, Signers::Seats]),
    (Case::CameraRemove, "the removal of a camera", &[Signers::OneAdministrator, Signers::Seats]),
    (Case::CameraReSetup, "a camera's re-set-up", &[Signers::Seats]),
    (Case::Endpoint, "an endpoint", &[Signers::Seats]),
    (Case::Retention, "the retention", &[Signers::OneAdministrator, Signers::Seats]),
    (Case::Release, "a release", &[Signers::Seats]),
    (Case::Hold, "a hold", &[Signers::Seats]),
    (Case::Exception, "an exception", &[Signers::Seats]),
    (Case::EarlyErasure, "an early erasure", &[Signers::Seats]),
    (Case::Post, "a post", &[Signers::Seats]),
    (Case::Snapshot, "a snapshot of the roster", &[Signers::Seats]),
];

/// Which measure of standing a signer must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Entitled in the seat set named, or at any time.
    Ever,
    /// In office at this moment.
    Now,
}

impl Case {
    fn row(self) -> &'static (Case, &'static str, &'static [Signers]) {
        // The table stands in the order of the enum; `every_case_has_its_row` holds it.
        &TABLE[self as usize]
    }

    /// The alternatives, any one of which suffices.
    #[must_use]
    pub fn alternatives(self) -> &'static [Signers] {
        self.row().2
    }

    /// The row for a body under a roster.
    ///
    /// # Errors
    /// [`RosterError::Waiting`] while the account whose role decides is unknown.
    pub(crate) fn of(body: &Body, roster: &Roster) -> Result<Self, RosterError> {
        Ok(match body {
            Body::Genesis(_) => Self::Genesis,
            Body::Seat(_) => Self::Seat,
            Body::SeatHandover(_) => Self::SeatHandover,
            Body::Profile(_) => Self::Profile,
            Body::Account(b) if b.role == Role::Administrator => Self::Administrator,
            Body::Account(_) => Self::OtherAccount,
            Body::AccountRemoval(_) => Self::AccountRemoval,
            Body::KeyChange(b) if b.by == ChangedBy::Holder => Self::KeyChange,
            Body::KeyChange(b) => match roster.account(b.account) {
                Some(account) if account.role() == Role::Administrator => Self::KeyResetAdministrator,
                Some(_) => Self::KeyResetOther,
                None => return Err(RosterError::Waiting { what: format!("account {}", b.account) }),
            },
            Body::Grant(_) => Self::Grant,
            Body::GrantRenewal(_) => Self::GrantRenewal,
            Body::Revocation(_) => Self::Revocation,
            Body::CameraAdd(b) if b.setup.trust == Trust::Plain || b.beside.is_some() => Self::CameraAddRisky,
            Body::CameraAdd(_) => Self::CameraAdd,
            Body::CameraRegister(_) => Self::CameraRegister,
            Body::CameraRemove(_) => Self::CameraRemove,
            Body::CameraReSetup(_) => Self::CameraReSetup,
            Body::Endpoint(_) => Self::Endpoint,
            Body::Retention(_) => Self::Retention,
            Body::Release(_) => Self::Release,
            Body::Hold(_) => Self::Hold,
            Body::Exception(_) => Self::Exception,
            Body::EarlyErasure(_) => Self::EarlyErasure,
            Body::Post(_) => Self::Post,
            Body::Snapshot(_) => Self::Snapshot,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

/// Whether the (genuine) signers suffice for a proposal.
///
/// # Errors
/// [`RosterError::NeedsSigners`] with the alternative that came nearest, or [`RosterError::Waiting`].
pub(crate) fn suffice(
    roster: &Roster,
    proposal: &Proposal,
    signers: &[Fingerprint],
    standing: Standing,
) -> Result<(), RosterError> {
    let case = Case::of(&proposal.body, roster)?;
    let mut nearest: Option<(u32, u32)> = None;
    for alternative in case.alternatives() {
        let (have, need) = count(*alternative, roster, proposal, signers, standing);
        if have >= need {
            return Ok(());
        }
        if nearest.is_none_or(|(h, n)| n - h > need - have) {
            nearest = Some((have, need));
        }
    }
    let (have, need) = nearest.unwrap_or((0, 1));
    let words: Vec<_> = case.alternatives().iter().map(|a| a.words(roster, proposal)).collect();
    Err(RosterError::NeedsSigners { case, have, need, who: words.join(", or ") })
}

/// Signatures that count for one alternative, and how many it needs (at least one).
fn count(
    alternative: Signers,
    roster: &Roster,
    proposal: &Proposal,
    signers: &[Fingerprint],
    standing: Standing,
) -> (u32, u32) {
    let any = |matches: &dyn Fn(Fingerprint) -> bool| (u32::from(signers.iter().any(|s| matches(*s))), 1);
    match alternative {
        Signers::ClaimKey => any(&|s| roster.claim_key() == s),
        Signers::Seats => {
            let in_office = standing == Standing::Ever || proposal.seat_set == roster.seat_set();
            // Without a complete seat set of that version nothing suffices.
            let Some(members) = roster.seat_set_members(proposal.seat_set).filter(|_| in_office) else {
                return (0, roster.k_or_one());
            };
            let seats: BTreeSet<u8> = signers
                .iter()
                .filter(|s| standing == Standing::Ever || roster.seat_in_office(**s))
                .filter_map(|s| members.iter().find(|m| m.1 == *s).map(|m| m.0))
                .collect();
            (u32::try_from(seats.len()).unwrap_or(0), roster.k_or_one())
        }
        Signers::OneSeat => any(&|s| match standing {
            Standing::Ever => matches!(roster.owner(s), Some(Owner::Seat(_))),
            Standing::Now => roster.seat_in_office(s),
        }),
        Signers::OneAdministrator => any(&|s| {
            has_account(roster, s, standing, |id, _| {
                roster.account(id).is_some_and(|a| a.role() == Role::Administrator)
            })
        }),
        Signers::SettingTechnician => {
            let named = match &proposal.body {
                Body::CameraAdd(b) => b.set_up_by,
                Body::CameraRegister(b) => roster.camera(b.camera).and_then(|c| c.set_up_by),
                _ => None,
            };
            any(&|s| has_account(roster, s, standing, |id, role| named == Some(id) && role == Role::Technician))
        }
        Signers::OldKey => {
            let Body::KeyChange(b) = &proposal.body else { return (0, 1) };
            any(&|s| s == b.old && has_account(roster, s, standing, |id, _| id == b.account))
        }
    }
}

/// The refusal of a statement without any signature.
pub(crate) fn unsigned(roster: &Roster, proposal: &Proposal) -> RosterError {
    suffice(roster, proposal, &[], Standing::Ever)
        .err()
        .unwrap_or_else(|| RosterError::Waiting { what: "a signature".into() })
}

fn has_account(
    roster: &Roster,
    signer: Fingerprint,
    standing: Standing,
    fits: impl Fn(AccountId, Role) -> bool,
) -> bool {
    let Some(Owner::Account(id)) = roster.owner(signer) else { return false };
    let Some(account) = roster.account(id) else { return false };
    fits(id, account.role()) && (standing == Standing::Ever || roster.account_in_office(account, signer))
}

impl Signers {
    fn words(self, roster: &Roster, proposal: &Proposal) -> String {
        match self {
            Self::ClaimKey => format!("the claim key {}", roster.claim_key()),
            Self::Seats => format!("{} seats of seat set {}", roster.k_or_one(), proposal.seat_set),
            Self::OneSeat => "one seat".into(),
            Self::OneAdministrator => "one administrator".into(),
            Self::SettingTechnician => "the technician who sets the camera up".into(),
            Self::OldKey => "the account's old key".into(),
        }
    }
}
