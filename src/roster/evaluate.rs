//! From a set of statements to a roster: a pure function, so that no order of arrival can matter.
//!
//! Rounds. In each round all statements whose signers suffice under the roster of the round before, and whose
//! references are there, are taken in the order of their ids; one that contradicts what already took effect is void.
//! The rounds end when one adds nothing; what is left waits. So of two contradicting statements the one with the
//! shorter chain of reasons wins, then the one with the smaller id – the same one for everybody. In a set that was
//! admitted one by one (`admit`) no two contradict each other.
//!
//! What does not belong: checking signatures (done when statements come in) and the clock. The measure of standing is
//! *ever*: a handover, removal or revocation of a signer takes nothing back that was accepted while he was in office.

use crate::body::Body;
use crate::error::RosterError;
use crate::roster::{HeadMark, Roster, mark_of};
use crate::set::Anchor;
use crate::signers::{Standing, suffice};
use crate::statement::Proposal;
use crate::{apply, signers};
use peri_domain::{Fingerprint, Hash, Nonce};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It has effect.
    Effective,
    /// It lacks signers or something it refers to; it may take effect when that arrives.
    Waiting(RosterError),
    /// It contradicts an effective statement and never takes effect.
    Void(RosterError),
}

/// A statement with, per copy, the signers whose signatures are genuine.
pub(crate) struct Candidate<'a> {
    pub(crate) proposal: &'a Proposal,
    pub(crate) copies: Vec<Vec<Fingerprint>>,
}

/// The outcome of an evaluation.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
    pub(crate) roster: Roster,
    pub(crate) status: BTreeMap<Hash, Status>,
    /// Ids of effective statements, ascending.
    pub(crate) effective: Vec<Hash>,
    /// Nonces they used up.
    pub(crate) nonces: BTreeSet<Nonce>,
}

pub(crate) fn evaluate(anchor: Anchor, candidates: &BTreeMap<Hash, Candidate<'_>>) -> Evaluation {
    let mut roster = Roster::empty(anchor);
    let mut status = BTreeMap::new();
    let mut nonces = BTreeSet::new();
    let mut open: Vec<(&Hash, &Candidate<'_>)> = candidates.iter().collect();
    loop {
        let before = open.len();
        let due: BTreeSet<Hash> =
            open.iter().filter(|(_, c)| standing(&roster, c).is_ok()).map(|(id, _)| **id).collect();
        open.retain(|(id, candidate)| {
            if !due.contains(*id) {
                return true;
            }
            let outcome = match take(&mut roster, &mut nonces, candidate) {
                Ok(()) => Status::Effective,
                Err(why) => Status::Void(why),
            };
            status.insert(**id, outcome);
            false
        });
        if open.len() == before {
            break;
        }
    }
    for (id, candidate) in open {
        let why = standing(&roster, candidate)
            .err()
            .unwrap_or_else(|| RosterError::Waiting { what: "statements before it".into() });
        status.insert(*id, Status::Waiting(why));
    }
    let effective: Vec<Hash> = status.iter().filter(|(_, s)| **s == Status::Effective).map(|(id, _)| *id).collect();
    let mark: HeadMark = mark_of(anchor.vm, &effective);
    roster.mark = mark;
    Evaluation { roster, status, effective, nonces }
}

/// Whether a statement may take effect under this roster.
fn standing(roster: &Roster, candidate: &Candidate<'_>) -> Result<(), RosterError> {
    if let Body::Genesis(genesis) = &candidate.proposal.body {
        genesis_fits(&roster.anchor, genesis)?;
    } else if !roster.claimed() {
        return Err(RosterError::Waiting { what: "the genesis".into() });
    }
    apply::ready(roster, &candidate.proposal.body)?;
    let mut nearest = Err(signers::unsigned(roster, candidate.proposal));
    for copy in &candidate.copies {
        nearest = suffice(roster, candidate.proposal, copy, Standing::Ever);
        if nearest.is_ok() {
            break;
        }
    }
    nearest
}

fn take(roster: &mut Roster, nonces: &mut BTreeSet<Nonce>, candidate: &Candidate<'_>) -> Result<(), RosterError> {
    let nonce = candidate.proposal.nonce;
    if nonces.contains(&nonce) {
        return Err(RosterError::ReplayedNonce { nonce });
    }
    apply::apply(roster, candidate.proposal)?;
    nonces.insert(nonce);
    Ok(())
}

/// Whether a genesis is the one this VM was born for.
pub(crate) fn genesis_fits(anchor: &Anchor, genesis: &crate::body::Genesis) -> Result<(), RosterError> {
    let same = |what, found: String, expected: String| {
        if found == expected { Ok(()) } else { Err(RosterError::NotTheAnchor { what, found, expected }) }
    };
    same("claim key", genesis.claim_key.fingerprint().to_string(), anchor.claim_key.to_string())?;
    same("provisioning digest", genesis.provisioning.to_string(), anchor.provisioning.to_string())?;
    same("device key", genesis.device.fingerprint().to_string(), anchor.device.to_string())
}
