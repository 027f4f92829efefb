//! Scribe's own copy of the roster, verified anew, and what the database says the roster is.
//!
//! Keeper decides what belongs to the roster; scribe verifies it all the same, because it decides by it. What does not
//! belong: decisions (`requests`). Invariant: nothing that only the database has takes effect here.

use super::Scribe;
use crate::message::ScribeToKeeper;
use peri_domain::UtcNanos;
use peri_ledger::EntryType;
use peri_roster::{RosterSet, Statement};
use std::collections::BTreeSet;

impl Scribe {
    pub(super) fn take_statement(&mut self, statement: &[u8]) {
        let Some(set) = &mut self.roster_set else { return };
        if !self.roster_complete {
            self.statements.push(statement.to_vec());
            return;
        }
        if set.insert(statement).is_err() {
            self.alarm(EntryType::RosterAlarm, None, "keeper sent a statement that does not verify here");
            return;
        }
        self.statements.push(statement.to_vec());
        self.roster_of = None;
        // What keeper says again at a start is compared with the database before anything of it is written there.
        if let Some(books) = &mut self.books {
            books.statement(statement);
        }
        self.renew_roster();
        self.roster_changed();
        self.end_sessions_out_of_office();
        let text = self.roster.as_ref().map(|r| format!("{} statements, head {}", r.len(), r.head()));
        self.record(EntryType::RosterAccepted, None, &text.unwrap_or_default());
    }

    /// Verifies what keeper sent at a start, all at once: signatures that a snapshot covers are not checked again.
    pub(super) fn load_roster(&mut self) {
        let Some(set) = &mut self.roster_set else { return };
        let reading = RosterSet::read(*set.anchor(), &self.statements);
        *set = reading.set;
        self.roster_of = None;
        for (at, why) in reading.left_out.iter().rev() {
            self.statements.remove(*at);
            let text = format!("keeper sent a statement that does not verify here: {why}");
            self.alarm(EntryType::RosterAlarm, None, &text);
        }
    }

    /// Verifies the roster as of now. It copies the whole of it, so within one second it is done once, unless a statement
    /// came; grants are compared with the instant itself all the same.
    pub(super) fn renew_roster(&mut self) {
        let now = self.now();
        if self.roster.is_some() && self.roster_of == Some(now.secs()) {
            return;
        }
        // While keeper sends its roster anew, the one verified before stays.
        if let Some(set) = self.roster_set.as_ref().filter(|_| self.roster_complete) {
            self.roster = Some(set.verify(now));
            self.roster_of = Some(now.secs());
        }
    }

    /// The time that decisions go by: never before the last entry of the ledger, nor before one that this run saw.
    pub(super) fn now(&mut self) -> UtcNanos {
        if let Some(books) = &self.books {
            self.time.saw(books.ledger_time());
        }
        self.time.now(&self.clock)
    }

    /// The database's roster is a copy. What it has and keeper has not is offered to keeper, who alone decides; what it
    /// lacks or adds shows in its head, and keeper raises the alarm.
    pub(super) fn compare_database(&mut self) {
        self.compare_due = true;
        let Some(books) = &mut self.books else { return };
        let Ok(stored) = books.db().statements() else { return };
        self.compare_due = false;
        let Some(set) = &self.roster_set else { return };
        let known: BTreeSet<&[u8]> = self.statements.iter().map(Vec::as_slice).collect();
        let mut present: BTreeSet<&[u8]> = stored.iter().map(Vec::as_slice).collect();
        let mut reading = RosterSet::read(*set.anchor(), &stored);
        let bad: BTreeSet<usize> = reading.left_out.iter().map(|(at, _)| *at).collect();
        let copy = &mut reading.set;
        let is_foreign =
            |(at, statement): &(usize, &Vec<u8>)| bad.contains(at) || !known.contains(statement.as_slice());
        let foreign: Vec<_> = stored.iter().enumerate().filter(is_foreign).map(|(_, s)| s.clone()).collect();
        // What was accepted since is on its way and not missing.
        for statement in books.waiting_statements() {
            if present.insert(statement) {
                let _ = copy.insert(statement);
            }
        }
        let lost: Vec<Vec<u8>> = self.statements.iter().filter(|s| !present.contains(s.as_slice())).cloned().collect();
        let mark = copy.mark();
        // What is there beside keeper's counts although it has no effect, and so is not in the head: somebody put it there.
        let effective = |bytes: &[u8]| Statement::from_bytes(bytes).is_ok_and(|s| copy.effective().contains(&s.hash()));
        let idle = foreign.iter().filter(|bytes| !known.contains(bytes.as_slice()) && !effective(bytes)).count();
        let len = mark.count + idle as u64;
        lost.iter().for_each(|statement| books.statement(statement));
        self.tell_keeper(ScribeToKeeper::DatabaseRoster { head: mark.head, len }, None);
        for statement in foreign {
            let id = self.next_question;
            self.next_question += 1;
            self.tell_keeper(ScribeToKeeper::Submit { id, statement: statement.into() }, None);
        }
    }
}
