//! supervisor: starts the roles, links them, restarts the dead, holds no secret and opens no network socket.
//!
//! ```text
//! per role:  off ──spawn──▶ starting ──Ready──▶ up ──exit──▶ waiting (back-off) ──▶ starting
//!                                └──exit (before Ready)──────▶ waiting, longer each time
//! ```
//! Links are socket pairs; when either end restarts, both ends get a fresh one. One task owns all transitions: [`Supervisor::serve`].
//! With the supervisor every role ends (PDEATHSIG), and the service manager starts the whole anew.

mod prepare;
mod role;

use crate::config::Config;
use crate::message::{Event, Order, Peer, Report, ScribeStart, Start};
use crate::walls;
use anyhow::Context as _;
use nix::sys::signal::Signal;
use peri_domain::{CameraId, limits};
use peri_ledger::EntryType;
use peri_sandbox::channel::Channel;
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::confine;
use peri_sandbox::landlock;
use peri_sandbox::poll::{Interest, Poller, Ready, Signals, Token};
use peri_sandbox::privileges::{self, Limits};
use peri_sandbox::seccomp::Role;
use peri_sandbox::spawn::{self, Child, Command, Exit, Program, Programs};
use prepare::Prepared;
pub(crate) use prepare::connect_tpm;
use role::{Role as Managed, State};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const SIGNALS: Token = Token(0);
/// Control channels have this and above.
const ROLES: u64 = 1;
/// Roles get so long to end by themselves when the appliance stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// A link whose process lives is made anew after this.
const RELINK_AFTER: Duration = Duration::from_millis(500);
/// Events for the ledger that wait while scribe is away.
const EVENTS_MAX: usize = 1_024;

/// Everything the supervisor has.
struct Supervisor {
    config: Config,
    prepared: Prepared,
    programs: Programs,
    poller: Poller,
    clock: SystemClock,
    roles: BTreeMap<Peer, Managed>,
    postgres: Option<Managed>,
    uids: BTreeMap<CameraId, u32>,
    ports: BTreeMap<CameraId, u16>,
    /// Links to be made anew, and when.
    relink: BTreeMap<(Peer, Peer), Duration>,
    events: VecDeque<Event>,
    next_token: u64,
}

/// Runs the appliance until a signal ends it.
///
/// # Errors
/// Whatever makes it impossible to start, with cause and remedy. Once the roles run, only SIGTERM or SIGINT end it.
pub(crate) fn run(config_path: &Path) -> anyhow::Result<()> {
    // Nothing of whoever started this process comes in with it, and nothing of its memory goes to a file.
    privileges::close_all_but(&[0, 1, 2])?;
    privileges::limit(&Limits::default())?;
    let config = Config::read(config_path)?;
    let prepared = prepare::prepare(&config)?;
    let programs = Programs::open(prepared.cluster.as_ref().map(|cluster| cluster.program.as_path()))?;
    let signals = Signals::watch(&[Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT])?;
    confine(&config, &prepared)?;
    let poller = Poller::new()?;
    poller.add(&signals, SIGNALS, Interest::Read)?;
    let mut roles: BTreeMap<Peer, Managed> =
        [Peer::Keeper, Peer::Scribe, Peer::Portal].map(|peer| (peer, Managed::off())).into();
    if prepared.cluster.is_some() {
        roles.insert(Peer::Migrate, Managed::off());
    }
    let mut supervisor = Supervisor {
        postgres: prepared.cluster.is_some().then(Managed::off),
        config,
        prepared,
        programs,
        poller,
        clock: SystemClock,
        roles,
        uids: BTreeMap::new(),
        ports: BTreeMap::new(),
        relink: BTreeMap::new(),
        events: VecDeque::new(),
        next_token: ROLES,
    };
    supervisor.record(EntryType::ApplianceStarted, None, env!("CARGO_PKG_VERSION"));
    supervisor.serve(&signals)
}

/// From here on: two programs, the directories of the roles, and the envelope of their system calls.
fn confine(config: &Config, prepared: &Prepared) -> anyhow::Result<()> {
    let program = prepared.cluster.as_ref().map(|cluster| cluster.program.as_path());
    let rules = walls::supervisor(config, program, &prepared.database_dir);
    let keep = walls::capabilities(prepared.keeper.is_some());
    confine::confine(Role::Supervisor, &rules, keep, config.accept.no_landlock)?;
    Ok(())
}

impl Supervisor {
    fn serve(&mut self, signals: &Signals) -> anyhow::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            let wait = self.start_what_is_due()?;
            self.poller.wait(&mut ready, wait)?;
            for event in &ready {
                if event.token == SIGNALS {
                    while let Some(signal) = signals.next_signal()? {
                        match signal {
                            Signal::SIGCHLD => self.reap()?,
                            _ => return self.stop(),
                        }
                    }
                } else {
                    self.hear(event.token);
                }
            }
        }
    }

    /// Starts every role that is off and whose time has come; returns how long to wait for the next.
    fn start_what_is_due(&mut self) -> anyhow::Result<Option<Duration>> {
        let now = self.clock.monotonic();
        if let Some(due) = self.postgres.as_ref().and_then(Managed::due)
            && due <= now
        {
            let child = self.spawn_postgres()?;
            if let Some(postgres) = &mut self.postgres {
                postgres.started(child, None, now);
                postgres.ready();
            }
        }
        let due: Vec<Peer> =
            self.roles.iter().filter(|(_, role)| role.due().is_some_and(|due| due <= now)).map(|(p, _)| *p).collect();
        for peer in due {
            if let Err(error) = self.start(peer) {
                log(&format!("{peer} cannot be started: {error:#}"));
                if let Some(role) = self.roles.get_mut(&peer) {
                    role.ended(now);
                }
            }
        }
        self.relink_what_is_due(now);
        let starts = self.roles.values().chain(&self.postgres).filter_map(Managed::due);
        let next = starts.chain(self.relink.values().copied()).min();
        Ok(next.map(|due| due.saturating_sub(self.clock.monotonic())))
    }

    fn start(&mut self, peer: Peer) -> anyhow::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let user = match peer {
            Peer::Keeper => self.prepared.keeper,
            Peer::Scribe => self.prepared.scribe,
            Peer::Portal => self.prepared.portal,
            Peer::Migrate => self.prepared.postgres,
            Peer::Recorder(camera) => self.recorder_user(camera)?,
        };
        let (name, limits) = match peer {
            Peer::Keeper => ("keeper", role::KEEPER_LIMITS),
            Peer::Scribe => ("scribe", role::SCRIBE_LIMITS),
            Peer::Portal => ("portal", role::PORTAL_LIMITS),
            Peer::Migrate => ("migrate", role::PORTAL_LIMITS),
            Peer::Recorder(_) => ("recorder", role::RECORDER_LIMITS),
        };
        let child = spawn::spawn(
            &self.programs,
            Command {
                program: Program::Own,
                args: vec!["peri-appliance".into(), "role".into(), name.into()],
                env: Vec::new(),
                user,
                fds: vec![(theirs.into(), spawn::CONTROL_FD)],
                limits,
                confine: None,
            },
        )?;
        let token = Token(self.next_token);
        self.next_token += 1;
        let now = self.clock.monotonic();
        let managed = self.roles.entry(peer).or_insert_with(Managed::off);
        managed.started(child, Some((ours, token)), now);
        if let Some(channel) = managed.channel() {
            self.poller.add(channel, token, Interest::Read)?;
        }
        self.send_start(peer)
    }

    /// The start message: values and descriptors, never a path.
    fn send_start(&mut self, peer: Peer) -> anyhow::Result<()> {
        if peer == Peer::Scribe && prepare::is_hung_up(&self.prepared.tpm) {
            self.connect_tpm();
        }
        let need_landlock = !self.config.accept.no_landlock;
        let prepared = &self.prepared;
        let mut messages: Vec<(Start, Vec<&OwnedFd>)> = Vec::new();
        match peer {
            Peer::Keeper => messages.push((
                Start::Keeper {
                    provisioning: prepared.provisioning.clone().into(),
                    epoch_secs: self.config.timing.epoch_secs,
                    need_landlock,
                },
                vec![&prepared.keeper_dir],
            )),
            Peer::Scribe => {
                let start = ScribeStart {
                    database_dir: prepared.database_dir.display().to_string(),
                    rekey_secs: self.config.timing.rekey_secs,
                    retention_secs: self.config.timing.retention_secs,
                    notices: prepared.notices.clone(),
                    need_landlock,
                    epoch_secs: self.config.timing.epoch_secs,
                    names: self.names(),
                };
                messages.push((Start::Scribe(start), vec![&prepared.scribe_dir, &prepared.store_dir]));
                messages.push((
                    Start::RootStore,
                    [Some(&prepared.tpm), prepared.tpm_state.as_ref()].into_iter().flatten().collect(),
                ));
            }
            Peer::Portal => {
                let listeners = std::iter::once(&prepared.listener).chain(&prepared.tls_listener).collect();
                messages.push((Start::Portal { need_landlock, names: self.names() }, listeners));
            }
            Peer::Migrate => {
                let database_dir = prepared.database_dir.display().to_string();
                messages.push((Start::Migrate { database_dir, need_landlock }, Vec::new()));
            }
            Peer::Recorder(camera) => messages.push((
                Start::Recorder {
                    camera,
                    port: self.ports.get(&camera).copied().unwrap_or(0),
                    resolvers: self.config.dns.resolvers.iter().map(|r| r.0.to_string()).collect(),
                    need_landlock,
                },
                Vec::new(),
            )),
        }
        let managed = self.roles.get(&peer).context("the role was just started")?;
        for (start, fds) in messages {
            let fds: Vec<_> = fds.into_iter().map(AsFd::as_fd).collect();
            managed.send(&Order::Start(start), &fds)?;
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.config.portal.as_ref().map_or_else(Vec::new, |portal| portal.names.clone())
    }

    /// A new connection to a swtpm that died; whether there is one. Scribe asks again while there is none.
    fn connect_tpm(&mut self) -> bool {
        match connect_tpm(&self.config.root_store.tpm) {
            Ok(tpm) => {
                self.prepared.tpm = tpm;
                true
            }
            Err(error) => {
                log(&format!("the TPM is gone: {error:#}"));
                false
            }
        }
    }

    fn renew_root_store(&mut self) {
        if self.connect_tpm()
            && let Some(scribe) = self.roles.get(&Peer::Scribe)
        {
            log("the TPM is connected to again");
            // One that did not get it asks again.
            let _ = scribe.send(&Order::Start(Start::RootStore), &[self.prepared.tpm.as_fd()]);
        }
    }

    /// Lowest free uid of the range, kept by the camera as long as it has a recorder.
    fn recorder_user(&mut self, camera: CameraId) -> anyhow::Result<prepare::Identity> {
        if self.prepared.keeper.is_none() {
            return Ok(None);
        }
        let first = self.config.users.recorder_first;
        let uid = match self.uids.get(&camera) {
            Some(uid) => *uid,
            None => (first..first.saturating_add(self.config.users.recorder_count))
                .find(|uid| !self.uids.values().any(|taken| taken == uid))
                .context("more cameras than users.recorder_count allows; raise it and restart")?,
        };
        self.uids.insert(camera, uid);
        Ok(Some((uid, uid)))
    }

    fn spawn_postgres(&self) -> anyhow::Result<Child> {
        let cluster = self.prepared.cluster.as_ref().context("no private cluster is configured")?;
        let log = cluster.log.try_clone()?;
        let data = cluster.data.display().to_string();
        let run = self.prepared.database_dir.display().to_string();
        let rules = walls::postgres(&cluster.program, &cluster.parent, &self.prepared.database_dir);
        let walls = landlock::prepare(&rules, self.config.accept.no_landlock)?;
        let settings = [
            "listen_addresses=",
            "unix_socket_permissions=0777",
            "max_connections=8",
            "shared_buffers=16MB",
            "dynamic_shared_memory_type=mmap",
            "jit=off",
            "max_wal_size=256MB",
            "autovacuum_naptime=5min",
            "logging_collector=off",
            "log_statement=none",
            "log_min_error_statement=panic",
            "track_activities=off",
            "huge_pages=off",
        ];
        let mut args = vec![cluster.program.display().to_string(), "-D".into(), data, "-k".into(), run];
        for setting in settings {
            args.extend(["-c".into(), setting.into()]);
        }
        Ok(spawn::spawn(
            &self.programs,
            Command {
                program: Program::Postgres,
                args,
                env: vec!["PATH=/nonexistent".into(), "LC_ALL=C".into(), "PG_OOM_ADJUST_FILE=/dev/null".into()],
                user: self.prepared.postgres,
                fds: vec![(log, 2)],
                limits: role::POSTGRES_LIMITS,
                confine: Some((walls, Role::Postgres)),
            },
        )?)
    }

    /// Who ended, and why; each death is logged, entered and followed by a restart.
    fn reap(&mut self) -> anyhow::Result<()> {
        let now = self.clock.monotonic();
        for (pid, exit) in spawn::reap()? {
            if let Some(postgres) = self.postgres.as_mut().filter(|role| role.is(pid)) {
                postgres.ended(now);
                self.report_death("postgres", None, exit);
                continue;
            }
            let Some((peer, role)) = self.roles.iter_mut().find(|(_, role)| role.is(pid)) else { continue };
            let peer = *peer;
            let finished = peer == Peer::Migrate && exit == Exit::Code(0);
            let wanted = !finished && !matches!(role.state(), State::Retired);
            if let Some(channel) = role.channel() {
                let _ = self.poller.remove(channel);
            }
            role.ended(now);
            let camera = if let Peer::Recorder(camera) = peer { Some(camera) } else { None };
            if wanted {
                self.report_death(&peer.to_string(), camera, exit);
            } else {
                self.roles.remove(&peer);
                camera.map(|camera| self.uids.remove(&camera));
            }
        }
        Ok(())
    }

    fn report_death(&mut self, name: &str, camera: Option<CameraId>, exit: Exit) {
        let (kind, what) = match exit {
            Exit::Violation => (
                EntryType::SandboxViolation,
                "tried a system call that its policy forbids and was killed; if this repeats, look for an attack"
                    .into(),
            ),
            Exit::Code(code) => (EntryType::RoleDied, format!("ended with code {code}")),
            Exit::Signal(signal) => (EntryType::RoleDied, format!("was ended by {signal}")),
        };
        let text = format!("{name} {what}");
        log(&text);
        self.record(kind, camera, text);
    }

    fn hear(&mut self, token: Token) {
        loop {
            let Some((peer, role)) = self.roles.iter_mut().find(|(_, role)| role.token() == Some(token)) else {
                return;
            };
            let peer = *peer;
            match role.recv() {
                Some(Report::Ready { landlock_abi }) => {
                    role.ready();
                    self.record(EntryType::RoleStarted, None, format!("{peer} is up; Landlock version {landlock_abi}"));
                    self.link_up(peer);
                }
                Some(Report::Cameras(cameras)) if peer == Peer::Keeper => self.follow_cameras(&cameras),
                Some(Report::Cameras(_)) => {}
                // Its process may be dying as well; then the link comes with its next start.
                Some(Report::LinkLost(other)) => self.relink_later(peer, other),
                Some(Report::RootStoreLost) if peer == Peer::Scribe => self.renew_root_store(),
                Some(Report::RootStoreLost) => {}
                Some(Report::Fatal(why)) => log(&format!("{peer}: {why}")),
                None => return,
            }
        }
    }

    /// Which roles talk to each other.
    fn link_up(&mut self, peer: Peer) {
        let partners: Vec<Peer> = self
            .roles
            .iter()
            .filter(|(other, role)| role.is_up() && **other != peer && are_linked(peer, **other))
            .map(|(other, _)| *other)
            .collect();
        for partner in partners {
            // A control channel that is full now has room in a moment.
            if self.link(peer, partner).is_err() {
                self.relink_later(peer, partner);
            }
        }
        if peer == Peer::Scribe {
            for event in std::mem::take(&mut self.events) {
                self.send_event(event);
            }
        }
    }

    /// Both ends get a fresh pair after a moment; many at once must not flood a control channel.
    fn relink_later(&mut self, one: Peer, other: Peer) {
        if are_linked(one, other) {
            let due = self.clock.monotonic() + RELINK_AFTER;
            self.relink.insert((one.min(other), one.max(other)), due);
        }
    }

    fn relink_what_is_due(&mut self, now: Duration) {
        let due: Vec<(Peer, Peer)> =
            self.relink.iter().filter(|(_, due)| **due <= now).map(|(pair, _)| *pair).collect();
        for (one, other) in due {
            self.relink.remove(&(one, other));
            let both_up = [one, other].iter().all(|peer| self.roles.get(peer).is_some_and(Managed::is_up));
            if both_up && self.link(one, other).is_err() {
                self.relink_later(one, other);
            }
        }
    }

    fn link(&mut self, one: Peer, other: Peer) -> anyhow::Result<()> {
        let (a, b) = Channel::pair()?;
        // Scribe last: it drops the old end at once, and who then finds that dead must know the new one.
        let mut ends = [(one, other, a), (other, one, b)];
        ends.sort_by_key(|(to, ..)| *to == Peer::Scribe);
        for (to, peer, end) in ends {
            let role = self.roles.get(&to).context("both ends are up")?;
            role.send(&Order::Link(peer), &[OwnedFd::from(end).as_fd()])?;
        }
        self.relink.remove(&(one.min(other), one.max(other)));
        Ok(())
    }

    /// Recorders follow keeper's list.
    fn follow_cameras(&mut self, cameras: &[(CameraId, u16)]) {
        let now = self.clock.monotonic();
        for (camera, port) in cameras.iter().take(limits::CAMERAS_MAX) {
            let role = self.roles.entry(Peer::Recorder(*camera)).or_insert_with(|| Managed::off_at(now));
            if self.ports.insert(*camera, *port).is_some_and(|before| before != *port) {
                // Its walls name one port and cannot be moved: the recorder starts anew behind others.
                role.restart();
            }
        }
        let gone: Vec<Peer> = self
            .roles
            .keys()
            .filter(|peer| matches!(peer, Peer::Recorder(camera) if !cameras.iter().any(|(known, _)| known == camera)))
            .copied()
            .collect();
        for peer in gone {
            if let Some(role) = self.roles.get_mut(&peer)
                && !role.retire()
            {
                self.roles.remove(&peer);
            }
            if let (Peer::Recorder(camera), Some(scribe)) = (peer, self.roles.get(&Peer::Scribe)) {
                let _ = scribe.send(&Order::Unlink(camera), &[]);
            }
        }
    }

    fn record(&mut self, kind: EntryType, camera: Option<CameraId>, text: impl Into<String>) {
        self.send_event(Event::new(kind, camera, text));
    }

    fn send_event(&mut self, event: Event) {
        let sent = self
            .roles
            .get(&Peer::Scribe)
            .filter(|scribe| scribe.is_up())
            .is_some_and(|scribe| scribe.send(&Order::Record(event.clone()), &[]).is_ok());
        if !sent && self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// In order: recorders first (their last fragments still find scribe), then the others, postgres last.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.record(EntryType::ApplianceStopped, None, "asked to stop");
        let stages: [&dyn Fn(&Peer) -> bool; 3] =
            [&|peer| matches!(peer, Peer::Recorder(_)), &|peer| matches!(peer, Peer::Portal | Peer::Keeper), &|peer| {
                *peer == Peer::Scribe
            }];
        for stage in stages {
            let roles: Vec<&Managed> = self.roles.iter().filter(|(peer, _)| stage(peer)).map(|(_, r)| r).collect();
            for role in &roles {
                let _ = role.send(&Order::Stop, &[]);
            }
            let children: Vec<Child> = roles.iter().filter_map(|role| role.child()).collect();
            self.wait_for(&children);
        }
        let postgres: Vec<Child> = self.postgres.iter().filter_map(Managed::child).collect();
        for child in &postgres {
            let _ = child.signal(Signal::SIGINT);
        }
        self.wait_for(&postgres);
        Ok(())
    }

    /// Waits until they ended; kills what does not end in time.
    fn wait_for(&self, children: &[Child]) {
        let deadline = self.clock.monotonic() + STOP_PATIENCE;
        let mut left: Vec<Child> = children.to_vec();
        while !left.is_empty() {
            for (pid, _) in spawn::reap().unwrap_or_default() {
                left.retain(|child| child.pid != pid);
            }
            if self.clock.monotonic() >= deadline {
                for child in &left {
                    let _ = child.signal(Signal::SIGKILL);
                }
                return;
            }
            let mut ready = Vec::new();
            // Level-triggered signals would wake this loop at once; a short sleep on nothing is enough here.
            let _ = Poller::new().map(|idle| idle.wait(&mut ready, Some(Duration::from_millis(20))));
        }
    }
}

/// keeper, scribe and each recorder form triangles; portal knows scribe alone.
const fn are_linked(one: Peer, other: Peer) -> bool {
    matches!(
        (one, other),
        (Peer::Keeper | Peer::Scribe, Peer::Recorder(_))
            | (Peer::Recorder(_), Peer::Keeper | Peer::Scribe)
            | (Peer::Keeper, Peer::Scribe)
            | (Peer::Scribe, Peer::Keeper | Peer::Portal)
            | (Peer::Portal, Peer::Scribe)
    )
}

/// One line for the service manager's log. Names roles and causes, never a person, key or picture.
#[allow(clippy::print_stderr, reason = "the one place where the appliance speaks to the service manager")]
fn log(text: &str) {
    eprintln!("peri-appliance: {text}");
}
