//! recorder: one process for one camera. It speaks RTSP, seals what comes in and appends it to a segment file that was
//! handed to it; it names no file, listens nowhere and holds plaintext for a quarter of a second.
//!
//! ```text
//!  idle ──set-up known──▶ connecting ──TCP, TLS──▶ asking (OPTIONS … PLAY) ──▶ playing
//!    ▲                        │                       │                         │
//!    └── back-off with jitter ◀── error: lost(cause) ─┴─────────────────────────┘
//! ```
//! Epochs come from keeper one ahead. The switch is by time: what arrives after the start of the next epoch is sealed
//! under the next key, in the middle of a group of pictures if need be, so a grant's edge is kept.
//! Durability point: `fdatasync` per group of pictures or 2 s; scribe hears of bytes only after it.

mod dns;
mod retry;
mod session;
mod tls;
mod writer;

use crate::boot::{self, Control};
use crate::link::{self, Link, MESSAGES_PER_TURN};
use crate::message::{
    AuthQuestion, CameraSetup, Event, KeeperToRecorder, Order, Peer, RecorderToKeeper, RecorderToScribe, Report,
    ScribeToRecorder, Start,
};
use crate::walls;
use peri_domain::UtcNanos;
use peri_domain::limits::RTP_SILENCE_MAX;
use peri_ledger::EntryType;
use peri_media::auth::{Answer, Scheme};
use peri_sandbox::clock::{Clock, SystemClock};
use peri_sandbox::poll::{Interest, Poller, Ready, Token};
use retry::Retry;
use session::{Session, SessionError};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use writer::Writer;

type KeeperLink = Link<RecorderToKeeper, KeeperToRecorder>;
type ScribeLink = Link<RecorderToScribe, ScribeToRecorder>;

const CONTROL: Token = Token(0);
const KEEPER: Token = Token(1);
const SCRIBE: Token = Token(2);
const CAMERA: Token = Token(3);

/// While nothing comes from the camera by itself, the loop looks around this often.
const IDLE: Duration = Duration::from_millis(250);
/// A loss is reported this often while it lasts.
const LOST_EVERY: Duration = Duration::from_secs(2);
/// Beginning of the cause when a camera plays but nothing of it can be recorded.
const STARVED: &str = "packets come, but no picture that can be recorded";
/// Beginning of the cause when there is nothing to record into.
const NO_EPOCH: &str = "no epoch";
/// The cause before anything was tried.
const STARTING: &str = "the recorder is starting";
/// Without any epoch keeper is asked this often.
const ASK_EPOCH_EVERY: Duration = Duration::from_secs(2);

struct Recorder {
    clock: SystemClock,
    poller: Poller,
    resolvers: Vec<SocketAddr>,
    keeper: Option<KeeperLink>,
    scribe: Option<ScribeLink>,
    setup: Option<CameraSetup>,
    session: Option<Session>,
    writer: Writer,
    retry: Retry,
    /// Why nothing is recorded; `None` while pictures come.
    lost: Option<String>,
    lost_since: UtcNanos,
    lost_reported: Duration,
    asked_epoch: Duration,
    /// Why keeper has no epoch, as far as it said so.
    no_epoch: Option<String>,
    had_keeper: bool,
    had_scribe: bool,
}

/// Runs the role until the supervisor stops it or goes away.
///
/// # Errors
/// What made it impossible to start.
pub(crate) fn run(mut control: Control) -> anyhow::Result<()> {
    let (start, _) = control.start()?;
    let Start::Recorder { resolvers, port, need_landlock, .. } = start else {
        anyhow::bail!("recorder was started as something else")
    };
    // The TLS library tests itself at first use, for which it may open files: before the walls.
    tls::warm_up();
    let clock = SystemClock;
    let poller = Poller::new()?;
    poller.add(&control, CONTROL, Interest::Read)?;
    let landlock_abi = boot::confine(peri_sandbox::seccomp::Role::Recorder, &walls::recorder(port), need_landlock)?;
    control.report(&Report::Ready { landlock_abi })?;
    let now = clock.utc();
    let mut recorder = Recorder {
        resolvers: resolvers.iter().filter_map(|text| text.parse().ok()).collect(),
        keeper: None,
        scribe: None,
        setup: None,
        session: None,
        writer: Writer::new(now),
        retry: Retry::default(),
        lost: Some(STARTING.into()),
        lost_since: now,
        lost_reported: clock.monotonic(),
        asked_epoch: clock.monotonic(),
        no_epoch: None,
        had_keeper: false,
        had_scribe: false,
        clock,
        poller,
    };
    recorder.serve(&mut control)
}

impl Recorder {
    fn serve(&mut self, control: &mut Control) -> anyhow::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            let wait = self.wait();
            self.poller.wait(&mut ready, Some(wait))?;
            for event in &ready {
                match event.token {
                    CONTROL => {
                        while let Some((order, fd)) = control.poll()? {
                            if self.obey(order, fd)? {
                                self.finish();
                                return Ok(());
                            }
                        }
                        if control.is_gone() {
                            self.finish();
                            return Ok(());
                        }
                    }
                    KEEPER => self.hear_keeper(),
                    SCRIBE => self.hear_scribe(),
                    _ => {}
                }
            }
            self.turn();
            for (had, has, peer) in [
                (&mut self.had_keeper, self.keeper.is_some(), Peer::Keeper),
                (&mut self.had_scribe, self.scribe.is_some(), Peer::Scribe),
            ] {
                // The supervisor makes a link anew where the peer lives.
                if std::mem::replace(had, has) && !has {
                    control.report(&Report::LinkLost(peer))?;
                }
            }
        }
    }

    /// How long nothing needs to be done: the next epoch's start, the camera's next bytes, a time-out.
    fn wait(&self) -> Duration {
        let (now, utc) = (self.clock.monotonic(), self.clock.utc());
        let mut wait = IDLE;
        if let Some(session) = &self.session {
            wait = wait.min(session.wait(now));
        } else if self.setup.is_some() {
            wait = wait.min(self.retry.at().saturating_sub(now));
        }
        if let Some(next) = self.writer.next_switch(utc) {
            wait = wait.min(next);
        }
        wait.max(Duration::from_millis(1))
    }

    /// `true`: end.
    fn obey(&mut self, order: Order, fd: Option<OwnedFd>) -> anyhow::Result<bool> {
        match (order, fd) {
            (Order::Link(Peer::Keeper), Some(fd)) => {
                let link = KeeperLink::new(fd);
                self.poller.add(&link, KEEPER, Interest::Read)?;
                self.keeper = Some(link);
            }
            (Order::Link(Peer::Scribe), Some(fd)) => {
                let link = ScribeLink::new(fd);
                self.poller.add(&link, SCRIBE, Interest::Read)?;
                self.scribe = Some(link);
            }
            (Order::Stop, _) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// One turn: read what came, switch epochs, write, report.
    fn turn(&mut self) {
        self.take_input();
        let (utc, monotonic) = (self.clock.utc(), self.clock.monotonic());
        if self.writer.switch_is_due(utc, monotonic) {
            if let Some(session) = &mut self.session {
                session.cut(&mut self.writer);
            }
            if let Some(began) = self.writer.switch(utc, monotonic) {
                self.tell_keeper(RecorderToKeeper::Began(began));
            }
        }
        if self.writer.needs_epoch(utc) && monotonic.saturating_sub(self.asked_epoch) >= ASK_EPOCH_EVERY {
            // The clock was set back, a file was damaged, or keeper believes that this recorder holds what it lost.
            self.asked_epoch = monotonic;
            self.tell_keeper(RecorderToKeeper::NeedsEpoch);
        }
        // What was written before it failed comes first, else it would count as the end of the loss.
        self.tell_progress();
        if let Some(error) = self.writer.take_error() {
            if error.disk_full {
                self.tell_scribe(RecorderToScribe::DiskFull);
            }
            self.lose(error.cause);
            if let Some((epoch, damaged)) = error.hand_out_again {
                self.tell_keeper(RecorderToKeeper::Again { epoch, damaged });
            }
        }
        for event in self.writer.take_events() {
            self.tell_scribe(RecorderToScribe::Event(event));
        }
        self.writer.sync_if_due(monotonic);
        self.tell_progress();
        if self.session.is_none() && self.setup.is_some() && monotonic >= self.retry.at() {
            self.connect();
        }
        self.notice_starvation(monotonic);
        self.report_loss(utc, monotonic);
        if self.keeper.as_mut().is_some_and(|link| link.flush().is_err()) {
            self.keeper = None;
        }
        if self.scribe.as_mut().is_some_and(|link| link.flush().is_err()) {
            self.scribe = None;
        }
    }

    /// Pictures that became durable end a loss; its last stretch keeps its cause.
    fn tell_progress(&mut self) {
        for progress in self.writer.take_progress() {
            // An init or final fragment alone is no picture and ends no loss.
            if progress.from < progress.until {
                if let Some(cause) = self.lost.take()
                    && progress.from > self.lost_since
                {
                    self.tell_scribe(RecorderToScribe::Lost { since: self.lost_since, until: progress.from, cause });
                }
                self.lost_since = progress.until;
            }
            self.tell_scribe(RecorderToScribe::Progress(progress));
        }
    }

    fn connect(&mut self) {
        let Some(setup) = &self.setup else { return };
        match Session::connect(setup, &self.resolvers, &self.clock) {
            Ok(session) => {
                if let Some(deviation) = session.deviation() {
                    let event = Event::new(EntryType::CryptoDeviation, None, deviation);
                    self.tell_scribe(RecorderToScribe::Event(event));
                }
                // While the session is set up the camera's bytes wake the loop; once it plays, the clock does.
                let _ = self.poller.add(session.socket(), CAMERA, Interest::Read);
                self.session = Some(session);
                self.take_input();
            }
            Err(error) => self.hang_up(&error),
        }
    }

    fn take_input(&mut self) {
        let Some(session) = &mut self.session else { return };
        let (utc, monotonic) = (self.clock.utc(), self.clock.monotonic());
        let was_playing = session.is_playing();
        let outcome = session.turn(utc, monotonic, &mut self.writer);
        if !was_playing && session.is_playing() {
            let _ = self.poller.remove(session.socket());
        }
        match outcome {
            Ok(questions) => {
                for challenge in questions {
                    // Basic hands the password itself over, so it is asked for until PLAY and not for keep-alives.
                    if challenge.scheme == Scheme::Basic
                        && let Some(session) = self.session.as_mut().filter(|session| session.is_playing())
                    {
                        session.decline(monotonic);
                        continue;
                    }
                    let tls = self.session.as_ref().is_some_and(Session::is_tls);
                    self.tell_keeper(RecorderToKeeper::NeedsAuth(AuthQuestion { challenge, tls }));
                }
            }
            Err(error) => self.hang_up(&error),
        }
    }

    /// The camera is gone, or never was: what is complete is written, the cause is told, and it is tried again later.
    fn hang_up(&mut self, error: &SessionError) {
        let (now, mut played) = (self.clock.monotonic(), Duration::ZERO);
        if let Some(mut session) = self.session.take() {
            session.cut(&mut self.writer);
            played = session.played_for(now);
            let _ = self.poller.remove(session.socket());
        }
        self.writer.camera_gone();
        self.tell_progress();
        let mut jitter = [0; 1];
        let _ = getrandom::fill(&mut jitter);
        self.retry.failed(now, played, jitter[0]);
        self.lose(error.to_string());
    }

    fn lose(&mut self, cause: String) {
        if self.lost.is_none() {
            self.lost_since = self.writer.durable_until().unwrap_or(self.lost_since);
        }
        if self.lost.as_ref() != Some(&cause) {
            // A new cause is told at once.
            self.lost_reported = Duration::ZERO;
        }
        self.lost = Some(cause);
    }

    /// A camera that plays is not therefore recorded: damaged pictures alone are a loss too, and the camera is kept, since
    /// a key picture may yet come.
    fn notice_starvation(&mut self, now: Duration) {
        let playing = self.session.as_ref().is_some_and(|session| session.played_for(now) >= RTP_SILENCE_MAX);
        // Told once: the reason may change with every packet.
        if !playing || self.lost.as_ref().is_some_and(|cause| cause.starts_with(STARVED)) {
            return;
        }
        match self.writer.starved(now, RTP_SILENCE_MAX) {
            Some("") => self.lose(format!("{STARVED}; does the camera ever send a key picture?")),
            Some(why) => {
                let cause = format!("{STARVED}: {why}");
                self.lose(cause);
            }
            None => {}
        }
    }

    fn report_loss(&mut self, utc: UtcNanos, now: Duration) {
        if !self.writer.has_epoch()
            && let Some(cause) = cause_without_epoch(self.lost.as_deref(), self.no_epoch.as_deref())
        {
            self.lose(cause);
        }
        let Some(cause) = &self.lost else { return };
        if now.saturating_sub(self.lost_reported) < LOST_EVERY || utc <= self.lost_since {
            return;
        }
        self.lost_reported = now;
        let message = RecorderToScribe::Lost { since: self.lost_since, until: utc, cause: cause.clone() };
        if self.scribe.is_some() {
            self.lost_since = utc;
            self.tell_scribe(message);
        }
    }

    fn hear_keeper(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some((message, fd)) = link::next_of(&mut self.keeper) else { return };
            self.on_keeper(message, fd);
        }
    }

    fn on_keeper(&mut self, message: KeeperToRecorder, fd: Option<OwnedFd>) {
        match message {
            KeeperToRecorder::Camera(setup) => {
                if self.setup.as_ref() != Some(&setup) {
                    if let Some(mut session) = self.session.take() {
                        session.cut(&mut self.writer);
                        self.writer.camera_gone();
                        let _ = self.poller.remove(session.socket());
                    }
                    self.setup = Some(setup);
                    self.retry.at_once();
                }
            }
            KeeperToRecorder::Epoch(handout) => {
                if let Some(fd) = fd {
                    self.no_epoch = None;
                    self.writer.take_epoch(handout, fd);
                }
            }
            KeeperToRecorder::NoEpoch(why) => self.no_epoch = Some(why),
            KeeperToRecorder::Authorization(value) => {
                let now = self.clock.monotonic();
                if let (Some(session), Some(answer)) = (&mut self.session, Answer::from_header(value.into_string())) {
                    session.authorize(&answer, now);
                }
            }
        }
    }

    fn hear_scribe(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            match link::next_of(&mut self.scribe) {
                Some((ScribeToRecorder::Room, _)) => self.writer.pause(None),
                Some((ScribeToRecorder::Full, _)) => {
                    // What was written before the pause comes first, else it would count as the end of the loss.
                    self.writer.pause(Some("disk full"));
                    self.tell_progress();
                    self.lose("disk full".into());
                }
                None => return,
            }
        }
    }

    fn tell_keeper(&mut self, message: RecorderToKeeper) {
        if self.keeper.as_mut().is_some_and(|link| link.send(message).is_err()) {
            self.keeper = None;
        }
    }

    fn tell_scribe(&mut self, message: RecorderToScribe) {
        if self.scribe.as_mut().is_some_and(|link| link.send(message).is_err()) {
            self.scribe = None;
        }
    }

    /// The end: what is in hand is written with its final fragment, and scribe hears of it.
    fn finish(&mut self) {
        if let Some(session) = &mut self.session {
            session.cut(&mut self.writer);
            session.goodbye(self.clock.monotonic());
        }
        self.writer.close();
        for progress in self.writer.take_progress() {
            self.tell_scribe(RecorderToScribe::Progress(progress));
        }
    }
}

/// The cause of a loss for want of an epoch, where there is none yet or a weaker one: what keeper said goes before silence,
/// and a camera that is gone is a cause of its own.
fn cause_without_epoch(lost: Option<&str>, why: Option<&str>) -> Option<String> {
    let cause = match (lost, why) {
        (None, None) => format!("{NO_EPOCH}: keeper or scribe does not answer"),
        (None, Some(why)) => format!("{NO_EPOCH}: {why}"),
        (Some(lost), Some(why)) if lost == STARTING || lost.starts_with(NO_EPOCH) => format!("{NO_EPOCH}: {why}"),
        (Some(_), _) => return None,
    };
    (lost != Some(cause.as_str())).then_some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_for_want_of_an_epoch_names_what_keeper_said() {
        let full = "no epoch: key file full".to_owned();
        let silent = cause_without_epoch(None, None).unwrap();
        assert!(silent.contains("does not answer"));
        assert_eq!(cause_without_epoch(None, Some("key file full")), Some(full.clone()));
        assert_eq!(
            cause_without_epoch(Some(&silent), Some("key file full")),
            Some(full.clone()),
            "better than silence"
        );
        assert_eq!(cause_without_epoch(Some(STARTING), Some("key file full")), Some(full.clone()));
        assert_eq!(cause_without_epoch(Some(&full), Some("key file full")), None, "told once");
        assert!(cause_without_epoch(Some(&full), Some("disk full")).is_some(), "another cause is news");
        assert_eq!(cause_without_epoch(Some("camera: connection refused"), Some("key file full")), None);
        assert_eq!(cause_without_epoch(Some(STARTING), None), None);
    }
}
