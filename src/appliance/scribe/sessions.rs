//! Sessions at scribe: who shows a certificate, whose proof comes with a request, what a copy leads to.
//!
//! What does not belong: the rules for copies (`peri_access::window`), whether a request is allowed (`requests`).
//! Invariants: nothing is executed before session, office and counter were looked at, in this order, for every request;
//! a lock is durable before it is answered, in a file of scribe's own, because a session must not come back while
//! PostgreSQL is away; whoever goes out of office loses his sessions with the statement that says so.

use super::requests::{Answered, away, pseudonym};
use super::{EventDetail, Scribe, salt};
use crate::message::ScribeToPortal;
use peri_access::Nonces;
use peri_access::decide::{self, Principal};
use peri_access::proof::BootEpoch;
use peri_access::session::{Opening, SessionId};
use peri_access::sessions::{AdmitError, Sessions, Verdict};
use peri_access::window::LockReason;
use peri_access::wire::{Conflict, Problem, Request, SESSION_UNKNOWN, SessionOpened, request_line};
use peri_domain::limits::SESSIONS_MAX;
use peri_domain::{Pseudonym, UtcNanos};
use peri_ledger::{EntryType, Event};
use peri_sandbox::clock::Clock as _;
use peri_sandbox::durable::{self, Dir};
use peri_seal::canonical;

/// Ids and ends of locked sessions, in scribe's own directory.
const LOCKED: &str = "locked-sessions";
/// Its longest form: 45 bytes for each session.
const LOCKED_BYTES_MAX: usize = 64 * SESSIONS_MAX;

/// What scribe remembers of its sessions in this life.
pub(super) struct Talks {
    pub(super) sessions: Sessions,
    pub(super) nonces: Nonces,
    /// Why the locks of earlier lives could not be read.
    pub(super) damaged: Option<String>,
}

impl Talks {
    /// A new life: a new boot epoch, and the locks of earlier ones. Locks that cannot be read stop nothing, because
    /// recording must go on; they are told.
    pub(super) fn open(dir: &Dir) -> Self {
        let mut sessions = Sessions::new(BootEpoch(salt()));
        let mut damaged = None;
        match dir.read(LOCKED, LOCKED_BYTES_MAX) {
            Ok(bytes) => match canonical::decode::<Vec<(SessionId, UtcNanos)>>("locked sessions", &bytes) {
                Ok(locked) => locked.into_iter().for_each(|(id, not_after)| sessions.restore_locked(id, not_after)),
                Err(error) => damaged = Some(error.to_string()),
            },
            Err(error) if error.is_missing() => {}
            Err(error) => damaged = Some(error.to_string()),
        }
        Self { sessions, nonces: Nonces::default(), damaged }
    }
}

impl Scribe {
    fn not_taken(&mut self, id: u64, problem: Problem) {
        self.tell_portal(ScribeToPortal::NotTaken { id, problem }, None);
    }

    /// A client shows a certificate.
    pub(super) fn on_opening(&mut self, id: u64, opening: &Opening) {
        let answered = self.open_session(opening);
        self.answer(id, answered);
    }

    fn open_session(&mut self, opening: &Opening) -> Answered {
        self.renew_roster();
        let now = self.now();
        let roster = self.roster.as_ref().filter(|_| self.roster_complete);
        let Some(roster) = roster else { return Err(away("the roster is not loaded yet; try again in a moment")) };
        let refused = |why: String| Problem::new(401, "not_authenticated", "Not authenticated", why);
        // The signatures first: a stranger cannot spend a nonce.
        let (session, principal) = decide::open_session(roster, opening, now).map_err(|denied| {
            self.quotas.stranger(self.clock.monotonic());
            refused(denied.to_string())
        })?;
        self.talks.nonces.spend(&opening.nonce, self.clock.monotonic()).map_err(|error| {
            self.quotas.stranger(self.clock.monotonic());
            Problem::new(401, "nonce", "Stale opening", error.to_string())
        })?;
        let known = self.talks.sessions.session(session.id(), now).is_some();
        self.talks.sessions.admit(&session, now).map_err(|error| match error {
            AdmitError::Locked => locked(),
            AdmitError::Ended => refused(error.to_string()),
            AdmitError::Yours | AdmitError::Full => {
                let wait = session.not_after().saturating_since(now).as_secs();
                Problem::new(429, "too_many_sessions", "Too many sessions", error.to_string()).retry_after(wait)
            }
        })?;
        if !known {
            let text = format!("{}, until {}", session.id().0, session.not_after());
            self.enter_about(EntryType::SessionStarted, pseudonym(principal.fingerprint()), text);
        }
        let opened = SessionOpened { boot: self.talks.sessions.boot(), now };
        Ok(minicbor::to_vec(opened).expect("encoding into a Vec cannot fail"))
    }

    /// A request in a session: whose it is, that it is fresh, and only then what it asks.
    pub(super) fn on_request(&mut self, id: u64, request: &Request) {
        self.renew_roster();
        let now = self.now();
        let roster = self.roster.as_ref().filter(|_| self.roster_complete);
        let Some(roster) = roster else {
            return self.not_taken(id, away("the roster is not loaded yet; try again in a moment"));
        };
        let named = request.proof.session;
        let Some(session) = self.talks.sessions.session(named, now) else {
            self.quotas.stranger(self.clock.monotonic());
            return self.not_taken(id, unknown());
        };
        let checked = request_line(request.method, &request.body)
            .and_then(|line| request.proof.clone().check(session, &line, now));
        let genuine = match checked {
            Ok(genuine) => genuine,
            Err(error) => {
                self.quotas.stranger(self.clock.monotonic());
                return self
                    .not_taken(id, Problem::new(401, "not_authenticated", "Not authenticated", error.to_string()));
            }
        };
        let principal = match decide::authenticate(roster, session) {
            Ok(principal) => principal,
            Err(denied) => {
                let signer = session.signer();
                self.end_session(named, pseudonym(signer), "its key is out of office");
                return self
                    .not_taken(id, Problem::new(401, "not_authenticated", "Not authenticated", denied.to_string()));
            }
        };
        let conflict = match self.talks.sessions.arrive(&genuine, salt(), now) {
            Verdict::Execute => return self.execute(id, principal, request),
            Verdict::Copy(nonce) => Conflict::Copy(nonce),
            Verdict::GivenUp => Conflict::GivenUp,
            Verdict::Resync(boot) => Conflict::Resync(boot),
            Verdict::ChannelEnded => Conflict::ChannelEnded,
            Verdict::ChannelsSpent => {
                let detail = "this session has opened as many channels as a session may; log in again";
                return self.not_taken(id, Problem::new(429, "channels_spent", "Too many channels", detail));
            }
            Verdict::Lock(reason) => {
                self.lock_session(named, &principal, reason);
                return self.not_taken(id, locked());
            }
            Verdict::Locked => return self.not_taken(id, locked()),
            Verdict::Unknown => return self.not_taken(id, unknown()),
        };
        self.tell_portal(ScribeToPortal::Conflict { id, conflict }, None);
    }

    /// The person says goodbye.
    pub(super) fn log_out(&mut self, session: SessionId, principal: &Principal) -> Answered {
        self.end_session(session, pseudonym(principal.fingerprint()), "logout");
        Ok(minicbor::to_vec(()).expect("encoding into a Vec cannot fail"))
    }

    fn end_session(&mut self, session: SessionId, whose: Pseudonym, why: &str) {
        if self.talks.sessions.end(session) {
            self.close_followers_of(session);
            self.enter_about(EntryType::SessionEnded, whose, format!("{}: {why}", session.0));
        }
    }

    fn lock_session(&mut self, session: SessionId, principal: &Principal, reason: LockReason) {
        self.close_followers_of(session);
        let mut text = format!("{}: {reason}", session.0);
        let locked: Vec<_> = self.talks.sessions.locked().collect();
        // Durable before the answer: a restart must not bring it back.
        if let Err(error) = durable::write_atomic(&self.dir, LOCKED, &canonical::encode(&locked), 0o600) {
            text.push_str(&format!("; the lock does not outlive a restart: {error}"));
        }
        self.raise(EntryType::SessionLocked, None, &text);
        self.enter_about(EntryType::SessionLocked, pseudonym(principal.fingerprint()), text);
    }

    /// Sessions of keys that a statement took out of office end with it.
    pub(super) fn end_sessions_out_of_office(&mut self) {
        let Some(roster) = self.roster.as_ref().filter(|_| self.roster_complete) else { return };
        let now = self.clock.utc();
        let sessions = &self.talks.sessions;
        let out = |id: SessionId| {
            sessions.session(id, now).is_some_and(|session| decide::authenticate(roster, session).is_err())
        };
        let ended: Vec<_> = sessions.live().filter(|(id, _)| out(*id)).collect();
        for (session, signer) in ended {
            self.end_session(session, pseudonym(signer), "its key is out of office");
        }
    }

    /// Forgets what is over, and enters copies of which nobody ever said whose they were.
    pub(super) fn tend_sessions(&mut self) {
        let now = self.now();
        self.talks.sessions.sweep(now);
        for note in self.talks.sessions.take_notes() {
            let text = format!("{}: {} copies of request {}", note.session.0, note.copies, note.counter);
            self.record(EntryType::CopyUnresolved, None, &text);
        }
        if let Some(damaged) = self.talks.damaged.take() {
            let text = format!("locks of earlier sessions cannot be read ({damaged}); such a session may come back");
            self.alarm(EntryType::SessionLocked, None, &text);
        }
    }

    fn close_followers_of(&mut self, session: SessionId) {
        let closed: Vec<u64> =
            self.followers.iter().filter(|f| f.session == session).map(|follower| follower.portal_id).collect();
        self.followers.retain(|follower| follower.session != session);
        for id in closed {
            self.tell_portal(ScribeToPortal::Closed { id }, None);
        }
    }

    /// An entry about somebody, with plain words as its detail.
    pub(super) fn enter_about(&mut self, kind: EntryType, whose: Pseudonym, text: String) {
        let detail = EventDetail { camera: None, text };
        self.enter(Event::new(kind, self.clock.utc()).about(whose).with_detail(salt(), &detail));
    }
}

fn unknown() -> Problem {
    let detail = "this session is not known here (any more); log in again";
    Problem::new(401, SESSION_UNKNOWN, "Not authenticated", detail)
}

fn locked() -> Problem {
    let detail = "somebody sent a copy of one of its requests, so this session is locked for good; log in again, and tell \
                  the administrator: somebody reads your connection or has your session key";
    Problem::new(423, "session_locked", "The session is locked", detail)
}
