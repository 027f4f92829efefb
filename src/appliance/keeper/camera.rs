//! One camera in keeper's hands: its set-up, its epochs, the link to its recorder.

use super::RecorderLink;
use super::epoch::{Audience, AudienceError, Epoch, end_of, make};
use super::files::Identity;
use crate::link::{LinkError, MESSAGES_PER_TURN};
use crate::message::{
    AuthQuestion, CameraSetup, CameraTrust, EpochHandout, KeeperToRecorder, KeeperToScribe, RecorderToKeeper,
    SecretBytes, SecretText,
};
use peri_domain::limits::CAUSE_BYTES_MAX;
use peri_domain::{CameraId, EpochNo, Hash, UtcNanos};
use peri_media::auth;
use peri_roster::{Roster, Verified};
use peri_sandbox::durable;
use peri_sandbox::poll::Token;
use peri_seal::device::open_on_device;
use peri_seal::record::{EpochId, EpochRecord};
use peri_seal::secret::XSecret;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long before its start the next epoch is asked for: time enough for a restart of scribe.
const AHEAD: Duration = Duration::from_secs(60);
/// An epoch whose recorder never said that it began the next one is dropped so long after its end.
const LINGER: Duration = Duration::from_secs(30);
/// A failed preparation is tried again after so long.
const RETRY: Duration = Duration::from_secs(2);
/// A preparation without answer is asked again after so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Authorizations within [`ANSWERS_WITHIN`]: a dialogue takes five, and a camera that flaps tries twice a second.
const ANSWERS_MAX: u32 = 120;
/// See [`ANSWERS_MAX`].
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// An audience that fits is looked at again after so long even if nothing happened.
const FITS_FOR: Duration = Duration::from_secs(5);

/// One moment, by three clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant {
    /// The time of day, which epochs start and end by, as recorders cut by it.
    pub(super) utc: UtcNanos,
    /// The time that grants begin and end by ([`super::time`]).
    pub(super) grants: UtcNanos,
    /// For patience.
    pub(super) monotonic: Duration,
}

/// What a successful preparation tells scribe.
pub(super) struct Opened {
    pub(super) record: EpochRecord,
    pub(super) head_len: u64,
    /// Recipients that could not be wrapped to.
    pub(super) skipped: Vec<String>,
}

pub(super) struct Camera {
    id: CameraId,
    setup: Option<peri_roster::body::CameraSetup>,
    port: u16,
    pub(super) link: Option<RecorderLink>,
    pub(super) token: Option<Token>,
    unlinked: bool,
    /// Front: running (or first to run); behind it the next.
    epochs: VecDeque<Epoch>,
    /// Handed out, then replaced before their start because recipients changed.
    superseded: Vec<EpochNo>,
    /// When scribe was asked for the next epoch, on the monotonic clock.
    asked: Option<Duration>,
    not_before: Duration,
    /// Whether grants count; not while keeper's roster is shorter than it was.
    grants_count: bool,
    /// The highest epoch that a recorder began.
    begun: Option<EpochNo>,
    /// Authorizations computed since then.
    answers: u32,
    answers_since: Duration,
    /// The last time the audience was found to fit, and how long that answer holds.
    fitting: Option<(Fitting, UtcNanos, UtcNanos)>,
}

/// What the audience of the epochs in hand was compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fitting {
    roster: (Hash, u64),
    grants_count: bool,
    epochs: (EpochNo, Option<EpochNo>),
}

impl Camera {
    pub(super) fn new(id: CameraId) -> Self {
        Self {
            id,
            setup: None,
            port: 0,
            link: None,
            token: None,
            unlinked: false,
            epochs: VecDeque::new(),
            superseded: Vec::new(),
            asked: None,
            not_before: Duration::ZERO,
            grants_count: true,
            begun: None,
            answers: 0,
            answers_since: Duration::ZERO,
            fitting: None,
        }
    }

    pub(super) fn trust_grants(&mut self, count: bool) {
        self.grants_count = count;
    }

    fn audience(&self, roster: &Verified<Roster>, at: UtcNanos) -> Result<Audience, AudienceError> {
        let full = Audience::of(roster, self.id, at, self.grants_count);
        // Too many recipients: recording goes on, shared to the seats alone; the alarm says so.
        if let Err(AudienceError::TooMany(_)) = full { Audience::of(roster, self.id, at, false) } else { full }
    }

    /// Takes the set-up from the roster; a recorder that runs is told when it changed.
    pub(super) fn set_up(&mut self, setup: &peri_roster::body::CameraSetup) {
        if self.setup.as_ref() != Some(setup) {
            self.port = peri_media::rtsp::Url::parse(&setup.url).map_or(0, |url| {
                let default = if url.scheme() == "rtsps" { 322 } else { 554 };
                url.port().unwrap_or(default)
            });
            self.setup = Some(setup.clone());
            self.send_setup();
        }
    }

    /// The TCP port of the camera's URL; 0 (nothing may be reached) when it has none, which the roster refuses.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn link(&mut self, link: RecorderLink, token: Token) {
        self.link = Some(link);
        self.token = Some(token);
        self.send_setup();
    }

    pub(super) fn unlink(&mut self) {
        self.link = None;
        self.token = None;
        self.unlinked = true;
    }

    /// Whether the link died since this was asked last.
    pub(super) fn was_unlinked(&mut self) -> bool {
        std::mem::take(&mut self.unlinked)
    }

    fn send_setup(&mut self) {
        let Some(setup) = &self.setup else { return };
        let trust = match &setup.trust {
            peri_roster::body::Trust::Pin(pin) => CameraTrust::Pin(*pin),
            peri_roster::body::Trust::Ca(der) => CameraTrust::Ca(der.clone().into()),
            peri_roster::body::Trust::Plain => CameraTrust::PlainException,
        };
        let setup = CameraSetup { url: setup.url.clone(), trust };
        self.send(KeeperToRecorder::Camera(setup), None);
    }

    fn send(&mut self, message: KeeperToRecorder, fd: Option<OwnedFd>) {
        let Some(link) = &mut self.link else { return };
        let sent = match fd {
            Some(fd) => link.send_with(message, fd),
            None => link.send(message),
        };
        if sent.is_err() {
            self.unlink();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.link.as_mut().is_some_and(|link| link.flush().is_err()) {
            self.unlink();
        }
    }

    /// Epochs to be handed out again to a fresh recorder.
    pub(super) fn in_hand(&self) -> Vec<EpochNo> {
        self.epochs.iter().map(|epoch| epoch.no).collect()
    }

    /// Epochs that no recorder has (it was not there, or scribe died before passing the file).
    pub(super) fn unopened(&self) -> Vec<EpochNo> {
        self.epochs.iter().filter(|epoch| epoch.run == 0).map(|epoch| epoch.no).collect()
    }

    pub(super) fn forget_question(&mut self) {
        self.asked = None;
    }

    /// The recorder learns why, since recording ends for this reason once it has used up what it has in hand.
    pub(super) fn prepare_failed(&mut self, why: &str, now: Duration) {
        self.asked = None;
        self.not_before = now + RETRY;
        let cut = why.floor_char_boundary(CAUSE_BYTES_MAX);
        self.send(KeeperToRecorder::NoEpoch(why[..cut].to_owned()), None);
    }

    /// Asks for an epoch when one is needed: none runs, the running one ends soon, or its audience changed.
    pub(super) fn tick(
        &mut self,
        roster: &Verified<Roster>,
        now: Instant,
        longest: Duration,
        questions: &mut Vec<KeeperToScribe>,
        id: CameraId,
    ) {
        while self.epochs.len() > 1 && self.epochs.front().is_some_and(|front| front.ends + LINGER <= now.utc) {
            self.epochs.pop_front();
        }
        if self.epochs.len() == 1 && self.epochs.front().is_some_and(|front| front.ends + LINGER <= now.utc) {
            self.epochs.clear();
        }
        if self.asked.is_some_and(|asked| now.monotonic.saturating_sub(asked) > PATIENCE) {
            self.asked = None;
        }
        if self.asked.is_some() || now.monotonic < self.not_before || !self.needs_epoch(roster, now, longest) {
            return;
        }
        self.asked = Some(now.monotonic);
        questions.push(KeeperToScribe::Prepare { camera: id });
    }

    fn needs_epoch(&mut self, roster: &Verified<Roster>, now: Instant, longest: Duration) -> bool {
        let (Some(front), next) = (self.epochs.front(), self.epochs.get(1)) else { return true };
        let Instant { utc, grants, .. } = now;
        if next.is_none() && utc + AHEAD.min(longest / 2) >= front.ends {
            return true;
        }
        // Forming an audience hashes every key in it. Between two statements and two edges of grants it stays the same.
        let fitting = Fitting {
            roster: (roster.head(), roster.len()),
            grants_count: self.grants_count,
            epochs: (front.no, next.map(|next| next.no)),
        };
        if self.fitting.is_some_and(|(known, from, until)| known == fitting && from <= grants && grants < until) {
            return false;
        }
        let same = |epoch: &Epoch, at| {
            // An audience that cannot be formed (too many recipients) changes nothing: recording goes on.
            self.audience(roster, at).map_or(true, |audience| audience.digest == epoch.audience)
        };
        let fits = match next {
            None => same(front, grants.max(front.starts)),
            Some(next) => {
                let running = utc < front.ends && next.starts > utc;
                (!running || same(front, grants)) && same(next, next.starts.max(grants))
            }
        };
        if fits {
            let edge = roster.next_edge(self.id, grants).unwrap_or(grants + FITS_FOR);
            self.fitting = Some((fitting, grants, edge.min(grants + FITS_FOR)));
        }
        !fits
    }

    /// Why grants of this camera give no wraps at `at`, for the alarm.
    pub(super) fn grants_fail(&self, roster: &Verified<Roster>, at: UtcNanos) -> Option<String> {
        match Audience::of(roster, self.id, at, self.grants_count) {
            Err(AudienceError::TooMany(error)) => Some(error.to_string()),
            _ => None,
        }
    }

    /// Forgets every epoch: the recorder has none (the clock was set back, or it lost them).
    fn forget_epochs(&mut self) {
        if self.asked.is_none() {
            // What was begun holds pictures and stays; only an epoch that nobody recorded into is discarded later.
            let begun = self.begun;
            self.superseded
                .extend(self.epochs.drain(..).map(|epoch| epoch.no).filter(|no| begun.is_none_or(|begun| *no > begun)));
            self.not_before = Duration::ZERO;
        }
    }

    /// Makes the epoch that scribe prepared and writes the head of its segment, durable on return.
    pub(super) fn prepared(
        &mut self,
        identity: &Identity,
        roster: &Verified<Roster>,
        (no, x, fd): (EpochNo, &[u8; 32], &OwnedFd),
        now: Instant,
        longest: Duration,
    ) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
        self.asked = None;
        let starts = match self.epochs.front() {
            // The running epoch still fits: the new one follows it without a gap.
            Some(front)
                if front.ends > now.utc
                    && self.audience(roster, now.grants.max(front.starts))?.digest == front.audience =>
            {
                front.ends
            }
            _ => now.utc,
        };
        let grants_at = starts.max(now.grants);
        let mut jitter = [0; 1];
        getrandom::fill(&mut jitter)?;
        let ends = end_of(roster, self.id, (starts, grants_at), longest, jitter[0]);
        let audience = self.audience(roster, grants_at)?;
        let id = EpochId { vm: identity.vm, camera: self.id, epoch: no };
        let x = XSecret::from_bytes(*x);
        let made = make(&identity.device, id, (starts, ends), &x, &audience, roster)?;
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        durable::write_all_at(&file, &made.head, 0)?;
        durable::sync_data(&file)?;
        while self.epochs.len() > 1 {
            if let Some(replaced) = self.epochs.pop_back() {
                self.superseded.push(replaced.no);
            }
        }
        let head_len = made.head.len() as u64;
        self.epochs.push_back(Epoch {
            no,
            record_hash: made.record.hash(),
            key: made.key,
            run: 0,
            starts,
            ends,
            head_len,
            audience: audience.digest,
        });
        Ok(Opened { record: made.record, head_len, skipped: made.skipped })
    }

    /// Hands an epoch to the recorder. The run rises at every hand-out, so that a recorder which died between sending
    /// a fragment and writing it never seals another one under the same nonce.
    pub(super) fn hand_out(&mut self, no: EpochNo, fd: OwnedFd) {
        if self.link.is_none() {
            return;
        }
        let Some(epoch) = self.epochs.iter_mut().find(|epoch| epoch.no == no) else { return };
        let Some(run) = epoch.run.checked_add(1) else { return };
        epoch.run = run;
        let handout = EpochHandout {
            epoch: no,
            record_hash: epoch.record_hash,
            key: SecretBytes(*epoch.key.as_bytes()),
            run,
            starts: epoch.starts,
            ends: epoch.ends,
            head_len: epoch.head_len,
        };
        self.send(KeeperToRecorder::Epoch(handout), Some(fd));
    }

    /// Serves what the recorder asks. `discard` receives epochs that were replaced and never begun, `reopen` those whose
    /// file scribe must pass again.
    pub(super) fn hear(
        &mut self,
        identity: &Identity,
        now: Duration,
        discard: &mut Vec<EpochNo>,
        reopen: &mut Vec<EpochNo>,
    ) -> Result<(), LinkError> {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(link) = &mut self.link else { return Ok(()) };
            let Some((message, _)) = link.recv()? else { return Ok(()) };
            match message {
                RecorderToKeeper::NeedsEpoch => self.forget_epochs(),
                RecorderToKeeper::NeedsAuth(question) => {
                    // No answer: the recorder's own time-out names the password as the cause.
                    if self.may_answer(now)
                        && let Some(answer) = self.authorize(identity, &question)
                    {
                        self.send(KeeperToRecorder::Authorization(answer), None);
                    }
                }
                RecorderToKeeper::Again { epoch, damaged: true } => self.epochs.retain(|known| known.no != epoch),
                RecorderToKeeper::Again { epoch, damaged: false } => {
                    reopen.extend(self.epochs.iter().map(|known| known.no).filter(|no| *no == epoch));
                }
                RecorderToKeeper::Began(no) => {
                    self.begun = self.begun.max(Some(no));
                    while self.epochs.front().is_some_and(|front| front.no < no) && self.epochs.len() > 1 {
                        self.epochs.pop_front();
                    }
                    self.superseded.retain(|replaced| *replaced != no);
                    let (old, keep) = self.superseded.iter().partition(|replaced| **replaced < no);
                    self.superseded = keep;
                    discard.extend::<Vec<EpochNo>>(old);
                }
            }
        }
        Ok(())
    }

    /// A session asks once per request, keep-alives included; more is a recorder that is not ours any more.
    fn may_answer(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.answers_since) >= ANSWERS_WITHIN {
            self.answers_since = now;
            self.answers = 0;
        }
        self.answers += 1;
        self.answers <= ANSWERS_MAX
    }

    fn authorize(&self, identity: &Identity, question: &AuthQuestion) -> Option<SecretText> {
        let setup = self.setup.as_ref()?;
        // Basic hands the password over: only where the roster itself demands TLS, whatever the recorder says.
        let plain = setup.trust == peri_roster::body::Trust::Plain;
        if question.challenge.scheme == auth::Scheme::Basic && (plain || !question.tls) {
            return None;
        }
        let password = if setup.sealed_password.is_empty() {
            zeroize::Zeroizing::new(Vec::new())
        } else {
            let purpose = peri_domain::purpose::camera_password(self.id);
            open_on_device(&identity.device, &purpose, &setup.sealed_password).ok()?
        };
        let password = std::str::from_utf8(&password).ok()?;
        let mut cnonce = [0; 16];
        getrandom::fill(&mut cnonce).ok()?;
        let cnonce = peri_domain::Nonce(cnonce).to_string();
        auth::answer(&question.challenge, &setup.user, password, &cnonce)
            .ok()
            .map(|answer| SecretText::new(answer.as_str().to_owned()))
    }
}
