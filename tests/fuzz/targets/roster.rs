//! The roster: statements, provisioning data and snapshots have one form, and none takes effect that nobody signed.

use super::canonical;
use super::fixture::{HOUSE, NOW, STATEMENTS, anchor};
use peri_roster::{Proposal, Provisioning, RosterSet, SignedSnapshot, Statement, Status};
use std::cell::RefCell;

thread_local! {
    /// [`HOUSE`], cloned anew only after it changed.
    static SET: RefCell<RosterSet> = RefCell::new(HOUSE.clone());
}

/// A statement from anybody, at keeper's door and into a set: only the one genuine statement that the house does not
/// hold yet may come in.
pub(crate) fn statement(data: &[u8]) {
    if !canonical(data, |b| Statement::from_bytes(b).ok().map(|s| s.to_bytes())) {
        return;
    }
    let statement = Statement::from_bytes(data).expect("accepted before");
    let proposal = statement.proposal().to_bytes();
    assert_eq!(Proposal::from_bytes(&proposal).as_ref(), Ok(statement.proposal()));
    let line = statement.describe();
    assert!(!line.is_empty() && !line.chars().any(char::is_control), "people read {line:?} before they sign");
    let genuine = STATEMENTS.last().and_then(|bytes| Statement::from_bytes(bytes).ok()).expect("a fixture").hash();
    SET.with_borrow_mut(|set| {
        let mark = set.mark();
        match set.admit(data, NOW) {
            Ok(inserted) if inserted.new => {
                assert_eq!(inserted.id, genuine, "admitted what the entitled never signed: {line}");
                assert!(mark != set.mark());
                *set = HOUSE.clone();
            }
            Ok(_) | Err(_) => assert!(mark == set.mark(), "refused or known, but the roster changed"),
        }
        if let Ok(inserted) = set.insert(data)
            && inserted.new
        {
            let effective = set.status(&inserted.id) == Some(Status::Effective);
            assert!(!effective || inserted.id == genuine, "takes effect without its signers: {line}");
            *set = HOUSE.clone();
        }
    });
}

/// Provisioning data.
pub(crate) fn provisioning(data: &[u8]) {
    if canonical(data, |b| Provisioning::from_bytes(b).ok().map(|p| p.to_bytes())) {
        let order = Provisioning::from_bytes(data).expect("accepted before");
        assert!(order.claim_key.validate().is_ok(), "an order whose claim key is none can never be claimed");
    }
}

/// A snapshot for a start with all genuine statements: only the genuine one is believed.
pub(crate) fn snapshot(data: &[u8]) {
    if !canonical(data, |b| SignedSnapshot::from_bytes(b).ok().map(|s| s.to_bytes())) {
        return;
    }
    let snapshot = SignedSnapshot::from_bytes(data).expect("accepted before");
    let known = &STATEMENTS[..STATEMENTS.len() - 1];
    if let Ok(set) = RosterSet::from_snapshot(anchor(), &snapshot, known) {
        assert_eq!(snapshot.snapshot(), HOUSE.snapshot().snapshot(), "believed what no seats signed");
        assert!(set.mark() == HOUSE.mark());
    }
}
