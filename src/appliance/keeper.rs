//! keeper: verified roster, E of the coming epochs, device key, camera passwords; no network, no database.
//!
//! It alone decides which statements count and to whom an epoch is wrapped. What scribe tells it about the database is
//! compared, never believed; a shorter or different roster there raises an alarm and recording goes on under the one
//! kept here. It meets scribe for X and segment files, and each recorder for hand-outs and camera authentication.
//!
//! ```text
//! per camera:   idle ──prepare──▶ asked ──Prepared──▶ next ──Began──▶ running ──(ends)──▶ gone
//!                 ▲                                     │ recipients changed: superseded, then discarded
//!                 └──────── tick: running ends soon ────┘
//! ```

mod camera;
mod epoch;
mod files;
mod time;

use crate::boot::{self, Control};
use crate::link::{self, Link, MESSAGES_PER_TURN};
use crate::message::{
    Event, KeeperToRecorder, KeeperToScribe, Order, Peer, RecorderToKeeper, Report, ScribeToKeeper, Start,
};
use crate::walls;
use camera::{Camera, Instant};
use files::{Identity, Remembered, RosterLog};
use peri_access::wire::{BirthCertificate, Problem};
use peri_domain::{CameraId, Hash};
use peri_ledger::EntryType;
use peri_roster::{Anchor, Provisioning, Roster, RosterSet, Verified};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::durable::Dir;
use peri_sandbox::memory::wipe_stack;
use peri_sandbox::poll::{Interest, Poller, Ready, Token};
use peri_seal::keys::Signature;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;
use time::Time;

type ScribeLink = Link<KeeperToScribe, ScribeToKeeper>;
type RecorderLink = Link<KeeperToRecorder, RecorderToKeeper>;

/// How often grant edges, ends of epochs and unanswered questions are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How soon a queue that a peer did not take is tried again.
const FLUSH: Duration = Duration::from_millis(5);

const CONTROL: Token = Token(0);
const SCRIBE: Token = Token(1);
/// Recorders have this and above.
const RECORDERS: u64 = 2;

struct Keeper {
    identity: Identity,
    roster_set: RosterSet,
    roster: Verified<Roster>,
    log: RosterLog,
    /// Statements in order of acceptance, as scribe and clients count them.
    accepted: Vec<Vec<u8>>,
    claim_key: peri_domain::Fingerprint,
    longest_epoch: Duration,
    clock: SystemClock,
    time: Time,
    dir: Dir,
    /// The head that was here before, when the log is shorter now: until its statements are back nobody gets a wrap,
    /// since one of them may be a revocation. Recording goes on, shared to the seats.
    missing: Option<Remembered>,
    /// Why the snapshot in the log spared nothing at this start; told once scribe can enter it.
    snapshot_unused: Option<String>,
    poller: Poller,
    scribe: Option<ScribeLink>,
    had_scribe: bool,
    cameras: BTreeMap<CameraId, Camera>,
    next_token: u64,
}

/// Runs the role until the supervisor goes away.
///
/// # Errors
/// What made it impossible to start: damaged files, other provisioning data, no sandbox.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, mut fds) = control.start()?;
    let Start::Keeper { provisioning, epoch_secs, need_landlock } = start else {
        anyhow::bail!("keeper was started as something else")
    };
    let dir = Dir::from_fd(fds.pop().ok_or_else(|| anyhow::anyhow!("keeper got no directory"))?, "keeper")?;
    let landlock_abi =
        boot::confine(peri_sandbox::seccomp::Role::Keeper, &walls::keeper(boot::path_of(&dir)), need_landlock)?;
    let claim_key = Provisioning::from_bytes(&provisioning)?.claim_key.fingerprint();
    let identity = Identity::load_or_create(&dir, &provisioning)?;
    let (log, accepted) = RosterLog::open(&dir)?;
    let clock = SystemClock;
    let anchor = Anchor {
        vm: identity.vm,
        claim_key,
        provisioning: identity.provisioning,
        device: identity.device.fingerprint(),
    };
    // What does not verify any more is left out; the remembered head then shows that something is missing.
    let (roster_set, accepted, snapshot_unused) = files::read_roster(anchor, accepted);
    let mut time = Time::open(&dir, &clock);
    let roster = roster_set.verify(time.now(&clock));
    let missing = Remembered::read(&dir)?.filter(|before| !before.is_within(&roster_set));
    let poller = Poller::new()?;
    poller.add(&control, CONTROL, Interest::Read)?;
    let mut keeper = Keeper {
        identity,
        roster_set,
        roster,
        log,
        accepted,
        claim_key,
        longest_epoch: Duration::from_secs(epoch_secs.into()),
        clock,
        time,
        dir,
        missing,
        snapshot_unused,
        poller,
        scribe: None,
        had_scribe: false,
        cameras: BTreeMap::new(),
        next_token: RECORDERS,
    };
    keeper.follow_roster();
    control.report(&Report::Ready { landlock_abi })?;
    control.report(&Report::Cameras(keeper.recorded_cameras()))?;
    keeper.serve(&mut control)
}

impl Keeper {
    fn serve(&mut self, control: &mut Control) -> anyhow::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut last_tick = self.clock.monotonic();
        loop {
            let waiting = self.scribe.as_ref().is_some_and(Link::has_waiting)
                || self.cameras.values().any(|c| c.link.as_ref().is_some_and(Link::has_waiting));
            self.poller.wait(&mut ready, Some(if waiting { FLUSH } else { TICK }))?;
            let cameras_before = self.recorded_cameras();
            for event in &ready {
                match event.token {
                    CONTROL => {
                        while let Some((order, fd)) = control.poll()? {
                            if self.obey(order, fd)? {
                                self.time.write(&self.dir);
                                return Ok(());
                            }
                        }
                        if control.is_gone() {
                            return Ok(());
                        }
                    }
                    SCRIBE => self.hear_scribe(),
                    Token(token) => self.hear_recorder(token),
                }
                // E and X were in hand for one call: what moves and libraries left of them on the stack goes too.
                wipe_stack();
            }
            if waiting {
                self.flush();
            }
            for peer in self.lost_links() {
                control.report(&Report::LinkLost(peer))?;
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(last_tick) >= TICK {
                last_tick = now;
                self.tick();
            }
            let cameras = self.recorded_cameras();
            if cameras != cameras_before {
                control.report(&Report::Cameras(cameras))?;
            }
        }
    }

    /// Whether to end.
    fn obey(&mut self, order: Order, fd: Option<OwnedFd>) -> anyhow::Result<bool> {
        match (order, fd) {
            (Order::Stop, _) => return Ok(true),
            (Order::Link(Peer::Scribe), Some(fd)) => {
                let link = ScribeLink::new(fd);
                self.poller.add(&link, SCRIBE, Interest::Read)?;
                self.scribe = Some(link);
                self.greet_scribe();
            }
            (Order::Link(Peer::Recorder(id)), Some(fd)) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                let link = RecorderLink::new(fd);
                self.poller.add(&link, token, Interest::Read)?;
                if let Some(camera) = self.cameras.get_mut(&id) {
                    camera.link(link, token);
                    for epoch in camera.in_hand() {
                        self.tell_scribe(KeeperToScribe::Reopen { camera: id, epoch });
                    }
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// Everything scribe must know to serve: who we are and the roster.
    fn greet_scribe(&mut self) {
        self.tell_scribe(KeeperToScribe::Identity {
            vm: self.identity.vm,
            device: self.identity.device.public().clone(),
            provisioning: self.identity.provisioning,
            claim_key: self.claim_key,
            statements: self.accepted.len() as u64,
        });
        for at in 0..self.accepted.len() {
            let statement = self.accepted[at].clone();
            self.tell_scribe(KeeperToScribe::Statement(statement.into()));
        }
        self.tell_scribe(KeeperToScribe::RosterComplete);
        // Questions to the old scribe are lost; whatever each camera still needs is asked again by the tick.
        for camera in self.cameras.values_mut() {
            camera.forget_question();
        }
        for (id, epochs) in self.cameras.iter().map(|(id, c)| (*id, c.unopened())).collect::<Vec<_>>() {
            for epoch in epochs {
                self.tell_scribe(KeeperToScribe::Reopen { camera: id, epoch });
            }
        }
    }

    fn tell_scribe(&mut self, message: KeeperToScribe) {
        if let Some(link) = &mut self.scribe
            && link.send(message).is_err()
        {
            self.scribe = None;
        }
    }

    fn event(&mut self, kind: EntryType, camera: Option<CameraId>, text: impl Into<String>) {
        self.tell_scribe(KeeperToScribe::Event(Event::new(kind, camera, text)));
    }

    /// Links that died since the last turn; the supervisor makes them anew where the peer lives.
    fn lost_links(&mut self) -> Vec<Peer> {
        let mut lost = Vec::new();
        if self.had_scribe && self.scribe.is_none() {
            lost.push(Peer::Scribe);
        }
        self.had_scribe = self.scribe.is_some();
        lost.extend(
            self.cameras.iter_mut().filter_map(|(id, camera)| camera.was_unlinked().then_some(Peer::Recorder(*id))),
        );
        lost
    }

    fn flush(&mut self) {
        if self.scribe.as_mut().is_some_and(|link| link.flush().is_err()) {
            self.scribe = None;
        }
        for camera in self.cameras.values_mut() {
            camera.flush();
        }
    }

    /// Never inlined: see [`wipe_stack`].
    #[inline(never)]
    fn hear_scribe(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some((message, fd)) = link::next_of(&mut self.scribe) else { return };
            self.on_scribe(message, fd);
        }
    }

    fn on_scribe(&mut self, message: ScribeToKeeper, fd: Option<OwnedFd>) {
        match message {
            ScribeToKeeper::Prepared { camera, epoch, x } => {
                if let Some(fd) = fd {
                    self.prepared(camera, epoch, &x.0, fd);
                }
            }
            ScribeToKeeper::PrepareFailed { camera, why } => {
                if let Some(camera) = self.cameras.get_mut(&camera) {
                    camera.prepare_failed(&why, self.clock.monotonic());
                }
            }
            ScribeToKeeper::Reopened { camera, epoch } => {
                if let (Some(camera), Some(fd)) = (self.cameras.get_mut(&camera), fd) {
                    camera.hand_out(epoch, fd);
                }
            }
            ScribeToKeeper::Submit { id, statement } => {
                let refused = self.submit(&statement).err();
                self.tell_scribe(KeeperToScribe::Submitted { id, refused });
            }
            ScribeToKeeper::DatabaseRoster { head, len } => self.compare_with_database(head, len),
            ScribeToKeeper::Certify { id, nonce, ledger_keys, notices, tls } => {
                let mut certificate = BirthCertificate {
                    vm: self.identity.vm,
                    device: self.identity.device.public().clone(),
                    ledger_keys,
                    provisioning: self.identity.provisioning,
                    claimed: self.roster.claimed(),
                    roster_head: self.roster.head(),
                    roster_len: self.roster.len(),
                    notices,
                    nonce,
                    signature: Signature([0; 96]),
                    tls,
                };
                certificate.sign(self.identity.device.signing());
                let certificate = minicbor::to_vec(&certificate).expect("encoding into a Vec cannot fail").into();
                self.tell_scribe(KeeperToScribe::Certified { id, certificate });
            }
        }
    }

    /// Takes a statement in, durable before anybody hears of it.
    fn submit(&mut self, statement: &[u8]) -> Result<(), Problem> {
        let now = self.time.now(&self.clock);
        let refuse = |error: &peri_roster::RosterError| {
            Problem::new(409, "statement_refused", "The roster does not accept this statement", error.to_string())
        };
        if self.accepted.iter().any(|known| known == statement) {
            return Ok(());
        }
        // On a copy: what cannot be stored must not count.
        let mut trial = self.roster_set.clone();
        let known_before = self.missing.as_ref().is_some_and(|missing| missing.lists(statement));
        let outcome = if known_before {
            // Statements that were here before come back as history, whoever is in office now.
            trial.insert(statement)
        } else {
            trial.admit(statement, now)
        };
        if let Err(error) = outcome {
            self.event(EntryType::RosterRefused, None, error.to_string());
            return Err(refuse(&error));
        }
        self.log.append(statement).map_err(|error| {
            Problem::new(507, "keeper_disk", "The statement could not be stored", error.to_string())
        })?;
        self.roster_set = trial;
        self.accepted.push(statement.to_vec());
        self.roster = self.roster_set.verify(now);
        if self.missing.as_ref().is_none_or(|missing| missing.is_within(&self.roster_set)) {
            if self.missing.take().is_some() {
                self.event(EntryType::RosterAccepted, None, "the roster is whole again");
            }
            if let Err(error) = Remembered::of(&self.roster_set).write(&self.dir) {
                // The log has it; only a later cut of the log would go unnoticed by one statement.
                self.event(EntryType::RosterAlarm, None, error.to_string());
            }
        }
        self.tell_scribe(KeeperToScribe::Statement(statement.to_vec().into()));
        self.follow_roster();
        self.tick();
        Ok(())
    }

    fn compare_with_database(&mut self, head: Hash, len: u64) {
        if let Some(why) = self.snapshot_unused.take() {
            self.event(EntryType::RosterAlarm, None, why);
        }
        if let Some(missing) = &self.missing {
            let text = format!(
                "keeper's roster lost statements: {} of {} are left; until they are back, nobody gets a wrap and \
                 recording goes on for the seats alone",
                self.roster.len(),
                missing.mark.count
            );
            self.event(EntryType::RosterAlarm, None, text);
        }
        if head != self.roster.head() || len != self.roster.len() {
            let text = format!(
                "the database holds a roster of {len} statements with head {head}; keeper holds {} with head {}; \
                 recording goes on under keeper's",
                self.roster.len(),
                self.roster.head()
            );
            self.event(EntryType::RosterAlarm, None, text);
        }
    }

    /// Cameras follow the roster: new ones appear, changed ones are told, removed ones go.
    fn follow_roster(&mut self) {
        let mut gone: Vec<CameraId> = self.cameras.keys().copied().collect();
        if self.roster.seat_set() == 0 {
            return;
        }
        for known in self.roster.cameras().filter(|camera| camera.registered && !camera.removed) {
            gone.retain(|id| *id != known.id);
            self.cameras.entry(known.id).or_insert_with(|| Camera::new(known.id)).set_up(&known.setup);
        }
        for id in gone {
            self.cameras.remove(&id);
        }
    }

    /// Cameras that are to have a recorder, in a stable order, with the port that each may reach.
    fn recorded_cameras(&self) -> Vec<(CameraId, u16)> {
        self.cameras.iter().map(|(id, camera)| (*id, camera.port())).collect()
    }

    /// Both clocks, and the time to decide over grants by.
    fn instant(&mut self) -> Instant {
        Instant { utc: self.clock.utc(), grants: self.time.now(&self.clock), monotonic: self.clock.monotonic() }
    }

    fn tick(&mut self) {
        self.time.keep(&self.clock, &self.dir);
        if self.scribe.is_some() {
            for alarm in self.time.take_alarms() {
                self.event(EntryType::ClockJump, None, alarm);
            }
        }
        let now = self.instant();
        let mut questions = Vec::new();
        for (id, camera) in &mut self.cameras {
            camera.trust_grants(self.missing.is_none());
            camera.tick(&self.roster, now, self.longest_epoch, &mut questions, *id);
        }
        for question in questions {
            self.tell_scribe(question);
        }
    }

    fn prepared(&mut self, id: CameraId, no: peri_domain::EpochNo, x: &[u8; 32], fd: OwnedFd) {
        let now = self.instant();
        let Some(camera) = self.cameras.get_mut(&id) else {
            return self.tell_scribe(KeeperToScribe::Discard { camera: id, epoch: no });
        };
        let made = camera.prepared(&self.identity, &self.roster, (no, x, &fd), now, self.longest_epoch);
        match made {
            Ok(made) => {
                for skipped in made.skipped {
                    self.event(EntryType::RosterAlarm, Some(id), skipped);
                }
                let fails = self.cameras.get(&id).and_then(|camera| camera.grants_fail(&self.roster, now.grants));
                if let Some(why) = fails {
                    self.event(EntryType::RosterAlarm, Some(id), format!("shared to the seats alone: {why}"));
                }
                self.tell_scribe(KeeperToScribe::Opened {
                    camera: id,
                    record: made.record.to_bytes().into(),
                    head_len: made.head_len,
                });
                if let Some(camera) = self.cameras.get_mut(&id) {
                    camera.hand_out(no, fd);
                }
            }
            Err(error) => {
                let why = match error.downcast_ref::<nix::errno::Errno>() {
                    Some(nix::errno::Errno::ENOSPC) => format!("disk full: {error}"),
                    _ => error.to_string(),
                };
                if let Some(camera) = self.cameras.get_mut(&id) {
                    camera.prepare_failed(&why, now.monotonic);
                }
                self.tell_scribe(KeeperToScribe::Discard { camera: id, epoch: no });
                self.event(EntryType::RosterAlarm, Some(id), format!("no epoch can be made: {error}"));
            }
        }
    }

    fn hear_recorder(&mut self, token: u64) {
        let Some((id, camera)) = self.cameras.iter_mut().find(|(_, c)| c.token == Some(Token(token))) else { return };
        let id = *id;
        let (mut discard, mut reopen) = (Vec::new(), Vec::new());
        if camera.hear(&self.identity, self.clock.monotonic(), &mut discard, &mut reopen).is_err() {
            camera.unlink();
        }
        for epoch in reopen {
            self.tell_scribe(KeeperToScribe::Reopen { camera: id, epoch });
        }
        for epoch in discard {
            self.tell_scribe(KeeperToScribe::Discard { camera: id, epoch });
        }
    }
}

/// The VM's id, read by offline checks.
///
/// # Errors
/// When there was no first start yet, or the file is damaged.
pub(crate) fn vm_of(dir: &Dir) -> anyhow::Result<peri_domain::VmId> {
    Ok(files::vm_of(dir)?)
}
