//! The set of statements: what comes in, in any order, and the roster it amounts to.
//!
//! Two doors. [`RosterSet::admit`] (module `admit`) is keeper's: a statement enters only if it takes effect at once and
//! everybody who signed it is in office *now*. [`RosterSet::insert`] is for reading a history that somebody else
//! admitted, or one's own from disk: it checks form, VM and signatures, and keeps what still waits. What protects a
//! reader against a history that keeper never admitted is the head in epoch records and ledger, not this set.
//!
//! What does not belong: files, clocks, sockets. Invariants: a signature counts only after it was checked against the
//! key of that fingerprint (or a snapshot of k seats covers the statement); a copy of a statement with one bad signature
//! counts for nothing at all, whether the key was known before or came later; equal sets give equal heads.

use crate::body::Body;
use crate::error::RosterError;
use crate::evaluate::{Candidate, Evaluation, Status, evaluate, genesis_fits};
use crate::roster::{HeadMark, Roster, mark_of};
use crate::statement::{SIGN_CONTEXT, Statement};
use crate::verified::Verified;
use peri_domain::limits::STATEMENTS_MAX;
use peri_domain::{Fingerprint, Hash, UtcNanos, VmId};
use peri_seal::keys::UserPublic;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

/// Copies of one proposal with different signatures that are kept while none of them suffices.
const COPIES_MAX: usize = 8;

/// What was measured at birth and everything hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The VM.
    pub vm: VmId,
    /// Fingerprint of the claim key.
    pub claim_key: Fingerprint,
    /// Digest of the provisioning data.
    pub provisioning: Hash,
    /// Fingerprint of the VM's own key.
    pub device: Fingerprint,
}

/// What came of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// The statement's id.
    pub id: Hash,
    /// False when the set held it already.
    pub new: bool,
}

/// One copy of a statement as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) statement: Statement,
    /// Signers whose signatures were checked, or are vouched for by a snapshot.
    pub(crate) genuine: Vec<Fingerprint>,
    /// Signers whose key is not known yet.
    pub(crate) unknown: Vec<Fingerprint>,
}

/// A monotone set of statements.
#[derive(Debug, Clone)]
pub struct RosterSet {
    pub(crate) anchor: Anchor,
    pub(crate) entries: BTreeMap<Hash, Vec<Kept>>,
    pub(crate) keys: HashMap<Fingerprint, UserPublic>,
    waiting: HashMap<Fingerprint, BTreeSet<Hash>>,
    /// Ids in the order in which they came.
    order: Vec<Hash>,
    evaluation: OnceLock<Box<Evaluation>>,
}

impl RosterSet {
    /// An empty set under an anchor.
    #[must_use]
    pub fn new(anchor: Anchor) -> Self {
        Self {
            anchor,
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            waiting: HashMap::new(),
            order: Vec::new(),
            evaluation: OnceLock::new(),
        }
    }

    /// The anchor.
    #[must_use]
    pub const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Takes a statement into the set. Whether it has effect says [`RosterSet::status`].
    ///
    /// # Errors
    /// [`RosterError`] for bytes that can never take effect here: malformed, other VM, other anchor, bad signature.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Inserted, RosterError> {
        let statement = Statement::from_bytes(bytes)?;
        self.check_place(&statement)?;
        let id = statement.hash();
        if self.settled(&id) || self.entries.get(&id).is_some_and(|copies| copies.iter().any(|c| c.bytes == bytes)) {
            return Ok(Inserted { id, new: false });
        }
        if self.entries.len() >= STATEMENTS_MAX && !self.entries.contains_key(&id)
            || self.entries.get(&id).is_some_and(|copies| copies.len() >= COPIES_MAX)
        {
            return Err(RosterError::Full { max: STATEMENTS_MAX });
        }
        // The statement's own keys may sign it (genesis: the claim key), so they are known first; a key is harmless
        // until a statement gives it standing, since its name is its hash.
        let own: Vec<UserPublic> = statement.proposal().body.keys().into_iter().cloned().collect();
        let copy = self.check_signatures(bytes, statement, &own)?;
        for signer in &copy.unknown {
            self.waiting.entry(*signer).or_default().insert(id);
        }
        self.put(id, copy);
        own.into_iter().for_each(|key| self.learn(key));
        Ok(Inserted { id, new: true })
    }

    /// What became of a statement; `None` when the set does not hold it.
    #[must_use]
    pub fn status(&self, id: &Hash) -> Option<Status> {
        self.evaluation().status.get(id).cloned()
    }

    /// Ids of effective statements, ascending.
    #[must_use]
    pub fn effective(&self) -> &[Hash] {
        &self.evaluation().effective
    }

    /// Every statement as it came in, in the order of their ids; one that waits may have several copies.
    pub fn statements(&self) -> impl Iterator<Item = (&Hash, &[u8])> {
        self.entries.iter().flat_map(|(id, copies)| copies.iter().map(move |copy| (id, copy.bytes.as_slice())))
    }

    /// Which of the other's ids this set does not hold.
    #[must_use]
    pub fn missing(&self, other: &[Hash]) -> Vec<Hash> {
        other.iter().filter(|id| !self.entries.contains_key(*id)).copied().collect()
    }

    /// The roster of this moment: the only way to one.
    #[must_use]
    pub fn verify(&self, now: UtcNanos) -> Verified<Roster> {
        let mut roster = self.evaluation().roster.clone();
        roster.verified_at = now;
        Verified::new(roster)
    }

    /// Head and length without a copy of the roster.
    #[must_use]
    pub fn mark(&self) -> HeadMark {
        self.evaluation().roster.mark
    }

    /// Whether everything that was effective at an earlier head still is. `ids` are the ids of that head, as kept
    /// beside it: a hash alone cannot show which statements are gone.
    ///
    /// # Errors
    /// [`RosterError::Shorter`] says how many are missing; [`RosterError::Snapshot`] when `ids` are not those of the
    /// head.
    pub fn is_extension_of(&self, earlier: &HeadMark, ids: &[Hash]) -> Result<(), RosterError> {
        if !ids.is_sorted_by(|a, b| a < b) || mark_of(self.anchor.vm, ids) != *earlier {
            return Err(RosterError::Snapshot { why: "the list of ids is not that of the head".into() });
        }
        let effective = self.effective();
        let missing = ids.iter().filter(|id| effective.binary_search(id).is_err()).count();
        if missing == 0 { Ok(()) } else { Err(RosterError::Shorter { missing, count: earlier.count }) }
    }

    pub(crate) fn evaluation(&self) -> &Evaluation {
        self.evaluation.get_or_init(|| {
            let candidates = self
                .entries
                .iter()
                .filter_map(|(id, copies)| {
                    let proposal = copies.first()?.statement.proposal();
                    let copies = copies.iter().map(|copy| copy.genuine.clone()).collect();
                    Some((*id, Candidate { proposal, copies }))
                })
                .collect();
            Box::new(evaluate(self.anchor, &candidates))
        })
    }

    /// For this VM, and a genesis for this anchor?
    pub(crate) fn check_place(&self, statement: &Statement) -> Result<(), RosterError> {
        let found = statement.proposal().vm;
        if found != self.anchor.vm {
            return Err(RosterError::NotForThisVm { found, expected: self.anchor.vm });
        }
        match &statement.proposal().body {
            Body::Genesis(genesis) => genesis_fits(&self.anchor, genesis),
            _ => Ok(()),
        }
    }

    /// A copy whose every signature is checked already: more copies add nothing, if it suffices.
    fn settled(&self, id: &Hash) -> bool {
        let checked = self.entries.get(id).is_some_and(|copies| copies.iter().any(|c| c.unknown.is_empty()));
        checked && self.evaluation.get().is_some_and(|e| e.status.get(id) == Some(&Status::Effective))
    }

    pub(crate) fn check_signatures(
        &self,
        bytes: &[u8],
        statement: Statement,
        own: &[UserPublic],
    ) -> Result<Kept, RosterError> {
        let own: Vec<(Fingerprint, &UserPublic)> = own.iter().map(|key| (key.fingerprint(), key)).collect();
        let (mut genuine, mut unknown) = (Vec::new(), Vec::new());
        for (signer, signature) in statement.signatures() {
            let key = self.keys.get(&signer).or_else(|| own.iter().find(|(f, _)| *f == signer).map(|(_, key)| *key));
            let Some(key) = key else {
                unknown.push(signer);
                continue;
            };
            key.verify(SIGN_CONTEXT, statement.signed_bytes(), signature)
                .map_err(|_| RosterError::BadSignature { signer })?;
            genuine.push(signer);
        }
        Ok(Kept { bytes: bytes.to_vec(), statement, genuine, unknown })
    }

    pub(crate) fn put(&mut self, id: Hash, copy: Kept) {
        let copies = self.entries.entry(id).or_default();
        if copies.is_empty() {
            self.order.push(id);
        }
        copies.push(copy);
        self.evaluation = OnceLock::new();
    }

    /// A key became known: checks what waited for it and drops copies whose signature does not fit.
    pub(crate) fn learn(&mut self, key: UserPublic) {
        let signer = key.fingerprint();
        for id in self.waiting.remove(&signer).unwrap_or_default() {
            let Some(copies) = self.entries.get_mut(&id) else { continue };
            copies.retain_mut(|copy| {
                if !copy.unknown.contains(&signer) {
                    return true;
                }
                copy.unknown.retain(|s| *s != signer);
                copy.genuine.push(signer);
                let signature = copy.statement.signatures().find(|(s, _)| *s == signer).map(|(_, s)| *s);
                signature.is_some_and(|s| key.verify(SIGN_CONTEXT, copy.statement.signed_bytes(), &s).is_ok())
            });
            if copies.is_empty() {
                self.forget(&id);
            }
            self.evaluation = OnceLock::new();
        }
        self.keys.insert(signer, key);
    }

    /// Drops what has no effect: it was never admitted, and must not come into effect behind an admission.
    pub(crate) fn drop_waiting(&mut self) {
        let evaluation = self.evaluation();
        if evaluation.effective.len() == self.entries.len() {
            return;
        }
        let keep = evaluation.effective.clone();
        self.keep_only(&keep);
        self.waiting.clear();
    }

    /// Takes a statement out again (an admission that failed) and puts the evaluation before it back.
    pub(crate) fn withdraw(&mut self, id: &Hash, before: Evaluation) {
        self.forget(id);
        self.evaluation = OnceLock::from(Box::new(before));
    }

    /// Ids in the order in which their statements came.
    pub(crate) fn order(&self) -> &[Hash] {
        &self.order
    }

    /// Sets the order of statements that were put in another.
    pub(crate) fn set_order(&mut self, order: impl Iterator<Item = Hash>) {
        self.order = order.collect();
    }

    /// Keeps the statements with these ids, ascending.
    pub(crate) fn keep_only(&mut self, ids: &[Hash]) {
        self.entries.retain(|id, _| ids.binary_search(id).is_ok());
        self.order.retain(|id| ids.binary_search(id).is_ok());
        self.evaluation = OnceLock::new();
    }

    fn forget(&mut self, id: &Hash) {
        self.entries.remove(id);
        // Nearly always the last one.
        if let Some(at) = self.order.iter().rposition(|other| other == id) {
            self.order.remove(at);
        }
    }
}
