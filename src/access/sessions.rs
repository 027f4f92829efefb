//! All sessions at scribe: their channels, their end, their lock.
//!
//! What does not belong: the rules for one channel (window), sockets to close and entries to write: the caller does
//! both on a [`Verdict::Lock`] and for every [`Note`]. Invariants: nothing gets here but a [`Genuine`] proof of a
//! [`Session`]; a lock is final for this session key; memory is bounded by the limits named below.
//!
//! ```text
//!  admitted ── proof ──▶ channel opened ── proofs ──▶ ended (by the page, or silent longest when one too many opens)
//!     │                                                  │ a copy: lock if its answer was acknowledged, else refused
//!     ├── LockReason in any channel ──▶ locked: 423 for everything, until the roster key certifies a new session key
//!     ├── logout, key out of office ──▶ ended: 401, and this session key is never admitted again
//!     └── not_after ──▶ gone: 401
//! ```
//! Restart of scribe: all this is memory. Every start draws a new [`BootEpoch`]; a proof for an older one gets
//! [`Verdict::Resync`] and executes nothing, so copies from before are worth nothing, and an honest client goes on in
//! a new channel under the new epoch. Locks must outlive a restart: the caller keeps the ids of locked sessions until
//! their end and gives them to [`Sessions::restore_locked`].

use crate::proof::{BootEpoch, ChannelId, Genuine};
use crate::session::{Session, SessionId};
use crate::window::{Arrival, LockReason, Window};
use peri_domain::limits::{CHANNELS_MAX, SESSIONS_MAX};
use peri_domain::{Fingerprint, Nonce, UtcNanos};
use std::collections::{BTreeSet, HashMap};

/// Sessions of one roster key: nobody takes more than a 64th of all, so that no account shuts the others out.
const OF_ONE_KEY_MAX: usize = SESSIONS_MAX / 64;

/// Ended sessions remembered until their time is over: an hour of two logins a second, under a megabyte. Beyond that the
/// one that is over soonest goes; whoever would come back with it needs its session key and a nonce.
const ENDED_MAX: usize = 8_192;

/// What to do with a genuine request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Decide and execute it.
    Execute,
    /// 409 with this nonce; execute nothing.
    Copy(Nonce),
    /// 409: the client said before that this request is dead to it.
    GivenUp,
    /// 409 with the present boot epoch: sign again in a new channel.
    Resync(BootEpoch),
    /// 409: this channel has ended; go on in a new one.
    ChannelEnded,
    /// 429: this session has opened [`CHANNELS_MAX`] channels; log in again.
    ChannelsSpent,
    /// 423 from now on: close the session's sockets, write the entry, keep the id.
    Lock(LockReason),
    /// 423: locked before.
    Locked,
    /// 401: no such session (any more).
    Unknown,
}

/// For the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The session.
    pub session: SessionId,
    /// The channel that ended.
    pub channel: ChannelId,
    /// A request of which copies came, and of which the client never said what it saw.
    pub counter: u64,
    /// Copies; 8 stands for 8 or more.
    pub copies: usize,
}

/// Why a session cannot be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Its key was locked.
    #[error("this session was locked because somebody copied it; log in again with a new session key")]
    Locked,
    /// It was ended.
    #[error("this session was ended; log in again with a new session key")]
    Ended,
    /// This person has too many.
    #[error("you have {OF_ONE_KEY_MAX} sessions already; log out elsewhere, or wait until one ends")]
    Yours,
    /// Too many in all.
    #[error("{SESSIONS_MAX} sessions are open; log out elsewhere, or wait until one ends")]
    Full,
}

struct Channel {
    window: Window,
    ended: bool,
    /// Order of use.
    used: u64,
}

struct State {
    /// `None` for a lock from an earlier life.
    session: Option<Session>,
    not_after: UtcNanos,
    at_once: usize,
    locked: bool,
    channels: HashMap<ChannelId, Channel>,
}

/// See the module.
pub struct Sessions {
    boot: BootEpoch,
    sessions: HashMap<SessionId, State>,
    ended: BTreeSet<(UtcNanos, SessionId)>,
    notes: Vec<Note>,
    uses: u64,
}

impl Sessions {
    /// At the start of scribe; `boot` is freshly drawn.
    #[must_use]
    pub fn new(boot: BootEpoch) -> Self {
        Self { boot, sessions: HashMap::new(), ended: BTreeSet::new(), notes: Vec::new(), uses: 0 }
    }

    /// The epoch that clients sign for.
    #[must_use]
    pub const fn boot(&self) -> BootEpoch {
        self.boot
    }

    /// A session that was locked in an earlier life of scribe.
    pub fn restore_locked(&mut self, session: SessionId, not_after: UtcNanos) {
        let state = State { session: None, not_after, at_once: 0, locked: true, channels: HashMap::new() };
        self.sessions.insert(session, state);
    }

    /// Takes up a verified session. Admitting it again (a client that shows its certificate after a restart, or twice)
    /// changes nothing.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&mut self, session: &Session, now: UtcNanos) -> Result<(), AdmitError> {
        self.sweep(now);
        match self.sessions.get(&session.id()) {
            Some(state) if state.locked => return Err(AdmitError::Locked),
            Some(_) => return Ok(()),
            None if self.ended.contains(&(session.not_after(), session.id())) => return Err(AdmitError::Ended),
            None if self.sessions.len() >= SESSIONS_MAX => return Err(AdmitError::Full),
            None => {}
        }
        let same_key = |state: &&State| state.signer() == Some(session.signer());
        if self.sessions.values().filter(same_key).count() >= OF_ONE_KEY_MAX {
            return Err(AdmitError::Yours);
        }
        let (id, at_once) = (session.id(), usize::from(session.channels()));
        let not_after = session.not_after();
        let session = Some(session.clone());
        let state = State { session, not_after, at_once, locked: false, channels: HashMap::new() };
        self.sessions.insert(id, state);
        Ok(())
    }

    /// A session that was admitted in this life and is not over: what a proof is checked against. Locked ones too.
    #[must_use]
    pub fn session(&self, id: SessionId, now: UtcNanos) -> Option<&Session> {
        self.sessions.get(&id).filter(|state| now < state.not_after)?.session.as_ref()
    }

    /// Sessions that live, each with the roster key behind it.
    pub fn live(&self) -> impl Iterator<Item = (SessionId, Fingerprint)> + '_ {
        let live = self.sessions.iter().filter(|(_, state)| !state.locked);
        live.filter_map(|(id, state)| Some((*id, state.signer()?)))
    }

    /// Locked sessions and when their time is over: to be kept until then.
    pub fn locked(&self) -> impl Iterator<Item = (SessionId, UtcNanos)> + '_ {
        self.sessions.iter().filter(|(_, state)| state.locked).map(|(id, state)| (*id, state.not_after))
    }

    /// A genuine request. `fresh` is a nonce never used before.
    pub fn arrive(&mut self, genuine: &Genuine, fresh: Nonce, now: UtcNanos) -> Verdict {
        let proof = genuine.proof();
        let Some(state) = self.sessions.get_mut(&proof.session).filter(|state| now < state.not_after) else {
            return Verdict::Unknown;
        };
        if state.locked {
            return Verdict::Locked;
        }
        if proof.boot != self.boot {
            return Verdict::Resync(self.boot);
        }
        self.uses += 1;
        if !state.channels.contains_key(&proof.channel) {
            if state.channels.len() >= CHANNELS_MAX {
                return Verdict::ChannelsSpent;
            }
            let open = state.channels.values().filter(|channel| !channel.ended).count();
            if open >= state.at_once {
                end_quietest(state, proof.session, &mut self.notes);
            }
            state.channels.insert(proof.channel, Channel { window: Window::default(), ended: false, used: self.uses });
        }
        let channel = state.channels.get_mut(&proof.channel).expect("just looked up or inserted");
        let arrival = if channel.ended {
            match channel.window.arrive_late(genuine) {
                Arrival::Lock(reason) => Arrival::Lock(reason),
                _ => return Verdict::ChannelEnded,
            }
        } else {
            channel.window.arrive(genuine, fresh)
        };
        match arrival {
            Arrival::Execute => {
                // Only this: whoever plays copies must not decide which page is the silent one.
                channel.used = self.uses;
                Verdict::Execute
            }
            Arrival::Copy(nonce) => Verdict::Copy(nonce),
            Arrival::GivenUp => Verdict::GivenUp,
            Arrival::Lock(reason) => {
                state.locked = true;
                state.channels.clear();
                Verdict::Lock(reason)
            }
        }
    }

    /// The page says goodbye to its channel (an executed request of that channel asks for it).
    pub fn end_channel(&mut self, session: SessionId, channel: ChannelId) {
        if let Some(found) = self.sessions.get_mut(&session).and_then(|state| state.channels.get_mut(&channel)) {
            end(found, session, channel, &mut self.notes);
        }
    }

    /// The session is over before its time: logout, or its roster key is out of office. It is never admitted again, and a
    /// locked one stays locked. `false` when there was none.
    pub fn end(&mut self, session: SessionId) -> bool {
        if self.sessions.get(&session).is_none_or(|state| state.locked) {
            return false;
        }
        let Some(mut state) = self.sessions.remove(&session) else { return false };
        end_all(&mut state, session, &mut self.notes);
        self.ended.insert((state.not_after, session));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_first();
        }
        true
    }

    /// Locks from elsewhere: the person says so. Final like any lock.
    pub fn lock(&mut self, session: SessionId) {
        if let Some(state) = self.sessions.get_mut(&session) {
            state.locked = true;
            end_all(state, session, &mut self.notes);
            state.channels.clear();
        }
    }

    /// Forgets sessions past their end: their proofs are refused by time from then on.
    pub fn sweep(&mut self, now: UtcNanos) {
        while self.ended.first().is_some_and(|(not_after, _)| *not_after <= now) {
            self.ended.pop_first();
        }
        let notes = &mut self.notes;
        self.sessions.retain(|id, state| {
            let lives = now < state.not_after;
            if !lives {
                end_all(state, *id, notes);
            }
            lives
        });
    }

    /// Unresolved copies since the last call; at most one for each request that was open in a channel that ended.
    pub fn take_notes(&mut self) -> Vec<Note> {
        core::mem::take(&mut self.notes)
    }
}

impl State {
    fn signer(&self) -> Option<Fingerprint> {
        self.session.as_ref().map(Session::signer)
    }
}

fn end_quietest(state: &mut State, session: SessionId, notes: &mut Vec<Note>) {
    let open = state.channels.iter_mut().filter(|(_, channel)| !channel.ended);
    if let Some((id, channel)) = open.min_by_key(|(_, channel)| channel.used) {
        end(channel, session, *id, notes);
    }
}

fn end_all(state: &mut State, session: SessionId, notes: &mut Vec<Note>) {
    for (id, channel) in &mut state.channels {
        end(channel, session, *id, notes);
    }
}

fn end(channel: &mut Channel, session: SessionId, id: ChannelId, notes: &mut Vec<Note>) {
    if !core::mem::replace(&mut channel.ended, true) {
        notes.extend(channel.window.unresolved().map(|(counter, copies)| Note {
            session,
            channel: id,
            counter,
            copies,
        }));
        channel.window.shrink();
    }
}
