//! scribe: the database, X, the ledger and its keys; no E, no network.
//!
//! One thread owns everything; one beside it hashes logins. It draws X and opens segment files for keeper, takes progress from recorders, answers
//! portal's questions after checking session, proof and grant itself, and erases what is past its time. It waits for
//! PostgreSQL two seconds at most, once: a server that hangs counts as away until it answers (`peri_store::db`), so
//! recording goes on whatever becomes of it.
//!
//! Order of a disclosure: proof, counter, decision ─● ledger entry durable ─ X sealed to the roster key ─ answer.

mod alarms;
mod books;
mod clock;
mod door;
mod entries;
mod erasure;
mod house;
mod index;
mod prepare;
mod quota;
mod recording;
mod recover;
mod requests;
mod roster;
mod sessions;
mod silence;
mod tail;
mod tls;

use crate::boot::{self, Control};
use crate::link::{self, Link, MESSAGES_PER_TURN};
use crate::message::{
    KeeperToScribe, Order, Peer, PortalToScribe, RecorderToScribe, Report, ScribeStart, ScribeToKeeper, ScribeToPortal,
    ScribeToRecorder, Start,
};
use crate::walls;
use anyhow::Context as _;
use books::Books;
pub(crate) use entries::{EpochDetail, EventDetail};
use entries::{clean, salt};
pub(crate) use erasure::retention_in_force;
use index::Index;
use peri_access::session::SessionId;
use peri_domain::{CameraId, EpochNo, Fingerprint, UtcNanos, VmId};
use peri_ledger::{EntryType, LedgerKeys};
use peri_roster::{Anchor, Roster, RosterSet, Verified};
use peri_sandbox::clock::{Clock, JumpDetector, SteadyTime, SystemClock};
use peri_sandbox::durable::{self, Dir};
use peri_sandbox::poll::{Interest, Poller, Ready, Token};
use peri_store::db::Db;
use peri_store::root::tpm::TpmNv;
use peri_store::schema::Endpoint;
use peri_store::segments::SegmentStore;
use peri_store::xfile::disk::DiskKeys;
use peri_store::xfile::{SLOTS_MIN, XFile, XFileError};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(250);
const FLUSH: Duration = Duration::from_millis(5);
/// Books that could not be opened are tried again after so long.
const BOOKS_RETRY: Duration = Duration::from_secs(5);
/// Roster statements may come and questions wait; a keeper that does not answer so long has lost them.
const KEEPER_PATIENCE: Duration = Duration::from_secs(20);

const CONTROL: Token = Token(0);
const KEEPER: Token = Token(1);
const PORTAL: Token = Token(2);
const HASHES: Token = Token(3);
const RECORDERS: u64 = 4;

type KeeperLink = Link<ScribeToKeeper, KeeperToScribe>;
type PortalLink = Link<ScribeToPortal, PortalToScribe>;
type RecorderLink = Link<ScribeToRecorder, RecorderToScribe>;

/// Who this appliance is, as keeper says.
struct Identity {
    vm: VmId,
}

/// A recorder's link and what is known of its camera.
struct Recorder {
    link: RecorderLink,
    token: Token,
}

/// Somebody who is shown the running epoch.
struct Follower {
    portal_id: u64,
    camera: CameraId,
    epoch: EpochNo,
    session: SessionId,
    key: Fingerprint,
}

/// A portal question that waits for keeper.
struct Waiting {
    portal_id: u64,
    since: Duration,
}

struct Scribe {
    start: ScribeStart,
    clock: SystemClock,
    time: SteadyTime,
    jumps: JumpDetector,
    poller: Poller,
    dir: Dir,
    store: SegmentStore,
    xfile: XFile<DiskKeys, TpmNv>,
    ledger_keys: Vec<String>,
    books: Option<Books>,
    early_events: Vec<peri_ledger::Event>,
    identity: Option<Identity>,
    roster_set: Option<RosterSet>,
    roster: Option<Verified<Roster>>,
    statements: Vec<Vec<u8>>,
    roster_complete: bool,
    /// Second for which the roster was verified last; `None` when statements came since.
    roster_of: Option<i64>,
    /// The database's copy of the roster is to be compared.
    compare_due: bool,
    keeper: Option<KeeperLink>,
    portal: Option<PortalLink>,
    recorders: BTreeMap<CameraId, Recorder>,
    next_token: u64,
    talks: sessions::Talks,
    entrance: door::Entrance,
    inbox: house::Inbox,
    /// `None` where no names are configured.
    tls: Option<tls::Tls>,
    /// Portals so far.
    portals: u64,
    index: Index,
    recovery: recover::Recovery,
    quotas: quota::Quotas,
    silence: silence::Silence,
    books_at: Duration,
    tails: tail::Tails,
    erasure: erasure::Erasure,
    trouble: prepare::Trouble,
    waiting: HashMap<u64, Waiting>,
    followers: Vec<Follower>,
    next_question: u64,
    alarms: alarms::Alarms,
}

/// Runs the role until the supervisor goes away.
///
/// # Errors
/// What made it impossible to start: the TPM, the key file, damaged ledger keys, no sandbox.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, fds) = control.start()?;
    let Start::Scribe(start) = start else { anyhow::bail!("scribe was started as something else") };
    let [dir, store]: [OwnedFd; 2] = fds.try_into().map_err(|_| anyhow::anyhow!("scribe needs two directories"))?;
    let (Start::RootStore, tpm) = control.start()? else { anyhow::bail!("scribe got no root store") };
    let mut tpm = tpm.into_iter();
    let connection = tpm.next().context("scribe got no connection to the TPM")?;
    let state_dir = tpm.next();
    let (dir, store) = (Dir::from_fd(dir, "scribe")?, Dir::from_fd(store, "store")?);
    let rules = walls::scribe(boot::path_of(&dir), boot::path_of(&store), Path::new(&start.database_dir));
    peri_access::policy::prepare();
    // Behind the walls no pipe can be made.
    let hashes = std::io::pipe()?;
    let landlock_abi = boot::confine(peri_sandbox::seccomp::Role::Scribe, &rules, start.need_landlock)?;
    let keys_dir = dir.ensure_dir("x", 0o700)?;
    let (xfile, opened) = XFile::open(DiskKeys::new(keys_dir), TpmNv::open(connection, state_dir)?, SLOTS_MIN)?;
    let store = SegmentStore::open(&store)?;
    let (alarms, unread) = alarms::Alarms::open(&dir);
    let talks = sessions::Talks::open(&dir);
    let inbox = house::Inbox::open(&dir);
    let entrance = door::Entrance::start(hashes)?;
    let clock = SystemClock;
    let tls = (!start.names.is_empty()).then(|| tls::Tls::open(&dir, &start.names, clock.utc())).transpose();
    // Recording does not wait for a page.
    let (tls, no_page) = tls.map_or_else(|error| (None, Some(error)), |tls| (tls, None));
    let poller = Poller::new()?;
    poller.add(&control, CONTROL, Interest::Read)?;
    poller.add(&entrance, HASHES, Interest::Read)?;
    let mut scribe = Scribe {
        time: SteadyTime::new(&clock, None),
        jumps: JumpDetector::new(&clock, clock::TOLERANCE),
        clock,
        poller,
        dir,
        xfile,
        ledger_keys: Vec::new(),
        books: None,
        early_events: Vec::new(),
        identity: None,
        roster_set: None,
        roster: None,
        statements: Vec::new(),
        roster_complete: false,
        roster_of: None,
        compare_due: false,
        keeper: None,
        portal: None,
        recorders: BTreeMap::new(),
        next_token: RECORDERS,
        talks,
        entrance,
        inbox,
        tls,
        portals: 0,
        index: Index::from_files(&store)?,
        recovery: recover::Recovery::new(opened.erased.iter().copied(), clock.monotonic()),
        quotas: quota::Quotas::default(),
        silence: silence::Silence::default(),
        books_at: Duration::ZERO,
        store,
        tails: tail::Tails::default(),
        erasure: erasure::Erasure::new(Duration::from_secs(start.rekey_secs.into()), clock.monotonic()),
        trouble: prepare::Trouble::default(),
        waiting: HashMap::new(),
        followers: Vec::new(),
        next_question: 1,
        alarms,
        start,
    };
    scribe.after_opening(&opened);
    if let Some(why) = unread {
        scribe.alarm(EntryType::StoreGap, None, &why);
    }
    if let Some(error) = no_page {
        scribe.alarm(EntryType::StoreGap, None, &format!("there is no page: {error:#}; mend it and restart"));
    }
    control.report(&Report::Ready { landlock_abi })?;
    scribe.serve(&mut control)
}

impl Scribe {
    /// What the opening of the key file did goes to the ledger: erasures that a restart completed count like others.
    fn after_opening(&mut self, opened: &peri_store::xfile::Opened) {
        self.record(
            EntryType::Rekeyed,
            None,
            &format!(
                "start: generation {}, {} keys live, {} erased, {} slots burned{}",
                opened.generation,
                opened.live,
                opened.erased.len(),
                opened.burned.len(),
                if opened.recovered { "; an interrupted re-key was completed" } else { "" }
            ),
        );
        for notice in self.start.notices.clone() {
            self.record(notice.entry(), None, notice.text());
        }
    }

    /// Names of what the customer must know, for page and certificate.
    fn notices(&self) -> Vec<String> {
        self.start.notices.iter().map(|notice| notice.name()).collect()
    }

    fn serve(&mut self, control: &mut Control) -> anyhow::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut last_tick = self.clock.monotonic();
        loop {
            let waiting = self.has_waiting();
            self.poller.wait(&mut ready, Some(if waiting { FLUSH } else { TICK }))?;
            for event in &ready {
                match event.token {
                    CONTROL => {
                        while let Some((order, fd)) = control.poll()? {
                            if self.obey(order, fd)? {
                                self.farewell();
                                return Ok(());
                            }
                        }
                        if control.is_gone() {
                            return Ok(());
                        }
                    }
                    KEEPER => self.hear_keeper(),
                    PORTAL => self.hear_portal(),
                    HASHES => self.hear_worker(),
                    Token(token) => self.hear_recorder(token),
                }
            }
            if waiting {
                self.flush_links();
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(last_tick) >= TICK {
                last_tick = now;
                self.tick(now);
            }
            if self.erasure.take_root_store_lost() {
                control.report(&Report::RootStoreLost)?;
            }
            if self.xfile.must_reopen() {
                // Opening decides which pair holds; until then nothing is drawn or erased. The supervisor starts it anew.
                self.farewell();
                return Err(XFileError::Reopen.into());
            }
        }
    }

    /// `true`: the appliance stops.
    fn obey(&mut self, order: Order, fd: Option<OwnedFd>) -> anyhow::Result<bool> {
        match (order, fd) {
            (Order::Link(Peer::Keeper), Some(fd)) => {
                let link = KeeperLink::new(fd);
                self.poller.add(&link, KEEPER, Interest::Read)?;
                self.keeper = Some(link);
                self.fail_waiting("keeper restarted; send the statement again");
            }
            (Order::Link(Peer::Portal), Some(fd)) => {
                let link = PortalLink::new(fd);
                self.poller.add(&link, PORTAL, Interest::Read)?;
                self.portal = Some(link);
                self.portals += 1;
                self.waiting.clear();
                self.followers.clear();
            }
            (Order::Link(Peer::Recorder(camera)), Some(fd)) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                let link = RecorderLink::new(fd);
                self.poller.add(&link, token, Interest::Read)?;
                self.recorders.insert(camera, Recorder { link, token });
                self.silence.heard(camera, self.clock.monotonic());
                if !self.may_write() {
                    self.tell_recorders(ScribeToRecorder::Full);
                }
            }
            (Order::Unlink(camera), _) => {
                self.recorders.remove(&camera);
                self.index.stopped(camera);
            }
            (Order::Start(Start::RootStore), Some(fd)) => self.take_root_store(fd),
            (Order::Record(event), _) => self.take_event(event, quota::Sender::Supervisor),
            (Order::Stop, _) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// The last entries go out before the process ends; what does not reach PostgreSQL lies in the spool.
    fn farewell(&mut self) {
        // Keeper and recorders stopped before: their last words lie in the links.
        self.hear_keeper();
        let tokens: Vec<u64> = self.recorders.values().map(|recorder| recorder.token.0).collect();
        tokens.into_iter().for_each(|token| self.hear_recorder(token));
        self.write_tails();
        self.flush_books();
        self.alarms.save(&self.dir);
        if let Some(books) = &mut self.books {
            // Away: the next start makes the rows from the files.
            let _ = books.write_index();
        }
    }

    fn has_waiting(&self) -> bool {
        self.keeper.as_ref().is_some_and(Link::has_waiting)
            || self.portal.as_ref().is_some_and(Link::has_waiting)
            || self.recorders.values().any(|r| r.link.has_waiting())
    }

    fn flush_links(&mut self) {
        if self.keeper.as_mut().is_some_and(|l| l.flush().is_err()) {
            self.keeper = None;
        }
        if self.portal.as_mut().is_some_and(|l| l.flush().is_err()) {
            self.portal = None;
        }
        self.recorders.retain(|_, r| r.link.flush().is_ok());
    }

    fn tell_keeper(&mut self, message: ScribeToKeeper, fd: Option<OwnedFd>) {
        let Some(link) = &mut self.keeper else { return };
        let sent = match fd {
            Some(fd) => link.send_with(message, fd),
            None => link.send(message),
        };
        if sent.is_err() {
            self.keeper = None;
        }
    }

    fn tick(&mut self, monotonic_now: Duration) {
        if let Some(jump) = self.jumps.check(&self.clock) {
            self.erasure.clock_jumped(monotonic_now);
            self.alarm(EntryType::ClockJump, None, &clock::jumped(jump.by_nanos));
        }
        if self.books.as_ref().is_some_and(|books| books.is_due(monotonic_now)) {
            self.flush_books();
        }
        if self.tails.is_due(monotonic_now) {
            self.write_tails();
        }
        self.erase_what_is_due(monotonic_now);
        if self.books.is_none() && monotonic_now >= self.books_at {
            self.open_books();
        }
        if self.books.is_some() {
            self.read_files();
            self.open_entrance();
            self.follow_roster();
        }
        if self.compare_due {
            self.compare_database();
        }
        self.notice_silence(monotonic_now);
        self.tend_sessions();
        self.sum_up(monotonic_now);
        self.alarms.save_when_due(&self.dir, monotonic_now);
        let late: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| monotonic_now.saturating_sub(waiting.since) > KEEPER_PATIENCE)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.answer_waiting(id, Err(requests::away("keeper does not answer; try again in a moment")));
        }
    }

    fn hear_keeper(&mut self) {
        let had = self.keeper.is_some();
        for _ in 0..MESSAGES_PER_TURN {
            let Some((message, _)) = link::next_of(&mut self.keeper) else { break };
            self.on_keeper(message);
        }
        if had && self.keeper.is_none() {
            self.fail_waiting("keeper restarted; send the statement again");
        }
    }

    fn on_keeper(&mut self, message: KeeperToScribe) {
        match message {
            KeeperToScribe::Identity { vm, device, provisioning, claim_key, .. } => {
                let anchor = Anchor { vm, claim_key, provisioning, device: device.fingerprint() };
                self.roster_set = Some(RosterSet::new(anchor));
                self.statements.clear();
                self.roster_complete = false;
                self.roster_of = None;
                self.identity = Some(Identity { vm });
                if self.books.is_none() {
                    self.open_books();
                }
            }
            KeeperToScribe::Statement(statement) => self.take_statement(&statement),
            KeeperToScribe::RosterComplete => {
                self.roster_complete = true;
                self.load_roster();
                self.renew_roster();
                self.roster_changed();
                self.end_sessions_out_of_office();
                self.compare_database();
            }
            KeeperToScribe::Prepare { camera } => self.prepare(camera),
            KeeperToScribe::Opened { camera, record, head_len } => self.opened(camera, &record, head_len),
            KeeperToScribe::Discard { camera, epoch } => self.discard(camera, epoch),
            KeeperToScribe::Reopen { camera, epoch } => match self.store.open_append(camera, epoch) {
                Ok(fd) => self.tell_keeper(ScribeToKeeper::Reopened { camera, epoch }, Some(fd)),
                Err(error) => self.alarm(EntryType::StoreGap, Some(camera), &error.to_string()),
            },
            KeeperToScribe::Event(event) => self.take_event(event, quota::Sender::Keeper),
            KeeperToScribe::Submitted { id, refused } => {
                let answer = match refused {
                    None => Ok(minicbor::to_vec(()).expect("encoding into a Vec cannot fail")),
                    Some(problem) => Err(problem),
                };
                self.answer_waiting(id, answer);
            }
            KeeperToScribe::Certified { id, certificate } => self.answer_waiting(id, Ok(certificate.into())),
        }
    }

    fn open_books(&mut self) {
        let Some(vm) = self.identity.as_ref().map(|identity| identity.vm) else { return };
        if let Err(error) = self.try_books(vm) {
            self.books_at = self.clock.monotonic() + BOOKS_RETRY;
            let text = format!("the ledger cannot be opened: {error:#}; trying again");
            // Said once for each cause, although it is tried every few seconds.
            if !self.alarms.lines().iter().any(|alarm| alarm.ends_with(&text)) {
                self.alarm(EntryType::StoreGap, None, &text);
            }
        }
    }

    fn try_books(&mut self, vm: VmId) -> anyhow::Result<()> {
        let origin = peri_ledger::origin_of(vm);
        let keys = ledger_keys(&self.dir, &origin)?;
        self.ledger_keys = keys.verify_keys().iter().map(ToString::to_string).collect();
        let db = Db::new(Endpoint::scribe(Path::new(&self.start.database_dir)), &origin, SystemClock);
        let mut books = Books::open(db, &self.dir, keys, salt())?;
        let now = self.clock.monotonic();
        for event in std::mem::take(&mut self.early_events) {
            books.record(event, now);
        }
        let torn = books.torn_bytes();
        self.books = Some(books);
        if torn > 0 {
            let text =
                format!("{torn} bytes of the spool were torn off by a power cut: entries that nobody relied on yet");
            self.alarm(EntryType::StoreGap, None, &text);
        }
        self.check_clock();
        self.recover();
        Ok(())
    }

    fn tell_recorders(&mut self, message: ScribeToRecorder) {
        self.recorders.retain(|_, recorder| recorder.link.send(message.clone()).is_ok());
    }

    /// See [`clock::doubt`].
    fn check_clock(&mut self) {
        let last = self.books.as_mut().and_then(Books::last_time);
        let Some(doubt) = clock::doubt(self.clock.utc(), last) else { return };
        self.erasure.clock_jumped(self.clock.monotonic());
        self.alarm(EntryType::ClockJump, None, &doubt);
    }
}

/// Ledger keys, made at the first start.
fn ledger_keys(dir: &Dir, origin: &str) -> anyhow::Result<LedgerKeys> {
    const NAME: &str = "ledger.key";
    if !dir.has(NAME)? {
        let keys = LedgerKeys::generate(origin, &mut getrandom::SysRng)?;
        durable::write_atomic(dir, NAME, &keys.to_bytes()[..], 0o400)?;
        return Ok(keys);
    }
    let bytes = zeroize::Zeroizing::new(dir.read(NAME, LedgerKeys::LEN)?);
    let bytes: &[u8; LedgerKeys::LEN] = bytes
        .as_slice()
        .try_into()
        .context("the ledger's key file is damaged; restore scribe's directory, or the ledger cannot be continued")?;
    Ok(LedgerKeys::from_bytes(origin, bytes)?)
}

/// The next instant after `time`; used for half-open spans.
pub(super) fn after(time: UtcNanos) -> UtcNanos {
    UtcNanos(time.0.saturating_add(1))
}
