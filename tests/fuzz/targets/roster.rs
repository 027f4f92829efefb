//! The roster: statements, provisioning data and snapshots have one form, and none takes effect that nobody signed.

use super::canonical;
use super::fixture::{HOUSE, NOW, STATEMENTS, anchor};
use peri_roster::{Body, Proposal, Provisioning, RosterSet, Statement, Status};
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

/// A snapshot at the end of all genuine statements: only what the seats signed is believed, and whether it is or not, what
/// is read is the house.
pub(crate) fn snapshot(data: &[u8]) {
    if !canonical(data, |b| Statement::from_bytes(b).ok().map(|s| s.to_bytes())) {
        return;
    }
    let mut history = STATEMENTS[..STATEMENTS.len() - 1].to_vec();
    history.push(data.to_vec());
    let reading = RosterSet::read(anchor(), &history);
    if let Some(Ok(_)) = reading.snapshot {
        let statement = Statement::from_bytes(data).expect("a snapshot that was believed");
        let genuine = Body::Snapshot(HOUSE.snapshot());
        assert_eq!(statement.proposal().body, genuine, "believed what no seats signed");
    }
    let known: Vec<_> = HOUSE.effective().to_vec();
    assert!(reading.set.is_extension_of(&HOUSE.mark(), &known).is_ok(), "a snapshot took something away");
    assert!(reading.set.mark().count <= HOUSE.mark().count + 1);
}
