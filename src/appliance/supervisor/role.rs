//! A managed process: its state, its control channel, its back-off.

use crate::message::{Order, Report};
use nix::unistd::Pid;
use peri_domain::limits::{RESTART_DELAY_MAX, RESTART_DELAY_MIN};
use peri_sandbox::channel::{Channel, SendError, Typed};
use peri_sandbox::poll::Token;
use peri_sandbox::privileges::Limits;
use peri_sandbox::spawn::Child;
use std::os::fd::BorrowedFd;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// One role's bounds: `open_files` is what it holds with room to spare.
const fn limits(open_files: u64, data: u64, locked: u64) -> Limits {
    Limits {
        open_files: Some(open_files),
        processes: None,
        address_space: None,
        data: Some(data),
        locked: Some(locked),
        file_size: None,
    }
}

/// Two links per camera, segment files in flight; a roster of 20,000 statements in memory.
pub(super) const KEEPER_LIMITS: Limits = limits(4_096, 1024 * MIB, 16 * MIB);
/// As keeper, and key file, index and database connection.
pub(super) const SCRIBE_LIMITS: Limits = limits(4_096, 2048 * MIB, 64 * MIB);
/// 640 connections and some 7,000 streams with a file each; what is on its way to slow clients is up to 10 MiB of a page. No
/// cap over all streams holds this yet (threat model, 29).
pub(super) const PORTAL_LIMITS: Limits = limits(8_192, 2048 * MIB, MIB);
/// A socket, three channels, two segments; read and fragment buffers, fragments of at most 8 MiB.
pub(super) const RECORDER_LIMITS: Limits = limits(32, 64 * MIB, MIB);
/// A small cluster of eight connections.
pub(super) const POSTGRES_LIMITS: Limits = limits(1_024, 1024 * MIB, MIB);

/// A process that lived so long has started properly: its back-off begins anew.
const HEALTHY: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be started at this monotonic time.
    Off { due: Duration },
    /// Started, not yet serving.
    Starting { since: Duration },
    /// Serving.
    Up { since: Duration },
    /// To be ended for good.
    Retired,
}

pub(super) struct Role {
    state: State,
    child: Option<Child>,
    control: Option<(Typed<Order, Report>, Token)>,
    delay: Duration,
}

impl Role {
    pub(super) fn off() -> Self {
        Self::off_at(Duration::ZERO)
    }

    pub(super) fn off_at(due: Duration) -> Self {
        Self { state: State::Off { due }, child: None, control: None, delay: RESTART_DELAY_MIN }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// When to start it, if it is off.
    pub(super) fn due(&self) -> Option<Duration> {
        if let State::Off { due } = self.state { Some(due) } else { None }
    }

    pub(super) fn started(&mut self, child: Child, control: Option<(Channel, Token)>, now: Duration) {
        self.state = State::Starting { since: now };
        self.child = Some(child);
        self.control = control.map(|(channel, token)| (Typed::new(channel), token));
    }

    pub(super) fn ready(&mut self) {
        if let State::Starting { since } = self.state {
            self.state = State::Up { since };
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.child.is_some_and(|child| child.pid == pid)
    }

    pub(super) fn child(&self) -> Option<Child> {
        self.child
    }

    /// Ended: the next start waits, longer each time while it keeps dying young.
    pub(super) fn ended(&mut self, now: Duration) {
        let lived = match self.state {
            State::Up { since } | State::Starting { since } => now.saturating_sub(since),
            State::Off { .. } | State::Retired => Duration::ZERO,
        };
        if lived >= HEALTHY {
            self.delay = RESTART_DELAY_MIN;
        }
        if self.state != State::Retired {
            self.state = State::Off { due: now + self.delay };
        }
        self.delay = (self.delay * 2).min(RESTART_DELAY_MAX);
        self.child = None;
        self.control = None;
    }

    /// Ends it; it is started again at once.
    pub(super) fn restart(&mut self) {
        self.delay = RESTART_DELAY_MIN;
        if let Some(child) = self.child {
            let _ = child.signal(nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Ends it for good; `false` when there is no process to wait for.
    pub(super) fn retire(&mut self) -> bool {
        self.state = State::Retired;
        match self.child {
            Some(child) => child.signal(nix::sys::signal::Signal::SIGTERM).is_ok(),
            None => false,
        }
    }

    pub(super) fn token(&self) -> Option<Token> {
        self.control.as_ref().map(|(_, token)| *token)
    }

    pub(super) fn channel(&self) -> Option<&Channel> {
        self.control.as_ref().map(|(typed, _)| typed.channel())
    }

    pub(super) fn send(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        match &self.control {
            Some((typed, _)) => typed.send_with(order, fds),
            None => Err(SendError::PeerGone),
        }
    }

    /// The next report; `None` when there is none now (a broken channel ends with its process, which is reaped).
    pub(super) fn recv(&mut self) -> Option<Report> {
        let (typed, _) = self.control.as_mut()?;
        typed.recv().ok().flatten()
    }
}
