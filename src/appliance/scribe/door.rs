//! How people come to their keys: logins, their settings, invitations.
//!
//! What does not belong: the rules (`peri_access::{login, attempts, setting, invite}`), rows (`peri_store::logins`).
//! Invariants: what is counted, used or spent is durable before anything is hashed or handed out; no hash is computed on
//! scribe's own thread, so that recorders, keeper and the ledger wait for none; of hashes that wait there is a bound.

use super::Scribe;
use super::requests::{Answered, away, decode, encode, pseudonym};
use anyhow::Context as _;
use peri_access::attempts::{AttemptKey, Attempts, Record};
use peri_access::decide::{self, Object, Principal, Standing};
use peri_access::invite::{InvitationId, Invitations, InviteError, Offer, Redemption};
use peri_access::login::{
    Argon2id, Compared, Credential, Credentials, Door, HashError, LoginError, LoginRequest, Means, NotDurable, Pending,
    Prelogin, SaltKey,
};
use peri_access::setting::SignedSetting;
use peri_access::wire::{InvitationBody, InvitationPage, LoggedInPage, Problem, RedeemedPage};
use peri_domain::limits::{INVITATION_MAX, INVITATIONS_MAX};
use peri_domain::{AccountId, Action, Fingerprint, Hash, UtcNanos};
use peri_ledger::EntryType;
use peri_sandbox::clock::Clock as _;
use peri_sandbox::durable::{self, Dir};
use peri_seal::keys::UserPublic;
use peri_seal::{canonical, rng};
use peri_store::db::{Db, DbError};
use peri_store::logins::{AttemptRow, NewLogin, Set};
use std::collections::BTreeSet;
use std::io::{PipeReader, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use zeroize::Zeroizing;

/// Keys of name digests and of unknown names' salts, in scribe's own directory: a stolen database lists no names.
const KEYS: &str = "access.key";
const KEYS_LEN: usize = 64;
/// Attempts that wait to be hashed; at 0.2 s each the last waits for six seconds.
const WAITING_MAX: usize = 32;
/// How many of them may be strangers': the rest is for devices, sheets and keys that are known.
const STRANGERS_MAX: usize = WAITING_MAX / 2;

/// A question of portal, and which portal asked: a new one counts anew.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    id: u64,
    portal: u64,
}

/// What the hashing thread is to do.
enum Job {
    Login(Asked, Pending),
    Set(Asked, Box<SignedSetting>, AccountId),
}

/// What it has done.
enum Done {
    Login(Asked, Result<Compared, LoginError>),
    Set(Asked, Box<SignedSetting>, Result<Credential, HashError>),
}

/// The one thread that hashes, one attempt at a time.
struct Worker {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    waiting: usize,
    /// Whose settings wait: one of each key.
    setting: BTreeSet<Fingerprint>,
}

/// What is kept between calls.
struct Ways {
    door: Door,
    attempts: Attempts,
    invitations: Invitations,
}

/// See the module.
pub(super) struct Entrance {
    worker: Worker,
    wake: PipeReader,
    /// Open once the database was read.
    ways: Option<Ways>,
    /// The roster changed: logins stand or go with it.
    roster_changed: bool,
    /// Invitations of which it was told that they were used twice.
    misused: BTreeSet<InvitationId>,
}

impl std::os::fd::AsFd for Entrance {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Entrance {
    /// Starts the thread. To be called behind the walls, so that it stands behind them too; `pipe` was made before them.
    pub(super) fn start(pipe: (PipeReader, std::io::PipeWriter)) -> anyhow::Result<Self> {
        let (wake, mut waker) = pipe;
        let (jobs, todo) = sync_channel::<Job>(WAITING_MAX);
        let (report, done) = sync_channel::<Done>(WAITING_MAX);
        std::thread::Builder::new().name("hash".into()).spawn(move || {
            for job in todo {
                let done = match job {
                    Job::Login(id, pending) => Done::Login(id, pending.run(&Argon2id::STANDARD)),
                    Job::Set(id, signed, account) => {
                        let made = signed.hashed(account, &Argon2id::STANDARD, &mut rng::system());
                        Done::Set(id, signed, made)
                    }
                };
                // Scribe is gone, and so is this thread.
                if report.send(done).is_err() || waker.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        let worker = Worker { jobs, done, waiting: 0, setting: BTreeSet::new() };
        Ok(Self { worker, wake, ways: None, roster_changed: true, misused: BTreeSet::new() })
    }

    const fn busy(&self, known: bool) -> bool {
        self.worker.waiting >= if known { WAITING_MAX } else { STRANGERS_MAX }
    }

    fn hand_in(&mut self, job: Job) -> Result<(), Problem> {
        match self.worker.jobs.try_send(job) {
            Ok(()) => {
                self.worker.waiting += 1;
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(crowded()),
        }
    }
}

/// One name's login as it stands in the database.
struct Found<'a> {
    db: &'a mut Db,
    found: Option<Credential>,
}

impl Credentials for Found<'_> {
    fn find(&self, _: &str) -> Option<&Credential> {
        self.found.as_ref()
    }

    fn spend_recovery(&mut self, account: AccountId) -> Result<bool, NotDurable> {
        let Some(before) = self.found.as_ref() else { return Ok(false) };
        let after = Credential { recovery: None, ..before.clone() };
        let (before, after) = (canonical::encode(before), canonical::encode(&after));
        self.db.spend_credential(account, &before, &after).map_err(|_| NotDurable)
    }
}

/// A seat is no account; its login stands under its key and ends with it.
fn login_of_seat(key: Fingerprint) -> AccountId {
    AccountId(pseudonym(key).0)
}

impl Scribe {
    /// Reads what is kept of attempts and invitations; until then nobody logs in.
    pub(super) fn open_entrance(&mut self) {
        if self.entrance.ways.is_some() {
            return;
        }
        match self.try_entrance() {
            Ok(ways) => self.entrance.ways = Some(ways),
            // The journal says so already.
            Err(error) if error.downcast_ref::<DbError>().is_some_and(DbError::is_away) => {}
            Err(error) => {
                let text = format!("logins are closed: {error:#}; trying again");
                if !self.alarms.lines().iter().any(|alarm| alarm.ends_with(&text)) {
                    self.alarm(EntryType::StoreGap, None, &text);
                }
            }
        }
    }

    fn try_entrance(&mut self) -> anyhow::Result<Ways> {
        let (attempt_key, salt_key) = keys(&self.dir)?;
        let db = self.books.as_mut().context("the ledger is not open yet")?.db();
        let mut attempts = Attempts::new(attempt_key);
        for record in db.attempts()? {
            attempts.apply(canonical::decode("stored attempt", &record)?);
        }
        let mut invitations = Invitations::default();
        for entry in db.invitations()? {
            invitations.restore(&entry)?;
        }
        Ok(Ways { door: Door::new(salt_key, Argon2id::STANDARD.nobody(&mut rng::system())), attempts, invitations })
    }

    pub(super) const fn roster_changed(&mut self) {
        self.entrance.roster_changed = true;
    }

    /// After a change of the roster: the login of a key that came into office stands, and nothing of a removed account
    /// stays that somebody could log in to.
    pub(super) fn follow_roster(&mut self) {
        let Some(roster) = self.roster.as_ref().filter(|_| self.entrance.roster_changed && self.roster_complete) else {
            return;
        };
        let removed = roster.accounts().filter(|account| account.removed()).map(|a| a.id());
        let left = roster.former_seat_keys().filter(|key| decide::standing(roster, *key).is_none()).map(login_of_seat);
        let gone: Vec<AccountId> = removed.chain(left).collect();
        let Ok((_, db)) = self.ways() else { return };
        if !gone.is_empty() && db.drop_credentials(&gone).is_err() {
            // Away: the next turn tries again.
            return;
        }
        let Ok(waiting) = db.waiting_credentials() else { return };
        for (signer, account) in waiting {
            let present = self.roster.as_ref().and_then(|roster| roster.account_by_key(signer));
            if present.is_none_or(|present| present.id() != account) {
                continue;
            }
            let Ok((_, db)) = self.ways() else { return };
            let text = match db.stand_credential(signer) {
                Ok(Some(Set::Taken)) => "not in force: another account took the name meanwhile; set it anew",
                Ok(_) => "in force",
                Err(_) => return,
            };
            self.enter_about(EntryType::LoginSet, pseudonym(signer), text.to_owned());
        }
        self.entrance.roster_changed = false;
    }

    fn ways(&mut self) -> Result<(&mut Ways, &mut Db), Problem> {
        let ways = self.entrance.ways.as_mut().ok_or_else(closed)?;
        let books = self.books.as_mut().ok_or_else(closed)?;
        Ok((ways, books.db()))
    }

    pub(super) fn on_prelogin(&mut self, ask: &Prelogin) -> Answered {
        let (ways, db) = self.ways()?;
        let found = find(db, ways.attempts.name_digest(&ask.name))?;
        let parameters = ways.door.prelogin(ask, &Found { db, found }).map_err(login_problem)?;
        Ok(encode(&parameters))
    }

    /// An attempt: counted, durable, and only then handed to the thread that hashes.
    pub(super) fn on_login(&mut self, id: u64, request: &LoginRequest, source: Option<IpAddr>) {
        let asked = Asked { id, portal: self.portals };
        if let Err(problem) = self.begin_login(asked, request, source) {
            self.answer(id, Err(problem));
        }
    }

    fn begin_login(&mut self, asked: Asked, request: &LoginRequest, source: Option<IpAddr>) -> Result<(), Problem> {
        let now = self.now();
        let (full, full_for_strangers) = (self.entrance.busy(true), self.entrance.busy(false));
        let (ways, db) = self.ways()?;
        let found = Found { found: find(db, ways.attempts.name_digest(&request.name))?, db };
        if full || full_for_strangers && !Door::knows(request, &found) {
            return Err(crowded());
        }
        // The socket of this machine does not tell where somebody comes from: there names alone are counted.
        let reserved = ways.door.begin(request, source, &found, &mut ways.attempts, now);
        let pending = reserved.map_err(login_problem)?;
        keep(found.db, pending.records(), now)?;
        self.entrance.hand_in(Job::Login(asked, pending))
    }

    /// A login is set: by an account in office, or by a key that an invitation enrolled.
    pub(super) fn on_setting(&mut self, id: u64, signed: SignedSetting) {
        let asked = Asked { id, portal: self.portals };
        if let Err(problem) = self.begin_setting(asked, signed) {
            self.answer(id, Err(problem));
        }
    }

    fn begin_setting(&mut self, asked: Asked, signed: SignedSetting) -> Result<(), Problem> {
        let now = self.now();
        let vm = self.identity.as_ref().ok_or_else(|| away("keeper is restarting"))?.vm;
        let signer = signed.setting.signer;
        let setter = self.setter(signer)?;
        if self.entrance.busy(setter.waits_until.is_none()) || self.entrance.worker.setting.contains(&signer) {
            return Err(crowded());
        }
        signed
            .verify(vm, &setter.key, now)
            .map_err(|error| Problem::new(400, "bad_setting", "The login is not set", error.to_string()))?;
        let (_, db) = self.ways()?;
        // A copy costs no hash.
        if before(db, setter.account, signer)?.is_some_and(|(issued, _)| issued >= signed.setting.issued) {
            return Err(old_setting());
        }
        self.entrance.hand_in(Job::Set(asked, Box::new(signed), setter.account))?;
        self.entrance.worker.setting.insert(signer);
        Ok(())
    }

    /// Who may set a login with this key. Asked before hashing and after it.
    fn setter(&mut self, signer: Fingerprint) -> Result<Setter, Problem> {
        self.renew_roster();
        let roster = self.roster.as_ref().ok_or_else(|| away("the roster is not loaded yet"))?;
        if let Some(account) = roster.account_by_key(signer) {
            return Ok(Setter { key: account.key().0.clone(), account: account.id(), waits_until: None });
        }
        if let Some((key, Standing::Seat(_))) = decide::key_in_office(roster, signer) {
            return Ok(Setter { key, account: login_of_seat(signer), waits_until: None });
        }
        let ways = self.entrance.ways.as_ref().ok_or_else(closed)?;
        let enrolled = ways.invitations.enrolled(signer);
        let removed = |account| roster.account(account).is_some_and(|account| account.removed());
        if let Some((key, offer)) = enrolled.filter(|(_, offer)| !removed(offer.account)) {
            let until = offer.not_after + INVITATION_MAX;
            return Ok(Setter { key: key.clone(), account: offer.account, waits_until: Some(until) });
        }
        self.quotas.stranger(self.clock.monotonic());
        let detail = "no account has this key, and no invitation enrolled it; redeem an invitation first";
        Err(Problem::new(401, "not_authenticated", "Not authenticated", detail))
    }

    /// Takes what the hashing thread has done.
    pub(super) fn hear_worker(&mut self) {
        let mut signal = [0; WAITING_MAX];
        // As many bytes as there may be jobs; what matters is that the pipe is empty.
        let _ = self.entrance.wake.read(&mut signal);
        loop {
            let done = match self.entrance.worker.done.try_recv() {
                Ok(done) => done,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            };
            self.entrance.worker.waiting = self.entrance.worker.waiting.saturating_sub(1);
            match done {
                Done::Login(asked, compared) => {
                    let answered = self.end_login(compared);
                    self.answer_to(asked, answered);
                }
                Done::Set(asked, signed, made) => {
                    self.entrance.worker.setting.remove(&signed.setting.signer);
                    let answered = self.end_setting(&signed, made);
                    self.answer_to(asked, answered);
                }
            }
        }
    }

    /// Whoever asked through a portal that has died is gone; his number is somebody else's now.
    fn answer_to(&mut self, asked: Asked, answered: Answered) {
        if asked.portal == self.portals {
            self.answer(asked.id, answered);
        }
    }

    fn end_login(&mut self, compared: Result<Compared, LoginError>) -> Answered {
        let now = self.now();
        let compared = compared.map_err(login_problem)?;
        let (ways, db) = self.ways()?;
        let found = find(db, ways.attempts.name_digest(compared.name()))?;
        let mut book = Found { db, found };
        let result = ways.door.finish(compared, &mut book, &mut ways.attempts);
        let logged_in = match result {
            Ok(logged_in) => logged_in,
            Err(error) => {
                self.quotas.stranger(self.clock.monotonic());
                return Err(login_problem(error));
            }
        };
        // It was right: should this not be kept, the account waits a little longer than it must.
        let _ = keep(book.db, logged_in.records.iter().copied(), now);
        let kind = match logged_in.means {
            Means::Password => EntryType::LoggedIn,
            Means::Recovery => EntryType::RecoveryUsed,
        };
        let whose = peri_seal::userkey::WrappedUserKey::from_bytes(&logged_in.wrapped).map(|w| w.fingerprint);
        if let Ok(whose) = whose {
            self.enter_about(kind, pseudonym(whose), String::new());
        }
        Ok(encode(&LoggedInPage { account: logged_in.account, wrapped: logged_in.wrapped.into() }))
    }

    fn end_setting(&mut self, signed: &SignedSetting, made: Result<Credential, HashError>) -> Answered {
        let mut credential = made.map_err(|error| login_problem(error.into()))?;
        let now = self.now();
        let signer = signed.setting.signer;
        // He may have been removed while it was hashed, or have become somebody else's key by a second invitation.
        let setter = self.setter(signer)?;
        if setter.account != credential.account {
            return Err(old_setting());
        }
        let (ways, db) = self.ways()?;
        if signed.setting.recovery.is_none() {
            // The sheet of this key that is good now: a code that was spent meanwhile stays spent.
            let before = before(db, setter.account, signer)?.map(|(_, bytes)| read(&bytes)).transpose()?;
            credential.recovery = before.and_then(|before| before.recovery);
        }
        let bytes = canonical::encode(&credential);
        let name = ways.attempts.name_digest(&signed.setting.name);
        let (account, issued) = (setter.account, signed.setting.issued);
        let login = NewLogin { signer, name, account, issued, credential: &bytes };
        let set = match setter.waits_until {
            None => db.set_credential(&login),
            Some(until) => db.keep_credential(&login, until, now),
        };
        match set.map_err(|e| away(&e.to_string()))? {
            Set::Done => {}
            Set::Taken => {
                let detail = "another account has this login name; choose another";
                return Err(Problem::new(409, "name_taken", "The login is not set", detail));
            }
            Set::Old => return Err(old_setting()),
        }
        let text = if setter.waits_until.is_some() { "waits until its key is in office" } else { "" };
        self.enter_about(EntryType::LoginSet, pseudonym(signer), text.to_owned());
        // The key may have come into office while it was hashed.
        self.roster_changed();
        Ok(encode(&()))
    }

    /// An administrator or custodian invites. That gives nobody any right: who signs the account is the roster's business.
    pub(super) fn offer(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let offer: Offer = decode(body)?;
        let by = principal.fingerprint();
        self.allow(principal, Action::Invite, Object::Invitations)?;
        let now = self.now();
        let (ways, db) = self.ways()?;
        ways.invitations.offer(offer, by, now).map_err(|error| invite_problem(&error))?;
        if let Err(problem) = keep_invitation(db, &ways.invitations, &offer, now) {
            ways.invitations.withdraw(offer.id, by);
            return Err(problem);
        }
        self.enter_about(
            EntryType::InvitationOffered,
            pseudonym(by),
            format!("{} until {}", offer.id.0, offer.not_after),
        );
        Ok(encode(&()))
    }

    /// The inviter asks what became of his invitation.
    pub(super) fn invitation(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: InvitationBody = decode(body)?;
        let by = principal.fingerprint();
        self.allow(principal, Action::Invite, Object::Invitations)?;
        let (ways, _) = self.ways()?;
        let (offer, key) = ways.invitations.of(body.id, by).ok_or_else(|| invite_problem(&InviteError::Unknown))?;
        Ok(encode(&InvitationPage { account: offer.account, not_after: offer.not_after, key: key.cloned() }))
    }

    /// The inviter takes an unused invitation back.
    pub(super) fn withdraw(&mut self, principal: Principal, body: &[u8]) -> Answered {
        let body: InvitationBody = decode(body)?;
        let by = principal.fingerprint();
        self.allow(principal, Action::Invite, Object::Invitations)?;
        let (ways, db) = self.ways()?;
        if !ways.invitations.is_unused(body.id, by) {
            let detail =
                "there is no unused invitation of yours by this id; a used one is answered by revoking its key";
            return Err(Problem::new(404, "no_invitation", "No such invitation", detail));
        }
        // The database first: should it be away, the link is as good as before and can be taken back later.
        db.drop_invitation(body.id.0).map_err(|e| away(&e.to_string()))?;
        ways.invitations.withdraw(body.id, by);
        self.enter_about(EntryType::InvitationWithdrawn, pseudonym(by), body.id.0.to_string());
        Ok(encode(&()))
    }

    /// The invited one enrols a key.
    pub(super) fn on_redemption(&mut self, redemption: &Redemption) -> Answered {
        let now = self.now();
        let vm = self.identity.as_ref().ok_or_else(|| away("keeper is restarting"))?.vm;
        let (ways, db) = self.ways()?;
        let before = ways.invitations.entry(redemption.id);
        match ways.invitations.redeem(vm, redemption, now) {
            Ok(enrolled) => {
                let offer =
                    ways.invitations.offer_of(redemption.id).ok_or_else(|| invite_problem(&InviteError::Unknown))?;
                if enrolled.first
                    && let Err(problem) = keep_invitation(db, &ways.invitations, &offer, now)
                {
                    // As if he had not asked: the next time is the first again.
                    let restored = before.is_some_and(|entry| ways.invitations.restore(&entry).is_ok());
                    debug_assert!(restored, "what was written can be read");
                    return Err(problem);
                }
                if enrolled.first {
                    let text = format!("by invitation {}", redemption.id.0);
                    self.enter_about(EntryType::KeyEnrolled, pseudonym(enrolled.fingerprint), text);
                }
                Ok(encode(&RedeemedPage { account: enrolled.account }))
            }
            Err(error) => {
                if let InviteError::Used { by } = error
                    && self.entrance.misused.len() < INVITATIONS_MAX
                    && self.entrance.misused.insert(redemption.id)
                {
                    let text = format!("invitation {} was used for key {by}, and again for another", redemption.id.0);
                    self.alarm(EntryType::InvitationMisused, None, &text);
                } else {
                    self.quotas.stranger(self.clock.monotonic());
                }
                Err(invite_problem(&error))
            }
        }
    }
}

/// Whose login a key may set.
struct Setter {
    key: UserPublic,
    account: AccountId,
    /// Not in office: what it sets touches nothing until it is, and is forgotten then.
    waits_until: Option<UtcNanos>,
}

/// The login that this key set before: the one that stands, or the one that waits, also for a moment after the key came into
/// office.
fn before(db: &mut Db, account: AccountId, signer: Fingerprint) -> Result<Option<(UtcNanos, Vec<u8>)>, Problem> {
    let stands = db.credential_by(account, signer).map_err(|e| away(&e.to_string()))?;
    if stands.is_some() {
        return Ok(stands);
    }
    db.waiting_credential(signer).map_err(|e| away(&e.to_string()))
}

fn closed() -> Problem {
    away("logins and invitations are not open yet; try again in a moment")
}

fn old_setting() -> Problem {
    let detail = "a newer login of this account stands; make it anew";
    Problem::new(409, "old_setting", "The login is not set", detail)
}

fn crowded() -> Problem {
    let detail = "too many logins are being checked; try again in a few seconds";
    Problem::new(503, "too_many_logins", "Too many logins", detail).retry_after(5)
}

fn read(bytes: &[u8]) -> Result<Credential, Problem> {
    canonical::decode("stored login", bytes)
        .map_err(|error| Problem::new(500, "damaged_login", "The stored login is damaged", error.to_string()))
}

fn find(db: &mut Db, name: Hash) -> Result<Option<Credential>, Problem> {
    let found = db.credential(name).map_err(|e| away(&e.to_string()))?;
    found.map(|bytes| read(&bytes)).transpose()
}

fn keep(db: &mut Db, records: impl Iterator<Item = Record>, now: UtcNanos) -> Result<(), Problem> {
    let row = |record: Record| AttemptRow {
        subject: canonical::encode(&record.subject),
        record: canonical::encode(&record),
        forgiven: record.forgiven_at(),
    };
    let rows: Vec<AttemptRow> = records.map(row).collect();
    db.put_attempts(&rows, now).map_err(|e| away(&e.to_string()))
}

fn keep_invitation(db: &mut Db, all: &Invitations, offer: &Offer, now: UtcNanos) -> Result<(), Problem> {
    let entry = all.entry(offer.id).ok_or_else(|| invite_problem(&InviteError::Unknown))?;
    db.put_invitation(offer.id.0, &entry, offer.not_after + INVITATION_MAX, now).map_err(|e| away(&e.to_string()))
}

fn login_problem(error: LoginError) -> Problem {
    let text = error.to_string();
    match error {
        LoginError::TooEarly(early) => {
            Problem::new(429, "too_early", "Too many attempts", text).retry_after(early.retry_after_s)
        }
        LoginError::Wrong => Problem::new(401, "wrong_login", "Not logged in", text),
        LoginError::Name { .. } => Problem::new(400, "bad_name", "Not a login name", text),
        LoginError::NotDurable(_) => Problem::new(503, "ledger_away", "The appliance cannot answer just now", text),
        LoginError::Hash(_) => Problem::new(500, "hash", "The login could not be checked", text),
    }
}

fn invite_problem(error: &InviteError) -> Problem {
    let (status, code) = match error {
        InviteError::Unknown => (404, "no_invitation"),
        InviteError::Expired { .. } => (410, "invitation_expired"),
        InviteError::Used { .. } => (409, "invitation_used"),
        InviteError::Signature { .. } => (401, "bad_invitation_signature"),
        InviteError::Key | InviteError::Length => (400, "bad_invitation"),
        InviteError::Exists => (409, "invitation_exists"),
        InviteError::Yours | InviteError::Full => (429, "too_many_invitations"),
    };
    Problem::new(status, code, "The invitation is not taken", error.to_string())
}

/// The keys of names and salts, made at the first start.
fn keys(dir: &Dir) -> anyhow::Result<(AttemptKey, SaltKey)> {
    let bytes = if dir.has(KEYS)? {
        Zeroizing::new(dir.read(KEYS, KEYS_LEN)?)
    } else {
        let mut made = Zeroizing::new(vec![0; KEYS_LEN]);
        getrandom::fill(&mut made).context("the kernel gives no randomness")?;
        durable::write_atomic(dir, KEYS, &made, 0o400)?;
        made
    };
    let whole: &[u8; KEYS_LEN] = bytes.as_slice().try_into().context(
        "the file access.key in scribe's directory is damaged; restore it from a backup, or nobody's login is found again",
    )?;
    let (mut one, mut two) = ([0; 32], [0; 32]);
    one.copy_from_slice(&whole[..32]);
    two.copy_from_slice(&whole[32..]);
    Ok((AttemptKey::from_bytes(one), SaltKey::from_bytes(two)))
}
